/* An account in a file: what is put in comes out, and what was tampered with is found; and which
 * rows of a store are an account's.
 *
 * Not covered here: secrets and messages (flow/test_move).
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "kv/account_file.h"
#include "kv/account_rows.h"
#include "kv/key.h"
#include "kv/row.h"
#include "unit/kv/temp_store.h"

#define PASSPHRASE SLICE("twelve bytes and more")
#define ROWS       20

struct rig {
    char folder[TEMP_PATH_MAX];
    char path[TEMP_PATH_MAX + 16];
    char why[ACCOUNT_FILE_WHY_MAX];
};

static void rig_init(struct rig *rig)
{
    *rig = (struct rig){.why = ""};
    crypto_init();
    log_set_level(LOG_LEVEL_ERROR);
    temp_folder_make(rig->folder);
    (void)snprintf(rig->path, sizeof rig->path, "%s/account", rig->folder);
}

static void write_file(struct rig *rig)
{
    struct account_file *file;
    const struct account_file_head head = {
        .account = {77}, .format = 2, .made_unix_ms = 5, .is_moved = true};
    char value[60000];
    cr_assert_eq(account_file_create(rig->path, PASSPHRASE, &head, &file, rig->why), ERR_OK, "%s",
                 rig->why);
    for (int i = 0; i < ROWS; i++) {
        char key[16];
        memset(value, 'a' + i, sizeof value);
        (void)snprintf(key, sizeof key, "key %d", i);
        cr_assert_eq(
            account_file_put(file, slice_str(key), slice_of(value, sizeof value), rig->why),
            ERR_OK);
    }
    cr_expect_neq(access(rig->path, F_OK), 0, "it has no name before its end");
    cr_assert_eq(account_file_finish(file, rig->why), ERR_OK, "%s", rig->why);
    account_file_close(file);
}

/* How many rows could be read, and how it ended. */
static enum err read_file(struct rig *rig, struct slice passphrase, int *count)
{
    struct account_file *file;
    struct account_file_head head;
    struct slice key;
    struct slice value;
    bool is_end = false;
    *count = 0;
    enum err err = account_file_open(rig->path, passphrase, &head, &file, rig->why);
    if (err != ERR_OK) {
        return err;
    }
    cr_expect_eq(head.account.value, 77);
    cr_expect(head.is_moved);
    while (err == ERR_OK && !is_end) {
        err = account_file_next(file, &key, &value, &is_end, rig->why);
        if (err == ERR_OK && !is_end) {
            cr_expect_eq(value.len, 60000);
            cr_expect_eq(value.data[59999], 'a' + *count);
            *count += 1;
        }
    }
    account_file_close(file);
    return err;
}

Test(account_file, gives_back_what_was_put_in_and_only_for_its_passphrase, .timeout = 60)
{
    struct rig rig;
    struct stat info;
    int count;
    rig_init(&rig);
    write_file(&rig);
    cr_assert_eq(stat(rig.path, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600);
    cr_expect_gt(info.st_size, ROWS * 60000);
    cr_expect_eq(read_file(&rig, PASSPHRASE, &count), ERR_OK, "%s", rig.why);
    cr_expect_eq(count, ROWS);
    cr_expect_eq(read_file(&rig, SLICE("another passphrase"), &count), ERR_BAD_FIELD);
    const struct account_file_head head = {.account = {78}};
    struct account_file *file;
    cr_expect_eq(account_file_create(rig.path, PASSPHRASE, &head, &file, rig.why), ERR_BAD_FIELD,
                 "nothing is written over");
    temp_folder_drop(rig.folder);
}

Test(account_file, that_was_changed_or_cut_is_refused, .timeout = 60)
{
    struct rig rig;
    struct stat info;
    int count;
    rig_init(&rig);
    write_file(&rig);
    cr_assert_eq(stat(rig.path, &info), 0);
    const off_t places[] = {0, 9, 20, 40, 300000, info.st_size - 1};
    int fd = open(rig.path, O_RDWR);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char byte;
        cr_assert_eq(pread(fd, &byte, 1, places[i]), 1);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, places[i]), 1);
        cr_expect_neq(read_file(&rig, PASSPHRASE, &count), ERR_OK, "byte %lld",
                      (long long)places[i]);
        cr_expect_lt(count, ROWS);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, places[i]), 1);
    }
    cr_expect_eq(read_file(&rig, PASSPHRASE, &count), ERR_OK);
    const off_t ends[] = {info.st_size - 1, info.st_size / 2, 30, 5, 0};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        cr_assert_eq(ftruncate(fd, ends[i]), 0);
        cr_expect_neq(read_file(&rig, PASSPHRASE, &count), ERR_OK, "cut at %lld",
                      (long long)ends[i]);
    }
    cr_assert_eq(close(fd), 0);
    temp_folder_drop(rig.folder);
}

