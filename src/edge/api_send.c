/* api_send.c - POST /v1/send: decode and check the fields, post SHARD_SEND, answer 202 when it is
 * on disk.
 *
 * Everything here is syntax: whatever depends on the account is decided in its shard. Each mistake
 * names its field.
 */
#include <string.h>

#include "base/crypto.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/addr.h"
#include "mail/header.h"
#include "net/http_url.h"

struct attachment_body {
    struct slice filename;
    struct slice content;
    struct slice url;
    struct slice content_type;
    struct slice content_id;
    bool has_content; /* an empty file is one, too */
};

struct send_body {
    struct slice from;
    struct json_texts to;
    struct json_texts cc;
    struct json_texts bcc;
    struct json_texts reply_to;
    struct slice subject;
    struct slice html;
    struct slice text;
    struct slice in_reply_to;
    struct json_pairs headers;
    struct json_items attachments;
    struct json_pairs metadata;
    struct json_texts tags;
    struct slice template_id;
    struct slice template_data;
    struct json_time scheduled_at;
    struct slice priority;
    struct slice pool;
    bool has_scheduled_at;
    bool track_opens;
    bool has_track_opens;
    bool track_clicks;
    bool has_track_clicks;
    bool has_unsubscribe;
    bool requires_tls;
    bool is_sandbox;
};

/* A send in the making, in request->keep; all it points at is in request->arena. */
struct send_work {
    struct send_body body;
    struct shard_send send;
    uint64_t attached_bytes;
    uint32_t next_attachment; /* to be fetched */
};

#define AT(member) .offset = offsetof(struct attachment_body, member)
static const struct json_field attachment_fields[] = {
    {.name = "filename", .type = JSON_TEXT, AT(filename), .max = ATTACHMENT_NAME_MAX},
    {.name = "content",
     .type = JSON_TEXT,
     AT(content),
     .has_offset = offsetof(struct attachment_body, has_content),
     .max = HTTP_BODY_MAX},
    {.name = "url", .type = JSON_TEXT, AT(url), .max = HTTP_URL_MAX},
    {.name = "contentType", .type = JSON_TEXT, AT(content_type), .max = ATTACHMENT_NAME_MAX},
    {.name = "contentId", .type = JSON_TEXT, AT(content_id), .max = ATTACHMENT_NAME_MAX},
};
#undef AT
static const struct json_shape attachment_shape = {attachment_fields, ARRAY_LEN(attachment_fields),
                                                   sizeof(struct attachment_body)};

