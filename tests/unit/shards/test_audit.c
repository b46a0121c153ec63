/* The account's log, and keys that are about to expire.
 *
 * Not covered here: that a change and its line share a batch is shown once, for a revoke that is
 * lost; how a line looks to a client (tests/flow/test_keys).
 */
#include "unit/shards/shard_rig.h"

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

struct line {
    char action[32];
    char target[64];
    char detail[128];
    char actor[64];
    uint8_t kind;
    struct id id;
};

static struct line lines[PAGE_MAX];
static uint32_t line_count;

static void copy(char *out, size_t size, struct slice text)
{
    snprintf(out, size, "%.*s", SLICE_FMT(text));
}

static enum err read_log(struct rig *rig, struct caller caller, uint32_t limit, struct id before)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_AUDIT);
    msg->body.audit.caller = caller;
    msg->body.audit.limit = limit;
    msg->body.audit.before = before;
    msg->body.audit.before_unix_ms = UINT64_MAX;
    enum err err = rig_call(rig, rig_shard(rig, caller.account), msg);
    line_count = err == ERR_OK ? msg->body.audit.row_count : 0;
    for (uint32_t i = 0; i < line_count; i++) {
        const struct row_audit *row = &msg->body.audit.rows[i];
        lines[i] = (struct line){.kind = row->actor_kind, .id = row->id};
        copy(lines[i].action, sizeof(lines[i].action), row->action);
        copy(lines[i].target, sizeof(lines[i].target), row->target);
        copy(lines[i].detail, sizeof(lines[i].detail), row->detail);
        copy(lines[i].actor, sizeof(lines[i].actor), row->actor_name);
    }
    rig_put(rig, msg);
    return err;
}

static void log_of(struct rig *rig, struct account_id account)
{
    struct caller caller = rig_key_caller(account, RIGHT_KEYS_READ);
    cr_assert_eq(read_log(rig, caller, 0, (struct id){.bytes = {0}}), ERR_OK);
}

static uint32_t count_of(const char *action)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < line_count; i++) {
        count += strcmp(lines[i].action, action) == 0;
    }
    return count;
}

static struct sha256 hash_of(uint32_t number)
{
    return crypto_sha256(slice_of(&number, sizeof(number)));
}

/* Its id; none when refused. */
static struct id post(struct rig *rig, const struct shard_key *body, uint32_t number)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_KEY);
    struct id id = {.bytes = {0}};
    msg->body.key = *body;
    for (size_t i = 0; i < ARRAY_LEN(msg->body.key.secrets); i++) {
        struct sha256 hash = hash_of(2 * number + (uint32_t)i);
        msg->body.key.secrets[i] =
            (struct key_secret){hash, SLICE("mk_live_abcdefgh"), SLICE("1234")};
    }
    enum err err = rig_call(rig, rig_shard(rig, body->caller.account), msg);
    if (err == ERR_OK && msg->body.key.row_count > 0) {
        id = msg->body.key.rows[0].id;
    }
    rig_put(rig, msg);
    return id;
}

static struct id make(struct rig *rig, struct account_id account, uint32_t number, uint64_t expires)
{
    struct shard_key body = {
        .caller = rig_key_caller(account, RIGHT_KEYS_WRITE),
        .op = KEY_CREATE,
        .given = KEY_FIELD_NAME | (expires ? KEY_FIELD_EXPIRES : 0),
        .wanted = {.name = SLICE("made"), .expires_unix_ms = expires},
    };
    struct id id = post(rig, &body, number);
    cr_assert_not(id_is_none(id));
    return id;
}

static void change(struct rig *rig, struct account_id account, struct id id, uint32_t given,
                   struct row_api_key wanted)
{
    struct shard_key body = {
        .caller = rig_key_caller(account, RIGHT_KEYS_WRITE),
        .op = KEY_CHANGE,
        .id = id,
        .given = given,
        .wanted = wanted,
    };
    cr_assert_not(id_is_none(post(rig, &body, 0)));
}

static void end_key(struct rig *rig, struct account_id account, struct id id, enum key_op op)
{
    struct shard_key body = {
        .caller = rig_key_caller(account, RIGHT_KEYS_WRITE),
        .op = op,
        .id = id,
        .overlap_ms = op == KEY_ROTATE ? 30 * DAY_MS : 0,
    };
    (void)post(rig, &body, 99); /* a revoked key is not shown */
}

static void sweep(struct rig *rig, struct account_id account)
{
    api_key_due_sweep(rig_state(rig, account));
    rig_settle(rig);
}

Test(audit, tells_what_was_done_to_keys_by_whom_newest_first)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id = make(rig, account, 1, 0);
    change(rig, account, id, KEY_FIELD_NAME | KEY_FIELD_ENABLED,
           (struct row_api_key){.name = SLICE("named"), .is_enabled = true});
    end_key(rig, account, id, KEY_ROTATE);
    end_key(rig, account, id, KEY_REVOKE);
    end_key(rig, account, id, KEY_REVOKE); /* says nothing new */
    log_of(rig, account);
    static const char *const expected[] = {"api_key.revoked", "api_key.rotated", "api_key.changed",
                                           "api_key.created", "api_key.created", "account.created"};
    cr_assert_eq(line_count, ARRAY_LEN(expected));
    char text[ID_TEXT_MAX];
    (void)id_text(ID_KEY, id, text);
    for (uint32_t i = 0; i < line_count; i++) {
        cr_expect_str_eq(lines[i].action, expected[i]);
        cr_expect(i >= 4 || strcmp(lines[i].target, text) == 0);
        cr_expect_eq(lines[i].kind, i >= 4 ? AUDIT_USER : AUDIT_KEY);
    }
    cr_expect_str_eq(lines[2].detail, "name,enabled");
    cr_expect_str_eq(lines[4].actor, "owner@example.com");
    rig_close(rig);
}

