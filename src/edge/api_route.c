/* api_route.c - routes, and the webhook of a domain: its `*@domain` route.
 *
 * What is judged here is syntax: a destination that can be called or written to. Whether a pattern
 * compiles, whose its domain is and whether it may receive, the shard knows.
 */
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/addr.h"
#include "net/http_url.h"

#define EVENTS_MAX 16

/* ---- decode --------------------------------------------------------------------------------- */

struct route_body {
    struct slice match;
    struct slice action;
    struct slice destination;
    struct slice ack_mode;
    bool is_enabled;
    bool has_match;
    bool has_action;
    bool has_destination;
    bool has_ack_mode;
    bool has_enabled;
};

#define AT(member)  .offset = offsetof(struct route_body, member)
#define HAS(member) .has_offset = offsetof(struct route_body, member)
static const struct json_field route_fields[] = {
    {.name = "match", .type = JSON_TEXT, AT(match), HAS(has_match), .max = MATCH_TEXT_MAX},
    {.name = "action", .type = JSON_TEXT, AT(action), HAS(has_action), .max = 16},
    {.name = "destination",
     .type = JSON_TEXT,
     AT(destination),
     HAS(has_destination),
     .max = HTTP_CALL_URL_MAX},
    {.name = "ackMode", .type = JSON_TEXT, AT(ack_mode), HAS(has_ack_mode), .max = 16},
    {.name = "enabled", .type = JSON_BOOL, AT(is_enabled), HAS(has_enabled)},
};
const struct json_shape api_route_shape = {route_fields, ARRAY_LEN(route_fields),
                                           sizeof(struct route_body)};
#undef AT
#undef HAS

struct replay_body {
    uint64_t since;
};
static const struct json_field replay_fields[] = {
    {.name = "since",
     .type = JSON_U64,
     .is_required = true,
     .offset = offsetof(struct replay_body, since)},
};
const struct json_shape api_replay_shape = {replay_fields, ARRAY_LEN(replay_fields),
                                            sizeof(struct replay_body)};

struct hook_body {
    struct slice url;
    struct slice ack_mode;
    bool has_ack_mode;
};
static const struct json_field hook_fields[] = {
    {.name = "url",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct hook_body, url),
     .max = HTTP_CALL_URL_MAX},
    {.name = "ackMode",
     .type = JSON_TEXT,
     .offset = offsetof(struct hook_body, ack_mode),
     .has_offset = offsetof(struct hook_body, has_ack_mode),
     .max = 16},
};
const struct json_shape api_hook_shape = {hook_fields, ARRAY_LEN(hook_fields),
                                          sizeof(struct hook_body)};

struct events_body {
    struct json_texts events;
};
static const struct json_field events_fields[] = {
    {.name = "events",
     .type = JSON_TEXT_LIST,
     .is_required = true,
     .offset = offsetof(struct events_body, events),
     .max = EVENTS_MAX},
};
const struct json_shape api_hook_events_shape = {events_fields, ARRAY_LEN(events_fields),
                                                 sizeof(struct events_body)};

struct overlap_body {
    uint64_t overlap_s;
};
static const struct json_field overlap_fields[] = {
    {.name = "overlapSeconds",
     .type = JSON_U64,
     .offset = offsetof(struct overlap_body, overlap_s),
     .max = KEY_OVERLAP_S_MAX},
};
const struct json_shape api_hook_rotate_shape = {overlap_fields, ARRAY_LEN(overlap_fields),
                                                 sizeof(struct overlap_body)};

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

/* Plain http is for trying things out on the same machine. */
static bool check_url(struct request *request, const char *param, struct slice text)
{
    const struct conf *conf = request->edge->place->conf;
    struct http_url url;
    bool is_good = http_url_parse(text, &request->arena, &url) == ERR_OK;
    if (is_good && !conf->allow_private_targets) {
        bool is_private = url.is_literal && conn_addr_is_private(&url.addr);
        bool is_here = slice_equal(url.host, SLICE("localhost"));
        is_good = !is_private && (url.is_tls || is_here);
    }
    return is_good || fail(request, param, "a valid https url is required");
}

