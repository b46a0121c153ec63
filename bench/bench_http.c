/* bench_http.c - requests parsed a second by the HTTP codec, by number of header fields and size
 * of body, from memory. Prints `name value unit`.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "net/http.h"

#define RUN_US   UINT64_C(500000)
#define BURST    256 /* requests between two looks at the clock */
#define BODY_MAX (64 * KIB)

static void make_request(uint32_t header_count, size_t body_bytes, struct buf *out)
{
    buf_add_format(out, "POST /v1/send HTTP/1.1\r\nhost: localhost\r\ncontent-length: %zu\r\n",
                   body_bytes);
    for (uint32_t i = 2; i < header_count; i++) {
        buf_add_format(out, "x-field-%u: a value of middling length, as browsers send\r\n", i);
    }
    buf_add_str(out, "\r\n");
    for (size_t i = 0; i < body_bytes; i++) {
        buf_add_byte(out, 'b');
    }
}

/* As a session does it: an arena for each request. */
static void parse_one(struct http_codec *codec, struct slice bytes)
{
    struct arena arena;
    struct http_request request;
    size_t used = 0;
    arena_init(&arena, MSG_ARENA_CHUNK, MSG_ARENA_MAX);
    http_next(codec, &arena, &request);
    enum http_event event = http_feed(codec, bytes, &used);
    CHECK(event == HTTP_EVENT_HEADERS);
    http_allow_body(codec, BODY_MAX);
    size_t more = 0;
    event = http_feed(codec, slice_from(bytes, used), &more);
    CHECK(event == HTTP_EVENT_DONE && used + more == bytes.len);
    arena_fini(&arena);
}

static void bench(uint32_t header_count, size_t body_bytes)
{
    struct buf bytes;
    struct http_codec *codec = http_new();
    buf_init(&bytes, MIB);
    make_request(header_count, body_bytes, &bytes);
    uint64_t count = 0;
    const uint64_t begun_us = clock_mono_us();
    uint64_t took_us = 0;
    while (took_us < RUN_US) {
        for (uint32_t i = 0; i < BURST; i++) {
            parse_one(codec, buf_slice(&bytes));
        }
        count += BURST;
        took_us = clock_mono_us() - begun_us;
    }
    printf("http_%u_fields_%zu_body %.0f requests/s\n", header_count, body_bytes,
           (double)count * 1e6 / (double)took_us);
    http_free(codec);
    buf_fini(&bytes);
}

int main(void)
{
    static const uint32_t header_counts[] = {2, 10, 40};
    static const size_t body_sizes[] = {0, 5120};
    struct utsname machine;
    if (uname(&machine) == 0) {
        printf("# %s %s %s, %ld cores\n", machine.sysname, machine.release, machine.machine,
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    for (size_t i = 0; i < ARRAY_LEN(header_counts); i++) {
        for (size_t n = 0; n < ARRAY_LEN(body_sizes); n++) {
            bench(header_counts[i], body_sizes[n]);
        }
    }
    return 0;
}
