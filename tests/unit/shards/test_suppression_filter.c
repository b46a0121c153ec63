/* The filter before suppression rows: what it must never say, and what it says of what was there.
 *
 * Not covered here: what a send makes of a suppressed recipient (test_outbound).
 */
#include "unit/shards/shard_rig.h"

static struct key key_of_number(struct account_id account, uint32_t number)
{
    char text[32];
    snprintf(text, sizeof text, "person%u@example.com", (unsigned)number);
    return key_suppression(account, slice_str(text));
}

static void write_row(struct rig *rig, struct account_id account, uint32_t number)
{
    struct key key = key_of_number(account, number);
    struct row_suppression row = {.email = SLICE("x@example.com")};
    struct kv_batch *batch = kv_batch_new(rig_state(rig, account)->family);
    struct buf bytes;
    buf_init(&bytes, 4096);
    row_suppression_encode(&row, &bytes);
    kv_batch_put(batch, key_slice(&key), buf_slice(&bytes));
    rig_write(rig, batch);
    buf_fini(&bytes);
}

TestSuite(suppression_filter, .timeout = 60);

Test(suppression_filter, says_perhaps_until_it_knows_what_is_there)
{
    struct suppression_filter filter = {.is_ready = false};
    cr_expect(suppression_filter_may_have(&filter, SLICE("Sanything")));
    filter.is_ready = true;
    cr_expect_not(suppression_filter_may_have(&filter, SLICE("Sanything")));
}

Test(suppression_filter, never_denies_what_was_noted_and_denies_nearly_all_else)
{
    const struct account_id account = {.value = 7};
    struct suppression_filter filter = {.is_ready = true};
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        struct key key = key_of_number(account, i);
        suppression_filter_note(&filter, key_slice(&key));
    }
    for (uint32_t i = 0; i < 20000; i++) {
        struct key known = key_of_number(account, i);
        struct key other = key_of_number(account, i + 20000);
        cr_assert(suppression_filter_may_have(&filter, key_slice(&known)));
        wrong += suppression_filter_may_have(&filter, key_slice(&other));
    }
    cr_expect_lt(wrong, 400u, "%u of 20000", wrong);
    suppression_filter_fini(&filter);
}

Test(suppression_filter, knows_after_a_restart_what_the_store_has)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 200; i++) {
        write_row(rig, account, i);
    }
    rig_restart(rig);
    const struct shard *shard = rig_state(rig, account);
    for (uint64_t until = rig_seconds() + 30;
         !shard->suppressions.is_ready && rig_seconds() < until;) {
        rig_turn(rig);
    }
    cr_assert(shard->suppressions.is_ready);
    for (uint32_t i = 0; i < 200; i++) {
        struct key known = key_of_number(account, i);
        struct key other = key_of_number(account, i + 200);
        cr_assert(suppression_filter_may_have(&shard->suppressions, key_slice(&known)));
        wrong += suppression_filter_may_have(&shard->suppressions, key_slice(&other));
    }
    cr_expect_lt(wrong, 20u, "%u of 200", wrong);
    rig_close(rig);
}
