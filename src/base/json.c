/* json.c - shapes over jansson for reading, a comma keeper for writing.
 *
 * Reading takes two passes. The first counts nesting, keys and values outside strings without
 * building anything, so that jansson, which spends a heap block on each, is never asked for more
 * than limits.h allows. Then jansson parses, the shape picks what it knows, text is copied into the
 * arena, and the tree is freed on every path.
 */
#include "base/json.h"

#include "base/check.h"
#include "base/limits.h"

/* jansson.h has a JSON_OBJECT of its own. Its macros that expand to that name (json_is_object)
 * would mean ours here and must not be used: see is_object. */
#define JSON_OBJECT JANSSON_OBJECT
#include <jansson.h>
#undef JSON_OBJECT

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX     512
#define SENTENCE_BYTES_MAX 640
#define PATH_KEY_BYTES     64                 /* of a key the client chose, as quoted in a path */
#define DOUBLE_WHOLE_MAX   9007199254740992.0 /* 2^53: whole numbers are exact up to here */
#define NUMBER_BYTES_MAX   64

/* One step of the path to the value being read; lives on the stack of the reader. */
struct step {
    const struct step *up; /* NULL at the top */
    const char *name;      /* NULL: an index */
    size_t index;
};

struct reader {
    struct arena *arena;
    struct json_fault *fault;
};

static enum err scan(struct reader *r, struct slice body);
static size_t skip_string(struct slice body, size_t at);
static enum err refuse_body(struct reader *r, const char *sentence);
static enum err refuse_syntax(struct reader *r, const json_error_t *error, struct slice body);
static enum err refuse(struct reader *r, const struct step *at, const char *complaint);
static enum err refuse_over(struct reader *r, const struct step *at, const char *noun,
                            uint64_t max);
static void add_path(struct buf *path, const struct step *at);
static bool is_object(const json_t *value);
static enum err read_object(struct reader *r, const json_t *object, const struct json_shape *shape,
                            void *out, const struct step *at);
static enum err read_field(struct reader *r, const json_t *value, const struct json_field *field,
                           void *member, const struct step *at);
static enum err read_text(struct reader *r, const json_t *value, uint64_t max, struct slice *out,
                          const struct step *at);
static enum err read_raw_object(struct reader *r, const json_t *value, uint64_t max,
                                struct slice *out, const struct step *at);
static enum err read_u64(struct reader *r, const json_t *value, uint64_t max, uint64_t *out,
                         const struct step *at);
static enum err read_time(struct reader *r, const json_t *value, uint64_t max,
                          struct json_time *out, const struct step *at);
static enum err read_texts(struct reader *r, const json_t *value, const struct json_field *field,
                           struct json_texts *out, const struct step *at);
static enum err read_map(struct reader *r, const json_t *value, uint64_t max,
                         struct json_pairs *out, const struct step *at);
static enum err read_pair(struct reader *r, const json_t *value, struct json_pair *out,
                          const struct step *at);
static enum err read_list(struct reader *r, const json_t *value, const struct json_field *field,
                          struct json_items *out, const struct step *at);
static enum err read_tree(struct reader *r, const json_t *value, struct json_value *out);
static enum err read_items(struct reader *r, const json_t *value, struct json_value *out);
static enum err copy_text(struct reader *r, struct slice text, struct slice *out);
static bool whole_number(const json_t *value, uint64_t *out);
static size_t print_number(const json_t *value, char out[NUMBER_BYTES_MAX]);
static void before_value(struct json_writer *w);
static void open_with(struct json_writer *w, char bracket);
static void close_with(struct json_writer *w, char bracket);
static bool is_plain(uint8_t byte);
static void escape_byte(struct buf *out, uint8_t byte);
static size_t utf8_span(const uint8_t *p, size_t left, bool *is_valid);

/* ---- reading -------------------------------------------------------------------------------- */

enum err json_read(struct slice body, const struct json_shape *shape, struct arena *arena,
                   void *out, struct json_fault *fault)
{
    struct reader reader = {.arena = arena, .fault = fault};
    json_error_t error;

    memset(out, 0, shape->size);
    *fault = (struct json_fault){0};
    enum err err = scan(&reader, body);
    if (err != ERR_OK) {
        return err;
    }
    json_t *tree = json_loadb(body.data ? body.data : "", body.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!tree) {
        return refuse_syntax(&reader, &error, body);
    }
    if (is_object(tree)) {
        err = read_object(&reader, tree, shape, out, NULL);
    } else {
        err = refuse_body(&reader, "the body must be a JSON object");
    }
    json_decref(tree);
    return err;
}

