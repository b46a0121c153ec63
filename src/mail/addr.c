/* addr.c - see addr.h. */
#include "mail/addr.h"

#include "base/limits.h"
#include "mail/header.h"

#include <idn2.h>
#include <string.h>

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

static enum err parse_phrase(struct slice *rest, struct arena *arena, struct slice *name);
static enum err parse_spec(struct slice spec, struct arena *arena, struct addr *addr);
static enum err unquote(struct slice *rest, struct buf *out);
static struct slice local_on_wire(struct slice local, bool was_quoted, struct arena *arena);
static bool has_unsafe(struct slice text);
static enum err to_alabels(struct slice text, struct arena *arena, struct slice *domain);
static bool is_host_name(struct slice domain, bool allow_single);
static bool is_label(struct slice label);

/* RFC 5322 3.2.3, with UTF-8 as RFC 6531 3.3 adds it. */
static bool is_atext(char c)
{
    if (ascii_is_alpha(c) || ascii_is_digit(c) || ((uint8_t)c & 0x80) != 0) {
        return true;
    }
    return c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL;
}

/* 1*atext *("." 1*atext) */
static bool is_dot_atom(struct slice text)
{
    char before = '.';

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '.' ? before == '.' : !is_atext(c)) {
            return false;
        }
        before = c;
    }
    return before != '.';
}

enum err addr_parse(struct slice text, struct arena *arena, struct addr *addr)
{
    struct addr parsed = {.needs_utf8 = false};

    /* A quoted pair doubles a byte; nothing longer can be within the ceilings. */
    if (text.len > 2 * (ADDR_MAX + DISPLAY_NAME_MAX) + 16 || has_unsafe(text)) {
        return ERR_INVALID;
    }
    struct slice rest = slice_trim(text);
    struct slice spec = rest;
    if (slice_ends(rest, SLICE(">"))) {
        enum err err = parse_phrase(&rest, arena, &parsed.name);
        if (err != ERR_OK) {
            return err;
        }
        spec = slice_trim(slice_sub(rest, 1, rest.len - 2));
    }
    enum err err = parse_spec(spec, arena, &parsed);
    if (err == ERR_OK) {
        *addr = parsed;
    }
    return err;
}

/* The display name up to '<', at which *rest stays. The dot of "John Q. Public" is obsolete syntax
 * (RFC 5322 4.1) that everyone writes. */
static enum err parse_phrase(struct slice *rest, struct arena *arena, struct slice *name)
{
    enum err err = ERR_OK;
    struct buf words;

    buf_init(&words, DISPLAY_NAME_MAX);
    while (err == ERR_OK && rest->len > 0 && rest->data[0] != '<') {
        char c = rest->data[0];
        if (c == '"') {
            err = unquote(rest, &words);
        } else if (is_atext(c) || c == '.') {
            buf_add_byte(&words, c);
            *rest = slice_from(*rest, 1);
        } else if (c == ' ') {
            *rest = slice_from(*rest, 1);
            if (words.len > 0 && rest->len > 0 && rest->data[0] != ' ' && rest->data[0] != '<') {
                buf_add_byte(&words, ' ');
            }
        } else {
            err = ERR_INVALID;
        }
    }
    if (buf_err(&words) != ERR_OK || rest->len < 2) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK) {
        *name = arena_dup(arena, slice_trim(buf_slice(&words)));
    }
    buf_fini(&words);
    return err;
}

static enum err parse_spec(struct slice spec, struct arena *arena, struct addr *addr)
{
    struct slice local;
    bool was_quoted = spec.len > 0 && spec.data[0] == '"';

    if (was_quoted) {
        struct buf content;
        buf_init(&content, ADDR_LOCAL_MAX);
        enum err err = unquote(&spec, &content);
        if (err == ERR_OK) {
            err = buf_err(&content);
        }
        local = arena_dup(arena, buf_slice(&content));
        buf_fini(&content);
        if (err != ERR_OK || spec.len == 0 || spec.data[0] != '@') {
            return ERR_INVALID;
        }
    } else {
        size_t at = slice_find_byte(spec, '@');
        local = slice_head(spec, at);
        if (at == SIZE_MAX || !is_dot_atom(local)) {
            return ERR_INVALID;
        }
        spec = slice_from(spec, at);
    }
    struct slice wire = local_on_wire(local, was_quoted, arena);
    if (wire.len > ADDR_LOCAL_MAX) { /* RFC 5321 4.5.3.1.1, in bytes: RFC 6531 3.1 */
        return ERR_INVALID;
    }
    enum err err = domain_normalise(slice_from(spec, 1), false, arena, &addr->domain);
    if (err != ERR_OK) {
        return err;
    }
    addr->local = wire;
    addr->needs_utf8 = !slice_is_ascii(wire);
    addr->text = arena_format(arena, "%.*s@%.*s", SLICE_FMT(wire), SLICE_FMT(addr->domain));
    return ERR_OK;
}

/* Cuts a quoted string off *rest (which starts with the quote) and appends its content. */
static enum err unquote(struct slice *rest, struct buf *out)
{
    for (size_t i = 1; i < rest->len; i++) {
        if (rest->data[i] == '"') {
            *rest = slice_from(*rest, i + 1);
            return ERR_OK;
        }
        if (rest->data[i] == '\\') {
            i++;
            if (i == rest->len) {
                break;
            }
        }
        buf_add_byte(out, rest->data[i]);
    }
    return ERR_INVALID;
}

static struct slice local_on_wire(struct slice local, bool was_quoted, struct arena *arena)
{
    if (!was_quoted || is_dot_atom(local)) {
        return arena_dup(arena, local);
    }
    char *wire = arena_bytes(arena, 2 * local.len + 2);
    size_t len = 0;
    wire[len++] = '"';
    for (size_t i = 0; i < local.len; i++) {
        if (local.data[i] == '"' || local.data[i] == '\\') {
            wire[len++] = '\\';
        }
        wire[len++] = local.data[i];
    }
    wire[len++] = '"';
    return slice_of(wire, len);
}

