/* look.c - pages of rows, families by size, and the shards in numbers. */
#include "kv/look.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "kv/key_text.h"
#include "kv/kv_stat.h"
#include "kv/look_int.h"
#include "kv/row.h"

#include <string.h>

/* ---- small things --------------------------------------------------------------------------- */

void look_u64(struct json_writer *w, const char *name, uint64_t value)
{
    json_key(w, name);
    json_u64(w, value);
}

void look_bool(struct json_writer *w, const char *name, bool value)
{
    json_key(w, name);
    json_bool(w, value);
}

void look_time(struct json_writer *w, const char *name, uint64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    json_key(w, name);
    json_text_or_null(w, unix_ms == 0 ? SLICE("") : slice_of(text, clock_rfc3339(unix_ms, text)));
}

void look_id(struct json_writer *w, const char *name, enum id_kind kind, struct id id)
{
    char text[ID_TEXT_MAX];
    json_key(w, name);
    json_text(w, slice_of(text, id_text(kind, id, text)));
}

bool look_row(struct json_writer *w, const char *name, enum row_family family, struct slice value)
{
    struct buf row;
    buf_init(&row, LOOK_BYTES_MAX);
    const bool is_good = row_print(family, value, &row) == ERR_OK && !row.is_over;
    json_key(w, name);
    if (is_good) {
        json_raw(w, buf_slice(&row));
    } else {
        json_nil(w);
    }
    buf_fini(&row);
    return is_good;
}

uint32_t look_shard_of(struct kv *kv, struct account_id account)
{
    return key_account_shard(kv_shard_count(kv), account);
}

/* ---- shards --------------------------------------------------------------------------------- */

static struct kv_range measure(struct kv *kv, uint32_t family, const struct key *from,
                               uint64_t budget_us)
{
    const struct key to = key_after(from);
    struct kv_range range = {.family = family, .from = key_slice(from), .to = key_slice(&to)};
    if (kv_range_measure(kv, &range, budget_us) != ERR_OK) {
        range.is_exact = false; /* kv logged why: what was counted is shown */
    }
    return range;
}

