/* Flow: what comes back of the mail that was sent: notices of failure, complaints, machines that
 * answer, and forgeries of them.
 *
 * Not covered here: the forms of reports (tests/unit/mail/test_report_read.c), what each changes
 * (tests/unit/shards/test_report.c).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "support/client.h"
#include "support/postfix.h"
#include "support/world.h"

#define COMPLAINTS "fbl@" WORLD_HOST

struct scene {
    struct world *world;
    struct peer *sink;
    const char *id;    /* of the mail that was sent */
    const char *path;  /* its return path, as the sink saw it */
    const char *token; /* of its header, likewise */
};

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    char *text = (char *)(uintptr_t)world_text(world, "%s", body);
    for (char *at = strchr(text, '\''); at != NULL; at = strchr(at, '\'')) {
        *at = '"';
    }
    struct world_call call = {.method = method, .path = path, .body = slice_str(text)};
    return world_call(world, &call);
}

static const char *between(struct world *world, struct slice text, const char *from, const char *to)
{
    size_t at = slice_find(text, slice_str(from));
    cr_assert_neq(at, SIZE_MAX, "%s in %.*s", from, SLICE_FMT(text));
    text = slice_from(text, at + strlen(from));
    return world_text(world, "%.*s", SLICE_FMT(slice_head(text, slice_find(text, slice_str(to)))));
}

/* A mail to bob@dest.test that arrived, and a webhook for what becomes of it. */
static void open_scene(struct scene *scene)
{
    struct world *world = world_new();
    scene->world = world;
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "complaint_address", COMPLAINTS);
    scene->sink = world_ready_to_send(world);
    const char *domain = reply_text(world_get(world, "/api/domains"), "0.id");
    const char *hook =
        world_text(world, "{'url':'http://127.0.0.1:%u/hook'}", (unsigned)scene->sink->http_port);
    struct reply *set =
        call(world, "PUT", world_text(world, "/api/domains/%s/webhook", domain), hook);
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    set = call(world, "PUT", world_text(world, "/api/domains/%s/webhook-events", domain),
               "{'events':['email.bounced','email.complained','email.delivery_delayed']}");
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    scene->id = world_send(world, "{'from':'a@send.test','to':'bob@dest.test','text':'x'}");
    struct slice sent = world_sink_mail(world, scene->sink, 1);
    scene->path = between(world, sent, "X-Sink-MailFrom: <", ">");
    scene->token = between(world, sent, "\r\nX-Meerkat-Token: ", "\r\n");
    (void)world_await(world, scene->id, "deliveries.0.status", "delivered");
}

static void say(struct client *client, const char *line, const char *needle)
{
    size_t before = client_count(buf_slice(&client->in), needle);
    client_say(client, slice_str(line));
    client_await(client, needle, before + 1);
}

/* As another server brings it, from <>; "\n250" or what else ends it. */
static void bring(struct scene *scene, const char *to, const char *text, const char *answer)
{
    struct world *world = scene->world;
    struct client client;
    client_dial(world, &client, world->smtp_port);
    client_await(&client, "220 ", 1);
    say(&client, "HELO mx.dest.test\r\n", "250 ");
    say(&client, "MAIL FROM:<>\r\n", "250 ");
    say(&client, world_text(world, "RCPT TO:<%s>\r\n", to), "250 ");
    say(&client, "DATA\r\n", "354 ");
    client_say(&client, slice_str(text));
    say(&client, "\r\n.\r\n", answer);
    client_close(&client);
}

static const char *dsn(struct scene *scene, const char *action, const char *status)
{
    return world_text(scene->world,
                      "From: MAILER-DAEMON@mx.dest.test\r\nAuto-Submitted: auto-replied\r\n"
                      "Subject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"
                      "\r\n--b\r\n\r\nSorry.\r\n\r\n"
                      "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
                      "Reporting-MTA: dns; mx.dest.test\r\n\r\n"
                      "Final-Recipient: rfc822; bob@dest.test\r\nAction: %s\r\nStatus: %s\r\n"
                      "Diagnostic-Code: smtp; 550 %s the mailbox is gone\r\n\r\n--b--",
                      action, status, status);
}

