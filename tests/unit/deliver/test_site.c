/* Destinations: room by feedback, the circuit, what is remembered.
 *
 * Not covered here: who asks and when (test_trip), the order of entries at a site (test_sched).
 */
#include "deliver/site.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define NOW_MS          UINT64_C(1000000)
#define CLOSED_FIRST_MS UINT64_C(30000)
#define CLOSED_MAX_MS   UINT64_C(1800000)

static void fail_times(struct site *site, uint32_t times, uint64_t now_ms)
{
    for (uint32_t i = 0; i < times; i++) {
        site_feedback(site, SITE_HOST_FAILED, now_ms);
    }
}

/* A failure that counts: the pause is over and the probe found the host still dead. */
static uint64_t fail_probe(struct site *site)
{
    uint64_t now_ms = site->closed_until_ms;
    site_feedback(site, SITE_HOST_FAILED, now_ms);
    return site->closed_until_ms - now_ms;
}

Test(site, is_one_for_each_name)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    cr_assert_str_eq(site->name, "example.com");
    cr_assert_eq(site_get(table, SLICE("example.com")), site);
    cr_assert_neq(site_get(table, SLICE("example.org")), site);
    cr_assert_neq(site_get(table, SLICE("example.co")), site);
    cr_assert_eq(site_table_count(table), 3);
    site_table_free(table);
}

Test(site, cuts_a_name_that_is_too_long_the_same_way_each_time)
{
    char name[SITE_NAME_MAX + 40];
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = (char)('a' + i % 26);
    }
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, slice_of(name, sizeof name));
    cr_assert_eq(slice_str(site->name).len, SITE_NAME_MAX - 1);
    cr_assert_eq(site_get(table, slice_of(name, sizeof name)), site);
    site_table_free(table);
}

Test(site, starts_small_and_rises_by_one_for_each_success)
{
    struct site_table *table = site_table_new(6);
    struct site *site = site_get(table, SLICE("example.com"));
    cr_assert_eq(site->limit, 4);
    site_feedback(site, SITE_GOOD, NOW_MS);
    cr_assert_eq(site->limit, 5);
    site_feedback(site, SITE_GOOD, NOW_MS);
    site_feedback(site, SITE_GOOD, NOW_MS);
    cr_assert_eq(site->limit, 6, "the ceiling is the operator's");
    site_table_free(table);
}

Test(site, starts_no_higher_than_the_operators_ceiling)
{
    struct site_table *table = site_table_new(2);
    cr_assert_eq(site_get(table, SLICE("example.com"))->limit, 2);
    site_table_free(table);
}

Test(site, halves_its_room_for_each_failure_but_keeps_one)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    for (uint32_t i = 0; i < 16; i++) {
        site_feedback(site, SITE_GOOD, NOW_MS);
    }
    static const uint32_t expected[] = {10, 5, 2, 1};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        site_feedback(site, SITE_HOST_FAILED, NOW_MS);
        cr_assert_eq(site->limit, expected[i]);
    }
    site_table_free(table);
}

Test(site, admits_as_many_as_it_has_room_for)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    site->open = site->limit * SITE_TRIPS_PER_CONN - 1;
    cr_assert(site_admits(site, NOW_MS));
    site->open += 1;
    cr_assert_not(site_admits(site, NOW_MS));
    site->open = 0;
    site_table_free(table);
}

Test(site, is_left_alone_after_five_failures_then_probed_once)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    fail_times(site, 4, NOW_MS);
    cr_assert(site_admits(site, NOW_MS), "four failures do not open the circuit");
    site_feedback(site, SITE_HOST_FAILED, NOW_MS);
    cr_assert_not(site_admits(site, NOW_MS));
    cr_assert_not(site_admits(site, NOW_MS + CLOSED_FIRST_MS - 1));
    cr_assert(site_admits(site, NOW_MS + CLOSED_FIRST_MS));
    site->open = 1;
    cr_assert_not(site_admits(site, NOW_MS + CLOSED_FIRST_MS), "one probe, no more");
    site->open = 0;
    site_table_free(table);
}

Test(site, counts_only_failures_in_a_row)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    for (uint32_t i = 0; i < 10; i++) {
        fail_times(site, 4, NOW_MS);
        site_feedback(site, SITE_GOOD, NOW_MS);
    }
    cr_assert(site_admits(site, NOW_MS));
    cr_assert_eq(site->failures, 0);
    site_table_free(table);
}

