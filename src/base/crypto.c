/* crypto.c - OpenSSL 3 for digests and signatures, libsodium for randomness, passwords and sealing.
 *
 * Algorithms are fetched from OpenSSL's provider once, at crypto_init: a fetch by name costs more
 * than hashing a short text does (280 ns against 97 ns for 32 bytes). A failure of a digest can
 * only mean a broken installation or no memory and is fatal. Errors of keys that came from outside
 * are results, and OpenSSL's error queue is emptied after each, because net/tls reads that queue.
 */
#include "base/crypto.h"

#include "base/check.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sodium/core.h>
#include <sodium/crypto_aead_xchacha20poly1305.h>
#include <sodium/crypto_generichash_blake2b.h>
#include <sodium/crypto_pwhash.h>
#include <sodium/randombytes.h>
#include <sodium/utils.h>
#include <libdeflate.h>

#include <stdlib.h>
#include <string.h>

#define RSA_BITS                                                                                   \
    2048 /* RFC 8301 3.2: at least 1024, should be 2048; more does not fit DNS well                \
          */
#define RSA_BITS_MIN     1024  /* RFC 8301 3.2: a verifier must refuse less */
#define RSA_BITS_MAX     8192  /* RFC 8301 3.2 asks for 4096; beyond, a stranger spends our CPU */
#define RSA_EXPONENT_MAX 64    /* bits; OpenSSL asks this of long moduli only */
#define PUBLIC_DER_MAX   4096  /* decoded p=; RSA-8192 takes 1062 bytes */
#define PRIVATE_DER_MAX  16384 /* RSA-8192 takes 4.7 KB */

#define BASE62_NUMBER_MAX 16 /* bytes; four limbs of 32 bits */
#define LIMBS             4
#define BASE62_GROUP      5         /* digits taken per division: the most that fit 32 bits */
#define BASE62_GROUP_SIZE 916132832 /* 62 to the 5th */

#define B64_BAD   0x80
#define B64_SPACE 0x81

/* Blake2b personalisation: keeps keys derived for a purpose apart from keys derived for sealing,
 * whatever the purpose or context says. */
static const char PERSONAL_DERIVE[crypto_generichash_blake2b_PERSONALBYTES] = "meerkat derive";
static const char PERSONAL_SEAL[crypto_generichash_blake2b_PERSONALBYTES] = "meerkat seal";

_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES +
                       crypto_aead_xchacha20poly1305_ietf_ABYTES ==
                   SEAL_OVERHEAD,
               "the header's overhead is libsodium's");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == SEAL_KEY_LEN, "key length");
_Static_assert(crypto_pwhash_STRBYTES <= PASSWORD_HASH_MAX, "a password hash fits its array");

static const char BASE62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct sign_key {
    EVP_PKEY *pkey;
    enum sign_algo algo;
};

struct limbs {
    uint32_t part[LIMBS]; /* most significant first */
};

/* Mutable at file scope: what crypto_init fetched and the decoding tables it filled. Written once,
 * before any thread starts; read-only afterwards. Lives as long as the program. */
static EVP_MD *sha256_md;
static EVP_MAC *hmac_mac;
static uint8_t base64_values[256];
static uint8_t base64url_values[256];

static void fill_values(uint8_t values[256], const char *alphabet);
static struct slice encode_arena(struct arena *arena, struct slice s, const char *alphabet,
                                 bool is_padded);
static size_t encode_groups(struct slice s, const char *alphabet, bool is_padded, char *out);
static enum err decode_groups(const uint8_t values[256], struct slice s, uint8_t *out, size_t *len);
static int base62_value(char c);
static uint32_t limbs_divide(struct limbs *number, uint32_t divisor);
static bool limbs_multiply_add(struct limbs *number, uint32_t factor, uint32_t addend);
static struct seal_key derive(const struct seal_key *key, struct slice text, const char *personal);
static EVP_PKEY *generate(enum sign_algo algo);
static bool export_private(EVP_PKEY *pkey, struct arena *arena, struct slice *der);
static bool export_public(enum sign_algo algo, EVP_PKEY *pkey, struct arena *arena,
                          struct slice *text);
