/* Mails that let their recipients unsubscribe: their groups, their fields, and the wish.
 *
 * Not covered here: that the fields are signed so that others agree
 * (tests/flow/test_unsubscribe.c).
 */
#include "unit/shards/shard_rig.h"

struct story {
    struct rig *rig;
    struct arena arena;
    struct account_id account;
    struct id domain;
    struct id mail;
};

static struct story story_open(void)
{
    struct story story = {.rig = rig_open()};
    arena_init(&story.arena, 64 * KIB, 32 * MIB);
    cr_assert(conf_set(&story.rig->conf, SLICE("public_url"), SLICE("https://x.test")));
    story.account = rig_signup(story.rig);
    story.domain = rig_domain(story.rig, story.account, "example.com");
    return story;
}

static void story_close(struct story *story)
{
    arena_fini(&story->arena);
    rig_close(story->rig);
}

static enum err call(struct story *story, struct msg *msg)
{
    return rig_call(story->rig, rig_shard(story->rig, story->account), msg);
}

static void submit(struct story *story, const char *to, struct mime_header *header)
{
    struct msg *msg = rig_mail(story->rig, story->account, "a@example.com", to);
    msg->body.send.has_unsubscribe = true;
    msg->body.send.headers = header;
    msg->body.send.header_count = header ? 1 : 0;
    cr_assert_eq(call(story, msg), ERR_OK);
    story->mail = msg->body.send.id;
    rig_put(story->rig, msg);
}

static struct slice fields_of(struct story *story, uint32_t group, const char *rcpt)
{
    struct msg *msg = rig_claim_msg(story->rig, rig_entry(story->rig, story->mail, group));
    cr_assert_eq(call(story, msg), ERR_OK);
    cr_assert_eq(msg->body.claim.rcpt_count, 1);
    cr_expect(slice_equal(msg->body.claim.rcpts[0], slice_str(rcpt)));
    struct slice fields = arena_dup(&story->arena, msg->body.claim.dkim_headers);
    rig_put(story->rig, msg);
    return fields;
}

static enum err wish(struct story *story, uint32_t index, const char *address)
{
    struct msg *msg = rig_take(story->rig, MSG_SHARD_UNSUBSCRIBE);
    msg->body.unsubscribe.ref = (struct unsubscribe_ref){
        .mail = story->mail, .index = index, .address = slice_str(address)};
    enum err err = call(story, msg);
    rig_put(story->rig, msg);
    return err;
}

static struct row_delivery delivery_of(struct story *story, uint32_t index)
{
    return rig_get_delivery(story->rig, story->account,
                            key_delivery(story->account, story->mail, index), &story->arena);
}

static uint32_t events(struct story *story)
{
    return rig_count(story->rig, story->account, key_prefix_events(story->account, story->mail));
}

static bool is_suppressed(struct story *story, const char *address)
{
    return rig_has(story->rig, story->account, key_suppression(story->account, slice_str(address)));
}

Test(unsubscribe, each_recipient_gets_fields_that_are_his_and_signed)
{
    struct story story = story_open();
    struct arena arena;
    struct unsubscribe_ref ref;
    arena_init(&arena, KIB, 64 * KIB);
    submit(&story, "b@example.net,c@example.net", NULL);
    static const char *const rcpts[] = {"b@example.net", "c@example.net"};
    for (uint32_t i = 0; i < 2; i++) {
        struct slice fields = fields_of(&story, i, rcpts[i]);
        static const struct slice start = SLICE_INIT("\r\nList-Unsubscribe: <https://x.test/u/");
        size_t at = slice_find(fields, start);
        cr_assert_neq(at, SIZE_MAX, "%.*s", SLICE_FMT(fields));
        cr_expect(slice_starts(fields, SLICE("DKIM-Signature: ")));
        cr_expect_neq(slice_find(fields, SLICE("list-unsubscribe:")), SIZE_MAX, "in h=");
        cr_expect_neq(slice_find(fields, SLICE("list-unsubscribe-post")), SIZE_MAX, "in h=");
        struct slice rest = slice_from(fields, at + start.len);
        struct slice token = slice_cut(&rest, '>');
        cr_expect(
            slice_equal(rest, SLICE("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")));
        struct shard *shard = rig_state(story.rig, story.account);
        cr_assert(unsubscribe_token_read(&shard->unsubscribe_seal, token, &arena, &ref));
        cr_expect(id_equal(ref.mail, story.mail));
        cr_expect_eq(ref.index, i);
        cr_expect(slice_equal(ref.address, slice_str(rcpts[i])));
    }
    arena_fini(&arena);
    story_close(&story);
}

Test(unsubscribe, fields_of_the_senders_own_stay_alone)
{
    struct story story = story_open();
    struct mime_header own = {SLICE("list-unsubscribe"), SLICE("<https://own.test/>")};
    submit(&story, "b@example.net", &own);
    struct slice fields = fields_of(&story, 0, "b@example.net");
    cr_expect_eq(slice_find(fields, SLICE("\r\nList-Unsubscribe: ")), SIZE_MAX);
    story_close(&story);
}

