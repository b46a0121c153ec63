/* test_schedule.c - mails that wait: accepted, taken back, moved, and their time come.
 *
 * Not covered here: how a time is written (tests/unit/edge), the daemon killed while mails wait
 * (tests/flow/test_schedule.c), delivery itself.
 */
#include "unit/shards/shard_rig.h"

#define HOUR_MS (UINT64_C(3600) * 1000)

struct story {
    struct rig *rig;
    struct arena arena;
    struct account_id account;
    struct id mail;
    uint64_t due;
};

static struct story story_open(const char *to, uint64_t ahead_ms)
{
    struct story story = {.rig = rig_open()};
    arena_init(&story.arena, 64 * KIB, 32 * MIB);
    story.account = rig_signup(story.rig);
    (void)rig_domain(story.rig, story.account, "example.com");
    story.due = clock_unix_ms() + ahead_ms;
    struct msg *msg = rig_mail(story.rig, story.account, "a@example.com", to);
    msg->body.send.scheduled_unix_ms = story.due;
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    story.mail = msg->body.send.id;
    cr_expect(msg->body.send.is_scheduled);
    rig_put(story.rig, msg);
    return story;
}

static void story_close(struct story *story)
{
    arena_fini(&story->arena);
    rig_close(story->rig);
}

static struct row_mail mail_of(struct story *story)
{
    return rig_get_mail(story->rig, story->account, key_mail(story->account, story->mail),
                        &story->arena);
}

static struct row_delivery delivery_of(struct story *story, uint32_t index)
{
    return rig_get_delivery(story->rig, story->account,
                            key_delivery(story->account, story->mail, index), &story->arena);
}

static bool has_outbox(struct story *story, uint64_t due, uint32_t group)
{
    return rig_has(story->rig, story->account, key_outbox(due, story->account, story->mail, group));
}

static struct outbox_entry entry_of(struct story *story, uint32_t group)
{
    return (struct outbox_entry){
        .due_unix_ms = story->due,
        .account = story->account,
        .mail = story->mail,
        .group = group,
        .domain = SLICE("example.net"),
    };
}

static enum err change(struct story *story, enum schedule_op op, uint64_t due)
{
    struct msg *msg = rig_take(story->rig, MSG_SHARD_SCHEDULE);
    msg->body.schedule = (struct shard_schedule){
        .caller = rig_key_caller(story->account, RIGHT_MAIL_SEND),
        .op = op,
        .id = story->mail,
        .due_unix_ms = due,
    };
    enum err err = rig_call(story->rig, rig_shard(story->rig, story->account), msg);
    rig_put(story->rig, msg);
    return err;
}

static void suppress(struct story *story, const char *email)
{
    struct row_suppression row = {.email = slice_str(email)};
    rig_set_suppression(story->rig, story->account, key_suppression(story->account, row.email),
                        &row);
}

