/* sched.c - the schedule: one heap of what is not yet due, lanes of what is.
 *
 * A site with due entries is in exactly one place for each class: in the turn (ready), in the heap
 * of those that only time keeps waiting (timed), among those that have their share (crowded), or
 * nowhere, when only the end of one of its own trips can let it admit; every such end puts it back
 * (sched_site_changed). A lane is at its site, or parked at its tenant while the account has its
 * share. So what cannot go is not looked at again and again.
 */
#include "deliver/sched_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"

#define ROWS_FIRST   1024
#define DEST_KEY_MAX (POOL_NAME_MAX + 1 + DNS_NAME_MAX + 1)
#define UNPARK_MAX   4    /* lanes that come back when a trip ends */
#define LOOSE_MAX    4096 /* entries that look for their sites again, a turn */

_Static_assert(sizeof(struct lane_key) == 3 * sizeof(uint64_t), "hashed as bytes");
_Static_assert(sizeof(struct sched_entry) <= 64, "a cache line, a million times");

static void into_lane(struct sched *sched, struct sched_entry *entry);

/* ---- entries -------------------------------------------------------------------------------- */

static struct sched_entry *entry_new(struct sched *sched)
{
    if (sched->unused == NULL) {
        struct slab *slab = mem_zalloc(sizeof *slab);
        slab->next = sched->slabs;
        sched->slabs = slab;
        for (size_t i = SLAB_ENTRIES; i > 0; i--) {
            slab->entries[i - 1].next = sched->unused;
            sched->unused = &slab->entries[i - 1];
        }
    }
    struct sched_entry *entry = sched->unused;
    sched->unused = entry->next;
    *entry = (struct sched_entry){.next = NULL};
    sched->count += 1;
    return entry;
}

static void entry_free(struct sched *sched, struct sched_entry *entry)
{
    CHECK(!heap_has(&entry->due));
    CHECK(sched->count > 0);
    sched->count -= 1;
    entry->dest = NULL; /* how a walk knows it */
    entry->next = sched->unused;
    sched->unused = entry;
}

static struct sched_entry *pop(struct sched_queue *queue)
{
    struct sched_entry *entry = queue->first;
    queue->first = entry->next;
    entry->next = NULL;
    return entry;
}

/* ---- rows: which are known already ---------------------------------------------------------- */

static uint32_t place_of(const struct sched *sched, struct id mail, uint32_t group)
{
    uint64_t a;
    uint64_t b;
    memcpy(&a, mail.bytes, sizeof a);
    memcpy(&b, mail.bytes + sizeof a, sizeof b);
    uint64_t mixed =
        (a ^ (b * UINT64_C(0x9e3779b97f4a7c15)) ^ group) * UINT64_C(0xff51afd7ed558ccd);
    mixed ^= mixed >> 32;
    return (uint32_t)(mixed * UINT64_C(0xc4ceb9fe1a85ec53) >> 32) & (sched->row_capacity - 1);
}

static uint32_t home_of(const struct sched *sched, const struct sched_entry *entry)
{
    return place_of(sched, entry->mail, entry->group);
}

static struct sched_entry *row_find(const struct sched *sched, struct id mail, uint32_t group)
{
    if (sched->row_capacity == 0) {
        return NULL;
    }
    uint32_t place = place_of(sched, mail, group);
    while (sched->rows[place] != NULL) {
        struct sched_entry *entry = sched->rows[place];
        if (entry->group == group && id_equal(entry->mail, mail)) {
            return entry;
        }
        place = (place + 1) & (sched->row_capacity - 1);
    }
    return NULL;
}

struct sched_entry *sched_find(const struct sched *sched, struct id mail, uint32_t group)
{
    return row_find(sched, mail, group);
}

static void row_put(struct sched *sched, struct sched_entry *entry)
{
    uint32_t place = home_of(sched, entry);
    while (sched->rows[place] != NULL) {
        place = (place + 1) & (sched->row_capacity - 1);
    }
    sched->rows[place] = entry;
}

