/* Structure alone; what whole mails make of it is in test_mime_read.c and test_mime_hostile.c.
 */
#include "mail/mime_split.h"

#include <criterion/criterion.h>

static void expect(struct slice is, const char *wanted, const char *what)
{
    cr_expect(slice_equal(is, slice_str(wanted)), "%s: \"%.*s\" is not \"%s\"", what, SLICE_FMT(is),
              wanted);
}

Test(mime_split, parts_header_and_content)
{
    static const struct {
        const char *entity;
        const char *headers;
        const char *content;
        bool is_sound;
    } cases[] = {
        {"A: b\r\n\r\nbody", "A: b\r\n\r\n", "body", true},
        {"A: b\n\nbody\n\nmore", "A: b\n\n", "body\n\nmore", true},
        {"\r\nbody", "\r\n", "body", true},
        {"\nbody", "\n", "body", true},
        {"A: b\n\n", "A: b\n\n", "", true},
        {"A: b\n", "A: b\n", "", true},
        {"A: b", "A: b", "", true},
        {"", "", "", true},
        {"A: b\nno field\n", "A: b\n", "no field\n", false},
        {"A: b\n c\nno field\n", "A: b\n c\n", "no field\n", false},
        {"From a@b Mon\nA: b\nno field", "From a@b Mon\nA: b\n", "no field", false},
        {"no field", "", "no field", false},
        {"no field\n\nA: b", "no field\n\n", "A: b", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice headers;
        struct slice content;
        bool is_sound = mime_split_entity(slice_str(cases[i].entity), &headers, &content);
        cr_expect_eq(is_sound, cases[i].is_sound, "%s", cases[i].entity);
        expect(headers, cases[i].headers, cases[i].entity);
        expect(content, cases[i].content, cases[i].entity);
    }
}

Test(mime_split, finds_what_is_between_boundaries)
{
    static const struct {
        const char *content;
        const char *parts[3];
        bool has_begun;
        bool is_closed;
    } cases[] = {
        {"--b\r\none\r\n--b\r\ntwo\r\n--b--\r\n", {"one", "two"}, true, true},
        {"--b\none\n--b\ntwo\n--b--", {"one", "two"}, true, true},
        {"pre\n--b\none\n--b--\npost\n--b\nno\n", {"one"}, true, true},
        {"--b\none\n\n--b--", {"one\n"}, true, true},
        {"--b\none", {"one"}, true, false},
        {"--b\none\n--b", {"one"}, true, false},
        {"--b\none\n--b\n", {"one"}, true, false},
        {"--b", {NULL}, true, false},
        {"--b--", {NULL}, true, true},
        {"--b\n--b\n--b--", {"", ""}, true, true},
        {"--b \t\r\none\n--b-- \n", {"one"}, true, true},
        {"--b\none --b\n --b\n--bc\n--b-\n-b\n--b--",
         {"one --b\n --b\n--bc\n--b-\n-b"},
         true,
         true},
        {"no boundary", {NULL}, false, false},
        {"", {NULL}, false, false},
        {"--", {NULL}, false, false},
        {"\n--b\n\n--b--", {""}, true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mime_split split;
        struct slice part;
        uint32_t count = 0;
        mime_split_start(&split, slice_str(cases[i].content), SLICE("b"));
        while (mime_split_next(&split, &part)) {
            cr_assert(count < 3 && cases[i].parts[count] != NULL, "%s", cases[i].content);
            expect(part, cases[i].parts[count], cases[i].content);
            count++;
        }
        cr_expect(count == 3 || cases[i].parts[count] == NULL, "%s", cases[i].content);
        cr_expect_eq(split.has_begun, cases[i].has_begun, "%s", cases[i].content);
        cr_expect_eq(split.is_closed, cases[i].is_closed, "%s", cases[i].content);
        cr_expect_not(mime_split_next(&split, &part));
    }
}
