/* test_shard.c - the commit cycle, hints to delivery, boot, drain and stop.
 *
 * Not covered here: what each message does to rows (test_account, test_domain, test_outbound,
 * test_claim, test_mail_view), the committer itself (test_commit), several threads (tests/race).
 */
#include "unit/shards/shard_rig.h"

#include <signal.h>

static struct msg *post_ledger(struct rig *rig, uint32_t kind, bool is_write, uint64_t value)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_LEDGER);
    msg->body.ledger = (struct shard_ledger){.kind = kind, .is_write = is_write, .value = value};
    actor_post(rig->place.deliver_shard, msg);
    return msg;
}

static uint64_t read_ledger(struct rig *rig, uint32_t kind)
{
    struct msg *msg = post_ledger(rig, kind, false, 0);
    cr_assert_eq(rig_wait(rig, msg), ERR_OK);
    uint64_t value = msg->body.ledger.value;
    rig_put(rig, msg);
    return value;
}

/* ---- the commit cycle ---------------------------------------------------------------------------
 */

Test(shard, answers_a_write_only_after_the_commit_returned)
{
    struct rig *rig = rig_open();
    rig->is_commit_held = true;
    struct msg *msg = post_ledger(rig, LEDGER_EXPIRED_DAY, true, 7);
    rig_settle(rig);
    cr_expect_not(rig_is_home(rig, msg));
    cr_expect_eq(rig->held_count, 1);
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, msg), ERR_OK);
    rig_close(rig);
}

Test(shard, does_not_show_a_row_before_it_is_on_disk)
{
    struct rig *rig = rig_open();
    rig->is_commit_held = true;
    struct msg *write = post_ledger(rig, LEDGER_EXPIRED_DAY, true, 7);
    rig_settle(rig);
    struct msg *read = post_ledger(rig, LEDGER_EXPIRED_DAY, false, 0);
    rig_settle(rig);
    cr_expect_not(rig_is_home(rig, read), "it leans on the flying batch");
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, read), ERR_OK);
    cr_expect_eq(read->body.ledger.value, 7);
    cr_expect_eq(rig_wait(rig, write), ERR_OK);
    cr_expect_eq(rig->commit_count, 1, "waiting costs no commit of its own");
    rig_close(rig);
}

Test(shard, fails_with_a_batch_whoever_leaned_on_it)
{
    struct rig *rig = rig_open();
    rig->is_commit_held = true;
    struct msg *lost = post_ledger(rig, LEDGER_EXPIRED_DAY, true, 7);
    rig_settle(rig);
    struct msg *reader = post_ledger(rig, LEDGER_EXPIRED_DAY, false, 0);
    struct msg *younger = post_ledger(rig, 2, true, 9);
    rig_settle(rig);
    rig->fail_at = 1;
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, lost), ERR_STORAGE);
    cr_expect_eq(rig_wait(rig, reader), ERR_STORAGE);
    cr_expect_eq(rig_wait(rig, younger), ERR_STORAGE, "its rows may come from those lost");
    cr_expect_eq(read_ledger(rig, LEDGER_EXPIRED_DAY), 0);
    cr_expect_eq(read_ledger(rig, 2), 0);
    rig_close(rig);
}

Test(shard, works_again_after_a_batch_failed)
{
    struct rig *rig = rig_open();
    rig->fail_at = 1;
    cr_expect_eq(rig_wait(rig, post_ledger(rig, LEDGER_EXPIRED_DAY, true, 7)), ERR_STORAGE);
    cr_expect_eq(rig_wait(rig, post_ledger(rig, LEDGER_EXPIRED_DAY, true, 8)), ERR_OK);
    cr_expect_eq(read_ledger(rig, LEDGER_EXPIRED_DAY), 8);
    rig_close(rig);
}

Test(shard, gathers_what_arrives_during_a_commit_into_one_batch)
{
    struct rig *rig = rig_open();
    struct msg *msgs[20];
    rig->is_commit_held = true;
    for (uint32_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = post_ledger(rig, i + 1, true, i);
        rig_settle(rig);
    }
    rig_release_commits(rig);
    for (uint32_t i = 0; i < ARRAY_LEN(msgs); i++) {
        cr_expect_eq(rig_wait(rig, msgs[i]), ERR_OK);
    }
    cr_expect_eq(rig->commit_count, 2);
    rig_close(rig);
}

