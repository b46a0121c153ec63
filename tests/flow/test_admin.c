/* Flow: the operator at work: the admin socket, meerkatctl, administrators.
 *
 * Not covered here: pages and changes in every detail (tests/unit/shards/test_admin.c), the socket
 * file as such (tests/unit/net/test_listen_local.c), the OpenAPI document's inside
 * (tests/unit/edge/test_openapi.c).
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "support/world.h"

#define PASSWORD       "correct horse"
#define ANSWER_SECONDS 30

enum { DONE, REFUSED, USAGE, UNREACHABLE };

/* ---- meerkatctl ------------------------------------------------------------------------------ */

/* What the last command printed, and its JSON, if any. */
struct said {
    int status;
    struct slice text;
    json_t *json;
};

/* The words are separated by single spaces; input is what it reads. */
static struct said run_with(struct world *world, const char *input, const char *words)
{
    struct said said = {.json = NULL};
    said.status = world_ctl(world, NULL, words, slice_str(input), &said.text);
    said.json = json_loadb(said.text.data != NULL ? said.text.data : "", said.text.len,
                           JSON_DECODE_ANY, NULL);
    if (said.json != NULL) {
        json_array_append_new(world->documents, said.json);
    }
    return said;
}

static struct said run(struct world *world, const char *words)
{
    return run_with(world, "", words);
}

static struct said good(struct world *world, const char *words)
{
    struct said said = run(world, words);
    cr_assert_eq(said.status, DONE, "%s: %d %.*s", words, said.status, SLICE_FMT(said.text));
    return said;
}

static bool says(const struct said *said, const char *text)
{
    return slice_find(said->text, slice_str(text)) != SIZE_MAX;
}

static const char *member(struct said said, const char *path)
{
    const struct reply reply = {.json = said.json};
    return reply_text(&reply, path);
}

static long long number(struct said said, const char *path)
{
    const struct reply reply = {.json = said.json};
    return reply_int(&reply, path);
}

/* The world with one account; returns its id. */
static const char *begin(struct world *world)
{
    world_start(world);
    return reply_text(world_signup(world, "owner@customer.test"), "account.id");
}

static long status_of(struct world *world, const char *bearer, const char *path)
{
    struct world_call call = {.method = "GET", .path = path, .bearer = bearer};
    return world_call(world, &call)->status;
}

/* ---- the socket ------------------------------------------------------------------------------ */

static const char *socket_of(struct world *world)
{
    return world_text(world, "%s/admin.sock", world->data);
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path); /* then it is not found */
    if (fd != -1 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == -1 ||
                     connect(fd, (struct sockaddr *)&addr, sizeof addr) == -1)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* One request as raw text; what came back until the daemon closed. */
static struct slice ask(struct world *world, const char *method, const char *path,
                        const char *header, const char *body)
{
    int fd = connect_to(socket_of(world));
    cr_assert_neq(fd, -1, "%s", strerror(errno));
    const char *text =
        world_text(world,
                   "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%sContent-Length: %zu"
                   "\r\n\r\n%s",
                   method, path, header, strlen(body), body);
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    struct buf got;
    char block[4096];
    ssize_t count;
    buf_init(&got, 64 * MIB);
    while ((count = recv(fd, block, sizeof block, 0)) > 0) {
        buf_add_bytes(&got, block, (size_t)count);
    }
    cr_assert_eq(count, 0, "%s %s: %s", method, path, strerror(errno));
    (void)close(fd);
    struct slice answer = arena_dup(&world->arena, buf_slice(&got));
    buf_fini(&got);
    return answer;
}

static int status_in(struct slice answer)
{
    uint64_t status = 0;
    if (!slice_starts(answer, SLICE("HTTP/1.1 ")) ||
        slice_uint(slice_sub(answer, 9, 3), 999, &status) != ERR_OK) {
        return -1;
    }
    return (int)status;
}

