/* header.c - see header.h.
 *
 * Folding works on units of white space and the word behind it: a line break goes in front of the
 * white space, so unfolding gives the value back byte for byte (RFC 5322 2.2.3).
 */
#include "mail/header.h"

#include "base/crypto.h"
#include "base/limits.h"

#include <string.h>

#define LINE_WANTED       78  /* RFC 5322 2.1.1 */
#define WORD_LINE_WANTED  76  /* a line with an encoded word, RFC 2047 2 */
#define ENCODED_WORD_MAX  75  /* RFC 2047 2 */
#define ENCODED_WORD_COST 12  /* =?UTF-8?Q? and ?= */
#define UNIT_MAX          900 /* with the longest name and ": " in front still under 998 */

_Static_assert(CUSTOM_HEADER_NAME + 2 + UNIT_MAX <= LINE_MAX_BYTES, "a unit fits any first line");

static bool is_plain_text(struct slice value);
static void write_unit(struct buf *out, struct slice unit, size_t *column);
static size_t structured_word_end(struct slice value, size_t at);
static size_t char_len(struct slice text, size_t at);
static size_t q_char_len(struct slice text, size_t at);
static void write_encoded_word(struct buf *out, struct slice piece, bool use_q);
static void write_param_extended(struct buf *out, struct slice name, struct slice value);
static size_t percent_char_len(struct slice value, size_t at);
static void write_percent(struct buf *out, struct slice value, size_t from, size_t to);
static size_t line_len(struct slice text);

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_control(char c)
{
    return (uint8_t)c < 0x20 || c == 0x7f;
}

static bool is_printable_ascii(char c)
{
    return c >= 0x20 && c < 0x7f;
}

bool header_name_is_valid(struct slice name)
{
    if (name.len == 0 || name.len > CUSTOM_HEADER_NAME) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] <= 0x20 || name.data[i] >= 0x7f || name.data[i] == ':') {
            return false;
        }
    }
    return true;
}

