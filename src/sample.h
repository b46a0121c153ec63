/* sample.h - what the metrics show of things that count themselves: how long the loops waited, and
 * what the store says of its families.
 *
 * Runs on the main loop. The loops are looked at every second; the store is asked every five, on a
 * worker, because RocksDB takes its own lock for some of it. The cells are the main thread's own,
 * also where a shard or a loop is their label: nobody else writes these metrics.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "base/limits.h"
#include "kv/kv_stat.h"
#include "net/loop.h"

#define SAMPLE_LOOPS_MAX (LOOP_COUNT_MAX + 3) /* edges', main's, delivery's, the keeper's */

struct sampler {
    struct loop *loop;
    struct kv *kv;
    struct loop *loops[SAMPLE_LOOPS_MAX];
    uint32_t loop_count;
    struct timer timer;
    uint32_t turn;
    bool is_asking; /* a worker has the job and what is below */
    struct job job;
    struct kv_stat stats[SHARD_COUNT_MAX];
    struct kv_stat_store store;
    uint64_t stalled_us;
};

/* Owns: storage stays the caller's, as do kv and the loops, which must outlive the main loop's end.
 */
void sampler_start(struct sampler *sampler, struct loop *loop, struct kv *kv);
void sampler_add_loop(struct sampler *sampler, struct loop *loop);
/* The loop can end once a job that is out has come back. */
void sampler_stop(struct sampler *sampler);

#endif
