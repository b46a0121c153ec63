/* check.h - stopping on purpose.
 *
 * Two ways to stop, never mixed. CHECK is for programmer errors: a broken promise between two
 * pieces of Meerkat; it is on in release builds too, prints the expression, the place and the name
 * of the thread, and aborts (a core file is useful). fatal() is for the environment: a bad
 * configuration, a dead disk, no memory; it prints one line that names the remedy and exits with
 * status 1.
 *
 * Input from outside never reaches either: hostile bytes become an enum err.
 *
 * Diagnostics: both write to standard error with write(2), so that they work with the log ring
 * dead.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/base.h"

/* One fact per CHECK, never a side effect inside. */
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (__builtin_expect(!(x), 0)) {                                                           \
            check_failed(#x, __FILE__, __LINE__, __func__);                                        \
        }                                                                                          \
    } while (0)

/* When a holds, b must. */
#define CHECK_IF(a, b) CHECK(!(a) || (b))

/* Costly facts: debug and simulation builds only (MEERKAT_SLOW_CHECKS). */
#ifdef MEERKAT_SLOW_CHECKS
#define CHECK_SLOW(x) CHECK(x)
#else
#define CHECK_SLOW(x)                                                                              \
    do {                                                                                           \
        (void)sizeof(!(x));                                                                        \
    } while (0)
#endif

NORETURN void check_failed(const char *expression, const char *file, int line, const char *func);

/* Ends the process: exit status 1, the line `meerkatd: <text>` on standard error. Name the remedy.
 */
NORETURN void fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Names the calling thread in CHECK reports, logs and ps (at most 15 bytes are kept). */
void check_name_thread(const char *name);
const char *check_thread_name(void);

/* malloc and friends that cannot fail: out of memory is fatal. This is honest because every demand
 * has a ceiling in limits.h.
 *
 * Owns:   the caller owns the block and ends it with free().
 */
void *mem_alloc(size_t bytes);
void *mem_zalloc(size_t bytes);
void *mem_realloc(void *block, size_t bytes);

#endif
