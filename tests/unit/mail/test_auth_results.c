/* test_auth_results.c - Authentication-Results written, and forged ones found.
 *
 * Not covered here: where the results come from (test_spf.c, test_dmarc.c and DKIM's tests).
 */
#include "base/limits.h"
#include "mail/auth_results.h"
#include "mail/header.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct buf out;

static void setup(void)
{
    buf_init(&out, 64 * 1024);
}

static void teardown(void)
{
    buf_fini(&out);
}

TestSuite(auth_results, .init = setup, .fini = teardown);

#define OURS SLICE("mx.example.org")

static void expect_written(const struct auth_results *results, const char *want)
{
    buf_clear(&out);
    auth_results_write(&out, results);
    cr_expect(slice_equal(buf_slice(&out), slice_str(want)), "%.*s", SLICE_FMT(buf_slice(&out)));
}

/* One field, in lines that are neither empty nor too long, which we would remove from a mail. */
static void expect_sound(void)
{
    struct slice rest = buf_slice(&out);
    struct header_field field;
    struct auth_range range;
    size_t from = 0;

    cr_assert(header_next(&rest, &field));
    cr_expect_eq(rest.len, 0, "%.*s", SLICE_FMT(buf_slice(&out)));
    cr_expect(slice_equal(field.name, SLICE("Authentication-Results")));
    cr_expect(slice_is_utf8(field.whole));
    cr_expect(!slice_has_control(field.whole, "\r\n"));
    struct slice lines = slice_head(field.whole, field.whole.len - 2);
    while (lines.data != NULL) {
        struct slice line = slice_cut(&lines, '\n');
        cr_expect_leq(line.len, LINE_MAX_BYTES);
        cr_expect_gt(slice_trim(line).len, 0);
    }
    cr_expect(auth_results_next(buf_slice(&out), OURS, &from, &range));
    cr_expect_eq(range.at, 0);
    cr_expect_eq(range.len, out.len);
}

Test(auth_results, writes_what_was_found)
{
    struct auth_dkim dkim[] = {
        {SLICE("pass"), SLICE("example.com"), SLICE("s1"), SLICE("rsa-sha256"),
         SLICE("abcd/fgh12345"), SLICE("")},
        {SLICE("permerror"), SLICE("other.example"), SLICE("s2"), SLICE("ed25519-sha256"),
         SLICE("ABCD"), SLICE("the key is revoked")},
    };
    struct auth_results results = {
        .authserv_id = OURS,
        .spf = {.result = SLICE("pass"), .mail_from = SLICE("u@example.com"), .helo = SLICE("h")},
        .dkim = dkim,
        .dkim_count = ARRAY_LEN(dkim),
        .dmarc = {.result = SLICE("fail"), .from = SLICE("example.com"), .policy = SLICE("reject")},
    };
    expect_written(&results,
                   "Authentication-Results: mx.example.org;\r\n"
                   " spf=pass smtp.mailfrom=u@example.com;\r\n"
                   " dkim=pass header.d=example.com header.s=s1 header.a=rsa-sha256\r\n"
                   "  header.b=\"abcd/fgh\";\r\n"
                   " dkim=permerror reason=\"the key is revoked\" header.d=other.example\r\n"
                   "  header.s=s2 header.a=ed25519-sha256 header.b=ABCD;\r\n"
                   " dmarc=fail header.from=example.com policy.dmarc=reject\r\n");
    expect_sound();
}

Test(auth_results, leaves_out_what_was_not_tried)
{
    struct auth_results results = {.authserv_id = OURS};

    expect_written(&results, "Authentication-Results: mx.example.org; none\r\n");
    expect_sound();
    results.is_dkim_tried = true;
    expect_written(&results, "Authentication-Results: mx.example.org;\r\n dkim=none\r\n");
    expect_sound();
    results.spf = (struct auth_spf){.result = SLICE("none"), .helo = SLICE("mail.example.com")};
    results.dmarc = (struct auth_dmarc){.result = SLICE("permerror"), .reason = SLICE("no author")};
    expect_written(&results, "Authentication-Results: mx.example.org;\r\n"
                             " spf=none smtp.helo=mail.example.com;\r\n"
                             " dkim=none;\r\n"
                             " dmarc=permerror reason=\"no author\"\r\n");
    expect_sound();
}

