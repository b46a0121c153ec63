/* Backups: a folder of many, each whole; damage is found, and what is restored is the store.
 *
 * Not covered here: a backup under load and one that is killed (flow/test_backup).
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/crypto.h"
#include "base/log.h"
#include "kv/backup.h"
#include "kv/migrate.h"
#include "unit/kv/temp_store.h"

#define WHOLE UINT64_C(60000000) /* a budget for all of it */

struct rig {
    char data[TEMP_PATH_MAX];
    char store[TEMP_PATH_MAX + 16];
    char folder[TEMP_PATH_MAX];
    char target[TEMP_PATH_MAX];
    char restored[TEMP_PATH_MAX + 16];
    char why[BACKUP_WHY_MAX];
    struct seal_key master;
    struct kv *kv;
};

static void rig_init(struct rig *rig)
{
    struct store_stamp stamp;
    *rig = (struct rig){.kv = NULL};
    log_set_level(LOG_LEVEL_ERROR + 1);
    crypto_init();
    crypto_random(rig->master.bytes, sizeof rig->master.bytes);
    temp_folder_make(rig->data);
    temp_folder_make(rig->folder);
    temp_folder_make(rig->target);
    (void)snprintf(rig->store, sizeof rig->store, "%s/store", rig->data);
    (void)snprintf(rig->restored, sizeof rig->restored, "%s/store", rig->target);
    rig->kv = temp_open(rig->store, 2);
    cr_assert_eq(migrate_open(rig->kv, 1000, &stamp), ERR_OK);
}

static void rig_fini(struct rig *rig)
{
    kv_close(rig->kv);
    temp_folder_drop(rig->data);
    temp_folder_drop(rig->folder);
    temp_folder_drop(rig->target);
}

static struct backup_options options_of(const struct rig *rig)
{
    return (struct backup_options){
        .folder = rig->folder, .data = rig->data, .master = &rig->master};
}

static void put(struct rig *rig, const char *key, char fill, size_t len)
{
    char value[16384];
    memset(value, fill, len);
    cr_assert_eq(temp_put(rig->kv, 1, slice_str(key), slice_of(value, len)), ERR_OK);
}

static bool has(struct kv *kv, const char *key, char fill, size_t len)
{
    char value[16384];
    memset(value, fill, len);
    return temp_has(kv, 1, slice_str(key), slice_of(value, len));
}

static uint32_t make(struct rig *rig)
{
    struct backup_options options = options_of(rig);
    struct backup *backup;
    uint32_t id = 0;
    cr_assert_eq(backup_open(&options, rig->kv, &backup, rig->why), ERR_OK, "%s", rig->why);
    cr_assert_eq(backup_make(backup, &id, rig->why), ERR_OK, "%s", rig->why);
    backup_close(backup);
    return id;
}

static enum err read_all(struct rig *rig, uint32_t id, const char *target)
{
    struct backup_read *read;
    bool is_over = false;
    enum err err = backup_read_open(rig->folder, id, target, &read, rig->why);
    if (err == ERR_OK) {
        err = backup_read_step(read, WHOLE, &is_over, rig->why);
        cr_expect(err != ERR_OK || is_over);
        cr_expect(err != ERR_OK || backup_read_done(read) == backup_read_entry(read).bytes);
        backup_read_close(read);
    }
    return err;
}

static struct kv *restore(struct rig *rig, uint32_t id)
{
    cr_assert_eq(read_all(rig, id, rig->restored), ERR_OK, "%s", rig->why);
    return temp_open(rig->restored, 2);
}

static const char *shared_file(const struct rig *rig, const char *suffix, char out[512])
{
    char folder[TEMP_PATH_MAX + 32];
    (void)snprintf(folder, sizeof folder, "%s/shared_checksum", rig->folder);
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir);
    out[0] = '\0';
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (slice_ends(slice_str(entry->d_name), slice_str(suffix))) {
            (void)snprintf(out, 512, "%s/%.200s", folder, entry->d_name);
        }
    }
    (void)closedir(dir);
    return out[0] != '\0' ? out : NULL;
}

