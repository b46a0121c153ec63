/* keeper.c - jobs: begun, worked at piece by piece, looked at, cancelled, remembered.
 *
 *     START --> begin --> step, step, ... --> report --> remembered
 *                          |  ^
 *                          v  | worker back, messages home
 *                         waits
 *
 * A cancelled job goes to its report as soon as nothing of it is out, and what it has to undo is
 * undone.
 */
#include "shards/keeper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "shards/keeper_int.h"

#define JOB_ARENA_CHUNK (64 * KIB)
#define BY_MAX          254 /* an email */

/* What is kept of a job when it has ended; of the one that runs, what was known from its start. */
struct record {
    uint64_t number; /* 0: none */
    enum keep_type type;
    enum keep_state state;
    uint64_t started_unix_ms;
    uint64_t ended_unix_ms;
    uint64_t done;
    uint64_t total;
    uint32_t problems;
    enum err err;
    char by[BY_MAX + 1];
    char at[KEEP_AT_MAX];
    char sentence[KEEP_SENTENCE_MAX];
    struct buf report;
};

struct keeper {
    struct actor actor;
    const struct place *place;
    struct kv *kv;
    struct loop *loop;
    struct record records[KEEPER_JOBS_KEPT]; /* number n is at n % KEEPER_JOBS_KEPT */
    uint64_t last_number;
    struct record *running; /* NULL: nothing runs */
    struct keep_job job;    /* that one */
    struct job worker;
    keep_fn *work;
    struct chore slice;
    struct timer pause;
    uint32_t msgs_out;
    bool is_worker_out;
    bool is_draining;
    struct msg *drain; /* waits for the job's end */
    struct timer drain_timer;
};

static const struct keep_kind *const kinds[] = {
    [KEEP_COMPACT] = &keep_compact, [KEEP_BACKUP] = &keep_backup, [KEEP_VERIFY] = &keep_verify,
    [KEEP_REPAIR] = &keep_repair,   [KEEP_EXPORT] = &keep_export, [KEEP_IMPORT] = &keep_import,
};
_Static_assert(ARRAY_LEN(kinds) == KEEP_TYPE_COUNT, "each type is a kind");

static void on_msg(struct actor *actor, struct msg *msg);
static void on_slice(struct chore *chore);
static void on_pause_over(struct timer *timer);
static void on_drain_late(struct timer *timer);

struct keeper *keeper_new(const struct place *place, struct kv *kv, struct loop *loop)
{
    struct keeper *keeper = mem_zalloc(sizeof *keeper);
    keeper->place = place;
    keeper->kv = kv;
    keeper->loop = loop;
    chore_init(&keeper->slice, on_slice);
    timer_init(&keeper->pause, loop, on_pause_over);
    timer_init(&keeper->drain_timer, loop, on_drain_late);
    for (size_t i = 0; i < ARRAY_LEN(keeper->records); i++) {
        buf_init(&keeper->records[i].report, KEEPER_REPORT_MAX);
    }
    struct actor_options options = {
        .name = "keeper",
        .loop = loop,
        .handle = on_msg,
        .pool_counts = {[MSG_POOL_REQUEST] = KEEPER_POOL_MSGS},
        .port_depth_max = KEEPER_PORT_MSGS,
    };
    actor_init(&keeper->actor, &options);
    return keeper;
}

void keeper_free(struct keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    CHECK(keeper->running == NULL);
    for (size_t i = 0; i < ARRAY_LEN(keeper->records); i++) {
        buf_fini(&keeper->records[i].report);
    }
    actor_fini(&keeper->actor);
    free(keeper);
}

struct actor *keeper_actor(struct keeper *keeper)
{
    return &keeper->actor;
}

/* ---- for the kinds -------------------------------------------------------------------------- */

enum err keep_refuse(struct keep_job *job, enum err err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(job->sentence, sizeof job->sentence, fmt, args); /* cut on purpose */
    va_end(args);
    job->err = err;
    return err;
}

void keep_at(struct keep_job *job, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(job->at, sizeof job->at, fmt, args); /* cut on purpose */
    va_end(args);
}

/* Worker. */
static void do_work(struct job *worker)
{
    struct keeper *keeper = CONTAINER_OF(worker, struct keeper, worker);
    keeper->work(&keeper->job);
}

