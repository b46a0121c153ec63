/* shard_int.h - what the behaviours of a shard share; included by shard.c and its behaviours only.
 *
 * The idea: a handler reads with shard_get_<row>, writes with shard_put_<row> and shard_delete, and
 * ends with shard_answer. The shard remembers what the handler leaned on: rows that it wrote, or
 * read out of a batch that is not on disk yet. An answer that leans on such a batch waits for it;
 * any other goes home at once. When a batch fails, the younger one fails with it, because its rows
 * may have been computed from those lost. So no answer, good or bad, is ever given from a row that
 * does not exist afterwards, and there is no state in memory to be undone.
 *
 * Rule for handlers: every check and every read that may fail comes before the first write.
 *
 * Work for other threads goes through shard_offload. While it is out, anything may change: `done`
 * starts by reading again.
 */
#ifndef SHARDS_SHARD_INT_H
#define SHARDS_SHARD_INT_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/latency.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/rate.h"
#include "base/slice.h"
#include "kv/key.h"
#include "kv/kv.h"
#include "kv/row.h"
#include "mail/bounce_rules.h"
#include "net/loop.h"
#include "shards/actor.h"
#include "shards/msg.h"
#include "shards/place.h"
#include "shards/row_cache.h"
#include "shards/suppression_filter.h"
#include "shards/throttle.h"

#define SCAN_RETRY_MS       1000                       /* delivery's schedule was full */
#define SWEEP_MS            (UINT64_C(10) * 60 * 1000) /* between two looks for forgotten rows */
#define PROBE_MS            1000                       /* between two questions for free space */
#define ROW_BYTES_MAX       (2 * MIB)                  /* the largest row: a mail with headers */
#define ANNOUNCE_MAX        (2 * MIB)                  /* new outbox entries of one batch */
#define SCAN_ROWS_MAX       8192                       /* outbox rows looked at by one page */
#define SELECTOR_LEN        3                          /* "mk1" */
#define SIGN_CACHE_MAX      64                         /* domains whose keys stay unsealed */
#define LIST_ROWS_MAX       20000                      /* rows looked at by one list request */
#define ROUTE_SETS_MAX      64                         /* accounts whose patterns stay compiled */
#define KEY_TOUCH_MS        60000                      /* last_used is written this rarely */
#define KEY_EXPIRING_MS     (UINT64_C(7) * 24 * 3600 * 1000) /* owners are told this early */
#define KEY_DUE_PAGE        64                               /* expiring keys told of in one turn */
#define SHARD_TIMERS        5                                /* of struct shard, see shard_move.c */
#define STAGE_SWEEP_PAGE    64                               /* stages dropped in one turn */
#define RETENTION_PAGE      16                               /* mails erased in one turn */
#define DELIVERY_GROUP_NONE UINT32_C(0xffffffff)             /* a recipient that was never due */

/* Rows on their way to the committer, and whoever waits for them. */
struct batch {
    struct kv_batch *rows;
    struct msg *parked; /* oldest first; each carries the err it will go home with */
    struct msg *parked_last;
    uint32_t parked_count;
    struct buf announces; /* new outbox entries, packed */
    uint64_t unannounced; /* earliest due of those that did not fit; UINT64_MAX: none */
    uint64_t accepted_bytes;
    uint32_t accepted_count;
};

enum depends { DEPENDS_NONE, DEPENDS_FLYING, DEPENDS_FILLING };

struct shard;
struct shard_job;
typedef void shard_job_fn(struct shard_job *job);

/* Embedded first in the context of a piece of work, which usually lives in msg's arena. */
struct shard_job {
    struct job job;
    struct shard *shard;
    struct msg *msg;
    shard_job_fn *work;
    shard_job_fn *done;
    struct link link; /* shard->ready_jobs, while it waits to be done */
};

/* The scan of the outbox: what is owed to delivery, and the page that is being read. */
struct scan {
    struct shard_job job; /* msg: the wake that the page is read into */
    bool is_owed;
    bool is_running;
    struct key from; /* owed: first key, inclusive */
    uint64_t due_max;
    struct key page_from;
    uint64_t page_due_max;
    uint64_t now_unix_ms;
    struct key page_next;
    bool has_more;
    enum err err;
    struct timer retry;
};

