/* http.c - the head by http-parser behind strict checks, the body by our own framing.
 *
 *              blank line                 http_feed              last byte
 *     HEAD ----------------> KNOWN ------+---------> BODY ------------+--> DONE
 *      |  |                    |         +---------> CHUNKS ----------+     |
 *      |  +--- http_next ------|----------------------------------------<---+
 *      +-----------------------+---> FAILED (from any state; the end)
 *
 * Debian builds http-parser with HTTP_PARSER_STRICT=0. In that build it takes bare LF, spaces in
 * field names, obsolete folding, HTTP/0.9, a control in front of a value, anything as a chunk's
 * extension and any two bytes behind a chunk; each of these has been used to smuggle a request past
 * a proxy. So the head is first cut out by scan_head, which fixes where lines end, then given to
 * http-parser in one piece for tokens, method and connection options, while note_header rules on
 * every field that frames the message. Its body code is not used at all: a known length is a
 * memcpy, and chunks are decoded by http_chunk, with every CR and LF looked at.
 *
 * Nothing but the two counters and flags of scan_head depends on how the bytes were split into
 * reads: what arrives is judged byte by byte in order, or at the end of the head as a whole. The
 * fuzzer holds that.
 */
#include "net/http.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/sm.h"
#include "net/http_chunk.h"

/* http-parser claims the tag we use for our own enum. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum codec_state { CODEC_HEAD, CODEC_KNOWN, CODEC_BODY, CODEC_CHUNKS, CODEC_DONE, CODEC_FAILED };

static const struct sm_state codec_states[] = {
    [CODEC_HEAD] = {"head", SM_TO(CODEC_KNOWN) | SM_TO(CODEC_FAILED)},
    [CODEC_KNOWN] = {"known", SM_TO(CODEC_BODY) | SM_TO(CODEC_CHUNKS) | SM_TO(CODEC_DONE) |
                                  SM_TO(CODEC_FAILED)},
    [CODEC_BODY] = {"body", SM_TO(CODEC_DONE) | SM_TO(CODEC_FAILED)},
    [CODEC_CHUNKS] = {"chunks", SM_TO(CODEC_DONE) | SM_TO(CODEC_FAILED)},
    [CODEC_DONE] = {"done", SM_TO(CODEC_HEAD)},
    [CODEC_FAILED] = {"failed", 0},
};
static const struct sm_table codec_table = {"http", codec_states, ARRAY_LEN(codec_states)};

#define ARENA_SLACK 128 /* what an arena may add for alignment to two allocations */

struct http_codec {
    struct sm sm;
    enum err err;
    struct arena *arena; /* the session's; of the request under way */
    struct http_request *request;
    struct buf head; /* of a head that came in pieces, until it is whole */
    struct http_chunks chunks;
    uint64_t body_max;
    uint64_t body_left;  /* of a known length */
    char *body_to;       /* where the next byte of a known length goes */
    uint32_t head_bytes; /* of the head so far, to HTTP_HEADER_MAX */
    uint32_t line_count; /* whole lines of the head, request line and empty line included */
    uint32_t line_bytes; /* of the unfinished line */
    uint8_t blank_bytes; /* of the empty line before a request: 0 to 2 */
    bool is_after_cr;
};

/* What the callbacks of http-parser fill. */
struct head_reader {
    struct http_request *request;
    struct http_header *headers;
    uint32_t capacity;
    enum err err;
    uint8_t http_parser_method;
    bool has_host;
    bool has_content_length;
    bool has_transfer_encoding;
    bool is_complete;
};

