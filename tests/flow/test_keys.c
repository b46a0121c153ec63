/* Flow: API keys as a client manages them, and what each is held to.
 *
 * Not covered here: every way to widen a key, and crashes between the rows
 * (tests/unit/shards/test_key.c); the route table as such (tests/unit/edge/test_route_rights.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support/world.h"

#define NOWHERE "0000000000000000000001" /* behind a prefix: an id that nobody has */

/* bearer NULL: the world's key. Apostrophes of the body are quotation marks. */
static struct reply *call(struct world *world, const char *bearer, const char *method,
                          const char *path, const char *body)
{
    char *text = arena_bytes(&world->arena, strlen(body) + 1);
    for (size_t i = 0; i <= strlen(body); i++) {
        text[i] = body[i] == '\'' ? '"' : body[i];
    }
    struct world_call request = {
        .method = method, .path = path, .bearer = bearer, .body = slice_str(text)};
    return world_call(world, &request);
}

static struct world *new_world(void)
{
    struct world *world = world_new();
    world_set(world, "trusted_proxies", "127.0.0.1/32, 10.0.0.0/8");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    return world;
}

static struct reply *create(struct world *world, const char *body)
{
    struct reply *made = call(world, NULL, "POST", "/v1/keys", body);
    cr_assert_eq(made->status, 201, "%s: %.*s", body, SLICE_FMT(made->body));
    return made;
}

static const char *path_of(struct world *world, const struct reply *made, const char *tail)
{
    return world_text(world, "/v1/keys/%s%s", reply_text(made, "id"), tail);
}

static long me(struct world *world, const char *key)
{
    return call(world, key, "GET", "/v1/me", "")->status;
}

/* ---- the life of a key ----------------------------------------------------------------------- */

Test(keys, a_key_is_made_read_changed_and_revoked)
{
    struct world *world = new_world();
    uint64_t later = clock_unix_ms() + 3600000;
    struct reply *made = create(
        world, world_text(world,
                          "{'name':' CI runner ','mode':'live','permission':'full',"
                          "'scopes':['mail:send','mail:read'],'addresses':['Support-*','hello'],"
                          "'allowedIps':['127.0.0.1','2001:DB8::/32'],'expiresAt':%llu,"
                          "'metadata':{'team':'core','n':7,'on':true},'status':'revoked',"
                          "'createdAt':1,'id':'key_x'}",
                          (unsigned long long)later));
    const char *key = reply_text(made, "key");
    cr_assert_eq(strlen(key), 56);
    cr_expect(slice_starts(slice_str(reply_text(made, "id")), SLICE("key_")));
    cr_expect_str_eq(reply_text(made, "name"), "CI runner");
    cr_expect(slice_starts(slice_str(key), slice_str(reply_text(made, "prefix"))));
    cr_expect_eq(strlen(reply_text(made, "prefix")), 16);
    cr_expect(slice_ends(slice_str(key), slice_str(reply_text(made, "last4"))));
    cr_expect_str_eq(reply_text(made, "mode"), "live");
    cr_expect_str_eq(reply_text(made, "permission"), "full");
    cr_expect_eq(reply_count(made, "scopes"), 2);
    cr_expect_eq(reply_count(made, "domains"), 0);
    cr_expect_str_eq(reply_text(made, "addresses.0"), "support-*");
    cr_expect_str_eq(reply_text(made, "allowedIps.0"), "127.0.0.1/32");
    cr_expect_str_eq(reply_text(made, "allowedIps.1"), "2001:db8::/32");
    cr_expect_eq(reply_int(made, "expiresAt"), (long long)later);
    cr_expect_str_eq(reply_text(made, "metadata.team"), "core");
    cr_expect_eq(reply_int(made, "metadata.n"), 7);
    cr_expect(json_is_true(reply_at(made, "metadata.on")));
    cr_expect(json_is_true(reply_at(made, "enabled")));
    cr_expect_str_eq(reply_text(made, "status"), "active");
    cr_expect_gt(reply_int(made, "createdAt"), 1);
    cr_expect(slice_starts(slice_str(reply_text(made, "createdBy")), SLICE("key_")));
    cr_expect(json_is_null(reply_at(made, "lastUsedAt")));
    cr_expect(json_is_null(reply_at(made, "replacedBy")));

    cr_expect_eq(me(world, key), 200);
    struct reply *got = world_get(world, "/api/keys/%s", reply_text(made, "id"));
    cr_assert_eq(got->status, 200);
    cr_expect_null(reply_at(got, "key"));
    cr_expect_gt(reply_int(got, "lastUsedAt"), 1);
    cr_expect_str_eq(reply_text(got, "lastUsedIp"), "127.0.0.1");

    got = call(world, NULL, "PATCH", path_of(world, made, ""),
               "{'name':'renamed','expiresAt':null,'addresses':[],'metadata':{}}");
    cr_assert_eq(got->status, 200, "%.*s", SLICE_FMT(got->body));
    cr_expect_str_eq(reply_text(got, "name"), "renamed");
    cr_expect(json_is_null(reply_at(got, "expiresAt")));
    cr_expect_eq(reply_count(got, "addresses"), 0);
    cr_expect_eq(reply_count(got, "metadata"), 0);
    cr_expect_eq(reply_count(got, "scopes"), 2, "what was not named stays");

    cr_expect_eq(call(world, NULL, "DELETE", path_of(world, made, ""), "")->status, 200);
    cr_expect_eq(me(world, key), 401);
    got = world_get(world, "/v1/keys");
    cr_assert_eq(reply_count(got, ""), 2, "%.*s", SLICE_FMT(got->body));
    cr_expect_str_eq(reply_text(got, "0.status"), "revoked");
    cr_expect_str_eq(reply_text(got, "1.name"), "First key");
    cr_expect(slice_starts(slice_str(reply_text(got, "1.createdBy")), SLICE("usr_")));
    got = world_get(world, "/v1/keys?limit=1&before=%s", reply_text(made, "id"));
    cr_expect_eq(reply_count(got, ""), 1);
    cr_expect_str_eq(reply_text(got, "0.name"), "First key");
    world_end(world);
}

