/* Flow: mail to hosts whose certificates are pinned in a signed zone, and what happens when
 * somebody in between lies: another certificate, no STARTTLS, a forged record. And mail that
 * requires TLS.
 *
 * The zone is signed by ldns, served by NSD and validated by unbound, which knows its key; the mail
 * host is Postfix, which takes nothing without TLS. All run from the world's folder on free ports.
 * Postfix needs root and its user; without them this is skipped.
 *
 * Not covered here: certificates of a CA that is pinned (test_tls_dane), aliases that leave the
 * signed zone (test_dane).
 */
#include <criterion/criterion.h>

#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/postfix.h"
#include "support/world.h"

#define POSTFIX_IP "127.0.0.1"
#define KEEN_IP    "127.0.0.3" /* a sink with TLS and REQUIRETLS */
#define DEAF_IP    "127.0.0.4" /* a sink without STARTTLS */
#define ZERO_HASH  "0000000000000000000000000000000000000000000000000000000000000000"
#define FALSE_HASH "1111111111111111111111111111111111111111111111111111111111111111"

struct dane_world {
    struct world *world;
    struct certs certs;
    struct peer *keen;
    struct peer *deaf;
    struct postfix postfix;
    uint16_t nsd_port;
    const char *dir; /* of the zone */
};

/* ---- the signed zone ------------------------------------------------------------------------- */

/* SHA-256 of the certificate's public key, for "3 1 1". */
static const char *key_hash(struct world *world, const struct certs *certs)
{
    FILE *file = fopen(certs->cert_path, "r");
    cr_assert_not_null(file);
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    cr_assert_not_null(cert);
    cr_assert_eq(fclose(file), 0);
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    cr_assert_gt(len, 0);
    unsigned char hash[SHA256_DIGEST_LENGTH];
    (void)SHA256(der, (size_t)len, hash); /* returns hash */
    OPENSSL_free(der);
    X509_free(cert);
    char *hex = arena_bytes(&world->arena, 2 * sizeof hash + 1);
    for (size_t i = 0; i < sizeof hash; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    }
    return hex;
}

/* A domain, its mail host, the host's address and its pin. */
static const char *pinned(struct world *world, const char *name, const char *ip, const char *tlsa)
{
    return world_text(world,
                      "%s IN MX 10 mx.%s\n"
                      "mx.%s IN A %s\n"
                      "_0._tcp.mx.%s IN TLSA %s\n", /* sign_zone puts the port in */
                      name, name, name, ip, name, tlsa);
}

static void write_zone(struct dane_world *it)
{
    struct world *world = it->world;
    const char *good = world_text(world, "3 1 1 %s", key_hash(world, &it->certs));
    const char *zone =
        world_text(world,
                   "$TTL 60\n$ORIGIN dane.test.\n"
                   "@ IN SOA ns root 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n"
                   "%s%s%s%s%s%s"
                   "bare IN MX 10 mx.bare\nmx.bare IN A " POSTFIX_IP "\n"
                   "alias IN MX 10 mx.alias\nmx.alias IN CNAME mx.ok\n",
                   pinned(world, "ok", POSTFIX_IP, good),
                   pinned(world, "wrong", POSTFIX_IP, "3 1 1 " ZERO_HASH),
                   pinned(world, "strip", DEAF_IP, good),
                   pinned(world, "forged", POSTFIX_IP, "3 1 1 " FALSE_HASH),
                   pinned(world, "unusable", POSTFIX_IP, "1 1 1 " ZERO_HASH),
                   pinned(world, "keen", KEEN_IP, good));
    world_write_file(world, world_text(world, "%s/zone", it->dir), slice_str(zone));
}

