/* Flow: webhooks, for mail that comes in and for the events of sent mail, against an endpoint that
 * behaves and one that does not.
 *
 * Not covered here: what each answer means and the ladder (tests/unit/deliver/test_attempt_hook.c),
 * where a webhook may lead (tests/unit/net/test_http_client.c), the members of a body
 * (tests/unit/shards/test_hook_body.c), endpoints that hang (test_hostile_hooks.c).
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "support/certs.h"
#include "support/world.h"

struct scene {
    struct world *world;
    struct peer *sink; /* takes the mails and the webhooks */
    const char *domain;
    const char *secret;
};

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    char *text = arena_bytes(&world->arena, strlen(body) + 1);
    for (size_t i = 0; i <= strlen(body); i++) {
        text[i] = body[i] == '\'' ? '"' : body[i];
    }
    struct world_call request = {.method = method, .path = path, .body = slice_str(text)};
    return world_call(world, &request);
}

static const char *at_domain(const struct scene *scene, const char *tail)
{
    return world_text(scene->world, "/api/domains/%s%s", scene->domain, tail);
}

static struct reply *set_hook(struct scene *scene, const char *mode)
{
    struct world *world = scene->world;
    return call(world, "PUT", at_domain(scene, "/webhook"),
                world_text(world, "{'url':'http://127.0.0.1:%u/in','ackMode':'%s'}",
                           (unsigned)scene->sink->http_port, mode));
}

static void open_scene(struct scene *scene, const char *events)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    crypto_init();
    world_set(world, "test_hook_pause_percent", "2"); /* the first pause is 100 ms */
    world_set(world, "hook_timeout_ms", "2000");
    scene->sink = world_ready_to_send(world);
    struct reply *domains = world_get(world, "/api/domains");
    scene->domain = reply_text(domains, "0.id");
    struct reply *set = set_hook(scene, "lenient");
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    scene->secret = reply_text(set, "signingSecret");
    cr_expect(slice_starts(slice_str(scene->secret), SLICE("whsec_")));
    cr_expect(slice_starts(slice_str(reply_text(set, "routeId")), SLICE("rte_")));
    struct reply *chosen = call(world, "PUT", at_domain(scene, "/webhook-events"), events);
    cr_assert_eq(chosen->status, 200, "%.*s", SLICE_FMT(chosen->body));
}

/* The path of the number-th webhook that the sink took, from 1. */
static const char *await_hook(struct scene *scene, uint32_t number)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(scene->world, scene->sink, "hooks") < number && wait_more(&wait)) {
    }
    cr_assert_geq(world_sink_count(scene->world, scene->sink, "hooks"), number);
    return world_text(scene->world, "%s/%06u-hook.http", scene->sink->store, number);
}

static struct slice body_of(struct slice request)
{
    size_t at = slice_find(request, SLICE("\r\n\r\n"));
    cr_assert_neq(at, SIZE_MAX);
    return slice_from(request, at + 4);
}

static struct slice header_of(struct slice request, const char *name)
{
    while (request.len > 0) {
        size_t end = slice_find(request, SLICE("\r\n"));
        struct slice line = slice_head(request, end);
        size_t colon = slice_find_byte(line, ':');
        if (slice_equal_nocase(slice_head(line, colon), slice_str(name))) {
            return slice_trim(slice_from(line, colon + 1));
        }
        request = end == SIZE_MAX ? SLICE("") : slice_from(request, end + 2);
    }
    return SLICE("");
}

/* With our own arithmetic for the native header, with a foreign library for the standard ones. */
static void expect_signed(struct scene *scene, const char *path, const char *secret)
{
    struct world *world = scene->world;
    struct slice request = world_read_file(world, path);
    struct slice header = header_of(request, "x-mailkite-signature");
    struct slice body = body_of(request);
    size_t comma = slice_find_byte(header, ',');
    struct slice time = slice_sub(header, 2, comma - 2);
    const char *head = world_text(world, "%.*s.", SLICE_FMT(time));
    struct sha256 mac = crypto_hmac_sha256_two(slice_str(secret), slice_str(head), body);
    char hex[2 * SHA256_LEN];
    hex_encode(sha256_slice(&mac), hex);
    const char *wanted = world_text(world, ",v1=%.*s", (int)sizeof hex, hex);
    cr_expect_neq(slice_find(header, slice_str(wanted)), SIZE_MAX, "%.*s", SLICE_FMT(header));

    const char *source = getenv("MEERKAT_SOURCE");
    const char *modules = world_text(world, "%s/build-hooks/node_modules", source);
    DIR *installed = opendir(world_text(world, "%s/standardwebhooks", modules));
    if (installed == NULL) {
        fprintf(stderr, "webhook: the foreign library is not here; its check is left out\n");
        return;
    }
    (void)closedir(installed); /* it was only looked for */
    const char *const argv[] = {
        "env",  world_text(world, "NODE_PATH=%s", modules),
        "node", world_text(world, "%s/tests/support/hooks/verify.js", source),
        secret, path,
        NULL};
    cr_expect_eq(world_tool(world, argv, SLICE(""), NULL), 0);
}

