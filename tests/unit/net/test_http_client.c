/* Calls to servers of the test's own on loopback, plain and TLS.
 *
 * Not covered here: servers that speak less than TLS 1.2 (what OpenSSL is told is libcurl's
 * business); the system's CAs, but that they do not know the test's; taking addresses apart
 * (test_http_url.c).
 */
#include "support/certs.h"
#include "support/http_world.h"

static struct tls_context *server_tls(const struct certs *certs)
{
    struct tls_context *tls = NULL;
    cr_assert_eq(tls_server_new(slice_str(certs->cert_path), slice_str(certs->key_path), &tls),
                 ERR_OK);
    return tls;
}

static uint32_t accepts(const struct http_world *world)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->server_count; i++) {
        count += world->servers[i].accepts;
    }
    return count;
}

Test(http_client, brings_answers_and_uses_a_connection_again, .timeout = 30)
{
    static const struct slice keep[] = {SLICE_INIT("x-kept"), SLICE_INIT("x-absent")};
    struct http_world world;
    http_world_init(&world);
    struct server *server = http_world_server(&world, "127.0.0.1", NULL);
    http_world_name(&world, "a.test", "127.0.0.1");
    struct shot *ok = http_world_shot(&world, "http://a.test:PORT/ok");
    ok->request.keep = keep;
    ok->request.keep_count = 2;
    struct shot *broken = http_world_shot(&world, "http://a.test:PORT/broken");
    struct shot *empty = http_world_shot(&world, "http://a.test:PORT/empty");
    struct shot *interim = http_world_shot(&world, "http://a.test:PORT/interim");
    interim->request.keep = keep;
    interim->request.keep_count = 2;
    http_world_run(&world);
    cr_assert_eq(ok->result.err, ERR_OK, "%s", ok->result.failure);
    cr_assert_eq(ok->result.status, 200);
    cr_assert(shot_said(ok, "hello"));
    cr_assert(slice_equal(buf_slice(&ok->headers[0]), SLICE("first")));
    cr_assert_eq(ok->headers[1].len, 0);
    cr_assert_not(ok->result.is_cut);
    cr_assert_eq(ok->result.connects, 1);
    char ip[ADDR_TEXT_MAX];
    conn_addr_text(&ok->result.peer, ip);
    cr_assert_str_eq(ip, "127.0.0.1");
    cr_assert_eq(broken->result.err, ERR_OK);
    cr_assert_eq(broken->result.status, 500);
    cr_assert(shot_said(broken, "no"));
    cr_assert_eq(empty->result.status, 204);
    cr_assert_eq(empty->body.len, 0);
    cr_assert_eq(interim->result.status, 200);
    cr_assert(slice_equal(buf_slice(&interim->headers[0]), SLICE("first")));
    cr_assert_eq(interim->result.connects, 0);
    cr_assert_eq(server->accepts, 1);
    cr_assert_eq(server->requests, 4);
    http_world_fini(&world);
}

