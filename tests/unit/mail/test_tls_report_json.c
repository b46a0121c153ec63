/* test_tls_report_json.c - reports on TLS as JSON and as mail, and where they are wanted.
 *
 * Not covered here: what is counted, and sending (unit/deliver/test_tls_report.c,
 * flow/test_sts.c).
 */
#include "mail/tls_report_json.h"

#include <criterion/criterion.h>
#include <string.h>

static struct arena arena;
static struct buf out;

static void setup(void)
{
    arena_init(&arena, 4096, 1 << 20);
    buf_init(&out, 1 << 20);
}

static void teardown(void)
{
    buf_fini(&out);
    arena_fini(&arena);
}

TestSuite(tls_report_json, .init = setup, .fini = teardown);

/* After RFC 8460 B. */
static const struct tls_report_detail details[] = {
    {SLICE_INIT("certificate-expired"), SLICE_INIT("2001:db8:abcd:12::1"),
     SLICE_INIT("mx1.mail.company-y.example"), SLICE_INIT("203.0.113.3"), 100},
    {SLICE_INIT("starttls-not-supported"), SLICE_INIT(""), SLICE_INIT("mx2.mail.company-y.example"),
     SLICE_INIT("203.0.113.56"), 200},
};
static const struct tls_report_part parts[] = {
    {SLICE_INIT("sts"),
     SLICE_INIT("version: STSv1\nmode: testing\nmx: *.mail.company-y.example\nmax_age: 86400\n"),
     5326, 300, details, ARRAY_LEN(details)},
    {SLICE_INIT("no-policy-found"), SLICE_INIT(""), 1, 0, NULL, 0},
};
static const struct tls_report_doc doc = {
    .organization = SLICE_INIT("Company-X"),
    .contact = SLICE_INIT("sts-reporting@company-x.example"),
    .id = SLICE_INIT("20160401.company-y.example@mail.company-x.example"),
    .domain = SLICE_INIT("company-y.example"),
    .start_unix_ms = UINT64_C(1459468800000),
    .end_unix_ms = UINT64_C(1459555199000),
    .parts = parts,
    .part_count = ARRAY_LEN(parts),
};

Test(tls_report_json, a_report_has_the_shape_of_the_rfcs_example)
{
    static const char wanted[] =
        "{\"organization-name\":\"Company-X\","
        "\"date-range\":{\"start-datetime\":\"2016-04-01T00:00:00Z\","
        "\"end-datetime\":\"2016-04-01T23:59:59Z\"},"
        "\"contact-info\":\"sts-reporting@company-x.example\","
        "\"report-id\":\"20160401.company-y.example@mail.company-x.example\","
        "\"policies\":[{\"policy\":{\"policy-type\":\"sts\",\"policy-string\":["
        "\"version: STSv1\",\"mode: testing\",\"mx: *.mail.company-y.example\","
        "\"max_age: 86400\"],\"policy-domain\":\"company-y.example\","
        "\"mx-host\":[\"*.mail.company-y.example\"]},"
        "\"summary\":{\"total-successful-session-count\":5326,"
        "\"total-failure-session-count\":300},"
        "\"failure-details\":[{\"result-type\":\"certificate-expired\","
        "\"sending-mta-ip\":\"2001:db8:abcd:12::1\","
        "\"receiving-mx-hostname\":\"mx1.mail.company-y.example\","
        "\"receiving-ip\":\"203.0.113.3\",\"failed-session-count\":100},"
        "{\"result-type\":\"starttls-not-supported\","
        "\"receiving-mx-hostname\":\"mx2.mail.company-y.example\","
        "\"receiving-ip\":\"203.0.113.56\",\"failed-session-count\":200}]},"
        "{\"policy\":{\"policy-type\":\"no-policy-found\","
        "\"policy-domain\":\"company-y.example\"},"
        "\"summary\":{\"total-successful-session-count\":1,"
        "\"total-failure-session-count\":0}}]}";
    tls_report_write_json(&doc, &out);
    cr_assert(slice_equal(buf_slice(&out), slice_str(wanted)), "%.*s", SLICE_FMT(buf_slice(&out)));
}

Test(tls_report_json, a_mail_carries_the_report_as_the_rfc_says)
{
    char packed[100];
    memset(packed, 'x', sizeof packed);
    struct tls_report_mail mail = {
        .doc = &doc,
        .from = SLICE("tls@company-x.example"),
        .to = SLICE("reports@company-y.example"),
        .submitter = SLICE("mail.company-x.example"),
        .packed = slice_of(packed, sizeof packed),
        .date_unix_ms = UINT64_C(1459555200000),
    };
    static const char *const wanted[] = {
        "From: <tls@company-x.example>\r\nTo: <reports@company-y.example>\r\n",
        "Subject: Report Domain: company-y.example\r\n Submitter: mail.company-x.example\r\n"
        " Report-ID: <20160401.company-y.example@mail.company-x.example>\r\n",
        "\r\nTLS-Report-Domain: company-y.example\r\n"
        "TLS-Report-Submitter: mail.company-x.example\r\n",
        "\r\nTLS-Required: No\r\n",
        "multipart/report; report-type=\"tlsrpt\";",
        "\r\nContent-Type: application/tlsrpt+gzip\r\n",
        "filename=\"mail.company-x.example!company-y.example!1459468800!1459555199.json.gz\"\r\n",
        "\r\n\r\neHh4",
    };
    tls_report_write_mail(&mail, &out);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_expect_neq(slice_find(buf_slice(&out), slice_str(wanted[i])), SIZE_MAX, "%s in %.*s",
                      wanted[i], SLICE_FMT(buf_slice(&out)));
    }
    struct slice rest = buf_slice(&out);
    while (rest.data != NULL) {
        cr_assert_leq(slice_cut(&rest, '\n').len, 300);
    }
}

static uint32_t targets_of(const char *text, struct tls_report_target *targets)
{
    struct slice texts[] = {SLICE("v=spf1 -all"), slice_str(text)};
    struct text_records records = {.texts = texts, .count = 2};
    return tls_report_targets(&records, &arena, targets);
}

Test(tls_report_json, a_record_says_where_reports_are_wanted)
{
    struct tls_report_target targets[TLS_REPORT_TARGETS];
    cr_assert_eq(targets_of("v=TLSRPTv1; rua=mailto:a%2Bb@c.test?subject=x,"
                            " https://r.test/v1?x=1 ,ftp://x,mailto:none,mailto:%zz@c.test",
                            targets),
                 2);
    cr_assert_eq(targets[0].way, TLS_REPORT_MAILTO);
    cr_assert(slice_equal(targets[0].address, SLICE("a+b@c.test")));
    cr_assert_eq(targets[1].way, TLS_REPORT_HTTPS);
    cr_assert(slice_equal(targets[1].address, SLICE("https://r.test/v1?x=1")));
    cr_assert_eq(targets_of("v=TLSRPTv1;rua=mailto:a@b.test,mailto:a@b.test,mailto:a@b.test,"
                            "mailto:a@b.test,mailto:a@b.test",
                            targets),
                 TLS_REPORT_TARGETS);
    cr_assert_eq(targets_of("v=TLSRPTv1; rua=http://plain.test/", targets), 0);
    cr_assert_eq(targets_of("v=TLSRPTv1; rua=mailto:a%0d%0aX@b.test", targets), 0);
    cr_assert_eq(targets_of("v=TLSRPTv1", targets), 0);
    cr_assert_eq(targets_of("v=TLSRPTv2; rua=mailto:a@b.test", targets), 0);
}
