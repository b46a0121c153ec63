/* One HTTP connection and its edge: order, limits, deadlines, drain.
 *
 * Not covered here: the parsing of HTTP (tests/unit/net/test_http), credentials and routes
 * (test_auth, test_routes), what is in the messages (test_api_send, flow tests), TLS and other
 * addresses than loopback (flow tests).
 */
#include "unit/edge/edge_rig.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n"
#define TRACE     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"

/* ---- order ---------------------------------------------------------------------------------- */

Test(session, answers_in_the_order_of_the_requests)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (int i = 0; i < 3; i++) {
        client_send(&client, "");
    }
    (void)rig_await(&rig, 3);
    rig_answer(&rig, 3, ERR_OK);
    rig_answer(&rig, 2, ERR_SUPPRESSED);
    settle(&rig);
    cr_assert_eq(client_answers(&client), 0, "the first one is still out");
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 3, 202);
    char id[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, mail_id(1), id);
    cr_assert(client_says(&client, 1, "202 Accepted"));
    cr_assert(client_says(&client, 1, id));
    cr_assert(client_says(&client, 2, "409 Conflict"));
    (void)id_text(ID_MESSAGE, mail_id(3), id);
    cr_assert(client_says(&client, 3, id));
    client_close(&client);
    rig_end(&rig);
}

/* Answers that the edge gives by itself wait for those that a shard gives. */
Test(session, keeps_its_own_answers_in_order_too)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_say(&client, GET("/api/health") "\r\n" GET("/nowhere") "\r\n");
    (void)rig_await(&rig, 1);
    settle(&rig);
    cr_assert_eq(client_answers(&client), 0);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 3, 404);
    cr_assert(client_says(&client, 1, " 202 "));
    cr_assert(client_says(&client, 2, "{\"ok\":true}"));
    client_close(&client);
    rig_end(&rig);
}

/* RFC 9112 9.6: after an answer that says close, a client expects no more. */
Test(session, says_close_with_the_last_answer_only)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_send(&client, "Connection: close\r\n");
    client_send(&client, ""); /* never read */
    (void)rig_await(&rig, 2);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    cr_assert_not(client_says(&client, 1, "onnection: close"));
    cr_assert_not(client.is_ended);
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 202);
    cr_assert(client_says(&client, 2, "onnection: close"));
    client_expect_end(&client);
    settle(&rig);
    cr_assert_eq(rig.got_count, 2);
    client_close(&client);
    rig_end(&rig);
}

Test(session, answers_what_came_before_a_malformed_request)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_say(&client, "nonsense\r\n\r\n");
    (void)rig_await(&rig, 1);
    settle(&rig);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 2, 400);
    cr_assert(client_says(&client, 1, " 202 "));
    cr_assert_not(client_says(&client, 1, "onnection: close"));
    client_expect_end(&client);
    client_close(&client);
    rig_end(&rig);
}

Test(session, reads_on_only_while_the_pipeline_has_room)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (int i = 0; i < 3 * HTTP_PIPELINE_MAX; i++) {
        client_send(&client, "");
    }
    (void)rig_await(&rig, HTTP_PIPELINE_MAX);
    settle(&rig);
    cr_assert_eq(rig.got_count, HTTP_PIPELINE_MAX);
    for (uint32_t i = 1; i <= 3 * HTTP_PIPELINE_MAX; i++) {
        (void)rig_await(&rig, i);
        cr_assert_leq(rig.got_count, i - 1 + HTTP_PIPELINE_MAX);
        rig_answer(&rig, i, ERR_OK);
    }
    client_expect(&client, 3 * HTTP_PIPELINE_MAX, 202);
    client_close(&client);
    rig_end(&rig);
}

/* ---- clients that leave --------------------------------------------------------------------- */

/* The slot is used again at once; the old answer must not go to the new client. */
Test(session, drops_the_answer_for_a_client_that_left)
{
    struct rig rig;
    struct client first;
    struct client second;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &first);
    client_send(&first, "");
    uint64_t token = rig_await(&rig, 1)->token;
    client_close(&first);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    client_open(&rig, &second);
    client_send(&second, "");
    cr_assert_eq(rig_await(&rig, 2)->token >> 32, token >> 32, "the same slot");
    cr_assert_neq(rig.got[1]->token, token, "of another generation");
    rig_answer(&rig, 1, ERR_OK);
    settle(&rig);
    cr_assert_eq(client_answers(&second), 0);
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&second, 1, 202);
    char id[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, mail_id(2), id);
    cr_assert(client_says(&second, 1, id));
    client_close(&second);
    rig_end(&rig);
}

