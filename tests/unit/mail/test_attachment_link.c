/* test_attachment_link.c - signed links. */
#include <criterion/criterion.h>

#include "mail/attachment_link.h"

#include <stdio.h>
#include <string.h>

static const struct seal_key key = {.bytes = {1, 2, 3}};

static struct attachment_ref ref_of(void)
{
    struct attachment_ref ref = {.index = 4, .expires_s = 1750000000};
    cr_assert_eq(id_parse(ID_MESSAGE, SLICE("msg_0351SnKUtAHLNikrnJ5rvs"), &ref.mail), ERR_OK);
    return ref;
}

Test(attachment_link, signs_what_it_says_it_signs, .timeout = 10)
{
    struct attachment_ref ref = ref_of();
    struct arena arena;
    char want[400];
    char hex[2 * SHA256_LEN];
    crypto_init();
    arena_init(&arena, 1024, 8192);
    struct sha256 mac = crypto_hmac_sha256(slice_of(key.bytes, sizeof(key.bytes)),
                                           SLICE("att/msg_0351SnKUtAHLNikrnJ5rvs/4\n1750000000"));
    hex_encode(sha256_slice(&mac), hex);
    int len = snprintf(want, sizeof(want),
                       "https://m.example/att/msg_0351SnKUtAHLNikrnJ5rvs/4?exp=1750000000&sig=%.*s",
                       (int)sizeof(hex), hex);
    struct slice link = attachment_link(&key, &ref, SLICE("https://m.example"), &arena);
    cr_expect(slice_equal(link, slice_of(want, (size_t)len)), "%.*s", SLICE_FMT(link));
    cr_expect(attachment_link_is_good(&key, &ref, slice_of(hex, sizeof(hex))));
    arena_fini(&arena);
}

Test(attachment_link, is_good_for_nothing_else, .timeout = 10)
{
    struct attachment_ref ref = ref_of();
    struct arena arena;
    crypto_init();
    arena_init(&arena, 1024, 8192);
    struct slice link = attachment_link(&key, &ref, SLICE(""), &arena);
    struct slice sig = slice_from(link, slice_find(link, SLICE("sig=")) + 4);
    cr_expect(attachment_link_is_good(&key, &ref, sig));
    struct attachment_ref other = ref;
    other.index++;
    cr_expect_not(attachment_link_is_good(&key, &other, sig));
    other = ref;
    other.expires_s++;
    cr_expect_not(attachment_link_is_good(&key, &other, sig));
    other = ref;
    other.mail.bytes[15] ^= 1;
    cr_expect_not(attachment_link_is_good(&key, &other, sig));
    struct seal_key wrong = key;
    wrong.bytes[31] = 9;
    cr_expect_not(attachment_link_is_good(&wrong, &ref, sig));
    cr_expect_not(attachment_link_is_good(&key, &ref, SLICE("")));
    cr_expect_not(attachment_link_is_good(&key, &ref, slice_head(sig, sig.len - 1)));
    char *bytes = (char *)arena_cstr(&arena, sig);
    for (size_t i = 0; i < sig.len; i++) {
        bytes[i] ^= 1;
        cr_expect_not(attachment_link_is_good(&key, &ref, slice_of(bytes, sig.len)), "%zu", i);
        bytes[i] ^= 1;
    }
    arena_fini(&arena);
}
