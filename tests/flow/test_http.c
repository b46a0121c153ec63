/* Flow: HTTP as strangers speak it to the running daemon: kept connections, pipelines, framing
 * that proxies could read differently, ceilings, HTTPS, and the way out.
 *
 * Not covered here: the codec's every rule and every split of the bytes
 * (tests/unit/net/test_http.c), time limits (a slow header block is cut after 15 seconds).
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/limits.h"
#include "support/certs.h"
#include "support/client.h"
#include "support/world.h"

static struct world *plain_world(void)
{
    struct world *world = world_new();
    world_start(world);
    return world;
}

#define H      "Host: meerkat.test\r\n"
#define HEALTH "GET /api/health HTTP/1.1\r\n" H "\r\n"

/* ---- kept connections and pipelines ---------------------------------------------------------- */

Test(http, one_connection_serves_many_requests_each_with_an_id_of_its_own)
{
    struct world *world = plain_world();
    struct client client;
    client_open(world, &client, INADDR_LOOPBACK);
    for (size_t i = 0; i < 3; i++) {
        client_say(&client, SLICE(HEALTH));
        client_await(&client, "{\"ok\":true}", i + 1);
    }
    cr_assert_eq(client_count(buf_slice(&client.in), "x-request-id: req_"), 3);
    struct slice first = buf_slice(&client.in);
    first = slice_from(first, slice_find(first, SLICE("req_")));
    struct slice second = slice_from(first, slice_find(slice_from(first, 4), SLICE("req_")) + 4);
    cr_assert(!slice_equal(slice_head(first, 26), slice_head(second, 26)));

    client_say(&client, SLICE("GET /api/health HTTP/1.1\r\n" H "Connection: close\r\n\r\n"));
    client_await_end(&client);
    cr_assert_eq(client_count(buf_slice(&client.in), "HTTP/1.1 200"), 4);
    client_close(&client);

    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, SLICE("GET /api/health HTTP/1.0\r\n\r\n"));
    client_await_end(&client);
    cr_assert_eq(client_status(&client, 0), 200);
    client_close(&client);
    world_end(world);
}

Test(http, pipelined_answers_come_in_the_order_of_the_requests)
{
    static const char login[] = "{\"email\":\"no@body.test\",\"password\":\"1234567890\"}";
    struct world *world = plain_world();
    struct client client;
    struct buf out;
    buf_init(&out, MIB);
    /* Hashing a password takes its time; all the others could answer at once. Twice the depth of
     * the pipeline, so that reading has to stop and go on. */
    buf_add_format(&out, "POST /api/auth/login HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n%s",
                   sizeof login - 1, login);
    for (int i = 0; i < 2 * HTTP_PIPELINE_MAX; i++) {
        buf_add_str(&out, i % 2 == 0 ? HEALTH : "GET /nowhere HTTP/1.1\r\n" H "\r\n");
    }
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, buf_slice(&out));
    client_await(&client, "HTTP/1.1 ", 2 * HTTP_PIPELINE_MAX + 1);
    cr_assert_eq(client_status(&client, 0), 401);
    for (size_t i = 0; i < 2 * HTTP_PIPELINE_MAX; i++) {
        cr_assert_eq(client_status(&client, i + 1), i % 2 == 0 ? 200 : 404, "answer %zu", i + 1);
    }
    client_close(&client);
    buf_fini(&out);
    world_end(world);
}

/* ---- framing --------------------------------------------------------------------------------- */

#define POST     "POST /api/auth/login HTTP/1.1\r\n"
#define SMUGGLED HEALTH

struct frame {
    const char *name;
    struct slice bytes; /* a request that is wrong, and one that must not be seen */
    int status;
};

