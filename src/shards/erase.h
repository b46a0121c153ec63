/* erase.h - one mail and everything that is stored of it, gone in one batch.
 *
 * In two steps, because every read that may fail comes before the first write: what only the store
 * knows is looked up, then the rows go. For the behaviours of a shard; whoever calls has seen that
 * no delivery of the mail is open.
 */
#ifndef SHARDS_ERASE_H
#define SHARDS_ERASE_H

#include "base/arena.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/row.h"

struct shard;

#define ERASE_NAMES_MAX 2

struct erase_plan {
    struct id mail;
    uint32_t file_day; /* the day its attachments expire on; 0: they have none, or are gone */
    bool has_thread;
    struct row_thread thread;
    struct sha256 names[ERASE_NAMES_MAX]; /* by which nobody finds the thread any more */
    uint32_t name_count;
    struct slice mailboxes; /* pack of ids, 16 bytes each */
    const struct id *hooks; /* its deliveries that have a reference */
    uint32_t hook_count;
};

/* What has to go with a mail, without its hooks. Text is in arena. A damaged row beside the mail's
 * own does not keep the mail.
 * Loop:   the shard's.
 * Errors: ERR_STORAGE. */
MUST_USE enum err erase_plan(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                             struct erase_plan *plan);
/* Whether a delivery has a reference (delivery_ref): webhooks and forwarded mail. */
bool erase_has_ref(const struct row_delivery *row);
/* Adds the hooks, by reading every delivery. */
MUST_USE enum err erase_find_hooks(struct shard *shard, const struct row_mail *mail,
                                   struct arena *arena, struct erase_plan *plan);
/* Everything of the mail that this batch and those before it wrote goes; so nothing more may be
 * written of it afterwards. */
void erase_apply(struct shard *shard, const struct erase_plan *plan);

#endif
