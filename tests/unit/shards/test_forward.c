/* test_forward.c - received mail that a route sends on: to whom, as what, and when it is not.
 *
 * Not covered here: sessions on either side (tests/flow/test_forward.c), what delivery does with a
 * claim (tests/unit/deliver), patterns (tests/unit/mail/test_match.c).
 */
#include "shards/forward.h"
#include "unit/shards/receive_rig.h"

#define TIMEOUT 60

struct story {
    struct receiver to;
    struct arena arena;
};

static struct story story_open(const char *pattern, const char *destination)
{
    struct story story = {.to = receiver_open()};
    arena_init(&story.arena, 64 * KIB, 16 * MIB);
    (void)receive_route(&story.to, pattern, ROUTE_FORWARD, destination);
    return story;
}

static void story_close(struct story *story)
{
    arena_fini(&story->arena);
    receiver_close(&story->to);
}

static struct row_mail mail_of(struct story *story, struct id mail)
{
    return received_row(&story->to, mail, &story->arena);
}

static struct row_delivery delivery_of(struct story *story, struct id mail, uint32_t index)
{
    return rig_get_delivery(story->to.rig, story->to.account,
                            key_delivery(story->to.account, mail, index), &story->arena);
}

static uint32_t events(struct story *story, struct id mail)
{
    return rig_count(story->to.rig, story->to.account, key_prefix_events(story->to.account, mail));
}

static struct msg *claim(struct story *story, struct id mail, uint32_t group)
{
    struct msg *msg = rig_claim_msg(story->to.rig, rig_entry(story->to.rig, mail, group));
    cr_assert_eq(receive_call(&story->to, msg), ERR_OK);
    return msg;
}

static enum err try_route(struct story *story, const char *pattern, const char *destination)
{
    struct msg *msg = rig_take(story->to.rig, MSG_SHARD_ROUTE);
    struct shard_route *body = &msg->body.route;
    body->op = ROUTE_CREATE;
    body->caller = rig_key_caller(story->to.account, RIGHT_ROUTES_WRITE);
    body->given = ROUTE_FIELD_MATCH | ROUTE_FIELD_ACTION | ROUTE_FIELD_DESTINATION;
    body->wanted = (struct row_route){
        .match_pattern = slice_str(pattern),
        .action = ROUTE_FORWARD,
        .destination = slice_str(destination),
        .is_enabled = true,
    };
    enum err err = receive_call(&story->to, msg);
    rig_put(story->to.rig, msg);
    return err;
}

/* ---- what leaves ---------------------------------------------------------------------------- */

Test(forward, sends_the_mail_on_as_it_came_behind_the_trace, .timeout = TIMEOUT)
{
    struct story story = story_open("info@example.com", "Boss@DEST.example.net");
    struct id mail = receive(&story.to, "info@example.com", RECEIVE_MAIL);
    struct row_delivery row = delivery_of(&story, mail, 0);
    cr_expect_eq(row.kind, DELIVERY_SMTP);
    cr_expect(slice_equal(row.recipient, SLICE("Boss@dest.example.net")));
    cr_expect(slice_equal(rig_entry(story.to.rig, mail, 0)->domain, SLICE("dest.example.net")));
    struct msg *msg = claim(&story, mail, 0);
    const struct shard_claim *got = &msg->body.claim;
    struct slice trace = SLICE("Received: from a by b; today\r\n");
    cr_assert_eq(got->rcpt_count, 1);
    cr_expect(slice_equal(got->rcpts[0], SLICE("Boss@dest.example.net")));
    cr_expect(slice_equal(got->dkim_headers, SLICE("Delivered-To: info@example.com\r\n")),
              "not signed, and marked");
    cr_expect(slice_equal(got->first_chunk, trace), "without the old Return-Path");
    cr_expect_eq(got->chunk_count, 2);
    cr_expect_eq(got->size_bytes, trace.len + strlen(RECEIVE_MAIL));
    cr_expect_eq(got->rehearsal, REHEARSAL_NONE);
    cr_expect_not(got->is_hook);
    cr_expect_not(got->needs_8bit);
    cr_expect_not(got->needs_utf8);
    char hex[33] = {0};
    hex_encode(slice_of(mail.bytes, 16), hex);
    struct slice want = arena_format(&story.arena, "b.%s.0.", hex);
    cr_expect(slice_starts(got->sender, want), "%.*s", SLICE_FMT(got->sender));
    cr_expect(slice_ends(got->sender, SLICE("@localhost")));
    cr_expect_eq(receive_rcpt(&story.to, arena_cstr(&story.arena, got->sender)), ERR_OK,
                 "a bounce comes home");
    rig_put(story.to.rig, msg);
    story_close(&story);
}

