/* The operator's hand on the queue: what is shown, and pause, resume, retry, expire.
 *
 * Not covered here: how a site admits (test_site), turns (test_sched), moves to another pool and
 * the whole daemon over a restart (tests/flow/test_queue.c). Time is the test's.
 */
#include "deliver/queue.h"
#include "unit/deliver/trip_rig.h"

#include <signal.h>

/* clang-format off */
#define MAIL {"MAIL FROM:<b@send.test>", "250 ok\r\n"}, {"RCPT TO:<r@dest.test>", "250 ok\r\n"}, \
    {"DATA", "354 go\r\n"}, {".", "250 2.0.0 queued\r\n"}
static const struct script_step one_mail[] = {
    {"", "220 mx.test ESMTP\r\n"}, {"EHLO", "250-mx.test\r\n250 PIPELINING\r\n"}, MAIL,
    {NULL, NULL}};
/* clang-format on */

static const struct fake_row here[] = {{.type = DNS_A, .name = "dest.test", .text = "127.0.0.1"}};

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
}

TestSuite(queue, .init = setup);

static void start(struct rig *rig)
{
    rig_init(rig, one_mail);
    rig_start(rig, here, ARRAY_LEN(here));
    control_and_wait(rig, CONTROL_START);
}

static struct site *site_of(struct rig *rig)
{
    return site_get(rig->deliver->sites, SLICE("dest.test"), NULL);
}

/* Asks, and waits for the answer, which stays until the next one. */
static const struct deliver_queue *ask_err(struct rig *rig, const struct deliver_queue *wanted,
                                           enum err err)
{
    if (rig->answer != NULL) {
        msg_put(&rig->shard, rig->answer);
        rig->answer = NULL;
    }
    struct msg *msg = msg_take(&rig->shard, MSG_DELIVER_QUEUE);
    cr_assert_not_null(msg);
    msg->body.queue = *wanted;
    actor_post(rig->place.deliver, msg);
    for (int i = 0; i < 200 && rig->answer == NULL; i++) {
        pass(rig, 1); /* a walk takes its turns */
    }
    cr_assert_not_null(rig->answer);
    cr_assert_eq(rig->answer->err, err, "%s: %.*s", err_info(rig->answer->err)->name,
                 SLICE_FMT(rig->answer->sentence));
    return &rig->answer->body.queue;
}

static const struct deliver_queue *ask(struct rig *rig, const struct deliver_queue *wanted)
{
    return ask_err(rig, wanted, ERR_OK);
}

static void end(struct rig *rig)
{
    if (rig->answer != NULL) {
        msg_put(&rig->shard, rig->answer);
    }
    rig_end(rig);
}

static const struct deliver_queue pause_site = {.op = QUEUE_PAUSE,
                                                .site = {"dest.test", 9},
                                                .reason = {"they asked", 10},
                                                .by = {"boss@x.test", 11}};
static const struct deliver_queue resume_site = {.op = QUEUE_RESUME, .site = {"dest.test", 9}};

/* ---- pause and resume ------------------------------------------------------------------------ */

Test(queue, a_paused_site_gets_nothing_until_it_is_resumed)
{
    struct rig rig;
    start(&rig);
    (void)site_of(&rig);
    (void)ask(&rig, &pause_site);
    cr_assert_str_eq(rig.note_name, "s|dest.test");
    uint64_t due_unix_ms = rig.unix_ms;
    wake(&rig, 1, due_unix_ms);
    settle(&rig);
    cr_assert_eq(rig.claims, 0);
    const struct deliver_queue *shown = ask(&rig, &(struct deliver_queue){.op = QUEUE_SITES});
    cr_assert_eq(shown->site_count, 1);
    cr_expect(shown->sites[0].is_held);
    cr_expect_eq(shown->sites[0].due[PRIORITY_TRANSACTIONAL], 1);
    cr_expect_eq(shown->sites[0].oldest_unix_ms, due_unix_ms);
    shown = ask(&rig, &(struct deliver_queue){.op = QUEUE_HOLDS});
    cr_assert_eq(shown->hold_count, 1);
    cr_expect(slice_equal(shown->holds[0].reason, SLICE("they asked")));
    cr_expect(slice_equal(shown->holds[0].by, SLICE("boss@x.test")));
    shown = ask(&rig, &resume_site);
    cr_expect_eq(shown->entries, 1);
    cr_expect_str_eq(rig.note_name, "", "the note is gone");
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_expect_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    (void)ask_err(&rig, &resume_site, ERR_NOT_FOUND);
    end(&rig);
}

