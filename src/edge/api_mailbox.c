/* api_mailbox.c - mailboxes, their messages and conversations.
 *
 * Lists come in an envelope: {data, total, page, per_page}. A message is what it is elsewhere
 * (api_mail.c), with what a reader did to it.
 */
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/addr.h"

/* ---- decode --------------------------------------------------------------------------------- */

struct mailbox_body {
    struct slice address;
    struct slice name;
    bool has_name;
};

static const struct json_field mailbox_fields[] = {
    {.name = "address",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct mailbox_body, address),
     .max = EMAIL_MAX},
    {.name = "name",
     .type = JSON_TEXT,
     .offset = offsetof(struct mailbox_body, name),
     .has_offset = offsetof(struct mailbox_body, has_name),
     .max = MAILBOX_NAME_MAX},
};
const struct json_shape api_mailbox_shape = {mailbox_fields, ARRAY_LEN(mailbox_fields),
                                             sizeof(struct mailbox_body)};
/* The address of a mailbox stays. */
const struct json_shape api_mailbox_name_shape = {&mailbox_fields[1], 1,
                                                  sizeof(struct mailbox_body)};

struct mark_body {
    struct slice folder;
    bool is_read;
    bool is_starred;
    bool has_folder;
    bool has_read;
    bool has_starred;
};

static const struct json_field mark_fields[] = {
    {.name = "read",
     .type = JSON_BOOL,
     .offset = offsetof(struct mark_body, is_read),
     .has_offset = offsetof(struct mark_body, has_read)},
    {.name = "starred",
     .type = JSON_BOOL,
     .offset = offsetof(struct mark_body, is_starred),
     .has_offset = offsetof(struct mark_body, has_starred)},
    {.name = "folder",
     .type = JSON_TEXT,
     .offset = offsetof(struct mark_body, folder),
     .has_offset = offsetof(struct mark_body, has_folder),
     .max = FOLDER_NAME_MAX},
};
const struct json_shape api_mark_shape = {mark_fields, ARRAY_LEN(mark_fields),
                                          sizeof(struct mark_body)};

static bool fail(struct request *request, const char *param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, slice_str(param), slice_str(sentence));
    return false;
}

static bool query(struct request *request, const char *name, struct slice *value)
{
    return http_query_get(&request->http, slice_str(name), &request->arena, value) &&
           value->len > 0;
}

static bool read_number(struct request *request, const char *name, uint64_t max, uint32_t *number)
{
    struct slice text;
    uint64_t value = 0;
    if (!query(request, name, &text)) {
        return true;
    }
    if (slice_uint(text, max, &value) != ERR_OK || value == 0) {
        return fail(request, name, "a page is named by numbers from 1 on; per_page is 1 to 200");
    }
    *number = (uint32_t)value;
    return true;
}

static bool read_page(struct request *request, struct shard_mailbox *body)
{
    body->page = 1;
    body->limit = PAGE_DEFAULT;
    return read_number(request, "page", PAGE_NUMBER_MAX, &body->page) &&
           read_number(request, "per_page", PAGE_MAX, &body->limit);
}

static bool read_mailbox_query(struct request *request, struct shard_mailbox *body)
{
    struct slice text;
    return !query(request, "mailbox", &text) ||
           id_parse(ID_MAILBOX, text, &body->mailbox) == ERR_OK ||
           fail(request, "mailbox", "mailbox is the id of a mailbox");
}

static bool check_name(struct request *request, struct slice name)
{
    return !slice_has_control(name, "") || fail(request, "name", "name must be one line of text");
}

static bool check_folder(struct request *request, struct slice folder)
{
    bool is_good =
        folder.len > 0 && folder.len <= FOLDER_NAME_MAX && !slice_has_control(folder, "");
    return is_good || fail(request, "folder", "folder is a name of one line, 64 bytes at most");
}

/* ---- render --------------------------------------------------------------------------------- */

