/* fuzz_smtp_reply.c - any bytes, fed whole and fed in pieces, are the same replies; each has a
 * verdict-sized text and capabilities that can be read.
 *
 * The first byte of the input seeds the lengths of the pieces.
 */
#include "base/check.h"
#include "net/smtp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void log_reply(const struct smtp_reply *reply, struct buf *log)
{
    CHECK(reply->code >= 200);
    CHECK(reply->code <= 599);
    CHECK(reply->text.len <= SMTP_TRANSCRIPT_MAX);
    CHECK(reply->line_count <= SMTP_REPLY_LINES);
    CHECK(!slice_has_byte(buf_slice(&reply->text), '\0'));
    struct smtp_caps caps;
    smtp_caps_read(reply, &caps);
    buf_put_u16(log, reply->code);
    buf_put_slice(log, slice_str(reply->enhanced));
    buf_put_slice(log, buf_slice(&reply->text));
    buf_put_u32(log, reply->line_count);
    buf_put_u64(log, caps.size_max);
}

static struct buf run(struct slice wire, uint32_t seed, bool is_whole)
{
    struct smtp_reply_reader reader;
    struct buf log;
    smtp_reply_init(&reader);
    buf_init(&log, 64 * MIB);
    while (wire.len > 0) {
        seed = seed * 1103515245U + 12345U;
        size_t len = (seed >> 16) % 2 == 0 ? 1 : (seed >> 17) % 40 + 1;
        struct slice piece = slice_head(wire, is_whole ? wire.len : len);
        char *block = mem_alloc(piece.len); /* so that the sanitizer sees its end */
        memcpy(block, piece.data, piece.len);
        size_t used = 0;
        bool is_done = false;
        enum err err = smtp_reply_feed(&reader, slice_of(block, piece.len), &used, &is_done);
        free(block);
        if (err != ERR_OK) {
            buf_put_u8(&log, (uint8_t)err);
            break;
        }
        CHECK(used <= piece.len);
        CHECK_IF(!is_done, used == piece.len);
        if (is_done) {
            log_reply(&reader.reply, &log);
        }
        wire = slice_from(wire, used);
    }
    smtp_reply_fini(&reader);
    return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct slice wire = slice_of(data + 1, size - 1);
    struct buf whole = run(wire, data[0], true);
    struct buf pieces = run(wire, data[0], false);
    CHECK(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
