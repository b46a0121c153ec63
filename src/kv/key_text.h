/* key_text.h - keys as people read and type them.
 *
 * A key is its family's name and its parts, separated by spaces, in the order of the bytes:
 *
 *     outbox 2026-11-21T06:38:51.123Z acc_5Kd3... msg_0CL... 0
 *     suppression acc_5Kd3... ann@example.com
 *     usage acc_5Kd3... 2026-11-21
 *
 * Shapes come from key.def, so a family cannot be without one. What is printed can be typed, and a
 * key cut behind any part is the prefix of all that begin so. Hashes are shown by their first eight
 * bytes ("1f2e3d4c5b6a7988.."), which name a row and open nothing. Bytes that have no place in the
 * shape are shown as "!" and hexadecimal digits; control characters in texts are escaped (\x0a).
 */
#ifndef KV_KEY_TEXT_H
#define KV_KEY_TEXT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "kv/key.h"
#include "kv/row.h"

#define KEY_PARTS_MAX 5

/* A family of keys. */
struct key_shape {
    char tag;
    const char *name;
    enum row_family row; /* what is under them */
    const char *parts;   /* letters of key.def */
};

/* All of them, in the order of their tags. */
const struct key_shape *key_shapes(size_t *count);
/* By the key's first byte; NULL when there is no such family. */
const struct key_shape *key_shape_of(struct slice key);
/* By name or by tag, as it is typed. */
const struct key_shape *key_shape_named(struct slice name);

/* What a key says. Members that its family does not have are zero. */
struct key_parts {
    const struct key_shape *shape;
    struct account_id account;
    struct id ids[2];     /* in their order */
    uint32_t numbers[2];  /* likewise */
    uint64_t due_unix_ms; /* d */
    uint32_t day;         /* y */
    uint32_t kind;        /* k: enum directory_kind */
    struct slice hash;    /* borrows from the key, as does text */
    struct slice text;
};
/* ERR_CORRUPT when the family is unknown or the length is wrong. */
MUST_USE enum err key_read(struct slice key, struct key_parts *parts);

/* Never fails: also a key that key_read refuses is shown. */
void key_print(struct slice key, struct buf *out);

/* A prefix, as typed or printed. An id may stand for account and id ("mail msg_0CL..."), and ids
 * may be typed without what they are of. is_whole: no part is missing, so it is one key.
 * Errors: ERR_INVALID; *why says what is wrong with which word, for a person. */
struct key_typed {
    struct key key;
    bool is_whole;
    const char *why;
    struct slice word;
};
MUST_USE enum err key_parse(struct slice text, struct key_typed *typed);
/* Where the rows after those of the prefix begin: behind that very key when it is whole, else
 * behind all that begin so. */
struct key key_behind(const struct key_typed *typed);

#endif
