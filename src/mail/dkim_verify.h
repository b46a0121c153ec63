/* dkim_verify.h - DKIM signatures of a mail that came in: are they good, and whose are they
 * (RFC 6376, RFC 8463 for Ed25519, RFC 8301 for what is too weak).
 *
 * The mail is fed in any pieces, header first, as it arrives; its body is hashed on the way and not
 * kept. Once the header has passed, the verifier names the TXT records that it needs, the caller
 * looks them up however it likes, and dkim_verify_finish does all the arithmetic of keys at once,
 * on a worker if the caller wants:
 *
 *   new -> add... -> end -> question, answer... -> finish -> verdict... -> free
 *            |                     ^
 *            +--- header passed ---+   (answers may come while the body does)
 *
 * Each signature stands for itself and gets a verdict of its own; what they are worth is policy, as
 * is what to make of a signature that leaves part of the body out or of a domain that is testing.
 *
 * Everything that a stranger can make long has a ceiling in limits.h: at most DKIM_SIGNATURES_MAX
 * signatures are looked at, from the top; a header above DKIM_HEADER_MAX or with more than
 * DKIM_FIELDS_MAX fields makes them all neutral. The body is hashed once for each canonical form
 * and l= that is asked for, not once a signature. Signatures without l= come first there.
 */
#ifndef MAIL_DKIM_VERIFY_H
#define MAIL_DKIM_VERIFY_H

#include "base/base.h"
#include "base/slice.h"
#include "mail/lookup.h"

/* RFC 8601 2.7.1. DKIM_NONE is what a mail without signatures has; no verdict says it. */
enum dkim_result {
    DKIM_NONE,
    DKIM_PASS,
    DKIM_FAIL,      /* the mail is not what was signed */
    DKIM_POLICY,    /* we do not accept such a signature: a weak key, too many l= */
    DKIM_NEUTRAL,   /* could not be judged: unknown algorithm, endless header */
    DKIM_TEMPERROR, /* the key could not be looked up */
    DKIM_PERMERROR, /* malformed, expired, without a key, rsa-sha1 (RFC 8301 3.1) */
};
/* The word of RFC 8601. */
const char *dkim_result_text(enum dkim_result result);

/* Safe to print and to put into a header, whatever the mail said: what is malformed is empty. */
struct dkim_verdict {
    enum dkim_result result;
    struct slice domain;   /* d=, in lower case A-labels */
    struct slice selector; /* s=, likewise */
    struct slice algo;     /* a= */
    struct slice b_start;  /* the first 8 characters of b=, RFC 6008 4 */
    const char *reason;    /* a sentence; never NULL */
    bool is_partial;       /* l=, and the body goes on behind it: anybody may have written that */
    bool is_testing;       /* t=y of the key: RFC 6376 3.6.1 asks to treat as unsigned */
};

struct dkim_verify;

/* Owns: the caller owns it and ends it with dkim_verify_free, at any stage.
 * Units: now_s is wall time, for x= and t=. */
struct dkim_verify *dkim_verify_new(uint64_t now_s);
void dkim_verify_free(struct dkim_verify *verify);

/* The mail in pieces; LF alone ends a line as CRLF does. Cost: what SHA-256 costs, up to
 * 2 + DKIM_PARTIAL_MAX times; parsing of the header when it ends. */
void dkim_verify_add(struct dkim_verify *verify, struct slice data);
/* The mail is complete. */
void dkim_verify_end(struct dkim_verify *verify);

/* The names whose TXT records are needed, each once; 0 before the header has passed. They may be
 * looked up all at once. */
uint32_t dkim_verify_question_count(const struct dkim_verify *verify);
struct lookup_question dkim_verify_question(const struct dkim_verify *verify, uint32_t index);
/* Once a question; the records are copied. A question without an answer counts as failed. */
void dkim_verify_answer(struct dkim_verify *verify, uint32_t index,
                        const struct lookup_answer *answer);

/* Judges. Once, after dkim_verify_end and the answers. Worker, or a loop that has the time: 30 us a
 * signature and what hashing the header costs. */
void dkim_verify_finish(struct dkim_verify *verify);

/* In the order of the header; verdicts after finish. They live as long as verify. */
uint32_t dkim_verify_count(const struct dkim_verify *verify);
const struct dkim_verdict *dkim_verify_verdict(const struct dkim_verify *verify, uint32_t index);
/* Signatures beyond DKIM_SIGNATURES_MAX. */
uint32_t dkim_verify_skipped(const struct dkim_verify *verify);

#endif
