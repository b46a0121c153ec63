/* kv.c - the store over RocksDB's C interface.
 *
 * The families of RocksDB, in the order of the handles: 0 is "default" (KV_FAMILY_META), then
 * "shard00" and on, last "deliver". RocksDB makes missing families in that order, each durably, so
 * a store that lacks "deliver" is one whose making was cut short: it is empty and may be finished.
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

#include <rocksdb/c.h>

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

#define FAMILY_COUNT_MAX (SHARD_COUNT_MAX + 2)
#define FAMILY_NAME_MAX  16
#define META_NAME        "default"
#define DELIVER_NAME     "deliver"

/* Ceilings of one store, beside the cache and the memtables, which are the operator's. */
#define OPEN_FILES_MAX       512         /* table readers; their indexes live in the cache */
#define WAL_BYTES_MAX        (256 * MIB) /* replayed at boot, at most; some 3 s */
#define MEMTABLE_BYTES       (16 * MIB)  /* one family's, before it is written out */
#define MEMTABLE_BLOCK_BYTES (64 * KIB)  /* 34 families take this much before their first row */
#define TABLE_BYTES          (16 * MIB)
#define LEVEL_BASE_BYTES     (64 * MIB)
#define BLOCK_BYTES          (8 * KIB)
#define BLOB_FILE_BYTES      (64 * MIB)
#define MANIFEST_BYTES       (16 * MIB)
#define MANIFEST_BLOCK_BYTES (64 * KIB)
#define BACKGROUND_JOBS      4
#define FILTER_BITS_PER_KEY  10.0
#define INFO_LOG_FATAL       4 /* of RocksDB's levels */
#define COMPACT_FORCE        2 /* BottommostLevelCompaction::kForce */

/* Blob files older than this share of a family's are emptied by the compactions that meet them, and
 * all of them once half their bytes are dead. */
#define BLOB_AGE_CUTOFF      0.25
#define BLOB_AGE_CUTOFF_TEXT "0.25"
#define BLOB_FORCE_THRESHOLD 0.5

#define BATCH_CHUNK_BYTES (32 * KIB) /* kept by a cleared batch */
#define BATCH_ARENA_BYTES (2 * MSG_ARENA_MAX)
_Static_assert(BATCH_ARENA_BYTES > BATCH_BYTES_MAX + MSG_ARENA_MAX,
               "a full batch has room for one more mail");

struct kv {
    rocksdb_t *db;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_column_family_handle_t *families[FAMILY_COUNT_MAX];
    char *path;
    uint32_t shard_count;
    bool is_read_only;
    bool is_log_torn; /* the writer's: the last kv_write failed, perhaps within the log */
};

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
    bool is_at_end;
    enum err err;
};

/* What kv_open found out before it hands over to RocksDB. */
struct opening {
    const struct kv_options *options;
    const char *path;
    uint32_t shard_count;
    bool is_present;
    char names[FAMILY_COUNT_MAX][FAMILY_NAME_MAX];
};

/* What a folder holds, by the names in it. */
struct folder_contents {
    bool has_current; /* RocksDB's pointer to its manifest: there is a store */
    bool has_rows;
};

static enum err refuse(const struct opening *opening, const char *remedy);
static enum err rocks_failed(const char *op, char *words);
static enum err check_folder(const struct opening *opening, bool *is_present);
static enum err make_folder(const struct opening *opening);
static enum err read_folder(const struct opening *opening, struct folder_contents *contents);
static enum err count_families(struct opening *opening);
static bool parse_shard_name(struct slice name, uint32_t *shard);
static enum err open_database(struct opening *opening, struct kv *kv);
static rocksdb_options_t *make_options(const struct kv_options *options);
static void set_log_options(rocksdb_options_t *rocks);
static void set_table_options(rocksdb_options_t *rocks, const struct kv_options *options);
static uint32_t family_count(const struct kv *kv);
static rocksdb_column_family_handle_t *family_handle(const struct kv *kv, uint32_t family);
static struct batch_row *add_row(struct kv_batch *batch, enum row_op op, struct slice key,
                                 struct slice value);
static void overlay_row(struct kv_batch *batch, struct batch_row *row, bool is_new_word);
static void set_blob_cutoff(struct kv *kv, uint32_t family, const char *cutoff);
static enum err sync_logs(const struct kv *kv);

/* ---- opening -------------------------------------------------------------------------------- */

