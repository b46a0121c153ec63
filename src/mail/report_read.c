/* report_read.c - see report_read.h.
 *
 *   message/feedback-report, or Outlook's way       complaint
 *   message/delivery-status                         DSN
 *   a receipt                                       automatic reply
 *   X-Failed-Recipients; qmail; sendmail of old     DSN, if it came from <>
 *   Auto-Submitted and its kin                      automatic reply
 */
#include "mail/report_read.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/limits.h"
#include "mail/header.h"

#include <string.h>

#define TOKEN_ID_HEX    32
#define TOKEN_CHECK_HEX 8
#define GROUP_DIGITS    10
#define PARAGRAPH_MAX   (4 * KIB)
#define OLD_TEXT_MAX    (64 * KIB) /* of a bounce for people; each recipient is looked for in it */

static bool read_complaint(const struct mime_read *mail, struct arena *arena,
                           struct report_read *report);
static bool read_status(const struct mime_read *mail, struct arena *arena,
                        struct report_read *report);
static bool read_old_form(const struct mime_read *mail, struct arena *arena,
                          struct report_read *report);
static bool is_auto_reply(const struct mime_read *mail);
static const struct mime_report *find_part(const struct mime_read *mail,
                                           enum mime_report_kind kind);
static void read_blocks(struct slice data, struct arena *arena, struct report_read *report);
static void add_rcpt(struct report_read *report, const struct report_rcpt *rcpt);
static void read_diagnostic(struct slice value, struct arena *arena, struct report_rcpt *rcpt);
static void read_reply(struct slice text, struct arena *arena, struct report_rcpt *rcpt);
static void read_original(const struct mime_read *mail, struct arena *arena,
                          struct report_read *report);
static void add_token(struct report_read *report, struct slice text, struct arena *arena);

const char *report_kind_text(enum report_kind kind)
{
    static const char *const texts[] = {
        [REPORT_NONE] = "",
        [REPORT_DSN] = "dsn",
        [REPORT_COMPLAINT] = "arf",
        [REPORT_AUTO_REPLY] = "auto-reply",
    };
    CHECK(kind < ARRAY_LEN(texts));
    return texts[kind];
}

void report_read(const struct mime_read *mail, bool has_null_sender, struct arena *arena,
                 struct report_read *report)
{
    memset(report, 0, sizeof *report);
    report->rcpts = arena_array(arena, REPORT_RCPTS_MAX, sizeof *report->rcpts);
    report->complainers = arena_array(arena, REPORT_RCPTS_MAX, sizeof *report->complainers);
    if (read_complaint(mail, arena, report)) {
        report->kind = REPORT_COMPLAINT;
    } else if (read_status(mail, arena, report)) {
        report->kind = REPORT_DSN;
    } else if (find_part(mail, MIME_REPORT_DISPOSITION) != NULL) {
        report->kind = REPORT_AUTO_REPLY;
    } else if (has_null_sender && read_old_form(mail, arena, report)) {
        report->kind = REPORT_DSN;
    } else if (is_auto_reply(mail)) {
        report->kind = REPORT_AUTO_REPLY;
    }
}

void report_verdict(const struct report_rcpt *rcpt, struct verdict *verdict)
{
    verdict_from_report(verdict, rcpt->action == REPORT_ACTION_FAILED, rcpt->code, rcpt->status,
                        rcpt->text);
}

/* ---- small things --------------------------------------------------------------------------- */

static const struct mime_report *find_part(const struct mime_read *mail, enum mime_report_kind kind)
{
    for (uint32_t i = 0; i < mail->report_count; i++) {
        if (mail->reports[i].kind == kind) {
            return &mail->reports[i];
        }
    }
    return NULL;
}

static bool is_blank(char c)
{
    return ascii_is_space(c);
}

static struct slice next_word(struct slice *rest)
{
    struct slice left = slice_trim(*rest);
    size_t end = 0;
    while (end < left.len && !is_blank(left.data[end])) {
        end++;
    }
    *rest = slice_from(left, end);
    return slice_head(left, end);
}

/* One line of at most max bytes, runs of blanks and line ends as one blank. */
static struct slice unfold(struct slice value, size_t max, struct arena *arena)
{
    struct slice left = slice_head(slice_trim(value), 4 * max);
    char *out = arena_bytes(arena, min_size(left.len, max));
    size_t len = 0;
    for (size_t i = 0; i < left.len && len < max; i++) {
        char c = is_blank(left.data[i]) ? ' ' : left.data[i];
        if (c != ' ' || (len > 0 && out[len - 1] != ' ')) {
            out[len++] = c;
        }
    }
    return slice_trim(slice_of(out, len));
}

