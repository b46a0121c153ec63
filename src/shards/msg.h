/* msg.h - messages: the common head, the bodies, the pools.
 *
 * A message is a baton: whoever holds it owns all of it; it always comes home; only home frees it.
 * Four verbs: msg_take (home, from its pool; NULL when all are out, which reaches the client as 503
 * or 451), actor_post, msg_return, msg_put.
 *
 * A body holds plain values, ids, and slices into the message's own arena; no pointer to live
 * state. The one exception is COMMIT_WRITE, whose batch is handed over whole. Members above the
 * "out" mark are written by the sender, those below by the receiver. What a receiver adds to the
 * arena, home releases.
 *
 * Edge and delivery see rows through here as plain structs; only shards reads or writes them.
 */
#ifndef SHARDS_MSG_H
#define SHARDS_MSG_H

#include "base/arena.h"
#include "base/base.h"
#include "base/cidr.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/rate.h"
#include "base/slice.h"
#include "base/trace.h"
#include "kv/row.h"
#include "mail/addr.h"
#include "mail/dsn.h"
#include "mail/mime_write.h"
#include "mail/unsubscribe_link.h"
#include "mail/track_link.h"
#include "shards/msg.def"
#include "shards/msg_control.h"
#include "shards/msg_domain.h"
#include "shards/msg_inspect.h"
#include "shards/msg_repair.h"
#include "shards/msg_import.h"
#include "shards/msg_keep.h"
#include "shards/msg_explain.h"
#include "shards/msg_queue.h"
#include "shards/msg_trace.h"
#include "shards/words.h"

struct actor;
struct kv_batch;

enum msg_kind {
#define MSG(kind, member, from, to, pool, waits_on) MSG_##kind,
    MSG_TABLE(MSG)
#undef MSG
        MSG_KIND_COUNT
};

enum msg_pool_kind { MSG_POOL_REQUEST, MSG_POOL_WAKE, MSG_POOL_COMMIT, MSG_POOL_COUNT };

/* ---- bodies: edge to shard ------------------------------------------------------------------ */

struct shard_signup {
    struct account_id account;
    struct slice email; /* addr_key form */
    struct slice password_hash;
    struct slice account_name;
    struct sha256 key_hash;
    struct slice key_prefix; /* first 16 characters */
    struct slice key_last4;
    bool is_admin;           /* the first user of this server */
    bool is_email_verified;  /* somebody vouches for the email */
    struct slice google_sub; /* who that is, when it was Google; empty otherwise */
    struct slice name;       /* of the person; may be empty */
    struct id session;       /* to be opened */
    uint64_t session_expires_unix_ms;
    struct ip6 peer;
    bool is_made;             /* by an administrator, who is named in the log: */
    struct caller maker;      /* OPERATOR, or SESSION */
    struct slice maker_email; /* of a session's user */
    /* out */
    struct row_user user;
};

struct shard_drop {
    struct account_id account;
};

struct shard_login {
    struct account_id account;
    struct id user;
    /* out */
    struct row_user row;
    struct row_account account_row;
};

struct shard_me {
    struct caller caller;
    /* out */
    struct row_account account;
    bool has_user;
    struct row_user user;
    bool has_key;
    struct row_api_key key;
    struct slice email; /* the user's, or of the one who made the key; empty: gone since */
    bool is_email_verified;
};

/* Whether a caller may come in at all, before the body of its request is read. */
struct shard_check {
    struct caller caller;
    struct slice idempotency_key; /* of a request for many mails, which is noted; empty: none */
    struct sha256 body_hash;
};

/* A person. Whoever has no session yet is named by `user` and the caller's account and peer. */
enum user_op {
    USER_GET,      /* the caller's own row, its password hash included */
    USER_OPEN,     /* a session of `user`, who has proved to be it */
    USER_CLOSE,    /* the caller's session */
    USER_PASSWORD, /* a new one; the caller's session is the only one that stays */
    USER_JOIN,     /* the first password of one who was invited, and a session */
    USER_FAILED,   /* to prove to be `user`: for the audit log. Answered without waiting for the
                      disk, whether there is such a user or not */
};
struct shard_user {
    enum user_op op;
    struct caller caller;
    struct id user;            /* OPEN, JOIN, FAILED */
    struct id session;         /* OPEN, JOIN */
    uint64_t expires_unix_ms;  /* of that session */
    struct slice checked_hash; /* OPEN, PASSWORD: what the password was checked against; ERR_LOGIN
                                  when it has changed since. Empty: there was no password */
    struct slice new_hash;     /* PASSWORD, JOIN */
    struct slice google_sub;   /* OPEN: who vouches; noted in the row. Empty: nobody */
    /* out; the password hash with GET only */
    struct row_user row;
};

