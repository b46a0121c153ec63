/* shard_move.c - a shard goes to another loop while everything runs.
 *
 *   STAYING --CONTROL_MOVE--> PACKING --idle--> AWAY --arrived on the new loop--> STAYING
 *                                |
 *                                +--MOVE_MS are over--> STAYING, the message comes home ERR_TIMEOUT
 *
 * Packing: new messages are held; what comes home is dispatched, the batches are written, jobs that
 * are out come back, and further ones are put aside. Idle means that nothing of the shard is bound
 * to its loop's thread but timers, which stop. What it has posted to others may stay out: that
 * comes home through the port, wherever the port is then.
 *
 * All else that a shard has is memory, which goes along: who was told of the departure by a message
 * sees every write before it. The ledger stays with delivery.
 */
#include "base/check.h"
#include "base/log.h"
#include "shards/shard_int.h"

static void on_due(struct timer *timer);
static void on_left(struct actor *actor);
static void on_arrived(struct actor *actor);
static void start_late_jobs(struct shard *shard);

/* Every timer of a shard stands here. */
static struct timer *timer_at(struct shard *shard, uint32_t index)
{
    struct timer *timers[SHARD_TIMERS] = {
        &shard->scan.retry, &shard->sweep, &shard->ahead, &shard->watch.timer, &shard->move_due,
    };
    return timers[index];
}

void move_init(struct shard *shard, struct loop *loop)
{
    timer_init(&shard->move_due, loop, on_due);
    list_init(&shard->late_jobs);
    shard->actor.on_arrived = on_arrived;
}

void move_begin(struct shard *shard, struct msg *msg)
{
    bool may_move = shard->family != KV_FAMILY_DELIVER && shard->is_started;
    if (!may_move || shard->is_draining || shard->move != NULL) {
        msg_return(msg, ERR_CONFLICT);
        return;
    }
    shard->move = msg;
    actor_hold(&shard->actor);
    timer_start(&shard->move_due, MOVE_MS);
}

/* In place of starting a job: its thread would bring it back to the loop that is being left. */
void move_put_aside(struct shard *shard, struct shard_job *job)
{
    list_push_back(&shard->late_jobs, &job->link);
    shard->jobs_late++;
}

/* The batches are empty and the shard may go, unless a job is out. Nothing may touch it afterwards.
 */
void move_try(struct shard *shard)
{
    if (shard->jobs_open > shard->jobs_late) {
        return;
    }
    timer_stop(&shard->move_due);
    for (uint32_t i = 0; i < SHARD_TIMERS; i++) {
        shard->timers_left_ms[i] = timer_move(timer_at(shard, i), NULL);
    }
    actor_leave(&shard->actor, on_left);
}

/* The old loop's last touch: main tells the new one. */
static void on_left(struct actor *actor)
{
    struct shard *shard = CONTAINER_OF(actor, struct shard, actor);
    struct msg *msg = shard->move;
    shard->move = NULL;
    msg_return(msg, ERR_OK);
}

static void on_arrived(struct actor *actor)
{
    struct shard *shard = CONTAINER_OF(actor, struct shard, actor);
    CHECK_LOOP(actor->loop);
    for (uint32_t i = 0; i < SHARD_TIMERS; i++) {
        struct timer *timer = timer_at(shard, i);
        (void)timer_move(timer, actor->loop); /* was stopped, on the way */
        if (shard->timers_left_ms[i] != UINT64_MAX) {
            timer_start(timer, shard->timers_left_ms[i]);
        }
    }
    start_late_jobs(shard);
}

static void on_due(struct timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, move_due);
    struct msg *msg = shard->move;
    shard->move = NULL;
    LOG_WARN("shard.not_moved", LOG_U64("family", shard->family),
             LOG_U64("jobs", shard->jobs_open - shard->jobs_late),
             LOG_BOOL("commits", shard->flying != NULL));
    start_late_jobs(shard);
    actor_release(&shard->actor);
    msg_return(msg, ERR_TIMEOUT);
}

static void start_late_jobs(struct shard *shard)
{
    while (!list_is_empty(&shard->late_jobs)) {
        struct link *first = list_pop_front(&shard->late_jobs);
        struct shard_job *job = CONTAINER_OF(first, struct shard_job, link);
        shard->jobs_late--;
        shard_start_job(shard, job);
    }
}
