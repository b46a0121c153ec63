/* api_audit.c - the account's log: who did what from where. */
#include "edge/api_int.h"

#include "base/check.h"

static const char *actor_type(uint8_t kind)
{
    switch ((enum audit_actor)kind) {
    case AUDIT_USER:
        return "user";
    case AUDIT_KEY:
        return "key";
    case AUDIT_OPERATOR:
        return "operator";
    case AUDIT_SYSTEM:
        break;
    }
    return "system";
}

static void write_row(struct json_writer *w, const struct row_audit *row)
{
    json_open_object(w);
    api_id(w, "id", ID_EVENT, row->id);
    api_text(w, "type", row->action);
    api_u64(w, "createdAt", row->created_unix_ms);
    json_key(w, "actor");
    json_open_object(w);
    api_text(w, "type", slice_str(actor_type(row->actor_kind)));
    if (!id_is_none(row->actor)) {
        api_id(w, "id", row->actor_kind == AUDIT_KEY ? ID_KEY : ID_USER, row->actor);
    }
    if (row->actor_name.len > 0) {
        api_text(w, "name", row->actor_name);
    }
    json_close_object(w);
    api_text_or_null(w, "ip", row->ip);
    api_text(w, "target", row->target);
    api_text(w, "detail", row->detail);
    json_close_object(w);
}

static void on_listed(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.audit.row_count; i++) {
        write_row(&body.w, &msg->body.audit.rows[i]);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

void api_audit_list(struct request *request)
{
    uint32_t limit;
    struct id before = {.bytes = {0}};
    uint64_t before_ms = UINT64_MAX;
    struct slice text;
    if (!api_page(request, &limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("before"), &request->arena, &text) &&
        id_parse(ID_EVENT, text, &before) != ERR_OK && slice_u64(text, &before_ms) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("before"),
                       SLICE("before is a time in milliseconds or an id"));
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_AUDIT);
    if (msg != NULL) {
        msg->body.audit.caller = request->caller;
        msg->body.audit.before = before;
        msg->body.audit.before_unix_ms = before_ms;
        msg->body.audit.limit = limit;
        api_post(request, api_shard(request), msg, on_listed);
    }
}
