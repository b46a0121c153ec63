/* A store with a block that cannot be read: found, named, read around, salvaged, filled from an
 * older copy; and a process that is killed anywhere in between.
 *
 * Not covered here: a store that cannot even be opened (a backup is restored then), and what repair
 * does about rows (test_verify.c). */
#include <criterion/criterion.h>

#include "base/crypto.h"
#include "base/log.h"
#include "kv/salvage.h"
#include "kv/verify.h"
#include "unit/kv/small_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ROWS    6000
#define STEP_US 1000000
#define KILLS   12

TestSuite(salvage, .timeout = 60);

/* The small store, and so many suppressions of its account that they fill some blocks. */
static void make(struct small *small)
{
    log_set_level(LOG_LEVEL_ERROR);
    small_make(small);
    struct kv_batch *batch = kv_batch_new(small->family);
    for (uint32_t i = 0; i < ROWS; i++) {
        char email[64];
        struct buf bytes;
        buf_init(&bytes, KIB);
        (void)snprintf(email, sizeof email, "%08x-%05u@example.com", i * 2654435761u, (unsigned)i);
        const struct row_suppression row = {.email = slice_str(email), .created_unix_ms = i};
        struct key key = key_suppression(small->account, row.email);
        row_suppression_encode(&row, &bytes);
        kv_batch_put(batch, key_slice(&key), buf_slice(&bytes));
        buf_fini(&bytes);
    }
    enum err err = kv_write(small->kv, batch);
    CHECK(err == ERR_OK);
    kv_batch_free(batch);
    err = kv_flush(small->kv);
    CHECK(err == ERR_OK);
}

static void copy_folder(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    CHECK(dir != NULL && mkdir(to, 0700) == 0);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char source[1024]; /* our paths are short */
        char target[1024];
        static char bytes[8 * MIB];
        if (entry->d_name[0] == '.') {
            continue;
        }
        CHECK(snprintf(source, sizeof source, "%s/%s", from, entry->d_name) < 1024);
        CHECK(snprintf(target, sizeof target, "%s/%s", to, entry->d_name) < 1024);
        FILE *in = fopen(source, "r");
        FILE *out = fopen(target, "w");
        CHECK(in != NULL && out != NULL);
        size_t len = fread(bytes, 1, sizeof bytes, in);
        CHECK(len < sizeof bytes && fwrite(bytes, 1, len, out) == len);
        CHECK(fclose(in) == 0 && fclose(out) == 0);
    }
    (void)closedir(dir);
}

/* Flips a few bytes in the middle of the largest table. */
static void damage_table(const char *path)
{
    char largest[2 * TEMP_PATH_MAX] = "";
    off_t size = 0;
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char file[2 * TEMP_PATH_MAX];
        struct stat info;
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (slice_ends(slice_str(entry->d_name), SLICE(".sst")) && stat(file, &info) == 0 &&
            info.st_size > size) {
            size = info.st_size;
            memcpy(largest, file, sizeof file);
        }
    }
    (void)closedir(dir);
    CHECK(size > 64 * 1024);
    int fd = open(largest, O_RDWR);
    char bytes[16];
    CHECK(fd != -1 && pread(fd, bytes, sizeof bytes, size / 2) == sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)~bytes[i];
    }
    CHECK(pwrite(fd, bytes, sizeof bytes, size / 2) == sizeof bytes && close(fd) == 0);
}

static uint64_t damage_in(struct kv *kv, struct verify_finding *first)
{
    const struct verify_options options = {.now_unix_ms = SMALL_NOW};
    struct verify *verify = verify_new(kv, &options);
    struct verify_progress progress;
    uint32_t count = 0;
    while (verify_step(verify, STEP_US)) {
    }
    verify_progress(verify, &progress);
    const struct verify_finding *found = verify_findings(verify, &count);
    if (count > 0) {
        *first = found[0];
    }
    verify_free(verify);
    return progress.damage;
}

static uint64_t suppressions(struct kv *kv, uint32_t family, struct account_id account)
{
    struct key from = key_prefix_suppressions(account);
    struct key to = key_after(&from);
    struct slice key;
    struct slice value;
    uint64_t count = 0;
    struct kv_iter *iter = kv_iter_open(kv, family, key_slice(&from), key_slice(&to), false);
    while (kv_iter_next(iter, &key, &value)) {
        count++;
    }
    cr_expect_eq(kv_iter_err(iter), ERR_OK);
    kv_iter_close(iter);
    return count;
}

static enum err salvage_all(const char *path, const char *from, struct salvage_counts *counts,
                            char kept[SALVAGE_PATH_MAX])
{
    char why[SALVAGE_WHY_MAX] = "";
    struct salvage *salvage = NULL;
    const struct salvage_options options = {.path = path, .from = from, .now_unix_ms = SMALL_NOW};
    enum err err = salvage_copy(&options, &salvage, why);
    if (err == ERR_OK) {
        salvage_counts(salvage, counts);
        err = salvage_swap(salvage, kept, why);
        salvage_free(salvage);
    }
    if (err != ERR_OK) {
        printf("# %s\n", why);
    }
    return err;
}

