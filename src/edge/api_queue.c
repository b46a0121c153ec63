/* api_queue.c - the operator's hand on the queue: what waits where, and pause, resume, retry,
 * expire, move.
 *
 * Routes of ROUTE_ADMIN. Delivery knows the schedule and does it all; where an account is named its
 * shard is asked first whether there is one, and told at the end, for the account's log:
 *
 *     account? --> SHARD_ADMIN (is there one?) --> DELIVER_QUEUE --> SHARD_ADMIN (the log) --> 200
 *     site only -----------------------------> DELIVER_QUEUE ----------------------------> 200
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "edge/admin.h"

struct queue_body {
    struct slice site;
    struct slice account;
    struct slice reason;
    struct json_time until;
    struct slice pool;
    bool is_all;
    bool has_until;
    bool has_pool;
    bool is_pool_null;
};

#define AT(member) .offset = offsetof(struct queue_body, member)
static const struct json_field queue_fields[] = {
    {.name = "site", .type = JSON_TEXT, AT(site), .max = 319},
    {.name = "account", .type = JSON_TEXT, AT(account), .max = ID_TEXT_MAX},
    {.name = "all", .type = JSON_BOOL, AT(is_all)},
    {.name = "reason", .type = JSON_TEXT, AT(reason), .max = HOLD_REASON_MAX},
    {.name = "until",
     .type = JSON_TIME,
     AT(until),
     .has_offset = offsetof(struct queue_body, has_until)},
    {.name = "pool",
     .type = JSON_TEXT,
     AT(pool),
     .has_offset = offsetof(struct queue_body, has_pool),
     .null_offset = offsetof(struct queue_body, is_pool_null),
     .max = POOL_NAME_MAX},
};
#undef AT
const struct json_shape api_queue_shape = {queue_fields, ARRAY_LEN(queue_fields),
                                           sizeof(struct queue_body)};

/* What a request wishes, in request->keep while one actor after the other is asked. */
struct wish {
    struct deliver_queue body; /* its slices are in keep */
    uint32_t entries;
};

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

static void account_or_null(struct json_writer *w, const char *name, struct account_id account)
{
    char text[ID_TEXT_MAX];
    size_t len = account.value == 0 ? 0 : account_text(account, text);
    api_text_or_null(w, name, slice_of(text, len));
}

static void number_or_null(struct json_writer *w, const char *name, uint64_t number)
{
    api_u64_or_null(w, name, number); /* 0 is none here as well */
}

/* ---- pages ---------------------------------------------------------------------------------- */

void api_queue_site(struct json_writer *w, const struct queue_site *site)
{
    json_open_object(w);
    api_text(w, "site", site->name);
    api_text_or_null(w, "pool", site->pool);
    api_text(w, "group", site->group);
    json_key(w, "due");
    json_open_object(w);
    api_u64(w, "transactional", site->due[PRIORITY_TRANSACTIONAL]);
    api_u64(w, "bulk", site->due[PRIORITY_BULK]);
    json_close_object(w);
    api_u64(w, "waiting", site->waiting);
    api_u64(w, "open", site->open);
    api_u64(w, "connections", site->busy);
    api_u64(w, "connectionLimit", site->limit);
    number_or_null(w, "ratePerMin", site->rate);
    api_u64(w, "messagesPerConnection", site->mails_per_conn);
    api_u64(w, "failures", site->failures);
    api_u64_or_null(w, "closedUntil", site->closed_until_unix_ms);
    api_text_or_null(w, "reason", site->reason);
    api_u64_or_null(w, "reasonAt", site->failed_unix_ms);
    api_u64_or_null(w, "oldestDueAt", site->oldest_unix_ms);
    api_u64(w, "delivered", site->delivered_total);
    api_u64(w, "throttled", site->throttled_total);
    api_bool(w, "paused", site->is_held);
    json_close_object(w);
}

static void close_page(struct request *request, struct api_body *body, struct slice next)
{
    json_close_array(&body->w);
    api_text_or_null(&body->w, "next", next);
    json_close_object(&body->w);
    api_json_send(request, 200, body);
}

static void open_page(struct api_body *body)
{
    api_json_start(body);
    json_open_object(&body->w);
    json_key(&body->w, "data");
    json_open_array(&body->w);
}

