/* received.c - see received.h. */
#include "shards/received.h"

#include "base/check.h"
#include "base/limits.h"
#include "kv/key.h"
#include "kv/row.h"

#include <string.h>

#define CHUNK_ROW_MAX (CHUNK_BYTES + KIB)

static enum err load_chunk(const struct received_at *at, uint32_t index, struct arena *arena,
                           struct slice *data)
{
    struct row_chunk row;
    struct slice bytes;
    struct key key = key_chunk(id_account(at->mail), at->mail, index);
    enum err err = kv_get(at->kv, at->family, key_slice(&key), arena, &bytes);
    if (err == ERR_OK) {
        err = row_chunk_decode(bytes, &row);
    }
    if (err == ERR_OK) {
        *data = row.data;
    }
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

/* One chunk at a time passes through a small arena, so that the mail is in memory once. */
enum err received_load(const struct received_at *at, struct arena *arena, struct slice *raw)
{
    uint32_t first = at->has_no_trace ? 0 : 1;
    uint64_t most = (uint64_t)(at->chunk_count > first ? at->chunk_count - first : 0) * CHUNK_BYTES;
    struct arena one;
    size_t len = 0;
    enum err err = ERR_OK;
    if (most > MAIL_BYTES_MAX + CHUNK_BYTES) {
        return ERR_TOO_LARGE;
    }
    char *bytes = arena_bytes(arena, (size_t)most);
    arena_init(&one, CHUNK_ROW_MAX, 2 * CHUNK_ROW_MAX);
    for (uint32_t i = first; err == ERR_OK && i < at->chunk_count; i++) {
        struct slice data;
        arena_clear(&one);
        err = load_chunk(at, i, &one, &data);
        bool is_last = i + 1 == at->chunk_count;
        if (err == ERR_OK && (data.len > CHUNK_BYTES || (!is_last && data.len != CHUNK_BYTES))) {
            err = ERR_CORRUPT;
        }
        if (err == ERR_OK && data.len > 0) {
            CHECK(len + data.len <= most);
            memcpy(bytes + len, data.data, data.len);
            len += data.len;
        }
    }
    arena_fini(&one);
    *raw = slice_of(bytes, len);
    return err;
}
