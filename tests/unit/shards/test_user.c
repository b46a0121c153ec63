/* Sessions and passwords, as the shard that owns them sees them.
 *
 * Not covered here: the connections of ended sessions (test_ended), tokens and passwords themselves
 * (tests/unit/edge).
 */
#include "unit/shards/shard_rig.h"

static struct id session_id(uint32_t number)
{
    struct id id = {.bytes = {0xaa}};
    memcpy(id.bytes + 4, &number, sizeof(number));
    return id;
}

struct person {
    struct rig *rig;
    struct account_id account;
    struct id user;
};

static struct person person_open(const char *hash)
{
    struct person person = {.rig = rig_open(), .account = account_random()};
    struct msg *msg = rig_take(person.rig, MSG_SHARD_SIGNUP);
    msg->body.signup = (struct shard_signup){
        .account = person.account,
        .email = SLICE("owner@example.com"),
        .password_hash = slice_str(hash),
        .account_name = SLICE("Example"),
        .key_hash = rig_key_caller(person.account, RIGHT_NONE).key_hash,
        .session = session_id(1),
        .session_expires_unix_ms = clock_unix_ms() + SESSION_MS,
    };
    cr_assert_eq(rig_call(person.rig, rig_shard(person.rig, person.account), msg), ERR_OK);
    person.user = msg->body.signup.user.id;
    rig_put(person.rig, msg);
    return person;
}

static struct caller caller_of(const struct person *person, uint32_t session)
{
    return (struct caller){.kind = CALLER_SESSION,
                           .account = person->account,
                           .user = person->user,
                           .session = session_id(session)};
}

static enum err me(const struct person *person, const struct caller *caller)
{
    struct msg *msg = rig_take(person->rig, MSG_SHARD_ME);
    msg->body.me.caller = *caller;
    enum err err = rig_call(person->rig, rig_shard(person->rig, caller->account), msg);
    rig_put(person->rig, msg);
    return err;
}

static bool is_open(const struct person *person, uint32_t session)
{
    struct caller caller = caller_of(person, session);
    enum err err = me(person, &caller);
    cr_assert(err == ERR_OK || err == ERR_UNAUTHORIZED);
    return err == ERR_OK;
}

static struct msg *ask(const struct person *person, enum user_op op, uint32_t session)
{
    struct msg *msg = rig_take(person->rig, MSG_SHARD_USER);
    msg->body.user.op = op;
    msg->body.user.caller = caller_of(person, session);
    msg->body.user.user = person->user;
    msg->body.user.session = session_id(session);
    msg->body.user.expires_unix_ms = clock_unix_ms() + SESSION_MS;
    return msg;
}

static enum err call(const struct person *person, struct msg *msg)
{
    enum err err = rig_call(person->rig, rig_shard(person->rig, person->account), msg);
    rig_put(person->rig, msg);
    return err;
}

static enum err open_session(const struct person *person, uint32_t session)
{
    return call(person, ask(person, USER_OPEN, session));
}

static struct row_user row_of(const struct person *person, struct arena *arena)
{
    return rig_get_user(person->rig, person->account, key_user(person->account, person->user),
                        arena);
}

static void set_row(const struct person *person, const struct row_user *row)
{
    rig_set_user(person->rig, person->account, key_user(person->account, person->user), row);
}

/* Lines of the log with that action. */
static uint32_t lines(const struct person *person, const char *action)
{
    struct key from = key_prefix_audits(person->account);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(person->rig->kv, place_shard_index(RIG_SHARDS, person->account),
                     key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        struct row_audit row;
        cr_assert_eq(row_audit_decode(value, &row), ERR_OK);
        count += slice_equal(row.action, slice_str(action));
    }
    kv_iter_close(iter);
    return count;
}

/* ---- sessions -----------------------------------------------------------------------------------
 */

Test(user, a_session_counts_while_the_row_holds_it)
{
    struct person person = person_open("hash");
    cr_expect(is_open(&person, 1), "sign-up opens one");
    cr_expect_not(is_open(&person, 2));
    cr_expect_not(is_open(&person, 0), "no id is no session");
    cr_assert_eq(open_session(&person, 2), ERR_OK);
    cr_expect(is_open(&person, 1));
    cr_expect(is_open(&person, 2));
    cr_assert_eq(call(&person, ask(&person, USER_CLOSE, 1)), ERR_OK);
    cr_expect_not(is_open(&person, 1));
    cr_expect(is_open(&person, 2));
    cr_assert_eq(call(&person, ask(&person, USER_CLOSE, 1)), ERR_UNAUTHORIZED, "not twice");
    rig_restart(person.rig);
    cr_expect_not(is_open(&person, 1));
    cr_expect(is_open(&person, 2), "it ended with the process");
    cr_expect_eq(lines(&person, "account.created"), 1);
    cr_expect_eq(lines(&person, "session.opened"), 1);
    cr_expect_eq(lines(&person, "session.ended"), 1);
    rig_close(person.rig);
}

