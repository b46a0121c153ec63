/* site.c - destinations: feedback, circuit, bookkeeping. */
#include "deliver/site.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"

#define LIMIT_START       4
#define SITE_FAILURES_MAX 5
#define CLOSED_FIRST_MS   UINT64_C(30000)
#define CLOSED_MAX_MS     UINT64_C(1800000)

struct site_table {
    struct site *by_name;
    struct link ready;
    uint32_t limit_max;
};

struct site_table *site_table_new(uint32_t limit_max)
{
    CHECK(limit_max > 0);
    struct site_table *table = mem_zalloc(sizeof *table);
    list_init(&table->ready);
    table->limit_max = limit_max;
    return table;
}

static void forget(struct site *site)
{
    CHECK(list_is_empty(&site->lanes));
    CHECK(list_is_empty(&site->idle_conns));
    CHECK(list_is_empty(&site->queue));
    HASH_DEL(site->table->by_name, site);
    list_remove(&site->link);
    free(site);
}

void site_table_free(struct site_table *table)
{
    struct site *site;
    struct site *after;
    HASH_ITER(hh, table->by_name, site, after)
    {
        CHECK(site->entries == 0);
        CHECK(site->idle_count == 0);
        forget(site);
    }
    free(table);
}

struct site *site_get(struct site_table *table, struct slice name)
{
    struct site *site;
    size_t len = min_size(name.len, SITE_NAME_MAX - 1);
    HASH_FIND(hh, table->by_name, name.data, (unsigned)len, site);
    if (site != NULL) {
        return site;
    }
    site = mem_zalloc(sizeof *site);
    memcpy(site->name, name.data, len);
    site->table = table;
    list_init(&site->link);
    list_init(&site->lanes);
    list_init(&site->idle_conns);
    list_init(&site->queue);
    site->limit = LIMIT_START < table->limit_max ? LIMIT_START : table->limit_max;
    HASH_ADD_KEYPTR(hh, table->by_name, site->name, (unsigned)len, site);
    return site;
}

void site_put(struct site *site)
{
    if (site->entries == 0 && site->open == 0 && site->idle_count == 0 && site->failures == 0) {
        forget(site);
        return;
    }
    /* A bad record is worth its bytes only while the table has room. */
    if (site->entries == 0 && site->open == 0 && site->idle_count == 0 &&
        HASH_COUNT(site->table->by_name) > SITE_MAX) {
        forget(site);
    }
}

bool site_admits(const struct site *site, uint64_t now_ms)
{
    if (site->closed_until_ms == 0) {
        return site->open < site->limit * SITE_TRIPS_PER_CONN;
    }
    return now_ms >= site->closed_until_ms && site->open == 0; /* one probe */
}

void site_feedback(struct site *site, enum site_feedback feedback, uint64_t now_ms)
{
    CHECK(site->limit >= 1);
    CHECK(site->limit <= site->table->limit_max);
    if (feedback == SITE_GOOD) {
        site->failures = 0;
        site->closed_until_ms = 0;
        site->limit += site->limit < site->table->limit_max ? 1 : 0;
        return;
    }
    if (now_ms < site->closed_until_ms) {
        return; /* begun before the circuit opened: the same event, not one more probe */
    }
    site->failures += 1;
    site->limit = site->limit > 1 ? site->limit / 2 : 1;
    if (site->failures < SITE_FAILURES_MAX) {
        return;
    }
    uint32_t doublings = site->failures - SITE_FAILURES_MAX;
    uint64_t pause_ms = doublings > 6 ? CLOSED_MAX_MS : CLOSED_FIRST_MS << doublings;
    site->closed_until_ms = now_ms + min_u64(pause_ms, CLOSED_MAX_MS);
}

uint32_t site_table_count(const struct site_table *table)
{
    return HASH_COUNT(table->by_name);
}

uint64_t site_next_opening_ms(const struct site_table *table)
{
    uint64_t soonest = UINT64_MAX;
    LIST_EACH (&table->ready, it) {
        const struct site *site = CONTAINER_OF(it, struct site, link);
        if (site->closed_until_ms != 0 && site->open == 0) {
            soonest = min_u64(soonest, site->closed_until_ms);
        }
    }
    return soonest;
}

struct site *site_table_idle(const struct site_table *table)
{
    for (struct site *site = table->by_name; site != NULL; site = site->hh.next) {
        if (site->idle_count > 0) {
            return site;
        }
    }
    return NULL;
}

struct link *site_table_ready(struct site_table *table)
{
    return &table->ready;
}