Test(shard, returns_answers_in_the_order_asked)
{
    struct rig *rig = rig_open();
    struct msg *msgs[10];
    for (uint32_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = post_ledger(rig, i + 1, true, i);
    }
    for (uint32_t i = 0; i < ARRAY_LEN(msgs); i++) {
        cr_expect_eq(rig_wait(rig, msgs[i]), ERR_OK);
        cr_expect_eq(rig->home[i], msgs[i]);
    }
    rig_close(rig);
}

Test(shard, stops_taking_messages_when_both_batches_are_full)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct msg *msgs[40];
    char *large = mem_zalloc(200 * KIB);
    memset(large, 'x', 200 * KIB);
    rig->is_commit_held = true;
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = rig_mail(rig, account, "a@example.com", "b@example.net");
        msgs[i]->body.send.html = slice_of(large, 100 * KIB);
        msgs[i]->body.send.text = SLICE("x");
    }
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        actor_post(rig_shard(rig, account), msgs[i]);
    }
    rig_settle(rig);
    struct shard *shard = rig_state(rig, account);
    cr_expect_not_null(shard->flying);
    cr_expect_lt(kv_batch_bytes(shard->filling->rows), BATCH_BYTES_MAX + MIB);
    rig_release_commits(rig);
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        cr_expect_eq(rig_wait(rig, msgs[i]), ERR_OK);
    }
    free(large);
    rig_close(rig);
}

Test(shard, holds_its_port_while_a_full_batch_waits)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct shard *shard = rig_state(rig, account);
    char *large = mem_zalloc(3 * MIB);
    memset(large, 'x', 3 * MIB);
    rig->is_commit_held = true;
    struct msg *msgs[12];
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = rig_mail(rig, account, "a@example.com", "b@example.net");
        msgs[i]->body.send.html = slice_of(large, i == 0 ? 10 : 3 * MIB);
        msgs[i]->body.send.text = SLICE("x");
        actor_post(rig_shard(rig, account), msgs[i]);
        rig_settle(rig);
    }
    cr_expect(shard->actor.is_held);
    struct msg *last = rig_mail(rig, account, "a@example.com", "b@example.net");
    actor_post(rig_shard(rig, account), last);
    rig_settle(rig);
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, last), ERR_OK);
    cr_expect_not(shard->actor.is_held);
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        cr_expect_eq(rig_wait(rig, msgs[i]), ERR_OK);
    }
    free(large);
    rig_close(rig);
}

Test(shard, lets_what_workers_made_wait_while_a_full_batch_waits)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct shard *shard = rig_state(rig, account);
    char *large = mem_zalloc(3 * MIB);
    memset(large, 'x', 3 * MIB);
    rig->is_commit_held = true;
    struct msg *msgs[12];
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = rig_mail(rig, account, "a@example.com", "b@example.net");
        msgs[i]->body.send.html = slice_of(large, 3 * MIB);
        msgs[i]->body.send.text = SLICE("x");
        actor_post(rig_shard(rig, account), msgs[i]);
    }
    rig_settle(rig);
    cr_expect_not_null(shard->flying);
    cr_expect_lt(kv_batch_bytes(shard->filling->rows), BATCH_BYTES_MAX + 5 * MIB);
    cr_expect_not(list_is_empty(&shard->ready_jobs));
    rig_release_commits(rig);
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        cr_expect_eq(rig_wait(rig, msgs[i]), ERR_OK);
    }
    cr_expect(list_is_empty(&shard->ready_jobs));
    free(large);
    rig_close(rig);
}

Test(shard, sheds_a_message_that_nobody_waits_for)
{
    struct rig *rig = rig_open();
    struct msg *msg = rig_take(rig, MSG_SHARD_LEDGER);
    msg->body.ledger = (struct shard_ledger){.kind = 1, .is_write = true, .value = 1};
    msg->expire_ms = 1;
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, msg), ERR_TIMEOUT);
    cr_expect_eq(read_ledger(rig, 1), 0);
    rig_close(rig);
}