#define AT(member) .offset = offsetof(struct send_body, member)
static const struct json_field send_fields[] = {
    {.name = "from",
     .type = JSON_TEXT,
     .is_required = true,
     AT(from),
     .max = ADDR_MAX + DISPLAY_NAME_MAX},
    {.name = "to", .type = JSON_TEXT_OR_LIST, .is_required = true, AT(to), .max = API_RCPT_MAX},
    {.name = "cc", .type = JSON_TEXT_OR_LIST, AT(cc), .max = API_RCPT_MAX},
    {.name = "bcc", .type = JSON_TEXT_OR_LIST, AT(bcc), .max = API_RCPT_MAX},
    {.name = "replyTo", .type = JSON_TEXT_OR_LIST, AT(reply_to), .max = API_RCPT_MAX},
    {.name = "subject", .type = JSON_TEXT, AT(subject), .max = SUBJECT_MAX},
    {.name = "html", .type = JSON_TEXT, AT(html), .max = TEXT_BYTES_MAX},
    {.name = "text", .type = JSON_TEXT, AT(text), .max = TEXT_BYTES_MAX},
    {.name = "inReplyTo", .type = JSON_TEXT, AT(in_reply_to), .max = LINE_MAX_BYTES},
    {.name = "headers", .type = JSON_MAP, AT(headers), .max = CUSTOM_HEADER_COUNT},
    {.name = "attachments",
     .type = JSON_LIST,
     AT(attachments),
     .max = ATTACHMENT_COUNT_MAX,
     .sub = &attachment_shape},
    {.name = "metadata", .type = JSON_MAP, AT(metadata), .max = METADATA_COUNT},
    {.name = "tags", .type = JSON_TEXT_LIST, AT(tags), .max = TAG_COUNT},
    {.name = "templateId", .type = JSON_TEXT, AT(template_id), .max = ID_TEXT_MAX},
    {.name = "scheduledAt",
     .type = JSON_TIME,
     AT(scheduled_at),
     .has_offset = offsetof(struct send_body, has_scheduled_at)},
    {.name = "templateData", .type = JSON_RAW_OBJECT, AT(template_data), .max = TEMPLATE_DATA_MAX},
    {.name = "trackOpens",
     .type = JSON_BOOL,
     AT(track_opens),
     .has_offset = offsetof(struct send_body, has_track_opens)},
    {.name = "trackClicks",
     .type = JSON_BOOL,
     AT(track_clicks),
     .has_offset = offsetof(struct send_body, has_track_clicks)},
    {.name = "listUnsubscribe", .type = JSON_BOOL, AT(has_unsubscribe)},
    {.name = "priority", .type = JSON_TEXT, AT(priority)},
    {.name = "requireTls", .type = JSON_BOOL, AT(requires_tls)},
    {.name = "pool", .type = JSON_TEXT, AT(pool)},
    {.name = "sandbox", .type = JSON_BOOL, AT(is_sandbox)},
};
#undef AT
const struct json_shape api_send_shape = {send_fields, ARRAY_LEN(send_fields),
                                          sizeof(struct send_body)};

/* ---- fields --------------------------------------------------------------------------------- */

static bool fail(struct request *request, struct slice param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, param, slice_str(sentence));
    return false;
}

static struct slice param_at(struct request *request, const char *name, uint32_t index)
{
    return arena_format(&request->keep, "%s[%u]", name, (unsigned)index);
}

static bool read_address(struct request *request, struct slice param, struct slice text,
                         struct addr *addr)
{
    if (addr_parse(text, &request->arena, addr) != ERR_OK) {
        return fail(request, param,
                    "an address is written as a@example.com or Name <a@example.com>");
    }
    return true;
}

static bool read_addresses(struct request *request, const char *name,
                           const struct json_texts *texts, struct addr **list, uint32_t *count)
{
    struct addr *addrs = arena_array(&request->arena, texts->count, sizeof *addrs);
    for (uint32_t i = 0; i < texts->count; i++) {
        struct slice param = texts->count == 1 ? slice_str(name) : param_at(request, name, i);
        if (!read_address(request, param, texts->items[i], &addrs[i])) {
            return false;
        }
    }
    *list = addrs;
    *count = texts->count;
    return true;
}

static bool read_people(struct request *request, const struct send_body *body,
                        struct shard_send *send)
{
    if (!read_address(request, SLICE("from"), body->from, &send->from) ||
        !read_addresses(request, "to", &body->to, &send->to, &send->to_count) ||
        !read_addresses(request, "cc", &body->cc, &send->cc, &send->cc_count) ||
        !read_addresses(request, "bcc", &body->bcc, &send->bcc, &send->bcc_count) ||
        !read_addresses(request, "replyTo", &body->reply_to, &send->reply_to,
                        &send->reply_to_count)) {
        return false;
    }
    if (send->to_count == 0) {
        return fail(request, SLICE("to"), "at least one recipient is required");
    }
    if (send->to_count + send->cc_count + send->bcc_count > API_RCPT_MAX) {
        return fail(request, SLICE("to"), "to, cc and bcc name more than 50 recipients");
    }
    return true;
}

