/* trip_sts.c - what the recipients' domain demands of a trip's hosts by MTA-STS. */
#include <string.h>

#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "deliver/trip_int.h"

_Static_assert(ROUTE_ADDRS_MAX <= 32, "a bit for each target");

static void connect_first(struct trip *trip)
{
    trip->target = 0;
    trip->is_plain_retry = false; /* was of a host of an earlier route */
    trip_connect(trip);
}

static void note_policy(const struct trip *trip, const struct sts_policy *policy)
{
    struct buf text;
    buf_init(&text, STS_POLICY_BYTES);
    sts_policy_write(policy, &text);
    tls_report_policy(trip->deliver->tls_report, trip_claim(trip)->entry.domain, TLS_REPORT_STS,
                      buf_slice(&text));
    buf_fini(&text);
}

static void on_found(struct sts_query *query)
{
    struct trip *trip = CONTAINER_OF(query, struct trip, sts);
    const struct sts_policy *policy = query->policy;
    if (query->is_unknown) {
        verdict_own(&trip->failure, SMTP_STEP_RESOLVE, VERDICT_DEFERRED, "4.3.0",
                    "what is known of the domain's MTA-STS policy could not be read");
        trip_judge_all(trip, &trip->failure);
        trip_conclude(trip);
        return;
    }
    trip->sts_fault = query->fault;
    if (policy != NULL) {
        note_policy(trip, policy);
        trip->sts_mode = policy->mode == STS_MODE_ENFORCE ? TLS_STS_ENFORCE : TLS_STS_TESTING;
        for (uint32_t i = 0; i < trip->route.target_count; i++) {
            bool is_named = sts_policy_has(policy, slice_str(trip->route.targets[i].host));
            trip->sts_targets |= is_named ? UINT32_C(1) << i : 0;
        }
    }
    connect_first(trip);
}

void trip_ask_sts(struct trip *trip)
{
    struct deliver *deliver = trip->deliver;
    CHECK(trip->route.target_count > 0);
    trip->sts_mode = TLS_STS_NONE;
    trip->sts_targets = 0;
    if (deliver->has_smarthost) {
        connect_first(trip); /* the operator's host, not the domain's */
        return;
    }
    sts_find(deliver->sts, &trip->sts, trip_claim(trip)->entry.domain, on_found);
}

void trip_sts_facts(const struct trip *trip, uint32_t target, struct tls_facts *facts)
{
    CHECK(target < trip->route.target_count);
    facts->sts = trip->sts_mode;
    facts->is_sts_host = (trip->sts_targets >> target & 1) != 0;
}

/* The TLSA records of the host at hand, as RFC 6698 2.2 writes them. */
static void note_pins(const struct trip *trip)
{
    const struct tls_pins *pins = &trip->dane.pins;
    struct buf text;
    buf_init(&text, TLS_REPORT_TEXT);
    for (uint32_t i = 0; trip->dane.result == TLS_DANE_USABLE && i < pins->count; i++) {
        const struct tls_pin *pin = &pins->pins[i];
        buf_add_format(&text, "%u %u %u ", pin->usage, pin->selector, pin->matching);
        char *hex = buf_room(&text, 2 * pin->data.len);
        if (hex != NULL) {
            hex_encode(pin->data, hex);
            buf_grew(&text, 2 * pin->data.len);
        }
        buf_add_byte(&text, '\n');
    }
    if (!text.is_over) { /* longer than any sane set: told without */
        tls_report_policy(trip->deliver->tls_report, trip_claim(trip)->entry.domain,
                          TLS_REPORT_TLSA, buf_slice(&text));
    }
    buf_fini(&text);
}

static enum tls_result result_of_fault(enum sts_fault fault)
{
    switch (fault) {
    case STS_FAULT_FETCH:
        return TLS_RESULT_STS_POLICY_FETCH_ERROR;
    case STS_FAULT_WEBPKI:
        return TLS_RESULT_STS_WEBPKI_INVALID;
    case STS_FAULT_INVALID:
    case STS_FAULT_NONE:
        break;
    }
    return TLS_RESULT_STS_POLICY_INVALID;
}

/* What a policy that only tests would have refused is a failure for the report. */
static enum tls_result soft_result(const struct trip *trip, const struct attempt_smtp *attempt)
{
    enum tls_fault fault = attempt_smtp_fault(attempt);
    if ((trip->sts_targets >> trip->target & 1) == 0) {
        return TLS_RESULT_VALIDATION_FAILURE;
    }
    return fault == TLS_FAULT_NONE ? TLS_RESULT_SUCCESS : tls_result_of(SMTP_STEP_TLS, fault);
}

void trip_count_tls(const struct trip *trip, const struct attempt_smtp *attempt,
                    enum tls_result result)
{
    const struct route_target *target = &trip->route.targets[trip->target];
    bool is_good = result == TLS_RESULT_SUCCESS && attempt != NULL;
    if (trip->deliver->has_smarthost || trip->demand.mode == SMTP_TLS_NONE) {
        return; /* the operator's host; the operator's wish */
    }
    struct tls_session session = {
        .domain = trip_claim(trip)->entry.domain,
        .kind = TLS_REPORT_NO_POLICY,
        .result = result,
        .mx_host = target->host,
        .mx_addr = attempt != NULL ? attempt_smtp_addr(attempt) : "",
        .source = attempt != NULL ? attempt_smtp_source(attempt) : "",
    };
    if (strcmp(trip->demand.policy, "dane") == 0) {
        session.kind = TLS_REPORT_TLSA;
        note_pins(trip);
    } else if (trip->sts_mode != TLS_STS_NONE) {
        session.kind = TLS_REPORT_STS;
        session.result = is_good ? soft_result(trip, attempt) : result;
    } else if (trip->sts_fault != STS_FAULT_NONE) {
        session.kind = TLS_REPORT_STS;
        session.result = result_of_fault(trip->sts_fault);
    }
    tls_report_count(trip->deliver->tls_report, &session);
}
