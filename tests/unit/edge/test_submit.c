/* test_submit.c - clients that submit mail: keys, envelopes, what is posted, what is answered.
 *
 * Not here: sessions as such (test_smtp_in), the header's rules (mail/test_submission), the gates
 * (shards/test_outbound), real clients (flow/test_submission).
 */
#include "submit_rig.h"

/* Once a test: GMime loses some bytes at each. */
TestSuite(submit, .init = mime_read_init, .fini = mime_read_fini);

#define T    .timeout = 60
#define MAIL "From: Ann <ann@from.test>\r\nTo: Bob <b@to.test>\r\nSubject: hi\r\n\r\nHello.\r\n"

static struct shard_send *await_send(struct scene *scene, uint32_t number)
{
    struct msg *msg = rig_await(&scene->rig, number);
    cr_assert_eq(msg->kind, MSG_SHARD_SEND);
    return &msg->body.send;
}

/* ---- keys ----------------------------------------------------------------------------------- */

Test(submit, offers_auth_under_tls_only, T)
{
    struct scene scene;
    struct sender sender;
    scene_init(&scene);
    rig_start(&scene.rig);
    sender_connect(&sender, &scene, scene.rig.submit_tcp_port);
    sender_expect(&sender, "220 mx.meerkat.test ESMTP");
    sender_write(&sender, SLICE("EHLO client.test\r\n"));
    cr_assert_not(sender_hears(&sender, "250-", "AUTH"));
    sender_talk(&sender, "AUTH PLAIN AGEAYg==", "530 5.7.0");
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "530 5.7.0");
    sender_talk(&sender, "STARTTLS", "220 2.0.0");
    sender_tls(&sender);
    sender_write(&sender, SLICE("EHLO client.test\r\n"));
    cr_assert(sender_hears(&sender, "250-", "AUTH PLAIN LOGIN"));
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "530 5.7.0");
    sender_auth(&sender);
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250 2.1.0");
    cr_assert_eq(scene.rig.check_count, 1);
    scene_done(&scene, &sender);
}

Test(submit, offers_what_it_can_do_and_no_dsn, T)
{
    static const char *const offers[] = {"PIPELINING", "8BITMIME",   "SMTPUTF8",     "CHUNKING",
                                         "REQUIRETLS", "AUTH PLAIN", "SIZE 31457280"};
    for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
        struct scene scene;
        struct sender sender;
        scene_ready(&scene, &sender);
        sender_write(&sender, SLICE("EHLO again.test\r\n"));
        cr_assert(sender_hears(&sender, "250-", offers[i]), "%s", offers[i]);
        sender_write(&sender, SLICE("EHLO again.test\r\n"));
        cr_assert_not(sender_hears(&sender, "250-", "DSN"));
        scene_done(&scene, &sender);
    }
}

Test(submit, takes_a_key_as_password_or_as_the_users_name, T)
{
    struct scene scene;
    struct sender sender;
    struct buf line;
    char coded[128];
    scene_init(&scene);
    rig_start(&scene.rig);
    buf_init(&line, 4 * KIB);
    sender_open(&sender, &scene);
    sender_talk(&sender, auth_line(&line, scene.rig.key.text, "whatever"), "235 2.7.0");
    sender_talk(&sender, "AUTH LOGIN", "503");
    sender_close(&sender);
    sender_open(&sender, &scene);
    sender_talk(&sender, "AUTH LOGIN", "334 VXNlcm5hbWU6");
    sender_talk(&sender, "bWU=", "334 UGFzc3dvcmQ6");
    size_t len = base64_encode(slice_str(scene.rig.key.text), coded);
    sender_write(&sender, slice_of(coded, len));
    sender_talk(&sender, "", "235 2.7.0");
    cr_assert_eq(scene.rig.check_count, 2);
    buf_fini(&line);
    scene_done(&scene, &sender);
}

