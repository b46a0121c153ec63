/* place.c - where things live. */
#include "shards/place.h"

#include "base/check.h"

static uint64_t mix(uint64_t x);
static uint64_t hash_text(struct slice text);

uint32_t place_shard_index(uint32_t shard_count, struct account_id account)
{
    CHECK(shard_count > 0);
    CHECK(shard_count <= SHARD_COUNT_MAX);
    return (uint32_t)(mix(account.value) % shard_count);
}

struct actor *place_shard(const struct place *place, struct account_id account)
{
    struct actor *shard = place->shards[place_shard_index(place->shard_count, account)];
    CHECK(shard != NULL);
    return shard;
}

struct actor *place_directory(const struct place *place, struct slice name)
{
    CHECK(place->shard_count > 0);
    CHECK(place->shard_count <= SHARD_COUNT_MAX);
    struct actor *shard = place->shards[hash_text(name) % place->shard_count];
    CHECK(shard != NULL);
    return shard;
}

uint32_t place_loop_of_shard(uint32_t shard_index, uint32_t loop_count)
{
    CHECK(loop_count > 0);
    CHECK(loop_count <= LOOP_COUNT_MAX);
    return shard_index % loop_count;
}

/* The finaliser of splitmix64. Account ids are random already; this keeps shards even should they
 * one day be given out in another way, or with a shard count that divides their pattern. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* FNV-1a, 64 bits, mixed because its low bits are weak. Not keyed: the result is on disk, and a
 * name aimed at one shard gains its maker nothing that an account there would not. */
static uint64_t hash_text(struct slice text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (uint8_t)text.data[i]) * UINT64_C(0x100000001b3);
    }
    return mix(hash);
}
