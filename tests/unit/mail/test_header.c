/* Not covered here: how Python reads encoded words and parameters (test_mime_write.c), how header
 * fields are canonicalised (test_dkim.c).
 */
#include "mail/header.h"

#include <criterion/criterion.h>
#include <string.h>

static struct slice text(const char *terminated)
{
    return slice_str(terminated);
}

static void assert_is(const struct buf *out, const char *want)
{
    cr_assert(slice_equal(buf_slice(out), text(want)), "got  [%.*s]\nwant [%s]",
              SLICE_FMT(buf_slice(out)), want);
}

/* Every line at most `max` columns, no bare CR or LF, ASCII, no blank line, one field. */
static void assert_sound(struct slice out, size_t max)
{
    struct slice rest = out;

    cr_assert(slice_ends(out, SLICE("\r\n")));
    cr_assert(slice_is_ascii(out));
    rest.len -= 2;
    for (bool is_first = true; rest.data != NULL; is_first = false) {
        struct slice line = slice_cut(&rest, '\n');
        if (rest.data != NULL) {
            cr_assert(slice_ends(line, SLICE("\r")));
            line.len--;
        }
        cr_assert(!slice_has_byte(line, '\r'));
        cr_assert(slice_trim(line).len > 0);
        cr_assert(is_first || line.data[0] == ' ' || line.data[0] == '\t');
        cr_assert_leq(line.len, max, "%zu columns: %.*s", line.len, SLICE_FMT(line));
    }
}

/* ---- names ---------------------------------------------------------------------------------- */

Test(header, accepts_only_printable_names_without_a_colon)
{
    char longest[78];
    memset(longest, 'x', 77);
    longest[77] = '\0';

    cr_assert(header_name_is_valid(text("X-Campaign")));
    cr_assert(header_name_is_valid(text("!#$%&'*+-.^_`|~{}()<>@,;\\\"/[]?=")));
    cr_assert(header_name_is_valid(text(longest + 1)));
    static const char *const WRONG[] = {"",    "X Y", "X:",    "X\r\nBcc",
                                        "X\n", "X\t", "X\x7f", "\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        cr_expect(!header_name_is_valid(text(WRONG[i])), "%s", WRONG[i]);
    }
    cr_expect(!header_name_is_valid(text(longest)));
    cr_expect(!header_name_is_valid(slice_of("X\0Y", 3)));
}

