/* hook_sign.c - the signatures of webhooks. */
#include "shards/hook_sign.h"

#include "base/check.h"
#include "base/crypto.h"

#include <stdio.h>
#include <string.h>

#define PREFIX        "whsec_"
#define SIGNED_ID_MAX 64
#define KEY_BYTES_MAX 256
#define HEADERS_MAX   4096

static void add_native(const struct hook_signer *signer, struct slice body, struct buf *value)
{
    const struct slice secrets[] = {signer->secret, signer->old_secret};
    char text[24];
    int len = snprintf(text, sizeof(text), "%llu.", (unsigned long long)signer->now_unix_ms);
    CHECK(len > 0 && (size_t)len < sizeof(text));
    struct slice head = slice_of(text, (size_t)len);
    buf_add(value, SLICE("t="));
    buf_add(value, slice_head(head, head.len - 1));
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        if (secrets[i].len > 0) {
            struct sha256 mac = crypto_hmac_sha256_two(secrets[i], head, body);
            char hex[2 * SHA256_LEN];
            hex_encode(sha256_slice(&mac), hex);
            buf_add(value, SLICE(",v1="));
            buf_add(value, slice_of(hex, sizeof(hex)));
        }
    }
}

/* A secret that is not base64 behind its prefix was chosen by hand: its bytes are the key. */
static struct slice standard_key(struct slice secret, uint8_t bytes[KEY_BYTES_MAX])
{
    size_t len = 0;
    struct slice text = secret;
    if (slice_starts(secret, SLICE(PREFIX))) {
        text = slice_from(secret, strlen(PREFIX));
    }
    if (text.len / 4 * 3 + 3 > KEY_BYTES_MAX || base64_decode(text, bytes, &len) != ERR_OK) {
        return text;
    }
    return slice_of(bytes, len);
}

static void add_standard(const struct hook_signer *signer, struct slice body, struct buf *value)
{
    const struct slice secrets[] = {signer->secret, signer->old_secret};
    char head[SIGNED_ID_MAX + 32];
    CHECK(signer->id.len <= SIGNED_ID_MAX);
    int len = snprintf(head, sizeof(head), "%.*s.%llu.", SLICE_FMT(signer->id),
                       (unsigned long long)(signer->now_unix_ms / 1000));
    CHECK(len > 0 && (size_t)len < sizeof(head));
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        if (secrets[i].len == 0) {
            continue;
        }
        uint8_t key[KEY_BYTES_MAX];
        char text[64];
        struct sha256 mac = crypto_hmac_sha256_two(standard_key(secrets[i], key),
                                                   slice_of(head, (size_t)len), body);
        size_t text_len = base64_encode(sha256_slice(&mac), text);
        crypto_wipe(key, sizeof(key));
        buf_add(value, i == 0 ? SLICE("v1,") : SLICE(" v1,"));
        buf_add(value, slice_of(text, text_len));
    }
}

void hook_sign(const struct hook_signer *signer, struct slice body, struct buf *pack)
{
    struct buf value;
    char seconds[24];
    int len = snprintf(seconds, sizeof(seconds), "%llu",
                       (unsigned long long)(signer->now_unix_ms / 1000));
    CHECK(len > 0 && (size_t)len < sizeof(seconds));
    CHECK(signer->secret.len > 0);
    buf_init(&value, 512);
    add_native(signer, body, &value);
    buf_put_slice(pack, SLICE("x-mailkite-signature"));
    buf_put_slice(pack, buf_slice(&value));
    buf_put_slice(pack, SLICE("webhook-id"));
    buf_put_slice(pack, signer->id);
    buf_put_slice(pack, SLICE("webhook-timestamp"));
    buf_put_slice(pack, slice_of(seconds, (size_t)len));
    buf_clear(&value);
    add_standard(signer, body, &value);
    buf_put_slice(pack, SLICE("webhook-signature"));
    buf_put_slice(pack, buf_slice(&value));
    CHECK(!value.is_over);
    buf_fini(&value);
}

struct slice hook_headers(const struct hook_signer *signer, struct slice body, struct arena *arena)
{
    struct buf pack;
    buf_init(&pack, HEADERS_MAX);
    buf_put_slice(&pack, SLICE("content-type"));
    buf_put_slice(&pack, SLICE("application/json"));
    hook_sign(signer, body, &pack);
    CHECK(!pack.is_over);
    struct slice copy = arena_dup(arena, buf_slice(&pack));
    buf_fini(&pack);
    return copy;
}

struct slice hook_secret_make(struct arena *arena)
{
    uint8_t bytes[HOOK_SECRET_BYTES];
    char text[HOOK_SECRET_LEN];
    memcpy(text, PREFIX, strlen(PREFIX));
    crypto_random(bytes, sizeof(bytes));
    size_t len = base64_encode(slice_of(bytes, sizeof(bytes)), text + strlen(PREFIX));
    CHECK(strlen(PREFIX) + len == sizeof(text));
    struct slice secret = arena_dup(arena, slice_of(text, sizeof(text)));
    crypto_wipe(bytes, sizeof(bytes));
    crypto_wipe(text, sizeof(text));
    return secret;
}