/* Unsealed DKIM keys of a domain under the names that it had for them. Workers sign with them while
 * pins > 0. */
struct sign_entry {
    struct id domain; /* none: the entry is free */
    char rsa_selector[SELECTOR_LEN];
    char ed_selector[SELECTOR_LEN];
    struct sign_key *rsa;
    struct sign_key *ed;
    uint64_t used; /* shard's sign_clock at the last use */
    uint32_t pins;
    bool is_doomed; /* the domain is gone: free at the last unpin */
};

/* A key whose owner is to be told that it will expire. */
struct key_due_ref {
    uint64_t due_unix_ms;
    struct id key;
    struct sha256 hash;
};

/* The scan for those whose moment has come, a page at a time. */
struct due_scan {
    struct shard_job job;
    bool is_running;
    bool has_more;
    struct key from;
    struct key to;
    struct key_due_ref refs[KEY_DUE_PAGE];
    uint32_t count;
    enum err err;
};

/* The scan for stages that nobody will end, a page at a time. */
struct stage_sweep {
    struct shard_job job;
    bool is_running;
    bool has_more;
    struct key from;
    struct id mails[STAGE_SWEEP_PAGE];
    uint32_t count;
    enum err err;
};

/* A mail that has been kept for long enough, as a worker found it. */
struct retention_find {
    struct id mail;
    uint32_t delivery_count; /* another one by now: it is looked at again another day */
    size_t hooks_at;         /* in the sweep's hooks, bytes */
    uint32_t hook_count;
};

/* The sweep for such mails, a page at a time. */
struct retention_sweep {
    struct shard_job job;
    bool is_running;
    bool has_more;
    struct account_id account; /* whose mails are being read; none: from the first */
    struct id after;           /* the last of them that was looked at */
    struct retention_find finds[RETENTION_PAGE];
    uint32_t count;
    struct buf hooks; /* ids of webhook deliveries of those found; while the page is open */
    uint64_t erased;
    enum err err;
};

/* The daily look at the domains that may send, a page at a time. */
struct watch {
    struct shard_job job;
    struct timer timer;
    bool is_running; /* a page is read or looked at */
    bool has_more;
    struct key from;
    struct id domains[WATCH_PAGE];
    uint32_t count;
    uint32_t next; /* of the page */
    uint32_t open; /* messages that are with delivery */
    enum err err;
};

/* What a shard has done since it was made; for whoever looks, and nothing depends on it. */
struct shard_counters {
    uint64_t batches;
    uint64_t batch_rows;
    uint64_t batch_bytes;
    uint32_t batch_rows_max;
    uint64_t batches_lost;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t mails;
    uint64_t mail_bytes;
    uint64_t job_us; /* spent in the ends of jobs */
    struct latency commit;
};

struct domain_work;
struct erase_plan;
struct ended_walk;
struct route_set;
struct track_table;

