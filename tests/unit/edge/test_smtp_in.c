/* test_smtp_in.c - sessions of incoming SMTP: dialogues, recipients, limits, proxies, the end.
 *
 * Not here: large mails and chunks (test_smtp_in_mail), TLS and verdicts (test_smtp_in_trust), the
 * machine's own grammar (net/test_smtp_server), real peers (flow/test_inbound_smtp).
 */
#include "support/fake_dns.h"

#include "smtp_rig.h"

#define T .timeout = 60

static void start(struct post *post, struct peer *peer)
{
    post_init(post);
    rig_start(&post->rig);
    peer_open(post, peer);
}

static void end(struct post *post, struct peer *peer)
{
    peer_close(peer);
    post_end(post);
}

static void deliver(struct peer *peer)
{
    peer_data(peer);
    peer_write(peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(peer, "250 2.0.0 Ok: queued as msg_");
}

/* ---- dialogues ------------------------------------------------------------------------------ */

Test(smtp_in, takes_a_mail_and_says_its_id, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    deliver(&peer);
    cr_assert_eq(post.stored_count, 1);
    cr_assert(slice_equal(buf_slice(&post.stored[0].bytes), SLICE(MAIL_TEXT)));
    cr_assert(about_has(&post.stored[0], "from=a@from.test\nto=ok@mine.test\nhelo=client.test\n"
                                         "client=127.0.0.1\n"));
    peer_talk(&peer, "QUIT", "221");
    peer_expect_end(&peer);
    end(&post, &peer);
}

Test(smtp_in, offers_what_it_can_and_no_auth, T)
{
    static const char *const offers[] = {"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES",
                                         "CHUNKING",   "SMTPUTF8", "SIZE 31457280"};
    struct post post;
    struct peer peer;
    post_init(&post);
    rig_start(&post.rig);
    peer_connect(&post, &peer);
    peer_expect(&peer, "220 mx.meerkat.test ESMTP");
    peer_write(&peer, SLICE("EHLO client.test\r\n"));
    POST_WAIT(&post, (peer_read(&peer), reply_len(buf_slice(&peer.in)) > 0));
    for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
        cr_assert_neq(slice_find(buf_slice(&peer.in), slice_str(offers[i])), SIZE_MAX, "%s",
                      offers[i]);
    }
    cr_assert_eq(slice_find(buf_slice(&peer.in), SLICE("AUTH")), SIZE_MAX);
    cr_assert_eq(slice_find(buf_slice(&peer.in), SLICE("STARTTLS")), SIZE_MAX, "no certificate");
    peer_expect(&peer, "250-");
    peer_talk(&peer, "AUTH PLAIN AGEAYg==", "502");
    peer_talk(&peer, "STARTTLS", "502");
    end(&post, &peer);
}

Test(smtp_in, takes_several_mails_over_one_connection, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    deliver(&peer);
    deliver(&peer);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RSET", "250");
    deliver(&peer);
    cr_assert_eq(post.stored_count, 3);
    end(&post, &peer);
}

#define PIPELINED                                                                                  \
    SENDER "\r\nRCPT TO:<ok@mine.test>\r\nRCPT TO:<nobody@mine.test>\r\nRCPT "                     \
           "TO:<x@elsewhere.test>\r\nRCPT TO:<two@sub.mine.test>\r\nDATA\r\n"

static void expect_pipelined(struct peer *peer)
{
    peer_expect(peer, "250 2.1.0");
    peer_expect(peer, "250 2.1.5");
    peer_expect(peer, "550 5.1.1");
    peer_expect(peer, "550 5.7.1");
    peer_expect(peer, "250 2.1.5");
    peer_expect(peer, "354");
    peer_write(peer, SLICE(MAIL_TEXT ".\r\nNOOP\r\nQUIT\r\n"));
    peer_expect(peer, "250 2.0.0 Ok");
    peer_expect(peer, "250 2.0.0 ok");
    peer_expect(peer, "221");
    peer_expect_end(peer);
}

Test(smtp_in, answers_pipelined_commands_in_their_order, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_write(&peer, SLICE(PIPELINED));
    expect_pipelined(&peer);
    cr_assert(about_has(&post.stored[0], "to=ok@mine.test\nto=two@sub.mine.test\n"));
    end(&post, &peer);
}

