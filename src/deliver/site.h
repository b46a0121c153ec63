/* site.h - a destination as policy sees it: how many connections and mails a minute it takes, and
 * when to leave it alone.
 *
 * A site is a group of mail hosts (policy.h says which) under one sending pool, a webhook's origin,
 * or the smarthost for all. What it takes is found out by asking:
 *
 * connections  start low, rise by one for each success up to the ceiling, halve on a failure of the
 *              host. "Too many connections" lowers them by a quarter and is not asked for again
 *              for a while.
 * rate         none until the policy or a throttling answer sets one: then it halves for each
 *              second with such an answer and rises again in every good one, first quickly up to
 *              where it went wrong, then slowly beyond.
 * circuit      after SITE_FAILURES_MAX failures in a row nothing is tried for a pause that doubles
 *              with each further failure, then a single probe goes out. A host that blocks us
 *              counts double and is left alone for longer. What follows begins small again.
 *
 * Everything here is arithmetic on a time that the caller gives; whose turn it is, sched says.
 */
#ifndef DELIVER_SITE_H
#define DELIVER_SITE_H

#include <uthash.h>

#include "base/base.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/slice.h"
#include "deliver/feedback.h"
#include "shards/msg.h"

#define SITE_NAME_MAX    320 /* pool, bar, host group */
#define SITE_REASON_MAX  160
#define SITE_RATE_MIN    6 /* mails a minute: one every ten seconds finds out whether more go */
#define SITE_NEVER       UINT64_MAX
#define SITE_CONNS_START 4

/* What the policy grants. 0: no ceiling of this kind. */
struct site_rules {
    uint32_t conns_max;
    uint32_t conns_start;
    uint32_t rate_max; /* mails a minute */
    uint32_t rate_start;
    uint32_t mails_per_conn;
    uint32_t rcpts_max; /* of one transaction */
    uint64_t pause_ms;  /* the first pause of the circuit */
    bool is_provider;   /* a named one, not everybody else */
};

struct site_table;

struct site {
    struct site_table *table;
    char name[SITE_NAME_MAX]; /* "pool|group", "group" for the default pool; terminated */
    struct site_rules rules;

    /* sched's */
    struct link lanes[PRIORITY_COUNT]; /* accounts with due entries */
    struct link ready[PRIORITY_COUNT]; /* in sched's turn, while it may admit */
    struct heap_node wake;        /* in sched's heap, while only time keeps it from admitting */
    uint32_t due[PRIORITY_COUNT]; /* entries in lanes */
    uint32_t turns;
    uint32_t dests;        /* domains that lead here */
    uint32_t entries;      /* of those, whatever they wait for */
    struct link lanes_all; /* those that are put aside too */

    /* trips' */
    struct link idle_conns;
    uint32_t idle_count;
    struct link queue; /* trips that are claimed and wait for a connection */
    uint32_t open;     /* trips, from claim to outcome */
    uint32_t busy;     /* of them, those that use a connection */
    bool is_serving;   /* the queue: whoever ends meanwhile leaves it to the one that does */

    /* what was found out */
    uint32_t limit;           /* connections in use at once */
    uint32_t limit_bad;       /* so many were too many; 0: not known */
    uint64_t limit_cut_ms;    /* when it was lowered for that */
    uint32_t mails_per_conn;  /* the host ended connections after so many; 0: not known */
    uint32_t failures;        /* of the host, in a row */
    uint64_t closed_until_ms; /* monotonic; 0: circuit closed, traffic flows */
    bool is_ending_old;       /* while closed: what is due is claimed to see how old it is */
    uint64_t alone_until_ms;  /* until then its domain belongs to no other site; monotonic */
    bool is_held;             /* by the operator */
    uint32_t rate;            /* mails a minute; 0: as many as there are */
    uint32_t rate_bad;        /* the rate that was too much; 0: not known */
    uint64_t rate_cut_ms;
    uint64_t rate_rise_ms;
    bool is_rate_bound; /* the rate kept a mail waiting since it rose last */
    int64_t tokens;     /* 1/60000 mail */
    uint64_t tokens_ms;
    uint32_t meter_count; /* mails taken since meter_ms, and a minute's worth before */
    uint64_t meter_ms;
    uint32_t meter_before;
    uint64_t good_total;
    uint64_t throttled_total;
    uint64_t failed_ms; /* when `reason` was said */
    char reason[SITE_REASON_MAX];
    UT_hash_handle hh; /* by name */
};

struct site_table *site_table_new(uint32_t limit_max);
void site_table_free(struct site_table *table);
/* Finds or makes. rules count for a new one; NULL: those for everybody. */
struct site *site_get(struct site_table *table, struct slice name, const struct site_rules *rules);
/* NULL: nobody sends there, and nothing is remembered. */
struct site *site_find(const struct site_table *table, struct slice name);
/* Forgets the site when nothing of it is left (no entries, trips, connections, bad record). */
void site_put(struct site *site);
/* After the policy was read anew: what was found out stays as far as the new rules allow. */
void site_set_rules(struct site *site, const struct site_rules *rules);

/* When one more trip may start: 0 for now, a time of the future, or SITE_NEVER as long as no trip
 * ends. A site has SITE_TRIPS_PER_CONN trips for each connection, so that claims and outcomes (a
 * commit each) are under way while the connections are kept busy; bulk mail leaves one of them. */
#define SITE_TRIPS_PER_CONN 4
uint64_t site_admits_ms(struct site *site, enum mail_priority priority, uint64_t now_ms);
/* A trip starts: takes its mail from the rate. */
void site_take(struct site *site, uint64_t now_ms);
/* One more mail of a trip that has started. */
void site_spend(struct site *site, uint64_t now_ms);
/* reason: what the host said, kept for the operator when it is bad. */
void site_feedback(struct site *site, enum feedback feedback, const char *reason, uint64_t now_ms);
/* The probe that failed was too old to be tried again, so others may be: until something is heard
 * of the host, trips are admitted one at a time, which try nothing. */
void site_end_old(struct site *site);
/* The host ended a kept connection after so many mails. */
void site_conn_ended(struct site *site, uint32_t mails);
uint32_t site_mails_per_conn(const struct site *site);
/* By the operator: nothing is admitted; and again, from small beginnings. */
void site_hold(struct site *site);
void site_release(struct site *site, uint64_t now_ms);
/* What went wrong is forgotten, an open circuit too; it begins small. */
void site_reset(struct site *site, uint64_t now_ms);

uint32_t site_table_count(const struct site_table *table);
/* Mails a minute that it takes at present, as far as one can say; 0: none. */
uint32_t site_per_min(const struct site *site, uint64_t now_ms);
/* The first one, then the one behind; NULL at the end. None may be put in between. */
struct site *site_table_next(const struct site_table *table, const struct site *site);
/* How many have an open circuit at now. */
uint32_t site_table_closed(const struct site_table *table, uint64_t now_ms);
/* Any site that keeps an idle connection; NULL when none does. */
struct site *site_table_idle(const struct site_table *table);

#endif