static void on_worked(struct job *worker)
{
    struct keeper *keeper = CONTAINER_OF(worker, struct keeper, worker);
    keeper->is_worker_out = false;
    chore_start(keeper->loop, &keeper->slice);
}

void keep_offload(struct keep_job *job, keep_fn *work)
{
    struct keeper *keeper = job->keeper;
    CHECK(!keeper->is_worker_out);
    keeper->is_worker_out = true;
    keeper->work = work;
    loop_offload(keeper->loop, &keeper->worker, do_work, on_worked);
}

static void on_pause_over(struct timer *timer)
{
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, pause);
    chore_start(keeper->loop, &keeper->slice);
}

void keep_wait(struct keep_job *job, uint64_t ms)
{
    timer_start(&job->keeper->pause, ms);
}

struct msg *keep_take(struct keep_job *job, enum msg_kind kind)
{
    return msg_take(&job->keeper->actor, kind);
}

void keep_post(struct keep_job *job, struct actor *to, struct msg *msg)
{
    CHECK(job->kind->on_msg != NULL);
    job->keeper->msgs_out += 1;
    actor_post(to, msg);
}

/* ---- a job's life --------------------------------------------------------------------------- */

static void log_job(const struct keeper *keeper, const struct record *record, const char *event)
{
    LOG_INFO(event, LOG_U64("boot", keeper->place->boot), LOG_U64("job", record->number),
             LOG_STR("type", keep_type_text(record->type)), LOG_STR("by", record->by),
             LOG_STR("state", keep_state_text(record->state)), LOG_U64("done", record->done),
             LOG_U64("problems", record->problems), LOG_STR("sentence", record->sentence));
}

static void write_report(struct keep_job *job, struct buf *out)
{
    struct json_writer w;
    buf_clear(out);
    json_start(&w, out);
    json_open_object(&w);
    job->kind->report(job, &w);
    json_close_object(&w);
    if (buf_err(out) != ERR_OK) { /* a kind bounds its lists; this is the floor under all of them */
        buf_clear(out);
        buf_add_str(out, "{\"isTooLong\":true}");
    }
}

static void note_progress(struct record *record, const struct keep_job *job)
{
    record->done = job->done;
    record->total = job->total;
    record->problems = job->problems;
    memcpy(record->at, job->at, sizeof record->at);
}

static void end_drain(struct keeper *keeper, enum err err)
{
    struct msg *drain = keeper->drain;
    if (drain != NULL) {
        keeper->drain = NULL;
        timer_stop(&keeper->drain_timer);
        msg_return(drain, err);
    }
}

static void end_job(struct keeper *keeper)
{
    struct keep_job *job = &keeper->job;
    struct record *record = keeper->running;
    record->state = job->is_cancelled    ? KEEP_CANCELLED
                    : job->err != ERR_OK ? KEEP_FAILED
                                         : KEEP_DONE;
    record->ended_unix_ms = clock_unix_ms();
    record->err = job->err;
    memcpy(record->sentence, job->sentence, sizeof record->sentence);
    write_report(job, &record->report);
    note_progress(record, job);
    log_job(keeper, record, "keeper.ended");
    metric_add(METRIC_JOBS_FAILED, record->state == KEEP_FAILED);
    job->kind->end(job);
    timer_stop(&keeper->pause);
    arena_fini(&job->arena);
    *job = (struct keep_job){.kind = NULL};
    keeper->running = NULL;
    end_drain(keeper, ERR_OK);
}

static void on_slice(struct chore *chore)
{
    struct keeper *keeper = CONTAINER_OF(chore, struct keeper, slice);
    struct keep_job *job = &keeper->job;
    enum keep_step step = KEEP_STEP_WAIT;
    if (keeper->running == NULL || keeper->is_worker_out) {
        return;
    }
    if (job->is_cancelled && !job->is_asked && keeper->msgs_out == 0) {
        job->is_asked = true;
        job->is_undoing = job->kind->take_back != NULL && job->kind->take_back(job);
    }
    bool is_stepped = (!job->is_cancelled || job->is_undoing) && job->err == ERR_OK;
    if (is_stepped) {
        step = job->kind->step(job, KEEPER_SLICE_US);
    }
    bool is_over = step == KEEP_STEP_OVER || !is_stepped || job->err != ERR_OK;
    if (is_over && !keeper->is_worker_out && keeper->msgs_out == 0) {
        end_job(keeper);
    } else if (!is_over && step == KEEP_STEP_MORE) {
        chore_start(keeper->loop, &keeper->slice);
    }
}

