/* Not covered here: what requests do with it (tests/unit/edge/test_session.c), and arbitrary bytes
 * (tests/fuzz/fuzz_trace.c).
 */
#include "base/trace.h"

#include <criterion/criterion.h>

#include <string.h>

#define GOOD "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Test(trace, reads_what_the_standard_shows_and_writes_it_again)
{
    struct trace trace = {{0}, {0}, 0};
    char text[TRACE_TEXT_MAX];
    cr_assert(trace_is_none(&trace));
    cr_assert_eq(trace_text(&trace, text), 0);
    cr_assert(trace_read(SLICE(GOOD), &trace));
    cr_assert_not(trace_is_none(&trace));
    cr_assert_eq(trace.id[0], 0x4b);
    cr_assert_eq(trace.span[7], 0xb7);
    cr_assert_eq(trace.flags, 1);
    cr_assert_eq(trace_text(&trace, text), 55);
    cr_assert_str_eq(text, GOOD);
    cr_assert_eq(trace_id_text(&trace, text), 32);
    cr_assert_str_eq(text, "4bf92f3577b34da6a3ce929d0e0e4736");
}

Test(trace, takes_of_a_later_version_what_it_knows)
{
    struct trace trace;
    char text[TRACE_TEXT_MAX];
    const char *later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-comes";
    cr_assert(trace_read(slice_str(later), &trace));
    (void)trace_text(&trace, text);
    cr_assert_str_eq(text, GOOD, "in our version, with the flag that we know");
    later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    cr_assert(trace_read(slice_str(later), &trace));
}

Test(trace, refuses_what_is_not_so_to_the_letter)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct trace trace = {{7}, {7}, 7};
        cr_expect_not(trace_read(slice_str(bad[i]), &trace), "%s", bad[i]);
        cr_expect_eq(trace.flags, 7, "%s: untouched", bad[i]);
    }
}

Test(trace, lets_ids_of_requests_be_words_and_nothing_else)
{
    char longest[REQUEST_ID_MAX + 1];
    memset(longest, 'a', sizeof longest);
    cr_expect(request_id_is_good(SLICE("a1b2-C3_d4.e5")));
    cr_expect(request_id_is_good(slice_of(longest, REQUEST_ID_MAX - 1)));
    cr_expect_not(request_id_is_good(slice_of(longest, REQUEST_ID_MAX)));
    cr_expect_not(request_id_is_good(SLICE("short")));
    cr_expect_not(request_id_is_good(SLICE("")));
    cr_expect_not(request_id_is_good(SLICE("with space")));
    cr_expect_not(request_id_is_good(SLICE("line\r\nset-cookie: a=b")));
    cr_expect_not(request_id_is_good(SLICE("quote\"quote")));
}