struct shard {
    struct actor actor;
    const struct place *place;
    struct kv *kv;
    uint32_t family;
    struct id_maker ids;
    struct batch batches[2];
    struct batch *filling;
    struct batch *flying; /* NULL: the committer has nothing of ours */
    enum depends depends; /* of the handler that runs */
    struct row_cache cache;
    struct shard_counters counters;
    struct rate_table rates; /* of accounts and keys; none for delivery's shard */
    struct suppression_filter suppressions;
    struct arena scratch; /* of the handler that runs */
    struct buf encoded;   /* one row */
    uint64_t free_bytes;  /* of the store's filesystem, as of the last commit */
    uint64_t probed_ms;
    bool wants_probe;
    bool is_started;
    bool is_draining;
    bool is_stopping;
    uint32_t jobs_open;                    /* those put aside included */
    struct msg *move;                      /* CONTROL_MOVE, while the shard packs */
    struct timer move_due;                 /* then it stays */
    struct link late_jobs;                 /* asked for while it packed; oldest first */
    uint32_t jobs_late;                    /* how many */
    uint64_t timers_left_ms[SHARD_TIMERS]; /* on its way; UINT64_MAX: was not started */
    struct link keys_running; /* struct idempotency_run: of mails that are being composed */
    struct link ready_jobs; /* back from their workers when both batches were full; oldest first */
    uint32_t lookups_open;
    struct domain_work *lookups[SHARD_WORK_MSGS]; /* by token - 1 */
    uint32_t walks_open;
    struct ended_walk *walks[SHARD_WORK_MSGS]; /* likewise */
    struct msg *drain;                         /* waits for the batches to empty */
    struct msg *stop;                          /* waits for every own message to be home */
    struct scan scan;
    struct due_scan due_scan;
    struct stage_sweep stage_sweep;
    struct retention_sweep retention;
    struct watch watch;
    uint64_t intake_bytes;             /* of the received mails in hand */
    struct id stages[STAGES_OPEN_MAX]; /* of this run; none: the place is free */
    uint32_t stage_cursor;             /* the next place to be doubted */
    uint64_t id_floor_ms;              /* ids up to this are of earlier runs */
    struct timer sweep;
    struct timer ahead;
    uint64_t ahead_unix_ms; /* delivery was told of what is due before */
    struct sign_entry sign_cache[SIGN_CACHE_MAX];
    uint64_t sign_clock;
    struct bounce_rules *bounce_rules;        /* for reports that come in */
    struct throttle *throttle;                /* NULL until the first try */
    struct seal_key dkim_seal;                /* from the master key, at CONTROL_START */
    struct seal_key return_path_seal;         /* likewise; key of the return path's check */
    struct seal_key hook_seal;                /* likewise; of webhook secrets */
    struct seal_key attachment_seal;          /* likewise; key of attachment links */
    struct seal_key track_seal;               /* likewise; key of links that count */
    struct seal_key unsubscribe_seal;         /* likewise; key of links to unsubscribe */
    struct track_table *tracks;               /* last opens and clicks; NULL until the first */
    struct route_set *routes[ROUTE_SETS_MAX]; /* compiled patterns, by account */
};

/* ---- reading and writing (shard.c) ---------------------------------------------------------- */

/* Filling batch, flying batch, store. ERR_NOT_FOUND when absent; value in arena. */
MUST_USE enum err shard_get(struct shard *shard, const struct key *key, struct arena *arena,
                            struct slice *value);
void shard_delete(struct shard *shard, struct key key);
/* A row that is encoded already. */
void shard_put_bytes(struct shard *shard, struct slice key, struct slice value);

/* For each row family. get: ERR_NOT_FOUND, ERR_CORRUPT, ERR_STORAGE; the row's text is in arena. */
#define ROW(name, NAME, version, fields)                                                           \
    MUST_USE enum err shard_get_##name(struct shard *shard, struct key key, struct arena *arena,   \
                                       struct row_##name *row);                                    \
    void shard_put_##name(struct shard *shard, struct key key, const struct row_##name *row);
ROW_TABLE(ROW)
#undef ROW

/* A value of the store alone, for bodies and workers. ERR_NOT_FOUND when absent. Any thread. */
MUST_USE enum err shard_load(const struct shard *shard, const struct key *key, struct arena *arena,
                             struct slice *value);

/* Sends msg home with err, now or when what the handler leaned on is on disk.
 * Owns: takes msg. */
void shard_answer(struct shard *shard, struct msg *msg, enum err err);

/* Tells delivery of an outbox row of the filling batch once it is on disk. */
void shard_announce(struct shard *shard, const struct outbox_entry *entry);
/* Gives event its id and time and writes it to mail's log. */
void shard_write_event(struct shard *shard, struct id mail, struct row_event *event);

/* Runs work on a worker, then done on the loop, in a fresh handler. The context must outlive done's
 * start; done may answer job->msg. */
void shard_offload(struct shard *shard, struct shard_job *job, shard_job_fn *work,
                   shard_job_fn *done);

/* The part of shard_offload that needs the loop. */
void shard_start_job(struct shard *shard, struct shard_job *job);

struct id shard_id(struct shard *shard, struct account_id account);
/* Asks the committer for the free space, at most once in PROBE_MS. */
void shard_probe(struct shard *shard);

/* ---- shard_move.c --------------------------------------------------------------------------- */

void move_init(struct shard *shard, struct loop *loop);
/* Owns: takes msg. */
void move_begin(struct shard *shard, struct msg *msg);
void move_put_aside(struct shard *shard, struct shard_job *job);
/* At the end of a turn in which nothing was left to commit: do not touch shard afterwards. */
void move_try(struct shard *shard);

