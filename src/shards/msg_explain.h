/* msg_explain.h - what is asked to say why a mail is not delivered yet.
 *
 * A part of msg.h, which includes it. The mail's shard says what the rows hold (SHARD_READ with
 * wants_facts), delivery what its schedule makes of them (DELIVER_EXPLAIN). Nobody is told
 * anything that changes: both only look.
 */
#ifndef SHARDS_MSG_EXPLAIN_H
#define SHARDS_MSG_EXPLAIN_H

#include "base/base.h"
#include "base/id.h"
#include "base/slice.h"
#include "shards/msg_queue.h"
#include "shards/words.h"

/* ---- what the rows hold ---------------------------------------------------------------------- */

/* The outbox row of an open delivery; recipients of one group share it. */
enum outbox_found {
    OUTBOX_NONE, /* the delivery is not open: it needs none */
    OUTBOX_THERE,
    OUTBOX_MOVING, /* claimed or moved at this moment */
    OUTBOX_LOST,   /* there is none, and there should be */
};
struct delivery_facts {
    struct row_delivery row;
    uint32_t index;
    bool has_last;
    uint32_t last_number;
    struct row_attempt last; /* the newest that ended */
    enum outbox_found found;
    struct row_outbox outbox;
    bool is_leased;  /* by this run of the server: it is being tried */
    bool is_crashed; /* by an earlier run, which never told how its try ended */
    bool has_suppression;
    struct row_suppression suppression;
    bool has_route; /* of a webhook, or of a mail that is sent on */
    struct slice route_match;
    bool is_route_enabled;
};
struct mail_facts {
    struct id delivery; /* the one that was asked for; none: all */
    bool is_suspended;  /* the account */
    struct slice account_name;
    bool has_domain; /* false: it was deleted since */
    uint8_t domain_status;
    uint64_t domain_failing_unix_ms;
    struct slice domain_name;
    struct slice domain_id; /* text */
    struct delivery_facts *deliveries;
    uint32_t delivery_count;
    uint32_t left_out; /* beyond EXPLAIN_DELIVERIES_MAX */
};

/* ---- what the schedule knows ----------------------------------------------------------------- */

enum explain_where {
    EXPLAIN_ABSENT,   /* not in memory */
    EXPLAIN_WAITING,  /* for its time */
    EXPLAIN_LOOKUP,   /* it is due, and who takes the domain's mail is being looked up */
    EXPLAIN_DUE,      /* it stands in line at its site */
    EXPLAIN_GIVEN_UP, /* by the operator; its turn comes */
    EXPLAIN_TRIED,    /* right now */
};
enum explain_step {
    EXPLAIN_STEP_CLAIM, /* the account's shard leases it */
    EXPLAIN_STEP_CONN,  /* all of the site's connections are in use */
    EXPLAIN_STEP_ROUTE, /* DNS, policies */
    EXPLAIN_STEP_CONNECT,
    EXPLAIN_STEP_SEND,
    EXPLAIN_STEP_OUTCOME, /* the account's shard records what came of it */
};

/* Of one outbox row. Those above "out" say which. */
struct explain_entry {
    uint32_t group;
    uint64_t due_unix_ms;
    struct slice domain;
    struct slice pool;
    enum mail_priority priority;
    /* out */
    enum explain_where where;
    uint64_t ready_unix_ms; /* WAITING: when it is due */
    bool is_hastened;       /* by the operator */
    bool has_site;          /* the site is known */
    struct queue_site site;
    uint32_t per_min;   /* mails a minute that the site takes at present, as far as can be said */
    uint32_t ahead;     /* DUE: that go before it, about */
    bool is_ahead_more; /* at least so many */
    bool is_behind_account; /* the account has as many trips as it may */
    bool has_hold;          /* the operator pauses its site, its account, or both */
    struct queue_hold hold;
    uint32_t source_count;  /* addresses of its pool; 0: the system's choice */
    uint32_t source_used;   /* of them, used up for today */
    enum explain_step step; /* TRIED */
    struct slice smtp_step; /* likewise: "RCPT"; empty outside of a dialogue */
    struct slice host;
    struct slice addr;
    uint64_t since_unix_ms; /* when that try began */
};

struct deliver_explain {
    struct id mail;
    struct explain_entry *entries; /* filled in place */
    uint32_t entry_count;          /* up to EXPLAIN_DELIVERIES_MAX */
    /* out */
    bool is_open;       /* false: the server is stopping, or has not read yet what it must know */
    bool is_full;       /* the schedule holds as many entries as it may */
    bool is_crowded;    /* as many tries are under way as there may be at once */
    uint32_t scheduled; /* entries in memory */
    uint32_t open;      /* tries under way */
};

#endif
