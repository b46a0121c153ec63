/* account_rows.h - all rows of one account as they are at one moment, family by family.
 *
 * For taking an account elsewhere. The order is that in which they can be written again: first what
 * nothing acts on, then what is due (the outbox), and last the account itself, without which none
 * of it counts. Mails that are still coming in are left out, with their chunks: their senders will
 * come again. Rows of the directory are not the account's own; they follow from its people and
 * domains.
 *
 * Cost: what is due stands in the order of its time, so that family is read whole.
 */
#ifndef KV_ACCOUNT_ROWS_H
#define KV_ACCOUNT_ROWS_H

#include "base/base.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/key_text.h"
#include "kv/kv.h"

struct account_rows;

/* Of the account's own shard. Owns: caller; account_rows_free. */
struct account_rows *account_rows_new(struct kv *kv, struct account_id account);
void account_rows_free(struct account_rows *rows);

enum account_rows_next {
    ACCOUNT_ROW,       /* one: *key and *value borrow until the next call */
    ACCOUNT_ROWS_MORE, /* others' rows were passed by: ask again */
    ACCOUNT_ROWS_END,
    ACCOUNT_ROWS_FAILED, /* the store cannot be read */
};
enum account_rows_next account_rows_next(struct account_rows *rows, struct slice *key,
                                         struct slice *value);
/* The family that is being read. */
const char *account_rows_at(const struct account_rows *rows);

/* Whether such a row belongs to an account, which is then *account, and is taken along. */
bool account_rows_is_one(struct slice key, struct account_id *account);

#endif
