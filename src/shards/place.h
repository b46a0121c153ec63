/* place.h - where things live: account -> shard -> actor. Pure arithmetic over a table filled at
 * boot.
 *
 * The two hashes are part of the store's format: a change would strand every row. The number of
 * shards is fixed when the store is formatted; shards are spread over loops round-robin at boot, so
 * changing the core count moves actors, never data. Directory rows live in the shard of the name's
 * hash. Immutable once the loops run.
 */
#ifndef SHARDS_PLACE_H
#define SHARDS_PLACE_H

#include "base/base.h"
#include "base/conf.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/slice.h"

struct actor;
struct kv;
struct seal_key;
struct sockets;

struct place {
    const struct conf *conf;
    uint32_t shard_count;
    uint32_t loop_count;
    struct actor *shards[SHARD_COUNT_MAX];
    struct actor *edges[LOOP_COUNT_MAX];
    struct actor *deliver;
    struct actor *deliver_shard; /* owns the delivery family, on delivery's loop */
    struct actor *commit;
    struct actor *keeper;          /* long work on the store, on a loop of its own */
    struct actor *main;            /* what the operator says to the server itself */
    uint64_t boot;                 /* number of this run, from the store's stamp */
    uint64_t started_unix_ms;      /* of this process */
    const struct sockets *sockets; /* that edges accept from */
    const struct seal_key *master; /* master key of secrets at rest */
};

uint32_t place_shard_index(uint32_t shard_count, struct account_id account);
struct actor *place_shard(const struct place *place, struct account_id account);
/* The shard that holds the directory row of a name (email or domain, in lower case). */
struct actor *place_directory(const struct place *place, struct slice name);
/* Loop number of a shard. */
uint32_t place_loop_of_shard(uint32_t shard_index, uint32_t loop_count);

#endif
