/* Flow: every route with every credential. The routes are those of the route table, so a new one
 * cannot be forgotten: it is tried here, and fails until its body is given below.
 *
 * Not covered here: which right belongs to which route (tests/unit/edge/test_route_rights.c), what
 * people may do (test_people.c), the operator's socket (test_admin.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "edge/auth.h"
#include "edge/routes.h"
#include "support/world.h"

/* Good bodies, so that a refusal is about the credential; "{}" for all others. */
static const struct {
    const char *path;
    const char *body;
} bodies[] = {
    {"/v1/send", "{'from':'a@send.test','to':'c@d.test','text':'x','sandbox':true}"},
    {"/v1/send/batch", "[{'from':'a@send.test','to':'c@d.test','text':'x','sandbox':true}]"},
    {"/v1/scheduled/:id", "{'scheduledAt':'in 2 hours'}"},
    {"/v1/keys", "{'name':'k','scopes':[]}"},
    {"/api/keys", "{'name':'k','scopes':[]}"},
    {"/api/domains", "{'domain':'made.test'}"},
    {"/api/domains/:id", "{'retentionDays':3}"},
    {"/api/domains/:id/tracking", "{'opens':true}"},
    {"/api/domains/:id/webhook", "{'url':'https://hooks.example.com/in'}"},
    {"/api/domains/:id/webhook-events", "{'events':['email.delivered']}"},
    {"/api/routes", "{'match':'*@send.test','action':'store'}"},
    {"/v1/mailboxes", "{'address':'info@send.test'}"},
    {"/api/templates", "{'name':'n','text':'Hi {{name}}'}"},
    {"/api/contacts/suppressions", "{'email':'gone@dest.test'}"},
    {"/api/routes/:id/replay", "{'since':1}"},
    {"/api/auth/password", "{'current':'correct horse','next':'correct horses'}"},
    {"/api/members", "{'email':'new@customer.test','role':'member'}"},
    {"/api/members/:id", "{'role':'member'}"},
    {"/api/admin/users", "{'email':'made@customer.test'}"},
    {"/api/admin/queue/retry", "{'account':'acc_00000000001'}"},
    {"/api/admin/queue/expire", "{'account':'acc_00000000001'}"},
};

struct scene {
    struct world *world;
    const struct route *routes;
    uint32_t count;
    const char *domain;
    const char *key_id;
    const char *mail;
    const char *scheduled;
    const char *delivery;
    const char *route;
    const char *user;
    const char *mailbox;
    const char *template;
    const char *thread; /* of the account, but there is none: no mail came in */
};

/* ---- calling --------------------------------------------------------------------------------- */

static const char *text_of(struct world *world, const char *text)
{
    char *copy = arena_bytes(&world->arena, strlen(text) + 1);
    for (size_t i = 0; i <= strlen(text); i++) {
        copy[i] = text[i] == '\'' ? '"' : text[i];
    }
    return copy;
}

static const char *body_of(struct scene *scene, const struct route *route)
{
    if (route->method == HTTP_METHOD_GET || route->method == HTTP_METHOD_DELETE) {
        return "";
    }
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (strcmp(bodies[i].path, route->path) == 0) {
            return text_of(scene->world, bodies[i].body);
        }
    }
    return "{}";
}

/* The path with the scene's own ids in it. */
static const char *path_of(struct scene *scene, const struct route *route)
{
    static const struct {
        const char *part;
        size_t offset;
    } ids[] = {
        {"keys/:id", offsetof(struct scene, key_id)},
        {"domains/:id", offsetof(struct scene, domain)},
        {"messages/:id", offsetof(struct scene, mail)},
        {"scheduled/:id", offsetof(struct scene, scheduled)},
        {"deliveries/:id", offsetof(struct scene, delivery)},
        {"routes/:id", offsetof(struct scene, route)},
        {"members/:id", offsetof(struct scene, user)},
        {"mailboxes/:id", offsetof(struct scene, mailbox)},
        {"templates/:id", offsetof(struct scene, template)},
        {"threads/:id", offsetof(struct scene, thread)},
    };
    struct slice path = slice_str(route->path);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        size_t at = slice_find(path, slice_str(ids[i].part));
        if (at != SIZE_MAX) {
            size_t param = at + strlen(ids[i].part) - 3;
            const char *id = *(const char *const *)((const char *)scene + ids[i].offset);
            return world_text(scene->world, "%.*s%s%s", (int)param, route->path, id,
                              route->path + param + 3);
        }
    }
    size_t colon = slice_find_byte(path, ':');
    return colon == SIZE_MAX ? route->path
                             : world_text(scene->world, "%.*sx%s", (int)colon, route->path,
                                          strchr(route->path + colon, '/') != NULL
                                              ? strchr(route->path + colon, '/')
                                              : "");
}

