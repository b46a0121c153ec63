/* conn.c - see conn.h.
 *
 *             connected, or accepted
 *   OPENING -------------------------> OPEN ----+
 *      |                                |       | conn_close
 *      |                     conn_abort |       v
 *      |                                |    CLOSING   flush; FIN; linger for the peer's FIN
 *      |                                v       |
 *      +----------------------------> CLOSED <--+
 *        conn_abort, conn_close                    uv_close is asked; on_closed comes from it
 *
 * Every callback runs from the bottom of the stack: from libuv, or from the chore at the end of the
 * turn. A function that notices a failure while a session is calling it only notes it.
 *
 * Bytes go out in one place, flush: everything gathered in `out` is offered to the socket at once;
 * what the socket does not take becomes a flight, which owns the block, and until it has landed the
 * next bytes gather. An idle conn owns no buffer.
 */
#include "net/conn.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/slice.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLUSH_NOW_BYTES                                                                            \
    (64 * KIB) /* beyond this, waiting for the end of the turn saves nothing                       \
                */
#define LINGER_MS    1000
#define STALL_MS     30000 /* a closing conn whose queue has not moved for so long is dropped */
#define CIPHER_SLACK MIB   /* record headers and tags of CONN_WRITE_MAX_BYTES: 22 bytes in 16 Ki */

enum conn_state {
    CONN_STATE_OPENING,
    CONN_STATE_OPEN,
    CONN_STATE_CLOSING,
    CONN_STATE_CLOSED,
};

static const struct sm_state states[] = {
    [CONN_STATE_OPENING] = {"OPENING", SM_TO(CONN_STATE_OPEN) | SM_TO(CONN_STATE_CLOSED)},
    [CONN_STATE_OPEN] = {"OPEN", SM_TO(CONN_STATE_CLOSING) | SM_TO(CONN_STATE_CLOSED)},
    [CONN_STATE_CLOSING] = {"CLOSING", SM_TO(CONN_STATE_CLOSED)},
    [CONN_STATE_CLOSED] = {"CLOSED", 0},
};
static const struct sm_table machine = {"conn", states, ARRAY_LEN(states)};

struct flight {
    uv_write_t req;
    struct conn *conn;
    char *data;
};

struct connecting {
    uv_connect_t req;
    struct conn *conn;
};

/* An address as bytes: 4 or 16 of them, 0 for none. */
struct ip {
    uint8_t bytes[16];
    uint8_t len;
};

static void start(struct conn *conn, struct loop *loop, const struct conn_handler *handler,
                  bool is_local);
static bool is_state(const struct conn *conn, enum conn_state state);
static size_t queued_bytes(const struct conn *conn);
static void open_for_use(struct conn *conn);
static void update_reading(struct conn *conn);
static void take_plain(struct conn *conn, struct slice data);
static void take_cipher(struct conn *conn, struct slice data);
static void take_end(struct conn *conn, int status);
static void fail(struct conn *conn, enum err err, const char *why);
static void flush(struct conn *conn);
static void fly(struct conn *conn, size_t from);
static void write_failed(struct conn *conn, int status);
static void note_drain(struct conn *conn);
static void settle(struct conn *conn);
static void carry_on_closing(struct conn *conn);
static void destroy(struct conn *conn);
static void on_turn_end(struct chore *chore);
static void on_deadline(struct timer *timer);
static void connect_to(struct conn *conn, const struct sockaddr *addr,
                       const struct sockaddr *source);
static void on_connected(uv_connect_t *req, int status);
static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *room);
static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *room);
static void on_written(uv_write_t *req, int status);
static void on_uv_closed(uv_handle_t *handle);
static void set_addr(struct conn_addr *out, const struct sockaddr_storage *from);
static struct ip ip_of(const struct conn_addr *addr);
static enum err ip_parse(struct slice text, struct ip *out);
static enum err ip_in_cidr(const struct ip *ip, struct slice cidr, bool *is_inside);