static void cancel_job(struct keeper *keeper)
{
    struct keep_job *job = &keeper->job;
    if (!job->is_cancelled && keeper->is_worker_out && job->kind->cancel != NULL) {
        job->kind->cancel(job);
    }
    job->is_cancelled = true;
    chore_start(keeper->loop, &keeper->slice);
}

/* ---- questions ------------------------------------------------------------------------------ */

static void show(struct keeper *keeper, struct record *record, struct arena *arena,
                 struct keep_view *view)
{
    bool is_running = record == keeper->running;
    if (is_running) {
        if (keeper->job.kind->look != NULL) {
            keeper->job.kind->look(&keeper->job);
        }
        note_progress(record, &keeper->job);
    }
    *view = (struct keep_view){
        .boot = keeper->place->boot,
        .number = record->number,
        .type = record->type,
        .state = record->state,
        .is_cancelling = is_running && keeper->job.is_cancelled,
        .by = arena_dup(arena, slice_str(record->by)),
        .started_unix_ms = record->started_unix_ms,
        .ended_unix_ms = record->ended_unix_ms,
        .done = record->done,
        .total = record->total,
        .unit = slice_str(kinds[record->type]->unit),
        .at = arena_dup(arena, slice_str(record->at)),
        .problems = record->problems,
        .err = record->err,
        .sentence = arena_dup(arena, slice_str(record->sentence)),
        .report = arena_dup(arena, buf_slice(&record->report)),
    };
}

static void answer_with(struct keeper *keeper, struct record *record, struct msg *msg)
{
    struct keeper_job *body = &msg->body.keep;
    body->views = arena_array(&msg->arena, 1, sizeof *body->views);
    body->view_count = 1;
    show(keeper, record, &msg->arena, &body->views[0]);
    msg_return(msg, ERR_OK);
}

static void list_jobs(struct keeper *keeper, struct msg *msg)
{
    struct keeper_job *body = &msg->body.keep;
    body->views = arena_array(&msg->arena, KEEPER_JOBS_KEPT, sizeof *body->views);
    for (uint64_t number = keeper->last_number; number > 0; number--) {
        struct record *record = &keeper->records[number % KEEPER_JOBS_KEPT];
        if (record->number != number) {
            break;
        }
        show(keeper, record, &msg->arena, &body->views[body->view_count++]);
    }
    msg_return(msg, ERR_OK);
}

static struct record *find(struct keeper *keeper, const struct keeper_job *body)
{
    struct record *record = &keeper->records[body->number % KEEPER_JOBS_KEPT];
    bool is_it = body->boot == keeper->place->boot && body->number > 0;
    return is_it && record->number == body->number ? record : NULL;
}

static enum err refuse(struct msg *msg, enum err err, struct slice sentence)
{
    msg->sentence = sentence;
    return err;
}

static void start_job(struct keeper *keeper, struct msg *msg)
{
    const struct keep_wish *wish = &msg->body.keep.wish;
    struct keep_job *job = &keeper->job;
    if (keeper->running != NULL) {
        const struct record *record = keeper->running;
        struct slice sentence = arena_format(
            &msg->arena, "a job of type %s runs already (%llu-%llu): wait for it, or cancel it",
            keep_type_text(record->type), (unsigned long long)keeper->place->boot,
            (unsigned long long)record->number);
        msg_return(msg, refuse(msg, ERR_CONFLICT, sentence));
        return;
    }
    *job = (struct keep_job){
        .kind = kinds[wish->type],
        .keeper = keeper,
        .place = keeper->place,
        .kv = keeper->kv,
    };
    arena_init(&job->arena, JOB_ARENA_CHUNK, KEEPER_ARENA_MAX);
    arena_mark_secret(&job->arena);
    enum err err = job->kind->begin(job, wish);
    if (err != ERR_OK) {
        struct slice sentence = arena_dup(&msg->arena, slice_str(job->sentence));
        arena_fini(&job->arena);
        msg_return(msg, refuse(msg, err, sentence));
        return;
    }
    keeper->last_number += 1;
    struct record *record = &keeper->records[keeper->last_number % KEEPER_JOBS_KEPT];
    struct buf report = record->report;
    buf_clear(&report);
    *record = (struct record){
        .number = keeper->last_number,
        .type = wish->type,
        .state = KEEP_RUNNING,
        .started_unix_ms = clock_unix_ms(),
        .report = report,
    };
    (void)snprintf(record->by, sizeof record->by, "%.*s", SLICE_FMT(wish->by)); /* cut if longer */
    keeper->running = record;
    log_job(keeper, record, "keeper.started");
    chore_start(keeper->loop, &keeper->slice);
    answer_with(keeper, record, msg);
}

