/* Not covered here: arithmetic of signatures and keys (test_crypto.c), canonical bodies
 * (test_dkim.c), random splits and random mails (fuzz_dkim_verify.c). Mails that dkimpy signed come
 * from tests/support/sign_dkim.py.
 */
#include "mail/dkim_verify.h"

#include "base/crypto.h"
#include "base/limits.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "support/verify.h"

#include <criterion/criterion.h>
#include <string.h>

#define NOW 1700000000

static struct arena arena;

static void setup(void)
{
    crypto_init();
    arena_init(&arena, 4096, 64 << 20);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(dkim_verify, .init = setup, .fini = teardown);

struct zone_row {
    struct slice name;
    struct slice record;
};

struct zone {
    struct zone_row rows[4];
    uint32_t count;
};

static struct dkim_verify *feed(struct slice mail, size_t piece, uint64_t now_s)
{
    struct dkim_verify *verify = dkim_verify_new(now_s);

    for (size_t at = 0; at < mail.len; at += piece) {
        dkim_verify_add(verify, slice_sub(mail, at, piece));
    }
    dkim_verify_end(verify);
    return verify;
}

static void answer(struct dkim_verify *verify, const struct zone *zone)
{
    for (uint32_t i = 0; i < dkim_verify_question_count(verify); i++) {
        struct lookup_question question = dkim_verify_question(verify, i);
        struct lookup_record records[ARRAY_LEN(zone->rows)] = {{.priority = 0}};
        struct lookup_answer found = {.outcome = LOOKUP_NO_NAME, .records = records};
        cr_expect_eq(question.type, LOOKUP_TXT);
        cr_expect(lookup_name_is_valid(question.name));
        for (uint32_t r = 0; r < zone->count; r++) {
            if (slice_equal(zone->rows[r].name, question.name)) {
                records[found.count++].text = zone->rows[r].record;
                found.outcome = LOOKUP_FOUND;
            }
        }
        dkim_verify_answer(verify, i, &found);
    }
}

static struct dkim_verify *verify_mail(struct slice mail, size_t piece, const struct zone *zone)
{
    struct dkim_verify *verify = feed(mail, piece, NOW);

    answer(verify, zone);
    dkim_verify_finish(verify);
    return verify;
}

static void expect_verdict(struct dkim_verify *verify, uint32_t index, enum dkim_result result,
                           const char *what)
{
    cr_assert_lt(index, dkim_verify_count(verify), "%s", what);
    const struct dkim_verdict *verdict = dkim_verify_verdict(verify, index);
    cr_expect_eq(verdict->result, result, "%s: %s, %s", what, dkim_result_text(verdict->result),
                 verdict->reason);
}

static void expect_text(struct slice got, const char *want)
{
    cr_expect(slice_equal(got, slice_str(want)), "got %.*s, want %s", SLICE_FMT(got), want);
}

/* ---- vectors -------------------------------------------------------------------------------- */

#define JOE                                                                                        \
    "From: Joe SixPack <joe@football.example.com>\r\n"                                             \
    "To: Suzie Q <suzie@shopping.example.net>\r\n"                                                 \
    "Subject: Is dinner ready?\r\n"                                                                \
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                              \
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"                             \
    "\r\n"                                                                                         \
    "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"

/* RFC 6376 A.2, and the key of its appendix C */
#define RFC6376_MAIL                                                                               \
    "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n"                            \
    "      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n"                            \
    "      h=Received : From : To : Subject : Date : Message-ID;\r\n"                              \
    "      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                   \
    "      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r\n"                             \
    "      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r\n"                               \
    "      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r\n"                               \
    "      4bmp/YzhwvcubU4=;\r\n"                                                                  \
    "Received: from client1.football.example.com  [192.0.2.1]\r\n"                                 \
    "      by submitserver.example.com with SUBMISSION;\r\n"                                       \
    "      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n" JOE
#define RFC6376_KEY                                                                                \
    "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"  \
    "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4O"     \
    "uKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"

Test(dkim_verify, passes_the_example_of_rfc_6376)
{
    struct slice mail = SLICE(RFC6376_MAIL);
    struct zone zone = {{{SLICE("brisbane._domainkey.example.com"), SLICE(RFC6376_KEY)}}, 1};

    for (size_t piece = 1; piece <= mail.len; piece = piece * 3 + 1) {
        struct dkim_verify *verify = verify_mail(mail, piece, &zone);
        cr_assert_eq(dkim_verify_count(verify), 1);
        expect_verdict(verify, 0, DKIM_PASS, "RFC 6376 A.2");
        const struct dkim_verdict *verdict = dkim_verify_verdict(verify, 0);
        expect_text(verdict->domain, "example.com");
        expect_text(verdict->selector, "brisbane");
        expect_text(verdict->algo, "rsa-sha256");
        expect_text(verdict->b_start, "AuUoFEfD");
        cr_expect_not(verdict->is_partial);
        cr_expect_not(verdict->is_testing);
        dkim_verify_free(verify);
    }
}

/* RFC 8463 A.3, with the keys of A.2 */
#define RFC8463_MAIL                                                                               \
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"                                \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"                                      \
    " subject : date : message-id : from : subject : date;\r\n"                                    \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"                              \
    " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"                                                        \
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"                                    \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"                                \
    " date : message-id : from : subject : date;\r\n"                                              \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n"                              \
    " DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n"                              \
    " dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n" JOE

Test(dkim_verify, passes_both_signatures_of_rfc_8463)
{
    struct slice mail = SLICE(RFC8463_MAIL);
    struct zone zone = {
        {{SLICE("brisbane._domainkey.football.example.com"),
          SLICE("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")},
         {SLICE("test._domainkey.football.example.com"),
          SLICE("v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
                "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
                "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
                "Ip3G+2kryOTIKT+l/K4w3QIDAQAB")}},
        2};

    struct dkim_verify *verify = verify_mail(mail, 100, &zone);
    cr_assert_eq(dkim_verify_count(verify), 2);
    expect_verdict(verify, 0, DKIM_PASS, "ed25519");
    expect_verdict(verify, 1, DKIM_PASS, "rsa");
    expect_text(dkim_verify_verdict(verify, 0)->algo, "ed25519-sha256");
    expect_text(dkim_verify_verdict(verify, 1)->b_start, "F45dVWDf");
    dkim_verify_free(verify);
}

/* ---- what others signed --------------------------------------------------------------------- */

static enum dkim_result result_named(struct slice word)
{
    for (int result = DKIM_NONE; result <= DKIM_PERMERROR; result++) {
        if (slice_equal(word, slice_str(dkim_result_text((enum dkim_result)result)))) {
            return (enum dkim_result)result;
        }
    }
    cr_assert_fail("no such result: %.*s", SLICE_FMT(word));
    return DKIM_NONE;
}

struct signed_case {
    struct slice name;
    struct slice mail;
    struct slice expect;
    bool is_partial;
    struct zone zone;
};

static void check_signed(const struct signed_case *row, size_t piece)
{
    /* dkimpy writes the time of the signature, so the wall clock is the one that fits. */
    struct dkim_verify *verify = feed(row->mail, piece, UINT64_MAX);
    char what[160];

    answer(verify, &row->zone);
    dkim_verify_finish(verify);
    cr_assert_gt(dkim_verify_count(verify), 0);
    snprintf(what, sizeof what, "%.*s in pieces of %zu", SLICE_FMT(row->name), piece);
    for (uint32_t i = 0; i < dkim_verify_count(verify); i++) {
        expect_verdict(verify, i, result_named(row->expect), what);
        cr_expect_eq(dkim_verify_verdict(verify, i)->is_partial, row->is_partial, "%s", what);
    }
    dkim_verify_free(verify);
}

Test(dkim_verify, judges_what_another_implementation_signed)
{
    FILE *pipe = verify_open("sign_dkim.py", "r");
    struct signed_case row = {.is_partial = false};
    struct buf value;
    char key[32];
    uint32_t count = 0;

    cr_assert_not_null(pipe);
    buf_init(&value, 1 << 20);
    while (verify_get(pipe, key, &value)) {
        struct slice text = arena_dup(&arena, buf_slice(&value));
        if (strcmp(key, "name") == 0) {
            row.name = text;
        } else if (strcmp(key, "mail") == 0) {
            row.mail = text;
        } else if (strcmp(key, "expect") == 0) {
            row.expect = text;
        } else if (strcmp(key, "partial") == 0) {
            row.is_partial = slice_equal(text, SLICE("yes"));
        } else if (strcmp(key, "record") == 0) {
            cr_assert_lt(row.zone.count, ARRAY_LEN(row.zone.rows));
            row.zone.rows[row.zone.count].name = slice_cut(&text, '\0');
            row.zone.rows[row.zone.count++].record = text;
        } else if (strcmp(key, "end") == 0) {
            check_signed(&row, row.mail.len);
            check_signed(&row, row.mail.len < 10000 ? 1 : 1000);
            row = (struct signed_case){.is_partial = false};
            count++;
            arena_clear(&arena);
        }
    }
    cr_expect_eq(verify_finish(pipe), 0);
    cr_expect_gt(count, 100);
    buf_fini(&value);
}

struct signing {
    struct sign_key *key;
    const char *selector;
};

static struct signing make_signing(enum sign_algo algo, const char *selector, struct zone *zone)
{
    struct signing signing = {.selector = selector};
    struct zone_row *row = &zone->rows[zone->count++];
    struct slice der;
    struct slice public_text;

    cr_assert_eq(crypto_make_key(algo, &arena, &der, &public_text), ERR_OK);
    cr_assert_eq(sign_key_new(algo, der, &signing.key), ERR_OK);
    row->name = arena_format(&arena, "%s._domainkey.example.com", selector);
    row->record = dkim_record(algo, public_text, &arena);
    return signing;
}

static struct slice sign(const struct signing *signing, struct slice mail)
{
    struct dkim_signer signer = {.domain = SLICE("example.com"),
                                 .selector = slice_str(signing->selector),
                                 .key = signing->key,
                                 .time_s = NOW};
    size_t header_len = header_block_len(mail);
    struct dkim_body body;
    struct slice field;

    dkim_body_start(&body);
    dkim_body_add(&body, slice_from(mail, header_len));
    struct sha256 hash = dkim_body_finish(&body);
    cr_assert_eq(dkim_sign(&signer, slice_head(mail, header_len), &hash, &arena, &field), ERR_OK);
    return arena_format(&arena, "%.*s%.*s", SLICE_FMT(field), SLICE_FMT(mail));
}

#define LETTER                                                                                     \
    "Received: by x\r\nFrom: a@example.com\r\nTo: b@c.de\r\nSubject:  Hello \t you\r\n\r\n"        \
    "Text  of it\r\n\r\n.\r\n\r\n"

Test(dkim_verify, passes_what_this_program_signs)
{
    struct zone zone = {.count = 0};
    struct signing rsa = make_signing(SIGN_RSA_SHA256, "mk1", &zone);
    struct signing ed = make_signing(SIGN_ED25519, "mk2", &zone);
    struct slice mail = sign(&ed, sign(&rsa, SLICE(LETTER)));

    for (size_t piece = 1; piece <= mail.len; piece = piece * 2 + 1) {
        struct dkim_verify *verify = verify_mail(mail, piece, &zone);
        cr_assert_eq(dkim_verify_count(verify), 2);
        expect_verdict(verify, 0, DKIM_PASS, "ed25519");
        expect_verdict(verify, 1, DKIM_PASS, "rsa");
        dkim_verify_free(verify);
    }
    /* The same with bare line feeds, as files hold it. */
    struct buf bare;
    buf_init(&bare, 65536);
    for (size_t i = 0; i < mail.len; i++) {
        if (mail.data[i] != '\r') {
            buf_add_byte(&bare, mail.data[i]);
        }
    }
    struct dkim_verify *verify = verify_mail(buf_slice(&bare), 9, &zone);
    expect_verdict(verify, 0, DKIM_PASS, "ed25519");
    expect_verdict(verify, 1, DKIM_PASS, "rsa");
    dkim_verify_free(verify);
    buf_fini(&bare);
    sign_key_free(rsa.key);
    sign_key_free(ed.key);
}

Test(dkim_verify, fails_a_mail_that_was_altered)
{
    static const struct {
        const char *from;
        const char *to;
        enum dkim_result result;
    } ROWS[] = {
        {"Text", "Text", DKIM_PASS},
        {"a@example.com", "a@Example.com", DKIM_FAIL},
        {"Hello", "hello", DKIM_FAIL},
        {"To: b", "To: B", DKIM_FAIL},
        {"To: b@c.de\r\n", "", DKIM_FAIL},
        {"To: b@c.de\r\n", "To: b@c.de\r\nTo: b@c.de\r\n", DKIM_FAIL},
        {"Received: by x", "Received: by y", DKIM_PASS},
        {"Received: by x\r\n", "Reply-To: evil@x.y\r\n", DKIM_FAIL},
        {"Received: by x\r\n", "Cc:\r\n", DKIM_FAIL},
        {"Text  of", "Text of", DKIM_PASS},
        {"Text  of", "Textof", DKIM_FAIL},
        {"\r\n\r\n.", "\r\n.", DKIM_FAIL},
        {".\r\n\r\n", ".", DKIM_PASS},
        {".\r\n\r\n", "..\r\n", DKIM_FAIL},
        {"SUBJECT", "subject", DKIM_PASS}, /* absent: changes nothing */
        {"Subject:", "SUBJECT :", DKIM_PASS},
        {"Hello \t you", "Hello\r\n you", DKIM_PASS},
    };
    struct zone zone = {.count = 0};
    struct signing ed = make_signing(SIGN_ED25519, "mk2", &zone);
    struct slice mail = sign(&ed, SLICE(LETTER));

    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice from = slice_str(ROWS[i].from);
        size_t at = slice_find(mail, from);
        struct slice altered = mail;
        if (at != SIZE_MAX) {
            altered = arena_format(&arena, "%.*s%s%.*s", SLICE_FMT(slice_head(mail, at)),
                                   ROWS[i].to, SLICE_FMT(slice_from(mail, at + from.len)));
        }
        struct dkim_verify *verify = verify_mail(altered, 50, &zone);
        expect_verdict(verify, 0, ROWS[i].result, ROWS[i].to);
        dkim_verify_free(verify);
    }
    sign_key_free(ed.key);
}

