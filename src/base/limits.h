/* limits.h - every ceiling in the system, each with its reason, and their sums.
 *
 * A quantity that comes from outside is bounded here before memory is taken for it. Configuration
 * may lower some of these (conf.h), never raise them. When a sum below stops holding, the build
 * stops.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include "base/base.h"

#define KIB (UINT64_C(1024))
#define MIB (UINT64_C(1024) * KIB)

/* ---- topology ------------------------------------------------------------------------------- */
#define SHARD_COUNT_MAX                                                                            \
    32 /* column families; twice the cores we expect; one memtable budget for all */
#define LOOP_COUNT_MAX 32 /* connection loops; the delivery loop comes on top */
#define ACTOR_COUNT_MAX                                                                            \
    (SHARD_COUNT_MAX + LOOP_COUNT_MAX + 3) /* shards, edges, delivery, committer, keeper */

/* ---- messages ------------------------------------------------------------------------------- */
#define EDGE_POOL_MSGS    1024 /* requests in flight per edge; more is 503 at once */
#define KEEPER_POOL_MSGS  16   /* from a job on the store to shards */
#define DELIVER_POOL_MSGS 4096 /* claims, chunks and outcomes in flight */
#define SHARD_WAKE_MSGS   4    /* hints in flight from one shard to delivery */
#define SHARD_WORK_MSGS                                                                            \
    64 /* look-ups from one shard to another's directory, and news to edges of what has ended */
#define SHARD_COMMIT_MSGS 1 /* batches in flight from one shard to the committer */
#define CONTROL_MSGS      (6 * ACTOR_COUNT_MAX) /* from main, in flight: its own, the operator's */
#define WAKE_ENTRIES_MAX  512                   /* outbox rows announced by one hint */
#define DISPATCH_MAX      256 /* messages handled per wake of a port; keeps a turn under 5 ms */
#define MSG_ARENA_CHUNK   (8 * KIB)
#define MSG_ARENA_MAX     (144 * MIB) /* one send: body, its JSON text, decoded attachments */
#define HANDLER_BUDGET_US 100         /* logged beyond ten times this */

/* What can stand in a shard's port: every edge's pool, delivery's pool, other shards' look-ups, its
 * own hints, look-ups and batches coming home. */
#define SHARD_PORT_MSGS                                                                            \
    (LOOP_COUNT_MAX * EDGE_POOL_MSGS + DELIVER_POOL_MSGS + KEEPER_POOL_MSGS +                      \
     (SHARD_COUNT_MAX + 1) * SHARD_WORK_MSGS + SHARD_WAKE_MSGS + SHARD_COMMIT_MSGS + CONTROL_MSGS)
_Static_assert(SHARD_PORT_MSGS <= 65536, "a shard's port must stay under 64 Ki messages");

/* What can stand in an edge's port: its own pool coming home, what shards and main say to it, one
 * rotation of session keys and some about traces from each edge. */
#define EDGE_PORT_MSGS                                                                             \
    (EDGE_POOL_MSGS + SHARD_COUNT_MAX * SHARD_WORK_MSGS + LOOP_COUNT_MAX * (1 + TRACE_MSGS_MAX) +  \
     CONTROL_MSGS)

/* What can stand in the keeper's port. */
#define KEEPER_PORT_MSGS (LOOP_COUNT_MAX * EDGE_POOL_MSGS + KEEPER_POOL_MSGS + CONTROL_MSGS)

/* What can stand in main's port: what the operator says through the edges, and its own. */
#define MAIN_PORT_MSGS (LOOP_COUNT_MAX * EDGE_POOL_MSGS + CONTROL_MSGS)

/* Bytes of request bodies held by one edge at once; beyond it, new requests are 503. */
#define EDGE_BODY_BYTES (256 * MIB)
/* Of them, the most at which an attachment is still handed out by its link. */
#define EDGE_LINK_BYTES (EDGE_BODY_BYTES / 2)

/* ---- the log -------------------------------------------------------------------------------- */
#define LOG_RULES_MAX  8  /* prefixes with a level of their own; each is compared for each line */
#define LOG_PREFIX_MAX 32 /* bytes; the longest event is shorter */

/* ---- the operator and the server ------------------------------------------------------------ */
#define MOVE_MS              10000 /* a shard that is not idle by then stays on its loop */
#define REBALANCE_WINDOW_MS  2000  /* measured, unless the operator says how long */
#define REBALANCE_WINDOW_MAX 60000
#define OPERATE_FOR_MAX_MS   (UINT64_C(7) * 24 * 3600 * 1000) /* what ends by itself ends by then */

