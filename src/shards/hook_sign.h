/* hook_sign.h - what proves to a webhook's receiver that a body is ours. Pure functions.
 *
 * Two families of headers go with each request, so that clients of either can verify:
 * `x-mailkite-signature: t=<ms>,v1=<hex>`, HMAC-SHA256 over "<t>." and the body, keyed with the
 * text of the secret; and those of Standard Webhooks 1.0 (webhook-id, webhook-timestamp,
 * webhook-signature), keyed with the bytes behind the secret's prefix. While an old secret is still
 * valid both sign, the new one first.
 */
#ifndef SHARDS_HOOK_SIGN_H
#define SHARDS_HOOK_SIGN_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

#define HOOK_SECRET_BYTES 32
#define HOOK_SECRET_LEN   (6 + 44) /* "whsec_", base64 */

struct hook_signer {
    struct slice secret;
    struct slice old_secret; /* empty: none */
    struct slice id;         /* the event's, the same for every try */
    uint64_t now_unix_ms;
};

/* Appends name, value, name, value, ... to a pack. */
void hook_sign(const struct hook_signer *signer, struct slice body, struct buf *pack);
/* All header fields of the call, content-type included, as a pack. */
struct slice hook_headers(const struct hook_signer *signer, struct slice body, struct arena *arena);
/* A new secret: "whsec_" and base64 of random bytes.
 * Owns: arena, which the caller has marked secret. */
struct slice hook_secret_make(struct arena *arena);

#endif
