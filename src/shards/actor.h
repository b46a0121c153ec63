/* actor.h - an actor: a port, a handler, and state that only its loop touches.
 *
 * The handler is called for each message: new ones (returning false), which it must eventually give
 * to msg_return, and its own coming home (returning true), which it must eventually give to
 * msg_put. Handlers run to completion, never block and are never re-entered. After at most
 * DISPATCH_MAX messages the sockets get their turn. on_drained, when given, runs after each run of
 * messages: there a shard posts its batch.
 *
 * Idle memory: a pool touches a message only when it is first needed, and at most POOL_WARM_MAX of
 * those at rest keep an arena chunk.
 *
 * An actor can move to another loop while messages come. It holds itself and sees to it that
 * nothing of its own is left on the old loop (timers, jobs), then:
 *
 *   old loop: actor_leave --> on_left --(any message)--> new loop: actor_arrive --> on_arrived
 *
 * Messages wait in order meanwhile, and those that it has out come home to wherever it is.
 *
 * Diagnostics: actor_set_trace(true) logs every post and return: from, to, kind, arena bytes, age.
 * A handler on a loop that takes over ten times HANDLER_BUDGET_US counts in
 * meerkat_handler_slow_total and is named in the log, at most once a second per actor.
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

#define POOL_WARM_MAX 32 /* messages at rest that keep their arena chunk; 256 KiB a pool */

struct msg_pool {
    uint32_t metrics; /* row and label of its metric cells */
    uint32_t label;
    struct msg *warm;  /* at rest with an empty chunk, last used first */
    struct msg *cold;  /* at rest without memory of their own */
    struct msg *block; /* all of them, one heap block */
    uint32_t count;
    uint32_t warm_count;
    uint32_t made_count; /* taken at least once; the block beyond was never touched */
    uint32_t free_count;
};

struct msg_queue {
    struct msg *first;
    struct msg *last;
    uint32_t count; /* not kept by the committer, which links its rounds by hand */
};

struct actor {
    struct port port;
    struct loop *loop; /* NULL: the committer's bare thread */
    actor_msg_fn *handle;
    actor_fn *on_drained;  /* may be NULL */
    actor_fn *on_free;     /* a message came back to an empty request pool; may be NULL; set by the
                              owner     after actor_init */
    actor_fn *on_left;     /* of a move, see below */
    actor_fn *on_arrived;  /* likewise; set by the owner after actor_init */
    struct msg_queue held; /* detached, new, put aside by actor_hold; older than the backlog */
    struct msg_queue backlog; /* detached and not yet handled; while held, returning ones only */
    struct msg_pool pools[MSG_POOL_COUNT];
    uint64_t slow_said_us; /* last log line about a slow handler */
    uint64_t handled;      /* messages, and the time spent in their handlers */
    uint64_t handled_us;
    uint32_t metrics; /* its row of metric cells */
    char name[16];
    uint16_t index;   /* shard or edge number */
    bool is_held;     /* actor_hold */
    bool is_stopping; /* actor_thread_stop */
};

struct actor_options {
    const char *name;
    uint16_t index;
    struct loop *loop;
    actor_msg_fn *handle;
    actor_fn *on_drained;
    uint32_t pool_counts[MSG_POOL_COUNT];
    uint32_t port_depth_max; /* at least its own pools, which come home through its port */
};

/* Storage is the caller's. Call before the loop runs. */
void actor_init(struct actor *actor, const struct actor_options *options);
/* Closes the wake handle; the loop can end then. No more messages may come; its own handler is not
 * called again.
 * Loop:   the actor's. */
void actor_close(struct actor *actor);
/* After the loop ended. CHECKs that every pool is full: the leak test of the whole system. */
void actor_fini(struct actor *actor);

/* From actor's pool for this kind, body zeroed, arena empty; NULL when all are out: ERR_BUSY. The
 * arena may hold a spare chunk: arena_fini it before moving another in.
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

/* A held actor that has nothing on its loop any more; it stays held. on_left is the last that runs
 * on the old loop.
 * Loop:   the actor's. */
void actor_leave(struct actor *actor, actor_fn *on_left);
/* Calls on_arrived, then releases it.
 * Loop:   the new one, in a thread that was told by what on_left did. */
void actor_arrive(struct actor *actor, struct loop *loop);

/* Runs a bare-thread actor, in the calling thread, until its handler called actor_thread_stop and
 * what was detached by then is handled. */
void actor_thread_run(struct actor *actor);
/* Loop:   the actor's thread, inside its handler. */
void actor_thread_stop(struct actor *actor);

/* Before any loop runs. */
void actor_set_trace(bool is_on);

#endif
