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
        site_feedback(site, FEEDBACK_FAILED, "no", now_ms);
    }
}

static bool admits(struct site *site, uint64_t now_ms)
{
    return site_admits_ms(site, PRIORITY_TRANSACTIONAL, now_ms) == 0;
}

/* A failure that counts: the pause is over and the probe found the host still dead. */
static uint64_t fail_probe(struct site *site)
{
    uint64_t now_ms = site->closed_until_ms;
    site_feedback(site, FEEDBACK_FAILED, "no", now_ms);
    return site->closed_until_ms - now_ms;
}

Test(site, is_one_for_each_name)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    cr_assert_str_eq(site->name, "example.com");
    cr_assert_eq(site_get(table, SLICE("example.com"), NULL), site);
    cr_assert_neq(site_get(table, SLICE("example.org"), NULL), site);
    cr_assert_neq(site_get(table, SLICE("example.co"), NULL), site);
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
    struct site *site = site_get(table, slice_of(name, sizeof name), NULL);
    cr_assert_eq(slice_str(site->name).len, SITE_NAME_MAX - 1);
    cr_assert_eq(site_get(table, slice_of(name, sizeof name), NULL), site);
    site_table_free(table);
}

Test(site, starts_small_and_rises_by_one_for_each_success)
{
    struct site_table *table = site_table_new(6);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    cr_assert_eq(site->limit, 4);
    site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    cr_assert_eq(site->limit, 5);
    site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    cr_assert_eq(site->limit, 6, "the ceiling is the operator's");
    site_table_free(table);
}

Test(site, starts_no_higher_than_the_operators_ceiling)
{
    struct site_table *table = site_table_new(2);
    cr_assert_eq(site_get(table, SLICE("example.com"), NULL)->limit, 2);
    site_table_free(table);
}

Test(site, halves_its_room_for_each_failure_but_keeps_one)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    for (uint32_t i = 0; i < 16; i++) {
        site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    }
    static const uint32_t expected[] = {10, 5, 2, 1};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        site_feedback(site, FEEDBACK_FAILED, "no", NOW_MS);
        cr_assert_eq(site->limit, expected[i]);
    }
    site_table_free(table);
}

Test(site, admits_as_many_as_it_has_room_for)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    site->open = site->limit * SITE_TRIPS_PER_CONN - 1;
    cr_assert(admits(site, NOW_MS));
    site->open += 1;
    cr_assert_not(admits(site, NOW_MS));
    site->open = 0;
    site_table_free(table);
}

Test(site, is_left_alone_after_five_failures_then_probed_once)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    fail_times(site, 4, NOW_MS);
    cr_assert(admits(site, NOW_MS), "four failures do not open the circuit");
    site_feedback(site, FEEDBACK_FAILED, "no", NOW_MS);
    cr_assert_not(admits(site, NOW_MS));
    cr_assert_not(admits(site, NOW_MS + CLOSED_FIRST_MS - 1));
    cr_assert(admits(site, NOW_MS + CLOSED_FIRST_MS));
    site->open = 1;
    cr_assert_not(admits(site, NOW_MS + CLOSED_FIRST_MS), "one probe, no more");
    site->open = 0;
    site_table_free(table);
}

Test(site, counts_only_failures_in_a_row)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    for (uint32_t i = 0; i < 10; i++) {
        fail_times(site, 4, NOW_MS);
        site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    }
    cr_assert(admits(site, NOW_MS));
    cr_assert_eq(site->failures, 0);
    site_table_free(table);
}

Test(site, doubles_its_pause_for_each_failed_probe_up_to_half_an_hour)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
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
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    fail_times(site, 20, NOW_MS);
    cr_assert_eq(site->closed_until_ms, NOW_MS + CLOSED_FIRST_MS);
    cr_assert_eq(fail_probe(site), 2 * CLOSED_FIRST_MS);
    site_table_free(table);
}

Test(site, flows_again_after_one_good_probe)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    fail_times(site, 5, NOW_MS);
    site_feedback(site, FEEDBACK_GOOD, "", NOW_MS + CLOSED_FIRST_MS);
    cr_assert_eq(site->closed_until_ms, 0);
    cr_assert_eq(site->limit, 2);
    cr_assert(admits(site, NOW_MS + CLOSED_FIRST_MS));
    fail_times(site, 4, NOW_MS);
    cr_assert(admits(site, NOW_MS), "the record was wiped");
    site_table_free(table);
}

