/* account_file.h - an account in a file: its rows, sealed under a passphrase.
 *
 *     "MEERKATX"   version (4 bytes)   salt (16)         in the clear, integers little endian
 *     length (4)   a sealed block                        again and again; the last one says so
 *
 * A block is up to ACCOUNT_BLOCK_BYTES of records, each the length of its key and the key, the
 * length of its value and the value; the first record of the first block has no key and says what
 * follows (struct account_file_head). Blocks are sealed by crypto_seal under a key that argon2id
 * makes of the passphrase, in the context of their number, so nothing of the account is readable,
 * and none can be changed, left out, moved, or missing at the end without its being noticed.
 *
 * A file is written under another name and has its own once all of it is on the disk.
 *
 * Errors: ERR_BAD_FIELD (path, passphrase), ERR_STORAGE, ERR_CORRUPT, ERR_INVALID (a newer version,
 * or no such file at all); why says more, to people. One block in memory.
 */
#ifndef KV_ACCOUNT_FILE_H
#define KV_ACCOUNT_FILE_H

#include "base/base.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"

#define ACCOUNT_FILE_WHY_MAX 400

struct account_file_head {
    struct account_id account;
    uint32_t format; /* of the store that it came from */
    uint64_t made_unix_ms;
    bool is_moved; /* the account was suspended there */
};

struct account_file;

/* Takes the time of argon2id. path must not be there. Owns: caller; account_file_close. */
MUST_USE enum err account_file_create(const char *path, struct slice passphrase,
                                      const struct account_file_head *head,
                                      struct account_file **file, char why[ACCOUNT_FILE_WHY_MAX]);
MUST_USE enum err account_file_put(struct account_file *file, struct slice key, struct slice value,
                                   char why[ACCOUNT_FILE_WHY_MAX]);
/* Everything is on the disk, and the file has its name. */
MUST_USE enum err account_file_finish(struct account_file *file, char why[ACCOUNT_FILE_WHY_MAX]);

/* Takes the time of argon2id; a wrong passphrase is ERR_BAD_FIELD. */
MUST_USE enum err account_file_open(const char *path, struct slice passphrase,
                                    struct account_file_head *head, struct account_file **file,
                                    char why[ACCOUNT_FILE_WHY_MAX]);
/* The next row, which borrows until the next call; *is_end: there is none, and it was whole. */
MUST_USE enum err account_file_next(struct account_file *file, struct slice *key,
                                    struct slice *value, bool *is_end,
                                    char why[ACCOUNT_FILE_WHY_MAX]);
/* From the first row on again. */
MUST_USE enum err account_file_rewind(struct account_file *file, char why[ACCOUNT_FILE_WHY_MAX]);

uint64_t account_file_bytes(const struct account_file *file); /* written or read so far */
uint64_t account_file_size(const struct account_file *file);  /* of one that is read */
/* Also removes what was not finished. */
void account_file_close(struct account_file *file);

#endif
