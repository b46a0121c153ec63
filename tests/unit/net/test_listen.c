/* Not covered here: what becomes of an accepted socket (test_conn); the kernel's spreading of
 * connections over listeners. */
#include "net/listen.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    struct loop loop;
    struct listener listener;
    struct timer step;
    uint32_t accepted;
    uint32_t wanted; /* accepts that end the story */
    uint32_t steps;
    uint32_t closed;
    int client;
};

static void on_closed(struct listener *listener)
{
    struct world *world = CONTAINER_OF(listener, struct world, listener);
    world->closed++;
    loop_stop(&world->loop);
}

static void on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct world *world = CONTAINER_OF(listener, struct world, listener);
    world->accepted++;
    cr_assert_eq(close(socket), 0);
    if (world->accepted == world->wanted) {
        listener_close(listener, on_closed);
    }
}

static struct conn_addr any_port(const char *ip)
{
    struct conn_addr addr;
    cr_assert_eq(conn_addr_parse(slice_str(ip), 0, &addr), ERR_OK);
    return addr;
}

static void world_init(struct world *world, const char *ip)
{
    *world = (struct world){.client = -1};
    loop_init(&world->loop, "test", 0);
    struct conn_addr addr = any_port(ip);
    cr_assert_eq(listener_open(&world->listener, &world->loop, &addr, on_accept), ERR_OK);
    cr_assert_neq(world->listener.tcp_port, 0);
}

/* The kernel completes it from the backlog. */
static int connect_to(uint16_t tcp_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(tcp_port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_neq(fd, -1);
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s", strerror(errno));
    return fd;
}

static void close_fd(int fd)
{
    cr_assert_eq(close(fd), 0);
}

static bool is_at_end(int fd)
{
    char byte = 0;
    return recv(fd, &byte, 1, 0) <= 0;
}

Test(listen, accepts_all_who_wait)
{
    struct world world;
    world_init(&world, "127.0.0.1");
    int clients[100];
    world.wanted = ARRAY_LEN(clients);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = connect_to(world.listener.tcp_port);
    }
    loop_run(&world.loop);
    cr_assert_eq(world.accepted, ARRAY_LEN(clients));
    cr_assert_eq(world.closed, 1);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        close_fd(clients[i]);
    }
    loop_fini(&world.loop);
}

Test(listen, takes_no_more_once_closed_in_its_callback)
{
    struct world world;
    world_init(&world, "127.0.0.1");
    int first = connect_to(world.listener.tcp_port);
    int second = connect_to(world.listener.tcp_port);
    world.wanted = 1;
    loop_run(&world.loop);
    cr_assert_eq(world.accepted, 1);
    close_fd(first);
    close_fd(second);
    loop_fini(&world.loop);
}

Test(listen, serves_v4_on_the_unspecified_v6_address)
{
    struct world world;
    world_init(&world, "::");
    int client = connect_to(world.listener.tcp_port);
    world.wanted = 1;
    loop_run(&world.loop);
    cr_assert_eq(world.accepted, 1);
    close_fd(client);
    loop_fini(&world.loop);
}

Test(listen, shares_its_port_with_the_next_loops_listener)
{
    struct world world;
    struct world other;
    world_init(&world, "127.0.0.1");
    other = (struct world){.client = -1};
    loop_init(&other.loop, "other", 1);
    char text[32];
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", world.listener.tcp_port);
    struct conn_addr addr = any_port(text);
    cr_assert_eq(listener_open(&other.listener, &other.loop, &addr, on_accept), ERR_OK);
    cr_assert_eq(other.listener.tcp_port, world.listener.tcp_port);
    listener_close(&world.listener, on_closed);
    listener_close(&other.listener, on_closed);
    loop_run(&world.loop);
    loop_run(&other.loop);
    cr_assert_eq(world.closed + other.closed, 2);
    loop_fini(&world.loop);
    loop_fini(&other.loop);
}

