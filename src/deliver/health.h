/* health.h - how a domain and the server that sends for it look from outside, in plain words.
 *
 * A check has a name, a status (ok, warn, fail, unknown), what was found and, unless all is well,
 * what to do about it. Unlike a verification, which decides whether a domain may send, nothing
 * hangs on it: it is for people. It follows the SPF includes to count look-ups, asks for the
 * reverse names of the server's addresses and whether they lead back, and asks the block lists that
 * the operator has named, none by default.
 *
 * Serves DELIVER_VERIFY, behind the verification itself. At most HEALTH_ASKS_MAX
 * questions a domain.
 */
#ifndef DELIVER_HEALTH_H
#define DELIVER_HEALTH_H

#include "net/dns.h"
#include "shards/msg.h"

typedef void health_fn(void *context);

/* Asks, then writes msg->body.verify.health into msg's arena: a pack of name, status, found,
 * advice. on_done (context) runs later, never inside.
 * Owns: msg stays the caller's, and in place until on_done. */
void health_start(struct dns *dns, struct msg *msg, health_fn *on_done, void *context);

#endif
