/* people.c - passwords on workers, tries counted by shards, sessions opened by shards. */
#include "edge/people.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/metric.h"
#include "mail/addr.h"

/* ---- passwords ------------------------------------------------------------------------------ */

struct password_job {
    struct job job;
    struct edge *edge;
    uint64_t token;
    bool is_good;                 /* out of a check */
    char hash[PASSWORD_HASH_MAX]; /* in of a check, out of a hash */
    size_t password_len;
    char password[PASSWORD_MAX];
    people_hash_fn *on_hashed; /* one of the two */
    people_check_fn *on_checked;
};

/* argon2id of a random text nobody knows, with the parameters of real ones. */
static const char hash_of_nobody[] = "$argon2id$v=19$m=65536,t=2,p=1$"
                                     "c29tZXNhbHRzb21lc2FsdA$"
                                     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static void work(struct job *job)
{
    struct password_job *password = CONTAINER_OF(job, struct password_job, job);
    struct slice text = slice_of(password->password, password->password_len);
    if (password->on_checked != NULL) {
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
    if (request != NULL && password->on_checked != NULL) {
        password->on_checked(request, password->is_good);
    } else if (request != NULL) {
        password->on_hashed(request, slice_str(password->hash));
    }
    crypto_wipe(password, sizeof *password);
    free(password);
    edge_job_done(edge, &edge->password_jobs);
}

/* NULL after 503. */
static struct password_job *new_job(struct request *request, struct slice password)
{
    struct edge *edge = request->edge;
    if (!people_has_room(request)) {
        return NULL;
    }
    if (edge_slot_take(edge, request) == UINT32_MAX) {
        api_fail(request, ERR_BUSY);
        return NULL;
    }
    struct password_job *job = mem_zalloc(sizeof *job);
    job->edge = edge;
    job->token = edge_slot_token(edge, request->slot);
    CHECK(password.len > 0 && password.len <= sizeof job->password);
    memcpy(job->password, password.data, password.len);
    job->password_len = password.len;
    edge->password_jobs += 1;
    return job;
}

void people_hash(struct request *request, struct slice password, people_hash_fn *then)
{
    struct password_job *job = new_job(request, password);
    if (job != NULL) {
        job->on_hashed = then;
        loop_offload(request->edge->loop, &job->job, work, done);
    }
}

void people_check(struct request *request, struct slice password, struct slice hash,
                  people_check_fn *then)
{
    struct password_job *job = new_job(request, password);
    if (job != NULL) {
        struct slice real = hash.len > 0 ? hash : slice_str(hash_of_nobody);
        CHECK(real.len < sizeof job->hash);
        memcpy(job->hash, real.data, real.len);
        job->on_checked = then;
        loop_offload(request->edge->loop, &job->job, work, done);
    }
}

bool people_has_room(struct request *request)
{
    if (request->edge->password_jobs >= PASSWORD_JOBS_MAX) {
        api_fail(request, ERR_BUSY);
        return false;
    }
    return true;
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

bool people_password_is_good(struct request *request, struct slice password, const char *param)
{
    if (char_count(password) < PASSWORD_MIN) {
        struct slice sentence = arena_format(&request->keep, "%s must have at least %d characters",
                                             param, PASSWORD_MIN);
        api_fail_field(request, ERR_BAD_FIELD, slice_str(param), sentence);
        return false;
    }
    return true;
}

/* ---- tries ---------------------------------------------------------------------------------- */

/* What people_try took, in request->keep. */
struct tries {
    struct slice texts[2];
    uint32_t max[2];
    uint32_t count;
    uint32_t at; /* the one that is out */
    enum throttle_op op;
    people_step_fn *then;
};

static void post_try(struct request *request);

static void on_try_home(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        metric_add(METRIC_TRIES_REFUSED, msg->err == ERR_RATE);
        api_fail_msg(request, msg);
        return;
    }
    request->tries->at += 1;
    post_try(request);
}

static void post_try(struct request *request)
{
    struct tries *tries = request->tries;
    if (tries->at == tries->count) {
        tries->then(request);
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_THROTTLE);
    if (msg != NULL) {
        msg->body.throttle = (struct shard_throttle){
            .op = tries->op, .text = tries->texts[tries->at], .max = tries->max[tries->at]};
        api_post_errors(request, place_directory(request->edge->place, tries->texts[tries->at]),
                        msg, on_try_home);
    }
}

static void add_try(struct tries *tries, struct slice text, uint64_t max)
{
    if (max > 0) {
        tries->texts[tries->count] = text;
        tries->max[tries->count] = (uint32_t)max;
        tries->count += 1;
    }
}

/* A household has a /64 at least, so all of it counts as one. */
static struct slice address_text(struct request *request)
{
    char text[IP6_TEXT_MAX];
    struct ip6 ip = request->caller.peer;
    struct cidr v4;
    bool is_v4 = cidr_parse(SLICE("0.0.0.0/0"), &v4) == ERR_OK && cidr_has(&v4, &ip);
    if (!is_v4) {
        memset(ip.bytes + 8, 0, 8);
    }
    (void)ip6_text(&ip, text); /* the length is not needed */
    return arena_format(&request->keep, "a:%s", text);
}

/* The address first: who has used up his own may not use up those of an email. */
void people_try(struct request *request, struct slice email, people_step_fn *then)
{
    const struct conf *conf = request->edge->place->conf;
    struct tries *tries = arena_alloc(&request->keep, sizeof *tries);
    if (!ip6_is_none(&request->caller.peer)) {
        add_try(tries, address_text(request), conf->login_address_max);
    }
    if (email.len > 0) {
        add_try(tries, arena_format(&request->keep, "e:%.*s", SLICE_FMT(email)),
                conf->login_email_max);
    }
    tries->op = THROTTLE_TAKE;
    tries->then = then;
    request->tries = tries;
    post_try(request);
}

void people_forgive(struct request *request, people_step_fn *then)
{
    struct tries *tries = request->tries;
    CHECK(tries != NULL);
    tries->at = 0;
    tries->op = THROTTLE_GIVE;
    tries->then = then;
    post_try(request);
}

/* ---- sessions ------------------------------------------------------------------------------- */

struct token people_new_session(struct account_id account, struct id user)
{
    return (struct token){.account = account,
                          .user = user,
                          .session = id_random(),
                          .expires_unix_ms = clock_unix_ms() + SESSION_MS};
}

static void on_opened(struct request *request, struct msg *msg)
{
    const struct shard_user *user = &msg->body.user;
    const struct token token = {.account = user->caller.account,
                                .user = user->user,
                                .session = user->session,
                                .expires_unix_ms = user->expires_unix_ms};
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    people_write_token(request, &body.w, "token", &token);
    people_write_user(&body.w, &user->row);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void post_opening(struct request *request, struct msg *msg, enum user_op op,
                         const struct people_entry *entry)
{
    struct shard_user *user = &msg->body.user;
    struct token token = people_new_session(entry->account, entry->user);
    arena_mark_secret(&request->arena);
    arena_mark_secret(&request->keep);
    user->op = op;
    user->caller = (struct caller){.account = entry->account, .peer = request->caller.peer};
    user->user = entry->user;
    user->session = token.session;
    user->expires_unix_ms = token.expires_unix_ms;
    api_post(request, place_shard(request->edge->place, entry->account), msg, on_opened);
}

void people_open_session(struct request *request, const struct people_entry *entry)
{
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    if (msg != NULL) {
        msg->body.user.checked_hash = arena_dup(&request->arena, entry->checked_hash);
        msg->body.user.google_sub = arena_dup(&request->arena, entry->google_sub);
        post_opening(request, msg, USER_OPEN, entry);
    }
}

void people_join(struct request *request, const struct token *invite, struct slice hash)
{
    const struct people_entry entry = {.account = invite->account, .user = invite->user};
    struct msg *msg = api_take(request, MSG_SHARD_USER);
    if (msg != NULL) {
        msg->body.user.new_hash = arena_dup(&request->arena, hash);
        post_opening(request, msg, USER_JOIN, &entry);
    }
}

/* ---- bodies, answers, the directory --------------------------------------------------------- */

bool people_read_email(struct request *request, struct slice text, struct slice *email)
{
    struct addr addr;
    if (addr_parse(text, &request->arena, &addr) != ERR_OK || addr.name.len > 0) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("email"), SLICE("email is not an address"));
        return false;
    }
    *email = addr_key(&addr, &request->keep);
    return true;
}

