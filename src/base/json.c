/* json.c - shapes over the tree of json_parse for reading, a comma keeper for writing.
 *
 * Strings are decoded into the caller's arena and stay there, known or not; the tree itself goes
 * when the shape has picked what it knows.
 */
#include "base/json.h"

#include "base/check.h"
#include "base/json_parse.h"
#include "base/limits.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX     512
#define SENTENCE_BYTES_MAX 640
#define PATH_KEY_BYTES     64                 /* of a key the client chose, as quoted in a path */
#define DOUBLE_WHOLE_MAX   9007199254740992.0 /* 2^53: whole numbers are exact up to here */
#define NUMBER_BYTES_MAX   80                 /* json_parse lets none pass that is longer */
#define NODES_BYTES        (4 * KIB)
#define NODES_BYTES_MAX                                                                            \
    (JSON_VALUES_MAX * 128) /* a node of up to 72 bytes, a name to be sorted                       \
                             */

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

static enum err refuse_body(struct reader *r, const char *sentence);
static enum err refuse_syntax(struct reader *r, const struct json_mistake *mistake);
static enum err refuse(struct reader *r, const struct step *at, const char *complaint);
static enum err refuse_over(struct reader *r, const struct step *at, const char *noun,
                            uint64_t max);
static void add_path(struct buf *path, const struct step *at);
static enum err read_object(struct reader *r, const struct json_node *object,
                            const struct json_shape *shape, void *out, const struct step *at);
static enum err read_field(struct reader *r, const struct json_node *value,
                           const struct json_field *field, void *member, const struct step *at);
static enum err read_text(struct reader *r, const struct json_node *value, uint64_t max,
                          struct slice *out, const struct step *at);
static enum err read_raw_object(struct reader *r, const struct json_node *value, uint64_t max,
                                struct slice *out, const struct step *at);
static enum err read_u64(struct reader *r, const struct json_node *value, uint64_t max,
                         uint64_t *out, const struct step *at);
static enum err read_time(struct reader *r, const struct json_node *value, uint64_t max,
                          struct json_time *out, const struct step *at);
static enum err read_texts(struct reader *r, const struct json_node *value,
                           const struct json_field *field, struct json_texts *out,
                           const struct step *at);
static enum err read_map(struct reader *r, const struct json_node *value, uint64_t max,
                         struct json_pairs *out, const struct step *at);
static enum err read_pair(struct reader *r, const struct json_node *value, struct json_pair *out,
                          const struct step *at);
static enum err read_list(struct reader *r, const struct json_node *value,
                          const struct json_field *field, struct json_items *out,
                          const struct step *at);
static enum err read_tree(struct reader *r, const struct json_node *node, struct json_value *out);
static enum err copy_text(struct reader *r, struct slice text, struct slice *out);
static bool whole_number(const struct json_node *value, uint64_t *out);
static bool is_boolean(const struct json_node *value);
static void before_value(struct json_writer *w);
static void open_with(struct json_writer *w, char bracket);
static void close_with(struct json_writer *w, char bracket);
static bool is_plain(uint8_t byte);
static void escape_byte(struct buf *out, uint8_t byte);

/* ---- reading -------------------------------------------------------------------------------- */

enum err json_read(struct slice body, const struct json_shape *shape, struct arena *arena,
                   void *out, struct json_fault *fault)
{
    struct reader reader = {.arena = arena, .fault = fault};
    struct json_mistake mistake;
    struct json_node *root;
    struct arena nodes;

    memset(out, 0, shape->size);
    *fault = (struct json_fault){0};
    arena_init(&nodes, NODES_BYTES, NODES_BYTES_MAX);
    enum err err = json_parse(body, &nodes, arena, &root, &mistake);
    if (err == ERR_NOT_JSON) {
        err = refuse_syntax(&reader, &mistake);
    } else if (err == ERR_OK && root->kind != JSON_NODE_OBJECT) {
        err = refuse_body(&reader, "the body must be a JSON object");
    } else if (err == ERR_OK) {
        err = read_object(&reader, root, shape, out, NULL);
    }
    arena_fini(&nodes);
    return err;
}

static enum err refuse_body(struct reader *r, const char *sentence)
{
    enum err err = copy_text(r, slice_str(sentence), &r->fault->sentence);
    return err == ERR_OK ? ERR_NOT_JSON : err;
}

static enum err refuse_syntax(struct reader *r, const struct json_mistake *mistake)
{
    char text[SENTENCE_BYTES_MAX];

