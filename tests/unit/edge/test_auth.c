/* Credentials, as far as they can be judged without the account.
 *
 * Not covered here: whether a key or a user still exists and what it may do, which its shard
 * decides (tests/unit/shards/test_key, test_account).
 */
#include "edge/auth.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define NOW_MS UINT64_C(1750000000000)

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const struct seal_key master = {{1, 2, 3}};
static const struct seal_key other_master = {{1, 2, 4}};

static struct token_keys keys; /* of generation 0 */

static void setup(void)
{
    crypto_init();
    keys = auth_token_keys(&master, (struct session_keys){0, 0});
}

TestSuite(auth, .init = setup);

/* ---- keys ----------------------------------------------------------------------------------- */

static bool is_good_key(const char *text, size_t len)
{
    struct caller caller = {.account = {99}};
    enum err err = auth_key_read(slice_of(text, len), &caller);
    cr_assert(err == ERR_OK || err == ERR_UNAUTHORIZED);
    cr_assert_eq(err == ERR_UNAUTHORIZED, caller.account.value == 99, "untouched on failure");
    return err == ERR_OK;
}

Test(auth, reads_the_keys_it_makes)
{
    static const uint64_t accounts[] = {1, 77, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(accounts); i++) {
        for (enum mode mode = MODE_LIVE; mode <= MODE_TEST; mode++) {
            struct auth_key made;
            struct caller caller;
            auth_key_make(mode, (struct account_id){accounts[i]}, &made);
            struct slice text = slice_str(made.text);
            cr_assert_eq(text.len, AUTH_KEY_LEN);
            cr_assert(
                slice_starts(text, mode == MODE_LIVE ? SLICE("mk_live_") : SLICE("mk_test_")));
            cr_assert_eq(strspn(made.text + 8, base62), 48);
            cr_assert_eq(auth_key_read(text, &caller), ERR_OK);
            cr_assert_eq(caller.kind, CALLER_KEY);
            cr_assert_eq(caller.account.value, accounts[i]);
            struct sha256 hash = crypto_sha256(text);
            cr_assert(crypto_equal(sha256_slice(&caller.key_hash), sha256_slice(&hash)));
            cr_assert(crypto_equal(sha256_slice(&made.hash), sha256_slice(&hash)));
        }
    }
}

Test(auth, makes_no_key_twice)
{
    struct auth_key one;
    struct auth_key two;
    auth_key_make(MODE_LIVE, (struct account_id){7}, &one);
    auth_key_make(MODE_LIVE, (struct account_id){7}, &two);
    cr_assert_eq(memcmp(one.text, two.text, 8 + ACCOUNT_BODY_LEN), 0);
    cr_assert_neq(memcmp(one.text + 8 + ACCOUNT_BODY_LEN, two.text + 8 + ACCOUNT_BODY_LEN, 31), 0);
}

/* A typo never reaches a shard: CRC-32 finds every change within 32 bits. */
Test(auth, refuses_a_key_with_any_one_byte_changed)
{
    struct auth_key made;
    auth_key_make(MODE_LIVE, (struct account_id){UINT64_C(0x123456789abcdef)}, &made);
    for (size_t at = 0; at < AUTH_KEY_LEN; at++) {
        char good = made.text[at];
        for (int byte = 0; byte < 256; byte++) {
            made.text[at] = (char)byte;
            cr_assert_eq(is_good_key(made.text, AUTH_KEY_LEN), (char)byte == good, "byte %d at %zu",
                         byte, at);
        }
        made.text[at] = good;
    }
}

Test(auth, refuses_a_key_with_two_bytes_swapped)
{
    struct auth_key made;
    auth_key_make(MODE_TEST, (struct account_id){5}, &made);
    for (size_t at = 0; at + 1 < AUTH_KEY_LEN; at++) {
        char first = made.text[at];
        made.text[at] = made.text[at + 1];
        made.text[at + 1] = first;
        cr_assert_eq(is_good_key(made.text, AUTH_KEY_LEN), first == made.text[at], "at %zu", at);
        made.text[at + 1] = made.text[at];
        made.text[at] = first;
    }
}

