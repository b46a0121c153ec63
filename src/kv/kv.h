/* kv.h - bytes on disk: one RocksDB database, one column family per shard and one for delivery.
 *
 * The only module that includes rocksdb/c.h. Keys and values are bytes here; kv/key.h and kv/row.h
 * give them meaning. Values of KV_BLOB_MIN bytes and more go to blob files, so that bodies are not
 * rewritten by compaction.
 *
 * Writing has two steps on purpose. kv_write puts a batch into the write-ahead log and the
 * memtable; kv_sync makes everything written so far durable. The committer (shards/commit) writes
 * the batches of all shards and syncs once. Nobody else calls these two, so they need no lock
 * between them.
 *
 * What a reader sees: kv_get and iterators see what kv_write has written, which may be one sync
 * ahead of the disk. A shard that must see its own accepted but unwritten rows asks its open
 * batches first (kv_batch_find). So no promise to a client is made from a scan alone.
 *
 * Thread-safe: the handle may be used from every thread. A batch or an iterator belongs to one at a
 * time.
 *
 * Diagnostics: RocksDB's own words are logged here, once, and freed here; callers see ERR_STORAGE,
 * ERR_CORRUPT or ERR_IO.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

#define KV_BLOB_MIN 2048 /* smaller values stay in the tree */

struct kv;
struct kv_batch;
struct kv_iter;
struct kv_snapshot;

/* Families: 0 to family_count - 1 are "shard00" ...; KV_FAMILY_DELIVER and KV_FAMILY_META come
 * after. */
#define KV_FAMILY_DELIVER 0xfffffffeu
#define KV_FAMILY_META    0xffffffffu /* RocksDB's default family: the format stamp */

struct kv_options {
    struct slice path;       /* folder; made when missing unless must_exist */
    uint32_t shard_count;    /* for a new store; an existing one knows its own */
    uint64_t cache_bytes;    /* block and blob cache together */
    uint64_t memtable_bytes; /* all families together */
    bool is_read_only;
    bool must_exist;
};

/* Opens or makes the store.
 * Errors, each logged with its remedy: ERR_STORAGE (another process has it, no permission, not a
 * store), ERR_CORRUPT. Owns: caller owns *kv until kv_close. */
MUST_USE enum err kv_open(const struct kv_options *options, struct kv **kv);
/* Every batch and iterator must be gone. */
void kv_close(struct kv *kv);
uint32_t kv_shard_count(const struct kv *kv);

/* ERR_NOT_FOUND when absent. The value lands in arena (ERR_TOO_LARGE when it does not fit); *value
 * is untouched on failure. */
MUST_USE enum err kv_get(struct kv *kv, uint32_t family, struct slice key, struct arena *arena,
                         struct slice *value);

/* ---- batches -------------------------------------------------------------------------------- */

/* Rows of one family that become visible together. Owns: caller; kv_batch_free. */
struct kv_batch *kv_batch_new(uint32_t family);
void kv_batch_free(struct kv_batch *batch);
void kv_batch_clear(struct kv_batch *batch);
/* Key and value are copied. A put also enters the batch's overlay, so that kv_batch_find sees it.
 */
void kv_batch_put(struct kv_batch *batch, struct slice key, struct slice value);
/* For bodies that nobody reads before they are written: no overlay copy. */
void kv_batch_put_body(struct kv_batch *batch, struct slice key, struct slice value);
void kv_batch_delete(struct kv_batch *batch, struct slice key);
/* [from, to). Not seen by the overlay. */
void kv_batch_delete_range(struct kv_batch *batch, struct slice from, struct slice to);
enum kv_found { KV_UNKNOWN, KV_PUT, KV_DELETED };
/* What the batch says of a key; *value borrows from the batch until it is cleared. */
enum kv_found kv_batch_find(const struct kv_batch *batch, struct slice key, struct slice *value);
uint32_t kv_batch_rows(const struct kv_batch *batch);
uint64_t kv_batch_bytes(const struct kv_batch *batch);
uint32_t kv_batch_family(const struct kv_batch *batch);