/* "type; value" of RFC 3464 2.1.2; the type may be missing. */
static struct slice behind_type(struct slice value, struct slice *type)
{
    size_t semicolon = slice_find_byte(value, ';');
    struct slice front = slice_trim(slice_head(value, semicolon));
    *type = SLICE("");
    if (semicolon == SIZE_MAX || slice_has_byte(front, '@') || slice_has_byte(front, ' ')) {
        return slice_trim(value);
    }
    *type = front;
    return slice_trim(slice_from(value, semicolon + 1));
}

/* Without type, comment and angle brackets; empty when it can be no address. */
static struct slice address_in(struct slice value, struct arena *arena)
{
    struct slice type;
    struct slice text = behind_type(unfold(value, 2 * ADDR_MAX, arena), &type);
    size_t open = slice_find_byte(text, '<');
    if (open != SIZE_MAX) {
        text = slice_from(text, open + 1);
        text = slice_head(text, slice_find_byte(text, '>'));
    }
    struct slice word = next_word(&text);
    bool is_one = slice_has_byte(word, '@') && word.len <= ADDR_MAX && slice_is_utf8(word) &&
                  !slice_has_control(word, "");
    return is_one ? word : SLICE("");
}

/* Of xtext: capitals only. 16 and more for anything else. */
static unsigned hex_of(char c)
{
    return ascii_is_digit(c)      ? (unsigned)(c - '0')
           : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                  : 16;
}

/* RFC 3461 4: a reporter gives the recipient back as it was named to it, '+' and '=' and all bytes
 * beyond ASCII as "+XX". Some decode it first; then a '+' stands for itself, and all stays so. */
static struct slice xtext_decoded(struct slice text, struct arena *arena)
{
    char *out = arena_bytes(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '+') {
            out[len++] = text.data[i];
            continue;
        }
        bool has_both = text.len - i > 2;
        unsigned high = has_both ? hex_of(text.data[i + 1]) : 16;
        unsigned low = has_both ? hex_of(text.data[i + 2]) : 16;
        unsigned byte = high * 16 + low;
        if (high > 15 || low > 15 || (byte != '+' && byte != '=' && byte < 0x80)) {
            return text;
        }
        out[len++] = (char)(unsigned char)byte;
        i += 2;
    }
    struct slice decoded = slice_of(out, len);
    return slice_is_utf8(decoded) && !slice_has_control(decoded, "") ? decoded : text;
}

static struct slice host_in(struct slice value, struct arena *arena)
{
    struct slice type;
    struct slice text = behind_type(unfold(value, DOMAIN_MAX, arena), &type);
    struct slice word = next_word(&text);
    return slice_ends(word, SLICE(".")) ? slice_head(word, word.len - 1) : word;
}

/* class.subject.detail (RFC 3463 2); empty when it is none. */
static struct slice status_in(struct slice text)
{
    struct slice word = next_word(&text);
    size_t end = 0;
    uint32_t dots = 0;
    while (end < word.len && (ascii_is_digit(word.data[end]) || word.data[end] == '.')) {
        dots += word.data[end] == '.';
        end++;
    }
    word = slice_head(word, end);
    bool is_one = dots == 2 && word.len >= 5 && word.len <= 9 && word.data[1] == '.' &&
                  word.data[2] != '.' && word.data[word.len - 1] != '.' &&
                  (word.data[0] == '2' || word.data[0] == '4' || word.data[0] == '5');
    return is_one ? word : SLICE("");
}

/* ---- DSN ------------------------------------------------------------------------------------ */

static bool read_status(const struct mime_read *mail, struct arena *arena,
                        struct report_read *report)
{
    bool is_found = false;
    for (uint32_t i = 0; i < mail->report_count; i++) {
        if (mail->reports[i].kind == MIME_REPORT_DELIVERY) {
            read_blocks(mail->reports[i].data, arena, report);
            is_found = true;
        }
    }
    return is_found;
}

static struct slice skip_empty_lines(struct slice rest)
{
    while (rest.len > 0 && (rest.data[0] == '\n' || rest.data[0] == '\r')) {
        rest = slice_from(rest, 1);
    }
    return rest;
}

