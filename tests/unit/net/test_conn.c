/* Plain streams on loopback: two conns of one loop, or a conn against a raw socket.
 *
 * Not covered here: TLS (test_conn_tls), addresses as text and ranges (test_conn_addr), a closing
 * conn whose peer stops reading for 30 s.
 */
#include "net/conn.h"

#include "base/clock.h"
#include "support/conn_world.h"

#include <errno.h>
#include <signal.h>

static void check_addresses(struct side *side)
{
    struct conn_addr peer;
    struct conn_addr local;
    char text[ADDR_TEXT_MAX];
    conn_peer(&side->conn, &peer);
    conn_local(&side->conn, &local);
    cr_assert_eq(conn_addr_text(&peer, text), strlen("127.0.0.1"));
    cr_assert_str_eq(text, "127.0.0.1");
    cr_assert_eq(conn_addr_port(&local), side->world->listener.tcp_port);
    cr_assert_neq(conn_addr_port(&peer), conn_addr_port(&local));
}

Test(conn, echoes_and_closes_in_order)
{
    struct world world;
    world_init(&world,
               (struct plan){.on_open = check_addresses, .on_data = echo, .on_fail = close_on_fail},
               (struct plan){.on_open = say_hello, .on_data = close_on_data});
    world_connect(&world);
    world_run(&world);
    cr_assert(got(&world.server, "hello"));
    cr_assert(got(&world.client, "hello"));
    cr_assert_eq(world.server.failed, ERR_CLOSED);
    cr_assert_eq(world.client.fails, 0);
    cr_assert_eq(world.server.opens + world.client.opens, 2);
    cr_assert_eq(world.server.closes, 1);
    cr_assert_eq(world.client.closes, 1);
    world_fini(&world);
}

static void write_many(struct side *side, struct slice data UNUSED)
{
    for (uint32_t i = 0; i < 1000; i++) {
        conn_write(&side->conn, str("0123456789"));
    }
    conn_close(&side->conn);
    conn_write(&side->conn, str("after the close"));
}

Test(conn, gathers_the_writes_of_a_turn)
{
    struct world world;
    world_init(&world, (struct plan){.on_data = write_many},
               (struct plan){.on_open = say_hello, .on_fail = close_on_fail});
    world_connect(&world);
    world_run(&world);
    cr_assert_eq(world.client.got.len, 10000);
    cr_assert_eq(world.client.reads, 1);
    cr_assert_eq(world.client.failed, ERR_CLOSED);
    world_fini(&world);
}

static void check_no_memory(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    cr_assert_null(world->server.conn.out.data);
    cr_assert_null(world->client.conn.out.data);
    conn_close(&world->client.conn);
}

static void pause_a_while(struct side *side, struct slice data UNUSED)
{
    world_step(side->world, check_no_memory, 1);
}

_Static_assert(sizeof(struct conn) < 1024, "an idle plain connection is small");

Test(conn, holds_no_buffer_while_idle)
{
    struct world world;
    world_init(&world, (struct plan){.on_data = echo},
               (struct plan){.on_open = say_hello, .on_data = pause_a_while});
    world_connect(&world);
    world_run(&world);
    world_fini(&world);
}

static void resume_client(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    cr_assert(conn_is_choked(&world->server.conn));
    cr_assert_eq(world->client.reads, 0);
    conn_resume(&world->client.conn);
}

static void pause_plain_client(struct side *side)
{
    conn_pause(&side->conn);
    world_step(side->world, resume_client, 5);
}

Test(conn, chokes_the_writer_until_a_slow_reader_drains)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = pump_out, .on_drain = pump_out},
               (struct plan){.on_open = pause_plain_client, .on_fail = close_on_fail});
    world.wanted = 8000000;
    world_connect(&world);
    world_run(&world);
    check_pattern(&world.client, world.wanted);
    cr_assert_gt(world.server.drains, 0);
    cr_assert_eq(world.client.failed, ERR_CLOSED);
    world_fini(&world);
}

static void write_too_much(struct side *side)
{
    struct buf block;
    buf_init(&block, 8 << 20);
    memset(buf_room(&block, 8 << 20), 'x', 8 << 20);
    buf_grew(&block, 8 << 20);
    for (uint32_t i = 0; i < 12; i++) {
        conn_write(&side->conn, buf_slice(&block));
    }
    buf_fini(&block);
    cr_assert_eq(side->fails, 0, "on_fail inside conn_write");
    cr_assert_not(conn_is_open(&side->conn));
}

static void abort_both(struct side *side, enum err err UNUSED)
{
    conn_abort(&side->world->client.conn);
    conn_abort(&side->world->server.conn);
}

