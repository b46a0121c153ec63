/* spf.h - may this client send for this domain? Sender Policy Framework, RFC 7208.
 *
 * A machine without input or output: spf_start, then as long as spf_next names a question, look it
 * up and give the answer to spf_answer; then read the verdict. Every mechanism, modifier and macro
 * is understood. The ceilings of RFC 7208 4.6.4 hold: ten terms that look something up (which also
 * bounds the depth of includes), ten hosts of a mail exchanger, ten names of an address, two terms
 * in vain. At most 1 + 10 * 11 + 11 + 1 questions are asked, whatever a record says.
 *
 * Where RFC 7208 leaves room: a target that cannot be a name matches nothing (4.8); names of the
 * client are looked up once for a whole check; a term counts as in vain when its first question
 * finds nothing, so that hosts without an IPv6 address do not count against their domain.
 *
 * Not here: time. Whoever runs the machine sets a clock (RFC 7208 4.6.4 says at least 20 s) and
 * calls spf_stop when it rings.
 */
#ifndef MAIL_SPF_H
#define MAIL_SPF_H

#include "base/arena.h"
#include "base/base.h"
#include "base/cidr.h"
#include "base/slice.h"
#include "mail/lookup.h"

enum spf_result {
    SPF_NONE,      /* no record, or no domain that could have one */
    SPF_NEUTRAL,   /* the domain says nothing about this client */
    SPF_PASS,      /* it may */
    SPF_FAIL,      /* it may not */
    SPF_SOFTFAIL,  /* it probably may not */
    SPF_TEMPERROR, /* ask again later */
    SPF_PERMERROR, /* the record cannot be understood */
};

struct spf_input {
    struct ip6 client;
    struct slice helo;      /* as the client gave it */
    struct slice mail_from; /* local@domain without brackets; empty: the null sender, or the HELO
                               identity alone. Then postmaster at helo is judged (RFC 7208 2.4) */
    struct slice receiver;  /* our host name, for %{r} */
    uint64_t now_s;         /* for %{t} */
};

struct spf_verdict {
    enum spf_result result;
    struct slice domain;      /* whose record was asked for first; empty when there was none */
    struct slice mechanism;   /* the term of that record which decided, cut at
                                 SPF_EXPLANATION_MAX; "default" when none did; empty without a
                                 record */
    struct slice problem;     /* why there is an error, one phrase; empty otherwise */
    struct slice explanation; /* the domain's own words for a fail, printable ASCII; may be empty */
};

struct spf;

/* Copies what it needs of input. The arena must have SPF_ARENA_BYTES left; everything lives in it.
 */
struct spf *spf_start(struct arena *arena, const struct spf_input *input);
/* The question that is open. False when there is none: the verdict stands. */
bool spf_next(const struct spf *spf, struct lookup_question *question);
/* Only while a question is open. */
void spf_answer(struct spf *spf, const struct lookup_answer *answer);
/* Takes too long: the verdict is temperror, unless only the explanation is missing. */
void spf_stop(struct spf *spf);
/* Only when spf_next says that nothing is open. */
const struct spf_verdict *spf_verdict(const struct spf *spf);

/* "pass", as in Authentication-Results (RFC 8601 2.7.2). */
const char *spf_result_text(enum spf_result result);

#endif
