/* throttle.c - token buckets as one time each: the generic cell rate algorithm.
 *
 * `full_ms` is when the bucket is full again. A try costs `cost` = window / max milliseconds and
 * moves full_ms up by it; it is refused when that would lie more than a window ahead. */
#include "shards/throttle.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"

#define WAYS 8
#define SETS (THROTTLE_ENTRIES / WAYS)

_Static_assert((SETS & (SETS - 1)) == 0, "a set is chosen by bits of the hash");

struct entry {
    uint64_t tag[2];  /* of the text's hash; zeros: free */
    uint64_t full_ms; /* when the bucket is full again */
};

struct throttle {
    struct seal_key key;
    struct entry entries[SETS][WAYS];
};

struct place_of_text {
    uint64_t tag[2];
    struct entry *set;
};

static struct place_of_text find_set(struct throttle *throttle, struct slice text);
static struct entry *find(const struct place_of_text *place);
static struct entry *claim(const struct place_of_text *place);
static uint64_t cost_of(uint32_t max);

struct throttle *throttle_new(void)
{
    struct throttle *throttle = mem_zalloc(sizeof *throttle);
    crypto_random(throttle->key.bytes, sizeof throttle->key.bytes);
    return throttle;
}

void throttle_free(struct throttle *throttle)
{
    free(throttle);
}

enum err throttle_take(struct throttle *throttle, struct slice text, uint32_t max, uint64_t now_ms,
                       uint32_t *retry_s)
{
    struct place_of_text place = find_set(throttle, text);
    struct entry *entry = find(&place);
    uint64_t full_ms = entry != NULL && entry->full_ms > now_ms ? entry->full_ms : now_ms;
    uint64_t next_ms = full_ms + cost_of(max);
    if (next_ms > now_ms + THROTTLE_WINDOW_MS) {
        uint64_t wait_ms = next_ms - now_ms - THROTTLE_WINDOW_MS;
        *retry_s = (uint32_t)((wait_ms + 999) / 1000);
        return ERR_RATE;
    }
    if (entry == NULL) {
        entry = claim(&place);
    }
    entry->full_ms = next_ms;
    return ERR_OK;
}

void throttle_give(struct throttle *throttle, struct slice text, uint32_t max, uint64_t now_ms)
{
    struct place_of_text place = find_set(throttle, text);
    struct entry *entry = find(&place);
    if (entry == NULL) {
        return;
    }
    entry->full_ms -= min_u64(cost_of(max), entry->full_ms);
    if (entry->full_ms <= now_ms) {
        *entry = (struct entry){{0}, 0};
    }
}

void throttle_unlock(struct throttle *throttle, struct slice text)
{
    struct place_of_text place = find_set(throttle, text);
    struct entry *entry = find(&place);
    if (entry != NULL) {
        *entry = (struct entry){{0}, 0};
    }
}

static struct place_of_text find_set(struct throttle *throttle, struct slice text)
{
    struct slice key = slice_of(throttle->key.bytes, sizeof throttle->key.bytes);
    struct sha256 hash = crypto_hmac_sha256(key, text);
    struct place_of_text place = {.tag = {0, 0}};
    uint64_t choice = 0;
    for (size_t i = 0; i < 8; i++) {
        place.tag[0] = place.tag[0] << 8 | hash.bytes[i];
        place.tag[1] = place.tag[1] << 8 | hash.bytes[8 + i];
        choice = choice << 8 | hash.bytes[16 + i];
    }
    place.tag[1] |= 1; /* never that of a free entry */
    place.set = throttle->entries[choice & (SETS - 1)];
    return place;
}

static struct entry *find(const struct place_of_text *place)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct entry *entry = &place->set[i];
        if (entry->tag[0] == place->tag[0] && entry->tag[1] == place->tag[1]) {
            return entry;
        }
    }
    return NULL;
}

/* A free entry has full_ms 0, so it is taken first, then one whose time is over. */
static struct entry *claim(const struct place_of_text *place)
{
    struct entry *least = &place->set[0];
    for (size_t i = 1; i < WAYS; i++) {
        if (place->set[i].full_ms < least->full_ms) {
            least = &place->set[i];
        }
    }
    *least = (struct entry){{place->tag[0], place->tag[1]}, 0};
    return least;
}

/* Rounded down, so that max tries fit; when max is in the thousands, a few more do. */
static uint64_t cost_of(uint32_t max)
{
    CHECK(max > 0);
    return max < THROTTLE_WINDOW_MS ? THROTTLE_WINDOW_MS / max : 1;
}
