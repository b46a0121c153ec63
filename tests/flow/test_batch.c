/* Flow: many mails in one request, repeated after a death; bodies as gzip; attachments by url.
 *
 * Not covered here: each refusal (tests/unit/edge/test_api_batch.c), the address guard
 * (tests/flow/test_hostile_hooks.c, tests/unit/net).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/gzip.h"
#include "base/limits.h"
#include "support/client.h"
#include "support/world.h"

#define MAILS 40

/* Apostrophes become quotation marks. */
static struct slice json_of(struct world *world, const char *text)
{
    char *copy = arena_bytes(&world->arena, strlen(text) + 1);
    for (size_t i = 0; i <= strlen(text); i++) {
        copy[i] = text[i] == '\'' ? '"' : text[i];
    }
    return slice_of(copy, strlen(text));
}

static struct reply *post(struct world *world, const char *path, struct slice body,
                          const char *header)
{
    struct world_call call = {.method = "POST", .path = path, .body = body, .headers = {header}};
    return world_call(world, &call);
}

/* One of them is no mail. */
static struct slice batch_of(struct world *world, uint32_t count)
{
    struct buf text;
    buf_init(&text, MIB);
    for (uint32_t i = 0; i < count; i++) {
        buf_add_format(
            &text, "%s{'from':'%s','to':'b%u@dest.test','subject':'number %u','text':'x'}",
            i == 0 ? "[" : ",", i == 7 ? "nobody" : "a@send.test", (unsigned)i, (unsigned)i);
    }
    buf_add_str(&text, "]");
    buf_add_byte(&text, '\0');
    struct slice json = json_of(world, text.data);
    buf_fini(&text);
    return json;
}

static void expect_results(struct reply *reply)
{
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    cr_assert_eq(reply_count(reply, "results"), MAILS);
    for (uint32_t i = 0; i < MAILS; i++) {
        char path[48];
        (void)snprintf(path, sizeof path, "results.%u.status", (unsigned)i);
        cr_expect_str_eq(reply_text(reply, path), i == 7 ? "" : "queued");
    }
    cr_expect_eq(reply_int(reply, "results.7.statusCode"), 400);
    cr_expect_str_eq(reply_text(reply, "results.7.param"), "from");
}

Test(batch, is_done_once_however_often_it_is_repeated)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    struct slice body = batch_of(world, MAILS);
    struct reply *first = post(world, "/v1/send/batch", body, "Idempotency-Key: once");
    expect_results(first);
    world_kill(world);
    world_start(world);
    struct reply *again = post(world, "/v1/send/batch", body, "Idempotency-Key: once");
    expect_results(again);
    cr_expect(slice_equal(first->body, again->body), "%.*s", SLICE_FMT(again->body));
    struct reply *other =
        post(world, "/v1/send/batch", batch_of(world, 2), "Idempotency-Key: once");
    cr_expect_eq(other->status, 409, "%.*s", SLICE_FMT(other->body));
    for (uint32_t i = 0; i < MAILS; i++) {
        char path[48];
        (void)snprintf(path, sizeof path, "results.%u.id", (unsigned)i);
        if (i != 7) {
            (void)world_await(world, reply_text(first, path), "message.send_status", "delivered");
        }
    }
    cr_expect_eq(reply_count(world_get(world, "/api/messages?limit=200"), ""), MAILS - 1);
    cr_expect_geq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}

/* What the first try had done is found again, what it had not is done; nothing leaves before, so
 * that the receiver's own count tells of every mail that was there twice. */
Test(batch, is_completed_when_the_daemon_died_in_its_middle)
{
    struct world *world = world_new();
    world_set(world, "test_commit_delay_ms", "400"); /* a few of them together */
    world_set(world, "retry_first_ms", "200");
    world_set(world, "retry_max_ms", "200");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "tempfail:100000");
    struct slice body = batch_of(world, MAILS);
    struct client client;
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, slice_str(world_text(world,
                                             "POST /v1/send/batch HTTP/1.1\r\nHost: h\r\n"
                                             "Authorization: Bearer %s\r\nIdempotency-Key: cut\r\n"
                                             "Content-Length: %zu\r\n\r\n%.*s",
                                             world->key, body.len, SLICE_FMT(body))));
    struct wait wait = wait_start(WORLD_WAIT_MS);
    size_t done = 0;
    do {
        done = reply_count(world_get(world, "/api/messages?limit=200"), "");
    } while (done == 0 && wait_more(&wait));
    world_kill(world);
    cr_assert_gt(done, 0);
    cr_assert_lt(done, MAILS - 1, "the batch was over too soon");
    client_close(&client);
    world_set(world, "test_commit_delay_ms", "0");
    world_start(world);
    expect_results(post(world, "/v1/send/batch", body, "Idempotency-Key: cut"));
    struct reply *list = world_get(world, "/api/messages?limit=200");
    cr_expect_eq(reply_count(list, ""), MAILS - 1);
    for (uint32_t i = 0; i < MAILS; i++) {
        struct slice subject = slice_str(world_text(world, "\"number %u\"", (unsigned)i));
        size_t at = slice_find(list->body, subject);
        cr_expect_eq(at == SIZE_MAX, i == 7, "number %u", (unsigned)i);
        if (at != SIZE_MAX) {
            struct slice rest = slice_from(list->body, at + 1);
            cr_expect_eq(slice_find(rest, subject), SIZE_MAX, "number %u twice", (unsigned)i);
        }
    }
    world_sink_profile(world, sink, "");
    for (uint32_t i = 0; i < MAILS - 1; i++) {
        const char *id = reply_text(list, world_text(world, "%u.id", (unsigned)i));
        (void)world_await(world, id, "message.send_status", "delivered");
    }
    cr_expect_eq(world_sink_count(world, sink, "mails"), MAILS - 1);
    world_end(world);
}

