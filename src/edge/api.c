/* api.c - what all handlers share: reading bodies, posting, answering. */
#include "edge/api_int.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/metric.h"
#include "edge/edge_trace.h"

#define MORE_HEADERS_MAX 4096 /* of one answer, beside those of all */
#define ANSWER_BYTES_MAX (MAIL_BYTES_MAX + MIB)
#define RETRY_AFTER_S    1

/* ---- decode --------------------------------------------------------------------------------- */

bool api_read(struct request *request, const struct json_shape *shape, void *out)
{
    struct json_fault fault = {{0}, {0}};
    enum err err = json_read(request->http.body, shape, &request->arena, out, &fault);
    if (err != ERR_OK) {
        api_fail_field(request, err, fault.param, fault.sentence);
        return false;
    }
    return true;
}

bool api_page(struct request *request, uint32_t *limit)
{
    struct slice text;
    uint64_t value = PAGE_DEFAULT;
    if (http_query_get(&request->http, SLICE("limit"), &request->arena, &text) &&
        (slice_uint(text, PAGE_MAX, &value) != ERR_OK || value == 0)) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("limit"), SLICE("limit is 1 to 200"));
        return false;
    }
    *limit = (uint32_t)value;
    return true;
}

bool api_param_id(struct request *request, uint32_t index, enum id_kind kind, struct id *id)
{
    CHECK(index < ROUTE_PARAM_MAX);
    if (id_parse(kind, request->params[index], id) != ERR_OK) {
        api_fail(request, ERR_NOT_FOUND);
        return false;
    }
    return true;
}

bool api_read_metadata(struct request *request, const struct json_pairs *pairs, struct buf *pack)
{
    for (uint32_t i = 0; i < pairs->count; i++) {
        const struct json_pair *pair = &pairs->items[i];
        if (pair->name.len == 0 || pair->name.len > METADATA_NAME_MAX ||
            pair->value.len > METADATA_VALUE_MAX) {
            api_fail_field(request, ERR_BAD_FIELD, SLICE("metadata"),
                           SLICE("a metadata name or value is too long"));
            return false;
        }
        buf_put_slice(pack, pair->name);
        buf_put_slice(pack, pair->value);
        buf_put_slice(pack, pair->is_text ? SLICE("t") : SLICE("n"));
    }
    return true;
}

/* ---- post ----------------------------------------------------------------------------------- */

struct msg *api_take(struct request *request, enum msg_kind kind)
{
    CHECK_LOOP(request->edge->loop);
    struct msg *msg = msg_take(&request->edge->actor, kind);
    if (msg == NULL) {
        metric_add(METRIC_HTTP_SHED, 1);
        api_fail(request, ERR_BUSY);
    }
    return msg;
}

struct actor *api_shard(struct request *request)
{
    return place_shard(request->edge->place, request->caller.account);
}

bool api_reserve(struct request *request, uint64_t bytes)
{
    struct edge *edge = request->edge;
    if (edge->body_bytes + bytes > EDGE_BODY_BYTES) {
        metric_add(METRIC_HTTP_SHED, 1);
        api_fail(request, ERR_BUSY);
        return false;
    }
    request->reserved_bytes += bytes;
    edge->body_bytes += bytes;
    return true;
}

static void on_good_return(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    request->then(request, msg);
}

void api_post_apart(struct request *request, struct actor *to, struct msg *msg,
                    request_msg_fn *on_return)
{
    struct edge *edge = request->edge;
    CHECK(!request->is_answered);
    CHECK(on_return != NULL);
    uint32_t slot = edge_slot_take(edge, request);
    CHECK(slot != UINT32_MAX); /* as many slots as messages */
    msg->token = edge_slot_token(edge, slot);
    msg->origin = request->origin;
    msg->expire_ms = loop_now_ms(edge->loop) + REQUEST_WAIT_MS;
    request->on_return = on_return;
    actor_post(to, msg);
}

void api_post_errors(struct request *request, struct actor *to, struct msg *msg,
                     request_msg_fn *on_return)
{
    struct arena fresh = msg->arena;
    msg->arena = request->arena;
    request->arena = fresh;
    api_post_apart(request, to, msg, on_return);
}

void api_post(struct request *request, struct actor *to, struct msg *msg, request_msg_fn *on_return)
{
    request->then = on_return;
    api_post_errors(request, to, msg, on_good_return);
}

