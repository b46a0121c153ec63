/* received.h - the bytes of a received mail, out of its chunks. For workers.
 *
 * Chunk 0 is the trace block that Meerkat wrote, the mail as it came begins with chunk 1; every
 * chunk but the last has CHUNK_BYTES.
 */
#ifndef SHARDS_RECEIVED_H
#define SHARDS_RECEIVED_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/kv.h"

struct received_at {
    struct kv *kv;
    uint32_t family;
    struct id mail;
    uint32_t chunk_count; /* of the mail's row: the trace block counts */
};

/* The chunks behind the first, in one piece. Errors: ERR_CORRUPT when one is missing or cannot be
 * read, ERR_TOO_LARGE beyond MAIL_BYTES_MAX, ERR_STORAGE. */
MUST_USE enum err received_load(const struct received_at *at, struct arena *arena,
                                struct slice *raw);

#endif
