/* spf_macro.c - macros of SPF, RFC 7208 7.
 *
 *   %{ l 1 r +- }      letter; how many parts, from the right; reversed; what separates parts
 *   %% %_ %-           a percent sign, a space, a space as in URLs
 *
 * One reader of tokens serves both the check, which sees every record, and the expansion.
 */
#include "mail/spf_int.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define PARTS_MAX 128 /* of a value: a domain has at most 127 labels; others are cut */

struct token {
    struct slice text; /* literal; empty for a macro */
    bool is_expand;    /* was written with a percent sign */
    char letter;       /* lower case */
    bool is_url;       /* the letter was a capital */
    bool is_reversed;
    uint32_t part_count; /* 0: all */
    struct slice delimiters;
};

static bool token_next(struct slice *rest, struct token *token);
static bool macro_read(struct slice inside, struct token *token);
static bool is_top_end(struct slice tail);
static void add(struct macro_text *out, struct slice text, bool is_domain);
static void add_value(struct macro_text *out, const struct token *token, struct slice value,
                      bool is_domain);
static struct slice value_of(char letter, const struct macro_values *values,
                             struct macro_text *room);

bool ip6_is_v4(const struct ip6 *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Cuts one token off; *rest is not empty. False on bad syntax. */
static bool token_next(struct slice *rest, struct token *token)
{
    static const struct {
        char letter;
        struct slice text;
    } fixed[] = {{'%', SLICE_INIT("%")}, {'_', SLICE_INIT(" ")}, {'-', SLICE_INIT("%20")}};

    size_t percent = slice_find_byte(*rest, '%');
    *token = (struct token){.text = slice_head(*rest, percent)};
    if (percent != 0) {
        *rest = slice_from(*rest, token->text.len);
        return true;
    }
    token->is_expand = true;
    char second = rest->len > 1 ? rest->data[1] : '\0';
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        if (second == fixed[i].letter) {
            token->text = fixed[i].text;
            *rest = slice_from(*rest, 2);
            return true;
        }
    }
    size_t end = slice_find_byte(*rest, '}');
    if (second != '{' || end == SIZE_MAX) {
        return false;
    }
    struct slice inside = slice_sub(*rest, 2, end - 2);
    *rest = slice_from(*rest, end + 1);
    return macro_read(inside, token);
}

/* macro-letter *DIGIT ["r"] *delimiter */
static bool macro_read(struct slice inside, struct token *token)
{
    if (inside.len == 0 || strchr("slodiphcrtv", ascii_lower(inside.data[0])) == NULL ||
        inside.data[0] == '\0') {
        return false;
    }
    token->letter = ascii_lower(inside.data[0]);
    token->is_url = token->letter != inside.data[0];
    size_t at = 1;
    while (at < inside.len && ascii_is_digit(inside.data[at])) {
        at++;
    }
    struct slice digits = slice_sub(inside, 1, at - 1);
    for (size_t i = 0; i < digits.len && token->part_count < 1000; i++) {
        token->part_count = token->part_count * 10 + (uint32_t)(digits.data[i] - '0');
    }
    if (digits.len > 0 && token->part_count == 0) {
        return false; /* RFC 7208 7.1: nonzero */
    }
    if (at < inside.len && ascii_lower(inside.data[at]) == 'r') {
        token->is_reversed = true;
        at++;
    }
    token->delimiters = slice_from(inside, at);
    for (size_t i = 0; i < token->delimiters.len; i++) {
        if (!slice_has_byte(SLICE(".-+,/_="), token->delimiters.data[i])) {
            return false;
        }
    }
    return true;
}

bool macro_is_valid(struct slice spec, enum macro_use use)
{
    struct slice rest = spec;
    size_t tail_at = 0;
    char first = use == MACRO_EXPLANATION ? ' ' : '!';

    while (rest.len > 0) {
        struct token token;
        if (!token_next(&rest, &token)) {
            return false;
        }
        if (token.is_expand) {
            tail_at = spec.len - rest.len;
        } else {
            for (size_t i = 0; i < token.text.len; i++) {
                if (token.text.data[i] < first || token.text.data[i] > '~') {
                    return false;
                }
            }
        }
        if (use == MACRO_DOMAIN && token.letter != '\0' &&
            slice_has_byte(SLICE("crt"), token.letter)) {
            return false;
        }
    }
    return use != MACRO_DOMAIN || (spec.len > 0 && is_top_end(slice_from(spec, tail_at)));
}

/* domain-end: nothing behind a macro, or "." toplabel ["."]. Letters, digits and inner hyphens, but
 * not digits alone: addresses are often written where names belong. */
static bool is_top_end(struct slice tail)
{
    if (tail.len == 0) {
        return true;
    }
    if (slice_ends(tail, SLICE("."))) {
        tail.len--;
    }
    size_t dot = slice_rfind_byte(tail, '.');
    struct slice label = slice_from(tail, dot + 1);
    if (dot == SIZE_MAX || label.len == 0 || label.data[0] == '-' ||
        label.data[label.len - 1] == '-') {
        return false;
    }
    bool is_number = true;
    for (size_t i = 0; i < label.len; i++) {
        char c = label.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-') {
            return false;
        }
        is_number = is_number && ascii_is_digit(c);
    }
    return !is_number;
}

