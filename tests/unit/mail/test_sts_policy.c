/* test_sts_policy.c - records, policies and hosts of MTA-STS.
 *
 * Not covered here: fetching and remembering (unit/deliver/test_sts.c), arbitrary bytes
 * (fuzz_sts_policy.c).
 */
#include "mail/sts_policy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct slice id_of(const char *const *texts)
{
    struct slice slices[8];
    struct text_records records = {.texts = slices};
    struct slice id = SLICE("");
    while (texts[records.count] != NULL) {
        slices[records.count] = slice_str(texts[records.count]);
        records.count += 1;
    }
    cr_assert_leq(records.count, 8);
    return sts_record_id(&records, &id) ? id : SLICE("");
}

Test(sts_policy, exactly_one_record_names_the_id)
{
    static const struct {
        const char *texts[4];
        const char *id; /* empty: no policy */
    } cases[] = {
        {{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
        {{"v=STSv1;id=1"}, "1"},
        {{"v=STSv1 ; id=1 ; "}, "1"},
        {{"v=STSv1; x=y; id=1; z=;"}, "1"},
        {{"v=STSv1; id=1; id=2"}, "1"},
        {{"v=STSv1; id=12345678901234567890123456789012"}, "12345678901234567890123456789012"},
        {{"v=STSv1; id=123456789012345678901234567890123"}, ""},
        {{"v=STSv1; id=1-2"}, ""},
        {{"v=STSv1; id="}, ""},
        {{"v=STSv1"}, ""},
        {{"v=STSv1; ID=1"}, ""},
        {{"v=STSv10; id=1"}, ""},
        {{"v=stsv1; id=1"}, ""},
        {{" v=STSv1; id=1"}, ""},
        {{"id=1; v=STSv1"}, ""},
        {{""}, ""},
        {{NULL}, ""},
        {{"v=spf1 -all", "v=STSv1; id=1"}, "1"},
        {{"v=STSv1; id=1", "v=STSv1; id=1"}, ""},
        {{"v=STSv1; id=1", "v=STSv1"}, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice id = id_of(cases[i].texts);
        cr_expect(slice_equal(id, slice_str(cases[i].id)), "case %zu: %.*s", i, SLICE_FMT(id));
    }
}

Test(sts_policy, a_policy_has_version_mode_age_and_hosts)
{
    static const struct {
        const char *text;
        enum err err;
        enum sts_mode mode;
        uint64_t max_age_s;
        uint32_t mx_count;
    } cases[] = {
        {"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
         "max_age: 604800\r\n",
         ERR_OK, STS_MODE_ENFORCE, 604800, 2},
        {"version: STSv1\nmode: testing\nmx: a.test\nmax_age: 0", ERR_OK, STS_MODE_TESTING, 0, 1},
        {"max_age:1\nmx:a.test\nmode:enforce\nversion:STSv1\n\n", ERR_OK, STS_MODE_ENFORCE, 1, 1},
        {"version: STSv1\nmode: none\nmax_age: 86400\n", ERR_OK, STS_MODE_NONE, 86400, 0},
        {"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 9999999999\nnew: x\n", ERR_OK,
         STS_MODE_ENFORCE, STS_MAX_AGE_S, 1},
        {"version: STSv1\nversion: STSv2\nmode: testing\nmode: enforce\nmx: a.test\nmax_age: 1\n"
         "max_age: 2\n",
         ERR_OK, STS_MODE_TESTING, 1, 1},
        {"mode: enforce\nmx: a.test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmx: a.test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.test\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 99999999999\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.*.test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: *a.test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: *.\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a..test\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", ERR_INVALID, 0, 0, 0},
        {"<html>not here</html>", ERR_INVALID, 0, 0, 0},
        {"", ERR_INVALID, 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sts_policy policy = {0};
        cr_expect_eq(sts_policy_read(slice_str(cases[i].text), &policy), cases[i].err, "case %zu",
                     i);
        cr_expect_eq(policy.mode, cases[i].mode, "case %zu", i);
        cr_expect_eq(policy.max_age_s, cases[i].max_age_s, "case %zu", i);
        cr_expect_eq(policy.mx_count, cases[i].mx_count, "case %zu", i);
    }
}

Test(sts_policy, a_hundred_hosts_are_the_most)
{
    struct buf text;
    struct sts_policy policy;
    buf_init(&text, STS_POLICY_BYTES + 100);
    buf_add_str(&text, "version: STSv1\nmode: enforce\nmax_age: 1\n");
    for (int i = 0; i < STS_MX_MAX; i++) {
        buf_add_format(&text, "mx: m%d.test\n", i);
    }
    cr_assert_eq(sts_policy_read(buf_slice(&text), &policy), ERR_OK);
    cr_assert_eq(policy.mx_count, STS_MX_MAX);
    buf_add_str(&text, "mx: more.test\n");
    cr_assert_eq(sts_policy_read(buf_slice(&text), &policy), ERR_TOO_LARGE);
    buf_clear(&text);
    buf_add_str(&text, "version: STSv1\nmode: none\nmax_age: 1\n");
    while (text.len <= STS_POLICY_BYTES) {
        buf_add_str(&text, "x: y\n");
    }
    cr_assert_eq(sts_policy_read(buf_slice(&text), &policy), ERR_TOO_LARGE);
    buf_fini(&text);
}

Test(sts_policy, an_asterisk_stands_for_one_label)
{
    static const struct {
        const char *pattern;
        const char *host;
        bool is_covered;
    } cases[] = {
        {"mail.example.com", "mail.example.com", true},
        {"mail.example.com", "MAIL.Example.COM", true},
        {"mail.example.com", "mail.example.com.", true},
        {"mail.example.com", "xmail.example.com", false},
        {"mail.example.com", "a.mail.example.com", false},
        {"*.example.com", "mx1.example.com", true},
        {"*.Example.com", "mx1.eXample.com", true},
        {"*.example.com", "example.com", false},
        {"*.example.com", "a.b.example.com", false},
        {"*.example.com", ".example.com", false},
        {"*.example.com", "mx1.example.com.evil.test", false},
        {"*.com", "example.com", true},
        {"example.com", "", false},
        {"*.example.com", "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sts_policy policy = {.mx = {slice_str(cases[i].pattern)}, .mx_count = 1};
        cr_expect_eq(sts_policy_has(&policy, slice_str(cases[i].host)), cases[i].is_covered,
                     "case %zu", i);
    }
}

Test(sts_policy, what_is_written_reads_as_the_same)
{
    struct sts_policy policy;
    struct sts_policy again;
    struct buf text;
    buf_init(&text, STS_POLICY_BYTES);
    cr_assert_eq(sts_policy_read(SLICE("max_age: 12\r\nx: y\r\nversion: STSv1\r\nmode: testing\r\n"
                                       "mx: *.b.test\r\nmx: a.test\r\n"),
                                 &policy),
                 ERR_OK);
    sts_policy_write(&policy, &text);
    cr_assert_eq(sts_policy_read(buf_slice(&text), &again), ERR_OK);
    cr_assert_eq(again.mode, STS_MODE_TESTING);
    cr_assert_str_eq(sts_mode_name(again.mode), "testing");
    cr_assert_eq(again.max_age_s, 12);
    cr_assert_eq(again.mx_count, 2);
    cr_assert(slice_equal(again.mx[0], SLICE("*.b.test")));
    buf_fini(&text);
}
