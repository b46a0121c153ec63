/* What happens to a mail that must not leave.
 *
 * Not covered here: that no socket is opened (test_trip), retries of what is put off (flow tests).
 */
#include "deliver/rehearse.h"

#include "base/base.h"

#include <criterion/criterion.h>

static const struct {
    const char *recipient;
    enum verdict_class class;
    const char *enhanced;
} cases[] = {
    {"bounced@test.invalid", VERDICT_BOUNCED, "5.1.1"},
    {"bounced+label@test.invalid", VERDICT_BOUNCED, "5.1.1"},
    {"Bounced+a+b@Test.Invalid", VERDICT_BOUNCED, "5.1.1"},
    {"bounced@sandbox.example.com", VERDICT_BOUNCED, "5.1.1"},
    {"BOUNCED@SANDBOX.example.com", VERDICT_BOUNCED, "5.1.1"},
    {"suppressed@test.invalid", VERDICT_BOUNCED, "5.7.1"},
    {"deferred@test.invalid", VERDICT_DEFERRED, "4.2.1"},
    {"deferred+1@sandbox.example.com", VERDICT_DEFERRED, "4.2.1"},
    {"delivered@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    {"complained@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    {"anyone@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    /* Words of the script mean something in those places only. */
    {"bounced@example.com", VERDICT_DELIVERED, "2.0.0"},
    {"bounced@sandboxed.example.com", VERDICT_DELIVERED, "2.0.0"},
    {"bounced@mail.test.invalid", VERDICT_DELIVERED, "2.0.0"},
    {"rebounced@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    {"bounced.not@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    {"+bounced@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    /* The domain begins behind the last @. */
    {"\"bounced@x\"@test.invalid", VERDICT_DELIVERED, "2.0.0"},
    {"bounced@test.invalid@example.com", VERDICT_DELIVERED, "2.0.0"},
    {"bounced", VERDICT_DELIVERED, "2.0.0"},
    {"", VERDICT_DELIVERED, "2.0.0"},
};

Test(rehearse, goes_by_the_local_part_at_test_domains)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verdict verdict;
        rehearse(slice_str(cases[i].recipient), &verdict);
        cr_assert_eq(verdict.class, cases[i].class, "%s", cases[i].recipient);
        cr_assert_str_eq(verdict.enhanced, cases[i].enhanced, "%s", cases[i].recipient);
        cr_assert_eq(verdict.scope, VERDICT_RCPT, "one recipient says nothing of another");
        cr_assert_eq(verdict.code, 0, "nobody answered");
        cr_assert(slice_starts(slice_str(verdict.text), SLICE("test: ")), "it says what it is");
    }
}
