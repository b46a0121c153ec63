/* test_placement.c - which loop has which shard: plans, and what is kept of them.
 *
 * Not covered here: carrying a plan out (test_shard_move, flow_test_control).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "shards/placement.h"

#define LOOPS  4
#define SHARDS 16

static struct main_places loaded(const uint64_t shard_us[SHARDS])
{
    struct main_places places = {.loop_count = LOOPS, .shard_count = SHARDS, .window_us = 1000000};
    for (uint32_t i = 0; i < SHARDS; i++) {
        places.loops[i] = i % LOOPS;
        places.shard_us[i] = shard_us[i];
        places.loop_us[i % LOOPS] += shard_us[i];
    }
    return places;
}

Test(placement, a_full_loop_gives_to_those_that_wait)
{
    const uint64_t us[SHARDS] = {[0] = 400000, [4] = 300000, [8] = 200000, [12] = 100000};
    struct main_places places = loaded(us);
    placement_plan(&places);
    cr_expect_eq(placement_balance(places.loop_us, LOOPS), 4000);
    cr_expect_eq(placement_balance(places.planned_us, LOOPS), 1600, "the largest is 400000");
    cr_expect_eq(places.move_count, 2);
    uint32_t loops[SHARDS];
    uint64_t after[LOOPS] = {0};
    memcpy(loops, places.loops, sizeof loops);
    for (uint32_t i = 0; i < places.move_count; i++) {
        cr_expect_eq(places.moves[i].from, loops[places.moves[i].shard]);
        cr_expect_neq(places.moves[i].from, places.moves[i].to);
        loops[places.moves[i].shard] = places.moves[i].to;
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        after[loops[i]] += us[i];
    }
    cr_expect_eq(memcmp(after, places.planned_us, sizeof after), 0, "the moves make the plan");
}

Test(placement, what_is_even_stays_as_it_is)
{
    uint64_t us[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) {
        us[i] = 50000 + i * 100;
    }
    struct main_places places = loaded(us);
    placement_plan(&places);
    cr_expect_eq(places.move_count, 0);
    cr_expect_leq(placement_balance(places.loop_us, LOOPS), 1010);
}

Test(placement, one_heavy_shard_is_not_passed_round)
{
    const uint64_t us[SHARDS] = {[3] = 900000};
    struct main_places places = loaded(us);
    placement_plan(&places);
    cr_expect_eq(places.move_count, 0);
}

Test(placement, what_a_loop_does_beside_its_shards_counts)
{
    const uint64_t us[SHARDS] = {[0] = 100000, [4] = 100000, [1] = 100000, [5] = 100000};
    struct main_places places = loaded(us);
    places.loop_us[0] += 600000; /* its edge */
    placement_plan(&places);
    cr_assert_eq(places.move_count, 2);
    cr_expect_eq(places.moves[0].from, 0);
    cr_expect_eq(places.moves[1].from, 0);
    cr_expect_eq(places.planned_us[0], 600000);
}

Test(placement, a_server_that_rests_tells_nothing)
{
    const uint64_t us[SHARDS] = {[0] = 300, [4] = 300};
    struct main_places places = loaded(us);
    placement_plan(&places);
    cr_expect_eq(places.move_count, 0);
}

Test(placement, is_read_as_it_was_written_and_for_the_same_numbers_only)
{
    struct placement placement;
    struct placement other;
    struct buf value;
    placement_init(&placement, SHARDS, LOOPS);
    placement.loops[5] = 3;
    buf_init(&value, KIB);
    placement_write(&placement, &value);
    placement_init(&other, SHARDS, LOOPS);
    cr_expect(placement_read(&other, buf_slice(&value)));
    cr_expect_eq(other.loops[5], 3);
    placement_init(&other, SHARDS, LOOPS + 1);
    cr_expect_not(placement_read(&other, buf_slice(&value)));
    cr_expect_eq(other.loops[5], 0, "round-robin again");
    placement_init(&other, SHARDS + 1, LOOPS);
    cr_expect_not(placement_read(&other, buf_slice(&value)));
    buf_fini(&value);
}

Test(placement, what_is_damaged_is_not_read)
{
    struct placement placement;
    struct placement other;
    struct buf value;
    placement_init(&placement, SHARDS, LOOPS);
    buf_init(&value, KIB);
    placement_write(&placement, &value);
    placement_init(&other, SHARDS, LOOPS);
    for (size_t len = 0; len < value.len; len++) {
        cr_expect_not(placement_read(&other, slice_head(buf_slice(&value), len)), "%zu", len);
    }
    value.data[value.len - 4] = LOOPS; /* there is no such loop */
    cr_expect_not(placement_read(&other, buf_slice(&value)));
    buf_fini(&value);
}
