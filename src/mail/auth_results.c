/* auth_results.c - see auth_results.h. */
#include "mail/auth_results.h"

#include "base/limits.h"
#include "mail/addr.h"
#include "mail/header.h"

#include <string.h>

#define LINE_WANTED 78  /* RFC 5322 2.1.1 */
#define VALUE_MAX   320 /* an address; quoted in full it still fits a line of 998 */
#define B_START_MAX 8   /* RFC 6008 4 */
#define COMMENT_MAX 32  /* nested comments */

_Static_assert(2 * VALUE_MAX + 64 < LINE_MAX_BYTES, "a value fits a line");
_Static_assert(ADDR_MAX <= VALUE_MAX, "an address fits");

static bool is_token_byte(char c);
static bool is_plain(struct slice value);
static void add_quoted(struct buf *out, struct slice value);
static void add_method(struct buf *out, const char *method, struct slice result,
                       struct slice reason);
static void add_property(struct buf *out, const char *name, struct slice value);
static void add_value(struct buf *out, struct slice value);
static bool is_ours(struct slice value, struct slice authserv_id);
static bool skip_space(struct slice *rest);
static bool read_id(struct slice *rest, char id[VALUE_MAX], size_t *len);

/* ---- writing -------------------------------------------------------------------------------- */

void auth_results_write(struct buf *out, const struct auth_results *results)
{
    const struct auth_spf *spf = &results->spf;
    const struct auth_dmarc *dmarc = &results->dmarc;
    bool is_dkim_none = results->dkim_count == 0 && results->is_dkim_tried;

    buf_add(out, SLICE("Authentication-Results: "));
    add_value(out, results->authserv_id);
    if (spf->result.len > 0) {
        add_method(out, "spf", spf->result, spf->reason);
        add_property(out, "smtp.mailfrom", spf->mail_from);
        add_property(out, "smtp.helo", spf->mail_from.len == 0 ? spf->helo : SLICE(""));
    }
    for (uint32_t i = 0; i < results->dkim_count; i++) {
        const struct auth_dkim *dkim = &results->dkim[i];
        add_method(out, "dkim", dkim->result, dkim->reason);
        add_property(out, "header.d", dkim->domain);
        add_property(out, "header.s", dkim->selector);
        add_property(out, "header.a", dkim->algorithm);
        add_property(out, "header.b", slice_head(dkim->b_start, B_START_MAX));
    }
    if (is_dkim_none) {
        add_method(out, "dkim", SLICE("none"), SLICE(""));
    }
    if (dmarc->result.len > 0) {
        add_method(out, "dmarc", dmarc->result, dmarc->reason);
        add_property(out, "header.from", dmarc->from);
        add_property(out, "policy.dmarc", dmarc->policy);
    }
    if (spf->result.len == 0 && results->dkim_count == 0 && !is_dkim_none &&
        dmarc->result.len == 0) {
        buf_add(out, SLICE("; none")); /* RFC 8601 2.2: no-result */
    }
    buf_add(out, SLICE("\r\n"));
}

/* Each method starts a line. */
static void add_method(struct buf *out, const char *method, struct slice result,
                       struct slice reason)
{
    buf_add(out, SLICE(";\r\n "));
    buf_add_str(out, method);
    buf_add_byte(out, '=');
    add_value(out, result);
    add_property(out, "reason", reason);
}

/* ptype "." property "=" pvalue, on a new line when this one is full. */
static void add_property(struct buf *out, const char *name, struct slice value)
{
    if (value.len == 0) {
        return;
    }
    size_t line_at = slice_rfind_byte(buf_slice(out), '\n') + 1; /* SIZE_MAX: 0 */
    if (out->len - line_at + strlen(name) + value.len + 4 > LINE_WANTED) {
        buf_add(out, SLICE("\r\n "));
    }
    buf_add_byte(out, ' ');
    buf_add_str(out, name);
    buf_add_byte(out, '=');
    add_value(out, value);
}

static void add_value(struct buf *out, struct slice value)
{
    if (is_plain(value)) {
        buf_add(out, value);
    } else {
        add_quoted(out, value);
    }
}

/* token of RFC 2045 5.1 */
static bool is_token_byte(char c)
{
    return c > ' ' && c < 0x7f && !slice_has_byte(SLICE("()<>@,;:\\\"/[]?="), c);
}

