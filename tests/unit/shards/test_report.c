/* test_report.c - reports that come to a return path: what they change, and what nobody can make
 * them change.
 *
 * Not covered here: how a report is read (mail/test_report_read), sessions
 * (tests/flow/test_bounces).
 */
#include "shards/report.h"
#include "unit/shards/receive_rig.h"

#include <stdio.h>

#define TIMEOUT 60

struct story {
    struct receiver to;
    struct arena arena;
    struct id mail;
};

/* A mail that was delivered to the comma-separated recipients, in one group when they share a
 * domain. */
static void story_send(struct story *story, const char *rcpts, bool is_delivered)
{
    struct rig *rig = story->to.rig;
    struct slice rest = slice_str(rcpts);
    struct msg *msg = rig_mail(rig, story->to.account, "a@example.com", "x@example.net");
    msg->body.send.to = arena_array(&msg->arena, 4, sizeof(*msg->body.send.to));
    msg->body.send.to_count = 0;
    while (rest.data != NULL) {
        struct addr *addr = &msg->body.send.to[msg->body.send.to_count++];
        cr_assert_eq(addr_parse(slice_cut(&rest, ','), &msg->arena, addr), ERR_OK);
    }
    cr_assert_eq(rig_call(rig, rig_shard(rig, story->to.account), msg), ERR_OK);
    story->mail = msg->body.send.id;
    uint32_t count = msg->body.send.to_count;
    rig_put(rig, msg);
    if (is_delivered) {
        struct outbox_entry entry = *rig_entry(rig, story->mail, 0);
        struct verdict verdicts[4];
        for (uint32_t i = 0; i < count; i++) {
            verdicts[i] = rig_verdict(VERDICT_DELIVERED, 250, "2.1.5");
        }
        cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
        cr_assert_eq(rig_outcome(rig, &entry, verdicts, count, 0), ERR_OK);
    }
}

static struct story story_open(const char *rcpts, bool is_delivered)
{
    struct story story = {.to = receiver_open()};
    arena_init(&story.arena, 64 * KIB, 64 * MIB);
    story_send(&story, rcpts, is_delivered);
    return story;
}

static void story_close(struct story *story)
{
    arena_fini(&story->arena);
    receiver_close(&story->to);
}

static struct row_mail mail_of(struct story *story)
{
    return received_row(&story->to, story->mail, &story->arena);
}

static struct row_delivery delivery_of(struct story *story, uint32_t index)
{
    return rig_get_delivery(story->to.rig, story->to.account,
                            key_delivery(story->to.account, story->mail, index), &story->arena);
}

static uint32_t events(struct story *story)
{
    return rig_count(story->to.rig, story->to.account,
                     key_prefix_events(story->to.account, story->mail));
}

static bool is_suppressed(struct story *story, const char *address)
{
    return rig_has(story->to.rig, story->to.account,
                   key_suppression(story->to.account, slice_str(address)));
}

static const char *token_of(struct story *story)
{
    struct slice local = return_path_local(rig_state(story->to.rig, story->to.account), story->mail,
                                           0, &story->arena);
    return arena_cstr(&story->arena, local);
}

static const char *path_of(struct story *story)
{
    return arena_cstr(&story->arena,
                      arena_format(&story->arena, "%s@bounces.example.com", token_of(story)));
}

static const char *dsn(struct story *story, const char *rcpt, const char *action,
                       const char *status)
{
    return arena_cstr(
        &story->arena,
        arena_format(&story->arena,
                     "From: MAILER-DAEMON@mx.example.net\r\nAuto-Submitted: auto-replied\r\n"
                     "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"
                     "\r\n--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
                     "Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; %s\r\n"
                     "Action: %s\r\nStatus: %s\r\nDiagnostic-Code: smtp; 550 %s as it is\r\n\r\n"
                     "--b--\r\n",
                     rcpt, action, status, status));
}

