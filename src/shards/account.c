/* account.c - accounts and users, who a caller is, and the directory of names.
 *
 * The directory rows that live in this shard belong to names that hash here, not to its accounts;
 * an email or a domain is claimed by message before its owner may rely on it.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

#define FIRST_KEY_NAME "First key"

static void name_person(struct shard *shard, struct msg *msg);
static enum err directory_claim(struct shard *shard, struct shard_directory *body);
static enum err directory_release(struct shard *shard, const struct shard_directory *body);

/* ---- callers -------------------------------------------------------------------------------- */

enum err shard_check_caller(struct shard *shard, struct msg *msg, const struct caller *caller,
                            struct principal *principal)
{
    /* A credential is no promise to anybody, so an answer does not wait for the rows it was checked
     * against. */
    enum depends before = shard->depends;
    struct principal found;
    memset(&found, 0, sizeof(found));
    enum err err =
        shard_get_account(shard, key_account(caller->account), &msg->arena, &found.account);
    if (err == ERR_OK) {
        switch (caller->kind) {
        case CALLER_KEY:
            err = api_key_check(shard, msg, caller, &found);
            break;
        case CALLER_SESSION:
            err = user_check(shard, msg, caller, &found);
            break;
        case CALLER_OPERATOR:
            found.is_operator = true;
            break;
        }
    }
    if (err == ERR_OK && found.has_user) {
        err = shard_charge(shard, msg, caller, &found);
    }
    shard->depends = before;
    if (err == ERR_OK && found.account.is_suspended && !found.is_operator) {
        err = ERR_SUSPENDED;
    }
    if (err == ERR_OK && caller->needs_session && found.has_key) {
        msg->param = SLICE("session");
        msg->sentence = SLICE("this is for people, and an API key is none");
        err = ERR_SCOPE;
    }
    if (err == ERR_OK) {
        *principal = found;
    }
    bool is_stranger = err == ERR_NOT_FOUND && caller->kind != CALLER_OPERATOR;
    return is_stranger ? ERR_UNAUTHORIZED : err;
}

static uint32_t first_limit(uint64_t own, uint64_t inherited, uint64_t configured)
{
    return (uint32_t)(own != 0 ? own : inherited != 0 ? inherited : configured);
}

enum err shard_charge(struct shard *shard, struct msg *msg, const struct caller *caller,
                      const struct principal *principal)
{
    if (caller->is_charged || msg->rate.limit != 0 || caller->kind == CALLER_OPERATOR) {
        return ERR_OK;
    }
    const struct conf *conf = shard->place->conf;
    const struct row_account *row = &principal->account;
    bool is_key = caller->kind == CALLER_KEY;
    uint64_t key = 0;
    uint64_t now_ms = loop_now_ms(shard->actor.loop);
    uint32_t limit = first_limit(row->rate_per_min, 0, conf->rate_account_per_min);
    uint32_t key_limit = 0;
    if (is_key) {
        memcpy(&key, caller->key_hash.bytes, sizeof(key));
        key_limit =
            first_limit(principal->key.rate_per_min, row->key_rate_per_min, conf->rate_key_per_min);
    }
    struct rate_view of_account = {.limit = 0};
    struct rate_view of_key = {.limit = 0};
    bool is_let_in = rate_peek(&shard->rates, caller->account.value, limit, now_ms, &of_account);
    is_let_in = rate_peek(&shard->rates, key, key_limit, now_ms, &of_key) && is_let_in;
    bool is_key_tighter =
        of_key.limit != 0 &&
        (of_account.limit == 0 || of_key.retry_s > of_account.retry_s ||
         (of_key.retry_s == of_account.retry_s && of_key.remaining < of_account.remaining));
    msg->rate = is_key_tighter ? of_key : of_account;
    if (!is_let_in) {
        return ERR_RATE;
    }
    rate_take(&shard->rates, caller->account.value, limit, now_ms);
    rate_take(&shard->rates, key, key_limit, now_ms);
    return ERR_OK;
}

bool principal_sees(const struct principal *principal, uint8_t mode)
{
    return !principal->has_key || principal->key.mode == mode;
}

/* ---- people --------------------------------------------------------------------------------- */

