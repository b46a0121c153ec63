/* submission.h - a mail that a client brings whole, over SMTP: what it says of itself, and the few
 * fields of it that are changed before it goes on (RFC 6409 8).
 *
 * The body stays as it is, byte for byte, and so do the fields and their order, but that
 *
 *     Received is written above them, for whoever follows a mail's way,
 *     Bcc, Resent-Bcc, Return-Path, Feedback-ID and X-Meerkat-* are left out, and
 *     Date, Message-ID and MIME-Version are added where they are missing, Feedback-ID always.
 *
 * Strict, because whoever signs a mail answers for it: one author with one address; each field that
 * may stand once stands once (RFC 5322 3.6), so that no two programs read two mails; no line beyond
 * 998 bytes; no bare CR, bare LF or NUL; a header in ASCII or UTF-8. Nothing is repaired.
 *
 * Pure. Reading the header is for a loop (its size has a ceiling), writing for workers.
 */
#ifndef MAIL_SUBMISSION_H
#define MAIL_SUBMISSION_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "mail/addr.h"

struct submission {
    struct addr from; /* the one author */
    struct addr *to;  /* of the fields; what is no address is left out */
    uint32_t to_count;
    struct addr *cc;
    uint32_t cc_count;
    /* X-Meerkat-*, decoded */
    struct slice idempotency_key; /* empty for none */
    struct slice metadata;        /* JSON, as written; empty for none */
    struct slice tags[TAG_COUNT];
    uint32_t tag_count;
};

/* What the header says; in arena, which must have SUBMISSION_ARENA_BYTES left, or in raw. Errors:
 * ERR_BAD_FIELD, and why in *problem: a sentence for the client, static. */
MUST_USE enum err submission_read(struct slice raw, struct arena *arena, struct submission *mail,
                                  const char **problem);

struct submission_adds {
    struct slice message_id;  /* without <>, for a mail that has none */
    struct slice feedback_id; /* empty for none */
    struct slice hostname;    /* ours, for Received; empty for none of it */
    struct slice id;          /* of the mail, likewise */
    uint64_t date_unix_ms;
};

struct submission_written {
    uint64_t header_len; /* with the empty line */
    bool is_8bit;        /* the body is not all ASCII */
    bool is_utf8;        /* the header is not */
};

/* Appends the mail to out. Errors: ERR_BAD_FIELD with *problem as above, ERR_TOO_LARGE when it
 * passes out's ceiling. */
MUST_USE enum err submission_write(struct slice raw, const struct submission_adds *adds,
                                   struct buf *out, struct submission_written *written,
                                   const char **problem);

#endif