Test(backup, is_the_store_of_its_time_with_bodies_and_the_next_one_copies_what_is_new,
     .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    put(&rig, "row", 'a', 100);
    put(&rig, "body", 'b', 9000);
    uint32_t first = make(&rig);
    put(&rig, "row", 'c', 100);
    put(&rig, "later", 'd', 9000);
    cr_assert_eq(kv_flush(rig.kv), ERR_OK);
    struct backup_options options = options_of(&rig);
    struct backup *backup;
    uint64_t whole;
    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK, "%s", rig.why);
    uint64_t fresh = backup_expected(backup, &whole);
    cr_expect_gt(fresh, 0);
    cr_expect_lt(fresh, whole, "the first backup's files are there");
    backup_close(backup);
    uint32_t second = make(&rig);
    cr_expect_eq(first, 1);
    cr_expect_eq(second, 2);
    char path[512];
    cr_expect_not_null(shared_file(&rig, ".blob", path), "bodies are in it");

    struct arena arena;
    struct backup_entry *entries;
    uint32_t count;
    arena_init(&arena, 4 * KIB, 4 * MIB);
    cr_assert_eq(backup_list(rig.folder, &arena, &entries, &count, rig.why), ERR_OK);
    cr_assert_eq(count, 2);
    cr_expect_eq(entries[1].id, 2);
    cr_expect_gt(entries[1].file_count, entries[0].file_count);
    cr_expect_gt(entries[0].bytes, 0);
    cr_expect_gt(entries[0].made_unix_ms, UINT64_C(1600000000000));
    arena_fini(&arena);

    struct kv *kv = restore(&rig, 1);
    cr_expect(has(kv, "row", 'a', 100));
    cr_expect(has(kv, "body", 'b', 9000));
    cr_expect_not(has(kv, "later", 'd', 9000));
    kv_close(kv);
    temp_folder_drop(rig.restored);
    kv = restore(&rig, 0);
    cr_expect(has(kv, "row", 'c', 100));
    cr_expect(has(kv, "body", 'b', 9000));
    cr_expect(has(kv, "later", 'd', 9000));
    kv_close(kv);
    rig_fini(&rig);
}

Test(backup, that_is_purged_leaves_the_others_whole, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    for (int i = 0; i < 4; i++) {
        put(&rig, "body", (char)('a' + i), 9000);
        (void)make(&rig);
    }
    struct backup_options options = options_of(&rig);
    struct backup *backup;
    uint32_t left = 0;
    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK);
    cr_assert_eq(backup_purge(backup, 2, &left, rig.why), ERR_OK);
    cr_expect_eq(left, 2);
    backup_close(backup);
    cr_expect_eq(read_all(&rig, 2, NULL), ERR_NOT_FOUND);
    cr_expect_eq(read_all(&rig, 3, NULL), ERR_OK, "%s", rig.why);
    cr_expect_eq(read_all(&rig, 4, NULL), ERR_OK, "%s", rig.why);
    rig_fini(&rig);
}

Test(backup, that_is_damaged_names_the_file, .timeout = 60)
{
    static const char *const suffixes[] = {".sst", ".blob"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        struct rig rig;
        char path[512];
        char byte;
        rig_init(&rig);
        put(&rig, "body", 'b', 9000);
        (void)make(&rig);
        cr_assert_eq(read_all(&rig, 1, NULL), ERR_OK, "%s", rig.why);
        cr_assert_not_null(shared_file(&rig, suffixes[i], path));
        int fd = open(path, O_RDWR);
        cr_assert_eq(pread(fd, &byte, 1, 40), 1);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, 40), 1);
        cr_expect_eq(read_all(&rig, 1, NULL), ERR_CORRUPT);
        cr_expect_not_null(strstr(rig.why, suffixes[i]), "%s", rig.why);
        cr_assert_eq(ftruncate(fd, 10), 0);
        cr_expect_eq(read_all(&rig, 1, NULL), ERR_CORRUPT);
        cr_assert_eq(close(fd), 0);
        cr_assert_eq(unlink(path), 0);
        cr_expect_eq(read_all(&rig, 1, NULL), ERR_CORRUPT);
        cr_expect_not_null(strstr(rig.why, "missing"), "%s", rig.why);
        rig_fini(&rig);
    }
}

