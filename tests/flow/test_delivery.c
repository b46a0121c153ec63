/* Flow: what becomes of a mail when servers refuse, stall, lie, break off or are not there.
 *
 * Each bad server has a domain and host name of its own, so that what Meerkat learns about one does
 * not colour the next. Where a single attempt is to be looked at, the first retry is an hour away.
 *
 * Not covered here: routes and reuse of connections (test_routes.c), TLS (test_peers.c,
 * test_smarthost.c), crashes (test_crash.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "support/world.h"

#define HOUR_MS UINT64_C(3600000)

static struct world *world_with(struct peer **sink, const char *first_ms, const char *timeout_ms)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "%s", first_ms);
    world_set(world, "smtp_timeout_ms", "%s", timeout_ms);
    *sink = world_ready_to_send(world);
    return world;
}

/* Names of so many domains, each with a host of its own name, all of which are the sink: what is
 * learned about one provider does not count for the next. */
static void serve_domains(struct world *world, size_t count)
{
    const char *lines = "";
    for (size_t i = 0; i < count; i++) {
        lines = world_text(
            world, "%smx-host=d%zu.test,mx.d%zu.test,10\nhost-record=mx.d%zu.test,127.0.0.1\n",
            lines, i, i, i);
    }
    world_dns(world, "%s", lines);
}

static const char *send_to(struct world *world, const char *rcpt)
{
    return world_send(world, "{'from':'a@send.test','to':'%s','subject':'s','text':'x'}", rcpt);
}

/* ---- one attempt at a bad server ------------------------------------------------------------- */

struct bad_server {
    const char *profile;
    const char *status; /* of the delivery */
    const char *step;   /* NULL: one or the other */
    const char *enhanced;
    long long code;
    const char *response; /* a part of it */
};

static const struct bad_server bad_servers[] = {
    {"reject", "bounced", "rcpt", "5.1.1", 550, "no such user"},
    {"reject-data", "bounced", "body", "5.7.1", 554, "not wanted"},
    {"tempfail:9", "deferred", "mail", "4.3.0", 451, "not yet"},
    {"greylist", "deferred", "rcpt", "4.7.1", 451, "greylisted"},
    {"refuse", "deferred", "greeting", "5.7.1", 554, "no mail service"},
    {"busy421", "deferred", "greeting", "4.7.0", 421, "too many connections"},

    {"stall:greeting", "deferred", "greeting", "4.4.2", 0, "no answer in time"},
    {"stall:ehlo", "deferred", "ehlo", "4.4.2", 0, "no answer in time"},
    {"stall:mail", "deferred", "mail", "4.4.2", 0, "no answer in time"},
    {"stall:rcpt", "deferred", "rcpt", "4.4.2", 0, "no answer in time"},
    {"stall:data", "deferred", "data", "4.4.2", 0, "no answer in time"},
    {"stall:dot", "deferred", "body", "4.4.2", 0, "may have been delivered"},

    {"drop:greeting", "deferred", "greeting", "4.4.2", 0, "connection lost"},
    {"drop:ehlo", "deferred", "ehlo", "4.4.2", 0, "connection lost"},
    {"drop:mail", "deferred", "mail", "4.4.2", 0, "connection lost"},
    /* Cutting takes pipelined replies with it that were not read yet. */
    {"drop:rcpt", "deferred", NULL, "4.4.2", 0, "connection lost"},
    {"drop:data", "deferred", NULL, "4.4.2", 0, "connection lost"},
    {"drop:dot", "deferred", "body", "4.4.2", 0, "may have been delivered"},

    {"garbage:greeting", "deferred", "greeting", "4.5.0", 0, "not SMTP"},
    {"garbage:ehlo", "deferred", "ehlo", "4.5.0", 0, "not SMTP"},
    {"garbage:mail", "deferred", "mail", "4.5.0", 0, "not SMTP"},
    {"garbage:rcpt", "deferred", "rcpt", "4.5.0", 0, "not SMTP"},
    {"garbage:data", "deferred", "data", "4.5.0", 0, "not SMTP"},
    {"garbage:dot", "deferred", "body", "4.5.0", 0, "not SMTP"},

    {"slow:20", "delivered", "body", "2.0.0", 250, "queued"},
    {"", "delivered", "body", "2.0.0", 250, "queued"},
};

