/* verify_int.h - what the files of verify share; private to kv.
 *
 * verify.c has the snapshot, the cursors and the findings; verify_mail.c what is under a mail's id
 * and the outbox, verify_place.c what leads to mails from elsewhere, verify_account.c the rest.
 */
#ifndef KV_VERIFY_INT_H
#define KV_VERIFY_INT_H

#include "base/arena.h"
#include "kv/damage.h"
#include "kv/fact.h"
#include "kv/key_text.h"
#include "kv/row.h"
#include "kv/verify.h"

#define CURSORS_MAX  9
#define OWNERS_KNOWN 4096 /* accounts that were seen to be there; a power of two */
#define LOST_MAX     4096 /* open deliveries whose outbox row is looked for at once */
#define GROUP_RCPTS  100  /* recipients of one outbox row, at most; RCPT_PER_COPY_MAX of limits.h */

/* A scan of one tag's rows that goes on behind damage, and gives well-formed keys only. */
struct cursor {
    struct kv_iter *iter;
    struct kv_scan scan;
    struct key from; /* scan borrows from these */
    struct key to;
    struct key last;    /* that the iterator gave; len 0: none yet */
    struct damage hole; /* the last one met */
    bool has_hole;
    bool is_there;
    struct slice key; /* of the row it stands on; borrowed until the next one */
    struct slice value;
    struct key_parts parts;
};

enum found { FOUND, ABSENT, UNKNOWN }; /* UNKNOWN: it cannot be read */

/* An open delivery whose outbox row is not where it should be. */
struct lost {
    struct account_id account;
    struct id mail;
    uint32_t group;
    uint32_t index;
    bool is_elsewhere;
    uint64_t due_unix_ms; /* then */
};

struct owner {
    struct account_id account;
    bool is_known;
    bool is_missing;
};

struct verify {
    struct kv *kv;
    struct kv_snapshot *snapshot;
    struct verify_options options;
    uint32_t shard_count;
    uint32_t place;  /* of the families: shards, delivery, meta */
    uint32_t family; /* its number */
    uint32_t phase;
    bool is_open;  /* the phase's cursors are */
    bool is_again; /* it reads rows that another one has counted */
    struct cursor cursors[CURSORS_MAX];
    struct arena scratch; /* of one point read */
    struct buf words;
    uint32_t today;
    uint64_t id_floor_ms; /* of this family */
    bool has_floor;
    uint64_t files_expected; /* attachments whose data must be there, and whose data was */
    uint64_t files_seen;
    struct owner owners[OWNERS_KNOWN];
    struct lost *losts;
    uint32_t lost_count;
    uint64_t started_us; /* of this step */
    uint64_t spent_us;
    uint64_t rows;
    uint64_t rows_estimated;
    uint64_t bytes;
    uint64_t counts[VERIFY_KIND_COUNT];
    struct verify_finding *findings;
    uint32_t finding_count;
};

/* ---- verify.c ------------------------------------------------------------------------------- */

/* The next row; the cursor stands on none at the end. */
void cursor_next(struct verify *verify, struct cursor *cursor);
/* Whether some of these rows may lie where the cursor could not read. */
bool cursor_is_blind(const struct cursor *cursor, const struct key *prefix);
/* Reads the snapshot. *value is in the scratch arena, until the next one. */
enum found verify_get(struct verify *verify, uint32_t family, const struct key *key,
                      struct slice *value);
/* The same as of now. */
enum found verify_get_now(struct verify *verify, uint32_t family, const struct key *key,
                          struct slice *value);
void verify_say(struct verify *verify, enum verify_kind kind, const struct key *key,
                const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The family is filled in here. */
void verify_say_finding(struct verify *verify, struct verify_finding *finding);
/* Of the row that the cursor stands on. */
void verify_say_here(struct verify *verify, enum verify_kind kind, const struct cursor *cursor,
                     const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Whether the account is there; said once when it is not. */
void verify_owner(struct verify *verify, const struct cursor *cursor);

/* ---- steps: one unit of a phase; false when the phase is over ------------------------------- */

bool verify_outbox(struct verify *verify); /* O */
bool verify_mail(struct verify *verify);   /* M C V T L R E F s */
void verify_mail_end(struct verify *verify);
bool verify_data(struct verify *verify);         /* B */
bool verify_files(struct verify *verify);        /* T, when data is missing */
bool verify_mailbox_mail(struct verify *verify); /* l */
bool verify_thread(struct verify *verify);       /* t r */
bool verify_ref(struct verify *verify);          /* d */
bool verify_people(struct verify *verify);       /* A U */
bool verify_other(struct verify *verify);        /* any other tag */

#endif
