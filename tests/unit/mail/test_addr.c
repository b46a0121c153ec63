/* Not covered here: addresses within whole mails (test_mime_write.c), random input (fuzz_addr.c).
 */
#include "mail/addr.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 4096, 1 << 20);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(addr, .init = setup, .fini = teardown);

Test(addr, takes_mailboxes_apart)
{
    static const struct {
        const char *text;
        const char *name;
        const char *local;
        const char *domain;
        bool needs_utf8;
    } ROWS[] = {
        {"a@b.c", "", "a", "b.c", false},
        {" a@b.c ", "", "a", "b.c", false},
        {"<a@b.c>", "", "a", "b.c", false},
        {"< a@b.c >", "", "a", "b.c", false},
        {"Ann <a@b.c>", "Ann", "a", "b.c", false},
        {"Ann<a@b.c>", "Ann", "a", "b.c", false},
        {"Ann   B. Lee  <a@b.c>", "Ann B. Lee", "a", "b.c", false},
        {"\"Lee, Ann\" <a@b.c>", "Lee, Ann", "a", "b.c", false},
        {"\"Ann\" Lee <a@b.c>", "Ann Lee", "a", "b.c", false},
        {"\"a \\\"b\\\" \\\\\" <a@b.c>", "a \"b\" \\", "a", "b.c", false},
        {"\"<x@y.z>\" <a@b.c>", "<x@y.z>", "a", "b.c", false},
        {"\"\" <a@b.c>", "", "a", "b.c", false},
        {"J\xc3\xbcrgen <j@b.c>", "J\xc3\xbcrgen", "j", "b.c", false},
        {"O'Neil+tag/x=y@B.COM", "", "O'Neil+tag/x=y", "b.com", false},
        {"Mixed.Case@Example.COM", "", "Mixed.Case", "example.com", false},
        {"a@b.c.", "", "a", "b.c", false},
        {"\"plain\"@b.c", "", "plain", "b.c", false},
        {"\"a b\"@b.c", "", "\"a b\"", "b.c", false},
        {"\"a@b\"@b.c", "", "\"a@b\"", "b.c", false},
        {"\"a..b\"@b.c", "", "\"a..b\"", "b.c", false},
        {"\"\\a\\\"\"@b.c", "", "\"a\\\"\"", "b.c", false},
        {"\"\"@b.c", "", "\"\"", "b.c", false},
        {"N <\"a>b\"@b.c>", "N", "\"a>b\"", "b.c", false},
        {"\xe7\x94\xa8\xe6\x88\xb7@b.c", "", "\xe7\x94\xa8\xe6\x88\xb7", "b.c", true},
        {"a@b\xc3\xbc"
         "cher.example",
         "", "a", "xn--bcher-kva.example", false},
        {"a@B\xc3\x9c"
         "CHER.example",
         "", "a", "xn--bcher-kva.example", false},
        {"a@fa\xc3\x9f.de", "", "a", "xn--fa-hia.de", false},
        {"a@x\xe3\x80\x82\xe6\x97\xa5\xe6\x9c\xac", "", "a", "x.xn--wgv71a", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct addr addr;
        char want[200];
        cr_assert_eq(addr_parse(slice_str(ROWS[i].text), &arena, &addr), ERR_OK, "%s",
                     ROWS[i].text);
        cr_expect(slice_equal(addr.name, slice_str(ROWS[i].name)), "%s: [%.*s]", ROWS[i].text,
                  SLICE_FMT(addr.name));
        cr_expect(slice_equal(addr.local, slice_str(ROWS[i].local)), "%s: [%.*s]", ROWS[i].text,
                  SLICE_FMT(addr.local));
        cr_expect(slice_equal(addr.domain, slice_str(ROWS[i].domain)), "%s: [%.*s]", ROWS[i].text,
                  SLICE_FMT(addr.domain));
        cr_expect_eq(addr.needs_utf8, ROWS[i].needs_utf8, "%s", ROWS[i].text);
        snprintf(want, sizeof want, "%s@%s", ROWS[i].local, ROWS[i].domain);
        cr_expect(slice_equal(addr.text, slice_str(want)), "%s", ROWS[i].text);
    }
}

Test(addr, refuses_everything_else)
{
    static const char *const WRONG[] = {
        "",
        " ",
        "a",
        "@",
        "a@",
        "@b.c",
        "a@b",
        "a@@b.c",
        "a@b@c.d",
        "a b@c.d",
        "<>",
        "< >",
        "<a@b.c",
        "a@b.c>",
        "<a@b.c> x",
        "<<a@b.c>>",
        "Ann a@b.c",
        ".a@b.c",
        "a.@b.c",
        "a..b@c.d",
        /* source routes, comments, groups, lists, literals */
        "<@x.y,@z.w:a@b.c>",
        "a@b.c (Ann)",
        "Ann (x) <a@b.c>",
        "g: a@b.c;",
        "a@b.c, d@e.f",
        "Lee, Ann <a@b.c>",
        "a;b@c.d",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "a@127.0.0.1",
        "a:b@c.d",
        /* header injection */
        "a@b.c\r\nBcc: x@y.z",
        "a@b.c\n",
        "\ta@b.c",
        "A\r\n <a@b.c>",
        "\"A\r\n\" <a@b.c>",
        "\"a\\\r\"@b.c",
        "a\x7f@b.c",
        "A\xc2\x85 <a@b.c>",
        /* quotes that do not end, or end too early */
        "\"a@b.c",
        "\"a\\\"@b.c",
        "\"a\"b@c.d",
        "a\"b\"@c.d",
        "\"Ann <a@b.c>",
        "\"a\" @b.c",
        /* damaged UTF-8 and marks that turn the reading direction */
        "\xff@b.c",
        "\xc3@b.c",
        "A\xc0\x80 <a@b.c>",
        "A\xe2\x80\xae <a@b.c>",
        "\xe2\x81\xa6z@b.c",
        /* domains */
        "a@-b.c",
        "a@b-.c",
        "a@b..c",
        "a@.b.c",
        "a@b.c..",
        "a@b_c.d",
        "a@b c.d",
        "a@b.1",
        "a@1.2.3.4",
        "a@b.c/d",
        "a@\xe2\x84\x80.c",
        "a@b\xc2\xad.c d",
        "a@\xf0\x9f\x92\xa9\xff.c",
    };
    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        struct addr addr = {.needs_utf8 = true};
        cr_expect_eq(addr_parse(slice_str(WRONG[i]), &arena, &addr), ERR_INVALID, "%zu: %s", i,
                     WRONG[i]);
        cr_expect(addr.needs_utf8 && addr.text.len == 0, "touched on failure: %s", WRONG[i]);
    }
    struct addr addr;
    cr_expect_eq(addr_parse(slice_of("a\0b@c.d", 7), &arena, &addr), ERR_INVALID);
    cr_expect_eq(addr_parse(slice_of("a@c\0x.d", 7), &arena, &addr), ERR_INVALID);
}

