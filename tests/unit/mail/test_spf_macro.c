/* test_spf_macro.c - macros of SPF: in names that are asked for and in explanations.
 *
 * Not covered here: mechanisms and ceilings (test_spf.c), arbitrary bytes (fuzz_spf.c).
 */
#include "mail/spf_int.h"
#include "spf_rig.h"

#define A    LOOKUP_A
#define AAAA LOOKUP_AAAA
#define TXT  LOOKUP_TXT
#define PTR  LOOKUP_PTR

#define V4 "192.0.2.3"
#define V6 "2001:db8::cb01"
/* The sender of RFC 7208 7.4. */
#define STRONG "strong-bad@email.example.com"

/* What `exists:` with this spec asks for; "" when it asks for nothing, "!" when it is an error. */
static struct slice target_of(const char *spec, const char *client, const char *from,
                              const char *helo, char out[256])
{
    char record[512];
    (void)snprintf(record, sizeof(record), "v=spf1 exists:%s -all", spec);
    size_t at = slice_rfind_byte(slice_str(from), '@');
    const struct zone_row zone[] = {
        {from + at + 1, TXT, record},
        {"3.2.0.192.in-addr.arpa", PTR, "mx.example.org"},
        {"mx.example.org", A, V4},
        {NULL, A, NULL},
    };
    struct spf_case row = {.name = spec, .client = client, .from = from, .helo = helo};
    struct spf_input input = rig_input(&row);
    struct spf_rig rig;
    rig_judge(&rig, zone, &input);
    bool is_error = rig.verdict.result == SPF_PERMERROR;
    struct slice asked = is_error ? SLICE("!")
                         : rig.question_count < 2 ||
                                 slice_equal(slice_str(rig.last_question), slice_str(from + at + 1))
                             ? SLICE("")
                             : slice_str(rig.last_question);
    memcpy(out, asked.data, asked.len);
    rig_end(&rig);
    return slice_of(out, asked.len);
}

static void expect_target(const char *spec, const char *client, const char *from, const char *want)
{
    char out[256];
    struct slice got = target_of(spec, client, from, "mail.example.com", out);
    cr_expect(slice_equal(got, slice_str(want)), "%s of %s: '%.*s'", spec, from, SLICE_FMT(got));
}

