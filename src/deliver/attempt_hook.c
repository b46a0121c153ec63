/* attempt_hook.c - see attempt_hook.h. */
#include "deliver/attempt_hook.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/metric.h"

#define ANSWER_MAX  (4 * KIB) /* what is read of an answer; an acknowledgement is a few bytes */
#define SHOWN_MAX   200       /* of it, in the log */
#define HEADERS_MAX 16
#define JSON_ARENA  (64 * KIB)

static const struct slice kept[] = {SLICE_INIT("x-mailkite-ack")};

static void count_call(const struct attempt_hook *attempt, uint16_t status)
{
    uint32_t answer = status < 200   ? LABEL_ANSWER_NONE
                      : status < 300 ? LABEL_ANSWER_2XX
                      : status < 400 ? LABEL_ANSWER_3XX
                      : status < 500 ? LABEL_ANSWER_4XX
                                     : LABEL_ANSWER_5XX;
    metric_observe_at(METRIC_HOOK_CALLS, answer, clock_mono_us() - attempt->begun_us);
}

static void on_done(struct http_call *call, const struct http_call_result *result)
{
    struct attempt_hook *attempt = CONTAINER_OF(call, struct attempt_hook, call);
    hook_judge(attempt->ack_mode, result, &attempt->verdict, attempt->command);
    count_call(attempt, result->err == ERR_OK ? result->status : 0);
    attempt->remote_addr[0] = '\0';
    if (result->has_peer) {
        (void)conn_addr_text(&result->peer,
                             attempt->remote_addr); /* terminated; no length needed */
    }
    attempt->on_done(attempt);
}

void attempt_hook_start(struct http_client *client, struct attempt_hook *attempt,
                        const struct hook_request *request, attempt_hook_fn *done)
{
    struct http_header headers[HEADERS_MAX];
    struct slice rest = request->headers;
    uint32_t count = 0;
    CHECK(done != NULL);
    while (rest.len > 0) {
        bool is_pair = count < HEADERS_MAX && get_slice(&rest, &headers[count].name) &&
                       get_slice(&rest, &headers[count].value);
        CHECK(is_pair); /* the shard wrote them */
        count += 1;
    }
    attempt->ack_mode = request->ack_mode;
    attempt->on_done = done;
    attempt->begun_us = clock_mono_us();
    struct http_call_request call = {
        .method = HTTP_METHOD_POST,
        .url = request->url,
        .headers = headers,
        .header_count = count,
        .body = request->body,
        .keep = kept,
        .keep_count = ARRAY_LEN(kept),
        .body_max = ANSWER_MAX,
        .timeout_ms = request->timeout_ms,
    };
    http_call_start(client, &attempt->call, &call, on_done);
}

void attempt_hook_cancel(struct attempt_hook *attempt)
{
    http_call_cancel(&attempt->call);
}

/* ---- the ladder ----------------------------------------------------------------------------- */

#define SECOND_MS UINT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)

static const uint64_t ladder_ms[] = {
    5 * SECOND_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS,
    5 * HOUR_MS,   10 * HOUR_MS,  10 * HOUR_MS,
};

uint64_t hook_pause_ms(uint32_t attempt)
{
    CHECK(attempt >= 1);
    return ladder_ms[min_u64(attempt - 1, ARRAY_LEN(ladder_ms) - 1)];
}

bool hook_is_last(uint32_t attempt)
{
    return attempt > ARRAY_LEN(ladder_ms);
}

/* ---- judging -------------------------------------------------------------------------------- */

struct action {
    struct slice type;
};

struct answer {
    struct slice status;
    struct json_items actions;
};

static const struct json_field action_fields[] = {
    {.name = "type", .type = JSON_TEXT, .offset = offsetof(struct action, type), .max = 64},
};
static const struct json_shape action_shape = {action_fields, ARRAY_LEN(action_fields),
                                               sizeof(struct action)};