static enum report_action action_of(struct slice value, struct slice status)
{
    struct slice word = slice_trim(value);
    if (slice_starts_nocase(word, SLICE("fail"))) {
        return REPORT_ACTION_FAILED;
    }
    if (slice_starts_nocase(word, SLICE("delay"))) {
        return REPORT_ACTION_DELAYED;
    }
    if (word.len > 0) {
        return REPORT_ACTION_OTHER;
    }
    return slice_starts(status, SLICE("5"))   ? REPORT_ACTION_FAILED
           : slice_starts(status, SLICE("4")) ? REPORT_ACTION_DELAYED
                                              : REPORT_ACTION_OTHER;
}

/* RFC 3464 2: a block about the mail, then one for each recipient. */
static void read_blocks(struct slice data, struct arena *arena, struct report_read *report)
{
    struct slice rest = skip_empty_lines(data);
    struct slice reporter = SLICE("");
    uint32_t fields = 0;
    while (rest.len > 0 && fields < REPORT_LINES_MAX && report->rcpt_count < REPORT_RCPTS_MAX) {
        struct report_rcpt rcpt = {.host = reporter};
        struct header_field field;
        struct slice action = SLICE("");
        struct slice diagnostic = SLICE("");
        bool has_rcpt = false;
        while (fields++ < REPORT_LINES_MAX && header_next(&rest, &field)) {
            if (slice_equal_nocase(field.name, SLICE("Final-Recipient"))) {
                rcpt.final = address_in(field.value, arena);
                has_rcpt = true;
            } else if (slice_equal_nocase(field.name, SLICE("Original-Recipient"))) {
                rcpt.original = xtext_decoded(address_in(field.value, arena), arena);
                has_rcpt = true;
            } else if (slice_equal_nocase(field.name, SLICE("Action"))) {
                action = field.value;
            } else if (slice_equal_nocase(field.name, SLICE("Status"))) {
                rcpt.status = arena_dup(arena, status_in(field.value));
            } else if (slice_equal_nocase(field.name, SLICE("Diagnostic-Code"))) {
                diagnostic = field.value;
            } else if (slice_equal_nocase(field.name, SLICE("Remote-MTA"))) {
                rcpt.host = host_in(field.value, arena);
            } else if (slice_equal_nocase(field.name, SLICE("Reporting-MTA"))) {
                reporter = host_in(field.value, arena);
            }
        }
        rest = skip_empty_lines(rest);
        if (has_rcpt) {
            read_diagnostic(diagnostic, arena, &rcpt);
            rcpt.action = action_of(action, rcpt.status);
            add_rcpt(report, &rcpt);
        }
    }
}

static void add_rcpt(struct report_read *report, const struct report_rcpt *rcpt)
{
    if (report->rcpt_count < REPORT_RCPTS_MAX) {
        report->rcpts[report->rcpt_count++] = *rcpt;
    }
}

static void read_diagnostic(struct slice value, struct arena *arena, struct report_rcpt *rcpt)
{
    struct slice type;
    struct slice text = behind_type(unfold(value, 2 * VERDICT_TEXT_MAX, arena), &type);
    read_reply(text, arena, rcpt);
}

/* The code that a reply begins with, or 0. */
static uint16_t code_in(struct slice word)
{
    uint64_t code = 0;
    bool is_one = word.len >= 3 && slice_uint(slice_head(word, 3), 599, &code) == ERR_OK &&
                  code >= 200 && (word.len == 3 || word.data[3] == '-');
    return is_one ? (uint16_t)code : 0;
}

static bool is_vague(struct slice status)
{
    return status.len == 0 || slice_ends(status, SLICE(".0.0"));
}

/* "550-5.1.1 text 550 5.1.1 more text": code, status, and the words without either. */
static void read_reply(struct slice text, struct arena *arena, struct report_rcpt *rcpt)
{
    struct slice rest = text;
    struct buf words;
    bool was_code = false;
    buf_init(&words, 2 * VERDICT_TEXT_MAX);
    for (bool is_first = true; slice_trim(rest).len > 0; is_first = false) {
        struct slice word = next_word(&rest);
        uint16_t code = code_in(word);
        if (is_first) {
            rcpt->code = code;
        }
        bool is_code = code != 0 && code == rcpt->code;
        struct slice status = status_in(is_code && word.len > 4 ? slice_from(word, 4)
                                        : was_code              ? word
                                                                : SLICE(""));
        if (status.len > 0 && is_vague(rcpt->status)) {
            rcpt->status = arena_dup(arena, status);
        }
        bool is_number = (is_code && (word.len <= 4 || status.len + 4 == word.len)) ||
                         (was_code && status.len > 0 && status.len == word.len);
        if (!is_number) {
            if (words.len > 0) {
                buf_add_byte(&words, ' ');
            }
            buf_add(&words, is_code ? slice_from(word, 4) : word);
        }
        was_code = is_code && word.len <= 4;
    }
    rcpt->text = arena_dup(arena, slice_of(words.data, words.len));
    buf_fini(&words);
}