static void check_attempt(const struct bad_server *server, const struct reply *read,
                          uint64_t sent_unix_ms)
{
    const char *name = server->profile;
    const char *log = "deliveries.0.log.0.";
    char path[64];
    cr_expect_eq(reply_int(read, "deliveries.0.attempts"), 1, "%s", name);
    cr_expect_eq(reply_count(read, "deliveries.0.log"), 1, "%s", name);
    (void)snprintf(path, sizeof path, "%sstep", log); /* the paths fit, here and below */
    if (server->step != NULL) {
        cr_expect_str_eq(reply_text(read, path), server->step, "%s: %s", name,
                         reply_text(read, path));
    }
    (void)snprintf(path, sizeof path, "%soutcome", log);
    cr_expect_str_eq(reply_text(read, path), server->status, "%s", name);
    (void)snprintf(path, sizeof path, "%stranscript", log);
    cr_expect_not_null(strstr(reply_text(read, path), "connecting to mx.d"), "%s: %s", name,
                       reply_text(read, path));
    cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), server->enhanced, "%s: %s",
                     name, reply_text(read, "deliveries.0.enhanced_status"));
    cr_expect_eq(reply_int(read, "deliveries.0.last_status_code"), server->code, "%s", name);
    cr_expect_not_null(strstr(reply_text(read, "deliveries.0.last_response"), server->response),
                       "%s: %s", name, reply_text(read, "deliveries.0.last_response"));
    if (strcmp(server->status, "deferred") == 0) {
        uint64_t next = (uint64_t)reply_int(read, "deliveries.0.next_attempt_at");
        cr_expect_gt(next, sent_unix_ms + HOUR_MS * 7 / 10, "%s: too soon", name);
        cr_expect_lt(next, clock_unix_ms() + HOUR_MS * 13 / 10, "%s: too late", name);
    } else {
        cr_expect(json_is_null(reply_at(read, "deliveries.0.next_attempt_at")), "%s", name);
    }
    cr_expect_str_eq(reply_text(read, "deliveries.0.status"), server->status, "%s: %s", name,
                     reply_text(read, "deliveries.0.status"));
}

Test(delivery, each_bad_server_is_blamed_at_the_step_where_it_failed)
{
    struct peer *sink;
    struct world *world = world_with(&sink, "3600000", "600");
    serve_domains(world, ARRAY_LEN(bad_servers));
    for (size_t i = 0; i < ARRAY_LEN(bad_servers); i++) {
        const struct bad_server *server = &bad_servers[i];
        world_sink_profile(world, sink, server->profile);
        uint64_t sent_unix_ms = clock_unix_ms();
        const char *id = send_to(world, world_text(world, "u@d%zu.test", i));
        struct reply *read = world_await(world, id, "message.send_status", server->status);
        check_attempt(server, read, sent_unix_ms);
    }
    world_end(world);
}

/* ---- many attempts --------------------------------------------------------------------------- */

Test(delivery, a_mail_that_is_put_off_is_tried_again_until_it_is_taken)
{
    struct peer *sink;
    struct world *world = world_with(&sink, "60", "5000");
    world_set(world, "retry_max_ms", "200");
    world_sink_profile(world, sink, "tempfail:3");
    const char *id = send_to(world, "bob@dest.test");
    struct reply *read = world_await(world, id, "deliveries.0.status", "delivered");
    cr_assert_eq(reply_int(read, "deliveries.0.attempts"), 4);
    cr_assert_eq(reply_count(read, "deliveries.0.log"), 4);
    for (int i = 0; i < 4; i++) {
        const char *path = world_text(world, "deliveries.0.log.%d.outcome", i);
        cr_assert_str_eq(reply_text(read, path), i < 3 ? "deferred" : "delivered");
        path = world_text(world, "deliveries.0.log.%d.attempt", i);
        cr_assert_eq(reply_int(read, path), i + 1);
    }
    cr_assert_geq(reply_int(read, "deliveries.0.log.1.at"),
                  reply_int(read, "deliveries.0.log.0.ended_at") + 48, "the pause was cut short");
    cr_assert_eq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}

