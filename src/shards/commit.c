/* commit.c - the committer.
 *
 * A round is one turn of the actor: the handler writes each batch and keeps its message, on_drained
 * syncs and sends all of them home. While it syncs, the next round gathers in the port.
 */
#include "shards/commit.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* One batch from each shard and delivery's, and main's controls. */
#define CONTROLS_MAX 4
#define SPACE_SAY_US UINT64_C(10000000)
#define PORT_MSGS    ((SHARD_COUNT_MAX + 1) * SHARD_COMMIT_MSGS + CONTROLS_MAX)

static void *commit_main(void *context);
static void on_msg(struct actor *actor, struct msg *msg);
static void begin_round(struct commit *commit);
static enum err write_batch(struct commit *commit, struct kv_batch *batch);
static void refuse_for_space(struct commit *commit);
static void on_drained(struct actor *actor);
static void sync_store(struct commit *commit);
static void count_stages(const struct commit *commit, uint64_t written_us, uint64_t synced_us);
static void pause_ms(uint64_t ms);

void commit_init(struct commit *commit, struct kv *kv, const struct conf *conf, uint32_t slot)
{
    CHECK(kv != NULL);
    *commit = (struct commit){
        .kv = kv,
        .reserve_bytes = conf->reserve_mb * MIB,
        .delay_ms = conf->test_commit_delay_ms,
        .slow_shard = (uint32_t)conf->test_slow_shard,
        .slow_ms = conf->test_slow_shard_ms,
        .slot = slot,
    };
    actor_init(&commit->actor, &(struct actor_options){.name = "commit",
                                                       .handle = on_msg,
                                                       .on_drained = on_drained,
                                                       .port_depth_max = PORT_MSGS});
}

void commit_start(struct commit *commit)
{
    const int result = pthread_create(&commit->thread, NULL, commit_main, commit);
    if (result != 0) {
        fatal("cannot start the committer's thread (%s): raise the limit of processes (ulimit -u)",
              strerror(result));
    }
}

void commit_join(struct commit *commit)
{
    const int result = pthread_join(commit->thread, NULL);
    CHECK(result == 0);
}

void commit_fini(struct commit *commit)
{
    CHECK(commit->round.first == NULL);
    actor_close(&commit->actor);
    actor_fini(&commit->actor);
}

static void *commit_main(void *context)
{
    struct commit *commit = context;
    check_name_thread(commit->actor.name);
    metric_set_slot(commit->slot);
    metric_set(METRIC_STORE_FREE_BYTES, kv_free_bytes(commit->kv)); /* until the first round */
    actor_thread_run(&commit->actor);
    return NULL;
}

static void on_msg(struct actor *actor, struct msg *msg)
{
    struct commit *commit = CONTAINER_OF(actor, struct commit, actor);
    CHECK(!msg->returning); /* it takes none of its own */
    if (commit->round.first == NULL) {
        begin_round(commit);
        commit->round.first = msg;
    } else {
        commit->round.last->next = msg;
    }
    commit->round.last = msg;
    if (msg->kind == MSG_COMMIT_WRITE) {
        msg->err = write_batch(commit, msg->body.commit.batch);
    } else {
        CHECK(msg->kind == MSG_COMMIT_CONTROL);
        if (msg->body.control.op == CONTROL_STOP) {
            actor_thread_stop(actor);
        }
    }
}

static void begin_round(struct commit *commit)
{
    commit->round_begun_us = clock_mono_us();
    commit->free_bytes = kv_free_bytes(commit->kv);
    commit->has_written = false;
    commit->round_batches = 0;
    metric_set(METRIC_STORE_FREE_BYTES, commit->free_bytes);
}

