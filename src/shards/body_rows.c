/* body_rows.c - see body_rows.h. */
#include "shards/body_rows.h"

#include "base/check.h"
#include "base/limits.h"
#include "kv/row.h"

void body_rows_init(struct body_rows *rows)
{
    *rows = (struct body_rows){.items = NULL};
    /* Attachments stand in the mail and, until their day, on their own. */
    buf_init(&rows->bytes, 2 * MSG_ARENA_MAX);
}

void body_rows_fini(struct body_rows *rows)
{
    buf_fini(&rows->bytes);
}

uint32_t body_rows_count(size_t len)
{
    return (uint32_t)((len + CHUNK_BYTES - 1) / CHUNK_BYTES);
}

void body_rows_reserve(struct body_rows *rows, struct arena *arena, uint32_t max)
{
    CHECK(!rows->items);
    rows->items = arena_array(arena, max, sizeof(*rows->items));
    rows->max = max;
}

void body_rows_add(struct body_rows *rows, struct key key, struct slice data)
{
    CHECK(rows->count < rows->max);
    CHECK(data.len <= CHUNK_BYTES);
    struct body_row *item = &rows->items[rows->count++];
    struct row_chunk row = {.data = data};
    item->key = key;
    item->offset = rows->bytes.len;
    row_chunk_encode(&row, &rows->bytes);
    item->len = rows->bytes.len - item->offset;
}

enum err body_rows_err(const struct body_rows *rows)
{
    return buf_err(&rows->bytes);
}

void body_rows_put(const struct body_rows *rows, struct kv_batch *batch)
{
    struct slice bytes = buf_slice(&rows->bytes);
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct body_row *item = &rows->items[i];
        kv_batch_put_body(batch, key_slice(&item->key), slice_sub(bytes, item->offset, item->len));
    }
}
