/* idempotency.c - what was asked for before under the same key of the client's.
 *
 * A note stands under the day it was made on, so that a day's notes go with one range; whoever
 * looks for one looks at today's and yesterday's.
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

enum err idempotency_find(struct shard *shard, const struct idempotency *key,
                          const struct sha256 *body_hash, struct row_idempotency *row)
{
    uint32_t today = clock_day_of(key->now_unix_ms);
    for (uint32_t i = 0; i < 2 && i <= today; i++) {
        enum err err = shard_get_idempotency(
            shard, key_idempotency(today - i, key->account, &key->hash), &shard->scratch, row);
        if (err == ERR_NOT_FOUND ||
            (err == ERR_OK && row->created_unix_ms + IDEMPOTENCY_MS <= key->now_unix_ms)) {
            continue;
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
