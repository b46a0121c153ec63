/* test_dsn.c - what replies mean.
 *
 * Not covered here: how a reply is read (net/test_smtp) and what delivery does about a verdict
 * (deliver).
 */
#include "mail/dsn.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define DELIVERED VERDICT_DELIVERED
#define DEFERRED  VERDICT_DEFERRED
#define BOUNCED   VERDICT_BOUNCED

struct row {
    enum smtp_step step;
    uint16_t code;
    const char *given;
    enum verdict_class class;
    enum verdict_scope scope;
    const char *enhanced;
};

static void expect(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        struct verdict verdict;
        verdict_from_reply(&verdict, row->step, row->code, slice_str(row->given), SLICE("why"));
        char name[64];
        (void)snprintf(name, sizeof(name), "%u %s at %s", (unsigned int)row->code, row->given,
                       smtp_step_name(row->step));
        cr_expect_eq(verdict.class, row->class, "%s: class %d", name, (int)verdict.class);
        cr_expect_eq(verdict.scope, row->scope, "%s: scope %d", name, (int)verdict.scope);
        cr_expect_str_eq(verdict.enhanced, row->enhanced, "%s: %s", name, verdict.enhanced);
        cr_expect_eq(verdict.code, row->code, "%s", name);
        cr_expect_eq(verdict.step, row->step, "%s", name);
        cr_expect_str_eq(verdict.text, "why", "%s", name);
    }
}