Test(keys, bad_fields_are_named)
{
    static const struct {
        const char *body;
        const char *param;
    } bad[] = {
        {"{}", "name"},
        {"{'name':''}", "name"},
        {"{'name':' '}", "name"},
        {"{'name':7}", "name"},
        {"{'name':'a\\u0007'}", "name"},
        {"{'name':'k','mode':'prod'}", "mode"},
        {"{'name':'k','permission':'all'}", "permission"},
        {"{'name':'k','scopes':'mail:send'}", "scopes"},
        {"{'name':'k','scopes':['mail:send','mail:fly']}", "scopes[1]"},
        {"{'name':'k','scopes':['']}", "scopes[0]"},
        {"{'name':'k','domains':['customer.test']}", "domains[0]"},
        {"{'name':'k','addresses':['a*b*']}", "addresses[0]"},
        {"{'name':'k','addresses':['a*b']}", "addresses[0]"},
        {"{'name':'k','addresses':['a@b.test']}", "addresses[0]"},
        {"{'name':'k','addresses':['']}", "addresses[0]"},
        {"{'name':'k','allowedIps':['10.0.0.0/33']}", "allowedIps[0]"},
        {"{'name':'k','allowedIps':['10.0.0.0/8','home']}", "allowedIps[1]"},
        {"{'name':'k','expiresAt':'soon'}", "expiresAt"},
        {"{'name':'k','expiresAt':0}", "expiresAt"},
        {"{'name':'k','expiresAt':1000}", "expiresAt"},
        {"{'name':'k','expiresAt':-1}", "expiresAt"},
        {"{'name':'k','enabled':1}", "enabled"},
        {"{'name':'k','metadata':{'a':{}}}", "metadata.a"},
        {"{'name':'k','metadata':[]}", "metadata"},
        {"{", ""},
    };
    struct world *world = new_world();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply *reply = call(world, NULL, "POST", "/v1/keys", bad[i].body);
        cr_expect_eq(reply->status, 400, "%s: %.*s", bad[i].body, SLICE_FMT(reply->body));
        cr_expect_str_eq(reply_text(reply, "param"), bad[i].param, "%s", bad[i].body);
    }
    char name[101 * 2 + 1];
    for (size_t i = 0; i < 101; i++) {
        memcpy(name + 2 * i, "\xc3\xa4", 2);
    }
    name[202] = '\0';
    const char *body = world_text(world, "{'name':'%s'}", name);
    cr_expect_eq(call(world, NULL, "POST", "/v1/keys", body)->status, 400);
    body = world_text(world, "{'name':'%s'}", name + 2);
    cr_expect_eq(call(world, NULL, "POST", "/v1/keys", body)->status, 201, "100 characters");
    struct reply *got =
        call(world, NULL, "POST", "/v1/keys", "{'name':'k','domains':['dom_" NOWHERE "']}");
    cr_expect_eq(got->status, 404);
    cr_expect_str_eq(reply_text(got, "code"), "domain_not_owned");
    cr_expect_eq(reply_count(world_get(world, "/v1/keys"), ""), 2, "nothing else was made");
    world_end(world);
}

