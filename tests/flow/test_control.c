/* Flow: the operator steers the running server: shards move under load, a drain is taken back and
 * then carried out, the log tells more for a while.
 *
 * Not covered here: the plan itself (shards_test_placement), a shard that cannot move
 * (shards_test_shard_move), every kind of request in a drain (edge_test_drain), posting from
 * threads to what is between two loops (race_move).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/ledger.h"
#include "support/load.h"
#include "support/world.h"

#define LOOPS      2
#define SHARDS     4
#define CONNS      16
#define ROUNDS     8
#define TEXT_BYTES 3000
#define ADMIN      "/api/admin/"

static struct reply *ask(struct world *world, const char *method, const char *path,
                         const char *body)
{
    char *text = arena_bytes(&world->arena, strlen(body) + 1);
    for (size_t i = 0; i <= strlen(body); i++) {
        text[i] = body[i] == '\'' ? '"' : body[i];
    }
    struct world_call call = {.method = method,
                              .path = world_text(world, ADMIN "%s", path),
                              .bearer = world->token,
                              .body = slice_str(text)};
    return world_call(world, &call);
}

static struct reply *done(struct world *world, const char *method, const char *path,
                          const char *body)
{
    struct reply *reply = ask(world, method, path, body);
    cr_assert_eq(reply->status, 200, "%s %s %s: %ld %.*s", method, path, body, reply->status,
                 SLICE_FMT(reply->body));
    return reply;
}

/* meerkatctl's exit status, and what it printed; up to three words. */
static int ctl(struct world *world, const char *const words[3], struct slice *text)
{
    const char *argv[] = {
        world_program(world, "meerkatctl"), "--data", world->data, words[0], words[1],
        words[1] != NULL ? words[2] : NULL, NULL};
    return world_tool(world, argv, SLICE(""), text);
}

/* ---- shards ---------------------------------------------------------------------------------- */

struct scene {
    struct world *world;
    struct mailing mailing;
    struct load *load;
    const char *sink_log;
};

static void scene_init(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    scene->sink_log = world_text(world, "%s/sink.log", world->dir);
    const char *arguments[] = {"--log", scene->sink_log, "--quiet", NULL};
    (void)world_sink(world, "127.0.0.1", arguments); /* found by smtp_port */
    world_dns(world, "host-record=%s,127.0.0.1\nmx-host=dest.test,%s,10\n", WORLD_HOST, WORLD_HOST);
    world_set(world, "loops", "%d", LOOPS);
    world_set(world, "shards", "%d", SHARDS);
    world_set(world, "log_level", "info");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    (void)world_domain(world, "send.test"); /* its id is not needed */
    mailing_init(&scene->mailing, world->key, "robot@send.test", "dest.test");
    scene->mailing.text_bytes = TEXT_BYTES;
    scene->load = load_new(&(struct load_options){.conn_count = CONNS,
                                                  .rest_ms = 20,
                                                  .ask = mailing_ask,
                                                  .answer = mailing_answer,
                                                  .context = &scene->mailing});
    load_connect(scene->load, world->http_port);
}

static void scene_fini(struct scene *scene)
{
    world_end(scene->world);
    load_free(scene->load);
    mailing_fini(&scene->mailing);
}

