/* salvage.h - a new store of what can be read of a damaged one.
 *
 *      salvage_copy: store ---rows---> store.salvage   (UNFINISHED lies in it)
 *      the caller repairs the copy (kv/repair.h)
 *      salvage_swap: UNFINISHED goes; store <-> store.salvage in one step;
 *                    the damaged one is kept as store.damaged-<time>
 *
 * The damaged store is only read. A kill at any moment leaves a store in place, the old one or the
 * new; what lies beside it is taken away, or put aside, by the next salvage_copy. Holes may be
 * filled from an older copy of the store; those rows are as they were when it was made.
 *
 * Errors: ERR_CONFLICT (in use), ERR_STORAGE (no space, no permission), ERR_CORRUPT (it cannot even
 * be opened); why says more, to people.
 */
#ifndef KV_SALVAGE_H
#define KV_SALVAGE_H

#include "base/base.h"
#include "base/err.h"
#include "kv/damage.h"

#define SALVAGE_WHY_MAX  400
#define SALVAGE_PATH_MAX 4096

struct salvage_hole {
    uint32_t family;
    struct damage damage;
    uint64_t filled; /* rows that came from the older copy */
};

struct salvage_counts {
    uint64_t rows;
    uint64_t bytes;
    uint64_t holes;
    uint64_t filled;
};

struct salvage_options {
    const char *path; /* the store's folder */
    const char *from; /* an older copy: a store's folder, or a data folder; NULL: none */
    uint64_t now_unix_ms;
    void (*on_hole)(void *context, const struct salvage_hole *hole);
    void (*on_progress)(void *context, const struct salvage_counts *counts); /* now and then */
    void *context;
};

struct salvage;

/* Locks the store and makes the copy. Owns: caller; salvage_free, which ends the lock. */
MUST_USE enum err salvage_copy(const struct salvage_options *options, struct salvage **salvage,
                               char why[SALVAGE_WHY_MAX]);
/* Where the copy lies, closed, for the caller to open and repair. */
const char *salvage_path(const struct salvage *salvage);
void salvage_counts(const struct salvage *salvage, struct salvage_counts *counts);
/* Puts the copy in the store's place; it has to be closed. kept: where the damaged one is now. */
MUST_USE enum err salvage_swap(struct salvage *salvage, char kept[SALVAGE_PATH_MAX],
                               char why[SALVAGE_WHY_MAX]);
/* Without a swap the copy stays, unfinished, until the next salvage. */
void salvage_free(struct salvage *salvage);

#endif
