/* attempt_mail.c - see attempt_mail.h. */
#include "deliver/attempt_mail.h"

bool attempt_mail_has_verdicts(const struct attempt_mail *mail)
{
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (mail->rcpts[i].is_judged) {
            return true;
        }
    }
    return false;
}

bool attempt_mail_is_judged(const struct attempt_mail *mail)
{
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (!mail->rcpts[i].is_judged) {
            return false;
        }
    }
    return true;
}

void attempt_mail_judge_rest(struct attempt_mail *mail, const struct verdict *verdict)
{
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (!mail->rcpts[i].is_judged) {
            mail->rcpts[i].verdict = *verdict;
            mail->rcpts[i].is_judged = true;
        }
    }
}