/* ---- DSN as they were written before RFC 3464 ------------------------------------------------ */

static struct slice next_line(struct slice *rest)
{
    struct slice line = slice_cut(rest, '\n');
    return slice_ends(line, SLICE("\r")) ? slice_head(line, line.len - 1) : line;
}

/* What a server said, within our own words or another's: ": 550 5.1.1 no". */
static struct slice reply_in(struct slice text)
{
    for (size_t i = 0; i + 4 <= text.len; i++) {
        bool is_start = i == 0 || text.data[i - 1] == ' ';
        bool is_refusal = text.data[i] == '4' || text.data[i] == '5';
        bool is_ended = text.data[i + 3] == ' ' || text.data[i + 3] == '-';
        if (is_start && is_refusal && is_ended && code_in(slice_sub(text, i, 3)) != 0) {
            return slice_from(text, i);
        }
    }
    return SLICE("");
}

/* "(#5.1.1)" as qmail writes. */
static struct slice marked_status(struct slice text)
{
    size_t at = slice_find(text, SLICE("(#"));
    return at == SIZE_MAX ? SLICE("") : status_in(slice_from(text, at + 2));
}

/* A recipient and the paragraph that says why. */
static void add_old(struct slice address, struct slice why, struct arena *arena,
                    struct report_read *report)
{
    struct slice text = unfold(why, 2 * VERDICT_TEXT_MAX, arena);
    struct report_rcpt rcpt = {
        .action = REPORT_ACTION_FAILED,
        .final = address_in(address, arena),
        .status = marked_status(text),
    };
    struct slice reply = reply_in(text);
    read_reply(reply.len > 0 ? reply : text, arena, &rcpt);
    add_rcpt(report, &rcpt);
}

/* From the line that names the address to the next empty one, without that line. */
static struct slice paragraph_about(struct slice text, struct slice address)
{
    struct slice rest = text;
    for (uint32_t n = 0; rest.data != NULL && n < REPORT_LINES_MAX; n++) {
        struct slice line = next_line(&rest);
        if (slice_find(line, address) != SIZE_MAX && rest.data != NULL) {
            size_t end = slice_find(rest, SLICE("\n\n"));
            return slice_head(slice_head(rest, end), PARAGRAPH_MAX);
        }
    }
    return SLICE("");
}

/* They say what they have to say in front of the mail that they quote. */
static struct slice old_text(const struct mime_read *mail)
{
    return slice_head(mail->text.text, OLD_TEXT_MAX);
}

static bool read_failed_list(const struct mime_read *mail, struct arena *arena,
                             struct report_read *report)
{
    struct slice list = mime_field_value(mail, SLICE("X-Failed-Recipients"));
    while (list.data != NULL && list.len > 0 && report->rcpt_count < REPORT_RCPTS_MAX) {
        struct slice address = address_in(slice_cut(&list, ','), arena);
        if (address.len > 0) {
            add_old(address, paragraph_about(old_text(mail), address), arena, report);
        }
    }
    return report->rcpt_count > 0;
}

/* https://cr.yp.to/proto/qsbmf.txt: "Hi. This is the", then "<address>:" and a reason each. */
static bool read_qmail(const struct mime_read *mail, struct arena *arena,
                       struct report_read *report)
{
    struct slice rest = old_text(mail);
    while (rest.len > 0 && rest.data[0] == '\n') {
        rest = slice_from(rest, 1);
    }
    if (!slice_starts(rest, SLICE("Hi. This is the"))) {
        return false;
    }
    while (rest.data != NULL && report->rcpt_count < REPORT_RCPTS_MAX) {
        size_t end = slice_find(rest, SLICE("\n\n"));
        struct slice paragraph = slice_head(rest, end);
        rest = end == SIZE_MAX ? slice_of(NULL, 0) : slice_from(rest, end + 2);
        if (slice_starts(paragraph, SLICE("---"))) {
            break;
        }
        struct slice why = paragraph;
        struct slice first = next_line(&why);
        if (slice_starts(first, SLICE("<")) && slice_ends(first, SLICE(">:"))) {
            add_old(first, slice_head(why, PARAGRAPH_MAX), arena, report);
        }
    }
    return report->rcpt_count > 0;
}

