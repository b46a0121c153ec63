/* The histogram of blast: where times go, what percentiles say, what the correction adds.
 *
 * Not covered here: when blast takes a time (tests/flow/test_blast).
 */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "base/check.h"
#include "blast_histogram.h"

static struct histogram *make(void)
{
    return mem_zalloc(sizeof(struct histogram));
}

Test(blast_histogram, puts_every_time_in_the_bucket_that_ends_at_or_above_it)
{
    uint64_t last = 0;
    for (uint64_t us = 0; us < (UINT64_C(1) << 40); us = us * 9 / 8 + 1) {
        size_t bucket = histogram_bucket(us);
        cr_assert_lt(bucket, HISTOGRAM_BUCKETS);
        cr_assert_geq(bucket, last, "buckets keep the order of times");
        cr_assert_geq(histogram_top(bucket), us);
        cr_assert(bucket == 0 || histogram_top(bucket - 1) < us);
        last = bucket;
    }
}

Test(blast_histogram, knows_a_time_to_eight_tenths_of_a_percent)
{
    for (uint64_t us = 1; us < (UINT64_C(1) << 40); us = us * 5 / 4 + 1) {
        uint64_t top = histogram_top(histogram_bucket(us));
        cr_assert_leq((double)(top - us), 0.008 * (double)us, "%lu is read as %lu",
                      (unsigned long)us, (unsigned long)top);
    }
}

Test(blast_histogram, buckets_follow_one_another_without_a_gap)
{
    cr_assert_eq(histogram_top(0), 0);
    for (size_t i = 1; i < HISTOGRAM_BUCKETS; i++) {
        cr_assert_gt(histogram_top(i), histogram_top(i - 1));
        cr_assert_eq(histogram_bucket(histogram_top(i)), i);
        cr_assert_eq(histogram_bucket(histogram_top(i - 1) + 1), i);
    }
    cr_assert_eq(histogram_top(HISTOGRAM_BUCKETS - 1), HISTOGRAM_MAX_US);
}

Test(blast_histogram, keeps_what_is_longer_than_its_range_in_the_last_bucket)
{
    struct histogram *times = make();
    histogram_add(times, UINT64_MAX);
    cr_expect_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    cr_expect_eq(histogram_at(times, 0.5), UINT64_MAX);
    free(times);
}

Test(blast_histogram, says_of_a_thousand_times_which_one_stands_where)
{
    struct histogram *times = make();
    for (uint64_t us = 1; us <= 1000; us++) {
        histogram_add(times, us);
    }
    cr_expect_eq(times->count, 1000);
    cr_expect_eq(histogram_at(times, 0.10), 100);
    cr_expect_eq(histogram_at(times, 0.50), histogram_top(histogram_bucket(500)));
    cr_expect_eq(histogram_at(times, 0.99), histogram_top(histogram_bucket(990)));
    cr_expect_eq(histogram_at(times, 0.999), histogram_top(histogram_bucket(999)));
    cr_expect_eq(histogram_at(times, 1), 1000, "the largest is known exactly");
    free(times);
}

Test(blast_histogram, of_no_times_says_nothing_and_of_one_says_it_everywhere)
{
    struct histogram *times = make();
    cr_expect_eq(histogram_at(times, 0.99), 0);
    histogram_add(times, 777777);
    cr_expect_eq(histogram_at(times, 0), 777777);
    cr_expect_eq(histogram_at(times, 0.5), 777777);
    cr_expect_eq(histogram_at(times, 1), 777777);
    free(times);
}

Test(blast_histogram, a_stall_is_charged_for_every_question_that_it_put_off)
{
    struct histogram *times = make();
    struct histogram *corrected = make();
    for (int i = 0; i < 99; i++) {
        histogram_add(times, 10);
    }
    histogram_add(times, 100);
    histogram_correct(times, 10, corrected);
    /* Besides the 100: questions due 10, 20, ... 90 later waited 90, 80, ... 10. */
    cr_expect_eq(corrected->count, 109);
    cr_expect_eq(corrected->buckets[10], 100);
    for (size_t us = 20; us <= 100; us += 10) {
        cr_expect_eq(corrected->buckets[us], 1, "%zu", us);
    }
    cr_expect_eq(histogram_at(times, 0.95), 10, "what was seen looks good");
    cr_expect_eq(histogram_at(corrected, 0.95), 50, "what clients would have felt does not");
    cr_expect_eq(corrected->max_us, 100);
    free(corrected);
    free(times);
}

Test(blast_histogram, corrects_as_adding_one_by_one_would)
{
    struct histogram *times = make();
    struct histogram *corrected = make();
    struct histogram *slow = make();
    const uint64_t interval = 37;
    for (uint64_t us = 3; us < 250; us += 7) { /* buckets of one microsecond: no rounding */
        histogram_add(times, us);
        histogram_add(slow, us);
        for (uint64_t missed = us; missed >= 2 * interval;) {
            missed -= interval;
            histogram_add(slow, missed);
        }
    }
    histogram_correct(times, interval, corrected);
    cr_expect_eq(corrected->count, slow->count);
    cr_expect_arr_eq(corrected->buckets, slow->buckets, sizeof(slow->buckets));
    free(slow);
    free(corrected);
    free(times);
}

Test(blast_histogram, a_minute_at_a_microsecond_is_sixty_million_times_at_once)
{
    struct histogram *times = make();
    struct histogram *corrected = make();
    histogram_add(times, 60000000);
    histogram_correct(times, 1, corrected);
    cr_expect_eq(corrected->count, 60000000);
    cr_expect_float_eq((double)histogram_at(corrected, 0.5), 3e7, 3e5);
    free(corrected);
    free(times);
}

Test(blast_histogram, without_an_interval_nothing_is_added)
{
    struct histogram *times = make();
    struct histogram *corrected = make();
    histogram_add(times, 5000);
    histogram_correct(times, 0, corrected);
    cr_expect_eq(corrected->count, 1);
    cr_expect_eq(histogram_at(corrected, 1), 5000);
    free(corrected);
    free(times);
}
