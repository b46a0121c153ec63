/* key_text.c - printing, reading and parsing keys by their shapes.
 *
 * Every part has one letter (key.def) and is handled in three places: part_bytes, print_part,
 * parse_part. */
#include "kv/key_text.h"

#include "base/check.h"
#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

#define SHOWN_HASH_BYTES 8
#define UNIX_MS_MAX      UINT64_C(253402300799999) /* 9999-12-31, the last that a date can say */
#define MS_PER_DAY       UINT64_C(86400000)
#define ID_BYTES         ((size_t)16)

static const struct key_shape shapes[] = {
#define KEY(NAME, tag, name, ROW, parts) {tag, #name, ROW_##ROW, parts},
    KEY_TABLE(KEY)
#undef KEY
};
#define KEY(NAME, tag, name, ROW, parts)                                                           \
    _Static_assert(sizeof(parts) - 1 <= KEY_PARTS_MAX, #NAME " has too many parts");
KEY_TABLE(KEY)
#undef KEY

static const char *const directory_kinds[] = {"", "email", "domain", "server"};

const struct key_shape *key_shapes(size_t *count)
{
    *count = ARRAY_LEN(shapes);
    return shapes;
}

const struct key_shape *key_shape_of(struct slice key)
{
    for (size_t i = 0; key.len > 0 && i < ARRAY_LEN(shapes); i++) {
        if (shapes[i].tag == key.data[0]) {
            return &shapes[i];
        }
    }
    return NULL;
}

const struct key_shape *key_shape_named(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        if (slice_equal(name, slice_str(shapes[i].name))) {
            return &shapes[i];
        }
    }
    return name.len == 1 ? key_shape_of(name) : NULL;
}

/* 0: the rest, whatever it is. */
static size_t part_bytes(char part)
{
    switch (part) {
    case 'a':
    case 'd':
        return 8;
    case 'y':
    case 'n':
        return 4;
    case 'k':
        return 1;
    case 's':
        return SHA256_LEN;
    case 't':
        return 0;
    default:
        return ID_BYTES;
    }
}

static bool is_id(char part)
{
    return part >= 'A' && part <= 'Z';
}

static enum id_kind id_kind_of(char part)
{
    static const struct {
        char part;
        enum id_kind kind;
    } kinds[] = {{'U', ID_USER},     {'K', ID_KEY},     {'D', ID_DOMAIN},  {'R', ID_ROUTE},
                 {'M', ID_MESSAGE},  {'E', ID_EVENT},   {'B', ID_MAILBOX}, {'T', ID_THREAD},
                 {'P', ID_TEMPLATE}, {'V', ID_DELIVERY}};
    size_t i = 0;
    while (kinds[i].part != part) {
        i++;
        CHECK(i < ARRAY_LEN(kinds));
    }
    return kinds[i].kind;
}

static uint64_t number_of(struct slice bytes)
{
    uint64_t value = 0;
    CHECK(bytes.len <= 8);
    for (size_t i = 0; i < bytes.len; i++) {
        value = value << 8 | (uint8_t)bytes.data[i];
    }
    return value;
}

