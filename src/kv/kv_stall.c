/* kv_stall.c - see kv_stall.h. */
#include "kv/kv_stall.h"

#include "base/limits.h"

#define WORDS_MAX (256 * KIB)

uint64_t kv_stall_us(struct kv *kv)
{
    struct arena arena;
    arena_init(&arena, 4 * KIB, WORDS_MAX);
    uint64_t us = kv_stall_read_us(kv_property(kv, KV_FAMILY_META, "rocksdb.dbstats", &arena));
    arena_fini(&arena);
    return us;
}

uint64_t kv_stall_read_us(struct slice words)
{
    const struct slice mark = SLICE("Cumulative stall: ");
    const size_t at = slice_find(words, mark);
    uint64_t hours = 0;
    uint64_t minutes = 0;
    uint64_t seconds = 0;
    uint64_t millis = 0;
    if (at == SIZE_MAX) {
        return 0;
    }
    struct slice rest = slice_from(words, at + mark.len);
    struct slice time = slice_cut(&rest, ' ');
    struct slice whole = slice_cut(&time, '.');
    bool is_good = slice_u64(slice_cut(&whole, ':'), &hours) == ERR_OK &&
                   slice_u64(slice_cut(&whole, ':'), &minutes) == ERR_OK &&
                   slice_u64(whole, &seconds) == ERR_OK && slice_u64(time, &millis) == ERR_OK;
    const uint64_t all_s =
        min_u64(hours, UINT32_MAX) * 3600 + min_u64(minutes, 59) * 60 + min_u64(seconds, 59);
    return is_good ? all_s * 1000000 + min_u64(millis, 999) * 1000 : 0;
}
