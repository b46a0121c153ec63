/* loop.c - see loop.h.
 *
 * One turn of libuv is: uv timers, prepare, poll, closing callbacks. Everything of ours that is not
 * an event hangs on prepare, which always comes before the loop may sleep: timers that are due,
 * chores, arming the ticker for the next timer, and, once a stop was asked for, the count of
 * handles that are still open. So timer_start and chore_start touch memory only, never the kernel.
 *
 * The stopper stays referenced: libuv does not count a paused stream as activity and would leave a
 * loop that still owns connections. uv_stop in end_turn is the only way out of uv_run.
 */
#include "net/loop.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/metric.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The loop that the calling thread runs now: what CHECK_LOOP compares with. One word per thread,
 * written only by loop_run. */
static _Thread_local struct loop *current;

static void end_turn(uv_prepare_t *turner);
static void run_due_timers(struct loop *loop);
static void arm_ticker(struct loop *loop);
static void run_chores(struct loop *loop);
static bool is_idle(struct loop *loop);
static void count_foreign(uv_handle_t *handle, void *context);
static void wake_only(struct loop *loop);
static void on_tick(uv_timer_t *ticker);
static void on_stopper(uv_async_t *stopper);
static void *run_thread(void *context);
static void do_work(uv_work_t *uv);
static void after_work(uv_work_t *uv, int status);

void loop_init(struct loop *loop, const char *name, uint32_t slot)
{
    *loop = (struct loop){.slot = slot, .armed_ms = UINT64_MAX};
    (void)snprintf(loop->name, sizeof(loop->name), "%s", name); /* cut on purpose */
    metric_name_slot(slot, strncmp(name, "loop", 4) == 0 ? name + 4 : name);
    heap_init(&loop->timers);
    list_init(&loop->chores);
    loop->read_block = mem_alloc(CONN_READ_BYTES);
    buf_init(&loop->plain, 2 * CONN_READ_BYTES);
    /* A peer that leaves must be an error of write(2), not the end of the process. */
    (void)signal(SIGPIPE, SIG_IGN); /* fails for invalid signals only */
    int status = uv_loop_init(&loop->uv);
    if (status == 0) {
        status = uv_async_init(&loop->uv, &loop->stopper, on_stopper);
    }
    if (status != 0) {
        fatal("cannot make the event loop %s: %s; raise the limit of open files", name,
              uv_strerror(status));
    }
    /* This and the next three cannot fail: they only fill the struct in. */
    (void)uv_loop_configure(&loop->uv, UV_METRICS_IDLE_TIME);
    (void)uv_timer_init(&loop->uv, &loop->ticker);
    (void)uv_prepare_init(&loop->uv, &loop->turner);
    (void)uv_prepare_start(&loop->turner, end_turn);
    uv_unref((uv_handle_t *)&loop->ticker);
    uv_unref((uv_handle_t *)&loop->turner);
}

void loop_fini(struct loop *loop)
{
    CHECK(!loop->is_running);
    CHECK(!loop->has_thread);
    CHECK(is_idle(loop));
    uv_close((uv_handle_t *)&loop->ticker, NULL);
    uv_close((uv_handle_t *)&loop->turner, NULL);
    uv_close((uv_handle_t *)&loop->stopper, NULL);
    int active = uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(active == 0);
    int status = uv_loop_close(&loop->uv);
    CHECK(status == 0);
    heap_fini(&loop->timers);
    buf_fini(&loop->plain);
    free(loop->read_block);
    loop->read_block = NULL;
}

void loop_run(struct loop *loop)
{
    CHECK(current != loop);
    struct loop *outer = current;
    current = loop;
    loop->is_running = true;
    check_name_thread(loop->name);
    metric_set_slot(loop->slot);
    /* Its result tells of active handles, and the stopper always is one. */
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    loop->is_stop_asked = false;
    current = outer;
    loop->is_running = false;
}

