/* test_intake.c - mail that comes in: who may receive, what is stored, what it sets off.
 *
 * Not covered here: the sessions that bring it (tests/unit/edge, tests/flow), what is read of a
 * mail (tests/unit/mail/test_mime_read), the webhook's body (test_hook_body), links
 * (test_attachment).
 */
#include "unit/shards/receive_rig.h"

#define TIMEOUT 60

/* ---- recipients ----------------------------------------------------------------------------- */

Test(intake, takes_everything_for_a_domain_without_routes_and_mailboxes, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    cr_expect_eq(receive_rcpt(&to, "anybody@example.com"), ERR_OK);
    cr_expect_eq(receive_rcpt(&to, "anybody@sub.example.com"), ERR_NOT_FOUND);
    cr_expect_eq(receive_rcpt(&to, "nothing"), ERR_NOT_FOUND);
    receiver_close(&to);
}

Test(intake, takes_what_a_route_or_a_mailbox_asks_for_once_there_are_any, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    (void)receive_mailbox(&to, "box@example.com");
    cr_expect_eq(receive_rcpt(&to, "box@example.com"), ERR_OK);
    cr_expect_eq(receive_rcpt(&to, "other@example.com"), ERR_NOT_FOUND);
    cr_expect_eq(receive_rcpt(&to, "postmaster@example.com"), ERR_OK);
    cr_expect_eq(receive_rcpt(&to, "abuse@example.com"), ERR_OK);
    (void)receive_route(&to, "in+*@example.com", ROUTE_STORE, "");
    cr_expect_eq(receive_rcpt(&to, "in+7@example.com"), ERR_OK);
    cr_expect_eq(receive_rcpt(&to, "box@example.com"), ERR_OK);
    cr_expect_eq(receive_rcpt(&to, "in@example.com"), ERR_NOT_FOUND);
    cr_expect_eq(receive_rcpt(&to, "postmaster@example.com"), ERR_OK);
    receiver_close(&to);
}

Test(intake, refuses_a_domain_that_is_unverified_or_unknown, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct id good = to.domain;
    to.domain = rig_domain(to.rig, to.account, "example.org");
    cr_expect_eq(receive_rcpt(&to, "a@example.org"), ERR_NOT_FOUND, "no MX");
    cr_expect_eq(receive_rcpt(&to, "a@example.com"), ERR_NOT_FOUND, "another domain's name");
    to.domain = (struct id){.bytes = {1}};
    cr_expect_eq(receive_rcpt(&to, "a@example.com"), ERR_NOT_FOUND);
    to.domain = good;
    char long_name[ADDR_MAX + 20];
    memset(long_name, 'a', sizeof(long_name));
    memcpy(long_name + ADDR_MAX, "@example.com", sizeof("@example.com"));
    cr_expect_eq(receive_rcpt(&to, long_name), ERR_NOT_FOUND);
    receiver_close(&to);
}

static void suspend(struct receiver *to)
{
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_account row =
        rig_get_account(to->rig, to->account, key_account(to->account), &arena);
    row.is_suspended = true;
    rig_set_account(to->rig, to->account, key_account(to->account), &row);
    arena_fini(&arena);
}

Test(intake, refuses_a_suspended_account_and_one_that_is_gone, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    suspend(&to);
    struct id none = {.bytes = {0}};
    struct msg *msg = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    cr_expect_eq(receive_rcpt(&to, "a@example.com"), ERR_SUSPENDED);
    cr_expect_eq(receive_stage(&to, STAGE_BEGIN, &none, 0, SLICE("")), ERR_SUSPENDED);
    cr_expect_eq(receive_call(&to, msg), ERR_SUSPENDED);
    rig_put(to.rig, msg);
    to.account = account_random();
    cr_expect_eq(receive_rcpt(&to, "a@example.com"), ERR_NOT_FOUND);
    receiver_close(&to);
}

Test(intake, puts_mail_off_while_the_disk_is_nearly_full, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    to.rig->free_bytes = 10;
    (void)receive(&to, "a@example.com", RECEIVE_MAIL); /* its commit tells the shard */
    struct msg *msg = receive_msg(&to, "a@example.com", SLICE("x"));
    cr_expect_eq(receive_rcpt(&to, "a@example.com"), ERR_STORAGE);
    cr_expect_eq(receive_call(&to, msg), ERR_STORAGE);
    rig_put(to.rig, msg);
    receiver_close(&to);
}

