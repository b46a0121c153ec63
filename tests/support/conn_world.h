/* conn_world.h - two ends of a stream on one loop, for tests of conn.
 *
 * A world has a loop, a listener on loopback and two sides; a plan says what a side does in each
 * callback. Or one side is a raw socket of the test's own, which misbehaves. The harness checks on
 * every callback what always must hold: nothing before on_open, nothing after on_fail but
 * on_closed, on_closed once. A story that does not end within five seconds fails. Header-only.
 */
#ifndef SUPPORT_CONN_WORLD_H
#define SUPPORT_CONN_WORLD_H

#include "base/limits.h"
#include "net/conn.h"
#include "net/listen.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct world;
struct side;

/* What a side does; NULL does nothing, but on_fail's default is to abort. */
struct plan {
    void (*on_open)(struct side *side);
    void (*on_data)(struct side *side, struct slice data);
    void (*on_drain)(struct side *side);
    void (*on_fail)(struct side *side, enum err err);
};

struct side {
    struct conn conn;
    struct world *world;
    struct plan plan;
    struct buf got;
    enum err failed;
    uint32_t opens;
    uint32_t reads;
    uint32_t drains;
    uint32_t fails;
    uint32_t closes;
    bool is_in_use;
};

struct world {
    struct loop loop;
    struct listener listener;
    struct conn_addr addr; /* of the listener */
    struct side server;
    struct side client;
    struct tls_context *server_tls;
    struct tls_context *client_tls;
    struct timer watchdog;
    struct timer step;
    int raw; /* a socket of the test's own */
    bool accepts_tls;
    uint32_t steps;
    size_t wanted; /* bytes that end a transfer */
    size_t sent;
};

static inline struct slice str(const char *text)
{
    return slice_str(text);
}

static inline void on_listener_closed(struct listener *listener)
{
    loop_stop(listener->loop);
}

static inline void end_when_all_closed(struct world *world)
{
    if (!world->server.is_in_use && !world->client.is_in_use && world->listener.is_open) {
        listener_close(&world->listener, on_listener_closed);
    }
}

static inline void on_open(struct conn *conn)
{
    struct side *side = CONTAINER_OF(conn, struct side, conn);
    side->opens++;
    cr_assert_eq(side->closes, 0);
    if (side->plan.on_open != NULL) {
        side->plan.on_open(side);
    }
}

static inline void on_data(struct conn *conn, struct slice data)
{
    struct side *side = CONTAINER_OF(conn, struct side, conn);
    cr_assert_gt(side->opens, 0, "data before on_open");
    cr_assert_eq(side->fails, 0, "data after on_fail");
    cr_assert_eq(side->closes, 0);
    cr_assert_gt(data.len, 0);
    side->reads++;
    buf_add(&side->got, data);
    if (side->plan.on_data != NULL) {
        side->plan.on_data(side, data);
    }
}

static inline void on_drain(struct conn *conn)
{
    struct side *side = CONTAINER_OF(conn, struct side, conn);
    cr_assert_not(conn_is_choked(conn));
    side->drains++;
    if (side->plan.on_drain != NULL) {
        side->plan.on_drain(side);
    }
}

static inline void on_fail(struct conn *conn, enum err err)
{
    struct side *side = CONTAINER_OF(conn, struct side, conn);
    side->fails++;
    side->failed = err;
    cr_assert_str_neq(conn->failure, "");
    if (side->plan.on_fail != NULL) {
        side->plan.on_fail(side, err);
    } else {
        conn_abort(conn);
    }
}

static inline void on_closed(struct conn *conn)
{
    struct side *side = CONTAINER_OF(conn, struct side, conn);
    side->closes++;
    side->is_in_use = false;
    end_when_all_closed(side->world);
}

static const struct conn_handler handler = {
    .on_open = on_open,
    .on_data = on_data,
    .on_drain = on_drain,
    .on_fail = on_fail,
    .on_closed = on_closed,
};

static inline void on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct world *world = CONTAINER_OF(listener, struct world, listener);
    world->server.is_in_use = true;
    enum err err = conn_accept(&world->server.conn, &world->loop, socket,
                               world->accepts_tls ? world->server_tls : NULL, &handler);
    cr_assert_eq(err, ERR_OK);
    cr_assert_eq(world->server.opens, 0, "on_open inside conn_accept");
}

static inline void on_watchdog(struct timer *timer UNUSED)
{
    cr_assert(false, "the story never ended");
}

static inline void side_init(struct side *side, struct world *world)
{
    side->world = world;
    buf_init(&side->got, 256 << 20);
}

