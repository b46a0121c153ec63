/* Not covered here: the rows built with these writers (tests/unit/kv). */
#include "base/buf.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

Test(buf, gathers_pieces_in_order)
{
    struct buf buf;
    buf_init(&buf, 1000);
    buf_add(&buf, SLICE("a"));
    buf_add(&buf, (struct slice){.data = NULL, .len = 0});
    buf_add_str(&buf, "bc");
    buf_add_byte(&buf, 'd');
    buf_add_format(&buf, "-%03d-%s", 7, "x");
    buf_add_u64(&buf, 0);
    buf_add_byte(&buf, ' ');
    buf_add_u64(&buf, UINT64_MAX);
    cr_assert(slice_equal(buf_slice(&buf), SLICE("abcd-007-x0 18446744073709551615")));
    cr_assert_eq(buf_err(&buf), ERR_OK);
    buf_fini(&buf);
}

Test(buf, fills_to_the_last_byte_of_its_ceiling)
{
    struct buf buf;
    buf_init(&buf, 5);
    buf_add_format(&buf, "%s", "12345");
    cr_assert_eq(buf_err(&buf), ERR_OK);
    cr_assert_eq(buf.len, 5);
    buf_add_byte(&buf, '6');
    cr_assert_eq(buf_err(&buf), ERR_TOO_LARGE);
    cr_assert(slice_equal(buf_slice(&buf), SLICE("12345")));
    buf_fini(&buf);
}

Test(buf, lets_nothing_in_behind_a_lost_piece)
{
    struct buf buf;
    buf_init(&buf, 5);
    buf_add_str(&buf, "abc");
    buf_add_str(&buf, "def");
    buf_add_str(&buf, "g");
    buf_add_format(&buf, "%d", 1);
    cr_assert_null(buf_room(&buf, 1));
    cr_assert(slice_equal(buf_slice(&buf), SLICE("abc")));
    cr_assert_eq(buf_err(&buf), ERR_TOO_LARGE);
    buf_clear(&buf);
    cr_assert_eq(buf_err(&buf), ERR_OK);
    buf_add_str(&buf, "g");
    cr_assert(slice_equal(buf_slice(&buf), SLICE("g")));
    buf_fini(&buf);
}

Test(buf, never_holds_more_than_its_ceiling)
{
    struct buf buf;
    buf_init(&buf, 1000);
    for (size_t i = 0; i < 1000; i++) {
        buf_add_byte(&buf, (char)('a' + i % 26));
        cr_assert(buf.capacity <= 1000);
    }
    cr_assert_eq(buf_err(&buf), ERR_OK);
    cr_assert_eq(buf.data[999], 'a' + 999 % 26);
    buf_fini(&buf);
}

Test(buf, refuses_a_length_that_would_wrap)
{
    struct buf buf;
    buf_init(&buf, 1000);
    buf_add_str(&buf, "abc");
    cr_assert_null(buf_room(&buf, SIZE_MAX));
    cr_assert_null(buf_room(&buf, SIZE_MAX - 2));
    cr_assert_eq(buf.len, 3);
    buf_fini(&buf);
}

Test(buf, gives_room_to_write_into)
{
    struct buf buf;
    buf_init(&buf, 1000);
    char *room = buf_room(&buf, 300);
    cr_assert_not_null(room);
    memset(room, 'x', 300);
    buf_grew(&buf, 200);
    cr_assert_eq(buf.len, 200);
    cr_assert_not_null(buf_room(&buf, 800));
    cr_assert_not_null(buf_room(&buf, 0));
    buf_fini(&buf);
    cr_assert_not_null(buf_room(&buf, 0), "nothing fits into nothing");
    buf_fini(&buf);
}

Test(buf, aborts_when_grown_past_its_room, .signal = SIGABRT)
{
    struct buf buf;
    buf_init(&buf, 1000);
    cr_assert_not_null(buf_room(&buf, 10));
    buf_grew(&buf, 1001);
}

Test(buf, drops_bytes_from_the_front)
{
    struct buf buf;
    buf_init(&buf, 1000);
    buf_consume(&buf, 0);
    buf_add_str(&buf, "one two");
    buf_consume(&buf, 4);
    cr_assert(slice_equal(buf_slice(&buf), SLICE("two")));
    buf_consume(&buf, 3);
    cr_assert_eq(buf.len, 0);
    buf_fini(&buf);
}

