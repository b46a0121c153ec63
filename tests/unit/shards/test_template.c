/* Templates as rows: making, changing, listing, previewing them, and mails made from them.
 *
 * Not covered here: what tags become (tests/unit/mail/test_template), the JSON
 * (tests/unit/edge/test_api_template).
 */
#include "unit/shards/shard_rig.h"

struct story {
    struct rig *rig;
    struct account_id account;
    struct id domain;
};

static const struct id none;

static struct story story_open(void)
{
    struct story story = {.rig = rig_open()};
    story.account = rig_signup(story.rig);
    story.domain = rig_domain(story.rig, story.account, "example.com");
    return story;
}

static struct msg *ask(struct story *story, enum template_op op, struct id id)
{
    struct msg *msg = rig_take(story->rig, MSG_SHARD_TEMPLATE);
    msg->body.template = (struct shard_template){
        .op = op,
        .caller = rig_key_caller(story->account, RIGHT_MAIL_WRITE),
        .id = id,
        .before_unix_ms = UINT64_MAX,
        .wanted = {.name = SLICE("Welcome"),
                   .subject = SLICE("Hi {{name}}"),
                   .html = SLICE("<p>{{name}}</p>"),
                   .text = SLICE("Dear {{name}}")},
    };
    return msg;
}

static enum err call(struct story *story, struct msg *msg)
{
    return rig_call(story->rig, rig_shard(story->rig, story->account), msg);
}

static enum err run(struct story *story, enum template_op op, struct id id)
{
    struct msg *msg = ask(story, op, id);
    enum err err = call(story, msg);
    rig_put(story->rig, msg);
    return err;
}

static struct id make(struct story *story)
{
    struct msg *msg = ask(story, TEMPLATE_CREATE, none);
    cr_assert_eq(call(story, msg), ERR_OK);
    cr_assert_eq(msg->body.template.row_count, 1);
    struct id id = msg->body.template.rows[0].id;
    rig_put(story->rig, msg);
    return id;
}

static uint32_t lines(struct story *story)
{
    return rig_count(story->rig, story->account, key_prefix_audits(story->account));
}

Test(template, is_made_changed_and_deleted)
{
    struct story story = story_open();
    uint32_t before = lines(&story);
    struct id id = make(&story);
    struct msg *msg = ask(&story, TEMPLATE_CHANGE, id);
    msg->body.template.wanted = (struct row_template){.name = SLICE("Bye")};
    msg->body.template.given = TEMPLATE_FIELD_NAME | TEMPLATE_FIELD_HTML;
    cr_assert_eq(call(&story, msg), ERR_OK);
    const struct row_template *row = &msg->body.template.rows[0];
    cr_expect(slice_equal(row->name, SLICE("Bye")));
    cr_expect_eq(row->html.len, 0);
    cr_expect(slice_equal(row->text, SLICE("Dear {{name}}")));
    cr_expect(slice_equal(row->subject, SLICE("Hi {{name}}")));
    rig_put(story.rig, msg);
    msg = ask(&story, TEMPLATE_CHANGE, id);
    msg->body.template.wanted = (struct row_template){.name = SLICE("x")};
    msg->body.template.given = TEMPLATE_FIELD_TEXT;
    cr_expect_eq(call(&story, msg), ERR_BAD_FIELD, "nothing would be left of it");
    rig_put(story.rig, msg);
    cr_expect_eq(run(&story, TEMPLATE_CHANGE, id), ERR_OK, "nothing is given");
    cr_expect_eq(lines(&story), before + 2);
    cr_assert_eq(run(&story, TEMPLATE_DELETE, id), ERR_OK);
    cr_expect_eq(lines(&story), before + 3);
    cr_expect_eq(run(&story, TEMPLATE_GET, id), ERR_NOT_FOUND);
    cr_expect_eq(run(&story, TEMPLATE_CHANGE, id), ERR_NOT_FOUND);
    cr_expect_eq(run(&story, TEMPLATE_PREVIEW, id), ERR_NOT_FOUND);
    cr_expect_eq(run(&story, TEMPLATE_DELETE, id), ERR_NOT_FOUND);
    rig_close(story.rig);
}

Test(template, has_ceilings_of_size_and_number)
{
    struct story story = story_open();
    struct msg *msg = ask(&story, TEMPLATE_CREATE, none);
    char *bytes = arena_bytes(&msg->arena, TEMPLATE_BYTES_MAX);
    memset(bytes, 'x', TEMPLATE_BYTES_MAX);
    msg->body.template.wanted.html = slice_of(bytes, TEMPLATE_BYTES_MAX);
    cr_expect_eq(call(&story, msg), ERR_TOO_LARGE);
    rig_put(story.rig, msg);
    for (int i = 0; i < TEMPLATES_PER_ACCOUNT; i++) {
        (void)make(&story);
    }
    cr_expect_eq(run(&story, TEMPLATE_CREATE, none), ERR_QUOTA);
    cr_expect_eq(rig_count(story.rig, story.account, key_prefix_templates(story.account)),
                 TEMPLATES_PER_ACCOUNT);
    rig_close(story.rig);
}

