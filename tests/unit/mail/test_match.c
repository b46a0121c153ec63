/* Not covered here: reading of addresses and domains (test_addr.c), random patterns with any bytes
 * (fuzz_match.c).
 */
#include "mail/match.h"

#include "base/limits.h"
#include "mail/addr.h"

#include <criterion/criterion.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 4096, 16 << 20);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(match, .init = setup, .fini = teardown, .timeout = 60);

static const struct match *compile(const char *text)
{
    const struct match *pattern = NULL;
    const char *fault = NULL;

    enum err err = match_compile(slice_str(text), &arena, &pattern, &fault);
    cr_assert_eq(err, ERR_OK, "%s: %s", text, fault);
    return pattern;
}

struct row {
    const char *pattern;
    const char *key;
    bool is_match;
};

static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(match_test(compile(rows[i].pattern), slice_str(rows[i].key)), rows[i].is_match,
                     "%s on %s", rows[i].pattern, rows[i].key);
    }
}

/* ---- addresses ------------------------------------------------------------------------------ */

Test(match, compares_addresses_domains_and_tags)
{
    static const struct row ROWS[] = {
        {"support@example.com", "support@example.com", true},
        {" Support@EXAMPLE.com ", "support@example.com", true},
        {"support@example.com", "SUPPORT@example.com", true},
        {"support@example.com", "support+tag@example.com", false}, /* exact is exact */
        {"support@example.com", "support@example.org", false},
        {"support@example.com", "asupport@example.com", false},
        {"support@example.com", "support@example.com.evil", false},
        {"support+tag@example.com", "support+tag@example.com", true},
        {"support+tag@example.com", "support+other@example.com", false},
        {"a@K\xc3\x96LN.example", "a@xn--kln-sna.example", true},
        {"a@k\xc3\xb6ln.example.", "a@xn--kln-sna.example", true},
        {"\"a\"@example.com", "a@example.com", true},
        {"\"a b\"@example.com", "\"a b\"@example.com", true},
        {"\xc3\xa4@example.com", "\xc3\xa4@example.com", true},
        {"*@example.com", "anything@example.com", true},
        {"*@example.com", "\"a@b\"@example.com", true},
        {"*@Example.COM", "a@example.com", true},
        {"*@example.com", "a@sub.example.com", false},
        {"*@example.com", "a@notexample.com", false},
        {"*@example.com", "example.com", false},
        {"*@k\xc3\xb6ln.example", "a@xn--kln-sna.example", true},
        {"support+*@example.com", "support+anything@example.com", true},
        {"Support+*@example.com", "support+a+b@example.com", true},
        {"support+*@example.com", "support+@example.com", true},
        {"support+*@example.com", "support@example.com", false},
        {"support+*@example.com", "supporter+a@example.com", false},
        {"support+*@example.com", "support+a@example.org", false},
        {"a.b+c+*@example.com", "a.b+c+d@example.com", true},
        {"a.b+c+*@example.com", "a.b+d@example.com", false},
        {"a++*@example.com", "a++b@example.com", true},
    };
    check(ROWS, ARRAY_LEN(ROWS));
}

Test(match, takes_a_full_address_from_the_parser)
{
    struct addr addr;

    cr_assert_eq(addr_parse(SLICE("Sales <SALES+x@Example.COM>"), &arena, &addr), ERR_OK);
    cr_expect(match_test(compile("sales+*@example.com"), addr_key(&addr, &arena)));
    cr_expect(match_test(compile("/^SALES\\+.@example\\.com$/"), addr_key(&addr, &arena)));
}

Test(match, names_the_domain_that_a_pattern_is_bound_to)
{
    cr_expect(slice_equal(match_domain(compile("a@Example.com")), SLICE("example.com")));
    cr_expect(slice_equal(match_domain(compile("*@example.com")), SLICE("example.com")));
    cr_expect(slice_equal(match_domain(compile("a+*@example.com")), SLICE("example.com")));
    cr_expect_eq(match_domain(compile("/example.com/")).len, 0);
}

/* ---- expressions ---------------------------------------------------------------------------- */

