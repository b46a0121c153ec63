/* smtp_body.h - the bytes of one mail as a server takes them, stuffed (DATA) or counted (BDAT), and
 * what is wrong with them.
 *
 * Part of net/smtp_server. A mail with a fault is read to its end without being handed on: a bare
 * CR, a bare LF (RFC 5321 2.3.8: the stuff of smuggling), a NUL (RFC 5322 2.2), too many bytes.
 * Octets of BDAT are lines as those of DATA are, for BINARYMIME is not offered (RFC 3030 3).
 */
#ifndef NET_SMTP_BODY_H
#define NET_SMTP_BODY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"
#include "net/smtp.h"
#include "net/smtp_envelope.h"

struct smtp_body {
    uint64_t size_max;
    uint64_t bytes;       /* of the mail, so far */
    uint64_t wire_bytes;  /* DATA: with stuffing */
    uint64_t octets_left; /* BDAT: of this chunk */
    struct smtp_unstuffer unstuffer;
    struct buf text; /* unstuffed; SMTP_CHUNK_MAX */
    bool is_last;    /* BDAT: no chunk follows */
    bool is_after_cr;
    bool has_bare;
    bool has_nul;
    bool is_over; /* above size_max */
};

enum smtp_body_at {
    SMTP_BODY_MORE,
    SMTP_BODY_END,    /* of DATA, or of the chunk that BDAT announced */
    SMTP_BODY_CUT_OFF /* DATA: went on too far above size_max; nobody waits for its end */
};

void smtp_body_init(struct smtp_body *body, uint64_t size_max);
void smtp_body_fini(struct smtp_body *body);
/* For the next mail; frees the buffer, which ten thousand idle sessions need not hold. */
void smtp_body_clear(struct smtp_body *body);

/* Takes up to SMTP_CHUNK_MAX bytes of stuffed data off *rest. *chunk are mail bytes, valid until
 * the next call, or empty: also when the mail has a fault. */
enum smtp_body_at smtp_body_data(struct smtp_body *body, struct slice *rest, struct slice *chunk);

/* Announces a chunk, then takes of it off *rest; *chunk points into what was there. */
void smtp_body_announce(struct smtp_body *body, uint64_t octets, bool is_last);
enum smtp_body_at smtp_body_octets(struct smtp_body *body, struct slice *rest, struct slice *chunk);
/* Takes octets that nobody wants. */
enum smtp_body_at smtp_body_swallow(struct smtp_body *body, struct slice *rest);

/* What is wrong, or NULL. */
const struct smtp_refusal *smtp_body_fault(const struct smtp_body *body);

#endif
