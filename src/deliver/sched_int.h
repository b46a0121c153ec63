/* sched_int.h - what the files of the schedule share; included nowhere else.
 *
 * sched.c has entries, lanes and turns; sched_operator.c what the operator does to all of that.
 */
#ifndef DELIVER_SCHED_INT_H
#define DELIVER_SCHED_INT_H

#include "deliver/sched.h"

#define SLAB_ENTRIES 4096

struct slab {
    struct slab *next;
    struct sched_entry entries[SLAB_ENTRIES];
};

/* An account with due entries or trips. */
struct tenant {
    struct account_id account;
    uint32_t open;   /* trips */
    uint32_t window; /* trips it may have, whatever is free */
    uint32_t lanes;
    bool is_held;     /* by the operator */
    struct link link; /* in sched->parked, while it has parked lanes */
    struct link lanes_parked;
    struct link lanes_held; /* because it is, or they are */
    struct link lanes_all;
    UT_hash_handle hh;
};

/* The due entries of one account at one site in one class. */
struct lane {
    struct lane_key {
        struct site *site;
        struct account_id account;
        uint64_t priority;
    } key;
    struct link link;      /* in site->lanes, tenant->lanes_parked or tenant->lanes_held */
    struct link at_site;   /* in site->lanes_all */
    struct link at_tenant; /* in tenant->lanes_all */
    struct tenant *tenant;
    struct sched_queue queue;
    uint32_t count;
    bool is_parked; /* or put aside: not at its site */
    bool is_aside;  /* in tenant->lanes_held */
    bool is_held;   /* this account at this site, by the operator */
    UT_hash_handle hh;
};

void sched_tenant_put(struct sched *sched, struct tenant *tenant);
/* An empty one. */
void sched_lane_free(struct sched *sched, struct lane *lane);
bool sched_is_held(const struct sched *sched, struct account_id account, const struct site *site);

static inline void sched_push(struct sched_queue *queue, struct sched_entry *entry)
{
    entry->next = NULL;
    if (queue->first == NULL) {
        queue->first = entry;
    } else {
        queue->last->next = entry;
    }
    queue->last = entry;
}

#endif
