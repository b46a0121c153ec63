/* sched.h - what is due when, and whose turn it is; memory only.
 *
 * An entry is an outbox row as delivery knows it. What is not yet due waits in one heap; what is
 * due needs its site. Entries of a domain hang together at a `dest`, which knows the site once
 * somebody has looked up which hosts take the domain's mail (sched_next_unknown, sched_resolve);
 * until then they wait there.
 *
 *   waiting heap --due--> dest --site known--> site.lanes[class][account] --turn--> sched_next
 *                           +--not known--> waits for the look-up
 *
 * Turns: transactional mail goes before bulk, but of SCHED_BULK_EVERY turns one is bulk's, over all
 * and at each site. Within a class sites take turns, and at a site accounts do. Nobody may take all
 * the trips there are: an account or site gets one more only while it has less than SCHED_SHARE
 * times what is free, so that however many are greedy, some room is always left for a newcomer. An
 * account begins with a few trips and gets one more for each that ends, so that what was held back
 * (a suspended account, a long stop) does not come out at once.
 *
 * A row is known once: announced again it moves to its new due time. At most SCHED_ENTRIES_MAX
 * entries, under 100 bytes each (bench_sched); what does not fit stays in the outbox and is
 * announced again.
 */
#ifndef DELIVER_SCHED_H
#define DELIVER_SCHED_H

#include <uthash.h>

#include "base/base.h"
#include "base/heap.h"
#include "base/id.h"
#include "base/list.h"
#include "deliver/site.h"
#include "shards/msg.h"

#define SCHED_BULK_EVERY     10
#define SCHED_SHARE          3
#define SCHED_ACCOUNT_BEGINS 32 /* trips of an account that was not seen before */

struct sched_entry {
    struct heap_node due; /* key: when it is due, while waiting */
    union {
        struct sched_entry *next; /* in its lane or dest, when due */
        struct site *site;        /* where it counts, in flight: its dest may have moved on */
    };
    struct dest *dest;
    struct id mail;       /* carries the account */
    uint64_t due_unix_ms; /* of the outbox key */
    uint32_t group;
    uint8_t priority;     /* enum mail_priority */
    bool is_waiting : 1;  /* in the heap */
    bool is_laned : 1;    /* counted in a lane, or was */
    bool is_open : 1;     /* in flight */
    bool is_hastened : 1; /* by the operator: goes before its row is due */
    bool is_given_up : 1; /* by the operator: the trip bounces it */
};

struct sched_queue {
    struct sched_entry *first;
    struct sched_entry *last;
};

/* A recipient domain (or webhook origin) under a sending pool. Lives while it has entries. */
struct dest {
    struct link link; /* in sched->unknown, while somebody has to look it up */
    struct site *site;
    uint64_t fresh_until_ms;  /* then it is looked up anew; monotonic */
    struct sched_queue queue; /* due, until the site is known */
    uint32_t entries;         /* in the schedule, those in flight too */
    bool is_asked;            /* handed out by sched_next_unknown */
    bool has_transactional;   /* in queue */
    bool is_hook;             /* a webhook's origin */
    UT_hash_handle hh;        /* by key */
    uint16_t pool_len;        /* of key */
    char key[];               /* "pool|domain", terminated; the pool may be empty */
};

/* Whether the operator holds an account; at that site only when it is not NULL. */
typedef bool sched_held_fn(void *owner, struct account_id account, const struct site *site);

struct sched {
    struct heap waiting;
    struct heap timed; /* sites that only time keeps from admitting */
    struct site_table *sites;
    struct dest *dests;
    struct lane *lanes;
    struct tenant *tenants;
    struct link ready[PRIORITY_COUNT];
    struct link crowded[PRIORITY_COUNT]; /* sites that have their share */
    struct sched_queue given_up;         /* by the operator: go whatever their sites say */
    struct sched_queue loose;            /* have to find their sites again */
    sched_held_fn *is_held;              /* NULL: nobody is */
    void *held_owner;
    struct link parked; /* tenants with lanes that wait for their share */
    struct link unknown[PRIORITY_COUNT];
    struct slab *slabs;
    struct sched_entry *unused;
    struct sched_entry **rows; /* all but those in flight, by mail and group; open addressing */
    uint32_t row_capacity;
    uint32_t row_count;
    uint32_t count;
    uint32_t hook_count;  /* of them, webhooks */
    uint32_t ready_count; /* due, in lanes */
    uint32_t due[PRIORITY_COUNT];
    uint32_t open[PRIORITY_COUNT]; /* in flight */
    uint32_t turns;
    uint64_t now_unix_ms; /* of the last sched_advance */
    uint64_t now_ms;
};

