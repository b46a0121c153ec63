/* feedback.h - what an answer says about the destination, as opposed to the mail.
 *
 * A verdict (mail/dsn) says what becomes of a recipient. This says what to do about the host: send
 * more, nothing, fewer at once, more slowly, or leave it alone. Greylisting is about one sender and
 * recipient and changes nothing. The rules are one readable table of codes and words, because
 * providers say "slow down" in a dozen ways and RFC 3463 has no number for it.
 */
#ifndef DELIVER_FEEDBACK_H
#define DELIVER_FEEDBACK_H

#include "base/base.h"
#include "mail/dsn.h"

/* In order of weight: of several answers in one transaction the heaviest counts. */
enum feedback {
    FEEDBACK_GOOD,      /* it did its work, whatever it thinks of the recipient */
    FEEDBACK_NONE,      /* says nothing: greylisting */
    FEEDBACK_CROWDED,   /* too many connections at once */
    FEEDBACK_THROTTLED, /* too many mails in too short a time */
    FEEDBACK_FAILED,    /* did not work */
    FEEDBACK_BLOCKED,   /* does not want anything from this address of ours */
    FEEDBACK_COUNT
};

enum feedback feedback_of(const struct verdict *verdict);
const char *feedback_text(enum feedback feedback);

#endif