enum member_op {
    MEMBER_LIST,
    MEMBER_MAY_ADD, /* one of that role? Nothing is written */
    MEMBER_ADD,
    MEMBER_CHANGE, /* of the role */
    MEMBER_REMOVE, /* from then on powerless; the row stays until FORGET */
    MEMBER_FORGET, /* the email is free: the row goes. By CALLER_OPERATOR */
};
enum member_status { MEMBER_ACTIVE, MEMBER_INVITED, MEMBER_REMOVED };
const char *member_status_text(enum member_status status);
struct member_view {
    struct row_user row; /* without password hash */
    enum member_status status;
};
struct shard_member {
    struct caller caller;
    enum member_op op;
    struct id id;       /* CHANGE, REMOVE, FORGET */
    enum role role;     /* MAY_ADD, ADD, CHANGE */
    struct slice email; /* ADD; addr_key form */
    struct slice name;
    struct slice password_hash; /* ADD; empty: invited */
    /* out */
    struct member_view *rows; /* ADD, CHANGE, REMOVE: the one */
    uint32_t row_count;
};

/* Tries that may fail, counted by the shard that the text hashes to: "e:" and an email, "a:" and an
 * address or network. */
enum throttle_op {
    THROTTLE_TAKE,   /* one try; ERR_RATE with rate.retry_s when there is none left */
    THROTTLE_GIVE,   /* it was no failure: the try is given back */
    THROTTLE_UNLOCK, /* as if nothing had ever failed */
};
struct shard_throttle {
    enum throttle_op op;
    struct slice text;
    uint32_t max; /* in THROTTLE_WINDOW_MS, above 0 */
};

/* enum directory_kind of kv/key.h, whose numbers are on disk. */
#define DIRECTORY_KIND_EMAIL  1
#define DIRECTORY_KIND_DOMAIN 2
#define DIRECTORY_KIND_SERVER 3 /* facts of the whole server: SERVER_FIRST_USER */
#define SERVER_FIRST_USER     "first-user"

enum directory_op { DIRECTORY_GET, DIRECTORY_CLAIM, DIRECTORY_RELEASE };
struct shard_directory {
    enum directory_op op;
    uint8_t kind; /* enum directory_kind */
    struct slice name;
    struct account_id account; /* claim: for whom; release: only when it is the owner's. GET, and a
                                  refused claim, out: the owner */
    struct id id;              /* user or domain; likewise */
};

struct shard_send {
    struct caller caller;
    struct addr from;
    struct addr *to;
    struct addr *cc;
    struct addr *bcc;
    struct addr *reply_to;
    uint32_t to_count;
    uint32_t cc_count;
    uint32_t bcc_count;
    uint32_t reply_to_count;
    struct slice subject;
    struct slice text;
    struct slice html;
    struct slice in_reply_to;
    struct mime_header *headers;
    uint32_t header_count;
    struct mime_attachment *attachments;
    uint32_t attachment_count;
    bool is_sandbox;              /* accepted and shown as ever, but never leaves */
    struct slice metadata;        /* pack of name, value, "t" or "n" */
    struct slice tags;            /* pack */
    struct slice idempotency_key; /* empty for none */
    struct sha256 body_hash;      /* of the request's body, with an idempotency key */
    uint64_t scheduled_unix_ms;   /* not to be sent before; 0: now */
    struct id template;           /* none: what is above is what is sent */
    struct slice template_data;   /* JSON object; empty for none */
    enum choice tracks_opens;
    enum choice tracks_clicks;
    bool has_unsubscribe; /* List-Unsubscribe with one click is wanted */
    enum mail_priority priority;
    bool requires_tls;
    struct slice pool; /* sending pool; empty: the domain's, the account's, the default one */
    struct slice raw;  /* the mail as submitted by SMTP: subject, bodies, headers and attachments
                          above are empty then */
    /* out */
    struct id id;
    bool is_replay;
    bool is_scheduled;
};