Test(user, a_session_of_nobody_s_id_is_never_open)
{
    struct person person = person_open("hash");
    struct caller caller = caller_of(&person, 1);
    caller.session = (struct id){.bytes = {0}};
    cr_expect_eq(me(&person, &caller), ERR_UNAUTHORIZED, "as in tokens of before there were ids");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_user row = row_of(&person, &arena);
    row.sessions = user_sessions_with(SLICE(""), caller.session, UINT64_MAX, &arena);
    set_row(&person, &row);
    cr_expect_eq(me(&person, &caller), ERR_UNAUTHORIZED);
    row.sessions = SLICE("\x18\0\0\0too short");
    set_row(&person, &row);
    caller = caller_of(&person, 1);
    cr_expect_eq(me(&person, &caller), ERR_UNAUTHORIZED);
    arena_fini(&arena);
    rig_close(person.rig);
}

Test(user, of_too_many_sessions_the_oldest_end)
{
    struct person person = person_open("hash");
    for (uint32_t i = 2; i <= SESSIONS_PER_USER + 3; i++) {
        cr_assert_eq(open_session(&person, i), ERR_OK);
    }
    for (uint32_t i = 1; i <= SESSIONS_PER_USER + 3; i++) {
        cr_expect_eq(is_open(&person, i), i > 3, "session %u", (unsigned)i);
    }
    rig_close(person.rig);
}

Test(user, an_expired_session_is_not_open_and_makes_room)
{
    struct person person = person_open("hash");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_user row = row_of(&person, &arena);
    uint64_t now = clock_unix_ms();
    row.sessions = SLICE("");
    for (uint32_t i = 1; i <= SESSIONS_PER_USER; i++) {
        row.sessions = user_sessions_with(row.sessions, session_id(i),
                                          i == 2 ? now + 1 : now + SESSION_MS, &arena);
    }
    set_row(&person, &row);
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (clock_unix_ms() <= now + 1) {
        cr_assert_lt(rig_seconds(), end);
    }
    cr_expect_not(is_open(&person, 2));
    cr_assert_eq(open_session(&person, 100), ERR_OK);
    cr_expect(is_open(&person, 1), "there was room without the oldest");
    cr_expect(is_open(&person, 100));
    arena_fini(&arena);
    rig_close(person.rig);
}

Test(user, the_answer_says_when_the_session_ends)
{
    struct person person = person_open("hash");
    struct msg *msg = rig_take(person.rig, MSG_SHARD_ME);
    msg->body.me.caller = caller_of(&person, 1);
    cr_assert_eq(rig_call(person.rig, rig_shard(person.rig, person.account), msg), ERR_OK);
    cr_expect_gt(msg->credential_expires_unix_ms, clock_unix_ms());
    cr_expect_leq(msg->credential_expires_unix_ms, clock_unix_ms() + SESSION_MS);
    cr_expect_eq(msg->body.me.user.sessions.len, 0);
    rig_put(person.rig, msg);
    rig_close(person.rig);
}

Test(user, logging_in_notes_the_time_and_who_vouched)
{
    struct person person = person_open("hash");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct msg *msg = ask(&person, USER_OPEN, 2);
    msg->body.user.google_sub = SLICE("12345");
    msg->body.user.checked_hash = SLICE("hash");
    cr_assert_eq(rig_call(person.rig, rig_shard(person.rig, person.account), msg), ERR_OK);
    cr_expect_eq(msg->body.user.row.password_hash.len, 0, "the hash stays here");
    cr_expect(msg->arena.is_secret);
    rig_put(person.rig, msg);
    struct row_user row = row_of(&person, &arena);
    cr_expect(slice_equal(row.google_sub, SLICE("12345")));
    cr_expect(row.is_email_verified);
    cr_expect_gt(row.last_login_unix_ms, 0);
    cr_expect(slice_equal(row.password_hash, SLICE("hash")));
    arena_fini(&arena);
    rig_close(person.rig);
}

/* ---- passwords ----------------------------------------------------------------------------------
 */