Test(forward, leaves_the_null_sender_what_it_is, .timeout = TIMEOUT)
{
    struct story story = story_open("*@example.com", "x@example.net");
    struct msg *inbound = receive_msg(&story.to, "a@example.com", SLICE(RECEIVE_MAIL));
    inbound->body.inbound.sender = SLICE("");
    cr_assert_eq(receive_call(&story.to, inbound), ERR_OK);
    struct msg *msg = claim(&story, inbound->body.inbound.id, 0);
    cr_expect_eq(msg->body.claim.sender.len, 0);
    rig_put(story.to.rig, inbound);
    rig_put(story.to.rig, msg);
    story_close(&story);
}

Test(forward, says_what_its_bytes_need_of_a_server, .timeout = TIMEOUT)
{
    struct story story = story_open("*@example.com", "x@example.net");
    struct id mail = receive(&story.to, "a@example.com", "Subject: x\r\n\r\nn\xc3\xa4h\r\n");
    struct msg *msg = claim(&story, mail, 0);
    cr_expect(msg->body.claim.needs_8bit);
    cr_expect_not(msg->body.claim.needs_utf8);
    rig_put(story.to.rig, msg);
    mail = receive(&story.to, "\xc3\xa4@example.com", RECEIVE_MAIL);
    msg = claim(&story, mail, 0);
    cr_expect(msg->body.claim.needs_utf8, "its Delivered-To does");
    rig_put(story.to.rig, msg);
    story_close(&story);
}

