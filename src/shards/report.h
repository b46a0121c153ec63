/* report.h - reports that come to a return path: which mail of ours they are about, and what that
 * changes.
 *
 *      return path, or token in the mail it quotes   --> mail and group, if the signature is ours
 *      recipients it names, or the only one there is --> deliveries
 *      failed: delivered, pending --> bounced    delayed: an event    spam: a complaint
 *
 * Whoever has not received the mail, or carried it, cannot make such an address up, so a forged
 * report changes nothing. Nothing comes back to life: only what is delivered or due can bounce, so
 * the same report twice counts once. For intake.c, which stores the report itself whatever it says.
 */
#ifndef SHARDS_REPORT_H
#define SHARDS_REPORT_H

#include "mail/report_read.h"
#include "shards/shard_int.h"

struct report_hit {
    uint32_t index; /* of the delivery */
    struct row_delivery delivery;
    const struct report_rcpt *said; /* NULL: a complaint */
};

struct report_work {
    bool is_report; /* a recipient is a return path of ours */
    struct report_read said;
    /* found before the rows are written */
    struct row_mail mail;
    struct report_hit *hits;
    uint32_t hit_count;
};

/* Reads the mail, when one of its recipients is a return path of the account. All text is in arena.
 * Any thread. */
void report_look(const struct shard *shard, const struct shard_inbound *body,
                 const struct mime_read *mail, struct arena *arena, struct report_work *work);
/* Reads only. ERR_BUSY: a delivery that it speaks of is being tried at this moment; whoever brings
 * the report comes again. */
MUST_USE enum err report_find(struct shard *shard, const struct shard_inbound *body,
                              struct arena *arena, struct report_work *work);
void report_store(struct shard *shard, struct report_work *work);

#endif
