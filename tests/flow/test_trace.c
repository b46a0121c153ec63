/* Flow: dialogues are watched while they happen, and show no secret.
 *
 * Not covered here: rings, ceilings, what fits (tests/unit/base/test_trace.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "support/certs.h"
#include "support/client.h"
#include "support/world.h"

#define TRACES "/api/admin/traces"

/* As an administrator: the first who signed up. */
static struct reply *admin(struct world *world, const char *method, const char *path,
                           const char *body)
{
    struct world_call call = {
        .method = method, .path = path, .bearer = world->token, .body = slice_str(body)};
    return world_call(world, &call);
}

static const char *watch(struct world *world, const char *body)
{
    struct reply *reply = admin(world, "POST", TRACES, body);
    cr_assert_eq(reply->status, 201, "%.*s", SLICE_FMT(reply->body));
    return reply_text(reply, "id");
}

/* Lines as text, each with its kind in front. */
static void read_lines(struct world *world, const char *id, const char **next, struct buf *out)
{
    struct reply *reply =
        admin(world, "GET", world_text(world, TRACES "/%s?after=%s", id, *next), "");
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    for (size_t i = 0; i < reply_count(reply, "lines"); i++) {
        buf_add_format(out, "%s %s\n", reply_text(reply, world_text(world, "lines.%zu.kind", i)),
                       reply_text(reply, world_text(world, "lines.%zu.line", i)));
    }
    cr_expect_eq(reply_int(reply, "lost"), 0);
    *next = reply_text(reply, "next");
}

/* Reads until the part has come. */
static void await_line(struct world *world, const char *id, const char **next, struct buf *out,
                       const char *part)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    do {
        read_lines(world, id, next, out);
    } while (slice_find(buf_slice(out), slice_str(part)) == SIZE_MAX && wait_more(&wait));
    cr_assert_neq(slice_find(buf_slice(out), slice_str(part)), SIZE_MAX, "%s is not in:\n%.*s",
                  part, SLICE_FMT(buf_slice(out)));
}

static void expect_line(const struct buf *out, const char *part)
{
    cr_expect_neq(slice_find(buf_slice(out), slice_str(part)), SIZE_MAX, "%s is not in:\n%.*s",
                  part, SLICE_FMT(buf_slice(out)));
}

static void expect_no(const struct buf *out, const char *part)
{
    cr_expect_eq(slice_find(buf_slice(out), slice_str(part)), SIZE_MAX, "%s is in:\n%.*s", part,
                 SLICE_FMT(buf_slice(out)));
}

static const char *account_of(struct world *world)
{
    struct world_call me = {.method = "GET", .path = "/v1/me", .bearer = world->token};
    return reply_text(world_call(world, &me), "account.id");
}

Test(trace, a_mail_is_watched_from_the_request_to_the_last_reply)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *account = account_of(world);
    const char *id = watch(world, world_text(world, "{\"account\":\"%s\"}", account));
    const char *other = watch(world, "{\"address\":\"nobody@dest.test\"}");
    const char *rcpt = watch(world, "{\"address\":\"u1@dest.test\",\"smtp\":true}");
    const char *message = world_send(
        world, "{'from':'a@send.test','to':'u1@dest.test','subject':'hush','text':'very secret'}");
    const char *next = "0";
    struct buf out;
    buf_init(&out, MIB);
    await_line(world, id, &next, &out, "u1@dest.test: delivered, 250");
    expect_line(&out, "http C: POST /v1/send HTTP/1.1");
    expect_line(&out, "http C: Authorization: (hidden)");
    expect_line(&out, world_text(world, "; %s", message));
    expect_line(&out, "http -- answered 202 application/json");
    expect_line(&out, world_text(world, "smtp-out -- %s for dest.test, 1 recipient", message));
    expect_line(&out, "smtp-out S: 220 ");
    expect_line(&out, "smtp-out C: EHLO ");
    expect_line(&out, "smtp-out C: RCPT TO:<u1@dest.test>");
    expect_line(&out, "smtp-out S: 250 ");
    expect_no(&out, "hush");
    expect_no(&out, "very secret");
    expect_no(&out, world->key);

    struct buf few;
    const char *few_next = "0";
    buf_init(&few, MIB);
    read_lines(world, rcpt, &few_next, &few);
    expect_line(&few, "smtp-out C: RCPT TO:<u1@dest.test>");
    expect_no(&few, "http ");
    buf_clear(&few);
    few_next = "0";
    read_lines(world, other, &few_next, &few);
    cr_expect_eq(few.len, 0, "nobody asked for it: %.*s", SLICE_FMT(buf_slice(&few)));

    cr_expect_eq(admin(world, "DELETE", world_text(world, TRACES "/%s", id), "")->status, 200);
    cr_expect_eq(admin(world, "GET", world_text(world, TRACES "/%s", id), "")->status, 404);
    cr_expect_eq(world_sink_count(world, sink, "mails"), 1);
    buf_fini(&out);
    buf_fini(&few);
    world_end(world);
}