/* Every shard to the other loop, while mails come in. */
static void swap_all(struct scene *scene, uint32_t round)
{
    struct world *world = scene->world;
    const char *moves = "";
    for (uint32_t i = 0; i < SHARDS; i++) {
        moves = world_text(world, "%s%s{'shard':%u,'loop':%u}", moves, i > 0 ? "," : "",
                           (unsigned)i, (unsigned)((i + round) % LOOPS));
    }
    struct reply *reply =
        done(world, "POST", "rebalance", world_text(world, "{'moves':[%s]}", moves));
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (strcmp(reply_text(reply, "state"), "idle") != 0) {
        cr_assert(wait_more(&wait), "the moves do not end: %.*s", SLICE_FMT(reply->body));
        load_run(scene->load, 10, 0);
        reply = done(world, "GET", "rebalance", "");
    }
    cr_assert_eq(reply_count(reply, "moves"), SHARDS, "%.*s", SLICE_FMT(reply->body));
    for (uint32_t i = 0; i < SHARDS; i++) {
        cr_assert_str_eq(reply_text(reply, world_text(world, "moves.%u.state", (unsigned)i)),
                         "moved");
        cr_assert_eq(reply_int(reply, world_text(world, "shards.%u.loop", (unsigned)i)),
                     (i + round) % LOOPS);
    }
    load_run(scene->load, 50, 0);
}

static void check_places(struct world *world, uint32_t round, uint32_t loops)
{
    struct reply *reply = done(world, "GET", "rebalance", "");
    for (uint32_t i = 0; i < SHARDS; i++) {
        cr_assert_eq(reply_int(reply, world_text(world, "shards.%u.loop", (unsigned)i)),
                     (i + round) % loops, "%.*s", SLICE_FMT(reply->body));
    }
}

Test(control, shards_move_to_and_fro_under_load_and_nothing_is_lost)
{
    struct scene scene;
    struct ledger ledger;
    struct slice text;
    scene_init(&scene);
    struct world *world = scene.world;
    load_run(scene.load, 200, 0);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        swap_all(&scene, round);
    }
    swap_all(&scene, ROUNDS + 1); /* not as they are at first */
    load_finish(scene.load, WORLD_WAIT_MS);
    cr_assert_eq(scene.mailing.strange + scene.mailing.busy, 0);
    cr_assert_eq(load_counts(scene.load)->broken, 0, "a request without an answer");
    cr_assert_gt(scene.mailing.accepted, 100, "there was no load");
    ledger_init(&ledger, world);
    ledger_add(&ledger, &scene.mailing);
    ledger_await(&ledger, 4 * WORLD_WAIT_MS);
    ledger_read_sink(&ledger, scene.sink_log);
    ledger_judge(&ledger);
    cr_expect_eq(ledger.twice, 0, "nothing stopped, so nothing is uncertain");
    ledger_fini(&ledger);

    cr_expect_eq(ctl(world, (const char *[]){"rebalance", "--status", NULL}, &text), 0);
    cr_expect_neq(slice_find(text, SLICE("1, 3")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    world_stop(world);
    world_start(world);
    check_places(world, ROUNDS + 1, LOOPS); /* kept */
    world_stop(world);
    world_set(world, "loops", "%d", LOOPS + 1);
    world_start(world);
    check_places(world, 0, LOOPS + 1); /* forgotten: there are other loops */
    cr_expect_eq(ctl(world, (const char *[]){"rebalance", "0=7", NULL}, &text), 1);
    cr_expect_eq(ctl(world, (const char *[]){"rebalance", "0-7", NULL}, &text), 2);
    cr_expect_eq(ctl(world, (const char *[]){"rebalance", "--dry-run", "--window=1s"}, &text), 0);
    scene_fini(&scene);
}

/* ---- drain ----------------------------------------------------------------------------------- */

static void await_state(struct world *world, const char *state)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct reply *reply = done(world, "GET", "drain", "");
    while (strcmp(reply_text(reply, "state"), state) != 0) {
        cr_assert(wait_more(&wait), "not %s: %.*s", state, SLICE_FMT(reply->body));
        reply = done(world, "GET", "drain", "");
    }
}

static long try_to_send(struct world *world)
{
    return world_post(world, "/v1/send",
                      "{'from':'a@send.test','to':'b@dest.test','subject':'s','text':'x'}")
        ->status;
}

static long health_of(struct world *world)
{
    return world_get(world, "/api/health")->status;
}