/* ---- account.c ------------------------------------------------------------------------------ */

/* A caller whose rights were checked. Text is in the message's arena. */
struct principal {
    struct row_account account;
    bool has_key;
    struct row_api_key key;
    bool has_user;
    struct row_user user;
    bool is_operator;
};

/* ERR_UNAUTHORIZED, ERR_SUSPENDED, ERR_SCOPE with msg->param, or a storage error. */
MUST_USE enum err shard_check_caller(struct shard *shard, struct msg *msg,
                                     const struct caller *caller, struct principal *principal);
/* Counts the request against its account and its key, once however often it is checked. ERR_RATE
 * when either has none left; then neither is charged. */
MUST_USE enum err shard_charge(struct shard *shard, struct msg *msg, const struct caller *caller,
                               const struct principal *principal);
/* Test and live keys do not see each other's mails; a session sees both. */
bool principal_sees(const struct principal *principal, uint8_t mode);

/* ---- user.c --------------------------------------------------------------------------------- */

/* The part of shard_check_caller for sessions. */
MUST_USE enum err user_check(struct shard *shard, struct msg *msg, const struct caller *caller,
                             struct principal *principal);
void user_handle(struct shard *shard, struct msg *msg);
/* A pack of open sessions and one more: those that have expired, and the oldest beyond
 * SESSIONS_PER_USER, are left out. In arena. */
struct slice user_sessions_with(struct slice pack, struct id session, uint64_t expires_unix_ms,
                                struct arena *arena);
/* The sessions of a pack as credentials for shard_end_credentials, all but one; in arena. */
struct credential *user_end_sessions(struct slice pack, struct id but, struct arena *arena,
                                     uint32_t *count);

/* ---- member.c ------------------------------------------------------------------------------- */

void member_handle(struct shard *shard, struct msg *msg);

/* ---- key.c ---------------------------------------------------------------------------------- */

/* The part of shard_check_caller for keys; principal->account is there already. */
MUST_USE enum err api_key_check(struct shard *shard, struct msg *msg, const struct caller *caller,
                                struct principal *principal);
/* A session may everything. */
bool principal_may_use_domain(const struct principal *who, struct id domain);
bool principal_may_send_as(const struct principal *who, struct slice local, struct arena *arena);
/* Whether it is a key for some domains or addresses only: what holds for the whole account is not
 * its to change. */
bool principal_is_bound(const struct principal *who);
void api_key_handle(struct shard *shard, struct msg *msg);

/* ---- key_scan.c ----------------------------------------------------------------------------- */

/* The credentials of all keys bound to a domain, in arena. Reads the store alone. Any thread. */
MUST_USE enum err api_keys_of_domain(const struct shard *shard, struct id domain,
                                     struct arena *arena, struct credential **list,
                                     uint32_t *count);
/* Follows a key's expiry; 0: none, or no longer worth telling. */
struct api_key_due {
    struct id key;
    struct sha256 hash;
    uint64_t before_unix_ms;
    uint64_t after_unix_ms;
};
void api_key_due_move(struct shard *shard, const struct api_key_due *due);
/* Tells of the keys whose moment has come. */
void api_key_due_sweep(struct shard *shard);

/* ---- ended.c -------------------------------------------------------------------------------- */

/* Whether shard_end_credentials may be called in this handler. Ask before the first write; the
 * answer otherwise is ERR_BUSY. */
bool shard_can_end(const struct shard *shard);
/* In place of shard_answer(shard, msg, ERR_OK), for a handler whose rows take credentials back:
 * first every connection of every edge that used one of them is ended, then the answer goes home
 * when the rows are on disk. A batch that fails is ERR_STORAGE as ever. The list is sorted in place
 * and must stay where it is, in msg's arena.
 * Owns:   takes msg. */
void shard_end_credentials(struct shard *shard, struct msg *msg, struct credential *list,
                           uint32_t count);
/* One credential, which is copied. */
void shard_end_credential(struct shard *shard, struct msg *msg, struct credential ended);
/* Likewise for one that goes on for a while: its connections are ended then. */
void shard_cap_credential(struct shard *shard, struct msg *msg, struct credential capped,
                          uint64_t at_unix_ms);