Test(auth, refuses_a_key_of_another_length_or_mode)
{
    struct auth_key made;
    auth_key_make(MODE_LIVE, (struct account_id){5}, &made);
    char text[AUTH_KEY_LEN + 8];
    memcpy(text, made.text, AUTH_KEY_LEN);
    memset(text + AUTH_KEY_LEN, '0', 8);
    for (size_t len = 0; len <= sizeof text; len++) {
        cr_assert_eq(is_good_key(text, len), len == AUTH_KEY_LEN, "length %zu", len);
    }
    memcpy(text, "mk_test_", 8); /* the prefix is under the checksum */
    cr_assert_not(is_good_key(text, AUTH_KEY_LEN));
    memcpy(text, "MK_LIVE_", 8);
    cr_assert_not(is_good_key(text, AUTH_KEY_LEN));
}

/* Eleven digits can say more than 64 bits; such an account cannot be. */
Test(auth, refuses_an_account_beyond_64_bits_though_the_checksum_fits)
{
    char text[AUTH_KEY_LEN];
    memcpy(text, "mk_live_", 8);
    memset(text + 8, 'z', 42);
    uint32_t crc = crypto_crc32(0, slice_of(text, 50));
    uint8_t number[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                         (uint8_t)crc};
    base62_encode(number, sizeof number, text + 50, 6);
    cr_assert_not(is_good_key(text, sizeof text));
}

/* ---- tokens --------------------------------------------------------------------------------- */

struct session {
    struct arena arena;
    struct account_id account;
    struct id user;
    struct id id;
    struct slice token;
};

static void session_init(struct session *session)
{
    struct id_maker maker;
    arena_init(&session->arena, 4096, MIB);
    id_maker_init(&maker, 0);
    session->account = (struct account_id){UINT64_C(0xfedcba9876543210)};
    session->user = id_make(&maker, session->account, NOW_MS);
    session->id = id_random();
    const struct token token = {.account = session->account,
                                .user = session->user,
                                .session = session->id,
                                .expires_unix_ms = NOW_MS + SESSION_MS};
    session->token = auth_token_make(&keys, &token, &session->arena);
}

static struct slice invite_of(struct session *session, const struct token_keys *by)
{
    const struct token token = {
        .account = session->account, .user = session->user, .expires_unix_ms = NOW_MS + INVITE_MS};
    return auth_token_make(by, &token, &session->arena);
}

static enum err read_at(struct session *session, struct slice token, uint64_t now_unix_ms,
                        struct caller *caller)
{
    enum err err = auth_token_read(&keys, token, now_unix_ms, &session->arena, caller);
    cr_assert(err == ERR_OK || err == ERR_UNAUTHORIZED);
    return err;
}

static bool is_good_token(struct session *session, struct slice token)
{
    struct caller caller;
    return read_at(session, token, NOW_MS, &caller) == ERR_OK;
}

Test(auth, reads_the_tokens_it_makes)
{
    struct session session;
    struct caller caller;
    session_init(&session);
    cr_assert_eq(read_at(&session, session.token, NOW_MS, &caller), ERR_OK);
    cr_assert_eq(caller.kind, CALLER_SESSION);
    cr_assert_eq(caller.account.value, session.account.value);
    cr_assert(id_equal(caller.user, session.user));
    cr_assert(id_equal(caller.session, session.id));
    arena_fini(&session.arena);
}

