/* Flow: where mails go. MX records of every kind, hosts that are down, addresses that are not
 * public, a smarthost, and connections that are used again.
 *
 * Not covered here: what servers answer (test_delivery.c).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/certs.h"
#include "support/world.h"

static const char *send_to(struct world *world, const char *rcpt)
{
    return world_send(world, "{'from':'a@send.test','to':'%s','subject':'s','text':'x'}", rcpt);
}

static struct reply *await_status(struct world *world, const char *id, const char *status)
{
    return world_await(world, id, "deliveries.0.status", status);
}

/* ---- DNS ------------------------------------------------------------------------------------- */

/* 127.0.0.1 is the sink, 127.0.0.9 refuses connections. */
static const char zone[] = "mx-host=two.test,down.two.test,10\n"
                           "mx-host=two.test,up.two.test,20\n"
                           "host-record=down.two.test,127.0.0.9\n"
                           "host-record=up.two.test,127.0.0.1\n"
                           "host-record=implicit.test,127.0.0.1\n"
                           "dns-rr=null.test,15,000000\n"
                           "txt-record=bare.test,x\n"
                           "mx-host=nowhere.test,missing.test,10\n"
                           "mx-host=half.test,missing.test,10\n"
                           "mx-host=half.test,up.two.test,20\n"
                           "mx-host=closed.test,down.two.test,10\n"
                           "mx-host=xn--bcher-kva.test,up.two.test,10\n"
                           "mx-host=six.test,six.two.test,10\n"
                           "host-record=six.two.test,127.0.0.1,::1\n";

struct destination {
    const char *rcpt;
    const char *status;
    const char *step;
    const char *enhanced;
    const char *host; /* "": none was reached */
};

static const struct destination destinations[] = {
    {"u@two.test", "delivered", "body", "2.0.0", "up.two.test"},
    {"u@implicit.test", "delivered", "body", "2.0.0", "implicit.test"},
    {"u@half.test", "delivered", "body", "2.0.0", "up.two.test"},
    {"u@six.test", "delivered", "body", "2.0.0", "six.two.test"},
    {"u@b\xc3\xbc"
     "cher.test",
     "delivered", "body", "2.0.0", "up.two.test"},
    {"u@null.test", "bounced", "resolve", "5.1.10", ""},
    {"u@gone.test", "bounced", "resolve", "5.1.2", ""},
    {"u@nowhere.test", "deferred", "resolve", "4.4.4", ""},
    {"u@bare.test", "deferred", "resolve", "4.4.4", ""},
    {"u@closed.test", "deferred", "connect", "4.4.1", "down.two.test"},
};

Test(routes, mail_goes_where_its_dns_says)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "3600000");
    (void)world_ready_to_send(world); /* the replies tell what the sink got */
    world_dns(world, "%s", zone);
    for (size_t i = 0; i < ARRAY_LEN(destinations); i++) {
        const struct destination *wanted = &destinations[i];
        const char *id = send_to(world, wanted->rcpt);
        struct reply *read = await_status(world, id, wanted->status);
        cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.step"), wanted->step, "%s: %s",
                         wanted->rcpt, reply_text(read, "deliveries.0.last_response"));
        cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), wanted->enhanced,
                         "%s: %s", wanted->rcpt, reply_text(read, "deliveries.0.enhanced_status"));
        cr_expect_str_eq(reply_text(read, "deliveries.0.remote_host"), wanted->host, "%s: %s",
                         wanted->rcpt, reply_text(read, "deliveries.0.remote_host"));
        if (i == 0) {
            const char *said = reply_text(read, "deliveries.0.log.0.transcript");
            cr_expect_not_null(strstr(said, "connecting to down.two.test [127.0.0.9]"));
            cr_expect_not_null(strstr(said, "connecting to up.two.test [127.0.0.1]"));
        }
    }
    world_dns_stop(world);
    struct reply *read = await_status(world, send_to(world, "u@new.test"), "deferred");
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "4.4.3");
    world_end(world);
}

