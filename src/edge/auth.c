/* auth.c - API keys and session tokens, offline. */
#include "edge/auth.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/json.h"
#include "base/limits.h"

#define KEY_RANDOM   31
#define KEY_CHECKSUM 6
#define SECOND_MS    1000
#define TOKEN_MAX    1024
#define SESSION_TEXT 32 /* its id in hexadecimal */
#define USE_JOIN     "join"

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

/* ---- tokens --------------------------------------------------------------------------------- */

/* The header is always written in this way, so a reader compares and need not parse it. */
static struct token_key key_of(const struct seal_key *master, uint32_t generation)
{
    struct token_key made;
    struct arena arena;
    arena_init(&arena, 512, 4 * KIB);
    struct slice purpose = arena_format(&arena, "session/%" PRIu32, generation);
    struct slice header = base64url_arena(
        &arena, arena_format(&arena, "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%" PRIu32 "\"}",
                             generation));
    CHECK(header.len < sizeof made.header);
    made.key = crypto_derive(master, purpose);
    memset(made.header, 0, sizeof made.header);
    memcpy(made.header, header.data, header.len);
    arena_fini(&arena);
    return made;
}

struct token_keys auth_token_keys(const struct seal_key *master, struct session_keys keys)
{
    struct token_keys made = {
        .generation = keys.generation,
        .previous_until_unix_ms = keys.generation > 0 ? keys.previous_until_unix_ms : 0,
        .current = key_of(master, keys.generation),
    };
    if (made.previous_until_unix_ms > 0) {
        made.previous = key_of(master, keys.generation - 1);
    }
    return made;
}

static struct sha256 sign_token(const struct seal_key *key, struct slice signed_part)
{
    return crypto_hmac_sha256(slice_of(key->bytes, sizeof key->bytes), signed_part);
}

struct slice auth_token_make(const struct token_keys *keys, const struct token *token,
                             struct arena *arena)
{
    char user[ID_TEXT_MAX];
    char account[ID_TEXT_MAX];
    char session[SESSION_TEXT + 1] = "";
    (void)id_text(ID_USER, token->user, user); /* lengths are not needed: both are terminated */
    (void)account_text(token->account, account);
    hex_encode(slice_of(token->session.bytes, sizeof token->session.bytes), session);
    bool is_invite = id_is_none(token->session);
    struct slice payload =
        arena_format(arena, "{\"sub\":\"%s\",\"acc\":\"%s\",\"%s\":\"%s\",\"exp\":%" PRIu64 "}",
                     user, account, is_invite ? "use" : "sid", is_invite ? USE_JOIN : session,
                     token->expires_unix_ms / SECOND_MS);
    struct slice header = slice_str(keys->current.header);
    struct slice encoded = base64url_arena(arena, payload);
    struct slice signed_part =
        arena_format(arena, "%.*s.%.*s", SLICE_FMT(header), SLICE_FMT(encoded));
    struct sha256 mac = sign_token(&keys->current.key, signed_part);
    struct slice signature = base64url_arena(arena, sha256_slice(&mac));
    struct slice text =
        arena_format(arena, "%.*s.%.*s", SLICE_FMT(signed_part), SLICE_FMT(signature));
    CHECK(text.len <= TOKEN_MAX); /* a longer one is not read */
    return text;
}

struct claims {
    struct slice sub;
    struct slice acc;
    struct slice sid;
    struct slice use;
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
    {.name = "sid", .type = JSON_TEXT, .offset = offsetof(struct claims, sid), .max = SESSION_TEXT},
    {.name = "use", .type = JSON_TEXT, .offset = offsetof(struct claims, use), .max = SESSION_TEXT},
    {.name = "exp", .type = JSON_U64, .is_required = true, .offset = offsetof(struct claims, exp)},
};
static const struct json_shape claims_shape = {claim_fields, ARRAY_LEN(claim_fields),
                                               sizeof(struct claims)};

/* The key that must have signed: NULL when the header is none of ours, or its time is over. */
static const struct seal_key *key_of_header(const struct token_keys *keys, struct slice header,
                                            uint64_t now_unix_ms)
{
    if (slice_equal(header, slice_str(keys->current.header))) {
        return &keys->current.key;
    }
    if (now_unix_ms < keys->previous_until_unix_ms &&
        slice_equal(header, slice_str(keys->previous.header))) {
        return &keys->previous.key;
    }
    return NULL;
}

