/* Flow: mail comes in by SMTP, and a route sends it on by SMTP.
 *
 * Not covered here: which mail is sent on and which is not (tests/unit/shards/test_forward.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/client.h"
#include "support/world.h"

static const char mail[] = "DKIM-Signature: v=1; d=example.net; b=left alone\r\n"
                           "From: Ann <ann@example.net>\r\n"
                           "To: info@send.test\r\n"
                           "Subject: =?utf-8?q?h=C3=A4?=\r\n"
                           "\r\n"
                           "One line \r\n"
                           ".a dot in front\r\n"
                           "\tand a tab\r\n";

static void say(struct client *client, const char *line, const char *code, size_t count)
{
    client_say(client, slice_str(line));
    client_await(client, code, count);
}

/* As another server brings it: the mail of above for info@send.test. */
static void deliver(struct world *world)
{
    struct client client;
    client_dial(world, &client, world->smtp_port);
    client_await(&client, "220 ", 1);
    say(&client, "HELO mail.example.net\r\n", "\n250 ", 1);
    say(&client, "MAIL FROM:<ann@example.net>\r\n", "\n250 ", 2);
    say(&client, "RCPT TO:<info@send.test>\r\n", "\n250 ", 3);
    say(&client, "DATA\r\n", "\n354 ", 1);
    const char *dot = strstr(mail, "\r\n.") + 2;
    client_say(&client, slice_of(mail, (size_t)(dot - mail)));
    client_say(&client, SLICE("."));
    client_say(&client, slice_str(dot));
    say(&client, ".\r\n", "\n250 ", 4);
    say(&client, "QUIT\r\n", "\n221 ", 1);
    client_close(&client);
}

static struct reply *await_inbound(struct world *world)
{
    struct reply *list = world_get(world, "/api/messages?direction=inbound");
    cr_assert_eq(reply_count(list, ""), 1, "%.*s", SLICE_FMT(list->body));
    return world_await(world, reply_text(list, "0.id"), "deliveries.0.status", "delivered");
}

Test(forward, mail_goes_on_byte_for_byte_with_a_return_path_of_ours)
{
    struct world *world = world_new();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    struct peer *sink = world_ready_to_send(world);
    struct reply *made = world_post(world, "/api/routes",
                                    "{'match':'info@send.test','action':'forward',"
                                    "'destination':'boss@dest.test'}");
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    cr_expect_str_eq(reply_text(made, "destination"), "boss@dest.test");
    deliver(world);
    struct slice got = world_sink_mail(world, sink, 1);
    cr_expect_neq(slice_find(got, SLICE("X-Sink-RcptTo: <boss@dest.test>\r\n")), SIZE_MAX);
    cr_expect_neq(slice_find(got, SLICE("X-Sink-MailFrom: <b.")), SIZE_MAX, "%.*s", SLICE_FMT(got));
    cr_expect_eq(slice_find(got, SLICE("X-Sink-Flaw")), SIZE_MAX, "%.*s", SLICE_FMT(got));
    cr_expect_eq(slice_find(got, SLICE("Return-Path:")), SIZE_MAX);
    cr_expect_neq(slice_find(got, SLICE("\r\nDelivered-To: info@send.test\r\n")), SIZE_MAX);
    cr_expect_neq(slice_find(got, SLICE("\r\nReceived: from mail.example.net")), SIZE_MAX);
    cr_expect(slice_ends(got, slice_str(mail)), "%.*s", SLICE_FMT(got));
    cr_expect_eq(client_count(got, "DKIM-Signature:"), 1, "only its sender's");
    struct reply *read = await_inbound(world);
    cr_expect_str_eq(reply_text(read, "message.direction"), "inbound");
    cr_expect(json_is_null(reply_at(read, "message.send_status")), "it is no sent mail");
    cr_expect_str_eq(reply_text(read, "deliveries.0.kind"), "smtp");
    cr_expect_str_eq(reply_text(read, "deliveries.0.recipient"), "boss@dest.test");
    cr_expect_eq(reply_int(read, "deliveries.0.last_status_code"), 250);
    cr_expect_eq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}
