/* stage.c - large mails on their way in.
 *
 *      BEGIN --row F--> ADD, ADD, ... --chunks--> INBOUND (the chunks become a mail's)
 *                                            \--> DROP, or the sweep (they go)
 *
 * The chunks lie where a mail's do, under the id that the mail will have, so that its end moves
 * nothing. The stage's row is what tells them from those of a mail. No session outlives the daemon:
 * what an earlier run left is swept at start.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/body_rows.h"
#include "shards/shard_int.h"

#include <string.h>

#define RECHECKED 16 /* places whose stage is looked for when all are taken */

static enum err begin(struct shard *shard, struct shard_stage *body);
static enum err add(struct shard *shard, struct msg *msg);
static enum err drop(struct shard *shard, const struct shard_stage *body);
static struct id *find_place(struct shard *shard, struct id mail);
static struct id *free_place(struct shard *shard);
static void sweep_work(struct shard_job *job);
static void sweep_done(struct shard_job *job);

void stage_handle(struct shard *shard, struct msg *msg)
{
    struct shard_stage *body = &msg->body.stage;
    enum err err = ERR_INVALID;
    switch (body->op) {
    case STAGE_BEGIN:
        err = begin(shard, body);
        break;
    case STAGE_ADD:
        err = add(shard, msg);
        break;
    case STAGE_DROP:
        err = drop(shard, body);
        break;
    }
    shard_answer(shard, msg, err);
}

static enum err begin(struct shard *shard, struct shard_stage *body)
{
    struct id *place = NULL;
    enum err err = intake_check(shard, body->account);
    if (err == ERR_OK) {
        place = free_place(shard);
        err = place ? ERR_OK : ERR_BUSY;
    }
    if (err != ERR_OK) {
        return err;
    }
    struct row_stage row = {.created_unix_ms = clock_unix_ms()};
    body->mail = shard_id(shard, body->account);
    *place = body->mail;
    shard_put_stage(shard, key_stage(body->account, body->mail), &row);
    return ERR_OK;
}

static enum err add(struct shard *shard, struct msg *msg)
{
    const struct shard_stage *body = &msg->body.stage;
    struct row_stage row;
    if (body->chunk == 0 || body->chunk > body_rows_count(MAIL_BYTES_MAX) || body->data.len == 0 ||
        body->data.len > CHUNK_BYTES) {
        return ERR_INVALID;
    }
    enum err err = intake_check(shard, body->account);
    if (err == ERR_OK) {
        err = shard_get_stage(shard, key_stage(body->account, body->mail), &shard->scratch, &row);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct body_rows rows;
    body_rows_init(&rows);
    body_rows_reserve(&rows, &msg->arena, 1);
    body_rows_add(&rows, key_chunk(body->account, body->mail, body->chunk), body->data);
    body_rows_put(&rows, shard->filling->rows);
    body_rows_fini(&rows);
    shard->depends = DEPENDS_FILLING;
    return ERR_OK;
}

/* What is gone already is no error: the sweep may have been first. */
static enum err drop(struct shard *shard, const struct shard_stage *body)
{
    struct row_stage row;
    enum err err =
        shard_get_stage(shard, key_stage(body->account, body->mail), &shard->scratch, &row);
    if (err == ERR_OK) {
        stage_end(shard, body->mail, false);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

void stage_end(struct shard *shard, struct id mail, bool is_kept)
{
    struct account_id account = id_account(mail);
    struct id *place = find_place(shard, mail);
    if (place) {
        *place = (struct id){.bytes = {0}};
    }
    if (!is_kept) {
        struct key from = key_chunk(account, mail, 0);
        struct key to = key_chunk(account, mail, UINT32_MAX);
        kv_batch_delete_range(shard->filling->rows, key_slice(&from), key_slice(&to));
    }
    shard_delete(shard, key_stage(account, mail));
}

/* ---- how many are open ---------------------------------------------------------------------- */

static struct id *find_place(struct shard *shard, struct id mail)
{
    for (size_t i = 0; i < STAGES_OPEN_MAX; i++) {
        if (id_equal(shard->stages[i], mail)) {
            return &shard->stages[i];
        }
    }
    return NULL;
}

/* A stage whose row was lost with its batch keeps its place until somebody needs one: then a few
 * places, others each time, are compared with their rows. */
static struct id *free_place(struct shard *shard)
{
    struct id none = {.bytes = {0}};
    struct id *place = find_place(shard, none);
    for (size_t i = 0; !place && i < RECHECKED; i++) {
        struct id *taken = &shard->stages[shard->stage_cursor++ % STAGES_OPEN_MAX];
        struct row_stage row;
        enum err err =
            shard_get_stage(shard, key_stage(id_account(*taken), *taken), &shard->scratch, &row);
        if (err == ERR_NOT_FOUND) {
            *taken = none;
            place = taken;
        }
    }
    return place;
}

/* ---- the sweep ------------------------------------------------------------------------------ */

void stage_sweep(struct shard *shard)
{
    struct stage_sweep *sweep = &shard->stage_sweep;
    if (sweep->is_running || shard->is_draining) {
        return;
    }
    sweep->is_running = true;
    sweep->from = key_prefix_stages();
    shard_offload(shard, &sweep->job, sweep_work, sweep_done);
}

/* Worker. One page; the loop keeps off the sweep while it runs. */
static void sweep_work(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct stage_sweep *sweep = &shard->stage_sweep;
    struct key to = key_prefix_stages();
    uint64_t now = clock_unix_ms();
    struct slice key;
    struct slice value;
    to = key_after(&to);
    sweep->count = 0;
    sweep->has_more = false;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&sweep->from), key_slice(&to), false);
    while (kv_iter_next(iter, &key, &value)) {
        struct account_id account;
        struct id mail;
        CHECK(key.len < KEY_MAX);
        if (sweep->count == STAGE_SWEEP_PAGE) {
            memcpy(sweep->from.bytes, key.data, key.len);
            sweep->from.len = (uint16_t)key.len;
            sweep->has_more = true;
            break;
        }
        if (key_read_mail(key, &account, &mail) != ERR_OK) {
            LOG_ERROR("stage.damaged", LOG_U64("family", shard->family));
            continue;
        }
        uint64_t made = id_unix_ms(mail);
        if (made <= shard->id_floor_ms || made + STAGE_MS_MAX < now) {
            sweep->mails[sweep->count++] = mail;
        }
    }
    sweep->err = sweep->has_more ? ERR_OK : kv_iter_err(iter);
    kv_iter_close(iter);
}

static void sweep_done(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct stage_sweep *sweep = &shard->stage_sweep;
    sweep->is_running = false;
    for (uint32_t i = 0; i < sweep->count; i++) {
        struct id mail = sweep->mails[i];
        struct row_stage row;
        enum err err =
            shard_get_stage(shard, key_stage(id_account(mail), mail), &shard->scratch, &row);
        if (err == ERR_OK) {
            LOG_INFO("stage.swept", LOG_ID("message", ID_MESSAGE, mail));
            stage_end(shard, mail, false);
        }
    }
    if (sweep->err != ERR_OK) {
        LOG_ERROR("stage.sweep", LOG_U64("family", shard->family), LOG_ERR(sweep->err));
    } else if (sweep->has_more && !shard->is_draining) {
        sweep->is_running = true;
        shard_offload(shard, &sweep->job, sweep_work, sweep_done);
    }
}