static bool read_content(struct request *request, const struct send_body *body,
                         struct shard_send *send)
{
    if (slice_has_control(body->subject, "\t")) {
        return fail(request, SLICE("subject"),
                    "the subject holds a line break or control character");
    }
    if (slice_has_control(body->in_reply_to, "")) {
        return fail(request, SLICE("inReplyTo"), "inReplyTo holds a control character");
    }
    if (!slice_is_ascii(body->in_reply_to)) {
        return fail(request, SLICE("inReplyTo"), "inReplyTo is a message id in ASCII");
    }
    if (body->html.len == 0 && body->text.len == 0 && body->template_id.len == 0) {
        return fail(request, SLICE("text"), "html or text is required");
    }
    send->subject = body->subject;
    send->html = body->html;
    send->text = body->text;
    send->in_reply_to = body->in_reply_to;
    return true;
}

static enum choice choice_of(bool is_given, bool value)
{
    return !is_given ? CHOICE_DEFAULT : value ? CHOICE_YES : CHOICE_NO;
}

static bool read_pool(struct request *request, struct slice pool)
{
    bool is_good = pool.len <= POOL_NAME_MAX;
    for (size_t i = 0; is_good && i < pool.len; i++) {
        char c = pool.data[i];
        is_good = (c >= 'a' && c <= 'z') || ascii_is_digit(c) || c == '-';
    }
    return is_good || fail(request, SLICE("pool"), "a pool has 1 to 32 of a-z, 0-9 and -");
}

static bool read_priority(struct request *request, struct slice text, enum mail_priority *priority)
{
    for (int i = 0; text.len > 0 && i < PRIORITY_COUNT; i++) {
        if (slice_equal(text, slice_str(mail_priority_text((enum mail_priority)i)))) {
            *priority = (enum mail_priority)i;
            return true;
        }
    }
    return text.len == 0 || fail(request, SLICE("priority"), "priority is transactional or bulk");
}

/* How it is to be sent, rather than what. */
static bool read_options(struct request *request, const struct send_body *body,
                         struct shard_send *send)
{
    if (body->template_id.len > 0 &&
        id_parse(ID_TEMPLATE, body->template_id, &send->template) != ERR_OK) {
        return fail(request, SLICE("templateId"), "this is not the id of a template");
    }
    if (body->template_data.len > 0 && body->template_id.len == 0) {
        return fail(request, SLICE("templateData"), "templateData goes with a templateId");
    }
    if (body->has_scheduled_at && !api_read_time(request, SLICE("scheduledAt"), &body->scheduled_at,
                                                 &send->scheduled_unix_ms)) {
        return false;
    }
    if (!read_pool(request, body->pool) ||
        !read_priority(request, body->priority, &send->priority)) {
        return false;
    }
    send->template_data = body->template_data;
    send->tracks_opens = choice_of(body->has_track_opens, body->track_opens);
    send->tracks_clicks = choice_of(body->has_track_clicks, body->track_clicks);
    send->has_unsubscribe = body->has_unsubscribe;
    send->requires_tls = body->requires_tls;
    send->pool = body->pool;
    send->is_sandbox = body->is_sandbox;
    return true;
}

static bool read_headers(struct request *request, const struct send_body *body,
                         struct shard_send *send)
{
    uint32_t count = body->headers.count;
    struct mime_header *headers = arena_array(&request->arena, count, sizeof *headers);
    for (uint32_t i = 0; i < count; i++) {
        const struct json_pair *pair = &body->headers.items[i];
        struct slice param = arena_format(&request->keep, "headers.%.*s",
                                          SLICE_FMT(slice_head(pair->name, CUSTOM_HEADER_NAME)));
        if (!header_name_is_valid(pair->name)) {
            return fail(request, SLICE("headers"), "a header name holds a forbidden character");
        }
        if (header_name_is_protected(pair->name)) {
            return fail(request, param, "this header is written by the server");
        }
        if (pair->value.len > CUSTOM_HEADER_VALUE || slice_has_control(pair->value, "\t")) {
            return fail(request, param, "a header value is too long or holds a control character");
        }
        headers[i] = (struct mime_header){pair->name, pair->value};
    }
    send->headers = headers;
    send->header_count = count;
    return true;
}

