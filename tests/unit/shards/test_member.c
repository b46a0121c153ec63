/* The people of an account: who may add, change and remove whom, and what is left of them.
 *
 * Not covered here: the claim of their email, which the edge posts (tests/flow/test_people.c).
 */
#include "unit/shards/shard_rig.h"

#define SESSION 7

struct team {
    struct rig *rig;
    struct account_id account;
    struct id owner;
};

static struct id session_id(struct id user)
{
    struct id id = user;
    id.bytes[0] ^= SESSION;
    return id;
}

static struct caller caller_of(const struct team *team, struct id user)
{
    return (struct caller){.kind = CALLER_SESSION,
                           .account = team->account,
                           .user = user,
                           .session = session_id(user)};
}

static struct msg *ask(const struct team *team, struct id by, enum member_op op)
{
    struct msg *msg = rig_take(team->rig, MSG_SHARD_MEMBER);
    msg->body.member.op = op;
    msg->body.member.caller = caller_of(team, by);
    return msg;
}

static enum err call(const struct team *team, struct msg *msg)
{
    enum err err = rig_call(team->rig, rig_shard(team->rig, team->account), msg);
    rig_put(team->rig, msg);
    return err;
}

static void open_session(const struct team *team, struct id user)
{
    struct msg *msg = rig_take(team->rig, MSG_SHARD_USER);
    msg->body.user.op = USER_OPEN;
    msg->body.user.caller.account = team->account;
    msg->body.user.user = user;
    msg->body.user.session = session_id(user);
    msg->body.user.expires_unix_ms = clock_unix_ms() + SESSION_MS;
    cr_assert_eq(call(team, msg), ERR_OK);
}

static bool may_enter(const struct team *team, struct id user)
{
    struct msg *msg = rig_take(team->rig, MSG_SHARD_ME);
    msg->body.me.caller = caller_of(team, user);
    return call(team, msg) == ERR_OK;
}

static struct team team_open(void)
{
    struct team team = {.rig = rig_open(), .account = account_random()};
    struct msg *msg = rig_take(team.rig, MSG_SHARD_SIGNUP);
    msg->body.signup = (struct shard_signup){
        .account = team.account,
        .email = SLICE("owner@example.com"),
        .password_hash = SLICE("hash"),
        .account_name = SLICE("Example"),
        .key_hash = rig_key_caller(team.account, RIGHT_NONE).key_hash,
    };
    cr_assert_eq(rig_call(team.rig, rig_shard(team.rig, team.account), msg), ERR_OK);
    team.owner = msg->body.signup.user.id;
    rig_put(team.rig, msg);
    open_session(&team, team.owner);
    return team;
}

/* Added by the owner, with a session. */
static struct id add(const struct team *team, enum role role)
{
    struct msg *msg = ask(team, team->owner, MEMBER_ADD);
    msg->body.member.role = role;
    msg->body.member.email = SLICE("person@example.com");
    msg->body.member.password_hash = SLICE("hash");
    cr_assert_eq(rig_call(team->rig, rig_shard(team->rig, team->account), msg), ERR_OK);
    cr_assert_eq(msg->body.member.row_count, 1);
    struct id user = msg->body.member.rows[0].row.id;
    rig_put(team->rig, msg);
    open_session(team, user);
    return user;
}

static enum err change(const struct team *team, struct id by, struct id whom, enum role role)
{
    struct msg *msg = ask(team, by, MEMBER_CHANGE);
    msg->body.member.id = whom;
    msg->body.member.role = role;
    return call(team, msg);
}

static enum err forget(const struct team *team, struct id whom)
{
    struct msg *msg = ask(team, whom, MEMBER_FORGET);
    msg->body.member.caller.kind = CALLER_OPERATOR;
    msg->body.member.id = whom;
    return call(team, msg);
}

static enum err take_away(const struct team *team, struct id by, struct id whom)
{
    struct msg *msg = ask(team, by, MEMBER_REMOVE);
    msg->body.member.id = whom;
    return call(team, msg);
}

static struct row_account account_of(const struct team *team)
{
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_account row =
        rig_get_account(team->rig, team->account, key_account(team->account), &arena);
    arena_fini(&arena); /* the numbers stay */
    return row;
}

static uint32_t user_count(const struct team *team)
{
    return rig_count(team->rig, team->account, key_prefix_users(team->account));
}

/* ---- adding -------------------------------------------------------------------------------------
 */

