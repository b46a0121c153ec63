/* That the words under which rows are printed (kv/row_words.h) are those that clients are told
 * (shards/words.h). */
#include <criterion/criterion.h>

#include "kv/row_words.h"
#include "mail/dsn.h"
#include "mail/mime_write.h"
#include "shards/msg.h"

static void expect_words(enum row_family family, const char *member, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        cr_expect_neq(row_word(family, slice_str(member), i), NULL, "%s %u", member, i);
    }
    cr_expect_eq(row_word(family, slice_str(member), count), NULL, "%s has more", member);
}

#define EXPECT_SAME(family, member, last, text_of, type)                                           \
    do {                                                                                           \
        expect_words(family, member, (uint32_t)(last) + 1);                                        \
        for (uint32_t i = 0; i <= (uint32_t)(last); i++) {                                         \
            cr_expect_str_eq(row_word(family, SLICE(member), i), text_of((enum type)i));           \
        }                                                                                          \
    } while (0)

Test(words, of_rows_are_those_that_clients_are_told)
{
    EXPECT_SAME(ROW_USER, "role", ROLE_MEMBER, role_text, role);
    EXPECT_SAME(ROW_DOMAIN, "status", DOMAIN_FAILED, domain_status_text, domain_status);
    EXPECT_SAME(ROW_DOMAIN, "hook_ack_mode", ACK_CONTROL, ack_mode_text, ack_mode);
    EXPECT_SAME(ROW_MAIL, "status", MAIL_STATUS_COUNT - 1, mail_status_text, mail_status);
    EXPECT_SAME(ROW_MAIL, "priority", PRIORITY_COUNT - 1, mail_priority_text, mail_priority);
    EXPECT_SAME(ROW_OUTBOX, "priority", PRIORITY_COUNT - 1, mail_priority_text, mail_priority);
    EXPECT_SAME(ROW_DELIVERY, "status", DELIVERY_SUPPRESSED, delivery_status_text, delivery_status);
    EXPECT_SAME(ROW_ATTEMPT, "outcome", ATTEMPT_UNCERTAIN, attempt_outcome_text, attempt_outcome);
    EXPECT_SAME(ROW_ROUTE, "action", ROUTE_DROP, route_action_text, route_action);
    EXPECT_SAME(ROW_ROUTE, "ack_mode", ACK_CONTROL, ack_mode_text, ack_mode);
    EXPECT_SAME(ROW_SUPPRESSION, "reason", SUPPRESSION_REASON_COUNT - 1, suppression_reason_text,
                suppression_reason);
}

Test(words, of_rows_name_every_value_that_has_no_text_elsewhere)
{
    expect_words(ROW_MAIL, "mode", MODE_TEST + 1);
    expect_words(ROW_MAIL, "direction", DIRECTION_INBOUND + 1);
    expect_words(ROW_MAIL, "text_encoding", MIME_BASE64 + 1);
    expect_words(ROW_MAIL, "html_encoding", MIME_BASE64 + 1);
    expect_words(ROW_API_KEY, "mode", MODE_TEST + 1);
    expect_words(ROW_API_KEY, "permission", PERMISSION_SEND + 1);
    expect_words(ROW_AUDIT, "actor_kind", AUDIT_SYSTEM + 1);
    expect_words(ROW_DELIVERY, "kind", DELIVERY_WEBHOOK + 1);
    expect_words(ROW_ATTEMPT, "step", SMTP_STEP_COUNT);
    expect_words(ROW_OUTBOX, "mode", REHEARSAL_SCRIPTED + 1);
    cr_expect_eq(row_word(ROW_MAIL, SLICE("size_bytes"), 0), NULL);
    cr_expect_str_eq(row_word(ROW_ATTEMPT, SLICE("step"), SMTP_STEP_STARTTLS), "starttls");
    cr_expect_str_eq(row_word(ROW_ATTEMPT, SLICE("step"), SMTP_STEP_RCPT), "rcpt");
}
