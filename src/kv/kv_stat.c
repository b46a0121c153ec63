/* kv_stat.c - RocksDB's properties, by name.
 *
 * A property that a version of RocksDB does not have reads as 0. Stalls are only told in a text
 * made for people; its line
 *
 *     Stalls(count): 0 level0_slowdown, 0 level0_slowdown_with_compaction, ..., interval 0 total
 *
 * is read here. Counts "with compaction" are in those without, too, and the interval is since the
 * last reading, so both are left out.
 */
#include "kv/kv_stat.h"

#include "base/check.h"
#include "base/clock.h"
#include "kv/kv_int.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STALL_LINE   SLICE("Stalls(count): ")
#define ROWS_A_CLOCK 16  /* counted between two looks at the clock */
#define ROWS_LEAST   512 /* counted whatever the clock says, for fewer tell nothing of the others */
#define BLOB_ROW     64  /* bytes that a row whose value is in a blob takes in its table */

static uint64_t number(const struct kv *kv, uint32_t family, const char *name)
{
    uint64_t value = 0;
    if (rocksdb_property_int_cf(kv->db, kv_family_handle(kv, family), name, &value) != 0) {
        value = 0;
    }
    return value;
}

static uint64_t level_files(const struct kv *kv, uint32_t family, uint32_t level)
{
    char name[64];
    uint64_t files = 0;
    (void)snprintf(name, sizeof name, "rocksdb.num-files-at-level%" PRIu32, level); /* fits */
    char *text = rocksdb_property_value_cf(kv->db, kv_family_handle(kv, family), name);
    if (text == NULL || slice_uint(slice_str(text), UINT64_MAX, &files) != ERR_OK) {
        files = 0;
    }
    rocksdb_free(text);
    return files;
}

/* ---- rows of tables ------------------------------------------------------------------------- */

/* "...; # entries=1234; ..." of a text made for people; 0 when it is not there. */
static uint64_t number_in(struct slice text, struct slice name)
{
    uint64_t value = 0;
    const size_t at = slice_find(text, name);
    if (at != SIZE_MAX) {
        struct slice rest = slice_from(text, at + name.len);
        if (slice_uint(slice_cut(&rest, ';'), UINT64_MAX, &value) != ERR_OK) {
            value = 0;
        }
    }
    return value;
}

void kv_stat_count(struct kv *kv, uint32_t family, struct kv_stat *stat)
{
    char *text = rocksdb_property_value_cf(kv->db, kv_family_handle(kv, family),
                                           "rocksdb.aggregated-table-properties");
    if (text == NULL) {
        return;
    }
    const uint64_t entries = number_in(slice_str(text), SLICE("# entries=")) +
                             number(kv, family, "rocksdb.num-entries-active-mem-table") +
                             number(kv, family, "rocksdb.num-entries-imm-mem-tables");
    const uint64_t deletions = number_in(slice_str(text), SLICE("# deletions=")) +
                               number(kv, family, "rocksdb.num-deletes-active-mem-table") +
                               number(kv, family, "rocksdb.num-deletes-imm-mem-tables");
    rocksdb_free(text);
    stat->rows = entries > 2 * deletions ? entries - 2 * deletions : 0; /* each hides another */
}

/* ---- stalls --------------------------------------------------------------------------------- */

/* line: "0 level0_slowdown, 3 stop for pending_compaction_bytes, ..., interval 0 total count" */
static void add_stalls(struct slice line, struct kv_stat *stat)
{
    while (line.len > 0) {
        struct slice name = slice_trim(slice_cut(&line, ','));
        uint64_t count = 0;
        const bool is_count = slice_uint(slice_cut(&name, ' '), UINT64_MAX, &count) == ERR_OK;
        if (!is_count || slice_ends(name, SLICE("_with_compaction"))) {
            continue;
        }
        if (slice_find(name, SLICE("slowdown")) != SIZE_MAX) {
            stat->slowdowns += count;
        } else {
            stat->stops += count;
        }
    }
}

static void read_stalls(const struct kv *kv, uint32_t family, struct kv_stat *stat)
{
    char *text = rocksdb_property_value_cf(kv->db, kv_family_handle(kv, family),
                                           "rocksdb.cfstats-no-file-histogram");
    if (text == NULL) {
        return;
    }
    struct slice rest = slice_str(text);
    const size_t at = slice_find(rest, STALL_LINE);
    if (at != SIZE_MAX) {
        rest = slice_from(rest, at + STALL_LINE.len);
        add_stalls(slice_cut(&rest, '\n'), stat);
    }
    rocksdb_free(text);
}

