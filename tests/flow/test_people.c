/* Flow: the people of an account, their sessions and their passwords, over HTTP.
 *
 * Not covered here: each rule by itself (tests/unit/shards/test_user, test_member, test_throttle),
 * that two failed log-ins look the same (tests/unit/edge/test_people.c), Google (test_google.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <string.h>

#include "base/buf.h"
#include "kv/key.h"
#include "kv/kv.h"
#include "kv/row.h"
#include "support/client.h"
#include "support/world.h"

#define PASSWORD "correct horse"
#define OTHER    "battery staple"

static struct reply *call(struct world *world, const char *bearer, const char *method,
                          const char *path, const char *json)
{
    char body[1024];
    size_t len = strlen(json);
    cr_assert_lt(len, sizeof body);
    for (size_t i = 0; i < len; i++) {
        body[i] = json[i];
        if (body[i] == '\'') {
            body[i] = '"';
        }
    }
    struct world_call request = {
        .method = method, .path = path, .bearer = bearer, .body = slice_of(body, len)};
    return world_call(world, &request);
}

static long status_of(struct world *world, const char *bearer)
{
    return call(world, bearer, "GET", "/v1/me", "")->status;
}

static struct reply *log_in(struct world *world, const char *email, const char *password)
{
    return call(world, "", "POST", "/api/auth/login",
                world_text(world, "{'email':'%s','password':'%s'}", email, password));
}

/* A session's token. */
static const char *session_of(struct world *world, const char *email, const char *password)
{
    struct reply *reply = log_in(world, email, password);
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    return reply_text(reply, "token");
}

static struct reply *sign_up(struct world *world, const char *email)
{
    return call(world, "", "POST", "/api/auth/signup",
                world_text(world, "{'email':'%s','password':'" PASSWORD "'}", email));
}

static struct reply *add(struct world *world, const char *bearer, const char *email,
                         const char *role, const char *more)
{
    return call(world, bearer, "POST", "/api/members",
                world_text(world, "{'email':'%s','role':'%s'%s}", email, role, more));
}

static struct reply *drop(struct world *world, const char *bearer, const char *id)
{
    return call(world, bearer, "DELETE", world_text(world, "/api/members/%s", id), "");
}

static struct reply *set_role(struct world *world, const char *bearer, const char *id,
                              const char *role)
{
    return call(world, bearer, "PATCH", world_text(world, "/api/members/%s", id),
                world_text(world, "{'role':'%s'}", role));
}

static bool is_true(const struct reply *reply, const char *path)
{
    cr_assert(json_is_boolean(reply_at(reply, path)), "%s of %.*s", path, SLICE_FMT(reply->body));
    return json_is_true(reply_at(reply, path));
}

