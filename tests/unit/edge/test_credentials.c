/* What an edge does with credentials that have ended, and with those it does not know yet.
 *
 * Not covered here: the syntax of credentials (test_auth), what a shard says of them
 * (tests/unit/shards/test_key), that no request slips through between the two (tests/race/
 * race_revoke, tests/flow/test_revoke).
 */
#include "unit/edge/edge_rig.h"

#define BIG UINT64_C(300000)

/* The edge answers it in its next turn. */
static void end_credential(struct rig *rig, struct credential credential, uint64_t at_unix_ms)
{
    uint32_t before = rig->ended_home;
    struct msg *msg = msg_take(&rig->world, MSG_EDGE_ENDED);
    cr_assert_not_null(msg);
    struct credential *list = arena_alloc(&msg->arena, sizeof *list);
    *list = credential;
    msg->body.ended = (struct edge_ended){.list = list, .count = 1, .at_unix_ms = at_unix_ms};
    actor_post(edge_actor(rig->edge), msg);
    WAIT_FOR(rig, rig->ended_home == before + 1);
}

static void big_head(struct client *client, const char *more)
{
    client_say(client, "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n",
               client->rig->key.text, more);
}

Test(credentials, ended_end_the_connections_that_used_them)
{
    struct rig rig;
    struct client used;
    struct client other;
    struct client fresh;
    struct auth_key other_key;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &used);
    client_open(&rig, &other);
    client_open(&rig, &fresh);
    client_send(&used, "");
    rig_answer(&rig, 1, (rig_await(&rig, 1), ERR_OK));
    client_expect(&used, 1, 202);
    auth_key_make(MODE_LIVE, (struct account_id){RIG_ACCOUNT}, &other_key);
    client_say(&other, "GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
               other_key.text);
    (void)rig_await(&rig, 2);
    end_credential(&rig, credential_key(&rig.key.hash), 0);
    client_expect_end(&used);
    rig_answer(&rig, 2, ERR_NOT_FOUND);
    client_expect(&other, 1, 404);
    cr_assert_not(other.is_ended);
    client_send(&fresh, ""); /* whether it counts is its shard's to say */
    rig_answer(&rig, 3, (rig_await(&rig, 3), ERR_OK));
    client_expect(&fresh, 1, 202);
    client_close(&used);
    client_close(&other);
    client_close(&fresh);
    rig_end(&rig);
}

Test(credentials, ended_let_what_is_in_flight_be_answered_and_nothing_more_in)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_send(&client, "");
    (void)rig_await(&rig, 2);
    client_say(&client,
               "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: 50\r\n\r\n{\"from\":",
               rig.key.text); /* half a request */
    settle(&rig);
    end_credential(&rig, credential_key(&rig.key.hash), 0);
    client_send(&client, "");
    settle(&rig);
    cr_assert_eq(rig.got_count, 2);
    rig_answer(&rig, 2, ERR_OK);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 2, 202);
    cr_assert(client_says(&client, 2, "onnection: close"));
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

Test(credentials, are_all_remembered_that_a_connection_brings_in_turn)
{
    struct rig rig;
    struct client client;
    struct auth_key second;
    rig_init(&rig);
    rig_start(&rig);
    auth_key_make(MODE_TEST, (struct account_id){RIG_ACCOUNT}, &second);
    client_open(&rig, &client);
    client_send(&client, "");
    rig_answer(&rig, 1, (rig_await(&rig, 1), ERR_OK));
    client_expect(&client, 1, 202);
    client_say(&client, "GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
               second.text);
    rig_answer(&rig, 2, (rig_await(&rig, 2), ERR_NOT_FOUND));
    client_expect(&client, 2, 404);
    end_credential(&rig, credential_key(&rig.key.hash), 0); /* not the last one used */
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

Test(credentials, are_told_of_while_the_edge_drains)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    (void)rig_await(&rig, 1);
    control(&rig, CONTROL_DRAIN, 100000);
    settle(&rig);
    end_credential(&rig, credential_key(&rig.key.hash), 0);
    pass(&rig, 1000); /* the notice is over */
    end_credential(&rig, credential_key(&rig.key.hash), 0);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    client_expect_end(&client);
    client_close(&client);
    WAIT_FOR(&rig, rig.controls_home == 2);
    rig_end(&rig);
}

