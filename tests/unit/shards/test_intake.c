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
