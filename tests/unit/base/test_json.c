/* test_json.c - a send-like shape against good, wrong and hostile bodies; the writer against its
 * promise that whatever goes in, valid JSON comes out.
 *
 * Not covered here: the shapes of the real requests (tests/unit/edge), running out of heap (fatal),
 * and byte soup, which is tests/fuzz/fuzz_json.c.
 */
#include "base/json.h"

#include "base/limits.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct attachment {
    struct slice filename;
    struct slice content;
    uint64_t size;
};

struct options {
    bool is_tracked;
    bool has_tracked;
    struct slice label;
};

struct mail {
    struct slice from;
    struct json_texts to;
    struct slice subject;
    bool has_subject;
    uint64_t limit;
    bool has_limit;
    bool sandbox;
    struct json_texts tags;
    struct json_pairs metadata;
    struct json_items attachments;
    struct options options;
    bool has_options;
    struct json_time scheduled_at;
    bool has_scheduled_at;
};

static const struct json_field attachment_fields[] = {
    {.name = "filename",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct attachment, filename),
     .max = 20},
    {.name = "content", .type = JSON_TEXT, .offset = offsetof(struct attachment, content)},
    {.name = "size", .type = JSON_U64, .offset = offsetof(struct attachment, size)},
};
static const struct json_shape attachment_shape = {
    .fields = attachment_fields,
    .field_count = ARRAY_LEN(attachment_fields),
    .size = sizeof(struct attachment),
};

static const struct json_field option_fields[] = {
    {.name = "tracked",
     .type = JSON_BOOL,
     .offset = offsetof(struct options, is_tracked),
     .has_offset = offsetof(struct options, has_tracked)},
    {.name = "label", .type = JSON_TEXT, .offset = offsetof(struct options, label)},
};
static const struct json_shape option_shape = {
    .fields = option_fields,
    .field_count = ARRAY_LEN(option_fields),
    .size = sizeof(struct options),
};

static const struct json_field mail_fields[] = {
    {.name = "from", .type = JSON_TEXT, .is_required = true, .offset = offsetof(struct mail, from)},
    {.name = "to", .type = JSON_TEXT_OR_LIST, .offset = offsetof(struct mail, to), .max = 3},
    {.name = "subject",
     .type = JSON_TEXT,
     .offset = offsetof(struct mail, subject),
     .has_offset = offsetof(struct mail, has_subject),
     .max = 10},
    {.name = "limit",
     .type = JSON_U64,
     .offset = offsetof(struct mail, limit),
     .has_offset = offsetof(struct mail, has_limit),
     .max = 200},
    {.name = "sandbox", .type = JSON_BOOL, .offset = offsetof(struct mail, sandbox)},
    {.name = "tags", .type = JSON_TEXT_LIST, .offset = offsetof(struct mail, tags), .max = 2},
    {.name = "metadata", .type = JSON_MAP, .offset = offsetof(struct mail, metadata), .max = 6},
    {.name = "attachments",
     .type = JSON_LIST,
     .offset = offsetof(struct mail, attachments),
     .max = 4,
     .sub = &attachment_shape},
    {.name = "options",
     .type = JSON_OBJECT,
     .offset = offsetof(struct mail, options),
     .has_offset = offsetof(struct mail, has_options),
     .sub = &option_shape},
    {.name = "scheduledAt",
     .type = JSON_TIME,
     .offset = offsetof(struct mail, scheduled_at),
     .has_offset = offsetof(struct mail, has_scheduled_at),
     .max = 30},
};
static const struct json_shape mail_shape = {
    .fields = mail_fields,
    .field_count = ARRAY_LEN(mail_fields),
    .size = sizeof(struct mail),
};

static struct arena arena;
static struct mail mail;
static struct json_fault fault;
static struct buf buf;

static void set_up(void)
{
    arena_init(&arena, 4096, 8 << 20);
    buf_init(&buf, 8 << 20);
}

static void tear_down(void)
{
    arena_fini(&arena);
    buf_fini(&buf);
}