enum err conn_accept(struct conn *conn, struct loop *loop, uv_os_sock_t socket,
                     struct tls_context *tls, const struct conn_handler *handler)
{
    struct sockaddr_storage peer = {0};
    socklen_t peer_len = sizeof(peer);
    bool is_connected = getpeername(socket, (struct sockaddr *)&peer, &peer_len) == 0;
    bool is_local = is_connected && peer.ss_family == AF_UNIX;
    start(conn, loop, handler, is_local);
    int status = is_local ? uv_pipe_open(&conn->pipe, socket) : uv_tcp_open(&conn->tcp, socket);
    if (status != 0) {
        (void)close(socket); /* it was of no use already */
    } else if (!is_connected) {
        status = UV_ENOTCONN; /* reset while it waited to be accepted */
    }
    if (status != 0) {
        (void)snprintf(conn->failure, sizeof(conn->failure), "%s", uv_strerror(status));
        destroy(conn);
        return ERR_IO;
    }
    if (!is_local) {
        /* Fails on a connection that is just being reset; reading will tell. */
        (void)uv_tcp_nodelay(&conn->tcp, 1);
    }
    if (tls != NULL) {
        conn->tls = tls_new(tls, (struct slice){0});
    }
    conn->is_open_due = true;
    chore_start(loop, &conn->turn_end);
    return ERR_OK;
}

void conn_connect(struct conn *conn, struct loop *loop, const struct sockaddr *addr,
                  const struct conn_handler *handler)
{
    start(conn, loop, handler, false);
    connect_to(conn, addr, NULL);
}

void conn_connect_from(struct conn *conn, struct loop *loop, const struct conn_addr *addr,
                       const struct conn_addr *source, const struct conn_handler *handler)
{
    start(conn, loop, handler, false);
    connect_to(conn, (const struct sockaddr *)&addr->storage,
               source == NULL ? NULL : (const struct sockaddr *)&source->storage);
}

static void connect_to(struct conn *conn, const struct sockaddr *addr,
                       const struct sockaddr *source)
{
    struct connecting *connecting = mem_alloc(sizeof(*connecting));
    connecting->conn = conn;
    int status = source == NULL ? 0 : uv_tcp_bind(&conn->tcp, source, 0);
    if (status == 0) {
        status = uv_tcp_connect(&connecting->req, &conn->tcp, addr, on_connected);
    }
    if (status != 0) {
        free(connecting);
        fail(conn, ERR_CONNECT, uv_strerror(status));
    }
}

void conn_start_tls(struct conn *conn, struct tls_context *context, struct slice server_name)
{
    conn_start_tls_pinned(conn, context, server_name, NULL);
}

void conn_start_tls_pinned(struct conn *conn, struct tls_context *context, struct slice server_name,
                           const struct tls_pins *pins)
{
    CHECK_LOOP(conn->loop);
    CHECK(conn->tls == NULL);
    CHECK(!is_state(conn, CONN_STATE_OPENING));
    if (!is_state(conn, CONN_STATE_OPEN) || conn->has_failed) {
        return;
    }
    conn->tls =
        pins == NULL ? tls_new(context, server_name) : tls_new_pinned(context, server_name, pins);
    /* A client speaks first. Not into loop->plain: another conn's session may be reading it. */
    struct buf none;
    buf_init(&none, FLUSH_NOW_BYTES);
    enum tls_state state = tls_feed(conn->tls, (struct slice){0}, &none, &conn->out);
    CHECK(none.len == 0);
    buf_fini(&none);
    if (state == TLS_FAILED) {
        fail(conn, ERR_TLS, tls_failure(conn->tls));
    }
    chore_start(conn->loop, &conn->turn_end);
}

void conn_take_early(struct conn *conn, struct slice data)
{
    CHECK_LOOP(conn->loop);
    if (conn->tls != NULL && data.len > 0 && is_state(conn, CONN_STATE_OPEN) && !conn->has_failed) {
        take_cipher(conn, data);
    }
}

