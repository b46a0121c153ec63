/* Flow: a received mail as its owner meets it: the webhook that it fires, the links in it, the
 * message over HTTP, the webhook called again.
 *
 * Not covered here: SMTP itself (test_inbound_smtp.c), sudden death (test_inbound_crash.c),
 * webhooks for the events of sent mail (test_webhook.c), attachments in parts (test_attachment.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/world.h"

struct scene {
    struct world *world;
    struct peer *sink;
    const char *route;
};

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    char *text = (char *)arena_cstr(&world->arena, slice_str(body));
    for (char *c = text; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    struct world_call request = {.method = method, .path = path, .body = slice_str(text)};
    return world_call(world, &request);
}

/* A daemon that takes mail for recv.test, and a webhook for everything there. */
static void begin(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "test_hook_pause_percent", "2");
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
    scene->sink = world_sink(world, "127.0.0.2", NULL);
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "recv.test");           /* found by its name */
    struct reply *made = call(world, "POST", "/api/routes",
                              world_text(world,
                                         "{'match':'*@recv.test','action':'webhook',"
                                         "'ackMode':'control','destination':"
                                         "'http://127.0.0.1:%u/in'}",
                                         (unsigned)scene->sink->http_port));
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    scene->route = reply_text(made, "id");
}

/* Brings a mail to b@recv.test and returns its message's id. */
static const char *bring(struct scene *scene, const char *mail)
{
    struct world *world = scene->world;
    const char *path = world_text(world, "%s/mail.eml", world->dir);
    const char *url = world_text(world, "smtp://127.0.0.1:%u/c", (unsigned)world->smtp_port);
    const char *argv[] = {"curl",        "-s",          "--mail-from",   "a@from.test",
                          "--mail-rcpt", "b@recv.test", "--upload-file", path,
                          url,           NULL};
    struct slice said;
    world_write_file(world, path, slice_str(mail));
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
    return reply_text(world_get(world, "/api/messages?direction=inbound"), "0.id");
}

/* The number-th webhook that the sink took, from 1. */
static json_t *await_hook(struct scene *scene, uint32_t number)
{
    struct world *world = scene->world;
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(world, scene->sink, "hooks") < number && wait_more(&wait)) {
    }
    const char *path = world_text(world, "%s/%06u-hook.http", scene->sink->store, number);
    struct slice request = world_read_file(world, path);
    size_t at = slice_find(request, SLICE("\r\n\r\n"));
    struct slice body = slice_from(request, at + 4);
    json_t *json = json_loadb(body.data, body.len, 0, NULL);
    cr_assert_not_null(json, "%.*s", SLICE_FMT(request));
    json_array_append_new(world->documents, json);
    return json;
}

static const char *text_in(json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text != NULL ? text : "";
}

static const char letter[] = "From: \"Ann, A.\" <ann@from.test>\r\nTo: b@recv.test\r\n"
                             "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@from.test>\r\n"
                             "Content-Type: multipart/mixed; boundary=x\r\n\r\n"
                             "--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
                             "--x\r\nContent-Type: text/csv; name=t.csv\r\n\r\na,b\r\n--x--\r\n";

Test(received, fires_its_webhook_with_links_that_lead_to_its_attachments)
{
    struct scene scene;
    begin(&scene);
    const char *id = bring(&scene, letter);
    json_t *hook = await_hook(&scene, 1);
    cr_expect_str_eq(text_in(hook, "type"), "email.received");
    cr_expect_str_eq(text_in(hook, "subject"), "Gr\xc3\xbc\xc3\x9f"
                                               "e");
    json_t *file = json_array_get(json_object_get(hook, "attachments"), 0);
    struct world_call fetch = {
        .method = "GET", .path = text_in(file, "url"), .base = "", .bearer = ""};
    const char *path = strstr(fetch.path, "/att/");
    cr_assert_not_null(path);
    fetch.path = path; /* the daemon got a port of its own, which its shards do not know */
    fetch.base = NULL;
    struct reply *got = world_call(scene.world, &fetch);
    cr_expect_eq(got->status, 200);
    cr_expect(slice_starts(got->body, SLICE("a,b")));

    struct reply *read = world_await(scene.world, id, "message.webhook_status", "delivered");
    cr_expect_str_eq(reply_text(read, "message.direction"), "inbound");
    cr_expect_str_eq(reply_text(read, "message.from.address"), "ann@from.test");
    cr_expect_str_eq(reply_text(read, "message.from.name"), "Ann, A.");
    cr_expect_str_eq(reply_text(read, "message.to_addr"), "b@recv.test");
    cr_expect_str_eq(reply_text(read, "message.thread_id"), text_in(hook, "threadId"));
    cr_expect_str_eq(reply_text(read, "message.spf"),
                     text_in(json_object_get(hook, "auth"), "spf"));
    cr_expect(json_is_null(reply_at(read, "message.send_status")), "it was never sent");
    cr_expect(slice_starts(slice_str(reply_text(read, "message.text_body")), SLICE("hello")));
    cr_expect_str_eq(reply_text(read, "message.headers_json.0.name"), "From");
    cr_expect_str_eq(reply_text(read, "attachments.0.filename"), "t.csv");
    cr_expect_str_eq(reply_text(read, "events.0.type"), "email.received");
    cr_expect_str_eq(reply_text(read, "deliveries.0.kind"), "webhook");
    world_end(scene.world);
}

Test(received, has_its_webhook_called_again_when_asked)
{
    struct scene scene;
    begin(&scene);
    const char *id = bring(&scene, letter);
    json_t *first = await_hook(&scene, 1);
    (void)world_await(scene.world, id, "message.webhook_status", "delivered");
    const char *path = world_text(scene.world, "/api/routes/%s/replay", scene.route);
    struct reply *again = call(scene.world, "POST", path, "{'since':0}");
    cr_assert_eq(again->status, 200, "%.*s", SLICE_FMT(again->body));
    cr_expect_eq(reply_int(again, "count"), 1);
    cr_expect(json_is_null(reply_at(again, "next")));
    json_t *second = await_hook(&scene, 2);
    cr_expect_str_eq(text_in(first, "subject"), text_in(second, "subject"));
    cr_expect_str_neq(text_in(first, "id"), text_in(second, "id"), "another event");
    cr_expect_eq(reply_int(call(scene.world, "POST", path, "{'since':99999999999999}"), "count"),
                 0);
    cr_expect_eq(call(scene.world, "POST", path, "{}")->status, 400);
    cr_expect_eq(call(scene.world, "POST", path, "{'since':1e30}")->status, 400);
    cr_expect_eq(call(scene.world, "POST", "/api/routes/rte_0/replay", "{'since':0}")->status, 404);
    world_end(scene.world);
}
