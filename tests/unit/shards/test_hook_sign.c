/* Signatures of webhooks. The expected values were computed with openssl, not with this code.
 *
 * Not covered here: that a foreign library accepts them (tests/flow/test_inbound.c). */
#include "shards/hook_sign.h"

#include "base/crypto.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(hook_sign, .init = crypto_init);

#define BODY "{\"type\":\"email.received\",\"id\":\"evt_123\",\"message\":\"It works.\"}"

static struct slice header(struct slice pack, const char *name)
{
    struct slice key;
    struct slice value;
    while (get_slice(&pack, &key) && get_slice(&pack, &value)) {
        if (slice_equal(key, slice_str(name))) {
            return value;
        }
    }
    return SLICE("");
}

Test(hook_sign, gives_the_published_vector)
{
    struct buf pack;
    buf_init(&pack, 4096);
    struct hook_signer signer = {
        .secret = SLICE("whsec_mailkite_test"),
        .id = SLICE("evt_123"),
        .now_unix_ms = UINT64_C(1750000000000),
    };
    hook_sign(&signer, SLICE(BODY), &pack);
    cr_expect(slice_equal(header(buf_slice(&pack), "x-mailkite-signature"),
                          SLICE("t=1750000000000,v1=3d790f831e170ddba4d001f27532bf2c"
                                "1fc68ebed52eef72fe453dfa1196b03c")));
    cr_expect(slice_equal(header(buf_slice(&pack), "webhook-id"), SLICE("evt_123")));
    cr_expect(slice_equal(header(buf_slice(&pack), "webhook-timestamp"), SLICE("1750000000")));
    buf_fini(&pack);
}

/* The example of the Standard Webhooks specification. */
Test(hook_sign, gives_the_standard_vector)
{
    struct buf pack;
    buf_init(&pack, 4096);
    struct hook_signer signer = {
        .secret = SLICE("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        .id = SLICE("msg_p5jXN8AQM9LWM0D4loKWxJek"),
        .now_unix_ms = UINT64_C(1614265330000),
    };
    hook_sign(&signer, SLICE("{\"test\": 2432232314}"), &pack);
    cr_expect(slice_equal(header(buf_slice(&pack), "webhook-signature"),
                          SLICE("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")));
    buf_fini(&pack);
}

Test(hook_sign, signs_with_both_secrets_during_an_overlap)
{
    struct buf pack;
    struct buf alone;
    buf_init(&pack, 4096);
    buf_init(&alone, 4096);
    struct hook_signer signer = {
        .secret = SLICE("whsec_bmV3"),
        .old_secret = SLICE("whsec_mailkite_test"),
        .id = SLICE("evt_123"),
        .now_unix_ms = UINT64_C(1750000000000),
    };
    hook_sign(&signer, SLICE(BODY), &pack);
    signer.old_secret = SLICE("");
    hook_sign(&signer, SLICE(BODY), &alone);
    struct slice both = header(buf_slice(&pack), "x-mailkite-signature");
    struct slice one = header(buf_slice(&alone), "x-mailkite-signature");
    cr_expect(slice_starts(both, one), "the new one first");
    cr_expect(slice_ends(both, SLICE(",v1=3d790f831e170ddba4d001f27532bf2c"
                                     "1fc68ebed52eef72fe453dfa1196b03c")));
    struct slice standard = header(buf_slice(&pack), "webhook-signature");
    cr_expect(slice_starts(standard, header(buf_slice(&alone), "webhook-signature")));
    cr_expect_neq(slice_find(standard, SLICE(" v1,")), SIZE_MAX);
    buf_fini(&pack);
    buf_fini(&alone);
}

Test(hook_sign, makes_a_new_secret_each_time)
{
    struct arena arena;
    arena_init(&arena, 1024, 4096);
    arena_mark_secret(&arena);
    struct slice first = hook_secret_make(&arena);
    struct slice second = hook_secret_make(&arena);
    cr_expect_eq(first.len, HOOK_SECRET_LEN);
    cr_expect(slice_starts(first, SLICE("whsec_")));
    cr_expect_not(slice_equal(first, second));
    arena_fini(&arena);
}