static bool has_scope(const struct reply *me, const char *scope)
{
    for (size_t i = 0; i < reply_count(me, "scopes"); i++) {
        const char *text = json_string_value(json_array_get(reply_at(me, "scopes"), i));
        if (strcmp(text, scope) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the first user ---------------------------------------------------------------------------
 */

Test(people, the_first_user_of_a_server_is_its_admin)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *first = sign_up(world, "first@a.test");
    cr_assert_eq(first->status, 201);
    cr_expect(is_true(first, "user.isAdmin"));
    cr_expect_str_eq(reply_text(first, "user.role"), "owner");
    cr_assert_eq(sign_up(world, "first@a.test")->status, 409);
    struct reply *second = sign_up(world, "second@a.test");
    cr_assert_eq(second->status, 201);
    cr_expect_not(is_true(second, "user.isAdmin"));
    world_stop(world);
    world_start(world);
    cr_expect_not(is_true(sign_up(world, "third@a.test"), "user.isAdmin"));
    cr_expect(is_true(log_in(world, "first@a.test", PASSWORD), "user.isAdmin"));
    world_end(world);
}

Test(people, a_closed_server_takes_its_first_user_only)
{
    struct world *world = world_new();
    world_set(world, "signup_open", "no");
    world_start(world);
    struct reply *first = sign_up(world, "first@a.test");
    cr_assert_eq(first->status, 201, "%.*s", SLICE_FMT(first->body));
    cr_expect(is_true(first, "user.isAdmin"));
    static const char *const others[] = {"second@a.test", "first@a.test"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct reply *reply = sign_up(world, others[i]);
        cr_expect_eq(reply->status, 403);
        cr_expect_str_eq(reply_text(reply, "code"), "signup_closed", "whoever exists");
    }
    struct reply *member =
        add(world, reply_text(first, "token"), "m@a.test", "member", ",'password':'" PASSWORD "'");
    cr_expect_eq(member->status, 201, "people are added all the same");
    world_end(world);
}

static void put_row(struct kv *kv, uint32_t family, struct slice key, struct buf *row)
{
    struct kv_batch *batch = kv_batch_new(family);
    if (row != NULL) {
        kv_batch_put(batch, key, buf_slice(row));
    } else {
        kv_batch_delete(batch, key);
    }
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    cr_assert_eq(kv_sync(kv), ERR_OK);
    kv_batch_free(batch);
}

/* As the release before would have left it: no claim, the first format. */
static void make_old(struct world *world)
{
    struct kv *kv;
    struct buf row;
    struct slice name = SLICE("first-user");
    struct key key = key_directory(DIRECTORY_SERVER, name);
    struct kv_options options = {.path = slice_str(world_text(world, "%s/store", world->data)),
                                 .cache_bytes = 8 * MIB,
                                 .memtable_bytes = 8 * MIB,
                                 .must_exist = true};
    cr_assert_eq(kv_open(&options, &kv), ERR_OK);
    const struct row_format format = {
        .format = 1, .shard_count = kv_shard_count(kv), .created_unix_ms = 1, .boots = 7};
    buf_init(&row, KIB);
    row_format_encode(&format, &row);
    put_row(kv, KV_FAMILY_META, SLICE("format"), &row);
    put_row(kv, key_directory_shard(kv_shard_count(kv), name), key_slice(&key), NULL);
    buf_fini(&row);
    kv_close(kv);
}

Test(people, an_upgraded_server_makes_no_stranger_its_admin)
{
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, "owner@a.test"); /* its key is the world's */
    world_stop(world);
    make_old(world);
    world_start(world);
    cr_assert_eq(status_of(world, world->key), 200, "nothing else has changed");
    struct reply *stranger = sign_up(world, "stranger@a.test");
    cr_assert_eq(stranger->status, 201);
    cr_assert_not(is_true(stranger, "user.isAdmin"));
    world_end(world);
}

Test(people, of_all_who_sign_up_first_at_once_one_is_admin)
{
    enum { CROWD = 6 };
    struct world *world = world_new();
    struct client clients[CROWD];
    world_set(world, "loops", "3");
    world_start(world);
    for (size_t i = 0; i < CROWD; i++) {
        const char *body =
            world_text(world, "{\"email\":\"u%zu@a.test\",\"password\":\"" PASSWORD "\"}", i);
        client_open(world, &clients[i], INADDR_LOOPBACK);
        client_say(&clients[i],
                   slice_str(world_text(world,
                                        "POST /api/auth/signup HTTP/1.1\r\nHost: h\r\n"
                                        "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                                        strlen(body), body)));
    }
    size_t admins = 0;
    for (size_t i = 0; i < CROWD; i++) {
        client_await_end(&clients[i]);
        cr_expect_eq(client_status(&clients[i], 0), 201);
        admins += client_count(buf_slice(&clients[i].in), "\"isAdmin\":true");
        client_close(&clients[i]);
    }
    cr_assert_eq(admins, 1);
    world_end(world);
}

/* ---- sessions ---------------------------------------------------------------------------------
 */

Test(people, a_session_ends_when_its_user_logs_out)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *made = sign_up(world, "owner@a.test");
    const char *first = reply_text(made, "token");
    const char *second = session_of(world, "owner@a.test", PASSWORD);
    struct reply *reply = call(world, reply_text(made, "apiKey"), "POST", "/api/auth/logout", "");
    cr_expect_eq(reply->status, 403);
    cr_expect_str_eq(reply_text(reply, "required"), "session");
    cr_assert_eq(call(world, first, "POST", "/api/auth/logout", "")->status, 200);
    cr_expect_eq(status_of(world, first), 401);
    cr_expect_eq(call(world, first, "POST", "/api/auth/logout", "")->status, 401);
    cr_expect_eq(status_of(world, second), 200);
    world_stop(world);
    world_start(world);
    cr_expect_eq(status_of(world, first), 401);
    cr_expect_eq(status_of(world, second), 200, "a restart ends no session");
    world_kill(world);
    world_start(world);
    cr_expect_eq(status_of(world, first), 401);
    cr_expect_eq(status_of(world, second), 200);
    world_end(world);
}

Test(people, a_new_password_ends_every_other_session)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *made = sign_up(world, "owner@a.test");
    const char *mine = reply_text(made, "token");
    const char *theirs = session_of(world, "owner@a.test", PASSWORD);
    static const struct {
        const char *body;
        int status;
    } bad[] = {
        {"{'current':'wrong horse','next':'" OTHER "'}", 401},
        {"{'current':'','next':'" OTHER "'}", 401},
        {"{'current':'" PASSWORD "','next':'short'}", 400},
        {"{'next':'" OTHER "'}", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply *reply = call(world, mine, "POST", "/api/auth/password", bad[i].body);
        cr_expect_eq(reply->status, bad[i].status, "case %zu: %.*s", i, SLICE_FMT(reply->body));
    }
    cr_expect_eq(status_of(world, theirs), 200, "nothing has happened yet");
    struct reply *reply = call(world, mine, "POST", "/api/auth/password",
                               "{'current':'" PASSWORD "','next':'" OTHER "'}");
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    cr_expect_eq(status_of(world, theirs), 401);
    cr_expect_eq(status_of(world, mine), 200);
    cr_expect_eq(status_of(world, reply_text(made, "apiKey")), 200, "keys are another matter");
    cr_expect_eq(log_in(world, "owner@a.test", PASSWORD)->status, 401);
    cr_expect_eq(log_in(world, "owner@a.test", OTHER)->status, 200);
    struct slice log = world_log(world);
    cr_expect_eq(slice_find(log, SLICE(OTHER)), SIZE_MAX);
    cr_expect_eq(slice_find(log, slice_str(mine)), SIZE_MAX);
    world_end(world);
}

/* Of each edge: connections are spread over them. */
static void expect_everywhere(struct world *world, const char *bearer, int status)
{
    enum { CONNECTIONS = 12 };
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct client client;
        client_open(world, &client, INADDR_LOOPBACK);
        client_say(&client, slice_str(world_text(world,
                                                 "GET /v1/me HTTP/1.1\r\nHost: h\r\n"
                                                 "Authorization: Bearer %s\r\n"
                                                 "Connection: close\r\n\r\n",
                                                 bearer)));
        client_await_end(&client);
        cr_expect_eq(client_status(&client, 0), status, "connection %zu", i);
        client_close(&client);
    }
}

Test(people, an_admin_makes_another_key_sign_the_tokens)
{
    struct world *world = world_new();
    world_set(world, "loops", "3");
    world_start(world);
    struct reply *made = sign_up(world, "owner@a.test");
    const char *key = reply_text(made, "apiKey");
    const char *first = reply_text(made, "token");
    const char *stranger = reply_text(sign_up(world, "stranger@a.test"), "token");
    const char *path = "/api/admin/sessions/rotate";
    cr_expect_eq(call(world, stranger, "POST", path, "")->status, 403);
    cr_expect_eq(call(world, key, "POST", path, "")->status, 403);
    cr_expect_eq(call(world, first, "POST", path, "{'now':1}")->status, 400);

    struct reply *reply = call(world, first, "POST", path, "");
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    cr_expect_eq(reply_int(reply, "generation"), 1);
    expect_everywhere(world, first, 200);
    const char *second = session_of(world, "owner@a.test", PASSWORD);
    expect_everywhere(world, second, 200);
    world_stop(world);
    world_start(world);
    expect_everywhere(world, first, 200);
    expect_everywhere(world, second, 200);

    reply = call(world, second, "POST", path, "{'now':true}");
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    expect_everywhere(world, first, 401);
    expect_everywhere(world, second, 401);
    expect_everywhere(world, key, 200);
    const char *third = session_of(world, "owner@a.test", PASSWORD);
    expect_everywhere(world, third, 200);
    world_stop(world);
    world_start(world);
    expect_everywhere(world, second, 401);
    expect_everywhere(world, third, 200);
    world_end(world);
}

/* ---- members ----------------------------------------------------------------------------------
 */

Test(people, who_is_invited_joins_once)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *owner = sign_up(world, "owner@a.test");
    const char *token = reply_text(owner, "token");
    struct reply *made = add(world, token, "Guest@A.test", "member", ",'name':'A Guest'");
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    cr_expect_str_eq(reply_text(made, "status"), "invited");
    const char *invite = reply_text(made, "inviteToken");
    cr_assert_not_null(invite);
    cr_expect_eq(log_in(world, "guest@a.test", PASSWORD)->status, 401, "there is no password yet");
    cr_expect_eq(status_of(world, invite), 401, "an invitation is no session");
    cr_expect_eq(add(world, token, "guest@a.test", "member", "")->status, 409);
    cr_expect_eq(sign_up(world, "guest@a.test")->status, 409);

    const char *join = world_text(world, "{'token':'%s','password':'" OTHER "'}", invite);
    struct reply *joined = call(world, "", "POST", "/api/auth/join", join);
    cr_assert_eq(joined->status, 200, "%.*s", SLICE_FMT(joined->body));
    const char *guest = reply_text(joined, "token");
    cr_expect_eq(call(world, "", "POST", "/api/auth/join", join)->status, 401, "once");
    const char *stolen = world_text(world, "{'token':'%s','password':'" OTHER "'}", token);
    cr_expect_eq(call(world, "", "POST", "/api/auth/join", stolen)->status, 401);

    struct reply *me = call(world, guest, "GET", "/v1/me", "");
    cr_expect_str_eq(reply_text(me, "account.id"), reply_text(owner, "account.id"));
    cr_expect_str_eq(reply_text(me, "role"), "member");
    cr_expect(has_scope(me, "mail:send"));
    cr_expect(has_scope(me, "keys:read"));
    cr_expect_not(has_scope(me, "keys:write"));
    cr_expect_not(has_scope(me, "domains:write"));
    struct reply *refused = call(world, guest, "POST", "/api/keys", "{'name':'mine'}");
    cr_expect_eq(refused->status, 403);
    cr_expect_str_eq(reply_text(refused, "code"), "scope");
    cr_expect_str_eq(reply_text(refused, "required"), "keys:write");
    cr_expect_eq(call(world, guest, "POST", "/api/domains", "{'domain':'a.test'}")->status, 403);
    cr_expect_eq(call(world, guest, "GET", "/api/keys", "")->status, 200);
    cr_expect_eq(add(world, guest, "x@a.test", "member", "")->status, 403);

    struct reply *list = call(world, token, "GET", "/api/members", "");
    cr_assert_eq(reply_count(list, ""), 2);
    cr_expect_str_eq(reply_text(list, "0.email"), "guest@a.test");
    cr_expect_str_eq(reply_text(list, "0.status"), "active");
    cr_expect_str_eq(reply_text(list, "0.name"), "A Guest");
    cr_expect_gt(reply_int(list, "0.lastLoginAt"), 0);
    cr_expect_str_eq(reply_text(list, "1.role"), "owner");
    cr_expect(is_true(list, "1.isAdmin"));
    world_end(world);
}

Test(people, an_account_keeps_its_order_of_roles)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *made = sign_up(world, "owner@a.test");
    const char *owner = reply_text(made, "token");
    const char *key = reply_text(made, "apiKey");
    const char *owner_id = reply_text(made, "user.id");
    const char *with = ",'password':'" PASSWORD "'";
    struct reply *reply = add(world, key, "x@a.test", "member", with);
    cr_expect_eq(reply->status, 403);
    cr_expect_str_eq(reply_text(reply, "code"), "scope");
    cr_expect_str_eq(reply_text(reply, "required"), "session");
    cr_expect_eq(call(world, key, "GET", "/api/members", "")->status, 403);
    cr_expect_eq(add(world, owner, "x@a.test", "king", with)->status, 400);
    cr_expect_eq(add(world, owner, "no address", "member", with)->status, 400);
    cr_expect_eq(add(world, owner, "x@a.test", "member", ",'password':'short'")->status, 400);

    reply = add(world, owner, "admin@a.test", "admin", with);
    cr_assert_eq(reply->status, 201);
    cr_expect_null(reply_at(reply, "inviteToken"));
    const char *admin_id = reply_text(reply, "id");
    const char *admin = session_of(world, "admin@a.test", PASSWORD);
    reply = add(world, admin, "x@a.test", "owner", with);
    cr_expect_eq(reply->status, 403);
    cr_expect_str_eq(reply_text(reply, "required"), "role:owner");
    cr_expect_eq(drop(world, admin, owner_id)->status, 403);
    cr_expect_eq(set_role(world, admin, owner_id, "member")->status, 403);
    cr_expect_eq(set_role(world, admin, admin_id, "owner")->status, 403);
    cr_expect_eq(drop(world, owner, owner_id)->status, 409, "the last owner stays");
    cr_expect_eq(set_role(world, owner, owner_id, "admin")->status, 409);
    cr_expect_eq(drop(world, owner, "usr_0000000000000000000000")->status, 404);
    cr_expect_eq(drop(world, owner, "nobody")->status, 404);

    reply = set_role(world, owner, admin_id, "owner");
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    cr_expect_str_eq(reply_text(reply, "role"), "owner");
    cr_expect_eq(drop(world, owner, owner_id)->status, 200, "now he may leave");
    cr_expect_eq(status_of(world, owner), 401);
    cr_expect_eq(status_of(world, key), 200, "keys belong to the account");
    cr_expect_eq(drop(world, admin, admin_id)->status, 409);
    reply = sign_up(world, "owner@a.test");
    cr_expect_eq(reply->status, 201, "the email is free: %.*s", SLICE_FMT(reply->body));
    cr_expect_eq(reply_count(call(world, admin, "GET", "/api/members", ""), ""), 1);
    struct reply *strangers = drop(world, reply_text(reply, "token"), admin_id);
    cr_expect_eq(strangers->status, 404, "of another account");
    world_end(world);
}

