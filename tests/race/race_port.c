/* race_port.c - messages of several threads through one port, for ThreadSanitizer.
 *
 * Three senders on loops of their own, one on the receiver's loop and one on a bare thread post to
 * one receiver as fast as their pools allow. Each writes into body and arena, the receiver checks
 * and answers there; so a missing happens-before is a report. The receiver holds now and then. What
 * must hold: each sender's messages arrive in order and all come home.
 *
 * Exits with status 0 when all came home; CHECKs otherwise.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "shards/actor.h"

#define LOOP_SENDERS 3
#define SENDERS      (LOOP_SENDERS + 2)
#define POOL_MSGS    64
#define ROUNDS       20000 /* messages a sender */
#define HOLD_EVERY   1000

struct sender {
    struct actor actor;
    struct loop *loop; /* NULL: bare */
    uint64_t posted;
    uint64_t home;
    uint64_t arrived; /* the receiver's count */
};

static struct loop loops[LOOP_SENDERS + 1]; /* the last is the receiver's */
static struct sender senders[SENDERS];
static struct actor receiver;
static uint32_t senders_done; /* receiver's */
static uint64_t handled;      /* receiver's */
static struct timer release;  /* receiver's */
static pthread_t bare_thread;

static void post_some(struct sender *sender)
{
    while (sender->posted < ROUNDS) {
        struct msg *msg = msg_take(&sender->actor, MSG_SHARD_RAW);
        if (msg == NULL) {
            return;
        }
        sender->posted++;
        msg->token = sender->posted;
        msg->body.raw.size_bytes = sender->posted;
        msg->body.raw.data = arena_format(&msg->arena, "%u", (unsigned)sender->posted);
        actor_post(&receiver, msg);
    }
}

static void sender_handle(struct actor *actor, struct msg *msg)
{
    struct sender *sender = CONTAINER_OF(actor, struct sender, actor);
    CHECK(msg->returning);
    CHECK(msg->err == ERR_QUOTA);
    CHECK(msg->body.raw.size_bytes == msg->token + 1);
    CHECK(msg->body.raw.data.data[0] == 'r');
    sender->home++;
    msg_put(actor, msg);
    if (sender->home == ROUNDS) {
        if (actor->loop == NULL) {
            actor_thread_stop(actor);
        } else if (actor->loop != receiver.loop) {
            actor_close(actor);
            loop_stop(actor->loop);
        }
    }
}

static void sender_drained(struct actor *actor)
{
    post_some(CONTAINER_OF(actor, struct sender, actor));
}

static void on_release(struct timer *timer UNUSED)
{
    actor_release(&receiver);
}

static void receiver_handle(struct actor *actor, struct msg *msg)
{
    struct sender *sender = CONTAINER_OF(msg->home, struct sender, actor);
    char expected[32];
    sender->arrived++;
    CHECK(msg->token == sender->arrived);
    const int len = snprintf(expected, sizeof(expected), "%u", (unsigned)msg->token);
    CHECK(slice_equal(msg->body.raw.data, slice_of(expected, (size_t)len)));
    msg->body.raw.size_bytes++;
    msg->body.raw.data = arena_format(&msg->arena, "r%d", len);
    const bool is_last = sender->arrived == ROUNDS;
    msg_return(msg, ERR_QUOTA);
    senders_done += is_last ? 1 : 0;
    if (++handled % HOLD_EVERY == 0) {
        actor_hold(actor);
        timer_start(&release, 0);
    }
}

/* The receiver's loop ends when its own sender has all home and nobody else can still post. */
static void receiver_drained(struct actor *actor)
{
    struct sender *neighbour = &senders[LOOP_SENDERS];
    if (senders_done < SENDERS) {
        return;
    }
    if (neighbour->home < ROUNDS) {
        port_nudge(&actor->port);
        return;
    }
    timer_stop(&release);
    actor_close(&neighbour->actor);
    actor_close(actor);
    loop_stop(actor->loop);
}

static void *bare_main(void *context)
{
    struct sender *sender = context;
    post_some(sender);
    actor_thread_run(&sender->actor);
    return NULL;
}

static void start(void)
{
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i].loop = i <= LOOP_SENDERS ? &loops[i] : NULL;
        actor_init(&senders[i].actor, &(struct actor_options){.name = "sender",
                                                              .loop = senders[i].loop,
                                                              .handle = sender_handle,
                                                              .on_drained = sender_drained,
                                                              .pool_counts = {POOL_MSGS, 0, 0},
                                                              .port_depth_max = POOL_MSGS});
        if (senders[i].loop != NULL) {
            post_some(&senders[i]);
        }
    }
    const int result = pthread_create(&bare_thread, NULL, bare_main, &senders[LOOP_SENDERS + 1]);
    CHECK(result == 0);
    for (uint32_t i = 0; i < ARRAY_LEN(loops); i++) {
        loop_start(&loops[i]);
    }
}

int main(void)
{
    for (uint32_t i = 0; i < ARRAY_LEN(loops); i++) {
        loop_init(&loops[i], "race", i);
    }
    actor_init(&receiver, &(struct actor_options){.name = "receiver",
                                                  .loop = &loops[LOOP_SENDERS],
                                                  .handle = receiver_handle,
                                                  .on_drained = receiver_drained,
                                                  .port_depth_max = SENDERS * POOL_MSGS});
    timer_init(&release, receiver.loop, on_release);
    start();
    const int result = pthread_join(bare_thread, NULL);
    CHECK(result == 0);
    for (uint32_t i = 0; i < ARRAY_LEN(loops); i++) {
        loop_join(&loops[i]);
    }
    actor_close(&senders[LOOP_SENDERS + 1].actor);
    for (uint32_t i = 0; i < SENDERS; i++) {
        CHECK(senders[i].arrived == ROUNDS);
        CHECK(senders[i].home == ROUNDS);
        actor_fini(&senders[i].actor);
    }
    actor_fini(&receiver);
    for (uint32_t i = 0; i < ARRAY_LEN(loops); i++) {
        loop_fini(&loops[i]);
    }
    printf("race_port: %d msgs of %d senders came home in order\n", SENDERS * ROUNDS, SENDERS);
    return 0;
}