static inline void world_init(struct world *world, struct plan server, struct plan client)
{
    *world = (struct world){.raw = -1};
    loop_init(&world->loop, "test", 0);
    side_init(&world->server, world);
    side_init(&world->client, world);
    world->server.plan = server;
    world->client.plan = client;
    timer_init(&world->watchdog, &world->loop, on_watchdog);
    timer_start(&world->watchdog, 5000);
    struct conn_addr addr;
    cr_assert_eq(conn_addr_parse(str("127.0.0.1:0"), 0, &addr), ERR_OK);
    cr_assert_eq(listener_open(&world->listener, &world->loop, &addr, on_accept), ERR_OK);
    char text[32];
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", world->listener.tcp_port);
    cr_assert_eq(conn_addr_parse(str(text), 0, &world->addr), ERR_OK);
}

static inline void world_connect(struct world *world)
{
    world->client.is_in_use = true;
    conn_connect(&world->client.conn, &world->loop, (const struct sockaddr *)&world->addr.storage,
                 &handler);
}

/* A blocking socket connected to the listener; the kernel completes it without us accepting. */
static inline void world_connect_raw(struct world *world)
{
    world->raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(world->raw, -1);
    cr_assert_eq(connect(world->raw, (const struct sockaddr *)&world->addr.storage,
                         sizeof(struct sockaddr_in)),
                 0);
}

static inline void raw_send(struct world *world, const char *text)
{
    size_t len = strlen(text);
    cr_assert_eq(send(world->raw, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void raw_close(struct world *world)
{
    cr_assert_eq(close(world->raw), 0);
    world->raw = -1;
}

static inline void raw_reset(struct world *world)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    cr_assert_eq(setsockopt(world->raw, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    raw_close(world);
}

static inline void world_step(struct world *world, timer_fn *step, uint64_t delay_ms)
{
    timer_init(&world->step, &world->loop, step);
    timer_start(&world->step, delay_ms);
}

static inline void world_run(struct world *world)
{
    loop_run(&world->loop);
    cr_assert_eq(world->loop.conns_open, 0);
    cr_assert_leq(world->server.fails, 1);
    cr_assert_leq(world->client.fails, 1);
}

static inline void world_fini(struct world *world)
{
    timer_stop(&world->watchdog);
    if (world->raw != -1) {
        raw_close(world);
    }
    tls_context_drop(world->server_tls);
    tls_context_drop(world->client_tls);
    buf_fini(&world->server.got);
    buf_fini(&world->client.got);
    loop_fini(&world->loop);
}

static inline bool got(const struct side *side, const char *text)
{
    return slice_equal(buf_slice(&side->got), str(text));
}

/* ---- building blocks of plans -----------------------------------------------------------------
 */

static inline void echo(struct side *side, struct slice data)
{
    conn_write(&side->conn, data);
}

static inline void say_hello(struct side *side)
{
    conn_write(&side->conn, str("hello"));
}

static inline void close_it(struct side *side)
{
    conn_close(&side->conn);
}

static inline void abort_it(struct side *side)
{
    conn_abort(&side->conn);
}

static inline void close_on_data(struct side *side, struct slice data UNUSED)
{
    conn_close(&side->conn);
}

static inline void abort_on_data(struct side *side, struct slice data UNUSED)
{
    conn_abort(&side->conn);
    conn_write(&side->conn, str("ignored"));
    conn_close(&side->conn);
    conn_abort(&side->conn);
}

static inline void close_on_fail(struct side *side, enum err err UNUSED)
{
    conn_close(&side->conn);
}

/* The server writes `wanted` bytes in chunks, pausing whenever it is choked. */
static inline void pump_out(struct side *side)
{
    static char chunk[100000];
    struct world *world = side->world;
    while (world->sent < world->wanted && !conn_is_choked(&side->conn)) {
        size_t len = min_size(sizeof(chunk), world->wanted - world->sent);
        memset(chunk, (char)('a' + world->sent / sizeof(chunk) % 26), len);
        conn_write(&side->conn, slice_of(chunk, len));
        world->sent += len;
    }
    if (world->sent == world->wanted) {
        conn_close(&side->conn);
    }
}

static inline void check_pattern(const struct side *side, size_t len)
{
    cr_assert_eq(side->got.len, len);
    for (size_t i = 0; i < len; i += 997) {
        cr_assert_eq(side->got.data[i], (char)('a' + i / 100000 % 26));
    }
}

static inline void reset_raw(struct timer *timer)
{
    raw_reset(CONTAINER_OF(timer, struct world, step));
}

#endif
