/* race_move.c - an actor that moves between loops while messages rain on it, for ThreadSanitizer.
 *
 * Senders on loops of their own keep their whole pools under way; a bare thread, as main, has the
 * actor go to and fro between two other loops. The actor moves as a shard does: it holds itself,
 * leaves, and says so with the message that asked it; it also has a message of its own out all the
 * time, which comes home to wherever it is. Its memory has no lock.
 *
 * What must hold: no message is lost and none is handled twice, those of one sender are handled in
 * the order in which they were posted, handlers run on the loop that has the actor.
 *
 * Exits with status 0 when all came home; CHECKs otherwise.
 */
#include <stdio.h>

#include "base/check.h"
#include "shards/actor.h"

#define HOMES   2
#define SENDERS 3
#define LOOPS   (HOMES + SENDERS)
#define MOVES   1000
#define POOL    64

struct mover {
    struct actor actor;
    struct msg *move;          /* that asked it to leave */
    struct msg *stop;          /* that asked it to end */
    uint64_t handled[SENDERS]; /* number of the last message */
    uint64_t echoes;           /* own messages that came home */
    uint64_t moves;
};

struct sender {
    struct actor actor;
    uint64_t posted;
    uint64_t returned;
    bool is_stopping; /* nothing more is posted */
};

static struct loop loops[LOOPS];
static struct mover mover;
static struct actor hosts[HOMES]; /* as edges: they take the mover in */
static struct sender senders[SENDERS];
static struct actor master; /* a bare thread: this one */
static uint32_t moves_done;
static uint32_t stops_open;

/* ---- the actor that moves ------------------------------------------------------------------- */

static void post_echo(void)
{
    struct msg *msg = msg_take(&mover.actor, MSG_DELIVER_WAKE);
    CHECK(msg != NULL);
    actor_post(&senders[mover.echoes % SENDERS].actor, msg);
}

static void mover_handle(struct actor *actor, struct msg *msg)
{
    CHECK_LOOP(actor->loop);
    CHECK(actor == &mover.actor);
    if (msg->returning) {
        msg_put(actor, msg);
        mover.echoes++;
        if (mover.stop == NULL) {
            post_echo();
        }
        return;
    }
    if (msg->kind == MSG_SHARD_CONTROL) {
        if (msg->body.control.op == CONTROL_MOVE) {
            mover.move = msg;
            actor_hold(actor);
        } else {
            mover.stop = msg;
        }
        return;
    }
    const uint32_t from = (uint32_t)(msg->token >> 32);
    const uint32_t number = (uint32_t)msg->token;
    CHECK(from < SENDERS);
    CHECK(number == mover.handled[from] + 1); /* none lost, none twice, none out of order */
    mover.handled[from] = number;
    msg_return(msg, ERR_OK);
}

static void on_left(struct actor *actor UNUSED)
{
    struct msg *msg = mover.move;
    mover.move = NULL;
    msg_return(msg, ERR_OK);
}

static void on_arrived(struct actor *actor)
{
    CHECK_LOOP(actor->loop);
    mover.moves++;
}

static void mover_drained(struct actor *actor)
{
    if (mover.move != NULL) {
        actor_leave(actor, on_left);
        return;
    }
    if (mover.stop != NULL && actor->pools[MSG_POOL_WAKE].free_count == 1) {
        struct msg *msg = mover.stop;
        mover.stop = NULL;
        msg_return(msg, ERR_OK);
        actor_close(actor);
    }
}

/* ---- senders and hosts ---------------------------------------------------------------------- */

static void rain(struct sender *sender)
{
    struct msg *msg = NULL;
    while (!sender->is_stopping && (msg = msg_take(&sender->actor, MSG_SHARD_CHECK)) != NULL) {
        msg->token = (uint64_t)sender->actor.index << 32 | ++sender->posted;
        actor_post(&mover.actor, msg);
    }
}

static void sender_handle(struct actor *actor, struct msg *msg)
{
    struct sender *sender = CONTAINER_OF(actor, struct sender, actor);
    if (msg->returning) {
        CHECK((uint32_t)msg->token == sender->returned + 1);
        sender->returned++;
        msg_put(actor, msg);
        rain(sender);
        return;
    }
    bool is_start = msg->kind == MSG_EDGE_CONTROL && msg->body.control.op == CONTROL_START;
    bool is_drain = msg->kind == MSG_EDGE_CONTROL && msg->body.control.op == CONTROL_DRAIN;
    bool is_stop = msg->kind == MSG_EDGE_CONTROL && msg->body.control.op == CONTROL_STOP;
    sender->is_stopping = sender->is_stopping || is_drain;
    msg_return(msg, ERR_OK);
    if (is_start) {
        rain(sender);
    } else if (is_stop) {
        CHECK(sender->returned == sender->posted);
        actor_close(actor);
    }
}

