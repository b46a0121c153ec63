/* Mailboxes, what a reader does to mails, conversations, deleting a mail.
 *
 * Not covered here: how a received mail finds its mailbox and its thread (test_intake), the JSON of
 * it all (tests/unit/edge, tests/flow).
 */
#include "unit/shards/receive_rig.h"

#define MAIL_OF(id, more)                                                                          \
    "From: Ann <ann@example.net>\r\nTo: Info <info@example.com>\r\nSubject: Hello " id "\r\n"      \
    "Message-ID: <" id "@example.net>\r\n" more "\r\nHi there\r\n"

static const struct id none;

static struct msg *ask(struct receiver *to, enum mailbox_op op, struct id id)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_MAILBOX);
    msg->body.mailbox = (struct shard_mailbox){
        .op = op,
        .caller = rig_key_caller(to->account, RIGHT_MAILBOXES_WRITE),
        .id = id,
        .page = 1,
    };
    return msg;
}

static enum err run(struct receiver *to, enum mailbox_op op, struct id id)
{
    struct msg *msg = ask(to, op, id);
    enum err err = receive_call(to, msg);
    rig_put(to->rig, msg);
    return err;
}

static enum err make(struct receiver *to, const char *address, struct id *id)
{
    struct msg *msg = ask(to, MAILBOX_CREATE, none);
    msg->body.mailbox.wanted =
        (struct row_mailbox){.address = slice_str(address), .name = SLICE("A name")};
    enum err err = receive_call(to, msg);
    *id = err == ERR_OK ? msg->body.mailbox.mailboxes[0].id : none;
    rig_put(to->rig, msg);
    return err;
}

/* The caller's own row, with what it is bound to. */
static void bind_key(struct receiver *to, enum mode mode, struct id domain)
{
    char text[ID_TEXT_MAX];
    struct buf pack;
    struct caller caller = rig_key_caller(to->account, RIGHT_NONE);
    buf_init(&pack, 256);
    if (!id_is_none(domain)) {
        buf_put_slice(&pack, slice_of(text, id_text(ID_DOMAIN, domain, text)));
    }
    struct row_api_key row = {
        .id = shard_id(rig_state(to->rig, to->account), to->account),
        .mode = (uint8_t)mode,
        .domains = buf_slice(&pack),
        .is_enabled = true,
        .last_used_unix_ms = clock_unix_ms(),
    };
    rig_set_api_key(to->rig, to->account, key_api_key(to->account, &caller.key_hash), &row);
    buf_fini(&pack);
}

/* How many mails or threads a list has in all. */
static uint32_t total(struct receiver *to, enum mailbox_op op, struct id mailbox,
                      const char *folder)
{
    struct msg *msg = ask(to, op, none);
    msg->body.mailbox.mailbox = mailbox;
    msg->body.mailbox.folder = slice_str(folder);
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    uint32_t count = msg->body.mailbox.total;
    cr_expect_eq(msg->body.mailbox.count, count);
    rig_put(to->rig, msg);
    return count;
}

/* Rows whose key has these bytes, whatever their family. */
static uint32_t rows_naming(struct receiver *to, struct id id)
{
    struct kv_iter *iter = kv_iter_open(to->rig->kv, place_shard_index(RIG_SHARDS, to->account),
                                        SLICE(""), SLICE(""), false);
    struct slice wanted = slice_of(id.bytes, sizeof(id.bytes));
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        count += slice_find(key, wanted) != SIZE_MAX;
    }
    cr_expect_eq(kv_iter_err(iter), ERR_OK);
    kv_iter_close(iter);
    return count;
}

static uint32_t rows_of(struct receiver *to, char family)
{
    struct key prefix = {.len = 1, .bytes = {(uint8_t)family}};
    return rig_count(to->rig, to->account, prefix);
}

/* ---- mailboxes ------------------------------------------------------------------------------ */

