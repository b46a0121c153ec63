/* An account that comes in from a file: what its shard writes and refuses, and a job that fails
 * leaves nothing.
 *
 * Not covered here: the file (kv_test_account_file), two servers with keys of their own
 * (flow/test_move).
 */
#include "kv/account_file.h"
#include "kv/account_rows.h"
#include "shards/account_seals.h"
#include "shards/keeper.h"
#include "unit/shards/shard_rig.h"

#define PASSPHRASE SLICE("twelve bytes and more")

static enum err import(struct rig *rig, enum import_op op, struct account_id account,
                       struct slice rows)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_IMPORT);
    msg->body.import =
        (struct shard_import){.op = op, .account = account, .rows = arena_dup(&msg->arena, rows)};
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    rig_put(rig, msg);
    return err;
}

static struct slice one_row(struct buf *pack, struct key key, struct slice value)
{
    buf_clear(pack);
    buf_put_slice(pack, key_slice(&key));
    buf_put_slice(pack, value);
    return buf_slice(pack);
}

static struct slice account_value(struct buf *out, struct account_id account)
{
    const struct row_account row = {.id = account, .name = SLICE("Come from elsewhere")};
    buf_clear(out);
    row_account_encode(&row, out);
    return buf_slice(out);
}

Test(import, account_is_there_with_its_own_row_and_not_before, .timeout = 120)
{
    struct rig *rig = rig_open();
    struct account_id account = account_random();
    struct account_id other = {account.value ^ 1};
    struct buf pack;
    struct buf value;
    buf_init(&pack, MIB);
    buf_init(&value, MIB);
    struct key row = key_suppression(account, SLICE("r@dest.test"));
    struct key own = key_account(account);
    struct key name = key_directory(DIRECTORY_DOMAIN, SLICE("a.test"));
    struct slice bytes = account_value(&value, account);
    cr_expect_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, row, bytes)), ERR_OK);
    cr_expect(rig_has(rig, account, row));
    cr_expect(suppression_filter_may_have(&rig_state(rig, account)->suppressions, key_slice(&row)));
    cr_expect_eq(import(rig, IMPORT_ROWS, account, SLICE("")), ERR_INVALID);
    cr_expect_eq(import(rig, IMPORT_ROWS, account, SLICE("\x05")), ERR_INVALID);
    cr_expect_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, own, bytes)), ERR_INVALID);
    cr_expect_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, name, bytes)), ERR_INVALID);
    struct key foreign = key_suppression(other, SLICE("r@dest.test"));
    cr_expect_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, foreign, bytes)), ERR_INVALID);
    cr_expect_eq(import(rig, IMPORT_LAST, account, one_row(&pack, row, bytes)), ERR_INVALID);
    buf_clear(&pack);
    buf_put_slice(&pack, key_slice(&row));
    cr_expect_eq(import(rig, IMPORT_CLEAR, account, buf_slice(&pack)), ERR_OK);
    cr_expect_not(rig_has(rig, account, row));
    cr_expect_eq(import(rig, IMPORT_LAST, account, one_row(&pack, own, bytes)), ERR_OK);
    cr_expect(rig_has(rig, account, own));
    cr_expect_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, row, bytes)), ERR_EXISTS);
    cr_expect_eq(import(rig, IMPORT_LAST, account, one_row(&pack, own, bytes)), ERR_EXISTS);
    buf_clear(&pack);
    buf_put_slice(&pack, key_slice(&own));
    cr_expect_eq(import(rig, IMPORT_CLEAR, account, buf_slice(&pack)), ERR_EXISTS,
                 "an account is not taken away");
    buf_fini(&pack);
    buf_fini(&value);
    rig_close(rig);
}

static struct id id_at(uint64_t unix_ms)
{
    struct id id = {.bytes = {0}};
    for (size_t i = 0; i < 6; i++) {
        id.bytes[i] = (uint8_t)(unix_ms >> (40 - 8 * i));
    }
    return id;
}

