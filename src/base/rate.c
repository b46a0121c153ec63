/* rate.c - buckets as the moment at which they are full. */
#include "base/rate.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/crypto.h"

#define MS_NS     UINT64_C(1000000)
#define SECOND_NS UINT64_C(1000000000)
#define MINUTE_NS (60 * SECOND_NS)

void rate_init(struct rate_table *table, uint32_t bucket_count)
{
    CHECK(bucket_count > 0);
    CHECK(bucket_count % RATE_WAYS == 0);
    table->buckets = mem_zalloc(bucket_count * sizeof *table->buckets);
    table->set_count = bucket_count / RATE_WAYS;
    crypto_random(&table->seed, sizeof table->seed);
}

void rate_fini(struct rate_table *table)
{
    free(table->buckets);
    table->buckets = NULL;
}

static struct rate_bucket *set_of(const struct rate_table *table, uint64_t owner)
{
    uint64_t x = owner ^ table->seed;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9); /* the finaliser of splitmix64 */
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return &table->buckets[x % table->set_count * RATE_WAYS];
}

static const struct rate_bucket *find(const struct rate_table *table, uint64_t owner)
{
    const struct rate_bucket *set = set_of(table, owner);
    for (uint32_t i = 0; i < RATE_WAYS; i++) {
        if (set[i].full_ns != 0 && set[i].owner == owner) {
            return &set[i];
        }
    }
    return NULL;
}

/* The owner's, or the one of its set that is soonest full. */
static struct rate_bucket *find_room(const struct rate_table *table, uint64_t owner)
{
    struct rate_bucket *set = set_of(table, owner);
    struct rate_bucket *best = &set[0];
    for (uint32_t i = 0; i < RATE_WAYS; i++) {
        if (set[i].full_ns != 0 && set[i].owner == owner) {
            return &set[i];
        }
        if (set[i].full_ns < best->full_ns) {
            best = &set[i];
        }
    }
    *best = (struct rate_bucket){.owner = owner};
    return best;
}

static uint32_t whole_seconds(uint64_t ns)
{
    return (uint32_t)((ns + SECOND_NS - 1) / SECOND_NS);
}

/* How far from full: at most a minute. */
static uint64_t missing_ns(const struct rate_bucket *bucket, uint64_t now_ns)
{
    uint64_t missing = bucket != NULL && bucket->full_ns > now_ns ? bucket->full_ns - now_ns : 0;
    return min_u64(missing, MINUTE_NS);
}

bool rate_peek(struct rate_table *table, uint64_t owner, uint32_t limit, uint64_t now_ms,
               struct rate_view *view)
{
    if (limit == 0) {
        return true;
    }
    uint64_t each_ns = MINUTE_NS / limit; /* 13 at the most that a limit can be */
    uint64_t missing = missing_ns(find(table, owner), now_ms * MS_NS);
    bool is_let_in = missing + each_ns <= MINUTE_NS;
    uint64_t after = is_let_in ? missing + each_ns : missing;
    *view = (struct rate_view){
        .limit = limit,
        .remaining = (uint32_t)min_u64((MINUTE_NS - after) / each_ns, limit - 1U),
        .reset_s = whole_seconds(after),
        .retry_s = is_let_in ? 0 : whole_seconds(missing + each_ns - MINUTE_NS),
    };
    return is_let_in;
}

void rate_take(struct rate_table *table, uint64_t owner, uint32_t limit, uint64_t now_ms)
{
    if (limit == 0) {
        return;
    }
    struct rate_bucket *bucket = find_room(table, owner);
    uint64_t now_ns = now_ms * MS_NS;
    bucket->full_ns = now_ns + missing_ns(bucket, now_ns) + MINUTE_NS / limit;
}

bool rate_charge(struct rate_table *table, uint64_t owner, uint32_t limit, uint64_t now_ms,
                 struct rate_view *view)
{
    bool is_let_in = rate_peek(table, owner, limit, now_ms, view);
    if (is_let_in) {
        rate_take(table, owner, limit, now_ms);
    }
    return is_let_in;
}
