/* http_world.h - calls of net/http_client to servers that misbehave on demand, all on one loop.
 *
 * A server answers by the path it is asked for; names come from support/fake_dns.h. A test fills in
 * shots, which are fired one after another or all at once; when the last is told, client, dns and
 * servers are closed and the loop ends. A story that does not end within ten seconds fails.
 * Header-only; include it in one file of a test.
 */
#ifndef SUPPORT_HTTP_WORLD_H
#define SUPPORT_HTTP_WORLD_H

#include "base/buf.h"
#include "net/conn.h"
#include "net/http_client.h"
#include "net/listen.h"
#include "support/fake_dns.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOTS_MAX       (HTTP_CALLS_MAX + 8)
#define SERVERS_MAX     2
#define DRIP_MS         5
#define ENDLESS_BYTES   20000
#define REQUEST_MAX     (1024 * 1024)
#define SHOT_BODY_MAX   (256 * 1024)
#define SHOT_TIMEOUT_MS 5000

struct http_world;
struct peer;

struct server {
    struct listener listener;
    struct http_world *world;
    struct tls_context *tls;
    struct link peers;
    uint32_t accepts;
    uint32_t most_open; /* connections at once */
    uint32_t open;
    uint32_t requests;
    void (*on_request)(struct peer *peer, struct slice request); /* NULL: by the path */
    bool is_mute; /* accepts and never says a byte, not even of TLS */
};

/* A connection, as the server sees it. */
struct peer {
    struct conn conn;
    struct server *server;
    struct link link;
    struct buf in;
    struct timer drip;
    bool is_endless;
};

struct shot {
    struct http_call call;
    struct http_world *world;
    struct http_call_request request;
    char url[HTTP_CALL_URL_MAX + 8];
    struct http_call_result result; /* its slices: body and headers copied below */
    struct buf body;
    struct buf headers[HTTP_CALL_KEEP_MAX];
    uint32_t told;
    bool is_fired;
};

struct http_world {
    struct loop loop;
    struct dns *dns;
    struct http_client *client;
    struct http_client_options options;
    struct server servers[SERVERS_MAX];
    uint32_t server_count;
    struct shot *shots;
    uint32_t shot_count;
    uint32_t over_count; /* told or cancelled */
    bool is_parallel;
    bool is_closing;
    bool is_client_closed;
    struct timer watchdog;
    struct timer step;
    void (*on_step)(struct http_world *world);
    void (*on_told)(struct http_world *world, struct shot *shot);
};

/* ---- servers -------------------------------------------------------------------------------- */

static inline void say(struct peer *peer, const char *text)
{
    conn_write(&peer->conn, slice_str(text));
}

static inline void say_with_body(struct peer *peer, struct slice body)
{
    char head[200];
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 200 OK\r\nX-Kept:  first \r\nX-Kept: second\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   body.len);
    say(peer, head);
    conn_write(&peer->conn, body);
}

static inline void peer_flood(struct peer *peer)
{
    static char block[ENDLESS_BYTES];
    memset(block, 'e', sizeof(block));
    char head[16];
    (void)snprintf(head, sizeof(head), "%x\r\n", ENDLESS_BYTES);
    while (conn_is_open(&peer->conn) && !conn_is_choked(&peer->conn)) {
        say(peer, head);
        conn_write(&peer->conn, slice_of(block, sizeof(block)));
        say(peer, "\r\n");
    }
}

static inline void peer_on_drip(struct timer *timer)
{
    struct peer *peer = CONTAINER_OF(timer, struct peer, drip);
    say(peer, "1\r\nd\r\n");
    timer_start(timer, DRIP_MS);
}

