/* keeper_int.h - what a kind of job is, and what the keeper does for it.
 *
 * To add one: a keep_type with its text (msg_keep.h, msg.c), the members of keep_wish that it reads
 * (and their place in edge/api_job.c), a struct keep_kind in a file of its own, and its line in the
 * table of keeper.c.
 *
 * begin looks at the wish and refuses it, or makes the job's state in job->arena, where the wish's
 * text has to be copied to. Then step is called until it says that it is over. In between it may
 * wait for a worker (keep_offload) or for messages (keep_post); step is called again when the
 * worker is back, on_msg when a message is home. report writes the members of the report, also
 * when the job failed or was cancelled. end gives back what the arena does not hold.
 *
 * Loop: all of it on the keeper's, but the function of keep_offload.
 */
#ifndef SHARDS_KEEPER_INT_H
#define SHARDS_KEEPER_INT_H

#include "base/arena.h"
#include "base/json.h"
#include "kv/kv.h"
#include "shards/actor.h"
#include "shards/place.h"

struct keep_job;
typedef void keep_fn(struct keep_job *job);

enum keep_step {
    KEEP_STEP_MORE, /* call again */
    KEEP_STEP_WAIT, /* a worker or a message is out */
    KEEP_STEP_OVER, /* done, or failed: job->err */
};

struct keep_kind {
    const char *unit; /* of job->done and job->total */
    enum err (*begin)(struct keep_job *job, const struct keep_wish *wish);
    enum keep_step (*step)(struct keep_job *job, uint64_t budget_us);
    void (*on_msg)(struct keep_job *job, struct msg *msg); /* has to msg_put it; may be NULL */
    void (*look)(struct keep_job *job);   /* before each look at a job that waits: brings done and
                                             at up to date; may be NULL */
    void (*cancel)(struct keep_job *job); /* cuts short what is on a worker; may be NULL */
    bool (*take_back)(struct keep_job *job); /* of a cancelled job, once, when nothing of it is out:
                                                true: step has something to undo, or to end, and is
                                                called until it is over; may be NULL */
    void (*report)(struct keep_job *job, struct json_writer *w);
    keep_fn *end;
};

#define KEEP_AT_MAX       128
#define KEEP_SENTENCE_MAX 400

struct keep_job {
    const struct keep_kind *kind;
    struct keeper *keeper;
    const struct place *place;
    struct kv *kv;
    struct arena arena; /* of the job; marked secret */
    void *state;        /* the kind's */
    uint64_t done;
    uint64_t total; /* 0: not known */
    uint32_t problems;
    enum err err;
    char at[KEEP_AT_MAX];
    char sentence[KEEP_SENTENCE_MAX];
    bool is_cancelled; /* step is not called any more, but to undo; a worker's function may not
                          read it */
    bool is_asked;     /* take_back was */
    bool is_undoing;   /* as it said */
};

/* For begin and step: err with a sentence for people. Returns err. */
enum err keep_refuse(struct keep_job *job, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* What is being worked on. */
void keep_at(struct keep_job *job, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* step: runs work on a worker; to be followed by KEEP_STEP_WAIT. One at a time. */
void keep_offload(struct keep_job *job, keep_fn *work);
/* step: calls step again after some time; to be followed by KEEP_STEP_WAIT. */
void keep_wait(struct keep_job *job, uint64_t ms);
/* From the keeper's pool; NULL when all KEEPER_POOL_MSGS are out. */
struct msg *keep_take(struct keep_job *job, enum msg_kind kind);
/* Owns: takes msg; on_msg gets it back. */
void keep_post(struct keep_job *job, struct actor *to, struct msg *msg);

/* ---- the kinds ------------------------------------------------------------------------------ */

extern const struct keep_kind keep_backup;  /* keeper_backup.c */
extern const struct keep_kind keep_compact; /* keeper_compact.c */
extern const struct keep_kind keep_verify;  /* keeper_verify.c */
extern const struct keep_kind keep_repair;
extern const struct keep_kind keep_export; /* keeper_export.c */
extern const struct keep_kind keep_import; /* keeper_import.c */

#endif
