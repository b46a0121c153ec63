/* test_drain.c - a drain by the operator, as an edge sees it: who is served, who is turned away.
 *
 * Not covered here: when it begins and ends (flow_test_control), SMTP sessions in the middle of a
 * mail (test_smtp_in), the end of the process (test_edge).
 */
#include "unit/edge/edge_rig.h"

static void say_all(struct rig *rig, enum control_op op)
{
    uint32_t home = rig->controls_home;
    control(rig, op, 0);
    WAIT_FOR(rig, rig->controls_home == home + 1);
}

static void expect_once(struct rig *rig, const char *request, int status)
{
    struct client client;
    client_open(rig, &client);
    client_say(&client, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", request);
    client_expect(&client, 1, status);
    client_expect_end(&client); /* whoever comes again may be sent elsewhere */
    client_close(&client);
    WAIT_FOR(rig, rig->edge->session_count == 0);
}

Test(drain, in_the_notice_health_says_so_and_work_is_taken_over_connections_that_close)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    say_all(&rig, CONTROL_NOTICE);
    expect_once(&rig, "GET /api/health", 503);
    client_open(&rig, &client);
    client_send(&client, "");
    (void)rig_await(&rig, 1); /* it is on its way to the shard */
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

Test(drain, behind_it_what_changes_something_is_turned_away_and_the_rest_is_served)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    say_all(&rig, CONTROL_TURN_AWAY);
    client_open(&rig, &client);
    client_send(&client, "");
    client_expect(&client, 1, 503);
    cr_expect(client_says(&client, 1, "\"code\":\"draining\""));
    cr_expect(client_says(&client, 1, "retry-after: "));
    client_expect_end(&client);
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    expect_once(&rig, "POST /api/auth/login", 503);
    expect_once(&rig, "GET /api/health", 503);
    expect_once(&rig, "GET /openapi.json", 200);
    expect_once(&rig, "GET /u/none", 404); /* a bad link, but looked at */
    expect_once(&rig, "POST /u/none", 404);
    expect_once(&rig, "DELETE /api/admin/drain", 401); /* who may, can take it back */
    cr_expect_eq(rig.got_count, 0);
    rig_end(&rig);
}

Test(drain, taken_back_it_leaves_no_trace)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    say_all(&rig, CONTROL_NOTICE);
    say_all(&rig, CONTROL_TURN_AWAY);
    say_all(&rig, CONTROL_WELCOME);
    client_open(&rig, &client);
    client_say(&client, "GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n");
    client_expect(&client, 1, 200);
    client_send(&client, "");
    (void)rig_await(&rig, 1); /* likewise */
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 2, 202);
    client_close(&client);
    rig_end(&rig);
}
