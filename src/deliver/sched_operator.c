/* sched_operator.c - the schedule under the operator's hand.
 *
 * Lanes are of one account at one site, so what is due of either is moved lane by lane; what waits
 * for its time is found by a walk over all entries, some at a time.
 */
#include "deliver/sched_int.h"

#include "base/check.h"
#include "base/limits.h"

#include <string.h>

#define OLDEST_LANES 1000 /* accounts that are asked for a site's oldest entry */

static void take_back(struct sched *sched, struct lane *lane)
{
    struct site *site = lane->key.site;
    if (!lane->is_aside || lane->is_held || lane->tenant->is_held) {
        return;
    }
    lane->is_parked = false;
    lane->is_aside = false;
    list_remove(&lane->link);
    list_push_back(&site->lanes[lane->key.priority], &lane->link);
    sched_site_changed(sched, site);
}

void sched_held_changed(struct sched *sched, struct account_id account, struct site *site)
{
    struct tenant *tenant;
    HASH_FIND(hh, sched->tenants, &account, sizeof account, tenant);
    if (tenant == NULL) {
        return; /* whoever comes is asked for */
    }
    tenant->is_held = sched_is_held(sched, account, NULL);
    LIST_EACH_SAFE (&tenant->lanes_all, it, after) {
        struct lane *lane = CONTAINER_OF(it, struct lane, at_tenant);
        if (site == NULL || lane->key.site == site) {
            lane->is_held = sched_is_held(sched, account, lane->key.site);
            take_back(sched, lane);
        }
    }
}

/* All of the lane goes to the end of a queue; the lane is gone. */
static uint32_t empty_into(struct sched *sched, struct lane *lane, struct sched_queue *queue)
{
    struct site *site = lane->key.site;
    uint32_t count = lane->count;
    enum mail_priority priority = (enum mail_priority)lane->key.priority;
    CHECK(count > 0);
    if (queue->first == NULL) {
        queue->first = lane->queue.first;
    } else {
        queue->last->next = lane->queue.first;
    }
    queue->last = lane->queue.last;
    lane->queue.first = NULL;
    site->due[priority] -= count;
    sched->due[priority] -= count;
    sched->ready_count -= count;
    sched_lane_free(sched, lane);
    bool is_empty = true;
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        if (list_is_empty(&site->lanes[i])) {
            list_remove(&site->ready[i]);
        } else {
            is_empty = false;
        }
    }
    if (is_empty) {
        heap_remove(&sched->timed, &site->wake);
    }
    return count;
}

static uint32_t give_up_at(struct sched *sched, struct site *site, struct account_id account)
{
    uint32_t count = 0;
    site->dests += 1; /* holds it meanwhile */
    LIST_EACH_SAFE (&site->lanes_all, it, after) {
        struct lane *lane = CONTAINER_OF(it, struct lane, at_site);
        if (account.value == 0 || lane->key.account.value == account.value) {
            count += empty_into(sched, lane, &sched->given_up);
        }
    }
    site->dests -= 1;
    site_put(site);
    return count;
}

uint32_t sched_give_up_lanes(struct sched *sched, struct site *site, struct account_id account)
{
    struct tenant *tenant;
    uint32_t count = 0;
    if (site != NULL) {
        return give_up_at(sched, site, account);
    }
    HASH_FIND(hh, sched->tenants, &account, sizeof account, tenant);
    if (tenant == NULL) {
        return 0;
    }
    tenant->open += 1; /* holds it meanwhile */
    LIST_EACH_SAFE (&tenant->lanes_all, it, after) {
        struct lane *lane = CONTAINER_OF(it, struct lane, at_tenant);
        struct site *left = lane->key.site;
        count += empty_into(sched, lane, &sched->given_up);
        site_put(left);
    }
    tenant->open -= 1;
    sched_tenant_put(sched, tenant);
    return count;
}

bool sched_give_up(struct sched *sched, struct sched_entry *entry)
{
    if (entry->is_open || entry->is_laned || entry->is_given_up) {
        return false;
    }
    entry->is_given_up = true; /* in a domain's queue it goes on once the domain is looked up */
    if (entry->is_waiting) {
        heap_remove(&sched->waiting, &entry->due);
        entry->is_waiting = false;
        sched_push(&sched->given_up, entry);
    }
    return true;
}

bool sched_hasten(struct sched *sched, struct sched_entry *entry, uint64_t ready_unix_ms)
{
    bool is_later = entry->is_waiting && entry->due.key > ready_unix_ms;
    if (is_later) {
        entry->is_hastened = true;
        heap_update(&sched->waiting, &entry->due, ready_unix_ms);
    }
    return is_later;
}