static void row_resize(struct sched *sched, uint32_t capacity)
{
    struct sched_entry **old = sched->rows;
    uint32_t old_capacity = sched->row_capacity;
    sched->rows = mem_zalloc(capacity * sizeof(struct sched_entry *));
    sched->row_capacity = capacity;
    for (uint32_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL) {
            row_put(sched, old[i]);
        }
    }
    free(old);
}

static void row_add(struct sched *sched, struct sched_entry *entry)
{
    if (sched->row_count >= sched->row_capacity / 4 * 3) {
        row_resize(sched, sched->row_capacity == 0 ? ROWS_FIRST : 2 * sched->row_capacity);
    }
    row_put(sched, entry);
    sched->row_count += 1;
}

/* What follows moves up where its own place lets it, so that no search ends at the hole. */
static void row_remove(struct sched *sched, struct sched_entry *entry)
{
    uint32_t mask = sched->row_capacity - 1;
    uint32_t hole = home_of(sched, entry);
    while (sched->rows[hole] != entry) {
        CHECK(sched->rows[hole] != NULL);
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; sched->rows[at] != NULL; at = (at + 1) & mask) {
        uint32_t home = home_of(sched, sched->rows[at]);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            sched->rows[hole] = sched->rows[at];
            hole = at;
        }
    }
    sched->rows[hole] = NULL;
    sched->row_count -= 1;
}

/* ---- dests ---------------------------------------------------------------------------------- */

struct slice dest_domain(const struct dest *dest)
{
    return slice_str(dest->key + dest->pool_len + 1);
}

struct slice dest_pool(const struct dest *dest)
{
    return slice_of(dest->key, dest->pool_len);
}

/* pool and domain are cut to what the schedule keeps of them. */
static size_t dest_key(char key[DEST_KEY_MAX], struct slice *pool, struct slice *domain)
{
    *pool = slice_head(*pool, POOL_NAME_MAX);
    *domain = slice_head(*domain, DNS_NAME_MAX);
    if (pool->len > 0) {
        memcpy(key, pool->data, pool->len);
    }
    key[pool->len] = '|';
    if (domain->len > 0) {
        memcpy(key + pool->len + 1, domain->data, domain->len);
    }
    return pool->len + 1 + domain->len;
}

struct dest *sched_find_dest(const struct sched *sched, struct slice pool, struct slice domain)
{
    char key[DEST_KEY_MAX];
    size_t len = dest_key(key, &pool, &domain);
    struct dest *dest;
    HASH_FIND(hh, sched->dests, key, (unsigned)len, dest);
    return dest;
}

static struct dest *dest_get(struct sched *sched, struct slice pool, struct slice domain)
{
    char key[DEST_KEY_MAX];
    struct dest *dest = sched_find_dest(sched, pool, domain);
    if (dest != NULL) {
        return dest;
    }
    size_t len = dest_key(key, &pool, &domain);
    dest = mem_zalloc(sizeof *dest + len + 1);
    list_init(&dest->link);
    memcpy(dest->key, key, len);
    dest->pool_len = (uint16_t)pool.len;
    dest->is_hook = slice_has_byte(domain, '/'); /* no mail domain has one */
    HASH_ADD_KEYPTR(hh, sched->dests, dest->key, (unsigned)len, dest);
    return dest;
}

static void dest_leave_site(struct dest *dest)
{
    if (dest->site != NULL) {
        struct site *site = dest->site;
        CHECK(site->dests > 0);
        dest->site = NULL;
        site->dests -= 1;
        site->entries -= dest->entries;
        site_put(site);
    }
}

static void dest_put(struct sched *sched, struct dest *dest)
{
    CHECK(dest->entries > 0);
    dest->entries -= 1;
    sched->hook_count -= dest->is_hook;
    if (dest->site != NULL) {
        dest->site->entries -= 1;
    }
    if (dest->entries > 0) {
        return;
    }
    CHECK(!dest->is_asked);      /* who is asked for has an entry that waits */
    CHECK(sched->dests != NULL); /* it is one of them */
    list_remove(&dest->link);
    HASH_DEL(sched->dests, dest);
    dest_leave_site(dest);
    free(dest);
}

