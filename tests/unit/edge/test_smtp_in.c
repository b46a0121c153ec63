/* test_smtp_in.c - sessions of incoming SMTP: dialogues, recipients, limits, TLS, the end.
 *
 * Not here: large mails and chunks (test_smtp_in_mail), verdicts (test_judge), the machine's own
 * grammar (net/test_smtp_server), real peers (flow/test_inbound_smtp).
 */
#include "support/fake_dns.h"

#include "smtp_rig.h"

#define T .timeout = 60

Test(smtp_in, takes_a_mail_and_says_its_id, T)
{
    struct post post;
    struct peer peer;
    post_init(&post);
    rig_start(&post.rig);
    peer_open(&post, &peer);
    peer_data(&peer);
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250 2.0.0 Ok: queued as msg_");
    cr_assert_eq(post.stored_count, 1);
    cr_assert(slice_equal(buf_slice(&post.stored[0].bytes), SLICE(MAIL_TEXT)));
    cr_assert(about_has(&post.stored[0], "from=a@from.test\nto=ok@mine.test\nhelo=client.test\n"
                                         "client=127.0.0.1\n"));
    peer_talk(&peer, "QUIT", "221");
    peer_expect_end(&peer);
    peer_close(&peer);
    post_end(&post);
}