Test(backup, list_that_leads_out_of_its_folder_is_refused, .timeout = 60)
{
    static const char *const lists[] = {
        "",
        "x\n1\n1\nprivate/1/CURRENT crc32 1\n",
        "1700000000\n1\n0\n",
        "1700000000\n1\n4000000000\nprivate/1/CURRENT crc32 1\n",
        "1700000000\n1\n2\nprivate/1/CURRENT crc32 1\n",
        "1700000000\n1\n1\n../../../etc/passwd crc32 1\n",
        "1700000000\n1\n1\n/etc/passwd crc32 1\n",
        "1700000000\n1\n1\nprivate/.. crc32 1\n",
        "1700000000\n1\n1\nprivate/1/CURRENT crc32 99999999999\n",
        "1700000000\n1\n1\nprivate/1/CURRENT\n",
    };
    struct rig rig;
    char path[512];
    rig_init(&rig);
    (void)make(&rig);
    (void)snprintf(path, sizeof path, "%s/meta/1", rig.folder);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        FILE *file = fopen(path, "we");
        cr_assert_not_null(file);
        cr_assert_geq(fputs(lists[i], file), 0);
        cr_assert_eq(fclose(file), 0);
        cr_expect_eq(read_all(&rig, 1, NULL), ERR_CORRUPT, "list %zu", i);
    }
    struct arena arena;
    struct backup_entry *entries;
    uint32_t count;
    arena_init(&arena, 4 * KIB, 4 * MIB);
    put(&rig, "row", 'a', 100);
    cr_expect_eq(make(&rig), 2, "the next one is made nevertheless");
    cr_assert_eq(backup_list(rig.folder, &arena, &entries, &count, rig.why), ERR_OK);
    cr_assert_eq(count, 2);
    cr_expect(entries[0].is_damaged);
    cr_expect_not(entries[1].is_damaged);
    cr_expect_eq(read_all(&rig, 2, NULL), ERR_OK, "%s", rig.why);
    arena_fini(&arena);
    rig_fini(&rig);
}

Test(backup, folder_is_outside_the_data_and_nobody_elses, .timeout = 60)
{
    struct rig rig;
    struct backup *backup;
    char within[TEMP_PATH_MAX + 32];
    rig_init(&rig);
    struct backup_options options = options_of(&rig);
    (void)snprintf(within, sizeof within, "%s/backup", rig.data);
    options.folder = within;
    cr_expect_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_BAD_FIELD);
    cr_expect_not_null(strstr(rig.why, "within the data folder"), "%s", rig.why);
    options.folder = "backup";
    cr_expect_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_BAD_FIELD);
    options.folder = rig.store; /* within, too, and in use */
    cr_expect_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_BAD_FIELD);
    (void)snprintf(within, sizeof within, "%s/of-somebody", rig.folder);
    cr_assert_eq(mkdir(within, 0700), 0);
    options.folder = rig.folder;
    cr_expect_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_BAD_FIELD);
    cr_expect_not_null(strstr(rig.why, "of-somebody"), "%s", rig.why);
    cr_assert_eq(rmdir(within), 0);

    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK, "%s", rig.why);
    struct backup *other;
    cr_expect_eq(backup_open(&options, rig.kv, &other, rig.why), ERR_CONFLICT, "it is locked");
    backup_close(backup);
    rig.master.bytes[0] ^= 1;
    cr_expect_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_BAD_FIELD);
    cr_expect_not_null(strstr(rig.why, "another server"), "%s", rig.why);
    rig_fini(&rig);
}

