/* kv.c - the store over RocksDB's C interface: batches, reading, errors. kv_open.c opens it.
 *
 * A batch keeps its rows in an arena in the order they came and becomes a RocksDB batch when it is
 * written. The detour costs one more copy on the committer; it lets a batch exist without a store,
 * lets the overlay point at the rows instead of copying them, and does not depend on how RocksDB
 * numbers its families.
 */
#include "kv/kv.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "kv/kv_int.h"

#define uthash_malloc(bytes)     mem_alloc(bytes)
#define uthash_free(block, size) free(block)
#define uthash_fatal(text)       fatal("%s", text)
#include <uthash.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define COMPACT_FORCE     2          /* BottommostLevelCompaction::kForce */
#define BATCH_CHUNK_BYTES (32 * KIB) /* kept by a cleared batch */
#define BATCH_ARENA_BYTES (2 * MSG_ARENA_MAX)
_Static_assert(BATCH_ARENA_BYTES > BATCH_BYTES_MAX + MSG_ARENA_MAX,
               "a full batch has room for one more mail");

enum row_op { OP_PUT, OP_DELETE, OP_DELETE_RANGE };

struct batch_row {
    struct batch_row *next;
    UT_hash_handle hh; /* in the overlay, by key */
    struct slice key;
    struct slice value; /* OP_DELETE_RANGE: the end */
    enum row_op op;
};

struct kv_batch {
    struct arena arena;      /* rows, keys, values */
    struct batch_row *first; /* in the order they came */
    struct batch_row *last;
    struct batch_row *overlay; /* hash: the latest word on each key */
    uint64_t bytes;
    uint32_t row_count;
    uint32_t family;
};

struct kv_iter {
    rocksdb_iterator_t *rocks;
    rocksdb_readoptions_t *read; /* borrows from and to */
    struct slice from;           /* behind this struct */
    struct slice to;
    bool is_reverse;
    bool is_started;
    bool is_sought; /* it stands on what comes next */
    bool is_at_end;
    bool is_quiet;
    enum err err;
};

#define BULK_READ_BYTES (2 * MIB)

static struct batch_row *add_row(struct kv_batch *batch, enum row_op op, struct slice key,
                                 struct slice value);
static void overlay_row(struct kv_batch *batch, struct batch_row *row, bool is_new_word);
static void set_blob_cutoff(struct kv *kv, uint32_t family, const char *cutoff);
static enum err sync_logs(const struct kv *kv);
/* ---- reading -------------------------------------------------------------------------------- */

uint32_t kv_shard_count(const struct kv *kv)
{
    CHECK(kv->shard_count >= 1 && kv->shard_count <= SHARD_COUNT_MAX);
    return kv->shard_count;
}

enum err kv_get(struct kv *kv, uint32_t family, struct slice key, struct arena *arena,
                struct slice *value)
{
    rocksdb_set_perf_level(rocksdb_disable); /* see kv_write */
    CHECK(key.len > 0);
    char *words = NULL;
    rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned_cf(
        kv->db, kv->read, kv_family_handle(kv, family), key.data, key.len, &words);
    if (words != NULL) {
        CHECK(pinned == NULL);
        return kv_rocks_failed("get", words);
    }
    return kv_rocks_value(pinned, arena, value);
}

enum err kv_rocks_value(rocksdb_pinnableslice_t *pinned, struct arena *arena, struct slice *value)
{
    if (pinned == NULL) {
        return ERR_NOT_FOUND;
    }
    size_t len = 0;
    const char *bytes = rocksdb_pinnableslice_value(pinned, &len);
    enum err err = ERR_TOO_LARGE;
    if (len <= arena->max_bytes - arena->used_bytes) {
        char *copy = arena_bytes(arena, len);
        memcpy(copy, bytes, len);
        *value = slice_of(copy, len);
        err = ERR_OK;
    }
    rocksdb_pinnableslice_destroy(pinned);
    return err;
}

/* ---- batches -------------------------------------------------------------------------------- */