Test(user, a_password_that_changed_meanwhile_opens_nothing)
{
    struct person person = person_open("hash");
    struct msg *msg = ask(&person, USER_OPEN, 2);
    msg->body.user.checked_hash = SLICE("hash");
    cr_expect_eq(call(&person, msg), ERR_OK);
    msg = ask(&person, USER_OPEN, 3);
    msg->body.user.checked_hash = SLICE("older");
    cr_expect_eq(call(&person, msg), ERR_LOGIN);
    cr_expect_not(is_open(&person, 3));
    msg = ask(&person, USER_OPEN, 3);
    msg->body.user.user = id_random();
    cr_expect_eq(call(&person, msg), ERR_LOGIN, "a user that is gone");
    rig_close(person.rig);
}

Test(user, a_new_password_ends_all_sessions_but_its_own)
{
    struct person person = person_open("hash");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    for (uint32_t i = 2; i <= 5; i++) {
        cr_assert_eq(open_session(&person, i), ERR_OK);
    }
    struct msg *msg = ask(&person, USER_PASSWORD, 3);
    msg->body.user.checked_hash = SLICE("other");
    msg->body.user.new_hash = SLICE("new");
    cr_expect_eq(call(&person, msg), ERR_LOGIN, "it changed meanwhile");
    cr_expect(is_open(&person, 2));
    msg = ask(&person, USER_PASSWORD, 3);
    msg->body.user.checked_hash = SLICE("hash");
    msg->body.user.new_hash = SLICE("new");
    cr_expect_eq(call(&person, msg), ERR_OK);
    for (uint32_t i = 1; i <= 5; i++) {
        cr_expect_eq(is_open(&person, i), i == 3, "session %u", (unsigned)i);
    }
    cr_expect(slice_equal(row_of(&person, &arena).password_hash, SLICE("new")));
    cr_expect_eq(lines(&person, "password.changed"), 1);
    arena_fini(&arena);
    rig_close(person.rig);
}

Test(user, a_failed_log_in_is_noted_for_those_who_exist)
{
    struct person person = person_open("hash");
    cr_expect_eq(call(&person, ask(&person, USER_FAILED, 0)), ERR_OK);
    struct msg *msg = ask(&person, USER_FAILED, 0);
    msg->body.user.user = id_random();
    cr_expect_eq(call(&person, msg), ERR_OK, "nobody learns who exists");
    msg = ask(&person, USER_FAILED, 0);
    msg->body.user.caller.account = account_random();
    enum err err = rig_call(person.rig, rig_shard(person.rig, msg->body.user.caller.account), msg);
    cr_expect_eq(err, ERR_OK);
    rig_put(person.rig, msg);
    rig_settle(person.rig);
    cr_expect_eq(lines(&person, "login.failed"), 1);
    rig_close(person.rig);
}

/* The time of a disk would tell who exists. */
Test(user, a_failed_log_in_is_answered_without_the_disk)
{
    struct person person = person_open("hash");
    person.rig->is_commit_held = true;
    cr_expect_eq(call(&person, ask(&person, USER_FAILED, 0)), ERR_OK);
    rig_release_commits(person.rig);
    rig_close(person.rig);
}

/* ---- joining ------------------------------------------------------------------------------------
 */

Test(user, an_invitation_is_good_once)
{
    struct person person = person_open("");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    for (uint32_t i = 0; i < 2; i++) {
        struct msg *msg = ask(&person, USER_JOIN, 10 + i);
        msg->body.user.new_hash = i == 0 ? SLICE("first") : SLICE("second");
        cr_expect_eq(call(&person, msg), i == 0 ? ERR_OK : ERR_UNAUTHORIZED);
    }
    cr_expect(is_open(&person, 10));
    cr_expect_not(is_open(&person, 11));
    cr_expect(slice_equal(row_of(&person, &arena).password_hash, SLICE("first")));
    struct row_user row = row_of(&person, &arena);
    row.password_hash = SLICE("");
    row.google_sub = SLICE("1");
    set_row(&person, &row);
    struct msg *msg = ask(&person, USER_JOIN, 12);
    msg->body.user.new_hash = SLICE("third");
    cr_expect_eq(call(&person, msg), ERR_UNAUTHORIZED, "signs in elsewhere");
    row.google_sub = SLICE("");
    row.is_removed = true;
    set_row(&person, &row);
    msg = ask(&person, USER_JOIN, 12);
    msg->body.user.new_hash = SLICE("third");
    cr_expect_eq(call(&person, msg), ERR_UNAUTHORIZED, "was removed");
    cr_expect_eq(open_session(&person, 13), ERR_LOGIN);
    cr_expect_eq(lines(&person, "member.joined"), 1);
    arena_fini(&arena);
    rig_close(person.rig);
}

/* ---- who may ------------------------------------------------------------------------------------
 */