Test(match, runs_expressions)
{
    static const struct row ROWS[] = {
        {"/b/", "abc", true},
        {"/b/i", "ABC", true},
        {"/B/", "abc", true},
        {"/^b/", "abc", false},
        {"/^a/", "abc", true},
        {"/c$/", "abc", true},
        {"/b$/", "abc", false},
        {"/^abc$/", "abc", true},
        {"/^ab$/", "abc", false},
        {"/^$/", "", true},
        {"/^$/", "a", false},
        {"/a|b/", "xbx", true},
        {"/^(a|b)$/", "b", true},
        {"/^(a|b)$/", "ab", false},
        {"/^a|b$/", "ax", true},
        {"/^(|a)b$/", "b", true},
        {"/^(a|)b$/", "ab", true},
        {"/^()$/", "", true},
        {"/^(?:ab)+$/", "abab", true},
        {"/^(?:ab)+$/", "aba", false},
        {"/^a*$/", "", true},
        {"/^a*$/", "aaaa", true},
        {"/^a+$/", "", false},
        {"/^a+?b$/", "aab", true},
        {"/^a?b$/", "aab", false},
        {"/^a??b$/", "b", true},
        {"/^a{3}$/", "aaa", true},
        {"/^a{3}$/", "aa", false},
        {"/^a{3}$/", "aaaa", false},
        {"/^a{2,}$/", "a", false},
        {"/^a{2,}?$/", "aaaaa", true},
        {"/^a{0}b$/", "b", true},
        {"/^a{0,2}$/", "aaa", false},
        {"/^a{1,3}$/", "aaa", true},
        {"/^a{1,3}$/", "aaaa", false},
        {"/^(a{1,2}b){2}$/", "abaab", true},
        {"/^(a{1,2}b){2}$/", "abaaab", false},
        {"/^a{,3}$/", "a{,3}", true},
        {"/^{a}$/", "{a}", true},
        {"/^a{x$/", "a{x", true},
        {"/^.$/", "x", true},
        {"/^.$/", "xy", false},
        {"/^.\\..$/", "a.b", true},
        {"/^.\\..$/", "axb", false},
        {"/^sales-\\d{3,}@/", "sales-0042@example.com", true},
        {"/^sales-\\d{3,}@/", "sales-42@example.com", false},
        {"/^\\w+@\\w+\\.com$/", "a_1@example.com", true},
        {"/^\\w+@/", "a-b@example.com", false},
        {"/^[\\w-]+@/", "a-b@example.com", true},
        {"/^[\\w.-]+@/", "a.b-c@example.com", true},
        {"/^\\D+$/", "ab", true},
        {"/^\\D+$/", "a1", false},
        {"/^\\S+\\s\\W$/", "ab -", true},
        {"/(?:a|b(c|d))+e/", "xabdae", true},
        {"/a/b/", "xa/b", true},
        {"/a\\/b/", "a/b", true},
        {"/\\$\\^\\*\\(\\)\\[\\]\\{\\}\\|\\?\\+\\\\\\//", "$^*()[]{}|?+\\/", true},
        {"/}]/", "}]", true},
        {"/x$y/", "xy", false},
        {"/x^y/", "xy", false},
        {"/(^a|b$)/", "cb", true},
        {"/@example\\.(com|net)$/", "a@example.net", true},
        {"/@example\\.(com|net)$/", "a@example.netx", false},
    };
    check(ROWS, ARRAY_LEN(ROWS));
}

Test(match, reads_classes)
{
    static const struct row ROWS[] = {
        {"/^[abc]$/", "b", true},
        {"/^[abc]$/", "d", false},
        {"/^[a-c]$/", "b", true},
        {"/^[A-C]$/", "b", true},
        {"/^[^A-C]$/", "b", false},
        {"/^[^A-C]$/", "d", true},
        {"/^[^a]$/", "", false},
        {"/^[a-]$/", "-", true},
        {"/^[-a]$/", "-", true},
        {"/^[]a]$/", "]", true},
        {"/^[^]a]$/", "]", false},
        {"/^[^]a]$/", "b", true},
        {"/^[\\]a]$/", "]", true},
        {"/^[\\\\]$/", "\\", true},
        {"/^[a^]$/", "^", true},
        {"/^[.*+?]+$/", ".*+?", true},
        {"/^[.]$/", "a", false},
        {"/^[\\d-]$/", "-", true},
        {"/^[\\d-z]$/", "z", true},
        {"/^[\\d-z]$/", "y", false},
        {"/^[a-\\d]$/", "-", true},
        {"/^[a-\\d]$/", "a", true},
        {"/^[a-\\d]$/", "7", true},
        {"/^[^\\d]$/", "7", false},
        {"/^[\\D]$/", "7", false},
        {"/^[0-9a-f]{4}$/", "1aef", true},
        {"/^[0-9a-f]{4}$/", "1aeg", false},
        {"/^[+--]$/", ",", true},
        {"/^[{}]$/", "}", true},
        {"/^[/]$/", "/", true},
    };
    check(ROWS, ARRAY_LEN(ROWS));
}

