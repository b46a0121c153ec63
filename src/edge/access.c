/* access.c - what is known of a request beside its wish: its id and trace, and its line in the log.
 *
 * The id is ours, and in the answer. A trusted proxy may give another, so that its log and ours
 * have the same word for a request; from anybody else it would let strangers choose what our log
 * says.
 *
 * The log names routes and never paths or queries: those of links hold signed tokens. A line each
 * request is for who asks for it (access_log); what failed is always told, as far as a flood of it
 * leaves room.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "edge/edge_int.h"

#include <stdio.h>
#include <string.h>

#define TOLD_PER_S 10 /* lines of one kind, on each loop */
#define SECOND_MS  1000

/* Two of them would be no trace (Trace Context 3.2). */
static bool find_trace(const struct http_request *http, struct trace *trace)
{
    const struct http_header *found = NULL;
    for (uint32_t i = 0; i < http->header_count; i++) {
        if (slice_equal_nocase(http->headers[i].name, SLICE("traceparent"))) {
            if (found != NULL) {
                return false;
            }
            found = &http->headers[i];
        }
    }
    return found != NULL && trace_read(found->value, trace);
}

void access_begin(struct request *request)
{
    const struct http_request *http = &request->http;
    struct origin *origin = &request->origin;
    if (request->session->is_proxy || request->session->is_operator) {
        struct slice id = http_header_get(http, SLICE("x-request-id"));
        if (request_id_is_good(id)) {
            memcpy(origin->request, id.data, id.len);
            origin->request[id.len] = '\0';
        }
    }
    if (!find_trace(http, &origin->trace)) {
        memset(&origin->trace, 0, sizeof origin->trace);
    }
}

/* The span is ours: it is we who answered. */
size_t access_trace_header(const struct request *request, char out[ACCESS_TRACE_MAX])
{
    struct trace trace = request->origin.trace;
    char text[TRACE_TEXT_MAX];
    if (trace_is_none(&trace)) {
        out[0] = '\0';
        return 0;
    }
    memcpy(trace.span, request->span, sizeof trace.span);
    (void)trace_text(&trace, text); /* of known length */
    int len = snprintf(out, ACCESS_TRACE_MAX, "traceparent: %s\r\n", text);
    CHECK(len > 0 && len < ACCESS_TRACE_MAX);
    return (size_t)len;
}

static bool may_tell(struct told *told, uint64_t now_ms)
{
    if (now_ms >= told->since_ms + SECOND_MS) {
        told->since_ms = now_ms;
        told->count = 0;
    }
    if (told->count >= TOLD_PER_S) {
        told->left_out += 1;
        return false;
    }
    told->count += 1;
    return true;
}

/* What its caller should hear of from us, or we from him. */
static bool does_matter(uint16_t status)
{
    return status == 401 || status == 403 || status == 413 || status == 429;
}

static void tell(const struct request *request, enum log_level level, const char *event,
                 const struct access_end *end)
{
    const char *route = request->route == NULL ? "" : request->route->path;
    const char *err = end->err == ERR_OK ? "" : err_info(end->err)->name;
    LOG_LINE(level, event, LOG_ORIGIN(&request->origin),
             LOG_ACCOUNT("account", request->caller.account),
             LOG_STR("method", http_method_text(request->http.method)), LOG_STR("route", route),
             LOG_U64("status", end->status), LOG_STR("err", err), LOG_U64("took_us", end->took_us),
             LOG_U64("bytes", end->bytes), LOG_U64("left_out", end->left_out));
}

void access_end(struct request *request, struct access_end *end)
{
    struct edge *edge = request->edge;
    const bool is_on = edge->place->conf->access_log;
    const enum log_level level = LOG_LEVEL_IF(is_on);
    if (log_is_on(level)) {
        tell(request, level, "http.request", end);
    }
    if (end->status >= 500 && may_tell(&edge->told_failed, loop_now_ms(edge->loop))) {
        end->left_out = edge->told_failed.left_out;
        edge->told_failed.left_out = 0;
        tell(request, LOG_LEVEL_WARN, "http.failed", end);
    } else if (does_matter(end->status) && !is_on &&
               may_tell(&edge->told_refused, loop_now_ms(edge->loop))) {
        end->left_out = edge->told_refused.left_out;
        edge->told_refused.left_out = 0;
        tell(request, LOG_LEVEL_INFO, "http.refused", end);
    }
}