static void pause_it(struct side *side)
{
    conn_pause(&side->conn);
}

Test(conn, fails_when_the_writer_ignores_the_choke)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = write_too_much, .on_fail = abort_both},
               (struct plan){.on_open = pause_it});
    world_connect(&world);
    world_run(&world);
    cr_assert_eq(world.server.failed, ERR_IO);
    cr_assert_eq(world.server.closes, 1);
    world_fini(&world);
}

Test(conn, says_why_it_could_not_connect)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){0});
    /* Bound, but not listening. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    memcpy(&world.addr.storage, &addr, sizeof(addr));
    world_connect(&world);
    world_run(&world);
    cr_assert_eq(world.client.failed, ERR_CONNECT);
    cr_assert_str_eq(world.client.conn.failure, "connection refused");
    cr_assert_eq(world.client.opens, 0);
    cr_assert_eq(world.client.closes, 1);
    cr_assert_eq(close(fd), 0);
    world_fini(&world);
}

Test(conn, fails_later_on_an_address_that_cannot_be_connected)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){0});
    world.addr.storage.ss_family = AF_INET6; /* port and address are nonsense now */
    memset((char *)&world.addr.storage + sizeof(sa_family_t), 0xff, 26);
    world_connect(&world);
    cr_assert_eq(world.client.fails, 0);
    world_run(&world);
    cr_assert_eq(world.client.failed, ERR_CONNECT);
    world_fini(&world);
}

struct abort_case {
    const char *name;
    struct plan server;
    struct plan client;
};

Test(conn, may_be_aborted_in_any_callback)
{
    static const struct abort_case cases[] = {
        {"server, on_open", {.on_open = abort_it}, {.on_open = say_hello}},
        {"server, on_data", {.on_data = abort_on_data}, {.on_open = say_hello}},
        {"client, on_open", {0}, {.on_open = abort_it}},
        {"client, on_data", {.on_open = say_hello}, {.on_data = abort_on_data}},
        {"server closes in on_open", {.on_open = close_it}, {.on_open = say_hello}},
        {"server aborts in on_drain",
         {.on_open = pump_out, .on_drain = abort_it},
         {.on_open = pause_plain_client}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world world;
        world_init(&world, cases[i].server, cases[i].client);
        world.wanted = 10000000;
        world_connect(&world);
        world_run(&world);
        cr_assert_eq(world.server.closes, 1, "%s", cases[i].name);
        cr_assert_eq(world.client.closes, 1, "%s", cases[i].name);
        world_fini(&world);
    }
}

Test(conn, may_be_aborted_while_connecting)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){0});
    world_connect(&world);
    conn_close(&world.client.conn);
    cr_assert_eq(world.client.closes, 0, "on_closed inside conn_close");
    world_run(&world);
    cr_assert_eq(world.client.opens, 0);
    cr_assert_eq(world.client.closes, 1);
    world_fini(&world);
}

Test(conn, fails_when_written_before_it_is_open)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){0});
    world_connect(&world);
    conn_write(&world.client.conn, str("too early"));
    world_run(&world);
    cr_assert_eq(world.client.failed, ERR_IO);
    cr_assert_eq(world.client.opens, 0);
    world_fini(&world);
}

/* ---- deadlines --------------------------------------------------------------------------------
 */

static void set_deadline(struct side *side)
{
    conn_set_deadline(&side->conn, 10);
}

static void say_goodbye(struct side *side, enum err err UNUSED)
{
    cr_assert(conn_is_open(&side->conn));
    conn_write(&side->conn, str("421 too slow"));
    conn_close(&side->conn);
}

Test(conn, may_still_write_when_the_deadline_passed)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = set_deadline, .on_fail = say_goodbye},
               (struct plan){.on_fail = close_on_fail});
    world_connect(&world);
    world_run(&world);
    cr_assert_eq(world.server.failed, ERR_TIMEOUT);
    cr_assert(got(&world.client, "421 too slow"));
    cr_assert_eq(world.client.failed, ERR_CLOSED);
    world_fini(&world);
}

static void move_deadline(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    world->steps++;
    if (world->steps < 8) {
        conn_set_deadline(&world->server.conn, 10);
        timer_start(timer, 3);
    } else if (world->steps == 8) {
        conn_set_deadline(&world->server.conn, 0);
        timer_start(timer, 20);
    } else {
        conn_close(&world->client.conn);
    }
}

Test(conn, forgets_a_deadline_that_is_moved_or_switched_off)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = set_deadline}, (struct plan){0});
    world_connect(&world);
    world_step(&world, move_deadline, 3);
    world_run(&world);
    cr_assert_eq(world.steps, 9);
    cr_assert_eq(world.server.failed, ERR_CLOSED);
    world_fini(&world);
}