void sched_loosen(struct sched *sched, struct site *site)
{
    struct dest *dest;
    struct dest *after;
    HASH_ITER(hh, sched->dests, dest, after)
    {
        dest->fresh_until_ms = dest->site == site ? 0 : dest->fresh_until_ms;
    }
    site->dests += 1; /* holds it meanwhile */
    LIST_EACH_SAFE (&site->lanes_all, it, next) {
        (void)empty_into(sched, CONTAINER_OF(it, struct lane, at_site), &sched->loose);
    }
    site->dests -= 1;
    site_put(site);
}

void sched_oldest_by(const struct site *site, uint64_t oldest_unix_ms[PRIORITY_COUNT])
{
    uint32_t looked_at = 0;
    memset(oldest_unix_ms, 0, PRIORITY_COUNT * sizeof *oldest_unix_ms);
    for (const struct link *it = site->lanes_all.next;
         it != &site->lanes_all && looked_at < OLDEST_LANES; it = it->next) {
        const struct lane *lane = CONTAINER_OF(it, struct lane, at_site);
        uint64_t *oldest = &oldest_unix_ms[lane->key.priority];
        uint64_t due_unix_ms = lane->queue.first->due_unix_ms;
        if (*oldest == 0 || due_unix_ms < *oldest) {
            *oldest = due_unix_ms;
        }
        looked_at += 1;
    }
}

uint64_t sched_oldest(const struct site *site)
{
    uint64_t of[PRIORITY_COUNT];
    uint64_t oldest_unix_ms = 0;
    sched_oldest_by(site, of);
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        if (of[i] != 0 && (oldest_unix_ms == 0 || of[i] < oldest_unix_ms)) {
            oldest_unix_ms = of[i];
        }
    }
    return oldest_unix_ms;
}

/* Other accounts' lanes take turns with it: of each, as many go before as stand before in its own.
 * Of ten turns one is bulk's. */
static uint32_t others_ahead(const struct lane *lane, uint32_t position, bool *has_more)
{
    const struct site *site = lane->key.site;
    uint32_t ahead = 0;
    uint32_t looked_at = 0;
    for (const struct link *it = site->lanes_all.next; it != &site->lanes_all; it = it->next) {
        const struct lane *other = CONTAINER_OF(it, struct lane, at_site);
        bool is_same = other->key.priority == lane->key.priority;
        if (looked_at++ == OLDEST_LANES) {
            *has_more = true;
            break;
        }
        if (is_same && other != lane && !other->is_parked) {
            ahead += (uint32_t)min_u64(other->count, (uint64_t)position + 1);
        }
    }
    return ahead;
}

bool sched_line_of(const struct sched *sched, const struct sched_entry *entry,
                   struct sched_line *line)
{
    const struct lane_key key = {entry->dest->site, id_account(entry->mail), entry->priority};
    const struct sched_entry *at;
    const struct lane *lane;
    uint32_t position = 0;
    *line = (struct sched_line){.ahead = 0};
    HASH_FIND(hh, sched->lanes, &key, sizeof key, lane);
    if (lane == NULL) {
        return false;
    }
    for (at = lane->queue.first; at != NULL && at != entry && position < EXPLAIN_LINE_MAX;
         at = at->next) {
        position += 1;
    }
    if (at == NULL) {
        return false; /* its domain moved to another site, it did not yet */
    }
    line->has_more = at != entry;
    line->is_waiting = lane->is_parked && !lane->is_aside;
    uint64_t ahead = position + others_ahead(lane, position, &line->has_more);
    bool is_bulk = key.priority == PRIORITY_BULK;
    uint64_t in_turn = is_bulk ? (SCHED_BULK_EVERY - 1) * (ahead + 1) : ahead / SCHED_BULK_EVERY;
    ahead += min_u64(in_turn, key.site->due[is_bulk ? PRIORITY_TRANSACTIONAL : PRIORITY_BULK]);
    line->ahead = (uint32_t)min_u64(ahead, UINT32_MAX);
    return true;
}

bool sched_walk(struct sched *sched, struct sched_cursor *cursor, uint32_t places,
                const struct sched_visit *visit)
{
    if (!cursor->has_begun) {
        *cursor = (struct sched_cursor){.slab = sched->slabs, .has_begun = true};
    }
    for (; places > 0 && cursor->slab != NULL; places--) {
        /* The cursor is const to its owner; the entries are the schedule's. */
        struct slab *slab = (struct slab *)(uintptr_t)cursor->slab;
        struct sched_entry *entry = &slab->entries[cursor->index];
        if (entry->dest != NULL) {
            visit->fn(visit->context, entry);
        }
        cursor->index += 1;
        if (cursor->index == SLAB_ENTRIES) {
            cursor->slab = slab->next;
            cursor->index = 0;
        }
    }
    return cursor->slab != NULL;
}
