/* edge.c - the edge actor: listeners, slots, control.
 *
 *   NEW --START--> OPEN --DRAIN--> DRAINING --STOP--> STOPPED
 *
 * Not here: what happens on a connection (session.c), what a request means (api_*.c).
 */
#include "edge/edge_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/api_int.h"
#include "edge/edge_trace.h"
#include "edge/openapi.h"
#include "mail/attachment_link.h"
#include "mail/unsubscribe_link.h"

#define DRAIN_POLL_MS 20
#define OPENAPI_MAX   (4 * MIB)

/* In every phase: a shard's answer waits for it. */
static void on_ended(struct edge *edge, struct msg *msg)
{
    LIST_EACH_SAFE (&edge->sessions, it, after) {
        session_credentials_ended(CONTAINER_OF(it, struct session, link), &msg->body.ended);
    }
    submit_credentials_ended(edge, &msg->body.ended);
    msg_return(msg, ERR_OK);
}

static void on_msg(struct actor *actor, struct msg *msg);
static void start(struct edge *edge, struct msg *msg);
static void reload(struct edge *edge, struct msg *msg);
static void drain(struct edge *edge, struct msg *msg);
static void stop(struct edge *edge, struct msg *msg);
static void try_stop(struct edge *edge);
static void on_google_closed(void *context);
static void on_fetcher_closed(void *context);
static void on_smtp_closed(void *context);
static void on_submit_closed(void *context);

struct edge *edge_new(const struct place *place, uint16_t index, struct loop *loop)
{
    CHECK_LOOP(loop);
    struct edge *edge = mem_zalloc(sizeof *edge);
    edge->place = place;
    edge->loop = loop;
    edge->index = index;
    list_init(&edge->sessions);
    rate_init(&edge->rates, EDGE_RATE_BUCKETS);
    buf_init(&edge->openapi, OPENAPI_MAX);
    for (uint32_t i = 0; i < ARRAY_LEN(edge->slots); i++) {
        edge->slots[i].next_free = i + 1 < ARRAY_LEN(edge->slots) ? i + 1 : UINT32_MAX;
    }
    edge->token_keys = auth_token_keys(place->master, (struct session_keys){0, 0});
    char name[16];
    snprintf(name, sizeof name, "edge%u", (unsigned)index);
    struct actor_options options = {
        .name = name,
        .index = index,
        .loop = loop,
        .handle = on_msg,
        .pool_counts = {[MSG_POOL_REQUEST] = EDGE_POOL_MSGS},
        .port_depth_max = EDGE_PORT_MSGS,
    };
    actor_init(&edge->actor, &options);
    edge_trace_init(edge);
    return edge;
}

void edge_free(struct edge *edge)
{
    CHECK_LOOP(edge->loop);
    CHECK(list_is_empty(&edge->sessions));
    CHECK(edge->body_bytes == 0); /* every request gave back what it had reserved */
    CHECK(edge->password_jobs == 0);
    CHECK(edge->metrics_jobs == 0);
    CHECK(edge->google == NULL);
    CHECK(edge->fetcher == NULL);
    CHECK(edge->smtp == NULL);
    CHECK(edge->submit == NULL);
    actor_fini(&edge->actor);
    buf_fini(&edge->openapi);
    if (edge->tls != NULL) {
        tls_context_drop(edge->tls);
    }
    rate_fini(&edge->rates);
    crypto_wipe(&edge->token_keys, sizeof edge->token_keys);
    crypto_wipe(&edge->attachment_key, sizeof edge->attachment_key);
    crypto_wipe(&edge->track_key, sizeof edge->track_key);
    crypto_wipe(&edge->unsubscribe_key, sizeof edge->unsubscribe_key);
    free(edge);
}

struct actor *edge_actor(struct edge *edge)
{
    return &edge->actor;
}

/* ---- slots ---------------------------------------------------------------------------------- */

uint32_t edge_slot_take(struct edge *edge, struct request *request)
{
    uint32_t index = edge->first_free_slot;
    CHECK_LOOP(edge->loop);
    CHECK(request->slot == UINT32_MAX); /* one wait at a time */
    if (index == UINT32_MAX) {
        return UINT32_MAX;
    }
    struct slot *slot = &edge->slots[index];
    CHECK(slot->request == NULL);
    edge->first_free_slot = slot->next_free;
    slot->request = request;
    request->slot = index;
    return index;
}

