/* Not covered here: every converter of iconv; the table's names are opened once each.
 */
#include "mail/charset.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <string.h>

static struct buf out;

static void setup(void)
{
    buf_init(&out, MIB);
}

static void teardown(void)
{
    buf_fini(&out);
}

TestSuite(charset, .init = setup, .fini = teardown);

Test(charset, knows_the_labels_of_mail)
{
    static const struct {
        const char *label;
        const char *name;
    } labels[] = {
        {"", "us-ascii"},
        {"US-ASCII", "us-ascii"},
        {"UTF-8", "utf-8"},
        {"utf8", "utf-8"},
        {"utf_8", "utf-8"},
        {" utf-8 ", "utf-8"},
        {"ISO-8859-1", "windows-1252"},
        {"iso8859-1", "windows-1252"},
        {"iso_8859-1", "windows-1252"},
        {"Latin1", "windows-1252"},
        {"cp1252", "windows-1252"},
        {"Windows-1251", "windows-1251"},
        {"win-1251", "windows-1251"},
        {"ISO-8859-15", "iso-8859-15"},
        {"x-sjis", "cp932"},
        {"Shift_JIS", "cp932"},
        {"cp932", "cp932"},
        {"ms949", "cp949"},
        {"GB2312", "gb18030"},
        {"ks_c_5601-1987", "cp949"},
        {"cp850", "cp850"},
        {"IBM437", "cp437"},
        {"KOI8-R", "koi8-r"},
        {"x-mac-roman", "macintosh"},
    };
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        const char *name = charset_find(slice_str(labels[i].label));
        cr_expect(name != NULL && strcmp(name, labels[i].name) == 0, "%s: %s", labels[i].label,
                  name == NULL ? "none" : name);
    }
}

Test(charset, knows_no_other_labels)
{
    static const char *const labels[] = {
        "nobody",
        "utf-8//TRANSLIT",
        "../utf-8",
        "utf-8\x01",
        "ISO-8859-99",
        "UCS-4",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
        "iso8859-",
        "cp",
        "cp4",
        "cp8",
        "cp9",
        "iso88012345678901234567890123456789012", /* as long as one can be, and gets longer */
    };
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        cr_expect_null(charset_find(slice_str(labels[i])), "%s", labels[i]);
    }
}

static const char *read(const char *label, struct slice text, bool is_whole)
{
    buf_clear(&out);
    cr_expect_eq(charset_to_utf8(charset_find(slice_str(label)), text, &out), is_whole);
    cr_expect(slice_is_utf8(buf_slice(&out)) && !slice_has_byte(buf_slice(&out), '\0'));
    buf_add_byte(&out, '\0');
    return out.data;
}

Test(charset, converts_what_is_sound)
{
    static const struct {
        const char *label;
        struct slice text;
        const char *utf8;
    } cases[] = {
        {"utf-8", SLICE_INIT("\xef\xbb\xbfx\xc3\xa4"), "x\xc3\xa4"},
        {"", SLICE_INIT("\xc3\xa4"), "\xc3\xa4"},
        {"", SLICE_INIT("\xe4\x80"), "\xc3\xa4\xe2\x82\xac"},
        {"iso-8859-1", SLICE_INIT("\xe4\x93x\x94"), "\xc3\xa4\xe2\x80\x9cx\xe2\x80\x9d"},
        {"iso-8859-2", SLICE_INIT("\xb1"), "\xc4\x85"},
        {"iso-8859-9", SLICE_INIT("\xfd"), "\xc4\xb1"},
        {"tis-620", SLICE_INIT("\xa1"), "\xe0\xb8\x81"},
        {"windows-1251", SLICE_INIT("\xcf"), "\xd0\x9f"},
        {"windows-1258", SLICE_INIT("a"), "a"},
        {"koi8-r", SLICE_INIT("\xf0"), "\xd0\x9f"},
        {"koi8-u", SLICE_INIT("\xf0"), "\xd0\x9f"},
        {"ibm866", SLICE_INIT("\x8f"), "\xd0\x9f"},
        {"macintosh", SLICE_INIT("\x8a"), "\xc3\xa4"},
        {"utf-16", SLICE_INIT("\xff\xfe\xe4\x00"), "\xc3\xa4"},
        {"utf-16be", SLICE_INIT("\xfe\xff\x00\xe4"), "\xc3\xa4"},
        {"utf-16le", SLICE_INIT("\x3d\xd8\x00\xde"), "\xf0\x9f\x98\x80"},
        {"utf-32be", SLICE_INIT("\0\0\0\xe4"), "\xc3\xa4"},
        {"utf-7", SLICE_INIT("+AOQ-"), "\xc3\xa4"},
        {"iso-2022-jp", SLICE_INIT("\x1b$B$\"\x1b(Bx"), "\xe3\x81\x82x"},
        {"shift_jis", SLICE_INIT("\x82\xa0"), "\xe3\x81\x82"},
        {"euc-jp", SLICE_INIT("\xa4\xa2"), "\xe3\x81\x82"},
        {"gb2312", SLICE_INIT("\xc4\xe3"), "\xe4\xbd\xa0"},
        {"big5", SLICE_INIT("\xa7\x41"), "\xe4\xbd\xa0"},
        {"euc-tw", SLICE_INIT("x"), "x"},
        {"euc-kr", SLICE_INIT("\xb0\xa1"), "\xea\xb0\x80"},
        {"iso-2022-kr", SLICE_INIT("\x1b$)Cx\x0e\x30\x21\x0f"), "x\xea\xb0\x80"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect_str_eq(read(cases[i].label, cases[i].text, true), cases[i].utf8, "%s: %s",
                         cases[i].label, out.data);
    }
}

Test(charset, has_a_converter_for_every_name)
{
    static const char *const labels[] = {
        "iso-8859-3",   "iso-8859-4",   "iso-8859-5",     "iso-8859-6",    "iso-8859-7",
        "iso-8859-8-i", "iso-8859-10",  "iso-8859-13",    "iso-8859-14",   "iso-8859-15",
        "iso-8859-16",  "windows-1250", "windows-1253",   "windows-1254",  "windows-1255",
        "windows-1256", "windows-1257", "cp437",          "cp850",         "cp852",
        "cp855",        "cp858",        "x-mac-cyrillic", "iso-2022-jp-2", "utf-32le",
        "utf-32",
    };
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        /* Without a converter the bytes would be read as UTF-8, and none is that. */
        bool is_wide = strncmp(labels[i], "utf-32", 6) == 0;
        const char *text = read(labels[i], is_wide ? SLICE("A\0\0\0") : SLICE("A"), true);
        cr_expect_str_eq(text, "A", "%s", labels[i]);
    }
}

