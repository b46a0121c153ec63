/* test_admin.c - the operator's pages, views and changes, and the lines they leave.
 *
 * Not covered here: who may ask (tests/unit/edge/test_operator.c, tests/flow/test_admin.c), the end
 * of connections (test_ended), what a suspended account is refused (test_account).
 */
#include "unit/shards/shard_rig.h"

static struct msg *ask(struct rig *rig, enum admin_op op, struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_ADMIN);
    msg->body.admin.op = op;
    msg->body.admin.account = account;
    msg->body.admin.caller = (struct caller){.kind = CALLER_OPERATOR};
    return msg;
}

static enum err call(struct rig *rig, struct account_id account, struct msg *msg)
{
    return rig_call(rig, rig_shard(rig, account), msg);
}

static struct id owner_of(struct rig *rig, struct account_id account)
{
    struct msg *msg = ask(rig, ADMIN_ACCOUNT, account);
    cr_assert_eq(call(rig, account, msg), ERR_OK);
    cr_assert_eq(msg->body.admin.user_count, 1);
    struct id id = msg->body.admin.users[0].id;
    rig_put(rig, msg);
    return id;
}

/* The newest line of an account's log that has this action; *count says how many have. */
static struct row_audit last_line(struct rig *rig, struct account_id account, const char *action,
                                  uint32_t *count, struct arena *arena)
{
    struct shard *shard = rig_state(rig, account);
    struct key from = key_prefix_audits(account);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(rig->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct row_audit found = {.created_unix_ms = 0};
    struct slice key;
    struct slice value;
    *count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        struct row_audit row;
        cr_assert_eq(row_audit_decode(arena_dup(arena, value), &row), ERR_OK);
        if (slice_equal(row.action, slice_str(action))) {
            found = row;
            *count += 1;
        }
    }
    kv_iter_close(iter);
    return found;
}

/* ---- pages ----------------------------------------------------------------------------------- */

Test(admin, pages_show_every_account_of_a_shard_once)
{
    struct rig *rig = rig_open();
    struct account_id first = rig_signup(rig);
    for (int i = 0; i < 6; i++) {
        (void)rig_signup_at(rig, first, true); /* only their number matters */
    }
    (void)rig_signup_at(rig, first, false); /* is not to be seen here */
    struct account_id after = {0};
    uint32_t total = 0;
    for (;;) {
        struct msg *msg = ask(rig, ADMIN_ACCOUNTS, after);
        msg->body.admin.limit = 3;
        cr_assert_eq(call(rig, first, msg), ERR_OK);
        uint32_t count = msg->body.admin.account_count;
        for (uint32_t i = 0; i < count; i++) {
            const struct account_view *view = &msg->body.admin.accounts[i];
            cr_expect_gt(view->row.id.value, after.value);
            cr_expect_eq(rig_shard(rig, view->row.id), rig_shard(rig, first));
            cr_expect(slice_equal(view->owner_email, SLICE("owner@example.com")));
            after = view->row.id;
        }
        total += count;
        rig_put(rig, msg);
        if (count < 3) {
            break;
        }
    }
    struct msg *counted = ask(rig, ADMIN_COUNT, (struct account_id){0});
    cr_assert_eq(call(rig, first, counted), ERR_OK);
    cr_expect_eq(counted->body.admin.count, total);
    cr_expect_geq(total, 7);
    rig_put(rig, counted);
    rig_close(rig);
}

Test(admin, pages_of_users_show_no_secret)
{
    struct rig *rig = rig_open();
    struct account_id first = rig_signup(rig);
    (void)rig_signup_at(rig, first, true); /* only their number matters */
    struct id after = {.bytes = {0}};
    uint32_t total = 0;
    for (;;) {
        struct msg *msg = ask(rig, ADMIN_USERS, (struct account_id){0});
        msg->body.admin.user = after;
        msg->body.admin.limit = 1;
        cr_assert_eq(call(rig, first, msg), ERR_OK);
        if (msg->body.admin.user_count == 0) {
            rig_put(rig, msg);
            break;
        }
        const struct row_user *user = &msg->body.admin.users[0];
        cr_expect_not(id_equal(user->id, after));
        cr_expect_eq(user->password_hash.len, 0);
        cr_expect_eq(user->sessions.len, 0);
        after = user->id;
        total++;
        rig_put(rig, msg);
    }
    cr_assert_geq(total, 2);
    rig_close(rig);
}

