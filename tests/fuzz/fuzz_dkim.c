/* fuzz_dkim.c - any bytes as a body in two splits, which must hash alike and as a plain reading of
 * RFC 6376 3.4.4 does; as a header to be signed; as a published record.
 */
#include "base/check.h"
#include "mail/dkim.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sha256 hash_split(struct slice body, uint8_t seed)
{
    struct dkim_body state;
    size_t at = 0;

    dkim_body_start(&state);
    while (at < body.len) {
        size_t len = 1 + seed % 13;
        seed = (uint8_t)(seed * 5 + 3);
        dkim_body_add(&state, slice_sub(body, at, len));
        at += len;
    }
    return dkim_body_finish(&state);
}

/* The same in one go: lines, one after another, into a buffer that is cut at the end. */
static struct sha256 hash_plainly(struct slice body)
{
    struct buf out;
    size_t kept = 0;

    buf_init(&out, 1 << 24);
    while (body.data != NULL) {
        struct slice line = slice_cut(&body, '\n');
        bool is_space = false;
        if (body.data != NULL && slice_ends(line, SLICE("\r"))) {
            line.len--;
        }
        for (size_t i = 0; i < line.len; i++) {
            bool is_blank = line.data[i] == ' ' || line.data[i] == '\t';
            if (!is_blank) {
                buf_add(&out, is_space ? SLICE(" ") : SLICE(""));
                buf_add_byte(&out, line.data[i]);
                kept = out.len + 2;
            }
            is_space = is_blank;
        }
        buf_add(&out, SLICE("\r\n"));
    }
    struct sha256 digest = crypto_sha256(slice_head(buf_slice(&out), kept));
    buf_fini(&out);
    return digest;
}

static void sign(struct slice header, struct arena *arena)
{
    static struct sign_key *key; /* one for all runs: making it costs more than signing */
    struct sha256 body_hash = crypto_sha256(header);
    struct slice field;

    if (key == NULL) {
        struct slice der;
        struct slice public_text;
        crypto_init();
        CHECK(crypto_make_key(SIGN_ED25519, arena, &der, &public_text) == ERR_OK);
        CHECK(sign_key_new(SIGN_ED25519, der, &key) == ERR_OK);
    }
    struct dkim_signer signer = {.domain = SLICE("a.example"), .selector = SLICE("s"), .key = key};
    if (dkim_sign(&signer, header, &body_hash, arena, &field) == ERR_OK) {
        CHECK(slice_ends(field, SLICE("\r\n")));
        CHECK(slice_find(field, SLICE("\r\n\r\n")) == SIZE_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size);
    struct arena arena;

    if (size == 0) {
        return 0;
    }
    crypto_init();
    struct slice body = slice_from(input, 1);
    struct sha256 plain = hash_plainly(body);
    struct sha256 split = hash_split(body, data[0]);
    struct sha256 whole = hash_split(body, 12);
    CHECK(memcmp(plain.bytes, split.bytes, sizeof plain.bytes) == 0);
    CHECK(memcmp(plain.bytes, whole.bytes, sizeof plain.bytes) == 0);

    arena_init(&arena, 4096, 64 << 20);
    sign(body, &arena);
    if (dkim_record_matches(body, SIGN_ED25519, SLICE("abc"))) {
        CHECK(slice_has_byte(body, 'a'));
    }
    arena_fini(&arena);
    return 0;
}
