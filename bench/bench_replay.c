/* bench_replay.c - what the disk and RocksDB can do with the mails that a daemon has accepted:
 * their very rows, so many mails in a batch, one sync after each, in a loop that does nothing else.
 *
 * STORE is one that bench/run has filled with POST /v1/send from one account; its rows are read
 * into memory and committed to a new store in FOLDER until the time is over, the same mails again
 * and again under keys of their own. That rate is what accepting is held against.
 *
 * Usage: bench_replay STORE FOLDER MAILS_PER_BATCH. Prints `name value unit`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/key.h"
#include "kv/kv.h"
#include "kv/row.h"

#define RUN_MS    4000
#define MAILS_MAX 20000
#define ROWS_MAX  16 /* of one mail */

struct kept_row {
    struct slice key;
    struct slice value;
};

struct mail {
    struct kept_row rows[ROWS_MAX];
    uint32_t row_count;
};

struct replay {
    struct kv *from;
    struct kv *to;
    struct arena arena;
    struct mail *mails;
    uint32_t mail_count;
    uint32_t family;
    struct kept_row each_batch[2]; /* the usage of the day, the floor of ids */
    uint64_t copies;               /* of all mails; each round has keys of its own */
};

static void keep(struct replay *replay, struct mail *mail, struct slice key, struct slice value)
{
    CHECK(mail->row_count < ROWS_MAX);
    mail->rows[mail->row_count++] =
        (struct kept_row){arena_dup(&replay->arena, key), arena_dup(&replay->arena, value)};
}

static struct kv_iter *scan(struct replay *replay, const struct key *prefix)
{
    struct key end = key_after(prefix);
    return kv_iter_open(replay->from, replay->family, key_slice(prefix), key_slice(&end), false);
}

static void finish(struct kv_iter *iter)
{
    if (kv_iter_err(iter) != ERR_OK) {
        fatal("the store cannot be read; run the benchmark again");
    }
    kv_iter_close(iter);
}

static void keep_all(struct replay *replay, struct mail *mail, const struct key *prefix)
{
    struct slice key;
    struct slice value;
    struct kv_iter *iter = scan(replay, prefix);
    while (kv_iter_next(iter, &key, &value)) {
        keep(replay, mail, key, value);
    }
    finish(iter);
}

/* The account with the mails is alone in its shard's mails. */
static bool find_account(struct replay *replay, struct account_id *account)
{
    struct key prefix = key_prefix_accounts();
    for (uint32_t i = 0; i < kv_shard_count(replay->from); i++) {
        struct slice key;
        struct slice value;
        struct row_account row;
        replay->family = i;
        struct kv_iter *iter = scan(replay, &prefix);
        bool is_found =
            kv_iter_next(iter, &key, &value) && row_account_decode(value, &row) == ERR_OK;
        kv_iter_close(iter);
        if (is_found) {
            *account = row.id;
            return true;
        }
    }
    return false;
}

static void load_mails(struct replay *replay, struct account_id account)
{
    struct key mails = key_prefix_mails(account);
    struct slice key;
    struct slice value;
    struct kv_iter *iter = scan(replay, &mails);
    while (replay->mail_count < MAILS_MAX && kv_iter_next(iter, &key, &value)) {
        struct mail *mail = &replay->mails[replay->mail_count++];
        struct row_mail row;
        if (row_mail_decode(value, &row) != ERR_OK) {
            fatal("a mail does not decode; run the benchmark again");
        }
        struct id id = row.id;
        keep(replay, mail, key, value);
        struct key chunks = key_chunk(account, id, 0);
        struct key deliveries = key_prefix_deliveries(account, id);
        struct key events = key_prefix_events(account, id);
        keep_all(replay, mail, &chunks);
        keep_all(replay, mail, &deliveries);
        keep_all(replay, mail, &events);
    }
    finish(iter);
}

/* Outbox rows stand in the order in which their mails came. */
static void load_outbox(struct replay *replay)
{
    struct key outbox = key_prefix_outbox();
    struct slice key;
    struct slice value;
    uint32_t at = 0;
    struct kv_iter *iter = scan(replay, &outbox);
    while (at < replay->mail_count && kv_iter_next(iter, &key, &value)) {
        keep(replay, &replay->mails[at++], key, value);
    }
    finish(iter);
}

static void load_each_batch(struct replay *replay, struct account_id account)
{
    struct key keys[2] = {key_usage(account, clock_day_of(clock_unix_ms())), key_shard_meta()};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct slice value = SLICE("");
        if (kv_get(replay->from, replay->family, key_slice(&keys[i]), &replay->arena, &value) !=
            ERR_OK) {
            continue; /* midnight passed */
        }
        replay->each_batch[i] =
            (struct kept_row){arena_dup(&replay->arena, key_slice(&keys[i])), value};
    }
}

