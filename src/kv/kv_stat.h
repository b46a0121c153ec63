/* kv_stat.h - what the store knows of itself: sizes, debts, stalls, and how much lies in a range.
 *
 * All is asked of RocksDB when it is asked for, and costs microseconds a family; nothing is
 * scanned, except by kv_range_measure within the time it is given. RocksDB takes its own lock
 * for some of it, so ask from a worker, or once in a while.
 *
 * Row counts are estimates: puts are added up and deletes taken off, so a row that was written
 * twice counts twice until a compaction meets both.
 *
 * In a store that was opened read-only the memtables hold what was replayed of the log, and nothing
 * is pending.
 */
#ifndef KV_KV_STAT_H
#define KV_KV_STAT_H

#include "base/base.h"
#include "base/slice.h"
#include "kv/kv.h"

#define KV_LEVELS 7

/* Of one family. */
struct kv_stat {
    uint64_t rows;              /* estimate */
    uint64_t table_bytes;       /* tables that are alive */
    uint64_t memtable_bytes;    /* all memtables, also those being written out */
    uint64_t memtable_rows;     /* of the one that is written to */
    uint64_t memtables_waiting; /* full, and not written out yet */
    uint64_t blob_files;
    uint64_t blob_bytes;         /* garbage included */
    uint64_t blob_garbage_bytes; /* deleted, and not given back yet */
    uint64_t pending_bytes;      /* compaction has to rewrite this much to be done */
    uint64_t level_files[KV_LEVELS];
    uint64_t slowdowns; /* writers that were slowed down since the store was opened */
    uint64_t stops;     /* writers that had to wait */
    bool is_flush_pending;
    bool is_compaction_pending;
};

/* Of the whole store. */
struct kv_stat_store {
    uint64_t running_flushes;
    uint64_t running_compactions;
    uint64_t delayed_bytes_per_s; /* writers are held to this; 0: they are free */
    uint64_t background_errors;
    uint64_t cache_bytes; /* in the block cache */
    uint64_t cache_capacity;
    uint64_t log_bytes; /* write-ahead logs on disk: what a start would replay, at most */
    uint64_t free_bytes;
    bool is_write_stopped;
};

/* How much lies in [from, to) of a family. */
struct kv_range {
    uint32_t family;
    struct slice from; /* not empty, neither is to */
    struct slice to;
    uint64_t rows;
    uint64_t bytes; /* in tables: keys and values, without blobs and memtables */
    bool is_exact;  /* the rows were counted; otherwise they are estimated */
};

/* rows is RocksDB's own guess: of the tables made since the opening, taken for all of them. */
void kv_stat_read(struct kv *kv, uint32_t family, struct kv_stat *stat);
/* rows as all tables say themselves. Cost: a small read for each table, some 0.1 ms. */
void kv_stat_count(struct kv *kv, uint32_t family, struct kv_stat *stat);
void kv_stat_read_store(struct kv *kv, struct kv_stat_store *stat);
/* "meta", "shard07", "deliver" */
const char *kv_family_name(uint32_t family, char out[16]);

/* Fills in rows, bytes and is_exact: rows are counted for budget_us, then estimated by how much of
 * the range's bytes was passed. Cost: budget_us or some hundred rows, whatever is more; of bodies
 * at most one more. */
MUST_USE enum err kv_range_measure(struct kv *kv, struct kv_range *range, uint64_t budget_us);

#endif
