/* test_crypto.c - published vectors first, then what the vectors do not say: round trips,
 * strictness and tampering.
 *
 * Not covered here: timing (crypto_equal is libsodium's), the quality of random numbers, failure
 * of OpenSSL itself (fatal), and the ceilings of argon2id. DKIM over whole mails is in
 * tests/unit/mail/test_dkim.c.
 */
#include "base/crypto.h"

#include "base/base.h"

#include <criterion/criterion.h>
#include <openssl/err.h> /* to see what crypto.c leaves in the queue */

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;

static void set_up(void)
{
    crypto_init();
    arena_init(&arena, 4096, 1 << 20);
}

static void tear_down(void)
{
    arena_fini(&arena);
}

TestSuite(crypto, .init = set_up, .fini = tear_down);

static void check_hex(const char *name, const struct sha256 *digest, const char *expected)
{
    char hex[2 * SHA256_LEN];
    hex_encode(sha256_slice(digest), hex);
    cr_expect(slice_equal(slice_of(hex, sizeof(hex)), slice_str(expected)), "%s: got %.*s", name,
              (int)sizeof(hex), hex);
}

static struct slice repeat(char byte, size_t count)
{
    char *bytes = arena_bytes(&arena, count);
    memset(bytes, byte, count);
    return slice_of(bytes, count);
}

/* ---- digests -------------------------------------------------------------------------------- */