Test(delivery, a_mail_that_nobody_takes_has_failed_at_the_end_of_its_time)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "150");
    world_set(world, "retry_max_ms", "300");
    world_set(world, "retry_age_ms", "1500");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "tempfail:1000");
    uint64_t sent_unix_ms = clock_unix_ms();
    const char *id = send_to(world, "bob@dest.test");
    struct reply *read = world_await(world, id, "message.send_status", "failed");
    cr_assert_geq(clock_unix_ms(), sent_unix_ms + 1500);
    cr_assert_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "4.4.7");
    cr_assert_not_null(strstr(reply_text(read, "deliveries.0.last_response"), "not yet"));
    cr_assert(json_is_null(reply_at(read, "deliveries.0.next_attempt_at")));
    cr_assert_gt(reply_int(read, "deliveries.0.attempts"), 2);
    cr_assert_str_eq(reply_text(read, "deliveries.0.status"), "failed");
    cr_expect(slice_find(read->body, SLICE("\"email.failed\"")) != SIZE_MAX, "given up, by us");
    cr_expect(slice_find(read->body, SLICE("\"email.bounced\"")) == SIZE_MAX);
    world_end(world);
}

Test(delivery, a_retry_can_be_asked_for_once_and_by_the_owner_only)
{
    struct peer *sink;
    struct world *world = world_with(&sink, "3600000", "5000");
    world_sink_profile(world, sink, "tempfail:1");
    const char *id = send_to(world, "bob@dest.test");
    struct reply *read = world_await(world, id, "deliveries.0.status", "deferred");
    const char *path =
        world_text(world, "/api/deliveries/%s/retry", reply_text(read, "deliveries.0.id"));

    struct reply *other = world_signup(world, "else@other.test");
    struct world_call call = {
        .method = "POST", .path = path, .bearer = reply_text(other, "apiKey"), .body = SLICE("{}")};
    cr_assert_eq(world_call(world, &call)->status, 404);

    struct reply *retry = world_post(world, path, "{}");
    cr_assert_eq(retry->status, 200, "%.*s", SLICE_FMT(retry->body));
    cr_assert(json_is_true(reply_at(retry, "ok")));
    read = world_await(world, id, "deliveries.0.status", "delivered");
    cr_assert_eq(reply_int(read, "deliveries.0.attempts"), 2);

    cr_assert_eq(world_post(world, path, "{}")->status, 409, "delivered, and tried again?");
    cr_assert_eq(
        world_post(world, "/api/deliveries/dlv_0000000000000000000000/retry", "{}")->status, 404);
    cr_assert_eq(world_post(world, "/api/deliveries/x/retry", "{}")->status, 404);
    cr_assert_eq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}

Test(delivery, a_stop_during_an_attempt_is_told_in_its_log_and_made_good_afterwards)
{
    struct peer *sink;
    struct world *world = world_with(&sink, "3600000", "60000");
    world_set(world, "drain_ms", "800");
    world_stop(world);
    world_set(world, "retry_first_ms", "10");
    world_start(world);
    world_sink_profile(world, sink, "stall:dot");
    const char *id = send_to(world, "bob@dest.test");
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(world, sink, "connections") == 0 && wait_more(&wait)) {
    }
    world_stop(world); /* cleanly, though the server never answers */
    world_sink_profile(world, sink, "");
    world_start(world);
    struct reply *read = world_await(world, id, "deliveries.0.status", "delivered");
    cr_assert_eq(reply_count(read, "deliveries.0.log"), 2);
    cr_assert_str_eq(reply_text(read, "deliveries.0.log.0.outcome"), "deferred");
    cr_assert_not_null(strstr(reply_text(read, "deliveries.0.log.0.response"), "stop"), "%s",
                       reply_text(read, "deliveries.0.log.0.response"));
    cr_assert_eq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}

/* ---- several recipients ---------------------------------------------------------------------- */

static void check_mixed(struct world *world, const char *to)
{
    static const struct {
        const char *rcpt;
        const char *status;
        long long code;
    } wanted[] = {
        {"good", "delivered", 250},  {"bounce1", "bounced", 550}, {"fine", "delivered", 250},
        {"defer1", "deferred", 451}, {"bounce2", "bounced", 550},
    };
    const char *list = "";
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        list = world_text(world, "%s%s\"%s@%s\"", list, i > 0 ? "," : "", wanted[i].rcpt, to);
    }
    const char *id = world_send(world, "{'from':'a@send.test','to':[%s],'text':'x'}", list);
    struct reply *read = world_await(world, id, "deliveries.0.status", "delivered");
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        const char *rcpt = world_text(world, "%s@%s", wanted[i].rcpt, to);
        bool is_found = false;
        for (size_t n = 0; n < reply_count(read, "deliveries"); n++) {
            const char *at = world_text(world, "deliveries.%zu.", n);
            if (strcmp(reply_text(read, world_text(world, "%srecipient", at)), rcpt) == 0) {
                is_found = true;
                cr_expect_str_eq(reply_text(read, world_text(world, "%sstatus", at)),
                                 wanted[i].status, "%s", rcpt);
                cr_expect_eq(reply_int(read, world_text(world, "%slast_status_code", at)),
                             wanted[i].code, "%s", rcpt);
            }
        }
        cr_expect(is_found, "no delivery for %s", rcpt);
    }
}