static bool has_event(struct story *story, const char *type, const char *recipient)
{
    struct key from = key_prefix_events(story->account, story->mail);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(story->rig->kv, place_shard_index(RIG_SHARDS, story->account),
                     key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    bool is_found = false;
    while (kv_iter_next(iter, &key, &value)) {
        struct row_event row;
        cr_assert_eq(row_event_decode(value, &row), ERR_OK);
        is_found = is_found || (slice_equal(row.type, slice_str(type)) &&
                                slice_equal(row.recipient, slice_str(recipient)));
    }
    kv_iter_close(iter);
    return is_found;
}

/* ---- accepting ------------------------------------------------------------------------------ */

Test(schedule, stores_a_mail_that_is_due_later_under_the_date_of_then)
{
    struct story story = story_open("b@example.net,c@example.org", 10 * 60000);
    struct row_mail mail = mail_of(&story);
    char date[CLOCK_TEXT_MAX];
    size_t len = clock_rfc5322(story.due, date);
    struct row_chunk chunk = rig_get_chunk(story.rig, story.account,
                                           key_chunk(story.account, story.mail, 0), &story.arena);
    cr_expect_eq(mail.status, MAIL_SCHEDULED);
    cr_expect_eq(mail.scheduled_unix_ms, story.due);
    cr_expect_eq(mail.open_count, 2);
    cr_expect_neq(slice_find(chunk.data, slice_of(date, len)), SIZE_MAX);
    for (uint32_t i = 0; i < 2; i++) {
        cr_expect_eq(delivery_of(&story, i).status, DELIVERY_SCHEDULED);
        cr_expect_eq(delivery_of(&story, i).next_attempt_unix_ms, story.due);
        cr_expect(has_outbox(&story, story.due, i));
        cr_expect_eq(rig_entry(story.rig, story.mail, i)->due_unix_ms, story.due);
    }
    cr_expect(has_event(&story, "email.scheduled", ""));
    cr_expect_not(has_event(&story, "email.sent", ""));
    story_close(&story);
}

Test(schedule, sends_what_is_asked_for_within_a_second_or_in_the_past_now)
{
    static const int64_t away_ms[] = {-5000, 0, 900};
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    for (size_t i = 0; i < ARRAY_LEN(away_ms); i++) {
        struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
        msg->body.send.scheduled_unix_ms = (uint64_t)((int64_t)clock_unix_ms() + away_ms[i]);
        cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
        cr_expect_not(msg->body.send.is_scheduled);
        struct outbox_entry *entry = rig_entry(rig, msg->body.send.id, 0);
        cr_expect_leq(entry->due_unix_ms, clock_unix_ms());
        rig_put(rig, msg);
    }
    rig_close(rig);
}

Test(schedule, tells_delivery_of_a_mail_only_when_its_hour_comes_near)
{
    clock_set_fake(1000, UINT64_C(1700000000000));
    struct story story = story_open("b@example.net", 48 * HOUR_MS);
    rig_settle(story.rig);
    cr_expect_eq(story.rig->offered_count, 0);
    cr_expect(has_outbox(&story, story.due, 0));
    clock_set_fake(1000 + 24 * HOUR_MS, UINT64_C(1700000000000) + 24 * HOUR_MS);
    rig_settle(story.rig);
    cr_expect_eq(story.rig->offered_count, 0);
    clock_set_fake(1000 + 47 * HOUR_MS + 1, UINT64_C(1700000000000) + 47 * HOUR_MS + 1);
    cr_expect_eq(rig_entry(story.rig, story.mail, 0)->due_unix_ms, story.due);
    cr_expect_eq(story.rig->offered_count, 1);
    story_close(&story);
}

Test(schedule, is_announced_after_a_restart)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    rig_restart(story.rig);
    cr_expect_eq(rig_entry(story.rig, story.mail, 0)->due_unix_ms, story.due);
    story_close(&story);
}

/* ---- taking back ---------------------------------------------------------------------------- */

Test(schedule, takes_a_mail_back_and_leaves_nothing_due)
{
    struct story story = story_open("b@example.net,c@example.org", 10 * 60000);
    cr_assert_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_OK);
    struct row_mail mail = mail_of(&story);
    cr_expect_eq(mail.status, MAIL_CANCELLED);
    cr_expect_eq(mail.open_count, 0);
    cr_expect_eq(rig_count(story.rig, story.account, key_prefix_outbox()), 0);
    cr_expect_eq(delivery_of(&story, 1).status, DELIVERY_FAILED);
    cr_expect(has_event(&story, "email.cancelled", ""));
    struct outbox_entry entry = entry_of(&story, 0);
    cr_expect_eq(rig_claim(story.rig, &entry), ERR_NOT_FOUND);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_CONFLICT, "once is enough");
    cr_expect_eq(change(&story, SCHEDULE_MOVE, story.due), ERR_CONFLICT);
    story_close(&story);
}