/* ---- rotation -------------------------------------------------------------------------------- */

Test(keys, a_rotated_key_gives_way_to_its_heir)
{
    struct world *world = new_world();
    struct reply *old = create(world, "{'name':'k','mode':'test','scopes':['mail:read']}");
    cr_expect(slice_starts(slice_str(reply_text(old, "key")), SLICE("mk_test_")));
    const char *rotate = path_of(world, old, "/rotate");
    cr_expect_eq(call(world, NULL, "POST", rotate, "{'overlapSeconds':604801}")->status, 400);
    struct reply *heir = call(world, NULL, "POST", rotate, "{'overlapSeconds':60}");
    cr_assert_eq(heir->status, 200, "%.*s", SLICE_FMT(heir->body));
    cr_expect(slice_starts(slice_str(reply_text(heir, "key")), SLICE("mk_test_")));
    cr_expect_str_eq(reply_text(heir, "name"), "k");
    cr_expect_str_eq(reply_text(heir, "scopes.0"), "mail:read");
    cr_expect_eq(me(world, reply_text(old, "key")), 200, "both count for a minute");
    cr_expect_eq(me(world, reply_text(heir, "key")), 200);
    struct reply *got = world_get(world, "%s", path_of(world, old, ""));
    cr_expect_str_eq(reply_text(got, "replacedBy"), reply_text(heir, "id"));
    cr_expect_leq(reply_int(got, "expiresAt"), (long long)clock_unix_ms() + 60000);
    cr_expect_eq(call(world, NULL, "POST", rotate, "")->status, 409, "again");

    struct reply *third = call(world, NULL, "POST", path_of(world, heir, "/rotate"), "");
    cr_assert_eq(third->status, 200, "no body is no overlap");
    cr_expect_eq(me(world, reply_text(heir, "key")), 401);
    cr_expect_eq(me(world, reply_text(third, "key")), 200);

    struct reply *first = call(world, NULL, "POST", "/api/keys/rotate", "");
    cr_assert_eq(first->status, 200);
    cr_expect_eq(reply_count(first, ""), 1, "{key} alone");
    cr_expect_eq(me(world, world->key), 401);
    cr_expect_eq(me(world, reply_text(first, "key")), 200);
    world_end(world);
}

/* ---- what a key is held to ------------------------------------------------------------------- */

struct route {
    const char *method;
    const char *path;
    const char *scope; /* "": any key */
    const char *body;
};