Test(match, treats_a_written_character_as_one_thing_and_others_as_bytes)
{
    static const struct row ROWS[] = {
        {"/^\xc3\xa4+$/", "\xc3\xa4\xc3\xa4", true},
        {"/^\xc3\xa4+$/", "\xc3\xa4\xa4", false},
        {"/^\xe2\x82\xac?$/", "", true},
        {"/^\xf0\x9f\x98\x80{2}$/", "\xf0\x9f\x98\x80\xf0\x9f\x98\x80", true},
        {"/^\\\xc3\xa4*$/", "\xc3\xa4\xc3\xa4", true},
        {"/^..$/", "\xc3\xa4", true},
        {"/^.$/", "\xc3\xa4", false},
        {"/^[^a]+$/", "\xc3\xa4", true},
    };
    check(ROWS, ARRAY_LEN(ROWS));
}

/* ---- faults --------------------------------------------------------------------------------- */

Test(match, says_what_is_wrong_with_a_pattern)
{
    static const struct {
        const char *pattern;
        const char *fault; /* a part of it */
    } ROWS[] = {
        {"", "a pattern is"},
        {"*", "a pattern is"},
        {"support", "a pattern is"},
        {"example.com", "a pattern is"},
        {"@example.com", "address is malformed"},
        {"a b@example.com", "address is malformed"},
        {"A <a@example.com>", "domain is malformed"},
        {"a@", "domain is malformed"},
        {"a@localhost", "domain is malformed"},
        {"*@*", "domain is malformed"},
        {"*@*.example.com", "domain is malformed"},
        {"sup*@example.com", "* stands for"},
        {"*port@example.com", "* stands for"},
        {"+*@example.com", "* stands for"},
        {"**@example.com", "* stands for"},
        {"a+**@example.com", "* stands for"},
        {"a+*x@example.com", "* stands for"},
        {".a+*@example.com", "address is malformed"},
        {"a\x01@example.com", "control"},
        {"a\xff@example.com", "UTF-8"},
        {"/", "ends in /"},
        {"//", "empty"},
        {"//i", "empty"},
        {"/a", "ends in /"},
        {"/a/g", "ends in /"},
        {"/a/ii", "ends in /"},
        {"/(/", "does not close a group"},
        {"/(a|(b)/", "does not close a group"},
        {"/)/", "did not open"},
        {"/a)b/", "did not open"},
        {"/*/", "repeats nothing"},
        {"/+a/", "repeats nothing"},
        {"/(?/", "(?:"},
        {"/(?=a)/", "(?:"},
        {"/(?i)a/", "(?:"},
        {"/a|*/", "repeats nothing"},
        {"/{2}/", "repeats nothing"},
        {"/a**/", "cannot be repeated"},
        {"/a*+/", "cannot be repeated"},
        {"/a{2}{3}/", "cannot be repeated"},
        {"/^*/", "cannot be repeated"},
        {"/a{3,2}/", "more than m"},
        {"/a{1001}/", "too often"},
        {"/a{1,99999999999999999999}/", "too often"},
        {"/[/", "close a ["},
        {"/[]/", "close a ["},
        {"/[^]/", "close a ["},
        {"/[z-a]/", "upside down"},
        {"/[\xc3\xa4]/", "ASCII"},
        {"/[[:alpha:]]/", "[:names:]"},
        {"/(a)\\1/", "back references"},
        {"/\\b/", "behind a backslash"},
        {"/[\\b]/", "behind a backslash"},
        {"/a\\/", NULL}, /* the / is its own end: the expression is a\ */
        {"/a{1000}/", "too large"},
        {"/(a{100}){10}/", "too large"},
        {"/((((a{10}){10}){10}){10}){10}/", "too large"},
        {"/((((((){1000}){1000}){1000}){1000}){1000}){1000}/", "too large"},
        {"/((a{0}){999}){999}/", "too large"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        const struct match *pattern = NULL;
        const char *fault = NULL;
        const char *want = ROWS[i].fault;
        enum err err = match_compile(slice_str(ROWS[i].pattern), &arena, &pattern, &fault);
        cr_expect_eq(err, ERR_INVALID, "%s", ROWS[i].pattern);
        cr_expect_null(pattern, "%s", ROWS[i].pattern);
        if (want != NULL && err != ERR_OK) {
            cr_expect_not_null(strstr(fault, want), "%s: %s", ROWS[i].pattern, fault);
        }
    }
}

Test(match, has_a_ceiling_for_everything)
{
    char text[MATCH_TEXT_MAX + 2];
    const struct match *pattern = NULL;
    const char *fault = NULL;

    /* length */
    memset(text, 'a', sizeof text);
    text[0] = '/';
    text[MATCH_TEXT_MAX - 1] = '/';
    cr_expect_eq(match_compile(slice_of(text, MATCH_TEXT_MAX), &arena, &pattern, &fault), ERR_OK);
    text[MATCH_TEXT_MAX - 1] = 'a';
    text[MATCH_TEXT_MAX] = '/';
    cr_expect_eq(match_compile(slice_of(text, MATCH_TEXT_MAX + 1), &arena, &pattern, &fault),
                 ERR_INVALID);
    /* groups within groups */
    for (size_t depth = REGEX_DEPTH_MAX; depth <= REGEX_DEPTH_MAX + 1; depth++) {
        memset(text + 1, '(', depth);
        memset(text + 1 + depth, ')', depth);
        text[1 + 2 * depth] = '/';
        cr_expect_eq(match_compile(slice_of(text, 2 + 2 * depth), &arena, &pattern, &fault),
                     depth > REGEX_DEPTH_MAX ? ERR_INVALID : ERR_OK);
    }
    /* states: 998 and the end fit, 1000 do not */
    cr_expect_eq(match_compile(SLICE("/a{999}/"), &arena, &pattern, &fault), ERR_OK);
    cr_expect_eq(match_compile(SLICE("/a{999}b/"), &arena, &pattern, &fault), ERR_INVALID);
    /* the arena */
    struct arena small;
    arena_init(&small, 1024, 4096);
    cr_expect_eq(match_compile(SLICE("/a{900}/"), &small, &pattern, &fault), ERR_TOO_LARGE);
    arena_fini(&small);
    /* text that is no address */
    char *long_key = arena_bytes(&arena, ADDR_MAX + 1);
    memset(long_key, 'a', ADDR_MAX + 1);
    cr_expect(match_test(compile("/a/"), slice_of(long_key, ADDR_MAX)));
    cr_expect_not(match_test(compile("/a/"), slice_of(long_key, ADDR_MAX + 1)));
}

Test(match, holds_as_many_classes_and_branches_as_a_pattern_can_have)
{
    static const char *const PIECES[] = {"|",  "\\d", "[",        "[a]", "()",
                                         "a*", "(|)", "\xc3\xa4", "a?|"};

    for (size_t p = 0; p < ARRAY_LEN(PIECES); p++) {
        char text[MATCH_TEXT_MAX + 16] = "/";
        size_t len = 1;
        const struct match *pattern = NULL;
        const char *fault = NULL;
        while (len + strlen(PIECES[p]) < MATCH_TEXT_MAX) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", PIECES[p]);
        }
        text[len++] = '/';
        enum err err = match_compile(slice_of(text, len), &arena, &pattern, &fault);
        if (PIECES[p][0] == '[' && PIECES[p][1] == '\0') {
            cr_expect_not_null(strstr(fault, "close a ["));
        } else if (PIECES[p][0] == '|') {
            cr_expect_not_null(strstr(fault, "too large")); /* 510 of them: two states each */
        } else {
            cr_expect_eq(err, ERR_OK, "%s: %s", PIECES[p], fault);
        }
    }
}

