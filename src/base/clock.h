/* clock.h - the two clocks, and dates as the standards write them.
 *
 * Monotonic time (`*_ms`) is for waiting; wall time (`*_unix_ms`) is for rows and answers. They are
 * never compared. Tests replace both with clock_set_fake, which also moves everything that is due.
 * The option test_clock_offset_ms is added to wall time by clock_set_offset.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
uint64_t clock_unix_ms(void);

/* Adds to wall time from now on. Once, before any thread starts; for tests of the whole daemon. */
void clock_set_offset(uint64_t wall_offset_ms);

/* Days since 1970-01-01 UTC. */
uint32_t clock_day_of(uint64_t unix_ms);

#define CLOCK_TEXT_MAX 40
/* "2026-11-21T06:38:51.123Z" (RFC 3339). Both write at most CLOCK_TEXT_MAX bytes, terminated, and
 * return the length. */
size_t clock_rfc3339(uint64_t unix_ms, char out[CLOCK_TEXT_MAX]);
/* "Sat, 21 Nov 2026 06:38:51 +0000" (RFC 5322 3.3). */
size_t clock_rfc5322(uint64_t unix_ms, char out[CLOCK_TEXT_MAX]);
/* Parses RFC 3339 with optional fraction; ERR_INVALID otherwise. */
MUST_USE enum err clock_parse_rfc3339(struct slice text, uint64_t *unix_ms);

/* Tests only, single-threaded. Zero for both goes back to the real clocks. */
void clock_set_fake(uint64_t mono_ms, uint64_t unix_ms);

#endif