struct kv_batch *kv_batch_new(uint32_t family)
{
    CHECK(family < SHARD_COUNT_MAX || family == KV_FAMILY_DELIVER || family == KV_FAMILY_META);
    struct kv_batch *batch = mem_zalloc(sizeof(*batch));
    batch->family = family;
    arena_init(&batch->arena, BATCH_CHUNK_BYTES, BATCH_ARENA_BYTES);
    return batch;
}

void kv_batch_free(struct kv_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    kv_batch_clear(batch);
    arena_fini(&batch->arena);
    free(batch);
}

void kv_batch_clear(struct kv_batch *batch)
{
    HASH_CLEAR(hh, batch->overlay);
    CHECK(batch->overlay == NULL);
    arena_clear(&batch->arena);
    batch->first = NULL;
    batch->last = NULL;
    batch->bytes = 0;
    batch->row_count = 0;
}

void kv_batch_put(struct kv_batch *batch, struct slice key, struct slice value)
{
    overlay_row(batch, add_row(batch, OP_PUT, key, value), true);
}

void kv_batch_put_body(struct kv_batch *batch, struct slice key, struct slice value)
{
    overlay_row(batch, add_row(batch, OP_PUT, key, value), false);
}

void kv_batch_delete(struct kv_batch *batch, struct slice key)
{
    overlay_row(batch, add_row(batch, OP_DELETE, key, SLICE("")), true);
}

void kv_batch_delete_range(struct kv_batch *batch, struct slice from, struct slice to)
{
    CHECK(slice_compare(from, to) <= 0);
    add_row(batch, OP_DELETE_RANGE, from, to);
}

enum kv_found kv_batch_find(const struct kv_batch *batch, struct slice key, struct slice *value)
{
    struct batch_row *row = NULL;
    HASH_FIND(hh, batch->overlay, key.data, key.len, row);
    if (row == NULL) {
        return KV_UNKNOWN;
    }
    CHECK(row->op != OP_DELETE_RANGE);
    if (row->op == OP_DELETE) {
        return KV_DELETED;
    }
    *value = row->value;
    return KV_PUT;
}

uint32_t kv_batch_rows(const struct kv_batch *batch)
{
    return batch->row_count;
}

uint64_t kv_batch_bytes(const struct kv_batch *batch)
{
    return batch->bytes;
}

uint32_t kv_batch_family(const struct kv_batch *batch)
{
    return batch->family;
}

enum err kv_write(struct kv *kv, struct kv_batch *batch)
{
    /* Of this thread. As it comes, RocksDB counts every comparison of keys, for nobody. */
    rocksdb_set_perf_level(rocksdb_disable);
    CHECK(!kv->is_read_only);
    rocksdb_column_family_handle_t *family = kv_family_handle(kv, batch->family);
    if (batch->row_count == 0) {
        return ERR_OK;
    }
    rocksdb_writebatch_t *rocks = rocksdb_writebatch_create();
    for (const struct batch_row *row = batch->first; row != NULL; row = row->next) {
        switch (row->op) {
        case OP_PUT:
            rocksdb_writebatch_put_cf(rocks, family, row->key.data, row->key.len, row->value.data,
                                      row->value.len);
            break;
        case OP_DELETE:
            rocksdb_writebatch_delete_cf(rocks, family, row->key.data, row->key.len);
            break;
        case OP_DELETE_RANGE:
            rocksdb_writebatch_delete_range_cf(rocks, family, row->key.data, row->key.len,
                                               row->value.data, row->value.len);
            break;
        }
    }
    CHECK(rocksdb_writebatch_count(rocks) == (int)batch->row_count);
    char *words = NULL;
    rocksdb_write(kv->db, kv->write, rocks, &words);
    rocksdb_writebatch_destroy(rocks);
    if (words != NULL) {
        err_ignore(kv_rocks_failed("write", words)); /* logged; to a writer all refusals are one */
        kv->is_log_torn = true;
        return ERR_STORAGE;
    }
    kv->is_log_torn = false; /* RocksDB has begun a new log, or the old one was sound */
    return ERR_OK;
}