Test(shard, keeps_the_ledger_in_deliverys_family_only)
{
    struct rig *rig = rig_open();
    struct msg *msg = rig_take(rig, MSG_SHARD_LEDGER);
    msg->body.ledger = (struct shard_ledger){.kind = 1};
    cr_expect_eq(rig_call(rig, rig->place.shards[0], msg), ERR_INVALID);
    struct msg *me = rig_take(rig, MSG_SHARD_ME);
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, me), ERR_INVALID);
    rig_close(rig);
}

Test(shard, keeps_the_ledger_over_a_restart)
{
    struct rig *rig = rig_open();
    cr_expect_eq(read_ledger(rig, LEDGER_EXPIRED_DAY), 0);
    cr_expect_eq(rig_wait(rig, post_ledger(rig, LEDGER_EXPIRED_DAY, true, 20000)), ERR_OK);
    rig_restart(rig);
    cr_expect_eq(read_ledger(rig, LEDGER_EXPIRED_DAY), 20000);
    rig_close(rig);
}

Test(shard, never_makes_an_older_id_after_a_restart_with_a_clock_set_back)
{
    struct rig *rig = rig_open();
    clock_set_fake(5000000, UINT64_C(1800000000000));
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct id before = rig_send(rig, account, "a@example.com", "b@example.net");
    clock_set_fake(6000000, UINT64_C(1700000000000));
    rig_restart(rig);
    struct id after = rig_send(rig, account, "a@example.com", "c@example.net");
    cr_expect_gt(memcmp(after.bytes, before.bytes, sizeof(after.bytes)), 0);
    cr_expect_gt(id_unix_ms(after), id_unix_ms(before));
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(shard, runs_with_the_real_committer)
{
    struct rig *rig = rig_open_with(true);
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net,c@example.org");
    cr_expect_eq(rig_entry(rig, mail, 0)->account.value, account.value);
    cr_expect_eq(rig_count(rig, account, key_prefix_deliveries(account, mail)), 2);
    rig_close(rig);
}

/* ---- no answer without a row --------------------------------------------------------------------
 */

/* Sends, claims and outcomes of a few mails, with the n-th commit refused. Whatever was answered
 * with ERR_OK must be in the store; whatever was refused must have left nothing. Returns how many
 * commits there were. */
static uint32_t run_flow(struct rig *rig, uint32_t fail_at)
{
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig->commit_count = 0;
    rig->fail_at = fail_at;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t outbox = rig_count(rig, account, key_prefix_outbox());
        struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
        msg->body.send.idempotency_key = i == 1 ? SLICE("") : SLICE("order-1");
        enum err err = rig_call(rig, rig_shard(rig, account), msg);
        struct id mail = msg->body.send.id;
        bool is_replay = msg->body.send.is_replay;
        rig_put(rig, msg);
        uint32_t grown = rig_count(rig, account, key_prefix_outbox()) - outbox;
        cr_expect(err == ERR_OK || err == ERR_STORAGE);
        cr_expect_eq(grown, err == ERR_OK && !is_replay ? 1 : 0, "fail at %u", fail_at);
        if (err != ERR_OK) {
            continue;
        }
        cr_expect(rig_has(rig, account, key_mail(account, mail)));
        cr_expect(rig_has(rig, account, key_delivery(account, mail, 0)));
        if (is_replay) {
            continue;
        }
        struct outbox_entry entry = *rig_entry(rig, mail, 0);
        while (rig_claim(rig, &entry) != ERR_OK) {
            cr_expect_not(rig_has(rig, account, key_attempt(account, mail, 0, 1)));
        }
        struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
        while (rig_outcome(rig, &entry, &verdict, 1, 0) != ERR_OK) {
            cr_expect_not(rig_has(rig, account, key_attempt(account, mail, 0, 1)),
                          "a refused outcome left an attempt");
        }
        cr_expect(rig_has(rig, account, key_attempt(account, mail, 0, 1)));
        cr_expect_not(
            rig_has(rig, account, key_outbox(entry.due_unix_ms, account, mail, entry.group)));
    }
    return rig->commit_count;
}

Test(shard, gives_no_good_answer_without_its_rows_whichever_commit_fails)
{
    struct rig *rig = rig_open();
    uint32_t commits = run_flow(rig, 0);
    cr_expect_geq(commits, 6);
    for (uint32_t n = 1; n <= commits + 1; n++) {
        (void)run_flow(rig, n);
    }
    rig_close(rig);
}