Test(submit, lets_who_guesses_wait_and_then_sends_him_away, T)
{
    struct scene scene;
    struct sender sender;
    struct buf line;
    scene_init(&scene);
    set(&scene.rig, "submission_auth_failures_max", "2");
    rig_start(&scene.rig);
    buf_init(&line, 4 * KIB);
    sender_open(&sender, &scene);
    sender_write(&sender, slice_str(auth_line(&line, "a", "mk_live_guessed")));
    sender_write(&sender, SLICE("\r\n"));
    pass(&scene.rig, SUBMIT_AUTH_PAUSE_MS - 100);
    sender_pull(&sender);
    cr_assert_eq(sender.in.len, 0, "nothing is said before the pause is over");
    pass(&scene.rig, 200);
    sender_expect(&sender, "535 5.7.8");
    cr_assert_eq(scene.rig.check_count, 0, "a bad checksum asks no shard");
    scene.rig.check_err = ERR_UNAUTHORIZED;
    /* a good checksum of no key */
    sender_write(&sender, slice_str(auth_line(&line, "a", scene.rig.key.text)));
    sender_write(&sender, SLICE("\r\n"));
    WAIT_FOR(&scene.rig, scene.rig.check_count == 1);
    pass(&scene.rig, SUBMIT_AUTH_PAUSE_MS);
    sender_expect(&sender, "535 5.7.8");
    sender_expect(&sender, "421 4.7.0");
    sender_expect_end(&sender);
    sender_close(&sender);
    sender_connect(&sender, &scene, scene.rig.submit_tcp_port);
    sender_expect(&sender, "554 5.7.1");
    sender_close(&sender);
    sender_connect(&sender, &scene, scene.rig.submits_tcp_port); /* without a handshake */
    sender_expect_end(&sender);
    buf_fini(&line);
    scene_done(&scene, &sender);
}

Test(submit, says_what_is_wrong_with_a_key_that_exists, T)
{
    static const struct {
        enum err err;
        const char *reply;
    } table[] = {{ERR_SCOPE, "535 5.7.8"}, {ERR_KEY_IP, "535 5.7.8"}, {ERR_SUSPENDED, "535 5.7.8"},
                 {ERR_RATE, "454 4.7.0"},  {ERR_IO, "454 4.7.0"},     {ERR_BUSY, "454 4.7.0"}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct scene scene;
        struct sender sender;
        struct buf line;
        scene_init(&scene);
        rig_start(&scene.rig);
        buf_init(&line, 4 * KIB);
        scene.rig.check_err = table[i].err;
        sender_open(&sender, &scene);
        sender_talk(&sender, auth_line(&line, "a", scene.rig.key.text), table[i].reply);
        sender_talk(&sender, "MAIL FROM:<a@from.test>", "530 5.7.0");
        scene.rig.check_err = ERR_OK; /* and another try may be better */
        sender_auth(&sender);
        buf_fini(&line);
        scene_done(&scene, &sender);
    }
}

/* ---- envelopes ------------------------------------------------------------------------------ */

Test(submit, posts_the_mail_as_it_came_with_its_envelope, T)
{
    static const char raw[] = "From: =?utf-8?q?=C3=84nn?= <ann@from.test>\r\n"
                              "To: Bob <b@to.test>, not-sent-to@to.test\r\nCc: cc@TO.test\r\n"
                              "Bcc: d@to.test\r\nX-Meerkat-Tag: a\r\nX-Meerkat-Tag: b c\r\n"
                              "X-Meerkat-Metadata: {\"n\": 7, \"t\": \"x\", \"b\": true}\r\n"
                              "X-Meerkat-Idempotency-Key: key-1\r\n\r\n.Hello.\r\n\r\n";
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_talk(&sender, "MAIL FROM:<any@thing.test> REQUIRETLS BODY=8BITMIME", "250 2.1.0");
    sender_talk(&sender, "RCPT TO:<d@to.test>", "250 2.1.5");
    sender_talk(&sender, "RCPT TO:<CC@to.test>", "250 2.1.5");
    sender_talk(&sender, "RCPT TO:<b@TO.test>", "250 2.1.5");
    sender_talk(&sender, "RCPT TO:<e@to.test>", "250 2.1.5");
    char bdat[32];
    (void)snprintf(bdat, sizeof bdat, "BDAT %zu LAST\r\n", sizeof raw - 1);
    sender_write(&sender, slice_str(bdat));
    sender_write(&sender, slice_str(raw));
    const struct shard_send *send = await_send(&scene, 1);
    cr_expect(slice_equal(send->raw, slice_str(raw)));
    cr_expect(slice_equal(send->from.text, SLICE("ann@from.test")));
    cr_expect(slice_equal(send->from.name, SLICE("\xc3\x84nn")));
    cr_assert_eq(send->to_count, 1);
    cr_expect(slice_equal(send->to[0].text, SLICE("b@to.test")));
    cr_expect(slice_equal(send->to[0].name, SLICE("Bob")));
    cr_assert_eq(send->cc_count, 1);
    cr_expect(slice_equal(send->cc[0].text, SLICE("CC@to.test")));
    cr_assert_eq(send->bcc_count, 2);
    cr_expect_eq(pack_count(send->tags), 2);
    cr_expect_eq(pack_count(send->metadata), 9);
    cr_expect(slice_equal(send->idempotency_key, SLICE("key-1")));
    cr_expect(send->requires_tls);
    cr_expect_eq(send->caller.right, RIGHT_MAIL_SEND);
    cr_expect_not(send->caller.is_charged, "each mail is counted");
    cr_expect(send->text.len == 0 && send->html.len == 0 && send->subject.len == 0);
    cr_expect_gt(scene.rig.edge->body_bytes, 0);
    rig_answer(&scene.rig, 1, ERR_OK);
    cr_expect(sender_hears(&sender, "250 2.0.0 ", "Ok: queued as msg_"));
    cr_expect_eq(scene.rig.edge->body_bytes, 0);
    scene_done(&scene, &sender);
}

