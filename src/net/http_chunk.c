/* http_chunk.c - the chunked coding, byte by byte outside the data.
 *
 *     SIZE -> EXT* -> SIZE_LF -+-> DATA -> DATA_CR -> DATA_LF -> SIZE
 *                              |
 *                              +-> TRAILER -> NAME -> VALUE -> TRAILER_LF -> TRAILER
 *                                     |
 *                                     +-> LAST_LF -> END
 *
 * The machine moves once a byte, so its moves are the switch below and not a table of base/sm.
 */
#include "net/http_chunk.h"

#include <string.h>

#define CHUNK_DIGITS_MAX 16 /* hexadecimal digits of a uint64_t */

static enum err feed_byte(struct http_chunks *chunks, char c);
static enum err feed_size(struct http_chunks *chunks, char c);
static enum err feed_trailer(struct http_chunks *chunks, char c);
static enum err count_overhead(struct http_chunks *chunks);
static bool is_value_char(char c);
static bool is_token_char(char c);

void http_chunks_init(struct http_chunks *chunks, uint64_t body_max)
{
    *chunks = (struct http_chunks){.body_max = body_max, .at = HTTP_CHUNK_SIZE};
    buf_init(&chunks->body, (size_t)body_max);
}

void http_chunks_fini(struct http_chunks *chunks)
{
    buf_fini(&chunks->body);
}

void http_chunks_allow(struct http_chunks *chunks, uint32_t overhead_bytes, uint32_t trailers)
{
    chunks->overhead_left = overhead_bytes;
    chunks->trailers_left = trailers;
}

enum err http_chunks_feed(struct http_chunks *chunks, struct slice data, size_t *used,
                          bool *is_done)
{
    size_t at = 0;
    while (at < data.len && chunks->at != HTTP_CHUNK_END) {
        if (chunks->at == HTTP_CHUNK_DATA) {
            size_t len = (size_t)min_u64(chunks->chunk_left, data.len - at);
            buf_add_bytes(&chunks->body, data.data + at, len);
            at += len;
            chunks->chunk_left -= len;
            if (chunks->chunk_left == 0) {
                chunks->at = HTTP_CHUNK_DATA_CR;
            }
            continue;
        }
        enum err err = feed_byte(chunks, data.data[at]);
        if (err != ERR_OK) {
            return err;
        }
        at++;
    }
    *used = at;
    *is_done = chunks->at == HTTP_CHUNK_END;
    return ERR_OK;
}

static enum err feed_byte(struct http_chunks *chunks, char c)
{
    switch (chunks->at) {
    case HTTP_CHUNK_SIZE:
    case HTTP_CHUNK_EXT:
        return feed_size(chunks, c);
    case HTTP_CHUNK_SIZE_LF:
        if (c != '\n') {
            return ERR_BAD_HTTP;
        }
        if (chunks->chunk_left > chunks->body_max - chunks->body.len) {
            return ERR_TOO_LARGE;
        }
        chunks->at = chunks->chunk_left > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
        return ERR_OK;
    case HTTP_CHUNK_DATA_CR:
        chunks->at = HTTP_CHUNK_DATA_LF;
        return c == '\r' ? ERR_OK : ERR_BAD_HTTP;
    case HTTP_CHUNK_DATA_LF:
        chunks->at = HTTP_CHUNK_SIZE;
        chunks->digit_count = 0;
        return c == '\n' ? ERR_OK : ERR_BAD_HTTP;
    case HTTP_CHUNK_TRAILER:
    case HTTP_CHUNK_TRAILER_NAME:
    case HTTP_CHUNK_TRAILER_VALUE:
    case HTTP_CHUNK_TRAILER_LF:
        return feed_trailer(chunks, c);
    case HTTP_CHUNK_LAST_LF:
        chunks->at = HTTP_CHUNK_END;
        return c == '\n' ? ERR_OK : ERR_BAD_HTTP;
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_END:
        break;
    }
    return ERR_BAD_HTTP;
}

/* chunk-size [ chunk-ext ] CRLF. The space before ";" that RFC 9112 7.1.1 keeps as a relic is
 * refused. */
static enum err feed_size(struct http_chunks *chunks, char c)
{
    if (c == '\r') {
        chunks->at = HTTP_CHUNK_SIZE_LF;
        return chunks->digit_count > 0 ? ERR_OK : ERR_BAD_HTTP;
    }
    if (chunks->at == HTTP_CHUNK_EXT) {
        return is_value_char(c) ? count_overhead(chunks) : ERR_BAD_HTTP;
    }
    if (c == ';' && chunks->digit_count > 0) {
        chunks->at = HTTP_CHUNK_EXT;
        return count_overhead(chunks);
    }
    int digit = ascii_hex_value(c);
    if (digit < 0 || chunks->digit_count == CHUNK_DIGITS_MAX) {
        return ERR_BAD_HTTP;
    }
    chunks->chunk_left = chunks->digit_count == 0 ? 0 : chunks->chunk_left << 4;
    chunks->chunk_left |= (uint64_t)digit;
    chunks->digit_count++;
    return ERR_OK;
}

/* Trailer fields are checked and dropped: nothing we do depends on one (RFC 9110 6.5.1). */
static enum err feed_trailer(struct http_chunks *chunks, char c)
{
    bool is_last_line = chunks->at == HTTP_CHUNK_TRAILER && c == '\r';
    if (is_last_line) {
        chunks->at = HTTP_CHUNK_LAST_LF;
        return ERR_OK;
    }
    enum err err = count_overhead(chunks);
    if (err != ERR_OK) {
        return err;
    }
    if (chunks->at == HTTP_CHUNK_TRAILER) {
        if (chunks->trailers_left == 0) {
            return ERR_HEADERS_TOO_LARGE;
        }
        chunks->trailers_left -= 1;
        chunks->at = HTTP_CHUNK_TRAILER_NAME;
        return is_token_char(c) ? ERR_OK : ERR_BAD_HTTP;
    }
    if (chunks->at == HTTP_CHUNK_TRAILER_NAME) {
        if (c == ':') {
            chunks->at = HTTP_CHUNK_TRAILER_VALUE;
            return ERR_OK;
        }
        return is_token_char(c) ? ERR_OK : ERR_BAD_HTTP;
    }
    if (chunks->at == HTTP_CHUNK_TRAILER_VALUE) {
        if (c == '\r') {
            chunks->at = HTTP_CHUNK_TRAILER_LF;
            return ERR_OK;
        }
        return is_value_char(c) ? ERR_OK : ERR_BAD_HTTP;
    }
    chunks->at = HTTP_CHUNK_TRAILER;
    return c == '\n' ? ERR_OK : ERR_BAD_HTTP;
}

static enum err count_overhead(struct http_chunks *chunks)
{
    if (chunks->overhead_left == 0) {
        return ERR_HEADERS_TOO_LARGE;
    }
    chunks->overhead_left -= 1;
    return ERR_OK;
}

/* No controls but the tab (RFC 9110 5.5). */
static bool is_value_char(char c)
{
    return (unsigned char)c >= ' ' ? c != 0x7f : c == '\t';
}

/* RFC 9110 5.6.2. */
static bool is_token_char(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}
