/* test_smtp_envelope.c - paths and parameters of MAIL and RCPT.
 *
 * Not covered here: when a command may come at all (test_smtp_server.c), what an address means
 * (mail/test_addr.c).
 */
#include "net/smtp_envelope.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct smtp_offers everything = {
    .starttls = true,
    .auth = true,
    .pipelining = true,
    .eight_bit_mime = true,
    .smtputf8 = true,
    .chunking = true,
    .enhanced_status = true,
    .dsn = true,
    .requiretls = true,
};
static const struct smtp_offers nothing = {.starttls = false};

#define LABEL_63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"

Test(smtp_envelope, takes_the_paths_that_the_grammar_has)
{
    static const struct {
        struct slice args;
        struct slice local;
        struct slice domain;
    } rows[] = {
        {SLICE_INIT("FROM:<a@b>"), SLICE_INIT("a"), SLICE_INIT("b")},
        {SLICE_INIT("from:  <a@b>"), SLICE_INIT("a"), SLICE_INIT("b")},
        {SLICE_INIT("FROM:<a.b.c@d.e.f>"), SLICE_INIT("a.b.c"), SLICE_INIT("d.e.f")},
        {SLICE_INIT("FROM:<!#$%&'*+-/=?^_`{|}~@b>"), SLICE_INIT("!#$%&'*+-/=?^_`{|}~"),
         SLICE_INIT("b")},
        {SLICE_INIT("FROM:<\"a b\"@c>"), SLICE_INIT("\"a b\""), SLICE_INIT("c")},
        {SLICE_INIT("FROM:<\"a\\\"@\\\\>\"@c>"), SLICE_INIT("\"a\\\"@\\\\>\""), SLICE_INIT("c")},
        {SLICE_INIT("FROM:<\"\"@c>"), SLICE_INIT("\"\""), SLICE_INIT("c")},
        {SLICE_INIT("FROM:<@x,@y.z:a@b>"), SLICE_INIT("a"), SLICE_INIT("b")},
        {SLICE_INIT("FROM:<a@[192.0.2.1]>"), SLICE_INIT("a"), SLICE_INIT("[192.0.2.1]")},
        {SLICE_INIT("FROM:<a@[ipv6:2001:db8::1]>"), SLICE_INIT("a"),
         SLICE_INIT("[ipv6:2001:db8::1]")},
        {SLICE_INIT("FROM:<a@x_y.test>"), SLICE_INIT("a"), SLICE_INIT("x_y.test")},
        {SLICE_INIT("FROM:<a@" LABEL_63 ".test>"), SLICE_INIT("a"), SLICE_INIT(LABEL_63 ".test")},
        {SLICE_INIT("FROM:<>"), SLICE_INIT(""), SLICE_INIT("")},
        {SLICE_INIT("FROM:<\xc3\xa4@\xc3\xb6.test> SMTPUTF8"), SLICE_INIT("\xc3\xa4"),
         SLICE_INIT("\xc3\xb6.test")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_mail mail;
        const struct smtp_refusal *refusal = smtp_mail_read(rows[i].args, &everything, 9, &mail);
        cr_assert_null(refusal, "row %zu: %s", i, refusal ? refusal->text : "");
        cr_expect(slice_equal(mail.from.local, rows[i].local), "row %zu", i);
        cr_expect(slice_equal(mail.from.domain, rows[i].domain), "row %zu", i);
        cr_expect_eq(mail.from.is_literal, slice_starts(rows[i].domain, SLICE("[")));
        size_t at = rows[i].local.len > 0 ? 1 : 0;
        cr_expect_eq(mail.from.text.len, rows[i].local.len + at + rows[i].domain.len, "row %zu", i);
    }
}

Test(smtp_envelope, refuses_other_paths)
{
    static const struct slice rows[] = {
        SLICE_INIT(""),
        SLICE_INIT("FROM"),
        SLICE_INIT("FROM:"),
        SLICE_INIT("FROM <a@b>"),
        SLICE_INIT("TO:<a@b>"),
        SLICE_INIT("FROM:a@b"),
        SLICE_INIT("FROM:<a@b"),
        SLICE_INIT("FROM:<a@b>>"),
        SLICE_INIT("FROM:<<a@b>>"),
        SLICE_INIT("FROM:<a@b>SIZE=1"),
        SLICE_INIT("FROM:< a@b>"),
        SLICE_INIT("FROM:<a@b >"),
        SLICE_INIT("FROM:<a b@c>"),
        SLICE_INIT("FROM:<a>"),
        SLICE_INIT("FROM:<postmaster>"),
        SLICE_INIT("FROM:<@b>"),
        SLICE_INIT("FROM:<a@>"),
        SLICE_INIT("FROM:<.a@b>"),
        SLICE_INIT("FROM:<a.@b>"),
        SLICE_INIT("FROM:<a..b@c>"),
        SLICE_INIT("FROM:<a@b@c>"),
        SLICE_INIT("FROM:<a@.b>"),
        SLICE_INIT("FROM:<a@b.>"),
        SLICE_INIT("FROM:<a@b..c>"),
        SLICE_INIT("FROM:<a@-b>"),
        SLICE_INIT("FROM:<a@b->"),
        SLICE_INIT("FROM:<a@b/c>"),
        SLICE_INIT("FROM:<a@" LABEL_63 "4.test>"),
        SLICE_INIT("FROM:<\"a@b>"),
        SLICE_INIT("FROM:<\"a\"b@c>"),
        SLICE_INIT("FROM:<a\"b\"@c>"),
        SLICE_INIT("FROM:<\"a\\"),
        SLICE_INIT("FROM:<\"a\x01\"@c>"),
        SLICE_INIT("FROM:<\"a\x7f\"@c>"),
        SLICE_INIT("FROM:<a@[192.0.2.1>"),
        SLICE_INIT("FROM:<a@[192.0.2.256]>"),
        SLICE_INIT("FROM:<a@[2001:db8::1]>"),
        SLICE_INIT("FROM:<a@[IPv6:192.0.2.1]>"),
        SLICE_INIT("FROM:<a@[]>"),
        SLICE_INIT("FROM:<@x:>"),
        SLICE_INIT("FROM:<@x a@b>"),
        SLICE_INIT("FROM:<@x,y:a@b>"),
        SLICE_INIT("FROM:<\xff@b> SMTPUTF8"),
        SLICE_INIT("FROM:<a\0@b>"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_mail mail;
        const struct smtp_refusal *refusal = smtp_mail_read(rows[i], &everything, 9, &mail);
        cr_expect(refusal != NULL && refusal->code == 501, "row %zu: %.*s", i, SLICE_FMT(rows[i]));
    }
}

Test(smtp_envelope, holds_the_ceilings_of_a_path)
{
    static const size_t locals[] = {SMTP_LOCAL_PART_MAX, SMTP_LOCAL_PART_MAX + 1};
    for (size_t i = 0; i < ARRAY_LEN(locals); i++) {
        struct smtp_mail mail;
        struct buf args;
        buf_init(&args, KIB);
        buf_add_str(&args, "FROM:<");
        for (size_t n = 0; n < locals[i]; n++) {
            buf_add_byte(&args, 'a');
        }
        buf_add_str(&args, "@b>");
        cr_expect_eq(smtp_mail_read(buf_slice(&args), &everything, 9, &mail) == NULL, i == 0);
        buf_clear(&args);
        buf_add_str(&args, "FROM:<a@");
        for (size_t n = 0; n < DOMAIN_MAX + i; n++) {
            buf_add_byte(&args, n % 10 == 5 ? '.' : 'a');
        }
        buf_add_str(&args, ">");
        cr_expect_eq(smtp_mail_read(buf_slice(&args), &everything, 9, &mail) == NULL, i == 0);
        buf_fini(&args);
    }
}

Test(smtp_envelope, reads_the_parameters_of_mail)
{
    struct smtp_mail mail;
    const struct slice args =
        SLICE("FROM:<a@b> SIZE=123 body=8bitmime SMTPUTF8 RET=hdrs  ENVID=a+2Bb"
              " AUTH=<> REQUIRETLS ");
    cr_assert_null(smtp_mail_read(args, &everything, 123, &mail));
    cr_expect_eq(mail.size_bytes, 123);
    cr_expect_eq(mail.body, SMTP_BODY_8BITMIME);
    cr_expect_eq(mail.ret, SMTP_RET_HDRS);
    cr_expect(slice_equal(mail.envid, SLICE("a+2Bb")));
    cr_expect(mail.is_smtputf8);
    cr_expect(mail.is_requiretls);
    cr_assert_null(smtp_mail_read(SLICE("FROM:<> BODY=7BIT RET=FULL"), &everything, 1, &mail));
    cr_expect_eq(mail.body, SMTP_BODY_7BIT);
    cr_expect_eq(mail.ret, SMTP_RET_FULL);
    cr_expect_eq(mail.size_bytes, 0);
    cr_expect_not(mail.is_smtputf8);
}

Test(smtp_envelope, refuses_parameters_with_the_code_that_fits)
{
    static const struct {
        struct slice args;
        uint16_t code;
        uint16_t bare_code; /* when nothing is offered */
    } rows[] = {
        {SLICE_INIT("FROM:<> SIZE=10"), 0, 0},
        {SLICE_INIT("FROM:<> SIZE=11"), 552, 552},
        {SLICE_INIT("FROM:<> SIZE"), 501, 501},
        {SLICE_INIT("FROM:<> SIZE="), 501, 501},
        {SLICE_INIT("FROM:<> SIZE=-1"), 501, 501},
        {SLICE_INIT("FROM:<> SIZE=1 SIZE=1"), 501, 501},
        {SLICE_INIT("FROM:<> SIZE=99999999999999999999"), 501, 501},
        {SLICE_INIT("FROM:<> BODY=BINARYMIME"), 501, 555},
        {SLICE_INIT("FROM:<> BODY"), 501, 555},
        {SLICE_INIT("FROM:<> SMTPUTF8=1"), 501, 555},
        {SLICE_INIT("FROM:<> RET=ALL"), 501, 555},
        {SLICE_INIT("FROM:<> ENVID=a+2"), 501, 555},
        {SLICE_INIT("FROM:<> ENVID=a+2b"), 501, 555},
        {SLICE_INIT("FROM:<> ENVID=a=b"), 501, 555},
        {SLICE_INIT("FROM:<> REQUIRETLS=yes"), 501, 555},
        {SLICE_INIT("FROM:<> AUTH=<>"), 0, 555},
        {SLICE_INIT("FROM:<> NOTIFY=NEVER"), 555, 555},
        {SLICE_INIT("FROM:<> FOO"), 555, 555},
        {SLICE_INIT("FROM:<> =1"), 555, 555},
        {SLICE_INIT("FROM:<\xc3\xa4@b>"), 553, 553},
        {SLICE_INIT("FROM:<\xc3\xa4@b> SMTPUTF8"), 0, 555},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_mail mail;
        const struct smtp_refusal *refusal = smtp_mail_read(rows[i].args, &everything, 10, &mail);
        cr_expect_eq(refusal ? refusal->code : 0, rows[i].code, "row %zu", i);
        refusal = smtp_mail_read(rows[i].args, &nothing, 10, &mail);
        cr_expect_eq(refusal ? refusal->code : 0, rows[i].bare_code, "row %zu, bare", i);
    }
}

Test(smtp_envelope, reads_recipients)
{
    static const struct {
        struct slice args;
        struct slice text;
        uint16_t code;
        uint8_t notify;
        bool is_smtputf8;
    } rows[] = {
        {SLICE_INIT("TO:<a@b>"), SLICE_INIT("a@b"), 0, 0, false},
        {SLICE_INIT("to:<@r:a@b>"), SLICE_INIT("a@b"), 0, 0, false},
        {SLICE_INIT("TO:<pOstmaster>"), SLICE_INIT("pOstmaster"), 0, 0, false},
        {SLICE_INIT("TO:<a@b> NOTIFY=success,DELAY"), SLICE_INIT("a@b"), 0, 10, false},
        {SLICE_INIT("TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a+2Bc@b"), SLICE_INIT("a@b"), 0, 1, false},
        {SLICE_INIT("TO:<a@b> ORCPT=utf-8;\xc3\xa4@b"), SLICE_INIT("a@b"), 0, 0, true},
        {SLICE_INIT("TO:<a@b> ORCPT=utf-8;\xc3\xa4@b"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<a@b> ORCPT=rfc822;\xc3\xa4@b"), SLICE_INIT(""), 501, 0, true},
        {SLICE_INIT("TO:<\xc3\xa4@b>"), SLICE_INIT("\xc3\xa4@b"), 0, 0, true},
        {SLICE_INIT("TO:<\xc3\xa4@b>"), SLICE_INIT(""), 553, 0, false},
        {SLICE_INIT("TO:<>"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<root>"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("FROM:<a@b>"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<a@b> NOTIFY=NEVER,DELAY"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<a@b> NOTIFY=DELAY,"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<a@b> ORCPT=rfc822"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<a@b> ORCPT=;a"), SLICE_INIT(""), 501, 0, false},
        {SLICE_INIT("TO:<a@b> SIZE=1"), SLICE_INIT(""), 555, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_rcpt rcpt;
        const struct smtp_refusal *refusal =
            smtp_rcpt_read(rows[i].args, &everything, rows[i].is_smtputf8, &rcpt);
        cr_expect_eq(refusal ? refusal->code : 0, rows[i].code, "row %zu", i);
        if (refusal == NULL) {
            cr_expect(slice_equal(rcpt.to.text, rows[i].text), "row %zu", i);
            cr_expect_eq(rcpt.notify, rows[i].notify, "row %zu", i);
        }
    }
    struct smtp_rcpt rcpt;
    cr_assert_null(smtp_rcpt_read(SLICE("TO:<a@b> ORCPT=rfc822;x@y"), &everything, false, &rcpt));
    cr_expect(slice_equal(rcpt.orcpt_type, SLICE("rfc822")));
    cr_expect(slice_equal(rcpt.orcpt, SLICE("x@y")));
    cr_expect_eq(smtp_rcpt_read(SLICE("TO:<a@b> NOTIFY=NEVER"), &nothing, false, &rcpt)->code, 555);
}

Test(smtp_envelope, undoes_xtext)
{
    struct buf out;
    buf_init(&out, 64);
    cr_expect_eq(smtp_xtext_read(SLICE("a+2Bb+3D+20"), &out), ERR_OK);
    cr_expect(slice_equal(buf_slice(&out), SLICE("a+b= ")));
    cr_expect_eq(smtp_xtext_read(SLICE("a+"), &out), ERR_INVALID);
    cr_expect_eq(smtp_xtext_read(SLICE("+2"), &out), ERR_INVALID);
    cr_expect_eq(smtp_xtext_read(SLICE("+2g"), &out), ERR_INVALID);
    cr_expect_eq(smtp_xtext_read(SLICE("a b"), &out), ERR_INVALID);
    cr_expect_eq(smtp_xtext_read(SLICE("a=b"), &out), ERR_INVALID);
    buf_fini(&out);
}
