/* test_shard_move.c - a shard lets go of its loop, and works on another one.
 *
 * Both loops turn in this thread, so the messages of the move are all that orders them, as between
 * threads. Not covered here: posting from other threads meanwhile (race_move), who asks for it
 * (flow_test_control).
 */
#include "unit/shards/shard_rig.h"

#include <semaphore.h>

#define TIMEOUT 60

struct scene {
    struct rig *rig;
    struct loop other;
    struct account_id account;
    struct shard *shard;
};

static void turn(struct scene *it)
{
    rig_turn(it->rig);
    (void)uv_run(&it->other.uv, UV_RUN_NOWAIT);
}

static void settle_both(struct scene *it)
{
    for (int i = 0; i < 40; i++) {
        turn(it);
    }
}

static enum err wait_both(struct scene *it, struct msg *msg)
{
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (!rig_is_home(it->rig, msg)) {
        cr_assert_lt(rig_seconds(), end, "a message did not come home");
        turn(it);
    }
    return msg->err;
}

static void open_scene(struct scene *it)
{
    *it = (struct scene){.rig = rig_open()};
    loop_init(&it->other, "other", 1);
    it->account = rig_signup(it->rig);
    (void)rig_domain(it->rig, it->account, "example.com"); /* its id is not needed */
    it->shard = rig_state(it->rig, it->account);
    rig_settle(it->rig);
}

static struct msg *ask_to_move(struct scene *it, struct actor *shard)
{
    struct msg *msg = rig_take(it->rig, MSG_SHARD_CONTROL);
    msg->body.control.op = CONTROL_MOVE;
    actor_post(shard, msg);
    return msg;
}

static void move_to(struct scene *it, struct actor *shard, struct loop *loop)
{
    struct msg *msg = ask_to_move(it, shard);
    cr_assert_eq(wait_both(it, msg), ERR_OK);
    rig_put(it->rig, msg);
    actor_arrive(shard, loop);
}

/* The rig ends on its own loop. */
static void close_scene(struct scene *it)
{
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        struct actor *actor = it->rig->place.shards[i];
        if (actor->loop == &it->other) {
            move_to(it, actor, &it->rig->loop);
        }
    }
    settle_both(it);
    loop_stop(&it->other);
    loop_run(&it->other);
    loop_fini(&it->other);
    rig_close(it->rig);
}

static struct msg *post_mail(struct scene *it)
{
    struct msg *msg = rig_mail(it->rig, it->account, "robot@example.com", "to@dest.test");
    actor_post(&it->shard->actor, msg);
    return msg;
}

Test(shard_move, a_shard_that_rests_works_on_the_other_loop_and_comes_back, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    move_to(&it, &it.shard->actor, &it.other);
    struct msg *mail = post_mail(&it);
    rig_settle(it.rig);
    cr_expect_not(rig_is_home(it.rig, mail), "the old loop has nothing to do with it");
    cr_expect_eq(wait_both(&it, mail), ERR_OK);
    move_to(&it, &it.shard->actor, &it.rig->loop);
    mail = post_mail(&it);
    cr_expect_eq(rig_wait(it.rig, mail), ERR_OK);
    close_scene(&it);
}

Test(shard_move, no_timer_stays_behind, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    uint32_t count = it.rig->loop.timers.count;
    uint64_t due_ms = it.shard->sweep.node.key;
    cr_assert_gt(count, 0);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        move_to(&it, it.rig->place.shards[i], &it.other);
    }
    cr_expect_eq(it.rig->loop.timers.count, 0);
    cr_expect_eq(it.other.timers.count, count);
    cr_expect(timer_is_on(&it.shard->sweep));
    cr_expect_lt(it.shard->sweep.node.key, due_ms + 5000, "what was left of it, not all again");
    cr_expect_gt(it.shard->sweep.node.key + 5000, due_ms);
    close_scene(&it);
}

