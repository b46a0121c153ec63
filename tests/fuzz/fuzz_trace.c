/* fuzz_trace.c - any bytes as a traceparent: what is read is a trace, and what is written of it is
 * read as the same one.
 */
#include "base/check.h"
#include "base/trace.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace trace;
    struct trace again;
    char text[TRACE_TEXT_MAX];
    (void)request_id_is_good(slice_of(data, size)); /* it only must not crash */
    if (!trace_read(slice_of(data, size), &trace)) {
        return 0;
    }
    CHECK(!trace_is_none(&trace));
    size_t len = trace_text(&trace, text);
    CHECK(len == TRACE_TEXT_MAX - 1);
    CHECK(trace_read(slice_of(text, len), &again));
    CHECK(memcmp(trace.id, again.id, sizeof trace.id) == 0);
    CHECK(memcmp(trace.span, again.span, sizeof trace.span) == 0);
    CHECK(trace.flags == again.flags);
    return 0;
}
