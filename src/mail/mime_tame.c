/* mime_tame.c - one pass over a value; what it writes for a byte is bounded by a few dozen bytes.
 */
#include "mail/mime_tame.h"

#include "base/check.h"
#include "base/limits.h"
#include "mail/charset.h"

#include <string.h>

#define WORD_SEARCHES 8        /* passes over a value that looking for ends of words may cost */
#define EXTENSION_MAX 16       /* kept when a file name is cut */
#define SHORT_CHARSET "cp1252" /* CHARSET_FALLBACK in fewer bytes */

_Static_assert(MIME_TAMED_MAX > MIME_ADDRS_FIELD_MAX,
               "the longest value and what stands over fits");

static size_t tame_word(struct slice rest, size_t *search_left, struct buf *out);
static size_t tame_extended(struct slice value, size_t at, struct buf *out);

bool mime_tame(struct slice value, size_t max, enum mime_tame as, struct buf *out)
{
    CHECK(max <= MIME_ADDRS_FIELD_MAX && out->max_bytes >= MIME_TAMED_MAX);
    bool is_extended = as == MIME_TAME_PARAMS && slice_has_byte(value, '*');
    size_t search_left = WORD_SEARCHES * value.len;
    uint32_t colons = 0;
    value = slice_trim(value);
    buf_clear(out);
    size_t at = 0;
    while (at < value.len && out->len < max) {
        struct slice rest = slice_from(value, at);
        char c = rest.data[0];
        size_t used = 0;
        if (c == '=' && rest.len > 1 && rest.data[1] == '?') {
            used = tame_word(rest, &search_left, out);
        } else if (c == '*' && is_extended) {
            used = tame_extended(value, at, out);
        } else if (c == '\'' && is_extended) {
            buf_add_str(out, "%27"); /* only ours part a charset from its text */
            used = 1;
        }
        if (used == 0 && (uint8_t)c >= 0x80) {
            used = utf8_char_len(rest);
            if (used > 0) {
                buf_add(out, slice_head(rest, used));
            } else {
                charset_guess_byte((uint8_t)c, out);
                used = 1;
            }
        } else if (used == 0) {
            colons += c == ':' ? 1 : 0;
            bool is_deep = as == MIME_TAME_ADDRS && c == ':' && colons > MIME_COLONS_MAX;
            bool is_control = (uint8_t)c < 0x20 || c == 0x7f;
            buf_add_byte(out, is_control || is_deep ? ' ' : c);
            used = 1;
        }
        at += used;
    }
    bool is_whole = at == value.len && out->len <= max;
    out->len = utf8_head_len(buf_slice(out), max);
    buf_add_byte(out, '\0');
    CHECK(!out->is_over);
    return is_whole;
}

/* The charset that words and parameters may name; what has none is UTF-8 today. */
static struct slice known_charset(struct slice label)
{
    const char *name = charset_find(label);
    if (name == NULL || strcmp(name, CHARSET_FALLBACK) == 0) {
        return SLICE(SHORT_CHARSET);
    }
    return strcmp(name, "us-ascii") == 0 ? SLICE("utf-8") : slice_str(name);
}

/* "=?charset*language?Q?": writes the part before the second '?', and returns its length; 0: this
 * is no encoded word to GMime either. GMime looks for the end of each word on its own: words that
 * share a far end are broken up when that has cost too much. */
static size_t tame_word(struct slice rest, size_t *search_left, struct buf *out)
{
    size_t mark = slice_find_byte(slice_from(rest, 2), '?');
    if (mark == SIZE_MAX || mark == 0 || mark + 4 >= rest.len || rest.data[mark + 4] != '?') {
        return 0;
    }
    struct slice tail = slice_head(slice_from(rest, mark + 5), *search_left);
    size_t cost = min_size(tail.len, slice_find(tail, SLICE("?=")));
    *search_left -= cost;
    if (*search_left == 0) {
        buf_add_str(out, "= ?");
        return 2;
    }
    struct slice label = slice_sub(rest, 2, mark);
    label = slice_head(label, min_size(label.len, slice_find_byte(label, '*')));
    buf_add_str(out, "=?");
    buf_add(out, known_charset(label));
    return mark + 2;
}

/* "*=charset'language'", RFC 2231 4, at the star; also within quotes. Only a first section has a
 * charset. Returns the length; 0: no such thing. */
static size_t tame_extended(struct slice value, size_t at, struct buf *out)
{
    size_t digits = at;
    while (digits > 0 && ascii_is_digit(value.data[digits - 1])) {
        digits--;
    }
    bool is_section = digits < at && digits > 0 && value.data[digits - 1] == '*';
    if (is_section && !(at - digits == 1 && value.data[digits] == '0')) {
        return 0;
    }
    struct slice rest = slice_from(value, at);
    size_t from = 1;
    while (from < rest.len && ascii_is_space(rest.data[from])) {
        from++;
    }
    if (from >= rest.len || rest.data[from] != '=') {
        return 0;
    }
    from++;
    while (from < rest.len && ascii_is_space(rest.data[from])) {
        from++;
    }
    bool is_quoted = from < rest.len && rest.data[from] == '"';
    from += is_quoted ? 1 : 0;
    struct slice text = slice_from(rest, from);
    text = slice_head(text, min_size(text.len, slice_find_byte(text, is_quoted ? '"' : ';')));
    size_t mark = slice_find_byte(text, '\'');
    if (mark == SIZE_MAX) {
        return 0;
    }
    size_t second = slice_find_byte(slice_from(text, mark + 1), '\'');
    buf_add_str(out, is_quoted ? "*=\"" : "*=");
    buf_add(out, known_charset(slice_head(text, mark)));
    buf_add_str(out, "''");
    return from + mark + 1 + (second == SIZE_MAX ? 0 : second + 1);
}

struct slice mime_clean_filename(struct slice name)
{
    char *text = (char *)(uintptr_t)name.data;
    size_t begin = 0;
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (text[i] == '/' || text[i] == '\\') {
            begin = i + 1;
        }
    }
    for (size_t i = begin; i < name.len; i++) {
        uint8_t byte = (uint8_t)text[i];
        uint8_t next = (uint8_t)(i + 1 < name.len ? text[i + 1] : 0);
        uint8_t last = (uint8_t)(i + 2 < name.len ? text[i + 2] : 0);
        bool is_c1 = byte == 0xc2 && next < 0xa0;
        /* Marks that turn the direction of writing: U+200E, 200F, 202A to 202E, 2066 to 2069. */
        bool is_turn =
            byte == 0xe2 &&
            ((next == 0x80 && (last == 0x8e || last == 0x8f || (last >= 0xaa && last <= 0xae))) ||
             (next == 0x81 && last >= 0xa6 && last <= 0xa9));
        if (is_c1 || is_turn) {
            i += is_c1 ? 1 : 2;
        } else if (byte >= 0x20 && byte != 0x7f) {
            text[len++] = (char)byte;
        }
    }
    struct slice clean = slice_trim(slice_of(text, len));
    if (slice_equal(clean, SLICE(".")) || slice_equal(clean, SLICE(".."))) {
        return SLICE("");
    }
    if (clean.len > ATTACHMENT_NAME_MAX) {
        size_t dot = slice_rfind_byte(clean, '.');
        size_t kept = dot == SIZE_MAX || clean.len - dot > EXTENSION_MAX ? 0 : clean.len - dot;
        size_t head = utf8_head_len(clean, ATTACHMENT_NAME_MAX - kept);
        memmove((char *)(uintptr_t)clean.data + head, clean.data + clean.len - kept, kept);
        clean.len = head + kept;
    }
    return clean;
}