Test(session, gives_everything_back_when_a_client_leaves_at_any_byte)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    char whole[512];
    int len = snprintf(whole, sizeof whole,
                       "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                       "Content-Length: %zu\r\n\r\n" SEND_BODY,
                       rig.key.text, sizeof SEND_BODY - 1);
    for (size_t cut = 0; cut <= (size_t)len; cut += cut < 140 ? 7 : 1) {
        client_open(&rig, &client);
        client_write(&client, slice_of(whole, cut));
        settle(&rig);
        client_close(&client);
        WAIT_FOR(&rig, rig.edge->session_count == 0);
        cr_assert_eq(rig.edge->body_bytes, 0, "cut at %zu", cut);
    }
    cr_assert_leq(rig.got_count, 1, "only the whole one was posted");
    for (uint32_t i = 1; i <= rig.got_count; i++) {
        rig_answer(&rig, i, ERR_OK);
    }
    rig_end(&rig);
}

/* ---- too much ------------------------------------------------------------------------------- */

Test(session, sheds_load_when_no_message_is_free)
{
    struct rig rig;
    struct client client;
    struct msg *taken[EDGE_POOL_MSGS];
    rig_init(&rig);
    rig_start(&rig);
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        taken[i] = msg_take(edge_actor(rig.edge), MSG_SHARD_SEND);
        cr_assert_not_null(taken[i]);
    }
    client_open(&rig, &client);
    client_send(&client, "");
    client_expect(&client, 1, 503);
    cr_assert(client_says(&client, 1, "retry-after: 1\r\n"));
    cr_assert(client_says(&client, 1, "\"code\":\"busy\""));
    client_say(&client, GET("/api/health") "\r\n");
    client_expect(&client, 2, 200); /* which needs none; and the connection is in step */
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        msg_put(edge_actor(rig.edge), taken[i]);
    }
    client_send(&client, "");
    (void)rig_await(&rig, 1);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 3, 202);
    client_close(&client);
    rig_end(&rig);
}

Test(session, holds_all_bodies_of_an_edge_under_one_ceiling)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    uint64_t others = EDGE_BODY_BYTES - (sizeof SEND_BODY - 1);
    rig.edge->body_bytes = others + 1;
    client_send(&client, "");
    client_expect(&client, 1, 503);
    cr_assert(client_says(&client, 1, "retry-after: "));
    rig.edge->body_bytes = others;
    client_send(&client, "");
    (void)rig_await(&rig, 1);
    cr_assert_eq(rig.edge->body_bytes, EDGE_BODY_BYTES, "held while its message is out");
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 2, 202);
    cr_assert_eq(rig.edge->body_bytes, others);
    rig.edge->body_bytes = 0;
    client_close(&client);
    rig_end(&rig);
}

static const struct {
    const char *name;
    const char *head; /* behind Host and Authorization */
    int status;
    bool is_closed;
} bodies[] = {
    {"more than any", "POST /v1/send HTTP/1.1\r\nContent-Length: 41943041\r\n", 413, true},
    {"more than this route takes", "POST /api/domains HTTP/1.1\r\nContent-Length: 65537\r\n", 413,
     true},
    {"huge", "POST /v1/send HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n", 413, true},
    {"compressed", "POST /v1/send HTTP/1.1\r\nContent-Encoding: br\r\nContent-Length: 9999\r\n",
     415, true},
    {"to nowhere", "POST /v1/nowhere HTTP/1.1\r\nContent-Length: 9999\r\n", 404, true},
    {"to nowhere, chunked", "POST /v1/nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 404,
     true},
    {"to nowhere, asking first",
     "POST /v1/nowhere HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n", 404, true},
    {"of a method that is none", "PUT /v1/send HTTP/1.1\r\nContent-Length: 9999\r\n", 405, true},
};

