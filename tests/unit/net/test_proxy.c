/* test_proxy.c - headers of the PROXY protocol, however they are split.
 *
 * Not covered here: whose header is believed (edge), random input (tests/fuzz/fuzz_proxy.c).
 */
#include "net/proxy.h"

#include "base/check.h"
#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "192.0.2.1:1 192.0.2.2:25", "local", "more" or "invalid", and how much of a header was taken. */
static void run(struct slice wire, size_t first, size_t step, char words[256])
{
    struct proxy_reader reader;
    enum proxy_event event = PROXY_EVENT_MORE;
    struct slice rest = wire;
    size_t len = first;
    proxy_init(&reader);
    while (event == PROXY_EVENT_MORE && rest.len > 0) {
        struct slice piece = slice_head(rest, len);
        char *block = mem_alloc(piece.len); /* so that the sanitizer sees its end */
        memcpy(block, piece.data, piece.len);
        size_t used = SIZE_MAX;
        event = proxy_feed(&reader, slice_of(block, piece.len), &used);
        free(block);
        cr_assert_leq(used, piece.len);
        cr_assert(event != PROXY_EVENT_MORE || used == piece.len);
        rest = slice_from(rest, used);
        len = step;
    }
    const struct proxy_header *header = &reader.header;
    char source[IP6_TEXT_MAX];
    char dest[IP6_TEXT_MAX];
    (void)ip6_text(&header->source, source);
    (void)ip6_text(&header->dest, dest);
    if (event == PROXY_EVENT_INVALID) {
        (void)snprintf(words, 256, "invalid");
    } else if (event == PROXY_EVENT_MORE) {
        (void)snprintf(words, 256, "more");
    } else if (header->is_local) {
        (void)snprintf(words, 256, "local, %zu left", rest.len);
    } else {
        (void)snprintf(words, 256, "%s:%u %s:%u, %zu left", source,
                       (unsigned int)header->source_tcp_port, dest,
                       (unsigned int)header->dest_tcp_port, rest.len);
    }
    cr_expect(event != PROXY_EVENT_DONE || reader.bytes.data == NULL);
    proxy_fini(&reader);
}

struct sample {
    struct slice wire;
    const char *words;
};

static void expect_all(const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct slice wire = samples[i].wire;
        for (size_t cut = 0; cut < wire.len; cut++) {
            char words[256];
            run(wire, cut == 0 ? wire.len : cut, cut == 1 ? 1 : wire.len, words);
            cr_expect_str_eq(words, samples[i].words, "sample %zu cut at %zu: %s", i, cut, words);
        }
    }
}

Test(proxy, reads_version_1)
{
    static const struct sample samples[] = {
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\nEHLO"),
         "192.0.2.1:56324 192.0.2.2:25, 4 left"},
        {SLICE_INIT("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), "2001:db8::1:65535 ::1:0, 0 left"},
        {SLICE_INIT("PROXY UNKNOWN\r\n\r\n"), "local, 2 left"},
        {SLICE_INIT("PROXY UNKNOWN ffff::1 whatever 7\r\nx"), "local, 1 left"},
        {SLICE_INIT("PROXY TCP4 1.2.3.4"), "more"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r"), "more"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25 \r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4  192.0.2.1 192.0.2.2 56324 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 056324 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 +1 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 192.0.2.1 192.0.2.256 1 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP4 ::1 ::1 1 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY TCP6 192.0.2.1 192.0.2.2 1 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY UDP4 192.0.2.1 192.0.2.2 1 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY tcp4 192.0.2.1 192.0.2.2 1 25\r\n"), "invalid"},
        {SLICE_INIT("PROXY UNKNOWN\rx\r\n"), "invalid"},
        {SLICE_INIT("PROXY UNKNOWN \0\r\n"), "invalid"},
        {SLICE_INIT("PROXY \r\n"), "invalid"},
        {SLICE_INIT("PROXY\r\n"), "invalid"},
        {SLICE_INIT("PR"), "more"},
        {SLICE_INIT("EHLO x\r\n"), "invalid"},
        {SLICE_INIT("PROXX"), "invalid"},
        {SLICE_INIT("\x16\x03\x01"), "invalid"},
    };
    expect_all(samples, ARRAY_LEN(samples));
}

Test(proxy, holds_the_ceiling_of_version_1)
{
    char wire[PROXY_V1_MAX + 2];
    char words[256];
    static const size_t steps[] = {1, 50, sizeof(wire)};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        memset(wire, 'x', sizeof(wire));
        memcpy(wire, "PROXY UNKNOWN ", 14);
        memcpy(wire + PROXY_V1_MAX - 2, "\r\n", 2);
        run(slice_of(wire, PROXY_V1_MAX), steps[i], steps[i], words);
        cr_expect_str_eq(words, "local, 0 left");
        memcpy(wire + PROXY_V1_MAX - 2, "x\r\n", 3);
        run(slice_of(wire, PROXY_V1_MAX - 1), steps[i], steps[i], words);
        cr_expect_str_eq(words, "more");
        run(slice_of(wire, PROXY_V1_MAX), steps[i], steps[i], words);
        cr_expect_str_eq(words, "invalid");
        run(slice_of(wire, PROXY_V1_MAX + 1), steps[i], steps[i], words);
        cr_expect_str_eq(words, "invalid");
    }
}

#define SIGN "\r\n\r\n\0\r\nQUIT\n"
#define V4   "\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00\x19" /* 192.0.2.1:56324, 192.0.2.2:25 */
#define V6                                                                                         \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xdc\x04" \
    "\x00\x19"