TestSuite(json, .init = set_up, .fini = tear_down);

static enum err read_body(struct slice body)
{
    memset(&mail, 0xa5, sizeof(mail));
    return json_read(body, &mail_shape, &arena, &mail, &fault);
}

static void expect_text(struct slice got, const char *expected)
{
    cr_expect(slice_equal(got, slice_str(expected)), "expected %s, got %.*s", expected,
              SLICE_FMT(got));
}

/* ---- reading -------------------------------------------------------------------------------- */

Test(json, fills_every_kind_of_field)
{
    cr_assert_eq(
        read_body(SLICE(
            " {\"from\":\"Ann <a@b.example>\",\"to\":[\"x@y.example\",\"z@y.example\"],"
            "\"subject\":\"\\u00fc\\u20ac\\ud83d\\ude00\",\"limit\":200,\"sandbox\":true,"
            "\"tags\":[\"one\",\"\"],\"unknown\":{\"from\":[1,2.5,null]},"
            "\"attachments\":[{\"filename\":\"a.txt\",\"content\":\"aGk=\"},"
            "{\"filename\":\"b.txt\",\"size\":18}],"
            "\"options\":{\"tracked\":false,\"label\":\"l\"},\"scheduledAt\":\"in 2 hours\"}\n")),
        ERR_OK);
    expect_text(mail.from, "Ann <a@b.example>");
    cr_assert_eq(mail.to.count, 2);
    expect_text(mail.to.items[0], "x@y.example");
    expect_text(mail.to.items[1], "z@y.example");
    cr_expect(mail.has_subject);
    expect_text(mail.subject, "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80");
    cr_expect(mail.has_limit);
    cr_expect_eq(mail.limit, 200);
    cr_expect(mail.sandbox);
    cr_assert_eq(mail.tags.count, 2);
    expect_text(mail.tags.items[1], "");
    cr_assert_eq(mail.attachments.count, 2);
    const struct attachment *attachments = mail.attachments.items;
    expect_text(attachments[0].filename, "a.txt");
    expect_text(attachments[0].content, "aGk=");
    expect_text(attachments[1].filename, "b.txt");
    cr_expect_eq(attachments[1].content.len, 0);
    cr_expect_eq(attachments[1].size, 18);
    cr_expect(mail.has_options);
    cr_expect(mail.options.has_tracked);
    cr_expect_not(mail.options.is_tracked);
    expect_text(mail.options.label, "l");
    cr_expect(mail.has_scheduled_at);
    cr_expect_not(mail.scheduled_at.is_number);
    expect_text(mail.scheduled_at.text, "in 2 hours");
    cr_expect_eq(fault.sentence.len, 0);
}

Test(json, absent_and_null_fields_stay_zero)
{
    static const char *const bodies[] = {
        "{\"from\":\"a\"}",
        "{\"from\":\"a\",\"to\":null,\"subject\":null,\"limit\":null,\"sandbox\":null,\"tags\":"
        "null,"
        "\"metadata\":null,\"attachments\":null,\"options\":null,\"scheduledAt\":null}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct mail blank = {0};
        cr_assert_eq(read_body(slice_str(bodies[i])), ERR_OK);
        blank.from = mail.from;
        cr_expect_eq(mail.to.count + mail.tags.count + mail.metadata.count, 0);
        cr_expect_eq(mail.attachments.count, 0);
        cr_expect_not(mail.has_subject || mail.has_limit || mail.has_options ||
                      mail.has_scheduled_at || mail.sandbox || mail.options.has_tracked);
        cr_expect_null(mail.subject.data);
        cr_expect_eq(memcmp(&mail, &blank, sizeof(mail)), 0, "body %zu", i);
    }
}