Test(routes, addresses_that_are_not_public_are_not_connected_to)
{
    struct world *world = world_new();
    world_set(world, "allow_private_targets", "no");
    struct peer *sink = world_ready_to_send(world);
    world_dns(world, "mx-host=ten.test,h.ten.test,1\nhost-record=h.ten.test,10.0.0.1\n"
                     "mx-host=link.test,h.link.test,1\nhost-record=h.link.test,169.254.1.1\n"
                     "mx-host=six.test,h.six.test,1\nhost-record=h.six.test,::1\n"
                     "mx-host=map.test,h.map.test,1\nhost-record=h.map.test,::ffff:127.0.0.1\n"
                     "mx-host=zero.test,h.zero.test,1\nhost-record=h.zero.test,0.0.0.0\n");
    static const char *const domains[] = {"dest.test", "ten.test", "link.test",
                                          "six.test",  "map.test", "zero.test"};
    for (size_t i = 0; i < ARRAY_LEN(domains); i++) {
        const char *id = send_to(world, world_text(world, "u@%s", domains[i]));
        struct reply *read = await_status(world, id, "bounced");
        cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "5.4.4", "%s",
                         domains[i]);
    }
    cr_assert_eq(world_sink_count(world, sink, "connections"), 0);
    world_end(world);
}

/* ---- one connection, many mails -------------------------------------------------------------- */

Test(routes, mails_to_one_site_share_a_connection)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    for (int i = 0; i < 6; i++) {
        const char *id = send_to(world, world_text(world, "u%d@dest.test", i));
        struct reply *read = await_status(world, id, "delivered");
        const char *said = reply_text(read, "deliveries.0.log.0.transcript");
        cr_assert_eq(strstr(said, "used again") != NULL, i > 0, "%s", said);
    }
    cr_assert_eq(world_sink_count(world, sink, "connections"), 1);
    cr_assert_eq(world_sink_count(world, sink, "mails"), 6);
    world_end(world);
}

Test(routes, a_kept_connection_that_the_server_ended_costs_no_mail)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "3600000");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "maxmails:2");
    for (int i = 0; i < 5; i++) {
        const char *id = send_to(world, world_text(world, "u%d@dest.test", i));
        struct reply *read = await_status(world, id, "delivered");
        cr_assert_eq(reply_int(read, "deliveries.0.attempts"), 1);
    }
    cr_assert_eq(world_sink_count(world, sink, "connections"), 3);
    world_end(world);
}

Test(routes, a_crowd_of_mails_to_one_site_arrives_over_few_connections)
{
    struct world *world = world_new();
    world_set(world, "site_max", "3");
    struct peer *sink = world_ready_to_send(world);
    for (int i = 0; i < 60; i++) {
        (void)send_to(world, world_text(world, "u%d@dest.test", i)); /* counted below */
    }
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(world, sink, "mails") < 60 && wait_more(&wait)) {
    }
    cr_assert_eq(world_sink_count(world, sink, "mails"), 60);
    cr_assert_leq(world_sink_count(world, sink, "connections"), 3);
    world_end(world);
}

/* ---- smarthost ------------------------------------------------------------------------------- */

struct smarthost {
    const char *name;
    const char *tls; /* of smarthost_tls */
    const char *password;
    const char *status;
    const char *step;
    bool has_ca;
    bool is_implicit; /* the sink */
    bool is_plain;    /* the sink has no certificate */
};

static const struct smarthost smarthosts[] = {
    {"required", "require", "secret", "delivered", "body", true, false, false},
    {"implicit", "implicit", "secret", "delivered", "body", true, true, false},
    {"offered", "may", "secret", "delivered", "body", false, false, false},
    {"a wrong password", "require", "guess", "deferred", "auth", true, false, false},
    {"a stranger's certificate", "require", "secret", "deferred", "tls", false, false, false},
    {"a stranger's certificate, implicit", "implicit", "secret", "deferred", "tls", false, true,
     false},
    {"required and not offered", "require", "secret", "deferred", "starttls", true, false, true},
    {"a password and no TLS", "may", "secret", "deferred", "ehlo", false, false, true},
    {"none at all", "none", "secret", "delivered", "body", false, false, true},
};