/* Nothing of the body is waited for. */
Test(session, refuses_a_body_before_it_is_read)
{
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct rig rig;
        struct client client;
        rig_init(&rig);
        rig_start(&rig);
        client_open(&rig, &client);
        client_say(&client, "%sHost: x\r\nAuthorization: Bearer %s\r\n\r\n", bodies[i].head,
                   rig.key.text);
        client_expect(&client, 1, bodies[i].status);
        cr_assert_eq(client_says(&client, 1, "onnection: close"), bodies[i].is_closed, "%s",
                     bodies[i].name);
        client_expect_end(&client);
        client_close(&client);
        rig_end(&rig);
    }
}

Test(session, stays_in_step_behind_a_refused_small_body)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
                        "GET /api/health HTTP/1.1\r\n\r\nxx");
    client_expect(&client, 1, 404);
    client_say(&client, GET("/api/health") "\r\n");
    client_expect(&client, 2, 200);
    client_close(&client);
    rig_end(&rig);
}

Test(session, ends_a_chunked_body_at_its_ceiling)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    set(&rig, "body_max", "2000");
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client,
               "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Transfer-Encoding: chunked\r\n\r\n3e8\r\n%01000d\r\n",
               rig.key.text, 0);
    settle(&rig);
    cr_assert_eq(client_answers(&client), 0);
    cr_assert_eq(rig.edge->body_bytes, 2000, "all that it may become");
    client_say(&client, "3e9\r\n");
    client_expect(&client, 1, 413);
    client_expect_end(&client);
    cr_assert_eq(rig.got_count, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(session, asks_for_a_body_that_waits_for_it)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client,
               "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\nExpect: 100-continue\r\n\r\n",
               rig.key.text, sizeof SEND_BODY - 1);
    client_expect(&client, 1, 100);
    client_say(&client, SEND_BODY);
    (void)rig_await(&rig, 1);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 2, 202);
    client_close(&client);
    rig_end(&rig);
}

/* ---- small answers -------------------------------------------------------------------------- */

static const struct {
    const char *request;
    int status;
    const char *has;
    const char *has_not;
} answers[] = {
    {GET("/api/health") "\r\n", 200, "x-request-id: req_", "onnection: close"},
    {GET("/api/health") "\r\n", 200, "x-content-type-options: nosniff", ""},
    {"HEAD /api/health HTTP/1.1\r\nHost: x\r\n\r\n", 200, "content-length: 11", "{\"ok\""},
    {GET("/api/health?x=1") "\r\n", 200, "{\"ok\":true}", ""},
    {GET("/metrics") "\r\n", 200, "meerkat_", ""},
    /* The span in the answer is ours. */
    {GET("/api/health") "traceparent: " TRACE "-01\r\n\r\n", 200,
     "\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-", "00f067aa0ba902b7"},
    {GET("/nowhere") "traceparent: " TRACE "-00\r\n\r\n", 404, "\r\ntraceparent: 00-4bf92f",
     "00f067aa0ba902b7"},
    {GET("/api/health") "traceparent: " TRACE "-0x\r\n\r\n", 200, "{\"ok\":true}", "traceparent"},
    {GET("/api/health") "traceparent: " TRACE "-01\r\ntraceparent: " TRACE "-01\r\n\r\n", 200,
     "{\"ok\":true}", "traceparent"},
    {GET("/api/health") "X-Request-Id: a-strangers-wish\r\n\r\n", 200, "x-request-id: req_",
     "strangers"},
    {GET("/nowhere") "\r\n", 404, "\"code\":\"not_found\"", "onnection: close"},
    {GET("/v1/send") "\r\n", 405, "\"code\":\"method_not_allowed\"", "onnection: close"},
    {"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, "content-length: ", "\"code\""},
    {GET("/v1/me") "\r\n", 401, "www-authenticate: Bearer\r\n", ""},
    {GET("/v1/me") "Authorization: Bearer mk_live_x\r\n\r\n", 401, "\"code\":\"unauthorized\"", ""},
    {GET("/v1/me") "Authorization: Basic eDp5\r\n\r\n", 401, "\"error\":\"a valid API key", ""},
    /* RFC 9112 9.3: 1.0 closes, unless both sides say otherwise. */
    {"GET /api/health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "onnection: keep-alive",
     "onnection: close"},
    {"GET /api/health HTTP/1.0\r\n\r\n", 200, "onnection: close", "keep-alive"},
    {GET("/api/health") "Connection: close\r\n\r\n", 200, "onnection: close", ""},
    /* Java's client asks for it in every request. */
    {GET("/api/health") "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
     200, "{\"ok\":true}", "Upgrade"},
    {"GET /api/health HTTP/1.1\r\n\r\n", 400, "\"code\":\"bad_request\"", ""},
    {"\r\nGET /api/health HTTP/1.1\r\nHost: x\r\n\r\n", 200, "{\"ok\":true}", ""},
    {"\x16\x03\x01\x02", 400, "\"code\":\"bad_request\"", ""}, /* a TLS hello at the wrong door */
};

