/* process.h - what the kernel says of this process, for metrics and top.
 *
 * A handful of system calls and reads of /proc, so it is read on a worker, when somebody asks. What
 * cannot be read is 0.
 */
#ifndef EDGE_PROCESS_H
#define EDGE_PROCESS_H

#include "base/base.h"
#include "base/buf.h"

struct process_stat {
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t cpu_us;          /* of all threads, in user and kernel mode */
    uint64_t started_unix_ms; /* is told, see process_started */
    uint64_t open_files;
    uint64_t open_files_max;
};

/* When it began, in unix time, or 0. Ask once: the clocks that it comes from disagree by a moment
 * more or less each time, and a start that moves is a restart to whoever watches. */
uint64_t process_started(void);
void process_read(struct process_stat *stat, uint64_t started_unix_ms);
/* In Prometheus' text, under the names that every process has, and the version. */
void process_print(const struct process_stat *stat, struct buf *out);

#endif
