/* attempt_dns.h - one verification of a domain: six to nine look-ups, compared with what should be
 * published, and then what they say of its health (health.h).
 *
 * Serves DELIVER_VERIFY. Never fails by itself: what cannot be looked up is not verified; only when
 * no question at all was answered the message goes home with ERR_DNS_TEMP.
 */
#ifndef DELIVER_ATTEMPT_DNS_H
#define DELIVER_ATTEMPT_DNS_H

#include "base/list.h"
#include "net/dns.h"
#include "shards/msg.h"

struct attempt_dns;
typedef void attempt_dns_fn(void *context);

/* Owns: takes msg and returns it home. on_done (context) runs when it has. */
void attempt_dns_start(struct dns *dns, struct msg *msg, attempt_dns_fn *on_done, void *context);

#endif