void kv_stat_read(struct kv *kv, uint32_t family, struct kv_stat *stat)
{
    *stat = (struct kv_stat){
        .rows = number(kv, family, "rocksdb.estimate-num-keys"),
        .table_bytes = number(kv, family, "rocksdb.live-sst-files-size"),
        .memtable_bytes = number(kv, family, "rocksdb.cur-size-all-mem-tables"),
        .memtable_rows = number(kv, family, "rocksdb.num-entries-active-mem-table"),
        .memtables_waiting = number(kv, family, "rocksdb.num-immutable-mem-table"),
        .blob_files = number(kv, family, "rocksdb.num-blob-files"),
        .blob_bytes = number(kv, family, "rocksdb.live-blob-file-size"),
        .blob_garbage_bytes = number(kv, family, "rocksdb.live-blob-file-garbage-size"),
        .pending_bytes = number(kv, family, "rocksdb.estimate-pending-compaction-bytes"),
        .is_flush_pending = number(kv, family, "rocksdb.mem-table-flush-pending") != 0,
        .is_compaction_pending = number(kv, family, "rocksdb.compaction-pending") != 0,
    };
    for (uint32_t level = 0; level < KV_LEVELS; level++) {
        stat->level_files[level] = level_files(kv, family, level);
    }
    read_stalls(kv, family, stat);
}

/* The logs by their files: RocksDB has no property for it. */
static uint64_t log_bytes(const struct kv *kv)
{
    uint64_t bytes = 0;
    DIR *dir = opendir(kv->path);
    for (const struct dirent *entry = dir != NULL ? readdir(dir) : NULL; entry != NULL;
         entry = readdir(dir)) {
        struct stat info;
        if (slice_ends(slice_str(entry->d_name), SLICE(".log")) &&
            fstatat(dirfd(dir), entry->d_name, &info, 0) == 0) {
            bytes += (uint64_t)info.st_size;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* was only read */
    }
    return bytes;
}

void kv_stat_read_store(struct kv *kv, struct kv_stat_store *stat)
{
    *stat = (struct kv_stat_store){
        .running_flushes = number(kv, KV_FAMILY_META, "rocksdb.num-running-flushes"),
        .running_compactions = number(kv, KV_FAMILY_META, "rocksdb.num-running-compactions"),
        .delayed_bytes_per_s = number(kv, KV_FAMILY_META, "rocksdb.actual-delayed-write-rate"),
        .background_errors = number(kv, KV_FAMILY_META, "rocksdb.background-errors"),
        .cache_bytes = number(kv, KV_FAMILY_META, "rocksdb.block-cache-usage"),
        .cache_capacity = number(kv, KV_FAMILY_META, "rocksdb.block-cache-capacity"),
        .log_bytes = log_bytes(kv),
        .free_bytes = kv_free_bytes(kv),
        .is_write_stopped = number(kv, KV_FAMILY_META, "rocksdb.is-write-stopped") != 0,
    };
}

const char *kv_family_name(uint32_t family, char out[16])
{
    if (family == KV_FAMILY_META) {
        return "meta";
    }
    if (family == KV_FAMILY_DELIVER) {
        return DELIVER_NAME;
    }
    CHECK(family < SHARD_COUNT_MAX);
    (void)snprintf(out, 16, "shard%02" PRIu32, family); /* fits */
    return out;
}

/* ---- ranges --------------------------------------------------------------------------------- */

static uint64_t table_bytes(const struct kv *kv, uint32_t family, struct slice from,
                            struct slice to)
{
    uint64_t bytes = 0;
    char *words = NULL;
    rocksdb_approximate_sizes_cf(kv->db, kv_family_handle(kv, family), 1, &from.data, &from.len,
                                 &to.data, &to.len, &bytes, &words);
    if (words != NULL) {
        err_ignore(kv_rocks_failed("approximate sizes", words)); /* then there is no estimate */
        bytes = 0;
    }
    return bytes;
}

/* The rows counted, which are so many bytes, lie before `at`. With too little passed to tell by
 * tables, they are taken to be packed to the half. */
static uint64_t estimate(const struct kv *kv, const struct kv_range *range, struct slice at,
                         uint64_t counted, uint64_t bytes)
{
    uint64_t passed = table_bytes(kv, range->family, range->from, at);
    passed = passed > 0 ? passed : max_u64(bytes / 2, 1);
    if (range->bytes <= passed) {
        return counted;
    }
    return (uint64_t)((double)counted * ((double)range->bytes / (double)passed));
}

enum err kv_range_measure(struct kv *kv, struct kv_range *range, uint64_t budget_us)
{
    CHECK(range->from.len > 0 && range->to.len > 0);
    const uint64_t until_us = clock_mono_us() + budget_us;
    struct kv_iter *iter = kv_iter_open(kv, range->family, range->from, range->to, false);
    struct slice key;
    struct slice value;
    uint64_t counted = 0;
    uint64_t bytes = 0;
    bool is_over = false;
    range->bytes = table_bytes(kv, range->family, range->from, range->to);
    while (!is_over && kv_iter_next(iter, &key, &value)) {
        const bool is_blob = value.len >= KV_BLOB_MIN;
        counted++;
        bytes += key.len + (is_blob ? BLOB_ROW : value.len);
        is_over = is_blob || (counted >= ROWS_LEAST && counted % ROWS_A_CLOCK == 0);
        is_over = is_over && clock_mono_us() >= until_us;
    }
    range->is_exact = !is_over;
    range->rows = is_over ? estimate(kv, range, key, counted, bytes) : counted;
    const enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err;
}