/* ---- work ----------------------------------------------------------------------------------- */

/* Patterns that take a backtracking engine longer than the universe has. The bound is a promise of
 * the header: states times bytes. */
Test(match, works_no_more_than_states_times_bytes)
{
    static const struct {
        const char *pattern;
        uint64_t states; /* of the program, counted by hand and rounded up */
        char byte;
        bool is_match;
    } ROWS[] = {
        {"/(a|a)*b/", 10, 'a', false},
        {"/^(a|a)*$/", 10, 'a', true},
        {"/(a*)*b/", 10, 'a', false},
        {"/^(a*)*$/", 10, 'a', true},
        {"/(a+)+b/", 10, 'a', false},
        {"/((a*)*)*b/", 12, 'a', false},
        {"/(a|aa)+$/", 12, 'a', true},
        {"/^(([a-z])+.)+[A-Z]([a-z])+$/", 16, 'a', true},
        {"/(a?){30}a{30}$/", 100, 'a', true},
        {"/(a?){300}a{300}b/", 1000, 'a', false},
        {"/(.*)(.*)(.*)(.*)(.*)x/", 20, 'a', false},
        {"/(x+x+)+y/", 10, 'x', false},
        {"/^(.+)+@(.+)+$/", 16, 'a', false},
        {"/(((a?)?)?)*b/", 16, 'a', false},
        {"/(()*)*b/", 10, 'a', false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        char text[ADDR_MAX];
        uint64_t steps = 0;
        memset(text, ROWS[i].byte, sizeof text);
        bool is_match =
            match_test_counted(compile(ROWS[i].pattern), slice_of(text, sizeof text), &steps);
        cr_expect_eq(is_match, ROWS[i].is_match, "%s", ROWS[i].pattern);
        cr_expect_leq(steps, ROWS[i].states * (ADDR_MAX + 1), "%s took %zu steps", ROWS[i].pattern,
                      (size_t)steps);
        cr_expect_gt(steps, 0, "%s", ROWS[i].pattern);
    }
}

/* ---- another engine ------------------------------------------------------------------------- */

#define DEPTH 3 /* of groups */

struct writer {
    uint64_t seed;
    char text[256];
    size_t len;
};

static uint32_t roll(struct writer *writer, uint32_t sides)
{
    writer->seed = writer->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(writer->seed >> 33) % sides;
}

static void put(struct writer *writer, const char *text)
{
    if (writer->len + strlen(text) < sizeof writer->text) {
        memcpy(writer->text + writer->len, text, strlen(text) + 1);
        writer->len += strlen(text);
    }
}

/* Syntax that POSIX and we read alike. Anchors stay out of groups: glibc 2.36 lets
 * (a$){2} match "caaaca". */
static void put_expression(struct writer *writer, uint32_t depth)
{
    static const char *const ATOMS[] = {"a", "b", "c", ".", "[ab]", "[^a]", "[b-c]", "ab"};
    static const char *const COUNTS[] = {"*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,2}"};
    uint32_t items = 1 + roll(writer, 3);

    for (uint32_t i = 0; i < items; i++) {
        uint32_t kind = roll(writer, 10);
        if (kind == 0 && depth == DEPTH) {
            put(writer, roll(writer, 2) == 0 ? "^" : "$");
            continue;
        }
        if (kind < 4 && depth > 0) {
            put(writer, "(");
            put_expression(writer, depth - 1);
            if (roll(writer, 2) == 0) {
                put(writer, "|");
                put_expression(writer, depth - 1);
            }
            put(writer, ")");
        } else {
            put(writer, ATOMS[roll(writer, ARRAY_LEN(ATOMS))]);
        }
        if (roll(writer, 3) == 0) {
            put(writer, COUNTS[roll(writer, ARRAY_LEN(COUNTS))]);
        }
    }
}

Test(match, agrees_with_regexec_on_random_expressions)
{
    struct writer writer = {.seed = 42};
    uint32_t matched = 0;
    uint32_t tested = 0;

    for (uint32_t round = 0; round < 2000; round++) {
        writer.len = 0;
        put_expression(&writer, DEPTH);
        if (writer.len > 200) {
            continue;
        }
        regex_t regex;
        char wrapped[260];
        snprintf(wrapped, sizeof wrapped, "/%s/", writer.text);
        cr_assert_eq(regcomp(&regex, writer.text, REG_EXTENDED | REG_NOSUB), 0, "%s", writer.text);
        const struct match *pattern = compile(wrapped);
        for (uint32_t t = 0; t < 20; t++) {
            char key[9] = {0};
            uint32_t len = roll(&writer, sizeof key);
            for (uint32_t i = 0; i < len; i++) {
                key[i] = (char)('a' + roll(&writer, 3));
            }
            bool want = regexec(&regex, key, 0, NULL, 0) == 0;
            cr_assert_eq(match_test(pattern, slice_str(key)), want, "%s on %s: %d there",
                         writer.text, key, want);
            matched += want;
            tested++;
        }
        regfree(&regex);
        arena_clear(&arena);
    }
    /* Neither side may be the trivial one. */
    cr_expect_gt(matched, tested / 10);
    cr_expect_lt(matched, tested - tested / 10);
}
