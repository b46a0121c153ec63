/* submit.h - SMTP submission (RFC 6409): the listeners, and credentials that end.
 *
 * Clients come over STARTTLS (submission_listen) or TLS from the start (submissions_listen, RFC
 * 8314), authenticate with an API key, and bring a mail. It goes the way of POST /v1/send
 * (SHARD_SEND with the mail as it came), so what a key may do, quotas, suppressions and idempotency
 * are the same, and 250 is said when it is on disk. Sessions are those of edge/smtp_in, in an
 * instance of their own.
 */
#ifndef EDGE_SUBMIT_H
#define EDGE_SUBMIT_H

#include "base/base.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/limits.h"
#include "net/listen.h"
#include "shards/msg.h"

struct edge;

/* Port numbers are SUBMIT_LISTEN_MAX for STARTTLS, then as many for TLS from the start. */
#define SUBMIT_LISTENERS (2 * SUBMIT_LISTEN_MAX)

struct submit_listener {
    struct listener listener;
    struct edge *edge;
    bool is_implicit_tls;
};

bool submit_is_wanted(const struct conf *conf);
/* Opens edge->submit and its listeners; edge->tls is there. tcp_ports as in struct control. Errors:
 * those of smtp_in_open and listener_share; logged. */
MUST_USE enum err submit_open(struct edge *edge, uint16_t tcp_ports[SUBMIT_LISTENERS]);
void submit_close_listeners(struct edge *edge);
/* Ends, now or when it says, the sessions that have used one of those credentials. */
void submit_credentials_ended(struct edge *edge, const struct edge_ended *ended);

#endif
