/* test_http.c - the HTTP codec on bytes: what it takes, what it refuses, what it writes.
 *
 * Not covered here: sockets, deadlines and pipelining limits (edge tests and flows), routes and
 * bodies' meaning (edge), long random input (tests/fuzz/fuzz_http.c, which also holds that splits
 * do not matter).
 */
#include "net/http.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define H "Host: h\r\n"

/* ---- a session in words ---------------------------------------------------------------------- */

struct session {
    struct http_codec *codec;
    struct arena arena;
    struct http_request request;
    uint64_t body_max;
    struct buf log;
    bool is_over;
};

static void add_text(struct buf *log, const char *name, struct slice text)
{
    buf_add_str(log, name);
    buf_add(log, text);
}

static void add_request(struct session *session)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST",    "PUT",
                                          "PATCH", "DELETE", "OPTIONS", "OTHER"};
    const struct http_request *request = &session->request;
    buf_add_str(&session->log, methods[request->method]);
    add_text(&session->log, " path=", request->path);
    add_text(&session->log, " query=", request->query);
    add_text(&session->log, " host=", request->host);
    buf_add_str(&session->log, request->is_keep_alive ? " keep" : " close");
    for (uint32_t i = 0; i < request->header_count; i++) {
        add_text(&session->log, "|", request->headers[i].name);
        add_text(&session->log, "=", request->headers[i].value);
    }
}

static void session_feed(struct session *session, struct slice piece)
{
    /* A block of its own, so that the sanitizer sees a read behind the piece or after it. */
    char *block = mem_alloc(piece.len + 1);
    memcpy(block, piece.data, piece.len);
    struct slice rest = slice_of(block, piece.len);
    bool is_more = false;
    while (!session->is_over && !is_more) {
        size_t used = SIZE_MAX;
        switch (http_feed(session->codec, rest, &used)) {
        case HTTP_EVENT_MORE:
            cr_assert_eq(used, rest.len);
            is_more = true;
            break;
        case HTTP_EVENT_HEADERS:
            add_request(session);
            http_allow_body(session->codec, session->body_max);
            break;
        case HTTP_EVENT_DONE:
            add_text(&session->log, " body=", session->request.body);
            buf_add_byte(&session->log, '\n');
            arena_clear(&session->arena);
            http_next(session->codec, &session->arena, &session->request);
            is_more = used == rest.len;
            break;
        case HTTP_EVENT_ERROR:
            add_text(&session->log, " ", slice_str(err_info(http_error(session->codec))->name));
            session->is_over = true;
            used = rest.len;
            break;
        }
        cr_assert_leq(used, rest.len);
        rest = slice_from(rest, used);
    }
    free(block);
}

static void session_init(struct session *session, uint64_t body_max)
{
    *session = (struct session){.codec = http_new(), .body_max = body_max};
    arena_init(&session->arena, 4096, MIB);
    buf_init(&session->log, MIB);
    http_next(session->codec, &session->arena, &session->request);
}

static void session_fini(struct session *session)
{
    http_free(session->codec);
    arena_fini(&session->arena);
    buf_fini(&session->log);
}

/* The session's words when wire comes as `first` bytes and then `step` at a time; caller frees. */
static char *run(struct slice wire, size_t first, size_t step)
{
    struct session session;
    session_init(&session, 100);
    size_t len = first;
    while (wire.len > 0) {
        struct slice piece = slice_head(wire, len);
        session_feed(&session, piece);
        wire = slice_from(wire, piece.len);
        len = step;
    }
    if (!http_is_idle(session.codec) && !session.is_over) {
        buf_add_str(&session.log, " unfinished");
    }
    buf_add_byte(&session.log, '\0');
    size_t log_len = 0;
    char *log = buf_steal(&session.log, &log_len);
    session_fini(&session);
    return log;
}

static void expect(const char *name, struct slice wire, const char *words)
{
    char *whole = run(wire, wire.len, 1);
    cr_expect_str_eq(whole, words, "%s: %s instead of %s", name, whole, words);
    char *bytewise = run(wire, 1, 1);
    cr_expect_str_eq(bytewise, words, "%s: %s byte by byte", name, bytewise);
    free(whole);
    free(bytewise);
    for (size_t cut = 1; cut < wire.len; cut++) {
        char *split = run(wire, cut, wire.len);
        cr_expect_str_eq(split, words, "%s: %s when cut at %zu", name, split, cut);
        free(split);
    }
}

struct sample {
    const char *name;
    struct slice wire;
    const char *words;
};

/* ---- what is taken --------------------------------------------------------------------------- */

