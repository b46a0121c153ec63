/* Not covered here: who calls kv_write and when (tests/unit/shards), keys and rows (test_key.c,
 * test_row.c), the format stamp (test_migrate.c), and a real loss of power: a killed process and a
 * damaged end of the log stand in for it. */
#include <criterion/criterion.h>

#include "base/log.h"
#include "unit/kv/temp_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define FULL_FAMILIES 32

static struct slice text_of(char *out, size_t size, const char *prefix, uint64_t number)
{
    const int len = snprintf(out, size, "%s%08" PRIu64, prefix, number);
    CHECK(len > 0 && (size_t)len < size);
    return slice_of(out, (size_t)len);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

Test(kv, keeps_rows_over_a_close)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    cr_assert_eq(temp_put(kv, 0, SLICE("k"), SLICE("shard 0")), ERR_OK);
    cr_assert_eq(temp_put(kv, 1, SLICE("k"), SLICE("shard 1")), ERR_OK);
    cr_assert_eq(temp_put(kv, KV_FAMILY_DELIVER, SLICE("k"), SLICE("deliver")), ERR_OK);
    cr_assert_eq(temp_put(kv, KV_FAMILY_META, SLICE("k"), SLICE("meta")), ERR_OK);
    kv_close(kv);

    kv = temp_open(path, 2);
    cr_assert(temp_has(kv, 0, SLICE("k"), SLICE("shard 0")));
    cr_assert(temp_has(kv, 1, SLICE("k"), SLICE("shard 1")));
    cr_assert(temp_has(kv, KV_FAMILY_DELIVER, SLICE("k"), SLICE("deliver")));
    cr_assert(temp_has(kv, KV_FAMILY_META, SLICE("k"), SLICE("meta")));
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, knows_its_own_number_of_shards)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 3);
    cr_assert_eq(kv_shard_count(kv), 3);
    kv_close(kv);
    kv = temp_open(path, 7);
    cr_assert_eq(kv_shard_count(kv), 3);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, opens_with_all_families)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, FULL_FAMILIES);
    cr_assert_eq(kv_shard_count(kv), FULL_FAMILIES);
    cr_assert_eq(temp_put(kv, FULL_FAMILIES - 1, SLICE("k"), SLICE("last")), ERR_OK);
    cr_assert(temp_has(kv, FULL_FAMILIES - 1, SLICE("k"), SLICE("last")));
    cr_assert(!temp_has(kv, KV_FAMILY_DELIVER, SLICE("k"), SLICE("last")));
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, makes_the_folder_for_its_user_only)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    char below[TEMP_PATH_MAX + 8];
    (void)snprintf(below, sizeof(below), "%s/store", path);
    (void)umask(0);
    struct kv *kv = temp_open(below, 1);
    struct stat stat_of;
    cr_assert_eq(stat(below, &stat_of), 0);
    cr_assert_eq(stat_of.st_mode & 0777, 0700);
    kv_close(kv);
    temp_folder_drop(path);
}

/* What prepare leaves must be refused with err, and must not become a store. */
struct refusal {
    const char *name;
    void (*prepare)(const char *path);
    bool must_exist;
    bool is_read_only;
    enum err err;
};

static void make_file(const char *path, const char *name)
{
    char full[2 * TEMP_PATH_MAX];
    (void)snprintf(full, sizeof(full), "%s/%s", path, name);
    FILE *file = fopen(full, "w");
    CHECK(file != NULL);
    CHECK(fputs("x", file) >= 0);
    CHECK(fclose(file) == 0);
}

static void prepare_nothing(const char *path)
{
    CHECK(rmdir(path) == 0);
}

static void prepare_empty(const char *path UNUSED)
{
}

static void prepare_no_parent(const char *path)
{
    CHECK(rmdir(path) == 0);
    char *end = strrchr(path, '/');
    CHECK(end != NULL);
    memcpy(end, "/no/no", sizeof("/no/no")); /* the name was longer */
}

static void prepare_file(const char *path)
{
    CHECK(rmdir(path) == 0);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fclose(file) == 0);
}