void edge_slot_put(struct edge *edge, struct request *request)
{
    CHECK_LOOP(edge->loop);
    if (request->slot == UINT32_MAX) {
        return;
    }
    struct slot *slot = &edge->slots[request->slot];
    CHECK(slot->request == request);
    slot->request = NULL;
    slot->generation += 1;
    slot->next_free = edge->first_free_slot;
    edge->first_free_slot = request->slot;
    request->slot = UINT32_MAX;
}

uint64_t edge_slot_token(const struct edge *edge, uint32_t slot)
{
    CHECK(slot < ARRAY_LEN(edge->slots));
    CHECK(edge->slots[slot].request != NULL);
    return (uint64_t)slot << 32 | edge->slots[slot].generation;
}

struct request *edge_slot_find(struct edge *edge, uint64_t token)
{
    uint32_t index = (uint32_t)(token >> 32);
    CHECK_LOOP(edge->loop);
    CHECK(index < ARRAY_LEN(edge->slots));
    struct slot *slot = &edge->slots[index];
    if (slot->request == NULL || slot->generation != (uint32_t)token) {
        return NULL;
    }
    struct request *request = slot->request;
    edge_slot_put(edge, request);
    return request;
}

/* ---- messages ------------------------------------------------------------------------------- */

static void on_home(struct edge *edge, struct msg *msg)
{
    bool is_rotation = msg->kind == MSG_EDGE_CONTROL ||
                       (msg->kind == MSG_SHARD_LEDGER && msg->body.ledger.is_rotation);
    if (is_rotation) {
        session_rotation_home(edge, msg);
        try_stop(edge);
        return;
    }
    if (msg->kind == MSG_SHARD_TRACK) {
        track_home(edge, msg);
        try_stop(edge);
        return;
    }
    if (smtp_in_is_mine(msg)) {
        smtp_in_home(edge, msg);
        try_stop(edge);
        return;
    }
    edge->traces_out -= msg->kind == MSG_EDGE_TRACE ? 1 : 0;
    struct request *request = edge_slot_find(edge, msg->token);
    if (request != NULL) {
        session_judged(request, msg);
        request->on_return(request, msg);
    }
    msg_put(&edge->actor, msg);
    try_stop(edge);
}

/* A drain that can be taken back. First health says so, and answers ask their clients to connect
 * anew, so that balancers look elsewhere while everything is still done; then nothing new is taken.
 * Listeners stay open: 503 and 421 tell more than a refused connection. */
static void set_drain_wish(struct edge *edge, enum control_op op)
{
    edge->drain_wish = op == CONTROL_NOTICE      ? DRAIN_NOTICE
                       : op == CONTROL_TURN_AWAY ? DRAIN_CLOSED
                                                 : DRAIN_NONE;
    if (edge->drain_wish != DRAIN_CLOSED) {
        return;
    }
    if (edge->smtp != NULL) {
        smtp_in_turn_away(edge->smtp);
    }
    if (edge->submit != NULL) {
        smtp_in_turn_away(edge->submit);
    }
}

static void on_control(struct edge *edge, struct msg *msg)
{
    switch (msg->body.control.op) {
    case CONTROL_START:
        start(edge, msg);
        break;
    case CONTROL_RELOAD:
        reload(edge, msg);
        break;
    case CONTROL_DRAIN:
        drain(edge, msg);
        break;
    case CONTROL_STOP:
        stop(edge, msg);
        break;
    case CONTROL_SESSION_KEYS:
        session_keys_set(edge, msg->body.control.session_keys);
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_NOTICE:
    case CONTROL_TURN_AWAY:
    case CONTROL_WELCOME:
        set_drain_wish(edge, msg->body.control.op);
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_LOAD:
        msg->body.control.busy_us = edge->actor.handled_us;
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_ADOPT:
        actor_arrive(edge->place->shards[msg->body.control.shard], edge->loop);
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_MOVE: /* for shards */
    case CONTROL_PING:
    case CONTROL_QUIET: /* delivery's */
        msg_return(msg, ERR_OK);
        break;
    }
}

static void on_msg(struct actor *actor, struct msg *msg)
{
    struct edge *edge = CONTAINER_OF(actor, struct edge, actor);
    if (msg->returning) {
        on_home(edge, msg);
        return;
    }
    if (msg->kind == MSG_EDGE_TRACE) {
        edge_trace_serve(edge, msg);
        return;
    }
    if (msg->kind == MSG_EDGE_ENDED) {
        on_ended(edge, msg);
        return;
    }
    CHECK(msg->kind == MSG_EDGE_CONTROL);
    on_control(edge, msg);
}