struct shard_domain {
    struct caller caller;
    enum domain_op op;
    struct slice name;           /* CREATE */
    struct id id;                /* GET, CHANGE, DELETE, CHECKED */
    struct domain_checks checks; /* CHECKED */
    bool has_gaps;               /* likewise: as of struct deliver_verify */
    struct slice health;         /* CHECKED: as deliver_verify has it */
    uint32_t given;              /* CHANGE: enum domain_field */
    uint32_t retention_days;
    bool is_zero_retention;
    struct slice track_host; /* empty: none */
    bool tracks_opens;
    bool tracks_clicks;
    uint64_t before_unix_ms; /* LIST; UINT64_MAX for the newest */
    uint32_t limit;
    /* out; private keys are left out */
    struct row_domain *rows;
    uint32_t row_count;
};

enum key_op {
    KEY_CREATE,
    KEY_LIST,
    KEY_GET,
    KEY_CHANGE,
    KEY_REVOKE,
    KEY_ROTATE,
    KEY_ROTATE_FIRST, /* of the account's keys in order of age, the first that can be */
};
/* Members of `wanted` that the client gave. */
enum key_field {
    KEY_FIELD_NAME = 1 << 0,
    KEY_FIELD_MODE = 1 << 1,
    KEY_FIELD_PERMISSION = 1 << 2,
    KEY_FIELD_SCOPES = 1 << 3,
    KEY_FIELD_DOMAINS = 1 << 4,
    KEY_FIELD_ADDRESSES = 1 << 5,
    KEY_FIELD_IPS = 1 << 6,
    KEY_FIELD_EXPIRES = 1 << 7,
    KEY_FIELD_ENABLED = 1 << 8,
    KEY_FIELD_METADATA = 1 << 9,
};
struct key_secret {
    struct sha256 hash;
    struct slice prefix; /* first 16 characters */
    struct slice last4;
};
struct shard_key {
    struct caller caller;
    enum key_op op;
    struct id id;                 /* GET, CHANGE, REVOKE, ROTATE */
    struct row_api_key wanted;    /* CREATE, CHANGE: those of `given` */
    uint32_t given;               /* enum key_field */
    struct key_secret secrets[2]; /* CREATE, ROTATE: one for each mode, the row's is taken */
    uint64_t overlap_ms;          /* ROTATE: how long the old one still counts; 0: it ends now */
    struct id before;             /* LIST, as shard_list */
    uint64_t before_unix_ms;
    uint32_t limit;
    /* out */
    struct row_api_key *rows;
    uint32_t row_count;
};

enum audit_actor { AUDIT_USER, AUDIT_KEY, AUDIT_OPERATOR, AUDIT_SYSTEM };
struct shard_audit_log {
    struct caller caller;
    struct id before; /* as shard_list */
    uint64_t before_unix_ms;
    uint32_t limit;
    /* out: newest first */
    struct row_audit *rows;
    uint32_t row_count;
};

struct shard_list {
    struct caller caller;
    struct id before;        /* exclusive; none for the newest */
    uint64_t before_unix_ms; /* when before is none; UINT64_MAX for the newest */
    uint32_t limit;
    struct slice search; /* in from, to, subject; no case */
    struct slice domain;
    bool has_direction;
    bool has_status;
    enum direction direction;
    enum mail_status status;
    /* out: newest first */
    struct row_mail *rows;
    uint32_t row_count;
};

struct attempt_view {
    uint32_t number;
    struct row_attempt row;
    struct slice transcript;
};
struct delivery_view {
    struct row_delivery row;
    uint32_t index;
    struct attempt_view *attempts;
    uint32_t attempt_count;
};

struct shard_read {
    struct caller caller;
    struct id id;
    bool wants_facts; /* why it is not delivered, in place of texts, events and attachments */
    bool is_delivery; /* with wants_facts: id is that of a delivery */
    /* out */
    struct mail_facts *facts; /* with wants_facts */
    struct row_mail mail;
    struct row_mail_state state;
    struct slice text;
    struct slice html;
    struct slice header_block; /* of the composed mail */
    struct delivery_view *deliveries;
    uint32_t delivery_count;
    struct row_attachment *attachments;
    uint32_t attachment_count;
    struct row_event *events;
    uint32_t event_count;
};

