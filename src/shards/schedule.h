/* schedule.h - mails that wait for their time, as the other behaviours of a shard meet them.
 *
 * MSG_SHARD_SCHEDULE cancels and moves. A claim asks whether its group is one whose time has just
 * come: it is then announced as sent, and recipients who were suppressed since the mail was
 * accepted are left out. Reading comes before writing, as in every handler: foresee, then apply.
 */
#ifndef SHARDS_SCHEDULE_H
#define SHARDS_SCHEDULE_H

#include "shards/shard_int.h"

void schedule_handle(struct shard *shard, struct msg *msg);

struct schedule_due {
    bool is_due;
    bool has_domain;
    bool *is_suppressed; /* of the group's open deliveries */
    struct row_mail mail;
    struct row_domain domain;
    enum mail_status left_status; /* the mail's, once the group's news are written */
};
/* Reads what a claim's group needs to begin; is_due is false for one that did not wait. */
MUST_USE enum err schedule_foresee(struct shard *shard, struct msg *msg, const struct group *group,
                                   struct schedule_due *due);
/* Writes it, and leaves in group what is to be sent; perhaps nothing. */
void schedule_apply(struct shard *shard, struct schedule_due *due, struct group *group);

/* One event for the mail; a domain whose webhook wants to hear of it gets one for each recipient.
 * domain: NULL when it is gone. The caller writes mail, whose counters change. */
struct schedule_news {
    struct slice type;
    const struct slice *recipients;
    uint32_t recipient_count;
};
void schedule_tell(struct shard *shard, const struct row_domain *domain, struct row_mail *mail,
                   const struct schedule_news *news);

/* How far ahead delivery is told of what will be due: what is due later than that waits in the
 * outbox alone, however much it is, and a scan every few minutes brings it. */
#define SCHEDULE_AHEAD_MS (UINT64_C(60) * 60 * 1000)

#endif
