/* api_top.c - one look at everything: what the process, its loops, shards and sites do now.
 *
 * Counters count since the start, times in microseconds likewise: who asks twice has rates. All of
 * it but the sites is read from the metrics, which nobody is asked for; delivery shows the sites
 * with the most work, and when it has no time for that the answer has no `sites`.
 *
 *     GET --> worker: /proc --> DELIVER_QUEUE (TOP) --> 200
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/metric.h"
#include "base/version.h"
#include "edge/api_int.h"
#include "edge/process.h"

#define SITES_SHOWN 20
#define ALL_ROWS    UINT32_MAX

struct top_job {
    struct job job;
    struct edge *edge;
    uint64_t token;
    struct process_stat process;
};

static void number(struct json_writer *w, const char *name, enum metric metric)
{
    api_u64(w, name, metric_read(metric));
}

static void number_of(struct json_writer *w, const char *name, enum metric metric, uint32_t row)
{
    api_u64(w, name, metric_read_of(metric, row, 0));
}

static void write_process(struct json_writer *w, const struct process_stat *stat)
{
    json_key(w, "process");
    json_open_object(w);
    api_u64(w, "residentBytes", stat->resident_bytes);
    api_u64(w, "virtualBytes", stat->virtual_bytes);
    api_u64(w, "cpuUs", stat->cpu_us);
    api_u64(w, "openFiles", stat->open_files);
    api_u64(w, "openFilesMax", stat->open_files_max);
    api_u64(w, "startedAt", stat->started_unix_ms);
    json_close_object(w);
}

static void write_totals(struct json_writer *w)
{
    static const struct {
        const char *name;
        enum metric metric;
    } totals[] = {
        {"accepted", METRIC_MAIL_ACCEPTED},
        {"acceptedBytes", METRIC_MAIL_ACCEPTED_BYTES},
        {"received", METRIC_INBOUND_MAILS},
        {"submitted", METRIC_SUBMIT_MAILS},
        {"delivered", METRIC_DELIVERED},
        {"deferred", METRIC_DEFERRED},
        {"bounced", METRIC_BOUNCED},
        {"webhooksAcknowledged", METRIC_HOOKS_ACKED},
        {"webhooksDeferred", METRIC_HOOKS_PUT_OFF},
        {"webhooksFailed", METRIC_HOOKS_FAILED},
        {"requests", METRIC_HTTP_REQUESTS},
        {"serverErrors", METRIC_HTTP_5XX},
        {"shed", METRIC_HTTP_SHED},
        {"connections", METRIC_HTTP_CONNS},
        {"smtpSessions", METRIC_SMTP_SESSIONS},
        {"submissionSessions", METRIC_SUBMIT_SESSIONS},
        {"scheduled", METRIC_SCHED_ENTRIES},
        {"dueTransactional", METRIC_SCHED_TRANSACTIONAL},
        {"dueBulk", METRIC_SCHED_BULK},
        {"attemptsOpen", METRIC_ATTEMPTS_OPEN},
        {"sitesKnown", METRIC_SITES},
        {"sitesClosed", METRIC_SITES_CLOSED},
        {"commitBatches", METRIC_COMMIT_BATCHES},
        {"commitRows", METRIC_COMMIT_ROWS},
        {"commitSyncs", METRIC_COMMIT_SYNCS},
        {"commitFailed", METRIC_COMMIT_FAILED},
        {"freeBytes", METRIC_STORE_FREE_BYTES},
        {"writeStopped", METRIC_STORE_STOPPED},
        {"delayedBytesPerSecond", METRIC_STORE_DELAYED},
        {"compactionsRunning", METRIC_STORE_COMPACTIONS},
        {"workers", METRIC_WORKERS},
        {"workerJobs", METRIC_WORKER_JOBS},
        {"workerTasks", METRIC_WORKER_WAIT},
        {"slowHandlers", METRIC_HANDLER_SLOW},
        {"logDropped", METRIC_LOG_DROPPED},
    };
    json_key(w, "totals");
    json_open_object(w);
    for (size_t i = 0; i < ARRAY_LEN(totals); i++) {
        number(w, totals[i].name, totals[i].metric);
    }
    api_u64(w, "requestUs", metric_sum_us(METRIC_HTTP_LATENCY, ALL_ROWS));
    api_u64(w, "webhookUs", metric_sum_us(METRIC_HOOK_LATENCY, ALL_ROWS));
    api_u64(w, "commitUs", metric_sum_us(METRIC_COMMIT_LATENCY, ALL_ROWS));
    api_u64(w, "workerWaitUs", metric_sum_us(METRIC_WORKER_WAIT, ALL_ROWS));
    api_u64(w, "workerUs", metric_sum_us(METRIC_WORKER_TIME, ALL_ROWS));
    json_close_object(w);
}

static void write_actor(struct json_writer *w, uint32_t actor)
{
    api_u64(w, "poolSize", metric_read_of(METRIC_POOL_SIZE, actor, LABEL_POOL_REQUEST));
    api_u64(w, "poolFree", metric_read_of(METRIC_POOL_FREE, actor, LABEL_POOL_REQUEST));
    number_of(w, "portDepth", METRIC_PORT_DEPTH, actor);
    number_of(w, "handled", METRIC_HANDLER_TIME, actor);
    api_u64(w, "handlerUs", metric_sum_us(METRIC_HANDLER_TIME, actor));
    number_of(w, "slowHandlers", METRIC_HANDLER_SLOW, actor);
}

/* slot: as main.c deals them out: main's is 0, then the loops', then delivery's. */
static void write_loop(struct json_writer *w, const char *name, uint32_t slot, uint32_t actor)
{
    json_open_object(w);
    api_text(w, "loop", slice_str(name));
    number_of(w, "idleUs", METRIC_LOOP_IDLE, slot);
    number_of(w, "turns", METRIC_LOOP_TURNS, slot);
    number_of(w, "connections", METRIC_LOOP_CONNS, slot);
    number_of(w, "requests", METRIC_LOOP_REQUESTS, slot);
    write_actor(w, actor);
    json_close_object(w);
}

