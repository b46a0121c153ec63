/* user.c - people: the sessions they have open, and their passwords.
 *
 * A session counts while the user's row holds its id, so ending one is a write to one row and holds
 * from the next request on, on every core. The row is read for each request anyway.
 *
 * Passwords are hashed and checked by the edge, on a worker. Meanwhile the row may change, so
 * whoever brings the outcome brings the hash it was checked against too, and it must still be the
 * row's.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

#define SESSION_BYTES 24 /* id, expiry */
#define SESSIONS_MAX  (SESSIONS_PER_USER * (4 + SESSION_BYTES))

struct open_session {
    struct id id;
    uint64_t expires_unix_ms;
};

/* Sessions that a request has ended; in its message's arena. */
struct ended {
    struct credential *list;
    uint32_t count;
};

static bool next_session(struct slice *pack, struct open_session *session);
static uint64_t open_until(struct slice pack, struct id session);
static struct slice sessions_but(struct slice pack, struct id session, struct arena *arena);
static struct slice session_alone(struct slice pack, struct id session, struct arena *arena);
static void put_session(struct buf *pack, const struct open_session *session);
static enum err get(struct shard *shard, struct msg *msg);
static enum err sign_in(struct shard *shard, struct msg *msg);
static enum err sign_out(struct shard *shard, struct msg *msg, struct ended *ended);
static enum err change_password(struct shard *shard, struct msg *msg, struct ended *ended);
static enum err join(struct shard *shard, struct msg *msg);
static enum err failed(struct shard *shard, struct msg *msg);
static enum err check_person(struct shard *shard, struct msg *msg, struct principal *who);
static enum err find(struct shard *shard, struct msg *msg, struct principal *who);
static void note(struct shard *shard, const struct msg *msg, const struct principal *who,
                 const char *action, struct slice detail);
static void show(struct msg *msg, const struct row_user *row);

/* ---- sessions ------------------------------------------------------------------------------- */

enum err user_check(struct shard *shard, struct msg *msg, const struct caller *caller,
                    struct principal *principal)
{
    struct row_user *user = &principal->user;
    arena_mark_secret(&msg->arena); /* the row holds the password's hash */
    enum err err =
        shard_get_user(shard, key_user(caller->account, caller->user), &msg->arena, user);
    uint64_t expires = err == ERR_OK ? open_until(user->sessions, caller->session) : 0;
    if (err == ERR_OK && expires == 0) {
        err = ERR_UNAUTHORIZED;
    }
    if (err != ERR_OK) {
        return err;
    }
    msg->credential_expires_unix_ms = expires;
    if (caller->right != RIGHT_NONE &&
        !(role_rights((enum role)user->role) & UINT32_C(1) << caller->right)) {
        msg->param = slice_str(right_text(caller->right));
        msg->sentence = SLICE("your role does not allow that");
        return ERR_SCOPE;
    }
    principal->has_user = true;
    return ERR_OK;
}

static bool next_session(struct slice *pack, struct open_session *session)
{
    struct slice item;
    if (!get_slice(pack, &item) || item.len != SESSION_BYTES) {
        return false;
    }
    memcpy(session->id.bytes, item.data, sizeof(session->id.bytes));
    item = slice_from(item, sizeof(session->id.bytes));
    return get_u64(&item, &session->expires_unix_ms);
}

/* 0: it is not open. Looks at all of them, whichever it is. */
static uint64_t open_until(struct slice pack, struct id session)
{
    uint64_t now = clock_unix_ms();
    uint64_t until = 0;
    struct open_session found;
    while (next_session(&pack, &found)) {
        bool is_same = crypto_equal(slice_of(found.id.bytes, sizeof(found.id.bytes)),
                                    slice_of(session.bytes, sizeof(session.bytes)));
        if (is_same && found.expires_unix_ms > now && !id_is_none(session)) {
            until = found.expires_unix_ms;
        }
    }
    return until;
}

struct slice user_sessions_with(struct slice pack, struct id session, uint64_t expires_unix_ms,
                                struct arena *arena)
{
    uint64_t now = clock_unix_ms();
    struct open_session item;
    uint32_t count = 0;
    for (struct slice rest = pack; next_session(&rest, &item);) {
        count += item.expires_unix_ms > now;
    }
    struct buf fresh;
    buf_init(&fresh, SESSIONS_MAX);
    while (next_session(&pack, &item)) {
        if (item.expires_unix_ms <= now) {
            continue;
        }
        if (count < SESSIONS_PER_USER) {
            put_session(&fresh, &item);
        } else {
            count--; /* the oldest */
        }
    }
    item = (struct open_session){.id = session, .expires_unix_ms = expires_unix_ms};
    put_session(&fresh, &item);
    CHECK(!fresh.is_over);
    struct slice whole = arena_dup(arena, buf_slice(&fresh));
    buf_fini(&fresh);
    return whole;
}

