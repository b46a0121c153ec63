/* deliver.h - the delivery actor: owns what is due when, and every attempt.
 *
 * It holds only memory: the schedule (sched), what is known of destinations (site), the attempts in
 * flight. Truth stays in the accounts' outbox rows: this actor can be killed at any instruction and
 * is rebuilt by the shards' wakes. A due entry that its site admits is claimed from its shard
 * (which leases the row durably and signs the headers), resolved (route), tried (attempt_smtp), and
 * its verdicts go back with SHARD_OUTCOME. It also answers DELIVER_VERIFY (attempt_dns) and drives
 * expiry of attachments by day.
 */
#ifndef DELIVER_DELIVER_H
#define DELIVER_DELIVER_H

#include "base/conf.h"
#include "net/loop.h"
#include "shards/actor.h"
#include "shards/place.h"

struct deliver;

/* Owns: caller; deliver_free after the loop ended. Call before the loop runs. Errors are fatal
 * here: a smarthost that does not parse, a CA file that cannot be read. */
struct deliver *deliver_new(const struct place *place, struct loop *loop);
void deliver_free(struct deliver *deliver);
struct actor *deliver_actor(struct deliver *deliver);

#endif
