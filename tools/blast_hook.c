/* blast_hook.c - the endpoint that webhooks come to: it checks the signature, finds the mail that
 * the call is about, notes how long ago that was taken, and acknowledges after a set delay.
 *
 * A mail is known by the token in its subject. What is remembered of each is one entry of a ring;
 * a mail that is more than HOOK_DUE_MAX behind the newest is forgotten and counts as missing. */
#include "blast.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"

#define HOOK_DUE_MAX   (UINT64_C(1) << 20)
#define HOOK_IDLE_MS   300000
#define HOOK_BODY_MAX  (4 * MIB)
#define SIGNATURE_NAME "x-mailkite-signature"

struct due {
    uint64_t number; /* of the mail, plus one; 0: none */
    uint64_t taken_us;
    uint64_t called_us; /* the call may come before the 250 is read */
};

struct hooks {
    struct blast *blast;
    struct listener listener;
    struct link calls;
    struct due *due;
    struct buf token; /* what precedes the number */
    struct hook_counts counts;
    uint64_t taken;
};

struct call {
    struct conn conn;
    struct link link;
    struct hooks *hooks;
    struct timer delay; /* on: the acknowledgement waits */
    struct http_codec *codec;
    struct http_request request;
    struct arena arena;
    struct buf rest; /* came while it waits */
    bool is_waiting;
};

/* ---- what is due ------------------------------------------------------------------------------
 */

static struct due *due_of(struct hooks *hooks, uint64_t number)
{
    struct due *due = &hooks->due[number % HOOK_DUE_MAX];
    if (due->number != number + 1) {
        *due = (struct due){.number = number + 1};
    }
    return due;
}

static void settle(struct hooks *hooks, const struct due *due)
{
    uint64_t took_us = due->called_us > due->taken_us ? due->called_us - due->taken_us : 0;
    histogram_add(&hooks->counts.latency, took_us);
    hooks->counts.last_us = clock_mono_us();
}

void blast_hook_due(struct blast *blast, uint64_t number, uint64_t now_us)
{
    if (blast->hooks == NULL) {
        return;
    }
    struct due *due = due_of(blast->hooks, number);
    blast->hooks->taken += 1;
    due->taken_us = now_us;
    if (due->called_us != 0) {
        settle(blast->hooks, due);
    }
}

static void note_call(struct hooks *hooks, uint64_t number)
{
    struct due *due = due_of(hooks, number);
    if (due->called_us != 0) {
        hooks->counts.repeated += 1;
        return;
    }
    due->called_us = clock_mono_us();
    if (due->taken_us != 0) {
        settle(hooks, due);
    }
}

bool blast_hook_is_done(const struct blast *blast)
{
    return blast->hooks == NULL || blast->hooks->counts.latency.count >= blast->hooks->taken;
}

uint64_t blast_hook_seen_us(const struct blast *blast)
{
    return blast->hooks == NULL ? 0 : blast->hooks->counts.last_us;
}

const struct hook_counts *blast_hook_counts(struct blast *blast)
{
    struct hooks *hooks = blast->hooks;
    if (hooks == NULL) {
        return NULL;
    }
    hooks->counts.missing = hooks->taken - min_u64(hooks->taken, hooks->counts.latency.count);
    return &hooks->counts;
}

/* ---- a call -----------------------------------------------------------------------------------
 */

/* "t=<ms>,v1=<hex>[,v1=<hex>]": HMAC-SHA256 over "<ms>." and the body. */
static bool is_signed(const struct hooks *hooks, const struct http_request *request)
{
    struct slice value = http_header_get(request, SLICE(SIGNATURE_NAME));
    struct slice time = slice_cut(&value, ',');
    char head[32];
    if (!slice_starts(time, SLICE("t=")) || time.len > 24) {
        return false;
    }
    time = slice_from(time, 2);
    int len = snprintf(head, sizeof head, "%.*s.", SLICE_FMT(time));
    struct sha256 mac = crypto_hmac_sha256_two(hooks->blast->options.hook_secret,
                                               slice_of(head, (size_t)len), request->body);
    while (value.data != NULL) {
        struct slice hex = slice_cut(&value, ',');
        struct sha256 theirs;
        if (slice_starts(hex, SLICE("v1=")) &&
            hex_decode(slice_from(hex, 3), theirs.bytes, sizeof theirs.bytes) == ERR_OK &&
            crypto_equal(sha256_slice(&mac), sha256_slice(&theirs))) {
            return true;
        }
    }
    return false;
}

static void take_call(struct call *call)
{
    struct hooks *hooks = call->hooks;
    struct slice body = call->request.body;
    uint64_t number = 0;
    if (!is_signed(hooks, &call->request)) {
        hooks->counts.bad += 1;
        return;
    }
    size_t at = slice_find(body, buf_slice(&hooks->token));
    struct slice rest = slice_from(body, at == SIZE_MAX ? at : at + hooks->token.len);
    if (slice_u64(slice_head(rest, slice_find_byte(rest, '.')), &number) != ERR_OK) {
        hooks->counts.unknown += 1;
        return;
    }
    note_call(hooks, number);
}

static void start_request(struct call *call)
{
    arena_fini(&call->arena);
    arena_init(&call->arena, 4 * KIB, 2 * HOOK_BODY_MAX);
    http_next(call->codec, &call->arena, &call->request);
}

static void read_call(struct call *call, struct slice data);