static const char *arf(struct story *story, const char *rcpt, const char *token)
{
    return arena_cstr(
        &story->arena,
        arena_format(&story->arena,
                     "From: fbl@example.net\r\n"
                     "Content-Type: multipart/report; report-type=feedback-report; boundary=f\r\n"
                     "\r\n--f\r\n\r\nspam\r\n--f\r\nContent-Type: message/feedback-report\r\n\r\n"
                     "Feedback-Type: abuse\r\nVersion: 1\r\nOriginal-Rcpt-To: %s\r\n\r\n"
                     "--f\r\nContent-Type: message/rfc822\r\n\r\nX-Meerkat-Token: %s\r\n\r\nbuy\r\n"
                     "--f--\r\n",
                     rcpt, token));
}

/* The report's own row. */
static struct row_mail bring(struct story *story, const char *rcpt, const char *report)
{
    struct msg *msg = receive_msg(&story->to, rcpt, slice_str(report));
    msg->body.inbound.sender = SLICE("");
    enum err err = receive_call(&story->to, msg);
    cr_assert_eq(err, ERR_OK, "%s", err_info(err)->name);
    struct id id = msg->body.inbound.id;
    rig_put(story->to.rig, msg);
    return received_row(&story->to, id, &story->arena);
}

static void expect_untouched(struct story *story, uint32_t events_before)
{
    cr_expect_eq(delivery_of(story, 0).status, DELIVERY_DELIVERED);
    cr_expect_eq(mail_of(story).status, MAIL_DELIVERED);
    cr_expect_eq(events(story), events_before);
    cr_expect_not(is_suppressed(story, "b@example.net"));
}

Test(report, a_notice_of_failure_bounces_what_was_delivered, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    uint32_t before = events(&story);
    struct row_mail report =
        bring(&story, path_of(&story), dsn(&story, "B@example.net", "failed", "5.1.1"));
    cr_expect(slice_equal(report.report, SLICE("dsn")));
    struct row_delivery row = delivery_of(&story, 0);
    cr_expect_eq(row.status, DELIVERY_BOUNCED);
    cr_expect_eq(row.last_code, 550);
    cr_expect(slice_equal(row.enhanced, SLICE("5.1.1")));
    cr_expect(slice_equal(row.bounce_class, SLICE("hard")));
    cr_expect(slice_equal(row.last_response, SLICE("as it is")));
    cr_expect_eq(mail_of(&story).status, MAIL_BOUNCED);
    cr_expect_eq(events(&story), before + 1);
    cr_expect(is_suppressed(&story, "b@example.net"));

    /* Once more, as another mail: nothing is left to bounce. */
    const char *again =
        arena_cstr(&story.arena, arena_format(&story.arena, "X-Again: yes\r\n%s",
                                              dsn(&story, "b@example.net", "failed", "5.1.1")));
    (void)bring(&story, path_of(&story), again);
    cr_expect_eq(events(&story), before + 1);
    story_close(&story);
}

Test(report, only_a_fault_of_the_address_suppresses_it, .timeout = TIMEOUT)
{
    static const struct {
        const char *status;
        const char *word;
        bool is_suppressed;
    } rows[] = {
        {"5.7.1", "policy", false},
        {"5.2.2", "mailbox_full", false},
        {"4.4.7", "soft", false},
        {"5.2.1", "inactive", true},
    };
    struct story story = story_open("x@example.net", true);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char rcpt[32];
        (void)snprintf(rcpt, sizeof(rcpt), "b%zu@example.net", i);
        story_send(&story, rcpt, true);
        (void)bring(&story, path_of(&story), dsn(&story, rcpt, "failed", rows[i].status));
        struct row_delivery row = delivery_of(&story, 0);
        cr_expect_eq(row.status, DELIVERY_BOUNCED);
        cr_expect(slice_equal(row.bounce_class, slice_str(rows[i].word)), "%s: %.*s",
                  rows[i].status, SLICE_FMT(row.bounce_class));
        cr_expect_eq(is_suppressed(&story, rcpt), rows[i].is_suppressed, "%s", rows[i].status);
    }
    story_close(&story);
}

