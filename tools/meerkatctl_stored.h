/* meerkatctl_stored.h - documents about what is inside, composed from an open store.
 *
 * Apart from the files that print, because kv writes with base/json, whose names are jansson's too.
 * Each appends one JSON object to out, in the shape of the daemon's answer; what only a running
 * actor knows is null.
 */
#ifndef TOOLS_MEERKATCTL_STORED_H
#define TOOLS_MEERKATCTL_STORED_H

#include "base/buf.h"
#include "base/err.h"
#include "kv/kv.h"
#include "kv/look.h"

void stored_shards(struct kv *kv, struct buf *out);
void stored_shard(struct kv *kv, uint32_t family, struct buf *out);
/* Errors: those of look_rows and look_mail. */
MUST_USE enum err stored_rows(struct kv *kv, struct look_rows *rows, struct buf *out);
MUST_USE enum err stored_mail(struct kv *kv, struct look_mail *mail, struct buf *out);

#endif