Test(import, ids_that_came_are_not_given_out_again, .timeout = 120)
{
    struct rig *rig = rig_open();
    struct account_id account = account_random();
    struct shard *shard = rig_state(rig, account);
    uint64_t ahead_ms = clock_unix_ms() + UINT64_C(3600) * 1000; /* the other clock */
    uint64_t never_ms = ahead_ms + UINT64_C(1000) * 24 * 3600 * 1000;
    struct buf pack;
    buf_init(&pack, MIB);
    struct key key = key_mail(account, id_at(ahead_ms));
    cr_assert_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, key, SLICE("x"))), ERR_OK);
    cr_expect_gt(id_unix_ms(shard_id(shard, account)), ahead_ms);
    key = key_mail(account, id_at(never_ms));
    cr_assert_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, key, SLICE("x"))), ERR_OK);
    cr_expect_lt(id_unix_ms(shard_id(shard, account)), never_ms);
    buf_fini(&pack);
    rig_close(rig);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* An account with a mail and a domain, as its file. */
static struct account_id write_file(const char *path, uint32_t *rows_written)
{
    char why[ACCOUNT_FILE_WHY_MAX];
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_file_head head = {.account = account, .format = STORE_FORMAT, .is_moved = true};
    struct account_seals seals;
    struct account_file *file;
    struct arena scratch;
    struct buf row;
    struct slice key;
    struct slice value;
    (void)rig_domain(rig, account, "send.test");
    (void)rig_send(rig, account, "a@send.test", "r@dest.test");
    account_seals_init(&seals, &rig->master);
    arena_init(&scratch, 64 * KIB, 16 * MIB);
    buf_init(&row, 4 * MIB);
    cr_assert_eq(account_file_create(path, PASSPHRASE, &head, &file, why), ERR_OK, "%s", why);
    struct account_rows *rows = account_rows_new(rig->kv, account);
    enum account_rows_next next;
    *rows_written = 0;
    while ((next = account_rows_next(rows, &key, &value)) != ACCOUNT_ROWS_END) {
        if (next == ACCOUNT_ROW) {
            cr_assert_eq(account_row_export(&seals, key, value, &scratch, &row), ERR_OK);
            cr_assert_eq(account_file_put(file, key, buf_slice(&row), why), ERR_OK, "%s", why);
            *rows_written += 1;
        }
    }
    account_rows_free(rows);
    cr_assert_eq(account_file_finish(file, why), ERR_OK, "%s", why);
    account_file_close(file);
    buf_fini(&row);
    arena_fini(&scratch);
    rig_close(rig);
    return account;
}

static uint32_t count_rows(struct rig *rig, struct account_id account)
{
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    enum account_rows_next next;
    struct account_rows *rows = account_rows_new(rig->kv, account);
    while ((next = account_rows_next(rows, &key, &value)) != ACCOUNT_ROWS_END) {
        count += next == ACCOUNT_ROW;
    }
    account_rows_free(rows);
    return count;
}

static enum err directory(struct rig *rig, enum directory_op op, const char *name,
                          struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_DIRECTORY);
    msg->body.directory = (struct shard_directory){
        .op = op, .kind = DIRECTORY_DOMAIN, .name = slice_str(name), .account = account};
    enum err err = rig_call(rig, place_directory(&rig->place, slice_str(name)), msg);
    rig_put(rig, msg);
    return err;
}

static void start(struct rig *rig, struct keeper *keeper, const struct keep_wish *wish)
{
    struct msg *msg = rig_take(rig, MSG_KEEPER_JOB);
    msg->body.keep.op = KEEP_START;
    msg->body.keep.wish = *wish;
    cr_assert_eq(rig_call(rig, keeper_actor(keeper), msg), ERR_OK);
    rig_put(rig, msg);
}

static void cancel(struct rig *rig, struct keeper *keeper, uint64_t number)
{
    struct msg *msg = rig_take(rig, MSG_KEEPER_JOB);
    msg->body.keep.op = KEEP_CANCEL;
    msg->body.keep.boot = rig->place.boot;
    msg->body.keep.number = number;
    cr_assert_eq(rig_call(rig, keeper_actor(keeper), msg), ERR_OK);
    rig_put(rig, msg);
}