static const struct frame frames[] = {
    {"length and chunks",
     SLICE_INIT(POST H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
     400},
    {"two lengths", SLICE_INIT(POST H "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" SMUGGLED),
     400},
    {"two lengths in one", SLICE_INIT(POST H "Content-Length: 2, 2\r\n\r\n{}" SMUGGLED), 400},
    {"a signed length", SLICE_INIT(POST H "Content-Length: +2\r\n\r\n{}" SMUGGLED), 400},
    {"a negative length", SLICE_INIT(POST H "Content-Length: -1\r\n\r\n" SMUGGLED), 400},
    {"a length in hexadecimal", SLICE_INIT(POST H "Content-Length: 0x2\r\n\r\n{}" SMUGGLED), 400},
    {"a length beyond any number",
     SLICE_INIT(POST H "Content-Length: 99999999999999999999999\r\n\r\n" SMUGGLED), 400},
    {"an unknown coding", SLICE_INIT(POST H "Transfer-Encoding: gzip, chunked\r\n\r\n" SMUGGLED),
     400},
    {"a coding like chunked", SLICE_INIT(POST H "Transfer-Encoding: xchunked\r\n\r\n" SMUGGLED),
     400},
    {"chunked twice",
     SLICE_INIT(POST H "Transfer-Encoding: chunked\r\nTransfer-Encoding: "
                       "identity\r\n\r\n0\r\n\r\n" SMUGGLED),
     400},
    {"chunks in HTTP/1.0",
     SLICE_INIT("POST /api/auth/login HTTP/1.0\r\n" H
                "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
     400},
    {"a chunk size that is none",
     SLICE_INIT(POST H "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" SMUGGLED), 400},
    {"a chunk size with a sign",
     SLICE_INIT(POST H "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
    {"a chunk longer than it says",
     SLICE_INIT(POST H "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
    {"a space before the colon", SLICE_INIT(POST H "Content-Length : 2\r\n\r\n{}" SMUGGLED), 400},
    {"a folded header",
     SLICE_INIT("GET /api/health HTTP/1.1\r\n" H "X-A: b\r\n c\r\n\r\n" SMUGGLED), 400},
    {"bare line feeds", SLICE_INIT("GET /api/health HTTP/1.1\nHost: x\n\n" SMUGGLED), 400},
    {"a bare carriage return",
     SLICE_INIT("GET /api/health HTTP/1.1\r\n" H "X-A: b\rc\r\n\r\n" SMUGGLED), 400},
    {"a NUL in a header", SLICE_INIT("GET /api/health HTTP/1.1\r\n" H "X-A: b\0c\r\n\r\n" SMUGGLED),
     400},
    {"a NUL in the target", SLICE_INIT("GET /api/he\0alth HTTP/1.1\r\n" H "\r\n" SMUGGLED), 400},
    {"no host", SLICE_INIT("GET /api/health HTTP/1.1\r\n\r\n" SMUGGLED), 400},
    {"two hosts", SLICE_INIT("GET /api/health HTTP/1.1\r\n" H "Host: b\r\n\r\n" SMUGGLED), 400},
    {"a header without a name", SLICE_INIT("GET /api/health HTTP/1.1\r\n" H ": b\r\n\r\n" SMUGGLED),
     400},
    {"a header without a colon",
     SLICE_INIT("GET /api/health HTTP/1.1\r\n" H "X-A\r\n\r\n" SMUGGLED), 400},
    {"a version to come", SLICE_INIT("GET /api/health HTTP/3.0\r\n" H "\r\n" SMUGGLED), 400},
    {"no version", SLICE_INIT("GET /api/health\r\n\r\n" SMUGGLED), 400},
    {"a preface of HTTP/2", SLICE_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" SMUGGLED), 400},
    {"a TLS greeting", SLICE_INIT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" SMUGGLED), 400},
    {"a method in small letters", SLICE_INIT("get /api/health HTTP/1.1\r\n" H "\r\n" SMUGGLED),
     400},
    {"a header over the ceiling", SLICE_INIT(""), 400},
    {"too many headers", SLICE_INIT(""), 400},
};

static struct slice frame_bytes(struct world *world, const struct frame *frame)
{
    struct buf made;
    if (frame->bytes.len > 0) {
        return frame->bytes;
    }
    buf_init(&made, MIB);
    buf_add_str(&made, "GET /api/health HTTP/1.1\r\n" H);
    bool is_many = strcmp(frame->name, "too many headers") == 0;
    for (int i = 0; i < (is_many ? 101 : 1); i++) {
        buf_add_format(&made, "X-%d: ", i);
        for (size_t n = 0; n < (is_many ? 1 : 17 * KIB); n++) {
            buf_add_byte(&made, 'a');
        }
        buf_add_str(&made, "\r\n");
    }
    buf_add_str(&made, "\r\n" SMUGGLED);
    struct slice bytes = arena_dup(&world->arena, buf_slice(&made));
    buf_fini(&made);
    return bytes;
}

Test(http, a_request_that_could_be_read_in_two_ways_is_refused_and_ends_the_connection)
{
    struct world *world = plain_world();
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        struct client client;
        client_open(world, &client, INADDR_LOOPBACK);
        client_say(&client, frame_bytes(world, &frames[i]));
        client_await_end(&client);
        struct slice in = buf_slice(&client.in);
        cr_expect_eq(client_status(&client, 0), frames[i].status, "%s: %.*s", frames[i].name,
                     SLICE_FMT(in));
        cr_expect_eq(client_count(in, "HTTP/1.1 "), 1, "%s: more than one answer: %.*s",
                     frames[i].name, SLICE_FMT(in));
        cr_expect_eq(client_count(in, "x-request-id: req_"), 1, "%s: no id", frames[i].name);
        cr_expect_eq(client_count(in, "{\"error\":"), 1, "%s: no sentence", frames[i].name);
        client_close(&client);
    }
    cr_assert_eq(world_get(world, "/api/health")->status, 200);
    world_end(world);
}

Test(http, what_is_odd_but_clear_is_served)
{
    static const struct frame odd[] = {
        {"an empty line first", SLICE_INIT("\r\n" HEALTH), 200},
        {"an upgrade to h2c",
         SLICE_INIT("GET /api/health HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\n"
                    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"),
         200},
        {"an upgrade with a body",
         SLICE_INIT(POST H "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}"),
         400},
        {"chunks with extensions and trailers",
         SLICE_INIT(POST H "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n"
                           "\r\n"),
         400},
        {"a query", SLICE_INIT("GET /api/health?x=%zz HTTP/1.1\r\n" H "\r\n"), 200},
        {"no credential", SLICE_INIT("GET /api/messages HTTP/1.1\r\n" H "\r\n"), 401},
        {"an unknown route", SLICE_INIT("GET /api/nothing HTTP/1.1\r\n" H "\r\n"), 404},
        {"an encoded slash", SLICE_INIT("GET /api%2fhealth HTTP/1.1\r\n" H "\r\n"), 404},
        {"dots in the path", SLICE_INIT("GET /api/../api/health HTTP/1.1\r\n" H "\r\n"), 404},
        {"another method", SLICE_INIT("DELETE /api/health HTTP/1.1\r\n" H "\r\n"), 405},
        {"an unknown method", SLICE_INIT("PROPFIND /api/health HTTP/1.1\r\n" H "\r\n"), 405},
        {"a compressed body",
         SLICE_INIT(POST H "Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"), 415},
    };
    struct world *world = plain_world();
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct client client;
        client_open(world, &client, INADDR_LOOPBACK);
        client_say(&client, odd[i].bytes);
        client_await(&client, "\r\n\r\n", 1);
        cr_expect_eq(client_status(&client, 0), odd[i].status, "%s: %.*s", odd[i].name,
                     SLICE_FMT(buf_slice(&client.in)));
        cr_expect_eq(client_count(buf_slice(&client.in), "x-request-id: req_"), 1, "%s",
                     odd[i].name);
        client_close(&client);
    }
    struct world_call head = {.method = "HEAD", .path = "/api/health"};
    struct reply *reply = world_call(world, &head);
    cr_expect_eq(reply->status, 200);
    cr_expect_eq(reply->body.len, 0);
    cr_expect(slice_equal(reply_header(reply, "content-length"), SLICE("11")));
    struct reply *metrics = world_get(world, "/metrics");
    cr_expect_eq(metrics->status, 200);
    cr_expect(slice_starts(reply_header(metrics, "content-type"), SLICE("text/plain")));
    world_end(world);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

Test(http, a_body_is_asked_for_only_when_it_will_be_taken)
{
    struct world *world = plain_world();
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    struct client client;
    const char *head = world_text(world,
                                  "POST /v1/send HTTP/1.1\r\n" H "Authorization: Bearer %s\r\n"
                                  "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
                                  world->key);
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, slice_str(head));
    client_await(&client, "HTTP/1.1 100 Continue\r\n\r\n", 1);
    client_say(&client, SLICE("{}"));
    client_await(&client, "HTTP/1.1 400", 1);
    client_say(&client, SLICE(HEALTH)); /* the connection is kept */
    client_await(&client, "HTTP/1.1 200", 1);
    client_close(&client);

    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, SLICE("POST /v1/send HTTP/1.1\r\n" H "Expect: 100-continue\r\n"
                              "Content-Length: 2\r\n\r\n"));
    client_await_end(&client);
    cr_assert_eq(client_status(&client, 0), 401);
    client_close(&client);
    world_end(world);
}

Test(http, a_body_over_its_ceiling_is_refused_before_it_is_sent)
{
    struct world *world = plain_world();
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    struct client client;
    const char *head = world_text(
        world, "POST /v1/send HTTP/1.1\r\n" H "Authorization: Bearer %s\r\n", world->key);
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, slice_str(head));
    client_say(&client, SLICE("Content-Length: 41943041\r\n\r\n"));
    client_await_end(&client);
    cr_expect_eq(client_status(&client, 0), 413);
    client_close(&client);

    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, SLICE(POST H "Transfer-Encoding: chunked\r\n\r\n20000\r\n"));
    client_await_end(&client);
    cr_expect_eq(client_status(&client, 0), 413, "%.*s", SLICE_FMT(buf_slice(&client.in)));
    client_close(&client);
    world_end(world);
}

/* ---- who may speak in the clear -------------------------------------------------------------- */

/* An address of this machine that is not a loopback one; 0 for none. */
static uint32_t own_address(void)
{
    struct ifaddrs *all;
    uint32_t found = 0;
    cr_assert_eq(getifaddrs(&all), 0);
    for (const struct ifaddrs *it = all; it != NULL; it = it->ifa_next) {
        if (it->ifa_addr != NULL && it->ifa_addr->sa_family == AF_INET) {
            uint32_t ip =
                ntohl(((const struct sockaddr_in *)(const void *)it->ifa_addr)->sin_addr.s_addr);
            found = ip >> 24 != 127 ? ip : found;
        }
    }
    freeifaddrs(all);
    return found;
}

static int status_at(struct world *world, uint32_t ip, const char *header)
{
    struct client client;
    client_open(world, &client, ip);
    client_say(&client, slice_str(world_text(world,
                                             "GET /api/health HTTP/1.1\r\n" H "%s"
                                             "Connection: close\r\n\r\n",
                                             header)));
    client_await_end(&client);
    int status = client_status(&client, 0);
    client_close(&client);
    return status;
}

Test(http, plain_requests_are_for_loopback_and_trusted_proxies)
{
    uint32_t ip = own_address();
    if (ip == 0) {
        cr_skip_test("this machine has only loopback addresses");
    }
    struct world *world = world_new();
    world_set(world, "http_listen", "0.0.0.0:0");
    world_start(world);
    cr_expect_eq(status_at(world, INADDR_LOOPBACK, ""), 200);
    cr_expect_eq(status_at(world, ip, ""), 403);
    cr_expect_eq(status_at(world, ip, "X-Forwarded-Proto: https\r\n"), 403);
    world_stop(world);
    world_set(world, "trusted_proxies", "10.1.0.0/16, %u.%u.%u.%u/32", ip >> 24, ip >> 16 & 255,
              ip >> 8 & 255, ip & 255);
    world_start(world);
    cr_expect_eq(status_at(world, ip, ""), 403);
    cr_expect_eq(status_at(world, ip, "X-Forwarded-Proto: http\r\n"), 403);
    cr_expect_eq(status_at(world, ip, "X-Forwarded-Proto: https\r\n"), 200);
    world_end(world);
}

/* ---- HTTPS ----------------------------------------------------------------------------------- */

static void copy_file(struct world *world, const char *from, const char *to)
{
    world_write_file(world, to, world_read_file(world, from));
}

static const char *https_failure(struct world *world, const char *ca)
{
    struct world_call call = {
        .method = "GET",
        .path = "/api/health",
        .base = world_text(world, "https://127.0.0.1:%u", (unsigned)world->https_port),
        .ca = ca,
        .headers = {"Connection: close"},
    };
    struct reply *reply = world_call(world, &call);
    cr_expect(reply->status == 200 || reply->failure[0] != '\0', "%ld", reply->status);
    return reply->failure;
}

/* Both loops say so. */
static void reload_badly(struct world *world, const char *event)
{
    size_t before = client_count(world_log(world), event);
    cr_assert_eq(kill(world->daemon, SIGHUP), 0);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (client_count(world_log(world), event) < before + 2 && wait_more(&wait)) {
    }
}

Test(http, a_new_certificate_is_served_after_a_reload_and_a_bad_one_is_not)
{
    struct certs old;
    struct certs new;
    certs_make(&old, "meerkat.test", 86400);
    certs_make(&new, "meerkat.test", 86400);
    struct world *world = world_new();
    const char *cert = world_text(world, "%s/cert.pem", world->dir);
    const char *key = world_text(world, "%s/key.pem", world->dir);
    copy_file(world, old.cert_path, cert);
    copy_file(world, old.key_path, key);
    world_set(world, "https_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", cert);
    world_set(world, "tls_key", "%s", key);
    world_start(world);
    cr_expect_str_eq(https_failure(world, old.cert_path), "");
    cr_expect_str_neq(https_failure(world, new.cert_path), "", "a stranger is trusted");

    copy_file(world, new.cert_path, cert);
    copy_file(world, new.key_path, key);
    cr_assert_eq(kill(world->daemon, SIGHUP), 0);
    /* Every loop has it, or the next reload could find one that has not. */
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (client_count(world_log(world), "main.reloaded") == 0 && wait_more(&wait)) {
    }
    cr_expect_str_eq(https_failure(world, new.cert_path), "");

    world_write_file(world, cert, SLICE("no certificate"));
    reload_badly(world, "edge.reload");
    cr_expect_str_eq(https_failure(world, new.cert_path), "");
    world_end(world);
    certs_remove(&old);
    certs_remove(&new);
}

Test(http, plain_bytes_on_the_tls_port_end_the_connection)
{
    struct certs certs;
    certs_make(&certs, "meerkat.test", 86400);
    struct world *world = world_new();
    world_set(world, "https_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", certs.cert_path);
    world_set(world, "tls_key", "%s", certs.key_path);
    world_start(world);
    uint16_t plain_port = world->http_port;
    world->http_port = world->https_port;
    struct client client;
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, SLICE(HEALTH));
    client_await_end(&client);
    cr_expect_eq(client_status(&client, 0), -1);
    client_close(&client);
    world->http_port = plain_port;
    cr_expect_eq(world_get(world, "/api/health")->status, 200);
    world_end(world);
    certs_remove(&certs);
}

/* ---- other people's things ------------------------------------------------------------------- */

Test(http, what_belongs_to_others_is_not_found)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world); /* nobody asks the sink */
    const char *id = world_send(world, "{'from':'a@send.test','to':'bob@dest.test','text':'x'}");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    const char *domain = reply_text(world_get(world, "/api/domains"), "0.id");
    const char *other = reply_text(world_signup(world, "else@other.test"), "apiKey");
    const struct {
        const char *method;
        const char *path;
    } calls[] = {
        {"GET", world_text(world, "/api/messages/%s", id)},
        {"GET", world_text(world, "/api/messages/%s/raw", id)},
        {"GET", world_text(world, "/api/domains/%s", domain)},
        {"DELETE", world_text(world, "/api/domains/%s", domain)},
        {"POST", world_text(world, "/api/domains/%s/verify", domain)},
        {"POST",
         world_text(world, "/api/deliveries/%s/retry", reply_text(read, "deliveries.0.id"))},
    };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        struct world_call call = {
            .method = calls[i].method, .path = calls[i].path, .bearer = other};
        struct reply *reply = world_call(world, &call);
        cr_expect_eq(reply->status, 404, "%s %s: %ld", call.method, call.path, reply->status);
        cr_expect_str_eq(reply_text(reply, "code"), "not_found");
        call.bearer = "";
        cr_expect_eq(world_call(world, &call)->status, 401, "%s %s", call.method, call.path);
    }
    struct world_call list = {.method = "GET", .path = "/api/messages", .bearer = other};
    cr_expect_eq(reply_count(world_call(world, &list), ""), 0);
    list.path = "/api/domains";
    cr_expect_eq(reply_count(world_call(world, &list), ""), 0);
    world_end(world);
}

