/* lookup.h - the DNS questions that the machines of this folder ask, and their answers.
 *
 * SPF and DMARC decide by what the DNS holds, and do no input or output of their own: a machine
 * names one question, whoever runs it brings the answer after any delay, and the machine goes on.
 * The words are this folder's own, because mail knows nothing of sockets; the resolver's answer is
 * translated by the caller. An answer is only read during the call that brings it: what a machine
 * needs later it copies.
 */
#ifndef MAIL_LOOKUP_H
#define MAIL_LOOKUP_H

#include "base/base.h"
#include "base/cidr.h"
#include "base/slice.h"

enum lookup_type { LOOKUP_A, LOOKUP_AAAA, LOOKUP_MX, LOOKUP_TXT, LOOKUP_PTR };

struct lookup_question {
    enum lookup_type type;
    struct slice name; /* printable ASCII, spaces included, without a final dot; the machine's,
                          until it has its answer */
};

enum lookup_outcome {
    LOOKUP_FOUND,     /* one record or more */
    LOOKUP_NO_RECORD, /* the name exists, this type does not */
    LOOKUP_NO_NAME,   /* NXDOMAIN */
    LOOKUP_FAILED,    /* timeout, SERVFAIL, refused: unknown at present */
};

struct lookup_record {
    struct slice text; /* TXT: its strings joined; MX: the host; PTR: the name. Hosts and names
                          without the final dot: the null MX (RFC 7505) is empty */
    struct ip6 ip;     /* A, AAAA */
    uint16_t priority; /* MX */
};

struct lookup_answer {
    enum lookup_outcome outcome;
    uint32_t count; /* 0 unless FOUND; FOUND with none is read as NO_RECORD */
    const struct lookup_record *records;
};

/* What a machine may ask for: labels of 1 to 63 bytes, 253 in all, printable ASCII. No backslash,
 * which would be an escape to the resolver. */
bool lookup_name_is_valid(struct slice name);

#endif
