/* Flow: a site is stuck, and the operator sees to it: pause, resume, retry, expire, move.
 *
 * Not covered here: pages, ends of pauses, damaged notes (deliver_test_queue), who may be an
 * administrator (test_admin).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "support/world.h"

#define QUEUE "/api/admin/queue/"

/* As an administrator: the first who signed up. An apostrophe stands for a quotation mark. */
static struct reply *tell(struct world *world, const char *verb, const char *body)
{
    char *text = arena_bytes(&world->arena, strlen(body) + 1);
    for (size_t i = 0; i <= strlen(body); i++) {
        text[i] = body[i] == '\'' ? '"' : body[i];
    }
    struct world_call call = {.method = "POST",
                              .path = world_text(world, QUEUE "%s", verb),
                              .bearer = world->token,
                              .body = slice_str(text)};
    return world_call(world, &call);
}

static struct reply *done(struct world *world, const char *verb, const char *body)
{
    struct reply *reply = tell(world, verb, body);
    cr_assert_eq(reply->status, 200, "%s %s: %ld %.*s", verb, body, reply->status,
                 SLICE_FMT(reply->body));
    return reply;
}

static struct reply *list(struct world *world, const char *what)
{
    struct world_call call = {
        .method = "GET", .path = world_text(world, QUEUE "%s", what), .bearer = world->token};
    struct reply *reply = world_call(world, &call);
    cr_assert_eq(reply->status, 200, "%s: %.*s", what, SLICE_FMT(reply->body));
    return reply;
}

static const char *send_one(struct world *world, int number)
{
    return world_send(world, "{'from':'a@send.test','to':'u%d@dest.test','subject':'s','text':'x'}",
                      number);
}

/* Sends one mail that arrives, and returns how its site is called. */
static const char *find_site(struct world *world)
{
    (void)world_await(world, send_one(world, 0), "message.send_status", "delivered");
    struct reply *sites = list(world, "sites");
    cr_assert_eq(reply_count(sites, "data"), 1);
    return reply_text(sites, "data.0.site");
}

static void await_due(struct world *world, long long due)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    long long seen = -1;
    while (seen != due && wait_more(&wait)) {
        seen = reply_int(list(world, "sites"), "data.0.due.transactional");
    }
    cr_assert_eq(seen, due);
}

static bool has_event(const struct reply *reply, const char *type)
{
    for (size_t i = 0; i < reply_count(reply, "events"); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "events.%zu.type", i);
        if (strcmp(reply_text(reply, path), type) == 0) {
            return true;
        }
    }
    return false;
}

Test(queue, a_pause_holds_mail_back_over_a_restart_and_a_resume_lets_it_go)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *site = find_site(world);
    const char *body = world_text(world, "{'site':'%s','reason':'they asked us to'}", site);
    (void)done(world, "pause", body);
    const char *id = send_one(world, 1);
    await_due(world, 1);
    cr_expect(json_is_true(reply_at(list(world, "sites"), "data.0.paused")));

    world_stop(world);
    world_start(world);
    await_due(world, 1);
    struct reply *holds = list(world, "holds");
    cr_assert_eq(reply_count(holds, "data"), 1);
    cr_expect_str_eq(reply_text(holds, "data.0.type"), "pause");
    cr_expect_str_eq(reply_text(holds, "data.0.site"), site);
    cr_expect_str_eq(reply_text(holds, "data.0.reason"), "they asked us to");
    cr_expect_str_eq(reply_text(holds, "data.0.by"), "owner@customer.test");
    cr_expect_eq(world_sink_count(world, sink, "mails"), 1);

    struct reply *resumed = done(world, "resume", world_text(world, "{'site':'%s'}", site));
    cr_expect_eq(reply_int(resumed, "entries"), 1);
    (void)world_await(world, id, "message.send_status", "delivered");
    cr_expect_eq(reply_count(list(world, "holds"), "data"), 0);
    cr_expect_eq(tell(world, "resume", world_text(world, "{'site':'%s'}", site))->status, 404);
    world_end(world);
}

