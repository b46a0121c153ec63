/* Flow: why a mail is not delivered yet, asked with the operator's tool; and that what it advises
 * works.
 *
 * Not covered here: every state's words (tests/unit/edge/test_explain_words.c), where an entry
 * stands (tests/unit/deliver/test_explain.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "support/client.h"
#include "support/world.h"

/* The tool with these words, parted by blanks; its exit status. */
static int ctl(struct world *world, const char *words, struct slice *text)
{
    return world_ctl(world, NULL, words, SLICE(""), text);
}

struct said {
    int status;
    json_t *json;
    const char *state; /* of the first delivery */
    const char *text;
    const char *advice;
};

static const char *text_of(json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text != NULL ? text : "";
}

static struct said explain(struct world *world, const char *id)
{
    struct slice text;
    struct said said = {.status = ctl(world, world_text(world, "--json explain %s", id), &text)};
    said.json = json_loadb(text.data, text.len, 0, NULL);
    cr_assert_not_null(said.json, "explain %s: %d %.*s", id, said.status, SLICE_FMT(text));
    json_array_append_new(world->documents, said.json);
    json_t *first = json_array_get(json_object_get(said.json, "deliveries"), 0);
    said.state = text_of(first, "state");
    said.text = text_of(first, "text");
    said.advice = text_of(first, "advice");
    return said;
}

/* As the tool asks, without its start: that takes longer than the answer. */
static const char *state_of(struct world *world, const char *id)
{
    struct world_call call = {.method = "GET",
                              .path = world_text(world, "/api/admin/messages/%s/explain", id),
                              .bearer = world->token};
    return reply_text(world_call(world, &call), "deliveries.0.state");
}

/* Asks until the first delivery is in that state. */
static struct said await_state(struct world *world, const char *id, const char *state)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (strcmp(state_of(world, id), state) != 0 && wait_more(&wait)) {
    }
    struct said said = explain(world, id);
    cr_assert_str_eq(said.state, state, "%s: %s", said.text, said.advice);
    return said;
}

static void expect_has(const char *text, const char *part)
{
    cr_expect_not_null(strstr(text, part), "\"%s\" is not in: %s", part, text);
}

/* Follows an advice that is a command, from the tool's name on. */
static void follow(struct world *world, const char *advice)
{
    struct slice text;
    const char *command = strstr(advice, "meerkatctl ");
    cr_assert_not_null(command, "%s", advice);
    int status = ctl(world, command + strlen("meerkatctl "), &text);
    cr_assert_eq(status, 0, "%s: %.*s", advice, SLICE_FMT(text));
}

static const char *send_to(struct world *world, const char *who)
{
    return world_send(world, "{'from':'a@send.test','to':'%s@dest.test','subject':'s','text':'x'}",
                      who);
}

static void delivered(struct world *world, const char *id)
{
    struct said said = await_state(world, id, "delivered");
    cr_expect_eq(said.status, 0);
    cr_expect_not(json_is_true(json_object_get(said.json, "needsAction")));
}

Test(explain, what_was_put_off_is_told_with_its_answer_and_a_retry_sends_it)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "1800000");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "greylist");
    const char *grey = send_to(world, "grey");
    struct said said = await_state(world, grey, "waiting");
    cr_expect_eq(said.status, 0, "it goes by itself");
    expect_has(said.text, "answered 451");
    expect_has(said.text, "greylisting");
    expect_has(said.text, "It is tried again in ");
    world_sink_profile(world, sink, "tempfail:1");
    const char *late = send_to(world, "late");
    said = await_state(world, late, "waiting");
    expect_has(said.text, "Try 1, ");
    world_sink_profile(world, sink, "");
    follow(world, said.advice);
    delivered(world, late);
    const char *delivery =
        text_of(json_array_get(json_object_get(explain(world, grey).json, "deliveries"), 0), "id");
    struct said by_delivery = explain(world, delivery);
    cr_expect_str_eq(by_delivery.state, "waiting", "a delivery's id is as good");
    cr_expect_eq(json_array_size(json_object_get(by_delivery.json, "deliveries")), 1);
    follow(world, by_delivery.advice);
    delivered(world, grey);

    world_sink_profile(world, sink, "reject");
    const char *refused = send_to(world, "refused");
    said = await_state(world, refused, "bounced");
    cr_expect_eq(said.status, 4, "somebody has to act");
    expect_has(said.text, "refused for good");
    expect_has(said.text, "answered 550");
    struct slice text;
    cr_expect_eq(ctl(world, world_text(world, "explain %s", refused), &text), 4);
    cr_expect_neq(slice_find(text, SLICE("bounced - somebody has to act")), SIZE_MAX, "%.*s",
                  SLICE_FMT(text));
    cr_expect_eq(ctl(world, "explain msg_0000000000000000000000", &text), 1);
    cr_expect_eq(ctl(world, "explain nonsense", &text), 1);
    world_end(world);
}