static inline void peer_answer_badly(struct peer *peer, struct slice path)
{
    static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    if (slice_equal(path, SLICE("/endless"))) {
        say(peer, chunked);
        peer->is_endless = true;
        peer_flood(peer);
    } else if (slice_equal(path, SLICE("/drip"))) {
        say(peer, chunked);
        timer_start(&peer->drip, DRIP_MS);
    } else if (slice_equal(path, SLICE("/header"))) {
        say(peer, "HTTP/1.1 200 OK\r\n");
        for (uint32_t i = 0; i < 2000; i++) {
            say(peer, "X-Long: 0123456789012345678901234567890123456789\r\n");
        }
        say(peer, "\r\n");
    } else if (slice_equal(path, SLICE("/interims"))) {
        for (uint32_t i = 0; i < 5000; i++) {
            say(peer, "HTTP/1.1 103 Early Hints\r\nX-Kept: interim\r\n\r\n");
        }
    } else if (slice_equal(path, SLICE("/garbage"))) {
        say(peer, "220 mx.test ESMTP\r\n");
    } else if (slice_equal(path, SLICE("/leave"))) {
        conn_close(&peer->conn);
    } else if (slice_equal(path, SLICE("/part"))) {
        say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
        conn_close(&peer->conn);
    } else {
        cr_assert(slice_equal(path, SLICE("/hang")), "%.*s", SLICE_FMT(path));
    }
}

static inline void peer_answer(struct peer *peer, struct slice request)
{
    struct slice rest = request;
    (void)slice_cut(&rest, ' '); /* the method */
    struct slice path = slice_cut(&rest, ' ');
    peer->server->requests++;
    if (peer->server->on_request != NULL) {
        peer->server->on_request(peer, request);
    } else if (slice_equal(path, SLICE("/ok"))) {
        say_with_body(peer, SLICE("hello"));
    } else if (slice_equal(path, SLICE("/echo"))) {
        say_with_body(peer, request);
    } else if (slice_equal(path, SLICE("/empty"))) {
        say(peer, "HTTP/1.1 204 No Content\r\n\r\n");
    } else if (slice_equal(path, SLICE("/broken"))) {
        say(peer, "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno");
    } else if (slice_equal(path, SLICE("/redirect"))) {
        say(peer, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
    } else if (slice_equal(path, SLICE("/interim"))) {
        say(peer, "HTTP/1.1 103 Early Hints\r\nX-Kept: interim\r\n\r\n");
        say_with_body(peer, SLICE("hello"));
    } else {
        peer_answer_badly(peer, path);
    }
}

static inline void peer_on_open(struct conn *conn UNUSED)
{
}

/* Requests that end with their header, or have a Content-Length. */
static inline void peer_on_data(struct conn *conn, struct slice data)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    if (peer->server->is_mute) {
        return;
    }
    buf_add(&peer->in, data);
    if (peer->in.data[0] == 0x16) { /* TLS, to a server that speaks none */
        say(peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    size_t end = slice_find(buf_slice(&peer->in), SLICE("\r\n\r\n"));
    if (end == SIZE_MAX) {
        return;
    }
    uint64_t body_bytes = 0;
    struct slice rest = slice_head(buf_slice(&peer->in), end);
    while (rest.data != NULL) {
        struct slice line = slice_cut(&rest, '\n');
        if (slice_starts_nocase(line, SLICE("content-length:"))) {
            cr_assert_eq(slice_u64(slice_trim(slice_from(line, 15)), &body_bytes), ERR_OK);
        }
    }
    size_t len = end + 4 + (size_t)body_bytes;
    if (peer->in.len >= len) {
        peer_answer(peer, slice_head(buf_slice(&peer->in), len));
        buf_consume(&peer->in, len);
    }
}

static inline void peer_on_drain(struct conn *conn)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    if (peer->is_endless) {
        peer_flood(peer);
    }
}

static inline void peer_on_fail(struct conn *conn, enum err err UNUSED)
{
    timer_stop(&CONTAINER_OF(conn, struct peer, conn)->drip);
    conn_abort(conn);
}

static inline void peer_on_closed(struct conn *conn)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    timer_stop(&peer->drip);
    peer->server->open--;
    list_remove(&peer->link);
    buf_fini(&peer->in);
    free(peer);
}

static const struct conn_handler peer_handler = {
    .on_open = peer_on_open,
    .on_data = peer_on_data,
    .on_drain = peer_on_drain,
    .on_fail = peer_on_fail,
    .on_closed = peer_on_closed,
};

