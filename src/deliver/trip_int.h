/* trip_int.h - what the files of a trip share; included nowhere else.
 *
 * trip.c has its life: claim, route, outcome. trip_send.c has the try itself: connections, chunks,
 * webhooks.
 */
#ifndef DELIVER_TRIP_INT_H
#define DELIVER_TRIP_INT_H

#include <uthash.h>

#include "base/buf.h"
#include "base/sm.h"
#include "deliver/attempt_hook.h"
#include "deliver/dane.h"
#include "deliver/deliver_int.h"
#include "deliver/sts.h"
#include "deliver/tls_demand.h"
#include "deliver/trip.h"

enum trip_state {
    TRIP_CLAIM,
    TRIP_WAIT,
    TRIP_ROUTE,
    TRIP_CONNECT,
    TRIP_SEND,
    TRIP_OUTCOME,
    TRIP_GONE,
    TRIP_COUNT
};

struct trip {
    struct link link;  /* deliver->trips */
    struct link queue; /* site->queue, while it waits for a connection */
    UT_hash_handle hh; /* deliver->trips_by_row */
    struct row {
        struct id mail;
        uint32_t group;
    } row;
    struct deliver *deliver;
    struct sm sm;
    struct sched_entry *entry;
    struct site *site;
    struct msg *claim; /* kept until the outcome is in: its arena holds the envelope */
    struct msg *chunk; /* while it is out */
    struct timer timer;
    struct route route;
    struct sts_query sts;
    enum tls_sts sts_mode; /* of the recipients' domain */
    enum sts_fault sts_fault;
    uint32_t sts_targets; /* of route.targets, those whose host the policy names: a bit each */
    uint32_t target;      /* next of route.targets */
    uint32_t tried;
    struct attempt_smtp *attempt;
    struct attempt_hook hook;
    bool is_calling; /* hook is out */
    struct attempt_mail mail;
    struct attempt_mail part; /* what one transaction takes of it: some of its recipients */
    uint32_t part_first;
    struct buf transcript;
    struct tap_talk talk;
    uint64_t begun_unix_ms;             /* the claim went out */
    uint64_t started_unix_ms;           /* and was granted */
    struct verdict failure;             /* of the last host */
    struct tls_demand demand;           /* of the host that is tried */
    struct dane dane;                   /* likewise */
    const struct route_host *dane_host; /* whose it is; NULL: nobody's */
    bool may_mend;                      /* a host failed for a while, and not for want of TLS */
    bool is_plain_retry;                /* TLS failed here; once more without (RFC 7435) */
    bool is_reused;
    bool is_reuse_over;       /* a kept connection failed: a new one is opened */
    bool is_busy;             /* counted in site->busy */
    uint64_t put_off_unix_ms; /* 0: until the circuit opens */
    struct source *source;    /* NULL: the system's choice */
    bool is_put_off;          /* nothing was tried; the row is given back */
    char remote_host[256];
    char remote_addr[ADDR_TEXT_MAX];
    char tls[96];
    const char *tls_policy; /* static */
};

_Static_assert(sizeof(struct row) == sizeof(struct id) + sizeof(uint32_t), "hashed as bytes");

/* ---- trip.c --------------------------------------------------------------------------------- */

/* The outcome goes to the shard; every recipient is judged by now. */
void trip_conclude(struct trip *trip);
void trip_find_route(struct trip *trip);
/* Whoever is not judged yet gets this verdict. */
void trip_judge_all(struct trip *trip, const struct verdict *verdict);
/* To the shard of its account. */
void trip_post(struct trip *trip, struct msg *msg);
const struct shard_claim *trip_claim(const struct trip *trip);

/* ---- trip_sts.c ------------------------------------------------------------------------------ */

/* With a route: asks what the recipients' domain demands, then connects. */
void trip_ask_sts(struct trip *trip);
/* Adds it to what is known of a target. */
void trip_sts_facts(const struct trip *trip, uint32_t target, struct tls_facts *facts);
/* How TLS went with the host at hand, for the domain's report; attempt is NULL when it was left
 * out.
 */
void trip_count_tls(const struct trip *trip, const struct attempt_smtp *attempt,
                    enum tls_result result);

/* ---- trip_send.c ---------------------------------------------------------------------------- */

/* Tries the next address of the route; when there is none left, concludes. */
void trip_connect(struct trip *trip);
void trip_call_hook(struct trip *trip);
/* Ends look-ups that are made for the try, and forgets what they found. */
void trip_forget_look_ups(struct trip *trip);
/* Sends the mail to the recipients whose turn it is: a site may take few in one transaction. */
void trip_send_part(struct trip *trip);
/* Keeps what the attempt saw, for the outcome. */
void trip_remember(struct trip *trip, const struct attempt_smtp *attempt);
void trip_chunk_home(struct trip *trip, struct msg *msg);

/* ---- trip_source.c -------------------------------------------------------------------------- */

/* The address that a new connection leaves from, into options; its mail counts as sent. */
enum source_answer trip_choose_source(struct trip *trip, struct attempt_options *options);
/* Whether a kept connection's address may send one more there. */
bool trip_source_may(const struct trip *trip, const struct attempt_smtp *attempt);
void trip_source_reused(struct trip *trip, const struct attempt_smtp *attempt);
/* Gives the row back until tomorrow. */
void trip_wait_for_source(struct trip *trip);

/* ---- trip_count.c --------------------------------------------------------------------------- */

/* A verdict is on disk: counts it, and says it in the log. */
void trip_count(const struct trip *trip, const struct verdict *verdict);

/* ---- trip_idle.c ---------------------------------------------------------------------------- */

/* Keeps the attempt at the trip's site for the next mail, or says goodbye to it. */
void trip_keep(struct trip *trip, struct attempt_smtp *attempt);
/* A kept connection becomes the trip's. */
void trip_take_idle(struct trip *trip, struct attempt_smtp *attempt);
/* Lets kept connections go until one more fits the site's limit, oldest first. */
void trip_make_room(struct trip *trip);
bool trip_is_idle(struct attempt_smtp *attempt);
/* A kept connection ended by itself. */
void trip_idle_gone(struct attempt_smtp *attempt);

#endif