/* Counts what jansson would allocate for, before it does. Says nothing about validity. */
static enum err scan(struct reader *r, struct slice body)
{
    size_t depth = 0;
    size_t keys = 0;
    size_t values = 1;

    for (size_t at = 0; at < body.len; at++) {
        switch (body.data[at]) {
        case '"':
            at = skip_string(body, at);
            break;
        case '{':
        case '[':
            depth++;
            values++;
            if (depth > JSON_DEPTH_MAX) {
                return refuse_body(r, "the JSON of the body is nested too deeply");
            }
            break;
        case '}':
        case ']':
            depth -= depth > 0;
            break;
        case ',':
            values++;
            break;
        case ':':
            keys++;
            break;
        }
        if (keys > JSON_KEYS_MAX) {
            return refuse_body(r, "the JSON of the body has too many fields");
        }
        if (values > JSON_VALUES_MAX) {
            return refuse_body(r, "the JSON of the body has too many values");
        }
    }
    return ERR_OK;
}

/* From an opening quote to the closing one, or to the last byte when there is none. A quote is
 * escaped when an odd number of backslashes stands before it. */
static size_t skip_string(struct slice body, size_t at)
{
    size_t from = at + 1;

    while (from < body.len) {
        const char *quote = memchr(body.data + from, '"', body.len - from);
        if (!quote) {
            break;
        }
        size_t found = (size_t)(quote - body.data);
        size_t slashes = 0;
        while (found - slashes > from && body.data[found - slashes - 1] == '\\') {
            slashes++;
        }
        if (slashes % 2 == 0) {
            return found;
        }
        from = found + 1;
    }
    return body.len - 1;
}

static enum err refuse_body(struct reader *r, const char *sentence)
{
    enum err err = copy_text(r, slice_str(sentence), &r->fault->sentence);
    return err == ERR_OK ? ERR_NOT_JSON : err;
}

/* jansson's own text quotes the input, which need not be fit to print; its code and place are
 * enough. */
static enum err refuse_syntax(struct reader *r, const json_error_t *error, struct slice body)
{
    static const struct {
        enum json_error_code code;
        const char *sentence;
    } known[] = {
        {json_error_invalid_utf8, "the body is not valid UTF-8"},
        {json_error_premature_end_of_input, "the body ends in the middle of its JSON"},
        {json_error_end_of_input_expected, "the body goes on after its JSON"},
        {json_error_null_character, "the body contains a NUL character"},
        {json_error_null_byte_in_key, "the body contains a NUL character"},
        {json_error_duplicate_key, "the body names a field twice in one object"},
        {json_error_numeric_overflow, "the body contains a number that is too large"},
    };
    const char *sentence = "the body is not valid JSON";
    enum json_error_code code = json_error_code(error);
    char text[SENTENCE_BYTES_MAX];

    if (code == json_error_out_of_memory) {
        fatal("out of memory while reading JSON; give the machine more, or lower the limits");
    }
    if (slice_trim(body).len == 0) {
        return refuse_body(r, "the body is empty; a JSON object is needed");
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].code == code) {
            sentence = known[i].sentence;
        }
    }
    (void)snprintf(text, sizeof(text), "%s (line %d, column %d)", sentence, error->line,
                   error->column); /* fits: the sentences are ours */
    return refuse_body(r, text);
}

/* complaint follows the path: "must be a string". */
static enum err refuse(struct reader *r, const struct step *at, const char *complaint)
{
    struct buf text;
    enum err err;

    buf_init(&text, SENTENCE_BYTES_MAX);
    add_path(&text, at);
    err = copy_text(r, buf_slice(&text), &r->fault->param);
    if (err == ERR_OK) {
        buf_add_byte(&text, ' ');
        buf_add_str(&text, complaint);
        err = copy_text(r, buf_slice(&text), &r->fault->sentence);
    }
    buf_fini(&text);
    return err == ERR_OK ? ERR_BAD_FIELD : err;
}

static enum err refuse_over(struct reader *r, const struct step *at, const char *noun, uint64_t max)
{
    char complaint[80];