static bool is_of_algo(EVP_PKEY *pkey, enum sign_algo algo);
static bool has_small_exponent(EVP_PKEY *pkey);
static EVP_PKEY *parse_public(enum sign_algo algo, struct slice public_text);
static EVP_PKEY *decode_public(enum sign_algo algo, struct slice public_text);
static EVP_PKEY *parse_public_rsa(const uint8_t *der, size_t len);
static bool sign_rsa(EVP_PKEY *pkey, const struct sha256 *digest, uint8_t *out, size_t *len);
static bool sign_ed25519(EVP_PKEY *pkey, const struct sha256 *digest, uint8_t *out, size_t *len);
static bool verify_rsa(EVP_PKEY *pkey, const struct sha256 *digest, struct slice signature);
static bool verify_ed25519(EVP_PKEY *pkey, const struct sha256 *digest, struct slice signature);

void crypto_init(void)
{
    if (sha256_md) {
        return;
    }
    if (sodium_init() < 0) {
        fatal("libsodium found no source of randomness; is /dev/urandom readable?");
    }
    fill_values(base64_values, BASE64);
    fill_values(base64url_values, BASE64URL);
    hmac_mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256_md || !hmac_mac) {
        fatal("OpenSSL offers no SHA-256; check openssl.cnf and OPENSSL_CONF");
    }
}

/* ---- digests -------------------------------------------------------------------------------- */

struct sha256 crypto_sha256(struct slice data)
{
    struct sha256 digest;

    CHECK(sha256_md != NULL);
    if (EVP_Digest(data.data ? data.data : "", data.len, digest.bytes, NULL, sha256_md, NULL) !=
        1) {
        fatal("OpenSSL failed to hash; is memory exhausted?");
    }
    return digest;
}

struct sha256 crypto_hmac_sha256(struct slice key, struct slice data)
{
    return crypto_hmac_sha256_two(key, data, slice_of("", 0));
}

struct sha256 crypto_hmac_sha256_two(struct slice key, struct slice head, struct slice body)
{
    char digest_name[] = OSSL_DIGEST_NAME_SHA2_256;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
        OSSL_PARAM_construct_end(),
    };
    struct sha256 digest;
    size_t len = 0;

    CHECK(hmac_mac != NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac_mac);
    /* A NULL key would mean "the key set before"; the empty key is a pointer to nothing. */
    if (!ctx ||
        EVP_MAC_init(ctx, (const uint8_t *)(key.data ? key.data : ""), key.len, params) != 1 ||
        EVP_MAC_update(ctx, (const uint8_t *)(head.data ? head.data : ""), head.len) != 1 ||
        EVP_MAC_update(ctx, (const uint8_t *)(body.data ? body.data : ""), body.len) != 1 ||
        EVP_MAC_final(ctx, digest.bytes, &len, sizeof(digest.bytes)) != 1) {
        fatal("OpenSSL failed to compute an HMAC; is memory exhausted?");
    }
    EVP_MAC_CTX_free(ctx);
    CHECK(len == SHA256_LEN);
    return digest;
}

struct slice sha256_slice(const struct sha256 *digest)
{
    return slice_of(digest->bytes, SHA256_LEN);
}

void sha256_start(struct sha256_stream *stream)
{
    CHECK(sha256_md != NULL);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestInit_ex2(ctx, sha256_md, NULL) != 1) {
        fatal("OpenSSL failed to start a digest; is memory exhausted?");
    }
    stream->ctx = ctx;
}

void sha256_add(struct sha256_stream *stream, struct slice data)
{
    CHECK(stream->ctx != NULL);
    if (data.len > 0 && EVP_DigestUpdate(stream->ctx, data.data, data.len) != 1) {
        fatal("OpenSSL failed to hash; is memory exhausted?");
    }
}

struct sha256 sha256_finish(struct sha256_stream *stream)
{
    struct sha256 digest;

    CHECK(stream->ctx != NULL);
    if (EVP_DigestFinal_ex(stream->ctx, digest.bytes, NULL) != 1) {
        fatal("OpenSSL failed to finish a digest; is memory exhausted?");
    }
    sha256_drop(stream);
    return digest;
}

void sha256_drop(struct sha256_stream *stream)
{
    EVP_MD_CTX_free(stream->ctx);
    stream->ctx = NULL;
}

uint32_t crypto_crc32(uint32_t seed, struct slice data)
{
    /* It begins anew when given NULL, whatever the seed. */
    return data.len == 0 ? seed : libdeflate_crc32(seed, data.data, data.len);
}

void crypto_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

uint64_t crypto_random_u64(void)
{
    uint64_t value;
    randombytes_buf(&value, sizeof(value));
    return value;
}