enum err kv_sync(struct kv *kv)
{
    CHECK(!kv->is_read_only);
    if (kv->is_log_torn) {
        return sync_logs(kv);
    }
    char *words = NULL;
    rocksdb_flush_wal(kv->db, 1, &words);
    return words == NULL ? ERR_OK : kv_rocks_failed("sync", words);
}

/* ---- scans ---------------------------------------------------------------------------------- */

struct kv_iter *kv_iter_open(struct kv *kv, uint32_t family, struct slice from, struct slice to,
                             bool is_reverse)
{
    const struct kv_scan scan = {.family = family, .from = from, .to = to};
    struct kv_iter *iter = kv_scan_open(kv, &scan);
    iter->is_reverse = is_reverse;
    return iter;
}

struct kv_iter *kv_scan_open(struct kv *kv, const struct kv_scan *scan)
{
    const struct slice from = scan->from;
    const struct slice to = scan->to;
    rocksdb_column_family_handle_t *handle = kv_family_handle(kv, scan->family);
    struct kv_iter *iter = mem_zalloc(sizeof(*iter) + from.len + to.len);
    char *bounds = (char *)(iter + 1);
    iter->from = slice_of(bounds, from.len);
    iter->to = slice_of(bounds + from.len, to.len);
    iter->is_quiet = scan->is_quiet;
    iter->err = ERR_OK;
    iter->read = rocksdb_readoptions_create();
    if (scan->snapshot != NULL) {
        rocksdb_readoptions_set_snapshot(iter->read, scan->snapshot->rocks);
    }
    if (scan->is_bulk) {
        rocksdb_readoptions_set_fill_cache(iter->read, 0);
        rocksdb_readoptions_set_readahead_size(iter->read, BULK_READ_BYTES);
    }
    if (from.len > 0) {
        memcpy(bounds, from.data, from.len);
        rocksdb_readoptions_set_iterate_lower_bound(iter->read, iter->from.data, iter->from.len);
    }
    if (to.len > 0) {
        memcpy(bounds + from.len, to.data, to.len);
        rocksdb_readoptions_set_iterate_upper_bound(iter->read, iter->to.data, iter->to.len);
        iter->is_at_end = slice_compare(iter->from, iter->to) >= 0;
    }
    iter->rocks = rocksdb_create_iterator_cf(kv->db, iter->read, handle);
    CHECK(iter->rocks != NULL);
    return iter;
}

bool kv_iter_next(struct kv_iter *iter, struct slice *key, struct slice *value)
{
    if (iter->is_at_end) {
        return false;
    }
    if (iter->is_sought) {
        iter->is_sought = false;
    } else if (iter->is_started) {
        iter->is_reverse ? rocksdb_iter_prev(iter->rocks) : rocksdb_iter_next(iter->rocks);
    } else if (iter->is_reverse) {
        rocksdb_iter_seek_to_last(iter->rocks); /* of what the bounds leave */
    } else {
        rocksdb_iter_seek_to_first(iter->rocks);
    }
    iter->is_started = true;
    if (!rocksdb_iter_valid(iter->rocks)) {
        iter->is_at_end = true;
        char *words = NULL;
        rocksdb_iter_get_error(iter->rocks, &words);
        if (words != NULL) {
            iter->err = iter->is_quiet ? kv_rocks_err(words) : kv_rocks_failed("scan", words);
        }
        return false;
    }
    size_t len = 0;
    const char *bytes = rocksdb_iter_key(iter->rocks, &len);
    *key = slice_of(bytes, len);
    CHECK_SLOW(slice_compare(*key, iter->from) >= 0);
    bytes = rocksdb_iter_value(iter->rocks, &len);
    *value = slice_of(bytes, len);
    return true;
}

void kv_iter_seek(struct kv_iter *iter, struct slice key)
{
    CHECK(!iter->is_reverse);
    iter->is_at_end = iter->to.len > 0 && slice_compare(key, iter->to) >= 0;
    iter->is_started = true;
    iter->is_sought = true;
    iter->err = ERR_OK;
    if (!iter->is_at_end) {
        rocksdb_iter_seek(iter->rocks, key.data, key.len);
    }
}

enum err kv_iter_err(const struct kv_iter *iter)
{
    return iter->err;
}