    (void)snprintf(complaint, sizeof(complaint), "must not exceed %" PRIu64 "%s", max, noun);
    return refuse(r, at, complaint);
}

static void add_path(struct buf *path, const struct step *at)
{
    if (at->up) {
        add_path(path, at->up);
    }
    if (path->len > PATH_BYTES_MAX) {
        return; /* leaves room for the complaint */
    }
    if (!at->name) {
        buf_add_byte(path, '[');
        buf_add_u64(path, at->index);
        buf_add_byte(path, ']');
        return;
    }
    struct slice name = slice_str(at->name);
    if (name.len > PATH_KEY_BYTES) {
        name.len = PATH_KEY_BYTES;
        while (name.len > 0 && ((uint8_t)name.data[name.len] & 0xc0) == 0x80) {
            name.len--; /* not in the middle of a character */
        }
    }
    if (path->len > 0) {
        buf_add_byte(path, '.');
    }
    buf_add(path, name);
}

static bool is_object(const json_t *value)
{
    return json_typeof(value) == JANSSON_OBJECT;
}

static enum err read_object(struct reader *r, const json_t *object, const struct json_shape *shape,
                            void *out, const struct step *at)
{
    for (uint32_t i = 0; i < shape->field_count; i++) {
        const struct json_field *field = &shape->fields[i];
        struct step here = {.up = at, .name = field->name};
        const json_t *value = json_object_get(object, field->name);
        if (!value || json_is_null(value)) {
            if (field->is_required) {
                return refuse(r, &here, "is required");
            }
            if (value && field->null_offset != 0) {
                *(bool *)((char *)out + field->null_offset) = true;
            }
            continue;
        }
        enum err err = read_field(r, value, field, (char *)out + field->offset, &here);
        if (err != ERR_OK) {
            return err;
        }
        if (field->has_offset != 0) {
            *(bool *)((char *)out + field->has_offset) = true;
        }
    }
    return ERR_OK;
}

static enum err read_field(struct reader *r, const json_t *value, const struct json_field *field,
                           void *member, const struct step *at)
{
    switch (field->type) {
    case JSON_TEXT:
        return read_text(r, value, field->max, member, at);
    case JSON_U64:
        return read_u64(r, value, field->max, member, at);
    case JSON_BOOL:
        if (!json_is_boolean(value)) {
            return refuse(r, at, "must be true or false");
        }
        *(bool *)member = json_is_true(value);
        return ERR_OK;
    case JSON_TEXT_LIST:
    case JSON_TEXT_OR_LIST:
        return read_texts(r, value, field, member, at);
    case JSON_MAP:
        return read_map(r, value, field->max, member, at);
    case JSON_LIST:
        return read_list(r, value, field, member, at);
    case JSON_OBJECT:
        if (!is_object(value)) {
            return refuse(r, at, "must be an object");
        }
        return read_object(r, value, field->sub, member, at);
    case JSON_TIME:
        return read_time(r, value, field->max, member, at);
    case JSON_RAW_OBJECT:
        return read_raw_object(r, value, field->max, member, at);
    }
    return ERR_INTERNAL;
}

static enum err read_text(struct reader *r, const json_t *value, uint64_t max, struct slice *out,
                          const struct step *at)
{
    if (!json_is_string(value)) {
        return refuse(r, at, "must be a string");
    }
    struct slice text = slice_of(json_string_value(value), json_string_length(value));
    if (max > 0 && text.len > max) {
        return refuse_over(r, at, " bytes", max);
    }
    return copy_text(r, text, out);
}

/* Written anew, so that what is kept has one spelling and no more than it needs. */
static enum err read_raw_object(struct reader *r, const json_t *value, uint64_t max,
                                struct slice *out, const struct step *at)
{
    if (!is_object(value)) {
        return refuse(r, at, "must be an object");
    }
    size_t len = json_dumpb(value, NULL, 0, JSON_COMPACT);
    if (max > 0 && len > max) {
        return refuse_over(r, at, " bytes", max);
    }
    char *text = arena_try(r->arena, len);
    if (!text) {
        return ERR_TOO_LARGE;
    }
    *out = slice_of(text, json_dumpb(value, text, len, JSON_COMPACT));
    return ERR_OK;
}

static enum err read_u64(struct reader *r, const json_t *value, uint64_t max, uint64_t *out,
                         const struct step *at)
{
    uint64_t number;

    if (!whole_number(value, &number)) {
        return refuse(r, at, "must be a whole number, not negative");
    }
    if (max > 0 && number > max) {
        return refuse_over(r, at, "", max);
    }
    *out = number;
    return ERR_OK;
}