Test(smtp_in, answers_the_same_when_bytes_come_one_by_one, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    for (size_t i = 0; i < sizeof PIPELINED - 1; i++) {
        peer_write(&peer, slice_of(&PIPELINED[i], 1));
    }
    expect_pipelined(&peer);
    end(&post, &peer);
}

Test(smtp_in, takes_a_mail_of_who_closes_its_side_behind_it, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_data(&peer);
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\nQUIT\r\n"));
    cr_assert_eq(shutdown(peer.fd, SHUT_WR), 0);
    peer_expect(&peer, "250 2.0.0 Ok: queued");
    peer_expect(&peer, "221");
    end(&post, &peer);
}

/* ---- recipients ----------------------------------------------------------------------------- */

Test(smtp_in, tells_each_recipient_what_its_account_says, T)
{
    static const struct {
        const char *line;
        const char *reply;
    } table[] = {
        {"RCPT TO:<ok@mine.test>", "250 2.1.5"},
        {"RCPT TO:<nobody@mine.test>", "550 5.1.1"},
        {"RCPT TO:<x@elsewhere.test>", "550 5.7.1"},
        {"RCPT TO:<x%elsewhere.test@mine.test>", "250 2.1.5"}, /* no more than a strange name */
        {"RCPT TO:<new@mine.test>", "550 5.7.1"},
        {"RCPT TO:<off@mine.test>", "550 5.2.1"},
        {"RCPT TO:<full@mine.test>", "452 4.2.2"},
        {"RCPT TO:<disk@mine.test>", "452 4.3.1"},
        {"RCPT TO:<busy@mine.test>", "451 4.3.2"},
        {"RCPT TO:<io@mine.test>", "451 4.3.0"},
        {"RCPT TO:<ok@broken.test>", "451 4.3.0"},
        {"RCPT TO:<ok@[127.0.0.1]>", "550 5.7.1"},
        {"RCPT TO:<postmaster>", "550 5.7.1"}, /* nobody has our name */
        {"RCPT TO:<@hop.test:ok@mine.test>", "250 2.1.5"},
    };
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        peer_talk(&peer, table[i].line, table[i].reply);
    }
    end(&post, &peer);
}

Test(smtp_in, takes_the_null_sender, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, "MAIL FROM:<>", "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250");
    cr_assert(about_has(&post.stored[0], "from=\n"));
    cr_assert(trace_has(&post.stored[0], "Return-Path: <>\r\n"));
    end(&post, &peer);
}

Test(smtp_in, gives_the_postmaster_to_who_has_our_name, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_hostname", "mx.mine.test");
    rig_start(&post.rig);
    peer_connect(&post, &peer);
    peer_expect(&peer, "220");
    peer_talk(&peer, "HELO c", "250");
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<Postmaster>", "250 2.1.5");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250");
    cr_assert(about_has(&post.stored[0], "to=postmaster@mx.mine.test\n"));
    cr_assert(trace_has(&post.stored[0], "with SMTP\r\n"));
    end(&post, &peer);
}

Test(smtp_in, compares_recipients_in_one_form, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, "MAIL FROM:<a@from.test> SMTPUTF8", "250");
    peer_talk(&peer, "RCPT TO:<OK@MINE.Test>", "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    peer_talk(&peer, "RCPT TO:<\"ok\"@mine.test>", "250");
    peer_talk(&peer,
              "RCPT TO:<gr\xc3\xbc\xc3\x9f"
              "e@b\xc3\xbc"
              "cher.mine.test>",
              "250");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250");
    cr_assert(about_has(&post.stored[0], "from=a@from.test\nto=gr\xc3\xbc\xc3\x9f"
                                         "e@xn--bcher-kva.mine.test\nto=ok@mine.test\nhelo="));
    cr_assert(trace_has(&post.stored[0], "with UTF8SMTP\r\n"));
    end(&post, &peer);
}

