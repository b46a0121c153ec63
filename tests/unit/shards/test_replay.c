/* test_replay.c - a route's webhook, called again for stored mails.
 *
 * Not covered here: routes themselves (tests/flow/test_routes), what is sent (test_hook_body).
 */
#include "unit/shards/receive_rig.h"

#define TIMEOUT 60

static struct msg *replay(struct receiver *to, struct id route, uint64_t since, enum err want)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_ROUTE);
    msg->body.route.op = ROUTE_REPLAY;
    msg->body.route.caller = rig_key_caller(to->account, RIGHT_ROUTES_WRITE);
    msg->body.route.id = route;
    msg->body.route.since_unix_ms = since;
    cr_assert_eq(receive_call(to, msg), want, "%s", err_info(msg->err)->name);
    return msg;
}

static uint32_t replay_count(struct receiver *to, struct id route, uint64_t since)
{
    struct msg *msg = replay(to, route, since, ERR_OK);
    uint32_t count = msg->body.route.call_count;
    cr_expect_eq(msg->body.route.next_unix_ms, 0);
    rig_put(to->rig, msg);
    return count;
}

Test(replay, calls_for_mails_that_the_route_matches, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id one = receive(&to, "a@example.com,b@example.com", "Subject: 1\r\n\r\n");
    (void)receive(&to, "c@example.com", "Subject: 2\r\n\r\n");
    (void)rig_send(to.rig, to.account, "a@example.com", "a@example.com");
    struct id route = receive_route(&to, "/^[ab]@/", ROUTE_WEBHOOK, "https://h.example.net/");
    cr_expect_eq(received_row(&to, one, &arena).hook_count, 0);
    cr_expect_eq(replay_count(&to, route, 0), 2);
    struct row_mail row = received_row(&to, one, &arena);
    cr_expect_eq(row.hook_count, 2);
    cr_expect_eq(row.hook_open, 2);
    (void)rig_entry(to.rig, one, HOOK_GROUP | 0);
    (void)rig_entry(to.rig, one, HOOK_GROUP | 1);
    cr_expect_eq(replay_count(&to, route, 0), 2, "and again");
    cr_expect_eq(replay_count(&to, route, id_unix_ms(one) + 100000), 0, "nothing since");
    arena_fini(&arena);
    receiver_close(&to);
}

Test(replay, leaves_blocked_senders_out, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct row_blocked blocked = {.created_unix_ms = 1};
    rig_set_blocked(to.rig, to.account, key_blocked(to.account, SLICE("ann@example.net")),
                    &blocked);
    (void)receive(&to, "a@example.com", RECEIVE_MAIL);
    struct id route = receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    cr_expect_eq(replay_count(&to, route, 0), 0);
    receiver_close(&to);
}

Test(replay, goes_page_by_page, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct buf rcpts;
    buf_init(&rcpts, MIB);
    for (unsigned i = 0; i < 200; i++) {
        buf_add_format(&rcpts, "%sr%u@example.com", i ? "," : "", i);
    }
    buf_add_byte(&rcpts, '\0');
    struct id ids[3];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        char mail[32];
        snprintf(mail, sizeof(mail), "Subject: %zu\r\n\r\n", i);
        do { /* each in a millisecond of its own */
            ids[i] = shard_id(rig_state(to.rig, to.account), to.account);
        } while (i > 0 && id_unix_ms(ids[i]) <= id_unix_ms(ids[i - 1]) + 1);
        ids[i] = receive(&to, rcpts.data, mail);
    }
    struct id route = receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    struct msg *msg = replay(&to, route, 0, ERR_OK);
    cr_expect_eq(msg->body.route.call_count, 400, "mails are not split");
    uint64_t next = msg->body.route.next_unix_ms;
    cr_expect_eq(next, id_unix_ms(ids[2]));
    rig_put(to.rig, msg);
    cr_expect_eq(replay_count(&to, route, next), 200);
    buf_fini(&rcpts);
    receiver_close(&to);
}

Test(replay, refuses_a_route_that_calls_nobody, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct id store = receive_route(&to, "*@example.com", ROUTE_STORE, "");
    struct id gone = shard_id(rig_state(to.rig, to.account), to.account);
    rig_put(to.rig, replay(&to, store, 0, ERR_CONFLICT));
    rig_put(to.rig, replay(&to, gone, 0, ERR_NOT_FOUND));
    receiver_close(&to);
}
