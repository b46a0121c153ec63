/* verify.h - whether a store is what it should be: every row read, and compared with the others.
 *
 * The idea: one snapshot of all families, read in order, in steps that fit between other work. A
 * row must have a key of its family, lie in the shard that its account hashes to, and decode; rows
 * that speak of each other must agree. Neighbours are compared by merging ranges (a mail with its
 * chunks, deliveries, attempts, events), others by point reads, so that memory does not grow with
 * the store.
 *
 * A finding is damage, or a note: what a crash may leave and the daemon takes care of (a mail still
 * coming in, a sign-up nobody can use, a deletion cut short). A live store has no false findings:
 * shards write a fact in one batch, and what takes two batches of two shards is looked at again as
 * of now before it is said. What cannot be read is one finding for each hole (kv/damage.h), and
 * nothing is said of what may be in it.
 *
 * It writes nothing; kv/repair.h does. For one thread at a time.
 */
#ifndef KV_VERIFY_H
#define KV_VERIFY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"
#include "kv/key.h"
#include "kv/kv.h"

/* name, word for scripts, whether it is damage, sentence for people */
#define VERIFY_KINDS(X)                                                                            \
    X(UNREADABLE, "unreadable", 1, "a part of the store cannot be read")                           \
    X(KEY, "key", 1, "a key that is none of ours")                                                 \
    X(MISPLACED, "misplaced", 1, "a row in a shard that does not own it")                          \
    X(ROW, "row", 1, "a row that does not decode")                                                 \
    X(ROW_ID, "row_id", 1, "a row that is not what its key says")                                  \
    X(STAMP, "stamp", 1, "the format stamp is missing or makes no sense")                          \
    X(ACCOUNT_MISSING, "account_missing", 1, "rows of an account that is not there")               \
    X(MEMBER_COUNT, "member_count", 1, "an account counts its people wrongly")                     \
    X(MAIL_MISSING, "mail_missing", 1, "rows of a mail that is not there")                         \
    X(MAIL_COUNT, "mail_count", 1, "a mail counts its deliveries wrongly")                         \
    X(DELIVERY_MISSING, "delivery_missing", 1, "a mail lacks deliveries that it counts as open")   \
    X(DELIVERY_GROUP, "delivery_group", 1, "a delivery that belongs to a group that cannot be")    \
    X(BODY, "body", 1, "a mail's body is not complete")                                            \
    X(ATTACHMENT, "attachment", 1, "a mail lacks an attachment, or has one too many")              \
    X(ATTACHMENT_DATA, "attachment_data", 1, "an attachment's data is not complete")               \
    X(STAGE_OF_MAIL, "stage_of_mail", 1, "a stage that would take a mail's body with it")          \
    X(OUTBOX_MISSING, "outbox_missing", 1, "an open delivery that nothing will bring about")       \
    X(OUTBOX_DUE, "outbox_due", 1, "a delivery and its outbox row disagree on when it is due")     \
    X(OUTBOX_DANGLING, "outbox_dangling", 1, "an outbox row that leads to nothing")                \
    X(OUTBOX_TWICE, "outbox_twice", 1, "a second outbox row for the same deliveries")              \
    X(REF_MISSING, "ref_missing", 1, "a webhook delivery that cannot be found by its id")          \
    X(REF_DANGLING, "ref_dangling", 1, "the id of a delivery that is not there")                   \
    X(PLACE_MISSING, "place_missing", 1, "a mail that its mailbox or thread does not show")        \
    X(PLACE_DANGLING, "place_dangling", 1, "a mailbox or thread shows a mail that is not there")   \
    X(THREAD_MISSING, "thread_missing", 1, "mails of a thread that is not there")                  \
    X(THREAD_COUNT, "thread_count", 1, "a thread counts its mails wrongly")                        \
    X(MAILBOX_NAME, "mailbox_name", 1, "an address and its mailbox do not lead to each other")     \
    X(DOMAIN_NAME, "domain_name", 1, "a name and its domain do not lead to each other")            \
    X(KEY_ID, "key_id", 1, "an API key and its id do not lead to each other")                      \
    X(ROUTE_LIST, "route_list", 1, "an account's routes and their list disagree")                  \
    X(HOOK_ROUTE, "hook_route", 1, "a domain's webhook has no route")                              \
    X(DIRECTORY, "directory", 1, "a name in the directory that leads to nobody")                   \
    X(ID_FLOOR, "id_floor", 1, "a shard may give out ids that are taken")                          \
    X(STAGE_OPEN, "stage_open", 0, "a mail that is still coming in, or was when the daemon died")  \
    X(DISCARDED, "discarded", 0, "a mail whose deletion was cut short; delete it again")           \
    X(OUTBOX_IDLE, "outbox_idle", 0, "an outbox row of deliveries that have ended; it will go")    \
    X(DATA_ORPHAN, "data_orphan", 0, "data of an attachment that is gone; it goes with its day")   \
    X(KEY_DUE, "key_due", 0, "a reminder of an API key that is gone; it will go")                  \
    X(CLAIM, "claim", 0, "a claim without its owner, as a sign-up that was cut short leaves it")   \
    X(UNCLAIMED, "unclaimed", 0, "somebody or something whose name the directory does not know")   \
    X(QUARANTINED, "quarantined", 0, "a row that a repair has put aside")

enum verify_kind {
#define X(name, word, is_damage, sentence) VERIFY_##name,
    VERIFY_KINDS(X)
#undef X
        VERIFY_KIND_COUNT
};

const char *verify_word(enum verify_kind kind);
const char *verify_sentence(enum verify_kind kind);
bool verify_is_damage(enum verify_kind kind);

#define VERIFY_DETAIL_MAX 200

struct verify_finding {
    enum verify_kind kind;
    uint32_t family;
    struct key key; /* the row that it is about, or that is missing; a prefix where it is many */
    struct key
        other; /* UNREADABLE: where reading goes on; len 0: at the end. OUTBOX_DUE: its row */
    char detail[VERIFY_DETAIL_MAX];
};

/* Called from verify_step for each finding, also for those that are not kept. */
typedef void verify_finding_fn(void *context, const struct verify_finding *finding);

struct verify_options {
    uint64_t now_unix_ms;
    verify_finding_fn *on_finding; /* may be NULL */
    void *context;
};

struct verify_progress {
    uint64_t rows;
    uint64_t rows_estimated;
    uint64_t bytes;
    uint64_t elapsed_ms; /* within steps */
    uint64_t left_ms;    /* by the rate so far; 0 when nothing is known */
    uint32_t family;     /* that is being read */
    uint64_t damage;
    uint64_t notes;
    uint64_t counts[VERIFY_KIND_COUNT];
};

struct verify;

/* Takes the snapshot. Owns: caller; verify_free. */
struct verify *verify_new(struct kv *kv, const struct verify_options *options);
void verify_free(struct verify *verify);
/* Works for about budget_us; false when all is done. */
bool verify_step(struct verify *verify, uint64_t budget_us);
void verify_progress(const struct verify *verify, struct verify_progress *progress);
/* The first VERIFY_FINDINGS_MAX of them, of which notes take up a quarter at most. Borrowed until
 * verify_free. */
const struct verify_finding *verify_findings(const struct verify *verify, uint32_t *count);
/* Members of a JSON object: rows, bytes, ms, damage, notes, kinds, findings: those that are kept,
 * for as long as w has less than bytes_max. */
struct json_writer;
void verify_write(const struct verify *verify, struct json_writer *w, size_t bytes_max);
/* The object itself. */
void verify_report(const struct verify *verify, struct buf *out);

#endif
