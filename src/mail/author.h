/* author.h - the domain that a mail claims as its author's: what DMARC protects.
 *
 * Finds the one From field of a header block and reads its addresses as liberally as readers do
 * (RFC 5322 3.6.2 with the obsolete forms of 4.4: comments, groups, routes), but wants one domain
 * of all of them. Where two programs could see two authors, there is none: several From fields,
 * several domains, two addresses in one mailbox, control bytes. Only the domain is read; names and
 * local parts are for others.
 */
#ifndef MAIL_AUTHOR_H
#define MAIL_AUTHOR_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

/* In lower case A-labels, in the arena, which must have AUTHOR_ARENA_BYTES left. Errors:
 * ERR_INVALID when there is no such domain. */
MUST_USE enum err author_domain(struct slice header_block, struct arena *arena,
                                struct slice *domain);

#endif
