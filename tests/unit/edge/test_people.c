/* What the calls about people ask of shards, step by step, and who signs tokens.
 *
 * Not covered here: what shards make of it (tests/unit/shards/test_user, test_member,
 * test_throttle), whole stories (tests/flow/test_people.c).
 */
#include "unit/edge/edge_rig.h"

#include "base/limits.h"

#define PASSWORD "correct horse"

static char right_hash[PASSWORD_HASH_MAX];

/* Everything that was asked, by kind and, of people and tries, what for. */
struct steps {
    int kinds[16];
    int ops[16];
    uint32_t count;
    uint32_t hashes; /* passwords that workers were given */
};

static void post(struct client *client, const char *path, const char *headers, const char *body)
{
    client_say(client, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", path,
               headers, strlen(body), body);
}

/* The next message, which is of that kind. */
static struct msg *next(struct rig *rig, struct steps *steps, enum msg_kind kind)
{
    struct msg *msg = rig_await(rig, steps->count + 1);
    cr_assert_eq(msg->kind, kind, "%s instead of %s", msg_kind_name(msg->kind),
                 msg_kind_name(kind));
    int op = 0;
    if (kind == MSG_SHARD_USER) {
        op = (int)msg->body.user.op;
    } else if (kind == MSG_SHARD_THROTTLE) {
        op = (int)msg->body.throttle.op;
    } else if (kind == MSG_SHARD_DIRECTORY) {
        op = (int)msg->body.directory.op;
    }
    steps->kinds[steps->count] = (int)kind;
    steps->ops[steps->count++] = op;
    return msg;
}

static void answer(struct rig *rig, const struct steps *steps, enum err err)
{
    rig_answer(rig, steps->count, err);
}

static void pass_try(struct rig *rig, struct steps *steps, enum throttle_op op, const char *text)
{
    struct msg *msg = next(rig, steps, MSG_SHARD_THROTTLE);
    cr_assert_eq(msg->body.throttle.op, op);
    cr_assert(slice_equal(msg->body.throttle.text, slice_str(text)), "%.*s",
              SLICE_FMT(msg->body.throttle.text));
    cr_assert_gt(msg->body.throttle.max, 0);
    answer(rig, steps, ERR_OK);
}

static void setup(void)
{
    crypto_init();
    crypto_password_hash(SLICE(PASSWORD), right_hash);
}

TestSuite(people, .init = setup, .timeout = 120);

/* ---- log-in --------------------------------------------------------------------------------- */

enum who { KNOWN, WITHOUT_PASSWORD, UNKNOWN };

/* One log-in that fails, from an edge of its own. */
static struct steps fail_to_log_in(enum who who)
{
    struct rig rig;
    struct client client;
    struct steps steps = {.count = 0};
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post(&client, "/api/auth/login", "", "{\"email\":\"A@B.test\",\"password\":\"wrong horse\"}");
    pass_try(&rig, &steps, THROTTLE_TAKE, "a:127.0.0.1");
    pass_try(&rig, &steps, THROTTLE_TAKE, "e:a@b.test");
    struct msg *msg = next(&rig, &steps, MSG_SHARD_DIRECTORY);
    msg->body.directory.account.value = RIG_ACCOUNT;
    msg->body.directory.id = mail_id(1);
    answer(&rig, &steps, who == UNKNOWN ? ERR_NOT_FOUND : ERR_OK);
    msg = next(&rig, &steps, MSG_SHARD_LOGIN);
    cr_assert_neq(msg->body.login.account.value, 0);
    msg->body.login.row.password_hash = who == KNOWN ? slice_str(right_hash) : SLICE("");
    answer(&rig, &steps, who == UNKNOWN ? ERR_NOT_FOUND : ERR_OK);
    WAIT_FOR(&rig, rig.edge->password_jobs == 1);
    steps.hashes += 1;
    msg = next(&rig, &steps, MSG_SHARD_USER);
    cr_assert_eq(rig.edge->password_jobs, 0);
    cr_assert_eq(msg->body.user.op, USER_FAILED);
    answer(&rig, &steps, ERR_OK);
    client_expect(&client, 1, 401);
    cr_assert(client_says(&client, 1, "\"invalid_login\""));
    cr_assert(client_says(&client, 1, "the email or the password is wrong"));
    cr_assert_eq(rig.got_count, steps.count);
    client_close(&client);
    rig_end(&rig);
    return steps;
}

