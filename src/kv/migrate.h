/* migrate.h - the format stamp and the steps between formats.
 *
 * The stamp (row_format in the meta family) says which format the store has, how many shards it was
 * made with, and how often it was opened. migrate_open runs before any shard: a new store is
 * stamped, an older one is brought up step by step (each step is idempotent and ends by raising the
 * stamp, synced, so that a kill between two steps is harmless), a newer one is refused with the
 * remedy. `boot` numbers this run: leases of earlier runs are void.
 */
#ifndef KV_MIGRATE_H
#define KV_MIGRATE_H

#include "base/err.h"
#include "kv/kv.h"

#define STORE_FORMAT 2

struct store_stamp {
    uint32_t format;
    uint32_t shard_count;
    uint64_t boot; /* 1 for the first run */
};

/* Reads the stamp and changes nothing, of an older store neither; *stamp is untouched on failure.
 * Errors: as migrate_open; ERR_NOT_FOUND when there is no stamp. */
MUST_USE enum err migrate_look(struct kv *kv, struct store_stamp *stamp);
/* Errors: ERR_STORAGE with a logged line (store is newer than this program: upgrade meerkatd),
 * ERR_CORRUPT. */
MUST_USE enum err migrate_open(struct kv *kv, uint64_t now_unix_ms, struct store_stamp *stamp);

#endif