static const struct route routes[] = {
    {"GET", "/v1/me", "", ""},
    {"POST", "/v1/send", "mail:send", "{'from':'a@b.test','to':'c@d.test','text':'x'}"},
    {"GET", "/v1/keys", "keys:read", ""},
    {"POST", "/v1/keys", "keys:write", "{'name':'k','scopes':[]}"},
    {"POST", "/v1/keys/rotate", "keys:write", ""},
    {"GET", "/v1/keys/key_" NOWHERE, "keys:read", ""},
    {"PATCH", "/v1/keys/key_" NOWHERE, "keys:write", "{'name':'k'}"},
    {"DELETE", "/v1/keys/key_" NOWHERE, "keys:write", ""},
    {"POST", "/v1/keys/key_" NOWHERE "/rotate", "keys:write", ""},
    {"GET", "/api/keys", "keys:read", ""},
    {"POST", "/api/keys", "keys:write", "{'name':'k','scopes':[]}"},
    {"POST", "/api/keys/rotate", "keys:write", ""},
    {"GET", "/api/keys/key_" NOWHERE, "keys:read", ""},
    {"PATCH", "/api/keys/key_" NOWHERE, "keys:write", "{'name':'k'}"},
    {"DELETE", "/api/keys/key_" NOWHERE, "keys:write", ""},
    {"POST", "/api/keys/key_" NOWHERE "/rotate", "keys:write", ""},
    {"GET", "/api/domains", "domains:read", ""},
    {"POST", "/api/domains", "domains:write", "{'domain':'made.test'}"},
    {"GET", "/api/domains/dom_" NOWHERE, "domains:read", ""},
    {"DELETE", "/api/domains/dom_" NOWHERE, "domains:write", ""},
    {"POST", "/api/domains/dom_" NOWHERE "/verify", "domains:write", ""},
    {"GET", "/api/messages", "mail:read", ""},
    {"GET", "/api/messages/msg_" NOWHERE, "mail:read", ""},
    {"GET", "/api/messages/msg_" NOWHERE "/raw", "mail:read", ""},
    {"POST", "/api/deliveries/dlv_" NOWHERE "/retry", "mail:write", ""},
};

static const char *const scopes[] = {
    "mail:send",      "mail:read",         "mail:write",         "domains:read",
    "domains:write",  "mailboxes:read",    "mailboxes:write",    "webhooks:read",
    "webhooks:write", "routes:read",       "routes:write",       "keys:read",
    "keys:write",     "suppressions:read", "suppressions:write", "",
};

Test(keys, every_route_asks_for_its_scope)
{
    struct world *world = new_world();
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++) {
        const char *list = scopes[i][0] ? world_text(world, "'%s'", scopes[i]) : "";
        struct reply *made = create(world, world_text(world, "{'name':'k','scopes':[%s]}", list));
        const char *key = reply_text(made, "key");
        for (size_t n = 0; n < ARRAY_LEN(routes); n++) {
            const struct route *route = &routes[n];
            struct reply *got = call(world, key, route->method, route->path, route->body);
            bool may = strcmp(route->scope, "") == 0 || strcmp(route->scope, scopes[i]) == 0;
            const char *required = got->status == 403 ? reply_text(got, "required") : "";
            if (may) {
                /* Rotating the first key would be more than this one may. */
                cr_expect_str_neq(required, scopes[i][0] ? scopes[i] : "x", "%s %s with %s: %ld",
                                  route->method, route->path, scopes[i], got->status);
                cr_expect_neq(got->status, 401);
            } else {
                cr_expect_eq(got->status, 403, "%s %s with %s: %ld", route->method, route->path,
                             scopes[i], got->status);
                cr_expect_str_eq(required, route->scope);
                cr_expect_str_eq(reply_text(got, "code"), "scope");
            }
        }
    }
    world_end(world);
}

Test(keys, one_that_is_off_expired_or_revoked_is_unknown)
{
    struct world *world = new_world();
    struct reply *made = create(world, "{'name':'k','scopes':['keys:write','keys:read']}");
    const char *key = reply_text(made, "key");
    const char *path = path_of(world, made, "");
    cr_expect_eq(me(world, key), 200);
    cr_expect_eq(call(world, NULL, "PATCH", path, "{'enabled':false}")->status, 200);
    struct reply *refused = call(world, key, "GET", "/v1/me", "");
    cr_expect_eq(refused->status, 401);
    cr_expect_str_eq(reply_text(world_get(world, "%s", path), "status"), "disabled");
    cr_expect_eq(call(world, NULL, "PATCH", path, "{'enabled':true}")->status, 200);
    cr_expect_eq(me(world, key), 200);

    const char *soon =
        world_text(world, "{'expiresAt':%llu}", (unsigned long long)clock_unix_ms() + 1500);
    struct reply *set = call(world, NULL, "PATCH", path, soon);
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (me(world, key) == 200 && wait_more(&wait)) {
    }
    struct reply *expired = call(world, key, "GET", "/v1/me", "");
    cr_expect_eq(expired->status, 401);
    cr_expect(slice_equal(expired->body, refused->body), "nobody learns why");
    cr_expect_str_eq(reply_text(world_get(world, "%s", path), "status"), "expired");
    cr_expect_eq(call(world, NULL, "POST", path_of(world, made, "/rotate"), "")->status, 409);
    cr_expect_eq(call(world, NULL, "PATCH", path, "{'expiresAt':null}")->status, 200);
    cr_expect_eq(me(world, key), 200);

    cr_expect_eq(call(world, key, "DELETE", path, "")->status, 200, "even by itself");
    cr_expect_eq(me(world, key), 401);
    cr_expect_eq(call(world, NULL, "PATCH", path, "{'enabled':true}")->status, 409);
    world_end(world);
}

