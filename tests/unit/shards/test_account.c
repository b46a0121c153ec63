/* test_account.c - sign-up, callers and their rights, the directory of names.
 *
 * Not covered here: the syntax of keys and tokens, passwords (tests/unit/edge), the commit cycle
 * (test_shard).
 */
#include "unit/shards/shard_rig.h"

static enum err me(struct rig *rig, const struct caller *caller)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_ME);
    msg->body.me.caller = *caller;
    enum err err = rig_call(rig, rig_shard(rig, caller->account), msg);
    rig_put(rig, msg);
    return err;
}

static struct row_api_key key_row(struct rig *rig, struct account_id account, struct arena *arena)
{
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    return rig_get_api_key(rig, account, key_api_key(account, &caller.key_hash), arena);
}

static void set_key(struct rig *rig, struct account_id account, const struct row_api_key *row)
{
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    rig_set_api_key(rig, account, key_api_key(account, &caller.key_hash), row);
}

/* ---- people -------------------------------------------------------------------------------------
 */

Test(account, signup_makes_account_owner_and_first_key)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_KEYS_WRITE);
    struct msg *msg = rig_take(rig, MSG_SHARD_ME);
    msg->body.me.caller = caller;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    const struct shard_me *got = &msg->body.me;
    cr_expect_eq(got->account.id.value, account.value);
    cr_expect(slice_equal(got->account.name, SLICE("Example")));
    cr_expect(got->has_key);
    cr_expect_not(got->has_user);
    cr_expect(slice_equal(got->key.prefix, SLICE("mk_live_01234567")));
    cr_expect(slice_equal(got->key.last4, SLICE("wxyz")));
    cr_expect_eq(got->key.permission, PERMISSION_FULL);
    cr_expect_eq(got->key.mode, MODE_LIVE);
    cr_expect_eq(rig_count(rig, account, key_prefix_users(account)), 1);
    rig_close(rig);
}

Test(account, signup_of_an_account_that_exists_is_refused)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id ids[] = {account, {0}};
    enum err wants[] = {ERR_EXISTS, ERR_INVALID};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct msg *msg = rig_take(rig, MSG_SHARD_SIGNUP);
        msg->body.signup.account = ids[i];
        msg->body.signup.email = SLICE("other@example.com");
        cr_expect_eq(rig_call(rig, rig_shard(rig, account), msg), wants[i]);
        rig_put(rig, msg);
    }
    cr_expect_eq(rig_count(rig, account, key_prefix_users(account)), 1);
    rig_close(rig);
}

Test(account, login_tells_the_password_hash_and_me_does_not)
{
    struct rig *rig = rig_open();
    struct account_id account = account_random();
    struct msg *signup = rig_take(rig, MSG_SHARD_SIGNUP);
    signup->body.signup = (struct shard_signup){
        .account = account,
        .email = SLICE("owner@example.com"),
        .password_hash = SLICE("$argon2id$v=19$secret"),
        .account_name = SLICE("Example"),
        .session = {.bytes = {1}},
        .session_expires_unix_ms = clock_unix_ms() + SESSION_MS,
    };
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), signup), ERR_OK);
    struct id user = signup->body.signup.user.id;
    cr_expect_eq(id_account(user).value, account.value);
    cr_expect_eq(signup->body.signup.user.role, ROLE_OWNER);

    struct msg *login = rig_take(rig, MSG_SHARD_LOGIN);
    login->body.login.account = account;
    login->body.login.user = user;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), login), ERR_OK);
    cr_expect(slice_equal(login->body.login.row.password_hash, SLICE("$argon2id$v=19$secret")));
    cr_expect(slice_equal(login->body.login.account_row.name, SLICE("Example")));

    struct msg *msg = rig_take(rig, MSG_SHARD_ME);
    msg->body.me.caller = (struct caller){
        .kind = CALLER_SESSION, .account = account, .user = user, .session = {.bytes = {1}}};
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_expect(msg->body.me.has_user);
    cr_expect_not(msg->body.me.has_key);
    cr_expect(slice_equal(msg->body.me.user.email, SLICE("owner@example.com")));
    cr_expect_eq(msg->body.me.user.password_hash.len, 0);
    cr_expect(msg->arena.is_secret, "the hash is wiped with the message");
    rig_close(rig);
}

