/* Who may run the server: the admin socket, administrators, and what the shards are asked.
 *
 * Not covered here: the socket file and other users (tests/unit/net/test_listen_local.c,
 * tests/flow/test_admin.c), what the shard does with it (tests/unit/shards/test_admin.c).
 */
#include "unit/edge/edge_rig.h"

#include <sys/stat.h>
#include <sys/un.h>

#define ACCOUNT_TEXT "acc_00000000001"

static const char *token_of(struct rig *rig, struct arena *arena)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    const struct token token = {
        .account = {RIG_ACCOUNT},
        .user = id_make(&maker, (struct account_id){RIG_ACCOUNT}, RIG_UNIX_MS),
        .session = id_random(),
        .expires_unix_ms = RIG_UNIX_MS + 1000000,
    };
    struct slice text = auth_token_make(&rig->edge->token_keys, &token, arena);
    return arena_cstr(arena, text);
}

static void say_who(struct rig *rig, uint32_t number, bool has_user, bool is_admin)
{
    struct msg *msg = rig->got[number - 1];
    cr_assert_eq(msg->kind, MSG_SHARD_ME);
    cr_assert_eq(msg->body.me.caller.kind, CALLER_SESSION);
    msg->body.me.has_user = has_user;
    msg->body.me.user.is_admin = is_admin;
    msg->body.me.user.email = SLICE("boss@customer.test");
    rig_answer(rig, number, ERR_OK);
}

/* ---- administrators -------------------------------------------------------------------------- */

Test(operator, an_administrator_is_known_before_the_request_goes_on)
{
    static const char body[] = "{\"name\":\"Renamed\",\"dailyMax\":7}";
    struct rig rig;
    struct client client;
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client,
               "PATCH /api/admin/accounts/" ACCOUNT_TEXT " HTTP/1.1\r\nHost: h\r\n"
               "Authorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s",
               token_of(&rig, &arena), sizeof body - 1, body);
    (void)rig_await(&rig, 1); /* is looked at below */
    say_who(&rig, 1, true, true);
    struct shard_admin *asked = &rig_await(&rig, 2)->body.admin;
    cr_assert_eq(rig.got[1]->kind, MSG_SHARD_ADMIN);
    cr_assert_eq(asked->op, ADMIN_CHANGE);
    cr_assert_eq(asked->account.value, 1);
    cr_assert_eq(asked->caller.kind, CALLER_SESSION);
    cr_assert(slice_equal(asked->caller_email, SLICE("boss@customer.test")));
    cr_assert_eq(asked->given, ADMIN_FIELD_NAME | ADMIN_FIELD_DAILY);
    cr_assert(slice_equal(asked->wanted.name, SLICE("Renamed")), "the body was lost on the way");
    struct account_view view = {.row = {.id = {1}, .name = SLICE("Renamed")}};
    asked->accounts = &view;
    asked->account_count = 1;
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 1, 200);
    client_close(&client);
    rig_end(&rig);
    arena_fini(&arena);
}

Test(operator, nobody_else_s_request_goes_on)
{
    static const struct {
        bool has_user;
        bool is_admin;
    } strangers[] = {{true, false}, {false, false}, {false, true}};
    struct rig rig;
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    rig_init(&rig);
    rig_start(&rig);
    for (uint32_t i = 0; i < ARRAY_LEN(strangers); i++) {
        struct client client;
        client_open(&rig, &client);
        client_say(&client,
                   "GET /api/admin/server HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
                   token_of(&rig, &arena));
        (void)rig_await(&rig, i + 1); /* is looked at below */
        say_who(&rig, i + 1, strangers[i].has_user, strangers[i].is_admin);
        client_expect(&client, 1, 403);
        cr_assert(client_says(&client, 1, "\"required\":\"admin\""));
        cr_assert_eq(rig.got_count, i + 1);
        client_close(&client);
        WAIT_FOR(&rig, rig.edge->session_count == 0);
    }
    rig_end(&rig);
    arena_fini(&arena);
}

Test(operator, a_session_that_has_ended_is_401_and_a_client_that_left_is_forgotten)
{
    struct rig rig;
    struct client client;
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    rig_init(&rig);
    rig_start(&rig);
    const char *request = arena_cstr(
        &arena, arena_format(&arena,
                             "GET /api/admin/server HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "
                             "%s\r\n\r\n",
                             token_of(&rig, &arena)));
    client_open(&rig, &client);
    client_say(&client, "%s", request);
    (void)rig_await(&rig, 1); /* answered next */
    rig_answer(&rig, 1, ERR_UNAUTHORIZED);
    client_expect(&client, 1, 401);
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);

    client_open(&rig, &client);
    client_say(&client, "%s", request);
    (void)rig_await(&rig, 2); /* answered when nobody is there */
    client_close(&client);
    settle(&rig);
    say_who(&rig, 2, true, true);
    settle(&rig);
    cr_assert_eq(rig.got_count, 2, "nobody waits for more");
    rig_end(&rig);
    arena_fini(&arena);
}

