/* Not covered here: who measures what. */
#include <criterion/criterion.h>

#include "base/latency.c"

#include <string.h>

Test(latency, has_buckets_that_touch_and_grow_by_a_quarter)
{
    for (uint32_t i = 0; i + 1 < LATENCY_BUCKETS - 8; i++) {
        cr_expect_eq(bucket_of(bucket_end(i)), i);
        cr_expect_eq(bucket_of(bucket_end(i) + 1), i + 1);
    }
    cr_expect_eq(bucket_of(UINT64_MAX), LATENCY_BUCKETS - 1);
    cr_expect_eq(bucket_of(0), 0);
}

Test(latency, says_what_half_and_what_nearly_all_took)
{
    static struct latency latency;
    for (uint64_t us = 1; us <= 1000; us++) {
        latency_add(&latency, us, 5000);
    }
    const struct latency_view view = latency_total(&latency);
    cr_expect_eq(view.count, 1000);
    cr_expect_geq(view.p50_us, 500);
    cr_expect_leq(view.p50_us, 640);
    cr_expect_geq(view.p99_us, 990);
    cr_expect_leq(view.p99_us, 1000, "never above the maximum");
    cr_expect_eq(view.max_us, 1000);
    cr_expect_eq(latency.sum_us, 500500);
}

Test(latency, of_nothing_is_nothing)
{
    static struct latency latency;
    const struct latency_view view = latency_total(&latency);
    cr_expect_eq(view.count + view.p50_us + view.p99_us + view.max_us, 0);
    cr_expect_eq(latency_last_minute(&latency, 123456).count, 0);
}

Test(latency, of_the_last_minute_forgets)
{
    static struct latency latency;
    latency_add(&latency, 9000, 1000);
    for (uint64_t ms = 60000; ms < 120000; ms += 1000) {
        latency_add(&latency, 10, ms);
    }
    const struct latency_view view = latency_last_minute(&latency, 119999);
    cr_expect_eq(view.count, 60);
    cr_expect_eq(view.max_us, 10);
    cr_expect_eq(latency_last_minute(&latency, 160000).count, 10);
    cr_expect_eq(latency_last_minute(&latency, 500000).count, 0);
    cr_expect_eq(latency_total(&latency).count, 61);
    cr_expect_eq(latency_total(&latency).max_us, 9000);
}