void kv_iter_close(struct kv_iter *iter)
{
    if (iter == NULL) {
        return;
    }
    rocksdb_iter_destroy(iter->rocks);
    rocksdb_readoptions_destroy(iter->read);
    free(iter);
}

/* ---- inspection ----------------------------------------------------------------------------- */

uint64_t kv_free_bytes(const struct kv *kv)
{
    struct statvfs stat;
    if (statvfs(kv->path, &stat) == -1) {
        LOG_WARN("kv.statvfs_failed", LOG_STR("path", kv->path), LOG_STR("errno", strerror(errno)));
        return 0; /* unknown: take nothing on */
    }
    return (uint64_t)stat.f_bavail * (uint64_t)stat.f_frsize;
}

struct slice kv_property(struct kv *kv, uint32_t family, const char *name, struct arena *arena)
{
    char *text = rocksdb_property_value_cf(kv->db, kv_family_handle(kv, family), name);
    struct slice copy = SLICE("");
    if (text != NULL && strlen(text) < arena->max_bytes - arena->used_bytes) {
        copy = arena_dup(arena, slice_str(text));
    }
    rocksdb_free(text);
    return copy;
}

void kv_compact(struct kv *kv, uint32_t family)
{
    CHECK(!kv->is_read_only);
    rocksdb_compactoptions_t *compact = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(compact, COMPACT_FORCE);
    rocksdb_compactoptions_set_exclusive_manual_compaction(compact, 0);
    set_blob_cutoff(kv, family, "1.0"); /* every blob file is old enough to be emptied */
    rocksdb_compact_range_cf_opt(kv->db, kv_family_handle(kv, family), compact, NULL, 0, NULL, 0);
    set_blob_cutoff(kv, family, BLOB_AGE_CUTOFF_TEXT);
    rocksdb_compactoptions_destroy(compact);
}

void kv_compact_stop(struct kv *kv)
{
    if (!kv->is_compact_stopped) { /* RocksDB counts */
        kv->is_compact_stopped = true;
        rocksdb_disable_manual_compaction(kv->db);
    }
}

void kv_compact_allow(struct kv *kv)
{
    if (kv->is_compact_stopped) {
        kv->is_compact_stopped = false;
        rocksdb_enable_manual_compaction(kv->db);
    }
}

enum err kv_flush(struct kv *kv)
{
    CHECK(!kv->is_read_only);
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create(); /* waits */
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < kv_family_count(kv) && err == ERR_OK; i++) {
        char *words = NULL;
        rocksdb_flush_cf(kv->db, flush, kv->families[i], &words);
        err = words == NULL ? ERR_OK : kv_rocks_failed("flush", words);
    }
    rocksdb_flushoptions_destroy(flush);
    return err;
}

/* ---- errors --------------------------------------------------------------------------------- */

/* RocksDB's C interface gives its errors as prose only; the words below are those of
 * Status::ToString and strerror. Order matters: the first that occurs decides. */
static const struct known_words {
    const char *word;
    enum err err;
    const char *remedy;
} known[] = {
    {"Corruption", ERR_CORRUPT, "the store is damaged: restore it from a backup"},
    {"No space left", ERR_STORAGE, "free space on the store's filesystem"},
    {"Disk quota exceeded", ERR_STORAGE, "raise the quota of the daemon's user"},
    {"lock hold", ERR_STORAGE, "the store is already open in this process"},
    {"lock file", ERR_STORAGE, "another process has the store open: stop it first"},
    {"Permission denied", ERR_STORAGE, "give the folder and its files to the daemon's user"},
    {"Read-only file system", ERR_STORAGE, "remount the store's filesystem for writing"},
    {"Too many open files", ERR_STORAGE, "raise the limit of open files (ulimit -n)"},
    {"not linked", ERR_STORAGE, "use a RocksDB that was built with LZ4 and zstd"},
    {"", ERR_IO, "look at the disk and at the kernel's log"},
};

static const struct known_words *words_mean(const char *words)
{
    size_t i = 0;
    while (slice_find(slice_str(words), slice_str(known[i].word)) == SIZE_MAX) {
        i++;
    }
    CHECK(i < ARRAY_LEN(known));
    return &known[i];
}

