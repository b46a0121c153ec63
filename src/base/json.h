/* json.h - JSON in and out.
 *
 * In: a table describes a struct, json_read fills it or names the field at fault. Unknown fields
 * are ignored; a field of the wrong type is an error that carries its path
 * ("attachments[2].filename"). NUL bytes (also as \u0000), invalid UTF-8, duplicate keys, depth
 * over JSON_DEPTH_MAX and more than JSON_KEYS_MAX keys in all are refused. All text lands in the
 * arena. json_parse.h does the parsing.
 *
 * Out: a writer that appends to a buf; commas and escapes are its business, so no answer of Meerkat
 * is assembled with printf.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* ---- reading -------------------------------------------------------------------------------- */

enum json_type {
    JSON_TEXT,         /* struct slice */
    JSON_U64,          /* uint64_t; a number without fraction, not negative */
    JSON_BOOL,         /* bool */
    JSON_TEXT_LIST,    /* struct json_texts; an array of strings */
    JSON_TEXT_OR_LIST, /* struct json_texts; a string is a list of one */
    JSON_MAP,  /* struct json_pairs; an object of scalars (numbers, booleans as text; is_text tells)
                */
    JSON_LIST, /* struct json_items; an array of objects, each read by `sub` */
    JSON_OBJECT,     /* the struct described by `sub`, in place */
    JSON_TIME,       /* struct json_time: a number (ms) or text, as given */
    JSON_RAW_OBJECT, /* struct slice; an object whatever is in it, as its JSON text */
};

struct json_texts {
    struct slice *items;
    uint32_t count;
};

struct json_pair {
    struct slice name;
    struct slice value; /* text without quotes; numbers as they were written */
    bool is_text;
};

struct json_pairs {
    struct json_pair *items;
    uint32_t count;
};

struct json_items {
    void *items; /* count structs of sub->size bytes */
    uint32_t count;
};

struct json_time {
    bool is_number;
    uint64_t ms;       /* when is_number */
    struct slice text; /* otherwise */
};

struct json_shape;

struct json_field {
    const char *name;
    enum json_type type;
    bool is_required; /* absent or null is ERR_BAD_FIELD */
    uint32_t offset;  /* of the member in the struct */
    uint32_t
        has_offset; /* of a bool set when present and not null; 0 for none (so it can't be first) */
    uint32_t null_offset; /* of a bool set when null was given, which else counts as absent; 0 for
                             none */
    uint64_t max; /* text: bytes; U64: value; lists, maps: items; 0 means the shape's own ceiling */
    const struct json_shape *sub;
};

struct json_shape {
    const struct json_field *fields;
    uint32_t field_count;
    uint32_t size; /* of the struct */
};

struct json_fault {
    struct slice param;    /* path of the field at fault; empty when the body is not JSON at all */
    struct slice sentence; /* what is wrong with it, for the client; both in the arena */
};

/* Fills *out (zeroed first) from body. null counts as absent.
 * Errors: ERR_NOT_JSON, ERR_BAD_FIELD with *fault filled, ERR_TOO_LARGE when the arena is full. */
MUST_USE enum err json_read(struct slice body, const struct json_shape *shape, struct arena *arena,
                            void *out, struct json_fault *fault);

/* ---- reading what has no shape -------------------------------------------------------------- */

enum json_kind {
    JSON_IS_NULL,
    JSON_IS_BOOL,
    JSON_IS_NUMBER,
    JSON_IS_TEXT,
    JSON_IS_LIST,
    JSON_IS_MAP
};

struct json_value {
    enum json_kind kind;
    bool is_true;             /* BOOL */
    struct slice name;        /* of a member of a MAP */
    struct slice text;        /* TEXT without quotes; BOOL, NUMBER: as JSON writes them */
    struct json_value *items; /* LIST, MAP */
    uint32_t count;
};

/* The whole text as a tree in arena, under the same ceilings as json_read. Errors: ERR_NOT_JSON,
 * ERR_TOO_LARGE when the arena is full. */
MUST_USE enum err json_tree(struct slice text, struct arena *arena, struct json_value *root);

/* ---- writing -------------------------------------------------------------------------------- */

struct json_writer {
    struct buf *out;
    uint32_t depth;
    bool needs_comma;
};

void json_start(struct json_writer *w, struct buf *out);
void json_open_object(struct json_writer *w);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w);
void json_close_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *name);
void json_key_slice(struct json_writer *w, struct slice name);
/* Invalid UTF-8 becomes U+FFFD, so the answer is always valid JSON. */
void json_text(struct json_writer *w, struct slice s);
void json_text_or_null(struct json_writer *w, struct slice s); /* empty is null */
void json_u64(struct json_writer *w, uint64_t value);
void json_i64(struct json_writer *w, int64_t value);
void json_bool(struct json_writer *w, bool value);
void json_nil(struct json_writer *w);                    /* null; json_null is jansson's name */
void json_raw(struct json_writer *w, struct slice json); /* already valid JSON */

/* A JSON string with quotes and escapes, appended to out. */
void json_escape(struct buf *out, struct slice s);

#endif
