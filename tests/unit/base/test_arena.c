/* Not covered here: arenas that travel between threads inside messages (tests/race). */
#include "base/arena.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

Test(arena, takes_no_memory_until_asked)
{
    struct arena arena;
    arena_init(&arena, 256, 1024);
    cr_assert_null(arena.chunks);
    cr_assert_eq(arena.used_bytes, 0);
    arena_fini(&arena);
}

Test(arena, gives_zeroed_memory_aligned_for_any_type)
{
    struct arena arena;
    arena_init(&arena, 256, 1 << 20);
    for (size_t bytes = 1; bytes < 600; bytes += 7) {
        (void)arena_bytes(&arena, 1); /* only to lose the alignment */
        unsigned char *at = arena_alloc(&arena, bytes);
        cr_assert_eq((uintptr_t)at % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < bytes; i++) {
            cr_assert_eq(at[i], 0);
        }
        memset(at, 0xee, bytes);
    }
    arena_fini(&arena);
}

Test(arena, keeps_allocations_apart)
{
    struct arena arena;
    arena_init(&arena, 64, 1 << 20);
    unsigned char *blocks[200];
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        blocks[i] = arena_alloc(&arena, i % 90 + 1);
        memset(blocks[i], (int)i, i % 90 + 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        for (size_t at = 0; at < i % 90 + 1; at++) {
            cr_assert_eq(blocks[i][at], i);
        }
    }
    arena_fini(&arena);
}

Test(arena, stops_exactly_at_its_ceiling)
{
    struct arena arena;
    arena_init(&arena, 64, 1000);
    cr_assert_not_null(arena_try(&arena, 600));
    cr_assert_null(arena_try(&arena, 401));
    cr_assert_not_null(arena_try(&arena, 400));
    cr_assert_eq(arena.used_bytes, 1000);
    cr_assert_null(arena_try(&arena, 1));
    cr_assert_null(arena_try(&arena, SIZE_MAX));
    cr_assert_eq(arena.used_bytes, 1000);
    arena_fini(&arena);
}

Test(arena, counts_the_padding_against_the_ceiling)
{
    struct arena arena;
    arena_init(&arena, 256, 32);
    (void)arena_bytes(&arena, 17); /* leaves fifteen, all of them padding */
    cr_assert_null(arena_try(&arena, 1));
    (void)arena_bytes(&arena, 15); /* unaligned, so these still fit */
    arena_fini(&arena);
}

Test(arena, goes_on_filling_its_chunk_after_a_large_request)
{
    struct arena arena;
    arena_init(&arena, 256, 1 << 20);
    char *first = arena_bytes(&arena, 16);
    char *large = arena_bytes(&arena, 4096);
    char *second = arena_bytes(&arena, 16);
    memset(large, 1, 4096);
    cr_assert_eq(second, first + 16);
    arena_fini(&arena);
}

Test(arena, aborts_when_a_bounded_amount_does_not_fit, .signal = SIGABRT)
{
    struct arena arena;
    arena_init(&arena, 64, 100);
    (void)arena_alloc(&arena, 101); /* does not return */
}

Test(arena, aborts_when_count_times_size_overflows, .signal = SIGABRT)
{
    struct arena arena;
    arena_init(&arena, 64, SIZE_MAX);
    (void)arena_array(&arena, SIZE_MAX / 4, 8); /* does not return */
}

Test(arena, keeps_one_ordinary_chunk_when_cleared)
{
    struct arena arena;
    arena_init(&arena, 128, 4096);
    (void)arena_bytes(&arena, 100);
    (void)arena_bytes(&arena, 100);
    (void)arena_bytes(&arena, 3000);
    arena_clear(&arena);
    cr_assert_eq(arena.used_bytes, 0);
    cr_assert_not_null(arena.chunks);
    char *again = arena_bytes(&arena, 128);
    memset(again, 1, 128);
    cr_assert_not_null(arena_try(&arena, 3968));
    arena_fini(&arena);
}

Test(arena, may_be_used_again_after_fini)
{
    struct arena arena;
    arena_init(&arena, 64, 128);
    cr_assert_not_null(arena_try(&arena, 128));
    arena_fini(&arena);
    cr_assert_not_null(arena_try(&arena, 128));
    arena_fini(&arena);
    arena_fini(&arena);
}

Test(arena, moves_by_plain_assignment)
{
    struct arena from;
    arena_init(&from, 64, 4096);
    struct slice text = arena_dup(&from, SLICE("baton"));
    struct arena to = from;
    arena_init(&from, 64, 4096);
    cr_assert(slice_equal(text, SLICE("baton")));
    cr_assert_not_null(arena_try(&to, 2000));
    arena_fini(&to);
    arena_fini(&from);
}

Test(arena, wipes_secrets_when_cleared)
{
    struct arena arena;
    arena_init(&arena, 128, 4096);
    arena_mark_secret(&arena);
    char *secret = arena_bytes(&arena, 6);
    memcpy(secret, "hunter", 6);
    arena_clear(&arena);
    char *again = arena_bytes(&arena, 6); /* not zeroed by itself */
    cr_assert_eq(again, secret);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(again[i], 0);
    }
    arena_fini(&arena);
}

Test(arena, copies_text_with_a_nul_behind_it)
{
    struct arena arena;
    arena_init(&arena, 64, 4096);
    char source[] = "Hello";
    struct slice copy = arena_dup(&arena, slice_of(source, 5));
    source[0] = 'J';
    cr_assert(slice_equal(copy, SLICE("Hello")));
    cr_assert_eq(copy.data[5], '\0');
    cr_assert_str_eq(arena_cstr(&arena, slice_of(source, 4)), "Jell");
    struct slice empty = arena_dup(&arena, (struct slice){.data = NULL, .len = 0});
    cr_assert_eq(empty.len, 0);
    cr_assert_eq(empty.data[0], '\0');
    cr_assert(slice_equal(arena_lower(&arena, SLICE("MX.Example\xc4")), SLICE("mx.example\xc4")));
    arena_fini(&arena);
}

Test(arena, formats_text_of_any_length)
{
    struct arena arena;
    arena_init(&arena, 64, 4096);
    cr_assert(slice_equal(arena_format(&arena, "%s-%d", "a", 7), SLICE("a-7")));
    struct slice longer = arena_format(&arena, "%0*d", 1000, 1);
    cr_assert_eq(longer.len, 1000);
    cr_assert_eq(longer.data[999], '1');
    cr_assert_eq(longer.data[1000], '\0');
    arena_fini(&arena);
}

Test(arena, poisons_what_it_has_not_handed_out)
{
#ifdef HAS_ASAN
    struct arena arena;
    arena_init(&arena, 256, 4096);
    char *at = arena_bytes(&arena, 16);
    cr_assert(!__asan_address_is_poisoned(at + 15));
    cr_assert(__asan_address_is_poisoned(at + 16));
    arena_clear(&arena);
    cr_assert(__asan_address_is_poisoned(at));
    arena_fini(&arena);
#endif
}
