/* fuzz_token.c - any bytes as a token, and as the payload of a token whose signature fits: what is
 * read must be of one kind, and nothing of it none.
 */
#include "base/check.h"
#include "edge/auth.h"

#define NOW_MS UINT64_C(1750000000000)

static void read_as_both(const struct token_keys *keys, struct slice text, struct arena *arena)
{
    struct caller caller;
    struct token invite;
    bool is_session = auth_token_read(keys, text, NOW_MS, arena, &caller) == ERR_OK;
    bool is_invite = auth_invite_read(keys, text, NOW_MS, arena, &invite) == ERR_OK;
    CHECK(!is_session || !is_invite);
    CHECK_IF(is_session, caller.kind == CALLER_SESSION && !id_is_none(caller.session));
    CHECK_IF(is_invite, invite.expires_unix_ms > NOW_MS && id_is_none(invite.session));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seal_key master = {{7}};
    struct arena arena;
    crypto_init();
    arena_init(&arena, 4096, 16 << 20);
    struct token_keys keys = auth_token_keys(&master, (struct session_keys){0, 0});
    read_as_both(&keys, slice_of(data, size), &arena);
    struct slice payload = base64url_arena(&arena, slice_of(data, size));
    struct slice both = arena_format(&arena, "%s.%.*s", keys.current.header, SLICE_FMT(payload));
    struct sha256 mac =
        crypto_hmac_sha256(slice_of(keys.current.key.bytes, sizeof keys.current.key.bytes), both);
    struct slice signature = base64url_arena(&arena, sha256_slice(&mac));
    read_as_both(&keys, arena_format(&arena, "%.*s.%.*s", SLICE_FMT(both), SLICE_FMT(signature)),
                 &arena);
    arena_fini(&arena);
    return 0;
}