/* ---- commit --------------------------------------------------------------------------------- */
#define BATCH_ROWS_MAX  4096
#define BATCH_BYTES_MAX (8 * MIB) /* one sync near 5 ms; a single larger mail goes alone */

/* ---- HTTP ----------------------------------------------------------------------------------- */
#define CONNS_PER_LOOP_MAX 10000
#define HTTP_HEADER_MAX    (16 * KIB) /* request line and headers together */
#define HTTP_HEADER_COUNT  100
#define HTTP_URL_MAX       (8 * KIB)
#define HTTP_BODY_MAX      (40 * MIB)
#define HTTP_UNPACK_MAX    (4 * MIB) /* 10 ms of a loop; what grows beyond must come as so many */
#define HTTP_UNPACK_TIMES  100       /* times less, or 40 KB would keep a loop for 100 ms */
#define HTTP_PIPELINE_MAX  16        /* requests of one connection in flight; then reading stops */
#define HTTP_HEADER_MS     15000
#define HTTP_BODY_IDLE_MS  30000 /* between two reads of a body */
#define HTTP_BODY_RATE_MIN 1024  /* bytes a second over a whole body, after the first 10 s */
#define HTTP_IDLE_MS       75000 /* keep-alive */
#define HTTP_WRITE_MS      30000 /* without progress */
#define REQUEST_WAIT_MS    60000 /* an answer from a shard */
#define JSON_DEPTH_MAX     32
#define JSON_KEYS_MAX      4096  /* 50 attachments of five fields, 100 batch entries to come */
#define JSON_VALUES_MAX    32768 /* up to 100 bytes each: 3 MiB */
#define PAGE_DEFAULT       100
#define PAGE_MAX           200

/* ---- connections ---------------------------------------------------------------------------- */
#define CONN_READ_BYTES       (64 * KIB) /* shared per loop, not per connection */
#define CONN_WRITE_HIGH_BYTES (1 * MIB)  /* writer is asked to pause */
#define CONN_WRITE_MAX_BYTES  (64 * MIB) /* a single large answer (raw mail) */

/* ---- calls to other servers over HTTP ------------------------------------------------------- */
#define HTTP_CALLS_MAX 512 /* open at once on one loop; more is ERR_BUSY at once */
#define HTTP_CALLS_PER_HOST                                                                        \
    8 /* connections to one address; further calls wait within their time                          \
       */
#define HTTP_CALL_IDLE_CONNS 64 /* kept for reuse, per loop */
#define HTTP_CALL_IDLE_S     30
#define HTTP_CALL_ADDRS_MAX  8 /* of one name, tried in turn */
#define HTTP_CALL_URL_MAX    2048
#define HTTP_CALL_HEADER_MAX (32 * KIB) /* of the answer, trailers and interim answers included */
#define HTTP_CALL_SEND_MAX   32         /* header fields of a request */
#define HTTP_CALL_KEEP_MAX   8          /* header fields of the answer that are kept */
#define HTTP_CALL_VALUE_MAX  1024       /* of a kept field; the rest is cut */
#define HTTP_CALL_BODY_MAX   ATTACHMENT_BYTES_MAX /* of the answer; callers ask for less */
#define HOOK_MS              15000                /* a webhook must have answered by then */
#define HTTP_CALL_MS_MAX     120000 /* from the start to the last byte; callers ask for less */

/* ---- mail ----------------------------------------------------------------------------------- */
#define MAIL_BYTES_MAX       (30 * MIB)
#define ATTACHMENT_BYTES_MAX (25 * MIB) /* decoded, all of one mail */
#define ATTACHMENT_COUNT_MAX 100
#define API_RCPT_MAX         50
#define SMTP_RCPT_MAX        1000
#define RCPT_PER_COPY_MAX    100 /* recipients in one SMTP transaction, RFC 5321 4.5.3.1.8 */
#define ADDR_MAX             320 /* local 64 + @ + domain 255, RFC 5321 4.5.3.1 */
#define ADDR_LOCAL_MAX       64
#define DOMAIN_MAX           253
#define DISPLAY_NAME_MAX     256
#define SUBJECT_MAX          998
#define CUSTOM_HEADER_COUNT  50
#define CUSTOM_HEADER_NAME   76
#define CUSTOM_HEADER_VALUE  4096
#define METADATA_COUNT       20
#define METADATA_NAME_MAX    64
#define METADATA_VALUE_MAX   512
#define TAG_COUNT            20
#define TAG_MAX              128
#define ATTACHMENT_NAME_MAX  255
#define TEXT_BYTES_MAX       (10 * MIB) /* html or text part */
#define LINE_MAX_BYTES       998        /* RFC 5322 2.1.1 */
#define CHUNK_BYTES          (256 * KIB)
#define MAIL_INLINE_MAX                                                                            \
    CHUNK_BYTES /* composed on the shard's loop up to this, on a worker beyond */
