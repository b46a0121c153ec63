/* json_parse.h - a JSON text (RFC 8259) as a tree.
 *
 * Strict: nothing behind the value, no NUL (also as \u0000), valid UTF-8, no lone surrogates, no
 * key twice in an object, numbers that a double or an int64_t can hold; at most JSON_DEPTH_MAX
 * deep, JSON_KEYS_MAX keys and JSON_VALUES_MAX values. Our own, because every mail that is sent
 * over HTTP comes through here and a library that looks at a mail's text byte by byte took a third
 * of what accepting it costs; tests/fuzz/fuzz_json_parse.c holds it against jansson.
 *
 * Pure. Source: RFC 8259, RFC 3629.
 */
#ifndef BASE_JSON_PARSE_H
#define BASE_JSON_PARSE_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

enum json_node_kind {
    JSON_NODE_NULL,
    JSON_NODE_FALSE,
    JSON_NODE_TRUE,
    JSON_NODE_INTEGER, /* without fraction and exponent; fits an int64_t */
    JSON_NODE_REAL,
    JSON_NODE_STRING,
    JSON_NODE_ARRAY,
    JSON_NODE_OBJECT,
};

struct json_node {
    enum json_node_kind kind;
    uint32_t count;          /* of items or members */
    struct slice text;       /* of a string, decoded; of a number, as written */
    struct slice name;       /* of a member, decoded */
    struct slice source;     /* the value as it stands in the body */
    struct json_node *first; /* item or member, in the order of the text */
    struct json_node *next;  /* in the array or object that this one is in */
};

struct json_mistake {
    const char *sentence; /* "the body is not valid JSON"; static */
    bool has_place;       /* and where: both from 1; a column is a character */
    uint32_t line;
    uint32_t column;
};

/* Nodes and numbers live in `nodes` and the body, decoded strings (each with a NUL behind it,
 * outside its length) in `texts`. The body stays the caller's for the tree's life.
 * Errors: ERR_NOT_JSON with *mistake filled; ERR_TOO_LARGE when an arena is full. */
MUST_USE enum err json_parse(struct slice body, struct arena *nodes, struct arena *texts,
                             struct json_node **root, struct json_mistake *mistake);

/* NULL when the object has no such member. */
const struct json_node *json_member(const struct json_node *object, struct slice name);

/* Length of the character at p, which is not ASCII; when it is malformed, of the part that one
 * U+FFFD stands for (Unicode 3.9, "maximal subpart"). */
size_t json_utf8_span(const uint8_t *p, size_t left, bool *is_valid);

#endif
