/* Not covered here: arithmetic of the signatures (test_crypto.c), random splits (fuzz_dkim.c).
 * Whole signatures are verified by dkimpy, through tests/support/verify_dkim.py.
 */
#include "mail/dkim.h"

#include "mail/header.h"
#include "support/verify.h"

#include <criterion/criterion.h>
#include <string.h>

static struct arena arena;

static void setup(void)
{
    crypto_init();
    arena_init(&arena, 4096, 16 << 20);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(dkim, .init = setup, .fini = teardown);

static struct sha256 hash_in_pieces(struct slice text, size_t piece)
{
    struct dkim_body body;

    dkim_body_start(&body);
    for (size_t at = 0; at < text.len; at += piece) {
        dkim_body_add(&body, slice_sub(text, at, piece));
    }
    return dkim_body_finish(&body);
}

static bool same_digest(struct sha256 a, struct sha256 b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

/* ---- canonical forms ------------------------------------------------------------------------ */

Test(dkim, relaxes_bodies_as_rfc_6376_3_4_says)
{
    static const struct {
        const char *body;
        const char *canonical;
    } ROWS[] = {
        {" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"}, /* RFC 6376 3.4.5 */
        {"", ""},
        {"\r\n", ""},
        {"\r\n\r\n\r\n", ""},
        {" ", ""},
        {" \t\r\n \r\n\t", ""},
        {"a", "a\r\n"},
        {"a\r\n", "a\r\n"},
        {"a \t", "a\r\n"},
        {"a\r\n \r\n\t\r\n", "a\r\n"},
        {"\r\n\r\na", "\r\n\r\na\r\n"},
        {"a\r\n\r\n\r\nb", "a\r\n\r\n\r\nb\r\n"},
        {"a\r\n \t \r\nb", "a\r\n\r\nb\r\n"},
        {"\t \ta\tb  c\r\n", " a b c\r\n"},
        {"a\nb\n\n", "a\r\nb\r\n"},
        {"a\rb", "a\rb\r\n"},
        {"a \rb", "a \rb\r\n"},
        {"a\r\r\n", "a\r\r\n"},
        {"a\r", "a\r\r\n"},
        {"\xc3\xa4  \xff", "\xc3\xa4 \xff\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice body = slice_str(ROWS[i].body);
        struct sha256 want = crypto_sha256(slice_str(ROWS[i].canonical));
        for (size_t piece = 1; piece <= body.len + 1; piece++) {
            cr_expect(same_digest(hash_in_pieces(body, piece), want), "row %zu in pieces of %zu", i,
                      piece);
        }
    }
}

Test(dkim, keeps_simple_bodies_as_rfc_6376_3_4_says)
{
    static const struct {
        const char *body;
        const char *canonical;
    } ROWS[] = {
        {" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n"}, /* RFC 6376 3.4.5 */
        {"", "\r\n"},                                       /* 3.4.3 */
        {"\r\n", "\r\n"},
        {"\r\n\r\n\r\n", "\r\n"},
        {" ", " \r\n"},
        {" \r\n\r\n", " \r\n"},
        {"a", "a\r\n"},
        {"a\r\n", "a\r\n"},
        {"a \t\r\n \r\n\r\n", "a \t\r\n \r\n"},
        {"\r\n\r\na", "\r\n\r\na\r\n"},
        {"a\nb\n\n", "a\r\nb\r\n"},
        {"a\rb\r\r\n", "a\rb\r\r\n"},
        {"a\r", "a\r\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice body = slice_str(ROWS[i].body);
        struct slice canonical = slice_str(ROWS[i].canonical);
        for (size_t piece = 1; piece <= body.len + 1; piece++) {
            for (uint64_t limit = 0; limit <= canonical.len + 1; limit++) {
                struct dkim_body state;
                dkim_body_start_as(&state, DKIM_SIMPLE, limit);
                for (size_t at = 0; at < body.len; at += piece) {
                    dkim_body_add(&state, slice_sub(body, at, piece));
                }
                struct sha256 got = dkim_body_finish(&state);
                cr_expect(same_digest(got, crypto_sha256(slice_head(canonical, (size_t)limit))),
                          "row %zu in pieces of %zu up to %zu", i, piece, (size_t)limit);
                cr_expect_eq(state.total_bytes, canonical.len, "row %zu", i);
            }
        }
    }
}

Test(dkim, hashes_the_empty_body_as_nothing)
{
    /* RFC 6376 3.4.4 gives this value. */
    struct sha256 digest = hash_in_pieces(SLICE(""), 1);
    struct slice text = base64_arena(&arena, sha256_slice(&digest));
    cr_assert(slice_equal(text, SLICE("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")));
}

Test(dkim, hashes_long_lines_and_many_empty_lines)
{
    struct buf body;
    struct buf canonical;

    buf_init(&body, 1 << 20);
    buf_init(&canonical, 1 << 20);
    for (size_t i = 0; i < 5000; i++) {
        buf_add_byte(&body, (char)('a' + i % 26));
        buf_add_byte(&canonical, (char)('a' + i % 26));
    }
    for (size_t i = 0; i < 3000; i++) {
        buf_add(&body, SLICE(" \t\r\n"));
        buf_add(&canonical, SLICE("\r\n"));
    }
    buf_add(&body, SLICE("end"));
    buf_add(&canonical, SLICE("end\r\n"));
    struct sha256 want = crypto_sha256(buf_slice(&canonical));
    static const size_t PIECES[] = {1, 7, 1023, 1024, 1025, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(PIECES); i++) {
        cr_expect(same_digest(hash_in_pieces(buf_slice(&body), PIECES[i]), want));
    }
    buf_fini(&body);
    buf_fini(&canonical);
}

/* Byte by byte nothing is skipped. */
Test(dkim, hashes_alike_in_words_and_byte_by_byte)
{
    static const char LETTERS[] = "abcdefghijk    \t\r\n\x01\x1f\x7f\x80\xff";
    uint32_t seed = 1;
    char text[200];
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t kinds = round % 2 == 0 ? 15 : sizeof LETTERS - 1; /* letters and spaces alone */
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = LETTERS[(seed >> 16) % kinds];
        }
        struct slice body = slice_of(text, sizeof text - round % 9);
        cr_assert(same_digest(hash_in_pieces(body, 1), hash_in_pieces(body, sizeof text)),
                  "round %u", round);
    }
}

Test(dkim, drops_a_body_without_leaking)
{
    struct dkim_body body;

    dkim_body_start(&body);
    dkim_body_add(&body, SLICE("half a mail"));
    dkim_body_drop(&body);
}

Test(dkim, relaxes_fields_as_rfc_6376_3_4_says)
{
    static const struct {
        const char *field;
        const char *canonical;
    } ROWS[] = {
        {"A: X\r\n", "a:X\r\n"}, /* RFC 6376 3.4.5 */
        {"B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"},
        {"Subject:\r\n", "subject:\r\n"},
        {"Subject: \t \r\n", "subject:\r\n"},
        {"Subject:\r\n folded \r\n\t twice\r\n", "subject:folded twice\r\n"},
        {"X-Colon: a: b :c\r\n", "x-colon:a: b :c\r\n"},
        {"X: \xc3\xa4  b\r\n", "x:\xc3\xa4 b\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice rest = slice_str(ROWS[i].field);
        struct header_field field;
        struct buf out;
        buf_init(&out, 4096);
        cr_assert(header_next(&rest, &field));
        dkim_relax_header(field.name, field.value, &out);
        cr_expect(slice_equal(buf_slice(&out), slice_str(ROWS[i].canonical)), "%s: %.*s",
                  ROWS[i].field, SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
}

/* ---- signatures ----------------------------------------------------------------------------- */

struct signing {
    struct sign_key *key;
    enum sign_algo algo;
    const char *selector;
    struct slice record;
};

static struct signing make_signing(enum sign_algo algo, const char *selector)
{
    struct signing signing = {.algo = algo, .selector = selector};
    struct slice der;
    struct slice public_text;

    cr_assert_eq(crypto_make_key(algo, &arena, &der, &public_text), ERR_OK);
    cr_assert_eq(sign_key_new(algo, der, &signing.key), ERR_OK);
    signing.record = dkim_record(algo, public_text, &arena);
    cr_assert(dkim_record_matches(signing.record, algo, public_text));
    return signing;
}

static struct slice sign_mail(const struct signing *signing, struct slice mail, const char *domain)
{
    struct dkim_signer signer = {
        .domain = slice_str(domain),
        .selector = slice_str(signing->selector),
        .key = signing->key,
        .time_s = 1700000000,
    };
    struct slice field = {.data = NULL, .len = 0};
    size_t header_len = header_block_len(mail);
    struct sha256 body_hash = hash_in_pieces(slice_from(mail, header_len), 100);

    cr_assert_eq(dkim_sign(&signer, slice_head(mail, header_len), &body_hash, &arena, &field),
                 ERR_OK);
    return field;
}

static void put_records(FILE *pipe, const struct signing *signings, size_t count,
                        const char *domain)
{
    for (size_t i = 0; i < count; i++) {
        struct buf record;
        buf_init(&record, 4096);
        buf_add_format(&record, "%s._domainkey.%s", signings[i].selector, domain);
        buf_add_byte(&record, '\0');
        buf_add(&record, signings[i].record);
        verify_put(pipe, "record", buf_slice(&record));
        buf_fini(&record);
    }
}

#define LONG_DOMAIN                                                                                \
    "a-rather-long-label-of-a-domain-that-needs-folding.another-label-of-the-same-kind.example."   \
    "com"

static const char *const MAILS[] = {
    "From: a@example.com\r\nTo: b@example.net\r\nSubject: Hi\r\n\r\nHello\r\n",
    /* no body, no final line end, only empty lines */
    "From: a@example.com\r\n\r\n",
    "From: a@example.com\r\n",
    "From: a@example.com\r\n\r\nno line end",
    "From: a@example.com\r\n\r\n\r\n\r\n\r\n",
    "From: a@example.com\r\n\r\ntext\r\n\r\n\r\n",
    /* folding, trailing spaces, tabs, names in any case */
    "FROM: \"A  B\"\r\n\t<a@example.com>  \r\nsubject:\r\n folded\r\n   again \t\r\n\r\n a  b "
    "\t\r\n\t\r\nc\t\r\n",
    "From: a@example.com\r\nSubject:\r\nDate:x\r\n\r\n  \r\n \r\nx\r\n",
    /* fields that occur more than once */
    "From: a@example.com\r\nTo: 1@x.y\r\nTo: 2@x.y\r\nSubject: 1\r\nSubject: 2\r\nTo: "
    "3@x.y\r\n\r\nx\r\n",
    /* everything that is signed */
    "Received: by x\r\nDate: Sat, 21 Nov 2026 06:38:51 +0000\r\nFrom: a@example.com\r\nTo: "
    "b@c.de\r\n"
    "Cc: d@e.fg\r\nReply-To: r@example.com\r\nSender: s@example.com\r\nMessage-ID: "
    "<1@example.com>\r\n"
    "In-Reply-To: <0@example.com>\r\nReferences: <0@example.com>\r\nFeedback-ID: 1:2:3:4\r\n"
    "List-Unsubscribe: <https://example.com/u?x=1;y=2>\r\nList-Unsubscribe-Post: "
    "List-Unsubscribe=One-Click\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
    "8bit\r\n"
    "X-Other: not signed\r\nSubject: =?UTF-8?Q?=C3=A4?=\r\n\r\n\xc3\xa4\r\n.\r\n..\r\n",
};

/* One pipe for all, as the interpreter takes most of the time. */
Test(dkim, makes_signatures_that_another_implementation_verifies)
{
    static const char *const DOMAINS[] = {"example.com", LONG_DOMAIN};
    struct signing signings[] = {make_signing(SIGN_RSA_SHA256, "mk1"),
                                 make_signing(SIGN_ED25519, "mk2")};
    FILE *pipe = verify_start("verify_dkim.py");

    cr_assert_not_null(pipe);
    for (size_t i = 0; i < ARRAY_LEN(MAILS); i++) {
        for (size_t d = 0; d < ARRAY_LEN(DOMAINS); d++) {
            struct buf signed_mail;
            char name[64];
            snprintf(name, sizeof name, "mail %zu domain %zu", i, d);
            buf_init(&signed_mail, 65536);
            for (size_t k = 0; k < ARRAY_LEN(signings); k++) {
                buf_add(&signed_mail, sign_mail(&signings[k], slice_str(MAILS[i]), DOMAINS[d]));
            }
            buf_add_str(&signed_mail, MAILS[i]);
            verify_put(pipe, "name", slice_str(name));
            verify_put(pipe, "mail", buf_slice(&signed_mail));
            verify_put(pipe, "expect", SLICE("pass"));
            put_records(pipe, signings, ARRAY_LEN(signings), DOMAINS[d]);
            verify_end_case(pipe);
            buf_fini(&signed_mail);
        }
    }
    cr_assert_eq(verify_finish(pipe), 0, "dkimpy refused; see standard error");
    sign_key_free(signings[0].key);
    sign_key_free(signings[1].key);
}

Test(dkim, makes_signatures_that_break_when_a_visible_field_is_added)
{
    static const char *const ADDED[] = {
        "From: evil@example.org\r\n",     "To: evil@example.org\r\n",
        "Cc: evil@example.org\r\n",       "Subject: evil\r\n",
        "Reply-To: evil@example.org\r\n", "Date: x\r\n",
        "Content-Type: text/html\r\n",    "MIME-Version: 1.0\r\n",
        "Message-ID: <2@x.y>\r\n",        "Content-Transfer-Encoding: base64\r\n",
    };
    struct signing signing = make_signing(SIGN_ED25519, "mk2");
    FILE *pipe = verify_start("verify_dkim.py");

    cr_assert_not_null(pipe);
    /* The last row adds nothing visible and must pass, or the others would prove nothing. */
    for (size_t i = 0; i <= ARRAY_LEN(ADDED); i++) {
        bool is_control = i == ARRAY_LEN(ADDED);
        struct buf mail;
        buf_init(&mail, 65536);
        buf_add_str(&mail, is_control ? "Received: by y\r\n" : ADDED[i]);
        buf_add(&mail, sign_mail(&signing, slice_str(MAILS[0]), "example.com"));
        buf_add_str(&mail, MAILS[0]);
        verify_put(pipe, "name", slice_str(is_control ? "control" : ADDED[i]));
        verify_put(pipe, "mail", buf_slice(&mail));
        verify_put(pipe, "expect", is_control ? SLICE("pass") : SLICE("fail"));
        put_records(pipe, &signing, 1, "example.com");
        verify_end_case(pipe);
        buf_fini(&mail);
    }
    cr_assert_eq(verify_finish(pipe), 0, "see standard error");
    sign_key_free(signing.key);
}

Test(dkim, folds_the_signature_field)
{
    struct signing signing = make_signing(SIGN_RSA_SHA256, "mk1");
    struct slice field = sign_mail(&signing, slice_str(MAILS[9]), LONG_DOMAIN);

    cr_assert(slice_starts(field, SLICE("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;")));
    cr_assert(slice_ends(field, SLICE("\r\n")));
    cr_assert_eq(slice_find(field, SLICE("\r\n\r\n")), SIZE_MAX);
    cr_assert_neq(slice_find(field, SLICE("h=from:from:to:to:cc:cc:")), SIZE_MAX);
    cr_assert_neq(slice_find(field, SLICE(" t=1700000000;")), SIZE_MAX);
    cr_assert_eq(slice_find(field, SLICE("l=")), SIZE_MAX);
    while (field.data != NULL) {
        struct slice line = slice_cut(&field, '\n');
        cr_assert_leq(line.len, 100, "%.*s", SLICE_FMT(line));
    }
    sign_key_free(signing.key);
}

Test(dkim, refuses_a_mail_without_from_or_with_an_endless_header)
{
    struct signing signing = make_signing(SIGN_ED25519, "mk2");
    struct dkim_signer signer = {
        .domain = SLICE("example.com"), .selector = SLICE("mk2"), .key = signing.key};
    struct sha256 body_hash = hash_in_pieces(SLICE(""), 1);
    struct slice field = SLICE("untouched");
    struct buf huge;

    cr_assert_eq(dkim_sign(&signer, SLICE("To: a@b.c\r\n\r\n"), &body_hash, &arena, &field),
                 ERR_INVALID);
    cr_assert_eq(dkim_sign(&signer, SLICE(""), &body_hash, &arena, &field), ERR_INVALID);
    cr_assert_eq(dkim_sign(&signer, SLICE("\r\nFrom: a@b.c\r\n"), &body_hash, &arena, &field),
                 ERR_INVALID);
    buf_init(&huge, 4 << 20);
    buf_add(&huge, SLICE("From: a@b.c\r\n"));
    while (huge.len <= 1 << 20) {
        buf_add(&huge, SLICE("X: y\r\n"));
    }
    cr_assert_eq(dkim_sign(&signer, buf_slice(&huge), &body_hash, &arena, &field), ERR_TOO_LARGE);
    cr_assert(slice_equal(field, SLICE("untouched")));
    buf_fini(&huge);
    sign_key_free(signing.key);
}

Test(dkim, answers_too_large_when_the_arena_cannot_hold_hostile_fields)
{
    struct signing signing = make_signing(SIGN_ED25519, "mk2");
    struct dkim_signer signer = {
        .domain = SLICE("example.com"), .selector = SLICE("mk2"), .key = signing.key};
    struct sha256 body_hash = hash_in_pieces(SLICE(""), 1);
    struct arena small;
    struct slice field;
    struct buf many;

    arena_init(&small, 4096, 1 << 20);
    buf_init(&many, 4 << 20);
    buf_add(&many, SLICE("From: a@b.c\r\n"));
    while (many.len < 900000) {
        buf_add(&many, SLICE("To:\n"));
    }
    cr_assert_eq(dkim_sign(&signer, buf_slice(&many), &body_hash, &small, &field), ERR_TOO_LARGE);
    cr_assert_eq(dkim_sign(&signer, buf_slice(&many), &body_hash, &arena, &field), ERR_OK);
    buf_fini(&many);
    arena_fini(&small);
    sign_key_free(signing.key);
}

/* ---- records -------------------------------------------------------------------------------- */

Test(dkim, writes_records_as_rfc_6376_and_8463_show_them)
{
    cr_assert(slice_equal(dkim_record(SIGN_RSA_SHA256, SLICE("MIIB"), &arena),
                          SLICE("v=DKIM1; k=rsa; p=MIIB")));
    cr_assert(slice_equal(dkim_record(SIGN_ED25519, SLICE("11qY="), &arena),
                          SLICE("v=DKIM1; k=ed25519; p=11qY=")));
}

Test(dkim, recognises_its_key_in_a_published_record)
{
    static const struct {
        const char *record;
        enum sign_algo algo;
        bool matches;
    } ROWS[] = {
        {"v=DKIM1; k=rsa; p=AbC=", SIGN_RSA_SHA256, true},
        {"v=DKIM1;k=rsa;p=AbC=;", SIGN_RSA_SHA256, true},
        {" v = DKIM1 ; p = A b\tC = ; k = rsa ; ", SIGN_RSA_SHA256, true},
        {"p=AbC=", SIGN_RSA_SHA256, true},
        {"v=DKIM1; p=AbC=; t=s; n=note; s=email; h=sha1:sha256", SIGN_RSA_SHA256, true},
        {"v=DKIM1; s=*; p=AbC=; x-unknown=1", SIGN_RSA_SHA256, true},
        {"v=DKIM1; k=ed25519; p=AbC=", SIGN_ED25519, true},
        {"v=DKIM1; p=AbC=", SIGN_ED25519, false},
        {"v=DKIM1; k=ed25519; p=AbC=", SIGN_RSA_SHA256, false},
        {"v=DKIM1; k=rsa; p=abc=", SIGN_RSA_SHA256, false},
        {"v=DKIM1; k=rsa; p=AbC", SIGN_RSA_SHA256, false},
        {"v=DKIM1; k=rsa; p=AbC==", SIGN_RSA_SHA256, false},
        {"v=DKIM1; k=rsa; p=", SIGN_RSA_SHA256, false},
        {"v=DKIM1; k=rsa", SIGN_RSA_SHA256, false},
        {"k=rsa; v=DKIM1; p=AbC=", SIGN_RSA_SHA256, false},
        {"v=DKIM2; p=AbC=", SIGN_RSA_SHA256, false},
        {"v=spf1 -all", SIGN_RSA_SHA256, false},
        {"v=DKIM1; p=AbC=; p=AbC=", SIGN_RSA_SHA256, false},
        {"v=DKIM1; p=AbC=; h=sha1", SIGN_RSA_SHA256, false},
        {"v=DKIM1; p=AbC=; s=other", SIGN_RSA_SHA256, false},
        {"v=DKIM1; p=AbC=; junk", SIGN_RSA_SHA256, false},
        {"", SIGN_RSA_SHA256, false},
        {";", SIGN_RSA_SHA256, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        cr_expect_eq(dkim_record_matches(slice_str(ROWS[i].record), ROWS[i].algo, SLICE("AbC=")),
                     ROWS[i].matches, "%s", ROWS[i].record);
    }
}