/* ---- start ---------------------------------------------------------------------------------- */

static void on_plain_accept(struct listener *listener, uv_os_sock_t socket)
{
    session_accept(CONTAINER_OF(listener, struct edge, http), socket, SESSION_PLAIN);
}

static void on_tls_accept(struct listener *listener, uv_os_sock_t socket)
{
    session_accept(CONTAINER_OF(listener, struct edge, https), socket, SESSION_TLS);
}

static void on_smtp_accept(struct listener *listener, uv_os_sock_t socket)
{
    smtp_in_accept(CONTAINER_OF(listener, struct edge, smtp_listener)->smtp, socket, false);
}

/* The file's mode keeps others out; the kernel's word on who is there does not depend on it. */
static void on_admin_accept(struct listener *listener, uv_os_sock_t socket)
{
    uid_t user = (uid_t)-1;
    enum err err = listen_peer_user(socket, &user);
    if (err != ERR_OK || (user != 0 && user != geteuid())) {
        LOG_WARN("admin.refused", LOG_U64("user", user), LOG_ERR(err),
                 LOG_STR("remedy", "run meerkatctl as root or as meerkatd's own user"));
        (void)close(socket); /* nothing was said */
        return;
    }
    session_accept(CONTAINER_OF(listener, struct edge, admin), socket, SESSION_ADMIN);
}

enum err edge_listen(struct edge *edge, struct listener *listener, const struct listening *where,
                     listener_fn *on_accept)
{
    const struct place *place = edge->place;
    int fds[LOOP_COUNT_MAX];
    const struct socket_group *group = sockets_find(place->sockets, where->kind, where->number);
    CHECK(group != NULL); /* main opens what the options name before it starts us */
    uint32_t count = sockets_of_loop(group, edge->index, place->loop_count, fds);
    enum err err = listener_share(listener, edge->loop, fds, count, on_accept);
    if (err == ERR_OK) {
        *where->tcp_port = listener->tcp_port;
        edge->listeners_open += 1;
    }
    return err;
}

/* Where nobody asked for the socket by name, a place that cannot have one is no reason not to
 * start.
 */
static enum err open_admin(struct edge *edge)
{
    const struct conf *conf = edge->place->conf;
    struct arena arena;
    enum err err = ERR_OK;
    arena_init(&arena, KIB, 64 * KIB);
    struct slice path = conf_admin_socket(conf, &arena);
    if (path.len > 0) {
        err = listener_open_local(&edge->admin, edge->loop, path, on_admin_accept);
    }
    arena_fini(&arena);
    if (err != ERR_OK && conf->admin_socket.len == 0) {
        LOG_WARN("admin.off", LOG_ERR(err),
                 LOG_STR("remedy", "set admin_socket to a path that can have a socket"));
        return ERR_OK;
    }
    return err;
}

static enum err load_certificate(struct edge *edge)
{
    const struct conf *conf = edge->place->conf;
    struct tls_context *fresh;
    enum err err = tls_server_new(conf->tls_cert, conf->tls_key, &fresh);
    if (err != ERR_OK) {
        return err;
    }
    if (edge->tls != NULL) {
        tls_context_drop(edge->tls);
    }
    edge->tls = fresh;
    if (edge->index == 0) { /* the others have the same */
        uint64_t expires_s = tls_context_expires_s(fresh);
        bool is_here[] = {conf->https_listen.len > 0, conf->smtp_listen.len > 0,
                          submit_is_wanted(conf)};
        _Static_assert(ARRAY_LEN(is_here) == LABEL_LISTENER_COUNT, "a label for each listener");
        for (uint32_t i = 0; i < LABEL_LISTENER_COUNT; i++) {
            metric_set_at(METRIC_CERTIFICATE, i, is_here[i] ? expires_s : 0);
        }
    }
    return ERR_OK;
}

static void describe(struct edge *edge, const struct control *control)
{
    (void)conf_public_url(edge->place->conf, control->tcp_port, control->tls_tcp_port,
                          edge->public_url);
    edge->attachment_key = crypto_derive(edge->place->master, SLICE(ATTACHMENT_LINK_PURPOSE));
    edge->track_key = crypto_derive(edge->place->master, SLICE(TRACK_LINK_PURPOSE));
    edge->unsubscribe_key = crypto_derive(edge->place->master, SLICE(UNSUBSCRIBE_LINK_PURPOSE));
    buf_clear(&edge->openapi);
    openapi_write(slice_str(edge->public_url), &edge->openapi);
    CHECK(!edge->openapi.is_over);
}