static bool read_tags(struct request *request, const struct json_texts *tags, struct buf *pack)
{
    for (uint32_t i = 0; i < tags->count; i++) {
        struct slice tag = tags->items[i];
        if (tag.len == 0 || tag.len > TAG_MAX || slice_has_control(tag, "")) {
            return fail(request, param_at(request, "tags", i), "a tag has 1 to 128 characters");
        }
        buf_put_slice(pack, tag);
    }
    return true;
}

static bool read_labels(struct request *request, const struct send_body *body,
                        struct shard_send *send)
{
    struct buf metadata;
    struct buf tags;
    buf_init(&metadata, MIB);
    buf_init(&tags, MIB);
    bool is_good = api_read_metadata(request, &body->metadata, &metadata) &&
                   read_tags(request, &body->tags, &tags);
    if (is_good) { /* a failed request may be gone already */
        send->metadata = arena_dup(&request->arena, buf_slice(&metadata));
        send->tags = arena_dup(&request->arena, buf_slice(&tags));
    }
    buf_fini(&metadata);
    buf_fini(&tags);
    return is_good;
}

/* ---- attachments ---------------------------------------------------------------------------- */

static struct slice param_of(struct request *request, uint32_t index, const char *member)
{
    return arena_format(&request->keep, "attachments[%u].%s", (unsigned)index, member);
}

/* Plain http is for trying things out on the same machine. The name of the host is written as it is
 * asked for. */
static bool read_url(struct request *request, uint32_t index, struct attachment_body *body)
{
    const struct conf *conf = request->edge->place->conf;
    struct http_url url;
    bool is_good = http_url_parse(body->url, &request->arena, &url) == ERR_OK;
    if (is_good && !conf->allow_private_targets) {
        bool is_private = url.is_literal && conn_addr_is_private(&url.addr);
        bool is_here = slice_equal(url.host, SLICE("localhost"));
        is_good = !is_private && (url.is_tls || is_here);
    }
    if (is_good && url.needs_idna) {
        is_good = domain_normalise(url.host, true, &request->arena, &url.host) == ERR_OK;
    }
    if (is_good) {
        body->url = http_url_text(&url, &request->arena);
        is_good = body->url.len <= HTTP_CALL_URL_MAX;
    }
    return is_good ||
           fail(request, param_of(request, index, "url"), "a valid https url is required");
}

static bool read_content_of(struct request *request, uint32_t index,
                            const struct attachment_body *body, struct slice *out)
{
    struct slice param = param_of(request, index, "content");
    /* Decoded in place of a second buffer's worth: the ceiling of the arena covers both. */
    uint8_t *data = arena_try(&request->arena, body->content.len / 4 * 3 + 3);
    size_t len = 0;
    if (data == NULL) {
        api_fail_field(request, ERR_TOO_LARGE, param, SLICE("the attachments are too large"));
        return false;
    }
    if (base64_decode(body->content, data, &len) != ERR_OK) {
        return fail(request, param, "the content is not valid base64");
    }
    *out = slice_of(data, len);
    return true;
}

static bool read_attachment(struct request *request, uint32_t index, struct attachment_body *body,
                            struct mime_attachment *out)
{
    if (!body->has_content && body->url.len == 0) {
        return fail(request, param_of(request, index, "content"),
                    "the content of an attachment is required, as base64, or its url");
    }
    if (body->has_content && body->url.len > 0) {
        return fail(request, param_of(request, index, "url"),
                    "an attachment has a content or a url, not both");
    }
    if (slice_has_control(body->filename, "")) {
        return fail(request, param_of(request, index, "filename"),
                    "the file name holds a control character");
    }
    if (body->content_type.len > 0 && !mime_type_is_valid(body->content_type)) {
        return fail(request, param_of(request, index, "contentType"),
                    "the content type is not of the form type/subtype");
    }
    if (body->content_id.len > 0 && !mime_content_id_is_valid(body->content_id)) {
        return fail(request, param_of(request, index, "contentId"),
                    "the content id holds a forbidden character");
    }
    *out = (struct mime_attachment){body->filename, body->content_type, body->content_id, {0}};
    return body->has_content ? read_content_of(request, index, body, &out->data)
                             : read_url(request, index, body);
}

