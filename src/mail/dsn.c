/* dsn.c - the table that turns replies into verdicts.
 *
 * The first rule that fits decides. What the table does not list falls to its last rows, which go
 * by the first digit, so every reply has a verdict. When in doubt a mail is tried again: a wrong
 * bounce is seen by the customer, a wrong retry by nobody.
 */
#include "mail/dsn.h"

#include "base/check.h"

#include <string.h>

/* ---- the rules ------------------------------------------------------------------------------ */

#define ON(step) (UINT32_C(1) << SMTP_STEP_##step)
#define ANY      ((UINT32_C(1) << SMTP_STEP_COUNT) - 1)
/* Before a mail is named, an answer can only be about the host. */
#define EARLY                                                                                      \
    (ON(RESOLVE) | ON(CONNECT) | ON(TLS) | ON(GREETING) | ON(EHLO) | ON(STARTTLS) | ON(AUTH))
#define IN_MAIL (ON(MAIL) | ON(RCPT) | ON(DATA) | ON(BODY))
#define BY_STEP 3 /* scope: the recipient at RCPT, else the mail */

struct rule {
    uint32_t steps;
    uint16_t first_code;
    uint16_t last_code;
    const char *detail; /* ".subject.detail" of the enhanced status; NULL: any or none */
    enum verdict_class class;
    uint8_t scope; /* enum verdict_scope or BY_STEP */
};

static const struct rule rules[] = {
    /* The service is closing, at any time: RFC 5321 3.8. */
    {ANY, 421, 421, NULL, VERDICT_DEFERRED, VERDICT_HOST},

    /* Success. DATA must be answered with 354: after 2yz no mail was sent, so it cannot have been
     * delivered (RFC 5321 4.3.2). */
    {ON(DATA), 354, 354, NULL, VERDICT_DELIVERED, BY_STEP},
    {ON(DATA), 200, 299, NULL, VERDICT_DEFERRED, VERDICT_HOST},
    {ON(AUTH), 334, 334, NULL, VERDICT_DELIVERED, VERDICT_HOST},
    {IN_MAIL, 200, 299, NULL, VERDICT_DELIVERED, BY_STEP},
    {ANY, 200, 299, NULL, VERDICT_DELIVERED, VERDICT_HOST},

    /* A host that refuses to talk is one host; others may serve: RFC 5321 5.1. Wrong credentials
     * are the operator's to mend, while the mail waits. */
    {EARLY | ON(RSET) | ON(QUIT), 0, UINT16_MAX, NULL, VERDICT_DEFERRED, VERDICT_HOST},

    /* Too many recipients (RFC 5321 4.5.3.1.10: 552 means 452), and full mailboxes, which empty. */
    {ON(RCPT), 552, 552, ".3.4", VERDICT_BOUNCED, VERDICT_RCPT},
    {ON(RCPT), 552, 552, ".2.3", VERDICT_BOUNCED, VERDICT_RCPT},
    {ON(RCPT), 552, 552, NULL, VERDICT_DEFERRED, VERDICT_RCPT},
    {ON(RCPT), 500, 599, ".5.3", VERDICT_DEFERRED, VERDICT_RCPT},
    {ON(BODY), 552, 552, ".2.2", VERDICT_DEFERRED, VERDICT_MAIL},

    /* The system does not take mail now; another host of the site may. At RCPT this stays with the
     * recipient, because others may already have been accepted. */
    {ON(MAIL) | ON(DATA) | ON(BODY), 400, 499, ".3.2", VERDICT_DEFERRED, VERDICT_HOST},
    {ON(MAIL), 452, 452, NULL, VERDICT_DEFERRED, VERDICT_HOST},

    /* By the first digit: RFC 5321 4.2.1. */
    {IN_MAIL, 400, 499, NULL, VERDICT_DEFERRED, BY_STEP},
    {IN_MAIL, 500, 599, NULL, VERDICT_BOUNCED, BY_STEP},
    {ANY, 0, UINT16_MAX, NULL, VERDICT_DEFERRED, BY_STEP},
};

/* An enhanced status for servers that give none: RFC 3463, RFC 5248. 550 and 554 are used for
 * everything, so nothing is claimed about them. */