Test(site, is_forgotten_when_nothing_of_it_is_left)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    site->dests = 1;
    site_put(site);
    cr_assert_eq(site_table_count(table), 1, "it has entries");
    site->dests = 0;
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
    struct site *site = site_get(table, SLICE("example.com"), NULL);
    site_feedback(site, FEEDBACK_FAILED, "no", NOW_MS);
    site_put(site);
    cr_assert_eq(site_get(table, SLICE("example.com"), NULL)->failures, 1);
    site_table_free(table);
}

Test(site, with_a_bad_record_is_dropped_once_the_table_is_full)
{
    struct site_table *table = site_table_new(20);
    char name[32];
    for (uint32_t i = 0; i < SITE_MAX; i++) {
        int len = snprintf(name, sizeof name, "d%u.test", (unsigned)i);
        struct site *site = site_get(table, slice_of(name, (size_t)len), NULL);
        site_feedback(site, FEEDBACK_FAILED, "no", NOW_MS);
        site_put(site);
    }
    cr_assert_eq(site_table_count(table), SITE_MAX);
    struct site *site = site_get(table, SLICE("one.more.test"), NULL);
    site_feedback(site, FEEDBACK_FAILED, "no", NOW_MS);
    site_put(site);
    cr_assert_eq(site_table_count(table), SITE_MAX);
    site_table_free(table);
}

Test(site, tells_when_it_may_be_asked_again)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    fail_times(site, 5, NOW_MS);
    cr_assert_eq(site_admits_ms(site, PRIORITY_BULK, NOW_MS), NOW_MS + CLOSED_FIRST_MS);
    cr_assert_eq(site_table_closed(table, NOW_MS), 1);
    site->open = 1; /* its probe is out: what comes next, its end decides */
    cr_assert_eq(site_admits_ms(site, PRIORITY_BULK, NOW_MS + CLOSED_FIRST_MS), SITE_NEVER);
    site->open = 0;
    site_table_free(table);
}

Test(site, leaves_a_connections_trips_to_transactional_mail)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    site->open = site->limit * (SITE_TRIPS_PER_CONN - 1);
    cr_assert_eq(site_admits_ms(site, PRIORITY_BULK, NOW_MS), SITE_NEVER);
    cr_assert_eq(site_admits_ms(site, PRIORITY_TRANSACTIONAL, NOW_MS), 0);
    site->open = 0;
    site_table_free(table);
}

/* ---- rate ----------------------------------------------------------------------------------- */

static const struct site_rules sixty = {.rate_max = 60};

Test(site, spends_no_more_than_its_rate_and_none_of_it_ahead)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), &sixty);
    uint32_t taken = 0;
    for (uint64_t now_ms = NOW_MS; now_ms < NOW_MS + 60000; now_ms += 10) {
        while (site_admits_ms(site, PRIORITY_TRANSACTIONAL, now_ms) == 0) {
            site_take(site, now_ms);
            site->open = 0;
            taken += 1;
            cr_assert_leq(taken, (now_ms - NOW_MS) / 1000 + 1);
        }
    }
    cr_assert_geq(taken, 59);
    cr_assert_leq(taken, 61);
    site_table_free(table);
}

Test(site, says_when_its_rate_lets_the_next_one_go)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), &sixty);
    cr_assert_eq(site_admits_ms(site, PRIORITY_TRANSACTIONAL, NOW_MS), 0);
    site_take(site, NOW_MS);
    uint64_t when_ms = site_admits_ms(site, PRIORITY_TRANSACTIONAL, NOW_MS);
    cr_assert_geq(when_ms, NOW_MS + 999);
    cr_assert_leq(when_ms, NOW_MS + 1001);
    cr_assert_eq(site_admits_ms(site, PRIORITY_TRANSACTIONAL, when_ms), 0);
    site->open = 0;
    site_table_free(table);
}

Test(site, halves_its_rate_once_for_what_is_said_at_one_moment)
{
    struct site_table *table = site_table_new(20);
    const struct site_rules rules = {.rate_max = 6000};
    struct site *site = site_get(table, SLICE("a.test"), &rules);
    for (uint32_t i = 0; i < 20; i++) {
        site_feedback(site, FEEDBACK_THROTTLED, "slow down", NOW_MS + i);
    }
    cr_assert_eq(site->rate, 3000);
    cr_assert_eq(site->failures, 1);
    site_feedback(site, FEEDBACK_THROTTLED, "slow down", NOW_MS + 1000);
    cr_assert_eq(site->rate, 1500);
    cr_assert_str_eq(site->reason, "slow down");
    cr_assert_eq(site->limit, 4, "it is not about connections");
    site_table_free(table);
}