static enum err open_smtp(struct edge *edge, uint16_t *tcp_port)
{
    enum err err = smtp_in_open(edge, false, &edge->smtp);
    if (err == ERR_OK) {
        struct listening where = {.kind = SOCKET_SMTP, .tcp_port = tcp_port};
        err = edge_listen(edge, &edge->smtp_listener, &where, on_smtp_accept);
    }
    return err;
}

static void start(struct edge *edge, struct msg *msg)
{
    const struct conf *conf = edge->place->conf;
    struct control *control = &msg->body.control;
    enum err err = ERR_OK;
    session_keys_set(edge, control->session_keys);
    /* HTTPS and submission cannot do without; SMTP has STARTTLS when there is one. */
    if (conf->https_listen.len > 0 || submit_is_wanted(conf) ||
        (conf->smtp_listen.len > 0 && conf->tls_cert.len > 0)) {
        err = load_certificate(edge);
    }
    if (err == ERR_OK && conf->https_listen.len > 0) {
        struct listening where = {.kind = SOCKET_HTTPS, .tcp_port = &control->tls_tcp_port};
        err = edge_listen(edge, &edge->https, &where, on_tls_accept);
    }
    if (err == ERR_OK && conf->smtp_listen.len > 0) {
        err = open_smtp(edge, &control->smtp_tcp_port);
    }
    if (err == ERR_OK && submit_is_wanted(conf)) {
        err = submit_open(edge, control->submit_tcp_ports);
    }
    if (err == ERR_OK && conf->http_listen.len > 0) {
        struct listening where = {.kind = SOCKET_HTTP, .tcp_port = &control->tcp_port};
        err = edge_listen(edge, &edge->http, &where, on_plain_accept);
    }
    if (err == ERR_OK && edge->index == 0) {
        err = open_admin(edge);
    }
    if (err == ERR_OK && google_is_wanted(conf)) {
        edge->google = google_open(edge->loop, conf, api_google_person, edge);
    }
    if (err == ERR_OK) {
        edge->phase = EDGE_OPEN;
        describe(edge, control);
        edge->started_ms = loop_now_ms(edge->loop);
    }
    msg_return(msg, err);
}

static void reload(struct edge *edge, struct msg *msg)
{
    enum err err = ERR_OK;
    if (edge->tls != NULL) {
        err = load_certificate(edge);
        if (err != ERR_OK) {
            LOG_ERROR("edge.reload", LOG_ERR(err),
                      LOG_STR("remedy", "the old certificate stays in use; fix tls_cert and "
                                        "tls_key, then send SIGHUP again"));
        }
    }
    msg_return(msg, err);
}

/* ---- drain and stop ------------------------------------------------------------------------- */

static void on_listener_closed(struct listener *listener UNUSED)
{
}

static void close_listeners(struct edge *edge)
{
    listener_close(&edge->http, on_listener_closed);
    listener_close(&edge->https, on_listener_closed);
    listener_close(&edge->admin, on_listener_closed);
    listener_close(&edge->smtp_listener, on_listener_closed);
    submit_close_listeners(edge);
    edge->listeners_open = 0;
}

static void finish_drain(struct edge *edge)
{
    timer_stop(&edge->drain_timer);
    struct msg *msg = edge->drain;
    CHECK(msg != NULL);
    edge->drain = NULL;
    msg_return(msg, ERR_OK);
}

static bool has_sessions(const struct edge *edge)
{
    return edge->session_count > 0 ||
           (edge->smtp != NULL && smtp_in_session_count(edge->smtp) > 0) ||
           (edge->submit != NULL && smtp_in_session_count(edge->submit) > 0);
}

void edge_session_gone(struct edge *edge)
{
    CHECK_LOOP(edge->loop);
    CHECK_IF(edge->session_count == 0, list_is_empty(&edge->sessions));
    metric_set(METRIC_HTTP_CONNS, edge->session_count);
    metric_set(METRIC_LOOP_CONNS, edge->session_count);
    if (!has_sessions(edge) && edge->drain != NULL &&
        (edge->is_closed || edge->phase == EDGE_LEAVING)) {
        edge->is_closed = true;
        edge->phase = EDGE_DRAINING;
        finish_drain(edge);
    }
}

static void end_sessions(struct edge *edge)
{
    LIST_EACH_SAFE (&edge->sessions, it, after) {
        session_end(CONTAINER_OF(it, struct session, link));
    }
    if (edge->smtp != NULL) {
        smtp_in_drain(edge->smtp);
    }
    if (edge->submit != NULL) {
        smtp_in_drain(edge->submit);
    }
}

