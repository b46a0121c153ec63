/* test_json_list.c - where the items of a list begin and end.
 *
 * Not covered here: whether an item is JSON (test_json.c).
 */
#include <criterion/criterion.h>

#include "base/json_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX 4

static const struct {
    const char *body;
    enum err err;
    const char *items; /* one | behind each */
} cases[] = {
    {"[]", ERR_OK, ""},
    {" [ ] \n", ERR_OK, ""},
    {"[{}]", ERR_OK, "{}|"},
    {"[1, \"a,]\" ,{\"a\":[1,2],\"b\":\"}\\\"\"},null]", ERR_OK,
     "1|\"a,]\"|{\"a\":[1,2],\"b\":\"}\\\"\"}|null|"},
    {"{\"messages\":[{\"a\":1},{}]}", ERR_OK, "{\"a\":1}|{}|"},
    {"{\"x\":[7,{\"messages\":1}], \"messages\" : [ 2 ] ,\"y\":null}", ERR_OK, "2|"},
    {"[1,2,3,4]", ERR_OK, "1|2|3|4|"},
    {"[1,2,3,4,5]", ERR_TOO_LARGE, ""},
    {"{}", ERR_BAD_FIELD, ""},
    {"{\"other\":[]}", ERR_BAD_FIELD, ""},
    {"{\"messages\":{}}", ERR_BAD_FIELD, ""},
    {"{\"messages\":null}", ERR_BAD_FIELD, ""},
    {"{\"messages\":[1],\"messages\":[2]}", ERR_NOT_JSON, ""},
    {"", ERR_NOT_JSON, ""},
    {"7", ERR_NOT_JSON, ""},
    {"[", ERR_NOT_JSON, ""},
    {"[1", ERR_NOT_JSON, ""},
    {"[1,", ERR_NOT_JSON, ""},
    {"[1,]", ERR_NOT_JSON, ""},
    {"[,1]", ERR_NOT_JSON, ""},
    {"[1}", ERR_NOT_JSON, ""},
    {"[\"a]", ERR_NOT_JSON, ""},
    {"[\"a\\\"]", ERR_NOT_JSON, ""},
    {"[{]", ERR_NOT_JSON, ""},
    {"[1] x", ERR_NOT_JSON, ""},
    {"[1][2]", ERR_NOT_JSON, ""},
    {"{\"messages\":[1]", ERR_NOT_JSON, ""},
    {"{\"messages\":[1]}}", ERR_NOT_JSON, ""},
    {"{\"messages\":[1],}", ERR_NOT_JSON, ""},
    {"{\"messages\" [1]}", ERR_NOT_JSON, ""},
    {"{messages:[1]}", ERR_NOT_JSON, ""},
};

Test(json_list, finds_each_item_as_it_is_written)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice items[MAX];
        uint32_t count = 0;
        char text[256] = "";
        enum err err = json_list_read(slice_str(cases[i].body), "messages", items, MAX, &count);
        cr_expect_eq(err, cases[i].err, "%s: %d", cases[i].body, (int)err);
        for (uint32_t n = 0; err == ERR_OK && n < count; n++) {
            size_t len = strlen(text);
            snprintf(text + len, sizeof text - len, "%.*s|", SLICE_FMT(items[n]));
        }
        cr_expect_str_eq(text, cases[i].items, "%s", cases[i].body);
    }
}

/* Cut anywhere, in a block of just that size, so that a byte read beyond it is seen. */
Test(json_list, reads_nothing_beyond_the_body)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t len = 0; len <= strlen(cases[i].body); len++) {
            struct slice items[MAX];
            uint32_t count = 0;
            char *copy = malloc(len + 1);
            cr_assert_not_null(copy);
            memcpy(copy + 1, cases[i].body, len);
            enum err err = json_list_read(slice_of(copy + 1, len), "messages", items, MAX, &count);
            cr_expect(err == ERR_OK || err == ERR_NOT_JSON || err == ERR_BAD_FIELD ||
                      err == ERR_TOO_LARGE);
            free(copy);
        }
    }
}