static const char *arf(struct scene *scene, const char *token, size_t padding)
{
    char *pad = malloc(padding + 1);
    cr_assert_not_null(pad);
    for (size_t i = 0; i < padding; i++) {
        pad[i] = i % 70 == 68 ? '\r' : i % 70 == 69 ? '\n' : 'x';
    }
    pad[padding] = '\0';
    const char *text =
        world_text(scene->world,
                   "From: fbl@dest.test\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
                   "Content-Type: multipart/report; report-type=feedback-report; boundary=f\r\n"
                   "\r\n--f\r\n\r\nspam\r\n--f\r\nContent-Type: message/feedback-report\r\n\r\n"
                   "Feedback-Type: abuse\r\nVersion: 1\r\nOriginal-Rcpt-To: bob@dest.test\r\n\r\n"
                   "--f\r\nContent-Type: message/rfc822\r\n\r\nX-Meerkat-Token: %s\r\n\r\n%s\r\n"
                   "--f--",
                   token, pad);
    free(pad);
    return text;
}

/* The body of the number-th webhook that the sink took. */
static struct slice await_hook(struct scene *scene, uint32_t number)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(scene->world, scene->sink, "hooks") < number && wait_more(&wait)) {
    }
    cr_assert_geq(world_sink_count(scene->world, scene->sink, "hooks"), number);
    struct slice request = world_read_file(
        scene->world, world_text(scene->world, "%s/%06u-hook.http", scene->sink->store, number));
    return slice_from(request, slice_find(request, SLICE("\r\n\r\n")));
}

static void expect_in(struct slice text, const char *needle)
{
    cr_expect_neq(slice_find(text, slice_str(needle)), SIZE_MAX, "%s in %.*s", needle,
                  SLICE_FMT(text));
}

static size_t inbound_count(struct scene *scene, const char *report)
{
    struct reply *list = world_get(scene->world, "/api/messages?direction=inbound");
    size_t count = 0;
    for (size_t i = 0; i < reply_count(list, ""); i++) {
        const char *said = reply_text(list, world_text(scene->world, "%zu.report", i));
        count += strcmp(said, report) == 0;
    }
    return count;
}

Test(bounces, a_late_notice_bounces_the_mail_suppresses_and_is_told)
{
    struct scene scene;
    open_scene(&scene);
    bring(&scene, scene.path, dsn(&scene, "delayed", "4.4.1"), "250 ");
    expect_in(await_hook(&scene, 1), "\"email.delivery_delayed\"");
    bring(&scene, scene.path, dsn(&scene, "failed", "5.1.1"), "250 ");
    struct reply *read = world_await(scene.world, scene.id, "deliveries.0.status", "bounced");
    cr_expect_str_eq(reply_text(read, "message.send_status"), "bounced");
    cr_expect_str_eq(reply_text(read, "deliveries.0.bounceClass"), "hard");
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "5.1.1");
    cr_expect_eq(reply_int(read, "deliveries.0.last_status_code"), 550);
    struct slice hook = await_hook(&scene, 2);
    expect_in(hook, "\"email.bounced\"");
    expect_in(hook, "\"to\":\"bob@dest.test\"");
    expect_in(hook, "\"type\":\"Permanent\"");
    expect_in(hook, "\"code\":550");
    expect_in(hook, "\"diagnostic\":\"the mailbox is gone\"");
    expect_in(hook, "\"bounceClass\":\"hard\"");
    struct reply *row = world_get(scene.world, "/api/contacts/suppressions/bob@dest.test");
    cr_expect_eq(row->status, 200, "%.*s", SLICE_FMT(row->body));
    expect_in(row->body, "hard_bounce");
    struct reply *refused = world_post(scene.world, "/v1/send",
                                       "{'from':'a@send.test','to':'bob@dest.test','text':'x'}");
    cr_expect_eq(refused->status, 409);
    cr_expect_str_eq(reply_text(refused, "code"), "suppressed");
    cr_expect_eq(inbound_count(&scene, "dsn"), 2);

    /* Once more, and after a restart: nothing is left to bounce. */
    bring(&scene, scene.path,
          world_text(scene.world, "X-Again: yes\r\n%s", dsn(&scene, "failed", "5.1.1")), "250 ");
    world_kill(scene.world);
    world_start(scene.world);
    read = world_await(scene.world, scene.id, "deliveries.0.status", "bounced");
    size_t told = 0;
    for (size_t i = 0; i < reply_count(read, "events"); i++) {
        const char *type = reply_text(read, world_text(scene.world, "events.%zu.type", i));
        told += strcmp(type, "email.bounced") == 0;
    }
    cr_expect_eq(told, 1);
    cr_expect_eq(world_sink_count(scene.world, scene.sink, "hooks"), 2);
    world_end(scene.world);
}