Test(template, lists_are_newest_first_and_without_bodies)
{
    struct story story = story_open();
    struct id first = make(&story);
    struct id second = make(&story);
    struct id third = make(&story);
    struct msg *msg = ask(&story, TEMPLATE_LIST, none);
    msg->body.template.limit = 2;
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_assert_eq(msg->body.template.row_count, 2);
    cr_expect(id_equal(msg->body.template.rows[0].id, third));
    cr_expect(id_equal(msg->body.template.rows[1].id, second));
    cr_expect(slice_equal(msg->body.template.rows[1].name, SLICE("Welcome")));
    cr_expect_eq(msg->body.template.rows[1].html.len, 0);
    rig_put(story.rig, msg);
    msg = ask(&story, TEMPLATE_LIST, none);
    msg->body.template.before = second;
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_assert_eq(msg->body.template.row_count, 1);
    cr_expect(id_equal(msg->body.template.rows[0].id, first));
    rig_put(story.rig, msg);
    msg = ask(&story, TEMPLATE_LIST, none);
    msg->body.template.before_unix_ms = id_unix_ms(first);
    cr_assert_eq(call(&story, msg), ERR_OK);
    cr_expect_eq(msg->body.template.row_count, 0);
    rig_put(story.rig, msg);
    rig_close(story.rig);
}

Test(template, a_preview_is_what_a_send_would_make)
{
    struct story story = story_open();
    struct id id = make(&story);
    struct msg *msg = ask(&story, TEMPLATE_PREVIEW, id);
    msg->body.template.data = SLICE("{\"name\":\"<Ann>\\r\\nBcc: x\"}");
    cr_assert_eq(call(&story, msg), ERR_OK);
    const struct row_template *row = &msg->body.template.rows[0];
    cr_expect(slice_equal(row->subject, SLICE("Hi <Ann> Bcc: x")));
    cr_expect(slice_equal(row->html, SLICE("<p>&lt;Ann&gt;\r\nBcc: x</p>")));
    cr_expect(slice_equal(row->text, SLICE("Dear <Ann>\r\nBcc: x")));
    rig_put(story.rig, msg);
    cr_expect_eq(run(&story, TEMPLATE_PREVIEW, id), ERR_OK, "without values");
    rig_close(story.rig);
}

Test(template, a_key_for_some_domains_reads_and_does_not_change)
{
    struct story story = story_open();
    struct id id = make(&story);
    struct caller caller = rig_key_caller(story.account, RIGHT_NONE);
    char text[ID_TEXT_MAX];
    struct buf pack;
    buf_init(&pack, 256);
    buf_put_slice(&pack, slice_of(text, id_text(ID_DOMAIN, story.domain, text)));
    struct row_api_key row = {
        .id = shard_id(rig_state(story.rig, story.account), story.account),
        .domains = buf_slice(&pack),
        .is_enabled = true,
        .last_used_unix_ms = clock_unix_ms(),
    };
    rig_set_api_key(story.rig, story.account, key_api_key(story.account, &caller.key_hash), &row);
    cr_expect_eq(run(&story, TEMPLATE_GET, id), ERR_OK);
    cr_expect_eq(run(&story, TEMPLATE_PREVIEW, id), ERR_OK);
    cr_expect_eq(run(&story, TEMPLATE_LIST, none), ERR_OK);
    cr_expect_eq(run(&story, TEMPLATE_CREATE, none), ERR_KEY_SCOPE);
    cr_expect_eq(run(&story, TEMPLATE_CHANGE, id), ERR_KEY_SCOPE);
    cr_expect_eq(run(&story, TEMPLATE_DELETE, id), ERR_KEY_SCOPE);
    buf_clear(&pack);
    buf_put_slice(&pack, SLICE("support-*"));
    row.domains = SLICE("");
    row.addresses = buf_slice(&pack);
    rig_set_api_key(story.rig, story.account, key_api_key(story.account, &caller.key_hash), &row);
    cr_expect_eq(run(&story, TEMPLATE_GET, id), ERR_OK);
    cr_expect_eq(run(&story, TEMPLATE_CHANGE, id), ERR_KEY_SCOPE);
    buf_fini(&pack);
    rig_close(story.rig);
}

/* ---- mails made from one -------------------------------------------------------------------- */

