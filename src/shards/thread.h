/* thread.h - conversations: which one a mail belongs to. For the behaviours of a shard.
 *
 * The names of a mail are taken by whoever reads it, on a worker; the thread is found and written
 * on the loop, in the batch that stores the mail.
 */
#ifndef SHARDS_THREAD_H
#define SHARDS_THREAD_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/row.h"
#include "mail/mime_read.h"

struct shard;

#define THREAD_REFS_MAX 8 /* references that are looked up, the newest ones */

/* Message-IDs that a mail names, those it is known by first. */
struct thread_names {
    struct slice *items;
    uint32_t count;
    uint32_t own_count; /* its own and its conversation's first */
};

struct thread_place {
    struct row_thread row; /* text in the shard's scratch arena */
    bool is_new;           /* row is empty yet */
    uint32_t taken;        /* own names that mean a thread already, a bit each */
};

/* In arena. Any thread. */
void thread_names_of(const struct mime_read *mail, struct arena *arena, struct thread_names *names);
/* The thread that one of the names belongs to. Reads only. */
MUST_USE enum err thread_find(struct shard *shard, struct account_id account,
                              const struct thread_names *names, struct thread_place *place);
/* Adds a mail (id, subject, direction, time) to the thread that was found, or to a new one. */
struct id thread_add(struct shard *shard, const struct thread_names *names,
                     struct thread_place *place, const struct row_mail *mail);

#endif