void conn_write(struct conn *conn, struct slice data)
{
    CHECK_LOOP(conn->loop);
    if (conn->is_shut || data.len == 0 || is_state(conn, CONN_STATE_CLOSING) ||
        is_state(conn, CONN_STATE_CLOSED)) {
        return;
    }
    if (is_state(conn, CONN_STATE_OPENING) || conn_is_handshaking(conn)) {
        fail(conn, ERR_IO, "written before it was open");
        return;
    }
    if (data.len > CONN_WRITE_MAX_BYTES || queued_bytes(conn) > CONN_WRITE_MAX_BYTES - data.len) {
        fail(conn, ERR_IO, "too much queued for a peer that does not read");
        return;
    }
    if (conn->tls == NULL) {
        buf_add(&conn->out, data);
    } else if (tls_write(conn->tls, data, &conn->out) != ERR_OK) {
        fail(conn, ERR_TLS, tls_failure(conn->tls));
        return;
    }
    if (conn->out.len >= FLUSH_NOW_BYTES) {
        flush(conn);
    }
    if (queued_bytes(conn) > CONN_WRITE_HIGH_BYTES) {
        conn->is_choked = true;
    }
    chore_start(conn->loop, &conn->turn_end);
}

bool conn_is_choked(const struct conn *conn)
{
    return conn->is_choked;
}

bool conn_is_tls(const struct conn *conn)
{
    return conn->tls != NULL;
}

bool conn_is_handshaking(const struct conn *conn)
{
    return conn->tls != NULL && !conn->is_tls_open;
}

bool conn_is_open(const struct conn *conn)
{
    return is_state(conn, CONN_STATE_OPEN) && !conn->is_shut && !conn_is_handshaking(conn);
}

void conn_pause(struct conn *conn)
{
    CHECK_LOOP(conn->loop);
    conn->wants_reading = false;
    update_reading(conn);
}

void conn_resume(struct conn *conn)
{
    CHECK_LOOP(conn->loop);
    conn->wants_reading = true;
    update_reading(conn);
}

void conn_set_deadline(struct conn *conn, uint64_t delay_ms)
{
    CHECK_LOOP(conn->loop);
    if (conn->has_failed || is_state(conn, CONN_STATE_CLOSING) ||
        is_state(conn, CONN_STATE_CLOSED)) {
        return;
    }
    if (delay_ms == 0) {
        timer_stop(&conn->deadline);
    } else {
        timer_start(&conn->deadline, delay_ms);
    }
}

void conn_close(struct conn *conn)
{
    CHECK_LOOP(conn->loop);
    if (is_state(conn, CONN_STATE_CLOSING) || is_state(conn, CONN_STATE_CLOSED)) {
        return;
    }
    if (is_state(conn, CONN_STATE_OPENING) || conn->is_dead) {
        destroy(conn);
        return;
    }
    if (conn->tls != NULL && conn->is_tls_open && !conn->is_shut) {
        tls_shutdown(conn->tls, &conn->out);
    }
    sm_move(&conn->sm, CONN_STATE_CLOSING);
    conn->is_shut = true;
    update_reading(conn);
    conn->flying_before = SIZE_MAX;
    timer_start(&conn->deadline, STALL_MS);
    chore_start(conn->loop, &conn->turn_end);
}

void conn_abort(struct conn *conn)
{
    CHECK_LOOP(conn->loop);
    if (!is_state(conn, CONN_STATE_CLOSED)) {
        destroy(conn);
    }
}

void conn_peer(const struct conn *conn, struct conn_addr *out)
{
    CHECK_LOOP(conn->loop);
    struct sockaddr_storage storage = {0};
    int len = sizeof(storage);
    if (conn->is_local || uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&storage, &len) != 0) {
        storage = (struct sockaddr_storage){0};
    }
    set_addr(out, &storage);
}

void conn_local(const struct conn *conn, struct conn_addr *out)
{
    CHECK_LOOP(conn->loop);
    struct sockaddr_storage storage = {0};
    int len = sizeof(storage);
    if (conn->is_local || uv_tcp_getsockname(&conn->tcp, (struct sockaddr *)&storage, &len) != 0) {
        storage = (struct sockaddr_storage){0};
    }
    set_addr(out, &storage);
}

