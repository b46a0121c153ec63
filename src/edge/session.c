/* session.c - one HTTP connection: reads requests, keeps their answers in order, closes.
 *
 * What a connection waits for decides its deadline: a first byte (keep-alive idle), the rest of a
 * header block, the rest of a body (idle and overall rate), or nothing while its requests are with
 * the shards.
 *
 *   bytes -> codec -> HEADERS: route, credential, ceiling -> DONE: handler -> (message) -> answer
 * -> in order -> out
 *
 * A full pipeline, or a client that does not read its answers, stops the reading; bytes behind it
 * stay in `unread`, at most one read's worth. So does a body that is large, of unknown length or
 * waits for 100 Continue, until the account's shard has said that its credential counts:
 *
 *   HEADERS -> SHARD_CHECK -> 100 Continue, body -> DONE
 *                   +-------> refused, closed; the body is not read
 */
#include "edge/edge_int.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/gzip.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/address_rate.h"
#include "edge/api_int.h"
#include "edge/auth.h"
#include "edge/edge_trace.h"

#define KEEP_MAX         (64 * KIB)
#define REFUSED_BODY_MAX (8 * KIB)
#define CHECKED_BODY_MIN                                                                           \
    (64 * KIB) /* beyond it the credential is checked before the body is read */
#define BODY_GRACE_MS  10000
#define SECOND_MS      1000
#define WRITE_RATE_MIN (32 * KIB) /* bytes a second at which a long answer must be read */
#define UNREAD_MAX     (CONN_READ_BYTES + 16 * KIB)
#define ANSWER_MAX     (MAIL_BYTES_MAX + 2 * MIB)

static void on_open(struct conn *conn);
static void on_data(struct conn *conn, struct slice data);
static void on_drain(struct conn *conn);
static void on_fail(struct conn *conn, enum err err);
static void on_closed(struct conn *conn);

static void resume(struct session *session);

static const struct conn_handler handler = {on_open, on_data, on_drain, on_fail, on_closed};

static struct session *session_of(struct conn *conn)
{
    return CONTAINER_OF(conn, struct session, conn);
}

/* ---- birth and death ------------------------------------------------------------------------ */

static bool is_trusted(const struct session *session, const struct conn_addr *addr)
{
    struct slice rest = session->edge->place->conf->trusted_proxies;
    while (rest.len > 0) {
        struct slice cidr = slice_trim(slice_cut(&rest, ','));
        bool is_inside = false;
        if (cidr.len > 0 && conn_addr_in_cidr(addr, cidr, &is_inside) == ERR_OK && is_inside) {
            return true;
        }
    }
    return false;
}

static void judge_peer(struct session *session)
{
    struct conn_addr local;
    struct conn_addr peer;
    conn_local(&session->conn, &local);
    conn_peer(&session->conn, &peer);
    session->peer = conn_addr_ip(&peer);
    session->is_plain_allowed = session->is_operator || conn_addr_is_loopback(&local);
    session->is_proxy = is_trusted(session, &peer);
}

/* Whom a request comes from. A trusted proxy appends its peer to X-Forwarded-For, so the list is
 * read from its end: the first hop that is no proxy of ours is the client. What stands before it,
 * or is no address, the client may have made up. */
static struct ip6 client_of(const struct session *session, const struct http_request *http)
{
    struct ip6 client = session->peer;
    bool is_proxy = session->is_proxy;
    for (uint32_t i = http->header_count; is_proxy && i > 0; i--) {
        const struct http_header *header = &http->headers[i - 1];
        struct slice rest = header->value;
        if (!slice_equal_nocase(header->name, SLICE("x-forwarded-for"))) {
            continue;
        }
        while (is_proxy && rest.len > 0) {
            size_t comma = slice_rfind_byte(rest, ',');
            struct slice hop = comma == SIZE_MAX ? rest : slice_from(rest, comma + 1);
            struct conn_addr addr;
            rest = comma == SIZE_MAX ? SLICE("") : slice_head(rest, comma);
            if (conn_addr_parse(hop, 0, &addr) != ERR_OK) {
                return client;
            }
            client = conn_addr_ip(&addr);
            is_proxy = is_trusted(session, &addr);
        }
    }
    return client;
}