enum err kv_rocks_failed(const char *op, char *words)
{
    const struct known_words *mean = words_mean(words);
    LOG_ERROR("kv.failed", LOG_STR("op", op), LOG_STR("rocksdb", words),
              LOG_STR("remedy", mean->remedy));
    return kv_rocks_err(words);
}

enum err kv_rocks_err(char *words)
{
    const enum err err = words_mean(words)->err;
    rocksdb_free(words);
    return err;
}

/* ---- inside --------------------------------------------------------------------------------- */

uint32_t kv_family_count(const struct kv *kv)
{
    return kv->shard_count + 2;
}

rocksdb_column_family_handle_t *kv_family_handle(const struct kv *kv, uint32_t family)
{
    if (family == KV_FAMILY_META) {
        return kv->families[0];
    }
    if (family == KV_FAMILY_DELIVER) {
        return kv->families[kv->shard_count + 1];
    }
    CHECK(family < kv->shard_count);
    return kv->families[family + 1];
}

static struct batch_row *add_row(struct kv_batch *batch, enum row_op op, struct slice key,
                                 struct slice value)
{
    CHECK(key.len > 0);
    CHECK(batch->row_count < INT32_MAX); /* RocksDB counts in int */
    struct batch_row *row = arena_alloc(&batch->arena, sizeof(*row));
    row->op = op;
    row->key = arena_dup(&batch->arena, key);
    row->value = arena_dup(&batch->arena, value);
    if (batch->last == NULL) {
        batch->first = row;
    } else {
        batch->last->next = row;
    }
    batch->last = row;
    batch->row_count++;
    batch->bytes += key.len + value.len;
    return row;
}

/* A body is not a new word, but must not leave an older one standing. */
static void overlay_row(struct kv_batch *batch, struct batch_row *row, bool is_new_word)
{
    struct batch_row *before = NULL;
    HASH_FIND(hh, batch->overlay, row->key.data, row->key.len, before);
    if (before != NULL) {
        HASH_DELETE(hh, batch->overlay, before);
    }
    if (before != NULL || is_new_word) {
        HASH_ADD_KEYPTR(hh, batch->overlay, row->key.data, row->key.len, row);
    }
}

static void set_blob_cutoff(struct kv *kv, uint32_t family, const char *cutoff)
{
    const char *const keys[] = {"blob_garbage_collection_age_cutoff"};
    const char *const values[] = {cutoff};
    char *words = NULL;
    rocksdb_set_options_cf(kv->db, kv_family_handle(kv, family), 1, keys, values, &words);
    if (words != NULL) {
        err_ignore(
            kv_rocks_failed("set options", words)); /* the compaction is worth less, no more */
    }
}

/* After a failed append RocksDB will not sync that log any more (a build with assertions aborts),
 * but batches of the same round that went in before are owed their sync. They are in the kernel's
 * hands already, and syncing a file works through any descriptor. The torn record behind them is
 * what recovery stops at. RocksDB itself goes on with a new log once there is room. */
static enum err sync_logs(const struct kv *kv)
{
    DIR *dir = opendir(kv->path);
    bool is_synced = dir != NULL;
    for (const struct dirent *entry = is_synced ? readdir(dir) : NULL; entry != NULL;
         entry = readdir(dir)) {
        if (!slice_ends(slice_str(entry->d_name), SLICE(".log"))) {
            continue;
        }
        const int log = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (log == -1) {
            is_synced &= errno == ENOENT; /* no longer needed: its rows are in tables */
            continue;
        }
        is_synced &= fdatasync(log) == 0;
        (void)close(log); /* was only read */
    }
    if (dir != NULL) {
        is_synced &= fsync(dirfd(dir)) == 0;
        (void)closedir(dir); /* was only read */
    }
    if (!is_synced) {
        LOG_ERROR("kv.failed", LOG_STR("op", "sync logs"), LOG_STR("errno", strerror(errno)),
                  LOG_STR("remedy", "look at the disk and at the kernel's log"));
        return ERR_IO;
    }
    return ERR_OK;
}