static void write_loops(struct json_writer *w, const struct place *place)
{
    json_key(w, "loops");
    json_open_array(w);
    for (uint32_t i = 0; i < place->loop_count; i++) {
        char name[12];
        (void)snprintf(name, sizeof name, "%u", (unsigned)i); /* fits */
        write_loop(w, name, i + 1, metric_actor("edge", i));
    }
    write_loop(w, "deliver", place->loop_count + 1, metric_actor("deliver", 0));
    json_close_array(w);
}

static void write_shards(struct json_writer *w, const struct place *place)
{
    json_key(w, "shards");
    json_open_array(w);
    for (uint32_t i = 0; i < place->shard_count; i++) {
        const uint32_t actor = metric_actor("shard", i);
        json_open_object(w);
        api_u64(w, "shard", i);
        number_of(w, "accepted", METRIC_SHARD_ACCEPTED, actor);
        number_of(w, "batches", METRIC_SHARD_BATCHES, actor);
        number_of(w, "rows", METRIC_SHARD_ROWS, actor);
        api_u64(w, "commitUs", metric_sum_us(METRIC_SHARD_COMMIT, actor));
        number_of(w, "memtableBytes", METRIC_STORE_MEMTABLE, actor);
        number_of(w, "compactionDebtBytes", METRIC_STORE_DEBT, actor);
        write_actor(w, actor);
        json_close_object(w);
    }
    json_close_array(w);
}

/* queue: NULL: delivery had no time. */
static void answer(struct request *request, const struct deliver_queue *queue)
{
    const struct place *place = request->edge->place;
    const struct process_stat *process = request->chain;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_u64(&body.w, "at", clock_unix_ms());
    api_u64(&body.w, "atUs", clock_mono_us());
    api_text(&body.w, "version", SLICE(MEERKAT_VERSION));
    write_process(&body.w, process);
    write_totals(&body.w);
    write_loops(&body.w, place);
    write_shards(&body.w, place);
    if (queue != NULL) {
        json_key(&body.w, "sites");
        json_open_array(&body.w);
        for (uint32_t i = 0; i < queue->site_count; i++) {
            api_queue_site(&body.w, &queue->sites[i]);
        }
        json_close_array(&body.w);
    }
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void on_sites(struct request *request, struct msg *msg)
{
    answer(request, msg->err == ERR_OK ? &msg->body.queue : NULL);
}

static void on_process(struct job *job)
{
    struct top_job *work = CONTAINER_OF(job, struct top_job, job);
    struct edge *edge = work->edge;
    struct request *request = edge_slot_find(edge, work->token);
    if (request != NULL) {
        struct process_stat *process = arena_alloc(&request->keep, sizeof *process);
        *process = work->process;
        request->chain = process;
        struct msg *msg = api_take(request, MSG_DELIVER_QUEUE);
        if (msg != NULL) {
            msg->body.queue = (struct deliver_queue){.op = QUEUE_TOP, .limit = SITES_SHOWN};
            api_post_errors(request, edge->place->deliver, msg, on_sites);
        }
    }
    free(work);
    edge_job_done(edge, &edge->metrics_jobs);
}

static void read_process(struct job *job)
{
    struct top_job *work = CONTAINER_OF(job, struct top_job, job);
    process_read(&work->process, work->edge->place->started_unix_ms);
}

void api_top(struct request *request)
{
    struct edge *edge = request->edge;
    if (edge->metrics_jobs >= METRICS_JOBS_MAX || edge_slot_take(edge, request) == UINT32_MAX) {
        api_fail(request, ERR_BUSY);
        return;
    }
    struct top_job *work = mem_zalloc(sizeof *work);
    work->edge = edge;
    work->token = edge_slot_token(edge, request->slot);
    edge->metrics_jobs += 1;
    loop_offload(edge->loop, &work->job, read_process, on_process);
}