static struct id id_of(struct slice bytes)
{
    struct id id;
    CHECK(bytes.len == ID_BYTES);
    memcpy(id.bytes, bytes.data, ID_BYTES);
    return id;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void read_part(char part, struct slice bytes, struct key_parts *parts)
{
    switch (part) {
    case 'a':
        parts->account.value = number_of(bytes);
        break;
    case 'd':
        parts->due_unix_ms = number_of(bytes);
        break;
    case 'y':
        parts->day = (uint32_t)number_of(bytes);
        break;
    case 'k':
        parts->kind = (uint32_t)number_of(bytes);
        break;
    case 's':
        parts->hash = bytes;
        break;
    case 't':
        parts->text = bytes;
        break;
    default:
        CHECK(false); /* numbers and ids are told by their place */
    }
}

enum err key_read(struct slice key, struct key_parts *parts)
{
    struct key_parts read = {.shape = key_shape_of(key)};
    size_t ids = 0;
    size_t numbers = 0;
    if (read.shape == NULL) {
        return ERR_CORRUPT;
    }
    struct slice rest = slice_from(key, 1);
    for (const char *part = read.shape->parts; *part != '\0'; part++) {
        const size_t len = *part == 't' ? rest.len : part_bytes(*part);
        if (rest.len < len) {
            return ERR_CORRUPT;
        }
        const struct slice bytes = slice_head(rest, len);
        rest = slice_from(rest, len);
        if (*part == 'n') {
            read.numbers[numbers++] = (uint32_t)number_of(bytes);
        } else if (is_id(*part)) {
            read.ids[ids++] = id_of(bytes);
        } else {
            read_part(*part, bytes, &read);
        }
    }
    CHECK(ids <= ARRAY_LEN(read.ids) && numbers <= ARRAY_LEN(read.numbers));
    if (rest.len > 0) {
        return ERR_CORRUPT;
    }
    *parts = read;
    return ERR_OK;
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_hex(struct slice bytes, struct buf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        buf_add_format(out, "%02x", (unsigned)(uint8_t)bytes.data[i]);
    }
}

/* UTF-8 stays as it is; what could move a cursor, or be lost or taken for something else when it is
 * typed, does not. */
static void print_text(struct slice text, struct buf *out)
{
    const bool is_utf8 = slice_is_utf8(text);
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t byte = (uint8_t)text.data[i];
        const bool is_c1 = byte == 0xc2 && i + 1 < text.len && (uint8_t)text.data[i + 1] < 0xa0;
        const bool is_edge = i == 0 || i + 1 == text.len;
        const bool is_lost = (is_edge && byte == ' ') || (i == 0 && byte == '!');
        if (byte < ' ' || byte == 0x7f || byte == '\\' || is_c1 || is_lost ||
            (byte >= 0x80 && !is_utf8)) {
            buf_add_format(out, "\\x%02x", (unsigned)byte);
        } else {
            buf_add_byte(out, text.data[i]);
        }
        if (is_c1) { /* its second byte means nothing alone */
            buf_add_format(out, "\\x%02x", (unsigned)(uint8_t)text.data[++i]);
        }
    }
}

static void print_time(uint64_t unix_ms, size_t len, struct buf *out)
{
    char text[CLOCK_TEXT_MAX];
    (void)clock_rfc3339(unix_ms, text); /* a date is its head */
    buf_add(out, slice_head(slice_str(text), len));
}

static void print_part(char part, struct slice bytes, struct buf *out)
{
    char text[ID_TEXT_MAX];
    const uint64_t number = bytes.len <= 8 && part != 't' ? number_of(bytes) : 0;
    if (part == 'a') {
        buf_add(out, slice_of(text, account_text((struct account_id){.value = number}, text)));
    } else if (part == 'd' && number <= UNIX_MS_MAX) {
        print_time(number, sizeof "2026-01-31T12:00:00.000Z" - 1, out);
    } else if (part == 'y' && number <= UNIX_MS_MAX / MS_PER_DAY) {
        print_time(number * MS_PER_DAY, sizeof "2026-01-31" - 1, out);
    } else if (part == 'k' && number > 0 && number < ARRAY_LEN(directory_kinds)) {
        buf_add_str(out, directory_kinds[number]);
    } else if (part == 'd' || part == 'y' || part == 'k' || part == 'n') {
        buf_add_u64(out, number);
    } else if (part == 's') {
        print_hex(slice_head(bytes, SHOWN_HASH_BYTES), out);
        buf_add_str(out, "..");
    } else if (part == 't') {
        print_text(bytes, out);
    } else {
        buf_add(out, slice_of(text, id_text(id_kind_of(part), id_of(bytes), text)));
    }
}