Test(batch, may_come_as_gzip)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    struct buf packed;
    buf_init(&packed, MIB);
    cr_assert_eq(gzip_pack(batch_of(world, MAILS), &packed), ERR_OK);
    expect_results(post(world, "/v1/send/batch", buf_slice(&packed), "Content-Encoding: gzip"));
    buf_fini(&packed);
    world_end(world);
}

/* Files come from the daemon itself, which is at hand: its own description, its state. */
Test(batch, fetches_attachments_and_names_those_that_cannot_be)
{
    struct world *world = world_new();

    struct peer *sink = world_ready_to_send(world);
    const char *text = world_text(
        world,
        "{'messages':[{'from':'a@send.test','to':'b@dest.test','text':'x','attachments':["
        "{'content':'aGVsbG8=','filename':'a.txt'},"
        "{'url':'http://127.0.0.1:%u/api/health?x=1'},"
        "{'url':'http://localhost:%u/api/health','filename':'b.bin',"
        "'contentType':'application/octet-stream'}]},"
        "{'from':'a@send.test','to':'b@dest.test','text':'x','attachments':["
        "{'url':'http://127.0.0.1:%u/nowhere'}]},"
        "{'from':'a@send.test','to':'b@dest.test','text':'x','attachments':["
        "{'url':'ftp://127.0.0.1/file'}]}]}",
        (unsigned)world->http_port, (unsigned)world->http_port, (unsigned)world->http_port);
    struct reply *reply = post(world, "/v1/send/batch", json_of(world, text), NULL);
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    const char *id = reply_text(reply, "results.0.id");
    cr_expect_str_eq(reply_text(reply, "results.1.param"), "attachments[0].url", "%.*s",
                     SLICE_FMT(reply->body));
    cr_expect_eq(reply_int(reply, "results.1.statusCode"), 400);
    cr_expect_str_eq(reply_text(reply, "results.2.param"), "attachments[0].url");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_assert_eq(reply_count(read, "attachments"), 3, "%.*s", SLICE_FMT(read->body));
    cr_expect_str_eq(reply_text(read, "attachments.1.filename"), "health");
    cr_expect_str_eq(reply_text(read, "attachments.1.contentType"), "application/json");
    cr_expect_eq(reply_int(read, "attachments.1.size"), 11);
    cr_expect_str_eq(reply_text(read, "attachments.2.filename"), "b.bin");
    cr_expect_str_eq(reply_text(read, "attachments.2.contentType"), "application/octet-stream");
    struct slice mail = world_sink_mail(world, sink, 1);
    cr_expect_neq(slice_find(mail, SLICE("eyJvayI6dHJ1ZX0=")), SIZE_MAX, "%.*s", SLICE_FMT(mail));
    world_end(world);
}

/* Without the operator's word nobody makes the daemon call into its own network. */
Test(batch, fetches_nothing_from_the_servers_own_network)
{
    struct world *world = world_new();
    world_set(world, "allow_private_targets", "false");
    (void)world_ready_to_send(world);
    static const char *const urls[] = {
        "http://127.0.0.1:%u/api/health",  "https://127.0.0.1:%u/api/health",
        "https://[::1]:%u/api/health",     "https://10.0.0.1:%u/x",
        "http://example.com:%u/x",         "http://localhost:%u/api/health",
        "https://localhost:%u/api/health",
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        char url[96];
        (void)snprintf(url, sizeof url, urls[i], (unsigned)world->http_port);
        struct reply *reply = world_post(world, "/v1/send",
                                         "{'from':'a@send.test','to':'b@dest.test','text':'x',"
                                         "'attachments':[{'url':'%s'}]}",
                                         url);
        cr_expect_eq(reply->status, 400, "%s: %.*s", url, SLICE_FMT(reply->body));
        cr_expect_str_eq(reply_text(reply, "param"), "attachments[0].url", "%s", url);
    }
    cr_expect_eq(reply_count(world_get(world, "/api/messages"), ""), 0);
    world_end(world);
}
