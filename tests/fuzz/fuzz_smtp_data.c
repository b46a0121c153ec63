/* fuzz_smtp_data.c - what any data becomes on the wire, and what any wire becomes as data.
 *
 * Writing: stuffed data has no bare CR or LF, ends at its own end and nowhere before, and reads
 * back as the data with canonical line ends. Reading: bytes taken as they come give the same data
 * and the same end however they are split, and the end is CRLF "." CRLF. The first byte of the
 * input seeds the lengths of the pieces.
 */
#include "base/check.h"
#include "net/smtp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t piece_len(uint32_t *seed, size_t left)
{
    *seed = *seed * 1103515245U + 12345U;
    return min_size((*seed >> 16) % 2 == 0 ? 1 : (*seed >> 17) % 40 + 1, left);
}

/* Told apart from the codec on purpose: line by line, the slow way. */
static struct buf canonical(struct slice data)
{
    struct buf out;
    buf_init(&out, MIB);
    for (size_t i = 0; i < data.len; i++) {
        bool is_crlf = data.data[i] == '\r' && i + 1 < data.len && data.data[i + 1] == '\n';
        if (data.data[i] == '\r' || data.data[i] == '\n') {
            buf_add(&out, SLICE("\r\n"));
        } else {
            buf_add_byte(&out, data.data[i]);
        }
        i += is_crlf ? 1 : 0;
    }
    if (out.len > 0 && out.data[out.len - 1] != '\n') {
        buf_add(&out, SLICE("\r\n"));
    }
    return out;
}

static struct buf stuff(struct slice data, uint32_t seed)
{
    struct smtp_stuffer stuffer;
    struct buf out;
    smtp_stuff_init(&stuffer);
    buf_init(&out, 2 * MIB);
    while (data.len > 0) {
        size_t len = piece_len(&seed, data.len);
        char *block = mem_alloc(len);
        memcpy(block, data.data, len);
        smtp_stuff(&stuffer, slice_of(block, len), &out);
        free(block);
        data = slice_from(data, len);
    }
    smtp_stuff_end(&stuffer, &out);
    return out;
}

struct reading {
    struct buf out;
    size_t used;
    bool is_done;
    bool has_bare;
};

static struct reading unstuff(struct slice wire, uint32_t seed, bool is_whole)
{
    struct reading reading = {.used = 0};
    struct smtp_unstuffer unstuffer;
    smtp_unstuff_init(&unstuffer);
    buf_init(&reading.out, 2 * MIB);
    while (wire.len > 0 && !reading.is_done) {
        size_t len = is_whole ? wire.len : piece_len(&seed, wire.len);
        char *block = mem_alloc(len);
        memcpy(block, wire.data, len);
        size_t used = 0;
        smtp_unstuff(&unstuffer, slice_of(block, len), &used, &reading.is_done, &reading.out);
        free(block);
        CHECK_IF(!reading.is_done, used == len);
        reading.used += used;
        wire = slice_from(wire, used);
    }
    reading.has_bare = unstuffer.has_bare;
    return reading;
}

static bool has_bare(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        bool is_bare_cr = s.data[i] == '\r' && (i + 1 == s.len || s.data[i + 1] != '\n');
        bool is_bare_lf = s.data[i] == '\n' && (i == 0 || s.data[i - 1] != '\r');
        if (is_bare_cr || is_bare_lf) {
            return true;
        }
    }
    return false;
}

static void check_writing(struct slice data, uint32_t seed)
{
    struct buf wire = stuff(data, seed);
    struct buf wanted = canonical(data);
    struct reading back = unstuff(buf_slice(&wire), seed + 1, false);
    CHECK(!has_bare(buf_slice(&wire)));
    CHECK(back.is_done);
    CHECK(back.used == wire.len);
    CHECK(!back.has_bare);
    CHECK(slice_equal(buf_slice(&back.out), buf_slice(&wanted)));
    buf_fini(&wire);
    buf_fini(&wanted);
    buf_fini(&back.out);
}

static void check_reading(struct slice wire, uint32_t seed)
{
    struct reading whole = unstuff(wire, seed, true);
    struct reading pieces = unstuff(wire, seed, false);
    CHECK(whole.is_done == pieces.is_done);
    CHECK(whole.used == pieces.used);
    CHECK(whole.has_bare == pieces.has_bare);
    CHECK(slice_equal(buf_slice(&whole.out), buf_slice(&pieces.out)));
    struct slice taken = slice_head(wire, whole.used);
    size_t end = slice_find(wire, SLICE("\r\n.\r\n"));
    if (slice_starts(wire, SLICE(".\r\n"))) {
        CHECK(whole.used == 3);
    } else if (end != SIZE_MAX) {
        CHECK(whole.is_done);
        CHECK(whole.used == end + 5);
    } else {
        CHECK(!whole.is_done);
    }
    /* Unfinished data may end in half a line end. */
    CHECK_IF(whole.is_done, whole.has_bare == has_bare(taken));
    buf_fini(&whole.out);
    buf_fini(&pieces.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 256 * KIB) {
        return 0;
    }
    struct slice rest = slice_of(data + 1, size - 1);
    check_writing(rest, data[0]);
    check_reading(rest, data[0]);
    return 0;
}
