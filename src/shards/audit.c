/* audit.c - an account's log: who did what from where, and what the system says of its keys.
 *
 * A line is written into the batch of the change that it tells of, so neither exists without the
 * other.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

#define DETAIL_MAX 512

/* A page that is read. Lives in its message's arena. */
struct page_work {
    struct shard_job job;
    enum err err;
};

static void name_actor(const struct audit_note *note, struct row_audit *row);
static void list_work(struct shard_job *job);
static void list_done(struct shard_job *job);
static struct key before_key(const struct shard_audit_log *body);

void shard_audit(struct shard *shard, const struct audit_note *note)
{
    CHECK(note->account.value != 0);
    CHECK(note->action != NULL);
    char peer[IP6_TEXT_MAX];
    struct row_audit row = {
        .id = shard_id(shard, note->account),
        .created_unix_ms = clock_unix_ms(),
        .action = slice_str(note->action),
        .target = note->target,
        .detail = slice_head(note->detail, min_u64(note->detail.len, DETAIL_MAX)),
    };
    name_actor(note, &row);
    if (note->caller != NULL && !ip6_is_none(&note->caller->peer)) {
        row.ip = slice_of(peer, ip6_text(&note->caller->peer, peer));
    }
    shard_put_audit(shard, key_audit(note->account, row.id), &row);
}

void shard_audit_id(struct shard *shard, const struct audit_note *note, enum id_kind kind,
                    struct id target)
{
    char text[ID_TEXT_MAX];
    struct audit_note full = *note;
    full.target = slice_of(text, id_text(kind, target, text));
    shard_audit(shard, &full);
}

static void name_actor(const struct audit_note *note, struct row_audit *row)
{
    const struct principal *who = note->who;
    row->actor_kind = AUDIT_SYSTEM;
    if (who == NULL) {
        return;
    }
    if (who->is_operator) {
        row->actor_kind = AUDIT_OPERATOR;
    } else if (who->has_key) {
        row->actor_kind = AUDIT_KEY;
        row->actor = who->key.id;
        row->actor_name = who->key.name;
    } else if (who->has_user) {
        row->actor_kind = AUDIT_USER;
        row->actor = who->user.id;
        row->actor_name = who->user.email;
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

/* A key bound to domains sees the lines of the whole account or none: a line is about any of them.
 */
void audit_list(struct shard *shard, struct msg *msg)
{
    struct principal who;
    enum err err = shard_check_caller(shard, msg, &msg->body.audit.caller, &who);
    if (err == ERR_OK && who.has_key && who.key.domains.len > 0) {
        err = ERR_KEY_SCOPE;
    }
    if (err == ERR_OK && who.has_user && who.user.role == ROLE_MEMBER) {
        msg->sentence = SLICE("only an owner or an admin may read the log");
        err = ERR_SCOPE;
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    struct page_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.msg = msg;
    shard_offload(shard, &work->job, list_work, list_done);
}

/* Worker. */
static void list_work(struct shard_job *job)
{
    struct page_work *work = CONTAINER_OF(job, struct page_work, job);
    struct shard_audit_log *body = &job->msg->body.audit;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    struct key from = key_prefix_audits(body->caller.account);
    struct key to = before_key(body);
    body->rows = arena_array(&job->msg->arena, limit, sizeof(*body->rows));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), true);
    struct slice key;
    struct slice value;
    while (body->row_count < limit && kv_iter_next(iter, &key, &value)) {
        struct slice bytes = arena_dup(&job->msg->arena, value);
        if (row_audit_decode(bytes, &body->rows[body->row_count]) == ERR_OK) {
            body->row_count++;
        } else {
            LOG_ERROR("audit.damaged", LOG_ACCOUNT("account", body->caller.account));
        }
    }
    work->err = body->row_count < limit ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void list_done(struct shard_job *job)
{
    struct page_work *work = CONTAINER_OF(job, struct page_work, job);
    shard_answer(job->shard, job->msg, work->err);
}

static struct key before_key(const struct shard_audit_log *body)
{
    struct account_id account = body->caller.account;
    struct key prefix = key_prefix_audits(account);
    if (!id_is_none(body->before)) {
        return key_audit(account, body->before);
    }
    if (body->before_unix_ms >> 48 != 0) {
        return key_after(&prefix);
    }
    struct id least = {.bytes = {0}};
    for (size_t i = 0; i < 6; i++) {
        least.bytes[i] = (uint8_t)(body->before_unix_ms >> (40 - 8 * i));
    }
    return key_audit(account, least);
}