/* The account's number makes a second copy another mail; its order stays that of time. */
static void put_row(struct replay *replay, struct kv_batch *batch, const struct kept_row *row)
{
    struct key key;
    bool has_room = key_copy(row->key, &key);
    CHECK(has_room && key.len > 17);
    size_t account_at = key.bytes[0] == 'O' ? 9 : 1; /* behind the time */
    for (size_t i = 0; i < 8; i++) {
        key.bytes[account_at + i] ^= (uint8_t)(replay->copies >> (8 * (7 - i)));
    }
    if (row->value.len >= KV_BLOB_MIN) {
        kv_batch_put_body(batch, key_slice(&key), row->value);
    } else {
        kv_batch_put(batch, key_slice(&key), row->value);
    }
}

static uint64_t commit_batch(struct replay *replay, struct kv_batch *batch, uint64_t first,
                             uint64_t count)
{
    uint64_t bytes;
    kv_batch_clear(batch);
    for (uint64_t i = 0; i < count; i++) {
        const struct mail *mail = &replay->mails[(first + i) % replay->mail_count];
        replay->copies = (first + i) / replay->mail_count;
        for (uint32_t n = 0; n < mail->row_count; n++) {
            put_row(replay, batch, &mail->rows[n]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(replay->each_batch); i++) {
        if (replay->each_batch[i].key.len > 0) {
            kv_batch_put(batch, replay->each_batch[i].key, replay->each_batch[i].value);
        }
    }
    bytes = kv_batch_bytes(batch);
    if (kv_write(replay->to, batch) != ERR_OK || kv_sync(replay->to) != ERR_OK) {
        fatal("the store could not be written: give another folder");
    }
    return bytes;
}

static void run(struct replay *replay, uint64_t per_batch)
{
    struct kv_batch *batch = kv_batch_new(replay->family);
    uint64_t begun_us = clock_mono_us();
    uint64_t mails = 0;
    uint64_t bytes = 0;
    uint64_t rows = 0;
    while (clock_mono_us() - begun_us < RUN_MS * 1000) {
        bytes += commit_batch(replay, batch, mails, per_batch);
        rows += kv_batch_rows(batch);
        mails += per_batch;
    }
    double seconds = (double)(clock_mono_us() - begun_us) / 1e6;
    printf("bare_commit %.0f mails/s\n", (double)mails / seconds);
    printf("bare_commit_batch %" PRIu64 " mails\n", per_batch);
    printf("bare_commit_rows %.1f rows/mail\n", (double)rows / (double)mails);
    printf("bare_commit_bytes %.0f bytes/mail\n", (double)bytes / (double)mails);
    kv_batch_free(batch);
}

int main(int argc, char **argv)
{
    struct replay replay = {.mail_count = 0};
    struct account_id account;
    uint64_t per_batch = 0;
    if (argc != 4 || slice_uint(slice_str(argv[3]), 4096, &per_batch) != ERR_OK || per_batch == 0) {
        fatal("usage: bench_replay STORE FOLDER MAILS_PER_BATCH");
    }
    log_set_level(LOG_LEVEL_ERROR);
    /* As main.c opens it. */
    struct kv_options options = {.path = slice_str(argv[1]),
                                 .cache_bytes = 48 * MIB,
                                 .memtable_bytes = 64 * MIB,
                                 .is_read_only = true,
                                 .must_exist = true};
    if (kv_open(&options, &replay.from) != ERR_OK) {
        fatal("cannot open %s; the line above says why", argv[1]);
    }
    arena_init(&replay.arena, MIB, 1024 * MIB);
    replay.mails = mem_zalloc(MAILS_MAX * sizeof(*replay.mails));
    if (!find_account(&replay, &account)) {
        fatal("no account in %s", argv[1]);
    }
    load_mails(&replay, account);
    load_outbox(&replay);
    load_each_batch(&replay, account);
    options.shard_count = kv_shard_count(replay.from);
    kv_close(replay.from);
    if (replay.mail_count == 0) {
        fatal("no mail in %s", argv[1]);
    }
    options.path = slice_str(argv[2]);
    options.is_read_only = false;
    options.must_exist = false;
    if (kv_open(&options, &replay.to) != ERR_OK) {
        fatal("cannot make a store in %s; give another folder", argv[2]);
    }
    run(&replay, per_batch);
    kv_close(replay.to);
    free(replay.mails);
    arena_fini(&replay.arena);
    return 0;
}
