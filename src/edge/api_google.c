/* api_google.c - signing in with Google.
 *
 *   try counted -> Google says who it is -> directory -> user row ------------> session -> answer
 *                                       |           `-- nobody: sign-up ----'
 *                                       `-- a session is shown: its user row -'
 *
 * Google vouches for an email; that is not yet our user with that email, who may have signed up
 * with somebody else's address and be waiting for its owner. So a user row notes which person of
 * Google's (`sub`) it belongs to. It is noted when the account is made by Google's word; when the
 * user has no password, so that nobody else can have come in; or when the request shows a session
 * of that user, who has logged in with the password before. From then on that person comes in, and
 * no other whom Google gives the same email later.
 */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "edge/people.h"
#include "mail/addr.h"

struct google_body {
    struct slice code;
    struct slice redirect_uri;
};

static const struct json_field google_fields[] = {
    {.name = "code",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct google_body, code),
     .max = GOOGLE_CODE_MAX},
    {.name = "redirectUri",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct google_body, redirect_uri),
     .max = HTTP_CALL_URL_MAX},
};
const struct json_shape api_google_shape = {google_fields, ARRAY_LEN(google_fields),
                                            sizeof(struct google_body)};

/* In request->keep. */
struct sign_in {
    struct slice code;
    struct slice redirect_uri;
    bool has_session; /* one was shown; whether it is open, its shard says */
    struct caller session;
    struct slice sub; /* from here on by Google's word */
    struct slice email;
    struct slice name;
    struct people_entry entry;
};

static bool read_session(struct request *request, struct sign_in *sign_in);
static void ask(struct request *request);
static void on_session(struct request *request, struct msg *msg);
static void on_email(struct request *request, struct msg *msg);
static void on_user(struct request *request, struct msg *msg);
static void admit(struct request *request, struct account_id account, const struct row_user *user);
static void refuse(struct request *request, const char *sentence);

void api_google(struct request *request)
{
    struct google_body body;
    if (request->edge->google == NULL) {
        refuse(request, "sign-in with Google is not configured");
        return;
    }
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    struct sign_in *sign_in = arena_alloc(&request->keep, sizeof *sign_in);
    if (!read_session(request, sign_in) || !api_read(request, &api_google_shape, &body)) {
        return;
    }
    if (body.code.len == 0 || body.redirect_uri.len == 0) {
        struct slice param = body.code.len == 0 ? SLICE("code") : SLICE("redirectUri");
        api_fail_field(request, ERR_BAD_FIELD, param, SLICE("it is empty"));
        return;
    }
    sign_in->code = people_keep(request, body.code);
    sign_in->redirect_uri = people_keep(request, body.redirect_uri);
    request->chain = sign_in;
    people_try(request, SLICE(""), ask);
}

/* False after an answer. */
static bool read_session(struct request *request, struct sign_in *sign_in)
{
    struct slice header = http_header_get(&request->http, SLICE("authorization"));
    if (header.len == 0) {
        return true;
    }
    struct caller *caller = &sign_in->session;
    if (auth_header_read(&request->edge->token_keys, header, clock_unix_ms(), &request->arena,
                         caller) != ERR_OK ||
        caller->kind != CALLER_SESSION) {
        api_fail(request, ERR_UNAUTHORIZED);
        return false;
    }
    caller->peer = request->caller.peer;
    sign_in->has_session = true;
    return true;
}

static void ask(struct request *request)
{
    const struct sign_in *sign_in = request->chain;
    struct edge *edge = request->edge;
    if (edge_slot_take(edge, request) == UINT32_MAX) {
        api_fail(request, ERR_BUSY);
        return;
    }
    enum err err = google_ask(edge->google, sign_in->code, sign_in->redirect_uri,
                              edge_slot_token(edge, request->slot));
    if (err != ERR_OK) {
        edge_slot_put(edge, request);
        api_fail(request, err);
    }
}

void api_google_person(void *owner, uint64_t token, enum err err,
                       const struct google_person *person)
{
    struct request *request = edge_slot_find(owner, token);
    struct addr addr;
    if (request == NULL) {
        return; /* the client has left */
    }
    if (err != ERR_OK || addr_parse(person->email, &request->arena, &addr) != ERR_OK ||
        addr.name.len > 0) {
        api_fail(request, ERR_UPSTREAM);
        return;
    }
    if (!person->is_email_verified) {
        refuse(request, "Google has not verified the email of this Google account");
        return;
    }
    struct sign_in *sign_in = request->chain;
    sign_in->email = addr_key(&addr, &request->keep);
    sign_in->sub = people_keep(request, person->sub);
    sign_in->name = people_keep(request, person->name);
    if (!sign_in->has_session) {
        static const struct token nobody = {.expires_unix_ms = 0};
        people_directory(request, DIRECTORY_GET, sign_in->email, &nobody, on_email);
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    if (msg != NULL) {
        msg->body.user.op = USER_GET;
        msg->body.user.caller = sign_in->session;
        api_post(request, place_shard(request->edge->place, sign_in->session.account), msg,
                 on_session);
    }
}

static void on_session(struct request *request, struct msg *msg)
{
    const struct sign_in *sign_in = request->chain;
    const struct row_user *user = &msg->body.user.row;
    if (!slice_equal(user->email, sign_in->email)) {
        refuse(request, "the email of the Google account is not that of this user");
        return;
    }
    admit(request, sign_in->session.account, user);
}

static void on_email(struct request *request, struct msg *msg)
{
    struct sign_in *sign_in = request->chain;
    if (msg->err == ERR_NOT_FOUND) {
        const struct people_newcomer newcomer = {
            .email = sign_in->email, .google_sub = sign_in->sub, .name = sign_in->name};
        people_sign_up(request, &newcomer);
        return;
    }
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    sign_in->entry.account = msg->body.directory.account;
    struct id user = msg->body.directory.id;
    struct msg *next = api_take(request, MSG_SHARD_LOGIN);
    if (next != NULL) {
        next->body.login.account = sign_in->entry.account;
        next->body.login.user = user;
        api_post(request, place_shard(request->edge->place, sign_in->entry.account), next, on_user);
    }
}

static void on_user(struct request *request, struct msg *msg)
{
    const struct sign_in *sign_in = request->chain;
    admit(request, sign_in->entry.account, &msg->body.login.row);
}

static void open_session(struct request *request)
{
    const struct sign_in *sign_in = request->chain;
    people_open_session(request, &sign_in->entry);
}

/* The shard makes sure that neither the password nor the sub has changed since. */
static void admit(struct request *request, struct account_id account, const struct row_user *user)
{
    struct sign_in *sign_in = request->chain;
    bool is_linked = user->google_sub.len > 0;
    if (is_linked && !slice_equal(user->google_sub, sign_in->sub)) {
        refuse(request, "another Google account is linked to this user");
        return;
    }
    if (!is_linked && !sign_in->has_session && user->password_hash.len > 0) {
        refuse(request, "this email has a password: log in with it first, then link Google");
        return;
    }
    sign_in->entry = (struct people_entry){
        .account = account,
        .user = user->id,
        .checked_hash = people_keep(request, user->password_hash),
        .google_sub = sign_in->sub,
    };
    people_forgive(request, open_session);
}

static void refuse(struct request *request, const char *sentence)
{
    api_fail_field(request, ERR_CONFLICT, SLICE(""), slice_str(sentence));
}