#define IDEMPOTENCY_KEY_MAX 256
#define IDEMPOTENCY_MS      (UINT64_C(24) * 3600 * 1000)
#define ATTACHMENT_DAYS     7
#define BATCH_MESSAGES      100 /* of one request */
#define BATCH_FAN_OUT       8   /* of them on their way to the shard at once */
#define FETCHES_MAX         256 /* attachments by url, under way or waiting, per edge */
#define FETCHES_PER_ACCOUNT 4   /* of them under way; its others wait, and nobody else does */
#define FETCHES_WAITING     32  /* of one account, those under way included; more is 503 */
#define FETCH_BYTES_MAX     (256 * MIB) /* that those under way may bring: ten full ones */
#define FETCH_MS            15000       /* for one file */
#define TEMPLATE_DATA_MAX   (64 * KIB)  /* JSON text */
#define SCHEDULE_SOON_MS    1000        /* a time as near as this is now */
#define SCHEDULE_MAX_MS     (UINT64_C(30) * 24 * 3600 * 1000) /* ahead */
#define SCHEDULE_HOOKS_MAX  5000  /* webhooks of a mail that may still be moved: each calls one */
#define RETENTION_DAYS_MAX  36500 /* a mail is kept for so long, or for ever */

/* ---- bounces and complaints ----------------------------------------------------------------- */
#define BOUNCE_FILE_MAX   (256 * KIB) /* an operator's rules */
#define BOUNCE_RULES_MAX  2048        /* with the shipped ones; each refusal is held against all */
#define BOUNCE_RULE_BYTES 2048        /* of one line */
#define REPORT_RCPTS_MAX  100         /* recipients that a report may speak of: those of one copy */
#define REPORT_LINES_MAX  2000        /* lines looked at in a bounce that is written for people */

/* ---- the health of domains ------------------------------------------------------------------ */
#define HEALTH_ASKS_MAX 64                           /* questions for one domain */
#define WATCH_OPEN_MAX  2                            /* domains of one shard looked up at once */
#define WATCH_PAGE      16                           /* domains found in one turn */
#define WATCH_FIRST_MS  1000                         /* after the start */
#define WATCH_PERIOD_MS (UINT64_C(24) * 3600 * 1000) /* from one check to the next */
#define WATCH_GRACE_MS  (UINT64_C(72) * 3600 * 1000) /* of failing checks; then it may not send */

/* ---- opens and clicks ----------------------------------------------------------------------- */
#define TRACK_URL_MAX     2048                  /* an address that is counted; longer ones stay */
#define TRACK_LINKS_MAX   500                   /* of one mail; those beyond stay */
#define TRACK_LINK_MAX    3200                  /* a link of ours: base, token, what is around */
#define TRACK_AGENT_MAX   256                   /* bytes of a User-Agent that are kept */
#define TRACK_EVENTS_MAX  1000                  /* opens and clicks that one mail keeps */
#define TRACK_AGAIN_MS    (UINT64_C(60) * 1000) /* the same again within this is the same */
#define TRACK_BURST_LINKS 3                     /* different ones at once: no person does that */
#define TRACK_MAILS_MAX   1024                  /* that one shard remembers the last events of */
#define TRACK_OPEN_MSGS   (EDGE_POOL_MSGS / 8)  /* under way per edge; more go uncounted */

/* ---- DKIM ----------------------------------------------------------------------------------- */
#define DKIM_HEADER_MAX     (1 * MIB) /* signed or verified; mime_write makes 400 KiB at most */
#define DKIM_FIELDS_MAX     4096      /* of a header that is verified */
#define DKIM_SIGNATURES_MAX 10        /* of one mail that are looked at, from the top */
#define DKIM_NAMES_MAX      1000      /* in one h= */
#define DKIM_PARTIAL_MAX    4         /* different l= of one mail: each hashes the body again */
#define DKIM_RECORDS_MAX    4         /* TXT records under a key's name that are looked at */
#define DKIM_RECORD_BYTES   4096      /* RSA-8192 takes 1,420 */
#define DKIM_SIGNATURE_LEN  2048      /* text of b=; RSA-8192 takes 1,366 */
#define DKIM_SKEW_S         300       /* how wrong a signer's clock may be */
#define TAGS_MAX            32        /* of a signature, a published key, a policy record */