static const char *method_of(const struct route *route)
{
    static const char *const names[] = {
        [HTTP_METHOD_GET] = "GET",     [HTTP_METHOD_POST] = "POST",     [HTTP_METHOD_PUT] = "PUT",
        [HTTP_METHOD_PATCH] = "PATCH", [HTTP_METHOD_DELETE] = "DELETE",
    };
    return names[route->method];
}

static struct reply *try(struct scene *scene, const struct route *route, const char *bearer)
{
    struct world_call call = {
        .method = method_of(route),
        .path = path_of(scene, route),
        .bearer = bearer,
        .body = slice_str(body_of(scene, route)),
    };
    return world_call(scene->world, &call);
}

static struct reply *make(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
static struct reply *make(struct world *world, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *body = world_vtext(world, fmt, args);
    va_end(args);
    struct reply *made = world_post(world, "/v1/keys", "%s", text_of(world, body));
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    return made;
}

static void open_scene(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    crypto_init();
    scene->routes = routes_all(&scene->count);
    world_set(world, "rate_account_per_min", "1000000");
    world_set(world, "rate_key_per_min", "1000000");
    world_set(world, "rate_address_per_min", "1000000");
    world_start(world);
    scene->user = reply_text(world_signup(world, "owner@customer.test"), "user.id");
    scene->domain = world_domain(world, "send.test");
    scene->key_id = reply_text(make(world, "{'name':'victim','scopes':[]}"), "id");
    scene->mail = world_send(world, "{'from':'a@send.test','to':'b@test.invalid','text':'x',"
                                    "'sandbox':true}");
    struct reply *later = world_post(world, "/v1/send",
                                     "{'from':'a@send.test','to':'b@test.invalid','text':'x',"
                                     "'sandbox':true,'scheduledAt':'in 2 hours'}");
    cr_assert_eq(later->status, 202, "%.*s", SLICE_FMT(later->body));
    scene->scheduled = reply_text(later, "id");
    struct reply *read = world_get(world, "/api/messages/%s", scene->mail);
    scene->delivery = reply_text(read, "deliveries.0.id");
    struct reply *route =
        world_post(world, "/api/routes", "{'match':'*@send.test','action':'store'}");
    cr_assert_eq(route->status, 201, "%.*s", SLICE_FMT(route->body));
    scene->route = reply_text(route, "id");
    struct reply *mailbox = world_post(world, "/v1/mailboxes", "{'address':'box@send.test'}");
    cr_assert_eq(mailbox->status, 201, "%.*s", SLICE_FMT(mailbox->body));
    scene->mailbox = reply_text(mailbox, "id");
    struct reply *template =
        world_post(world, "/api/templates", "{'name':'n','text':'Hi {{name}}'}");
    cr_assert_eq(template->status, 201, "%.*s", SLICE_FMT(template->body));
    scene->template = reply_text(template, "id");
    scene->thread = world_text(world, "thr_%s", strchr(scene->mail, '_') + 1);
}

/* ---- credentials that do not count ----------------------------------------------------------- */

/* One byte of the key's random part is another: its checksum no longer fits. */
static const char *misspelt(struct world *world, const char *key)
{
    char *copy = arena_bytes(&world->arena, strlen(key) + 1);
    memcpy(copy, key, strlen(key) + 1);
    copy[30] = copy[30] == 'a' ? 'b' : 'a';
    return copy;
}

static const char *unknown(struct world *world, struct account_id account)
{
    struct auth_key key;
    auth_key_make(MODE_LIVE, account, &key);
    return world_text(world, "%s", key.text);
}

static const char *changed(struct world *world, const char *patch)
{
    struct reply *made = make(world, "{'name':'k'}");
    struct world_call call = {
        .method = "PATCH",
        .path = world_text(world, "/v1/keys/%s", reply_text(made, "id")),
        .body = slice_str(text_of(world, patch)),
    };
    cr_assert_eq(world_call(world, &call)->status, 200);
    return reply_text(made, "key");
}

static const char *ended(struct world *world, const char *method, const char *tail)
{
    struct reply *made = make(world, "{'name':'k'}");
    struct world_call call = {
        .method = method, .path = world_text(world, "/v1/keys/%s%s", reply_text(made, "id"), tail)};
    cr_assert_eq(world_call(world, &call)->status, 200);
    return reply_text(made, "key");
}

static const char *expired(struct world *world)
{
    const char *key = changed(
        world, world_text(world, "{'expiresAt':%llu}", (unsigned long long)clock_unix_ms() + 1000));
    struct world_call call = {.method = "GET", .path = "/v1/me", .bearer = key};
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_call(world, &call)->status == 200 && wait_more(&wait)) {
    }
    return key;
}

