/* msg_inspect.h - the message that looks into a shard, SHARD_INSPECT.
 *
 * A part of msg.h, which includes it. Of the ledger it is asked as of any shard. What comes out of
 * the store comes as JSON (kv/look.h), made by a worker: the members of an object, without its
 * braces, so that whoever answers can add its own.
 */
#ifndef SHARDS_MSG_INSPECT_H
#define SHARDS_MSG_INSPECT_H

#include "base/base.h"
#include "base/id.h"
#include "base/latency.h"
#include "base/slice.h"

#define INSPECT_PREFIX_MAX 1024
#define INSPECT_ROWS_MAX   1000

enum inspect_op {
    INSPECT_STATS,    /* what the actor knows of itself, answered at once: `stats` */
    INSPECT_SHARD,    /* that, and its part of the store in numbers: `stats` and `json` */
    INSPECT_STORE,    /* the store as a whole: `json` */
    INSPECT_FAMILIES, /* INSPECT_SHARD, and rows by family: `stats` and `json` */
    INSPECT_ROWS,     /* a page of rows: `json` */
    INSPECT_MAIL,     /* everything stored of a mail: `json`; ERR_NOT_FOUND */
};

/* Rows and bytes of a batch, and who waits for it. */
struct inspect_batch {
    uint32_t rows;
    uint32_t parked;
    uint64_t bytes;
};

struct inspect_pool {
    uint32_t free;
    uint32_t count;
};

/* Counters run since the actor was made. */
struct inspect_stats {
    char loop[16]; /* its name */
    uint32_t port_depth;
    uint32_t port_max;
    uint32_t backlog; /* taken out of the port, not handled yet */
    bool is_held;     /* its batches are full: it takes nothing new until one is on disk */
    bool is_draining;
    uint64_t handled;    /* messages */
    uint64_t handler_us; /* spent in handlers, and in what workers' results led to */
    struct inspect_pool requests;
    struct inspect_pool wakes;
    uint32_t jobs_open;  /* with workers */
    uint32_t jobs_ready; /* back from them, waiting for room in a batch */
    uint32_t lookups_open;
    uint64_t batches; /* committed */
    uint64_t batch_rows;
    uint64_t batch_bytes;
    uint32_t batch_rows_max;
    uint64_t batches_lost;
    struct inspect_batch filling;
    struct inspect_batch flying;
    bool is_flying;
    struct latency_view commit; /* from posting a batch to its return */
    struct latency_view commit_last_minute;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t mails; /* accepted */
    uint64_t mail_bytes;
    bool
        is_scan_owed; /* of the outbox: delivery has to be told of rows from scan_from_unix_ms on */
    bool is_scan_running;
    uint64_t scan_from_unix_ms;
    uint64_t ahead_unix_ms; /* delivery knows what is due before; the ledger: 0 */
    uint64_t intake_bytes;
};

struct shard_inspect {
    enum inspect_op op;
    struct slice prefix; /* ROWS; as typed, up to INSPECT_PREFIX_MAX bytes */
    struct slice after;  /* likewise */
    uint32_t limit;      /* ROWS */
    struct id mail;      /* MAIL */
    bool has_transcripts;
    /* out */
    struct inspect_stats stats;
    struct slice json;
};

#endif
