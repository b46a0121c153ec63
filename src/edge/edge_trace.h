/* edge_trace.h - requests and SMTP sessions for who watches them live (base/tap.h).
 *
 * Shown are request lines, header fields that hold no secret, commands and replies, sizes and
 * times. Never shown: bodies and mails, credentials (Authorization, cookies, AUTH), unknown header
 * fields' values and unknown commands, tokens in paths and queries. What is not known to be
 * harmless is hidden.
 *
 * Ask tap_is_on(&edge->tap) first: it is all that a session pays while nobody watches.
 */
#ifndef EDGE_EDGE_TRACE_H
#define EDGE_EDGE_TRACE_H

#include "edge/edge_int.h"
#include "net/smtp_server.h"

struct smtp_session;

void edge_trace_init(struct edge *edge);
void edge_trace_stop(struct edge *edge);
/* An EDGE_TRACE. Owns: takes msg. */
void edge_trace_serve(struct edge *edge, struct msg *msg);

/* Its header is there; kept with the request until its answer. */
void edge_trace_request(struct request *request);
void edge_trace_answer(struct request *request, const struct http_answer *answer);

/* What the client has said, before the event is handled; and what goes back. */
void edge_trace_event(struct smtp_session *session, enum smtp_event event);
void edge_trace_replies(struct smtp_session *session, struct slice out);

#endif