static bool read_action(struct request *request, struct slice text, uint8_t *action)
{
    for (enum route_action i = ROUTE_WEBHOOK; i <= ROUTE_DROP; i++) {
        if (slice_equal(text, slice_str(route_action_text(i)))) {
            *action = (uint8_t)i;
            return true;
        }
    }
    return fail(request, "action", "action is webhook, forward, store or drop");
}

static bool read_ack_mode(struct request *request, struct slice text, uint8_t *mode)
{
    for (enum ack_mode i = ACK_LENIENT; i <= ACK_CONTROL; i++) {
        if (slice_equal(text, slice_str(ack_mode_text(i)))) {
            *mode = (uint8_t)i;
            return true;
        }
    }
    return fail(request, "ackMode", "ackMode is lenient, ack or control");
}

/* By its looks; whether it fits the action of a route that is changed, the shard would have to
 * know. */
static bool check_destination(struct request *request, struct slice text)
{
    struct addr addr;
    if (text.len == 0 || slice_find(text, SLICE("://")) != SIZE_MAX) {
        return text.len == 0 || check_url(request, "destination", text);
    }
    if (addr_parse(text, &request->arena, &addr) != ERR_OK || addr.name.len > 0) {
        return fail(request, "destination", "destination is a url or an address");
    }
    return true;
}

static bool read_route(struct request *request, struct row_route *wanted, uint32_t *given)
{
    struct route_body body;
    if (!api_read(request, &api_route_shape, &body)) {
        return false;
    }
    *wanted = (struct row_route){.is_enabled = true};
    *given =
        (body.has_match ? ROUTE_FIELD_MATCH : 0u) | (body.has_action ? ROUTE_FIELD_ACTION : 0u) |
        (body.has_destination ? ROUTE_FIELD_DESTINATION : 0u) |
        (body.has_ack_mode ? ROUTE_FIELD_ACK : 0u) | (body.has_enabled ? ROUTE_FIELD_ENABLED : 0u);
    wanted->match_pattern = slice_trim(body.match);
    wanted->destination = slice_trim(body.destination);
    if (body.has_enabled) {
        wanted->is_enabled = body.is_enabled;
    }
    if (body.has_match && wanted->match_pattern.len == 0) {
        return fail(request, "match", "match must not be empty");
    }
    return (!body.has_action || read_action(request, body.action, &wanted->action)) &&
           (!body.has_ack_mode || read_ack_mode(request, body.ack_mode, &wanted->ack_mode)) &&
           check_destination(request, wanted->destination);
}

/* ---- render --------------------------------------------------------------------------------- */

static void write_route(struct json_writer *w, const struct shard_route *body, uint32_t index)
{
    const struct row_route *row = &body->rows[index];
    json_open_object(w);
    api_id(w, "id", ID_ROUTE, row->id);
    api_text(w, "match_pattern", row->match_pattern);
    api_text(w, "action", slice_str(route_action_text((enum route_action)row->action)));
    api_text_or_null(w, "destination", row->destination);
    api_text(w, "ackMode", slice_str(ack_mode_text((enum ack_mode)row->ack_mode)));
    api_bool(w, "enabled", row->is_enabled);
    api_text_or_null(w, "signing_secret", body->secrets[index]);
    api_u64(w, "created_at", row->created_unix_ms);
    json_close_object(w);
}

static void on_one(struct request *request, struct msg *msg)
{
    const struct shard_route *route = &msg->body.route;
    struct api_body body;
    CHECK(route->row_count == 1);
    api_json_start(&body);
    write_route(&body.w, route, 0);
    api_json_send(request, route->op == ROUTE_CREATE ? 201 : 200, &body);
}

