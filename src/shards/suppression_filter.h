/* suppression_filter.h - whether an address may be suppressed at all, without asking the store.
 *
 * Nearly no recipient is, and finding that out from the store costs more than composing a short
 * mail does: no row, so every level is asked. Two Bloom filters stand before it: one over the rows
 * that were there when the run began, made on a worker; one over those that were written since.
 * What neither has is not suppressed. A row that was deleted stays in them, which costs a look at
 * the store and no more; so does everything until the first filter is made, or when it cannot be.
 *
 * Every write of a suppression row must pass suppression_filter_note, before its batch is written.
 *
 * Owns:   its memory: 64 KiB for what is new, from the first of them on, and 10 bits a row for what
 *         was there, up to SUPPRESSION_FILTER_MAX.
 * Loop:   the shard's.
 */
#ifndef SHARDS_SUPPRESSION_FILTER_H
#define SHARDS_SUPPRESSION_FILTER_H

#include "base/base.h"
#include "base/slice.h"

struct shard;

struct suppression_bits {
    uint64_t *words;    /* NULL: nothing is in it */
    uint64_t bit_count; /* a power of two */
};

struct suppression_filter {
    struct suppression_bits stored;
    struct suppression_bits written;
    bool is_ready; /* stored is complete */
};

/* Begins to read the rows that are there. Before any is written. */
void suppression_filter_start(struct shard *shard);
void suppression_filter_fini(struct suppression_filter *filter);
/* key: of a suppression row that is being written. */
void suppression_filter_note(struct suppression_filter *filter, struct slice key);
/* False: there is no such row, in the store or on the way to it. */
bool suppression_filter_may_have(const struct suppression_filter *filter, struct slice key);

#endif