Test(user, a_suspended_account_is_shut_to_all_but_the_operator)
{
    struct person person = person_open("hash");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct key key = key_account(person.account);
    struct row_account row = rig_get_account(person.rig, person.account, key, &arena);
    row.is_suspended = true;
    rig_set_account(person.rig, person.account, key, &row);
    struct caller callers[] = {caller_of(&person, 1), rig_key_caller(person.account, RIGHT_NONE)};
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        cr_expect_eq(me(&person, &callers[i]), ERR_SUSPENDED, "caller %zu", i);
    }
    struct caller operator= {.kind = CALLER_OPERATOR, .account = person.account};
    cr_expect_eq(me(&person, &operator), ERR_OK);
    cr_expect_eq(open_session(&person, 2), ERR_SUSPENDED);
    struct caller stranger = rig_key_caller(person.account, RIGHT_NONE);
    stranger.key_hash.bytes[0] ^= 1;
    cr_expect_eq(me(&person, &stranger), ERR_UNAUTHORIZED, "strangers learn nothing");
    row.is_suspended = false;
    rig_set_account(person.rig, person.account, key, &row);
    cr_expect(is_open(&person, 1), "nothing was lost by it");
    arena_fini(&arena);
    rig_close(person.rig);
}

Test(user, a_role_has_its_rights)
{
    struct person person = person_open("hash");
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_user row = row_of(&person, &arena);
    for (enum role role = ROLE_OWNER; role < ROLE_COUNT; role++) {
        row.role = (uint8_t)role;
        set_row(&person, &row);
        for (enum right right = RIGHT_NONE; right < RIGHT_COUNT; right++) {
            struct caller caller = caller_of(&person, 1);
            caller.right = right;
            bool is_guarded = right == RIGHT_KEYS_WRITE || right == RIGHT_DOMAINS_WRITE;
            enum err want = role == ROLE_MEMBER && is_guarded ? ERR_SCOPE : ERR_OK;
            cr_expect_eq(me(&person, &caller), want, "%s, %s", role_text(role), right_text(right));
        }
    }
    arena_fini(&arena);
    rig_close(person.rig);
}

Test(user, a_key_is_no_person)
{
    struct person person = person_open("hash");
    static const enum user_op ops[] = {USER_GET, USER_CLOSE, USER_PASSWORD};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        for (int is_operator = 0; is_operator < 2; is_operator++) {
            struct msg *msg = ask(&person, ops[i], 1);
            msg->body.user.caller = rig_key_caller(person.account, RIGHT_NONE);
            if (is_operator) {
                msg->body.user.caller.kind = CALLER_OPERATOR;
            }
            cr_expect_eq(call(&person, msg), ERR_SCOPE, "op %zu", i);
        }
    }
    struct caller key = rig_key_caller(person.account, RIGHT_NONE);
    key.needs_session = true;
    cr_expect_eq(me(&person, &key), ERR_SCOPE);
    key.key_hash.bytes[0] ^= 1;
    cr_expect_eq(me(&person, &key), ERR_UNAUTHORIZED, "a stranger is told nothing of scopes");
    rig_close(person.rig);
}

/* ---- the keys that sign -------------------------------------------------------------------------
 */

Test(user, a_rotation_makes_one_generation_after_another)
{
    struct rig *rig = rig_open();
    static const uint64_t keeps[] = {5000, 0, 7000};
    for (uint32_t i = 0; i < ARRAY_LEN(keeps); i++) {
        struct msg *msg = rig_take(rig, MSG_SHARD_LEDGER);
        msg->body.ledger = (struct shard_ledger){
            .kind = LEDGER_SESSION_KEY, .is_rotation = true, .keep_until_unix_ms = keeps[i]};
        cr_assert_eq(rig_call(rig, rig->place.deliver_shard, msg), ERR_OK);
        struct session_keys keys = session_keys_unpack(msg->body.ledger.value);
        cr_expect_eq(keys.generation, i + 1);
        cr_expect_eq(keys.previous_until_unix_ms, keeps[i]);
        rig_put(rig, msg);
    }
    rig_restart(rig);
    struct msg *msg = rig_take(rig, MSG_SHARD_LEDGER);
    msg->body.ledger.kind = LEDGER_SESSION_KEY;
    cr_assert_eq(rig_call(rig, rig->place.deliver_shard, msg), ERR_OK);
    cr_expect_eq(session_keys_unpack(msg->body.ledger.value).generation, 3);
    rig_put(rig, msg);
    msg = rig_take(rig, MSG_SHARD_LEDGER);
    msg->body.ledger = (struct shard_ledger){.kind = LEDGER_EXPIRED_DAY, .is_rotation = true};
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, msg), ERR_INVALID);
    rig_put(rig, msg);
    rig_close(rig);
}