Test(report, a_delay_is_news_and_nothing_else, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    uint32_t before = events(&story);
    (void)bring(&story, path_of(&story), dsn(&story, "b@example.net", "delayed", "4.4.1"));
    cr_expect_eq(events(&story), before + 1);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_DELIVERED);
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    (void)bring(&story, path_of(&story), dsn(&story, "b@example.net", "expanded", "2.0.0"));
    cr_expect_eq(events(&story), before + 1);
    story_close(&story);
}

Test(report, of_several_recipients_the_one_that_is_named_bounces, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net,c@example.net", true);
    (void)bring(&story, path_of(&story), dsn(&story, "nobody@example.net", "failed", "5.1.1"));
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED, "of two, neither is meant");
    (void)bring(&story, path_of(&story), dsn(&story, "c@example.net", "failed", "5.1.1"));
    for (uint32_t i = 0; i < 2; i++) {
        struct row_delivery row = delivery_of(&story, i);
        bool is_named = slice_equal(row.recipient, SLICE("c@example.net"));
        cr_expect_eq(row.status, is_named ? DELIVERY_BOUNCED : DELIVERY_DELIVERED);
    }
    cr_expect(is_suppressed(&story, "c@example.net"));
    cr_expect_not(is_suppressed(&story, "b@example.net"));
    cr_expect_not(is_suppressed(&story, "nobody@example.net"));
    story_close(&story);
}

Test(report, the_only_recipient_is_meant_whatever_its_address_has_become, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    (void)bring(&story, path_of(&story), dsn(&story, "box7@inner.example", "failed", "5.1.1"));
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_BOUNCED);
    cr_expect(is_suppressed(&story, "b@example.net"));
    cr_expect_not(is_suppressed(&story, "box7@inner.example"));
    story_close(&story);
}

Test(report, what_is_still_due_bounces_unless_it_is_being_tried, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", false);
    struct outbox_entry entry = *rig_entry(story.to.rig, story.mail, 0);
    cr_assert_eq(rig_claim(story.to.rig, &entry), ERR_OK);
    const char *report = dsn(&story, "b@example.net", "failed", "5.1.1");
    struct msg *msg = receive_msg(&story.to, path_of(&story), slice_str(report));
    cr_expect_eq(receive_call(&story.to, msg), ERR_BUSY, "it comes again");
    rig_put(story.to.rig, msg);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_PENDING);

    struct verdict verdict = rig_verdict(VERDICT_DEFERRED, 451, "4.3.0");
    uint64_t later = clock_unix_ms() + 60000;
    cr_assert_eq(rig_outcome(story.to.rig, &entry, &verdict, 1, later), ERR_OK);
    (void)bring(&story, path_of(&story), report);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_BOUNCED);
    cr_expect_eq(mail_of(&story).status, MAIL_BOUNCED);
    cr_expect_eq(mail_of(&story).open_count, 0);
    entry.due_unix_ms = later;
    cr_expect_eq(rig_claim(story.to.rig, &entry), ERR_NOT_FOUND, "nobody is left");
    story_close(&story);
}

Test(report, a_complaint_counts_once_and_suppresses, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net,c@example.net", true);
    uint32_t before = events(&story);
    struct row_mail report =
        bring(&story, path_of(&story), arf(&story, "b@example.net", token_of(&story)));
    cr_expect(slice_equal(report.report, SLICE("arf")));
    cr_expect_eq(events(&story), before + 1);
    for (uint32_t i = 0; i < 2; i++) {
        struct row_delivery row = delivery_of(&story, i);
        cr_expect_eq(row.has_complained, slice_equal(row.recipient, SLICE("b@example.net")));
        cr_expect_eq(row.status, DELIVERY_DELIVERED, "it did arrive");
    }
    struct row_suppression row = rig_get_suppression(
        story.to.rig, story.to.account, key_suppression(story.to.account, SLICE("b@example.net")),
        &story.arena);
    cr_expect_eq(row.reason, SUPPRESSION_COMPLAINT);
    cr_expect(id_equal(row.mail, story.mail));
    (void)bring(&story, path_of(&story), arf(&story, "B@EXAMPLE.net", token_of(&story)));
    cr_expect_eq(events(&story), before + 1);
    cr_expect_not(is_suppressed(&story, "c@example.net"));
    story_close(&story);
}