/* ---- syntax of signatures ------------------------------------------------------------------- */

#define EMPTY_HASH "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define HEAD       "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=k; "
#define HASHES     "h=from; " EMPTY_HASH "; b=AAAA"
#define ED_KEY     "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

/* The verdict on a mail without body whose signature has these tags. */
static struct dkim_verify *verify_tags(const char *tags, const char *record, uint64_t now_s)
{
    struct slice mail =
        arena_format(&arena, "DKIM-Signature: %s\r\nFrom: a@example.com\r\n\r\n", tags);
    struct zone zone = {{{SLICE("k._domainkey.example.com"), slice_str(record)}}, 1};
    struct dkim_verify *verify = feed(mail, mail.len, now_s);

    answer(verify, &zone);
    dkim_verify_finish(verify);
    return verify;
}

struct tags_row {
    const char *tags;
    enum dkim_result result;
    const char *reason; /* a part of it */
};

static void check_tags(const struct tags_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct dkim_verify *verify = verify_tags(rows[i].tags, ED_KEY, NOW);
        expect_verdict(verify, 0, rows[i].result, rows[i].tags);
        const char *reason = dkim_verify_verdict(verify, 0)->reason;
        cr_expect_not_null(strstr(reason, rows[i].reason), "%s: %s", rows[i].tags, reason);
        dkim_verify_free(verify);
    }
}

