/* account_check.h - whether a row of an account's file may come into the store.
 *
 * What shards wrote was bounded when it came in, and they go by it: counts are loops, lengths are
 * buffers, ids lead to other rows. A file is somebody's word, so its rows are held against the same
 * bounds, and their ids have to be of the account.
 */
#ifndef KV_ACCOUNT_CHECK_H
#define KV_ACCOUNT_CHECK_H

#include "base/err.h"
#include "base/slice.h"

/* Errors: ERR_CORRUPT (key or value does not decode), ERR_INVALID. */
MUST_USE enum err account_check_row(struct slice key, struct slice value);

#endif
