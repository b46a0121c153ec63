/* Flow: what a test key does. A sink stands where every mail would go: nobody may knock there.
 *
 * Not covered here: the script itself (tests/unit/deliver/test_rehearse.c), which domains follow it
 * (tests/unit/shards/test_outbound.c), retries by hand (tests/unit/shards/test_mail_view.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "support/world.h"

static const char *make_key(struct world *world, const char *mode)
{
    struct reply *made = world_post(world, "/v1/keys", "{'name':'k','mode':'%s'}", mode);
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    return reply_text(made, "key");
}

static struct reply *send_as(struct world *world, const char *key, const char *to)
{
    const char *body =
        world_text(world, "{\"from\":\"a@send.test\",\"to\":\"%s\",\"text\":\"x\"}", to);
    struct world_call call = {
        .method = "POST", .path = "/v1/send", .bearer = key, .body = slice_str(body)};
    return world_call(world, &call);
}

static struct reply *get_as(struct world *world, const char *key, const char *path)
{
    struct world_call call = {.method = "GET", .path = path, .bearer = key};
    return world_call(world, &call);
}

static struct reply *await_status(struct world *world, const char *key, const char *id,
                                  const char *want)
{
    const char *path = world_text(world, "/api/messages/%s", id);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct reply *got = get_as(world, key, path);
    while (strcmp(reply_text(got, "deliveries.0.status"), want) != 0 && wait_more(&wait)) {
        got = get_as(world, key, path);
    }
    cr_expect_str_eq(reply_text(got, "deliveries.0.status"), want, "%.*s", SLICE_FMT(got->body));
    return got;
}

static size_t count_events(const struct reply *reply, const char *type)
{
    size_t count = 0;
    for (size_t i = 0; i < reply_count(reply, "events"); i++) {
        char path[48];
        (void)snprintf(path, sizeof path, "events.%zu.type", i);
        count += strcmp(reply_text(reply, path), type) == 0;
    }
    return count;
}

Test(test_mode, a_test_key_never_reaches_a_mail_server)
{
    static const struct {
        const char *to;
        const char *status;
        const char *event;
    } cases[] = {
        {"b@dest.test", "delivered", "email.delivered"}, /* the sink's own domain */
        {"bounced@dest.test", "delivered", "email.delivered"},
        {"delivered@test.invalid", "delivered", "email.delivered"},
        {"bounced+7@test.invalid", "bounced", "email.bounced"},
        {"deferred@test.invalid", "deferred", "email.delivery_delayed"},
        {"complained@test.invalid", "delivered", "email.complained"},
        {"bounced@sandbox.send.test", "bounced", "email.bounced"},
        {"bounced@sandbox.dest.test", "delivered", "email.delivered"}, /* not the account's */
    };
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *key = make_key(world, "test");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply *sent = send_as(world, key, cases[i].to);
        cr_assert_eq(sent->status, 202, "%s: %.*s", cases[i].to, SLICE_FMT(sent->body));
        struct reply *got = await_status(world, key, reply_text(sent, "id"), cases[i].status);
        cr_expect_str_eq(reply_text(got, "message.mode"), "test");
        cr_expect_eq(count_events(got, cases[i].event), 1, "%s: %.*s", cases[i].to,
                     SLICE_FMT(got->body));
    }
    struct reply *refused = send_as(world, key, "suppressed@test.invalid");
    cr_expect_eq(refused->status, 409);
    cr_expect_str_eq(reply_text(refused, "code"), "suppressed");
    cr_expect_eq(world_sink_count(world, sink, "connections"), 0, "nobody knocked");

    /* The trap is a good one: a live key walks into it. */
    (void)send_as(world, make_key(world, "live"), "b@dest.test");
    (void)world_sink_mail(world, sink, 1);
    cr_expect_eq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}

Test(test_mode, test_and_live_keys_do_not_see_each_other)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    const char *const keys[] = {make_key(world, "live"), make_key(world, "test")};
    const char *ids[ARRAY_LEN(keys)];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct reply *sent = send_as(world, keys[i], "b@dest.test");
        cr_assert_eq(sent->status, 202);
        ids[i] = reply_text(sent, "id");
        (void)await_status(world, keys[i], ids[i], "delivered");
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *other = world_text(world, "/api/messages/%s", ids[1 - i]);
        cr_expect_eq(get_as(world, keys[i], other)->status, 404);
        cr_expect_eq(get_as(world, keys[i], world_text(world, "%s/raw", other))->status, 404);
        struct reply *list = get_as(world, keys[i], "/api/messages");
        cr_assert_eq(reply_count(list, ""), 1);
        cr_expect_str_eq(reply_text(list, "0.id"), ids[i]);
        cr_expect_str_eq(reply_text(list, "0.mode"), i == 0 ? "live" : "test");
        struct reply *whole = get_as(world, keys[i], world_text(world, "/api/messages/%s", ids[i]));
        const char *delivery =
            world_text(world, "/api/deliveries/%s/retry", reply_text(whole, "deliveries.0.id"));
        struct world_call retry = {.method = "POST", .path = delivery, .bearer = keys[1 - i]};
        cr_expect_eq(world_call(world, &retry)->status, 404);
    }
    world_end(world);
}
