/* test_port.c - the queue into an actor, on a bare thread and on a loop.
 *
 * Not covered here: many producers at once (tests/race/race_port.c), what an actor makes of its
 * messages (test_actor).
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>

#include "shards/port.h"

#define MSG_COUNT 10

static struct msg msgs[MSG_COUNT];

/* What on_wake saw. */
struct witness {
    struct loop loop;
    struct port port;
    uint32_t wake_count;
    uint32_t msg_count;
    uint32_t push_left; /* pushed by on_wake itself, one a wake */
};

static void on_wake(void *context)
{
    struct witness *witness = context;
    uint32_t count = 0;
    struct msg *list = port_detach(&witness->port, &count);
    witness->wake_count++;
    witness->msg_count += count;
    for (; list != NULL; count--) {
        struct msg *next = list->next;
        list->next = NULL;
        list = next;
    }
    cr_assert_eq(count, 0, "the count is that of the list");
    if (witness->push_left > 0) {
        witness->push_left--;
        port_push(&witness->port, &msgs[0]);
        return;
    }
    port_close(&witness->port);
    loop_stop(&witness->loop);
}

static void witness_init(struct witness *witness)
{
    *witness = (struct witness){.push_left = 0};
    loop_init(&witness->loop, "test", 0);
    port_init(&witness->port, &witness->loop, MSG_COUNT, on_wake, witness);
}

static void witness_fini(struct witness *witness)
{
    port_fini(&witness->port);
    loop_fini(&witness->loop);
}

static struct port *bare_port(uint32_t depth_max)
{
    static struct port port;
    port_init(&port, NULL, depth_max, NULL, NULL);
    return &port;
}

/* ---- between two loops ---------------------------------------------------------------------- */

static void on_left(void *context)
{
    struct witness *witness = context;
    port_push(&witness->port, &msgs[0]); /* nobody is woken */
    port_push(&witness->port, &msgs[1]);
    port_nudge(&witness->port);
    loop_stop(&witness->loop);
}

Test(port, gathers_between_two_loops_what_the_new_one_finds)
{
    struct witness witness;
    struct loop old;
    loop_init(&old, "old", 0);
    witness = (struct witness){.push_left = 0};
    loop_init(&witness.loop, "new", 1);
    port_init(&witness.port, &old, MSG_COUNT, on_wake, &witness);
    port_leave(&witness.port, on_left);
    loop_stop(&old);
    loop_run(&old); /* ends: no handle of the port is left on it */
    cr_expect_eq(witness.wake_count, 0);
    port_arrive(&witness.port, &witness.loop);
    loop_run(&witness.loop);
    cr_expect_eq(witness.wake_count, 1);
    cr_expect_eq(witness.msg_count, 2);
    witness_fini(&witness);
    loop_fini(&old);
}

Test(port, returns_msgs_in_the_order_posted)
{
    struct port *port = bare_port(MSG_COUNT);
    for (size_t i = 0; i < MSG_COUNT; i++) {
        port_push(port, &msgs[i]);
    }
    uint32_t count = 0;
    struct msg *list = port_detach(port, &count);
    cr_expect_eq(count, MSG_COUNT);
    for (size_t i = 0; i < MSG_COUNT; i++) {
        cr_assert_eq(list, &msgs[i]);
        list = list->next;
    }
    cr_expect_null(list);
    port_fini(port);
}

Test(port, detaches_nothing_when_empty)
{
    struct port *port = bare_port(1);
    uint32_t count = 7;
    cr_expect_null(port_detach(port, &count));
    cr_expect_eq(count, 0);
    port_fini(port);
}

Test(port, has_all_its_room_again_after_a_detach)
{
    struct port *port = bare_port(2);
    for (size_t round = 0; round < 3; round++) {
        uint32_t count = 0;
        msgs[0].next = NULL;
        msgs[1].next = NULL;
        port_push(port, &msgs[0]);
        port_push(port, &msgs[1]);
        cr_assert_eq(port_detach(port, &count), &msgs[0]);
        cr_assert_eq(count, 2);
    }
    port_fini(port);
}

Test(port, aborts_when_pushed_beyond_its_depth, .signal = SIGABRT)
{
    struct port *port = bare_port(2);
    for (size_t i = 0; i < 3; i++) {
        port_push(port, &msgs[i]);
    }
}

Test(port, aborts_when_a_linked_msg_is_pushed, .signal = SIGABRT)
{
    struct port *port = bare_port(2);
    msgs[0].next = &msgs[1];
    port_push(port, &msgs[0]);
}

Test(port, aborts_when_pushed_after_its_close, .signal = SIGABRT)
{
    struct port *port = bare_port(2);
    port_close(port);
    port_push(port, &msgs[0]);
}

Test(port, aborts_when_it_ends_with_msgs_inside, .signal = SIGABRT)
{
    struct port *port = bare_port(2);
    port_push(port, &msgs[0]);
    port_fini(port);
}

Test(port, aborts_when_a_bare_thread_is_nudged, .signal = SIGABRT)
{
    port_nudge(bare_port(1));
}

Test(port, hands_a_waiting_thread_what_is_there)
{
    struct port *port = bare_port(2);
    port_push(port, &msgs[0]);
    uint32_t count = 0;
    cr_expect_eq(port_wait(port, &count), &msgs[0]);
    cr_expect_eq(count, 1);
    port_fini(port);
}

static void *push_one(void *context)
{
    port_push(context, &msgs[3]);
    return NULL;
}

Test(port, wakes_a_waiting_thread)
{
    struct port *port = bare_port(2);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, push_one, port), 0);
    uint32_t count = 0;
    cr_expect_eq(port_wait(port, &count), &msgs[3]);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    port_fini(port);
}

Test(port, wakes_its_loop_once_for_many_pushes)
{
    struct witness witness;
    witness_init(&witness);
    for (size_t i = 0; i < MSG_COUNT; i++) {
        port_push(&witness.port, &msgs[i]);
    }
    loop_run(&witness.loop);
    cr_expect_eq(witness.wake_count, 1);
    cr_expect_eq(witness.msg_count, MSG_COUNT);
    witness_fini(&witness);
}

Test(port, wakes_its_loop_again_for_what_comes_after_a_drain)
{
    struct witness witness;
    witness_init(&witness);
    witness.push_left = 5;
    port_push(&witness.port, &msgs[0]);
    loop_run(&witness.loop);
    cr_expect_eq(witness.wake_count, 6);
    cr_expect_eq(witness.msg_count, 6);
    witness_fini(&witness);
}

Test(port, wakes_its_loop_for_a_nudge_without_msgs)
{
    struct witness witness;
    witness_init(&witness);
    port_nudge(&witness.port);
    loop_run(&witness.loop);
    cr_expect_eq(witness.wake_count, 1);
    cr_expect_eq(witness.msg_count, 0);
    witness_fini(&witness);
}

Test(port, wakes_its_loop_for_a_push_from_another_thread)
{
    struct witness witness;
    witness_init(&witness);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, push_one, &witness.port), 0);
    loop_run(&witness.loop);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(witness.msg_count, 1);
    witness_fini(&witness);
}

Test(port, aborts_when_detached_from_another_thread, .signal = SIGABRT)
{
    static struct witness witness; /* outlives the loop's thread */
    witness_init(&witness);
    loop_start(&witness.loop);
    uint32_t count = 0;
    port_detach(&witness.port, &count);
}

Test(port, aborts_when_it_ends_before_its_handle_is_closed, .signal = SIGABRT)
{
    struct witness witness;
    witness_init(&witness);
    port_fini(&witness.port);
}
