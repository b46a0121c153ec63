/* loop.h - one thread, one libuv loop, its timers and its workers.
 *
 * The only owner of uv_loop_t. Everything that runs on a loop may assume that nothing else touches
 * the loop's objects; CHECK_LOOP proves it at the head of each public function of net, shards,
 * deliver and edge, for the price of a compare.
 *
 * Timers are entries of one heap behind one uv_timer_t: starting and stopping are synchronous and
 * need no close callback, so a timer may live in any struct. Resolution is a millisecond.
 *
 * Long CPU work goes to loop_offload (libuv's pool, sized by main through loop_set_workers):
 * signing, password hashing, composing large mails, scans. Nothing that waits for a disk sync goes
 * there.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <uv.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/list.h"

struct loop {
    uv_loop_t uv;
    uv_timer_t ticker;   /* ends the wait for events when the next timer is due */
    uv_prepare_t turner; /* end of a turn: timers, chores, the question whether to stop */
    uv_async_t stopper;  /* loop_stop from other threads */
    struct heap timers;
    struct link chores;
    uint64_t armed_ms;   /* when the ticker fires; UINT64_MAX when it is off */
    uint32_t slot;       /* metric slot of the thread */
    uint32_t jobs_open;  /* offloaded and not yet back */
    uint32_t conns_open; /* kept by conn.c, bounded by listen.c */
    char name[16];
    pthread_t thread;
    bool has_thread;
    char *read_block; /* CONN_READ_BYTES shared by the loop's connections */
    struct buf plain; /* what conn.c just decrypted, shared likewise */
    /* Written by other threads. */
    _Atomic bool is_running;
    _Atomic bool is_stop_asked;
};

/* Aborts unless the calling thread runs this loop (or none runs yet, as in set-up and tests). */
#define CHECK_LOOP(loop) CHECK(loop_is_current(loop))

void loop_init(struct loop *loop, const char *name, uint32_t slot);
/* After the last handle was closed; CHECKs that none is left. */
void loop_fini(struct loop *loop);

/* Runs in the calling thread until loop_stop. May be called again afterwards. */
void loop_run(struct loop *loop);
/* Runs in a thread of its own; loop_join waits for its end. */
void loop_start(struct loop *loop);
void loop_join(struct loop *loop);
/* Asks the loop to end once every handle but its own is closed and no job is out.
 * Loop: any thread. */
void loop_stop(struct loop *loop);

bool loop_is_current(const struct loop *loop);
/* Monotonic milliseconds: clock_mono_ms, so that a fake clock moves the loop's timers too. */
uint64_t loop_now_ms(const struct loop *loop);
/* Since it began to run: microseconds that it waited for events.
 * Loop: any thread. */
uint64_t loop_idle_us(struct loop *loop);

/* ---- timers --------------------------------------------------------------------------------- */

struct timer;
typedef void timer_fn(struct timer *timer);

struct timer {
    struct heap_node node; /* key: due, monotonic ms */
    struct loop *loop;
    timer_fn *on_due;
};

void timer_init(struct timer *timer, struct loop *loop, timer_fn *on_due);
/* (Re)starts: due in delay_ms from now. One shot. */
void timer_start(struct timer *timer, uint64_t delay_ms);
void timer_stop(struct timer *timer); /* harmless when not started */
bool timer_is_on(const struct timer *timer);
/* Stops it and ties it to another loop, where timer_start may run it; NULL: to none for now.
 * Returns what was left of its delay; UINT64_MAX when it was not started.
 * Loop: its loop's; any when it is stopped. */
uint64_t timer_move(struct timer *timer, struct loop *loop);

/* ---- chores --------------------------------------------------------------------------------- */

struct chore;
typedef void chore_fn(struct chore *chore);

/* Something to do once, at the end of this turn: after the events at hand, before the loop waits
 * again. A chore asked for while chores run comes in the next turn, which then follows at once. */
struct chore {
    struct link link; /* itself when not asked for */
    chore_fn *run;
};

void chore_init(struct chore *chore, chore_fn *run);
void chore_start(struct loop *loop, struct chore *chore); /* harmless when already asked for */
void chore_stop(struct chore *chore);                     /* harmless when not asked for */

/* ---- work on other threads ------------------------------------------------------------------ */

struct job;
typedef void job_fn(struct job *job);

struct job {
    uv_work_t uv;
    struct loop *loop;
    job_fn *work;      /* on a worker; touches only what the job owns */
    job_fn *done;      /* back on the loop */
    uint64_t asked_us; /* when it was handed over, and the worker began and ended; monotonic */
    uint64_t began_us;
    uint64_t ended_us;
};

/* Owns:   job stays the caller's but must not be touched until done runs.
 * Loop:   the caller's; done runs on it. */
void loop_offload(struct loop *loop, struct job *job, job_fn *work, job_fn *done);
/* Number of workers, for the whole process. Call once, before any loop runs. */
void loop_set_workers(uint32_t count);

#endif
