/* test_submit_end.c - how sessions that submit end: keys that are taken back, clients that leave, a
 * daemon that stops, balancers in front.
 *
 * Not here: what is said in a session that lasts (test_submit).
 */
#include "submit_rig.h"

/* Once a test: GMime loses some bytes at each. */
TestSuite(submit_end, .init = mime_read_init, .fini = mime_read_fini);

#define T    .timeout = 60
#define MAIL "From: Ann <ann@from.test>\r\nTo: Bob <b@to.test>\r\nSubject: hi\r\n\r\nHello.\r\n"

static void end_key(struct rig *rig, uint64_t at_unix_ms)
{
    uint32_t before = rig->ended_home;
    struct msg *msg = msg_take(&rig->world, MSG_EDGE_ENDED);
    cr_assert_not_null(msg);
    struct credential *list = arena_alloc(&msg->arena, sizeof *list);
    *list = credential_key(&rig->key.hash);
    msg->body.ended = (struct edge_ended){.list = list, .count = 1, .at_unix_ms = at_unix_ms};
    actor_post(edge_actor(rig->edge), msg);
    WAIT_FOR(rig, rig->ended_home == before + 1);
}

/* ---- keys that end -------------------------------------------------------------------------- */

Test(submit_end, of_a_key_ends_its_sessions_and_nobody_elses, T)
{
    struct scene scene;
    struct sender used;
    struct sender other;
    struct sender stranger;
    struct auth_key key;
    struct buf line;
    scene_ready(&scene, &used);
    buf_init(&line, 4 * KIB);
    auth_key_make(MODE_TEST, (struct account_id){RIG_ACCOUNT}, &key);
    sender_open(&other, &scene);
    sender_talk(&other, auth_line(&line, "a", key.text), "235");
    sender_open(&stranger, &scene);
    end_key(&scene.rig, 0);
    sender_expect(&used, "421 4.7.0");
    sender_expect_end(&used);
    sender_talk(&other, "NOOP", "250");
    sender_talk(&stranger, "NOOP", "250");
    buf_fini(&line);
    sender_close(&other);
    sender_close(&stranger);
    scene_done(&scene, &used);
}

Test(submit_end, of_a_key_forgets_a_mail_that_is_not_whole, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250");
    sender_talk(&sender, "RCPT TO:<b@to.test>", "250");
    sender_talk(&sender, "DATA", "354");
    sender_write(&sender, SLICE(MAIL));
    end_key(&scene.rig, 0);
    sender_expect(&sender, "421 4.7.0");
    sender_expect_end(&sender);
    cr_assert_eq(scene.rig.got_count, 0);
    scene_done(&scene, &sender);
}

Test(submit_end, of_a_key_lets_a_mail_that_was_posted_be_answered, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_mail(&sender, MAIL);
    (void)rig_await(&scene.rig, 1);
    end_key(&scene.rig, 0);
    settle(&scene.rig);
    sender_pull(&sender);
    cr_assert_eq(sender.in.len, 0);
    rig_answer(&scene.rig, 1, ERR_OK);
    sender_expect(&sender, "250 2.0.0 Ok: queued as msg_");
    sender_expect(&sender, "421 4.7.0");
    sender_expect_end(&sender);
    scene_done(&scene, &sender);
}

Test(submit_end, comes_when_the_key_is_refused_with_a_mail, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_mail(&sender, MAIL);
    rig_answer(&scene.rig, 1, (rig_await(&scene.rig, 1), ERR_UNAUTHORIZED));
    sender_expect(&sender, "535 5.7.8");
    sender_expect(&sender, "421 4.7.0");
    sender_expect_end(&sender);
    scene_done(&scene, &sender);
}

Test(submit_end, comes_when_the_key_expires, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    end_key(&scene.rig, RIG_UNIX_MS + 5000);
    sender_talk(&sender, "NOOP", "250");
    pass(&scene.rig, 4000);
    sender_talk(&sender, "NOOP", "250");
    pass(&scene.rig, 2000);
    sender_expect(&sender, "421 4.4.2");
    sender_expect_end(&sender);
    scene_done(&scene, &sender);
}

/* ---- clients that leave --------------------------------------------------------------------- */

