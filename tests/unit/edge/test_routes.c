/* The table of routes and its matcher.
 *
 * Not covered here: what the handlers do (test_session, test_api_send, flow tests), the parsing of
 * request lines (tests/unit/net/test_http).
 */
#include "edge/routes.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct found {
    enum err err;
    const struct route *route;
    struct slice params[ROUTE_PARAM_MAX];
    struct arena arena;
};

static struct found *find(enum http_method method, struct slice path)
{
    static struct found found;
    found = (struct found){.route = NULL};
    arena_init(&found.arena, 256, 64 * KIB);
    found.err = routes_find(method, path, &found.arena, &found.route, found.params);
    cr_assert_eq(found.err == ERR_OK, found.route != NULL);
    return &found;
}

static void done(struct found *found)
{
    arena_fini(&found->arena);
}

/* The pattern with p0, p1 in the place of its parameters. */
static size_t example(const struct route *route, char out[256])
{
    size_t len = 0;
    uint32_t params = 0;
    const char *at = route->path;
    while (*at != '\0') {
        if (*at == ':') {
            len += (size_t)snprintf(out + len, 256 - len, "p%u", (unsigned)params++);
            at += strcspn(at, "/");
        } else {
            out[len++] = *at++;
        }
    }
    cr_assert_leq(params, ROUTE_PARAM_MAX);
    return len;
}

/* A route that an earlier one hides would never be found. */
Test(routes, are_all_found)
{
    uint32_t count;
    const struct route *all = routes_all(&count);
    cr_assert_gt(count, 10);
    for (uint32_t i = 0; i < count; i++) {
        char path[256];
        size_t len = example(&all[i], path);
        struct found *found = find(all[i].method, slice_of(path, len));
        cr_assert_eq(found->err, ERR_OK, "%s", all[i].path);
        cr_assert_eq(found->route, &all[i], "%s", all[i].path);
        bool has_param = strchr(all[i].path, ':') != NULL;
        cr_assert_eq(slice_equal(found->params[0], SLICE("p0")), has_param, "%s", all[i].path);
        done(found);
    }
}

Test(routes, are_well_formed)
{
    uint32_t count;
    const struct route *all = routes_all(&count);
    for (uint32_t i = 0; i < count; i++) {
        const struct route *route = &all[i];
        cr_assert_not_null((void *)(uintptr_t)route->handle, "%s", route->path);
        cr_assert_eq(route->path[0], '/', "%s", route->path);
        cr_assert_leq(route->body_max, HTTP_BODY_MAX, "%s", route->path);
        cr_assert_neq(route->method, HTTP_METHOD_HEAD, "HEAD finds GET: %s", route->path);
        if (route->method == HTTP_METHOD_GET) {
            cr_assert_eq(route->body_max, 0, "%s", route->path);
        }
        if (route->access == ROUTE_PUBLIC) {
            cr_assert_eq(route->right, RIGHT_NONE, "nobody could hold it: %s", route->path);
        }
        for (uint32_t n = 0; n < i; n++) {
            cr_assert(all[n].method != route->method || strcmp(all[n].path, route->path) != 0,
                      "twice: %s", route->path);
        }
    }
}

/* Forgetting the right of a route would open it to every key of the account. */
Test(routes, demand_a_right_for_everything_of_an_account)
{
    uint32_t count;
    const struct route *all = routes_all(&count);
    for (uint32_t i = 0; i < count; i++) {
        bool is_open = strcmp(all[i].path, "/v1/me") == 0 || all[i].access != ROUTE_CREDENTIAL;
        cr_assert_eq(all[i].right == RIGHT_NONE, is_open, "%s", all[i].path);
        bool is_write = all[i].method != HTTP_METHOD_GET;
        const char *text = is_open ? "" : right_text(all[i].right);
        cr_assert(is_open || is_write == (strstr(text, ":read") == NULL), "%s: %s", all[i].path,
                  text);
    }
}

