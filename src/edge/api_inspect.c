/* api_inspect.c - the operator looks inside: shards, their rows, one mail with all that is stored.
 *
 * Of every shard in turn, delivery's last, and of the store as a whole:
 *
 *     SHARD_INSPECT to shard 0 -> ... -> to the last -> to the ledger -> of the store -> 200
 *
 * so one message at a time is out, and the answer grows in request->gathered. What comes out of the
 * store is JSON already, made where the store may be read. Rows and mails are other people's, so
 * they are shown through the admin socket only.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "edge/api_int.h"

#define LEDGER SLICE("deliver")

static void time_or_null(struct json_writer *w, const char *name, uint64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    json_key(w, name);
    json_text_or_null(w, unix_ms == 0 ? SLICE("") : slice_of(text, clock_rfc3339(unix_ms, text)));
}

/* ---- what an actor knows of itself ----------------------------------------------------------- */

static void write_pool(struct json_writer *w, const char *name, struct inspect_pool pool)
{
    json_key(w, name);
    json_open_object(w);
    api_u64(w, "free", pool.free);
    api_u64(w, "count", pool.count);
    json_close_object(w);
}

static void write_actor(struct json_writer *w, const struct inspect_stats *stats)
{
    json_key(w, "actor");
    json_open_object(w);
    api_u64(w, "port", stats->port_depth);
    api_u64(w, "portMax", stats->port_max);
    api_u64(w, "backlog", stats->backlog);
    api_bool(w, "isHeld", stats->is_held);
    api_u64(w, "handled", stats->handled);
    api_u64(w, "handlerUs", stats->handler_us);
    write_pool(w, "requests", stats->requests);
    write_pool(w, "wakes", stats->wakes);
    api_u64(w, "jobs", stats->jobs_open);
    api_u64(w, "jobsReady", stats->jobs_ready);
    api_u64(w, "lookups", stats->lookups_open);
    api_u64(w, "cacheHits", stats->cache_hits);
    api_u64(w, "cacheMisses", stats->cache_misses);
    api_u64(w, "mails", stats->mails);
    api_u64(w, "mailBytes", stats->mail_bytes);
    api_u64(w, "intakeBytes", stats->intake_bytes);
    json_close_object(w);
}

static void write_latency(struct json_writer *w, const char *name, const struct latency_view *view)
{
    json_key(w, name);
    json_open_object(w);
    api_u64(w, "count", view->count);
    api_u64(w, "p50", view->p50_us);
    api_u64(w, "p99", view->p99_us);
    api_u64(w, "max", view->max_us);
    json_close_object(w);
}

static void write_batch(struct json_writer *w, const char *name, const struct inspect_batch *batch)
{
    json_key(w, name);
    json_open_object(w);
    api_u64(w, "rows", batch->rows);
    api_u64(w, "bytes", batch->bytes);
    api_u64(w, "waiting", batch->parked);
    json_close_object(w);
}

static void write_commit(struct json_writer *w, const struct inspect_stats *stats)
{
    json_key(w, "commit");
    json_open_object(w);
    api_u64(w, "batches", stats->batches);
    api_u64(w, "rows", stats->batch_rows);
    api_u64(w, "bytes", stats->batch_bytes);
    api_u64(w, "rowsMax", stats->batch_rows_max);
    api_u64(w, "lost", stats->batches_lost);
    write_latency(w, "us", &stats->commit);
    write_latency(w, "lastMinuteUs", &stats->commit_last_minute);
    write_batch(w, "filling", &stats->filling);
    if (stats->is_flying) {
        write_batch(w, "flying", &stats->flying);
    } else {
        json_key(w, "flying");
        json_nil(w);
    }
    json_close_object(w);
}

static void write_scan(struct json_writer *w, const struct inspect_stats *stats)
{
    json_key(w, "scan");
    json_open_object(w);
    api_bool(w, "isOwed", stats->is_scan_owed);
    api_bool(w, "isRunning", stats->is_scan_running);
    time_or_null(w, "owedFromAt", stats->scan_from_unix_ms);
    time_or_null(w, "toldUntilAt", stats->ahead_unix_ms);
    json_close_object(w);
}

/* shard: place->shard_count for the ledger. */
static void write_shard(struct json_writer *w, uint32_t shard, uint32_t shard_count,
                        const struct shard_inspect *got)
{
    json_open_object(w);
    json_key(w, "shard");
    if (shard < shard_count) {
        json_u64(w, shard);
    } else {
        json_nil(w);
    }
    api_text(w, "loop", slice_str(got->stats.loop));
    api_bool(w, "isDraining", got->stats.is_draining);
    json_raw(w, got->json); /* members */
    write_actor(w, &got->stats);
    write_commit(w, &got->stats);
    write_scan(w, &got->stats);
    json_close_object(w);
}

/* ---- all shards ------------------------------------------------------------------------------ */

/* In request->keep while one actor after the other is asked. */
struct round {
    struct json_writer w; /* into request->gathered */
    uint32_t next;        /* shards, then the ledger, then the store */
};

static struct actor *actor_of(const struct place *place, uint32_t shard)
{
    return shard < place->shard_count ? place->shards[shard] : place->deliver_shard;
}