Test(schedule, takes_a_queued_mail_back_until_it_is_claimed)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    story.mail = rig_send(story.rig, story.account, "a@example.com", "b@example.net");
    cr_assert_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_OK);
    cr_expect_eq(mail_of(&story).status, MAIL_CANCELLED);
    story.mail = rig_send(story.rig, story.account, "a@example.com", "b@example.net");
    struct outbox_entry entry = *rig_entry(story.rig, story.mail, 0);
    cr_assert_eq(rig_claim(story.rig, &entry), ERR_OK);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_CONFLICT);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_outcome(story.rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_CONFLICT);
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    story_close(&story);
}

Test(schedule, takes_nothing_back_that_a_run_which_crashed_may_have_sent)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    struct outbox_entry entry = entry_of(&story, 0);
    cr_assert_eq(rig_claim(story.rig, &entry), ERR_OK);
    rig_restart(story.rig);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_CONFLICT);
    story_close(&story);
}

Test(schedule, loses_the_cancel_whole_when_its_batch_is_lost)
{
    struct story story = story_open("b@example.net,c@example.org", 10 * 60000);
    story.rig->fail_at = story.rig->commit_count + 1;
    cr_assert_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_STORAGE);
    cr_expect_eq(mail_of(&story).status, MAIL_SCHEDULED);
    cr_expect(has_outbox(&story, story.due, 0));
    cr_expect(has_outbox(&story, story.due, 1));
    cr_assert_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_OK);
    story_close(&story);
}

Test(schedule, hides_what_is_not_the_callers)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    struct account_id mine = story.account;
    struct id mail = story.mail;
    story.account = rig_signup(story.rig);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_NOT_FOUND);
    story.account = mine;
    story.mail = id_random();
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_NOT_FOUND);
    story.mail = mail;
    rig_set_key(story.rig, story.account, MODE_TEST, SLICE(""));
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_NOT_FOUND, "live, to a test key");
    story_close(&story);
}

Test(schedule, leaves_alone_what_the_key_may_not_send)
{
    static const struct {
        struct slice pattern;
        enum err err;
    } cases[] = {
        {SLICE_INIT("b"), ERR_KEY_SCOPE}, /* the mail is from a@ */
        {SLICE_INIT("a*"), ERR_OK},
    };
    struct story story = story_open("b@example.net", 10 * 60000);
    struct caller caller = rig_key_caller(story.account, RIGHT_NONE);
    struct buf pack;
    buf_init(&pack, 64);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&pack);
        buf_put_slice(&pack, cases[i].pattern);
        struct row_api_key row = {
            .id = shard_id(rig_state(story.rig, story.account), story.account),
            .addresses = buf_slice(&pack),
            .is_enabled = true,
            .last_used_unix_ms = clock_unix_ms(),
        };
        struct key key = key_api_key(story.account, &caller.key_hash);
        rig_set_api_key(story.rig, story.account, key, &row);
        cr_expect_eq(change(&story, SCHEDULE_MOVE, story.due), cases[i].err);
        cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), cases[i].err);
    }
    buf_fini(&pack);
    story_close(&story);
}

/* ---- moving --------------------------------------------------------------------------------- */

Test(schedule, moves_a_mail_with_its_date)
{
    struct story story = story_open("b@example.net,c@example.org", 10 * 60000);
    uint64_t old = story.due;
    struct row_mail before = mail_of(&story);
    story.due += 5 * HOUR_MS;
    cr_assert_eq(change(&story, SCHEDULE_MOVE, story.due), ERR_OK);
    struct row_mail mail = mail_of(&story);
    char date[CLOCK_TEXT_MAX];
    size_t len = clock_rfc5322(story.due, date);
    struct row_chunk chunk = rig_get_chunk(story.rig, story.account,
                                           key_chunk(story.account, story.mail, 0), &story.arena);
    cr_expect_eq(chunk.data.len, mail.size_bytes);
    cr_expect_eq(mail.header_len, before.header_len);
    cr_expect_eq(slice_find(chunk.data, slice_of(date, len)), sizeof("Date: ") - 1);
    cr_expect_eq(mail.scheduled_unix_ms, story.due);
    for (uint32_t i = 0; i < 2; i++) {
        cr_expect_not(has_outbox(&story, old, i));
        cr_expect(has_outbox(&story, story.due, i));
        cr_expect_eq(delivery_of(&story, i).next_attempt_unix_ms, story.due);
    }
    struct outbox_entry entry = entry_of(&story, 0);
    entry.due_unix_ms = old;
    cr_expect_eq(rig_claim(story.rig, &entry), ERR_NOT_FOUND);
    cr_assert_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_OK, "it can be taken back still");
    story_close(&story);
}