Test(mailbox, is_made_renamed_and_deleted)
{
    struct receiver to = receiver_open();
    struct id id;
    struct id again;
    cr_assert_eq(make(&to, "info@example.com", &id), ERR_OK);
    cr_expect_eq(make(&to, "info@example.com", &again), ERR_EXISTS);
    struct msg *msg = ask(&to, MAILBOX_RENAME, id);
    msg->body.mailbox.wanted.name = SLICE("Another");
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    rig_put(to.rig, msg);
    msg = ask(&to, MAILBOX_GET, id);
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    const struct row_mailbox *row = &msg->body.mailbox.mailboxes[0];
    cr_expect(slice_equal(row->name, SLICE("Another")));
    cr_expect(slice_equal(row->address, SLICE("info@example.com")));
    cr_expect(id_equal(row->domain, to.domain));
    cr_expect_gt(row->created_unix_ms, 0);
    rig_put(to.rig, msg);
    uint32_t lines = rows_of(&to, 'W');
    cr_assert_eq(run(&to, MAILBOX_DELETE, id), ERR_OK);
    cr_expect_eq(rows_of(&to, 'W'), lines + 1, "a line in the log");
    cr_expect_eq(run(&to, MAILBOX_GET, id), ERR_NOT_FOUND);
    cr_expect_eq(run(&to, MAILBOX_DELETE, id), ERR_NOT_FOUND);
    cr_expect_eq(rows_of(&to, 'n'), 0);
    cr_expect_eq(make(&to, "info@example.com", &again), ERR_OK, "the address is free again");
    receiver_close(&to);
}

Test(mailbox, stands_in_a_domain_of_the_account)
{
    struct receiver to = receiver_open();
    struct id id;
    cr_expect_eq(make(&to, "info@other.example", &id), ERR_DOMAIN_NOT_OWNED);
    cr_expect_eq(make(&to, "info@sub.example.com", &id), ERR_DOMAIN_NOT_OWNED);
    cr_expect_eq(make(&to, "info", &id), ERR_INVALID);
    cr_expect_eq(rows_of(&to, 'b'), 0);
    receiver_close(&to);
}

Test(mailbox, has_a_ceiling_an_account)
{
    struct receiver to = receiver_open();
    struct id id;
    char address[64];
    for (int i = 0; i < MAILBOXES_PER_ACCOUNT - 1; i++) {
        snprintf(address, sizeof address, "box%d@example.com", i);
        (void)receive_mailbox(&to, address);
    }
    cr_expect_eq(make(&to, "last@example.com", &id), ERR_OK);
    cr_expect_eq(make(&to, "more@example.com", &id), ERR_QUOTA);
    receiver_close(&to);
}

Test(mailbox, lists_come_page_by_page_newest_first)
{
    struct receiver to = receiver_open();
    struct id ids[5];
    char address[64];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        snprintf(address, sizeof address, "box%zu@example.com", i);
        cr_assert_eq(make(&to, address, &ids[i]), ERR_OK);
    }
    for (uint32_t page = 1; page <= 4; page++) {
        struct msg *msg = ask(&to, MAILBOX_LIST, none);
        struct shard_mailbox *body = &msg->body.mailbox;
        body->page = page;
        body->limit = 2;
        cr_assert_eq(receive_call(&to, msg), ERR_OK);
        cr_expect_eq(body->total, ARRAY_LEN(ids));
        cr_assert_eq(body->count, page < 3 ? 2 : page == 3 ? 1 : 0);
        for (uint32_t i = 0; i < body->count; i++) {
            cr_expect(id_equal(body->mailboxes[i].id, ids[4 - (page - 1) * 2 - i]));
        }
        rig_put(to.rig, msg);
    }
    receiver_close(&to);
}