/* ---- one account ----------------------------------------------------------------------------- */

Test(admin, an_account_is_shown_with_what_it_has)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com"); /* is counted */
    struct msg *msg = ask(rig, ADMIN_ACCOUNT, account);
    cr_assert_eq(call(rig, account, msg), ERR_OK);
    const struct shard_admin *got = &msg->body.admin;
    cr_expect_eq(got->account_count, 1);
    cr_expect(slice_equal(got->accounts[0].row.name, SLICE("Example")));
    cr_expect(slice_equal(got->accounts[0].owner_email, SLICE("owner@example.com")));
    cr_expect_eq(got->key_count, 1);
    cr_expect_eq(got->domain_count, 1);
    cr_expect_eq(got->today.mails, 0);
    cr_expect_eq(got->user_count, 1);
    cr_expect_eq(got->users[0].password_hash.len, 0);
    rig_put(rig, msg);
    rig_close(rig);
}

Test(admin, who_does_not_exist_is_not_found)
{
    static const enum admin_op ops[] = {ADMIN_ACCOUNT, ADMIN_CHANGE, ADMIN_USER, ADMIN_USER_CHANGE};
    struct rig *rig = rig_open();
    struct account_id nobody = account_random();
    struct account_id account = rig_signup(rig);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct msg *msg = ask(rig, ops[i], nobody);
        cr_expect_eq(call(rig, nobody, msg), ERR_NOT_FOUND);
        rig_put(rig, msg);
    }
    struct msg *msg = ask(rig, ADMIN_USER, account);
    msg->body.admin.user = id_random();
    cr_expect_eq(call(rig, account, msg), ERR_NOT_FOUND);
    rig_put(rig, msg);
    rig_close(rig);
}

/* ---- changes --------------------------------------------------------------------------------- */

Test(admin, a_change_takes_what_was_given_and_leaves_the_rest)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct account_id account = rig_signup(rig);
    struct msg *msg = ask(rig, ADMIN_CHANGE, account);
    msg->body.admin.given = ADMIN_FIELD_DAILY | ADMIN_FIELD_RATE;
    msg->body.admin.wanted = (struct row_account){
        .name = SLICE("not given"), .daily_max = 7, .rate_per_min = 60, .is_suspended = true};
    cr_assert_eq(call(rig, account, msg), ERR_OK);
    const struct row_account *row = &msg->body.admin.accounts[0].row;
    cr_expect(slice_equal(row->name, SLICE("Example")));
    cr_expect_eq(row->daily_max, 7);
    cr_expect_eq(row->rate_per_min, 60);
    cr_expect_not(row->is_suspended);
    rig_put(rig, msg);
    uint32_t count;
    struct row_audit line = last_line(rig, account, "account.changed", &count, &arena);
    cr_expect_eq(count, 1);
    cr_expect_eq(line.actor_kind, AUDIT_OPERATOR);
    cr_expect(slice_equal(line.detail, SLICE("dailyMax 0 -> 7, ratePerMin 0 -> 60")), "%.*s",
              SLICE_FMT(line.detail));
    cr_expect(slice_starts(line.target, SLICE("acc_")));
    (void)last_line(rig, account, "account.suspended", &count, &arena);
    cr_expect_eq(count, 0);
    arena_fini(&arena);
    rig_close(rig);
}

static void suspend(struct rig *rig, struct account_id account, bool is_on)
{
    struct msg *msg = ask(rig, ADMIN_CHANGE, account);
    msg->body.admin.given = ADMIN_FIELD_SUSPENDED;
    msg->body.admin.wanted.is_suspended = is_on;
    msg->body.admin.caller = (struct caller){.kind = CALLER_SESSION, .user = id_random()};
    msg->body.admin.caller_email = SLICE("boss@example.com");
    cr_assert_eq(call(rig, account, msg), ERR_OK);
    cr_expect_eq(msg->body.admin.accounts[0].row.is_suspended, is_on);
    rig_put(rig, msg);
}

