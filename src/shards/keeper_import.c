/* keeper_import.c - the job that brings an account in from a file.
 *
 *     OPEN --> CHECK: the whole file is read once, and nothing written
 *          --> LOOK: its emails and domains are nobody else's here
 *          --> CLEAR: what an import that was cut short left
 *          --> ROWS: written by the account's shard, a few messages at a time
 *          --> CLAIM: emails and domains --> HOLD: a copy's queue is paused --> what is due
 *          --> LAST: the account itself --> a line in its log
 *
 * Without its own row an account is not there, so all of it becomes visible with LAST, and what is
 * due before is not sent, whoever looks at the outbox meanwhile (claim_has_account). What fails
 * before, or is cancelled, is undone (CLEAR, and the claims are released); what is killed before
 * leaves rows and claims of an account that is not there, which the next import of that account
 * begins with.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kv/account_check.h"
#include "kv/account_file.h"
#include "kv/account_rows.h"
#include "kv/migrate.h"
#include "kv/row.h"
#include "shards/account_seals.h"
#include "shards/keeper_int.h"

#define NAMES_MAX      20000
#define MSG_BYTES      (256 * KIB) /* of rows; keeps the shard's handler short */
#define CLEARS_AT_ONCE 1000
#define OUT_MAX        4

enum phase {
    PHASE_OPEN,
    PHASE_CHECK,
    PHASE_LOOK,
    PHASE_CLEAR,
    PHASE_ROWS,
    PHASE_CLAIM,
    PHASE_HOLD,
    PHASE_DUE,
    PHASE_LAST,
    PHASE_LOG,
    PHASE_UNDO_CLEAR,
    PHASE_UNDO_CLAIMS,
    PHASE_OVER
};

/* An email or a domain that is claimed for the account. */
struct name {
    uint8_t kind; /* enum directory_kind */
    struct slice text;
    struct id id;
};

struct import_job {
    enum phase phase;
    const char *path;
    struct slice passphrase;
    struct account_seals seals;
    struct account_file *file;
    struct account_file_head head;
    struct account_rows *rows; /* of an earlier try */
    struct name *names;
    uint32_t name_count;
    uint32_t next_name;
    uint32_t claimed;
    struct arena scratch;
    struct buf row;
    struct buf pack;        /* rows for the next message */
    struct buf pending_key; /* the row that did not belong to this phase any more */
    struct buf pending;
    uint32_t out;
    uint64_t row_count;
    uint64_t cleared;
    bool has_account_row;
    bool has_asked; /* the message of this phase was posted */
    enum err err;   /* why it is being undone */
    char why[KEEP_SENTENCE_MAX];
};

static enum err import_begin(struct keep_job *job, const struct keep_wish *wish)
{
    struct import_job *it = arena_alloc(&job->arena, sizeof *it);
    job->state = it;
    *it = (struct import_job){
        .path = arena_cstr(&job->arena, wish->path),
        .passphrase = arena_dup(&job->arena, wish->passphrase),
    };
    account_seals_init(&it->seals, job->place->master);
    arena_init(&it->scratch, 64 * KIB, 16 * MIB);
    arena_mark_secret(&it->scratch);
    buf_init(&it->row, ACCOUNT_BLOCK_MAX);
    buf_init(&it->pack, 2 * ACCOUNT_BLOCK_MAX);
    buf_init(&it->pending, ACCOUNT_BLOCK_MAX);
    buf_init(&it->pending_key, KEY_MAX);
    it->names = arena_array(&job->arena, NAMES_MAX, sizeof *it->names);
    return ERR_OK;
}

/* Nothing was written yet. */
static enum keep_step refuse(struct keep_job *job, enum err err, const char *why)
{
    (void)keep_refuse(job, err, "%s", why); /* it says what it was told */
    return KEEP_STEP_OVER;
}