    if (!mistake->has_place) {
        return refuse_body(r, mistake->sentence);
    }
    (void)snprintf(text, sizeof(text), "%s (line %" PRIu32 ", column %" PRIu32 ")",
                   mistake->sentence, mistake->line,
                   mistake->column); /* fits: the sentences are ours */
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

static enum err read_object(struct reader *r, const struct json_node *object,
                            const struct json_shape *shape, void *out, const struct step *at)
{
    for (uint32_t i = 0; i < shape->field_count; i++) {
        const struct json_field *field = &shape->fields[i];
        struct step here = {.up = at, .name = field->name};
        const struct json_node *value = json_member(object, slice_str(field->name));
        if (!value || value->kind == JSON_NODE_NULL) {
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

static enum err read_field(struct reader *r, const struct json_node *value,
                           const struct json_field *field, void *member, const struct step *at)
{
    switch (field->type) {
    case JSON_TEXT:
        return read_text(r, value, field->max, member, at);
    case JSON_U64:
        return read_u64(r, value, field->max, member, at);
    case JSON_BOOL:
        if (!is_boolean(value)) {
            return refuse(r, at, "must be true or false");
        }
        *(bool *)member = value->kind == JSON_NODE_TRUE;
        return ERR_OK;
    case JSON_TEXT_LIST:
    case JSON_TEXT_OR_LIST:
        return read_texts(r, value, field, member, at);
    case JSON_MAP:
        return read_map(r, value, field->max, member, at);
    case JSON_LIST:
        return read_list(r, value, field, member, at);
    case JSON_OBJECT:
        if (value->kind != JSON_NODE_OBJECT) {
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

static enum err read_text(struct reader *r, const struct json_node *value, uint64_t max,
                          struct slice *out, const struct step *at)
{
    if (value->kind != JSON_NODE_STRING) {
        return refuse(r, at, "must be a string");
    }
    if (max > 0 && value->text.len > max) {
        return refuse_over(r, at, " bytes", max);
    }
    *out = value->text;
    return ERR_OK;
}

static enum err read_raw_object(struct reader *r, const struct json_node *value, uint64_t max,
                                struct slice *out, const struct step *at)
{
    if (value->kind != JSON_NODE_OBJECT) {
        return refuse(r, at, "must be an object");
    }
    if (max > 0 && value->source.len > max) {
        return refuse_over(r, at, " bytes", max);
    }
    return copy_text(r, value->source, out);
}

static enum err read_u64(struct reader *r, const struct json_node *value, uint64_t max,
                         uint64_t *out, const struct step *at)
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

static enum err read_time(struct reader *r, const struct json_node *value, uint64_t max,
                          struct json_time *out, const struct step *at)
{
    if (value->kind == JSON_NODE_STRING) {
        return read_text(r, value, max, &out->text, at);
    }
    if (!whole_number(value, &out->ms)) {
        return refuse(r, at, "must be a time: milliseconds since 1970, or text");
    }
    out->is_number = true;
    return ERR_OK;
}

static enum err read_texts(struct reader *r, const struct json_node *value,
                           const struct json_field *field, struct json_texts *out,
                           const struct step *at)
{
    bool is_single = field->type == JSON_TEXT_OR_LIST && value->kind == JSON_NODE_STRING;

    if (!is_single && value->kind != JSON_NODE_ARRAY) {
        return refuse(r, at,
                      field->type == JSON_TEXT_OR_LIST ? "must be a string or a list of strings"
                                                       : "must be a list of strings");
    }
    size_t count = is_single ? 1 : value->count;
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
    for (const struct json_node *item = value->first; item; item = item->next) {
        struct step here = {.up = at, .index = out->count};
        enum err err = read_text(r, item, 0, &out->items[out->count], &here);
        if (err != ERR_OK) {
            return err;
        }
        out->count++;
    }
    return ERR_OK;
}

static enum err read_map(struct reader *r, const struct json_node *value, uint64_t max,
                         struct json_pairs *out, const struct step *at)
{
    if (value->kind != JSON_NODE_OBJECT) {
        return refuse(r, at, "must be an object");
    }
    size_t count = value->count;
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
    for (const struct json_node *item = value->first; item; item = item->next) {
        struct step here = {.up = at, .name = item->name.data};
        if (item->kind == JSON_NODE_NULL) {
            continue;
        }
        struct json_pair *pair = &out->items[out->count];
        pair->name = item->name;
        enum err err = read_pair(r, item, pair, &here);
        if (err != ERR_OK) {
            return err;
        }
        out->count++;
    }
    return ERR_OK;
}

static enum err read_pair(struct reader *r, const struct json_node *value, struct json_pair *out,
                          const struct step *at)
{
    if (value->kind == JSON_NODE_STRING) {
        out->is_text = true;
        return read_text(r, value, 0, &out->value, at);
    }
    if (is_boolean(value)) {
        out->value = value->kind == JSON_NODE_TRUE ? SLICE("true") : SLICE("false");
        return ERR_OK;
    }
    if (value->kind != JSON_NODE_INTEGER && value->kind != JSON_NODE_REAL) {
        return refuse(r, at, "must be a string, a number, true or false");
    }
    return copy_text(r, value->text, &out->value);
}

static enum err read_list(struct reader *r, const struct json_node *value,
                          const struct json_field *field, struct json_items *out,
                          const struct step *at)
{
    if (value->kind != JSON_NODE_ARRAY) {
        return refuse(r, at, "must be a list of objects");
    }
    size_t count = value->count;
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
    for (const struct json_node *item = value->first; item; item = item->next) {
        struct step here = {.up = at, .index = out->count};
        if (item->kind != JSON_NODE_OBJECT) {
            return refuse(r, &here, "must be an object");
        }
        void *place = (char *)out->items + out->count * field->sub->size;
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
    struct json_mistake mistake;
    struct json_node *tree;
    struct arena nodes;

    *root = (struct json_value){.kind = JSON_IS_NULL};
    arena_init(&nodes, NODES_BYTES, NODES_BYTES_MAX);
    enum err err = json_parse(text, &nodes, arena, &tree, &mistake);
    if (err == ERR_OK) {
        err = read_tree(&reader, tree, root);
    }
    arena_fini(&nodes);
    return err;
}

/* As deep as JSON_DEPTH_MAX lets anything be. */
static enum err read_tree(struct reader *r, const struct json_node *node, struct json_value *out)
{
    static const enum json_kind kinds[] = {
        [JSON_NODE_NULL] = JSON_IS_NULL,   [JSON_NODE_FALSE] = JSON_IS_BOOL,
        [JSON_NODE_TRUE] = JSON_IS_BOOL,   [JSON_NODE_INTEGER] = JSON_IS_NUMBER,
        [JSON_NODE_REAL] = JSON_IS_NUMBER, [JSON_NODE_STRING] = JSON_IS_TEXT,
        [JSON_NODE_ARRAY] = JSON_IS_LIST,  [JSON_NODE_OBJECT] = JSON_IS_MAP,
    };
    out->kind = kinds[node->kind];
    out->name = node->name;
    out->is_true = node->kind == JSON_NODE_TRUE;
    out->text = node->text;
    if (out->kind == JSON_IS_BOOL) {
        out->text = out->is_true ? SLICE("true") : SLICE("false");
    }
    if (out->kind == JSON_IS_NUMBER) {
        return copy_text(r, node->text, &out->text);
    }
    if (node->count == 0) {
        return ERR_OK;
    }
    out->items = arena_try(r->arena, node->count * sizeof(*out->items));
    if (!out->items) {
        return ERR_TOO_LARGE;
    }
    for (const struct json_node *item = node->first; item; item = item->next) {
        enum err err = read_tree(r, item, &out->items[out->count++]);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
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
static bool whole_number(const struct json_node *value, uint64_t *out)
{
    char text[NUMBER_BYTES_MAX];

    if (value->kind != JSON_NODE_INTEGER && value->kind != JSON_NODE_REAL) {
        return false;
    }
    CHECK(value->text.len < sizeof(text));
    memcpy(text, value->text.data, value->text.len);
    text[value->text.len] = '\0';
    if (value->kind == JSON_NODE_INTEGER) {
        long long whole = strtoll(text, NULL, 10);
        *out = (uint64_t)whole;
        return whole >= 0;
    }
    double real = strtod(text, NULL);
    if (!(real >= 0 && real <= DOUBLE_WHOLE_MAX) || floor(real) != real) {
        return false;
    }
    *out = (uint64_t)real;
    return true;
}

static bool is_boolean(const struct json_node *value)
{
    return value->kind == JSON_NODE_TRUE || value->kind == JSON_NODE_FALSE;
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
                span = json_utf8_span(p + at, s.len - at, &is_valid);
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