static enum http_event feed_head(struct http_codec *codec, struct slice data, size_t *used);
static enum http_event feed_body(struct http_codec *codec, struct slice data, size_t *used);
static enum http_event feed_chunks(struct http_codec *codec, struct slice data, size_t *used);
static enum err begin_body(struct http_codec *codec);
static enum http_event finish(struct http_codec *codec);
static enum http_event fail(struct http_codec *codec, enum err err);
static enum err skip_blank(struct http_codec *codec, struct slice data, size_t *used);
static enum err scan_head(struct http_codec *codec, struct slice data, size_t *used, bool *is_end);
static enum err scan_line(struct http_codec *codec, struct slice rest, size_t *len, bool *is_end);
static enum err parse_head(struct http_codec *codec, struct slice head);
static enum err read_request_line(struct http_request *request, struct slice head);
static enum err split_target(struct http_request *request);
static bool is_host_valid(struct slice host);
static enum err run_parser(struct head_reader *reader, struct slice head);
static int on_header_field(struct http_parser *parser, const char *at, size_t len);
static int on_header_value(struct http_parser *parser, const char *at, size_t len);
static int on_headers_complete(struct http_parser *parser);
static enum err note_header(struct head_reader *reader, const struct http_header *header);
static bool arena_has_room(const struct arena *arena, uint64_t bytes);
static struct slice date_line(void);

/* ---- the codec ------------------------------------------------------------------------------ */

struct http_codec *http_new(void)
{
    struct http_codec *codec = mem_zalloc(sizeof(*codec));
    sm_init(&codec->sm, &codec_table, CODEC_HEAD);
    buf_init(&codec->head, HTTP_HEADER_MAX);
    http_chunks_init(&codec->chunks, 0);
    return codec;
}

const char *http_method_text(enum http_method method)
{
    static const char *const TEXTS[] = {
        [HTTP_METHOD_GET] = "GET",         [HTTP_METHOD_HEAD] = "HEAD",
        [HTTP_METHOD_POST] = "POST",       [HTTP_METHOD_PUT] = "PUT",
        [HTTP_METHOD_PATCH] = "PATCH",     [HTTP_METHOD_DELETE] = "DELETE",
        [HTTP_METHOD_OPTIONS] = "OPTIONS", [HTTP_METHOD_OTHER] = "other",
    };
    CHECK(method < ARRAY_LEN(TEXTS));
    return TEXTS[method];
}

void http_free(struct http_codec *codec)
{
    if (codec == NULL) {
        return;
    }
    buf_fini(&codec->head);
    http_chunks_fini(&codec->chunks);
    free(codec);
}

void http_next(struct http_codec *codec, struct arena *arena, struct http_request *request)
{
    CHECK(http_is_idle(codec));
    if (codec->sm.state == CODEC_DONE) {
        sm_move(&codec->sm, CODEC_HEAD);
        codec->blank_bytes = 0;
    }
    *request = (struct http_request){.method = HTTP_METHOD_OTHER};
    codec->arena = arena;
    codec->request = request;
    codec->body_max = 0;
    codec->body_left = 0;
    codec->head_bytes = 0;
    codec->line_count = 0;
    codec->line_bytes = 0;
    codec->is_after_cr = false;
}

void http_allow_body(struct http_codec *codec, uint64_t max_bytes)
{
    CHECK(codec->sm.state == CODEC_KNOWN);
    codec->body_max = max_bytes;
}

enum http_event http_feed(struct http_codec *codec, struct slice data, size_t *used)
{
    CHECK(codec->request != NULL);
    CHECK(codec->sm.state != CODEC_DONE);
    *used = 0;
    if (codec->sm.state == CODEC_KNOWN) {
        enum err err = begin_body(codec);
        if (err != ERR_OK) {
            return fail(codec, err);
        }
    }
    switch ((enum codec_state)codec->sm.state) {
    case CODEC_HEAD:
        return feed_head(codec, data, used);
    case CODEC_BODY:
        return feed_body(codec, data, used);
    case CODEC_CHUNKS:
        return feed_chunks(codec, data, used);
    case CODEC_KNOWN:
    case CODEC_DONE: /* begin_body found nothing to wait for */
        return HTTP_EVENT_DONE;
    case CODEC_FAILED:
        break;
    }
    return HTTP_EVENT_ERROR;
}