/* Root may use everything, so for root the owner is what counts. */
static void prepare_foreign(const char *path)
{
    CHECK((geteuid() == 0 ? chown(path, 65534, 65534) : chmod(path, 0)) == 0);
}

static void prepare_lost_current(const char *path)
{
    make_file(path, "000123.sst");
}

static void prepare_garbage_current(const char *path)
{
    make_file(path, "CURRENT");
}

Test(kv, refuses_what_is_not_its_store)
{
    static const struct refusal cases[] = {
        {"missing, must exist", prepare_nothing, true, false, ERR_STORAGE},
        {"missing, read only", prepare_nothing, false, true, ERR_STORAGE},
        {"empty, must exist", prepare_empty, true, false, ERR_STORAGE},
        {"empty, read only", prepare_empty, false, true, ERR_STORAGE},
        {"no parent", prepare_no_parent, false, false, ERR_STORAGE},
        {"a file", prepare_file, false, false, ERR_STORAGE},
        {"another user's", prepare_foreign, false, false, ERR_STORAGE},
        {"no CURRENT", prepare_lost_current, false, false, ERR_CORRUPT},
        {"bad CURRENT", prepare_garbage_current, false, false, ERR_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[TEMP_PATH_MAX];
        temp_folder_make(path);
        cases[i].prepare(path);
        struct kv_options options = temp_options(path, 2);
        options.must_exist = cases[i].must_exist;
        options.is_read_only = cases[i].is_read_only;
        struct kv *kv = NULL;
        cr_expect_eq(kv_open(&options, &kv), cases[i].err, "%s", cases[i].name);
        cr_expect_null(kv, "%s", cases[i].name);
        char manifest[2 * TEMP_PATH_MAX];
        (void)snprintf(manifest, sizeof(manifest), "%s/IDENTITY", path);
        cr_expect_eq(access(manifest, F_OK), -1, "%s: a store was made", cases[i].name);
        temp_folder_drop(path);
    }
}

Test(kv, refuses_a_second_owner)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    const struct kv_options options = temp_options(path, 1);
    struct kv *second = NULL;
    cr_assert_eq(kv_open(&options, &second), ERR_STORAGE);
    cr_assert_null(second);
    kv_close(kv);
    temp_folder_drop(path);
}

static size_t count_files(const char *path)
{
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    size_t count = 0;
    while (readdir(dir) != NULL) {
        count++;
    }
    CHECK(closedir(dir) == 0);
    return count;
}

Test(kv, reads_beside_the_owner_without_leaving_a_trace)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    cr_assert_eq(temp_put(kv, 1, SLICE("k"), SLICE("v")), ERR_OK);
    const size_t files = count_files(path);

    struct kv_options options = temp_options(path, 0);
    options.is_read_only = true;
    struct kv *reader = NULL;
    cr_assert_eq(kv_open(&options, &reader), ERR_OK);
    cr_assert_eq(kv_shard_count(reader), 2);
    cr_assert(temp_has(reader, 1, SLICE("k"), SLICE("v")));
    kv_close(reader);
    cr_assert_eq(count_files(path), files);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, stops_the_process_over_a_write_to_a_read_only_store, .signal = SIGABRT)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    kv_close(temp_open(path, 1));
    struct kv_options options = temp_options(path, 1);
    options.is_read_only = true;
    struct kv *kv = NULL;
    cr_assert_eq(kv_open(&options, &kv), ERR_OK);
    temp_folder_drop(path);
    err_ignore(temp_put(kv, 0, SLICE("k"), SLICE("v"))); /* does not return */
}

Test(kv, stops_the_process_over_a_family_it_does_not_have, .signal = SIGABRT)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    temp_folder_drop(path);
    (void)temp_has(kv, 2, SLICE("k"), SLICE("v")); /* does not return */
}

/* ---- batches ------------------------------------------------------------------------------------
 */

