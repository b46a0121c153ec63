/* msg_trace.h - the messages about traces, EDGE_TRACE and DELIVER_TRACE.
 *
 * A part of msg.h, which includes it. A trace is in every edge and in delivery at once, under one
 * id; the edge that was asked walks over them all.
 */
#ifndef SHARDS_MSG_TRACE_H
#define SHARDS_MSG_TRACE_H

#include "base/tap.h"

enum tap_op { TAP_OP_START, TAP_OP_READ, TAP_OP_STOP };
struct tap_ask {
    enum tap_op op;
    struct tap_rule rule; /* START; id: all */
    uint32_t seconds;     /* START */
    uint64_t after;       /* READ: of this actor */
    /* out */
    struct tap_page page; /* READ */
};

/* What the receiver does with it. Errors: ERR_QUOTA, ERR_NOT_FOUND. */
MUST_USE enum err tap_serve(struct tap_table *table, struct tap_ask *ask, struct arena *arena,
                            uint64_t now_ms);

#endif