static const struct {
    uint32_t steps;
    uint16_t code;
    char enhanced[8];
} derived[] = {
    {ANY, 421, "4.3.2"},      {ANY, 450, "4.2.0"}, {ANY, 451, "4.3.0"}, {ANY, 452, "4.3.1"},
    {ANY, 454, "4.7.0"},      {ANY, 455, "4.5.4"}, {ANY, 500, "5.5.2"}, {ANY, 501, "5.5.4"},
    {ANY, 502, "5.5.1"},      {ANY, 503, "5.5.1"}, {ANY, 504, "5.5.4"}, {ANY, 521, "5.3.2"},
    {ANY, 530, "5.7.0"},      {ANY, 534, "5.7.9"}, {ANY, 535, "5.7.8"}, {ANY, 538, "5.7.11"},
    {ANY, 551, "5.1.6"},      {ANY, 553, "5.1.3"}, {ANY, 555, "5.5.4"}, {ANY, 556, "5.1.10"},
    {ON(RCPT), 552, "5.2.2"}, {ANY, 552, "5.3.4"},
};

static const struct rule *find_rule(enum smtp_step step, uint16_t code, struct slice detail);
static enum verdict_scope scope_of_step(enum smtp_step step);
static const char *derive_enhanced(enum smtp_step step, uint16_t code, enum verdict_class class);
static bool is_enhanced(struct slice enhanced, uint16_t code);
static void copy_text(struct verdict *verdict, struct slice text);
static size_t char_len(struct slice text);

void verdict_from_reply(struct verdict *verdict, enum smtp_step step, uint16_t code,
                        struct slice enhanced, struct slice text)
{
    CHECK(step < SMTP_STEP_COUNT);
    *verdict = (struct verdict){.step = step, .code = code};
    /* A status of another class than the code's, or none, must not choose the rule. */
    if (!is_enhanced(enhanced, code)) {
        enhanced = SLICE("");
    }
    const struct rule *rule = find_rule(step, code, slice_from(enhanced, 1));
    verdict->class = rule->class;
    verdict->scope = rule->scope == BY_STEP ? scope_of_step(step) : (enum verdict_scope)rule->scope;
    if (enhanced.len == 0) {
        enhanced = slice_str(derive_enhanced(step, code, rule->class));
    }
    memcpy(verdict->enhanced, enhanced.data, enhanced.len);
    copy_text(verdict, text);
}

static const struct rule *find_rule(enum smtp_step step, uint16_t code, struct slice detail)
{
    const struct rule *rule = rules;
    while ((rule->steps & (UINT32_C(1) << step)) == 0 || code < rule->first_code ||
           code > rule->last_code ||
           (rule->detail != NULL && !slice_equal(slice_str(rule->detail), detail))) {
        rule++; /* ends: the last rule fits everything */
    }
    return rule;
}

static enum verdict_scope scope_of_step(enum smtp_step step)
{
    return step == SMTP_STEP_RCPT ? VERDICT_RCPT : VERDICT_MAIL;
}

/* Our own words: what we could not do concerns the connection, unless it is final. A name without
 * mail service is a fault of the address. */
void verdict_own(struct verdict *verdict, enum smtp_step step, enum verdict_class class,
                 const char *enhanced, const char *text)
{
    CHECK(step < SMTP_STEP_COUNT);
    CHECK(strlen(enhanced) < sizeof(verdict->enhanced));
    *verdict = (struct verdict){.class = class, .step = step, .scope = VERDICT_HOST};
    if (class != VERDICT_DEFERRED) {
        bool is_address = step == SMTP_STEP_RESOLVE || step == SMTP_STEP_RCPT;
        verdict->scope = is_address ? VERDICT_RCPT : VERDICT_MAIL;
    }
    memcpy(verdict->enhanced, enhanced, strlen(enhanced));
    copy_text(verdict, slice_str(text));
}

