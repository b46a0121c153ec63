/* import.c - an account that comes from elsewhere, as its shard writes it.
 *
 * The rows were checked one by one by whoever read the file; here it is made sure that they are
 * that account's and nobody else's, and that there is no account yet. The last one is the account:
 * a crash before leaves rows that nobody asks for, which the next import of it takes away.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/account_rows.h"
#include "shards/shard_int.h"

#define AHEAD_MAX_MS (UINT64_C(24) * 3600 * 1000) /* no clock is; ids follow no further */

static enum err check_rows(const struct shard_import *body)
{
    struct slice rest = body->rows;
    struct account_id owner;
    struct slice key;
    struct slice value;
    bool has_values = body->op != IMPORT_CLEAR;
    uint32_t count = 0;
    while (rest.len > 0) {
        if (!get_slice(&rest, &key) || (has_values && !get_slice(&rest, &value)) ||
            !account_rows_is_one(key, &owner) || owner.value != body->account.value) {
            return ERR_INVALID;
        }
        struct key own = key_account(body->account);
        bool is_last = slice_equal(key, key_slice(&own));
        if (is_last != (body->op == IMPORT_LAST)) {
            return ERR_INVALID;
        }
        count += 1;
    }
    return count > 0 && (body->op != IMPORT_LAST || count == 1) ? ERR_OK : ERR_INVALID;
}

static enum err check(struct shard *shard, const struct shard_import *body)
{
    struct row_account row;
    if (place_shard(shard->place, body->account) != &shard->actor) {
        return ERR_INVALID;
    }
    if (shard->is_draining) {
        return ERR_DRAINING;
    }
    if (shard->free_bytes < shard->place->conf->reserve_mb * MIB) {
        shard_probe(shard);
        return ERR_STORAGE;
    }
    enum err err = shard_get_account(shard, key_account(body->account), &shard->scratch, &row);
    if (err != ERR_NOT_FOUND) {
        return err == ERR_OK ? ERR_EXISTS : err;
    }
    return check_rows(body);
}

/* Bodies are not asked for before they are on disk. */
static bool is_body(struct slice key)
{
    const struct key_shape *shape = key_shape_of(key);
    return shape != NULL && shape->row == ROW_CHUNK;
}

/* The other server's clock may be ahead: what comes is not to be given out once more here. */
static void raise_floor(struct shard *shard, struct slice key)
{
    struct key_parts parts;
    uint64_t last_ms = clock_unix_ms() + AHEAD_MAX_MS;
    if (key_read(key, &parts) != ERR_OK) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts.ids); i++) {
        uint64_t ms = id_unix_ms(parts.ids[i]);
        if (ms >= shard->ids.last_ms && ms <= last_ms) {
            id_maker_init(&shard->ids, ms);
        }
    }
}

static void write_rows(struct shard *shard, const struct shard_import *body)
{
    struct slice rest = body->rows;
    struct slice key;
    struct slice value;
    while (rest.len > 0 && get_slice(&rest, &key)) {
        if (body->op == IMPORT_CLEAR) {
            kv_batch_delete(shard->filling->rows, key);
            row_cache_drop(&shard->cache, key);
            continue;
        }
        bool is_whole = get_slice(&rest, &value);
        CHECK(is_whole); /* check_rows saw it */
        raise_floor(shard, key);
        if (is_body(key)) {
            kv_batch_put_body(shard->filling->rows, key, value);
        } else {
            shard_put_bytes(shard, key, value);
        }
    }
    shard->depends = DEPENDS_FILLING;
}

void import_handle(struct shard *shard, struct msg *msg)
{
    const struct shard_import *body = &msg->body.import;
    enum err err = check(shard, body);
    if (err == ERR_OK) {
        write_rows(shard, body);
    }
    if (err == ERR_OK && body->op == IMPORT_LAST) {
        routing_forget(shard, body->account);
        announce_owe(shard, 0);
        announce_scan(shard);
    }
    shard_answer(shard, msg, err);
}