/* No clock is asked: both do the same things in the same order. */
Test(people, nobody_goes_the_way_of_a_wrong_password)
{
    struct steps known = fail_to_log_in(KNOWN);
    struct steps nobody = fail_to_log_in(UNKNOWN);
    struct steps invited = fail_to_log_in(WITHOUT_PASSWORD);
    cr_assert_eq(memcmp(&known, &nobody, sizeof known), 0);
    cr_assert_eq(memcmp(&known, &invited, sizeof known), 0);
    cr_assert_eq(known.count, 5);
    cr_assert_eq(known.hashes, 1);
}

Test(people, a_log_in_that_succeeds_was_no_failure)
{
    struct rig rig;
    struct client client;
    struct steps steps = {.count = 0};
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post(&client, "/api/auth/login", "", "{\"email\":\"a@b.test\",\"password\":\"" PASSWORD "\"}");
    pass_try(&rig, &steps, THROTTLE_TAKE, "a:127.0.0.1");
    pass_try(&rig, &steps, THROTTLE_TAKE, "e:a@b.test");
    struct msg *msg = next(&rig, &steps, MSG_SHARD_DIRECTORY);
    msg->body.directory.account.value = RIG_ACCOUNT;
    msg->body.directory.id = mail_id(1);
    answer(&rig, &steps, ERR_OK);
    next(&rig, &steps, MSG_SHARD_LOGIN)->body.login.row.password_hash = slice_str(right_hash);
    answer(&rig, &steps, ERR_OK);
    pass_try(&rig, &steps, THROTTLE_GIVE, "a:127.0.0.1");
    pass_try(&rig, &steps, THROTTLE_GIVE, "e:a@b.test");
    msg = next(&rig, &steps, MSG_SHARD_USER);
    const struct shard_user *user = &msg->body.user;
    cr_assert_eq(user->op, USER_OPEN);
    cr_assert(slice_equal(user->checked_hash, slice_str(right_hash)));
    cr_assert_not(id_is_none(user->session));
    cr_assert_eq(user->expires_unix_ms, rig.unix_ms + SESSION_MS);
    cr_assert(msg->arena.is_secret);
    msg->body.user.row = (struct row_user){.id = mail_id(1), .email = SLICE("a@b.test")};
    answer(&rig, &steps, ERR_OK);
    client_expect(&client, 1, 200);
    cr_assert(client_says(&client, 1, "\"token\":\"ey"));
    client_close(&client);
    rig_end(&rig);
}

/* ---- tries ---------------------------------------------------------------------------------- */