/* RFC 7519 in its compact form, so that other tools can read it. */
Test(auth, makes_tokens_that_are_jwt)
{
    struct session session;
    session_init(&session);
    struct slice rest = session.token;
    uint8_t json[512];
    size_t len = 0;
    cr_assert_eq(base64url_decode(slice_cut(&rest, '.'), json, &len), ERR_OK);
    cr_assert(slice_equal(slice_of(json, len),
                          SLICE("{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"0\"}")));
    cr_assert_eq(base64url_decode(slice_cut(&rest, '.'), json, &len), ERR_OK);
    struct slice payload = slice_of(json, len);
    cr_assert_neq(slice_find(payload, SLICE("\"sub\":\"usr_")), SIZE_MAX);
    cr_assert_neq(slice_find(payload, SLICE("\"acc\":\"acc_")), SIZE_MAX);
    cr_assert_neq(slice_find(payload, SLICE("\"sid\":\"")), SIZE_MAX);
    cr_assert_neq(slice_find(payload, SLICE("\"exp\":1750043200")), SIZE_MAX);
    cr_assert_eq(rest.len, 43, "HMAC-SHA256");
    arena_fini(&session.arena);
}

Test(auth, lets_a_token_expire_after_twelve_hours)
{
    struct session session;
    struct caller caller;
    session_init(&session);
    static const struct {
        uint64_t after_ms;
        enum err err;
    } cases[] = {
        {0, ERR_OK},
        {SESSION_MS - 1, ERR_OK},
        {SESSION_MS, ERR_UNAUTHORIZED},
        {UINT64_MAX - NOW_MS, ERR_UNAUTHORIZED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert_eq(read_at(&session, session.token, NOW_MS + cases[i].after_ms, &caller),
                     cases[i].err, "case %zu", i);
    }
    arena_fini(&session.arena);
}

Test(auth, refuses_a_token_of_another_key)
{
    struct session session;
    struct caller caller;
    session_init(&session);
    struct token_keys others = auth_token_keys(&other_master, (struct session_keys){0, 0});
    cr_assert_eq(auth_token_read(&others, session.token, NOW_MS, &session.arena, &caller),
                 ERR_UNAUTHORIZED);
    arena_fini(&session.arena);
}

/* Every other letter of the alphabet at every place; the last one has two bits that say nothing,
 * and even they may not be changed. */
Test(auth, refuses_a_token_with_any_letter_changed)
{
    struct session session;
    session_init(&session);
    char text[512];
    size_t len = session.token.len;
    memcpy(text, session.token.data, len);
    for (size_t at = 0; at < len; at++) {
        char good = text[at];
        for (size_t i = 0; i < sizeof base64url - 1; i++) {
            text[at] = base64url[i];
            cr_assert_eq(is_good_token(&session, slice_of(text, len)), text[at] == good,
                         "%c at %zu of %zu", base64url[i], at, len);
        }
        static const char foreign[] = {'.', '=', '+', '/', ' ', '\n', '\0', '\x80'};
        for (size_t i = 0; i < sizeof foreign; i++) {
            text[at] = foreign[i];
            cr_assert_eq(is_good_token(&session, slice_of(text, len)), foreign[i] == good);
        }
        text[at] = good;
    }
    arena_fini(&session.arena);
}

Test(auth, refuses_every_part_of_a_token)
{
    struct session session;
    session_init(&session);
    for (size_t len = 0; len < session.token.len; len++) {
        cr_assert_not(is_good_token(&session, slice_head(session.token, len)), "head of %zu", len);
        cr_assert_not(is_good_token(&session, slice_from(session.token, session.token.len - len)));
    }
    struct slice longer = arena_format(&session.arena, "%.*s.x", SLICE_FMT(session.token));
    cr_assert_not(is_good_token(&session, longer));
    arena_fini(&session.arena);
}

/* What a header and a payload would look like with a signature that fits. */
static struct slice sign(struct session *session, const char *header, const char *payload)
{
    struct arena *arena = &session->arena;
    struct slice head = base64url_arena(arena, slice_str(header));
    struct slice body = base64url_arena(arena, slice_str(payload));
    struct slice both = arena_format(arena, "%.*s.%.*s", SLICE_FMT(head), SLICE_FMT(body));
    struct sha256 mac =
        crypto_hmac_sha256(slice_of(keys.current.key.bytes, sizeof keys.current.key.bytes), both);
    struct slice signature = base64url_arena(arena, sha256_slice(&mac));
    return arena_format(arena, "%.*s.%.*s", SLICE_FMT(both), SLICE_FMT(signature));
}

#define JWT "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"0\"}"
#define SID "0123456789abcdef0123456789abcdef"

/* The signature is ours in every case: these are tokens that we never make. A SES stands for an
 * account, a user and a session that are good. */
static const struct {
    const char *header;
    const char *payload;
    bool is_good;
} signed_cases[] = {
    {JWT, "{SES,\"exp\":1750000001}", true},
    {JWT, "{\"exp\":1750000001,\"acc\":\"ACC\",\"sid\":\"" SID "\",\"sub\":\"USR\",\"x\":[1]}",
     true},
    {JWT, "{SES,\"exp\":1750000000}", false},
    {JWT, "{SES}", false},
    {JWT, "{SES,\"exp\":\"1750000001\"}", false},
    {JWT, "{SES,\"exp\":-1}", false},
    {JWT, "{SES,\"use\":\"join\",\"exp\":1750000001}", false},
    {JWT, "{SES,\"use\":\"other\",\"exp\":1750000001}", false},
    {JWT, "{SES,\"use\":1,\"exp\":1750000001}", false},
    {JWT, "{\"sub\":\"USR\",\"acc\":\"ACC\",\"exp\":1750000001}", false},
    {JWT, "{\"sub\":\"USR\",\"acc\":\"ACC\",\"sid\":\"\",\"exp\":1750000001}", false},
    {JWT, "{\"sub\":\"USR\",\"acc\":\"ACC\",\"sid\":\"0123\",\"exp\":1750000001}", false},
    {JWT,
     "{\"sub\":\"USR\",\"acc\":\"ACC\",\"sid\":\"00000000000000000000000000000000\","
     "\"exp\":1750000001}",
     false},
    {JWT,
     "{\"sub\":\"USR\",\"acc\":\"ACC\",\"sid\":\"0123456789abcdef0123456789abcdeg\","
     "\"exp\":1750000001}",
     false},
    {JWT, "{\"sub\":\"USR\",\"sid\":\"" SID "\",\"exp\":1750000001}", false},
    {JWT, "{\"acc\":\"ACC\",\"sid\":\"" SID "\",\"exp\":1750000001}", false},
    {JWT, "{\"sub\":\"ACC\",\"acc\":\"ACC\",\"sid\":\"" SID "\",\"exp\":1750000001}", false},
    {JWT, "{\"sub\":\"USR\",\"acc\":\"USR\",\"sid\":\"" SID "\",\"exp\":1750000001}", false},
    {JWT, "{\"sub\":\"\",\"acc\":\"\",\"sid\":\"" SID "\",\"exp\":1750000001}", false},
    {JWT, "[]", false},
    {JWT, "", false},
    {JWT, "{", false},
    {"{\"alg\":\"none\",\"typ\":\"JWT\",\"kid\":\"0\"}", "{SES,\"exp\":1750000001}", false},
    {"{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"0\"}", "{SES,\"exp\":1750000001}", false},
    {"{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{SES,\"exp\":1750000001}", false},
    {"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"1\"}", "{SES,\"exp\":1750000001}", false},
    {"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":0}", "{SES,\"exp\":1750000001}", false},
    {"{}", "{SES,\"exp\":1750000001}", false},
    {"", "{SES,\"exp\":1750000001}", false},
};

static void replace(char *text, size_t size, const char *word, const char *by)
{
    char *at = strstr(text, word);
    while (at != NULL) {
        char rest[512];
        (void)snprintf(rest, sizeof rest, "%s", at + strlen(word));
        (void)snprintf(at, size - (size_t)(at - text), "%s%s", by, rest);
        at = strstr(at + strlen(by), word);
    }
}

Test(auth, reads_only_what_it_makes_even_when_it_is_signed)
{
    struct session session;
    session_init(&session);
    char user[ID_TEXT_MAX];
    char account[ID_TEXT_MAX];
    (void)id_text(ID_USER, session.user, user);
    (void)account_text(session.account, account);
    for (size_t i = 0; i < ARRAY_LEN(signed_cases); i++) {
        char payload[512];
        (void)snprintf(payload, sizeof payload, "%s", signed_cases[i].payload);
        replace(payload, sizeof payload, "SES",
                "\"sub\":\"USR\",\"acc\":\"ACC\",\"sid\":\"" SID "\"");
        replace(payload, sizeof payload, "USR", user);
        replace(payload, sizeof payload, "ACC", account);
        struct slice token = sign(&session, signed_cases[i].header, payload);
        cr_assert_eq(is_good_token(&session, token), signed_cases[i].is_good, "case %zu", i);
    }
    arena_fini(&session.arena);
}

Test(auth, refuses_a_token_without_signature)
{
    static const char *const algs[] = {"none", "None", "HS256"};
    struct session session;
    session_init(&session);
    struct slice rest = session.token;
    (void)slice_cut(&rest, '.');
    struct slice payload = slice_cut(&rest, '.');
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        struct slice json =
            arena_format(&session.arena, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", algs[i]);
        struct slice header = base64url_arena(&session.arena, json);
        struct slice token =
            arena_format(&session.arena, "%.*s.%.*s.", SLICE_FMT(header), SLICE_FMT(payload));
        cr_assert_not(is_good_token(&session, token), "%s", algs[i]);
        cr_assert_not(is_good_token(&session, slice_head(token, token.len - 1)), "%s", algs[i]);
    }
    arena_fini(&session.arena);
}

Test(auth, refuses_a_token_that_is_too_long)
{
    struct session session;
    session_init(&session);
    char payload[4096];
    int len = snprintf(payload, sizeof payload, "{\"pad\":\"%0*d\"}", 3000, 0);
    cr_assert_gt(len, 3000);
    cr_assert_not(is_good_token(&session, sign(&session, JWT, payload)));
    char dots[5000];
    memset(dots, '.', sizeof dots);
    cr_assert_not(is_good_token(&session, slice_of(dots, sizeof dots)));
    arena_fini(&session.arena);
}

/* ---- invitations ----------------------------------------------------------------------------- */

Test(auth, reads_invitations_and_takes_none_for_a_session)
{
    struct session session;
    struct caller caller;
    struct token token = {.account = {99}};
    session_init(&session);
    struct slice invite = invite_of(&session, &keys);
    cr_assert_eq(auth_invite_read(&keys, invite, NOW_MS, &session.arena, &token), ERR_OK);
    cr_assert_eq(token.account.value, session.account.value);
    cr_assert(id_equal(token.user, session.user));
    cr_assert_eq(read_at(&session, invite, NOW_MS, &caller), ERR_UNAUTHORIZED);
    token.account.value = 99;
    cr_assert_eq(auth_invite_read(&keys, session.token, NOW_MS, &session.arena, &token),
                 ERR_UNAUTHORIZED);
    cr_assert_eq(auth_invite_read(&keys, invite, NOW_MS + INVITE_MS - 1, &session.arena, &token),
                 ERR_OK);
    token.account.value = 99;
    cr_assert_eq(auth_invite_read(&keys, invite, NOW_MS + INVITE_MS, &session.arena, &token),
                 ERR_UNAUTHORIZED);
    cr_assert_eq(token.account.value, 99, "untouched on failure");
    arena_fini(&session.arena);
}

/* ---- rotation -------------------------------------------------------------------------------- */

Test(auth, accepts_the_key_before_the_last_until_its_time_is_over)
{
    struct session session;
    struct caller caller;
    session_init(&session);
    const struct {
        struct session_keys keys;
        uint64_t now_unix_ms;
        bool is_good;
    } cases[] = {
        {{0, 0}, NOW_MS, true},
        {{1, NOW_MS + 1}, NOW_MS, true},
        {{1, NOW_MS + 1}, NOW_MS + 1, false},
        {{1, 0}, NOW_MS, false},          /* rotated at once */
        {{2, NOW_MS + 1}, NOW_MS, false}, /* twice */
        {{0, NOW_MS + 1}, NOW_MS, true},  /* no generation comes before the first */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct token_keys now = auth_token_keys(&master, cases[i].keys);
        enum err err =
            auth_token_read(&now, session.token, cases[i].now_unix_ms, &session.arena, &caller);
        cr_expect_eq(err, cases[i].is_good ? ERR_OK : ERR_UNAUTHORIZED, "case %zu", i);
    }
    arena_fini(&session.arena);
}

Test(auth, signs_with_the_last_key)
{
    struct session session;
    struct token token;
    session_init(&session);
    struct token_keys fresh = auth_token_keys(&master, (struct session_keys){7, NOW_MS + 1});
    struct slice invite = invite_of(&session, &fresh);
    struct slice rest = invite;
    uint8_t json[512];
    size_t len = 0;
    cr_assert_eq(base64url_decode(slice_cut(&rest, '.'), json, &len), ERR_OK);
    cr_assert_neq(slice_find(slice_of(json, len), SLICE("\"kid\":\"7\"")), SIZE_MAX);
    cr_assert_eq(auth_invite_read(&fresh, invite, NOW_MS, &session.arena, &token), ERR_OK);
    struct token_keys next = auth_token_keys(&master, (struct session_keys){8, NOW_MS + 1});
    cr_assert_eq(auth_invite_read(&next, invite, NOW_MS, &session.arena, &token), ERR_OK);
    cr_assert_eq(auth_invite_read(&keys, invite, NOW_MS, &session.arena, &token), ERR_UNAUTHORIZED,
                 "of the future");
    arena_fini(&session.arena);
}

/* ---- the header ----------------------------------------------------------------------------- */

Test(auth, reads_the_authorization_header)
{
    struct session session;
    struct auth_key made;
    session_init(&session);
    auth_key_make(MODE_LIVE, (struct account_id){7}, &made);
    const char *token = arena_cstr(&session.arena, session.token);
    const struct {
        const char *scheme;
        const char *secret;
        int kind; /* enum caller_kind; -1: refused */
    } cases[] = {
        {"Bearer ", made.text, CALLER_KEY},
        {"bearer ", made.text, CALLER_KEY},
        {"BEARER    ", made.text, CALLER_KEY},
        {"Bearer ", token, CALLER_SESSION},
        {"bEARER \t", token, CALLER_SESSION},
        {"Bearer", made.text, -1},
        {"Bearer\t", made.text, -1},
        {" Bearer ", made.text, -1}, /* the codec trims; a space inside is not ours */
        {"Basic ", made.text, -1},
        {"Bearer Bearer ", made.text, -1},
        {"", made.text, -1},
        {"", token, -1},
        {"Bearer ", "", -1},
        {"Bearer", "", -1},
        {"", "", -1},
        {"Bearer ", "mk_", -1},
        {"Bearer ", "mk_live_", -1},
        {"Bearer ", ".", -1},
        {"Bearer ", "..", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct caller caller = {.kind = CALLER_KEY};
        struct slice value = arena_format(&session.arena, "%s%s", cases[i].scheme, cases[i].secret);
        enum err err = auth_header_read(&keys, value, NOW_MS, &session.arena, &caller);
        cr_assert_eq(err, cases[i].kind == -1 ? ERR_UNAUTHORIZED : ERR_OK, "case %zu", i);
        cr_assert(cases[i].kind == -1 || (int)caller.kind == cases[i].kind, "case %zu", i);
    }
    arena_fini(&session.arena);
}