/* A folder that holds the store and what lies beside it. */
static void move_below(struct small *small, char store[2 * TEMP_PATH_MAX])
{
    char aside[2 * TEMP_PATH_MAX];
    kv_close(small->kv);
    (void)snprintf(aside, sizeof aside, "%s-x", small->path);
    (void)snprintf(store, 2 * TEMP_PATH_MAX, "%s/store", small->path);
    CHECK(rename(small->path, aside) == 0 && mkdir(small->path, 0700) == 0 &&
          rename(aside, store) == 0);
}

Test(salvage, a_block_that_cannot_be_read_is_one_finding_and_the_rest_is_read)
{
    struct small small;
    struct verify_finding first;
    char store[2 * TEMP_PATH_MAX];
    make(&small);
    move_below(&small, store);
    damage_table(store);
    small.kv = temp_open(store, SMALL_SHARDS);
    cr_assert_eq(damage_in(small.kv, &first), 1, "a hole, and nothing that follows from it");
    cr_expect_eq(first.kind, VERIFY_UNREADABLE);
    cr_expect_eq(first.family, small.family);
    cr_expect_eq(first.key.bytes[0], 'S', "behind a suppression");
    cr_expect_eq(first.other.bytes[0], 'S', "up to another one");
    cr_expect_lt(slice_compare(key_slice(&first.key), key_slice(&first.other)), 0);
    cr_expect_neq(slice_find(slice_str(first.detail), SLICE(".sst")), SIZE_MAX, "%s", first.detail);
    small_end(&small);
}

Test(salvage, copies_what_can_be_read_and_keeps_the_damaged_store)
{
    struct small small;
    struct verify_finding first;
    struct salvage_counts counts;
    char store[2 * TEMP_PATH_MAX];
    char kept[SALVAGE_PATH_MAX];
    make(&small);
    move_below(&small, store);
    damage_table(store);
    cr_assert_eq(salvage_all(store, NULL, &counts, kept), ERR_OK);
    cr_expect_eq(counts.holes, 1);
    cr_expect_eq(access(kept, F_OK), 0, "the damaged store is kept");
    small.kv = temp_open(store, SMALL_SHARDS);
    uint64_t rows = suppressions(small.kv, small.family, small.account);
    cr_expect_gt(rows, ROWS - 500, "only a block is missing: %" PRIu64, rows);
    cr_expect_lt(rows, ROWS);
    cr_expect_eq(damage_in(small.kv, &first), 0);
    small_end(&small);
}

Test(salvage, fills_the_hole_from_an_older_copy)
{
    struct small small;
    struct verify_finding first;
    struct salvage_counts counts;
    char store[2 * TEMP_PATH_MAX];
    char older[2 * TEMP_PATH_MAX + 16];
    char kept[SALVAGE_PATH_MAX];
    make(&small);
    move_below(&small, store);
    (void)snprintf(older, sizeof older, "%s-older", store);
    copy_folder(store, older);
    damage_table(store);
    cr_assert_eq(salvage_all(store, older, &counts, kept), ERR_OK);
    cr_expect_gt(counts.filled, 0);
    small.kv = temp_open(store, SMALL_SHARDS);
    cr_expect_eq(suppressions(small.kv, small.family, small.account), ROWS);
    cr_expect_eq(damage_in(small.kv, &first), 0);
    small_end(&small);
}

Test(salvage, is_refused_while_somebody_has_the_store_open)
{
    struct small small;
    struct salvage_counts counts;
    char store[2 * TEMP_PATH_MAX];
    char kept[SALVAGE_PATH_MAX];
    int status = 0;
    make(&small);
    move_below(&small, store);
    small.kv = temp_open(store, SMALL_SHARDS);
    pid_t child = fork(); /* a lock of fcntl is no hindrance to its own process */
    cr_assert_neq(child, -1);
    if (child == 0) {
        _exit(salvage_all(store, NULL, &counts, kept) == ERR_CONFLICT ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    small_end(&small);
}

/* Not all moments, but the same few in every run would be too few: each kill comes a bit later. */
Test(salvage, a_kill_anywhere_leaves_the_old_store_or_the_new)
{
    struct small small;
    struct salvage_counts counts;
    char store[2 * TEMP_PATH_MAX];
    char kept[SALVAGE_PATH_MAX];
    make(&small);
    move_below(&small, store);
    damage_table(store);
    for (uint32_t i = 0; i < KILLS; i++) {
        struct timespec life = {.tv_nsec = (long)(5 + 15 * i) * 1000000L};
        pid_t child = fork();
        cr_assert_neq(child, -1);
        if (child == 0) {
            _exit(salvage_all(store, NULL, &counts, kept) == ERR_OK ? 0 : 1);
        }
        sigset_t none;
        (void)sigemptyset(&none);
        (void)sigtimedwait(&none, NULL, &life); /* waits, and for nothing */
        cr_assert_eq(kill(child, SIGKILL), 0);
        cr_assert_eq(waitpid(child, NULL, 0), child);
        struct kv *kv = temp_open(store, SMALL_SHARDS);
        cr_expect_gt(temp_count(kv, KV_FAMILY_META), 0, "kill %u", (unsigned)i);
        kv_close(kv);
    }
    cr_assert_eq(salvage_all(store, NULL, &counts, kept), ERR_OK, "and it can be done again");
    small.kv = temp_open(store, SMALL_SHARDS);
    cr_expect_gt(suppressions(small.kv, small.family, small.account), ROWS - 500);
    small_end(&small);
}
