/* Not covered here: sockets on a loop (test_conn, test_listen, test_dns); loop_stop racing with
 * work on other threads under TSan (tests/race/race_loop.c). */
#include "net/loop.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

struct recorder {
    struct loop *loop;
    char order[32];
    size_t count;
};

struct named_timer {
    struct timer timer;
    struct recorder *recorder;
    char name;
    uint32_t repeats_left;
    bool stops_loop;
};

struct named_chore {
    struct chore chore;
    struct recorder *recorder;
    char name;
    struct named_chore *starts;
    struct named_chore *stops;
};

static void note(struct recorder *recorder, char name)
{
    cr_assert_lt(recorder->count + 1, sizeof(recorder->order));
    recorder->order[recorder->count++] = name;
}

static void on_named_timer(struct timer *timer)
{
    struct named_timer *named = CONTAINER_OF(timer, struct named_timer, timer);
    cr_assert_not(timer_is_on(timer));
    note(named->recorder, named->name);
    if (named->repeats_left > 0) {
        named->repeats_left--;
        timer_start(timer, 0);
    } else if (named->stops_loop) {
        loop_stop(timer->loop);
    }
}

static void on_named_chore(struct chore *chore)
{
    struct named_chore *named = CONTAINER_OF(chore, struct named_chore, chore);
    note(named->recorder, named->name);
    if (named->starts != NULL) {
        chore_start(named->recorder->loop, &named->starts->chore);
    }
    if (named->stops != NULL) {
        chore_stop(&named->stops->chore);
    }
}

static void init_timer(struct named_timer *named, struct recorder *recorder, char name)
{
    *named = (struct named_timer){.recorder = recorder, .name = name};
    timer_init(&named->timer, recorder->loop, on_named_timer);
}

static void init_chore(struct named_chore *named, struct recorder *recorder, char name)
{
    *named = (struct named_chore){.recorder = recorder, .name = name};
    chore_init(&named->chore, on_named_chore);
}

Test(loop, ends_when_asked_before_it_ran)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    loop_stop(&loop);
    loop_run(&loop);
    loop_fini(&loop);
}

Test(loop, runs_again_after_it_ended)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    struct named_timer timer;
    init_timer(&timer, &recorder, 'a');
    timer.stops_loop = true;
    for (uint32_t i = 0; i < 3; i++) {
        timer_start(&timer.timer, 0);
        loop_run(&loop);
    }
    cr_assert_str_eq(recorder.order, "aaa");
    loop_fini(&loop);
}

Test(loop, runs_timers_in_the_order_they_are_due)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    static const uint64_t delays_ms[] = {9, 3, 12, 0, 6};
    struct named_timer timers[ARRAY_LEN(delays_ms)];
    for (size_t i = 0; i < ARRAY_LEN(timers); i++) {
        init_timer(&timers[i], &recorder, (char)('a' + i));
        timer_start(&timers[i].timer, delays_ms[i]);
        cr_assert(timer_is_on(&timers[i].timer));
    }
    timers[2].stops_loop = true;
    uint64_t began_ms = clock_mono_ms();
    loop_run(&loop);
    cr_assert_geq(clock_mono_ms(), began_ms + 12);
    cr_assert_str_eq(recorder.order, "dbeac");
    loop_fini(&loop);
}

Test(loop, forgets_a_stopped_timer_and_follows_a_moved_one)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    struct named_timer stopped;
    struct named_timer later;
    struct named_timer sooner;
    struct named_timer last;
    init_timer(&stopped, &recorder, 's');
    init_timer(&later, &recorder, 'l');
    init_timer(&sooner, &recorder, 'n');
    init_timer(&last, &recorder, 'x');
    timer_start(&stopped.timer, 1);
    timer_start(&later.timer, 1);
    timer_start(&sooner.timer, 10000);
    timer_start(&last.timer, 12);
    timer_stop(&stopped.timer);
    timer_stop(&stopped.timer);
    timer_start(&later.timer, 6);
    timer_start(&sooner.timer, 2);
    last.stops_loop = true;
    loop_run(&loop);
    cr_assert_str_eq(recorder.order, "nlx");
    loop_fini(&loop);
}

