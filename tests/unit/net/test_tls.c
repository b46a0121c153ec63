/* Not covered here: TLS over sockets, STARTTLS, closing (test_conn). */
#include "net/tls.h"

#include "support/certs.h"

#include <criterion/criterion.h>
#include <string.h>

#define HOST "mx.example.test"

/* Two ends of a TLS connection, joined by memory. */
struct pair {
    struct tls *client;
    struct tls *server;
    enum tls_state client_state;
    enum tls_state server_state;
    struct buf to_server;
    struct buf to_client;
    struct buf client_plain;
    struct buf server_plain;
};

static struct slice str(const char *text)
{
    return slice_str(text);
}

static struct tls_context *server_context(const struct certs *certs)
{
    struct tls_context *context = NULL;
    cr_assert_eq(tls_server_new(str(certs->cert_path), str(certs->key_path), &context), ERR_OK);
    return context;
}

static struct tls_context *client_context(enum tls_verify verify, struct slice ca_path)
{
    struct tls_context *context = NULL;
    cr_assert_eq(tls_client_new(verify, ca_path, &context), ERR_OK);
    return context;
}

static void pair_init(struct pair *pair, struct tls_context *server, struct tls_context *client,
                      const char *name)
{
    *pair = (struct pair){.client = tls_new(client, str(name)),
                          .server = tls_new(server, (struct slice){0})};
    /* The connections hold their own use. */
    tls_context_drop(server);
    tls_context_drop(client);
    buf_init(&pair->to_server, 1 << 20);
    buf_init(&pair->to_client, 1 << 20);
    buf_init(&pair->client_plain, 1 << 20);
    buf_init(&pair->server_plain, 1 << 20);
}

static void pair_fini(struct pair *pair)
{
    tls_free(pair->client);
    tls_free(pair->server);
    buf_fini(&pair->to_server);
    buf_fini(&pair->to_client);
    buf_fini(&pair->client_plain);
    buf_fini(&pair->server_plain);
}

/* Moves bytes until neither side has more to say; step is the most that is fed at once. */
static void pump(struct pair *pair, size_t step)
{
    pair->client_state =
        tls_feed(pair->client, (struct slice){0}, &pair->client_plain, &pair->to_server);
    while (pair->to_server.len > 0 || pair->to_client.len > 0) {
        size_t len = min_size(step, pair->to_server.len);
        if (len > 0) {
            pair->server_state = tls_feed(pair->server, slice_of(pair->to_server.data, len),
                                          &pair->server_plain, &pair->to_client);
            buf_consume(&pair->to_server, len);
        }
        len = min_size(step, pair->to_client.len);
        if (len > 0) {
            pair->client_state = tls_feed(pair->client, slice_of(pair->to_client.data, len),
                                          &pair->client_plain, &pair->to_server);
            buf_consume(&pair->to_client, len);
        }
    }
}

Test(tls, carries_bytes_both_ways_however_they_are_cut)
{
    static const size_t steps[] = {1, 7, 100, 1 << 20};
    struct certs certs;
    certs_make(&certs, HOST, 3600);
    static char big[200000];
    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct pair pair;
        pair_init(&pair, server_context(&certs),
                  client_context(TLS_VERIFY_NAME, str(certs.cert_path)), HOST);
        pump(&pair, steps[i]);
        cr_assert_eq(pair.client_state, TLS_OPEN);
        cr_assert_eq(pair.server_state, TLS_OPEN);
        cr_assert(tls_is_verified(pair.client));
        cr_assert_not(tls_is_verified(pair.server));
        cr_assert_str_eq(tls_version(pair.client), "TLSv1.3");
        cr_assert_str_eq(tls_failure(pair.client), "");

        size_t len = steps[i] == 1 ? 1000 : sizeof(big);
        cr_assert_eq(tls_write(pair.client, str("hello"), &pair.to_server), ERR_OK);
        cr_assert_eq(tls_write(pair.client, (struct slice){0}, &pair.to_server), ERR_OK);
        cr_assert_eq(tls_write(pair.server, slice_of(big, len), &pair.to_client), ERR_OK);
        pump(&pair, steps[i]);
        cr_assert(slice_equal(buf_slice(&pair.server_plain), str("hello")));
        cr_assert(slice_equal(buf_slice(&pair.client_plain), slice_of(big, len)));
        pair_fini(&pair);
    }
    certs_remove(&certs);
}

