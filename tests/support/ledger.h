/* ledger.h - what was promised against what happened, for tests that break things under load.
 *
 * The promises are the ids that mailings recorded (load.h); what happened is told by GET
 * /api/messages/:id and by a sink's log. A mail is known by its number, which is also its
 * recipient: several mailings in one ledger share one run of numbers.
 *
 * Like the helpers of world.h these do not return when something is wrong: they print what, with
 * the end of the daemon's log, and abort.
 */
#ifndef SUPPORT_LEDGER_H
#define SUPPORT_LEDGER_H

#include "base/base.h"
#include "support/load.h"
#include "support/world.h"

#define LEDGER_MAX 200000 /* numbers */

struct fate {
    const struct mailing_entry *entry; /* the mailing's; NULL: not acknowledged */
    const char *key;
    uint32_t excuses; /* attempts that may have delivered without anybody knowing */
    uint32_t arrivals;
    char message_id[80]; /* of the first arrival; the webhook-id of a webhook */
    bool is_delivered;
};

struct ledger {
    struct world *world;
    const char *status; /* member of the message that becomes "delivered" */
    struct fate *fates; /* by number, LEDGER_MAX */
    uint64_t *pending;  /* numbers acknowledged and not known to be delivered */
    uint64_t pending_count;
    uint64_t twice; /* out of ledger_judge: mails that arrived more than once */
    uint64_t excuses;
    uint64_t unasked; /* arrivals of mails that were not acknowledged */
};

/* Of sent mails; for received ones set status to "webhook_status" then. */
void ledger_init(struct ledger *ledger, struct world *world);
void ledger_fini(struct ledger *ledger);
/* Enters all that the mailing's 202s promised. It must not be touched until ledger_fini. */
void ledger_add(struct ledger *ledger, const struct mailing *mailing);
/* Every pending message can be read; those delivered are pending no more. */
void ledger_read(struct ledger *ledger);
/* Reads until none is pending. */
void ledger_await(struct ledger *ledger, uint64_t ms);
/* Counts the arrivals in what the sink wrote under --log. */
void ledger_read_sink(struct ledger *ledger, const char *path);
/* The same with the webhooks that the sink kept: their recipient tells the number. */
void ledger_read_hooks(struct ledger *ledger, const struct peer *sink);
/* Every promised mail arrived, and more than once only where the log of its delivery has an
 * attempt of unknown outcome for each further arrival, under the same Message-ID. */
void ledger_judge(struct ledger *ledger);

/* A counter or gauge of GET /metrics. */
long long metric_of(struct world *world, const char *name);

#endif