void crypto_random_base62(char *out, size_t len)
{
    uint8_t pool[64];
    size_t made = 0;

    while (made < len) {
        randombytes_buf(pool, sizeof(pool));
        for (size_t i = 0; i < sizeof(pool) && made < len; i++) {
            uint8_t digit = pool[i] & 63;
            if (digit < 62) { /* refusing two of 64 keeps the others equally likely */
                out[made++] = BASE62[digit];
            }
        }
    }
    sodium_memzero(pool, sizeof(pool));
}

bool crypto_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.data, b.data, a.len) == 0);
}

void crypto_wipe(void *data, size_t len)
{
    if (len > 0) {
        sodium_memzero(data, len);
    }
}

/* ---- encodings ------------------------------------------------------------------------------ */

size_t base64_len(size_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

size_t base64_encode(struct slice s, char *out)
{
    return encode_groups(s, BASE64, true, out);
}

struct slice base64_arena(struct arena *arena, struct slice s)
{
    return encode_arena(arena, s, BASE64, true);
}

struct slice base64url_arena(struct arena *arena, struct slice s)
{
    return encode_arena(arena, s, BASE64URL, false);
}

enum err base64_decode(struct slice s, uint8_t *out, size_t *len)
{
    return decode_groups(base64_values, s, out, len);
}

enum err base64url_decode(struct slice s, uint8_t *out, size_t *len)
{
    return decode_groups(base64url_values, s, out, len);
}

void hex_encode(struct slice s, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < s.len; i++) {
        uint8_t byte = (uint8_t)s.data[i];
        out[2 * i] = digits[byte >> 4];
        out[2 * i + 1] = digits[byte & 15];
    }
}

enum err hex_decode(struct slice s, uint8_t *out, size_t out_len)
{
    if (s.len % 2 != 0 || s.len / 2 != out_len) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (ascii_hex_value(s.data[i]) < 0) {
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < out_len; i++) {
        out[i] =
            (uint8_t)(ascii_hex_value(s.data[2 * i]) << 4 | ascii_hex_value(s.data[2 * i + 1]));
    }
    return ERR_OK;
}

