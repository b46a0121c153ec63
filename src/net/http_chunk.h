/* http_chunk.h - decoder of HTTP/1.1's chunked coding (RFC 9112 7.1); no sockets, no heads.
 *
 * Part of net/http, apart because it is a machine of its own. Every byte that is not data is looked
 * at: sizes are one to sixteen hexadecimal digits, lines end with CRLF only, two bytes behind a
 * chunk are CRLF, trailer fields are well formed. Extensions and trailers are dropped, and their
 * bytes are counted against a ceiling, so that a body cannot hide a second body in them.
 *
 * The body gathers in a heap buffer because its length is known only at its end.
 */
#ifndef NET_HTTP_CHUNK_H
#define NET_HTTP_CHUNK_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* Where the next byte stands. */
enum http_chunk_at {
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_EXT,
    HTTP_CHUNK_SIZE_LF,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR,
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_TRAILER,       /* first byte of a trailer line, or CR of the last line */
    HTTP_CHUNK_TRAILER_NAME,  /* behind its first byte */
    HTTP_CHUNK_TRAILER_VALUE, /* behind its colon */
    HTTP_CHUNK_TRAILER_LF,
    HTTP_CHUNK_LAST_LF,
    HTTP_CHUNK_END,
};

struct http_chunks {
    struct buf body;
    uint64_t body_max;
    uint64_t chunk_left;    /* bytes of the chunk still to come; while reading a size: the size */
    uint32_t overhead_left; /* bytes that extensions and trailers may still have */
    uint32_t trailers_left; /* trailer fields that may still come */
    enum http_chunk_at at;
    uint8_t digit_count;
};

void http_chunks_init(struct http_chunks *chunks, uint64_t body_max);
void http_chunks_fini(struct http_chunks *chunks);
/* What extensions and trailers may have together; 0 until called. */
void http_chunks_allow(struct http_chunks *chunks, uint32_t overhead_bytes, uint32_t trailers);

/* Takes bytes up to the end of the coding; *is_done then, and chunks->body is the body. Errors:
 * ERR_BAD_HTTP, ERR_TOO_LARGE at the size that would pass body_max, ERR_HEADERS_TOO_LARGE. */
MUST_USE enum err http_chunks_feed(struct http_chunks *chunks, struct slice data, size_t *used,
                                   bool *is_done);

#endif