static struct json_t *json_of(struct world *world, const char *path)
{
    struct slice body = body_of(world_read_file(world, path));
    json_t *json = json_loadb(body.data, body.len, 0, NULL);
    cr_assert_not_null(json, "%.*s", SLICE_FMT(body));
    json_array_append_new(world->documents, json);
    return json;
}

static const char *text_at(json_t *json, const char *outer, const char *inner)
{
    json_t *at = json_object_get(json, outer);
    const char *text = json_string_value(inner == NULL ? at : json_object_get(at, inner));
    return text != NULL ? text : "";
}

static const char *send_to(struct scene *scene, const char *rcpt)
{
    return world_send(scene->world,
                      "{'from':'a@send.test','to':'%s','subject':'s','text':'x',"
                      "'metadata':{'order':7}}",
                      rcpt);
}

Test(webhook, tells_what_became_of_a_mail_signed_for_two_families_of_clients)
{
    struct scene scene;
    open_scene(&scene, "{'events':['email.delivered']}");
    const char *id = send_to(&scene, "b@dest.test");
    const char *path = await_hook(&scene, 1);
    expect_signed(&scene, path, scene.secret);
    json_t *event = json_of(scene.world, path);
    cr_expect_str_eq(text_at(event, "type", NULL), "email.delivered");
    cr_expect_str_eq(text_at(event, "data", "messageId"), id);
    cr_expect_str_eq(text_at(event, "data", "to"), "b@dest.test");
    cr_expect_str_eq(text_at(event, "data", "from"), "a@send.test");
    cr_expect_eq(json_integer_value(json_object_get(
                     json_object_get(json_object_get(event, "data"), "metadata"), "order")),
                 7);
    struct slice request = world_read_file(scene.world, path);
    cr_expect(slice_equal(header_of(request, "webhook-id"), slice_str(text_at(event, "id", NULL))));
    struct reply *read = world_await(scene.world, id, "message.webhook_status", "delivered");
    cr_expect_str_eq(reply_text(read, "message.send_status"), "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.1.kind"), "webhook");
    cr_expect_str_eq(reply_text(read, "deliveries.1.status"), "delivered");
    cr_expect_eq(reply_int(read, "deliveries.1.last_status_code"), 200);
    cr_expect_eq(world_sink_count(scene.world, scene.sink, "hooks"), 1,
                 "nothing else was asked for");
    world_end(scene.world);
}

/* swaks over STARTTLS, as another server would. */
static void bring(struct world *world, const char *rcpt)
{
    const char *server = world_text(world, "127.0.0.1:%u", (unsigned)world->smtp_port);
    const char *const argv[] = {"swaks",    "--server",          server,   "-tls",
                                "--from",   "joe@from.test",     "--to",   rcpt,
                                "--header", "Subject: Over TLS", "--body", "It arrives.",
                                NULL};
    struct slice said;
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
    cr_expect_neq(slice_find(said, SLICE("queued as msg_")), SIZE_MAX);
    cr_expect_neq(slice_find(said, SLICE("TLS started")), SIZE_MAX);
}