static enum err google_open_session(struct rig *rig, struct id user, const char *sub,
                                    const char *checked_hash)
{
    struct account_id account = id_account(user);
    struct msg *msg = rig_take(rig, MSG_SHARD_USER);
    msg->body.user = (struct shard_user){
        .op = USER_OPEN,
        .caller = {.account = account},
        .user = user,
        .session = {.bytes = {2}},
        .expires_unix_ms = clock_unix_ms() + SESSION_MS,
        .checked_hash = slice_str(checked_hash),
        .google_sub = slice_str(sub),
    };
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    cr_expect_eq(msg->body.user.row.password_hash.len, 0);
    rig_put(rig, msg);
    return err;
}

Test(account, a_user_is_linked_to_one_google_account_and_only_as_it_was_judged)
{
    struct rig *rig = rig_open();
    struct account_id account = account_random();
    struct msg *signup = rig_take(rig, MSG_SHARD_SIGNUP);
    signup->body.signup = (struct shard_signup){.account = account,
                                                .email = SLICE("owner@example.com"),
                                                .password_hash = SLICE("$argon2id$now")};
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), signup), ERR_OK);
    struct id user = signup->body.signup.user.id;
    rig_put(rig, signup);

    /* Judged while there was no password, or another one. */
    cr_expect_eq(google_open_session(rig, user, "sub-1", ""), ERR_LOGIN);
    cr_expect_eq(google_open_session(rig, user, "sub-1", "$argon2id$old"), ERR_LOGIN);
    cr_expect_eq(google_open_session(rig, user, "sub-1", "$argon2id$now"), ERR_OK);
    cr_expect_eq(google_open_session(rig, user, "sub-2", "$argon2id$now"), ERR_CONFLICT);
    cr_expect_eq(google_open_session(rig, user, "sub-1", "$argon2id$now"), ERR_OK);

    struct msg *login = rig_take(rig, MSG_SHARD_LOGIN);
    login->body.login.account = account;
    login->body.login.user = user;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), login), ERR_OK);
    cr_expect(slice_equal(login->body.login.row.google_sub, SLICE("sub-1")));
    cr_expect(login->body.login.row.is_email_verified);
    rig_put(rig, login);
    rig_close(rig);
}

Test(account, login_of_an_unknown_user_finds_nothing)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct msg *msg = rig_take(rig, MSG_SHARD_LOGIN);
    msg->body.login.account = account;
    msg->body.login.user = id_random();
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_NOT_FOUND);
    rig_close(rig);
}

Test(account, drop_ends_every_credential_and_frees_the_id)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    struct msg *msg = rig_take(rig, MSG_SHARD_DROP_ACCOUNT);
    msg->body.drop.account = account;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_expect_eq(me(rig, &caller), ERR_UNAUTHORIZED);
    cr_expect_not(rig_has(rig, account, key_api_key(account, &caller.key_hash)));
    cr_expect_eq(rig_count(rig, account, key_prefix_users(account)), 0);
    rig_put(rig, msg);
    msg = rig_take(rig, MSG_SHARD_DROP_ACCOUNT);
    msg->body.drop.account = account;
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_NOT_FOUND);
    caller = rig_key_caller(other, RIGHT_NONE);
    cr_expect_eq(me(rig, &caller), ERR_OK, "its neighbour is untouched");
    rig_close(rig);
}

/* ---- callers ------------------------------------------------------------------------------------
 */

static void pack_add(struct buf *pack, const char *text)
{
    buf_put_slice(pack, slice_str(text));
}

Test(account, a_key_counts_only_while_it_is_good)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct caller caller = rig_key_caller(account, RIGHT_MAIL_READ);
    const struct row_api_key good = key_row(rig, account, &arena);
    uint64_t now = clock_unix_ms();
    struct {
        const char *name;
        bool is_revoked;
        bool is_enabled;
        uint64_t expires_unix_ms;
        enum err want;
    } cases[] = {
        {"as made", false, true, 0, ERR_OK},
        {"revoked", true, true, 0, ERR_UNAUTHORIZED},
        {"disabled", false, false, 0, ERR_UNAUTHORIZED},
        {"expired", false, true, now - 1, ERR_UNAUTHORIZED},
        {"expires later", false, true, now + 60000, ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct row_api_key row = good;
        row.is_revoked = cases[i].is_revoked;
        row.is_enabled = cases[i].is_enabled;
        row.expires_unix_ms = cases[i].expires_unix_ms;
        row.last_used_unix_ms = now;
        set_key(rig, account, &row);
        cr_expect_eq(me(rig, &caller), cases[i].want, "%s", cases[i].name);
    }
    arena_fini(&arena);
    rig_close(rig);
}

