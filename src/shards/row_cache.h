/* row_cache.h - a few rows of the store, kept as bytes by the shard that owns them.
 *
 * For the rows that every request asks for again: account, API key, domain and its name. A shard is
 * the only writer of its rows, so the cache cannot go stale: a put or delete drops the entry before
 * anything else can happen, and an entry is only ever made from what the store answered when
 * neither open batch knew the key. A batch that fails therefore leaves nothing wrong behind.
 *
 * Direct-mapped, ROW_CACHE_SLOTS entries of at most ROW_CACHE_VALUE_MAX bytes: a shard's share of
 * memory is bounded and a flood of strange keys costs each other's place only.
 */
#ifndef SHARDS_ROW_CACHE_H
#define SHARDS_ROW_CACHE_H

#include "base/base.h"
#include "base/slice.h"

#define ROW_CACHE_SLOTS     128
#define ROW_CACHE_KEY_MAX   64
#define ROW_CACHE_VALUE_MAX 4096

struct row_cache {
    struct row_cache_entry *slots[ROW_CACHE_SLOTS];
};

/* Zeroed memory is an empty cache. */
void row_cache_fini(struct row_cache *cache);
/* Whether rows of this key are kept at all. */
bool row_cache_wants(struct slice key);
/* False when not there; *value borrows from the cache until the next call. */
bool row_cache_find(const struct row_cache *cache, struct slice key, struct slice *value);
/* Copies; what is too long is not kept. */
void row_cache_keep(struct row_cache *cache, struct slice key, struct slice value);
void row_cache_drop(struct row_cache *cache, struct slice key);

#endif