/* ---- answer --------------------------------------------------------------------------------- */

void api_json_start(struct api_body *body)
{
    buf_init(&body->buf, ANSWER_BYTES_MAX);
    json_start(&body->w, &body->buf);
}

void api_json_send(struct request *request, uint16_t status, struct api_body *body)
{
    CHECK(body->w.depth == 0); /* what was opened was closed */
    bool is_secret = request->keep.is_secret;
    if (buf_err(&body->buf) != ERR_OK) {
        buf_fini(&body->buf);
        api_fail(request, ERR_TOO_LARGE);
        return;
    }
    api_send(request, status, SLICE("application/json"), buf_slice(&body->buf));
    if (is_secret) { /* the request may be gone */
        crypto_wipe(body->buf.data, body->buf.len);
    }
    buf_fini(&body->buf);
}

/* Nothing follows this answer: RFC 9112 9.6 has only the last one say so, or a client would not
 * wait for those behind it. */
static bool is_last(const struct request *request)
{
    return request->session->is_ending && request->link.next == &request->session->requests;
}

/* Of whoever was charged: the account, the key, or the address. */
static const char *rate_headers(const struct request *request, char out[128])
{
    const struct rate_view *rate = &request->rate;
    out[0] = '\0';
    if (rate->limit != 0) {
        (void)snprintf(out, 128, /* three numbers of ten digits at most */
                       "ratelimit-limit: %u\r\nratelimit-remaining: %u\r\nratelimit-reset: %u\r\n",
                       rate->limit, rate->remaining, rate->reset_s);
    }
    return out;
}

static uint32_t label_of(const struct route *route)
{
    if (route == NULL) {
        return LABEL_ROUTE_NONE;
    }
    if (slice_starts(slice_str(route->path), SLICE("/v1/send"))) {
        return LABEL_ROUTE_SEND;
    }
    if (route->access == ROUTE_PUBLIC || route->access == ROUTE_ADMIN) {
        return route->access == ROUTE_PUBLIC ? LABEL_ROUTE_PUBLIC : LABEL_ROUTE_ADMIN;
    }
    return route->method == HTTP_METHOD_GET ? LABEL_ROUTE_READ : LABEL_ROUTE_WRITE;
}

static void count_answer(struct request *request, uint16_t status, uint64_t bytes)
{
    uint32_t answer = LABEL_ANSWER_2XX + (uint32_t)min_u64(status / 100U - 2U, 3);
    metric_add(METRIC_HTTP_REQUESTS, 1);
    metric_add(METRIC_LOOP_REQUESTS, 1);
    metric_add_at(METRIC_HTTP_ANSWERS,
                  metric_pair(METRIC_HTTP_ANSWERS, label_of(request->route), answer), 1);
    if (status >= 500) {
        metric_add(METRIC_HTTP_5XX, 1);
    }
    uint64_t took_us = request->read_us != 0 ? clock_mono_us() - request->read_us : 0;
    if (request->read_us != 0) {
        metric_observe_us(METRIC_HTTP_LATENCY, took_us);
    }
    access_end(request,
               &(struct access_end){
                   .took_us = took_us, .bytes = bytes, .status = status, .err = request->failed});
}

static void send_with(struct request *request, uint16_t status, struct slice content_type,
                      struct slice body, const char *more_headers)
{
    CHECK_LOOP(request->edge->loop);
    CHECK(!request->is_answered); /* exactly once */
    CHECK(request->slot == UINT32_MAX);
    if (request->item_of != NULL) {
        api_batch_answer(request, body);
        return;
    }
    char headers[MORE_HEADERS_MAX + 512];
    char rate[128];
    char trace[ACCESS_TRACE_MAX];
    (void)access_trace_header(request, trace); /* terminated */
    int len = snprintf(headers, sizeof headers,
                       "x-request-id: %s\r\nx-content-type-options: nosniff\r\n%s%s%s%s",
                       request->origin.request, trace,
                       request->is_old && !request->is_close ? "connection: keep-alive\r\n" : "",
                       rate_headers(request, rate), more_headers);
    CHECK(len > 0 && (size_t)len < sizeof headers);
    struct http_answer answer = {
        .status = status,
        .content_type = content_type,
        .extra_headers = slice_of(headers, (size_t)len),
        .body = body,
        .is_head = request->is_head,
        .is_close = request->is_close || is_last(request),
    };
    if (tap_is_on(&request->edge->tap)) {
        edge_trace_answer(request, &answer);
    }
    http_write_answer(&request->answer, &answer);
    CHECK(!request->answer.is_over); /* bodies stay below ANSWER_BYTES_MAX */
    count_answer(request, status, body.len);
    session_answered(request);
}