static struct peer *start_sink(struct world *world, const struct smarthost *smarthost,
                               const struct certs *certs)
{
    const char *arguments[10] = {"--auth", "user:secret"};
    size_t n = 2;
    if (!smarthost->is_plain) {
        arguments[n++] = "--tls-cert";
        arguments[n++] = certs->cert_path;
        arguments[n++] = "--tls-key";
        arguments[n++] = certs->key_path;
    }
    if (smarthost->is_implicit) {
        arguments[n++] = "--tls-implicit";
    }
    return world_sink(world, "127.0.0.1", arguments);
}

static void send_by(struct world *world, const struct smarthost *smarthost,
                    const struct certs *certs)
{
    struct peer *sink = start_sink(world, smarthost, certs);
    const char *file = world_text(world, "%s/password", world->dir);
    world_write_file(world, file, slice_str(world_text(world, "%s\n", smarthost->password)));
    world_set(world, "smarthost", "127.0.0.1:%u", (unsigned)sink->tcp_port);
    world_set(world, "smarthost_tls", "%s", smarthost->tls);
    world_set(world, "smarthost_user", "user");
    world_set(world, "smarthost_password_file", "%s", file);
    world_set(world, "tls_ca", "%s", smarthost->has_ca ? certs->cert_path : "");
    world_start(world);

    const char *id = send_to(world, "u@not-in-the-dns.test");
    struct reply *read = await_status(world, id, smarthost->status);
    const char *said = reply_text(read, "deliveries.0.log.0.transcript");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.step"), smarthost->step, "%s: %s",
                     smarthost->name, said);
    cr_expect_null(strstr(said, "c2VjcmV0"), "%s: the password is in the log", smarthost->name);
    bool is_sent = strcmp(smarthost->status, "delivered") == 0;
    cr_expect_eq(world_sink_count(world, sink, "mails"), is_sent ? 1 : 0, "%s", smarthost->name);
    if (is_sent) {
        bool is_tls =
            slice_starts(slice_str(reply_text(read, "deliveries.0.tls")), SLICE("TLSv1."));
        cr_expect_eq(is_tls, !smarthost->is_plain, "%s", smarthost->name);
    }
    world_stop(world);
    world_peer_stop(world, sink, SIGTERM);
}

Test(routes, a_smarthost_is_trusted_only_as_far_as_it_should_be)
{
    struct certs certs;
    certs_make(&certs, "relay.test", 86400);
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "3600000");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "send.test");           /* its id is not needed */
    world_stop(world);
    for (size_t i = 0; i < ARRAY_LEN(smarthosts); i++) {
        send_by(world, &smarthosts[i], &certs);
    }
    world_end(world);
    certs_remove(&certs);
}

/* ---- opportunistic TLS ----------------------------------------------------------------------- */

Test(routes, tls_is_used_where_it_is_offered_and_done_without_where_it_fails)
{
    struct certs certs;
    certs_make(&certs, "mx.dest.test", -3600); /* nobody checks: it has expired */
    const char *const arguments[] = {"--tls-cert", certs.cert_path, "--tls-key", certs.key_path,
                                     NULL};
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "3600000");
    struct peer *sink = world_sink(world, "127.0.0.1", arguments);
    /* Hosts of two names, or the second mail would go over the first one's connection. */
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n"
                     "host-record=mx.good.test,127.0.0.1\nhost-record=mx.bad.test,127.0.0.1\n"
                     "mx-host=good.test,mx.good.test,1\nmx-host=bad.test,mx.bad.test,1\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "send.test");           /* its id is not needed */

    struct reply *read = await_status(world, send_to(world, "u@good.test"), "delivered");
    cr_expect(slice_starts(slice_str(reply_text(read, "deliveries.0.tls")), SLICE("TLSv1.3 ")),
              "%s", reply_text(read, "deliveries.0.tls"));
    world_sink_profile(world, sink, "badtls");
    read = await_status(world, send_to(world, "u@bad.test"), "delivered");
    cr_expect(json_is_null(reply_at(read, "deliveries.0.tls")));
    cr_expect_eq(reply_int(read, "deliveries.0.attempts"), 1);
    const char *said = reply_text(read, "deliveries.0.log.0.transcript");
    cr_expect_not_null(strstr(said, "TLS failed"), "%s", said);
    cr_expect_eq(world_sink_count(world, sink, "mails"), 2);
    world_end(world);
    certs_remove(&certs);
}
