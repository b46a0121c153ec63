/* buf.h - a growable run of bytes, born with its ceiling.
 *
 * Appending past the ceiling sets a sticky `is_over` and changes nothing more; the caller tests it
 * once at the end with buf_err. That keeps writers of MIME, JSON and SMTP free of a test per line.
 * Growth doubles. Not for sharing: one owner, one thread at a time.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/base.h"
#include "base/slice.h"

struct buf {
    char *data; /* heap block, or NULL before the first byte */
    size_t len;
    size_t capacity;
    size_t max_bytes;
    bool is_over; /* something did not fit; stays set until buf_clear */
};

void buf_init(struct buf *buf, size_t max_bytes);
void buf_fini(struct buf *buf);
/* Empties; keeps the block. */
void buf_clear(struct buf *buf);
/* ERR_OK, or ERR_TOO_LARGE when something did not fit. */
MUST_USE enum err buf_err(const struct buf *buf);

void buf_add(struct buf *buf, struct slice s);
void buf_add_bytes(struct buf *buf, const void *data, size_t len);
void buf_add_str(struct buf *buf, const char *terminated);
void buf_add_byte(struct buf *buf, char byte);
void buf_add_format(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_add_u64(struct buf *buf, uint64_t value);
/* Makes room for `len` more bytes and returns where they go, or NULL when over; then buf_grew(len).
 */
char *buf_room(struct buf *buf, size_t len) MUST_USE;
void buf_grew(struct buf *buf, size_t len);
/* Drops bytes from the front (moves the rest). */
void buf_consume(struct buf *buf, size_t len);
struct slice buf_slice(const struct buf *buf);
/* Hands the heap block to the caller, who frees it; the buf is as new. */
char *buf_steal(struct buf *buf, size_t *len);

/* Fixed-width little-endian and length-prefixed writers and their reader: the wire of rows and
 * packs. */
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16(struct buf *buf, uint16_t value);
void buf_put_u32(struct buf *buf, uint32_t value);
void buf_put_u64(struct buf *buf, uint64_t value);
void buf_put_slice(struct buf *buf, struct slice s); /* u32 length, bytes */

/* Reads what the writers wrote from the front of *rest. False when too short; *out untouched. */
bool get_u8(struct slice *rest, uint8_t *out) MUST_USE;
bool get_u16(struct slice *rest, uint16_t *out) MUST_USE;
bool get_u32(struct slice *rest, uint32_t *out) MUST_USE;
bool get_u64(struct slice *rest, uint64_t *out) MUST_USE;
bool get_slice(struct slice *rest, struct slice *out) MUST_USE;

/* A pack is a list of slices as one slice: buf_put_slice for each, get_slice to walk it. */
size_t pack_count(struct slice pack);

#endif
