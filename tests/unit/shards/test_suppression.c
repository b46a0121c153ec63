/* Suppressions: adding one and many, pages, what keys may do, the one way in that others share.
 *
 * Not covered here: what a send makes of a suppressed recipient (test_outbound), which bounces add
 * one (test_claim), the JSON (tests/unit/edge/test_api_suppression).
 */
#include "unit/shards/shard_rig.h"

struct story {
    struct rig *rig;
    struct account_id account;
};

static struct story story_open(void)
{
    struct story story = {.rig = rig_open()};
    story.account = rig_signup(story.rig);
    return story;
}

static struct msg *ask(struct story *story, enum suppression_op op)
{
    struct msg *msg = rig_take(story->rig, MSG_SHARD_SUPPRESSION);
    msg->body.suppression = (struct shard_suppression){
        .op = op,
        .caller = rig_key_caller(story->account, RIGHT_SUPPRESSIONS_WRITE),
        .reason = SUPPRESSION_MANUAL,
        .note = SLICE("by hand"),
    };
    return msg;
}

/* Addresses comma separated. */
static void name(struct msg *msg, const char *emails)
{
    struct shard_suppression *body = &msg->body.suppression;
    struct slice rest = arena_dup(&msg->arena, slice_str(emails));
    body->emails = arena_array(&msg->arena, SUPPRESSIONS_PER_POST + 1, sizeof(*body->emails));
    while (rest.len > 0) {
        body->emails[body->email_count++] = slice_cut(&rest, ',');
    }
}

static enum err call(struct story *story, struct msg *msg)
{
    return rig_call(story->rig, rig_shard(story->rig, story->account), msg);
}

static enum err run(struct story *story, enum suppression_op op, const char *emails)
{
    struct msg *msg = ask(story, op);
    name(msg, emails);
    enum err err = call(story, msg);
    rig_put(story->rig, msg);
    return err;
}

static uint32_t rows(struct story *story)
{
    return rig_count(story->rig, story->account, key_prefix_suppressions(story->account));
}

static uint32_t lines(struct story *story)
{
    return rig_count(story->rig, story->account, key_prefix_audits(story->account));
}

Test(suppression, is_added_shown_and_removed)
{
    struct story story = story_open();
    uint32_t before = lines(&story);
    struct msg *msg = ask(&story, SUPPRESSION_ADD);
    name(msg, "b@example.net");
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_expect_eq(msg->body.suppression.added_count, 1);
    cr_assert_eq(msg->body.suppression.row_count, 1);
    cr_expect(slice_equal(msg->body.suppression.rows[0].note, SLICE("by hand")));
    rig_put(story.rig, msg);
    cr_expect_eq(lines(&story), before + 1);
    msg = ask(&story, SUPPRESSION_GET);
    name(msg, "b@example.net");
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_expect(slice_equal(msg->body.suppression.rows[0].email, SLICE("b@example.net")));
    cr_expect_eq(msg->body.suppression.rows[0].reason, SUPPRESSION_MANUAL);
    rig_put(story.rig, msg);
    cr_assert_eq(run(&story, SUPPRESSION_REMOVE, "b@example.net"), ERR_OK);
    cr_expect_eq(lines(&story), before + 2);
    cr_expect_eq(rows(&story), 0);
    cr_expect_eq(run(&story, SUPPRESSION_REMOVE, "b@example.net"), ERR_NOT_FOUND);
    cr_expect_eq(run(&story, SUPPRESSION_GET, "b@example.net"), ERR_NOT_FOUND);
    cr_expect_eq(run(&story, SUPPRESSION_GET, "a@example.net,b@example.net"), ERR_INVALID);
    cr_expect_eq(run(&story, SUPPRESSION_ADD, ""), ERR_INVALID);
    rig_close(story.rig);
}

Test(suppression, that_is_there_keeps_its_reason_and_costs_no_line_in_the_log)
{
    struct story story = story_open();
    cr_assert_eq(run(&story, SUPPRESSION_ADD, "b@example.net"), ERR_OK);
    uint32_t before = lines(&story);
    struct msg *msg = ask(&story, SUPPRESSION_ADD);
    name(msg, "b@example.net");
    msg->body.suppression.reason = SUPPRESSION_COMPLAINT;
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_expect_eq(msg->body.suppression.added_count, 0);
    cr_expect_eq(msg->body.suppression.known_count, 1);
    cr_assert_eq(msg->body.suppression.row_count, 1);
    cr_expect_eq(msg->body.suppression.rows[0].reason, SUPPRESSION_MANUAL);
    rig_put(story.rig, msg);
    cr_expect_eq(lines(&story), before);
    rig_close(story.rig);
}

Test(suppression, many_are_each_added_once_under_one_line_of_the_log)
{
    struct story story = story_open();
    cr_assert_eq(run(&story, SUPPRESSION_ADD, "d@example.net"), ERR_OK);
    uint32_t before = lines(&story);
    struct msg *msg = ask(&story, SUPPRESSION_ADD);
    name(msg, "d@example.net,c@example.net,b@example.net,c@example.net,d@example.net,a@b.test,"
              "c@example.net");
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_expect_eq(msg->body.suppression.added_count, 3);
    cr_expect_eq(msg->body.suppression.known_count, 1);
    cr_expect_eq(msg->body.suppression.row_count, 0);
    rig_put(story.rig, msg);
    cr_expect_eq(rows(&story), 4);
    cr_expect_eq(lines(&story), before + 1);
    rig_close(story.rig);
}

