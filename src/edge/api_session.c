/* api_session.c - logging in and out, passwords, joining, and the keys that sign tokens.
 *
 * Log-in: tries -> directory -> user row -> password on a worker -> session -> answer.
 *
 * An unknown email takes the same way as a known one with a wrong password: the same messages, in
 * the same order, to shards chosen in the same way, one check of a password with a hash of the same
 * cost, one note of the failure that nobody waits for. They differ in what a look-up of one row
 * finds, some microseconds beside the tens of milliseconds of argon2id; so neither the answer nor
 * its time tells who is a customer. A user without a password is checked against the same hash as
 * nobody. tests/unit/edge/test_people.c compares the two ways step by step.
 */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/people.h"

/* ---- log-in --------------------------------------------------------------------------------- */

static const struct json_field login_fields[] = {
    {.name = "email",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct people_login, email),
     .max = EMAIL_MAX},
    {.name = "password",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct people_login, password),
     .max = PASSWORD_MAX},
};
const struct json_shape api_login_shape = {login_fields, ARRAY_LEN(login_fields),
                                           sizeof(struct people_login)};

/* In request->keep. */
struct login {
    struct people_entry entry; /* of nobody's account, when the email is unknown */
    bool is_known;
    struct slice email;
    struct slice password;
};

static void on_failure_noted(struct request *request, struct msg *msg UNUSED)
{
    api_fail(request, ERR_LOGIN);
}

static void open_session(struct request *request)
{
    const struct login *login = request->chain;
    people_open_session(request, &login->entry);
}

/* For the audit log of whoever it is. Answers 401. */
static void note_failure(struct request *request, struct account_id account, struct id user)
{
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    metric_add(METRIC_LOGINS_FAILED, 1);
    if (msg != NULL) {
        msg->body.user.op = USER_FAILED;
        msg->body.user.caller = (struct caller){.account = account, .peer = request->caller.peer};
        msg->body.user.user = user;
        api_post_errors(request, place_shard(request->edge->place, account), msg, on_failure_noted);
    }
}

static void on_checked(struct request *request, bool is_good)
{
    const struct login *login = request->chain;
    if (is_good && login->is_known) {
        people_forgive(request, open_session);
    } else {
        note_failure(request, login->entry.account, login->entry.user);
    }
}

static void on_user(struct request *request, struct msg *msg)
{
    struct login *login = request->chain;
    if (msg->err != ERR_OK && msg->err != ERR_NOT_FOUND) {
        api_fail_msg(request, msg);
        return;
    }
    login->is_known = msg->err == ERR_OK;
    login->entry.checked_hash =
        login->is_known ? people_keep(request, msg->body.login.row.password_hash) : SLICE("");
    people_check(request, login->password, login->entry.checked_hash, on_checked);
}

/* Where an unknown email would be looked for: anywhere, but always there. */
static struct account_id account_of_nobody(struct slice email)
{
    struct sha256 hash = crypto_sha256(email);
    struct account_id account = {0};
    for (size_t i = 0; i < 8; i++) {
        account.value = account.value << 8 | hash.bytes[i];
    }
    return account;
}

static void on_email_found(struct request *request, struct msg *msg)
{
    struct login *login = request->chain;
    if (msg->err != ERR_OK && msg->err != ERR_NOT_FOUND) {
        api_fail_msg(request, msg);
        return;
    }
    login->entry.account = account_of_nobody(login->email);
    if (msg->err == ERR_OK) {
        login->entry.account = msg->body.directory.account;
        login->entry.user = msg->body.directory.id;
    }
    struct msg *next = api_take(request, MSG_SHARD_LOGIN);
    if (next != NULL) {
        next->body.login.account = login->entry.account;
        next->body.login.user = login->entry.user;
        api_post_errors(request, place_shard(request->edge->place, login->entry.account), next,
                        on_user);
    }
}

static void find_email(struct request *request)
{
    const struct login *login = request->chain;
    static const struct token nobody = {.expires_unix_ms = 0};
    people_directory(request, DIRECTORY_GET, login->email, &nobody, on_email_found);
}

void api_login(struct request *request)
{
    struct people_login body;
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    struct login *login = arena_alloc(&request->keep, sizeof *login);
    if (!api_read(request, &api_login_shape, &body) ||
        !people_read_email(request, body.email, &login->email) || !people_has_room(request)) {
        return;
    }
    /* An empty one is wrong like any other. */
    login->password = people_keep(request, body.password.len > 0 ? body.password : SLICE("\0"));
    request->chain = login;
    people_try(request, login->email, find_email);
}

