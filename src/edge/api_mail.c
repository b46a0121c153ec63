/* api_mail.c - messages: list, read, raw; deliveries: retry. */
#include <string.h>

#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/attachment_link.h"
#include "mail/unsubscribe_link.h"
#include "mail/header.h"

/* ---- rendering ------------------------------------------------------------------------------ */

static void write_mode(struct json_writer *w, uint8_t mode)
{
    api_text(w, "mode", mode == MODE_TEST ? SLICE("test") : SLICE("live"));
}

static struct slice webhook_status(const struct row_mail *mail)
{
    if (mail->hook_count == 0) {
        return SLICE("");
    }
    if (mail->hook_open > 0) {
        return SLICE("pending");
    }
    return mail->hook_failed > 0 ? SLICE("failed") : SLICE("delivered");
}

static void write_thread(struct json_writer *w, struct id thread)
{
    if (id_is_none(thread)) {
        api_text_or_null(w, "thread_id", SLICE(""));
    } else {
        api_id(w, "thread_id", ID_THREAD, thread);
    }
}

/* What list rows and the full message share. */
void api_mail_members(struct json_writer *w, const struct row_mail *mail)
{
    api_id(w, "id", ID_MESSAGE, mail->id);
    api_text(w, "direction",
             mail->direction == DIRECTION_INBOUND ? SLICE("inbound") : SLICE("outbound"));
    write_mode(w, mail->mode);
    api_text(w, "from_addr", mail->from_addr);
    bool is_inbound = mail->direction == DIRECTION_INBOUND;
    struct slice first = {0};
    struct slice rest = is_inbound ? mail->envelope_to : mail->to;
    if (get_slice(&rest, &first)) {
        api_text(w, "to_addr", first);
    }
    json_key(w, "from");
    json_open_object(w);
    api_text(w, "address", mail->from_addr);
    if (mail->from_name.len > 0) {
        api_text(w, "name", mail->from_name);
    }
    json_close_object(w);
    api_pack(w, "to", is_inbound && mail->to.len == 0 ? mail->envelope_to : mail->to);
    api_pack(w, "cc", mail->cc);
    api_text_or_null(w, "subject", mail->subject);
    api_text_or_null(w, "spf", mail->spf);
    api_text_or_null(w, "dkim", mail->dkim);
    api_text_or_null(w, "dmarc", mail->dmarc);
    api_text_or_null(w, "spam", mail->spam);
    write_thread(w, mail->thread);
    api_u64(w, "received_at", mail->received_unix_ms);
    api_u64(w, "size_bytes", mail->size_bytes);
    const char *status = is_inbound ? "" : mail_status_text((enum mail_status)mail->status);
    api_text_or_null(w, "send_status", slice_str(status));
    api_u64_or_null(w, "scheduled_at", mail->scheduled_unix_ms);
    api_text_or_null(w, "webhook_status", webhook_status(mail));
    if (!is_inbound) {
        api_u64(w, "opens", mail->opens);
        api_u64(w, "clicks", mail->clicks);
    }
    api_text_or_null(w, "report", mail->report);
    api_metadata(w, mail->metadata);
    api_pack(w, "tags", mail->tags);
}

static void write_attempt(struct json_writer *w, const struct attempt_view *view)
{
    const struct row_attempt *row = &view->row;
    json_open_object(w);
    api_u64(w, "attempt", view->number);
    api_u64(w, "at", row->started_unix_ms);
    api_u64(w, "ended_at", row->ended_unix_ms);
    api_text(w, "outcome", slice_str(attempt_outcome_text((enum attempt_outcome)row->outcome)));
    api_text(w, "step", slice_str(smtp_step_name((enum smtp_step)row->step)));
    api_u64(w, "status_code", row->code);
    api_text_or_null(w, "enhanced_status", row->enhanced);
    api_text_or_null(w, "bounceClass", row->bounce_class);
    api_text_or_null(w, "response", row->response);
    api_text_or_null(w, "remote_host", row->remote_host);
    api_text_or_null(w, "remote_addr", row->remote_addr);
    api_text_or_null(w, "tls", row->tls);
    api_text_or_null(w, "tlsPolicy", row->tls_policy);
    api_text_or_null(w, "source", row->source);
    api_text_or_null(w, "transcript", view->transcript);
    json_close_object(w);
}

