/* trace.h - where a request comes from: its id, and the trace that it is a part of.
 *
 * A trace is what a `traceparent` header says (W3C Trace Context): which trace, which span of it
 * asks us, and whether it is recorded. Reading is strict, as the standard demands: what is not
 * exactly so is as if it had not come, because a wrong parent is worse than none. We make no trace
 * of our own where none came in; our span is named by the request's id.
 *
 * An origin goes with a request into the messages that it becomes, so that the lines of the log,
 * whoever writes them, can be found by it.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/base.h"
#include "base/slice.h"

#define TRACE_TEXT_MAX 56 /* 00-<32>-<16>-<2>, NUL */
#define REQUEST_ID_MAX 65 /* NUL included */
#define REQUEST_ID_MIN 8

struct trace {
    uint8_t id[16]; /* all zero: there is none */
    uint8_t span[8];
    uint8_t flags;
};

struct origin {
    char request[REQUEST_ID_MAX]; /* terminated; empty: no request */
    struct trace trace;
};

/* False, and *trace untouched, when the header cannot be trusted to the letter. A version that we
 * do not know is read as far as version 00 goes (Trace Context 4.3). */
bool trace_read(struct slice header, struct trace *trace) MUST_USE;
bool trace_is_none(const struct trace *trace);
/* As a header of version 00; the length comes back. Of none: empty. */
size_t trace_text(const struct trace *trace, char out[TRACE_TEXT_MAX]);
/* The id alone, 32 digits; empty when there is none. */
size_t trace_id_text(const struct trace *trace, char out[TRACE_TEXT_MAX]);
/* Whether a proxy's id of a request may stand in headers and in the log: REQUEST_ID_MIN to
 * REQUEST_ID_MAX - 1 letters, digits, and any of "-_.". */
bool request_id_is_good(struct slice id);

#endif