Test(site, without_a_rate_takes_half_of_what_it_did_when_it_is_throttled)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    for (uint32_t i = 0; i < 100; i++) { /* ten a second */
        site_feedback(site, FEEDBACK_GOOD, "", NOW_MS + 100 * i);
    }
    site_feedback(site, FEEDBACK_THROTTLED, "slow down", NOW_MS + 10000);
    cr_assert_geq(site->rate, 250);
    cr_assert_leq(site->rate, 350);
    site_table_free(table);
}

Test(site, never_slows_down_for_greylisting)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    for (uint32_t i = 0; i < 100; i++) {
        site_feedback(site, FEEDBACK_NONE, "greylisted", NOW_MS + 100 * i);
    }
    cr_assert_eq(site->limit, 4);
    cr_assert_eq(site->rate, 0);
    cr_assert_eq(site->failures, 0);
    site_table_free(table);
}

Test(site, asks_for_fewer_connections_when_they_are_too_many)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    for (uint32_t i = 0; i < 4; i++) {
        site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    }
    site_feedback(site, FEEDBACK_CROWDED, "too many", NOW_MS);
    cr_assert_eq(site->limit, 6);
    cr_assert_eq(site->failures, 0, "it works, with fewer");
    for (uint32_t i = 0; i < 100; i++) {
        site_feedback(site, FEEDBACK_GOOD, "", NOW_MS + 1000 * i);
    }
    cr_assert_eq(site->limit, 7, "eight were too many");
    site_feedback(site, FEEDBACK_GOOD, "", NOW_MS + 301000);
    cr_assert_eq(site->limit, 8, "which is asked again after a while");
    site_table_free(table);
}

Test(site, that_blocks_us_is_left_alone_for_longer)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    for (uint32_t i = 0; i < 3; i++) {
        site_feedback(site, FEEDBACK_BLOCKED, "listed", NOW_MS);
    }
    cr_assert_geq(site->closed_until_ms, NOW_MS + 600000);
    site_table_free(table);
}

Test(site, learns_after_how_many_mails_its_connections_end)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    cr_assert_eq(site_mails_per_conn(site), MAILS_PER_CONN);
    site_conn_ended(site, 0);
    cr_assert_eq(site_mails_per_conn(site), MAILS_PER_CONN, "that was no mail's doing");
    site_conn_ended(site, 10);
    cr_assert_eq(site_mails_per_conn(site), 10);
    site_conn_ended(site, 20);
    cr_assert_eq(site_mails_per_conn(site), 10);
    site_table_free(table);
}

Test(site, begins_small_again_after_it_was_held)
{
    struct site_table *table = site_table_new(20);
    struct site *site = site_get(table, SLICE("a.test"), NULL);
    for (uint32_t i = 0; i < 16; i++) {
        site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    }
    site_hold(site);
    cr_assert_not(admits(site, NOW_MS));
    site_put(site);
    cr_assert_eq(site_table_count(table), 1, "it is remembered that it is held");
    site_release(site, NOW_MS);
    cr_assert(admits(site, NOW_MS));
    cr_assert_eq(site->limit, 1);
    site_table_free(table);
}

Test(site, takes_over_rules_that_changed)
{
    struct site_table *table = site_table_new(20);
    const struct site_rules fewer = {.conns_max = 3, .rate_max = 30};
    struct site *site = site_get(table, SLICE("a.test"), &sixty);
    site_set_rules(site, &fewer);
    cr_assert_eq(site->limit, 3);
    cr_assert_eq(site->rate, 30);
    site_feedback(site, FEEDBACK_GOOD, "", NOW_MS);
    cr_assert_eq(site->limit, 3);
    const struct site_rules none = {.conns_max = 0};
    site_set_rules(site, &none);
    cr_assert_eq(site->rate, 0, "it was never told to slow down");
    site_table_free(table);
}

/* ---- connections ---------------------------------------------------------------------------- */

Test(site, with_idle_connections_is_found_until_none_is_left)
{
    struct site_table *table = site_table_new(20);
    (void)site_get(table, SLICE("a.test"), NULL); /* a neighbour without any */
    struct site *site = site_get(table, SLICE("b.test"), NULL);
    cr_assert_null(site_table_idle(table));
    site->idle_count = 2;
    cr_assert_eq(site_table_idle(table), site);
    site->idle_count = 0;
    cr_assert_null(site_table_idle(table));
    site_table_free(table);
}