Test(http_client, sends_what_it_is_given_and_nothing_of_its_own, .timeout = 30)
{
    static const struct http_header headers[] = {
        {SLICE_INIT("Content-Type"), SLICE_INIT("application/json")},
        {SLICE_INIT("X-Empty"), SLICE_INIT("")},
    };
    static char large[300000];
    memset(large, 'l', sizeof(large));
    struct http_world world;
    http_world_init(&world);
    (void)http_world_server(&world, "127.0.0.1", NULL);
    http_world_name(&world, "a.test", "127.0.0.1");
    world.options.user_agent = SLICE("Meerkat");
    struct shot *post = http_world_shot(&world, "http://a.test:PORT/echo");
    post->request.method = HTTP_METHOD_POST;
    post->request.headers = headers;
    post->request.header_count = ARRAY_LEN(headers);
    post->request.body = SLICE("{\"a\":\"b\\u0000\"}");
    struct shot *none = http_world_shot(&world, "http://a.test:PORT/echo");
    none->request.method = HTTP_METHOD_POST;
    struct shot *put = http_world_shot(&world, "http://a.test:PORT/echo");
    put->request.method = HTTP_METHOD_PUT;
    put->request.body = slice_of(large, sizeof(large));
    put->request.body_max = 100;
    struct shot *delete = http_world_shot(&world, "http://a.test:PORT/echo");
    delete->request.method = HTTP_METHOD_DELETE;
    http_world_run(&world);
    char host[64];
    (void)snprintf(host, sizeof(host), "\r\nHost: a.test:%u\r\n",
                   (unsigned int)world.servers[0].listener.tcp_port);
    cr_assert(slice_starts(buf_slice(&post->body), SLICE("POST /echo HTTP/1.1\r\n")));
    cr_assert(shot_has(post, host));
    cr_assert(shot_has(post, "\r\nUser-Agent: Meerkat\r\n"));
    cr_assert(shot_has(post, "\r\nContent-Type: application/json\r\n"));
    cr_assert(shot_has(post, "\r\nX-Empty:\r\n"));
    cr_assert(shot_has(post, "\r\n\r\n{\"a\":\"b\\u0000\"}"));
    cr_assert_not(shot_has(post, "Expect:"));
    cr_assert_not(shot_has(post, "Cookie:"));
    cr_assert_not(shot_has(post, "Authorization:"));
    cr_assert(shot_has(none, "\r\nContent-Length: 0\r\n"));
    cr_assert(slice_starts(buf_slice(&put->body), SLICE("PUT /echo HTTP/1.1\r\n")));
    cr_assert(put->result.is_cut);
    cr_assert(slice_starts(buf_slice(&delete->body), SLICE("DELETE /echo HTTP/1.1\r\n")));
    http_world_fini(&world);
}

Test(http_client, refuses_malformed_addresses_and_fields, .timeout = 30)
{
    static const struct http_header bad[] = {
        {SLICE_INIT("X"), SLICE_INIT("a\r\nEvil: b")},
        {SLICE_INIT("X"), SLICE_INIT("a\nb")},
        {SLICE_INIT("X"), SLICE_INIT("a\0b")},
        {SLICE_INIT("X: y\r\nZ"), SLICE_INIT("a")},
        {SLICE_INIT(""), SLICE_INIT("a")},
        {SLICE_INIT("X Y"), SLICE_INIT("a")},
        {SLICE_INIT("X\0"), SLICE_INIT("a")},
    };
    static const char *const urls[] = {
        "ftp://a.test:PORT/ok",  "http://u:p@a.test:PORT/ok",    "http://2130706433:PORT/ok",
        "http://0x7f.1:PORT/ok", "http://\xc3\xbc.test:PORT/ok", "",
    };
    struct http_world world;
    http_world_init(&world);
    (void)http_world_server(&world, "127.0.0.1", NULL);
    http_world_name(&world, "a.test", "127.0.0.1");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct shot *shot = http_world_shot(&world, "http://a.test:PORT/ok");
        shot->request.headers = &bad[i];
        shot->request.header_count = 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        (void)http_world_shot(&world, urls[i]);
    }
    http_world_run(&world);
    for (uint32_t i = 0; i < world.shot_count; i++) {
        cr_assert_eq(world.shots[i].result.err, ERR_INVALID, "shot %u", (unsigned int)i);
    }
    cr_assert_eq(accepts(&world), 0);
    http_world_fini(&world);
}