bool header_name_is_protected(struct slice name)
{
    static const struct slice NAMES[] = {
        SLICE_INIT("From"),
        SLICE_INIT("To"),
        SLICE_INIT("Cc"),
        SLICE_INIT("Bcc"),
        SLICE_INIT("Date"),
        SLICE_INIT("Message-ID"),
        SLICE_INIT("Subject"),
        SLICE_INIT("MIME-Version"),
        SLICE_INIT("DKIM-Signature"),
        SLICE_INIT("DomainKey-Signature"),
        SLICE_INIT("Received"),
        SLICE_INIT("Received-SPF"),
        SLICE_INIT("Return-Path"),
        SLICE_INIT("Delivered-To"),
        SLICE_INIT("Sender"),
        SLICE_INIT("Reply-To"),
        SLICE_INIT("Authentication-Results"),
        SLICE_INIT("Feedback-ID"),
    };
    static const struct slice PREFIXES[] = {
        SLICE_INIT("Content-"),
        SLICE_INIT("ARC-"),
        SLICE_INIT("Resent-"),
    };
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (slice_equal_nocase(name, NAMES[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(PREFIXES); i++) {
        if (slice_starts_nocase(name, PREFIXES[i])) {
            return true;
        }
    }
    return false;
}

void header_write_text(struct buf *out, struct slice name, struct slice value)
{
    size_t column = name.len + 2;
    size_t at = 0;

    value = slice_trim(value);
    buf_add(out, name);
    buf_add_byte(out, ':');
    if (value.len > 0) {
        buf_add_byte(out, ' ');
    }
    if (!is_plain_text(value)) {
        header_encode_words(out, value, column);
        at = value.len;
    }
    while (at < value.len) {
        size_t end = at;
        while (end < value.len && is_blank(value.data[end])) {
            end++;
        }
        while (end < value.len && !is_blank(value.data[end])) {
            end++;
        }
        if (at > 0 && column + (end - at) > LINE_WANTED) {
            buf_add(out, SLICE("\r\n"));
            column = 0;
        }
        buf_add(out, slice_sub(value, at, end - at));
        column += end - at;
        at = end;
    }
    buf_add(out, SLICE("\r\n"));
}

/* Printable ASCII and tabs that no reader takes for an encoded word, in units that fit a line. */
static bool is_plain_text(struct slice value)
{
    size_t unit = 0;

    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (!is_printable_ascii(c) && c != '\t') {
            return false;
        }
        unit = is_blank(c) && i > 0 && !is_blank(value.data[i - 1]) ? 1 : unit + 1;
        if (unit > UNIT_MAX) {
            return false;
        }
    }
    return !header_looks_encoded(value);
}

bool header_looks_encoded(struct slice text)
{
    size_t at = slice_find(text, SLICE("=?"));

    while (at != SIZE_MAX) {
        struct slice rest = slice_from(text, at + 2);
        size_t mark = slice_find_byte(rest, '?');
        if (mark == SIZE_MAX) {
            return false;
        }
        struct slice tail = slice_from(rest, mark + 1);
        if (tail.len >= 2 && tail.data[1] == '?' && memchr("bBqQ", tail.data[0], 4) != NULL) {
            return true;
        }
        /* One pass, whatever the text: the mark itself may be the "?" of the next "=?". */
        size_t from = mark > 0 ? mark - 1 : mark;
        size_t next = slice_find(slice_from(rest, from), SLICE("=?"));
        at = next == SIZE_MAX ? SIZE_MAX : at + 2 + from + next;
    }
    return false;
}

void header_write_structured(struct buf *out, struct slice name, struct slice value)
{
    size_t column = name.len + 1;
    size_t at = 0;
    bool is_first = true;

    buf_add(out, name);
    buf_add_byte(out, ':');
    for (;;) {
        while (at < value.len && (value.data[at] == ' ' || is_control(value.data[at]))) {
            at++;
        }
        if (at == value.len) {
            break;
        }
        size_t end = structured_word_end(value, at);
        if (!is_first && column + 1 + (end - at) > LINE_WANTED) {
            buf_add(out, SLICE("\r\n"));
            column = 0;
        }
        buf_add_byte(out, ' ');
        column++;
        write_unit(out, slice_sub(value, at, end - at), &column);
        at = end;
        is_first = false;
    }
    buf_add(out, SLICE("\r\n"));
}

/* Where the word that starts at `at` ends: at white space outside of quotes. */
static size_t structured_word_end(struct slice value, size_t at)
{
    bool is_quoted = false;

    while (at < value.len) {
        char c = value.data[at];
        if (!is_quoted && (c == ' ' || is_control(c))) {
            return at;
        }
        if (is_quoted && c == '\\' && at + 1 < value.len) {
            at++;
        } else if (c == '"') {
            is_quoted = !is_quoted;
        }
        at++;
    }
    return at;
}

/* A word of a structured field. One that no line can hold is broken: a damaged field beats a mail
 * that is refused (RFC 5322 2.1.1). */
static void write_unit(struct buf *out, struct slice unit, size_t *column)
{
    while (unit.len > 0) {
        size_t len = min_size(unit.len, UNIT_MAX);
        if (len < unit.len) {
            for (size_t i = 0; i < 3 && ((uint8_t)unit.data[len] & 0xc0) == 0x80; i++) {
                len--;
            }
        }
        for (size_t i = 0; i < len; i++) {
            buf_add_byte(out, is_control(unit.data[i]) ? ' ' : unit.data[i]);
        }
        *column += len;
        unit = slice_from(unit, len);
        if (unit.len > 0) {
            buf_add(out, SLICE("\r\n "));
            *column = 1;
        }
    }
}

void header_encode_words(struct buf *out, struct slice text, size_t column)
{
    bool is_folded = column != HEADER_NO_FOLD;
    size_t q_len = 0;
    size_t at = 0;

    for (size_t i = 0; i < text.len; i += char_len(text, i)) {
        q_len += q_char_len(text, i);
    }
    bool use_q = q_len <= base64_len(text.len);

    while (at < text.len) {
        /* Room for at least one character of four bytes as =XX. */
        if (is_folded && column + 2 * ENCODED_WORD_COST > WORD_LINE_WANTED) {
            buf_add(out, SLICE("\r\n "));
            column = 1;
        }
        size_t room = ENCODED_WORD_MAX;
        if (is_folded) {
            room = min_size(room, WORD_LINE_WANTED - column);
        }
        room -= ENCODED_WORD_COST;

        size_t end = at;
        size_t used = 0;
        while (end < text.len) {
            size_t len = char_len(text, end);
            used = use_q ? used + q_char_len(text, end) : base64_len(end + len - at);
            if (used > room) {
                break;
            }
            end += len;
        }
        write_encoded_word(out, slice_sub(text, at, end - at), use_q);
        at = end;
        if (at < text.len) {
            buf_add(out, is_folded ? SLICE("\r\n ") : SLICE(" "));
            column = is_folded ? 1 : column;
        }
    }
}

/* Bytes of the character at `at`; damaged UTF-8 advances too. */
static size_t char_len(struct slice text, size_t at)
{
    size_t len = 1;

    if (((uint8_t)text.data[at] & 0x80) != 0) {
        while (len < 4 && at + len < text.len && ((uint8_t)text.data[at + len] & 0xc0) == 0x80) {
            len++;
        }
    }
    return len;
}

/* The set that RFC 2047 5 (3) allows within a phrase, which is allowed in text too. */
static bool is_q_safe(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || c == '!' || c == '*' || c == '+' || c == '-' ||
           c == '/';
}

static size_t q_char_len(struct slice text, size_t at)
{
    char c = text.data[at];

    if (c == ' ' || is_control(c) || is_q_safe(c)) {
        return 1;
    }
    return 3 * char_len(text, at);
}

static void write_encoded_word(struct buf *out, struct slice piece, bool use_q)
{
    static const char HEX[] = "0123456789ABCDEF";
    char plain[ENCODED_WORD_MAX];
    char word[ENCODED_WORD_MAX + 1];
    size_t len = 0;

    for (size_t i = 0; i < piece.len; i++) {
        plain[i] = is_control(piece.data[i]) ? ' ' : piece.data[i];
    }
    if (use_q) {
        for (size_t i = 0; i < piece.len; i++) {
            uint8_t byte = (uint8_t)plain[i];
            if (byte == ' ') {
                word[len++] = '_';
            } else if (is_q_safe(plain[i])) {
                word[len++] = plain[i];
            } else {
                word[len++] = '=';
                word[len++] = HEX[byte >> 4];
                word[len++] = HEX[byte & 15];
            }
        }
    } else {
        len = base64_encode(slice_of(plain, piece.len), word);
    }
    buf_add(out, use_q ? SLICE("=?UTF-8?Q?") : SLICE("=?UTF-8?B?"));
    buf_add_bytes(out, word, len);
    buf_add(out, SLICE("?="));
}

void header_write_param(struct buf *out, struct slice name, struct slice value)
{
    bool is_simple = 1 + name.len + 3 + value.len < LINE_WANTED && !header_looks_encoded(value);

    /* Escapes within quotes are legal and often misread; RFC 2231 is read or ignored. */
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        is_simple = is_simple && is_printable_ascii(c) && c != '"' && c != '\\';
    }
    if (!is_simple) {
        write_param_extended(out, name, value);
        return;
    }
    buf_add(out, SLICE(";\r\n "));
    buf_add(out, name);
    buf_add(out, SLICE("=\""));
    buf_add(out, value);
    buf_add_byte(out, '"');
}