Test(smtp_in, brings_bounces_to_the_account_that_their_address_names, T)
{
    /* 48 bits of time, 64 of account, 16 of sequence: the account is 101. */
    static const char mail[] = "0123456789ab"
                               "0000000000000065"
                               "0001";
    static const struct {
        const char *format;
        const char *reply;
    } table[] = {
        {"RCPT TO:<b.%s.3.1234abcd@bounces.send.test>", "250"},
        {"RCPT TO:<B.%s.3.1234ABCD@mail.meerkat.test>", "250"},
        {"RCPT TO:<b.%s.3.1234abcd@elsewhere.test>", "550 5.7.1"},
        {"RCPT TO:<b.%sff.3.1234abcd@bounces.send.test>", "550 5.7.1"},
        {"RCPT TO:<c.%s.3.1234abcd@bounces.send.test>", "550 5.7.1"},
    };
    struct post post;
    struct peer peer;
    char line[160];
    start(&post, &peer);
    peer_talk(&peer, "MAIL FROM:<>", "250");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        (void)snprintf(line, sizeof line, table[i].format, mail);
        peer_talk(&peer, line, table[i].reply);
    }
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250 2.0.0 Ok");
    cr_assert_eq(post.stored_count, 1);
    cr_assert_eq(post.stored[0].account.value, 101);
    end(&post, &peer);
}

Test(smtp_in, asks_for_a_domain_once_in_a_row, T)
{
    struct post post;
    struct peer peer;
    char line[64];
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    for (int i = 0; i < 20; i++) {
        (void)snprintf(line, sizeof line, "RCPT TO:<u%d@mine.test>", i);
        peer_talk(&peer, line, "250");
    }
    cr_assert_eq(post.asked_directory, 1);
    end(&post, &peer);
}

Test(smtp_in, takes_no_more_than_a_hundred_recipients, T)
{
    struct post post;
    struct peer peer;
    char line[64];
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    for (int i = 0; i < INBOUND_RCPT_MAX; i++) {
        (void)snprintf(line, sizeof line, "RCPT TO:<u%d@mine.test>", i);
        peer_talk(&peer, line, "250");
    }
    peer_talk(&peer, "RCPT TO:<more@mine.test>", "452 4.5.3");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250");
    end(&post, &peer);
}

Test(smtp_in, takes_no_more_than_ten_accounts_at_once, T)
{
    struct post post;
    struct peer peer;
    char line[64];
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    for (int i = 0; i < INBOUND_ACCOUNTS_MAX; i++) {
        (void)snprintf(line, sizeof line, "RCPT TO:<ok@a%d.test>", i);
        peer_talk(&peer, line, "250");
    }
    peer_talk(&peer, "RCPT TO:<ok@a99.test>", "452 4.5.3");
    peer_talk(&peer, "RCPT TO:<too@a3.test>", "250");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250 2.0.0 Ok: queued as msg_");
    cr_assert_eq(post.stored_count, INBOUND_ACCOUNTS_MAX);
    cr_assert_eq(post.stored[3].account.value, 103);
    cr_assert(about_has(&post.stored[3], "from=a@from.test\nto=ok@a3.test\nto=too@a3.test\nhelo"));
    end(&post, &peer);
}

Test(smtp_in, puts_a_mail_off_that_one_of_its_accounts_could_not_store, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    post.inbound_err = ERR_IO;
    post.inbound_fails_for = (struct account_id){101};
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@a0.test>", "250");
    peer_talk(&peer, "RCPT TO:<ok@a1.test>", "250");
    peer_talk(&peer, "RCPT TO:<ok@a2.test>", "250");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "451 4.3.0");
    cr_assert_eq(post.stored_count, 2);
    post.inbound_err = ERR_OK;
    deliver(&peer);
    end(&post, &peer);
}

Test(smtp_in, refuses_data_without_a_recipient, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<nobody@mine.test>", "550");
    peer_talk(&peer, "DATA", "554 5.5.1");
    deliver(&peer);
    end(&post, &peer);
}

/* ---- overload ------------------------------------------------------------------------------- */

static uint32_t take_all(struct post *post, struct msg *msgs[EDGE_POOL_MSGS])
{
    uint32_t count = 0;
    struct msg *msg;
    while ((msg = msg_take(edge_actor(post->rig.edge), MSG_SHARD_RCPT)) != NULL) {
        msgs[count++] = msg;
    }
    return count;
}

