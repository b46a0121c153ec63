/* Flow: domains that demand TLS by MTA-STS, and reports on how TLS went.
 *
 * A real policy host over HTTPS, mail hosts with a certificate that names some of them, one without
 * TLS. Each domain is its own, because what is known of one is remembered.
 *
 * Not covered here: what is kept and when it is fetched (unit/deliver/test_sts.c), DANE.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/certs.h"
#include "support/world.h"

#define DAY_MS "86400000"

/* The certificate names the hosts of these domains; *.bare.test has no TLS at all. */
#define NAMES                                                                                      \
    "mx.good.test,DNS:*.good.test,DNS:*.else.test,DNS:*.soft.test,DNS:mta-sts.name.test,"          \
    "DNS:mta-sts.bare.test,DNS:*.lost.test,DNS:*.pair.test"

struct story {
    struct world *world;
    struct certs certs;
    struct peer *sink;
    struct peer *bare; /* a sink without TLS */
    struct peer *policies;
    const char *folder;
    uint16_t https_port;
};

static void start_policies(struct story *story)
{
    struct world *world = story->world;
    const char *source = getenv("MEERKAT_SOURCE");
    const char *port_file = world_text(world, "%s/policies.port", world->dir);
    const char *script = world_text(world, "%s/tests/support/policies.py", source ? source : "..");
    const char *const argv[] = {
        "python3",     script, port_file, story->certs.cert_path, story->certs.key_path,
        story->folder, NULL};
    story->policies = world_spawn(world, "policies", argv);
    story->https_port = world_await_port(world, story->policies, port_file);
    world_set(world, "sts_port", "%u", (unsigned)story->https_port);
}

/* A domain with one mail host, at ip, and a policy in this mode for this host. mode NULL: the
 * record promises one, and there is none. */
static void add_domain(struct story *story, const char *domain, const char *ip, const char *mode,
                       const char *mx)
{
    struct world *world = story->world;
    world_dns(world,
              "mx-host=%s,mx.%s,10\nhost-record=mx.%s,%s\nhost-record=mta-sts.%s,127.0.0.1\n"
              "txt-record=_mta-sts.%s,\"v=STSv1; id=1\"\n",
              domain, domain, domain, ip, domain, domain);
    if (mode != NULL) {
        const char *path = world_text(world, "%s/%s.txt", story->folder, domain);
        world_write_file(world, path,
                         slice_str(world_text(world,
                                              "version: STSv1\r\nmode: %s\r\nmx: %s\r\n"
                                              "max_age: 604800\r\n",
                                              mode, mx)));
    }
}

static void begin(struct story *story)
{
    memset(story, 0, sizeof *story);
    certs_make(&story->certs, NAMES, 86400);
    const char *const arguments[] = {"--tls-cert", story->certs.cert_path, "--tls-key",
                                     story->certs.key_path, NULL};
    struct world *world = world_new();
    story->world = world;
    story->folder = world->dir;
    world_set(world, "retry_first_ms", "3600000");
    world_set(world, "tls_ca", "%s", story->certs.cert_path);
    story->sink = world_sink(world, "127.0.0.1", arguments);
    story->bare = world_sink(world, "127.0.0.2", NULL);
    start_policies(story);
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
}

/* The world's key and a domain to send from. */
static void sign_up(struct story *story)
{
    world_start(story->world);
    (void)world_signup(story->world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(story->world, "send.test");           /* its id is not needed */
}

static void end(struct story *story)
{
    world_end(story->world);
    certs_remove(&story->certs);
}

static struct reply *deliver(struct story *story, const char *domain, const char *status)
{
    const char *id = world_send(
        story->world, "{'from':'a@send.test','to':'u@%s','subject':'s','text':'x'}", domain);
    return world_await(story->world, id, "deliveries.0.status", status);
}

static void expect_policy(const struct reply *read, const char *policy)
{
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.tlsPolicy"), policy, "%s: %s",
                     reply_text(read, "deliveries.0.recipient"),
                     reply_text(read, "deliveries.0.log.0.transcript"));
}

static void expect_said(const struct reply *read, const char *text)
{
    const char *said = reply_text(read, "deliveries.0.log.0.transcript");
    cr_expect_not_null(strstr(said, text), "%s is not in: %s", text, said);
}