Test(admin, the_socket_lives_as_long_as_the_daemon)
{
    struct world *world = world_new();
    struct stat info;
    begin(world);
    cr_assert_eq(lstat(socket_of(world), &info), 0);
    cr_assert(S_ISSOCK(info.st_mode));
    cr_assert_eq(info.st_mode & 0777, 0600);
    world_stop(world);
    cr_assert_eq(lstat(socket_of(world), &info), -1, "it was left behind");
    world_start(world);
    world_kill(world);
    cr_assert_eq(lstat(socket_of(world), &info), 0, "who is killed leaves it");
    world_start(world);
    cr_assert_eq(status_in(ask(world, "GET", "/api/health", "", "")), 200);
    world_end(world);
}

Test(admin, the_socket_may_be_elsewhere_or_nowhere)
{
    struct world *world = world_new();
    struct stat info;
    const char *path = world_text(world, "%s/elsewhere.sock", world->dir);
    world_set(world, "admin_socket", "%s", path);
    begin(world);
    cr_assert_eq(lstat(socket_of(world), &info), -1);
    struct said said = run(world, world_text(world, "--socket %s server", path));
    cr_assert_eq(said.status, DONE);
    world_stop(world);
    world_set(world, "admin_socket", "off");
    world_start(world);
    cr_assert_eq(lstat(path, &info), -1);
    cr_assert_eq(run(world, "server").status, UNREACHABLE);
    world_stop(world);

    char tail[200];
    memset(tail, 'x', sizeof tail - 1);
    tail[sizeof tail - 1] = '\0';
    world_set(world, "admin_socket", "%s/%s", world->dir, tail);
    cr_assert_neq(world_run(world), 0);
    cr_assert_neq(slice_find(world_log(world), SLICE("limited by the system")), SIZE_MAX);
    world_end(world);
}

Test(admin, a_request_through_the_socket_names_its_account)
{
    struct world *world = world_new();
    const char *account = begin(world);
    struct slice none = ask(world, "GET", "/v1/keys", "", "");
    cr_assert_eq(status_in(none), 400);
    cr_assert_neq(slice_find(none, SLICE("x-meerkat-account")), SIZE_MAX);
    cr_assert_eq(status_in(ask(world, "GET", "/v1/keys", "x-meerkat-account: acc_no\r\n", "")),
                 400);
    cr_assert_eq(
        status_in(ask(world, "GET", "/v1/keys", "x-meerkat-account: acc_00000000001\r\n", "")),
        404);
    const char *header = world_text(world, "x-meerkat-account: %s\r\n", account);
    struct slice own = ask(world, "GET", "/v1/keys", header, "");
    cr_assert_eq(status_in(own), 200);
    cr_assert_neq(slice_find(own, SLICE("First key")), SIZE_MAX);
    /* A credential neither helps nor harms, and the header is nothing outside. */
    struct world_call call = {.method = "GET",
                              .path = "/v1/keys",
                              .bearer = "",
                              .headers = {world_text(world, "x-meerkat-account: %s", account)}};
    cr_assert_eq(world_call(world, &call)->status, 401);
    call.path = "/api/admin/server";
    cr_assert_eq(world_call(world, &call)->status, 401);
    world_end(world);
}

/* meerkatctl as somebody else, whose exit status comes back. The program is copied to where anybody
 * may run it. */
static int run_as_other(struct world *world, struct slice *text)
{
    const char *copy = world_text(world, "%s/meerkatctl", world->dir);
    const char *argv[] = {"setpriv",        "--reuid", "65534", "--clear-groups", copy, "--socket",
                          socket_of(world), "server",  NULL};
    world_write_file(world, copy, world_read_file(world, world_program(world, "meerkatctl")));
    cr_assert_eq(chmod(copy, 0755), 0);
    return world_tool(world, argv, SLICE(""), text);
}