Test(session, answers_by_itself_what_needs_no_shard)
{
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct client client;
        client_open(&rig, &client);
        client_say(&client, "%s", answers[i].request);
        client_expect(&client, 1, answers[i].status);
        settle(&rig);
        client_read(&client);
        cr_assert(client_says(&client, 1, answers[i].has), "case %zu: %.*s", i,
                  SLICE_FMT(buf_slice(&client.in)));
        cr_assert(answers[i].has_not[0] == '\0' || !client_says(&client, 1, answers[i].has_not),
                  "case %zu: %.*s", i, SLICE_FMT(buf_slice(&client.in)));
        client_close(&client);
        WAIT_FOR(&rig, rig.edge->session_count == 0);
    }
    cr_assert_eq(rig.got_count, 0);
    rig_end(&rig);
}

/* ---- whom a request comes from -------------------------------------------------------------- */

static const struct {
    const char *proxies;
    const char *headers;
    const char *peer;
} forwarded[] = {
    {"", "", "127.0.0.1"},
    {"", "X-Forwarded-For: 203.0.113.9\r\n", "127.0.0.1"},
    {"10.0.0.0/8", "X-Forwarded-For: 203.0.113.9\r\n", "127.0.0.1"},
    {"127.0.0.1", "X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"},
    {"127.0.0.0/8, 10.0.0.0/8", "x-forwarded-for: 203.0.113.9, 10.1.2.3\r\n", "203.0.113.9"},
    /* What stands before the first hop that is none of ours, its client has made up. */
    {"127.0.0.0/8", "X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\n", "203.0.113.9"},
    {"127.0.0.0/8", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"},
    {"127.0.0.0/8", "X-Forwarded-For: 203.0.113.9, unknown\r\n", "127.0.0.1"},
    {"127.0.0.0/8", "X-Forwarded-For: 203.0.113.9:5678\r\n", "203.0.113.9"},
    {"127.0.0.0/8", "X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
    {"127.0.0.0/8", "X-Forwarded-For: [2001:db8::7]:99\r\n", "2001:db8::7"},
    {"127.0.0.0/8", "X-Forwarded-For: \r\n", "127.0.0.1"},
    {"127.0.0.0/8", "X-Forwarded-For: ,,\r\n", "127.0.0.1"},
    {"127.0.0.0/8", "X-Forwarded-For: 127.0.0.5, 127.0.0.6\r\n", "127.0.0.5"},
};

Test(session, believes_proxies_only_as_far_as_they_are_trusted)
{
    for (size_t i = 0; i < ARRAY_LEN(forwarded); i++) {
        struct rig rig;
        struct client client;
        rig_init(&rig);
        set(&rig, "trusted_proxies", forwarded[i].proxies);
        rig_start(&rig);
        client_open(&rig, &client);
        client_send(&client, forwarded[i].headers);
        char text[IP6_TEXT_MAX];
        (void)ip6_text(&rig_await(&rig, 1)->body.send.caller.peer, text);
        cr_assert_str_eq(text, forwarded[i].peer, "case %zu", i);
        rig_answer(&rig, 1, ERR_OK);
        client_expect(&client, 1, 202);
        client_close(&client);
        rig_end(&rig);
    }
}

static const struct {
    const char *proxies;
    const char *headers;
    const char *request; /* what the id begins with */
    const char *trace;
} origins[] = {
    {"", "", "req_", ""},
    {"", "X-Request-Id: chosen-outside\r\n", "req_", ""},
    {"10.0.0.0/8", "X-Request-Id: chosen-outside\r\n", "req_", ""},
    {"127.0.0.0/8", "X-Request-Id: chosen-by.the_proxy\r\n", "chosen-by.the_proxy", ""},
    {"127.0.0.0/8", "X-Request-Id: spaces are not taken\r\n", "req_", ""},
    {"127.0.0.0/8", "X-Request-Id: short\r\n", "req_", ""},
    {"", "traceparent: " TRACE "-01\r\n", "req_", TRACE "-01"},
    {"", "Traceparent: " TRACE "-00\r\ntracestate: a=b\r\n", "req_", TRACE "-00"},
    {"", "traceparent: 00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01\r\n", "req_", ""},
};

Test(session, tells_the_shard_which_request_and_trace_it_works_for)
{
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        struct rig rig;
        struct client client;
        char trace[TRACE_TEXT_MAX];
        rig_init(&rig);
        set(&rig, "trusted_proxies", origins[i].proxies);
        rig_start(&rig);
        client_open(&rig, &client);
        client_send(&client, origins[i].headers);
        const struct origin origin = rig_await(&rig, 1)->origin;
        rig_answer(&rig, 1, ERR_OK);
        client_expect(&client, 1, 202);
        size_t len = strlen(origins[i].request);
        cr_expect_eq(strncmp(origin.request, origins[i].request, len), 0, "case %zu: %s", i,
                     origin.request);
        cr_expect(client_says(&client, 1, origin.request), "case %zu: %s", i, origin.request);
        (void)trace_text(&origin.trace, trace); /* terminated */
        cr_expect_str_eq(trace, origins[i].trace, "case %zu", i);
        client_close(&client);
        rig_end(&rig);
    }
}

/* ---- time ----------------------------------------------------------------------------------- */

Test(session, cuts_off_who_says_nothing_and_tells_who_is_slow)
{
    static const struct {
        const char *said;
        uint64_t after_ms;
        bool is_told;
    } cases[] = {
        {"", HTTP_HEADER_MS, false},
        {"GET", HTTP_HEADER_MS, true},
        {"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 10008, true},
        {GET("/api/health") "\r\n", HTTP_IDLE_MS, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        struct client client;
        rig_init(&rig);
        rig_start(&rig);
        client_open(&rig, &client);
        client_say(&client, "%s", cases[i].said);
        pass(&rig, cases[i].after_ms - 1);
        client_read(&client);
        cr_assert_not(client.is_ended, "case %zu", i);
        uint32_t before = client_answers(&client);
        pass(&rig, 2);
        client_expect_end(&client);
        cr_assert_eq(client_answers(&client), before + cases[i].is_told, "case %zu", i);
        cr_assert(!cases[i].is_told || client_says(&client, 1, " 408 "), "case %zu", i);
        client_close(&client);
        rig_end(&rig);
    }
}

/* A shard may take longer than a header; the client has done its part. */
Test(session, waits_for_its_shard_without_a_deadline)
{
    static const char *const more[] = {"", "Connection: close\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        struct rig rig;
        struct client client;
        rig_init(&rig);
        rig_start(&rig);
        client_open(&rig, &client);
        client_send(&client, more[i]);
        (void)rig_await(&rig, 1);
        pass(&rig, REQUEST_WAIT_MS - 1);
        pass(&rig, HTTP_IDLE_MS);
        client_read(&client);
        cr_assert_not(client.is_ended);
        rig_answer(&rig, 1, ERR_OK);
        client_expect(&client, 1, 202);
        client_close(&client);
        rig_end(&rig);
    }
}

/* Its answer is larger than what fits the sockets' buffers. */
static void get_long_answer(struct rig *rig, struct client *client, size_t bytes, const char *more)
{
    char id[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, mail_id(1), id);
    client_open(rig, client);
    client_say(client, GET("/api/messages/%s/raw") "Authorization: Bearer %s\r\n\r\n%s", id,
               rig->key.text, more);
    (void)rig_await(rig, more[0] == '\0' ? 1 : 2);
    struct shard_raw *raw = &rig_await(rig, 1)->body.raw;
    raw->chunk_count = 1;
    raw->data = slice_of(arena_alloc(&rig->got[0]->arena, bytes), bytes);
    rig_answer(rig, 1, ERR_OK);
    settle(rig);
}

Test(session, gives_a_long_answer_the_time_it_takes_to_read)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    get_long_answer(&rig, &client, 20 * MIB, "");
    pass(&rig, 2 * HTTP_WRITE_MS); /* at a third of a megabyte a second that is not too long */
    cr_assert_eq(rig.edge->session_count, 1);
    WAIT_FOR(&rig, (client_read(&client), client.in.len > 20 * MIB));
    client_expect(&client, 1, 200);
    client_close(&client);
    rig_end(&rig);
}

Test(session, cuts_off_who_never_reads)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    get_long_answer(&rig, &client, 20 * MIB, "");
    client_say(&client, GET("/api/health") "\r\n" GET("/api/health") "\r\n");
    pass(&rig, 700000); /* 20 MiB at 32 KiB a second and half a minute: 670 s */
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    client_close(&client);
    rig_end(&rig);
}

/* With an answer waiting behind the one that is not read, and more being asked. */
Test(session, cuts_off_who_asks_and_never_reads)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    char send[512];
    (void)snprintf(send, sizeof send,
                   "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                   "Content-Length: %zu\r\n\r\n" SEND_BODY,
                   rig.key.text, sizeof SEND_BODY - 1);
    get_long_answer(&rig, &client, 20 * MIB, send);
    rig_answer(&rig, 2, ERR_OK);
    settle(&rig);
    client_say(&client, GET("/api/health") "\r\n");
    pass(&rig, 700000);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    client_close(&client);
    rig_end(&rig);
}

