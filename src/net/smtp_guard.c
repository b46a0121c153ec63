/* smtp_guard.c - a chained table with a fixed number of buckets, and three lists over its entries:
 * with sessions (in none), at rest, banned; oldest first.
 */
#include "net/smtp_guard.h"

#include "base/check.h"
#include "base/crypto.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS   16384 /* a power of two; chains of one or two when the table is full */
#define MINUTE_MS 60000
#define NET_BYTES 8 /* of a v6 address: what one customer has */

struct entry {
    struct entry *next; /* in its bucket */
    struct link order;  /* in rest or banned; alone while it has sessions and no ban */
    struct ip6 net;
    uint64_t connects_ms; /* meters: when each will have run empty */
    uint64_t auths_ms;
    uint64_t rcpts_ms;
    uint64_t banned_until_ms;
    uint32_t sessions;
    bool is_on_ban_list;
};

struct smtp_guard {
    struct smtp_guard_options options;
    struct link rest;
    struct link banned;
    uint64_t seeds[2];
    uint32_t count;
    uint32_t ban_count;
    struct entry *buckets[BUCKETS];
};

_Static_assert(SMTP_GUARD_ENTRIES * sizeof(struct entry) + sizeof(struct smtp_guard) <= 4 * MIB,
               "a guard stays under 4 MiB");

struct smtp_guard *smtp_guard_new(const struct smtp_guard_options *options)
{
    struct smtp_guard *guard = mem_zalloc(sizeof(*guard));
    guard->options = *options;
    guard->seeds[0] = crypto_random_u64();
    guard->seeds[1] = crypto_random_u64();
    list_init(&guard->rest);
    list_init(&guard->banned);
    return guard;
}

void smtp_guard_free(struct smtp_guard *guard)
{
    for (size_t i = 0; guard != NULL && i < BUCKETS; i++) {
        while (guard->buckets[i] != NULL) {
            struct entry *entry = guard->buckets[i];
            guard->buckets[i] = entry->next;
            free(entry);
        }
    }
    free(guard);
}

/* ---- the table ------------------------------------------------------------------------------- */

/* A v4 address as it is mapped, or the network of a v6 address. */
static struct ip6 net_of(const struct ip6 *ip)
{
    static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    struct ip6 net = *ip;
    if (memcmp(ip->bytes, v4_prefix, sizeof(v4_prefix)) != 0) {
        memset(net.bytes + NET_BYTES, 0, sizeof(net.bytes) - NET_BYTES);
    }
    return net;
}