size_t conn_addr_text(const struct conn_addr *addr, char out[ADDR_TEXT_MAX])
{
    struct ip ip = ip_of(addr);
    out[0] = '\0';
    if (ip.len > 0 &&
        inet_ntop(ip.len == 4 ? AF_INET : AF_INET6, ip.bytes, out, ADDR_TEXT_MAX) == NULL) {
        out[0] = '\0';
    }
    return strlen(out);
}

struct ip6 conn_addr_ip(const struct conn_addr *addr)
{
    char text[ADDR_TEXT_MAX];
    struct ip6 ip = {.bytes = {0}};
    err_ignore(ip6_parse(slice_of(text, conn_addr_text(addr, text)), &ip)); /* then there is none */
    return ip;
}

uint16_t conn_addr_port(const struct conn_addr *addr)
{
    switch (addr->storage.ss_family) {
    case AF_INET:
        return ntohs(((const struct sockaddr_in *)&addr->storage)->sin_port);
    case AF_INET6:
        return ntohs(((const struct sockaddr_in6 *)&addr->storage)->sin6_port);
    }
    return 0;
}

enum err conn_addr_parse(struct slice text, uint16_t default_port, struct conn_addr *out)
{
    struct slice host = slice_trim(text);
    struct slice port = {0};
    size_t colon = slice_rfind_byte(host, ':');
    bool has_port = false;
    if (slice_starts(host, SLICE("["))) {
        size_t end = slice_find_byte(host, ']');
        if (end == SIZE_MAX) {
            return ERR_INVALID;
        }
        port = slice_from(host, end + 1);
        host = slice_sub(host, 1, end - 1);
        has_port = port.len > 0;
        if ((has_port && port.data[0] != ':') || !slice_has_byte(host, ':')) {
            return ERR_INVALID;
        }
        port = slice_from(port, 1);
    } else if (colon != SIZE_MAX && slice_find_byte(host, ':') == colon) {
        port = slice_from(host, colon + 1);
        host = slice_head(host, colon);
        has_port = true;
    }
    uint64_t number = default_port;
    if (has_port && slice_uint(port, UINT16_MAX, &number) != ERR_OK) {
        return ERR_INVALID;
    }
    struct ip ip;
    if (ip_parse(host, &ip) != ERR_OK) {
        return ERR_INVALID;
    }
    struct sockaddr_storage storage = {0};
    if (ip.len == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)number);
        memcpy(&v4->sin_addr, ip.bytes, 4);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)number);
        memcpy(&v6->sin6_addr, ip.bytes, 16);
    }
    out->storage = storage;
    return ERR_OK;
}

bool conn_addr_is_loopback(const struct conn_addr *addr)
{
    struct ip ip = ip_of(addr);
    static const uint8_t v6_loopback[16] = {[15] = 1};
    return (ip.len == 4 && ip.bytes[0] == 127) ||
           (ip.len == 16 && memcmp(ip.bytes, v6_loopback, 16) == 0);
}

/* RFC 6890 and its registries. Of v6 only 2000::/3 is handed out (RFC 4291 2.4), so the rest is
 * refused whole. The v6 prefixes that carry a v4 address (NAT64 RFC 6052, 6to4 RFC 3056, Teredo RFC
 * 4380) would let a name reach a private v4 host through a translator; the carried address is
 * judged, Teredo is refused whole. */