Test(delivery, each_recipient_of_one_transaction_gets_its_own_verdict)
{
    static const char *const by_name[] = {"--by-name", NULL};
    static const char *const one_by_one[] = {"--by-name", "--without", "PIPELINING", NULL};
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "3600000");
    struct peer *pipelined = world_sink(world, "127.0.0.1", by_name);
    struct peer *stepwise = world_sink(world, "127.0.0.2", one_by_one);
    world_dns(world, "mx-host=p.test,mx.p.test,1\nhost-record=mx.p.test,127.0.0.1\n"
                     "mx-host=s.test,mx.s.test,1\nhost-record=mx.s.test,127.0.0.2\n"
                     "host-record=" WORLD_HOST ",127.0.0.1\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "send.test");           /* its id is not needed */
    check_mixed(world, "p.test");
    check_mixed(world, "s.test");
    cr_assert_eq(world_sink_count(world, pipelined, "mails"), 1);
    cr_assert_eq(world_sink_count(world, pipelined, "rcpts"), 2);
    cr_assert_eq(world_sink_count(world, stepwise, "rcpts"), 2);

    /* Nobody is wanted, and DATA may have been pipelined: no mail goes out. */
    for (int i = 0; i < 2; i++) {
        const char *domain = i == 0 ? "p.test" : "s.test";
        const char *id = world_send(world,
                                    "{'from':'a@send.test','to':['bounce@%s','bounce7@%s'],"
                                    "'text':'x'}",
                                    domain, domain);
        struct reply *read = world_await(world, id, "message.send_status", "bounced");
        cr_assert_str_eq(reply_text(read, "deliveries.1.status"), "bounced");
    }
    cr_assert_eq(world_sink_count(world, pipelined, "mails"), 1);
    cr_assert_eq(world_sink_count(world, stepwise, "mails"), 1);
    world_end(world);
}

/* ---- servers of small means ------------------------------------------------------------------ */

struct meagre {
    const char *name;
    const char *const arguments[5];
    const char *local; /* of the recipient */
    const char *status;
    const char *enhanced;
};

static const struct meagre meagres[] = {
    {"HELO only", {"--without", "EHLO", NULL}, "bob", "delivered", "2.0.0"},
    {"no SMTPUTF8, plain recipient", {"--without", "SMTPUTF8", NULL}, "bob", "delivered", "2.0.0"},
    {"no SMTPUTF8, international recipient",
     {"--without", "SMTPUTF8", NULL},
     "j\xc3\xbcrgen",
     "bounced",
     "5.6.7"},
    {"too small", {"--size", "200", NULL}, "bob", "bounced", "5.3.4"},
    {"too small and silent about it",
     {"--size", "200", "--without", "SIZE", NULL},
     "bob",
     "bounced",
     "5.3.4"},
};

Test(delivery, servers_of_small_means_get_what_they_can_take)
{
    struct world *world = world_new();
    const char *lines = "host-record=" WORLD_HOST ",127.0.0.1\n";
    for (size_t i = 0; i < ARRAY_LEN(meagres); i++) {
        const char *ip = world_text(world, "127.0.0.%zu", i + 1);
        (void)world_sink(world, ip, meagres[i].arguments); /* the world stops it */
        lines = world_text(world, "%smx-host=m%zu.test,mx%zu.test,1\nhost-record=mx%zu.test,%s\n",
                           lines, i, i, i, ip);
    }
    world_dns(world, "%s", lines);
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "send.test");           /* its id is not needed */
    for (size_t i = 0; i < ARRAY_LEN(meagres); i++) {
        const struct meagre *meagre = &meagres[i];
        const char *id = send_to(world, world_text(world, "%s@m%zu.test", meagre->local, i));
        struct reply *read = world_await(world, id, "message.send_status", meagre->status);
        cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), meagre->enhanced,
                         "%s: %s", meagre->name, reply_text(read, "deliveries.0.last_response"));
    }
    world_end(world);
}
