/* author.c - see author.h.
 *
 * A From value is read once, byte by byte. What is neither quoted nor commented is kept in one of
 * two places: inside angle brackets, or outside. At each comma the mailbox is judged.
 */
#include "mail/author.h"

#include "base/check.h"
#include "base/limits.h"
#include "mail/addr.h"
#include "mail/header.h"
#include "mail/lookup.h"

#include <string.h>

#define PLAIN_MAX   1024 /* of one mailbox, outside and inside: names of 255 bytes fit */
#define COMMENT_MAX 32   /* nested comments */

struct plain {
    char data[PLAIN_MAX];
    size_t len;
    bool is_over;
};

struct reader {
    struct slice rest;
    struct arena *arena;
    struct slice domain;
    uint32_t author_count;
    struct plain outside;
    struct plain inside;
    bool is_inside;
    bool has_inside;
    bool is_group;
};

static void keep(struct reader *reader, char c);
static bool skip_comment(struct slice *rest);
static bool skip_quoted(struct slice *rest);
static bool read_byte(struct reader *reader);
static bool end_mailbox(struct reader *reader);
static bool read_spec(struct reader *reader, struct slice spec);

enum err author_domain(struct slice header_block, struct arena *arena, struct slice *domain)
{
    struct header_field field;
    struct reader reader = {.arena = arena};
    uint32_t found = 0;

    CHECK(arena->max_bytes - arena->used_bytes >= AUTHOR_ARENA_BYTES);
    while (header_next(&header_block, &field)) {
        if (slice_equal_nocase(field.name, SLICE("From"))) {
            found++;
            reader.rest = field.value;
        }
    }
    if (found != 1) { /* RFC 5322 3.6: exactly one; readers differ in which of two they show */
        return ERR_INVALID;
    }
    while (reader.rest.len > 0) {
        if (!read_byte(&reader)) {
            return ERR_INVALID;
        }
    }
    if (reader.is_inside || !end_mailbox(&reader) || reader.author_count == 0) {
        return ERR_INVALID;
    }
    *domain = reader.domain;
    return ERR_OK;
}

/* Runs of white space are one space. */
static void keep(struct reader *reader, char c)
{
    struct plain *to = reader->is_inside ? &reader->inside : &reader->outside;

    if (c == ' ' && (to->len == 0 || to->data[to->len - 1] == ' ')) {
        return;
    }
    if (to->len == sizeof(to->data)) {
        to->is_over = true;
        return;
    }
    to->data[to->len++] = c;
}

static bool read_byte(struct reader *reader)
{
    char c = reader->rest.data[0];

    if (c == '(') {
        keep(reader, ' ');
        return skip_comment(&reader->rest);
    }
    if (c == '"') {
        keep(reader, '"'); /* stands for all of it: its bytes separate nothing */
        return skip_quoted(&reader->rest);
    }
    reader->rest = slice_from(reader->rest, 1);
    if (ascii_is_space(c)) {
        keep(reader, ' ');
        return true;
    }
    if ((uint8_t)c < ' ' || c == 0x7f) {
        return false;
    }
    if (reader->is_inside) {
        reader->is_inside = c != '>';
        if (c != '>') {
            keep(reader, c);
        }
        return c != '<';
    }
    switch (c) {
    case '<':
        if (reader->has_inside) {
            return false;
        }
        reader->is_inside = reader->has_inside = true;
        reader->outside.len = 0; /* a display name; what follows the brackets is looked at */
        reader->outside.is_over = false;
        return true;
    case ',':
        return end_mailbox(reader);
    case ':': /* the name of a group ends */
        if (reader->is_group || reader->has_inside) {
            return false;
        }
        reader->is_group = true;
        reader->outside.len = 0;
        reader->outside.is_over = false;
        return true;
    case ';':
        if (!reader->is_group) {
            return false;
        }
        reader->is_group = false;
        return end_mailbox(reader);
    case '>':
        return false;
    default:
        keep(reader, c);
        return true;
    }
}

static bool skip_comment(struct slice *rest)
{
    uint32_t depth = 0;

    for (size_t i = 0; i < rest->len; i++) {
        char c = rest->data[i];
        if (c == '\\') {
            i++;
        } else if (c == '(') {
            if (++depth > COMMENT_MAX) {
                return false;
            }
        } else if (c == ')' && --depth == 0) {
            *rest = slice_from(*rest, i + 1);
            return true;
        }
    }
    return false;
}

static bool skip_quoted(struct slice *rest)
{
    for (size_t i = 1; i < rest->len; i++) {
        if (rest->data[i] == '\\') {
            i++;
        } else if (rest->data[i] == '"') {
            *rest = slice_from(*rest, i + 1);
            return true;
        }
    }
    return false;
}

/* Nothing between two commas is allowed (RFC 5322 4.4). */
static bool end_mailbox(struct reader *reader)
{
    struct slice outside = slice_trim(slice_of(reader->outside.data, reader->outside.len));
    struct slice inside = slice_trim(slice_of(reader->inside.data, reader->inside.len));
    bool has_inside = reader->has_inside;
    bool is_over = reader->outside.is_over || reader->inside.is_over;

    reader->has_inside = false;
    reader->outside.len = reader->inside.len = 0;
    reader->outside.is_over = reader->inside.is_over = false;
    if (is_over || (has_inside && outside.len > 0)) {
        return false;
    }
    if (!has_inside && outside.len == 0) {
        return true;
    }
    return read_spec(reader, has_inside ? inside : outside);
}

/* [route ":"] local "@" domain; what was quoted is a quotation mark by now. */
static bool read_spec(struct reader *reader, struct slice spec)
{
    struct slice domain;

    if (slice_starts(spec, SLICE("@"))) { /* RFC 5322 4.4: the path is to be ignored */
        size_t colon = slice_find_byte(spec, ':');
        if (colon == SIZE_MAX) {
            return false;
        }
        spec = slice_from(spec, colon + 1);
    }
    size_t at = slice_find_byte(spec, '@');
    struct slice text = slice_trim(slice_from(spec, at + 1));
    if (at == SIZE_MAX || at == 0 || slice_has_byte(text, '@') || slice_has_byte(text, ' ') ||
        slice_has_byte(text, '"') || slice_has_byte(text, ',') || slice_has_byte(text, '[') ||
        text.len > 4 * DOMAIN_MAX) {
        return false;
    }
    if (slice_is_ascii(text)) {
        if (slice_ends(text, SLICE("."))) {
            text.len--;
        }
        if (!lookup_name_is_valid(text)) {
            return false;
        }
        domain = arena_lower(reader->arena, text);
    } else if (domain_normalise(text, true, reader->arena, &domain) != ERR_OK) {
        return false;
    }
    reader->author_count++;
    if (reader->author_count > AUTHORS_MAX ||
        (reader->author_count > 1 && !slice_equal(domain, reader->domain))) {
        return false;
    }
    reader->domain = domain;
    return true;
}
