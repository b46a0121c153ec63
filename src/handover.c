/* handover.c - see handover.h.
 *
 * The channel is a Unix stream socket. A line says how many sockets there are; then comes a line
 * with the name of each, and the sockets ride on these as SCM_RIGHTS, in the same order.
 */
#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#define GREETING     "meerkat-handover 1 "
#define GO           "go\n"
#define CLOSED       "closed\n"
#define READY        "ready\n"
#define WORD_MAX     16
#define FDS_AT_ONCE  64 /* the kernel takes 253 */
#define NAMES_MAX    (SOCKETS_PASSED_MAX * 16)
#define ANSWER_MS    10000  /* for what takes no drain */
#define GRACE_MS     1000   /* between the end of a channel and that of its process */
#define DRAIN_MORE   1000   /* beyond the drain's own end and as long again */
#define READY_MAX_MS 900000 /* as the unit's TimeoutStartSec: a store of another format */

struct slice handover_path(const struct conf *conf, struct arena *arena)
{
    return arena_format(arena, "%.*s/takeover.sock", SLICE_FMT(conf->data));
}

void handover_init(struct handover *handover, const struct sockets *sockets)
{
    *handover = (struct handover){.sockets = sockets, .channel = -1, .other = -1};
}

/* Its last word was said. */
static void close_channel(struct handover *handover)
{
    if (handover->channel != -1) {
        (void)close(handover->channel); /* what was sent is read all the same */
        handover->channel = -1;
    }
    if (handover->other != -1) {
        (void)close(handover->other); /* it was only watched */
        handover->other = -1;
    }
}

static bool say(const struct handover *handover, const char *word)
{
    return send(handover->channel, word, strlen(word), MSG_NOSIGNAL) == (ssize_t)strlen(word);
}

/* The process at the other end, by a descriptor that means it and no later one of its number. */
static int find_other(int channel, uid_t *user)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1) {
        return -1;
    }
    *user = peer.uid;
    if (peer.uid != 0 && peer.uid != geteuid()) {
        errno = EACCES;
        return -1;
    }
    return pidfd_open(peer.pid, 0);
}

static bool has_ended(const struct handover *handover, uint64_t ms)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    struct pollfd ended = {.fd = handover->other, .events = POLLIN};
    for (uint64_t now_ms = clock_mono_ms(); now_ms < end_ms; now_ms = clock_mono_ms()) {
        if (poll(&ended, 1, (int)(end_ms - now_ms)) > 0) {
            return true;
        }
    }
    return false;
}

/* Whatever it acknowledged is on disk. False: it does not even die. */
static bool end_other(const struct handover *handover)
{
    if (!has_ended(handover, GRACE_MS)) {
        (void)pidfd_send_signal(handover->other, SIGKILL, NULL, 0); /* gone is as good */
    }
    return has_ended(handover, ANSWER_MS);
}

/* ---- giving --------------------------------------------------------------------------------- */

/* Up to FDS_AT_ONCE sockets and their names. */
struct parcel {
    int fds[FDS_AT_ONCE];
    uint32_t count;
    char names[FDS_AT_ONCE * WORD_MAX];
    size_t len;
};

static bool send_parcel(int channel, struct parcel *parcel)
{
    union {
        char bytes[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    size_t fd_bytes = parcel->count * sizeof(int);
    struct iovec iov = {.iov_base = parcel->names, .iov_len = parcel->len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_SPACE(fd_bytes)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fd_bytes);
    memcpy(CMSG_DATA(head), parcel->fds, fd_bytes);
    ssize_t sent = sendmsg(channel, &msg, MSG_NOSIGNAL);
    bool is_sent = sent == (ssize_t)parcel->len;
    parcel->count = 0;
    parcel->len = 0;
    return is_sent;
}

static uint32_t socket_count(const struct sockets *sockets)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sockets->group_count; i++) {
        count += sockets->groups[i].fd_count;
    }
    return count;
}