/* The file's mode keeps others away; and the daemon itself, should somebody loosen it. */
Test(admin, another_user_is_shown_the_door)
{
    if (geteuid() != 0) {
        cr_skip_test("only root can be somebody else");
    }
    struct world *world = world_new();
    struct slice text;
    begin(world);
    cr_assert_eq(chmod(world->dir, 0755), 0);
    cr_assert_eq(chmod(world->data, 0755), 0);
    cr_assert_eq(run_as_other(world, &text), UNREACHABLE);
    cr_assert_neq(slice_find(text, SLICE("own user")), SIZE_MAX);
    cr_assert_eq(slice_find(world_log(world), SLICE("admin.refused")), SIZE_MAX);

    cr_assert_eq(chmod(socket_of(world), 0777), 0);
    cr_assert_eq(run_as_other(world, &text), UNREACHABLE);
    cr_assert_neq(slice_find(text, SLICE("own user")), SIZE_MAX);
    cr_assert_neq(slice_find(world_log(world), SLICE("admin.refused")), SIZE_MAX);
    cr_assert_eq(status_in(ask(world, "GET", "/api/health", "", "")), 200);
    world_end(world);
}

/* ---- accounts -------------------------------------------------------------------------------- */

Test(admin, accounts_are_listed_shown_and_limited)
{
    struct world *world = world_new();
    const char *account = begin(world);
    (void)world_signup(world, "second@customer.test"); /* is listed, too */
    struct said list = good(world, "accounts list");
    cr_assert(says(&list, "ACCOUNT"));
    cr_assert(says(&list, account));
    cr_assert(says(&list, "second@customer.test"));
    struct said json = good(world, "--json accounts list");
    cr_assert_eq(json_array_size(json.json), 2, "%.*s", SLICE_FMT(json.text));

    struct said shown = good(world, world_text(world, "accounts show %s --json", account));
    cr_assert_str_eq(member(shown, "account.ownerEmail"), "owner@customer.test");
    cr_assert_eq(number(shown, "keyCount"), 1);
    cr_assert_str_eq(member(shown, "users.0.role"), "owner");
    struct said limits =
        good(world, world_text(world, "accounts limits %s --rate 77 --daily=9 --json", account));
    cr_assert_eq(number(limits, "limits.ratePerMin"), 77);
    cr_assert_eq(number(limits, "limits.dailyMax"), 9);
    cr_assert_eq(number(limits, "limits.keyRatePerMin"), 0);
    limits = good(world, world_text(world, "accounts limits %s", account));
    cr_assert(says(&limits, "77"), "%.*s", SLICE_FMT(limits.text));
    struct reply *me = world_get(world, "/v1/me");
    cr_assert(slice_equal(reply_header(me, "ratelimit-limit"), SLICE("77")), "%.*s",
              SLICE_FMT(me->head));
    world_end(world);
}

Test(admin, a_suspended_account_is_refused_until_it_is_resumed)
{
    struct world *world = world_new();
    const char *account = begin(world);
    cr_assert_eq(world_get(world, "/v1/me")->status, 200);
    struct said said = good(world, world_text(world, "accounts suspend %s", account));
    cr_assert(says(&said, "suspended"));
    cr_assert_eq(world_get(world, "/v1/me")->status, 403);
    cr_assert_eq(status_of(world, world->token, "/v1/me"), 403);
    (void)good(world, world_text(world, "keys list %s", account)); /* the operator sees it */
    (void)good(world, world_text(world, "accounts resume %s", account));
    cr_assert_eq(world_get(world, "/v1/me")->status, 200);
    struct said audit = good(world, world_text(world, "audit %s", account));
    cr_assert(says(&audit, "account.suspended"));
    cr_assert(says(&audit, "account.resumed"));
    cr_assert(says(&audit, "operator"));
    audit = good(world, world_text(world, "--json audit %s", account));
    cr_assert_geq(json_array_size(audit.json), 3);
    world_end(world);
}

/* ---- users ----------------------------------------------------------------------------------- */

static long log_in(struct world *world, const char *email, const char *password)
{
    return world_post(world, "/api/auth/login", "{'email':'%s','password':'%s'}", email, password)
        ->status;
}