Test(http_client, follows_no_redirect_and_asks_no_proxy, .timeout = 30)
{
    static const struct slice keep[] = {SLICE_INIT("Location")};
    static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cr_assert_eq(setenv(names[i], "http://127.0.0.1:1", 1), 0);
    }
    struct http_world world;
    http_world_init(&world);
    struct server *server = http_world_server(&world, "127.0.0.1", NULL);
    struct shot *shot = http_world_shot(&world, "http://127.0.0.1:PORT/redirect");
    shot->request.keep = keep;
    shot->request.keep_count = 1;
    http_world_run(&world);
    cr_assert_eq(shot->result.err, ERR_OK, "%s", shot->result.failure);
    cr_assert_eq(shot->result.status, 302);
    cr_assert(slice_equal(buf_slice(&shot->headers[0]), SLICE("/ok")));
    cr_assert_eq(server->requests, 1);
    http_world_fini(&world);
}

Test(http_client, cuts_what_is_too_long_and_ends_what_is_too_slow, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    struct server *server = http_world_server(&world, "127.0.0.1", NULL);
    world.is_parallel = true;
    struct shot *fits = http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    fits->request.body_max = 5;
    struct shot *over = http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    over->request.body_max = 4;
    struct shot *none = http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    none->request.body_max = 0;
    struct shot *endless = http_world_shot(&world, "http://127.0.0.1:PORT/endless");
    struct shot *drip = http_world_shot(&world, "http://127.0.0.1:PORT/drip");
    drip->request.timeout_ms = 800;
    struct shot *hang = http_world_shot(&world, "http://127.0.0.1:PORT/hang");
    hang->request.timeout_ms = 800;
    http_world_run(&world);
    cr_assert(shot_said(fits, "hello"));
    cr_assert_not(fits->result.is_cut);
    cr_assert(shot_said(over, "hell"));
    cr_assert(over->result.is_cut);
    cr_assert_eq(over->result.err, ERR_OK);
    cr_assert_eq(over->result.status, 200);
    cr_assert(none->result.is_cut);
    cr_assert_eq(none->result.err, ERR_OK);
    cr_assert(endless->result.is_cut);
    cr_assert_eq(endless->body.len, SHOT_BODY_MAX);
    cr_assert_eq(drip->result.err, ERR_TIMEOUT);
    cr_assert_eq(drip->result.status, 200);
    cr_assert_gt(drip->body.len, 0);
    cr_assert_geq(drip->result.elapsed_ms, 800);
    cr_assert_eq(hang->result.err, ERR_TIMEOUT);
    cr_assert_eq(hang->result.status, 0);
    cr_assert_str_eq(hang->result.failure, "the answer took too long");
    cr_assert_eq(server->requests, 6);
    http_world_fini(&world);
}

Test(http_client, tells_apart_how_servers_fail, .timeout = 30)
{
    static const struct {
        const char *path;
        enum err err;
        uint16_t status;
    } cases[] = {
        {"http://127.0.0.1:PORT/header", ERR_UPSTREAM, 200},
        {"http://127.0.0.1:PORT/interims", ERR_UPSTREAM, 0},
        {"http://127.0.0.1:PORT/garbage", ERR_UPSTREAM, 0},
        {"http://127.0.0.1:PORT/leave", ERR_CLOSED, 0},
        {"http://127.0.0.1:PORT/part", ERR_IO, 200},
        {"https://127.0.0.1:PORT/ok", ERR_TLS, 0},
        {"http://127.0.0.1:1/ok", ERR_CONNECT, 0},
        {"http://unknown.test:PORT/ok", ERR_DNS_NONE, 0},
        {"http://temp.test:PORT/ok", ERR_DNS_TEMP, 0},
        {"http://half.test:PORT/ok", ERR_OK, 200},
    };
    static const struct fake_row rows[] = {
        {.type = DNS_A, .name = "temp.test", .err = ERR_DNS_TEMP},
        {.type = DNS_AAAA, .name = "half.test", .err = ERR_DNS_TEMP},
        {.type = DNS_A, .name = "half.test", .text = "127.0.0.1"},
    };
    struct http_world world;
    http_world_init(&world);
    (void)http_world_server(&world, "127.0.0.1", NULL);
    fake_dns_add(world.dns, rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        (void)http_world_shot(&world, cases[i].path);
    }
    http_world_run(&world);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct http_call_result *result = &world.shots[i].result;
        cr_assert_eq(result->err, cases[i].err, "%s: %s %s", cases[i].path,
                     err_info(result->err)->name, result->failure);
        cr_assert_eq(result->status, cases[i].status, "%s", cases[i].path);
    }
    http_world_fini(&world);
}

