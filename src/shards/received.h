/* received.h - the bytes of a mail that was received, or submitted, out of its chunks. For workers.
 *
 * Of a received mail chunk 0 is the trace block that Meerkat wrote, the mail as it came begins with
 * chunk 1; a submitted one begins with chunk 0. Every chunk but the last has CHUNK_BYTES.
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
    bool has_no_trace;    /* submitted */
};

/* The chunks behind the trace block, in one piece. Errors: ERR_CORRUPT when one is missing or
 * cannot be read, ERR_TOO_LARGE beyond MAIL_BYTES_MAX, ERR_STORAGE. */
MUST_USE enum err received_load(const struct received_at *at, struct arena *arena,
                                struct slice *raw);

#endif
