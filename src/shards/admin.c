/* admin.c - the operator's view of accounts and users, and what the operator may change of them.
 *
 * Who asks was settled by the edge: the admin socket, or an administrator's row. Whatever changes
 * is a line in the log of the account that it concerns. Pages and counts are read on workers; what
 * they show may be younger than the last sync and promises nothing.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/kv_stat.h"
#include "shards/shard_int.h"

#include <inttypes.h>
#include <string.h>

#define DETAIL_MAX 512
#define USERS_MAX  1000 /* of one account; far more than it can have */

/* A request that went to a worker. Lives in its message's arena. */
struct admin_work {
    struct shard_job job;
    enum err err;
};

static void offload(struct shard *shard, struct msg *msg, shard_job_fn *work, shard_job_fn *done);
static void page_accounts(struct shard_job *job);
static void page_users(struct shard_job *job);
static void survey(struct shard_job *job);
static void count_accounts(struct shard_job *job);
static void measure_outbox(struct shard_job *job);
static void finish(struct shard_job *job);
static void finish_survey(struct shard_job *job);
static enum err change(struct shard *shard, struct msg *msg);
static enum err user_get(struct shard *shard, struct msg *msg);
static void user_change(struct shard *shard, struct msg *msg);
static enum err unlocked(struct shard *shard, struct msg *msg);
static enum err queued(struct shard *shard, struct msg *msg);

/* ---- requests ------------------------------------------------------------------------------- */

void admin_handle(struct shard *shard, struct msg *msg)
{
    struct shard_admin *body = &msg->body.admin;
    enum err err = ERR_OK;
    switch (body->op) {
    case ADMIN_ACCOUNTS:
        offload(shard, msg, page_accounts, finish);
        return;
    case ADMIN_USERS:
        offload(shard, msg, page_users, finish);
        return;
    case ADMIN_ACCOUNT:
        offload(shard, msg, survey, finish_survey);
        return;
    case ADMIN_COUNT:
        offload(shard, msg, count_accounts, finish);
        return;
    case ADMIN_OUTBOX:
        offload(shard, msg, measure_outbox, finish);
        return;
    case ADMIN_CHANGE:
        err = change(shard, msg);
        break;
    case ADMIN_USER:
        err = user_get(shard, msg);
        break;
    case ADMIN_USER_CHANGE:
        user_change(shard, msg);
        return;
    case ADMIN_UNLOCKED:
        err = unlocked(shard, msg);
        break;
    case ADMIN_QUEUED:
        err = queued(shard, msg);
        break;
    }
    shard_answer(shard, msg, err);
}

static void offload(struct shard *shard, struct msg *msg, shard_job_fn *work, shard_job_fn *done)
{
    struct admin_work *job = arena_alloc(&msg->arena, sizeof(*job));
    job->job.msg = msg;
    shard_offload(shard, &job->job, work, done);
}

static void finish(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    shard_answer(job->shard, job->msg, work->err);
}

static struct row_account without_secrets(struct row_account row)
{
    row.hook_secret_private = SLICE("");
    return row;
}