enum err http_error(const struct http_codec *codec)
{
    return codec->err;
}

bool http_is_idle(const struct http_codec *codec)
{
    return codec->sm.state == CODEC_DONE ||
           (codec->sm.state == CODEC_HEAD && codec->head_bytes == 0 && codec->blank_bytes != 1);
}

static enum http_event fail(struct http_codec *codec, enum err err)
{
    codec->err = err;
    sm_move(&codec->sm, CODEC_FAILED);
    buf_fini(&codec->head);
    http_chunks_fini(&codec->chunks);
    return HTTP_EVENT_ERROR;
}

static enum http_event finish(struct http_codec *codec)
{
    sm_move(&codec->sm, CODEC_DONE);
    return HTTP_EVENT_DONE;
}

static bool arena_has_room(const struct arena *arena, uint64_t bytes)
{
    uint64_t room = arena->max_bytes - arena->used_bytes;
    return room >= ARENA_SLACK && bytes <= room - ARENA_SLACK;
}

/* ---- the head ------------------------------------------------------------------------------- */

static enum http_event feed_head(struct http_codec *codec, struct slice data, size_t *used)
{
    enum err err = skip_blank(codec, data, used);
    if (err != ERR_OK) {
        return fail(codec, err);
    }
    struct slice rest = slice_from(data, *used);
    size_t taken = 0;
    bool is_end = false;
    err = scan_head(codec, rest, &taken, &is_end);
    if (err != ERR_OK) {
        return fail(codec, err);
    }
    *used += taken;
    struct slice head = slice_head(rest, taken);
    /* A head that arrives whole, nearly always, is parsed without passing through the buffer. */
    if (!is_end || codec->head.len > 0) {
        buf_add(&codec->head, head);
        head = buf_slice(&codec->head);
    }
    if (!is_end) {
        return HTTP_EVENT_MORE;
    }
    err = parse_head(codec, head);
    if (err != ERR_OK) {
        return fail(codec, err);
    }
    /* An idle connection holds no buffer. */
    buf_fini(&codec->head);
    buf_init(&codec->head, HTTP_HEADER_MAX);
    sm_move(&codec->sm, CODEC_KNOWN);
    return HTTP_EVENT_HEADERS;
}

/* RFC 9112 2.2: at least one empty line before a request is to be ignored. We ignore one. */
static enum err skip_blank(struct http_codec *codec, struct slice data, size_t *used)
{
    if (codec->head_bytes > 0) {
        return ERR_OK;
    }
    if (codec->blank_bytes == 0 && data.len > 0 && data.data[0] == '\r') {
        codec->blank_bytes = 1;
        *used = 1;
    }
    if (codec->blank_bytes == 1 && data.len > *used) {
        if (data.data[*used] != '\n') {
            return ERR_BAD_HTTP;
        }
        codec->blank_bytes = 2;
        *used += 1;
    }
    return ERR_OK;
}

/* Takes bytes up to and including the empty line that ends the head. Lines end with CRLF, and
 * neither CR nor LF stands anywhere else (RFC 9112 2.2 lets a recipient be lenient; it costs). */
static enum err scan_head(struct http_codec *codec, struct slice data, size_t *used, bool *is_end)
{
    struct slice rest = slice_head(data, HTTP_HEADER_MAX - codec->head_bytes);
    while (rest.len > 0 && !*is_end) {
        size_t len = 0;
        enum err err = scan_line(codec, rest, &len, is_end);
        if (err != ERR_OK) {
            return err;
        }
        rest = slice_from(rest, len);
        *used += len;
        codec->head_bytes += (uint32_t)len;
    }
    if (!*is_end && codec->head_bytes == HTTP_HEADER_MAX) {
        return ERR_HEADERS_TOO_LARGE;
    }
    return ERR_OK;
}