Test(auth_results, lets_no_value_out_of_its_quotes)
{
    static const struct {
        const char *value;
        const char *written;
    } rows[] = {
        {"u@example.com", "u@example.com"},
        {"a+b=c@example.com", "\"a+b=c@example.com\""},
        {"@example.com", "@example.com"},
        {"u@", "\"u@\""},
        {"a@b@c", "\"a@b@c\""},
        {"\"a b\"@example.com", "\"\\\"a b\\\"@example.com\""},
        {"a\\", "\"a\\\\\""},
        {"x; dmarc=pass", "\"x; dmarc=pass\""},
        {"x (", "\"x (\""},
        {"x\r\nX-Evil: y", "\"x??X-Evil: y\""},
        {"x\r\n\r\nbody", "\"x????body\""},
        {"\xc3\xa4@example.com", "\"\xc3\xa4@example.com\""},
        {"\xe4@example.com", "\"?@example.com\""},
        {"\x7f", "\"?\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct auth_results results = {
            .authserv_id = OURS,
            .spf = {.result = SLICE("fail"), .mail_from = slice_str(rows[i].value)},
        };
        char want[256];
        (void)snprintf(want, sizeof(want),
                       "Authentication-Results: mx.example.org;\r\n spf=fail smtp.mailfrom=%s\r\n",
                       rows[i].written);
        expect_written(&results, want);
        expect_sound();
    }
}

Test(auth_results, bounds_every_value)
{
    static char ascii[5000];
    static char umlauts[5001];
    struct slice values[] = {slice_of(ascii, sizeof(ascii)), slice_of(umlauts, sizeof(umlauts))};

    memset(ascii, '"', sizeof(ascii));
    umlauts[0] = 'x';
    for (size_t i = 1; i < sizeof(umlauts); i += 2) {
        memcpy(umlauts + i, "\xc3\xa4", 2);
    }
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct auth_dkim dkim = {SLICE("fail"), values[i], values[i],
                                 values[i],     values[i], values[i]};
        struct auth_results results = {
            .authserv_id = OURS,
            .spf = {.result = SLICE("fail"), .mail_from = values[i], .reason = values[i]},
            .dkim = &dkim,
            .dkim_count = 1,
            .dmarc = {.result = SLICE("fail"), .from = values[i], .policy = values[i]},
        };
        buf_clear(&out);
        auth_results_write(&out, &results);
        expect_sound();
        cr_expect_lt(out.len, 9 * 700);
    }
}

