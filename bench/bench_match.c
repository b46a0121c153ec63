/* bench_match.c - what it costs to find the routes of one recipient among 1, 100 and 1,000
 * patterns, on one core. Every matching route fires, so each pattern is asked. Prints `name value
 * unit`.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "mail/match.h"

#define RUN_US       UINT64_C(300000)
#define BURST        16 /* rounds between two looks at the clock */
#define PATTERNS_MAX 1000

struct kind {
    const char *name;
    const char *format; /* of the pattern; the number makes each another */
};

/* A recipient that none but the first of a kind matches: the whole list is gone through. */
static const char RECIPIENT[] = "support-0+tag@mail.example.com";

static const struct kind KINDS[] = {
    {"address", "support-%u+tag@mail.example.com"},
    {"domain", "*@mail%u.example.com"},
    {"plus", "support-%u+*@mail.example.com"},
    {"regex_literal", "/^support-%u\\+tag@mail\\.example\\.com$/"},
    {"regex_search", "/(sales|support|info)-%u\\+.*@(mail|mx)\\.example\\.com$/"},
    {"regex_wild", "/^.*-%u.*@.*\\.[a-z]{2,6}$/"},
    {"regex_hostile", "/^((a|[a-z])*)*%u(.*.*)*!/"},
};

static void bench(const struct kind *kind, uint32_t count)
{
    static const struct match *patterns[PATTERNS_MAX];
    struct slice key = slice_str(RECIPIENT);
    struct arena arena;
    uint64_t rounds = 0;
    uint64_t matched = 0;
    uint64_t took_us = 0;

    arena_init(&arena, 64 * KIB, PATTERNS_MAX * 64 * KIB);
    for (uint32_t i = 0; i < count; i++) {
        const char *fault = NULL;
        struct slice text = arena_format(&arena, kind->format, i);
        enum err err = match_compile(text, &arena, &patterns[i], &fault);
        CHECK(err == ERR_OK);
    }
    const uint64_t begun_us = clock_mono_us();
    while (took_us < RUN_US) {
        for (uint32_t burst = 0; burst < BURST; burst++) {
            for (uint32_t i = 0; i < count; i++) {
                matched += match_test(patterns[i], key);
            }
        }
        rounds += BURST;
        took_us = clock_mono_us() - begun_us;
    }
    CHECK(matched <= rounds * count);
    printf("match_%s_%u %.3f us\n", kind->name, count, (double)took_us / (double)rounds);
    arena_fini(&arena);
}

int main(void)
{
    static const uint32_t COUNTS[] = {1, 100, PATTERNS_MAX};
    struct utsname machine;

    if (uname(&machine) == 0) {
        printf("# %s %s %s, %ld cores\n", machine.sysname, machine.release, machine.machine,
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    for (size_t kind = 0; kind < ARRAY_LEN(KINDS); kind++) {
        for (size_t i = 0; i < ARRAY_LEN(COUNTS); i++) {
            bench(&KINDS[kind], COUNTS[i]);
        }
    }
    return 0;
}