static void ask_for(struct sched *sched, struct dest *dest, enum mail_priority priority)
{
    if (dest->is_asked) {
        return;
    }
    dest->has_transactional |= priority == PRIORITY_TRANSACTIONAL;
    list_remove(&dest->link);
    enum mail_priority class = dest->has_transactional ? PRIORITY_TRANSACTIONAL : PRIORITY_BULK;
    list_push_back(&sched->unknown[class], &dest->link);
}

struct dest *sched_next_unknown(struct sched *sched)
{
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        struct link *link = list_pop_front(&sched->unknown[i]);
        if (link != NULL) {
            struct dest *dest = CONTAINER_OF(link, struct dest, link);
            dest->is_asked = true;
            return dest;
        }
    }
    return NULL;
}

void sched_unask(struct sched *sched, struct dest *dest)
{
    CHECK(dest->is_asked);
    dest->is_asked = false;
    ask_for(sched, dest, PRIORITY_BULK);
}

void sched_resolve(struct sched *sched, struct dest *dest, struct slice name,
                   const struct site_rules *rules, uint64_t fresh_until_ms)
{
    CHECK(dest->queue.first != NULL);
    struct site *site = site_get(sched->sites, name, rules);
    if (rules != NULL) {
        site_set_rules(site, rules); /* a policy that was read anew */
    }
    site->dests += 1;
    dest_leave_site(dest); /* lanes hold their sites by the trips and dests of their entries */
    dest->site = site;
    site->entries += dest->entries;
    dest->fresh_until_ms = fresh_until_ms;
    dest->is_asked = false;
    dest->has_transactional = false;
    while (dest->queue.first != NULL) {
        into_lane(sched, pop(&dest->queue));
    }
}

void sched_ask_again(struct sched *sched)
{
    struct dest *dest;
    struct dest *after;
    HASH_ITER(hh, sched->dests, dest, after)
    {
        dest->fresh_until_ms = 0;
    }
}

/* ---- lanes and tenants ---------------------------------------------------------------------- */

bool sched_is_held(const struct sched *sched, struct account_id account, const struct site *site)
{
    return sched->is_held != NULL && sched->is_held(sched->held_owner, account, site);
}

static struct tenant *tenant_get(struct sched *sched, struct account_id account)
{
    struct tenant *tenant;
    HASH_FIND(hh, sched->tenants, &account, sizeof account, tenant);
    if (tenant == NULL) {
        tenant = mem_zalloc(sizeof *tenant);
        tenant->account = account;
        tenant->window = SCHED_ACCOUNT_BEGINS;
        list_init(&tenant->link);
        list_init(&tenant->lanes_parked);
        list_init(&tenant->lanes_held);
        list_init(&tenant->lanes_all);
        tenant->is_held = sched_is_held(sched, account, NULL);
        HASH_ADD(hh, sched->tenants, account, sizeof tenant->account, tenant);
    }
    return tenant;
}

void sched_tenant_put(struct sched *sched, struct tenant *tenant)
{
    if (tenant->lanes > 0 || tenant->open > 0) {
        return;
    }
    CHECK(list_is_empty(&tenant->lanes_parked));
    list_remove(&tenant->link);
    HASH_DEL(sched->tenants, tenant);
    free(tenant);
}

static struct lane *lane_get(struct sched *sched, struct site *site,
                             const struct sched_entry *entry)
{
    struct lane_key key = {site, id_account(entry->mail), entry->priority};
    struct lane *lane;
    HASH_FIND(hh, sched->lanes, &key, sizeof key, lane);
    if (lane != NULL) {
        return lane;
    }
    lane = mem_zalloc(sizeof *lane);
    lane->key = key;
    lane->tenant = tenant_get(sched, key.account);
    lane->tenant->lanes += 1;
    lane->is_held = sched_is_held(sched, key.account, site);
    list_push_back(&site->lanes[entry->priority], &lane->link);
    list_push_back(&site->lanes_all, &lane->at_site);
    list_push_back(&lane->tenant->lanes_all, &lane->at_tenant);
    HASH_ADD(hh, sched->lanes, key, sizeof lane->key, lane);
    return lane;
}