/* For shard.c: news that came home; a batch that is on disk, or lost. */
void ended_home(struct shard *shard, struct msg *msg);
void ended_batch_settled(struct shard *shard, const struct batch *batch, enum err err);

/* ---- audit.c -------------------------------------------------------------------------------- */

/* One line of an account's log: who did what from where. */
struct audit_note {
    struct account_id account;
    const struct principal *who; /* NULL: the system itself */
    const struct caller *caller; /* NULL likewise */
    const char *action;          /* "api_key.created"; the names are listed in docs/OPERATIONS.md */
    struct slice target;         /* text of an id, or an address */
    struct slice detail;         /* may be empty */
};
/* Part of the filling batch, so it stands or falls with what it tells of. */
void shard_audit(struct shard *shard, const struct audit_note *note);
/* With the text of an id as target. */
void shard_audit_id(struct shard *shard, const struct audit_note *note, enum id_kind kind,
                    struct id target);
/* A page of the log. */
void audit_list(struct shard *shard, struct msg *msg);

/* ---- account.c, the requests ---------------------------------------------------------------- */

void account_signup(struct shard *shard, struct msg *msg);
void account_drop(struct shard *shard, struct msg *msg);
void account_login(struct shard *shard, struct msg *msg);
void account_me(struct shard *shard, struct msg *msg);
void account_check(struct shard *shard, struct msg *msg);
void account_directory(struct shard *shard, struct msg *msg);
void account_throttle(struct shard *shard, struct msg *msg);

/* ---- admin.c -------------------------------------------------------------------------------- */

void admin_handle(struct shard *shard, struct msg *msg);

/* ---- domain.c ------------------------------------------------------------------------------- */

void domain_handle(struct shard *shard, struct msg *msg);
/* A look-up of ours came home. */
void domain_lookup_home(struct shard *shard, struct msg *msg);
bool domain_may_send(const struct domain_checks *checks);
/* A key that is about to sign is as good as the one that it takes the place of. */
void domain_count_next(const struct row_domain *row, struct domain_checks *checks);
void domain_keep_known(const struct row_domain *row, struct domain_checks *checks);
/* Has those of a row's next keys sign whose records were seen; whether there were any. */
bool domain_switch_keys(struct row_domain *row, const struct domain_checks *checks);

/* ---- watch.c -------------------------------------------------------------------------------- */

void watch_start(struct shard *shard);
void watch_stop(struct shard *shard);
/* What delivery looked up came home.
 * Owns: takes msg. */
void watch_home(struct shard *shard, struct msg *msg);

/* ---- outbound.c ----------------------------------------------------------------------------- */

void outbound_send(struct shard *shard, struct msg *msg);
void outbound_expire(struct shard *shard, struct msg *msg);
/* Whether a rehearsed mail to this domain follows the script: test.invalid, and `sandbox.` in front
 * of a domain of the account. */
MUST_USE enum err outbound_is_scripted(struct shard *shard, struct account_id account,
                                       struct slice domain, bool *is_scripted);

/* Adds an address to a pack as it is shown: the address, or name <address>. */
void outbound_pack_addr(struct buf *pack, struct slice name, struct slice address);

/* ---- idempotency.c -------------------------------------------------------------------------- */

/* A key of the client's, as the rows know it. */
struct idempotency {
    struct account_id account;
    struct sha256 hash;
    uint64_t now_unix_ms;
};
struct idempotency idempotency_of(const struct principal *who, struct slice text,
                                  uint64_t now_unix_ms, struct arena *arena);
/* A request that is being worked on away from the loop; no note of it can be found yet. Lives with
 * the work, so there are no more of them than messages. */
struct idempotency_run {
    struct link link;
    struct account_id account;
    struct sha256 hash;
};
void idempotency_start(struct shard *shard, const struct idempotency *key,
                       struct idempotency_run *run);
/* Nothing when it was never started. */
void idempotency_stop(struct idempotency_run *run);
/* The note of an earlier request. ERR_NOT_FOUND: none, or it is too old; ERR_IDEMPOTENCY_REUSED:
 * that one had another body; ERR_IDEMPOTENCY_RUNNING: it is being worked on, or is not on disk yet,
 * and the answer need not wait for that. */
MUST_USE enum err idempotency_find(struct shard *shard, const struct idempotency *key,
                                   const struct sha256 *body_hash, struct row_idempotency *row);
