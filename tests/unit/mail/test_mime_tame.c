/* Values before a library sees them. That they keep GMime harmless is tested with whole mails, in
 * test_mime_hostile.c.
 */
#include "mail/mime_tame.h"

#include <criterion/criterion.h>

static struct buf out;

static void setup(void)
{
    buf_init(&out, MIME_TAMED_MAX);
}

static void teardown(void)
{
    buf_fini(&out);
}

TestSuite(mime_tame, .init = setup, .fini = teardown);

Test(mime_tame, leaves_only_what_is_harmless)
{
    static const struct {
        enum mime_tame as;
        struct slice value;
        const char *tamed;
    } cases[] = {
        {MIME_TAME_TEXT, SLICE_INIT(" plain = ?text? "), "plain = ?text?"},
        {MIME_TAME_TEXT, SLICE_INIT("a\r\n b\tc\0d\x7f"), "a   b c d "},
        {MIME_TAME_TEXT, SLICE_INIT("=?UTF-8?Q?x?="), "=?utf-8?Q?x?="},
        {MIME_TAME_TEXT, SLICE_INIT("=?ISO-8859-1*fr?Q?x?="), "=?cp1252?Q?x?="},
        {MIME_TAME_TEXT, SLICE_INIT("=?nobody?B?x?="), "=?cp1252?B?x?="},
        {MIME_TAME_TEXT, SLICE_INIT("=?a b c?B?x?="), "=?cp1252?B?x?="},
        {MIME_TAME_TEXT, SLICE_INIT("=?us-ascii?Q?x?="), "=?utf-8?Q?x?="},
        {MIME_TAME_TEXT, SLICE_INIT("=?x?=?x?Q?y?="), "=?cp1252?=?cp1252?Q?y?="},
        {MIME_TAME_TEXT, SLICE_INIT("what=?yes?no"), "what=?yes?no"},
        {MIME_TAME_TEXT, SLICE_INIT("=??Q?x?="), "=??Q?x?="},
        {MIME_TAME_TEXT, SLICE_INIT("=?"), "=?"},
        {MIME_TAME_TEXT, SLICE_INIT("=?x?"), "=?x?"},
        {MIME_TAME_TEXT, SLICE_INIT("=?x?Q"), "=?x?Q"},
        {MIME_TAME_TEXT, SLICE_INIT("\x80\xc3\xa4\xe4"), "\xe2\x82\xac\xc3\xa4\xc3\xa4"},
        {MIME_TAME_TEXT, SLICE_INIT("it's *=x'y'z"), "it's *=x'y'z"},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n=\"it's\""), "a; n=\"it's\""},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n*=UTF8'en'x'y"), "a; n*=utf-8''x%27y"},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n* = \"nobody'en'x\""), "a; n*=\"cp1252''x\""},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n*=''x"), "a; n*=utf-8''x"},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n*=nobody'x"), "a; n*=cp1252''x"},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n*0*=latin1''x; n*1*=y'z"),
         "a; n*0*=cp1252''x; n*1*=y%27z"},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n *(c)= nobody'en'x"), "a; n *(c)= nobody%27en%27x"},
        {MIME_TAME_PARAMS, SLICE_INIT("a; n*=x; m='y'"), "a; n*=x; m=%27y%27"},
        {MIME_TAME_PARAMS, SLICE_INIT("n*"), "n*"},
        {MIME_TAME_PARAMS, SLICE_INIT("n*="), "n*="},
        {MIME_TAME_PARAMS, SLICE_INIT("n*=\""), "n*=\""},
        {MIME_TAME_ADDRS, SLICE_INIT("g: a@b;"), "g: a@b;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect(mime_tame(cases[i].value, MIME_FIELD_MAX, cases[i].as, &out));
        cr_expect_str_eq(out.data, cases[i].tamed, "%zu: %s", i, out.data);
    }
}

Test(mime_tame, says_when_a_value_was_cut)
{
    cr_expect(mime_tame(SLICE("12345"), 5, MIME_TAME_TEXT, &out));
    cr_expect_not(mime_tame(SLICE("123456"), 5, MIME_TAME_TEXT, &out));
    cr_expect_str_eq(out.data, "12345");
    cr_expect_not(mime_tame(SLICE("1234\xc3\xa4"), 5, MIME_TAME_TEXT, &out));
    cr_expect_str_eq(out.data, "1234");
    cr_expect_not(mime_tame(SLICE("=?x?Q?y?="), 5, MIME_TAME_TEXT, &out));
    cr_expect_str_eq(out.data, "=?cp1");
    cr_expect_not(mime_tame(SLICE("x"), 0, MIME_TAME_TEXT, &out));
    cr_expect_str_eq(out.data, "");
}

