/* unsubscribe_link.h - the link by which a recipient asks for no more mail. Pure functions.
 *
 * A token names the mail, the delivery and the address: base64url of the mail's id, the delivery's
 * index, a check of 16 bytes and the address. The check is cut from HMAC-SHA256 over all of it
 * under a key that follows from the master key. The address is in it because the wish outlives the
 * mail: a link of last year counts although the mail was erased. So is whether the mail was only
 * rehearsed. Whoever has the link may end the mail to that address, and nothing else.
 */
#ifndef MAIL_UNSUBSCRIBE_LINK_H
#define MAIL_UNSUBSCRIBE_LINK_H

#include "base/arena.h"
#include "base/base.h"
#include "base/crypto.h"
#include "base/id.h"
#include "base/slice.h"

/* Of the master key: what the links' key is derived for. */
#define UNSUBSCRIBE_LINK_PURPOSE "unsubscribe"

struct unsubscribe_ref {
    struct id mail;
    uint32_t index;       /* of the delivery; below 2^31 */
    bool is_rehearsed;    /* of a mail that never left: such a wish is nobody's in earnest */
    struct slice address; /* 1 to ADDR_MAX bytes */
};

/* "<base>/u/<token>"; base has no slash at its end. */
struct slice unsubscribe_link(const struct seal_key *key, const struct unsubscribe_ref *ref,
                              struct slice base, struct arena *arena);
/* The fields of RFC 2369 and RFC 8058, each with its CRLF. One click is promised for https only, as
 * RFC 8058 3.1 wants it. */
struct slice unsubscribe_header(const struct seal_key *key, const struct unsubscribe_ref *ref,
                                struct slice base, struct arena *arena);
/* What a token of ours names; the address in arena. False for any other. */
bool unsubscribe_token_read(const struct seal_key *key, struct slice token, struct arena *arena,
                            struct unsubscribe_ref *ref) MUST_USE;

#endif