/* All of it fits into the socket's buffer: nothing waits here. */
static bool send_sockets(int channel, const struct sockets *sockets)
{
    struct parcel parcel = {.count = 0};
    parcel.len = (size_t)snprintf(parcel.names, sizeof parcel.names, GREETING "%u\n",
                                  (unsigned)socket_count(sockets));
    bool is_sent = send(channel, parcel.names, parcel.len, MSG_NOSIGNAL) == (ssize_t)parcel.len;
    parcel.len = 0;
    for (uint32_t i = 0; is_sent && i < sockets->group_count; i++) {
        const struct socket_group *group = &sockets->groups[i];
        for (uint32_t n = 0; is_sent && n < group->fd_count; n++) {
            parcel.fds[parcel.count++] = group->fds[n];
            parcel.len += (size_t)snprintf(parcel.names + parcel.len, WORD_MAX, "%s\n",
                                           socket_kind_name(group->kind));
            is_sent = parcel.count < FDS_AT_ONCE || send_parcel(channel, &parcel);
        }
    }
    return is_sent && (parcel.count == 0 || send_parcel(channel, &parcel));
}

static void on_poll_closed(uv_handle_t *handle)
{
    CONTAINER_OF((uv_poll_t *)handle, struct handover, poll)->is_closing = false;
}

static void unwatch(struct handover *handover)
{
    if (handover->is_watched) {
        handover->is_watched = false;
        handover->is_closing = true;
        (void)uv_poll_stop(&handover->poll); /* always succeeds */
        uv_close((uv_handle_t *)&handover->poll, on_poll_closed);
    }
}

/* "go", or the end of one that thought better of it. */
static void on_word(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    struct handover *handover = CONTAINER_OF(poll, struct handover, poll);
    char word[WORD_MAX];
    ssize_t len = recv(handover->channel, word, sizeof word, MSG_DONTWAIT);
    if (len == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    unwatch(handover);
    if (len > 0 && slice_equal(slice_of(word, (size_t)len), SLICE(GO))) {
        handover->is_going = true;
        handover->begun_ms = clock_mono_ms();
        LOG_INFO("handover.go", LOG_U64("sockets", socket_count(handover->sockets)));
        handover->on_go(handover->context);
        return;
    }
    LOG_WARN("handover.abandoned",
             LOG_STR("remedy", "nothing changes here; its own log says why it ended"));
    close_channel(handover);
}

/* Nothing was promised to it. */
static void drop(int channel, int other)
{
    (void)close(channel); /* nobody waits for an answer, and other was never used */
    if (other != -1) {
        (void)close(other);
    }
}

static void on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct handover *handover = CONTAINER_OF(listener, struct handover, listener);
    uid_t user = (uid_t)-1;
    int other = find_other(socket, &user);
    const char *why = NULL;
    if (other == -1) {
        why = "run meerkatd --takeover as root or as this daemon's user";
    } else if (handover->channel != -1 || handover->is_closing) {
        why = "another one is taking over: wait for it, or end it";
    } else if (!send_sockets(socket, handover->sockets)) {
        why = "the sockets could not be sent: try again";
    }
    if (why != NULL) {
        LOG_WARN("handover.refused", LOG_U64("user", user), LOG_STR("remedy", why));
        drop(socket, other);
        return;
    }
    int status = uv_poll_init(&handover->listener.loop->uv, &handover->poll, socket);
    if (status != 0) {
        LOG_WARN("handover.refused", LOG_STR("reason", uv_strerror(status)),
                 LOG_STR("remedy", "raise the limit of open files"));
        drop(socket, other);
        return;
    }
    handover->channel = socket;
    handover->other = other;
    handover->is_watched = true;
    status = uv_poll_start(&handover->poll, UV_READABLE, on_word);
    CHECK(status == 0);
    LOG_INFO("handover.sent", LOG_U64("sockets", socket_count(handover->sockets)));
}

void handover_open(struct handover *handover, struct loop *loop, struct slice path,
                   handover_go_fn *on_go, void *context)
{
    handover->on_go = on_go;
    handover->context = context;
    enum err err = listener_open_local(&handover->listener, loop, path, on_accept);
    if (err != ERR_OK) {
        LOG_WARN("handover.off", LOG_ERR(err),
                 LOG_STR("remedy", "meerkatd --takeover will find nobody: give `data` a path that "
                                   "can have a socket"));
    }
}

static void on_listener_closed(struct listener *listener UNUSED)
{
}

void handover_stop(struct handover *handover)
{
    listener_close(&handover->listener, on_listener_closed);
    if (!handover->is_going) {
        unwatch(handover);
        close_channel(handover);
    }
}