void idempotency_note(struct shard *shard, const struct idempotency *key,
                      const struct sha256 *body_hash, struct id mail);
/* Notes a request that makes no single mail, unless that was done; the last check and the first
 * write of its handler. */
MUST_USE enum err idempotency_claim(struct shard *shard, const struct principal *who,
                                    struct slice text, const struct sha256 *body_hash);

/* ---- claim.c -------------------------------------------------------------------------------- */

void claim_claim(struct shard *shard, struct msg *msg);
/* False: there are rows of it only, and nothing of them may be sent. */
bool claim_has_account(struct shard *shard, struct account_id account);
void claim_chunk(struct shard *shard, struct msg *msg);
void claim_outcome(struct shard *shard, struct msg *msg);
/* Forgets a domain's unsealed keys; all of them when domain is none. */
void claim_forget_keys(struct shard *shard, struct id domain);
/* Whether another claim must wait: held in this run, and the lease has not run out. */
bool outbox_is_leased(const struct row_outbox *row, uint64_t boot, uint64_t now_unix_ms);
/* Still to be delivered. */
bool delivery_is_open(const struct row_delivery *row);
/* Deliveries of a sent mail that are to recipients; they come first. Those to webhooks, behind
 * them, may be many times as many. */
uint32_t mail_rcpt_count(const struct row_mail *mail);

/* A group of deliveries, which share an outbox row, as an outcome or a claim finds it. */
struct group {
    struct row_outbox outbox;
    struct row_delivery *open;
    uint32_t *indexes;
    uint32_t open_count;
};
MUST_USE enum err claim_load_group(struct shard *shard, const struct outbox_entry *entry,
                                   struct arena *arena, struct group *group);
/* Leases the row of a claim, whose body gets number and age of the try; the last check and the
 * first write of its handler. */
MUST_USE enum err claim_lease(struct shard *shard, struct msg *msg, struct group *group);

/* ---- suppression.c -------------------------------------------------------------------------- */

/* An address that is to get no more mail of an account. */
struct suppression {
    struct slice key; /* addr_key form; empty: nothing is written */
    enum suppression_reason reason;
    struct slice note; /* for people; cut at SUPPRESSION_NOTE_MAX */
    struct id mail;    /* that it came of; none: somebody asked for it */
};
/* addr_key of an address as deliveries have it; empty when it is none. */
struct slice suppression_key(struct slice address, struct arena *arena);
/* Part of the filling batch. What was known of the address is replaced. */
void suppression_add(struct shard *shard, struct account_id account,
                     const struct suppression *suppression);
void suppression_handle(struct shard *shard, struct msg *msg);

/* ---- bounce.c ------------------------------------------------------------------------------- */

/* The event of a verdict, for the mail's log and whoever listens. The caller writes mail. */
/* Whether nobody refused the mail and we gave it up by ourselves: its time was over, or no server
 * gave it the protection that it asks for. "failed" then, and not "bounced". */
bool bounce_is_ours(const struct verdict *verdict);
void bounce_tell(struct shard *shard, struct row_mail *mail, struct slice recipient,
                 const struct verdict *verdict);
/* Leaves the recipient alone from now on, when the verdict says that the address is at fault. */
void bounce_suppress(struct shard *shard, struct id mail, struct slice recipient,
                     const struct verdict *verdict);
/* A recipient who calls a mail spam. Counts once; the caller writes mail. */
struct complaint {
    struct row_mail *mail;
    uint32_t index; /* of the delivery */
    struct row_delivery *delivery;
    struct slice text;
    bool is_rehearsed; /* suppresses nobody */
};
void bounce_complain(struct shard *shard, const struct complaint *complaint);

/* ---- unsubscribe.c -------------------------------------------------------------------------- */

/* Puts the fields that let the recipient of a delivery unsubscribe in front of *block, in arena,
 * when the mail wants them and its sender has written none. Reads only. */
MUST_USE enum err unsubscribe_add(struct shard *shard, const struct row_mail *mail, uint32_t index,
                                  struct arena *arena, struct slice *block);
void unsubscribe_handle(struct shard *shard, struct msg *msg);

/* ---- template.c ----------------------------------------------------------------------------- */

void template_handle(struct shard *shard, struct msg *msg);

