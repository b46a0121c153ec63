/* blast_histogram.h - times in bounded memory, and what a percentile of them is.
 *
 * Log-linear: up to 255 us each microsecond has a bucket, beyond that 128 buckets share each power
 * of two, so a time is known to 0.8 %. What is above HISTOGRAM_MAX_US stands in the last bucket;
 * the largest time is kept as it was.
 *
 * Coordinated omission: a client that waits for an answer does not ask meanwhile, so a server that
 * stalls is asked less just then, and its stall is one time among many. Either ask on a schedule
 * and time from there, which needs nothing of this file; or histogram_correct, which adds the
 * times that would have been seen if questions had gone on at an interval.
 */
#ifndef TOOLS_BLAST_HISTOGRAM_H
#define TOOLS_BLAST_HISTOGRAM_H

#include "base/base.h"

#define HISTOGRAM_SUB_BITS   7
#define HISTOGRAM_SUB        (1U << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_VALUE_BITS 41 /* 25 days of microseconds */
#define HISTOGRAM_MAX_US     ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)
#define HISTOGRAM_BUCKETS    (HISTOGRAM_SUB * (HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1))

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t max_us;
};

size_t histogram_bucket(uint64_t us);
/* The largest time of that bucket. */
uint64_t histogram_top(size_t bucket);

void histogram_add(struct histogram *histogram, uint64_t us);
/* The smallest time that `share` (0 to 1) of all are not above, as the top of its bucket; 0 when
 * there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);
/* Fills *out with all of *histogram and, for each time above the interval, with the times that
 * questions asked one interval, two, ... later would have seen of the same stall. An interval of 0
 * adds nothing. */
void histogram_correct(const struct histogram *histogram, uint64_t interval_us,
                       struct histogram *out);

#endif