/* Hashes of passwords and ids of sessions are nobody's business. */
static struct row_user known_user(struct row_user row)
{
    row.password_hash = SLICE("");
    row.sessions = SLICE("");
    row.google_sub = SLICE("");
    return row;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static uint32_t page_limit(const struct shard_admin *body)
{
    return (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
}

/* Worker. The first owner by age; an account that is half made has none. */
static enum err find_owner(const struct shard *shard, struct account_id account,
                           struct arena *arena, struct slice *email)
{
    struct key from = key_prefix_users(account);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    bool is_found = false;
    while (!is_found && kv_iter_next(iter, &key, &value)) {
        struct row_user row;
        is_found =
            row_user_decode(value, &row) == ERR_OK && row.role == ROLE_OWNER && !row.is_removed;
        if (is_found) {
            *email = arena_dup(arena, row.email);
        }
    }
    enum err err = is_found ? ERR_OK : kv_iter_err(iter);
    kv_iter_close(iter);
    return err;
}

/* Worker. */
static void page_accounts(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    struct shard_admin *body = &job->msg->body.admin;
    struct arena *arena = &job->msg->arena;
    uint32_t limit = page_limit(body);
    struct key all = key_prefix_accounts();
    struct key last = key_account(body->account);
    struct key from = body->account.value == 0 ? all : key_after(&last);
    struct key to = key_after(&all);
    body->accounts = arena_array(arena, limit, sizeof(*body->accounts));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    while (err == ERR_OK && body->account_count < limit && kv_iter_next(iter, &key, &value)) {
        struct account_view *view = &body->accounts[body->account_count];
        struct row_account row;
        if (row_account_decode(arena_dup(arena, value), &row) != ERR_OK) {
            LOG_ERROR("admin.damaged", LOG_STR("row", "account"),
                      LOG_U64("family", job->shard->family));
            continue;
        }
        view->row = without_secrets(row);
        err = find_owner(job->shard, row.id, arena, &view->owner_email);
        body->account_count++;
    }
    work->err = err != ERR_OK || body->account_count == limit ? err : kv_iter_err(iter);
    kv_iter_close(iter);
}

/* Users of [from, to) into body->users. Worker. */
static enum err read_users(struct shard_job *job, const struct key *from, const struct key *to,
                           uint32_t limit)
{
    struct shard_admin *body = &job->msg->body.admin;
    struct arena *arena = &job->msg->arena;
    arena_mark_secret(arena); /* the bytes of a row hold the password's hash */
    body->users = arena_array(arena, limit, sizeof(*body->users));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(from), key_slice(to), false);
    struct slice key;
    struct slice value;
    while (body->user_count < limit && kv_iter_next(iter, &key, &value)) {
        struct row_user row;
        if (row_user_decode(arena_dup(arena, value), &row) != ERR_OK) {
            LOG_ERROR("admin.damaged", LOG_STR("row", "user"),
                      LOG_U64("family", job->shard->family));
            continue;
        }
        body->users[body->user_count] = known_user(row);
        body->user_count += !row.is_removed; /* its email is being freed */
    }
    enum err err = body->user_count < limit ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
    return err;
}

/* Worker. */
static void page_users(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    const struct shard_admin *body = &job->msg->body.admin;
    struct key all = key_prefix_all_users();
    struct key last = key_user(id_account(body->user), body->user);
    struct key from = id_is_none(body->user) ? all : key_after(&last);
    struct key to = key_after(&all);
    work->err = read_users(job, &from, &to, page_limit(body));
}

/* ---- one account ---------------------------------------------------------------------------- */

/* Worker. */
static enum err count_rows(const struct shard *shard, const struct key *prefix, uint32_t max,
                           uint32_t *count)
{
    struct key to = key_after(prefix);
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(prefix), key_slice(&to), false);
    struct slice key;
    struct slice value;
    *count = 0;
    while (*count < max && kv_iter_next(iter, &key, &value)) {
        *count += 1;
    }
    enum err err = *count < max ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
    return err;
}

/* Worker. */
static void count_accounts(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    struct key all = key_prefix_accounts();
    work->err = count_rows(job->shard, &all, ACCOUNTS_COUNTED, &job->msg->body.admin.count);
}

/* Worker. */
static void survey(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    struct shard_admin *body = &job->msg->body.admin;
    struct key users = key_prefix_users(body->account);
    struct key users_end = key_after(&users);
    struct key keys = key_prefix_api_key_ids(body->account);
    struct key domains = key_prefix_domains(body->account);
    enum err err = read_users(job, &users, &users_end, USERS_MAX);
    if (err == ERR_OK) {
        err = count_rows(job->shard, &keys, 2 * KEYS_PER_ACCOUNT, &body->key_count);
    }
    if (err == ERR_OK) {
        err = count_rows(job->shard, &domains, 2 * DOMAINS_PER_ACCOUNT, &body->domain_count);
    }
    work->err = err;
}

/* Worker. */
static void measure_outbox(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    struct shard_admin *body = &job->msg->body.admin;
    struct key from = key_prefix_outbox();
    struct key to = key_after(&from);
    struct kv_range range = {
        .family = job->shard->family, .from = key_slice(&from), .to = key_slice(&to)};
    work->err = kv_range_measure(job->shard->kv, &range, OUTBOX_COUNT_US);
    body->outbox_rows = range.rows;
    body->is_estimate = !range.is_exact;
}

