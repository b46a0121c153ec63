/* google.h - asking Google who somebody is: the code of RFC 6749 4.1.3 for a token, the token for
 * the person (OpenID Connect Core 5.3).
 *
 * One per edge that has google_client_id set. Nothing here decides whether the person may come in;
 * that is api_google.c. The endpoints are the operator's own words, so they may be private
 * addresses; TLS is verified as everywhere, and redirects are not followed. Why a question failed
 * goes to the log; the caller only learns that it did. No secret, code or token is logged.
 */
#ifndef EDGE_GOOGLE_H
#define EDGE_GOOGLE_H

#include "base/base.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/slice.h"
#include "net/loop.h"

struct google;

struct google_person {
    struct slice sub;   /* who, for ever; not empty */
    struct slice email; /* as Google writes it */
    struct slice name;  /* may be empty */
    bool is_email_verified;
};

/* ERR_OK, or ERR_UPSTREAM with an empty person. person lives during the call only. */
typedef void google_fn(void *owner, uint64_t token, enum err err,
                       const struct google_person *person);

/* Whether conf asks for one. */
bool google_is_wanted(const struct conf *conf);
/* Ends the process when the options cannot work; says which. on_person gets owner. */
struct google *google_open(struct loop *loop, const struct conf *conf, google_fn *on_person,
                           void *owner);
typedef void google_closed_fn(void *owner);
/* Open questions are answered with ERR_UPSTREAM; on_closed when the memory is gone. */
void google_close(struct google *google, google_closed_fn *on_closed);

/* Asks; on_person gets token, once, later. Both texts are copied. Errors: ERR_BUSY. */
MUST_USE enum err google_ask(struct google *google, struct slice code, struct slice redirect_uri,
                             uint64_t token);

#endif