Test(tls, tells_the_peers_close_notify)
{
    struct certs certs;
    certs_make(&certs, HOST, 3600);
    struct pair pair;
    pair_init(&pair, server_context(&certs), client_context(TLS_VERIFY_NONE, str("")), "");
    pump(&pair, 1 << 20);
    cr_assert_eq(tls_write(pair.server, str("last words"), &pair.to_client), ERR_OK);
    tls_shutdown(pair.server, &pair.to_client);
    pump(&pair, 1 << 20);
    cr_assert_eq(pair.client_state, TLS_ENDED);
    cr_assert(tls_has_opened(pair.client));
    cr_assert(slice_equal(buf_slice(&pair.client_plain), str("last words")));
    pair_fini(&pair);
    certs_remove(&certs);
}

struct verify_case {
    const char *name;
    const char *server_name;
    long valid_s;
    enum tls_verify verify;
    bool knows_ca;
    bool passes;
};

Test(tls, verifies_the_servers_certificate_when_told_to)
{
    static const struct verify_case cases[] = {
        {"right name", HOST, 3600, TLS_VERIFY_NAME, true, true},
        {"name with a trailing dot", HOST ".", 3600, TLS_VERIFY_NAME, true, true},
        {"name in capitals", "MX.Example.TEST", 3600, TLS_VERIFY_NAME, true, true},
        {"address literal", "127.0.0.1", 3600, TLS_VERIFY_NAME, true, true},
        {"wrong address", "127.0.0.2", 3600, TLS_VERIFY_NAME, true, false},
        {"wrong name", "mx.example.org", 3600, TLS_VERIFY_NAME, true, false},
        {"expired", HOST, -60, TLS_VERIFY_NAME, true, false},
        {"unknown CA", HOST, 3600, TLS_VERIFY_NAME, false, false},
        {"opportunistic takes all", "mx.example.org", -60, TLS_VERIFY_NONE, false, true},
        {"opportunistic without a name", "", 3600, TLS_VERIFY_NONE, false, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct verify_case *c = &cases[i];
        struct certs certs;
        certs_make(&certs, HOST, c->valid_s);
        struct pair pair;
        pair_init(&pair, server_context(&certs),
                  client_context(c->verify, c->knows_ca ? str(certs.cert_path) : str("")),
                  c->server_name);
        pump(&pair, 1 << 20);
        cr_assert_eq(pair.client_state, c->passes ? TLS_OPEN : TLS_FAILED, "%s: %s", c->name,
                     tls_failure(pair.client));
        cr_assert_eq(tls_is_verified(pair.client), c->passes && c->verify == TLS_VERIFY_NAME, "%s",
                     c->name);
        if (!c->passes) {
            cr_assert_eq(pair.server_state, TLS_FAILED, "%s: the server got an alert", c->name);
            cr_assert(slice_starts(str(tls_failure(pair.client)), SLICE("certificate refused: ")),
                      "%s: %s", c->name, tls_failure(pair.client));
        }
        pair_fini(&pair);
        certs_remove(&certs);
    }
}

Test(tls, fails_on_bytes_that_are_not_tls_and_stays_failed)
{
    static const char *const inputs[] = {"GET / HTTP/1.1\r\n\r\n", "EHLO there\r\n",
                                         "\x16\x03\x01\xff\xff\xff\xff\xff"};
    struct certs certs;
    certs_make(&certs, HOST, 3600);
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        struct tls_context *context = server_context(&certs);
        struct tls *tls = tls_new(context, (struct slice){0});
        tls_context_drop(context);
        struct buf plain;
        struct buf out;
        buf_init(&plain, 1 << 16);
        buf_init(&out, 1 << 16);
        cr_assert_eq(tls_feed(tls, str(inputs[i]), &plain, &out), TLS_FAILED);
        cr_assert_str_neq(tls_failure(tls), "");
        cr_assert_eq(tls_feed(tls, str("more"), &plain, &out), TLS_FAILED);
        cr_assert_eq(plain.len, 0);
        tls_shutdown(tls, &out); /* harmless */
        tls_free(tls);
        buf_fini(&plain);
        buf_fini(&out);
    }
    certs_remove(&certs);
}

