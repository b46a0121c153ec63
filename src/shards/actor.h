/* actor.h - an actor: a port, a handler, and state that only its loop touches.
 *
 * The handler is called for each message: new ones (returning false), which it must eventually give
 * to msg_return, and its own coming home (returning true), which it must eventually give to
 * msg_put. Handlers run to completion, never block and are never re-entered. After at most
 * DISPATCH_MAX messages the sockets get their turn. on_drained, when given, runs after each run of
 * messages: there a shard posts its batch.
 *
 * Trace: actor_set_trace(true) logs every post and return: from, to, kind, arena bytes, age.
 */
#ifndef SHARDS_ACTOR_H
#define SHARDS_ACTOR_H

#include "base/base.h"
#include "base/err.h"
#include "net/loop.h"
#include "shards/msg.h"
#include "shards/port.h"

struct actor;
typedef void actor_msg_fn(struct actor *actor, struct msg *msg);
typedef void actor_fn(struct actor *actor);

struct msg_pool {
    struct msg *free;
    struct msg *block; /* all of them, one heap block */
    uint32_t count;
    uint32_t free_count;
};

struct actor {
    struct port port;
    struct loop *loop; /* NULL: the committer's bare thread */
    actor_msg_fn *handle;
    actor_fn *on_drained; /* may be NULL */
    actor_fn *on_free;    /* a message came back to an empty request pool; may be NULL */
    struct msg *backlog;  /* detached and not yet handled */
    struct msg *backlog_last;
    struct msg_pool pools[MSG_POOL_COUNT];
    char name[16];
    uint16_t index; /* shard or edge number */
    bool is_held;   /* actor_hold */
};

struct actor_options {
    const char *name;
    uint16_t index;
    struct loop *loop;
    actor_msg_fn *handle;
    actor_fn *on_drained;
    uint32_t pool_counts[MSG_POOL_COUNT];
    uint32_t port_depth_max;
};

/* Storage is the caller's. Call before the loop runs. */
void actor_init(struct actor *actor, const struct actor_options *options);
/* Closes the wake handle; the loop can end then. Loop: the actor's. No more messages may come. */
void actor_close(struct actor *actor);
/* After the loop ended. CHECKs that every pool is full: the leak test of the whole system. */
void actor_fini(struct actor *actor);

/* From actor's pool for this kind, body zeroed, arena empty; NULL when all are out: ERR_BUSY.
 * Owns:   the caller, until actor_post or msg_put.
 * Loop:   the actor's. */
struct msg *msg_take(struct actor *actor, enum msg_kind kind);
/* Owns:   takes msg; do not touch it afterwards, not even to log.
 * Loop:   msg->home's loop. Returns at once; the handler runs on to->loop.
 * Errors: none. Room was guaranteed when msg came from its pool. */
void actor_post(struct actor *to, struct msg *msg);
/* Sends msg home with err.
 * Owns:   takes msg.
 * Loop:   the receiver's. */
void msg_return(struct msg *msg, enum err err);
/* Arena released, body wiped, back in the pool.
 * Loop:   the home's. */
void msg_put(struct actor *actor, struct msg *msg);

/* Stops dispatching (a shard whose filling batch is full while another flies) and starts again.
 * Messages wait in the port, whose bound is known. Returning messages are still dispatched while
 * held. */
void actor_hold(struct actor *actor);
void actor_release(struct actor *actor);

/* Runs a bare-thread actor until its handler called actor_thread_stop. */
void actor_thread_run(struct actor *actor);
void actor_thread_stop(struct actor *actor);

void actor_set_trace(bool is_on);

#endif