Test(auth_results, finds_fields_that_claim_our_name)
{
    static const struct {
        const char *value;
        bool is_ours;
    } rows[] = {
        {" mx.example.org; spf=pass", true},
        {"mx.example.org;none", true},
        {" MX.Example.ORG 1; spf=pass", true},
        {" mx.example.org", true},
        {" mx.example.org.; spf=pass", true},
        {"\r\n\tmx.example.org\r\n ; spf=pass", true},
        {" (mx.other.example) mx.example.org (c); spf=pass", true},
        {" (a (b) \\) c)mx.example.org(c);", true},
        {" \"mx.example.org\"; spf=pass", true},
        {" \"mx.\\example.org\"; spf=pass", true},
        {" mx.other.example; spf=pass", false},
        {" mx.other.example (mx.example.org); spf=pass", false},
        {" amx.example.org; spf=pass", false},
        {" mx.example.org.other.example; spf=pass", false},
        {" \"mx.other.example\"; spf=pass", false},
        {" example.org; smtp.mailfrom=mx.example.org", false},
        /* what nobody can read, somebody might */
        {"", true},
        {" ; spf=pass", true},
        {" (; spf=pass", true},
        {" \"mx.other.example; spf=pass", true},
        {" \"mx.other.example\\", true},
        {" ((((((((((((((((((((((((((((((((((((((((((((", true},
        {" mx.other.example/x; spf=pass", true},
        {" mx.other.example=x; spf=pass", true},
        {" m\xfcnchen.example; spf=pass", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char block[512];
        struct auth_range range = {0, 0};
        size_t from = 0;
        int len = snprintf(block, sizeof(block),
                           "From: a\r\nauthentication-RESULTS :%s\r\nTo: b\r\n\r\n", rows[i].value);
        bool is_found = auth_results_next(slice_of(block, (size_t)len), OURS, &from, &range);
        cr_expect_eq(is_found, rows[i].is_ours, "'%s'", rows[i].value);
        if (is_found) {
            cr_expect_eq(range.at, 9, "'%s'", rows[i].value);
            cr_expect_eq(range.len, (size_t)len - 9 - 9, "'%s'", rows[i].value);
        }
    }
}

Test(auth_results, compares_names_in_any_form_of_idna)
{
    static const struct {
        const char *claimed;
        const char *ours;
        bool is_same;
    } rows[] = {
        {"mx.m\xc3\xbcnchen.example", "mx.xn--mnchen-3ya.example", true},
        {"mx.M\xc3\x9cNCHEN.example", "mx.xn--mnchen-3ya.example", true},
        {"mx.xn--mnchen-3ya.example", "mx.m\xc3\xbcnchen.example", true},
        {"\"mx.m\xc3\xbcnchen.example\"", "mx.xn--mnchen-3ya.example", true},
        {"mx.munchen.example", "mx.m\xc3\xbcnchen.example", false},
        {"mx.m\xc3\xb6nchen.example", "mx.xn--mnchen-3ya.example", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char block[256];
        struct auth_range range;
        size_t from = 0;
        (void)snprintf(block, sizeof(block), "Authentication-Results: %s; none\r\n",
                       rows[i].claimed);
        cr_expect_eq(auth_results_next(slice_str(block), slice_str(rows[i].ours), &from, &range),
                     rows[i].is_same, "%s", rows[i].claimed);
    }
}

Test(auth_results, finds_every_forged_field_and_nothing_else)
{
    struct slice block = SLICE("Authentication-Results: mx.example.org; spf=pass\r\n"
                               "Authentication-Results: other.example; spf=pass\r\n"
                               "X-Authentication-Results: mx.example.org; spf=pass\r\n"
                               "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n"
                               "junk\n"
                               "Authentication-Results: mx.example.org;\n dkim=pass\n"
                               "Subject: x\r\n Authentication-Results: mx.example.org; folded\r\n"
                               "Authentication-Results: mx.example.org; dmarc=pass\r\n"
                               "\r\n"
                               "Authentication-Results: mx.example.org; in the body\r\n");
    struct auth_range range;
    size_t from = 0;
    size_t kept = 0;

    while (auth_results_next(block, OURS, &from, &range)) {
        buf_add(&out, slice_sub(block, kept, range.at - kept));
        kept = range.at + range.len;
        cr_expect_eq(from, kept);
    }
    buf_add(&out, slice_from(block, kept));
    cr_expect(slice_equal(buf_slice(&out),
                          SLICE("Authentication-Results: other.example; spf=pass\r\n"
                                "X-Authentication-Results: mx.example.org; spf=pass\r\n"
                                "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n"
                                "junk\n"
                                "Subject: x\r\n Authentication-Results: mx.example.org; folded\r\n"
                                "\r\n"
                                "Authentication-Results: mx.example.org; in the body\r\n")),
              "%.*s", SLICE_FMT(buf_slice(&out)));
}