/* Signs, and then puts the good hash where the signature was made for another. */
static void sign_zone(struct dane_world *it)
{
    struct world *world = it->world;
    const char *script =
        world_text(world,
                   "cd %s && sed -i 's/^_0\\._tcp/_%u._tcp/' zone && "
                   "key=$(ldns-keygen -a ECDSAP256SHA256 -k -r /dev/urandom dane.test) && "
                   "mv $key.key anchor.key && mv $key.private anchor.private && "
                   "ldns-signzone -o dane.test zone anchor && sed -i 's/%s/%s/' zone.signed",
                   it->dir, (unsigned)it->keen->tcp_port, FALSE_HASH, key_hash(world, &it->certs));
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct slice said;
    int status = world_tool(world, argv, SLICE(""), &said);
    cr_assert_eq(status, 0, "the zone is not signed: %.*s", SLICE_FMT(said));
}

static const char nsd_conf[] = "server:\n"
                               "  ip-address: 127.0.0.1@%u\n"
                               "  do-ip6: no\n"
                               "  username: \"\"\n"
                               "  chroot: \"\"\n"
                               "  database: \"\"\n"
                               "  zonesdir: \"%s\"\n"
                               "  pidfile: \"%s/nsd.pid\"\n"
                               "  zonelistfile: \"%s/zone.list\"\n"
                               "  xfrdfile: \"%s/xfrd.state\"\n"
                               "  xfrdir: \"%s\"\n"
                               "  server-count: 1\n"
                               "remote-control:\n"
                               "  control-enable: no\n"
                               "zone:\n"
                               "  name: dane.test\n"
                               "  zonefile: zone.signed\n";

/* It knows the zone's key and no other: everything else is insecure. */
static const char unbound_conf[] = "server:\n"
                                   "  interface: 127.0.0.1\n"
                                   "  port: %u\n"
                                   "  do-ip6: no\n"
                                   "  do-daemonize: no\n"
                                   "  use-syslog: no\n"
                                   "  logfile: \"\"\n"
                                   "  username: \"\"\n"
                                   "  chroot: \"\"\n"
                                   "  directory: \"%s\"\n"
                                   "  pidfile: \"\"\n"
                                   "  num-threads: 1\n"
                                   "  so-reuseport: no\n"
                                   "  unknown-server-time-limit: 5000\n"
                                   "  module-config: \"validator iterator\"\n"
                                   "  trust-anchor-file: \"%s/anchor.key\"\n"
                                   "  do-not-query-localhost: no\n"
                                   "  local-zone: \"test.\" nodefault\n"
                                   "  cache-max-ttl: 0\n"
                                   "  cache-max-negative-ttl: 0\n"
                                   "remote-control:\n"
                                   "  control-enable: no\n"
                                   "stub-zone:\n"
                                   "  name: dane.test\n"
                                   "  stub-addr: 127.0.0.1@%u\n"
                                   "forward-zone:\n"
                                   "  name: \".\"\n"
                                   "  forward-addr: 127.0.0.1@%u\n";

static void await_listener(struct world *world, const struct peer *peer, uint16_t tcp_port)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!world_is_listening(tcp_port)) {
        if (!wait_more(&wait)) {
            struct slice said = world_read_file(world, peer->output);
            world_fail(world, "%s does not start: %.*s", peer->name, SLICE_FMT(said));
        }
    }
}

static void start_nsd(struct dane_world *it)
{
    struct world *world = it->world;
    const char *conf = world_text(world, "%s/nsd.conf", it->dir);
    it->nsd_port = world_free_port();
    world_write_file(world, conf,
                     slice_str(world_text(world, nsd_conf, (unsigned)it->nsd_port, it->dir, it->dir,
                                          it->dir, it->dir, it->dir)));
    const char *argv[] = {"/usr/sbin/nsd", "-d", "-c", conf, NULL};
    await_listener(world, world_spawn(world, "nsd", argv), it->nsd_port);
}