Test(mime_tame, fits_its_room_whatever_the_value)
{
    static const char *const patterns[] = {"=?x?", "'", "*='", "\x80", "*=x'y'", ":"};
    struct buf value;
    buf_init(&value, 8 * MIME_ADDRS_FIELD_MAX);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        buf_clear(&value);
        while (value.len < 2 * MIME_ADDRS_FIELD_MAX) {
            buf_add_str(&value, patterns[i]);
        }
        for (int as = MIME_TAME_TEXT; as <= MIME_TAME_PARAMS; as++) {
            cr_expect_not(
                mime_tame(buf_slice(&value), MIME_ADDRS_FIELD_MAX, (enum mime_tame)as, &out));
            cr_expect_leq(out.len, MIME_ADDRS_FIELD_MAX + 1);
            cr_expect_eq(strlen(out.data), out.len - 1);
        }
    }
    buf_fini(&value);
}

/* GMime would look for the end of each. */
Test(mime_tame, breaks_up_words_that_do_not_end)
{
    struct buf value;
    buf_init(&value, MIME_FIELD_MAX);
    while (value.len < 10000) {
        buf_add_str(&value, "=?utf-8?q?x");
    }
    cr_expect(mime_tame(buf_slice(&value), MIME_FIELD_MAX, MIME_TAME_TEXT, &out));
    size_t words = 0;
    struct slice rest = buf_slice(&out);
    for (size_t at = 0; (at = slice_find(rest, SLICE("=?"))) != SIZE_MAX; words++) {
        rest = slice_from(rest, at + 2);
    }
    cr_expect_lt(words, 20);
    buf_clear(&value);
    while (value.len < 10000) {
        buf_add_str(&value, "=?utf-8?q?x?= ");
    }
    cr_expect(mime_tame(buf_slice(&value), MIME_FIELD_MAX, MIME_TAME_TEXT, &out));
    cr_expect_eq(slice_find(buf_slice(&out), SLICE("= ?")), SIZE_MAX);
    buf_fini(&value);
}

Test(mime_tame, lets_few_colons_through)
{
    struct buf value;
    size_t colons = 0;
    buf_init(&value, 8 * MIME_ADDRS_FIELD_MAX);
    while (value.len < 1000) {
        buf_add_str(&value, "a:");
    }
    cr_expect(mime_tame(buf_slice(&value), MIME_FIELD_MAX, MIME_TAME_ADDRS, &out));
    for (size_t i = 0; i < out.len; i++) {
        colons += out.data[i] == ':' ? 1 : 0;
    }
    cr_expect_eq(colons, MIME_COLONS_MAX);
    buf_fini(&value);
}

Test(mime_tame, makes_file_names_fit_to_be_saved)
{
    static const struct {
        const char *name;
        const char *clean;
    } cases[] = {
        {"a.txt", "a.txt"},
        {"a/b/c.txt", "c.txt"},
        {"a\\b\\c.txt", "c.txt"},
        {"/", ""},
        {".", ""},
        {"..", ""},
        {"a/..", ""},
        {" a ", "a"},
        {"a\x1b[1mb", "a[1mb"},
        {"a\xc2\x9bz", "az"},
        {"a\xe2\x80\xaegpj.exe", "agpj.exe"},
        {"a\xe2\x81\xa6z\xe2\x80\x8f", "az"},
        {"\xe2\x80\x94", "\xe2\x80\x94"},
        {"\xc3\xa4.txt", "\xc3\xa4.txt"},
    };
    char text[600];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].name);
        memcpy(text, cases[i].name, len);
        struct slice clean = mime_clean_filename(slice_of(text, len));
        cr_expect(slice_equal(clean, slice_str(cases[i].clean)), "%s: %.*s", cases[i].clean,
                  SLICE_FMT(clean));
    }
    memset(text, 'x', sizeof text);
    memcpy(text + sizeof text - 4, ".pdf", 4);
    struct slice cut = mime_clean_filename(slice_of(text, sizeof text));
    cr_expect_eq(cut.len, ATTACHMENT_NAME_MAX);
    cr_expect(slice_ends(cut, SLICE("x.pdf")));
    for (size_t i = 0; i < sizeof text; i += 2) {
        memcpy(text + i, "\xc3\xa4", 2);
    }
    cut = mime_clean_filename(slice_of(text, sizeof text));
    cr_expect_eq(cut.len, ATTACHMENT_NAME_MAX - 1);
    cr_expect(slice_is_utf8(cut));
}
