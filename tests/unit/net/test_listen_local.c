/* Unix sockets: the listener's file, and streams that come in through it.
 *
 * Not covered here: TCP (test_listen, test_conn); a peer of another user, which needs one
 * (tests/flow/test_admin.c).
 */
#include "net/listen.h"

#include "base/limits.h"
#include "net/conn.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    struct loop loop;
    struct listener listener;
    struct conn conn;
    struct timer watchdog;
    struct buf got;
    char dir[64];
    char path[96];
    size_t wanted; /* bytes to be written before closing */
    size_t sent;
    uint32_t closed;
    enum err failed;
};

static void on_closed_listener(struct listener *listener)
{
    loop_stop(listener->loop);
}

static void on_watchdog(struct timer *timer UNUSED)
{
    cr_assert(false, "the story never ended");
}

static void world_init(struct world *world)
{
    memset(world, 0, sizeof *world);
    loop_init(&world->loop, "test", 0);
    timer_init(&world->watchdog, &world->loop, on_watchdog);
    timer_start(&world->watchdog, 5000);
    buf_init(&world->got, MIB);
    (void)snprintf(world->dir, sizeof world->dir, "/tmp/meerkat-listen-XXXXXX"); /* it fits */
    cr_assert_not_null(mkdtemp(world->dir));
    (void)snprintf(world->path, sizeof world->path, "%s/admin.sock", world->dir); /* likewise */
}

static void world_fini(struct world *world)
{
    (void)unlink(world->path); /* mostly gone */
    cr_assert_eq(rmdir(world->dir), 0, "%s", strerror(errno));
    timer_stop(&world->watchdog);
    buf_fini(&world->got);
    loop_fini(&world->loop);
}

static enum err open_at(struct world *world, const char *path, listener_fn *on_accept)
{
    return listener_open_local(&world->listener, &world->loop, slice_str(path), on_accept);
}

static void close_listener(struct world *world)
{
    listener_close(&world->listener, on_closed_listener);
    loop_run(&world->loop);
}

static bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Blocking; the kernel completes it from the backlog. */
static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    memcpy(addr.sun_path, path, strlen(path));
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0, "%s", strerror(errno));
    return fd;
}

static void refuse(struct listener *listener UNUSED, uv_os_sock_t socket)
{
    cr_assert_eq(close(socket), 0);
}

Test(listen_local, makes_a_file_for_its_user_alone_and_removes_it)
{
    struct world world;
    world_init(&world);
    mode_t before = umask(0);
    cr_assert_eq(open_at(&world, world.path, refuse), ERR_OK);
    (void)umask(before);
    struct stat info;
    cr_assert_eq(lstat(world.path, &info), 0);
    cr_assert(S_ISSOCK(info.st_mode));
    cr_assert_eq(info.st_mode & 0777, 0600, "%o", (unsigned)info.st_mode);
    cr_assert_eq(world.listener.tcp_port, 0);
    close_listener(&world);
    cr_assert_not(is_there(world.path));
    world_fini(&world);
}

static void leave_stale(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(addr.sun_path, path, strlen(path));
    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(listen(fd, 1), 0);
    cr_assert_eq(close(fd), 0); /* as a killed process does: the file stays */
}

Test(listen_local, replaces_what_a_killed_process_left)
{
    struct world world;
    world_init(&world);
    leave_stale(world.path);
    cr_assert(is_there(world.path));
    cr_assert_eq(open_at(&world, world.path, refuse), ERR_OK);
    int client = connect_to(world.path);
    cr_assert_eq(close(client), 0);
    close_listener(&world);
    world_fini(&world);
}