Test(account, strangers_are_refused)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    caller.account = other;
    cr_expect_eq(me(rig, &caller), ERR_UNAUTHORIZED, "a key of another account");
    caller = rig_key_caller(account, RIGHT_NONE);
    caller.key_hash.bytes[31] ^= 1;
    cr_expect_eq(me(rig, &caller), ERR_UNAUTHORIZED, "another key");
    caller = (struct caller){.kind = CALLER_SESSION, .account = account, .user = id_random()};
    cr_expect_eq(me(rig, &caller), ERR_UNAUTHORIZED, "a session of a user that is gone");
    caller = rig_key_caller(account_random(), RIGHT_NONE);
    cr_expect_eq(me(rig, &caller), ERR_UNAUTHORIZED, "no such account");
    rig_close(rig);
}

Test(account, a_key_may_do_what_its_scopes_say)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    struct buf two;
    struct buf none;
    arena_init(&arena, 4 * KIB, MIB);
    buf_init(&two, KIB);
    buf_init(&none, KIB);
    pack_add(&two, "mail:read");
    pack_add(&two, "domains:write");
    pack_add(&none, "");
    struct {
        const char *name;
        enum permission permission;
        struct slice scopes;
        enum right right;
        enum err want;
    } cases[] = {
        {"full may send", PERMISSION_FULL, SLICE_INIT(""), RIGHT_MAIL_SEND, ERR_OK},
        {"full may manage keys", PERMISSION_FULL, SLICE_INIT(""), RIGHT_KEYS_WRITE, ERR_OK},
        {"send may send", PERMISSION_SEND, SLICE_INIT(""), RIGHT_MAIL_SEND, ERR_OK},
        {"send may not read", PERMISSION_SEND, SLICE_INIT(""), RIGHT_MAIL_READ, ERR_SCOPE},
        {"scopes replace full", PERMISSION_FULL, buf_slice(&two), RIGHT_MAIL_SEND, ERR_SCOPE},
        {"scopes replace send", PERMISSION_SEND, buf_slice(&two), RIGHT_MAIL_SEND, ERR_SCOPE},
        {"first scope", PERMISSION_SEND, buf_slice(&two), RIGHT_MAIL_READ, ERR_OK},
        {"second scope", PERMISSION_SEND, buf_slice(&two), RIGHT_DOMAINS_WRITE, ERR_OK},
        {"an empty list", PERMISSION_FULL, buf_slice(&none), RIGHT_MAIL_READ, ERR_SCOPE},
        {"an empty list may ask who it is", PERMISSION_FULL, buf_slice(&none), RIGHT_NONE, ERR_OK},
    };
    const struct row_api_key good = key_row(rig, account, &arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct row_api_key row = good;
        row.permission = (uint8_t)cases[i].permission;
        row.scopes = cases[i].scopes;
        row.last_used_unix_ms = clock_unix_ms();
        set_key(rig, account, &row);
        struct msg *msg = rig_take(rig, MSG_SHARD_ME);
        msg->body.me.caller = rig_key_caller(account, cases[i].right);
        enum err err = rig_call(rig, rig_shard(rig, account), msg);
        cr_expect_eq(err, cases[i].want, "%s", cases[i].name);
        if (err == ERR_SCOPE) {
            cr_expect(slice_equal(msg->param, slice_str(right_text(cases[i].right))));
        }
        rig_put(rig, msg);
    }
    buf_fini(&two);
    buf_fini(&none);
    arena_fini(&arena);
    rig_close(rig);
}

Test(account, last_use_of_a_key_is_written_once_a_minute)
{
    struct rig *rig = rig_open();
    uint64_t start = clock_unix_ms();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    uint32_t before = rig->commit_count;
    struct {
        uint64_t after_ms;
        uint32_t commits;
    } steps[] = {{0, 1}, {1000, 1}, {KEY_TOUCH_MS - 1, 1}, {KEY_TOUCH_MS + 1, 2}};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        clock_set_fake(clock_mono_ms(), start + 1000 + steps[i].after_ms);
        cr_expect_eq(me(rig, &caller), ERR_OK);
        rig_settle(rig);
        cr_expect_eq(rig->commit_count - before, steps[i].commits, "step %zu", i);
    }
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(account, a_failed_note_of_last_use_fails_no_request)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    rig->fail_at = rig->commit_count + 1;
    cr_expect_eq(me(rig, &caller), ERR_OK);
    rig_settle(rig);
    cr_expect_eq(rig->commit_count, rig->fail_at);
    rig_close(rig);
}