Test(shard, counts_what_was_stored_when_a_commit_between_fails)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig->conf.daily_max = 2;
    rig->commit_count = 0;
    rig->fail_at = 2;
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    struct msg *lost = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), lost), ERR_STORAGE);
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    struct msg *over = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), over), ERR_QUOTA);
    rig_close(rig);
}

/* ---- hints to delivery --------------------------------------------------------------------------
 */

/* Writes count outbox rows, due from first on, one a millisecond. */
static void write_outbox(struct rig *rig, struct account_id account, uint64_t first, uint32_t count,
                         uint64_t lease_until)
{
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, account));
    struct buf buf;
    buf_init(&buf, MIB);
    for (uint32_t i = 0; i < count; i++) {
        struct row_outbox row = {
            .domain = SLICE("example.net"),
            .rcpt_count = 1,
            .lease_boot = lease_until ? rig->place.boot : 0,
            .lease_until_unix_ms = lease_until,
        };
        struct key key =
            key_outbox(first + i, account, shard_id(rig_state(rig, account), account), 0);
        buf_clear(&buf);
        row_outbox_encode(&row, &buf);
        kv_batch_put(batch, key_slice(&key), buf_slice(&buf));
    }
    buf_fini(&buf);
    rig_write(rig, batch);
}

static void wait_entries(struct rig *rig, uint32_t count)
{
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (rig->entry_count < count && rig_seconds() < end) {
        rig_turn(rig);
    }
    rig_settle(rig);
}

Test(shard, announces_the_whole_outbox_at_boot_in_pages)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    uint32_t count = 3 * WAKE_ENTRIES_MAX + 17;
    write_outbox(rig, account, clock_unix_ms() - 5000, count, 0);
    rig_restart(rig);
    wait_entries(rig, count);
    cr_expect_eq(rig->entry_count, count);
    cr_expect_eq(rig->wake_count, 4);
    for (uint32_t i = 1; i < rig->entry_count; i++) {
        cr_assert_gt(rig->entries[i].due_unix_ms, rig->entries[i - 1].due_unix_ms);
    }
    cr_expect(slice_equal(rig->entries[0].domain, SLICE("example.net")));
    rig_close(rig);
}

Test(shard, announces_rows_that_were_leased_by_an_earlier_run)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    write_outbox(rig, account, clock_unix_ms(), 3, clock_unix_ms() + LEASE_MS);
    rig_restart(rig);
    wait_entries(rig, 3);
    cr_expect_eq(rig->entry_count, 3);
    rig_close(rig);
}

Test(shard, carries_on_from_what_a_full_schedule_did_not_take)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    uint64_t first = clock_unix_ms() - 5000;
    write_outbox(rig, account, first, 100, 0);
    rig->room = 40;
    rig_halt(rig);
    rig_boot(rig);
    wait_entries(rig, 40);
    cr_expect_eq(rig->entry_count, 40);
    rig->room = RIG_ENTRIES_MAX;
    rig_settle(rig);
    cr_expect_eq(rig->entry_count, 40, "it does not push into a full schedule at once");
    clock_set_fake(clock_mono_ms() + SCAN_RETRY_MS + 1, clock_unix_ms());
    wait_entries(rig, 100);
    cr_expect_eq(rig->entry_count, 100);
    cr_expect_eq(rig->entries[40].due_unix_ms, first + 40);
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(shard, tells_later_what_it_had_no_hint_for)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct shard *shard = rig_state(rig, account);
    struct msg *taken[SHARD_WAKE_MSGS];
    rig_settle(rig); /* the scan of the boot gives its hint back */
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        taken[i] = msg_take(&shard->actor, MSG_DELIVER_WAKE);
    }
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net");
    rig_settle(rig);
    cr_expect_eq(rig->entry_count, 0);
    cr_expect(shard->scan.is_owed);
    for (size_t i = 1; i < ARRAY_LEN(taken); i++) {
        msg_put(&shard->actor, taken[i]);
    }
    /* The last one comes home the usual way. */
    taken[0]->body.wake.entries = arena_array(&taken[0]->arena, 1, sizeof(struct outbox_entry));
    taken[0]->body.wake.entries[0].domain = SLICE("x");
    taken[0]->body.wake.entry_count = 1;
    actor_post(&rig->deliver, taken[0]);
    cr_expect_eq(rig_entry(rig, mail, 0)->account.value, account.value);
    rig_close(rig);
}