/* ---- routes --------------------------------------------------------------------------------- */
#define MATCH_TEXT_MAX 512 /* bytes of a route's pattern */
#define REGEX_STATES_MAX                                                                           \
    1000 /* of one pattern; with ADDR_MAX 320 a match is 320,000 steps at most */
#define REGEX_REPEAT_MAX 1000 /* in {n,m}; what it unfolds to counts as states */
#define REGEX_DEPTH_MAX  50   /* groups within groups; each is a call within a call */

/* ---- accounts ------------------------------------------------------------------------------- */
#define EMAIL_MAX           ADDR_MAX
#define PASSWORD_MIN        10
#define PASSWORD_MAX        1024
#define DOMAINS_PER_ACCOUNT 1000
#define ROUTES_PER_ACCOUNT  1000 /* each is looked at for each recipient */
#define KEYS_PER_ACCOUNT    5000 /* revoked and expired ones count: they stay listed */
#define KEY_NAME_MAX        100  /* characters */
#define KEY_ITEMS_MAX       100  /* domains, addresses or networks of one key */
#define KEY_OVERLAP_S_MAX   (UINT64_C(7) * 24 * 3600)
#define SHARD_RATE_BUCKETS  8192 /* accounts and keys at work in one shard, 16 bytes each */
#define EDGE_RATE_BUCKETS   4096 /* addresses of one loop that no account answers for */
#define SESSION_MS          (UINT64_C(12) * 3600 * 1000)
#define SESSIONS_PER_USER   32  /* the oldest ends when one more is opened */
#define MEMBERS_PER_ACCOUNT 200 /* one page */
#define MEMBER_NAME_MAX     200 /* bytes */
#define INVITE_MS           (UINT64_C(7) * 24 * 3600 * 1000)
#define THROTTLE_ENTRIES    4096 /* of one shard, 24 bytes each: 3 MiB in all */
#define THROTTLE_WINDOW_MS  (UINT64_C(15) * 60 * 1000)
#define ACCOUNTS_COUNTED    100000   /* of a shard, for the operator; beyond, the sum says less */
#define ACCOUNT_NAME_MAX    400      /* bytes; at first it is the owner's email */
#define RATE_PER_MIN_MAX    10000000 /* of an account or a key; more is no limit */
#define PASSWORD_JOBS_MAX   64       /* waiting password hashes per edge; more is 503 */
#define METRICS_JOBS_MAX    8        /* pages of metrics being written per edge; more is 503 */
#define GOOGLE_CALLS_MAX    64       /* sign-ins with Google under way per edge; more is 503 */
#define GOOGLE_CODE_MAX     2048
#define GOOGLE_TOKEN_MAX    4096
#define GOOGLE_SUB_MAX      255 /* OpenID Connect Core 2 */
#define GOOGLE_SECRET_MAX   512

/* ---- suppressions --------------------------------------------------------------------------- */
#define SUPPRESSION_NOTE_MAX   500       /* bytes; the text of a reply is cut there */
#define SUPPRESSION_FILTER_MAX (4 * MIB) /* a shard; some 3,000,000 rows, then more look-ups */
#define SUPPRESSIONS_PER_POST  1000      /* a line of the log each: a quarter of a batch */

/* ---- templates ------------------------------------------------------------------------------ */
#define TEMPLATES_PER_ACCOUNT 500
#define TEMPLATE_NAME_MAX     200       /* bytes */
#define TEMPLATE_BYTES_MAX    (1 * MIB) /* subject, html and text together */
#define TEMPLATE_TAGS_MAX     10000     /* of one part; each is some 80 bytes while it renders */
#define TEMPLATE_TAG_MAX      128       /* bytes of a name of a value */
#define TEMPLATE_DEPTH_MAX    16        /* sections within sections; each is a call within a call */
#define TEMPLATE_STEPS_MAX    4000000   /* nodes met and names compared, of one part: 50 ms */
#define TEMPLATE_ARENA_BYTES  (16 * MIB) /* values as a tree, and the nodes of three parts */

/* ---- mailboxes ------------------------------------------------------------------------------ */
#define MAILBOXES_PER_ACCOUNT 1000
#define MAILBOX_NAME_MAX      200   /* bytes */
#define FOLDER_NAME_MAX       64    /* bytes */
#define THREAD_MAILS_SHOWN    500   /* of a conversation at once, the newest */
#define PAGE_NUMBER_MAX       20000 /* no list looks at more rows */