Test(http, reads_requests_alike_however_they_are_split)
{
    static const struct sample samples[] = {
        {"get", SLICE_INIT("GET /a?b=c HTTP/1.1\r\n" H "Accept: */*\r\n\r\n"),
         "GET path=/a query=b=c host=h keep|Host=h|Accept=*/* body=\n"},
        {"known length",
         SLICE_INIT("POST /v1/send HTTP/1.1\r\n" H "content-length: 5\r\n\r\nhello"),
         "POST path=/v1/send query= host=h keep|Host=h|content-length=5 body=hello\n"},
        {"length zero", SLICE_INIT("PUT / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"),
         "PUT path=/ query= host=h keep|Host=h|Content-Length=0 body=\n"},
        {"values are trimmed, may be empty, hold tabs and any high byte",
         SLICE_INIT("HEAD / HTTP/1.1\r\n" H "A:\r\nB: \t \r\nC: x\ty \t\r\nD:\xff\r\n\r\n"),
         "HEAD path=/ query= host=h keep|Host=h|A=|B=|C=x\ty|D=\xff body=\n"},
        {"chunked",
         SLICE_INIT("PATCH / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"
                    "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"),
         "PATCH path=/ query= host=h keep|Host=h|Transfer-Encoding=Chunked body=abc0123456789\n"},
        {"chunked, empty, with trailers",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
                    "0\r\nDigest: x y\r\nE:\r\n\r\n"),
         "POST path=/ query= host=h keep|Host=h|Transfer-Encoding=chunked body=\n"},
        {"chunk data that looks like framing",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
                    "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
         "POST path=/ query= host=h keep|Host=h|Transfer-Encoding=chunked body=\r\n0\r\n\r\n\n"},
        {"pipelined",
         SLICE_INIT("POST /1 HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab"
                    "POST /2 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n"
                    "GET /3 HTTP/1.1\r\n" H "\r\n"),
         "POST path=/1 query= host=h keep|Host=h|Content-Length=2 body=ab\n"
         "POST path=/2 query= host=h keep|Host=h|Transfer-Encoding=chunked body=c\n"
         "GET path=/3 query= host=h keep|Host=h body=\n"},
        {"one empty line before each request is ignored",
         SLICE_INIT("\r\nGET / HTTP/1.1\r\n" H "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n\r\n"),
         "GET path=/ query= host=h keep|Host=h body=\nGET path=/ query= host=h keep|Host=h "
         "body=\n"},
        {"1.0 closes and may lack Host", SLICE_INIT("GET / HTTP/1.0\r\n\r\n"),
         "GET path=/ query= host= close body=\n"},
        {"1.0 asks to stay", SLICE_INIT("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
         "GET path=/ query= host= keep|Connection=Keep-Alive body=\n"},
        {"1.0 asks for both", SLICE_INIT("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"),
         "GET path=/ query= host= close|Connection=keep-alive, close body=\n"},
        {"1.1 asks to close", SLICE_INIT("DELETE / HTTP/1.1\r\n" H "Connection: x, close\r\n\r\n"),
         "DELETE path=/ query= host=h close|Host=h|Connection=x, close body=\n"},
        {"upgrade is ignored",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\n"
                    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 1\r\n\r\nx"),
         "POST path=/ query= host=h keep|Host=h|Connection=Upgrade, HTTP2-Settings|Upgrade=h2c|"
         "HTTP2-Settings=AAMAAABk|Content-Length=1 body=x\n"},
        {"absolute target replaces Host",
         SLICE_INIT("GET HTTP://Other:80/p?q HTTP/1.1\r\n" H "\r\n"),
         "GET path=/p query=q host=Other:80 keep|Host=h body=\n"},
        {"absolute target without a path", SLICE_INIT("GET https://[::1]?q HTTP/1.1\r\n" H "\r\n"),
         "GET path=/ query=q host=[::1] keep|Host=h body=\n"},
        {"asterisk", SLICE_INIT("OPTIONS * HTTP/1.1\r\n" H "\r\n"),
         "OPTIONS path=* query= host=h keep|Host=h body=\n"},
        {"method without a route", SLICE_INIT("TRACE / HTTP/1.1\r\n" H "\r\n"),
         "OTHER path=/ query= host=h keep|Host=h body=\n"},
        {"connect", SLICE_INIT("CONNECT h:443 HTTP/1.1\r\n" H "\r\n"),
         "OTHER path= query= host=h keep|Host=h body=\n"},
        {"empty Host", SLICE_INIT("GET / HTTP/1.1\r\nHost:\r\n\r\n"),
         "GET path=/ query= host= keep|Host= body=\n"},
        {"body cut off", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nab"),
         "POST path=/ query= host=h keep|Host=h|Content-Length=3 unfinished"},
        {"head cut off", SLICE_INIT("GET / HTTP/1.1\r\n" H "\r"), " unfinished"},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(samples[i].name, samples[i].wire, samples[i].words);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

#define BAD " ERR_BAD_HTTP"

Test(http, refuses_heads_that_two_parsers_could_read_differently)
{
    static const struct sample samples[] = {
        {"bare LF behind the request line", SLICE_INIT("GET / HTTP/1.1\n" H "\r\n"), BAD},
        {"bare LF behind a field", SLICE_INIT("GET / HTTP/1.1\r\nHost: h\n\r\n"), BAD},
        {"bare LF as the empty line", SLICE_INIT("GET / HTTP/1.1\r\n" H "\n"), BAD},
        {"bare LF before the request", SLICE_INIT("\nGET / HTTP/1.1\r\n" H "\r\n"), BAD},
        {"bare CR in a value", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n"), BAD},
        {"bare CR in front of a value", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: \rb\r\n\r\n"), BAD},
        {"CR CR LF", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n"), BAD},
        {"two empty lines before", SLICE_INIT("\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"), BAD},
        {"folded field", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n"), BAD},
        {"folded field, tab", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: b\r\n\tc\r\n\r\n"), BAD},
        {"field begins with a space", SLICE_INIT("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), BAD},
        {"space before the colon", SLICE_INIT("GET / HTTP/1.1\r\n" H "A : b\r\n\r\n"), BAD},
        {"tab before the colon", SLICE_INIT("GET / HTTP/1.1\r\n" H "A\t: b\r\n\r\n"), BAD},
        {"space in a name", SLICE_INIT("GET / HTTP/1.1\r\n" H "A B: c\r\n\r\n"), BAD},
        {"empty name", SLICE_INIT("GET / HTTP/1.1\r\n" H ": c\r\n\r\n"), BAD},
        {"no colon", SLICE_INIT("GET / HTTP/1.1\r\n" H "Abc\r\n\r\n"), BAD},
        {"NUL in a name", SLICE_INIT("GET / HTTP/1.1\r\n" H "A\0: c\r\n\r\n"), BAD},
        {"NUL in a value", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: \0c\r\n\r\n"), BAD},
        {"NUL in the target", SLICE_INIT("GET /\0 HTTP/1.1\r\n" H "\r\n"), BAD},
        {"control in a value", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: \x01\r\n\r\n"), BAD},
        {"control within a value", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: b\x01\r\n\r\n"), BAD},
        {"DEL in a value", SLICE_INIT("GET / HTTP/1.1\r\n" H "A: \x7f\r\n\r\n"), BAD},
        {"high byte in a name", SLICE_INIT("GET / HTTP/1.1\r\n" H "\xc3\xa4: b\r\n\r\n"), BAD},
        {"no Host", SLICE_INIT("GET / HTTP/1.1\r\nA: b\r\n\r\n"), BAD},
        {"two Hosts", SLICE_INIT("GET / HTTP/1.1\r\n" H H "\r\n"), BAD},
        {"two Hosts in 1.0", SLICE_INIT("GET / HTTP/1.0\r\n" H H "\r\n"), BAD},
        {"list of Hosts", SLICE_INIT("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), BAD},
        {"Host with a path", SLICE_INIT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), BAD},
        {"Host with a user", SLICE_INIT("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), BAD},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(samples[i].name, samples[i].wire, samples[i].words);
    }
}

Test(http, refuses_ambiguous_lengths)
{
    static const struct sample samples[] = {
        {"two lengths",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1\r\n"
                    "Content-Length: 2\r\n\r\nab"),
         BAD},
        {"the same length twice",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1\r\n"
                    "content-length: 1\r\n\r\na"),
         BAD},
        {"list of lengths", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\na"),
         BAD},
        {"signed", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\na"), BAD},
        {"negative", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\na"), BAD},
        {"hexadecimal", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\na"), BAD},
        {"empty", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"), BAD},
        {"too large for 64 bits",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\n"), BAD},
        {"the number that means chunked",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551615\r\n\r\n"), BAD},
        {"length and coding",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
         BAD},
        {"coding and length",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
                    "Content-Length: 5\r\n\r\n0\r\n\r\n"),
         BAD},
        {"gzip, chunked",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
         BAD},
        {"chunked, identity",
         SLICE_INIT("POST / HTTP/1.1\r\n" H
                    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
         BAD},
        {"identity", SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n"),
         BAD},
        {"xchunked", SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"),
         BAD},
        {"vertical tab",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n"), BAD},
        {"quoted",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
         BAD},
        {"empty coding", SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"), BAD},
        {"coding twice",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
         BAD},
        {"coding in 1.0",
         SLICE_INIT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "0\r\n\r\n"),
         BAD},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(samples[i].name, samples[i].wire, samples[i].words);
    }
}

Test(http, refuses_malformed_request_lines)
{
    static const struct sample samples[] = {
        {"0.9", SLICE_INIT("GET /\r\n\r\n"), BAD},
        {"2.0", SLICE_INIT("GET / HTTP/2.0\r\n" H "\r\n"), BAD},
        {"1.2", SLICE_INIT("GET / HTTP/1.2\r\n" H "\r\n"), BAD},
        {"long version", SLICE_INIT("GET / HTTP/1.10\r\n" H "\r\n"), BAD},
        {"lower case version", SLICE_INIT("GET / http/1.1\r\n" H "\r\n"), BAD},
        {"ice", SLICE_INIT("SOURCE / ICE/1.0\r\n" H "\r\n"), BAD},
        {"preface of HTTP/2", SLICE_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), BAD},
        {"two spaces", SLICE_INIT("GET  / HTTP/1.1\r\n" H "\r\n"), BAD},
        {"two spaces before the version", SLICE_INIT("GET /  HTTP/1.1\r\n" H "\r\n"), BAD},
        {"space at the end", SLICE_INIT("GET / HTTP/1.1 \r\n" H "\r\n"), BAD},
        {"tab", SLICE_INIT("GET /a\tb HTTP/1.1\r\n" H "\r\n"), BAD},
        {"space in the target", SLICE_INIT("GET /a b HTTP/1.1\r\n" H "\r\n"), BAD},
        {"fragment", SLICE_INIT("GET /a#b HTTP/1.1\r\n" H "\r\n"), BAD},
        {"raw high byte", SLICE_INIT("GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n"), BAD},
        {"relative target", SLICE_INIT("GET a HTTP/1.1\r\n" H "\r\n"), BAD},
        {"other scheme", SLICE_INIT("GET ftp://h/ HTTP/1.1\r\n" H "\r\n"), BAD},
        {"no authority", SLICE_INIT("GET http:///a HTTP/1.1\r\n" H "\r\n"), BAD},
        {"user in the authority", SLICE_INIT("GET http://u@h/ HTTP/1.1\r\n" H "\r\n"), BAD},
        {"asterisk for GET", SLICE_INIT("GET * HTTP/1.1\r\n" H "\r\n"), BAD},
        {"asterisk and more", SLICE_INIT("OPTIONS *a HTTP/1.1\r\n" H "\r\n"), BAD},
        {"unknown method", SLICE_INIT("SEND / HTTP/1.1\r\n" H "\r\n"), BAD},
        {"lower case method", SLICE_INIT("get / HTTP/1.1\r\n" H "\r\n"), BAD},
        {"no line at all", SLICE_INIT("\r\rGET"), BAD},
        {"TLS", SLICE_INIT("\x16\x03\x01\x02"), BAD},
        {"SMTP", SLICE_INIT("ehlo there\r\n"), BAD},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(samples[i].name, samples[i].wire, samples[i].words);
    }
}

#define CHUNKED       "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_WORDS "POST path=/ query= host=h keep|Host=h|Transfer-Encoding=chunked"

Test(http, refuses_malformed_chunks)
{
    static const struct sample samples[] = {
        {"no digit", SLICE_INIT(CHUNKED "\r\n"), BAD},
        {"only an extension", SLICE_INIT(CHUNKED ";a\r\n"), BAD},
        {"prefix", SLICE_INIT(CHUNKED "0x1\r\na\r\n0\r\n\r\n"), BAD},
        {"sign", SLICE_INIT(CHUNKED "+1\r\na\r\n0\r\n\r\n"), BAD},
        {"space in front", SLICE_INIT(CHUNKED " 1\r\na\r\n0\r\n\r\n"), BAD},
        {"space behind", SLICE_INIT(CHUNKED "1 \r\na\r\n0\r\n\r\n"), BAD},
        {"seventeen digits", SLICE_INIT(CHUNKED "00000000000000001\r\na\r\n0\r\n\r\n"), BAD},
        {"wraps", SLICE_INIT(CHUNKED "10000000000000001\r\na\r\n0\r\n\r\n"), BAD},
        {"bare LF behind the size", SLICE_INIT(CHUNKED "1\na\r\n0\r\n\r\n"), BAD},
        {"bare LF in an extension", SLICE_INIT(CHUNKED "1;a\nb\r\na\r\n0\r\n\r\n"), BAD},
        {"NUL in an extension", SLICE_INIT(CHUNKED "1;a\0\r\na\r\n0\r\n\r\n"), BAD},
        {"CR alone behind the size", SLICE_INIT(CHUNKED "1\ra\r\n0\r\n\r\n"), BAD},
        {"data longer than its size", SLICE_INIT(CHUNKED "1\r\nab\r\n0\r\n\r\n"), BAD},
        {"bare LF behind data", SLICE_INIT(CHUNKED "1\r\na\n0\r\n\r\n"), BAD},
        {"CR and another byte behind data", SLICE_INIT(CHUNKED "1\r\na\rX0\r\n\r\n"), BAD},
        {"another byte and LF behind data", SLICE_INIT(CHUNKED "1\r\naX\n0\r\n\r\n"), BAD},
        {"two strangers behind data", SLICE_INIT(CHUNKED "1\r\naXX0\r\n\r\n"), BAD},
        {"trailer without a name", SLICE_INIT(CHUNKED "0\r\n: a\r\n\r\n"), BAD},
        {"trailer without a colon", SLICE_INIT(CHUNKED "0\r\nab\r\n\r\n"), BAD},
        {"space in a trailer's name", SLICE_INIT(CHUNKED "0\r\na : b\r\n\r\n"), BAD},
        {"folded trailer", SLICE_INIT(CHUNKED "0\r\na: b\r\n c\r\n\r\n"), BAD},
        {"control in a trailer", SLICE_INIT(CHUNKED "0\r\na: \x02\r\n\r\n"), BAD},
        {"bare LF in a trailer", SLICE_INIT(CHUNKED "0\r\na: b\n\r\n"), BAD},
        {"bare LF at the end", SLICE_INIT(CHUNKED "0\r\n\n"), BAD},
        {"CR and another byte at the end", SLICE_INIT(CHUNKED "0\r\n\rX"), BAD},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        char words[128];
        (void)snprintf(words, sizeof(words), "%s%s", CHUNKED_WORDS, samples[i].words);
        expect(samples[i].name, samples[i].wire, words);
    }
}

/* ---- ceilings -------------------------------------------------------------------------------- */

Test(http, refuses_bodies_over_the_ceiling_of_the_session)
{
    static const struct sample samples[] = {
        {"known length at the ceiling is cut off here",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\nab"),
         "POST path=/ query= host=h keep|Host=h|Content-Length=100 unfinished"},
        {"known length", SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 101\r\n\r\n"),
         "POST path=/ query= host=h keep|Host=h|Content-Length=101 ERR_TOO_LARGE"},
        {"absurd length",
         SLICE_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n"),
         "POST path=/ query= host=h keep|Host=h|Content-Length=9223372036854775808 "
         "ERR_TOO_LARGE"},
        {"first chunk", SLICE_INIT(CHUNKED "65\r\n"), CHUNKED_WORDS " ERR_TOO_LARGE"},
        {"largest chunk", SLICE_INIT(CHUNKED "ffffffffffffffff\r\n"),
         CHUNKED_WORDS " ERR_TOO_LARGE"},
        {"second chunk", SLICE_INIT(CHUNKED "1\r\na\r\n64\r\n"), CHUNKED_WORDS " ERR_TOO_LARGE"},
        {"second chunk, largest", SLICE_INIT(CHUNKED "1\r\na\r\nffffffffffffffff\r\n"),
         CHUNKED_WORDS " ERR_TOO_LARGE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(samples[i].name, samples[i].wire, samples[i].words);
    }
}

Test(http, keeps_nothing_of_a_body_that_nobody_allowed)
{
    struct session session;
    session_init(&session, 0);
    struct slice wire = SLICE("POST / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx");
    size_t used = 0;
    cr_assert_eq(http_feed(session.codec, wire, &used), HTTP_EVENT_HEADERS);
    size_t before = session.arena.used_bytes;
    wire = slice_from(wire, used);
    cr_assert_eq(http_feed(session.codec, wire, &used), HTTP_EVENT_ERROR);
    cr_assert_eq(http_error(session.codec), ERR_TOO_LARGE);
    cr_assert_eq(session.arena.used_bytes, before);
    cr_assert_eq(http_feed(session.codec, wire, &used), HTTP_EVENT_ERROR, "an error is the end");
    session_fini(&session);
}

Test(http, refuses_bodies_that_the_arena_cannot_hold)
{
    static const char *const wires[] = {
        "POST / HTTP/1.1\r\n" H "Content-Length: 1048576\r\n\r\n",
        CHUNKED "100000\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(wires); i++) {
        struct session session;
        session_init(&session, UINT64_MAX);
        session_feed(&session, slice_str(wires[i]));
        cr_expect(session.is_over);
        cr_expect_eq(http_error(session.codec), ERR_TOO_LARGE);
        session_fini(&session);
    }
}

/* The words for a head of `target_len` and one value of `value_len` bytes. */
static enum err feed_sized(size_t target_len, size_t value_len, size_t step)
{
    struct session session;
    session_init(&session, 0);
    struct buf wire;
    buf_init(&wire, MIB);
    buf_add_str(&wire, "GET /");
    for (size_t i = 1; i < target_len; i++) {
        buf_add_byte(&wire, 'a');
    }
    buf_add_str(&wire, " HTTP/1.1\r\n" H "A: ");
    for (size_t i = 0; i < value_len; i++) {
        buf_add_byte(&wire, 'b');
    }
    buf_add_str(&wire, "\r\n\r\n");
    struct slice rest = buf_slice(&wire);
    while (rest.len > 0 && !session.is_over) {
        session_feed(&session, slice_head(rest, step));
        rest = slice_from(rest, step);
    }
    enum err err = http_error(session.codec);
    cr_expect(err != ERR_OK || session.log.len > 0);
    buf_fini(&wire);
    session_fini(&session);
    return err;
}

Test(http, holds_the_ceilings_of_head_and_target_to_the_byte)
{
    /* The head is 31 bytes longer than target and value. */
    static const struct {
        size_t target_len;
        size_t value_len;
        enum err err;
    } rows[] = {
        {1, HTTP_HEADER_MAX - 32, ERR_OK},
        {1, HTTP_HEADER_MAX - 31, ERR_HEADERS_TOO_LARGE},
        {1, 4 * HTTP_HEADER_MAX, ERR_HEADERS_TOO_LARGE},
        {HTTP_URL_MAX, 1, ERR_OK},
        {HTTP_URL_MAX + 1, 1, ERR_HEADERS_TOO_LARGE},
    };
    static const size_t steps[] = {1, 7, 4096, SIZE_MAX};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t j = 0; j < ARRAY_LEN(steps); j++) {
            enum err err = feed_sized(rows[i].target_len, rows[i].value_len, steps[j]);
            cr_expect_eq(err, rows[i].err, "row %zu in steps of %zu: %s", i, steps[j],
                         err_info(err)->name);
        }
    }
}

static enum err feed_repeated(const char *head, const char *part, size_t count)
{
    struct session session;
    session_init(&session, MIB);
    session_feed(&session, slice_str(head));
    for (size_t i = 0; i < count && !session.is_over; i++) {
        session_feed(&session, slice_str(part));
    }
    if (!session.is_over) {
        session_feed(&session, SLICE("\r\n"));
    }
    enum err err = http_error(session.codec);
    session_fini(&session);
    return err;
}

Test(http, counts_fields_trailers_and_extensions_against_the_head)
{
    static const struct {
        const char *name;
        const char *head;
        const char *part;
        size_t count;
        enum err err;
    } rows[] = {
        {"fields", "GET / HTTP/1.1\r\n" H, "A: b\r\n", HTTP_HEADER_COUNT - 1, ERR_OK},
        {"one field more", "GET / HTTP/1.1\r\n" H, "A: b\r\n", HTTP_HEADER_COUNT,
         ERR_HEADERS_TOO_LARGE},
        {"trailers", CHUNKED "0\r\n", "A: b\r\n", HTTP_HEADER_COUNT - 2, ERR_OK},
        {"one trailer more", CHUNKED "0\r\n", "A: b\r\n", HTTP_HEADER_COUNT - 1,
         ERR_HEADERS_TOO_LARGE},
        {"a long trailer", CHUNKED "0\r\nA:", "bbbbbbbbbbbbbbbb", HTTP_HEADER_MAX / 16,
         ERR_HEADERS_TOO_LARGE},
        {"small chunks are free", CHUNKED, "1\r\na\r\n", HTTP_HEADER_MAX, ERR_BAD_HTTP},
        {"their extensions are not", CHUNKED, "1;x\r\na\r\n", HTTP_HEADER_MAX / 2,
         ERR_HEADERS_TOO_LARGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum err err = feed_repeated(rows[i].head, rows[i].part, rows[i].count);
        cr_expect_eq(err, rows[i].err, "%s: %s", rows[i].name, err_info(err)->name);
    }
}

/* ---- more about a request -------------------------------------------------------------------- */

Test(http, says_what_a_head_promises)
{
    static const struct {
        struct slice wire;
        uint64_t content_length;
        bool is_chunked;
        bool expects_continue;
        uint8_t minor_version;
    } rows[] = {
        {SLICE_INIT("GET / HTTP/1.1\r\n" H "\r\n"), 0, false, false, 1},
        {SLICE_INIT("GET / HTTP/1.1\r\n" H "Content-Length: 077\r\n\r\n"), 77, false, false, 1},
        {SLICE_INIT(CHUNKED), UINT64_MAX, true, false, 1},
        {SLICE_INIT("PUT / HTTP/1.1\r\n" H "Expect: 100-Continue\r\n\r\n"), 0, false, true, 1},
        {SLICE_INIT("PUT / HTTP/1.1\r\n" H "Expect: tea\r\n\r\n"), 0, false, false, 1},
        {SLICE_INIT("PUT / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), 0, false, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct session session;
        session_init(&session, 0);
        size_t used = 0;
        cr_expect_eq(http_feed(session.codec, rows[i].wire, &used), HTTP_EVENT_HEADERS);
        cr_expect_eq(used, rows[i].wire.len);
        const struct http_request *request = &session.request;
        cr_expect_eq(request->content_length, rows[i].content_length, "row %zu", i);
        cr_expect_eq(request->is_chunked, rows[i].is_chunked, "row %zu", i);
        cr_expect_eq(request->expects_continue, rows[i].expects_continue, "row %zu", i);
        cr_expect_eq(request->minor_version, rows[i].minor_version, "row %zu", i);
        session_fini(&session);
    }
}

Test(http, keeps_the_request_when_the_bytes_read_are_gone)
{
    struct session session;
    session_init(&session, 100);
    char wire[] = "POST /t?q HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab";
    struct slice rest = slice_of(wire, sizeof(wire) - 1);
    size_t used = 0;
    cr_assert_eq(http_feed(session.codec, rest, &used), HTTP_EVENT_HEADERS);
    http_allow_body(session.codec, 2);
    cr_assert_eq(http_feed(session.codec, slice_from(rest, used), &used), HTTP_EVENT_DONE);
    memset(wire, '#', sizeof(wire));
    http_free(session.codec);
    session.codec = NULL;
    const struct http_request *request = &session.request;
    cr_expect(slice_equal(request->target, SLICE("/t?q")));
    cr_expect(slice_equal(request->query, SLICE("q")));
    cr_expect(slice_equal(http_header_get(request, SLICE("HOST")), SLICE("h")));
    cr_expect(slice_equal(request->body, SLICE("ab")));
    session_fini(&session);
}

Test(http, is_idle_only_between_requests)
{
    struct session session;
    session_init(&session, 100);
    struct http_codec *codec = session.codec;
    size_t used = 0;
    cr_expect(http_is_idle(codec));
    cr_expect_eq(http_feed(codec, SLICE(""), &used), HTTP_EVENT_MORE);
    cr_expect(http_is_idle(codec));
    cr_expect_eq(http_feed(codec, SLICE("G"), &used), HTTP_EVENT_MORE);
    cr_expect_not(http_is_idle(codec));
    cr_expect_eq(http_feed(codec, SLICE("ET / HTTP/1.1\r\n" H "\r\n"), &used), HTTP_EVENT_HEADERS);
    cr_expect_not(http_is_idle(codec));
    cr_expect_eq(http_feed(codec, SLICE(""), &used), HTTP_EVENT_DONE);
    cr_expect(http_is_idle(codec));
    http_next(codec, &session.arena, &session.request);
    cr_expect(http_is_idle(codec));
    cr_expect_eq(http_feed(codec, SLICE("?"), &used), HTTP_EVENT_ERROR);
    cr_expect_not(http_is_idle(codec));
    session_fini(&session);
}

Test(http, stops_a_session_that_feeds_a_finished_request, .signal = SIGABRT)
{
    struct session session;
    session_init(&session, 100);
    size_t used = 0;
    struct slice wire = SLICE("GET / HTTP/1.1\r\n" H "\r\n");
    cr_assert_eq(http_feed(session.codec, wire, &used), HTTP_EVENT_HEADERS);
    cr_assert_eq(http_feed(session.codec, SLICE(""), &used), HTTP_EVENT_DONE);
    http_feed(session.codec, wire, &used);
}

Test(http, finds_the_first_header_of_a_name_without_case)
{
    struct http_header headers[] = {
        {SLICE_INIT("Accept"), SLICE_INIT("a")},
        {SLICE_INIT("X-Two"), SLICE_INIT("b")},
        {SLICE_INIT("x-two"), SLICE_INIT("c")},
    };
    struct http_request request = {.headers = headers, .header_count = ARRAY_LEN(headers)};
    cr_expect(slice_equal(http_header_get(&request, SLICE("accept")), SLICE("a")));
    cr_expect(slice_equal(http_header_get(&request, SLICE("X-TWO")), SLICE("b")));
    cr_expect_eq(http_header_get(&request, SLICE("X")).len, 0);
}

Test(http, decodes_query_parameters)
{
    static const struct {
        struct slice query;
        struct slice name;
        const char *value; /* NULL: absent or malformed */
    } rows[] = {
        {SLICE_INIT("a=1&b=2"), SLICE_INIT("b"), "2"},
        {SLICE_INIT("a=1&a=2"), SLICE_INIT("a"), "1"},
        {SLICE_INIT("aa=1&a=2"), SLICE_INIT("a"), "2"},
        {SLICE_INIT("a=x%20y+z%2B"), SLICE_INIT("a"), "x y z+"},
        {SLICE_INIT("a=b=c"), SLICE_INIT("a"), "b=c"},
        {SLICE_INIT("%61%2b=1"), SLICE_INIT("a+"), "1"},
        {SLICE_INIT("a"), SLICE_INIT("a"), ""},
        {SLICE_INIT("a="), SLICE_INIT("a"), ""},
        {SLICE_INIT("&&a=1"), SLICE_INIT("a"), "1"},
        {SLICE_INIT("a=%C3%a4"), SLICE_INIT("a"), "\xc3\xa4"},
        {SLICE_INIT(""), SLICE_INIT("a"), NULL},
        {SLICE_INIT("b=1"), SLICE_INIT("a"), NULL},
        {SLICE_INIT("a=%"), SLICE_INIT("a"), NULL},
        {SLICE_INIT("a=%4"), SLICE_INIT("a"), NULL},
        {SLICE_INIT("a=%zz"), SLICE_INIT("a"), NULL},
        {SLICE_INIT("a=%00"), SLICE_INIT("a"), NULL},
        {SLICE_INIT("%zz=1"), SLICE_INIT("%zz"), NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        arena_init(&arena, 1024, 4096);
        struct http_request request = {.query = rows[i].query};
        struct slice value = SLICE("untouched");
        bool is_there = http_query_get(&request, rows[i].name, &arena, &value);
        const char *wanted = rows[i].value != NULL ? rows[i].value : "untouched";
        cr_expect_eq(is_there, rows[i].value != NULL, "row %zu", i);
        cr_expect(slice_equal(value, slice_str(wanted)), "row %zu: %.*s", i, SLICE_FMT(value));
        arena_fini(&arena);
    }
}

Test(http, decodes_path_segments)
{
    static const struct {
        struct slice text;
        const char *plain; /* NULL: ERR_INVALID */
    } rows[] = {
        {SLICE_INIT(""), ""},         {SLICE_INIT("abc"), "abc"}, {SLICE_INIT("a%40b+c"), "a@b+c"},
        {SLICE_INIT("%2F%2f"), "//"}, {SLICE_INIT("%"), NULL},    {SLICE_INIT("a%1"), NULL},
        {SLICE_INIT("%g0"), NULL},    {SLICE_INIT("%0g"), NULL},  {SLICE_INIT("a%00"), NULL},
        {SLICE_INIT("a\0"), NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        arena_init(&arena, 1024, 4096);
        struct slice out = SLICE("");
        enum err err = http_unescape(rows[i].text, &arena, &out);
        cr_expect_eq(err, rows[i].plain != NULL ? ERR_OK : ERR_INVALID, "row %zu", i);
        cr_expect(rows[i].plain == NULL || slice_equal(out, slice_str(rows[i].plain)));
        arena_fini(&arena);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

#define DATE "date: Sat, 21 Nov 2026 06:38:51 GMT\r\n"

Test(http, writes_answers)
{
    static const struct {
        struct http_answer answer;
        const char *wire;
    } rows[] = {
        {{.status = 200, .content_type = SLICE_INIT("application/json"), .body = SLICE_INIT("{}")},
         "HTTP/1.1 200 OK\r\n" DATE
         "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"},
        {{.status = 503, .extra_headers = SLICE_INIT("retry-after: 1\r\n"), .is_close = true},
         "HTTP/1.1 503 Service Unavailable\r\n" DATE
         "content-length: 0\r\nconnection: close\r\nretry-after: 1\r\n\r\n"},
        {{.status = 200, .body = SLICE_INIT("abc"), .is_head = true},
         "HTTP/1.1 200 OK\r\n" DATE "content-length: 3\r\n\r\n"},
        {{.status = 204, .content_type = SLICE_INIT("a/b"), .body = SLICE_INIT("abc")},
         "HTTP/1.1 204 No Content\r\n" DATE "\r\n"},
        {{.status = 304, .extra_headers = SLICE_INIT("etag: \"x\"\r\n"), .body = SLICE_INIT("a")},
         "HTTP/1.1 304 Not Modified\r\n" DATE "etag: \"x\"\r\n\r\n"},
        {{.status = 100}, "HTTP/1.1 100 Continue\r\n\r\n"},
    };
    clock_set_fake(1, UINT64_C(1795243131000));
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_clear(&out);
        http_write_answer(&out, &rows[i].answer);
        cr_expect(slice_equal(buf_slice(&out), slice_str(rows[i].wire)), "row %zu: %.*s", i,
                  SLICE_FMT(buf_slice(&out)));
    }
    buf_fini(&out);
    clock_set_fake(0, 0);
}

Test(http, dates_each_answer_with_its_own_second)
{
    static const struct http_answer answer = {.status = 204};
    struct buf out;
    buf_init(&out, 4096);
    clock_set_fake(1, UINT64_C(1795243131999));
    http_write_answer(&out, &answer);
    cr_expect_neq(slice_find(buf_slice(&out), SLICE("06:38:51 GMT\r\n")), SIZE_MAX);
    buf_clear(&out);
    clock_set_fake(2, UINT64_C(1795243132000));
    http_write_answer(&out, &answer);
    cr_expect_neq(slice_find(buf_slice(&out), SLICE("06:38:52 GMT\r\n")), SIZE_MAX);
    buf_fini(&out);
    clock_set_fake(0, 0);
}

Test(http, writes_a_whole_answer_or_nothing)
{
    static const struct http_answer answer = {.status = 200, .body = SLICE_INIT("0123456789")};
    struct buf out;
    buf_init(&out, 4096);
    http_write_answer(&out, &answer);
    size_t len = out.len;
    buf_fini(&out);
    buf_init(&out, len - 1);
    http_write_answer(&out, &answer);
    cr_expect_eq(out.len, 0);
    cr_expect_eq(buf_err(&out), ERR_TOO_LARGE);
    buf_fini(&out);
}

Test(http, appends_answers_behind_each_other)
{
    static const struct http_answer answer = {.status = 204};
    struct buf out;
    buf_init(&out, 4096);
    http_write_answer(&out, &answer);
    size_t len = out.len;
    http_write_answer(&out, &answer);
    cr_expect_eq(out.len, 2 * len);
    cr_expect(slice_starts(slice_from(buf_slice(&out), len), SLICE("HTTP/1.1 204 ")));
    buf_fini(&out);
}

Test(http, has_a_reason_for_each_status_of_the_error_table)
{
    for (uint32_t err = 0; err < ERR_COUNT; err++) {
        uint16_t status = err_info((enum err)err)->http_status;
        cr_expect_neq(strcmp(http_reason(status), "<unknown>"), 0, "%u", (unsigned int)status);
    }
}
