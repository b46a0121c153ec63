/* group.c - from a domain to its site. */
#include "deliver/group.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

#define FRESH_MS   UINT64_C(900000)
#define UNSURE_MS  UINT64_C(60000) /* the DNS did not answer */
#define FOREVER_MS UINT64_MAX
#define ALONE_MS   UINT64_C(3600000)
#define SMARTHOST  "smarthost"

struct look {
    struct link link;
    struct group_finder *finder;
    struct dest *dest;
    struct dns_query mx;
};

bool group_is_hook(struct slice name)
{
    return slice_find_byte(name, '/') != SIZE_MAX; /* no domain has a slash */
}

struct slice group_of_site(const struct site *site)
{
    struct slice name = slice_str(site->name);
    size_t bar = slice_find_byte(name, '|');
    return bar == SIZE_MAX ? name : slice_from(name, bar + 1);
}

bool group_has_host(const struct policy *policy, const struct site *site, struct slice domain,
                    struct slice host)
{
    struct policy_group group;
    struct slice name = group_of_site(site);
    policy_group(policy, domain, host, &group);
    return slice_equal(name, slice_str(group.name)) || slice_equal_nocase(name, domain);
}

/* An unknown pool is the default one: mail that was accepted leaves, whatever was renamed since. */
static struct slice pool_of(const struct group_finder *finder, const struct dest *dest)
{
    struct slice pool = dest_pool(dest);
    if (pool.len > 0 && policy_pool(finder->policy, pool) == NULL) {
        LOG_WARN("group.pool", LOG_TEXT("pool", pool), LOG_TEXT("domain", dest_domain(dest)));
        return SLICE("");
    }
    return pool;
}

static void name_site(char name[SITE_NAME_MAX], struct slice pool, struct slice group)
{
    if (pool.len > 0) {
        (void)snprintf(name, SITE_NAME_MAX, "%.*s|%.*s", SLICE_FMT(pool), SLICE_FMT(group));
    } else {
        (void)snprintf(name, SITE_NAME_MAX, "%.*s", SLICE_FMT(group)); /* cut as site_get does */
    }
}

static void name_for(const struct group_finder *finder, const struct dest *dest, struct slice group,
                     char name[SITE_NAME_MAX])
{
    struct slice pool = group_is_hook(group) ? SLICE("") : pool_of(finder, dest);
    name_site(name, pool, group);
    if (finder->moved_to != NULL && !group_is_hook(group)) {
        struct slice other = SLICE("");
        finder->moved_to(finder->moved_owner, slice_str(name), &other);
        if (other.len > 0 && policy_pool(finder->policy, other) != NULL) {
            name_site(name, other, group);
        }
    }
}

static void settle(struct group_finder *finder, struct dest *dest, struct slice group,
                   const struct site_rules *rules, uint64_t fresh_ms)
{
    char name[SITE_NAME_MAX];
    name_for(finder, dest, group, name);
    uint64_t until_ms = fresh_ms == FOREVER_MS ? FOREVER_MS : loop_now_ms(finder->loop) + fresh_ms;
    sched_resolve(finder->sched, dest, slice_str(name), rules, until_ms);
}

void group_set_alone(struct group_finder *finder, struct dest *dest)
{
    char name[SITE_NAME_MAX];
    name_for(finder, dest, dest_domain(dest), name);
    struct site *own = site_get(finder->sched->sites, slice_str(name), &finder->policy->rules);
    own->alone_until_ms = loop_now_ms(finder->loop) + ALONE_MS;
    dest->fresh_until_ms = 0;
}

static bool is_alone(const struct group_finder *finder, const struct dest *dest)
{
    char name[SITE_NAME_MAX];
    name_for(finder, dest, dest_domain(dest), name);
    const struct site *own = site_find(finder->sched->sites, slice_str(name));
    return own != NULL && loop_now_ms(finder->loop) < own->alone_until_ms;
}

/* The first of those with the best preference by name, so that the group does not change with the
 * order of the answer. */
static struct slice best_host(const struct dns_answer *answer)
{
    struct slice best = SLICE("");
    uint32_t best_priority = UINT32_MAX;
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        bool is_better =
            record->priority < best_priority ||
            (record->priority == best_priority && slice_compare(record->text, best) < 0);
        if (is_better) {
            best = record->text;
            best_priority = record->priority;
        }
    }
    return best;
}

static void end(struct look *look)
{
    list_remove(&look->link);
    look->finder->look_count -= 1;
    free(look);
}

static void on_mx(struct dns_query *query, const struct dns_answer *answer)
{
    struct look *look = CONTAINER_OF(query, struct look, mx);
    struct group_finder *finder = look->finder;
    struct dest *dest = look->dest;
    struct policy_group group;
    /* Without a host the domain is alone. */
    policy_group(finder->policy, dest_domain(dest),
                 is_alone(finder, dest) ? SLICE("") : best_host(answer), &group);
    end(look);
    settle(finder, dest, slice_str(group.name), &group.rules,
           answer->err == ERR_DNS_TEMP ? UNSURE_MS : FRESH_MS);
    finder->on_found(finder);
}

static void ask(struct group_finder *finder, struct dest *dest)
{
    struct look *look = mem_zalloc(sizeof *look);
    look->finder = finder;
    look->dest = dest;
    list_push_back(&finder->looks, &look->link);
    finder->look_count += 1;
    dns_ask(finder->dns, &look->mx, DNS_MX, dest_domain(dest), on_mx);
}

void group_find(struct group_finder *finder)
{
    CHECK_LOOP(finder->loop);
    while (finder->look_count < GROUP_LOOKUPS_MAX) {
        struct dest *dest = sched_next_unknown(finder->sched);
        if (dest == NULL) {
            return;
        }
        struct slice domain = dest_domain(dest);
        if (group_is_hook(domain)) {
            settle(finder, dest, domain, NULL, FOREVER_MS);
        } else if (finder->has_smarthost) {
            settle(finder, dest, SLICE(SMARTHOST), NULL, FOREVER_MS);
        } else {
            ask(finder, dest);
        }
    }
}

void group_cancel(struct group_finder *finder)
{
    LIST_EACH_SAFE (&finder->looks, it, after) {
        struct look *look = CONTAINER_OF(it, struct look, link);
        struct dest *dest = look->dest;
        dns_cancel(&look->mx);
        end(look);
        sched_unask(finder->sched, dest);
    }
}