void api_send(struct request *request, uint16_t status, struct slice content_type,
              struct slice body)
{
    send_with(request, status, content_type, body, "");
}

void api_send_more(struct request *request, uint16_t status, const struct api_content *content,
                   const char *more_headers)
{
    CHECK(strlen(more_headers) <= MORE_HEADERS_MAX);
    send_with(request, status, content->type, content->body, more_headers);
}

static void fail_with(struct request *request, enum err err, struct slice param,
                      struct slice sentence, uint32_t retry_s)
{
    const struct err_info *info = err_info(err);
    struct api_body body;
    metric_add_at(METRIC_HTTP_ERRORS, err, 1);
    request->failed = err;
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "error", sentence.len > 0 ? sentence : slice_str(info->text));
    api_text(&body.w, "code", slice_str(info->code));
    if (param.len > 0) {
        api_text(&body.w, err == ERR_SCOPE ? "required" : "param", param);
    }
    if (request->item_of != NULL) {
        api_u64(&body.w, "statusCode", info->http_status); /* it has no status line */
    }
    json_close_object(&body.w);
    char retry[64];
    const char *more = "";
    if (info->http_status == 429 || info->http_status == 503) {
        uint64_t known_s =
            retry_s > 0 || info->http_status == 503 ? retry_s : request->rate.retry_s;
        (void)snprintf(retry, sizeof retry, "retry-after: %u\r\n",
                       (unsigned)(known_s > 0 ? known_s : RETRY_AFTER_S)); /* it fits */
        more = retry;
    } else if (err == ERR_UNAUTHORIZED) {
        more = "www-authenticate: Bearer\r\n";
    }
    send_with(request, info->http_status, SLICE("application/json"), buf_slice(&body.buf), more);
    buf_fini(&body.buf);
}

void api_fail_field(struct request *request, enum err err, struct slice param,
                    struct slice sentence)
{
    fail_with(request, err, param, sentence, 0);
}

void api_fail(struct request *request, enum err err)
{
    api_fail_field(request, err, request->fault_param, request->fault_sentence);
}

void api_fail_msg(struct request *request, const struct msg *msg)
{
    fail_with(request, msg->err, msg->param, msg->sentence, msg->rate.retry_s);
}

void api_id(struct json_writer *w, const char *name, enum id_kind kind, struct id id)
{
    char text[ID_TEXT_MAX];
    size_t len = id_text(kind, id, text);
    json_key(w, name);
    json_text(w, slice_of(text, len));
}

void api_text(struct json_writer *w, const char *name, struct slice text)
{
    json_key(w, name);
    json_text(w, text);
}

void api_text_or_null(struct json_writer *w, const char *name, struct slice text)
{
    json_key(w, name);
    json_text_or_null(w, text);
}

void api_u64(struct json_writer *w, const char *name, uint64_t value)
{
    json_key(w, name);
    json_u64(w, value);
}

void api_u64_or_null(struct json_writer *w, const char *name, uint64_t value)
{
    json_key(w, name);
    if (value != 0) {
        json_u64(w, value);
    } else {
        json_nil(w);
    }
}

void api_bool(struct json_writer *w, const char *name, bool value)
{
    json_key(w, name);
    json_bool(w, value);
}

void api_metadata(struct json_writer *w, struct slice pack)
{
    json_key(w, "metadata");
    json_open_object(w);
    struct slice name;
    struct slice value;
    struct slice type;
    while (get_slice(&pack, &name) && get_slice(&pack, &value) && get_slice(&pack, &type)) {
        json_key_slice(w, name);
        if (slice_equal(type, SLICE("t"))) {
            json_text(w, value);
        } else {
            json_raw(w, value);
        }
    }
    json_close_object(w);
}

void api_pack(struct json_writer *w, const char *name, struct slice pack)
{
    struct slice item;
    json_key(w, name);
    json_open_array(w);
    while (get_slice(&pack, &item)) {
        json_text(w, item);
    }
    json_close_array(w);
}
