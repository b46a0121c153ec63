/* source.c - turns by weight, and the schedule of a new address. */
#include "deliver/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define OTHERS "others"

/* What providers and those who send a lot advise: about twice as much each day. */
static const uint32_t quotas[SOURCE_WARM_DAYS] = {
    50,    100,    500,    1000,   5000,   10000,  20000,   40000,
    70000, 100000, 150000, 250000, 400000, 600000, 1000000,
};

struct turn {
    char pool[POOL_NAME_MAX + 1];
    struct source *sources[POLICY_SOURCES_MAX];
    uint32_t count;
};

struct source_table {
    struct source *by_key;
    struct turn *turns; /* one a pool */
    uint32_t turn_count;
};

struct source_table *source_table_new(void)
{
    struct source_table *table = mem_zalloc(sizeof *table);
    table->turns = mem_zalloc(POLICY_POOLS_MAX * sizeof *table->turns);
    return table;
}

void source_table_free(struct source_table *table)
{
    struct source *source;
    struct source *after;
    HASH_ITER(hh, table->by_key, source, after)
    {
        HASH_DEL(table->by_key, source);
        free(source);
    }
    free(table->turns);
    free(table);
}

static struct source *source_get(struct source_table *table, struct slice pool,
                                 const struct policy_source *given)
{
    char key[SOURCE_KEY_MAX];
    char text[ADDR_TEXT_MAX];
    struct source *source;
    (void)conn_addr_text(&given->addr, text); /* one form, however it was written */
    (void)snprintf(key, sizeof key, "%.*s|%s", SLICE_FMT(pool), text);
    HASH_FIND_STR(table->by_key, key, source);
    if (source == NULL) {
        source = mem_zalloc(sizeof *source);
        memcpy(source->key, key, sizeof key);
        source->addr = given->addr;
        HASH_ADD_STR(table->by_key, key, source);
    }
    return source;
}

void source_table_apply(struct source_table *table, const struct policy *policy)
{
    table->turn_count = policy->pool_count;
    for (uint32_t i = 0; i < policy->pool_count; i++) {
        const struct policy_pool *pool = &policy->pools[i];
        struct turn *turn = &table->turns[i];
        turn->count = 0;
        (void)snprintf(turn->pool, sizeof turn->pool, "%.*s", SLICE_FMT(pool->name));
        for (uint32_t n = 0; n < pool->source_count; n++) {
            const struct policy_source *given = &pool->sources[n];
            struct source *source = source_get(table, pool->name, given);
            source->weight = given->weight;
            source->is_warming = given->is_warming;
            source->credit = 0;
            (void)snprintf(source->helo, sizeof source->helo, "%.*s", SLICE_FMT(given->helo));
            turn->sources[turn->count++] = source;
        }
    }
}

const char *source_text(const struct source *source)
{
    return strchr(source->key, '|') + 1; /* every key has one */
}

bool source_table_wants_notes(const struct source_table *table)
{
    for (const struct source *source = table->by_key; source != NULL; source = source->hh.next) {
        if (source->is_warming && !source->is_known) {
            return true;
        }
    }
    return false;
}

void source_table_has_notes(struct source_table *table)
{
    for (struct source *source = table->by_key; source != NULL; source = source->hh.next) {
        source->is_known = true;
    }
}

/* ---- warming -------------------------------------------------------------------------------- */

uint32_t source_quota(uint32_t step)
{
    return step < SOURCE_WARM_DAYS ? quotas[step] : UINT32_MAX;
}

/* A day without a mail teaches nobody to trust us: only those with one count. A clock that is set
 * back begins no new day. */
static void turn_day(struct source *source, uint32_t day)
{
    if (source->day == day) {
        return;
    }
    if (day < source->day) {
        source->day = day;
        return;
    }
    source->step += source->count_len > 0 ? 1 : 0;
    source->day = day;
    source->count_len = 0;
    source->is_changed = true;
}

static struct source_count *count_of(struct source *source, struct slice group)
{
    struct slice name = group.len > 0 ? group : SLICE(OTHERS);
    bool is_full = source->count_len == SOURCE_GROUPS_MAX;
    for (uint32_t i = 0; i < source->count_len; i++) {
        struct source_count *count = &source->counts[i];
        bool is_last = is_full && i + 1 == SOURCE_GROUPS_MAX; /* all that have no place */
        if (is_last || slice_equal(slice_str(count->group), name)) {
            return count;
        }
    }
    struct source_count *count = &source->counts[source->count_len++];
    *count = (struct source_count){.sent = 0};
    (void)snprintf(count->group, sizeof count->group, "%.*s", SLICE_FMT(name));
    return count;
}