static enum err read_time(struct reader *r, const json_t *value, uint64_t max,
                          struct json_time *out, const struct step *at)
{
    if (json_is_string(value)) {
        return read_text(r, value, max, &out->text, at);
    }
    if (!whole_number(value, &out->ms)) {
        return refuse(r, at, "must be a time: milliseconds since 1970, or text");
    }
    out->is_number = true;
    return ERR_OK;
}

static enum err read_texts(struct reader *r, const json_t *value, const struct json_field *field,
                           struct json_texts *out, const struct step *at)
{
    bool is_single = field->type == JSON_TEXT_OR_LIST && json_is_string(value);

    if (!is_single && !json_is_array(value)) {
        return refuse(r, at,
                      field->type == JSON_TEXT_OR_LIST ? "must be a string or a list of strings"
                                                       : "must be a list of strings");
    }
    size_t count = is_single ? 1 : json_array_size(value);
    if (field->max > 0 && count > field->max) {
        return refuse_over(r, at, " items", field->max);
    }
    if (count == 0) {
        return ERR_OK;
    }
    out->items = arena_try(r->arena, count * sizeof(*out->items));
    if (!out->items) {
        return ERR_TOO_LARGE;
    }
    if (is_single) {
        out->count = 1;
        return read_text(r, value, 0, &out->items[0], at);
    }
    for (size_t i = 0; i < count; i++) {
        struct step here = {.up = at, .index = i};
        enum err err = read_text(r, json_array_get(value, i), 0, &out->items[i], &here);
        if (err != ERR_OK) {
            return err;
        }
        out->count++;
    }
    return ERR_OK;
}

static enum err read_map(struct reader *r, const json_t *value, uint64_t max,
                         struct json_pairs *out, const struct step *at)
{
    if (!is_object(value)) {
        return refuse(r, at, "must be an object");
    }
    size_t count = json_object_size(value);
    if (max > 0 && count > max) {
        return refuse_over(r, at, " items", max);
    }
    if (count == 0) {
        return ERR_OK;
    }
    out->items = arena_try(r->arena, count * sizeof(*out->items));
    if (!out->items) {
        return ERR_TOO_LARGE;
    }
    json_t *object = (json_t *)value; /* jansson's iterators take no const; nothing is changed */
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        struct step here = {.up = at, .name = json_object_iter_key(it)};
        const json_t *item = json_object_iter_value(it);
        if (json_is_null(item)) {
            continue;
        }
        struct json_pair *pair = &out->items[out->count];
        enum err err = copy_text(r, slice_str(here.name), &pair->name);
        if (err == ERR_OK) {
            err = read_pair(r, item, pair, &here);
        }
        if (err != ERR_OK) {
            return err;
        }
        out->count++;
    }
    return ERR_OK;
}

static enum err read_pair(struct reader *r, const json_t *value, struct json_pair *out,
                          const struct step *at)
{
    char number[NUMBER_BYTES_MAX];

    if (json_is_string(value)) {
        out->is_text = true;
        return read_text(r, value, 0, &out->value, at);
    }
    if (json_is_boolean(value)) {
        return copy_text(r, json_is_true(value) ? SLICE("true") : SLICE("false"), &out->value);
    }
    if (!json_is_number(value)) {
        return refuse(r, at, "must be a string, a number, true or false");
    }
    return copy_text(r, slice_of(number, print_number(value, number)), &out->value);
}

static enum err read_list(struct reader *r, const json_t *value, const struct json_field *field,
                          struct json_items *out, const struct step *at)
{
    if (!json_is_array(value)) {
        return refuse(r, at, "must be a list of objects");
    }
    size_t count = json_array_size(value);
    if (field->max > 0 && count > field->max) {
        return refuse_over(r, at, " items", field->max);
    }
    if (count == 0) {
        return ERR_OK;
    }
    out->items = arena_try(r->arena, count * field->sub->size);
    if (!out->items) {
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < count; i++) {
        struct step here = {.up = at, .index = i};
        const json_t *item = json_array_get(value, i);
        if (!is_object(item)) {
            return refuse(r, &here, "must be an object");
        }
        void *place = (char *)out->items + i * field->sub->size;
        enum err err = read_object(r, item, field->sub, place, &here);
        if (err != ERR_OK) {
            return err;
        }
        out->count++;
    }
    return ERR_OK;
}