/* ---- return_path.c -------------------------------------------------------------------------- */

/* The local part of the address that bounces of a group come back to, in arena. */
struct slice return_path_local(const struct shard *shard, struct id mail, uint32_t group,
                               struct arena *arena);
/* The mail and group that such an address, or its local part alone, names; false when it is none of
 * the account's. Any thread. */
bool return_path_read(const struct shard *shard, struct account_id account, struct slice recipient,
                      struct id *mail, uint32_t *group);
/* Whether a recipient is such an address for a mail of the account. */
bool return_path_is_ours(const struct shard *shard, struct account_id account,
                         struct slice recipient);

/* ---- intake_rcpt.c, stage.c, intake.c ----------------------------------------------------- */

/* Whether mail for the account is taken at all: ERR_NOT_FOUND, ERR_SUSPENDED, ERR_DRAINING,
 * ERR_STORAGE. */
MUST_USE enum err intake_check(struct shard *shard, struct account_id account);
void intake_rcpt(struct shard *shard, struct msg *msg);
void stage_handle(struct shard *shard, struct msg *msg);
/* Ends a stage in the filling batch; its chunks stay when they are a mail's now. */
void stage_end(struct shard *shard, struct id mail, bool is_kept);
/* Drops what no session brings to an end any more: what a run before this one left, and what is
 * older than any session. */
void stage_sweep(struct shard *shard);
void intake_mail(struct shard *shard, struct msg *msg);

/* ---- routing.c ------------------------------------------------------------------------------ */

void routing_handle(struct shard *shard, struct msg *msg);

/* The routes of an account that fire for a recipient (addr_key form), oldest first. Text is in
 * arena. Errors: those of reading. */
struct route_hits {
    struct row_route *rows; /* enabled ones */
    uint32_t count;
    bool has_any; /* the account has a route for that domain, or an expression */
};
MUST_USE enum err routing_find(struct shard *shard, struct account_id account,
                               struct slice recipient, struct arena *arena,
                               struct route_hits *hits);
/* One route, when the caller may see it; text in msg's arena. */
MUST_USE enum err routing_get(struct shard *shard, struct msg *msg, const struct principal *who,
                              struct id id, struct row_route *row);
/* Forgets compiled patterns: of the account, or of all when it is 0. */
void routing_forget(struct shard *shard, struct account_id account);

/* ---- replay.c ------------------------------------------------------------------------------- */

/* ROUTE_REPLAY of a caller who was checked.
 * Owns: takes msg. */
void replay_start(struct shard *shard, struct msg *msg, const struct principal *who);

/* ---- hook.c --------------------------------------------------------------------------------- */

/* Marks the groups of webhook deliveries: each has one delivery, and this bit with its index. */
#define HOOK_GROUP UINT32_C(0x80000000)

/* A webhook to be called about a mail. */
struct hook_target {
    struct id route;
    struct slice url;
    struct slice recipient; /* the one it is about */
    struct id event;        /* none: made here */
    uint64_t due_unix_ms;
};
/* Adds the delivery, its outbox row and its reference; the caller writes mail, whose counters
 * change. */
void hook_add(struct shard *shard, struct row_mail *mail, const struct hook_target *target);
/* The endpoints that are to hear of an event of an outbound mail. Reads that fail are logged: a
 * webhook is not worth a mail's outcome. */
void hook_tell(struct shard *shard, struct row_mail *mail, const struct row_event *event);
/* Whether a domain's webhook hears of events of this type. */
bool hook_wants(const struct row_domain *domain, struct slice type);
void hook_claim(struct shard *shard, struct msg *msg);
/* Keys of a webhook secret at rest: sealed with the route's id (none: the account's own). */
MUST_USE enum err hook_unseal(const struct shard *shard, struct slice sealed, struct id route,
                              struct arena *arena, struct slice *plain);
struct slice hook_seal(const struct shard *shard, struct slice plain, struct id route,
                       struct arena *arena);
/* What an outcome means for the mail's counters, and what the endpoint commands. */
void hook_settle(struct shard *shard, struct row_mail *mail, const struct shard_outcome *outcome,
                 const struct group *group);
/* "https://host:port", by which delivery governs an endpoint. */
struct slice hook_origin(struct slice url, struct arena *arena);