Test(mailbox, a_key_bound_to_a_domain_sees_only_what_is_in_it)
{
    struct receiver to = receiver_open();
    struct id second = rig_domain(to.rig, to.account, "second.example");
    struct id here;
    struct id there;
    cr_assert_eq(make(&to, "info@example.com", &here), ERR_OK);
    cr_assert_eq(make(&to, "info@second.example", &there), ERR_OK);
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    struct msg *msg = ask(&to, MAILBOX_THREADS, none);
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_assert_eq(msg->body.mailbox.count, 1);
    struct id thread = msg->body.mailbox.threads[0].id;
    rig_put(to.rig, msg);
    bind_key(&to, MODE_LIVE, second);
    cr_expect_eq(run(&to, MAILBOX_GET, here), ERR_KEY_SCOPE);
    cr_expect_eq(run(&to, MAILBOX_DELETE, here), ERR_KEY_SCOPE);
    cr_expect_eq(run(&to, MAILBOX_GET, there), ERR_OK);
    cr_expect_eq(run(&to, MAILBOX_MARK, mail), ERR_KEY_SCOPE);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_KEY_SCOPE);
    cr_expect_eq(run(&to, MAILBOX_THREAD, thread), ERR_NOT_FOUND);
    cr_expect_eq(total(&to, MAILBOX_LIST, none, ""), 1);
    cr_expect_eq(total(&to, MAILBOX_MAILS, none, ""), 0);
    cr_expect_eq(total(&to, MAILBOX_THREADS, none, ""), 0);
    msg = ask(&to, MAILBOX_MAILS, none);
    msg->body.mailbox.mailbox = here;
    cr_expect_eq(receive_call(&to, msg), ERR_KEY_SCOPE);
    rig_put(to.rig, msg);
    cr_expect_eq(make(&to, "more@example.com", &here), ERR_KEY_SCOPE);
    cr_expect_eq(make(&to, "more@second.example", &here), ERR_OK);
    receiver_close(&to);
}

Test(mailbox, a_test_key_sees_no_live_mail)
{
    struct receiver to = receiver_open();
    struct id box = receive_mailbox(&to, "info@example.com");
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    bind_key(&to, MODE_TEST, none);
    cr_expect_eq(total(&to, MAILBOX_MAILS, none, ""), 0);
    cr_expect_eq(total(&to, MAILBOX_MAILS, box, ""), 0);
    cr_expect_eq(total(&to, MAILBOX_THREADS, box, ""), 0);
    cr_expect_eq(run(&to, MAILBOX_MARK, mail), ERR_NOT_FOUND);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_NOT_FOUND);
    receiver_close(&to);
}

/* ---- mails ---------------------------------------------------------------------------------- */

Test(mailbox, mails_are_listed_by_mailbox_folder_and_page)
{
    struct receiver to = receiver_open();
    struct id info = receive_mailbox(&to, "info@example.com");
    struct id sales = receive_mailbox(&to, "sales@example.com");
    struct id first = receive(&to, "info@example.com", MAIL_OF("one", ""));
    struct id both = receive(&to, "info@example.com,sales@example.com", MAIL_OF("two", ""));
    (void)rig_send(to.rig, to.account, "a@example.com", "b@example.net");
    cr_expect_eq(total(&to, MAILBOX_MAILS, none, ""), 3);
    cr_expect_eq(total(&to, MAILBOX_MAILS, none, "sent"), 1);
    cr_expect_eq(total(&to, MAILBOX_MAILS, none, "inbox"), 2);
    cr_expect_eq(total(&to, MAILBOX_MAILS, info, ""), 2);
    cr_expect_eq(total(&to, MAILBOX_MAILS, sales, ""), 1);
    cr_expect_eq(total(&to, MAILBOX_MAILS, sales, "sent"), 0);
    struct msg *msg = ask(&to, MAILBOX_MAILS, none);
    struct shard_mailbox *body = &msg->body.mailbox;
    body->mailbox = info;
    body->limit = 1;
    body->page = 2;
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_assert_eq(body->count, 1);
    cr_expect_eq(body->total, 2);
    cr_expect(id_equal(body->mails[0].mail.id, first));
    rig_put(to.rig, msg);
    msg = ask(&to, MAILBOX_MAILS, none);
    body = &msg->body.mailbox;
    body->mailbox = sales;
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_expect(id_equal(body->mails[0].mail.id, both));
    cr_expect_eq(body->mails[0].state.mailboxes.len, 2 * sizeof(struct id));
    cr_expect_not(body->mails[0].state.is_read);
    cr_expect(slice_equal(body->mails[0].mail.subject, SLICE("Hello two")));
    rig_put(to.rig, msg);
    msg = ask(&to, MAILBOX_MAILS, none);
    msg->body.mailbox.mailbox = first;
    cr_expect_eq(receive_call(&to, msg), ERR_NOT_FOUND, "no such mailbox");
    rig_put(to.rig, msg);
    receiver_close(&to);
}