/* Two sockets of one address, as a daemon with two loops leaves them, and one loop for both. */
Test(listen, accepts_from_all_sockets_that_it_shares)
{
    struct world world = {.client = -1};
    struct conn_addr addr = any_port("127.0.0.1:0");
    int fds[2];
    int clients[40];
    loop_init(&world.loop, "test", 0);
    cr_assert_eq(listen_socket(&addr, &fds[0]), ERR_OK);
    cr_assert_eq(listen_address(fds[0], &addr), ERR_OK);
    cr_assert_eq(listen_socket(&addr, &fds[1]), ERR_OK);
    cr_assert_eq(listener_share(&world.listener, &world.loop, fds, 2, on_accept), ERR_OK);
    cr_assert_eq(world.listener.tcp_port, conn_addr_port(&addr));
    world.wanted = ARRAY_LEN(clients); /* the kernel puts some into each */
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = connect_to(world.listener.tcp_port);
    }
    loop_run(&world.loop);
    cr_assert_eq(world.accepted, ARRAY_LEN(clients));
    cr_assert_eq(world.closed, 1);

    int late = connect_to(conn_addr_port(&addr)); /* the sockets are still the caller's */
    close_fd(late);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        close_fd(clients[i]);
    }
    close_fd(fds[0]);
    close_fd(fds[1]);
    loop_fini(&world.loop);
}

Test(listen, tells_when_the_address_cannot_be_had)
{
    struct world world = {.client = -1};
    loop_init(&world.loop, "test", 0);
    struct conn_addr foreign = any_port("192.0.2.1");
    cr_assert_eq(listener_open(&world.listener, &world.loop, &foreign, on_accept), ERR_IO);

    /* A port of somebody who does not share. */
    int taken = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    cr_assert_eq(bind(taken, (struct sockaddr *)&in, len), 0);
    cr_assert_eq(getsockname(taken, (struct sockaddr *)&in, &len), 0);
    cr_assert_eq(listen(taken, 1), 0);
    struct conn_addr addr = {0};
    memcpy(&addr.storage, &in, sizeof(in));
    cr_assert_eq(listener_open(&world.listener, &world.loop, &addr, on_accept), ERR_IO);

    listener_close(&world.listener, on_closed); /* harmless: at once */
    cr_assert_eq(world.closed, 1);
    loop_run(&world.loop);
    close_fd(taken);
    loop_fini(&world.loop);
}

static void end_story(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    listener_close(&world->listener, on_closed);
}

Test(listen, closes_newcomers_at_once_when_the_loop_is_full)
{
    struct world world;
    world_init(&world, "127.0.0.1");
    world.loop.conns_open = CONNS_PER_LOOP_MAX;
    int client = connect_to(world.listener.tcp_port);
    timer_init(&world.step, &world.loop, end_story);
    timer_start(&world.step, 5);
    loop_run(&world.loop);
    cr_assert_eq(world.accepted, 0);
    cr_assert(is_at_end(client));
    close_fd(client);
    world.loop.conns_open = 0;
    loop_fini(&world.loop);
}

static void set_fd_limit(rlim_t count)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void give_back_fds(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    cr_assert_eq(world->accepted, 0);
    cr_assert(timer_is_on(&world->listener.pause), "it does not spin on the full table");
    set_fd_limit(1024);
}

Test(listen, survives_running_out_of_file_descriptors)
{
    struct world world;
    world_init(&world, "127.0.0.1");
    world.wanted = 1;
    int client = connect_to(world.listener.tcp_port);
    int next = dup(client); /* the lowest free number */
    close_fd(next);
    set_fd_limit((rlim_t)next);
    timer_init(&world.step, &world.loop, give_back_fds);
    timer_start(&world.step, 20);
    loop_run(&world.loop);
    cr_assert_eq(world.accepted, 1);
    close_fd(client);
    loop_fini(&world.loop);
}
