/* JSON without a shape: as a tree, and as text that is passed on.
 *
 * Not covered here: the ceilings, which are those of test_json.c.
 */
#include "base/json.h"

#include "base/limits.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

struct body {
    struct slice data;
    bool has_data;
};

static const struct json_field fields[] = {
    {.name = "data",
     .type = JSON_RAW_OBJECT,
     .offset = offsetof(struct body, data),
     .has_offset = offsetof(struct body, has_data),
     .max = 64},
};
static const struct json_shape shape = {fields, ARRAY_LEN(fields), sizeof(struct body)};

static enum err read(struct arena *arena, const char *json, struct body *out)
{
    struct json_fault fault;
    return json_read(slice_str(json), &shape, arena, out, &fault);
}

Test(json_tree, holds_every_kind_of_value)
{
    struct arena arena;
    struct json_value root;
    arena_init(&arena, KIB, 64 * KIB);
    cr_assert_eq(json_tree(SLICE("{\"t\":\"x\\u00e4\",\"n\":-1.50,\"i\":7,\"b\":true,\"z\":null,"
                                 "\"l\":[1,[]],\"m\":{}}"),
                           &arena, &root),
                 ERR_OK);
    cr_assert_eq(root.kind, JSON_IS_MAP);
    cr_assert_eq(root.count, 7);
    cr_expect(slice_equal(root.items[0].name, SLICE("t")));
    cr_expect(slice_equal(root.items[0].text, SLICE("x\xc3\xa4")));
    cr_expect_eq(root.items[1].kind, JSON_IS_NUMBER);
    cr_expect(slice_equal(root.items[1].text, SLICE("-1.50")), "as written");
    cr_expect(slice_equal(root.items[2].text, SLICE("7")));
    cr_expect_eq(root.items[3].kind, JSON_IS_BOOL);
    cr_expect(root.items[3].is_true);
    cr_expect_eq(root.items[4].kind, JSON_IS_NULL);
    cr_assert_eq(root.items[5].count, 2);
    cr_expect_eq(root.items[5].items[1].kind, JSON_IS_LIST);
    cr_expect_eq(root.items[6].kind, JSON_IS_MAP);
    cr_expect_eq(json_tree(SLICE("{\"a\":"), &arena, &root), ERR_NOT_JSON);
    cr_expect_eq(json_tree(SLICE(""), &arena, &root), ERR_NOT_JSON);
    arena_fini(&arena);
}

Test(json_tree, a_full_arena_is_an_error_at_every_size)
{
    for (size_t max = 64; max < 2048; max += 16) {
        struct arena arena;
        struct json_value root;
        arena_init(&arena, 64, max);
        enum err err = json_tree(SLICE("{\"a\":[{\"b\":\"ccc\"},2,3]}"), &arena, &root);
        cr_expect(err == ERR_OK || err == ERR_TOO_LARGE);
        cr_expect(max < 1024 || err == ERR_OK);
        arena_fini(&arena);
    }
}

Test(json_tree, an_object_without_shape_is_passed_on_as_text)
{
    struct arena arena;
    struct body body;
    arena_init(&arena, KIB, 64 * KIB);
    cr_assert_eq(read(&arena,
                      " {\"data\" : {\"a\": [0.5, 2, \"q\\\"\\n\"], \"b\": {\"c\": null},"
                      " \"d\": false} }",
                      &body),
                 ERR_OK);
    cr_expect(slice_equal(body.data, SLICE("{\"a\": [0.5, 2, \"q\\\"\\n\"], \"b\": {\"c\": null},"
                                           " \"d\": false}")),
              "%.*s", SLICE_FMT(body.data));
    cr_expect(body.has_data);
    cr_assert_eq(read(&arena, "{\"data\":null}", &body), ERR_OK);
    cr_expect_not(body.has_data);
    cr_expect_eq(read(&arena, "{\"data\":[1]}", &body), ERR_BAD_FIELD);
    cr_expect_eq(read(&arena, "{\"data\":\"{}\"}", &body), ERR_BAD_FIELD);
    cr_expect_eq(read(&arena,
                      "{\"data\":{\"a\":\"12345678901234567890123456789012345678901234567890"
                      "1234567890\"}}",
                      &body),
                 ERR_BAD_FIELD);
    arena_fini(&arena);
}