Test(webhook, tells_of_a_mail_that_came_in_over_tls)
{
    struct certs certs;
    struct world *world = world_new();
    struct scene scene = {.world = world};
    certs_make(&certs, WORLD_HOST, 3600);
    crypto_init();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", certs.cert_path);
    world_set(world, "tls_key", "%s", certs.key_path);
    scene.sink = world_ready_to_send(world);
    scene.domain = reply_text(world_get(world, "/api/domains"), "0.id");
    struct reply *set = set_hook(&scene, "ack");
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    bring(world, "hello@send.test");
    const char *path = await_hook(&scene, 1);
    expect_signed(&scene, path, reply_text(set, "signingSecret"));
    json_t *event = json_of(world, path);
    cr_expect_str_eq(text_at(event, "type", NULL), "email.received");
    cr_expect_str_eq(text_at(event, "subject", NULL), "Over TLS");
    cr_expect_str_eq(text_at(event, "from", "address"), "joe@from.test");
    cr_expect(slice_starts(slice_str(text_at(event, "text", NULL)), SLICE("It arrives.")));
    struct reply *list = world_get(world, "/api/messages?direction=inbound");
    cr_assert_eq(reply_count(list, ""), 1);
    (void)world_await(world, reply_text(list, "0.id"), "message.webhook_status", "delivered");
    world_end(world);
    certs_remove(&certs);
}

Test(webhook, goes_again_until_it_is_taken_under_the_same_id)
{
    struct scene scene;
    open_scene(&scene, "{'events':['email.delivered']}");
    world_sink_profile(scene.world, scene.sink, "http:500");
    const char *id = send_to(&scene, "b@dest.test");
    struct slice first = world_read_file(scene.world, await_hook(&scene, 1));
    struct reply *read = world_await(scene.world, id, "deliveries.1.status", "deferred");
    cr_expect_str_eq(reply_text(read, "message.webhook_status"), "pending");
    cr_expect_str_eq(reply_text(read, "message.send_status"), "delivered",
                     "the mail does not wait for its webhook");
    world_sink_profile(scene.world, scene.sink, "");
    const char *path = await_hook(&scene, 2);
    struct slice second = world_read_file(scene.world, path);
    expect_signed(&scene, path, scene.secret);
    cr_expect(slice_equal(body_of(first), body_of(second)));
    cr_expect(slice_equal(header_of(first, "webhook-id"), header_of(second, "webhook-id")));
    cr_expect_not(slice_equal(header_of(first, "x-mailkite-signature"),
                              header_of(second, "x-mailkite-signature")));
    read = world_await(scene.world, id, "message.webhook_status", "delivered");
    cr_expect_eq(reply_count(read, "deliveries.1.log"), 2);
    cr_expect_eq(reply_int(read, "deliveries.1.log.0.status_code"), 500);

    /* And once more by hand. */
    struct reply *retried = call(
        scene.world, "POST",
        world_text(scene.world, "/api/deliveries/%s/retry", reply_text(read, "deliveries.1.id")),
        "");
    cr_assert_eq(retried->status, 200, "%.*s", SLICE_FMT(retried->body));
    struct slice third = world_read_file(scene.world, await_hook(&scene, 3));
    cr_expect(slice_equal(header_of(first, "webhook-id"), header_of(third, "webhook-id")));
    (void)world_await(scene.world, id, "message.webhook_status", "delivered");
    world_end(scene.world);
}

Test(webhook, survives_a_daemon_that_is_killed)
{
    struct scene scene;
    open_scene(&scene, "{'events':['email.delivered']}");
    world_sink_profile(scene.world, scene.sink, "http:503");
    const char *id = send_to(&scene, "b@dest.test");
    struct slice first = world_read_file(scene.world, await_hook(&scene, 1));
    world_kill(scene.world);
    world_sink_profile(scene.world, scene.sink, "");
    long long before = world_sink_count(scene.world, scene.sink, "hooks");
    world_start(scene.world);
    (void)world_await(scene.world, id, "message.webhook_status", "delivered");
    cr_expect_gt(world_sink_count(scene.world, scene.sink, "hooks"), before);
    struct slice last = world_read_file(scene.world, await_hook(&scene, (uint32_t)before + 1));
    cr_expect(slice_equal(header_of(first, "webhook-id"), header_of(last, "webhook-id")));
    world_end(scene.world);
}

Test(webhook, signs_with_both_secrets_while_they_overlap)
{
    struct scene scene;
    open_scene(&scene, "{'events':['email.bounced']}");
    struct reply *rotated = call(scene.world, "POST", at_domain(&scene, "/webhook/secret/rotate"),
                                 "{'overlapSeconds':600}");
    cr_assert_eq(rotated->status, 200, "%.*s", SLICE_FMT(rotated->body));
    const char *fresh = reply_text(rotated, "secret");
    cr_expect_str_neq(fresh, scene.secret);
    cr_expect_str_eq(
        reply_text(world_get(scene.world, "%s", at_domain(&scene, "/webhook/secret")), "secret"),
        fresh);
    world_sink_profile(scene.world, scene.sink, "reject");
    (void)send_to(&scene, "nobody@dest.test");
    const char *path = await_hook(&scene, 1);
    expect_signed(&scene, path, fresh);
    expect_signed(&scene, path, scene.secret);
    json_t *event = json_of(scene.world, path);
    cr_expect_str_eq(text_at(event, "type", NULL), "email.bounced");
    json_t *bounce = json_object_get(json_object_get(event, "data"), "bounce");
    cr_expect_str_eq(text_at(bounce, "enhanced", NULL), "5.1.1");
    cr_expect_eq(json_integer_value(json_object_get(bounce, "code")), 550);
    world_end(scene.world);
}