/* One line, or the part of it that is there. rest is not empty. */
static enum err scan_line(struct http_codec *codec, struct slice rest, size_t *len, bool *is_end)
{
    char first = rest.data[0];
    if (codec->line_bytes == 0) {
        /* A request begins with a method; this turns away TLS and other strangers at once. */
        bool is_method = first >= 'A' && first <= 'Z';
        bool is_fold = first == ' ' || first == '\t'; /* RFC 9112 5.2 */
        if ((codec->line_count == 0 && !is_method) || is_fold) {
            return ERR_BAD_HTTP;
        }
    }
    if (codec->is_after_cr && first != '\n') {
        return ERR_BAD_HTTP;
    }
    const char *lf = memchr(rest.data, '\n', rest.len);
    size_t before = lf != NULL ? (size_t)(lf - rest.data) : rest.len;
    const char *cr = before > 0 ? memchr(rest.data, '\r', before) : NULL;
    if (cr != NULL && cr != rest.data + before - 1) {
        return ERR_BAD_HTTP;
    }
    if (lf == NULL) {
        codec->is_after_cr = cr != NULL;
        codec->line_bytes += (uint32_t)before;
        *len = before;
        return ERR_OK;
    }
    if (cr == NULL && !codec->is_after_cr) {
        return ERR_BAD_HTTP;
    }
    *is_end = codec->line_bytes + before == 1; /* the CR alone */
    *len = before + 1;
    codec->line_count += 1;
    codec->line_bytes = 0;
    codec->is_after_cr = false;
    return ERR_OK;
}

/* The head is copied to the arena in one piece; names and values are slices of that copy. */
static enum err parse_head(struct http_codec *codec, struct slice head)
{
    uint32_t header_count = codec->line_count - 2;
    if (header_count > HTTP_HEADER_COUNT) {
        return ERR_HEADERS_TOO_LARGE;
    }
    size_t array_bytes = header_count * sizeof(struct http_header);
    if (!arena_has_room(codec->arena, head.len + array_bytes)) {
        return ERR_HEADERS_TOO_LARGE;
    }
    struct head_reader reader = {.request = codec->request, .capacity = header_count};
    if (header_count > 0) {
        reader.headers = arena_array(codec->arena, header_count, sizeof(struct http_header));
    }
    char *copy = arena_bytes(codec->arena, head.len);
    memcpy(copy, head.data, head.len);
    head.data = copy;

    struct http_request *request = codec->request;
    enum err err = read_request_line(request, head);
    if (err == ERR_OK) {
        err = run_parser(&reader, head);
    }
    if (err != ERR_OK) {
        return err;
    }
    request->headers = reader.headers;
    /* RFC 9112 6.1 and 6.3: both lengths, or a coding that 1.0 does not have, are an attack or a
     * fault; 3.2: exactly one Host, which 1.0 may omit. */
    bool is_http_1_0 = request->minor_version == 0;
    if (reader.has_transfer_encoding && (reader.has_content_length || is_http_1_0)) {
        return ERR_BAD_HTTP;
    }
    if (!reader.has_host && !is_http_1_0) {
        return ERR_BAD_HTTP;
    }
    if (is_http_1_0) {
        request->expects_continue = false; /* RFC 9110 10.1.1 */
    }
    if (request->is_chunked) {
        request->content_length = UINT64_MAX;
    }
    /* Last, because the authority of an absolute target replaces Host (RFC 9112 3.2.2). */
    return reader.http_parser_method == HTTP_CONNECT ? ERR_OK : split_target(request);
}