static inline void server_on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct server *server = CONTAINER_OF(listener, struct server, listener);
    struct peer *peer = mem_zalloc(sizeof(*peer));
    peer->server = server;
    buf_init(&peer->in, REQUEST_MAX);
    timer_init(&peer->drip, &server->world->loop, peer_on_drip);
    list_push_back(&server->peers, &peer->link);
    server->accepts++;
    server->open++;
    server->most_open = server->open > server->most_open ? server->open : server->most_open;
    enum err err = conn_accept(&peer->conn, &server->world->loop, socket,
                               server->is_mute ? NULL : server->tls, &peer_handler);
    cr_assert(err == ERR_OK || err == ERR_IO); /* the client may have gone */
}

/* ---- the world ------------------------------------------------------------------------------ */

static inline void world_on_watchdog(struct timer *timer UNUSED)
{
    cr_assert(false, "the story never ended");
}

static inline void world_on_step(struct timer *timer)
{
    struct http_world *world = CONTAINER_OF(timer, struct http_world, step);
    world->on_step(world);
}

/* A server on ip; its port is picked by the system. tls NULL: plain; else taken. */
static inline struct server *http_world_server(struct http_world *world, const char *ip,
                                               struct tls_context *tls)
{
    struct server *server = &world->servers[world->server_count++];
    CHECK(world->server_count <= SERVERS_MAX);
    server->world = world;
    server->tls = tls;
    list_init(&server->peers);
    struct conn_addr addr;
    uint16_t tcp_port = world->servers[0].listener.tcp_port; /* the same for all; 0 at first */
    cr_assert_eq(conn_addr_parse(slice_str(ip), tcp_port, &addr), ERR_OK);
    cr_assert_eq(listener_open(&server->listener, &world->loop, &addr, server_on_accept), ERR_OK);
    return server;
}

static inline void http_world_init(struct http_world *world)
{
    *world = (struct http_world){0};
    loop_init(&world->loop, "test", 0);
    timer_init(&world->watchdog, &world->loop, world_on_watchdog);
    timer_init(&world->step, &world->loop, world_on_step);
    timer_start(&world->watchdog, 10000);
    cr_assert_eq(dns_open(&world->loop, slice_of(NULL, 0), &world->dns), ERR_OK);
    world->shots = mem_zalloc(SHOTS_MAX * sizeof(world->shots[0]));
    world->options = (struct http_client_options){.dns = world->dns, .rule.allows_private = true};
}

static inline void http_world_name(struct http_world *world, const char *name, const char *ip)
{
    struct fake_row row = {
        .type = strchr(ip, ':') != NULL ? DNS_AAAA : DNS_A, .name = name, .text = ip};
    fake_dns_add(world->dns, &row, 1);
}

/* A GET of url, in which "PORT" stands for the port of the servers. */
static inline struct shot *http_world_shot(struct http_world *world, const char *url)
{
    CHECK(world->shot_count < SHOTS_MAX);
    struct shot *shot = &world->shots[world->shot_count++];
    const char *port = strstr(url, "PORT");
    if (port != NULL) {
        (void)snprintf(shot->url, sizeof(shot->url), "%.*s%u%s", (int)(port - url), url,
                       (unsigned int)world->servers[0].listener.tcp_port, port + 4);
    } else {
        (void)snprintf(shot->url, sizeof(shot->url), "%s", url);
    }
    shot->world = world;
    shot->request = (struct http_call_request){.method = HTTP_METHOD_GET,
                                               .url = slice_str(shot->url),
                                               .body_max = SHOT_BODY_MAX,
                                               .timeout_ms = SHOT_TIMEOUT_MS};
    buf_init(&shot->body, SHOT_BODY_MAX);
    for (size_t i = 0; i < HTTP_CALL_KEEP_MAX; i++) {
        buf_init(&shot->headers[i], HTTP_CALL_VALUE_MAX);
    }
    return shot;
}

static inline void world_on_listener_closed(struct listener *listener UNUSED)
{
}