Test(submit, knows_the_same_mail_again_by_its_bytes_and_recipients, T)
{
    static const char *const rcpts[] = {"x@to.test", "x@to.test", "y@to.test"};
    struct sha256 hashes[3];
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    for (uint32_t i = 0; i < ARRAY_LEN(rcpts); i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "RCPT TO:<%s>", rcpts[i]);
        sender_talk(&sender, "MAIL FROM:<>", "250");
        sender_talk(&sender, line, "250");
        sender_talk(&sender, "DATA", "354");
        sender_write(&sender, SLICE("X-Meerkat-Idempotency-Key: k\r\n" MAIL ".\r\n"));
        hashes[i] = await_send(&scene, i + 1)->body_hash;
        rig_answer(&scene.rig, i + 1, ERR_OK);
        sender_expect(&sender, "250 2.0.0");
    }
    cr_expect(slice_equal(sha256_slice(&hashes[0]), sha256_slice(&hashes[1])));
    cr_expect_not(slice_equal(sha256_slice(&hashes[0]), sha256_slice(&hashes[2])));
    scene_done(&scene, &sender);
}

Test(submit, answers_pipelined_commands_in_their_order, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_write(&sender, SLICE("MAIL FROM:<a@from.test>\r\nRCPT TO:<bad>\r\nRCPT "
                                "TO:<x@[127.0.0.1]>\r\nRCPT TO:<b@to.test>\r\nDATA\r\n"));
    sender_expect(&sender, "250 2.1.0");
    sender_expect(&sender, "501");
    sender_expect(&sender, "553 5.1.3");
    sender_expect(&sender, "250 2.1.5");
    sender_expect(&sender, "354");
    sender_write(&sender, SLICE(MAIL ".\r\nMAIL FROM:<a@from.test>\r\nRCPT TO:<b@to.test>\r\n"));
    (void)await_send(&scene, 1);
    settle(&scene.rig);
    sender_pull(&sender);
    cr_assert_eq(sender.in.len, 0, "what follows waits for the mail's answer");
    rig_answer(&scene.rig, 1, ERR_OK);
    sender_expect(&sender, "250 2.0.0 Ok: queued as msg_");
    sender_expect(&sender, "250 2.1.0");
    sender_expect(&sender, "250 2.1.5");
    sender_talk(&sender, "QUIT", "221");
    sender_expect_end(&sender);
    scene_done(&scene, &sender);
}

Test(submit, takes_as_many_recipients_as_a_request, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250");
    for (int i = 0; i < API_RCPT_MAX; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "RCPT TO:<r%d@to.test>", i);
        sender_talk(&sender, line, "250");
    }
    sender_talk(&sender, "RCPT TO:<more@to.test>", "452 4.5.3");
    sender_talk(&sender, "DATA", "354");
    sender_write(&sender, SLICE(MAIL ".\r\n"));
    cr_expect_eq(await_send(&scene, 1)->bcc_count, API_RCPT_MAX);
    rig_answer(&scene.rig, 1, ERR_OK);
    sender_expect(&sender, "250 2.0.0");
    scene_done(&scene, &sender);
}

/* ---- answers -------------------------------------------------------------------------------- */

