/* fuzz_match.c - any pattern on any text: what compiles is bounded in work, blind to case, and what
 * an address pattern matches is of its domain.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/match.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input: the pattern up to the first line end, then the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice key = slice_of(data, size);
    struct slice text = slice_cut(&key, '\n');
    const struct match *pattern = NULL;
    const char *fault = NULL;
    uint64_t steps = 0;
    struct arena arena;

    arena_init(&arena, 4096, 1 << 20);
    enum err err = match_compile(text, &arena, &pattern, &fault);
    if (err == ERR_OK) {
        CHECK(arena.used_bytes <= 64 * KIB);
        bool is_match = match_test_counted(pattern, key, &steps);
        CHECK(steps <= REGEX_STATES_MAX * (uint64_t)(ADDR_MAX + 1));
        if (key.len <= ADDR_MAX) {
            CHECK(is_match == match_test(pattern, arena_lower(&arena, key)));
        }
        if (is_match && match_domain(pattern).len > 0) {
            CHECK(slice_ends_nocase(key, match_domain(pattern)));
        }
    } else {
        CHECK(err == ERR_INVALID);
        CHECK(strlen(fault) > 0);
    }
    arena_fini(&arena);
    return 0;
}
