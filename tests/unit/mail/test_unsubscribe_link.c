/* Links to unsubscribe: what a token names, and that nobody else can make one.
 *
 * Not covered here: the page and the wish (tests/unit/shards/test_unsubscribe, tests/flow).
 */
#include "mail/unsubscribe_link.h"

#include "base/limits.h"

#include <criterion/criterion.h>

#include <string.h>

static const struct seal_key key = {.bytes = {1, 2, 3}};

static struct unsubscribe_ref ref_of(const char *address)
{
    struct unsubscribe_ref ref = {.index = 0x01020304, .address = slice_str(address)};
    memset(ref.mail.bytes, 0xa5, sizeof(ref.mail.bytes));
    return ref;
}

static struct slice token_of(struct arena *arena, const struct unsubscribe_ref *ref)
{
    struct slice base = SLICE("https://x.test");
    return slice_from(unsubscribe_link(&key, ref, base, arena), base.len + 3);
}

Test(unsubscribe_link, names_mail_delivery_and_address)
{
    static const char *const addresses[] = {"a", "ann@dest.test", "m\xc3\xbcller@dest.test"};
    struct arena arena;
    crypto_init();
    arena_init(&arena, KIB, 64 * KIB);
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct unsubscribe_ref ref = ref_of(addresses[i]);
        struct unsubscribe_ref found;
        ref.is_rehearsed = i % 2 != 0;
        cr_assert(unsubscribe_token_read(&key, token_of(&arena, &ref), &arena, &found));
        cr_expect_eq(found.is_rehearsed, ref.is_rehearsed);
        cr_expect(id_equal(found.mail, ref.mail));
        cr_expect_eq(found.index, ref.index);
        cr_expect(slice_equal(found.address, ref.address));
    }
    arena_fini(&arena);
}

Test(unsubscribe_link, of_anybody_else_is_refused)
{
    struct arena arena;
    struct unsubscribe_ref ref = ref_of("ann@dest.test");
    struct unsubscribe_ref found;
    struct seal_key other = {.bytes = {1, 2, 4}};
    char longest[1024];
    crypto_init();
    arena_init(&arena, KIB, MIB);
    struct slice token = token_of(&arena, &ref);
    cr_expect_not(unsubscribe_token_read(&other, token, &arena, &found));
    for (size_t i = 0; i < token.len; i++) {
        char copy[256];
        memcpy(copy, token.data, token.len);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        cr_expect_not(unsubscribe_token_read(&key, slice_of(copy, token.len), &arena, &found),
                      "%zu", i);
        cr_expect_not(unsubscribe_token_read(&key, slice_head(token, i), &arena, &found));
    }
    memset(longest, 'A', sizeof(longest));
    cr_expect_not(unsubscribe_token_read(&key, slice_of(longest, sizeof(longest)), &arena, &found));
    cr_expect_not(unsubscribe_token_read(&key, SLICE(""), &arena, &found));
    cr_expect_not(unsubscribe_token_read(&key, SLICE("%%%"), &arena, &found));
    arena_fini(&arena);
}

Test(unsubscribe_link, promises_one_click_over_https_alone)
{
    struct arena arena;
    struct unsubscribe_ref ref = ref_of("ann@dest.test");
    crypto_init();
    arena_init(&arena, KIB, 64 * KIB);
    struct slice secure = unsubscribe_header(&key, &ref, SLICE("https://x.test"), &arena);
    cr_expect(slice_starts(secure, SLICE("List-Unsubscribe: <https://x.test/u/")));
    cr_expect(
        slice_ends(secure, SLICE(">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")));
    struct slice plain = unsubscribe_header(&key, &ref, SLICE("http://x.test"), &arena);
    cr_expect(slice_starts(plain, SLICE("List-Unsubscribe: <http://x.test/u/")));
    cr_expect(slice_ends(plain, SLICE(">\r\n")));
    cr_expect_eq(slice_find(plain, SLICE("One-Click")), SIZE_MAX);
    arena_fini(&arena);
}
