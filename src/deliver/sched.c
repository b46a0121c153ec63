/* sched.c - the schedule: one heap of what is not yet due, lanes of what is.
 *
 *   waiting heap --due--> site.lanes[account].entries --turn--> sched_next
 */
#include "deliver/sched.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"

void sched_init(struct sched *sched, struct site_table *sites)
{
    *sched = (struct sched){.sites = sites};
    heap_init(&sched->waiting);
}

static struct sched_entry *of_link(struct link *link)
{
    return CONTAINER_OF(link, struct sched_entry, link);
}

void sched_free(struct sched *sched, struct sched_entry *entry)
{
    CHECK(!heap_has(&entry->due));
    CHECK(sched->count > 0);
    CHECK(entry->site->entries > 0);
    sched->count -= 1;
    entry->site->entries -= 1;
    site_put(entry->site);
    free(entry);
}

static void lane_free(struct lane *lane)
{
    CHECK(list_is_empty(&lane->entries));
    list_remove(&lane->link);
    free(lane);
}

static void empty_lanes(struct sched *sched, struct site *site)
{
    site->entries += 1; /* holds the site while its last entries go */
    list_remove(&site->link);
    LIST_EACH_SAFE (&site->lanes, it, after) {
        struct lane *lane = CONTAINER_OF(it, struct lane, link);
        struct link *link;
        while ((link = list_pop_front(&lane->entries)) != NULL) {
            sched_free(sched, of_link(link));
        }
        lane_free(lane);
    }
    site->entries -= 1;
    site_put(site);
}

void sched_fini(struct sched *sched)
{
    struct heap_node *node;
    while ((node = heap_pop(&sched->waiting)) != NULL) {
        sched_free(sched, CONTAINER_OF(node, struct sched_entry, due));
    }
    struct link *ready = site_table_ready(sched->sites);
    while (!list_is_empty(ready)) {
        empty_lanes(sched, CONTAINER_OF(ready->next, struct site, link));
    }
    CHECK(sched->count == 0);
    heap_fini(&sched->waiting);
}

bool sched_add(struct sched *sched, const struct outbox_entry *outbox, uint64_t ready_unix_ms)
{
    if (sched->count >= SCHED_ENTRIES_MAX) {
        return false;
    }
    struct sched_entry *entry = mem_zalloc(sizeof *entry);
    entry->mail = outbox->mail;
    entry->group = outbox->group;
    entry->due_unix_ms = outbox->due_unix_ms;
    entry->site = site_get(sched->sites, outbox->domain);
    entry->site->entries += 1;
    entry->due.key = ready_unix_ms;
    list_init(&entry->link);
    heap_add(&sched->waiting, &entry->due);
    sched->count += 1;
    return true;
}

/* Accounts at one site are few; a site with very many takes longer here, not in sched_next. */
static struct lane *lane_of(struct site *site, struct account_id account)
{
    LIST_EACH (&site->lanes, it) {
        struct lane *lane = CONTAINER_OF(it, struct lane, link);
        if (lane->account.value == account.value) {
            return lane;
        }
    }
    struct lane *lane = mem_zalloc(sizeof *lane);
    lane->account = account;
    list_init(&lane->entries);
    list_push_back(&site->lanes, &lane->link);
    return lane;
}

uint64_t sched_advance(struct sched *sched, uint64_t now_unix_ms)
{
    CHECK(sched->ready_count <= sched->count);
    struct heap_node *node;
    while ((node = heap_first(&sched->waiting)) != NULL && node->key <= now_unix_ms) {
        heap_remove(&sched->waiting, node);
        struct sched_entry *entry = CONTAINER_OF(node, struct sched_entry, due);
        struct site *site = entry->site;
        struct lane *lane = lane_of(site, id_account(entry->mail));
        list_push_back(&lane->entries, &entry->link);
        sched->ready_count += 1;
        if (list_is_empty(&site->link)) {
            list_push_back(site_table_ready(sched->sites), &site->link);
        }
    }
    return node == NULL ? UINT64_MAX : node->key;
}

static struct sched_entry *take(struct sched *sched, struct site *site)
{
    CHECK(!list_is_empty(&site->lanes)); /* or it would not be ready */
    CHECK(sched->ready_count > 0);
    struct lane *lane = CONTAINER_OF(site->lanes.next, struct lane, link);
    struct sched_entry *entry = of_link(list_pop_front(&lane->entries));
    sched->ready_count -= 1;
    list_remove(&lane->link);
    if (list_is_empty(&lane->entries)) {
        free(lane);
    } else {
        list_push_back(&site->lanes, &lane->link);
    }
    list_remove(&site->link);
    if (!list_is_empty(&site->lanes)) {
        list_push_back(site_table_ready(sched->sites), &site->link);
    }
    return entry;
}

struct sched_entry *sched_next(struct sched *sched, uint64_t now_ms)
{
    LIST_EACH (site_table_ready(sched->sites), it) {
        struct site *site = CONTAINER_OF(it, struct site, link);
        if (site_admits(site, now_ms)) {
            return take(sched, site);
        }
    }
    return NULL;
}