void loop_start(struct loop *loop)
{
    CHECK(!loop->has_thread);
    CHECK(!loop->is_running);
    loop->is_running = true; /* from here on the loop is the new thread's */
    loop->has_thread = true;
    int status = pthread_create(&loop->thread, NULL, run_thread, loop);
    if (status != 0) {
        fatal("cannot start the thread %s; raise the limit of processes", loop->name);
    }
}

void loop_join(struct loop *loop)
{
    CHECK(loop->has_thread);
    int status = pthread_join(loop->thread, NULL);
    CHECK(status == 0);
    loop->has_thread = false;
}

void loop_stop(struct loop *loop)
{
    loop->is_stop_asked = true;
    wake_only(loop);
}

bool loop_is_current(const struct loop *loop)
{
    return current == loop || !loop->is_running;
}

uint64_t loop_idle_us(struct loop *loop)
{
    return uv_metrics_idle_time(&loop->uv) / 1000; /* which has a lock for other threads */
}

uint64_t loop_now_ms(const struct loop *loop)
{
    CHECK_LOOP(loop);
    return clock_mono_ms();
}

void timer_init(struct timer *timer, struct loop *loop, timer_fn *on_due)
{
    *timer = (struct timer){.loop = loop, .on_due = on_due};
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
    CHECK_LOOP(timer->loop);
    CHECK(timer->on_due != NULL);
    uint64_t now_ms = clock_mono_ms();
    uint64_t due_ms = delay_ms > UINT64_MAX - 1 - now_ms ? UINT64_MAX - 1 : now_ms + delay_ms;
    if (heap_has(&timer->node)) {
        heap_update(&timer->loop->timers, &timer->node, due_ms);
        return;
    }
    timer->node.key = due_ms;
    heap_add(&timer->loop->timers, &timer->node);
}

void timer_stop(struct timer *timer)
{
    if (heap_has(&timer->node)) {
        CHECK_LOOP(timer->loop);
        heap_remove(&timer->loop->timers, &timer->node);
    }
}

bool timer_is_on(const struct timer *timer)
{
    return heap_has(&timer->node);
}

uint64_t timer_move(struct timer *timer, struct loop *loop)
{
    uint64_t left_ms = UINT64_MAX;
    if (heap_has(&timer->node)) {
        uint64_t now_ms = clock_mono_ms();
        left_ms = timer->node.key > now_ms ? timer->node.key - now_ms : 0;
        timer_stop(timer);
    }
    timer->loop = loop;
    return left_ms;
}

void chore_init(struct chore *chore, chore_fn *run)
{
    list_init(&chore->link);
    chore->run = run;
}

void chore_start(struct loop *loop, struct chore *chore)
{
    CHECK_LOOP(loop);
    if (list_is_empty(&chore->link)) {
        list_push_back(&loop->chores, &chore->link);
    }
}

void chore_stop(struct chore *chore)
{
    list_remove(&chore->link);
}

void loop_offload(struct loop *loop, struct job *job, job_fn *work, job_fn *done)
{
    CHECK_LOOP(loop);
    CHECK(work != NULL && done != NULL);
    job->loop = loop;
    job->work = work;
    job->done = done;
    loop->jobs_open++;
    job->asked_us = clock_mono_us();
    metric_add(METRIC_WORKER_JOBS, 1);
    int status = uv_queue_work(&loop->uv, &job->uv, do_work, after_work);
    CHECK(status == 0); /* fails for want of a function only */
}

void loop_set_workers(uint32_t count)
{
    CHECK(count > 0);
    CHECK(count <= 1024); /* libuv's own ceiling */
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", count); /* fits */
    metric_set(METRIC_WORKERS, count);
    /* libuv reads the variable when the first job is queued; it has no other way to be told. */
    if (setenv("UV_THREADPOOL_SIZE", text, 1) != 0) {
        fatal("cannot set the number of workers: out of memory");
    }
}

/* Runs in each turn just before the loop waits for events. */
static void end_turn(uv_prepare_t *turner)
{
    struct loop *loop = CONTAINER_OF(turner, struct loop, turner);
    metric_add(METRIC_LOOP_TURNS, 1);
    run_due_timers(loop);
    run_chores(loop);
    arm_ticker(loop);
    if (!list_is_empty(&loop->chores)) {
        wake_only(loop);
    }
    if (loop->is_stop_asked && is_idle(loop)) {
        uv_stop(&loop->uv);
    }
}