/* method SP request-target SP HTTP-version, single spaces, nothing else (RFC 9112 3). */
static enum err read_request_line(struct http_request *request, struct slice head)
{
    struct slice line = slice_head(head, slice_find_byte(head, '\r'));
    size_t first = slice_find_byte(line, ' ');
    size_t last = slice_rfind_byte(line, ' ');
    if (first == SIZE_MAX || last <= first + 1) {
        return ERR_BAD_HTTP;
    }
    struct slice version = slice_from(line, last + 1);
    bool is_http_1_1 = slice_equal(version, SLICE("HTTP/1.1"));
    if (!is_http_1_1 && !slice_equal(version, SLICE("HTTP/1.0"))) {
        return ERR_BAD_HTTP;
    }
    struct slice target = slice_sub(line, first + 1, last - first - 1);
    if (target.len > HTTP_URL_MAX) {
        return ERR_HEADERS_TOO_LARGE;
    }
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.data[i];
        /* A fragment is never sent (RFC 9110 7.1), and a URI is printable ASCII (RFC 3986 2). */
        if (c <= ' ' || c >= 0x7f || c == '#') {
            return ERR_BAD_HTTP;
        }
    }
    request->target = target;
    request->minor_version = is_http_1_1 ? 1 : 0;
    return ERR_OK;
}

/* The forms of RFC 9112 3.2, but for CONNECT's. */
static enum err split_target(struct http_request *request)
{
    struct slice rest = request->target;
    size_t scheme = 0;
    if (slice_starts_nocase(rest, SLICE("http://"))) {
        scheme = sizeof("http://") - 1;
    } else if (slice_starts_nocase(rest, SLICE("https://"))) {
        scheme = sizeof("https://") - 1;
    }
    if (scheme > 0) {
        rest = slice_from(rest, scheme);
        size_t end = 0;
        while (end < rest.len && rest.data[end] != '/' && rest.data[end] != '?') {
            end++;
        }
        request->host = slice_head(rest, end);
        if (end == 0 || !is_host_valid(request->host)) {
            return ERR_BAD_HTTP;
        }
        rest = slice_from(rest, end);
    } else if (rest.data[0] != '/') {
        bool is_asterisk = request->method == HTTP_METHOD_OPTIONS && slice_equal(rest, SLICE("*"));
        if (!is_asterisk) {
            return ERR_BAD_HTTP;
        }
    }
    size_t question = slice_find_byte(rest, '?');
    request->path = slice_head(rest, question);
    request->query = question == SIZE_MAX ? SLICE("") : slice_from(rest, question + 1);
    if (request->path.len == 0) {
        request->path = SLICE("/"); /* http://host, http://host?query */
    }
    return ERR_OK;
}

/* The characters of RFC 3986 3.2.2 and 3.2.3, without the comma, which would read as a list. */
static bool is_host_valid(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) &&
            (c == '\0' || strchr(".-_:[]%~!$&'()*+;=", c) == NULL)) {
            return false;
        }
    }
    return true;
}

static enum err run_parser(struct head_reader *reader, struct slice head)
{
    static const struct http_parser_settings settings = {
        .on_header_field = on_header_field,
        .on_header_value = on_header_value,
        .on_headers_complete = on_headers_complete,
    };
    struct http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = reader;
    size_t parsed = http_parser_execute(&parser, &settings, head.data, head.len);
    if (reader->err != ERR_OK) {
        return reader->err;
    }
    if (HTTP_PARSER_ERRNO(&parser) != HPE_OK || parsed != head.len || !reader->is_complete) {
        return ERR_BAD_HTTP;
    }
    return ERR_OK;
}

/* The head is in one piece, so http-parser hands every name and value over in one piece too. */
static int on_header_field(struct http_parser *parser, const char *at, size_t len)
{
    struct head_reader *reader = parser->data;
    uint32_t i = reader->request->header_count;
    /* http-parser without STRICT takes a space for a token's character. */
    if (i == reader->capacity || reader->headers[i].name.data != NULL || len == 0 ||
        memchr(at, ' ', len) != NULL) {
        reader->err = ERR_BAD_HTTP;
        return 1;
    }
    reader->headers[i].name = slice_of(at, len);
    return 0;
}

/* Anything but the tab (RFC 9110 5.5). http-parser does not look at a value's first byte. */
static bool has_control(struct slice value)
{
    unsigned int found = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        found |= ((unsigned int)(c < ' ') & (unsigned int)(c != '\t')) | (unsigned int)(c == 0x7f);
    }
    return found != 0;
}