void base62_encode(const uint8_t *number, size_t bytes, char *out, size_t digits)
{
    uint8_t wide[BASE62_NUMBER_MAX] = {0};
    struct limbs rest;
    size_t left = digits;

    CHECK(bytes <= BASE62_NUMBER_MAX);
    memcpy(wide + sizeof(wide) - bytes, number, bytes);
    for (size_t i = 0; i < LIMBS; i++) {
        const uint8_t *p = wide + 4 * i;
        rest.part[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    while (left > 0) {
        size_t count = min_size(left, BASE62_GROUP);
        uint32_t divisor = BASE62_GROUP_SIZE;
        for (size_t i = count; i < BASE62_GROUP; i++) {
            divisor /= 62;
        }
        uint32_t group = limbs_divide(&rest, divisor);
        for (size_t i = 0; i < count; i++) {
            out[--left] = BASE62[group % 62];
            group /= 62;
        }
    }
    /* Ids choose their digit counts; a number that does not fit is a mistake in the program. */
    CHECK((rest.part[0] | rest.part[1] | rest.part[2] | rest.part[3]) == 0);
}

enum err base62_decode(struct slice digits, uint8_t *number, size_t bytes)
{
    uint8_t wide[BASE62_NUMBER_MAX];
    struct limbs sum = {{0}};
    uint8_t excess = 0;

    CHECK(bytes <= BASE62_NUMBER_MAX);
    if (digits.len == 0) {
        return ERR_INVALID;
    }
    for (size_t at = 0; at < digits.len;) {
        uint32_t group = 0;
        uint32_t factor = 1;
        for (size_t i = 0; i < BASE62_GROUP && at < digits.len; i++, at++) {
            int value = base62_value(digits.data[at]);
            if (value < 0) {
                return ERR_INVALID;
            }
            group = group * 62 + (uint32_t)value;
            factor *= 62;
        }
        if (!limbs_multiply_add(&sum, factor, group)) {
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < sizeof(wide); i++) {
        wide[i] = (uint8_t)(sum.part[i / 4] >> (24 - 8 * (i % 4)));
    }
    for (size_t i = 0; i < sizeof(wide) - bytes; i++) {
        excess |= wide[i];
    }
    if (excess != 0) {
        return ERR_INVALID;
    }
    memcpy(number, wide + sizeof(wide) - bytes, bytes);
    return ERR_OK;
}

/* ---- secrets at rest ------------------------------------------------------------------------ */

void crypto_seal(const struct seal_key *key, struct slice context, struct slice plain, uint8_t *out)
{
    struct seal_key row_key = derive(key, context, PERSONAL_SEAL);
    uint8_t *nonce = out;
    uint8_t *cipher = out + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;

    /* 24 random bytes are enough never to repeat, so no counter has to be kept. */
    randombytes_buf(nonce, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(cipher, NULL, (const uint8_t *)plain.data, plain.len,
                                               NULL, 0, NULL, nonce, row_key.bytes);
    sodium_memzero(&row_key, sizeof(row_key));
}

enum err crypto_unseal(const struct seal_key *key, struct slice context, struct slice sealed,
                       uint8_t *out)
{
    if (sealed.len < SEAL_OVERHEAD) {
        return ERR_CORRUPT;
    }
    struct seal_key row_key = derive(key, context, PERSONAL_SEAL);
    const uint8_t *nonce = (const uint8_t *)sealed.data;
    struct slice cipher = slice_from(sealed, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
    int status = crypto_aead_xchacha20poly1305_ietf_decrypt(
        out, NULL, NULL, (const uint8_t *)cipher.data, cipher.len, NULL, 0, nonce, row_key.bytes);

    sodium_memzero(&row_key, sizeof(row_key));
    return status == 0 ? ERR_OK : ERR_CORRUPT;
}

struct seal_key crypto_derive(const struct seal_key *master, struct slice purpose)
{
    return derive(master, purpose, PERSONAL_DERIVE);
}

void crypto_password_hash(struct slice password, char out[PASSWORD_HASH_MAX])
{
    memset(out, 0, PASSWORD_HASH_MAX);
    if (crypto_pwhash_str(out, password.data ? password.data : "", password.len,
                          crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0) {
        fatal("hashing a password needs 64 MiB that the system does not have");
    }
}

bool crypto_password_check(struct slice hash_text, struct slice password)
{
    char text[crypto_pwhash_STRBYTES] = {0}; /* libsodium wants it terminated */

    if (hash_text.len == 0 || hash_text.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, hash_text.data, hash_text.len);
    return crypto_pwhash_str_verify(text, password.data ? password.data : "", password.len) == 0;
}

void crypto_passphrase_key(struct slice passphrase, const uint8_t salt[PASSPHRASE_SALT_LEN],
                           struct seal_key *key)
{
    _Static_assert(PASSPHRASE_SALT_LEN == crypto_pwhash_SALTBYTES, "as libsodium has it");
    if (crypto_pwhash(key->bytes, sizeof key->bytes, passphrase.data ? passphrase.data : "",
                      passphrase.len, salt, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                      crypto_pwhash_MEMLIMIT_INTERACTIVE, crypto_pwhash_ALG_ARGON2ID13) != 0) {
        fatal("making a key of a passphrase needs 64 MiB that the system does not have");
    }
}

/* ---- signing keys --------------------------------------------------------------------------- */

enum err crypto_make_key(enum sign_algo algo, struct arena *arena, struct slice *private_der,
                         struct slice *public_text)
{
    struct slice der = {0};
    struct slice text = {0};
    EVP_PKEY *pkey = generate(algo);
    bool is_made =
        pkey && export_private(pkey, arena, &der) && export_public(algo, pkey, arena, &text);

    EVP_PKEY_free(pkey);
    if (!is_made) {
        ERR_clear_error();
        return ERR_INTERNAL;
    }
    *private_der = der;
    *public_text = text;
    return ERR_OK;
}

enum err sign_key_new(enum sign_algo algo, struct slice private_der, struct sign_key **key)
{
    const uint8_t *at = (const uint8_t *)private_der.data;
    EVP_PKEY *pkey = NULL;

    if (private_der.len == 0 || private_der.len > PRIVATE_DER_MAX) {
        return ERR_CORRUPT;
    }
    const uint8_t *end = at + private_der.len;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)private_der.len);
    if (info && at == end) {
        pkey = EVP_PKCS82PKEY(info);
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    if (!pkey || !is_of_algo(pkey, algo)) {
        EVP_PKEY_free(pkey);
        ERR_clear_error();
        return ERR_CORRUPT;
    }
    struct sign_key *made = mem_zalloc(sizeof(*made));
    made->pkey = pkey;
    made->algo = algo;
    *key = made;
    return ERR_OK;
}

void sign_key_free(struct sign_key *key)
{
    if (key) {
        EVP_PKEY_free(key->pkey); /* OpenSSL wipes the private numbers */
        free(key);
    }
}

enum sign_algo sign_key_algo(const struct sign_key *key)
{
    return key->algo;
}

enum err sign_key_sign(const struct sign_key *key, const struct sha256 *digest, struct arena *arena,
                       struct slice *signature)
{
    uint8_t bytes[RSA_BITS_MAX / 8];
    size_t len = sizeof(bytes);
    bool is_signed = false;

    switch (key->algo) {
    case SIGN_RSA_SHA256:
        is_signed = sign_rsa(key->pkey, digest, bytes, &len);
        break;
    case SIGN_ED25519:
        is_signed = sign_ed25519(key->pkey, digest, bytes, &len);
        break;
    }
    if (!is_signed) {
        ERR_clear_error();
        return ERR_INTERNAL;
    }
    *signature = arena_dup(arena, slice_of(bytes, len));
    return ERR_OK;
}

enum err crypto_verify(enum sign_algo algo, struct slice public_text, const struct sha256 *digest,
                       struct slice signature)
{
    bool is_good = false;
    EVP_PKEY *pkey = parse_public(algo, public_text);

    if (!pkey) {
        ERR_clear_error();
        return ERR_INVALID;
    }
    switch (algo) {
    case SIGN_RSA_SHA256:
        is_good = verify_rsa(pkey, digest, signature);
        break;
    case SIGN_ED25519:
        is_good = verify_ed25519(pkey, digest, signature);
        break;
    }
    EVP_PKEY_free(pkey);
    ERR_clear_error(); /* also after success: trying the two forms of RSA keys leaves a trace */
    return is_good ? ERR_OK : ERR_BAD_SIGNATURE;
}

uint32_t crypto_public_bits(enum sign_algo algo, struct slice public_text)
{
    EVP_PKEY *pkey = decode_public(algo, public_text);
    bool is_right = pkey && EVP_PKEY_is_a(pkey, algo == SIGN_ED25519 ? "ED25519" : "RSA") == 1;
    int bits = is_right ? EVP_PKEY_get_bits(pkey) : 0;

    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return bits > 0 ? (uint32_t)bits : 0;
}

/* ---- statics: encodings --------------------------------------------------------------------- */

static void fill_values(uint8_t values[256], const char *alphabet)
{
    memset(values, B64_BAD, 256);
    for (uint8_t i = 0; i < 64; i++) {
        values[(uint8_t)alphabet[i]] = i;
    }
    values[' '] = values['\t'] = values['\r'] = values['\n'] = B64_SPACE;
}

static struct slice encode_arena(struct arena *arena, struct slice s, const char *alphabet,
                                 bool is_padded)
{
    char *text = arena_bytes(arena, base64_len(s.len));
    return slice_of(text, encode_groups(s, alphabet, is_padded, text));
}

static size_t encode_groups(struct slice s, const char *alphabet, bool is_padded, char *out)
{
    const uint8_t *in = (const uint8_t *)s.data;
    size_t whole = s.len / 3;
    size_t tail = s.len % 3;
    char *p = out;

    for (size_t i = 0; i < whole; i++, in += 3, p += 4) {
        uint32_t group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        p[0] = alphabet[group >> 18];
        p[1] = alphabet[group >> 12 & 63];
        p[2] = alphabet[group >> 6 & 63];
        p[3] = alphabet[group & 63];
    }
    if (tail > 0) {
        uint32_t group = (uint32_t)in[0] << 16 | (tail == 2 ? (uint32_t)in[1] << 8 : 0);
        *p++ = alphabet[group >> 18];
        *p++ = alphabet[group >> 12 & 63];
        if (tail == 2) {
            *p++ = alphabet[group >> 6 & 63];
        }
        for (size_t i = tail; is_padded && i < 3; i++) {
            *p++ = '=';
        }
    }
    return (size_t)(p - out);
}

/* Whole groups without white space take the inner loop; anything else goes byte by byte. Bits left
 * over at the end must be zero (RFC 4648 3.5), so that one value has one text. */
static enum err decode_groups(const uint8_t values[256], struct slice s, uint8_t *out, size_t *len)
{
    const uint8_t *in = (const uint8_t *)s.data;
    uint8_t *p = out;
    size_t at = 0;
    size_t padding = 0;
    uint32_t group = 0;
    uint32_t held = 0; /* digits in group */

    CHECK(sha256_md != NULL); /* the tables are filled by crypto_init */
    while (at < s.len) {
        while (held == 0 && s.len - at >= 4) {
            uint8_t a = values[in[at]], b = values[in[at + 1]];
            uint8_t c = values[in[at + 2]], d = values[in[at + 3]];
            if ((a | b | c | d) & B64_BAD) {
                break;
            }
            p[0] = (uint8_t)(a << 2 | b >> 4);
            p[1] = (uint8_t)(b << 4 | c >> 2);
            p[2] = (uint8_t)(c << 6 | d);
            p += 3;
            at += 4;
        }
        if (at == s.len) {
            break;
        }
        uint8_t byte = in[at++];
        uint8_t value = values[byte];
        if (value == B64_SPACE) {
            continue;
        }
        if (byte == '=') {
            padding++;
            continue;
        }
        if (value == B64_BAD || padding > 0) {
            return ERR_INVALID;
        }
        group = group << 6 | value;
        if (++held == 4) {
            *p++ = (uint8_t)(group >> 16);
            *p++ = (uint8_t)(group >> 8);
            *p++ = (uint8_t)group;
            group = held = 0;
        }
    }
    if (held == 1 || (padding > 0 && (held == 0 || held + padding != 4))) {
        return ERR_INVALID;
    }
    if (held == 2 && (group & 15) == 0) {
        *p++ = (uint8_t)(group >> 4);
    } else if (held == 3 && (group & 3) == 0) {
        *p++ = (uint8_t)(group >> 10);
        *p++ = (uint8_t)(group >> 2);
    } else if (held != 0) {
        return ERR_INVALID;
    }
    *len = (size_t)(p - out);
    return ERR_OK;
}

static int base62_value(char c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    if (c >= 'A' && c <= 'Z') {
        return c - 'A' + 10;
    }
    return c >= 'a' && c <= 'z' ? c - 'a' + 36 : -1;
}

/* Divides in place and returns the remainder. */
static uint32_t limbs_divide(struct limbs *number, uint32_t divisor)
{
    uint64_t rest = 0;

    for (size_t i = 0; i < LIMBS; i++) {
        uint64_t part = rest << 32 | number->part[i];
        number->part[i] = (uint32_t)(part / divisor);
        rest = part % divisor;
    }
    return (uint32_t)rest;
}

/* False when the product does not fit. */
static bool limbs_multiply_add(struct limbs *number, uint32_t factor, uint32_t addend)
{
    uint64_t carry = addend;

    for (size_t i = LIMBS; i-- > 0;) {
        uint64_t part = (uint64_t)number->part[i] * factor + carry;
        number->part[i] = (uint32_t)part;
        carry = part >> 32;
    }
    return carry == 0;
}

/* ---- statics: keys -------------------------------------------------------------------------- */

static struct seal_key derive(const struct seal_key *key, struct slice text, const char *personal)
{
    struct seal_key derived;
    int status = crypto_generichash_blake2b_salt_personal(
        derived.bytes, sizeof(derived.bytes), (const uint8_t *)text.data, text.len, key->bytes,
        sizeof(key->bytes), NULL, (const uint8_t *)personal);

    CHECK(status == 0);
    return derived;
}

static EVP_PKEY *generate(enum sign_algo algo)
{
    switch (algo) {
    case SIGN_RSA_SHA256:
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS);
    case SIGN_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    }
    return NULL;
}

/* i2d_PrivateKey would write PKCS#1 for RSA, hence the detour. */
static bool export_private(EVP_PKEY *pkey, struct arena *arena, struct slice *der)
{
    uint8_t *bytes = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &bytes) : -1;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (len <= 0) {
        return false;
    }
    *der = arena_dup(arena, slice_of(bytes, (size_t)len));
    OPENSSL_clear_free(bytes, (size_t)len);
    return true;
}

static bool export_public(enum sign_algo algo, EVP_PKEY *pkey, struct arena *arena,
                          struct slice *text)
{
    if (algo == SIGN_ED25519) {
        uint8_t raw[ED25519_KEY_LEN];
        size_t raw_len = sizeof(raw);
        if (EVP_PKEY_get_raw_public_key(pkey, raw, &raw_len) != 1 || raw_len != sizeof(raw)) {
            return false;
        }
        *text = base64_arena(arena, slice_of(raw, raw_len));
        return true;
    }
    uint8_t *bytes = NULL;
    int len = i2d_PUBKEY(pkey, &bytes);
    if (len <= 0) {
        return false;
    }
    *text = base64_arena(arena, slice_of(bytes, (size_t)len));
    OPENSSL_free(bytes);
    return true;
}

static bool is_of_algo(EVP_PKEY *pkey, enum sign_algo algo)
{
    switch (algo) {
    case SIGN_RSA_SHA256: {
        int bits = EVP_PKEY_get_bits(pkey);
        return EVP_PKEY_is_a(pkey, "RSA") == 1 && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    }
    case SIGN_ED25519:
        return EVP_PKEY_is_a(pkey, "ED25519") == 1;
    }
    return false;
}

/* A stranger's key may carry an exponent as long as the modulus, which makes verifying as dear as
 * signing. The world uses 65537. */
static bool has_small_exponent(EVP_PKEY *pkey)
{
    BIGNUM *exponent = NULL;
    bool is_small = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
                    BN_num_bits(exponent) <= RSA_EXPONENT_MAX;

    BN_free(exponent);
    return is_small;
}

/* The caller frees the key. NULL when the text is no key of that algorithm that may be used. */
static EVP_PKEY *parse_public(enum sign_algo algo, struct slice public_text)
{
    EVP_PKEY *pkey = decode_public(algo, public_text);

    if (pkey &&
        (!is_of_algo(pkey, algo) || (algo == SIGN_RSA_SHA256 && !has_small_exponent(pkey)))) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

/* The same for any size, and a key of another algorithm in an RSA text's clothes. */
static EVP_PKEY *decode_public(enum sign_algo algo, struct slice public_text)
{
    uint8_t der[PUBLIC_DER_MAX];
    size_t len = 0;
    EVP_PKEY *pkey = NULL;

    if (public_text.len / 4 * 3 + 3 > sizeof(der) ||
        base64_decode(public_text, der, &len) != ERR_OK) {
        return NULL;
    }
    switch (algo) {
    case SIGN_RSA_SHA256:
        pkey = parse_public_rsa(der, len);
        break;
    case SIGN_ED25519:
        if (len == ED25519_KEY_LEN) {
            pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, der, len);
        }
        break;
    }
    return pkey;
}

/* RFC 6376 3.6.1 speaks of RSAPublicKey, its example and all the world publish
 * SubjectPublicKeyInfo; both occur, so both are read. */
static EVP_PKEY *parse_public_rsa(const uint8_t *der, size_t len)
{
    const uint8_t *at = der;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)len);

    if (!pkey) {
        at = der;
        pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, (long)len);
    }
    if (pkey && at != der + len) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static bool sign_rsa(EVP_PKEY *pkey, const struct sha256 *digest, uint8_t *out, size_t *len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
    bool is_signed = ctx && EVP_PKEY_sign_init(ctx) == 1 &&
                     EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                     EVP_PKEY_CTX_set_signature_md(ctx, sha256_md) == 1 &&
                     EVP_PKEY_sign(ctx, out, len, digest->bytes, SHA256_LEN) == 1;

    EVP_PKEY_CTX_free(ctx);
    return is_signed;
}

static bool sign_ed25519(EVP_PKEY *pkey, const struct sha256 *digest, uint8_t *out, size_t *len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_signed = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
                     EVP_DigestSign(ctx, out, len, digest->bytes, SHA256_LEN) == 1;

    EVP_MD_CTX_free(ctx);
    return is_signed;
}

static bool verify_rsa(EVP_PKEY *pkey, const struct sha256 *digest, struct slice signature)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
    bool is_good = ctx && EVP_PKEY_verify_init(ctx) == 1 &&
                   EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                   EVP_PKEY_CTX_set_signature_md(ctx, sha256_md) == 1 &&
                   EVP_PKEY_verify(ctx, (const uint8_t *)signature.data, signature.len,
                                   digest->bytes, SHA256_LEN) == 1;

    EVP_PKEY_CTX_free(ctx);
    return is_good;
}

static bool verify_ed25519(EVP_PKEY *pkey, const struct sha256 *digest, struct slice signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_good = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
                   EVP_DigestVerify(ctx, (const uint8_t *)signature.data, signature.len,
                                    digest->bytes, SHA256_LEN) == 1;

    EVP_MD_CTX_free(ctx);
    return is_good;
}
