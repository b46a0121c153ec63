/* race_loop.c - loops started, fed with jobs and stopped from several threads at once.
 *
 * Plain program for TSan: prints one line and returns 0 when every job came home to its own loop.
 */
#include "net/loop.h"

#include <pthread.h>
#include <stdio.h>

#define LOOPS  4
#define ROUNDS 25
#define JOBS   50

struct worked {
    struct job job;
    struct runner *runner;
    uint64_t value;
};

struct runner {
    struct loop loop;
    struct timer begin;
    struct worked jobs[JOBS];
    uint64_t sum; /* written on the loop only */
};

static void work(struct job *job)
{
    struct worked *worked = CONTAINER_OF(job, struct worked, job);
    worked->value *= 2;
}

static void done(struct job *job)
{
    struct worked *worked = CONTAINER_OF(job, struct worked, job);
    CHECK_LOOP(&worked->runner->loop);
    worked->runner->sum += worked->value;
}

static void on_begin(struct timer *timer)
{
    struct runner *runner = CONTAINER_OF(timer, struct runner, begin);
    for (uint64_t i = 0; i < JOBS; i++) {
        runner->jobs[i] = (struct worked){.runner = runner, .value = i};
        loop_offload(&runner->loop, &runner->jobs[i].job, work, done);
    }
}

static void *stop_all(void *context)
{
    struct runner *runners = context;
    for (size_t i = 0; i < LOOPS; i++) {
        loop_stop(&runners[i].loop);
    }
    return NULL;
}

static void run_round(struct runner *runners)
{
    for (uint32_t i = 0; i < LOOPS; i++) {
        runners[i].sum = 0;
        loop_init(&runners[i].loop, "race", i);
        timer_init(&runners[i].begin, &runners[i].loop, on_begin);
        timer_start(&runners[i].begin, 0);
        loop_start(&runners[i].loop);
    }
    pthread_t stoppers[3];
    for (size_t i = 0; i < ARRAY_LEN(stoppers); i++) {
        int status = pthread_create(&stoppers[i], NULL, stop_all, runners);
        CHECK(status == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(stoppers); i++) {
        int status = pthread_join(stoppers[i], NULL);
        CHECK(status == 0);
    }
    for (size_t i = 0; i < LOOPS; i++) {
        loop_join(&runners[i].loop);
        CHECK(runners[i].sum == (uint64_t)JOBS * (JOBS - 1));
        loop_fini(&runners[i].loop);
    }
}

int main(void)
{
    static struct runner runners[LOOPS];
    loop_set_workers(2);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        run_round(runners);
    }
    (void)printf("race_loop: %d rounds of %d loops\n", ROUNDS, LOOPS);
    return 0;
}
