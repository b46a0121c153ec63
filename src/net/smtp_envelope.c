/* smtp_envelope.c - paths and parameters, each read from left to right without going back. */
#include "net/smtp_envelope.h"

#include "base/cidr.h"

#include <string.h>

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

static const struct smtp_refusal bad_sender = {501, "5.1.7", "syntax: MAIL FROM:<address>"};
static const struct smtp_refusal bad_rcpt = {501, "5.1.3", "syntax: RCPT TO:<address>"};
static const struct smtp_refusal needs_utf8 = {553, "5.6.7",
                                               "address is not ASCII and SMTPUTF8 was not asked"};
static const struct smtp_refusal unknown_param = {555, "5.5.4", "parameter not recognized"};
static const struct smtp_refusal bad_param = {501, "5.5.4", "parameter is malformed"};
static const struct smtp_refusal twice_param = {501, "5.5.4", "parameter is given twice"};
static const struct smtp_refusal too_large = {552, "5.3.4", "message size exceeds the limit"};

/* ---- paths ----------------------------------------------------------------------------------- */

/* What a path is made of, as positions into it: each function takes its part off *rest. */

static bool is_8bit(char c)
{
    return ((uint8_t)c & 0x80) !=
           0; /* RFC 6531 3.3; whether it is UTF-8 is asked once, at the end */
}

