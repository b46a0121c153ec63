/* template.c - templates of an account: rows, their list, and a look at what they become.
 *
 * They are the account's: a key that is bound to domains or addresses may send with them and read
 * them, and may not change what others send. The edge has compiled what is stored here.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/render.h"
#include "shards/shard_int.h"

/* What goes on on a worker. Lives in its message's arena. */
struct template_work {
    struct shard_job job;
    struct principal who;
    struct row_template row; /* PREVIEW */
    uint32_t count;          /* CREATE: templates of the account */
    enum err err;
};

static enum err check(struct msg *msg, const struct principal *who);
static void create(struct template_work *work);
static enum err get(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err change(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err delete_one(struct shard *shard, struct msg *msg, const struct principal *who);
static void template_work(struct shard_job *job);
static void template_done(struct shard_job *job);
static void count_work(struct template_work *work);
static void list_work(struct template_work *work);
static void preview_work(struct template_work *work);

static bool is_change(enum template_op op)
{
    return op == TEMPLATE_CREATE || op == TEMPLATE_CHANGE || op == TEMPLATE_DELETE;
}

void template_handle(struct shard *shard, struct msg *msg)
{
    struct shard_template *body = &msg->body.template;
    struct template_work *work = arena_alloc(&msg->arena, sizeof(*work));
    enum err err = shard_check_caller(shard, msg, &body->caller, &work->who);
    if (err == ERR_OK) {
        err = check(msg, &work->who);
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    work->job.msg = msg;
    switch (body->op) {
    case TEMPLATE_GET:
        shard_answer(shard, msg, get(shard, msg, &work->who));
        return;
    case TEMPLATE_CHANGE:
        shard_answer(shard, msg, change(shard, msg, &work->who));
        return;
    case TEMPLATE_DELETE:
        shard_answer(shard, msg, delete_one(shard, msg, &work->who));
        return;
    case TEMPLATE_PREVIEW:
        err = shard_get_template(shard, key_template(work->who.account.id, body->id), &msg->arena,
                                 &work->row);
        if (err != ERR_OK) {
            shard_answer(shard, msg, err);
            return;
        }
        break;
    case TEMPLATE_CREATE:
    case TEMPLATE_LIST:
        break;
    }
    shard_offload(shard, &work->job, template_work, template_done);
}

static enum err check(struct msg *msg, const struct principal *who)
{
    if (is_change(msg->body.template.op) && principal_is_bound(who)) {
        msg->sentence = SLICE("templates are the account's, and this key is for a part of it");
        return ERR_KEY_SCOPE;
    }
    return ERR_OK;
}

static enum err check_row(struct msg *msg, const struct row_template *row)
{
    if (row->html.len == 0 && row->text.len == 0) {
        msg->param = SLICE("text");
        msg->sentence = SLICE("html or text is required");
        return ERR_BAD_FIELD;
    }
    if (row->subject.len + row->html.len + row->text.len > TEMPLATE_BYTES_MAX) {
        msg->sentence = SLICE("subject, html and text of a template are 1 MiB at most");
        return ERR_TOO_LARGE;
    }
    return ERR_OK;
}

static void show(struct msg *msg, const struct row_template *row)
{
    struct shard_template *body = &msg->body.template;
    body->rows = arena_array(&msg->arena, 1, sizeof(*body->rows));
    body->rows[0] = *row;
    body->row_count = 1;
}

static void audit(struct shard *shard, struct msg *msg, const struct principal *who,
                  const char *action, const struct row_template *row)
{
    struct audit_note note = {
        .account = who->account.id,
        .who = who,
        .caller = &msg->body.template.caller,
        .action = action,
        .detail = row->name,
    };
    shard_audit_id(shard, &note, ID_TEMPLATE, row->id);
}

/* ---- one ------------------------------------------------------------------------------------ */

static enum err get(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_template row;
    struct key key = key_template(who->account.id, msg->body.template.id);
    enum err err = shard_get_template(shard, key, &msg->arena, &row);
    if (err == ERR_OK) {
        show(msg, &row);
    }
    return err;
}

static enum err change(struct shard *shard, struct msg *msg, const struct principal *who)
{
    const struct shard_template *body = &msg->body.template;
    struct row_template row;
    struct key key = key_template(who->account.id, body->id);
    enum err err = shard_get_template(shard, key, &msg->arena, &row);
    if (err != ERR_OK) {
        return err;
    }
    row.name = body->given & TEMPLATE_FIELD_NAME ? body->wanted.name : row.name;
    row.subject = body->given & TEMPLATE_FIELD_SUBJECT ? body->wanted.subject : row.subject;
    row.html = body->given & TEMPLATE_FIELD_HTML ? body->wanted.html : row.html;
    row.text = body->given & TEMPLATE_FIELD_TEXT ? body->wanted.text : row.text;
    err = check_row(msg, &row);
    if (err == ERR_OK && body->given != 0) {
        row.updated_unix_ms = clock_unix_ms();
        shard_put_template(shard, key, &row);
        audit(shard, msg, who, "template.changed", &row);
    }
    if (err == ERR_OK) {
        show(msg, &row);
    }
    return err;
}

static enum err delete_one(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_template row;
    struct key key = key_template(who->account.id, msg->body.template.id);
    enum err err = shard_get_template(shard, key, &msg->arena, &row);
    if (err == ERR_OK) {
        shard_delete(shard, key);
        audit(shard, msg, who, "template.deleted", &row);
    }
    return err;
}

/* ---- what takes longer ---------------------------------------------------------------------- */

/* Worker. */
static void template_work(struct shard_job *job)
{
    struct template_work *work = CONTAINER_OF(job, struct template_work, job);
    switch (job->msg->body.template.op) {
    case TEMPLATE_CREATE:
        count_work(work);
        return;
    case TEMPLATE_LIST:
        list_work(work);
        return;
    case TEMPLATE_PREVIEW:
        preview_work(work);
        return;
    case TEMPLATE_GET:
    case TEMPLATE_CHANGE:
    case TEMPLATE_DELETE:
        break;
    }
    work->err = ERR_INTERNAL; /* is done on the loop */
}

static void template_done(struct shard_job *job)
{
    struct template_work *work = CONTAINER_OF(job, struct template_work, job);
    if (work->err == ERR_OK && job->msg->body.template.op == TEMPLATE_CREATE) {
        create(work);
    }
    shard_answer(job->shard, job->msg, work->err);
}

/* At most one sync behind, so the ceiling may be passed by the few made meanwhile. */
static void count_work(struct template_work *work)
{
    struct key from = key_prefix_templates(work->who.account.id);
    struct key to = key_after(&from);
    struct kv_iter *iter = kv_iter_open(work->job.shard->kv, work->job.shard->family,
                                        key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    while (work->count < TEMPLATES_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        work->count++;
    }
    work->err = work->count < TEMPLATES_PER_ACCOUNT ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void create(struct template_work *work)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    struct row_template row = msg->body.template.wanted;
    work->err = check_row(msg, &row);
    if (work->err == ERR_OK && work->count >= TEMPLATES_PER_ACCOUNT) {
        msg->sentence = SLICE("the account has as many templates as it may have");
        work->err = ERR_QUOTA;
    }
    if (work->err == ERR_OK) {
        row.id = shard_id(shard, work->who.account.id);
        row.created_unix_ms = clock_unix_ms();
        row.updated_unix_ms = row.created_unix_ms;
        shard_put_template(shard, key_template(work->who.account.id, row.id), &row);
        audit(shard, msg, &work->who, "template.created", &row);
        show(msg, &row);
    }
}

static struct key before_key(const struct shard_template *body)
{
    struct account_id account = body->caller.account;
    struct key prefix = key_prefix_templates(account);
    struct id least = {.bytes = {0}};
    if (!id_is_none(body->before)) {
        return key_template(account, body->before);
    }
    if (body->before_unix_ms >> 48 != 0) {
        return key_after(&prefix);
    }
    for (size_t i = 0; i < 6; i++) {
        least.bytes[i] = (uint8_t)(body->before_unix_ms >> (40 - 8 * i));
    }
    return key_template(account, least);
}

/* A page of bodies could be 200 MiB: a list does without them. */
static void list_work(struct template_work *work)
{
    struct shard_template *body = &work->job.msg->body.template;
    struct arena *arena = &work->job.msg->arena;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    struct key from = key_prefix_templates(body->caller.account);
    struct key to = before_key(body);
    body->rows = arena_array(arena, limit, sizeof(*body->rows));
    struct kv_iter *iter = kv_iter_open(work->job.shard->kv, work->job.shard->family,
                                        key_slice(&from), key_slice(&to), true);
    struct slice key;
    struct slice value;
    while (work->err == ERR_OK && body->row_count < limit && kv_iter_next(iter, &key, &value)) {
        struct row_template row;
        if (row_template_decode(value, &row) != ERR_OK) {
            LOG_ERROR("template.damaged", LOG_ACCOUNT("account", body->caller.account));
            continue;
        }
        struct row_template *shown = &body->rows[body->row_count++];
        *shown = (struct row_template){
            .id = row.id,
            .created_unix_ms = row.created_unix_ms,
            .updated_unix_ms = row.updated_unix_ms,
        };
        work->err = mail_keep(arena, row.name, &shown->name);
    }
    if (work->err == ERR_OK && body->row_count < limit) {
        work->err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
}

static void preview_work(struct template_work *work)
{
    struct msg *msg = work->job.msg;
    struct row_template rendered;
    struct slice param;
    work->err = render_parts(&work->row, msg->body.template.data, &msg->arena, &rendered, &param);
    if (work->err == ERR_OK) {
        show(msg, &rendered);
        return;
    }
    if (work->err == ERR_BAD_FIELD) {
        msg->param = param;
        msg->sentence = SLICE("the rendered subject is too long");
    } else if (work->err == ERR_TOO_LARGE) {
        msg->param = SLICE("data");
        msg->sentence = SLICE("with these values the template becomes too large");
    }
}