Test(admin, users_are_made_changed_and_let_in_again)
{
    struct world *world = world_new();
    world_set(world, "signup_open", "no");
    world_set(world, "login_email_max", "3");
    begin(world);
    struct said made = good(world, "users create new@customer.test --json");
    const char *password = world_text(world, "%s", member(made, "password"));
    cr_assert_eq(strlen(password), 24);
    cr_assert_eq(log_in(world, "new@customer.test", password), 200);
    cr_assert_eq(status_of(world, member(made, "apiKey"), "/v1/me"), 200);
    cr_assert_eq(run(world, "users create new@customer.test").status, REFUSED);
    made = run_with(world, PASSWORD "\n",
                    "users create boss@customer.test --admin --password-stdin"
                    " --json");
    cr_assert_eq(made.status, DONE);
    cr_assert_str_eq(member(made, "password"), "", "a password that was given is not shown");
    cr_assert_eq(log_in(world, "boss@customer.test", PASSWORD), 200);

    struct said shown = good(world, "users show boss@customer.test --json");
    cr_assert(json_is_true(json_object_get(shown.json, "isAdmin")));
    (void)good(world, "users admin boss@customer.test --off");
    (void)good(world, "users admin new@customer.test");
    struct said list = good(world, "users list --json");
    cr_assert_eq(json_array_size(list.json), 3);
    list = good(world, world_text(world, "users list %s", member(shown, "accountId")));
    cr_assert(says(&list, "boss@customer.test"));
    cr_assert_not(says(&list, "new@customer.test"));

    struct said changed = run_with(world, "another horse\n", "users password boss@customer.test");
    cr_assert_eq(changed.status, DONE, "%.*s", SLICE_FMT(changed.text));
    cr_assert_eq(log_in(world, "boss@customer.test", PASSWORD), 401);
    cr_assert_eq(log_in(world, "boss@customer.test", "another horse"), 200);
    for (int i = 0; i < 4; i++) {
        (void)log_in(world, "boss@customer.test", "wrong horse!"); /* until no try is left */
    }
    cr_assert_eq(log_in(world, "boss@customer.test", "another horse"), 429);
    (void)good(world, "users unlock boss@customer.test");
    cr_assert_eq(log_in(world, "boss@customer.test", "another horse"), 200);
    struct said audit = good(world, world_text(world, "audit %s", member(shown, "accountId")));
    cr_assert(says(&audit, "account.created  operator"), "%.*s", SLICE_FMT(audit.text));
    cr_assert(says(&audit, "user.unlocked"));
    cr_assert(says(&audit, "user.password"));
    cr_assert(says(&audit, "user.admin"));
    cr_assert_eq(slice_find(world_log(world), slice_str(password)), SIZE_MAX);
    world_end(world);
}

Test(admin, a_new_password_ends_the_sessions_of_the_old_one)
{
    struct world *world = world_new();
    begin(world);
    cr_assert_eq(status_of(world, world->token, "/v1/me"), 200);
    cr_assert_eq(run_with(world, "another horse\n", "users password owner@customer.test").status,
                 DONE);
    cr_assert_eq(status_of(world, world->token, "/v1/me"), 401);
    cr_assert_eq(world_get(world, "/v1/me")->status, 200, "keys have nothing to do with it");
    cr_assert_eq(run_with(world, "short\n", "users password owner@customer.test").status, REFUSED);
    cr_assert_eq(run_with(world, "", "users password owner@customer.test").status, USAGE);
    world_end(world);
}

Test(admin, sessions_end_when_their_key_is_rotated_at_once)
{
    struct world *world = world_new();
    begin(world);
    (void)good(world, "sessions rotate");
    cr_assert_eq(status_of(world, world->token, "/v1/me"), 200);
    (void)good(world, "sessions rotate --now");
    cr_assert_eq(status_of(world, world->token, "/v1/me"), 401);
    cr_assert_eq(log_in(world, "owner@customer.test", PASSWORD), 200);
    world_end(world);
}

/* ---- keys ------------------------------------------------------------------------------------ */

