/* Not covered here: a store that really stalls, which needs a disk that cannot follow. */
#include <criterion/criterion.h>

#include "kv/kv_stall.h"

#include "unit/kv/temp_store.h"

Test(kv_stall, reads_the_time_from_rocksdbs_words)
{
    static const struct {
        const char *words;
        uint64_t us;
    } table[] = {
        {"Cumulative stall: 00:00:0.000 H:M:S, 0.0 percent\n", 0},
        {"Uptime(secs): 1.0\nCumulative stall: 00:00:1.250 H:M:S, 3.1 percent\n", 1250000},
        {"Cumulative stall: 02:03:4.005 H:M:S", UINT64_C(7384005000)},
        {"Cumulative stall: 100:00:0.000 H:M:S", UINT64_C(360000000000)},
        {"", 0},
        {"Cumulative stall: ", 0},
        {"Cumulative stall: a:b:c.d H:M:S", 0},
        {"Cumulative stall: 00:00 H:M:S", 0},
        {"Interval stall: 00:00:9.000 H:M:S", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(kv_stall_read_us(slice_str(table[i].words)), table[i].us, "%s",
                     table[i].words);
    }
}

/* A release of RocksDB that says it in another way shows up here. */
Test(kv_stall, finds_the_time_where_rocksdb_says_it)
{
    char path[TEMP_PATH_MAX];
    struct arena arena;
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    arena_init(&arena, 4096, 1 << 20);
    struct slice words = kv_property(kv, KV_FAMILY_META, "rocksdb.dbstats", &arena);
    cr_expect(slice_find(words, SLICE("Cumulative stall: 00:00:0.000 H:M:S")) != SIZE_MAX, "%.*s",
              SLICE_FMT(words));
    cr_expect_eq(kv_stall_us(kv), 0);
    arena_fini(&arena);
    kv_close(kv);
    temp_folder_drop(path);
}
