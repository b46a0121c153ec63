/* json_parse.c - one pass over the text: values nest by recursion, which JSON_DEPTH_MAX bounds.
 *
 * What costs is the text of strings. The bytes that need no thought, ASCII without quotes,
 * backslashes and controls, are found eight at a time and copied as they are.
 */
#include "base/json_parse.h"

#include "base/check.h"
#include "base/limits.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES_MAX 64 /* longer ones are no numbers that anybody means */
#define PAIRS_COMPARED   16 /* in larger objects keys are sorted to find one that is there twice */

struct parser {
    const uint8_t *bytes;
    size_t len;
    size_t at;
    struct arena *nodes;
    struct arena *texts;
    const char *sentence; /* of the first mistake */
    uint32_t depth;
    uint32_t keys;
    uint32_t values;
};

static const char invalid[] = "the body is not valid JSON";
static const char unfinished[] = "the body ends in the middle of its JSON";
static const char has_nul[] = "the body contains a NUL character";

static enum err read_value(struct parser *p, struct json_node *node);

static enum err fail(struct parser *p, const char *sentence)
{
    p->sentence = sentence;
    return ERR_NOT_JSON;
}

/* Of a byte that should not be here, or of the end. */
static enum err fail_here(struct parser *p)
{
    return fail(p, p->at >= p->len ? unfinished : p->bytes[p->at] == 0 ? has_nul : invalid);
}

static void skip_space(struct parser *p)
{
    while (p->at < p->len && (p->bytes[p->at] == ' ' || p->bytes[p->at] == '\n' ||
                              p->bytes[p->at] == '\r' || p->bytes[p->at] == '\t')) {
        p->at++;
    }
}

static bool is_next(struct parser *p, char byte)
{
    skip_space(p);
    if (p->at < p->len && p->bytes[p->at] == (uint8_t)byte) {
        p->at++;
        return true;
    }
    return false;
}

/* ---- strings -------------------------------------------------------------------------------- */

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Non-zero when one of eight bytes is a quote, a backslash, a control or no ASCII. Exact: borrows
 * between bytes can only come from a byte that is special itself. */
static uint64_t has_special(uint64_t eight)
{
    uint64_t quote = eight ^ EACH_BYTE('"');
    uint64_t slash = eight ^ EACH_BYTE('\\');
    return ((eight - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1)) | (slash - EACH_BYTE(1)) | eight) &
           EACH_BYTE(0x80);
}

/* How many bytes from `at` stand for themselves. */
static size_t plain_span(const struct parser *p, size_t at, size_t end)
{
    size_t from = at;
    while (end - at >= 8) {
        uint64_t eight;
        memcpy(&eight, p->bytes + at, sizeof(eight));
        if (has_special(eight)) {
            break;
        }
        at += 8;
    }
    while (at < end && p->bytes[at] >= 0x20 && p->bytes[at] < 0x80 && p->bytes[at] != '"' &&
           p->bytes[at] != '\\') {
        at++;
    }
    return at - from;
}

/* The place of the closing quote, or the length of the body when there is none. */
static size_t find_end(const struct parser *p, size_t from)
{
    size_t start = from;
    while (from < p->len) {
        const uint8_t *quote = memchr(p->bytes + from, '"', p->len - from);
        if (!quote) {
            break;
        }
        size_t found = (size_t)(quote - p->bytes);
        size_t slashes = 0;
        while (found - slashes > start && p->bytes[found - slashes - 1] == '\\') {
            slashes++;
        }
        if (slashes % 2 == 0) {
            return found;
        }
        from = found + 1;
    }
    return p->len;
}

static bool read_hex(const struct parser *p, size_t at, size_t end, uint32_t *unit)
{
    *unit = 0;
    if (end - at < 4) {
        return false;
    }
    for (size_t i = 0; i < 4; i++) {
        int digit = ascii_hex_value((char)p->bytes[at + i]);
        if (digit < 0) {
            return false;
        }
        *unit = *unit << 4 | (uint32_t)digit;
    }
    return true;
}

