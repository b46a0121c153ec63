/* spam.c - see spam.h. */
#include "edge/spam.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"

#define ANSWER_MAX (256 * KIB)
#define RCPTS_SAID 16 /* of many recipients, the first tell enough */
#define VALUE_MAX  512

struct spam {
    struct http_client *client;
    struct arena arena; /* of url */
    struct slice url;
    uint64_t timeout_ms;
    spam_closed_fn *on_closed;
    void *context;
};

bool spam_is_wanted(const struct conf *conf)
{
    return conf->rspamd_url.len > 0;
}

struct spam *spam_open(struct loop *loop, struct dns *dns, const struct conf *conf)
{
    struct http_url url;
    struct spam *spam = mem_zalloc(sizeof *spam);
    arena_init(&spam->arena, KIB, 16 * KIB);
    spam->timeout_ms = conf->rspamd_timeout_ms;
    spam->url = arena_format(&spam->arena, "%.*s/checkv2", SLICE_FMT(conf->rspamd_url));
    if (http_url_parse(spam->url, &spam->arena, &url) != ERR_OK || url.needs_idna) {
        fatal("rspamd_url is written http://host:port, not \"%.*s\"", SLICE_FMT(conf->rspamd_url));
    }
    struct http_client_options options = {
        .dns = dns,
        .ca_path = conf->tls_ca,
        .user_agent = SLICE("Meerkat"),
        .rule = {.allows_private = true}, /* the operator's own words */
    };
    if (http_client_open(loop, &options, &spam->client) != ERR_OK) {
        fatal("the client for rspamd cannot be set up; check tls_ca");
    }
    return spam;
}

static void on_client_closed(void *context)
{
    struct spam *spam = context;
    spam_closed_fn *tell = spam->on_closed;
    void *owner = spam->context;
    arena_fini(&spam->arena);
    free(spam);
    tell(owner);
}

void spam_close(struct spam *spam, spam_closed_fn *on_closed, void *context)
{
    spam->on_closed = on_closed;
    spam->context = context;
    http_client_close(spam->client, on_client_closed, spam);
}

/* ---- asking --------------------------------------------------------------------------------- */

struct answer {
    struct slice action;
};
static const struct json_field answer_fields[] = {
    {.name = "action",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct answer, action),
     .max = 64},
};
static const struct json_shape answer_shape = {answer_fields, ARRAY_LEN(answer_fields),
                                               sizeof(struct answer)};

const char *spam_verdict(struct slice body)
{
    static const struct {
        struct slice action;
        const char *verdict;
    } actions[] = {
        {SLICE_INIT("no action"), "ham"},        {SLICE_INIT("greylist"), "ham"},
        {SLICE_INIT("soft reject"), "ham"},      {SLICE_INIT("add header"), "spam"},
        {SLICE_INIT("rewrite subject"), "spam"}, {SLICE_INIT("reject"), "spam"},
    };
    struct arena arena;
    struct answer answer;
    struct json_fault fault;
    const char *verdict = "";
    arena_init(&arena, 4 * KIB, MIB);
    if (json_read(body, &answer_shape, &arena, &answer, &fault) == ERR_OK) {
        for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
            if (slice_equal(answer.action, actions[i].action)) {
                verdict = actions[i].verdict;
            }
        }
    }
    arena_fini(&arena);
    return verdict;
}

static void on_done(struct http_call *call, const struct http_call_result *result)
{
    struct spam_question *question = CONTAINER_OF(call, struct spam_question, call);
    bool is_answer = result->err == ERR_OK && result->status == 200;
    question->verdict = is_answer ? spam_verdict(result->body) : "";
    if (question->verdict[0] == '\0') {
        LOG_WARN("spam.unknown", LOG_U64("status", result->status),
                 LOG_STR("failure", result->failure), LOG_ERR(result->err));
    }
    question->on_answer(question);
}

/* A header field's value: what a stranger said, without what would end the line. */
static struct slice clean(struct slice text, struct arena *arena)
{
    char *out = arena_bytes(arena, VALUE_MAX);
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < VALUE_MAX; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        out[len++] = byte < 0x20 || byte >= 0x7f ? '?' : (char)byte;
    }
    return slice_of(out, len);
}

void spam_ask(struct spam *spam, struct spam_question *question, const struct spam_mail *mail,
              spam_fn *on_answer)
{
    struct http_header headers[4 + RCPTS_SAID];
    struct arena arena;
    char ip[IP6_TEXT_MAX];
    uint32_t count = 0;
    CHECK(mail->bytes.len <= MAIL_INLINE_MAX);
    arena_init(&arena, 16 * KIB, 64 * KIB);
    headers[count++] = (struct http_header){SLICE("From"), clean(mail->sender, &arena)};
    headers[count++] = (struct http_header){SLICE("Helo"), clean(mail->helo, &arena)};
    headers[count++] = (struct http_header){SLICE("Queue-Id"), clean(mail->id, &arena)};
    headers[count++] = (struct http_header){SLICE("IP"), slice_of(ip, ip6_text(&mail->client, ip))};
    for (uint32_t i = 0; i < mail->rcpt_count && i < RCPTS_SAID; i++) {
        headers[count++] = (struct http_header){SLICE("Rcpt"), clean(mail->rcpts[i], &arena)};
    }
    struct http_call_request request = {
        .method = HTTP_METHOD_POST,
        .url = spam->url,
        .headers = headers,
        .header_count = count,
        .body = mail->bytes,
        .body_max = ANSWER_MAX,
        .timeout_ms = spam->timeout_ms,
        .allows_private = true,
    };
    question->on_answer = on_answer;
    question->verdict = "";
    http_call_start(spam->client, &question->call, &request, on_done);
    arena_fini(&arena);
}

void spam_cancel(struct spam_question *question)
{
    http_call_cancel(&question->call);
}