Test(admin, keys_are_made_disabled_rotated_and_revoked)
{
    struct world *world = world_new();
    const char *account = begin(world);
    struct reply *domain = world_post(world, "/api/domains", "{'domain':'send.test'}");
    cr_assert_eq(domain->status, 201);
    struct said made =
        good(world, world_text(world,
                               "keys create %s --name ops --scopes keys:read,mail:send --expires "
                               "30d --ips 127.0.0.0/8 --domains send.test --addresses hello,x-* "
                               "--json",
                               account));
    const char *key = member(made, "key");
    const char *id = member(made, "id");
    cr_assert_str_eq(member(made, "domains.0"), reply_text(domain, "domain.id"));
    cr_assert_str_eq(member(made, "scopes.0"), "mail:send");
    cr_assert_str_eq(member(made, "allowedIps.0"), "127.0.0.0/8");
    cr_assert_gt(number(made, "expiresAt"), number(made, "createdAt") + 29LL * 86400000);
    cr_assert_eq(status_of(world, key, "/v1/keys"), 200);

    struct said shown = good(world, world_text(world, "keys show %s", id));
    cr_assert(says(&shown, "ops"));
    cr_assert_not(says(&shown, key));
    (void)good(world, world_text(world, "keys disable %s", id));
    cr_assert_eq(status_of(world, key, "/v1/keys"), 401);
    (void)good(world, world_text(world, "keys enable %s", id));
    cr_assert_eq(status_of(world, key, "/v1/keys"), 200);
    struct said rotated = good(world, world_text(world, "keys rotate %s --overlap 1h --json", id));
    const char *next = member(rotated, "key");
    cr_assert_eq(status_of(world, key, "/v1/keys"), 200);
    cr_assert_eq(status_of(world, next, "/v1/keys"), 200);
    (void)good(world, world_text(world, "keys revoke %s", member(rotated, "id")));
    cr_assert_eq(status_of(world, next, "/v1/keys"), 401);
    struct said list = good(world, world_text(world, "keys list %s", account));
    cr_assert(says(&list, "revoked"));
    cr_assert(says(&list, "First key"));
    struct said test =
        good(world, world_text(world, "keys create %s --name t --test --permission send", account));
    cr_assert(says(&test, "mk_test_"), "%.*s", SLICE_FMT(test.text));
    cr_assert_eq(
        run(world, world_text(world, "keys create %s --name n --domains no.test", account)).status,
        REFUSED);
    world_end(world);
}

/* ---- the command line ------------------------------------------------------------------------ */

static const struct {
    const char *words;
    int status;
    const char *says;
} lines[] = {
    {"--version", DONE, "meerkatctl "},
    {"--help", DONE, "accounts list"},
    {"keys create --help", DONE, "--scopes"},
    {"", USAGE, "a command is needed"},
    {"accounts", USAGE, "usage:"},
    {"accounts fly", USAGE, "no command"},
    {"accounts show", USAGE, "ACCOUNT is missing"},
    {"accounts list more", USAGE, "one word too many"},
    {"accounts list --fast", USAGE, "--fast"},
    {"accounts limits acc_00000000001 --rate", USAGE, "needs a value"},
    {"accounts limits acc_00000000001 --rate many", USAGE, "is a number"},
    {"accounts limits acc_00000000001 --rate 99999999999", REFUSED, "ratePerMin"},
    {"accounts show acc_00000000001", REFUSED, "not found"},
    {"accounts show ../server", REFUSED, "not found"},
    {"accounts suspend acc_00000000001", REFUSED, "not found"},
    {"users show nobody@customer.test", REFUSED, "not found"},
    {"users show nobody", REFUSED, "email"},
    {"users unlock nobody@customer.test", REFUSED, "not found"},
    {"keys list acc_no", REFUSED, "x-meerkat-account"},
    {"keys show acc_00000000001", USAGE, "not the id of a key"},
    {"keys create acc_00000000001", USAGE, "--name is missing"},
    {"keys create acc_00000000001 --name n --expires soon", USAGE, "30d"},
    {"keys create acc_00000000001 --name n", REFUSED, "not found"},
    {"--socket /nowhere/at/all server", UNREACHABLE, "not running"},
    {"server --json=yes", USAGE, "takes no value"},
};

Test(admin, a_wrong_line_is_told_from_a_refusal_and_from_no_daemon)
{
    struct world *world = world_new();
    begin(world);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct said said = run(world, lines[i].words);
        cr_expect_eq(said.status, lines[i].status, "%s: %d %.*s", lines[i].words, said.status,
                     SLICE_FMT(said.text));
        cr_expect(says(&said, lines[i].says), "%s: %.*s", lines[i].words, SLICE_FMT(said.text));
    }
    struct said server = good(world, "server --json");
    cr_assert_eq(number(server, "accounts"), 1);
    cr_assert_gt(number(server, "shards"), 0);
    world_stop(world);
    struct said gone = run(world, "server");
    cr_assert_eq(gone.status, UNREACHABLE);
    cr_assert(says(&gone, "meerkatd is not running"), "%.*s", SLICE_FMT(gone.text));
    world_end(world);
}

