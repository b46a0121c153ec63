/* test_spf.c - records, mechanisms, includes and ceilings of SPF.
 *
 * Not covered here: macros and explanations (test_spf_macro.c), arbitrary bytes (fuzz_spf.c).
 */
#include "spf_rig.h"

#define A    LOOKUP_A
#define AAAA LOOKUP_AAAA
#define MX   LOOKUP_MX
#define TXT  LOOKUP_TXT
#define PTR  LOOKUP_PTR

#define V4 "192.0.2.10"
#define V6 "2001:db8::10"

#define L10 "0123456789"
#define L63 L10 L10 L10 L10 L10 L10 "abc"

static const char REVERSE6[] =
    "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";

/* One record, judged for one client. */
static struct spf_verdict judge_record(const char *record, const char *client)
{
    const struct zone_row zone[] = {
        {"r.example.com", TXT, record}, {"r.example.com", A, V4}, {"mail.example.com", A, V4},
        {"mail.example.com", AAAA, V6}, {NULL, A, NULL},
    };
    struct spf_case row = {.name = record, .client = client, .from = "u@r.example.com"};
    struct spf_rig rig;
    struct spf_input input = rig_input(&row);
    rig_judge(&rig, zone, &input);
    struct spf_verdict verdict = rig.verdict;
    verdict.mechanism = SLICE("");
    verdict.domain = verdict.explanation = SLICE("");
    rig_end(&rig);
    return verdict;
}

