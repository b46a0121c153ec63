/* attempt_smtp.h - one SMTP connection to one address, and the transactions on it, as a checked
 * machine.
 *
 * Opens, greets, upgrades with STARTTLS, authenticates, then sends mails one after the other;
 * recipients of one mail are judged one by one. Uses PIPELINING, SIZE, 8BITMIME and SMTPUTF8 when
 * offered. Bodies are pulled in chunks as the socket drains.
 *
 * The moments that matter: until DATA is accepted the owner may try another host (on_failed); after
 * it, or once a recipient was judged, the mail ends here (on_judged) and the rest is deferred. Once
 * the final dot is sent and no reply came, nobody knows what became of the mail; the deferral's
 * text says so (RFC 5321 4.5.3.2.6 and RFC 1047).
 *
 * Everything said by both sides is kept in a transcript of bounded size; credentials are not.
 */
#ifndef DELIVER_ATTEMPT_SMTP_H
#define DELIVER_ATTEMPT_SMTP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/tap.h"
#include "deliver/attempt_mail.h"
#include "mail/dsn.h"
#include "net/conn.h"
#include "net/loop.h"
#include "net/smtp.h"
#include "net/tls.h"

enum smtp_tls { SMTP_TLS_NONE, SMTP_TLS_MAY, SMTP_TLS_REQUIRE, SMTP_TLS_IMPLICIT };

struct attempt_smtp;

struct attempt_handler {
    /* Greeted and ready for the first mail. */
    void (*on_ready)(struct attempt_smtp *attempt);
    /* Give chunk `index` with attempt_smtp_chunk, now or later. */
    void (*on_chunk)(struct attempt_smtp *attempt, uint32_t index);
    /* Every recipient of the mail is judged. attempt_smtp_is_alive: another mail may follow;
     * otherwise the attempt is gone after this call. */
    void (*on_judged)(struct attempt_smtp *attempt);
    /* The connection failed and no recipient was judged, or no mail was in progress. The attempt is
     * gone after this call. */
    void (*on_failed)(struct attempt_smtp *attempt, const struct verdict *verdict);
};

struct attempt_options {
    struct loop *loop;
    const struct attempt_handler *handler;
    struct conn_addr addr;
    const struct conn_addr *source; /* of ours; NULL: the system's choice; stays */
    const char *host;               /* for SNI, verification and the rows; copied */
    struct slice ehlo;              /* our name */
    enum smtp_tls tls;
    struct tls_context *tls_context;
    const struct tls_pins
        *pins;             /* with a context of TLS_VERIFY_DANE; stays until ready or failed */
    struct slice pin_base; /* the pins' base domain, likewise */
    const char *policy;    /* what demanded TLS, for the rows; stays */
    struct slice user;     /* empty: no AUTH */
    struct slice password;
    uint64_t timeout_ms; /* 0: those of RFC 5321 4.5.3.2 */
    /* For who watches (base/tap.h): called for each line while a trace is on, until the owner has
     * let go. NULL: nobody can. */
    const struct tap_table *tap;
    void (*on_line)(struct attempt_smtp *attempt, const char *who, struct slice text);
    void (*on_reply)(struct attempt_smtp *attempt, const struct smtp_reply *reply);
};

/* Starts connecting. The slices of options stay the caller's for the attempt's life.
 * Owns: the attempt owns itself and is gone after on_failed, a last on_judged, or quit. */
struct attempt_smtp *attempt_smtp_open(const struct attempt_options *options, void *owner);
void attempt_smtp_send(struct attempt_smtp *attempt, struct attempt_mail *mail);
void attempt_smtp_chunk(struct attempt_smtp *attempt, struct slice data);
/* Between mails: says QUIT and goes; no callback follows. */
void attempt_smtp_quit(struct attempt_smtp *attempt);
/* Any time: closes at once; no callback follows. */
void attempt_smtp_abort(struct attempt_smtp *attempt);

bool attempt_smtp_is_alive(const struct attempt_smtp *attempt);
void attempt_smtp_set_owner(struct attempt_smtp *attempt, void *owner);
void *attempt_smtp_owner(const struct attempt_smtp *attempt);
uint32_t attempt_smtp_mails(const struct attempt_smtp *attempt);
const char *attempt_smtp_host(const struct attempt_smtp *attempt);
/* "192.0.2.1", terminated. */
const char *attempt_smtp_addr(const struct attempt_smtp *attempt);
/* Ours, likewise; empty when it never got as far. */
const char *attempt_smtp_source(const struct attempt_smtp *attempt);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384", or empty. */
const char *attempt_smtp_tls(const struct attempt_smtp *attempt);
/* Whose answer is awaited. */
enum smtp_step attempt_smtp_step(const struct attempt_smtp *attempt);
/* As it was opened. */
const struct attempt_options *attempt_smtp_options(const struct attempt_smtp *attempt);
/* What the peer's certificate lacks, also where that was not asked for. */
enum tls_fault attempt_smtp_fault(const struct attempt_smtp *attempt);
/* Whether the peer was verified for a name that is the recipients' domain's, and so proves nothing
 * to another domain. */
bool attempt_smtp_is_named(const struct attempt_smtp *attempt);
/* Whether a mail that requires TLS may go this way: the peer is verified and offers REQUIRETLS. */
bool attempt_smtp_has_requiretls(const struct attempt_smtp *attempt);
/* Since the last mail began. Valid in callbacks. */
struct slice attempt_smtp_transcript(const struct attempt_smtp *attempt);
/* The owner's link, for its list of idle connections. */
struct link *attempt_smtp_link(struct attempt_smtp *attempt);
struct attempt_smtp *attempt_smtp_of_link(struct link *link);

#endif