static enum keep_state await_end(struct rig *rig, struct keeper *keeper, uint64_t number)
{
    enum keep_state state = KEEP_RUNNING;
    struct msg *msg;
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (state == KEEP_RUNNING) {
        cr_assert_lt(rig_seconds(), end, "the job does not end");
        msg = rig_take(rig, MSG_KEEPER_JOB);
        msg->body.keep.op = KEEP_STATUS;
        msg->body.keep.boot = rig->place.boot;
        msg->body.keep.number = number;
        cr_assert_eq(rig_call(rig, keeper_actor(keeper), msg), ERR_OK);
        state = msg->body.keep.views[0].state;
        rig_put(rig, msg);
    }
    return state;
}

/* Runs the job to its end. */
static enum keep_state run_import(struct rig *rig, struct keeper *keeper, const char *path,
                                  uint64_t number)
{
    const struct keep_wish wish = {
        .type = KEEP_IMPORT, .path = slice_str(path), .passphrase = PASSPHRASE};
    start(rig, keeper, &wish);
    return await_end(rig, keeper, number);
}

static void end_keeper(struct rig *rig, struct keeper *keeper)
{
    struct msg *msg = rig_take(rig, MSG_KEEPER_CONTROL);
    msg->body.control.op = CONTROL_STOP;
    cr_assert_eq(rig_call(rig, keeper_actor(keeper), msg), ERR_OK);
    rig_put(rig, msg);
    rig_settle(rig);
}

/* The watch finds domains as they should be, and has nothing to write of them. */
static struct rig *open_calm(void)
{
    struct rig *rig = rig_open();
    rig->verify_checks = (struct domain_checks){.mx = true,
                                                .spf = true,
                                                .dkim_rsa = true,
                                                .dkim_ed = true,
                                                .dmarc = true,
                                                .return_path = true};
    return rig;
}

Test(import, job_that_fails_leaves_nothing_and_one_that_does_not_everything, .timeout = 120)
{
    char path[] = "/tmp/meerkat-import-XXXXXX";
    const struct account_id other = {4711};
    uint32_t row_count = 0;
    cr_assert_not_null(mkdtemp(path));
    char file[64];
    (void)snprintf(file, sizeof file, "%s/account", path);
    struct account_id account = write_file(file, &row_count);
    cr_assert_gt(row_count, 6);

    struct rig *rig = open_calm();
    struct keeper *keeper = keeper_new(&rig->place, rig->kv, &rig->loop);
    cr_assert_eq(directory(rig, DIRECTORY_CLAIM, "send.test", other), ERR_OK);
    cr_expect_eq(run_import(rig, keeper, file, 1), KEEP_FAILED, "its domain is somebody else's");
    cr_expect_eq(count_rows(rig, account), 0);
    cr_assert_eq(directory(rig, DIRECTORY_RELEASE, "send.test", other), ERR_OK);

    rig->fail_at = rig->commit_count + 4; /* in the middle: rows are written, claims are made */
    cr_expect_eq(run_import(rig, keeper, file, 2), KEEP_FAILED, "the disk refuses");
    rig->fail_at = 0;
    cr_expect_eq(count_rows(rig, account), 0);
    cr_expect_eq(directory(rig, DIRECTORY_GET, "send.test", other), ERR_NOT_FOUND);

    /* What an import that was killed has left. */
    struct buf pack;
    buf_init(&pack, MIB);
    struct key stale = key_suppression(account, SLICE("stale@dest.test"));
    cr_assert_eq(import(rig, IMPORT_ROWS, account, one_row(&pack, stale, SLICE("x"))), ERR_OK);
    buf_fini(&pack);
    cr_assert_eq(count_rows(rig, account), 1);

    cr_expect_eq(run_import(rig, keeper, file, 3), KEEP_DONE);
    cr_expect_not(rig_has(rig, account, stale));
    cr_expect_eq(count_rows(rig, account), row_count + 1, "and a line in its log");
    cr_expect(rig_has(rig, account, key_account(account)));
    cr_expect_eq(directory(rig, DIRECTORY_GET, "send.test", other), ERR_OK);
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (rig->entry_count == 0) {
        cr_assert_lt(rig_seconds(), end, "delivery does not know of its mail");
        rig_turn(rig);
    }
    cr_expect_eq(run_import(rig, keeper, file, 4), KEEP_FAILED, "it is there");
    cr_expect_eq(count_rows(rig, account), row_count + 1);
    end_keeper(rig, keeper);
    rig_halt(rig);
    keeper_free(keeper);
    rig_forget(rig);
    cr_expect_eq(unlink(file), 0);
    cr_expect_eq(rmdir(path), 0);
}