static struct slice sessions_but(struct slice pack, struct id session, struct arena *arena)
{
    struct open_session item;
    struct buf rest;
    buf_init(&rest, SESSIONS_MAX);
    while (next_session(&pack, &item)) {
        if (!id_equal(item.id, session)) {
            put_session(&rest, &item);
        }
    }
    CHECK(!rest.is_over);
    struct slice whole = arena_dup(arena, buf_slice(&rest));
    buf_fini(&rest);
    return whole;
}

static struct slice session_alone(struct slice pack, struct id session, struct arena *arena)
{
    struct open_session item;
    while (next_session(&pack, &item)) {
        if (id_equal(item.id, session)) {
            return user_sessions_with(SLICE(""), session, item.expires_unix_ms, arena);
        }
    }
    return SLICE("");
}

struct credential *user_end_sessions(struct slice pack, struct id but, struct arena *arena,
                                     uint32_t *count)
{
    struct credential *list = arena_array(arena, SESSIONS_PER_USER, sizeof(*list));
    struct open_session item;
    *count = 0;
    while (*count < SESSIONS_PER_USER && next_session(&pack, &item)) {
        if (!id_equal(item.id, but)) {
            list[(*count)++] = credential_session(item.id);
        }
    }
    return list;
}

static void put_session(struct buf *pack, const struct open_session *session)
{
    buf_put_u32(pack, SESSION_BYTES);
    buf_add_bytes(pack, session->id.bytes, sizeof(session->id.bytes));
    buf_put_u64(pack, session->expires_unix_ms);
}

/* ---- requests ------------------------------------------------------------------------------- */

void user_handle(struct shard *shard, struct msg *msg)
{
    enum err err = ERR_OK;
    struct ended ended = {.count = 0};
    arena_mark_secret(&msg->arena);
    switch (msg->body.user.op) {
    case USER_GET:
        err = get(shard, msg);
        break;
    case USER_OPEN:
        err = sign_in(shard, msg);
        break;
    case USER_CLOSE:
        err = sign_out(shard, msg, &ended);
        break;
    case USER_PASSWORD:
        err = change_password(shard, msg, &ended);
        break;
    case USER_JOIN:
        err = join(shard, msg);
        break;
    case USER_FAILED:
        err = failed(shard, msg);
        break;
    }
    if (err == ERR_OK && ended.count > 0) {
        shard_end_credentials(shard, msg, ended.list, ended.count);
    } else {
        shard_answer(shard, msg, err);
    }
}

static enum err get(struct shard *shard, struct msg *msg)
{
    struct principal who;
    enum err err = check_person(shard, msg, &who);
    if (err == ERR_OK) {
        msg->body.user.row = who.user;
    }
    return err;
}

static enum err sign_in(struct shard *shard, struct msg *msg)
{
    const struct shard_user *body = &msg->body.user;
    struct principal who;
    enum err err = find(shard, msg, &who);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_LOGIN : err;
    }
    struct row_user *user = &who.user;
    /* Who comes by Google's word has been judged by whether there is a password, too. */
    bool is_google = body->google_sub.len > 0;
    bool has_checked = is_google || body->checked_hash.len > 0;
    if (user->is_removed ||
        (has_checked && !slice_equal(body->checked_hash, user->password_hash))) {
        return ERR_LOGIN;
    }
    if (is_google && user->google_sub.len > 0 && !slice_equal(body->google_sub, user->google_sub)) {
        return ERR_CONFLICT; /* linked meanwhile */
    }
    if (who.account.is_suspended) {
        return ERR_SUSPENDED;
    }
    user->sessions =
        user_sessions_with(user->sessions, body->session, body->expires_unix_ms, &msg->arena);
    user->last_login_unix_ms = clock_unix_ms();
    if (is_google) {
        user->google_sub = body->google_sub;
        user->is_email_verified = true;
    }
    shard_put_user(shard, key_user(who.account.id, user->id), user);
    note(shard, msg, &who, "session.opened", is_google ? SLICE("google") : SLICE("password"));
    show(msg, user);
    return ERR_OK;
}