enum err kv_open(const struct kv_options *options, struct kv **kv)
{
    CHECK(options->path.len > 0);
    CHECK(!slice_has_byte(options->path, '\0'));
    struct kv *made = mem_zalloc(sizeof(*made));
    made->path = mem_zalloc(options->path.len + 1);
    memcpy(made->path, options->path.data, options->path.len);
    made->is_read_only = options->is_read_only;

    struct opening opening = {.options = options, .path = made->path};
    enum err err = check_folder(&opening, &opening.is_present);
    if (err == ERR_OK) {
        err = count_families(&opening);
    }
    if (err == ERR_OK) {
        err = open_database(&opening, made);
    }
    if (err != ERR_OK) {
        free(made->path);
        free(made);
        return err == ERR_CORRUPT ? ERR_CORRUPT : ERR_STORAGE;
    }
    made->shard_count = opening.shard_count;
    made->read = rocksdb_readoptions_create();
    made->write = rocksdb_writeoptions_create(); /* no sync: that is kv_sync's */
    LOG_INFO("kv.opened", LOG_STR("path", made->path), LOG_U64("shards", made->shard_count),
             LOG_BOOL("is_new", !opening.is_present));
    *kv = made;
    return ERR_OK;
}

void kv_close(struct kv *kv)
{
    if (kv == NULL) {
        return;
    }
    for (uint32_t i = 0; i < family_count(kv); i++) {
        rocksdb_column_family_handle_destroy(kv->families[i]);
    }
    rocksdb_close(kv->db);
    rocksdb_readoptions_destroy(kv->read);
    rocksdb_writeoptions_destroy(kv->write);
    free(kv->path);
    free(kv);
}

uint32_t kv_shard_count(const struct kv *kv)
{
    CHECK(kv->shard_count >= 1 && kv->shard_count <= SHARD_COUNT_MAX);
    return kv->shard_count;
}

enum err kv_get(struct kv *kv, uint32_t family, struct slice key, struct arena *arena,
                struct slice *value)
{
    CHECK(key.len > 0);
    char *words = NULL;
    rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned_cf(
        kv->db, kv->read, family_handle(kv, family), key.data, key.len, &words);
    if (words != NULL) {
        CHECK(pinned == NULL);
        return rocks_failed("get", words);
    }
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
    CHECK(!kv->is_read_only);
    rocksdb_column_family_handle_t *family = family_handle(kv, batch->family);
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
        err_ignore(rocks_failed("write", words)); /* logged; to a writer all refusals are one */
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
    return words == NULL ? ERR_OK : rocks_failed("sync", words);
}

/* ---- scans ---------------------------------------------------------------------------------- */

struct kv_iter *kv_iter_open(struct kv *kv, uint32_t family, struct slice from, struct slice to,
                             bool is_reverse)
{
    rocksdb_column_family_handle_t *handle = family_handle(kv, family);
    struct kv_iter *iter = mem_zalloc(sizeof(*iter) + from.len + to.len);
    char *bounds = (char *)(iter + 1);
    iter->from = slice_of(bounds, from.len);
    iter->to = slice_of(bounds + from.len, to.len);
    iter->is_reverse = is_reverse;
    iter->err = ERR_OK;
    iter->read = rocksdb_readoptions_create();
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
    if (iter->is_started) {
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
            iter->err = rocks_failed("scan", words);
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
    char *text = rocksdb_property_value_cf(kv->db, family_handle(kv, family), name);
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
    rocksdb_compact_range_cf_opt(kv->db, family_handle(kv, family), compact, NULL, 0, NULL, 0);
    set_blob_cutoff(kv, family, BLOB_AGE_CUTOFF_TEXT);
    rocksdb_compactoptions_destroy(compact);
}

enum err kv_flush(struct kv *kv)
{
    CHECK(!kv->is_read_only);
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create(); /* waits */
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < family_count(kv) && err == ERR_OK; i++) {
        char *words = NULL;
        rocksdb_flush_cf(kv->db, flush, kv->families[i], &words);
        err = words == NULL ? ERR_OK : rocks_failed("flush", words);
    }
    rocksdb_flushoptions_destroy(flush);
    return err;
}

/* ---- errors --------------------------------------------------------------------------------- */

static enum err refuse(const struct opening *opening, const char *remedy)
{
    LOG_ERROR("kv.refused", LOG_STR("path", opening->path), LOG_STR("remedy", remedy));
    return ERR_STORAGE;
}

/* RocksDB's C interface gives its errors as prose only; the words below are those of
 * Status::ToString and strerror. Order matters: the first that occurs decides. */