void sched_lane_free(struct sched *sched, struct lane *lane)
{
    CHECK(lane->queue.first == NULL);
    struct tenant *tenant = lane->tenant;
    HASH_DEL(sched->lanes, lane);
    list_remove(&lane->link);
    list_remove(&lane->at_site);
    list_remove(&lane->at_tenant);
    free(lane);
    tenant->lanes -= 1;
    sched_tenant_put(sched, tenant);
}

/* Into the turn of each class that it has lanes in. */
void sched_site_changed(struct sched *sched, struct site *site)
{
    heap_remove(&sched->timed, &site->wake);
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        if (!list_is_empty(&site->lanes[i]) && list_is_empty(&site->ready[i])) {
            list_push_back(&sched->ready[i], &site->ready[i]);
        }
    }
}

static void into_lane(struct sched *sched, struct sched_entry *entry)
{
    if (entry->is_given_up) {
        sched_push(&sched->given_up, entry);
        return;
    }
    struct site *site = entry->dest->site;
    struct lane *lane = lane_get(sched, site, entry);
    enum mail_priority priority = (enum mail_priority)entry->priority;
    bool was_empty = site->due[priority] == 0;
    sched_push(&lane->queue, entry);
    entry->is_laned = true;
    lane->count += 1;
    site->due[priority] += 1;
    sched->due[priority] += 1;
    sched->ready_count += 1;
    if (was_empty || (lane->queue.first == entry && !lane->is_parked)) {
        sched_site_changed(sched, site);
    }
}

static void fall_due(struct sched *sched, struct sched_entry *entry)
{
    struct dest *dest = entry->dest;
    entry->is_waiting = false;
    /* Behind those that wait for the look-up, so that the order stays. */
    if (dest->queue.first == NULL && dest->site != NULL && sched->now_ms < dest->fresh_until_ms) {
        into_lane(sched, entry);
        return;
    }
    sched_push(&dest->queue, entry);
    ask_for(sched, dest, (enum mail_priority)entry->priority);
}

/* ---- life ----------------------------------------------------------------------------------- */

void sched_init(struct sched *sched, struct site_table *sites)
{
    *sched = (struct sched){.sites = sites};
    heap_init(&sched->waiting);
    heap_init(&sched->timed);
    list_init(&sched->parked);
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        list_init(&sched->ready[i]);
        list_init(&sched->crowded[i]);
        list_init(&sched->unknown[i]);
    }
}

static void drop(struct sched *sched, struct sched_entry *entry)
{
    struct dest *dest = entry->dest;
    entry_free(sched, entry);
    dest_put(sched, dest);
}

static void empty_lane(struct sched *sched, struct lane *lane)
{
    struct site *site = lane->key.site;
    site->dests += 1; /* holds the site while its last entries go */
    while (lane->queue.first != NULL) {
        site->due[lane->key.priority] -= 1;
        sched->ready_count -= 1;
        drop(sched, pop(&lane->queue));
    }
    sched_lane_free(sched, lane);
    heap_remove(&sched->timed, &site->wake);
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        list_remove(&site->ready[i]);
    }
    site->dests -= 1;
    site_put(site);
}

void sched_fini(struct sched *sched)
{
    struct heap_node *node;
    while (sched->given_up.first != NULL) {
        drop(sched, pop(&sched->given_up));
    }
    while (sched->loose.first != NULL) {
        drop(sched, pop(&sched->loose));
    }
    while ((node = heap_pop(&sched->waiting)) != NULL) {
        drop(sched, CONTAINER_OF(node, struct sched_entry, due));
    }
    struct lane *lane;
    struct lane *after;
    HASH_ITER(hh, sched->lanes, lane, after)
    {
        empty_lane(sched, lane);
    }
    struct dest *dest;
    while ((dest = sched_next_unknown(sched)) != NULL) {
        dest->is_asked = false;
        dest->entries += 1;
        sched->hook_count += dest->is_hook;
        if (dest->site != NULL) {
            dest->site->entries += 1;
        }
        while (dest->queue.first != NULL) {
            drop(sched, pop(&dest->queue));
        }
        dest_put(sched, dest);
    }
    CHECK(sched->count == 0);
    CHECK(sched->dests == NULL);
    CHECK(sched->tenants == NULL);
    heap_fini(&sched->waiting);
    heap_fini(&sched->timed);
    free(sched->rows);
    while (sched->slabs != NULL) {
        struct slab *slab = sched->slabs;
        sched->slabs = slab->next;
        free(slab);
    }
}

