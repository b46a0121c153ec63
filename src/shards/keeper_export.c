/* keeper_export.c - the job that writes an account into a file.
 *
 *     (to be moved: suspended, and what is on its way gets a moment to end) --> rows, piece by
 * piece
 *       --> on disk under its name --> a line in the account's log
 *
 * The rows are those of one moment. Of an account that goes on working here the file is a copy.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kv/account_file.h"
#include "kv/account_rows.h"
#include "kv/migrate.h"
#include "kv/row.h"
#include "shards/account_seals.h"
#include "shards/keeper_int.h"

#define SETTLE_MS 3000 /* for deliveries that had begun when the account was suspended */

enum phase {
    PHASE_SUSPEND,
    PHASE_SETTLE,
    PHASE_OPEN,
    PHASE_ROWS,
    PHASE_LOG,
    PHASE_RESUME, /* it failed, or was cancelled: the account goes on here */
    PHASE_OVER
};

struct export_job {
    enum phase phase;
    const char *path;
    struct slice passphrase;
    struct account_id account;
    bool is_move;
    bool is_out;       /* a message is */
    bool is_suspended; /* by this job */
    enum err err;      /* why it failed */
    char why[ACCOUNT_FILE_WHY_MAX];
    struct account_seals seals;
    struct account_file *file;
    struct account_rows *rows;
    struct arena scratch;
    struct buf row;
    uint64_t row_count;
    uint64_t under_way; /* deliveries that had not ended */
    uint64_t skipped;   /* rows that cannot be read */
};

/* Whether there is such an account, and whether it is suspended already. */
static enum err look_at(struct keep_job *job, struct export_job *it, bool *is_suspended)
{
    struct slice bytes;
    struct row_account row;
    struct key key = key_account(it->account);
    uint32_t family = key_account_shard(kv_shard_count(job->kv), it->account);
    enum err err = kv_get(job->kv, family, key_slice(&key), &job->arena, &bytes);
    err = err == ERR_OK ? row_account_decode(bytes, &row) : err;
    *is_suspended = err == ERR_OK && row.is_suspended;
    return err == ERR_NOT_FOUND ? keep_refuse(job, ERR_NOT_FOUND, "there is no such account") : err;
}

static enum err export_begin(struct keep_job *job, const struct keep_wish *wish)
{
    struct export_job *it = arena_alloc(&job->arena, sizeof *it);
    bool is_suspended;
    job->state = it;
    *it = (struct export_job){
        .path = arena_cstr(&job->arena, wish->path),
        .passphrase = arena_dup(&job->arena, wish->passphrase),
        .account = wish->account,
        .is_move = wish->is_move,
    };
    enum err err = look_at(job, it, &is_suspended);
    if (err != ERR_OK) {
        return err;
    }
    account_seals_init(&it->seals, job->place->master);
    it->seals.lifts_suspension = it->is_move && !is_suspended;
    it->phase = it->seals.lifts_suspension ? PHASE_SUSPEND : PHASE_OPEN;
    arena_init(&it->scratch, 64 * KIB, 16 * MIB);
    arena_mark_secret(&it->scratch);
    buf_init(&it->row, ACCOUNT_BLOCK_MAX);
    return ERR_OK;
}

/* An account that was suspended to be moved, and is not, goes on. */
static enum keep_step give_up(struct keep_job *job, enum err err)
{
    struct export_job *it = job->state;
    if (it->is_suspended) {
        it->err = err;
        it->phase = PHASE_RESUME;
        return KEEP_STEP_MORE;
    }
    (void)keep_refuse(job, err, "%s", it->why); /* it says what it was told */
    return KEEP_STEP_OVER;
}

/* Of a file that is whole, the log gets its line. */
static bool export_take_back(struct keep_job *job)
{
    struct export_job *it = job->state;
    if (it->phase > PHASE_ROWS) {
        return true;
    }
    (void)snprintf(it->why, sizeof it->why, "it was cancelled");
    if (it->is_suspended) {
        (void)give_up(job, ERR_CONFLICT); /* the next step does it */
    }
    return it->is_suspended;
}

/* ---- what the account's shard is asked for -------------------------------------------------- */

static enum keep_step ask(struct keep_job *job, enum admin_op op)
{
    struct export_job *it = job->state;
    struct msg *msg = keep_take(job, MSG_SHARD_ADMIN);
    CHECK(msg != NULL); /* one at a time */
    struct shard_admin *body = &msg->body.admin;
    body->op = op;
    body->caller.kind = CALLER_OPERATOR;
    body->account = it->account;
    if (op == ADMIN_CHANGE) {
        body->given = ADMIN_FIELD_SUSPENDED;
        body->wanted.is_suspended = it->phase == PHASE_SUSPEND;
    } else {
        body->action = SLICE("account.exported");
        body->detail =
            arena_format(&msg->arena, "%.200s, %llu rows%s", it->path,
                         (unsigned long long)it->row_count, it->is_move ? ", moved" : "");
    }
    it->is_out = true;
    keep_post(job, place_shard(job->place, it->account), msg);
    return KEEP_STEP_WAIT;
}

