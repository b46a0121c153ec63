/* trip.h - one outbox row on its way: claim, route, attempt, outcome.
 *
 *   CLAIM -> ROUTE -> CONNECT -> SEND -> OUTCOME -> (gone)
 *              ^---------+ next address after a failure of the host
 *
 * A trip ends only when its outcome is committed by the shard, or when the row turned out to be
 * gone. Whatever fails on the way becomes a verdict; nothing is dropped. Retry policy is here:
 * exponential with jitter, up to conf retry_age_ms, then bounced.
 */
#ifndef DELIVER_TRIP_H
#define DELIVER_TRIP_H

#include "deliver/deliver_int.h"

/* Starts a claim for entry; an entry whose row is under way already is dropped. Returns false, and
 * leaves entry alone, when no message is free.
 * Owns: takes entry. */
bool trip_start(struct deliver *deliver, struct sched_entry *entry) MUST_USE;
/* A message of a trip came home. Owns: takes msg. */
void trip_on_msg(struct deliver *deliver, struct msg *msg);
/* Drain deadline: every attempt ends now; outcomes are still recorded. */
void trip_abandon_all(struct deliver *deliver);
/* Says goodbye on every connection that is kept at the site. */
void trip_close_idle(struct site *site);
/* Addresses that mail leaves from, and what is remembered of them (source.h). */
void trip_sources_init(struct deliver *deliver);
void trip_sources_start(struct deliver *deliver);
void trip_sources_reload(struct deliver *deliver);
void trip_sources_stop(struct deliver *deliver);
/* Those of a site's pool, and how many of them are used up for today. */
struct source_tally trip_sources_tally(struct deliver *deliver, const struct site *site);
/* Owns: takes msg. */
void trip_on_source_note(struct deliver *deliver, struct msg *msg);
/* The attempts' callbacks, for idle connections too. */
extern const struct attempt_handler trip_attempt_handler;

#endif