static enum err rocks_failed(const char *op, char *words)
{
    static const struct {
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
    const struct slice text = slice_str(words);
    size_t i = 0;
    while (slice_find(text, slice_str(known[i].word)) == SIZE_MAX) {
        i++;
    }
    CHECK(i < ARRAY_LEN(known));
    LOG_ERROR("kv.failed", LOG_STR("op", op), LOG_TEXT("rocksdb", text),
              LOG_STR("remedy", known[i].remedy));
    rocksdb_free(words);
    return known[i].err;
}

/* ---- the folder ----------------------------------------------------------------------------- */

static enum err check_folder(const struct opening *opening, bool *is_present)
{
    const bool must_exist = opening->options->must_exist || opening->options->is_read_only;
    struct stat stat_of;
    if (stat(opening->path, &stat_of) == -1) {
        if (errno != ENOENT) {
            return refuse(opening, "the folder cannot be looked at: check the rights of its "
                                   "parents");
        }
        *is_present = false;
        return must_exist ? refuse(opening, "there is no such folder: check the path")
                          : make_folder(opening);
    }
    if (!S_ISDIR(stat_of.st_mode)) {
        return refuse(opening, "this is not a folder: move it away or choose another path");
    }
    /* Files made by another user, root above all, would lock the daemon out at its next start. */
    if (!opening->options->is_read_only && stat_of.st_uid != geteuid()) {
        return refuse(opening, "the folder belongs to another user: run as that user, or chown "
                               "it with all files in it");
    }
    const int rights = opening->options->is_read_only ? R_OK | X_OK : R_OK | W_OK | X_OK;
    if (faccessat(AT_FDCWD, opening->path, rights, AT_EACCESS) == -1) {
        return refuse(opening, "this user may not use the folder: chmod it to 0700");
    }
    if ((stat_of.st_mode & S_IRWXO) != 0) {
        LOG_WARN("kv.open_to_others", LOG_STR("path", opening->path),
                 LOG_STR("remedy", "mail is stored here: chmod it to 0700"));
    }
    struct folder_contents contents = {0};
    const enum err err = read_folder(opening, &contents);
    if (err != ERR_OK) {
        return err;
    }
    *is_present = contents.has_current;
    if (contents.has_current) {
        return ERR_OK;
    }
    if (contents.has_rows) { /* RocksDB would make a new store over the old one's files */
        (void)refuse(opening, "the store has lost its CURRENT file: restore it from a backup");
        return ERR_CORRUPT;
    }
    return must_exist ? refuse(opening, "there is no store in the folder: check the path") : ERR_OK;
}

/* The parent is synced too: a folder that vanishes with the power takes accepted mail with it. */
static enum err make_folder(const struct opening *opening)
{
    if (mkdir(opening->path, S_IRWXU) == -1) {
        return refuse(opening, errno == ENOENT ? "the parent folder is missing: make it first"
                                               : "the folder cannot be made: check the rights of "
                                                 "its parent");
    }
    const int folder = open(opening->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder == -1) {
        return refuse(opening, "the folder cannot be opened");
    }
    const int parent = openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)close(folder); /* was only read */
    if (parent == -1) {
        return refuse(opening, "the parent folder must be readable, to be synced");
    }
    const bool is_synced = fsync(parent) == 0;
    (void)close(parent); /* was only read */
    return is_synced ? ERR_OK : refuse(opening, "the parent folder cannot be synced");
}

static enum err read_folder(const struct opening *opening, struct folder_contents *contents)
{
    DIR *dir = opendir(opening->path);
    if (dir == NULL) {
        return refuse(opening, "the folder cannot be read");
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const struct slice name = slice_str(entry->d_name);
        contents->has_current |= slice_equal(name, SLICE("CURRENT"));
        contents->has_rows |= slice_ends(name, SLICE(".sst")) || slice_ends(name, SLICE(".blob")) ||
                              slice_ends(name, SLICE(".log"));
    }
    (void)closedir(dir); /* was only read */
    return ERR_OK;
}

/* ---- families ------------------------------------------------------------------------------- */

