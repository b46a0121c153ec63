/* kv_open.c - opening the store: its folder, its families, its options.
 *
 * The families of RocksDB, in the order of the handles: 0 is "default" (KV_FAMILY_META), then
 * "shard00" and on, last "deliver". RocksDB makes missing families in that order, each durably, so
 * a store that lacks "deliver" is one whose making was cut short: it is empty and may be finished.
 */
#include "kv/kv.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "kv/kv_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ceilings of one store, beside the cache and the memtables, which are the operator's. */
#define OPEN_FILES_MAX       512         /* table readers; their indexes live in the cache */
#define WAL_BYTES_MAX        (256 * MIB) /* replayed at boot, at most; some 3 s */
#define MEMTABLE_BYTES       (16 * MIB)  /* one family's, before it is written out */
#define MEMTABLE_BLOCK_BYTES (64 * KIB)  /* 34 families take this much before their first row */
#define TABLE_BYTES          (16 * MIB)
#define LEVEL_BASE_BYTES     (64 * MIB)
#define LEVEL0_FILES         8 /* before they are merged; one is some 2 MiB, bodies are elsewhere */
#define BLOCK_BYTES          (8 * KIB)
#define BLOB_FILE_BYTES      (64 * MIB)
#define MANIFEST_BYTES       (16 * MIB)
#define MANIFEST_BLOCK_BYTES (64 * KIB)
#define BACKGROUND_JOBS      4
#define FILTER_BITS_PER_KEY  10.0
#define INFO_LOG_FATAL       4 /* of RocksDB's levels */

/* Blob files older than this share of a family's are emptied by the compactions that meet them, and
 * all of them once half their bytes are dead. */
#define BLOB_AGE_CUTOFF      0.25
#define BLOB_FORCE_THRESHOLD 0.5

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
static enum err check_folder(const struct opening *opening, bool *is_present);
static enum err make_folder(const struct opening *opening);
static enum err read_folder(const struct opening *opening, struct folder_contents *contents);
static enum err count_families(struct opening *opening);
static bool parse_shard_name(struct slice name, uint32_t *shard);
static enum err open_database(struct opening *opening, struct kv *kv);
static rocksdb_options_t *make_options(const struct kv_options *options);
static void set_log_options(rocksdb_options_t *rocks);
static void set_table_options(rocksdb_options_t *rocks, const struct kv_options *options);

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
    for (uint32_t i = 0; i < kv_family_count(kv); i++) {
        rocksdb_column_family_handle_destroy(kv->families[i]);
    }
    rocksdb_close(kv->db);
    rocksdb_readoptions_destroy(kv->read);
    rocksdb_writeoptions_destroy(kv->write);
    free(kv->path);
    free(kv);
}

static enum err refuse(const struct opening *opening, const char *remedy)
{
    LOG_ERROR("kv.refused", LOG_STR("path", opening->path), LOG_STR("remedy", remedy));
    return ERR_STORAGE;
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
        return kv_rocks_failed("list families", words);
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
        return kv_rocks_failed("open", words);
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
    rocksdb_options_set_level0_file_num_compaction_trigger(rocks, LEVEL0_FILES);
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
