/* Flow: the policy about destinations, as the daemon reads it: providers, addresses of ours, and
 * reading it anew.
 *
 * Not covered here: what is found out from answers (deliver_test_converge), warming up
 * (deliver_test_source), who waits for whom (test_fairness).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/world.h"

static const char *policy_file(struct world *world, const char *text)
{
    const char *path = world_text(world, "%s/sites.conf", world->dir);
    world_write_file(world, path, slice_str(text));
    return path;
}

static struct reply *send_and_read(struct world *world, const char *pool)
{
    const char *id = world_send(
        world, "{'from':'a@send.test','to':'u@dest.test','subject':'s','text':'x','pool':'%s'}",
        pool);
    return world_await(world, id, "message.send_status", "delivered");
}

static bool log_has(struct world *world, const char *text)
{
    return slice_find(world_log(world), slice_str(text)) != SIZE_MAX;
}

static void reload(struct world *world, const char *expected)
{
    cr_assert_eq(kill(world->daemon, SIGHUP), 0);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!log_has(world, expected) && wait_more(&wait)) {
    }
    cr_assert(log_has(world, expected), "%s is not in the log", expected);
}

Test(sites, sends_from_the_addresses_of_a_pool_and_reads_them_anew)
{
    struct world *world = world_new();
    world_set(world, "site_policy", "%s",
              policy_file(world, "pool fast\n  source 127.0.0.7 helo out7.meerkat.test\n"));
    struct peer *sink = world_ready_to_send(world);
    (void)send_and_read(world, "fast");
    struct slice mail = world_sink_mail(world, sink, 1);
    cr_expect_neq(slice_find(mail, SLICE("X-Sink-Helo: out7.meerkat.test\r\n")), SIZE_MAX);

    (void)send_and_read(world, "nobody-knows-it");
    mail = world_sink_mail(world, sink, 2);
    cr_expect_neq(slice_find(mail, SLICE("X-Sink-Helo: " WORLD_HOST "\r\n")), SIZE_MAX,
                  "an unknown pool is the default one");
    cr_expect(log_has(world, "\"event\":\"group.pool\""));

    (void)policy_file(world, "pool default\n  source 127.0.0.8 helo out8.meerkat.test warmup\n"
                             "pool fast\n  source 127.0.0.9 helo out9.meerkat.test\n");
    reload(world, "\"pools\":2");
    world_dns_stop(world); /* what is known need not be asked */
    world_dns(world, "%s", "");
    world_stop(world);
    world_start(world);
    (void)send_and_read(world, "fast");
    mail = world_sink_mail(world, sink, 3);
    cr_expect_neq(slice_find(mail, SLICE("X-Sink-Helo: out9.meerkat.test\r\n")), SIZE_MAX);
    struct reply *read = send_and_read(world, "default");
    mail = world_sink_mail(world, sink, 4);
    cr_expect_neq(slice_find(mail, SLICE("X-Sink-Helo: out8.meerkat.test\r\n")), SIZE_MAX);
    cr_expect_str_eq(reply_text(read, "deliveries.0.status"), "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.source"), "127.0.0.8");
    world_end(world);
}

Test(sites, keeps_the_policy_that_was_good_when_the_new_one_is_not)
{
    struct world *world = world_new();
    world_set(world, "site_policy", "%s",
              policy_file(world, "provider default\n  connections 2\n"));
    (void)world_ready_to_send(world);
    (void)policy_file(world, "provider default\n  conections 2\n");
    reload(world, "line 2: a provider has no such setting");
    (void)send_and_read(world, "default");
    world_stop(world);
    cr_expect_neq(world_run(world), 0, "with a mistake it does not start");
    cr_expect(log_has(world, "site_policy"));
    (void)policy_file(world, "");
    world_start(world);
    world_end(world);
}

/* Domains of one provider share what its hosts are told: one connection for both here. */
Test(sites, share_their_limits_by_who_takes_the_mail)
{
    struct world *world = world_new();
    world_set(world, "site_policy", "%s",
              policy_file(world, "provider house\n  mx *.house.test\n  connections 1\n"));
    struct peer *sink = world_ready_to_send(world);
    world_dns(world, "mx-host=a.test,mx.house.test,10\nmx-host=b.test,mx.house.test,10\n"
                     "host-record=mx.house.test,127.0.0.1\n");
    world_sink_profile(world, sink, "maxconn:1");
    const char *ids[10];
    for (int i = 0; i < 10; i++) {
        ids[i] =
            world_send(world, "{'from':'a@send.test','to':'u%d@%s.test','subject':'s','text':'x'}",
                       i, i % 2 == 0 ? "a" : "b");
    }
    for (int i = 0; i < 10; i++) {
        struct reply *read = world_await(world, ids[i], "message.send_status", "delivered");
        cr_expect_eq(reply_int(read, "deliveries.0.attempts"), 1, "never a connection too many");
    }
    world_end(world);
}
