/* place.c - where things live. */
#include "shards/place.h"

#include "base/check.h"
#include "kv/key.h"

uint32_t place_shard_index(uint32_t shard_count, struct account_id account)
{
    CHECK(shard_count > 0);
    CHECK(shard_count <= SHARD_COUNT_MAX);
    return key_account_shard(shard_count, account);
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
    struct actor *shard = place->shards[key_directory_shard(place->shard_count, name)];
    CHECK(shard != NULL);
    return shard;
}

uint32_t place_loop_of_shard(uint32_t shard_index, uint32_t loop_count)
{
    CHECK(loop_count > 0);
    CHECK(loop_count <= LOOP_COUNT_MAX);
    return shard_index % loop_count;
}
