/* api_trace.c - watching dialogues live: start, read, stop.
 *
 * A trace is in every edge and in delivery at once. Whatever is asked goes to one after the other:
 *
 *     request -> EDGE_TRACE to edge 0, 1, ... -> DELIVER_TRACE -> answer
 *
 * Each of them numbers its own lines; `after` and `next` are those numbers, parted by dots. A start
 * that one of them refuses is taken back from the others.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "edge/admin.h"

#define ACTORS_MAX (LOOP_COUNT_MAX + 1)

struct trace_body {
    struct slice account;
    struct slice site;
    struct slice address;
    bool http;
    bool smtp;
    uint64_t seconds;
};

#define AT(member) .offset = offsetof(struct trace_body, member)
static const struct json_field trace_fields[] = {
    {.name = "account", .type = JSON_TEXT, AT(account), .max = ID_TEXT_MAX},
    {.name = "site", .type = JSON_TEXT, AT(site), .max = TRACE_WORD_MAX},
    {.name = "address", .type = JSON_TEXT, AT(address), .max = TRACE_WORD_MAX},
    {.name = "http", .type = JSON_BOOL, AT(http)},
    {.name = "smtp", .type = JSON_BOOL, AT(smtp)},
    {.name = "seconds", .type = JSON_U64, AT(seconds), .max = TRACE_SECONDS_MAX},
};
#undef AT
const struct json_shape api_trace_shape = {trace_fields, ARRAY_LEN(trace_fields),
                                           sizeof(struct trace_body)};

/* In request->keep while one actor after the other is asked. */
struct walk {
    struct tap_ask ask;
    uint64_t numbers[ACTORS_MAX]; /* READ: behind which, then the last that was read */
    uint32_t next;                /* who is asked now; the last one is delivery */
    uint64_t lost;
    uint64_t left_ms; /* READ: until it ends */
    enum err err;     /* START: what a refusal was, while it is taken back */
    bool is_over;
    bool has_more;        /* READ: somebody had a full page */
    struct json_writer w; /* READ: lines, into request->gathered */
};

static void go_on(struct request *request);

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

static uint32_t actor_count(const struct request *request)
{
    return request->edge->place->loop_count + 1;
}

/* ---- answers -------------------------------------------------------------------------------- */

static size_t id_words(uint64_t id, char out[17])
{
    return (size_t)snprintf(out, 17, "%016llx", (unsigned long long)id); /* sixteen digits */
}

static void answer_started(struct request *request, const struct walk *walk)
{
    struct api_body body;
    char id[17];
    char text[CLOCK_TEXT_MAX];
    uint64_t end_unix_ms = clock_unix_ms() + walk->ask.seconds * UINT64_C(1000);
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "id", slice_of(id, id_words(walk->ask.rule.id, id)));
    api_text(&body.w, "endsAt", slice_of(text, clock_rfc3339(end_unix_ms, text)));
    json_close_object(&body.w);
    api_json_send(request, 201, &body);
}

static void answer_stopped(struct request *request)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void answer_read(struct request *request, struct walk *walk)
{
    struct json_writer *w = &walk->w;
    struct buf next;
    json_close_array(w);
    buf_init(&next, 1 + 21 * ACTORS_MAX);
    for (uint32_t i = 0; i < actor_count(request); i++) {
        buf_add_format(&next, "%s%llu", i > 0 ? "." : "", (unsigned long long)walk->numbers[i]);
    }
    api_text(w, "next", buf_slice(&next));
    buf_fini(&next);
    api_u64(w, "lost", walk->lost);
    api_u64(w, "secondsLeft", (walk->left_ms + 999) / 1000);
    api_bool(w, "over", walk->is_over);
    api_bool(w, "more", walk->has_more);
    json_close_object(w);
    api_send(request, 200, SLICE("application/json"), buf_slice(&request->gathered));
}

static void add_lines(struct request *request, struct walk *walk, const struct tap_page *page)
{
    struct json_writer *w = &walk->w;
    char actor[16];
    bool is_delivery = walk->next + 1 == actor_count(request);
    int len = is_delivery ? snprintf(actor, sizeof actor, "deliver")
                          : snprintf(actor, sizeof actor, "edge%u", (unsigned)walk->next);
    for (uint32_t i = 0; i < page->line_count; i++) {
        const struct tap_line *line = &page->lines[i];
        char at[CLOCK_TEXT_MAX];
        json_open_object(w);
        api_text(w, "at", slice_of(at, clock_rfc3339(line->unix_ms, at)));
        api_text(w, "kind", slice_str(tap_kind_text(line->kind)));
        api_text(w, "actor", slice_of(actor, (size_t)len));
        api_u64(w, "dialogue", line->talk);
        api_text(w, "line", line->text);
        json_close_object(w);
    }
    uint64_t now_ms = loop_now_ms(request->edge->loop);
    walk->numbers[walk->next] = page->last;
    walk->lost += page->lost;
    walk->is_over &= page->is_over;
    walk->has_more |= page->line_count == TRACE_PAGE_LINES;
    walk->left_ms = page->end_ms > now_ms ? page->end_ms - now_ms : 0;
}

static void finish(struct request *request, struct walk *walk)
{
    switch (walk->ask.op) {
    case TAP_OP_START:
        answer_started(request, walk);
        break;
    case TAP_OP_READ:
        answer_read(request, walk);
        break;
    case TAP_OP_STOP:
        if (walk->err != ERR_OK && walk->err != ERR_QUOTA) {
            api_fail(request, walk->err);
            break;
        }
        if (walk->err != ERR_OK) {
            api_fail_field(request, walk->err, SLICE(""),
                           SLICE("as many traces are on as there may be; each ends by itself"));
            break;
        }
        answer_stopped(request);
        break;
    }
}

