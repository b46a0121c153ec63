/* trip_trace.h - trips for who watches them live (base/tap.h).
 *
 * Ask trip_is_traced first: it is all that a trip pays while nobody watches.
 */
#ifndef DELIVER_TRIP_TRACE_H
#define DELIVER_TRIP_TRACE_H

#include "deliver/trip_int.h"

static inline bool trip_is_traced(const struct trip *trip)
{
    return tap_is_on(&trip->deliver->tap);
}
/* The row is claimed; every recipient has its verdict. */
void trip_trace_begin(struct trip *trip);
void trip_trace_end(struct trip *trip);
void trip_trace_call(struct trip *trip, const struct hook_request *request);
void trip_trace_called(struct trip *trip);
/* What is said on a connection; also while it is nobody's. */
void trip_trace_line(struct attempt_smtp *attempt, const char *who, struct slice text);
void trip_trace_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply);
/* A DELIVER_TRACE. Owns: takes msg. */
void trip_trace_serve(struct deliver *deliver, struct msg *msg);
void trip_trace_init(struct deliver *deliver);
void trip_trace_stop(struct deliver *deliver);

#endif