static void start_unbound(struct dane_world *it)
{
    struct world *world = it->world;
    const char *conf = world_text(world, "%s/unbound.conf", it->dir);
    uint16_t port = world_free_port();
    world_write_file(world, conf,
                     slice_str(world_text(world, unbound_conf, (unsigned)port, it->dir, it->dir,
                                          (unsigned)it->nsd_port, (unsigned)world->dns->tcp_port)));
    const char *argv[] = {"/usr/sbin/unbound", "-d", "-c", conf, NULL};
    await_listener(world, world_spawn(world, "unbound", argv), port);
    world->resolver_port = port;
}

/* ---- the world ------------------------------------------------------------------------------- */

static const char domains[] = "ok.dane.test wrong.dane.test forged.dane.test unusable.dane.test "
                              "bare.dane.test alias.dane.test plain.test side.test";

static void start_neighbours(struct dane_world *it)
{
    struct world *world = it->world;
    certs_make(&it->certs, "mx.ok.dane.test", 86400);
    const char *keen[] = {"--tls-cert",       it->certs.cert_path, "--tls-key",
                          it->certs.key_path, "--requiretls",      NULL};
    it->keen = world_sink(world, KEEN_IP, keen); /* its port is everybody's */
    it->deaf = world_sink(world, DEAF_IP, NULL);
    struct postfix_options options = {
        .domains = domains, .tls_level = "encrypt", .tcp_port = it->keen->tcp_port};
    it->postfix = start_postfix(world, &it->certs, &options);
    it->dir = world_text(world, "%s/zone", world->dir);
    (void)postfix_folder(world, it->dir, 0);
    write_zone(it);
    sign_zone(it);
    start_nsd(it);
}

/* The sending domain is verified before unbound takes over: its records come while the world runs,
 * and unbound would remember that they were not there. */
static void begin(struct dane_world *it, const char *validates)
{
    struct world *world = world_new();
    *it = (struct dane_world){.world = world};
    start_neighbours(it);
    world_set(world, "retry_first_ms", "3600000");
    world_set(world, "dns_validates", "%s", validates);
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\nhost-record=mx.plain.test," POSTFIX_IP
                     "\nmx-host=plain.test,mx.plain.test,10\n"
                     "mx-host=side.test,mx.ok.dane.test,10\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "send.test");           /* its id is not needed */
    world_stop(world);
    start_unbound(it);
    world_start(world);
}

static void end(struct dane_world *it)
{
    world_end(it->world);
    certs_remove(&it->certs);
}

static struct reply *send_to(struct dane_world *it, const char *domain, const char *extra,
                             const char *status)
{
    const char *id =
        world_send(it->world, "{'from':'ann@send.test','to':'bob@%s','text':'x'%s}", domain, extra);
    return world_await(it->world, id, "deliveries.0.status", status);
}

static bool has_said(const struct reply *read, const char *words)
{
    return strstr(reply_text(read, "deliveries.0.log.0.transcript"), words) != NULL;
}

/* ---- flows ----------------------------------------------------------------------------------- */

struct dane_case {
    const char *domain;
    const char *status;
    const char *policy;
    const char *said; /* in the transcript */
    const char *enhanced;
};

static const struct dane_case cases[] = {
    {"ok.dane.test", "delivered", "dane", "certificate verified (TLSA 3 1 1)", "2.0.0"},
    {"alias.dane.test", "delivered", "dane", "certificate verified (TLSA 3 1 1)", "2.0.0"},
    {"wrong.dane.test", "deferred", "dane", "certificate refused: ", "4.7.5"},
    {"strip.dane.test", "deferred", "dane", "does not offer STARTTLS", "4.7.4"},
    {"forged.dane.test", "deferred", "dane", "left out: ", "4.7.5"},
    {"unusable.dane.test", "delivered", "require", "certificate not verified: ", "2.0.0"},
    {"bare.dane.test", "delivered", "opportunistic", "certificate not verified: ", "2.0.0"},
    {"plain.test", "delivered", "opportunistic", "certificate not verified: ", "2.0.0"},
};