/* ---- peers that leave badly --------------------------------------------------------------------
 */

static void reset_soon(struct side *side)
{
    world_step(side->world, reset_raw, 0);
}

Test(conn, tells_a_reset_by_the_peer)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = reset_soon}, (struct plan){0});
    world_connect_raw(&world);
    world_run(&world);
    cr_assert_eq(world.server.failed, ERR_CLOSED);
    cr_assert_str_eq(world.server.conn.failure, "connection reset by peer");
    world_fini(&world);
}

static void answer_and_wait(struct side *side, struct slice data UNUSED)
{
    conn_write(&side->conn, str("answer"));
}

static void write_when_closed(struct side *side, enum err err)
{
    cr_assert_eq(err, ERR_CLOSED);
    cr_assert_not(conn_is_open(&side->conn));
    conn_write(&side->conn, str("ignored"));
    conn_close(&side->conn);
}

Test(conn, answers_a_peer_that_closed_its_sending_half)
{
    struct world world;
    world_init(&world, (struct plan){.on_data = answer_and_wait, .on_fail = write_when_closed},
               (struct plan){0});
    world_connect_raw(&world);
    raw_send(&world, "request");
    cr_assert_eq(shutdown(world.raw, SHUT_WR), 0);
    world_run(&world);
    char text[100] = "";
    cr_assert_eq(recv(world.raw, text, sizeof(text), MSG_WAITALL), 6);
    cr_assert_str_eq(text, "answer");
    world_fini(&world);
}

/* The raw peer refuses and leaves with our bytes unread, which resets the connection; then the
 * server, not knowing, writes. */
static void refuse_then_write(struct side *side)
{
    static char block[100000];
    raw_send(side->world, "554 no");
    raw_reset(side->world);
    conn_write(&side->conn, slice_of(block, sizeof(block)));
    conn_write(&side->conn, slice_of(block, sizeof(block)));
    cr_assert_eq(side->fails, 0);
}

Test(conn, reads_the_refusal_that_came_before_a_reset)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = refuse_then_write}, (struct plan){0});
    world_connect_raw(&world);
    world_run(&world);
    cr_assert_eq(world.server.failed, ERR_CLOSED);
    cr_assert(got(&world.server, "554 no"));
    world_fini(&world);
}

Test(conn, takes_a_socket_that_was_reset_before_it_was_accepted)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){0});
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    world.server.is_in_use = true;
    enum err err = conn_accept(&world.server.conn, &world.loop, fd, NULL, &handler);
    cr_assert_eq(err, ERR_IO);
    cr_assert_eq(world.server.closes, 0);
    world_run(&world);
    cr_assert_eq(world.server.closes, 1);
    cr_assert_eq(world.server.opens + world.server.fails, 0);
    world_fini(&world);
}

static void keep_sending(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    if (world->steps++ < 5) {
        raw_send(world, "more of the body that nobody wants");
        timer_start(timer, 1);
        return;
    }
    char text[100] = "";
    cr_assert_eq(recv(world->raw, text, sizeof(text), MSG_WAITALL), 13, "%s", strerror(errno));
    cr_assert_str_eq(text, "413 too large");
    raw_close(world);
}

static void refuse_body(struct side *side, struct slice data UNUSED)
{
    conn_write(&side->conn, str("413 too large"));
    conn_close(&side->conn);
    world_step(side->world, keep_sending, 1);
}

Test(conn, keeps_its_last_answer_safe_from_late_bytes)
{
    struct world world;
    world_init(&world, (struct plan){.on_data = refuse_body}, (struct plan){0});
    world_connect_raw(&world);
    raw_send(&world, "POST");
    world_run(&world);
    cr_assert_eq(world.server.reads, 1);
    cr_assert_eq(world.server.fails, 0);
    world_fini(&world);
}

static void pass_a_second(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    cr_assert_eq(world->server.closes, 0);
    clock_set_fake(clock_mono_ms() + (world->steps == 0 ? 999 : 1), clock_unix_ms());
    if (world->steps++ == 0) {
        timer_start(timer, 0);
    }
}

static void close_and_pass_time(struct side *side)
{
    conn_close(&side->conn);
    world_step(side->world, pass_a_second, 0);
}

Test(conn, waits_a_second_at_most_for_the_peers_end)
{
    struct world world;
    clock_set_fake(1000, 1000);
    world_init(&world, (struct plan){.on_open = close_and_pass_time}, (struct plan){0});
    world_connect_raw(&world);
    world_run(&world);
    cr_assert_eq(world.server.closes, 1);
    world_fini(&world);
    clock_set_fake(0, 0);
}