Test(charset, marks_what_is_damaged)
{
    static const struct {
        const char *label;
        struct slice text;
        const char *utf8;
    } cases[] = {
        {"utf-8",
         SLICE_INIT("a\xff"
                    "b"),
         "a\xef\xbf\xbd"
         "b"},
        {"utf-8", SLICE_INIT("a\xe2\x82"), "a\xef\xbf\xbd"},
        {"utf-8", SLICE_INIT("\xed\xa0\x80"), "\xef\xbf\xbd"},
        {"utf-8", SLICE_INIT("\xc0\xaf/"), "\xef\xbf\xbd/"},
        {"utf-8", SLICE_INIT("a\0b"),
         "a\xef\xbf\xbd"
         "b"},
        {"utf-8", SLICE_INIT("\x80\x80\x80\x80\x80"), "\xef\xbf\xbd\xef\xbf\xbd"},
        {"iso-8859-1", SLICE_INIT("a\x81z\0"), "a\xef\xbf\xbdz\xef\xbf\xbd"},
        {"shift_jis", SLICE_INIT("a\x82"), "a\xef\xbf\xbd"},
        {"utf-16le",
         SLICE_INIT("a\0\x00\xdc"
                    "b\0"),
         "a\xef\xbf\xbd"
         "b"},
        {"utf-16le", SLICE_INIT("a\0b"), "a\xef\xbf\xbd"},
        {"iso-2022-jp", SLICE_INIT("\x1b$B$\"\xff\x1b(Bx"), "\xe3\x81\x82\xef\xbf\xbdx"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect_str_eq(read(cases[i].label, cases[i].text, true), cases[i].utf8, "%zu: %s", i,
                         out.data);
    }
}

Test(charset, cuts_at_a_character)
{
    static const char *const labels[] = {"utf-8", "iso-8859-1", "iso-8859-15"};
    static const struct slice texts[] = {SLICE_INIT("xxx\xe2\x82\xac\xe2\x82\xacz"),
                                         SLICE_INIT("xxx\x80\x80z"), SLICE_INIT("xxx\xa4\xa4z")};
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        for (size_t max = 0; max < 12; max++) {
            struct buf small;
            buf_init(&small, max);
            bool is_whole = charset_to_utf8(charset_find(slice_str(labels[i])), texts[i], &small);
            cr_expect_eq(is_whole, max >= 10);
            cr_expect_eq(buf_err(&small), ERR_OK);
            cr_expect(slice_is_utf8(buf_slice(&small)));
            cr_expect(slice_starts(SLICE("xxx\xe2\x82\xac\xe2\x82\xacz"), buf_slice(&small)));
            cr_expect(small.len == 10 || small.len + 3 > max);
            buf_fini(&small);
        }
    }
}

Test(charset, guesses_bytes_as_the_fallback_does)
{
    for (uint32_t byte = 1; byte < 256; byte++) {
        char text = (char)byte;
        struct buf guessed;
        buf_init(&guessed, 16);
        charset_guess_byte((uint8_t)byte, &guessed);
        buf_add_byte(&guessed, '\0');
        cr_expect_str_eq(guessed.data, read("windows-1252", slice_of(&text, 1), true), "%x", byte);
        buf_fini(&guessed);
    }
}