Test(credentials, that_expire_end_the_idle_connection_then)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    rig_await(&rig, 1)->credential_expires_unix_ms = rig.unix_ms + 5000;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    pass(&rig, 4900);
    client_read(&client);
    cr_assert_not(client.is_ended);
    pass(&rig, 200);
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

Test(credentials, that_will_end_may_be_used_until_then)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    rig_answer(&rig, 1, (rig_await(&rig, 1), ERR_OK));
    client_expect(&client, 1, 202);
    end_credential(&rig, credential_key(&rig.key.hash), rig.unix_ms + 3000);
    client_send(&client, "");
    rig_answer(&rig, 2, (rig_await(&rig, 2), ERR_OK));
    client_expect(&client, 2, 202);
    pass(&rig, 3100);
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

Test(credentials, that_a_shard_refuses_end_the_connection_after_the_answer)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_send(&client, "");
    (void)rig_await(&rig, 2);
    rig_answer(&rig, 1, ERR_UNAUTHORIZED);
    settle(&rig);
    client_send(&client, ""); /* not read */
    settle(&rig);
    cr_assert_eq(rig.got_count, 2);
    rig_answer(&rig, 2, ERR_UNAUTHORIZED);
    client_expect(&client, 2, 401);
    cr_assert_not(client_says(&client, 1, "onnection: close"));
    cr_assert(client_says(&client, 2, "onnection: close"));
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

/* ---- before a body is read ------------------------------------------------------------------ */

static const struct {
    const char *name;
    const char *more;
} bodies[] = {
    {"large", "Content-Length: 300000\r\n"},
    {"of unknown length", "Transfer-Encoding: chunked\r\n"},
    {"that waits", "Content-Length: 9\r\nExpect: 100-continue\r\n"},
};

static const struct {
    enum err err;
    int status;
} refusals[] = {{ERR_UNAUTHORIZED, 401}, {ERR_SCOPE, 403}, {ERR_KEY_IP, 403}, {ERR_RATE, 429}};

Test(credentials, are_checked_before_a_body_that_costs_is_read)
{
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        for (size_t n = 0; n < ARRAY_LEN(refusals); n++) {
            struct client client;
            client_open(&rig, &client);
            rig.check_err = refusals[n].err;
            big_head(&client, bodies[i].more);
            client_expect(&client, 1, refusals[n].status);
            cr_assert(client_says(&client, 1, "onnection: close"), "%s", bodies[i].name);
            client_expect_end(&client);
            cr_assert_eq(client_count(&client, " 100 "), 0, "%s", bodies[i].name);
            client_close(&client);
            WAIT_FOR(&rig, rig.edge->session_count == 0);
        }
    }
    cr_assert_eq(rig.check_count, ARRAY_LEN(bodies) * ARRAY_LEN(refusals));
    cr_assert_eq(rig.got_count, 0);
    cr_assert_eq(rig.edge->body_bytes, 0);
    rig_end(&rig);
}

Test(credentials, that_count_let_the_large_body_in)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    static char text[BIG + 1];
    memset(text, 'x', BIG);
    for (int i = 1; i <= 3; i++) {
        client_say(&client,
                   "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                   "Content-Length: %zu\r\n\r\n"
                   "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"",
                   rig.key.text, sizeof SEND_BODY - 3 + BIG);
        client_write(&client, slice_of(text, BIG));
        client_say(&client, "\"}");
        struct msg *msg = rig_await(&rig, (uint32_t)i);
        cr_assert_eq(msg->body.send.text.len, BIG);
        cr_assert(msg->body.send.caller.is_charged, "the check was counted");
        rig_answer(&rig, (uint32_t)i, ERR_OK);
        client_expect(&client, (uint32_t)i, 202);
    }
    cr_assert_eq(rig.check_count, 3);
    client_send(&client, "");
    cr_assert_not((rig_await(&rig, 4))->body.send.caller.is_charged);
    rig_answer(&rig, 4, ERR_OK);
    client_expect(&client, 4, 202);
    cr_assert_eq(rig.check_count, 3, "a small request is one message");
    client_close(&client);
    rig_end(&rig);
}

Test(credentials, are_forgotten_when_the_client_leaves_before_they_are_judged)
{
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    for (int i = 0; i < 20; i++) {
        struct client client;
        client_open(&rig, &client);
        big_head(&client, "Content-Length: 300000\r\n");
        client_close(&client);
        WAIT_FOR(&rig, rig.edge->session_count == 0);
    }
    rig_end(&rig);
}