Test(http_client, refuses_addresses_that_are_not_public, .timeout = 30)
{
    static const char *const urls[] = {
        "http://127.0.0.1:PORT/ok",
        "http://[::1]:PORT/ok",
        "http://[::ffff:127.0.0.1]:PORT/ok",
        "http://[::ffff:7f00:1]:PORT/ok",
        "http://[64:ff9b::7f00:1]:PORT/ok",
        "http://[2002:7f00:1::]:PORT/ok",
        "http://0.0.0.0:PORT/ok",
        "http://10.1.2.3:PORT/ok",
        "http://169.254.169.254:PORT/ok",
        "http://100.64.0.1:PORT/ok",
        "http://[fd00::1]:PORT/ok",
        "http://[fe80::1]:PORT/ok",
        "http://224.0.0.1:PORT/ok",
        "http://255.255.255.255:PORT/ok",
        "http://loop.test:PORT/ok",
        "http://loop6.test:PORT/ok",
        "http://mapped.test:PORT/ok",
        "http://both.test:PORT/ok",
        "http://localhost:PORT/ok",
    };
    struct http_world world;
    http_world_init(&world);
    world.options.rule.allows_private = false;
    (void)http_world_server(&world, "127.0.0.1", NULL);
    http_world_name(&world, "loop.test", "127.0.0.1");
    http_world_name(&world, "loop6.test", "::1");
    http_world_name(&world, "mapped.test", "::ffff:127.0.0.1");
    http_world_name(&world, "both.test", "127.0.0.1");
    http_world_name(&world, "both.test", "::1");
    http_world_name(&world, "localhost", "127.0.0.1");
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        (void)http_world_shot(&world, urls[i]);
    }
    /* The operator's own address. */
    struct shot *own = http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    own->request.allows_private = true;
    /* Its connection is there, and still nobody else's. */
    struct shot *after = http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    http_world_run(&world);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        cr_assert_eq(world.shots[i].result.err, ERR_REFUSED_TARGET, "%s", urls[i]);
        cr_assert_not(world.shots[i].result.has_peer);
    }
    cr_assert_eq(own->result.err, ERR_OK, "%s", own->result.failure);
    cr_assert_eq(after->result.err, ERR_REFUSED_TARGET);
    cr_assert_eq(accepts(&world), 1);
    cr_assert_eq(world.servers[0].requests, 1);
    http_world_fini(&world);
}

/* 127.0.0.1/32 plays the public internet, 127.0.0.2 the network behind the wall. */
static void rebind(struct http_world *world, struct shot *shot)
{
    if (shot == &world->shots[0]) {
        world->dns->rows[0].text = "127.0.0.2";
    }
}

Test(http_client, follows_no_name_that_moves_behind_the_wall, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    world.options.rule.allows_private = false;
    world.options.rule.allowed_nets = SLICE("192.0.2.0/24, 127.0.0.1/32");
    world.on_told = rebind;
    struct server *outside = http_world_server(&world, "127.0.0.1", NULL);
    struct server *inside = http_world_server(&world, "127.0.0.2", NULL);
    http_world_name(&world, "rebind.test", "127.0.0.1");
    http_world_name(&world, "mixed.test", "127.0.0.2");
    http_world_name(&world, "mixed.test", "127.0.0.1");
    struct shot *first = http_world_shot(&world, "http://rebind.test:PORT/ok");
    struct shot *second = http_world_shot(&world, "http://rebind.test:PORT/ok");
    struct shot *mixed = http_world_shot(&world, "http://mixed.test:PORT/ok");
    http_world_run(&world);
    cr_assert_eq(first->result.err, ERR_OK, "%s", first->result.failure);
    cr_assert_eq(second->result.err, ERR_REFUSED_TARGET);
    cr_assert_eq(mixed->result.err, ERR_OK, "%s", mixed->result.failure);
    cr_assert_eq(outside->requests, 2);
    cr_assert_eq(inside->accepts, 0);
    http_world_fini(&world);
}

