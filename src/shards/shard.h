/* shard.h - the account actor: owns one column family and everything about the accounts in it.
 *
 * One switch over the message kinds it handles; each case is one call into account.c, domain.c,
 * outbound.c, mail_view.c. Commit cycle: handlers add rows to the filling batch and park their
 * message on it; at the end of a drain, when no batch is flying, the filling one is posted to the
 * committer; when it comes home, its parked messages are returned and its new outbox rows announced
 * to delivery. An answer therefore means it is on disk.
 *
 * Boot: CONTROL_START scans the outbox on a worker and announces it in pages of WAKE_ENTRIES_MAX,
 * as fast as delivery takes them. The outbox is the truth, the schedule a cache: a sweep every ten
 * minutes announces again what is overdue and held by nobody.
 *
 * One more instance of this actor, without accounts, holds delivery's own family (SHARD_LEDGER).
 */
#ifndef SHARDS_SHARD_H
#define SHARDS_SHARD_H

#include "kv/kv.h"
#include "shards/actor.h"
#include "shards/place.h"

struct shard;

/* family: 0 .. shard_count - 1, or KV_FAMILY_DELIVER.
 * Owns: caller; shard_free after the loop ended. Call before the loop runs. */
struct shard *shard_new(const struct place *place, struct kv *kv, uint32_t family,
                        struct loop *loop);
void shard_free(struct shard *shard);
struct actor *shard_actor(struct shard *shard);

#endif
