/* key_scan.c - what is found by walking over keys: those bound to a domain, and those about to
 * expire.
 *
 * A key that gets an expiry more than KEY_EXPIRING_MS away has a row under the moment at which its
 * owner is to be told. The row moves with the expiry and goes with the key; the sweep tells of
 * those whose moment has come, once. So a key that never had that long to live is not told of, and
 * neither is one that was rotated: its end was chosen.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

#define BOUND_BYTES_MAX ((KEYS_PER_ACCOUNT + 64) * sizeof(struct credential))

static void scan_work(struct shard_job *job);
static void scan_done(struct shard_job *job);
static void tell(struct shard *shard, const struct key_due_ref *ref);
static bool is_bound(const struct row_api_key *row, struct slice domain);
static uint64_t due_of(uint64_t expires_unix_ms);

/* ---- those bound to a domain ---------------------------------------------------------------- */

enum err api_keys_of_domain(const struct shard *shard, struct id domain, struct arena *arena,
                            struct credential **list, uint32_t *count)
{
    char text[ID_TEXT_MAX];
    struct slice wanted = slice_of(text, id_text(ID_DOMAIN, domain, text));
    struct account_id account = id_account(domain);
    struct key from = key_prefix_api_key_ids(account);
    struct key to = key_after(&from);
    struct arena scratch;
    struct buf found;
    struct slice key;
    struct slice value;
    uint32_t seen = 0;
    uint32_t n = 0;
    arena_init(&scratch, 4 * KIB, 16 * MIB);
    buf_init(&found, BOUND_BYTES_MAX);
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    while (seen < KEYS_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        struct row_api_key_id index;
        struct row_api_key row;
        struct slice bytes;
        seen++;
        arena_clear(&scratch);
        if (row_api_key_id_decode(value, &index) != ERR_OK) {
            continue; /* nobody can use a damaged one */
        }
        struct key at = key_api_key(account, &index.hash);
        if (shard_load(shard, &at, &scratch, &bytes) == ERR_OK &&
            row_api_key_decode(bytes, &row) == ERR_OK && is_bound(&row, wanted)) {
            struct credential credential = credential_key(&index.hash);
            buf_add_bytes(&found, &credential, sizeof(credential));
            n++;
        }
    }
    enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    if (err == ERR_OK) {
        *list = arena_array(arena, n, sizeof(**list));
        if (n > 0) {
            memcpy(*list, found.data, found.len);
        }
        *count = n;
    }
    buf_fini(&found);
    arena_fini(&scratch);
    return err;
}

static bool is_bound(const struct row_api_key *row, struct slice domain)
{
    struct slice rest = row->domains;
    struct slice item;
    while (get_slice(&rest, &item)) {
        if (slice_equal(item, domain)) {
            return true;
        }
    }
    return false;
}

/* ---- those about to expire ------------------------------------------------------------------ */

static uint64_t due_of(uint64_t expires_unix_ms)
{
    return expires_unix_ms > KEY_EXPIRING_MS ? expires_unix_ms - KEY_EXPIRING_MS : 0;
}

void api_key_due_move(struct shard *shard, const struct api_key_due *due)
{
    struct account_id account = id_account(due->key);
    uint64_t before = due_of(due->before_unix_ms);
    uint64_t after = due_of(due->after_unix_ms);
    if (before == after) {
        return;
    }
    if (before != 0) {
        shard_delete(shard, key_key_due(before, account, due->key));
    }
    if (after > clock_unix_ms()) {
        struct row_key_due row = {.hash = due->hash};
        shard_put_key_due(shard, key_key_due(after, account, due->key), &row);
    }
}

void api_key_due_sweep(struct shard *shard)
{
    struct due_scan *scan = &shard->due_scan;
    if (scan->is_running || shard->is_draining) {
        return;
    }
    struct key nobody =
        key_key_due(clock_unix_ms(), (struct account_id){0}, (struct id){.bytes = {0}});
    scan->is_running = true;
    scan->from = key_prefix_key_dues();
    scan->to = nobody;
    shard_offload(shard, &scan->job, scan_work, scan_done);
}

/* Worker. One page; the loop keeps off the scan while it runs. */
static void scan_work(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct due_scan *scan = &shard->due_scan;
    struct slice key;
    struct slice value;
    scan->count = 0;
    scan->has_more = false;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&scan->from), key_slice(&scan->to), false);
    while (kv_iter_next(iter, &key, &value)) {
        struct key_due_ref *ref = &scan->refs[scan->count];
        struct row_key_due row;
        struct outbox_ref at;
        CHECK(key.len < KEY_MAX);
        if (scan->count == KEY_DUE_PAGE) {
            memcpy(scan->from.bytes, key.data, key.len);
            scan->from.len = (uint16_t)key.len;
            scan->has_more = true;
            break;
        }
        if (key_read_key_due(key, &at) != ERR_OK || row_key_due_decode(value, &row) != ERR_OK) {
            LOG_ERROR("key.due_damaged", LOG_U64("family", shard->family));
            continue;
        }
        *ref =
            (struct key_due_ref){.due_unix_ms = at.due_unix_ms, .key = at.mail, .hash = row.hash};
        scan->count++;
    }
    scan->err = scan->has_more ? ERR_OK : kv_iter_err(iter);
    kv_iter_close(iter);
}

static void scan_done(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct due_scan *scan = &shard->due_scan;
    scan->is_running = false;
    for (uint32_t i = 0; i < scan->count; i++) {
        tell(shard, &scan->refs[i]);
    }
    if (scan->err != ERR_OK) {
        LOG_ERROR("key.due_scan", LOG_U64("family", shard->family), LOG_ERR(scan->err));
    } else if (scan->has_more && !shard->is_draining) {
        scan->is_running = true;
        shard_offload(shard, &scan->job, scan_work, scan_done);
    }
}

/* The row of the moment goes whatever it leads to; what it leads to may have changed. */
static void tell(struct shard *shard, const struct key_due_ref *ref)
{
    struct account_id account = id_account(ref->key);
    struct key at = key_key_due(ref->due_unix_ms, account, ref->key);
    struct row_key_due due;
    struct row_api_key key = {.is_revoked = false};
    enum err err = shard_get_key_due(shard, at, &shard->scratch, &due);
    if (err == ERR_OK) {
        err = shard_get_api_key(shard, key_api_key(account, &ref->hash), &shard->scratch, &key);
    } else if (err == ERR_NOT_FOUND) {
        return; /* moved or told meanwhile */
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        LOG_ERROR("key.due", LOG_ID("key", ID_KEY, ref->key), LOG_ERR(err));
        return; /* the next sweep tries again */
    }
    bool is_meant = err == ERR_OK && !key.is_revoked && id_is_none(key.replaced_by) &&
                    due_of(key.expires_unix_ms) == ref->due_unix_ms;
    shard_delete(shard, at);
    if (is_meant) {
        struct audit_note note = {
            .account = account,
            .action = "api_key.expiring",
            .detail = key.name,
        };
        shard_audit_id(shard, &note, ID_KEY, ref->key);
        LOG_INFO("key.expiring", LOG_ID("key", ID_KEY, ref->key));
    }
}
