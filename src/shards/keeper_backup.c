/* keeper_backup.c - the job that makes a backup while the store is in use.
 *
 *     COPY (worker) --> CHECK, piece by piece --> PURGE (worker) --> over
 *
 * Older backups go only after the new one was read back and is whole. The copying cannot be cut
 * short; a job that is cancelled meanwhile leaves a backup that is whole and was not read back.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/metric.h"
#include "kv/backup.h"
#include "shards/keeper_int.h"

#define LOOK_MS 500 /* between two looks at how much was copied */

enum phase { PHASE_COPY, PHASE_CHECK, PHASE_PURGE };

struct backup_job {
    struct backup *backup;
    struct backup_read *read;
    const char *folder;
    uint32_t keep;
    bool has_key;
    enum phase phase;
    bool is_out;
    bool is_checked;
    uint32_t id;
    uint32_t left;
    uint64_t fresh_bytes;
    uint64_t copied_bytes;
    uint64_t looked_ms;
    struct backup_entry entry;
    enum err err; /* of what ran on the worker, and its words */
    char why[BACKUP_WHY_MAX];
};

static enum err backup_begin(struct keep_job *job, const struct keep_wish *wish)
{
    struct backup_job *made = arena_alloc(&job->arena, sizeof *made);
    job->state = made;
    made->folder = arena_cstr(&job->arena, wish->path);
    made->keep = wish->keep;
    made->has_key = wish->has_key;
    struct backup_options options = {
        .folder = made->folder,
        .data = arena_cstr(&job->arena, job->place->conf->data),
        .master = job->place->master,
        .has_key = wish->has_key,
    };
    enum err err = backup_open(&options, job->kv, &made->backup, made->why);
    if (err != ERR_OK) {
        return keep_refuse(job, err == ERR_NOT_FOUND ? ERR_BAD_FIELD : err, "%s", made->why);
    }
    uint64_t whole;
    made->fresh_bytes = backup_expected(made->backup, &whole);
    job->total = made->fresh_bytes + whole;
    keep_at(job, "copying");
    return ERR_OK;
}

/* Worker. */
static void do_copy(struct keep_job *job)
{
    struct backup_job *made = job->state;
    made->err = backup_make(made->backup, &made->id, made->why);
}

/* Worker. */
static void do_purge(struct keep_job *job)
{
    struct backup_job *made = job->state;
    made->err = backup_purge(made->backup, made->keep, &made->left, made->why);
}

static enum keep_step fail(struct keep_job *job, enum err err)
{
    const struct backup_job *made = job->state;
    (void)keep_refuse(job, err, "%s", made->why); /* it says what it was told */
    return KEEP_STEP_OVER;
}

static enum keep_step run(struct keep_job *job, keep_fn *work)
{
    struct backup_job *made = job->state;
    made->is_out = true;
    keep_offload(job, work);
    return KEEP_STEP_WAIT;
}

/* Opens the backup that was made, to read it back. */
static enum err begin_check(struct keep_job *job)
{
    struct backup_job *made = job->state;
    made->copied_bytes = backup_copied(made->backup);
    enum err err = backup_read_open(made->folder, made->id, NULL, &made->read, made->why);
    if (err == ERR_OK) {
        made->entry = backup_read_entry(made->read);
        job->total = made->fresh_bytes + made->entry.bytes;
        keep_at(job, "reading backup %u back", (unsigned)made->id);
    }
    return err;
}

static enum keep_step check(struct keep_job *job, uint64_t budget_us)
{
    struct backup_job *made = job->state;
    bool is_over;
    enum err err = backup_read_step(made->read, budget_us, &is_over, made->why);
    job->done = made->fresh_bytes + backup_read_done(made->read);
    if (err != ERR_OK) {
        size_t len = strlen(made->why);
        (void)snprintf(made->why + len, sizeof made->why - len,
                       "; make the next backup into a new folder");
        job->problems += 1;
        return fail(job, err);
    }
    if (is_over) {
        made->is_checked = true;
        metric_set(METRIC_BACKUP_AT, clock_unix_ms() / 1000);
        made->phase = PHASE_PURGE;
        keep_at(job, "deleting what is not kept");
    }
    return KEEP_STEP_MORE;
}

static enum keep_step backup_step(struct keep_job *job, uint64_t budget_us)
{
    struct backup_job *made = job->state;
    bool is_back = made->is_out;
    enum err err = made->err;
    made->is_out = false;
    switch (made->phase) {
    case PHASE_COPY:
        if (!is_back) {
            return run(job, do_copy);
        }
        err = err == ERR_OK ? begin_check(job) : err;
        made->phase = PHASE_CHECK;
        return err == ERR_OK ? KEEP_STEP_MORE : fail(job, err);
    case PHASE_CHECK:
        return check(job, budget_us);
    case PHASE_PURGE:
        if (!is_back) {
            return run(job, do_purge);
        }
        keep_at(job, "done");
        return err == ERR_OK ? KEEP_STEP_OVER : fail(job, err);
    }
    return KEEP_STEP_OVER;
}

static void backup_look(struct keep_job *job)
{
    struct backup_job *made = job->state;
    uint64_t now_ms = clock_mono_ms();
    if (made->phase == PHASE_COPY && now_ms >= made->looked_ms + LOOK_MS) {
        made->looked_ms = now_ms;
        job->done = min_u64(backup_copied(made->backup), made->fresh_bytes);
    }
}

static void write_u64(struct json_writer *w, const char *name, uint64_t value)
{
    json_key(w, name);
    json_u64(w, value);
}

static void backup_report(struct keep_job *job, struct json_writer *w)
{
    const struct backup_job *made = job->state;
    json_key(w, "folder");
    json_text(w, slice_str(made->folder));
    write_u64(w, "backup", made->id);
    write_u64(w, "bytes", made->entry.bytes);
    write_u64(w, "files", made->entry.file_count);
    write_u64(w, "copiedBytes", made->copied_bytes);
    json_key(w, "verified");
    json_bool(w, made->is_checked);
    json_key(w, "withKey");
    json_bool(w, made->has_key);
    write_u64(w, "backups", made->left);
}

static void backup_end(struct keep_job *job)
{
    struct backup_job *made = job->state;
    backup_read_close(made->read);
    backup_close(made->backup);
}

const struct keep_kind keep_backup = {
    .unit = "bytes",
    .begin = backup_begin,
    .step = backup_step,
    .look = backup_look,
    .report = backup_report,
    .end = backup_end,
};