Test(kv, batch_answers_with_its_latest_word)
{
    struct kv_batch *batch = kv_batch_new(5);
    struct slice value = SLICE("untouched");
    cr_assert_eq(kv_batch_find(batch, SLICE("k"), &value), KV_UNKNOWN);
    kv_batch_put(batch, SLICE("k"), SLICE("one"));
    kv_batch_put(batch, SLICE("k"), SLICE("two"));
    cr_assert_eq(kv_batch_find(batch, SLICE("k"), &value), KV_PUT);
    cr_assert(slice_equal(value, SLICE("two")));
    kv_batch_delete(batch, SLICE("k"));
    cr_assert_eq(kv_batch_find(batch, SLICE("k"), &value), KV_DELETED);
    kv_batch_put(batch, SLICE("k"), SLICE(""));
    cr_assert_eq(kv_batch_find(batch, SLICE("k"), &value), KV_PUT);
    cr_assert_eq(value.len, 0);
    cr_assert_eq(kv_batch_find(batch, SLICE("kk"), &value), KV_UNKNOWN);
    cr_assert_eq(kv_batch_rows(batch), 4);
    cr_assert_eq(kv_batch_family(batch), 5);
    cr_assert_eq(kv_batch_bytes(batch), 4 + 6);
    kv_batch_free(batch);
}

Test(kv, batch_copies_what_it_is_given)
{
    struct kv_batch *batch = kv_batch_new(0);
    char key[] = "key";
    char text[] = "value";
    kv_batch_put(batch, slice_str(key), slice_str(text));
    memset(key, 'x', 3);
    memset(text, 'x', 5);
    struct slice value = SLICE("");
    cr_assert_eq(kv_batch_find(batch, SLICE("key"), &value), KV_PUT);
    for (uint64_t i = 0; i < 3000; i++) { /* what was found stays where it is */
        char more[32];
        kv_batch_put(batch, text_of(more, sizeof(more), "", i), SLICE("more"));
    }
    cr_assert(slice_equal(value, SLICE("value")));
    kv_batch_free(batch);
}

Test(kv, batch_does_not_show_bodies_nor_ranges)
{
    struct kv_batch *batch = kv_batch_new(0);
    struct slice value = SLICE("");
    kv_batch_put_body(batch, SLICE("body"), SLICE("new"));
    cr_assert_eq(kv_batch_find(batch, SLICE("body"), &value), KV_UNKNOWN);
    kv_batch_put(batch, SLICE("k"), SLICE("v"));
    kv_batch_delete_range(batch, SLICE("a"), SLICE("z"));
    cr_assert_eq(kv_batch_find(batch, SLICE("k"), &value), KV_PUT);
    kv_batch_put_body(batch, SLICE("k"), SLICE("body"));
    cr_assert_eq(kv_batch_find(batch, SLICE("k"), &value), KV_PUT);
    cr_assert(slice_equal(value, SLICE("body")), "an older word stands");
    cr_assert_eq(kv_batch_rows(batch), 4);
    kv_batch_free(batch);
}

Test(kv, batch_is_as_new_after_clear)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    struct kv_batch *batch = kv_batch_new(0);
    struct slice value = SLICE("");
    for (uint64_t round = 0; round < 3; round++) {
        char key[32];
        char body[5000];
        memset(body, 'b', sizeof(body));
        kv_batch_put(batch, text_of(key, sizeof(key), "round", round), slice_of(body, 5000));
        cr_assert_eq(kv_batch_rows(batch), 1);
        cr_assert_eq(kv_write(kv, batch), ERR_OK);
        kv_batch_clear(batch);
        cr_assert_eq(kv_batch_rows(batch), 0);
        cr_assert_eq(kv_batch_bytes(batch), 0);
        cr_assert_eq(kv_batch_find(batch, slice_str(key), &value), KV_UNKNOWN);
    }
    cr_assert_eq(kv_write(kv, batch), ERR_OK, "an empty batch is no error");
    cr_assert_eq(temp_count(kv, 0), 3);
    kv_batch_free(batch);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, batch_is_written_in_the_order_it_was_filled)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    struct kv_batch *batch = kv_batch_new(0);
    kv_batch_put(batch, SLICE("a"), SLICE("old"));
    kv_batch_delete(batch, SLICE("a"));
    kv_batch_put(batch, SLICE("b"), SLICE("old"));
    kv_batch_put(batch, SLICE("b"), SLICE("new"));
    kv_batch_put(batch, SLICE("c"), SLICE("gone"));
    kv_batch_put(batch, SLICE("d"), SLICE("gone"));
    kv_batch_delete_range(batch, SLICE("c"), SLICE("e"));
    kv_batch_put(batch, SLICE("d"), SLICE("after"));
    kv_batch_put(batch, SLICE("e"), SLICE("outside"));
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    cr_assert(temp_has(kv, 0, SLICE("b"), SLICE("new")));
    cr_assert(temp_has(kv, 0, SLICE("d"), SLICE("after")));
    cr_assert(temp_has(kv, 0, SLICE("e"), SLICE("outside")));
    cr_assert_eq(temp_count(kv, 0), 3);
    kv_batch_free(batch);
    kv_close(kv);
    temp_folder_drop(path);
}