/* Something was; it is taken away before the job ends. */
static enum keep_step undo(struct import_job *it, enum err err, const char *why)
{
    if (it->err == ERR_OK) {
        it->err = err;
        (void)snprintf(it->why, sizeof it->why, "%s", why); /* cut on purpose */
        it->phase = PHASE_UNDO_CLEAR;
        it->has_asked = false;
    }
    return KEEP_STEP_MORE;
}

/* ---- the file ------------------------------------------------------------------------------- */

static enum keep_step open_file(struct keep_job *job)
{
    struct import_job *it = job->state;
    struct slice bytes;
    char why[ACCOUNT_FILE_WHY_MAX];
    enum err err = account_file_open(it->path, it->passphrase, &it->head, &it->file, why);
    if (err != ERR_OK) {
        return refuse(job, err, why);
    }
    if (it->head.format > STORE_FORMAT) {
        return refuse(job, ERR_INVALID, "the file is of a newer version of Meerkat");
    }
    struct key key = key_account(it->head.account);
    uint32_t family = key_account_shard(kv_shard_count(job->kv), it->head.account);
    err = kv_get(job->kv, family, key_slice(&key), &job->arena, &bytes);
    if (err != ERR_NOT_FOUND) {
        return refuse(job, err == ERR_OK ? ERR_EXISTS : err,
                      err == ERR_OK ? "the account is here already" : "the store cannot be read");
    }
    job->total = 2 * account_file_size(it->file); /* it is read twice */
    it->phase = PHASE_CHECK;
    keep_at(job, "checking the file");
    return KEEP_STEP_MORE;
}

static enum err note_name(struct keep_job *job, uint8_t kind, struct slice text, struct id id)
{
    struct import_job *it = job->state;
    if (it->name_count == NAMES_MAX || text.len == 0 || text.len > KEY_TEXT_MAX) {
        return ERR_INVALID;
    }
    it->names[it->name_count++] = (struct name){kind, arena_dup(&job->arena, text), id};
    return ERR_OK;
}

/* A row that is to be written: whether it is this account's, and can be read. */
static enum err check_row(struct keep_job *job, struct slice key, struct slice value)
{
    struct import_job *it = job->state;
    struct account_id owner;
    struct row_user user;
    struct row_domain domain;
    struct row_account account;
    arena_clear(&it->scratch);
    if (!account_rows_is_one(key, &owner) || owner.value != it->head.account.value) {
        return ERR_INVALID;
    }
    enum err err = account_check_row(key, value);
    if (err != ERR_OK) {
        return err;
    }
    err = account_row_import(&it->seals, key, value, &it->scratch, &it->row);
    if (err != ERR_OK) {
        return err;
    }
    switch (key_shape_of(key)->row) {
    case ROW_USER:
        err = row_user_decode(value, &user);
        return err == ERR_OK ? note_name(job, DIRECTORY_EMAIL, user.email, user.id) : err;
    case ROW_DOMAIN:
        err = row_domain_decode(value, &domain);
        return err == ERR_OK ? note_name(job, DIRECTORY_DOMAIN, domain.name, domain.id) : err;
    case ROW_ACCOUNT:
        err = row_account_decode(value, &account);
        it->has_account_row = err == ERR_OK && account.id.value == owner.value;
        return it->has_account_row ? ERR_OK : ERR_INVALID;
    default:
        return ERR_OK;
    }
}

static enum keep_step check_file(struct keep_job *job, uint64_t budget_us)
{
    struct import_job *it = job->state;
    uint64_t end_us = clock_mono_us() + budget_us;
    char why[ACCOUNT_FILE_WHY_MAX];
    struct slice key;
    struct slice value;
    bool is_end = false;
    do {
        enum err err = account_file_next(it->file, &key, &value, &is_end, why);
        if (err != ERR_OK) {
            return refuse(job, err, why);
        }
        if (!is_end && check_row(job, key, value) != ERR_OK) {
            return refuse(
                job, ERR_CORRUPT,
                "the file holds a row that is damaged, not of this account, or of a newer "
                "version of Meerkat");
        }
        job->done = account_file_bytes(it->file);
    } while (!is_end && clock_mono_us() < end_us);
    if (is_end && !it->has_account_row) {
        return refuse(job, ERR_CORRUPT, "the file holds no account");
    }
    if (is_end) {
        it->phase = PHASE_LOOK;
        keep_at(job, "looking for its names");
    }
    return KEEP_STEP_MORE;
}