static void export_on_msg(struct keep_job *job, struct msg *msg)
{
    struct export_job *it = job->state;
    it->is_out = false;
    switch (it->phase) {
    case PHASE_SUSPEND:
        it->is_suspended = msg->err == ERR_OK;
        it->phase = PHASE_SETTLE;
        if (msg->err != ERR_OK) {
            (void)keep_refuse(job, msg->err, "the account cannot be suspended: %s",
                              err_info(msg->err)->text);
        }
        break;
    case PHASE_RESUME:
        it->is_suspended = msg->err != ERR_OK;
        (void)keep_refuse(job, it->err, "%s", it->why); /* it says what it was told */
        break;
    case PHASE_SETTLE:
    case PHASE_OPEN:
    case PHASE_ROWS:
    case PHASE_LOG:
    case PHASE_OVER:
        it->phase = PHASE_OVER; /* the file is whole; at worst the log lacks a line */
        break;
    }
    msg_put(msg->home, msg);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static enum err begin_file(struct keep_job *job)
{
    struct export_job *it = job->state;
    struct account_file_head head = {
        .account = it->account,
        .format = STORE_FORMAT,
        .made_unix_ms = clock_unix_ms(),
        .is_moved = it->is_move,
    };
    enum err err = account_file_create(it->path, it->passphrase, &head, &it->file, it->why);
    if (err == ERR_OK) {
        it->rows = account_rows_new(job->kv, it->account);
    }
    return err;
}

static void note_lease(struct keep_job *job, struct slice key, struct slice value)
{
    struct export_job *it = job->state;
    struct row_outbox row;
    const struct key_shape *shape = key_shape_of(key);
    if (shape != NULL && shape->row == ROW_OUTBOX && row_outbox_decode(value, &row) == ERR_OK &&
        row.lease_boot == job->place->boot && row.lease_until_unix_ms > clock_unix_ms()) {
        it->under_way += 1;
    }
}

static enum err put_row(struct keep_job *job, struct slice key, struct slice value)
{
    struct export_job *it = job->state;
    note_lease(job, key, value);
    arena_clear(&it->scratch);
    enum err err = account_row_export(&it->seals, key, value, &it->scratch, &it->row);
    if (err == ERR_CORRUPT) {
        it->skipped += 1;
        job->problems += 1;
        return ERR_OK;
    }
    if (err == ERR_OK) {
        err = account_file_put(it->file, key, buf_slice(&it->row), it->why);
    } else {
        (void)snprintf(it->why, sizeof it->why, "a row is too large for a file");
    }
    it->row_count += 1;
    job->done = account_file_bytes(it->file);
    return err;
}

static enum keep_step write_rows(struct keep_job *job, uint64_t budget_us)
{
    struct export_job *it = job->state;
    uint64_t end_us = clock_mono_us() + budget_us;
    struct slice key;
    struct slice value;
    enum err err;
    do {
        switch (account_rows_next(it->rows, &key, &value)) {
        case ACCOUNT_ROW:
            err = put_row(job, key, value);
            if (err != ERR_OK) {
                return give_up(job, err);
            }
            break;
        case ACCOUNT_ROWS_MORE:
            break;
        case ACCOUNT_ROWS_FAILED:
            (void)snprintf(it->why, sizeof it->why, "the store cannot be read: run verify");
            return give_up(job, ERR_CORRUPT);
        case ACCOUNT_ROWS_END:
            err = account_file_finish(it->file, it->why);
            it->phase = PHASE_LOG;
            return err == ERR_OK ? KEEP_STEP_MORE : give_up(job, err);
        }
        keep_at(job, "%s", account_rows_at(it->rows));
    } while (clock_mono_us() < end_us);
    return KEEP_STEP_MORE;
}

static enum keep_step export_step(struct keep_job *job, uint64_t budget_us)
{
    struct export_job *it = job->state;
    enum err err;
    if (it->is_out) {
        return KEEP_STEP_WAIT;
    }
    switch (it->phase) {
    case PHASE_SUSPEND:
    case PHASE_RESUME:
        return ask(job, ADMIN_CHANGE);
    case PHASE_SETTLE:
        keep_at(job, "waiting for deliveries under way");
        it->phase = PHASE_OPEN;
        keep_wait(job, SETTLE_MS);
        return KEEP_STEP_WAIT;
    case PHASE_OPEN:
        it->phase = PHASE_ROWS;
        err = begin_file(job);
        return err == ERR_OK ? KEEP_STEP_MORE : give_up(job, err);
    case PHASE_ROWS:
        return write_rows(job, budget_us);
    case PHASE_LOG:
        return ask(job, ADMIN_QUEUED);
    case PHASE_OVER:
        break;
    }
    return KEEP_STEP_OVER;
}

static void export_report(struct keep_job *job, struct json_writer *w)
{
    const struct export_job *it = job->state;
    char text[ID_TEXT_MAX];
    json_key(w, "account");
    json_text(w, slice_of(text, account_text(it->account, text)));
    json_key(w, "file");
    json_text(w, slice_str(it->path));
    json_key(w, "rows");
    json_u64(w, it->row_count);
    json_key(w, "bytes");
    json_u64(w, job->done);
    json_key(w, "moved");
    json_bool(w, it->is_move);
    json_key(w, "suspended");
    json_bool(w, it->is_suspended);
    json_key(w, "underWay");
    json_u64(w, it->under_way);
    json_key(w, "skipped");
    json_u64(w, it->skipped);
}

static void export_end(struct keep_job *job)
{
    struct export_job *it = job->state;
    account_rows_free(it->rows);
    account_file_close(it->file);
    arena_fini(&it->scratch);
    crypto_wipe(it->row.data, it->row.data == NULL ? 0 : it->row.capacity);
    buf_fini(&it->row);
    crypto_wipe(&it->seals, sizeof it->seals);
}

const struct keep_kind keep_export = {
    .unit = "bytes",
    .begin = export_begin,
    .step = export_step,
    .on_msg = export_on_msg,
    .take_back = export_take_back,
    .report = export_report,
    .end = export_end,
};