struct shard_raw {
    struct caller caller;
    struct id id;
    uint32_t chunk;
    /* out */
    uint32_t chunk_count;
    uint64_t size_bytes;
    struct slice data;
};

/* A mail that is not being sent yet: taken back, or moved to another time. ERR_CONFLICT: too late.
 */
enum schedule_op { SCHEDULE_CANCEL, SCHEDULE_MOVE };
struct shard_schedule {
    struct caller caller;
    enum schedule_op op;
    struct id id;
    bool is_scheduled_only; /* ERR_NOT_FOUND for one that never was */
    uint64_t due_unix_ms;   /* MOVE */
    /* out */
    struct row_mail mail;
};

struct shard_retry {
    struct caller caller;
    struct id delivery;
    /* out */
    enum delivery_status status;
};

/* The server's own people look after accounts and users. Who asks was settled before: the operator,
 * or a user whose row says so. */
enum admin_op {
    ADMIN_ACCOUNTS, /* a page of this shard's */
    ADMIN_ACCOUNT,  /* one, with what it has */
    ADMIN_CHANGE,
    ADMIN_USERS, /* a page of this shard's */
    ADMIN_USER,
    ADMIN_USER_CHANGE,
    ADMIN_UNLOCKED, /* a user: only the line in the log, the tries are not kept here */
    ADMIN_COUNT,    /* of this shard's accounts, up to ACCOUNTS_COUNTED */
    ADMIN_OUTBOX,   /* how many outbox rows this shard has, about */
    ADMIN_QUEUED,   /* something was done to the account's queue: only the line in the log */
};
/* Members of `wanted` and `wanted_user` that were given. */
enum admin_field {
    ADMIN_FIELD_NAME = 1 << 0,
    ADMIN_FIELD_SUSPENDED = 1 << 1,
    ADMIN_FIELD_DAILY = 1 << 2,
    ADMIN_FIELD_RATE = 1 << 3,
    ADMIN_FIELD_KEY_RATE = 1 << 4,
    ADMIN_FIELD_IS_ADMIN = 1 << 5,
    ADMIN_FIELD_PASSWORD = 1 << 6, /* the user's sessions end with the old one */
    ADMIN_FIELD_RETENTION = 1 << 7,
};
struct account_view {
    struct row_account row;
    struct slice owner_email; /* of its first owner; empty when there is none */
};
struct shard_admin {
    enum admin_op op;
    struct caller caller;       /* OPERATOR or SESSION; for the audit log */
    struct slice caller_email;  /* of a session's user */
    struct account_id account;  /* all but the pages; ACCOUNTS: exclusive, none for the first */
    struct id user;             /* USER, USER_CHANGE; USERS: as account above */
    struct row_account wanted;  /* CHANGE: those of `given` */
    struct slice password_hash; /* USER_CHANGE */
    bool is_admin;              /* likewise */
    struct slice action;        /* QUEUED: "queue.paused"; terminated */
    struct slice detail;        /* likewise */
    uint32_t given;             /* enum admin_field */
    uint32_t limit;
    uint32_t shard; /* the pages: which one this is, for who reads the answer */
    /* out; no hashes, no sealed secrets */
    struct account_view *accounts; /* ACCOUNT, CHANGE: the one */
    uint32_t account_count;
    struct row_user *users; /* ACCOUNT: all of it; USER, USER_CHANGE: the one */
    uint32_t user_count;
    uint32_t key_count;     /* ACCOUNT */
    uint32_t domain_count;  /* likewise */
    struct row_usage today; /* likewise */
    uint32_t count;         /* COUNT */
    uint64_t outbox_rows;   /* OUTBOX */
    bool is_estimate;       /* OUTBOX: there are too many to be counted */
};

/* ---- bodies: receiving ---------------------------------------------------------------------- */

/* RCPT: whether the account takes mail for this address. ERR_NOT_FOUND: no such mailbox (550);
 * ERR_QUOTA, ERR_BUSY, ERR_STORAGE: later. */
