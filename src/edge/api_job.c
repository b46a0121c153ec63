/* api_job.c - long work on the store: started, looked at, cancelled.
 *
 * Through the admin socket only: a job reads and writes files as the daemon's user, which is no
 * business of somebody who came over the network, administrator or not. The keeper does it all.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "edge/api_int.h"

struct job_body {
    struct slice type;
    uint64_t shard;
    bool has_shard;
    struct slice path;
    uint64_t keep;
    bool has_key;
    bool is_sure;
    struct slice account;
    struct slice passphrase;
    bool is_move;
};

#define AT(member) .offset = offsetof(struct job_body, member)
static const struct json_field job_fields[] = {
    {.name = "type", .type = JSON_TEXT, .is_required = true, AT(type), .max = 32},
    {.name = "shard",
     .type = JSON_U64,
     AT(shard),
     .has_offset = offsetof(struct job_body, has_shard),
     .max = SHARD_COUNT_MAX - 1},
    {.name = "path", .type = JSON_TEXT, AT(path), .max = KEEPER_PATH_MAX},
    {.name = "keep", .type = JSON_U64, AT(keep), .max = KEEPER_BACKUPS_MAX},
    {.name = "withKey", .type = JSON_BOOL, AT(has_key)},
    {.name = "yes", .type = JSON_BOOL, AT(is_sure)}, /* repair */
    {.name = "account", .type = JSON_TEXT, AT(account), .max = ID_TEXT_MAX},
    {.name = "passphrase", .type = JSON_TEXT, AT(passphrase), .max = KEEPER_PASSPHRASE_MAX},
    {.name = "move", .type = JSON_BOOL, AT(is_move)},
};
#undef AT
const struct json_shape api_job_shape = {job_fields, ARRAY_LEN(job_fields),
                                         sizeof(struct job_body)};

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

static bool is_operators(struct request *request)
{
    if (!request->session->is_operator) {
        api_fail_field(request, ERR_SCOPE, SLICE("admin"),
                       SLICE("jobs are the operator's, who comes through the admin socket"));
        return false;
    }
    return true;
}

/* Milliseconds that are left at the pace so far; 0: nobody knows. */
static uint64_t left_ms(const struct keep_view *view)
{
    uint64_t now_unix_ms = clock_unix_ms();
    if (view->state != KEEP_RUNNING || view->done == 0 || view->total < view->done ||
        now_unix_ms <= view->started_unix_ms) {
        return 0;
    }
    uint64_t spent_ms = now_unix_ms - view->started_unix_ms;
    return (uint64_t)((double)spent_ms * (double)(view->total - view->done) / (double)view->done);
}

static void write_job(struct json_writer *w, const struct keep_view *view)
{
    char id[48];
    int len = snprintf(id, sizeof id, "%" PRIu64 "-%" PRIu64, view->boot, view->number);
    bool is_failed = view->state == KEEP_FAILED;
    struct slice sentence =
        view->sentence.len > 0 ? view->sentence : slice_str(err_info(view->err)->text);
    json_open_object(w);
    api_text(w, "id", slice_of(id, (size_t)len));
    api_text(w, "type", slice_str(keep_type_text(view->type)));
    api_text(w, "state", slice_str(keep_state_text(view->state)));
    api_bool(w, "cancelling", view->is_cancelling);
    api_text_or_null(w, "by", view->by);
    api_u64(w, "startedAt", view->started_unix_ms);
    api_u64_or_null(w, "endedAt", view->ended_unix_ms);
    api_u64(w, "done", view->done);
    api_u64_or_null(w, "total", view->total);
    api_text(w, "unit", view->unit);
    api_u64_or_null(w, "leftMs", left_ms(view));
    api_text_or_null(w, "working", view->at);
    api_u64(w, "problems", view->problems);
    api_text_or_null(w, "error", is_failed ? sentence : SLICE(""));
    json_key(w, "report");
    if (view->report.len > 0) {
        json_raw(w, view->report);
    } else {
        json_nil(w);
    }
    json_close_object(w);
}

