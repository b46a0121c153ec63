/* test_gzip.c - packing and unpacking, with ceilings.
 *
 * Not covered here: other programs' gzip (flow/test_sts.c reads ours with Python's).
 */
#include "base/gzip.h"

#include <criterion/criterion.h>
#include <string.h>

static char long_text[300000];

static void fill_long_text(void)
{
    for (size_t i = 0; i < sizeof long_text; i++) {
        long_text[i] = (char)('a' + i * i % 23);
    }
}

Test(gzip, what_is_packed_unpacks_to_itself)
{
    fill_long_text();
    size_t lens[] = {0, 1, 100, 4096, 65536, sizeof long_text};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf packed;
        struct buf plain;
        buf_init(&packed, 1 << 20);
        buf_init(&plain, 1 << 20);
        struct slice text = slice_of(long_text, lens[i]);
        cr_assert_eq(gzip_pack(text, &packed), ERR_OK);
        cr_assert_eq(gzip_unpack(buf_slice(&packed), &plain), ERR_OK, "%zu bytes", lens[i]);
        cr_assert(slice_equal(buf_slice(&plain), text));
        buf_fini(&packed);
        buf_fini(&plain);
    }
}

Test(gzip, members_behind_each_other_are_one_text)
{
    struct buf packed;
    struct buf plain;
    buf_init(&packed, 1 << 20);
    buf_init(&plain, 1 << 20);
    cr_assert_eq(gzip_pack(SLICE("one "), &packed), ERR_OK);
    cr_assert_eq(gzip_pack(SLICE("two"), &packed), ERR_OK);
    cr_assert_eq(gzip_unpack(buf_slice(&packed), &plain), ERR_OK);
    cr_assert(slice_equal(buf_slice(&plain), SLICE("one two")));
    buf_fini(&packed);
    buf_fini(&plain);
}

Test(gzip, a_bomb_stops_at_the_ceiling)
{
    struct buf packed;
    struct buf plain;
    buf_init(&packed, 1 << 20);
    buf_init(&plain, 10000);
    memset(long_text, 'x', sizeof long_text);
    cr_assert_eq(gzip_pack(slice_of(long_text, sizeof long_text), &packed), ERR_OK);
    cr_assert_lt(packed.len, 2000);
    cr_assert_eq(gzip_unpack(buf_slice(&packed), &plain), ERR_TOO_LARGE);
    cr_assert_leq(plain.len, 10000);
    buf_fini(&packed);
    buf_fini(&plain);
}

Test(gzip, packing_stops_at_the_ceiling)
{
    struct buf packed;
    buf_init(&packed, 10);
    cr_assert_eq(gzip_pack(SLICE("more than ten bytes"), &packed), ERR_TOO_LARGE);
    buf_fini(&packed);
}

Test(gzip, damage_is_told)
{
    struct buf packed;
    struct buf plain;
    fill_long_text();
    buf_init(&packed, 1 << 20);
    buf_init(&plain, 1 << 20);
    cr_assert_eq(gzip_pack(slice_of(long_text, 5000), &packed), ERR_OK);
    struct slice whole = buf_slice(&packed);
    for (size_t len = 0; len < whole.len; len += 97) {
        buf_clear(&plain);
        cr_assert_eq(gzip_unpack(slice_head(whole, len), &plain), ERR_INVALID, "cut at %zu", len);
    }
    buf_clear(&plain);
    cr_assert_eq(gzip_unpack(SLICE("plain text"), &plain), ERR_INVALID);
    buf_add_str(&packed, "and more");
    buf_clear(&plain);
    cr_assert_eq(gzip_unpack(buf_slice(&packed), &plain), ERR_INVALID);
    packed.data[packed.len / 2] = (char)(packed.data[packed.len / 2] ^ 0x55);
    buf_clear(&plain);
    cr_assert_neq(gzip_unpack(buf_slice(&packed), &plain), ERR_OK);
    buf_fini(&packed);
    buf_fini(&plain);
}