Test(http_client, uses_no_connection_to_an_address_the_name_has_left, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    world.on_told = rebind;
    struct server *old = http_world_server(&world, "127.0.0.1", NULL);
    struct server *new = http_world_server(&world, "127.0.0.2", NULL);
    http_world_name(&world, "moves.test", "127.0.0.1");
    (void)http_world_shot(&world, "http://moves.test:PORT/ok");
    struct shot *second = http_world_shot(&world, "http://moves.test:PORT/ok");
    http_world_run(&world);
    cr_assert_eq(second->result.err, ERR_OK);
    cr_assert_eq(second->result.connects, 1);
    cr_assert_eq(old->requests, 1);
    cr_assert_eq(new->requests, 1);
    http_world_fini(&world);
}

Test(http_client, tries_the_next_address_when_one_takes_no_connection, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    (void)http_world_server(&world, "127.0.0.1", NULL);
    http_world_name(&world, "many.test", "127.0.0.3");
    http_world_name(&world, "many.test", "127.0.0.4");
    http_world_name(&world, "many.test", "127.0.0.1");
    http_world_name(&world, "dead.test", "127.0.0.3");
    http_world_name(&world, "dead.test", "127.0.0.4");
    struct shot *many = http_world_shot(&world, "http://many.test:PORT/ok");
    struct shot *dead = http_world_shot(&world, "http://dead.test:PORT/ok");
    http_world_run(&world);
    cr_assert_eq(many->result.err, ERR_OK, "%s", many->result.failure);
    char ip[ADDR_TEXT_MAX];
    conn_addr_text(&many->result.peer, ip);
    cr_assert_str_eq(ip, "127.0.0.1");
    cr_assert_eq(dead->result.err, ERR_CONNECT);
    conn_addr_text(&dead->result.peer, ip);
    cr_assert_str_eq(ip, "127.0.0.4");
    http_world_fini(&world);
}

Test(http_client, verifies_the_certificate_and_its_name, .timeout = 30)
{
    struct certs certs;
    certs_make(&certs, "hook.test", 3600);
    struct http_world world;
    http_world_init(&world);
    (void)http_world_server(&world, "127.0.0.1", server_tls(&certs));
    world.options.ca_path = slice_str(certs.cert_path);
    http_world_name(&world, "hook.test", "127.0.0.1");
    http_world_name(&world, "other.test", "127.0.0.1");
    struct shot *good = http_world_shot(&world, "https://hook.test:PORT/ok");
    struct shot *again = http_world_shot(&world, "https://hook.test:PORT/ok");
    struct shot *numeric = http_world_shot(&world, "https://127.0.0.1:PORT/ok");
    struct shot *other = http_world_shot(&world, "https://other.test:PORT/ok");
    http_world_run(&world);
    cr_assert_eq(good->result.err, ERR_OK, "%s", good->result.failure);
    cr_assert(shot_said(good, "hello"));
    cr_assert_eq(again->result.err, ERR_OK);
    cr_assert_eq(again->result.connects, 0);
    cr_assert_eq(numeric->result.err, ERR_OK, "%s", numeric->result.failure);
    cr_assert_eq(other->result.err, ERR_TLS);
    cr_assert_eq(world.servers[0].requests, 3);
    http_world_fini(&world);
    certs_remove(&certs);
}