/* ---- delivery ------------------------------------------------------------------------------- */
#define POOL_NAME_MAX        32          /* of a sending pool: [a-z0-9-] */
#define SCHED_ENTRIES_MAX    1000000     /* 100 bytes each; the rest waits in the outbox */
#define POLICY_BYTES_MAX     (256 * KIB) /* of the file about destinations */
#define POLICY_PROVIDERS_MAX 256
#define POLICY_PATTERNS_MAX  64 /* MX hosts of one provider */
#define POLICY_DOMAINS_MAX   1000
#define POLICY_POOLS_MAX     64
#define POLICY_SOURCES_MAX   64  /* addresses of one pool */
#define GROUP_LOOKUPS_MAX    200 /* of domains whose hosts are not known, at once */
#define ATTEMPTS_MAX         (DELIVER_POOL_MSGS / 3) /* a claim, a chunk and an outcome for each */
#define SITE_MAX             100000 /* destinations remembered; idle ones are dropped first */
#define MAILS_PER_CONN       100
#define SMTP_IDLE_MS         5000 /* an unused connection is kept this long */
#define SMTP_REPLY_LINE      2048 /* bytes; RFC 5321 4.5.3.1.5 says 512, real servers exceed it */
#define SMTP_REPLY_LINES     100
#define SMTP_TRANSCRIPT_MAX  (8 * KIB) /* kept per attempt */
#define MX_HOSTS_MAX         20
#define MX_ADDRS_MAX         40
#define LEASE_MS             (UINT64_C(30) * 60 * 1000)
#define RETRY_ATTEMPTS_MAX   500 /* asked for by hand: each copies the transcripts before it */
#define DNS_NAME_MAX         255
#define DNS_ANSWERS_MAX      64
#define DNS_CACHE_ENTRIES    10000
#define DNS_PENDING_MAX      2000

/* ---- SMTP, as a server ---------------------------------------------------------------------- */
#define SMTP_COMMAND_MAX    2048 /* 512 of RFC 5321 4.5.3.1.4, and what all extensions add: 1,200 */
#define SMTP_AUTH_LINE_MAX  12288 /* RFC 4954 4 */
#define SMTP_AUTH_FIELD_MAX 1024  /* a user name, a password; ours are API keys */
#define SMTP_HELLO_MAX      255   /* RFC 5321 4.5.3.1.2 */
#define SMTP_LOCAL_PART_MAX                                                                        \
    255                        /* RFC 5321 4.5.3.1.1 says 64; return paths of big senders pass it */
#define SMTP_ENVID_MAX     100 /* RFC 3461 4.4 */
#define SMTP_ORCPT_MAX     500 /* RFC 3461 4.2 */
#define SMTP_CHUNK_MAX     (16 * KIB) /* mail bytes in one event */
#define SMTP_SWALLOW_MORE  (64 * KIB) /* of a refused mail, beyond another time its ceiling */
#define SMTP_OUT_HIGH      (8 * KIB)  /* replies waiting; then commands wait too */
#define SMTP_OUT_MAX       (16 * KIB) /* and the longest reply on top */
#define SMTP_ANSWER_MAX    2048       /* text of one reply */
#define SMTP_ANSWER_LINES  16         /* EHLO's has eleven */
#define SMTP_JUNK_MAX      100        /* commands in a row that bring no mail on */
#define SMTP_GUARD_ENTRIES 20000      /* addresses remembered per listener; idle ones go first */
#define SMTP_GUARD_BANS    5000       /* of them banned; then the oldest ban ends early */
#define PROXY_V1_MAX       107        /* bytes, as its specification says */
#define PROXY_V2_MAX       (4 * KIB)  /* 16 to 232 are needed; the rest is what balancers tell */

_Static_assert(SMTP_OUT_HIGH + 2 * SMTP_ANSWER_MAX + SMTP_COMMAND_MAX <= SMTP_OUT_MAX,
               "the reply that passes the high mark fits, and a good-bye behind it");
_Static_assert(SMTP_GUARD_ENTRIES >= CONNS_PER_LOOP_MAX + SMTP_GUARD_BANS,
               "every open session has its entry beside all bans");
/* What the machines of one loop hold at most: a line, a chunk, replies. */
_Static_assert(CONNS_PER_LOOP_MAX *(SMTP_AUTH_LINE_MAX + SMTP_CHUNK_MAX + SMTP_OUT_MAX) <=
                   512 * MIB,
               "ten thousand SMTP sessions stay under half a GiB");

