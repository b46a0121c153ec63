/* listen.c - see listen.h.
 *
 * The listening socket is watched with uv_poll and accepted from by hand: libuv's own listener
 * would accept without asking and keeps what nobody takes.
 */
#include "net/listen.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG      1024
#define ACCEPTS_MAX  64  /* a wake; then other sockets get their turn */
#define PAUSE_MS     100 /* without file descriptors: one is freed when a connection ends */
#define LOG_EVERY_MS 1000

static enum err open_socket(const struct conn_addr *addr, int *fd);
static enum err open_local(const struct sockaddr_un *addr, int *fd);
static enum err remove_stale(const struct sockaddr_un *addr);
static enum err begin(struct listener *listener, const int *fds, uint32_t count);
static void close_all(const int *fds, uint32_t count);
static uint16_t bound_port(int fd);
static void watch(struct listener *listener);
static void on_readable(uv_poll_t *poll, int status, int events);
static void pause_all(struct listener *listener);
static bool accept_one(struct listen_watch *from);
static void complain(struct listener *listener, const char *problem, const char *reason);
static void on_pause_over(struct timer *timer);
static void on_poll_closed(uv_handle_t *handle);

enum err listener_open(struct listener *listener, struct loop *loop, const struct conn_addr *addr,
                       listener_fn *on_accept)
{
    CHECK_LOOP(loop);
    CHECK(on_accept != NULL);
    *listener = (struct listener){.loop = loop, .on_accept = on_accept};
    int fd = -1;
    enum err err = listen_socket(addr, &fd);
    if (err == ERR_OK) {
        err = begin(listener, &fd, 1);
    }
    if (err == ERR_OK) {
        listener->tcp_port = bound_port(fd);
    }
    return err;
}

enum err listener_share(struct listener *listener, struct loop *loop, const int *fds,
                        uint32_t fd_count, listener_fn *on_accept)
{
    int own[LOOP_COUNT_MAX];
    uint32_t count = 0;
    CHECK_LOOP(loop);
    CHECK(on_accept != NULL);
    CHECK(fd_count > 0 && fd_count <= LOOP_COUNT_MAX);
    *listener = (struct listener){.loop = loop, .on_accept = on_accept};
    while (count < fd_count && (own[count] = fcntl(fds[count], F_DUPFD_CLOEXEC, 0)) != -1) {
        count += 1;
    }
    if (count < fd_count) {
        LOG_ERROR("listen.failed", LOG_STR("reason", strerror(errno)),
                  LOG_STR("remedy", "raise the limit of open files"));
        close_all(own, count);
        return ERR_IO;
    }
    enum err err = begin(listener, own, count);
    if (err == ERR_OK) {
        listener->tcp_port = bound_port(own[0]);
    }
    return err;
}

enum err listen_socket(const struct conn_addr *addr, int *fd)
{
    if (open_socket(addr, fd) == ERR_OK) {
        return ERR_OK;
    }
    const char *reason = strerror(errno);
    char text[ADDR_TEXT_MAX];
    (void)conn_addr_text(addr, text); /* only its text is wanted */
    LOG_ERROR("listen.failed", LOG_STR("address", text), LOG_U64("tcp_port", conn_addr_port(addr)),
              LOG_STR("reason", reason),
              LOG_STR("remedy", "stop what listens there, or set another address in the option "
                                "that names it"));
    return ERR_IO;
}

enum err listen_address(int fd, struct conn_addr *addr)
{
    int is_listening = 0;
    int type = 0;
    socklen_t int_len = sizeof(int);
    struct conn_addr found = {0};
    socklen_t len = sizeof(found.storage);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_len) == -1 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &int_len) == -1 ||
        is_listening == 0 || getsockname(fd, (struct sockaddr *)&found.storage, &len) == -1 ||
        (found.storage.ss_family != AF_INET && found.storage.ss_family != AF_INET6)) {
        return ERR_INVALID;
    }
    *addr = found;
    return ERR_OK;
}

