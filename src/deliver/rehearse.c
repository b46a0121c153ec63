/* rehearse.c - the table of test recipients. */
#include "deliver/rehearse.h"

#include "base/base.h"

struct part {
    struct slice local;
    enum verdict_class class;
    const char *enhanced;
    const char *text;
    bool has_complaint;
};

static const struct part parts[] = {
    {SLICE_INIT("bounced"), VERDICT_BOUNCED, "5.1.1", "test: the mailbox does not exist", false},
    {SLICE_INIT("deferred"), VERDICT_DEFERRED, "4.2.1", "test: the mailbox is busy", false},
    {SLICE_INIT("complained"), VERDICT_DELIVERED, "2.0.0", "test: no mail server was contacted",
     true},
};

void rehearse(struct slice recipient, bool is_scripted, struct verdict *verdict)
{
    size_t at = slice_rfind_byte(recipient, '@');
    struct slice local = slice_head(recipient, at);
    struct slice base = slice_cut(&local, '+');
    for (size_t i = 0; is_scripted && at != SIZE_MAX && i < ARRAY_LEN(parts); i++) {
        const struct part *part = &parts[i];
        if (slice_equal_nocase(base, part->local)) {
            verdict_own(verdict, SMTP_STEP_RCPT, part->class, part->enhanced, part->text);
            verdict->scope = VERDICT_RCPT;
            verdict->has_complaint = part->has_complaint;
            return;
        }
    }
    verdict_own(verdict, SMTP_STEP_BODY, VERDICT_DELIVERED, "2.0.0",
                "test: no mail server was contacted");
    verdict->scope = VERDICT_RCPT;
}