static bool fail_large(struct request *request)
{
    api_fail_field(request, ERR_TOO_LARGE, SLICE("attachments"),
                   SLICE("the attachments are larger than 25 MiB together"));
    return false;
}

static bool read_attachments(struct request *request, struct send_work *work)
{
    uint32_t count = work->body.attachments.count;
    struct attachment_body *items = work->body.attachments.items;
    struct mime_attachment *list = arena_array(&request->arena, count, sizeof *list);
    for (uint32_t i = 0; i < count; i++) {
        work->attached_bytes += items[i].content.len / 4 * 3;
        if (work->attached_bytes > ATTACHMENT_BYTES_MAX + 3 * ATTACHMENT_COUNT_MAX) {
            return fail_large(request);
        }
        if (!read_attachment(request, i, &items[i], &list[i])) {
            return false;
        }
    }
    work->send.attachments = list;
    work->send.attachment_count = count;
    return true;
}

/* ---- attachments by url: one after the other, once their shard knows who asks --------------- */

static void fetch_next(struct request *request);
static void post(struct request *request);

/* "report.pdf" of ".../report.pdf?x=1": the last part of the path, when it can be a name. */
static struct slice name_of(struct request *request, struct slice url)
{
    struct slice path = slice_head(url, min_size(slice_find_byte(url, '?'), url.len));
    size_t slash = slice_rfind_byte(path, '/');
    struct slice name = slash == SIZE_MAX ? SLICE("") : slice_from(path, slash + 1);
    struct slice plain;
    if (http_unescape(name, &request->arena, &plain) != ERR_OK || !slice_is_utf8(plain) ||
        plain.len > ATTACHMENT_NAME_MAX || slice_has_control(plain, "")) {
        return SLICE("");
    }
    return plain;
}

static void on_fetched(void *owner, const struct fetch_answer *answer)
{
    struct request *request = owner;
    struct send_work *work = request->chain;
    uint32_t index = work->next_attachment++;
    const struct attachment_body *items = work->body.attachments.items;
    struct mime_attachment *out = &work->send.attachments[index];
    request->fetch = NULL;
    if (answer->fault != NULL) {
        enum err err = answer->is_too_large ? ERR_TOO_LARGE : ERR_BAD_FIELD;
        api_fail_field(request, err, param_of(request, index, "url"), slice_str(answer->fault));
        return;
    }
    if (!api_reserve(request, answer->body.len)) {
        return;
    }
    char *copy = arena_try(&request->arena, answer->body.len);
    if (copy == NULL) {
        (void)fail_large(request); /* the answer is given */
        return;
    }
    if (answer->body.len > 0) {
        memcpy(copy, answer->body.data, answer->body.len);
    }
    out->data = slice_of(copy, answer->body.len);
    work->attached_bytes += answer->body.len;
    struct slice rest = answer->content_type;
    struct slice type = slice_trim(slice_cut(&rest, ';')); /* a charset would be of no use */
    if (out->content_type.len == 0 && type.len > 0 && mime_type_is_valid(type)) {
        out->content_type = arena_dup(&request->arena, type);
    }
    if (out->filename.len == 0) {
        out->filename = name_of(request, items[index].url);
    }
    fetch_next(request);
}