Test(sts, mail_goes_only_where_the_policy_and_the_certificate_say)
{
    struct story story;
    begin(&story);
    add_domain(&story, "good.test", "127.0.0.1", "enforce", "*.good.test");
    add_domain(&story, "else.test", "127.0.0.1", "enforce", "mx.other.test");
    add_domain(&story, "name.test", "127.0.0.1", "enforce", "mx.name.test");
    add_domain(&story, "bare.test", "127.0.0.2", "enforce", "mx.bare.test");
    add_domain(&story, "soft.test", "127.0.0.2", "testing", "mx.soft.test");
    add_domain(&story, "lost.test", "127.0.0.2", NULL, NULL);
    /* The first host is not the policy's. */
    add_domain(&story, "pair.test", "127.0.0.1", "enforce", "mx.pair.test");
    world_dns(story.world, "mx-host=pair.test,mx.lost.test,5\n");
    sign_up(&story);

    expect_policy(deliver(&story, "good.test", "delivered"), "sts");
    struct reply *read = deliver(&story, "else.test", "deferred");
    expect_policy(read, "sts");
    expect_said(read, "not named by the domain's MTA-STS policy");
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "4.7.5");
    read = deliver(&story, "name.test", "deferred");
    expect_policy(read, "sts");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.step"), "tls");
    read = deliver(&story, "bare.test", "deferred");
    expect_policy(read, "sts");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.step"), "starttls");
    cr_expect_eq(world_sink_count(story.world, story.sink, "mails"), 1, "only good.test's");
    cr_expect_eq(world_sink_count(story.world, story.bare, "mails"), 0);

    expect_policy(deliver(&story, "soft.test", "delivered"), "opportunistic");
    expect_policy(deliver(&story, "lost.test", "delivered"), "opportunistic");
    cr_expect_eq(world_sink_count(story.world, story.bare, "mails"), 2);
    read = deliver(&story, "pair.test", "delivered");
    expect_policy(read, "sts");
    expect_said(read, "mx.lost.test left out");
    cr_expect_eq(world_sink_count(story.world, story.sink, "mails"), 2);
    end(&story);
}

Test(sts, a_policy_is_obeyed_after_a_restart_without_its_host_and_its_record)
{
    struct story story;
    begin(&story);
    add_domain(&story, "bare.test", "127.0.0.2", "enforce", "mx.bare.test");
    sign_up(&story);
    expect_policy(deliver(&story, "bare.test", "deferred"), "sts");
    world_stop(story.world);
    world_peer_stop(story.world, story.policies, SIGTERM);
    world_dns_forget(story.world);
    world_dns(story.world, "host-record=" WORLD_HOST ",127.0.0.1\n"
                           "mx-host=bare.test,mx.bare.test,10\n"
                           "host-record=mx.bare.test,127.0.0.2\n");
    world_start(story.world);
    expect_policy(deliver(&story, "bare.test", "deferred"), "sts");
    cr_expect_eq(world_sink_count(story.world, story.bare, "mails"), 0);
    end(&story);
}

Test(sts, mail_under_a_policy_rides_on_no_connection_that_proved_less)
{
    struct story story;
    begin(&story);
    add_domain(&story, "good.test", "127.0.0.1", "enforce", "*.good.test");
    world_dns(story.world, "mx-host=free.test,mx.good.test,10\n" /* the same host, no policy */
                           "mx-host=also.test,mx.good.test,10\n");
    sign_up(&story);
    struct reply *read = deliver(&story, "free.test", "delivered");
    expect_policy(read, "opportunistic");
    expect_said(deliver(&story, "also.test", "delivered"), "used again");
    read = deliver(&story, "good.test", "delivered"); /* the other connection is still open */
    expect_policy(read, "sts");
    expect_said(read, "connecting to mx.good.test");
    read = deliver(&story, "good.test", "delivered");
    expect_policy(read, "sts");
    expect_said(read, "used again");
    cr_expect_eq(world_sink_count(story.world, story.sink, "connections"), 2);
    end(&story);
}

/* The policy of this type in a report. */
static const char *part_of(struct story *story, const struct reply *report, const char *type)
{
    for (size_t i = 0; i < reply_count(report, "policies"); i++) {
        const char *at = world_text(story->world, "policies.%zu.", i);
        const char *path = world_text(story->world, "%spolicy.policy-type", at);
        if (strcmp(reply_text(report, path), type) == 0) {
            return at;
        }
    }
    cr_assert(false, "no %s in %.*s", type, SLICE_FMT(report->body));
    return "";
}

