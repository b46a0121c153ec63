/* What a webhook's answer means.
 *
 * Not covered here: the call itself (tests/unit/net/test_http_client.c), retries (test_trip.c),
 * real endpoints (tests/flow/test_inbound.c).
 */
#include "deliver/attempt_hook.h"

#include "base/err.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct {
    enum ack_mode mode;
    uint16_t status;
    const char *ack; /* the header */
    const char *body;
    enum verdict_class class;
    enum verdict_scope scope;
    const char *command;
} cases[] = {
    {ACK_LENIENT, 200, "", "", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 204, "", "", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 299, "", "whatever", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 200, "", "spam", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 199, "", "", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 301, "", "", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 302, "ok", "ok", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 400, "", "", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 404, "", "", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 410, "", "", VERDICT_BOUNCED, VERDICT_MAIL, ""},
    {ACK_LENIENT, 429, "", "", VERDICT_DEFERRED, VERDICT_HOST, ""},
    {ACK_LENIENT, 500, "ok", "ok", VERDICT_DEFERRED, VERDICT_HOST, ""},
    {ACK_LENIENT, 503, "", "", VERDICT_DEFERRED, VERDICT_HOST, ""},

    {ACK_EXPLICIT, 200, "", "", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "ok", "", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "OK", "<html>", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "no", "", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "", "{\"status\":\"ok\"}", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "", " {\"status\":\"ok\",\"x\":[1]}\n", VERDICT_DELIVERED, VERDICT_MAIL,
     ""},
    {ACK_EXPLICIT, 200, "", "{\"status\":\"no\"}", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "", "{\"status\":", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "", "{\"status\":1}", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_EXPLICIT, 200, "", "spam", VERDICT_DEFERRED, VERDICT_MAIL, ""},

    {ACK_CONTROL, 200, "", "ok", VERDICT_DELIVERED, VERDICT_MAIL, ""},
    {ACK_CONTROL, 200, "", " Spam\r\n", VERDICT_DELIVERED, VERDICT_MAIL, "spam"},
    {ACK_CONTROL, 200, "", "drop", VERDICT_DELIVERED, VERDICT_MAIL, "drop"},
    {ACK_CONTROL, 200, "", "{\"actions\":[{\"type\":\"block-sender\"}]}", VERDICT_DELIVERED,
     VERDICT_MAIL, "block-sender"},
    {ACK_CONTROL, 200, "", "{\"actions\":[]}", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_CONTROL, 200, "", "{\"actions\":[{\"type\":\"explode\"}]}", VERDICT_DEFERRED, VERDICT_MAIL,
     ""},
    {ACK_CONTROL, 200, "", "<html>", VERDICT_DEFERRED, VERDICT_MAIL, ""},
    {ACK_CONTROL, 500, "", "drop", VERDICT_DEFERRED, VERDICT_HOST, ""},
};

Test(attempt_hook, an_answer_means_what_the_mode_makes_of_it)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_call_result result = {.status = cases[i].status,
                                          .headers = {slice_str(cases[i].ack)},
                                          .body = slice_str(cases[i].body)};
        struct verdict verdict;
        char command[HOOK_COMMAND_MAX];
        hook_judge(cases[i].mode, &result, &verdict, command);
        cr_expect_eq(verdict.class, cases[i].class, "case %zu: %s", i, verdict.text);
        cr_expect_eq(verdict.scope, cases[i].scope, "case %zu: %s", i, verdict.text);
        cr_expect_eq(verdict.code, cases[i].status, "case %zu", i);
        cr_expect_str_eq(command, cases[i].command, "case %zu", i);
    }
}

Test(attempt_hook, tries_follow_the_published_ladder)
{
    static const uint64_t seconds[] = {5, 300, 1800, 7200, 18000, 36000, 36000};
    for (uint32_t i = 0; i < ARRAY_LEN(seconds); i++) {
        cr_expect_eq(hook_pause_ms(i + 1), seconds[i] * 1000);
        cr_expect_not(hook_is_last(i + 1));
    }
    cr_expect(hook_is_last(ARRAY_LEN(seconds) + 1), "eight tries in all");
}

Test(attempt_hook, no_answer_concerns_the_endpoint_as_such)
{
    static const enum err errs[] = {ERR_DNS_NONE, ERR_DNS_TEMP,       ERR_CONNECT, ERR_TLS,
                                    ERR_TIMEOUT,  ERR_REFUSED_TARGET, ERR_CLOSED,  ERR_INVALID};
    for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
        struct http_call_result result = {.err = errs[i], .status = 200};
        struct verdict verdict;
        char command[HOOK_COMMAND_MAX];
        hook_judge(ACK_LENIENT, &result, &verdict, command);
        cr_expect_eq(verdict.class, VERDICT_DEFERRED, "%s", err_info(errs[i])->name);
        cr_expect_eq(verdict.scope, VERDICT_HOST);
        cr_expect_gt(strlen(verdict.text), 0);
    }
}

Test(attempt_hook, shows_the_beginning_of_a_refusal_and_no_more)
{
    char body[4096];
    memset(body, 'x', sizeof body);
    struct http_call_result result = {.status = 500, .body = slice_of(body, sizeof body)};
    struct verdict verdict;
    char command[HOOK_COMMAND_MAX];
    hook_judge(ACK_LENIENT, &result, &verdict, command);
    cr_expect_lt(strlen(verdict.text), 300);
    cr_expect(slice_starts(slice_str(verdict.text), SLICE("HTTP 500: xxx")));
    result.body = SLICE("a\x01\xff\nb");
    hook_judge(ACK_LENIENT, &result, &verdict, command);
    cr_expect(slice_is_utf8(slice_str(verdict.text)));
    cr_expect_not(slice_has_control(slice_str(verdict.text), "\n"));
}