static struct mail_entry mark(struct receiver *to, struct id mail, uint32_t given,
                              struct row_mail_state state)
{
    struct msg *msg = ask(to, MAILBOX_MARK, mail);
    msg->body.mailbox.given = given;
    msg->body.mailbox.state = state;
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    struct mail_entry entry = msg->body.mailbox.mails[0];
    entry.state.folder = slice_equal(entry.state.folder, SLICE("inbox"))   ? SLICE("inbox")
                         : slice_equal(entry.state.folder, SLICE("sent"))  ? SLICE("sent")
                         : slice_equal(entry.state.folder, SLICE("later")) ? SLICE("later")
                                                                           : SLICE("other");
    rig_put(to->rig, msg);
    return entry;
}

Test(mailbox, a_mark_changes_what_was_given_and_nothing_else)
{
    struct receiver to = receiver_open();
    struct id box = receive_mailbox(&to, "info@example.com");
    struct id mails[] = {receive(&to, "info@example.com", MAIL_OF("one", "")),
                         receive(&to, "other@example.com", MAIL_OF("two", ""))};
    for (size_t i = 0; i < ARRAY_LEN(mails); i++) {
        struct row_mail_state wanted = {
            .is_read = true, .is_starred = true, .folder = SLICE("later")};
        struct mail_entry got = mark(&to, mails[i], MARK_READ, wanted);
        cr_expect(got.state.is_read);
        cr_expect_not(got.state.is_starred);
        cr_expect(slice_equal(got.state.folder, SLICE("inbox")));
        got = mark(&to, mails[i], MARK_FOLDER | MARK_STARRED, wanted);
        cr_expect(got.state.is_starred);
        cr_expect(slice_equal(got.state.folder, SLICE("later")));
        wanted.is_read = false;
        got = mark(&to, mails[i], MARK_READ, wanted);
        cr_expect_not(got.state.is_read);
        cr_expect(got.state.is_starred);
    }
    struct id sent = rig_send(to.rig, to.account, "a@example.com", "b@example.net");
    struct mail_entry got = mark(&to, sent, 0, (struct row_mail_state){.is_read = false});
    cr_expect(got.state.is_read);
    cr_expect(slice_equal(got.state.folder, SLICE("sent")));
    cr_expect_not(rig_has(to.rig, to.account, key_mail_state(to.account, sent)));
    cr_expect_eq(total(&to, MAILBOX_MAILS, box, "later"), 1, "it is still in its mailbox");
    cr_expect_eq(total(&to, MAILBOX_MAILS, box, "inbox"), 0);
    cr_expect_eq(run(&to, MAILBOX_MARK, box), ERR_NOT_FOUND);
    receiver_close(&to);
}

Test(mailbox, a_deleted_one_keeps_its_mails)
{
    struct receiver to = receiver_open();
    struct id box = receive_mailbox(&to, "info@example.com");
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    cr_assert_eq(run(&to, MAILBOX_DELETE, box), ERR_OK);
    cr_expect_eq(total(&to, MAILBOX_MAILS, none, ""), 1);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_of(&to, 'l'), 0, "and with them goes what named it");
    receiver_close(&to);
}

/* ---- conversations -------------------------------------------------------------------------- */