/* ---- the directory -------------------------------------------------------------------------- */

static enum keep_step ask_directory(struct keep_job *job, enum directory_op op, uint32_t index)
{
    struct import_job *it = job->state;
    const struct name *name = &it->names[index];
    struct msg *msg = keep_take(job, MSG_SHARD_DIRECTORY);
    CHECK(msg != NULL); /* one at a time */
    struct shard_directory *body = &msg->body.directory;
    body->op = op;
    body->kind = name->kind;
    body->name = arena_dup(&msg->arena, name->text);
    if (op != DIRECTORY_GET) {
        body->account = it->head.account;
        body->id = name->id;
    }
    it->out += 1;
    keep_post(job, place_directory(job->place, name->text), msg);
    return KEEP_STEP_WAIT;
}

static void say_taken(struct import_job *it, struct slice name)
{
    (void)snprintf(it->why, sizeof it->why, "%.*s belongs to another account of this server",
                   SLICE_FMT(name));
}

static void on_directory(struct keep_job *job, const struct msg *msg)
{
    struct import_job *it = job->state;
    const struct shard_directory *body = &msg->body.directory;
    bool is_theirs = body->op == DIRECTORY_GET && msg->err == ERR_OK &&
                     body->account.value != it->head.account.value;
    if (body->op == DIRECTORY_RELEASE) {
        it->claimed -= 1; /* a claim that cannot be released is of an account that is not there */
    } else if (is_theirs || msg->err == ERR_EXISTS) {
        say_taken(it, body->name);
        it->err = ERR_EXISTS;
    } else if (msg->err != ERR_OK && msg->err != ERR_NOT_FOUND) {
        (void)snprintf(it->why, sizeof it->why, "the directory cannot be asked");
        it->err = msg->err;
    } else {
        it->next_name += 1;
        it->claimed += body->op == DIRECTORY_CLAIM;
    }
}

static enum keep_step look_names(struct keep_job *job)
{
    struct import_job *it = job->state;
    if (it->err != ERR_OK) {
        return refuse(job, it->err, it->why);
    }
    if (it->next_name < it->name_count) {
        return ask_directory(job, DIRECTORY_GET, it->next_name);
    }
    it->next_name = 0;
    it->phase = PHASE_CLEAR;
    return KEEP_STEP_MORE;
}

