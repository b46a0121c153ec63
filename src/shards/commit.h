/* commit.h - the committer: one bare thread that writes the batches of all shards and syncs once
 * per round.
 *
 * A round: take every COMMIT_WRITE that waits, kv_write each, kv_sync once, return all. Batches
 * that arrive during a sync ride the next: the batch grows exactly as fast as the disk is slow; no
 * timers. A failed write fails that batch with ERR_STORAGE; a failed sync stops the process,
 * because after it nothing about the disk is known. A batch that would leave less than a quarter of
 * the reserve of free space (conf reserve_mb) is refused with ERR_STORAGE without touching the
 * store; every return tells the free space, and shards stop accepting mail below the whole reserve,
 * so that outcomes can still be recorded when accepting has stopped.
 *
 * Controls ride a round too and come home after its sync: DRAIN is the proof that all earlier
 * batches are durable, STOP ends the thread.
 */
#ifndef SHARDS_COMMIT_H
#define SHARDS_COMMIT_H

#include <pthread.h>

#include "base/conf.h"
#include "kv/kv.h"
#include "shards/actor.h"
#include "shards/place.h"

struct commit {
    struct actor actor;
    struct kv *kv;
    uint64_t reserve_bytes;
    uint32_t slow_shard; /* from 1; 0: none. Tests */
    uint64_t slow_ms;
    uint64_t delay_ms; /* tests: before each sync */
    pthread_t thread;
    uint32_t slot; /* metric slot of the thread */
    /* the committer's thread alone */
    struct msg_queue round;  /* handled in this round, waiting for its sync */
    uint64_t round_begun_us; /* monotonic */
    uint32_t round_batches;  /* with rows */
    uint64_t synced_us;      /* the last round that wrote; monotonic */
    uint64_t free_bytes;     /* at the round's start, less what it wrote since */
    bool has_written;        /* in this round */
    uint64_t space_said_us;  /* last log line about a refusal for space */
};

/* Makes the actor; commit_start starts the thread, commit_join waits for it after COMMIT_CONTROL
 * with CONTROL_STOP.
 * Owns:   storage and kv stay the caller's. */
void commit_init(struct commit *commit, struct kv *kv, const struct conf *conf, uint32_t slot);
/* Errors: no thread to be had is fatal. */
void commit_start(struct commit *commit);
void commit_join(struct commit *commit);
/* After commit_join, or when it was never started. */
void commit_fini(struct commit *commit);

#endif