/* Control bytes, those of C1 included, damaged UTF-8, and the marks that reorder what is displayed
 * (U+202A to U+202E, U+2066 to U+2069): an address that reads as another is no address. */
static bool has_unsafe(struct slice text)
{
    if (slice_has_control(text, "") || !slice_is_utf8(text)) {
        return true;
    }
    for (size_t i = 0; i + 1 < text.len; i++) {
        uint8_t a = (uint8_t)text.data[i];
        uint8_t b = (uint8_t)text.data[i + 1];
        uint8_t c = i + 2 < text.len ? (uint8_t)text.data[i + 2] : 0;
        if ((a == 0xc2 && b < 0xa0) || (a == 0xe2 && b == 0x80 && c >= 0xa8 && c <= 0xae) ||
            (a == 0xe2 && b == 0x81 && c >= 0xa6 && c <= 0xa9)) {
            return true;
        }
    }
    return false;
}

enum err domain_normalise(struct slice text, bool allow_single, struct arena *arena,
                          struct slice *domain)
{
    struct slice ascii;

    if (text.len == 0 || text.len > 4 * DOMAIN_MAX || has_unsafe(text)) {
        return ERR_INVALID;
    }
    /* Labels that are already ASCII are looked up as they are, xn-- or not: DNS holds names that
     * IDNA 2008 would not make. */
    if (slice_is_ascii(text)) {
        ascii = arena_lower(arena, text);
    } else {
        enum err err = to_alabels(text, arena, &ascii);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (slice_ends(ascii, SLICE("."))) {
        ascii.len--;
    }
    if (!is_host_name(ascii, allow_single)) {
        return ERR_INVALID;
    }
    *domain = ascii;
    return ERR_OK;
}

/* Non-transitional UTS 46 mapping before IDNA 2008: capitals and full-width forms are folded. Not
 * IDN2_USE_STD3_ASCII_RULES: libidn2 2.3 then drops the ASCII it disallows, and "u.c d" with an
 * umlaut would name u.cd; without it the bytes come out and is_host_name refuses them. */
static enum err to_alabels(struct slice text, struct arena *arena, struct slice *domain)
{
    char *converted = NULL;

    if (idn2_to_ascii_8z(arena_cstr(arena, text), &converted, IDN2_NONTRANSITIONAL) != IDN2_OK) {
        return ERR_INVALID;
    }
    *domain = arena_lower(arena, slice_str(converted));
    idn2_free(converted);
    return ERR_OK;
}

static bool is_host_name(struct slice domain, bool allow_single)
{
    struct slice rest = domain;
    struct slice last = {.data = NULL, .len = 0};
    uint32_t label_count = 0;

    if (domain.len == 0 || domain.len > DOMAIN_MAX) {
        return false;
    }
    while (rest.data != NULL) {
        last = slice_cut(&rest, '.');
        if (!is_label(last)) {
            return false;
        }
        label_count++;
    }
    /* No top-level domain is a number (RFC 3696 2): this is an IP address without brackets. */
    bool has_letter = false;
    for (size_t i = 0; i < last.len; i++) {
        has_letter = has_letter || !ascii_is_digit(last.data[i]);
    }
    return has_letter && (allow_single || label_count > 1);
}

/* RFC 1123 2.1 */
static bool is_label(struct slice label)
{
    if (label.len == 0 || label.len > LABEL_MAX || label.data[0] == '-' ||
        label.data[label.len - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < label.len; i++) {
        char c = label.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-') {
            return false;
        }
    }
    return true;
}

struct slice domain_display(struct slice domain, struct arena *arena)
{
    char *converted = NULL;

    if (slice_find(domain, SLICE("xn--")) == SIZE_MAX || slice_has_byte(domain, '\0') ||
        idn2_to_unicode_8z8z(arena_cstr(arena, domain), &converted, 0) != IDN2_OK) {
        return domain;
    }
    struct slice display = arena_dup(arena, slice_str(converted));
    idn2_free(converted);
    return has_unsafe(display) ? domain : display;
}

struct slice addr_key(const struct addr *addr, struct arena *arena)
{
    /* The domain is lower case already; the local part's UTF-8 keeps its case. */
    return arena_lower(arena, addr->text);
}

void addr_write(const struct addr *addr, struct buf *out)
{
    bool is_ascii = !slice_has_control(addr->name, "") && slice_is_ascii(addr->name);
    bool is_phrase = true;

    if (addr->name.len == 0) {
        buf_add(out, addr->text);
        return;
    }
    for (size_t i = 0; i < addr->name.len; i++) {
        char c = addr->name.data[i];
        bool is_inner_space =
            c == ' ' && i > 0 && i + 1 < addr->name.len && addr->name.data[i - 1] != ' ';
        is_phrase = is_phrase && (is_atext(c) || is_inner_space);
    }
    if (!is_ascii || header_looks_encoded(addr->name)) {
        header_encode_words(out, addr->name, HEADER_NO_FOLD);
    } else if (is_phrase) {
        buf_add(out, addr->name);
    } else {
        buf_add_byte(out, '"');
        for (size_t i = 0; i < addr->name.len; i++) {
            if (addr->name.data[i] == '"' || addr->name.data[i] == '\\') {
                buf_add_byte(out, '\\');
            }
            buf_add_byte(out, addr->name.data[i]);
        }
        buf_add_byte(out, '"');
    }
    buf_add(out, SLICE(" <"));
    buf_add(out, addr->text);
    buf_add_byte(out, '>');
}
