/* listen.h - one listening socket per loop, all on the same address; and one Unix socket.
 *
 * Each loop has its own socket with SO_REUSEPORT, so the kernel spreads connections and no accept
 * is handed between threads. libuv 1.44 has no flag for that: the socket is made by hand and
 * adopted. A loop may also share sockets that somebody else opened, several of one address or one
 * of several loops: then whoever is first accepts.
 *
 * Admission: beyond CONNS_PER_LOOP_MAX connections of the loop the listener closes new ones at once
 * (the kernel's backlog would hide them from the client); out of file descriptors it pauses for a
 * moment. Both are logged once a second at most.
 *
 * A Unix socket is a file: made with mode 0600, removed when the listener closes. One that a run
 * before left behind is removed first, when nobody answers there.
 */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <uv.h>

#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/slice.h"
#include "net/conn.h"
#include "net/loop.h"

struct listener;
/* The socket is the callback's: conn_accept it or close(2) it. */
typedef void listener_fn(struct listener *listener, uv_os_sock_t socket);
typedef void listener_closed_fn(struct listener *listener);

/* Longest path of a Unix socket, the NUL included. */
#define LISTEN_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

struct listen_watch {
    uv_poll_t poll;
    struct listener *listener;
    int fd;
};

struct listener {
    struct listen_watch *watches; /* one a socket; gone with the last of them */
    uint32_t watch_count;
    uint32_t watches_open;
    struct loop *loop;
    listener_fn *on_accept;
    listener_closed_fn *on_closed;
    struct timer pause;         /* on: out of file descriptors, accepting again when it is due */
    uint64_t logged_ms;         /* the last complaint */
    char path[LISTEN_PATH_MAX]; /* of a Unix socket; empty otherwise */
    uint16_t tcp_port;          /* the real one after listener_open */
    bool is_open;
};

/* Opens on addr; port 0 picks a free one, told in listener->tcp_port: give that to the next loop's
 * listener. Errors: ERR_IO, logged with the address and the system's reason. */
MUST_USE enum err listener_open(struct listener *listener, struct loop *loop,
                                const struct conn_addr *addr, listener_fn *on_accept);
/* Accepts from duplicates of these listening sockets, all of one address, which stay the caller's.
 * Errors: ERR_IO, logged. */
MUST_USE enum err listener_share(struct listener *listener, struct loop *loop, const int *fds,
                                 uint32_t fd_count, listener_fn *on_accept);
/* A listening socket on addr, with SO_REUSEPORT; *fd is the caller's. Errors: ERR_IO, logged as
 * above. */
MUST_USE enum err listen_socket(const struct conn_addr *addr, int *fd);
/* The address of a listening TCP socket with its real port. Errors: ERR_INVALID: it is none. */
MUST_USE enum err listen_address(int fd, struct conn_addr *addr);
/* Opens a Unix socket at path, on which only this user and root may connect. Errors: ERR_INVALID
 * (the path is too long for a socket), ERR_EXISTS (somebody answers there, or it is no socket),
 * ERR_IO; logged with the remedy. */
MUST_USE enum err listener_open_local(struct listener *listener, struct loop *loop,
                                      struct slice path, listener_fn *on_accept);
/* The user at the other end of a Unix socket, as the kernel noted it when it connected. */
MUST_USE enum err listen_peer_user(uv_os_sock_t socket, uid_t *user);
/* Stops accepting; on_closed when the struct may go. Harmless when not open: on_closed runs at
 * once. */
void listener_close(struct listener *listener, listener_closed_fn *on_closed);

#endif
