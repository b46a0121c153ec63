/* Certificates judged by TLSA records, in memory.
 *
 * Not covered here: where records come from (test_dns_secure, test_dane); a real peer (flow
 * test_dane).
 */
#include "net/tls.h"

#include "base/check.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HOST    "mx.example.test"
#define DER_MAX 4096

/* ---- a CA and what it vouches for ------------------------------------------------------------ */

struct made {
    EVP_PKEY *key;
    X509 *cert;
};

static struct made make(const char *name, const char *san, long valid_s, const struct made *issuer)
{
    struct made made = {EVP_EC_gen("P-256"), X509_new()};
    const struct made *by = issuer != NULL ? issuer : &made;
    X509_NAME *subject = X509_get_subject_name(made.cert);
    X509_EXTENSION *basic = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints,
                                                issuer == NULL ? "CA:TRUE" : "CA:FALSE");
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    bool is_made = X509_set_version(made.cert, 2) &&
                   ASN1_INTEGER_set(X509_get_serialNumber(made.cert), issuer == NULL ? 1 : 2) &&
                   X509_gmtime_adj(X509_getm_notBefore(made.cert), -86400) != NULL &&
                   X509_gmtime_adj(X509_getm_notAfter(made.cert), valid_s) != NULL &&
                   X509_set_pubkey(made.cert, made.key) &&
                   X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                              (const unsigned char *)name, -1, -1, 0) &&
                   X509_set_issuer_name(made.cert, X509_get_subject_name(by->cert)) &&
                   X509_add_ext(made.cert, basic, -1) && X509_add_ext(made.cert, names, -1) &&
                   X509_sign(made.cert, by->key, EVP_sha256()) > 0;
    cr_assert(is_made);
    X509_EXTENSION_free(basic);
    X509_EXTENSION_free(names);
    return made;
}

static void made_free(struct made *made)
{
    X509_free(made->cert);
    EVP_PKEY_free(made->key);
}

/* What a TLSA record has for a certificate. */
static struct slice pin_data(const X509 *cert, uint8_t selector, uint8_t matching,
                             unsigned char out[DER_MAX])
{
    unsigned char der[DER_MAX];
    unsigned char *at = der;
    int len =
        selector == 0 ? i2d_X509(cert, &at) : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &at);
    cr_assert(len > 0 && len <= DER_MAX);
    switch (matching) {
    case 0:
        memcpy(out, der, (size_t)len);
        return slice_of(out, (size_t)len);
    case 1:
        (void)SHA256(der, (size_t)len, out); /* returns out */
        return slice_of(out, 32);
    default:
        (void)SHA512(der, (size_t)len, out); /* returns out */
        return slice_of(out, 64);
    }
}

/* ---- a handshake ----------------------------------------------------------------------------- */

struct peers {
    struct made ca;
    struct made leaf;
    struct tls_context *server;
    struct tls_context *client;
};

static struct tls_context *serve(const struct made *leaf, const struct made *ca)
{
    char cert_path[] = "/tmp/dane-cert-XXXXXX";
    char key_path[] = "/tmp/dane-key-XXXXXX";
    FILE *cert = fdopen(mkstemp(cert_path), "w");
    FILE *key = fdopen(mkstemp(key_path), "w");
    struct tls_context *context = NULL;
    cr_assert(cert != NULL && key != NULL);
    cr_assert_eq(PEM_write_X509(cert, leaf->cert), 1);
    cr_assert_eq(PEM_write_X509(cert, ca->cert), 1);
    cr_assert_eq(PEM_write_PrivateKey(key, leaf->key, NULL, NULL, 0, NULL, NULL), 1);
    cr_assert_eq(fclose(cert), 0);
    cr_assert_eq(fclose(key), 0);
    cr_assert_eq(tls_server_new(slice_str(cert_path), slice_str(key_path), &context), ERR_OK);
    cr_assert_eq(unlink(cert_path), 0);
    cr_assert_eq(unlink(key_path), 0);
    return context;
}