/* ---- clients that are no good ---------------------------------------------------------------- */

static const char *send_request(struct world *world, const char *text)
{
    const char *body = world_text(
        world, "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"%s\"}", text);
    return world_text(world,
                      "POST /v1/send HTTP/1.1\r\n" H "Authorization: Bearer %s\r\n"
                      "Content-Length: %zu\r\n\r\n%s",
                      world->key, strlen(body), body);
}

/* Gone without a goodbye: the server's next write meets a reset. */
static void vanish(struct client *client)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    cr_assert_eq(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    client_close(client);
}

Test(http, clients_that_leave_before_their_answer_do_no_harm)
{
    enum { MAILS = 20 };
    struct world *world = world_new();
    world_set(world, "test_commit_delay_ms", "40");
    struct peer *sink = world_ready_to_send(world);
    for (int i = 0; i < MAILS; i++) {
        struct client client;
        client_open(world, &client, INADDR_LOOPBACK);
        client_say(&client, slice_str(send_request(world, world_text(world, "%d", i))));
        if (i % 2 == 0) {
            client_say(&client, slice_head(slice_str(send_request(world, "half")), 150));
        }
        struct wait pause = wait_start(i % 4 < 2 ? 0 : 30);
        while (wait_more(&pause)) {
        }
        vanish(&client);
    }
    /* Whether a request that was whole counts is up to the moment; half a one never does. */
    struct reply *list = world_get(world, "/api/messages");
    size_t kept = reply_count(list, "");
    cr_assert_leq(kept, MAILS);
    cr_assert_geq(kept, MAILS / 4);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(world, sink, "mails") < (long long)kept && wait_more(&wait)) {
    }
    cr_assert_eq(world_sink_count(world, sink, "mails"), (long long)kept);
    world_end(world); /* every message and slot has come home, or this complains */
}

