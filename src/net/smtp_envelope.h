/* smtp_envelope.h - what follows MAIL and RCPT: paths and parameters. No state, no policy.
 *
 * Reads the grammar of RFC 5321 4.1.2 with the parameters of SIZE (1870), 8BITMIME (6152), SMTPUTF8
 * (6531), DSN (3461), AUTH (4954 5) and REQUIRETLS (8689). A path is checked for its syntax and
 * left as it was sent, but for source routes, which are dropped (RFC 5321 4.1.1.3): who routes mail
 * normalises it (mail/addr). Lenient in two things that real senders do: a space behind the colon,
 * and '_' in a domain. A parameter of an extension that was not offered is refused (RFC 5321
 * 4.1.1.11).
 *
 * All slices point into the arguments that were given.
 */
#ifndef NET_SMTP_ENVELOPE_H
#define NET_SMTP_ENVELOPE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"

/* What EHLO offers at present; SIZE always is. */
struct smtp_offers {
    bool starttls;
    bool auth; /* PLAIN and LOGIN; never without TLS */
    bool pipelining;
    bool eight_bit_mime;
    bool smtputf8;
    bool chunking;
    bool enhanced_status;
    bool dsn;
    bool requiretls; /* never without TLS */
};

struct smtp_path {
    struct slice text;   /* local@domain; empty for the null path "<>" */
    struct slice local;  /* with its quotes, if it has any */
    struct slice domain; /* empty for "<postmaster>"; with its brackets when it is a literal */
    bool is_literal;
    bool is_8bit; /* valid UTF-8, not ASCII */
};

enum smtp_body_type { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };
enum smtp_ret { SMTP_RET_UNSAID, SMTP_RET_FULL, SMTP_RET_HDRS };

struct smtp_mail {
    struct smtp_path from;
    uint64_t size_bytes; /* declared; 0 when it was not */
    struct slice envid;  /* xtext, as sent */
    enum smtp_body_type body;
    enum smtp_ret ret;
    bool is_smtputf8;
    bool is_requiretls;
};

/* NOTIFY, RFC 3461 4.1; 0 when it was not said. */
#define SMTP_NOTIFY_NEVER   1U
#define SMTP_NOTIFY_SUCCESS 2U
#define SMTP_NOTIFY_FAILURE 4U
#define SMTP_NOTIFY_DELAY   8U

struct smtp_rcpt {
    struct smtp_path to;
    struct slice orcpt_type; /* "rfc822" */
    struct slice orcpt;      /* xtext, as sent; UTF-8 for the type utf-8 under SMTPUTF8 */
    uint8_t notify;
};

/* Why a command is not taken. Lives as long as the program. */
struct smtp_refusal {
    uint16_t code;
    const char *enhanced;
    const char *text;
};

/* args is what follows "MAIL " or "RCPT ". NULL when *mail or *rcpt is filled, else the reply. A
 * declared size above size_max is refused here (RFC 1870 6.1). */
const struct smtp_refusal *smtp_mail_read(struct slice args, const struct smtp_offers *offers,
                                          uint64_t size_max, struct smtp_mail *mail);
/* is_smtputf8 as MAIL said it. */
const struct smtp_refusal *smtp_rcpt_read(struct slice args, const struct smtp_offers *offers,
                                          bool is_smtputf8, struct smtp_rcpt *rcpt);

/* Undoes xtext (RFC 3461 4). Errors: ERR_INVALID, with part of it already in out. */
MUST_USE enum err smtp_xtext_read(struct slice xtext, struct buf *out);

#endif