static void show_account(struct shard_admin *body, struct arena *arena,
                         const struct row_account *row)
{
    body->accounts = arena_array(arena, 1, sizeof(*body->accounts));
    body->accounts[0].row = without_secrets(*row);
    body->account_count = 1;
}

static void finish_survey(struct shard_job *job)
{
    struct admin_work *work = CONTAINER_OF(job, struct admin_work, job);
    struct shard *shard = job->shard;
    struct msg *msg = job->msg;
    struct shard_admin *body = &msg->body.admin;
    struct row_account row;
    enum err err = work->err;
    if (err == ERR_OK) {
        err = shard_get_account(shard, key_account(body->account), &msg->arena, &row);
    }
    if (err == ERR_OK) {
        show_account(body, &msg->arena, &row);
        uint32_t day = clock_day_of(clock_unix_ms());
        err = shard_get_usage(shard, key_usage(body->account, day), &msg->arena, &body->today);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    for (uint32_t i = 0; err == ERR_OK && i < body->user_count; i++) {
        if (body->users[i].role == ROLE_OWNER && body->accounts[0].owner_email.len == 0) {
            body->accounts[0].owner_email = body->users[i].email;
        }
    }
    shard_answer(shard, msg, err);
}

/* ---- changes -------------------------------------------------------------------------------- */

/* A line in the log of the account that was changed, in the name of whoever asked. */
static void audit(struct shard *shard, const struct shard_admin *body, const char *action,
                  struct slice detail)
{
    struct principal who = {
        .is_operator = body->caller.kind == CALLER_OPERATOR,
        .has_user = body->caller.kind == CALLER_SESSION,
        .user = {.id = body->caller.user, .email = body->caller_email},
    };
    struct audit_note note = {
        .account = body->account,
        .who = &who,
        .caller = &body->caller,
        .action = action,
        .detail = detail,
    };
    char text[ID_TEXT_MAX];
    if (id_is_none(body->user)) {
        note.target = slice_of(text, account_text(body->account, text));
        shard_audit(shard, &note);
    } else {
        shard_audit_id(shard, &note, ID_USER, body->user);
    }
}

static void note_limit(struct buf *detail, const char *name, uint64_t before, uint64_t after)
{
    if (before != after) {
        buf_add_format(detail, "%s%s %" PRIu64 " -> %" PRIu64, detail->len > 0 ? ", " : "", name,
                       before, after);
    }
}

static void apply(struct row_account *row, const struct shard_admin *body, struct buf *detail)
{
    const struct row_account *wanted = &body->wanted;
    struct row_account before = *row;
    if (body->given & ADMIN_FIELD_NAME) {
        row->name = wanted->name;
    }
    if (body->given & ADMIN_FIELD_SUSPENDED) {
        row->is_suspended = wanted->is_suspended;
    }
    if (body->given & ADMIN_FIELD_DAILY) {
        row->daily_max = wanted->daily_max;
    }
    if (body->given & ADMIN_FIELD_RATE) {
        row->rate_per_min = wanted->rate_per_min;
    }
    if (body->given & ADMIN_FIELD_KEY_RATE) {
        row->key_rate_per_min = wanted->key_rate_per_min;
    }
    if (body->given & ADMIN_FIELD_RETENTION) {
        row->retention_days = wanted->retention_days;
    }
    note_limit(detail, "dailyMax", before.daily_max, row->daily_max);
    note_limit(detail, "ratePerMin", before.rate_per_min, row->rate_per_min);
    note_limit(detail, "keyRatePerMin", before.key_rate_per_min, row->key_rate_per_min);
    note_limit(detail, "retentionDays", before.retention_days, row->retention_days);
    if (!slice_equal(before.name, row->name)) {
        buf_add_str(detail, detail->len > 0 ? ", name" : "name");
    }
}

static enum err change(struct shard *shard, struct msg *msg)
{
    struct shard_admin *body = &msg->body.admin;
    struct row_account row;
    enum err err = shard_get_account(shard, key_account(body->account), &msg->arena, &row);
    if (err != ERR_OK) {
        return err;
    }
    bool was_suspended = row.is_suspended;
    struct buf detail;
    buf_init(&detail, DETAIL_MAX);
    body->user = (struct id){.bytes = {0}};
    apply(&row, body, &detail);
    show_account(body, &msg->arena, &row);
    bool has_change = detail.len > 0 || was_suspended != row.is_suspended;
    if (has_change) {
        shard_put_account(shard, key_account(body->account), &row);
    }
    if (detail.len > 0) {
        audit(shard, body, "account.changed", buf_slice(&detail));
        LOG_INFO("account.changed", LOG_ACCOUNT("account", body->account), LOG_ORIGIN(&msg->origin),
                 LOG_TEXT("what", buf_slice(&detail)));
    }
    if (was_suspended != row.is_suspended) {
        const char *action = row.is_suspended ? "account.suspended" : "account.resumed";
        audit(shard, body, action, SLICE(""));
        LOG_INFO(action, LOG_ACCOUNT("account", body->account));
    }
    buf_fini(&detail);
    return ERR_OK;
}

static void show_user(struct shard_admin *body, struct arena *arena, const struct row_user *row)
{
    body->users = arena_array(arena, 1, sizeof(*body->users));
    body->users[0] = known_user(*row);
    body->user_count = 1;
}

static enum err find_user(struct shard *shard, struct msg *msg, struct row_user *row)
{
    const struct shard_admin *body = &msg->body.admin;
    arena_mark_secret(&msg->arena); /* the row holds the password's hash */
    enum err err = shard_get_user(shard, key_user(body->account, body->user), &msg->arena, row);
    return err == ERR_OK && row->is_removed ? ERR_NOT_FOUND : err;
}

static enum err user_get(struct shard *shard, struct msg *msg)
{
    struct row_user row;
    enum err err = find_user(shard, msg, &row);
    if (err == ERR_OK) {
        show_user(&msg->body.admin, &msg->arena, &row);
    }
    return err;
}

static void user_change(struct shard *shard, struct msg *msg)
{
    struct shard_admin *body = &msg->body.admin;
    struct row_user row;
    struct credential *ended = NULL;
    uint32_t ended_count = 0;
    bool has_password = (body->given & ADMIN_FIELD_PASSWORD) != 0;
    enum err err = find_user(shard, msg, &row);
    if (err == ERR_OK && has_password && !shard_can_end(shard)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    bool was_admin = row.is_admin;
    if (has_password) {
        ended =
            user_end_sessions(row.sessions, (struct id){.bytes = {0}}, &msg->arena, &ended_count);
        row.password_hash = body->password_hash;
        row.sessions = SLICE("");
    }
    if (body->given & ADMIN_FIELD_IS_ADMIN) {
        row.is_admin = body->is_admin;
    }
    show_user(body, &msg->arena, &row);
    if (has_password || was_admin != row.is_admin) {
        shard_put_user(shard, key_user(body->account, body->user), &row);
    }
    if (was_admin != row.is_admin) {
        audit(shard, body, "user.admin", row.is_admin ? SLICE("on") : SLICE("off"));
        LOG_INFO("user.admin", LOG_ID("user", ID_USER, row.id), LOG_BOOL("is_on", row.is_admin),
                 LOG_ORIGIN(&msg->origin));
    }
    if (!has_password) {
        shard_answer(shard, msg, ERR_OK);
        return;
    }
    audit(shard, body, "user.password", SLICE(""));
    LOG_INFO("user.password", LOG_ID("user", ID_USER, row.id), LOG_ORIGIN(&msg->origin));
    shard_end_credentials(shard, msg, ended, ended_count);
}

static enum err unlocked(struct shard *shard, struct msg *msg)
{
    const struct shard_admin *body = &msg->body.admin;
    struct row_user row;
    enum err err = find_user(shard, msg, &row);
    if (err == ERR_OK) {
        audit(shard, body, "user.unlocked", SLICE(""));
        LOG_INFO("user.unlocked", LOG_ID("user", ID_USER, row.id), LOG_ORIGIN(&msg->origin));
    }
    return err;
}

/* Delivery has done it; what is said of it here is the account's to read. */
static enum err queued(struct shard *shard, struct msg *msg)
{
    const struct shard_admin *body = &msg->body.admin;
    struct row_account row;
    enum err err = shard_get_account(shard, key_account(body->account), &msg->arena, &row);
    if (err == ERR_OK) {
        audit(shard, body, arena_cstr(&msg->arena, body->action), body->detail);
    }
    return err;
}