Test(spf, finds_the_identity_that_is_judged)
{
    static const struct zone_row zone[] = {
        {"example.com", TXT, "v=spf1 -all"},
        {"mail.example.com", TXT, "v=spf1 +all"},
        {L63 ".example.com", TXT, "v=spf1 ~all"},
        {"xn--mnchen-3ya.example", TXT, "v=spf1 ?all"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"the sender's domain", V4, "u@example.com", SPF_FAIL, NULL, NULL},
        {"without case", V4, "u@EXAMPLE.Com", SPF_FAIL, NULL, NULL},
        {"with a final dot", V4, "u@example.com.", SPF_FAIL, NULL, NULL},
        {"the last at sign", V4, "\"a@b\"@example.com", SPF_FAIL, NULL, NULL},
        {"no local part", V4, "@example.com", SPF_FAIL, NULL, NULL},
        {"no at sign", V4, "example.com", SPF_FAIL, NULL, NULL},
        {"the null sender", V4, "", SPF_PASS, NULL, NULL},
        {"a label of 63", V4, "u@" L63 ".example.com", SPF_SOFTFAIL, NULL, NULL},
        {"a label of 64", V4, "u@x" L63 ".example.com", SPF_NONE, NULL, NULL},
        {"an empty label", V4, "u@a..example.com", SPF_NONE, NULL, NULL},
        {"one label", V4, "u@localhost", SPF_NONE, NULL, NULL},
        {"an address literal", V4, "u@[192.0.2.10]", SPF_NONE, NULL, NULL},
        {"nothing behind the at sign", V4, "u@", SPF_NONE, NULL, NULL},
        {"a HELO of one label", V4, "", SPF_NONE, NULL, "OEMCOMPUTER"},
        {"a HELO literal", V4, "", SPF_NONE, NULL, "[192.0.2.10]"},
        {"no HELO", V4, "", SPF_NONE, NULL, ""},
        {"U-labels", V4, "u@m\xc3\xbcnchen.example", SPF_NEUTRAL, NULL, NULL},
        {"U-labels in capitals", V4, "u@M\xc3\x9cNCHEN.example", SPF_NEUTRAL, NULL, NULL},
        {"damaged UTF-8", V4, "u@m\xfcnchen.example", SPF_NONE, NULL, NULL},
        {"a backslash", V4, "u@a\\b.example", SPF_NONE, NULL, NULL},
        {"a line end", V4, "u@example.com\r\n.example.com", SPF_NONE, NULL, NULL},
        {"an unknown domain", V4, "u@nobody.example", SPF_NONE, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, refuses_a_sender_beyond_the_ceiling)
{
    char from[2000];
    static const struct zone_row zone[] = {{NULL, A, NULL}};

    memset(from, 'a', sizeof(from));
    memcpy(from + sizeof(from) - 13, "@example.com", 13);
    struct spf_case row = {"long", V4, from, SPF_NONE, NULL, from};
    expect_spf(zone, &row, 1);
}

Test(spf, selects_the_one_record_among_texts)
{
    static const struct zone_row zone[] = {
        {"none.example.com", TXT, "v=spf10 +all"},
        {"none.example.com", TXT, "v=spf1+all"},
        {"none.example.com", TXT, " v=spf1 +all"},
        {"none.example.com", TXT, "\x96 anything"},
        {"empty.example.com", TXT, "v=spf1"},
        {"one.example.com", TXT, "v=spf10"},
        {"one.example.com", TXT, "V=SpF1 -all"},
        {"two.example.com", TXT, "v=spf1 -all"},
        {"two.example.com", TXT, "v=spf1 -all"},
        {"down.example.com", TXT, "!"},
        {"a.example.com", A, V4},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"none", V4, "u@none.example.com", SPF_NONE, NULL, NULL},
        {"empty", V4, "u@empty.example.com", SPF_NEUTRAL, NULL, NULL},
        {"one", V4, "u@one.example.com", SPF_FAIL, NULL, NULL},
        {"two", V4, "u@two.example.com", SPF_PERMERROR, NULL, NULL},
        {"down", V4, "u@down.example.com", SPF_TEMPERROR, NULL, NULL},
        {"no text", V4, "u@a.example.com", SPF_NONE, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, reads_records_by_the_grammar)
{
    static const struct {
        const char *record;
        enum spf_result v4;
    } rows[] = {
        {"v=spf1   ip4:192.0.2.10   -all  ", SPF_PASS},
        {"v=spf1 IP4:192.0.2.10 -ALL", SPF_PASS},
        {"v=spf1 -ip4:192.0.2.10 +all", SPF_FAIL},
        {"v=spf1 ~ip4:192.0.2.10 +all", SPF_SOFTFAIL},
        {"v=spf1 ?ip4:192.0.2.10 +all", SPF_NEUTRAL},
        {"v=spf1 ip4:198.51.100.1", SPF_NEUTRAL},
        {"v=spf1 all -all", SPF_PASS},
        /* an error anywhere, even behind what decides */
        {"v=spf1 +all moo", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2.10 -all ip6", SPF_PERMERROR},
        {"v=spf1 -all.", SPF_PERMERROR},
        {"v=spf1 -all:x", SPF_PERMERROR},
        {"v=spf1 -all/8", SPF_PERMERROR},
        {"v=spf1 --all", SPF_PERMERROR},
        {"v=spf1 -", SPF_PERMERROR},
        {"v=spf1 a\tmx", SPF_PERMERROR},
        {"v=spf1 a:r.example.com\rmx -all", SPF_PERMERROR},
        {"v=spf1 a:\xef\xbb\xbfr.example.com -all", SPF_PERMERROR},
        {"v=spf1 \x80"
         "a -all",
         SPF_PERMERROR},
        /* modifiers */
        {"v=spf1 moo.cow-far_out=man:dog/cat -all", SPF_FAIL},
        {"v=spf1 m= -all", SPF_FAIL},
        {"v=spf1 m=%{c}%{r}%{t} -all", SPF_FAIL},
        {"v=spf1 moo.cow/far_out=man -all", SPF_PERMERROR},
        {"v=spf1 moo:far_out=man -all", SPF_PERMERROR},
        {"v=spf1 =all", SPF_PERMERROR},
        {"v=spf1 1up=foo", SPF_PERMERROR},
        {"v=spf1 -all foo=%abc", SPF_PERMERROR},
        {"v=spf1 -all foo=%", SPF_PERMERROR},
        {"v=spf1 default=pass", SPF_NEUTRAL},
        {"v=spf1 redirect:r.example.com", SPF_PERMERROR},
        {"v=spf1 ?all redirect=", SPF_PERMERROR},
        {"v=spf1 ?all exp=", SPF_PERMERROR},
        {"v=spf1 ?all exp=-all", SPF_PERMERROR},
        {"v=spf1 redirect=-all ?all", SPF_PERMERROR},
        {"v=spf1 -all redirect=a.example redirect=a.example", SPF_PERMERROR},
        {"v=spf1 -all exp=a.example EXP=a.example", SPF_PERMERROR},
        {"v=spf1 -all exp=%{r}.example", SPF_PERMERROR},
        {"v=spf1 redirect=nobody.example ~all", SPF_SOFTFAIL},
        /* networks */
        {"v=spf1 ip4:192.0.2.0/28 -all", SPF_PASS},
        {"v=spf1 ip4:192.0.2.0/29 -all", SPF_FAIL},
        {"v=spf1 ip4:10.0.0.1/0 -all", SPF_PASS},
        {"v=spf1 ip4:192.0.2.10/32 -all", SPF_PASS},
        {"v=spf1 ip4:192.0.2.10/33 -all", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2.10/032 -all", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2.10/ -all", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2.10//32 -all", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2.10:25 -all", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2 -all", SPF_PERMERROR},
        {"v=spf1 ip4:192.0.2.010 -all", SPF_PERMERROR},
        {"v=spf1 ip4: -all", SPF_PERMERROR},
        {"v=spf1 ip4 -all", SPF_PERMERROR},
        {"v=spf1 ip4:2001:db8::10 -all", SPF_PERMERROR},
        {"v=spf1 ip6:192.0.2.10 -all", SPF_PERMERROR},
        {"v=spf1 ip6:::1.1.1.1/0 -all", SPF_FAIL},
        {"v=spf1 ip6:::ffff:192.0.2.10 -all", SPF_FAIL},
        {"v=spf1 ip6:::ffff:192.0.2.10/96 -all", SPF_FAIL},
        {"v=spf1 ip6:2001:db8::/129 -all", SPF_PERMERROR},
        {"v=spf1 ip6:2001:db8:://32 -all", SPF_PERMERROR},
        {"v=spf1 ip6::CAFE::BABE", SPF_PERMERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spf_verdict verdict = judge_record(rows[i].record, V4);
        cr_expect_eq(verdict.result, rows[i].v4, "%s: %s", rows[i].record,
                     spf_result_text(verdict.result));
    }
}

Test(spf, reads_targets_and_lengths_by_the_grammar)
{
    static const struct {
        const char *record;
        enum spf_result v4;
        enum spf_result v6;
    } rows[] = {
        {"v=spf1 a -all", SPF_PASS, SPF_FAIL},
        {"v=spf1 a:mail.example.com -all", SPF_PASS, SPF_PASS},
        {"v=spf1 a:mail.example.com. -all", SPF_PASS, SPF_PASS},
        {"v=spf1 a/24 -all", SPF_PASS, SPF_FAIL},
        {"v=spf1 a:mail.example.com/0//0 -all", SPF_PASS, SPF_PASS},
        {"v=spf1 a:nobody.example/0//0 -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 a//33 -all", SPF_PASS, SPF_FAIL},
        {"v=spf1 a/33 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a//129 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a/24/64 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a/024 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a/ -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a///64 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a: -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:/24 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:museum -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:museum. -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:111.222.33.44 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:abc.123 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:abc.1-3 -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 a:abc.-com -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:abc.com- -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:abc.xn--zckzah -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 a:example.com:8080 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 a:foo:bar/baz.example.com -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 a:mail..example.com -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 a:x" L63 ".example.com -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 mx: -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 mx/33 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 ptr/0 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 ptr: -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 exists -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 exists: -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 exists:mail.example.com/24 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 exists:mail.example.com -all", SPF_PASS, SPF_PASS},
        {"v=spf1 include -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 include: -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 include:mail.example.com/24 -all", SPF_PERMERROR, SPF_PERMERROR},
        {"v=spf1 ip6:2001:db8::/127 -all", SPF_FAIL, SPF_FAIL},
        {"v=spf1 ip6:2001:DB8::/32 -all", SPF_FAIL, SPF_PASS},
        {"v=spf1 ip6:::/0 ip4:0.0.0.0/0 -all", SPF_PASS, SPF_PASS},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spf_verdict four = judge_record(rows[i].record, V4);
        struct spf_verdict mapped = judge_record(rows[i].record, "::ffff:" V4);
        struct spf_verdict six = judge_record(rows[i].record, V6);
        cr_expect_eq(four.result, rows[i].v4, "%s: %s", rows[i].record,
                     spf_result_text(four.result));
        cr_expect_eq(mapped.result, rows[i].v4, "%s, mapped", rows[i].record);
        cr_expect_eq(six.result, rows[i].v6, "%s over v6: %s", rows[i].record,
                     spf_result_text(six.result));
    }
}

Test(spf, asks_for_addresses_of_the_clients_family)
{
    static const struct zone_row zone[] = {
        {"many.example.com", TXT, "v=spf1 a/24 -all"},
        {"many.example.com", A, "198.51.100.1"},
        {"many.example.com", A, "192.0.2.200"},
        {"down.example.com", TXT, "v=spf1 a:err.example.com -all"},
        {"err.example.com", A, "!"},
        {"err.example.com", AAAA, "!"},
        {"six.example.com", TXT, "v=spf1 exists:only6.example.com -all"},
        {"only6.example.com", AAAA, V6},
        {"gone.example.com", TXT, "v=spf1 exists:err.example.com -all"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"any of several", V4, "u@many.example.com", SPF_PASS, NULL, NULL},
        {"no v6 there", V6, "u@many.example.com", SPF_FAIL, NULL, NULL},
        {"a fails", V4, "u@down.example.com", SPF_TEMPERROR, NULL, NULL},
        {"aaaa fails", V6, "u@down.example.com", SPF_TEMPERROR, NULL, NULL},
        {"exists asks for a", V6, "u@six.example.com", SPF_FAIL, NULL, NULL},
        {"exists fails", V6, "u@gone.example.com", SPF_TEMPERROR, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, tries_every_host_of_an_mx)
{
    static const struct zone_row zone[] = {
        {"mx.example.com", TXT, "v=spf1 mx -all"},
        {"mx.example.com", MX, "one.example.com"},
        {"mx.example.com", MX, "two.example.com"},
        {"one.example.com", A, "198.51.100.1"},
        {"two.example.com", A, V4},
        {"two.example.com", AAAA, V6},
        {"null.example.com", TXT, "v=spf1 mx -all"},
        {"null.example.com", MX, ""},
        {"null.example.com", A, V4},
        {"implicit.example.com", TXT, "v=spf1 mx ?all"},
        {"implicit.example.com", A, V4},
        {"other.example.com", TXT, "v=spf1 mx:mx.example.com/0 ~all"},
        {"down.example.com", TXT, "v=spf1 mx -all"},
        {"down.example.com", MX, "!"},
        {"half.example.com", TXT, "v=spf1 mx -all"},
        {"half.example.com", MX, "nobody.example.com"},
        {"half.example.com", MX, "err.example.com"},
        {"err.example.com", A, "!"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"the second host", V4, "u@mx.example.com", SPF_PASS, NULL, NULL},
        {"over v6", V6, "u@mx.example.com", SPF_PASS, NULL, NULL},
        {"neither", "192.0.2.11", "u@mx.example.com", SPF_FAIL, NULL, NULL},
        {"the null mx", V4, "u@null.example.com", SPF_FAIL, NULL, NULL},
        {"not the domain itself", V4, "u@implicit.example.com", SPF_NEUTRAL, NULL, NULL},
        {"with a length", "10.0.0.1", "u@other.example.com", SPF_PASS, NULL, NULL},
        {"mx fails", V4, "u@down.example.com", SPF_TEMPERROR, NULL, NULL},
        {"a host fails", V4, "u@half.example.com", SPF_TEMPERROR, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, believes_names_of_the_client_that_lead_back_to_it)
{
    static const struct zone_row zone[] = {
        {"10.2.0.192.in-addr.arpa", PTR, "liar.example.com"},
        {"10.2.0.192.in-addr.arpa", PTR, "err.example.com"},
        {"10.2.0.192.in-addr.arpa", PTR, "Mail.Example.COM"},
        {"liar.example.com", A, "198.51.100.1"},
        {"err.example.com", A, "!"},
        {"mail.example.com", A, V4},
        {"mail.example.com", AAAA, V6},
        {REVERSE6, PTR, "mail.example.com"},
        {"99.100.51.198.in-addr.arpa", PTR, "!"},
        {"example.com", TXT, "v=spf1 ptr -all"},
        {"mail.example.com", TXT, "v=spf1 ptr -all"},
        {"liar.example.com", TXT, "v=spf1 ptr -all"},
        {"xample.com", TXT, "v=spf1 ptr -all"},
        {"other.example", TXT, "v=spf1 ptr:EXAMPLE.com -all"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"below the domain", V4, "u@example.com", SPF_PASS, NULL, NULL},
        {"the domain", V4, "u@mail.example.com", SPF_PASS, NULL, NULL},
        {"over v6", V6, "u@example.com", SPF_PASS, NULL, NULL},
        {"a name that lies", V4, "u@liar.example.com", SPF_FAIL, NULL, NULL},
        {"only whole labels", V4, "u@xample.com", SPF_FAIL, NULL, NULL},
        {"another target", V4, "u@other.example", SPF_PASS, NULL, NULL},
        {"no name", "198.51.100.1", "u@example.com", SPF_FAIL, NULL, NULL},
        {"a failing look-up", "198.51.100.99", "u@example.com", SPF_FAIL, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, lets_an_included_record_only_say_yes)
{
    static const struct zone_row zone[] = {
        {"pass.example.com", TXT, "v=spf1 +all"},
        {"fail.example.com", TXT, "v=spf1 -all"},
        {"soft.example.com", TXT, "v=spf1 ~all"},
        {"neutral.example.com", TXT, "v=spf1 ?all"},
        {"temp.example.com", TXT, "!"},
        {"perm.example.com", TXT, "v=spf1 include"},
        {"none.example.com", TXT, "v=spfl no record"},
        {"nested.example.com", TXT, "v=spf1 -include:fail.example.com include:pass.example.com"},
        {"to.example.com", TXT, "v=spf1 redirect=pass.example.com"},
        {"i-pass.example.com", TXT, "v=spf1 ~include:pass.example.com -all"},
        {"i-fail.example.com", TXT, "v=spf1 include:fail.example.com ~all"},
        {"i-soft.example.com", TXT, "v=spf1 include:soft.example.com ?all"},
        {"i-neutral.example.com", TXT, "v=spf1 include:neutral.example.com -all"},
        {"i-temp.example.com", TXT, "v=spf1 include:temp.example.com +all"},
        {"i-perm.example.com", TXT, "v=spf1 include:perm.example.com +all"},
        {"i-none.example.com", TXT, "v=spf1 include:none.example.com +all"},
        {"i-gone.example.com", TXT, "v=spf1 include:gone.example.com +all"},
        {"i-nested.example.com", TXT, "v=spf1 ?include:nested.example.com -all"},
        {"i-to.example.com", TXT, "v=spf1 include:to.example.com. -all"},
        {"i-bad.example.com", TXT, "v=spf1 include:a..example.com +all"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"pass", V4, "u@i-pass.example.com", SPF_SOFTFAIL, NULL, NULL},
        {"fail", V4, "u@i-fail.example.com", SPF_SOFTFAIL, NULL, NULL},
        {"softfail", V4, "u@i-soft.example.com", SPF_NEUTRAL, NULL, NULL},
        {"neutral", V4, "u@i-neutral.example.com", SPF_FAIL, NULL, NULL},
        {"temperror", V4, "u@i-temp.example.com", SPF_TEMPERROR, NULL, NULL},
        {"permerror", V4, "u@i-perm.example.com", SPF_PERMERROR, NULL, NULL},
        {"none", V4, "u@i-none.example.com", SPF_PERMERROR, NULL, NULL},
        {"no such name", V4, "u@i-gone.example.com", SPF_PERMERROR, NULL, NULL},
        {"includes in it", V4, "u@i-nested.example.com", SPF_NEUTRAL, NULL, NULL},
        {"redirect in it", V4, "u@i-to.example.com", SPF_PASS, NULL, NULL},
        {"no name at all", V4, "u@i-bad.example.com", SPF_PERMERROR, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, follows_a_redirect_when_nothing_matched)
{
    static const struct zone_row zone[] = {
        {"a.example.com", TXT, "v=spf1 redirect=b.example.com ip4:198.51.100.1"},
        {"a.example.com", A, "198.51.100.7"},
        {"b.example.com", TXT, "v=spf1 a -all"},
        {"b.example.com", A, V4},
        {"none.example.com", TXT, "v=spf1 redirect=gone.example.com"},
        {"temp.example.com", TXT, "v=spf1 redirect=err.example.com"},
        {"err.example.com", TXT, "!"},
        {"bad.example.com", TXT, "v=spf1 redirect=%{l}.example.com"},
        {"top.example.com", TXT, "v=spf1 redirect=%{l}"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"a mechanism first", "198.51.100.1", "u@a.example.com", SPF_PASS, NULL, NULL},
        {"the new domain is meant", V4, "u@a.example.com", SPF_PASS, NULL, NULL},
        {"not the old one", "198.51.100.7", "u@a.example.com", SPF_FAIL, NULL, NULL},
        {"no record there", V4, "u@none.example.com", SPF_PERMERROR, NULL, NULL},
        {"a failing look-up", V4, "u@temp.example.com", SPF_TEMPERROR, NULL, NULL},
        {"no name", V4, "a..b@bad.example.com", SPF_PERMERROR, NULL, NULL},
        {"one label", V4, "com@top.example.com", SPF_PERMERROR, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, stops_at_ten_terms_that_ask)
{
    static const struct zone_row zone[] = {
        {"r.example.com", TXT, "v=spf1 redirect=r.example.com"},
        {"i.example.com", TXT, "v=spf1 include:j.example.com"},
        {"j.example.com", TXT, "v=spf1 include:i.example.com"},
        {"ten.example.com", TXT, "v=spf1 a a a a a a a a a exists:x.example.com ip4:" V4 " -all"},
        {"ten.example.com", A, "198.51.100.1"},
        {"x.example.com", AAAA, V6},
        {"eleven.example.com", TXT, "v=spf1 a a a a a a a a a a a ip4:" V4 " -all"},
        {"eleven.example.com", A, "198.51.100.1"},
        {"inc.example.com", TXT, "v=spf1 a a a a a a a a"},
        {"inc.example.com", A, "198.51.100.1"},
        {"at.example.com", TXT, "v=spf1 a include:inc.example.com ip4:" V4 " -all"},
        {"at.example.com", A, "198.51.100.1"},
        {"over.example.com", TXT, "v=spf1 a include:inc.example.com a ip4:" V4 " -all"},
        {"over.example.com", A, "198.51.100.1"},
        {"free.example.com", TXT,
         "v=spf1 ip4:10.0.0.1 ip4:10.0.0.2 ip4:10.0.0.3 ip4:10.0.0.4 ip4:10.0.0.5 ip4:10.0.0.6 "
         "ip4:10.0.0.7 ip4:10.0.0.8 ip4:10.0.0.9 ip6:::1 ip6:::2 x=y exp=z.example.com +all"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"redirects in a circle", V4, "u@r.example.com", SPF_PERMERROR, NULL, NULL},
        {"includes in a circle", V4, "u@i.example.com", SPF_PERMERROR, NULL, NULL},
        {"ten", V4, "u@ten.example.com", SPF_PASS, NULL, NULL},
        {"eleven", V4, "u@eleven.example.com", SPF_PERMERROR, NULL, NULL},
        {"ten with an include", V4, "u@at.example.com", SPF_PASS, NULL, NULL},
        {"eleven with an include", V4, "u@over.example.com", SPF_PERMERROR, NULL, NULL},
        {"what asks nothing is free", V4, "u@free.example.com", SPF_PASS, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, stops_at_three_terms_in_vain)
{
    static const struct zone_row zone[] = {
        {"two.example.com", TXT, "v=spf1 a:x.example.com mx ?all"},
        {"three.example.com", TXT, "v=spf1 a:x.example.com mx exists:y.example.com ?all"},
        {"ptr.example.com", TXT, "v=spf1 a:x.example.com mx ptr ?all"},
        {"kind.example.com", TXT, "v=spf1 mx ?all"},
        {"kind.example.com", MX, "a.example.com"},
        {"kind.example.com", MX, "b.example.com"},
        {"kind.example.com", MX, "c.example.com"},
        {"kind.example.com", MX, "d.example.com"},
        {"a.example.com", A, "198.51.100.1"},
        {"exp.example.com", TXT, "v=spf1 a:x.example.com a:y.example.com -all exp=z.example.com"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"two", V4, "u@two.example.com", SPF_NEUTRAL, NULL, NULL},
        {"three", V4, "u@three.example.com", SPF_PERMERROR, NULL, NULL},
        {"a client without a name", V4, "u@ptr.example.com", SPF_PERMERROR, NULL, NULL},
        {"hosts without v6", V6, "u@kind.example.com", SPF_NEUTRAL, NULL, NULL},
        {"an explanation is no term", V4, "u@exp.example.com", SPF_FAIL, "", NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, bounds_hosts_and_names_but_not_addresses)
{
    struct zone_row zone[64] = {
        {"ten.example.com", TXT, "v=spf1 mx -all"},
        {"eleven.example.com", TXT, "v=spf1 mx -all"},
        {"names.example.com", TXT, "v=spf1 ptr ?all"},
        {"host.example.com", A, V4},
        {"many.example.com", TXT, "v=spf1 a -all"},
    };
    size_t count = 5;
    for (size_t i = 0; i < 11; i++) {
        if (i < 10) {
            zone[count++] = (struct zone_row){"ten.example.com", MX,
                                              i < 9 ? "x.example.com" : "host.example.com"};
        }
        zone[count++] = (struct zone_row){"eleven.example.com", MX, "host.example.com"};
        zone[count++] = (struct zone_row){"10.2.0.192.in-addr.arpa", PTR,
                                          i < 10 ? "y.names.example.com" : "z.names.example.com"};
        zone[count++] = (struct zone_row){"many.example.com", A, "198.51.100.1"};
    }
    zone[count++] = (struct zone_row){"many.example.com", A, V4};
    zone[count++] = (struct zone_row){"z.names.example.com", A, V4};
    zone[count] = (struct zone_row){NULL, A, NULL};
    static const struct spf_case rows[] = {
        {"ten hosts", V4, "u@ten.example.com", SPF_PASS, NULL, NULL},
        {"eleven hosts", V4, "u@eleven.example.com", SPF_PERMERROR, NULL, NULL},
        {"the eleventh name", V4, "u@names.example.com", SPF_NEUTRAL, NULL, NULL},
        {"the twelfth address", V4, "u@many.example.com", SPF_PASS, NULL, NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf, bounds_the_size_of_a_record)
{
    static char fits[SPF_RECORD_MAX + 16];
    static char exceeds[SPF_RECORD_MAX + 16];

    for (size_t i = 0; i < SPF_RECORD_MAX + 7; i++) {
        fits[i] = exceeds[i] = ' ';
    }
    memcpy(fits, "v=spf1 -all", 11);
    memcpy(exceeds, "v=spf1 -all", 11);
    fits[6 + SPF_RECORD_MAX] = '\0';
    cr_expect_eq(judge_record(fits, V4).result, SPF_FAIL);
    cr_expect_eq(judge_record(exceeds, V4).result, SPF_PERMERROR);
}

Test(spf, says_what_decided_in_the_first_record)
{
    static const struct zone_row zone[] = {
        {"a.example.com", TXT, "v=spf1 a ?include:b.example.com -all"},
        {"b.example.com", TXT, "v=spf1 ip4:192.0.2.0/24"},
        {"c.example.com", TXT, "v=spf1 redirect=b.example.com"},
        {NULL, A, NULL},
    };
    static const struct {
        const char *from;
        const char *client;
        const char *mechanism;
    } rows[] = {
        {"u@a.example.com", V4, "?include:b.example.com"},
        {"u@a.example.com", "10.0.0.1", "-all"},
        {"u@c.example.com", V4, "ip4:192.0.2.0/24"},
        {"u@c.example.com", "10.0.0.1", "default"},
        {"u@nobody.example.com", V4, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spf_rig rig;
        struct spf_case row = {
            .name = rows[i].from, .client = rows[i].client, .from = rows[i].from};
        struct spf_input input = rig_input(&row);
        rig_judge(&rig, zone, &input);
        cr_expect(slice_equal(rig.verdict.mechanism, slice_str(rows[i].mechanism)), "%s: '%.*s'",
                  rows[i].from, SLICE_FMT(rig.verdict.mechanism));
        cr_expect(slice_equal(rig.verdict.domain, slice_from(slice_str(rows[i].from), 2)));
        rig_end(&rig);
    }
}

Test(spf, can_be_stopped_at_any_question)
{
    static const struct zone_row zone[] = {
        {"a.example.com", TXT, "v=spf1 mx include:b.example.com ptr exp=%{p}.example.com -all"},
        {"a.example.com", MX, "m.example.com"},
        {"b.example.com", TXT, "v=spf1 exists:c.example.com a"},
        {"10.2.0.192.in-addr.arpa", PTR, "p.a.example.com"},
        {NULL, A, NULL},
    };
    struct spf_case row = {.name = "stop", .client = V4, .from = "u@a.example.com"};
    struct spf_input input = rig_input(&row);
    uint32_t total = UINT32_MAX;

    for (uint32_t stop_at = 0; stop_at < total; stop_at++) {
        struct arena arena;
        struct lookup_question question;
        arena_init(&arena, 4096, SPF_ARENA_BYTES);
        struct spf *spf = spf_start(&arena, &input);
        uint32_t asked = 0;
        bool is_stopped = false;
        while (!is_stopped && spf_next(spf, &question)) {
            struct zone_answer found;
            is_stopped = asked == stop_at;
            if (is_stopped) {
                spf_stop(spf);
            } else {
                zone_look_up(zone, &question, &found);
                spf_answer(spf, &found.answer);
                asked++;
            }
        }
        total = is_stopped ? total : asked;
        cr_expect(!spf_next(spf, &question));
        enum spf_result result = spf_verdict(spf)->result;
        /* Once the verdict is known, only its explanation is lost. */
        cr_expect(result == SPF_TEMPERROR || (asked >= 8 && result == SPF_FAIL), "%u: %s", stop_at,
                  spf_result_text(result));
        spf_stop(spf);
        cr_expect_eq(spf_verdict(spf)->result, result);
        arena_fini(&arena);
    }
    cr_expect_eq(total, 9);
}

Test(spf, reads_an_answer_without_records_as_none)
{
    struct spf_case row = {.name = "empty", .client = V4, .from = "u@a.example.com"};
    struct spf_input input = rig_input(&row);
    struct lookup_answer answer = {.outcome = LOOKUP_FOUND};
    struct arena arena;

    arena_init(&arena, 4096, SPF_ARENA_BYTES);
    struct spf *spf = spf_start(&arena, &input);
    spf_answer(spf, &answer);
    cr_expect_eq(spf_verdict(spf)->result, SPF_NONE);
    arena_fini(&arena);
}

Test(spf, decides_nothing_when_others_filled_its_arena)
{
    static const struct zone_row zone[] = {
        {"a.example.com", TXT, "v=spf1 include:b.example.com -all exp=why.example.com"},
        {"b.example.com", TXT, "v=spf1 ip4:10.0.0.1"},
        {"why.example.com", TXT, "because"},
        {NULL, A, NULL},
    };
    static const enum spf_result results[] = {SPF_TEMPERROR, SPF_TEMPERROR, SPF_FAIL, SPF_FAIL};
    struct spf_case row = {.name = "full", .client = V4, .from = "u@a.example.com"};
    struct spf_input input = rig_input(&row);

    for (uint32_t full_at = 0; full_at < ARRAY_LEN(results); full_at++) {
        struct arena arena;
        struct lookup_question question;
        arena_init(&arena, 4096, SPF_ARENA_BYTES);
        struct spf *spf = spf_start(&arena, &input);
        for (uint32_t asked = 0; spf_next(spf, &question); asked++) {
            struct zone_answer found;
            while (asked == full_at && arena_try(&arena, 16) != NULL) {
            }
            zone_look_up(zone, &question, &found);
            spf_answer(spf, &found.answer);
        }
        const struct spf_verdict *verdict = spf_verdict(spf);
        cr_expect_eq(verdict->result, results[full_at], "%u: %s", full_at,
                     spf_result_text(verdict->result));
        cr_expect_eq(verdict->explanation.len > 0, full_at == 3, "%u", full_at);
        arena_fini(&arena);
    }
}

Test(spf, names_results)
{
    cr_expect_str_eq(spf_result_text(SPF_NONE), "none");
    cr_expect_str_eq(spf_result_text(SPF_NEUTRAL), "neutral");
    cr_expect_str_eq(spf_result_text(SPF_PASS), "pass");
    cr_expect_str_eq(spf_result_text(SPF_FAIL), "fail");
    cr_expect_str_eq(spf_result_text(SPF_SOFTFAIL), "softfail");
    cr_expect_str_eq(spf_result_text(SPF_TEMPERROR), "temperror");
    cr_expect_str_eq(spf_result_text(SPF_PERMERROR), "permerror");
}
