/* operate.h - the operator's hand on the running server, for main: the log's levels, a drain that
 * can be taken back, and which loop has which shard.
 *
 * It lives on main's loop and speaks in the name of main's actor; its messages carry a token, by
 * which main tells them from its own. Nothing of it outlives the process but the places of shards:
 * a restart forgets a level and a drain.
 */
#ifndef OPERATE_H
#define OPERATE_H

#include "base/base.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/loop.h"
#include "shards/actor.h"
#include "shards/msg.h"
#include "shards/place.h"
#include "shards/placement.h"

struct operate;
typedef void operate_fn(struct operate *operate);

/* Of a level that goes back by itself. The first is that of all events. */
struct operate_level {
    uint64_t until_ms; /* 0: stays */
    uint64_t until_unix_ms;
    enum log_level then;
    bool is_gone_then;
};

struct operate_sample {
    uint64_t taken_us;
    uint64_t shard_us[SHARD_COUNT_MAX];
    uint64_t edge_us[LOOP_COUNT_MAX];
};

struct operate {
    struct actor *actor; /* main's */
    const struct place *place;
    operate_fn *on_stop;  /* the drain asks for the end */
    operate_fn *on_quiet; /* operate_is_quiet again, behind operate_end */
    bool is_open;         /* the server runs */
    uint32_t out;         /* messages that are not home */

    enum log_level level;                           /* as configured */
    struct operate_level levels[1 + LOG_RULES_MAX]; /* beside the log's own */
    struct timer level_timer;

    struct main_drain drain;
    uint64_t drain_until_ms; /* 0: it waits */
    uint64_t notice_until_ms;
    uint32_t empty_ticks;
    struct timer drain_timer;

    struct placement placement;
    struct main_places places;
    struct operate_sample samples[2];
    uint32_t sample;    /* being taken */
    uint32_t loads_out; /* messages of it that are not home */
    uint32_t move;      /* under way */
    struct timer window;
};

/* The actor is not yet running; placement is filled. */
void operate_init(struct operate *operate, struct actor *actor, const struct place *place,
                  enum log_level level);
/* The server runs, from now on; until operate_end. */
void operate_begin(struct operate *operate);
/* Stops its timers and begins nothing more. A shard that is between two loops still arrives: main
 * waits until operate is quiet before it goes on. */
void operate_end(struct operate *operate);
bool operate_is_quiet(const struct operate *operate);

/* MAIN_CONTROL.
 * Owns: takes msg. */
void operate_handle(struct operate *operate, struct msg *msg);
/* Whether a message that comes home is operate's. */
bool operate_is_mine(const struct msg *msg);
/* Owns: takes msg. */
void operate_home(struct operate *operate, struct msg *msg);

#endif