Test(shard, announces_again_what_is_long_overdue_and_held_by_nobody)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    uint64_t now = clock_unix_ms();
    rig_settle(rig);
    write_outbox(rig, account, now - 2 * SWEEP_MS, 2, 0);
    write_outbox(rig, account, now - 2 * SWEEP_MS + 100, 3, now + LEASE_MS);
    write_outbox(rig, account, now - 2 * SWEEP_MS + 200, 5, now - 1);
    write_outbox(rig, account, now + SWEEP_MS, 7, 0);
    clock_set_fake(clock_mono_ms() + SWEEP_MS + 1, now);
    wait_entries(rig, 7);
    cr_expect_eq(rig->entry_count, 7, "two free rows, five whose lease ran out");
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(shard, skips_a_damaged_outbox_row)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    write_outbox(rig, account, 1000, 2, 0);
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, account));
    struct key key = key_outbox(1001, account, (struct id){.bytes = {1}}, 0);
    kv_batch_put(batch, key_slice(&key), SLICE("\x01 no row at all"));
    rig_write(rig, batch);
    rig_restart(rig);
    wait_entries(rig, 2);
    cr_expect_eq(rig->entry_count, 2);
    rig_close(rig);
}

/* ---- drain and stop -----------------------------------------------------------------------------
 */

Test(shard, drains_when_its_batches_are_empty)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig->is_commit_held = true;
    struct msg *mail = rig_mail(rig, account, "a@example.com", "b@example.net");
    actor_post(rig_shard(rig, account), mail);
    rig_settle(rig);
    struct msg *drain = rig_take(rig, MSG_SHARD_CONTROL);
    drain->body.control.op = CONTROL_DRAIN;
    actor_post(rig_shard(rig, account), drain);
    rig_settle(rig);
    cr_expect_not(rig_is_home(rig, drain));
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, drain), ERR_OK);
    cr_expect_eq(rig_wait(rig, mail), ERR_OK);
    rig_close(rig);
}

Test(shard, takes_outcomes_but_no_mail_while_it_drains)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_control(rig, rig_shard(rig, account), CONTROL_DRAIN), ERR_OK);
    struct msg *late = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), late), ERR_DRAINING);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_expect_eq(rig_outcome(rig, &entry, &verdict, 1, 0), ERR_OK);
    rig_close(rig);
}

Test(shard, stops_only_after_its_hints_came_home)
{
    struct rig *rig = rig_open();
    struct shard *shard = rig->shards[0];
    rig_settle(rig);
    struct msg *wake = msg_take(&shard->actor, MSG_DELIVER_WAKE);
    wake->body.wake.entries = arena_array(&wake->arena, 1, sizeof(struct outbox_entry));
    wake->body.wake.entries[0].domain = SLICE("x");
    wake->body.wake.entry_count = 1;
    struct msg *stop = rig_take(rig, MSG_SHARD_CONTROL);
    stop->body.control.op = CONTROL_STOP;
    actor_post(&shard->actor, stop);
    rig_settle(rig);
    cr_expect_not(rig_is_home(rig, stop));
    actor_post(&rig->deliver, wake);
    cr_expect_eq(rig_wait(rig, stop), ERR_OK);
    /* The rest of a halt, without this shard. */
    cr_expect_eq(rig_control(rig, rig->place.shards[1], CONTROL_STOP), ERR_OK);
    cr_expect_eq(rig_control(rig, rig->place.deliver_shard, CONTROL_STOP), ERR_OK);
    rig_end(rig);
    rig_forget(rig);
}

Test(shard, refuses_work_before_it_was_started)
{
    struct rig *rig = rig_open();
    rig->shards[0]->is_started = false;
    struct msg *msg = rig_take(rig, MSG_SHARD_LOGIN);
    cr_expect_eq(rig_call(rig, rig->place.shards[0], msg), ERR_BUSY);
    rig->shards[0]->is_started = true;
    rig_close(rig);
}

/* ---- notes --------------------------------------------------------------------------------------
 */

static struct msg *note_msg(struct rig *rig, enum note_op op, const char *name)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_NOTE);
    msg->body.note = (struct shard_note){.op = op, .kind = NOTE_STS, .name = slice_str(name)};
    return msg;
}