Test(report, a_complaint_that_hides_the_address_is_of_the_only_recipient, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    (void)bring(&story, path_of(&story), arf(&story, "<redacted>", "none"));
    cr_expect(delivery_of(&story, 0).has_complained);
    story_send(&story, "c@example.net,d@example.net", true);
    uint32_t before = events(&story);
    (void)bring(&story, path_of(&story), arf(&story, "<redacted>", token_of(&story)));
    cr_expect_eq(events(&story), before);
    story_close(&story);
}

Test(report, what_is_forged_changes_nothing, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    uint32_t before = events(&story);
    char forged[256];
    (void)snprintf(forged, sizeof(forged), "%s", path_of(&story));
    char *check = strchr(forged, '@') - 1;
    *check = *check == '0' ? '1' : '0';
    cr_expect_eq(receive_rcpt(&story.to, forged), ERR_NOT_FOUND);
    const char *report = dsn(&story, "b@example.net", "failed", "5.1.1");
    struct row_mail row = bring(&story, forged, report); /* had an edge taken it */
    cr_expect_eq(row.report.len, 0, "it is ordinary mail");
    (void)bring(&story, "info@example.com", report);
    (void)bring(&story, "info@example.com", arf(&story, "b@example.net", token_of(&story)));
    expect_untouched(&story, before);

    /* A path of another mail does not lend itself to this one's recipients. */
    struct id other = rig_send(story.to.rig, story.to.account, "a@example.com", "z@example.net");
    struct slice local =
        return_path_local(rig_state(story.to.rig, story.to.account), other, 9, &story.arena);
    const char *path = arena_cstr(
        &story.arena, arena_format(&story.arena, "%.*s@bounces.example.com", SLICE_FMT(local)));
    forged[0] = 'b';
    *strchr(forged, '@') = '\0';
    (void)bring(&story, path, dsn(&story, "b@example.net", "failed", "5.1.2"));
    (void)bring(&story, path, arf(&story, "b@example.net", forged));
    expect_untouched(&story, before);
    story_close(&story);
}

Test(report, a_machine_that_answers_is_noted_and_ignored, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    uint32_t before = events(&story);
    struct row_mail row =
        bring(&story, path_of(&story),
              "From: b@example.net\r\nAuto-Submitted: auto-replied\r\n\r\nAway.\r\n");
    cr_expect(slice_equal(row.report, SLICE("auto-reply")));
    expect_untouched(&story, before);
    row = bring(&story, "info@example.com",
                "From: b@example.net\r\nAuto-Submitted: auto-replied\r\n\r\nStill away.\r\n");
    cr_expect_eq(row.report.len, 0);
    story_close(&story);
}

Test(report, calls_no_route_of_received_mail, .timeout = TIMEOUT)
{
    struct story story = story_open("b@example.net", true);
    (void)receive_route(&story.to, "/./", ROUTE_WEBHOOK, "https://hook.example.net/");
    struct row_mail row =
        bring(&story, path_of(&story), dsn(&story, "b@example.net", "delayed", "4.4.1"));
    cr_expect_eq(row.hook_count, 0);
    row =
        received_row(&story.to, receive(&story.to, "info@example.com", RECEIVE_MAIL), &story.arena);
    cr_expect_eq(row.hook_count, 1);
    story_close(&story);
}