Test(queue, a_retry_sends_at_once_what_was_put_off_for_an_hour)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "1800000");
    struct peer *sink = world_ready_to_send(world);
    const char *site = find_site(world);
    world_sink_profile(world, sink, "tempfail:1000");
    const char *id = send_one(world, 1);
    (void)world_await(world, id, "deliveries.0.status", "deferred");
    const char *later = world_send(world, "{'from':'a@send.test','to':'l@dest.test','subject':'s',"
                                          "'text':'x','scheduledAt':'in 30 minutes'}");
    world_sink_profile(world, sink, "");
    (void)done(world, "retry", world_text(world, "{'site':'%s'}", site));
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_expect_eq(reply_int(read, "deliveries.0.attempts"), 2);
    struct reply *waiting = world_get(world, "/v1/scheduled/%s", later);
    cr_expect_str_eq(reply_text(waiting, "status"), "scheduled", "it keeps its time: %.*s",
                     SLICE_FMT(waiting->body));
    cr_expect_eq(world_sink_count(world, sink, "mails"), 2);
    world_end(world);
}

Test(queue, what_is_expired_has_failed_as_any_old_mail)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "1800000");
    struct peer *sink = world_ready_to_send(world);
    const char *site = find_site(world);
    world_sink_profile(world, sink, "tempfail:1000");
    const char *put_off = send_one(world, 1);
    (void)world_await(world, put_off, "deliveries.0.status", "deferred");
    (void)done(world, "pause", world_text(world, "{'site':'%s'}", site));
    const char *held = send_one(world, 2);
    await_due(world, 1);
    struct reply *expired = done(world, "expire", world_text(world, "{'site':'%s'}", site));
    cr_expect_eq(reply_int(expired, "entries"), 2);
    const char *const ids[] = {put_off, held};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct reply *read = world_await(world, ids[i], "message.send_status", "failed");
        cr_expect_str_eq(reply_text(read, "deliveries.0.status"), "failed");
        cr_expect_str_eq(reply_text(read, "deliveries.0.enhanced_status"), "4.4.7");
        cr_expect_str_eq(reply_text(read, "deliveries.0.last_response"),
                         "given up by the operator");
        cr_expect(has_event(read, "email.failed"));
    }
    cr_expect_eq(world_get(world, "/api/contacts/suppressions/u1@dest.test")->status, 404,
                 "it is not the address's fault");
    world_end(world);
}