/* ---- received mail, as it is read ----------------------------------------------------------- */
#define MIME_DEPTH_MAX       20          /* multiparts within multiparts */
#define MIME_PARTS_MAX       1000        /* of one mail; the rest stays in the raw mail only */
#define MIME_BOUNDARY_MAX    256         /* RFC 2046 5.1.1 says 70 */
#define MIME_REPORTS_MAX     8           /* machine-readable parts of a report */
#define MIME_FIELDS_MAX      256         /* header fields that are kept */
#define MIME_FIELD_MAX       (16 * KIB)  /* bytes of one that are read */
#define MIME_FIELD_BYTES_MAX (256 * KIB) /* of all together; GMime has quadratic corners */
#define MIME_ADDRS_FIELD_MAX (64 * KIB)  /* bytes that are read of a list of addresses */
#define MIME_ADDRS_MAX       1000        /* addresses that are kept of a field */
#define MIME_COLONS_MAX      128       /* in such a list; GMime recurses for groups within groups */
#define MIME_REFS_MAX        100       /* ids of References: the first, and the last ones */
#define MIME_PARAMS_MAX      (4 * KIB) /* bytes that are read of a content type or disposition */
#define MIME_PARAM_BYTES_MAX (1 * MIB) /* of those of all parts together */

/* ---- received mail, as it is stored ---------------------------------------------------------- */
#define STAGES_OPEN_MAX       256        /* large mails on their way into one shard; more is 451 */
#define INTAKE_BYTES_MAX      (64 * MIB) /* mails that one shard reads and stores at once */
#define STAGE_MS_MAX          (UINT64_C(2) * 3600 * 1000) /* no session takes that long for one */
#define RECEIVED_HOOKS_MAX    1000 /* webhooks of one mail; those beyond are named in its events */
#define RECEIVED_FORWARDS_MAX 50   /* addresses that one mail is sent on to; likewise */
#define FORWARD_HOPS_MAX      30   /* servers that a mail which is sent on went through */
#define REPLAY_CALLS_MAX      500 /* webhooks called again by one request; it says where to go on */
#define RECEIVED_HEADER_MAX   (1 * MIB)      /* of a mail's header block, as it is shown */
#define RECEIVED_ADDRS_BYTES  (64 * KIB)     /* of one address field, in the mail's row */
#define RECEIVED_ID_MAX       LINE_MAX_BYTES /* of a Message-ID in it */

/* ---- verdicts on received mail -------------------------------------------------------------- */
#define SPF_LOOKUPS_MAX     10   /* terms that ask the DNS, RFC 7208 4.6.4 */
#define SPF_VOIDS_MAX       2    /* of them in vain */
#define SPF_HOSTS_MAX       10   /* of one mx */
#define SPF_NAMES_MAX       10   /* of the client's address */
#define SPF_RECORD_MAX      4096 /* RFC 7208 3.4 advises 450; a record must fit one answer */
#define SPF_EXPLANATION_MAX 512
#define SPF_ARENA_BYTES     (80 * KIB) /* the machine, and a record for each term that asks */
#define DMARC_RECORD_MAX    4096
#define DMARC_WALK_MAX      8  /* questions of one walk, RFC 9989 4.10 */
#define DMARC_IDS_MAX       16 /* authenticated domains of one mail; others are not read */
#define DMARC_ARENA_BYTES   (96 * KIB)
#define AUTHORS_MAX         32 /* addresses in a From field */
#define AUTHOR_ARENA_BYTES  (64 * KIB)

/* ---- mail that comes in ---------------------------------------------------------------------- */
#define INBOUND_ACCOUNTS_MAX 10         /* of one transaction; further recipients are 452 */
#define INBOUND_RCPT_MAX     100        /* RFC 5321 4.5.3.1.8; whoever has more comes again */
#define INBOUND_ARENA_BYTES  (64 * KIB) /* the envelope */
#define INBOUND_HELD_MAX                                                                           \
    (CHUNK_BYTES + 2 * CONN_READ_BYTES) /* bytes of one mail that a session has in hand */