Test(backup, has_the_key_only_when_asked_and_its_fingerprint_always, .timeout = 60)
{
    struct rig rig;
    struct backup *backup;
    struct backup_mark mark;
    struct stat info;
    char path[TEMP_PATH_MAX + 32];
    char print[BACKUP_FINGERPRINT_LEN + 1];
    rig_init(&rig);
    struct backup_options options = options_of(&rig);
    cr_assert_eq(backup_read_mark(rig.folder, &mark, rig.why), ERR_NOT_FOUND);
    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK);
    backup_close(backup);
    cr_assert_eq(backup_read_mark(rig.folder, &mark, rig.why), ERR_OK, "%s", rig.why);
    backup_fingerprint(&rig.master, print);
    cr_expect_str_eq(mark.fingerprint, print);
    cr_expect_eq(mark.format, STORE_FORMAT);
    cr_expect_eq(mark.shard_count, 2);
    cr_expect_not(mark.has_key);
    options.has_key = true;
    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK);
    backup_close(backup);
    cr_assert_eq(backup_read_mark(rig.folder, &mark, rig.why), ERR_OK);
    cr_expect(mark.has_key);
    (void)snprintf(path, sizeof path, "%s/" BACKUP_KEY, rig.folder);
    cr_assert_eq(stat(path, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600);
    cr_expect_eq(info.st_size, SEAL_KEY_LEN);
    rig_fini(&rig);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

Test(backup, that_is_killed_leaves_the_earlier_ones_and_the_next_cleans_up, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    put(&rig, "body", 'a', 9000);
    (void)make(&rig);
    /* As a kill leaves it: a list half written, files that no list names. */
    static const char *const remains[] = {"meta/.2.tmp", "shared_checksum/000099_sX_12.sst",
                                          "shared_checksum/.000098_sX_12.sst.tmp",
                                          "private/2/of-before"};
    char path[512];
    (void)snprintf(path, sizeof path, "%s/private/2", rig.folder);
    cr_assert_eq(mkdir(path, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(remains); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", rig.folder, remains[i]);
        FILE *file = fopen(path, "we");
        cr_assert_not_null(file);
        cr_assert_geq(fputs("half of it", file), 0);
        cr_assert_eq(fclose(file), 0);
    }
    cr_expect_eq(read_all(&rig, 0, NULL), ERR_OK, "%s", rig.why);
    put(&rig, "body", 'b', 9000);
    cr_expect_eq(make(&rig), 2);
    struct backup_options options = options_of(&rig);
    struct backup *backup;
    uint32_t left;
    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK);
    cr_assert_eq(backup_purge(backup, 0, &left, rig.why), ERR_OK);
    backup_close(backup);
    cr_expect_eq(left, 2);
    for (size_t i = 0; i < ARRAY_LEN(remains); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", rig.folder, remains[i]);
        cr_expect_eq(access(path, F_OK), -1, "%s", path);
    }
    cr_expect_eq(read_all(&rig, 1, NULL), ERR_OK, "%s", rig.why);
    cr_expect_eq(read_all(&rig, 2, NULL), ERR_OK, "%s", rig.why);
    rig_fini(&rig);
}

Test(backup, onto_a_full_disk_says_so_and_the_store_goes_on, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    if (mount("tmpfs", rig.folder, "tmpfs", 0, "size=256k") != 0) {
        rig_fini(&rig);
        cr_skip_test("needs root, for a disk of its own");
    }
    for (int i = 0; i < 200; i++) {
        char key[16];
        char body[9000];
        crypto_random(body, sizeof body);
        (void)snprintf(key, sizeof key, "k%d", i);
        cr_assert_eq(temp_put(rig.kv, 1, slice_str(key), slice_of(body, sizeof body)), ERR_OK);
    }
    struct backup_options options = options_of(&rig);
    struct backup *backup;
    uint32_t id;
    cr_assert_eq(backup_open(&options, rig.kv, &backup, rig.why), ERR_OK, "%s", rig.why);
    cr_expect_eq(backup_make(backup, &id, rig.why), ERR_STORAGE, "%s", rig.why);
    cr_expect_not_null(strstr(rig.why, "free space"), "%s", rig.why);
    backup_close(backup);
    put(&rig, "row", 'a', 100);
    cr_expect(has(rig.kv, "row", 'a', 100));
    cr_expect_eq(kv_flush(rig.kv), ERR_OK);
    cr_assert_eq(umount(rig.folder), 0);
    rig_fini(&rig);
}

Test(backup, is_nobody_elses_to_read_or_to_lead_astray, .timeout = 60)
{
    struct rig rig;
    struct stat info;
    char path[TEMP_PATH_MAX + 32];
    char victim[TEMP_PATH_MAX + 32];
    rig_init(&rig);
    (void)umask(S_IWGRP | S_IWOTH);
    cr_assert_eq(chmod(rig.folder, S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH), 0);
    (void)snprintf(victim, sizeof victim, "%s/victim", rig.target);
    (void)snprintf(path, sizeof path, "%s/" BACKUP_MARK ".new", rig.folder);
    int fd = open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(write(fd, "whole", 5), 5);
    cr_assert_eq(close(fd), 0);
    cr_assert_eq(symlink(victim, path), 0);
    put(&rig, "row", 'a', 100);
    (void)make(&rig);
    cr_expect(stat(victim, &info) == 0 && info.st_size == 5, "what the link led to is as it was");
    const char *const folders[] = {"meta", "private", "shared_checksum"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", rig.folder, folders[i]);
        cr_expect(stat(path, &info) == 0 && (info.st_mode & S_IRWXO) == 0, "%s", folders[i]);
    }
    cr_expect_eq(read_all(&rig, 0, NULL), ERR_OK);
    cr_expect_eq(unlink(victim), 0);
    rig_fini(&rig);
}
