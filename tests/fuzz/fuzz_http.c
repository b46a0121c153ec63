/* fuzz_http.c - any bytes, fed whole and fed in pieces, are the same requests and the same error.
 *
 * The first byte of the input seeds the lengths of the pieces.
 */
#include "base/check.h"
#include "base/limits.h"
#include "net/http.h"

#include <stdlib.h>
#include <string.h>

#define BODY_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct session {
    struct http_codec *codec;
    struct arena arena;
    struct http_request request;
    struct buf log;
    bool is_over;
};

static void log_request(struct session *session)
{
    const struct http_request *request = &session->request;
    buf_put_u64(&session->log, request->content_length);
    buf_put_u8(&session->log, (uint8_t)request->method);
    buf_put_u8(&session->log, request->is_keep_alive ? 1 : 0);
    buf_put_u8(&session->log, request->expects_continue ? 1 : 0);
    buf_put_slice(&session->log, request->target);
    buf_put_slice(&session->log, request->path);
    buf_put_slice(&session->log, request->query);
    buf_put_slice(&session->log, request->host);
    for (uint32_t i = 0; i < request->header_count; i++) {
        buf_put_slice(&session->log, request->headers[i].name);
        buf_put_slice(&session->log, request->headers[i].value);
        CHECK(!slice_has_control(request->headers[i].value, "\t"));
    }
    struct slice value;
    (void)http_query_get(request, SLICE("a"), &session->arena, &value);
    err_ignore(http_unescape(request->path, &session->arena, &value)); /* only must not crash */
}

static void feed(struct session *session, struct slice rest)
{
    bool is_more = false;
    while (!session->is_over && !is_more) {
        size_t used = 0;
        enum http_event event = http_feed(session->codec, rest, &used);
        CHECK(used <= rest.len);
        rest = slice_from(rest, used);
        switch (event) {
        case HTTP_EVENT_MORE:
            CHECK(rest.len == 0);
            is_more = true;
            break;
        case HTTP_EVENT_HEADERS:
            log_request(session);
            http_allow_body(session->codec, BODY_MAX);
            break;
        case HTTP_EVENT_DONE:
            CHECK(session->request.body.len <= BODY_MAX);
            buf_put_slice(&session->log, session->request.body);
            arena_clear(&session->arena);
            http_next(session->codec, &session->arena, &session->request);
            is_more = rest.len == 0;
            break;
        case HTTP_EVENT_ERROR:
            buf_put_u8(&session->log, (uint8_t)http_error(session->codec));
            session->is_over = true;
            break;
        }
    }
}

/* The log of a session; in one piece, or in pieces whose lengths the seed decides. */
static struct buf run(struct slice wire, uint32_t seed, bool is_whole)
{
    struct session session = {.codec = http_new()};
    arena_init(&session.arena, 1024, 64 * KIB);
    buf_init(&session.log, 64 * MIB);
    http_next(session.codec, &session.arena, &session.request);
    while (wire.len > 0) {
        seed = seed * 1103515245U + 12345U;
        size_t len = (seed >> 16) % 2 == 0 ? 1 : (seed >> 17) % 40 + 1;
        struct slice piece = slice_head(wire, is_whole ? wire.len : len);
        char *block = mem_alloc(piece.len); /* so that the sanitizer sees its end */
        memcpy(block, piece.data, piece.len);
        feed(&session, slice_of(block, piece.len));
        free(block);
        wire = slice_from(wire, piece.len);
    }
    buf_put_u8(&session.log, http_is_idle(session.codec) ? 1 : 0);
    http_free(session.codec);
    arena_fini(&session.arena);
    return session.log;
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