void sched_init(struct sched *sched, struct site_table *sites);
/* Frees every entry. */
void sched_fini(struct sched *sched);

/* False when full. ready_unix_ms: when it may be tried, at or after its outbox due time. */
bool sched_add(struct sched *sched, const struct outbox_entry *entry,
               uint64_t ready_unix_ms) MUST_USE;
/* Moves what is due to its site's lanes, and sites whose time has come into the turn; returns when
 * the next entry is due (UINT64_MAX: none). */
uint64_t sched_advance(struct sched *sched, uint64_t now_unix_ms, uint64_t now_ms);

/* The next domain with due entries whose site is not known, NULL when there is none; the caller
 * looks it up and says so with sched_resolve. */
struct dest *sched_next_unknown(struct sched *sched);
/* Its site, by name (site.h), until fresh_until_ms; rules as for site_get. */
void sched_resolve(struct sched *sched, struct dest *dest, struct slice site,
                   const struct site_rules *rules, uint64_t fresh_until_ms);
/* The look-up was given up: it is handed out again. */
void sched_unask(struct sched *sched, struct dest *dest);
/* Every domain is looked up anew when next something of it is due. */
void sched_ask_again(struct sched *sched);
struct slice dest_domain(const struct dest *dest);
struct slice dest_pool(const struct dest *dest);

/* The next entry that its site admits, removed; NULL when there is none. free: trips that may still
 * start, this one included. It counts as one trip of its site and account until sched_done.
 * Owns: the caller, who ends it with sched_done. */
struct sched_entry *sched_next(struct sched *sched, uint32_t free, uint64_t now_ms);
/* The trip of entry at site is over: entry and trip are gone. */
void sched_done(struct sched *sched, struct sched_entry *entry, struct site *site);
/* Something about the site has changed that may let it admit: feedback, rules, release. */
void sched_site_changed(struct sched *sched, struct site *site);
/* When the first site may admit that only time keeps from it; UINT64_MAX: none. Monotonic. */
uint64_t sched_next_site_ms(const struct sched *sched);

/* ---- for the operator ------------------------------------------------------------------------ */

/* What is_held says of the account (at site, when it is not NULL) has changed. */
void sched_held_changed(struct sched *sched, struct account_id account, struct site *site);
/* Whatever leads to the site is looked up anew, what is due there first of all. */
void sched_loosen(struct sched *sched, struct site *site);
/* What is due of the site, or of the account, or of the account there, will be handed out as given
 * up. Returns how many that are; account 0, site NULL: whichever. */
uint32_t sched_give_up_lanes(struct sched *sched, struct site *site, struct account_id account);
/* The same for an entry that stands elsewhere; false when it is in flight or was counted above. */
bool sched_give_up(struct sched *sched, struct sched_entry *entry);
/* A waiting entry becomes due at ready_unix_ms, unless it would be sooner. */
bool sched_hasten(struct sched *sched, struct sched_entry *entry, uint64_t ready_unix_ms);

/* The entry of a row that is not in flight, NULL: it is not in memory; and a domain, NULL: nothing
 * of it is. */
struct sched_entry *sched_find(const struct sched *sched, struct id mail, uint32_t group);
struct dest *sched_find_dest(const struct sched *sched, struct slice pool, struct slice domain);
/* What goes before an entry that stands in line at its site, as far as one may look and say. False:
 * it stands in no line. */
struct sched_line {
    uint32_t ahead;
    bool has_more;   /* at least so many */
    bool is_waiting; /* its account has as many trips as it may */
};
bool sched_line_of(const struct sched *sched, const struct sched_entry *entry,
                   struct sched_line *line) MUST_USE;

/* Since when the first entry at a site is due, as far as one may look; 0: none is. */
uint64_t sched_oldest(const struct site *site);
/* The same of each class; 0: none is due. */
void sched_oldest_by(const struct site *site, uint64_t oldest_unix_ms[PRIORITY_COUNT]);

/* Looks at every entry, some at a time, while the schedule goes on: what comes meanwhile may be
 * missed, what was there at the beginning and still is will not be. Zeroed: at the beginning. */
struct sched_cursor {
    const struct slab *slab;
    uint32_t index;
    bool has_begun;
};
typedef void sched_visit_fn(void *context, struct sched_entry *entry);
struct sched_visit {
    sched_visit_fn *fn;
    void *context;
};
/* At most so many places, used or not; false when all have been seen. */
bool sched_walk(struct sched *sched, struct sched_cursor *cursor, uint32_t places,
                const struct sched_visit *visit) MUST_USE;

#endif