Test(json, a_field_may_tell_null_from_absent)
{
    struct nullable {
        uint64_t ends;
        bool has_ends;
        bool is_null;
    };
    static const struct json_field fields[] = {
        {.name = "ends",
         .type = JSON_U64,
         .offset = offsetof(struct nullable, ends),
         .has_offset = offsetof(struct nullable, has_ends),
         .null_offset = offsetof(struct nullable, is_null)},
    };
    static const struct json_shape shape = {fields, ARRAY_LEN(fields), sizeof(struct nullable)};
    static const struct {
        const char *body;
        struct nullable want;
    } cases[] = {
        {"{}", {0, false, false}},
        {"{\"ends\":null}", {0, false, true}},
        {"{\"ends\":5}", {5, true, false}},
    };
    struct arena own;
    arena_init(&own, 1024, 8192);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct nullable got;
        struct json_fault none;
        cr_assert_eq(json_read(slice_str(cases[i].body), &shape, &own, &got, &none), ERR_OK);
        cr_expect_eq(got.ends, cases[i].want.ends);
        cr_expect_eq(got.has_ends, cases[i].want.has_ends, "%s", cases[i].body);
        cr_expect_eq(got.is_null, cases[i].want.is_null, "%s", cases[i].body);
    }
    arena_fini(&own);
}

Test(json, empty_lists_maps_and_texts_are_present_and_empty)
{
    cr_assert_eq(read_body(SLICE("{\"from\":\"\",\"to\":[],\"subject\":\"\",\"metadata\":{},"
                                 "\"attachments\":[],\"options\":{}}")),
                 ERR_OK);
    cr_expect_eq(mail.from.len, 0);
    cr_expect(mail.has_subject);
    cr_expect_eq(mail.to.count + mail.metadata.count + mail.attachments.count, 0);
    cr_expect(mail.has_options);
    cr_expect_not(mail.options.has_tracked);
}

Test(json, a_single_string_is_a_list_of_one)
{
    cr_assert_eq(read_body(SLICE("{\"from\":\"a\",\"to\":\"x@y.example\"}")), ERR_OK);
    cr_assert_eq(mail.to.count, 1);
    expect_text(mail.to.items[0], "x@y.example");
}

Test(json, a_map_keeps_order_and_numbers_as_they_were_written)
{
    static const struct {
        const char *name;
        const char *value;
        bool is_text;
    } expected[] = {
        {"z", "text", true},     {"a", "-9007199254740993", false},
        {"half", "5e-1", false}, {"tenth", "0.1", false},
        {"yes", "true", false},  {"", "", true},
    };
    cr_assert_eq(read_body(SLICE("{\"from\":\"a\",\"metadata\":{\"z\":\"text\","
                                 "\"a\":-9007199254740993,\"half\":5e-1,\"tenth\":0.1,"
                                 "\"yes\":true,\"\":\"\"}}")),
                 ERR_OK);
    cr_assert_eq(mail.metadata.count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        expect_text(mail.metadata.items[i].name, expected[i].name);
        expect_text(mail.metadata.items[i].value, expected[i].value);
        cr_expect_eq(mail.metadata.items[i].is_text, expected[i].is_text, "%s", expected[i].name);
    }
    cr_assert_eq(read_body(SLICE("{\"from\":\"a\",\"metadata\":{\"x\":null,\"y\":\"2\"}}")),
                 ERR_OK);
    cr_assert_eq(mail.metadata.count, 1, "null is absent");
    expect_text(mail.metadata.items[0].name, "y");
}

Test(json, a_field_may_be_as_large_as_its_ceiling)
{
    cr_assert_eq(read_body(SLICE("{\"from\":\"a\",\"to\":[\"1\",\"2\",\"3\"],"
                                 "\"subject\":\"1234567890\",\"limit\":200}")),
                 ERR_OK);
    cr_expect_eq(mail.to.count, 3);
    cr_expect_eq(mail.subject.len, 10);
    cr_expect_eq(mail.limit, 200);
}

