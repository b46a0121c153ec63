/* track_link.c - see track_link.h. */
#include "mail/track_link.h"

#include "base/check.h"

#include <string.h>

#define MAC_LEN   16
#define HEAD_LEN  (sizeof(struct id) + MAC_LEN)
#define BYTES_MAX (HEAD_LEN + TRACK_URL_MAX)

/* An open's check never fits a click's token, whatever the address. */
static struct sha256 sign(const struct seal_key *key, const struct track_ref *ref)
{
    static const char *const labels[] = {[TRACK_OPEN] = "open/", [TRACK_CLICK] = "click"};
    char head[5 + sizeof(struct id)];
    CHECK(strlen(labels[ref->kind]) == 5);
    memcpy(head, labels[ref->kind], 5);
    memcpy(head + 5, ref->mail.bytes, sizeof(ref->mail.bytes));
    return crypto_hmac_sha256_two(slice_of(key->bytes, sizeof(key->bytes)),
                                  slice_of(head, sizeof(head)), ref->url);
}

struct slice track_link(const struct seal_key *key, const struct track_ref *ref, struct slice base,
                        struct arena *arena)
{
    char bytes[BYTES_MAX];
    CHECK(ref->url.len <= TRACK_URL_MAX);
    CHECK_IF(ref->kind == TRACK_OPEN, ref->url.len == 0);
    struct sha256 mac = sign(key, ref);
    memcpy(bytes, ref->mail.bytes, sizeof(ref->mail.bytes));
    memcpy(bytes + sizeof(ref->mail.bytes), mac.bytes, MAC_LEN);
    if (ref->url.len > 0) {
        memcpy(bytes + HEAD_LEN, ref->url.data, ref->url.len);
    }
    struct slice token = base64url_arena(arena, slice_of(bytes, HEAD_LEN + ref->url.len));
    return arena_format(arena, "%.*s/t/%c/%.*s", SLICE_FMT(base),
                        ref->kind == TRACK_OPEN ? 'o' : 'c', SLICE_FMT(token));
}

bool track_token_read(const struct seal_key *key, struct slice token, struct arena *arena,
                      struct track_ref *ref)
{
    struct track_ref found = {.kind = ref->kind};
    size_t len = 0;
    if (token.len > base64_len(BYTES_MAX)) {
        return false;
    }
    uint8_t *bytes = arena_try(arena, token.len / 4 * 3 + 3);
    if (bytes == NULL || base64url_decode(token, bytes, &len) != ERR_OK || len < HEAD_LEN ||
        (len > HEAD_LEN) != (ref->kind == TRACK_CLICK)) {
        return false;
    }
    memcpy(found.mail.bytes, bytes, sizeof(found.mail.bytes));
    found.url = slice_of(bytes + HEAD_LEN, len - HEAD_LEN);
    struct sha256 mac = sign(key, &found);
    if (!crypto_equal(slice_of(mac.bytes, MAC_LEN),
                      slice_of(bytes + sizeof(found.mail.bytes), MAC_LEN))) {
        return false;
    }
    *ref = found;
    return true;
}
