/* What answers say about a destination.
 *
 * Not covered here: what becomes of the mail (tests/unit/mail/test_dsn), what the site does
 * (test_site).
 */
#include "deliver/feedback.h"

#include <criterion/criterion.h>

static const struct {
    enum smtp_step step;
    uint16_t code;
    const char *enhanced;
    const char *text;
    enum feedback feedback;
} answers[] = {
    {SMTP_STEP_BODY, 250, "2.0.0", "queued", FEEDBACK_GOOD},
    {SMTP_STEP_RCPT, 550, "5.1.1", "no such user", FEEDBACK_GOOD},
    {SMTP_STEP_RCPT, 452, "4.2.2", "mailbox has exceeded the quota", FEEDBACK_GOOD},
    {SMTP_STEP_RCPT, 450, "4.2.1", "mailbox busy", FEEDBACK_GOOD},
    {SMTP_STEP_BODY, 554, "5.7.1", "not wanted", FEEDBACK_GOOD},
    {SMTP_STEP_BODY, 550, "5.7.1", "URL found on a blocklist", FEEDBACK_GOOD},

    {SMTP_STEP_RCPT, 451, "4.7.1", "Greylisted, come back later", FEEDBACK_NONE},
    {SMTP_STEP_RCPT, 450, "4.2.0", "Recipient address rejected: Greylisting in effect",
     FEEDBACK_NONE},
    {SMTP_STEP_BODY, 451, "", "graylisted for 5 minutes", FEEDBACK_NONE},

    {SMTP_STEP_GREETING, 421, "4.7.0", "too many connections", FEEDBACK_CROWDED},
    {SMTP_STEP_GREETING, 421, "", "Too many concurrent SMTP connections", FEEDBACK_CROWDED},
    {SMTP_STEP_MAIL, 450, "4.7.1", "connection limit exceeded", FEEDBACK_CROWDED},

    {SMTP_STEP_BODY, 421, "4.7.28", "our system has detected an unusual rate of mail",
     FEEDBACK_THROTTLED},
    {SMTP_STEP_GREETING, 421, "4.7.0", "[TSS04] Messages temporarily deferred", FEEDBACK_THROTTLED},
    {SMTP_STEP_MAIL, 451, "4.7.650", "the mail server has been temporarily rate limited",
     FEEDBACK_THROTTLED},
    {SMTP_STEP_RCPT, 450, "4.7.1", "rate limit exceeded", FEEDBACK_THROTTLED},
    {SMTP_STEP_MAIL, 452, "4.3.1", "Too many messages, slow down", FEEDBACK_THROTTLED},
    {SMTP_STEP_MAIL, 421, "4.3.2", "closing", FEEDBACK_THROTTLED},

    {SMTP_STEP_GREETING, 421, "4.3.2", "not available", FEEDBACK_FAILED},
    {SMTP_STEP_GREETING, 554, "5.3.2", "no mail service", FEEDBACK_FAILED},
    {SMTP_STEP_MAIL, 451, "4.3.2", "not now", FEEDBACK_FAILED},

    {SMTP_STEP_GREETING, 554, "5.7.1", "go away", FEEDBACK_BLOCKED},
    {SMTP_STEP_MAIL, 550, "5.7.1", "listed by Spamhaus", FEEDBACK_BLOCKED},
    {SMTP_STEP_RCPT, 550, "5.7.1", "Client host is on our Block List", FEEDBACK_BLOCKED},
    {SMTP_STEP_EHLO, 421, "4.7.1", "blacklisted", FEEDBACK_BLOCKED},
};

Test(feedback, tells_what_an_answer_says_about_the_host)
{
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct verdict verdict;
        verdict_from_reply(&verdict, answers[i].step, answers[i].code,
                           slice_str(answers[i].enhanced), slice_str(answers[i].text));
        cr_expect_eq(feedback_of(&verdict), answers[i].feedback, "%s: %s", answers[i].text,
                     feedback_text(feedback_of(&verdict)));
    }
}

Test(feedback, blames_the_host_for_what_we_could_not_do_there)
{
    struct verdict verdict;
    verdict_own(&verdict, SMTP_STEP_CONNECT, VERDICT_DEFERRED, "4.4.1", "connection refused");
    cr_assert_eq(feedback_of(&verdict), FEEDBACK_FAILED);
    verdict_own(&verdict, SMTP_STEP_RESOLVE, VERDICT_BOUNCED, "5.1.2", "no such domain");
    cr_assert_eq(feedback_of(&verdict), FEEDBACK_GOOD);
}