#define INBOUND_POOL_LEFT     (EDGE_POOL_MSGS / 4) /* messages that SMTP leaves to requests */
#define INBOUND_DROP_RETRY_MS 100 /* chunks that nobody wants, while the pool is empty */
#define INBOUND_HOPS_MAX      100 /* Received fields; more is a loop, RFC 5321 6.3 */
#define INBOUND_TRACE_MAX     (32 * KIB)
#define SMTP_IN_COMMAND_MS    300000  /* RFC 5321 4.5.3.2.7 */
#define SMTP_IN_DATA_MS       180000  /* between two reads of a mail, 4.5.3.2.5 */
#define SMTP_IN_MAIL_MS       1800000 /* a whole mail */
#define SMTP_IN_TLS_MS        60000
#define SMTP_IN_GREET_MS_MAX  60000
#define SMTP_IN_MAILS_MAX     1000 /* of one connection */
#define SMTP_IN_BAD_MAX       20   /* malformed or misplaced commands */
#define SMTP_IN_RCPT_REFUSED  50   /* unknown recipients of one connection */
#define SMTP_GUARD_WINDOW_MS  600000
#define SMTP_GUARD_BAN_MS     600000
#define JUDGE_MS              10000 /* for DNS once a mail is complete; then temperror */
#define JUDGE_ARENA_BYTES     (SPF_ARENA_BYTES + DMARC_ARENA_BYTES + AUTHOR_ARENA_BYTES + 16 * KIB)

/* ---- mail that clients submit ---------------------------------------------------------------- */
#define SUBMIT_LISTEN_MAX      4    /* addresses of one kind of listener */
#define SUBMIT_AUTH_REFUSED    3    /* wrong keys of one connection */
#define SUBMIT_AUTH_PAUSE_MS   1000 /* before a wrong key is answered */
#define SUBMIT_SENTENCE_MAX    256
#define SUBMISSION_HEADER_MAX  MIME_FIELD_BYTES_MAX /* more of it would not be read */
#define SUBMISSION_ARENA_BYTES (8 * MIB)            /* its fields decoded, and 2,000 addresses */

_Static_assert(INBOUND_RCPT_MAX *(ADDR_MAX + 32) + 8 * KIB <= INBOUND_ARENA_BYTES,
               "an envelope fits its arena");

/* What a mail of MAIL_BYTES_MAX may need to be read: its parts decoded, two texts, the fields. */
#define MIME_READ_ARENA_BYTES (MAIL_BYTES_MAX + 2 * TEXT_BYTES_MAX + 8 * MIB)

_Static_assert((SPF_LOOKUPS_MAX + 2) * (SPF_RECORD_MAX + DNS_NAME_MAX + 1) + 16 * KIB <=
                   SPF_ARENA_BYTES,
               "an SPF check fits its arena");
_Static_assert(DMARC_WALK_MAX *(DMARC_RECORD_MAX + 32) + 2 * (DMARC_IDS_MAX + 1) * KIB + 24 * KIB <=
                   DMARC_ARENA_BYTES,
               "so does a DMARC check");
_Static_assert(AUTHORS_MAX * 2 * KIB <= AUTHOR_ARENA_BYTES, "and each author's domain, converted");
_Static_assert(MAIL_BYTES_MAX < MSG_ARENA_MAX, "a composed mail fits its message");
_Static_assert(MAIL_BYTES_MAX + MIME_READ_ARENA_BYTES < MSG_ARENA_MAX,
               "a received mail and what is read from it fit one message");
_Static_assert(MAIL_BYTES_MAX + SUBMISSION_ARENA_BYTES + MIME_READ_ARENA_BYTES < MSG_ARENA_MAX,
               "so do a submitted mail, its header, and what is read of it");
_Static_assert(API_RCPT_MAX *(ADDR_MAX + 64) + 8 * KIB <= INBOUND_ARENA_BYTES,
               "the envelope of a submitted mail fits the arena of one that comes in");
_Static_assert(FETCH_BYTES_MAX >= 2 * ATTACHMENT_BYTES_MAX, "one fetch does not stop the others");
_Static_assert(ATTACHMENT_BYTES_MAX / 3 * 4 < HTTP_BODY_MAX, "full attachments fit a request");
_Static_assert(2 * HTTP_BODY_MAX + ATTACHMENT_BYTES_MAX + MAIL_BYTES_MAX <= MSG_ARENA_MAX,
               "a send's body, the text read from it and its decoded attachments share one arena");
_Static_assert(RETRY_ATTEMPTS_MAX *SMTP_TRANSCRIPT_MAX <= BATCH_BYTES_MAX,
               "what a retry copies fits a batch");

/* Notes of delivery that one scan brings. */
#define NOTES_PER_SCAN 1000