Test(json, whole_numbers_may_be_written_with_a_point_or_an_exponent)
{
    static const struct {
        const char *text;
        uint64_t ms;
        bool is_good;
    } table[] = {
        {"0", 0, true},
        {"-0", 0, true},
        {"1750000000000", 1750000000000, true},
        {"1750000000000.0", 1750000000000, true},
        {"1.75e12", 1750000000000, true},
        {"9223372036854775807", INT64_MAX, true},
        {"1.5", 0, false},
        {"-1", 0, false},
        {"-1.0", 0, false},
        {"1e300", 0, false},
        {"9007199254740994.0", 0, false}, /* doubles have gaps here */
        {"true", 0, false},
        {"[1]", 0, false},
        {"{}", 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        buf_clear(&buf);
        buf_add_format(&buf, "{\"from\":\"a\",\"scheduledAt\":%s}", table[i].text);
        enum err err = read_body(buf_slice(&buf));
        cr_expect_eq(err, table[i].is_good ? ERR_OK : ERR_BAD_FIELD, "%s", table[i].text);
        if (table[i].is_good) {
            cr_expect(mail.scheduled_at.is_number, "%s", table[i].text);
            cr_expect_eq(mail.scheduled_at.ms, table[i].ms, "%s", table[i].text);
        } else {
            expect_text(fault.param, "scheduledAt");
        }
    }
}

Test(json, a_field_at_fault_is_named_with_its_path)
{
    static const struct {
        const char *body;
        const char *param;
        const char *sentence;
    } table[] = {
        {"{}", "from", "from is required"},
        {"{\"from\":null}", "from", "from is required"},
        {"{\"from\":1}", "from", "from must be a string"},
        {"{\"from\":[\"a\"]}", "from", "from must be a string"},
        {"{\"from\":\"a\",\"to\":1}", "to", "to must be a string or a list of strings"},
        {"{\"from\":\"a\",\"to\":{}}", "to", "to must be a string or a list of strings"},
        {"{\"from\":\"a\",\"to\":[\"x\",1]}", "to[1]", "to[1] must be a string"},
        {"{\"from\":\"a\",\"to\":[null]}", "to[0]", "to[0] must be a string"},
        {"{\"from\":\"a\",\"to\":[[\"x\"]]}", "to[0]", "to[0] must be a string"},
        {"{\"from\":\"a\",\"to\":[\"1\",\"2\",\"3\",\"4\"]}", "to", "to must not exceed 3 items"},
        {"{\"from\":\"a\",\"subject\":\"12345678901\"}", "subject",
         "subject must not exceed 10 bytes"},
        {"{\"from\":\"a\",\"limit\":201}", "limit", "limit must not exceed 200"},
        {"{\"from\":\"a\",\"limit\":-1}", "limit", "limit must be a whole number, not negative"},
        {"{\"from\":\"a\",\"limit\":\"5\"}", "limit", "limit must be a whole number, not negative"},
        {"{\"from\":\"a\",\"sandbox\":1}", "sandbox", "sandbox must be true or false"},
        {"{\"from\":\"a\",\"sandbox\":\"true\"}", "sandbox", "sandbox must be true or false"},
        {"{\"from\":\"a\",\"tags\":\"x\"}", "tags", "tags must be a list of strings"},
        {"{\"from\":\"a\",\"tags\":[\"x\",true]}", "tags[1]", "tags[1] must be a string"},
        {"{\"from\":\"a\",\"metadata\":[]}", "metadata", "metadata must be an object"},
        {"{\"from\":\"a\",\"metadata\":{\"k\":[]}}", "metadata.k",
         "metadata.k must be a string, a number, true or false"},
        {"{\"from\":\"a\",\"metadata\":{\"k\":{}}}", "metadata.k",
         "metadata.k must be a string, a number, true or false"},
        {"{\"from\":\"a\",\"metadata\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1}}",
         "metadata", "metadata must not exceed 6 items"},
        {"{\"from\":\"a\",\"attachments\":{}}", "attachments",
         "attachments must be a list of objects"},
        {"{\"from\":\"a\",\"attachments\":[\"x\"]}", "attachments[0]",
         "attachments[0] must be an object"},
        {"{\"from\":\"a\",\"attachments\":[null]}", "attachments[0]",
         "attachments[0] must be an object"},
        {"{\"from\":\"a\",\"attachments\":[{\"filename\":\"a\"},{\"filename\":\"a\"},{}]}",
         "attachments[2].filename", "attachments[2].filename is required"},
        {"{\"from\":\"a\",\"attachments\":[{\"filename\":{}}]}", "attachments[0].filename",
         "attachments[0].filename must be a string"},
        {"{\"from\":\"a\",\"attachments\":[{\"filename\":\"123456789012345678901\"}]}",
         "attachments[0].filename", "attachments[0].filename must not exceed 20 bytes"},
        {"{\"from\":\"a\",\"options\":[]}", "options", "options must be an object"},
        {"{\"from\":\"a\",\"options\":{\"tracked\":0}}", "options.tracked",
         "options.tracked must be true or false"},
        {"{\"from\":\"a\",\"scheduledAt\":true}", "scheduledAt",
         "scheduledAt must be a time: milliseconds since 1970, or text"},
        {"{\"from\":\"a\",\"scheduledAt\":\"1234567890123456789012345678901\"}", "scheduledAt",
         "scheduledAt must not exceed 30 bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(read_body(slice_str(table[i].body)), ERR_BAD_FIELD, "%s", table[i].body);
        expect_text(fault.param, table[i].param);
        expect_text(fault.sentence, table[i].sentence);
    }
}

Test(json, a_body_that_is_no_json_object_is_refused_with_a_reason)
{
    static const struct {
        struct slice body;
        const char *reason; /* the sentence contains it */
    } table[] = {
        {{0}, "empty"},
        {SLICE_INIT(" \r\n\t"), "empty"},
        {SLICE_INIT("[]"), "must be a JSON object"},
        {SLICE_INIT("[{\"from\":\"a\"}]"), "must be a JSON object"},
        {SLICE_INIT("\"from\""), "must be a JSON object"},
        {SLICE_INIT("42"), "must be a JSON object"},
        {SLICE_INIT("null"), "must be a JSON object"},
        {SLICE_INIT("from=a&to=b"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\""), "ends in the middle"},
        {SLICE_INIT("{\"from\":\"a"), "ends in the middle"},
        {SLICE_INIT("{\"from\":\"a\"} x"), "goes on after"},
        {SLICE_INIT("{\"from\":\"a\"}{}"), "goes on after"},
        {SLICE_INIT("{\"from\":\"a\"}\0"), "goes on after"},
        {SLICE_INIT("{\"from\":\"a\",}"), "not valid JSON (line 1, column 13)"},
        {SLICE_INIT("{'from':'a'}"), "not valid JSON"},
        {SLICE_INIT("{from:\"a\"}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\",\"x\":NaN}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\",\"x\":01}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\",\"x\":+1}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\" /* b */}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\nb\"}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"\\x41\"}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\0b\"}"), "NUL"},
        {SLICE_INIT("{\"from\":\"a\\u0000b\"}"), "NUL"},
        {SLICE_INIT("{\"fr\\u0000om\":\"a\"}"), "NUL"},
        {SLICE_INIT("{\"from\":\"\xff\"}"), "not valid UTF-8"},
        {SLICE_INIT("{\"from\":\"\xc0\xaf\"}"), "not valid UTF-8"},
        {SLICE_INIT("{\"from\":\"\xed\xa0\x80\"}"), "not valid UTF-8"},
        {SLICE_INIT("{\"from\":\"\\ud800\"}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"\\udc00\\ud800\"}"), "not valid JSON"},
        {SLICE_INIT("\xef\xbb\xbf{\"from\":\"a\"}"), "not valid JSON"},
        {SLICE_INIT("{\"from\":\"a\",\"from\":\"b\"}"), "twice"},
        {SLICE_INIT("{\"from\":\"a\",\"x\":{\"y\":1,\"\\u0079\":2}}"), "twice"},
        {SLICE_INIT("{\"from\":\"a\",\"x\":99999999999999999999}"), "too large"},
        {SLICE_INIT("{\"from\":\"a\",\"x\":1e999}"), "too large"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(read_body(table[i].body), ERR_NOT_JSON, "row %zu: %.*s", i,
                     SLICE_FMT(table[i].body));
        cr_expect_eq(fault.param.len, 0, "row %zu", i);
        cr_expect_neq(slice_find(fault.sentence, slice_str(table[i].reason)), SIZE_MAX,
                      "row %zu: \"%.*s\" lacks \"%s\"", i, SLICE_FMT(fault.sentence),
                      table[i].reason);
        cr_expect_null(mail.from.data, "row %zu left something", i);
    }
}

static void add_repeated(const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_str(&buf, text);
    }
}

Test(json, nesting_is_refused_beyond_its_ceiling_and_not_before)
{
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        buf_clear(&buf);
        buf_add_str(&buf, "{\"from\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\",\"x\":");
        add_repeated("[", depth - 1);
        add_repeated("]", depth - 1);
        buf_add_str(&buf, "}");
        cr_expect_eq(read_body(buf_slice(&buf)), depth <= JSON_DEPTH_MAX ? ERR_OK : ERR_NOT_JSON,
                     "depth %zu", depth);
    }
    cr_expect_neq(slice_find(fault.sentence, SLICE("too deeply")), SIZE_MAX);
}

Test(json, a_hundred_thousand_brackets_cost_nothing)
{
    add_repeated("[", 100000);
    cr_expect_eq(read_body(buf_slice(&buf)), ERR_NOT_JSON);
}

Test(json, keys_are_counted_over_the_whole_body)
{
    for (size_t keys = JSON_KEYS_MAX; keys <= JSON_KEYS_MAX + 1; keys++) {
        buf_clear(&buf);
        buf_add_str(&buf, "{\"from\":\":::\",\"x\":[{}");
        for (size_t i = 2; i < keys; i++) {
            buf_add_str(&buf, ",{\"k\":1}");
        }
        buf_add_str(&buf, "]}");
        cr_expect_eq(read_body(buf_slice(&buf)), keys <= JSON_KEYS_MAX ? ERR_OK : ERR_NOT_JSON,
                     "%zu keys", keys);
    }
    cr_expect_neq(slice_find(fault.sentence, SLICE("too many fields")), SIZE_MAX);
}

Test(json, values_are_counted_before_they_cost_memory)
{
    buf_add_str(&buf, "{\"from\":\",,,,\",\"x\":[0");
    add_repeated(",[]", JSON_VALUES_MAX);
    buf_add_str(&buf, "]}");
    cr_expect_eq(read_body(buf_slice(&buf)), ERR_NOT_JSON);
    cr_expect_neq(slice_find(fault.sentence, SLICE("too many values")), SIZE_MAX);
}

Test(json, strings_full_of_escaped_quotes_end_where_they_end)
{
    static const struct {
        const char *body;
        const char *from;
    } table[] = {
        {"{\"from\":\"\\\"{[,:\"}", "\"{[,:"},     {"{\"from\":\"\\\\\"}", "\\"},
        {"{\"from\":\"\\\\\\\"\"}", "\\\""},       {"{\"from\":\"\\\\\",\"x\":\"\\\\\\\\\"}", "\\"},
        {"{\"from\":\"\\\"\\\"\\\"\"}", "\"\"\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(read_body(slice_str(table[i].body)), ERR_OK, "%s", table[i].body);
        expect_text(mail.from, table[i].from);
    }
    cr_expect_eq(read_body(SLICE("\"")), ERR_NOT_JSON);
    cr_expect_eq(read_body(SLICE("\"\\")), ERR_NOT_JSON);
    cr_expect_eq(read_body(SLICE("{\"from\\\":1}")), ERR_NOT_JSON);
}

Test(json, a_full_arena_is_an_error_at_every_size)
{
    struct slice body =
        SLICE("{\"from\":\"aaaaaaaaaaaaaaaaaaaaaaaaa\",\"to\":[\"x\",\"y\"],\"tags\":[\"t\"],"
              "\"metadata\":{\"k\":\"v\",\"n\":1},\"attachments\":[{\"filename\":\"a\"}]}");
    size_t refusals = 0;
    enum err err = ERR_TOO_LARGE;

    for (size_t max = 0; err != ERR_OK; max += 8) {
        struct arena small;
        arena_init(&small, 64, max);
        err = json_read(body, &mail_shape, &small, &mail, &fault);
        cr_assert(err == ERR_OK || err == ERR_TOO_LARGE, "%zu bytes", max);
        refusals += err == ERR_TOO_LARGE;
        arena_fini(&small);
        cr_assert_lt(max, 1 << 16);
    }
    cr_expect_gt(refusals, 10);

    struct arena none;
    arena_init(&none, 64, 0);
    cr_expect_eq(json_read(SLICE("{}"), &mail_shape, &none, &mail, &fault), ERR_TOO_LARGE);
    cr_expect_eq(json_read(SLICE("?"), &mail_shape, &none, &mail, &fault), ERR_TOO_LARGE);
    arena_fini(&none);
}

Test(json, texts_live_in_the_arena_and_outlive_the_body)
{
    static const char text[] = "{\"from\":\"kept\",\"metadata\":{\"name\":\"kept too\"}}";
    char *body = malloc(sizeof(text) - 1); /* no terminator: ASan sees a step too far */

    cr_assert_not_null(body);
    memcpy(body, text, sizeof(text) - 1);
    cr_assert_eq(read_body(slice_of(body, sizeof(text) - 1)), ERR_OK);
    memset(body, 'x', sizeof(text) - 1);
    free(body);
    expect_text(mail.from, "kept");
    expect_text(mail.metadata.items[0].name, "name");
    expect_text(mail.metadata.items[0].value, "kept too");
}

Test(json, a_long_key_is_quoted_in_part_and_not_cut_within_a_character)
{
    buf_add_str(&buf, "{\"from\":\"a\",\"metadata\":{\"xy");
    add_repeated("\xe2\x82\xac", 5000);
    buf_add_str(&buf, "\":[]}}");
    cr_assert_eq(read_body(buf_slice(&buf)), ERR_BAD_FIELD);
    cr_expect_lt(fault.param.len, 80);
    cr_expect(slice_is_utf8(fault.param));
    cr_expect_eq((fault.param.len - strlen("metadata.xy")) % 3, 0);
}

/* ---- writing -------------------------------------------------------------------------------- */

Test(json, the_writer_places_every_comma)
{
    struct json_writer w;

    json_start(&w, &buf);
    json_open_object(&w);
    json_key(&w, "id");
    json_text(&w, SLICE("msg_1"));
    json_key(&w, "empty");
    json_open_object(&w);
    json_close_object(&w);
    json_key(&w, "list");
    json_open_array(&w);
    json_u64(&w, UINT64_MAX);
    json_i64(&w, INT64_MIN);
    json_bool(&w, true);
    json_bool(&w, false);
    json_nil(&w);
    json_open_array(&w);
    json_close_array(&w);
    json_open_object(&w);
    json_key_slice(&w, SLICE("k\"ey"));
    json_text_or_null(&w, SLICE(""));
    json_key(&w, "t");
    json_text_or_null(&w, SLICE("t"));
    json_close_object(&w);
    json_close_array(&w);
    json_key(&w, "raw");
    json_raw(&w, SLICE("{\"a\":[1]}"));
    json_key(&w, "nothing");
    json_raw(&w, (struct slice){0});
    json_close_object(&w);
    cr_expect_eq(w.depth, 0);
    expect_text(buf_slice(&buf),
                "{\"id\":\"msg_1\",\"empty\":{},\"list\":[18446744073709551615,"
                "-9223372036854775808,true,false,null,[],{\"k\\\"ey\":null,\"t\":\"t\"}],"
                "\"raw\":{\"a\":[1]},\"nothing\":null}");
    cr_expect_eq(buf_err(&buf), ERR_OK);
}

Test(json, escapes_follow_rfc_8259)
{
    static const struct {
        struct slice text;
        const char *json;
    } table[] = {
        {{0}, "\"\""},
        {SLICE_INIT("plain / text"), "\"plain / text\""},
        {SLICE_INIT("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
        {SLICE_INIT("\x00\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\""},
        {SLICE_INIT("\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"),
         "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {SLICE_INIT("\xf4\x8f\xbf\xbf"), "\"\xf4\x8f\xbf\xbf\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        buf_clear(&buf);
        json_escape(&buf, table[i].text);
        expect_text(buf_slice(&buf), table[i].json);
    }
}

#define FFFD "\xef\xbf\xbd"

Test(json, malformed_utf8_becomes_replacement_characters)
{
    static const struct {
        struct slice text;
        const char *json;
    } table[] = {
        {SLICE_INIT("\xff"), "\"" FFFD "\""},
        {SLICE_INIT("a\x80z"), "\"a" FFFD "z\""},
        {SLICE_INIT("\xc0\xaf"), "\"" FFFD FFFD "\""},          /* overlong */
        {SLICE_INIT("\xe0\x9f\xbf"), "\"" FFFD FFFD FFFD "\""}, /* overlong */
        {SLICE_INIT("\xed\xa0\x80"), "\"" FFFD FFFD FFFD "\""}, /* surrogate */
        {SLICE_INIT("\xf4\x90\x80\x80"), "\"" FFFD FFFD FFFD FFFD "\""},
        {SLICE_INIT("\xe2\x82"), "\"" FFFD "\""}, /* cut at the end */
        {SLICE_INIT("\xe2\x82z"), "\"" FFFD "z\""},
        {SLICE_INIT("\xf0\x9f\x98\"x"), "\"" FFFD "\\\"x\""}, /* must not eat the quote */
        {SLICE_INIT("\xc3\xbc\xff\xc3\xbc"), "\"\xc3\xbc" FFFD "\xc3\xbc\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        buf_clear(&buf);
        json_escape(&buf, table[i].text);
        expect_text(buf_slice(&buf), table[i].json);
    }
}

/* Random bytes, printed as a text, must be readable as the same number of characters or fewer. */
Test(json, whatever_is_written_can_be_read)
{
    uint64_t state = 88172645463325252; /* xorshift; any fixed seed */

    for (int round = 0; round < 2000; round++) {
        char bytes[24];
        size_t len = (size_t)round % (sizeof(bytes) + 1);
        for (size_t i = 0; i < len; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[i] = (char)(state >> (round % 3 ? 32 : 34));
            bytes[i] = bytes[i] == 0 ? 'n' : bytes[i]; /* the reader refuses NUL by design */
        }
        struct json_writer w;
        buf_clear(&buf);
        json_start(&w, &buf);
        json_open_object(&w);
        json_key(&w, "from");
        json_text(&w, slice_of(bytes, len));
        json_close_object(&w);
        cr_assert_eq(read_body(buf_slice(&buf)), ERR_OK, "%.*s", SLICE_FMT(buf_slice(&buf)));
        if (slice_is_utf8(slice_of(bytes, len))) {
            cr_assert(slice_equal(mail.from, slice_of(bytes, len)));
        }
    }
}

Test(json, a_writer_past_the_ceiling_of_its_buf_says_so)
{
    struct buf small;
    struct json_writer w;

    buf_init(&small, 8);
    json_start(&w, &small);
    json_open_object(&w);
    json_key(&w, "subject");
    json_text(&w, SLICE("too long for it"));
    json_close_object(&w);
    cr_expect_eq(buf_err(&small), ERR_TOO_LARGE);
    buf_fini(&small);
}

Test(json, closing_what_was_never_opened_stops_the_program, .signal = SIGABRT)
{
    struct json_writer w;
    json_start(&w, &buf);
    json_close_object(&w);
}