/* ---- the end -------------------------------------------------------------------------------- */

Test(session, is_answered_before_a_drain_returns)
{
    struct rig rig;
    struct client waiting;
    struct client half;
    struct client idle;
    rig_init(&rig);
    set(&rig, "drain_notice_ms", "0");
    rig_start(&rig);
    client_open(&rig, &waiting);
    client_open(&rig, &half);
    client_open(&rig, &idle);
    client_send(&waiting, "");
    client_send(&half, "");
    client_say(&half, "POST /v1/send HTTP/1.1\r\nHost: x\r\n"); /* never to be finished */
    (void)rig_await(&rig, 2);
    control(&rig, CONTROL_DRAIN, 100000);
    settle(&rig);
    pass(&rig, 1);
    client_expect_end(&idle);
    pass(&rig, HTTP_HEADER_MS); /* the half request's deadline is nobody's any more */
    cr_assert_eq(rig.controls_home, 1, "the start, not yet the drain");
    rig_answer(&rig, 1, ERR_OK);
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&waiting, 1, 202);
    client_expect(&half, 1, 202);
    cr_assert(client_says(&waiting, 1, "onnection: close"));
    client_expect_end(&waiting);
    client_expect_end(&half);
    client_close(&waiting);
    client_close(&half);
    client_close(&idle);
    WAIT_FOR(&rig, rig.controls_home == 2);
    rig_end(&rig);
}

