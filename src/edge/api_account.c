/* api_account.c - sign-up, and who am I.
 *
 * Sign-up: hash the password on a worker, claim "the first user of this server", write account,
 * user and first key in the new account's shard, then claim the email in the directory. A crash or
 * a lost race between the last two leaves an account nobody can reach (it is dropped when we are
 * alive to do so) and an email that is still free; the other order could lose the email for good.
 *
 * Whoever holds the claim of the first user is the server's admin. It is posted just before the
 * account is written and released when the sign-up fails after all; should the daemon die in
 * between, nobody is admin, and the operator names one (docs/OPERATIONS.md). The other order would
 * make two.
 */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "edge/people.h"

/* What the chain carries from step to step, in request->keep. */
struct signup {
    struct people_newcomer newcomer;
    struct slice hash;
    struct auth_key key;
    struct token token; /* account, user, session */
    struct row_user user;
    bool is_first;
    enum err err; /* why it failed, while things are undone */
};

static struct signup *signup_of(struct request *request)
{
    return request->chain;
}

/* ---- the claim of the first user ------------------------------------------------------------ */

static void post_first_user(struct request *request, enum directory_op op,
                            request_msg_fn *on_return)
{
    struct slice name = SLICE(SERVER_FIRST_USER);
    struct msg *msg = api_take(request, MSG_SHARD_DIRECTORY);
    if (msg != NULL) {
        msg->body.directory = (struct shard_directory){
            .op = op,
            .kind = DIRECTORY_KIND_SERVER,
            .name = name,
            .account = signup_of(request)->token.account,
        };
        api_post_errors(request, place_directory(request->edge->place, name), msg, on_return);
    }
}

static void on_first_released(struct request *request, struct msg *msg UNUSED)
{
    api_fail(request, signup_of(request)->err);
}

/* The sign-up has failed; nothing of it is left but perhaps the claim. */
static void fail(struct request *request, enum err err)
{
    struct signup *signup = signup_of(request);
    signup->err = err;
    if (signup->is_first) {
        post_first_user(request, DIRECTORY_RELEASE, on_first_released);
    } else {
        api_fail(request, err);
    }
}

/* ---- the steps ------------------------------------------------------------------------------ */

static void answer(struct request *request)
{
    struct signup *signup = signup_of(request);
    struct slice key = slice_of(signup->key.text, AUTH_KEY_LEN);
    if (signup->newcomer.then != NULL) {
        signup->newcomer.then(request,
                              &(struct people_made){&signup->user, signup->token.account, key});
        return;
    }
    bool has_password = signup->newcomer.password.len > 0;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    people_write_token(request, &body.w, "token", &signup->token);
    people_write_user(&body.w, &signup->user);
    if (has_password) {
        people_write_account(&body.w, signup->token.account, signup->newcomer.email);
        api_text(&body.w, "apiKey", key);
    }
    json_close_object(&body.w);
    api_json_send(request, has_password ? 201 : 200, &body);
}

static void on_dropped(struct request *request, struct msg *msg UNUSED)
{
    fail(request, ERR_EXISTS);
}

static void on_email_claimed(struct request *request, struct msg *msg)
{
    const struct signup *signup = signup_of(request);
    if (msg->err == ERR_OK && signup->newcomer.then != NULL) {
        answer(request);
        return;
    }
    if (msg->err == ERR_OK) {
        people_forgive(request, answer);
        return;
    }
    if (msg->err != ERR_EXISTS) {
        api_fail_msg(request, msg); /* the claim may be on disk, so the account stays */
        return;
    }
    struct msg *drop = api_take(request, MSG_SHARD_DROP_ACCOUNT);
    if (drop != NULL) {
        drop->body.drop.account = signup->token.account;
        api_post_errors(request, place_shard(request->edge->place, signup->token.account), drop,
                        on_dropped);
    }
}

static void on_account_made(struct request *request, struct msg *msg)
{
    struct signup *signup = signup_of(request);
    if (msg->err != ERR_OK) {
        fail(request, msg->err);
        return;
    }
    signup->token.user = msg->body.signup.user.id;
    signup->user = (struct row_user){
        .id = signup->token.user,
        .email = signup->newcomer.email,
        .name = signup->newcomer.name,
        .role = msg->body.signup.user.role,
        .is_admin = msg->body.signup.user.is_admin,
    };
    people_directory(request, DIRECTORY_CLAIM, signup->newcomer.email, &signup->token,
                     on_email_claimed);
}