Test(queue, a_pause_of_everything_lets_nothing_leave_until_it_is_resumed)
{
    static const struct deliver_queue pause = {
        .op = QUEUE_PAUSE, .is_all = true, .reason = {"a copy", 6}};
    static const struct deliver_queue resume = {.op = QUEUE_RESUME, .is_all = true};
    struct rig rig;
    start(&rig);
    (void)ask(&rig, &pause);
    cr_assert_str_eq(rig.note_name, "e|all");
    wake(&rig, 1, rig.unix_ms);
    settle(&rig);
    cr_assert_eq(rig.claims, 0);
    (void)ask_err(&rig, &resume_site, ERR_NOT_FOUND);
    (void)ask_err(&rig, &(struct deliver_queue){.op = QUEUE_EXPIRE, .is_all = true}, ERR_BAD_FIELD);
    (void)ask_err(&rig, &(struct deliver_queue){.op = QUEUE_PAUSE}, ERR_BAD_FIELD);
    const struct deliver_queue *shown = ask(&rig, &resume);
    cr_expect_eq(shown->entries, 1);
    cr_expect_str_eq(rig.note_name, "", "the note is gone");
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_expect_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    end(&rig);
}

Test(queue, holds_are_known_before_anything_leaves)
{
    struct rig rig;
    struct note note;
    char name[512];
    char bytes[2048];
    start(&rig);
    (void)site_of(&rig);
    (void)ask(&rig, &pause_site);
    memcpy(name, rig.note_name, sizeof name);
    memcpy(bytes, rig.note_bytes, sizeof bytes);
    note = (struct note){.name = slice_str(name), .value = slice_of(bytes, rig.note_len)};
    end(&rig);

    struct note notes[] = {note, {.name = SLICE("s|other"), .value = note.value}, note};
    notes[2].value.len -= 1; /* this and the one before are damaged */
    rig_init(&rig, one_mail);
    rig.notes = notes;
    rig.note_count = ARRAY_LEN(notes);
    rig_start(&rig, here, ARRAY_LEN(here));
    wake(&rig, 1, rig.unix_ms);
    control_and_wait(&rig, CONTROL_START);
    settle(&rig);
    cr_assert_eq(rig.claims, 0);
    cr_assert_eq(ask(&rig, &(struct deliver_queue){.op = QUEUE_HOLDS})->hold_count, 1);
    (void)ask(&rig, &resume_site);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    end(&rig);
}

Test(queue, a_pause_may_end_by_itself)
{
    struct rig rig;
    struct deliver_queue wanted = pause_site;
    start(&rig);
    (void)site_of(&rig);
    wanted.until_unix_ms = rig.unix_ms + 5000;
    (void)ask(&rig, &wanted);
    wake(&rig, 1, rig.unix_ms);
    pass(&rig, 3000);
    cr_assert_eq(rig.claims, 0);
    pass(&rig, 3000);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_expect_str_eq(rig.note_name, "");
    end(&rig);
}

Test(queue, an_account_is_paused_everywhere_or_at_one_site)
{
    struct rig rig;
    struct deliver_queue everywhere = {.op = QUEUE_PAUSE, .account = {ACCOUNT}};
    struct deliver_queue there = {
        .op = QUEUE_PAUSE, .account = {ACCOUNT}, .site = SLICE("dest.test")};
    start(&rig);
    (void)site_of(&rig);
    (void)ask(&rig, &everywhere);
    wake(&rig, 1, rig.unix_ms);
    settle(&rig);
    const struct deliver_queue *shown = ask(&rig, &(struct deliver_queue){.op = QUEUE_ACCOUNTS});
    cr_assert_eq(shown->account_count, 1);
    cr_expect_eq(shown->accounts[0].id.value, ACCOUNT);
    cr_expect_eq(shown->accounts[0].entries, 1);
    cr_expect_eq(shown->accounts[0].due, 1);
    cr_expect(shown->accounts[0].is_held);
    (void)ask(&rig, &there);
    everywhere.op = QUEUE_RESUME;
    (void)ask(&rig, &everywhere);
    settle(&rig);
    cr_assert_eq(rig.claims, 0, "it is still paused there");
    there.op = QUEUE_RESUME;
    (void)ask(&rig, &there);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    end(&rig);
}

Test(queue, what_was_claimed_already_is_given_back_by_a_pause)
{
    struct rig rig;
    rig_init(&rig, one_mail);
    set(&rig, "test_delivery_delay_ms", "1000");
    rig_start(&rig, here, ARRAY_LEN(here));
    control_and_wait(&rig, CONTROL_START);
    (void)site_of(&rig);
    wake(&rig, 1, rig.unix_ms);
    WAIT_FOR(&rig, rig.claims == 1);
    (void)ask(&rig, &pause_site);
    cr_assert_eq(rig.outcome_count, 0);
    pass(&rig, 1000);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_expect_eq(rig.outcomes[0].verdict_count, 0, "nothing was tried");
    cr_expect_gt(rig.outcomes[0].next_due_unix_ms, rig.unix_ms);
    end(&rig);
}