bool conn_addr_is_private(const struct conn_addr *addr)
{
    static const struct slice private_nets[] = {
        SLICE_INIT("0.0.0.0/8"),      SLICE_INIT("10.0.0.0/8"),     SLICE_INIT("100.64.0.0/10"),
        SLICE_INIT("127.0.0.0/8"),    SLICE_INIT("169.254.0.0/16"), SLICE_INIT("172.16.0.0/12"),
        SLICE_INIT("192.0.0.0/24"),   SLICE_INIT("192.0.2.0/24"),   SLICE_INIT("192.88.99.0/24"),
        SLICE_INIT("192.168.0.0/16"), SLICE_INIT("198.18.0.0/15"),  SLICE_INIT("198.51.100.0/24"),
        SLICE_INIT("203.0.113.0/24"), SLICE_INIT("224.0.0.0/3"),    SLICE_INIT("::/3"),
        SLICE_INIT("4000::/2"),       SLICE_INIT("8000::/1"),       SLICE_INIT("2001::/23"),
        SLICE_INIT("2001:db8::/32"),  SLICE_INIT("3fff::/20"),
    };
    struct ip ip = ip_of(addr);
    if (ip.len == 0) {
        return true; /* no address is no public one */
    }
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (ip.len == 16 && memcmp(ip.bytes, nat64, sizeof(nat64)) == 0) {
        memmove(ip.bytes, ip.bytes + 12, 4);
        ip.len = 4;
    } else if (ip.len == 16 && ip.bytes[0] == 0x20 && ip.bytes[1] == 0x02) {
        memmove(ip.bytes, ip.bytes + 2, 4);
        ip.len = 4;
    }
    for (size_t i = 0; i < ARRAY_LEN(private_nets); i++) {
        bool is_inside = false;
        enum err err = ip_in_cidr(&ip, private_nets[i], &is_inside);
        CHECK(err == ERR_OK);
        if (is_inside) {
            return true;
        }
    }
    return false;
}

enum err conn_addr_in_cidr(const struct conn_addr *addr, struct slice cidr, bool *is_inside)
{
    struct ip ip = ip_of(addr);
    return ip_in_cidr(&ip, cidr, is_inside);
}

static void start(struct conn *conn, struct loop *loop, const struct conn_handler *handler,
                  bool is_local)
{
    CHECK_LOOP(loop);
    CHECK(handler->on_open != NULL && handler->on_data != NULL);
    CHECK(handler->on_fail != NULL && handler->on_closed != NULL);
    *conn = (struct conn){
        .loop = loop, .handler = handler, .wants_reading = true, .is_local = is_local};
    sm_init(&conn->sm, &machine, CONN_STATE_OPENING);
    timer_init(&conn->deadline, loop, on_deadline);
    chore_init(&conn->turn_end, on_turn_end);
    buf_init(&conn->out, CONN_WRITE_MAX_BYTES + CIPHER_SLACK);
    int status =
        is_local ? uv_pipe_init(&loop->uv, &conn->pipe, 0) : uv_tcp_init(&loop->uv, &conn->tcp);
    CHECK(status == 0); /* makes no socket yet */
    loop->conns_open++;
}

static bool is_state(const struct conn *conn, enum conn_state state)
{
    return conn->sm.state == state;
}

static size_t queued_bytes(const struct conn *conn)
{
    return conn->out.len + uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp);
}

static void open_for_use(struct conn *conn)
{
    sm_move(&conn->sm, CONN_STATE_OPEN);
    update_reading(conn);
    if (conn->tls == NULL) {
        conn->handler->on_open(conn);
    }
}

/* The one place that starts and stops reading. A closing conn reads only to find the peer's end. */
static void update_reading(struct conn *conn)
{
    bool is_wanted =
        (is_state(conn, CONN_STATE_OPEN) && conn->wants_reading && !conn->has_failed) ||
        (is_state(conn, CONN_STATE_CLOSING) && conn->is_lingering);
    uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
    if (!is_wanted) {
        (void)uv_read_stop(stream); /* always succeeds */
        return;
    }
    int status = uv_read_start(stream, on_room, on_read);
    if (status != 0 && status != UV_EALREADY) {
        take_end(conn, status);
    }
}

static void take_plain(struct conn *conn, struct slice data)
{
    if (data.len > 0 && is_state(conn, CONN_STATE_OPEN) && !conn->has_failed) {
        conn->handler->on_data(conn, data);
    }
}