static void on_job(struct keeper *keeper, struct msg *msg)
{
    struct keeper_job *body = &msg->body.keep;
    if (body->op == KEEP_START) {
        if (keeper->is_draining || body->wish.type >= KEEP_TYPE_COUNT) {
            msg_return(msg, keeper->is_draining ? ERR_DRAINING : ERR_INVALID);
        } else {
            start_job(keeper, msg);
        }
        return;
    }
    if (body->op == KEEP_LIST) {
        list_jobs(keeper, msg);
        return;
    }
    struct record *record = find(keeper, body);
    if (record == NULL) {
        msg_return(msg, ERR_NOT_FOUND);
        return;
    }
    if (body->op == KEEP_CANCEL) {
        if (record != keeper->running) {
            msg_return(msg, refuse(msg, ERR_CONFLICT, SLICE("that job has ended")));
            return;
        }
        cancel_job(keeper);
    }
    answer_with(keeper, record, msg);
}

/* ---- main's word ---------------------------------------------------------------------------- */

static void on_drain_late(struct timer *timer)
{
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, drain_timer);
    if (keeper->job.is_undoing && !keeper->is_worker_out) {
        keeper->job.is_undoing = false; /* what is left is as after a kill */
        keeper->job.is_asked = true;
        chore_start(keeper->loop, &keeper->slice);
        return;
    }
    LOG_WARN("keeper.left", LOG_STR("type", keep_type_text(keeper->running->type)),
             LOG_STR("sentence", "the job cannot be cut short: the process ends in the middle of "
                                 "it, which its next run puts right"));
    end_drain(keeper, ERR_TIMEOUT);
}

static void on_control(struct keeper *keeper, struct msg *msg)
{
    const struct control *control = &msg->body.control;
    switch (control->op) {
    case CONTROL_START:
    case CONTROL_RELOAD:
    case CONTROL_PING:
    case CONTROL_QUIET:        /* a job goes on until the drain */
    case CONTROL_SESSION_KEYS: /* for edges and shards, these */
    case CONTROL_NOTICE:
    case CONTROL_TURN_AWAY:
    case CONTROL_WELCOME:
    case CONTROL_LOAD:
    case CONTROL_MOVE:
    case CONTROL_ADOPT:
        msg_return(msg, ERR_OK);
        return;
    case CONTROL_DRAIN: {
        uint64_t now_ms = loop_now_ms(keeper->loop);
        keeper->is_draining = true;
        if (keeper->running == NULL) {
            msg_return(msg, ERR_OK);
            return;
        }
        keeper->drain = msg;
        timer_start(&keeper->drain_timer,
                    control->deadline_ms > now_ms ? (control->deadline_ms - now_ms) / 2 : 0);
        cancel_job(keeper);
        return;
    }
    case CONTROL_STOP:
        actor_close(&keeper->actor);
        msg_return(msg, ERR_OK);
        return;
    }
    CHECK(control->op == CONTROL_START);
}

static void on_msg(struct actor *actor, struct msg *msg)
{
    struct keeper *keeper = CONTAINER_OF(actor, struct keeper, actor);
    CHECK_LOOP(keeper->loop);
    if (msg->returning) {
        CHECK(keeper->running != NULL && keeper->msgs_out > 0);
        keeper->msgs_out -= 1;
        keeper->job.kind->on_msg(&keeper->job, msg);
        chore_start(keeper->loop, &keeper->slice);
    } else if (msg->kind == MSG_KEEPER_CONTROL) {
        on_control(keeper, msg);
    } else {
        CHECK(msg->kind == MSG_KEEPER_JOB);
        on_job(keeper, msg);
    }
}
