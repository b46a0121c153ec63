/* api_admin.c - the operator's view of accounts and of the server itself.
 *
 * Routes of ROUTE_ADMIN: operator.c has seen to it that whoever asks may. Lists go shard by shard,
 * because no order spans them: the client asks for shard 0, follows `next`, then goes on to the
 * next shard until it has seen shardCount of them.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/version.h"
#include "edge/admin.h"

/* ---- bodies --------------------------------------------------------------------------------- */

struct account_body {
    struct slice name;
    bool is_suspended;
    uint64_t daily_max;
    uint64_t rate_per_min;
    uint64_t key_rate_per_min;
    uint64_t retention_days;
    bool has_name;
    bool has_suspended;
    bool has_daily_max;
    bool has_rate_per_min;
    bool has_key_rate_per_min;
    bool has_retention_days;
};

#define AT(member)  .offset = offsetof(struct account_body, member)
#define HAS(member) .has_offset = offsetof(struct account_body, member)
static const struct json_field account_fields[] = {
    {.name = "name", .type = JSON_TEXT, AT(name), HAS(has_name), .max = ACCOUNT_NAME_MAX},
    {.name = "suspended", .type = JSON_BOOL, AT(is_suspended), HAS(has_suspended)},
    {.name = "dailyMax", .type = JSON_U64, AT(daily_max), HAS(has_daily_max), .max = UINT32_MAX},
    {.name = "ratePerMin",
     .type = JSON_U64,
     AT(rate_per_min),
     HAS(has_rate_per_min),
     .max = RATE_PER_MIN_MAX},
    {.name = "keyRatePerMin",
     .type = JSON_U64,
     AT(key_rate_per_min),
     HAS(has_key_rate_per_min),
     .max = RATE_PER_MIN_MAX},
    {.name = "retentionDays",
     .type = JSON_U64,
     AT(retention_days),
     HAS(has_retention_days),
     .max = RETENTION_DAYS_MAX},
};
#undef AT
#undef HAS
const struct json_shape api_admin_account_shape = {account_fields, ARRAY_LEN(account_fields),
                                                   sizeof(struct account_body)};

/* ---- shared with api_admin_user.c ------------------------------------------------------------ */

struct msg *admin_take(struct request *request, enum admin_op op)
{
    struct msg *msg = api_take(request, MSG_SHARD_ADMIN);
    if (msg != NULL) {
        msg->body.admin.op = op;
        msg->body.admin.caller = request->caller;
        msg->body.admin.caller_email = arena_dup(&request->arena, request->admin_email);
    }
    return msg;
}

void admin_post(struct request *request, struct msg *msg, request_msg_fn *on_return)
{
    api_post(request, place_shard(request->edge->place, msg->body.admin.account), msg, on_return);
}

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

bool admin_read_page(struct request *request, struct admin_page *page)
{
    const struct place *place = request->edge->place;
    struct slice text;
    uint64_t shard = 0;
    *page = (struct admin_page){.after = SLICE("")};
    if (!api_page(request, &page->limit)) {
        return false;
    }
    if (http_query_get(&request->http, SLICE("shard"), &request->arena, &text) &&
        (slice_uint(text, SHARD_COUNT_MAX, &shard) != ERR_OK || shard >= place->shard_count)) {
        return fail(request, "shard", "shard is a number below shardCount");
    }
    if (http_query_get(&request->http, SLICE("after"), &request->arena, &text)) {
        page->after = text;
    }
    page->shard = (uint32_t)shard;
    return true;
}

void admin_post_page(struct request *request, const struct admin_page *page, struct msg *msg,
                     request_msg_fn *on_return)
{
    msg->body.admin.shard = page->shard;
    msg->body.admin.limit = page->limit;
    api_post(request, request->edge->place->shards[page->shard], msg, on_return);
}

void admin_close_page(struct request *request, struct api_body *body, uint32_t shard,
                      struct slice next)
{
    json_close_array(&body->w);
    api_u64(&body->w, "shard", shard);
    api_u64(&body->w, "shardCount", request->edge->place->shard_count);
    api_text_or_null(&body->w, "next", next);
    json_close_object(&body->w);
    api_json_send(request, 200, body);
}

/* ---- rendering ------------------------------------------------------------------------------ */

static void write_account(struct json_writer *w, const struct account_view *view)
{
    const struct row_account *row = &view->row;
    char text[ID_TEXT_MAX];
    json_open_object(w);
    api_text(w, "id", slice_of(text, account_text(row->id, text)));
    api_text(w, "name", row->name);
    api_u64(w, "createdAt", row->created_unix_ms);
    api_bool(w, "suspended", row->is_suspended);
    json_key(w, "limits");
    json_open_object(w);
    api_u64(w, "dailyMax", row->daily_max);
    api_u64(w, "ratePerMin", row->rate_per_min);
    api_u64(w, "keyRatePerMin", row->key_rate_per_min);
    api_u64(w, "retentionDays", row->retention_days);
    json_close_object(w);
    api_text_or_null(w, "ownerEmail", view->owner_email);
    json_close_object(w);
}

/* ---- accounts ------------------------------------------------------------------------------- */

static void on_accounts(struct request *request, struct msg *msg)
{
    const struct shard_admin *got = &msg->body.admin;
    struct api_body body;
    char next[ID_TEXT_MAX];
    size_t next_len = 0;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "data");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < got->account_count; i++) {
        write_account(&body.w, &got->accounts[i]);
    }
    if (got->account_count == got->limit) {
        next_len = account_text(got->accounts[got->account_count - 1].row.id, next);
    }
    admin_close_page(request, &body, got->shard, slice_of(next, next_len));
}