/* The next word on the channel, which blocks; empty at its end, or when ms are over. */
static struct slice hear(const struct handover *handover, uint64_t ms, char word[WORD_MAX])
{
    uint64_t end_ms = clock_mono_ms() + ms;
    struct pollfd ready = {.fd = handover->channel, .events = POLLIN};
    for (uint64_t now_ms = clock_mono_ms(); now_ms < end_ms; now_ms = clock_mono_ms()) {
        if (poll(&ready, 1, (int)(end_ms - now_ms)) > 0) {
            ssize_t len = recv(handover->channel, word, WORD_MAX, MSG_DONTWAIT);
            if (len >= 0 || (errno != EAGAIN && errno != EINTR)) {
                return slice_of(word, len > 0 ? (size_t)len : 0);
            }
        }
    }
    return SLICE("");
}

bool handover_finish(struct handover *handover)
{
    char word[WORD_MAX];
    if (!handover->is_going) {
        return true;
    }
    LOG_INFO("handover.closed", LOG_U64("milliseconds", clock_mono_ms() - handover->begun_ms));
    bool is_ready =
        say(handover, CLOSED) && slice_equal(hear(handover, READY_MAX_MS, word), SLICE(READY));
    if (is_ready) {
        LOG_INFO("handover.done", LOG_U64("milliseconds", clock_mono_ms() - handover->begun_ms));
    } else {
        end_other(handover); /* or it would hold the store */
        LOG_ERROR("handover.failed",
                  LOG_STR("remedy", "this daemon starts again with its sockets; the log of the "
                                    "one that was to take over says why it ended"));
    }
    close_channel(handover);
    return is_ready;
}

/* ---- taking --------------------------------------------------------------------------------- */

/* What came so far. */
struct intake {
    struct buf text;
    int fds[SOCKETS_PASSED_MAX];
    uint32_t count;
    bool is_cut; /* the kernel kept some back: too many open files */
};