static int on_header_value(struct http_parser *parser, const char *at, size_t len)
{
    struct head_reader *reader = parser->data;
    uint32_t i = reader->request->header_count;
    if (i == reader->capacity || reader->headers[i].name.data == NULL) {
        reader->err = ERR_BAD_HTTP;
        return 1;
    }
    struct http_header *header = &reader->headers[i];
    header->value = slice_trim(slice_of(at, len));
    if (has_control(header->value)) {
        reader->err = ERR_BAD_HTTP;
        return 1;
    }
    reader->request->header_count = i + 1;
    reader->err = note_header(reader, header);
    return reader->err == ERR_OK ? 0 : 1;
}

static enum http_method method_of(unsigned int method)
{
    switch (method) {
    case HTTP_GET:
        return HTTP_METHOD_GET;
    case HTTP_HEAD:
        return HTTP_METHOD_HEAD;
    case HTTP_POST:
        return HTTP_METHOD_POST;
    case HTTP_PUT:
        return HTTP_METHOD_PUT;
    case HTTP_PATCH:
        return HTTP_METHOD_PATCH;
    case HTTP_DELETE:
        return HTTP_METHOD_DELETE;
    case HTTP_OPTIONS:
        return HTTP_METHOD_OPTIONS;
    default:
        return HTTP_METHOD_OTHER;
    }
}

static int on_headers_complete(struct http_parser *parser)
{
    struct head_reader *reader = parser->data;
    struct http_request *request = reader->request;
    request->method = method_of(parser->method);
    /* "close" wins over "keep-alive", in 1.0 too (RFC 9112 9.3). */
    request->is_keep_alive =
        http_should_keep_alive(parser) != 0 && (parser->flags & F_CONNECTION_CLOSE) == 0;
    reader->http_parser_method = (uint8_t)parser->method;
    reader->is_complete = true;
    return 0;
}

