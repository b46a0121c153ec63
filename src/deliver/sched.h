/* sched.h - what is due when, by site; memory only.
 *
 * An entry is an outbox row as delivery knows it: its key, its due time, its site. Entries that are
 * not yet due wait in one heap; due ones move to their site's queue, and within a site accounts
 * take turns, so that one account's million does not hold up another's password reset. Sites that
 * have work and room take turns too.
 *
 * At most SCHED_ENTRIES_MAX entries, about 100 bytes each; what does not fit stays in the outbox
 * and is announced again.
 */
#ifndef DELIVER_SCHED_H
#define DELIVER_SCHED_H

#include "base/base.h"
#include "base/heap.h"
#include "base/id.h"
#include "base/list.h"
#include "deliver/site.h"
#include "shards/msg.h"

struct sched_entry {
    struct heap_node due; /* key: due_unix_ms, while waiting */
    struct link link;     /* in its lane, when due */
    struct site *site;
    struct id mail;       /* carries the account */
    uint64_t due_unix_ms; /* of the outbox key */
    uint32_t group;
};

struct sched {
    struct heap waiting;
    struct site_table *sites;
    uint32_t count;
    uint32_t ready_count; /* due, in lanes */
};

void sched_init(struct sched *sched, struct site_table *sites);
/* Frees every entry. */
void sched_fini(struct sched *sched);
/* False when full. ready_unix_ms: when it may be tried, at or after its outbox due time. */
bool sched_add(struct sched *sched, const struct outbox_entry *entry,
               uint64_t ready_unix_ms) MUST_USE;
/* Moves what is due at now to its site's lanes; returns when the next one is due (UINT64_MAX:
 * none). */
uint64_t sched_advance(struct sched *sched, uint64_t now_unix_ms);
/* The next entry that its site admits, removed; NULL when there is none.
 * Owns: the caller, who ends it with sched_free. */
struct sched_entry *sched_next(struct sched *sched, uint64_t now_ms);
void sched_free(struct sched *sched, struct sched_entry *entry);

#endif