/* How its recipient may unsubscribe, as the mail has it in List-Unsubscribe. */
static void write_unsubscribe(struct request *request, struct json_writer *w,
                              const struct row_mail *mail, const struct delivery_view *view)
{
    struct unsubscribe_ref ref = {
        .mail = mail->id,
        .index = view->index,
        .is_rehearsed = mail->mode == MODE_TEST || mail->is_sandbox,
        .address = view->row.recipient,
    };
    struct edge *edge = request->edge;
    if (!mail->has_unsubscribe || ref.address.len == 0 || ref.address.len > ADDR_MAX) {
        return;
    }
    api_bool(w, "unsubscribed", view->row.has_unsubscribed);
    api_text(w, "unsubscribe_url",
             unsubscribe_link(&edge->unsubscribe_key, &ref, slice_str(edge->public_url),
                              &request->arena)); /* keep is for few and small things */
}

static void write_delivery(struct request *request, struct json_writer *w,
                           const struct row_mail *mail, const struct delivery_view *view)
{
    const struct row_delivery *row = &view->row;
    json_open_object(w);
    api_id(w, "id", ID_DELIVERY, row->id);
    bool is_hook = row->kind == DELIVERY_WEBHOOK;
    api_text(w, "kind", is_hook ? SLICE("webhook") : SLICE("smtp"));
    api_text(w, "recipient", row->recipient);
    if (is_hook) {
        api_text(w, "url", row->url);
    }
    api_text(w, "status", slice_str(delivery_status_text((enum delivery_status)row->status)));
    api_u64(w, "attempts", row->attempts);
    api_u64(w, "last_status_code", row->last_code);
    api_text_or_null(w, "last_response", row->last_response);
    api_text_or_null(w, "enhanced_status", row->enhanced);
    api_text_or_null(w, "bounceClass", row->bounce_class);
    api_text_or_null(w, "remote_host", row->remote_host);
    api_text_or_null(w, "tls", row->tls);
    api_u64_or_null(w, "next_attempt_at", row->next_attempt_unix_ms);
    if (!is_hook) {
        api_u64(w, "opens", row->opens);
        api_u64(w, "clicks", row->clicks);
        api_u64_or_null(w, "opened_at", row->opened_unix_ms);
        api_u64_or_null(w, "clicked_at", row->clicked_unix_ms);
        write_unsubscribe(request, w, mail, view);
    }
    json_key(w, "log");
    json_open_array(w);
    for (uint32_t i = 0; i < view->attempt_count; i++) {
        write_attempt(w, &view->attempts[i]);
    }
    json_close_array(w);
    json_close_object(w);
}

/* The link to it, signed here: the edges derive the same key as the shards. */
static struct slice link_of(struct request *request, struct id mail, uint32_t index,
                            const struct row_attachment *row)
{
    struct attachment_ref ref = {
        .mail = mail,
        .index = index,
        .expires_s = row->expires_unix_ms / 1000,
    };
    struct edge *edge = request->edge;
    return attachment_link(&edge->attachment_key, &ref, slice_str(edge->public_url),
                           &request->arena);
}

static void write_attachment(struct json_writer *w, const struct row_attachment *row,
                             struct slice url)
{
    json_open_object(w);
    api_id(w, "id", ID_ATTACHMENT, row->id);
    api_text_or_null(w, "filename", row->filename);
    api_text_or_null(w, "contentType", row->content_type);
    api_u64(w, "size", row->size_bytes);
    api_text_or_null(w, "contentId", row->content_id);
    api_text(w, "disposition", row->is_inline ? SLICE("inline") : SLICE("attachment"));
    api_text(w, "url", url);
    api_u64(w, "expiresAt", row->expires_unix_ms);
    json_close_object(w);
}

