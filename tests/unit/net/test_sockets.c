/* Not covered here: what processes do with the sockets (flow/test_handover.c), and accepting from
 * them (test_listen.c).
 */
#include "net/sockets.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

struct scene {
    struct conf conf;
    struct sockets *sockets;
};

static void begin(struct scene *scene)
{
    char *argv[] = {(char[]){"meerkatd"}};
    log_set_level(LOG_LEVEL_ERROR);
    cr_assert(conf_load(&scene->conf, 1, argv));
    cr_assert(conf_set(&scene->conf, SLICE("http_listen"), SLICE("127.0.0.1:0")));
    scene->sockets = mem_zalloc(sizeof *scene->sockets);
}

static void end(struct scene *scene)
{
    sockets_close(scene->sockets);
    sockets_close(scene->sockets); /* a second time is nothing */
    conf_fini(&scene->conf);
    free(scene->sockets);
}

static void set(struct scene *scene, const char *name, const char *value)
{
    cr_assert(conf_set(&scene->conf, slice_str(name), slice_str(value)));
}

static int listening(uint16_t *tcp_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, len), 0);
    cr_assert_eq(listen(fd, 8), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *tcp_port = ntohs(addr.sin_port);
    return fd;
}

static bool can_connect(uint16_t tcp_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(tcp_port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    bool is_good = connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0;
    cr_assert_eq(close(fd), 0);
    return is_good;
}

static bool is_open(int fd)
{
    int type;
    socklen_t len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

Test(sockets, opens_one_for_each_loop_on_one_port)
{
    struct scene scene;
    begin(&scene);
    set(&scene, "submission_listen", "127.0.0.1:0, 127.0.0.1:0");
    cr_assert_eq(sockets_open(scene.sockets, &scene.conf, 3), ERR_OK);
    const struct socket_group *http = sockets_find(scene.sockets, SOCKET_HTTP, 0);
    const struct socket_group *second = sockets_find(scene.sockets, SOCKET_SUBMISSION, 1);
    cr_assert_not_null(http);
    cr_assert_not_null(second);
    cr_assert_eq(http->fd_count, 3);
    cr_assert_neq(conn_addr_port(&http->addr), 0);
    cr_assert_neq(conn_addr_port(&http->addr), conn_addr_port(&second->addr));
    cr_assert_null(sockets_find(scene.sockets, SOCKET_SUBMISSION, 2));
    cr_assert_null(sockets_find(scene.sockets, SOCKET_HTTPS, 0));
    end(&scene);
}

/* Connections that the kernel puts into a socket that no loop has would wait for ever. */
Test(sockets, leaves_no_socket_without_a_loop_and_no_loop_without_a_socket)
{
    struct socket_group group = {.kind = SOCKET_HTTP};
    for (int i = 0; i < LOOP_COUNT_MAX; i++) {
        group.fds[i] = 100 + i;
    }
    for (group.fd_count = 1; group.fd_count <= LOOP_COUNT_MAX; group.fd_count++) {
        for (uint32_t loops = 1; loops <= LOOP_COUNT_MAX; loops++) {
            uint64_t seen = 0;
            for (uint32_t loop = 0; loop < loops; loop++) {
                int fds[LOOP_COUNT_MAX];
                uint32_t count = sockets_of_loop(&group, loop, loops, fds);
                cr_assert_gt(count, 0);
                for (uint32_t i = 0; i < count; i++) {
                    seen |= UINT64_C(1) << (fds[i] - 100);
                }
            }
            cr_assert_eq(seen, (UINT64_C(1) << group.fd_count) - 1, "%u sockets, %u loops",
                         (unsigned)group.fd_count, (unsigned)loops);
        }
    }
}

Test(sockets, takes_what_was_passed_by_its_address_and_its_name)
{
    static const struct {
        const char *name;
        bool is_taken;
    } rows[] = {{"http", true}, {"", true}, {"meerkatd.socket", true}, {"https", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scene scene;
        uint16_t tcp_port;
        char where[32];
        begin(&scene);
        int fd = listening(&tcp_port);
        (void)snprintf(where, sizeof where, "127.0.0.1:%u", tcp_port);
        set(&scene, "http_listen", rows[i].is_taken ? where : "127.0.0.1:0");
        cr_assert_eq(sockets_pass(scene.sockets, slice_str(rows[i].name), fd), ERR_OK);
        scene.sockets->is_held = true;
        cr_assert_eq(sockets_open(scene.sockets, &scene.conf, 2), ERR_OK);
        const struct socket_group *http = sockets_find(scene.sockets, SOCKET_HTTP, 0);
        cr_assert_eq(conn_addr_port(&http->addr) == tcp_port, rows[i].is_taken, "row %zu", i);
        cr_assert_eq(can_connect(tcp_port), rows[i].is_taken, "what is not used is closed");
        cr_assert_eq(scene.sockets->is_held, rows[i].is_taken, "nobody holds what was opened here");
        end(&scene);
    }
}

Test(sockets, takes_nothing_that_does_not_listen)
{
    struct scene scene;
    int pipes[2];
    begin(&scene);
    cr_assert_eq(pipe(pipes), 0);
    int bound = socket(AF_INET, SOCK_STREAM, 0);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(listen(local, 1) == 0, false);
    cr_assert_eq(sockets_pass(scene.sockets, SLICE("http"), pipes[0]), ERR_INVALID);
    cr_assert_eq(sockets_pass(scene.sockets, SLICE("http"), bound), ERR_INVALID);
    cr_assert_eq(sockets_pass(scene.sockets, SLICE("http"), datagrams), ERR_INVALID);
    cr_assert_eq(sockets_pass(scene.sockets, SLICE("http"), local), ERR_INVALID);
    cr_assert_eq(sockets_pass(scene.sockets, SLICE("http"), 1000), ERR_INVALID);
    cr_assert_not(is_open(bound), "it is closed");
    cr_assert_eq(close(pipes[1]), 0);
    end(&scene);
}

Test(sockets, refuses_one_address_for_two_options)
{
    struct scene scene;
    begin(&scene);
    set(&scene, "http_listen", "127.0.0.1:4099");
    set(&scene, "smtp_listen", "127.0.0.1:4099");
    cr_assert_eq(sockets_open(scene.sockets, &scene.conf, 1), ERR_INVALID);
    end(&scene);
}

Test(sockets, refuses_more_addresses_than_there_is_room_for)
{
    struct scene scene;
    begin(&scene);
    set(&scene, "submission_listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0");
    cr_assert_eq(sockets_open(scene.sockets, &scene.conf, 1), ERR_INVALID);
    end(&scene);
}