/* "----- The following addresses had permanent fatal errors -----". */
static bool read_sendmail(const struct mime_read *mail, struct arena *arena,
                          struct report_read *report)
{
    struct slice rest = old_text(mail);
    size_t at = slice_find(rest, SLICE("had permanent fatal errors -----"));
    if (at == SIZE_MAX) {
        return false;
    }
    rest = slice_from(rest, at);
    (void)next_line(&rest); /* the headline */
    while (rest.data != NULL && report->rcpt_count < REPORT_RCPTS_MAX) {
        struct slice line = slice_trim(next_line(&rest));
        if (line.len == 0 || slice_starts(line, SLICE("---"))) {
            break;
        }
        if (slice_starts(line, SLICE("<"))) {
            size_t reason = slice_find(rest, SLICE("(reason: "));
            size_t end = slice_find(rest, SLICE("\n"));
            bool has_reason = reason != SIZE_MAX && reason < end;
            struct slice why =
                has_reason ? slice_sub(rest, reason + 9, end - reason - 9) : SLICE("");
            add_old(line, slice_head(why, PARAGRAPH_MAX), arena, report);
        }
    }
    return report->rcpt_count > 0;
}

static bool read_old_form(const struct mime_read *mail, struct arena *arena,
                          struct report_read *report)
{
    return read_failed_list(mail, arena, report) || read_qmail(mail, arena, report) ||
           read_sendmail(mail, arena, report);
}

/* ---- complaints ----------------------------------------------------------------------------- */

/* Of RFC 5965 7.3 and what was registered since; auth-failure (RFC 6591), dmarc and not-spam are
 * about something else. */
static bool is_spam_type(struct slice type)
{
    static const struct slice types[] = {
        SLICE_INIT("abuse"),   SLICE_INIT("fraud"),        SLICE_INIT("virus"),
        SLICE_INIT("opt-out"), SLICE_INIT("opt-out-list"), SLICE_INIT("miscategorized"),
        SLICE_INIT("other"),
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (slice_equal(type, types[i])) {
            return true;
        }
    }
    return false;
}

static void add_complainer(struct report_read *report, struct slice value, struct arena *arena)
{
    if (report->complainer_count == REPORT_RCPTS_MAX) {
        return;
    }
    struct slice address = address_in(value, arena);
    if (address.len > 0) {
        report->complainers[report->complainer_count++] = address;
    }
}

static bool read_complaint(const struct mime_read *mail, struct arena *arena,
                           struct report_read *report)
{
    const struct mime_report *part = find_part(mail, MIME_REPORT_FEEDBACK);
    if (part == NULL) {
        /* Outlook's programme: the mail itself, with a line of theirs in its header. */
        bool is_bare = find_part(mail, MIME_REPORT_DELIVERY) == NULL;
        read_original(mail, arena, report);
        if (is_bare && report->complainer_count > 0) {
            report->feedback_type = SLICE("abuse");
            report->is_spam = true;
            return true;
        }
        report->complainer_count = 0;
        report->token_count = 0;
        return false;
    }
    struct slice rest = skip_empty_lines(part->data);
    struct header_field field;
    for (uint32_t n = 0; n < REPORT_LINES_MAX && header_next(&rest, &field); n++) {
        if (slice_equal_nocase(field.name, SLICE("Feedback-Type"))) {
            struct slice type = unfold(field.value, 64, arena);
            report->feedback_type = arena_lower(arena, next_word(&type));
        } else if (slice_equal_nocase(field.name, SLICE("Original-Rcpt-To")) ||
                   slice_equal_nocase(field.name, SLICE("Removal-Recipient"))) {
            add_complainer(report, field.value, arena);
        } else if (slice_equal_nocase(field.name, SLICE("Original-Mail-From"))) {
            add_token(report, field.value, arena);
        }
    }
    report->is_spam = is_spam_type(report->feedback_type);
    read_original(mail, arena, report);
    return true;
}

/* The header of the mail that it is about: ours begins with fields that name it. */
static void read_header(struct slice data, struct arena *arena, struct report_read *report)
{
    struct slice rest = skip_empty_lines(data);
    struct header_field field;
    for (uint32_t n = 0; n < REPORT_LINES_MAX && header_next(&rest, &field); n++) {
        if (slice_equal_nocase(field.name, SLICE(REPORT_TOKEN_FIELD)) ||
            slice_equal_nocase(field.name, SLICE("Return-Path"))) {
            add_token(report, field.value, arena);
        } else if (slice_equal_nocase(field.name, SLICE("X-HmXmrOriginalRecipient"))) {
            add_complainer(report, field.value, arena);
        }
    }
}

