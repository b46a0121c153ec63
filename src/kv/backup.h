/* backup.h - copies of the store in a folder: made while it is in use, many in one folder, each a
 * whole store of its time.
 *
 * RocksDB's backup engine makes them. Tables and blob files, which never change, lie in the folder
 * once however many backups share them, so a backup copies what is new. Kept by us beside them is
 * meerkat.json: whose backups these are (a fingerprint of the master key), and which format and how
 * many shards the store had. The master key itself is only put in when it is asked for: with it,
 * the folder opens every secret; without it, whoever restores has to bring the key.
 *
 *     backup_open --> backup_make --> backup_read_* (checks what lies there) --> backup_purge
 *
 * What is cut short leaves the earlier backups as they were, and the next backup_purge takes its
 * remains away. A folder is locked while a backup is open.
 *
 * Reading (backup_list, backup_read_*) asks nothing of RocksDB: it reads the engine's lists, so it
 * works on a folder that may not be written, has an end to each step, and knows the file that is
 * damaged.
 *
 * Errors: ERR_BAD_FIELD (a folder that will not do), ERR_STORAGE (a full disk, no permission),
 * ERR_CORRUPT, ERR_NOT_FOUND, ERR_CONFLICT (locked); why says more, to people.
 */
#ifndef KV_BACKUP_H
#define KV_BACKUP_H

#include "base/arena.h"
#include "base/base.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/limits.h"
#include "kv/kv.h"

#define BACKUP_WHY_MAX         512
#define BACKUP_PATH_MAX        KEEPER_PATH_MAX
#define BACKUP_FINGERPRINT_LEN 32 /* hexadecimal digits */
#define BACKUP_MARK            "meerkat.json"
#define BACKUP_KEY             "master.key"

/* Whose backups lie in a folder. */
struct backup_mark {
    char fingerprint[BACKUP_FINGERPRINT_LEN + 1];
    uint32_t format;
    uint32_t shard_count;
    bool has_key; /* the master key lies there too */
};

struct backup_entry {
    uint32_t id;
    uint64_t made_unix_ms;
    uint64_t bytes; /* all files of it, shared ones included */
    uint32_t file_count;
    bool is_damaged; /* its list cannot be read; the others may be whole */
};

/* A keyed hash: tells whether a key is the one, and nothing of the key. */
void backup_fingerprint(const struct seal_key *master, char out[BACKUP_FINGERPRINT_LEN + 1]);

/* ---- making --------------------------------------------------------------------------------- */

struct backup;

struct backup_options {
    const char *folder; /* made when it is missing; its parent has to be there */
    const char *data;   /* the data folder, which may not hold it, nor be held by it */
    const struct seal_key *master;
    bool has_key; /* the key goes with it */
};

/* Owns: caller owns *backup until backup_close. kv is borrowed until then. */
MUST_USE enum err backup_open(const struct backup_options *options, struct kv *kv,
                              struct backup **backup, char why[BACKUP_WHY_MAX]);
void backup_close(struct backup *backup);
/* Blocks for as long as the copying takes; worker. *id is the new backup's. */
MUST_USE enum err backup_make(struct backup *backup, uint32_t *id, char why[BACKUP_WHY_MAX]);
/* Bytes that backup_make has to copy, about (*whole: that the backup will have), and how many it
 * has copied since backup_open. Beside backup_make. Cost: a stat for each file of the store and of
 * the folder. */
uint64_t backup_expected(const struct backup *backup, uint64_t *whole);
uint64_t backup_copied(const struct backup *backup);
/* Deletes all but the latest `keep` (0: none), and what was left behind by backups that were cut
 * short. *left is how many there are then. */
MUST_USE enum err backup_purge(struct backup *backup, uint32_t keep, uint32_t *left,
                               char why[BACKUP_WHY_MAX]);

/* ---- reading -------------------------------------------------------------------------------- */

MUST_USE enum err backup_read_mark(const char *folder, struct backup_mark *mark,
                                   char why[BACKUP_WHY_MAX]);
/* Oldest first. ERR_NOT_FOUND when the folder holds no backups. */
MUST_USE enum err backup_list(const char *folder, struct arena *arena,
                              struct backup_entry **entries, uint32_t *count,
                              char why[BACKUP_WHY_MAX]);

/* One backup, read from its first byte to its last; every file is compared with its checksum. */
struct backup_read;

/* id 0: the latest. target: a folder to write the store into, which may not be there; NULL: it is
 * only read. Owns: caller owns *read until backup_read_close. */
MUST_USE enum err backup_read_open(const char *folder, uint32_t id, const char *target,
                                   struct backup_read **read, char why[BACKUP_WHY_MAX]);
/* Goes on for budget_us. *is_over: all was read, and written it is on disk, but for the folder's
 * own name. ERR_CORRUPT names the file. */
MUST_USE enum err backup_read_step(struct backup_read *read, uint64_t budget_us, bool *is_over,
                                   char why[BACKUP_WHY_MAX]);
struct backup_entry backup_read_entry(const struct backup_read *read);
uint64_t backup_read_done(const struct backup_read *read); /* bytes, of backup_read_entry().bytes */
void backup_read_close(struct backup_read *read);

#endif