/* ---- retry and expire ------------------------------------------------------------------------ */

Test(queue, a_retry_makes_due_what_waits)
{
    struct rig rig;
    start(&rig);
    (void)ask(&rig, &(struct deliver_queue){.op = QUEUE_PAUSE, .account = {1}}); /* nobody's */
    wake(&rig, 1, rig.unix_ms + 3600000);
    settle(&rig);
    cr_assert_eq(rig.claims, 0);
    const struct deliver_queue *done =
        ask(&rig, &(struct deliver_queue){.op = QUEUE_RETRY, .account = {ACCOUNT}});
    cr_expect_eq(done->entries, 1);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_expect_geq(rig.outcomes[0].due_unix_ms, UNIX_MS + 3600000, "its row keeps its key");
    cr_expect_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    end(&rig);
}

Test(queue, a_retry_of_what_is_not_there_is_about_nothing)
{
    struct rig rig;
    start(&rig);
    (void)ask_err(&rig, &(struct deliver_queue){.op = QUEUE_RETRY, .site = SLICE("no.test")},
                  ERR_NOT_FOUND);
    (void)ask_err(&rig, &(struct deliver_queue){.op = QUEUE_EXPIRE}, ERR_BAD_FIELD);
    (void)ask_err(&rig, &(struct deliver_queue){.op = QUEUE_MOVE, .account = {ACCOUNT}},
                  ERR_BAD_FIELD);
    cr_expect_eq(
        ask(&rig, &(struct deliver_queue){.op = QUEUE_EXPIRE, .account = {ACCOUNT}})->entries, 0);
    end(&rig);
}

Test(queue, what_is_expired_bounces_though_its_site_is_paused)
{
    struct rig rig;
    start(&rig);
    (void)site_of(&rig);
    (void)ask(&rig, &pause_site);
    wake(&rig, 1, rig.unix_ms);           /* due, and held */
    wake(&rig, 2, rig.unix_ms + 3600000); /* waits */
    settle(&rig);
    const struct deliver_queue *done =
        ask(&rig, &(struct deliver_queue){.op = QUEUE_EXPIRE, .account = {ACCOUNT}});
    cr_expect_eq(done->entries, 2);
    WAIT_FOR(&rig, rig.outcome_count == 2);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(rig.outcomes[i].verdict.class, VERDICT_BOUNCED);
        cr_expect(rig.outcomes[i].verdict.is_given_up);
        cr_expect_str_eq(rig.outcomes[i].verdict.enhanced, "4.4.7");
        cr_expect_str_eq(rig.outcomes[i].verdict.text, "given up by the operator");
    }
    settle(&rig);
    cr_expect_eq(rig.deliver->sched.count, 0);
    end(&rig);
}

/* ---- pages ----------------------------------------------------------------------------------- */

static void wake_of(struct rig *rig, uint64_t account, uint16_t number)
{
    struct msg *msg = msg_take(&rig->shard, MSG_DELIVER_WAKE);
    cr_assert_not_null(msg);
    struct id_maker maker;
    id_maker_init(&maker, 0);
    struct outbox_entry *entry = arena_alloc(&msg->arena, sizeof *entry);
    *entry = (struct outbox_entry){
        .due_unix_ms = UNIX_MS + 3600000 + number,
        .account = {account},
        .mail = id_make(&maker, (struct account_id){account}, UNIX_MS + number),
        .domain = arena_dup(&msg->arena, SLICE("dest.test")),
    };
    msg->body.wake.entries = entry;
    msg->body.wake.entry_count = 1;
    actor_post(rig->place.deliver, msg);
    settle(rig);
}

Test(queue, accounts_come_in_pages_whatever_the_order_of_their_entries)
{
    static const uint64_t accounts[] = {9, 3, 7, 3, 1, 9, 5, 9, 1};
    struct rig rig;
    start(&rig);
    for (uint16_t i = 0; i < ARRAY_LEN(accounts); i++) {
        wake_of(&rig, accounts[i], i);
    }
    struct deliver_queue wanted = {.op = QUEUE_ACCOUNTS, .limit = 2};
    const struct deliver_queue *page = ask(&rig, &wanted);
    cr_assert_eq(page->account_count, 2);
    cr_expect_eq(page->accounts[0].id.value, 1);
    cr_expect_eq(page->accounts[0].entries, 2);
    cr_expect_eq(page->accounts[0].oldest_unix_ms, UNIX_MS + 3600000 + 4);
    cr_expect_eq(page->accounts[1].id.value, 3);
    cr_expect_eq(page->accounts[1].entries, 2);
    wanted.account = page->accounts[1].id;
    wanted.limit = 3;
    page = ask(&rig, &wanted);
    cr_assert_eq(page->account_count, 3);
    cr_expect_eq(page->accounts[0].id.value, 5);
    cr_expect_eq(page->accounts[2].id.value, 9);
    cr_expect_eq(page->accounts[2].entries, 3);
    cr_expect_eq(page->accounts[2].due, 0);
    end(&rig);
}

