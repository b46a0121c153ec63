/* count.c - what delivery tells the metrics about its sites, in as many words as the policy has
 * providers.
 *
 * Sites come and go with the domains that people write to, so none is a label of its own: a site of
 * a named provider counts under its name, a webhook's origin under "webhook", everybody else under
 * "other". The names are those of the policy at start.
 */
#include "deliver/deliver_int.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/metric.h"

#include <string.h>

#define COUNT_EVERY_MS 1000
#define LABEL_WEBHOOK  1
#define LABEL_PROVIDER 2   /* the first */
#define OLDEST_SITES   200 /* that are asked for their oldest entry, and all of providers */

struct sum {
    uint64_t due[PRIORITY_COUNT];
    uint64_t entries;
    uint64_t open;
    uint64_t closed;
    uint64_t oldest_unix_ms[PRIORITY_COUNT]; /* 0: nothing is due */
};

_Static_assert((int)LABEL_PRIORITY_COUNT == (int)PRIORITY_COUNT, "a label for each priority");

void deliver_name_sites(const struct policy *policy)
{
    metric_name_site(LABEL_WEBHOOK, SLICE("webhook"));
    uint32_t label = LABEL_PROVIDER;
    for (uint32_t i = 0; i < policy->provider_count && label < LABEL_SITE_COUNT; i++) {
        const struct slice name = policy->providers[i].name;
        if (metric_site(name) != 0 || slice_equal(name, SLICE("other"))) {
            continue; /* it counts with those: no name may be there twice */
        }
        metric_name_site(label, name);
        label += 1;
    }
}

uint32_t deliver_site_label(const struct site *site)
{
    const struct slice group = group_of_site(site);
    if (group_is_hook(group)) {
        return LABEL_WEBHOOK;
    }
    return site->rules.is_provider ? metric_site(group) : 0; /* most are everybody else's */
}

static void add_site(struct sum *sum, const struct site *site, uint64_t now_ms, bool asks_oldest)
{
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        sum->due[i] += site->due[i];
    }
    sum->entries += site->entries;
    sum->open += site->open;
    sum->closed += site->is_held || site->closed_until_ms > now_ms ? 1 : 0;
    if (!asks_oldest) {
        return;
    }
    uint64_t oldest_unix_ms[PRIORITY_COUNT];
    sched_oldest_by(site, oldest_unix_ms);
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        uint64_t *oldest = &sum->oldest_unix_ms[i];
        if (oldest_unix_ms[i] != 0 && (*oldest == 0 || oldest_unix_ms[i] < *oldest)) {
            *oldest = oldest_unix_ms[i];
        }
    }
}

static void show(uint32_t label, const struct sum *sum, uint64_t now_unix_ms)
{
    for (uint32_t i = 0; i < PRIORITY_COUNT; i++) {
        const uint64_t oldest_unix_ms = sum->oldest_unix_ms[i];
        const bool is_late = oldest_unix_ms != 0 && oldest_unix_ms < now_unix_ms;
        metric_set_at(METRIC_SITE_DUE, metric_pair(METRIC_SITE_DUE, label, i), sum->due[i]);
        metric_set_at(METRIC_SITE_OLDEST, metric_pair(METRIC_SITE_OLDEST, label, i),
                      is_late ? now_unix_ms - oldest_unix_ms : 0);
    }
    metric_set_at(METRIC_SITE_ENTRIES, label, sum->entries);
    metric_set_at(METRIC_SITE_OPEN, label, sum->open);
    metric_set_at(METRIC_SITE_CLOSED, label, sum->closed);
}

static void count_sites(const struct deliver *deliver, uint64_t now_ms)
{
    struct sum sums[LABEL_SITE_COUNT];
    memset(sums, 0, sizeof sums);
    const uint64_t now_unix_ms = clock_unix_ms();
    const struct site *site = NULL;
    uint32_t asked = 0;
    while ((site = site_table_next(deliver->sites, site)) != NULL) {
        const bool is_due = site->due[PRIORITY_TRANSACTIONAL] + site->due[PRIORITY_BULK] > 0;
        const bool is_provider = site->rules.is_provider; /* few, and an alert each */
        const bool asks_oldest = is_due && (is_provider || asked < OLDEST_SITES);
        asked += asks_oldest && !is_provider ? 1 : 0;
        add_site(&sums[deliver_site_label(site)], site, now_ms, asks_oldest);
    }
    for (uint32_t i = 0; i < LABEL_SITE_COUNT; i++) {
        show(i, &sums[i], now_unix_ms);
    }
}

void deliver_count(struct deliver *deliver)
{
    CHECK_LOOP(deliver->loop);
    const uint64_t now_ms = loop_now_ms(deliver->loop);
    metric_set(METRIC_SCHED_ENTRIES, deliver->sched.count);
    metric_set(METRIC_SCHED_HOOKS, deliver->sched.hook_count);
    metric_set(METRIC_ATTEMPTS_OPEN, deliver->trip_count);
    metric_set(METRIC_SCHED_TRANSACTIONAL, deliver->sched.due[PRIORITY_TRANSACTIONAL]);
    metric_set(METRIC_SCHED_BULK, deliver->sched.due[PRIORITY_BULK]);
    metric_set(METRIC_SITES, site_table_count(deliver->sites));
    if (now_ms >= deliver->counted_ms + COUNT_EVERY_MS) { /* it looks at each */
        deliver->counted_ms = now_ms;
        metric_set(METRIC_SITES_CLOSED, site_table_closed(deliver->sites, now_ms));
        count_sites(deliver, now_ms);
    }
}