static const struct json_field answer_fields[] = {
    {.name = "status", .type = JSON_TEXT, .offset = offsetof(struct answer, status), .max = 64},
    {.name = "actions",
     .type = JSON_LIST,
     .offset = offsetof(struct answer, actions),
     .max = 16,
     .sub = &action_shape},
};
static const struct json_shape answer_shape = {answer_fields, ARRAY_LEN(answer_fields),
                                               sizeof(struct answer)};

/* The word of an answer: its body as it stands, or the status or first action of its JSON. Empty
 * when there is none. */
static struct slice word_of(struct slice body, struct arena *arena)
{
    struct answer answer;
    struct json_fault fault;
    struct slice text = slice_trim(body);
    if (text.len == 0 || text.data[0] != '{') {
        return text;
    }
    if (json_read(text, &answer_shape, arena, &answer, &fault) != ERR_OK) {
        return SLICE("");
    }
    if (answer.actions.count > 0) {
        return ((const struct action *)answer.actions.items)[0].type;
    }
    return answer.status;
}

static bool is_acknowledged(enum ack_mode mode, const struct http_call_result *result,
                            char command[HOOK_COMMAND_MAX])
{
    static const struct slice commands[] = {SLICE_INIT("spam"), SLICE_INIT("drop"),
                                            SLICE_INIT("block-sender")};
    struct arena arena;
    arena_init(&arena, 4 * KIB, JSON_ARENA);
    struct slice word = word_of(result->body, &arena);
    bool is_good = slice_equal_nocase(word, SLICE("ok")) ||
                   slice_equal_nocase(result->headers[0], SLICE("ok"));
    for (size_t i = 0; mode == ACK_CONTROL && i < ARRAY_LEN(commands); i++) {
        if (slice_equal_nocase(word, commands[i])) {
            memcpy(command, commands[i].data, commands[i].len);
            command[commands[i].len] = '\0';
            is_good = true;
        }
    }
    arena_fini(&arena);
    return is_good || mode == ACK_LENIENT;
}

static void put_off(struct verdict *verdict, const char *enhanced, const char *text,
                    enum verdict_scope scope)
{
    verdict_own(verdict, SMTP_STEP_BODY, VERDICT_DEFERRED, enhanced, text);
    verdict->scope = scope;
}

static void judge_status(const struct http_call_result *result, struct verdict *verdict)
{
    char text[SHOWN_MAX + 64];
    uint16_t status = result->status;
    bool is_redirect = status >= 300 && status < 400;
    struct slice shown = slice_head(slice_trim(result->body), SHOWN_MAX);
    bool is_own_fault = status >= 500 || status == 429;
    (void)snprintf(text, sizeof text, "HTTP %u%s%s%.*s", status,
                   is_redirect ? ", redirects are not followed" : "", shown.len > 0 ? ": " : "",
                   SLICE_FMT(shown)); /* bounded: SHOWN_MAX and a few words */
    put_off(verdict, "", text, is_own_fault ? VERDICT_HOST : VERDICT_MAIL);
    if (status == 410) {
        verdict->class = VERDICT_BOUNCED;
        verdict->scope = VERDICT_MAIL;
    }
    verdict->code = status;
}

void hook_judge(enum ack_mode mode, const struct http_call_result *result, struct verdict *verdict,
                char command[HOOK_COMMAND_MAX])
{
    command[0] = '\0';
    if (result->err != ERR_OK) {
        put_off(verdict, "",
                result->failure[0] != '\0' ? result->failure : err_info(result->err)->text,
                VERDICT_HOST);
        verdict->code = result->status;
        return;
    }
    if (result->status < 200 || result->status >= 300) {
        judge_status(result, verdict);
        return;
    }
    if (!is_acknowledged(mode, result, command)) {
        put_off(verdict, "", "answered, but did not acknowledge as the route demands",
                VERDICT_MAIL);
        verdict->code = result->status;
        return;
    }
    verdict_own(verdict, SMTP_STEP_BODY, VERDICT_DELIVERED, "", "acknowledged");
    verdict->scope = VERDICT_MAIL;
    verdict->code = result->status;
}
