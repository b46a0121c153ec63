/* fuzz_proxy.c - any bytes are the same PROXY header, or none, however they are split.
 *
 * The first byte of the input seeds the lengths of the pieces.
 */
#include "base/check.h"
#include "base/limits.h"
#include "net/proxy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    enum proxy_event event;
    struct proxy_header header;
    size_t used;
};

static struct reading run(struct slice wire, uint32_t seed, bool is_whole)
{
    struct reading reading = {.event = PROXY_EVENT_MORE};
    struct proxy_reader reader;
    proxy_init(&reader);
    while (wire.len > 0 && reading.event == PROXY_EVENT_MORE) {
        seed = seed * 1103515245U + 12345U;
        size_t len = (seed >> 16) % 2 == 0 ? 1 : (seed >> 17) % 40 + 1;
        struct slice piece = slice_head(wire, is_whole ? wire.len : len);
        char *block = mem_alloc(piece.len); /* so that the sanitizer sees its end */
        memcpy(block, piece.data, piece.len);
        size_t used = SIZE_MAX;
        reading.event = proxy_feed(&reader, slice_of(block, piece.len), &used);
        free(block);
        CHECK(used <= piece.len);
        CHECK_IF(reading.event == PROXY_EVENT_MORE, used == piece.len);
        reading.used += used;
        wire = slice_from(wire, used);
    }
    reading.header = reader.header;
    proxy_fini(&reader);
    return reading;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct slice wire = slice_of(data + 1, size - 1);
    struct reading whole = run(wire, data[0], true);
    struct reading pieces = run(wire, data[0], false);
    CHECK(whole.event == pieces.event);
    CHECK(whole.used <= PROXY_V2_MAX || whole.event != PROXY_EVENT_DONE);
    if (whole.event == PROXY_EVENT_DONE) {
        CHECK(whole.used == pieces.used);
        CHECK(whole.header.is_local == pieces.header.is_local);
        CHECK(memcmp(&whole.header.source, &pieces.header.source, sizeof(struct ip6)) == 0);
        CHECK(whole.header.source_tcp_port == pieces.header.source_tcp_port);
    }
    return 0;
}
