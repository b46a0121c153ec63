/* spf_term.c - the grammar of an SPF record, RFC 7208 4.6.1 and chapter 12.
 *
 *   v=spf1 ip4:192.0.2.0/24 a:mail.example.org/28//64 ~include:%{d2}.example exp=why.example
 *          |          mechanisms: [qualifier] name [":" spec] [lengths]      | name "=" text
 *
 * A record is read twice: whole before anything is asked, because an error anywhere spoils it
 * (RFC 7208 4.6), then term by term.
 */
#include "mail/spf_int.h"

#include <string.h>

enum lengths { LENGTHS_NONE, LENGTHS_DUAL };
enum need { SPEC_NEVER, SPEC_MAYBE, SPEC_ALWAYS };

static const struct {
    struct slice name;
    enum term_kind kind;
    enum need spec;
    enum lengths lengths;
} mechanisms[] = {
    {SLICE_INIT("all"), TERM_ALL, SPEC_NEVER, LENGTHS_NONE},
    {SLICE_INIT("include"), TERM_INCLUDE, SPEC_ALWAYS, LENGTHS_NONE},
    {SLICE_INIT("a"), TERM_A, SPEC_MAYBE, LENGTHS_DUAL},
    {SLICE_INIT("mx"), TERM_MX, SPEC_MAYBE, LENGTHS_DUAL},
    {SLICE_INIT("ptr"), TERM_PTR, SPEC_MAYBE, LENGTHS_NONE},
    {SLICE_INIT("exists"), TERM_EXISTS, SPEC_ALWAYS, LENGTHS_NONE},
};

static bool read_modifier(struct slice name, struct slice value, struct spf_term *term);
static bool read_mechanism(struct slice text, struct spf_term *term);
static bool read_network(struct slice text, struct spf_term *term);
static bool cut_lengths(struct slice *text, struct spf_term *term);
static size_t length_at(struct slice text);
static bool read_length(struct slice digits, uint8_t max, uint8_t *bits);

bool spf_record_is(struct slice text, struct slice *terms)
{
    static const struct slice VERSION = SLICE_INIT("v=spf1");

    if (!slice_starts_nocase(text, VERSION)) {
        return false;
    }
    *terms = slice_from(text, VERSION.len);
    return terms->len == 0 || terms->data[0] == ' ';
}

/* Terms are separated by spaces and nothing else; whatever is not printable ASCII is in the way of
 * some rule below. */
enum term_outcome spf_term_next(struct slice *rest, struct spf_term *term)
{
    while (rest->len > 0 && rest->data[0] == ' ') {
        *rest = slice_from(*rest, 1);
    }
    if (rest->len == 0) {
        return TERM_END;
    }
    size_t len = slice_find_byte(*rest, ' ');
    struct slice text = slice_head(*rest, len);
    *rest = slice_from(*rest, text.len);
    *term = (struct spf_term){.text = text, .result = SPF_PASS, .bits4 = 32, .bits6 = 128};

    /* name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ), then "=": before any ":" or "/" */
    size_t at = 0;
    while (at < text.len && (ascii_is_alpha(text.data[at]) ||
                             (at > 0 && (ascii_is_digit(text.data[at]) || text.data[at] == '-' ||
                                         text.data[at] == '_' || text.data[at] == '.')))) {
        at++;
    }
    bool is_read = at > 0 && at < text.len && text.data[at] == '='
                       ? read_modifier(slice_head(text, at), slice_from(text, at + 1), term)
                       : read_mechanism(text, term);
    return is_read ? TERM_READ : TERM_MALFORMED;
}

static bool read_modifier(struct slice name, struct slice value, struct spf_term *term)
{
    term->spec = value;
    if (slice_equal_nocase(name, SLICE("redirect"))) {
        term->kind = TERM_REDIRECT;
    } else if (slice_equal_nocase(name, SLICE("exp"))) {
        term->kind = TERM_EXP;
    } else {
        term->kind = TERM_UNKNOWN;
        return macro_is_valid(value, MACRO_MODIFIER);
    }
    return macro_is_valid(value, MACRO_DOMAIN);
}