static bool is_atext(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || is_8bit(c) ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_at(struct slice s, char c)
{
    return s.len > 0 && s.data[0] == c;
}

static bool take_byte(struct slice *rest, char c)
{
    if (!is_at(*rest, c)) {
        return false;
    }
    *rest = slice_from(*rest, 1);
    return true;
}

/* Atom *("." Atom) */
static bool take_dot_string(struct slice *rest)
{
    size_t len = 0;
    char before = '.';
    while (len < rest->len && (is_atext(rest->data[len]) || rest->data[len] == '.')) {
        if (rest->data[len] == '.' && before == '.') {
            return false;
        }
        before = rest->data[len];
        len++;
    }
    *rest = slice_from(*rest, len);
    return before != '.';
}

/* DQUOTE *QcontentSMTP DQUOTE, with the first quote at *rest. */
static bool take_quoted(struct slice *rest)
{
    size_t at = 1;
    while (at < rest->len && rest->data[at] != '"') {
        at += rest->data[at] == '\\' ? 1 : 0;
        bool is_good = at < rest->len && (is_8bit(rest->data[at]) ||
                                          (rest->data[at] >= ' ' && rest->data[at] <= '~'));
        if (!is_good) {
            return false;
        }
        at++;
    }
    if (at >= rest->len) {
        return false;
    }
    *rest = slice_from(*rest, at + 1);
    return true;
}

static bool is_label(struct slice label)
{
    if (label.len == 0 || (label.len > LABEL_MAX && slice_is_ascii(label))) {
        return false;
    }
    return label.data[0] != '-' && label.data[label.len - 1] != '-';
}

static bool take_domain(struct slice *rest, struct slice *domain)
{
    size_t len = 0;
    while (len < rest->len &&
           (ascii_is_alpha(rest->data[len]) || ascii_is_digit(rest->data[len]) ||
            is_8bit(rest->data[len]) || memchr("-_.", rest->data[len], 3) != NULL)) {
        len++;
    }
    *domain = slice_head(*rest, len);
    *rest = slice_from(*rest, len);
    if (len == 0 || len > DOMAIN_MAX) {
        return false;
    }
    struct slice labels = *domain;
    while (labels.data != NULL) {
        if (!is_label(slice_cut(&labels, '.'))) {
            return false;
        }
    }
    return true;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]", RFC 5321 4.1.3. Other tags are nobody's. */
static bool take_literal(struct slice *rest, struct slice *literal)
{
    size_t end = slice_find_byte(*rest, ']');
    if (end == SIZE_MAX) {
        return false;
    }
    struct slice inside = slice_sub(*rest, 1, end - 1);
    bool is_v6 = slice_starts_nocase(inside, SLICE("IPv6:"));
    struct slice number = is_v6 ? slice_from(inside, sizeof("IPv6:") - 1) : inside;
    struct ip6 ip;
    if (ip6_parse(number, &ip) != ERR_OK || slice_has_byte(number, ':') != is_v6) {
        return false;
    }
    *literal = slice_head(*rest, end + 1);
    *rest = slice_from(*rest, end + 1);
    return true;
}

/* "@a,@b:", dropped (RFC 5321 4.1.1.3, appendix C). */
static bool take_route(struct slice *rest)
{
    struct slice domain;
    do {
        if (!take_byte(rest, '@') || !take_domain(rest, &domain)) {
            return false;
        }
    } while (take_byte(rest, ','));
    return take_byte(rest, ':');
}

/* Local-part "@" ( Domain / address-literal ), or a local part alone: the caller knows whether that
 * is allowed. */
static bool take_mailbox(struct slice *rest, struct smtp_path *path)
{
    const struct slice start = *rest;
    bool is_local = is_at(*rest, '"') ? take_quoted(rest) : take_dot_string(rest);
    path->local = slice_head(start, start.len - rest->len);
    if (!is_local || path->local.len > SMTP_LOCAL_PART_MAX) {
        return false;
    }
    if (take_byte(rest, '@')) {
        path->is_literal = is_at(*rest, '[');
        bool is_domain =
            path->is_literal ? take_literal(rest, &path->domain) : take_domain(rest, &path->domain);
        if (!is_domain) {
            return false;
        }
    }
    path->text = slice_head(start, start.len - rest->len);
    path->is_8bit = !slice_is_ascii(path->text);
    return slice_is_utf8(path->text);
}

/* "<" ... ">" */
static bool take_path(struct slice *rest, struct smtp_path *path)
{
    *path = (struct smtp_path){.is_8bit = false};
    if (!take_byte(rest, '<')) {
        return false;
    }
    if (take_byte(rest, '>')) {
        return true;
    }
    if (is_at(*rest, '@') && !take_route(rest)) {
        return false;
    }
    return take_mailbox(rest, path) && take_byte(rest, '>');
}

/* ---- parameters ------------------------------------------------------------------------------ */

enum param {
    PARAM_SIZE,
    PARAM_BODY,
    PARAM_SMTPUTF8,
    PARAM_RET,
    PARAM_ENVID,
    PARAM_AUTH,
    PARAM_REQUIRETLS,
    PARAM_NOTIFY,
    PARAM_ORCPT,
    PARAM_COUNT,
};

#define PARAM_BIT(param) (1U << (param))
#define MAIL_PARAMS      (PARAM_BIT(PARAM_NOTIFY) - 1)
#define RCPT_PARAMS      (PARAM_BIT(PARAM_NOTIFY) | PARAM_BIT(PARAM_ORCPT))

static const struct {
    struct slice name;
    bool has_value;
} params[] = {
    [PARAM_SIZE] = {SLICE_INIT("SIZE"), true},
    [PARAM_BODY] = {SLICE_INIT("BODY"), true},
    [PARAM_SMTPUTF8] = {SLICE_INIT("SMTPUTF8"), false},
    [PARAM_RET] = {SLICE_INIT("RET"), true},
    [PARAM_ENVID] = {SLICE_INIT("ENVID"), true},
    [PARAM_AUTH] = {SLICE_INIT("AUTH"), true},
    [PARAM_REQUIRETLS] = {SLICE_INIT("REQUIRETLS"), false},
    [PARAM_NOTIFY] = {SLICE_INIT("NOTIFY"), true},
    [PARAM_ORCPT] = {SLICE_INIT("ORCPT"), true},
};
_Static_assert(ARRAY_LEN(params) == PARAM_COUNT, "a row for each parameter");

/* What the parameters of one command go to; one of mail and rcpt. */
struct reading {
    struct smtp_mail *mail;
    struct smtp_rcpt *rcpt;
    unsigned int allowed; /* PARAM_BITs */
    unsigned int seen;
    bool is_smtputf8;
};

static unsigned int offered(const struct smtp_offers *offers)
{
    unsigned int bits = PARAM_BIT(PARAM_SIZE);
    bits |= offers->eight_bit_mime ? PARAM_BIT(PARAM_BODY) : 0;
    bits |= offers->smtputf8 ? PARAM_BIT(PARAM_SMTPUTF8) | PARAM_BIT(PARAM_BODY) : 0;
    bits |= offers->dsn ? PARAM_BIT(PARAM_RET) | PARAM_BIT(PARAM_ENVID) | RCPT_PARAMS : 0;
    bits |= offers->auth ? PARAM_BIT(PARAM_AUTH) : 0;
    bits |= offers->requiretls ? PARAM_BIT(PARAM_REQUIRETLS) : 0;
    return bits;
}

static int hex_digit(char c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; /* RFC 3461 4: capitals only */
}

enum err smtp_xtext_read(struct slice xtext, struct buf *out)
{
    for (size_t i = 0; i < xtext.len; i++) {
        char c = xtext.data[i];
        if (c != '+') {
            if (c <= ' ' || c == '=' || c == 0x7f) {
                return ERR_INVALID;
            }
            buf_add_byte(out, c);
            continue;
        }
        bool has_both = xtext.len - i > 2;
        int high = has_both ? hex_digit(xtext.data[i + 1]) : -1;
        int low = has_both ? hex_digit(xtext.data[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return ERR_INVALID;
        }
        buf_add_byte(out, (char)(high << 4 | low));
        i += 2;
    }
    return ERR_OK;
}

static bool is_xtext(struct slice s, size_t max_bytes)
{
    struct buf decoded;
    buf_init(&decoded, max_bytes);
    bool is_good = s.len > 0 && s.len <= max_bytes && smtp_xtext_read(s, &decoded) == ERR_OK;
    buf_fini(&decoded);
    return is_good;
}

/* addr-type ";" xtext, RFC 3461 4.2; with RFC 6533 3, UTF-8 as it is. */
static bool read_orcpt(struct slice value, bool is_smtputf8, struct smtp_rcpt *rcpt)
{
    if (value.len > SMTP_ORCPT_MAX) {
        return false;
    }
    struct slice rest = value;
    rcpt->orcpt_type = slice_cut(&rest, ';');
    rcpt->orcpt = rest;
    if (rcpt->orcpt_type.len == 0 || !slice_is_ascii(rcpt->orcpt_type)) {
        return false;
    }
    bool is_utf8 = is_smtputf8 && slice_equal_nocase(rcpt->orcpt_type, SLICE("utf-8"));
    if (is_utf8) {
        return rest.len > 0 && slice_is_utf8(rest);
    }
    return slice_is_ascii(rest) && is_xtext(rest, SMTP_ORCPT_MAX);
}

/* "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ), RFC 3461 4.1. */
static bool read_notify(struct slice value, uint8_t *notify)
{
    static const struct {
        struct slice name;
        uint8_t bit;
    } words[] = {
        {SLICE_INIT("NEVER"), SMTP_NOTIFY_NEVER},
        {SLICE_INIT("SUCCESS"), SMTP_NOTIFY_SUCCESS},
        {SLICE_INIT("FAILURE"), SMTP_NOTIFY_FAILURE},
        {SLICE_INIT("DELAY"), SMTP_NOTIFY_DELAY},
    };
    *notify = 0;
    while (value.data != NULL) {
        struct slice word = slice_cut(&value, ',');
        size_t i = 0;
        while (i < ARRAY_LEN(words) && !slice_equal_nocase(word, words[i].name)) {
            i++;
        }
        if (i == ARRAY_LEN(words)) {
            return false;
        }
        *notify |= words[i].bit;
    }
    return (*notify & SMTP_NOTIFY_NEVER) == 0 || *notify == SMTP_NOTIFY_NEVER;
}

static bool read_word(struct slice value, struct slice zero, struct slice one, int *which)
{
    *which = slice_equal_nocase(value, one) ? 1 : 0;
    return *which == 1 || slice_equal_nocase(value, zero);
}

/* A parameter that is known, allowed and has a value where it needs one. */
static bool read_value(struct reading *reading, enum param param, struct slice value)
{
    struct smtp_mail *mail = reading->mail;
    int which = 0;
    bool is_good = true;
    switch (param) {
    case PARAM_SIZE: /* RFC 1870 5: 1*20DIGIT */
        return value.len <= 20 && slice_u64(value, &mail->size_bytes) == ERR_OK;
    case PARAM_BODY:
        is_good = read_word(value, SLICE("7BIT"), SLICE("8BITMIME"), &which);
        mail->body = which == 1 ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT;
        return is_good;
    case PARAM_SMTPUTF8:
        mail->is_smtputf8 = true;
        return true;
    case PARAM_RET:
        is_good = read_word(value, SLICE("FULL"), SLICE("HDRS"), &which);
        mail->ret = which == 1 ? SMTP_RET_HDRS : SMTP_RET_FULL;
        return is_good;
    case PARAM_ENVID:
        mail->envid = value;
        return slice_is_ascii(value) && is_xtext(value, SMTP_ENVID_MAX);
    case PARAM_AUTH: /* RFC 4954 5: who first submitted it; we trust nobody's word on that */
        return true;
    case PARAM_REQUIRETLS:
        mail->is_requiretls = true;
        return true;
    case PARAM_NOTIFY:
        return read_notify(value, &reading->rcpt->notify);
    case PARAM_ORCPT:
        return read_orcpt(value, reading->is_smtputf8, reading->rcpt);
    case PARAM_COUNT:
        break;
    }
    return false;
}

static const struct smtp_refusal *read_param(struct reading *reading, struct slice word)
{
    struct slice value = word;
    struct slice name = slice_cut(&value, '=');
    unsigned int param = 0;
    while (param < PARAM_COUNT && !slice_equal_nocase(name, params[param].name)) {
        param++;
    }
    if (param == PARAM_COUNT || (PARAM_BIT(param) & reading->allowed) == 0) {
        return &unknown_param;
    }
    if ((reading->seen & PARAM_BIT(param)) != 0) {
        return &twice_param;
    }
    reading->seen |= PARAM_BIT(param);
    bool has_value = value.data != NULL;
    if (has_value != params[param].has_value || (has_value && value.len == 0)) {
        return &bad_param;
    }
    return read_value(reading, (enum param)param, value) ? NULL : &bad_param;
}

static const struct smtp_refusal *read_params(struct reading *reading, struct slice rest)
{
    while (rest.data != NULL) {
        struct slice word = slice_cut(&rest, ' ');
        const struct smtp_refusal *refusal = word.len > 0 ? read_param(reading, word) : NULL;
        if (refusal != NULL) {
            return refusal;
        }
    }
    return NULL;
}

/* Takes "FROM:" or "TO:", spaces and the path off *rest, up to the space before the parameters. */
static bool read_head(struct slice *rest, struct slice word, struct smtp_path *path)
{
    if (!slice_starts_nocase(*rest, word)) {
        return false;
    }
    *rest = slice_from(*rest, word.len);
    while (take_byte(rest, ' ')) {
    }
    return take_path(rest, path) && (rest->len == 0 || rest->data[0] == ' ');
}

const struct smtp_refusal *smtp_mail_read(struct slice args, const struct smtp_offers *offers,
                                          uint64_t size_max, struct smtp_mail *mail)
{
    struct slice rest = args;
    struct reading reading = {.mail = mail, .allowed = offered(offers) & MAIL_PARAMS};
    *mail = (struct smtp_mail){.size_bytes = 0};
    if (!read_head(&rest, SLICE("FROM:"), &mail->from)) {
        return &bad_sender;
    }
    /* No domain: nobody could be told of a failure (RFC 5321 4.1.2 has it for RCPT only). */
    if (mail->from.text.len > 0 && mail->from.domain.len == 0) {
        return &bad_sender;
    }
    const struct smtp_refusal *refusal = read_params(&reading, rest);
    if (refusal != NULL) {
        return refusal;
    }
    if (mail->from.is_8bit && !mail->is_smtputf8) {
        return &needs_utf8;
    }
    return mail->size_bytes > size_max ? &too_large : NULL;
}

const struct smtp_refusal *smtp_rcpt_read(struct slice args, const struct smtp_offers *offers,
                                          bool is_smtputf8, struct smtp_rcpt *rcpt)
{
    struct slice rest = args;
    struct reading reading = {
        .rcpt = rcpt, .allowed = offered(offers) & RCPT_PARAMS, .is_smtputf8 = is_smtputf8};
    *rcpt = (struct smtp_rcpt){.notify = 0};
    if (!read_head(&rest, SLICE("TO:"), &rcpt->to) || rcpt->to.text.len == 0) {
        return &bad_rcpt;
    }
    /* RFC 5321 4.5.1 */
    if (rcpt->to.domain.len == 0 && !slice_equal_nocase(rcpt->to.local, SLICE("postmaster"))) {
        return &bad_rcpt;
    }
    const struct smtp_refusal *refusal = read_params(&reading, rest);
    if (refusal != NULL) {
        return refusal;
    }
    return rcpt->to.is_8bit && !is_smtputf8 ? &needs_utf8 : NULL;
}
