/* test_inspect.c - a shard that is looked into.
 *
 * Not covered here: what the store's documents hold (kv_test_look), who may ask (edge), whether the
 * numbers reach an operator (flow_test_look).
 */
#include "unit/shards/shard_rig.h"

static struct msg *ask(struct rig *rig, enum inspect_op op)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_INSPECT);
    msg->body.inspect.op = op;
    return msg;
}

static bool says(const struct msg *msg, const char *text)
{
    return slice_find(msg->body.inspect.json, slice_str(text)) != SIZE_MAX;
}

Test(inspect, tells_what_the_actor_did_and_has_to_do)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    (void)rig_send(rig, account, "a@example.com", "b@dest.test");
    rig_settle(rig);
    struct msg *msg = ask(rig, INSPECT_STATS);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    const struct inspect_stats *stats = &msg->body.inspect.stats;
    cr_expect_eq(msg->body.inspect.json.len, 0, "nothing was asked of the store");
    cr_expect_eq(stats->mails, 1);
    cr_expect_gt(stats->mail_bytes, 100);
    cr_expect_geq(stats->handled, 3);
    cr_expect_geq(stats->batches, 2);
    cr_expect_gt(stats->batch_rows, stats->batches);
    cr_expect_leq(stats->batch_rows_max, stats->batch_rows);
    cr_expect_eq(stats->batches_lost, 0);
    cr_expect_eq(stats->commit.count, stats->batches);
    cr_expect_eq(stats->commit_last_minute.count, stats->batches);
    cr_expect_eq(stats->requests.free, stats->requests.count);
    cr_expect_eq(stats->requests.count, SHARD_WORK_MSGS);
    cr_expect_eq(stats->port_depth, 0, "this message was taken out");
    cr_expect_eq(stats->port_max, SHARD_PORT_MSGS);
    cr_expect_not(stats->is_draining);
    cr_expect_not(stats->is_flying);
    cr_expect_gt(stats->cache_misses, 0);
    cr_expect_gt(stats->ahead_unix_ms, clock_unix_ms());
    cr_expect_str_eq(stats->loop, rig->loop.name);
    rig_put(rig, msg);
    rig_close(rig);
}

Test(inspect, sees_the_batch_that_flies_and_who_waits_for_it)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig->is_commit_held = true;
    struct msg *sent = rig_mail(rig, account, "a@example.com", "b@dest.test");
    actor_post(rig_shard(rig, account), sent);
    while (rig->held_count == 0) {
        rig_turn(rig);
    }
    struct msg *msg = ask(rig, INSPECT_STATS);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK, "it waits for no disk");
    const struct inspect_stats *stats = &msg->body.inspect.stats;
    cr_expect(stats->is_flying);
    cr_expect_geq(stats->flying.rows, 4);
    cr_expect_gt(stats->flying.bytes, 0);
    cr_expect_eq(stats->flying.parked, 1);
    cr_expect_eq(stats->filling.parked, 0);
    cr_expect_eq(stats->mails, 0, "none is accepted yet");
    rig_put(rig, msg);
    rig->is_commit_held = false;
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, sent), ERR_OK);
    rig_put(rig, sent);
    rig_close(rig);
}

Test(inspect, counts_a_batch_that_was_lost)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig->fail_at = rig->commit_count + 1;
    struct msg *sent = rig_mail(rig, account, "a@example.com", "b@dest.test");
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), sent), ERR_STORAGE);
    rig_put(rig, sent);
    struct msg *msg = ask(rig, INSPECT_STATS);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_expect_eq(msg->body.inspect.stats.batches_lost, 1);
    cr_expect_eq(msg->body.inspect.stats.mails, 0);
    rig_put(rig, msg);
    rig_close(rig);
}

Test(inspect, shows_its_part_of_the_store_and_pages_of_rows)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct id id = rig_send(rig, account, "a@example.com", "b@dest.test");
    struct actor *shard = rig_shard(rig, account);
    struct msg *msg = ask(rig, INSPECT_FAMILIES);
    cr_assert_eq(rig_call(rig, shard, msg), ERR_OK);
    cr_expect(says(msg, "\"accounts\":{\"count\":1,\"isExact\":true}"));
    cr_expect(says(msg, "\"family\":\"mail\",\"tag\":\"M\",\"count\":1,"));
    rig_put(rig, msg);

    msg = ask(rig, INSPECT_ROWS);
    msg->body.inspect.prefix = SLICE("mail");
    cr_assert_eq(rig_call(rig, shard, msg), ERR_OK);
    cr_expect(says(msg, "\"status\":\"queued\""));
    cr_expect(says(msg, "\"next\":null"));
    rig_put(rig, msg);

    msg = ask(rig, INSPECT_ROWS);
    msg->body.inspect.after = SLICE("letter");
    cr_assert_eq(rig_call(rig, shard, msg), ERR_BAD_FIELD);
    cr_expect(slice_equal(msg->param, SLICE("after")));
    cr_expect(slice_equal(msg->sentence, SLICE("there is no such row family: letter")));
    rig_put(rig, msg);

    msg = ask(rig, INSPECT_MAIL);
    msg->body.inspect.mail = id;
    cr_assert_eq(rig_call(rig, shard, msg), ERR_OK);
    cr_expect(says(msg, "\"recipient\":\"b@dest.test\""));
    rig_put(rig, msg);

    msg = ask(rig, INSPECT_MAIL); /* of no mail at all */
    cr_expect_eq(rig_call(rig, shard, msg), ERR_NOT_FOUND);
    rig_put(rig, msg);
    rig_close(rig);
}

Test(inspect, of_the_ledger_and_of_the_store_is_answered_too)
{
    struct rig *rig = rig_open();
    struct msg *msg = ask(rig, INSPECT_SHARD);
    cr_assert_eq(rig_call(rig, shard_actor(rig->ledger), msg), ERR_OK);
    cr_expect(says(msg, "\"name\":\"deliver\",\"accounts\":null"));
    rig_put(rig, msg);
    msg = ask(rig, INSPECT_STORE);
    cr_assert_eq(rig_call(rig, shard_actor(rig->ledger), msg), ERR_OK);
    cr_expect(says(msg, "\"backgroundErrors\":0"));
    rig_put(rig, msg);
    rig_close(rig);
}