Test(intake, takes_bounces_of_its_own_mail_and_no_other, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct shard *shard = rig_state(to.rig, to.account);
    struct arena arena;
    arena_init(&arena, KIB, MIB);
    (void)receive_mailbox(&to, "box@example.com");
    struct id mail = rig_send(to.rig, to.account, "a@example.com", "b@example.net");
    struct slice local = return_path_local(shard, mail, 3, &arena);
    struct slice whole = arena_format(&arena, "%.*s@bounces.example.com", SLICE_FMT(local));
    cr_expect_eq(receive_rcpt(&to, arena_cstr(&arena, whole)), ERR_OK);
    char *forged = (char *)arena_cstr(&arena, whole);
    forged[local.len - 1] = forged[local.len - 1] == '0' ? '1' : '0';
    cr_expect_eq(receive_rcpt(&to, forged), ERR_NOT_FOUND);
    struct account_id other = rig_signup_at(to.rig, to.account, true);
    struct id foreign = shard_id(shard, other);
    local = return_path_local(shard, foreign, 0, &arena);
    whole = arena_format(&arena, "%.*s@bounces.example.com", SLICE_FMT(local));
    cr_expect_eq(receive_rcpt(&to, arena_cstr(&arena, whole)), ERR_NOT_FOUND);
    const char *bad[] = {"b.@example.com", "b.zz.1.2@example.com", "b.@", "b."};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(receive_rcpt(&to, bad[i]), ERR_NOT_FOUND, "%s", bad[i]);
    }
    arena_fini(&arena);
    receiver_close(&to);
}

/* ---- storing -------------------------------------------------------------------------------- */

Test(intake, stores_a_mail_with_what_could_be_read_of_it, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id id = receive(&to, "info@example.com,info@example.com,b@example.com", RECEIVE_MAIL);
    struct row_mail row = received_row(&to, id, &arena);
    cr_expect_eq(row.direction, DIRECTION_INBOUND);
    cr_expect(slice_equal(row.from_addr, SLICE("ann@example.net")));
    cr_expect(slice_equal(row.from_name, SLICE("Ann")));
    cr_expect(slice_equal(row.subject, SLICE("Hello")));
    cr_expect(slice_equal(row.message_id, SLICE("one@example.net")));
    cr_expect(slice_equal(row.domain_text, SLICE("example.com")));
    cr_expect(id_equal(row.domain, to.domain));
    cr_expect(slice_equal(row.spf, SLICE("pass")));
    cr_expect(slice_equal(row.dmarc, SLICE("fail")));
    cr_expect(slice_equal(row.remote_addr, SLICE("192.0.2.7")));
    cr_expect_eq(pack_count(row.envelope_to), 2, "each recipient once");
    cr_expect_eq(pack_count(row.to), 1);
    cr_expect_eq(row.size_bytes, strlen(RECEIVE_MAIL));
    cr_expect_eq(row.trace_len, strlen(RECEIVE_TRACE));
    cr_expect_eq(row.chunk_count, 2);
    cr_expect_eq(row.date_unix_ms, UINT64_C(1763740506000));
    cr_expect_eq(row.delivery_count, 0);
    cr_expect(!row.is_damaged);
    struct row_chunk chunk =
        rig_get_chunk(to.rig, to.account, key_chunk(to.account, id, 0), &arena);
    cr_expect(slice_equal(chunk.data, SLICE(RECEIVE_TRACE)));
    chunk = rig_get_chunk(to.rig, to.account, key_chunk(to.account, id, 1), &arena);
    cr_expect(slice_equal(chunk.data, SLICE(RECEIVE_MAIL)));
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_events(to.account, id)), 1);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, stores_the_same_mail_once, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct id first = receive(&to, "a@example.com", RECEIVE_MAIL);
    struct msg *again = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    cr_assert_eq(receive_call(&to, again), ERR_OK);
    cr_expect(again->body.inbound.is_duplicate);
    cr_expect(id_equal(again->body.inbound.id, first));
    rig_put(to.rig, again);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 1);
    struct msg *other = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    other->body.inbound.digest.bytes[0] ^= 1;
    cr_assert_eq(receive_call(&to, other), ERR_OK);
    cr_expect(!other->body.inbound.is_duplicate);
    rig_put(to.rig, other);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 2);
    receiver_close(&to);
}

