/* api_admin_user.c - users, as the operator sees and changes them.
 *
 * A user is named by email: the directory knows whose it is, then the shard of its account is
 * asked. A new password is hashed in between, and ends the user's sessions.
 */
#include "base/check.h"
#include "base/limits.h"
#include "edge/admin.h"
#include "edge/people.h"

#define PASSWORD_MADE 24 /* characters of base62: 142 bits */

/* ---- bodies --------------------------------------------------------------------------------- */

struct user_body {
    struct slice email;
    struct slice password;
    bool is_admin;
    bool has_password;
    bool has_admin;
};

#define EMAIL_FIELD                                                                                \
    {                                                                                              \
        .name = "email", .type = JSON_TEXT, .is_required = true,                                   \
        .offset = offsetof(struct user_body, email), .max = EMAIL_MAX                              \
    }
#define OTHER_FIELDS                                                                               \
    {.name = "password",                                                                           \
     .type = JSON_TEXT,                                                                            \
     .offset = offsetof(struct user_body, password),                                               \
     .has_offset = offsetof(struct user_body, has_password),                                       \
     .max = PASSWORD_MAX},                                                                         \
    {                                                                                              \
        .name = "isAdmin", .type = JSON_BOOL, .offset = offsetof(struct user_body, is_admin),      \
        .has_offset = offsetof(struct user_body, has_admin)                                        \
    }
static const struct json_field new_user_fields[] = {EMAIL_FIELD, OTHER_FIELDS};
static const struct json_field user_fields[] = {OTHER_FIELDS};
const struct json_shape api_admin_new_user_shape = {new_user_fields, ARRAY_LEN(new_user_fields),
                                                    sizeof(struct user_body)};
const struct json_shape api_admin_user_shape = {user_fields, ARRAY_LEN(user_fields),
                                                sizeof(struct user_body)};

/* What is asked of a user, in request->keep while the directory looks for it. */
struct inquiry {
    enum admin_op op;
    struct slice email;
    struct account_id account;
    struct id user;
    struct slice password;
    struct slice hash;
    bool is_admin;
    uint32_t given; /* enum admin_field */
};

/* ---- rendering ------------------------------------------------------------------------------ */

void admin_write_user(struct json_writer *w, const struct row_user *user)
{
    char text[ID_TEXT_MAX];
    json_open_object(w);
    api_id(w, "id", ID_USER, user->id);
    api_text(w, "email", user->email);
    api_text_or_null(w, "name", user->name);
    api_text(w, "accountId", slice_of(text, account_text(id_account(user->id), text)));
    api_text(w, "role", slice_str(role_text((enum role)user->role)));
    api_bool(w, "isAdmin", user->is_admin);
    api_bool(w, "emailVerified", user->is_email_verified);
    api_u64(w, "createdAt", user->created_unix_ms);
    api_u64_or_null(w, "lastLoginAt", user->last_login_unix_ms);
    json_close_object(w);
}

/* ---- pages ---------------------------------------------------------------------------------- */

static void on_users(struct request *request, struct msg *msg)
{
    const struct shard_admin *got = &msg->body.admin;
    struct api_body body;
    char next[ID_TEXT_MAX];
    size_t next_len = 0;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "data");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < got->user_count; i++) {
        admin_write_user(&body.w, &got->users[i]);
    }
    if (got->user_count == got->limit) {
        next_len = id_text(ID_USER, got->users[got->user_count - 1].id, next);
    }
    admin_close_page(request, &body, got->shard, slice_of(next, next_len));
}

void api_admin_users(struct request *request)
{
    struct admin_page page;
    struct id after = {.bytes = {0}};
    if (!admin_read_page(request, &page)) {
        return;
    }
    if (page.after.len > 0 && id_parse(ID_USER, page.after, &after) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("after"), SLICE("after is the id of a user"));
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_USERS);
    if (msg != NULL) {
        msg->body.admin.user = after;
        admin_post_page(request, &page, msg, on_users);
    }
}

/* ---- one user ------------------------------------------------------------------------------- */

static void on_user(struct request *request, struct msg *msg)
{
    struct api_body body;
    CHECK(msg->body.admin.user_count == 1);
    api_json_start(&body);
    admin_write_user(&body.w, &msg->body.admin.users[0]);
    api_json_send(request, 200, &body);
}

static void on_unlocked(struct request *request, struct msg *msg UNUSED)
{
    people_answer_ok(request);
}

