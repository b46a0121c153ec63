/* api_people.c - the people of an account.
 *
 * Adding: may the caller? -> is the email free? -> password on a worker -> row -> claim of the
 * email
 * -> answer. Removing: row made powerless -> release of the email -> row deleted -> answer.
 * src/shards/member.c says why in these orders.
 */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "edge/people.h"

struct member_body {
    struct slice email;
    struct slice role;
    struct slice name;
    struct slice password;
};

static const struct json_field add_fields[] = {
    {.name = "email",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct member_body, email),
     .max = EMAIL_MAX},
    {.name = "role",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct member_body, role),
     .max = ID_TEXT_MAX},
    {.name = "name",
     .type = JSON_TEXT,
     .offset = offsetof(struct member_body, name),
     .max = MEMBER_NAME_MAX},
    {.name = "password",
     .type = JSON_TEXT,
     .offset = offsetof(struct member_body, password),
     .max = PASSWORD_MAX},
};
const struct json_shape api_member_shape = {add_fields, ARRAY_LEN(add_fields),
                                            sizeof(struct member_body)};

static const struct json_field change_fields[] = {
    {.name = "role",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct member_body, role),
     .max = ID_TEXT_MAX},
};
const struct json_shape api_role_shape = {change_fields, ARRAY_LEN(change_fields),
                                          sizeof(struct member_body)};

/* What the chain of an addition or a removal carries, in request->keep. */
struct member {
    enum role role;
    struct slice email;
    struct slice name;
    struct slice password;
    struct slice hash;
    struct token owner; /* of the email: account, user */
    struct row_user row;
    enum member_status status;
    bool is_undone; /* an addition whose email was lost to another */
};

/* ---- shared --------------------------------------------------------------------------------- */

static void write_time(struct json_writer *w, const char *name, uint64_t unix_ms)
{
    json_key(w, name);
    if (unix_ms == 0) {
        json_nil(w);
    } else {
        json_u64(w, unix_ms);
    }
}

/* Without the closing brace. */
static void write_member(struct json_writer *w, const struct row_user *row,
                         enum member_status status)
{
    json_open_object(w);
    api_id(w, "id", ID_USER, row->id);
    api_text(w, "email", row->email);
    api_text_or_null(w, "name", row->name);
    api_text(w, "role", slice_str(role_text((enum role)row->role)));
    api_text(w, "status", slice_str(member_status_text(status)));
    api_u64(w, "createdAt", row->created_unix_ms);
    write_time(w, "lastLoginAt", row->last_login_unix_ms);
    api_bool(w, "isAdmin", row->is_admin);
}

static bool read_role(struct request *request, struct slice text, enum role *role)
{
    if (role_parse(text, role) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("role"),
                       SLICE("role is owner, admin or member"));
        return false;
    }
    return true;
}

static struct msg *take(struct request *request, enum member_op op)
{
    struct msg *msg = api_take(request, MSG_SHARD_MEMBER);
    if (msg != NULL) {
        arena_mark_secret(&request->arena);
        msg->body.member.caller = request->caller;
        msg->body.member.op = op;
        msg->body.member.id = request->subject;
    }
    return msg;
}

static struct member *new_member(struct request *request)
{
    struct member *member = arena_alloc(&request->keep, sizeof *member);
    arena_mark_secret(&request->keep);
    member->owner.account = request->caller.account;
    request->chain = member;
    return member;
}

/* ---- removing ------------------------------------------------------------------------------- */

static void on_forgotten(struct request *request, struct msg *msg UNUSED)
{
    const struct member *member = request->chain;
    if (member->is_undone) {
        api_fail(request, ERR_EXISTS);
    } else {
        people_answer_ok(request);
    }
}

/* Who removed himself may not ask for this any more, so we do: the removal was allowed. */
static void on_email_released(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg); /* the row is listed as removed; another DELETE goes on */
        return;
    }
    struct msg *forget = take(request, MEMBER_FORGET);
    if (forget != NULL) {
        forget->body.member.caller.kind = CALLER_OPERATOR;
        api_post(request, api_shard(request), forget, on_forgotten);
    }
}

static void on_removed(struct request *request, struct msg *msg)
{
    struct member *member = request->chain;
    member->owner.user = request->subject;
    member->email = people_keep(request, msg->body.member.rows[0].row.email);
    people_directory(request, DIRECTORY_RELEASE, member->email, &member->owner, on_email_released);
}

static void remove_member(struct request *request)
{
    struct msg *msg = take(request, MEMBER_REMOVE);
    if (msg != NULL) {
        api_post(request, api_shard(request), msg, on_removed);
    }
}