Test(crypto, sha256_agrees_with_fips_180)
{
    static const struct {
        struct slice text;
        const char *hex;
    } table[] = {
        {SLICE_INIT(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {SLICE_INIT("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {SLICE_INIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct sha256 digest = crypto_sha256(table[i].text);
        check_hex(table[i].text.data, &digest, table[i].hex);
    }
    struct sha256 of_null = crypto_sha256((struct slice){0});
    check_hex("NULL", &of_null, table[0].hex);
}

Test(crypto, sha256_in_pieces_equals_sha256_at_once)
{
    struct slice text = repeat('a', 1000);
    struct sha256 whole = crypto_sha256(text);
    static const size_t sizes[] = {1, 3, 63, 64, 65, 999, 1000};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct sha256_stream stream;
        sha256_start(&stream);
        for (size_t at = 0; at < text.len; at += sizes[i]) {
            sha256_add(&stream, slice_of(text.data + at, min_size(sizes[i], text.len - at)));
            sha256_add(&stream, (struct slice){0});
        }
        struct sha256 pieces = sha256_finish(&stream);
        cr_expect(memcmp(&pieces, &whole, sizeof(whole)) == 0, "in pieces of %zu", sizes[i]);
        cr_expect_null(stream.ctx);
    }
}

Test(crypto, a_dropped_digest_leaves_nothing_behind)
{
    struct sha256_stream stream;

    sha256_start(&stream);
    sha256_add(&stream, SLICE("half a mail"));
    sha256_drop(&stream);
    sha256_drop(&stream); /* a second time is harmless */
    cr_expect_null(stream.ctx);
}

Test(crypto, hmac_agrees_with_rfc_4231)
{
    struct slice counting = slice_of("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d"
                                     "\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19",
                                     25);
    const struct {
        const char *name;
        struct slice key;
        struct slice data;
        const char *hex;
    } table[] = {
        {"case 1", repeat(0x0b, 20), SLICE("Hi There"),
         "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {"case 2", SLICE("Jefe"), SLICE("what do ya want for nothing?"),
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {"case 3", repeat((char)0xaa, 20), repeat((char)0xdd, 50),
         "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {"case 4", counting, repeat((char)0xcd, 50),
         "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
        {"case 6: a key longer than a block", repeat((char)0xaa, 131),
         SLICE("Test Using Larger Than Block-Size Key - Hash Key First"),
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
        {"case 7", repeat((char)0xaa, 131),
         SLICE("This is a test using a larger than block-size key and a larger than block-size "
               "data. The key needs to be hashed before being used by the HMAC algorithm."),
         "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
        {"no key, no data",
         {0},
         {0},
         "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct sha256 mac = crypto_hmac_sha256(table[i].key, table[i].data);
        check_hex(table[i].name, &mac, table[i].hex);
    }
}

Test(crypto, hmac_signs_a_webhook_as_the_contract_shows)
{
    struct sha256 mac = crypto_hmac_sha256(
        SLICE("whsec_mailkite_test"),
        SLICE("1750000000000."
              "{\"type\":\"email.received\",\"id\":\"evt_123\",\"message\":\"It works.\"}"));
    check_hex("webhook", &mac, "3d790f831e170ddba4d001f27532bf2c1fc68ebed52eef72fe453dfa1196b03c");
}

Test(crypto, crc32_agrees_with_ieee_and_continues_from_a_seed)
{
    cr_expect_eq(crypto_crc32(0, SLICE("123456789")), 0xcbf43926);
    cr_expect_eq(crypto_crc32(crypto_crc32(0, SLICE("1234")), SLICE("56789")), 0xcbf43926);
    cr_expect_eq(crypto_crc32(7, (struct slice){0}), 7);
}

/* ---- random, equal, wipe -------------------------------------------------------------------- */

Test(crypto, random_bytes_fill_exactly_what_was_asked)
{
    uint8_t bytes[40] = {0};
    size_t zeros = 0;

    crypto_random(bytes, 32);
    for (size_t i = 0; i < 32; i++) {
        zeros += bytes[i] == 0;
    }
    cr_expect_lt(zeros, 8); /* by chance: once in 10^13 */
    for (size_t i = 32; i < sizeof(bytes); i++) {
        cr_expect_eq(bytes[i], 0);
    }
    cr_expect_neq(crypto_random_u64(), crypto_random_u64());
}

Test(crypto, random_base62_uses_every_digit_evenly)
{
    enum { COUNT = 62000 };
    size_t seen[256] = {0};
    char *digits = arena_bytes(&arena, COUNT + 1);

    digits[COUNT] = '!';
    crypto_random_base62(digits, COUNT);
    cr_expect_eq(digits[COUNT], '!');
    for (size_t i = 0; i < COUNT; i++) {
        seen[(uint8_t)digits[i]]++;
    }
    for (int c = 0; c < 256; c++) {
        bool is_digit = ascii_is_digit((char)c) || ascii_is_alpha((char)c);
        if (is_digit) { /* 1000 expected, standard deviation 31 */
            cr_expect(seen[c] > 750 && seen[c] < 1250, "'%c' came %zu times", c, seen[c]);
        } else {
            cr_expect_eq(seen[c], 0);
        }
    }
    crypto_random_base62(digits, 0);
}

Test(crypto, equal_compares_contents_and_lengths)
{
    cr_expect(crypto_equal(SLICE("secret"), SLICE("secret")));
    cr_expect_not(crypto_equal(SLICE("secret"), SLICE("secreT")));
    cr_expect_not(crypto_equal(SLICE("secret"), SLICE("secrets")));
    cr_expect(crypto_equal(SLICE(""), (struct slice){0}));
}

Test(crypto, wipe_leaves_zeros)
{
    char secret[] = "secret";
    crypto_wipe(secret, sizeof(secret) - 1);
    cr_expect(memcmp(secret, "\0\0\0\0\0\0", 7) == 0);
    crypto_wipe(NULL, 0);
}

/* ---- encodings ------------------------------------------------------------------------------ */

Test(crypto, base64_agrees_with_rfc_4648)
{
    static const struct {
        struct slice plain;
        const char *padded;
        const char *url;
    } table[] = {
        {SLICE_INIT(""), "", ""},
        {SLICE_INIT("f"), "Zg==", "Zg"},
        {SLICE_INIT("fo"), "Zm8=", "Zm8"},
        {SLICE_INIT("foo"), "Zm9v", "Zm9v"},
        {SLICE_INIT("foob"), "Zm9vYg==", "Zm9vYg"},
        {SLICE_INIT("fooba"), "Zm9vYmE=", "Zm9vYmE"},
        {SLICE_INIT("foobar"), "Zm9vYmFy", "Zm9vYmFy"},
        {SLICE_INIT("\xfb\xff\xfe\x00"), "+//+AA==", "-__-AA"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint8_t plain[16];
        size_t len = 99;
        struct slice padded = base64_arena(&arena, table[i].plain);
        struct slice url = base64url_arena(&arena, table[i].plain);
        cr_expect(slice_equal(padded, slice_str(table[i].padded)), "%s", table[i].padded);
        cr_expect(slice_equal(url, slice_str(table[i].url)), "%s", table[i].url);
        cr_expect_eq(base64_len(table[i].plain.len), padded.len);
        cr_assert_eq(base64_decode(padded, plain, &len), ERR_OK, "%s", table[i].padded);
        cr_expect(slice_equal(slice_of(plain, len), table[i].plain), "%s", table[i].padded);
        cr_assert_eq(base64url_decode(url, plain, &len), ERR_OK, "%s", table[i].url);
        cr_expect(slice_equal(slice_of(plain, len), table[i].plain), "%s", table[i].url);
    }
}

Test(crypto, base64_survives_every_length_and_stays_within_its_room)
{
    for (size_t len = 0; len < 200; len++) {
        uint8_t *plain = malloc(len + 1); /* exact blocks, so that ASan sees an overrun */
        char *text = malloc(base64_len(len) + 1);
        cr_assert(plain && text);
        crypto_random(plain, len);
        size_t text_len = base64_encode(slice_of(plain, len), text);
        cr_assert_eq(text_len, base64_len(len));
        uint8_t *back = malloc(text_len / 4 * 3 + 3);
        size_t back_len = 0;
        cr_assert_eq(base64_decode(slice_of(text, text_len), back, &back_len), ERR_OK);
        cr_expect(slice_equal(slice_of(back, back_len), slice_of(plain, len)), "%zu bytes", len);
        free(plain);
        free(text);
        free(back);
    }
}

Test(crypto, base64_ignores_white_space_and_missing_padding_only)
{
    static const struct {
        struct slice text;
        bool is_good;
    } table[] = {
        {SLICE_INIT("Zm9v\r\nYmE="), true}, {SLICE_INIT(" Z\tm 9\nv\rYmE = "), true},
        {SLICE_INIT("Zm9vYmE"), true},      {SLICE_INIT("  "), true},
        {SLICE_INIT("Z"), false},        /* six bits are no byte */
        {SLICE_INIT("Zm9vY"), false},    /* likewise at the end */
        {SLICE_INIT("Zg="), false},      /* half the padding */
        {SLICE_INIT("Zg==="), false},    /* too much */
        {SLICE_INIT("Zm9v="), false},    /* none was due */
        {SLICE_INIT("="), false},        /* nothing to pad */
        {SLICE_INIT("===="), false},     /* likewise */
        {SLICE_INIT("Zg==Zg=="), false}, /* goes on after the end */
        {SLICE_INIT("Z=g="), false},     /* likewise */
        {SLICE_INIT("Zh=="), false},     /* bits beyond the last byte */
        {SLICE_INIT("Zm9="), false},     /* likewise */
        {SLICE_INIT("Zm-v"), false},     /* the other alphabet */
        {SLICE_INIT("Zm9\0"), false},       {SLICE_INIT("Zm9v\xc3\xa9zz"), false},
        {SLICE_INIT("Zm9v.Zm9"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint8_t plain[32];
        size_t len = 99;
        enum err err = base64_decode(table[i].text, plain, &len);
        cr_expect_eq(err, table[i].is_good ? ERR_OK : ERR_INVALID, "row %zu: %s", i,
                     table[i].text.data);
        if (!table[i].is_good) {
            cr_expect_eq(len, 99, "row %zu: the length was touched", i);
        }
    }
    size_t len;
    uint8_t plain[8];
    cr_expect_eq(base64url_decode(SLICE("Zm+v"), plain, &len), ERR_INVALID);
}

Test(crypto, hex_goes_both_ways_and_refuses_the_rest)
{
    char text[6];
    uint8_t bytes[3] = {0};

    hex_encode(SLICE("\x00\xa9\xff"), text);
    cr_expect(memcmp(text, "00a9ff", 6) == 0);
    cr_expect_eq(hex_decode(SLICE("00A9fF"), bytes, 3), ERR_OK);
    cr_expect(memcmp(bytes, "\x00\xa9\xff", 3) == 0);
    static const char *const bad[] = {"", "00a9f", "00a9ff00", "00a9fg", "0x00a9", " 0a9ff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(hex_decode(slice_str(bad[i]), bytes, 3), ERR_INVALID, "%s", bad[i]);
    }
    cr_expect(memcmp(bytes, "\x00\xa9\xff", 3) == 0, "a refusal must not touch the output");
    cr_expect_eq(hex_decode(SLICE(""), bytes, 0), ERR_OK);
}

Test(crypto, base62_writes_known_numbers)
{
    static const struct {
        struct slice number;
        const char *digits;
    } table[] = {
        {SLICE_INIT("\x00"), "0"},
        {SLICE_INIT("\x3d"), "z"},
        {SLICE_INIT("\x3e"), "10"},
        {SLICE_INIT("\xff"), "0047"},
        {SLICE_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"), "LygHa16AHYF"},
        {SLICE_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
         "7n42DGM5Tflk9n8mt7Fhc7"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char digits[32];
        uint8_t back[16];
        struct slice number = table[i].number;
        size_t count = strlen(table[i].digits);
        base62_encode((const uint8_t *)number.data, number.len, digits, count);
        cr_expect(slice_equal(slice_of(digits, count), slice_str(table[i].digits)), "%s: %.*s",
                  table[i].digits, (int)count, digits);
        cr_assert_eq(base62_decode(slice_of(digits, count), back, number.len), ERR_OK);
        cr_expect(slice_equal(slice_of(back, number.len), number), "%s", table[i].digits);
    }
}

Test(crypto, base62_keeps_the_order_of_numbers_and_comes_back)
{
    char before[22] = {0};

    for (uint32_t i = 0; i < 2000; i++) {
        uint8_t number[16] = {0};
        uint8_t back[16];
        char digits[22];
        number[0] = (uint8_t)(i >> 8);
        number[1] = (uint8_t)i;
        crypto_random(number + 2, 14);
        base62_encode(number, 16, digits, 22);
        cr_assert_lt(memcmp(before, digits, 22), 0);
        cr_assert_eq(base62_decode(slice_of(digits, 22), back, 16), ERR_OK);
        cr_assert(memcmp(number, back, 16) == 0);
        memcpy(before, digits, 22);
    }
}

Test(crypto, base62_refuses_foreign_digits_and_what_does_not_fit)
{
    static const struct {
        const char *digits;
        size_t bytes;
        enum err err;
    } table[] = {
        {"", 1, ERR_INVALID},
        {"-1", 1, ERR_INVALID},
        {"0_0", 2, ERR_INVALID},
        {"abc/", 4, ERR_INVALID},
        {"47", 1, ERR_OK},      /* 255 */
        {"48", 1, ERR_INVALID}, /* 256 */
        {"000000000048", 1, ERR_INVALID},
        {"000000000047", 1, ERR_OK},
        {"LygHa16AHYF", 8, ERR_OK}, /* 2^64 - 1 */
        {"LygHa16AHYG", 8, ERR_INVALID},
        {"7n42DGM5Tflk9n8mt7Fhc7", 16, ERR_OK}, /* 2^128 - 1 */
        {"7n42DGM5Tflk9n8mt7Fhc8", 16, ERR_INVALID},
        {"zzzzzzzzzzzzzzzzzzzzzz", 16, ERR_INVALID},
        {"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", 16, ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint8_t number[16];
        cr_expect_eq(base62_decode(slice_str(table[i].digits), number, table[i].bytes),
                     table[i].err, "%s", table[i].digits);
    }
}

Test(crypto, base62_stops_on_a_number_with_too_few_digits, .signal = SIGABRT)
{
    char digits[1];
    base62_encode((const uint8_t *)"\x3e", 1, digits, 1);
}

/* ---- secrets at rest ------------------------------------------------------------------------ */

Test(crypto, a_sealed_secret_opens_under_its_own_key_and_context_only)
{
    struct seal_key key = {{1, 2, 3}};
    struct seal_key other = {{1, 2, 4}};
    struct slice plain = SLICE("a private DKIM key");
    uint8_t sealed[64] = {0};
    uint8_t opened[64];
    struct slice box = slice_of(sealed, plain.len + SEAL_OVERHEAD);

    crypto_seal(&key, SLICE("domain/dom_1"), plain, sealed);
    cr_assert_eq(crypto_unseal(&key, SLICE("domain/dom_1"), box, opened), ERR_OK);
    cr_expect(memcmp(opened, plain.data, plain.len) == 0);
    cr_expect_eq(crypto_unseal(&key, SLICE("domain/dom_2"), box, opened), ERR_CORRUPT);
    cr_expect_eq(crypto_unseal(&key, SLICE(""), box, opened), ERR_CORRUPT);
    cr_expect_eq(crypto_unseal(&other, SLICE("domain/dom_1"), box, opened), ERR_CORRUPT);
}

Test(crypto, a_sealed_secret_notices_every_changed_or_missing_byte)
{
    struct seal_key key = {{9}};
    uint8_t sealed[5 + SEAL_OVERHEAD];
    uint8_t opened[5];

    crypto_seal(&key, SLICE("row"), SLICE("hello"), sealed);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 0x10;
        cr_expect_eq(crypto_unseal(&key, SLICE("row"), slice_of(sealed, sizeof(sealed)), opened),
                     ERR_CORRUPT, "byte %zu", i);
        sealed[i] ^= 0x10;
        cr_expect_eq(crypto_unseal(&key, SLICE("row"), slice_of(sealed, i), opened), ERR_CORRUPT,
                     "cut to %zu", i);
    }
    cr_expect_eq(crypto_unseal(&key, SLICE("row"), slice_of(sealed, sizeof(sealed)), opened),
                 ERR_OK);
}

Test(crypto, sealing_twice_gives_two_texts_and_the_empty_secret_works)
{
    struct seal_key key = {{9}};
    uint8_t first[SEAL_OVERHEAD];
    uint8_t second[SEAL_OVERHEAD];
    uint8_t opened[1];

    crypto_seal(&key, SLICE("row"), (struct slice){0}, first);
    crypto_seal(&key, SLICE("row"), (struct slice){0}, second);
    cr_expect(memcmp(first, second, sizeof(first)) != 0);
    cr_expect_eq(crypto_unseal(&key, SLICE("row"), slice_of(first, sizeof(first)), opened), ERR_OK);
}

Test(crypto, derived_keys_differ_by_purpose_and_master_and_repeat)
{
    struct seal_key master = {{1}};
    struct seal_key other = {{2}};
    struct seal_key a = crypto_derive(&master, SLICE("session"));
    struct seal_key again = crypto_derive(&master, SLICE("session"));
    struct seal_key b = crypto_derive(&master, SLICE("attachment"));
    struct seal_key c = crypto_derive(&other, SLICE("session"));

    cr_expect(memcmp(&a, &again, sizeof(a)) == 0);
    cr_expect(memcmp(&a, &b, sizeof(a)) != 0);
    cr_expect(memcmp(&a, &c, sizeof(a)) != 0);
    cr_expect(memcmp(&a, &master, sizeof(a)) != 0);
}

Test(crypto, a_passphrase_and_its_salt_make_one_key)
{
    const uint8_t salts[2][PASSPHRASE_SALT_LEN] = {{1}, {2}};
    struct seal_key keys[4];
    crypto_passphrase_key(SLICE("twelve bytes and more"), salts[0], &keys[0]);
    crypto_passphrase_key(SLICE("twelve bytes and more"), salts[0], &keys[1]);
    crypto_passphrase_key(SLICE("twelve bytes and more"), salts[1], &keys[2]);
    crypto_passphrase_key(SLICE("twelve bytes and mope"), salts[0], &keys[3]);
    cr_expect_arr_eq(keys[0].bytes, keys[1].bytes, sizeof keys[0].bytes);
    cr_expect_arr_neq(keys[0].bytes, keys[2].bytes, sizeof keys[0].bytes);
    cr_expect_arr_neq(keys[0].bytes, keys[3].bytes, sizeof keys[0].bytes);
}

Test(crypto, a_password_hash_accepts_its_password_only)
{
    char hash[PASSWORD_HASH_MAX];

    crypto_password_hash(SLICE("correct horse"), hash);
    struct slice text = slice_str(hash);
    cr_expect(strncmp(hash, "$argon2id$v=19$m=65536,t=2,p=1$", 31) == 0, "%s", hash);
    cr_expect(crypto_password_check(text, SLICE("correct horse")));
    cr_expect_not(crypto_password_check(text, SLICE("correct horse ")));
    cr_expect_not(crypto_password_check(text, (struct slice){0}));
    cr_expect_not(crypto_password_check(slice_head(text, text.len - 1), SLICE("correct horse")));
    cr_expect_not(crypto_password_check((struct slice){0}, SLICE("correct horse")));
    cr_expect_not(crypto_password_check(repeat('$', 500), SLICE("correct horse")));
}

/* ---- signing keys --------------------------------------------------------------------------- */

/* RFC 8463 A.2: the keys published under football.example.com. */
#define RFC8463_ED25519 "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define RFC8463_RSA                                                                                \
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi"     \
    "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZy"     \
    "VYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"

#define RSA_512                                                                                    \
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK8mGnFG4a9HKTGcCEHEm40IsUAs7AFwrmE+RDmsR7XMUBaE"             \
    "gIhAKdnrLP1wKKG1c/bk4HAPxj60w0SK1kI1Zn0CAwEAAQ=="
/* That of RFC 8463 with 2^64 + 1 for 65537. */
#define RSA_LONG_EXPONENT                                                                          \
    "MIGlMA0GCSqGSIb3DQEBAQUAA4GTADCBjwKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi"     \
    "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZy"     \
    "VYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIJAQAAAAAAAAAB"

/* RFC 8463 A.3, after relaxed canonicalisation; the signature tags of each algorithm follow. */
#define RFC8463_HEADERS                                                                            \
    "from:Joe SixPack <joe@football.example.com>\r\n"                                              \
    "to:Suzie Q <suzie@shopping.example.net>\r\n"                                                  \
    "subject:Is dinner ready?\r\n"                                                                 \
    "date:Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                               \
    "message-id:<20030712040037.46341.5F8J@football.example.com>\r\n"
#define RFC8463_TAGS(algo, selector)                                                               \
    "dkim-signature:v=1; a=" algo "; c=relaxed/relaxed; d=football.example.com; "                  \
    "i=@football.example.com; q=dns/txt; s=" selector "; t=1528637909; h=from : to : "             \
    "subject : date : message-id : from : subject : date; "                                        \
    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b="

static const struct {
    const char *name;
    enum sign_algo algo;
    const char *public_text;
    struct slice signed_text;
    const char *signature;
} rfc8463[] = {
    {"ed25519", SIGN_ED25519, RFC8463_ED25519,
     SLICE_INIT(RFC8463_HEADERS RFC8463_TAGS("ed25519-sha256", "brisbane")),
     "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="},
    {"rsa", SIGN_RSA_SHA256, RFC8463_RSA,
     SLICE_INIT(RFC8463_HEADERS RFC8463_TAGS("rsa-sha256", "test")),
     "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tF"
     "OeS9mPYQTnGdaSGsgeefOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="},
};

Test(crypto, verify_accepts_the_signatures_of_rfc_8463)
{
    for (size_t i = 0; i < ARRAY_LEN(rfc8463); i++) {
        uint8_t signature[160];
        size_t len = 0;
        struct slice key = slice_str(rfc8463[i].public_text);
        struct sha256 digest = crypto_sha256(rfc8463[i].signed_text);
        cr_assert_eq(base64_decode(slice_str(rfc8463[i].signature), signature, &len), ERR_OK);
        cr_expect_eq(crypto_verify(rfc8463[i].algo, key, &digest, slice_of(signature, len)), ERR_OK,
                     "%s", rfc8463[i].name);
        cr_expect_eq(crypto_verify(rfc8463[i].algo, key, &digest, slice_of(signature, len - 1)),
                     ERR_BAD_SIGNATURE, "%s", rfc8463[i].name);
        cr_expect_eq(crypto_verify(rfc8463[i].algo, key, &digest, (struct slice){0}),
                     ERR_BAD_SIGNATURE, "%s", rfc8463[i].name);
        signature[len - 1] ^= 1;
        cr_expect_eq(crypto_verify(rfc8463[i].algo, key, &digest, slice_of(signature, len)),
                     ERR_BAD_SIGNATURE, "%s", rfc8463[i].name);
        signature[len - 1] ^= 1;
        digest.bytes[0] ^= 1;
        cr_expect_eq(crypto_verify(rfc8463[i].algo, key, &digest, slice_of(signature, len)),
                     ERR_BAD_SIGNATURE, "%s", rfc8463[i].name);
    }
}

/* RFC 8032 7.1, test 1, is the key pair of RFC 8463 A.1; as PKCS#8 (RFC 8410 7). */
Test(crypto, sign_with_the_ed25519_key_of_rfc_8032_repeats_rfc_8463)
{
    uint8_t der[48];
    uint8_t expected[64];
    size_t len = 0;
    struct sign_key *key = NULL;
    struct slice signature = {0};

    cr_assert_eq(hex_decode(SLICE("302e020100300506032b657004220420"
                                  "9d61b19deffd5a60ba844af492ec2cc4"
                                  "4449c5697b326919703bac031cae7f60"),
                            der, 48),
                 ERR_OK);
    cr_assert_eq(base64_decode(slice_str(rfc8463[0].signature), expected, &len), ERR_OK);
    cr_assert_eq(sign_key_new(SIGN_ED25519, slice_of(der, sizeof(der)), &key), ERR_OK);
    cr_expect_eq(sign_key_algo(key), SIGN_ED25519);
    struct sha256 digest = crypto_sha256(rfc8463[0].signed_text);
    cr_assert_eq(sign_key_sign(key, &digest, &arena, &signature), ERR_OK);
    cr_expect(slice_equal(signature, slice_of(expected, len)), "Ed25519 is deterministic");
    sign_key_free(key);
}

static void check_made_key(enum sign_algo algo, size_t public_len, size_t signature_len)
{
    struct slice der = {0};
    struct slice text = {0};
    struct slice signature = {0};
    struct sign_key *key = NULL;
    struct sha256 digest = crypto_sha256(SLICE("a mail"));
    struct sha256 other = crypto_sha256(SLICE("another mail"));

    cr_assert_eq(crypto_make_key(algo, &arena, &der, &text), ERR_OK);
    cr_expect_eq(text.len, public_len);
    cr_assert_eq(sign_key_new(algo, der, &key), ERR_OK);
    cr_expect_eq(sign_key_algo(key), algo);
    cr_assert_eq(sign_key_sign(key, &digest, &arena, &signature), ERR_OK);
    cr_expect_eq(signature.len, signature_len);
    cr_expect_eq(crypto_verify(algo, text, &digest, signature), ERR_OK);
    cr_expect_eq(crypto_verify(algo, text, &other, signature), ERR_BAD_SIGNATURE);
    sign_key_free(key);

    /* The other algorithm, every cut of the key and a byte too many are refused. */
    enum sign_algo foreign = algo == SIGN_ED25519 ? SIGN_RSA_SHA256 : SIGN_ED25519;
    cr_expect_eq(sign_key_new(foreign, der, &key), ERR_CORRUPT);
    cr_expect_eq(crypto_verify(foreign, text, &digest, signature), ERR_INVALID);
    char *longer = arena_alloc(&arena, der.len + 1);
    memcpy(longer, der.data, der.len);
    cr_expect_eq(sign_key_new(algo, slice_of(longer, der.len + 1), &key), ERR_CORRUPT);
    for (size_t len = 0; len < der.len; len += 7) {
        cr_expect_eq(sign_key_new(algo, slice_head(der, len), &key), ERR_CORRUPT, "%zu", len);
    }
}

Test(crypto, a_made_rsa_key_signs_what_its_public_text_verifies)
{
    check_made_key(SIGN_RSA_SHA256, 392, 256); /* 294 bytes of SubjectPublicKeyInfo */
}

Test(crypto, a_made_ed25519_key_signs_what_its_public_text_verifies)
{
    check_made_key(SIGN_ED25519, 44, 64);
}

Test(crypto, verify_refuses_what_is_no_key)
{
    struct sha256 digest = crypto_sha256(SLICE("a mail"));
    struct slice signature = repeat('s', 64);
    const struct {
        const char *name;
        enum sign_algo algo;
        struct slice text;
    } table[] = {
        {"empty, which means revoked", SIGN_RSA_SHA256, {0}},
        {"empty ed25519", SIGN_ED25519, {0}},
        {"not base64", SIGN_RSA_SHA256, SLICE("!!!!")},
        {"base64 of no DER", SIGN_RSA_SHA256, SLICE("Zm9vYmFy")},
        {"31 bytes", SIGN_ED25519, SLICE("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHUQ==")},
        {"33 bytes", SIGN_ED25519, SLICE("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURoA")},
        {"longer than any key", SIGN_RSA_SHA256, repeat('A', 10000)},
        {"something behind the key", SIGN_RSA_SHA256, SLICE(RFC8463_RSA "AAAA")},
        /* RFC 8301 3.2: under 1024 bits */
        {"rsa of 512 bits", SIGN_RSA_SHA256, SLICE(RSA_512)},
        {"an exponent of 65 bits", SIGN_RSA_SHA256, SLICE(RSA_LONG_EXPONENT)},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(crypto_verify(table[i].algo, table[i].text, &digest, signature), ERR_INVALID,
                     "%s", table[i].name);
    }
}

Test(crypto, a_weak_key_can_be_told_from_a_damaged_one)
{
    cr_expect_eq(crypto_public_bits(SIGN_RSA_SHA256, SLICE(RFC8463_RSA)), 1024);
    cr_expect_eq(crypto_public_bits(SIGN_RSA_SHA256, SLICE(RSA_512)), 512);
    cr_expect_eq(crypto_public_bits(SIGN_RSA_SHA256, SLICE("Zm9vYmFy")), 0);
    cr_expect_eq(crypto_public_bits(SIGN_RSA_SHA256, SLICE(RFC8463_ED25519)), 0);
    cr_expect_gt(crypto_public_bits(SIGN_ED25519, SLICE(RFC8463_ED25519)), 0);
    cr_expect_eq(crypto_public_bits(SIGN_ED25519, SLICE("")), 0);
    cr_expect_eq(crypto_public_bits(SIGN_RSA_SHA256, SLICE(RSA_LONG_EXPONENT)), 1024);
}

/* The key of RFC 8463 again, stripped to the RSAPublicKey that RFC 6376 3.6.1 speaks of. */
Test(crypto, verify_reads_a_bare_rsa_public_key_too)
{
    uint8_t der[200];
    uint8_t signature[160];
    size_t der_len = 0;
    size_t len = 0;
    struct sha256 digest = crypto_sha256(rfc8463[1].signed_text);

    cr_assert_eq(base64_decode(SLICE(RFC8463_RSA), der, &der_len), ERR_OK);
    cr_assert_eq(base64_decode(slice_str(rfc8463[1].signature), signature, &len), ERR_OK);
    struct slice bare = base64_arena(&arena, slice_of(der + 22, der_len - 22));
    cr_expect_eq(crypto_verify(SIGN_RSA_SHA256, bare, &digest, slice_of(signature, len)), ERR_OK);
    cr_expect_eq(ERR_peek_error(), 0, "the other form's failure must not reach net/tls");
}

struct signer {
    const struct sign_key *key;
    struct arena arena;
    struct slice signature;
    bool is_same;
};

static void *sign_often(void *data)
{
    struct signer *signer = data;
    struct sha256 digest = crypto_sha256(SLICE("a mail"));

    signer->is_same = true;
    for (int i = 0; i < 20; i++) {
        struct slice again = {0};
        if (sign_key_sign(signer->key, &digest, &signer->arena, &again) != ERR_OK) {
            signer->is_same = false;
            break;
        }
        signer->is_same &= i == 0 || slice_equal(signer->signature, again);
        signer->signature = again;
    }
    return NULL;
}

Test(crypto, one_key_signs_on_several_threads_at_once)
{
    struct slice der = {0};
    struct slice text = {0};
    struct sign_key *key = NULL;
    struct signer signers[4];
    pthread_t threads[4];

    cr_assert_eq(crypto_make_key(SIGN_ED25519, &arena, &der, &text), ERR_OK);
    cr_assert_eq(sign_key_new(SIGN_ED25519, der, &key), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
        signers[i].key = key;
        arena_init(&signers[i].arena, 4096, 1 << 16);
        cr_assert_eq(pthread_create(&threads[i], NULL, sign_often, &signers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_expect(signers[i].is_same);
        cr_expect(slice_equal(signers[0].signature, signers[i].signature));
    }
    for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
        arena_fini(&signers[i].arena);
    }
    sign_key_free(key);
    sign_key_free(NULL);
}