Test(mailbox, threads_with_the_newest_mail_come_first)
{
    struct receiver to = receiver_open();
    struct id box = receive_mailbox(&to, "info@example.com");
    struct id one = receive(&to, "info@example.com", MAIL_OF("one", ""));
    (void)receive(&to, "other@example.com", MAIL_OF("two", ""));
    struct id reply =
        receive(&to, "info@example.com", MAIL_OF("three", "In-Reply-To: <one@example.net>\r\n"));
    struct msg *msg = ask(&to, MAILBOX_THREADS, none);
    struct shard_mailbox *body = &msg->body.mailbox;
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_assert_eq(body->count, 2);
    cr_expect_eq(body->threads[0].mail_count, 2);
    cr_expect(slice_equal(body->threads[0].subject, SLICE("Hello one")));
    cr_expect_eq(body->threads[1].mail_count, 1);
    struct id thread = body->threads[0].id;
    rig_put(to.rig, msg);
    cr_expect_eq(total(&to, MAILBOX_THREADS, box, ""), 1);
    msg = ask(&to, MAILBOX_THREAD, thread);
    body = &msg->body.mailbox;
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_assert_eq(body->count, 2);
    cr_expect(id_equal(body->mails[0].mail.id, one));
    cr_expect(id_equal(body->mails[1].mail.id, reply));
    rig_put(to.rig, msg);
    cr_expect_eq(run(&to, MAILBOX_THREAD, one), ERR_NOT_FOUND);
    receiver_close(&to);
}

Test(mailbox, a_thread_tells_a_bound_key_of_its_own_mails_only)
{
    struct receiver to = receiver_open();
    struct id second = rig_domain(to.rig, to.account, "second.example");
    (void)receive(&to, "info@example.com", MAIL_OF("secret", ""));
    struct id seen = receive(&to, "info@second.example",
                             MAIL_OF("open", "In-Reply-To: <secret@example.net>\r\n"));
    (void)receive(&to, "info@example.com",
                  MAIL_OF("more", "In-Reply-To: <secret@example.net>\r\n"));
    bind_key(&to, MODE_LIVE, second);
    struct msg *msg = ask(&to, MAILBOX_THREADS, none);
    struct shard_mailbox *body = &msg->body.mailbox;
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_assert_eq(body->count, 1);
    cr_expect_eq(body->threads[0].mail_count, 1);
    cr_expect(slice_equal(body->threads[0].subject, SLICE("Hello open")));
    struct id thread = body->threads[0].id;
    rig_put(to.rig, msg);
    msg = ask(&to, MAILBOX_THREAD, thread);
    body = &msg->body.mailbox;
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_assert_eq(body->count, 1);
    cr_expect(id_equal(body->mails[0].mail.id, seen));
    cr_expect(slice_equal(body->threads[0].subject, SLICE("Hello open")));
    rig_put(to.rig, msg);
    receiver_close(&to);
}

/* ---- deleting ------------------------------------------------------------------------------- */

static const char with_files[] =
    "From: ann@example.net\r\nTo: info@example.com\r\nSubject: Files\r\n"
    "Message-ID: <files@example.net>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n"
    "--b\r\nContent-Type: application/pdf\r\n"
    "Content-Disposition: attachment; filename=a.pdf\r\n\r\nsame\r\n"
    "--b\r\nContent-Type: application/pdf\r\n"
    "Content-Disposition: attachment; filename=b.pdf\r\n\r\nsame\r\n"
    "--b\r\nContent-Type: application/pdf\r\n"
    "Content-Disposition: attachment; filename=c.pdf\r\n\r\nother\r\n--b--\r\n";

Test(mailbox, a_discarded_mail_leaves_no_row)
{
    struct receiver to = receiver_open();
    struct id box = receive_mailbox(&to, "info@example.com");
    struct id mail = receive(&to, "info@example.com", with_files);
    cr_assert_gt(rows_of(&to, 'B'), 1);
    cr_assert_gt(rows_naming(&to, mail), 8);
    cr_assert_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_naming(&to, mail), 0);
    cr_expect_eq(rows_of(&to, 'B'), 0);
    cr_expect_eq(rows_of(&to, 't'), 0, "its thread had no other mail");
    cr_expect_eq(rows_of(&to, 'h'), 0);
    cr_expect_eq(total(&to, MAILBOX_MAILS, box, ""), 0);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_NOT_FOUND);
    cr_expect_eq(run(&to, MAILBOX_MARK, mail), ERR_NOT_FOUND);
    receiver_close(&to);
}