Test(queue, a_site_that_is_moved_is_sent_from_another_pool)
{
    struct world *world = world_new();
    const char *policy = world_text(world, "%s/sites.conf", world->dir);
    world_write_file(world, policy,
                     SLICE("pool other\n  source 127.0.0.2 helo out2.meerkat.test\n"));
    world_set(world, "site_policy", "%s", policy);
    struct peer *sink = world_ready_to_send(world);
    const char *site = find_site(world);
    (void)done(world, "pause", world_text(world, "{'site':'%s'}", site));
    const char *id = send_one(world, 1);
    await_due(world, 1);
    cr_expect_eq(
        tell(world, "move", world_text(world, "{'site':'%s','pool':'none-such'}", site))->status,
        400);
    (void)done(world, "move", world_text(world, "{'site':'%s','pool':'other'}", site));
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.source"), "127.0.0.2");
    cr_expect_str_eq(reply_text(read, "message.priority"), "transactional");
    struct slice mail = world_sink_mail(world, sink, 2);
    cr_expect_neq(slice_find(mail, SLICE("X-Sink-Helo: out2.meerkat.test\r\n")), SIZE_MAX);

    world_stop(world);
    world_start(world);
    read = world_await(world, send_one(world, 2), "message.send_status", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.log.0.source"), "127.0.0.2");
    (void)done(world, "resume", world_text(world, "{'site':'%s'}", site));
    (void)done(world, "move", world_text(world, "{'site':'%s','pool':null}", site));
    read = world_await(world, send_one(world, 3), "message.send_status", "delivered");
    cr_expect_null(reply_at(read, "deliveries.0.log.0.source.x"));
    cr_expect(json_is_null(reply_at(read, "deliveries.0.log.0.source")));
    world_end(world);
}

/* ---- accounts, mistakes, the tool ------------------------------------------------------------ */

static int ctl(struct world *world, const char *verb, const char *option, struct slice *text)
{
    const char *argv[] = {
        world_program(world, "meerkatctl"), "--data", world->data, "queue", verb, option, NULL};
    return world_tool(world, argv, SLICE(""), text);
}

Test(queue, an_account_is_paused_and_its_log_says_so)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    (void)find_site(world);
    struct world_call me = {.method = "GET", .path = "/v1/me", .bearer = world->token};
    const char *account = reply_text(world_call(world, &me), "account.id");
    const char *body = world_text(world, "{'account':'%s','reason':'looks odd'}", account);
    (void)done(world, "pause", body);
    const char *id = send_one(world, 1);
    await_due(world, 1);
    struct reply *accounts = list(world, "accounts");
    cr_assert_eq(reply_count(accounts, "data"), 1);
    cr_expect_str_eq(reply_text(accounts, "data.0.account"), account);
    cr_expect_eq(reply_int(accounts, "data.0.due"), 1);
    cr_expect(json_is_true(reply_at(accounts, "data.0.paused")));
    struct reply *log = world_get(world, "/api/audit");
    cr_expect_str_eq(reply_text(log, "0.type"), "queue.paused");
    cr_expect_str_eq(reply_text(log, "0.detail"), "all sites, 0 entries: looks odd");

    struct slice text;
    cr_expect_eq(ctl(world, "holds", "--json", &text), 0);
    cr_expect_neq(slice_find(text, SLICE("looks odd")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    cr_expect_eq(ctl(world, "sites", "--search=test", &text), 0);
    cr_expect_neq(slice_find(text, SLICE("SITE")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    cr_expect_eq(ctl(world, "ages", "--json", &text), 0, "%.*s", SLICE_FMT(text));
    cr_expect_neq(slice_find(text, SLICE("\"onDisk\": 1")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    cr_expect_neq(slice_find(text, SLICE("\"due\": 1")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    const char *option = world_text(world, "--account=%s", account);
    cr_expect_eq(ctl(world, "ages", option, &text), 0, "%.*s", SLICE_FMT(text));
    cr_expect_neq(slice_find(text, SLICE("1 in memory: 1 due")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    cr_expect_eq(ctl(world, "resume", option, &text), 0, "%.*s", SLICE_FMT(text));
    cr_expect_neq(slice_find(text, SLICE("resumed: 1 mail")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    (void)world_await(world, id, "message.send_status", "delivered");
    cr_expect_eq(ctl(world, "resume", option, &text), 1, "it is not paused any more");
    cr_expect_eq(ctl(world, "expire", "--json", &text), 2, "of what?");
    world_end(world);
}

static const struct {
    const char *verb;
    const char *body;
    long status;
} mistakes[] = {
    {"pause", "{}", 400},
    {"pause", "{'site':'nobody.example'}", 404},
    {"expire", "{'account':'acc_00000000001'}", 404},
    {"expire", "{'account':'me'}", 400},
    {"retry", "{'site':'nobody.example','pool':'x'}", 400},
    {"retry", "{'site':'nobody.example','until':'in 2 hours'}", 400},
    {"pause", "{'site':'nobody.example','until':1}", 400},
    {"pause", "{'site':'no\\u0000body'}", 400},
    {"move", "{'site':'nobody.example'}", 400},
    {"move", "{'site':'nobody.example','pool':null}", 404},
    {"move", "{'account':'acc_00000000001','pool':null}", 404},
};

Test(queue, mistakes_are_told)
{
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct reply *reply = tell(world, mistakes[i].verb, mistakes[i].body);
        cr_expect_eq(reply->status, mistakes[i].status, "%s %s: %ld %.*s", mistakes[i].verb,
                     mistakes[i].body, reply->status, SLICE_FMT(reply->body));
    }
    struct reply *by_key = world_get(world, QUEUE "sites");
    cr_expect_eq(by_key->status, 403);
    world_end(world);
}