Test(operator, no_key_is_an_administrator)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client,
               "GET /api/admin/users HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
               rig.key.text);
    /* Its shard is asked all the same: a key that was taken back is 401 here too. */
    cr_assert_eq(rig_await(&rig, 1)->kind, MSG_SHARD_ME);
    rig.got[0]->body.me.has_key = true;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 403);
    client_say(&client, "GET /api/admin/users HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(&client, 2, 401);
    cr_assert_eq(rig.got_count, 1, "nobody else was asked");
    client_close(&client);
    rig_end(&rig);
}

/* ---- the admin socket ------------------------------------------------------------------------ */

struct door {
    char dir[64];
    char path[96];
};

static void door_init(struct rig *rig, struct door *door)
{
    (void)snprintf(door->dir, sizeof door->dir, "/tmp/meerkat-door-XXXXXX"); /* it fits */
    cr_assert_not_null(mkdtemp(door->dir));
    (void)snprintf(door->path, sizeof door->path, "%s/s", door->dir); /* likewise */
    rig_init(rig);
    set(rig, "admin_socket", door->path);
    rig_start(rig);
}

static void door_fini(struct rig *rig, struct door *door)
{
    struct stat info;
    rig_end(rig);
    cr_assert_eq(lstat(door->path, &info), -1, "the socket was left behind");
    cr_assert_eq(rmdir(door->dir), 0);
}

static void enter(struct rig *rig, struct client *client, const struct door *door)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    (void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", door->path); /* it fits */
    *client = (struct client){.rig = rig};
    buf_init(&client->in, MIB);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(client->fd, -1);
    cr_assert_eq(connect(client->fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    uint32_t before = rig->edge->session_count;
    WAIT_FOR(rig, rig->edge->session_count == before + 1);
}

Test(operator, the_socket_asks_for_an_account_and_for_no_credential)
{
    struct rig rig;
    struct door door;
    struct client client;
    door_init(&rig, &door);
    enter(&rig, &client, &door);
    client_say(&client, "GET /v1/keys HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(&client, 1, 400);
    cr_assert(client_says(&client, 1, "\"param\":\"x-meerkat-account\""));
    client_say(&client, "GET /v1/keys HTTP/1.1\r\nHost: h\r\nx-meerkat-account: acc_no\r\n\r\n");
    client_expect(&client, 2, 400);
    client_say(&client,
               "GET /v1/keys HTTP/1.1\r\nHost: h\r\nX-Meerkat-Account: " ACCOUNT_TEXT "\r\n\r\n");
    const struct msg *msg = rig_await(&rig, 1);
    cr_assert_eq(msg->kind, MSG_SHARD_KEY);
    cr_assert_eq(msg->body.key.caller.kind, CALLER_OPERATOR);
    cr_assert_eq(msg->body.key.caller.account.value, 1);
    cr_assert_eq(msg->body.key.caller.right, RIGHT_KEYS_READ);
    rig_answer(&rig, 1, ERR_NOT_FOUND);
    client_expect(&client, 3, 404);
    client_close(&client);
    door_fini(&rig, &door);
}

Test(operator, the_socket_runs_the_server_without_asking_who_is_there)
{
    struct rig rig;
    struct door door;
    struct client client;
    door_init(&rig, &door);
    enter(&rig, &client, &door);
    client_say(&client, "GET /api/admin/server HTTP/1.1\r\nHost: h\r\n\r\n");
    const struct msg *msg = rig_await(&rig, 1);
    cr_assert_eq(msg->kind, MSG_SHARD_ADMIN);
    cr_assert_eq(msg->body.admin.op, ADMIN_COUNT);
    cr_assert_eq(msg->body.admin.caller.kind, CALLER_OPERATOR);
    rig.got[0]->body.admin.count = 41;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_assert(client_says(&client, 1, "\"accounts\":41"));
    client_say(&client, "GET /api/health HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(&client, 2, 200);
    client_close(&client);
    door_fini(&rig, &door);
}

/* A header is no key: what opens the socket's doors opens none of the others. */
Test(operator, the_header_is_nothing_outside_the_socket)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client,
               "GET /v1/keys HTTP/1.1\r\nHost: h\r\nx-meerkat-account: " ACCOUNT_TEXT "\r\n\r\n");
    client_expect(&client, 1, 401);
    cr_assert_eq(rig.got_count, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(operator, pages_that_make_no_sense_are_refused)
{
    static const char *const queries[] = {"shard=1", "shard=x", "limit=0", "limit=201",
                                          "after=usr_1"};
    struct rig rig;
    struct door door;
    struct client client;
    door_init(&rig, &door);
    enter(&rig, &client, &door);
    for (uint32_t i = 0; i < ARRAY_LEN(queries); i++) {
        client_say(&client, "GET /api/admin/accounts?%s HTTP/1.1\r\nHost: h\r\n\r\n", queries[i]);
        client_expect(&client, i + 1, 400);
    }
    cr_assert_eq(rig.got_count, 0);
    client_close(&client);
    door_fini(&rig, &door);
}
