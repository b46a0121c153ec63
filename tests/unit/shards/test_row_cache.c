/* test_row_cache.c - what the cache keeps and forgets. Not here: that a shard drops what it writes
 * (test_shard.c and the other behaviours run over it). */
#include <criterion/criterion.h>

#include <stdio.h>

#include "base/crypto.h"
#include "shards/row_cache.h"

static void init(void)
{
    crypto_init();
}

TestSuite(row_cache, .init = init);

Test(row_cache, finds_what_it_was_given)
{
    struct row_cache cache = {{0}};
    struct slice value = SLICE("untouched");
    cr_assert_not(row_cache_find(&cache, SLICE("A1"), &value));
    row_cache_keep(&cache, SLICE("A1"), SLICE("one"));
    cr_assert(row_cache_find(&cache, SLICE("A1"), &value));
    cr_assert(slice_equal(value, SLICE("one")));
    row_cache_keep(&cache, SLICE("A1"), SLICE(""));
    cr_assert(row_cache_find(&cache, SLICE("A1"), &value));
    cr_assert_eq(value.len, 0);
    row_cache_fini(&cache);
}

Test(row_cache, forgets_what_is_dropped)
{
    struct row_cache cache = {{0}};
    struct slice value;
    row_cache_keep(&cache, SLICE("A1"), SLICE("one"));
    row_cache_drop(&cache, SLICE("A1"));
    row_cache_drop(&cache, SLICE("A1"));
    cr_assert_not(row_cache_find(&cache, SLICE("A1"), &value));
    row_cache_fini(&cache);
}

Test(row_cache, never_answers_with_another_keys_row)
{
    struct row_cache cache = {{0}};
    char key[32];
    for (int i = 0; i < 10 * ROW_CACHE_SLOTS; i++) {
        int len = snprintf(key, sizeof key, "K%d", i);
        struct slice name = slice_of(key, (size_t)len);
        row_cache_keep(&cache, name, name);
    }
    for (int i = 0; i < 10 * ROW_CACHE_SLOTS; i++) {
        int len = snprintf(key, sizeof key, "K%d", i);
        struct slice name = slice_of(key, (size_t)len);
        struct slice value;
        cr_assert(!row_cache_find(&cache, name, &value) || slice_equal(name, value));
    }
    row_cache_fini(&cache);
}

Test(row_cache, keeps_small_rows_of_accounts_keys_and_domains_only)
{
    struct row_cache cache = {{0}};
    static char large[ROW_CACHE_VALUE_MAX + 1];
    static char long_key[ROW_CACHE_KEY_MAX + 1] = "N";
    struct slice value;
    row_cache_keep(&cache, SLICE("D1"), slice_of(large, sizeof large));
    cr_assert_not(row_cache_find(&cache, SLICE("D1"), &value));
    row_cache_keep(&cache, SLICE("D1"), slice_of(large, sizeof large - 1));
    cr_assert(row_cache_find(&cache, SLICE("D1"), &value));
    cr_assert(row_cache_wants(SLICE("Nexample")));
    cr_assert_not(row_cache_wants(SLICE("Umine")));
    cr_assert_not(row_cache_wants(slice_of(long_key, sizeof long_key)));
    row_cache_fini(&cache);
}