static void put_all(struct post *post, struct msg *msgs[EDGE_POOL_MSGS], uint32_t count)
{
    while (count > 0) {
        msg_put(edge_actor(post->rig.edge), msgs[--count]);
    }
}

Test(smtp_in, puts_off_what_finds_the_pool_empty, T)
{
    static struct msg *msgs[EDGE_POOL_MSGS];
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    uint32_t count = take_all(&post, msgs);
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "451 4.3.2");
    put_all(&post, msgs, count);
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    peer_talk(&peer, "DATA", "354");
    count = take_all(&post, msgs);
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "451 4.3.2");
    put_all(&post, msgs, count);
    cr_assert_eq(post.stored_count, 0);
    deliver(&peer);
    end(&post, &peer);
}

Test(smtp_in, takes_no_mail_when_bodies_fill_the_loops_memory, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    struct edge *edge = post.rig.edge;
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    edge->body_bytes += EDGE_BODY_BYTES;
    peer_talk(&peer, "DATA", "451 4.3.2");
    edge->body_bytes -= EDGE_BODY_BYTES;
    peer_data(&peer);
    edge->body_bytes += EDGE_BODY_BYTES; /* full once the mail is under way */
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "451 4.3.2");
    edge->body_bytes -= EDGE_BODY_BYTES;
    deliver(&peer);
    end(&post, &peer);
}

Test(smtp_in, takes_no_more_sessions_than_a_loop_may_have, T)
{
    struct post post;
    struct peer peers[3];
    post_init(&post);
    set(&post.rig, "smtp_sessions_max", "2");
    rig_start(&post.rig);
    peer_open(&post, &peers[0]);
    peer_open(&post, &peers[1]);
    peer_connect(&post, &peers[2]);
    peer_expect_end(&peers[2]);
    peer_close(&peers[2]);
    peer_close(&peers[0]);
    POST_WAIT(&post, post_sessions(&post) == 1);
    peer_open(&post, &peers[0]);
    deliver(&peers[0]);
    peer_close(&peers[0]);
    end(&post, &peers[1]);
}

/* ---- who may come in ------------------------------------------------------------------------ */

Test(smtp_in, bounds_the_sessions_of_an_address, T)
{
    struct post post;
    struct peer peers[3];
    post_init(&post);
    set(&post.rig, "smtp_address_sessions_max", "2");
    rig_start(&post.rig);
    peer_open(&post, &peers[0]);
    peer_open(&post, &peers[1]);
    peer_connect(&post, &peers[2]);
    peer_expect(&peers[2], "421 4.7.0");
    peer_expect_end(&peers[2]);
    peer_close(&peers[2]);
    peer_close(&peers[1]);
    POST_WAIT(&post, post_sessions(&post) == 1);
    peer_open(&post, &peers[1]);
    peer_close(&peers[1]);
    end(&post, &peers[0]);
}

Test(smtp_in, bounds_the_connections_of_an_address_a_minute, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_address_per_min", "3");
    rig_start(&post.rig);
    for (int i = 0; i < 3; i++) {
        peer_open(&post, &peer);
        peer_close(&peer);
        POST_WAIT(&post, post_sessions(&post) == 0);
    }
    peer_connect(&post, &peer);
    peer_expect(&peer, "421 4.7.0");
    peer_close(&peer);
    pass(&post.rig, 60000);
    peer_open(&post, &peer);
    end(&post, &peer);
}

