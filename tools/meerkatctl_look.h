/* meerkatctl_look.h - where the commands that look inside get what they show.
 *
 * Each document comes from the daemon, or, when ctl_is_offline says so, from the store, in the same
 * shape: what only a running actor knows is null then. What is wrong is said on standard error, and
 * the status to exit with comes back.
 *
 * Owns: documents are the caller's.
 */
#ifndef TOOLS_MEERKATCTL_LOOK_H
#define TOOLS_MEERKATCTL_LOOK_H

#include "meerkatctl.h"

#include "kv/kv.h"

struct look {
    struct ctl *ctl;
    struct kv *kv; /* NULL: the daemon is asked */
};

int look_open(struct ctl *ctl, struct look *look);
void look_close(struct look *look);

/* {data, store, shardCount} */
int look_at_shards(struct look *look, json_t **answer);
/* name: a number, or "deliver"; refused with a sentence when there is none such. */
int look_at_shard(struct look *look, const char *name, json_t **answer);
struct look_page {
    const char *shard;
    const char *prefix; /* "": all */
    const char *after;  /* "": from the first */
    uint32_t limit;
};
int look_at_rows(struct look *look, const struct look_page *page, json_t **answer);
int look_at_mail(struct look *look, const char *id, bool has_transcripts, json_t **answer);
/* The bytes of a mail, to standard output. */
int look_write_raw(struct look *look, const char *id);

/* ---- how it is shown ------------------------------------------------------------------------- */

/* "12.3 MiB"; "3 m ago", "in 2 h" of a date as the JSON has it, "-" of none. Text lives in ctl's
 * arena. */
const char *look_bytes(struct ctl *ctl, uint64_t bytes);
const char *look_ago(struct ctl *ctl, const char *date);
const char *look_number(struct ctl *ctl, uint64_t number, bool is_exact);
uint64_t doc_u64(json_t *from, const char *path);
bool doc_is(json_t *from, const char *path);

#endif
