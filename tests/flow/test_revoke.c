/* Flow: a key that is taken back is dead on every loop when the answer comes.
 *
 * Not covered here: the same under ThreadSanitizer (tests/race/race_revoke.c); each piece of it
 * (tests/unit/shards/test_ended.c, tests/unit/edge/test_credentials.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>

#include "base/clock.h"
#include "support/client.h"
#include "support/hammer.h"

#define ROUNDS  5
#define CLIENTS 16

static struct world *new_world(void)
{
    struct world *world = world_new();
    world_set(world, "loops", "4");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    return world;
}

static void hammer(enum hammer_end end)
{
    struct world *world = new_world();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        cr_assert_geq(hammer_round(world, end, CLIENTS), CLIENTS);
    }
    world_end(world);
}

Test(revoke, ends_a_revoked_key_on_every_loop)
{
    hammer(HAMMER_REVOKE);
}

Test(revoke, ends_a_disabled_key_on_every_loop)
{
    hammer(HAMMER_DISABLE);
}

Test(revoke, ends_a_key_that_was_rotated_without_overlap_on_every_loop)
{
    hammer(HAMMER_ROTATE);
}

Test(revoke, ends_a_key_whose_last_domain_was_deleted_on_every_loop)
{
    hammer(HAMMER_DOMAIN);
}

static void say_me(struct world *world, struct client *client, const char *key)
{
    client_say(client, slice_str(world_text(world,
                                            "GET /v1/me HTTP/1.1\r\nHost: x\r\n"
                                            "Authorization: Bearer %s\r\n\r\n",
                                            key)));
}

/* Before the answer, without a further request: the walk ends them, not the next refusal. */
Test(revoke, ends_idle_connections_that_used_the_key_and_no_others)
{
    struct world *world = new_world();
    static struct client clients[12];
    struct client other;
    struct reply *made = world_post(world, "/v1/keys", "{'name':'idle'}");
    struct world_call end = {.method = "DELETE",
                             .path = world_text(world, "/v1/keys/%s", reply_text(made, "id"))};
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_open(world, &clients[i], INADDR_LOOPBACK);
        say_me(world, &clients[i], reply_text(made, "key"));
        client_await(&clients[i], "HTTP/1.1 200 ", 1);
    }
    client_open(world, &other, INADDR_LOOPBACK);
    say_me(world, &other, world->key);
    client_await(&other, "HTTP/1.1 200 ", 1);
    cr_assert_eq(world_call(world, &end)->status, 200);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_await_end(&clients[i]);
        client_close(&clients[i]);
    }
    say_me(world, &other, world->key);
    client_await(&other, "HTTP/1.1 200 ", 2);
    client_close(&other);
    world_end(world);
}

Test(revoke, ends_an_idle_connection_when_its_key_expires)
{
    struct world *world = new_world();
    struct client client;
    struct reply *made = world_post(world, "/v1/keys", "{'name':'short','expiresAt':%llu}",
                                    (unsigned long long)(clock_unix_ms() + 1500));
    cr_assert_eq(made->status, 201);
    client_open(world, &client, INADDR_LOOPBACK);
    say_me(world, &client, reply_text(made, "key"));
    client_await(&client, "HTTP/1.1 200 ", 1);
    uint64_t before = clock_unix_ms();
    client_await_end(&client);
    cr_assert_leq(clock_unix_ms() - before, 10000, "long before it would have been idle too long");
    client_close(&client);
    world_end(world);
}

Test(revoke, of_the_key_that_asks_is_answered_before_its_connection_ends)
{
    struct world *world = new_world();
    struct client client;
    struct reply *made = world_post(world, "/v1/keys", "{'name':'own'}");
    const char *key = reply_text(made, "key");
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, slice_str(world_text(world,
                                             "DELETE /v1/keys/%s HTTP/1.1\r\nHost: x\r\n"
                                             "Authorization: Bearer %s\r\n\r\n",
                                             reply_text(made, "id"), key)));
    client_await(&client, "{\"ok\":true}", 1);
    client_await_end(&client);
    client_close(&client);
    world_end(world);
}

Test(revoke, a_large_body_is_refused_before_it_is_sent)
{
    struct world *world = new_world();
    struct client client;
    struct reply *made = world_post(world, "/v1/keys", "{'name':'big'}");
    const char *key = reply_text(made, "key");
    struct world_call end = {.method = "DELETE",
                             .path = world_text(world, "/v1/keys/%s", reply_text(made, "id"))};
    cr_assert_eq(world_call(world, &end)->status, 200);
    client_open(world, &client, INADDR_LOOPBACK);
    client_say(&client, slice_str(world_text(world,
                                             "POST /v1/send HTTP/1.1\r\nHost: x\r\n"
                                             "Authorization: Bearer %s\r\n"
                                             "Content-Length: 30000000\r\n\r\n",
                                             key)));
    client_await(&client, "HTTP/1.1 401 ", 1);
    client_await_end(&client);
    client_close(&client);
    world_end(world);
}
