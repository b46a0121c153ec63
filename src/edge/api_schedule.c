/* api_schedule.c - mails that wait for their time: list, show, move, cancel; and how a time is
 * written.
 *
 * The ssnd_ id of a scheduled mail and the msg_ id of the same mail are the same bytes.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "edge/api_int.h"

/* ---- a time to come ------------------------------------------------------------------------- */

static const struct unit {
    const char *name; /* in the singular; the plural counts as well */
    uint64_t ms;
} units[] = {
    {"second", 1000},
    {"sec", 1000},
    {"minute", 60000},
    {"min", 60000},
    {"hour", 3600000},
    {"day", 86400000},
    {"week", UINT64_C(604800000)},
};

static bool read_unit(struct slice text, uint64_t *ms)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        struct slice name = slice_str(units[i].name);
        if (slice_starts_nocase(text, name) &&
            (text.len == name.len || slice_equal_nocase(slice_from(text, name.len), SLICE("s")))) {
            *ms = units[i].ms;
            return true;
        }
    }
    return false;
}

/* "in 2 hours", from now. */
static bool read_span(struct slice text, uint64_t *unix_ms)
{
    uint64_t count = 0;
    uint64_t ms = 0;
    text = slice_trim(text);
    if (!slice_equal_nocase(slice_cut(&text, ' '), SLICE("in"))) {
        return false;
    }
    text = slice_trim(text);
    struct slice number = slice_cut(&text, ' ');
    if (slice_uint(number, SCHEDULE_MAX_MS, &count) != ERR_OK ||
        !read_unit(slice_trim(text), &ms)) {
        return false;
    }
    /* No product overflows, and what is too far stays so. */
    *unix_ms = clock_unix_ms() + min_u64(count, 2 * SCHEDULE_MAX_MS / ms) * ms;
    return true;
}

bool api_read_time(struct request *request, struct slice param, const struct json_time *given,
                   uint64_t *unix_ms)
{
    uint64_t ms = given->ms;
    if (!given->is_number && clock_parse_rfc3339(given->text, &ms) != ERR_OK &&
        !read_span(given->text, &ms)) {
        api_fail_field(request, ERR_BAD_FIELD, param,
                       SLICE("a time is written as 2026-01-31T12:00:00Z, in milliseconds since "
                             "1970, or as \"in 2 hours\""));
        return false;
    }
    if (ms > clock_unix_ms() + SCHEDULE_MAX_MS) {
        api_fail_field(request, ERR_BAD_FIELD, param,
                       SLICE("a mail can be scheduled 30 days ahead at most"));
        return false;
    }
    *unix_ms = ms;
    return true;
}

/* ---- answers -------------------------------------------------------------------------------- */

static void write_scheduled(struct json_writer *w, const struct row_mail *mail)
{
    json_open_object(w);
    api_id(w, "id", ID_SCHEDULED, mail->id);
    api_text(w, "status", slice_str(mail_status_text((enum mail_status)mail->status)));
    api_id(w, "messageId", ID_MESSAGE, mail->id);
    api_u64(w, "scheduledAt", mail->scheduled_unix_ms);
    api_u64(w, "createdAt", mail->received_unix_ms);
    json_key(w, "from");
    json_open_object(w);
    api_text(w, "address", mail->from_addr);
    if (mail->from_name.len > 0) {
        api_text(w, "name", mail->from_name);
    }
    json_close_object(w);
    api_pack(w, "to", mail->to);
    api_pack(w, "cc", mail->cc);
    api_text_or_null(w, "subject", mail->subject);
    api_text(w, "mode", mail->mode == MODE_TEST ? SLICE("test") : SLICE("live"));
    api_metadata(w, mail->metadata);
    api_pack(w, "tags", mail->tags);
    json_close_object(w);
}

static void answer_one(struct request *request, const struct row_mail *mail)
{
    struct api_body body;
    api_json_start(&body);
    write_scheduled(&body.w, mail);
    api_json_send(request, 200, &body);
}

/* ---- list, show ----------------------------------------------------------------------------- */