void people_directory(struct request *request, enum directory_op op, struct slice email,
                      const struct token *owner, request_msg_fn *on_return)
{
    struct msg *msg = api_take(request, MSG_SHARD_DIRECTORY);
    if (msg != NULL) {
        msg->body.directory = (struct shard_directory){
            .op = op,
            .kind = DIRECTORY_KIND_EMAIL,
            .name = arena_dup(&request->arena, email),
            .account = owner->account,
            .id = owner->user,
        };
        api_post_errors(request, place_directory(request->edge->place, email), msg, on_return);
    }
}

struct slice people_keep(struct request *request, struct slice text)
{
    return arena_dup(&request->keep, text);
}

void people_write_user(struct json_writer *w, const struct row_user *user)
{
    json_key(w, "user");
    json_open_object(w);
    api_id(w, "id", ID_USER, user->id);
    api_text(w, "email", user->email);
    api_text_or_null(w, "name", user->name);
    api_text(w, "role", slice_str(role_text((enum role)user->role)));
    api_bool(w, "isAdmin", user->is_admin);
    json_close_object(w);
}

void people_write_account(struct json_writer *w, struct account_id account, struct slice name)
{
    char text[ID_TEXT_MAX];
    size_t len = account_text(account, text);
    json_key(w, "account");
    json_open_object(w);
    api_text(w, "id", slice_of(text, len));
    api_text(w, "name", name);
    json_close_object(w);
}

void people_write_token(struct request *request, struct json_writer *w, const char *name,
                        const struct token *token)
{
    arena_mark_secret(&request->keep);
    api_text(w, name, auth_token_make(&request->edge->token_keys, token, &request->keep));
}

void people_answer_ok(struct request *request)
{
    api_send(request, 200, SLICE("application/json"), SLICE("{\"ok\":true}"));
}