Test(http, a_client_that_does_not_read_costs_only_itself)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world); /* nobody asks the sink */
    size_t len = (size_t)(5 * MIB);
    char *text = arena_bytes(&world->arena, len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    const char *id = world_send(
        world, "{'from':'a@send.test','to':'b@dest.test','text':'%s','sandbox':true}", text);
    const char *request = world_text(
        world, "GET /api/messages/%s/raw HTTP/1.1\r\n" H "Authorization: Bearer %s\r\n\r\n", id,
        world->key);
    struct client greedy;
    client_open(world, &greedy, INADDR_LOOPBACK);
    for (int i = 0; i < HTTP_PIPELINE_MAX; i++) {
        client_say(&greedy, slice_str(request)); /* 80 MiB of answers, and nobody to take them */
    }
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(world_get(world, "/api/health")->status, 200);
        cr_assert_eq(world_get(world, "/api/messages/%s", id)->status, 200);
    }
    client_await(&greedy, "HTTP/1.1 200", 1); /* answers wait for the reader, they are not lost */
    client_close(&greedy);
    world_end(world);
}

/* ---- the way out ----------------------------------------------------------------------------- */

Test(http, a_stop_answers_what_it_has_accepted_and_lets_nobody_else_in)
{
    static const char body[] = "{\"from\":\"a@send.test\",\"to\":\"bob@dest.test\",\"text\":\"x\"}";
    struct world *world = world_new();
    (void)world_ready_to_send(world); /* nobody asks the sink */
    world_stop(world);
    world_set(world, "test_commit_delay_ms", "700");
    world_start(world);
    struct client idle;
    struct client busy;
    client_open(world, &idle, INADDR_LOOPBACK);
    client_open(world, &busy, INADDR_LOOPBACK);
    client_say(&idle, SLICE(HEALTH));
    client_await(&idle, "HTTP/1.1 200", 1);
    client_say(&busy,
               slice_str(world_text(world,
                                    "POST /v1/send HTTP/1.1\r\n" H "Authorization: Bearer %s\r\n"
                                    "Content-Length: %zu\r\n\r\n%s",
                                    world->key, sizeof body - 1, body)));
    cr_assert(!client_read(&busy, 150), "answered before it was on disk");
    cr_assert_eq(kill(world->daemon, SIGTERM), 0);
    client_await_end(&idle);
    client_await_end(&busy);
    cr_expect_eq(client_status(&busy, 0), 202, "%.*s", SLICE_FMT(buf_slice(&busy.in)));
    cr_expect_eq(client_count(buf_slice(&busy.in), "HTTP/1.1 "), 1);
    cr_expect(!world_is_listening(world->http_port), "it still listens");
    client_close(&idle);
    client_close(&busy);
    world_await_stop(world);

    world_set(world, "test_commit_delay_ms", "0");
    world_start(world);
    struct reply *list = world_get(world, "/api/messages");
    cr_expect_eq(reply_count(list, ""), 1, "what was answered is not there");
    world_end(world);
}