static void write_mailbox(struct json_writer *w, const struct row_mailbox *row)
{
    json_open_object(w);
    api_id(w, "id", ID_MAILBOX, row->id);
    api_text(w, "address", row->address);
    api_text_or_null(w, "name", row->name);
    api_id(w, "domain_id", ID_DOMAIN, row->domain);
    api_u64(w, "created_at", row->created_unix_ms);
    json_close_object(w);
}

static void write_state(struct json_writer *w, const struct row_mail_state *state)
{
    struct slice rest = state->mailboxes;
    struct id mailbox;
    char text[ID_TEXT_MAX];
    api_bool(w, "read", state->is_read);
    api_bool(w, "starred", state->is_starred);
    api_text(w, "folder", state->folder);
    json_key(w, "mailbox_ids");
    json_open_array(w);
    while (rest.len >= sizeof(mailbox.bytes)) {
        memcpy(mailbox.bytes, rest.data, sizeof(mailbox.bytes));
        rest = slice_from(rest, sizeof(mailbox.bytes));
        json_text(w, slice_of(text, id_text(ID_MAILBOX, mailbox, text)));
    }
    json_close_array(w);
}

static void write_entry(struct json_writer *w, const struct mail_entry *entry)
{
    json_open_object(w);
    api_mail_members(w, &entry->mail);
    write_state(w, &entry->state);
    json_close_object(w);
}

static void write_thread_members(struct json_writer *w, const struct row_thread *row)
{
    api_id(w, "id", ID_THREAD, row->id);
    api_text_or_null(w, "subject", row->subject);
    api_u64(w, "message_count", row->mail_count);
    api_u64(w, "first_at", row->first_unix_ms);
    api_u64(w, "last_at", row->last_unix_ms);
}

static void write_item(struct json_writer *w, const struct shard_mailbox *box, uint32_t index)
{
    if (box->op == MAILBOX_LIST) {
        write_mailbox(w, &box->mailboxes[index]);
    } else if (box->op == MAILBOX_MAILS) {
        write_entry(w, &box->mails[index]);
    } else {
        json_open_object(w);
        write_thread_members(w, &box->threads[index]);
        json_close_object(w);
    }
}

static void on_page(struct request *request, struct msg *msg)
{
    const struct shard_mailbox *box = &msg->body.mailbox;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "data");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < box->count; i++) {
        write_item(&body.w, box, i);
    }
    json_close_array(&body.w);
    api_u64(&body.w, "total", box->total);
    api_u64(&body.w, "page", box->page);
    api_u64(&body.w, "per_page", box->limit);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void on_mailbox(struct request *request, struct msg *msg)
{
    const struct shard_mailbox *box = &msg->body.mailbox;
    struct api_body body;
    CHECK(box->count == 1);
    api_json_start(&body);
    write_mailbox(&body.w, &box->mailboxes[0]);
    api_json_send(request, box->op == MAILBOX_CREATE ? 201 : 200, &body);
}

static void on_marked(struct request *request, struct msg *msg)
{
    struct api_body body;
    CHECK(msg->body.mailbox.count == 1);
    api_json_start(&body);
    write_entry(&body.w, &msg->body.mailbox.mails[0]);
    api_json_send(request, 200, &body);
}

static void on_thread(struct request *request, struct msg *msg)
{
    const struct shard_mailbox *box = &msg->body.mailbox;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    write_thread_members(&body.w, &box->threads[0]);
    json_key(&body.w, "messages");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < box->count; i++) {
        write_entry(&body.w, &box->mails[i]);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
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

/* ---- post ----------------------------------------------------------------------------------- */

static void post(struct request *request, const struct shard_mailbox *wanted,
                 request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_SHARD_MAILBOX);
    if (msg != NULL) {
        msg->body.mailbox = *wanted;
        msg->body.mailbox.caller = request->caller;
        api_post(request, api_shard(request), msg, on_return);
    }
}

/* A request that needs no more than the id in its path. */
static void post_id(struct request *request, enum mailbox_op op, enum id_kind kind,
                    request_msg_fn *on_return)
{
    struct shard_mailbox wanted = {.op = op};
    if (api_param_id(request, 0, kind, &wanted.id)) {
        post(request, &wanted, on_return);
    }
}