Test(loop, lets_a_timer_without_delay_restart_itself_without_starving_others)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    struct named_timer busy;
    struct named_timer other;
    init_timer(&busy, &recorder, 'b');
    init_timer(&other, &recorder, 'o');
    busy.repeats_left = 10;
    busy.stops_loop = true;
    clock_set_fake(1000, 1000); /* time stands still: every restart is due at once */
    timer_start(&busy.timer, 0);
    timer_start(&other.timer, 0);
    loop_run(&loop);
    clock_set_fake(0, 0);
    cr_assert_eq(recorder.count, 12);
    cr_assert_leq((size_t)(strchr(recorder.order, 'o') - recorder.order), 3);
    loop_fini(&loop);
}

static void on_move_clock(struct timer *timer)
{
    struct named_timer *named = CONTAINER_OF(timer, struct named_timer, timer);
    note(named->recorder, named->name);
    clock_set_fake(1000 + 3600 * 1000, 1000);
}

Test(loop, moves_timers_with_the_fake_clock)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    struct named_timer mover;
    struct named_timer hour;
    clock_set_fake(1000, 1000);
    init_timer(&mover, &recorder, 'm');
    mover.timer.on_due = on_move_clock;
    init_timer(&hour, &recorder, 'h');
    hour.stops_loop = true;
    timer_start(&hour.timer, 3600 * 1000);
    timer_start(&mover.timer, 0);
    /* The hour passes while the loop would have slept for an hour of real time. */
    struct named_timer nudge;
    init_timer(&nudge, &recorder, 'n');
    timer_start(&nudge.timer, 5);
    loop_run(&loop);
    clock_set_fake(0, 0);
    cr_assert_eq(recorder.count, 3);
    cr_assert_eq(recorder.order[0], 'm');
    loop_fini(&loop);
}

Test(loop, takes_a_delay_beyond_the_end_of_time)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    struct named_timer never;
    struct named_timer now;
    init_timer(&never, &recorder, 'e');
    init_timer(&now, &recorder, 'n');
    timer_start(&never.timer, UINT64_MAX);
    timer_start(&now.timer, 0);
    now.stops_loop = true;
    loop_run(&loop);
    cr_assert_str_eq(recorder.order, "n");
    cr_assert(timer_is_on(&never.timer));
    timer_stop(&never.timer);
    loop_fini(&loop);
}

Test(loop, runs_each_chore_once_at_the_end_of_the_turn)
{
    struct loop loop;
    loop_init(&loop, "test", 0);
    struct recorder recorder = {.loop = &loop};
    struct named_chore first;
    struct named_chore second;
    struct named_chore third;
    init_chore(&first, &recorder, '1');
    init_chore(&second, &recorder, '2');
    init_chore(&third, &recorder, '3');
    first.starts = &first; /* comes in the next turn, which follows at once, and stops the third */
    first.stops = &third;
    chore_start(&loop, &first.chore);
    chore_start(&loop, &second.chore);
    chore_start(&loop, &second.chore);
    chore_start(&loop, &third.chore);
    struct named_timer end;
    init_timer(&end, &recorder, 'x');
    end.stops_loop = true;
    end.repeats_left = 1;
    timer_start(&end.timer, 0);
    loop_run(&loop);
    recorder.order[5] = '\0';
    cr_assert_str_eq(recorder.order, "x12x1");
    chore_stop(&first.chore);
    loop_fini(&loop);
}

struct sum {
    struct job job;
    struct loop *loop;
    uint64_t upto;
    uint64_t result;
    pthread_t worker;
    bool was_current_on_worker;
    uint32_t *jobs_left;
};

static void add_up(struct job *job)
{
    struct sum *sum = CONTAINER_OF(job, struct sum, job);
    sum->worker = pthread_self();
    sum->was_current_on_worker = loop_is_current(sum->loop);
    for (uint64_t i = 1; i <= sum->upto; i++) {
        sum->result += i;
    }
}