static void on_listed(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.list.row_count; i++) {
        write_scheduled(&body.w, &msg->body.list.rows[i]);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

void api_scheduled_list(struct request *request)
{
    struct shard_list list = {
        .caller = request->caller,
        .before_unix_ms = UINT64_MAX,
        .has_direction = true,
        .direction = DIRECTION_OUTBOUND,
        .has_status = true,
        .status = MAIL_SCHEDULED,
    };
    struct slice text;
    if (!api_page(request, &list.limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("before"), &request->arena, &text) && text.len > 0 &&
        id_parse(ID_SCHEDULED, text, &list.before) != ERR_OK &&
        slice_u64(text, &list.before_unix_ms) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("before"),
                       SLICE("before is a time in milliseconds or an id"));
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_LIST);
    if (msg != NULL) {
        msg->body.list = list;
        api_post(request, api_shard(request), msg, on_listed);
    }
}

static void on_read(struct request *request, struct msg *msg)
{
    if (msg->body.read.mail.scheduled_unix_ms == 0) {
        api_fail(request, ERR_NOT_FOUND);
        return;
    }
    answer_one(request, &msg->body.read.mail);
}

void api_scheduled_get(struct request *request)
{
    struct id id;
    if (!api_param_id(request, 0, ID_SCHEDULED, &id)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_READ);
    if (msg != NULL) {
        msg->body.read.caller = request->caller;
        msg->body.read.id = id;
        api_post(request, api_shard(request), msg, on_read);
    }
}

/* ---- move ----------------------------------------------------------------------------------- */

struct schedule_body {
    struct json_time scheduled_at;
};

static const struct json_field schedule_fields[] = {
    {.name = "scheduledAt",
     .type = JSON_TIME,
     .is_required = true,
     .offset = offsetof(struct schedule_body, scheduled_at)},
};
const struct json_shape api_schedule_shape = {schedule_fields, ARRAY_LEN(schedule_fields),
                                              sizeof(struct schedule_body)};

static void on_moved(struct request *request, struct msg *msg)
{
    answer_one(request, &msg->body.schedule.mail);
}

void api_scheduled_change(struct request *request)
{
    struct schedule_body body;
    struct shard_schedule change = {
        .caller = request->caller,
        .op = SCHEDULE_MOVE,
        .is_scheduled_only = true,
    };
    if (!api_param_id(request, 0, ID_SCHEDULED, &change.id) ||
        !api_read(request, &api_schedule_shape, &body) ||
        !api_read_time(request, SLICE("scheduledAt"), &body.scheduled_at, &change.due_unix_ms)) {
        return;
    }
    change.due_unix_ms = max_u64(change.due_unix_ms, clock_unix_ms());
    struct msg *msg = api_take(request, MSG_SHARD_SCHEDULE);
    if (msg != NULL) {
        msg->body.schedule = change;
        api_post(request, api_shard(request), msg, on_moved);
    }
}

/* ---- cancel --------------------------------------------------------------------------------- */

static void on_cancelled(struct request *request, struct msg *msg)
{
    const struct shard_schedule *schedule = &msg->body.schedule;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    api_id(&body.w, "id", schedule->is_scheduled_only ? ID_SCHEDULED : ID_MESSAGE, schedule->id);
    api_text(&body.w, "status",
             slice_str(mail_status_text((enum mail_status)schedule->mail.status)));
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void post_cancel(struct request *request, enum id_kind kind)
{
    struct id id;
    if (!api_param_id(request, 0, kind, &id)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_SCHEDULE);
    if (msg != NULL) {
        msg->body.schedule = (struct shard_schedule){
            .caller = request->caller,
            .op = SCHEDULE_CANCEL,
            .id = id,
            .is_scheduled_only = kind == ID_SCHEDULED,
        };
        api_post(request, api_shard(request), msg, on_cancelled);
    }
}

void api_scheduled_cancel(struct request *request)
{
    post_cancel(request, ID_SCHEDULED);
}

void api_message_cancel(struct request *request)
{
    post_cancel(request, ID_MESSAGE);
}