static size_t put_utf8(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Behind "\u". Six or twelve bytes of text become at most four. */
static enum err read_unicode(struct parser *p, size_t end, char *out, size_t *put)
{
    uint32_t high;
    uint32_t low;
    if (!read_hex(p, p->at, end, &high)) {
        return fail(p, invalid);
    }
    p->at += 4;
    if (high == 0) {
        return fail(p, has_nul);
    }
    if (high >= 0xd800 && high <= 0xdfff) {
        if (high >= 0xdc00 || end - p->at < 6 || p->bytes[p->at] != '\\' ||
            p->bytes[p->at + 1] != 'u' || !read_hex(p, p->at + 2, end, &low) || low < 0xdc00 ||
            low > 0xdfff) {
            return fail(p, invalid);
        }
        p->at += 6;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    *put = put_utf8(high, out);
    return ERR_OK;
}

/* Behind a backslash. */
static enum err read_escape(struct parser *p, size_t end, char *out, size_t *put)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char bytes[] = "\"\\/\b\f\n\r\t";
    if (p->at == end) {
        return fail(p, unfinished); /* so does the string: a quote behind it would not end it */
    }
    uint8_t letter = p->bytes[p->at++];
    if (letter == 'u') {
        return read_unicode(p, end, out, put);
    }
    const char *found = letter == 0 ? NULL : strchr(letters, letter);
    if (!found) {
        p->at--;
        return fail(p, letter == 0 ? has_nul : invalid);
    }
    *out = bytes[found - letters];
    *put = 1;
    return ERR_OK;
}

static enum err decode(struct parser *p, size_t end, char *out, size_t *len)
{
    size_t put = 0;
    while (p->at < end) {
        size_t span = plain_span(p, p->at, end);
        bool is_valid = true;
        memcpy(out + put, p->bytes + p->at, span);
        put += span;
        p->at += span;
        if (p->at == end) {
            break;
        }
        uint8_t byte = p->bytes[p->at];
        if (byte == '\\') {
            size_t more = 0;
            p->at++;
            enum err err = read_escape(p, end, out + put, &more);
            if (err != ERR_OK) {
                return err;
            }
            put += more;
        } else if (byte < 0x80) {
            return fail_here(p); /* a control: the quotes were seen by find_end */
        } else {
            span = json_utf8_span(p->bytes + p->at, end - p->at, &is_valid);
            if (!is_valid) {
                return fail(p, "the body is not valid UTF-8");
            }
            memcpy(out + put, p->bytes + p->at, span);
            put += span;
            p->at += span;
        }
    }
    *len = put;
    return ERR_OK;
}

/* At the byte behind the opening quote. */
static enum err read_string(struct parser *p, struct slice *text)
{
    size_t end = find_end(p, p->at);
    size_t len = 0;
    char *out = arena_try(p->texts, end - p->at + 1);
    if (!out) {
        return ERR_TOO_LARGE;
    }
    enum err err = decode(p, end, out, &len);
    if (err != ERR_OK) {
        return err;
    }
    if (end == p->len) {
        return fail(p, unfinished);
    }
    p->at = end + 1;
    out[len] = '\0';
    *text = slice_of(out, len);
    return ERR_OK;
}

/* ---- numbers and words ---------------------------------------------------------------------- */

static size_t digits(struct parser *p)
{
    size_t from = p->at;
    while (p->at < p->len && p->bytes[p->at] >= '0' && p->bytes[p->at] <= '9') {
        p->at++;
    }
    return p->at - from;
}

static bool skip_byte(struct parser *p, char byte)
{
    bool is_there = p->at < p->len && p->bytes[p->at] == (uint8_t)byte;
    p->at += is_there ? 1 : 0;
    return is_there;
}

/* A double or an int64_t must be able to hold it. */
static bool fits(enum json_node_kind kind, struct slice text)
{
    char copy[NUMBER_BYTES_MAX + 1];
    if (text.len > NUMBER_BYTES_MAX) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    errno = 0;
    if (kind == JSON_NODE_INTEGER) {
        (void)strtoll(copy, NULL, 10);
        return errno == 0;
    }
    return isfinite(strtod(copy, NULL));
}

static enum err read_number(struct parser *p, struct json_node *node)
{
    size_t from = p->at;
    node->kind = JSON_NODE_INTEGER;
    (void)skip_byte(p, '-');
    bool is_good = skip_byte(p, '0') || digits(p) > 0;
    if (is_good && skip_byte(p, '.')) {
        node->kind = JSON_NODE_REAL;
        is_good = digits(p) > 0;
    }
    if (is_good && (skip_byte(p, 'e') || skip_byte(p, 'E'))) {
        node->kind = JSON_NODE_REAL;
        (void)(skip_byte(p, '+') || skip_byte(p, '-'));
        is_good = digits(p) > 0;
    }
    if (!is_good) {
        return fail_here(p);
    }
    node->text = slice_of(p->bytes + from, p->at - from);
    return fits(node->kind, node->text) ? ERR_OK
                                        : fail(p, "the body contains a number that is too large");
}

static enum err read_word(struct parser *p, struct json_node *node)
{
    static const struct {
        struct slice text;
        enum json_node_kind kind;
    } words[] = {
        {SLICE_INIT("null"), JSON_NODE_NULL},
        {SLICE_INIT("true"), JSON_NODE_TRUE},
        {SLICE_INIT("false"), JSON_NODE_FALSE},
    };
    struct slice rest = slice_of(p->bytes + p->at, p->len - p->at);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_starts(rest, words[i].text)) {
            node->kind = words[i].kind;
            p->at += words[i].text.len;
            return ERR_OK;
        }
    }
    return fail_here(p);
}