/* Visible, not yet durable. ERR_STORAGE when refused: then nothing of the batch is stored, and what
 * was written before may still be synced. A full disk refuses batches; some seconds after there is
 * room again they pass. */
MUST_USE enum err kv_write(struct kv *kv, struct kv_batch *batch);
/* Durable. After a failure nothing about the disk is known: the caller stops the process. */
MUST_USE enum err kv_sync(struct kv *kv);

/* ---- scans (workers, mostly) ---------------------------------------------------------------- */

/* Rows of [from, to), ascending, or descending when is_reverse, as of now. to empty: the end of the
 * family. Owns: caller; kv_iter_close. */
struct kv_iter *kv_iter_open(struct kv *kv, uint32_t family, struct slice from, struct slice to,
                             bool is_reverse);
/* False at the end. Key and value borrow from the iterator until the next call. */
bool kv_iter_next(struct kv_iter *iter, struct slice *key, struct slice *value);
/* Why kv_iter_next returned false. */
MUST_USE enum err kv_iter_err(const struct kv_iter *iter);
void kv_iter_close(struct kv_iter *iter);

/* ---- one moment of the store ------------------------------------------------------------------
 */

/* The store as it is now, all families at once, for as long as the snapshot is kept; what is
 * written meanwhile takes room on the disk until then. Any thread. Owns: caller;
 * kv_snapshot_free. */
struct kv_snapshot *kv_snapshot_new(struct kv *kv);
void kv_snapshot_free(struct kv *kv, struct kv_snapshot *snapshot);

/* A scan that is not a shard's. */
struct kv_scan {
    const struct kv_snapshot *snapshot; /* NULL: as of now */
    uint32_t family;
    struct slice from;
    struct slice to; /* empty: the end of the family */
    bool is_bulk;    /* reads ahead, and leaves the cache to the others */
    bool is_quiet;   /* damage is the caller's business: nothing is logged */
};
struct kv_iter *kv_scan_open(struct kv *kv, const struct kv_scan *scan);
/* Goes on at the first row from key on, also after an error or the end. */
void kv_iter_seek(struct kv_iter *iter, struct slice key);
/* As kv_get, of a moment and quiet about damage. */
struct kv_place {
    const struct kv_snapshot *snapshot; /* NULL: now */
    uint32_t family;
};
MUST_USE enum err kv_get_at(struct kv *kv, struct kv_place place, struct slice key,
                            struct arena *arena, struct slice *value);

/* A table file of a family: its rows are from smallest to largest key. Slices borrow until fn
 * returns. */
struct kv_file {
    struct slice name; /* "/000012.sst" */
    int level;
    struct slice smallest;
    struct slice largest;
};
typedef void kv_file_fn(void *context, const struct kv_file *file);
void kv_files(struct kv *kv, uint32_t family, kv_file_fn *fn, void *context);

/* ---- inspection ----------------------------------------------------------------------------- */

/* Bytes that may still be written on the store's filesystem by this user. */
uint64_t kv_free_bytes(const struct kv *kv);
/* A RocksDB property ("rocksdb.estimate-num-keys", ...) as text in arena; empty when there is none.
 */
struct slice kv_property(struct kv *kv, uint32_t family, const char *name, struct arena *arena);
/* Compacts a whole family, blob files included. Blocks for long. */
void kv_compact(struct kv *kv, uint32_t family);
/* Makes a kv_compact that runs on another thread return soon, its work half done, and later ones at
 * once; until kv_compact_allow. */
void kv_compact_stop(struct kv *kv);
void kv_compact_allow(struct kv *kv);
/* Memtables to disk, for tests and backup. */
MUST_USE enum err kv_flush(struct kv *kv);

#endif
