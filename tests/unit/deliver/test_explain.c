/* Where an outbox row stands in the schedule, as DELIVER_EXPLAIN tells it.
 *
 * Not covered here: what is made of it in words (tests/unit/edge/test_explain_words.c); real
 * servers (tests/flow/test_explain.c). Time is the test's.
 */
#include "deliver/explain.h"
#include "unit/deliver/trip_rig.h"

#include <signal.h>

/* clang-format off */
static const struct script_step one_mail[] = {
    {"", "220 mx.test ESMTP\r\n"}, {"EHLO", "250-mx.test\r\n250 PIPELINING\r\n"},
    {"MAIL FROM:<b@send.test>", "250 ok\r\n"}, {"RCPT TO:<r@dest.test>", "250 ok\r\n"},
    {"DATA", "354 go\r\n"}, {".", "250 2.0.0 queued\r\n"}, {NULL, NULL}};
/* clang-format on */

static const struct fake_row here[] = {{.type = DNS_A, .name = "dest.test", .text = "127.0.0.1"}};

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
}

TestSuite(explain, .init = setup);

static void start(struct rig *rig)
{
    rig_init(rig, one_mail);
    rig_start(rig, here, ARRAY_LEN(here));
    control_and_wait(rig, CONTROL_START);
}

static void let_go(struct rig *rig)
{
    if (rig->answer != NULL) {
        msg_put(&rig->shard, rig->answer);
        rig->answer = NULL;
    }
}

static const struct explain_entry *ask(struct rig *rig, uint16_t number)
{
    let_go(rig);
    struct msg *msg = msg_take(&rig->shard, MSG_DELIVER_EXPLAIN);
    cr_assert_not_null(msg);
    struct explain_entry *entry = arena_alloc(&msg->arena, sizeof *entry);
    *entry = (struct explain_entry){.domain = SLICE("dest.test")};
    msg->body.explain =
        (struct deliver_explain){.mail = mail_id(number), .entries = entry, .entry_count = 1};
    actor_post(rig->place.deliver, msg);
    for (int i = 0; i < 200 && rig->answer == NULL; i++) {
        pass(rig, 0);
    }
    cr_assert_not_null(rig->answer);
    cr_assert_eq(rig->answer->err, ERR_OK);
    cr_assert(rig->answer->body.explain.is_open);
    return &rig->answer->body.explain.entries[0];
}

static void end(struct rig *rig)
{
    let_go(rig);
    rig_end(rig);
}

/* Nobody has sent there yet, or it would be known by other means. */
static struct site *site_of(struct rig *rig)
{
    return site_get(rig->deliver->sites, SLICE("dest.test"), NULL);
}

Test(explain, what_is_not_in_memory_is_absent_and_its_site_is_shown_all_the_same)
{
    struct rig rig;
    start(&rig);
    const struct explain_entry *entry = ask(&rig, 1);
    cr_expect_eq(entry->where, EXPLAIN_ABSENT);
    cr_expect_not(entry->has_site, "nothing of its domain is in memory");
    wake(&rig, 2, rig.unix_ms + 5000);
    settle(&rig);
    entry = ask(&rig, 2);
    cr_expect_eq(entry->where, EXPLAIN_WAITING);
    cr_expect_eq(entry->ready_unix_ms, rig.unix_ms + 5000);
    cr_expect_eq(ask(&rig, 1)->where, EXPLAIN_ABSENT);
    end(&rig);
}

Test(explain, who_stands_in_line_is_told_how_many_go_before)
{
    struct rig rig;
    start(&rig);
    site_hold(site_of(&rig));
    for (uint16_t i = 1; i <= 3; i++) {
        wake(&rig, i, rig.unix_ms);
        settle(&rig);
    }
    const struct explain_entry *entry = ask(&rig, 3);
    cr_assert_eq(entry->where, EXPLAIN_DUE);
    cr_expect_eq(entry->ahead, 2);
    cr_expect_not(entry->is_ahead_more);
    cr_expect(entry->has_site);
    cr_expect(slice_equal(entry->site.name, SLICE("dest.test")));
    cr_expect_eq(ask(&rig, 1)->ahead, 0);
    cr_expect_eq(ask(&rig, 9)->where, EXPLAIN_ABSENT);
    cr_expect(ask(&rig, 9)->has_site, "by its domain, of which others wait");
    end(&rig);
}

Test(explain, a_try_under_way_is_told_with_its_host_and_step)
{
    struct rig rig;
    rig_init(&rig, one_mail);
    rig.holds_outcome = true;
    rig_start(&rig, here, ARRAY_LEN(here));
    control_and_wait(&rig, CONTROL_START);
    wake(&rig, 1, rig.unix_ms);
    WAIT_FOR(&rig, rig.held_outcome != NULL);
    const struct explain_entry *entry = ask(&rig, 1);
    cr_expect_eq(entry->where, EXPLAIN_TRIED);
    cr_expect_eq(entry->step, EXPLAIN_STEP_OUTCOME);
    cr_expect_neq(entry->since_unix_ms, 0);
    msg_return(rig.held_outcome, ERR_OK);
    rig.held_outcome = NULL;
    settle(&rig);
    cr_expect_eq(ask(&rig, 1)->where, EXPLAIN_ABSENT);
    end(&rig);
}