/* ---- administrators over HTTP ---------------------------------------------------------------- */

Test(admin, an_administrator_s_session_may_and_nobody_else_may)
{
    static const char *const paths[] = {"/api/admin/server", "/api/admin/accounts",
                                        "/api/admin/users", "/api/admin/users/owner@customer.test"};
    struct world *world = world_new();
    const char *account = begin(world);
    struct reply *other = world_signup(world, "other@customer.test");
    (void)good(world, "users admin owner@customer.test"); /* is it as the first user already */
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        cr_expect_eq(status_of(world, world->token, paths[i]), 200, "%s", paths[i]);
        cr_expect_eq(status_of(world, reply_text(other, "token"), paths[i]), 403, "%s", paths[i]);
        cr_expect_eq(status_of(world, world->key, paths[i]), 403, "%s", paths[i]);
        cr_expect_eq(status_of(world, "", paths[i]), 401, "%s", paths[i]);
    }
    struct world_call call = {
        .method = "PATCH",
        .path = world_text(world, "/api/admin/accounts/%s", account),
        .bearer = world->token,
        .body = SLICE("{\"name\":\"Renamed\"}"),
    };
    struct reply *changed = world_call(world, &call);
    cr_assert_eq(changed->status, 200);
    cr_assert_str_eq(reply_text(changed, "name"), "Renamed");
    struct said audit = good(world, world_text(world, "audit %s", account));
    cr_assert(says(&audit, "owner@customer.test"));
    call.bearer = reply_text(other, "token");
    cr_assert_eq(world_call(world, &call)->status, 403);
    (void)good(world, "users admin owner@customer.test --off");
    cr_assert_eq(status_of(world, world->token, paths[0]), 403, "it holds from now on");
    world_end(world);
}

/* ---- every route ----------------------------------------------------------------------------- */

/* "/v1/keys/{id}" with something in the place of its parameters. */
static const char *filled(struct world *world, const char *path)
{
    struct slice rest = slice_from(slice_str(path), 1);
    const char *text = "";
    while (rest.data != NULL) {
        struct slice segment = slice_cut(&rest, '/');
        bool is_parameter = slice_starts(segment, SLICE("{"));
        text = is_parameter ? world_text(world, "%s/key_0000000000000000000000", text)
                            : world_text(world, "%s/%.*s", text, SLICE_FMT(segment));
    }
    return text;
}

/* The operator has neither key nor user; no handler may lean on one. */
Test(admin, every_route_bears_the_operator)
{
    struct world *world = world_new();
    const char *account = begin(world);
    const char *header = world_text(world, "x-meerkat-account: %s\r\n", account);
    struct reply *document = world_get(world, "/openapi.json");
    cr_assert_eq(document->status, 200);
    cr_assert_str_eq(reply_text(document, "openapi"), "3.1.0");
    cr_assert_str_eq(reply_text(document, "servers.0.url"),
                     world_text(world, "http://127.0.0.1:%u", (unsigned)world->http_port));
    const char *path;
    const char *method;
    json_t *item;
    json_t *operation;
    size_t asked = 0;
    json_object_foreach(json_object_get(document->json, "paths"), path, item)
    {
        json_object_foreach(item, method, operation)
        {
            char verb[8] = "";
            for (size_t i = 0; method[i] != '\0' && i < sizeof verb - 1; i++) {
                verb[i] = (char)(method[i] - 32);
            }
            struct slice answer = ask(world, verb, filled(world, path), header, "{}");
            int status = status_in(answer);
            cr_expect(status >= 200 && status < 500, "%s %s: %.*s", verb, path, SLICE_FMT(answer));
            asked++;
        }
    }
    cr_assert_gt(asked, 30);
    world_end(world);
}