void session_accept(struct edge *edge, uv_os_sock_t socket, enum session_way way)
{
    CHECK_LOOP(edge->loop);
    if (edge->is_closed || edge->session_count >= CONNS_PER_LOOP_MAX) {
        (void)close(socket); /* nothing was read or promised */
        return;
    }
    struct session *session = mem_zalloc(sizeof *session);
    session->edge = edge;
    session->is_tls_listener = way == SESSION_TLS;
    session->is_operator = way == SESSION_ADMIN;
    session->codec = http_new();
    list_init(&session->requests);
    buf_init(&session->unread, UNREAD_MAX);
    list_push_back(&edge->sessions, &session->link);
    edge->session_count += 1;
    metric_set(METRIC_HTTP_CONNS, edge->session_count);
    metric_set(METRIC_LOOP_CONNS, edge->session_count);
    struct tls_context *tls = way == SESSION_TLS ? edge->tls : NULL;
    enum err err = conn_accept(&session->conn, edge->loop, socket, tls, &handler);
    if (err == ERR_OK) {
        judge_peer(session);
        conn_set_deadline(&session->conn, HTTP_HEADER_MS);
    }
}

static void on_open(struct conn *conn UNUSED)
{
}

/* All that a request holds, and itself. */
static void request_drop(struct request *request)
{
    struct edge *edge = request->edge;
    edge_slot_put(edge, request);
    if (request->fetch != NULL) {
        fetch_cancel(request->fetch);
    }
    if (request->batch != NULL) {
        api_batch_drop(request->batch);
    }
    CHECK(edge->body_bytes >= request->reserved_bytes);
    edge->body_bytes -= request->reserved_bytes;
    if (request->keep.is_secret && request->answer.len > 0) {
        crypto_wipe(request->answer.data, request->answer.len);
    }
    arena_fini(&request->arena);
    arena_fini(&request->keep);
    buf_fini(&request->answer);
    buf_fini(&request->traced);
    buf_fini(&request->gathered);
    free(request);
}

static void request_free(struct request *request)
{
    struct session *session = request->session;
    if (session->reading == request) {
        session->reading = NULL;
    }
    list_remove(&request->link);
    CHECK(session->request_count > 0);
    session->request_count -= 1;
    request_drop(request);
}

void session_item_free(struct request *item)
{
    CHECK(item->item_of != NULL);
    request_drop(item);
}

/* What a slow client has not read yet stays reserved when its request has gone. */
static void release_unread(struct session *session)
{
    struct edge *edge = session->edge;
    CHECK(edge->body_bytes >= session->unread_bytes);
    edge->body_bytes -= session->unread_bytes;
    session->unread_bytes = 0;
}

static void on_closed(struct conn *conn)
{
    struct session *session = session_of(conn);
    struct edge *edge = session->edge;
    release_unread(session);
    while (!list_is_empty(&session->requests)) {
        request_free(CONTAINER_OF(session->requests.next, struct request, link));
    }
    CHECK(session->request_count == 0);
    CHECK(session->reading == NULL);
    CHECK(edge->session_count > 0);
    list_remove(&session->link);
    edge->session_count -= 1;
    http_free(session->codec);
    buf_fini(&session->unread);
    free(session);
    edge_session_gone(edge);
}

static void on_fail(struct conn *conn, enum err err)
{
    struct session *session = session_of(conn);
    struct request *reading = session->reading;
    if (err == ERR_TIMEOUT && reading != NULL && !reading->is_answered &&
        session->request_count == 1) {
        session->is_ending = true;
        reading->is_close = true;
        api_fail(reading, ERR_TIMEOUT); /* a slow request is told so; a silent connection is not */
        return;
    }
    conn_abort(conn);
}

/* ---- reading -------------------------------------------------------------------------------- */