Test(intake, stores_once_what_comes_twice_at_the_same_time, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct msg *one = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    struct msg *two = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    actor_post(rig_shard(to.rig, to.account), one);
    actor_post(rig_shard(to.rig, to.account), two);
    cr_expect_eq(rig_wait(to.rig, one), ERR_OK);
    cr_expect_eq(rig_wait(to.rig, two), ERR_OK);
    cr_expect(id_equal(one->body.inbound.id, two->body.inbound.id));
    cr_expect_neq(one->body.inbound.is_duplicate, two->body.inbound.is_duplicate);
    rig_put(to.rig, one);
    rig_put(to.rig, two);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 1);
    receiver_close(&to);
}

Test(intake, says_nothing_is_stored_when_the_commit_fails, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct msg *msg = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    to.rig->fail_at = to.rig->commit_count + 1;
    cr_expect_eq(receive_call(&to, msg), ERR_STORAGE);
    rig_put(to.rig, msg);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 0);
    cr_expect_eq(to.rig->entry_count, 0, "and nobody is called");
    (void)receive(&to, "a@example.com", RECEIVE_MAIL);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 1);
    receiver_close(&to);
}

Test(intake, refuses_an_envelope_that_no_session_makes, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct msg *msg = receive_msg(&to, "", SLICE(RECEIVE_MAIL));
    cr_expect_eq(receive_call(&to, msg), ERR_INVALID, "no recipients");
    rig_put(to.rig, msg);
    msg = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    msg->body.inbound.size_bytes++;
    cr_expect_eq(receive_call(&to, msg), ERR_CORRUPT, "bytes are missing");
    rig_put(to.rig, msg);
    msg = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    msg->body.inbound.rcpt_count = SMTP_RCPT_MAX + 1;
    cr_expect_eq(receive_call(&to, msg), ERR_INVALID);
    rig_put(to.rig, msg);
    msg = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    msg->body.inbound.mail = (struct id){.bytes = {9}};
    cr_expect_eq(receive_call(&to, msg), ERR_INVALID, "another account's stage");
    rig_put(to.rig, msg);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 0);
    receiver_close(&to);
}

/* ---- what fires ----------------------------------------------------------------------------- */

