/* suppression.c - addresses that get no more mail of an account: one place where they are added.
 *
 * A row is under the address's addr_key, so the check of a send is one read for each recipient.
 */
#include "base/clock.h"
#include "shards/shard_int.h"

struct slice suppression_key(struct slice address, struct arena *arena)
{
    size_t at = slice_rfind_byte(address, '@');
    if (at == SIZE_MAX || address.len > ADDR_MAX) {
        return SLICE("");
    }
    struct addr addr = {
        .local = slice_head(address, at),
        .domain = slice_from(address, at + 1),
        .text = address,
    };
    return addr_key(&addr, arena);
}

void suppression_add(struct shard *shard, struct account_id account,
                     const struct suppression *suppression)
{
    if (suppression->key.len == 0 || suppression->key.len > ADDR_MAX) {
        return;
    }
    struct row_suppression row = {
        .email = suppression->key,
        .reason = (uint8_t)suppression->reason,
        .note = slice_head(suppression->note, SUPPRESSION_NOTE_MAX),
        .created_unix_ms = clock_unix_ms(),
        .mail = suppression->mail,
    };
    shard_put_suppression(shard, key_suppression(account, row.email), &row);
}