/* ---- the directory ------------------------------------------------------------------------------
 */

static struct msg *directory_post(struct rig *rig, enum directory_op op, const char *name,
                                  struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_DIRECTORY);
    msg->body.directory = (struct shard_directory){
        .op = op,
        .kind = DIRECTORY_EMAIL,
        .name = slice_str(name),
        .account = account,
        .id = {.bytes = {(uint8_t)account.value}},
    };
    actor_post(place_directory(&rig->place, slice_str(name)), msg);
    return msg;
}

static enum err directory(struct rig *rig, enum directory_op op, const char *name,
                          struct account_id *account)
{
    struct msg *msg = directory_post(rig, op, name, *account);
    enum err err = rig_wait(rig, msg);
    *account = msg->body.directory.account;
    rig_put(rig, msg);
    return err;
}

Test(account, a_name_belongs_to_the_first_who_claims_it)
{
    struct rig *rig = rig_open();
    struct account_id first = {11};
    struct account_id second = {22};
    struct account_id owner = {0};
    cr_expect_eq(directory(rig, DIRECTORY_GET, "a@example.com", &owner), ERR_NOT_FOUND);
    cr_expect_eq(directory(rig, DIRECTORY_CLAIM, "a@example.com", &first), ERR_OK);
    cr_expect_eq(directory(rig, DIRECTORY_CLAIM, "a@example.com", &first), ERR_OK, "again");
    owner = second;
    cr_expect_eq(directory(rig, DIRECTORY_CLAIM, "a@example.com", &owner), ERR_EXISTS);
    cr_expect_eq(owner.value, first.value, "the refusal names the owner");
    owner = second;
    cr_expect_eq(directory(rig, DIRECTORY_RELEASE, "a@example.com", &owner), ERR_OK);
    cr_expect_eq(directory(rig, DIRECTORY_GET, "a@example.com", &owner), ERR_OK);
    cr_expect_eq(owner.value, first.value, "a stranger's release changes nothing");
    cr_expect_eq(directory(rig, DIRECTORY_RELEASE, "a@example.com", &first), ERR_OK);
    owner = second;
    cr_expect_eq(directory(rig, DIRECTORY_CLAIM, "a@example.com", &owner), ERR_OK);
    rig_close(rig);
}

Test(account, two_claims_in_one_batch_have_one_winner)
{
    struct rig *rig = rig_open();
    struct msg *first = directory_post(rig, DIRECTORY_CLAIM, "a@b.example", (struct account_id){1});
    struct msg *second =
        directory_post(rig, DIRECTORY_CLAIM, "a@b.example", (struct account_id){2});
    cr_expect_eq(rig_wait(rig, first), ERR_OK);
    cr_expect_eq(rig_wait(rig, second), ERR_EXISTS);
    cr_expect_eq(rig->commit_count, 1);
    rig_close(rig);
}

Test(account, a_claim_that_was_not_stored_takes_nothing_from_others)
{
    struct rig *rig = rig_open();
    rig->fail_at = 1;
    struct msg *first = directory_post(rig, DIRECTORY_CLAIM, "a@b.example", (struct account_id){1});
    struct msg *second =
        directory_post(rig, DIRECTORY_CLAIM, "a@b.example", (struct account_id){2});
    cr_expect_eq(rig_wait(rig, first), ERR_STORAGE);
    cr_expect_eq(rig_wait(rig, second), ERR_STORAGE, "not refused for a row that never was");
    struct account_id again = {2};
    cr_expect_eq(directory(rig, DIRECTORY_CLAIM, "a@b.example", &again), ERR_OK);
    rig_close(rig);
}

Test(account, emails_and_domains_do_not_share_names)
{
    struct rig *rig = rig_open();
    struct account_id first = {1};
    cr_expect_eq(directory(rig, DIRECTORY_CLAIM, "b.example", &first), ERR_OK);
    struct msg *msg = rig_take(rig, MSG_SHARD_DIRECTORY);
    msg->body.directory = (struct shard_directory){
        .op = DIRECTORY_GET, .kind = DIRECTORY_DOMAIN, .name = SLICE("b.example")};
    cr_expect_eq(rig_call(rig, place_directory(&rig->place, SLICE("b.example")), msg),
                 ERR_NOT_FOUND);
    rig_close(rig);
}