static void take_fds(struct intake *intake, struct msghdr *msg)
{
    for (struct cmsghdr *it = CMSG_FIRSTHDR(msg); it != NULL; it = CMSG_NXTHDR(msg, it)) {
        if (it->cmsg_level != SOL_SOCKET || it->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        uint32_t count = (uint32_t)((it->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (uint32_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(it) + i * sizeof(int), sizeof fd);
            if (intake->count < SOCKETS_PASSED_MAX) {
                intake->fds[intake->count++] = fd;
            } else {
                (void)close(fd); /* more than there can be */
                intake->is_cut = true;
            }
        }
    }
}

static bool receive_more(int channel, struct intake *intake)
{
    char bytes[FDS_AT_ONCE * WORD_MAX];
    union {
        char bytes[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t len = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
    if (len <= 0) {
        return false;
    }
    take_fds(intake, &msg);
    intake->is_cut = intake->is_cut || (msg.msg_flags & MSG_CTRUNC) != 0;
    buf_add(&intake->text, slice_of(bytes, (size_t)len));
    return !intake->is_cut && !intake->text.is_over;
}

/* How many names are there of how many; false: this is no daemon of ours. */
static bool read_names(const struct intake *intake, struct slice *names, uint32_t *missing)
{
    struct slice rest = buf_slice(&intake->text);
    uint64_t count = 0;
    if (!slice_has_byte(rest, '\n')) {
        *missing = 1;
        return true;
    }
    struct slice line = slice_cut(&rest, '\n');
    if (!slice_starts(line, SLICE(GREETING)) ||
        slice_uint(slice_from(line, strlen(GREETING)), SOCKETS_PASSED_MAX, &count) != ERR_OK) {
        return false;
    }
    *names = rest;
    uint64_t lines = 0;
    for (size_t i = 0; i < rest.len; i++) {
        lines += rest.data[i] == '\n';
    }
    *missing = (uint32_t)(count > lines ? count - lines : 0);
    return lines <= count;
}

static bool receive_sockets(int channel, struct sockets *sockets)
{
    struct intake intake = {.count = 0};
    struct slice names = SLICE("");
    uint32_t missing = 1;
    buf_init(&intake.text, NAMES_MAX);
    bool is_good = true;
    while (is_good && missing > 0) {
        is_good = receive_more(channel, &intake) && read_names(&intake, &names, &missing);
    }
    names = is_good ? names : SLICE(""); /* the text may have moved since they were found */
    for (uint32_t i = 0; i < intake.count; i++) {
        struct slice name = slice_cut(&names, '\n');
        /* It takes it in any case. */
        is_good = sockets_pass(sockets, name, intake.fds[i]) == ERR_OK && is_good;
    }
    buf_fini(&intake.text);
    return is_good;
}

/* -1 and errno ENOENT: nobody runs there. */
static int dial(struct slice path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_MS / 1000};
    if (path.len >= sizeof addr.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(addr.sun_path, path.data, path.len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == -1 ||
        connect(fd, (const struct sockaddr *)&addr, sizeof addr) == -1) {
        int reason = errno == ECONNREFUSED ? ENOENT : errno; /* a killed one left its file */
        if (fd != -1) {
            (void)close(fd); /* nothing was said */
        }
        errno = reason;
        return -1;
    }
    return fd;
}

/* From here on there is no way back: the other one drains. */
static void await_store(struct handover *handover, uint64_t drain_ms)
{
    char word[WORD_MAX];
    uint64_t begun_ms = clock_mono_ms();
    if (slice_equal(hear(handover, 2 * drain_ms + DRAIN_MORE, word), SLICE(CLOSED))) {
        LOG_INFO("handover.free", LOG_U64("milliseconds", clock_mono_ms() - begun_ms));
        return;
    }
    LOG_ERROR("handover.cut", LOG_U64("milliseconds", clock_mono_ms() - begun_ms),
              LOG_STR("remedy", "the daemon before has ended without a word, or did not end its "
                                "drain and is killed; nothing acknowledged is lost, what it was "
                                "sending may arrive twice"));
    if (!end_other(handover)) {
        log_stop();
        fatal("the daemon before does not die: its disk hangs, or a debugger holds it; mend that, "
              "then start meerkatd");
    }
    (void)close(handover->channel); /* nobody listens */
    handover->channel = -1;
}

/* Before "go" was said. */
static bool give_up(struct handover *handover, struct sockets *sockets, const char *remedy)
{
    LOG_ERROR("handover.given_up", LOG_STR("reason", strerror(errno)), LOG_STR("remedy", remedy));
    sockets_close(sockets);
    close_channel(handover);
    return false;
}

bool handover_take(struct handover *handover, struct sockets *sockets, const struct conf *conf,
                   handover_check_fn *is_good)
{
    struct arena arena;
    arena_init(&arena, KIB, 64 * KIB);
    handover->channel = dial(handover_path(conf, &arena));
    arena_fini(&arena);
    if (handover->channel == -1 && errno == ENOENT) {
        LOG_INFO("handover.nobody", LOG_STR("remedy", "no daemon uses this data folder, or it is "
                                                      "not ready: this is a start like any other"));
        return true;
    }
    if (handover->channel == -1) {
        return give_up(handover, sockets, "run it as root or as the daemon's user");
    }
    uid_t user = 0;
    handover->other = find_other(handover->channel, &user);
    if (handover->other == -1) {
        return give_up(handover, sockets, "whoever listens there is not this daemon's user");
    }
    if (!receive_sockets(handover->channel, sockets)) {
        return give_up(handover, sockets,
                       "the running daemon, which goes on, did not send its "
                       "sockets: its log says why");
    }
    if (!is_good(conf)) {
        errno = EINVAL;
        return give_up(handover, sockets,
                       "mend the configuration as the lines above say; the "
                       "running daemon goes on");
    }
    if (!say(handover, GO)) {
        return give_up(handover, sockets,
                       "the running daemon has just ended; start without "
                       "--takeover");
    }
    handover->begun_ms = clock_mono_ms();
    LOG_INFO("handover.go", LOG_U64("sockets", sockets->passed_count));
    await_store(handover, conf->drain_ms);
    return true;
}

void handover_ready(struct handover *handover)
{
    if (handover->other == -1) {
        return;
    }
    if (handover->channel != -1) {
        (void)say(handover, READY); /* it may have been killed meanwhile, which is as good */
    }
    LOG_INFO("handover.done", LOG_U64("milliseconds", clock_mono_ms() - handover->begun_ms));
    close_channel(handover);
}
