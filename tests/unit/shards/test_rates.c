/* How many requests an account and a key may make.
 *
 * Not covered here: the arithmetic of buckets (tests/unit/base/test_rate), the headers
 * (tests/unit/edge/test_rates).
 */
#include "unit/shards/shard_rig.h"

struct said {
    enum err err;
    struct rate_view rate;
};

static struct said ask(struct rig *rig, struct caller caller)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_CHECK);
    msg->body.check.caller = caller;
    struct said said = {.err = rig_call(rig, rig_shard(rig, caller.account), msg)};
    said.rate = msg->rate;
    rig_put(rig, msg);
    return said;
}

/* A further key of the account, with a rate of its own. */
static struct caller key_with_rate(struct rig *rig, struct account_id account, uint32_t number,
                                   uint32_t rate)
{
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    caller.key_hash = crypto_sha256(slice_of(&number, sizeof(number)));
    struct row_api_key row = {
        .id = shard_id(rig_state(rig, account), account),
        .is_enabled = true,
        .last_used_unix_ms = clock_unix_ms(),
        .rate_per_min = rate,
    };
    rig_set_api_key(rig, account, key_api_key(account, &caller.key_hash), &row);
    return caller;
}

static void account_rates(struct rig *rig, struct account_id account, uint32_t own, uint32_t keys)
{
    struct row_account row = {.id = account, .rate_per_min = own, .key_rate_per_min = keys};
    rig_set_account(rig, account, key_account(account), &row);
}

static struct rig *open_still(void)
{
    clock_set_fake(1000000, UINT64_C(1750000000000));
    return rig_open();
}

static void close_still(struct rig *rig)
{
    rig_close(rig);
    clock_set_fake(0, 0);
}

Test(rates, bound_a_key_and_say_how_much_is_left)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    struct caller caller = key_with_rate(rig, account, 1, 3);
    for (uint32_t i = 0; i < 3; i++) {
        struct said said = ask(rig, caller);
        cr_assert_eq(said.err, ERR_OK);
        cr_assert_eq(said.rate.limit, 3);
        cr_assert_eq(said.rate.remaining, 2 - i);
    }
    struct said said = ask(rig, caller);
    cr_assert_eq(said.err, ERR_RATE);
    cr_assert_eq(said.rate.retry_s, 20);
    cr_assert_eq(ask(rig, key_with_rate(rig, account, 2, 3)).err, ERR_OK, "another key");
    clock_set_fake(1000000 + 20000, UINT64_C(1750000000000));
    rig_turn(rig);
    cr_assert_eq(ask(rig, caller).err, ERR_OK);
    close_still(rig);
}

Test(rates, bound_an_account_over_all_its_keys)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    account_rates(rig, account, 4, 0);
    for (uint32_t i = 0; i < 4; i++) {
        struct said said = ask(rig, key_with_rate(rig, account, i, 0));
        cr_assert_eq(said.err, ERR_OK);
        cr_assert_eq(said.rate.limit, 4, "the tighter of the two");
    }
    cr_assert_eq(ask(rig, key_with_rate(rig, account, 9, 0)).err, ERR_RATE);
    close_still(rig);
}

Test(rates, of_the_account_hold_for_keys_without_one_of_their_own)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    account_rates(rig, account, 0, 2);
    cr_assert_eq(ask(rig, key_with_rate(rig, account, 1, 0)).rate.limit, 2);
    cr_assert_eq(ask(rig, key_with_rate(rig, account, 2, 5)).rate.limit, 5);
    close_still(rig);
}

Test(rates, are_those_configured_when_nobody_says_otherwise)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    rig->conf.rate_account_per_min = 50;
    rig->conf.rate_key_per_min = 40;
    cr_assert_eq(ask(rig, caller).rate.limit, 40);
    rig->conf.rate_account_per_min = 0;
    rig->conf.rate_key_per_min = 0;
    cr_assert_eq(ask(rig, caller).rate.limit, 0);
    close_still(rig);
}

Test(rates, are_charged_once_for_a_request_that_is_checked_twice)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_KEYS_WRITE);
    struct msg *msg = rig_take(rig, MSG_SHARD_KEY);
    rig->conf.rate_key_per_min = 10;
    msg->body.key.caller = caller;
    msg->body.key.op = KEY_ROTATE_FIRST; /* checked again after the worker */
    msg->body.key.secrets[0].prefix = SLICE("mk_live_abcdefgh");
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_assert_eq(msg->rate.remaining, 9);
    rig_put(rig, msg);
    close_still(rig);
}

Test(rates, are_not_charged_again_once_the_edge_says_so)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    struct caller caller = key_with_rate(rig, account, 1, 1);
    cr_assert_eq(ask(rig, caller).err, ERR_OK);
    caller.is_charged = true;
    cr_assert_eq(ask(rig, caller).err, ERR_OK);
    close_still(rig);
}

Test(rates, of_an_account_are_not_spent_by_who_has_no_key_of_it)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    account_rates(rig, account, 5, 0);
    struct caller stranger = caller;
    stranger.key_hash = crypto_sha256(SLICE("a guess"));
    for (uint32_t i = 0; i < 20; i++) {
        struct said said = ask(rig, stranger);
        cr_assert_eq(said.err, ERR_UNAUTHORIZED);
        cr_assert_eq(said.rate.limit, 0);
    }
    cr_assert_eq(ask(rig, caller).rate.remaining, 4);
    close_still(rig);
}

Test(rates, refuse_before_they_charge_either)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    account_rates(rig, account, 3, 0);
    struct caller tight = key_with_rate(rig, account, 1, 1);
    cr_assert_eq(ask(rig, tight).err, ERR_OK);
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert_eq(ask(rig, tight).err, ERR_RATE);
    }
    cr_assert_eq(ask(rig, key_with_rate(rig, account, 2, 0)).rate.remaining, 1);
    close_still(rig);
}

Test(rates, of_the_day_say_when_the_day_ends)
{
    struct rig *rig = open_still();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig->conf.daily_max = 1;
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    rig_put(rig, msg);
    msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_QUOTA);
    cr_assert_eq(msg->rate.retry_s, 86400 - 1750000000 % 86400);
    rig_put(rig, msg);
    close_still(rig);
}