/* b= of these is junk, so that a signature without fault fails at the very end. */
#define SOUND DKIM_FAIL, "header is not"

Test(dkim_verify, reads_the_tags_of_a_signature)
{
    static const struct tags_row ROWS[] = {
        {HEAD HASHES, SOUND},
        {HEAD HASHES ";", SOUND},
        {"  v = 1 ;\r\n\ta=ed25519-sha256;c=relaxed/relaxed; d = example.com; s=k; " HASHES, SOUND},
        {HEAD HASHES "; unknown=1; x-y=; z=From:x|To:y", SOUND},
        {HEAD HASHES "; h=from", DKIM_PERMERROR, "twice"},
        {HEAD HASHES "; unknown=1; unknown=1", DKIM_PERMERROR, "twice"},
        {HEAD HASHES "; junk", DKIM_PERMERROR, "malformed"},
        {HEAD HASHES ";; n=1", DKIM_PERMERROR, "malformed"},
        {HEAD HASHES "; 1=2", DKIM_PERMERROR, "malformed"},
        {"", DKIM_PERMERROR, "d="},
        {"v=2; a=rsa-sha256; d=example.com; s=k; " HASHES, DKIM_PERMERROR, "v="},
        {"a=rsa-sha256; d=example.com; s=k; " HASHES, DKIM_PERMERROR, "v="},
        {"v=1; a=rsa-sha1; d=example.com; s=k; " HASHES, DKIM_PERMERROR, "sha1"},
        {"v=1; a=rsa-sha512; d=example.com; s=k; " HASHES, DKIM_NEUTRAL, "algorithm"},
        {"v=1; a=<b>; d=example.com; s=k; " HASHES, DKIM_PERMERROR, "a="},
        {"v=1; d=example.com; s=k; " HASHES, DKIM_PERMERROR, "a="},
        {"v=1; a=rsa-sha256; s=k; " HASHES, DKIM_PERMERROR, "d="},
        {"v=1; a=rsa-sha256; d=com; s=k; " HASHES, DKIM_PERMERROR, "d="},
        {"v=1; a=rsa-sha256; d=a..b; s=k; " HASHES, DKIM_PERMERROR, "d="},
        {"v=1; a=rsa-sha256; d=example.com; " HASHES, DKIM_PERMERROR, "s="},
        {"v=1; a=rsa-sha256; d=example.com; s=a b; " HASHES, DKIM_PERMERROR, "s="},
        {"v=1; a=rsa-sha256; d=example.com; s=.; " HASHES, DKIM_PERMERROR, "s="},
        {HEAD "q=dns/txt; " HASHES, SOUND},
        {HEAD "q=other : dns/txt; " HASHES, SOUND},
        {HEAD "q=other; " HASHES, DKIM_NEUTRAL, "q="},
        {HEAD "bh=AAAA; h=from; b=AAAA", DKIM_PERMERROR, "bh="},
        {HEAD "bh=!; h=from; b=AAAA", DKIM_PERMERROR, "bh="},
        {HEAD "h=from; b=AAAA", DKIM_PERMERROR, "bh="},
        {HEAD "h=from; " EMPTY_HASH "; b=", DKIM_PERMERROR, "b="},
        {HEAD "h=from; " EMPTY_HASH "; b=?", DKIM_PERMERROR, "b="},
        {HEAD "h=from; " EMPTY_HASH, DKIM_PERMERROR, "b="},
        {HEAD EMPTY_HASH "; b=AAAA", DKIM_PERMERROR, "h="},
        {HEAD "h=; " EMPTY_HASH "; b=AAAA", DKIM_PERMERROR, "h="},
        {HEAD "h=to:subject; " EMPTY_HASH "; b=AAAA", DKIM_PERMERROR, "From"},
        {HEAD "h=to: FROM ::; " EMPTY_HASH "; b=AAAA", SOUND},
        {HEAD "h=from; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA", DKIM_FAIL, "body"},
    };
    check_tags(ROWS, ARRAY_LEN(ROWS));
}