Test(people, who_is_removed_is_out_and_an_old_invitation_is_void)
{
    struct world *world = world_new();
    world_start(world);
    const char *owner = reply_text(sign_up(world, "owner@a.test"), "token");
    struct reply *first = add(world, owner, "guest@a.test", "member", "");
    const char *old = reply_text(first, "inviteToken");
    cr_assert_eq(drop(world, owner, reply_text(first, "id"))->status, 200);
    cr_expect_eq(drop(world, owner, reply_text(first, "id"))->status, 404);
    struct reply *second = add(world, owner, "guest@a.test", "member", "");
    cr_assert_eq(second->status, 201, "%.*s", SLICE_FMT(second->body));
    const char *body = world_text(world, "{'token':'%s','password':'" OTHER "'}", old);
    cr_expect_eq(call(world, "", "POST", "/api/auth/join", body)->status, 401);
    body = world_text(world, "{'token':'%s','password':'" OTHER "'}",
                      reply_text(second, "inviteToken"));
    struct reply *joined = call(world, "", "POST", "/api/auth/join", body);
    cr_assert_eq(joined->status, 200);
    const char *guest = reply_text(joined, "token");
    world_stop(world);
    world_start(world);
    cr_expect_eq(status_of(world, guest), 200);
    cr_assert_eq(drop(world, owner, reply_text(second, "id"))->status, 200);
    cr_expect_eq(status_of(world, guest), 401);
    cr_expect_eq(log_in(world, "guest@a.test", OTHER)->status, 401);
    world_end(world);
}

