/* Not covered here: the connections that obey (test_attempt_smtp, test_trip, flow test_dane). */
#include "deliver/tls_demand.h"

#include <criterion/criterion.h>
#include <string.h>

struct demand_case {
    const char *name;
    struct tls_facts facts;
    bool is_usable;
    enum smtp_tls mode;
    enum tls_verify check;
    bool may_go_plain;
    const char *policy;
    enum tls_result result;
};

#define GOOD                     TLS_RESULT_SUCCESS
#define LEFT_OUT(policy, result) false, SMTP_TLS_REQUIRE, TLS_VERIFY_NAME, false, policy, result
#define AS_IT_GOES               true, SMTP_TLS_MAY, TLS_VERIFY_NONE, true, "opportunistic", GOOD
#define PLAIN                    true, SMTP_TLS_NONE, TLS_VERIFY_NONE, false, "", GOOD
#define TLS(check, policy)       true, SMTP_TLS_REQUIRE, TLS_VERIFY_##check, false, policy, GOOD

static const struct demand_case cases[] = {
    {"nothing is known", {.dane = TLS_DANE_NONE}, AS_IT_GOES},
    {"pinned", {.dane = TLS_DANE_USABLE}, TLS(DANE, "dane")},
    {"pins that nobody can use", {.dane = TLS_DANE_UNUSABLE}, TLS(NONE, "require")},
    {"pins hidden", {.dane = TLS_DANE_BOGUS}, LEFT_OUT("dane", TLS_RESULT_DNSSEC_INVALID)},
    {"STS being tried", {.sts = TLS_STS_TESTING}, AS_IT_GOES},
    {"STS", {.sts = TLS_STS_ENFORCE, .is_sts_host = true}, TLS(NAME, "sts")},
    {"STS names other hosts",
     {.sts = TLS_STS_ENFORCE},
     LEFT_OUT("sts", TLS_RESULT_VALIDATION_FAILURE)},
    {"DANE goes before STS",
     {.dane = TLS_DANE_USABLE, .sts = TLS_STS_ENFORCE, .is_sts_host = true},
     TLS(DANE, "dane")},
    {"DANE goes before STS that names other hosts",
     {.dane = TLS_DANE_USABLE, .sts = TLS_STS_ENFORCE},
     TLS(DANE, "dane")},
    {"STS does not mend DANE",
     {.dane = TLS_DANE_BOGUS, .sts = TLS_STS_ENFORCE, .is_sts_host = true},
     LEFT_OUT("dane", TLS_RESULT_DNSSEC_INVALID)},
    {"STS verifies where pins cannot",
     {.dane = TLS_DANE_UNUSABLE, .sts = TLS_STS_ENFORCE, .is_sts_host = true},
     TLS(NAME, "sts")},
    {"told to require", {.override = TLS_OVERRIDE_REQUIRE}, TLS(NAME, "require")},
    {"told to require of a pinned host",
     {.override = TLS_OVERRIDE_REQUIRE, .dane = TLS_DANE_USABLE},
     TLS(DANE, "dane")},
    {"told to require, pins hidden",
     {.override = TLS_OVERRIDE_REQUIRE, .dane = TLS_DANE_BOGUS},
     LEFT_OUT("dane", TLS_RESULT_DNSSEC_INVALID)},
    {"told may", {.override = TLS_OVERRIDE_MAY, .dane = TLS_DANE_USABLE}, AS_IT_GOES},
    {"told none", {.override = TLS_OVERRIDE_NONE, .sts = TLS_STS_ENFORCE}, PLAIN},
    {"the mail waives", {.waives_tls = true, .dane = TLS_DANE_BOGUS}, AS_IT_GOES},
    {"the mail waives what STS says", {.waives_tls = true, .sts = TLS_STS_ENFORCE}, AS_IT_GOES},
    {"the mail requires", {.requires_tls = true}, TLS(NAME, "require")},
    {"requires and waives", {.requires_tls = true, .waives_tls = true}, TLS(NAME, "require")},
    {"requires against the operator",
     {.requires_tls = true, .override = TLS_OVERRIDE_NONE},
     TLS(NAME, "require")},
    {"requires of a pinned host",
     {.requires_tls = true, .dane = TLS_DANE_USABLE},
     TLS(DANE, "dane")},
    {"requires where pins cannot verify",
     {.requires_tls = true, .dane = TLS_DANE_UNUSABLE},
     TLS(NAME, "require")},
    {"requires of STS",
     {.requires_tls = true, .sts = TLS_STS_ENFORCE, .is_sts_host = true},
     TLS(NAME, "sts")},
    {"smarthost, none", {.is_smarthost = true, .smarthost_tls = SMTP_TLS_NONE}, PLAIN},
    {"smarthost, may", {.is_smarthost = true, .smarthost_tls = SMTP_TLS_MAY}, AS_IT_GOES},
    {"smarthost, may, with a password",
     {.is_smarthost = true, .smarthost_tls = SMTP_TLS_MAY, .has_password = true},
     true,
     SMTP_TLS_MAY,
     TLS_VERIFY_NONE,
     false,
     "opportunistic",
     TLS_RESULT_SUCCESS},
    {"smarthost, require",
     {.is_smarthost = true, .smarthost_tls = SMTP_TLS_REQUIRE, .dane = TLS_DANE_BOGUS},
     TLS(NAME, "require")},
    {"smarthost, implicit",
     {.is_smarthost = true, .smarthost_tls = SMTP_TLS_IMPLICIT},
     true,
     SMTP_TLS_IMPLICIT,
     TLS_VERIFY_NAME,
     false,
     "require",
     TLS_RESULT_SUCCESS},
    {"smarthost, none, and the mail requires",
     {.is_smarthost = true, .smarthost_tls = SMTP_TLS_NONE, .requires_tls = true},
     TLS(NAME, "require")},
};