static void on_list(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.route.row_count; i++) {
        write_route(&body.w, &msg->body.route, i);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

static void on_ok(struct request *request, struct msg *msg UNUSED)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

/* ---- routes --------------------------------------------------------------------------------- */

static struct msg *take(struct request *request, enum route_op op)
{
    struct msg *msg = api_take(request, MSG_SHARD_ROUTE);
    if (msg != NULL) {
        msg->body.route.caller = request->caller;
        msg->body.route.op = op;
        msg->body.route.id = request->subject;
    }
    return msg;
}

static void post(struct request *request, struct msg *msg, request_msg_fn *on_return)
{
    if (msg != NULL) {
        api_post(request, api_shard(request), msg, on_return);
    }
}

void api_route_create(struct request *request)
{
    struct row_route wanted;
    uint32_t given;
    if (!read_route(request, &wanted, &given)) {
        return;
    }
    if (!(given & ROUTE_FIELD_MATCH)) {
        (void)fail(request, "match", "match is required"); /* answered */
        return;
    }
    if (!(given & ROUTE_FIELD_ACTION)) {
        (void)fail(request, "action", "action is required"); /* answered */
        return;
    }
    struct msg *msg = take(request, ROUTE_CREATE);
    if (msg != NULL) {
        msg->body.route.wanted = wanted;
        msg->body.route.given = given;
    }
    post(request, msg, on_one);
}

void api_route_list(struct request *request)
{
    struct slice before;
    uint32_t limit;
    struct id id = {.bytes = {0}};
    if (!api_page(request, &limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("before"), &request->arena, &before) &&
        id_parse(ID_ROUTE, before, &id) != ERR_OK) {
        (void)fail(request, "before", "before is the id of a route"); /* answered */
        return;
    }
    struct msg *msg = take(request, ROUTE_LIST);
    if (msg != NULL) {
        msg->body.route.before = id;
        msg->body.route.limit = limit;
    }
    post(request, msg, on_list);
}

void api_route_get(struct request *request)
{
    if (api_param_id(request, 0, ID_ROUTE, &request->subject)) {
        post(request, take(request, ROUTE_GET), on_one);
    }
}

void api_route_change(struct request *request)
{
    struct row_route wanted;
    uint32_t given;
    if (!api_param_id(request, 0, ID_ROUTE, &request->subject) ||
        !read_route(request, &wanted, &given)) {
        return;
    }
    struct msg *msg = take(request, ROUTE_CHANGE);
    if (msg != NULL) {
        msg->body.route.wanted = wanted;
        msg->body.route.given = given;
    }
    post(request, msg, on_one);
}

void api_route_delete(struct request *request)
{
    if (api_param_id(request, 0, ID_ROUTE, &request->subject)) {
        post(request, take(request, ROUTE_DELETE), on_ok);
    }
}

static void on_replayed(struct request *request, struct msg *msg)
{
    const struct shard_route *route = &msg->body.route;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    api_u64(&body.w, "count", route->call_count);
    api_u64_or_null(&body.w, "next", route->next_unix_ms);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_route_replay(struct request *request)
{
    struct replay_body body = {.since = 0};
    if (!api_param_id(request, 0, ID_ROUTE, &request->subject) ||
        !api_read(request, &api_replay_shape, &body)) {
        return;
    }
    if (body.since >> 48 != 0) {
        (void)fail(request, "since", "since is a time in milliseconds"); /* answered */
        return;
    }
    struct msg *msg = take(request, ROUTE_REPLAY);
    if (msg != NULL) {
        msg->body.route.since_unix_ms = body.since;
    }
    post(request, msg, on_replayed);
}

/* ---- the webhook of a domain ---------------------------------------------------------------- */

static void on_hook(struct request *request, struct msg *msg)
{
    const struct shard_route *route = &msg->body.route;
    struct api_body body;
    CHECK(route->row_count == 1);
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "domain", route->domain_name);
    api_text(&body.w, "webhookUrl", route->rows[0].destination);
    api_text(&body.w, "ackMode", slice_str(ack_mode_text((enum ack_mode)route->rows[0].ack_mode)));
    api_id(&body.w, "routeId", ID_ROUTE, route->rows[0].id);
    api_text(&body.w, "signingSecret", route->secrets[0]);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_hook_set(struct request *request)
{
    struct hook_body body;
    uint8_t mode = ACK_LENIENT;
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject) ||
        !api_read(request, &api_hook_shape, &body) || !check_url(request, "url", body.url) ||
        (body.has_ack_mode && !read_ack_mode(request, body.ack_mode, &mode))) {
        return;
    }
    struct msg *msg = take(request, ROUTE_HOOK_SET);
    if (msg != NULL) {
        msg->body.route.wanted.destination = body.url;
        msg->body.route.wanted.ack_mode = mode;
        msg->body.route.given =
            ROUTE_FIELD_DESTINATION | (body.has_ack_mode ? ROUTE_FIELD_ACK : 0u);
    }
    post(request, msg, on_hook);
}