struct shard_rcpt {
    struct account_id account;
    struct id domain;
    struct slice recipient; /* addr_key form; may be a return path of ours (VERP) */
};

/* A mail over MAIL_INLINE_MAX on its way in, chunk by chunk, each on disk before it is answered. */
enum stage_op { STAGE_BEGIN, STAGE_ADD, STAGE_DROP };
struct shard_stage {
    enum stage_op op;
    struct account_id account;
    struct id mail;    /* out of BEGIN */
    uint32_t chunk;    /* ADD: from 1 */
    struct slice data; /* ADD: CHUNK_BYTES, less only in the last one */
};

/* The end of a mail: 250 when this comes home with ERR_OK. */
struct shard_inbound {
    struct account_id account;
    struct id mail;      /* staged; none: it is all in data */
    uint32_t chunks;     /* staged */
    struct slice data;   /* as received, when it was not staged */
    uint64_t size_bytes; /* as received */
    struct slice trace;  /* our Return-Path, Received and Authentication-Results, with CRLFs */
    struct slice sender; /* reverse-path; empty: null sender */
    struct slice *rcpts; /* addr_key form, all of this account */
    uint32_t rcpt_count;
    struct slice helo;
    struct slice remote_addr;
    struct slice spf; /* "pass", "fail", ... as RFC 8601 names them */
    struct slice dkim;
    struct slice dmarc;
    struct slice spam;         /* empty: not asked */
    struct sha256 digest;      /* of envelope and bytes: the same again is not stored again */
    uint64_t received_unix_ms; /* when its end came */
    /* out */
    struct id id;
    bool is_duplicate;
};

enum route_op {
    ROUTE_CREATE,
    ROUTE_LIST,
    ROUTE_GET,
    ROUTE_CHANGE,
    ROUTE_DELETE,
    ROUTE_HOOK_SET, /* the domain's webhook: its `*@domain` route */
    ROUTE_HOOK_CLEAR,
    ROUTE_HOOK_SECRET, /* shows the secret */
    ROUTE_HOOK_ROTATE,
    ROUTE_HOOK_EVENTS, /* which outbound events go there */
    ROUTE_HOOK_TEST,   /* url, headers and body of a signed test event, for DELIVER_CALL */
    ROUTE_REPLAY,      /* its webhook is called again for mails that are stored */
};
enum route_field {
    ROUTE_FIELD_MATCH = 1 << 0,
    ROUTE_FIELD_ACTION = 1 << 1,
    ROUTE_FIELD_DESTINATION = 1 << 2,
    ROUTE_FIELD_ACK = 1 << 3,
    ROUTE_FIELD_ENABLED = 1 << 4,
};
struct shard_route {
    struct caller caller;
    enum route_op op;
    struct id id;            /* of the route; HOOK ops: of the domain */
    struct row_route wanted; /* those of `given` */
    uint32_t given;          /* enum route_field */
    struct slice events;     /* HOOK_EVENTS: pack */
    uint64_t overlap_ms;     /* HOOK_ROTATE: how long the old secret signs too */
    struct id before;        /* LIST, as shard_list */
    uint32_t limit;
    uint64_t since_unix_ms; /* REPLAY: received then or later, oldest first */
    /* out; sealed secrets are left out */
    struct row_route *rows;
    struct slice *secrets; /* of the rows; empty for routes that call nobody */
    uint32_t row_count;
    struct slice domain_name;  /* HOOK ops */
    struct slice test_headers; /* HOOK_TEST: pack of name, value */
    struct slice test_body;
    uint32_t call_count;   /* REPLAY: webhooks that are due now */
    uint64_t next_unix_ms; /* REPLAY: where to go on; 0: there is no more */
};

/* A part of an attachment, by a signed link: no caller. ERR_NOT_FOUND when it never was,
 * ERR_EXPIRED when it is gone. A chunk beyond the last gives the row alone. */
struct shard_attachment {
    struct id mail;
    uint32_t index;
    uint32_t chunk;
    /* out */
    struct row_attachment row;
    struct slice data;
};

/* Somebody opened a mail or followed one of its links; the edge has checked the link. Home whether
 * it was worth an event or not. */
