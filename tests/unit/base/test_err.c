/* Not covered here: how the edge prints a row (tests/unit/edge), and remote verdicts, which are not
 * errs (mail/dsn).
 */
#include "base/err.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>

Test(err, has_a_complete_row_for_every_code)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info((enum err)i);
        cr_assert(strncmp(info->name, "ERR_", 4) == 0, "row %d", i);
        cr_assert(strlen(info->code) > 0, "%s", info->name);
        cr_assert(strlen(info->text) > 0, "%s", info->name);
        cr_assert(info->http_status >= 200 && info->http_status <= 599, "%s", info->name);
        cr_assert(info->smtp_code >= 200 && info->smtp_code <= 599, "%s", info->name);
    }
}

/* RFC 2034 4: the class of the enhanced status is that of the reply. */
Test(err, gives_the_reply_and_its_enhanced_status_one_class)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info((enum err)i);
        cr_assert_eq(info->smtp_code / 100, info->smtp_enhanced[0] - '0', "%s", info->name);
        cr_assert_eq(info->smtp_enhanced[1], '.', "%s", info->name);
        cr_assert_not_null(strchr(info->smtp_enhanced + 2, '.'), "%s", info->name);
    }
}

Test(err, keeps_codes_as_machine_words)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info((enum err)i);
        cr_assert_eq(strspn(info->code, "abcdefghijklmnopqrstuvwxyz0123456789_"),
                     strlen(info->code), "%s", info->name);
    }
}

Test(err, knows_busy_by_name_status_and_retry)
{
    const struct err_info *info = err_info(ERR_BUSY);
    cr_assert_str_eq(info->name, "ERR_BUSY");
    cr_assert_str_eq(info->code, "busy");
    cr_assert_eq(info->http_status, 503);
    cr_assert_eq(info->smtp_code, 451);
    cr_assert_str_eq(info->smtp_enhanced, "4.3.2");
    cr_assert_eq(info->retry, ERR_RETRY_LATER);
}

Test(err, never_says_retry_to_a_permanent_refusal)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info((enum err)i);
        if (info->retry == ERR_RETRY_LATER) {
            cr_assert_eq(info->smtp_code / 100, 4, "%s", info->name);
        }
    }
}

Test(err, refuses_a_number_past_the_table, .signal = SIGABRT)
{
    (void)err_info(ERR_COUNT); /* does not return */
}