/* ---- which rows ------------------------------------------------------------------------------ */

static void put(struct kv *kv, struct account_id account, struct key key)
{
    uint32_t family = key_account_shard(kv_shard_count(kv), account);
    cr_assert_eq(temp_put(kv, family, key_slice(&key), SLICE("value")), ERR_OK);
}

static void put_account(struct kv *kv, struct account_id account, struct id_maker *ids)
{
    struct sha256 hash = crypto_sha256(SLICE("x"));
    struct id mail = id_make(ids, account, 1000);
    put(kv, account, key_account(account));
    put(kv, account, key_mail(account, mail));
    put(kv, account, key_chunk(account, mail, 0));
    put(kv, account, key_suppression(account, SLICE("r@dest.test")));
    put(kv, account, key_outbox(500, account, mail, 0));
    put(kv, account, key_outbox(900, account, mail, 1));
    for (uint32_t day = 100; day < 103; day++) {
        put(kv, account, key_idempotency(day, account, &hash));
        put(kv, account, key_attachment_data(day, account, mail, 0, 0));
    }
}

Test(account_rows, are_all_of_one_account_and_end_with_what_is_due_and_itself, .timeout = 60)
{
    const struct account_id accounts[] = {{5}, {6}, {7}};
    struct rig rig;
    struct id_maker ids;
    struct slice key;
    struct slice value;
    char order[32] = "";
    size_t count = 0;
    rig_init(&rig);
    struct kv *kv = temp_open(rig.path, 1);
    id_maker_init(&ids, 0);
    for (size_t i = 0; i < ARRAY_LEN(accounts); i++) {
        put_account(kv, accounts[i], &ids);
    }
    struct id staged = id_make(&ids, accounts[1], 2000);
    put(kv, accounts[1], key_stage(accounts[1], staged));
    put(kv, accounts[1], key_chunk(accounts[1], staged, 1));
    struct key foreign = key_directory(DIRECTORY_EMAIL, SLICE("a@b.test"));
    put(kv, accounts[1], foreign);
    struct account_rows *rows = account_rows_new(kv, accounts[1]);
    enum account_rows_next next;
    while ((next = account_rows_next(rows, &key, &value)) != ACCOUNT_ROWS_END) {
        cr_assert_neq(next, ACCOUNT_ROWS_FAILED);
        if (next == ACCOUNT_ROW) {
            struct account_id owner;
            cr_assert(account_rows_is_one(key, &owner));
            cr_expect_eq(owner.value, 6);
            cr_assert_lt(count, sizeof order - 1);
            order[count++] = key.data[0];
        }
    }
    cr_expect_str_eq(order, "CMSBBBIIIOOA", "%s", order);
    struct account_id owner;
    cr_expect_not(account_rows_is_one(key_slice(&foreign), &owner));
    account_rows_free(rows);
    kv_close(kv);
    temp_folder_drop(rig.folder);
}

Test(account_file, waits_for_no_pipe, .timeout = 60)
{
    struct rig rig;
    struct account_file *file;
    struct account_file_head head = {.account = {7}};
    char path[TEMP_PATH_MAX + 32];
    rig_init(&rig);
    cr_assert_eq(mkfifo(rig.path, 0600), 0);
    cr_expect_eq(account_file_open(rig.path, PASSPHRASE, &head, &file, rig.why), ERR_BAD_FIELD);
    cr_expect_eq(unlink(rig.path), 0);
    (void)snprintf(path, sizeof path, "%s.partial", rig.path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(account_file_create(rig.path, PASSPHRASE, &head, &file, rig.why), ERR_OK);
    account_file_close(file);
    temp_folder_drop(rig.folder);
}