static void take_cipher(struct conn *conn, struct slice data)
{
    struct buf *plain = &conn->loop->plain;
    buf_clear(plain);
    enum tls_state state = tls_feed(conn->tls, data, plain, &conn->out);
    if (conn->out.len > 0) {
        chore_start(conn->loop, &conn->turn_end);
    }
    if (!conn->is_tls_open && tls_has_opened(conn->tls)) {
        conn->is_tls_open = true;
        conn->handler->on_open(conn);
    }
    take_plain(conn, buf_slice(plain));
    switch (state) {
    case TLS_HANDSHAKE:
    case TLS_OPEN:
        break;
    case TLS_ENDED:
        if (conn->is_tls_open) {
            fail(conn, ERR_CLOSED, "closed by the peer");
        } else {
            fail(conn, ERR_TLS, "closed by the peer during the TLS handshake");
        }
        break;
    case TLS_FAILED:
        fail(conn, ERR_TLS, tls_failure(conn->tls));
        break;
    }
}

/* Reading has ended: end of file, or an error after which the socket is of no use. */
static void take_end(struct conn *conn, int status)
{
    bool is_peers_doing = status == UV_EOF || status == UV_ECONNRESET || status == UV_EPIPE ||
                          status == UV_ECONNABORTED;
    conn->has_eof = true;
    conn->is_dead |= status != UV_EOF;
    if (conn->is_lingering) {
        destroy(conn);
        return;
    }
    if (is_peers_doing && conn_is_handshaking(conn)) {
        fail(conn, ERR_TLS, "closed by the peer during the TLS handshake");
    } else if (status == UV_EOF) {
        fail(conn, ERR_CLOSED, "closed by the peer");
    } else {
        fail(conn, is_peers_doing ? ERR_CLOSED : ERR_IO, uv_strerror(status));
    }
}

/* Notes a failure; on_fail comes at the end of the turn, unless the session closes before. */
static void fail(struct conn *conn, enum err err, const char *why)
{
    CHECK(err != ERR_OK);
    if (conn->has_failed) {
        conn->is_shut |= err != ERR_TIMEOUT;
        return;
    }
    conn->has_failed = true;
    conn->is_shut |= err != ERR_TIMEOUT;
    conn->failed_with = err;
    (void)snprintf(conn->failure, sizeof(conn->failure), "%s", why);
    timer_stop(&conn->deadline);
    update_reading(conn);
    chore_start(conn->loop, &conn->turn_end);
}

static void flush(struct conn *conn)
{
    if (conn->is_flying || conn->is_dead || conn->out.len == 0) {
        return;
    }
    uv_buf_t all = uv_buf_init(conn->out.data, (unsigned)conn->out.len);
    int written = uv_try_write((uv_stream_t *)&conn->tcp, &all, 1);
    if (written == UV_EAGAIN) {
        written = 0;
    }
    if (written < 0) {
        write_failed(conn, written);
    } else if ((size_t)written == conn->out.len) {
        buf_fini(&conn->out);
        buf_init(&conn->out, CONN_WRITE_MAX_BYTES + CIPHER_SLACK);
    } else {
        fly(conn, (size_t)written);
    }
}

/* Gives the block to libuv; the bytes before `from` have been written. */
static void fly(struct conn *conn, size_t from)
{
    struct flight *flight = mem_alloc(sizeof(*flight));
    size_t len = 0;
    flight->conn = conn;
    flight->data = buf_steal(&conn->out, &len);
    uv_buf_t rest = uv_buf_init(flight->data + from, (unsigned)(len - from));
    int status = uv_write(&flight->req, (uv_stream_t *)&conn->tcp, &rest, 1, on_written);
    if (status != 0) {
        free(flight->data);
        free(flight);
        write_failed(conn, status);
        return;
    }
    conn->is_flying = true;
}

/* A server that refuses says why and closes; the reason may wait in our receive queue when our own
 * write meets the reset. So a conn that reads learns of the peer's end by reading. */
static void write_failed(struct conn *conn, int status)
{
    conn->is_dead = true;
    conn->is_shut = true;
    buf_clear(&conn->out);
    bool is_reset = status == UV_EPIPE || status == UV_ECONNRESET;
    if (is_state(conn, CONN_STATE_OPEN) &&
        !(is_reset && conn->wants_reading && !conn->has_failed)) {
        fail(conn, is_reset ? ERR_CLOSED : ERR_IO, uv_strerror(status));
    }
}