/* ---- tries ------------------------------------------------------------------------------------
 */

Test(people, too_many_wrong_passwords_shut_an_email_to_the_right_one_too)
{
    struct world *world = world_new();
    world_set(world, "login_email_max", "3");
    world_start(world);
    (void)sign_up(world, "owner@a.test"); /* one that is to be guessed */
    (void)sign_up(world, "other@a.test");
    static const char *const emails[] = {"owner@a.test", "nobody@a.test"};
    for (size_t n = 0; n < 5; n++) {
        cr_expect_eq(log_in(world, emails[0], PASSWORD)->status, 200, "none of these failed");
    }
    for (size_t i = 0; i < ARRAY_LEN(emails); i++) {
        for (int n = 0; n < 3; n++) {
            cr_expect_eq(log_in(world, emails[i], "wrong horse")->status, 401);
        }
        struct reply *locked = log_in(world, emails[i], PASSWORD);
        cr_expect_eq(locked->status, 429, "%s, whether it exists or not", emails[i]);
        cr_expect_str_eq(reply_text(locked, "code"), "rate_limited");
        uint64_t seconds = 0;
        cr_expect_eq(slice_u64(reply_header(locked, "retry-after"), &seconds), ERR_OK);
        cr_expect(seconds > 200 && seconds <= 300, "%ju", (uintmax_t)seconds);
    }
    cr_expect_eq(log_in(world, "other@a.test", PASSWORD)->status, 200);
    world_end(world);
}

Test(people, too_many_failures_shut_out_an_address)
{
    struct world *world = world_new();
    world_set(world, "login_address_max", "4");
    world_start(world);
    (void)sign_up(world, "owner@a.test");
    cr_expect_eq(log_in(world, "a@a.test", "wrong horse")->status, 401);
    cr_expect_eq(log_in(world, "b@a.test", "wrong horse")->status, 401);
    cr_expect_eq(sign_up(world, "owner@a.test")->status, 409);
    cr_expect_eq(
        call(world, "", "POST", "/api/auth/join", "{'token':'made up','password':'" PASSWORD "'}")
            ->status,
        401);
    cr_expect_eq(log_in(world, "owner@a.test", PASSWORD)->status, 429);
    cr_expect_eq(sign_up(world, "new@a.test")->status, 429);
    cr_expect_eq(
        call(world, "", "POST", "/api/auth/join", "{'token':'x','password':'" PASSWORD "'}")
            ->status,
        429);
    world_end(world);
}
