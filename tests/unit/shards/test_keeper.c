/* The keeper: one job at a time, looked at while it works, cancelled, remembered, drained.
 *
 * The jobs are compactions of a small store. Not covered here: a job that outlasts a drain
 * (flow/test_backup), what each kind of job does (the tests of each).
 */
#include <criterion/criterion.h>

#include <sched.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "shards/keeper.h"
#include "unit/kv/temp_store.h"

#define WAIT_S 30

struct rig {
    char path[TEMP_PATH_MAX];
    struct kv *kv;
    struct place place;
    struct loop loop;
    struct keeper *keeper;
    struct actor client;
    struct msg *home[8];
    uint32_t home_count;
};

static void on_home(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, client);
    cr_assert(msg->returning);
    rig->home[rig->home_count++] = msg;
}

static void rig_init(struct rig *rig)
{
    *rig = (struct rig){.place = {.boot = 7, .shard_count = 2}};
    log_set_level(LOG_LEVEL_ERROR);
    temp_folder_make(rig->path);
    rig->kv = temp_open(rig->path, 2);
    loop_init(&rig->loop, "test", 0);
    rig->keeper = keeper_new(&rig->place, rig->kv, &rig->loop);
    actor_init(&rig->client, &(struct actor_options){.name = "client",
                                                     .loop = &rig->loop,
                                                     .handle = on_home,
                                                     .pool_counts = {[MSG_POOL_REQUEST] = 8},
                                                     .port_depth_max = 8});
}

static void turn_until(struct rig *rig, uint32_t home_count)
{
    time_t end = time(NULL) + WAIT_S;
    while (rig->home_count < home_count) {
        cr_assert_lt(time(NULL), end, "it never came home");
        (void)uv_run(&rig->loop.uv, UV_RUN_NOWAIT); /* tells only whether handles are left */
        (void)sched_yield();
    }
}

static void ask(struct rig *rig, enum keep_op op, uint64_t number)
{
    struct msg *msg = msg_take(&rig->client, MSG_KEEPER_JOB);
    cr_assert_not_null(msg);
    msg->body.keep = (struct keeper_job){
        .op = op,
        .wish = {.type = KEEP_COMPACT, .by = SLICE("tester"), .shard = KEEP_EVERY_SHARD},
        .boot = 7,
        .number = number,
    };
    actor_post(keeper_actor(rig->keeper), msg);
}

static void control(struct rig *rig, enum control_op op)
{
    struct msg *msg = msg_take(&rig->client, MSG_KEEPER_CONTROL);
    cr_assert_not_null(msg);
    msg->body.control.op = op;
    msg->body.control.deadline_ms = clock_mono_ms() + 20000;
    actor_post(keeper_actor(rig->keeper), msg);
}

static void forget(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->home_count; i++) {
        msg_put(&rig->client, rig->home[i]);
    }
    rig->home_count = 0;
}

/* Looks until the job has ended; its view stays in home[0]. */
static struct keep_view *await_end(struct rig *rig, uint64_t number)
{
    for (;;) {
        forget(rig);
        ask(rig, KEEP_STATUS, number);
        turn_until(rig, 1);
        cr_assert_eq(rig->home[0]->err, ERR_OK);
        struct keep_view *view = &rig->home[0]->body.keep.views[0];
        if (view->state != KEEP_RUNNING) {
            return view;
        }
    }
}

static void rig_fini(struct rig *rig)
{
    forget(rig);
    control(rig, CONTROL_DRAIN);
    turn_until(rig, 1);
    cr_assert_eq(rig->home[0]->err, ERR_OK);
    control(rig, CONTROL_STOP);
    turn_until(rig, 2);
    forget(rig);
    actor_close(&rig->client);
    loop_stop(&rig->loop);
    loop_run(&rig->loop);
    keeper_free(rig->keeper);
    actor_fini(&rig->client);
    loop_fini(&rig->loop);
    kv_close(rig->kv);
    temp_folder_drop(rig->path);
}