Test(intake, fires_every_route_that_matches, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id all =
        receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://Hooks.example.net/in");
    (void)receive_route(&to, "/^a@/", ROUTE_WEBHOOK, "http://other.example.net:81/");
    (void)receive_route(&to, "a@example.com", ROUTE_STORE, "");
    (void)receive_route(&to, "a@example.com", ROUTE_DROP, "");
    struct id id = receive(&to, "a@example.com,b@example.com", RECEIVE_MAIL);
    struct row_mail row = received_row(&to, id, &arena);
    cr_expect_eq(row.hook_count, 3);
    cr_expect_eq(row.hook_open, 3);
    cr_expect_eq(row.delivery_count, 3);
    struct row_delivery first =
        rig_get_delivery(to.rig, to.account, key_delivery(to.account, id, 0), &arena);
    cr_expect_eq(first.kind, DELIVERY_WEBHOOK);
    cr_expect(id_equal(first.route, all));
    cr_expect(slice_equal(first.recipient, SLICE("a@example.com")));
    cr_expect(slice_equal(first.url, SLICE("https://Hooks.example.net/in")));
    struct outbox_entry *entry = rig_entry(to.rig, id, HOOK_GROUP | 0);
    cr_expect(slice_equal(entry->domain, SLICE("https://hooks.example.net:443")));
    (void)rig_entry(to.rig, id, HOOK_GROUP | 1);
    (void)rig_entry(to.rig, id, HOOK_GROUP | 2);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, names_the_webhooks_beyond_the_ceiling_of_one_mail, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct buf rcpts;
    struct arena arena;
    arena_init(&arena, 4 * KIB, 4 * MIB);
    buf_init(&rcpts, MIB);
    for (int i = 0; i < 3; i++) {
        (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    }
    for (unsigned i = 0; i < 400; i++) {
        buf_add_format(&rcpts, "%sr%u@example.com", i ? "," : "", i);
    }
    buf_add_byte(&rcpts, '\0');
    struct id id = receive(&to, rcpts.data, RECEIVE_MAIL);
    cr_expect_eq(received_row(&to, id, &arena).hook_count, RECEIVED_HOOKS_MAX);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_events(to.account, id)), 2);
    buf_fini(&rcpts);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, tells_nobody_of_a_blocked_sender, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_blocked blocked = {.created_unix_ms = 1};
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    rig_set_blocked(to.rig, to.account, key_blocked(to.account, SLICE("ann@example.net")),
                    &blocked);
    struct id by_author = receive(&to, "a@example.com", "From: ANN@Example.net\r\n\r\nx\r\n");
    struct msg *msg = receive_msg(&to, "a@example.com", SLICE("From: b@example.org\r\n\r\ny\r\n"));
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    struct id by_envelope = msg->body.inbound.id;
    rig_put(to.rig, msg);
    struct id mails[] = {by_author, by_envelope};
    for (size_t i = 0; i < ARRAY_LEN(mails); i++) {
        struct row_mail row = received_row(&to, mails[i], &arena);
        cr_expect(slice_equal(row.spam, SLICE("blocked")));
        cr_expect_eq(row.hook_count, 0);
    }
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, puts_a_mail_into_the_mailboxes_of_its_recipients, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id one = receive_mailbox(&to, "one@example.com");
    struct id two = receive_mailbox(&to, "two@example.com");
    struct id id = receive(&to, "two@example.com,one@example.com,x@example.com", RECEIVE_MAIL);
    cr_expect(rig_has(to.rig, to.account, key_mailbox_mail(to.account, one, id)));
    cr_expect(rig_has(to.rig, to.account, key_mailbox_mail(to.account, two, id)));
    struct row_mail_state state =
        rig_get_mail_state(to.rig, to.account, key_mail_state(to.account, id), &arena);
    cr_expect(slice_equal(state.folder, SLICE("inbox")));
    cr_expect_eq(state.mailboxes.len, 2 * sizeof(struct id));
    cr_expect(!state.is_read);
    arena_fini(&arena);
    receiver_close(&to);
}

/* ---- threads -------------------------------------------------------------------------------- */

Test(intake, keeps_a_conversation_in_one_thread, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    const char *mails[] = {
        "Message-ID: <c@x>\r\nIn-Reply-To: <b@x>\r\nReferences: <a@x> <b@x>\r\n\r\n3\r\n",
        "Message-ID: <a@x>\r\nSubject: First\r\n\r\n1\r\n",
        "Message-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\n\r\n2\r\n",
    };
    struct id threads[3];
    for (size_t i = 0; i < ARRAY_LEN(mails); i++) {
        threads[i] = received_row(&to, receive(&to, "a@example.com", mails[i]), &arena).thread;
    }
    cr_expect(id_equal(threads[0], threads[1]));
    cr_expect(id_equal(threads[0], threads[2]));
    struct row_thread row =
        rig_get_thread(to.rig, to.account, key_thread(to.account, threads[0]), &arena);
    cr_expect_eq(row.mail_count, 3);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_thread_mails(to.account, threads[0])), 3);
    struct id other =
        received_row(&to, receive(&to, "a@example.com", "\r\nno id\r\n"), &arena).thread;
    cr_expect(!id_is_none(other));
    cr_expect(!id_equal(other, threads[0]));
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, lets_nobody_move_a_conversation, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id a =
        received_row(&to, receive(&to, "a@example.com", "Message-ID: <a@x>\r\n\r\n1\r\n"), &arena)
            .thread;
    struct id b =
        received_row(&to, receive(&to, "a@example.com", "Message-ID: <b@x>\r\n\r\n2\r\n"), &arena)
            .thread;
    struct id both = received_row(&to,
                                  receive(&to, "a@example.com",
                                          "Message-ID: <a@x>\r\nReferences: <b@x>\r\n\r\n3\r\n"),
                                  &arena)
                         .thread;
    cr_expect(id_equal(both, a));
    struct id reply = received_row(&to,
                                   receive(&to, "a@example.com",
                                           "Message-ID: <c@x>\r\nIn-Reply-To: <b@x>\r\n\r\n4\r\n"),
                                   &arena)
                          .thread;
    cr_expect(id_equal(reply, b));
    arena_fini(&arena);
    receiver_close(&to);
}

