/* port.h - an actor's incoming queue: many producers, one consumer.
 *
 * A mutex, a list and a wake-up: a uv_async_t for actors on a loop, a condition variable for the
 * committer's bare thread. Push appends and wakes only when the port was empty; drain detaches
 * everything at once. The libuv wake says "look", never "one message"; the ordering of the
 * messages' contents comes from the mutex. Measured against an exchange-based queue there was no
 * consistent winner; the mutex is simpler.
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
    uv_async_t wake;
    port_fn *on_wake;
    void *context;
    struct loop *loop; /* NULL: bare thread */
};

void port_init(struct port *port, struct loop *loop, uint32_t depth_max, port_fn *on_wake,
               void *context);
/* The async handle must be closed first (port_close) when on a loop. */
void port_fini(struct port *port);
void port_close(struct port *port);
/* Loop: any thread. CHECKs the depth: it cannot overflow unless a pool is misused. */
void port_push(struct port *port, struct msg *msg);
/* All that is there, oldest first, linked by next. *count how many. */
struct msg *port_detach(struct port *port, uint32_t *count);
/* Bare thread: waits until something is there. */
struct msg *port_wait(struct port *port, uint32_t *count);
/* Calls on_wake on the port's loop soon. Loop: any thread. */
void port_nudge(struct port *port);

#endif