/* A token, or two around an at sign (RFC 8601 2.2: pvalue). */
static bool is_plain(struct slice value)
{
    uint32_t at_count = 0;

    for (size_t i = 0; i < value.len; i++) {
        at_count += value.data[i] == '@';
        if (!is_token_byte(value.data[i]) &&
            (value.data[i] != '@' || i + 1 == value.len || at_count > 1)) {
            return false;
        }
    }
    return value.len > 0 && value.len <= VALUE_MAX;
}

/* RFC 8616 5 allows UTF-8 here; what is none, and controls, are shown as question marks. */
static void add_quoted(struct buf *out, struct slice value)
{
    bool is_utf8 = slice_is_utf8(value);
    size_t len = min_size(value.len, VALUE_MAX);

    while (is_utf8 && len < value.len && ((uint8_t)value.data[len] & 0xc0) == 0x80) {
        len--; /* not within a character */
    }
    buf_add_byte(out, '"');
    for (size_t i = 0; i < len; i++) {
        char c = value.data[i];
        if (c == '"' || c == '\\') {
            buf_add_byte(out, '\\');
        }
        bool is_control = (uint8_t)c < ' ' || c == 0x7f;
        buf_add_byte(out, is_control || (!is_utf8 && (uint8_t)c >= 0x80) ? '?' : c);
    }
    buf_add_byte(out, '"');
}

/* ---- finding -------------------------------------------------------------------------------- */

bool auth_results_next(struct slice header_block, struct slice authserv_id, size_t *from,
                       struct auth_range *range)
{
    struct slice rest = slice_from(header_block, *from);
    struct header_field field;

    while (header_next(&rest, &field)) {
        *from = header_block.len - rest.len;
        if (slice_equal_nocase(field.name, SLICE("Authentication-Results")) &&
            is_ours(field.value, authserv_id)) {
            range->at = *from - field.whole.len;
            range->len = field.whole.len;
            return true;
        }
    }
    return false;
}

/* [CFWS] authserv-id [CFWS version] [CFWS] ";" */
static bool is_ours(struct slice value, struct slice authserv_id)
{
    char id[VALUE_MAX];
    size_t len = 0;

    if (!skip_space(&value) || !read_id(&value, id, &len)) {
        return true;
    }
    /* What is behind a name separates it, or was part of what somebody meant by it. */
    if (value.len > 0 && !ascii_is_space(value.data[0]) && value.data[0] != ';' &&
        value.data[0] != '(') {
        return true;
    }
    struct slice claimed = slice_of(id, len);
    if (slice_ends(claimed, SLICE("."))) {
        claimed.len--;
    }
    if (slice_equal_nocase(claimed, authserv_id)) {
        return true;
    }
    if (slice_is_ascii(claimed) && slice_is_ascii(authserv_id)) {
        return false;
    }
    struct arena arena;
    struct slice theirs;
    struct slice ours;
    arena_init(&arena, 4096, 16 * KIB);
    bool is_same =
        domain_normalise(claimed, true, &arena, &theirs) != ERR_OK ||
        (domain_normalise(authserv_id, true, &arena, &ours) == ERR_OK && slice_equal(theirs, ours));
    arena_fini(&arena);
    return is_same;
}

/* White space and comments. False when a comment does not end. */
static bool skip_space(struct slice *rest)
{
    uint32_t depth = 0;

    while (rest->len > 0) {
        char c = rest->data[0];
        if (depth == 0 && c != '(' && !ascii_is_space(c)) {
            return true;
        }
        if (c == '(' && ++depth > COMMENT_MAX) {
            return false;
        }
        if (c == ')') {
            depth--;
        }
        *rest = slice_from(*rest, c == '\\' ? 2 : 1);
    }
    return depth == 0;
}

/* A token (with UTF-8: RFC 8616 5) or a quoted string, without its quotes. */
static bool read_id(struct slice *rest, char id[VALUE_MAX], size_t *len)
{
    bool is_quoted = rest->len > 0 && rest->data[0] == '"';
    size_t at = is_quoted ? 1 : 0;

    for (; at < rest->len && *len < VALUE_MAX; at++) {
        char c = rest->data[at];
        if (is_quoted ? c == '"' : !is_token_byte(c) && (uint8_t)c < 0x80) {
            break;
        }
        if (is_quoted && c == '\\' && ++at == rest->len) {
            break;
        }
        if (!is_quoted || (rest->data[at] != '\r' && rest->data[at] != '\n')) {
            id[(*len)++] = rest->data[at]; /* folds are no part of it */
        }
    }
    if (*len == 0 || *len == VALUE_MAX || (is_quoted && at >= rest->len)) {
        return false;
    }
    *rest = slice_from(*rest, is_quoted ? at + 1 : at);
    return true;
}