/* ---- log-out -------------------------------------------------------------------------------- */

static void on_closed(struct request *request, struct msg *msg UNUSED)
{
    request->is_close = true; /* the connection was the session's */
    people_answer_ok(request);
}

void api_logout(struct request *request)
{
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    if (msg != NULL) {
        msg->body.user.op = USER_CLOSE;
        msg->body.user.caller = request->caller;
        api_post(request, api_shard(request), msg, on_closed);
    }
}

/* ---- another password ----------------------------------------------------------------------- */

struct password_body {
    struct slice current;
    struct slice next;
};

static const struct json_field password_fields[] = {
    {.name = "current",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct password_body, current),
     .max = PASSWORD_MAX},
    {.name = "next",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct password_body, next),
     .max = PASSWORD_MAX},
};
const struct json_shape api_password_shape = {password_fields, ARRAY_LEN(password_fields),
                                              sizeof(struct password_body)};

/* In request->keep. */
struct password_change {
    struct slice current;
    struct slice next;
    struct slice old_hash;
    struct slice new_hash;
};

static void on_password_changed(struct request *request, struct msg *msg UNUSED)
{
    people_answer_ok(request);
}

static void post_password(struct request *request)
{
    const struct password_change *change = request->chain;
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    if (msg != NULL) {
        arena_mark_secret(&request->arena);
        msg->body.user.op = USER_PASSWORD;
        msg->body.user.caller = request->caller;
        msg->body.user.checked_hash = arena_dup(&request->arena, change->old_hash);
        msg->body.user.new_hash = arena_dup(&request->arena, change->new_hash);
        api_post(request, api_shard(request), msg, on_password_changed);
    }
}

static void on_next_hashed(struct request *request, struct slice hash)
{
    struct password_change *change = request->chain;
    change->new_hash = people_keep(request, hash);
    people_forgive(request, post_password);
}

static void on_current_checked(struct request *request, bool is_good)
{
    const struct password_change *change = request->chain;
    if (is_good) {
        people_hash(request, change->next, on_next_hashed);
    } else {
        note_failure(request, request->caller.account, request->caller.user);
    }
}

static void check_current(struct request *request)
{
    const struct password_change *change = request->chain;
    people_check(request, change->current, change->old_hash, on_current_checked);
}

static void on_own_row(struct request *request, struct msg *msg)
{
    struct password_change *change = request->chain;
    change->old_hash = people_keep(request, msg->body.user.row.password_hash);
    people_try(request, msg->body.user.row.email, check_current);
}

/* Counted like log-ins: who found a session open may not guess the password with it. */
void api_password(struct request *request)
{
    struct password_body body;
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    if (!api_read(request, &api_password_shape, &body) ||
        !people_password_is_good(request, body.next, "next") || !people_has_room(request)) {
        return;
    }
    struct password_change *change = arena_alloc(&request->keep, sizeof *change);
    change->current = people_keep(request, body.current.len > 0 ? body.current : SLICE("\0"));
    change->next = people_keep(request, body.next);
    request->chain = change;
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    if (msg != NULL) {
        msg->body.user.op = USER_GET;
        msg->body.user.caller = request->caller;
        api_post(request, api_shard(request), msg, on_own_row);
    }
}

/* ---- joining -------------------------------------------------------------------------------- */

struct join_body {
    struct slice token;
    struct slice password;
};

static const struct json_field join_fields[] = {
    {.name = "token",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct join_body, token),
     .max = KIB},
    {.name = "password",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct join_body, password),
     .max = PASSWORD_MAX},
};
const struct json_shape api_join_shape = {join_fields, ARRAY_LEN(join_fields),
                                          sizeof(struct join_body)};

/* In request->keep. */
struct joining {
    struct slice text;
    struct token invite;
    struct slice password;
    struct slice hash;
};

static void post_join(struct request *request)
{
    const struct joining *joining = request->chain;
    people_join(request, &joining->invite, joining->hash);
}

static void on_first_hashed(struct request *request, struct slice hash)
{
    struct joining *joining = request->chain;
    joining->hash = people_keep(request, hash);
    people_forgive(request, post_join);
}

static void read_invite(struct request *request)
{
    struct joining *joining = request->chain;
    if (auth_invite_read(&request->edge->token_keys, joining->text, clock_unix_ms(), &request->keep,
                         &joining->invite) != ERR_OK) {
        api_fail_field(request, ERR_UNAUTHORIZED, SLICE("token"),
                       SLICE("the invitation is not valid, or its time is over"));
        return;
    }
    people_hash(request, joining->password, on_first_hashed);
}

