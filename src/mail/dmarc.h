/* dmarc.h - is the author's domain borne out by SPF or DKIM, and if not, what does its owner ask
 * for? Domain-based Message Authentication, RFC 9989.
 *
 * A machine without input or output, as spf.h: dmarc_start, questions and answers, the verdict. It
 * takes the author's domain (author.h) and the domains that SPF and DKIM have judged; it finds the
 * owner's record and the organizational domains by walking up the DNS tree (4.10). Nothing is asked
 * twice, and nothing that cannot change the verdict: a domain that does not end in the author's
 * organizational domain never aligns.
 *
 * Not here: reports, and what to do about a failure. RFC 9989 7.4 forbids to reject by the policy
 * alone.
 */
#ifndef MAIL_DMARC_H
#define MAIL_DMARC_H

#include "base/arena.h"
#include "base/base.h"
#include "base/slice.h"
#include "mail/lookup.h"

enum dmarc_result {
    DMARC_NONE,      /* the domain has no record */
    DMARC_PASS,      /* an authenticated domain aligns with the author's */
    DMARC_FAIL,      /* none does */
    DMARC_TEMPERROR, /* ask again later */
    DMARC_PERMERROR, /* no one author domain, or its record cannot be used */
};

enum dmarc_policy { DMARC_POLICY_NONE, DMARC_POLICY_QUARANTINE, DMARC_POLICY_REJECT };
enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO };

struct dmarc_record {
    enum dmarc_policy policy;           /* p */
    enum dmarc_policy subdomain_policy; /* sp, else p */
    enum dmarc_policy missing_policy;   /* np, else sp, else p */
    enum dmarc_psd psd;
    bool is_usable;      /* false: a policy is misspelt, and there is nobody to tell */
    bool is_testing;     /* t=y */
    bool is_strict_dkim; /* adkim=s */
    bool is_strict_spf;  /* aspf=s */
    struct slice rua;    /* as written; parts of the text that was read */
    struct slice ruf;
};

/* False when text is no DMARC record (4.7: "v=DMARC1" must come first). Other tags that are unknown
 * or malformed are ignored. */
bool dmarc_record_read(struct slice text, struct dmarc_record *record);

enum dmarc_outcome { DMARC_ID_FAIL, DMARC_ID_PASS, DMARC_ID_TEMPERROR };

/* What SPF or a DKIM signature says: domain is that of MAIL FROM (of HELO with the null sender), or
 * d= of the signature. */
struct dmarc_id {
    struct slice domain;
    enum dmarc_outcome outcome;
    bool is_dkim;
};

struct dmarc_input {
    struct slice author; /* empty: there is no one author domain */
    const struct dmarc_id *ids;
    uint32_t id_count; /* beyond DMARC_IDS_MAX those that did not pass count for nothing, and the
                          first that did for most */
};

struct dmarc_verdict {
    enum dmarc_result result;
    enum dmarc_policy policy;    /* what the owner asks for when the result is fail; one level
                                    below what is published while testing (4.7, t) */
    enum dmarc_policy published; /* for this author: p, sp or np */
    bool is_testing;
    struct slice author;        /* lower case */
    struct slice policy_domain; /* where the record is; empty without one */
    struct slice rua;
    struct slice ruf;
    struct slice aligned; /* the domain that made it pass */
    bool is_dkim;         /* and how */
    struct slice problem; /* for the errors, one phrase */
};

struct dmarc;

/* Copies what it needs of input. The arena must have DMARC_ARENA_BYTES left; everything lives in
 * it. */
struct dmarc *dmarc_start(struct arena *arena, const struct dmarc_input *input);
/* The question that is open. False when there is none: the verdict stands. */
bool dmarc_next(const struct dmarc *dmarc, struct lookup_question *question);
/* Only while a question is open. */
void dmarc_answer(struct dmarc *dmarc, const struct lookup_answer *answer);
/* Takes too long: the verdict is temperror. */
void dmarc_stop(struct dmarc *dmarc);
/* Only when dmarc_next says that nothing is open. */
const struct dmarc_verdict *dmarc_verdict(const struct dmarc *dmarc);

const char *dmarc_result_text(enum dmarc_result result);
const char *dmarc_policy_text(enum dmarc_policy policy);

#endif