enum err json_tree(struct slice text, struct arena *arena, struct json_value *root)
{
    struct json_fault fault = {.param = {0}};
    struct reader reader = {.arena = arena, .fault = &fault};
    json_error_t error;

    *root = (struct json_value){.kind = JSON_IS_NULL};
    enum err err = scan(&reader, text);
    if (err != ERR_OK) {
        return err;
    }
    json_t *tree = json_loadb(text.data ? text.data : "", text.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!tree) {
        return refuse_syntax(&reader, &error, text);
    }
    err = read_tree(&reader, tree, root);
    json_decref(tree);
    return err;
}

/* As deep as scan lets anything be. */
static enum err read_tree(struct reader *r, const json_t *value, struct json_value *out)
{
    char number[NUMBER_BYTES_MAX];

    switch (json_typeof(value)) {
    case JSON_STRING:
        out->kind = JSON_IS_TEXT;
        return copy_text(r, slice_of(json_string_value(value), json_string_length(value)),
                         &out->text);
    case JSON_INTEGER:
    case JSON_REAL:
        out->kind = JSON_IS_NUMBER;
        return copy_text(r, slice_of(number, print_number(value, number)), &out->text);
    case JSON_TRUE:
    case JSON_FALSE:
        out->kind = JSON_IS_BOOL;
        out->is_true = json_is_true(value);
        out->text = out->is_true ? SLICE("true") : SLICE("false");
        return ERR_OK;
    case JSON_NULL:
        return ERR_OK;
    default: /* an array or an object, whose name here is not jansson's */
        return read_items(r, value, out);
    }
}

static enum err read_items(struct reader *r, const json_t *value, struct json_value *out)
{
    json_t *object = (json_t *)value; /* as in read_map */
    bool is_list = json_is_array(value);
    size_t count = is_list ? json_array_size(value) : json_object_size(value);
    void *it = is_list ? NULL : json_object_iter(object);
    enum err err = ERR_OK;

    out->kind = is_list ? JSON_IS_LIST : JSON_IS_MAP;
    if (count == 0) {
        return ERR_OK;
    }
    out->items = arena_try(r->arena, count * sizeof(*out->items));
    if (!out->items) {
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        struct json_value *item = &out->items[out->count++];
        if (!is_list) {
            err = copy_text(r, slice_str(json_object_iter_key(it)), &item->name);
        }
        if (err == ERR_OK) {
            const json_t *from = is_list ? json_array_get(value, i) : json_object_iter_value(it);
            err = read_tree(r, from, item);
        }
        it = is_list ? NULL : json_object_iter_next(object, it);
    }
    return err;
}

/* With a terminator behind it, outside its length. */
static enum err copy_text(struct reader *r, struct slice text, struct slice *out)
{
    char *copy = arena_try(r->arena, text.len + 1);

