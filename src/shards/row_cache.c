/* row_cache.c - one slot a hash, the newest wins. */
#include "shards/row_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crypto.h"

struct row_cache_entry {
    uint32_t key_len;
    uint32_t value_len;
    char bytes[]; /* key, value */
};

static uint32_t slot_of(struct slice key)
{
    return crypto_crc32(0, key) % ROW_CACHE_SLOTS;
}

static struct slice entry_key(const struct row_cache_entry *entry)
{
    return slice_of(entry->bytes, entry->key_len);
}

void row_cache_fini(struct row_cache *cache)
{
    for (size_t i = 0; i < ROW_CACHE_SLOTS; i++) {
        free(cache->slots[i]);
        cache->slots[i] = NULL;
    }
}

bool row_cache_wants(struct slice key)
{
    CHECK(key.len > 0);
    return key.len <= ROW_CACHE_KEY_MAX && strchr("AKDN", key.data[0]) != NULL; /* kv/key.h */
}

bool row_cache_find(const struct row_cache *cache, struct slice key, struct slice *value)
{
    const struct row_cache_entry *entry = cache->slots[slot_of(key)];
    if (entry == NULL || !slice_equal(entry_key(entry), key)) {
        return false;
    }
    *value = slice_of(entry->bytes + entry->key_len, entry->value_len);
    return true;
}

void row_cache_keep(struct row_cache *cache, struct slice key, struct slice value)
{
    if (value.len > ROW_CACHE_VALUE_MAX) {
        return;
    }
    struct row_cache_entry *entry = mem_alloc(sizeof *entry + key.len + value.len);
    entry->key_len = (uint32_t)key.len;
    entry->value_len = (uint32_t)value.len;
    memcpy(entry->bytes, key.data, key.len);
    if (value.len > 0) {
        memcpy(entry->bytes + key.len, value.data, value.len);
    }
    struct row_cache_entry **slot = &cache->slots[slot_of(key)];
    free(*slot);
    *slot = entry;
}

void row_cache_drop(struct row_cache *cache, struct slice key)
{
    struct row_cache_entry **slot = &cache->slots[slot_of(key)];
    if (*slot != NULL && slice_equal(entry_key(*slot), key)) {
        free(*slot);
        *slot = NULL;
    }
}
