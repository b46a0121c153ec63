/* track_link.h - the links that count opens and clicks. Pure functions.
 *
 * A token says which mail it belongs to and, for a click, where it leads: base64url of the mail's
 * id, a check of 16 bytes and the address. The check is cut from HMAC-SHA256 over all of it under a
 * key that follows from the master key, so that nobody but us can make a link that leads somewhere:
 * this server is no open redirector. Nothing is looked up to follow one.
 */
#ifndef MAIL_TRACK_LINK_H
#define MAIL_TRACK_LINK_H

#include "base/arena.h"
#include "base/base.h"
#include "base/crypto.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/slice.h"

/* Of the master key: what the links' key is derived for. */
#define TRACK_LINK_PURPOSE "track"

enum track_kind { TRACK_OPEN, TRACK_CLICK };

struct track_ref {
    enum track_kind kind;
    struct id mail;
    struct slice url; /* of a click */
};

/* "<base>/t/o/<token>" or "<base>/t/c/<token>"; base has no slash at its end. A click's url has 1
 * to TRACK_URL_MAX bytes. */
struct slice track_link(const struct seal_key *key, const struct track_ref *ref, struct slice base,
                        struct arena *arena);
/* The mail and the url of a token that is ours and of ref->kind; text in arena. False otherwise. */
bool track_token_read(const struct seal_key *key, struct slice token, struct arena *arena,
                      struct track_ref *ref) MUST_USE;

#endif