Test(webhook, can_be_tried_out_and_is_set_with_care)
{
    static const char *const bad[] = {
        "{'url':'ftp://example.com/'}",
        "{'url':'example.com'}",
        "{'url':7}",
        "{}",
        "{'url':'https://u:p@a.test/'}",
        "{'url':'https://0x7f.1/'}",
        "{'url':'https://a.test/','ackMode':'never'}",
    };
    struct scene scene;
    open_scene(&scene, "{'events':[]}");
    struct reply *tried = call(scene.world, "POST", at_domain(&scene, "/webhook/test"), "");
    cr_assert_eq(tried->status, 200, "%.*s", SLICE_FMT(tried->body));
    cr_expect_eq(reply_int(tried, "status"), 200);
    const char *path = await_hook(&scene, 1);
    expect_signed(&scene, path, scene.secret);
    cr_expect_str_eq(text_at(json_of(scene.world, path), "type", NULL), "webhook.test");
    world_sink_profile(scene.world, scene.sink, "http:500");
    tried = call(scene.world, "POST", at_domain(&scene, "/webhook/test"), "");
    cr_expect_eq(tried->status, 502, "%.*s", SLICE_FMT(tried->body));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply *got = call(scene.world, "PUT", at_domain(&scene, "/webhook"), bad[i]);
        cr_expect_eq(got->status, 400, "%s: %ld", bad[i], got->status);
    }
    struct reply *row = world_get(scene.world, "%s", at_domain(&scene, ""));
    cr_expect_neq(slice_find(slice_str(reply_text(row, "domain.webhookUrl")), SLICE("/in")),
                  SIZE_MAX);
    cr_expect_str_eq(reply_text(row, "domain.webhookAckMode"), "lenient");
    cr_expect_eq(call(scene.world, "DELETE", at_domain(&scene, "/webhook"), "")->status, 200);
    cr_expect_eq(call(scene.world, "DELETE", at_domain(&scene, "/webhook"), "")->status, 200);
    cr_expect_eq(call(scene.world, "POST", at_domain(&scene, "/webhook/test"), "")->status, 409);
    cr_expect_eq(reply_count(world_get(scene.world, "/api/routes"), ""), 0);
    row = world_get(scene.world, "%s", at_domain(&scene, ""));
    cr_expect(json_is_null(reply_at(row, "domain.webhookUrl")));
    world_end(scene.world);
}

Test(webhook, leads_to_no_private_address)
{
    struct scene scene;
    open_scene(&scene, "{'events':[]}");
    struct world *world = scene.world;
    world_stop(world);
    world_set(world, "allow_private_targets", "no");
    world_start(world);
    static const char *const refused[] = {
        "http://127.0.0.1:9/", "https://127.0.0.1/",         "https://10.1.2.3/",
        "https://[::1]/",      "https://[::ffff:10.0.0.1]/", "http://example.com/",
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct reply *got = call(world, "PUT", at_domain(&scene, "/webhook"),
                                 world_text(world, "{'url':'%s'}", refused[i]));
        cr_expect_eq(got->status, 400, "%s: %ld", refused[i], got->status);
        cr_expect_str_eq(reply_text(got, "error"), "a valid https url is required");
    }
    /* A name that leads there is found out when it is looked up. */
    world_dns(world, "host-record=inside.test,127.0.0.1\n");
    struct reply *set =
        call(world, "PUT", at_domain(&scene, "/webhook"), "{'url':'https://inside.test/'}");
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    struct reply *tried = call(world, "POST", at_domain(&scene, "/webhook/test"), "");
    cr_expect_eq(tried->status, 502, "%.*s", SLICE_FMT(tried->body));
    cr_expect_eq(world_sink_count(world, scene.sink, "hooks"), 0);
    world_end(world);
}
