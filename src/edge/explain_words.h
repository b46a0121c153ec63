/* explain_words.h - facts about a mail that is not delivered yet, in words.
 *
 * From what the rows hold and what the schedule knows (shards/msg_explain.h) follow, for each
 * delivery, a state in one word, a sentence or two, since when, what comes next, and what to do.
 * The first reason that keeps the delivery back is the one that is told: what stands behind it
 * shows once that is gone. Pure: nothing is read, the time is the caller's.
 */
#ifndef EDGE_EXPLAIN_WORDS_H
#define EDGE_EXPLAIN_WORDS_H

#include "base/arena.h"
#include "base/base.h"
#include "base/slice.h"
#include "shards/msg.h"

/* What is known. All of it stays the caller's. */
struct explain_case {
    const struct row_mail *mail;
    const struct mail_facts *facts;
    const struct delivery_facts *delivery;
    const struct explain_entry *entry;      /* of its outbox row; NULL: it has none */
    const struct deliver_explain *schedule; /* NULL: delivery was not asked */
    uint64_t retry_age_ms;                  /* then a mail is given up */
    uint64_t now_unix_ms;
};

struct explanation {
    const char *state;      /* "paused"; static */
    bool is_done;           /* nothing follows */
    bool needs_action;      /* it will not be delivered unless somebody does something */
    const char *text;       /* for people; in the arena */
    const char *advice;     /* a command or a sentence; empty: none. Likewise, or static */
    uint64_t since_unix_ms; /* 0: not known */
    uint64_t next_unix_ms;  /* when it goes on; 0: not known */
    uint64_t until_unix_ms; /* when it is given up; 0: not so */
};

/* Of one delivery. Text of others is shown without control characters and cut. */
void explain_delivery(const struct explain_case *facts, struct arena *arena,
                      struct explanation *out);

/* What is to be said of the mail as a whole, beside its deliveries. delivery and entry of the case
 * are not looked at. Returns how many. */
#define EXPLAIN_NOTES_MAX 6
uint32_t explain_mail(const struct explain_case *facts, struct arena *arena,
                      struct explanation notes[EXPLAIN_NOTES_MAX]);

/* What a class of refusals means, and what to do about it; empty texts for none. Static. */
struct explain_class {
    const char *meaning;
    const char *advice;
};
const struct explain_class *explain_class(enum bounce_class class);

/* "3 m ago", "in 2 h": the distance of a time, in the arena. */
const char *explain_time(uint64_t unix_ms, uint64_t now_unix_ms, struct arena *arena);

#endif