/* ---- reads --------------------------------------------------------------------------------------
 */

Test(kv, get_leaves_the_value_alone_when_absent_or_too_large)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    cr_assert_eq(temp_put(kv, 0, SLICE("k"), SLICE("0123456789")), ERR_OK);
    cr_assert_eq(temp_put(kv, 0, SLICE("empty"), SLICE("")), ERR_OK);
    struct arena arena;
    arena_init(&arena, 64, 10);
    struct slice value = SLICE("untouched");
    cr_assert_eq(kv_get(kv, 0, SLICE("none"), &arena, &value), ERR_NOT_FOUND);
    cr_assert(slice_equal(value, SLICE("untouched")));
    cr_assert_eq(kv_get(kv, 0, SLICE("k"), &arena, &value), ERR_OK);
    cr_assert(slice_equal(value, SLICE("0123456789")));
    value = SLICE("untouched");
    cr_assert_eq(kv_get(kv, 0, SLICE("k"), &arena, &value), ERR_TOO_LARGE);
    cr_assert(slice_equal(value, SLICE("untouched")));
    cr_assert_eq(kv_get(kv, 0, SLICE("empty"), &arena, &value), ERR_OK);
    cr_assert(value.len == 0);
    arena_fini(&arena);
    kv_close(kv);
    temp_folder_drop(path);
}

/* Keys of the scan as one text. */
static struct slice scan(struct kv *kv, struct slice from, struct slice to, bool is_reverse,
                         char out[64])
{
    struct kv_iter *iter = kv_iter_open(kv, 0, from, to, is_reverse);
    struct slice key = SLICE("");
    struct slice value = SLICE("");
    size_t len = 0;
    while (kv_iter_next(iter, &key, &value)) {
        CHECK(len + key.len <= 64);
        memcpy(out + len, key.data, key.len);
        len += key.len;
    }
    const bool is_over = !kv_iter_next(iter, &key, &value);
    CHECK(is_over);
    const enum err err = kv_iter_err(iter);
    CHECK(err == ERR_OK);
    kv_iter_close(iter);
    return slice_of(out, len);
}

