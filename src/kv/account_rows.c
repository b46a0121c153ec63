/* account_rows.c - all rows of one account. */
#include "kv/account_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"

#define PASSED_MAX   512 /* others' rows in one call */
#define FAMILIES_MAX 64
#define KEPT_STAGES  (2 * STAGES_OPEN_MAX) /* of this run and the one before */

struct account_rows {
    struct kv *kv;
    struct kv_snapshot *snapshot;
    struct account_id account;
    uint32_t family; /* the shard */
    const struct key_shape *shapes[FAMILIES_MAX];
    uint32_t shape_count;
    uint32_t next; /* of the shapes; the one before is at hand */
    struct kv_iter *iter;
    struct id stages[KEPT_STAGES];
    uint32_t stage_count;
};

/* How a family is found again: 0 not at all; then in the order of writing. */
static int place_of(const struct key_shape *shape)
{
    bool is_late = shape->parts[0] == 'd' || shape->parts[0] == 'y';
    if (shape->row == ROW_STAGE ||
        (shape->parts[0] != 'a' && !(is_late && shape->parts[1] == 'a'))) {
        return 0;
    }
    switch (shape->row) {
    case ROW_ACCOUNT:
        return 4;
    case ROW_OUTBOX:
        return 3;
    default:
        return is_late ? 2 : 1;
    }
}

static void pick_families(struct account_rows *rows)
{
    size_t count;
    const struct key_shape *shapes = key_shapes(&count);
    CHECK(count <= FAMILIES_MAX);
    for (int place = 1; place <= 4; place++) {
        for (size_t i = 0; i < count; i++) {
            if (place_of(&shapes[i]) == place) {
                rows->shapes[rows->shape_count++] = &shapes[i];
            }
        }
    }
}

/* The tag, for families by time the day or hour, and the account. */
static struct key start_of(const struct account_rows *rows, const struct key_shape *shape,
                           uint64_t time)
{
    struct key key = {.len = 1, .bytes = {(uint8_t)shape->tag}};
    size_t time_len = shape->parts[0] == 'y' ? 4 : shape->parts[0] == 'd' ? 8 : 0;
    for (size_t i = time_len; i-- > 0;) {
        key.bytes[key.len++] = (uint8_t)(time >> (8 * i));
    }
    for (size_t i = 8; i-- > 0;) {
        key.bytes[key.len++] = (uint8_t)(rows->account.value >> (8 * i));
    }
    return key;
}

static struct kv_iter *open_family(const struct account_rows *rows, const struct key_shape *shape)
{
    struct key from = start_of(rows, shape, 0);
    struct key whole = {.len = 1, .bytes = {(uint8_t)shape->tag}};
    struct key to = key_after(shape->parts[0] == 'a' ? &from : &whole);
    const struct kv_scan scan = {
        .snapshot = rows->snapshot,
        .family = rows->family,
        .from = key_slice(shape->parts[0] == 'a' ? &from : &whole),
        .to = key_slice(&to),
        .is_bulk = true,
    };
    return kv_scan_open(rows->kv, &scan);
}

static enum err find_stages(struct account_rows *rows)
{
    const struct key_shape *shape = key_shape_named(SLICE("stage"));
    struct slice key;
    struct slice value;
    struct key_parts parts;
    CHECK(shape != NULL);
    struct kv_iter *iter = open_family(rows, shape);
    while (rows->stage_count < KEPT_STAGES && kv_iter_next(iter, &key, &value)) {
        if (key_read(key, &parts) == ERR_OK) {
            rows->stages[rows->stage_count++] = parts.ids[0];
        }
    }
    enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err;
}

static bool is_staged(const struct account_rows *rows, const struct key_parts *parts)
{
    bool is_found = false;
    for (uint32_t i = 0; i < rows->stage_count && parts->shape->row == ROW_CHUNK; i++) {
        is_found |= id_equal(rows->stages[i], parts->ids[0]);
    }
    return is_found;
}

struct account_rows *account_rows_new(struct kv *kv, struct account_id account)
{
    struct account_rows *rows = mem_zalloc(sizeof *rows);
    rows->kv = kv;
    rows->account = account;
    rows->family = key_account_shard(kv_shard_count(kv), account);
    rows->snapshot = kv_snapshot_new(kv);
    pick_families(rows);
    return rows;
}

void account_rows_free(struct account_rows *rows)
{
    if (rows == NULL) {
        return;
    }
    kv_iter_close(rows->iter);
    kv_snapshot_free(rows->kv, rows->snapshot);
    free(rows);
}

const char *account_rows_at(const struct account_rows *rows)
{
    return rows->next == 0 ? "" : rows->shapes[rows->next - 1]->name;
}

/* In a family by day: to the account's place in that day, or in the next. */
static void pass_by(struct account_rows *rows, const struct key_parts *parts)
{
    if (parts->shape->parts[0] == 'y') {
        bool is_before = parts->account.value < rows->account.value;
        struct key key = start_of(rows, parts->shape, parts->day + (is_before ? 0 : 1));
        kv_iter_seek(rows->iter, key_slice(&key));
    }
}

enum account_rows_next account_rows_next(struct account_rows *rows, struct slice *key,
                                         struct slice *value)
{
    struct key_parts parts;
    if (rows->next == 0 && find_stages(rows) != ERR_OK) {
        return ACCOUNT_ROWS_FAILED;
    }
    for (uint32_t passed = 0; passed < PASSED_MAX; passed++) {
        if (rows->iter == NULL) {
            if (rows->next == rows->shape_count) {
                return ACCOUNT_ROWS_END;
            }
            rows->iter = open_family(rows, rows->shapes[rows->next++]);
        }
        if (!kv_iter_next(rows->iter, key, value)) {
            enum err err = kv_iter_err(rows->iter);
            kv_iter_close(rows->iter);
            rows->iter = NULL;
            if (err != ERR_OK) {
                return ACCOUNT_ROWS_FAILED;
            }
            continue;
        }
        if (key_read(*key, &parts) != ERR_OK) {
            continue; /* verify's business; it could not be read elsewhere either */
        }
        if (parts.account.value != rows->account.value) {
            pass_by(rows, &parts);
        } else if (!is_staged(rows, &parts)) {
            return ACCOUNT_ROW;
        }
    }
    return ACCOUNT_ROWS_MORE;
}

bool account_rows_is_one(struct slice key, struct account_id *account)
{
    struct key_parts parts;
    if (key_read(key, &parts) != ERR_OK || place_of(parts.shape) == 0) {
        return false;
    }
    *account = parts.account;
    return account->value != 0;
}