static void host_handle(struct actor *actor, struct msg *msg)
{
    if (msg->body.control.op == CONTROL_ADOPT) {
        actor_arrive(&mover.actor, actor->loop);
    } else if (msg->body.control.op == CONTROL_START) { /* the first host: it has the mover */
        post_echo();
    }
    const bool is_stop = msg->body.control.op == CONTROL_STOP;
    msg_return(msg, ERR_OK);
    if (is_stop) {
        actor_close(actor);
    }
}

/* ---- the thread that has it moved ------------------------------------------------------------ */

static void say(struct actor *to, enum msg_kind kind, enum control_op op)
{
    struct msg *msg = msg_take(&master, kind);
    CHECK(msg != NULL);
    msg->body.control.op = op;
    stops_open++;
    actor_post(to, msg);
}

static void master_handle(struct actor *actor, struct msg *msg)
{
    const enum control_op op = msg->body.control.op;
    CHECK(msg->returning);
    CHECK(msg->err == ERR_OK);
    msg_put(actor, msg);
    stops_open--;
    if (op == CONTROL_MOVE) {
        moves_done++;
        say(&hosts[moves_done % HOMES], MSG_EDGE_CONTROL, CONTROL_ADOPT);
    } else if (op == CONTROL_ADOPT && moves_done < MOVES) {
        say(&mover.actor, MSG_SHARD_CONTROL, CONTROL_MOVE);
    } else if (stops_open == 0) {
        actor_thread_stop(actor);
    }
}

/* Says something and waits until all is answered. */
static void say_all(enum control_op op)
{
    for (uint32_t i = 0; i < SENDERS; i++) {
        say(&senders[i].actor, MSG_EDGE_CONTROL, op);
    }
    actor_thread_run(&master);
}

static void make_actors(void)
{
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_init(&loops[i], "race", i);
    }
    actor_init(&mover.actor, &(struct actor_options){.name = "mover",
                                                     .loop = &loops[0],
                                                     .handle = mover_handle,
                                                     .on_drained = mover_drained,
                                                     .pool_counts = {[MSG_POOL_WAKE] = 1},
                                                     .port_depth_max = SENDERS * POOL + 3});
    mover.actor.on_arrived = on_arrived;
    for (uint32_t i = 0; i < HOMES; i++) {
        actor_init(&hosts[i], &(struct actor_options){.name = "host",
                                                      .loop = &loops[i],
                                                      .handle = host_handle,
                                                      .port_depth_max = 2});
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        actor_init(&senders[i].actor,
                   &(struct actor_options){.name = "sender",
                                           .index = (uint16_t)i,
                                           .loop = &loops[HOMES + i],
                                           .handle = sender_handle,
                                           .pool_counts = {[MSG_POOL_REQUEST] = POOL},
                                           .port_depth_max = POOL + 3});
    }
    actor_init(&master, &(struct actor_options){.name = "master",
                                                .handle = master_handle,
                                                .pool_counts = {[MSG_POOL_REQUEST] = 2 * LOOPS},
                                                .port_depth_max = 2 * LOOPS});
}

int main(void)
{
    make_actors();
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_start(&loops[i]);
    }
    say(&hosts[0], MSG_EDGE_CONTROL, CONTROL_START);
    say_all(CONTROL_START);
    say(&mover.actor, MSG_SHARD_CONTROL, CONTROL_MOVE);
    actor_thread_run(&master);
    say_all(CONTROL_DRAIN);
    say(&mover.actor, MSG_SHARD_CONTROL, CONTROL_STOP); /* behind all that rained on it */
    actor_thread_run(&master);
    for (uint32_t i = 0; i < HOMES; i++) {
        say(&hosts[i], MSG_EDGE_CONTROL, CONTROL_STOP);
    }
    say_all(CONTROL_STOP);
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_stop(&loops[i]);
        loop_join(&loops[i]);
    }
    uint64_t handled = 0;
    for (uint32_t i = 0; i < SENDERS; i++) {
        CHECK(senders[i].returned == mover.handled[i]);
        handled += mover.handled[i];
        actor_fini(&senders[i].actor);
    }
    CHECK(mover.moves == MOVES);
    CHECK(handled > 0);
    actor_fini(&mover.actor);
    for (uint32_t i = 0; i < HOMES; i++) {
        actor_fini(&hosts[i]);
    }
    actor_fini(&master);
    for (uint32_t i = 0; i < LOOPS; i++) {
        loop_fini(&loops[i]);
    }
    printf("%llu messages, %u moves, %llu echoes\n", (unsigned long long)handled, MOVES,
           (unsigned long long)mover.echoes);
    return 0;
}