static void read_original(const struct mime_read *mail, struct arena *arena,
                          struct report_read *report)
{
    for (uint32_t i = 0; i < mail->report_count; i++) {
        if (mail->reports[i].kind == MIME_REPORT_HEADERS) {
            read_header(mail->reports[i].data, arena, report);
        }
    }
    for (uint32_t i = 0; i < mail->file_count; i++) {
        struct slice type = mail->files[i].content_type;
        if (slice_equal(type, SLICE("message/rfc822")) ||
            slice_equal(type, SLICE("message/global"))) {
            read_header(mail->files[i].data, arena, report);
        }
    }
}

static void add_token(struct report_read *report, struct slice text, struct arena *arena)
{
    struct slice token;
    if (report->token_count < REPORT_TOKENS_MAX && report_token_find(text, &token)) {
        report->tokens[report->token_count++] = arena_lower(arena, token);
    }
}

static size_t run_of(struct slice text, size_t at, size_t max, bool is_hex)
{
    size_t len = 0;
    while (len < max && at + len < text.len) {
        char c = ascii_lower(text.data[at + len]);
        if (!ascii_is_digit(c) && !(is_hex && c >= 'a' && c <= 'f')) {
            break;
        }
        len++;
    }
    return len;
}

bool report_token_find(struct slice text, struct slice *token)
{
    for (size_t i = 0; i + 2 + TOKEN_ID_HEX < text.len; i++) {
        if (ascii_lower(text.data[i]) != 'b' || text.data[i + 1] != '.') {
            continue;
        }
        size_t at = i + 2;
        if (run_of(text, at, TOKEN_ID_HEX, true) != TOKEN_ID_HEX ||
            text.data[at + TOKEN_ID_HEX] != '.') {
            continue;
        }
        at += TOKEN_ID_HEX + 1;
        size_t digits = run_of(text, at, GROUP_DIGITS, false);
        at += digits;
        if (digits == 0 || at >= text.len || text.data[at] != '.') {
            continue;
        }
        if (run_of(text, at + 1, TOKEN_CHECK_HEX, true) == TOKEN_CHECK_HEX) {
            *token = slice_sub(text, i, at + 1 + TOKEN_CHECK_HEX - i);
            return true;
        }
    }
    return false;
}

/* ---- automatic replies ---------------------------------------------------------------------- */

static bool is_auto_reply(const struct mime_read *mail)
{
    static const struct slice fields[] = {
        SLICE_INIT("X-Autoreply"),  SLICE_INIT("X-Autorespond"), SLICE_INIT("X-Autoresponder"),
        SLICE_INIT("X-Auto-Reply"), SLICE_INIT("X-Vacation"),    SLICE_INIT("X-Auto-Response-From"),
    };
    static const struct slice subjects[] = {
        SLICE_INIT("out of office"),
        SLICE_INIT("out of the office"),
        SLICE_INIT("automatic reply"),
        SLICE_INIT("auto reply"),
        SLICE_INIT("autoreply"),
        SLICE_INIT("auto-reply"),
        SLICE_INIT("auto:"),
        SLICE_INIT("automatische antwort"),
        SLICE_INIT("abwesenheit"),
        SLICE_INIT("r\xc3\xa9ponse automatique"),
        SLICE_INIT("respuesta autom"),
        SLICE_INIT("risposta automatica"),
        SLICE_INIT("automatisch antwoord"),
        SLICE_INIT("resposta autom"),
        SLICE_INIT("vacation"),
        SLICE_INIT("away from"),
    };
    struct slice said = slice_trim(mail->auto_submitted);
    if (said.len > 0 && !slice_starts_nocase(said, SLICE("no"))) {
        return true; /* RFC 3834 5 */
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (mime_field_value(mail, fields[i]).len > 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        if (slice_starts_nocase(slice_trim(mail->subject), subjects[i])) {
            return true;
        }
    }
    struct slice precedence = slice_trim(mail->precedence);
    return slice_equal_nocase(precedence, SLICE("auto_reply")) ||
           slice_equal_nocase(precedence, SLICE("bulk")) ||
           slice_equal_nocase(precedence, SLICE("junk"));
}
