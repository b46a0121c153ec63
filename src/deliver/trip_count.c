/* trip_count.c - what became of a trip, in the metrics and in the log, once it is on disk.
 *
 * A failure for good is always told; what went well, and what will be tried again, is a line for
 * who asks for it (mail_log). Addresses are not: their domain is, and the id of the mail.
 */
#include "deliver/deliver_int.h"
#include "deliver/trip_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#include <string.h>

#define SAID_MAX 200 /* of the answer, in the log; the attempt has all of it */

_Static_assert((int)LABEL_STEP_COUNT == (int)SMTP_STEP_COUNT, "a label for each step");
_Static_assert((int)LABEL_BOUNCE_COUNT == (int)BOUNCE_CLASS_COUNT, "a label for each class");
_Static_assert((int)LABEL_VERDICT_BOUNCED == (int)VERDICT_BOUNCED, "labels as verdicts");

/* By where it goes, and a failure by the step and by what is behind it. */
static void count_verdict(const struct trip *trip, const struct verdict *verdict)
{
    const uint32_t site = deliver_site_label(trip->site);
    metric_add_at(METRIC_VERDICTS, metric_pair(METRIC_VERDICTS, verdict->class, site), 1);
    if (verdict->class == VERDICT_DELIVERED) {
        return;
    }
    const uint32_t fate =
        verdict->class == VERDICT_DEFERRED ? LABEL_FATE_DEFERRED : LABEL_FATE_BOUNCED;
    metric_add_at(METRIC_FAILURES_STEP, metric_pair(METRIC_FAILURES_STEP, verdict->step, fate), 1);
    metric_add_at(METRIC_FAILURES_CLASS, metric_pair(METRIC_FAILURES_CLASS, verdict->bounce, fate),
                  1);
}

static void count_mail(const struct trip *trip, const struct verdict *verdict, uint64_t age_ms)
{
    count_verdict(trip, verdict);
    switch (verdict->class) {
    case VERDICT_DELIVERED:
        metric_add(METRIC_DELIVERED, 1);
        metric_observe_us(METRIC_DELIVERY_LATENCY, age_ms * 1000);
        break;
    case VERDICT_DEFERRED:
        metric_add(METRIC_DEFERRED, 1);
        break;
    case VERDICT_BOUNCED:
        metric_add(METRIC_BOUNCED, 1);
        break;
    }
}

static void count_hook(const struct verdict *verdict, uint64_t took_ms)
{
    switch (verdict->class) {
    case VERDICT_DELIVERED:
        metric_add(METRIC_HOOKS_ACKED, 1);
        metric_observe_us(METRIC_HOOK_LATENCY, took_ms * 1000);
        break;
    case VERDICT_DEFERRED:
        metric_add(METRIC_HOOKS_PUT_OFF, 1);
        break;
    case VERDICT_BOUNCED:
        metric_add(METRIC_HOOKS_FAILED, 1);
        break;
    }
}

static const char *event_of(bool is_hook, enum verdict_class class)
{
    switch (class) {
    case VERDICT_DELIVERED:
        return is_hook ? "webhook.acknowledged" : "mail.delivered";
    case VERDICT_DEFERRED:
        return is_hook ? "webhook.deferred" : "mail.deferred";
    case VERDICT_BOUNCED:
        break;
    }
    return is_hook ? "webhook.failed" : "mail.bounced";
}

void trip_count(const struct trip *trip, const struct verdict *verdict)
{
    const struct shard_claim *claim = trip_claim(trip);
    const uint64_t now_unix_ms = clock_unix_ms();
    const uint64_t took_ms = now_unix_ms - min_u64(now_unix_ms, trip->started_unix_ms);
    const uint64_t age_ms = now_unix_ms - min_u64(now_unix_ms, claim->created_unix_ms);
    const struct id mail = trip->entry->mail;
    if (claim->is_hook) {
        count_hook(verdict, took_ms);
    } else {
        count_mail(trip, verdict, age_ms);
    }
    const bool is_wanted =
        verdict->class == VERDICT_BOUNCED || trip->deliver->place->conf->mail_log;
    const bool has_class = verdict->bounce != BOUNCE_NONE && !claim->is_hook;
    LOG_LINE(LOG_LEVEL_IF(is_wanted), event_of(claim->is_hook, verdict->class),
             LOG_ID("message", ID_MESSAGE, mail), LOG_ACCOUNT("account", id_account(mail)),
             LOG_STR("site", trip->site->name), LOG_TEXT("domain", claim->entry.domain),
             LOG_STR("host", trip->remote_host), LOG_U64("attempt", claim->attempt),
             LOG_U64("code", verdict->code), LOG_STR("enhanced", verdict->enhanced),
             LOG_STR("class", has_class ? bounce_traits(verdict->bounce)->word : ""),
             LOG_U64("took_ms", took_ms), LOG_U64("age_ms", age_ms),
             LOG_TEXT("said", slice_head(slice_str(verdict->text),
                                         min_size(strlen(verdict->text), SAID_MAX))));
}