void api_hook_clear(struct request *request)
{
    if (api_param_id(request, 0, ID_DOMAIN, &request->subject)) {
        post(request, take(request, ROUTE_HOOK_CLEAR), on_ok);
    }
}

static void on_secret(struct request *request, struct msg *msg)
{
    struct api_body body;
    CHECK(msg->body.route.row_count == 1);
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "secret", msg->body.route.secrets[0]);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_hook_secret(struct request *request)
{
    if (api_param_id(request, 0, ID_DOMAIN, &request->subject)) {
        post(request, take(request, ROUTE_HOOK_SECRET), on_secret);
    }
}

void api_hook_rotate(struct request *request)
{
    struct overlap_body body = {.overlap_s = 0};
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject) ||
        (request->http.body.len > 0 && !api_read(request, &api_hook_rotate_shape, &body))) {
        return;
    }
    struct msg *msg = take(request, ROUTE_HOOK_ROTATE);
    if (msg != NULL) {
        msg->body.route.overlap_ms = body.overlap_s * 1000;
    }
    post(request, msg, on_secret);
}

static bool is_event(struct slice name)
{
    static const char *const names[] = {
        "email.sent",       "email.delivered", "email.delivery_delayed", "email.bounced",
        "email.complained", "email.failed",    "email.opened",           "email.clicked",
        "email.scheduled",  "email.cancelled", "email.unsubscribed",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal(name, slice_str(names[i]))) {
            return true;
        }
    }
    return false;
}

static void on_events(struct request *request, struct msg *msg)
{
    struct slice rest = msg->body.route.events;
    struct slice item;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "events");
    json_open_array(&body.w);
    while (get_slice(&rest, &item)) {
        json_text(&body.w, item);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_hook_events(struct request *request)
{
    struct events_body body;
    struct buf pack;
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject) ||
        !api_read(request, &api_hook_events_shape, &body)) {
        return;
    }
    for (uint32_t i = 0; i < body.events.count; i++) {
        if (!is_event(body.events.items[i])) {
            (void)fail(request, "events", "events has a name that is no event"); /* answered */
            return;
        }
    }
    struct msg *msg = take(request, ROUTE_HOOK_EVENTS);
    if (msg == NULL) {
        return;
    }
    buf_init(&pack, KIB * 2);
    for (uint32_t i = 0; i < body.events.count; i++) {
        buf_put_slice(&pack, body.events.items[i]);
    }
    msg->body.route.events = arena_dup(&request->arena, buf_slice(&pack));
    buf_fini(&pack);
    post(request, msg, on_events);
}

void api_hook_events_clear(struct request *request)
{
    if (api_param_id(request, 0, ID_DOMAIN, &request->subject)) {
        post(request, take(request, ROUTE_HOOK_EVENTS), on_ok);
    }
}

/* ---- trying it out -------------------------------------------------------------------------- */

static void on_called(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    api_u64(&body.w, "status", msg->body.call.verdict.code);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void on_test_made(struct request *request, struct msg *msg)
{
    const struct shard_route *route = &msg->body.route;
    struct msg *call = api_take(request, MSG_DELIVER_CALL);
    CHECK(route->row_count == 1);
    if (call == NULL) {
        return;
    }
    call->body.call = (struct deliver_call){
        .url = arena_dup(&request->arena, route->rows[0].destination),
        .headers = arena_dup(&request->arena, route->test_headers),
        .body = arena_dup(&request->arena, route->test_body),
        .ack_mode = ACK_LENIENT,
    };
    api_post(request, request->edge->place->deliver, call, on_called);
}

void api_hook_test(struct request *request)
{
    if (api_param_id(request, 0, ID_DOMAIN, &request->subject)) {
        post(request, take(request, ROUTE_HOOK_TEST), on_test_made);
    }
}
