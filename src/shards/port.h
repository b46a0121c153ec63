/* port.h - an actor's incoming queue: many producers, one consumer.
 *
 * A mutex, a list and a wake-up: a uv_async_t for actors on a loop, a condition variable for the
 * committer's bare thread. Push appends and wakes only when the port was empty; drain detaches
 * everything at once. The libuv wake says "look", never "one message"; the ordering of the
 * messages' contents comes from the mutex. Measured against an exchange-based queue there was no
 * consistent winner; the mutex is simpler.
 *
 * The wake is sent under the mutex: once the consumer holds a message, its producer is done with
 * the port, so a message that asks an actor to die may be the last thing that touches it.
 *
 * A port on a loop can go to another one. In between it has no wake handle: what is pushed gathers,
 * and the new loop looks as soon as it has the port.
 *
 *   old loop: port_leave --> handle closed, on_left --(any message)--> new loop: port_arrive
 */
#ifndef SHARDS_PORT_H
#define SHARDS_PORT_H

#include <pthread.h>
#include <uv.h>

#include "base/base.h"
#include "net/loop.h"
#include "shards/msg.h"

typedef void port_fn(void *context);
struct port {
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* bare threads */
    struct msg *first;      /* under lock */
    struct msg *last;       /* under lock */
    uint32_t depth;         /* under lock */
    uint32_t depth_max;     /* the sum of the pools that may post here */
    bool is_closed;         /* under lock; written by the consumer alone */
    bool is_away;           /* under lock; between two loops */
    uv_async_t wake;
    port_fn *on_wake;
    port_fn *on_left;
    void *context;
    struct loop *loop; /* NULL: bare thread; written under lock */
};

/* Storage is the caller's. on_wake runs on the loop, with context, after pushes and nudges; NULL
 * for a bare thread (loop NULL). Loop:   any, before the loop runs; or the loop's own. */
void port_init(struct port *port, struct loop *loop, uint32_t depth_max, port_fn *on_wake,
               void *context);
/* Nothing may be left inside. When on a loop, port_close came first and the loop has ended. */
void port_fini(struct port *port);
/* Closes the wake handle; no push or nudge may follow. What is inside can still be detached.
 * Loop:   the port's. */
void port_close(struct port *port);
/* Closes the wake handle, then calls on_left on the old loop. From here on nothing may touch the
 * consumer's side but port_arrive, on the new loop, by a thread that learned of it from on_left.
 * Loop:   the port's. */
void port_leave(struct port *port, port_fn *on_left);
/* Loop:   the new one; on_wake runs there soon. */
void port_arrive(struct port *port, struct loop *loop);
/* Owns:   takes msg.
 * Loop:   any thread. CHECKs the depth: it cannot overflow unless a pool is misused. */
void port_push(struct port *port, struct msg *msg);
/* All that is there, oldest first, linked by next; NULL when nothing is. *count how many.
 * Owns:   the caller, of every message in the list.
 * Loop:   the port's. */
struct msg *port_detach(struct port *port, uint32_t *count);
/* As port_detach, for a bare thread: waits until something is there. */
struct msg *port_wait(struct port *port, uint32_t *count);
/* Messages inside. Loop: any thread. */
uint32_t port_depth(struct port *port);
/* Calls on_wake on the port's loop soon. Loop: any thread. */
void port_nudge(struct port *port);

#endif
