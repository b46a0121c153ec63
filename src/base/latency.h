/* latency.h - how long something takes: a histogram, since the start and over the last minute.
 *
 * Four buckets for each doubling, so what it says is wrong by a fifth at most. The last minute is
 * six slots of ten seconds, so it is between fifty and sixty seconds long. Belongs to one thread.
 * Zeroed memory is an empty one.
 */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

#include "base/base.h"

#define LATENCY_BUCKETS 128 /* up to 2^32 us */
#define LATENCY_SLOTS   6
#define LATENCY_SLOT_MS 10000

struct latency_slot {
    uint64_t number; /* of ten seconds since the clock's start */
    uint64_t max_us;
    uint32_t counts[LATENCY_BUCKETS];
};

struct latency {
    uint64_t max_us;
    uint64_t sum_us;
    uint64_t counts[LATENCY_BUCKETS];
    struct latency_slot slots[LATENCY_SLOTS];
};

struct latency_view {
    uint64_t count;
    uint64_t p50_us; /* half took no longer; 0 when there are none */
    uint64_t p99_us;
    uint64_t max_us;
};

void latency_add(struct latency *latency, uint64_t us, uint64_t now_ms);
struct latency_view latency_total(const struct latency *latency);
struct latency_view latency_last_minute(const struct latency *latency, uint64_t now_ms);

#endif