    if (!copy) {
        return ERR_TOO_LARGE;
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    *out = slice_of(copy, text.len);
    return ERR_OK;
}

/* 5.0 and 5e3 are whole too: several languages write their integers so. */
static bool whole_number(const json_t *value, uint64_t *out)
{
    if (json_is_integer(value)) {
        if (json_integer_value(value) < 0) {
            return false;
        }
        *out = (uint64_t)json_integer_value(value);
        return true;
    }
    if (!json_is_real(value)) {
        return false;
    }
    double real = json_real_value(value);
    if (!(real >= 0 && real <= DOUBLE_WHOLE_MAX) || floor(real) != real) {
        return false;
    }
    *out = (uint64_t)real;
    return true;
}

/* The shortest of 15 to 17 digits that reads back as the same number, so that 0.1 stays 0.1. */
static size_t print_number(const json_t *value, char out[NUMBER_BYTES_MAX])
{
    size_t len = 0;

    for (size_t digits = 15; digits <= 17; digits++) {
        len = json_dumpb(value, out, NUMBER_BYTES_MAX - 1,
                         JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        CHECK(len < NUMBER_BYTES_MAX);
        out[len] = '\0';
        if (json_is_integer(value) || strtod(out, NULL) == json_real_value(value)) {
            break;
        }
    }
    return len;
}

/* ---- writing -------------------------------------------------------------------------------- */

void json_start(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out};
}

void json_open_object(struct json_writer *w)
{
    open_with(w, '{');
}

void json_close_object(struct json_writer *w)
{
    close_with(w, '}');
}

void json_open_array(struct json_writer *w)
{
    open_with(w, '[');
}

void json_close_array(struct json_writer *w)
{
    close_with(w, ']');
}

void json_key(struct json_writer *w, const char *name)
{
    json_key_slice(w, slice_str(name));
}

void json_key_slice(struct json_writer *w, struct slice name)
{
    CHECK(w->depth > 0);
    before_value(w);
    json_escape(w->out, name);
    buf_add_byte(w->out, ':');
    w->needs_comma = false;
}

void json_text(struct json_writer *w, struct slice s)
{
    before_value(w);
    json_escape(w->out, s);
}

void json_text_or_null(struct json_writer *w, struct slice s)
{
    if (s.len == 0) {
        json_nil(w);
    } else {
        json_text(w, s);
    }
}

void json_u64(struct json_writer *w, uint64_t value)
{
    before_value(w);
    buf_add_u64(w->out, value);
}

void json_i64(struct json_writer *w, int64_t value)
{
    before_value(w);
    buf_add_format(w->out, "%" PRId64, value);
}

void json_bool(struct json_writer *w, bool value)
{
    before_value(w);
    buf_add_str(w->out, value ? "true" : "false");
}

void json_nil(struct json_writer *w)
{
    before_value(w);
    buf_add_str(w->out, "null");
}

void json_raw(struct json_writer *w, struct slice json)
{
    if (json.len == 0) {
        json_nil(w); /* nothing at all would not be JSON */
        return;
    }
    before_value(w);
    buf_add(w->out, json);
}

void json_escape(struct buf *out, struct slice s)
{
    const uint8_t *p = (const uint8_t *)s.data;
    size_t at = 0;

    buf_add_byte(out, '"');
    while (at < s.len) {
        size_t from = at;
        bool is_valid = true;
        size_t span = 1;
        while (at < s.len && is_valid) {
            if (is_plain(p[at])) {
                at++;
            } else if (p[at] < 0x80) {
                break;
            } else {
                span = utf8_span(p + at, s.len - at, &is_valid);
                at += is_valid ? span : 0;
            }
        }
        buf_add_bytes(out, p + from, at - from);
        if (at == s.len) {
            break;
        }
        if (is_valid) {
            escape_byte(out, p[at]);
            at++;
        } else {
            buf_add_str(out, "\xef\xbf\xbd"); /* U+FFFD */
            at += span;
        }
    }
    buf_add_byte(out, '"');
}

static void before_value(struct json_writer *w)
{
    if (w->needs_comma) {
        buf_add_byte(w->out, ',');
    }
    w->needs_comma = true;
}

static void open_with(struct json_writer *w, char bracket)
{
    before_value(w);
    buf_add_byte(w->out, bracket);
    w->needs_comma = false;
    w->depth++;
}

static void close_with(struct json_writer *w, char bracket)
{
    CHECK(w->depth > 0);
    buf_add_byte(w->out, bracket);
    w->needs_comma = true;
    w->depth--;
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* RFC 8259 7: the quote, the backslash and everything below 0x20 must be escaped. */
static void escape_byte(struct buf *out, uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    static const char names[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *name = byte == 0 ? NULL : strchr(names, byte);

    if (name) {
        buf_add_byte(out, '\\');
        buf_add_byte(out, letters[name - names]);
        return;
    }
    buf_add_str(out, "\\u00");
    buf_add_byte(out, digits[byte >> 4]);
    buf_add_byte(out, digits[byte & 15]);
}

/* Length of the character at p, which is not ASCII; when it is malformed, of the part that one
 * U+FFFD stands for (Unicode 3.9, "maximal subpart"). */
static size_t utf8_span(const uint8_t *p, size_t left, bool *is_valid)
{
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t need = 0;

    *is_valid = false;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        need = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        need = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;   /* no overlong forms */
        high = p[0] == 0xed ? 0x9f : high; /* no surrogates */
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        need = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high; /* nothing past U+10FFFF */
    } else {
        return 1;
    }
    for (size_t i = 1; i < need; i++) {
        if (i >= left || p[i] < low || p[i] > high) {
            return i;
        }
        low = 0x80;
        high = 0xbf;
    }
    *is_valid = true;
    return need;
}