Test(session, is_told_of_a_drain_while_the_notice_lasts)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    set(&rig, "drain_notice_ms", "5000");
    rig_start(&rig);
    client_open(&rig, &client);
    control(&rig, CONTROL_DRAIN, 60000);
    settle(&rig);
    client_say(&client, GET("/api/health") "\r\n");
    client_expect(&client, 1, 503);
    cr_assert(client_says(&client, 1, "\"code\":\"draining\""));
    client_expect_end(&client);
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    client_open(&rig, &client); /* still accepted, to be told the same */
    client_send(&client, "");
    client_expect(&client, 1, 503);
    client_close(&client);
    pass(&rig, 5000);
    WAIT_FOR(&rig, rig.controls_home == 2);
    cr_assert_eq(rig.got_count, 0);
    rig_end(&rig);
}

Test(session, is_cut_off_when_the_drain_takes_too_long)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    set(&rig, "drain_notice_ms", "0");
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    (void)rig_await(&rig, 1);
    control(&rig, CONTROL_DRAIN, 10000);
    settle(&rig);
    pass(&rig, 1);
    pass(&rig, 5000);
    client_expect_end(&client);
    cr_assert_eq(client_answers(&client), 0);
    WAIT_FOR(&rig, rig.controls_home == 2);
    rig_answer(&rig, 1, ERR_OK); /* and its answer finds nobody */
    client_close(&client);
    rig_end(&rig);
}