static void peers_init(struct peers *peers, const char *san, long valid_s)
{
    peers->ca = make("A CA", "DNS:ca.example.test", 86400, NULL);
    peers->leaf = make("A host", san, valid_s, &peers->ca);
    peers->server = serve(&peers->leaf, &peers->ca);
    cr_assert_eq(tls_client_new(TLS_VERIFY_DANE, SLICE(""), &peers->client), ERR_OK);
}

static void peers_fini(struct peers *peers)
{
    tls_context_drop(peers->server);
    tls_context_drop(peers->client);
    made_free(&peers->leaf);
    made_free(&peers->ca);
}

/* The client's last state; what it says of the certificate in verdict. */
static enum tls_state shake(const struct peers *peers, const struct tls_pins *pins,
                            char verdict[TLS_VERDICT_MAX])
{
    struct buf to_server;
    struct buf to_client;
    struct buf plain;
    buf_init(&to_server, 1 << 20);
    buf_init(&to_client, 1 << 20);
    buf_init(&plain, 1 << 20);
    struct tls *server = tls_new(peers->server, SLICE(""));
    struct tls *client = tls_new_pinned(peers->client, SLICE(HOST), pins);
    enum tls_state state = tls_feed(client, SLICE(""), &plain, &to_server);
    while (to_server.len > 0 || to_client.len > 0) {
        if (to_server.len > 0) {
            (void)tls_feed(server, buf_slice(&to_server), &plain,
                           &to_client); /* only ours counts */
            buf_clear(&to_server);
        }
        if (to_client.len > 0) {
            state = tls_feed(client, buf_slice(&to_client), &plain, &to_server);
            buf_clear(&to_client);
        }
    }
    cr_expect_eq(tls_is_verified(client), state == TLS_OPEN);
    cr_expect_eq(tls_is_named(client), state == TLS_OPEN && pins->pins[0].usage == 2);
    tls_verdict(client, verdict);
    tls_free(client);
    tls_free(server);
    buf_fini(&to_server);
    buf_fini(&to_client);
    buf_fini(&plain);
    return state;
}

/* ---- tests ----------------------------------------------------------------------------------- */

struct pin_case {
    const char *name;
    const char *san;
    long valid_s;
    uint8_t usage;
    bool of_ca; /* the pin is the CA's, else the host's */
    bool passes;
};

static const struct pin_case cases[] = {
    {"the host's own", "DNS:" HOST, 3600, 3, false, true},
    {"the host's own, by another name", "DNS:else.test", 3600, 3, false, true},
    {"the host's own, expired", "DNS:" HOST, -60, 3, false, true},
    {"another's", "DNS:" HOST, 3600, 3, true, false},
    {"its CA's", "DNS:" HOST, 3600, 2, true, true},
    {"its CA's, for the domain", "DNS:dest.test", 3600, 2, true, true},
    {"its CA's, for the alias", "DNS:alias.test", 3600, 2, true, true},
    {"its CA's, for any host there", "DNS:*.example.test", 3600, 2, true, true},
    {"its CA's, by another name", "DNS:else.test", 3600, 2, true, false},
    {"its CA's, expired", "DNS:" HOST, -60, 2, true, false},
};

