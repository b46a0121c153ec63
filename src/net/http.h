/* http.h - HTTP/1.1 server codec over http-parser: bytes in, requests out, answers back. No
 * sockets.
 *
 * Strict where request smuggling lives (RFC 9112): duplicate or conflicting Content-Length,
 * Transfer-Encoding together with Content-Length, any coding but chunked, bare LF line endings,
 * obsolete folding, a space before a colon, NUL anywhere, more than one Host, a missing Host
 * on 1.1: ERR_BAD_HTTP, and the session answers 400 and closes. Ceilings: HTTP_HEADER_MAX,
 * HTTP_HEADER_COUNT, HTTP_URL_MAX, and the body ceiling that the session sets when the headers are
 * known, before a byte of the body is kept (413 without reading it).
 *
 * The codec copies names, values and the body into the request's arena, which the session gives it
 * when a request starts; so the arena can move into a message with everything in it.
 *
 * Upgrade headers are ignored (h2c from Java's client is answered in HTTP/1.1).
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_OTHER,
};
/* "GET"; "other" for those that no route has. */
const char *http_method_text(enum http_method method);

struct http_header {
    struct slice name;  /* as sent; compare without case */
    struct slice value; /* trimmed */
};

struct http_request {
    enum http_method method;
    struct slice target; /* as sent */
    struct slice path;   /* before '?', still percent-encoded */
    struct slice query;  /* after '?' */
    struct slice host;
    struct http_header *headers;
    uint32_t header_count;
    struct slice body;       /* complete when HTTP_EVENT_DONE */
    uint64_t content_length; /* UINT64_MAX when chunked */
    bool is_chunked;
    bool is_keep_alive;
    bool expects_continue;
    uint8_t minor_version; /* 0 or 1 */
};

enum http_event {
    HTTP_EVENT_MORE,    /* all bytes were used; feed more */
    HTTP_EVENT_HEADERS, /* request line and headers are known; set the body ceiling or reject, then
                           feed on, even when no bytes are left: that feed says DONE when there is
                           no body */
    HTTP_EVENT_DONE,    /* request complete; http_next before feeding the rest */
    HTTP_EVENT_ERROR, /* codec->err: ERR_BAD_HTTP, ERR_HEADERS_TOO_LARGE, ERR_TOO_LARGE; answer and
                         close */
};

struct http_codec; /* heap, about 300 bytes: see http_new */

/* Owns: caller owns the codec. arena must outlive the request or be moved with it. */
struct http_codec *http_new(void);
void http_free(struct http_codec *codec);

/* Starts a request whose data goes to arena; *request is filled as the request is parsed and must
 * stay in place. */
void http_next(struct http_codec *codec, struct arena *arena, struct http_request *request);
/* The most the body may have; call on HTTP_EVENT_HEADERS. Until then 0. A known Content-Length
 * beyond it gives HTTP_EVENT_ERROR with ERR_TOO_LARGE at the next feed, before any of it is kept;
 * chunked bodies at the chunk that passes it. */
void http_allow_body(struct http_codec *codec, uint64_t max_bytes);
/* *used says how many bytes of data were taken. */
enum http_event http_feed(struct http_codec *codec, struct slice data, size_t *used);
enum err http_error(const struct http_codec *codec);
/* Between requests, nothing of the next one seen (one empty line before it may have been). */
bool http_is_idle(const struct http_codec *codec);

/* Value of the first header of that name (no case), or empty. */
struct slice http_header_get(const struct http_request *request, struct slice name);
/* Value of the first query parameter of that name, decoded into arena as forms are encoded (%41,
 * and
 * '+' for a space); false when absent or malformed (%zz, NUL). */
bool http_query_get(const struct http_request *request, struct slice name, struct arena *arena,
                    struct slice *value);
/* Percent-decoding of one path segment; '+' stays. ERR_INVALID on %zz, NUL. */
MUST_USE enum err http_unescape(struct slice s, struct arena *arena, struct slice *out);

/* Status line, Date, Content-Length, the given header lines (each complete with CRLF) and the body
 * are appended to out, all or nothing (buf_err). HEAD and 204/304 write no body; 204 and 304 no
 * length; 1xx nothing but the given header lines. */
struct http_answer {
    uint16_t status;
    struct slice content_type;  /* empty for none */
    struct slice extra_headers; /* "name: value\r\n"... */
    struct slice body;
    bool is_head;
    bool is_close; /* says Connection: close */
};
void http_write_answer(struct buf *out, const struct http_answer *answer);
const char *http_reason(uint16_t status);

#endif
