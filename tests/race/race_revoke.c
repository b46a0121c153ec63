/* race_revoke.c - keys are taken back while every loop is using them, under ThreadSanitizer.
 *
 * The daemon of this build, with three loops, real edges and shards; the clients are threads here.
 * What must hold is in tests/support/hammer.h. A report of the daemon's sanitizer is in its log,
 * which world_end looks through.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "support/hammer.h"

#define ROUNDS  12
#define CLIENTS 8

int main(void)
{
    struct world *world = world_new();
    uint64_t let_in = 0;
    const char *source = getenv("MEERKAT_SOURCE");
    CHECK(source != NULL);
    CHECK(setenv("TSAN_OPTIONS",
                 world_text(world, "suppressions=%s/tests/race/rocksdb.supp", source), 1) == 0);
    world_set(world, "loops", "3");
    world_set(world, "log_level", "warn");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    for (uint32_t i = 0; i < ROUNDS; i++) {
        let_in += hammer_round(world, (enum hammer_end)(i % HAMMER_END_COUNT), CLIENTS);
    }
    world_end(world);
    printf("race_revoke: %d keys taken back under %llu requests, none let in after\n", ROUNDS,
           (unsigned long long)let_in);
    return 0;
}
