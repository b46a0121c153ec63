/* api_service.c - health, metrics, the API's description: answered by the edge itself. */
#include "base/metric.h"
#include "edge/api_int.h"

#define METRICS_MAX (4 * 1024 * 1024)

void api_health(struct request *request)
{
    if (request->edge->phase != EDGE_OPEN) {
        api_fail(request, ERR_DRAINING);
        return;
    }
    api_send(request, 200, SLICE("application/json"), SLICE("{\"ok\":true}"));
}

void api_openapi(struct request *request)
{
    api_send(request, 200, SLICE("application/json"), buf_slice(&request->edge->openapi));
}

void api_metrics(struct request *request)
{
    struct buf out;
    buf_init(&out, METRICS_MAX);
    metric_print(&out);
    api_send(request, 200, SLICE("text/plain; version=0.0.4"), buf_slice(&out));
    buf_fini(&out);
}