bool macro_has_letter(struct slice spec, char letter)
{
    struct token token;

    while (spec.len > 0 && token_next(&spec, &token)) {
        if (token.letter == letter) {
            return true;
        }
    }
    return false;
}

/* ---- writing -------------------------------------------------------------------------------- */

void macro_expand(struct slice spec, const struct macro_values *values, bool is_domain,
                  struct macro_text *out)
{
    struct token token;
    struct macro_text room;

    out->len = 0;
    while (spec.len > 0 && token_next(&spec, &token)) {
        if (token.letter == '\0') {
            add(out, token.text, is_domain);
        } else {
            add_value(out, &token, value_of(token.letter, values, &room), is_domain);
        }
    }
}

/* Of a domain only the last 253 bytes are of use, and what stands before them must end at a dot
 * somewhere: twice that is kept. */
static void add(struct macro_text *out, struct slice text, bool is_domain)
{
    size_t kept = 2 * (DNS_NAME_MAX + 1);

    if (text.len > sizeof(out->data) - out->len && is_domain && out->len > kept) {
        memmove(out->data, out->data + out->len - kept, kept);
        out->len = kept;
    }
    if (is_domain && text.len > sizeof(out->data) - out->len) {
        /* Only literals of a long record are this long. */
        text = slice_from(text, text.len - kept);
        out->len = 0;
    }
    size_t len = min_size(text.len, sizeof(out->data) - out->len);
    if (len > 0) {
        memcpy(out->data + out->len, text.data, len);
        out->len += len;
    }
}

/* Splits, reverses, takes parts from the right, joins with dots; then escapes (RFC 7208 7.3). Empty
 * parts stay, as between two dots. */
static void add_value(struct macro_text *out, const struct token *token, struct slice value,
                      bool is_domain)
{
    static const char HEX[] = "0123456789ABCDEF";
    struct slice parts[PARTS_MAX];
    size_t count = 0;
    struct macro_text made = {.len = 0};
    struct slice delimiters = token->delimiters.len > 0 ? token->delimiters : SLICE(".");
    bool is_split = token->part_count > 0 || token->is_reversed || token->delimiters.len > 0;

    size_t from = 0;
    for (size_t at = 0; at <= value.len; at++) {
        bool is_end = at == value.len || (is_split && count + 1 < PARTS_MAX &&
                                          slice_has_byte(delimiters, value.data[at]));
        if (is_end) {
            parts[count++] = slice_sub(value, from, at - from);
            from = at + 1;
        }
    }
    size_t wanted = token->part_count > 0 ? min_size(token->part_count, count) : count;
    for (size_t i = count - wanted; i < count; i++) {
        if (i > count - wanted) {
            add(&made, SLICE("."), false);
        }
        add(&made, parts[token->is_reversed ? count - 1 - i : i], false);
    }
    for (size_t i = 0; i < made.len; i++) {
        char c = made.data[i];
        bool is_plain = ascii_is_alpha(c) || ascii_is_digit(c) || slice_has_byte(SLICE("-._~"), c);
        char escape[3] = {'%', HEX[(uint8_t)c >> 4], HEX[(uint8_t)c & 15]};
        add(out, token->is_url && !is_plain ? slice_of(escape, 3) : slice_of(&c, 1), is_domain);
    }
}

static struct slice value_of(char letter, const struct macro_values *values,
                             struct macro_text *room)
{
    room->len = 0;
    switch (letter) {
    case 's':
        add(room, values->local, false);
        add(room, SLICE("@"), false);
        add(room, values->sender_domain, false);
        break;
    case 'l':
        return values->local;
    case 'o':
        return values->sender_domain;
    case 'd':
        return values->domain;
    case 'p':
        return values->validated;
    case 'h':
        return values->helo;
    case 'r':
        return values->receiver;
    case 'v':
        return ip6_is_v4(values->client) ? SLICE("in-addr") : SLICE("ip6");
    case 'i':
        room->len = macro_ip_dots(values->client, room->data);
        break;
    case 'c':
        room->len = ip6_text(values->client, room->data);
        break;
    case 't':
        room->len = (size_t)snprintf(room->data, sizeof(room->data), "%llu",
                                     (unsigned long long)values->now_s);
        break;
    default:
        CHECK(letter == '\0'); /* macro_read lets no other pass */
    }
    return slice_of(room->data, room->len);
}

size_t macro_ip_dots(const struct ip6 *ip, char out[MACRO_IP_MAX])
{
    static const char HEX[] = "0123456789abcdef";
    char text[IP6_TEXT_MAX];
    size_t len = 0;

    if (ip6_is_v4(ip)) {
        len = ip6_text(ip, text);
        memcpy(out, text, len);
        return len;
    }
    for (size_t i = 0; i < 2 * sizeof(ip->bytes); i++) {
        uint8_t byte = ip->bytes[i / 2];
        out[len++] = HEX[i % 2 == 0 ? byte >> 4 : byte & 15];
        if (i + 1 < 2 * sizeof(ip->bytes)) {
            out[len++] = '.';
        }
    }
    return len;
}