static void on_sites(struct request *request, struct msg *msg)
{
    const struct deliver_queue *got = &msg->body.queue;
    struct api_body body;
    open_page(&body);
    for (uint32_t i = 0; i < got->site_count; i++) {
        api_queue_site(&body.w, &got->sites[i]);
    }
    bool has_more = got->site_count > 0 && got->site_count == got->limit;
    close_page(request, &body, has_more ? got->sites[got->site_count - 1].name : SLICE(""));
}

static void on_accounts(struct request *request, struct msg *msg)
{
    const struct deliver_queue *got = &msg->body.queue;
    struct api_body body;
    char next[ID_TEXT_MAX];
    size_t next_len = 0;
    open_page(&body);
    for (uint32_t i = 0; i < got->account_count; i++) {
        const struct queue_account *account = &got->accounts[i];
        json_open_object(&body.w);
        account_or_null(&body.w, "account", account->id);
        api_u64(&body.w, "entries", account->entries);
        api_u64(&body.w, "due", account->due);
        api_u64(&body.w, "open", account->open);
        api_u64_or_null(&body.w, "oldestDueAt", account->oldest_unix_ms);
        api_bool(&body.w, "paused", account->is_held);
        json_close_object(&body.w);
    }
    if (got->account_count > 0 && got->account_count == got->limit) {
        next_len = account_text(got->accounts[got->account_count - 1].id, next);
    }
    close_page(request, &body, slice_of(next, next_len));
}

static void on_holds(struct request *request, struct msg *msg)
{
    const struct deliver_queue *got = &msg->body.queue;
    struct api_body body;
    open_page(&body);
    for (uint32_t i = 0; i < got->hold_count; i++) {
        const struct queue_hold *hold = &got->holds[i];
        json_open_object(&body.w);
        api_text(&body.w, "type", hold->is_move ? SLICE("move") : SLICE("pause"));
        api_text_or_null(&body.w, "site", hold->site);
        account_or_null(&body.w, "account", hold->account);
        api_text_or_null(&body.w, "pool", hold->pool);
        api_text_or_null(&body.w, "reason", hold->reason);
        api_text_or_null(&body.w, "by", hold->by);
        api_u64_or_null(&body.w, "sinceAt", hold->since_unix_ms);
        api_u64_or_null(&body.w, "untilAt", hold->until_unix_ms);
        json_close_object(&body.w);
    }
    close_page(request, &body, SLICE(""));
}

static void ask(struct request *request, const struct deliver_queue *wanted,
                request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_DELIVER_QUEUE);
    if (msg != NULL) {
        msg->body.queue = *wanted;
        api_post(request, request->edge->place->deliver, msg, on_return);
    }
}

void api_queue_sites(struct request *request)
{
    struct deliver_queue wanted = {.op = QUEUE_SITES};
    struct slice text;
    if (!api_page(request, &wanted.limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("after"), &request->arena, &text)) {
        wanted.site = text;
    }
    if (http_query_get(&request->http, SLICE("search"), &request->arena, &text)) {
        wanted.search = text;
    }
    ask(request, &wanted, on_sites);
}

void api_queue_accounts(struct request *request)
{
    struct deliver_queue wanted = {.op = QUEUE_ACCOUNTS};
    struct slice text;
    if (!api_page(request, &wanted.limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("after"), &request->arena, &text) && text.len > 0 &&
        account_parse(text, &wanted.account) != ERR_OK) {
        (void)fail(request, "after", "after is the id of an account");
        return;
    }
    ask(request, &wanted, on_accounts);
}

void api_queue_holds(struct request *request)
{
    ask(request, &(struct deliver_queue){.op = QUEUE_HOLDS}, on_holds);
}

/* ---- wishes --------------------------------------------------------------------------------- */

static void answer(struct request *request, const struct wish *wish)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    api_u64(&body.w, "entries", wish->entries);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void on_logged(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg); /* it was done; the log is the account's right all the same */
        return;
    }
    answer(request, request->chain);
}

static struct slice action_of(enum queue_op op)
{
    switch (op) {
    case QUEUE_PAUSE:
        return SLICE("queue.paused");
    case QUEUE_RESUME:
        return SLICE("queue.resumed");
    case QUEUE_RETRY:
        return SLICE("queue.retried");
    case QUEUE_EXPIRE:
        return SLICE("queue.expired");
    case QUEUE_MOVE:
    case QUEUE_SITES:
    case QUEUE_TOP:
    case QUEUE_ACCOUNTS:
    case QUEUE_HOLDS:
    case QUEUE_AGES:
        break;
    }
    return SLICE("queue.moved");
}

