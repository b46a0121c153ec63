/* migrate.c - reading, checking and raising the format stamp.
 *
 * The stamp is the only row of the meta family. A step is written like this: it brings rows of
 * format n to n + 1 in batches of its own, may be run again over its own half-finished work, and
 * leaves the stamp alone; climb raises the stamp when the step's rows are synced. */
#include "kv/migrate.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "kv/key.h"
#include "kv/row.h"

#define STAMP_KEY       SLICE("format")
#define STAMP_MAX_BYTES 128

/* steps[n] leads from format n to n + 1; steps[0] is never run. */
struct migrate_plan {
    uint32_t format;
    enum err (*const *steps)(struct kv *kv);
};

static enum err open_by_plan(struct kv *kv, const struct migrate_plan *plan, uint64_t now_unix_ms,
                             struct store_stamp *stamp);
static enum err read_stamp(struct kv *kv, struct row_format *row, bool *found);
static enum err write_stamp(struct kv *kv, const struct row_format *row);
static enum err check_is_empty(struct kv *kv);
static enum err check_stamp(struct kv *kv, const struct migrate_plan *plan,
                            const struct row_format *row);
static enum err climb(struct kv *kv, const struct migrate_plan *plan, struct row_format *row);
static enum err claim_first_user(struct kv *kv);
static enum err find_oldest(struct kv *kv, struct row_account *oldest);
static struct row_account account_of_key(struct slice key);
static enum err damaged(const char *what);

enum err migrate_open(struct kv *kv, uint64_t now_unix_ms, struct store_stamp *stamp)
{
    static enum err (*const steps[STORE_FORMAT])(struct kv * kv) = {NULL, claim_first_user};
    const struct migrate_plan plan = {.format = STORE_FORMAT, .steps = steps};
    return open_by_plan(kv, &plan, now_unix_ms, stamp);
}

enum err migrate_look(struct kv *kv, struct store_stamp *stamp)
{
    const struct migrate_plan plan = {.format = STORE_FORMAT, .steps = NULL};
    struct row_format row = {.format = 0};
    bool found = false;
    enum err err = read_stamp(kv, &row, &found);
    if (err == ERR_OK && !found) {
        err = check_is_empty(kv);
        return err == ERR_OK ? ERR_NOT_FOUND : err;
    }
    if (err == ERR_OK) {
        err = check_stamp(kv, &plan, &row);
    }
    if (err == ERR_OK) {
        *stamp = (struct store_stamp){
            .format = row.format, .shard_count = row.shard_count, .boot = row.boots};
    }
    return err;
}

static enum err open_by_plan(struct kv *kv, const struct migrate_plan *plan, uint64_t now_unix_ms,
                             struct store_stamp *stamp)
{
    struct row_format row = {
        .format = plan->format,
        .shard_count = kv_shard_count(kv),
        .created_unix_ms = now_unix_ms,
        .boots = 0,
    };
    bool found = false;
    enum err err = read_stamp(kv, &row, &found);
    if (err != ERR_OK) {
        return err;
    }
    err = found ? check_stamp(kv, plan, &row) : check_is_empty(kv);
    if (err == ERR_OK) {
        err = climb(kv, plan, &row);
    }
    if (err == ERR_OK) {
        CHECK(row.format == plan->format);
        row.boots++; /* on disk before any lease carries it */
        err = write_stamp(kv, &row);
    }
    if (err == ERR_OK) {
        *stamp = (struct store_stamp){
            .format = row.format, .shard_count = row.shard_count, .boot = row.boots};
    }
    return err;
}

/* *row untouched when there is no stamp. */
static enum err read_stamp(struct kv *kv, struct row_format *row, bool *found)
{
    struct arena arena;
    arena_init(&arena, STAMP_MAX_BYTES, STAMP_MAX_BYTES);
    struct slice bytes = SLICE("");
    enum err err = kv_get(kv, KV_FAMILY_META, STAMP_KEY, &arena, &bytes);
    *found = err == ERR_OK;
    if (err == ERR_TOO_LARGE || (err == ERR_OK && row_format_decode(bytes, row) != ERR_OK)) {
        err = damaged("the format stamp cannot be read");
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    arena_fini(&arena);
    return err;
}

static enum err write_stamp(struct kv *kv, const struct row_format *row)
{
    struct buf bytes;
    buf_init(&bytes, STAMP_MAX_BYTES);
    row_format_encode(row, &bytes);
    CHECK(!bytes.is_over);
    struct kv_batch *batch = kv_batch_new(KV_FAMILY_META);
    kv_batch_put(batch, STAMP_KEY, buf_slice(&bytes));
    enum err err = kv_write(kv, batch);
    if (err == ERR_OK) {
        err = kv_sync(kv);
    }
    kv_batch_free(batch);
    buf_fini(&bytes);
    return err;
}

/* Without a stamp nothing was ever written; rows say that the stamp was lost. */
static enum err check_is_empty(struct kv *kv)
{
    const uint32_t shard_count = kv_shard_count(kv);
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < shard_count + 2 && err == ERR_OK; i++) {
        const uint32_t beyond = i == shard_count ? KV_FAMILY_DELIVER : KV_FAMILY_META;
        struct kv_iter *iter =
            kv_iter_open(kv, i < shard_count ? i : beyond, SLICE(""), SLICE(""), false);
        struct slice key = SLICE("");
        struct slice value = SLICE("");
        if (kv_iter_next(iter, &key, &value)) {
            err = damaged("the store has rows but no format stamp");
        } else {
            err = kv_iter_err(iter);
        }
        kv_iter_close(iter);
    }
    return err;
}

