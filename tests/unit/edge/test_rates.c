/* Rates as clients see them: headers, 429, and what an address may do that no account answers for.
 *
 * Not covered here: how much an account has left (tests/unit/shards/test_rates).
 */
#include "unit/edge/edge_rig.h"

#include "edge/address_rate.h"

#define ME      "GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
#define NO_KEY  "GET /v1/me HTTP/1.1\r\nHost: x\r\n\r\n"
#define HEALTH  "GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
#define METRICS "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

static void answer_with(struct rig *rig, uint32_t number, enum err err, struct rate_view rate)
{
    rig_await(rig, number)->rate = rate;
    rig_answer(rig, number, err);
}

Test(rates, stand_in_every_answer_of_an_account)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    answer_with(&rig, 1, ERR_OK, (struct rate_view){60, 59, 1, 0});
    client_expect(&client, 1, 202);
    cr_assert(client_says(&client, 1, "ratelimit-limit: 60\r\n"));
    cr_assert(client_says(&client, 1, "ratelimit-remaining: 59\r\n"));
    cr_assert(client_says(&client, 1, "ratelimit-reset: 1\r\n"));
    client_say(&client, ME, rig.key.text);
    answer_with(&rig, 2, ERR_SCOPE, (struct rate_view){60, 58, 2, 0});
    client_expect(&client, 2, 403);
    cr_assert(client_says(&client, 2, "ratelimit-remaining: 58\r\n"));
    client_say(&client, ME, rig.key.text);
    answer_with(&rig, 3, ERR_RATE, (struct rate_view){60, 0, 60, 17});
    client_expect(&client, 3, 429);
    cr_assert(client_says(&client, 3, "retry-after: 17\r\n"));
    cr_assert(client_says(&client, 3, "\"code\":\"rate_limited\""));
    cr_assert(client_says(&client, 3, "ratelimit-remaining: 0\r\n"));
    client_send(&client, "");
    answer_with(&rig, 4, ERR_QUOTA, (struct rate_view){60, 57, 3, 7200});
    client_expect(&client, 4, 429);
    cr_assert(client_says(&client, 4, "retry-after: 7200\r\n"));
    cr_assert_not(client.is_ended, "one may come back over the same connection");
    client_close(&client);
    rig_end(&rig);
}

Test(rates, of_an_address_bound_what_is_refused_before_any_shard)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    set(&rig, "rate_address_per_min", "3");
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 1; i <= 3; i++) {
        client_say(&client, NO_KEY);
        client_expect(&client, i, 401);
        cr_assert(client_says(&client, i, "ratelimit-limit: 3\r\n"));
    }
    client_say(&client, NO_KEY);
    client_expect(&client, 4, 429);
    cr_assert(client_says(&client, 4, "retry-after: 20\r\n"));
    client_say(&client, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    client_expect(&client, 5, 429);
    client_say(&client, "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    client_expect(&client, 6, 429);
    client_send(&client, ""); /* its account answers for it */
    rig_answer(&rig, 1, (rig_await(&rig, 1), ERR_OK));
    client_expect(&client, 7, 202);
    pass(&rig, 20000);
    client_say(&client, NO_KEY);
    client_expect(&client, 8, 401);
    client_close(&client);
    rig_end(&rig);
}

Test(rates, of_an_address_bound_guesses_that_reach_a_shard)
{
    struct rig rig;
    rig_init(&rig);
    set(&rig, "rate_address_per_min", "2");
    rig_start(&rig);
    for (uint32_t i = 1; i <= 3; i++) {
        struct client client;
        client_open(&rig, &client);
        client_say(&client, ME, rig.key.text);
        rig_answer(&rig, i, (rig_await(&rig, i), ERR_UNAUTHORIZED));
        client_expect(&client, 1, i < 3 ? 401 : 429);
        client_expect_end(&client);
        client_close(&client);
        WAIT_FOR(&rig, rig.edge->session_count == 0);
    }
    rig_end(&rig);
}

Test(rates, do_not_count_probes_and_scrapes)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    set(&rig, "rate_address_per_min", "1");
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < 5; i++) {
        client_say(&client, HEALTH METRICS);
        client_expect(&client, 2 * i + 2, 200);
    }
    cr_assert_eq(client_count(&client, "ratelimit-"), 0);
    client_say(&client, NO_KEY);
    client_expect(&client, 11, 401);
    client_close(&client);
    rig_end(&rig);
}

static uint64_t owner_of(const char *text)
{
    struct ip6 ip;
    cr_assert_eq(ip6_parse(slice_str(text), &ip), ERR_OK);
    return address_rate_owner(&ip);
}

Test(rates, of_an_address_are_those_of_its_network_in_v6)
{
    cr_assert_eq(owner_of("2001:db8:1:2::1"), owner_of("2001:db8:1:2:ffff::9"));
    cr_assert_neq(owner_of("2001:db8:1:2::1"), owner_of("2001:db8:1:3::1"));
    cr_assert_neq(owner_of("192.0.2.1"), owner_of("192.0.2.2"));
    cr_assert_eq(owner_of("::ffff:192.0.2.1"), owner_of("192.0.2.1"));
}