static void expect_refused(struct world *world, const char *key, const char *from, const char *code)
{
    const char *body = world_text(
        world, "{'from':'%s','to':'b@dest.test','subject':'s','text':'x','sandbox':true}", from);
    struct reply *got = call(world, key, "POST", "/v1/send", body);
    cr_expect_eq(got->status, code[0] ? 403 : 202, "%s: %.*s", from, SLICE_FMT(got->body));
    cr_expect_str_eq(reply_text(got, "code"), code, "%s", from);
}

Test(keys, one_sends_from_its_domains_and_addresses_only)
{
    struct world *world = new_world();
    const char *a = world_domain(world, "a.test");
    const char *b = world_domain(world, "b.test");
    struct reply *made = create(world, world_text(world,
                                                  "{'name':'k','domains':['%s'],"
                                                  "'addresses':['hello','support-*','*-agent']}",
                                                  a));
    const char *key = reply_text(made, "key");
    expect_refused(world, key, "hello@a.test", "");
    expect_refused(world, key, "support-7@a.test", "");
    expect_refused(world, key, "sales-agent@a.test", "");
    expect_refused(world, key, "boss@a.test", "key_scope");
    expect_refused(world, key, "hello@b.test", "key_scope");
    const char *id = world_send(world, "{'from':'x@b.test','to':'y@dest.test','text':'x',"
                                       "'sandbox':true}");
    struct reply *got = call(world, key, "GET", world_text(world, "/api/messages/%s", id), "");
    cr_expect_eq(got->status, 403, "another domain's mail");
    cr_expect_eq(reply_count(call(world, key, "GET", "/api/messages", ""), ""), 3);
    got = call(world, key, "GET", "/api/domains", "");
    cr_expect_eq(reply_count(got, ""), 1);
    cr_expect_eq(call(world, key, "DELETE", world_text(world, "/api/domains/%s", b), "")->status,
                 403);
    got = call(world, key, "POST", "/v1/keys", "{'name':'wider','addresses':['hello']}");
    cr_expect_eq(got->status, 403);
    cr_expect_str_eq(reply_text(got, "code"), "key_scope");
    cr_expect_str_eq(reply_text(got, "param"), "domains");

    got = call(world, NULL, "DELETE", world_text(world, "/api/domains/%s", a), "");
    cr_assert_eq(got->status, 200);
    cr_expect_eq(me(world, key), 401, "bound to nothing");
    got = world_get(world, "%s", path_of(world, made, ""));
    cr_expect_str_eq(reply_text(got, "status"), "disabled");
    cr_expect(json_is_false(reply_at(got, "enabled")));
    expect_refused(world, NULL, "anyone@b.test", "");
    world_end(world);
}

static long me_through(struct world *world, const char *key, const char *first, const char *second)
{
    struct world_call request = {
        .method = "GET", .path = "/v1/me", .bearer = key, .headers = {first, second}};
    return world_call(world, &request)->status;
}