Test(spf_macro, expands_the_examples_of_rfc_7208_7_4)
{
    static const struct {
        const char *spec;
        const char *client;
        const char *name;
    } rows[] = {
        {"%{s}.x.example", V4, "strong-bad@email.example.com.x.example"},
        {"%{o}.x.example", V4, "email.example.com.x.example"},
        {"%{d4}.x.example", V4, "email.example.com.x.example"},
        {"%{d3}.x.example", V4, "email.example.com.x.example"},
        {"%{d2}", V4, "example.com"},
        {"%{d1}", V4, "com"},
        {"%{dr}", V4, "com.example.email"},
        {"%{d2r}", V4, "example.email"},
        {"%{l}", V4, "strong-bad"},
        {"%{l-}", V4, "strong.bad"},
        {"%{lr}", V4, "strong-bad"},
        {"%{lr-}", V4, "bad.strong"},
        {"%{l1r-}", V4, "strong"},
        {"%{ir}.%{v}._spf.%{d2}", V4, "3.2.0.192.in-addr._spf.example.com"},
        {"%{lr-}.lp._spf.%{d2}", V4, "bad.strong.lp._spf.example.com"},
        {"%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", V4, "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
        {"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", V4, "3.2.0.192.in-addr.strong.lp._spf.example.com"},
        {"%{d2}.trusted-domains.example.net", V4, "example.com.trusted-domains.example.net"},
        {"%{ir}.%{v}._spf.%{d2}", V6,
         "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
        {"%{i}.x", V6, "2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.b.0.1.x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool is_x = slice_ends(slice_str(rows[i].spec), SLICE(".x"));
        char spec[128];
        char name[256];
        (void)snprintf(spec, sizeof(spec), "%s%s", rows[i].spec, is_x ? ".example" : "");
        (void)snprintf(name, sizeof(name), "%s%s", rows[i].name, is_x ? ".example" : "");
        expect_target(spec, rows[i].client, STRONG, name);
    }
}

Test(spf_macro, splits_reverses_and_counts)
{
    static const struct {
        const char *spec;
        const char *from;
        const char *name;
    } rows[] = {
        {"%{l+-}.x.example", "foo-bar+zip@e.example", "foo.bar.zip.x.example"},
        {"%{l2r+-}.x.example", "foo-bar+zip+quux@e.example", "bar.foo.x.example"},
        {"%{l1+-}.x.example", "foo-bar+zip@e.example", "zip.x.example"},
        {"%{l/_=,}.x.example", "a/b_c=d,e@e.example", "a.b.c.d.e.x.example"},
        {"%{l999999999999r}.x.example", "a.b@e.example", "b.a.x.example"},
        {"%{L}.x.example", "a~b_c-d.e@e.example", "a~b_c-d.e.x.example"},
        {"%{L}.x.example", "a b+c%d@e.example", "a%20b%2Bc%25d.x.example"},
        {"%{S}.x.example", "u@e.example", "u%40e.example.x.example"},
        {"%{LR+}.x.example", "a+b&c@e.example", "b%26c.a.x.example"},
        {"a%%b%_c%-d.x.example", "u@e.example", "a%b c%20d.x.example"},
        {"%{h}.x.example", "u@e.example", "mail.example.com.x.example"},
        {"%{p}.x.example", "u@e.example", "mx.example.org.x.example"},
        {"%{P2}.x.example", "u@e.example", "example.org.x.example"},
        /* empty parts make names that nobody can have */
        {"%{l-}.x.example", "a--b@e.example", ""},
        {"%{l}.x.example", "\xc3\xa4@e.example", ""},
        {"%{l}.x.example",
         "a\x01"
         "b@e.example",
         ""},
        {"%{l}.x.example", "a\\.b@e.example", ""},
        /* errors */
        {"%{l0}.x.example", "u@e.example", "!"},
        {"%{lrr}.x.example", "u@e.example", "!"},
        {"%{l-r}.x.example", "u@e.example", "!"},
        {"%{l;}.x.example", "u@e.example", "!"},
        {"%{a}.x.example", "u@e.example", "!"},
        {"%{}.x.example", "u@e.example", "!"},
        {"%{l.x.example", "u@e.example", "!"},
        {"%(l).x.example", "u@e.example", "!"},
        {"x%.example", "u@e.example", "!"},
        {"x.example%", "u@e.example", "!"},
        {"%{c}.x.example", "u@e.example", "!"},
        {"%{r}.x.example", "u@e.example", "!"},
        {"%{t}.x.example", "u@e.example", "!"},
        {"%{l}com", "u@e.example", "!"},
        {"%{l}.123", "u@e.example", "!"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect_target(rows[i].spec, V4, rows[i].from, rows[i].name);
    }
}

Test(spf_macro, takes_any_helo_as_it_comes)
{
    static const struct {
        const char *helo;
        const char *name;
    } rows[] = {
        {"OEMCOMPUTER", "OEMCOMPUTER"},
        {"[192.0.2.3]", "[192.0.2.3]"},
        {"JUMPIN' JUPITER", "JUMPIN' JUPITER"},
        {"m\xc3\xbcnchen.example", "xn--mnchen-3ya.example"},
        {"m\xfcnchen.example", ""},
        {"", ""},
        {"%%%%", "%%%%"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[256];
        struct slice got = target_of("%{h}", V4, "u@e.example", rows[i].helo, out);
        cr_expect(slice_equal(got, slice_str(rows[i].name)), "'%s': '%.*s'", rows[i].helo,
                  SLICE_FMT(got));
    }
}

Test(spf_macro, cuts_long_names_label_by_label_from_the_left)
{
    /* 29 bytes each with its dot: nine are 261, the tenth label and its dot 4 more. */
    const char *from = "u@somewhat.long.domain.example.com";
    expect_target("foobar.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.x", V4, from,
                  "domain.example.com."
                  "somewhat.long.domain.example.com.somewhat.long.domain.example.com."
                  "somewhat.long.domain.example.com.somewhat.long.domain.example.com."
                  "somewhat.long.domain.example.com.somewhat.long.domain.example.com."
                  "somewhat.long.domain.example.com.x");
}

Test(spf_macro, keeps_the_right_end_however_much_is_written)
{
    static char spec[4000];
    struct macro_text text;
    struct ip6 client = {.bytes = {0x20, 1}};
    struct macro_values values = {
        .local = SLICE("local-part"),
        .sender_domain = SLICE("sender.example"),
        .domain = SLICE("domain.example"),
        .client = &client,
    };
    size_t len = 0;
    while (len + 21 < sizeof(spec)) {
        memcpy(spec + len, "%{s}.%{I}.", 10);
        len += 10;
    }
    memcpy(spec + len, "end.example", 11);
    struct slice whole = slice_of(spec, len + 11);
    cr_assert(macro_is_valid(whole, MACRO_DOMAIN));
    macro_expand(whole, &values, true, &text);
    cr_expect_geq(text.len, DOMAIN_MAX);
    cr_expect(slice_ends(slice_of(text.data, text.len), SLICE(".0.0.end.example")));

    /* One literal longer than the room. */
    memset(spec, 'x', sizeof(spec));
    memcpy(spec + sizeof(spec) - 12, ".end.example", 12);
    whole = slice_of(spec, sizeof(spec));
    cr_assert(macro_is_valid(whole, MACRO_DOMAIN));
    macro_expand(whole, &values, true, &text);
    cr_expect(slice_ends(slice_of(text.data, text.len), SLICE("x.end.example")));
    macro_expand(whole, &values, false, &text);
    cr_expect_eq(text.len, MACRO_TEXT_MAX);
}

Test(spf_macro, finds_the_name_of_the_client_that_fits_best)
{
    static const struct zone_row zone[] = {
        {"e.example", TXT, "v=spf1 -all exp=why.e.example"},
        {"mx.e.example", TXT, "v=spf1 -all exp=why.e.example"},
        {"far.example", TXT, "v=spf1 -all exp=why.e.example"},
        {"why.e.example", TXT, "connect from %{p}"},
        {"3.2.0.192.in-addr.arpa", PTR, "any.example.org"},
        {"3.2.0.192.in-addr.arpa", PTR, "deep.mx.e.example"},
        {"3.2.0.192.in-addr.arpa", PTR, "mx.e.example"},
        {"any.example.org", A, V4},
        {"deep.mx.e.example", A, V4},
        {"mx.e.example", A, V4},
        {"4.2.0.192.in-addr.arpa", PTR, "any.example.org"},
        {"5.2.0.192.in-addr.arpa", PTR, "!"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"the domain", V4, "u@mx.e.example", SPF_FAIL, "connect from mx.e.example", NULL},
        {"below it", V4, "u@e.example", SPF_FAIL, "connect from deep.mx.e.example", NULL},
        {"any other", V4, "u@far.example", SPF_FAIL, "connect from any.example.org", NULL},
        {"it lies", "192.0.2.4", "u@e.example", SPF_FAIL, "connect from unknown", NULL},
        {"it fails", "192.0.2.5", "u@e.example", SPF_FAIL, "connect from unknown", NULL},
        {"there is none", "192.0.2.6", "u@e.example", SPF_FAIL, "connect from unknown", NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf_macro, explains_a_fail_in_the_domains_words)
{
    static const struct zone_row zone[] = {
        {"e.example", TXT, "v=spf1 exp=%{ir}.why.example. -all"},
        {"3.2.0.192.why.example", TXT, "%{c}=%{i} is asked as %{ir}.%{v}.arpa by %{r} at %{t}."},
        {"1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.why.example", TXT,
         "%{c} not %{l}"},
        {"soft.example", TXT, "v=spf1 ~all exp=3.2.0.192.why.example"},
        {"url.example", TXT, "v=spf1 -all exp=u.url.example"},
        {"u.url.example", TXT, "http://example.com/why.html?s=%{S}&ip=%{C}&r=%{R}"},
        {"to.example", TXT, "v=spf1 exp=u.url.example redirect=plain.example"},
        {"plain.example", TXT, "v=spf1 -all"},
        {"in.example", TXT, "v=spf1 include:url.example -all exp=own.in.example"},
        {"own.in.example", TXT, "Own words."},
        {"from.example", TXT, "v=spf1 redirect=in.example exp=u.url.example"},
        {"two.example", TXT, "v=spf1 -all exp=why.two.example"},
        {"why.two.example", TXT, "one"},
        {"why.two.example", TXT, "two"},
        {"bad.example", TXT, "v=spf1 -all exp=why.bad.example"},
        {"why.bad.example", TXT, "The %{x}-files."},
        {"utf8.example", TXT, "v=spf1 -all exp=why.utf8.example"},
        {"why.utf8.example", TXT,
         "\xef\xbb\xbf"
         "because"},
        {"err.example", TXT, "v=spf1 -all exp=why.err.example"},
        {"why.err.example", TXT, "!"},
        {"none.example", TXT, "v=spf1 -all exp=plain.none.example"},
        {"noname.example", TXT, "v=spf1 -all exp=a..noname.example"},
        {"local.example", TXT, "v=spf1 -all exp=why.local.example"},
        {"why.local.example", TXT, "no %{l}"},
        {NULL, A, NULL},
    };
    static const struct spf_case rows[] = {
        {"v4", V4, "u@e.example", SPF_FAIL,
         "192.0.2.3=192.0.2.3 is asked as 3.2.0.192.in-addr.arpa by mx.receiver.example at "
         "1790000000.",
         NULL},
        {"v6", V6, "u@e.example", SPF_FAIL, "2001:db8::cb01 not u", NULL},
        {"only a fail", V4, "u@soft.example", SPF_SOFTFAIL, "", NULL},
        {"for a URL", V4, "u+x@url.example", SPF_FAIL,
         "http://example.com/why.html?s=u%2Bx%40url.example&ip=192.0.2.3&r=mx.receiver.example",
         NULL},
        {"not the redirecting record's", V4, "u@to.example", SPF_FAIL, "", NULL},
        {"not the included record's", V4, "u@in.example", SPF_FAIL, "Own words.", NULL},
        {"the record redirected to", V4, "u@from.example", SPF_FAIL, "Own words.", NULL},
        {"two texts", V4, "u@two.example", SPF_FAIL, "", NULL},
        {"a syntax error", V4, "u@bad.example", SPF_FAIL, "", NULL},
        {"not ASCII", V4, "u@utf8.example", SPF_FAIL, "", NULL},
        {"a failing look-up", V4, "u@err.example", SPF_FAIL, "", NULL},
        {"no text", V4, "u@none.example", SPF_FAIL, "", NULL},
        {"no name", V4, "u@noname.example", SPF_FAIL, "", NULL},
        {"a local part with spaces", V4, "Macro Error@local.example", SPF_FAIL, "no Macro Error",
         NULL},
        {"no local part", V4, "@local.example", SPF_FAIL, "no postmaster", NULL},
        {"the null sender", V4, "", SPF_FAIL, "no postmaster", "local.example"},
        {"a line end in it", V4, "a\r\nb@local.example", SPF_FAIL, "", NULL},
        {"UTF-8 in it", V4, "\xc3\xa4@local.example", SPF_FAIL, "", NULL},
    };
    expect_spf(zone, rows, ARRAY_LEN(rows));
}

Test(spf_macro, bounds_an_explanation)
{
    static char text[3000];
    struct zone_row zone[] = {
        {"e.example", TXT, "v=spf1 -all exp=why.e.example"},
        {"why.e.example", TXT, text},
        {NULL, A, NULL},
    };
    struct spf_case row = {.name = "long", .client = V4, .from = "u@e.example"};
    struct spf_input input = rig_input(&row);
    struct spf_rig rig;

    memset(text, 'x', sizeof(text) - 1);
    rig_judge(&rig, zone, &input);
    cr_expect_eq(rig.verdict.explanation.len, SPF_EXPLANATION_MAX);
    rig_end(&rig);
}