Test(submit_end, of_a_client_gives_back_what_its_mail_held, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    sender_talk(&sender, "MAIL FROM:<a@from.test>", "250");
    sender_talk(&sender, "RCPT TO:<b@to.test>", "250");
    sender_talk(&sender, "DATA", "354");
    sender_write(&sender, SLICE(MAIL));
    WAIT_FOR(&scene.rig, scene.rig.edge->body_bytes > 0);
    sender_close(&sender);
    WAIT_FOR(&scene.rig, scene_sessions(&scene) == 0);
    cr_assert_eq(scene.rig.edge->body_bytes, 0);
    sender_open(&sender, &scene);
    sender_auth(&sender);
    sender_mail(&sender, MAIL);
    (void)rig_await(&scene.rig, 1);
    sender_close(&sender); /* its answer finds nobody */
    settle(&scene.rig);
    rig_answer(&scene.rig, 1, ERR_OK);
    WAIT_FOR(&scene.rig, scene_sessions(&scene) == 0);
    scene_end(&scene);
}

Test(submit_end, comes_for_who_says_nothing, T)
{
    struct scene scene;
    struct sender sender;
    scene_ready(&scene, &sender);
    pass(&scene.rig, SMTP_IN_COMMAND_MS + 1000);
    sender_expect(&sender, "421 4.4.2");
    sender_expect_end(&sender);
    sender_close(&sender);
    sender_connect(&sender, &scene, scene.rig.submits_tcp_port); /* and for no handshake */
    WAIT_FOR(&scene.rig, scene_sessions(&scene) == 1);
    pass(&scene.rig, SMTP_IN_TLS_MS + 1000);
    sender_expect_end(&sender);
    scene_done(&scene, &sender);
}

Test(submit_end, of_the_daemon_hears_a_mail_out, T)
{
    struct scene scene;
    struct sender busy;
    struct sender idle;
    scene_ready(&scene, &busy);
    sender_open(&idle, &scene);
    sender_talk(&busy, "MAIL FROM:<a@from.test>", "250");
    sender_talk(&busy, "RCPT TO:<b@to.test>", "250");
    sender_talk(&busy, "DATA", "354");
    control(&scene.rig, CONTROL_DRAIN, 100000);
    pass(&scene.rig, 1000);
    sender_expect(&idle, "421 4.3.2");
    sender_expect_end(&idle);
    sender_write(&busy, SLICE(MAIL ".\r\n"));
    rig_answer(&scene.rig, 1, (rig_await(&scene.rig, 1), ERR_OK));
    sender_expect(&busy, "250 2.0.0");
    sender_expect(&busy, "421 4.3.2");
    sender_expect_end(&busy);
    sender_close(&idle);
    sender_close(&busy);
    WAIT_FOR(&scene.rig, scene.rig.controls_home == 2);
    scene.rig.is_drained = true;
    scene_end(&scene);
}

/* ---- balancers ------------------------------------------------------------------------------ */

Test(submit_end, of_the_tunnel_is_the_client_that_a_balancer_names, T)
{
    struct scene scene;
    struct sender sender;
    scene_init(&scene);
    set(&scene.rig, "smtp_proxies", "127.0.0.1");
    rig_start(&scene.rig);
    sender_connect(&sender, &scene, scene.rig.submits_tcp_port);
    cr_assert_eq(tls_client_new(TLS_VERIFY_NONE, SLICE(""), &sender.context), ERR_OK);
    sender.tls = tls_new(sender.context, SLICE("mx.meerkat.test"));
    struct buf hello; /* the header and the first of the handshake in the same bytes */
    struct buf none;
    buf_init(&hello, 64 * KIB);
    buf_init(&none, KIB);
    buf_add_str(&hello, "PROXY TCP4 192.0.2.7 192.0.2.1 5000 465\r\n");
    cr_assert_neq(tls_feed(sender.tls, SLICE(""), &none, &hello), TLS_FAILED);
    sender_push(&sender, buf_slice(&hello));
    buf_fini(&hello);
    buf_fini(&none);
    WAIT_FOR(&scene.rig, (sender_pull(&sender), tls_has_opened(sender.tls)));
    sender_expect(&sender, "220 mx.meerkat.test ESMTP");
    sender_talk(&sender, "EHLO client.test", "250-");
    sender_auth(&sender);
    sender_mail(&sender, MAIL);
    char text[IP6_TEXT_MAX];
    const struct ip6 *peer = &rig_await(&scene.rig, 1)->body.send.caller.peer;
    cr_assert(slice_equal(slice_of(text, ip6_text(peer, text)), SLICE("192.0.2.7")));
    rig_answer(&scene.rig, 1, ERR_OK);
    sender_expect(&sender, "250 2.0.0");
    scene_done(&scene, &sender);
}
