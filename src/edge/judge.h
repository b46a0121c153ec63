/* judge.h - what SPF, DKIM and DMARC say of a mail that is coming in.
 *
 * The machines of mail/ ask and answer; this brings them the answers of the loop's own dns and puts
 * them in order. SPF runs from the envelope on, DKIM hashes the bytes as they pass, and once the
 * mail is complete the keys are looked up, the signatures are judged on a worker and DMARC has the
 * last word:
 *
 *   judge_new -> judge_add... -> judge_finish -> on_done -> results -> judge_free
 *
 * What is not known JUDGE_MS after the mail was complete is temperror. Nothing is decided here:
 * what becomes of a mail is the session's business.
 */
#ifndef EDGE_JUDGE_H
#define EDGE_JUDGE_H

#include "base/base.h"
#include "base/cidr.h"
#include "base/slice.h"
#include "mail/dkim_verify.h"
#include "mail/dmarc.h"
#include "mail/spf.h"
#include "net/dns.h"
#include "net/loop.h"

struct judge;
typedef void judge_fn(void *context);

struct judge_input {
    struct ip6 client;
    struct slice helo;
    struct slice mail_from; /* empty: the null sender */
    struct slice hostname;  /* ours */
};

/* A signature as we take it: one that leaves part of the body open, or of a domain that is testing,
 * does not pass (RFC 6376 8.2, 3.6.1). */
struct judge_signature {
    enum dkim_result result;
    const struct dkim_verdict *verdict;
    const char *reason;
};

struct judge_results {
    const struct spf_verdict *spf;
    const struct judge_signature *signatures;
    uint32_t signature_count;
    enum dkim_result dkim; /* the best of them; DKIM_NONE without any */
    const struct dmarc_verdict *dmarc;
};

/* Begins with SPF; copies input.
 * Owns: the caller owns it and ends it with judge_free, at any stage. */
struct judge *judge_new(struct loop *loop, struct dns *dns, const struct judge_input *input);
/* Nobody wants to know any more; on_done will not run. */
void judge_free(struct judge *judge);

/* The mail in pieces. */
void judge_add(struct judge *judge, struct slice data);
/* The header block, once, before judge_finish: whose mail does it claim to be? Without it, or when
 * no one domain can be told, DMARC has nobody to ask. */
void judge_header(struct judge *judge, struct slice header_block);
/* The mail is complete. on_done runs once, later, and never inside. */
void judge_finish(struct judge *judge, judge_fn *on_done, void *context);

/* From on_done on; they live as long as the judge. */
const struct judge_results *judge_results(const struct judge *judge);

#endif
