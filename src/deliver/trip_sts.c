/* trip_sts.c - what the recipients' domain demands of a trip's hosts by MTA-STS. */
#include "base/check.h"
#include "deliver/trip_int.h"

_Static_assert(ROUTE_ADDRS_MAX <= 32, "a bit for each target");

static void connect_first(struct trip *trip)
{
    trip->target = 0;
    trip_connect(trip);
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
    if (policy != NULL) {
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