static struct request *request_make(struct session *session)
{
    struct request *request = mem_zalloc(sizeof *request);
    request->session = session;
    request->edge = session->edge;
    request->slot = UINT32_MAX;
    arena_init(&request->arena, MSG_ARENA_CHUNK, MSG_ARENA_MAX);
    arena_init(&request->keep, 1024, KEEP_MAX);
    buf_init(&request->answer, ANSWER_MAX);
    buf_init(&request->gathered, MAIL_BYTES_MAX + MIB);
    return request;
}

static struct request *request_new(struct session *session)
{
    CHECK(session->reading == NULL);
    CHECK(session->request_count < HTTP_PIPELINE_MAX);
    struct request *request = request_make(session);
    struct id id = id_random();
    (void)id_text(ID_REQUEST, id, request->origin.request); /* the length is not needed */
    memcpy(request->span, id.bytes, sizeof request->span);
    request->span[0] |= 1; /* never all zero */
    list_push_back(&session->requests, &request->link);
    session->request_count += 1;
    session->reading = request;
    http_next(session->codec, &request->arena, &request->http);
    return request;
}

struct request *session_item_new(struct request *request)
{
    CHECK_LOOP(request->edge->loop);
    struct request *item = request_make(request->session);
    item->route = request->route;
    item->caller = request->caller;
    item->http.method = request->http.method;
    item->origin = request->origin;
    memcpy(item->span, request->span, sizeof item->span);
    return item;
}

/* Plain HTTP is for loopback listeners, or behind a proxy that vouches for TLS. */
static bool is_transport_good(const struct session *session, const struct http_request *http)
{
    if (session->is_tls_listener || session->is_plain_allowed) {
        return true;
    }
    return session->is_proxy &&
           slice_equal_nocase(http_header_get(http, SLICE("x-forwarded-proto")), SLICE("https"));
}

static void remember(struct session *session, struct credential credential)
{
    if (credential.kind == CREDENTIAL_NONE) {
        return;
    }
    for (uint32_t i = 0; i < session->used_count; i++) {
        if (credential_compare(&session->used[i].credential, &credential) == 0) {
            return;
        }
    }
    session->used[session->used_next] = (struct session_credential){.credential = credential};
    session->used_next = (uint8_t)((session->used_next + 1) % SESSION_CREDENTIALS);
    session->used_count = (uint8_t)min_u64(session->used_count + 1U, SESSION_CREDENTIALS);
}

/* Probes and scrapers come at their own pace, and who follows a link of a mail is sent on whatever
 * others behind the same address do; the operator answers to nobody. */
static bool is_counted(const struct request *request)
{
    const struct route *route = request->route;
    return !request->session->is_operator &&
           (route == NULL || (route->handle != api_health && route->handle != api_metrics &&
                              route->handle != api_track_open && route->handle != api_track_click));
}

/* Counts a request that no account answers for; false when its address has made too many. */
static bool charge_address(struct request *request, const struct ip6 *peer)
{
    struct edge *edge = request->edge;
    return rate_charge(&edge->rates, address_rate_owner(peer),
                       (uint32_t)edge->place->conf->rate_address_per_min, loop_now_ms(edge->loop),
                       &request->rate);
}

static bool has_body(const struct http_request *http)
{
    return http->is_chunked || (http->content_length != UINT64_MAX && http->content_length > 0);
}

static bool needs_check(const struct request *request)
{
    const struct http_request *http = &request->http;
    return request->route->access == ROUTE_CREDENTIAL && has_body(http) &&
           (http->is_chunked || http->expects_continue || request->is_packed ||
            http->content_length > CHECKED_BODY_MIN);
}

static uint64_t body_ceiling(const struct request *request)
{
    return min_u64(request->route->body_max, request->edge->place->conf->body_max);
}