static struct msg *mail_from(struct story *story, struct id template, const char *data)
{
    struct msg *msg = rig_mail(story->rig, story->account, "a@example.com", "b@example.net");
    struct shard_send *send = &msg->body.send;
    send->template = template;
    send->template_data = slice_str(data);
    send->subject = SLICE("");
    send->text = SLICE("");
    send->html = SLICE("");
    return msg;
}

static struct row_mail stored(struct story *story, struct msg *msg, struct arena *arena,
                              struct slice *raw)
{
    struct id id = msg->body.send.id;
    *raw = rig_get_chunk(story->rig, story->account, key_chunk(story->account, id, 0), arena).data;
    return rig_get_mail(story->rig, story->account, key_mail(story->account, id), arena);
}

Test(template, a_mail_is_made_of_it_and_of_what_the_request_gives)
{
    struct story story = story_open();
    struct id id = make(&story);
    struct arena arena;
    struct slice raw;
    arena_init(&arena, 64 * KIB, MIB);
    struct msg *msg = mail_from(&story, id, "{\"name\":\"Ann & Co\"}");
    cr_assert_eq(call(&story, msg), ERR_OK);
    struct row_mail mail = stored(&story, msg, &arena, &raw);
    cr_expect(slice_equal(mail.subject, SLICE("Hi Ann & Co")));
    cr_expect(id_equal(mail.template, id));
    cr_expect_neq(slice_find(raw, SLICE("<p>Ann &amp; Co</p>")), SIZE_MAX);
    cr_expect_neq(slice_find(raw, SLICE("Dear Ann & Co")), SIZE_MAX);
    rig_put(story.rig, msg);
    msg = mail_from(&story, id, "{\"name\":\"x\\r\\nBcc: evil@example.org\"}");
    msg->body.send.text = SLICE("Own words {{name}}");
    cr_assert_eq(call(&story, msg), ERR_OK);
    mail = stored(&story, msg, &arena, &raw);
    cr_expect(slice_equal(mail.subject, SLICE("Hi x Bcc: evil@example.org")));
    cr_expect_eq(slice_find(raw, SLICE("\nBcc:")), slice_find(raw, SLICE("\nBcc: evil")));
    cr_expect_gt(slice_find(raw, SLICE("\nBcc: evil")), mail.header_len, "in the body only");
    cr_expect_neq(slice_find(raw, SLICE("Own words {{name}}")), SIZE_MAX);
    rig_put(story.rig, msg);
    arena_fini(&arena);
    rig_close(story.rig);
}

Test(template, a_mail_that_cannot_be_made_is_refused_with_a_reason)
{
    struct story story = story_open();
    struct msg *msg = ask(&story, TEMPLATE_CREATE, none);
    msg->body.template.wanted = (struct row_template){
        .name = SLICE("n"),
        .subject = SLICE("{{#s}}{{#s}}{{#s}}0123456789{{/s}}{{/s}}{{/s}}"),
        .text = SLICE("{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}x{{/l}}{{/l}}{{/l}}"
                      "{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{name}}"),
    };
    cr_assert_eq(call(&story, msg), ERR_OK);
    struct id id = msg->body.template.rows[0].id;
    rig_put(story.rig, msg);
    struct id unknown = shard_id(rig_state(story.rig, story.account), story.account);
    const struct {
        struct id template;
        const char *data;
        enum err err;
        const char *param;
    } cases[] = {
        {unknown, "{}", ERR_TEMPLATE_NOT_FOUND, "templateId"},
        {id, "{}", ERR_BAD_FIELD, "templateData"},
        {id, "{\"s\":[1,2,3,4,5],\"name\":1}", ERR_BAD_FIELD, "subject"},
        {id, "{\"l\":[1,2,3,4,5,6,7,8,9]}", ERR_TOO_LARGE, "templateData"},
    };
    uint32_t before = rig_count(story.rig, story.account, key_prefix_mails(story.account));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        msg = mail_from(&story, cases[i].template, cases[i].data);
        cr_expect_eq(call(&story, msg), cases[i].err, "case %zu: %s", i, err_info(msg->err)->name);
        cr_expect(slice_equal(msg->param, slice_str(cases[i].param)), "case %zu: %.*s", i,
                  SLICE_FMT(msg->param));
        rig_put(story.rig, msg);
    }
    cr_expect_eq(rig_count(story.rig, story.account, key_prefix_mails(story.account)), before);
    struct story other = {story.rig, rig_signup_at(story.rig, story.account, true), none};
    (void)rig_domain(other.rig, other.account, "example.com");
    msg = mail_from(&other, id, "{\"name\":\"x\"}");
    cr_expect_eq(call(&other, msg), ERR_TEMPLATE_NOT_FOUND, "another account's");
    rig_put(story.rig, msg);
    rig_close(story.rig);
}
