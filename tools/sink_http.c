/* sink_http.c - the sink's HTTP side: counts, the list of mails, the profile, webhooks. */
#include "sink.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/json.h"

static void print_counts(const struct counts *counts, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"connections", counts->connections},
        {"mails", counts->mails},
        {"rcpts", counts->rcpts},
        {"bytes", counts->bytes},
        {"refused", counts->refused},
        {"flaws", counts->flaws},
        {"hooks", counts->hooks},
    };
    struct json_writer w;
    json_start(&w, out);
    json_open_object(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_key(&w, rows[i].name);
        json_u64(&w, rows[i].value);
    }
    json_close_object(&w);
}

static void take_hook(struct sink *sink, const struct http_request *request)
{
    sink->counts.hooks += 1;
    if (sink->options.store.len == 0) {
        return;
    }
    struct buf head;
    struct buf path;
    buf_init(&head, MIB);
    buf_init(&path, 4096);
    buf_add_format(&head, "POST %.*s\r\n", SLICE_FMT(request->target));
    for (uint32_t i = 0; i < request->header_count; i++) {
        buf_add_format(&head, "%.*s: %.*s\r\n", SLICE_FMT(request->headers[i].name),
                       SLICE_FMT(request->headers[i].value));
    }
    buf_add_str(&head, "\r\n");
    buf_add_format(&path, "%.*s/%06" PRIu64 "-hook.http", SLICE_FMT(sink->options.store),
                   sink->counts.hooks);
    sink_write_file(buf_slice(&path), buf_slice(&head), request->body);
    buf_fini(&path);
    buf_fini(&head);
}

static uint16_t serve(struct sink *sink, const struct http_request *request, struct buf *body)
{
    if (request->method == HTTP_METHOD_GET && slice_equal(request->path, SLICE("/count"))) {
        print_counts(&sink->counts, body);
        return 200;
    }
    if (request->method == HTTP_METHOD_GET && slice_equal(request->path, SLICE("/mails"))) {
        buf_add_byte(body, '[');
        buf_add(body, buf_slice(&sink->listing));
        buf_add_byte(body, ']');
        return 200;
    }
    if (request->method != HTTP_METHOD_POST) {
        return 404;
    }
    if (slice_equal(request->path, SLICE("/profile"))) {
        struct profile profile = {.http_status = 200};
        if (!sink_read_profile(&profile, request->body)) {
            return 400;
        }
        sink->profile = profile;
        return 200;
    }
    take_hook(sink, request);
    buf_add_str(body, "{\"status\":\"ok\"}");
    return (uint16_t)sink->profile.http_status;
}

/* More of a body without an end, as fast as it is taken. */
static void write_endless(struct conn *conn)
{
    struct web *web = CONTAINER_OF(conn, struct web, conn);
    static char noise[4 * KIB];
    memset(noise, 'x', sizeof noise);
    while (web->is_endless && conn_is_open(conn) && !conn_is_choked(conn)) {
        conn_write(conn, slice_of(noise, sizeof noise));
    }
}

/* Whether the profile says how a webhook is not answered. */
static bool misbehave(struct web *web)
{
    const struct profile *profile = &web->sink->profile;
    const struct http_request *request = &web->request;
    bool is_hook =
        request->method == HTTP_METHOD_POST && !slice_equal(request->path, SLICE("/profile"));
    if (!is_hook || !(profile->is_http_hang || profile->is_http_endless)) {
        return false;
    }
    take_hook(web->sink, request);
    web->is_deaf = true;
    if (profile->is_http_endless) {
        web->is_endless = true;
        conn_write(&web->conn, SLICE("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                     "Connection: close\r\n\r\n"));
        write_endless(&web->conn);
    }
    return true;
}

static void answer(struct web *web)
{
    if (misbehave(web)) {
        return;
    }
    struct buf body;
    struct buf out;
    buf_init(&body, LISTING_MAX + KIB);
    buf_init(&out, LISTING_MAX + 4 * KIB);
    uint16_t status = serve(web->sink, &web->request, &body);
    struct http_answer answer = {
        .status = status,
        .content_type = SLICE("application/json"),
        .body = buf_slice(&body),
        .is_close = !web->request.is_keep_alive,
    };
    if (status >= 300 && status < 400) {
        answer.extra_headers = SLICE("Location: /elsewhere\r\n");
    }
    http_write_answer(&out, &answer);
    conn_write(&web->conn, buf_slice(&out));
    if (answer.is_close) {
        conn_close(&web->conn);
    }
    buf_fini(&out);
    buf_fini(&body);
}

static void start_request(struct web *web)
{
    arena_fini(&web->arena);
    arena_init(&web->arena, 4 * KIB, 2 * HTTP_BODY_MAX);
    http_next(web->codec, &web->arena, &web->request);
}

static void on_web_data(struct conn *conn, struct slice data)
{
    struct web *web = CONTAINER_OF(conn, struct web, conn);
    while (!web->is_deaf) {
        size_t used = 0;
        enum http_event event = http_feed(web->codec, data, &used);
        data = slice_from(data, used);
        switch (event) {
        case HTTP_EVENT_MORE:
            return;
        case HTTP_EVENT_HEADERS:
            http_allow_body(web->codec, HTTP_BODY_MAX);
            if (web->request.expects_continue) {
                conn_write(conn, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
            }
            break;
        case HTTP_EVENT_DONE:
            answer(web);
            start_request(web);
            break;
        case HTTP_EVENT_ERROR:
            conn_write(conn, SLICE("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"
                                   "Connection: close\r\n\r\n"));
            conn_close(conn);
            return;
        }
    }
}

static void on_web_open(struct conn *conn)
{
    conn_set_deadline(conn, IDLE_MS);
}

static void on_web_fail(struct conn *conn, enum err err)
{
    (void)err; /* gone is gone */
    conn_abort(conn);
}

static void on_web_closed(struct conn *conn)
{
    struct web *web = CONTAINER_OF(conn, struct web, conn);
    list_remove(&web->link);
    http_free(web->codec);
    arena_fini(&web->arena);
    free(web);
}

static const struct conn_handler web_handler = {
    .on_open = on_web_open,
    .on_data = on_web_data,
    .on_drain = write_endless,
    .on_fail = on_web_fail,
    .on_closed = on_web_closed,
};

void sink_accept_http(struct listener *listener, uv_os_sock_t socket)
{
    struct sink *sink = CONTAINER_OF(listener, struct sink, web);
    struct web *web = mem_zalloc(sizeof *web);
    web->sink = sink;
    web->codec = http_new();
    arena_init(&web->arena, 4 * KIB, 2 * HTTP_BODY_MAX);
    start_request(web);
    list_push_back(&sink->webs, &web->link);
    /* A socket that is dead already comes back through on_closed. */
    err_ignore(conn_accept(&web->conn, &sink->loop, socket, NULL, &web_handler));
}
