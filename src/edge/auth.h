/* auth.h - credentials, as far as they can be judged without the account: syntax, checksum,
 * signature, expiry.
 *
 * An API key is `mk_live_` or `mk_test_`, then 48 base62 digits: 11 name the account (so that a key
 * routes to its shard without a look-up), 31 are random, 6 are the CRC-32 of all that precedes. A
 * bad checksum is refused here, before any message is posted. A session token is a JWT (RFC 7519,
 * HS256) with sub, acc, sid and exp. Whether a key exists or a session is still open, and what it
 * may do, the account's shard decides.
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

/* What signs tokens: keys made from the master key and a generation's number, which the header's
 * `kid` says. The one before the last is accepted for a while after a rotation. */
struct token_key {
    struct seal_key key;
    char header[80]; /* of its tokens, encoded; terminated */
};
struct token_keys {
    uint32_t generation; /* of current */
    uint64_t previous_until_unix_ms;
    struct token_key current; /* signs */
    struct token_key previous;
};
/* As the ledger has it. Secret: wipe after use. */
struct token_keys auth_token_keys(const struct seal_key *master, struct session_keys keys);

/* A token says who (sub, acc), in which session (sid), until when (exp). One that invites has no
 * session but `"use":"join"`, and neither is taken for the other. */
struct token {
    struct account_id account;
    struct id user;
    struct id session; /* none: an invitation */
    uint64_t expires_unix_ms;
};
struct slice auth_token_make(const struct token_keys *keys, const struct token *token,
                             struct arena *arena);
/* Of a session. */
MUST_USE enum err auth_token_read(const struct token_keys *keys, struct slice text,
                                  uint64_t now_unix_ms, struct arena *arena, struct caller *caller);
/* Of an invitation: who is invited. */
MUST_USE enum err auth_invite_read(const struct token_keys *keys, struct slice text,
                                   uint64_t now_unix_ms, struct arena *arena, struct token *token);

/* The value of an Authorization header: "Bearer <key or token>". */
MUST_USE enum err auth_header_read(const struct token_keys *keys, struct slice value,
                                   uint64_t now_unix_ms, struct arena *arena,
                                   struct caller *caller);

#endif