struct shard_track {
    struct track_ref ref;
    struct slice agent; /* User-Agent, up to TRACK_AGENT_MAX */
    struct slice ip;
    bool is_head; /* only asked what there is */
};

enum mailbox_op {
    MAILBOX_CREATE,
    MAILBOX_LIST,
    MAILBOX_GET,
    MAILBOX_RENAME,
    MAILBOX_DELETE,
    MAILBOX_MAILS,   /* a page of a mailbox's mails, or of all */
    MAILBOX_MARK,    /* read, starred, folder */
    MAILBOX_DISCARD, /* the mail is deleted; ERR_CONFLICT while a delivery is open */
    MAILBOX_THREADS, /* a page of conversations, those with the newest mail first */
    MAILBOX_THREAD,  /* one with its mails, oldest first */
};
enum mark_field { MARK_READ = 1 << 0, MARK_STARRED = 1 << 1, MARK_FOLDER = 1 << 2 };
struct mail_entry {
    struct row_mail mail;
    struct row_mail_state state;
};
struct shard_mailbox {
    struct caller caller;
    enum mailbox_op op;
    struct id id;                /* mailbox, mail or thread, as the op says */
    struct id mailbox;           /* MAILS, THREADS: of this mailbox only; none: all */
    struct row_mailbox wanted;   /* CREATE, RENAME */
    struct row_mail_state state; /* MARK: those of `given` */
    uint32_t given;              /* enum mark_field */
    struct slice folder;         /* MAILS: only these; empty: all */
    uint32_t page;               /* LIST, MAILS, THREADS: from 1 */
    uint32_t limit;
    /* out */
    struct row_mailbox *mailboxes; /* CREATE, GET, RENAME: the one */
    struct mail_entry *mails;      /* MARK: the one; THREAD: up to THREAD_MAILS_SHOWN */
    struct row_thread *threads;    /* THREAD: the one */
    uint32_t count;                /* of the mailboxes, mails or threads; THREAD: of the mails */
    uint32_t total;                /* on all pages, as far as a list looks */
};

/* Addresses that get no more mail of the account. */
enum suppression_op { SUPPRESSION_LIST, SUPPRESSION_GET, SUPPRESSION_ADD, SUPPRESSION_REMOVE };
struct shard_suppression {
    struct caller caller;
    enum suppression_op op;
    struct slice *emails; /* addr_key forms; GET, REMOVE: the one */
    uint32_t email_count;
    enum suppression_reason reason; /* ADD; one that is there already keeps its own */
    struct slice note;              /* ADD */
    struct slice after;             /* LIST: those behind it, in the order of bytes */
    struct slice search;            /* LIST: part of the address, in lower case */
    uint32_t limit;                 /* LIST */
    /* out */
    struct row_suppression *rows; /* GET, ADD of one: the one */
    uint32_t row_count;
    uint32_t added_count; /* ADD: that were not there before */
    uint32_t known_count; /* ADD: that were */
};

/* A recipient wants no more, by a signed link: no caller. The same again is good, too. */
struct shard_unsubscribe {
    struct unsubscribe_ref ref;
};

enum template_op {
    TEMPLATE_CREATE,
    TEMPLATE_LIST, /* without subject and bodies */
    TEMPLATE_GET,
    TEMPLATE_CHANGE,
    TEMPLATE_DELETE,
    TEMPLATE_PREVIEW, /* what a send would make of it */
};
enum template_field {
    TEMPLATE_FIELD_NAME = 1 << 0,
    TEMPLATE_FIELD_SUBJECT = 1 << 1,
    TEMPLATE_FIELD_HTML = 1 << 2,
    TEMPLATE_FIELD_TEXT = 1 << 3,
};
struct shard_template {
    struct caller caller;
    enum template_op op;
    struct id id;
    struct row_template wanted; /* CREATE, CHANGE: those of `given`; they compile */
    uint32_t given;             /* enum template_field */
    struct slice data;          /* PREVIEW: JSON object; empty for none */
    struct id before;           /* LIST, as shard_list */
    uint64_t before_unix_ms;
    uint32_t limit;
    /* out */
    struct row_template *rows; /* newest first; PREVIEW: the one, rendered */
    uint32_t row_count;
};