Test(kv, scans_a_range_both_ways)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        cr_assert_eq(temp_put(kv, 0, slice_str(keys[i]), SLICE("v")), ERR_OK);
        if (i == 2) {
            cr_assert_eq(kv_flush(kv), ERR_OK); /* half in a table, half in the memtable */
        }
    }
    static const struct {
        const char *from;
        const char *to;
        const char *forward;
        const char *backward;
    } cases[] = {
        {"", "", "abcde", "edcba"}, {"b", "d", "bc", "cb"},   {"b", "", "bcde", "edcb"},
        {"", "c", "ab", "ba"},      {"bb", "dd", "cd", "dc"}, {"c", "c", "", ""},
        {"d", "b", "", ""},         {"f", "", "", ""},        {"0", "1", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[64];
        const struct slice from = slice_str(cases[i].from);
        const struct slice to = slice_str(cases[i].to);
        cr_expect(slice_equal(scan(kv, from, to, false, out), slice_str(cases[i].forward)),
                  "[%s, %s)", cases[i].from, cases[i].to);
        cr_expect(slice_equal(scan(kv, from, to, true, out), slice_str(cases[i].backward)),
                  "[%s, %s) backwards", cases[i].from, cases[i].to);
    }
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, scan_shows_the_moment_it_was_opened)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    cr_assert_eq(temp_put(kv, 0, SLICE("a"), SLICE("1")), ERR_OK);
    cr_assert_eq(temp_put(kv, 0, SLICE("b"), SLICE("1")), ERR_OK);
    char bounds[2] = {'a', 'z'}; /* copied: the iterator outlives them */
    struct kv_iter *iter =
        kv_iter_open(kv, 0, slice_of(&bounds[0], 1), slice_of(&bounds[1], 1), false);
    memset(bounds, '0', sizeof(bounds));
    cr_assert_eq(temp_put(kv, 0, SLICE("c"), SLICE("1")), ERR_OK);
    struct kv_batch *batch = kv_batch_new(0);
    kv_batch_delete(batch, SLICE("b"));
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    kv_batch_free(batch);
    struct slice key = SLICE("");
    struct slice value = SLICE("");
    cr_assert(kv_iter_next(iter, &key, &value) && slice_equal(key, SLICE("a")));
    cr_assert(kv_iter_next(iter, &key, &value) && slice_equal(key, SLICE("b")));
    cr_assert_not(kv_iter_next(iter, &key, &value));
    kv_iter_close(iter);
    kv_close(kv);
    temp_folder_drop(path);
}

static uint64_t property(struct kv *kv, const char *name)
{
    struct arena arena;
    arena_init(&arena, 256, 256);
    uint64_t number = UINT64_MAX;
    err_ignore(slice_u64(kv_property(kv, 0, name, &arena), &number)); /* then UINT64_MAX */
    arena_fini(&arena);
    return number;
}

Test(kv, puts_large_values_into_blob_files_and_gets_the_space_back)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    char body[KV_BLOB_MIN];
    for (size_t i = 0; i < sizeof(body); i++) { /* does not compress */
        body[i] = (char)(i * i * 2654435761u >> 11);
    }
    struct kv_batch *batch = kv_batch_new(0);
    char key[32];
    for (uint64_t i = 0; i < 100; i++) {
        kv_batch_put_body(batch, text_of(key, sizeof(key), "C", i), slice_of(body, sizeof(body)));
        kv_batch_put(batch, text_of(key, sizeof(key), "M", i), slice_of(body, sizeof(body) - 1));
    }
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    const uint64_t full = property(kv, "rocksdb.total-blob-file-size");
    cr_assert(full > 50 * KV_BLOB_MIN && full < 150 * KV_BLOB_MIN, "%" PRIu64, full);
    cr_assert(temp_has(kv, 0, SLICE("C00000042"), slice_of(body, sizeof(body))));

    kv_batch_clear(batch);
    kv_batch_delete_range(batch, SLICE("C00000010"), SLICE("D"));
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    kv_compact(kv, 0);
    const uint64_t rest = property(kv, "rocksdb.total-blob-file-size");
    cr_assert_lt(rest, full / 5);
    cr_assert(temp_has(kv, 0, SLICE("C00000009"), slice_of(body, sizeof(body))));
    cr_assert_eq(temp_count(kv, 0), 110);
    kv_batch_free(batch);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(kv, tells_free_space_and_properties)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 1);
    cr_assert_gt(kv_free_bytes(kv), 0);
    struct arena arena;
    arena_init(&arena, 64, 8);
    cr_assert_eq(kv_property(kv, 0, "rocksdb.no-such-thing", &arena).len, 0);
    cr_assert_eq(kv_property(kv, 0, "rocksdb.stats", &arena).len, 0, "larger than the arena");
    cr_assert(slice_equal(kv_property(kv, 0, "rocksdb.estimate-num-keys", &arena), SLICE("0")));
    arena_fini(&arena);
    kv_close(kv);
    temp_folder_drop(path);
}

/* ---- crashes ------------------------------------------------------------------------------------
 */

/* Round n writes one batch to each family: 1 + n % 7 rows and a body whose size varies. */
#define CRASH_SHARDS 3