Test(member, owners_and_admins_add_and_others_do_not)
{
    struct team team = team_open();
    struct id admin = add(&team, ROLE_ADMIN);
    struct id member = add(&team, ROLE_MEMBER);
    const struct {
        struct id by;
        enum role role;
        enum err want;
    } cases[] = {
        {team.owner, ROLE_OWNER, ERR_OK},  {team.owner, ROLE_ADMIN, ERR_OK},
        {team.owner, ROLE_MEMBER, ERR_OK}, {admin, ROLE_OWNER, ERR_SCOPE},
        {admin, ROLE_ADMIN, ERR_OK},       {admin, ROLE_MEMBER, ERR_OK},
        {member, ROLE_OWNER, ERR_SCOPE},   {member, ROLE_ADMIN, ERR_SCOPE},
        {member, ROLE_MEMBER, ERR_SCOPE},
    };
    static const enum member_op ops[] = {MEMBER_MAY_ADD, MEMBER_ADD};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t n = 0; n < ARRAY_LEN(ops); n++) {
            uint32_t before = user_count(&team);
            struct msg *msg = ask(&team, cases[i].by, ops[n]);
            msg->body.member.role = cases[i].role;
            msg->body.member.email = SLICE("x@example.com");
            cr_expect_eq(call(&team, msg), cases[i].want, "case %zu", i);
            bool is_made = cases[i].want == ERR_OK && ops[n] == MEMBER_ADD;
            cr_expect_eq(user_count(&team), before + is_made, "case %zu", i);
        }
    }
    rig_close(team.rig);
}

Test(member, an_api_key_manages_nobody)
{
    struct team team = team_open();
    static const enum member_op ops[] = {MEMBER_MAY_ADD, MEMBER_ADD, MEMBER_CHANGE, MEMBER_REMOVE,
                                         MEMBER_FORGET};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct msg *msg = ask(&team, team.owner, ops[i]);
        msg->body.member.caller = rig_key_caller(team.account, RIGHT_NONE);
        msg->body.member.id = team.owner;
        cr_expect_eq(call(&team, msg), ERR_SCOPE, "op %d", (int)ops[i]);
    }
    rig_close(team.rig);
}

Test(member, an_account_has_a_ceiling_of_people)
{
    struct team team = team_open();
    for (uint32_t i = 1; i < MEMBERS_PER_ACCOUNT; i++) {
        struct msg *msg = ask(&team, team.owner, MEMBER_ADD);
        msg->body.member.role = ROLE_MEMBER;
        msg->body.member.email = SLICE("x@example.com");
        cr_assert_eq(call(&team, msg), ERR_OK);
    }
    struct msg *msg = ask(&team, team.owner, MEMBER_ADD);
    msg->body.member.role = ROLE_MEMBER;
    msg->body.member.email = SLICE("x@example.com");
    cr_expect_eq(call(&team, msg), ERR_CONFLICT);
    cr_expect_eq(user_count(&team), MEMBERS_PER_ACCOUNT);
    msg = ask(&team, team.owner, MEMBER_LIST);
    cr_assert_eq(rig_call(team.rig, rig_shard(team.rig, team.account), msg), ERR_OK);
    cr_expect_eq(msg->body.member.row_count, MEMBERS_PER_ACCOUNT, "one page has them all");
    rig_put(team.rig, msg);
    rig_close(team.rig);
}

/* ---- the last owner -----------------------------------------------------------------------------
 */

Test(member, the_last_owner_stays)
{
    struct team team = team_open();
    cr_expect_eq(take_away(&team, team.owner, team.owner), ERR_CONFLICT);
    cr_expect_eq(change(&team, team.owner, team.owner, ROLE_ADMIN), ERR_CONFLICT);
    cr_expect_eq(change(&team, team.owner, team.owner, ROLE_OWNER), ERR_OK, "stays what he is");
    struct id second = add(&team, ROLE_OWNER);
    cr_expect_eq(account_of(&team).more_owners, 1);
    cr_expect_eq(change(&team, second, team.owner, ROLE_MEMBER), ERR_OK);
    cr_expect_eq(change(&team, second, second, ROLE_MEMBER), ERR_CONFLICT);
    cr_expect_eq(change(&team, second, team.owner, ROLE_OWNER), ERR_OK);
    cr_expect_eq(take_away(&team, second, second), ERR_OK);
    cr_expect_eq(take_away(&team, team.owner, team.owner), ERR_CONFLICT);
    cr_expect_eq(account_of(&team).more_owners, 0);
    rig_close(team.rig);
}

/* Both are read before either is on the disk. */
Test(member, of_two_owners_who_leave_at_once_one_stays)
{
    struct team team = team_open();
    struct id second = add(&team, ROLE_OWNER);
    struct id leavers[] = {team.owner, second};
    struct msg *msgs[2];
    team.rig->is_commit_held = true;
    for (size_t i = 0; i < 2; i++) {
        msgs[i] = ask(&team, leavers[i], MEMBER_CHANGE);
        msgs[i]->body.member.id = leavers[i];
        msgs[i]->body.member.role = ROLE_MEMBER;
        actor_post(rig_shard(team.rig, team.account), msgs[i]);
    }
    rig_settle(team.rig);
    rig_release_commits(team.rig);
    cr_expect_eq(rig_wait(team.rig, msgs[0]), ERR_OK);
    cr_expect_eq(rig_wait(team.rig, msgs[1]), ERR_CONFLICT);
    rig_close(team.rig);
}

