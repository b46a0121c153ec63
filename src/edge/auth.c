/* auth.c - API keys and session tokens, offline. */
#include "edge/auth.h"

#include <string.h>

#include "base/check.h"
#include "base/json.h"
#include "base/limits.h"

#define KEY_RANDOM   31
#define KEY_CHECKSUM 6
#define SECOND_MS    1000
#define JWT_HEADER   "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" /* {"alg":"HS256","typ":"JWT"} */
#define TOKEN_MAX    1024

static const char *const mode_prefix[] = {[MODE_LIVE] = "mk_live_", [MODE_TEST] = "mk_test_"};

static void checksum(struct slice body, char out[KEY_CHECKSUM])
{
    uint32_t crc = crypto_crc32(0, body);
    uint8_t number[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                         (uint8_t)crc};
    base62_encode(number, sizeof number, out, KEY_CHECKSUM);
}

void auth_key_make(enum mode mode, struct account_id account, struct auth_key *key)
{
    char *at = key->text;
    memcpy(at, mode_prefix[mode], 8);
    at += 8;
    account_digits(account, at);
    at += ACCOUNT_BODY_LEN;
    crypto_random_base62(at, KEY_RANDOM);
    at += KEY_RANDOM;
    CHECK(at - key->text == AUTH_KEY_LEN - KEY_CHECKSUM);
    checksum(slice_of(key->text, (size_t)(at - key->text)), at);
    key->text[AUTH_KEY_LEN] = '\0';
    key->hash = crypto_sha256(slice_of(key->text, AUTH_KEY_LEN));
}

enum err auth_key_read(struct slice text, struct caller *caller)
{
    if (text.len != AUTH_KEY_LEN || (!slice_starts(text, slice_str(mode_prefix[MODE_LIVE])) &&
                                     !slice_starts(text, slice_str(mode_prefix[MODE_TEST])))) {
        return ERR_UNAUTHORIZED;
    }
    char expected[KEY_CHECKSUM];
    checksum(slice_head(text, AUTH_KEY_LEN - KEY_CHECKSUM), expected);
    struct account_id account;
    if (!crypto_equal(slice_of(expected, sizeof expected),
                      slice_from(text, AUTH_KEY_LEN - KEY_CHECKSUM)) ||
        account_parse_digits(slice_sub(text, 8, ACCOUNT_BODY_LEN), &account) != ERR_OK) {
        return ERR_UNAUTHORIZED;
    }
    *caller =
        (struct caller){.kind = CALLER_KEY, .account = account, .key_hash = crypto_sha256(text)};
    return ERR_OK;
}

static struct sha256 sign_token(const struct seal_key *key, struct slice signed_part)
{
    return crypto_hmac_sha256(slice_of(key->bytes, sizeof key->bytes), signed_part);
}

struct slice auth_token_make(const struct seal_key *key, struct account_id account, struct id user,
                             uint64_t now_unix_ms, struct arena *arena)
{
    char user_text[ID_TEXT_MAX];
    char acc_text[ID_TEXT_MAX];
    (void)id_text(ID_USER, user, user_text); /* lengths are not needed: both are terminated */
    (void)account_text(account, acc_text);
    struct slice payload =
        arena_format(arena, "{\"sub\":\"%s\",\"acc\":\"%s\",\"exp\":%llu}", user_text, acc_text,
                     (unsigned long long)((now_unix_ms + SESSION_MS) / SECOND_MS));
    struct slice encoded = base64url_arena(arena, payload);
    struct slice signed_part = arena_format(arena, "%s.%.*s", JWT_HEADER, SLICE_FMT(encoded));
    struct sha256 mac = sign_token(key, signed_part);
    struct slice signature = base64url_arena(arena, sha256_slice(&mac));
    struct slice token =
        arena_format(arena, "%.*s.%.*s", SLICE_FMT(signed_part), SLICE_FMT(signature));
    CHECK(token.len <= TOKEN_MAX); /* auth_token_read takes no longer one */
    return token;
}

struct claims {
    struct slice sub;
    struct slice acc;
    uint64_t exp;
};

static const struct json_field claim_fields[] = {
    {.name = "sub",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct claims, sub),
     .max = ID_TEXT_MAX},
    {.name = "acc",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct claims, acc),
     .max = ID_TEXT_MAX},
    {.name = "exp", .type = JSON_U64, .is_required = true, .offset = offsetof(struct claims, exp)},
};
static const struct json_shape claims_shape = {claim_fields, ARRAY_LEN(claim_fields),
                                               sizeof(struct claims)};

enum err auth_token_read(const struct seal_key *key, struct slice token, uint64_t now_unix_ms,
                         struct arena *arena, struct caller *caller)
{
    size_t dot = slice_rfind_byte(token, '.');
    struct slice signed_part = slice_head(token, dot);
    if (token.len > TOKEN_MAX || dot == SIZE_MAX ||
        !slice_starts(signed_part, SLICE(JWT_HEADER "."))) {
        return ERR_UNAUTHORIZED;
    }
    uint8_t mac[TOKEN_MAX];
    size_t mac_len;
    struct sha256 expected = sign_token(key, signed_part);
    if (base64url_decode(slice_from(token, dot + 1), mac, &mac_len) != ERR_OK ||
        !crypto_equal(slice_of(mac, mac_len), sha256_slice(&expected))) {
        return ERR_UNAUTHORIZED;
    }
    uint8_t payload[TOKEN_MAX];
    size_t payload_len;
    struct claims claims;
    struct json_fault fault;
    if (base64url_decode(slice_from(signed_part, sizeof JWT_HEADER), payload, &payload_len) !=
            ERR_OK ||
        json_read(slice_of(payload, payload_len), &claims_shape, arena, &claims, &fault) !=
            ERR_OK) {
        return ERR_UNAUTHORIZED;
    }
    struct account_id account;
    struct id user;
    if (claims.exp <= now_unix_ms / SECOND_MS || account_parse(claims.acc, &account) != ERR_OK ||
        id_parse(ID_USER, claims.sub, &user) != ERR_OK) {
        return ERR_UNAUTHORIZED;
    }
    *caller = (struct caller){.kind = CALLER_SESSION, .account = account, .user = user};
    return ERR_OK;
}

enum err auth_header_read(const struct seal_key *key, struct slice value, uint64_t now_unix_ms,
                          struct arena *arena, struct caller *caller)
{
    if (!slice_starts_nocase(value, SLICE("bearer "))) {
        return ERR_UNAUTHORIZED;
    }
    struct slice secret = slice_trim(slice_from(value, 7));
    if (slice_starts(secret, SLICE("mk_"))) {
        return auth_key_read(secret, caller);
    }
    return auth_token_read(key, secret, now_unix_ms, arena, caller);
}
