/* crypto.h - digests, signatures, secrets, and the encodings they travel in.
 *
 * The only module that includes OpenSSL's EVP headers and libsodium (TLS is net/tls). Everything
 * here is CPU only. Functions marked "worker" take long enough (0.1 ms and more) that they must not
 * run on a loop; use loop_offload.
 *
 * Random bytes come from the kernel through libsodium; failure to get them is fatal.
 */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define SHA256_LEN      32
#define ED25519_KEY_LEN 32

/* Once, before any thread starts. */
void crypto_init(void);

struct sha256 {
    uint8_t bytes[SHA256_LEN];
};

struct sha256 crypto_sha256(struct slice data);
struct sha256 crypto_hmac_sha256(struct slice key, struct slice data);
/* The same over head and body, one behind the other. */
struct sha256 crypto_hmac_sha256_two(struct slice key, struct slice head, struct slice body);
struct slice sha256_slice(const struct sha256 *digest);

/* A digest in pieces. Owns heap state between start and finish (or drop). */
struct sha256_stream {
    void *ctx;
};
void sha256_start(struct sha256_stream *stream);
void sha256_add(struct sha256_stream *stream, struct slice data);
struct sha256 sha256_finish(struct sha256_stream *stream);
void sha256_drop(struct sha256_stream *stream);

uint32_t crypto_crc32(uint32_t seed, struct slice data); /* IEEE, zlib's */

void crypto_random(void *out, size_t len);
uint64_t crypto_random_u64(void);
/* `len` random base62 digits, unbiased, not terminated. */
void crypto_random_base62(char *out, size_t len);

/* Constant time in the contents; lengths are not secret. */
bool crypto_equal(struct slice a, struct slice b);
/* Overwrites in a way the compiler keeps. */
void crypto_wipe(void *data, size_t len);

/* ---- encodings ------------------------------------------------------------------------------ */

size_t base64_len(size_t bytes); /* with padding */
/* out has room for base64_len(s.len); not terminated. */
size_t base64_encode(struct slice s, char *out);
struct slice base64_arena(struct arena *arena, struct slice s);
struct slice base64url_arena(struct arena *arena, struct slice s); /* no padding */
/* Strict but for white space (ignored) and missing padding. out has room for s.len / 4 * 3 + 3.
 * ERR_INVALID on any other byte. */
MUST_USE enum err base64_decode(struct slice s, uint8_t *out, size_t *len);
MUST_USE enum err base64url_decode(struct slice s, uint8_t *out, size_t *len);
void hex_encode(struct slice s, char *out); /* 2 * len bytes, lower case, not terminated */
MUST_USE enum err hex_decode(struct slice s, uint8_t *out, size_t out_len);
/* Big-endian number of up to 16 bytes as exactly `digits` base62 digits (0-9A-Za-z), and back.
 * ERR_INVALID on a foreign digit or when it does not fit. */
void base62_encode(const uint8_t *number, size_t bytes, char *out, size_t digits);
MUST_USE enum err base62_decode(struct slice digits, uint8_t *number, size_t bytes);

/* ---- secrets at rest ------------------------------------------------------------------------ */

#define SEAL_KEY_LEN  32
#define SEAL_OVERHEAD 40 /* nonce 24, tag 16 */

struct seal_key {
    uint8_t bytes[SEAL_KEY_LEN];
};

/* XChaCha20-Poly1305 (libsodium secretbox): out has room for plain.len + SEAL_OVERHEAD. `context`
 * (row family and id) is authenticated by deriving the key from it, so a sealed value cannot be
 * moved to another row. */
void crypto_seal(const struct seal_key *key, struct slice context, struct slice plain,
                 uint8_t *out);
/* out has room for sealed.len - SEAL_OVERHEAD. ERR_CORRUPT when it does not authenticate. */
MUST_USE enum err crypto_unseal(const struct seal_key *key, struct slice context,
                                struct slice sealed, uint8_t *out);
/* A key for one purpose, from the master key. */
struct seal_key crypto_derive(const struct seal_key *master, struct slice purpose);

/* argon2id, libsodium's interactive limits, text form. out is terminated. Worker: some 50 ms, 64
 * MiB. */
#define PASSWORD_HASH_MAX 128
void crypto_password_hash(struct slice password, char out[PASSWORD_HASH_MAX]);
bool crypto_password_check(struct slice hash_text, struct slice password);

/* argon2id over a passphrase, with libsodium's interactive limits: the key of a file that leaves
 * the machine. Worker: some 50 ms, 64 MiB. */
#define PASSPHRASE_SALT_LEN 16
void crypto_passphrase_key(struct slice passphrase, const uint8_t salt[PASSPHRASE_SALT_LEN],
                           struct seal_key *key);

/* ---- signing keys --------------------------------------------------------------------------- */

enum sign_algo { SIGN_RSA_SHA256, SIGN_ED25519 };

/* A private key, ready to sign. May be used by several workers at once. */
struct sign_key;

/* Makes a key: PKCS#8 DER into *private_der, the DKIM p= value (base64 of SubjectPublicKeyInfo for
 * RSA, RFC 6376 3.6.1; of the bare 32 bytes for Ed25519, RFC 8463 4) into *public_text; both in
 * arena. Worker: RSA-2048 takes 50 to 500 ms. */
MUST_USE enum err crypto_make_key(enum sign_algo algo, struct arena *arena,
                                  struct slice *private_der, struct slice *public_text);
/* Owns: the caller owns *key and ends it with sign_key_free. ERR_CORRUPT when the DER does not
 * parse. */
MUST_USE enum err sign_key_new(enum sign_algo algo, struct slice private_der,
                               struct sign_key **key);
void sign_key_free(struct sign_key *key);
enum sign_algo sign_key_algo(const struct sign_key *key);
/* RSA: PKCS#1 v1.5 signature of SHA-256 given the digest. Ed25519: PureEdDSA over the 32 digest
 * bytes (RFC 8463 3). Signature bytes in arena. Worker: RSA 1 ms. (libsodium exports crypto_sign.)
 */
MUST_USE enum err sign_key_sign(const struct sign_key *key, const struct sha256 *digest,
                                struct arena *arena, struct slice *signature);
/* public_text as in a DKIM record's p=. ERR_BAD_SIGNATURE when it does not verify, ERR_INVALID when
 * the key does not parse. */
MUST_USE enum err crypto_verify(enum sign_algo algo, struct slice public_text,
                                const struct sha256 *digest, struct slice signature);
/* The length in bits of a key that may be too short (or too long) for crypto_verify; 0 when it does
 * not parse as one of algo. To tell a weak key from a damaged one. */
uint32_t crypto_public_bits(enum sign_algo algo, struct slice public_text);

#endif