Test(keys, one_works_from_its_networks_only_also_behind_proxies)
{
    static const struct {
        const char *first;
        const char *second;
        long want;
    } cases[] = {
        {"x-forwarded-for: 203.0.113.7", NULL, 200},
        {"x-forwarded-for: 198.51.100.1", NULL, 403},
        {"x-forwarded-for: 203.0.113.7, 198.51.100.1", NULL, 403}, /* the first was made up */
        {"x-forwarded-for: 198.51.100.1, 203.0.113.7", NULL, 200},
        {"x-forwarded-for: 203.0.113.7, 10.1.2.3", NULL, 200}, /* through two of ours */
        {"x-forwarded-for: 203.0.113.7", "x-forwarded-for: 198.51.100.1", 403},
        {"x-forwarded-for: 198.51.100.1", "x-forwarded-for: 203.0.113.7", 200},
        {"x-forwarded-for: [2001:db8::5]:4711", NULL, 200},
        {"x-forwarded-for: 203.0.113.7, unknown", NULL, 403},
        {"x-forwarded-for: 10.1.2.3", NULL, 403},
        {"x-forwarded-for: ", NULL, 403},
        {NULL, NULL, 403},
    };
    struct world *world = new_world();
    struct reply *made =
        create(world, "{'name':'k','allowedIps':['203.0.113.0/24','2001:db8::/32']}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        long got = me_through(world, reply_text(made, "key"), cases[i].first, cases[i].second);
        cr_expect_eq(got, cases[i].want, "case %zu: %ld", i, got);
    }
    struct reply *refused = call(world, reply_text(made, "key"), "GET", "/v1/me", "");
    cr_expect_str_eq(reply_text(refused, "code"), "key_ip");
    struct reply *got = world_get(world, "%s", path_of(world, made, ""));
    cr_expect_str_eq(reply_text(got, "lastUsedIp"), "203.0.113.7");

    world_stop(world);
    world_set(world, "trusted_proxies", "10.0.0.0/8");
    world_start(world);
    cr_expect_eq(me_through(world, reply_text(made, "key"), cases[0].first, NULL), 403,
                 "anybody can write that header");
    world_end(world);
}

Test(keys, strangers_find_no_key_of_ours)
{
    struct world *world = new_world();
    struct reply *made = create(world, "{'name':'k'}");
    struct reply *other =
        world_post(world, "/api/auth/signup", "{'email':'other@customer.test','password':'%s'}",
                   "correct horse");
    const char *stranger = reply_text(other, "apiKey");
    static const char *const bad[] = {"/v1/keys/x", "/v1/keys/key_",
                                      "/v1/keys/msg_0000000000000000000001"};
    cr_expect_eq(call(world, stranger, "GET", path_of(world, made, ""), "")->status, 404);
    cr_expect_eq(call(world, stranger, "PATCH", path_of(world, made, ""), "{}")->status, 404);
    cr_expect_eq(call(world, stranger, "DELETE", path_of(world, made, ""), "")->status, 404);
    cr_expect_eq(call(world, stranger, "POST", path_of(world, made, "/rotate"), "")->status, 404);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(call(world, NULL, "GET", bad[i], "")->status, 404, "%s", bad[i]);
    }
    cr_expect_eq(me(world, reply_text(made, "key")), 200);
    cr_expect_eq(call(world, "", "GET", "/v1/keys", "")->status, 401);
    cr_expect_eq(call(world, world->token, "GET", "/v1/keys", "")->status, 200, "people may, too");
    struct reply *by_user = call(world, world->token, "POST", "/v1/keys", "{'name':'u'}");
    cr_expect(slice_starts(slice_str(reply_text(by_user, "createdBy")), SLICE("usr_")));
    world_end(world);
}

/* ---- secrets --------------------------------------------------------------------------------- */

static bool is_on_disk(struct world *world, const char *text)
{
    const char *const argv[] = {"grep", "-r", "-q", "-a", "-F", text, world->data, NULL};
    int status = world_tool(world, argv, SLICE(""), NULL);
    cr_assert_leq(status, 1, "grep failed");
    return status == 0;
}

Test(keys, their_text_is_shown_once_and_kept_nowhere)
{
    struct world *world = new_world();
    struct reply *made = create(world, "{'name':'FindThisName'}");
    const char *old = reply_text(made, "key");
    struct reply *heir =
        call(world, NULL, "POST", path_of(world, made, "/rotate"), "{'overlapSeconds':9}");
    const char *key = reply_text(heir, "key");
    cr_expect_eq(me(world, key), 200);
    struct reply *list = world_get(world, "/v1/keys");
    struct slice views[] = {list->body, world_get(world, "%s", path_of(world, heir, ""))->body,
                            call(world, key, "GET", "/v1/me", "")->body};
    for (size_t i = 0; i < ARRAY_LEN(views); i++) {
        cr_expect_eq(slice_find(views[i], slice_str(key)), SIZE_MAX, "view %zu", i);
        cr_expect_eq(slice_find(views[i], slice_str(old)), SIZE_MAX, "view %zu", i);
    }
    world_stop(world);
    cr_expect(is_on_disk(world, "FindThisName"), "else the search proves nothing");
    cr_expect_not(is_on_disk(world, key));
    cr_expect_not(is_on_disk(world, old));
    cr_expect_not(is_on_disk(world, world->key));
    cr_expect_eq(slice_find(world_log(world), slice_str(key)), SIZE_MAX);
    cr_expect_eq(slice_find(world_log(world), slice_str(old)), SIZE_MAX);
    world_start(world);
    cr_expect_eq(me(world, key), 200, "it is known all the same");
    world_end(world);
}