/* Its owner has put secrets into the address. */
static void set_hook(struct world *world, const struct peer *sink)
{
    const char *domain = reply_text(world_get(world, "/api/domains"), "0.id");
    const char *body =
        world_text(world,
                   "{\"url\":\"http://127.0.0.1:%u/in/HOOKPATHHOOKPATHHOOKPATH?token=HOOKQUERY\","
                   "\"ackMode\":\"lenient\"}",
                   (unsigned)sink->http_port);
    struct world_call call = {.method = "PUT",
                              .path = world_text(world, "/api/domains/%s/webhook", domain),
                              .body = slice_str(body)};
    cr_assert_eq(world_call(world, &call)->status, 200);
    call.path = world_text(world, "/api/domains/%s/webhook-events", domain);
    call.body = SLICE("{\"events\":[\"email.delivered\"]}");
    cr_assert_eq(world_call(world, &call)->status, 200);
}

Test(trace, no_key_password_or_token_is_ever_shown)
{
    struct world *world = world_new();
    struct certs certs;
    struct client client;
    crypto_init();
    certs_make(&certs, WORLD_HOST, 86400);
    world_set(world, "submission_listen", "127.0.0.1:0");
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", certs.cert_path);
    world_set(world, "tls_key", "%s", certs.key_path);
    struct peer *sink = world_ready_to_send(world);
    set_hook(world, sink);
    const char *id = watch(world, "{\"address\":\"127.0.0.1\"}");
    const char *plain = world_text(world, "anybody:%s", world->key);
    struct arena arena;
    arena_init(&arena, KIB, 64 * KIB);
    struct slice coded = base64_arena(&arena, slice_str(plain));

    client_open(world, &client, 0x7f000001);
    client_say(
        &client,
        slice_str(world_text(
            world,
            "GET /u/TOKENTOKENTOKENTOKENTOKEN?sig=QUERYSECRET&QUERYWORD HTTP/1.1\r\nhost: x\r\n"
            "Authorization: Bearer %s\r\nCookie: sid=COOKIESECRET\r\n"
            "x-api-key: HEADERSECRET\r\nx-mailkite-signature: SIGNSECRET\r\n\r\n"
            "POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 51\r\n\r\n"
            "{\"email\":\"owner@customer.test\",\"password\":\"PASSWORD\"}",
            world->key)));
    client_await(&client, "x-request-id", 2);
    client_close(&client);

    client_dial(world, &client, world->submission_port);
    client_await(&client, "220 ", 1);
    client_say(&client,
               slice_str(world_text(world,
                                    "EHLO client.test\r\nAUTH PLAIN %.*s\r\n"
                                    "AUTH LOGIN\r\n%.*s\r\nauth\tPLAIN %.*s\r\n"
                                    "PASS PASSWORD\r\nNOOP PASSWORD\r\nQUIT\r\n",
                                    SLICE_FMT(coded), SLICE_FMT(coded), SLICE_FMT(coded))));
    client_await_end(&client);
    client_close(&client);
    client_dial(world, &client, world->smtp_port);
    client_await(&client, "220 ", 1);
    client_say(&client, SLICE("EHLO peer.test\r\nMAIL FROM:<a@peer.test>\r\n"
                              "RCPT TO:<x@send.test>\r\nQUIT\r\n"));
    client_await_end(&client);
    client_close(&client);
    const char *script = world_text(world, "%s/tests/support/submit.py", getenv("MEERKAT_SOURCE"));
    const char *file = world_text(world, "%s/m.eml", world->dir);
    world_write_file(world, file,
                     SLICE("From: a@send.test\r\nTo: b@dest.test\r\nSubject: HUSH\r\n\r\nx\r\n"));
    const char *const argv[] = {"/usr/bin/python3",
                                script,
                                "mail",
                                "starttls",
                                world_text(world, "%u", (unsigned)world->submission_port),
                                certs.cert_path,
                                world->key,
                                "a@send.test",
                                file,
                                "b@dest.test",
                                NULL};
    cr_assert_eq(world_tool(world, argv, SLICE(""), NULL), 0);

    struct buf out;
    const char *next = "0";
    buf_init(&out, MIB);
    await_line(world, id, &next, &out, "submission S: 250 2.0.0 Ok: queued as msg_");
    await_line(world, id, &next, &out, "webhook S: 200 ");
    expect_line(&out, world_text(world, "webhook C: POST 127.0.0.1:%u/in/(hidden)?token=(hidden) (",
                                 (unsigned)sink->http_port));
    expect_line(&out, "http C: GET /u/(hidden)?sig=(hidden)&(hidden) HTTP/1.1");
    expect_line(&out, "http C: Cookie: (hidden)");
    expect_line(&out, "http C: x-api-key: (hidden)");
    expect_line(&out, "http C: POST /api/auth/login HTTP/1.1");
    expect_line(&out, "submission -- connection from 127.0.0.1");
    expect_line(&out, "submission C: EHLO client.test");
    expect_line(&out, "submission C: AUTH (hidden)");
    expect_line(&out, "submission S: 235 ");
    expect_line(&out, "submission C: STARTTLS");
    expect_line(&out, "submission C: rcpt TO:<b@dest.test>");
    expect_line(&out, "submission -- the mail is there: ");
    expect_line(&out, "smtp-in C: MAIL FROM:<a@peer.test>");
    expect_line(&out, "smtp-in C: RCPT TO:<x@send.test>");
    static const char *const secrets[] = {
        "TOKENTOKEN", "QUERYSECRET", "QUERYWORD", "COOKIESECRET", "HEADERSECRET", "SIGNSECRET",
        "PASSWORD",   "HUSH",        "HOOKPATH",  "HOOKQUERY",    "whsec_"};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        expect_no(&out, secrets[i]);
    }
    expect_no(&out, world->key);
    expect_no(&out, world->key + 12);
    expect_no(&out, world_text(world, "%.*s", SLICE_FMT(slice_head(coded, 24))));
    buf_fini(&out);
    arena_fini(&arena);
    certs_remove(&certs);
    world_end(world);
}

