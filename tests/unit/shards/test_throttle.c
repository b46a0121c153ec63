/* Not covered here: which texts are counted, and when (tests/unit/edge/test_people.c). */
#include "shards/throttle.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/crypto.h"
#include "base/limits.h"

#define START_MS UINT64_C(5000000)
#define MAX      10
#define COST_MS  (THROTTLE_WINDOW_MS / MAX)

static void setup(void)
{
    crypto_init();
}

TestSuite(throttle, .init = setup);

static bool take_at(struct throttle *throttle, const char *text, uint64_t now_ms)
{
    uint32_t retry_s = 0;
    enum err err = throttle_take(throttle, slice_str(text), MAX, now_ms, &retry_s);
    cr_assert(err == ERR_OK || err == ERR_RATE);
    cr_assert_eq(err == ERR_RATE, retry_s > 0);
    return err == ERR_OK;
}

Test(throttle, lets_a_text_fail_so_often_and_no_more)
{
    struct throttle *throttle = throttle_new();
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS), "try %d", i);
    }
    cr_assert_not(take_at(throttle, "e:a", START_MS));
    cr_assert(take_at(throttle, "e:b", START_MS), "another is none of its business");
    throttle_free(throttle);
}

Test(throttle, gives_one_try_after_another_back_with_time)
{
    struct throttle *throttle = throttle_new();
    uint32_t retry_s = 0;
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS));
    }
    cr_assert_eq(throttle_take(throttle, SLICE("e:a"), MAX, START_MS, &retry_s), ERR_RATE);
    cr_assert_eq(retry_s, COST_MS / 1000);
    cr_assert_eq(throttle_take(throttle, SLICE("e:a"), MAX, START_MS + 1, &retry_s), ERR_RATE);
    cr_assert_eq(retry_s, COST_MS / 1000, "rounded up: who waits as told is let in");
    cr_assert_not(take_at(throttle, "e:a", START_MS + COST_MS - 1));
    cr_assert(take_at(throttle, "e:a", START_MS + COST_MS));
    cr_assert_not(take_at(throttle, "e:a", START_MS + COST_MS), "one, not two");
    uint64_t later = START_MS + 2 * THROTTLE_WINDOW_MS;
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", later), "all of them after a window: %d", i);
    }
    cr_assert_not(take_at(throttle, "e:a", later));
    throttle_free(throttle);
}

Test(throttle, a_refused_try_costs_nothing)
{
    struct throttle *throttle = throttle_new();
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS));
    }
    for (int i = 0; i < 1000; i++) {
        cr_assert_not(take_at(throttle, "e:a", START_MS + (uint64_t)i));
    }
    cr_assert(take_at(throttle, "e:a", START_MS + COST_MS));
    throttle_free(throttle);
}

Test(throttle, what_is_given_back_never_happened)
{
    struct throttle *throttle = throttle_new();
    for (int i = 0; i < 100; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS));
        throttle_give(throttle, SLICE("e:a"), MAX, START_MS);
    }
    for (int i = 0; i < 3; i++) {
        throttle_give(throttle, SLICE("e:a"), MAX, START_MS); /* more than was taken */
        throttle_give(throttle, SLICE("e:unknown"), MAX, START_MS);
    }
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS), "try %d", i);
    }
    cr_assert_not(take_at(throttle, "e:a", START_MS));
    throttle_give(throttle, SLICE("e:a"), MAX, START_MS);
    cr_assert(take_at(throttle, "e:a", START_MS));
    cr_assert_not(take_at(throttle, "e:a", START_MS));
    throttle_free(throttle);
}

Test(throttle, forgets_when_it_is_told_to)
{
    struct throttle *throttle = throttle_new();
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS));
        cr_assert(take_at(throttle, "e:b", START_MS));
    }
    throttle_unlock(throttle, SLICE("e:a"));
    throttle_unlock(throttle, SLICE("e:unknown"));
    cr_assert(take_at(throttle, "e:a", START_MS));
    cr_assert_not(take_at(throttle, "e:b", START_MS));
    throttle_free(throttle);
}

Test(throttle, holds_whoever_is_locked_through_a_flood_of_strangers)
{
    struct throttle *throttle = throttle_new();
    char text[32];
    for (int i = 0; i < MAX; i++) {
        cr_assert(take_at(throttle, "e:a", START_MS));
    }
    for (int i = 0; i < 10 * THROTTLE_ENTRIES; i++) {
        (void)snprintf(text, sizeof text, "e:%d", i);
        cr_assert(take_at(throttle, text, START_MS), "a full table refuses nobody");
    }
    cr_assert_not(take_at(throttle, "e:a", START_MS));
    throttle_free(throttle);
}

Test(throttle, obeys_every_ceiling)
{
    static const uint32_t maxima[] = {1, 2, 7, 30, 900};
    for (size_t i = 0; i < ARRAY_LEN(maxima); i++) {
        struct throttle *throttle = throttle_new();
        uint32_t retry_s;
        uint32_t taken = 0;
        while (throttle_take(throttle, SLICE("a:::"), maxima[i], START_MS, &retry_s) == ERR_OK) {
            cr_assert_leq(++taken, maxima[i]);
        }
        cr_assert_eq(taken, maxima[i]);
        cr_assert_geq(retry_s, 1);
        throttle_free(throttle);
    }
    struct throttle *throttle = throttle_new();
    uint32_t retry_s;
    for (int i = 0; i < 10000; i++) {
        cr_assert_eq(throttle_take(throttle, SLICE("a:::"), 1000000, START_MS, &retry_s), ERR_OK);
    }
    throttle_free(throttle);
}
