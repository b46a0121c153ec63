/* auth_results.h - the Authentication-Results field, RFC 8601: what we found out about a mail, for
 * whoever reads it later.
 *
 * One field holds everything: SPF, each DKIM signature, DMARC. What strangers chose (addresses,
 * domains, reasons) is written as tokens or quoted strings, bounded and without controls, so that
 * it can end neither its value nor the field.
 *
 * Readers trust such a field by the name of the server in it. Therefore fields that came with a
 * mail and bear our name are forged, and must go (RFC 8601 5).
 */
#ifndef MAIL_AUTH_RESULTS_H
#define MAIL_AUTH_RESULTS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

/* Results are the words of RFC 8601 2.7 (spf_result_text and its like); where one is empty, the
 * method was not tried and is not written. Other texts may be empty. */
struct auth_spf {
    struct slice result;
    struct slice mail_from; /* the address; empty for the null sender: then HELO is what counted */
    struct slice helo;
    struct slice reason; /* of an error */
};

struct auth_dkim {
    struct slice result;
    struct slice domain;    /* d= */
    struct slice selector;  /* s= */
    struct slice algorithm; /* a= */
    struct slice b_start;   /* of b=: tells signatures apart (RFC 6008); 8 characters are written */
    struct slice reason;
};

struct auth_dmarc {
    struct slice result;
    struct slice from;   /* the author's domain */
    struct slice policy; /* "reject": what the owner asks for */
    struct slice reason;
};

struct auth_results {
    struct slice authserv_id; /* our name: a host name */
    struct auth_spf spf;
    const struct auth_dkim *dkim;
    uint32_t dkim_count; /* 0: no signature, written as dkim=none when is_dkim_tried */
    bool is_dkim_tried;
    struct auth_dmarc dmarc;
};

/* Appends the field, folded, with its CRLF. To be put above everything that the mail brought. */
void auth_results_write(struct buf *out, const struct auth_results *results);

struct auth_range {
    size_t at; /* of the field's first byte in the header block */
    size_t len;
};

/* The next field that claims to be ours, from byte *from on, which is then moved behind it. False
 * when there is none. Names are compared without case and in any form of IDNA; a field whose name
 * cannot be read counts as ours, because somebody else might read it. */
bool auth_results_next(struct slice header_block, struct slice authserv_id, size_t *from,
                       struct auth_range *range);

#endif