static void post_inquiry(struct request *request)
{
    const struct inquiry *inquiry = request->chain;
    struct msg *msg = admin_take(request, inquiry->op);
    if (msg == NULL) {
        return;
    }
    struct shard_admin *admin = &msg->body.admin;
    arena_mark_secret(&request->arena); /* the row comes with the password's hash */
    admin->account = inquiry->account;
    admin->user = inquiry->user;
    admin->password_hash = arena_dup(&request->arena, inquiry->hash);
    admin->is_admin = inquiry->is_admin;
    admin->given = inquiry->given;
    admin_post(request, msg, inquiry->op == ADMIN_UNLOCKED ? on_unlocked : on_user);
}

static void on_hashed(struct request *request, struct slice hash)
{
    struct inquiry *inquiry = request->chain;
    inquiry->hash = people_keep(request, hash);
    post_inquiry(request);
}

static void on_tries_forgotten(struct request *request, struct msg *msg UNUSED)
{
    post_inquiry(request);
}

/* Counted by the shard that the text hashes to: people.c. */
static void forget_tries(struct request *request)
{
    const struct inquiry *inquiry = request->chain;
    struct msg *msg = api_take(request, MSG_SHARD_THROTTLE);
    if (msg != NULL) {
        struct slice text = arena_format(&request->arena, "e:%.*s", SLICE_FMT(inquiry->email));
        msg->body.throttle = (struct shard_throttle){.op = THROTTLE_UNLOCK, .text = text};
        api_post(request, place_directory(request->edge->place, text), msg, on_tries_forgotten);
    }
}

static void on_found(struct request *request, struct msg *msg)
{
    struct inquiry *inquiry = request->chain;
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    inquiry->account = msg->body.directory.account;
    inquiry->user = msg->body.directory.id;
    if (inquiry->op == ADMIN_UNLOCKED) {
        forget_tries(request);
    } else if (inquiry->given & ADMIN_FIELD_PASSWORD) {
        people_hash(request, inquiry->password, on_hashed);
    } else {
        post_inquiry(request);
    }
}

/* False after answering: what is asked must be an email. */
static bool begin(struct request *request, enum admin_op op)
{
    struct inquiry *inquiry = arena_alloc(&request->keep, sizeof *inquiry);
    arena_mark_secret(&request->keep);
    inquiry->op = op;
    request->chain = inquiry;
    return people_read_email(request, request->params[0], &inquiry->email);
}

static void find(struct request *request)
{
    const struct inquiry *inquiry = request->chain;
    people_directory(request, DIRECTORY_GET, inquiry->email, &(struct token){.account = {0}},
                     on_found);
}

void api_admin_user(struct request *request)
{
    if (begin(request, ADMIN_USER)) {
        find(request);
    }
}

void api_admin_user_unlock(struct request *request)
{
    if (begin(request, ADMIN_UNLOCKED)) {
        find(request);
    }
}

void api_admin_user_change(struct request *request)
{
    struct user_body body;
    arena_mark_secret(&request->arena);
    if (!begin(request, ADMIN_USER_CHANGE) || !api_read(request, &api_admin_user_shape, &body)) {
        return;
    }
    struct inquiry *inquiry = request->chain;
    if (body.has_password) {
        if (!people_password_is_good(request, body.password, "password") ||
            !people_has_room(request)) {
            return;
        }
        inquiry->password = people_keep(request, body.password);
        inquiry->given |= ADMIN_FIELD_PASSWORD;
    }
    if (body.has_admin) {
        inquiry->is_admin = body.is_admin;
        inquiry->given |= ADMIN_FIELD_IS_ADMIN;
    }
    find(request);
}

/* ---- a new one ------------------------------------------------------------------------------ */

static void on_made(struct request *request, const struct people_made *made)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    people_write_user(&body.w, made->user);
    people_write_account(&body.w, made->account, made->user->email);
    api_text(&body.w, "apiKey", made->key);
    if (request->context.len > 0) {
        api_text(&body.w, "password", request->context);
    }
    json_close_object(&body.w);
    api_json_send(request, 201, &body);
}

void api_admin_user_create(struct request *request)
{
    struct user_body body;
    struct people_newcomer newcomer = {.then = on_made};
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    if (!api_read(request, &api_admin_new_user_shape, &body) ||
        !people_read_email(request, body.email, &newcomer.email) || !people_has_room(request)) {
        return;
    }
    if (body.has_password && !people_password_is_good(request, body.password, "password")) {
        return;
    }
    newcomer.password = body.password;
    newcomer.is_admin = body.is_admin;
    if (!body.has_password) {
        char *made = arena_bytes(&request->keep, PASSWORD_MADE);
        crypto_random_base62(made, PASSWORD_MADE);
        newcomer.password = slice_of(made, PASSWORD_MADE);
        request->context = newcomer.password;
    }
    people_sign_up(request, &newcomer);
}
