/* notify.h - tells a service manager how we are: the protocol of sd_notify(3), without its library.
 *
 * A manager that wants to know names a datagram socket in NOTIFY_SOCKET; a word is a datagram. Who
 * did not ask is told nothing. A word that cannot be sent is lost: the manager will miss it, and
 * there is nobody else to tell.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/base.h"

struct notify {
    struct sockaddr_un addr;
    socklen_t len;
    int fd;               /* -1: nobody asked */
    uint64_t watchdog_ms; /* a sign of life is wanted this often; 0: never */
};

/* Reads the environment. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

/* "READY=1", "STOPPING=1", "WATCHDOG=1". */
void notify_tell(const struct notify *notify, const char *word);
/* "RELOADING=1", with the time that the manager compares with its own. */
void notify_tell_reloading(const struct notify *notify);

#endif