Test(smtp_in, bans_who_harvests_addresses, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_rcpt_failures_max", "5");
    rig_start(&post.rig);
    peer_open(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    for (int i = 0; i < 4; i++) {
        peer_talk(&peer, "RCPT TO:<nobody@mine.test>", "550 5.1.1");
    }
    peer_talk(&peer, "RCPT TO:<nobody@mine.test>", "550 5.1.1");
    peer_expect(&peer, "421 4.7.0");
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_connect(&post, &peer);
    peer_expect(&peer, "554 5.7.1");
    peer_expect_end(&peer);
    peer_close(&peer);
    pass(&post.rig, SMTP_GUARD_BAN_MS + 1);
    peer_open(&post, &peer);
    end(&post, &peer);
}

Test(smtp_in, greets_after_a_pause_and_not_who_cannot_wait, T)
{
    struct post post;
    struct peer patient;
    struct peer hasty;
    post_init(&post);
    set(&post.rig, "smtp_greet_delay_ms", "5000");
    rig_start(&post.rig);
    peer_connect(&post, &patient);
    peer_connect(&post, &hasty);
    peer_write(&hasty, SLICE("EHLO bot\r\n"));
    POST_WAIT(&post, post_sessions(&post) == 2);
    pass(&post.rig, 4000);
    peer_write(&hasty, SLICE("MAIL FROM:<bot@from.test>\r\n"));
    post_settle(&post);
    peer_read(&patient);
    cr_assert_eq(patient.in.len, 0, "said before its time");
    pass(&post.rig, 1001);
    peer_expect(&hasty, "554 5.7.1");
    peer_expect_end(&hasty);
    peer_expect(&patient, "220");
    peer_close(&hasty);
    end(&post, &patient);
}

static const char proxy_v2[] =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\0\x63\0\x19";

Test(smtp_in, believes_the_proxy_header_of_a_balancer, T)
{
    static const struct {
        struct slice header;
        const char *client;
        const char *literal;
    } table[] = {
        {SLICE_INIT("PROXY TCP4 192.0.2.9 127.0.0.1 99 25\r\n"), "client=192.0.2.9\n",
         "([192.0.2.9])"},
        {SLICE_INIT("PROXY TCP6 2001:db8::9 ::1 99 25\r\n"), "client=2001:db8::9\n",
         "([IPv6:2001:db8::9])"},
        {{proxy_v2, sizeof proxy_v2 - 1}, "client=192.0.2.7\n", "([192.0.2.7])"},
        {SLICE_INIT("PROXY UNKNOWN\r\n"), "client=127.0.0.1\n", "([127.0.0.1])"},
    };
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_proxies", "10.0.0.0/8, 127.0.0.1");
    rig_start(&post.rig);
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
        peer_connect(&post, &peer);
        for (size_t at = 0; at < table[i].header.len; at++) {
            peer_write(&peer, slice_sub(table[i].header, at, 1));
        }
        peer_expect(&peer, "220");
        peer_talk(&peer, "EHLO client.test", "250");
        deliver(&peer);
        cr_assert(about_has(&post.stored[i], table[i].client));
        cr_assert(trace_has(&post.stored[i], table[i].literal));
        peer_close(&peer);
    }
    post_end(&post);
}

Test(smtp_in, hears_no_balancer_without_its_header, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_proxies", "127.0.0.0/8");
    rig_start(&post.rig);
    peer_connect(&post, &peer);
    peer_write(&peer, SLICE("EHLO client.test\r\n"));
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_connect(&post, &peer);
    POST_WAIT(&post, post_sessions(&post) == 1);
    pass(&post.rig, SMTP_IN_COMMAND_MS + 1);
    peer_expect_end(&peer);
    end(&post, &peer);
}

Test(smtp_in, takes_no_proxy_header_of_others, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_proxies", "192.0.2.0/24");
    rig_start(&post.rig);
    peer_connect(&post, &peer);
    peer_expect(&peer, "220");
    peer_talk(&peer, "PROXY TCP4 192.0.2.9 127.0.0.1 99 25", "500");
    end(&post, &peer);
}

/* ---- smuggling ------------------------------------------------------------------------------ */

Test(smtp_in, lets_no_second_mail_be_smuggled, T)
{
    static const char *const ends[] = {"\n.\n",       "\n.\r\n", "\r.\r\n",
                                       "\r.\r",       "\r\n.\n", "\r\n.\r",
                                       "\r\n\0.\r\n", "\n.\r",   "\r\r\n.\r\r\n"};
    static const char hidden[] = "MAIL FROM:<evil@from.test>\r\nRCPT TO:<ok@mine.test>\r\nDATA\r\n"
                                 "Subject: smuggled\r\n\r\nx";
    struct post post;
    struct peer peer;
    start(&post, &peer);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        size_t len = i == 6 ? 6 : strlen(ends[i]);
        peer_data(&peer);
        peer_write(&peer, SLICE("Subject: outer\r\n\r\nbody"));
        peer_write(&peer, slice_of(ends[i], len));
        peer_write(&peer, slice_str(hidden));
        peer_write(&peer, SLICE("\r\n.\r\n"));
        peer_expect(&peer, "550 5.6.11");
        peer_talk(&peer, "NOOP", "250");
    }
    cr_assert_eq(post.stored_count, 0);
    end(&post, &peer);
}