static void expect_tls_failure(const char *ca_path, long valid_s)
{
    struct certs certs;
    certs_make(&certs, "hook.test", valid_s);
    struct http_world world;
    http_world_init(&world);
    (void)http_world_server(&world, "127.0.0.1", server_tls(&certs));
    world.options.ca_path = slice_str(ca_path != NULL ? ca_path : certs.cert_path);
    http_world_name(&world, "hook.test", "127.0.0.1");
    struct shot *shot = http_world_shot(&world, "https://hook.test:PORT/ok");
    http_world_run(&world);
    cr_assert_eq(shot->result.err, ERR_TLS, "%s", shot->result.failure);
    cr_assert_eq(world.servers[0].requests, 0);
    http_world_fini(&world);
    certs_remove(&certs);
}

Test(http_client, takes_no_certificate_that_is_unknown_or_has_expired, .timeout = 30)
{
    expect_tls_failure("", 3600); /* the system's */
    expect_tls_failure("/nonexistent/ca.pem", 3600);
    expect_tls_failure(NULL, -60);
}

Test(http_client, bounds_calls_and_connections, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    struct server *server = http_world_server(&world, "127.0.0.1", NULL);
    world.is_parallel = true;
    for (uint32_t i = 0; i < HTTP_CALLS_MAX; i++) {
        (void)http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    }
    struct shot *over = http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    http_world_run(&world);
    cr_assert_eq(over->result.err, ERR_BUSY);
    for (uint32_t i = 0; i < HTTP_CALLS_MAX; i++) {
        cr_assert_eq(world.shots[i].result.err, ERR_OK, "%s", world.shots[i].result.failure);
    }
    cr_assert_eq(server->requests, HTTP_CALLS_MAX);
    cr_assert_leq(server->most_open, HTTP_CALLS_PER_HOST);
    http_world_fini(&world);
}

static void cancel_all(struct http_world *world)
{
    for (uint32_t i = 0; i < world->shot_count; i++) {
        if (world->shots[i].told == 0) {
            shot_cancel(&world->shots[i]);
        }
    }
}

/* Waits until each of the calls is where the story wants it. */
static void cancel_when_under_way(struct http_world *world)
{
    if (world->servers[0].requests == 2 && world->servers[1].accepts == 1) {
        cancel_all(world);
    } else {
        http_world_step(world, 5, cancel_when_under_way);
    }
}

static void cancel_others(struct http_world *world, struct shot *shot)
{
    if (shot == &world->shots[0]) {
        shot_cancel(&world->shots[1]);
        shot_cancel(&world->shots[2]);
    }
}

Test(http_client, forgets_a_call_in_every_phase, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    struct server *server = http_world_server(&world, "127.0.0.1", NULL);
    struct server *mute = http_world_server(&world, "127.0.0.2", NULL);
    mute->is_mute = true;
    http_world_name(&world, "a.test", "127.0.0.1");
    world.is_parallel = true;
    (void)http_world_shot(&world, "https://127.0.0.2:PORT/ok"); /* in the handshake */
    (void)http_world_shot(&world, "http://127.0.0.1:PORT/hang");
    (void)http_world_shot(&world, "http://127.0.0.1:PORT/drip");
    http_world_step(&world, 0, cancel_when_under_way);
    http_world_run(&world);
    for (uint32_t i = 0; i < world.shot_count; i++) {
        cr_assert_eq(world.shots[i].told, 0);
    }
    cr_assert_eq(server->requests, 2);
    cr_assert_eq(mute->accepts, 1);
    http_world_fini(&world);

    http_world_init(&world); /* before anything happened: in the look-up, and connecting */
    (void)http_world_server(&world, "127.0.0.1", NULL);
    http_world_name(&world, "a.test", "127.0.0.1");
    world.is_parallel = true;
    (void)http_world_shot(&world, "http://a.test:PORT/ok");
    (void)http_world_shot(&world, "http://127.0.0.1:PORT/ok");
    (void)http_world_shot(&world, "ftp://a.test/");
    http_world_step(&world, 0, cancel_all);
    http_world_run(&world);
    cr_assert_eq(world.servers[0].requests, 0);
    http_world_fini(&world);

    http_world_init(&world); /* done, but not yet told */
    world.is_parallel = true;
    world.on_told = cancel_others;
    (void)http_world_shot(&world, "ftp://a.test/");
    (void)http_world_shot(&world, "ftp://a.test/");
    (void)http_world_shot(&world, "http://127.0.0.1:1/");
    http_world_run(&world);
    cr_assert_eq(world.shots[0].told, 1);
    cr_assert_eq(world.shots[1].told, 0);
    cr_assert_eq(world.shots[2].told, 0);
    http_world_fini(&world);
}