static enum err count_families(struct opening *opening)
{
    opening->shard_count = opening->options->shard_count;
    if (!opening->is_present) {
        CHECK(opening->shard_count >= 1 && opening->shard_count <= SHARD_COUNT_MAX);
        return ERR_OK;
    }
    char *words = NULL;
    size_t count = 0;
    rocksdb_options_t *rocks = rocksdb_options_create();
    char **names = rocksdb_list_column_families(rocks, opening->path, &count, &words);
    rocksdb_options_destroy(rocks);
    if (words != NULL) {
        rocksdb_list_column_families_destroy(names, count); /* an array of none */
        return rocks_failed("list families", words);
    }
    uint64_t seen = 0;
    bool has_deliver = false;
    bool is_foreign = false;
    for (size_t i = 0; i < count; i++) {
        const struct slice name = slice_str(names[i]);
        uint32_t shard = 0;
        if (parse_shard_name(name, &shard)) {
            seen |= UINT64_C(1) << shard;
        } else if (slice_equal(name, SLICE(DELIVER_NAME))) {
            has_deliver = true;
        } else if (!slice_equal(name, SLICE(META_NAME))) {
            is_foreign = true;
        }
    }
    rocksdb_list_column_families_destroy(names, count);
    if (is_foreign || (seen & (seen + 1)) != 0 || (has_deliver && seen == 0)) {
        return refuse(opening, "this is not a store of this program: check the path");
    }
    const uint32_t found = (uint32_t)__builtin_popcountll(seen);
    if (has_deliver) {
        opening->shard_count = found;
    } else if (opening->options->must_exist || opening->options->is_read_only) {
        return refuse(opening, "the store was never finished: start the daemon once");
    } else if (found > opening->shard_count) { /* cut short under another configuration */
        opening->shard_count = found;
    }
    CHECK(opening->shard_count >= 1 && opening->shard_count <= SHARD_COUNT_MAX);
    return ERR_OK;
}

static bool parse_shard_name(struct slice name, uint32_t *shard)
{
    uint64_t number = 0;
    if (!slice_starts(name, SLICE("shard")) || name.len != 7 ||
        slice_uint(slice_from(name, 5), SHARD_COUNT_MAX - 1, &number) != ERR_OK) {
        return false;
    }
    *shard = (uint32_t)number;
    return true;
}

static enum err open_database(struct opening *opening, struct kv *kv)
{
    const uint32_t count = opening->shard_count + 2;
    const char *names[FAMILY_COUNT_MAX] = {META_NAME};
    for (uint32_t i = 0; i < opening->shard_count; i++) {
        (void)snprintf(opening->names[i], FAMILY_NAME_MAX, "shard%02" PRIu32, i); /* fits */
        names[i + 1] = opening->names[i];
    }
    names[count - 1] = DELIVER_NAME;
    rocksdb_options_t *rocks = make_options(opening->options);
    const rocksdb_options_t *family_options[FAMILY_COUNT_MAX];
    for (uint32_t i = 0; i < count; i++) {
        family_options[i] = rocks;
    }
    char *words = NULL;
    if (opening->options->is_read_only) {
        kv->db = rocksdb_open_for_read_only_column_families(
            rocks, opening->path, (int)count, names, family_options, kv->families, 0, &words);
    } else {
        kv->db = rocksdb_open_column_families(rocks, opening->path, (int)count, names,
                                              family_options, kv->families, &words);
    }
    rocksdb_options_destroy(rocks);
    if (words != NULL) {
        return rocks_failed("open", words);
    }
    CHECK(kv->db != NULL);
    return ERR_OK;
}

/* ---- options -------------------------------------------------------------------------------- */