void key_print(struct slice key, struct buf *out)
{
    const struct key_shape *shape = key_shape_of(key);
    struct slice rest = shape != NULL ? slice_from(key, 1) : key;
    buf_add_str(out, shape != NULL ? shape->name : "");
    for (const char *part = shape != NULL ? shape->parts : ""; *part != '\0'; part++) {
        const size_t len = *part == 't' ? rest.len : part_bytes(*part);
        if (rest.len < len || rest.len == 0) {
            break;
        }
        buf_add_byte(out, ' ');
        print_part(*part, slice_head(rest, len), out);
        rest = slice_from(rest, len);
    }
    if (rest.len > 0) {
        buf_add_str(out, shape != NULL ? " !" : "!");
        print_hex(rest, out);
    }
}

/* ---- parsing -------------------------------------------------------------------------------- */

static enum err refuse(struct key_typed *typed, struct slice word, const char *why)
{
    typed->why = why;
    typed->word = word;
    return ERR_INVALID;
}

static enum err add_bytes(struct key_typed *typed, const void *bytes, size_t len)
{
    if (len > (size_t)(KEY_MAX - typed->key.len)) {
        return refuse(typed, SLICE(""), "this is longer than any key");
    }
    memcpy(typed->key.bytes + typed->key.len, bytes, len);
    typed->key.len = (uint16_t)(typed->key.len + len);
    return ERR_OK;
}

static enum err add_number(struct key_typed *typed, uint64_t value, size_t len)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
    }
    return add_bytes(typed, bytes, len);
}

/* With the prefix of any kind, for a route's id may stand where an event's is looked for, or with
 * none. */
static bool parse_id(struct slice word, struct id *id)
{
    char text[ID_TEXT_MAX];
    for (enum id_kind kind = 0; kind < ID_KIND_COUNT; kind++) {
        if (id_parse(kind, word, id) == ERR_OK) {
            return true;
        }
    }
    if (word.len != ID_BODY_LEN) {
        return false;
    }
    memcpy(text, "msg_", 4);
    memcpy(text + 4, word.data, ID_BODY_LEN);
    return id_parse(ID_MESSAGE, slice_of(text, 4 + ID_BODY_LEN), id) == ERR_OK;
}

static enum err parse_time(struct key_typed *typed, struct slice word, bool is_day)
{
    const uint64_t most = is_day ? UINT32_MAX : UINT64_MAX;
    char text[CLOCK_TEXT_MAX] = "";
    uint64_t value = 0;
    if (slice_uint(word, most, &value) == ERR_OK) {
        return add_number(typed, value, is_day ? 4 : 8);
    }
    if (word.len == sizeof "2026-01-31" - 1) { /* a day is its first moment */
        memcpy(text, word.data, word.len);
        memcpy(text + word.len, "T00:00:00Z", sizeof "T00:00:00Z");
    }
    if (clock_parse_rfc3339(text[0] != '\0' ? slice_str(text) : word, &value) != ERR_OK) {
        return refuse(typed, word,
                      "a time is like 2026-01-31T12:00:00.000Z, a day like 2026-01-31");
    }
    return add_number(typed, is_day ? value / MS_PER_DAY : value, is_day ? 4 : 8);
}

/* Even digits, perhaps cut by "..": as many bytes as were typed. */
static enum err parse_hex(struct key_typed *typed, struct slice word, size_t most)
{
    uint8_t bytes[KEY_MAX];
    const struct slice digits =
        slice_ends(word, SLICE("..")) ? slice_head(word, word.len - 2) : word;
    if (digits.len % 2 != 0 || digits.len / 2 > most ||
        hex_decode(digits, bytes, digits.len / 2) != ERR_OK) {
        return refuse(typed, word, "hexadecimal digits are needed here, two a byte");
    }
    typed->is_whole = typed->is_whole && digits.len / 2 == most;
    return add_bytes(typed, bytes, digits.len / 2);
}

static enum err parse_text(struct key_typed *typed, struct slice text)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < text.len && err == ERR_OK; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte == '\\') {
            const struct slice code = slice_sub(text, i, 4);
            if (!slice_starts(code, SLICE("\\x")) ||
                hex_decode(slice_from(code, 2), &byte, 1) != ERR_OK) {
                return refuse(typed, code, "a backslash is written \\x5c");
            }
            i += 3;
        }
        err = add_bytes(typed, &byte, 1);
    }
    return err;
}