Test(dsn, bounces_and_defers_within_a_mail_by_the_first_digit)
{
    static const struct row rows[] = {
        {SMTP_STEP_MAIL, 250, "", DELIVERED, VERDICT_MAIL, "2.0.0"},
        {SMTP_STEP_RCPT, 251, "2.1.5", DELIVERED, VERDICT_RCPT, "2.1.5"},
        {SMTP_STEP_DATA, 354, "", DELIVERED, VERDICT_MAIL, "2.0.0"},
        {SMTP_STEP_BODY, 250, "2.6.0", DELIVERED, VERDICT_MAIL, "2.6.0"},
        {SMTP_STEP_MAIL, 451, "", DEFERRED, VERDICT_MAIL, "4.3.0"},
        {SMTP_STEP_RCPT, 450, "4.7.1", DEFERRED, VERDICT_RCPT, "4.7.1"},
        {SMTP_STEP_RCPT, 451, "4.3.2", DEFERRED, VERDICT_RCPT, "4.3.2"},
        {SMTP_STEP_DATA, 451, "", DEFERRED, VERDICT_MAIL, "4.3.0"},
        {SMTP_STEP_BODY, 451, "4.7.0", DEFERRED, VERDICT_MAIL, "4.7.0"},
        {SMTP_STEP_MAIL, 550, "5.7.1", BOUNCED, VERDICT_MAIL, "5.7.1"},
        {SMTP_STEP_RCPT, 550, "5.1.1", BOUNCED, VERDICT_RCPT, "5.1.1"},
        {SMTP_STEP_RCPT, 550, "", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 553, "", BOUNCED, VERDICT_RCPT, "5.1.3"},
        {SMTP_STEP_RCPT, 556, "", BOUNCED, VERDICT_RCPT, "5.1.10"},
        {SMTP_STEP_DATA, 554, "", BOUNCED, VERDICT_MAIL, "5.0.0"},
        {SMTP_STEP_BODY, 554, "5.7.1", BOUNCED, VERDICT_MAIL, "5.7.1"},
        {SMTP_STEP_MAIL, 530, "", BOUNCED, VERDICT_MAIL, "5.7.0"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(dsn, blames_the_host_when_it_closes_or_refuses_to_talk)
{
    static const struct row rows[] = {
        {SMTP_STEP_GREETING, 421, "", DEFERRED, VERDICT_HOST, "4.3.2"},
        {SMTP_STEP_MAIL, 421, "4.7.0", DEFERRED, VERDICT_HOST, "4.7.0"},
        {SMTP_STEP_RCPT, 421, "", DEFERRED, VERDICT_HOST, "4.3.2"},
        {SMTP_STEP_BODY, 421, "", DEFERRED, VERDICT_HOST, "4.3.2"},
        {SMTP_STEP_GREETING, 554, "5.7.1", DEFERRED, VERDICT_HOST, "5.7.1"},
        {SMTP_STEP_GREETING, 521, "", DEFERRED, VERDICT_HOST, "5.3.2"},
        {SMTP_STEP_GREETING, 450, "", DEFERRED, VERDICT_HOST, "4.2.0"},
        {SMTP_STEP_GREETING, 220, "", DELIVERED, VERDICT_HOST, "2.0.0"},
        {SMTP_STEP_EHLO, 502, "", DEFERRED, VERDICT_HOST, "5.5.1"},
        {SMTP_STEP_STARTTLS, 454, "", DEFERRED, VERDICT_HOST, "4.7.0"},
        {SMTP_STEP_STARTTLS, 501, "", DEFERRED, VERDICT_HOST, "5.5.4"},
        {SMTP_STEP_AUTH, 535, "", DEFERRED, VERDICT_HOST, "5.7.8"},
        {SMTP_STEP_RSET, 502, "", DEFERRED, VERDICT_HOST, "5.5.1"},
        {SMTP_STEP_MAIL, 452, "", DEFERRED, VERDICT_HOST, "4.3.1"},
        {SMTP_STEP_MAIL, 451, "4.3.2", DEFERRED, VERDICT_HOST, "4.3.2"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(dsn, defers_full_mailboxes_and_too_many_recipients)
{
    static const struct row rows[] = {
        {SMTP_STEP_RCPT, 452, "", DEFERRED, VERDICT_RCPT, "4.3.1"},
        {SMTP_STEP_RCPT, 452, "4.5.3", DEFERRED, VERDICT_RCPT, "4.5.3"},
        {SMTP_STEP_RCPT, 552, "", DEFERRED, VERDICT_RCPT, "5.2.2"},
        {SMTP_STEP_RCPT, 552, "5.2.2", DEFERRED, VERDICT_RCPT, "5.2.2"},
        {SMTP_STEP_RCPT, 552, "5.5.3", DEFERRED, VERDICT_RCPT, "5.5.3"},
        {SMTP_STEP_RCPT, 550, "5.5.3", DEFERRED, VERDICT_RCPT, "5.5.3"},
        {SMTP_STEP_BODY, 552, "5.2.2", DEFERRED, VERDICT_MAIL, "5.2.2"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(dsn, bounces_what_is_too_large)
{
    static const struct row rows[] = {
        {SMTP_STEP_MAIL, 552, "", BOUNCED, VERDICT_MAIL, "5.3.4"},
        {SMTP_STEP_MAIL, 552, "5.3.4", BOUNCED, VERDICT_MAIL, "5.3.4"},
        {SMTP_STEP_RCPT, 552, "5.3.4", BOUNCED, VERDICT_RCPT, "5.3.4"},
        {SMTP_STEP_RCPT, 552, "5.2.3", BOUNCED, VERDICT_RCPT, "5.2.3"},
        {SMTP_STEP_BODY, 552, "", BOUNCED, VERDICT_MAIL, "5.3.4"},
        {SMTP_STEP_BODY, 552, "5.3.4", BOUNCED, VERDICT_MAIL, "5.3.4"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(dsn, defers_replies_out_of_place)
{
    static const struct row rows[] = {
        {SMTP_STEP_DATA, 250, "", DEFERRED, VERDICT_HOST, "4.5.0"},
        {SMTP_STEP_BODY, 354, "", DEFERRED, VERDICT_MAIL, "4.5.0"},
        {SMTP_STEP_RCPT, 354, "", DEFERRED, VERDICT_RCPT, "4.5.0"},
        {SMTP_STEP_MAIL, 150, "", DEFERRED, VERDICT_MAIL, "4.5.0"},
        {SMTP_STEP_RCPT, 0, "", DEFERRED, VERDICT_RCPT, "4.5.0"},
        {SMTP_STEP_RCPT, 999, "", DEFERRED, VERDICT_RCPT, "4.5.0"},
        {SMTP_STEP_RCPT, 599, "", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 499, "", DEFERRED, VERDICT_RCPT, "4.0.0"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(dsn, believes_no_enhanced_status_that_contradicts_its_code)
{
    static const struct row rows[] = {
        {SMTP_STEP_RCPT, 550, "4.2.2", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_BODY, 552, "4.2.2", BOUNCED, VERDICT_MAIL, "5.3.4"},
        {SMTP_STEP_RCPT, 450, "5.1.1", DEFERRED, VERDICT_RCPT, "4.2.0"},
        {SMTP_STEP_RCPT, 550, "5.1", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 550, "5.1.", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 550, "5.1.1.1", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 550, "5.1234.1", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 550, "05.1.1", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 550, "five", BOUNCED, VERDICT_RCPT, "5.0.0"},
        {SMTP_STEP_RCPT, 550, "5.999.999", BOUNCED, VERDICT_RCPT, "5.999.999"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(dsn, has_a_verdict_for_every_code_at_every_step)
{
    static const char *const details[] = {"", ".3.2", ".2.2", ".5.3", ".3.4"};
    for (uint32_t step = 0; step < SMTP_STEP_COUNT; step++) {
        for (uint32_t code = 0; code <= UINT16_MAX; code += code < 1000 ? 1 : 997) {
            for (size_t i = 0; i < ARRAY_LEN(details); i++) {
                char enhanced[16];
                (void)snprintf(enhanced, sizeof(enhanced), "%u%s", (code / 100) % 10, details[i]);
                struct verdict verdict;
                verdict_from_reply(&verdict, (enum smtp_step)step, (uint16_t)code,
                                   slice_str(enhanced), SLICE(""));
                bool is_right = verdict.class != VERDICT_DELIVERED || code / 100 == 2 ||
                                code == 354 || code == 334;
                cr_expect(is_right, "%u", code);
                is_right = verdict.class != VERDICT_BOUNCED || code / 100 == 5;
                cr_expect(is_right, "%u", code);
            }
        }
    }
}

Test(dsn, shows_only_printable_utf8)
{
    static const struct {
        struct slice text;
        const char *shown;
    } rows[] = {
        {SLICE_INIT(""), ""},
        {SLICE_INIT("two\nlines"), "two\nlines"},
        {SLICE_INIT(" \r\ntrimmed \n"), "trimmed"},
        {SLICE_INIT("a\rb\tc"), "a b c"},
        {SLICE_INIT("a\0b\x1b[31m\x7f"), "a?b?[31m?"},
        {SLICE_INIT("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {SLICE_INIT("latin \xfc."), "latin ?."},
        {SLICE_INIT("cut \xe2\x82"), "cut ??"},
        {SLICE_INIT("overlong \xc0\xaf"), "overlong ??"},
        {SLICE_INIT("surrogate \xed\xa0\x80"), "surrogate ???"},
        {SLICE_INIT("lone \x80\xbf"), "lone ??"},
        {SLICE_INIT("too far \xf4\x90\x80\x80"), "too far ????"},
        {SLICE_INIT("c1 \xc2\x9b"
                    "31m \xc2\xa0."),
         "c1 ??31m \xc2\xa0."},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verdict verdict;
        verdict_from_reply(&verdict, SMTP_STEP_RCPT, 550, SLICE(""), rows[i].text);
        cr_expect_str_eq(verdict.text, rows[i].shown, "row %zu: %s", i, verdict.text);
    }
}

Test(dsn, cuts_long_texts_between_characters)
{
    char text[2 * VERDICT_TEXT_MAX];
    for (size_t i = 0; i < sizeof(text); i += 2) {
        memcpy(text + i, "\xc3\xbc", 2);
    }
    struct verdict verdict;
    verdict_from_reply(&verdict, SMTP_STEP_RCPT, 550, SLICE(""), slice_of(text, sizeof(text)));
    cr_expect_eq(strlen(verdict.text), VERDICT_TEXT_MAX - 2);
    cr_expect(slice_is_utf8(slice_str(verdict.text)));
    memset(text, 'a', sizeof(text));
    verdict_from_reply(&verdict, SMTP_STEP_RCPT, 550, SLICE(""), slice_of(text, sizeof(text)));
    cr_expect_eq(strlen(verdict.text), VERDICT_TEXT_MAX - 1);
}

Test(dsn, keeps_our_own_words)
{
    static const struct {
        enum smtp_step step;
        enum verdict_class class;
        enum verdict_scope scope;
    } rows[] = {
        {SMTP_STEP_CONNECT, DEFERRED, VERDICT_HOST}, {SMTP_STEP_BODY, DEFERRED, VERDICT_HOST},
        {SMTP_STEP_RESOLVE, DEFERRED, VERDICT_HOST}, {SMTP_STEP_RESOLVE, BOUNCED, VERDICT_RCPT},
        {SMTP_STEP_MAIL, BOUNCED, VERDICT_MAIL},     {SMTP_STEP_TLS, BOUNCED, VERDICT_MAIL},
        {SMTP_STEP_RCPT, BOUNCED, VERDICT_RCPT},     {SMTP_STEP_BODY, DELIVERED, VERDICT_MAIL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verdict verdict;
        verdict_own(&verdict, rows[i].step, rows[i].class, "4.4.1", "connection refused");
        cr_expect_eq(verdict.class, rows[i].class);
        cr_expect_eq(verdict.scope, rows[i].scope, "row %zu", i);
        cr_expect_eq(verdict.step, rows[i].step);
        cr_expect_eq(verdict.code, 0);
        cr_expect_str_eq(verdict.enhanced, "4.4.1");
        cr_expect_str_eq(verdict.text, "connection refused");
    }
}

Test(dsn, names_its_steps)
{
    cr_expect_str_eq(smtp_step_name(SMTP_STEP_RESOLVE), "resolve");
    cr_expect_str_eq(smtp_step_name(SMTP_STEP_RCPT), "rcpt");
    cr_expect_str_eq(smtp_step_name(SMTP_STEP_QUIT), "quit");
}