Test(mailbox, a_thread_outlives_one_of_its_mails)
{
    struct receiver to = receiver_open();
    struct id one = receive(&to, "info@example.com", MAIL_OF("one", ""));
    struct id reply =
        receive(&to, "info@example.com", MAIL_OF("three", "In-Reply-To: <one@example.net>\r\n"));
    cr_assert_eq(run(&to, MAILBOX_DISCARD, one), ERR_OK);
    cr_expect_eq(total(&to, MAILBOX_THREADS, none, ""), 1);
    (void)receive(&to, "info@example.com", MAIL_OF("four", "In-Reply-To: <one@example.net>\r\n"));
    cr_expect_eq(total(&to, MAILBOX_THREADS, none, ""), 1, "who answers the first is in it still");
    cr_expect_eq(rows_of(&to, 'r'), 2);
    cr_assert_eq(run(&to, MAILBOX_DISCARD, reply), ERR_OK);
    cr_expect_eq(rows_of(&to, 'r'), 1);
    receiver_close(&to);
}

Test(mailbox, a_mail_that_is_still_to_be_delivered_stays)
{
    struct receiver to = receiver_open();
    struct id mail = rig_send(to.rig, to.account, "a@example.com", "b@example.net");
    struct outbox_entry entry = *rig_entry(to.rig, mail, 0);
    uint32_t rows = rows_naming(&to, mail);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_CONFLICT);
    cr_expect_eq(rig_claim(to.rig, &entry), ERR_OK);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_CONFLICT);
    cr_expect_geq(rows_naming(&to, mail), rows);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_outcome(to.rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_assert_gt(rows_of(&to, 'L'), 0);
    cr_assert_gt(rows_of(&to, 'R'), 0);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_naming(&to, mail), 0);
    receiver_close(&to);
}

Test(mailbox, a_mail_whose_webhook_is_due_stays)
{
    struct receiver to = receiver_open();
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    cr_assert_eq(rows_of(&to, 'd'), 1);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_CONFLICT);
    struct outbox_entry entry = *rig_entry(to.rig, mail, HOOK_GROUP);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 200, "");
    cr_assert_eq(rig_claim(to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(to.rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_naming(&to, mail), 0);
    cr_expect_eq(rows_of(&to, 'd'), 0);
    receiver_close(&to);
}

/* What it wrote could not be found yet, and would be left behind. */
Test(mailbox, a_mail_whose_outcome_is_not_on_disk_stays)
{
    struct receiver to = receiver_open();
    struct id mail = rig_send(to.rig, to.account, "a@example.com", "b@example.net");
    struct outbox_entry entry = *rig_entry(to.rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_claim(to.rig, &entry), ERR_OK);
    rig_settle(to.rig);
    to.rig->is_commit_held = true;
    struct msg *outcome = rig_take(to.rig, MSG_SHARD_OUTCOME);
    outcome->body.outcome = (struct shard_outcome){
        .entry = entry,
        .verdicts = &verdict,
        .verdict_count = 1,
        .started_unix_ms = clock_unix_ms(),
        .transcript = SLICE("220 mx.example.net\r\n"),
    };
    actor_post(rig_shard(to.rig, to.account), outcome);
    rig_settle(to.rig);
    cr_assert_not(rig_is_home(to.rig, outcome));
    struct msg *msg = ask(&to, MAILBOX_DISCARD, mail);
    actor_post(rig_shard(to.rig, to.account), msg);
    rig_settle(to.rig);
    rig_release_commits(to.rig);
    cr_expect_eq(rig_wait(to.rig, msg), ERR_CONFLICT);
    cr_expect_eq(rig_wait(to.rig, outcome), ERR_OK);
    rig_put(to.rig, msg);
    rig_put(to.rig, outcome);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_naming(&to, mail), 0);
    receiver_close(&to);
}

