/* api_account.c - sign-up, log-in, who am I.
 *
 * Sign-up: hash the password on a worker, write account, user and first key in the new account's
 * shard, then claim the email in the directory. A crash or a lost race between the two leaves an
 * account nobody can reach (it is dropped when we are alive to do so) and an email that is still
 * free; the other order could lose the email for good.
 *
 * Log-in: directory, user row, then the password check on a worker. An unknown email takes the same
 * path with a hash that matches nothing, so that both answers take the same time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "edge/auth.h"
#include "mail/addr.h"

/* ---- password work -------------------------------------------------------------------------- */

struct password_job {
    struct job job;
    struct edge *edge;
    uint64_t token;
    bool is_check;
    bool is_good;                 /* out of a check */
    char hash[PASSWORD_HASH_MAX]; /* in of a check, out of a hash */
    size_t password_len;
    char password[PASSWORD_MAX];
    void (*then)(struct request *request, const struct password_job *job);
};

static void work(struct job *job)
{
    struct password_job *password = CONTAINER_OF(job, struct password_job, job);
    struct slice text = slice_of(password->password, password->password_len);
    if (password->is_check) {
        password->is_good = crypto_password_check(slice_str(password->hash), text);
    } else {
        crypto_password_hash(text, password->hash);
    }
    crypto_wipe(password->password, sizeof password->password);
}

static void done(struct job *job)
{
    struct password_job *password = CONTAINER_OF(job, struct password_job, job);
    struct edge *edge = password->edge;
    struct request *request = edge_slot_find(edge, password->token);
    if (request != NULL) {
        password->then(request, password);
    }
    crypto_wipe(password, sizeof *password);
    free(password);
    edge_job_done(edge);
}

static void start_job(struct request *request, struct slice password, struct slice hash,
                      void (*then)(struct request *, const struct password_job *))
{
    struct edge *edge = request->edge;
    if (edge->password_jobs >= PASSWORD_JOBS_MAX || edge_slot_take(edge, request) == UINT32_MAX) {
        api_fail(request, ERR_BUSY);
        return;
    }
    struct password_job *job = mem_zalloc(sizeof *job);
    job->edge = edge;
    job->token = edge_slot_token(edge, request->slot);
    job->then = then;
    job->is_check = hash.len > 0;
    CHECK(hash.len < sizeof job->hash && password.len <= sizeof job->password);
    if (hash.len > 0) {
        memcpy(job->hash, hash.data, hash.len);
    }
    memcpy(job->password, password.data, password.len);
    job->password_len = password.len;
    edge->password_jobs += 1;
    loop_offload(edge->loop, &job->job, work, done);
}

/* ---- what both need ------------------------------------------------------------------------- */

struct login_body {
    struct slice email;
    struct slice password;
};

static const struct json_field login_fields[] = {
    {.name = "email",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct login_body, email),
     .max = EMAIL_MAX},
    {.name = "password",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct login_body, password),
     .max = PASSWORD_MAX},
};
const struct json_shape api_login_shape = {login_fields, ARRAY_LEN(login_fields),
                                           sizeof(struct login_body)};

/* Body to a normalised email (kept in request->context) and the password. */
static bool read_login(struct request *request, struct login_body *body)
{
    if (!api_read(request, &api_login_shape, body)) {
        return false;
    }
    struct addr addr;
    if (addr_parse(body->email, &request->arena, &addr) != ERR_OK || addr.name.len > 0) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("email"), SLICE("email is not an address"));
        return false;
    }
    request->context = addr_key(&addr, &request->keep);
    return true;
}

static void post_directory(struct request *request, struct msg *msg, enum directory_op op,
                           request_msg_fn *on_return)
{
    msg->body.directory.op = op;
    msg->body.directory.kind = DIRECTORY_KIND_EMAIL;
    msg->body.directory.name = arena_dup(&request->arena, request->context);
    api_post_errors(request, place_directory(request->edge->place, request->context), msg,
                    on_return);
}

static void write_user(struct json_writer *w, const struct row_user *user)
{
    json_key(w, "user");
    json_open_object(w);
    api_id(w, "id", ID_USER, user->id);
    api_text(w, "email", user->email);
    api_bool(w, "isAdmin", user->is_admin);
    json_close_object(w);
}

static void write_account(struct json_writer *w, struct account_id account, struct slice name)
{
    char text[ID_TEXT_MAX];
    size_t len = account_text(account, text);
    json_key(w, "account");
    json_open_object(w);
    api_text(w, "id", slice_of(text, len));
    api_text(w, "name", name);
    json_close_object(w);
}