/* ---- the log, and rates ------------------------------------------------------------------------
 */

Test(keys, the_log_tells_who_did_what_from_where)
{
    struct world *world = new_world();
    struct reply *made = create(world, "{'name':'Deploys'}");
    (void)call(world, NULL, "PATCH", path_of(world, made, ""), "{'enabled':false}");
    (void)call(world, world->token, "DELETE", path_of(world, made, ""), "");
    struct reply *log = world_get(world, "/api/audit");
    cr_assert_eq(log->status, 200, "%.*s", SLICE_FMT(log->body));
    cr_assert_geq(json_array_size(log->json), 4, "%.*s", SLICE_FMT(log->body));
    cr_expect_str_eq(reply_text(log, "0.type"), "api_key.revoked");
    cr_expect_str_eq(reply_text(log, "0.actor.type"), "user");
    cr_expect_str_eq(reply_text(log, "0.actor.name"), "owner@customer.test");
    cr_expect_str_eq(reply_text(log, "0.target"), reply_text(made, "id"));
    cr_expect_str_eq(reply_text(log, "0.ip"), "127.0.0.1");
    cr_expect_gt(reply_int(log, "0.createdAt"), 1);
    cr_expect_str_eq(reply_text(log, "1.type"), "api_key.changed");
    cr_expect_str_eq(reply_text(log, "1.actor.type"), "key");
    cr_expect_str_eq(reply_text(log, "1.detail"), "enabled");
    cr_expect_str_eq(reply_text(log, "2.detail"), "Deploys");
    struct reply *page = world_get(world, "/api/audit?limit=2&before=%s", reply_text(log, "1.id"));
    cr_assert_eq(json_array_size(page->json), 2);
    cr_expect_str_eq(reply_text(page, "0.id"), reply_text(log, "2.id"));
    cr_expect_eq(world_get(world, "/api/audit?limit=0")->status, 400);
    cr_expect_eq(world_get(world, "/api/audit?before=key_x")->status, 400);
    struct reply *sender = create(world, "{'name':'send','permission':'send'}");
    cr_expect_eq(call(world, reply_text(sender, "key"), "GET", "/api/audit", "")->status, 403);
    world_end(world);
}

Test(keys, are_told_how_much_is_left_and_when_to_come_back)
{
    struct world *world = world_new();
    world_set(world, "rate_key_per_min", "6");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    struct reply *reply = NULL;
    for (int left = 5; left >= 0; left--) {
        char text[8];
        (void)snprintf(text, sizeof text, "%d", left);
        reply = world_get(world, "/v1/me");
        cr_assert_eq(reply->status, 200);
        cr_expect(slice_equal(reply_header(reply, "ratelimit-limit"), SLICE("6")));
        cr_expect(slice_equal(reply_header(reply, "ratelimit-remaining"), slice_str(text)));
    }
    reply = world_get(world, "/v1/me");
    cr_assert_eq(reply->status, 429);
    cr_expect_str_eq(reply_text(reply, "code"), "rate_limited");
    uint64_t retry_s = 0;
    cr_assert_eq(slice_u64(reply_header(reply, "retry-after"), &retry_s), ERR_OK);
    cr_expect(retry_s >= 1 && retry_s <= 10);
    cr_expect_eq(call(world, world->token, "GET", "/v1/me", "")->status, 200, "not the account");
    reply = call(world, "", "GET", "/v1/me", "");
    cr_expect_eq(reply->status, 401);
    cr_expect_gt(reply_header(reply, "ratelimit-limit").len, 0, "the address");
    cr_expect_eq(reply_header(call(world, "", "GET", "/api/health", ""), "ratelimit-limit").len, 0);
    world_end(world);
}