Test(member, an_admin_leaves_owners_alone)
{
    struct team team = team_open();
    struct id admin = add(&team, ROLE_ADMIN);
    struct id second = add(&team, ROLE_OWNER);
    struct id member = add(&team, ROLE_MEMBER);
    cr_expect_eq(take_away(&team, admin, second), ERR_SCOPE);
    cr_expect_eq(change(&team, admin, second, ROLE_MEMBER), ERR_SCOPE);
    cr_expect_eq(change(&team, admin, member, ROLE_OWNER), ERR_SCOPE);
    cr_expect_eq(change(&team, admin, admin, ROLE_OWNER), ERR_SCOPE, "not even himself");
    cr_expect_eq(change(&team, admin, member, ROLE_ADMIN), ERR_OK);
    cr_expect_eq(take_away(&team, admin, member), ERR_OK);
    cr_expect_eq(take_away(&team, admin, admin), ERR_OK, "he may leave");
    cr_expect_not(may_enter(&team, admin));
    rig_close(team.rig);
}

/* ---- removing -----------------------------------------------------------------------------------
 */

Test(member, who_is_removed_is_powerless_at_once_and_gone_when_forgotten)
{
    struct team team = team_open();
    struct id member = add(&team, ROLE_MEMBER);
    cr_assert(may_enter(&team, member));
    cr_expect_eq(forget(&team, member), ERR_CONFLICT, "nobody is forgotten who was not removed");
    cr_expect_eq(take_away(&team, team.owner, member), ERR_OK);
    cr_expect_not(may_enter(&team, member));
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct key key = key_user(team.account, member);
    struct row_user row = rig_get_user(team.rig, team.account, key, &arena);
    cr_expect(row.is_removed);
    cr_expect_eq(row.password_hash.len, 0);
    cr_expect_eq(row.sessions.len, 0);
    cr_expect(slice_equal(row.email, SLICE("person@example.com")), "which is to be released");
    arena_fini(&arena);
    rig_restart(team.rig);
    cr_expect_eq(take_away(&team, team.owner, member), ERR_OK, "another try goes on");
    cr_expect_eq(change(&team, team.owner, member, ROLE_ADMIN), ERR_NOT_FOUND);
    cr_expect_eq(account_of(&team).more_members, 1);
    cr_expect_eq(forget(&team, member), ERR_OK);
    cr_expect_eq(forget(&team, member), ERR_OK, "the wish is fulfilled");
    cr_expect_eq(account_of(&team).more_members, 0);
    cr_expect_eq(user_count(&team), 1);
    cr_expect_eq(take_away(&team, team.owner, member), ERR_NOT_FOUND);
    cr_expect_eq(take_away(&team, team.owner, id_random()), ERR_NOT_FOUND);
    rig_close(team.rig);
}

Test(member, lists_everybody_without_secrets)
{
    struct team team = team_open();
    (void)add(&team, ROLE_MEMBER);
    struct msg *msg = ask(&team, team.owner, MEMBER_ADD);
    msg->body.member.role = ROLE_ADMIN;
    msg->body.member.email = SLICE("invited@example.com");
    cr_assert_eq(call(&team, msg), ERR_OK);
    struct id gone = add(&team, ROLE_MEMBER);
    cr_assert_eq(take_away(&team, team.owner, gone), ERR_OK);
    msg = ask(&team, team.owner, MEMBER_LIST);
    cr_assert_eq(rig_call(team.rig, rig_shard(team.rig, team.account), msg), ERR_OK);
    static const enum member_status wants[] = {MEMBER_REMOVED, MEMBER_INVITED, MEMBER_ACTIVE,
                                               MEMBER_ACTIVE};
    cr_assert_eq(msg->body.member.row_count, ARRAY_LEN(wants));
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        const struct member_view *view = &msg->body.member.rows[i];
        cr_expect_eq(view->status, wants[i], "row %zu", i);
        cr_expect_eq(view->row.password_hash.len, 0);
        cr_expect_eq(view->row.sessions.len, 0);
    }
    cr_expect(msg->arena.is_secret);
    rig_put(team.rig, msg);
    rig_close(team.rig);
}

Test(member, the_operator_manages_everybody)
{
    struct team team = team_open();
    struct msg *msg = ask(&team, team.owner, MEMBER_ADD);
    msg->body.member.caller.kind = CALLER_OPERATOR;
    msg->body.member.role = ROLE_OWNER;
    msg->body.member.email = SLICE("second@example.com");
    cr_expect_eq(call(&team, msg), ERR_OK);
    msg = ask(&team, team.owner, MEMBER_REMOVE);
    msg->body.member.caller.kind = CALLER_OPERATOR;
    msg->body.member.id = team.owner;
    cr_expect_eq(call(&team, msg), ERR_OK);
    cr_expect_not(may_enter(&team, team.owner));
    rig_close(team.rig);
}