static void ask(struct request *request, const struct shard_inspect *wanted, uint32_t shard,
                request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_SHARD_INSPECT);
    if (msg != NULL) {
        msg->body.inspect = *wanted;
        api_post(request, actor_of(request->edge->place, shard), msg, on_return);
    }
}

static void ask_next(struct request *request);

static void on_shard_of_all(struct request *request, struct msg *msg)
{
    struct round *round = request->chain;
    write_shard(&round->w, round->next, request->edge->place->shard_count, &msg->body.inspect);
    round->next++;
    ask_next(request);
}

static void on_store(struct request *request, struct msg *msg)
{
    struct round *round = request->chain;
    json_close_array(&round->w);
    json_raw(&round->w, msg->body.inspect.json);
    api_u64(&round->w, "shardCount", request->edge->place->shard_count);
    json_close_object(&round->w);
    if (buf_err(&request->gathered) != ERR_OK) {
        api_fail(request, ERR_TOO_LARGE);
        return;
    }
    api_send(request, 200, SLICE("application/json"), buf_slice(&request->gathered));
}

static void ask_next(struct request *request)
{
    const struct round *round = request->chain;
    const bool is_over = round->next > request->edge->place->shard_count;
    const struct shard_inspect wanted = {.op = is_over ? INSPECT_STORE : INSPECT_SHARD};
    ask(request, &wanted, is_over ? 0 : round->next, is_over ? on_store : on_shard_of_all);
}

void api_inspect_shards(struct request *request)
{
    struct round *round = arena_alloc(&request->keep, sizeof(*round));
    request->chain = round;
    json_start(&round->w, &request->gathered);
    json_open_object(&round->w);
    json_key(&round->w, "data");
    json_open_array(&round->w);
    ask_next(request);
}

/* ---- one shard ------------------------------------------------------------------------------- */

/* The number of a shard, or "deliver". Answers 404 for what there is not. */
static bool param_shard(struct request *request, uint32_t *shard)
{
    const uint32_t count = request->edge->place->shard_count;
    uint64_t number = count;
    if (!slice_equal(request->params[0], LEDGER) &&
        slice_uint(request->params[0], count - 1, &number) != ERR_OK) {
        api_fail(request, ERR_NOT_FOUND);
        return false;
    }
    *shard = (uint32_t)number;
    return true;
}

static void on_shard(struct request *request, struct msg *msg)
{
    const struct round *round = request->chain;
    struct api_body body;
    api_json_start(&body);
    write_shard(&body.w, round->next, request->edge->place->shard_count, &msg->body.inspect);
    api_json_send(request, 200, &body);
}

void api_inspect_shard(struct request *request)
{
    struct round *round = arena_alloc(&request->keep, sizeof(*round));
    request->chain = round;
    if (param_shard(request, &round->next)) {
        ask(request, &(struct shard_inspect){.op = INSPECT_FAMILIES}, round->next, on_shard);
    }
}

/* ---- rows and mails -------------------------------------------------------------------------- */

static bool is_operators(struct request *request)
{
    if (!request->session->is_operator) {
        api_fail_field(request, ERR_SCOPE, SLICE("admin"),
                       SLICE("rows are shown to the operator, who comes through the admin socket"));
        return false;
    }
    return true;
}

static void on_members(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_raw(&body.w, msg->body.inspect.json); /* members */
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static bool read_text(struct request *request, const char *name, struct slice *text)
{
    if (http_query_get(&request->http, slice_str(name), &request->arena, text) &&
        text->len > INSPECT_PREFIX_MAX) {
        api_fail_field(request, ERR_BAD_FIELD, slice_str(name), SLICE("this is too long"));
        return false;
    }
    return true;
}

void api_inspect_rows(struct request *request)
{
    struct shard_inspect wanted = {.op = INSPECT_ROWS, .prefix = SLICE(""), .after = SLICE("")};
    uint32_t shard;
    struct slice text;
    uint64_t limit = 0;
    if (!is_operators(request) || !param_shard(request, &shard) ||
        !read_text(request, "prefix", &wanted.prefix) ||
        !read_text(request, "after", &wanted.after)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("limit"), &request->arena, &text) &&
        (slice_uint(text, INSPECT_ROWS_MAX, &limit) != ERR_OK || limit == 0)) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("limit"), SLICE("limit is 1 to 1000"));
        return;
    }
    wanted.limit = (uint32_t)limit;
    ask(request, &wanted, shard, on_members);
}

void api_inspect_mail(struct request *request)
{
    struct shard_inspect wanted = {.op = INSPECT_MAIL};
    struct slice text;
    if (!is_operators(request) || !api_param_id(request, 0, ID_MESSAGE, &wanted.mail)) {
        return;
    }
    wanted.has_transcripts =
        http_query_get(&request->http, SLICE("transcripts"), &request->arena, &text) &&
        slice_equal(text, SLICE("true"));
    const uint32_t shard_count = request->edge->place->shard_count;
    ask(request, &wanted, place_shard_index(shard_count, id_account(wanted.mail)), on_members);
}
