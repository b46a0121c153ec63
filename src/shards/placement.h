/* placement.h - which loop has which shard, and how it might be better.
 *
 * Round-robin at first. What a rebalance made of it is kept as a note of the ledger and holds as
 * long as there are as many loops and shards as then; with another number it is forgotten.
 *
 * The plan is greedy: the loop with most to do gives the one with least that shard whose leaving
 * evens them out best, until a move would gain less than a twentieth of what a loop has on average.
 * What a loop does beside its shards stays where it is.
 */
#ifndef SHARDS_PLACEMENT_H
#define SHARDS_PLACEMENT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/slice.h"
#include "kv/kv.h"
#include "shards/msg_control.h"

#define PLACEMENT_NAME "loops" /* of its note */

struct placement {
    uint32_t shard_count;
    uint32_t loop_count;
    uint32_t loops[SHARD_COUNT_MAX]; /* of each shard */
};

void placement_init(struct placement *placement, uint32_t shard_count, uint32_t loop_count);
void placement_write(const struct placement *placement, struct buf *out);
/* False, and untouched, when the value is damaged or of another number of shards or loops. */
bool placement_read(struct placement *placement, struct slice value) MUST_USE;
/* What the store remembers, if it fits; before the ledger runs. */
void placement_load(struct placement *placement, struct kv *kv);

/* Fills moves, planned_us and the counts from shard_us, loop_us and loops. */
void placement_plan(struct main_places *places);
/* The largest of count times over their mean, in thousandths; 1000 is even, or nothing at all. */
uint32_t placement_balance(const uint64_t *loop_us, uint32_t count);

#endif