Test(shard_move, the_batch_in_flight_is_waited_for_and_new_messages_wait_for_the_new_loop,
     .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    it.rig->is_commit_held = true;
    struct msg *flying = post_mail(&it);
    rig_settle(it.rig);
    struct msg *move = ask_to_move(&it, &it.shard->actor);
    struct msg *late[3];
    for (size_t i = 0; i < ARRAY_LEN(late); i++) {
        late[i] = post_mail(&it);
    }
    rig_settle(it.rig);
    cr_assert_not(rig_is_home(it.rig, flying));
    cr_assert_not(rig_is_home(it.rig, move), "its rows are not on disk");
    rig_release_commits(it.rig);
    cr_expect_eq(wait_both(&it, flying), ERR_OK);
    cr_expect_eq(wait_both(&it, move), ERR_OK);
    settle_both(&it);
    cr_expect_not(rig_is_home(it.rig, late[0]), "nobody has the shard");
    actor_arrive(&it.shard->actor, &it.other);
    for (size_t i = 0; i < ARRAY_LEN(late); i++) {
        cr_expect_eq(wait_both(&it, late[i]), ERR_OK);
    }
    close_scene(&it);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

struct slow_job {
    struct shard_job job;
    sem_t may_end;
    bool is_done;
    struct loop *done_on;
};

static void slow_work(struct shard_job *job)
{
    (void)sem_wait(&CONTAINER_OF(job, struct slow_job, job)->may_end);
}

static void slow_done(struct shard_job *job)
{
    struct slow_job *slow = CONTAINER_OF(job, struct slow_job, job);
    slow->is_done = true;
    slow->done_on = job->shard->actor.loop;
}

static void await_job(struct scene *it, const struct slow_job *job)
{
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (!job->is_done) {
        cr_assert_lt(rig_seconds(), end, "a job is not done");
        turn(it);
    }
}

Test(shard_move, a_job_is_waited_for_and_the_next_one_starts_on_the_new_loop, .timeout = TIMEOUT)
{
    struct scene it;
    struct slow_job first = {.is_done = false};
    struct slow_job second = {.is_done = false};
    open_scene(&it);
    (void)sem_init(&first.may_end, 0, 0);  /* these fail for odd values only */
    (void)sem_init(&second.may_end, 0, 1); /* likewise */
    shard_offload(it.shard, &first.job, slow_work, slow_done);
    struct msg *move = ask_to_move(&it, &it.shard->actor);
    settle_both(&it);
    cr_expect_not(rig_is_home(it.rig, move), "a job is out");
    shard_offload(it.shard, &second.job, slow_work, slow_done);
    settle_both(&it);
    cr_expect_not(second.is_done);
    (void)sem_post(&first.may_end); /* fails beyond two thousand millions */
    cr_expect_eq(wait_both(&it, move), ERR_OK);
    cr_expect(first.is_done);
    cr_expect_not(second.is_done);
    actor_arrive(&it.shard->actor, &it.other);
    await_job(&it, &second);
    cr_expect_eq(second.done_on, &it.other);
    cr_expect_eq(it.rig->loop.jobs_open, 0);
    close_scene(&it);
}

Test(shard_move, a_shard_that_does_not_come_to_rest_stays, .timeout = TIMEOUT)
{
    struct scene it;
    struct slow_job first = {.is_done = false};
    struct slow_job second = {.is_done = false};
    open_scene(&it);
    (void)sem_init(&first.may_end, 0, 0);  /* these fail for odd values only */
    (void)sem_init(&second.may_end, 0, 1); /* likewise */
    shard_offload(it.shard, &first.job, slow_work, slow_done);
    struct msg *move = ask_to_move(&it, &it.shard->actor);
    settle_both(&it);
    shard_offload(it.shard, &second.job, slow_work, slow_done);
    struct msg *mail = post_mail(&it);
    settle_both(&it);
    cr_expect_not(rig_is_home(it.rig, mail));
    clock_set_fake(clock_mono_ms() + MOVE_MS + 1, clock_unix_ms() + MOVE_MS + 1);
    cr_expect_eq(wait_both(&it, move), ERR_TIMEOUT);
    cr_expect_eq(wait_both(&it, mail), ERR_OK, "it works on where it is");
    await_job(&it, &second);
    cr_expect_eq(second.done_on, &it.rig->loop);
    (void)sem_post(&first.may_end); /* fails beyond two thousand millions */
    await_job(&it, &first);
    close_scene(&it);
}

Test(shard_move, the_ledger_refuses, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    struct msg *move = ask_to_move(&it, it.rig->place.deliver_shard);
    cr_expect_eq(wait_both(&it, move), ERR_CONFLICT);
    close_scene(&it);
}