static enum err parse_kind(struct key_typed *typed, struct slice word)
{
    uint64_t kind = 0;
    for (size_t i = 1; i < ARRAY_LEN(directory_kinds); i++) {
        kind = slice_equal(word, slice_str(directory_kinds[i])) ? i : kind;
    }
    if (kind == 0 && slice_uint(word, UINT8_MAX, &kind) != ERR_OK) {
        return refuse(typed, word, "a name is an email, a domain or the server's");
    }
    return add_number(typed, kind, 1);
}

static enum err parse_part(struct key_typed *typed, char part, struct slice word)
{
    struct account_id account;
    struct id id;
    uint64_t number = 0;
    switch (part) {
    case 'a':
        return account_parse(word, &account) == ERR_OK
                   ? add_number(typed, account.value, 8)
                   : refuse(typed, word, "this is no account's id (acc_...)");
    case 'd':
    case 'y':
        return parse_time(typed, word, part == 'y');
    case 'k':
        return parse_kind(typed, word);
    case 's':
        return parse_hex(typed, word, SHA256_LEN);
    case 't':
        return parse_text(typed, word);
    case 'n':
        return slice_uint(word, UINT32_MAX, &number) == ERR_OK
                   ? add_number(typed, number, 4)
                   : refuse(typed, word, "a number is needed here");
    default:
        return parse_id(word, &id) ? add_bytes(typed, id.bytes, ID_BYTES)
                                   : refuse(typed, word, "this is no id");
    }
}

/* The words behind the family's name. */
static enum err parse_parts(struct key_typed *typed, const struct key_shape *shape,
                            struct slice rest)
{
    enum err err = ERR_OK;
    const char *part = shape->parts;
    while (err == ERR_OK && *part != '\0' && rest.len > 0 && rest.data[0] != '!') {
        const struct slice all = rest;
        const struct slice word = *part == 't' ? rest : slice_cut(&rest, ' ');
        struct id id;
        if (*part == 't') {
            rest = SLICE("");
        }
        if (*part == 'a' && parse_id(word, &id)) { /* it names its account, and may come next */
            err = add_number(typed, id_account(id).value, 8);
            rest = is_id(part[1]) ? all : rest;
        } else {
            err = parse_part(typed, *part, word);
        }
        part++;
    }
    /* A text may be longer than what was typed, but what was printed is all of it. */
    typed->is_whole = typed->is_whole && *part == '\0';
    if (err == ERR_OK && rest.len > 0 && rest.data[0] == '!') {
        typed->is_whole = true;
        return parse_hex(typed, slice_from(rest, 1), KEY_MAX - typed->key.len);
    }
    if (err == ERR_OK && rest.len > 0) {
        return refuse(typed, rest, "this is more than a key of this family has");
    }
    return err;
}

enum err key_parse(struct slice text, struct key_typed *typed)
{
    *typed = (struct key_typed){.is_whole = true, .why = ""};
    struct slice rest = slice_trim(text);
    if (slice_starts(rest, SLICE("!"))) {
        const enum err err = parse_hex(typed, slice_from(rest, 1), KEY_MAX);
        typed->is_whole = true;
        const bool is_none = err == ERR_OK && (typed->key.len == 0 || typed->key.bytes[0] == 0xff);
        return is_none ? refuse(typed, rest, "no key begins so") : err;
    }
    const struct slice name = slice_cut(&rest, ' ');
    const struct key_shape *shape = key_shape_named(name);
    if (shape == NULL) {
        return refuse(typed, name, "there is no such row family");
    }
    typed->key.bytes[0] = (uint8_t)shape->tag;
    typed->key.len = 1;
    return parse_parts(typed, shape, slice_trim(rest));
}

struct key key_behind(const struct key_typed *typed)
{
    struct key key = typed->key;
    if (!typed->is_whole || key.len == KEY_MAX) {
        return key_after(&typed->key);
    }
    key.bytes[key.len++] = 0;
    return key;
}
