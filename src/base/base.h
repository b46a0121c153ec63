/* base.h - the few words every file needs: attributes, array length, the way from a member back to
 * its struct.
 *
 * Nothing here has state or code of its own. Integer types are those of stdint.h, written out.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The caller must look at the result. `if (f() != ERR_OK)` or propagate; never drop it. */
#define MUST_USE                            __attribute__((warn_unused_result))
#define NORETURN                            __attribute__((noreturn))
#define PRINTF_LIKE(fmt_index, first_index) __attribute__((format(printf, fmt_index, first_index)))
#define UNUSED                              __attribute__((unused))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that embeds `member`, given a pointer to that member. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

#endif
