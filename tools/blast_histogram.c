/* blast_histogram.c - buckets, percentiles and the correction. */
#include "blast_histogram.h"

#include "base/check.h"

size_t histogram_bucket(uint64_t us)
{
    uint32_t shift = 0;
    us = min_u64(us, HISTOGRAM_MAX_US);
    while (us >> shift >= UINT64_C(2) * HISTOGRAM_SUB) {
        shift += 1;
    }
    return (size_t)(shift * (uint64_t)HISTOGRAM_SUB + (us >> shift));
}

uint64_t histogram_top(size_t bucket)
{
    uint64_t shift = bucket < 2 * (size_t)HISTOGRAM_SUB ? 0 : bucket / HISTOGRAM_SUB - 1;
    return ((bucket - shift * HISTOGRAM_SUB + 1) << shift) - 1;
}

static void add_many(struct histogram *histogram, size_t bucket, uint64_t count)
{
    histogram->buckets[bucket] += count;
    histogram->count += count;
}

void histogram_add(struct histogram *histogram, uint64_t us)
{
    add_many(histogram, histogram_bucket(us), 1);
    histogram->max_us = max_u64(histogram->max_us, us);
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            return i == HISTOGRAM_BUCKETS - 1 ? histogram->max_us
                                              : min_u64(histogram_top(i), histogram->max_us);
        }
    }
    return histogram->max_us;
}

/* How many of at_us - interval, at_us - 2 * interval, ... lie between low and high, both included;
 * high is below at_us. */
static uint64_t steps_within(uint64_t at_us, uint64_t interval_us, uint64_t low, uint64_t high)
{
    uint64_t first = (at_us - high + interval_us - 1) / interval_us;
    uint64_t last = (at_us - low) / interval_us;
    return last < first ? 0 : last - first + 1;
}

/* The questions that one time of *us stood in the way of, bucket by bucket: a stall of a minute
 * at an interval of microseconds is millions of them. */
static void add_missed(struct histogram *out, uint64_t us, uint64_t interval_us, uint64_t count)
{
    for (size_t i = histogram_bucket(interval_us); i < HISTOGRAM_BUCKETS; i++) {
        uint64_t low = i == 0 ? 0 : histogram_top(i - 1) + 1;
        uint64_t high = min_u64(histogram_top(i), us - interval_us);
        low = max_u64(low, interval_us); /* a shorter one would not have been put off */
        if (low > us - interval_us) {
            return;
        }
        add_many(out, i, count * steps_within(us, interval_us, low, high));
    }
}

void histogram_correct(const struct histogram *histogram, uint64_t interval_us,
                       struct histogram *out)
{
    *out = *histogram;
    if (interval_us == 0) {
        return;
    }
    for (size_t i = histogram_bucket(interval_us); i < HISTOGRAM_BUCKETS; i++) {
        uint64_t us = min_u64(histogram_top(i), histogram->max_us);
        if (histogram->buckets[i] > 0 && us >= 2 * interval_us) {
            add_missed(out, us, interval_us, histogram->buckets[i]);
        }
    }
}