static const char *page(struct story *story, const char *after, const char *search, uint32_t limit)
{
    static char text[1024];
    struct msg *msg = ask(story, SUPPRESSION_LIST);
    msg->body.suppression.after = slice_str(after);
    msg->body.suppression.search = slice_str(search);
    msg->body.suppression.limit = limit;
    cr_assert_eq(call(story, msg), ERR_OK);
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < msg->body.suppression.row_count; i++) {
        struct slice email = msg->body.suppression.rows[i].email;
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s ", SLICE_FMT(email));
    }
    rig_put(story->rig, msg);
    return text;
}

Test(suppression, pages_are_in_the_order_of_addresses_and_of_the_account_alone)
{
    struct story story = story_open();
    struct story other = {story.rig, rig_signup_at(story.rig, story.account, true)};
    cr_assert_eq(run(&other, SUPPRESSION_ADD, "b@theirs.test"), ERR_OK);
    cr_assert_eq(run(&story, SUPPRESSION_ADD, "a@b.co,a@b.com,b@b.co,c@b.com,a@b.c"), ERR_OK);
    cr_expect_str_eq(page(&story, "", "", 0), "a@b.c a@b.co a@b.com b@b.co c@b.com ");
    cr_expect_str_eq(page(&story, "", "", 2), "a@b.c a@b.co ");
    cr_expect_str_eq(page(&story, "a@b.co", "", 2), "a@b.com b@b.co ");
    cr_expect_str_eq(page(&story, "b@b", "", 9), "b@b.co c@b.com ");
    cr_expect_str_eq(page(&story, "c@b.com", "", 9), "");
    cr_expect_str_eq(page(&story, "", "b.com", 9), "a@b.com c@b.com ");
    cr_expect_str_eq(page(&story, "a@b.com", "b.com", 9), "c@b.com ");
    cr_expect_str_eq(page(&story, "", "theirs", 9), "");
    cr_expect_eq(run(&story, SUPPRESSION_GET, "b@theirs.test"), ERR_NOT_FOUND);
    cr_expect_eq(run(&story, SUPPRESSION_REMOVE, "b@theirs.test"), ERR_NOT_FOUND);
    rig_close(story.rig);
}

Test(suppression, is_no_business_of_a_key_without_the_scope_or_for_some_domains)
{
    struct story story = story_open();
    struct buf pack;
    buf_init(&pack, 256);
    buf_put_slice(&pack, slice_str(right_text(RIGHT_SUPPRESSIONS_READ)));
    rig_set_key(story.rig, story.account, MODE_LIVE, buf_slice(&pack));
    cr_expect_eq(run(&story, SUPPRESSION_ADD, "b@example.net"), ERR_SCOPE);
    buf_clear(&pack);
    struct caller caller = rig_key_caller(story.account, RIGHT_NONE);
    char text[ID_TEXT_MAX];
    struct id domain = rig_domain(story.rig, story.account, "example.com");
    buf_put_slice(&pack, slice_of(text, id_text(ID_DOMAIN, domain, text)));
    struct row_api_key row = {
        .id = shard_id(rig_state(story.rig, story.account), story.account),
        .domains = buf_slice(&pack),
        .is_enabled = true,
        .last_used_unix_ms = clock_unix_ms(),
    };
    rig_set_api_key(story.rig, story.account, key_api_key(story.account, &caller.key_hash), &row);
    cr_expect_eq(run(&story, SUPPRESSION_ADD, "b@example.net"), ERR_KEY_SCOPE);
    cr_expect_eq(run(&story, SUPPRESSION_GET, "b@example.net"), ERR_KEY_SCOPE);
    buf_clear(&pack);
    buf_put_slice(&pack, SLICE("support-*"));
    row.domains = SLICE("");
    row.addresses = buf_slice(&pack);
    rig_set_api_key(story.rig, story.account, key_api_key(story.account, &caller.key_hash), &row);
    cr_expect_eq(run(&story, SUPPRESSION_REMOVE, "b@example.net"), ERR_KEY_SCOPE);
    cr_expect_eq(rows(&story), 0);
    buf_fini(&pack);
    rig_close(story.rig);
}

Test(suppression, takes_the_address_of_a_delivery_as_it_is_compared)
{
    struct arena arena;
    char at[ADDR_MAX + 2];
    arena_init(&arena, KIB, 64 * KIB);
    cr_expect(
        slice_equal(suppression_key(SLICE("Bob@example.net"), &arena), SLICE("bob@example.net")));
    cr_expect_eq(suppression_key(SLICE("nobody"), &arena).len, 0);
    memset(at, '@', sizeof(at));
    cr_expect_eq(suppression_key(slice_of(at, sizeof(at)), &arena).len, 0);
    arena_fini(&arena);
}
