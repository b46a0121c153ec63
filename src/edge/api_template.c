/* api_template.c - templates: list, make, show, change, delete, preview.
 *
 * They are compiled here, so that a mistake is told with its place to who made it, and nothing is
 * stored that will not render.
 */
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/template.h"

/* ---- decode --------------------------------------------------------------------------------- */

struct template_body {
    struct slice name;
    struct slice subject;
    struct slice html;
    struct slice text;
    bool has_name;
    bool has_subject;
    bool has_html;
    bool has_text;
    bool no_subject;
    bool no_html;
    bool no_text;
};

#define AT(member)                                                                                 \
    .offset = offsetof(struct template_body, member),                                              \
    .has_offset = offsetof(struct template_body, has_##member)
#define NULL_AT(member) .null_offset = offsetof(struct template_body, no_##member)
static const struct json_field template_fields[] = {
    {.name = "name", .type = JSON_TEXT, AT(name), .max = TEMPLATE_NAME_MAX},
    {.name = "subject",
     .type = JSON_TEXT,
     AT(subject),
     NULL_AT(subject),
     .max = TEMPLATE_BYTES_MAX},
    {.name = "html", .type = JSON_TEXT, AT(html), NULL_AT(html), .max = TEMPLATE_BYTES_MAX},
    {.name = "text", .type = JSON_TEXT, AT(text), NULL_AT(text), .max = TEMPLATE_BYTES_MAX},
};
#undef AT
#undef NULL_AT
const struct json_shape api_template_shape = {template_fields, ARRAY_LEN(template_fields),
                                              sizeof(struct template_body)};

struct preview_body {
    struct slice data;
};

static const struct json_field preview_fields[] = {
    {.name = "data",
     .type = JSON_RAW_OBJECT,
     .offset = offsetof(struct preview_body, data),
     .max = TEMPLATE_DATA_MAX},
};
const struct json_shape api_preview_shape = {preview_fields, ARRAY_LEN(preview_fields),
                                             sizeof(struct preview_body)};

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

static bool check_part(struct request *request, const char *name, struct slice source)
{
    const struct template *template;
    struct slice fault = SLICE("");
    struct arena scratch;
    arena_init(&scratch, 4 * KIB, TEMPLATE_ARENA_BYTES);
    enum err err = template_compile(source, &scratch, &template, &fault);
    if (err != ERR_OK) {
        /* What is said may name a part of the template: both outlive the answer. */
        api_fail_field(request, err, slice_str(name), arena_dup(&request->keep, fault));
    }
    arena_fini(&scratch);
    return err == ERR_OK;
}

/* A template without a subject, or of one body only, is fine: the send has them, or nobody. */
static bool read_template(struct request *request, struct shard_template *wanted)
{
    struct template_body body;
    if (!api_read(request, &api_template_shape, &body)) {
        return false;
    }
    wanted->given = (body.has_name ? TEMPLATE_FIELD_NAME : 0u) |
                    (body.has_subject || body.no_subject ? TEMPLATE_FIELD_SUBJECT : 0u) |
                    (body.has_html || body.no_html ? TEMPLATE_FIELD_HTML : 0u) |
                    (body.has_text || body.no_text ? TEMPLATE_FIELD_TEXT : 0u);
    wanted->wanted = (struct row_template){
        .name = slice_trim(body.name),
        .subject = body.subject,
        .html = body.html,
        .text = body.text,
    };
    bool needs_name = wanted->op == TEMPLATE_CREATE || body.has_name;
    if (needs_name && wanted->wanted.name.len == 0) {
        return fail(request, "name", "name is required");
    }
    if (slice_has_control(wanted->wanted.name, "")) {
        return fail(request, "name", "name must be one line of text");
    }
    if (slice_has_control(body.subject, "\t")) {
        return fail(request, "subject", "the subject holds a line break or control character");
    }
    return check_part(request, "subject", body.subject) && check_part(request, "html", body.html) &&
           check_part(request, "text", body.text);
}

/* ---- render --------------------------------------------------------------------------------- */

static void write_hint(struct json_writer *w, const struct row_template *row)
{
    api_id(w, "id", ID_TEMPLATE, row->id);
    api_text(w, "name", row->name);
    api_u64(w, "created_at", row->created_unix_ms);
    api_u64(w, "updated_at", row->updated_unix_ms);
}

static void write_parts(struct json_writer *w, const struct row_template *row)
{
    api_text_or_null(w, "subject", row->subject);
    api_text_or_null(w, "html", row->html);
    api_text_or_null(w, "text", row->text);
}

static void on_one(struct request *request, struct msg *msg)
{
    const struct shard_template *found = &msg->body.template;
    struct api_body body;
    CHECK(found->row_count == 1);
    api_json_start(&body);
    json_open_object(&body.w);
    write_hint(&body.w, &found->rows[0]);
    write_parts(&body.w, &found->rows[0]);
    json_close_object(&body.w);
    api_json_send(request, found->op == TEMPLATE_CREATE ? 201 : 200, &body);
}

static void on_preview(struct request *request, struct msg *msg)
{
    struct api_body body;
    CHECK(msg->body.template.row_count == 1);
    api_json_start(&body);
    json_open_object(&body.w);
    write_parts(&body.w, &msg->body.template.rows[0]);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void on_list(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.template.row_count; i++) {
        json_open_object(&body.w);
        write_hint(&body.w, &msg->body.template.rows[i]);
        json_close_object(&body.w);
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

static void post(struct request *request, const struct shard_template *wanted,
                 request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_SHARD_TEMPLATE);
    if (msg != NULL) {
        msg->body.template = *wanted;
        msg->body.template.caller = request->caller;
        api_post(request, api_shard(request), msg, on_return);
    }
}

void api_template_create(struct request *request)
{
    struct shard_template wanted = {.op = TEMPLATE_CREATE};
    if (read_template(request, &wanted)) {
        post(request, &wanted, on_one);
    }
}

void api_template_list(struct request *request)
{
    struct shard_template wanted = {.op = TEMPLATE_LIST, .before_unix_ms = UINT64_MAX};
    struct slice before;
    if (!api_page(request, &wanted.limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("before"), &request->arena, &before) &&
        slice_u64(before, &wanted.before_unix_ms) != ERR_OK &&
        id_parse(ID_TEMPLATE, before, &wanted.before) != ERR_OK) {
        (void)fail(request, "before",
                   "before is a time in milliseconds or a template's id"); /* answered */
        return;
    }
    post(request, &wanted, on_list);
}

void api_template_get(struct request *request)
{
    struct shard_template wanted = {.op = TEMPLATE_GET};
    if (api_param_id(request, 0, ID_TEMPLATE, &wanted.id)) {
        post(request, &wanted, on_one);
    }
}

void api_template_change(struct request *request)
{
    struct shard_template wanted = {.op = TEMPLATE_CHANGE};
    if (api_param_id(request, 0, ID_TEMPLATE, &wanted.id) && read_template(request, &wanted)) {
        post(request, &wanted, on_one);
    }
}

void api_template_delete(struct request *request)
{
    struct shard_template wanted = {.op = TEMPLATE_DELETE};
    if (api_param_id(request, 0, ID_TEMPLATE, &wanted.id)) {
        post(request, &wanted, on_ok);
    }
}

void api_template_preview(struct request *request)
{
    struct shard_template wanted = {.op = TEMPLATE_PREVIEW};
    struct preview_body body = {.data = SLICE("")};
    if (api_param_id(request, 0, ID_TEMPLATE, &wanted.id) &&
        (request->http.body.len == 0 || api_read(request, &api_preview_shape, &body))) {
        wanted.data = body.data;
        post(request, &wanted, on_preview);
    }
}