void api_member_remove(struct request *request)
{
    if (api_param_id(request, 0, ID_USER, &request->subject)) {
        (void)new_member(request); /* it stands in request->chain */
        remove_member(request);
    }
}

/* ---- adding --------------------------------------------------------------------------------- */

static void answer_added(struct request *request)
{
    const struct member *member = request->chain;
    struct api_body body;
    api_json_start(&body);
    write_member(&body.w, &member->row, member->status);
    if (member->status == MEMBER_INVITED) {
        const struct token invite = {.account = member->owner.account,
                                     .user = member->row.id,
                                     .expires_unix_ms = clock_unix_ms() + INVITE_MS};
        people_write_token(request, &body.w, "inviteToken", &invite);
    }
    json_close_object(&body.w);
    api_json_send(request, 201, &body);
}

static void on_email_claimed(struct request *request, struct msg *msg)
{
    struct member *member = request->chain;
    if (msg->err == ERR_OK) {
        answer_added(request);
    } else if (msg->err == ERR_EXISTS) {
        member->is_undone = true;
        remove_member(request);
    } else {
        api_fail_msg(request, msg);
    }
}

static void on_added(struct request *request, struct msg *msg)
{
    struct member *member = request->chain;
    const struct member_view *view = &msg->body.member.rows[0];
    member->row = view->row;
    member->row.email = member->email;
    member->row.name = member->name;
    member->row.google_sub = SLICE("");
    member->status = view->status;
    member->owner.user = view->row.id;
    request->subject = view->row.id;
    people_directory(request, DIRECTORY_CLAIM, member->email, &member->owner, on_email_claimed);
}

static void add_member(struct request *request)
{
    const struct member *member = request->chain;
    struct msg *msg = take(request, MEMBER_ADD);
    if (msg != NULL) {
        msg->body.member.role = member->role;
        msg->body.member.email = arena_dup(&request->arena, member->email);
        msg->body.member.name = arena_dup(&request->arena, member->name);
        msg->body.member.password_hash = arena_dup(&request->arena, member->hash);
        api_post(request, api_shard(request), msg, on_added);
    }
}

static void on_hashed(struct request *request, struct slice hash)
{
    struct member *member = request->chain;
    member->hash = people_keep(request, hash);
    add_member(request);
}

static void on_email_free(struct request *request, struct msg *msg)
{
    const struct member *member = request->chain;
    if (msg->err != ERR_NOT_FOUND) {
        api_fail(request, msg->err == ERR_OK ? ERR_EXISTS : msg->err);
    } else if (member->password.len > 0) {
        people_hash(request, member->password, on_hashed);
    } else {
        add_member(request);
    }
}

static void on_allowed(struct request *request, struct msg *msg UNUSED)
{
    const struct member *member = request->chain;
    people_directory(request, DIRECTORY_GET, member->email, &member->owner, on_email_free);
}

void api_member_add(struct request *request)
{
    struct member_body body;
    arena_mark_secret(&request->arena);
    struct member *member = new_member(request);
    if (!api_read(request, &api_member_shape, &body) ||
        !people_read_email(request, body.email, &member->email) ||
        !read_role(request, body.role, &member->role)) {
        return;
    }
    if (body.password.len > 0 && !people_password_is_good(request, body.password, "password")) {
        return;
    }
    member->name = people_keep(request, body.name);
    member->password = people_keep(request, body.password);
    struct msg *msg = take(request, MEMBER_MAY_ADD);
    if (msg != NULL) {
        msg->body.member.role = member->role;
        api_post(request, api_shard(request), msg, on_allowed);
    }
}

/* ---- list and change ------------------------------------------------------------------------ */

static void on_listed(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.member.row_count; i++) {
        const struct member_view *view = &msg->body.member.rows[i];
        write_member(&body.w, &view->row, view->status);
        json_close_object(&body.w);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

void api_member_list(struct request *request)
{
    struct msg *msg = take(request, MEMBER_LIST);
    if (msg != NULL) {
        api_post(request, api_shard(request), msg, on_listed);
    }
}

static void on_changed(struct request *request, struct msg *msg)
{
    const struct member_view *view = &msg->body.member.rows[0];
    struct api_body body;
    api_json_start(&body);
    write_member(&body.w, &view->row, view->status);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_member_change(struct request *request)
{
    struct member_body body;
    enum role role;
    if (!api_param_id(request, 0, ID_USER, &request->subject) ||
        !api_read(request, &api_role_shape, &body) || !read_role(request, body.role, &role)) {
        return;
    }
    struct msg *msg = take(request, MEMBER_CHANGE);
    if (msg != NULL) {
        msg->body.member.role = role;
        api_post(request, api_shard(request), msg, on_changed);
    }
}
