/* Streams that are or become TLS. Not covered here: what holds for plain streams too (test_conn),
 * certificates and the filter itself (test_tls).
 */
#include "net/conn.h"

#include "support/certs.h"
#include "support/conn_world.h"

#include <signal.h>

#define HOST "mx.example.test"

static void world_add_tls(struct world *world, enum tls_verify verify)
{
    struct certs certs;
    certs_make(&certs, HOST, 3600);
    cr_assert_eq(tls_server_new(str(certs.cert_path), str(certs.key_path), &world->server_tls),
                 ERR_OK);
    cr_assert_eq(tls_client_new(verify, str(certs.cert_path), &world->client_tls), ERR_OK);
    certs_remove(&certs);
}

static void start_client_tls(struct side *side)
{
    if (!conn_is_tls(&side->conn)) {
        conn_start_tls(&side->conn, side->world->client_tls, SLICE(HOST));
        cr_assert(conn_is_handshaking(&side->conn));
        cr_assert_not(conn_is_open(&side->conn));
    }
}

static void abort_client_now(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    conn_abort(&world->client.conn);
}

static void say_hello_over_tls(struct side *side)
{
    if (conn_is_tls(&side->conn)) {
        conn_write(&side->conn, str("hello"));
    } else {
        start_client_tls(side);
    }
}

static void check_tls(struct side *side)
{
    cr_assert(conn_is_tls(&side->conn));
    cr_assert_not(conn_is_handshaking(&side->conn));
    cr_assert(conn_is_open(&side->conn));
}

Test(conn_tls, echoes_over_implicit_tls)
{
    struct world world;
    world_init(&world,
               (struct plan){.on_open = check_tls, .on_data = echo, .on_fail = close_on_fail},
               (struct plan){.on_open = say_hello_over_tls, .on_data = close_on_data});
    world_add_tls(&world, TLS_VERIFY_NAME);
    world.accepts_tls = true;
    world_connect(&world);
    world_run(&world);
    cr_assert(got(&world.client, "hello"));
    cr_assert_eq(world.server.opens, 1);
    cr_assert_eq(world.client.opens, 2, "once plain, once over TLS");
    cr_assert_eq(world.server.failed, ERR_CLOSED);
    world_fini(&world);
}

Test(conn_tls, carries_a_large_body_over_tls)
{
    struct world world;
    world_init(&world, (struct plan){.on_open = pump_out, .on_drain = pump_out},
               (struct plan){.on_open = start_client_tls, .on_fail = close_on_fail});
    world_add_tls(&world, TLS_VERIFY_NONE);
    world.accepts_tls = true;
    world.wanted = 5000000;
    world_connect(&world);
    world_run(&world);
    check_pattern(&world.client, world.wanted);
    world_fini(&world);
}

static void serve_starttls(struct side *side, struct slice data)
{
    if (conn_is_tls(&side->conn)) {
        conn_write(&side->conn, str("secret answer"));
        return;
    }
    cr_assert(slice_starts(data, SLICE("STARTTLS\r\n")));
    conn_write(&side->conn, str("220 go ahead\r\n"));
    /* What followed STARTTLS in data is discarded: RFC 3207 4.2. */
    conn_start_tls(&side->conn, side->world->server_tls, (struct slice){0});
    buf_clear(&side->got);
}

static void ask_starttls(struct side *side)
{
    conn_write(&side->conn, conn_is_tls(&side->conn) ? str("secret") : str("STARTTLS\r\nRSET\r\n"));
}

static void follow_starttls(struct side *side, struct slice data)
{
    if (conn_is_tls(&side->conn)) {
        cr_assert(slice_equal(data, SLICE("secret answer")));
        conn_close(&side->conn);
    } else {
        cr_assert(slice_equal(data, SLICE("220 go ahead\r\n")));
        start_client_tls(side);
    }
}