/* When the first of the outbox is due; 0: it is empty, or cannot be read. */
static uint64_t oldest_due(struct kv *kv, uint32_t family)
{
    const struct key from = key_prefix_outbox();
    const struct key to = key_after(&from);
    struct kv_iter *iter = kv_iter_open(kv, family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    struct outbox_ref ref = {.due_unix_ms = 0};
    if (kv_iter_next(iter, &key, &value) && key_read_outbox(key, &ref) != ERR_OK) {
        ref.due_unix_ms = 0;
    }
    kv_iter_close(iter);
    return ref.due_unix_ms;
}

static void write_count(struct json_writer *w, const struct kv_range *range)
{
    look_u64(w, "count", range->rows);
    look_bool(w, "isExact", range->is_exact);
}

static void write_stat(struct json_writer *w, const struct kv_stat *stat)
{
    uint32_t levels = KV_LEVELS;
    json_open_object(w);
    look_u64(w, "rows", stat->rows);
    look_u64(w, "tableBytes", stat->table_bytes);
    look_u64(w, "memtableBytes", stat->memtable_bytes);
    look_u64(w, "memtablesWaiting", stat->memtables_waiting);
    look_u64(w, "blobFiles", stat->blob_files);
    look_u64(w, "blobBytes", stat->blob_bytes);
    look_u64(w, "blobGarbageBytes", stat->blob_garbage_bytes);
    look_u64(w, "compactionBytes", stat->pending_bytes);
    look_bool(w, "isFlushPending", stat->is_flush_pending);
    look_bool(w, "isCompactionPending", stat->is_compaction_pending);
    look_u64(w, "slowdowns", stat->slowdowns);
    look_u64(w, "stops", stat->stops);
    json_key(w, "levelFiles");
    json_open_array(w);
    while (levels > 0 && stat->level_files[levels - 1] == 0) {
        levels--;
    }
    for (uint32_t i = 0; i < levels; i++) {
        json_u64(w, stat->level_files[i]);
    }
    json_close_array(w);
    json_close_object(w);
}

void look_shard(struct kv *kv, uint32_t family, struct json_writer *w)
{
    struct kv_stat stat;
    char name[16];
    const bool has_accounts = family != KV_FAMILY_DELIVER;
    const struct key accounts = key_prefix_accounts();
    const struct key outbox = key_prefix_outbox();
    json_key(w, "name");
    json_text(w, slice_str(kv_family_name(family, name)));
    json_key(w, "accounts");
    if (has_accounts) {
        const struct kv_range range = measure(kv, family, &accounts, LOOK_GLANCE_US);
        json_open_object(w);
        write_count(w, &range);
        json_close_object(w);
    } else {
        json_nil(w);
    }
    json_key(w, "outbox");
    if (has_accounts) {
        const struct kv_range range = measure(kv, family, &outbox, LOOK_GLANCE_US);
        json_open_object(w);
        write_count(w, &range);
        look_time(w, "oldestDueAt", oldest_due(kv, family));
        json_close_object(w);
    } else {
        json_nil(w);
    }
    kv_stat_read(kv, family, &stat);
    kv_stat_count(kv, family, &stat);
    json_key(w, "store");
    write_stat(w, &stat);
}

void look_store(struct kv *kv, struct json_writer *w)
{
    struct kv_stat_store stat;
    kv_stat_read_store(kv, &stat);
    json_key(w, "store");
    json_open_object(w);
    look_u64(w, "runningFlushes", stat.running_flushes);
    look_u64(w, "runningCompactions", stat.running_compactions);
    look_bool(w, "isWriteStopped", stat.is_write_stopped);
    look_u64(w, "delayedBytesPerSecond", stat.delayed_bytes_per_s);
    look_u64(w, "backgroundErrors", stat.background_errors);
    look_u64(w, "cacheBytes", stat.cache_bytes);
    look_u64(w, "cacheCapacity", stat.cache_capacity);
    look_u64(w, "logBytes", stat.log_bytes);
    look_u64(w, "freeBytes", stat.free_bytes);
    json_close_object(w);
}

/* ---- families ------------------------------------------------------------------------------- */

void look_families(struct kv *kv, uint32_t family, struct json_writer *w)
{
    size_t count = 0;
    const struct key_shape *shapes = key_shapes(&count);
    json_key(w, "families");
    json_open_array(w);
    for (size_t i = 0; i < count; i++) {
        struct key from = {.len = 1};
        from.bytes[0] = (uint8_t)shapes[i].tag;
        const struct kv_range range = measure(kv, family, &from, LOOK_COUNT_US);
        if (range.rows == 0 && range.is_exact && range.bytes == 0) {
            continue;
        }
        json_open_object(w);
        json_key(w, "family");
        json_text(w, slice_str(shapes[i].name));
        json_key(w, "tag");
        json_text(w, slice_of(&shapes[i].tag, 1));
        write_count(w, &range);
        look_u64(w, "tableBytes", range.bytes);
        json_close_object(w);
    }
    json_close_array(w);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static enum err parse(struct look_rows *rows, struct slice text, bool is_after,
                      struct key_typed *typed)
{
    const enum err err = key_parse(text, typed);
    if (err != ERR_OK) {
        rows->why = typed->why;
        rows->word = typed->word;
        rows->is_after_wrong = is_after;
    }
    return err;
}

static void write_key(struct json_writer *w, const char *name, struct slice key)
{
    struct buf text;
    buf_init(&text, 8 * KEY_MAX);
    key_print(key, &text);
    json_key(w, name);
    json_text(w, buf_slice(&text));
    buf_fini(&text);
}

static void write_row(struct json_writer *w, struct look_rows *rows, struct slice key,
                      struct slice value)
{
    const struct key_shape *shape = key_shape_of(key);
    struct key_parts parts;
    const bool has_key = key_read(key, &parts) == ERR_OK;
    json_open_object(w);
    write_key(w, "key", key);
    json_key(w, "family");
    json_text_or_null(w, shape != NULL ? slice_str(shape->name) : SLICE(""));
    look_u64(w, "bytes", value.len);
    bool is_good = false;
    if (shape != NULL) {
        is_good = look_row(w, "row", shape->row, value) && has_key;
    } else {
        json_key(w, "row");
        json_nil(w);
    }
    look_bool(w, "isDamaged", !is_good);
    rows->damaged += is_good ? 0 : 1;
    rows->count++;
    json_close_object(w);
}

/* Where to begin and end. The meta family has one row, whose key is a name. */
static enum err find_range(struct look_rows *rows, struct key *from, struct key *to)
{
    struct key_typed prefix = {.is_whole = false};
    struct key_typed after = {.is_whole = false};
    *from = (struct key){.len = 0};
    *to = (struct key){.len = 0};
    if (rows->prefix.len > 0) {
        const enum err err = parse(rows, rows->prefix, false, &prefix);
        if (err != ERR_OK) {
            return err;
        }
        *from = prefix.key;
        *to = key_after(&prefix.key);
    }
    if (rows->after.len > 0) {
        const enum err err = parse(rows, rows->after, true, &after);
        if (err != ERR_OK) {
            return err;
        }
        const struct key behind = key_behind(&after);
        if (slice_compare(key_slice(&behind), key_slice(from)) > 0) {
            *from = behind;
        }
    }
    return ERR_OK;
}

enum err look_rows(struct kv *kv, struct look_rows *rows, struct json_writer *w)
{
    const uint32_t wanted = rows->limit == 0 ? LOOK_ROWS_DEFAULT : rows->limit;
    const uint32_t limit = (uint32_t)min_u64(wanted, LOOK_ROWS_MAX);
    struct key from;
    struct key to;
    struct slice key;
    struct slice value;
    struct key last = {.len = 0};
    bool has_more = false;
    enum err err = find_range(rows, &from, &to);
    if (err != ERR_OK) {
        return err;
    }
    const size_t begun = w->out->len;
    json_key(w, "rows");
    json_open_array(w);
    struct kv_iter *iter = kv_iter_open(kv, rows->family, key_slice(&from), key_slice(&to), false);
    while (kv_iter_next(iter, &key, &value)) {
        if (rows->count == limit || w->out->len - begun > LOOK_BYTES_MAX) {
            has_more = true;
            break;
        }
        write_row(w, rows, key, value);
        last.len = (uint16_t)min_size(key.len, KEY_MAX);
        memcpy(last.bytes, key.data, last.len);
    }
    json_close_array(w);
    err = has_more ? ERR_OK : kv_iter_err(iter);
    kv_iter_close(iter);
    if (has_more) {
        write_key(w, "next", key_slice(&last));
    } else {
        json_key(w, "next");
        json_nil(w);
    }
    rows->damaged += err == ERR_OK ? 0 : 1;
    json_key(w, "error"); /* what lies behind cannot be read */
    json_text_or_null(w, err == ERR_OK ? SLICE("") : slice_str(err_info(err)->text));
    look_u64(w, "damaged", rows->damaged);
    return ERR_OK;
}