/* From here on the body may come. */
static enum err reserve_body(struct request *request)
{
    struct edge *edge = request->edge;
    const struct http_request *http = &request->http;
    uint64_t wanted = http->is_chunked ? body_ceiling(request) : http->content_length;
    if (edge->body_bytes + wanted > EDGE_BODY_BYTES ||
        (request->route->access == ROUTE_CREDENTIAL &&
         edge->actor.pools[MSG_POOL_REQUEST].free_count == 0)) {
        metric_add(METRIC_HTTP_SHED, 1);
        return ERR_BUSY;
    }
    request->reserved_bytes = wanted;
    edge->body_bytes += wanted;
    http_allow_body(request->session->codec, body_ceiling(request));
    return ERR_OK;
}

/* What a server that is being drained leaves to others: whatever changes something, but for the
 * operator and for whoever wants no more mail. */
static bool is_new_work(const struct request *request)
{
    enum http_method method = request->http.method;
    return method != HTTP_METHOD_GET && method != HTTP_METHOD_HEAD &&
           !request->session->is_operator && request->route->access != ROUTE_ADMIN &&
           request->route->handle != api_unsubscribe;
}

/* Everything that can be refused before a byte of the body is kept. */
static enum err admit(struct request *request)
{
    struct edge *edge = request->edge;
    const struct http_request *http = &request->http;
    request->is_head = http->method == HTTP_METHOD_HEAD;
    request->is_close = !http->is_keep_alive || edge->phase == EDGE_LEAVING;
    request->is_old = http->minor_version == 0;
    if (edge->phase != EDGE_OPEN && edge->phase != EDGE_LEAVING) {
        request->is_close = true;
        return ERR_DRAINING;
    }
    if (!is_transport_good(request->session, http)) {
        return ERR_PLAIN_HTTP;
    }
    enum err err =
        routes_find(http->method, http->path, &request->arena, &request->route, request->params);
    if (err != ERR_OK) {
        return err;
    }
    request->is_close |= edge->drain_wish != DRAIN_NONE && !request->session->is_operator;
    if (edge->drain_wish == DRAIN_CLOSED && is_new_work(request)) {
        return ERR_DRAINING;
    }
    if (request->session->is_operator) {
        err = operator_admit(request);
        if (err != ERR_OK) {
            return err;
        }
    } else if (request->route->access != ROUTE_PUBLIC) {
        struct slice value = http_header_get(http, SLICE("authorization"));
        err = auth_header_read(&edge->token_keys, value, clock_unix_ms(), &request->arena,
                               &request->caller);
        if (err != ERR_OK) {
            return err;
        }
        request->caller.right = request->route->right;
        request->caller.needs_session = request->route->access == ROUTE_SESSION;
        remember(request->session, credential_of(&request->caller));
    }
    request->caller.peer = client_of(request->session, http);
    struct slice encoding = http_header_get(http, SLICE("content-encoding"));
    request->is_packed = slice_equal_nocase(encoding, SLICE("gzip")) ||
                         slice_equal_nocase(encoding, SLICE("x-gzip")); /* RFC 9110 8.4.1.3 */
    if (encoding.len > 0 && !request->is_packed &&
        !slice_equal_nocase(encoding, SLICE("identity"))) {
        return ERR_ENCODING;
    }
    if (!http->is_chunked && http->content_length > body_ceiling(request) &&
        http->content_length != UINT64_MAX) {
        return ERR_TOO_LARGE;
    }
    return needs_check(request) ? ERR_OK : reserve_body(request);
}