/* ---- bodies: delivery and shards ------------------------------------------------------------ */

/* Names an outbox row, with what the schedule needs to know of it. */
struct outbox_entry {
    uint64_t due_unix_ms;
    struct account_id account;
    struct id mail;
    uint32_t group;
    struct slice domain; /* of the recipients */
    enum mail_priority priority;
    struct slice pool; /* empty: the default one */
};

struct shard_claim {
    struct outbox_entry entry;
    uint64_t lease_ms;
    bool is_early; /* by the operator's wish: ERR_CONFLICT for what was scheduled */
    /* out; ERR_NOT_FOUND: gone or moved; ERR_CONFLICT: somebody holds it */
    struct slice sender; /* return path */
    struct slice *rcpts;
    uint32_t rcpt_count;
    struct slice dkim_headers; /* to be sent before the stored bytes */
    struct slice message_id;
    uint64_t size_bytes; /* stored bytes, without dkim_headers */
    uint32_t chunk_count;
    struct slice first_chunk;
    uint32_t attempt; /* number of this try, from 1 */
    uint32_t tries;   /* likewise, since it was last asked for by hand */
    uint64_t created_unix_ms;
    bool needs_utf8;
    bool needs_8bit;
    enum rehearsal rehearsal;
    bool requires_tls;
    /* a webhook instead of a mail: everything above `attempt` but sender is empty */
    bool is_hook;
    struct slice url;
    struct slice hook_headers; /* pack of name, value: signatures for this try, secret ones */
    struct slice hook_body;
    enum ack_mode ack_mode;
};

struct shard_chunk {
    struct account_id account;
    struct id mail;
    uint32_t index;
    /* out */
    struct slice data;
};

struct shard_outcome {
    struct outbox_entry entry; /* as claimed */
    struct verdict *verdicts;  /* one a recipient, in the claim's order; none: nothing was tried,
                                  only next_due matters */
    uint32_t verdict_count;
    uint64_t next_due_unix_ms; /* for those deferred */
    uint64_t started_unix_ms;
    struct slice remote_host;
    struct slice remote_addr;
    struct slice tls;        /* "TLSv1.3 TLS_AES_256_GCM_SHA384", empty for plain */
    struct slice tls_policy; /* what demanded it: "dane", "sts", ...; empty: nothing */
    struct slice source;     /* local address; empty: the system's choice */
    struct slice transcript;
    struct slice
        command; /* of a webhook in control mode: "spam", "drop", "block-sender" or empty */
};

struct shard_expire {
    uint32_t day; /* everything kept for days up to and including this one goes */
};

enum ledger_kind { LEDGER_EXPIRED_DAY = 1, LEDGER_SESSION_KEY = 2 };
struct shard_ledger {
    uint32_t kind;
    bool is_write;
    bool is_rotation; /* of LEDGER_SESSION_KEY: the next generation; that before counts until... */
    uint64_t keep_until_unix_ms; /* ...then; 0: not at all */
    uint64_t value;              /* written, or out: read; 0 when never written */
};

/* What delivery remembers of the world, by name: kept where the ledger is. */
enum note_kind { NOTE_STS = 1, NOTE_TLS_COUNT, NOTE_SOURCE, NOTE_HOLD, NOTE_PLACES, NOTE_KIND_END };
enum note_op { NOTE_GET, NOTE_PUT, NOTE_DELETE, NOTE_SCAN };
struct note {
    struct slice name;
    struct slice value; /* pack; its owner says of what */
    uint64_t updated_unix_ms;
};
struct shard_note {
    enum note_op op;
    enum note_kind kind;
    struct slice name;  /* up to KEY_TEXT_MAX; SCAN: those behind it, empty: from the first */
    struct slice value; /* PUT */
    uint32_t limit;     /* SCAN: up to NOTES_PER_SCAN */
    /* out; by name */
    struct note *notes; /* GET: the one */
    uint32_t note_count;
};

/* Which keys sign session tokens, as LEDGER_SESSION_KEY has them: a key follows from the master key
 * and its generation's number. */
struct session_keys {
    uint32_t generation;             /* signs; the first is 0 */
    uint64_t previous_until_unix_ms; /* the one before is accepted until then */
};
#define SESSION_KEY_GENERATION_MAX 0xffff
uint64_t session_keys_pack(struct session_keys keys);
struct session_keys session_keys_unpack(uint64_t value);