static void write_token(struct request *request, struct json_writer *w, struct account_id account,
                        struct id user)
{
    struct slice token = auth_token_make(&request->edge->session_key, account, user,
                                         clock_unix_ms(), &request->keep);
    api_text(w, "token", token);
}

/* ---- sign-up -------------------------------------------------------------------------------- */

/* What the chain carries from step to step, in request->keep. */
struct signup {
    struct account_id account;
    struct auth_key key;
    struct id user;
    bool is_admin;
    char password[PASSWORD_MAX];
    size_t password_len;
};

static struct signup *signup_of(struct request *request)
{
    return request->chain;
}

static void on_dropped(struct request *request, struct msg *msg UNUSED)
{
    api_fail(request, ERR_EXISTS);
}

static void on_email_claimed(struct request *request, struct msg *msg)
{
    struct signup *signup = signup_of(request);
    if (msg->err == ERR_EXISTS) {
        struct msg *drop = api_take(request, MSG_SHARD_DROP_ACCOUNT);
        if (drop != NULL) {
            drop->body.drop.account = signup->account;
            api_post_errors(request, place_shard(request->edge->place, signup->account), drop,
                            on_dropped);
        }
        return;
    }
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    struct row_user user = {
        .id = signup->user, .email = request->context, .is_admin = signup->is_admin};
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    write_token(request, &body.w, signup->account, signup->user);
    write_user(&body.w, &user);
    write_account(&body.w, signup->account, request->context);
    api_text(&body.w, "apiKey", slice_of(signup->key.text, AUTH_KEY_LEN));
    json_close_object(&body.w);
    crypto_wipe(&signup->key, sizeof signup->key);
    api_json_send(request, 201, &body);
}

static void on_account_made(struct request *request, struct msg *msg)
{
    struct signup *signup = signup_of(request);
    signup->user = msg->body.signup.user.id;
    signup->is_admin = msg->body.signup.user.is_admin;
    struct msg *claim = api_take(request, MSG_SHARD_DIRECTORY);
    if (claim == NULL) {
        return;
    }
    claim->body.directory.account = signup->account;
    claim->body.directory.id = signup->user;
    post_directory(request, claim, DIRECTORY_CLAIM, on_email_claimed);
}

static void on_hashed(struct request *request, const struct password_job *job)
{
    struct signup *signup = signup_of(request);
    struct msg *msg = api_take(request, MSG_SHARD_SIGNUP);
    if (msg == NULL) {
        return;
    }
    signup->account = account_random();
    auth_key_make(MODE_LIVE, signup->account, &signup->key);
    struct slice key = slice_of(signup->key.text, AUTH_KEY_LEN);
    struct shard_signup *body = &msg->body.signup;
    body->account = signup->account;
    body->email = arena_dup(&request->arena, request->context);
    body->account_name = body->email;
    body->password_hash = arena_dup(&request->arena, slice_str(job->hash));
    body->key_hash = signup->key.hash;
    body->key_prefix = arena_dup(&request->arena, slice_head(key, AUTH_PREFIX_LEN));
    body->key_last4 = arena_dup(&request->arena, slice_from(key, AUTH_KEY_LEN - 4));
    api_post(request, place_shard(request->edge->place, signup->account), msg, on_account_made);
}

static void on_email_free(struct request *request, struct msg *msg)
{
    struct signup *signup = signup_of(request);
    if (msg->err != ERR_NOT_FOUND) {
        api_fail(request, msg->err == ERR_OK ? ERR_EXISTS : msg->err);
        return;
    }
    start_job(request, slice_of(signup->password, signup->password_len), slice_of(NULL, 0),
              on_hashed);
    crypto_wipe(signup->password, sizeof signup->password);
}

/* Characters, not bytes: the reader of JSON has seen to it that the text is UTF-8. */
static size_t char_count(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    }
    return count;
}

void api_signup(struct request *request)
{
    struct login_body body;
    if (!read_login(request, &body)) {
        return;
    }
    if (char_count(body.password) < PASSWORD_MIN) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("password"),
                       SLICE("password must have at least 10 characters"));
        return;
    }
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    struct signup *signup = arena_alloc(&request->keep, sizeof *signup);
    memcpy(signup->password, body.password.data, body.password.len);
    signup->password_len = body.password.len;
    request->chain = signup;
    struct msg *msg = api_take(request, MSG_SHARD_DIRECTORY);
    if (msg != NULL) {
        post_directory(request, msg, DIRECTORY_GET, on_email_free);
    }
}