/* ---- what strangers send -------------------------------------------------------------------- */

Test(intake, stores_whatever_it_cannot_read, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    char *noise = arena_bytes(&arena, 200 * KIB);
    for (size_t i = 0; i < 200 * KIB; i++) {
        noise[i] = (char)(i * 7919 >> 3);
    }
    const struct slice mails[] = {
        SLICE_INIT(""),
        SLICE_INIT("\r\n"),
        SLICE_INIT("\0\0\0"),
        SLICE_INIT("no header at all"),
        SLICE_INIT("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x"),
        SLICE_INIT("From: \xff\xfe <\r\nTo: ,,,;:@\r\nMessage-ID: \r\nReferences: <><\r\n\r\n"),
        slice_of(noise, 200 * KIB),
    };
    for (size_t i = 0; i < ARRAY_LEN(mails); i++) {
        struct msg *msg = receive_msg(&to, "a@example.com", mails[i]);
        cr_assert_eq(receive_call(&to, msg), ERR_OK, "mail %zu", i);
        struct row_mail row = received_row(&to, msg->body.inbound.id, &arena);
        cr_expect_eq(row.size_bytes, mails[i].len);
        cr_expect(slice_is_utf8(row.subject));
        rig_put(to.rig, msg);
    }
    arena_fini(&arena);
    receiver_close(&to);
}

static void add_many(struct buf *out, const char *what, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_str(out, what);
    }
}

Test(intake, keeps_rows_small_however_long_the_fields, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    struct buf mail;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    buf_init(&mail, MIB);
    buf_add_str(&mail, "From: ");
    add_many(&mail, "a", 9000);
    buf_add_str(&mail, "@example.net\r\nTo: x@y");
    add_many(&mail, ", \"=?utf-8?q?=E2=82=AC?=\" <a@b.example>", 1500);
    buf_add_str(&mail, "\r\nSubject: ");
    add_many(&mail, "\xe2\x82\xac", 3000);
    buf_add_str(&mail, "\r\nMessage-ID: <");
    add_many(&mail, "m", 9000);
    buf_add_str(&mail, "@x>\r\n\r\nbody\r\n");
    struct msg *msg = receive_msg(&to, "a@example.com", buf_slice(&mail));
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    struct row_mail row = received_row(&to, msg->body.inbound.id, &arena);
    rig_put(to.rig, msg);
    cr_expect_leq(row.from_addr.len, ADDR_MAX);
    cr_expect_leq(row.subject.len, SUBJECT_MAX);
    cr_expect(slice_is_utf8(row.subject), "cut between characters");
    cr_expect_leq(row.message_id.len, RECEIVED_ID_MAX);
    cr_expect_leq(row.to.len, RECEIVED_ADDRS_BYTES);
    struct slice rest = row.to;
    struct slice item;
    uint32_t count = 0;
    while (get_slice(&rest, &item)) {
        count++;
    }
    cr_expect_eq(rest.len, 0, "whole items only");
    cr_expect_gt(count, 100);
    buf_fini(&mail);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, keeps_the_data_of_equal_attachments_once, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id id = receive(&to, "a@example.com",
                           "Content-Type: multipart/mixed; boundary=x\r\n\r\n"
                           "--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n"
                           "--x\r\nContent-Type: image/png; name=a.png\r\n"
                           "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
                           "--x\r\nContent-Type: image/png; name=b.png\r\n\r\nother\r\n"
                           "--x\r\nContent-Type: image/gif; name=c.gif\r\n"
                           "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--x--\r\n");
    cr_expect_eq(received_row(&to, id, &arena).attachment_count, 3);
    struct row_attachment rows[3];
    for (uint32_t i = 0; i < 3; i++) {
        rows[i] = rig_get_attachment(to.rig, to.account, key_attachment(to.account, id, i), &arena);
        cr_expect(!id_is_none(rows[i].id));
    }
    cr_expect_eq(rows[0].data_index, 0);
    cr_expect_eq(rows[1].data_index, 1);
    cr_expect_eq(rows[2].data_index, 0);
    cr_expect_eq(rows[2].size_bytes, 3);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_attachment_day(rows[0].day)), 2);
    arena_fini(&arena);
    receiver_close(&to);
}

/* ---- large mails ---------------------------------------------------------------------------- */