static struct entry **bucket_of(struct smtp_guard *guard, const struct ip6 *net)
{
    uint64_t halves[2];
    memcpy(halves, net->bytes, sizeof(halves));
    uint64_t hash = guard->seeds[0];
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        hash = (hash ^ halves[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash = (hash ^ (hash >> 32) ^ guard->seeds[1]) * UINT64_C(0xd6e8feb86659fd93);
        hash ^= hash >> 32;
    }
    return &guard->buckets[hash % BUCKETS];
}

static struct entry *find(struct smtp_guard *guard, const struct ip6 *net)
{
    struct entry *entry = *bucket_of(guard, net);
    while (entry != NULL && memcmp(&entry->net, net, sizeof(*net)) != 0) {
        entry = entry->next;
    }
    return entry;
}

/* Where an entry without sessions stands tells when it is forgotten. */
static void place(struct smtp_guard *guard, struct entry *entry)
{
    list_remove(&entry->order);
    if (entry->is_on_ban_list) {
        list_push_back(&guard->banned, &entry->order);
    } else if (entry->sessions == 0) {
        list_push_back(&guard->rest, &entry->order);
    }
}

static void lift_ban(struct smtp_guard *guard, struct entry *entry)
{
    CHECK(entry->is_on_ban_list);
    entry->is_on_ban_list = false;
    entry->banned_until_ms = 0;
    guard->ban_count--;
    place(guard, entry);
}

static void forget(struct smtp_guard *guard, struct entry *entry)
{
    CHECK(entry->sessions == 0 && !entry->is_on_ban_list);
    struct entry **at = bucket_of(guard, &entry->net);
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    list_remove(&entry->order);
    free(entry);
    guard->count--;
}

/* There is room below the ceiling, for who has sessions and who is banned do not fill the table
 * (limits.h); unless more sessions are counted than a loop has connections. */
static struct entry *add(struct smtp_guard *guard, const struct ip6 *net)
{
    if (guard->count == SMTP_GUARD_ENTRIES) {
        if (list_is_empty(&guard->rest)) {
            return NULL;
        }
        forget(guard, CONTAINER_OF(guard->rest.next, struct entry, order));
    }
    struct entry **bucket = bucket_of(guard, net);
    struct entry *entry = mem_zalloc(sizeof(*entry));
    entry->net = *net;
    entry->next = *bucket;
    list_init(&entry->order);
    *bucket = entry;
    guard->count++;
    return entry;
}

/* ---- meters ---------------------------------------------------------------------------------- */

/* Of which `limit` fit into window_ms; cost_ms is how long one of them stays. */
struct meter {
    uint64_t *empty_ms;
    uint64_t cost_ms;
    uint64_t room_ms;
};

static struct meter meter_of(uint64_t *empty_ms, uint32_t limit, uint64_t window_ms)
{
    uint64_t cost_ms = max_u64(window_ms / limit, 1);
    return (struct meter){empty_ms, cost_ms, cost_ms * limit};
}

static bool meter_is_full(const struct meter *meter, uint64_t now_ms)
{
    uint64_t level_ms = max_u64(*meter->empty_ms, now_ms) - now_ms;
    return level_ms + meter->cost_ms > meter->room_ms;
}

/* Into a full one nothing goes. */
static void meter_add(const struct meter *meter, uint64_t now_ms)
{
    if (!meter_is_full(meter, now_ms)) {
        *meter->empty_ms = max_u64(*meter->empty_ms, now_ms) + meter->cost_ms;
    }
}

static bool is_banned(struct smtp_guard *guard, struct entry *entry, uint64_t now_ms)
{
    if (entry->is_on_ban_list && entry->banned_until_ms <= now_ms) {
        lift_ban(guard, entry);
    }
    return entry->is_on_ban_list;
}

static void ban(struct smtp_guard *guard, struct entry *entry, uint64_t now_ms)
{
    entry->banned_until_ms = now_ms + guard->options.ban_ms;
    entry->auths_ms = 0;
    entry->rcpts_ms = 0;
    if (!entry->is_on_ban_list) {
        if (guard->ban_count == SMTP_GUARD_BANS) {
            lift_ban(guard, CONTAINER_OF(guard->banned.next, struct entry, order));
        }
        entry->is_on_ban_list = true;
        guard->ban_count++;
    }
    place(guard, entry);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static enum smtp_guard_verdict judge(struct smtp_guard *guard, struct entry *entry, uint64_t now_ms)
{
    const struct smtp_guard_options *options = &guard->options;
    if (is_banned(guard, entry, now_ms)) {
        return SMTP_GUARD_BANNED;
    }
    if (options->sessions_max > 0 && entry->sessions >= options->sessions_max) {
        return SMTP_GUARD_BUSY;
    }
    if (options->connects_max > 0) {
        struct meter meter = meter_of(&entry->connects_ms, options->connects_max, MINUTE_MS);
        if (meter_is_full(&meter, now_ms)) {
            return SMTP_GUARD_FAST;
        }
        meter_add(&meter, now_ms);
    }
    entry->sessions++;
    return SMTP_GUARD_OK;
}

enum smtp_guard_verdict smtp_guard_enter(struct smtp_guard *guard, const struct ip6 *ip,
                                         uint64_t now_ms)
{
    const struct ip6 net = net_of(ip);
    struct entry *entry = find(guard, &net);
    if (entry == NULL) {
        entry = add(guard, &net);
    }
    if (entry == NULL) {
        return SMTP_GUARD_BUSY;
    }
    enum smtp_guard_verdict verdict = judge(guard, entry, now_ms);
    if (verdict != SMTP_GUARD_BANNED) { /* who knocks does not make his ban younger */
        place(guard, entry);
    }
    return verdict;
}

void smtp_guard_leave(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms)
{
    const struct ip6 net = net_of(ip);
    struct entry *entry = find(guard, &net);
    CHECK(entry != NULL);
    CHECK(entry->sessions > 0);
    entry->sessions--;
    if (!is_banned(guard, entry, now_ms)) {
        place(guard, entry);
    }
}

static bool fail(struct smtp_guard *guard, const struct ip6 *ip, bool is_auth, uint64_t now_ms)
{
    const struct smtp_guard_options *options = &guard->options;
    const uint32_t limit = is_auth ? options->auth_failures_max : options->rcpt_failures_max;
    const struct ip6 net = net_of(ip);
    struct entry *entry = find(guard, &net);
    CHECK(entry != NULL); /* it has a session */
    if (limit > 0) {
        uint64_t *empty_ms = is_auth ? &entry->auths_ms : &entry->rcpts_ms;
        struct meter meter = meter_of(empty_ms, limit, options->window_ms);
        meter_add(&meter, now_ms);
        if (meter_is_full(&meter, now_ms)) {
            ban(guard, entry, now_ms);
        }
    }
    return is_banned(guard, entry, now_ms);
}

bool smtp_guard_auth_failed(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms)
{
    return fail(guard, ip, true, now_ms);
}

bool smtp_guard_rcpt_failed(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms)
{
    return fail(guard, ip, false, now_ms);
}

uint64_t smtp_guard_ban_left_ms(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms)
{
    const struct ip6 net = net_of(ip);
    struct entry *entry = find(guard, &net);
    return entry != NULL && is_banned(guard, entry, now_ms) ? entry->banned_until_ms - now_ms : 0;
}

uint32_t smtp_guard_count(const struct smtp_guard *guard)
{
    return guard->count;
}

uint32_t smtp_guard_ban_count(const struct smtp_guard *guard)
{
    return guard->ban_count;
}