static void answer_one(struct request *request, const struct msg *msg, uint16_t status)
{
    struct api_body body;
    api_json_start(&body);
    write_job(&body.w, &msg->body.keep.views[0]);
    api_json_send(request, status, &body);
}

static void on_started(struct request *request, struct msg *msg)
{
    answer_one(request, msg, 202);
}

static void on_one(struct request *request, struct msg *msg)
{
    answer_one(request, msg, 200);
}

static void on_list(struct request *request, struct msg *msg)
{
    const struct keeper_job *got = &msg->body.keep;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "data");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < got->view_count; i++) {
        write_job(&body.w, &got->views[i]);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static bool read_wish(struct request *request, struct keep_wish *wish)
{
    struct job_body body;
    arena_mark_secret(&request->arena); /* a passphrase may be in it */
    if (!api_read(request, &api_job_shape, &body)) {
        return false;
    }
    if (keep_type_parse(body.type, &wish->type) != ERR_OK) {
        return fail(request, "type", "there is no such type of job");
    }
    bool is_file = wish->type == KEEP_EXPORT || wish->type == KEEP_IMPORT;
    if ((is_file || wish->type == KEEP_BACKUP) && body.path.len == 0) {
        return fail(request, "path", "names a folder (backup) or a file, by its whole path");
    }
    if (wish->type == KEEP_EXPORT && account_parse(body.account, &wish->account) != ERR_OK) {
        return fail(request, "account", "account is the id of an account");
    }
    if (is_file && body.passphrase.len < KEEPER_PASSPHRASE_MIN) {
        return fail(request, "passphrase", "a passphrase has 12 bytes or more");
    }
    wish->passphrase = body.passphrase;
    wish->is_move = body.is_move;
    wish->path = body.path;
    wish->keep = (uint32_t)body.keep;
    wish->has_key = body.has_key;
    wish->is_dry = !body.is_sure;
    wish->by = SLICE("operator");
    wish->shard = body.has_shard ? (uint32_t)body.shard : KEEP_EVERY_SHARD;
    return true;
}

void api_job_start(struct request *request)
{
    struct keep_wish wish = {.shard = KEEP_EVERY_SHARD};
    if (!is_operators(request) || !read_wish(request, &wish)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_KEEPER_JOB);
    if (msg != NULL) {
        msg->body.keep.op = KEEP_START;
        msg->body.keep.wish = wish;
        api_post(request, request->edge->place->keeper, msg, on_started);
    }
}

void api_job_list(struct request *request)
{
    struct msg *msg = is_operators(request) ? api_take(request, MSG_KEEPER_JOB) : NULL;
    if (msg != NULL) {
        msg->body.keep.op = KEEP_LIST;
        api_post(request, request->edge->place->keeper, msg, on_list);
    }
}

/* "7-3": the third job of the seventh run. */
static void ask_one(struct request *request, enum keep_op op)
{
    struct slice rest = request->params[0];
    struct slice boot = slice_cut(&rest, '-');
    uint64_t numbers[2];
    if (!is_operators(request)) {
        return;
    }
    if (slice_uint(boot, UINT64_MAX, &numbers[0]) != ERR_OK ||
        slice_uint(rest, UINT64_MAX, &numbers[1]) != ERR_OK) {
        api_fail(request, ERR_NOT_FOUND);
        return;
    }
    struct msg *msg = api_take(request, MSG_KEEPER_JOB);
    if (msg != NULL) {
        msg->body.keep.op = op;
        msg->body.keep.boot = numbers[0];
        msg->body.keep.number = numbers[1];
        api_post(request, request->edge->place->keeper, msg, on_one);
    }
}

void api_job_get(struct request *request)
{
    ask_one(request, KEEP_STATUS);
}

void api_job_cancel(struct request *request)
{
    ask_one(request, KEEP_CANCEL);
}