bool source_may(struct source *source, struct slice group, uint32_t day)
{
    if (!source->is_warming) {
        return true;
    }
    turn_day(source, day);
    if (source_quota(source->step) == UINT32_MAX) {
        return true;
    }
    struct slice name = group.len > 0 ? group : SLICE(OTHERS);
    for (uint32_t i = 0; i < source->count_len; i++) {
        bool is_last = i + 1 == SOURCE_GROUPS_MAX;
        if (is_last || slice_equal(slice_str(source->counts[i].group), name)) {
            return source->counts[i].sent < source_quota(source->step);
        }
    }
    return true;
}

void source_sent(struct source *source, struct slice group, uint32_t day, uint32_t mails)
{
    if (!source->is_warming) {
        return;
    }
    turn_day(source, day);
    count_of(source, group)->sent += mails;
    source->is_changed = true;
}

/* ---- turns ---------------------------------------------------------------------------------- */

static struct turn *turn_of(struct source_table *table, struct slice pool)
{
    for (uint32_t i = 0; i < table->turn_count; i++) {
        if (slice_equal(slice_str(table->turns[i].pool), pool)) {
            return &table->turns[i];
        }
    }
    return NULL;
}

/* Of a pool that is gone: those of the default one, as source_choose has it. */
static const struct turn *turn_for(struct source_table *table, struct slice pool)
{
    const struct turn *turn = turn_of(table, pool);
    return turn != NULL ? turn : turn_of(table, SLICE(""));
}

struct source_tally source_table_tally(struct source_table *table, struct slice pool,
                                       struct slice group, uint32_t day)
{
    const struct turn *turn = turn_for(table, pool);
    struct source_tally tally = {.count = turn == NULL ? 0 : turn->count};
    for (uint32_t i = 0; i < tally.count; i++) {
        tally.used_up += !source_may(turn->sources[i], group, day);
    }
    return tally;
}

/* Smooth weighted turns: everybody earns his weight, the richest goes and pays for all. */
enum source_answer source_choose(struct source_table *table, const struct source_wish *wish,
                                 struct source **source)
{
    const struct turn *turn = turn_for(table, wish->pool);
    struct source *best = NULL;
    int64_t total = 0;
    bool has_family = false;
    for (uint32_t i = 0; turn != NULL && i < turn->count; i++) {
        struct source *one = turn->sources[i];
        if (one->addr.storage.ss_family != wish->family || one->weight == 0) {
            continue;
        }
        has_family = true;
        if (!source_may(one, wish->group, wish->day)) {
            continue;
        }
        one->credit += one->weight;
        total += one->weight;
        best = best == NULL || one->credit > best->credit ? one : best;
    }
    if (turn == NULL) {
        return SOURCE_ANY;
    }
    if (best == NULL) {
        return has_family ? SOURCE_USED_UP : SOURCE_NO_FAMILY;
    }
    best->credit -= total;
    *source = best;
    return SOURCE_FOUND;
}

/* ---- what is kept --------------------------------------------------------------------------- */

struct source *source_changed(struct source_table *table)
{
    for (struct source *source = table->by_key; source != NULL; source = source->hh.next) {
        if (source->is_changed) {
            return source;
        }
    }
    return NULL;
}

void source_pack(struct source *source, struct buf *out)
{
    buf_put_u32(out, source->step);
    buf_put_u32(out, source->day);
    for (uint32_t i = 0; i < source->count_len; i++) {
        buf_put_slice(out, slice_str(source->counts[i].group));
        buf_put_u32(out, source->counts[i].sent);
    }
    source->is_changed = false;
}

bool source_unpack(struct source_table *table, struct slice key, struct slice bytes)
{
    struct source *source;
    struct source kept = {.count_len = 0};
    HASH_FIND(hh, table->by_key, key.data, (unsigned)key.len, source);
    if (source == NULL || source->is_known) {
        return true; /* the policy names it no more, or we know better */
    }
    if (!get_u32(&bytes, &kept.step) || !get_u32(&bytes, &kept.day)) {
        return false;
    }
    while (bytes.len > 0) {
        struct slice group;
        uint32_t sent = 0;
        bool is_good = kept.count_len < SOURCE_GROUPS_MAX && get_slice(&bytes, &group) &&
                       group.len <= POOL_NAME_MAX && get_u32(&bytes, &sent);
        if (!is_good) {
            return false;
        }
        struct source_count *count = &kept.counts[kept.count_len++];
        (void)snprintf(count->group, sizeof count->group, "%.*s", SLICE_FMT(group));
        count->sent = sent;
    }
    source->step = kept.step;
    source->day = kept.day;
    source->count_len = kept.count_len;
    memcpy(source->counts, kept.counts, sizeof kept.counts);
    return true;
}