void api_admin_accounts(struct request *request)
{
    struct admin_page page;
    struct account_id after = {0};
    if (!admin_read_page(request, &page)) {
        return;
    }
    if (page.after.len > 0 && account_parse(page.after, &after) != ERR_OK) {
        (void)fail(request, "after", "after is the id of an account");
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_ACCOUNTS);
    if (msg != NULL) {
        msg->body.admin.account = after;
        admin_post_page(request, &page, msg, on_accounts);
    }
}

static bool param_account(struct request *request, struct account_id *account)
{
    if (account_parse(request->params[0], account) != ERR_OK) {
        api_fail(request, ERR_NOT_FOUND);
        return false;
    }
    return true;
}

static void on_account(struct request *request, struct msg *msg)
{
    const struct shard_admin *got = &msg->body.admin;
    struct api_body body;
    CHECK(got->account_count == 1);
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "account");
    write_account(&body.w, &got->accounts[0]);
    json_key(&body.w, "users");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < got->user_count; i++) {
        admin_write_user(&body.w, &got->users[i]);
    }
    json_close_array(&body.w);
    api_u64(&body.w, "keyCount", got->key_count);
    api_u64(&body.w, "domainCount", got->domain_count);
    json_key(&body.w, "today");
    json_open_object(&body.w);
    api_u64(&body.w, "mails", got->today.mails);
    api_u64(&body.w, "recipients", got->today.rcpts);
    api_u64(&body.w, "bytes", got->today.bytes);
    json_close_object(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_admin_account(struct request *request)
{
    struct account_id account;
    if (!param_account(request, &account)) {
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_ACCOUNT);
    if (msg != NULL) {
        msg->body.admin.account = account;
        admin_post(request, msg, on_account);
    }
}

static bool read_change(struct request *request, struct shard_admin *admin)
{
    struct account_body body;
    if (!api_read(request, &api_admin_account_shape, &body)) {
        return false;
    }
    struct slice name = slice_trim(body.name);
    if (body.has_name && (name.len == 0 || slice_has_control(name, ""))) {
        return fail(request, "name", "name has printable characters");
    }
    admin->wanted = (struct row_account){
        .name = name,
        .is_suspended = body.is_suspended,
        .daily_max = body.daily_max,
        .rate_per_min = (uint32_t)body.rate_per_min,
        .key_rate_per_min = (uint32_t)body.key_rate_per_min,
        .retention_days = (uint32_t)body.retention_days,
    };
    admin->given |= body.has_name ? ADMIN_FIELD_NAME : 0;
    admin->given |= body.has_suspended ? ADMIN_FIELD_SUSPENDED : 0;
    admin->given |= body.has_daily_max ? ADMIN_FIELD_DAILY : 0;
    admin->given |= body.has_rate_per_min ? ADMIN_FIELD_RATE : 0;
    admin->given |= body.has_key_rate_per_min ? ADMIN_FIELD_KEY_RATE : 0;
    admin->given |= body.has_retention_days ? ADMIN_FIELD_RETENTION : 0;
    return true;
}

static void on_changed(struct request *request, struct msg *msg)
{
    struct api_body body;
    CHECK(msg->body.admin.account_count == 1);
    api_json_start(&body);
    write_account(&body.w, &msg->body.admin.accounts[0]);
    api_json_send(request, 200, &body);
}

void api_admin_account_change(struct request *request)
{
    struct account_id account;
    if (!param_account(request, &account)) {
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_CHANGE);
    if (msg == NULL) {
        return;
    }
    msg->body.admin.account = account;
    if (!read_change(request, &msg->body.admin)) {
        msg_put(msg->home, msg); /* request was answered, and may be gone */
        return;
    }
    admin_post(request, msg, on_changed);
}

/* ---- the server ----------------------------------------------------------------------------- */

/* In request->keep while the shards are asked one after the other. */
struct census {
    uint32_t next_shard;
    uint64_t accounts;
};

static void answer_server(struct request *request, const struct census *census)
{
    const struct edge *edge = request->edge;
    const struct place *place = edge->place;
    struct api_body body;
    struct slice store = arena_format(&request->keep, "%.*s/store", SLICE_FMT(place->conf->data));
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "version", SLICE(MEERKAT_VERSION));
    api_u64(&body.w, "uptimeSeconds", (loop_now_ms(edge->loop) - edge->started_ms) / 1000);
    api_text(&body.w, "state",
             edge->drain_wish != DRAIN_NONE ? SLICE("draining") : SLICE("running"));
    api_u64(&body.w, "boot", place->boot);
    api_u64(&body.w, "loops", place->loop_count);
    api_u64(&body.w, "shards", place->shard_count);
    api_u64(&body.w, "accounts", census->accounts);
    api_text(&body.w, "store", store);
    api_text(&body.w, "publicUrl", slice_str(edge->public_url));
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void count_next(struct request *request);

static void on_counted(struct request *request, struct msg *msg)
{
    struct census *census = request->chain;
    census->accounts += msg->body.admin.count;
    census->next_shard += 1;
    count_next(request);
}

static void count_next(struct request *request)
{
    struct census *census = request->chain;
    if (census->next_shard == request->edge->place->shard_count) {
        answer_server(request, census);
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_COUNT);
    if (msg != NULL) {
        api_post(request, request->edge->place->shards[census->next_shard], msg, on_counted);
    }
}

void api_admin_server(struct request *request)
{
    request->chain = arena_alloc(&request->keep, sizeof(struct census));
    count_next(request);
}
