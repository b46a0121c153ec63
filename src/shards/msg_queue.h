/* msg_queue.h - the message about the queue as the operator sees it, DELIVER_QUEUE.
 *
 * A part of msg.h, which includes it: its body, and what it shows of sites, accounts and holds.
 */
#ifndef SHARDS_MSG_QUEUE_H
#define SHARDS_MSG_QUEUE_H

#include "base/base.h"
#include "base/id.h"
#include "base/slice.h"
#include "shards/words.h"

/* What the operator sees of the schedule, and does to it. */
enum queue_op {
    QUEUE_SITES,    /* a page, by name */
    QUEUE_TOP,      /* the sites with the most work, most first */
    QUEUE_ACCOUNTS, /* a page of those that have entries, by id */
    QUEUE_HOLDS,    /* all pauses and moves */
    QUEUE_AGES,     /* how long what waits has waited, and how long it will */
    QUEUE_PAUSE,    /* nothing more is sent: a site, an account, an account at a site */
    QUEUE_RESUME,   /* takes a pause back; ERR_NOT_FOUND when there is none */
    QUEUE_RETRY,    /* what waits for its next try is due now, one after the other */
    QUEUE_EXPIRE,   /* everything queued bounces now */
    QUEUE_MOVE,     /* a site's mail leaves from `pool`; empty: from its own again */
};
struct queue_site {
    struct slice name;
    struct slice pool;
    struct slice group;
    uint32_t due[PRIORITY_COUNT];
    uint32_t waiting; /* not yet due */
    uint32_t open;    /* trips */
    uint32_t busy;    /* of them, with a connection */
    uint32_t limit;   /* connections at once */
    uint32_t rate;    /* mails a minute; 0: as many as there are */
    uint32_t mails_per_conn;
    uint32_t failures;             /* in a row */
    uint64_t closed_until_unix_ms; /* 0: mail flows */
    struct slice reason;
    uint64_t failed_unix_ms; /* when reason was said; 0: never */
    uint64_t oldest_unix_ms; /* since when the first of them is due; 0: none is */
    uint64_t delivered_total;
    uint64_t throttled_total;
    bool is_held;
};
struct queue_account {
    struct account_id id;
    uint32_t entries; /* in the schedule: due, waiting or open */
    uint32_t due;
    uint32_t open;
    uint64_t oldest_unix_ms; /* the earliest due time of its entries */
    bool is_held;
};
struct queue_hold {
    bool is_move;
    struct slice site;         /* empty: all of the account's, or of everybody's */
    struct account_id account; /* 0: whoever's */
    struct slice pool;         /* of a move */
    struct slice reason;
    struct slice by;
    uint64_t since_unix_ms;
    uint64_t until_unix_ms; /* 0: until it is taken back */
};
/* Steps of a histogram of times: up to a minute, 5 and 15 minutes, 1, 4, 12 hours, 1, 2, 4 days,
 * and more. */
#define QUEUE_STEPS 10
uint32_t queue_step(uint64_t ms);
uint64_t queue_step_s(uint32_t step); /* its upper end in seconds; 0: it has none */
struct queue_ages {
    uint32_t by_age[QUEUE_STEPS]; /* since the mail was accepted */
    uint32_t by_due[QUEUE_STEPS]; /* of those that wait, until they are due */
    uint32_t waiting;
    uint32_t due;
    uint32_t open;
    uint64_t oldest_unix_ms; /* when the oldest was accepted; 0: there is none */
};
struct deliver_queue {
    enum queue_op op;
    struct slice site;         /* empty: none, or SITES: exclusive */
    struct account_id account; /* 0: none, or ACCOUNTS: exclusive */
    bool is_all;               /* PAUSE, RESUME: of everything, and no site or account is named */
    struct slice pool;         /* MOVE */
    struct slice reason;
    struct slice by;        /* who asks */
    uint64_t until_unix_ms; /* PAUSE; 0: for good */
    struct slice search;    /* SITES: part of the name, in lower case */
    uint32_t limit;         /* SITES, ACCOUNTS, TOP */
    /* out */
    struct queue_site *sites;
    uint32_t site_count;
    struct queue_account *accounts;
    uint32_t account_count;
    struct queue_hold *holds;
    uint32_t hold_count;
    struct queue_ages *ages;
    uint32_t entries; /* that the wish was about */
};

#endif
