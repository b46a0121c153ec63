/* feedback.c - the table that tells a full mailbox from an angry host. */
#include "deliver/feedback.h"

#include "base/check.h"
#include "base/slice.h"

#include <string.h>

/* The first rule that fits decides. Words are looked for without case, in the enhanced status and
 * the text together. */
struct rule {
    uint16_t first_code;
    uint16_t last_code;
    const char *words;
    enum feedback feedback;
};

static const struct rule rules[] = {
    /* About one sender, recipient and address: it passes by itself. */
    {450, 451, "greylist", FEEDBACK_NONE},
    {450, 451, "graylist", FEEDBACK_NONE},
    {450, 451, "grey list", FEEDBACK_NONE},
    {450, 451, "gray list", FEEDBACK_NONE},
    {450, 451, "greylisting", FEEDBACK_NONE},
    {450, 451, "not seen before", FEEDBACK_NONE},

    {400, 499, "too many connection", FEEDBACK_CROWDED},
    {400, 499, "too many concurrent", FEEDBACK_CROWDED},
    {400, 499, "too many simultaneous", FEEDBACK_CROWDED},
    {400, 499, "too many sessions", FEEDBACK_CROWDED},
    {400, 499, "concurrent connection", FEEDBACK_CROWDED},
    {400, 499, "connection limit", FEEDBACK_CROWDED},
    {400, 499, "max connections", FEEDBACK_CROWDED},
    {554, 554, "too many connections", FEEDBACK_CROWDED},

    /* An address of ours that is not wanted: more tries make it worse. */
    {400, 599, "spamhaus", FEEDBACK_BLOCKED},
    {400, 599, "blocklist", FEEDBACK_BLOCKED},
    {400, 599, "block list", FEEDBACK_BLOCKED},
    {400, 599, "blacklist", FEEDBACK_BLOCKED},
    {400, 599, "black list", FEEDBACK_BLOCKED},
    {400, 599, "denylist", FEEDBACK_BLOCKED},
    {400, 599, "dnsbl", FEEDBACK_BLOCKED},
    {500, 599, "ip is banned", FEEDBACK_BLOCKED},
    {500, 599, "host is banned", FEEDBACK_BLOCKED},
    {500, 599, "ip is blocked", FEEDBACK_BLOCKED},
    {500, 599, "ip blocked", FEEDBACK_BLOCKED},
    {500, 599, "address is blocked", FEEDBACK_BLOCKED},
    {500, 599, "has been blocked", FEEDBACK_BLOCKED},
    {500, 599, "poor reputation", FEEDBACK_BLOCKED},
    {500, 599, "bad reputation", FEEDBACK_BLOCKED},
    {500, 599, "part of their network is on our", FEEDBACK_BLOCKED}, /* Outlook, S3140 */

    {400, 499, "4.7.28", FEEDBACK_THROTTLED},  /* Google: unusual rate */
    {400, 499, "4.7.650", FEEDBACK_THROTTLED}, /* Outlook: rate limited by reputation */
    {400, 499, "4.7.500", FEEDBACK_THROTTLED}, /* Outlook: server busy */
    {400, 499, "4.16.", FEEDBACK_THROTTLED},
    {400, 499, "[ts0", FEEDBACK_THROTTLED}, /* Yahoo: TS01 to TS04, TSS04 */
    {400, 499, "[tss0", FEEDBACK_THROTTLED},
    {400, 499, "rate limit", FEEDBACK_THROTTLED},
    {400, 499, "rate-limit", FEEDBACK_THROTTLED},
    {400, 499, "ratelimit", FEEDBACK_THROTTLED},
    {400, 499, "unusual rate", FEEDBACK_THROTTLED},
    {400, 499, "sending rate", FEEDBACK_THROTTLED},
    {400, 499, "throttl", FEEDBACK_THROTTLED},
    {400, 499, "slow down", FEEDBACK_THROTTLED},
    {400, 499, "too fast", FEEDBACK_THROTTLED},
    {400, 499, "too many messages", FEEDBACK_THROTTLED},
    {400, 499, "too many mails", FEEDBACK_THROTTLED},
    {400, 499, "too many emails", FEEDBACK_THROTTLED},
    {400, 499, "too much mail", FEEDBACK_THROTTLED},
    {400, 499, "mail volume", FEEDBACK_THROTTLED},
    {400, 499, "messages per", FEEDBACK_THROTTLED},
    {400, 499, "quota for your ip", FEEDBACK_THROTTLED},
    {400, 499, "temporarily deferred", FEEDBACK_THROTTLED},
    {400, 499, "temporary rate", FEEDBACK_THROTTLED},
};

/* What a verdict says, small letters only. */
static void fold(const struct verdict *verdict, char *text, size_t size)
{
    size_t len = 0;
    const char *parts[] = {verdict->enhanced, " ", verdict->text};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        for (const char *c = parts[i]; *c != '\0' && len + 1 < size; c++) {
            text[len++] = ascii_lower(*c);
        }
    }
    text[len] = '\0';
}

static bool is_early(enum smtp_step step)
{
    return step < SMTP_STEP_MAIL;
}

enum feedback feedback_of(const struct verdict *verdict)
{
    char text[VERDICT_TEXT_MAX + sizeof verdict->enhanced + 2];
    fold(verdict, text, sizeof text);
    if (verdict->code < 400) {
        bool is_fault = verdict->scope == VERDICT_HOST && verdict->class == VERDICT_DEFERRED;
        return is_fault ? FEEDBACK_FAILED : FEEDBACK_GOOD;
    }
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct rule *rule = &rules[i];
        if (verdict->code >= rule->first_code && verdict->code <= rule->last_code &&
            strstr(text, rule->words) != NULL) {
            /* Behind the final dot a list is about what the mail says, not about who sends it. */
            bool is_content = rule->feedback == FEEDBACK_BLOCKED && verdict->step == SMTP_STEP_BODY;
            return is_content ? FEEDBACK_GOOD : rule->feedback;
        }
    }
    if (verdict->code == 421) {
        /* Within a transaction it is our traffic that ends; before it, the host's day. */
        return is_early(verdict->step) ? FEEDBACK_FAILED : FEEDBACK_THROTTLED;
    }
    if (verdict->code >= 500 && is_early(verdict->step) &&
        strncmp(verdict->enhanced, "5.7.", 4) == 0) {
        return FEEDBACK_BLOCKED;
    }
    return verdict->scope == VERDICT_HOST ? FEEDBACK_FAILED : FEEDBACK_GOOD;
}

const char *feedback_text(enum feedback feedback)
{
    static const char *const names[] = {"good",      "none",   "crowded",
                                        "throttled", "failed", "blocked"};
    _Static_assert(ARRAY_LEN(names) == FEEDBACK_COUNT, "each has a name");
    CHECK(feedback < FEEDBACK_COUNT);
    return names[feedback];
}