/* Cancelled behind each of its commits in turn, the last one's included. */
Test(import, job_that_is_cancelled_leaves_nothing_or_everything, .timeout = 120)
{
    char path[] = "/tmp/meerkat-import-XXXXXX";
    uint32_t row_count = 0;
    uint32_t undone = 0;
    uint64_t number = 0;
    bool is_there = false;
    char file[64];
    cr_assert_not_null(mkdtemp(path));
    (void)snprintf(file, sizeof file, "%s/account", path);
    struct account_id account = write_file(file, &row_count);
    struct rig *rig = open_calm();
    struct keeper *keeper = keeper_new(&rig->place, rig->kv, &rig->loop);
    const struct keep_wish wish = {
        .type = KEEP_IMPORT, .path = slice_str(file), .passphrase = PASSPHRASE};
    for (uint32_t commits = 1; !is_there; commits++) {
        uint32_t before = rig->commit_count;
        uint64_t end = rig_seconds() + RIG_WAIT_S;
        start(rig, keeper, &wish);
        while (rig->commit_count < before + commits) {
            cr_assert_lt(rig_seconds(), end, "it commits no more");
            rig_turn(rig);
        }
        cancel(rig, keeper, ++number);
        enum keep_state state = await_end(rig, keeper, number);
        is_there = rig_has(rig, account, key_account(account));
        cr_expect(is_there || state == KEEP_CANCELLED);
        undone += !is_there;
        if (!is_there) {
            cr_expect_eq(count_rows(rig, account), 0, "after %u commits", (unsigned)commits);
            cr_expect_eq(directory(rig, DIRECTORY_GET, "send.test", account), ERR_NOT_FOUND);
        }
    }
    cr_expect_geq(undone, 2, "behind its rows and its claim, at least");
    cr_expect_eq(count_rows(rig, account), row_count + 1, "the log's line as well");
    end_keeper(rig, keeper);
    rig_halt(rig);
    keeper_free(keeper);
    rig_forget(rig);
    cr_expect_eq(unlink(file), 0);
    cr_expect_eq(rmdir(path), 0);
}

Test(export, that_is_cancelled_lets_the_account_go_on, .timeout = 120)
{
    struct arena arena;
    struct rig *rig = open_calm();
    struct keeper *keeper = keeper_new(&rig->place, rig->kv, &rig->loop);
    struct account_id account = rig_signup(rig);
    const char *file = "/tmp/meerkat-export-that-never-comes-to-be";
    const struct keep_wish wish = {.type = KEEP_EXPORT,
                                   .path = slice_str(file),
                                   .passphrase = PASSPHRASE,
                                   .account = account,
                                   .is_move = true};
    arena_init(&arena, 64 * KIB, MIB);
    for (uint64_t number = 1; number <= 2; number++) {
        uint32_t before = rig->commit_count;
        uint64_t end = rig_seconds() + RIG_WAIT_S;
        start(rig, keeper, &wish);
        while (number == 2 && rig->commit_count == before) { /* and the first one at once */
            cr_assert_lt(rig_seconds(), end, "the account is not suspended");
            rig_turn(rig);
        }
        cancel(rig, keeper, number);
        cr_expect_eq(await_end(rig, keeper, number), KEEP_CANCELLED);
        cr_expect_not(rig_get_account(rig, account, key_account(account), &arena).is_suspended);
    }
    cr_expect_eq(access(file, F_OK), -1);
    arena_fini(&arena);
    end_keeper(rig, keeper);
    rig_halt(rig);
    keeper_free(keeper);
    rig_forget(rig);
}