Test(dkim_verify, knows_the_canonical_forms_by_name)
{
    /* The simple form of no body is one line end, RFC 6376 3.4.3 gives its hash. */
#define CANON(c, hash) "v=1; a=ed25519-sha256; " c "d=example.com; s=k; h=from; b=AAAA; bh=" hash
#define SIMPLE_HASH    "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
#define RELAXED_HASH   "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    static const struct tags_row ROWS[] = {
        {CANON("", SIMPLE_HASH), SOUND},
        {CANON("c=simple; ", SIMPLE_HASH), SOUND},
        {CANON("c=relaxed; ", SIMPLE_HASH), SOUND},
        {CANON("c=relaxed/simple; ", SIMPLE_HASH), SOUND},
        {CANON("c=simple / relaxed; ", RELAXED_HASH), SOUND},
        {CANON("c=relaxed; ", RELAXED_HASH), DKIM_FAIL, "body"},
        {CANON("c=nowsp; ", SIMPLE_HASH), DKIM_PERMERROR, "c="},
        {CANON("c=simple/nowsp; ", SIMPLE_HASH), DKIM_PERMERROR, "c="},
        {CANON("c=; ", SIMPLE_HASH), DKIM_PERMERROR, "c="},
    };
    check_tags(ROWS, ARRAY_LEN(ROWS));
}