/* ---- arrays and objects --------------------------------------------------------------------- */

static struct json_node *add_node(struct parser *p, struct json_node *parent,
                                  struct json_node **last)
{
    struct json_node *node = arena_try(p->nodes, sizeof(*node));
    if (!node) {
        return NULL;
    }
    if (*last) {
        (*last)->next = node;
    } else {
        parent->first = node;
    }
    *last = node;
    parent->count++;
    return node;
}

static enum err read_items(struct parser *p, struct json_node *node)
{
    struct json_node *last = NULL;
    node->kind = JSON_NODE_ARRAY;
    if (is_next(p, ']')) {
        return ERR_OK;
    }
    do {
        struct json_node *item = add_node(p, node, &last);
        enum err err = item ? read_value(p, item) : ERR_TOO_LARGE;
        if (err != ERR_OK) {
            return err;
        }
    } while (is_next(p, ','));
    return is_next(p, ']') ? ERR_OK : fail_here(p);
}

static int compare_names(const void *a, const void *b)
{
    const struct slice *left = a;
    const struct slice *right = b;
    return slice_compare(*left, *right);
}

static bool has_twice(struct parser *p, const struct json_node *object, bool *is_full)
{
    if (object->count <= PAIRS_COMPARED) {
        for (const struct json_node *one = object->first; one; one = one->next) {
            for (const struct json_node *other = one->next; other; other = other->next) {
                if (slice_equal(one->name, other->name)) {
                    return true;
                }
            }
        }
        return false;
    }
    struct slice *names = arena_try(p->nodes, object->count * sizeof(*names));
    size_t n = 0;
    if (!names) {
        *is_full = true;
        return false;
    }
    for (const struct json_node *one = object->first; one; one = one->next) {
        names[n++] = one->name;
    }
    qsort(names, n, sizeof(*names), compare_names);
    for (size_t i = 1; i < n; i++) {
        if (slice_equal(names[i - 1], names[i])) {
            return true;
        }
    }
    return false;
}

static enum err read_member(struct parser *p, struct json_node *member)
{
    if (!is_next(p, '"')) {
        return fail_here(p);
    }
    enum err err = read_string(p, &member->name);
    if (err != ERR_OK) {
        return err;
    }
    if (++p->keys > JSON_KEYS_MAX) {
        return fail(p, "the JSON of the body has too many fields");
    }
    return is_next(p, ':') ? read_value(p, member) : fail_here(p);
}

