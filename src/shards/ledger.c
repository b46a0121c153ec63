/* ledger.c - what the server and its delivery remember, in delivery's own family: numbers by kind,
 * and notes by name.
 *
 * A scan of notes reads the store alone, on a worker: it may miss what is still on its way there.
 */
#include "base/check.h"
#include "base/clock.h"
#include "shards/shard_int.h"

struct note_work {
    struct shard_job job;
    struct key from;
    struct key to;
    enum err err;
};

static enum err rotate(const struct shard_ledger *ledger, struct row_ledger *row);
static enum err get_note(struct shard *shard, struct msg *msg);
static void scan_notes(struct shard *shard, struct msg *msg);
static void scan_work(struct shard_job *job);
static void scan_done(struct shard_job *job);
static enum err keep_note(struct arena *arena, struct slice key, struct slice value,
                          struct note *note);

/* ---- numbers -------------------------------------------------------------------------------- */

void ledger_handle(struct shard *shard, struct msg *msg)
{
    struct shard_ledger *ledger = &msg->body.ledger;
    if (shard->family != KV_FAMILY_DELIVER) {
        msg_return(msg, ERR_INVALID);
        return;
    }
    struct row_ledger row = {.value = ledger->value};
    if (ledger->is_write) {
        shard_put_ledger(shard, key_ledger(ledger->kind), &row);
        shard_answer(shard, msg, ERR_OK);
        return;
    }
    row.value = 0;
    enum err err = shard_get_ledger(shard, key_ledger(ledger->kind), &shard->scratch, &row);
    err = err == ERR_NOT_FOUND ? ERR_OK : err;
    if (err == ERR_OK && ledger->is_rotation) {
        err = rotate(ledger, &row);
        if (err == ERR_OK) {
            shard_put_ledger(shard, key_ledger(ledger->kind), &row);
        }
    }
    ledger->value = row.value;
    shard_answer(shard, msg, err);
}

/* Two who rotate at once get a generation each: the last one made is the one that signs. */
static enum err rotate(const struct shard_ledger *ledger, struct row_ledger *row)
{
    struct session_keys keys = session_keys_unpack(row->value);
    if (ledger->kind != LEDGER_SESSION_KEY || keys.generation >= SESSION_KEY_GENERATION_MAX ||
        ledger->keep_until_unix_ms >> 48 != 0) {
        return ERR_INVALID;
    }
    keys.generation += 1;
    keys.previous_until_unix_ms = ledger->keep_until_unix_ms;
    row->value = session_keys_pack(keys);
    return ERR_OK;
}

/* ---- notes ---------------------------------------------------------------------------------- */

void note_handle(struct shard *shard, struct msg *msg)
{
    struct shard_note *body = &msg->body.note;
    if (shard->family != KV_FAMILY_DELIVER || body->kind < NOTE_STS ||
        body->kind >= NOTE_KIND_END || body->name.len > KEY_TEXT_MAX) {
        msg_return(msg, ERR_INVALID);
        return;
    }
    struct row_note row = {.value = body->value, .updated_unix_ms = clock_unix_ms()};
    switch (body->op) {
    case NOTE_GET:
        shard_answer(shard, msg, get_note(shard, msg));
        return;
    case NOTE_PUT:
        shard_put_note(shard, key_note(body->kind, body->name), &row);
        shard_answer(shard, msg, ERR_OK);
        return;
    case NOTE_DELETE:
        shard_delete(shard, key_note(body->kind, body->name));
        shard_answer(shard, msg, ERR_OK);
        return;
    case NOTE_SCAN:
        scan_notes(shard, msg);
        return;
    }
    CHECK(body->op == NOTE_GET);
}

static enum err get_note(struct shard *shard, struct msg *msg)
{
    struct shard_note *body = &msg->body.note;
    struct row_note row;
    enum err err = shard_get_note(shard, key_note(body->kind, body->name), &msg->arena, &row);
    if (err == ERR_OK) {
        body->notes = arena_alloc(&msg->arena, sizeof(*body->notes));
        body->notes[0] = (struct note){body->name, row.value, row.updated_unix_ms};
        body->note_count = 1;
    }
    return err;
}

static void scan_notes(struct shard *shard, struct msg *msg)
{
    struct shard_note *body = &msg->body.note;
    struct note_work *work = arena_alloc(&msg->arena, sizeof(*work));
    struct key all = key_prefix_notes(body->kind);
    struct key last = key_note(body->kind, body->name);
    work->job.shard = shard;
    work->job.msg = msg;
    work->from = body->name.len > 0 ? last : all;
    work->to = key_after(&all);
    body->limit = (uint32_t)min_u64(body->limit, NOTES_PER_SCAN);
    shard_offload(shard, &work->job, scan_work, scan_done);
}

/* Worker. */
static void scan_work(struct shard_job *job)
{
    struct note_work *work = CONTAINER_OF(job, struct note_work, job);
    struct shard_note *body = &job->msg->body.note;
    struct arena *arena = &job->msg->arena;
    struct slice key;
    struct slice value;
    body->notes = arena_array(arena, body->limit, sizeof(*body->notes));
    struct kv_iter *iter = kv_iter_open(job->shard->kv, job->shard->family, key_slice(&work->from),
                                        key_slice(&work->to), false);
    work->err = ERR_OK;
    while (work->err == ERR_OK && body->note_count < body->limit &&
           kv_iter_next(iter, &key, &value)) {
        struct note *note = &body->notes[body->note_count];
        work->err = keep_note(arena, key, value, note);
        bool is_behind = body->name.len == 0 || !slice_equal(note->name, body->name);
        body->note_count += work->err == ERR_OK && is_behind;
    }
    if (work->err == ERR_OK) {
        work->err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
}

static void scan_done(struct shard_job *job)
{
    struct note_work *work = CONTAINER_OF(job, struct note_work, job);
    shard_answer(job->shard, job->msg, work->err);
}

static enum err keep_note(struct arena *arena, struct slice key, struct slice value,
                          struct note *note)
{
    struct row_note row;
    struct slice kept;
    struct slice name;
    enum err err = mail_keep(arena, value, &kept);
    if (err == ERR_OK) {
        err = row_note_decode(kept, &row);
    }
    if (err == ERR_OK) {
        err = key_read_note(key, &name);
    }
    if (err == ERR_OK) {
        *note = (struct note){arena_dup(arena, name), row.value, row.updated_unix_ms};
    }
    return err;
}