/* ---- MTA-STS -------------------------------------------------------------------------------- */
#define STS_ID_MAX       32                 /* RFC 8461 3.1 */
#define STS_POLICY_BYTES (64 * KIB)         /* of a policy file, RFC 8461 3.3 */
#define STS_MX_MAX       100                /* patterns of one policy */
#define STS_MAX_AGE_S    UINT64_C(31557600) /* RFC 8461 3.2 */
#define STS_DOMAINS_MAX  20000      /* remembered in memory, those without a policy included */
#define STS_CACHE_BYTES  (64 * MIB) /* of their policies; the least used go first */
#define STS_FETCH_MS     15000
#define STS_FETCHES_MAX  128 /* at once, of HTTP_CALLS_MAX */
#define STS_NOTES_MAX    256 /* messages out at once, of DELIVER_POOL_MSGS */

/* ---- reports on TLS ------------------------------------------------------------------------- */
#define TLS_REPORT_DOMAINS 10000 /* counted, those of finished days that wait included */
#define TLS_REPORT_DETAILS 16 /* kinds of failure of one domain, day and policy; 400 bytes each */
#define TLS_REPORT_TEXT    (8 * KIB) /* of a policy that is reported; the rest is cut */
#define TLS_REPORT_TARGETS 4         /* of one domain; RFC 8460 3 lets receivers be few */
#define TLS_REPORT_BYTES   (512 * KIB)
#define TLS_REPORT_JOBS    4  /* reports on their way at once */
#define TLS_REPORT_NOTES   64 /* messages out at once, of DELIVER_POOL_MSGS */
#define TLS_REPORT_POST_MS 30000
#define TLS_REPORT_TRIES   24 /* an hour apart, RFC 8460 5.5 */

/* ---- the operator and the queue -------------------------------------------------------------- */
#define HOLDS_MAX       500 /* pauses and moves; one scan reads them all at boot */
#define HOLD_REASON_MAX 200
#define HOLD_BY_MAX     254  /* an email */
#define QUEUE_OPS_MAX   16   /* wishes under way at once, each with a note out at most */
#define QUEUE_PLACES    8192 /* of the schedule, looked at in one turn of the loop */
_Static_assert(HOLDS_MAX <= NOTES_PER_SCAN, "one scan is enough");
#define TRACES_MAX             4           /* dialogues watched at once, an actor */
#define TRACE_RING_BYTES       (256 * KIB) /* of lines nobody has read yet, a trace and actor */
#define TRACE_ASIDE_BYTES      (8 * KIB)   /* of a dialogue that fits no trace yet */
#define TRACE_ASIDE_TOTAL      (2 * MIB)   /* of all of them, an actor */
#define TRACE_PAGE_LINES       500
#define TRACE_WORD_MAX         320 /* a site's name, an address */
#define TRACE_SECONDS          60
#define TRACE_SECONDS_MAX      3600
#define TRACE_MSGS_MAX         8    /* from one edge to another, in flight */
#define OUTBOX_COUNT_US        8000 /* of a worker, a shard: then rows are estimated */
#define EXPLAIN_DELIVERIES_MAX 256  /* of one mail, in one answer */
#define EXPLAIN_LINE_MAX       1024 /* entries of a line that are counted for it; then "or more" */

/* ---- long work on the store ------------------------------------------------------------------ */
#define KEEPER_JOBS_KEPT      16 /* that are remembered, the one that runs included */
#define KEEPER_REPORT_MAX     (128 * KIB)
#define KEEPER_ARENA_MAX      (64 * MIB)
#define KEEPER_PATH_MAX       3500
#define KEEPER_BACKUPS_MAX    10000 /* in one folder */
#define KEEPER_PASSPHRASE_MAX 200
#define KEEPER_PASSPHRASE_MIN 12          /* argon2id makes guessing slow, not impossible */
#define ACCOUNT_BLOCK_BYTES   (256 * KIB) /* of an account's file */
#define ACCOUNT_BLOCK_MAX     (4 * MIB)   /* with the largest row in it */
#define ACCOUNT_BLOCK_LAST    UINT32_C(0x80000000)
#define KEEPER_SLICE_US       20000 /* at a time; then questions are answered */

/* A trip has its claim out and one message more at most: a chunk, an outcome, a note. */
_Static_assert(2 * ATTEMPTS_MAX + STS_NOTES_MAX + TLS_REPORT_NOTES + QUEUE_OPS_MAX +
                       2 * SHARD_COUNT_MAX <
                   DELIVER_POOL_MSGS,
               "what delivery remembers never takes a message from a trip");

/* What verify keeps of what it finds; all are counted. */
#define VERIFY_FINDINGS_MAX 1000

#endif
