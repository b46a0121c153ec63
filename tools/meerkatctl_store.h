/* meerkatctl_store.h - the store of a daemon that does not run, opened by the tool itself.
 *
 * A command that can look without a daemon lists "offline" among its options and asks
 * ctl_is_offline first. Reading needs no lock: RocksDB reads the tables and replays the log into
 * memory, so what is seen is everything that was written up to the opening, and nothing later, also
 * beside a daemon that runs. Beside one the reading may fail half-way, when a table that was not
 * open yet is compacted away. Writing takes the store's lock, so it is refused while somebody has
 * it, and refused in a store of another format.
 *
 * Errors: what is wrong is said on standard error, and the status to exit with comes back.
 */
#ifndef TOOLS_MEERKATCTL_STORE_H
#define TOOLS_MEERKATCTL_STORE_H

#include "meerkatctl.h"

#include "kv/kv.h"
#include "kv/migrate.h"

/* Whether the command is to open the store: --offline was given, or no daemon answers and the store
 * is closed, which is said on standard error. */
bool ctl_is_offline(struct ctl *ctl);

/* EXIT_GOOD, or EXIT_UNREACHABLE when the store is not there, in use (for writing), damaged, or a
 * newer program's. stamp may be NULL. Owns: caller; kv_close. */
int ctl_store_open(struct ctl *ctl, bool wants_writing, struct kv **kv, struct store_stamp *stamp);

/* The folder of the store: "<data>/store". */
const char *ctl_store_path(struct ctl *ctl);
#define STORE_HELD_ELSEWHERE (-1) /* by a process that has no number here */
/* The process that has the store open for writing; 0 when nobody has. */
int ctl_store_holder(struct ctl *ctl);

#endif
