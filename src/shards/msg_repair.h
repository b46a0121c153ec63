/* msg_repair.h - the message that has a shard repair rows of its own, SHARD_REPAIR.
 *
 * A part of msg.h, which includes it: findings of a verification, and what became of each. Only the
 * shard that owns the rows may write them, so it looks at each again, through its open batches.
 */
#ifndef SHARDS_MSG_REPAIR_H
#define SHARDS_MSG_REPAIR_H

#include "base/base.h"
#include "kv/repair.h"

#define REPAIR_AT_ONCE 8 /* findings a message: a handler may take a fraction of a millisecond */

struct shard_repair {
    bool is_dry; /* says what it would do */
    struct verify_finding *findings;
    uint32_t count;
    /* out */
    struct repair_deed *deeds; /* as many */
};

#endif