static enum err sign_out(struct shard *shard, struct msg *msg, struct ended *ended)
{
    const struct caller *caller = &msg->body.user.caller;
    struct principal who;
    enum err err = check_person(shard, msg, &who);
    if (err == ERR_OK && !shard_can_end(shard)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        return err;
    }
    ended->list = arena_alloc(&msg->arena, sizeof(*ended->list));
    ended->list[0] = credential_session(caller->session);
    ended->count = 1;
    who.user.sessions = sessions_but(who.user.sessions, caller->session, &msg->arena);
    shard_put_user(shard, key_user(caller->account, who.user.id), &who.user);
    note(shard, msg, &who, "session.ended", SLICE("logout"));
    return ERR_OK;
}

static enum err change_password(struct shard *shard, struct msg *msg, struct ended *ended)
{
    const struct shard_user *body = &msg->body.user;
    struct principal who;
    enum err err = check_person(shard, msg, &who);
    if (err == ERR_OK && !shard_can_end(shard)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        return err;
    }
    struct row_user *user = &who.user;
    if (!slice_equal(body->checked_hash, user->password_hash)) {
        return ERR_LOGIN;
    }
    ended->list =
        user_end_sessions(user->sessions, body->caller.session, &msg->arena, &ended->count);
    user->password_hash = body->new_hash;
    user->sessions = session_alone(user->sessions, body->caller.session, &msg->arena);
    shard_put_user(shard, key_user(who.account.id, user->id), user);
    note(shard, msg, &who, "password.changed", SLICE(""));
    show(msg, user);
    return ERR_OK;
}

/* Invitations are good once: whoever has a password, or signed in elsewhere, needs none. */
static enum err join(struct shard *shard, struct msg *msg)
{
    const struct shard_user *body = &msg->body.user;
    struct principal who;
    enum err err = find(shard, msg, &who);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_UNAUTHORIZED : err;
    }
    struct row_user *user = &who.user;
    if (user->is_removed || user->password_hash.len > 0 || user->google_sub.len > 0) {
        return ERR_UNAUTHORIZED;
    }
    if (who.account.is_suspended) {
        return ERR_SUSPENDED;
    }
    user->password_hash = body->new_hash;
    user->sessions =
        user_sessions_with(user->sessions, body->session, body->expires_unix_ms, &msg->arena);
    user->last_login_unix_ms = clock_unix_ms();
    shard_put_user(shard, key_user(who.account.id, user->id), user);
    note(shard, msg, &who, "member.joined", SLICE(""));
    show(msg, user);
    return ERR_OK;
}

/* The line rides on the next batch. Were its fsync waited for, the time would tell who exists. */
static enum err failed(struct shard *shard, struct msg *msg)
{
    enum depends before = shard->depends;
    struct principal who;
    enum err err = find(shard, msg, &who);
    if (err == ERR_OK && !who.user.is_removed && !shard->is_draining &&
        shard->free_bytes >= shard->place->conf->reserve_mb * MIB) {
        const struct audit_note line = {
            .account = who.account.id,
            .caller = &msg->body.user.caller,
            .action = "login.failed",
        };
        shard_audit_id(shard, &line, ID_USER, who.user.id);
    }
    shard->depends = before;
    return ERR_OK;
}

/* ---- shared --------------------------------------------------------------------------------- */

/* The caller, who must be somebody: not a key, and not the operator either. */
static enum err check_person(struct shard *shard, struct msg *msg, struct principal *who)
{
    enum err err = shard_check_caller(shard, msg, &msg->body.user.caller, who);
    if (err == ERR_OK && !who->has_user) {
        msg->param = SLICE("session");
        err = ERR_SCOPE;
    }
    return err;
}

/* Account and user by the ids that the edge names. */
static enum err find(struct shard *shard, struct msg *msg, struct principal *who)
{
    const struct shard_user *body = &msg->body.user;
    struct account_id account = body->caller.account;
    memset(who, 0, sizeof(*who));
    enum err err = shard_get_account(shard, key_account(account), &msg->arena, &who->account);
    if (err == ERR_OK) {
        err = shard_get_user(shard, key_user(account, body->user), &msg->arena, &who->user);
        who->has_user = err == ERR_OK;
    }
    return err;
}

static void note(struct shard *shard, const struct msg *msg, const struct principal *who,
                 const char *action, struct slice detail)
{
    const struct audit_note line = {
        .account = who->account.id,
        .who = who,
        .caller = &msg->body.user.caller,
        .action = action,
        .detail = detail,
    };
    shard_audit_id(shard, &line, ID_USER, who->user.id);
}

static void show(struct msg *msg, const struct row_user *row)
{
    msg->body.user.row = *row;
    msg->body.user.row.password_hash = SLICE("");
    msg->body.user.row.sessions = SLICE("");
}