static void fetch_next(struct request *request)
{
    struct send_work *work = request->chain;
    struct edge *edge = request->edge;
    const struct attachment_body *items = work->body.attachments.items;
    while (work->next_attachment < work->send.attachment_count &&
           items[work->next_attachment].url.len == 0) {
        work->next_attachment++;
    }
    if (work->next_attachment == work->send.attachment_count) {
        post(request);
        return;
    }
    if (work->attached_bytes >= ATTACHMENT_BYTES_MAX) {
        (void)fail_large(request); /* the answer is given */
        return;
    }
    if (edge->fetcher == NULL) {
        edge->fetcher = fetcher_open(edge->loop, edge->place->conf);
    }
    struct fetch_question question = {
        .account = request->caller.account,
        .url = items[work->next_attachment].url,
        .bytes_max = (size_t)(ATTACHMENT_BYTES_MAX - work->attached_bytes),
    };
    request->fetch = fetch_start(edge->fetcher, &question, on_fetched, request);
    if (request->fetch == NULL) {
        api_fail(request, ERR_BUSY);
    }
}

static void on_checked(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    request->caller.is_charged = true;
    fetch_next(request);
}

/* Nobody has us fetch anything before their shard has let them in. */
static void start_fetching(struct request *request)
{
    if (request->caller.is_charged) {
        fetch_next(request);
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_CHECK);
    if (msg != NULL) {
        msg->body.check.caller = request->caller;
        api_post_apart(request, api_shard(request), msg, on_checked);
    }
}

/* ---- the handler ---------------------------------------------------------------------------- */

bool api_read_idempotency(struct request *request, struct api_idempotency *idempotency)
{
    struct slice key = http_header_get(&request->http, SLICE("idempotency-key"));
    memset(idempotency, 0, sizeof *idempotency);
    if (key.len == 0) {
        return true;
    }
    if (key.len > IDEMPOTENCY_KEY_MAX || slice_has_control(key, "")) {
        return fail(request, SLICE("Idempotency-Key"),
                    "the idempotency key has 1 to 256 printable characters");
    }
    idempotency->key = key;
    idempotency->body_hash = crypto_sha256(request->http.body);
    return true;
}

static void on_accepted(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    bool is_scheduled = msg->body.send.is_scheduled;
    api_id(&body.w, "id", is_scheduled ? ID_SCHEDULED : ID_MESSAGE, msg->body.send.id);
    api_text(&body.w, "status", is_scheduled ? SLICE("scheduled") : SLICE("queued"));
    json_close_object(&body.w);
    api_json_send(request, 202, &body);
}

static void post(struct request *request)
{
    struct send_work *work = request->chain;
    struct msg *msg = api_take(request, MSG_SHARD_SEND);
    if (msg != NULL) {
        msg->body.send = work->send;
        msg->body.send.caller = request->caller;
        api_post(request, api_shard(request), msg, on_accepted);
    }
}

enum err api_send_read(struct request *request, struct json_fault *fault)
{
    struct send_work *work = arena_alloc(&request->keep, sizeof *work);
    request->chain = work;
    return json_read(request->http.body, &api_send_shape, &request->arena, &work->body, fault);
}

void api_send_message(struct request *request, const struct api_idempotency *idempotency)
{
    struct send_work *work = request->chain;
    const struct send_body *body = &work->body;
    struct shard_send *send = &work->send;
    send->idempotency_key = idempotency->key;
    send->body_hash = idempotency->body_hash;
    if (!read_people(request, body, send) || !read_content(request, body, send) ||
        !read_options(request, body, send) || !read_headers(request, body, send) ||
        !read_labels(request, body, send) || !read_attachments(request, work)) {
        return; /* request was answered, and may be gone */
    }
    const struct attachment_body *items = body->attachments.items;
    for (uint32_t i = 0; i < send->attachment_count; i++) {
        if (items[i].url.len > 0) {
            start_fetching(request);
            return;
        }
    }
    post(request);
}

void api_send_mail(struct request *request)
{
    struct api_idempotency idempotency;
    struct json_fault fault;
    enum err err = api_send_read(request, &fault);
    if (err != ERR_OK) {
        api_fail_field(request, err, fault.param, fault.sentence);
        return;
    }
    if (api_read_idempotency(request, &idempotency)) {
        api_send_message(request, &idempotency);
    }
}
