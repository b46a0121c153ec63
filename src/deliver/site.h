/* site.h - a destination as policy sees it: how many connections at once, and when to leave it
 * alone.
 *
 * For now a site is a recipient domain, or the smarthost for all. Concurrency starts low, rises by
 * one per success up to the ceiling, and halves on a failure of the host (not of a recipient).
 * After SITE_FAILURES_MAX host failures in a row the circuit opens: nothing is tried for a pause
 * that doubles with each further failure, then a single probe goes out.
 *
 * A site also keeps its idle connections (opaque links of attempt_smtp), newest first.
 */
#ifndef DELIVER_SITE_H
#define DELIVER_SITE_H

#include <uthash.h>

#include "base/base.h"
#include "base/id.h"
#include "base/list.h"
#include "base/slice.h"

#define SITE_NAME_MAX 256

/* The entries of one account at one site. */
struct lane {
    struct link link;    /* in site->lanes */
    struct link entries; /* of struct sched_entry */
    struct account_id account;
};

struct site_table;

struct site {
    struct site_table *table;
    char name[SITE_NAME_MAX]; /* terminated */
    struct link link;         /* in the table's ready list, while it has due entries */
    struct link lanes;
    struct link idle_conns;
    uint32_t idle_count;
    uint32_t entries;         /* in the schedule */
    struct link queue;        /* trips that are claimed and wait for a connection */
    uint32_t open;            /* trips, from claim to outcome */
    uint32_t busy;            /* of them, those that use a connection */
    uint32_t limit;           /* connections in use at once, by feedback */
    uint32_t failures;        /* of the host, in a row */
    uint64_t closed_until_ms; /* monotonic; 0: circuit closed, traffic flows */
    UT_hash_handle hh;        /* by name */
};

struct site_table *site_table_new(uint32_t limit_max);
void site_table_free(struct site_table *table);
/* Finds or makes. */
struct site *site_get(struct site_table *table, struct slice name);
/* Forgets the site when nothing of it is left (no entries, attempts, connections, bad record). */
void site_put(struct site *site);
/* Whether one more trip may start now: SITE_TRIPS_PER_CONN for each connection, so that claims and
 * outcomes (a commit each) are under way while the connections are kept busy. */
#define SITE_TRIPS_PER_CONN 4
bool site_admits(const struct site *site, uint64_t now_ms);
enum site_feedback { SITE_GOOD, SITE_HOST_FAILED };
void site_feedback(struct site *site, enum site_feedback feedback, uint64_t now_ms);
uint32_t site_table_count(const struct site_table *table);
/* The earliest time at which a closed circuit with due entries opens; UINT64_MAX when none. */
uint64_t site_next_opening_ms(const struct site_table *table);

/* Any site that keeps an idle connection; NULL when none does. */
struct site *site_table_idle(const struct site_table *table);

/* The sites with due entries, for sched. */
struct link *site_table_ready(struct site_table *table);

#endif