static void begin_body(struct request *request)
{
    struct session *session = request->session;
    session->body_started_ms = loop_now_ms(session->edge->loop);
    if (request->http.expects_continue && request->refusal == ERR_OK) {
        conn_write(&session->conn, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
    }
}

/* Nothing of the body is read: what follows on this connection is not known to be a request. */
static void refuse_body(struct request *request, enum err err, const struct msg *msg)
{
    request->is_close = true;
    request->session->is_ending = true;
    request->session->reading = NULL;
    request->read_us = clock_mono_us();
    if (msg != NULL) {
        api_fail_msg(request, msg);
    } else {
        api_fail(request, err);
    }
}

static void on_checked(struct request *request, struct msg *msg)
{
    struct session *session = request->session;
    CHECK(session->reading == request);
    CHECK(session->is_checking);
    session->is_checking = false;
    if (msg->err != ERR_OK) {
        refuse_body(request, msg->err, msg);
        return;
    }
    enum err err = reserve_body(request);
    if (err != ERR_OK) {
        refuse_body(request, err, NULL);
        return;
    }
    request->caller.is_charged = true;
    begin_body(request);
    resume(session);
}

static void start_check(struct request *request)
{
    struct msg *msg = msg_take(&request->edge->actor, MSG_SHARD_CHECK);
    if (msg == NULL) {
        metric_add(METRIC_HTTP_SHED, 1);
        refuse_body(request, ERR_BUSY, NULL);
        return;
    }
    request->session->is_checking = true;
    msg->body.check.caller = request->caller;
    api_post_apart(request, api_shard(request), msg, on_checked);
}

/* What is open to everybody, and what was refused before any shard was asked, is its address's. */
static enum err count(struct request *request, enum err err)
{
    bool is_ours = err == ERR_DRAINING || err == ERR_BUSY; /* nobody's fault but the service's */
    bool is_public = request->route != NULL && request->route->access == ROUTE_PUBLIC;
    if (is_ours || (err == ERR_OK && !is_public) || !is_counted(request)) {
        return err;
    }
    struct ip6 peer = client_of(request->session, &request->http);
    return charge_address(request, &peer) ? err : ERR_RATE;
}

/* A refusal with a small body behind it waits for the body, so that the connection stays in step
 * and keep-alive goes on: under overload a reconnect, with TLS a handshake, would cost both sides
 * more. A larger one is not read. */
static void on_headers(struct session *session)
{
    struct request *request = session->reading;
    access_begin(request);
    if (tap_is_on(&session->edge->tap)) {
        edge_trace_request(request);
    }
    request->refusal = count(request, admit(request));
    if (request->refusal != ERR_OK && has_body(&request->http)) {
        /* Chunked is UINT64_MAX; who waits for 100 Continue sends none when told no. */
        if (request->http.content_length > REFUSED_BODY_MAX || request->http.expects_continue) {
            refuse_body(request, request->refusal, NULL);
            return;
        }
        http_allow_body(session->codec, REFUSED_BODY_MAX);
    }
    if (request->refusal == ERR_OK && needs_check(request)) {
        start_check(request);
    } else {
        begin_body(request);
    }
}

/* In place of a packed body, the plain one, which has the same ceiling, and one that keeps small
 * bodies from making much work; false after an answer. From here on nobody can tell that it was
 * packed: its digest is that of what was meant. */
static bool unpack_body(struct request *request)
{
    struct buf plain;
    uint64_t max = min_u64(body_ceiling(request),
                           HTTP_UNPACK_MAX + HTTP_UNPACK_TIMES * request->http.body.len);
    buf_init(&plain, max + 1); /* full at the ceiling, the end might not have been reached */
    enum err err = gzip_unpack(request->http.body, &plain);
    char *copy = NULL;
    if (err == ERR_OK && plain.len <= max) {
        copy = arena_try(&request->arena, plain.len);
    }
    err = err == ERR_OK && copy == NULL ? ERR_TOO_LARGE : err;
    if (err == ERR_OK && plain.len > 0) {
        memcpy(copy, plain.data, plain.len);
    }
    request->http.body = slice_of(copy, plain.len);
    buf_fini(&plain);
    if (err == ERR_OK) {
        return api_reserve(request, request->http.body.len);
    }
    if (err == ERR_INVALID) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("content-encoding"),
                       SLICE("the body is not gzip, or it is damaged"));
    } else {
        api_fail(request, ERR_TOO_LARGE);
    }
    return false;
}

static void on_request(struct session *session)
{
    struct request *request = session->reading;
    CHECK(!request->is_answered);
    session->reading = NULL;
    request->read_us = clock_mono_us();
    if (request->is_close) {
        session->is_ending = true;
    }
    if (request->refusal != ERR_OK) {
        api_fail(request, request->refusal);
        return;
    }
    if (request->is_packed && request->http.body.len > 0 && !unpack_body(request)) {
        return;
    }
    operator_handle(request);
}

