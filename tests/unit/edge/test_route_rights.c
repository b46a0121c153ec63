/* Not covered here: that the shard obeys the right (tests/unit/shards/test_key.c) and that every
 * handler posts its caller (tests/flow/test_keys.c); paths that do not match (tests/flow). */
#include <criterion/criterion.h>

#include "edge/routes.h"

/* What a route asks for follows from where it stands: the first word of its path that is here, and
 * whether it changes anything. */
static const struct {
    const char *part;
    enum right read;
    enum right write;
} areas[] = {
    {"/v1/send", RIGHT_NONE, RIGHT_MAIL_SEND},
    {"/v1/scheduled", RIGHT_MAIL_READ, RIGHT_MAIL_SEND},
    {"/v1/keys", RIGHT_KEYS_READ, RIGHT_KEYS_WRITE},
    {"/api/keys", RIGHT_KEYS_READ, RIGHT_KEYS_WRITE},
    {"/api/audit", RIGHT_KEYS_READ, RIGHT_KEYS_WRITE},
    {"/api/domains/:id/webhook", RIGHT_WEBHOOKS_READ, RIGHT_WEBHOOKS_WRITE},
    {"/api/domains", RIGHT_DOMAINS_READ, RIGHT_DOMAINS_WRITE},
    {"/api/routes", RIGHT_ROUTES_READ, RIGHT_ROUTES_WRITE},
    {"/api/messages", RIGHT_MAIL_READ, RIGHT_MAIL_WRITE},
    {"/api/deliveries", RIGHT_MAIL_READ, RIGHT_MAIL_WRITE},
    {"/api/templates", RIGHT_MAIL_READ, RIGHT_MAIL_WRITE},
    {"/api/contacts/suppressions", RIGHT_SUPPRESSIONS_READ, RIGHT_SUPPRESSIONS_WRITE},
    {"/v1/mailboxes", RIGHT_MAILBOXES_READ, RIGHT_MAILBOXES_WRITE},
    {"/v1/messages", RIGHT_MAIL_READ, RIGHT_MAIL_WRITE},
    {"/v1/threads", RIGHT_MAIL_READ, RIGHT_MAIL_WRITE},
};

static const char *const open_to_all[] = {"/u/:token",      "/att/:mid/:idx",   "/t/o/:token",
                                          "/t/c/:token",    "/api/health",      "/metrics",
                                          "/openapi.json",  "/api/auth/signup", "/api/auth/login",
                                          "/api/auth/join", "/api/auth/google"};

/* No key comes here, whatever its scopes. */
static const char *const for_people[] = {"/api/auth/logout", "/api/auth/password", "/api/members",
                                         "/api/members/:id"};

/* Of the server, not of an account. */
static bool is_for_admins(const struct route *route)
{
    return slice_starts(slice_str(route->path), SLICE("/api/admin/"));
}

static bool stands_in(const struct route *route, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(slice_str(route->path), slice_str(paths[i]))) {
            return true;
        }
    }
    return false;
}

static enum right right_of(const struct route *route)
{
    for (size_t i = 0; i < ARRAY_LEN(areas); i++) {
        if (slice_starts(slice_str(route->path), slice_str(areas[i].part))) {
            return route->method == HTTP_METHOD_GET ? areas[i].read : areas[i].write;
        }
    }
    return RIGHT_NONE;
}

Test(routes, each_asks_for_the_right_of_its_area)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    for (uint32_t i = 0; i < count; i++) {
        cr_expect_eq(routes[i].right, right_of(&routes[i]), "%s asks for %s", routes[i].path,
                     right_text(routes[i].right));
    }
}

Test(routes, only_who_am_i_is_open_to_a_key_without_scopes)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    for (uint32_t i = 0; i < count; i++) {
        enum route_access access = ROUTE_CREDENTIAL;
        if (stands_in(&routes[i], open_to_all, ARRAY_LEN(open_to_all))) {
            access = ROUTE_PUBLIC;
        } else if (stands_in(&routes[i], for_people, ARRAY_LEN(for_people))) {
            access = ROUTE_SESSION;
        } else if (is_for_admins(&routes[i])) {
            access = ROUTE_ADMIN;
        }
        cr_expect_eq(routes[i].access, access, "%s", routes[i].path);
        if (access == ROUTE_CREDENTIAL && routes[i].right == RIGHT_NONE) {
            cr_expect_str_eq(routes[i].path, "/v1/me");
        }
    }
}

/* Every route with every scope, as the shard will judge it. */
Test(routes, a_key_of_one_scope_passes_exactly_its_routes)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    uint32_t passed = 0;
    uint32_t guarded = 0;
    for (uint32_t i = 0; i < count; i++) {
        guarded += routes[i].right != RIGHT_NONE;
    }
    for (enum right own = RIGHT_NONE + 1; own < RIGHT_COUNT; own++) {
        struct buf pack;
        buf_init(&pack, 256);
        buf_put_slice(&pack, slice_str(right_text(own)));
        struct row_api_key key = {.has_scopes = true, .scopes = buf_slice(&pack)};
        for (uint32_t i = 0; i < count; i++) {
            bool may = (key_rights(&key) & UINT32_C(1) << routes[i].right) != 0;
            cr_expect_eq(may, routes[i].right == own, "%s on %s", right_text(own), routes[i].path);
            passed += may;
        }
        buf_fini(&pack);
    }
    cr_expect_eq(passed, guarded, "each guarded route has one scope that opens it");
    struct row_api_key none = {.has_scopes = true};
    struct row_api_key full = {.permission = PERMISSION_FULL};
    struct row_api_key send = {.permission = PERMISSION_SEND};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = UINT32_C(1) << routes[i].right;
        cr_expect_eq(key_rights(&none) & bit, 0);
        cr_expect_eq(key_rights(&send) & bit, routes[i].right == RIGHT_MAIL_SEND ? bit : 0);
        cr_expect_eq(key_rights(&full) & bit, routes[i].right == RIGHT_NONE ? 0 : bit);
    }
}

Test(routes, a_literal_word_wins_over_a_parameter)
{
    struct arena arena;
    const struct route *route;
    struct slice params[ROUTE_PARAM_MAX] = {{0}};
    arena_init(&arena, 1024, 4096);
    cr_assert_eq(routes_find(HTTP_METHOD_POST, SLICE("/api/keys/rotate"), &arena, &route, params),
                 ERR_OK);
    cr_expect_str_eq(route->path, "/api/keys/rotate");
    cr_assert_eq(
        routes_find(HTTP_METHOD_POST, SLICE("/v1/keys/key_1/rotate"), &arena, &route, params),
        ERR_OK);
    cr_expect(slice_equal(params[0], SLICE("key_1")));
    cr_expect_eq(routes_find(HTTP_METHOD_PUT, SLICE("/v1/keys/key_1"), &arena, &route, params),
                 ERR_METHOD);
    arena_fini(&arena);
}