Test(admin, suspending_is_noted_once_with_who_did_it)
{
    struct rig *rig = rig_open();
    struct arena arena;
    uint32_t count;
    arena_init(&arena, 4 * KIB, MIB);
    struct account_id account = rig_signup(rig);
    suspend(rig, account, true);
    suspend(rig, account, true); /* is so already */
    struct row_audit line = last_line(rig, account, "account.suspended", &count, &arena);
    cr_expect_eq(count, 1);
    cr_expect_eq(line.actor_kind, AUDIT_USER);
    cr_expect(slice_equal(line.actor_name, SLICE("boss@example.com")));
    suspend(rig, account, false);
    (void)last_line(rig, account, "account.resumed", &count, &arena);
    cr_expect_eq(count, 1);
    arena_fini(&arena);
    rig_close(rig);
}

Test(admin, a_user_becomes_administrator_and_is_one_no_more)
{
    struct rig *rig = rig_open();
    struct arena arena;
    uint32_t count;
    arena_init(&arena, 4 * KIB, MIB);
    struct account_id account = rig_signup(rig);
    struct id owner = owner_of(rig, account);
    for (int is_on = 1; is_on >= 0; is_on--) {
        struct msg *msg = ask(rig, ADMIN_USER_CHANGE, account);
        msg->body.admin.user = owner;
        msg->body.admin.given = ADMIN_FIELD_IS_ADMIN;
        msg->body.admin.is_admin = is_on == 1;
        cr_assert_eq(call(rig, account, msg), ERR_OK);
        cr_expect_eq(msg->body.admin.users[0].is_admin, is_on == 1);
        cr_expect_eq(msg->body.admin.users[0].password_hash.len, 0);
        rig_put(rig, msg);
        struct row_audit line = last_line(rig, account, "user.admin", &count, &arena);
        cr_expect(slice_equal(line.detail, is_on ? SLICE("on") : SLICE("off")));
        cr_expect(slice_starts(line.target, SLICE("usr_")));
    }
    cr_expect_eq(count, 2);
    arena_fini(&arena);
    rig_close(rig);
}

Test(admin, a_new_password_ends_the_user_s_sessions)
{
    struct rig *rig = rig_open();
    struct arena arena;
    uint32_t count;
    arena_init(&arena, 4 * KIB, MIB);
    struct account_id account = rig_signup(rig);
    struct id owner = owner_of(rig, account);
    struct key key = key_user(account, owner);
    struct row_user row = rig_get_user(rig, account, key, &arena);
    row.sessions = user_sessions_with(SLICE(""), owner, UINT64_MAX, &arena);
    rig_set_user(rig, account, key, &row);

    struct msg *msg = ask(rig, ADMIN_USER_CHANGE, account);
    msg->body.admin.user = owner;
    msg->body.admin.given = ADMIN_FIELD_PASSWORD;
    msg->body.admin.password_hash = SLICE("$argon2id$new");
    cr_assert_eq(call(rig, account, msg), ERR_OK);
    rig_put(rig, msg);
    row = rig_get_user(rig, account, key, &arena);
    cr_expect_eq(row.sessions.len, 0);
    cr_expect(slice_equal(row.password_hash, SLICE("$argon2id$new")));
    (void)last_line(rig, account, "user.password", &count, &arena);
    cr_expect_eq(count, 1);
    arena_fini(&arena);
    rig_close(rig);
}

Test(admin, an_operator_of_no_account_is_told_that_there_is_none)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id cases[] = {account, account_random()};
    enum err wants[] = {ERR_OK, ERR_NOT_FOUND};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg *msg = rig_take(rig, MSG_SHARD_ME);
        msg->body.me.caller =
            (struct caller){.kind = CALLER_OPERATOR, .account = cases[i], .right = RIGHT_MAIL_SEND};
        cr_expect_eq(rig_call(rig, rig_shard(rig, cases[i]), msg), wants[i]);
        cr_expect_not(msg->body.me.has_user);
        cr_expect_not(msg->body.me.has_key);
        rig_put(rig, msg);
    }
    rig_close(rig);
}