/* No longer than one of its credentials counts. */
static uint64_t idle_ms(const struct session *session)
{
    uint64_t now = clock_unix_ms();
    uint64_t idle = HTTP_IDLE_MS;
    for (uint32_t i = 0; i < session->used_count; i++) {
        uint64_t end = session->used[i].expires_unix_ms;
        if (end != 0) {
            idle = min_u64(idle, end > now ? end - now : 1);
        }
    }
    return idle;
}

static void set_deadline(struct session *session)
{
    if (conn_is_choked(&session->conn)) {
        return; /* the deadline of the answer that choked it stands, whatever else is going on */
    }
    if (session->reading == NULL || session->is_checking) {
        /* Idle, or waiting for shards only. */
        conn_set_deadline(&session->conn, session->request_count == 0 ? idle_ms(session) : 0);
        return;
    }
    if (session->body_started_ms == 0) {
        return; /* the header deadline was set with the first byte and is absolute */
    }
    uint64_t spent = loop_now_ms(session->edge->loop) - session->body_started_ms;
    uint64_t length = session->reading->reserved_bytes;
    uint64_t allowed = BODY_GRACE_MS + length * SECOND_MS / HTTP_BODY_RATE_MIN;
    uint64_t left = allowed > spent ? allowed - spent : 1;
    conn_set_deadline(&session->conn, min_u64(left, HTTP_BODY_IDLE_MS));
}

static bool may_read(const struct session *session)
{
    return !session->is_ending && session->request_count < HTTP_PIPELINE_MAX &&
           !conn_is_choked(&session->conn);
}

/* Feeds until the data is used up or the pipeline is full; returns how much was used. */
static size_t feed(struct session *session, struct slice data)
{
    size_t total = 0;
    bool has_headers =
        false; /* just seen: without a body the codec needs no more bytes to be done */
    while ((total < data.len || has_headers) && !session->is_checking &&
           (session->reading != NULL || may_read(session))) {
        has_headers = false;
        if (session->reading == NULL) {
            (void)request_new(session); /* it stands in session->reading */
            session->body_started_ms = 0;
            conn_set_deadline(&session->conn, HTTP_HEADER_MS);
        }
        size_t used = 0;
        enum http_event event = http_feed(session->codec, slice_from(data, total), &used);
        total += used;
        struct request *request = session->reading;
        switch (event) {
        case HTTP_EVENT_MORE:
            break;
        case HTTP_EVENT_HEADERS:
            has_headers = true;
            on_headers(session);
            break;
        case HTTP_EVENT_DONE:
            on_request(session);
            break;
        case HTTP_EVENT_ERROR:
            session->is_ending = true;
            session->reading = NULL;
            request->is_close = true;
            request->read_us = clock_mono_us();
            api_fail(request, http_error(session->codec));
            break;
        }
        if (session->is_ending) {
            session->reading = NULL;
            return data.len; /* whatever follows is not read */
        }
        if (used == 0 && event == HTTP_EVENT_MORE) {
            break;
        }
    }
    return total;
}

static void pump(struct session *session, struct slice data)
{
    session->is_in_feed = true;
    size_t used = feed(session, data);
    session->is_in_feed = false;
    if (used < data.len) {
        buf_add(&session->unread, slice_from(data, used));
        CHECK(!session->unread.is_over); /* one read's worth fits */
    }
    if (used < data.len || session->is_checking) {
        session->is_paused = true;
        conn_pause(&session->conn);
    }
    if (!session->is_ending || session->request_count > 0) {
        set_deadline(session);
    }
}

static void on_data(struct conn *conn, struct slice data)
{
    struct session *session = session_of(conn);
    if (session->is_ending) {
        return;
    }
    CHECK(!session->is_paused);
    CHECK(session->unread.len == 0);
    pump(session, data);
}