Test(cross, no_route_takes_a_credential_that_does_not_count)
{
    struct scene scene;
    struct account_id account;
    struct id user;
    open_scene(&scene);
    struct world *world = scene.world;
    cr_assert_eq(id_parse(ID_USER, slice_str(scene.user), &user), ERR_OK);
    account = id_account(user);
    const struct {
        const char *name;
        const char *bearer;
    } bad[] = {
        {"none", ""},
        {"malformed", "mk_live_x"},
        {"no key at all", "Zm9vOmJhcg=="},
        {"misspelt", misspelt(world, world->key)},
        {"unknown", unknown(world, account)},
        {"of no account", unknown(world, (struct account_id){.value = 0x1234567})},
        {"disabled", changed(world, "{'enabled':false}")},
        {"revoked", ended(world, "DELETE", "")},
        {"rotated", ended(world, "POST", "/rotate")},
        {"expired", expired(world)},
        {"a session of nobody", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA"},
    };
    for (uint32_t i = 0; i < scene.count; i++) {
        const struct route *route = &scene.routes[i];
        for (size_t n = 0; route->access != ROUTE_PUBLIC && n < ARRAY_LEN(bad); n++) {
            struct reply *got = try(&scene, route, bad[n].bearer);
            cr_expect_eq(got->status, 401, "%s %s with one that is %s: %ld %.*s", method_of(route),
                         route->path, bad[n].name, got->status, SLICE_FMT(got->body));
        }
    }
    struct reply *audit = world_get(world, "/api/messages/%s", scene.mail);
    cr_expect_eq(audit->status, 200, "nothing of it was touched");
    world_end(world);
}

/* ---- credentials that count, for something else ---------------------------------------------- */

static void expect_refusal(struct scene *scene, const char *bearer, const char *code)
{
    for (uint32_t i = 0; i < scene->count; i++) {
        const struct route *route = &scene->routes[i];
        if (route->access == ROUTE_PUBLIC) {
            continue;
        }
        struct reply *got = try(scene, route, bearer);
        cr_expect_eq(got->status, 403, "%s %s: %ld %.*s", method_of(route), route->path,
                     got->status, SLICE_FMT(got->body));
        cr_expect_str_eq(reply_text(got, "code"), code, "%s %s", method_of(route), route->path);
    }
}

Test(cross, no_route_takes_a_key_from_a_network_it_is_not_for)
{
    struct scene scene;
    open_scene(&scene);
    struct reply *made = make(scene.world, "{'name':'k','allowedIps':['203.0.113.0/24']}");
    expect_refusal(&scene, reply_text(made, "key"), "key_ip");
    world_end(scene.world);
}

Test(cross, every_route_names_the_scope_that_is_missing)
{
    struct scene scene;
    open_scene(&scene);
    for (enum right own = RIGHT_NONE; own < RIGHT_COUNT; own++) {
        const char *list =
            own == RIGHT_NONE ? "" : world_text(scene.world, "'%s'", right_text(own));
        struct reply *made = make(scene.world, "{'name':'k','scopes':[%s]}", list);
        for (uint32_t i = 0; i < scene.count; i++) {
            const struct route *route = &scene.routes[i];
            bool is_closed = route->access == ROUTE_SESSION || route->access == ROUTE_ADMIN;
            bool is_open = route->access == ROUTE_CREDENTIAL &&
                           (route->right == RIGHT_NONE || route->right == own);
            if (route->access == ROUTE_PUBLIC || is_open) {
                continue; /* what an open one does is told elsewhere, and would change the scene */
            }
            struct reply *got = try(&scene, route, reply_text(made, "key"));
            cr_expect_eq(got->status, 403, "%s %s with %s: %ld", method_of(route), route->path,
                         list, got->status);
            cr_expect_str_eq(reply_text(got, "code"), "scope");
            if (!is_closed) {
                cr_expect_str_eq(reply_text(got, "required"), right_text(route->right));
            }
        }
    }
    world_end(scene.world);
}

/* A route that names something answers 404, whoever asks; never 403, which would say that it is
 * there. */
Test(cross, nobody_elses_things_are_found)
{
    struct scene scene;
    open_scene(&scene);
    struct world *world = scene.world;
    struct reply *other =
        world_post(world, "/api/auth/signup", "{'email':'other@customer.test','password':'%s'}",
                   "correct horse");
    cr_assert_eq(other->status, 201);
    struct reply *test = make(world, "{'name':'k','mode':'test'}");
    const char *const strangers[] = {reply_text(other, "apiKey"), reply_text(other, "token")};
    for (uint32_t i = 0; i < scene.count; i++) {
        const struct route *route = &scene.routes[i];
        bool names = strstr(route->path, "/:") != NULL;
        for (size_t n = 0; names && n < ARRAY_LEN(strangers); n++) {
            if (route->access != ROUTE_CREDENTIAL) {
                continue;
            }
            struct reply *got = try(&scene, route, strangers[n]);
            cr_expect_eq(got->status, 404, "%s %s: %ld %.*s", method_of(route), route->path,
                         got->status, SLICE_FMT(got->body));
        }
        bool is_mail = strstr(route->path, "/messages/:") || strstr(route->path, "/scheduled/:") ||
                       strstr(route->path, "/deliveries/:");
        if (is_mail && route->access == ROUTE_CREDENTIAL) {
            struct reply *got = try(&scene, route, reply_text(test, "key"));
            cr_expect_eq(got->status, 404, "%s %s with a test key: %ld", method_of(route),
                         route->path, got->status);
        }
    }
    cr_expect_eq(world_get(world, "/v1/keys/%s", scene.key_id)->status, 200);
    cr_expect_eq(world_get(world, "/api/routes/%s", scene.route)->status, 200);
    cr_expect_eq(world_get(world, "/api/domains/%s", scene.domain)->status, 200);
    world_end(world);
}

/* A key bound to one domain touches nothing of another; what hangs on no domain at all is not its
 * business either way. */
Test(cross, a_key_of_one_domain_reaches_nothing_of_another)
{
    static const char *const bound[] = {
        "/domains/:", "/messages/:", "/deliveries/:", "/routes/:", "/scheduled/:"};
    struct scene scene;
    open_scene(&scene);
    const char *other = world_domain(scene.world, "other.test");
    struct reply *made = make(scene.world, "{'name':'k','domains':['%s']}", other);
    for (uint32_t i = 0; i < scene.count; i++) {
        const struct route *route = &scene.routes[i];
        bool is_bound = strcmp(route->path, "/v1/send") == 0;
        for (size_t n = 0; n < ARRAY_LEN(bound); n++) {
            is_bound = is_bound || strstr(route->path, bound[n]) != NULL;
        }
        if (!is_bound || route->access != ROUTE_CREDENTIAL) {
            continue;
        }
        struct reply *got = try(&scene, route, reply_text(made, "key"));
        cr_expect_eq(got->status, 403, "%s %s: %ld %.*s", method_of(route), route->path,
                     got->status, SLICE_FMT(got->body));
        cr_expect_str_eq(reply_text(got, "code"), "key_scope", "%s %s", method_of(route),
                         route->path);
    }
    world_end(scene.world);
}

Test(cross, a_rotated_key_and_its_heir_pass_everywhere_during_the_overlap)
{
    struct scene scene;
    open_scene(&scene);
    struct reply *old = make(scene.world, "{'name':'k','scopes':['mail:read','routes:read']}");
    struct reply *heir = world_post(
        scene.world, world_text(scene.world, "/v1/keys/%s/rotate", reply_text(old, "id")),
        "{'overlapSeconds':600}");
    cr_assert_eq(heir->status, 200);
    const char *const keys[] = {reply_text(old, "key"), reply_text(heir, "key")};
    for (uint32_t i = 0; i < scene.count; i++) {
        const struct route *route = &scene.routes[i];
        bool is_thread = strstr(route->path, "/threads/:") != NULL; /* which there is none of */
        if (is_thread || (route->right != RIGHT_MAIL_READ && route->right != RIGHT_ROUTES_READ)) {
            continue;
        }
        for (size_t n = 0; n < ARRAY_LEN(keys); n++) {
            struct reply *got = try(&scene, route, keys[n]);
            cr_expect_eq(got->status, 200, "%s %s: %ld", method_of(route), route->path,
                         got->status);
        }
    }
    world_end(scene.world);
}