/* A mail of that size, with an attachment that is most of it. */
static struct slice large_mail(struct arena *arena, size_t len)
{
    static const char head[] =
        "Subject: large\r\nContent-Type: application/pdf; name=l.pdf\r\n\r\n";
    char *text = arena_bytes(arena, len);
    memset(text, 'x', len);
    memcpy(text, head, sizeof(head) - 1);
    return slice_of(text, len);
}

static struct msg *end_of_stage(struct receiver *to, struct id staged, uint32_t chunks,
                                struct slice mail)
{
    struct msg *msg = receive_msg(to, "a@example.com", SLICE(""));
    msg->body.inbound.mail = staged;
    msg->body.inbound.chunks = chunks;
    msg->body.inbound.data = SLICE("");
    msg->body.inbound.size_bytes = mail.len;
    msg->body.inbound.digest = crypto_sha256(mail);
    return msg;
}

Test(intake, makes_a_mail_of_what_was_staged, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    uint32_t chunks;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    struct slice mail = large_mail(&arena, 2 * CHUNK_BYTES + 77);
    struct id staged = receive_staged(&to, mail, &chunks);
    cr_expect_eq(chunks, 3);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_stages()), 1);
    struct msg *msg = end_of_stage(&to, staged, chunks, mail);
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_expect(id_equal(msg->body.inbound.id, staged));
    rig_put(to.rig, msg);
    struct row_mail row = received_row(&to, staged, &arena);
    cr_expect(slice_equal(row.subject, SLICE("large")));
    cr_expect_eq(row.chunk_count, 4);
    cr_expect_eq(row.attachment_count, 1);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_stages()), 0);
    rig_restart(to.rig);
    rig_settle(to.rig);
    cr_expect(rig_has(to.rig, to.account, key_chunk(to.account, staged, 3)), "it is a mail's now");
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, drops_the_chunks_of_a_repetition, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    uint32_t chunks;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    struct slice mail = large_mail(&arena, CHUNK_BYTES + 1);
    struct id first = receive_staged(&to, mail, &chunks);
    struct msg *msg = end_of_stage(&to, first, chunks, mail);
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    rig_put(to.rig, msg);
    struct id second = receive_staged(&to, mail, &chunks);
    msg = end_of_stage(&to, second, chunks, mail);
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    cr_expect(msg->body.inbound.is_duplicate);
    cr_expect(id_equal(msg->body.inbound.id, first));
    rig_put(to.rig, msg);
    cr_expect(!rig_has(to.rig, to.account, key_chunk(to.account, second, 1)));
    cr_expect(rig_has(to.rig, to.account, key_chunk(to.account, first, 1)));
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_stages()), 0);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, refuses_chunks_that_belong_nowhere, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    uint32_t chunks;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    struct slice mail = large_mail(&arena, CHUNK_BYTES + 1);
    struct id nobody = shard_id(rig_state(to.rig, to.account), to.account);
    cr_expect_eq(receive_stage(&to, STAGE_ADD, &nobody, 1, SLICE("x")), ERR_NOT_FOUND);
    cr_expect_eq(receive_stage(&to, STAGE_DROP, &nobody, 0, SLICE("")), ERR_OK);
    struct id id = receive_staged(&to, mail, &chunks);
    cr_expect_eq(receive_stage(&to, STAGE_ADD, &id, 0, SLICE("x")), ERR_INVALID, "the trace's");
    cr_expect_eq(receive_stage(&to, STAGE_ADD, &id, 3, SLICE("")), ERR_INVALID);
    cr_expect_eq(receive_stage(&to, STAGE_ADD, &id, 3, mail), ERR_INVALID, "too long");
    cr_expect_eq(receive_stage(&to, STAGE_ADD, &id, 1000, SLICE("x")), ERR_INVALID);
    struct msg *msg = end_of_stage(&to, id, chunks + 1, mail);
    cr_expect_eq(receive_call(&to, msg), ERR_CORRUPT, "a chunk is missing");
    rig_put(to.rig, msg);
    cr_expect_eq(receive_stage(&to, STAGE_DROP, &id, 0, SLICE("")), ERR_OK);
    cr_expect(!rig_has(to.rig, to.account, key_chunk(to.account, id, 1)));
    msg = end_of_stage(&to, id, chunks, mail);
    cr_expect_eq(receive_call(&to, msg), ERR_NOT_FOUND, "dropped");
    rig_put(to.rig, msg);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 0);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, bounds_how_many_mails_are_on_their_way, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct id ids[STAGES_OPEN_MAX];
    struct id more = {.bytes = {0}};
    for (size_t i = 0; i < STAGES_OPEN_MAX; i++) {
        ids[i] = more;
        cr_assert_eq(receive_stage(&to, STAGE_BEGIN, &ids[i], 0, SLICE("")), ERR_OK, "%zu", i);
    }
    struct id none = more;
    cr_expect_eq(receive_stage(&to, STAGE_BEGIN, &none, 0, SLICE("")), ERR_BUSY);
    cr_expect_eq(receive_stage(&to, STAGE_DROP, &ids[7], 0, SLICE("")), ERR_OK);
    cr_expect_eq(receive_stage(&to, STAGE_BEGIN, &ids[7], 0, SLICE("")), ERR_OK);
    /* One whose row was lost gives its place to somebody who needs it. */
    cr_expect_eq(receive_stage(&to, STAGE_DROP, &ids[9], 0, SLICE("")), ERR_OK);
    to.rig->fail_at = to.rig->commit_count + 1;
    none = more;
    cr_expect_eq(receive_stage(&to, STAGE_BEGIN, &none, 0, SLICE("")), ERR_STORAGE);
    enum err err = ERR_BUSY;
    for (size_t i = 0; err == ERR_BUSY && i < STAGES_OPEN_MAX; i++) {
        none = more;
        err = receive_stage(&to, STAGE_BEGIN, &none, 0, SLICE(""));
    }
    cr_expect_eq(err, ERR_OK);
    receiver_close(&to);
}