Test(audit, pages_by_the_last_line_seen)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    for (uint32_t i = 1; i <= 4; i++) {
        (void)make(rig, account, i, 0);
    }
    struct caller caller = rig_key_caller(account, RIGHT_KEYS_READ);
    cr_assert_eq(read_log(rig, caller, 3, (struct id){.bytes = {0}}), ERR_OK);
    cr_assert_eq(line_count, 3);
    cr_assert_eq(read_log(rig, caller, 3, lines[2].id), ERR_OK);
    cr_assert_eq(line_count, 3);
    cr_assert_eq(read_log(rig, caller, 3, lines[2].id), ERR_OK);
    cr_assert_eq(line_count, 0);
    rig_close(rig);
}

Test(audit, of_another_account_is_not_shown)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    (void)make(rig, account, 1, 0);
    log_of(rig, other);
    cr_assert_eq(line_count, 2, "itself and its first key");
    rig_close(rig);
}

Test(audit, is_read_by_those_who_may_read_keys)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_KEYS_READ);
    struct buf scopes;
    buf_init(&scopes, KIB);
    buf_put_slice(&scopes, SLICE("mail:send"));
    rig_set_key(rig, account, MODE_LIVE, buf_slice(&scopes));
    cr_assert_eq(read_log(rig, caller, 0, (struct id){.bytes = {0}}), ERR_SCOPE);
    buf_fini(&scopes);
    rig_close(rig);
}

Test(audit, has_no_line_of_a_change_that_was_lost)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id = make(rig, account, 1, 0);
    rig_settle(rig);
    rig->fail_at = rig->commit_count + 1;
    end_key(rig, account, id, KEY_REVOKE);
    log_of(rig, account);
    cr_assert_eq(count_of("api_key.revoked"), 0);
    rig_close(rig);
}

/* ---- keys that will expire ------------------------------------------------------------------ */

Test(audit, tells_once_of_a_key_that_expires_in_a_week)
{
    uint64_t now = UINT64_C(1750000000000);
    clock_set_fake(1000, now);
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)make(rig, account, 1, now + 8 * DAY_MS);
    (void)make(rig, account, 2, now + 6 * DAY_MS); /* never had a week */
    (void)make(rig, account, 3, 0);
    sweep(rig, account);
    log_of(rig, account);
    cr_assert_eq(count_of("api_key.expiring"), 0);
    clock_set_fake(2000, now + DAY_MS + 1);
    sweep(rig, account);
    sweep(rig, account);
    log_of(rig, account);
    cr_assert_eq(count_of("api_key.expiring"), 1);
    cr_assert_eq(lines[0].kind, AUDIT_SYSTEM);
    cr_assert_str_eq(lines[0].action, "api_key.expiring");
    rig_close(rig);
    clock_set_fake(0, 0);
}

Test(audit, tells_at_the_start_what_it_missed)
{
    uint64_t now = UINT64_C(1750000000000);
    clock_set_fake(1000, now);
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)make(rig, account, 1, now + 8 * DAY_MS);
    clock_set_fake(2000, now + 2 * DAY_MS);
    rig_restart(rig);
    rig_settle(rig);
    log_of(rig, account);
    cr_assert_eq(count_of("api_key.expiring"), 1);
    rig_close(rig);
    clock_set_fake(0, 0);
}

Test(audit, follows_an_expiry_that_moves_and_forgets_keys_that_end)
{
    uint64_t now = UINT64_C(1750000000000);
    clock_set_fake(1000, now);
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id later = make(rig, account, 1, now + 8 * DAY_MS);
    struct id never = make(rig, account, 2, now + 8 * DAY_MS);
    struct id revoked = make(rig, account, 3, now + 8 * DAY_MS);
    struct id rotated = make(rig, account, 4, now + 8 * DAY_MS); /* its heir is told of */
    change(rig, account, later, KEY_FIELD_EXPIRES,
           (struct row_api_key){.expires_unix_ms = now + 20 * DAY_MS});
    change(rig, account, never, KEY_FIELD_EXPIRES, (struct row_api_key){.expires_unix_ms = 0});
    end_key(rig, account, revoked, KEY_REVOKE);
    end_key(rig, account, rotated, KEY_ROTATE);
    clock_set_fake(2000, now + 2 * DAY_MS);
    sweep(rig, account);
    log_of(rig, account);
    cr_assert_eq(count_of("api_key.expiring"), 1);
    clock_set_fake(3000, now + 14 * DAY_MS);
    sweep(rig, account);
    log_of(rig, account);
    cr_assert_eq(count_of("api_key.expiring"), 2);
    char text[ID_TEXT_MAX];
    (void)id_text(ID_KEY, later, text);
    cr_assert_str_eq(lines[0].target, text);
    rig_close(rig);
    clock_set_fake(0, 0);
}

Test(audit, tells_of_more_keys_than_one_page_holds)
{
    uint64_t now = UINT64_C(1750000000000);
    clock_set_fake(1000, now);
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    for (uint32_t i = 1; i <= KEY_DUE_PAGE + 10; i++) {
        (void)make(rig, account, i, now + 8 * DAY_MS);
    }
    clock_set_fake(2000, now + 2 * DAY_MS);
    sweep(rig, account);
    struct caller caller = rig_key_caller(account, RIGHT_KEYS_READ);
    cr_assert_eq(read_log(rig, caller, PAGE_MAX, (struct id){.bytes = {0}}), ERR_OK);
    cr_assert_eq(count_of("api_key.expiring"), KEY_DUE_PAGE + 10);
    rig_close(rig);
    clock_set_fake(0, 0);
}
