/* api_service.c - health, metrics, the API's description: answered by the edge itself.
 *
 * The page of metrics is long and asks the kernel about the process, so a worker writes it:
 *
 *     GET /metrics --> worker: cells, /proc --> the request, if it still waits --> 200
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/metric.h"
#include "edge/api_int.h"
#include "edge/process.h"

#define METRICS_MAX (4 * 1024 * 1024)

struct page_job {
    struct job job;
    struct edge *edge;
    uint64_t token;
    struct buf page;
};

void api_health(struct request *request)
{
    bool is_open = request->edge->phase == EDGE_OPEN || request->edge->phase == EDGE_LEAVING;
    if (!is_open || request->edge->drain_wish != DRAIN_NONE) {
        api_fail(request, ERR_DRAINING);
        return;
    }
    api_send(request, 200, SLICE("application/json"), SLICE("{\"ok\":true}"));
}

void api_openapi(struct request *request)
{
    api_send(request, 200, SLICE("application/json"), buf_slice(&request->edge->openapi));
}

static void write_page(struct job *job)
{
    struct page_job *work = CONTAINER_OF(job, struct page_job, job);
    struct process_stat stat;
    process_read(&stat, work->edge->place->started_unix_ms);
    metric_print(&work->page);
    process_print(&stat, &work->page);
}

static void page_written(struct job *job)
{
    struct page_job *work = CONTAINER_OF(job, struct page_job, job);
    struct edge *edge = work->edge;
    struct request *request = edge_slot_find(edge, work->token);
    if (request != NULL) {
        api_send(request, 200, SLICE("text/plain; version=0.0.4"), buf_slice(&work->page));
    }
    buf_fini(&work->page);
    free(work);
    edge_job_done(edge, &edge->metrics_jobs);
}

void api_metrics(struct request *request)
{
    struct edge *edge = request->edge;
    if (edge->metrics_jobs >= METRICS_JOBS_MAX || edge_slot_take(edge, request) == UINT32_MAX) {
        api_fail(request, ERR_BUSY);
        return;
    }
    struct page_job *work = mem_zalloc(sizeof *work);
    work->edge = edge;
    work->token = edge_slot_token(edge, request->slot);
    buf_init(&work->page, METRICS_MAX);
    edge->metrics_jobs += 1;
    loop_offload(edge->loop, &work->job, write_page, page_written);
}