Test(conn_tls, turns_into_tls_in_mid_stream)
{
    struct world world;
    world_init(&world, (struct plan){.on_data = serve_starttls},
               (struct plan){.on_open = ask_starttls, .on_data = follow_starttls});
    world_add_tls(&world, TLS_VERIFY_NAME);
    world_connect(&world);
    world_run(&world);
    cr_assert(got(&world.server, "secret"), "nothing of the plain part is left");
    cr_assert_eq(world.server.opens, 2);
    cr_assert_eq(world.client.opens, 2);
    cr_assert_eq(world.server.failed, ERR_CLOSED);
    world_fini(&world);
}

static void start_tls_for_another_host(struct side *side)
{
    conn_start_tls(&side->conn, side->world->client_tls, SLICE("mx.example.org"));
}

Test(conn_tls, fails_when_the_certificate_is_not_the_servers)
{
    struct world world;
    world_init(&world, (struct plan){.on_fail = close_on_fail},
               (struct plan){.on_open = start_tls_for_another_host, .on_fail = close_on_fail});
    world_add_tls(&world, TLS_VERIFY_NAME);
    world.accepts_tls = true;
    world_connect(&world);
    world_run(&world);
    cr_assert_eq(world.client.failed, ERR_TLS);
    cr_assert_str_eq(world.client.conn.failure, "certificate refused: hostname mismatch");
    cr_assert_eq(world.server.failed, ERR_TLS, "the alert arrived");
    cr_assert_eq(world.server.opens, 0);
    world_fini(&world);
}

struct broken_handshake {
    const char *name;
    const char *bytes;
    bool resets;
};

static void close_raw(struct timer *timer)
{
    raw_close(CONTAINER_OF(timer, struct world, step));
}

Test(conn_tls, fails_with_err_tls_when_the_handshake_breaks_off)
{
    static const struct broken_handshake cases[] = {
        {"plain HTTP", "GET / HTTP/1.1\r\n\r\n", false},
        {"end of file at once", "", false},
        {"half a record", "\x16\x03\x01", false},
        {"reset", "\x16\x03\x01", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world world;
        world_init(&world, (struct plan){0}, (struct plan){0});
        world_add_tls(&world, TLS_VERIFY_NONE);
        world.accepts_tls = true;
        world_connect_raw(&world);
        if (cases[i].bytes[0] != '\0') {
            raw_send(&world, cases[i].bytes);
        }
        world_step(&world, cases[i].resets ? reset_raw : close_raw, 3);
        world_run(&world);
        cr_assert_eq(world.server.failed, ERR_TLS, "%s: %d", cases[i].name, world.server.failed);
        cr_assert_eq(world.server.opens, 0, "%s", cases[i].name);
        world_fini(&world);
    }
}

static void write_in_handshake(struct side *side)
{
    start_client_tls(side);
    conn_write(&side->conn, str("in the clear?"));
}

Test(conn_tls, never_sends_plain_text_while_a_handshake_runs)
{
    struct world world;
    world_init(&world, (struct plan){.on_fail = close_on_fail},
               (struct plan){.on_open = write_in_handshake});
    world_add_tls(&world, TLS_VERIFY_NONE);
    world_connect(&world);
    world_run(&world);
    cr_assert_eq(world.client.failed, ERR_IO);
    cr_assert_eq(slice_find(buf_slice(&world.server.got), SLICE("clear")), SIZE_MAX);
    world_fini(&world);
}

Test(conn_tls, may_be_aborted_during_the_handshake)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){.on_open = start_client_tls});
    world_add_tls(&world, TLS_VERIFY_NONE);
    world_connect(&world);
    world_step(&world, abort_client_now, 3); /* the server is plain and never answers */
    world_run(&world);
    cr_assert_eq(world.client.fails, 0);
    cr_assert_eq(world.client.opens, 1);
    world_fini(&world);
}

Test(conn_tls, stops_the_process_when_tls_is_started_twice, .signal = SIGABRT)
{
    struct world world;
    world_init(&world, (struct plan){0}, (struct plan){.on_open = start_tls_for_another_host});
    world_add_tls(&world, TLS_VERIFY_NONE);
    world.accepts_tls = true;
    world_connect(&world); /* on_open comes again after the handshake */
    world_run(&world);
}
