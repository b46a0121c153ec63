/* auth.h - credentials, as far as they can be judged without the account: syntax, checksum,
 * signature, expiry.
 *
 * An API key is `mk_live_` or `mk_test_`, then 48 base62 digits: 11 name the account (so that a key
 * routes to its shard without a look-up), 31 are random, 6 are the CRC-32 of all that precedes. A
 * bad checksum is refused here, before any message is posted. A session token is a JWT (RFC 7519,
 * HS256) with sub, acc and exp. Whether a key or a user still exists, and what it may do, the
 * account's shard decides.
 */
#ifndef EDGE_AUTH_H
#define EDGE_AUTH_H

#include "base/arena.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "shards/msg.h"

#define AUTH_KEY_LEN    56 /* prefix 8, digits 48 */
#define AUTH_PREFIX_LEN 16

struct auth_key {
    char text[AUTH_KEY_LEN + 1]; /* secret: wipe after use */
    struct sha256 hash;
};

/* A new key for account. */
void auth_key_make(enum mode mode, struct account_id account, struct auth_key *key);
/* Reads a key's text; ERR_UNAUTHORIZED for anything that was never made by auth_key_make. */
MUST_USE enum err auth_key_read(struct slice text, struct caller *caller);

/* A session token for a user, valid SESSION_MS from now. */
struct slice auth_token_make(const struct seal_key *key, struct account_id account, struct id user,
                             uint64_t now_unix_ms, struct arena *arena);
MUST_USE enum err auth_token_read(const struct seal_key *key, struct slice token,
                                  uint64_t now_unix_ms, struct arena *arena, struct caller *caller);

/* The value of an Authorization header: "Bearer <key or token>". */
MUST_USE enum err auth_header_read(const struct seal_key *key, struct slice value,
                                   uint64_t now_unix_ms, struct arena *arena,
                                   struct caller *caller);

#endif