Test(tls_dane, verifies_by_pins_of_every_kind, .timeout = 60)
{
    for (size_t i = 0; i < ARRAY_LEN(cases) * 6; i++) {
        const struct pin_case *c = &cases[i / 6];
        uint8_t selector = (uint8_t)(i % 2);
        uint8_t matching = (uint8_t)(i / 2 % 3);
        struct peers peers;
        unsigned char data[DER_MAX];
        char verdict[TLS_VERDICT_MAX];
        char wanted[64];
        peers_init(&peers, c->san, c->valid_s);
        const X509 *of = c->of_ca ? peers.ca.cert : peers.leaf.cert;
        struct tls_pin pin = {c->usage, selector, matching, pin_data(of, selector, matching, data)};
        struct tls_pins pins = {&pin, 1, {SLICE("dest.test"), SLICE("alias.test")}};
        cr_expect(tls_pin_is_usable(&pin), "%s %u %u", c->name, selector, matching);
        enum tls_state state = shake(&peers, &pins, verdict);
        cr_expect_eq(state, c->passes ? TLS_OPEN : TLS_FAILED, "%s %u %u: %s", c->name, selector,
                     matching, verdict);
        (void)snprintf(wanted, sizeof wanted, "certificate verified (TLSA %u %u %u)", c->usage,
                       selector, matching);
        cr_expect_eq(strcmp(verdict, wanted) == 0, c->passes, "%s: %s", c->name, verdict);
        peers_fini(&peers);
    }
}

Test(tls_dane, takes_any_pin_of_several, .timeout = 60)
{
    struct peers peers;
    unsigned char good[DER_MAX];
    char verdict[TLS_VERDICT_MAX];
    peers_init(&peers, "DNS:" HOST, 3600);
    struct tls_pin stored[] = {
        {3, 1, 1, SLICE("0123456789abcdef0123456789abcdef")},
        {1, 1, 1, SLICE("0123456789abcdef0123456789abcdef")}, /* for others */
        {3, 1, 1, pin_data(peers.leaf.cert, 1, 1, good)},
    };
    struct tls_pins pins = {stored, 3, {SLICE(""), SLICE("")}};
    cr_expect_eq(shake(&peers, &pins, verdict), TLS_OPEN, "%s", verdict);
    pins.count = 2;
    cr_expect_eq(shake(&peers, &pins, verdict), TLS_FAILED, "%s", verdict);
    peers_fini(&peers);
}

/* The certificate is good by its CA all the same; nobody asked for that. */
Test(tls_dane, never_falls_back_to_known_cas, .timeout = 60)
{
    struct peers peers;
    unsigned char good[DER_MAX];
    char verdict[TLS_VERDICT_MAX];
    peers_init(&peers, "DNS:" HOST, 3600);
    struct tls_pin pin = {1, 1, 1, pin_data(peers.leaf.cert, 1, 1, good)};
    struct tls_pins pins = {&pin, 1, {SLICE(""), SLICE("")}};
    cr_expect_eq(shake(&peers, &pins, verdict), TLS_FAILED, "%s", verdict);
    pins.count = 0;
    cr_expect_eq(shake(&peers, &pins, verdict), TLS_FAILED, "%s", verdict);
    peers_fini(&peers);
}

Test(tls_dane, knows_which_pins_are_of_use, .timeout = 60)
{
    struct made ca = make("A CA", "DNS:ca.example.test", 86400, NULL);
    unsigned char data[DER_MAX];
    struct slice cert = pin_data(ca.cert, 0, 0, data);
    struct slice hash = SLICE("0123456789abcdef0123456789abcdef");
    const struct {
        struct tls_pin pin;
        bool is_usable;
    } pins[] = {
        {{3, 1, 1, hash}, true},
        {{2, 0, 0, cert}, true},
        {{0, 1, 1, hash}, false},
        {{1, 1, 1, hash}, false},
        {{4, 1, 1, hash}, false},
        {{255, 1, 1, hash}, false},
        {{3, 2, 1, hash}, false},
        {{3, 1, 3, hash}, false},
        {{3, 1, 2, hash}, false},
        {{3, 1, 1, slice_head(hash, 31)}, false},
        {{3, 1, 1, SLICE("")}, false},
        {{3, 0, 0, hash}, false},
        {{3, 1, 0, cert}, false},
        {{3, 0, 0, slice_head(cert, cert.len - 1)}, false},
        {{3, 0, 0, slice_of(data, cert.len + 1)}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(pins); i++) {
        cr_expect_eq(tls_pin_is_usable(&pins[i].pin), pins[i].is_usable, "%zu", i);
    }
    made_free(&ca);
}
