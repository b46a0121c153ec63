/* attempt_mail.h - a mail as an attempt sees it: envelope, first bytes, and a verdict for each
 * recipient.
 *
 * A verdict is said once: who is judged stays judged, whatever becomes of the connection.
 */
#ifndef DELIVER_ATTEMPT_MAIL_H
#define DELIVER_ATTEMPT_MAIL_H

#include "base/base.h"
#include "base/slice.h"
#include "mail/dsn.h"

struct attempt_rcpt {
    struct slice addr;
    struct verdict verdict;
    bool is_judged;
};

/* All slices are the owner's and stay until the mail is judged or failed. */
struct attempt_mail {
    struct slice sender;
    struct attempt_rcpt *rcpts;
    uint32_t rcpt_count;
    struct slice prefix; /* header fields sent before the stored bytes */
    uint64_t size_bytes; /* prefix included */
    uint32_t chunk_count;
    struct slice first_chunk;
    bool needs_utf8;
    bool needs_8bit;
    bool requires_tls; /* MAIL says REQUIRETLS */
};

bool attempt_mail_has_verdicts(const struct attempt_mail *mail);
bool attempt_mail_is_judged(const struct attempt_mail *mail);
/* Whoever is not judged yet gets this verdict. */
void attempt_mail_judge_rest(struct attempt_mail *mail, const struct verdict *verdict);

#endif