Test(tls_demand, follows_its_table, .timeout = 10)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct demand_case *c = &cases[i];
        struct tls_demand demand;
        tls_demand_of(&c->facts, &demand);
        cr_expect_eq(demand.is_usable, c->is_usable, "%s", c->name);
        cr_expect_eq(demand.mode, c->mode, "%s", c->name);
        cr_expect_eq(demand.check, c->check, "%s", c->name);
        cr_expect_eq(demand.may_go_plain, c->may_go_plain, "%s", c->name);
        cr_expect_eq(demand.needs_requiretls, c->facts.requires_tls, "%s", c->name);
        cr_expect_str_eq(demand.policy, c->policy, "%s", c->name);
        cr_expect_eq(demand.result, c->result, "%s", c->name);
        cr_expect_eq(demand.sentence == NULL, c->is_usable, "%s", c->name);
    }
}

/* Whatever comes together: nothing plain where something was demanded. */
Test(tls_demand, never_goes_plain_where_tls_is_demanded, .timeout = 10)
{
    for (uint32_t bits = 0; bits < 4 * 4 * 3 * 8; bits++) {
        struct tls_facts facts = {
            .override = (enum tls_override)(bits % 4),
            .dane = (enum tls_dane)(bits / 4 % 4),
            .sts = (enum tls_sts)(bits / 16 % 3),
            .is_sts_host = (bits / 48 & 1) != 0,
            .requires_tls = (bits / 48 & 2) != 0,
            .waives_tls = (bits / 48 & 4) != 0,
        };
        bool is_told_less =
            facts.override == TLS_OVERRIDE_NONE || facts.override == TLS_OVERRIDE_MAY;
        bool is_waived = !facts.requires_tls && (is_told_less || facts.waives_tls);
        bool is_demanded = facts.requires_tls || facts.override == TLS_OVERRIDE_REQUIRE ||
                           facts.dane != TLS_DANE_NONE || facts.sts == TLS_STS_ENFORCE;
        struct tls_demand demand;
        tls_demand_of(&facts, &demand);
        if (is_demanded && !is_waived) {
            cr_expect_geq(demand.mode, SMTP_TLS_REQUIRE, "%u", bits);
            cr_expect_not(demand.may_go_plain, "%u", bits);
        }
        if (facts.dane == TLS_DANE_BOGUS && !is_waived) {
            cr_expect_not(demand.is_usable, "%u", bits);
        }
        cr_expect_eq(demand.check == TLS_VERIFY_DANE, facts.dane == TLS_DANE_USABLE && !is_waived,
                     "%u", bits);
    }
}

