/* latency.c - buckets by the two bits behind the highest one. */
#include "base/latency.h"

#include "base/check.h"

static uint32_t bucket_of(uint64_t us)
{
    if (us < 4) {
        return (uint32_t)us;
    }
    const uint32_t top = 63 - (uint32_t)__builtin_clzll(us);
    const uint32_t bucket = 4 * (top - 1) + (uint32_t)(us >> (top - 2) & 3);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The greatest value of a bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < 4) {
        return bucket;
    }
    const uint32_t top = bucket / 4 + 1;
    return ((uint64_t)(bucket % 4 + 5) << (top - 2)) - 1;
}

void latency_add(struct latency *latency, uint64_t us, uint64_t now_ms)
{
    const uint32_t bucket = bucket_of(us);
    const uint64_t number = now_ms / LATENCY_SLOT_MS;
    struct latency_slot *slot = &latency->slots[number % LATENCY_SLOTS];
    if (slot->number != number) {
        *slot = (struct latency_slot){.number = number};
    }
    slot->counts[bucket]++;
    slot->max_us = slot->max_us > us ? slot->max_us : us;
    latency->counts[bucket]++;
    latency->sum_us += us;
    latency->max_us = latency->max_us > us ? latency->max_us : us;
}

static struct latency_view view_of(const uint64_t counts[LATENCY_BUCKETS], uint64_t max_us)
{
    struct latency_view view = {.max_us = max_us};
    uint64_t passed = 0;
    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
        view.count += counts[i];
    }
    for (uint32_t i = 0; i < LATENCY_BUCKETS && view.count > 0; i++) {
        const uint64_t end = bucket_end(i) < max_us ? bucket_end(i) : max_us;
        const uint64_t before = passed;
        passed += counts[i];
        if (before * 2 < view.count && passed * 2 >= view.count) {
            view.p50_us = end;
        }
        if (before * 100 < view.count * 99 && passed * 100 >= view.count * 99) {
            view.p99_us = end;
        }
    }
    return view;
}

struct latency_view latency_total(const struct latency *latency)
{
    return view_of(latency->counts, latency->max_us);
}

struct latency_view latency_last_minute(const struct latency *latency, uint64_t now_ms)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    uint64_t max_us = 0;
    const uint64_t number = now_ms / LATENCY_SLOT_MS;
    for (uint32_t i = 0; i < LATENCY_SLOTS; i++) {
        const struct latency_slot *slot = &latency->slots[i];
        if (slot->number > number || number - slot->number >= LATENCY_SLOTS) {
            continue;
        }
        for (uint32_t k = 0; k < LATENCY_BUCKETS; k++) {
            counts[k] += slot->counts[k];
        }
        max_us = slot->max_us > max_us ? slot->max_us : max_us;
    }
    return view_of(counts, max_us);
}