Test(smtp_in, keeps_stuffed_dots_as_the_sender_meant_them, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_data(&peer);
    peer_write(&peer, SLICE("A: b\r\n\r\n..\r\n...x\r\n. y\r\n.\r\n"));
    peer_expect(&peer, "250");
    cr_assert(
        slice_equal(buf_slice(&post.stored[0].bytes), SLICE("A: b\r\n\r\n.\r\n..x\r\n y\r\n")));
    end(&post, &peer);
}

/* ---- deadlines ------------------------------------------------------------------------------ */

Test(smtp_in, waits_five_minutes_for_a_command, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    pass(&post.rig, SMTP_IN_COMMAND_MS - 1000);
    peer_talk(&peer, "NOOP", "250");
    pass(&post.rig, SMTP_IN_COMMAND_MS - 1000);
    peer_write(&peer, SLICE("NO")); /* dripping moves no deadline */
    pass(&post.rig, 2000);
    peer_expect(&peer, "421 4.4.2");
    peer_expect_end(&peer);
    end(&post, &peer);
}

Test(smtp_in, gives_up_a_mail_that_stalls_or_drips, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_data(&peer);
    pass(&post.rig, SMTP_IN_DATA_MS + 1);
    peer_expect(&peer, "421 4.4.2");
    peer_close(&peer);
    peer_open(&post, &peer);
    peer_data(&peer);
    for (uint64_t spent = 0; spent < SMTP_IN_MAIL_MS; spent += SMTP_IN_DATA_MS - 1000) {
        peer_write(&peer, SLICE("x\r\n"));
        pass(&post.rig, SMTP_IN_DATA_MS - 1000);
    }
    peer_expect(&peer, "421 4.4.2");
    end(&post, &peer);
}

Test(smtp_in, keeps_the_operators_one_limit, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    set(&post.rig, "smtp_timeout_ms", "700");
    rig_start(&post.rig);
    peer_open(&post, &peer);
    pass(&post.rig, 600);
    peer_data(&peer);
    pass(&post.rig, 701);
    peer_expect(&peer, "421 4.4.2");
    end(&post, &peer);
}

Test(smtp_in, does_not_hurry_a_shard, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    post.is_holding = true;
    peer_write(&peer, SLICE("RCPT TO:<ok@mine.test>\r\n"));
    WAIT_FOR(&post.rig, post.rig.got_count == 1);
    pass(&post.rig, 2 * SMTP_IN_COMMAND_MS);
    post.is_holding = false;
    peer_expect(&peer, "250 2.1.5");
    end(&post, &peer);
}

/* ---- leaving -------------------------------------------------------------------------------- */

Test(smtp_in, forgets_a_client_that_leaves_at_any_step, T)
{
    static const char *const lines[] = {"EHLO x\r\n",
                                        SENDER "\r\n",
                                        "RCPT TO:<ok@mine.test>\r\n",
                                        "RCPT TO:<ok@a1.test>\r\n",
                                        "DATA\r\n",
                                        "Subject: x\r\n",
                                        "\r\nbody\r\n",
                                        ".\r\n"};
    struct post post;
    struct peer peer;
    post_init(&post);
    rig_start(&post.rig);
    for (int is_holding = 0; is_holding < 2; is_holding++) {
        for (size_t steps = 0; steps <= ARRAY_LEN(lines); steps++) {
            peer_connect(&post, &peer);
            peer_expect(&peer, "220");
            for (size_t i = 0; i < steps; i++) {
                post.is_holding = is_holding == 1 && i + 1 == steps;
                peer_write(&peer, slice_str(lines[i]));
                post_settle(&post);
            }
            peer_close(&peer);
            post_settle(&post);
            post.is_holding = false;
            POST_WAIT(&post, post_sessions(&post) == 0);
            cr_assert_eq(post.rig.edge->body_bytes, 0, "after %zu steps", steps);
        }
    }
    post_end(&post);
}

