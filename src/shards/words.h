/* words.h - the words that messages share: who asks, and what mails, deliveries, domains and keys
 * are.
 *
 * Plain values; the numbers of what rows hold are on disk, so lists are only ever appended.
 * Everybody who speaks in messages includes this through msg.h.
 */
#ifndef SHARDS_WORDS_H
#define SHARDS_WORDS_H

#include "base/base.h"
#include "base/cidr.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/row.h"

enum mode { MODE_LIVE, MODE_TEST };
/* What becomes of a mail that is due: sent, or only rehearsed (test keys, `sandbox` sends).
 * Scripted: the local parts of its recipients say how it ends. The numbers are on disk. */
enum rehearsal { REHEARSAL_NONE, REHEARSAL_PLAIN, REHEARSAL_SCRIPTED };
enum permission { PERMISSION_FULL, PERMISSION_SEND };
enum role { ROLE_OWNER, ROLE_ADMIN, ROLE_MEMBER, ROLE_COUNT };
const char *role_text(enum role role);
MUST_USE enum err role_parse(struct slice text, enum role *role);
enum direction { DIRECTION_OUTBOUND, DIRECTION_INBOUND };

/* Scopes a caller may hold, by the names that clients know. */
enum right {
    RIGHT_NONE, /* any valid credential */
    RIGHT_MAIL_SEND,
    RIGHT_MAIL_READ,
    RIGHT_MAIL_WRITE,
    RIGHT_DOMAINS_READ,
    RIGHT_DOMAINS_WRITE,
    RIGHT_MAILBOXES_READ,
    RIGHT_MAILBOXES_WRITE,
    RIGHT_WEBHOOKS_READ,
    RIGHT_WEBHOOKS_WRITE,
    RIGHT_ROUTES_READ,
    RIGHT_ROUTES_WRITE,
    RIGHT_KEYS_READ,
    RIGHT_KEYS_WRITE,
    RIGHT_SUPPRESSIONS_READ,
    RIGHT_SUPPRESSIONS_WRITE,
    RIGHT_COUNT
};
const char *right_text(enum right right); /* "mail:send" */
/* ERR_INVALID unless it is the text of a right other than RIGHT_NONE. */
MUST_USE enum err right_parse(struct slice text, enum right *right);

/* The rights of people: bit 1 << right for each. */
uint32_t role_rights(enum role role);

/* What a key is at a moment. Its shard reports a key whose domains are all gone with is_enabled
 * false. */
enum key_status { KEY_ACTIVE, KEY_DISABLED, KEY_EXPIRED, KEY_REVOKED };
const char *key_status_text(enum key_status status);
enum key_status key_status(const struct row_api_key *key, uint64_t now_unix_ms);
/* The rights it grants: bit 1 << right for each. */
uint32_t key_rights(const struct row_api_key *key);

/* A credential as the edge read it: syntax checked, rights not. The account's shard makes it a
 * principal. */
enum caller_kind {
    CALLER_KEY,
    CALLER_SESSION,
    CALLER_OPERATOR, /* came through the admin socket: may everything in the account it names */
};
struct caller {
    enum caller_kind kind;
    struct account_id account;
    struct sha256 key_hash; /* CALLER_KEY */
    struct id user;         /* CALLER_SESSION: signature and expiry were checked */
    struct id session;      /* likewise; still open only if the user's row says so */
    enum right right;       /* what the route demands */
    struct ip6 peer;        /* whom the request comes from */
    bool needs_session;     /* of people only: a key is not enough, whatever its scopes */
    bool is_charged;        /* the request was counted against its rate already */
};

/* What a connection has authenticated with, as far as it can be taken back. */
enum credential_kind { CREDENTIAL_NONE, CREDENTIAL_KEY, CREDENTIAL_SESSION };
struct credential {
    enum credential_kind kind;
    struct sha256 bytes; /* the key's hash; a session's id, zeros behind it */
};
struct credential credential_key(const struct sha256 *hash);
struct credential credential_session(struct id session); /* NONE for no id */
struct credential credential_of(const struct caller *caller);
/* As for qsort; equal ones are 0. */
int credential_compare(const void *a, const void *b);

enum delivery_status {
    DELIVERY_PENDING,
    DELIVERY_SCHEDULED,
    DELIVERY_DELIVERED,
    DELIVERY_DEFERRED,
    DELIVERY_BOUNCED,
    DELIVERY_FAILED,
    DELIVERY_SUPPRESSED,
};
const char *delivery_status_text(enum delivery_status status);

enum mail_status {
    MAIL_QUEUED,
    MAIL_DEFERRED,
    MAIL_DELIVERED,
    MAIL_BOUNCED,
    MAIL_CANCELLED,
    MAIL_SCHEDULED,
    MAIL_FAILED,     /* nobody refused it, but we gave it up for at least one recipient */
    MAIL_SUPPRESSED, /* when it fell due, nobody was left who may get it */
    MAIL_STATUS_COUNT
};
const char *mail_status_text(enum mail_status status);

/* What goes first when a site has no room for all. The numbers are on disk. */
enum mail_priority { PRIORITY_TRANSACTIONAL, PRIORITY_BULK, PRIORITY_COUNT };
const char *mail_priority_text(enum mail_priority priority);
/* As a row has it; one that this program does not know is transactional. */
enum mail_priority mail_priority_of(uint8_t stored);

/* What a client said of something that has a default elsewhere. */
enum choice { CHOICE_DEFAULT, CHOICE_NO, CHOICE_YES };

/* Why an address gets no more mail. The numbers are on disk. */
enum suppression_reason {
    SUPPRESSION_HARD_BOUNCE,
    SUPPRESSION_COMPLAINT,
    SUPPRESSION_MANUAL,
    SUPPRESSION_UNSUBSCRIBE,
    SUPPRESSION_REASON_COUNT,
};
const char *suppression_reason_text(enum suppression_reason reason);
MUST_USE enum err suppression_reason_parse(struct slice text, enum suppression_reason *reason);

enum delivery_kind { DELIVERY_SMTP, DELIVERY_WEBHOOK };

enum route_action { ROUTE_WEBHOOK, ROUTE_FORWARD, ROUTE_STORE, ROUTE_DROP };
const char *route_action_text(enum route_action action);
/* What a 2xx of a webhook must say to count: anything, an acknowledgement, or a command. */
enum ack_mode { ACK_LENIENT, ACK_EXPLICIT, ACK_CONTROL };
const char *ack_mode_text(enum ack_mode mode);

enum domain_status { DOMAIN_PENDING, DOMAIN_VERIFIED, DOMAIN_FAILED };
const char *domain_status_text(enum domain_status status);

/* How a try at one recipient ended. UNCERTAIN: begun, and its end was never recorded (a crash
 * between DATA and the commit of the outcome); such a recipient may receive the mail twice. */
enum attempt_outcome { ATTEMPT_DELIVERED, ATTEMPT_DEFERRED, ATTEMPT_BOUNCED, ATTEMPT_UNCERTAIN };
const char *attempt_outcome_text(enum attempt_outcome outcome);

#endif