Test(unsubscribe, a_wish_suppresses_and_is_told_once)
{
    struct story story = story_open();
    submit(&story, "b@example.net,c@example.net", NULL);
    uint32_t before = events(&story);
    cr_assert_eq(wish(&story, 1, "c@example.net"), ERR_OK);
    cr_expect(is_suppressed(&story, "c@example.net"));
    cr_expect_not(is_suppressed(&story, "b@example.net"));
    struct row_suppression row =
        rig_get_suppression(story.rig, story.account,
                            key_suppression(story.account, SLICE("c@example.net")), &story.arena);
    cr_expect_eq(row.reason, SUPPRESSION_UNSUBSCRIBE);
    cr_expect(id_equal(row.mail, story.mail));
    cr_expect(delivery_of(&story, 1).has_unsubscribed);
    cr_expect_not(delivery_of(&story, 0).has_unsubscribed);
    cr_expect_eq(events(&story), before + 1);
    cr_assert_eq(wish(&story, 1, "c@example.net"), ERR_OK);
    cr_expect_eq(events(&story), before + 1);
    story_close(&story);
}

Test(unsubscribe, a_wish_keeps_the_reason_that_was_there_and_comes_back_when_it_was_removed)
{
    struct story story = story_open();
    struct key key = key_suppression(story.account, SLICE("b@example.net"));
    submit(&story, "b@example.net", NULL);
    struct row_suppression row = {.email = SLICE("b@example.net"), .reason = SUPPRESSION_COMPLAINT};
    rig_set_suppression(story.rig, story.account, key, &row);
    cr_assert_eq(wish(&story, 0, "b@example.net"), ERR_OK);
    row = rig_get_suppression(story.rig, story.account, key, &story.arena);
    cr_expect_eq(row.reason, SUPPRESSION_COMPLAINT);
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, story.account));
    kv_batch_delete(batch, key_slice(&key));
    rig_write(story.rig, batch);
    cr_assert_eq(wish(&story, 0, "b@example.net"), ERR_OK);
    cr_expect(is_suppressed(&story, "b@example.net"));
    story_close(&story);
}

Test(unsubscribe, a_wish_outlives_its_mail_but_not_its_account)
{
    struct story story = story_open();
    story.mail = shard_id(rig_state(story.rig, story.account), story.account);
    cr_assert_eq(wish(&story, 0, "Gone@example.net"), ERR_OK);
    cr_expect(is_suppressed(&story, "gone@example.net"));
    struct account_id nobody = account_random();
    story.mail = shard_id(rig_state(story.rig, story.account), nobody);
    struct msg *msg = rig_take(story.rig, MSG_SHARD_UNSUBSCRIBE);
    msg->body.unsubscribe.ref =
        (struct unsubscribe_ref){.mail = story.mail, .address = SLICE("b@example.net")};
    cr_expect_eq(rig_call(story.rig, rig_shard(story.rig, nobody), msg), ERR_NOT_FOUND);
    rig_put(story.rig, msg);
    story_close(&story);
}

Test(unsubscribe, a_rehearsed_mail_is_told_of_and_suppresses_nobody)
{
    struct story story = story_open();
    rig_set_key(story.rig, story.account, MODE_TEST, SLICE(""));
    submit(&story, "b@example.net", NULL);
    uint32_t before = events(&story);
    cr_assert_eq(wish(&story, 0, "b@example.net"), ERR_OK);
    cr_expect_eq(events(&story), before + 1);
    cr_expect(delivery_of(&story, 0).has_unsubscribed);
    cr_expect_not(is_suppressed(&story, "b@example.net"));
    /* nor does it once it is erased */
    struct msg *msg = rig_take(story.rig, MSG_SHARD_UNSUBSCRIBE);
    msg->body.unsubscribe.ref = (struct unsubscribe_ref){
        .mail = shard_id(rig_state(story.rig, story.account), story.account),
        .is_rehearsed = true,
        .address = SLICE("b@example.net"),
    };
    cr_assert_eq(call(&story, msg), ERR_OK);
    rig_put(story.rig, msg);
    cr_expect_not(is_suppressed(&story, "b@example.net"));
    story_close(&story);
}

Test(unsubscribe, the_domains_webhook_hears_of_it)
{
    struct story story = story_open();
    struct key key = key_domain(story.account, story.domain);
    struct row_domain domain = rig_get_domain(story.rig, story.account, key, &story.arena);
    struct buf pack;
    buf_init(&pack, 256);
    buf_put_slice(&pack, SLICE("email.unsubscribed"));
    domain.hook_events = buf_slice(&pack);
    domain.hook_route = shard_id(rig_state(story.rig, story.account), story.account);
    rig_set_domain(story.rig, story.account, key, &domain);
    struct row_route route = {
        .id = domain.hook_route,
        .action = ROUTE_WEBHOOK,
        .destination = SLICE("https://hooks.test/in"),
        .is_enabled = true,
    };
    rig_set_route(story.rig, story.account, key_route(story.account, route.id), &route);
    submit(&story, "b@example.net", NULL);
    cr_assert_eq(wish(&story, 0, "b@example.net"), ERR_OK);
    struct row_delivery hook = delivery_of(&story, 1);
    cr_expect_eq(hook.kind, DELIVERY_WEBHOOK);
    cr_expect(slice_equal(hook.url, SLICE("https://hooks.test/in")));
    cr_expect(slice_equal(hook.recipient, SLICE("b@example.net")));
    struct row_mail mail =
        rig_get_mail(story.rig, story.account, key_mail(story.account, story.mail), &story.arena);
    cr_expect_eq(mail.hook_count, 1);
    buf_fini(&pack);
    story_close(&story);
}