Test(header, protects_the_fields_that_meerkat_writes)
{
    static const char *const OURS[] = {
        "From",
        "TO",
        "cc",
        "Bcc",
        "Date",
        "Message-Id",
        "subject",
        "MIME-version",
        "Content-Type",
        "content-anything",
        "DKIM-Signature",
        "Received",
        "Return-Path",
        "Sender",
        "Reply-To",
        "ARC-Seal",
        "Feedback-ID",
        "Authentication-Results",
        "Resent-From",
    };
    static const char *const THEIRS[] = {
        "X-From",  "In-Reply-To", "References",     "List-Unsubscribe",
        "Content", "Fromage",     "Auto-Submitted",
    };
    for (size_t i = 0; i < ARRAY_LEN(OURS); i++) {
        cr_expect(header_name_is_protected(text(OURS[i])), "%s", OURS[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(THEIRS); i++) {
        cr_expect(!header_name_is_protected(text(THEIRS[i])), "%s", THEIRS[i]);
    }
}

/* ---- writing text --------------------------------------------------------------------------- */

Test(header, writes_text_as_it_is_or_as_encoded_words)
{
    static const struct {
        const char *value;
        const char *want;
    } ROWS[] = {
        {"Hello", "Subject: Hello\r\n"},
        {"", "Subject:\r\n"},
        {"  in spaces \t", "Subject: in spaces\r\n"},
        {"two  spaces", "Subject: two  spaces\r\n"},
        {"Gr\xc3\xbc\xc3\x9f"
         "e",
         "Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n"},
        {"K\xc3\xb6ln und anderswo", "Subject: =?UTF-8?Q?K=C3=B6ln_und_anderswo?=\r\n"},
        {"\xe6\x97\xa5\xe6\x9c\xac", "Subject: =?UTF-8?B?5pel5pys?=\r\n"},
        /* A control byte is a space, whatever it was meant to do. */
        {"a\r\nBcc: x@y.z", "Subject: =?UTF-8?Q?a__Bcc=3A_x=40y=2Ez?=\r\n"},
        /* What already looks encoded must reach the reader as it was given. */
        {"=?UTF-8?Q?a?=", "Subject: =?UTF-8?B?PT9VVEYtOD9RP2E/PQ==?=\r\n"},
        {"1 =? 2 ?= 3", "Subject: 1 =? 2 ?= 3\r\n"},
        {"aaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbb ccccccccccccccccccc ddddddddd e",
         "Subject: aaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbb ccccccccccccccccccc ddddddddd\r\n "
         "e\r\n"},
        {"aaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbb ccccccccccccccccccc dddddd e",
         "Subject: aaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbb ccccccccccccccccccc dddddd e\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct buf out;
        buf_init(&out, 4096);
        header_write_text(&out, text("Subject"), text(ROWS[i].value));
        assert_is(&out, ROWS[i].want);
        buf_fini(&out);
    }
}

Test(header, recognises_what_a_reader_would_decode)
{
    static const struct {
        const char *value;
        bool is_encoded;
    } ROWS[] = {
        {"", false},
        {"=?", false},
        {"=?a", false},
        {"=?a?", false},
        {"=?a?b", false},
        {"=?a?b?", true},
        {"x =?a?Q?y?=", true},
        {"=?a?c?", false},
        {"=?=?a?q?b?=", true},
        {"=?\?=?a?q?b?=", true},
        {"?a=?b?c=?u?B?", true},
        {"http://x/?y=?z", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        cr_expect_eq(header_looks_encoded(text(ROWS[i].value)), ROWS[i].is_encoded, "%s",
                     ROWS[i].value);
    }
}

Test(header, never_passes_a_line_limit_whatever_the_value)
{
    static char value[4096];
    struct buf out;

    buf_init(&out, 65536);
    for (size_t width = 1; width < 1200; width += 37) {
        for (size_t i = 0; i < sizeof value; i++) {
            value[i] = (i % width) == 0 ? ' ' : (char)('a' + i % 26);
        }
        buf_clear(&out);
        header_write_text(&out, text("X-Long"), slice_of(value, sizeof value));
        assert_sound(buf_slice(&out), width < 70 ? 78 : 998);
        buf_clear(&out);
        header_write_structured(&out, text("X-Long"), slice_of(value, sizeof value));
        assert_sound(buf_slice(&out), width < 70 ? 78 : 998);
    }
    memset(value, ' ', sizeof value);
    value[0] = 'a';
    value[sizeof value - 1] = 'b';
    buf_clear(&out);
    header_write_text(&out, text("X-Long"), slice_of(value, sizeof value));
    assert_sound(buf_slice(&out), 78);
    memset(value, '"', 1);
    memset(value + 1, 'q', sizeof value - 1);
    buf_clear(&out);
    header_write_structured(&out, text("X-Long"), slice_of(value, sizeof value));
    assert_sound(buf_slice(&out), 998);
    buf_fini(&out);
}

Test(header, never_splits_a_character_between_encoded_words)
{
    /* Characters of one to four bytes in turn; a name of each length shifts where words end. */
    static const char *const CHARS[] = {"e", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\xa6\x8a"};
    struct buf value;
    struct buf out;

    buf_init(&value, 4096);
    buf_init(&out, 65536);
    for (size_t i = 0; i < 300; i++) {
        buf_add_str(&value, CHARS[i * i % 4]);
        if (i % 3 == 0) {
            buf_add_str(&value, CHARS[i % 4]);
        }
    }
    for (size_t name_len = 1; name_len <= 76; name_len++) {
        struct slice name =
            slice_of("XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
                     "XXXXXXXXXXXX",
                     name_len);
        buf_clear(&out);
        header_write_text(&out, name, buf_slice(&value));
        assert_sound(buf_slice(&out), 78);
        struct slice rest = buf_slice(&out);
        while (slice_find(rest, SLICE("=?UTF-8?")) != SIZE_MAX) {
            rest = slice_from(rest, slice_find(rest, SLICE("=?UTF-8?")) + 8);
            size_t end = slice_find(slice_from(rest, 2), SLICE("?="));
            cr_assert_leq(end + 12, 75);
            struct slice word = slice_sub(rest, 2, end);
            if (rest.data[0] == 'Q') {
                /* No word starts with a continuation byte. */
                cr_assert(!(word.data[0] == '=' && word.data[1] >= '8' && word.data[1] <= 'B'));
            } else {
                cr_assert_eq(word.len % 4, 0);
            }
        }
    }
    buf_fini(&value);
    buf_fini(&out);
}

Test(header, survives_damaged_utf8)
{
    static const char *const DAMAGED[] = {"\xff", "a\xc3", "\x80\x80\x80\x80\x80\x80", "\xf0\x9f",
                                          "\xe2(\xa1"};
    for (size_t i = 0; i < ARRAY_LEN(DAMAGED); i++) {
        struct buf out;
        buf_init(&out, 4096);
        header_write_text(&out, text("Subject"), text(DAMAGED[i]));
        assert_sound(buf_slice(&out), 78);
        buf_clear(&out);
        buf_add_str(&out, "X: y");
        header_write_param(&out, text("name"), text(DAMAGED[i]));
        buf_add_str(&out, "\r\n");
        assert_sound(buf_slice(&out), 78);
        buf_fini(&out);
    }
}

Test(header, separates_words_by_spaces_when_it_may_not_fold)
{
    struct buf out;
    char value[200];

    memset(value, '\xc3', sizeof value);
    for (size_t i = 1; i < sizeof value; i += 2) {
        value[i] = '\xa4';
    }
    buf_init(&out, 4096);
    header_encode_words(&out, slice_of(value, sizeof value), HEADER_NO_FOLD);
    cr_assert(!slice_has_byte(buf_slice(&out), '\n'));
    cr_assert(slice_has_byte(buf_slice(&out), ' '));
    buf_fini(&out);
}

/* ---- writing structured values -------------------------------------------------------------- */

Test(header, folds_structured_values_outside_quotes_only)
{
    struct buf out;

    buf_init(&out, 4096);
    header_write_structured(
        &out, text("To"),
        text("\"one two three four five six seven eight nine ten\" <one@example.com>, "
             "\"a \\\" b c d e f g h i j k l m n o p q r s t u v w x y z\" <two@example.com>"));
    assert_is(
        &out,
        "To: \"one two three four five six seven eight nine ten\" <one@example.com>,\r\n"
        " \"a \\\" b c d e f g h i j k l m n o p q r s t u v w x y z\" <two@example.com>\r\n");
    buf_clear(&out);
    header_write_structured(&out, text("X"), text("a\r\nBcc: b"));
    assert_is(&out, "X: a Bcc: b\r\n");
    buf_clear(&out);
    header_write_structured(&out, text("X"), text("\"a\r\nb\""));
    assert_is(&out, "X: \"a  b\"\r\n");
    buf_fini(&out);
}

/* ---- parameters ----------------------------------------------------------------------------- */

Test(header, writes_parameters_quoted_or_as_rfc_2231)
{
    static const struct {
        const char *value;
        const char *want;
    } ROWS[] = {
        {"a.pdf", ";\r\n filename=\"a.pdf\""},
        {"a b (1).pdf", ";\r\n filename=\"a b (1).pdf\""},
        {"", ";\r\n filename=\"\""},
        {"a\"b", ";\r\n filename*=UTF-8''a%22b"},
        {"a\\b", ";\r\n filename*=UTF-8''a%5Cb"},
        {"a\r\nb", ";\r\n filename*=UTF-8''a%20%20b"},
        {"r\xc3\xa9sum\xc3\xa9.pdf", ";\r\n filename*=UTF-8''r%C3%A9sum%C3%A9.pdf"},
        {"a*b'c%d\xc3\xa9", ";\r\n filename*=UTF-8''a%2Ab%27c%25d%C3%A9"},
        {"=?a?q?b?=", ";\r\n filename*=UTF-8''%3D%3Fa%3Fq%3Fb%3F%3D"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         ";\r\n filename*0*=UTF-8''0123456789012345678901234567890123456789012345678901234"
         ";\r\n filename*1*=567890123456789"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct buf out;
        buf_init(&out, 4096);
        header_write_param(&out, text("filename"), text(ROWS[i].value));
        assert_is(&out, ROWS[i].want);
        buf_fini(&out);
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

Test(header, reads_fields_in_place_and_stops_at_the_empty_line)
{
    struct slice rest =
        text("A: 1\r\nB :\r\n 2\r\n\t3\r\nC:4\nbroken\r\n: x\r\nD:\r\n\r\nE: 5\r\n");
    static const struct {
        const char *name;
        const char *value;
        const char *whole;
    } ROWS[] = {
        {"A", " 1", "A: 1\r\n"}, {"B", "\r\n 2\r\n\t3", "B :\r\n 2\r\n\t3\r\n"},
        {"C", "4", "C:4\n"},     {"", "broken", "broken\r\n"},
        {"", " x", ": x\r\n"},   {"D", "", "D:\r\n"},
    };
    struct header_field field;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        cr_assert(header_next(&rest, &field));
        cr_expect(slice_equal(field.name, text(ROWS[i].name)), "%s", ROWS[i].whole);
        cr_expect(slice_equal(field.value, text(ROWS[i].value)), "%s", ROWS[i].whole);
        cr_expect(slice_equal(field.whole, text(ROWS[i].whole)), "%s", ROWS[i].whole);
    }
    cr_assert(!header_next(&rest, &field));
    cr_assert(slice_equal(rest, text("\r\nE: 5\r\n")));
}

Test(header, reads_fields_that_nothing_ends)
{
    static const char *const ENDS[] = {"A: 1", "A: 1\r\n", "A: 1\n", "A: 1\r\n 2", "A: 1\r\n "};
    for (size_t i = 0; i < ARRAY_LEN(ENDS); i++) {
        struct slice rest = text(ENDS[i]);
        struct header_field field;
        cr_assert(header_next(&rest, &field));
        cr_expect(slice_equal(field.name, text("A")));
        cr_expect(slice_equal(field.whole, text(ENDS[i])));
        cr_expect(!header_next(&rest, &field));
    }
    struct slice nothing = {.data = NULL, .len = 0};
    struct header_field field;
    cr_assert(!header_next(&nothing, &field));
}

Test(header, measures_the_header_block_with_its_empty_line)
{
    static const struct {
        const char *mail;
        size_t len;
    } ROWS[] = {
        {"", 0},
        {"\r\nbody", 2},
        {"\nbody", 1},
        {"A: 1\r\n\r\nbody", 8},
        {"A: 1\n\nb", 6},
        {"A: 1\r\n \r\n\r\n", 11},
        {"A: 1\r\n", 6},
        {"A: 1", 4},
        {"A: 1\r\n\nb", 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        cr_expect_eq(header_block_len(text(ROWS[i].mail)), ROWS[i].len, "%zu", i);
    }
}