Test(listen_local, leaves_alone_what_is_in_use_or_no_socket)
{
    struct world world;
    struct listener second;
    world_init(&world);
    cr_assert_eq(open_at(&world, world.path, refuse), ERR_OK);
    cr_assert_eq(listener_open_local(&second, &world.loop, slice_str(world.path), refuse),
                 ERR_EXISTS);
    int client = connect_to(world.path); /* the first still answers */
    cr_assert_eq(close(client), 0);
    close_listener(&world);

    int file = open(world.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    cr_assert_neq(file, -1);
    cr_assert_eq(close(file), 0);
    cr_assert_eq(open_at(&world, world.path, refuse), ERR_EXISTS);
    cr_assert(is_there(world.path), "somebody's file was removed");
    world_fini(&world);
}

Test(listen_local, refuses_a_path_that_no_socket_can_have)
{
    struct world world;
    char path[LISTEN_PATH_MAX + 1];
    world_init(&world);
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[LISTEN_PATH_MAX] = '\0';
    cr_assert_eq(open_at(&world, path, refuse), ERR_INVALID);
    cr_assert_eq(open_at(&world, "", refuse), ERR_INVALID);
    cr_assert_eq(open_at(&world, "/nowhere/at/all", refuse), ERR_IO);
    world_fini(&world);
}

/* ---- streams --------------------------------------------------------------------------------- */

static struct world *world_of(struct conn *conn)
{
    return CONTAINER_OF(conn, struct world, conn);
}

static void on_open(struct conn *conn)
{
    struct conn_addr addr;
    char text[ADDR_TEXT_MAX];
    conn_peer(conn, &addr);
    cr_assert_eq(conn_addr_text(&addr, text), 0, "%s", text);
    conn_local(conn, &addr);
    cr_assert_eq(conn_addr_text(&addr, text), 0, "%s", text);
    cr_assert_eq(conn_addr_port(&addr), 0);
    cr_assert_not(conn_addr_is_loopback(&addr));
}

static void pump(struct conn *conn)
{
    static const char chunk[10000];
    struct world *world = world_of(conn);
    while (world->sent < world->wanted && !conn_is_choked(conn)) {
        size_t len = min_size(sizeof chunk, world->wanted - world->sent);
        conn_write(conn, slice_of(chunk, len));
        world->sent += len;
    }
    if (world->sent == world->wanted) {
        conn_close(conn);
    }
}

static void on_data(struct conn *conn, struct slice data)
{
    struct world *world = world_of(conn);
    buf_add(&world->got, data);
    conn_write(conn, data);
    pump(conn);
}

static void on_fail(struct conn *conn, enum err err)
{
    world_of(conn)->failed = err;
    conn_close(conn);
}

static void on_closed(struct conn *conn)
{
    struct world *world = world_of(conn);
    world->closed++;
    listener_close(&world->listener, on_closed_listener);
}

static const struct conn_handler handler = {on_open, on_data, pump, on_fail, on_closed};

static void take(struct listener *listener, uv_os_sock_t socket)
{
    struct world *world = CONTAINER_OF(listener, struct world, listener);
    uid_t user = (uid_t)-1;
    cr_assert_eq(listen_peer_user(socket, &user), ERR_OK);
    cr_assert_eq(user, geteuid());
    cr_assert_eq(conn_accept(&world->conn, &world->loop, socket, NULL, &handler), ERR_OK);
}

/* Reads all the server says, in a thread of its own as the loop has this one. */
static void *read_all(void *context)
{
    int fd = *(int *)context;
    static char block[64 * 1024];
    static size_t total;
    ssize_t count;
    while ((count = read(fd, block, sizeof block)) > 0) {
        total += (size_t)count;
    }
    return &total;
}

Test(listen_local, carries_a_stream_both_ways_under_back_pressure)
{
    struct world world;
    pthread_t reader;
    void *total;
    world_init(&world);
    world.wanted = 5 * MIB;
    cr_assert_eq(open_at(&world, world.path, take), ERR_OK);
    int client = connect_to(world.path);
    cr_assert_eq(write(client, "hello", 5), 5);
    cr_assert_eq(pthread_create(&reader, NULL, read_all, &client), 0);
    loop_run(&world.loop);
    cr_assert_eq(close(client), 0);
    cr_assert_eq(pthread_join(reader, &total), 0);
    cr_assert(slice_equal(buf_slice(&world.got), SLICE("hello")));
    cr_assert_eq(*(size_t *)total, 5 * MIB + 5);
    cr_assert_eq(world.closed, 1);
    cr_assert_eq(world.loop.conns_open, 0);
    world_fini(&world);
}

Test(listen_local, tells_that_the_peer_has_gone)
{
    struct world world;
    world_init(&world);
    cr_assert_eq(open_at(&world, world.path, take), ERR_OK);
    int client = connect_to(world.path);
    cr_assert_eq(close(client), 0);
    loop_run(&world.loop);
    cr_assert_eq(world.failed, ERR_CLOSED);
    cr_assert_eq(world.closed, 1);
    world_fini(&world);
}

Test(listen_local, gives_no_user_for_what_is_no_unix_socket)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uid_t user = 7;
    cr_assert_eq(listen_peer_user(fd, &user), ERR_IO);
    cr_assert_eq(user, 7);
    cr_assert_eq(close(fd), 0);
}