/* Written, not yet synced. */
static enum err write_batch(struct commit *commit, struct kv_batch *batch)
{
    CHECK(batch != NULL);
    const uint32_t row_count = kv_batch_rows(batch);
    if (row_count == 0) {
        return ERR_OK;
    }
    const uint64_t bytes = kv_batch_bytes(batch);
    if (commit->free_bytes < commit->reserve_bytes / 4 + bytes) {
        refuse_for_space(commit);
        return ERR_STORAGE;
    }
    if (commit->slow_shard != 0 && kv_batch_family(batch) == commit->slow_shard - 1) {
        pause_ms(commit->slow_ms);
    }
    if (kv_write(commit->kv, batch) != ERR_OK) {
        metric_add(METRIC_COMMIT_FAILED, 1);
        return ERR_STORAGE; /* kv logged the store's own words */
    }
    commit->has_written = true;
    commit->free_bytes -= bytes;
    metric_add(METRIC_COMMIT_BATCHES, 1);
    commit->round_batches++;
    metric_add(METRIC_COMMIT_ROWS, row_count);
    metric_observe_count(METRIC_COMMIT_BATCH, row_count);
    return ERR_OK;
}

/* A nearly full disk refuses large batches and takes small ones in turn: hence a line now and then,
 * not one at each change. */
static void refuse_for_space(struct commit *commit)
{
    const uint64_t now_us = clock_mono_us();
    metric_add(METRIC_COMMIT_FAILED, 1);
    if (commit->space_said_us != 0 && now_us < commit->space_said_us + SPACE_SAY_US) {
        return;
    }
    commit->space_said_us = now_us;
    LOG_ERROR("commit.no_space", LOG_U64("free_bytes", commit->free_bytes),
              LOG_U64("reserve_bytes", commit->reserve_bytes));
}

static void on_drained(struct actor *actor)
{
    struct commit *commit = CONTAINER_OF(actor, struct commit, actor);
    struct msg *msg = commit->round.first;
    if (commit->has_written) {
        sync_store(commit);
    }
    commit->round = (struct msg_queue){.first = NULL};
    while (msg != NULL) {
        struct msg *next = msg->next;
        msg->next = NULL;
        if (msg->kind == MSG_COMMIT_WRITE) {
            msg->body.commit.free_bytes = commit->free_bytes;
            msg->body.commit.synced_us = commit->synced_us;
        }
        msg_return(msg, msg->err);
        msg = next;
    }
}

/* After a failed sync the kernel may have dropped the dirty pages and call the next sync a success:
 * only a restart, which reads the log back, tells what is on disk. Nothing of this round was
 * answered. */
static void sync_store(struct commit *commit)
{
    const uint64_t written_us = clock_mono_us();
    if (commit->delay_ms > 0) {
        pause_ms(commit->delay_ms);
    }
    const enum err err = kv_sync(commit->kv);
    if (err != ERR_OK) {
        fatal("the store could not be synced to disk (%s): check the disk and the kernel's log, "
              "then start again; all mail that was accepted is safe",
              err_info(err)->name);
    }
    metric_add(METRIC_COMMIT_SYNCS, 1);
    commit->synced_us = clock_mono_us();
    metric_observe_us(METRIC_COMMIT_LATENCY, commit->synced_us - commit->round_begun_us);
    metric_observe_count(METRIC_COMMIT_ROUND, commit->round_batches);
    count_stages(commit, written_us, commit->synced_us);
}

/* Each batch of the round was written and synced together with the others; how long it waited is
 * its own. The way home is counted by its shard. */
static void count_stages(const struct commit *commit, uint64_t written_us, uint64_t synced_us)
{
    for (const struct msg *msg = commit->round.first; msg != NULL; msg = msg->next) {
        if (msg->kind != MSG_COMMIT_WRITE || msg->body.commit.posted_us == 0) {
            continue;
        }
        const uint64_t posted_us = msg->body.commit.posted_us;
        const uint64_t begun_us = commit->round_begun_us;
        metric_observe_at(METRIC_COMMIT_STAGE, LABEL_STAGE_WAIT,
                          begun_us > posted_us ? begun_us - posted_us : 0);
        metric_observe_at(METRIC_COMMIT_STAGE, LABEL_STAGE_WRITE, written_us - begun_us);
        metric_observe_at(METRIC_COMMIT_STAGE, LABEL_STAGE_SYNC, synced_us - written_us);
    }
}

static void pause_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
}