Test(dkim_verify, compares_times_with_the_clock)
{
    static const struct tags_row ROWS[] = {
        {HEAD HASHES "; t=1700000000", SOUND},
        {HEAD HASHES "; t=1700000300", SOUND},
        {HEAD HASHES "; t=1700000301", DKIM_PERMERROR, "future"},
        {HEAD HASHES "; t=9999999999999999999999999", DKIM_PERMERROR, "future"},
        {HEAD HASHES "; t=-1", DKIM_PERMERROR, "no time"},
        {HEAD HASHES "; t=", DKIM_PERMERROR, "no time"},
        {HEAD HASHES "; x=1800000000", SOUND},
        {HEAD HASHES "; x=1699999700", SOUND},
        {HEAD HASHES "; x=1699999699", DKIM_PERMERROR, "expired"},
        {HEAD HASHES "; x=99999999999999999999999999999", SOUND},
        {HEAD HASHES "; x=soon", DKIM_PERMERROR, "no time"},
        {HEAD HASHES "; t=1700000000; x=1700000000", DKIM_PERMERROR, "before it was made"},
        {HEAD HASHES "; t=1700000000; x=1700000001", SOUND},
    };
    check_tags(ROWS, ARRAY_LEN(ROWS));
}

Test(dkim_verify, wants_the_identity_within_the_domain)
{
    static const struct tags_row ROWS[] = {
        {HEAD HASHES "; i=@example.com", SOUND},
        {HEAD HASHES "; i=joe=20x@EXAMPLE.com", SOUND},
        {HEAD HASHES "; i=\"a@b\"@sub.example.com", SOUND},
        {HEAD HASHES "; i=@notexample.com", DKIM_PERMERROR, "within"},
        {HEAD HASHES "; i=@example.org", DKIM_PERMERROR, "within"},
        {HEAD HASHES "; i=@com", DKIM_PERMERROR, "i="},
        {HEAD HASHES "; i=example.com", DKIM_PERMERROR, "i="},
        {HEAD HASHES "; i=", DKIM_PERMERROR, "i="},
    };
    check_tags(ROWS, ARRAY_LEN(ROWS));
}

Test(dkim_verify, knows_how_much_of_the_body_is_signed)
{
    static const struct tags_row ROWS[] = {
        {HEAD HASHES "; l=0", SOUND},
        {HEAD HASHES "; l=1", DKIM_PERMERROR, "l="},
        {HEAD HASHES "; l=99999999999999999999999", DKIM_PERMERROR, "l="},
        {HEAD HASHES "; l=-1", DKIM_PERMERROR, "l="},
        {HEAD HASHES "; l=", DKIM_PERMERROR, "l="},
    };
    check_tags(ROWS, ARRAY_LEN(ROWS));
}

Test(dkim_verify, says_nothing_unsafe_about_a_malformed_signature)
{
    struct dkim_verify *verify =
        verify_tags("v=1; a=<script>; d=exa\x01mple.com; s=\"; b=\x7f", ED_KEY, NOW);
    const struct dkim_verdict *verdict = dkim_verify_verdict(verify, 0);

    cr_expect_eq(verdict->result, DKIM_PERMERROR);
    expect_text(verdict->domain, "");
    expect_text(verdict->selector, "");
    expect_text(verdict->algo, "");
    expect_text(verdict->b_start, "");
    dkim_verify_free(verify);
}

