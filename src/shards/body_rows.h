/* body_rows.h - the rows of a mail's bytes, encoded by a worker and stored by the loop.
 *
 * What is large (a mail's chunks, its attachments' data) is encoded where it was composed or read,
 * so that all it costs the loop is one copy into the batch.
 */
#ifndef SHARDS_BODY_ROWS_H
#define SHARDS_BODY_ROWS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "kv/key.h"
#include "kv/kv.h"

struct body_row {
    struct key key;
    size_t offset; /* in bytes */
    size_t len;
};

struct body_rows {
    struct buf bytes; /* heap */
    struct body_row *items;
    uint32_t count;
    uint32_t max;
};

void body_rows_init(struct body_rows *rows);
void body_rows_fini(struct body_rows *rows);
/* How many rows data takes. */
uint32_t body_rows_count(size_t len);
/* Room for so many rows, in arena; once. */
void body_rows_reserve(struct body_rows *rows, struct arena *arena, uint32_t max);
/* One chunk of a body, up to CHUNK_BYTES. */
void body_rows_add(struct body_rows *rows, struct key key, struct slice data);
/* ERR_TOO_LARGE when it was more than a message may carry. */
MUST_USE enum err body_rows_err(const struct body_rows *rows);
void body_rows_put(const struct body_rows *rows, struct kv_batch *batch);

#endif
