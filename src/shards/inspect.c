/* inspect.c - a shard shows itself to the operator.
 *
 * What the actor knows is copied by the loop; what is in the store is read by a worker, a bounded
 * piece, and may be younger than the last sync. Nothing is changed. That whoever asks may is the
 * edge's business.
 */
#include "base/check.h"
#include "base/json.h"
#include "kv/look.h"
#include "shards/shard_int.h"

#include <stdio.h>

#define JSON_MAX (16 * MIB) /* several times what look.h lets through */

/* A request that went to a worker. Lives in its message's arena. */
struct inspect_work {
    struct shard_job job;
    enum err err;
};

static uint32_t list_length(const struct link *list)
{
    uint32_t length = 0;
    for (const struct link *at = list->next; at != list; at = at->next) {
        length++;
    }
    return length;
}

static struct inspect_batch batch_view(const struct batch *batch)
{
    return (struct inspect_batch){
        .rows = kv_batch_rows(batch->rows),
        .parked = batch->parked_count,
        .bytes = kv_batch_bytes(batch->rows),
    };
}

static struct inspect_pool pool_view(const struct actor *actor, enum msg_pool_kind kind)
{
    return (struct inspect_pool){
        .free = actor->pools[kind].free_count,
        .count = actor->pools[kind].count,
    };
}

static void add_scan(const struct shard *shard, struct inspect_stats *stats)
{
    struct outbox_ref from = {.due_unix_ms = 0};
    stats->is_scan_owed = shard->scan.is_owed;
    stats->is_scan_running = shard->scan.is_running;
    stats->ahead_unix_ms = shard->ahead_unix_ms;
    if (shard->scan.is_owed && key_read_outbox(key_slice(&shard->scan.from), &from) == ERR_OK) {
        stats->scan_from_unix_ms = from.due_unix_ms; /* a bare prefix is from the first on: 0 */
    }
}

void inspect_stats(struct shard *shard, struct inspect_stats *stats)
{
    struct actor *actor = &shard->actor;
    const struct shard_counters *counters = &shard->counters;
    *stats = (struct inspect_stats){
        .port_depth = port_depth(&actor->port),
        .port_max = actor->port.depth_max,
        .backlog = actor->held.count + actor->backlog.count,
        .is_held = actor->is_held,
        .is_draining = shard->is_draining,
        .handled = actor->handled,
        .handler_us = actor->handled_us + counters->job_us,
        .requests = pool_view(actor, MSG_POOL_REQUEST),
        .wakes = pool_view(actor, MSG_POOL_WAKE),
        .jobs_open = shard->jobs_open,
        .jobs_ready = list_length(&shard->ready_jobs),
        .lookups_open = shard->lookups_open,
        .batches = counters->batches,
        .batch_rows = counters->batch_rows,
        .batch_bytes = counters->batch_bytes,
        .batch_rows_max = counters->batch_rows_max,
        .batches_lost = counters->batches_lost,
        .filling = batch_view(shard->filling),
        .is_flying = shard->flying != NULL,
        .commit = latency_total(&counters->commit),
        .commit_last_minute = latency_last_minute(&counters->commit, loop_now_ms(actor->loop)),
        .cache_hits = counters->cache_hits,
        .cache_misses = counters->cache_misses,
        .mails = counters->mails,
        .mail_bytes = counters->mail_bytes,
        .intake_bytes = shard->intake_bytes,
    };
    (void)snprintf(stats->loop, sizeof stats->loop, "%s", actor->loop->name); /* as long */
    if (shard->flying != NULL) {
        stats->flying = batch_view(shard->flying);
    }
    add_scan(shard, stats);
}

/* ---- the store (worker) --------------------------------------------------------------------- */

static enum err look_at_rows(struct shard *shard, struct msg *msg, struct json_writer *w)
{
    const struct shard_inspect *body = &msg->body.inspect;
    struct look_rows rows = {
        .family = shard->family,
        .prefix = body->prefix,
        .after = body->after,
        .limit = body->limit,
    };
    const enum err err = look_rows(shard->kv, &rows, w);
    if (err == ERR_INVALID) {
        msg->param = rows.is_after_wrong ? SLICE("after") : SLICE("prefix");
        msg->sentence = rows.word.len > 0
                            ? arena_format(&msg->arena, "%s: %.*s", rows.why, SLICE_FMT(rows.word))
                            : slice_str(rows.why);
        return ERR_BAD_FIELD;
    }
    return err;
}

static enum err look_at_mail(struct shard *shard, struct shard_inspect *body, struct json_writer *w)
{
    struct look_mail mail = {.id = body->mail, .has_transcripts = body->has_transcripts};
    return look_mail(shard->kv, &mail, w);
}

static void inspect_work(struct shard_job *job)
{
    struct inspect_work *work = CONTAINER_OF(job, struct inspect_work, job);
    struct shard_inspect *body = &job->msg->body.inspect;
    struct shard *shard = job->shard;
    struct buf text;
    struct json_writer w;
    buf_init(&text, JSON_MAX);
    json_start(&w, &text);
    json_open_object(&w);
    switch (body->op) {
    case INSPECT_STATS:
        break;
    case INSPECT_SHARD:
        look_shard(shard->kv, shard->family, &w);
        break;
    case INSPECT_STORE:
        look_store(shard->kv, &w);
        break;
    case INSPECT_FAMILIES:
        look_shard(shard->kv, shard->family, &w);
        look_families(shard->kv, shard->family, &w);
        break;
    case INSPECT_ROWS:
        work->err = look_at_rows(shard, job->msg, &w);
        break;
    case INSPECT_MAIL:
        work->err = look_at_mail(shard, body, &w);
        break;
    }
    if (work->err == ERR_OK) {
        work->err = buf_err(&text);
    }
    if (work->err == ERR_OK) { /* without the brace that opened it */
        body->json = arena_dup(&job->msg->arena, slice_from(buf_slice(&text), 1));
    }
    buf_fini(&text);
}

static void inspect_done(struct shard_job *job)
{
    struct inspect_work *work = CONTAINER_OF(job, struct inspect_work, job);
    msg_return(job->msg, work->err); /* leans on nothing that is not on disk */
}

void inspect_handle(struct shard *shard, struct msg *msg)
{
    struct shard_inspect *body = &msg->body.inspect;
    if (body->op == INSPECT_MAIL && id_is_none(body->mail)) {
        msg_return(msg, ERR_NOT_FOUND);
        return;
    }
    inspect_stats(shard, &body->stats);
    if (body->op == INSPECT_STATS) {
        msg_return(msg, ERR_OK);
        return;
    }
    struct inspect_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.msg = msg;
    work->err = ERR_OK;
    shard_offload(shard, &work->job, inspect_work, inspect_done);
}
