/* return_path.c - the addresses that bounces come back to.
 *
 *      b.<mail>.<group>.<check>@<label>.<domain>     or @<hostname>
 *
 * mail is an id in hex, because local parts may change case on their way; check is a piece of a
 * MAC, so that a bounce names its mail and nobody else can make such an address up. The local part
 * also stands in the mail's header, for complaints that quote it.
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

bool return_path_read(const struct shard *shard, struct account_id account, struct slice recipient,
                      struct id *mail, uint32_t *group)
{
    struct slice local = slice_head(recipient, slice_rfind_byte(recipient, '@'));
    char check[2 * CHECK_BYTES];
    struct id named_mail;
    uint64_t named_group;
    if (!slice_starts(local, SLICE("b."))) {
        return false;
    }
    struct slice rest = slice_from(local, 2);
    size_t dot = slice_rfind_byte(rest, '.');
    if (dot == SIZE_MAX) {
        return false;
    }
    struct slice named = slice_head(rest, dot);
    size_t hex_len = slice_find_byte(named, '.');
    struct slice hex = slice_head(named, hex_len);
    if (hex.len != 2 * sizeof(named_mail.bytes) || hex_len == SIZE_MAX ||
        hex_decode(hex, named_mail.bytes, sizeof(named_mail.bytes)) != ERR_OK ||
        id_account(named_mail).value != account.value ||
        slice_uint(slice_from(named, hex_len + 1), UINT32_MAX, &named_group) != ERR_OK) {
        return false;
    }
    check_of(shard, named, check);
    if (!crypto_equal(slice_of(check, sizeof(check)), slice_from(rest, dot + 1))) {
        return false;
    }
    *mail = named_mail;
    *group = (uint32_t)named_group;
    return true;
}

bool return_path_is_ours(const struct shard *shard, struct account_id account,
                         struct slice recipient)
{
    struct id mail;
    uint32_t group;
    return return_path_read(shard, account, recipient, &mail, &group);
}