/* The fields that frame the message, none of which may come twice. */
static enum err note_header(struct head_reader *reader, const struct http_header *header)
{
    struct http_request *request = reader->request;
    switch (header->name.len) {
    case sizeof("host") - 1:
        if (slice_equal_nocase(header->name, SLICE("host"))) {
            if (reader->has_host || !is_host_valid(header->value)) {
                return ERR_BAD_HTTP;
            }
            reader->has_host = true;
            request->host = header->value;
        }
        return ERR_OK;
    case sizeof("expect") - 1:
        if (slice_equal_nocase(header->name, SLICE("expect")) &&
            slice_equal_nocase(header->value, SLICE("100-continue"))) {
            request->expects_continue = true;
        }
        return ERR_OK;
    case sizeof("content-length") - 1:
        if (slice_equal_nocase(header->name, SLICE("content-length"))) {
            bool is_second = reader->has_content_length;
            reader->has_content_length = true;
            if (is_second || slice_u64(header->value, &request->content_length) != ERR_OK ||
                request->content_length == UINT64_MAX) {
                return ERR_BAD_HTTP;
            }
        }
        return ERR_OK;
    case sizeof("transfer-encoding") - 1:
        if (slice_equal_nocase(header->name, SLICE("transfer-encoding"))) {
            bool is_second = reader->has_transfer_encoding;
            reader->has_transfer_encoding = true;
            if (is_second || !slice_equal_nocase(header->value, SLICE("chunked"))) {
                return ERR_BAD_HTTP;
            }
            request->is_chunked = true;
        }
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

/* ---- the body ------------------------------------------------------------------------------- */

static enum err begin_body(struct http_codec *codec)
{
    struct http_request *request = codec->request;
    if (request->is_chunked) {
        uint64_t room = codec->arena->max_bytes - codec->arena->used_bytes;
        room = room > ARENA_SLACK ? room - ARENA_SLACK : 0;
        codec->body_max = min_u64(codec->body_max, room);
        http_chunks_init(&codec->chunks, codec->body_max);
        http_chunks_allow(&codec->chunks, HTTP_HEADER_MAX - codec->head_bytes,
                          HTTP_HEADER_COUNT - request->header_count);
        sm_move(&codec->sm, CODEC_CHUNKS);
        return ERR_OK;
    }
    if (request->content_length > codec->body_max ||
        (request->content_length > 0 && !arena_has_room(codec->arena, request->content_length))) {
        return ERR_TOO_LARGE;
    }
    codec->body_left = request->content_length;
    if (codec->body_left == 0) {
        sm_move(&codec->sm, CODEC_DONE);
        return ERR_OK;
    }
    /* Reserved, not touched: pages of a large body become real as its bytes arrive. */
    codec->body_to = arena_bytes(codec->arena, (size_t)codec->body_left);
    request->body.data = codec->body_to;
    sm_move(&codec->sm, CODEC_BODY);
    return ERR_OK;
}

static enum http_event feed_body(struct http_codec *codec, struct slice data, size_t *used)
{
    size_t len = (size_t)min_u64(codec->body_left, data.len);
    if (len > 0) {
        memcpy(codec->body_to, data.data, len);
    }
    *used = len;
    codec->body_to += len;
    codec->body_left -= len;
    if (codec->body_left > 0) {
        return HTTP_EVENT_MORE;
    }
    codec->request->body.len = (size_t)codec->request->content_length;
    return finish(codec);
}

static enum http_event feed_chunks(struct http_codec *codec, struct slice data, size_t *used)
{
    bool is_done = false;
    enum err err = http_chunks_feed(&codec->chunks, data, used, &is_done);
    if (err != ERR_OK) {
        return fail(codec, err);
    }
    if (!is_done) {
        return HTTP_EVENT_MORE;
    }
    struct slice body = buf_slice(&codec->chunks.body);
    if (body.len > 0) {
        char *copy = arena_bytes(codec->arena, body.len);
        memcpy(copy, body.data, body.len);
        codec->request->body = slice_of(copy, body.len);
    }
    http_chunks_fini(&codec->chunks);
    return finish(codec);
}

/* ---- looking at a request ------------------------------------------------------------------- */

struct slice http_header_get(const struct http_request *request, struct slice name)
{
    for (uint32_t i = 0; i < request->header_count; i++) {
        if (slice_equal_nocase(request->headers[i].name, name)) {
            return request->headers[i].value;
        }
    }
    return SLICE("");
}

/* The byte at s[*at], decoded, and *at moved behind it; -1 for a bad escape or NUL. A form's plus
 * is a space; a path's is a plus. */
static int unescape_byte(struct slice s, bool is_form, size_t *at)
{
    char c = s.data[*at];
    if (c != '%') {
        *at += 1;
        if (is_form && c == '+') {
            return ' ';
        }
        return c != '\0' ? (unsigned char)c : -1;
    }
    if (s.len - *at < 3) {
        return -1;
    }
    int high = ascii_hex_value(s.data[*at + 1]);
    int low = ascii_hex_value(s.data[*at + 2]);
    *at += 3;
    if (high < 0 || low < 0 || (high == 0 && low == 0)) {
        return -1;
    }
    return high * 16 + low;
}

static enum err unescape(struct slice s, bool is_form, struct arena *arena, struct slice *out)
{
    if (s.len == 0) {
        *out = SLICE("");
        return ERR_OK;
    }
    if (!arena_has_room(arena, s.len)) {
        return ERR_TOO_LARGE;
    }
    char *text = arena_bytes(arena, s.len);
    size_t len = 0;
    for (size_t at = 0; at < s.len;) {
        int byte = unescape_byte(s, is_form, &at);
        if (byte < 0) {
            return ERR_INVALID;
        }
        text[len++] = (char)byte;
    }
    *out = slice_of(text, len);
    return ERR_OK;
}

enum err http_unescape(struct slice s, struct arena *arena, struct slice *out)
{
    return unescape(s, false, arena, out);
}

static bool is_escaped_name(struct slice escaped, struct slice name)
{
    size_t i = 0;
    for (size_t at = 0; at < escaped.len; i++) {
        int byte = unescape_byte(escaped, true, &at);
        if (byte < 0 || i == name.len || (unsigned char)name.data[i] != byte) {
            return false;
        }
    }
    return i == name.len;
}

bool http_query_get(const struct http_request *request, struct slice name, struct arena *arena,
                    struct slice *value)
{
    struct slice rest = request->query;
    while (rest.data != NULL) {
        struct slice pair = slice_cut(&rest, '&');
        struct slice escaped = slice_cut(&pair, '=');
        if (is_escaped_name(escaped, name)) {
            return unescape(pair, true, arena, value) == ERR_OK;
        }
    }
    return false;
}

/* ---- the answer ----------------------------------------------------------------------------- */

const char *http_reason(uint16_t status)
{
    return http_status_str((enum http_status)status);
}

/* "date: Sat, 21 Nov 2026 06:38:51 GMT\r\n". Every answer carries one and a second has many
 * answers, so each thread keeps its last: the one mutable thing of this file. */
static struct slice date_line(void)
{
    static _Thread_local struct {
        uint64_t unix_s;
        size_t len;
        char text[CLOCK_TEXT_MAX + 16];
    } last;
    uint64_t unix_ms = clock_unix_ms();
    if (last.len == 0 || last.unix_s != unix_ms / 1000) {
        char date[CLOCK_TEXT_MAX];
        struct slice text = slice_of(date, clock_rfc5322(unix_ms, date));
        /* RFC 9110 5.6.7 is RFC 5322 with a zone by name. */
        text = slice_head(text, slice_rfind_byte(text, ' '));
        last.len =
            (size_t)snprintf(last.text, sizeof(last.text), "date: %.*s GMT\r\n", SLICE_FMT(text));
        last.unix_s = unix_ms / 1000;
    }
    return slice_of(last.text, last.len);
}

void http_write_answer(struct buf *out, const struct http_answer *answer)
{
    uint16_t status = answer->status;
    CHECK(status >= 100 && status <= 599);
    CHECK(answer->extra_headers.len == 0 || slice_ends(answer->extra_headers, SLICE("\r\n")));
    /* RFC 9110 8.6, 15.4.5: 1xx and 204 have no length, and the body of a 304 is elsewhere. */
    bool has_length = status >= 200 && status != 204 && status != 304;
    bool has_type = has_length && answer->content_type.len > 0;
    char first[80];
    int first_len = snprintf(first, sizeof(first), "HTTP/1.1 %u %s\r\n", (unsigned int)status,
                             http_reason(status));
    CHECK(first_len > 0 && (size_t)first_len < sizeof(first));
    char length[48] = "";
    int length_len = 0;
    if (has_length) {
        length_len = snprintf(length, sizeof(length), "content-length: %zu\r\n", answer->body.len);
    }
    const struct slice parts[] = {
        slice_of(first, (size_t)first_len),
        status >= 200 ? date_line() : SLICE(""),
        has_type ? SLICE("content-type: ") : SLICE(""),
        has_type ? answer->content_type : SLICE(""),
        has_type ? SLICE("\r\n") : SLICE(""),
        slice_of(length, (size_t)length_len),
        answer->is_close ? SLICE("connection: close\r\n") : SLICE(""),
        answer->extra_headers,
        SLICE("\r\n"),
        has_length && !answer->is_head ? answer->body : SLICE(""),
    };
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        total += parts[i].len;
    }
    /* All or nothing: half an answer would be taken for the start of the next. */
    char *to = buf_room(out, total);
    if (to == NULL) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > 0) {
            memcpy(to, parts[i].data, parts[i].len);
            to += parts[i].len;
        }
    }
    buf_grew(out, total);
}
