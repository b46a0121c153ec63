/* dsn.h - what a remote server's answer means for a recipient.
 *
 * An SMTP reply becomes a verdict: delivered, deferred (try later) or bounced (never), with a scope
 * that says who else is concerned: only this recipient, the whole mail, or the host or site as
 * such. The rules (RFC 5321 4.2.1, RFC 3463) are one readable table; a verdict is data that is
 * stored and shown, never an enum err.
 */
#ifndef MAIL_DSN_H
#define MAIL_DSN_H

#include "base/base.h"
#include "base/slice.h"

enum verdict_class { VERDICT_DELIVERED, VERDICT_DEFERRED, VERDICT_BOUNCED };

enum verdict_scope {
    VERDICT_RCPT, /* says something about one recipient */
    VERDICT_MAIL, /* about this mail: sender, size, content */
    VERDICT_HOST, /* about the host or the connection: try the next host, then later */
};

enum smtp_step {
    SMTP_STEP_RESOLVE,
    SMTP_STEP_CONNECT,
    SMTP_STEP_TLS,
    SMTP_STEP_GREETING,
    SMTP_STEP_EHLO,
    SMTP_STEP_STARTTLS,
    SMTP_STEP_AUTH,
    SMTP_STEP_MAIL,
    SMTP_STEP_RCPT,
    SMTP_STEP_DATA,
    SMTP_STEP_BODY, /* the reply after the final dot */
    SMTP_STEP_RSET,
    SMTP_STEP_QUIT,
    SMTP_STEP_COUNT
};

/* What is behind a refusal: mail/bounce_rules.h. The words are on disk, not the numbers. */
enum bounce_class {
    BOUNCE_NONE, /* it was none, or nobody has looked */
    BOUNCE_HARD,
    BOUNCE_MAILBOX_FULL,
    BOUNCE_INACTIVE,
    BOUNCE_SOFT,
    BOUNCE_BLOCK,
    BOUNCE_POLICY,
    BOUNCE_RATE,
    BOUNCE_GREYLIST,
    BOUNCE_TLS,
    BOUNCE_SIZE,
    BOUNCE_SPAM_CONTENT,
    BOUNCE_DNS,
    BOUNCE_RELAY,
    BOUNCE_AUTH,
    BOUNCE_PROTOCOL,
    BOUNCE_OTHER,
    BOUNCE_CLASS_COUNT
};

#define VERDICT_TEXT_MAX 512

struct verdict {
    enum verdict_class class;
    enum verdict_scope scope;
    enum smtp_step step;
    uint16_t code; /* SMTP reply code; 0 when there was none (connection refused, timeout, DNS) */
    enum bounce_class bounce;    /* of what is no success */
    bool is_given_up;            /* tried again and again, until its time was over */
    bool has_complaint;          /* a rehearsed recipient who reports the mail as spam */
    char enhanced[12];           /* as given, or derived: "4.4.1" for a refused connection */
    char text[VERDICT_TEXT_MAX]; /* the reply's text or our own sentence; valid UTF-8, no controls
                                    but '\n'; terminated */
};

/* From a reply at a step. 421 is about the host at any step; 4yz at MAIL, RCPT, BODY about mail or
 * recipient; 5yz at the greeting, EHLO, STARTTLS about the host (deferred until all hosts were
 * tried, RFC 5321 5.1); 552 with 5.2.2 and 452 for RCPT is "too many recipients / mailbox full" and
 * deferred (RFC 5321 4.5.3.1.10); other 5yz bounces; a code that fits nowhere is treated as its
 * first digit, and 1yz or 3yz out of place as deferred. */
void verdict_from_reply(struct verdict *verdict, enum smtp_step step, uint16_t code,
                        struct slice enhanced, struct slice text);
/* Without a reply: our own words. class and enhanced are the caller's: e.g. deferred 4.4.1
 * "connection refused". */
void verdict_own(struct verdict *verdict, enum smtp_step step, enum verdict_class class,
                 const char *enhanced, const char *text);
/* From a report that came later, as if a server had refused the recipient. code may be 0, enhanced
 * empty; any bytes. */
void verdict_from_report(struct verdict *verdict, bool is_final, uint16_t code,
                         struct slice enhanced, struct slice text);
const char *smtp_step_name(enum smtp_step step);

#endif