static void on_added(struct job *job)
{
    struct sum *sum = CONTAINER_OF(job, struct sum, job);
    CHECK_LOOP(sum->loop);
    (*sum->jobs_left)--;
}

static void on_offload_due(struct timer *timer)
{
    struct named_timer *named = CONTAINER_OF(timer, struct named_timer, timer);
    struct sum *sums = (struct sum *)(void *)named->recorder;
    for (uint64_t i = 0; i < 8; i++) {
        sums[i].loop = timer->loop;
        sums[i].upto = i * 100;
        loop_offload(timer->loop, &sums[i].job, add_up, on_added);
    }
    loop_stop(timer->loop); /* must wait for the jobs */
}

Test(loop, brings_offloaded_jobs_home_before_it_ends)
{
    struct loop loop;
    loop_set_workers(2);
    loop_init(&loop, "test", 0);
    uint32_t jobs_left = 8;
    struct sum sums[8] = {0};
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        sums[i].jobs_left = &jobs_left;
    }
    struct named_timer begin = {.recorder = (struct recorder *)(void *)sums};
    timer_init(&begin.timer, &loop, on_offload_due);
    timer_start(&begin.timer, 0);
    loop_run(&loop);
    cr_assert_eq(jobs_left, 0);
    cr_assert_eq(loop.jobs_open, 0);
    for (uint64_t i = 0; i < 8; i++) {
        cr_assert_eq(sums[i].result, i * 100 * (i * 100 + 1) / 2);
        cr_assert_not(pthread_equal(sums[i].worker, pthread_self()));
        cr_assert_not(sums[i].was_current_on_worker);
    }
    loop_fini(&loop);
}

struct pause_test {
    struct loop loop;
    struct timer closer;
    uv_tcp_t handle; /* open but inactive: libuv alone would not wait for it */
    bool is_closed;
};

static void on_handle_closed(uv_handle_t *handle)
{
    struct pause_test *test = CONTAINER_OF(handle, struct pause_test, handle);
    test->is_closed = true;
}

static void on_close_due(struct timer *timer)
{
    struct pause_test *test = CONTAINER_OF(timer, struct pause_test, closer);
    uv_close((uv_handle_t *)&test->handle, on_handle_closed);
}

Test(loop, waits_for_idle_handles_to_be_closed)
{
    struct pause_test test = {.is_closed = false};
    loop_init(&test.loop, "test", 0);
    cr_assert_eq(uv_tcp_init(&test.loop.uv, &test.handle), 0);
    timer_init(&test.closer, &test.loop, on_close_due);
    timer_start(&test.closer, 5);
    loop_stop(&test.loop);
    loop_run(&test.loop);
    cr_assert(test.is_closed);
    loop_fini(&test.loop);
}

Test(loop, knows_its_thread)
{
    struct loop loop;
    struct loop other;
    loop_init(&loop, "test", 0);
    loop_init(&other, "other", 1);
    cr_assert(loop_is_current(&loop)); /* none runs yet: set-up */
    loop_start(&loop);
    cr_assert_not(loop_is_current(&loop));
    cr_assert(loop_is_current(&other));
    loop_stop(&loop);
    loop_join(&loop);
    cr_assert(loop_is_current(&loop));
    loop_fini(&loop);
    loop_fini(&other);
}

Test(loop, stops_the_process_when_a_timer_is_started_from_another_thread, .signal = SIGABRT)
{
    struct loop loop;
    struct timer timer;
    loop_init(&loop, "test", 0);
    timer_init(&timer, &loop, on_close_due);
    loop_start(&loop);
    timer_start(&timer, 1);
}

Test(loop, refuses_to_end_with_a_handle_open, .signal = SIGABRT)
{
    struct loop loop;
    uv_tcp_t handle;
    loop_init(&loop, "test", 0);
    cr_assert_eq(uv_tcp_init(&loop.uv, &handle), 0);
    loop_fini(&loop);
}