Test(queue, sites_come_in_pages_by_name)
{
    static const char *const names[] = {"d.test", "b.test", "fast|b.test", "a.test", "c.other"};
    struct rig rig;
    start(&rig);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)site_get(rig.deliver->sites, slice_str(names[i]), NULL);
    }
    struct deliver_queue wanted = {.op = QUEUE_SITES, .limit = 2};
    const struct deliver_queue *page = ask(&rig, &wanted);
    cr_assert_eq(page->site_count, 2);
    cr_expect(slice_equal(page->sites[0].name, SLICE("a.test")));
    cr_expect(slice_equal(page->sites[1].name, SLICE("b.test")));
    wanted.site = SLICE("c.other");
    wanted.limit = 9;
    page = ask(&rig, &wanted);
    cr_assert_eq(page->site_count, 2);
    cr_expect(slice_equal(page->sites[1].pool, SLICE("fast")));
    cr_expect(slice_equal(page->sites[1].group, SLICE("b.test")));
    wanted = (struct deliver_queue){.op = QUEUE_SITES, .search = SLICE("other")};
    page = ask(&rig, &wanted);
    cr_assert_eq(page->site_count, 1);
    end(&rig);
}

Test(queue, top_shows_the_sites_with_the_most_work_first)
{
    static const char *const names[] = {"a.test", "b.test", "c.test", "d.test"};
    struct rig rig;
    start(&rig);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)site_get(rig.deliver->sites, slice_str(names[i]), NULL);
    }
    site_hold(site_find(rig.deliver->sites, SLICE("c.test")));
    (void)site_of(&rig);
    (void)ask(&rig, &pause_site);
    wake(&rig, 1, rig.unix_ms);
    settle(&rig);
    const struct deliver_queue *top =
        ask(&rig, &(struct deliver_queue){.op = QUEUE_TOP, .limit = 3});
    cr_assert_eq(top->site_count, 3);
    cr_expect(slice_equal(top->sites[0].name, SLICE("dest.test")), "what is due");
    cr_expect(slice_equal(top->sites[1].name, SLICE("c.test")), "what is left alone");
    cr_expect(slice_equal(top->sites[2].name, SLICE("a.test")), "by name");
    (void)ask(&rig, &resume_site);
    end(&rig);
}

Test(queue, ages_say_how_long_everything_has_waited_and_how_long_it_will)
{
    struct rig rig;
    start(&rig);
    (void)site_of(&rig);
    (void)ask(&rig, &pause_site);
    wake(&rig, 1, rig.unix_ms);
    wake(&rig, 2, rig.unix_ms);
    wake(&rig, 3, rig.unix_ms + 200000);
    wake(&rig, 4, rig.unix_ms + 3000000);
    settle(&rig);
    const struct deliver_queue *shown = ask(&rig, &(struct deliver_queue){.op = QUEUE_AGES});
    const struct queue_ages *ages = shown->ages;
    cr_assert_eq(shown->entries, 4);
    cr_expect_eq(ages->due, 2);
    cr_expect_eq(ages->waiting, 2);
    cr_expect_eq(ages->open, 0);
    cr_expect_eq(ages->by_due[queue_step(200000)], 1);
    cr_expect_eq(ages->by_due[queue_step(3000000)], 1);
    cr_expect_eq(ages->by_age[queue_step(rig.unix_ms - UNIX_MS)], 4);
    cr_expect_eq(ages->oldest_unix_ms, id_unix_ms(mail_id(1)));
    shown = ask(&rig, &(struct deliver_queue){.op = QUEUE_AGES, .account = {ACCOUNT + 1}});
    cr_expect_eq(shown->entries, 0);
    shown = ask(&rig, &(struct deliver_queue){.op = QUEUE_AGES, .site = SLICE("dest.test")});
    cr_expect_eq(shown->entries, 4);
    (void)ask_err(&rig, &(struct deliver_queue){.op = QUEUE_AGES, .site = SLICE("x.test")},
                  ERR_NOT_FOUND);
    end(&rig);
}

Test(queue, steps_of_ages_hold_their_upper_ends)
{
    cr_expect_eq(queue_step(0), 0);
    cr_expect_eq(queue_step(60000), 0);
    cr_expect_eq(queue_step(60001), 1);
    cr_expect_eq(queue_step(UINT64_MAX / 2), QUEUE_STEPS - 1);
    cr_expect_eq(queue_step_s(0), 60);
    cr_expect_eq(queue_step_s(QUEUE_STEPS - 1), 0);
}