Test(proxy, reads_version_2)
{
    static const struct sample samples[] = {
        {SLICE_INIT(SIGN "\x21\x11\x00\x0c" V4 "EHLO"), "192.0.2.1:56324 192.0.2.2:25, 4 left"},
        {SLICE_INIT(SIGN "\x21\x21\x00\x24" V6), "2001:db8::1:56324 2001:db8::2:25, 0 left"},
        {SLICE_INIT(SIGN "\x20\x00\x00\x00x"), "local, 1 left"},
        {SLICE_INIT(SIGN "\x20\x11\x00\x0c" V4), "local, 0 left"},
        {SLICE_INIT(SIGN "\x20\x11\x00\x02\x01\x02"), "local, 0 left"},
        {SLICE_INIT(SIGN "\x20\x7f\x00\x02\x01\x02"), "local, 0 left"},
        {SLICE_INIT(SIGN "\x21\x00\x00\x00"), "local, 0 left"},
        {SLICE_INIT(SIGN "\x21\x00\x00\x02\x01\x02"), "local, 0 left"},
        /* with values: an ALPN of "h2", a NOOP */
        {SLICE_INIT(SIGN "\x21\x11\x00\x16" V4 "\x01\x00\x02h2\x04\x00\x02\0\0z"),
         "192.0.2.1:56324 192.0.2.2:25, 1 left"},
        {SLICE_INIT(SIGN "\x21\x11\x00\x0c\xc0\x00"), "more"},
        {SLICE_INIT(SIGN), "more"},
        /* values that do not fill the header */
        {SLICE_INIT(SIGN "\x21\x11\x00\x0d" V4 "\x01"), "invalid"},
        {SLICE_INIT(SIGN "\x21\x11\x00\x0f" V4 "\x01\x00\x01"), "invalid"},
        {SLICE_INIT(SIGN "\x21\x11\x00\x11" V4 "\x01\x00\x03h2"), "invalid"},
        /* too short for its family */
        {SLICE_INIT(SIGN "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00"),
         "invalid"},
        {SLICE_INIT(SIGN "\x21\x21\x00\x0c" V4), "invalid"},
        {SLICE_INIT(SIGN "\x21\x31\x00\x0c" V4), "invalid"},
        /* other versions, commands, families */
        {SLICE_INIT(SIGN "\x11\x11\x00\x0c" V4), "invalid"},
        {SLICE_INIT(SIGN "\x22\x11\x00\x0c" V4), "invalid"},
        {SLICE_INIT(SIGN "\x21\x12\x00\x0c" V4), "invalid"},
        {SLICE_INIT(SIGN "\x21\x22\x00\x24" V6), "invalid"},
        {SLICE_INIT(SIGN "\x21\x41\x00\x0c" V4), "invalid"},
        {SLICE_INIT("\r\n\r\n\0\r\nQUIX\n"), "invalid"},
        {SLICE_INIT("\r\n."), "invalid"},
    };
    expect_all(samples, ARRAY_LEN(samples));
}

Test(proxy, verifies_a_checksum)
{
    /* CRC-32C of the header with the sum as zeros; computed apart, and the algorithm checked with
     * its catalogued value for "123456789", e3069283. */
    static const struct sample samples[] = {
        {SLICE_INIT(SIGN "\x21\x11\x00\x13" V4 "\x03\x00\x04"
                         "\x89\x8f\x18\xa4"),
         "192.0.2.1:56324 192.0.2.2:25, 0 left"},
        {SLICE_INIT(SIGN "\x21\x11\x00\x18" V4 "\x01\x00\x02h2\x03\x00\x04"
                         "\x69\xdf\x6d\x41"),
         "192.0.2.1:56324 192.0.2.2:25, 0 left"},
        {SLICE_INIT(SIGN "\x20\x00\x00\x07\x03\x00\x04"
                         "\xa9\xb8\x7e\x8f"),
         "local, 0 left"},
        {SLICE_INIT(SIGN "\x21\x11\x00\x13" V4 "\x03\x00\x04\0\0\0\0"), "invalid"},
        {SLICE_INIT(SIGN "\x20\x00\x00\x07\x03\x00\x04\0\0\0\0"), "invalid"},
        {SLICE_INIT(SIGN "\x21\x11\x00\x12" V4 "\x03\x00\x03\0\0\0"), "invalid"},
    };
    expect_all(samples, ARRAY_LEN(samples));
}

Test(proxy, holds_the_ceiling_of_version_2)
{
    static char wire[PROXY_V2_MAX];
    char words[256];
    const size_t values = PROXY_V2_MAX - 16 - 12 - 3;
    const size_t len = PROXY_V2_MAX - 16;
    memcpy(wire, SIGN "\x21\x11", 14);
    wire[14] = (char)(len >> 8);
    wire[15] = (char)(len & 255);
    memcpy(wire + 16, V4, 12);
    wire[28] = 0x04;
    wire[29] = (char)(values >> 8);
    wire[30] = (char)(values & 255);
    run(slice_of(wire, sizeof(wire)), 1, 100, words);
    cr_expect_str_eq(words, "192.0.2.1:56324 192.0.2.2:25, 0 left");
    run(slice_of(wire, sizeof(wire) - 1), 1, 100, words);
    cr_expect_str_eq(words, "more");
    wire[15] = (char)((len + 1) & 255);
    wire[14] = (char)((len + 1) >> 8);
    run(slice_of(wire, 16), 1, 100, words);
    cr_expect_str_eq(words, "invalid"); /* before any of it is kept */
}