/* The report on a domain, of those that were posted so far. */
static const struct reply *await_report(struct story *story, const char *domain)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    do {
        for (int i = 1; i < 10; i++) {
            const char *path = world_text(story->world, "%s/report-%d.json", story->folder, i);
            if (access(path, R_OK) == 0) {
                struct reply *report = arena_alloc(&story->world->arena, sizeof *report);
                report->body = world_read_file(story->world, path);
                report->json = json_loadb(report->body.data, report->body.len, 0, NULL);
                cr_assert_not_null(report->json, "%.*s", SLICE_FMT(report->body));
                json_array_append_new(story->world->documents, report->json);
                if (strcmp(reply_text(report, "policies.0.policy.policy-domain"), domain) == 0) {
                    return report;
                }
            }
        }
    } while (wait_more(&wait));
    cr_assert(false, "no report on %s", domain);
    return NULL;
}

static void expect_counts(struct story *story, const char *domain, long long good, long long bad)
{
    const struct reply *report = await_report(story, domain);
    const char *at = part_of(story, report, "sts");
    const char *path = world_text(story->world, "%ssummary.total-successful-session-count", at);
    cr_expect_eq(reply_int(report, path), good, "%s: %.*s", domain, SLICE_FMT(report->body));
    path = world_text(story->world, "%ssummary.total-failure-session-count", at);
    cr_expect_eq(reply_int(report, path), bad, "%s: %.*s", domain, SLICE_FMT(report->body));
    if (bad > 0) {
        path = world_text(story->world, "%sfailure-details.0.result-type", at);
        cr_expect_str_eq(reply_text(report, path), "starttls-not-supported", "%s: %.*s", domain,
                         SLICE_FMT(report->body));
        path = world_text(story->world, "%sfailure-details.0.receiving-ip", at);
        cr_expect_str_eq(reply_text(report, path), "127.0.0.2");
        path = world_text(story->world, "%sfailure-details.0.sending-mta-ip", at);
        cr_expect_str_eq(reply_text(report, path), "127.0.0.1");
    }
}

Test(sts, a_day_is_reported_by_post_and_by_mail)
{
    struct story story;
    begin(&story);
    struct world *world = story.world;
    add_domain(&story, "good.test", "127.0.0.1", "enforce", "*.good.test");
    add_domain(&story, "bare.test", "127.0.0.2", "enforce", "mx.bare.test");
    add_domain(&story, "soft.test", "127.0.0.2", "testing", "mx.soft.test");
    static const char *const domains[] = {"good.test", "bare.test", "soft.test"};
    for (size_t i = 0; i < ARRAY_LEN(domains); i++) {
        world_dns(world,
                  "txt-record=_smtp._tls.%s,\"v=TLSRPTv1; rua=https://mta-sts.%s:%u/report%s\"\n",
                  domains[i], domains[i], (unsigned)story.https_port,
                  i == 0 ? ",mailto:reports@good.test" : "");
    }
    world_set(world, "tls_report_from", "tls@send.test");
    world_set(world, "tls_report_spread_s", "0");
    sign_up(&story);
    (void)deliver(&story, "good.test", "delivered"); /* looked at in the report */
    (void)deliver(&story, "bare.test", "deferred");
    (void)deliver(&story, "soft.test", "delivered");
    world_stop(world);
    world_set(world, "test_clock_offset_ms", DAY_MS);
    world_start(world);
    expect_counts(&story, "good.test", 1, 0);
    expect_counts(&story, "bare.test", 0, 1);
    expect_counts(&story, "soft.test", 0, 1);
    struct slice mail = world_sink_mail(world, story.sink, 2);
    static const char *const wanted[] = {
        "To: <reports@good.test>",      "From: <tls@send.test>",  "DKIM-Signature:",
        "TLS-Report-Domain: good.test", "TLS-Report-Submitter: ", "report-type=\"tlsrpt\"",
        "application/tlsrpt+gzip",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_expect_neq(slice_find(mail, slice_str(wanted[i])), SIZE_MAX, "%s is not in %.*s",
                      wanted[i], SLICE_FMT(mail));
    }
    end(&story);
}