/* Takes up reading where a full pipeline, a choked connection or a check stopped it. */
static void resume(struct session *session)
{
    if (session->is_in_feed || !session->is_paused || session->is_checking ||
        (session->reading == NULL && !may_read(session))) {
        return;
    }
    session->is_paused = false;
    struct buf unread = session->unread;
    buf_init(&session->unread, UNREAD_MAX);
    pump(session, buf_slice(&unread));
    buf_fini(&unread);
    if (!session->is_paused) {
        conn_resume(&session->conn);
    }
}

/* ---- answering ------------------------------------------------------------------------------ */

static void maybe_close(struct session *session)
{
    if (session->is_ending && session->request_count == 0) {
        conn_set_deadline(&session->conn, HTTP_WRITE_MS);
        conn_close(&session->conn);
    }
}

/* Answers leave in the order of their requests, and only as fast as the client reads them. */
static void send_answers(struct session *session)
{
    size_t written = 0;
    while (!list_is_empty(&session->requests) && !conn_is_choked(&session->conn)) {
        struct request *first = CONTAINER_OF(session->requests.next, struct request, link);
        if (!first->is_answered) {
            break;
        }
        conn_write(&session->conn, buf_slice(&first->answer));
        written += first->answer.len;
        if (first->is_close) {
            session->is_ending = true;
        }
        if (conn_is_choked(&session->conn)) {
            session->unread_bytes += first->reserved_bytes;
            first->reserved_bytes = 0;
        }
        request_free(first);
    }
    if (written > 0 && conn_is_choked(&session->conn)) {
        conn_set_deadline(&session->conn, HTTP_WRITE_MS + written * SECOND_MS / WRITE_RATE_MIN);
    } else if (!session->is_in_feed) {
        set_deadline(session);
    }
    maybe_close(session);
}

static void on_drain(struct conn *conn)
{
    struct session *session = session_of(conn);
    release_unread(session);
    send_answers(session);
    resume(session);
}

void session_answered(struct request *request)
{
    struct session *session = request->session;
    request->is_answered = true;
    send_answers(session);
    resume(session);
}

void session_end(struct session *session)
{
    CHECK_LOOP(session->edge->loop);
    CHECK(!session->is_in_feed);
    session->is_ending = true;
    struct request *reading = session->reading;
    if (reading != NULL) {
        request_free(reading); /* its last byte has not come; nothing was accepted */
        set_deadline(session); /* that of its body would cut off the others */
    }
    maybe_close(session);
}

void session_judged(struct request *request, struct msg *msg)
{
    struct session *session = request->session;
    struct credential credential = credential_of(&request->caller);
    if (msg->rate.limit != 0) {
        request->rate = msg->rate;
        request->caller.is_charged = true;
    }
    if (msg->rate.retry_s != 0) {
        request->rate.retry_s = msg->rate.retry_s;
    }
    if (request->route->access == ROUTE_PUBLIC || session->is_operator) {
        return;
    }
    for (uint32_t i = 0; i < session->used_count; i++) {
        if (msg->credential_expires_unix_ms != 0 &&
            credential_compare(&session->used[i].credential, &credential) == 0) {
            session->used[i].expires_unix_ms = msg->credential_expires_unix_ms;
        }
    }
    if (msg->err == ERR_UNAUTHORIZED && session->reading != request) {
        session_end(session); /* this request is answered first */
    }
    if (msg->err == ERR_UNAUTHORIZED && !charge_address(request, &request->caller.peer)) {
        msg->err = ERR_RATE; /* who guesses faster learns nothing */
    }
}

void session_credentials_ended(struct session *session, const struct edge_ended *ended)
{
    for (uint32_t i = 0; i < session->used_count; i++) {
        struct session_credential *used = &session->used[i];
        if (bsearch(&used->credential, ended->list, ended->count, sizeof *ended->list,
                    credential_compare) == NULL) {
            continue;
        }
        if (ended->at_unix_ms == 0) {
            session_end(session);
            return;
        }
        used->expires_unix_ms = ended->at_unix_ms;
        set_deadline(session);
    }
}
