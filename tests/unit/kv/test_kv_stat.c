/* Not covered here: stalls of a real store, which need a disk that cannot follow; their text is
 * given. Includes the source for that. */
#include <criterion/criterion.h>

#include "kv/kv_stat.c"

#include "unit/kv/temp_store.h"

#define ROWS     2000
#define BODIES   8
#define BODY_LEN (64 * KIB)

static void fill(struct kv *kv, uint32_t family, char tag, uint32_t rows, size_t value_len)
{
    struct kv_batch *batch = kv_batch_new(family);
    char *value = mem_zalloc(value_len);
    uint32_t seed = 1;
    for (size_t i = 0; i < value_len; i++) { /* nothing that LZ4 makes small */
        seed = seed * 1664525 + 1013904223;
        value[i] = (char)(seed >> 24);
    }
    for (uint32_t i = 0; i < rows; i++) {
        char key[16];
        const int len = snprintf(key, sizeof key, "%c%08u", tag, (unsigned)i);
        kv_batch_put(batch, slice_of(key, (size_t)len), slice_of(value, value_len));
    }
    const enum err err = kv_write(kv, batch);
    CHECK(err == ERR_OK);
    kv_batch_free(batch);
    free(value);
}

static struct kv_range measure(struct kv *kv, const char *from, const char *to, uint64_t budget_us)
{
    struct kv_range range = {.from = slice_str(from), .to = slice_str(to)};
    const enum err err = kv_range_measure(kv, &range, budget_us);
    CHECK(err == ERR_OK);
    return range;
}

Test(kv_stat, tells_memtable_from_tables_and_blobs)
{
    char path[TEMP_PATH_MAX];
    struct kv_stat stat;
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    fill(kv, 1, 'M', ROWS, 100);
    fill(kv, 1, 'C', BODIES, BODY_LEN);
    kv_stat_read(kv, 1, &stat);
    cr_expect_eq(stat.rows, ROWS + BODIES);
    cr_expect_eq(stat.memtable_rows, ROWS + BODIES);
    cr_expect_gt(stat.memtable_bytes, ROWS * 100);
    cr_expect_eq(stat.table_bytes, 0);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    kv_stat_read(kv, 1, &stat);
    cr_expect_eq(stat.rows, ROWS + BODIES);
    cr_expect_eq(stat.memtable_rows, 0);
    cr_expect_gt(stat.table_bytes, 0);
    cr_expect_eq(stat.level_files[0], 1);
    cr_expect_eq(stat.blob_files, 1);
    cr_expect_geq(stat.blob_bytes, BODIES * BODY_LEN);
    cr_expect_eq(stat.blob_garbage_bytes, 0);
    cr_expect_eq(stat.slowdowns + stat.stops, 0);
    kv_stat_read(kv, 0, &stat);
    cr_expect_eq(stat.rows, 0, "another family is another");
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv_stat, knows_the_rows_of_tables_also_after_an_opening)
{
    char path[TEMP_PATH_MAX];
    struct kv_stat stat;
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    fill(kv, 0, 'M', ROWS, 100);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    fill(kv, 0, 'V', 5, 100);
    kv_close(kv);
    for (int is_read_only = 0; is_read_only <= 1; is_read_only++) {
        struct kv_options options = temp_options(path, 1);
        options.is_read_only = is_read_only == 1;
        cr_assert_eq(kv_open(&options, &kv), ERR_OK);
        kv_stat_read(kv, 0, &stat);
        kv_stat_count(kv, 0, &stat);
        cr_expect_eq(stat.rows, ROWS + 5, "read only %d: %lu", is_read_only,
                     (unsigned long)stat.rows);
        kv_close(kv);
    }
    temp_folder_drop(path);
}