void account_signup(struct shard *shard, struct msg *msg)
{
    struct shard_signup *body = &msg->body.signup;
    struct account_id account = body->account;
    struct row_account existing;
    enum err err = account.value == 0
                       ? ERR_INVALID
                       : shard_get_account(shard, key_account(account), &msg->arena, &existing);
    if (err != ERR_NOT_FOUND) {
        shard_answer(shard, msg, err == ERR_OK ? ERR_EXISTS : err);
        return;
    }
    uint64_t now = clock_unix_ms();
    struct row_account row = {
        .id = account,
        .name = body->account_name,
        .created_unix_ms = now,
    };
    body->user = (struct row_user){
        .id = shard_id(shard, account),
        .email = body->email,
        .password_hash = body->password_hash,
        .role = ROLE_OWNER,
        .is_admin = body->is_admin,
        .is_email_verified = body->is_email_verified,
        .google_sub = body->google_sub,
        .name = body->name,
        .created_unix_ms = now,
        .last_login_unix_ms = id_is_none(body->session) ? 0 : now,
    };
    if (!id_is_none(body->session)) {
        body->user.sessions = user_sessions_with(SLICE(""), body->session,
                                                 body->session_expires_unix_ms, &msg->arena);
    }
    struct row_api_key key = {
        .id = shard_id(shard, account),
        .name = SLICE(FIRST_KEY_NAME),
        .mode = MODE_LIVE,
        .permission = PERMISSION_FULL,
        .prefix = body->key_prefix,
        .last4 = body->key_last4,
        .is_enabled = true,
        .created_unix_ms = now,
        .created_by = body->user.id,
    };
    shard_put_account(shard, key_account(account), &row);
    shard_put_user(shard, key_user(account, body->user.id), &body->user);
    struct row_api_key_id index = {.hash = body->key_hash};
    shard_put_api_key(shard, key_api_key(account, &body->key_hash), &key);
    shard_put_api_key_id(shard, key_api_key_id(account, key.id), &index);
    struct principal who = {.account = row, .has_user = true, .user = body->user};
    if (body->is_made) {
        who.is_operator = body->maker.kind == CALLER_OPERATOR;
        who.user = (struct row_user){.id = body->maker.user, .email = body->maker_email};
    }
    struct caller from = {.peer = body->peer};
    struct audit_note note = {
        .account = account, .who = &who, .caller = &from, .action = "account.created"};
    shard_audit_id(shard, &note, ID_USER, body->user.id);
    note.action = "api_key.created";
    note.detail = key.name;
    shard_audit_id(shard, &note, ID_KEY, key.id);
    LOG_INFO("account.created", LOG_ACCOUNT("account", account), LOG_ORIGIN(&msg->origin));
    shard_answer(shard, msg, ERR_OK);
}

/* Undoes a sign-up whose email turned out to be taken. */
void account_drop(struct shard *shard, struct msg *msg)
{
    struct account_id account = msg->body.drop.account;
    struct row_account row;
    enum err err = shard_get_account(shard, key_account(account), &msg->arena, &row);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    struct key users = key_prefix_users(account);
    struct key users_end = key_after(&users);
    struct sha256 least;
    struct sha256 greatest;
    memset(&least, 0x00, sizeof(least));
    memset(&greatest, 0xff, sizeof(greatest));
    struct key keys = key_api_key(account, &least);
    struct key keys_end = key_api_key(account, &greatest);
    keys_end = key_after(&keys_end);
    struct key ids = key_prefix_api_key_ids(account);
    struct key ids_end = key_after(&ids);
    struct key audits = key_prefix_audits(account);
    struct key audits_end = key_after(&audits);
    kv_batch_delete_range(shard->filling->rows, key_slice(&users), key_slice(&users_end));
    kv_batch_delete_range(shard->filling->rows, key_slice(&keys), key_slice(&keys_end));
    kv_batch_delete_range(shard->filling->rows, key_slice(&ids), key_slice(&ids_end));
    kv_batch_delete_range(shard->filling->rows, key_slice(&audits), key_slice(&audits_end));
    /* Ranges are not seen by the overlay; without its account row nobody passes the check. */
    shard_delete(shard, key_account(account));
    LOG_INFO("account.dropped", LOG_ACCOUNT("account", account), LOG_ORIGIN(&msg->origin));
    shard_answer(shard, msg, ERR_OK);
}

void account_login(struct shard *shard, struct msg *msg)
{
    struct shard_login *body = &msg->body.login;
    enum err err =
        shard_get_user(shard, key_user(body->account, body->user), &msg->arena, &body->row);
    if (err == ERR_OK) {
        err = shard_get_account(shard, key_account(body->account), &msg->arena, &body->account_row);
    }
    shard_answer(shard, msg, err);
}

void account_me(struct shard *shard, struct msg *msg)
{
    struct shard_me *body = &msg->body.me;
    struct principal principal;
    enum err err = shard_check_caller(shard, msg, &body->caller, &principal);
    if (err == ERR_OK) {
        body->account = principal.account;
        body->has_user = principal.has_user;
        body->user = principal.user;
        body->user.password_hash = SLICE("");
        body->user.sessions = SLICE("");
        body->has_key = principal.has_key;
        body->key = principal.key;
        name_person(shard, msg);
    }
    shard_answer(shard, msg, err);
}