static void settle_until_swept(struct receiver *to)
{
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (rig_count(to->rig, to->account, key_prefix_stages()) > 0) {
        cr_assert_lt(rig_seconds(), end, "not swept");
        rig_settle(to->rig);
    }
}

Test(intake, sweeps_what_an_earlier_run_left, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    uint32_t chunks;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    struct slice mail = large_mail(&arena, CHUNK_BYTES + 1);
    struct id ids[STAGE_SWEEP_PAGE + 5];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = receive_staged(&to, i == 0 ? mail : SLICE("x"), &chunks);
    }
    rig_restart(to.rig);
    settle_until_swept(&to);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        cr_expect(!rig_has(to.rig, to.account, key_chunk(to.account, ids[i], 1)), "%zu", i);
    }
    struct id fresh = receive_staged(&to, SLICE("x"), &chunks);
    stage_sweep(rig_state(to.rig, to.account));
    rig_settle(to.rig);
    cr_expect(rig_has(to.rig, to.account, key_chunk(to.account, fresh, 1)), "this run's stays");
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, can_end_a_stage_again_when_the_commit_of_its_end_failed, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    uint32_t chunks;
    arena_init(&arena, 4 * KIB, 16 * MIB);
    struct slice mail = large_mail(&arena, CHUNK_BYTES + 9);
    struct id staged = receive_staged(&to, mail, &chunks);
    struct msg *msg = end_of_stage(&to, staged, chunks, mail);
    to.rig->fail_at = to.rig->commit_count + 1;
    cr_expect_eq(receive_call(&to, msg), ERR_STORAGE);
    rig_put(to.rig, msg);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_stages()), 1);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_attachment_day(0)), 0);
    msg = end_of_stage(&to, staged, chunks, mail);
    cr_expect_eq(receive_call(&to, msg), ERR_OK);
    cr_expect(!msg->body.inbound.is_duplicate);
    rig_put(to.rig, msg);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 1);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(intake, puts_mail_off_while_it_has_its_hands_full, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct shard *shard = rig_state(to.rig, to.account);
    struct msg *msg = receive_msg(&to, "a@example.com", SLICE(RECEIVE_MAIL));
    shard->intake_bytes = INTAKE_BYTES_MAX;
    cr_expect_eq(receive_call(&to, msg), ERR_BUSY);
    rig_put(to.rig, msg);
    shard->intake_bytes = 0;
    (void)receive(&to, "a@example.com", RECEIVE_MAIL);
    cr_expect_eq(shard->intake_bytes, 0, "given back");
    receiver_close(&to);
}