Test(control, a_drain_turns_work_away_is_taken_back_and_ends_the_server_when_nothing_is_left)
{
    struct world *world = world_new();
    struct slice text;
    world_set(world, "retry_first_ms", "1000");
    world_set(world, "drain_notice_ms", "1000");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "tempfail:1000");
    const char *id =
        world_send(world, "{'from':'a@send.test','to':'b@dest.test','subject':'s','text':'x'}");
    (void)world_await(world, id, "deliveries.0.status", "deferred"); /* is judged below */

    cr_expect_str_eq(reply_text(done(world, "POST", "drain", "{}"), "state"), "notice");
    cr_expect_eq(health_of(world), 503, "balancers look elsewhere");
    cr_expect_eq(try_to_send(world), 202, "work is taken until they do");
    await_state(world, "draining");
    cr_expect_eq(try_to_send(world), 503);
    cr_expect_eq(world_get(world, "/api/messages/%s", id)->status, 200, "reads are answered");
    cr_expect_eq(reply_int(done(world, "GET", "drain", ""), "left.entries"), 2);
    cr_expect_eq(metric_of(world, "meerkat_draining"), 2);
    cr_expect_str_eq(reply_text(done(world, "GET", "server", ""), "state"), "draining");

    cr_expect_eq(ctl(world, (const char *[]){"drain", "--cancel", NULL}, &text), 0);
    cr_expect_eq(ctl(world, (const char *[]){"drain", "--cancel", NULL}, &text), 1, "is none");
    cr_expect_eq(health_of(world), 200);
    cr_expect_eq(try_to_send(world), 202);
    cr_expect_eq(metric_of(world, "meerkat_draining"), 0);

    cr_expect_eq(ask(world, "POST", "drain", "{'forSeconds':9}")->status, 400);
    (void)done(world, "POST", "drain", "{'stop':true,'forSeconds':600}");
    world_sink_profile(world, sink, "");
    cr_expect_eq(ctl(world, (const char *[]){"drain", "--stop", "--wait"}, &text), 0, "%.*s",
                 SLICE_FMT(text));
    world_await_stop(world);
    cr_expect_eq(world_sink_count(world, sink, "mails"), 3, "all that was accepted");
    world_end(world);
}

/* ---- the log --------------------------------------------------------------------------------- */

static bool has_line(struct world *world, const char *event)
{
    return slice_find(world_log(world), slice_str(event)) != SIZE_MAX;
}

Test(control, the_log_tells_less_of_some_events_for_a_while)
{
    struct world *world = world_new();
    struct slice text;
    world_set(world, "log_level", "info");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    cr_expect_eq(ctl(world, (const char *[]){"loglevel", "error", "main.drain"}, &text), 0);
    (void)done(world, "POST", "drain", "{}");
    (void)done(world, "DELETE", "drain", "");
    cr_expect_not(has_line(world, "main.draining"));
    (void)done(world, "PUT", "loglevel", "{'level':'error','event':'main.drain','forSeconds':1}");
    struct reply *reply = done(world, "GET", "loglevel", "");
    cr_expect_eq(reply_count(reply, "data"), 2);
    cr_expect_str_eq(reply_text(reply, "data.1.event"), "main.drain");
    cr_expect_str_eq(reply_text(reply, "data.1.level"), "error");
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!has_line(world, "by_itself") && wait_more(&wait)) {
    }
    cr_expect_eq(ctl(world, (const char *[]){"loglevel", "default", NULL}, &text), 0);
    (void)done(world, "POST", "drain", "{}");
    (void)done(world, "DELETE", "drain", "");
    wait = wait_start(WORLD_WAIT_MS);
    while (!has_line(world, "main.draining") && wait_more(&wait)) {
    }
    cr_expect(has_line(world, "main.draining"));
    cr_expect_eq(ctl(world, (const char *[]){"loglevel", "loud", NULL}, &text), 1);
    cr_expect_eq(ask(world, "PUT", "loglevel", "{'level':'info','event':'a b'}")->status, 400);
    world_end(world);
}