/* Signature, expiry, account and user. */
static enum err read_token(const struct token_keys *keys, struct slice text, uint64_t now_unix_ms,
                           struct arena *arena, struct claims *claims)
{
    size_t dot = slice_rfind_byte(text, '.');
    if (text.len > TOKEN_MAX || dot == SIZE_MAX) {
        return ERR_UNAUTHORIZED;
    }
    struct slice signed_part = slice_head(text, dot);
    struct slice encoded = signed_part;
    const struct seal_key *key = key_of_header(keys, slice_cut(&encoded, '.'), now_unix_ms);
    if (key == NULL || encoded.data == NULL) {
        return ERR_UNAUTHORIZED;
    }
    uint8_t mac[TOKEN_MAX];
    size_t mac_len;
    struct sha256 expected = sign_token(key, signed_part);
    if (base64url_decode(slice_from(text, dot + 1), mac, &mac_len) != ERR_OK ||
        !crypto_equal(slice_of(mac, mac_len), sha256_slice(&expected))) {
        return ERR_UNAUTHORIZED;
    }
    uint8_t payload[TOKEN_MAX];
    size_t payload_len;
    struct json_fault fault;
    if (base64url_decode(encoded, payload, &payload_len) != ERR_OK ||
        json_read(slice_of(payload, payload_len), &claims_shape, arena, claims, &fault) != ERR_OK ||
        claims->exp <= now_unix_ms / SECOND_MS) {
        return ERR_UNAUTHORIZED;
    }
    return ERR_OK;
}

static enum err read_names(const struct claims *claims, struct token *token)
{
    *token =
        (struct token){.expires_unix_ms = min_u64(claims->exp, UINT64_MAX / SECOND_MS) * SECOND_MS};
    bool is_good = account_parse(claims->acc, &token->account) == ERR_OK &&
                   id_parse(ID_USER, claims->sub, &token->user) == ERR_OK;
    return is_good ? ERR_OK : ERR_UNAUTHORIZED;
}

enum err auth_token_read(const struct token_keys *keys, struct slice text, uint64_t now_unix_ms,
                         struct arena *arena, struct caller *caller)
{
    struct claims claims;
    struct token token;
    enum err err = read_token(keys, text, now_unix_ms, arena, &claims);
    err = err == ERR_OK ? read_names(&claims, &token) : err;
    if (err != ERR_OK) {
        return err;
    }
    if (claims.use.len > 0 || claims.sid.len != SESSION_TEXT ||
        hex_decode(claims.sid, token.session.bytes, sizeof token.session.bytes) != ERR_OK ||
        id_is_none(token.session)) {
        return ERR_UNAUTHORIZED;
    }
    *caller = (struct caller){.kind = CALLER_SESSION,
                              .account = token.account,
                              .user = token.user,
                              .session = token.session};
    return ERR_OK;
}

enum err auth_invite_read(const struct token_keys *keys, struct slice text, uint64_t now_unix_ms,
                          struct arena *arena, struct token *token)
{
    struct claims claims;
    struct token found;
    enum err err = read_token(keys, text, now_unix_ms, arena, &claims);
    err = err == ERR_OK ? read_names(&claims, &found) : err;
    if (err == ERR_OK && (claims.sid.len > 0 || !slice_equal(claims.use, SLICE(USE_JOIN)))) {
        err = ERR_UNAUTHORIZED;
    }
    if (err == ERR_OK) {
        *token = found;
    }
    return err;
}

enum err auth_header_read(const struct token_keys *keys, struct slice value, uint64_t now_unix_ms,
                          struct arena *arena, struct caller *caller)
{
    if (!slice_starts_nocase(value, SLICE("bearer "))) {
        return ERR_UNAUTHORIZED;
    }
    struct slice secret = slice_trim(slice_from(value, 7));
    if (slice_starts(secret, SLICE("mk_"))) {
        return auth_key_read(secret, caller);
    }
    return auth_token_read(keys, secret, now_unix_ms, arena, caller);
}
