/* Flow: one customer's many mails and another's password reset.
 *
 * One account has thousands of bulk mails queued for a server that takes its time; another one's
 * few transactional mails to the same server must not wait for them. Times are measured in mails,
 * not in seconds, so that a slow machine says the same.
 *
 * Not covered here: shares by number (deliver_test_sched), two hundred thousand (bench/queue).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "support/world.h"

#define MANY 2000
#define FEW  10

static void send_many(struct world *world)
{
    for (int i = 0; i < MANY; i++) {
        (void)world_send(world,
                         "{'from':'a@send.test','to':'many%d@dest.test','subject':'s','text':'x',"
                         "'priority':'bulk'}",
                         i);
    }
}

static void second_account(struct world *world)
{
    struct reply *reply = world_signup(world, "second@meerkat.test");
    const char *key = reply_text(reply, "apiKey");
    cr_assert_eq(reply->status, 201);
    cr_assert_neq(key[0], '\0');
    world->key = key;
    (void)world_domain(world, "other.test");
}

Test(fairness, a_password_reset_does_not_wait_for_somebody_elses_newsletter)
{
    struct world *world = world_new();
    const char *ids[FEW];
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "slow:300:dot");
    send_many(world);
    second_account(world);
    long long before = world_sink_count(world, sink, "mails");
    for (int i = 0; i < FEW; i++) {
        ids[i] = world_send(
            world, "{'from':'b@other.test','to':'few%d@dest.test','subject':'s','text':'x'}", i);
    }
    for (int i = 0; i < FEW; i++) {
        (void)world_await(world, ids[i], "message.send_status", "delivered");
    }
    long long between = world_sink_count(world, sink, "mails") - before - FEW;
    /* Twenty connections, and what they carry while the few are accepted one after the other. */
    cr_assert_lt(between, MANY / 20, "%lld of the others went before", between);
    cr_assert_lt(before + between, MANY, "they are still on their way");
    world_end(world);
}