/* Its event is in a batch that the scan for rows does not see. */
Test(mailbox, a_mail_that_is_clicked_while_it_goes_leaves_no_row)
{
    struct receiver to = receiver_open();
    struct msg *msg = rig_mail(to.rig, to.account, "a@example.com", "b@example.net");
    msg->body.send.html = SLICE("<a href=\"https://x.test/1\">x</a>");
    msg->body.send.tracks_clicks = CHOICE_YES;
    cr_assert_eq(rig_call(to.rig, rig_shard(to.rig, to.account), msg), ERR_OK);
    struct id mail = msg->body.send.id;
    rig_put(to.rig, msg);
    struct outbox_entry entry = *rig_entry(to.rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_claim(to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(to.rig, &entry, &verdict, 1, 0), ERR_OK);
    rig_settle(to.rig);
    to.rig->is_commit_held = true;
    struct msg *click = rig_take(to.rig, MSG_SHARD_TRACK);
    click->body.track.ref =
        (struct track_ref){.kind = TRACK_CLICK, .mail = mail, .url = SLICE("https://x.test/1")};
    actor_post(rig_shard(to.rig, to.account), click);
    rig_settle(to.rig);
    cr_assert_not(rig_is_home(to.rig, click));
    msg = ask(&to, MAILBOX_DISCARD, mail);
    actor_post(rig_shard(to.rig, to.account), msg);
    rig_settle(to.rig);
    rig_release_commits(to.rig);
    cr_expect_eq(rig_wait(to.rig, msg), ERR_OK);
    cr_expect_eq(rig_wait(to.rig, click), ERR_OK);
    rig_put(to.rig, msg);
    rig_put(to.rig, click);
    cr_expect_eq(rows_naming(&to, mail), 0);
    receiver_close(&to);
}

Test(mailbox, a_mail_that_was_sent_on_leaves_no_row)
{
    struct receiver to = receiver_open();
    (void)receive_route(&to, "*@example.com", ROUTE_FORWARD, "b@example.net");
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    cr_assert_eq(rows_of(&to, 'd'), 1);
    struct outbox_entry entry = *rig_entry(to.rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_claim(to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(to.rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_naming(&to, mail), 0);
    cr_expect_eq(rows_of(&to, 'd'), 0);
    receiver_close(&to);
}

/* More rows than one batch takes. */
Test(mailbox, a_mail_with_a_long_log_goes_in_steps)
{
    struct receiver to = receiver_open();
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, to.account));
    struct row_attempt attempt = {.code = 250};
    struct row_delivery delivery = {.kind = DELIVERY_SMTP, .status = DELIVERY_DELIVERED};
    struct buf row;
    buf_init(&row, ROW_BYTES_MAX);
    for (uint32_t i = 0; i < 5000; i++) {
        struct key key = key_attempt(to.account, mail, i / 50, i % 50);
        buf_clear(&row);
        row_attempt_encode(&attempt, &row);
        kv_batch_put(batch, key_slice(&key), buf_slice(&row));
    }
    for (uint32_t i = 0; i < 100; i++) {
        struct key key = key_delivery(to.account, mail, i);
        buf_clear(&row);
        row_delivery_encode(&delivery, &row);
        kv_batch_put(batch, key_slice(&key), buf_slice(&row));
    }
    buf_fini(&row);
    rig_write(to.rig, batch);
    uint32_t commits = to.rig->commit_count;
    cr_assert_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_geq(to.rig->commit_count, commits + 2);
    cr_expect_eq(rows_naming(&to, mail), 0);
    receiver_close(&to);
}

Test(mailbox, a_discard_whose_batch_is_lost_leaves_the_mail)
{
    struct receiver to = receiver_open();
    struct id mail = receive(&to, "info@example.com", MAIL_OF("one", ""));
    uint32_t rows = rows_naming(&to, mail);
    cr_assert_eq(run(&to, MAILBOX_MARK, mail), ERR_OK); /* notes that the key was used, once */
    rig_settle(to.rig);
    to.rig->fail_at = to.rig->commit_count + 1;
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_STORAGE);
    cr_expect_eq(rows_naming(&to, mail), rows);
    cr_expect_eq(run(&to, MAILBOX_DISCARD, mail), ERR_OK);
    cr_expect_eq(rows_naming(&to, mail), 0);
    receiver_close(&to);
}
