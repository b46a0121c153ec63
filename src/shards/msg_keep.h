/* msg_keep.h - the message about long work on the store, KEEPER_JOB.
 *
 * A part of msg.h, which includes it: its body, what a job is asked for, and what is seen of one.
 */
#ifndef SHARDS_MSG_KEEP_H
#define SHARDS_MSG_KEEP_H

#include "base/base.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"

enum keep_op {
    KEEP_START,  /* ERR_CONFLICT while another one runs */
    KEEP_STATUS, /* one */
    KEEP_LIST,   /* the one that runs and the last that ended, newest first */
    KEEP_CANCEL, /* it ends after the piece that it is at; ERR_CONFLICT when it has ended */
};
enum keep_type {
    KEEP_COMPACT,
    KEEP_BACKUP,
    KEEP_VERIFY,
    KEEP_REPAIR,
    KEEP_EXPORT,
    KEEP_IMPORT,
    KEEP_TYPE_COUNT
};
enum keep_state { KEEP_RUNNING, KEEP_DONE, KEEP_FAILED, KEEP_CANCELLED };
const char *keep_type_text(enum keep_type type);
MUST_USE enum err keep_type_parse(struct slice text, enum keep_type *type);
const char *keep_state_text(enum keep_state state);

#define KEEP_EVERY_SHARD UINT32_MAX

/* What a job is asked for; each kind of job reads the members that it knows. */
struct keep_wish {
    enum keep_type type;
    struct slice by;           /* who asks */
    uint32_t shard;            /* or KEEP_EVERY_SHARD */
    struct slice path;         /* BACKUP: the folder */
    uint32_t keep;             /* BACKUP: how many stay in it; 0: all */
    bool has_key;              /* BACKUP: the master key goes with it */
    struct account_id account; /* EXPORT; path is the file then, and of IMPORT */
    struct slice passphrase;   /* EXPORT, IMPORT */
    bool is_move;              /* EXPORT: the account is suspended here */
    bool is_dry;               /* REPAIR: only says what it would do */
};

struct keep_view {
    uint64_t boot; /* the run of the server, and the number of the job in it: its id */
    uint64_t number;
    enum keep_type type;
    enum keep_state state;
    bool is_cancelling;
    struct slice by;
    uint64_t started_unix_ms;
    uint64_t ended_unix_ms; /* 0: it runs */
    uint64_t done;          /* of total, in unit; total 0: not known */
    uint64_t total;
    struct slice unit;
    struct slice at;   /* what it works on */
    uint32_t problems; /* that it found */
    enum err err;      /* FAILED: why, and a sentence */
    struct slice sentence;
    struct slice report; /* a JSON object; empty while it runs */
};

struct keeper_job {
    enum keep_op op;
    struct keep_wish wish; /* START */
    uint64_t boot;         /* STATUS, CANCEL */
    uint64_t number;
    /* out */
    struct keep_view *views; /* all but LIST: the one */
    uint32_t view_count;
};

#endif
