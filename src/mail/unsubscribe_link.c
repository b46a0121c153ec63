/* unsubscribe_link.c - see unsubscribe_link.h. */
#include "mail/unsubscribe_link.h"

#include "base/check.h"
#include "base/limits.h"

#include <string.h>

#define MAC_LEN   16
#define NAME_LEN  (sizeof(struct id) + 4) /* mail and index */
#define REHEARSED (UINT32_C(1) << 31)     /* beside the index */
#define HEAD_LEN  (NAME_LEN + MAC_LEN)
#define BYTES_MAX (HEAD_LEN + ADDR_MAX)

static void put_name(const struct unsubscribe_ref *ref, uint8_t out[NAME_LEN])
{
    uint32_t number = ref->index | (ref->is_rehearsed ? REHEARSED : 0);
    memcpy(out, ref->mail.bytes, sizeof(ref->mail.bytes));
    for (size_t i = 0; i < 4; i++) {
        out[sizeof(ref->mail.bytes) + i] = (uint8_t)(number >> (24 - 8 * i));
    }
}

static struct sha256 sign(const struct seal_key *key, const struct unsubscribe_ref *ref)
{
    uint8_t name[NAME_LEN];
    put_name(ref, name);
    return crypto_hmac_sha256_two(slice_of(key->bytes, sizeof(key->bytes)),
                                  slice_of(name, sizeof(name)), ref->address);
}

struct slice unsubscribe_link(const struct seal_key *key, const struct unsubscribe_ref *ref,
                              struct slice base, struct arena *arena)
{
    uint8_t bytes[BYTES_MAX];
    CHECK(ref->address.len > 0 && ref->address.len <= ADDR_MAX);
    CHECK(ref->index < REHEARSED);
    struct sha256 mac = sign(key, ref);
    put_name(ref, bytes);
    memcpy(bytes + NAME_LEN, mac.bytes, MAC_LEN);
    memcpy(bytes + HEAD_LEN, ref->address.data, ref->address.len);
    struct slice token = base64url_arena(arena, slice_of(bytes, HEAD_LEN + ref->address.len));
    return arena_format(arena, "%.*s/u/%.*s", SLICE_FMT(base), SLICE_FMT(token));
}

struct slice unsubscribe_header(const struct seal_key *key, const struct unsubscribe_ref *ref,
                                struct slice base, struct arena *arena)
{
    struct slice link = unsubscribe_link(key, ref, base, arena);
    bool is_one_click = slice_starts(base, SLICE("https://"));
    return arena_format(arena, "List-Unsubscribe: <%.*s>\r\n%s", SLICE_FMT(link),
                        is_one_click ? "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
                                     : "");
}

bool unsubscribe_token_read(const struct seal_key *key, struct slice token, struct arena *arena,
                            struct unsubscribe_ref *ref)
{
    struct unsubscribe_ref found = {.index = 0};
    size_t len = 0;
    if (token.len > base64_len(BYTES_MAX)) {
        return false;
    }
    uint8_t *bytes = arena_try(arena, token.len / 4 * 3 + 3);
    if (bytes == NULL || base64url_decode(token, bytes, &len) != ERR_OK || len <= HEAD_LEN ||
        len > BYTES_MAX) {
        return false;
    }
    memcpy(found.mail.bytes, bytes, sizeof(found.mail.bytes));
    for (size_t i = 0; i < 4; i++) {
        found.index = found.index << 8 | bytes[sizeof(found.mail.bytes) + i];
    }
    found.is_rehearsed = (found.index & REHEARSED) != 0;
    found.index &= ~REHEARSED;
    found.address = slice_of(bytes + HEAD_LEN, len - HEAD_LEN);
    struct sha256 mac = sign(key, &found);
    if (!crypto_equal(slice_of(mac.bytes, MAC_LEN), slice_of(bytes + NAME_LEN, MAC_LEN))) {
        return false;
    }
    *ref = found;
    return true;
}
