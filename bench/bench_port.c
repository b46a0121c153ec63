/* bench_port.c - what a message costs, by number of senders.
 *
 * Senders on loops of their own post to one receiver on another and get their messages back. With
 * full pools: round trips a second. With one message each: the time from actor_post to the
 * receiver's handler, most of which is the kernel waking a thread. Prints `name value unit`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/actor.h"

#define SENDERS_MAX 8
#define RATE_MSGS   1000000 /* all senders together */
#define WAKE_MSGS   40000

struct sender {
    struct actor actor;
    struct loop loop;
    uint64_t left_to_post;
    uint64_t left_to_return;
};

static struct sender senders[SENDERS_MAX];
static struct actor receiver;
static struct loop receiver_loop;
static uint64_t left_to_handle; /* receiver's */
static uint32_t *wakes_us;      /* receiver's: one a message, or NULL */
static uint64_t wake_count;     /* receiver's */

static void post_some(struct actor *actor)
{
    struct sender *sender = CONTAINER_OF(actor, struct sender, actor);
    while (sender->left_to_post > 0) {
        struct msg *msg = msg_take(actor, MSG_SHARD_CHUNK);
        if (msg == NULL) {
            return;
        }
        sender->left_to_post--;
        msg->token = wakes_us != NULL ? clock_mono_us() : 0;
        actor_post(&receiver, msg);
    }
}

static void sender_handle(struct actor *actor, struct msg *msg)
{
    struct sender *sender = CONTAINER_OF(actor, struct sender, actor);
    msg_put(actor, msg);
    if (--sender->left_to_return == 0) {
        actor_close(actor);
        loop_stop(&sender->loop);
    }
}

static void receiver_handle(struct actor *actor, struct msg *msg)
{
    if (wakes_us != NULL) {
        wakes_us[wake_count++] = (uint32_t)(clock_mono_us() - msg->token);
    }
    msg_return(msg, ERR_OK);
    if (--left_to_handle == 0) {
        actor_close(actor);
        loop_stop(&receiver_loop);
    }
}

/* Seconds from the first post to the last return. */
static double run(uint32_t sender_count, uint32_t pool_count, uint64_t msg_count)
{
    const uint64_t each = msg_count / sender_count;
    left_to_handle = each * sender_count;
    loop_init(&receiver_loop, "receiver", 0);
    actor_init(&receiver, &(struct actor_options){.name = "receiver",
                                                  .loop = &receiver_loop,
                                                  .handle = receiver_handle,
                                                  .port_depth_max = sender_count * pool_count});
    for (uint32_t i = 0; i < sender_count; i++) {
        struct sender *sender = &senders[i];
        *sender = (struct sender){.left_to_post = each, .left_to_return = each};
        loop_init(&sender->loop, "sender", i + 1);
        actor_init(&sender->actor, &(struct actor_options){.name = "sender",
                                                           .loop = &sender->loop,
                                                           .handle = sender_handle,
                                                           .on_drained = post_some,
                                                           .pool_counts = {pool_count, 0, 0},
                                                           .port_depth_max = pool_count});
        port_nudge(&sender->actor.port); /* its first turn posts */
    }
    const uint64_t begun_us = clock_mono_us();
    loop_start(&receiver_loop);
    for (uint32_t i = 0; i < sender_count; i++) {
        loop_start(&senders[i].loop);
    }
    for (uint32_t i = 0; i < sender_count; i++) {
        loop_join(&senders[i].loop);
    }
    loop_join(&receiver_loop);
    const uint64_t took_us = clock_mono_us() - begun_us;
    for (uint32_t i = 0; i < sender_count; i++) {
        actor_fini(&senders[i].actor);
        loop_fini(&senders[i].loop);
    }
    actor_fini(&receiver);
    loop_fini(&receiver_loop);
    return (double)took_us / 1e6;
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void bench_wakes(uint32_t sender_count)
{
    wake_count = 0;
    wakes_us = mem_alloc(WAKE_MSGS * sizeof(*wakes_us));
    run(sender_count, 1, WAKE_MSGS);
    qsort(wakes_us, wake_count, sizeof(*wakes_us), compare_u32);
    printf("wake_p50_%u_senders %u us\n", sender_count, wakes_us[wake_count / 2]);
    printf("wake_p99_%u_senders %u us\n", sender_count, wakes_us[wake_count * 99 / 100]);
    free(wakes_us);
    wakes_us = NULL;
}

int main(void)
{
    struct utsname machine;
    log_set_level(LOG_LEVEL_ERROR); /* threads outnumber cores here: some turns look slow */
    if (uname(&machine) == 0) {
        printf("# %s %s %s, %ld cores\n", machine.sysname, machine.release, machine.machine,
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    for (uint32_t count = 1; count <= SENDERS_MAX; count *= 2) {
        const double seconds = run(count, 1024, RATE_MSGS);
        printf("round_trips_%u_senders %.0f msgs/s\n", count, RATE_MSGS / seconds);
        bench_wakes(count);
    }
    return 0;
}
