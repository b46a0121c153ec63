/* sample.c - see sample.h. */
#include "sample.h"

#include "base/check.h"
#include "base/metric.h"
#include "kv/kv_stall.h"

#define SAMPLE_MS   1000
#define STORE_EVERY 5 /* of those */

static void ask_store(struct job *job)
{
    struct sampler *sampler = CONTAINER_OF(job, struct sampler, job);
    for (uint32_t i = 0; i < kv_shard_count(sampler->kv); i++) {
        kv_stat_read(sampler->kv, i, &sampler->stats[i]);
    }
    kv_stat_read_store(sampler->kv, &sampler->store);
    sampler->stalled_us = kv_stall_us(sampler->kv);
}

static void show_shard(uint32_t shard, const struct kv_stat *stat)
{
    metric_actor_set(METRIC_STORE_MEMTABLE, shard, 0, stat->memtable_bytes);
    metric_actor_set(METRIC_STORE_TABLES, shard, 0, stat->table_bytes);
    metric_actor_set(METRIC_STORE_BLOBS, shard, 0, stat->blob_bytes);
    metric_actor_set(METRIC_STORE_GARBAGE, shard, 0, stat->blob_garbage_bytes);
    metric_actor_set(METRIC_STORE_DEBT, shard, 0, stat->pending_bytes);
    metric_actor_set(METRIC_STORE_SLOWED, shard, 0, stat->slowdowns);
    metric_actor_set(METRIC_STORE_STOPS, shard, 0, stat->stops);
}

static void show_store(struct job *job)
{
    struct sampler *sampler = CONTAINER_OF(job, struct sampler, job);
    const struct kv_stat_store *store = &sampler->store;
    sampler->is_asking = false;
    for (uint32_t i = 0; i < kv_shard_count(sampler->kv); i++) {
        show_shard(i, &sampler->stats[i]);
    }
    metric_set(METRIC_STORE_COMPACTIONS, store->running_compactions);
    metric_set(METRIC_STORE_FLUSHES, store->running_flushes);
    metric_set(METRIC_STORE_DELAYED, store->delayed_bytes_per_s);
    metric_set(METRIC_STORE_STOPPED, store->is_write_stopped ? 1 : 0);
    metric_set(METRIC_STORE_ERRORS, store->background_errors);
    metric_set(METRIC_STORE_LOG, store->log_bytes);
    metric_set(METRIC_STORE_CACHE, store->cache_bytes);
    metric_set(METRIC_STORE_STALLED, sampler->stalled_us);
}

static void on_due(struct timer *timer)
{
    struct sampler *sampler = CONTAINER_OF(timer, struct sampler, timer);
    timer_start(timer, SAMPLE_MS);
    for (uint32_t i = 0; i < sampler->loop_count; i++) {
        struct loop *loop = sampler->loops[i];
        metric_set_of(METRIC_LOOP_IDLE, loop->slot, loop_idle_us(loop));
    }
    if (sampler->turn % STORE_EVERY == 0 && !sampler->is_asking) {
        sampler->is_asking = true;
        loop_offload(sampler->loop, &sampler->job, ask_store, show_store);
    }
    sampler->turn++;
}

void sampler_start(struct sampler *sampler, struct loop *loop, struct kv *kv)
{
    CHECK(kv_shard_count(kv) <= SHARD_COUNT_MAX);
    sampler->loop = loop;
    sampler->kv = kv;
    timer_init(&sampler->timer, loop, on_due);
    timer_start(&sampler->timer, 0);
}

void sampler_add_loop(struct sampler *sampler, struct loop *loop)
{
    CHECK(sampler->loop_count < SAMPLE_LOOPS_MAX);
    sampler->loops[sampler->loop_count++] = loop;
}

void sampler_stop(struct sampler *sampler)
{
    timer_stop(&sampler->timer);
}