static enum err read_members(struct parser *p, struct json_node *node)
{
    struct json_node *last = NULL;
    bool is_full = false;
    node->kind = JSON_NODE_OBJECT;
    if (is_next(p, '}')) {
        return ERR_OK;
    }
    do {
        struct json_node *member = add_node(p, node, &last);
        enum err err = member ? read_member(p, member) : ERR_TOO_LARGE;
        if (err != ERR_OK) {
            return err;
        }
    } while (is_next(p, ','));
    if (!is_next(p, '}')) {
        return fail_here(p);
    }
    if (has_twice(p, node, &is_full)) {
        return fail(p, "the body names a field twice in one object");
    }
    return is_full ? ERR_TOO_LARGE : ERR_OK;
}

static enum err read_nested(struct parser *p, struct json_node *node, bool is_object)
{
    if (++p->depth > JSON_DEPTH_MAX) {
        return fail(p, "the JSON of the body is nested too deeply");
    }
    p->at++;
    enum err err = is_object ? read_members(p, node) : read_items(p, node);
    p->depth--;
    return err;
}

static enum err read_one(struct parser *p, struct json_node *node)
{
    uint8_t byte = p->bytes[p->at];
    if (byte == '"') {
        p->at++;
        node->kind = JSON_NODE_STRING;
        return read_string(p, &node->text);
    }
    if (byte == '{' || byte == '[') {
        return read_nested(p, node, byte == '{');
    }
    return byte == '-' || (byte >= '0' && byte <= '9') ? read_number(p, node) : read_word(p, node);
}

static enum err read_value(struct parser *p, struct json_node *node)
{
    skip_space(p);
    if (p->at == p->len) {
        return fail(p, unfinished);
    }
    if (++p->values > JSON_VALUES_MAX) {
        return fail(p, "the JSON of the body has too many values");
    }
    size_t from = p->at;
    enum err err = read_one(p, node);
    node->source = slice_of(p->bytes + from, p->at - from);
    return err;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Characters, so that editors agree. */
static void find_place(const struct parser *p, struct json_mistake *mistake)
{
    mistake->has_place = true;
    mistake->line = 1;
    mistake->column = 1;
    for (size_t i = 0; i < min_size(p->at, p->len); i++) {
        if (p->bytes[i] == '\n') {
            mistake->line++;
            mistake->column = 1;
        } else if ((p->bytes[i] & 0xc0) != 0x80) {
            mistake->column++;
        }
    }
}

enum err json_parse(struct slice body, struct arena *nodes, struct arena *texts,
                    struct json_node **root, struct json_mistake *mistake)
{
    struct parser parser = {
        .bytes = (const uint8_t *)(body.data ? body.data : ""),
        .len = body.len,
        .nodes = nodes,
        .texts = texts,
    };
    *mistake = (struct json_mistake){0};
    skip_space(&parser);
    if (parser.at == parser.len) {
        mistake->sentence = "the body is empty; a JSON object is needed";
        return ERR_NOT_JSON;
    }
    *root = arena_try(nodes, sizeof(**root));
    enum err err = *root ? read_value(&parser, *root) : ERR_TOO_LARGE;
    if (err == ERR_OK) {
        skip_space(&parser);
        if (parser.at < parser.len) {
            err = fail(&parser, "the body goes on after its JSON");
        }
    }
    if (err == ERR_NOT_JSON) {
        mistake->sentence = parser.sentence;
        find_place(&parser, mistake);
    }
    return err;
}

const struct json_node *json_member(const struct json_node *object, struct slice name)
{
    for (const struct json_node *it = object->first; it; it = it->next) {
        if (slice_equal(it->name, name)) {
            return it;
        }
    }
    return NULL;
}

size_t json_utf8_span(const uint8_t *p, size_t left, bool *is_valid)
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
