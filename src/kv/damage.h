/* damage.h - reading on behind what cannot be read.
 *
 * A block, or a whole table file, whose checksum is wrong ends a scan. What lies behind it is still
 * good, so the scan is taken up at the next key that can be read: the borders of the family's files
 * are tried first, then the space in front of the first good one is halved until the hole is as
 * small as it is. Rows of other files that fall into the hole cannot be listed either; they may
 * still be found by name.
 *
 * Cost: a few hundred seeks for each hole.
 */
#ifndef KV_DAMAGE_H
#define KV_DAMAGE_H

#include "base/base.h"
#include "kv/key.h"
#include "kv/kv.h"

#define DAMAGE_FILES_MAX 160 /* text */

struct damage {
    struct key from; /* the last row before the hole; len 0: none was read */
    struct key to;   /* the first row behind it; len 0: none up to the end of the scan */
    char files[DAMAGE_FILES_MAX]; /* those that reach into the hole: "000012.sst (level 6)" */
};

/* scan: as the one that failed; last: the last key that it gave, empty when none. After it
 * kv_iter_seek(iter, damage->to) goes on, when has a key. */
void damage_skip(struct kv *kv, const struct kv_scan *scan, struct slice last,
                 struct damage *damage);

#endif
