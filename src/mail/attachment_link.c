/* attachment_link.c - see attachment_link.h. */
#include "mail/attachment_link.h"

#include "base/check.h"

#include <stdio.h>

#define LINK_TEXT 160

static void sign(const struct seal_key *key, const struct attachment_ref *ref,
                 char hex[2 * SHA256_LEN])
{
    char id[ID_TEXT_MAX];
    char text[LINK_TEXT];
    (void)id_text(ID_MESSAGE, ref->mail, id); /* terminated */
    int len = snprintf(text, sizeof(text), "att/%s/%u\n%llu", id, ref->index,
                       (unsigned long long)ref->expires_s);
    CHECK(len > 0 && (size_t)len < sizeof(text));
    struct sha256 mac =
        crypto_hmac_sha256(slice_of(key->bytes, sizeof(key->bytes)), slice_of(text, (size_t)len));
    hex_encode(sha256_slice(&mac), hex);
}

struct slice attachment_link(const struct seal_key *key, const struct attachment_ref *ref,
                             struct slice base, struct arena *arena)
{
    char id[ID_TEXT_MAX];
    char hex[2 * SHA256_LEN];
    (void)id_text(ID_MESSAGE, ref->mail, id); /* terminated */
    sign(key, ref, hex);
    return arena_format(arena, "%.*s/att/%s/%u?exp=%llu&sig=%.*s", SLICE_FMT(base), id, ref->index,
                        (unsigned long long)ref->expires_s, (int)sizeof(hex), hex);
}

bool attachment_link_is_good(const struct seal_key *key, const struct attachment_ref *ref,
                             struct slice sig)
{
    char hex[2 * SHA256_LEN];
    sign(key, ref, hex);
    return crypto_equal(slice_of(hex, sizeof(hex)), sig);
}