Test(tls, fails_when_a_record_was_altered)
{
    struct certs certs;
    certs_make(&certs, HOST, 3600);
    struct pair pair;
    pair_init(&pair, server_context(&certs), client_context(TLS_VERIFY_NONE, str("")), HOST);
    pump(&pair, 1 << 20);
    cr_assert_eq(tls_write(pair.client, str("pay 10"), &pair.to_server), ERR_OK);
    pair.to_server.data[pair.to_server.len - 1] ^= 1;
    pump(&pair, 1 << 20);
    cr_assert_eq(pair.server_state, TLS_FAILED);
    cr_assert_eq(pair.server_plain.len, 0);
    cr_assert_eq(tls_write(pair.server, str("x"), &pair.to_client), ERR_TLS);
    pair_fini(&pair);
    certs_remove(&certs);
}

Test(tls, fails_rather_than_lose_bytes_when_a_buf_is_full)
{
    struct certs certs;
    certs_make(&certs, HOST, 3600);
    struct pair pair;
    pair_init(&pair, server_context(&certs), client_context(TLS_VERIFY_NONE, str("")), HOST);
    pump(&pair, 1 << 20);
    struct buf small;
    buf_init(&small, 10);
    cr_assert_eq(tls_write(pair.client, str("does not fit"), &small), ERR_TLS);
    cr_assert_eq(tls_write(pair.server, str("does not fit"), &pair.to_client), ERR_OK);
    cr_assert_eq(tls_feed(pair.client, buf_slice(&pair.to_client), &small, &pair.to_server),
                 TLS_FAILED);
    buf_fini(&small);
    pair_fini(&pair);
    certs_remove(&certs);
}

Test(tls, refuses_files_that_make_no_server)
{
    struct certs certs;
    struct certs other;
    certs_make(&certs, HOST, 3600);
    certs_make(&other, HOST, 3600);
    const struct {
        const char *name;
        const char *cert_path;
        const char *key_path;
    } cases[] = {
        {"no certificate", "/nonexistent/cert.pem", certs.key_path},
        {"no key", certs.cert_path, "/nonexistent/key.pem"},
        {"key of another certificate", certs.cert_path, other.key_path},
        {"key where the certificate belongs", certs.key_path, certs.key_path},
        {"empty paths", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_context *context = NULL;
        cr_assert_eq(tls_server_new(str(cases[i].cert_path), str(cases[i].key_path), &context),
                     ERR_TLS, "%s", cases[i].name);
        cr_assert_null(context);
    }
    struct tls_context *context = NULL;
    cr_assert_eq(tls_client_new(TLS_VERIFY_NAME, str("/nonexistent/ca.pem"), &context), ERR_TLS);
    cr_assert_null(context);
    certs_remove(&certs);
    certs_remove(&other);
}

Test(tls, refuses_names_that_no_host_can_have)
{
    char name[400];
    memset(name, 'a', sizeof(name));
    struct tls_context *context = client_context(TLS_VERIFY_NONE, str(""));
    struct tls *tls = tls_new(context, slice_of(name, sizeof(name)));
    struct buf none;
    buf_init(&none, 1 << 16);
    cr_assert_eq(tls_feed(tls, (struct slice){0}, &none, &none), TLS_FAILED);
    tls_free(tls);
    tls_context_drop(context);
    buf_fini(&none);
}