static void note_drain(struct conn *conn)
{
    if (conn->is_choked && queued_bytes(conn) < CONN_WRITE_HIGH_BYTES / 2) {
        conn->is_choked = false;
        if (is_state(conn, CONN_STATE_OPEN) && !conn->is_shut && conn->handler->on_drain != NULL) {
            conn->handler->on_drain(conn);
        }
    }
}

/* Brings the conn up to date: failures told, bytes offered to the socket, closing carried on. */
static void settle(struct conn *conn)
{
    if (conn->failed_with != ERR_OK &&
        (is_state(conn, CONN_STATE_OPEN) || is_state(conn, CONN_STATE_OPENING))) {
        enum err err = conn->failed_with;
        conn->failed_with = ERR_OK;
        conn->handler->on_fail(conn, err);
    }
    if (!is_state(conn, CONN_STATE_CLOSED)) {
        flush(conn);
        note_drain(conn);
    }
    if (is_state(conn, CONN_STATE_CLOSING)) {
        carry_on_closing(conn);
    }
}

static void carry_on_closing(struct conn *conn)
{
    if (conn->is_dead) {
        destroy(conn);
        return;
    }
    if (conn->is_lingering || conn->is_flying || conn->out.len > 0) {
        return;
    }
    uv_os_fd_t fd = -1;
    if (conn->has_eof || uv_fileno((const uv_handle_t *)&conn->tcp, &fd) != 0 ||
        shutdown(fd, SHUT_WR) == -1) {
        destroy(conn);
        return;
    }
    conn->is_lingering = true;
    timer_start(&conn->deadline, LINGER_MS);
    update_reading(conn);
}

static void destroy(struct conn *conn)
{
    sm_move(&conn->sm, CONN_STATE_CLOSED);
    timer_stop(&conn->deadline);
    chore_stop(&conn->turn_end);
    conn->is_shut = true;
    uv_close((uv_handle_t *)&conn->tcp, on_uv_closed);
}

static void on_turn_end(struct chore *chore)
{
    struct conn *conn = CONTAINER_OF(chore, struct conn, turn_end);
    if (conn->is_open_due) {
        conn->is_open_due = false;
        open_for_use(conn);
    }
    settle(conn);
}

static void on_deadline(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, deadline);
    if (!is_state(conn, CONN_STATE_CLOSING)) {
        fail(conn, ERR_TIMEOUT, "timed out");
        return;
    }
    size_t queued = queued_bytes(conn);
    if (conn->is_lingering || queued >= conn->flying_before) {
        destroy(conn);
        return;
    }
    conn->flying_before = queued;
    timer_start(timer, STALL_MS);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct connecting *connecting = CONTAINER_OF(req, struct connecting, req);
    struct conn *conn = connecting->conn;
    free(connecting);
    if (is_state(conn, CONN_STATE_CLOSED)) {
        return;
    }
    if (status != 0) {
        fail(conn, ERR_CONNECT, uv_strerror(status));
        return;
    }
    if (conn->has_failed) {
        return; /* timed out in the same turn; on_fail is on its way */
    }
    /* Fails on a connection that is just being reset; reading will tell. */
    (void)uv_tcp_nodelay(&conn->tcp, 1);
    open_for_use(conn);
}

