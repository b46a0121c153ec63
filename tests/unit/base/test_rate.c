/* Rates: buckets, their views, and what a full table forgets.
 *
 * Not covered here: who is charged for what (tests/unit/shards/test_rates, tests/unit/edge/
 * test_rates), how the headers are spelled (tests/unit/edge/test_rates).
 */
#include <criterion/criterion.h>

#include "base/crypto.h"
#include "base/rate.h"

#define NOW UINT64_C(1000000)

static struct rate_table table_of(uint32_t buckets)
{
    struct rate_table table;
    crypto_init();
    rate_init(&table, buckets);
    return table;
}

Test(rate, lets_a_minutes_worth_in_at_once_and_no_more)
{
    struct rate_table table = table_of(64);
    struct rate_view view = {0};
    for (uint32_t i = 0; i < 60; i++) {
        cr_assert(rate_charge(&table, 7, 60, NOW, &view));
        cr_assert_eq(view.limit, 60);
        cr_assert_eq(view.remaining, 59 - i);
        cr_assert_eq(view.reset_s, i + 1);
        cr_assert_eq(view.retry_s, 0);
    }
    cr_assert_not(rate_charge(&table, 7, 60, NOW, &view));
    cr_assert_eq(view.remaining, 0);
    cr_assert_eq(view.retry_s, 1);
    cr_assert(rate_charge(&table, 8, 60, NOW, &view), "somebody else");
    rate_fini(&table);
}

Test(rate, fills_evenly_and_says_when_to_come_back)
{
    struct rate_table table = table_of(64);
    struct rate_view view = {0};
    for (uint32_t i = 0; i < 6; i++) {
        cr_assert(rate_charge(&table, 7, 6, NOW, &view));
    }
    cr_assert_not(rate_charge(&table, 7, 6, NOW, &view));
    cr_assert_eq(view.retry_s, 10);
    cr_assert_not(rate_charge(&table, 7, 6, NOW + 9999, &view), "a refusal costs nothing");
    cr_assert_eq(view.retry_s, 1);
    cr_assert(rate_charge(&table, 7, 6, NOW + 10000, &view));
    cr_assert_not(rate_charge(&table, 7, 6, NOW + 10000, &view));
    cr_assert(rate_charge(&table, 7, 6, NOW + 1000000, &view));
    cr_assert_eq(view.remaining, 5, "never more than a minute's worth");
    rate_fini(&table);
}

Test(rate, without_a_limit_counts_nothing)
{
    struct rate_table table = table_of(64);
    struct rate_view view = {.limit = 3};
    for (uint32_t i = 0; i < 1000; i++) {
        cr_assert(rate_charge(&table, 7, 0, NOW, &view));
    }
    cr_assert_eq(view.limit, 3);
    rate_fini(&table);
}

Test(rate, follows_a_limit_that_changes)
{
    struct rate_table table = table_of(64);
    struct rate_view view = {0};
    for (uint32_t i = 0; i < 30; i++) {
        cr_assert(rate_charge(&table, 7, 60, NOW, &view));
    }
    cr_assert(rate_charge(&table, 7, 600, NOW, &view));
    cr_assert_eq(view.remaining, 299, "half a bucket is half a bucket");
    rate_fini(&table);
}

Test(rate, holds_for_limits_of_every_size)
{
    static const uint32_t limits[] = {1, 2, 7, 999, 60000, 1000000, UINT32_MAX};
    struct rate_table table = table_of(64);
    for (uint64_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rate_view view = {0};
        uint32_t count = 0;
        while (count < 100000 && rate_charge(&table, i, limits[i], NOW, &view)) {
            cr_assert_lt(view.remaining, limits[i]);
            count++;
        }
        cr_assert_eq(count, limits[i] < 100000 ? limits[i] : 100000, "%u", limits[i]);
        cr_assert_leq(view.reset_s, 60);
    }
    rate_fini(&table);
}

Test(rate, forgets_full_buckets_first)
{
    struct rate_table table = table_of(RATE_WAYS); /* one set */
    struct rate_view view = {0};
    for (uint32_t i = 0; i < 6; i++) {
        cr_assert(rate_charge(&table, 99, 6, NOW, &view)); /* empty for a minute */
    }
    for (uint64_t i = 0; i < 1000; i++) {
        cr_assert(rate_charge(&table, i, 60000, NOW + i, &view));
    }
    cr_assert_not(rate_charge(&table, 99, 6, NOW, &view), "still remembered");
    rate_fini(&table);
}
