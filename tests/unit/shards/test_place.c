/* test_place.c - the arithmetic of places.
 *
 * Not covered here: who fills the table (main), and that messages really arrive (test_actor,
 * race_port).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>

#include "shards/actor.h"
#include "shards/place.h"

static struct actor actors[SHARD_COUNT_MAX];

static struct place place_of(uint32_t shard_count)
{
    struct place place = {.shard_count = shard_count};
    for (uint32_t i = 0; i < shard_count; i++) {
        place.shards[i] = &actors[i];
    }
    return place;
}

/* These numbers are on the disks of all installations. */
Test(place, keeps_the_hash_of_accounts_for_ever)
{
    static const struct {
        uint64_t account;
        uint32_t of_32;
        uint32_t of_7;
        uint32_t of_1;
    } cases[] = {
        {UINT64_C(0x0), 0, 0, 0},
        {UINT64_C(0x1), 5, 6, 0},
        {UINT64_C(0x2), 10, 1, 0},
        {UINT64_C(0x20), 5, 4, 0},
        {UINT64_C(0x123456789abcdef), 12, 6, 0},
        {UINT64_C(0x8000000000000000), 10, 0, 0},
        {UINT64_C(0xffffffffffffffff), 27, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct account_id account = {cases[i].account};
        cr_expect_eq(place_shard_index(32, account), cases[i].of_32, "%zu of 32", i);
        cr_expect_eq(place_shard_index(7, account), cases[i].of_7, "%zu of 7", i);
        cr_expect_eq(place_shard_index(1, account), cases[i].of_1, "%zu of 1", i);
    }
}

Test(place, keeps_the_hash_of_directory_names_for_ever)
{
    static const struct {
        struct slice name;
        uint32_t of_32;
        uint32_t of_7;
    } cases[] = {
        {SLICE_INIT(""), 27, 5},
        {SLICE_INIT("a"), 24, 3},
        {SLICE_INIT("owner@example.com"), 31, 5},
        {SLICE_INIT("example.com"), 23, 6},
        {SLICE_INIT("mail.example.com"), 9, 1},
    };
    const struct place by_32 = place_of(32);
    const struct place by_7 = place_of(7);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect_eq(place_directory(&by_32, cases[i].name) - actors, cases[i].of_32, "%zu of 32",
                     i);
        cr_expect_eq(place_directory(&by_7, cases[i].name) - actors, cases[i].of_7, "%zu of 7", i);
    }
}

Test(place, finds_the_actor_of_an_account_by_its_index)
{
    const struct place place = place_of(5);
    for (uint64_t i = 0; i < 100; i++) {
        const struct account_id account = {i * UINT64_C(0x9e3779b97f4a7c15)};
        cr_assert_eq(place_shard(&place, account), &actors[place_shard_index(5, account)]);
    }
}

Test(place, spreads_even_consecutive_accounts_over_all_shards)
{
    uint32_t counts[SHARD_COUNT_MAX] = {0};
    for (uint64_t i = 0; i < 32000; i++) {
        counts[place_shard_index(32, (struct account_id){i})]++;
    }
    for (size_t i = 0; i < 32; i++) {
        cr_expect(counts[i] > 850 && counts[i] < 1150, "shard %zu has %u of 32000", i, counts[i]);
    }
}

Test(place, spreads_names_that_differ_in_one_digit)
{
    const struct place place = place_of(8);
    uint32_t counts[8] = {0};
    for (uint32_t i = 0; i < 8000; i++) {
        char name[40];
        const int len = snprintf(name, sizeof(name), "user%u@example.com", i);
        counts[place_directory(&place, slice_of(name, (size_t)len)) - actors]++;
    }
    for (size_t i = 0; i < 8; i++) {
        cr_expect(counts[i] > 850 && counts[i] < 1150, "shard %zu has %u of 8000", i, counts[i]);
    }
}

Test(place, takes_bytes_above_127_and_nul_in_names)
{
    const struct place place = place_of(32);
    const struct slice high = SLICE("b\xc3\xbc"
                                    "cher.example");
    const struct slice nul = SLICE("a\0b");
    cr_expect_eq(place_directory(&place, high), place_directory(&place, high));
    cr_expect_neq(place_directory(&place, nul), place_directory(&place, SLICE("a")));
}

Test(place, puts_shards_on_loops_in_turn)
{
    for (uint32_t loop_count = 1; loop_count <= 5; loop_count++) {
        uint32_t counts[5] = {0};
        for (uint32_t i = 0; i < 32; i++) {
            counts[place_loop_of_shard(i, loop_count)]++;
        }
        for (uint32_t i = 0; i < loop_count; i++) {
            cr_expect(counts[i] >= 32 / loop_count && counts[i] <= 32 / loop_count + 1);
        }
    }
}

Test(place, aborts_without_shards, .signal = SIGABRT)
{
    place_shard_index(0, (struct account_id){1});
}

Test(place, aborts_when_the_table_has_a_hole, .signal = SIGABRT)
{
    const struct place place = {.shard_count = 1};
    place_shard(&place, (struct account_id){1});
}