static enum err check_stamp(struct kv *kv, const struct migrate_plan *plan,
                            const struct row_format *row)
{
    if (row->format > plan->format) {
        LOG_ERROR("kv.too_new", LOG_U64("format", row->format), LOG_U64("known", plan->format),
                  LOG_STR("remedy", "the store was written by a newer meerkatd: upgrade this one"));
        return ERR_STORAGE;
    }
    if (row->format == 0 || row->boots == 0) {
        return damaged("the format stamp makes no sense");
    }
    if (row->shard_count != kv_shard_count(kv)) {
        return damaged("the format stamp and the families disagree on the number of shards");
    }
    return ERR_OK;
}

static enum err climb(struct kv *kv, const struct migrate_plan *plan, struct row_format *row)
{
    while (row->format < plan->format) {
        LOG_INFO("kv.migrate", LOG_U64("from", row->format), LOG_U64("to", row->format + 1));
        CHECK(plan->steps[row->format] != NULL);
        enum err err = plan->steps[row->format](kv);
        if (err == ERR_OK) {
            err = kv_sync(kv);
        }
        if (err != ERR_OK) {
            return err;
        }
        row->format++;
        err = write_stamp(kv, row);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* ---- 1 to 2 --------------------------------------------------------------------------------- */

/* Format 1 made nobody admin. From format 2 on the first user of a server is one, and holds a claim
 * that says so. A store with accounts has had its first user, so the claim goes to the oldest
 * account's, who stays what he is: whom to make admin, the operator decides. */
static enum err claim_first_user(struct kv *kv)
{
    struct slice name = SLICE("first-user"); /* SERVER_FIRST_USER of shards/msg.h */
    struct key key = key_directory(DIRECTORY_SERVER, name);
    uint32_t family = key_directory_shard(kv_shard_count(kv), name);
    struct arena arena;
    struct slice claim = SLICE("");
    struct row_account oldest = {.id = {0}};
    arena_init(&arena, STAMP_MAX_BYTES, STAMP_MAX_BYTES);
    enum err err = kv_get(kv, family, key_slice(&key), &arena, &claim);
    arena_fini(&arena);
    if (err != ERR_NOT_FOUND) {
        return err; /* this step was here before */
    }
    err = find_oldest(kv, &oldest);
    if (err != ERR_OK || oldest.id.value == 0) {
        return err;
    }
    struct row_directory row = {.account = oldest.id, .created_unix_ms = oldest.created_unix_ms};
    struct buf bytes;
    buf_init(&bytes, STAMP_MAX_BYTES);
    row_directory_encode(&row, &bytes);
    CHECK(!bytes.is_over);
    struct kv_batch *batch = kv_batch_new(family);
    kv_batch_put(batch, key_slice(&key), buf_slice(&bytes));
    err = kv_write(kv, batch);
    kv_batch_free(batch);
    buf_fini(&bytes);
    return err;
}

/* Its id and time; the id stays none when there is no account. */
static enum err find_oldest(struct kv *kv, struct row_account *oldest)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < kv_shard_count(kv) && err == ERR_OK; i++) {
        struct key from = key_prefix_accounts();
        struct key to = key_after(&from);
        struct kv_iter *iter = kv_iter_open(kv, i, key_slice(&from), key_slice(&to), false);
        struct slice key;
        struct slice value;
        while (kv_iter_next(iter, &key, &value)) {
            struct row_account row = account_of_key(key);
            if (row_account_decode(value, &row) != ERR_OK) {
                LOG_ERROR("kv.damaged", LOG_ACCOUNT("account", row.id)); /* yet it exists */
            }
            if (oldest->id.value == 0 || row.created_unix_ms < oldest->created_unix_ms) {
                oldest->id = row.id;
                oldest->created_unix_ms = row.created_unix_ms;
            }
        }
        err = kv_iter_err(iter);
        kv_iter_close(iter);
    }
    return err;
}

/* What is known of an account whose row is damaged: it may be the oldest only when it is the only
 * one. */
static struct row_account account_of_key(struct slice key)
{
    struct row_account row = {.id = {0}, .created_unix_ms = UINT64_MAX};
    for (size_t i = 1; i < key.len; i++) {
        row.id.value = row.id.value << 8 | (uint8_t)key.data[i];
    }
    return row;
}

static enum err damaged(const char *what)
{
    LOG_ERROR("kv.damaged", LOG_STR("what", what),
              LOG_STR("remedy", "restore the store from a backup"));
    return ERR_CORRUPT;
}
