/* api_suppression.c - addresses that get no more mail: list, add one or many, show, remove.
 *
 * They are named by the address itself, in the form in which it is compared; an address that we
 * could not send to is looked up as it is written, for whatever was stored can be removed.
 */
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/addr.h"

/* ---- decode --------------------------------------------------------------------------------- */

struct suppression_body {
    struct slice email;
    struct json_texts emails;
    struct slice note;
    struct slice reason;
    bool has_email;
    bool has_emails;
    bool has_reason;
};

#define AT(member) .offset = offsetof(struct suppression_body, member)
static const struct json_field suppression_fields[] = {
    {.name = "email",
     .type = JSON_TEXT,
     AT(email),
     .has_offset = offsetof(struct suppression_body, has_email),
     .max = EMAIL_MAX},
    {.name = "emails",
     .type = JSON_TEXT_LIST,
     AT(emails),
     .has_offset = offsetof(struct suppression_body, has_emails),
     .max = SUPPRESSIONS_PER_POST},
    {.name = "note", .type = JSON_TEXT, AT(note), .max = SUPPRESSION_NOTE_MAX},
    {.name = "reason",
     .type = JSON_TEXT,
     AT(reason),
     .has_offset = offsetof(struct suppression_body, has_reason),
     .max = 32},
};
#undef AT
const struct json_shape api_suppression_shape = {suppression_fields, ARRAY_LEN(suppression_fields),
                                                 sizeof(struct suppression_body)};

static bool fail(struct request *request, struct slice param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, param, slice_str(sentence));
    return false;
}

static bool read_email(struct request *request, struct slice param, struct slice text,
                       struct slice *key)
{
    struct addr addr;
    if (addr_parse(slice_trim(text), &request->arena, &addr) != ERR_OK || addr.name.len > 0) {
        return fail(request, param, "a valid address is required, without a name");
    }
    *key = addr_key(&addr, &request->arena);
    return true;
}

static bool read_emails(struct request *request, const struct suppression_body *body,
                        struct shard_suppression *wanted)
{
    if (body->has_email == body->has_emails) {
        return fail(request, SLICE("email"), "either email or emails is required");
    }
    wanted->email_count = body->has_email ? 1 : body->emails.count;
    if (wanted->email_count == 0) {
        return fail(request, SLICE("emails"), "emails names 1 to 1000 addresses");
    }
    wanted->emails = arena_array(&request->arena, wanted->email_count, sizeof(*wanted->emails));
    if (body->has_email) {
        return read_email(request, SLICE("email"), body->email, &wanted->emails[0]);
    }
    for (uint32_t i = 0; i < wanted->email_count; i++) {
        struct slice param = arena_format(&request->keep, "emails[%u]", (unsigned)i);
        if (!read_email(request, param, body->emails.items[i], &wanted->emails[i])) {
            return false;
        }
    }
    return true;
}

static bool read_body(struct request *request, struct shard_suppression *wanted, bool *is_one)
{
    struct suppression_body body;
    if (!api_read(request, &api_suppression_shape, &body)) {
        return false;
    }
    wanted->reason = SUPPRESSION_MANUAL;
    wanted->note = slice_trim(body.note);
    if (body.has_reason && suppression_reason_parse(body.reason, &wanted->reason) != ERR_OK) {
        return fail(request, SLICE("reason"),
                    "reason is hard_bounce, complaint, manual or unsubscribe");
    }
    if (slice_has_control(wanted->note, "\t\r\n")) {
        return fail(request, SLICE("note"), "note holds a control character");
    }
    *is_one = body.has_email;
    return read_emails(request, &body, wanted);
}

/* The address of the path. */
static void read_path(struct request *request, struct shard_suppression *wanted)
{
    struct slice text = request->params[0];
    struct addr addr;
    wanted->emails = arena_array(&request->arena, 1, sizeof(*wanted->emails));
    wanted->email_count = 1;
    wanted->emails[0] = addr_parse(text, &request->arena, &addr) == ERR_OK
                            ? addr_key(&addr, &request->arena)
                            : arena_lower(&request->arena, text);
}

/* ---- render --------------------------------------------------------------------------------- */

static void write_row(struct json_writer *w, const struct row_suppression *row)
{
    json_open_object(w);
    api_text(w, "email", row->email);
    api_text(w, "reason", slice_str(suppression_reason_text((enum suppression_reason)row->reason)));
    api_text_or_null(w, "note", row->note);
    api_u64(w, "created_at", row->created_unix_ms);
    json_close_object(w);
}

static void on_list(struct request *request, struct msg *msg)
{
    const struct shard_suppression *found = &msg->body.suppression;
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < found->row_count; i++) {
        write_row(&body.w, &found->rows[i]);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

static void on_one(struct request *request, struct msg *msg)
{
    const struct shard_suppression *found = &msg->body.suppression;
    struct api_body body;
    CHECK(found->row_count == 1);
    api_json_start(&body);
    write_row(&body.w, &found->rows[0]);
    api_json_send(request, found->added_count > 0 ? 201 : 200, &body);
}

static void on_added(struct request *request, struct msg *msg)
{
    const struct shard_suppression *found = &msg->body.suppression;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_u64(&body.w, "added", found->added_count);
    api_u64(&body.w, "existing", found->known_count);
    json_close_object(&body.w);
    api_json_send(request, found->added_count > 0 ? 201 : 200, &body);
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

static void post(struct request *request, const struct shard_suppression *wanted,
                 request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_SHARD_SUPPRESSION);
    if (msg != NULL) {
        msg->body.suppression = *wanted;
        msg->body.suppression.caller = request->caller;
        api_post(request, api_shard(request), msg, on_return);
    }
}

static bool query(struct request *request, const char *name, struct slice *value)
{
    if (!http_query_get(&request->http, slice_str(name), &request->arena, value)) {
        *value = SLICE("");
    }
    *value = arena_lower(&request->arena, *value);
    return value->len <= EMAIL_MAX ||
           fail(request, slice_str(name), "it is longer than any address");
}

void api_suppression_list(struct request *request)
{
    struct shard_suppression wanted = {.op = SUPPRESSION_LIST};
    if (api_page(request, &wanted.limit) && query(request, "after", &wanted.after) &&
        query(request, "search", &wanted.search)) {
        post(request, &wanted, on_list);
    }
}

void api_suppression_add(struct request *request)
{
    struct shard_suppression wanted = {.op = SUPPRESSION_ADD};
    bool is_one; /* a list of one is answered as a list */
    if (read_body(request, &wanted, &is_one)) {
        post(request, &wanted, is_one ? on_one : on_added);
    }
}

void api_suppression_get(struct request *request)
{
    struct shard_suppression wanted = {.op = SUPPRESSION_GET};
    read_path(request, &wanted);
    post(request, &wanted, on_one);
}

void api_suppression_remove(struct request *request)
{
    struct shard_suppression wanted = {.op = SUPPRESSION_REMOVE};
    read_path(request, &wanted);
    post(request, &wanted, on_ok);
}
