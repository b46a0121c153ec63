/* keeper.h - the actor that does long work on the store: compaction, backup, and what else takes
 * minutes.
 *
 * It has a loop and a thread to itself, so that no shard and no delivery waits for it. One job runs
 * at a time; the last KEEPER_JOBS_KEPT are remembered, in memory. A job works in pieces of
 * KEEPER_SLICE_US, between which questions are answered; a call of the store that takes as long as
 * it takes runs on a worker. Who adds a kind of job reads keeper_int.h.
 *
 * A drain cancels the job. What is on a worker then and cannot be cut short (the copying of a
 * backup) is waited for until half of the drain's time is over; then KEEPER_CONTROL comes home with
 * ERR_TIMEOUT, and the process has to end without that thread.
 */
#ifndef SHARDS_KEEPER_H
#define SHARDS_KEEPER_H

#include "net/loop.h"
#include "shards/actor.h"
#include "shards/place.h"

struct keeper;

/* Owns: caller; keeper_free after the loop ended. Call before the loop runs. */
struct keeper *keeper_new(const struct place *place, struct kv *kv, struct loop *loop);
void keeper_free(struct keeper *keeper);
struct actor *keeper_actor(struct keeper *keeper);

#endif