static bool read_mechanism(struct slice text, struct spf_term *term)
{
    static const char QUALIFIERS[] = "+-~?";
    static const enum spf_result RESULTS[] = {SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL};

    const char *qualifier = text.data[0] != '\0' ? strchr(QUALIFIERS, text.data[0]) : NULL;
    if (qualifier != NULL) {
        term->result = RESULTS[qualifier - QUALIFIERS];
        text = slice_from(text, 1);
    }
    size_t end = 0;
    while (end < text.len && text.data[end] != ':' && text.data[end] != '/') {
        end++;
    }
    struct slice name = slice_head(text, end);
    struct slice rest = slice_from(text, end);
    if (slice_equal_nocase(name, SLICE("ip4")) || slice_equal_nocase(name, SLICE("ip6"))) {
        term->kind = name.data[2] == '4' ? TERM_IP4 : TERM_IP6;
        return slice_starts(rest, SLICE(":")) && read_network(slice_from(rest, 1), term);
    }
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++) {
        if (!slice_equal_nocase(name, mechanisms[i].name)) {
            continue;
        }
        term->kind = mechanisms[i].kind;
        if (mechanisms[i].lengths == LENGTHS_DUAL && !cut_lengths(&rest, term)) {
            return false;
        }
        if (rest.len == 0) {
            return mechanisms[i].spec != SPEC_ALWAYS;
        }
        term->spec = slice_from(rest, 1);
        return mechanisms[i].spec != SPEC_NEVER && rest.data[0] == ':' &&
               macro_is_valid(term->spec, MACRO_DOMAIN);
    }
    return false;
}

/* ip4-network [ip4-cidr-length] or the same with 6: one notation for each, so that an address of
 * the other family, though it parses, is an error. */
static bool read_network(struct slice text, struct spf_term *term)
{
    struct slice rest = text;
    struct slice address = slice_cut(&rest, '/');
    bool is_v4 = term->kind == TERM_IP4;
    uint8_t bits = is_v4 ? 32 : 128;

    if (slice_has_byte(address, ':') == is_v4 || ip6_parse(address, &term->net.base) != ERR_OK ||
        (rest.data != NULL && !read_length(rest, bits, &bits))) {
        return false;
    }
    term->net.bits = (uint8_t)(is_v4 ? 96 + bits : bits);
    return true;
}

/* dual-cidr-length, which stands at the end, behind a name that may itself hold slashes. */
static bool cut_lengths(struct slice *text, struct spf_term *term)
{
    size_t at = length_at(*text);

    if (at != SIZE_MAX && at > 0 && text->data[at - 1] == '/') {
        if (!read_length(slice_from(*text, at + 1), 128, &term->bits6)) {
            return false;
        }
        *text = slice_head(*text, at - 1);
        at = length_at(*text);
    }
    if (at != SIZE_MAX) {
        if (!read_length(slice_from(*text, at + 1), 32, &term->bits4)) {
            return false;
        }
        *text = slice_head(*text, at);
    }
    return true;
}

/* Where the last slash is that has nothing but digits behind it. */
static size_t length_at(struct slice text)
{
    size_t at = text.len;

    while (at > 0 && ascii_is_digit(text.data[at - 1])) {
        at--;
    }
    return at > 0 && at < text.len && text.data[at - 1] == '/' ? at - 1 : SIZE_MAX;
}

/* RFC 7208 5.6 has no leading zeros. */
static bool read_length(struct slice digits, uint8_t max, uint8_t *bits)
{
    uint64_t value = 0;

    if (slice_uint(digits, max, &value) != ERR_OK || (digits.len > 1 && digits.data[0] == '0')) {
        return false;
    }
    *bits = (uint8_t)value;
    return true;
}