Test(dkim_verify, converts_international_names)
{
    struct dkim_verify *verify = feed(
        SLICE("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=K\xc3\x96LN.example; "
              "s=s\xc3\xa4; i=@a.xn--kln-sna.example; " HASHES "\r\nFrom: a@x.example\r\n\r\n"),
        1000, NOW);
    cr_assert_eq(dkim_verify_question_count(verify), 1);
    expect_text(dkim_verify_question(verify, 0).name, "xn--s-0fa._domainkey.xn--kln-sna.example");
    dkim_verify_free(verify);
}

/* ---- keys ----------------------------------------------------------------------------------- */

#define P_ED "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define RSA_512                                                                                    \
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK8mGnFG4a9HKTGcCEHEm40IsUAs7AFwrmE+RDmsR7XMUBaEgIhAKdnrLP1w" \
    "KKG1c/bk4HAPxj60w0SK1kI1Zn0CAwEAAQ=="
#define RSA_TAGS "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=k; " HASHES

Test(dkim_verify, reads_published_keys)
{
    static const struct {
        const char *tags;
        const char *record;
        enum dkim_result result;
        const char *reason;
    } ROWS[] = {
        {HEAD HASHES, "k=ed25519; " P_ED, SOUND},
        {HEAD HASHES, "v=DKIM1; k=ed25519; h=sha1:sha256; s=email; n=x; " P_ED, SOUND},
        {HEAD HASHES, "v=DKIM1; k=ed25519; s=other : *; " P_ED, SOUND},
        {HEAD HASHES, "v=DKIM1; k=ed25519; p=", DKIM_PERMERROR, "revoked"},
        {HEAD HASHES, "v=DKIM1; k=ed25519", DKIM_PERMERROR, "holds no key"},
        {HEAD HASHES, "v=DKIM1; " P_ED, DKIM_PERMERROR, "another algorithm"},
        {HEAD HASHES, "v=DKIM1; k=dsa; " P_ED, DKIM_PERMERROR, "another algorithm"},
        {RSA_TAGS, "v=DKIM1; k=ed25519; " P_ED, DKIM_PERMERROR, "another algorithm"},
        {HEAD HASHES, "v=DKIM1; k=ed25519; h=sha1; " P_ED, DKIM_PERMERROR, "SHA-256"},
        {HEAD HASHES, "v=DKIM1; k=ed25519; s=tlsrpt; " P_ED, DKIM_PERMERROR, "not for mail"},
        {HEAD HASHES, "v=DKIM2; k=ed25519; " P_ED, DKIM_PERMERROR, "version"},
        {HEAD HASHES, "k=ed25519; v=DKIM1; " P_ED, DKIM_PERMERROR, "version"},
        {HEAD HASHES, "v=DKIM1; k=ed25519; k=rsa; " P_ED, DKIM_PERMERROR, "malformed"},
        {HEAD HASHES, "v=DKIM1; k=ed25519; p=AAAA", DKIM_PERMERROR, "damaged"},
        {HEAD HASHES, "v=DKIM1; k=ed25519; p=!", DKIM_PERMERROR, "damaged"},
        {HEAD HASHES, "v=spf1 -all", DKIM_PERMERROR, "version"},
        {HEAD HASHES, "", DKIM_PERMERROR, "holds no key"},
        {RSA_TAGS, "v=DKIM1; p=" RSA_512, DKIM_POLICY, "512 bits"},
        {RSA_TAGS, "v=DKIM1; p=AAAA", DKIM_PERMERROR, "damaged"},
        {HEAD HASHES "; i=@example.com", "t=s; k=ed25519; " P_ED, SOUND},
        {HEAD HASHES, "t=s; k=ed25519; " P_ED, SOUND},
        {HEAD HASHES "; i=@a.example.com", "t=y; k=ed25519; " P_ED, SOUND},
        {HEAD HASHES "; i=@a.example.com", "t=y:s; k=ed25519; " P_ED, DKIM_PERMERROR, "subdomains"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct dkim_verify *verify = verify_tags(ROWS[i].tags, ROWS[i].record, NOW);
        expect_verdict(verify, 0, ROWS[i].result, ROWS[i].record);
        const char *reason = dkim_verify_verdict(verify, 0)->reason;
        cr_expect_not_null(strstr(reason, ROWS[i].reason), "%s: %s", ROWS[i].record, reason);
        cr_expect_eq(dkim_verify_verdict(verify, 0)->is_testing,
                     strstr(ROWS[i].record, "t=y;") != NULL);
        dkim_verify_free(verify);
    }
}

Test(dkim_verify, takes_the_record_that_fits_among_several)
{
    struct slice mail = SLICE("DKIM-Signature: " HEAD HASHES "\r\nFrom: a@example.com\r\n\r\n");
    struct slice huge = arena_format(&arena, "v=DKIM1; k=ed25519; n=%05000d; " P_ED, 1);
    const struct {
        struct slice records[DKIM_RECORDS_MAX + 1];
        uint32_t count;
        enum dkim_result result;
    } rows[] = {
        {{SLICE("v=spf1 -all"), SLICE("v=DKIM1; p="), SLICE(ED_KEY)}, 3, DKIM_FAIL},
        {{SLICE(""), SLICE(""), SLICE(""), SLICE(""), SLICE(ED_KEY)}, 5, DKIM_PERMERROR},
        {{huge}, 1, DKIM_PERMERROR},
        {{huge, SLICE(ED_KEY)}, 2, DKIM_FAIL},
        {{SLICE("")}, 0, DKIM_PERMERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dkim_verify *verify = feed(mail, 100, NOW);
        cr_assert_eq(dkim_verify_question_count(verify), 1);
        struct lookup_record records[DKIM_RECORDS_MAX + 1] = {{.priority = 0}};
        for (uint32_t r = 0; r < rows[i].count; r++) {
            records[r].text = rows[i].records[r];
        }
        struct lookup_answer found = {LOOKUP_FOUND, rows[i].count, records};
        dkim_verify_answer(verify, 0, &found);
        dkim_verify_finish(verify);
        cr_expect_eq(dkim_verify_verdict(verify, 0)->result, rows[i].result, "row %zu: %s", i,
                     dkim_verify_verdict(verify, 0)->reason);
        dkim_verify_free(verify);
    }
}

Test(dkim_verify, tells_a_missing_key_from_a_failed_look_up)
{
    static const struct {
        bool is_answered;
        enum lookup_outcome outcome;
        enum dkim_result result;
    } ROWS[] = {
        {true, LOOKUP_NO_NAME, DKIM_PERMERROR}, {true, LOOKUP_NO_RECORD, DKIM_PERMERROR},
        {true, LOOKUP_FOUND, DKIM_PERMERROR}, /* with no record */
        {true, LOOKUP_FAILED, DKIM_TEMPERROR},  {false, LOOKUP_FAILED, DKIM_TEMPERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct dkim_verify *verify =
            feed(SLICE("DKIM-Signature: " HEAD HASHES "\r\nFrom: a@example.com\r\n\r\n"), 10, NOW);
        if (ROWS[i].is_answered) {
            struct lookup_answer found = {.outcome = ROWS[i].outcome};
            dkim_verify_answer(verify, 0, &found);
        }
        dkim_verify_finish(verify);
        expect_verdict(verify, 0, ROWS[i].result, "look-up");
        dkim_verify_free(verify);
    }
}

Test(dkim_verify, asks_for_each_key_once_and_before_the_body)
{
    struct dkim_verify *verify = dkim_verify_new(NOW);

    dkim_verify_add(verify, SLICE("DKIM-Signature: " HEAD HASHES "\r\n"
                                  "DKIM-Signature: " HEAD HASHES "; n=2\r\n"
                                  "DKIM-Signature: v=1; a=rsa-sha1; d=e.com; s=old; " HASHES "\r\n"
                                  "DKIM-Signature: v=1; a=rsa-sha256; d=e.com; s=K_1; " HASHES
                                  "\r\nFrom: a@example.com\r\n"));
    cr_expect_eq(dkim_verify_question_count(verify), 0);
    dkim_verify_add(verify, SLICE("\r\n"));
    cr_assert_eq(dkim_verify_question_count(verify), 2);
    expect_text(dkim_verify_question(verify, 0).name, "k._domainkey.example.com");
    expect_text(dkim_verify_question(verify, 1).name, "k_1._domainkey.e.com");
    cr_expect_eq(dkim_verify_count(verify), 4);
    dkim_verify_free(verify); /* given up in the middle */
}

/* ---- ceilings ------------------------------------------------------------------------------- */

Test(dkim_verify, has_no_verdict_without_a_signature)
{
    static const char *const MAILS[] = {"",
                                        "\r\n",
                                        "\n",
                                        "From: a@b.c\r\n\r\nx",
                                        "no header at all",
                                        "\r\nDKIM-Signature: v=1; d=a.b\r\n"};
    struct zone zone = {.count = 0};

    for (size_t i = 0; i < ARRAY_LEN(MAILS); i++) {
        struct dkim_verify *verify = verify_mail(slice_str(MAILS[i]), 3, &zone);
        cr_expect_eq(dkim_verify_count(verify), 0, "%s", MAILS[i]);
        dkim_verify_free(verify);
    }
}

Test(dkim_verify, looks_at_so_many_signatures_and_no_more)
{
    struct zone zone = {.count = 0};
    struct buf mail;

    buf_init(&mail, 4 << 20);
    for (int i = 0; i < 3000; i++) {
        buf_add_format(&mail, "DKIM-Signature: " HEAD HASHES "; l=%d\r\n", i);
    }
    buf_add(&mail, SLICE("From: a@example.com\r\n\r\n"));
    struct dkim_verify *verify = verify_mail(buf_slice(&mail), 65536, &zone);
    cr_expect_eq(dkim_verify_count(verify), DKIM_SIGNATURES_MAX);
    cr_expect_eq(dkim_verify_skipped(verify), 3000 - DKIM_SIGNATURES_MAX);
    /* l=0 to l=3 are hashed; the body is empty, so only the first gets to its key. */
    expect_verdict(verify, 0, DKIM_PERMERROR, "no key");
    expect_verdict(verify, 3, DKIM_PERMERROR, "l= is more");
    expect_verdict(verify, 4, DKIM_POLICY, "the fifth length");
    dkim_verify_free(verify);
    buf_fini(&mail);
}

Test(dkim_verify, hashes_whole_bodies_whatever_crowd_of_lengths_comes_first)
{
    struct zone zone = {.count = 0};
    struct signing ed = make_signing(SIGN_ED25519, "mk2", &zone);
    struct slice mail = sign(&ed, SLICE(LETTER));
    struct buf crowded;

    buf_init(&crowded, 65536);
    for (int i = 0; i < DKIM_SIGNATURES_MAX - 1; i++) {
        buf_add_format(&crowded, "DKIM-Signature: " HEAD HASHES "; l=%d\r\n", i);
    }
    buf_add(&crowded, mail);
    struct dkim_verify *verify = verify_mail(buf_slice(&crowded), 1000, &zone);
    expect_verdict(verify, DKIM_SIGNATURES_MAX - 1, DKIM_PASS, "the last");
    dkim_verify_free(verify);
    buf_fini(&crowded);
    sign_key_free(ed.key);
}

Test(dkim_verify, gives_up_on_an_endless_header)
{
    struct zone zone = {{{SLICE("k._domainkey.example.com"), SLICE(ED_KEY)}}, 1};
    struct dkim_verify *verify = dkim_verify_new(NOW);
    char line[65536];

    memset(line, 'x', sizeof line);
    dkim_verify_add(verify, SLICE("DKIM-Signature: " HEAD HASHES "\r\nFrom: a@example.com\r\nX: "));
    for (size_t i = 0; i < 160; i++) {
        dkim_verify_add(verify, slice_of(line, sizeof line));
    }
    dkim_verify_end(verify);
    answer(verify, &zone);
    dkim_verify_finish(verify);
    cr_expect_eq(dkim_verify_count(verify), 1);
    expect_verdict(verify, 0, DKIM_NEUTRAL, "10 MiB of header");
    expect_text(dkim_verify_verdict(verify, 0)->domain, "example.com");
    dkim_verify_free(verify);
}

Test(dkim_verify, gives_up_on_a_crowd_of_fields)
{
    struct zone zone = {{{SLICE("k._domainkey.example.com"), SLICE(ED_KEY)}}, 1};

    for (int extra = 0; extra < 2; extra++) {
        struct buf mail;
        buf_init(&mail, 1 << 20);
        buf_add(&mail, SLICE("DKIM-Signature: " HEAD HASHES "\r\nFrom: a@example.com\r\n"));
        for (int i = 0; i < DKIM_FIELDS_MAX - 2 + extra; i++) {
            buf_add(&mail, SLICE(":\n"));
        }
        struct dkim_verify *verify = verify_mail(buf_slice(&mail), 4096, &zone);
        expect_verdict(verify, 0, extra == 0 ? DKIM_FAIL : DKIM_NEUTRAL, "fields");
        dkim_verify_free(verify);
        buf_fini(&mail);
    }
}

Test(dkim_verify, gives_up_on_an_endless_list_of_names)
{
    struct zone zone = {{{SLICE("k._domainkey.example.com"), SLICE(ED_KEY)}}, 1};

    for (int extra = 0; extra < 2; extra++) {
        struct buf mail;
        buf_init(&mail, 1 << 20);
        buf_add(&mail, SLICE("DKIM-Signature: " HEAD EMPTY_HASH "; b=AAAA; h=from"));
        for (int i = 1; i < DKIM_NAMES_MAX + extra; i++) {
            buf_add(&mail, SLICE(":x\r\n "));
        }
        buf_add(&mail, SLICE("\r\n"));
        for (int i = 0; i < 4000; i++) {
            buf_add(&mail, SLICE("X: y\r\n"));
        }
        buf_add(&mail, SLICE("From: a@example.com\r\n\r\n"));
        struct dkim_verify *verify = verify_mail(buf_slice(&mail), 4096, &zone);
        expect_verdict(verify, 0, extra == 0 ? DKIM_FAIL : DKIM_PERMERROR, "names");
        dkim_verify_free(verify);
        buf_fini(&mail);
    }
}
