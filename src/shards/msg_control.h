/* msg_control.h - the messages that run the server itself: what main says to every actor, and what
 * the operator says to main (MAIN_CONTROL).
 *
 * A part of msg.h, which includes it.
 */
#ifndef SHARDS_MSG_CONTROL_H
#define SHARDS_MSG_CONTROL_H

#include "base/base.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/slice.h"

/* ---- main to every actor -------------------------------------------------------------------- */

enum control_op {
    CONTROL_START,        /* shards: replay the outbox; deliver, edge: begin */
    CONTROL_RELOAD,       /* edge: certificates; deliver, shards: bounce rules */
    CONTROL_DRAIN,        /* finish what is open, take nothing new; returns when done */
    CONTROL_STOP,         /* close every handle; returns just before the actor is dead */
    CONTROL_SESSION_KEYS, /* edge: they were rotated; an older generation than known is ignored */
    CONTROL_PING,         /* nothing but an answer: the loop is alive */
    CONTROL_QUIET,        /* deliver: end what is open and begin nothing; edges still work */
    CONTROL_NOTICE,       /* edge: health says that a drain has begun; all else is as ever */
    CONTROL_TURN_AWAY,    /* edge: no new work either */
    CONTROL_WELCOME,      /* edge: the drain was taken back */
    CONTROL_LOAD,         /* edge, shards: how long their handlers have run */
    CONTROL_MOVE,         /* shard: let go of your loop; home once another one may have you */
    CONTROL_ADOPT,        /* edge: take the shard that was let go to your loop */
};
struct control {
    enum control_op op;
    uint64_t deadline_ms; /* monotonic */
    uint16_t tcp_port;    /* EDGE START: out: the real one */
    uint16_t tls_tcp_port;
    uint16_t smtp_tcp_port;
    uint16_t submit_tcp_ports[2 * SUBMIT_LISTEN_MAX]; /* STARTTLS, then implicit TLS */
    uint64_t session_keys; /* EDGE START, SESSION_KEYS: session_keys_pack */
    bool is_held;          /* EDGE DRAIN: who connects waits for the next run */
    uint32_t shard;        /* ADOPT */
    uint64_t busy_us;      /* LOAD: out, since the start */
};

/* ---- the operator to main ------------------------------------------------------------------- */

enum main_op {
    MAIN_LOG,          /* which levels the log has */
    MAIN_LOG_SET,      /* ERR_LIMIT: too many prefixes */
    MAIN_DRAIN,        /* how far a drain is */
    MAIN_DRAIN_START,  /* takes no more work; again: other wishes */
    MAIN_DRAIN_CANCEL, /* ERR_NOT_FOUND: there is none */
    MAIN_PLACES,       /* which loop has which shard, and the last rebalance */
    MAIN_REBALANCE,    /* begins one; ERR_CONFLICT: one is under way */
};

/* What the log shows: a line for each prefix, that of all events first. */
struct main_log {
    struct slice event; /* prefix; empty: all that no other names */
    enum log_level level;
    uint64_t until_unix_ms;    /* goes back then; 0: stays */
    enum log_level then_level; /* where it goes back to... */
    bool is_gone_then;         /* ...or the prefix is forgotten */
};

enum drain_phase { DRAIN_NONE, DRAIN_NOTICE, DRAIN_CLOSED };
struct main_drain {
    enum drain_phase phase;
    bool is_stop; /* the daemon ends when nothing is left */
    uint64_t since_unix_ms;
    uint64_t until_unix_ms; /* ...or then; 0: it waits */
    /* what is left */
    uint64_t entries; /* in the schedule */
    uint64_t hooks;   /* of them, webhooks */
    uint64_t due;     /* of them, that wait for their site only */
    uint64_t attempts;
    uint64_t connections; /* HTTP; the operator's own is one of them */
    uint64_t sessions;    /* SMTP */
};

enum move_state { MOVE_PLANNED, MOVE_RUNNING, MOVE_DONE, MOVE_TAKEN_BACK };
struct shard_move {
    uint32_t shard;
    uint32_t from;
    uint32_t to;
    enum move_state state;
};
struct shard_place {
    uint32_t shard;
    uint32_t loop;
};
enum rebalance_phase { REBALANCE_IDLE, REBALANCE_MEASURING, REBALANCE_MOVING };
struct main_places {
    enum rebalance_phase phase;
    bool is_dry;        /* the plan is not carried out */
    uint64_t window_us; /* that was measured; 0: never */
    uint32_t loop_count;
    uint32_t shard_count;
    uint32_t loops[SHARD_COUNT_MAX];     /* of each shard */
    uint64_t shard_us[SHARD_COUNT_MAX];  /* time of its handlers in the window */
    uint64_t loop_us[LOOP_COUNT_MAX];    /* of all actors of a loop, before */
    uint64_t planned_us[LOOP_COUNT_MAX]; /* after */
    struct shard_move moves[SHARD_COUNT_MAX];
    uint32_t move_count;
};

struct main_control {
    enum main_op op;
    uint64_t for_ms;            /* LOG_SET: back after that; DRAIN_START: ends by then; 0: never */
    struct slice event;         /* LOG_SET */
    enum log_level level;       /* LOG_SET */
    bool is_default;            /* LOG_SET: as configured; of a prefix: it is forgotten */
    bool is_stop;               /* DRAIN_START */
    bool is_dry;                /* REBALANCE */
    uint32_t window_ms;         /* REBALANCE: how long is measured */
    struct shard_place *wanted; /* REBALANCE: these and no others; none: as the load says */
    uint32_t wanted_count;
    /* out */
    struct main_log *log;
    uint32_t log_count;
    struct main_drain drain;
    struct main_places *places;
};

#endif