enum err listener_open_local(struct listener *listener, struct loop *loop, struct slice path,
                             listener_fn *on_accept)
{
    CHECK_LOOP(loop);
    CHECK(on_accept != NULL);
    *listener = (struct listener){.loop = loop, .on_accept = on_accept};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (path.len == 0 || path.len >= sizeof(addr.sun_path) || slice_has_byte(path, '\0')) {
        LOG_ERROR("listen.failed", LOG_TEXT("path", path),
                  LOG_U64("longest", sizeof(addr.sun_path) - 1),
                  LOG_STR("remedy", "a socket's path is limited by the system: set admin_socket to "
                                    "a shorter one, or to off"));
        return ERR_INVALID;
    }
    memcpy(addr.sun_path, path.data, path.len);
    int fd = -1;
    enum err err = remove_stale(&addr);
    if (err == ERR_OK) {
        err = open_local(&addr, &fd);
    }
    if (err == ERR_OK) {
        err = begin(listener, &fd, 1);
    }
    if (err != ERR_OK) {
        const char *reason = err == ERR_EXISTS ? "it is in use, or no socket" : strerror(errno);
        LOG_ERROR("listen.failed", LOG_TEXT("path", path), LOG_STR("reason", reason),
                  LOG_STR("remedy", "stop what uses it, or set another path, or off, in "
                                    "admin_socket"));
        return err;
    }
    memcpy(listener->path, addr.sun_path, sizeof(listener->path));
    return ERR_OK;
}

enum err listen_peer_user(uv_os_sock_t socket, uid_t *user)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1 || len != sizeof(peer)) {
        return ERR_IO;
    }
    *user = peer.uid;
    return ERR_OK;
}

void listener_close(struct listener *listener, listener_closed_fn *on_closed)
{
    if (!listener->is_open) {
        on_closed(listener);
        return;
    }
    CHECK_LOOP(listener->loop);
    CHECK(listener->on_closed == NULL);
    listener->is_open = false;
    listener->on_closed = on_closed;
    timer_stop(&listener->pause);
    for (uint32_t i = 0; i < listener->watch_count; i++) {
        struct listen_watch *it = &listener->watches[i];
        (void)uv_poll_stop(&it->poll); /* always succeeds */
        uv_close((uv_handle_t *)&it->poll, on_poll_closed);
        (void)close(it->fd); /* Linux frees the number whatever it returns */
        it->fd = -1;
    }
    if (listener->path[0] != '\0') {
        (void)unlink(listener->path); /* gone already is as good */
    }
}

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)close(fds[i]); /* nobody accepted from it */
    }
}

static void on_given_up(struct listener *listener UNUSED)
{
}

/* Takes the sockets, also on failure. */
static enum err begin(struct listener *listener, const int *fds, uint32_t count)
{
    int status = 0;
    listener->watches = mem_zalloc(count * sizeof(*listener->watches));
    timer_init(&listener->pause, listener->loop, on_pause_over);
    listener->is_open = true;
    for (uint32_t i = 0; i < count && status == 0; i++) {
        struct listen_watch *it = &listener->watches[i];
        *it = (struct listen_watch){.listener = listener, .fd = fds[i]};
        status = uv_poll_init(&listener->loop->uv, &it->poll, fds[i]);
        listener->watch_count += status == 0;
    }
    listener->watches_open = listener->watch_count;
    if (status == 0) {
        watch(listener);
        return ERR_OK;
    }
    LOG_ERROR("listen.failed", LOG_STR("reason", uv_strerror(status)),
              LOG_STR("remedy", "raise the limit of open files"));
    close_all(fds + listener->watch_count, count - listener->watch_count);
    if (listener->watch_count > 0) {
        listener_close(listener, on_given_up);
    } else {
        listener->is_open = false;
        free(listener->watches);
        listener->watches = NULL;
    }
    return ERR_IO;
}

/* errno tells why not. */
static enum err open_socket(const struct conn_addr *addr, int *fd)
{
    bool is_v6 = addr->storage.ss_family == AF_INET6;
    socklen_t len = is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    const int on = 1;
    const int off = 0;
    int made = socket(addr->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made == -1) {
        return ERR_IO;
    }
    /* [::] serves v4 too, whatever the system's default. */
    if ((is_v6 && setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == -1) ||
        setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
        setsockopt(made, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == -1 ||
        bind(made, (const struct sockaddr *)&addr->storage, len) == -1 ||
        listen(made, BACKLOG) == -1) {
        int reason = errno;
        (void)close(made); /* it was never used */
        errno = reason;
        return ERR_IO;
    }
    *fd = made;
    return ERR_OK;
}

/* errno tells why not. The file is born with the mode of the socket (unix(7) says nothing of it,
 * Linux does it), so nobody slips in between bind and chmod; chmod is for those who do it
 * otherwise. */
static enum err open_local(const struct sockaddr_un *addr, int *fd)
{
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made == -1) {
        return ERR_IO;
    }
    if (fchmod(made, S_IRUSR | S_IWUSR) == -1 ||
        bind(made, (const struct sockaddr *)addr, sizeof(*addr)) == -1 ||
        chmod(addr->sun_path, S_IRUSR | S_IWUSR) == -1 || listen(made, BACKLOG) == -1) {
        int reason = errno;
        (void)close(made); /* it was never used */
        errno = reason;
        return ERR_IO;
    }
    *fd = made;
    return ERR_OK;
}