Test(explain, a_closed_site_a_pause_and_a_suspension_are_told_and_undone_by_the_advice)
{
    struct world *world = world_new();
    world_set(world, "retry_first_ms", "1800000");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "block");
    const char *stuck = NULL;
    for (int i = 0; i < 8; i++) {
        stuck = send_to(world, "stuck");
    }
    struct said said = await_state(world, stuck, "site-closed");
    cr_expect_eq(said.status, 0, "it opens by itself");
    expect_has(said.text, "failures in a row");
    expect_has(said.text, "55");
    const char *site = text_of(json_array_get(json_object_get(said.json, "deliveries"), 0), "site");
    world_sink_profile(world, sink, "");
    follow(world, said.advice);
    delivered(world, stuck);

    struct slice text;
    cr_assert_eq(ctl(world, world_text(world, "queue pause --site %s --reason look", site), &text),
                 0, "%.*s", SLICE_FMT(text));
    const char *held = send_to(world, "held");
    said = await_state(world, held, "paused");
    cr_expect_eq(said.status, 4);
    expect_has(said.text, "was paused by operator");
    expect_has(said.text, "(\"look\")");
    follow(world, said.advice);
    delivered(world, held);

    world_sink_profile(world, sink, "tempfail:1");
    const char *owed = send_to(world, "owed");
    (void)await_state(world, owed, "waiting");
    struct world_call me = {.method = "GET", .path = "/v1/me", .bearer = world->token};
    const char *account = reply_text(world_call(world, &me), "account.id");
    cr_assert_eq(ctl(world, world_text(world, "accounts suspend %s", account), &text), 0);
    said = await_state(world, owed, "suspended");
    cr_expect_eq(said.status, 4);
    follow(world, said.advice);
    said = await_state(world, owed, "waiting");
    follow(world, said.advice);
    delivered(world, owed);
    world_end(world);
}

Test(explain, a_try_under_way_a_test_and_a_schedule_are_told)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "slow:3000:data");
    const char *slow = send_to(world, "slow");
    struct said said = await_state(world, slow, "trying");
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (strstr(said.text, "has to answer (") == NULL && wait_more(&wait)) {
        said = explain(world, slow);
    }
    expect_has(said.text, "mx.dest.test [127.0.0.1] has to answer (");
    cr_expect_eq(said.status, 0);
    world_sink_profile(world, sink, "");
    const char *later = world_send(world, "{'from':'a@send.test','to':'l@dest.test','subject':'s',"
                                          "'text':'x','scheduledAt':'in 30 minutes'}");
    said = await_state(world, later, "scheduled");
    expect_has(said.text, "not before");
    const char *sandbox = world_send(world, "{'from':'a@send.test','to':'t@dest.test',"
                                            "'subject':'s','text':'x','sandbox':true}");
    said = await_state(world, sandbox, "rehearsed");
    cr_expect_eq(said.status, 0);
    struct buf to;
    buf_init(&to, 8192);
    for (int i = 0; i < 50; i++) {
        buf_add_format(&to, "%s\"many%d@dest.test\"", i > 0 ? "," : "", i);
    }
    world_sink_profile(world, sink, "tempfail:1000");
    const char *many =
        world_send(world, "{'from':'a@send.test','to':[%.*s],'subject':'s','text':'x'}",
                   SLICE_FMT(buf_slice(&to)));
    buf_fini(&to);
    said = await_state(world, many, "waiting");
    cr_expect_eq(json_array_size(json_object_get(said.json, "deliveries")), 50);
    struct slice text;
    cr_expect_eq(ctl(world, world_text(world, "explain %s", many), &text), 0);
    cr_expect_neq(slice_find(text, SLICE(" and 45 more")), SIZE_MAX, "%.*s", SLICE_FMT(text));
    world_end(world);
}