static const struct {
    enum http_method method;
    const char *path;
    enum err err;
} cases[] = {
    {HTTP_METHOD_GET, "/api/health", ERR_OK},
    {HTTP_METHOD_HEAD, "/api/health", ERR_OK},
    {HTTP_METHOD_HEAD, "/api/domains", ERR_OK},
    {HTTP_METHOD_POST, "/v1/send", ERR_OK},
    {HTTP_METHOD_DELETE, "/api/domains/dom_1", ERR_OK},
    {HTTP_METHOD_PATCH, "/api/domains/dom_1", ERR_OK},
    {HTTP_METHOD_POST, "/api/domains/dom_1/verify", ERR_OK},
    /* The path exists: another method would do. */
    {HTTP_METHOD_GET, "/v1/send", ERR_METHOD},
    {HTTP_METHOD_HEAD, "/v1/send", ERR_METHOD},
    {HTTP_METHOD_PUT, "/v1/send", ERR_METHOD},
    {HTTP_METHOD_OPTIONS, "/v1/send", ERR_METHOD},
    {HTTP_METHOD_OTHER, "/v1/send", ERR_METHOD},
    {HTTP_METHOD_POST, "/api/health", ERR_METHOD},
    {HTTP_METHOD_PUT, "/api/domains/dom_1", ERR_METHOD},
    {HTTP_METHOD_GET, "/api/domains/dom_1/verify", ERR_METHOD},
    /* Nothing there. */
    {HTTP_METHOD_GET, "", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "*", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "//", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/health/", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "//api/health", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "api/health", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/API/HEALTH", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/health%00", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/%68ealth", ERR_NO_ROUTE}, /* literals are compared as sent */
    {HTTP_METHOD_GET, "/v1/../api/health", ERR_NO_ROUTE},
    {HTTP_METHOD_POST, "/v1/sendx", ERR_NO_ROUTE},
    {HTTP_METHOD_POST, "/v1/sen", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/domains/", ERR_NO_ROUTE}, /* a parameter is never empty */
    {HTTP_METHOD_POST, "/api/domains//verify", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/domains/dom_1/", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/domains/a/b", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/messages/m/raw/more", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/domains/%zz", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/domains/%00", ERR_NO_ROUTE},
    {HTTP_METHOD_GET, "/api/domains/%4", ERR_NO_ROUTE},
};

Test(routes, tell_a_wrong_method_from_a_wrong_path)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct found *found = find(cases[i].method, slice_str(cases[i].path));
        cr_assert_eq(found->err, cases[i].err, "case %zu: %s", i, cases[i].path);
        done(found);
    }
    struct found *found = find(HTTP_METHOD_GET, slice_of(NULL, 0));
    cr_assert_eq(found->err, ERR_NO_ROUTE);
    done(found);
}

Test(routes, find_the_get_route_for_head)
{
    struct found *head = find(HTTP_METHOD_HEAD, SLICE("/api/messages/m/raw"));
    const struct route *route = head->route;
    done(head);
    struct found *get = find(HTTP_METHOD_GET, SLICE("/api/messages/m/raw"));
    cr_assert_eq(route, get->route);
    cr_assert_eq(route->method, HTTP_METHOD_GET);
    done(get);
}

static const struct {
    const char *sent;
    const char *decoded;
} params[] = {
    {"dom_123", "dom_123"},     {"a%2Fb", "a/b"}, /* decoded after the cut: it cannot make a segment
                                                   */
    {"%2e%2E", ".."},           {"a+b", "a+b"},   /* a path is no form */
    {"%41%c3%a4", "A\xc3\xa4"}, {"..", ".."},     {":id", ":id"},
};

Test(routes, decode_their_parameters)
{
    for (size_t i = 0; i < ARRAY_LEN(params); i++) {
        char path[128];
        int len = snprintf(path, sizeof path, "/api/domains/%s/verify", params[i].sent);
        struct found *found = find(HTTP_METHOD_POST, slice_of(path, (size_t)len));
        cr_assert_eq(found->err, ERR_OK, "%s", path);
        memset(path, 'x', sizeof path); /* they are the arena's own */
        cr_assert(slice_equal(found->params[0], slice_str(params[i].decoded)), "%s",
                  params[i].sent);
        cr_assert_eq(found->params[1].len, 0);
        done(found);
    }
}
