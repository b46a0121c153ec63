/* fact.h - the numbers in rows that kv must understand to compare one row with another.
 *
 * Their owners are the shards (shards/words.h, shards/shard_int.h), which kv may not include;
 * shards/repair.c asserts that both say the same. Nothing here is ever changed: the numbers are on
 * disks.
 */
#ifndef KV_FACT_H
#define KV_FACT_H

#include "base/arena.h"
#include "base/base.h"
#include "base/slice.h"

enum fact_status {
    FACT_PENDING,
    FACT_SCHEDULED,
    FACT_DELIVERED,
    FACT_DEFERRED,
    FACT_BOUNCED,
    FACT_FAILED,
    FACT_SUPPRESSED,
    FACT_STATUS_COUNT
};

enum fact_kind { FACT_SMTP, FACT_WEBHOOK };
enum fact_direction { FACT_OUTBOUND, FACT_INBOUND };
enum fact_domain { FACT_DOMAIN_PENDING, FACT_DOMAIN_VERIFIED, FACT_DOMAIN_FAILED };

#define FACT_ROLE_OWNER 0
#define FACT_GROUP_NONE UINT32_C(0xffffffff) /* of a recipient that was never due */
#define FACT_GROUP_HOOK UINT32_C(0x80000000) /* with the delivery's index: a webhook's */
#define FACT_EXPIRED    UINT32_C(1)          /* kind of the ledger's row: the last day dropped */

static inline bool fact_is_open(uint8_t status)
{
    return status == FACT_PENDING || status == FACT_SCHEDULED || status == FACT_DEFERRED;
}

/* Of mails; those that are not decided by their deliveries have no name here. */
enum fact_mail { FACT_MAIL_QUEUED, FACT_MAIL_DEFERRED, FACT_MAIL_DELIVERED, FACT_MAIL_BOUNCED };
#define FACT_MAIL_SCHEDULED  5
#define FACT_MAIL_FAILED     6
#define FACT_MODE_LIVE       0
#define FACT_REHEARSAL_NONE  0
#define FACT_REHEARSAL_PLAIN 1

/* "https://host:port", by which delivery governs a webhook's endpoint. */
struct slice fact_origin(struct slice url, struct arena *arena);

#endif