Test(kv_stat, counts_the_garbage_of_deleted_bodies)
{
    char path[TEMP_PATH_MAX];
    struct kv_stat stat;
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    fill(kv, 0, 'C', BODIES, BODY_LEN);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    struct kv_batch *batch = kv_batch_new(0);
    kv_batch_delete(batch, SLICE("C00000003"));
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    kv_batch_free(batch);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    rocksdb_compact_range_cf(kv->db, kv_family_handle(kv, 0), NULL, 0, NULL, 0);
    kv_stat_read(kv, 0, &stat);
    cr_expect_geq(stat.blob_garbage_bytes, BODY_LEN);
    cr_expect_lt(stat.blob_garbage_bytes, 2 * BODY_LEN);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv_stat, knows_the_logs_and_the_cache_of_the_store)
{
    char path[TEMP_PATH_MAX];
    struct kv_stat_store stat;
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    fill(kv, 1, 'M', ROWS, 100);
    kv_stat_read_store(kv, &stat);
    cr_expect_gt(stat.log_bytes, ROWS * 100);
    cr_expect_eq(stat.cache_capacity, 4 * MIB);
    cr_expect_gt(stat.free_bytes, 0);
    cr_expect_eq(stat.background_errors, 0);
    cr_expect_not(stat.is_write_stopped);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv_stat, reads_stalls_out_of_rocksdb_s_words)
{
    struct kv_stat stat = {.rows = 0};
    add_stalls(SLICE("2 level0_slowdown, 1 level0_slowdown_with_compaction, 3 level0_numfiles, "
                     "3 level0_numfiles_with_compaction, 5 stop for pending_compaction_bytes, "
                     "7 slowdown for pending_compaction_bytes, 11 memtable_compaction, "
                     "13 memtable_slowdown, interval 45 total count"),
               &stat);
    cr_expect_eq(stat.slowdowns, 2 + 7 + 13);
    cr_expect_eq(stat.stops, 3 + 5 + 11);
    stat = (struct kv_stat){.rows = 0};
    add_stalls(SLICE(",, 9, x level0_slowdown,99999999999999999999 memtable_slowdown,"), &stat);
    cr_expect_eq(stat.slowdowns, 0);
}

Test(kv_stat, finds_the_line_of_stalls_in_this_rocksdb)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    char *text = rocksdb_property_value_cf(kv->db, kv_family_handle(kv, 0),
                                           "rocksdb.cfstats-no-file-histogram");
    cr_assert_neq(text, NULL);
    cr_expect_neq(slice_find(slice_str(text), STALL_LINE), SIZE_MAX, "%s", text);
    rocksdb_free(text);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv_stat, measures_a_range_exactly_when_there_is_time)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    fill(kv, 0, 'M', ROWS, 100);
    fill(kv, 0, 'V', 3, 100);
    const struct kv_range mails = measure(kv, "M", "N", 60 * 1000 * 1000);
    cr_expect(mails.is_exact);
    cr_expect_eq(mails.rows, ROWS);
    const struct kv_range none = measure(kv, "E", "F", 60 * 1000 * 1000);
    cr_expect(none.is_exact);
    cr_expect_eq(none.rows, 0);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv_stat, estimates_a_range_when_there_is_no_time)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    fill(kv, 0, 'M', 20 * ROWS, 1000);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    const struct kv_range range = measure(kv, "M", "N", 0);
    cr_expect_not(range.is_exact);
    cr_expect_gt(range.rows, 5 * ROWS, "%lu", (unsigned long)range.rows);
    cr_expect_lt(range.rows, 80 * ROWS, "%lu", (unsigned long)range.rows);
    cr_expect_gt(range.bytes, 20 * ROWS * 100);
    const struct kv_range some = measure(kv, "M", "N", 2000);
    cr_expect_gt(some.rows, 5 * ROWS, "%lu", (unsigned long)some.rows);
    cr_expect_lt(some.rows, 80 * ROWS, "%lu", (unsigned long)some.rows);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv_stat, names_families_as_the_store_does)
{
    char out[16];
    cr_expect_str_eq(kv_family_name(0, out), "shard00");
    cr_expect_str_eq(kv_family_name(31, out), "shard31");
    cr_expect_str_eq(kv_family_name(KV_FAMILY_DELIVER, out), "deliver");
    cr_expect_str_eq(kv_family_name(KV_FAMILY_META, out), "meta");
}