static rocksdb_options_t *make_options(const struct kv_options *options)
{
    rocksdb_options_t *rocks = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(rocks, !options->is_read_only);
    rocksdb_options_set_create_missing_column_families(rocks, !options->is_read_only);
    set_log_options(rocks);
    set_table_options(rocks, options);

    /* One budget for all families; the fullest is written out when it is used up. Small arena
     * blocks, because an idle family should cost kilobytes. */
    rocksdb_options_set_db_write_buffer_size(rocks, options->memtable_bytes);
    rocksdb_options_set_write_buffer_size(
        rocks, min_u64(MEMTABLE_BYTES, max_u64(options->memtable_bytes / 2, MIB)));
    rocksdb_options_set_arena_block_size(rocks, MEMTABLE_BLOCK_BYTES);
    rocksdb_options_set_max_open_files(rocks, OPEN_FILES_MAX);
    rocksdb_options_set_max_background_jobs(rocks, BACKGROUND_JOBS);
    rocksdb_options_set_allow_mmap_reads(rocks, 0);
    rocksdb_options_set_allow_mmap_writes(rocks, 0);

    /* Trees hold rows of a few hundred bytes; bodies are in blob files. LZ4 costs less than the
     * reading it saves; the last level, which is most of the data and cold, takes zstd. */
    rocksdb_options_set_level_compaction_dynamic_level_bytes(rocks, 1);
    rocksdb_options_set_target_file_size_base(rocks, TABLE_BYTES);
    rocksdb_options_set_max_bytes_for_level_base(rocks, LEVEL_BASE_BYTES);
    rocksdb_options_set_compression(rocks, rocksdb_lz4_compression);
    rocksdb_options_set_bottommost_compression(rocks, rocksdb_zstd_compression);
    rocksdb_options_set_bytes_per_sync(rocks, MIB); /* no bursts beside the log's syncs */

    rocksdb_options_set_enable_blob_files(rocks, 1);
    rocksdb_options_set_min_blob_size(rocks, KV_BLOB_MIN);
    rocksdb_options_set_blob_file_size(rocks, BLOB_FILE_BYTES);
    rocksdb_options_set_blob_compression_type(rocks, rocksdb_lz4_compression);
    rocksdb_options_set_enable_blob_gc(rocks, 1);
    rocksdb_options_set_blob_gc_age_cutoff(rocks, BLOB_AGE_CUTOFF);
    rocksdb_options_set_blob_gc_force_threshold(rocks, BLOB_FORCE_THRESHOLD);

    /* The info log is kept silent after its header. Its writer aborts the process on the second
     * line that finds the disk full, where RocksDB was built with assertions (Debian's is), and C
     * has no way to bring a logger of our own. What it would say reaches us as words of errors. */
    rocksdb_options_set_info_log_level(rocks, INFO_LOG_FATAL);
    rocksdb_options_set_keep_log_file_num(rocks, 1);
    rocksdb_options_set_stats_dump_period_sec(rocks, 0);
    rocksdb_options_set_stats_persist_period_sec(rocks, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(rocks, 1);
    rocksdb_options_set_max_manifest_file_size(rocks, MANIFEST_BYTES);
    rocksdb_options_set_manifest_preallocation_size(rocks, MANIFEST_BLOCK_BYTES);
    return rocks;
}

/* The write-ahead log.
 *
 * Recovery is point-in-time: replay stops at the first record that is not whole. After a loss of
 * power the log ends in whatever pages the disk happened to write, torn, zero or out of order;
 * those bytes were written after the last kv_sync that returned, so nobody was promised them, and
 * the store must open by itself. Tolerating only a short last record would refuse such a tail, and
 * skipping bad records would show later rows without earlier ones. The price: damage in the synced
 * part of the log also ends the replay. Rows lost that way and already seen by a table file are
 * noticed (RocksDB then refuses with "SST file is ahead of WALs").
 *
 * kv_write hands the log to the kernel at once instead of keeping it for kv_sync
 * (manual_wal_flush). Both were measured: eight batches and one sync a round take 0.32 ms here and
 * 0.31 ms there, so the write calls vanish beside the sync. But a full disk is then told by
 * kv_write, which refuses one batch, and not by kv_sync, which ends the process.
 *
 * Log files are not recycled: RocksDB 7.8 turns recycling off under this recovery mode, because old
 * records behind the tail cannot be told from new ones. */
static void set_log_options(rocksdb_options_t *rocks)
{
    rocksdb_options_set_wal_recovery_mode(rocks, rocksdb_point_in_time_recovery);
    rocksdb_options_set_manual_wal_flush(rocks, 0);
    rocksdb_options_set_recycle_log_file_num(rocks, 0);
    /* A quiet family's rows keep old logs alive; past this it is written out. */
    rocksdb_options_set_max_total_wal_size(rocks, WAL_BYTES_MAX);
}

/* Indexes and filters are charged to the cache, so that its size is the ceiling of all reading.
 * Blobs stay out of it: a body is read once or twice, and 256 KiB of it would push out a hundred
 * filters. */
static void set_table_options(rocksdb_options_t *rocks, const struct kv_options *options)
{
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(options->cache_bytes);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_block_size(table, BLOCK_BYTES);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS_PER_KEY)); /* owned by table */
    /* In parts: the filter of a large table is larger than what one shard of the cache holds, and
     * would be read anew for every row that is not there. */
    rocksdb_block_based_options_set_index_type(
        table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, 1);
    rocksdb_options_set_block_based_table_factory(rocks, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_cache_destroy(cache); /* the options hold it now */
}

/* ---- inside --------------------------------------------------------------------------------- */

static uint32_t family_count(const struct kv *kv)
{
    return kv->shard_count + 2;
}

static rocksdb_column_family_handle_t *family_handle(const struct kv *kv, uint32_t family)
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
    rocksdb_set_options_cf(kv->db, family_handle(kv, family), 1, keys, values, &words);
    if (words != NULL) {
        err_ignore(rocks_failed("set options", words)); /* the compaction is worth less, no more */
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