static enum err put_note(struct rig *rig, const char *name, const char *value)
{
    struct msg *msg = note_msg(rig, NOTE_PUT, name);
    msg->body.note.value = slice_str(value);
    enum err err = rig_call(rig, rig->place.deliver_shard, msg);
    rig_put(rig, msg);
    return err;
}

Test(shard, keeps_notes_by_kind_and_name)
{
    struct rig *rig = rig_open();
    cr_expect_eq(put_note(rig, "example.com", "one"), ERR_OK);
    cr_expect_eq(put_note(rig, "example.com", "two"), ERR_OK);
    rig_restart(rig);
    struct msg *get = note_msg(rig, NOTE_GET, "example.com");
    cr_assert_eq(rig_call(rig, rig->place.deliver_shard, get), ERR_OK);
    cr_assert_eq(get->body.note.note_count, 1);
    cr_expect(slice_equal(get->body.note.notes[0].value, SLICE("two")));
    cr_expect_gt(get->body.note.notes[0].updated_unix_ms, 0);
    rig_put(rig, get);
    struct msg *other = note_msg(rig, NOTE_GET, "example.com");
    other->body.note.kind = NOTE_HOLD;
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, other), ERR_NOT_FOUND);
    rig_put(rig, other);
    struct msg *gone = note_msg(rig, NOTE_DELETE, "example.com");
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, gone), ERR_OK);
    rig_put(rig, gone);
    get = note_msg(rig, NOTE_GET, "example.com");
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, get), ERR_NOT_FOUND);
    rig_put(rig, get);
    rig_close(rig);
}

Test(shard, scans_notes_in_pages)
{
    struct rig *rig = rig_open();
    static const char *const names[] = {"a.example", "b.example", "c.example"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cr_expect_eq(put_note(rig, names[i], names[i]), ERR_OK);
    }
    rig_settle(rig);
    struct msg *page = note_msg(rig, NOTE_SCAN, "");
    page->body.note.limit = 2;
    cr_assert_eq(rig_call(rig, rig->place.deliver_shard, page), ERR_OK);
    cr_assert_eq(page->body.note.note_count, 2);
    cr_expect(slice_equal(page->body.note.notes[1].name, SLICE("b.example")));
    rig_put(rig, page);
    page = note_msg(rig, NOTE_SCAN, "b.example");
    page->body.note.limit = 2;
    cr_assert_eq(rig_call(rig, rig->place.deliver_shard, page), ERR_OK);
    cr_assert_eq(page->body.note.note_count, 1);
    cr_expect(slice_equal(page->body.note.notes[0].value, SLICE("c.example")));
    rig_put(rig, page);
    rig_close(rig);
}

Test(shard, refuses_notes_of_no_kind_and_elsewhere)
{
    struct rig *rig = rig_open();
    struct msg *msg = note_msg(rig, NOTE_GET, "a");
    msg->body.note.kind = NOTE_KIND_END;
    cr_expect_eq(rig_call(rig, rig->place.deliver_shard, msg), ERR_INVALID);
    rig_put(rig, msg);
    msg = note_msg(rig, NOTE_GET, "a");
    cr_expect_eq(rig_call(rig, rig->place.shards[0], msg), ERR_INVALID);
    rig_put(rig, msg);
    rig_close(rig);
}

/* The longest host that a URL may have, with scheme and port, is longer than a name. */
Test(shard, announces_a_webhook_whose_host_is_as_long_as_can_be)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    char url[DOMAIN_MAX + 32];
    arena_init(&arena, 4 * KIB, MIB);
    (void)snprintf(url, sizeof url, "https://%0*d:65535/x", DOMAIN_MAX, 1);
    (void)rig_domain(rig, account, "a.test");
    struct outbox_entry entry = {
        .due_unix_ms = 1,
        .account = account,
        .mail = {.bytes = {1, 2, 3}},
        .group = HOOK_GROUP,
        .domain = hook_origin(slice_str(url), &arena),
    };
    cr_assert_gt(entry.domain.len, DNS_NAME_MAX);
    shard_announce(rig_state(rig, account), &entry);
    (void)rig_send(rig, account, "a@a.test", "b@b.test"); /* the batch that it goes with */
    (void)rig_entry(rig, entry.mail, entry.group);
    arena_fini(&arena);
    rig_close(rig);
}