/* RFC 2231 4, and 3 when it does not fit one line. */
static void write_param_extended(struct buf *out, struct slice name, struct slice value)
{
    static const struct slice CHARSET = SLICE_INIT("UTF-8''");
    size_t total = 0;
    size_t at = 0;

    for (size_t i = 0; i < value.len; i += char_len(value, i)) {
        total += percent_char_len(value, i);
    }
    if (1 + name.len + 2 + CHARSET.len + total < LINE_WANTED) {
        buf_add(out, SLICE(";\r\n "));
        buf_add(out, name);
        buf_add(out, SLICE("*="));
        buf_add(out, CHARSET);
        write_percent(out, value, 0, value.len);
        return;
    }
    for (uint32_t section = 0; at < value.len; section++) {
        buf_add(out, SLICE(";\r\n "));
        buf_add(out, name);
        buf_add_byte(out, '*');
        buf_add_u64(out, section);
        buf_add(out, SLICE("*="));
        if (section == 0) {
            buf_add(out, CHARSET);
        }
        /* Space, name, '*', three digits, "*=", and the ';' to come. */
        size_t column = 1 + name.len + 1 + 3 + 2 + (section == 0 ? CHARSET.len : 0) + 1;
        size_t end = at;
        do {
            column += percent_char_len(value, end);
            end += char_len(value, end);
        } while (end < value.len && column + percent_char_len(value, end) <= LINE_WANTED);
        write_percent(out, value, at, end);
        at = end;
    }
}