Test(addr, keeps_to_the_lengths_of_rfc_5321)
{
    char text[4096];
    struct addr addr;

    snprintf(text, sizeof text, "%064d@b.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_OK);
    snprintf(text, sizeof text, "%065d@b.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_INVALID);
    /* Quotes and their escapes count, as they travel. */
    snprintf(text, sizeof text, "\"%061d \"@b.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_OK);
    snprintf(text, sizeof text, "\"%062d \"@b.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_INVALID);
    snprintf(text, sizeof text, "a@%063d.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_OK);
    snprintf(text, sizeof text, "a@%064d.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_INVALID);
    snprintf(text, sizeof text, "a@%063d.%063d.%063d.%059d.c", 0, 0, 0, 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_OK);
    snprintf(text, sizeof text, "a@%063d.%063d.%063d.%060d.c", 0, 0, 0, 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_INVALID);
    snprintf(text, sizeof text, "%0256d <a@b.c>", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_OK);
    snprintf(text, sizeof text, "%0257d <a@b.c>", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_INVALID);
    snprintf(text, sizeof text, "%04000d@b.c", 0);
    cr_expect_eq(addr_parse(slice_str(text), &arena, &addr), ERR_INVALID);
}

Test(addr, normalises_domains_to_lower_case_a_labels)
{
    static const struct {
        const char *text;
        bool allow_single;
        const char *want; /* NULL: refused */
    } ROWS[] = {
        {"Example.COM", false, "example.com"},
        {"example.com.", false, "example.com"},
        {"M\xc3\xbcnchen.DE", false, "xn--mnchen-3ya.de"},
        {"mu\xcc\x88nchen.de", false, "xn--mnchen-3ya.de"}, /* decomposed */
        {"\xef\xbc\xa5xample.com", false, "example.com"},   /* full width E */
        {"XN--MNCHEN-3YA.de", false, "xn--mnchen-3ya.de"},
        {"a--b.com", false, "a--b.com"},
        {"r3---sn.com", false, "r3---sn.com"},
        {"1.com", false, "1.com"},
        {"localhost", true, "localhost"},
        {"localhost", false, NULL},
        {"1", true, NULL},
        {"", true, NULL},
        {".", true, NULL},
        {"a..b", false, NULL},
        {"a_b.com", false, NULL},
        {"[1.2.3.4]", false, NULL},
        {"::1", true, NULL},
        {"a b.com", false, NULL},
        {"a\tb.com", false, NULL},
        {"\xe2\x80\x8b.com", false, NULL},
        {"\xc3\xbc-.com", false, NULL},
        /* libidn2 would drop some of these bytes and name another domain. */
        {"\xc3\xbc.c d", false, NULL},
        {"\xc3\xbc.c_d", false, NULL},
        {"\xc3\xbc.c@d", false, NULL},
        {"x\xe2\x84\x80.com", false, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice domain = SLICE("untouched");
        enum err err =
            domain_normalise(slice_str(ROWS[i].text), ROWS[i].allow_single, &arena, &domain);
        cr_expect_eq(err, ROWS[i].want != NULL ? ERR_OK : ERR_INVALID, "%s", ROWS[i].text);
        struct slice want = ROWS[i].want != NULL ? slice_str(ROWS[i].want) : SLICE("untouched");
        cr_expect(slice_equal(domain, want), "%s: %.*s", ROWS[i].text, SLICE_FMT(domain));
    }
}

Test(addr, displays_domains_as_they_are_read)
{
    static const struct {
        const char *domain;
        const char *want;
    } ROWS[] = {
        {"example.com", "example.com"},
        {"xn--mnchen-3ya.de", "m\xc3\xbcnchen.de"},
        {"xn--zzzzzzzz99999.de", "xn--zzzzzzzz99999.de"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice got = domain_display(slice_str(ROWS[i].domain), &arena);
        cr_expect(slice_equal(got, slice_str(ROWS[i].want)), "%s: %.*s", ROWS[i].domain,
                  SLICE_FMT(got));
    }
}

Test(addr, compares_by_a_key_without_case)
{
    struct addr a;
    struct addr b;

    cr_assert_eq(addr_parse(SLICE("Ann Lee <Ann.Lee@EXAMPLE.com>"), &arena, &a), ERR_OK);
    cr_assert_eq(addr_parse(SLICE("\"ann.lee\"@example.COM."), &arena, &b), ERR_OK);
    cr_assert(slice_equal(addr_key(&a, &arena), addr_key(&b, &arena)));
    cr_assert(slice_equal(addr_key(&a, &arena), SLICE("ann.lee@example.com")));
}

Test(addr, writes_names_as_atoms_quoted_or_encoded)
{
    static const struct {
        const char *text;
        const char *want;
    } ROWS[] = {
        {"a@b.c", "a@b.c"},
        {"Ann Lee <a@b.c>", "Ann Lee <a@b.c>"},
        {"\"Lee, Ann\" <a@b.c>", "\"Lee, Ann\" <a@b.c>"},
        {"Ann B. Lee <a@b.c>", "\"Ann B. Lee\" <a@b.c>"},
        {"\"a \\\"b\\\" \\\\\" <a@b.c>", "\"a \\\"b\\\" \\\\\" <a@b.c>"},
        {"\"a  b\" <a@b.c>", "\"a  b\" <a@b.c>"},
        {"J\xc3\xbcrgen Gro\xc3\x9f <a@b.c>", "=?UTF-8?B?SsO8cmdlbiBHcm/Dnw==?= <a@b.c>"},
        {"\"=?UTF-8?Q?x?=\" <a@b.c>", "=?UTF-8?B?PT9VVEYtOD9RP3g/PQ==?= <a@b.c>"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct addr addr;
        struct buf out;
        buf_init(&out, 4096);
        cr_assert_eq(addr_parse(slice_str(ROWS[i].text), &arena, &addr), ERR_OK, "%s",
                     ROWS[i].text);
        addr_write(&addr, &out);
        cr_expect(slice_equal(buf_slice(&out), slice_str(ROWS[i].want)), "%s: %.*s", ROWS[i].text,
                  SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
}

Test(addr, writes_no_line_end_from_a_name_that_was_not_parsed)
{
    struct addr addr = {.name = SLICE("x\r\nBcc: y"), .text = SLICE("a@b.c")};
    struct buf out;

    buf_init(&out, 4096);
    addr_write(&addr, &out);
    cr_assert(!slice_has_byte(buf_slice(&out), '\r'));
    cr_assert(!slice_has_byte(buf_slice(&out), '\n'));
    buf_fini(&out);
}