static struct slice crash_body(char *out, size_t size, uint64_t round)
{
    const size_t len = (size_t)(round * 7919 % size);
    memset(out, (int)('a' + round % 26), size);
    return slice_of(out, len);
}

static enum err crash_write(struct kv *kv, struct kv_batch **batches, uint64_t round)
{
    char key[32];
    char body[6000];
    enum err err = ERR_OK;
    for (uint32_t shard = 0; shard < CRASH_SHARDS && err == ERR_OK; shard++) {
        struct kv_batch *batch = batches[shard];
        kv_batch_clear(batch);
        for (uint64_t i = 0; i < 1 + round % 7; i++) {
            kv_batch_put(batch, text_of(key, sizeof(key), "r", round * 10 + i), SLICE("row"));
        }
        kv_batch_put_body(batch, text_of(key, sizeof(key), "s", round),
                          crash_body(body, sizeof(body), round));
        err = kv_write(kv, batch);
    }
    return err == ERR_OK ? kv_sync(kv) : err;
}

/* Runs in a child until it is killed; tells each round after its sync. Never returns. */
static void crash_writer(const char *path, uint64_t round, int out)
{
    struct kv *kv = temp_open(path, CRASH_SHARDS);
    struct kv_batch *batches[CRASH_SHARDS];
    for (uint32_t i = 0; i < CRASH_SHARDS; i++) {
        batches[i] = kv_batch_new(i);
    }
    for (;; round++) {
        if (crash_write(kv, batches, round) != ERR_OK ||
            write(out, &round, sizeof(round)) != sizeof(round)) {
            _exit(1);
        }
        if (round % 64 == 63 && kv_flush(kv) != ERR_OK) {
            _exit(1);
        }
    }
}

/* The number of rounds that are there in one family; UINT64_MAX when a round is there in part or
 * rounds are missing in front of others. */
static uint64_t crash_count_rounds(struct kv *kv, uint32_t shard)
{
    const uint64_t total = temp_count(kv, shard);
    uint64_t rows = 0;
    uint64_t round = 0;
    char key[32];
    char body[6000];
    for (; rows < total; round++) {
        for (uint64_t i = 0; i < 1 + round % 7; i++) {
            if (!temp_has(kv, shard, text_of(key, sizeof(key), "r", round * 10 + i),
                          SLICE("row"))) {
                return UINT64_MAX;
            }
        }
        if (!temp_has(kv, shard, text_of(key, sizeof(key), "s", round),
                      crash_body(body, sizeof(body), round))) {
            return UINT64_MAX;
        }
        rows += 2 + round % 7;
    }
    return rows == total ? round : UINT64_MAX;
}

/* Runs in a child, because RocksDB's threads do not survive a fork: exit status 0 when at least
 * `promised` rounds are whole and families lag behind earlier ones by at most one round. */
static void crash_verifier(const char *path, uint64_t promised, int out)
{
    struct kv *kv = temp_open(path, CRASH_SHARDS);
    uint64_t least = UINT64_MAX;
    for (uint32_t shard = 0; shard < CRASH_SHARDS; shard++) {
        const uint64_t rounds = crash_count_rounds(kv, shard);
        const bool is_ordered = shard == 0 || rounds == least || rounds + 1 == least;
        if (rounds == UINT64_MAX || rounds < promised || !is_ordered) {
            (void)fprintf(stderr, "shard %u: %" PRIu64 " rounds, promised %" PRIu64 "\n", shard,
                          rounds, promised);
            _exit(1);
        }
        least = rounds;
    }
    const bool is_told = write(out, &least, sizeof(least)) == sizeof(least);
    kv_close(kv);
    _exit(is_told ? 0 : 1);
}

