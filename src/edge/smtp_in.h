/* smtp_in.h - SMTP sessions on every loop: mail that comes in, and mail that clients submit.
 *
 * Each of the two has an instance of its own, with its own room and its own guard, so that a flood
 * of the one does not keep the other out. What follows is about mail that comes in; edge/submit.h
 * has the other.
 *
 * A session is a conn, the machine of net/smtp_server, and the policy in between: who may come in
 * (net/smtp_guard, net/proxy), which recipients are ours (SHARD_DIRECTORY, then SHARD_RCPT), where
 * the bytes go (SHARD_STAGE beyond MAIL_INLINE_MAX), what SPF, DKIM and DMARC say (edge/judge), and
 * that a mail is answered 250 only when every account has it on disk (SHARD_INBOUND). There is no
 * AUTH here and no relay: mail is for domains that accounts have verified.
 *
 * The edge owns it, opens its listener and hands it its messages.
 */
#ifndef EDGE_SMTP_IN_H
#define EDGE_SMTP_IN_H

#include "base/base.h"
#include "base/err.h"
#include "net/conn.h"
#include "shards/msg.h"

struct edge;
struct smtp_in;
typedef void smtp_in_closed_fn(void *context);

/* Owns: the caller; ends with smtp_in_close. Errors: ERR_INVALID, logged, when dns_servers,
 * smtp_proxies or the host name cannot be read. */
MUST_USE enum err smtp_in_open(struct edge *edge, bool is_submission, struct smtp_in **smtp);
/* No session may be left. on_closed once its memory is gone. */
void smtp_in_close(struct smtp_in *smtp, smtp_in_closed_fn *on_closed, void *context);

/* Owns: takes the socket. */
void smtp_in_accept(struct smtp_in *smtp, uv_os_sock_t socket, bool is_implicit_tls);
uint32_t smtp_in_session_count(const struct smtp_in *smtp);
/* Whether a message that came home was sent by a session. */
bool smtp_in_is_mine(const struct msg *msg);
/* Owns: takes msg. edge->smtp and edge->submit are NULL once they were closed. */
void smtp_in_home(struct edge *edge, struct msg *msg);

/* Says 421 to everybody; who is in the middle of a mail is heard out first. */
void smtp_in_drain(struct smtp_in *smtp);
/* Sessions end as in a drain, and who comes from now on hears 421; for as long as edge->drain_wish
 * says. */
void smtp_in_turn_away(struct smtp_in *smtp);
/* Ends every session now. */
void smtp_in_cut(struct smtp_in *smtp);

#endif
