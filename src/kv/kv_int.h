/* kv_int.h - the inside of the store, for the files of kv that know RocksDB.
 *
 * Private to kv. rocksdb/c.h comes in here and nowhere else, so a file that includes this one is a
 * file that speaks RocksDB; what it learns leaves it as enum err and as bytes.
 *
 * Owns:   struct kv owns its database, families and options; kv_open makes them, kv_close ends
 *         them. Everything here borrows.
 * Errors: RocksDB's words are logged once, by kv_rocks_failed, and become ERR_STORAGE, ERR_CORRUPT
 *         or ERR_IO.
 */
#ifndef KV_KV_INT_H
#define KV_KV_INT_H

#include "kv/kv.h"

#include "base/limits.h"

#include <rocksdb/c.h>

#define FAMILY_COUNT_MAX     (SHARD_COUNT_MAX + 2)
#define FAMILY_NAME_MAX      16
#define META_NAME            "default"
#define DELIVER_NAME         "deliver"
#define BLOB_AGE_CUTOFF_TEXT "0.25"

struct kv {
    rocksdb_t *db;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_column_family_handle_t *families[FAMILY_COUNT_MAX];
    char *path;
    uint32_t shard_count;
    bool is_read_only;
    bool is_compact_stopped; /* whose thread compacts: the keeper's */
    bool is_log_torn;        /* the writer's: the last kv_write failed, perhaps within the log */
};

struct kv_snapshot {
    const rocksdb_snapshot_t *rocks;
};

uint32_t kv_family_count(const struct kv *kv);
rocksdb_column_family_handle_t *kv_family_handle(const struct kv *kv, uint32_t family);
/* What RocksDB's words mean; logs them with op and a remedy, and frees them. */
MUST_USE enum err kv_rocks_failed(const char *op, char *words);
/* The same without a line in the log. */
MUST_USE enum err kv_rocks_err(char *words);
/* Of a get that went wrong or found something; frees pinned. */
MUST_USE enum err kv_rocks_value(rocksdb_pinnableslice_t *pinned, struct arena *arena,
                                 struct slice *value);

#endif
