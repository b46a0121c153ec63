/* buf.c - the block is always one byte longer than `capacity`, so that printf's NUL has a place
 * even when the text fills the ceiling to the last byte.
 */
#include "base/buf.h"

#include "base/check.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 128

static bool reserve(struct buf *buf, size_t len);
static bool get_bytes(struct slice *rest, void *out, size_t len);

void buf_init(struct buf *buf, size_t max_bytes)
{
    CHECK(max_bytes < SIZE_MAX);
    *buf = (struct buf){.data = NULL, .len = 0, .capacity = 0, .max_bytes = max_bytes};
}

void buf_fini(struct buf *buf)
{
    free(buf->data);
    buf_init(buf, buf->max_bytes);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->is_over = false;
}

enum err buf_err(const struct buf *buf)
{
    return buf->is_over ? ERR_TOO_LARGE : ERR_OK;
}

void buf_add(struct buf *buf, struct slice s)
{
    buf_add_bytes(buf, s.data, s.len);
}

void buf_add_bytes(struct buf *buf, const void *data, size_t len)
{
    if (!reserve(buf, len) || len == 0) {
        return;
    }
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

void buf_add_str(struct buf *buf, const char *terminated)
{
    buf_add_bytes(buf, terminated, strlen(terminated));
}

void buf_add_byte(struct buf *buf, char byte)
{
    buf_add_bytes(buf, &byte, 1);
}

void buf_add_format(struct buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(len >= 0);
    if (!reserve(buf, (size_t)len) || len == 0) {
        return;
    }
    va_start(args, fmt);
    int written = vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, args);
    va_end(args);
    CHECK(written == len);
    buf->len += (size_t)len;
}

void buf_add_u64(struct buf *buf, uint64_t value)
{
    char digits[20]; /* UINT64_MAX has twenty */
    size_t at = sizeof(digits);
    do {
        at--;
        digits[at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    buf_add_bytes(buf, digits + at, sizeof(digits) - at);
}

char *buf_room(struct buf *buf, size_t len)
{
    if (!reserve(buf, len)) {
        return NULL;
    }
    if (buf->data == NULL) { /* no bytes were asked for, but NULL would say "over" */
        buf->data = mem_alloc(1);
    }
    return buf->data + buf->len;
}

void buf_grew(struct buf *buf, size_t len)
{
    CHECK(len <= buf->capacity - buf->len);
    buf->len += len;
}

void buf_consume(struct buf *buf, size_t len)
{
    CHECK(len <= buf->len);
    if (len == 0) {
        return;
    }
    memmove(buf->data, buf->data + len, buf->len - len);
    buf->len -= len;
}

struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->len);
}

char *buf_steal(struct buf *buf, size_t *len)
{
    char *data = buf->data;
    *len = buf->len;
    buf_init(buf, buf->max_bytes);
    return data;
}

void buf_put_u8(struct buf *buf, uint8_t value)
{
    buf_add_bytes(buf, &value, sizeof(value));
}

void buf_put_u16(struct buf *buf, uint16_t value)
{
    uint16_t wire = htole16(value);
    buf_add_bytes(buf, &wire, sizeof(wire));
}

void buf_put_u32(struct buf *buf, uint32_t value)
{
    uint32_t wire = htole32(value);
    buf_add_bytes(buf, &wire, sizeof(wire));
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
    uint64_t wire = htole64(value);
    buf_add_bytes(buf, &wire, sizeof(wire));
}

void buf_put_slice(struct buf *buf, struct slice s)
{
    if (s.len > UINT32_MAX) {
        buf->is_over = true;
        return;
    }
    if (!reserve(buf, sizeof(uint32_t) + s.len)) { /* both or neither */
        return;
    }
    buf_put_u32(buf, (uint32_t)s.len);
    buf_add(buf, s);
}

bool get_u8(struct slice *rest, uint8_t *out)
{
    return get_bytes(rest, out, sizeof(*out));
}

bool get_u16(struct slice *rest, uint16_t *out)
{
    uint16_t wire = 0;
    if (!get_bytes(rest, &wire, sizeof(wire))) {
        return false;
    }
    *out = le16toh(wire);
    return true;
}

bool get_u32(struct slice *rest, uint32_t *out)
{
    uint32_t wire = 0;
    if (!get_bytes(rest, &wire, sizeof(wire))) {
        return false;
    }
    *out = le32toh(wire);
    return true;
}

bool get_u64(struct slice *rest, uint64_t *out)
{
    uint64_t wire = 0;
    if (!get_bytes(rest, &wire, sizeof(wire))) {
        return false;
    }
    *out = le64toh(wire);
    return true;
}

bool get_slice(struct slice *rest, struct slice *out)
{
    struct slice after = *rest;
    uint32_t len = 0;
    if (!get_u32(&after, &len) || after.len < len) {
        return false;
    }
    *out = slice_head(after, len);
    *rest = slice_from(after, len);
    return true;
}

size_t pack_count(struct slice pack)
{
    size_t count = 0;
    struct slice item;
    while (get_slice(&pack, &item)) {
        count++;
    }
    return count;
}

/* Makes len more bytes fit, or sets is_over. Once over, always over: a later, shorter piece must
 * not slip in behind the one that was lost. */
static bool reserve(struct buf *buf, size_t len)
{
    if (buf->is_over || len > buf->max_bytes - buf->len) {
        buf->is_over = true;
        return false;
    }
    size_t needed = buf->len + len;
    if (needed <= buf->capacity) {
        return true;
    }
    size_t capacity = buf->capacity > buf->max_bytes / 2 ? buf->max_bytes : buf->capacity * 2;
    if (capacity < FIRST_CAPACITY) {
        capacity = min_size(FIRST_CAPACITY, buf->max_bytes);
    }
    if (capacity < needed) {
        capacity = needed;
    }
    buf->data = mem_realloc(buf->data, capacity + 1);
    buf->capacity = capacity;
    return true;
}

static bool get_bytes(struct slice *rest, void *out, size_t len)
{
    if (rest->len < len) {
        return false;
    }
    memcpy(out, rest->data, len);
    *rest = slice_from(*rest, len);
    return true;
}
