/* suppression.c - addresses that get no more mail of an account.
 *
 * A row is under the address's addr_key, so the check of a send is one read for each recipient, and
 * lists are in the order of addresses. Bounces, complaints and recipients themselves add rows as
 * people do; only people remove them.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <stdlib.h>

/* A page that is read. Lives in its message's arena. */
struct list_work {
    struct shard_job job;
    enum err err;
};

static void list(struct shard *shard, struct msg *msg);
static void list_work(struct shard_job *job);
static void list_done(struct shard_job *job);
static enum err find(struct shard *shard, struct msg *msg, const struct principal *who,
                     struct row_suppression *row);
static enum err get(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err add(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err remove_one(struct shard *shard, struct msg *msg, const struct principal *who);
static void show(struct msg *msg, const struct row_suppression *row);

struct slice suppression_key(struct slice address, struct arena *arena)
{
    size_t at = slice_rfind_byte(address, '@');
    if (at == SIZE_MAX || address.len > ADDR_MAX) {
        return SLICE("");
    }
    struct addr addr = {
        .local = slice_head(address, at),
        .domain = slice_from(address, at + 1),
        .text = address,
    };
    return addr_key(&addr, arena);
}

void suppression_add(struct shard *shard, struct account_id account,
                     const struct suppression *suppression)
{
    if (suppression->key.len == 0 || suppression->key.len > ADDR_MAX) {
        return;
    }
    struct row_suppression row = {
        .email = suppression->key,
        .reason = (uint8_t)suppression->reason,
        .note = slice_head(suppression->note, SUPPRESSION_NOTE_MAX),
        .created_unix_ms = clock_unix_ms(),
        .mail = suppression->mail,
    };
    shard_put_suppression(shard, key_suppression(account, row.email), &row);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* A suppression holds for all that the account sends: a key for a part of it has no say. */
void suppression_handle(struct shard *shard, struct msg *msg)
{
    struct shard_suppression *body = &msg->body.suppression;
    struct principal who;
    enum err err = shard_check_caller(shard, msg, &body->caller, &who);
    if (err == ERR_OK && principal_is_bound(&who)) {
        msg->sentence = SLICE("suppressions are the account's, and this key is for a part of it");
        err = ERR_KEY_SCOPE;
    }
    for (uint32_t i = 0; err == ERR_OK && i < body->email_count; i++) {
        size_t len = body->emails[i].len;
        err = len == 0 || len > ADDR_MAX ? ERR_NOT_FOUND : ERR_OK;
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    switch (body->op) {
    case SUPPRESSION_LIST:
        list(shard, msg);
        return;
    case SUPPRESSION_GET:
        err = get(shard, msg, &who);
        break;
    case SUPPRESSION_ADD:
        err = add(shard, msg, &who);
        break;
    case SUPPRESSION_REMOVE:
        err = remove_one(shard, msg, &who);
        break;
    }
    shard_answer(shard, msg, err);
}

static enum err find(struct shard *shard, struct msg *msg, const struct principal *who,
                     struct row_suppression *row)
{
    const struct shard_suppression *body = &msg->body.suppression;
    if (body->email_count != 1) {
        return ERR_INVALID;
    }
    struct key key = key_suppression(who->account.id, body->emails[0]);
    return shard_get_suppression(shard, key, &msg->arena, row);
}

static enum err get(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_suppression row;
    enum err err = find(shard, msg, who, &row);
    if (err == ERR_OK) {
        show(msg, &row);
    }
    return err;
}

static void show(struct msg *msg, const struct row_suppression *row)
{
    struct shard_suppression *body = &msg->body.suppression;
    body->rows = arena_array(&msg->arena, 1, sizeof(*body->rows));
    body->rows[0] = *row;
    body->row_count = 1;
}

static void audit(struct shard *shard, struct msg *msg, const struct principal *who,
                  const struct audit_note *line)
{
    struct audit_note note = *line;
    note.account = who->account.id;
    note.who = who;
    note.caller = &msg->body.suppression.caller;
    shard_audit(shard, &note);
}

static enum err remove_one(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_suppression row;
    enum err err = find(shard, msg, who, &row);
    if (err == ERR_OK) {
        struct audit_note note = {
            .action = "suppression.deleted",
            .target = row.email,
            .detail = slice_str(suppression_reason_text(row.reason)),
        };
        shard_delete(shard, key_suppression(who->account.id, row.email));
        audit(shard, msg, who, &note);
    }
    return err;
}

/* ---- adding --------------------------------------------------------------------------------- */

static int compare_emails(const void *a, const void *b)
{
    const struct slice *left = a;
    const struct slice *right = b;
    return slice_compare(*left, *right);
}

/* Each once. */
static void sort_emails(struct shard_suppression *body)
{
    uint32_t kept = 0;
    qsort(body->emails, body->email_count, sizeof(*body->emails), compare_emails);
    for (uint32_t i = 0; i < body->email_count; i++) {
        if (kept == 0 || !slice_equal(body->emails[i], body->emails[kept - 1])) {
            body->emails[kept++] = body->emails[i];
        }
    }
    body->email_count = kept;
}

/* Leaves those that are not suppressed yet; *known is the last row that was there. */
static enum err sift(struct shard *shard, struct msg *msg, const struct principal *who,
                     struct row_suppression *known)
{
    struct shard_suppression *body = &msg->body.suppression;
    for (uint32_t i = 0; i < body->email_count; i++) {
        struct key key = key_suppression(who->account.id, body->emails[i]);
        enum err err = shard_get_suppression(shard, key, &msg->arena, known);
        if (err == ERR_OK) {
            body->known_count++;
        } else if (err == ERR_NOT_FOUND) {
            body->emails[body->added_count++] = body->emails[i];
        } else {
            return err;
        }
    }
    return ERR_OK;
}

/* One address is a line in the log of its own; a list is one line, however long it is. */
static enum err add(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_suppression *body = &msg->body.suppression;
    struct row_suppression row;
    bool is_one = body->email_count == 1;
    if (body->email_count == 0 || body->email_count > SUPPRESSIONS_PER_POST) {
        return ERR_INVALID;
    }
    sort_emails(body);
    enum err err = sift(shard, msg, who, &row);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; i < body->added_count; i++) {
        struct suppression wanted = {
            .key = body->emails[i], .reason = body->reason, .note = body->note};
        suppression_add(shard, who->account.id, &wanted);
    }
    if (body->added_count > 0) {
        struct audit_note note = {
            .action = is_one ? "suppression.created" : "suppression.imported",
            .target = is_one ? body->emails[0] : SLICE(""),
            .detail = slice_str(suppression_reason_text(body->reason)),
        };
        if (!is_one) {
            note.detail = arena_format(&shard->scratch, "%u of %s", (unsigned)body->added_count,
                                       suppression_reason_text(body->reason));
        }
        audit(shard, msg, who, &note);
    }
    if (is_one && body->added_count > 0) {
        struct key key = key_suppression(who->account.id, body->emails[0]);
        err = shard_get_suppression(shard, key, &msg->arena, &row);
        CHECK(err == ERR_OK); /* it is in the filling batch */
    }
    if (is_one) {
        show(msg, &row);
    }
    return ERR_OK;
}

/* ---- the list ------------------------------------------------------------------------------- */

static void list(struct shard *shard, struct msg *msg)
{
    struct list_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.msg = msg;
    shard_offload(shard, &work->job, list_work, list_done);
}

/* The least key behind that of the address: a key that begins with it is another's. */
static struct key key_behind(struct account_id account, struct slice email)
{
    struct key key = key_suppression(account, slice_head(email, ADDR_MAX));
    key.bytes[key.len++] = 0;
    return key;
}

/* Worker. A search looks at LIST_ROWS_MAX rows. */
static void list_work(struct shard_job *job)
{
    struct list_work *work = CONTAINER_OF(job, struct list_work, job);
    struct shard_suppression *body = &job->msg->body.suppression;
    struct account_id account = body->caller.account;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    struct key prefix = key_prefix_suppressions(account);
    struct key from = body->after.len > 0 ? key_behind(account, body->after) : prefix;
    struct key to = key_after(&prefix);
    body->rows = arena_array(&job->msg->arena, limit, sizeof(*body->rows));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    for (uint32_t n = 0; work->err == ERR_OK && body->row_count < limit && n < LIST_ROWS_MAX; n++) {
        struct row_suppression row;
        if (!kv_iter_next(iter, &key, &value)) {
            work->err = kv_iter_err(iter);
            break;
        }
        if (row_suppression_decode(value, &row) != ERR_OK ||
            row.reason >= SUPPRESSION_REASON_COUNT) {
            LOG_ERROR("suppression.damaged", LOG_ACCOUNT("account", account));
            continue;
        }
        if (body->search.len > 0 && slice_find(row.email, body->search) == SIZE_MAX) {
            continue;
        }
        work->err = mail_keep(&job->msg->arena, value, &value);
        if (work->err == ERR_OK) {
            work->err = row_suppression_decode(value, &body->rows[body->row_count++]);
        }
    }
    kv_iter_close(iter);
}

static void list_done(struct shard_job *job)
{
    struct list_work *work = CONTAINER_OF(job, struct list_work, job);
    shard_answer(job->shard, job->msg, work->err);
}
