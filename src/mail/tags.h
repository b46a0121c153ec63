/* tags.h - lists of name=value, as DKIM and DMARC write them (RFC 6376 3.2).
 *
 * A signature, a published key and a policy record are all the same list: "v=1; a=rsa-sha256; ...".
 * Reading cuts it up in place; what the values mean is the caller's. A value keeps its white space
 * within and is also given as it stood, because a signature is checked with one value cut out of
 * it.
 */
#ifndef MAIL_TAGS_H
#define MAIL_TAGS_H

#include "base/base.h"
#include "base/limits.h"
#include "base/slice.h"

struct tag {
    struct slice name;  /* case matters */
    struct slice value; /* trimmed; may be empty */
    struct slice whole; /* from '=' to ';', not trimmed */
};

struct tag_list {
    struct tag tags[TAGS_MAX];
    uint32_t count;
};

enum tags_fault {
    TAGS_OK,
    TAGS_MALFORMED, /* no '=', no name, or a name that is none */
    TAGS_TWICE,     /* RFC 6376 3.2: the whole list is then invalid */
    TAGS_TOO_MANY,  /* more than TAGS_MAX */
};

/* The list borrows from text. Cost: one pass, and each name against those before it. */
MUST_USE enum tags_fault tags_parse(struct slice text, struct tag_list *list);
/* NULL when there is none. */
const struct tag *tags_find(const struct tag_list *list, struct slice name);
/* Whether a list with colons holds the word; white space around words is ignored. */
bool tags_list_has(struct slice list, struct slice word);

#endif