static void close_when_under_way(struct http_world *world)
{
    if (world->servers[0].requests == 3 && world->servers[1].accepts == 1 &&
        world->shots[3].told == 1) {
        http_world_close(world);
    } else {
        http_world_step(world, 5, close_when_under_way);
    }
}

Test(http_client, ends_open_calls_when_it_closes, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    struct server *server = http_world_server(&world, "127.0.0.1", NULL);
    struct server *mute = http_world_server(&world, "127.0.0.2", NULL);
    mute->is_mute = true;
    world.is_parallel = true;
    (void)http_world_shot(&world, "https://127.0.0.2:PORT/ok");
    (void)http_world_shot(&world, "http://127.0.0.1:PORT/hang");
    (void)http_world_shot(&world, "http://127.0.0.1:PORT/drip");
    (void)http_world_shot(&world, "http://127.0.0.1:PORT/ok"); /* leaves a kept connection */
    http_world_step(&world, 0, close_when_under_way);
    http_world_run(&world);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(world.shots[i].told, 1);
        cr_assert_eq(world.shots[i].result.err, ERR_DRAINING);
    }
    cr_assert_eq(world.shots[3].result.err, ERR_OK, "%s", world.shots[3].result.failure);
    cr_assert_eq(server->requests, 3);
    http_world_fini(&world);
}

Test(http_client, ends_a_handshake_and_a_look_up_that_hang, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    struct server *mute = http_world_server(&world, "127.0.0.1", NULL);
    mute->is_mute = true;
    http_world_name(&world, "two.test", "127.0.0.1");
    http_world_name(&world, "two.test", "127.0.0.2");
    world.is_parallel = true;
    struct shot *shot = http_world_shot(&world, "https://127.0.0.1:PORT/ok");
    shot->request.timeout_ms = 100;
    struct shot *two = http_world_shot(&world, "https://two.test:PORT/ok"); /* then refused */
    two->request.timeout_ms = 1000;
    http_world_run(&world);
    cr_assert_eq(shot->result.err, ERR_TIMEOUT);
    cr_assert_str_eq(shot->result.failure, "the connection and its TLS handshake took too long");
    cr_assert_eq(two->result.err, ERR_CONNECT, "%s", two->result.failure);
    cr_assert_lt(two->result.elapsed_ms, 1000);
    http_world_fini(&world);
}

Test(http_client, says_when_its_networks_are_malformed, .timeout = 30)
{
    struct http_world world;
    http_world_init(&world);
    struct http_client *client = NULL;
    world.options.rule.allowed_nets = SLICE("127.0.0.1/33");
    cr_assert_eq(http_client_open(&world.loop, &world.options, &client), ERR_INVALID);
    world.options.rule.allowed_nets = SLICE("127.0.0.1,x");
    cr_assert_eq(http_client_open(&world.loop, &world.options, &client), ERR_INVALID);
    cr_assert_null(client);
    world.options.rule.allowed_nets = slice_of(NULL, 0);
    (void)http_world_shot(&world, "");
    http_world_run(&world);
    http_world_fini(&world);
}