Test(explain, a_webhook_that_hangs_is_named)
{
    struct world *world = world_new();
    world_set(world, "hook_timeout_ms", "500");
    world_set(world, "test_hook_pause_percent", "100");
    struct peer *sink = world_ready_to_send(world);
    const char *domain = reply_text(world_get(world, "/api/domains"), "0.id");
    const char *body = world_text(
        world, "{\"url\":\"http://127.0.0.1:%u/in?token=hidden\",\"ackMode\":\"lenient\"}",
        (unsigned)sink->http_port);
    struct world_call set = {.method = "PUT",
                             .path = world_text(world, "/api/domains/%s/webhook", domain),
                             .body = slice_str(body)};
    cr_assert_eq(world_call(world, &set)->status, 200);
    set.path = world_text(world, "/api/domains/%s/webhook-events", domain);
    set.body = SLICE("{\"events\":[\"email.delivered\"]}");
    cr_assert_eq(world_call(world, &set)->status, 200);
    world_sink_profile(world, sink, "http-hang");
    const char *id = send_to(world, "told");
    delivered(world, id);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    json_t *hook = NULL;
    while (strcmp(text_of(hook, "state"), "waiting") != 0 && wait_more(&wait)) {
        hook = json_array_get(json_object_get(explain(world, id).json, "deliveries"), 1);
    }
    cr_assert_str_eq(text_of(hook, "kind"), "webhook");
    cr_assert_str_eq(text_of(hook, "state"), "waiting");
    expect_has(text_of(hook, "text"), "the answer took too long");
    cr_expect_null(strstr(text_of(hook, "text"), "hidden"), "secrets of an URL are its owner's");
    world_sink_profile(world, sink, "");
    follow(world, text_of(hook, "advice"));
    while (strcmp(text_of(hook, "state"), "delivered") != 0 && wait_more(&wait)) {
        hook = json_array_get(json_object_get(explain(world, id).json, "deliveries"), 1);
    }
    cr_expect_str_eq(text_of(hook, "state"), "delivered");
    cr_expect_eq(explain(world, id).status, 0);
    world_end(world);
}

/* ---- mail that came in ----------------------------------------------------------------------- */

static void receive(struct world *world)
{
    struct client client;
    client_dial(world, &client, world->smtp_port);
    client_await(&client, "220 ", 1);
    client_say(&client, SLICE("EHLO peer.test\r\nMAIL FROM:<a@peer.test>\r\n"
                              "RCPT TO:<x@send.test>\r\n"));
    client_await(&client, "recipient ok", 1);
    client_say(&client, SLICE("DATA\r\n"));
    client_await(&client, "354 ", 1);
    client_say(&client, SLICE("From: a@peer.test\r\nSubject: in\r\n\r\nx\r\n.\r\nQUIT\r\n"));
    client_await_end(&client);
    cr_assert_eq(client_count(buf_slice(&client.in), "queued as msg_"), 1, "%.*s",
                 SLICE_FMT(buf_slice(&client.in)));
    client_close(&client);
}

Test(explain, of_a_received_mail_it_says_what_its_routes_made_of_it)
{
    struct world *world = world_new();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "retry_first_ms", "1800000");
    struct peer *sink = world_ready_to_send(world);
    struct reply *made = world_post(world, "/api/routes",
                                    "{'match':'*@send.test','action':'webhook',"
                                    "'destination':'http://127.0.0.1:%u/in'}",
                                    (unsigned)sink->http_port);
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    made = world_post(world, "/api/routes",
                      "{'match':'x@send.test','action':'forward','destination':'y@dest.test'}");
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    world_sink_profile(world, sink, "http:500,tempfail:1000");
    receive(world);
    const char *id = reply_text(world_get(world, "/api/messages?direction=inbound"), "0.id");
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct said said = explain(world, id);
    uint32_t waiting = 0;
    while (waiting < 2 && wait_more(&wait)) {
        json_t *list = json_object_get(said.json, "deliveries");
        waiting = 0;
        for (size_t i = 0; i < json_array_size(list); i++) {
            waiting += strcmp(text_of(json_array_get(list, i), "state"), "waiting") == 0;
        }
        said = explain(world, id);
    }
    cr_assert_eq(waiting, 2, "a webhook and a mail that is sent on");
    json_t *note = json_array_get(json_object_get(said.json, "notes"), 0);
    cr_expect_str_eq(text_of(note, "state"), "received");
    expect_has(text_of(note, "text"), "1 webhook call of it, 1 still open");
    expect_has(text_of(note, "text"), "sent it on to 1 address.");
    cr_expect_eq(said.status, 0, "both go by themselves");
    world_sink_profile(world, sink, "");
    json_t *list = json_object_get(said.json, "deliveries");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *delivery = json_array_get(list, i);
        bool is_hook = strcmp(text_of(delivery, "kind"), "webhook") == 0;
        cr_expect_str_eq(text_of(delivery, "route"), is_hook ? "*@send.test" : "x@send.test");
        follow(world, text_of(delivery, "advice"));
        delivered(world, text_of(delivery, "id"));
    }
    world_end(world);
}
