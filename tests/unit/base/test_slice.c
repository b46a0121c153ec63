/* Not covered here: the fuzzers that walk these functions with hostile bytes (tests/fuzz). */
#include "base/slice.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

static const struct slice none = {.data = NULL, .len = 0};

static void expect(struct slice got, const char *wanted)
{
    cr_assert(slice_equal(got, slice_str(wanted)), "got `%.*s`, wanted `%s`", SLICE_FMT(got),
              wanted);
}

Test(slice, compares_contents_and_not_pointers)
{
    char copy[] = "abc";
    cr_assert(slice_equal(SLICE("abc"), slice_of(copy, 3)));
    cr_assert(!slice_equal(SLICE("abc"), SLICE("abd")));
    cr_assert(!slice_equal(SLICE("abc"), SLICE("ab")));
    cr_assert(slice_equal(none, SLICE("")));
    cr_assert(slice_equal(slice_str(NULL), none));
    cr_assert(slice_equal_nocase(SLICE("ExAmPlE.1"), SLICE("eXaMpLe.1")));
    /* '[' and '{' differ by the same bit as letters do. */
    cr_assert(!slice_equal_nocase(SLICE("["), SLICE("{")));
    cr_assert(!slice_equal_nocase(SLICE("\xc4"), SLICE("\xe4")), "folding is ASCII only");
}

Test(slice, orders_as_memcmp_and_the_shorter_first)
{
    cr_assert(slice_compare(SLICE("a"), SLICE("b")) < 0);
    cr_assert(slice_compare(SLICE("ab"), SLICE("a")) > 0);
    cr_assert(slice_compare(SLICE("a"), SLICE("\xff")) < 0, "bytes are unsigned");
    cr_assert_eq(slice_compare(none, SLICE("")), 0);
    cr_assert(slice_compare(none, SLICE("a")) < 0);
}

Test(slice, knows_its_beginning_and_end)
{
    cr_assert(slice_starts(SLICE("msg_1"), SLICE("msg_")));
    cr_assert(!slice_starts(SLICE("msg"), SLICE("msg_")));
    cr_assert(slice_starts(none, SLICE("")));
    cr_assert(slice_starts_nocase(SLICE("BEARER x"), SLICE("Bearer ")));
    cr_assert(slice_ends(SLICE("mx.test"), SLICE(".test")));
    cr_assert(!slice_ends(SLICE("test"), SLICE(".test")));
    cr_assert(slice_ends_nocase(SLICE("mx.TEST"), SLICE(".test")));
}

Test(slice, finds_bytes_and_runs)
{
    struct slice s = SLICE("a,b,c");
    cr_assert_eq(slice_find_byte(s, ','), 1);
    cr_assert_eq(slice_rfind_byte(s, ','), 3);
    cr_assert_eq(slice_find_byte(s, ';'), SIZE_MAX);
    cr_assert_eq(slice_find_byte(none, ','), SIZE_MAX);
    cr_assert_eq(slice_rfind_byte(none, ','), SIZE_MAX);
    cr_assert_eq(slice_find_byte(SLICE("a\0b"), '\0'), 1);
    cr_assert_eq(slice_find(s, SLICE("b,c")), 2);
    cr_assert_eq(slice_find(s, SLICE("")), 0);
    cr_assert_eq(slice_find(none, SLICE("x")), SIZE_MAX);
    cr_assert_eq(slice_find(SLICE("ab"), SLICE("abc")), SIZE_MAX);
    cr_assert(slice_has_byte(s, 'c'));
    cr_assert(!slice_has_byte(s, 'd'));
}

Test(slice, clamps_parts_to_what_is_there)
{
    struct slice s = SLICE("hello");
    expect(slice_from(s, 2), "llo");
    expect(slice_from(s, 5), "");
    expect(slice_from(s, SIZE_MAX), "");
    expect(slice_head(s, 2), "he");
    expect(slice_head(s, SIZE_MAX), "hello");
    expect(slice_sub(s, 1, 3), "ell");
    expect(slice_sub(s, 4, SIZE_MAX), "o");
    cr_assert_null(slice_from(none, 7).data);
}

Test(slice, trims_white_space_of_mail_at_both_ends)
{
    expect(slice_trim(SLICE(" \t\r\n a b \r\n")), "a b");
    expect(slice_trim(SLICE(" \t ")), "");
    expect(slice_trim(none), "");
    expect(slice_trim(SLICE("\va\v")), "\va\v");
}