Test(bounces, a_complaint_is_found_by_what_it_quotes)
{
    struct scene scene;
    open_scene(&scene);
    bring(&scene, COMPLAINTS, arf(&scene, scene.token, 0), "250 ");
    struct slice hook = await_hook(&scene, 1);
    expect_in(hook, "\"email.complained\"");
    expect_in(hook, "\"to\":\"bob@dest.test\"");
    struct reply *row = world_get(scene.world, "/api/contacts/suppressions/bob@dest.test");
    cr_expect_eq(row->status, 200, "%.*s", SLICE_FMT(row->body));
    expect_in(row->body, "complaint");
    struct reply *read = world_await(scene.world, scene.id, "message.send_status", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.status"), "delivered");
    cr_expect_eq(inbound_count(&scene, "arf"), 1);
    struct slice metrics = world_get(scene.world, "/metrics")->body;
    expect_in(metrics, "meerkat_complaints_total 1\n");
    expect_in(metrics, "meerkat_deliveries_bounced_later_total 0\n");
    /* A long one too, which comes in chunks; and to the return path. */
    bring(&scene, COMPLAINTS, arf(&scene, scene.token, 1470000), "250 ");
    bring(&scene, scene.path, arf(&scene, scene.token, 7), "250 ");
    cr_expect_eq(inbound_count(&scene, "arf"), 3);
    cr_expect_eq(world_sink_count(scene.world, scene.sink, "hooks"), 1, "it counts once");
    world_end(scene.world);
}

Test(bounces, forgeries_and_machines_change_nothing)
{
    struct scene scene;
    open_scene(&scene);
    char *forged = (char *)(uintptr_t)world_text(scene.world, "%s", scene.token);
    char *end = forged + strlen(forged) - 1;
    *end = *end == '0' ? '1' : '0';
    bring(&scene, COMPLAINTS, arf(&scene, forged, 0), "550 5.7.1");
    bring(&scene, COMPLAINTS, arf(&scene, forged, 1470000), "550 5.7.1");
    bring(&scene, COMPLAINTS, "Subject: hello\r\n\r\nNo report.", "550 5.7.1");
    bring(&scene, "postmaster@send.test", dsn(&scene, "failed", "5.1.1"), "250 ");
    bring(&scene, "postmaster@send.test", arf(&scene, scene.token, 0), "250 ");
    bring(&scene, scene.path,
          "From: bob@dest.test\r\nAuto-Submitted: auto-replied\r\nSubject: Out of office\r\n\r\n"
          "Back on Monday. 550 5.1.1 user unknown",
          "250 ");
    cr_expect_eq(inbound_count(&scene, "auto-reply"), 1);
    cr_expect_eq(inbound_count(&scene, "dsn"), 0);
    cr_expect_eq(inbound_count(&scene, "arf"), 0);
    struct reply *read = world_await(scene.world, scene.id, "deliveries.0.status", "delivered");
    cr_expect_str_eq(reply_text(read, "message.send_status"), "delivered");
    cr_expect_eq(world_get(scene.world, "/api/contacts/suppressions/bob@dest.test")->status, 404);
    (void)world_send(scene.world, "{'from':'a@send.test','to':'bob@dest.test','text':'x'}");
    world_end(scene.world);
}

Test(bounces, a_real_server_takes_a_mail_and_sends_it_back_later)
{
    struct certs certs;
    certs_make(&certs, "mx.peer.test", 86400);
    struct world *world = world_new();
    struct postfix_options options = {
        .domains = "peer.test", .tls_level = "may", .tcp_port = world_free_port()};
    world_set(world, "smtp_port", "%u", (unsigned)options.tcp_port);
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\nhost-record=mx.peer.test,127.0.0.1\n"
                     "mx-host=peer.test,mx.peer.test,10\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    (void)world_domain(world, "send.test");
    /* It knows too late that there is nobody, and its bounces come to us. */
    options.more = world_text(world,
                              "virtual_mailbox_maps = inline:{{box@peer.test=box/}}\n"
                              "smtpd_reject_unlisted_recipient = no\n"
                              "smtp_dns_support_level = disabled\n"
                              "minimal_backoff_time = 1s\n"
                              "queue_run_delay = 1s\n"
                              "relayhost = [127.0.0.1]:%u\n",
                              (unsigned)world->smtp_port);
    (void)start_postfix(world, &certs, &options);
    const char *id = world_send(world, "{'from':'a@send.test','to':['gone@peer.test',"
                                       "'box@peer.test'],'text':'x'}");
    struct reply *read = world_await(world, id, "message.send_status", "bounced");
    for (int i = 0; i < 2; i++) {
        const char *rcpt = reply_text(read, world_text(world, "deliveries.%d.recipient", i));
        bool is_gone = strcmp(rcpt, "gone@peer.test") == 0;
        cr_expect_str_eq(reply_text(read, world_text(world, "deliveries.%d.status", i)),
                         is_gone ? "bounced" : "delivered", "%s", rcpt);
    }
    struct reply *list = world_get(world, "/api/messages?direction=inbound");
    cr_expect_str_eq(reply_text(list, "0.report"), "dsn", "%.*s", SLICE_FMT(list->body));
    cr_expect_eq(world_get(world, "/api/contacts/suppressions/gone@peer.test")->status, 200);
    cr_expect_eq(world_get(world, "/api/contacts/suppressions/box@peer.test")->status, 404);
    world_end(world);
    certs_remove(&certs);
}

Test(bounces, rules_of_the_operator_are_read_again)
{
    struct world *world = world_new();
    const char *path = world_text(world, "%s/rules", world->dir);
    world_write_file(world, path, SLICE("# none yet\n"));
    world_set(world, "bounce_rules", "%s", path);
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "reject");
    const char *id = world_send(world, "{'from':'a@send.test','to':'x@dest.test','text':'x'}");
    struct reply *read = world_await(world, id, "deliveries.0.status", "bounced");
    cr_expect_str_eq(reply_text(read, "deliveries.0.bounceClass"), "hard");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.bounceClass"), "hard");

    world_write_file(world, path, SLICE("policy * 550 5.1.1 \"no such user\"\n"));
    cr_assert_eq(kill(world->daemon, SIGHUP), 0);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    const char *word = "hard";
    for (int i = 0; strcmp(word, "hard") == 0 && wait_more(&wait); i++) {
        id = world_send(world, "{'from':'a@send.test','to':'y%d@dest.test','text':'x'}", i);
        read = world_await(world, id, "deliveries.0.status", "bounced");
        word = reply_text(read, "deliveries.0.bounceClass");
    }
    cr_expect_str_eq(word, "policy");
    world_stop(world);
    world_write_file(world, path, SLICE("nonsense\n"));
    cr_expect_neq(world_run(world), 0, "a bad file is no start");
    world_end(world);
}