static void acknowledge(struct timer *timer)
{
    struct call *call = CONTAINER_OF(timer, struct call, delay);
    struct buf out;
    struct buf rest = call->rest;
    bool is_last = !call->request.is_keep_alive;
    buf_init(&out, 4 * KIB);
    http_write_answer(&out, &(struct http_answer){.status = 200,
                                                  .content_type = SLICE("application/json"),
                                                  .body = SLICE("{\"status\":\"ok\"}"),
                                                  .is_close = is_last});
    conn_write(&call->conn, buf_slice(&out));
    buf_fini(&out);
    call->is_waiting = false;
    if (is_last) {
        conn_close(&call->conn);
        return;
    }
    start_request(call);
    buf_init(&call->rest, HOOK_BODY_MAX);
    read_call(call, buf_slice(&rest));
    buf_fini(&rest);
}

static void read_call(struct call *call, struct slice data)
{
    while (!call->is_waiting) {
        size_t used = 0;
        enum http_event event = http_feed(call->codec, data, &used);
        data = slice_from(data, used);
        switch (event) {
        case HTTP_EVENT_MORE:
            return;
        case HTTP_EVENT_HEADERS:
            http_allow_body(call->codec, HOOK_BODY_MAX);
            break;
        case HTTP_EVENT_DONE:
            take_call(call);
            call->is_waiting = true;
            timer_start(&call->delay, call->hooks->blast->options.hook_delay_ms);
            break;
        case HTTP_EVENT_ERROR:
            call->hooks->counts.bad += 1;
            conn_abort(&call->conn);
            return;
        }
    }
    buf_add(&call->rest, data);
}

static void on_call_data(struct conn *conn, struct slice data)
{
    read_call(CONTAINER_OF(conn, struct call, conn), data);
}

static void on_call_open(struct conn *conn)
{
    conn_set_deadline(conn, HOOK_IDLE_MS);
}

static void on_call_fail(struct conn *conn, enum err err)
{
    (void)err; /* gone is gone: what it brought was counted */
    conn_abort(conn);
}

static void on_call_closed(struct conn *conn)
{
    struct call *call = CONTAINER_OF(conn, struct call, conn);
    timer_stop(&call->delay);
    list_remove(&call->link);
    http_free(call->codec);
    arena_fini(&call->arena);
    buf_fini(&call->rest);
    free(call);
}

static const struct conn_handler call_handler = {
    .on_open = on_call_open,
    .on_data = on_call_data,
    .on_fail = on_call_fail,
    .on_closed = on_call_closed,
};

static void on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct hooks *hooks = CONTAINER_OF(listener, struct hooks, listener);
    struct call *call = mem_zalloc(sizeof *call);
    call->hooks = hooks;
    call->codec = http_new();
    arena_init(&call->arena, 4 * KIB, 2 * HOOK_BODY_MAX);
    buf_init(&call->rest, HOOK_BODY_MAX);
    timer_init(&call->delay, &hooks->blast->loop, acknowledge);
    start_request(call);
    list_push_back(&hooks->calls, &call->link);
    /* A socket that is dead already comes back through on_closed. */
    err_ignore(conn_accept(&call->conn, &hooks->blast->loop, socket, NULL, &call_handler));
}

/* ---- opening and closing ----------------------------------------------------------------------
 */

static void write_port_file(const struct hooks *hooks)
{
    char path[4096];
    struct slice name = hooks->blast->options.hook_port_file;
    if (name.len == 0) {
        return;
    }
    char temporary[4096 + 8];
    (void)snprintf(path, sizeof path, "%.*s", SLICE_FMT(name)); /* too long: open says so */
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *file = fopen(temporary, "we");
    if (file == NULL || fprintf(file, "%u\n", (unsigned)hooks->listener.tcp_port) < 0 ||
        fclose(file) != 0 || rename(temporary, path) == -1) {
        fatal("cannot write %s; give blast a folder that it may write", path);
    }
}

void blast_hook_open(struct blast *blast)
{
    struct conn_addr addr;
    struct slice text = blast->options.hook_listen;
    if (conn_addr_parse(text, 0, &addr) != ERR_OK || !conn_addr_is_loopback(&addr)) {
        fatal("blast listens only on loopback, not on %.*s; write 127.0.0.1:0", SLICE_FMT(text));
    }
    struct hooks *hooks = mem_zalloc(sizeof *hooks);
    blast->hooks = hooks;
    hooks->blast = blast;
    hooks->due = mem_zalloc(HOOK_DUE_MAX * sizeof *hooks->due);
    list_init(&hooks->calls);
    buf_init(&hooks->token, KIB);
    buf_add_format(&hooks->token, "blast-%" PRIu64 "-", blast->started_unix_ms);
    if (listener_open(&hooks->listener, &blast->loop, &addr, on_accept) != ERR_OK) {
        fatal("cannot listen on %.*s; choose another port, or 0 for a free one", SLICE_FMT(text));
    }
    write_port_file(hooks);
}

static void on_listener_closed(struct listener *listener)
{
    (void)listener; /* part of struct hooks */
}

void blast_hook_close(struct blast *blast)
{
    if (blast->hooks == NULL) {
        return;
    }
    listener_close(&blast->hooks->listener, on_listener_closed);
    LIST_EACH (&blast->hooks->calls, link) {
        conn_abort(&CONTAINER_OF(link, struct call, link)->conn);
    }
}

void blast_hook_free(struct blast *blast)
{
    if (blast->hooks != NULL) {
        buf_fini(&blast->hooks->token);
        free(blast->hooks->due);
        free(blast->hooks);
    }
}