struct deliver_wake {
    struct outbox_entry *entries;
    uint32_t entry_count;
    /* out: the first ones that the schedule took; the rest waits in the outbox */
    uint32_t taken_count;
};

/* ---- bodies: shards and edges --------------------------------------------------------------- */

/* Connections that used one of these take no further request and end. */
struct edge_ended {
    const struct credential *list; /* sorted by credential_compare */
    uint32_t count;
    uint64_t at_unix_ms; /* 0: now. Else they go on, and end then */
};

/* One call of a webhook for somebody who waits: no row, no retry. */
struct deliver_call {
    struct slice url;
    struct slice headers; /* pack of name, value */
    struct slice body;
    enum ack_mode ack_mode;
    /* out; err ERR_UPSTREAM unless it was acknowledged */
    struct verdict verdict;
};

/* ---- bodies: the committer --------------------------------------------------------- */

struct commit_write {
    struct kv_batch
        *batch; /* handed over and handed back; may be empty: then only free_bytes is wanted */
    uint64_t posted_us; /* monotonic; 0: nobody wants to know how long it took */
    /* out */
    uint64_t free_bytes;
    uint64_t synced_us; /* when its round was on disk */
};

union msg_body {
    struct shard_signup signup;
    struct shard_drop drop;
    struct shard_login login;
    struct shard_me me;
    struct shard_check check;
    struct shard_user user;
    struct shard_member member;
    struct shard_throttle throttle;
    struct shard_directory directory;
    struct shard_send send;
    struct shard_domain domain;
    struct shard_key key;
    struct shard_admin admin;
    struct shard_audit_log audit;
    struct shard_inspect inspect;
    struct shard_repair repair;
    struct shard_list list;
    struct shard_read read;
    struct shard_raw raw;
    struct shard_retry retry;
    struct shard_schedule schedule;
    struct shard_rcpt rcpt;
    struct shard_stage stage;
    struct shard_inbound inbound;
    struct shard_route route;
    struct shard_attachment attachment;
    struct shard_track track;
    struct shard_mailbox mailbox;
    struct shard_suppression suppression;
    struct shard_template template;
    struct shard_unsubscribe unsubscribe;
    struct shard_claim claim;
    struct shard_chunk chunk;
    struct shard_outcome outcome;
    struct shard_expire expire;
    struct shard_ledger ledger;
    struct shard_note note;
    struct deliver_wake wake;
    struct deliver_verify verify;
    struct deliver_call call;
    struct deliver_queue queue;
    struct deliver_explain explain;
    struct edge_ended ended;
    struct tap_ask tap;
    struct keeper_job keep;
    struct shard_import import;
    struct commit_write commit;
    struct control control;
    struct main_control operate;
};

struct msg {
    struct msg *next;      /* link; NULL unless pooled, in a port, or parked */
    struct actor *home;    /* who took it from the pool; alone may put it back */
    struct actor *at;      /* who handles it now */
    struct arena arena;    /* all slices in the body point into it */
    uint64_t token;        /* home's own correlation: slot and generation */
    uint64_t expire_ms;    /* after this, monotonic, nobody is waiting; 0: always somebody */
    uint64_t posted_us;    /* for the trace */
    struct origin origin;  /* the request that it is for, when there is one */
    uint16_t kind;         /* enum msg_kind */
    uint8_t returning;     /* false on the way out, true on the way home */
    uint8_t pool;          /* enum msg_pool_kind */
    enum err err;          /* outcome; set by the receiver before msg_return */
    struct rate_view rate; /* out: what is left of the caller's; retry_s also with ERR_QUOTA */
    uint64_t credential_expires_unix_ms; /* out: when the caller's credential ends; 0: never */
    struct slice param; /* field at fault, with ERR_BAD_FIELD; required scope with ERR_SCOPE; in the
                           arena or static */
    struct slice sentence; /* for the client, in place of the table's; likewise */
    uint32_t magic;
    union msg_body body;
};

const char *msg_kind_name(enum msg_kind kind);
enum msg_pool_kind msg_kind_pool(enum msg_kind kind);

#endif