Test(schedule, moves_nothing_that_does_not_wait)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    story.mail = rig_send(story.rig, story.account, "a@example.com", "b@example.net");
    cr_expect_eq(change(&story, SCHEDULE_MOVE, story.due), ERR_CONFLICT);
    story_close(&story);
}

Test(schedule, looks_at_recipients_however_many_webhooks_were_told)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    struct key key = key_mail(story.account, story.mail);
    struct row_mail mail = mail_of(&story);
    mail.hook_count = SCHEDULE_HOOKS_MAX - 1;
    mail.delivery_count += mail.hook_count;
    rig_set_mail(story.rig, story.account, key, &mail);
    story.due += HOUR_MS;
    cr_expect_eq(change(&story, SCHEDULE_MOVE, story.due), ERR_OK);
    mail = mail_of(&story);
    mail.hook_count++;
    mail.delivery_count++;
    rig_set_mail(story.rig, story.account, key, &mail);
    cr_expect_eq(change(&story, SCHEDULE_MOVE, story.due + HOUR_MS), ERR_CONFLICT);
    cr_expect_eq(mail_of(&story).scheduled_unix_ms, story.due);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_OK);
    cr_expect_eq(mail_of(&story).status, MAIL_CANCELLED);
    story_close(&story);
}

/* ---- due ------------------------------------------------------------------------------------ */

Test(schedule, is_sent_as_any_other_once_it_is_claimed)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    struct outbox_entry entry = entry_of(&story, 0);
    cr_assert_eq(rig_claim(story.rig, &entry), ERR_OK);
    cr_expect_eq(mail_of(&story).status, MAIL_QUEUED);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_PENDING);
    cr_expect(has_event(&story, "email.sent", ""));
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_outcome(story.rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    story_close(&story);
}

Test(schedule, leaves_out_who_was_suppressed_since)
{
    struct story story = story_open("b@example.net,c@example.net", 10 * 60000);
    suppress(&story, "b@example.net");
    struct outbox_entry entry = entry_of(&story, 0);
    struct msg *msg = rig_claim_msg(story.rig, &entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    cr_assert_eq(msg->body.claim.rcpt_count, 1);
    cr_expect(slice_equal(msg->body.claim.rcpts[0], SLICE("c@example.net")));
    rig_put(story.rig, msg);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_SUPPRESSED);
    cr_expect_eq(mail_of(&story).open_count, 1);
    cr_expect(has_event(&story, "email.failed", "b@example.net"));
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_outcome(story.rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    story_close(&story);
}

Test(schedule, sends_nothing_when_everybody_was_suppressed_since)
{
    struct story story = story_open("b@example.net", 10 * 60000);
    suppress(&story, "b@example.net");
    struct outbox_entry entry = entry_of(&story, 0);
    cr_assert_eq(rig_claim(story.rig, &entry), ERR_NOT_FOUND);
    rig_settle(story.rig);
    cr_expect_eq(mail_of(&story).status, MAIL_SUPPRESSED);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_SUPPRESSED);
    cr_expect_eq(change(&story, SCHEDULE_CANCEL, 0), ERR_CONFLICT, "there is nothing to cancel");
    cr_expect_eq(mail_of(&story).open_count, 0);
    cr_expect_eq(rig_count(story.rig, story.account, key_prefix_outbox()), 0);
    story_close(&story);
}