Test(keeper, does_a_job_and_remembers_its_report, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    cr_assert_eq(temp_put(rig.kv, 1, SLICE("key"), SLICE("value")), ERR_OK);
    ask(&rig, KEEP_START, 0);
    turn_until(&rig, 1);
    cr_assert_eq(rig.home[0]->err, ERR_OK);
    struct keep_view *view = &rig.home[0]->body.keep.views[0];
    cr_expect_eq(view->boot, 7);
    cr_expect_eq(view->number, 1);
    cr_expect_eq(view->state, KEEP_RUNNING);
    cr_expect_eq(view->total, 3, "two shards and delivery");
    cr_expect_eq(view->report.len, 0);
    view = await_end(&rig, 1);
    cr_expect_eq(view->state, KEEP_DONE);
    cr_expect_eq(view->done, 3);
    cr_expect(slice_equal(view->by, SLICE("tester")));
    cr_expect_neq(slice_find(view->report, SLICE("\"name\":\"shard01\"")), SIZE_MAX, "%.*s",
                  SLICE_FMT(view->report));
    cr_expect(temp_has(rig.kv, 1, SLICE("key"), SLICE("value")));
    rig_fini(&rig);
}

Test(keeper, does_one_job_at_a_time_and_says_which_one_runs, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    ask(&rig, KEEP_START, 0);
    ask(&rig, KEEP_START, 0);
    turn_until(&rig, 2);
    cr_expect_eq(rig.home[0]->err, ERR_OK);
    cr_expect_eq(rig.home[1]->err, ERR_CONFLICT);
    cr_expect_neq(slice_find(rig.home[1]->sentence, SLICE("compact runs already (7-1)")), SIZE_MAX,
                  "%.*s", SLICE_FMT(rig.home[1]->sentence));
    (void)await_end(&rig, 1);
    forget(&rig);
    ask(&rig, KEEP_START, 0);
    turn_until(&rig, 1);
    cr_expect_eq(rig.home[0]->body.keep.views[0].number, 2);
    (void)await_end(&rig, 2);
    rig_fini(&rig);
}

Test(keeper, cancels_a_job_between_two_pieces, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    ask(&rig, KEEP_START, 0);
    ask(&rig, KEEP_CANCEL, 1);
    turn_until(&rig, 2);
    cr_expect_eq(rig.home[1]->err, ERR_OK);
    cr_expect(rig.home[1]->body.keep.views[0].is_cancelling);
    struct keep_view *view = await_end(&rig, 1);
    cr_expect_eq(view->state, KEEP_CANCELLED);
    cr_expect_lt(view->done, 3);
    forget(&rig);
    ask(&rig, KEEP_CANCEL, 1);
    turn_until(&rig, 1);
    cr_expect_eq(rig.home[0]->err, ERR_CONFLICT, "it has ended");
    forget(&rig);
    ask(&rig, KEEP_START, 0);
    turn_until(&rig, 1);
    view = await_end(&rig, 2);
    cr_expect_eq(view->state, KEEP_DONE, "compaction is allowed again");
    rig_fini(&rig);
}

Test(keeper, remembers_the_last_sixteen_newest_first, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    for (uint64_t i = 1; i <= KEEPER_JOBS_KEPT + 2; i++) {
        forget(&rig);
        ask(&rig, KEEP_START, 0);
        turn_until(&rig, 1);
        (void)await_end(&rig, i);
    }
    forget(&rig);
    ask(&rig, KEEP_LIST, 0);
    ask(&rig, KEEP_STATUS, 2);
    ask(&rig, KEEP_STATUS, KEEPER_JOBS_KEPT);
    turn_until(&rig, 3);
    const struct keeper_job *list = &rig.home[0]->body.keep;
    cr_assert_eq(list->view_count, KEEPER_JOBS_KEPT);
    cr_expect_eq(list->views[0].number, KEEPER_JOBS_KEPT + 2);
    cr_expect_eq(list->views[KEEPER_JOBS_KEPT - 1].number, 3);
    cr_expect_eq(rig.home[1]->err, ERR_NOT_FOUND, "forgotten");
    cr_expect_eq(rig.home[2]->err, ERR_OK);
    rig_fini(&rig);
}

Test(keeper, ends_its_job_before_a_drain_is_over_and_takes_none_then, .timeout = 60)
{
    struct rig rig;
    rig_init(&rig);
    ask(&rig, KEEP_START, 0);
    control(&rig, CONTROL_DRAIN);
    ask(&rig, KEEP_START, 0);
    turn_until(&rig, 3);
    bool is_refused = false;
    for (uint32_t i = 0; i < 3; i++) {
        is_refused |= rig.home[i]->kind == MSG_KEEPER_JOB && rig.home[i]->err == ERR_DRAINING;
        cr_expect(rig.home[i]->kind != MSG_KEEPER_CONTROL || rig.home[i]->err == ERR_OK);
    }
    cr_expect(is_refused);
    struct keep_view *view = await_end(&rig, 1);
    cr_expect_eq(view->state, KEEP_CANCELLED);
    rig_fini(&rig);
}
