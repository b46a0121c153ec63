/* tls_demand.c - see tls_demand.h for the order of who is obeyed. */
#include "deliver/tls_demand.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const char *const words[] = {
    [TLS_RESULT_SUCCESS] = "",
    [TLS_RESULT_STARTTLS_NOT_SUPPORTED] = "starttls-not-supported",
    [TLS_RESULT_CERTIFICATE_HOST_MISMATCH] = "certificate-host-mismatch",
    [TLS_RESULT_CERTIFICATE_EXPIRED] = "certificate-expired",
    [TLS_RESULT_CERTIFICATE_NOT_TRUSTED] = "certificate-not-trusted",
    [TLS_RESULT_VALIDATION_FAILURE] = "validation-failure",
    [TLS_RESULT_TLSA_INVALID] = "tlsa-invalid",
    [TLS_RESULT_DNSSEC_INVALID] = "dnssec-invalid",
    [TLS_RESULT_DANE_REQUIRED] = "dane-required",
    [TLS_RESULT_STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
    [TLS_RESULT_STS_POLICY_INVALID] = "sts-policy-invalid",
    [TLS_RESULT_STS_WEBPKI_INVALID] = "sts-webpki-invalid",
};
_Static_assert(ARRAY_LEN(words) == TLS_RESULT_COUNT, "a word for each result");

static void demand_tls(struct tls_demand *demand, enum tls_verify check, const char *policy)
{
    *demand = (struct tls_demand){
        .is_usable = true, .mode = SMTP_TLS_REQUIRE, .check = check, .policy = policy};
}

static void demand_little(struct tls_demand *demand, enum smtp_tls mode)
{
    CHECK(mode == SMTP_TLS_NONE || mode == SMTP_TLS_MAY);
    *demand = (struct tls_demand){
        .is_usable = true,
        .mode = mode,
        .check = TLS_VERIFY_NONE,
        .may_go_plain = mode == SMTP_TLS_MAY,
        .policy = mode == SMTP_TLS_MAY ? "opportunistic" : "",
    };
}

static void leave_out(struct tls_demand *demand, const char *policy, enum tls_result result,
                      const char *sentence)
{
    demand_tls(demand, TLS_VERIFY_NAME, policy); /* should anybody forget to look at is_usable */
    demand->is_usable = false;
    demand->result = result;
    demand->enhanced = "4.7.5";
    demand->sentence = sentence;
}

static void of_smarthost(const struct tls_facts *facts, struct tls_demand *demand)
{
    enum smtp_tls mode = facts->smarthost_tls;
    if (mode < SMTP_TLS_REQUIRE && facts->requires_tls) {
        mode = SMTP_TLS_REQUIRE;
    }
    if (mode >= SMTP_TLS_REQUIRE) {
        demand_tls(demand, TLS_VERIFY_NAME, "require");
        demand->mode = mode;
        return;
    }
    demand_little(demand, mode);
    demand->may_go_plain &= !facts->has_password;
}

static void of_policies(const struct tls_facts *facts, struct tls_demand *demand)
{
    bool is_verified = facts->requires_tls || facts->override == TLS_OVERRIDE_REQUIRE;
    if (facts->dane == TLS_DANE_BOGUS) {
        leave_out(demand, "dane", TLS_RESULT_DNSSEC_INVALID,
                  "the mail host's TLSA records could not be looked up securely (DANE)");
    } else if (facts->dane == TLS_DANE_USABLE) {
        demand_tls(demand, TLS_VERIFY_DANE, "dane");
    } else if (facts->sts == TLS_STS_ENFORCE && !facts->is_sts_host) {
        leave_out(demand, "sts", TLS_RESULT_VALIDATION_FAILURE,
                  "the mail host is not named by the domain's MTA-STS policy");
    } else if (facts->sts == TLS_STS_ENFORCE) {
        demand_tls(demand, TLS_VERIFY_NAME, "sts");
    } else if (is_verified || facts->dane == TLS_DANE_UNUSABLE) {
        demand_tls(demand, is_verified ? TLS_VERIFY_NAME : TLS_VERIFY_NONE, "require");
    } else {
        demand_little(demand, SMTP_TLS_MAY);
    }
}

void tls_demand_of(const struct tls_facts *facts, struct tls_demand *demand)
{
    bool is_told_less = facts->override == TLS_OVERRIDE_NONE || facts->override == TLS_OVERRIDE_MAY;
    if (facts->is_smarthost) {
        of_smarthost(facts, demand);
    } else if (!facts->requires_tls && is_told_less) {
        demand_little(demand, facts->override == TLS_OVERRIDE_NONE ? SMTP_TLS_NONE : SMTP_TLS_MAY);
    } else if (!facts->requires_tls && facts->waives_tls) {
        demand_little(demand, SMTP_TLS_MAY);
    } else {
        of_policies(facts, demand);
    }
    demand->needs_requiretls = facts->requires_tls;
    CHECK_IF(facts->requires_tls,
             demand->mode >= SMTP_TLS_REQUIRE && demand->check != TLS_VERIFY_NONE);
    CHECK_IF(demand->may_go_plain, demand->mode == SMTP_TLS_MAY && !facts->has_password);
}

const char *tls_result_word(enum tls_result result)
{
    CHECK(result < TLS_RESULT_COUNT);
    return words[result];
}

enum tls_result tls_result_of(enum smtp_step step, enum tls_fault fault)
{
    if (step == SMTP_STEP_STARTTLS) {
        return TLS_RESULT_STARTTLS_NOT_SUPPORTED;
    }
    if (step != SMTP_STEP_TLS) {
        return TLS_RESULT_SUCCESS;
    }
    switch (fault) {
    case TLS_FAULT_NAME:
        return TLS_RESULT_CERTIFICATE_HOST_MISMATCH;
    case TLS_FAULT_EXPIRED:
        return TLS_RESULT_CERTIFICATE_EXPIRED;
    case TLS_FAULT_UNTRUSTED:
        return TLS_RESULT_CERTIFICATE_NOT_TRUSTED;
    case TLS_FAULT_NONE:
    case TLS_FAULT_OTHER:
        return TLS_RESULT_VALIDATION_FAILURE;
    }
    return TLS_RESULT_VALIDATION_FAILURE;
}

void tls_demand_end(const struct tls_demand *demand, struct verdict *verdict)
{
    bool is_tls = (verdict->step == SMTP_STEP_STARTTLS || verdict->step == SMTP_STEP_TLS) &&
                  strncmp(verdict->enhanced, "4.7.", 4) == 0 && verdict->code / 100 != 4;
    bool is_missing = strcmp(verdict->enhanced, TLS_NO_REQUIRETLS) == 0;
    if (!demand->needs_requiretls || verdict->class != VERDICT_DEFERRED ||
        (!is_tls && !is_missing)) {
        return;
    }
    struct verdict last = *verdict;
    char text[VERDICT_TEXT_MAX];
    (void)snprintf(text, sizeof text, "the mail requires TLS: %.400s", last.text);
    verdict_own(verdict, last.step, VERDICT_BOUNCED, is_missing ? "5.7.30" : "5.7.10", text);
    verdict->code = last.code;
}