Test(kv, keeps_what_was_synced_when_killed, .timeout = 60)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    uint64_t next = 0; /* rounds that are whole in every family; the next writer repeats the rest */
    uint64_t seed = 12345;
    for (int kill_count = 0; kill_count < 12; kill_count++) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        pid_t child = fork();
        cr_assert_neq(child, -1);
        if (child == 0) {
            crash_writer(path, next, ends[1]);
        }
        (void)close(ends[1]);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t promised = next;
        uint64_t round = 0;
        for (uint64_t wait = 1 + (seed >> 33) % 40; wait > 0; wait--) {
            cr_assert_eq(read(ends[0], &round, sizeof(round)), (ssize_t)sizeof(round));
        }
        cr_assert_eq(kill(child, SIGKILL), 0);
        do { /* what it said before it died counts too */
            promised = round + 1;
        } while (read(ends[0], &round, sizeof(round)) == sizeof(round));
        int status = 0;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "the writer failed");
        (void)close(ends[0]);

        cr_assert_eq(pipe(ends), 0);
        child = fork();
        cr_assert_neq(child, -1);
        if (child == 0) {
            crash_verifier(path, promised, ends[1]);
        }
        (void)close(ends[1]);
        const ssize_t got = read(ends[0], &next, sizeof(next));
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "after kill %d", kill_count);
        cr_assert_eq(got, (ssize_t)sizeof(next));
        (void)close(ends[0]);
    }
    cr_assert_geq(next, 12);
    temp_folder_drop(path);
}

/* The child dies somewhere between RocksDB's first file and the last family. */
Test(kv, finishes_a_store_whose_making_was_cut_short, .timeout = 60)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    char current[2 * TEMP_PATH_MAX];
    (void)snprintf(current, sizeof(current), "%s/CURRENT", path);
    pid_t child = fork();
    cr_assert_neq(child, -1);
    if (child == 0) {
        kv_close(temp_open(path, FULL_FAMILIES));
        _exit(0);
    }
    while (access(current, F_OK) == -1) {
        cr_assert_eq(waitpid(child, NULL, WNOHANG), 0, "the maker failed");
    }
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);

    struct kv *kv = temp_open(path, FULL_FAMILIES);
    cr_assert_eq(kv_shard_count(kv), FULL_FAMILIES);
    cr_assert_eq(temp_put(kv, KV_FAMILY_DELIVER, SLICE("k"), SLICE("v")), ERR_OK);
    cr_assert_eq(temp_put(kv, FULL_FAMILIES - 1, SLICE("k"), SLICE("v")), ERR_OK);
    kv_close(kv);
    temp_folder_drop(path);
}

static void find_log(const char *path, char out[2 * TEMP_PATH_MAX])
{
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    out[0] = '\0';
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (slice_ends(slice_str(entry->d_name), SLICE(".log"))) {
            (void)snprintf(out, 2 * TEMP_PATH_MAX, "%s/%s", path, entry->d_name);
        }
    }
    CHECK(closedir(dir) == 0);
    CHECK(out[0] != '\0');
}

enum damage { DAMAGE_CUT, DAMAGE_ZEROS, DAMAGE_NOISE };

/* Damages the last `len` bytes of a file. */
static void damage_tail(const char *path, enum damage damage, off_t len)
{
    struct stat stat_of;
    CHECK(stat(path, &stat_of) == 0);
    CHECK(stat_of.st_size > len);
    const off_t from = stat_of.st_size - len;
    CHECK(truncate(path, from) == 0);
    FILE *file = fopen(path, "a");
    CHECK(file != NULL);
    for (off_t i = 0; damage != DAMAGE_CUT && i < len; i++) {
        CHECK(fputc(damage == DAMAGE_ZEROS ? 0 : (int)(i * i + 77) & 0xff, file) != EOF);
    }
    CHECK(fclose(file) == 0);
}

