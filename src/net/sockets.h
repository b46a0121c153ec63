/* sockets.h - the listening sockets of this process, by the option that names them.
 *
 * Some were passed to it: by a service manager, or by the daemon that ran before. Those are taken
 * where an option names their address; a socket outlives the processes that accept from it, so
 * nobody who connects meanwhile is refused. What nobody passed is opened here, one for each loop.
 * The configuration has the last word: a passed socket that no option names is closed and told.
 *
 * The table is filled before the loops use it, and read-only from then on; each loop listens on
 * duplicates (listener_share). The sockets themselves stay here, to be passed on.
 *
 * Diagnostics: `sockets.passed`, `sockets.unused` and `sockets.strange` in the log.
 */
#ifndef NET_SOCKETS_H
#define NET_SOCKETS_H

#include "base/base.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "net/conn.h"

enum socket_kind {
    SOCKET_HTTP,
    SOCKET_HTTPS,
    SOCKET_SMTP,
    SOCKET_SUBMISSION,
    SOCKET_SUBMISSIONS,
    SOCKET_KIND_COUNT
};

#define SOCKET_NAME_MAX    256 /* of a service manager's; the NUL included */
#define SOCKET_GROUPS_MAX  (3 + 2 * SUBMIT_LISTEN_MAX)
#define SOCKETS_PASSED_MAX (SOCKET_GROUPS_MAX * LOOP_COUNT_MAX)

/* All that listen on one address. */
struct socket_group {
    enum socket_kind kind;
    uint32_t number; /* among the addresses of its option */
    struct conn_addr addr;
    int fds[LOOP_COUNT_MAX];
    uint32_t fd_count;
};

struct sockets {
    struct socket_group groups[SOCKET_GROUPS_MAX];
    uint32_t group_count;
    struct passed_socket {
        int fd; /* -1: taken */
        struct conn_addr addr;
        char name[SOCKET_NAME_MAX];
    } passed[SOCKETS_PASSED_MAX];
    uint32_t passed_count;
    bool is_held; /* by a service manager too: what connects while nobody runs, waits */
};

/* "http", "https", "smtp", "submission", "submissions": the option without _listen. */
const char *socket_kind_name(enum socket_kind kind);
/* Its option's value: an address, or several parted by commas; empty for none. */
struct slice socket_kind_option(const struct conf *conf, enum socket_kind kind);

/* Owns:   takes fd, also on failure.
 * Errors: ERR_INVALID: it is no listening TCP socket, or one too many; logged. */
MUST_USE enum err sockets_pass(struct sockets *sockets, struct slice name, int fd);
/* Finds or opens a group for each address that an option names.
 * Errors: ERR_INVALID: an address that cannot be read, or too many; ERR_IO; logged. */
MUST_USE enum err sockets_open(struct sockets *sockets, const struct conf *conf,
                               uint32_t loop_count);
/* NULL when there is none. */
const struct socket_group *sockets_find(const struct sockets *sockets, enum socket_kind kind,
                                        uint32_t number);
/* Those of a group that this loop accepts from: its share, or one that it shares with another.
 * Returns how many, at least 1. */
uint32_t sockets_of_loop(const struct socket_group *group, uint32_t loop, uint32_t loop_count,
                         int fds[LOOP_COUNT_MAX]);
/* Those who duplicated one still have it. Harmless when nothing is open. */
void sockets_close(struct sockets *sockets);

#endif