/* The row has moved: what is in a lane already is tried soon anyway, under its new key. */
static void move(struct sched *sched, struct sched_entry *entry, const struct outbox_entry *outbox,
                 uint64_t ready_unix_ms)
{
    entry->due_unix_ms = outbox->due_unix_ms;
    entry->is_hastened = false;
    if (entry->is_waiting) {
        heap_update(&sched->waiting, &entry->due, ready_unix_ms);
    }
}

bool sched_add(struct sched *sched, const struct outbox_entry *outbox, uint64_t ready_unix_ms)
{
    CHECK(outbox->priority < PRIORITY_COUNT);
    struct sched_entry *entry = row_find(sched, outbox->mail, outbox->group);
    if (entry != NULL) {
        move(sched, entry, outbox, ready_unix_ms);
        return true;
    }
    if (sched->count >= SCHED_ENTRIES_MAX) {
        return false;
    }
    entry = entry_new(sched);
    entry->mail = outbox->mail;
    entry->group = outbox->group;
    entry->due_unix_ms = outbox->due_unix_ms;
    entry->priority = (uint8_t)outbox->priority;
    entry->dest = dest_get(sched, outbox->pool, outbox->domain);
    entry->dest->entries += 1;
    sched->hook_count += entry->dest->is_hook;
    if (entry->dest->site != NULL) {
        entry->dest->site->entries += 1;
    }
    row_add(sched, entry);
    entry->due.key = ready_unix_ms;
    if (ready_unix_ms <= sched->now_unix_ms) {
        fall_due(sched, entry);
    } else {
        entry->is_waiting = true;
        heap_add(&sched->waiting, &entry->due);
    }
    return true;
}

uint64_t sched_advance(struct sched *sched, uint64_t now_unix_ms, uint64_t now_ms)
{
    CHECK(sched->ready_count <= sched->count);
    sched->now_unix_ms = now_unix_ms;
    sched->now_ms = now_ms;
    struct heap_node *node;
    while ((node = heap_first(&sched->timed)) != NULL && node->key <= now_ms) {
        sched_site_changed(sched, CONTAINER_OF(node, struct site, wake));
    }
    while ((node = heap_first(&sched->waiting)) != NULL && node->key <= now_unix_ms) {
        heap_remove(&sched->waiting, node);
        fall_due(sched, CONTAINER_OF(node, struct sched_entry, due));
    }
    for (uint32_t i = 0; i < LOOSE_MAX && sched->loose.first != NULL; i++) {
        struct sched_entry *entry = pop(&sched->loose);
        entry->is_laned = false;
        fall_due(sched, entry);
    }
    if (sched->loose.first != NULL) {
        return now_unix_ms;
    }
    return node == NULL ? UINT64_MAX : node->key;
}

