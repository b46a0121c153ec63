/* Flow: a store that was broken by hand is verified and repaired, with the daemon stopped and with
 * it running, and the mail that would have waited for ever arrives.
 *
 * Not covered here: every kind of damage (tests/unit/kv/test_verify.c), blocks that cannot be read
 * (tests/unit/kv/test_salvage.c), stores as kills leave them (test_crash.c, test_inbound_crash.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "kv/key.h"
#include "kv/kv.h"
#include "support/ledger.h"
#include "support/load.h"
#include "support/world.h"

#define LOOKS   8
#define LOAD_MS 150 /* of load for each look */

enum { DONE, REFUSED, USAGE, UNREACHABLE, WRONG };

TestSuite(repair, .timeout = 120);

/* ---- the tool -------------------------------------------------------------------------------- */

/* meerkatctl with --json; its exit status. */
static int ctl(struct world *world, const char *words, json_t **document)
{
    struct slice said;
    int status = world_ctl(world, NULL, world_text(world, "--json %s", words), SLICE(""), &said);
    size_t at = 0; /* what standard error said is in front */
    while (at < said.len && said.data[at] != '{' && said.data[at] != '[') {
        at++;
    }
    *document = json_loadb(said.data + at, said.len - at, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(*document != NULL || status == REFUSED, "%s: %.*s", words, SLICE_FMT(said));
    if (*document != NULL) {
        (void)json_array_append_new(world->documents, *document); /* lives as long as the world */
    }
    return status;
}

static long long number(json_t *document, const char *outer, const char *inner)
{
    json_t *at = outer != NULL ? json_object_get(document, outer) : document;
    return json_integer_value(json_object_get(at, inner));
}

/* ---- breaking things ------------------------------------------------------------------------- */

/* Takes every outbox row away, as no crash does. */
static uint32_t lose_outbox(struct world *world)
{
    const char *path = world_text(world, "%s/store", world->data);
    const struct kv_options options = {.path = slice_str(path),
                                       .cache_bytes = 4 * MIB,
                                       .memtable_bytes = 8 * MIB,
                                       .must_exist = true};
    struct kv *kv = NULL;
    uint32_t lost = 0;
    enum err err = kv_open(&options, &kv);
    cr_assert_eq(err, ERR_OK);
    struct key from = key_prefix_outbox();
    struct key to = key_after(&from);
    for (uint32_t i = 0; i < kv_shard_count(kv); i++) {
        struct slice key;
        struct slice value;
        struct kv_batch *batch = kv_batch_new(i);
        struct kv_iter *iter = kv_iter_open(kv, i, key_slice(&from), key_slice(&to), false);
        while (kv_iter_next(iter, &key, &value)) {
            kv_batch_delete(batch, key);
            lost++;
        }
        kv_iter_close(iter);
        err = kv_write(kv, batch);
        cr_assert_eq(err, ERR_OK);
        kv_batch_free(batch);
    }
    err = kv_sync(kv);
    cr_assert_eq(err, ERR_OK);
    kv_close(kv);
    return lost;
}

/* A mail that its destination puts off, so that it waits in the outbox. */
static const char *send_deferred(struct world *world, struct peer *sink)
{
    world_sink_profile(world, sink, "tempfail:1");
    const char *id = world_send(world, "{'from':'a@send.test','to':'b@dest.test',"
                                       "'subject':'late','text':'late'}");
    (void)world_await(world, id, "deliveries.0.status", "deferred");
    return id;
}

Test(repair, a_mail_without_an_outbox_row_is_found_and_sent_after_a_repair_offline)
{
    struct world *world = world_new();
    json_t *said;
    world_set(world, "retry_first_ms", "600000");
    struct peer *sink = world_ready_to_send(world);
    const char *id = send_deferred(world, sink);
    world_stop(world);
    world_verify(world);
    cr_assert_eq(lose_outbox(world), 1);
    cr_assert_eq(ctl(world, "verify --offline", &said), WRONG);
    cr_expect_eq(number(said, NULL, "damage"), 1);
    cr_assert_eq(ctl(world, "repair --offline", &said), WRONG);
    cr_expect_eq(ctl(world, "verify --offline", &said), WRONG, "without --yes nothing is changed");
    cr_assert_eq(ctl(world, "repair --offline --yes", &said), DONE);
    cr_expect_eq(json_array_size(json_object_get(said, "done")), 1);
    cr_expect_eq(number(said, "after", "damage"), 0);
    world_verify(world);
    world_sink_profile(world, sink, "");
    world_start(world);
    (void)world_await(world, id, "deliveries.0.status", "delivered");
    world_end(world);
}

Test(repair, and_so_it_is_while_the_daemon_runs)
{
    struct world *world = world_new();
    json_t *said;
    world_set(world, "retry_first_ms", "600000");
    struct peer *sink = world_ready_to_send(world);
    const char *id = send_deferred(world, sink);
    world_stop(world);
    cr_assert_eq(lose_outbox(world), 1);
    world_sink_profile(world, sink, "");
    world_start(world);
    cr_assert_eq(ctl(world, "verify", &said), WRONG);
    cr_expect_eq(number(said, "report", "damage"), 1);
    cr_assert_eq(ctl(world, "repair", &said), WRONG);
    cr_expect_eq(number(said, "report", "doneCount"), 1);
    cr_assert_eq(ctl(world, "repair --yes", &said), DONE);
    cr_expect_eq(number(said, "report", "doneCount"), 1);
    (void)world_await(world, id, "deliveries.0.status", "delivered");
    cr_assert_eq(ctl(world, "verify", &said), DONE);
    world_end(world);
}

/* ---- while shards write ---------------------------------------------------------------------- */

static bool ask_one(void *context, uint64_t number, struct buf *out)
{
    return mailing_ask(context, number, out);
}

static void take_one(void *context, const struct load_answer *answer)
{
    mailing_answer(context, answer);
}

Test(repair, a_verification_under_load_finds_nothing)
{
    struct world *world = world_new();
    struct mailing mailing;
    json_t *said;
    (void)world_ready_to_send(world);
    mailing_init(&mailing, world->key, "robot@send.test", "dest.test");
    struct load *load = load_new(&(struct load_options){
        .conn_count = 4, .rest_ms = 5, .ask = ask_one, .answer = take_one, .context = &mailing});
    load_connect(load, world->http_port);
    for (uint32_t i = 0; i < LOOKS; i++) {
        int status = ctl(world, "verify --detach", &said);
        cr_assert(status == DONE || status == REFUSED, "the one before may run still");
        load_run(load, LOAD_MS, 0);
    }
    load_finish(load, WORLD_WAIT_MS);
    cr_assert_eq(ctl(world, "verify", &said), DONE);
    cr_assert_eq(ctl(world, "jobs", &said), DONE);
    json_t *jobs = json_is_array(said) ? said : json_object_get(said, "data");
    cr_assert_gt(json_array_size(jobs), 2);
    for (size_t i = 0; i < json_array_size(jobs); i++) {
        json_t *job = json_array_get(jobs, i);
        cr_expect_eq(json_integer_value(json_object_get(job, "problems")), 0);
        cr_expect_str_eq(json_string_value(json_object_get(job, "state")), "done");
    }
    cr_expect_gt(mailing.accepted, 10);
    load_free(load);
    mailing_fini(&mailing);
    world_end(world);
}