void api_join(struct request *request)
{
    struct join_body body;
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    if (!api_read(request, &api_join_shape, &body) ||
        !people_password_is_good(request, body.password, "password") || !people_has_room(request)) {
        return;
    }
    struct joining *joining = arena_alloc(&request->keep, sizeof *joining);
    joining->text = people_keep(request, body.token);
    joining->password = people_keep(request, body.password);
    request->chain = joining;
    people_try(request, SLICE(""), read_invite);
}

/* ---- the keys that sign --------------------------------------------------------------------- */

void session_keys_set(struct edge *edge, uint64_t packed)
{
    struct session_keys keys = session_keys_unpack(packed);
    if (keys.generation >= edge->token_keys.generation) {
        crypto_wipe(&edge->token_keys, sizeof edge->token_keys);
        edge->token_keys = auth_token_keys(edge->place->master, keys);
    }
}

static void finish_rotation(struct edge *edge, enum err err)
{
    struct rotation *rotation = &edge->rotation;
    rotation->is_running = false;
    struct request *request = edge_slot_find(edge, rotation->token);
    if (request == NULL) {
        return;
    }
    if (err != ERR_OK) {
        api_fail(request, err);
        return;
    }
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_bool(&body.w, "ok", true);
    api_u64(&body.w, "generation", session_keys_unpack(rotation->keys).generation);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

/* Once an edge drains, the others may be gone; all of them read the ledger when they start. */
static void tell_next_edge(struct edge *edge)
{
    struct rotation *rotation = &edge->rotation;
    struct msg *msg = NULL;
    if (rotation->next_edge < edge->place->loop_count && edge->phase == EDGE_OPEN) {
        msg = msg_take(&edge->actor, MSG_EDGE_CONTROL);
        CHECK(msg != NULL); /* the one that is home is put by our caller, and that was enough */
    }
    if (msg == NULL) {
        finish_rotation(edge, ERR_OK);
        return;
    }
    msg->body.control.op = CONTROL_SESSION_KEYS;
    msg->body.control.session_keys = rotation->keys;
    actor_post(edge->place->edges[rotation->next_edge++], msg);
}

void session_rotation_home(struct edge *edge, struct msg *msg)
{
    enum msg_kind kind = (enum msg_kind)msg->kind;
    enum err err = msg->err;
    CHECK(edge->rotation.is_running);
    if (kind == MSG_SHARD_LEDGER) {
        edge->rotation.keys = msg->body.ledger.value;
    }
    msg_put(&edge->actor, msg);
    if (kind == MSG_SHARD_LEDGER && err != ERR_OK) {
        finish_rotation(edge, err);
    } else {
        tell_next_edge(edge);
    }
}

void session_rotate(struct request *request, bool is_now)
{
    struct edge *edge = request->edge;
    if (edge->rotation.is_running) {
        api_fail_field(request, ERR_CONFLICT, SLICE(""),
                       SLICE("a rotation of the session keys is under way"));
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_LEDGER);
    if (msg == NULL) {
        return;
    }
    uint32_t slot = edge_slot_take(edge, request);
    CHECK(slot != UINT32_MAX); /* as many slots as messages */
    edge->rotation = (struct rotation){.is_running = true, .token = edge_slot_token(edge, slot)};
    msg->body.ledger = (struct shard_ledger){
        .kind = LEDGER_SESSION_KEY,
        .is_rotation = true,
        .keep_until_unix_ms = is_now ? 0 : clock_unix_ms() + SESSION_MS,
    };
    LOG_INFO("session_keys.rotate", LOG_BOOL("now", is_now));
    actor_post(edge->place->deliver_shard, msg);
}

struct rotate_body {
    bool is_now;
};

static const struct json_field rotate_fields[] = {
    {.name = "now", .type = JSON_BOOL, .offset = offsetof(struct rotate_body, is_now)},
};
const struct json_shape api_session_rotate_shape = {rotate_fields, ARRAY_LEN(rotate_fields),
                                                    sizeof(struct rotate_body)};

void api_session_rotate(struct request *request)
{
    struct rotate_body body = {.is_now = false};
    if (slice_trim(request->http.body).len == 0 ||
        api_read(request, &api_session_rotate_shape, &body)) {
        session_rotate(request, body.is_now);
    }
}