static void on_room(uv_handle_t *handle, size_t suggested UNUSED, uv_buf_t *room)
{
    struct conn *conn = CONTAINER_OF(handle, struct conn, tcp);
    *room = uv_buf_init(conn->loop->read_block, CONN_READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *room)
{
    struct conn *conn = CONTAINER_OF(stream, struct conn, tcp);
    if (len < 0) {
        take_end(conn, (int)len);
    } else if (len > 0 && is_state(conn, CONN_STATE_OPEN) && !conn->has_failed) {
        struct slice data = slice_of(room->base, (size_t)len);
        if (conn->tls != NULL) {
            take_cipher(conn, data);
        } else {
            take_plain(conn, data);
        }
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct flight *flight = CONTAINER_OF(req, struct flight, req);
    struct conn *conn = flight->conn;
    free(flight->data);
    free(flight);
    conn->is_flying = false;
    if (is_state(conn, CONN_STATE_CLOSED)) {
        return;
    }
    if (status != 0) {
        write_failed(conn, status);
    }
    settle(conn);
}

static void on_uv_closed(uv_handle_t *handle)
{
    struct conn *conn = CONTAINER_OF(handle, struct conn, tcp);
    CHECK(is_state(conn, CONN_STATE_CLOSED));
    CHECK(!conn->is_flying);
    CHECK(conn->loop->conns_open > 0);
    conn->loop->conns_open--;
    tls_free(conn->tls);
    conn->tls = NULL;
    buf_fini(&conn->out);
    conn->handler->on_closed(conn);
}

/* v4 mapped into v6 (a client of a dual-stack listener) becomes plain v4, so that texts, ranges and
 * limits see one address. */
static void set_addr(struct conn_addr *out, const struct sockaddr_storage *from)
{
    struct conn_addr raw = {.storage = *from};
    struct ip ip = ip_of(&raw);
    if (from->ss_family == AF_INET6 && ip.len == 4) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(conn_addr_port(&raw))};
        memcpy(&v4.sin_addr, ip.bytes, 4);
        raw.storage = (struct sockaddr_storage){0};
        memcpy(&raw.storage, &v4, sizeof(v4));
    }
    *out = raw;
}

static struct ip ip_of(const struct conn_addr *addr)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct ip ip = {0};
    if (addr->storage.ss_family == AF_INET) {
        ip.len = 4;
        memcpy(ip.bytes, &((const struct sockaddr_in *)&addr->storage)->sin_addr, 4);
    } else if (addr->storage.ss_family == AF_INET6) {
        ip.len = 16;
        memcpy(ip.bytes, &((const struct sockaddr_in6 *)&addr->storage)->sin6_addr, 16);
        if (memcmp(ip.bytes, mapped, sizeof(mapped)) == 0) {
            memmove(ip.bytes, ip.bytes + 12, 4);
            ip.len = 4;
        }
    }
    return ip;
}

static enum err ip_parse(struct slice text, struct ip *out)
{
    char terminated[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(terminated) || slice_has_byte(text, '\0')) {
        return ERR_INVALID;
    }
    memcpy(terminated, text.data, text.len);
    terminated[text.len] = '\0';
    struct ip ip = {0};
    if (inet_pton(AF_INET, terminated, ip.bytes) == 1) {
        ip.len = 4;
    } else if (inet_pton(AF_INET6, terminated, ip.bytes) == 1) {
        ip.len = 16;
    } else {
        return ERR_INVALID;
    }
    *out = ip;
    return ERR_OK;
}

/* A bare address is a network of one. */
static enum err ip_in_cidr(const struct ip *ip, struct slice cidr, bool *is_inside)
{
    struct slice rest = slice_trim(cidr);
    bool has_bits = slice_has_byte(rest, '/');
    struct ip net;
    if (ip_parse(slice_cut(&rest, '/'), &net) != ERR_OK) {
        return ERR_INVALID;
    }
    uint64_t bits = net.len * 8U;
    if (has_bits && slice_uint(rest, net.len * 8U, &bits) != ERR_OK) {
        return ERR_INVALID;
    }
    *is_inside = false;
    if (ip->len != net.len) {
        return ERR_OK;
    }
    size_t whole = (size_t)bits / 8;
    if (memcmp(ip->bytes, net.bytes, whole) != 0) {
        return ERR_OK;
    }
    uint8_t mask = (uint8_t)(0xff00U >> (bits % 8));
    *is_inside = bits % 8 == 0 || ((ip->bytes[whole] ^ net.bytes[whole]) & mask) == 0;
    return ERR_OK;
}
