/* mime_split.h - cuts a mail's bytes along its structure, without copying and without recursion.
 *
 * An entity (a mail, or a part of one) is a header block and content; a multipart's content is a
 * row of entities between boundary lines (RFC 2046 5.1.1). Each level is cut within the range that
 * the level above gave it, so an inner part can never run past the boundary of an outer one.
 *
 * Lenient: LF alone ends a line, blanks may follow a boundary, the final boundary may be missing.
 */
#ifndef MAIL_MIME_SPLIT_H
#define MAIL_MIME_SPLIT_H

#include "base/base.h"
#include "base/slice.h"

/* Header block (with the empty line that ends it) and content. Where that line is missing, content
 * begins at the first line that cannot be a field; false when there is one. */
bool mime_split_entity(struct slice entity, struct slice *headers, struct slice *content);

struct mime_split {
    struct slice rest;     /* not yet cut */
    struct slice boundary; /* not empty; whose bytes: the caller's */
    bool has_begun;        /* a boundary was seen */
    bool is_closed;        /* the final one was */
};

void mime_split_start(struct mime_split *split, struct slice content, struct slice boundary);
/* The next part between two boundaries. False when there is none.
 *
 * Cost: linear in the content over all calls.
 */
bool mime_split_next(struct mime_split *split, struct slice *part);

#endif
