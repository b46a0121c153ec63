/* attachment_link.h - signed links to attachments. Pure functions.
 *
 * Whoever has the link may fetch the attachment until the link expires, and nothing else. The
 * signature is over the mail, the attachment's number and the expiry:
 * hex(HMAC-SHA256(key, "att/<mail>/<index>\n<exp>")).
 */
#ifndef MAIL_ATTACHMENT_LINK_H
#define MAIL_ATTACHMENT_LINK_H

#include "base/arena.h"
#include "base/base.h"
#include "base/crypto.h"
#include "base/id.h"
#include "base/slice.h"

/* Of the master key: what the links' key is derived for. */
#define ATTACHMENT_LINK_PURPOSE "attachment"

struct attachment_ref {
    struct id mail;
    uint32_t index;
    uint64_t expires_s;
};

/* "<base>/att/<mail>/<index>?exp=<s>&sig=<hex>"; base has no slash at its end. */
struct slice attachment_link(const struct seal_key *key, const struct attachment_ref *ref,
                             struct slice base, struct arena *arena);
/* Whether sig belongs to such a link; expiry is the caller's to judge, after this. */
bool attachment_link_is_good(const struct seal_key *key, const struct attachment_ref *ref,
                             struct slice sig);

#endif
