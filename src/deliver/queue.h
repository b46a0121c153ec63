/* queue.h - what the operator sees of the schedule, and does to it (DELIVER_QUEUE).
 *
 * A hold is the operator's word that outlives the schedule: a site, an account, an account at a
 * site, or everything, that nothing is sent for (pause), or a site whose mail leaves from another
 * pool (move). It is on disk (NOTE_HOLD) before the operator hears that it is done, and it is read
 * before anything leaves. Retry and expire are done once to what is queued now.
 *
 * Nothing looks at every entry in one go: counting a million of them takes its turns with the rest
 * of the loop.
 */
#ifndef DELIVER_QUEUE_H
#define DELIVER_QUEUE_H

#include "deliver/deliver_int.h"

struct queue;

/* Owns: the caller, who ends it with queue_free after queue_stop and the loop. */
struct queue *queue_new(struct deliver *deliver);
void queue_free(struct queue *queue);
/* Reads the holds; deliver_pump is called when they are known. */
void queue_start(struct queue *queue);
/* Whoever waits for a count hears ERR_DRAINING. */
void queue_stop(struct queue *queue);
/* Whether the holds are known: nothing leaves before. */
bool queue_is_ready(const struct queue *queue);
/* Whether the operator holds everything: then no trip is begun. */
bool queue_holds_all(const struct queue *queue);
/* Whether the operator holds that, the site, the account, or the account there. */
bool queue_is_held(const struct queue *queue, const struct site *site, struct account_id account);
/* The hold that keeps the account's mail to a site (by name; empty: not known) back; text in arena.
 * False: there is none. */
bool queue_find_hold(const struct queue *queue, struct slice site, struct account_id account,
                     struct arena *arena, struct queue_hold *out) MUST_USE;
/* As the operator is shown it; text in arena. */
void queue_show_site(struct queue *queue, const struct site *site, struct arena *arena,
                     struct queue_site *out);
/* A DELIVER_QUEUE. Owns: takes msg. */
void queue_handle(struct queue *queue, struct msg *msg);
/* A SHARD_NOTE of kind NOTE_HOLD came home. Owns: takes msg. */
void queue_on_note(struct queue *queue, struct msg *msg);

#endif
