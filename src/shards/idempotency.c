/* idempotency.c - what was asked for before under the same key of the client's.
 *
 * A note stands under the day it was made on, so that a day's notes go with one range; whoever
 * looks for one looks at today's and yesterday's.
 *
 * A request is under way from its acceptance to the end of its commit: first in the list of those
 * that workers compose, then as a note in a batch that is not on disk. Both go by themselves: the
 * list's with its work, the batch's with the batch, whether that was stored or lost.
 */
#include "base/clock.h"
#include "shards/shard_int.h"

struct idempotency idempotency_of(const struct principal *who, struct slice text,
                                  uint64_t now_unix_ms, struct arena *arena)
{
    /* Test keys and live keys have their own names for the same thing: neither is told of the
     * other's. */
    bool is_test = who->has_key && who->key.mode == MODE_TEST;
    struct slice name = is_test ? arena_format(arena, "test\n%.*s", SLICE_FMT(text)) : text;
    return (struct idempotency){
        .account = who->account.id,
        .hash = crypto_sha256(name),
        .now_unix_ms = now_unix_ms,
    };
}

void idempotency_start(struct shard *shard, const struct idempotency *key,
                       struct idempotency_run *run)
{
    run->account = key->account;
    run->hash = key->hash;
    list_push_back(&shard->keys_running, &run->link);
}

void idempotency_stop(struct idempotency_run *run)
{
    if (run->link.next != NULL) {
        list_remove(&run->link);
    }
}

static bool is_running(const struct shard *shard, const struct idempotency *key)
{
    LIST_EACH (&shard->keys_running, it) {
        const struct idempotency_run *run = CONTAINER_OF(it, struct idempotency_run, link);
        if (run->account.value == key->account.value &&
            slice_equal(sha256_slice(&run->hash), sha256_slice(&key->hash))) {
            return true;
        }
    }
    return false;
}

/* A note that is in a batch only is no note yet; who asks for it is not kept until it is. */
static enum err find_on(struct shard *shard, const struct idempotency *key, uint32_t day,
                        struct row_idempotency *row, bool *is_stored)
{
    enum depends before = shard->depends;
    shard->depends = DEPENDS_NONE;
    enum err err = shard_get_idempotency(shard, key_idempotency(day, key->account, &key->hash),
                                         &shard->scratch, row);
    *is_stored = shard->depends == DEPENDS_NONE;
    shard->depends = before;
    return err;
}

enum err idempotency_find(struct shard *shard, const struct idempotency *key,
                          const struct sha256 *body_hash, struct row_idempotency *row)
{
    uint32_t today = clock_day_of(key->now_unix_ms);
    if (is_running(shard, key)) {
        return ERR_IDEMPOTENCY_RUNNING;
    }
    for (uint32_t i = 0; i < 2 && i <= today; i++) {
        bool is_stored = true;
        enum err err = find_on(shard, key, today - i, row, &is_stored);
        if (err == ERR_NOT_FOUND ||
            (err == ERR_OK && row->created_unix_ms + IDEMPOTENCY_MS <= key->now_unix_ms)) {
            continue;
        }
        if (err == ERR_OK && !is_stored) {
            return ERR_IDEMPOTENCY_RUNNING;
        }
        if (err == ERR_OK && !slice_equal(sha256_slice(&row->body_hash), sha256_slice(body_hash))) {
            return ERR_IDEMPOTENCY_REUSED;
        }
        return err;
    }
    return ERR_NOT_FOUND;
}

void idempotency_note(struct shard *shard, const struct idempotency *key,
                      const struct sha256 *body_hash, struct id mail)
{
    struct row_idempotency row = {
        .body_hash = *body_hash,
        .mail = mail,
        .created_unix_ms = key->now_unix_ms,
    };
    uint32_t today = clock_day_of(key->now_unix_ms);
    shard_put_idempotency(shard, key_idempotency(today, key->account, &key->hash), &row);
}

enum err idempotency_claim(struct shard *shard, const struct principal *who, struct slice text,
                           const struct sha256 *body_hash)
{
    struct row_idempotency row;
    struct idempotency key = idempotency_of(who, text, clock_unix_ms(), &shard->scratch);
    enum err err = idempotency_find(shard, &key, body_hash, &row);
    if (err == ERR_NOT_FOUND) {
        idempotency_note(shard, &key, body_hash, (struct id){.bytes = {0}});
        return ERR_OK;
    }
    return err;
}