/* ---- mailboxes ------------------------------------------------------------------------------ */

void api_mailbox_list(struct request *request)
{
    struct shard_mailbox wanted = {.op = MAILBOX_LIST};
    if (read_page(request, &wanted)) {
        post(request, &wanted, on_page);
    }
}

void api_mailbox_create(struct request *request)
{
    struct mailbox_body body;
    struct addr addr;
    if (!api_read(request, &api_mailbox_shape, &body)) {
        return;
    }
    if (addr_parse(slice_trim(body.address), &request->arena, &addr) != ERR_OK ||
        addr.name.len > 0) {
        (void)fail(request, "address", "a valid address is required"); /* answered */
        return;
    }
    struct shard_mailbox wanted = {
        .op = MAILBOX_CREATE,
        .wanted = {.address = addr_key(&addr, &request->arena), .name = slice_trim(body.name)},
    };
    if (check_name(request, wanted.wanted.name)) {
        post(request, &wanted, on_mailbox);
    }
}

void api_mailbox_get(struct request *request)
{
    post_id(request, MAILBOX_GET, ID_MAILBOX, on_mailbox);
}

void api_mailbox_change(struct request *request)
{
    struct mailbox_body body;
    struct shard_mailbox wanted = {.op = MAILBOX_RENAME};
    if (!api_param_id(request, 0, ID_MAILBOX, &wanted.id) ||
        !api_read(request, &api_mailbox_name_shape, &body)) {
        return;
    }
    wanted.wanted.name = slice_trim(body.name);
    if (!body.has_name) {
        wanted.op = MAILBOX_GET; /* nothing is to be changed */
    }
    if (check_name(request, wanted.wanted.name)) {
        post(request, &wanted, on_mailbox);
    }
}

void api_mailbox_delete(struct request *request)
{
    post_id(request, MAILBOX_DELETE, ID_MAILBOX, on_ok);
}

/* ---- messages ------------------------------------------------------------------------------- */

void api_box_message_list(struct request *request)
{
    struct shard_mailbox wanted = {.op = MAILBOX_MAILS};
    if (!read_page(request, &wanted) || !read_mailbox_query(request, &wanted)) {
        return;
    }
    if (!query(request, "folder", &wanted.folder)) {
        wanted.folder = SLICE("");
    } else if (!check_folder(request, wanted.folder)) {
        return;
    }
    post(request, &wanted, on_page);
}

static void on_read(struct request *request, struct msg *msg)
{
    const struct shard_read *read = &msg->body.read;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_full_mail_members(&body.w, read);
    write_state(&body.w, &read->state);
    api_attachments(request, &body.w, read);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_box_message_get(struct request *request)
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

void api_box_message_change(struct request *request)
{
    struct mark_body body;
    struct shard_mailbox wanted = {.op = MAILBOX_MARK};
    if (!api_param_id(request, 0, ID_MESSAGE, &wanted.id) ||
        !api_read(request, &api_mark_shape, &body)) {
        return;
    }
    wanted.state = (struct row_mail_state){
        .is_read = body.is_read,
        .is_starred = body.is_starred,
        .folder = slice_trim(body.folder),
    };
    wanted.given = (body.has_read ? MARK_READ : 0u) | (body.has_starred ? MARK_STARRED : 0u) |
                   (body.has_folder ? MARK_FOLDER : 0u);
    if (!body.has_folder || check_folder(request, wanted.state.folder)) {
        post(request, &wanted, on_marked);
    }
}

void api_box_message_delete(struct request *request)
{
    post_id(request, MAILBOX_DISCARD, ID_MESSAGE, on_ok);
}

/* ---- conversations -------------------------------------------------------------------------- */

void api_thread_list(struct request *request)
{
    struct shard_mailbox wanted = {.op = MAILBOX_THREADS};
    if (read_page(request, &wanted) && read_mailbox_query(request, &wanted)) {
        post(request, &wanted, on_page);
    }
}

void api_thread_get(struct request *request)
{
    post_id(request, MAILBOX_THREAD, ID_THREAD, on_thread);
}