/* ---- log-in --------------------------------------------------------------------------------- */

struct login {
    struct account_id account;
    struct row_user user;
    char password[PASSWORD_MAX];
    size_t password_len;
};

/* argon2id of a random text nobody knows, with the parameters of real ones. */
static const char unknown_hash[] = "$argon2id$v=19$m=65536,t=2,p=1$"
                                   "c29tZXNhbHRzb21lc2FsdA$"
                                   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static void on_checked(struct request *request, const struct password_job *job)
{
    struct login *login = request->chain;
    if (!job->is_good || login->account.value == 0) {
        api_fail(request, ERR_LOGIN);
        return;
    }
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    write_token(request, &body.w, login->account, login->user.id);
    write_user(&body.w, &login->user);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void check_password(struct request *request, struct slice hash)
{
    struct login *login = request->chain;
    start_job(request, slice_of(login->password, login->password_len), hash, on_checked);
    crypto_wipe(login->password, sizeof login->password);
}

static void on_user(struct request *request, struct msg *msg)
{
    struct login *login = request->chain;
    if (msg->err != ERR_OK && msg->err != ERR_NOT_FOUND) {
        api_fail_msg(request, msg);
        return;
    }
    if (msg->err == ERR_NOT_FOUND) {
        login->account.value = 0;
        check_password(request, slice_str(unknown_hash));
        return;
    }
    login->user = msg->body.login.row;
    login->user.email = arena_dup(&request->keep, login->user.email);
    login->user.password_hash = slice_of(NULL, 0);
    check_password(request, msg->body.login.row.password_hash);
}

static void on_email_found(struct request *request, struct msg *msg)
{
    struct login *login = request->chain;
    if (msg->err == ERR_NOT_FOUND) {
        login->account.value = 0;
        check_password(request, slice_str(unknown_hash));
        return;
    }
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    login->account = msg->body.directory.account;
    struct msg *next = api_take(request, MSG_SHARD_LOGIN);
    if (next == NULL) {
        return;
    }
    next->body.login.account = login->account;
    next->body.login.user = msg->body.directory.id;
    api_post_errors(request, place_shard(request->edge->place, login->account), next, on_user);
}

void api_login(struct request *request)
{
    struct login_body body;
    if (!read_login(request, &body)) {
        return;
    }
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    struct login *login = arena_alloc(&request->keep, sizeof *login);
    memcpy(login->password, body.password.data, body.password.len);
    login->password_len = body.password.len;
    request->chain = login;
    struct msg *msg = api_take(request, MSG_SHARD_DIRECTORY);
    if (msg != NULL) {
        post_directory(request, msg, DIRECTORY_GET, on_email_found);
    }
}

/* ---- who am I ------------------------------------------------------------------------------- */

static void write_scopes(struct json_writer *w, const struct shard_me *me)
{
    uint32_t rights = me->has_key ? key_rights(&me->key) : UINT32_MAX;
    json_key(w, "scopes");
    json_open_array(w);
    for (enum right right = RIGHT_NONE + 1; right < RIGHT_COUNT; right++) {
        if (rights & UINT32_C(1) << right) {
            json_text(w, slice_str(right_text(right)));
        }
    }
    json_close_array(w);
}

static void on_me(struct request *request, struct msg *msg)
{
    const struct shard_me *me = &msg->body.me;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    write_account(&body.w, me->account.id, me->account.name);
    if (me->has_user) {
        write_user(&body.w, &me->user);
        api_text(&body.w, "email", me->user.email);
        api_bool(&body.w, "emailVerified", me->user.is_email_verified);
    }
    if (me->has_key) {
        json_key(&body.w, "key");
        json_open_object(&body.w);
        api_id(&body.w, "id", ID_KEY, me->key.id);
        api_text(&body.w, "name", me->key.name);
        api_text(&body.w, "prefix", me->key.prefix);
        api_text(&body.w, "last4", me->key.last4);
        json_close_object(&body.w);
    }
    write_scopes(&body.w, me);
    api_text(&body.w, "mode",
             me->has_key && me->key.mode == MODE_TEST ? SLICE("test") : SLICE("live"));
    api_text(&body.w, "plan", SLICE("self-hosted"));
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_me(struct request *request)
{
    struct msg *msg = api_take(request, MSG_SHARD_ME);
    if (msg != NULL) {
        msg->body.me.caller = request->caller;
        api_post(request, api_shard(request), msg, on_me);
    }
}