uint64_t sched_next_site_ms(const struct sched *sched)
{
    const struct heap_node *node = heap_first(&sched->timed);
    return node == NULL ? UINT64_MAX : node->key;
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* Dynamic thresholds (Choudhury and Hahne, 1998), as switches share their buffers. */
static bool has_share(uint32_t open, uint32_t free)
{
    return open >= (uint64_t)SCHED_SHARE * free;
}

static bool tenant_admits(const struct tenant *tenant, uint32_t free)
{
    return tenant->open < tenant->window && !has_share(tenant->open, free);
}

static void park(struct sched *sched, struct lane *lane)
{
    struct tenant *tenant = lane->tenant;
    CHECK(tenant->open > 0); /* the end of one of them brings it back */
    list_remove(&lane->link);
    list_push_back(&tenant->lanes_parked, &lane->link);
    lane->is_parked = true;
    if (list_is_empty(&tenant->link)) {
        list_push_back(&sched->parked, &tenant->link);
    }
}

static void put_aside(struct lane *lane)
{
    list_remove(&lane->link);
    list_push_back(&lane->tenant->lanes_held, &lane->link);
    lane->is_parked = true;
    lane->is_aside = true;
}

/* All, when it has no trip left whose end could bring back the others. */
static void unpark_some(struct sched *sched, struct tenant *tenant)
{
    uint32_t most = tenant->open == 0 ? UINT32_MAX : UNPARK_MAX;
    for (uint32_t i = 0; i < most && !list_is_empty(&tenant->lanes_parked); i++) {
        struct link *link = list_pop_front(&tenant->lanes_parked);
        struct lane *lane = CONTAINER_OF(link, struct lane, link);
        lane->is_parked = false;
        list_push_back(&lane->key.site->lanes[lane->key.priority], &lane->link);
        sched_site_changed(sched, lane->key.site);
    }
    if (list_is_empty(&tenant->lanes_parked)) {
        list_remove(&tenant->link);
    }
}

/* The lane whose turn it is, at the front of its site's; NULL: none may go now. */
static struct lane *front_lane(struct sched *sched, struct site *site, enum mail_priority priority,
                               uint32_t free)
{
    while (!list_is_empty(&site->lanes[priority])) {
        struct lane *lane = CONTAINER_OF(site->lanes[priority].next, struct lane, link);
        if (lane->is_held || lane->tenant->is_held) {
            put_aside(lane);
            continue;
        }
        if (tenant_admits(lane->tenant, free)) {
            return lane;
        }
        park(sched, lane);
    }
    list_remove(&site->ready[priority]);
    return NULL;
}

/* Takes the site out of the turn of this class unless it may admit. */
static bool admits(struct sched *sched, struct site *site, enum mail_priority priority,
                   uint32_t free, uint64_t now_ms)
{
    uint64_t when_ms = site_admits_ms(site, priority, now_ms);
    if (when_ms == 0 && site->open > 0 && has_share(site->open, free)) {
        list_remove(&site->ready[priority]);
        list_push_back(&sched->crowded[priority], &site->ready[priority]);
        return false;
    }
    if (when_ms == 0) {
        return true;
    }
    list_remove(&site->ready[priority]);
    if (when_ms != SITE_NEVER) {
        heap_remove(&sched->timed, &site->wake);
        site->wake.key = when_ms;
        heap_add(&sched->timed, &site->wake);
    }
    return false;
}

static struct sched_entry *take(struct sched *sched, struct lane *lane, uint64_t now_ms)
{
    struct site *site = lane->key.site;
    struct tenant *tenant = lane->tenant;
    enum mail_priority priority = (enum mail_priority)lane->key.priority;
    struct sched_entry *entry = pop(&lane->queue);
    row_remove(sched, entry);
    entry->is_laned = false;
    entry->is_open = true;
    lane->count -= 1;
    entry->site = site;
    site_take(site, now_ms);
    site->due[priority] -= 1;
    sched->due[priority] -= 1;
    sched->open[priority] += 1;
    sched->ready_count -= 1;
    tenant->open += 1;
    list_remove(&lane->link);
    if (lane->queue.first == NULL) {
        sched_lane_free(sched, lane);
    } else {
        list_push_back(&site->lanes[priority], &lane->link);
    }
    list_remove(&site->ready[priority]);
    if (!list_is_empty(&site->lanes[priority])) {
        list_push_back(&sched->ready[priority], &site->ready[priority]);
    }
    return entry;
}

/* Neither the site's limits nor the account's count: nobody will be asked. A domain that never fell
 * due before has no site yet, and gets one of its own name until it is looked up. */
static struct sched_entry *take_given_up(struct sched *sched)
{
    struct sched_entry *entry = pop(&sched->given_up);
    struct dest *dest = entry->dest;
    row_remove(sched, entry);
    entry->is_laned = false;
    entry->is_open = true;
    entry->is_given_up = true;
    if (dest->site == NULL) {
        dest->site = site_get(sched->sites, dest_domain(dest), NULL);
        dest->site->dests += 1;
        dest->site->entries += dest->entries;
        dest->fresh_until_ms = 0;
    }
    entry->site = dest->site;
    dest->site->open += 1;
    sched->open[entry->priority] += 1;
    tenant_get(sched, id_account(entry->mail))->open += 1;
    return entry;
}

/* Of a site whose turn as transactional it is: now and then its bulk mail goes instead. */
static enum mail_priority class_at(struct sched *sched, struct site *site, uint32_t free,
                                   uint64_t now_ms)
{
    site->turns += 1;
    bool is_bulks = site->turns % SCHED_BULK_EVERY == 0 &&
                    !list_is_empty(&site->lanes[PRIORITY_BULK]) &&
                    admits(sched, site, PRIORITY_BULK, free, now_ms);
    return is_bulks ? PRIORITY_BULK : PRIORITY_TRANSACTIONAL;
}

static struct sched_entry *next_of(struct sched *sched, enum mail_priority class, uint32_t free,
                                   uint64_t now_ms)
{
    while (!list_is_empty(&sched->ready[class])) {
        struct site *site = CONTAINER_OF(sched->ready[class].next, struct site, ready[class]);
        if (!admits(sched, site, class, free, now_ms)) {
            continue;
        }
        enum mail_priority own =
            class == PRIORITY_TRANSACTIONAL ? class_at(sched, site, free, now_ms) : class;
        struct lane *lane = front_lane(sched, site, own, free);
        if (lane == NULL && own != class) {
            lane = front_lane(sched, site, class, free);
        }
        if (lane != NULL) {
            return take(sched, lane, now_ms);
        }
    }
    return NULL;
}

struct sched_entry *sched_next(struct sched *sched, uint32_t free, uint64_t now_ms)
{
    CHECK(free > 0);
    sched->turns += 1;
    if (sched->given_up.first != NULL && sched->turns % 2 == 0) {
        return take_given_up(sched);
    }
    bool is_bulks = sched->turns % SCHED_BULK_EVERY == 0;
    enum mail_priority first = is_bulks ? PRIORITY_BULK : PRIORITY_TRANSACTIONAL;
    enum mail_priority second = is_bulks ? PRIORITY_TRANSACTIONAL : PRIORITY_BULK;
    struct sched_entry *entry = next_of(sched, first, free, now_ms);
    entry = entry != NULL ? entry : next_of(sched, second, free, now_ms);
    return entry == NULL && sched->given_up.first != NULL ? take_given_up(sched) : entry;
}

/* One of each kind that has its share may have another look: more is free now. */
static void look_again(struct sched *sched)
{
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        struct link *link = list_pop_front(&sched->crowded[i]);
        if (link != NULL) {
            list_push_back(&sched->ready[i], link);
        }
    }
    struct link *link = list_pop_front(&sched->parked);
    if (link != NULL) {
        struct tenant *tenant = CONTAINER_OF(link, struct tenant, link);
        list_push_back(&sched->parked, link);
        unpark_some(sched, tenant);
    }
}

void sched_done(struct sched *sched, struct sched_entry *entry, struct site *site)
{
    enum mail_priority priority = (enum mail_priority)entry->priority;
    struct tenant *tenant = tenant_get(sched, id_account(entry->mail));
    CHECK(site->open > 0);
    CHECK(tenant->open > 0);
    CHECK(sched->open[priority] > 0);
    drop(sched, entry); /* before the trip, which still holds the site */
    sched->open[priority] -= 1;
    tenant->open -= 1;
    tenant->window += tenant->window < ATTEMPTS_MAX ? 1 : 0;
    unpark_some(sched, tenant);
    sched_tenant_put(sched, tenant);
    look_again(sched);
    site->open -= 1;
    sched_site_changed(sched, site);
    site_put(site);
}