static inline void world_on_dns_closed(void *context)
{
    struct http_world *world = context;
    for (uint32_t i = 0; i < world->server_count; i++) {
        LIST_EACH_SAFE (&world->servers[i].peers, link, after) {
            conn_abort(&CONTAINER_OF(link, struct peer, link)->conn);
        }
        listener_close(&world->servers[i].listener, world_on_listener_closed);
    }
    timer_stop(&world->watchdog);
    timer_stop(&world->step);
    loop_stop(&world->loop);
}

static inline void world_on_client_closed(void *context)
{
    struct http_world *world = context;
    world->is_client_closed = true;
    dns_close(world->dns, world_on_dns_closed, world);
}

static inline void http_world_close(struct http_world *world)
{
    if (!world->is_closing) {
        world->is_closing = true;
        http_client_close(world->client, world_on_client_closed, world);
    }
}

static inline void shot_fire(struct shot *shot);

/* What comes after a shot is told, or was cancelled. */
static inline void shot_over(struct shot *shot)
{
    struct http_world *world = shot->world;
    world->over_count++;
    if (world->over_count == world->shot_count) {
        http_world_close(world);
    } else if (!world->is_parallel && !world->is_closing) {
        shot_fire(&world->shots[world->over_count]);
    }
}

static inline void shot_on_done(struct http_call *call, const struct http_call_result *result)
{
    struct shot *shot = CONTAINER_OF(call, struct shot, call);
    cr_assert(!shot->world->is_client_closed);
    cr_assert_null(call->exchange);
    cr_assert_lt((int)result->err, ERR_COUNT);
    cr_assert_eq(result->err == ERR_OK, result->failure[0] == '\0');
    shot->told++;
    shot->result = *result;
    buf_add(&shot->body, result->body);
    for (size_t i = 0; i < HTTP_CALL_KEEP_MAX; i++) {
        buf_add(&shot->headers[i], result->headers[i]);
    }
    if (shot->world->on_told != NULL) {
        shot->world->on_told(shot->world, shot);
    }
    shot_over(shot);
}

static inline void shot_fire(struct shot *shot)
{
    shot->is_fired = true;
    http_call_start(shot->world->client, &shot->call, &shot->request, shot_on_done);
    cr_assert_eq(shot->told, 0, "told inside http_call_start");
}

static inline void shot_cancel(struct shot *shot)
{
    http_call_cancel(&shot->call);
    http_call_cancel(&shot->call); /* harmless */
    shot_over(shot);
}

static inline void http_world_step(struct http_world *world, uint64_t delay_ms,
                                   void (*on_step)(struct http_world *world))
{
    world->on_step = on_step;
    timer_start(&world->step, delay_ms);
}

static inline void http_world_run(struct http_world *world)
{
    cr_assert_eq(http_client_open(&world->loop, &world->options, &world->client), ERR_OK);
    for (uint32_t i = 0; i < (world->is_parallel ? world->shot_count : 1); i++) {
        shot_fire(&world->shots[i]);
    }
    loop_run(&world->loop);
    cr_assert(world->is_client_closed);
    cr_assert_eq(world->loop.conns_open, 0);
    for (uint32_t i = 0; i < world->shot_count; i++) {
        cr_assert_leq(world->shots[i].told, 1);
    }
}

static inline void http_world_fini(struct http_world *world)
{
    for (uint32_t i = 0; i < world->shot_count; i++) {
        buf_fini(&world->shots[i].body);
        for (size_t n = 0; n < HTTP_CALL_KEEP_MAX; n++) {
            buf_fini(&world->shots[i].headers[n]);
        }
    }
    for (uint32_t i = 0; i < world->server_count; i++) {
        cr_assert_eq(world->servers[i].open, 0);
        tls_context_drop(world->servers[i].tls);
    }
    free(world->shots);
    loop_fini(&world->loop);
}

static inline bool shot_said(const struct shot *shot, const char *body)
{
    return slice_equal(buf_slice(&shot->body), slice_str(body));
}

static inline bool shot_has(const struct shot *shot, const char *text)
{
    return slice_find(buf_slice(&shot->body), slice_str(text)) != SIZE_MAX;
}

#endif