Test(kv, opens_with_a_torn_log_and_keeps_a_prefix, .timeout = 60)
{
    static const off_t lens[] = {1, 100, 30000};
    for (size_t i = 0; i < 3 * ARRAY_LEN(lens); i++) {
        const enum damage damage = (enum damage)(i % 3);
        char path[TEMP_PATH_MAX];
        temp_folder_make(path);
        struct kv *kv = temp_open(path, CRASH_SHARDS);
        struct kv_batch *batches[CRASH_SHARDS];
        for (uint32_t shard = 0; shard < CRASH_SHARDS; shard++) {
            batches[shard] = kv_batch_new(shard);
        }
        for (uint64_t round = 0; round < 20; round++) {
            cr_assert_eq(crash_write(kv, batches, round), ERR_OK);
        }
        for (uint32_t shard = 0; shard < CRASH_SHARDS; shard++) {
            kv_batch_free(batches[shard]);
        }
        kv_close(kv);
        char log_path[2 * TEMP_PATH_MAX];
        find_log(path, log_path);
        damage_tail(log_path, damage, lens[i / 3]);

        kv = temp_open(path, CRASH_SHARDS);
        const uint64_t first = crash_count_rounds(kv, 0);
        const uint64_t last = crash_count_rounds(kv, CRASH_SHARDS - 1);
        cr_expect(first != UINT64_MAX && last != UINT64_MAX, "case %zu: not a prefix", i);
        cr_expect(last == first || last + 1 == first, "case %zu", i);
        cr_expect(last > 0 && last < 20, "case %zu: %" PRIu64 " rounds", i, last);
        kv_close(kv);
        temp_folder_drop(path);
    }
}

/* A private tmpfs of 16 MiB in a mount namespace of this process; false when that is not allowed.
 */
static bool mount_small_disk(const char *path)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", 0, "size=16m,mode=0700") == 0;
}

/* Writes bodies of one batch each, synced in pairs, until one is refused. What the last sync has
 * covered comes back. */
static uint64_t fill_disk(struct kv *kv, struct slice body)
{
    struct kv_batch *batch = kv_batch_new(0);
    char key[32];
    uint64_t written = 0;
    for (enum err err = ERR_OK; err == ERR_OK && written < 1000;) {
        kv_batch_clear(batch);
        kv_batch_put_body(batch, text_of(key, sizeof(key), "C", written), body);
        err = kv_write(kv, batch);
        cr_assert(err == ERR_OK || err == ERR_STORAGE);
        written += err == ERR_OK;
        if (err != ERR_OK || written % 2 == 0) {
            cr_assert_eq(kv_sync(kv), ERR_OK, "what was written before is safe");
        }
    }
    cr_assert_eq(kv_write(kv, batch), ERR_STORAGE, "it stays full");
    kv_batch_free(batch);
    return written;
}

Test(kv, refuses_writes_on_a_full_disk_and_loses_nothing, .timeout = 60)
{
    static const struct {
        const char *name;
        uint64_t memtable_bytes;
    } cases[] = {{"a table file finds no room", 4 * MIB}, {"the log finds none", 64 * MIB}};
    char body[64 * 1024];
    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (char)(i * i * 2654435761u >> 11);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[TEMP_PATH_MAX];
        temp_folder_make(path);
        if (!mount_small_disk(path)) {
            cr_log_info("skipped: needs the right to mount a tmpfs");
            temp_folder_drop(path);
            return;
        }
        struct kv_options options = temp_options(path, 1);
        options.memtable_bytes = cases[i].memtable_bytes;
        struct kv *kv = NULL;
        cr_assert_eq(kv_open(&options, &kv), ERR_OK);
        const uint64_t written = fill_disk(kv, slice_of(body, sizeof(body)));
        cr_expect(written > 10 && written < 1000, "%s: %" PRIu64, cases[i].name, written);
        cr_expect(temp_has(kv, 0, SLICE("C00000000"), slice_of(body, sizeof(body))), "reads go on");
        kv_close(kv);

        cr_assert_eq(mount(NULL, path, NULL, MS_REMOUNT, "size=64m"), 0);
        cr_assert_eq(kv_open(&options, &kv), ERR_OK);
        for (uint64_t n = 0; n < written; n++) {
            char key[32];
            cr_expect(
                temp_has(kv, 0, text_of(key, sizeof(key), "C", n), slice_of(body, sizeof(body))),
                "%s: %s of %" PRIu64, cases[i].name, key, written);
        }
        cr_expect_eq(temp_put(kv, 0, SLICE("after"), SLICE("room again")), ERR_OK);
        kv_close(kv);
        cr_assert_eq(umount(path), 0);
        temp_folder_drop(path);
    }
}