/* ---- retention.c ---------------------------------------------------------------------------- */

/* Erases the mails that have been kept for long enough, unless it is at that already. */
void retention_sweep(struct shard *shard);
/* What to erase once an outcome is written, when with it the last delivery ends of a received mail
 * whose domain keeps nothing; else NULL. Reads only, before the outcome counts. */
struct erase_plan *retention_foresee(struct shard *shard, const struct row_mail *mail,
                                     const struct shard_outcome *outcome, struct arena *arena);

/* ---- mail_view.c ---------------------------------------------------------------------------- */

/* Mails of the other mode do not exist for a key (ERR_NOT_FOUND); those of a domain that it is not
 * bound to are refused (ERR_KEY_SCOPE). */
MUST_USE enum err mail_may_see(const struct principal *who, const struct row_mail *mail);
/* A copy that outlives the iterator. ERR_TOO_LARGE when the arena is full. */
MUST_USE enum err mail_keep(struct arena *arena, struct slice value, struct slice *kept);
void mail_list(struct shard *shard, struct msg *msg);
void mail_read(struct shard *shard, struct msg *msg);
void mail_raw(struct shard *shard, struct msg *msg);
void mail_retry(struct shard *shard, struct msg *msg);

/* ---- mail_facts.c ---------------------------------------------------------------------------- */

/* The mail that a delivery belongs to, and which of its deliveries it is. ERR_NOT_FOUND. Any
 * thread. */
MUST_USE enum err mail_of_delivery(const struct shard *shard, struct id delivery,
                                   struct arena *scratch, struct id *mail, uint32_t *index);
/* SHARD_READ with wants_facts, of a caller who was checked. Any thread. */
MUST_USE enum err mail_facts(const struct shard *shard, const struct principal *who,
                             struct msg *msg, struct arena *scratch);

/* ---- attachment.c --------------------------------------------------------------------------- */

void mail_attachment(struct shard *shard, struct msg *msg);

/* ---- track.c -------------------------------------------------------------------------------- */

void track_handle(struct shard *shard, struct msg *msg);
/* Appends html to out, changed as how says; base and key are filled in here. Any thread. */
struct track_html;
void track_rewrite(const struct shard *shard, const struct row_domain *domain,
                   struct track_html *how, struct slice html, struct buf *out);

/* ---- mailbox.c ------------------------------------------------------------------------------ */

void mailbox_handle(struct shard *shard, struct msg *msg);
/* The state of a mail that nobody has touched; text is static. */
void mail_state_init(const struct row_mail *mail, struct row_mail_state *state);
/* As the store has it, or untouched. Text is in arena. Any thread. */
MUST_USE enum err mail_state_load(const struct shard *shard, const struct row_mail *mail,
                                  struct arena *arena, struct row_mail_state *state);

/* ---- mailbox_view.c, discard.c: the callers of these have checked who asks --------------------
 */

void mailbox_view(struct shard *shard, struct msg *msg, const struct principal *who);
void mail_discard(struct shard *shard, struct msg *msg, const struct principal *who);

/* ---- ledger.c ------------------------------------------------------------------------------- */

void ledger_handle(struct shard *shard, struct msg *msg);
void note_handle(struct shard *shard, struct msg *msg);

/* ---- inspect.c ------------------------------------------------------------------------------ */

void inspect_handle(struct shard *shard, struct msg *msg);

/* ---- repair.c ------------------------------------------------------------------------------- */

void repair_handle(struct shard *shard, struct msg *msg);
void inspect_stats(struct shard *shard, struct inspect_stats *stats);

/* ---- import.c ------------------------------------------------------------------------------- */

void import_handle(struct shard *shard, struct msg *msg);

/* ---- word to delivery (shard_announce.c) -------------------------------------------------------
 */

void announce_init(struct shard *shard, struct loop *loop);
/* The batch is on disk: tells delivery of its outbox rows. */
void announce_batch(struct shard *shard, struct batch *batch);
/* What was due at due_unix_ms or later has to be told; announce_scan begins. */
void announce_owe(struct shard *shard, uint64_t due_unix_ms);
/* Reads the next page of what is owed, when nothing stands in the way; whatever does calls again.
 */
void announce_scan(struct shard *shard);
void announce_wake_home(struct shard *shard, struct msg *msg);

#endif