Test(smtp_in, says_good_bye_at_a_drain, T)
{
    struct post post;
    struct peer idle;
    struct peer busy;
    struct peer asking;
    start(&post, &idle);
    peer_open(&post, &busy);
    peer_open(&post, &asking);
    peer_data(&busy);
    peer_talk(&asking, SENDER, "250");
    post.is_holding = true;
    peer_write(&asking, SLICE("RCPT TO:<ok@mine.test>\r\n"));
    WAIT_FOR(&post.rig, post.rig.got_count == post.answered + 1);
    control(&post.rig, CONTROL_DRAIN, 60000);
    pass(&post.rig, 1000);
    post.is_holding = false;
    peer_expect(&idle, "421 4.3.2");
    peer_expect(&asking, "421 4.3.2");
    peer_write(&busy, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&busy, "250 2.0.0 Ok: queued");
    peer_expect(&busy, "421 4.3.2");
    peer_expect_end(&busy);
    cr_assert_eq(post.stored_count, 1);
    peer_close(&idle);
    peer_close(&busy);
    peer_close(&asking);
    POST_WAIT(&post, post.rig.controls_home == 2);
    post.rig.is_drained = true;
    post_end(&post);
}

Test(smtp_in, turns_away_who_comes_while_the_operator_drains, T)
{
    struct post post;
    struct peer idle;
    struct peer busy;
    struct peer late;
    start(&post, &idle);
    peer_open(&post, &busy);
    peer_data(&busy);
    control(&post.rig, CONTROL_TURN_AWAY, 0);
    peer_expect(&idle, "421 4.3.2");
    peer_connect(&post, &late);
    peer_expect(&late, "421 4.3.2");
    peer_expect_end(&late);
    peer_write(&busy, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&busy, "250 2.0.0 Ok: queued");
    peer_expect(&busy, "421 4.3.2");
    peer_expect_end(&busy);
    cr_assert_eq(post.stored_count, 1);
    peer_close(&busy);
    peer_close(&late);
    control(&post.rig, CONTROL_WELCOME, 0);
    POST_WAIT(&post, post.rig.controls_home == 3);
    peer_open(&post, &late);
    peer_close(&late);
    end(&post, &idle);
}

Test(smtp_in, cuts_off_who_is_not_done_at_the_end_of_a_drain, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_data(&peer);
    peer_write(&peer, SLICE("Subject: never done\r\n"));
    end(&post, &peer); /* drains and checks that nothing is left */
}

Test(smtp_in, leaves_http_to_others, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    rig_start(&post.rig);
    peer_connect(&post, &peer);
    peer_expect(&peer, "220");
    peer_talk(&peer, "POST / HTTP/1.1", "421 4.7.0");
    peer_expect_end(&peer);
    end(&post, &peer);
}

Test(smtp_in, leaves_messages_to_requests, T)
{
    static struct msg *msgs[EDGE_POOL_MSGS];
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    uint32_t count = 0;
    struct actor *actor = edge_actor(post.rig.edge);
    while (actor->pools[MSG_POOL_REQUEST].free_count > INBOUND_POOL_LEFT) {
        msgs[count++] = msg_take(actor, MSG_SHARD_SEND);
    }
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "451 4.3.2");
    msg_put(actor, msgs[--count]);
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    put_all(&post, msgs, count);
    end(&post, &peer);
}

Test(smtp_in, does_not_start_with_options_it_cannot_read, T)
{
    static const struct {
        const char *option;
        const char *value;
    } table[] = {{"smtp_proxies", "10.0.0.0/8, balancer.test"},
                 {"smtp_hostname", "two words"},
                 {"smtp_hostname", "mx.test;evil"},
                 {"smtp_hostname", "[127.0.0.1]"}};
    struct post post;
    post_init(&post);
    rig_start(&post.rig);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct smtp_in *smtp = NULL;
        set(&post.rig, table[i].option, table[i].value);
        cr_assert_eq(smtp_in_open(post.rig.edge, false, &smtp), ERR_INVALID, "%s", table[i].value);
        set(&post.rig, table[i].option, "");
    }
    post_end(&post);
}