static enum keep_step claim_names(struct keep_job *job)
{
    struct import_job *it = job->state;
    if (it->next_name < it->name_count) {
        return ask_directory(job, DIRECTORY_CLAIM, it->next_name);
    }
    it->phase = it->head.is_moved ? PHASE_DUE : PHASE_HOLD;
    return KEEP_STEP_MORE;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static enum keep_step post_rows(struct keep_job *job, enum import_op op)
{
    struct import_job *it = job->state;
    struct msg *msg = keep_take(job, MSG_SHARD_IMPORT);
    CHECK(msg != NULL); /* OUT_MAX of them at most */
    msg->body.import.op = op;
    msg->body.import.account = it->head.account;
    msg->body.import.rows = arena_dup(&msg->arena, buf_slice(&it->pack));
    arena_mark_secret(&msg->arena);
    buf_clear(&it->pack);
    it->out += 1;
    keep_post(job, place_shard(job->place, it->head.account), msg);
    return it->out < OUT_MAX ? KEEP_STEP_MORE : KEEP_STEP_WAIT;
}

/* Deletes what there is of the account; true when it is through. */
static bool clear_rows(struct keep_job *job, enum keep_step *step)
{
    struct import_job *it = job->state;
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    if (it->rows == NULL) {
        it->rows = account_rows_new(job->kv, it->head.account);
    }
    enum account_rows_next next = ACCOUNT_ROW;
    while (next == ACCOUNT_ROW && count < CLEARS_AT_ONCE) {
        next = account_rows_next(it->rows, &key, &value);
        if (next == ACCOUNT_ROW) {
            buf_put_slice(&it->pack, key);
            count += 1;
        }
    }
    it->cleared += count;
    *step = KEEP_STEP_MORE;
    if (count > 0) {
        *step = post_rows(job, IMPORT_CLEAR);
    }
    if (next != ACCOUNT_ROWS_END && next != ACCOUNT_ROWS_FAILED) {
        return false;
    }
    account_rows_free(it->rows);
    it->rows = NULL;
    return true;
}

static enum keep_step begin_rows(struct keep_job *job)
{
    struct import_job *it = job->state;
    char why[ACCOUNT_FILE_WHY_MAX];
    enum err err = account_file_rewind(it->file, why);
    if (err != ERR_OK) {
        return refuse(job, err, why);
    }
    it->phase = PHASE_ROWS;
    keep_at(job, "writing");
    return KEEP_STEP_MORE;
}

/* The next row as it is to be here: the one that was put aside, or the file's. */
static enum err next_row(struct keep_job *job, struct slice *key, bool *is_end)
{
    struct import_job *it = job->state;
    struct slice value;
    *is_end = false;
    if (it->pending_key.len > 0) {
        *key = buf_slice(&it->pending_key);
        buf_clear(&it->row);
        buf_add(&it->row, buf_slice(&it->pending));
        return ERR_OK;
    }
    enum err err = account_file_next(it->file, key, &value, is_end, it->why);
    job->done = account_file_size(it->file) + account_file_bytes(it->file);
    if (err != ERR_OK || *is_end) {
        return err;
    }
    arena_clear(&it->scratch);
    err = account_check_row(*key, value); /* again: a file can be written between two readings */
    return err == ERR_OK ? account_row_import(&it->seals, *key, value, &it->scratch, &it->row)
                         : err;
}

static void put_aside(struct import_job *it, struct slice key)
{
    if (it->pending_key.len == 0) {
        buf_add(&it->pending_key, key);
        buf_clear(&it->pending);
        buf_add(&it->pending, buf_slice(&it->row));
    }
}

/* Rows until the next ones are of another phase: what is due waits for the claims, the account for
 * everything. */
static enum keep_step write_rows(struct keep_job *job, uint64_t budget_us)
{
    struct import_job *it = job->state;
    uint64_t end_us = clock_mono_us() + budget_us;
    struct slice key;
    bool is_end;
    do {
        enum err err = next_row(job, &key, &is_end);
        if (err != ERR_OK || is_end) {
            return undo(it, err == ERR_OK ? ERR_CORRUPT : err, "the file has changed meanwhile");
        }
        enum row_family row = key_shape_of(key)->row;
        bool is_next_phase = row == ROW_ACCOUNT || (row == ROW_OUTBOX && it->phase == PHASE_ROWS);
        if (is_next_phase) {
            put_aside(it, key);
            it->phase = it->phase == PHASE_ROWS ? PHASE_CLAIM : PHASE_LAST;
            return it->pack.len > 0 ? post_rows(job, IMPORT_ROWS) : KEEP_STEP_MORE;
        }
        buf_put_slice(&it->pack, key);
        buf_put_slice(&it->pack, buf_slice(&it->row));
        buf_clear(&it->pending_key);
        it->row_count += 1;
        if (it->pack.len >= MSG_BYTES) {
            return post_rows(job, IMPORT_ROWS);
        }
    } while (clock_mono_us() < end_us);
    return KEEP_STEP_MORE;
}

static enum keep_step write_account(struct keep_job *job)
{
    struct import_job *it = job->state;
    if (it->has_asked) {
        it->phase = PHASE_LOG;
        it->has_asked = false;
        return KEEP_STEP_MORE;
    }
    it->has_asked = true;
    it->row_count += 1;
    buf_put_slice(&it->pack, buf_slice(&it->pending_key));
    buf_put_slice(&it->pack, buf_slice(&it->pending));
    (void)post_rows(job, IMPORT_LAST); /* waits for it in any case */
    return KEEP_STEP_WAIT;
}

/* ---- a copy's queue, the log ---------------------------------------------------------------- */

static enum keep_step hold_queue(struct keep_job *job)
{
    struct import_job *it = job->state;
    if (it->has_asked) {
        it->phase = PHASE_DUE;
        it->has_asked = false;
        return KEEP_STEP_MORE;
    }
    struct msg *msg = keep_take(job, MSG_DELIVER_QUEUE);
    CHECK(msg != NULL); /* nothing else is out */
    msg->body.queue = (struct deliver_queue){
        .op = QUEUE_PAUSE,
        .account = it->head.account,
        .reason = SLICE("imported as a copy: what was queued may have been sent elsewhere"),
        .by = SLICE("import"),
    };
    it->has_asked = true;
    it->out += 1;
    keep_post(job, job->place->deliver, msg);
    return KEEP_STEP_WAIT;
}

static enum keep_step write_log(struct keep_job *job)
{
    struct import_job *it = job->state;
    if (it->has_asked) {
        it->phase = PHASE_OVER;
        return KEEP_STEP_MORE;
    }
    struct msg *msg = keep_take(job, MSG_SHARD_ADMIN);
    CHECK(msg != NULL); /* nothing else is out */
    struct shard_admin *body = &msg->body.admin;
    body->op = ADMIN_QUEUED;
    body->caller.kind = CALLER_OPERATOR;
    body->account = it->head.account;
    body->action = SLICE("account.imported");
    body->detail =
        arena_format(&msg->arena, "%.200s, %llu rows%s", it->path,
                     (unsigned long long)it->row_count, it->head.is_moved ? ", moved" : ", a copy");
    it->has_asked = true;
    it->out += 1;
    keep_post(job, place_shard(job->place, it->head.account), msg);
    return KEEP_STEP_WAIT;
}

/* ---- the machine ---------------------------------------------------------------------------- */

static void import_on_msg(struct keep_job *job, struct msg *msg)
{
    struct import_job *it = job->state;
    CHECK(it->out > 0);
    it->out -= 1;
    if (msg->kind == MSG_SHARD_DIRECTORY) {
        enum phase phase = it->phase;
        on_directory(job, msg);
        if (phase == PHASE_CLAIM && it->err != ERR_OK) {
            it->phase = PHASE_UNDO_CLEAR;
        }
    } else if (msg->err == ERR_EXISTS && it->phase >= PHASE_UNDO_CLEAR) {
        it->claimed = 0; /* it is there after all, and its names are its own */
    } else if (msg->err != ERR_OK && it->phase < PHASE_UNDO_CLEAR) {
        const char *text =
            msg->err == ERR_EXISTS ? "the account is here already" : err_info(msg->err)->text;
        if (it->phase == PHASE_LOG) {
            it->phase = PHASE_OVER; /* the account is there; its log lacks a line */
        } else {
            (void)undo(it, msg->err, text); /* the next step does it */
        }
    }
    msg_put(msg->home, msg);
}

static enum keep_step take_back(struct keep_job *job)
{
    struct import_job *it = job->state;
    enum keep_step step;
    if (it->phase == PHASE_UNDO_CLEAR) {
        buf_clear(&it->pack);
        if (clear_rows(job, &step)) {
            it->phase = PHASE_UNDO_CLAIMS;
        }
        return step;
    }
    if (it->claimed > 0) {
        return ask_directory(job, DIRECTORY_RELEASE, it->claimed - 1);
    }
    return refuse(job, it->err, it->why);
}

/* Rows and claims of an account that will not be there go; one that is there stays. */
static bool import_take_back(struct keep_job *job)
{
    struct import_job *it = job->state;
    bool is_there = it->phase == PHASE_LOG || it->phase == PHASE_OVER ||
                    (it->phase == PHASE_LAST && it->has_asked);
    if (it->phase >= PHASE_CLEAR && !is_there) {
        (void)undo(it, ERR_CONFLICT, "it was cancelled"); /* the next step does it */
    }
    return it->phase >= PHASE_CLEAR;
}

/* Phases that want everything home before they begin or go on. */
static bool waits_for_all(enum phase phase)
{
    return phase != PHASE_CLEAR && phase != PHASE_ROWS && phase != PHASE_DUE;
}

static enum keep_step import_step(struct keep_job *job, uint64_t budget_us)
{
    struct import_job *it = job->state;
    enum keep_step step;
    if (it->out >= OUT_MAX || (it->out > 0 && waits_for_all(it->phase))) {
        return KEEP_STEP_WAIT;
    }
    switch (it->phase) {
    case PHASE_OPEN:
        return open_file(job);
    case PHASE_CHECK:
        return check_file(job, budget_us);
    case PHASE_LOOK:
        return look_names(job);
    case PHASE_CLEAR:
        if (it->has_asked && it->out > 0) {
            return KEEP_STEP_WAIT;
        }
        if (it->has_asked) {
            it->has_asked = false;
            return begin_rows(job);
        }
        it->has_asked = clear_rows(job, &step);
        return step;
    case PHASE_ROWS:
    case PHASE_DUE:
        return write_rows(job, budget_us);
    case PHASE_CLAIM:
        return claim_names(job);
    case PHASE_HOLD:
        return hold_queue(job);
    case PHASE_LAST:
        return write_account(job);
    case PHASE_LOG:
        return write_log(job);
    case PHASE_UNDO_CLEAR:
    case PHASE_UNDO_CLAIMS:
        return take_back(job);
    case PHASE_OVER:
        break;
    }
    keep_at(job, "done");
    return KEEP_STEP_OVER;
}

static void import_report(struct keep_job *job, struct json_writer *w)
{
    const struct import_job *it = job->state;
    char text[ID_TEXT_MAX];
    json_key(w, "account");
    json_text(
        w, slice_of(text, it->head.account.value == 0 ? 0 : account_text(it->head.account, text)));
    json_key(w, "file");
    json_text(w, slice_str(it->path));
    json_key(w, "rows");
    json_u64(w, it->row_count);
    json_key(w, "names");
    json_u64(w, it->name_count);
    json_key(w, "cleared");
    json_u64(w, it->cleared);
    json_key(w, "moved");
    json_bool(w, it->head.is_moved);
    json_key(w, "imported");
    json_bool(w, it->phase == PHASE_OVER);
}

static void import_end(struct keep_job *job)
{
    struct import_job *it = job->state;
    struct buf *const bufs[] = {&it->row, &it->pack, &it->pending, &it->pending_key};
    account_rows_free(it->rows);
    account_file_close(it->file);
    arena_fini(&it->scratch);
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++) {
        crypto_wipe(bufs[i]->data, bufs[i]->data == NULL ? 0 : bufs[i]->capacity);
        buf_fini(bufs[i]);
    }
    crypto_wipe(&it->seals, sizeof it->seals);
}

const struct keep_kind keep_import = {
    .unit = "bytes",
    .begin = import_begin,
    .step = import_step,
    .on_msg = import_on_msg,
    .take_back = import_take_back,
    .report = import_report,
    .end = import_end,
};
