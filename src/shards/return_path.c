/* return_path.c - the addresses that bounces come back to.
 *
 *      b.<mail>.<group>.<check>@<label>.<domain>     or @<hostname>
 *
 * mail is an id in hex, because local parts may change case on their way; check is a piece of a
 * MAC, so that a bounce names its mail and nobody else can make such an address up.
 */
#include "shards/shard_int.h"

#include <string.h>

#define CHECK_BYTES 4

static void check_of(const struct shard *shard, struct slice named, char hex[2 * CHECK_BYTES])
{
    struct sha256 mac =
        crypto_hmac_sha256(slice_of(shard->return_path_seal.bytes, SEAL_KEY_LEN), named);
    hex_encode(slice_of(mac.bytes, CHECK_BYTES), hex);
}

struct slice return_path_local(const struct shard *shard, struct id mail, uint32_t group,
                               struct arena *arena)
{
    char hex[2 * sizeof(mail.bytes)];
    char check[2 * CHECK_BYTES];
    hex_encode(slice_of(mail.bytes, sizeof(mail.bytes)), hex);
    struct slice named = arena_format(arena, "%.*s.%u", (int)sizeof(hex), hex, group);
    check_of(shard, named, check);
    return arena_format(arena, "b.%.*s.%.*s", SLICE_FMT(named), (int)sizeof(check), check);
}

bool return_path_is_ours(const struct shard *shard, struct account_id account,
                         struct slice recipient)
{
    struct slice local = slice_head(recipient, slice_rfind_byte(recipient, '@'));
    struct id mail;
    char check[2 * CHECK_BYTES];
    if (!slice_starts(local, SLICE("b."))) {
        return false;
    }
    struct slice rest = slice_from(local, 2);
    size_t dot = slice_rfind_byte(rest, '.');
    if (dot == SIZE_MAX) {
        return false;
    }
    struct slice named = slice_head(rest, dot);
    struct slice hex = slice_head(named, slice_find_byte(named, '.'));
    if (hex.len != 2 * sizeof(mail.bytes) ||
        hex_decode(hex, mail.bytes, sizeof(mail.bytes)) != ERR_OK ||
        id_account(mail).value != account.value) {
        return false;
    }
    check_of(shard, named, check);
    return crypto_equal(slice_of(check, sizeof(check)), slice_from(rest, dot + 1));
}