Test(people, who_has_no_try_left_is_told_when_to_come_back)
{
    struct rig rig;
    struct client client;
    struct steps steps = {.count = 0};
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post(&client, "/api/auth/login", "", "{\"email\":\"a@b.test\",\"password\":\"" PASSWORD "\"}");
    pass_try(&rig, &steps, THROTTLE_TAKE, "a:127.0.0.1");
    next(&rig, &steps, MSG_SHARD_THROTTLE)->rate.retry_s = 77;
    answer(&rig, &steps, ERR_RATE);
    client_expect(&client, 1, 429);
    cr_assert(client_says(&client, 1, "etry-after: 77\r\n"));
    cr_assert(client_says(&client, 1, "\"rate_limited\""));
    cr_assert_eq(rig.got_count, 2, "nothing else was asked, no password was looked at");
    cr_assert_eq(rig.edge->password_jobs, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(people, a_network_of_v6_counts_as_one_address)
{
    static const struct {
        const char *address;
        const char *text;
    } cases[] = {
        {"2001:db8:1:2:3:4:5:6", "a:2001:db8:1:2::"},
        {"2001:db8:1:2::", "a:2001:db8:1:2::"},
        {"2001:db8:1:3::1", "a:2001:db8:1:3::"},
        {"192.0.2.77", "a:192.0.2.77"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        struct client client;
        struct steps steps = {.count = 0};
        char headers[128];
        rig_init(&rig);
        set(&rig, "trusted_proxies", "127.0.0.1");
        rig_start(&rig);
        client_open(&rig, &client);
        (void)snprintf(headers, sizeof headers, "X-Forwarded-For: %s\r\n", cases[i].address);
        post(&client, "/api/auth/join", headers,
             "{\"token\":\"none\",\"password\":\"" PASSWORD "\"}");
        pass_try(&rig, &steps, THROTTLE_TAKE, cases[i].text);
        client_expect(&client, 1, 401);
        client_close(&client);
        rig_end(&rig);
    }
}

Test(people, tries_without_a_ceiling_are_not_counted)
{
    struct rig rig;
    struct client client;
    struct steps steps = {.count = 0};
    rig_init(&rig);
    set(&rig, "login_email_max", "0");
    set(&rig, "login_address_max", "0");
    rig_start(&rig);
    client_open(&rig, &client);
    post(&client, "/api/auth/login", "", "{\"email\":\"a@b.test\",\"password\":\"x\"}");
    (void)next(&rig, &steps, MSG_SHARD_DIRECTORY);
    answer(&rig, &steps, ERR_STORAGE);
    client_expect(&client, 1, 503);
    client_close(&client);
    rig_end(&rig);
}

/* ---- sign-up -------------------------------------------------------------------------------- */

/* Up to the claim of the first user, which is answered with err. */
static void sign_up(struct rig *rig, struct client *client, struct steps *steps, enum err first)
{
    rig_init(rig);
    rig_start(rig);
    client_open(rig, client);
    post(client, "/api/auth/signup", "", "{\"email\":\"a@b.test\",\"password\":\"" PASSWORD "\"}");
    pass_try(rig, steps, THROTTLE_TAKE, "a:127.0.0.1");
    struct msg *msg = next(rig, steps, MSG_SHARD_DIRECTORY);
    cr_assert_eq(msg->body.directory.op, DIRECTORY_GET);
    answer(rig, steps, ERR_NOT_FOUND);
    msg = next(rig, steps, MSG_SHARD_DIRECTORY);
    cr_assert_eq(msg->body.directory.op, DIRECTORY_CLAIM);
    cr_assert_eq(msg->body.directory.kind, DIRECTORY_KIND_SERVER);
    cr_assert(slice_equal(msg->body.directory.name, SLICE(SERVER_FIRST_USER)));
    answer(rig, steps, first);
}

Test(people, the_first_who_signs_up_is_admin_and_no_other)
{
    static const enum err firsts[] = {ERR_OK, ERR_EXISTS};
    for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
        struct rig rig;
        struct client client;
        struct steps steps = {.count = 0};
        sign_up(&rig, &client, &steps, firsts[i]);
        struct msg *msg = next(&rig, &steps, MSG_SHARD_SIGNUP);
        cr_expect_eq(msg->body.signup.is_admin, firsts[i] == ERR_OK);
        cr_expect_not(id_is_none(msg->body.signup.session));
        msg->body.signup.user = (struct row_user){.id = mail_id(1)};
        answer(&rig, &steps, ERR_OK);
        msg = next(&rig, &steps, MSG_SHARD_DIRECTORY);
        cr_expect_eq(msg->body.directory.kind, DIRECTORY_KIND_EMAIL);
        cr_expect_eq(msg->body.directory.op, DIRECTORY_CLAIM);
        answer(&rig, &steps, ERR_OK);
        pass_try(&rig, &steps, THROTTLE_GIVE, "a:127.0.0.1");
        client_expect(&client, 1, 201);
        client_close(&client);
        rig_end(&rig);
    }
}

/* Whatever goes wrong after the claim, the next one may still be the first. */
Test(people, a_first_sign_up_that_fails_gives_its_claim_back)
{
    for (int is_made = 0; is_made < 2; is_made++) {
        struct rig rig;
        struct client client;
        struct steps steps = {.count = 0};
        sign_up(&rig, &client, &steps, ERR_OK);
        (void)next(&rig, &steps, MSG_SHARD_SIGNUP);
        answer(&rig, &steps, is_made ? ERR_OK : ERR_STORAGE);
        if (is_made) {
            (void)next(&rig, &steps, MSG_SHARD_DIRECTORY);
            answer(&rig, &steps, ERR_EXISTS); /* somebody else claimed the email */
            (void)next(&rig, &steps, MSG_SHARD_DROP_ACCOUNT);
            answer(&rig, &steps, ERR_OK);
        }
        struct msg *msg = next(&rig, &steps, MSG_SHARD_DIRECTORY);
        cr_expect_eq(msg->body.directory.op, DIRECTORY_RELEASE);
        cr_expect_eq(msg->body.directory.kind, DIRECTORY_KIND_SERVER);
        cr_expect_neq(msg->body.directory.account.value, 0);
        answer(&rig, &steps, ERR_OK);
        client_expect(&client, 1, is_made ? 409 : 503);
        client_close(&client);
        rig_end(&rig);
    }
}

/* ---- the keys that sign --------------------------------------------------------------------- */

/* "Authorization: ..." of a session. */
static const char *bearer(struct rig *rig, struct arena *arena)
{
    const struct token token = {.account = {RIG_ACCOUNT},
                                .user = mail_id(1),
                                .session = mail_id(2),
                                .expires_unix_ms = rig->unix_ms + SESSION_MS};
    struct slice text = auth_token_make(&rig->edge->token_keys, &token, arena);
    return arena_cstr(arena,
                      arena_format(arena, "Authorization: Bearer %.*s\r\n", SLICE_FMT(text)));
}

/* Up to the ledger, which says that generation 1 signs now. */
static void rotate(struct rig *rig, struct client *client, const char *headers, bool is_now)
{
    uint32_t before = rig->got_count;
    post(client, "/api/admin/sessions/rotate", headers, is_now ? "{\"now\":true}" : "");
    struct msg *msg = rig_await(rig, before + 1);
    cr_assert_eq(msg->kind, MSG_SHARD_ME);
    msg->body.me.has_user = true;
    msg->body.me.user.is_admin = true;
    rig_answer(rig, before + 1, ERR_OK);
    msg = rig_await(rig, before + 2);
    cr_assert_eq(msg->kind, MSG_SHARD_LEDGER);
    cr_assert(msg->body.ledger.is_rotation);
    uint64_t until = is_now ? 0 : rig->unix_ms + SESSION_MS;
    cr_assert_eq(msg->body.ledger.keep_until_unix_ms, until);
    msg->body.ledger.value =
        session_keys_pack((struct session_keys){.generation = 1, .previous_until_unix_ms = until});
}

static int status_of_me(struct rig *rig, const char *headers)
{
    struct client client;
    uint32_t before = rig->got_count;
    client_open(rig, &client);
    client_say(&client, "GET /v1/me HTTP/1.1\r\nHost: x\r\n%s\r\n", headers);
    WAIT_FOR(rig, rig->got_count > before || client_answers(&client) > 0);
    int status = 401;
    if (rig->got_count > before) {
        rig_answer(rig, before + 1, ERR_NOT_FOUND);
        status = 200;
    }
    client_expect(&client, 1, status == 200 ? 404 : 401);
    client_close(&client);
    return status;
}

Test(people, a_rotation_reaches_every_edge_before_its_answer)
{
    for (int is_now = 0; is_now < 2; is_now++) {
        struct rig rig;
        struct client client;
        struct arena arena;
        arena_init(&arena, 4096, MIB);
        rig_init(&rig);
        rig_start(&rig);
        rig.place.deliver_shard = &rig.world;
        const char *old = bearer(&rig, &arena);
        client_open(&rig, &client);
        rotate(&rig, &client, old, is_now);
        rig_answer(&rig, rig.got_count, ERR_OK);
        client_expect(&client, 1, 200);
        cr_assert(client_says(&client, 1, "\"generation\":1"));
        cr_expect_eq(rig.edge->token_keys.generation, 1);
        cr_expect_eq(status_of_me(&rig, bearer(&rig, &arena)), 200);
        cr_expect_eq(status_of_me(&rig, old), is_now ? 401 : 200);
        client_close(&client);
        arena_fini(&arena);
        rig_end(&rig);
    }
}

Test(people, a_rotation_goes_on_when_its_client_leaves)
{
    struct rig rig;
    struct client client;
    struct arena arena;
    arena_init(&arena, 4096, MIB);
    rig_init(&rig);
    rig_start(&rig);
    rig.place.deliver_shard = &rig.world;
    client_open(&rig, &client);
    rotate(&rig, &client, bearer(&rig, &arena), true);
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    rig_answer(&rig, rig.got_count, ERR_OK);
    WAIT_FOR(&rig, rig.edge->token_keys.generation == 1);
    cr_expect_eq(status_of_me(&rig, bearer(&rig, &arena)), 200);
    arena_fini(&arena);
    rig_end(&rig);
}

Test(people, a_rotation_that_is_not_on_disk_changes_nothing)
{
    struct rig rig;
    struct client client;
    struct arena arena;
    arena_init(&arena, 4096, MIB);
    rig_init(&rig);
    rig_start(&rig);
    rig.place.deliver_shard = &rig.world;
    const char *old = bearer(&rig, &arena);
    client_open(&rig, &client);
    rotate(&rig, &client, old, true);
    rig_answer(&rig, rig.got_count, ERR_STORAGE);
    client_expect(&client, 1, 503);
    cr_expect_eq(rig.edge->token_keys.generation, 0);
    cr_expect_eq(status_of_me(&rig, old), 200);
    client_close(&client);
    arena_fini(&arena);
    rig_end(&rig);
}

Test(people, news_of_older_keys_is_ignored)
{
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    static const uint32_t generations[] = {3, 2, 4};
    static const uint32_t wants[] = {3, 3, 4};
    for (size_t i = 0; i < ARRAY_LEN(generations); i++) {
        session_keys_set(rig.edge, session_keys_pack((struct session_keys){generations[i], 0}));
        cr_expect_eq(rig.edge->token_keys.generation, wants[i]);
    }
    rig_end(&rig);
}