/* A socket that nobody listens on is what a killed process leaves. Anything else is not ours to
 * remove. */
static enum err remove_stale(const struct sockaddr_un *addr)
{
    struct stat info;
    if (lstat(addr->sun_path, &info) == -1) {
        return errno == ENOENT ? ERR_OK : ERR_IO;
    }
    if (!S_ISSOCK(info.st_mode)) {
        return ERR_EXISTS;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe == -1) {
        return ERR_IO;
    }
    bool is_stale =
        connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == -1 && errno == ECONNREFUSED;
    (void)close(probe); /* it was only to ask */
    if (!is_stale) {
        return ERR_EXISTS;
    }
    return unlink(addr->sun_path) == -1 && errno != ENOENT ? ERR_IO : ERR_OK;
}

static uint16_t bound_port(int fd)
{
    struct conn_addr addr = {0};
    socklen_t len = sizeof(addr.storage);
    int status = getsockname(fd, (struct sockaddr *)&addr.storage, &len);
    CHECK(status == 0); /* it is ours and bound */
    return conn_addr_port(&addr);
}

static void watch(struct listener *listener)
{
    for (uint32_t i = 0; i < listener->watch_count; i++) {
        int status = uv_poll_start(&listener->watches[i].poll, UV_READABLE, on_readable);
        CHECK(status == 0);
    }
}

static void on_readable(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    struct listen_watch *it = CONTAINER_OF(poll, struct listen_watch, poll);
    for (uint32_t i = 0; i < ACCEPTS_MAX && it->listener->is_open; i++) {
        if (!accept_one(it)) {
            return;
        }
    }
}

static void pause_all(struct listener *listener)
{
    for (uint32_t i = 0; i < listener->watch_count; i++) {
        (void)uv_poll_stop(&listener->watches[i].poll); /* always succeeds */
    }
}

/* Whether there may be another. */
static bool accept_one(struct listen_watch *from)
{
    struct listener *listener = from->listener;
    int fd = accept4(from->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return false;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            complain(listener, "cannot accept; raise the limit of open files", strerror(errno));
            pause_all(listener);
            timer_start(&listener->pause, PAUSE_MS);
            return false;
        }
        /* The others are errors of the one connection that was to be accepted: accept(2). */
        return true;
    }
    if (listener->loop->conns_open >= CONNS_PER_LOOP_MAX) {
        complain(listener, "connection refused", "too many connections on this loop");
        (void)close(fd); /* nothing was sent */
        return true;
    }
    listener->on_accept(listener, fd);
    return true;
}

static void complain(struct listener *listener, const char *problem, const char *reason)
{
    uint64_t now_ms = loop_now_ms(listener->loop);
    if (listener->logged_ms == 0 || now_ms - listener->logged_ms >= LOG_EVERY_MS) {
        listener->logged_ms = now_ms;
        LOG_WARN("listen.overload", LOG_STR("problem", problem), LOG_STR("reason", reason),
                 LOG_U64("tcp_port", listener->tcp_port));
    }
}

static void on_pause_over(struct timer *timer)
{
    watch(CONTAINER_OF(timer, struct listener, pause));
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct listen_watch *it = CONTAINER_OF(handle, struct listen_watch, poll);
    struct listener *listener = it->listener;
    listener->watches_open -= 1;
    if (listener->watches_open > 0) {
        return;
    }
    free(listener->watches);
    listener->watches = NULL;
    listener->watch_count = 0;
    listener_closed_fn *on_closed = listener->on_closed;
    listener->on_closed = NULL;
    on_closed(listener);
}
