/* addr.h - addresses and domains: parse, normalise, compare.
 *
 * Accepts what RFC 5321 4.1.2 (mailbox) and RFC 5322 3.4 (name-addr) accept, with the
 * internationalised forms of RFC 6531 and IDNA 2008 (libidn2, only included here), and nothing that
 * would be unsafe in a header or an envelope: no control bytes, no source routes, no comments, no
 * group syntax, no obsolete forms. Domains come out in lower case A-labels; a local part keeps its
 * case and its UTF-8, and loses quotes it does not need.
 *
 * Pure functions; all text lands in the arena.
 */
#ifndef MAIL_ADDR_H
#define MAIL_ADDR_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct addr {
    struct slice name;   /* display name, decoded UTF-8 without quotes; may be empty */
    struct slice local;  /* as it goes on the wire (quoted when it must be) */
    struct slice domain; /* A-labels, lower case */
    struct slice text;   /* local@domain */
    bool needs_utf8;     /* local is not ASCII: SMTPUTF8 is required, RFC 6531 */
};

/* "a@b", "<a@b>", "Name <a@b>", "\"N, ame\" <a@b>". Errors: ERR_INVALID. */
MUST_USE enum err addr_parse(struct slice text, struct arena *arena, struct addr *addr);

/* A domain name in any form (U-labels, upper case, trailing dot) to lower case A-labels. Refuses
 * single labels unless "localhost"-like names are given with allow_single, IP literals, empty or
 * over-long labels, '_' . Errors: ERR_INVALID. */
MUST_USE enum err domain_normalise(struct slice text, bool allow_single, struct arena *arena,
                                   struct slice *domain);
/* Back to U-labels for display; the input itself when it does not convert. */
struct slice domain_display(struct slice domain, struct arena *arena);

/* The key under which an address is stored for comparison: local part in ASCII lower case, "@",
 * domain. */
struct slice addr_key(const struct addr *addr, struct arena *arena);

/* Appends "name <a@b>" as a header value, RFC 2047 where the name needs it, quoted-string where
 * that suffices; not folded. */
void addr_write(const struct addr *addr, struct buf *out);

#endif