/* attribute-char of RFC 2231 7, narrowed as RFC 5987 3.2.1 does. */
static bool is_attribute_char(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) ||
           (c != '\0' && strchr("!#$&+-.^_`{|}~", c) != NULL);
}

static size_t percent_char_len(struct slice value, size_t at)
{
    return is_attribute_char(value.data[at]) ? 1 : 3 * char_len(value, at);
}

static void write_percent(struct buf *out, struct slice value, size_t from, size_t to)
{
    static const char HEX[] = "0123456789ABCDEF";

    for (size_t i = from; i < to; i++) {
        uint8_t byte = is_control(value.data[i]) ? ' ' : (uint8_t)value.data[i];
        if (is_attribute_char((char)byte)) {
            buf_add_byte(out, (char)byte);
        } else {
            char triplet[3] = {'%', HEX[byte >> 4], HEX[byte & 15]};
            buf_add_bytes(out, triplet, sizeof triplet);
        }
    }
}

bool header_next(struct slice *rest, struct header_field *field)
{
    size_t len = line_len(*rest);
    struct slice first = slice_head(*rest, len);

    if (len == 0 || first.data[0] == '\n' || slice_equal(first, SLICE("\r\n"))) {
        return false;
    }
    while (len < rest->len && is_blank(rest->data[len])) {
        len += line_len(slice_from(*rest, len));
    }
    field->whole = slice_head(*rest, len);
    *rest = slice_from(*rest, len);

    struct slice text = field->whole;
    if (slice_ends(text, SLICE("\n"))) {
        text.len -= slice_ends(text, SLICE("\r\n")) ? 2 : 1;
    }
    size_t colon = slice_find_byte(first, ':');
    if (colon == SIZE_MAX || is_blank(first.data[0])) {
        field->name = slice_head(text, 0);
        field->value = text;
        return true;
    }
    field->value = slice_from(text, colon + 1);
    field->name = slice_head(text, colon);
    while (field->name.len > 0 && is_blank(field->name.data[field->name.len - 1])) {
        field->name.len--; /* RFC 5322 4.5 */
    }
    return true;
}

size_t header_block_len(struct slice mail)
{
    size_t at = 0;

    while (at < mail.len) {
        struct slice line = slice_from(mail, at);
        line.len = line_len(line);
        at += line.len;
        if (line.data[0] == '\n' || slice_equal(line, SLICE("\r\n"))) {
            break;
        }
    }
    return at;
}

/* Bytes to the end of the first line, its LF included. */
static size_t line_len(struct slice text)
{
    size_t lf = slice_find_byte(text, '\n');

    return lf == SIZE_MAX ? text.len : lf + 1;
}