/* ---- the walk ------------------------------------------------------------------------------- */

static void on_asked(struct request *request, struct msg *msg)
{
    struct walk *walk = request->chain;
    if (msg->err != ERR_OK && walk->ask.op == TAP_OP_START) {
        walk->ask.op = TAP_OP_STOP; /* of those that have it already */
        walk->err = msg->err;
        walk->next = 0;
        go_on(request);
        return;
    }
    if (msg->err != ERR_OK && walk->err == ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    if (walk->ask.op == TAP_OP_READ) {
        add_lines(request, walk, &msg->body.tap.page);
    }
    walk->next += 1;
    go_on(request);
}

static void go_on(struct request *request)
{
    struct edge *edge = request->edge;
    const struct place *place = edge->place;
    struct walk *walk = request->chain;
    bool is_delivery = walk->next == place->loop_count;
    if (walk->next == actor_count(request)) {
        finish(request, walk);
        return;
    }
    if (!is_delivery && edge->traces_out == TRACE_MSGS_MAX) {
        api_fail(request, ERR_BUSY); /* what is left of a start ends by itself */
        return;
    }
    struct msg *msg = api_take(request, is_delivery ? MSG_DELIVER_TRACE : MSG_EDGE_TRACE);
    if (msg == NULL) {
        return;
    }
    struct tap_ask *ask = &msg->body.tap;
    *ask = walk->ask;
    ask->after = walk->numbers[walk->next];
    ask->rule.site = arena_dup(&msg->arena, ask->rule.site);
    ask->rule.email = arena_dup(&msg->arena, ask->rule.email);
    edge->traces_out += is_delivery ? 0 : 1;
    api_post_apart(request, is_delivery ? place->deliver : place->edges[walk->next], msg, on_asked);
}

static struct walk *walk_new(struct request *request, enum tap_op op)
{
    struct walk *walk = arena_alloc(&request->keep, sizeof *walk);
    *walk = (struct walk){.ask = {.op = op}, .is_over = true};
    request->chain = walk;
    return walk;
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool read_rule(struct request *request, const struct trace_body *body, struct tap_rule *rule)
{
    const uint32_t http = 1U << TAP_HTTP | 1U << TAP_HOOK;
    const uint32_t smtp = 1U << TAP_SMTP_OUT | 1U << TAP_SMTP_IN | 1U << TAP_SUBMISSION;
    struct conn_addr addr;
    if (body->account.len > 0 && account_parse(body->account, &rule->account) != ERR_OK) {
        return fail(request, "account", "account is the id of an account");
    }
    if (slice_has_byte(body->address, '@')) {
        rule->email = arena_dup(&request->keep, body->address);
    } else if (body->address.len > 0) {
        if (conn_addr_parse(body->address, 0, &addr) != ERR_OK) {
            return fail(request, "address", "address is an IP or an email address");
        }
        rule->has_ip = true;
        rule->ip = conn_addr_ip(&addr);
    }
    if (body->account.len == 0 && body->site.len == 0 && body->address.len == 0) {
        return fail(request, "account", "names an account, a site or an address");
    }
    rule->site = arena_dup(&request->keep, body->site);
    rule->kinds = body->http == body->smtp ? http | smtp : body->http ? http : smtp;
    return true;
}

void api_trace_start(struct request *request)
{
    struct trace_body body;
    struct walk *walk = walk_new(request, TAP_OP_START);
    if (!api_read(request, &api_trace_shape, &body) ||
        !read_rule(request, &body, &walk->ask.rule)) {
        return;
    }
    do {
        walk->ask.rule.id = crypto_random_u64();
    } while (walk->ask.rule.id == 0);
    walk->ask.seconds = body.seconds == 0 ? TRACE_SECONDS : (uint32_t)body.seconds;
    LOG_INFO(
        "trace.started", LOG_ACCOUNT("account", walk->ask.rule.account),
        LOG_TEXT("site", body.site), LOG_U64("seconds", walk->ask.seconds),
        LOG_TEXT("by", request->admin_email.len > 0 ? request->admin_email : SLICE("operator")));
    go_on(request);
}

/* Sixteen digits. After false the request may be gone. */
static bool read_id(struct request *request, struct walk *walk)
{
    uint8_t bytes[sizeof walk->ask.rule.id];
    uint64_t id = 0;
    if (hex_decode(request->params[0], bytes, sizeof bytes) == ERR_OK) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            id = id << 8 | bytes[i];
        }
    }
    walk->ask.rule.id = id;
    if (id == 0) {
        api_fail(request, ERR_NOT_FOUND);
    }
    return id != 0;
}

void api_trace_read(struct request *request)
{
    struct slice text;
    struct walk *walk = walk_new(request, TAP_OP_READ);
    if (!read_id(request, walk)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("after"), &request->arena, &text)) {
        for (uint32_t i = 0; i < actor_count(request) && text.len > 0; i++) {
            if (slice_u64(slice_cut(&text, '.'), &walk->numbers[i]) != ERR_OK) {
                (void)fail(request, "after", "after is what next was");
                return;
            }
        }
    }
    json_start(&walk->w, &request->gathered);
    json_open_object(&walk->w);
    json_key(&walk->w, "lines");
    json_open_array(&walk->w);
    go_on(request);
}

void api_trace_stop(struct request *request)
{
    struct walk *walk = walk_new(request, TAP_OP_STOP);
    if (read_id(request, walk)) {
        go_on(request);
    }
}
