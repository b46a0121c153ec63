/* account_seals.h - rows of an account between this server's master key and a file.
 *
 * Private keys and webhook secrets lie under keys of this server, in the context of their row. In a
 * file they lie in the clear, because the file is sealed as a whole (kv/account_file.h). What holds
 * on one server only is left behind: leases of deliveries, open sessions, and that a person may run
 * the server.
 */
#ifndef SHARDS_ACCOUNT_SEALS_H
#define SHARDS_ACCOUNT_SEALS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/slice.h"

struct account_seals {
    struct seal_key dkim;
    struct seal_key hook;
    bool lifts_suspension; /* export: it was suspended only to be moved */
};

void account_seals_init(struct account_seals *seals, const struct seal_key *master);
/* out (cleared first) becomes the row as a file has it, or as this server has it. What is needed
 * meanwhile is in scratch, which is to be marked secret. ERR_CORRUPT for a row that cannot be read,
 * or a secret that is not of this server. */
MUST_USE enum err account_row_export(const struct account_seals *seals, struct slice key,
                                     struct slice value, struct arena *scratch, struct buf *out);
MUST_USE enum err account_row_import(const struct account_seals *seals, struct slice key,
                                     struct slice value, struct arena *scratch, struct buf *out);

#endif