Test(submit, refuses_what_is_no_mail_without_asking_a_shard, T)
{
    static const char *const bad[] = {
        "",
        "no header\r\n",
        "Subject: nobody\r\n\r\nx\r\n",
        "From: a@from.test\r\nFrom: b@from.test\r\n\r\nx\r\n",
        "X-Meerkat-Metadata: [1]\r\n" MAIL,
        "X-Meerkat-Metadata: {\"a\":1}, \"x\":{\"b\":2}\r\n" MAIL,
        "X-Meerkat-Metadata: {\"a\":{}}\r\n" MAIL,
        "X-Meerkat-Tag:\r\n" MAIL,
    };
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        sender_mail(&sender, bad[i]);
        sender_expect(&sender, "554 5.6.0");
        cr_assert_eq(scene.rig.edge->body_bytes, 0);
    }
    sender_mail(&sender, "From: a@from.test\r\n\r\nbare\nline\r\n");
    sender_expect(&sender, "550 5.6.11");
    cr_assert_eq(scene.rig.got_count, 0);
    sender_mail(&sender, MAIL); /* and the session goes on */
    rig_answer(&scene.rig, 1, (rig_await(&scene.rig, 1), ERR_OK));
    sender_expect(&sender, "250 2.0.0");
    scene_done(&scene, &sender);
}

Test(submit, says_in_smtp_what_a_request_would_be_told, T)
{
    static const struct {
        enum err err;
        const char *reply;
    } table[] = {
        {ERR_DOMAIN_NOT_OWNED, "550 5.7.1"},
        {ERR_DOMAIN_UNVERIFIED, "550 5.7.1"},
        {ERR_KEY_SCOPE, "550 5.7.1"},
        {ERR_SUPPRESSED, "550 5.7.1"},
        {ERR_TOO_LARGE, "552 5.3.4"},
        {ERR_BAD_FIELD, "554 5.6.0"},
        {ERR_QUOTA, "452 4.7.1"},
        {ERR_RATE, "450 4.7.1"},
        {ERR_STORAGE, "452 4.3.1"},
        {ERR_IDEMPOTENCY_REUSED, "554 5.7.0"},
        {ERR_IDEMPOTENCY_RUNNING, "451 4.7.0"},
        {ERR_BUSY, "451 4.3.2"},
        {ERR_IO, "451 4.3.0"},
    };
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
        sender_mail(&sender, MAIL);
        rig_answer(&scene.rig, i + 1, (rig_await(&scene.rig, i + 1), table[i].err));
        sender_expect(&sender, table[i].reply);
    }
    scene_done(&scene, &sender);
}

Test(submit, tells_the_sentence_of_the_shard, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_mail(&sender, MAIL);
    rig_await(&scene.rig, 1)->sentence = SLICE("this is why");
    rig_answer(&scene.rig, 1, ERR_BAD_FIELD);
    cr_assert(sender_hears(&sender, "554 5.6.0", "this is why"));
    scene_done(&scene, &sender);
}

Test(submit, puts_mail_off_when_the_loop_has_no_room, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    scene.rig.edge->body_bytes = EDGE_BODY_BYTES;
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250");
    sender_talk(&sender, "RCPT TO:<b@to.test>", "250");
    sender_talk(&sender, "DATA", "452 4.3.1");
    scene.rig.edge->body_bytes = 0;
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250");
    sender_talk(&sender, "RCPT TO:<b@to.test>", "250");
    sender_talk(&sender, "DATA", "354");
    scene.rig.edge->body_bytes = EDGE_BODY_BYTES; /* others were faster */
    sender_write(&sender, SLICE(MAIL ".\r\n"));
    sender_expect(&sender, "452 4.3.1");
    cr_assert_eq(scene.rig.edge->body_bytes, EDGE_BODY_BYTES);
    scene.rig.edge->body_bytes = 0;
    cr_assert_eq(scene.rig.got_count, 0);
    scene_done(&scene, &sender);
}

Test(submit, refuses_a_mail_above_the_ceiling, T)
{
    struct scene scene;
    struct sender sender;
    scene_init(&scene);
    set(&scene.rig, "mail_max", "2048");
    rig_start(&scene.rig);
    sender_open(&sender, &scene);
    sender_auth(&sender);
    sender_talk(&sender, "MAIL FROM:<a@from.test> SIZE=2049", "552 5.3.4");
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250");
    sender_talk(&sender, "RCPT TO:<b@to.test>", "250");
    sender_talk(&sender, "DATA", "354");
    for (int i = 0; i < 30; i++) {
        sender_write(&sender, SLICE(MAIL));
    }
    sender_talk(&sender, ".", "552 5.3.4");
    cr_assert_eq(scene.rig.got_count, 0);
    scene_done(&scene, &sender);
}