static void on_done(struct request *request, struct msg *msg)
{
    struct wish *wish = request->chain;
    const struct deliver_queue *wanted = &wish->body;
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    wish->entries = msg->body.queue.entries;
    if (wanted->account.value == 0) {
        answer(request, wish);
        return;
    }
    struct msg *log = admin_take(request, ADMIN_QUEUED);
    if (log == NULL) {
        return;
    }
    struct slice site = wanted->site.len > 0 ? wanted->site : SLICE("all sites");
    log->body.admin.account = wanted->account;
    log->body.admin.action = action_of(wanted->op);
    log->body.admin.detail = arena_format(
        &log->arena, "%.*s, %u entries%s%.*s", SLICE_FMT(site), (unsigned)wish->entries,
        wanted->reason.len > 0 ? ": " : "", SLICE_FMT(wanted->reason));
    api_post_apart(request, place_shard(request->edge->place, wanted->account), log, on_logged);
}

static void tell_delivery(struct request *request)
{
    const struct wish *wish = request->chain;
    struct msg *msg = api_take(request, MSG_DELIVER_QUEUE);
    if (msg == NULL) {
        return;
    }
    struct deliver_queue *body = &msg->body.queue;
    *body = wish->body;
    body->site = arena_dup(&msg->arena, body->site);
    body->pool = arena_dup(&msg->arena, body->pool);
    body->reason = arena_dup(&msg->arena, body->reason);
    body->by = arena_dup(&msg->arena, body->by);
    api_post_apart(request, request->edge->place->deliver, msg, on_done);
}

static void on_account(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    tell_delivery(request);
}

static bool read_wish(struct request *request, struct deliver_queue *wanted)
{
    struct queue_body body;
    struct arena *keep = &request->keep;
    if (!api_read(request, &api_queue_shape, &body)) {
        return false;
    }
    if (body.account.len > 0 && account_parse(body.account, &wanted->account) != ERR_OK) {
        return fail(request, "account", "account is the id of an account");
    }
    bool is_named = body.site.len > 0 || body.account.len > 0;
    if (is_named == body.is_all) {
        return fail(request, "site", "names a site or an account, or all of it");
    }
    wanted->is_all = body.is_all;
    bool wants_pool = wanted->op == QUEUE_MOVE;
    if (wants_pool != (body.has_pool || body.is_pool_null)) {
        return fail(request, "pool",
                    wants_pool ? "pool is a sending pool; null takes a move back"
                               : "only a move names a pool");
    }
    if (slice_has_control(body.reason, "") || slice_has_control(body.site, "")) {
        return fail(request, "reason", "site and reason have printable characters");
    }
    if (body.has_until && wanted->op != QUEUE_PAUSE) {
        return fail(request, "until", "only a pause ends by itself");
    }
    if (body.has_until &&
        !api_read_time(request, SLICE("until"), &body.until, &wanted->until_unix_ms)) {
        return false;
    }
    if (body.has_until && wanted->until_unix_ms <= clock_unix_ms()) {
        return fail(request, "until", "until is a time to come");
    }
    struct slice by = request->admin_email.len > 0 ? request->admin_email : SLICE("operator");
    wanted->site = arena_dup(keep, body.site);
    wanted->reason = arena_dup(keep, body.reason);
    wanted->pool = arena_dup(keep, body.pool);
    wanted->by = arena_dup(keep, slice_head(by, min_size(by.len, HOLD_BY_MAX)));
    return true;
}

static void handle(struct request *request, enum queue_op op)
{
    struct wish *wish = arena_alloc(&request->keep, sizeof *wish);
    *wish = (struct wish){.body = {.op = op}};
    if (!read_wish(request, &wish->body)) {
        return;
    }
    request->chain = wish;
    if (wish->body.account.value == 0) {
        tell_delivery(request);
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_ACCOUNT);
    if (msg != NULL) {
        msg->body.admin.account = wish->body.account;
        api_post_apart(request, place_shard(request->edge->place, wish->body.account), msg,
                       on_account);
    }
}

void api_queue_pause(struct request *request)
{
    handle(request, QUEUE_PAUSE);
}

void api_queue_resume(struct request *request)
{
    handle(request, QUEUE_RESUME);
}

void api_queue_retry(struct request *request)
{
    handle(request, QUEUE_RETRY);
}

void api_queue_expire(struct request *request)
{
    handle(request, QUEUE_EXPIRE);
}

void api_queue_move(struct request *request)
{
    handle(request, QUEUE_MOVE);
}
