/* look.h - what is in a store, as JSON for people.
 *
 * Shards answer the operator with these from their workers, and meerkatctl, when no daemon runs,
 * from a store that it opened read-only: so both say the same. Nothing here reads a whole family:
 * pages are bounded in rows and bytes, counts in time, and what is an estimate says so.
 *
 * What cannot be read is shown as such and counted in `damaged`; reading goes on behind it.
 *
 * Members are written into the object that is open in w. Rows are printed as row_print does, keys
 * as key_print does.
 */
#ifndef KV_LOOK_H
#define KV_LOOK_H

#include "base/base.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/kv.h"

#define LOOK_ROWS_DEFAULT 20
#define LOOK_ROWS_MAX     1000
#define LOOK_BYTES_MAX    (1 * MIB)      /* of rows, as text, after which a page or a list ends */
#define LOOK_MAIL_ROWS    500            /* shown of each family */
#define LOOK_COUNT_US     UINT64_C(3000) /* counting one family of keys of a shard */
#define LOOK_GLANCE_US    UINT64_C(1000) /* the same when every shard is looked at */
#define LOOK_PREFIX_MAX   1024           /* bytes typed */

struct json_writer; /* base/json.h */

/* "name", "accounts", "outbox", "store": a family of the store in a few numbers. */
void look_shard(struct kv *kv, uint32_t family, struct json_writer *w);
/* "store": the whole of it. */
void look_store(struct kv *kv, struct json_writer *w);
/* "families": how many rows of each kind, and their bytes. Cost: LOOK_COUNT_US each, 0.1 s in all.
 */
void look_families(struct kv *kv, uint32_t family, struct json_writer *w);

/* "rows" and "next", a page in the order of keys. */
struct look_rows {
    uint32_t family;
    struct slice prefix; /* as typed (key_text.h); empty: all */
    struct slice after;  /* likewise: those behind it; empty: from the first */
    uint32_t limit;      /* 0: LOOK_ROWS_DEFAULT */
    /* out */
    uint32_t count;
    uint32_t damaged;
    const char *why; /* ERR_INVALID: a sentence, and the word it is about */
    struct slice word;
    bool is_after_wrong; /* it is about after, not prefix */
};
MUST_USE enum err look_rows(struct kv *kv, struct look_rows *rows, struct json_writer *w);

/* A mail with everything that is stored of it but its bytes. ERR_NOT_FOUND when there is nothing of
 * it at all. */
struct look_mail {
    struct id id;
    bool has_transcripts;
    /* out */
    uint32_t damaged;
};
MUST_USE enum err look_mail(struct kv *kv, struct look_mail *mail, struct json_writer *w);
/* The shard of a mail's account. */
uint32_t look_shard_of(struct kv *kv, struct account_id account);

#endif
