/* row_words.h - what the numbers and ids of rows mean to people.
 *
 * Rows are printed by whoever has the store, also where the shards' own words (shards/words.h) are
 * not linked. The tests of shards compare the two.
 */
#ifndef KV_ROW_WORDS_H
#define KV_ROW_WORDS_H

#include "base/base.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/row.h"

/* The word for a member's value: ROW_DELIVERY, "status", 2: "delivered". NULL when it is no word,
 * or one that this program does not know. */
const char *row_word(enum row_family family, struct slice member, uint32_t value);
/* What an id is of: ROW_DELIVERY, "route". False when the row does not say. */
bool row_id_kind(enum row_family family, struct slice member, enum id_kind *kind);
/* Members that nobody is shown: sealed ones, hashes, ids of sessions. */
bool row_is_secret(struct slice member);

#endif
