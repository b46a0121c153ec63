/* damage.c - see damage.h. */
#include "kv/damage.h"

#include "base/check.h"
#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH     64 /* bytes of a key that are halved; longer ones are told apart by their files */
#define HALVE_MAX (8 * WIDTH)

/* A key as a number of WIDTH bytes, short ones filled up with zeros. */
struct point {
    uint8_t bytes[WIDTH];
};

struct borders {
    struct key *items;
    size_t count;
    size_t room;
};

enum probe { PROBE_ROW, PROBE_END, PROBE_BAD };

struct search {
    struct kv *kv;
    const struct kv_scan *scan;
    struct kv_iter *iter;
    struct key row; /* of the last probe that found one */
};

struct overlap {
    struct slice from;
    struct slice to;
    char *out;
    size_t used;
};

static enum probe probe(struct search *search, struct slice at)
{
    struct slice key;
    struct slice value;
    kv_iter_seek(search->iter, at);
    if (kv_iter_next(search->iter, &key, &value)) {
        return key_copy(key, &search->row) ? PROBE_ROW : PROBE_BAD;
    }
    return kv_iter_err(search->iter) == ERR_OK ? PROBE_END : PROBE_BAD;
}

/* ---- borders of files ----------------------------------------------------------------------- */

static void add_border(struct borders *borders, struct slice bytes, bool is_behind)
{
    if (borders->count == borders->room) {
        borders->room = borders->room == 0 ? 64 : 2 * borders->room;
        borders->items = mem_realloc(borders->items, borders->room * sizeof(*borders->items));
    }
    struct key *key = &borders->items[borders->count];
    if (bytes.len == 0 || bytes.len >= KEY_MAX || !key_copy(bytes, key)) {
        return;
    }
    if (is_behind) {
        key->bytes[key->len++] = 0;
    }
    borders->count++;
}

static void on_file(void *context, const struct kv_file *file)
{
    struct borders *borders = context;
    add_border(borders, file->smallest, false);
    add_border(borders, file->largest, true);
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare(key_slice(a), key_slice(b));
}

/* ---- halving -------------------------------------------------------------------------------- */

static struct point point_of(struct slice key)
{
    struct point point;
    memset(&point, 0, sizeof(point));
    if (key.len > 0) {
        memcpy(point.bytes, key.data, min_size(key.len, WIDTH));
    }
    return point;
}

static struct point middle(const struct point *a, const struct point *b)
{
    struct point sum;
    uint32_t carry = 0;
    for (size_t i = WIDTH; i > 0; i--) {
        carry += (uint32_t)a->bytes[i - 1] + b->bytes[i - 1];
        sum.bytes[i - 1] = (uint8_t)carry;
        carry >>= 8;
    }
    for (size_t i = 0; i < WIDTH; i++) {
        uint32_t both = carry << 8 | sum.bytes[i];
        sum.bytes[i] = (uint8_t)(both >> 1);
        carry = both & 1;
    }
    return sum;
}

/* bad cannot be read from, good can; what is left is the first row behind the hole. */
static enum probe halve(struct search *search, struct slice bad, struct slice good)
{
    struct point low = point_of(bad);
    struct point high = point_of(good);
    enum probe found = probe(search, good);
    struct key best = search->row;
    for (uint32_t i = 0; i < HALVE_MAX; i++) {
        struct point mid = middle(&low, &high);
        if (memcmp(&mid, &low, sizeof(mid)) == 0) {
            break;
        }
        struct slice at = slice_of(mid.bytes, WIDTH);
        enum probe seen = slice_compare(at, bad) <= 0 ? PROBE_BAD : probe(search, at);
        if (seen == PROBE_BAD) {
            low = mid;
        } else {
            high = mid;
            found = seen;
            best = search->row;
        }
    }
    search->row = best;
    return found;
}

/* ---- which files ---------------------------------------------------------------------------- */

static void name_file(void *context, const struct kv_file *file)
{
    struct overlap *overlap = context;
    bool is_before = slice_compare(file->largest, overlap->from) < 0;
    bool is_behind = overlap->to.len > 0 && slice_compare(file->smallest, overlap->to) >= 0;
    if (is_before || is_behind || overlap->used >= DAMAGE_FILES_MAX) {
        return;
    }
    struct slice name = file->name;
    if (slice_starts(name, SLICE("/"))) {
        name = slice_from(name, 1);
    }
    int len =
        snprintf(overlap->out + overlap->used, DAMAGE_FILES_MAX - overlap->used,
                 "%s%.*s (level %d)", overlap->used > 0 ? ", " : "", SLICE_FMT(name), file->level);
    overlap->used += len > 0 ? (size_t)len : 0;
}

void damage_skip(struct kv *kv, const struct kv_scan *scan, struct slice last,
                 struct damage *damage)
{
    struct borders borders = {.items = NULL};
    struct search search = {.kv = kv, .scan = scan, .iter = kv_scan_open(kv, scan)};
    struct key low = {.len = 0};
    enum probe found = PROBE_BAD;
    *damage = (struct damage){.from = {.len = 0}};
    if (last.len > 0 && key_copy(last, &damage->from) && last.len < KEY_MAX) {
        low = damage->from;
        low.bytes[low.len++] = 0; /* the hole begins behind it at the earliest */
    } else if (!key_copy(scan->from, &low)) {
        low.len = 0; /* from the beginning, then */
    }
    kv_files(kv, scan->family, on_file, &borders);
    if (borders.count > 0) {
        qsort(borders.items, borders.count, sizeof(*borders.items), compare_keys);
    }
    for (size_t i = 0; i < borders.count && found == PROBE_BAD; i++) {
        struct slice at = key_slice(&borders.items[i]);
        if (slice_compare(at, key_slice(&low)) <= 0 ||
            (scan->to.len > 0 && slice_compare(at, scan->to) >= 0)) {
            continue;
        }
        if (probe(&search, at) == PROBE_BAD) {
            low = borders.items[i];
        } else {
            found = halve(&search, key_slice(&low), at);
        }
    }
    if (found == PROBE_BAD && scan->to.len > 0 && scan->to.len < WIDTH) {
        /* No border in between: the hole reaches to the end, or ends before it. */
        found = halve(&search, key_slice(&low), scan->to);
    }
    if (found == PROBE_ROW && slice_compare(key_slice(&search.row), key_slice(&low)) >= 0) {
        damage->to = search.row;
    }
    struct overlap overlap = {.from = key_slice(&low),
                              .to = damage->to.len > 0 ? key_slice(&damage->to) : scan->to,
                              .out = damage->files};
    kv_files(kv, scan->family, name_file, &overlap);
    kv_iter_close(search.iter);
    free(borders.items);
}