/* Pairs of name and value; some values are yes or no. */
static void write_event_data(struct json_writer *w, struct slice pack)
{
    struct slice name;
    struct slice value;
    json_key(w, "data");
    json_open_object(w);
    while (get_slice(&pack, &name) && get_slice(&pack, &value)) {
        json_key_slice(w, name);
        if (slice_equal(name, SLICE("bot")) || slice_equal(name, SLICE("proxy"))) {
            json_bool(w, slice_equal(value, SLICE("yes")));
        } else {
            json_text(w, value);
        }
    }
    json_close_object(w);
}

static void write_event(struct json_writer *w, const struct row_event *row)
{
    json_open_object(w);
    api_id(w, "id", ID_EVENT, row->id);
    api_text(w, "type", row->type);
    api_u64(w, "createdAt", row->created_unix_ms);
    if (row->recipient.len > 0) {
        api_text(w, "to", row->recipient);
    }
    if (row->code != 0) {
        api_u64(w, "code", row->code);
    }
    if (row->enhanced.len > 0) {
        api_text(w, "enhanced", row->enhanced);
    }
    if (row->detail.len > 0) {
        api_text(w, "detail", row->detail);
    }
    if (row->data.len > 0) {
        write_event_data(w, row->data);
    }
    json_close_object(w);
}

/* ---- list ----------------------------------------------------------------------------------- */