Test(forward, outcome_is_the_deliverys_and_not_the_received_mails, .timeout = TIMEOUT)
{
    struct story story = story_open("*@example.com", "x@example.net");
    struct id mail = receive(&story.to, "a@example.com", RECEIVE_MAIL);
    struct outbox_entry entry = *rig_entry(story.to.rig, mail, 0);
    struct verdict later = rig_verdict(VERDICT_DEFERRED, 451, "4.2.0");
    struct verdict never = rig_verdict(VERDICT_BOUNCED, 550, "5.7.1");
    uint64_t due = clock_unix_ms() + 1000;
    uint32_t before = events(&story, mail);
    cr_expect_eq(mail_of(&story, mail).open_count, 1);
    cr_assert_eq(rig_claim(story.to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(story.to.rig, &entry, &later, 1, due), ERR_OK);
    cr_expect_eq(mail_of(&story, mail).status, MAIL_DELIVERED);
    cr_expect_eq(delivery_of(&story, mail, 0).status, DELIVERY_DEFERRED);
    entry.due_unix_ms = due;
    cr_assert_eq(rig_claim(story.to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(story.to.rig, &entry, &never, 1, 0), ERR_OK);
    cr_expect_eq(mail_of(&story, mail).status, MAIL_DELIVERED);
    cr_expect_eq(mail_of(&story, mail).open_count, 0);
    cr_expect_eq(mail_of(&story, mail).hook_count, 0, "no webhook of sent mail");
    cr_expect_eq(delivery_of(&story, mail, 0).status, DELIVERY_BOUNCED);
    cr_expect_eq(events(&story, mail), before + 2);
    story_close(&story);
}

Test(forward, goes_to_each_destination_once_in_a_copy_of_its_own, .timeout = TIMEOUT)
{
    struct story story = story_open("*@example.com", "x@example.net");
    (void)receive_route(&story.to, "a@example.com", ROUTE_FORWARD, "y@example.net");
    (void)receive_route(&story.to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/");
    struct id mail = receive(&story.to, "a@example.com,b@example.com", RECEIVE_MAIL);
    struct row_mail row = mail_of(&story, mail);
    cr_expect_eq(row.open_count, 2);
    cr_expect_eq(row.hook_count, 2);
    cr_expect_eq(row.delivery_count, 4);
    uint32_t copies = 0;
    for (uint32_t i = 0; i < row.delivery_count; i++) {
        struct row_delivery delivery = delivery_of(&story, mail, i);
        if (delivery.kind == DELIVERY_SMTP) {
            struct msg *msg = claim(&story, mail, i);
            cr_expect_eq(msg->body.claim.rcpt_count, 1);
            cr_expect(slice_equal(delivery.forwarded_from, SLICE("a@example.com")));
            rig_put(story.to.rig, msg);
            copies++;
        }
    }
    cr_expect_eq(copies, 2);
    story_close(&story);
}

/* ---- what does not -------------------------------------------------------------------------- */

static struct id receive_text(struct story *story, const char *head)
{
    struct slice text = arena_format(&story->arena, "%sSubject: s\r\n\r\nx\r\n", head);
    return receive(&story->to, "a@example.com", arena_cstr(&story->arena, text));
}

static void expect_kept(struct story *story, struct id mail, const char *why)
{
    cr_expect_eq(mail_of(story, mail).delivery_count, 0, "%s", why);
    cr_expect_eq(events(story, mail), 2, "%s: it is named in the log", why);
}

Test(forward, ends_loops, .timeout = TIMEOUT)
{
    struct story story = story_open("a@example.com", "x@example.net");
    expect_kept(&story, receive_text(&story, "Delivered-To: a@example.com\r\n"), "ours");
    expect_kept(&story, receive_text(&story, "X: y\r\ndelivered-to:\r\n <A@Example.COM> \r\n"),
                "as others write it");
    struct id other = receive_text(&story, "Delivered-To: b@example.com\r\n");
    cr_expect_eq(mail_of(&story, other).delivery_count, 1, "one of the other address goes on");
    struct buf head;
    buf_init(&head, 64 * KIB);
    for (int i = 0; i < FORWARD_HOPS_MAX; i++) {
        buf_add_format(&head, "Received: by h%d\r\n", i);
    }
    buf_add_byte(&head, '\0');
    struct id most = receive_text(&story, head.data);
    cr_expect_eq(mail_of(&story, most).delivery_count, 1);
    struct slice more = arena_format(&story.arena, "Received: by a\r\n%s", head.data);
    expect_kept(&story, receive_text(&story, arena_cstr(&story.arena, more)), "hops");
    buf_clear(&head);
    for (int i = 0; i <= FORWARD_HOPS_MAX; i++) {
        buf_add_format(&head, "Delivered-To: u%d@example.org\r\n", i);
    }
    buf_add_byte(&head, '\0');
    expect_kept(&story, receive_text(&story, head.data), "more addresses than are compared");
    buf_fini(&head);
    story_close(&story);
}

Test(forward, respects_suppressions_and_keeps_bounces_of_its_own_mail, .timeout = TIMEOUT)
{
    struct story story = story_open("/^[^x]/", "X@example.net");
    struct row_suppression row = {.email = SLICE("x@example.net"), .reason = SUPPRESSION_MANUAL};
    struct shard *shard = rig_state(story.to.rig, story.to.account);
    struct id mail = receive(&story.to, "a@example.com", RECEIVE_MAIL);
    cr_assert_eq(mail_of(&story, mail).delivery_count, 1);
    struct slice local = return_path_local(shard, mail, 0, &story.arena);
    struct slice whole = arena_format(&story.arena, "%.*s@localhost", SLICE_FMT(local));
    struct id bounce =
        receive(&story.to, arena_cstr(&story.arena, whole), "Subject: failed\r\n\r\nx\r\n");
    expect_kept(&story, bounce, "a bounce");
    rig_set_suppression(story.to.rig, story.to.account,
                        key_suppression(story.to.account, row.email), &row);
    expect_kept(&story, receive_text(&story, "X: 1\r\n"), "suppressed");
    story_close(&story);
}

Test(forward, names_the_destinations_beyond_the_ceiling_of_one_mail, .timeout = TIMEOUT)
{
    struct story story = story_open("*@example.com", "x0@example.net");
    for (unsigned i = 1; i < RECEIVED_FORWARDS_MAX + 3; i++) {
        struct slice text = arena_format(&story.arena, "x%u@example.net", i);
        (void)receive_route(&story.to, "*@example.com", ROUTE_FORWARD,
                            arena_cstr(&story.arena, text));
    }
    struct id mail = receive(&story.to, "a@example.com", RECEIVE_MAIL);
    cr_expect_eq(mail_of(&story, mail).delivery_count, RECEIVED_FORWARDS_MAX);
    cr_expect_eq(events(&story, mail), 2);
    story_close(&story);
}

Test(forward, routes_need_an_address_that_they_do_not_match, .timeout = TIMEOUT)
{
    struct story story = story_open("a@example.com", "b@example.com");
    cr_expect_eq(try_route(&story, "a@example.com", ""), ERR_BAD_FIELD);
    cr_expect_eq(try_route(&story, "a@example.com", "https://hooks.example.net/"), ERR_BAD_FIELD);
    cr_expect_eq(try_route(&story, "a@example.com", "Bob <b@example.net>"), ERR_BAD_FIELD);
    cr_expect_eq(try_route(&story, "a@example.com", "A@Example.com"), ERR_BAD_FIELD);
    cr_expect_eq(try_route(&story, "*@example.com", "b@example.com"), ERR_BAD_FIELD);
    cr_expect_eq(try_route(&story, "/net$/", "b@example.net"), ERR_BAD_FIELD);
    cr_expect_eq(try_route(&story, "/com$/", "b@example.net"), ERR_OK);
    story_close(&story);
}