Test(slice, cuts_every_part_once_empty_ones_too)
{
    static const struct {
        const char *text;
        const char *parts;
        size_t count;
    } table[] = {
        {"a,b,c", "[a][b][c]", 3}, {"a", "[a]", 1},     {"a,", "[a][]", 2},
        {",a", "[][a]", 2},        {",,", "[][][]", 3}, {"", "[]", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char parts[64] = "";
        size_t count = 0;
        struct slice rest = slice_str(table[i].text);
        while (rest.data != NULL) {
            struct slice part = slice_cut(&rest, ',');
            size_t at = strlen(parts);
            snprintf(parts + at, sizeof(parts) - at, "[%.*s]", SLICE_FMT(part));
            count++;
        }
        cr_assert_str_eq(parts, table[i].parts);
        cr_assert_eq(count, table[i].count);
        cr_assert_eq(rest.len, 0);
    }
    struct slice rest = none;
    cr_assert_eq(slice_cut(&rest, ',').len, 0);
}

Test(slice, reads_unsigned_numbers_and_nothing_else)
{
    static const struct {
        const char *text;
        enum err err;
        uint64_t value;
    } table[] = {
        {"0", ERR_OK, 0},
        {"007", ERR_OK, 7},
        {"18446744073709551615", ERR_OK, UINT64_MAX},
        {"18446744073709551616", ERR_INVALID, 0},
        {"18446744073709551620", ERR_INVALID, 0},
        {"99999999999999999999999", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"-1", ERR_INVALID, 0},
        {"+1", ERR_INVALID, 0},
        {" 1", ERR_INVALID, 0},
        {"1 ", ERR_INVALID, 0},
        {"0x10", ERR_INVALID, 0},
        {"1e3", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint64_t value = 4242;
        cr_assert_eq(slice_u64(slice_str(table[i].text), &value), table[i].err, "`%s`",
                     table[i].text);
        cr_assert_eq(value, table[i].err == ERR_OK ? table[i].value : 4242, "`%s`", table[i].text);
    }
    uint64_t value = 1;
    cr_assert_eq(slice_u64(none, &value), ERR_INVALID);
}

Test(slice, reads_signed_numbers_to_both_ends)
{
    static const struct {
        const char *text;
        enum err err;
        int64_t value;
    } table[] = {
        {"9223372036854775807", ERR_OK, INT64_MAX},
        {"9223372036854775808", ERR_INVALID, 0},
        {"-9223372036854775808", ERR_OK, INT64_MIN},
        {"-9223372036854775809", ERR_INVALID, 0},
        {"-0", ERR_OK, 0},
        {"-1", ERR_OK, -1},
        {"-", ERR_INVALID, 0},
        {"--1", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int64_t value = 4242;
        cr_assert_eq(slice_i64(slice_str(table[i].text), &value), table[i].err, "`%s`",
                     table[i].text);
        cr_assert_eq(value, table[i].err == ERR_OK ? table[i].value : 4242, "`%s`", table[i].text);
    }
}

Test(slice, holds_numbers_to_a_maximum)
{
    uint64_t value = 0;
    cr_assert_eq(slice_uint(SLICE("200"), 200, &value), ERR_OK);
    cr_assert_eq(value, 200);
    cr_assert_eq(slice_uint(SLICE("201"), 200, &value), ERR_INVALID);
    cr_assert_eq(value, 200);
}

Test(slice, accepts_only_well_formed_utf8)
{
    static const struct {
        const char *name;
        struct slice text;
        bool is_good;
    } table[] = {
        {"nothing", SLICE_INIT(""), true},
        {"ASCII with NUL", SLICE_INIT("a\0b"), true},
        {"two bytes", SLICE_INIT("\xc3\xa9"), true},
        {"three bytes", SLICE_INIT("\xe2\x82\xac"), true},
        {"four bytes", SLICE_INIT("\xf0\x9f\x98\x80"), true},
        {"U+10FFFF", SLICE_INIT("\xf4\x8f\xbf\xbf"), true},
        {"past U+10FFFF", SLICE_INIT("\xf4\x90\x80\x80"), false},
        {"U+D7FF", SLICE_INIT("\xed\x9f\xbf"), true},
        {"surrogate", SLICE_INIT("\xed\xa0\x80"), false},
        {"overlong slash", SLICE_INIT("\xc0\xaf"), false},
        {"overlong in three", SLICE_INIT("\xe0\x9f\xbf"), false},
        {"overlong in four", SLICE_INIT("\xf0\x8f\xbf\xbf"), false},
        {"lone continuation", SLICE_INIT("\x80"), false},
        {"cut short", SLICE_INIT("a\xe2\x82"), false},
        {"cut shorter", SLICE_INIT("\xf0"), false},
        {"interrupted", SLICE_INIT("\xe2\x82\x41"), false},
        {"five bytes", SLICE_INIT("\xf8\x88\x80\x80\x80"), false},
        {"0xff", SLICE_INIT("\xff"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_assert_eq(slice_is_utf8(table[i].text), table[i].is_good, "%s", table[i].name);
    }
}

Test(slice, tells_ascii_from_the_rest)
{
    cr_assert(slice_is_ascii(SLICE("\x01~\x7f")));
    cr_assert(!slice_is_ascii(SLICE("a\x80")));
    cr_assert(slice_is_ascii(none));
}

Test(slice, finds_control_bytes_but_those_allowed)
{
    cr_assert(!slice_has_control(SLICE("plain text"), ""));
    cr_assert(slice_has_control(SLICE("a\r\n"), ""));
    cr_assert(!slice_has_control(SLICE("a\r\n\t"), "\r\n\t"));
    cr_assert(slice_has_control(SLICE("a\0b"), "\r\n"), "NUL is never allowed");
    cr_assert(slice_has_control(SLICE("\x7f"), ""));
    cr_assert(!slice_has_control(SLICE("\xc3\xa9"), ""));
    cr_assert(!slice_has_control(none, ""));
}