static void on_listed(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.list.row_count; i++) {
        json_open_object(&body.w);
        api_mail_members(&body.w, &msg->body.list.rows[i]);
        json_close_object(&body.w);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

static bool query(struct request *request, const char *name, struct slice *value)
{
    return http_query_get(&request->http, slice_str(name), &request->arena, value) &&
           value->len > 0;
}

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

static bool read_filters(struct request *request, struct shard_list *list)
{
    struct slice text;
    list->before_unix_ms = UINT64_MAX;
    if (query(request, "before", &text) && id_parse(ID_MESSAGE, text, &list->before) != ERR_OK &&
        slice_u64(text, &list->before_unix_ms) != ERR_OK) {
        return fail(request, "before", "before is a time in milliseconds or an id");
    }
    if (query(request, "direction", &text)) {
        list->has_direction = true;
        if (slice_equal(text, SLICE("inbound"))) {
            list->direction = DIRECTION_INBOUND;
        } else if (slice_equal(text, SLICE("outbound"))) {
            list->direction = DIRECTION_OUTBOUND;
        } else {
            return fail(request, "direction", "direction is inbound or outbound");
        }
    }
    if (query(request, "status", &text)) {
        list->has_status = true;
        enum mail_status status = MAIL_QUEUED;
        while (status < MAIL_STATUS_COUNT &&
               !slice_equal(text, slice_str(mail_status_text(status)))) {
            status++;
        }
        if (status == MAIL_STATUS_COUNT) {
            return fail(request, "status", "status is not one that a message can have");
        }
        list->status = status;
    }
    (void)query(request, "search", &list->search); /* absent leaves them empty */
    (void)query(request, "domain", &list->domain);
    return true;
}

void api_message_list(struct request *request)
{
    struct shard_list list = {.caller = request->caller};
    if (!api_page(request, &list.limit) || !read_filters(request, &list)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_LIST);
    if (msg != NULL) {
        msg->body.list = list;
        api_post(request, api_shard(request), msg, on_listed);
    }
}

/* ---- read ----------------------------------------------------------------------------------- */

/* The mail's fields as an object of lists, since a name may occur more than once. */
static void write_headers(struct json_writer *w, struct slice block)
{
    struct header_field field;
    json_key(w, "headers_json");
    json_open_array(w);
    while (header_next(&block, &field)) {
        json_open_object(w);
        api_text(w, "name", field.name);
        api_text(w, "value", slice_trim(field.value));
        json_close_object(w);
    }
    json_close_array(w);
}

void api_full_mail_members(struct json_writer *w, const struct shard_read *read)
{
    api_mail_members(w, &read->mail);
    api_pack(w, "bcc", read->mail.bcc);
    api_text(w, "message_id", read->mail.message_id);
    if (read->mail.direction == DIRECTION_OUTBOUND) {
        enum mail_priority priority = mail_priority_of(read->mail.priority);
        api_text(w, "priority", slice_str(mail_priority_text(priority)));
        api_text_or_null(w, "pool", read->mail.pool);
        api_bool(w, "requires_tls", read->mail.requires_tls);
    }
    api_text_or_null(w, "text_body", read->text);
    api_text_or_null(w, "html_body", read->html);
    write_headers(w, read->header_block);
}

void api_attachments(struct request *request, struct json_writer *w, const struct shard_read *read)
{
    json_key(w, "attachments");
    json_open_array(w);
    for (uint32_t i = 0; i < read->attachment_count; i++) {
        const struct row_attachment *row = &read->attachments[i];
        write_attachment(w, row, link_of(request, read->mail.id, i, row));
    }
    json_close_array(w);
}

static void on_read(struct request *request, struct msg *msg)
{
    const struct shard_read *read = &msg->body.read;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "message");
    json_open_object(&body.w);
    api_full_mail_members(&body.w, read);
    json_close_object(&body.w);
    json_key(&body.w, "deliveries");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < read->delivery_count; i++) {
        write_delivery(request, &body.w, &read->mail, &read->deliveries[i]);
    }
    json_close_array(&body.w);
    api_attachments(request, &body.w, read);
    json_key(&body.w, "events");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < read->event_count; i++) {
        write_event(&body.w, &read->events[i]);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_message_get(struct request *request)
{
    struct id id;
    if (!api_param_id(request, 0, ID_MESSAGE, &id)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_READ);
    if (msg != NULL) {
        msg->body.read.caller = request->caller;
        msg->body.read.id = id;
        api_post(request, api_shard(request), msg, on_read);
    }
}

/* ---- raw ------------------------------------------------------------------------------------ */

static void post_raw(struct request *request, uint32_t chunk, request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_SHARD_RAW);
    if (msg != NULL) {
        msg->body.raw.caller = request->caller;
        msg->body.raw.id = request->subject;
        msg->body.raw.chunk = chunk;
        api_post(request, api_shard(request), msg, on_return);
    }
}

/* Chunks come one message at a time and gather in request->gathered, which dies with the request.
 */
static void on_raw(struct request *request, struct msg *msg)
{
    const struct shard_raw *raw = &msg->body.raw;
    if (raw->chunk == 0 && !api_reserve(request, raw->size_bytes)) {
        return;
    }
    buf_add(&request->gathered, raw->data);
    if (buf_err(&request->gathered) != ERR_OK) {
        api_fail(request, ERR_CORRUPT);
        return;
    }
    if (raw->chunk + 1 < raw->chunk_count) {
        post_raw(request, raw->chunk + 1, on_raw);
        return;
    }
    api_send(request, 200, SLICE("message/rfc822"), buf_slice(&request->gathered));
}

void api_message_raw(struct request *request)
{
    if (api_param_id(request, 0, ID_MESSAGE, &request->subject)) {
        post_raw(request, 0, on_raw);
    }
}

/* ---- retry ---------------------------------------------------------------------------------- */

static void on_retried(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    api_text(&body.w, "status", slice_str(delivery_status_text(msg->body.retry.status)));
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_delivery_retry(struct request *request)
{
    struct id id;
    if (!api_param_id(request, 0, ID_DELIVERY, &id)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_RETRY);
    if (msg != NULL) {
        msg->body.retry.caller = request->caller;
        msg->body.retry.delivery = id;
        api_post(request, api_shard(request), msg, on_retried);
    }
}
