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
    bool has_complaint;
} cases[] = {
    {"bounced@test.invalid", VERDICT_BOUNCED, "5.1.1", false},
    {"bounced+label@test.invalid", VERDICT_BOUNCED, "5.1.1", false},
    {"Bounced+a+b@Test.Invalid", VERDICT_BOUNCED, "5.1.1", false},
    {"bounced@sandbox.example.com", VERDICT_BOUNCED, "5.1.1", false},
    {"deferred@test.invalid", VERDICT_DEFERRED, "4.2.1", false},
    {"deferred+1@sandbox.example.com", VERDICT_DEFERRED, "4.2.1", false},
    {"complained@test.invalid", VERDICT_DELIVERED, "2.0.0", true},
    {"Complained+x@test.invalid", VERDICT_DELIVERED, "2.0.0", true},
    {"delivered@test.invalid", VERDICT_DELIVERED, "2.0.0", false},
    {"anyone@test.invalid", VERDICT_DELIVERED, "2.0.0", false},
    {"rebounced@test.invalid", VERDICT_DELIVERED, "2.0.0", false},
    {"bounced.not@test.invalid", VERDICT_DELIVERED, "2.0.0", false},
    {"+bounced@test.invalid", VERDICT_DELIVERED, "2.0.0", false},
    /* The domain begins behind the last @. */
    {"\"bounced@x\"@test.invalid", VERDICT_DELIVERED, "2.0.0", false},
    {"bounced", VERDICT_DELIVERED, "2.0.0", false},
    {"", VERDICT_DELIVERED, "2.0.0", false},
};

Test(rehearse, follows_the_local_part_where_it_is_scripted)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verdict verdict;
        rehearse(slice_str(cases[i].recipient), true, &verdict);
        cr_assert_eq(verdict.class, cases[i].class, "%s", cases[i].recipient);
        cr_assert_str_eq(verdict.enhanced, cases[i].enhanced, "%s", cases[i].recipient);
        cr_assert_eq(verdict.has_complaint, cases[i].has_complaint, "%s", cases[i].recipient);
        cr_assert_eq(verdict.scope, VERDICT_RCPT, "one recipient says nothing of another");
        cr_assert_eq(verdict.code, 0, "nobody answered");
        cr_assert(slice_starts(slice_str(verdict.text), SLICE("test: ")), "it says what it is");
    }
}

Test(rehearse, delivers_to_everybody_elsewhere)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verdict verdict;
        rehearse(slice_str(cases[i].recipient), false, &verdict);
        cr_assert_eq(verdict.class, VERDICT_DELIVERED, "%s", cases[i].recipient);
        cr_assert_not(verdict.has_complaint, "%s", cases[i].recipient);
    }
}