void verdict_from_report(struct verdict *verdict, bool is_final, uint16_t code,
                         struct slice enhanced, struct slice text)
{
    *verdict = (struct verdict){
        .class = is_final ? VERDICT_BOUNCED : VERDICT_DEFERRED,
        .scope = VERDICT_RCPT,
        .step = SMTP_STEP_RCPT,
        .code = code,
    };
    /* A failure for good may well be of a class that passes: its time was over. */
    if (!is_enhanced(enhanced, 500) && !is_enhanced(enhanced, 400)) {
        enhanced = slice_str(code != 0  ? derive_enhanced(SMTP_STEP_RCPT, code, verdict->class)
                             : is_final ? "5.0.0"
                                        : "4.0.0");
    }
    memcpy(verdict->enhanced, enhanced.data, enhanced.len);
    copy_text(verdict, text);
}

const char *smtp_step_name(enum smtp_step step)
{
    static const char *const names[] = {
        [SMTP_STEP_RESOLVE] = "resolve", [SMTP_STEP_CONNECT] = "connect",
        [SMTP_STEP_TLS] = "tls",         [SMTP_STEP_GREETING] = "greeting",
        [SMTP_STEP_EHLO] = "ehlo",       [SMTP_STEP_STARTTLS] = "starttls",
        [SMTP_STEP_AUTH] = "auth",       [SMTP_STEP_MAIL] = "mail",
        [SMTP_STEP_RCPT] = "rcpt",       [SMTP_STEP_DATA] = "data",
        [SMTP_STEP_BODY] = "body",       [SMTP_STEP_RSET] = "rset",
        [SMTP_STEP_QUIT] = "quit",
    };
    _Static_assert(ARRAY_LEN(names) == SMTP_STEP_COUNT, "every step has a name");
    CHECK(step < SMTP_STEP_COUNT);
    return names[step];
}

/* ---- what a verdict shows ------------------------------------------------------------------- */

static const char *derive_enhanced(enum smtp_step step, uint16_t code, enum verdict_class class)
{
    for (size_t i = 0; i < ARRAY_LEN(derived); i++) {
        if (derived[i].code == code && (derived[i].steps & (UINT32_C(1) << step)) != 0) {
            return derived[i].enhanced;
        }
    }
    if (class == VERDICT_DELIVERED) {
        return "2.0.0";
    }
    switch (code / 100) {
    case 4:
        return "4.0.0";
    case 5:
        return "5.0.0";
    default:
        return "4.5.0"; /* the protocol was not followed */
    }
}

/* class "." subject "." detail with the class of the reply code (RFC 3463 2, RFC 2034 4). */
static bool is_enhanced(struct slice enhanced, uint16_t code)
{
    struct slice rest = enhanced;
    struct slice class = slice_cut(&rest, '.');
    struct slice subject = slice_cut(&rest, '.');
    uint64_t number = 0;
    if (slice_uint(class, 5, &number) != ERR_OK || class.len != 1 || number != code / 100U) {
        return false;
    }
    return subject.len <= 3 && slice_uint(subject, 999, &number) == ERR_OK && rest.len <= 3 &&
           slice_uint(rest, 999, &number) == ERR_OK;
}

/* What a stranger wrote will be stored, put into JSON and shown: well-formed UTF-8 without
 * controls, cut between characters. */
static void copy_text(struct verdict *verdict, struct slice text)
{
    size_t len = 0;
    text = slice_trim(text);
    while (text.len > 0) {
        size_t take = char_len(text);
        size_t bytes = take > 0 ? take : 1;
        if (len + bytes >= sizeof(verdict->text)) {
            break;
        }
        if (take > 0) {
            memcpy(verdict->text + len, text.data, bytes);
        } else {
            verdict->text[len] = ascii_is_space(text.data[0]) ? ' ' : '?';
        }
        len += bytes;
        text = slice_from(text, bytes);
    }
    verdict->text[len] = '\0';
}

/* Length of the printable character (or line feed) that text starts with; 0 when it is none. */
static size_t char_len(struct slice text)
{
    unsigned char lead = (unsigned char)text.data[0];
    if (lead < 0x80) {
        return (lead >= ' ' && lead != 0x7f) || lead == '\n' ? 1 : 0;
    }
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    struct slice whole = slice_head(text, len);
    /* U+0080 to U+009F are controls. */
    bool is_control = lead == 0xc2 && whole.len == 2 && (unsigned char)whole.data[1] < 0xa0;
    return whole.len == len && slice_is_utf8(whole) && !is_control ? len : 0;
}