Test(dane, obeys_what_a_signed_zone_pins, .timeout = 180)
{
    struct dane_world it;
    begin(&it, "yes");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct dane_case *c = &cases[i];
        struct reply *read = send_to(&it, c->domain, "", c->status);
        const char *transcript = reply_text(read, "deliveries.0.log.0.transcript");
        cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), c->policy, "%s: %s",
                         c->domain, transcript);
        cr_expect(has_said(read, c->said), "%s: %s", c->domain, transcript);
        cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.enhanced_status"), c->enhanced,
                         "%s: %s", c->domain, transcript);
        bool is_in = strcmp(c->status, "delivered") == 0;
        cr_expect_eq(has_said(read, "C: MAIL"), is_in, "%s: %s", c->domain, transcript);
        bool has_tls = slice_starts(slice_str(reply_text(read, "deliveries.0.tls")), SLICE("TLS"));
        cr_expect_eq(has_tls, is_in, "%s", c->domain);
    }
    cr_expect_eq(world_sink_count(it.world, it.deaf, "mails"), 0, "nothing went in clear");
    end(&it);
}

/* What was verified once is still open, and still what the next mail asks for. */
Test(dane, uses_a_verified_connection_again, .timeout = 180)
{
    struct dane_world it;
    begin(&it, "yes");
    struct reply *read = send_to(&it, "ok.dane.test", "", "delivered");
    cr_expect_not(has_said(read, "used again"));
    read = send_to(&it, "ok.dane.test", "", "delivered");
    cr_expect(has_said(read, "used again"), "%s",
              reply_text(read, "deliveries.0.log.0.transcript"));
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "dane");
    /* The same host, and nobody said so securely: not the same connection. */
    read = send_to(&it, "side.test", "", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "opportunistic");
    cr_expect_not(has_said(read, "used again"));
    end(&it);
}

/* The same forged record and the same wrong pin, and nobody said that the resolver validates. */
Test(dane, claims_nothing_when_the_resolver_is_not_trusted, .timeout = 180)
{
    struct dane_world it;
    begin(&it, "no");
    struct reply *read = send_to(&it, "ok.dane.test", "", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "opportunistic");
    read = send_to(&it, "wrong.dane.test", "", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "opportunistic");
    end(&it);
}

Test(dane, sends_what_requires_tls_only_to_who_promises_it, .timeout = 180)
{
    static const char requires[] = ",\"requireTls\":true";
    struct dane_world it;
    begin(&it, "yes");
    struct reply *read = send_to(&it, "keen.dane.test", requires, "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "dane");
    struct slice mail = world_sink_mail(it.world, it.keen, 1);
    cr_expect_neq(slice_find(mail, SLICE("X-Sink-RequireTls: yes")), SIZE_MAX, "%.*s",
                  SLICE_FMT(mail));
    /* Postfix is verified, and offers no REQUIRETLS. */
    read = send_to(&it, "ok.dane.test", requires, "failed");
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "5.7.30", "%s",
                     reply_text(read, "deliveries.0.last_response"));
    read = send_to(&it, "strip.dane.test", requires, "failed");
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "5.7.10", "%s",
                     reply_text(read, "deliveries.0.last_response"));
    /* Nobody vouches for its certificate. */
    read = send_to(&it, "plain.test", requires, "failed");
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "5.7.10", "%s",
                     reply_text(read, "deliveries.0.last_response"));
    cr_expect_eq(world_sink_count(it.world, it.deaf, "mails"), 0);
    end(&it);
}

Test(dane, lets_a_mail_waive_what_it_does_not_need, .timeout = 180)
{
    struct dane_world it;
    begin(&it, "yes");
    struct reply *read =
        send_to(&it, "strip.dane.test", ",\"headers\":{\"TLS-Required\":\"No\"}", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "opportunistic");
    /* The open connection is no way for the next mail. */
    read = send_to(&it, "strip.dane.test", "", "deferred");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), "dane");
    cr_expect_eq(world_sink_count(it.world, it.deaf, "mails"), 1);
    end(&it);
}
