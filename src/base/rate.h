/* rate.h - how many requests a minute somebody may make: token buckets in a bounded table.
 *
 * A bucket holds a minute's worth and fills evenly. All that is kept of it is the moment at which
 * it will be full again (the generic cell rate algorithm): a limit that changes needs no change of
 * buckets, and one that is full is the same as none. So the table forgets full ones freely; only
 * when a set of RATE_WAYS has none does the fullest go, which lets its owner in early. Owners are
 * named by 64 bits and spread by a seed that is not known outside.
 *
 * No lock: one table, one loop.
 */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include "base/base.h"

#define RATE_WAYS 8

/* What is left, as the ratelimit headers say it. */
struct rate_view {
    uint32_t limit; /* requests a minute; 0: nothing was counted */
    uint32_t remaining;
    uint32_t reset_s; /* until `limit` remain again */
    uint32_t retry_s; /* when refused: until one more is let in */
};

struct rate_bucket {
    uint64_t owner;
    uint64_t full_ns; /* monotonic; 0: free */
};

struct rate_table {
    struct rate_bucket *buckets; /* sets of RATE_WAYS */
    uint32_t set_count;
    uint64_t seed;
};

/* Owns: the caller, until rate_fini. bucket_count: a multiple of RATE_WAYS. */
void rate_init(struct rate_table *table, uint32_t bucket_count);
void rate_fini(struct rate_table *table);

/* What owner's bucket says of one request more, and whether it lets it in; takes nothing.
 * limit 0 lets everybody in and leaves *view alone. */
bool rate_peek(struct rate_table *table, uint64_t owner, uint32_t limit, uint64_t now_ms,
               struct rate_view *view);
/* Takes what rate_peek let in. */
void rate_take(struct rate_table *table, uint64_t owner, uint32_t limit, uint64_t now_ms);
/* Both at once. */
bool rate_charge(struct rate_table *table, uint64_t owner, uint32_t limit, uint64_t now_ms,
                 struct rate_view *view);

#endif
