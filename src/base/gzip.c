/* gzip.c - see gzip.h. */
#include "base/gzip.h"

#include <zlib.h>

#include "base/check.h"

#define GZIP_FORMAT (16 + MAX_WBITS) /* zlib's way of saying: gzip, the largest window */
#define MEMORY      8
#define STEP_BYTES  4096
#define IN_MAX      ((size_t)1 << 30) /* zlib counts in 32 bits */

/* Where the next bytes go; false when nothing more fits. */
static bool make_room(z_stream *stream, struct buf *out)
{
    size_t len = min_size(STEP_BYTES, out->max_bytes - out->len);
    char *room = len > 0 ? buf_room(out, len) : NULL;
    if (room == NULL) {
        return false;
    }
    stream->next_out = (Bytef *)room;
    stream->avail_out = (uInt)len;
    return true;
}

enum err gzip_pack(struct slice plain, struct buf *packed)
{
    z_stream stream = {0};
    int did = Z_OK;
    if (plain.len > IN_MAX) {
        return ERR_TOO_LARGE;
    }
    int began = deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_FORMAT, MEMORY,
                             Z_DEFAULT_STRATEGY);
    CHECK(began == Z_OK);
    stream.next_in = (z_const Bytef *)plain.data;
    stream.avail_in = (uInt)plain.len;
    while (did != Z_STREAM_END && make_room(&stream, packed)) {
        uInt room = stream.avail_out;
        did = deflate(&stream, Z_FINISH);
        CHECK(did == Z_OK || did == Z_STREAM_END || did == Z_BUF_ERROR);
        buf_grew(packed, room - stream.avail_out);
    }
    (void)deflateEnd(&stream); /* says whether it was cut short, which did tells */
    return did == Z_STREAM_END ? ERR_OK : ERR_TOO_LARGE;
}

enum err gzip_unpack(struct slice packed, struct buf *plain)
{
    z_stream stream = {0};
    enum err err = ERR_TOO_LARGE;
    bool is_on = packed.len <= IN_MAX;
    int began = inflateInit2(&stream, GZIP_FORMAT);
    CHECK(began == Z_OK);
    stream.next_in = (z_const Bytef *)packed.data;
    stream.avail_in = is_on ? (uInt)packed.len : 0;
    while (is_on && make_room(&stream, plain)) {
        uInt room = stream.avail_out;
        int did = inflate(&stream, Z_NO_FLUSH);
        buf_grew(plain, room - stream.avail_out);
        is_on = did == Z_OK && (stream.avail_in > 0 || stream.avail_out == 0);
        if (did == Z_STREAM_END && stream.avail_in > 0) {
            is_on = inflateReset(&stream) == Z_OK; /* another member */
            err = is_on ? ERR_TOO_LARGE : ERR_INVALID;
        } else if (!is_on) {
            err = did == Z_STREAM_END ? ERR_OK : ERR_INVALID;
        }
    }
    (void)inflateEnd(&stream); /* nothing it could say matters now */
    return err;
}