/* First call: the notice is over, nobody new comes in. Later ones: who has not gone by now is cut
 * off. */
static void on_drain_due(struct timer *timer)
{
    struct edge *edge = CONTAINER_OF(timer, struct edge, drain_timer);
    if (!edge->is_closed) {
        edge->is_closed = true;
        edge->phase = EDGE_DRAINING;
        close_listeners(edge);
        end_sessions(edge);
        uint64_t now_ms = loop_now_ms(edge->loop);
        uint64_t deadline_ms = edge->drain == NULL ? 0 : edge->drain->body.control.deadline_ms;
        timer_start(&edge->drain_timer, deadline_ms > now_ms ? (deadline_ms - now_ms) / 2 : 1);
    } else {
        LIST_EACH_SAFE (&edge->sessions, it, after) {
            conn_abort(&CONTAINER_OF(it, struct session, link)->conn);
        }
        if (edge->smtp != NULL) {
            smtp_in_cut(edge->smtp);
        }
        if (edge->submit != NULL) {
            smtp_in_cut(edge->submit);
        }
        timer_start(&edge->drain_timer, DRAIN_POLL_MS);
    }
    edge_session_gone(edge);
}

/* For drain_notice_ms every new request, /api/health included, is told 503, so that load balancers
 * look elsewhere before connections are refused. What was accepted before is answered as ever.
 *
 * Where the sockets outlive us nobody will be refused: who connects from now on waits for the next
 * run, and who is connected has that time for another request, the last one. */
static void drain(struct edge *edge, struct msg *msg)
{
    bool was_open = edge->phase == EDGE_OPEN;
    CHECK(edge->drain == NULL);
    edge->phase = was_open && msg->body.control.is_held ? EDGE_LEAVING : EDGE_DRAINING;
    edge->drain = msg;
    timer_init(&edge->drain_timer, edge->loop, on_drain_due);
    bool is_noticed = !was_open || edge->drain_wish != DRAIN_NONE;
    timer_start(&edge->drain_timer, is_noticed ? 0 : edge->place->conf->drain_notice_ms);
    if (edge->phase == EDGE_LEAVING) {
        close_listeners(edge);
        edge_session_gone(edge); /* perhaps there is none */
    }
}

/* Messages of clients that left, and password jobs, come home before the actor is dead; what asks
 * Google is closed. */
static void try_stop(struct edge *edge)
{
    const struct msg_pool *pool = &edge->actor.pools[MSG_POOL_REQUEST];
    if (edge->stop == NULL || pool->free_count < pool->count ||
        edge->password_jobs + edge->metrics_jobs > 0 || edge->google != NULL ||
        edge->fetcher != NULL || edge->smtp != NULL || edge->submit != NULL) {
        return;
    }
    struct msg *msg = edge->stop;
    edge->stop = NULL;
    actor_close(&edge->actor);
    msg_return(msg, ERR_OK);
}

void edge_job_done(struct edge *edge, uint32_t *jobs)
{
    CHECK_LOOP(edge->loop);
    CHECK(*jobs > 0);
    *jobs -= 1;
    try_stop(edge);
}

static void stop(struct edge *edge, struct msg *msg)
{
    CHECK(!has_sessions(edge));
    CHECK(edge->stop == NULL);
    edge->phase = EDGE_STOPPED;
    edge->stop = msg;
    edge_trace_stop(edge);
    if (edge->google != NULL) {
        google_close(edge->google, on_google_closed);
    }
    if (edge->fetcher != NULL) {
        fetcher_close(edge->fetcher, on_fetcher_closed, edge);
    }
    if (edge->smtp != NULL) {
        smtp_in_close(edge->smtp, on_smtp_closed, edge);
    }
    if (edge->submit != NULL) {
        smtp_in_close(edge->submit, on_submit_closed, edge);
    }
    try_stop(edge);
}

static void on_google_closed(void *context)
{
    struct edge *edge = context;
    edge->google = NULL;
    try_stop(edge);
}

static void on_fetcher_closed(void *context)
{
    struct edge *edge = context;
    edge->fetcher = NULL;
    try_stop(edge);
}

static void on_smtp_closed(void *context)
{
    struct edge *edge = context;
    edge->smtp = NULL;
    try_stop(edge);
}

static void on_submit_closed(void *context)
{
    struct edge *edge = context;
    edge->submit = NULL;
    try_stop(edge);
}