/* At most as many as were there at the start: a timer that restarts itself with no delay must not
 * keep sockets from their turn. */
static void run_due_timers(struct loop *loop)
{
    uint32_t budget = loop->timers.count;
    if (budget == 0) {
        return;
    }
    uint64_t now_ms = clock_mono_ms();
    while (budget-- > 0) {
        struct heap_node *node = heap_first(&loop->timers);
        if (node == NULL || node->key > now_ms) {
            return;
        }
        heap_remove(&loop->timers, node);
        struct timer *timer = CONTAINER_OF(node, struct timer, node);
        timer->on_due(timer);
    }
}

/* The ticker is moved only when it would fire too late. Deadlines are pushed back with every read;
 * firing too early once in a while costs less than following them. */
static void arm_ticker(struct loop *loop)
{
    struct heap_node *first = heap_first(&loop->timers);
    if (first == NULL) {
        return;
    }
    uint64_t now_ms = clock_mono_ms();
    /* A fake clock may have jumped over armed_ms without the ticker noticing. */
    if (first->key >= loop->armed_ms && loop->armed_ms > now_ms) {
        return;
    }
    uint64_t delay_ms = first->key > now_ms ? first->key - now_ms : 0;
    uv_update_time(&loop->uv); /* delays count from libuv's idea of now */
    int status = uv_timer_start(&loop->ticker, on_tick, delay_ms, 0);
    CHECK(status == 0);
    loop->armed_ms = first->key;
}

static void run_chores(struct loop *loop)
{
    struct link now;
    list_init(&now);
    list_splice(&now, &loop->chores);
    struct link *link = NULL;
    while ((link = list_pop_front(&now)) != NULL) {
        struct chore *chore = CONTAINER_OF(link, struct chore, link);
        chore->run(chore);
    }
}

static bool is_idle(struct loop *loop)
{
    if (loop->jobs_open > 0) {
        return false;
    }
    uint32_t foreign = 0;
    uv_walk(&loop->uv, count_foreign, &foreign);
    return foreign == 0;
}

static void count_foreign(uv_handle_t *handle, void *context)
{
    uint32_t *foreign = context;
    struct loop *loop = CONTAINER_OF(handle->loop, struct loop, uv);
    const void *own[] = {&loop->ticker, &loop->turner, &loop->stopper};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (own[i] == (const void *)handle) {
            return;
        }
    }
    (*foreign)++;
}

/* Makes the next wait for events return at once. */
static void wake_only(struct loop *loop)
{
    int status = uv_async_send(&loop->stopper);
    CHECK(status == 0);
}

/* Only wakes: end_turn, later in the same turn, runs what is due. */
static void on_tick(uv_timer_t *ticker)
{
    struct loop *loop = CONTAINER_OF(ticker, struct loop, ticker);
    loop->armed_ms = UINT64_MAX;
}

/* Only wakes: end_turn looks at is_stop_asked and at the chores. */
static void on_stopper(uv_async_t *stopper UNUSED)
{
}

static void *run_thread(void *context)
{
    loop_run(context);
    return NULL;
}

static void do_work(uv_work_t *uv)
{
    struct job *job = CONTAINER_OF(uv, struct job, uv);
    job->began_us = clock_mono_us();
    job->work(job);
    job->ended_us = clock_mono_us();
}

static void after_work(uv_work_t *uv, int status)
{
    struct job *job = CONTAINER_OF(uv, struct job, uv);
    struct loop *loop = job->loop;
    CHECK(status == 0); /* nobody cancels jobs */
    CHECK(loop->jobs_open > 0);
    loop->jobs_open--;
    metric_add(METRIC_WORKER_JOBS, UINT64_C(0) - 1);
    metric_observe_us(METRIC_WORKER_WAIT, job->began_us - job->asked_us);
    metric_observe_us(METRIC_WORKER_TIME, job->ended_us - job->began_us);
    job->done(job);
}
