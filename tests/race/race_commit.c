/* race_commit.c - shards on several loops and one committer, for ThreadSanitizer.
 *
 * The kv in this file keeps what was written and what was synced without any lock: batches are
 * handed over whole, so only the committer may touch a batch that flies, and its shard one that
 * came home. Some writes fail. What must hold: an answer without error is for a batch that a sync
 * has covered; every batch is answered; batches of one shard are written in order.
 *
 * Exits with status 0 when all came home; CHECKs otherwise.
 */
#include <stdio.h>

#include "base/check.h"
#include "shards/commit.h"

#define LOOPS  3
#define SHARDS 9
#define ROUNDS 3000 /* batches a shard */

/* ---- a kv without locks -----------------------------------------------------------------------
 */

struct kv_batch {
    uint32_t shard;
    uint64_t number;     /* 1, 2, ... within the shard */
    uint64_t write_turn; /* by the committer: kv.turn when it was written */
    bool is_failing;
};

struct kv {
    uint64_t turn;                 /* committer's: syncs begun */
    uint64_t written[SHARDS];      /* committer's: last number */
    _Atomic uint64_t synced_turns; /* read by shards: writes of earlier turns are safe */
};

static struct kv kv;

uint64_t kv_free_bytes(const struct kv *store UNUSED)
{
    return UINT64_MAX / 2;
}

uint32_t kv_batch_rows(const struct kv_batch *batch UNUSED)
{
    return 1;
}

uint64_t kv_batch_bytes(const struct kv_batch *batch UNUSED)
{
    return 100;
}

uint32_t kv_batch_family(const struct kv_batch *batch UNUSED)
{
    return 0;
}

enum err kv_write(struct kv *store, struct kv_batch *batch)
{
    CHECK(batch->number > store->written[batch->shard]);
    store->written[batch->shard] = batch->number;
    batch->write_turn = store->turn;
    return batch->is_failing ? ERR_STORAGE : ERR_OK;
}

enum err kv_sync(struct kv *store)
{
    store->turn++;
    store->synced_turns = store->turn;
    return ERR_OK;
}

/* ---- shards -----------------------------------------------------------------------------------
 */

struct writer {
    struct actor actor;
    struct kv_batch batch;
    uint64_t failed;
};

static struct loop loops[LOOPS];
static struct writer writers[SHARDS];
static struct commit commit;
static struct actor master;         /* posts the STOP, on a bare thread: this one */
static uint32_t loop_shards[LOOPS]; /* still writing; their loop's */

static void post_next(struct writer *writer)
{
    struct msg *msg = msg_take(&writer->actor, MSG_COMMIT_WRITE);
    CHECK(msg != NULL);
    writer->batch.number++;
    writer->batch.is_failing = writer->batch.number % 7 == 0;
    msg->token = writer->batch.number;
    msg->body.commit.batch = &writer->batch;
    actor_post(&commit.actor, msg);
}

static void writer_handle(struct actor *actor, struct msg *msg)
{
    struct writer *writer = CONTAINER_OF(actor, struct writer, actor);
    const struct kv_batch *batch = msg->body.commit.batch;
    CHECK(msg->returning);
    CHECK(batch == &writer->batch);
    CHECK(msg->token == batch->number);
    CHECK((msg->err == ERR_OK) == (batch->number % 7 != 0));
    CHECK_IF(msg->err == ERR_OK, batch->write_turn < kv.synced_turns);
    CHECK(msg->body.commit.free_bytes > 0);
    writer->failed += msg->err != ERR_OK ? 1 : 0;
    msg_put(actor, msg);
    if (batch->number < ROUNDS) {
        post_next(writer);
        return;
    }
    actor_close(actor);
    if (--loop_shards[actor->loop->slot] == 0) {
        loop_stop(actor->loop);
    }
}

static void master_handle(struct actor *actor, struct msg *msg)
{
    CHECK(msg->returning);
    msg_put(actor, msg);
    actor_thread_stop(actor);
}

static void stop_committer(void)
{
    struct msg *msg = msg_take(&master, MSG_COMMIT_CONTROL);
    msg->body.control.op = CONTROL_STOP;
    actor_post(&commit.actor, msg);
    actor_thread_run(&master);
    commit_join(&commit);
}

int main(void)
{
    static struct conf conf;
    conf.reserve_mb = 1;
    commit_init(&commit, &kv, &conf, LOOPS);
    actor_init(&master, &(struct actor_options){.name = "master",
                                                .handle = master_handle,
                                                .pool_counts = {1, 0, 0},
                                                .port_depth_max = 1});
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_init(&loops[i], "race", i);
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        writers[i].batch.shard = i;
        loop_shards[place_loop_of_shard(i, LOOPS)]++;
        actor_init(&writers[i].actor,
                   &(struct actor_options){.name = "shard",
                                           .loop = &loops[place_loop_of_shard(i, LOOPS)],
                                           .handle = writer_handle,
                                           .pool_counts = {0, 0, 1},
                                           .port_depth_max = 1});
        post_next(&writers[i]);
    }
    commit_start(&commit);
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_start(&loops[i]);
    }
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_join(&loops[i]);
    }
    stop_committer();
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK(kv.written[i] == ROUNDS);
        CHECK(writers[i].failed == ROUNDS / 7);
        actor_fini(&writers[i].actor);
    }
    actor_fini(&master);
    commit_fini(&commit);
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_fini(&loops[i]);
    }
    printf("race_commit: %d batches of %d shards in %u syncs\n", SHARDS * ROUNDS, SHARDS,
           (unsigned)kv.turn);
    return 0;
}