Test(site, doubles_its_pause_for_each_failed_probe_up_to_half_an_hour)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    fail_times(site, 5, NOW_MS);
    uint64_t expected_ms = CLOSED_FIRST_MS;
    for (uint32_t i = 0; i < 80; i++) {
        expected_ms = min_u64(2 * expected_ms, CLOSED_MAX_MS);
        cr_assert_eq(fail_probe(site), expected_ms, "after probe %u", (unsigned)i);
    }
    site_table_free(table);
}

/* Twenty connections to a host that dies fail together; that is one event, not sixteen probes. */
Test(site, counts_failures_of_one_moment_as_one)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    fail_times(site, 20, NOW_MS);
    cr_assert_eq(site->closed_until_ms, NOW_MS + CLOSED_FIRST_MS);
    cr_assert_eq(fail_probe(site), 2 * CLOSED_FIRST_MS);
    site_table_free(table);
}

Test(site, flows_again_after_one_good_probe)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    fail_times(site, 5, NOW_MS);
    site_feedback(site, SITE_GOOD, NOW_MS + CLOSED_FIRST_MS);
    cr_assert_eq(site->closed_until_ms, 0);
    cr_assert_eq(site->limit, 2);
    cr_assert(site_admits(site, NOW_MS + CLOSED_FIRST_MS));
    fail_times(site, 4, NOW_MS);
    cr_assert(site_admits(site, NOW_MS), "the record was wiped");
    site_table_free(table);
}

Test(site, is_forgotten_when_nothing_of_it_is_left)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    site->entries = 1;
    site_put(site);
    cr_assert_eq(site_table_count(table), 1, "it has entries");
    site->entries = 0;
    site->open = 1;
    site_put(site);
    cr_assert_eq(site_table_count(table), 1, "it has attempts");
    site->open = 0;
    site->idle_count = 1;
    site_put(site);
    cr_assert_eq(site_table_count(table), 1, "it has connections");
    site->idle_count = 0;
    site_put(site);
    cr_assert_eq(site_table_count(table), 0);
    site_table_free(table);
}

Test(site, with_a_bad_record_is_remembered)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"));
    site_feedback(site, SITE_HOST_FAILED, NOW_MS);
    site_put(site);
    cr_assert_eq(site_get(table, SLICE("example.com"))->failures, 1);
    site_table_free(table);
}

Test(site, with_a_bad_record_is_dropped_once_the_table_is_full)
{
    struct site_table *table = site_table_new(20);
    char name[32];
    for (uint32_t i = 0; i < SITE_MAX; i++) {
        int len = snprintf(name, sizeof name, "d%u.test", (unsigned)i);
        struct site *site = site_get(table, slice_of(name, (size_t)len));
        site_feedback(site, SITE_HOST_FAILED, NOW_MS);
        site_put(site);
    }
    cr_assert_eq(site_table_count(table), SITE_MAX);
    struct site *site = site_get(table, SLICE("one.more.test"));
    site_feedback(site, SITE_HOST_FAILED, NOW_MS);
    site_put(site);
    cr_assert_eq(site_table_count(table), SITE_MAX);
    site_table_free(table);
}

Test(site, tells_when_the_first_closed_circuit_with_work_opens)
{
    struct site_table *table = site_table_new(20);
    struct site *sites[3] = {site_get(table, SLICE("a.test")), site_get(table, SLICE("b.test")),
                             site_get(table, SLICE("c.test"))};
    cr_assert_eq(site_next_opening_ms(table), UINT64_MAX);
    fail_times(sites[0], 5, NOW_MS + 2000);
    fail_times(sites[1], 5, NOW_MS + 1000);
    fail_times(sites[2], 5, NOW_MS);
    cr_assert_eq(site_next_opening_ms(table), UINT64_MAX, "nothing is due anywhere");
    list_push_back(site_table_ready(table), &sites[0]->link);
    list_push_back(site_table_ready(table), &sites[1]->link);
    cr_assert_eq(site_next_opening_ms(table), NOW_MS + 1000 + CLOSED_FIRST_MS);
    sites[1]->open = 1; /* its probe is out: what comes next, its end decides */
    cr_assert_eq(site_next_opening_ms(table), NOW_MS + 2000 + CLOSED_FIRST_MS);
    sites[1]->open = 0;
    site_table_free(table);
}

Test(site, with_idle_connections_is_found_until_none_is_left)
{
    struct site_table *table = site_table_new(20);
    (void)site_get(table, SLICE("a.test")); /* a neighbour without any */
    struct site *site = site_get(table, SLICE("b.test"));
    cr_assert_null(site_table_idle(table));
    site->idle_count = 2;
    cr_assert_eq(site_table_idle(table), site);
    site->idle_count = 0;
    cr_assert_null(site_table_idle(table));
    site_table_free(table);
}
