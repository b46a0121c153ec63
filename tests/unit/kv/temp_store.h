/* temp_store.h - a folder for one test's store, and shorthand for its rows.
 *
 * Owns: temp_folder_make hands out a path in the caller's array; temp_folder_drop removes it with
 * all that is in it. Included by the tests of src/kv only.
 */
#ifndef TESTS_UNIT_KV_TEMP_STORE_H
#define TESTS_UNIT_KV_TEMP_STORE_H

#include "base/check.h"
#include "base/limits.h"
#include "kv/kv.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEMP_PATH_MAX 256

static inline void temp_folder_make(char path[TEMP_PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    if (base == NULL) { /* what outlives a killed process, outlives it in memory too */
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }
    const int len = snprintf(path, TEMP_PATH_MAX, "%s/meerkat-kv-XXXXXX", base);
    CHECK(len > 0 && len < TEMP_PATH_MAX);
    CHECK(mkdtemp(path) != NULL);
}

static inline int temp_remove(const char *path, const struct stat *stat_of UNUSED, int type UNUSED,
                              struct FTW *walk UNUSED)
{
    return remove(path);
}

static inline void temp_folder_drop(const char *path)
{
    (void)nftw(path, temp_remove, 16, FTW_DEPTH | FTW_PHYS); /* what is left is only clutter */
}

static inline struct kv_options temp_options(const char *path, uint32_t shard_count)
{
    return (struct kv_options){
        .path = slice_str(path),
        .shard_count = shard_count,
        .cache_bytes = 4 * MIB,
        .memtable_bytes = 8 * MIB,
    };
}

static inline struct kv *temp_open(const char *path, uint32_t shard_count)
{
    const struct kv_options options = temp_options(path, shard_count);
    struct kv *kv = NULL;
    const enum err err = kv_open(&options, &kv);
    CHECK(err == ERR_OK);
    return kv;
}

/* One row, written and synced. */
static inline enum err temp_put(struct kv *kv, uint32_t family, struct slice key,
                                struct slice value)
{
    struct kv_batch *batch = kv_batch_new(family);
    kv_batch_put(batch, key, value);
    enum err err = kv_write(kv, batch);
    if (err == ERR_OK) {
        err = kv_sync(kv);
    }
    kv_batch_free(batch);
    return err;
}

/* Whether the family holds key with exactly that value. */
static inline bool temp_has(struct kv *kv, uint32_t family, struct slice key, struct slice value)
{
    struct arena arena;
    arena_init(&arena, 4096, 4 * MIB);
    struct slice stored = SLICE("");
    const enum err err = kv_get(kv, family, key, &arena, &stored);
    const bool has = err == ERR_OK && slice_equal(stored, value);
    arena_fini(&arena);
    return has;
}

static inline uint64_t temp_count(struct kv *kv, uint32_t family)
{
    struct kv_iter *iter = kv_iter_open(kv, family, SLICE(""), SLICE(""), false);
    struct slice key = SLICE("");
    struct slice value = SLICE("");
    uint64_t count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        count++;
    }
    const enum err err = kv_iter_err(iter);
    CHECK(err == ERR_OK);
    kv_iter_close(iter);
    return count;
}

#endif