Test(trace, traces_are_few_end_by_themselves_and_the_tool_prints_them)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    const char *const ids[] = {watch(world, "{\"site\":\"a.test\"}"),
                               watch(world, "{\"site\":\"b\"}"), watch(world, "{\"site\":\"c\"}")};
    const char *tool = world_program(world, "meerkatctl");
    const char *said = world_text(world, "%s/said", world->dir);
    const char *told = world_text(world, "%s/told", world->dir);
    const char *command =
        world_text(world, "exec %s --data %s --json trace --site dest.test --seconds 20 > %s 2> %s",
                   tool, world->data, said, told);
    const char *const argv[] = {"sh", "-c", command, NULL};
    struct peer *peer = world_spawn(world, "trace", argv);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while ((access(told, F_OK) == -1 ||
            slice_find(world_read_file(world, told), SLICE("watching until")) == SIZE_MAX) &&
           wait_more(&wait)) {
    }
    long status = admin(world, "POST", TRACES, "{\"site\":\"d\",\"seconds\":1}")->status;
    cr_expect_eq(status, 429, "the tool's is the fourth");
    const char *id =
        world_send(world, "{'from':'a@send.test','to':'u@dest.test','subject':'s','text':'x'}");
    while (slice_find(world_read_file(world, said), SLICE("u@dest.test: delivered")) == SIZE_MAX &&
           wait_more(&wait)) {
    }
    struct slice text = world_read_file(world, said);
    cr_expect_neq(slice_find(text, slice_str(id)), SIZE_MAX, "%.*s", SLICE_FMT(text));
    cr_expect_neq(slice_find(text, SLICE("\"kind\":\"smtp-out\"")), SIZE_MAX, "%.*s",
                  SLICE_FMT(text));
    (void)peer;
    cr_expect_eq(admin(world, "POST", TRACES, "{}")->status, 400);
    cr_expect_eq(admin(world, "POST", TRACES, "{\"address\":\"nonsense\"}")->status, 400);
    cr_expect_eq(admin(world, "POST", TRACES, "{\"site\":\"a\",\"seconds\":9999}")->status, 400);
    cr_expect_eq(world_get(world, TRACES "/0123456789abcdef")->status, 403, "not with a key");
    cr_expect_eq(admin(world, "GET", TRACES "/zz", "")->status, 404);
    cr_expect_eq(admin(world, "GET", world_text(world, TRACES "/%s?after=x", ids[0]), "")->status,
                 400);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        cr_expect_eq(admin(world, "DELETE", world_text(world, TRACES "/%s", ids[i]), "")->status,
                     200);
    }
    world_end(world);
}