Test(buf, hands_its_block_over)
{
    struct buf buf;
    buf_init(&buf, 1000);
    buf_add_str(&buf, "mine");
    size_t len = 0;
    char *block = buf_steal(&buf, &len);
    cr_assert_eq(len, 4);
    cr_assert(memcmp(block, "mine", 4) == 0);
    free(block);
    cr_assert_eq(buf.len, 0);
    buf_add_str(&buf, "again");
    cr_assert(slice_equal(buf_slice(&buf), SLICE("again")));
    buf_fini(&buf);
}

Test(buf, writes_numbers_little_endian)
{
    struct buf buf;
    buf_init(&buf, 100);
    buf_put_u8(&buf, 0x01);
    buf_put_u16(&buf, 0x0203);
    buf_put_u32(&buf, 0x04050607);
    buf_put_u64(&buf, UINT64_C(0x08090a0b0c0d0e0f));
    buf_put_slice(&buf, SLICE("hi"));
    cr_assert(slice_equal(buf_slice(&buf), SLICE("\x01\x03\x02\x07\x06\x05\x04"
                                                 "\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08"
                                                 "\x02\0\0\0hi")));
    buf_fini(&buf);
}

Test(buf, reads_back_what_was_written)
{
    struct buf buf;
    buf_init(&buf, 100);
    buf_put_u8(&buf, UINT8_MAX);
    buf_put_u16(&buf, UINT16_MAX - 1);
    buf_put_u32(&buf, UINT32_MAX - 2);
    buf_put_u64(&buf, UINT64_MAX - 3);
    buf_put_slice(&buf, SLICE("text"));
    struct slice rest = buf_slice(&buf);
    uint8_t u8 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    struct slice text;
    cr_assert(get_u8(&rest, &u8) && get_u16(&rest, &u16) && get_u32(&rest, &u32) &&
              get_u64(&rest, &u64) && get_slice(&rest, &text));
    cr_assert_eq(u8, UINT8_MAX);
    cr_assert_eq(u16, UINT16_MAX - 1);
    cr_assert_eq(u32, UINT32_MAX - 2);
    cr_assert_eq(u64, UINT64_MAX - 3);
    cr_assert(slice_equal(text, SLICE("text")));
    cr_assert_eq(rest.len, 0);
    cr_assert(!get_u8(&rest, &u8));
    buf_fini(&buf);
}

Test(buf, touches_nothing_when_input_is_short)
{
    struct slice seven = SLICE("1234567");
    struct slice rest = seven;
    uint64_t u64 = 42;
    cr_assert(!get_u64(&rest, &u64));
    cr_assert_eq(u64, 42);
    cr_assert(rest.data == seven.data && rest.len == 7);

    static const struct {
        const char *name;
        struct slice wire;
    } table[] = {
        {"nothing", SLICE_INIT("")},
        {"half a length", SLICE_INIT("\x01\0")},
        {"length without bytes", SLICE_INIT("\x01\0\0\0")},
        {"one byte missing", SLICE_INIT("\x03\0\0\0ab")},
        {"the largest length", SLICE_INIT("\xff\xff\xff\xff"
                                          "ab")},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct slice out = SLICE("untouched");
        rest = table[i].wire;
        cr_assert(!get_slice(&rest, &out), "%s", table[i].name);
        cr_assert(slice_equal(out, SLICE("untouched")), "%s", table[i].name);
        cr_assert(rest.data == table[i].wire.data && rest.len == table[i].wire.len, "%s",
                  table[i].name);
    }
}

Test(buf, counts_the_items_of_a_pack)
{
    struct buf buf;
    buf_init(&buf, 100);
    cr_assert_eq(pack_count(buf_slice(&buf)), 0);
    buf_put_slice(&buf, SLICE("a"));
    buf_put_slice(&buf, SLICE(""));
    buf_put_slice(&buf, SLICE("ccc"));
    cr_assert_eq(pack_count(buf_slice(&buf)), 3);
    cr_assert_eq(pack_count(slice_head(buf_slice(&buf), buf.len - 1)), 2, "a torn end");
    buf_fini(&buf);
}

Test(buf, leaves_no_torn_item_at_its_ceiling)
{
    struct buf buf;
    buf_init(&buf, 6);
    buf_put_slice(&buf, SLICE("abc"));
    cr_assert_eq(buf_err(&buf), ERR_TOO_LARGE);
    cr_assert_eq(buf.len, 0);
    buf_fini(&buf);
}