/* A key is the account's; the address shown with it is its maker's, while he is one of its people.
 */
static void name_person(struct shard *shard, struct msg *msg)
{
    struct shard_me *body = &msg->body.me;
    struct row_user user = body->user;
    if (body->has_key) {
        enum err err =
            body->key.is_made_by_key
                ? ERR_NOT_FOUND
                : shard_get_user(shard, key_user(body->caller.account, body->key.created_by),
                                 &msg->arena, &user);
        arena_mark_secret(&msg->arena); /* the row holds the password's hash */
        if (err != ERR_OK) {
            return;
        }
    }
    body->email = user.email;
    body->is_email_verified = user.is_email_verified;
}

void account_check(struct shard *shard, struct msg *msg)
{
    const struct shard_check *body = &msg->body.check;
    struct principal who;
    enum err err = shard_check_caller(shard, msg, &body->caller, &who);
    if (err == ERR_OK && body->idempotency_key.len > 0) {
        err = idempotency_claim(shard, &who, body->idempotency_key, &body->body_hash);
    }
    shard_answer(shard, msg, err);
}

/* ---- the directory -------------------------------------------------------------------------- */

void account_directory(struct shard *shard, struct msg *msg)
{
    struct shard_directory *body = &msg->body.directory;
    enum err err = ERR_OK;
    struct row_directory row;
    switch (body->op) {
    case DIRECTORY_GET:
        err = shard_get_directory(shard, key_directory((enum directory_kind)body->kind, body->name),
                                  &shard->scratch, &row);
        if (err == ERR_OK) {
            body->account = row.account;
            body->id = row.id;
        }
        break;
    case DIRECTORY_CLAIM:
        err = directory_claim(shard, body);
        break;
    case DIRECTORY_RELEASE:
        err = directory_release(shard, body);
        break;
    }
    shard_answer(shard, msg, err);
}

static enum err directory_claim(struct shard *shard, struct shard_directory *body)
{
    struct key key = key_directory((enum directory_kind)body->kind, body->name);
    struct row_directory row;
    enum err err = shard_get_directory(shard, key, &shard->scratch, &row);
    /* A domain may be had again by its account; a person is somebody else. */
    bool is_theirs =
        err == ERR_OK && (row.account.value != body->account.value ||
                          (body->kind != DIRECTORY_DOMAIN && !id_equal(row.id, body->id)));
    if (is_theirs) {
        body->account = row.account;
        body->id = row.id;
        return ERR_EXISTS;
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    if (err == ERR_OK && id_equal(row.id, body->id)) {
        return ERR_OK;
    }
    row = (struct row_directory){
        .account = body->account,
        .id = body->id,
        .created_unix_ms = clock_unix_ms(),
    };
    shard_put_directory(shard, key, &row);
    return ERR_OK;
}

/* Releasing what is not held is no error: the wish is fulfilled. */
static enum err directory_release(struct shard *shard, const struct shard_directory *body)
{
    struct key key = key_directory((enum directory_kind)body->kind, body->name);
    struct row_directory row;
    enum err err = shard_get_directory(shard, key, &shard->scratch, &row);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    bool is_ours = err == ERR_OK && row.account.value == body->account.value &&
                   (body->kind == DIRECTORY_DOMAIN || id_equal(row.id, body->id));
    if (is_ours) {
        shard_delete(shard, key);
    }
    return err;
}

/* ---- tries ---------------------------------------------------------------------------------- */

/* Kept in memory: a restart forgives, and nothing waits for a disk. */
void account_throttle(struct shard *shard, struct msg *msg)
{
    const struct shard_throttle *body = &msg->body.throttle;
    enum err err = body->max > 0 || body->op == THROTTLE_UNLOCK ? ERR_OK : ERR_INVALID;
    uint64_t now_ms = loop_now_ms(shard->actor.loop);
    if (err == ERR_OK && shard->throttle == NULL) {
        shard->throttle = throttle_new();
    }
    if (err == ERR_OK) {
        switch (body->op) {
        case THROTTLE_TAKE:
            err = throttle_take(shard->throttle, body->text, body->max, now_ms, &msg->rate.retry_s);
            break;
        case THROTTLE_GIVE:
            throttle_give(shard->throttle, body->text, body->max, now_ms);
            break;
        case THROTTLE_UNLOCK:
            throttle_unlock(shard->throttle, body->text);
            break;
        }
    }
    shard_answer(shard, msg, err);
}