static void make_account(struct request *request)
{
    struct signup *signup = signup_of(request);
    struct msg *msg = api_take(request, MSG_SHARD_SIGNUP);
    if (msg == NULL) {
        return;
    }
    struct slice key = slice_of(signup->key.text, AUTH_KEY_LEN);
    struct shard_signup *body = &msg->body.signup;
    arena_mark_secret(&request->arena);
    body->account = signup->token.account;
    body->email = arena_dup(&request->arena, signup->newcomer.email);
    body->account_name = body->email;
    body->name = arena_dup(&request->arena, signup->newcomer.name);
    body->password_hash = arena_dup(&request->arena, signup->hash);
    body->google_sub = arena_dup(&request->arena, signup->newcomer.google_sub);
    body->is_email_verified = signup->newcomer.google_sub.len > 0;
    if (signup->newcomer.then != NULL) {
        body->is_admin = signup->newcomer.is_admin;
        body->is_made = true;
        body->maker = request->caller;
        body->maker_email = arena_dup(&request->arena, request->admin_email);
    } else {
        body->is_admin = signup->is_first;
        body->session = signup->token.session;
        body->session_expires_unix_ms = signup->token.expires_unix_ms;
    }
    body->peer = request->caller.peer;
    body->key_hash = signup->key.hash;
    body->key_prefix = arena_dup(&request->arena, slice_head(key, AUTH_PREFIX_LEN));
    body->key_last4 = arena_dup(&request->arena, slice_from(key, AUTH_KEY_LEN - 4));
    api_post_errors(request, place_shard(request->edge->place, signup->token.account), msg,
                    on_account_made);
}

static bool is_door_open(const struct request *request)
{
    const struct signup *signup = request->chain;
    return request->edge->place->conf->signup_open || signup->newcomer.then != NULL;
}

static void on_first_claimed(struct request *request, struct msg *msg)
{
    struct signup *signup = signup_of(request);
    if (msg->err != ERR_OK && msg->err != ERR_EXISTS) {
        api_fail_msg(request, msg);
        return;
    }
    signup->is_first = msg->err == ERR_OK;
    if (!signup->is_first && !is_door_open(request)) {
        api_fail(request, ERR_SIGNUP_CLOSED);
        return;
    }
    make_account(request);
}

static void claim_first(struct request *request)
{
    struct signup *signup = signup_of(request);
    signup->token = people_new_session(account_random(), (struct id){.bytes = {0}});
    auth_key_make(MODE_LIVE, signup->token.account, &signup->key);
    post_first_user(request, DIRECTORY_CLAIM, on_first_claimed);
}

static void on_hashed(struct request *request, struct slice hash)
{
    signup_of(request)->hash = people_keep(request, hash);
    claim_first(request);
}

static void on_email_free(struct request *request, struct msg *msg)
{
    const struct signup *signup = signup_of(request);
    if (msg->err != ERR_NOT_FOUND) {
        api_fail(request, msg->err == ERR_OK ? ERR_EXISTS : msg->err);
        return;
    }
    if (signup->newcomer.password.len > 0) {
        people_hash(request, signup->newcomer.password, on_hashed);
    } else {
        claim_first(request);
    }
}

static void find_email(struct request *request)
{
    const struct signup *signup = signup_of(request);
    people_directory(request, DIRECTORY_GET, signup->newcomer.email, &signup->token, on_email_free);
}

/* A closed server says so before it says which emails exist. */
static void on_first_found(struct request *request, struct msg *msg)
{
    if (msg->err == ERR_OK) {
        api_fail(request, ERR_SIGNUP_CLOSED);
    } else if (msg->err != ERR_NOT_FOUND) {
        api_fail_msg(request, msg);
    } else {
        find_email(request);
    }
}

static void begin(struct request *request)
{
    if (is_door_open(request)) {
        find_email(request);
    } else {
        post_first_user(request, DIRECTORY_GET, on_first_found);
    }
}

static void keep_newcomer(struct request *request, const struct people_newcomer *newcomer)
{
    struct signup *signup = arena_alloc(&request->keep, sizeof *signup);
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    signup->newcomer = (struct people_newcomer){
        .email = newcomer->email,
        .password = people_keep(request, newcomer->password),
        .google_sub = people_keep(request, newcomer->google_sub),
        .name = people_keep(request, newcomer->name),
        .is_admin = newcomer->is_admin,
        .then = newcomer->then,
    };
    request->chain = signup;
}

void people_sign_up(struct request *request, const struct people_newcomer *newcomer)
{
    keep_newcomer(request, newcomer);
    begin(request);
}

void api_signup(struct request *request)
{
    struct people_login body;
    struct people_newcomer newcomer = {.name = SLICE("")};
    arena_mark_secret(&request->arena);
    if (!api_read(request, &api_login_shape, &body) ||
        !people_read_email(request, body.email, &newcomer.email) ||
        !people_password_is_good(request, body.password, "password") || !people_has_room(request)) {
        return;
    }
    newcomer.password = body.password;
    keep_newcomer(request, &newcomer);
    people_try(request, SLICE(""), begin);
}

/* ---- who am I ------------------------------------------------------------------------------- */

static void write_scopes(struct json_writer *w, const struct shard_me *me)
{
    uint32_t rights = UINT32_MAX;
    if (me->has_key) {
        rights = key_rights(&me->key);
    } else if (me->has_user) {
        rights = role_rights((enum role)me->user.role);
    }
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
    people_write_account(&body.w, me->account.id, me->account.name);
    if (me->has_user) {
        people_write_user(&body.w, &me->user);
        api_text(&body.w, "role", slice_str(role_text((enum role)me->user.role)));
    }
    api_text_or_null(&body.w, "email", me->email);
    api_bool(&body.w, "emailVerified", me->is_email_verified);
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