Test(tls_demand, names_results_as_the_reports_do, .timeout = 10)
{
    cr_expect_str_eq(tls_result_word(TLS_RESULT_SUCCESS), "");
    cr_expect_str_eq(tls_result_word(tls_result_of(SMTP_STEP_STARTTLS, TLS_FAULT_NONE)),
                     "starttls-not-supported");
    cr_expect_str_eq(tls_result_word(tls_result_of(SMTP_STEP_TLS, TLS_FAULT_NAME)),
                     "certificate-host-mismatch");
    cr_expect_str_eq(tls_result_word(tls_result_of(SMTP_STEP_TLS, TLS_FAULT_EXPIRED)),
                     "certificate-expired");
    cr_expect_str_eq(tls_result_word(tls_result_of(SMTP_STEP_TLS, TLS_FAULT_UNTRUSTED)),
                     "certificate-not-trusted");
    cr_expect_str_eq(tls_result_word(tls_result_of(SMTP_STEP_TLS, TLS_FAULT_OTHER)),
                     "validation-failure");
    cr_expect_str_eq(tls_result_word(tls_result_of(SMTP_STEP_TLS, TLS_FAULT_NONE)),
                     "validation-failure");
    cr_expect_eq(tls_result_of(SMTP_STEP_RCPT, TLS_FAULT_UNTRUSTED), TLS_RESULT_SUCCESS);
    for (int i = 1; i < TLS_RESULT_COUNT; i++) {
        cr_expect_neq(tls_result_word((enum tls_result)i)[0], '\0', "%d", i);
    }
}

struct end_case {
    const char *name;
    bool requires_tls;
    enum smtp_step step;
    uint16_t code;
    const char *enhanced;
    const char *end; /* NULL: stays as it was */
};

static const struct end_case ends[] = {
    {"no STARTTLS", true, SMTP_STEP_STARTTLS, 0, "4.7.4", "5.7.10"},
    {"a certificate refused", true, SMTP_STEP_TLS, 0, "4.7.5", "5.7.10"},
    {"no REQUIRETLS", true, SMTP_STEP_EHLO, 0, TLS_NO_REQUIRETLS, "5.7.30"},
    {"STARTTLS out of order for now", true, SMTP_STEP_STARTTLS, 454, "4.7.0", NULL},
    {"the network", true, SMTP_STEP_CONNECT, 0, "4.4.1", NULL},
    {"no answer to the handshake", true, SMTP_STEP_TLS, 0, "4.4.2", NULL},
    {"another mail", false, SMTP_STEP_STARTTLS, 0, "4.7.4", NULL},
};

Test(tls_demand, bounces_mail_that_requires_tls_and_cannot_have_it, .timeout = 10)
{
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        const struct end_case *c = &ends[i];
        struct tls_demand demand;
        struct verdict verdict;
        tls_demand_of(&(struct tls_facts){.requires_tls = c->requires_tls}, &demand);
        verdict_own(&verdict, c->step, VERDICT_DEFERRED, c->enhanced, "the reason");
        verdict.code = c->code;
        tls_demand_end(&demand, &verdict);
        cr_expect_eq(verdict.class, c->end == NULL ? VERDICT_DEFERRED : VERDICT_BOUNCED, "%s",
                     c->name);
        cr_expect_str_eq(verdict.enhanced, c->end == NULL ? c->enhanced : c->end, "%s", c->name);
        cr_expect_not_null(strstr(verdict.text, "the reason"), "%s", c->name);
        cr_expect_eq(verdict.step, c->step, "%s", c->name);
    }
}
