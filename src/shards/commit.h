/* commit.h - the committer: one bare thread that writes the batches of all shards and syncs once
 * per round.
 *
 * A round: take every COMMIT_WRITE that waits, kv_write each, kv_sync once, return all. Batches
 * that arrive during a sync ride the next: the batch grows exactly as fast as the disk is slow; no
 * timers. A failed write fails that batch with ERR_STORAGE; a failed sync stops the process,
 * because after it nothing about the disk is known. Below a quarter of the reserve of free space
 * (conf reserve_mb) batches are refused without touching the store; every return tells the free
 * space, and shards stop accepting mail below the whole reserve, so that outcomes can still be
 * recorded when accepting has stopped.
 */
#ifndef SHARDS_COMMIT_H
#define SHARDS_COMMIT_H

#include "kv/kv.h"
#include "shards/actor.h"
#include "shards/place.h"

struct commit {
    struct actor actor;
    struct kv *kv;
    uint64_t reserve_bytes;
    uint64_t delay_ms; /* tests: before each sync */
    pthread_t thread;
    uint32_t slot;
};

/* Makes the actor; commit_start starts the thread, commit_join waits for it after COMMIT_CONTROL
 * with CONTROL_STOP. */
void commit_init(struct commit *commit, struct kv *kv, const struct conf *conf, uint32_t slot);
void commit_start(struct commit *commit);
void commit_join(struct commit *commit);
void commit_fini(struct commit *commit);

#endif
