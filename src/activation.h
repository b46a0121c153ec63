/* activation.h - listening sockets that a service manager passes: the protocol of
 * sd_listen_fds(3), without its library.
 *
 * The manager leaves them open from descriptor 3 on and says in the environment how many
 * (LISTEN_FDS), for whom (LISTEN_PID) and, if it likes, what they are called (LISTEN_FDNAMES). The
 * same words carry them over when this program replaces itself.
 */
#ifndef ACTIVATION_H
#define ACTIVATION_H

#include "base/base.h"
#include "net/sockets.h"

/* Takes what was passed to this process, and takes it out of the environment. What is no listening
 * socket is told and closed; what an option does not name, sockets_open tells. */
void activation_take(struct sockets *sockets);

/* Runs the program again, as this process, with these sockets; is_held: a service manager holds
 * them too. Returns only when that fails; errno tells why. */
void activation_again(const struct sockets *sockets, bool is_held, char **argv);

#endif
