/* msg.c - names of messages and of the words their bodies share. */
#include "shards/msg.h"

#include "base/check.h"
#include "kv/key.h"

#include <string.h>

static const char *const KIND_NAMES[] = {
#define MSG(kind, member, from, to, pool, waits_on) #kind,
    MSG_TABLE(MSG)
#undef MSG
};

static const uint8_t KIND_POOLS[] = {
#define MSG(kind, member, from, to, pool, waits_on) MSG_POOL_##pool,
    MSG_TABLE(MSG)
#undef MSG
};

_Static_assert(ARRAY_LEN(KIND_NAMES) == MSG_KIND_COUNT, "a name for each kind");
_Static_assert(ARRAY_LEN(KIND_POOLS) == MSG_KIND_COUNT, "a pool for each kind");
_Static_assert((int)DIRECTORY_EMAIL == DIRECTORY_KIND_EMAIL, "edges name kinds as rows do");
_Static_assert((int)DIRECTORY_DOMAIN == DIRECTORY_KIND_DOMAIN, "edges name kinds as rows do");
_Static_assert(MSG_KIND_COUNT <= UINT16_MAX, "kinds fit msg.kind");
/* A pool of 4,096 messages must stay a few megabytes: a body that grows past this belongs, in part,
 * into the message's arena. */
_Static_assert(sizeof(union msg_body) <= 1024, "bodies stay small");

static const char *const RIGHT_TEXTS[] = {
    [RIGHT_NONE] = "",
    [RIGHT_MAIL_SEND] = "mail:send",
    [RIGHT_MAIL_READ] = "mail:read",
    [RIGHT_MAIL_WRITE] = "mail:write",
    [RIGHT_DOMAINS_READ] = "domains:read",
    [RIGHT_DOMAINS_WRITE] = "domains:write",
    [RIGHT_MAILBOXES_READ] = "mailboxes:read",
    [RIGHT_MAILBOXES_WRITE] = "mailboxes:write",
    [RIGHT_WEBHOOKS_READ] = "webhooks:read",
    [RIGHT_WEBHOOKS_WRITE] = "webhooks:write",
    [RIGHT_ROUTES_READ] = "routes:read",
    [RIGHT_ROUTES_WRITE] = "routes:write",
    [RIGHT_KEYS_READ] = "keys:read",
    [RIGHT_KEYS_WRITE] = "keys:write",
    [RIGHT_SUPPRESSIONS_READ] = "suppressions:read",
    [RIGHT_SUPPRESSIONS_WRITE] = "suppressions:write",
};
_Static_assert(ARRAY_LEN(RIGHT_TEXTS) == RIGHT_COUNT, "a text for each right");

static const char *const ROLE_TEXTS[] = {
    [ROLE_OWNER] = "owner",
    [ROLE_ADMIN] = "admin",
    [ROLE_MEMBER] = "member",
};
_Static_assert(ARRAY_LEN(ROLE_TEXTS) == ROLE_COUNT, "a text for each role");

static const char *const MEMBER_STATUS_TEXTS[] = {
    [MEMBER_ACTIVE] = "active",
    [MEMBER_INVITED] = "invited",
    [MEMBER_REMOVED] = "removed",
};

static const char *const KEY_STATUS_TEXTS[] = {
    [KEY_ACTIVE] = "active",
    [KEY_DISABLED] = "disabled",
    [KEY_EXPIRED] = "expired",
    [KEY_REVOKED] = "revoked",
};

static const char *const DELIVERY_STATUS_TEXTS[] = {
    [DELIVERY_PENDING] = "pending",       [DELIVERY_SCHEDULED] = "scheduled",
    [DELIVERY_DELIVERED] = "delivered",   [DELIVERY_DEFERRED] = "deferred",
    [DELIVERY_BOUNCED] = "bounced",       [DELIVERY_FAILED] = "failed",
    [DELIVERY_SUPPRESSED] = "suppressed",
};

static const char *const MAIL_STATUS_TEXTS[] = {
    [MAIL_QUEUED] = "queued",   [MAIL_DEFERRED] = "deferred",     [MAIL_DELIVERED] = "delivered",
    [MAIL_BOUNCED] = "bounced", [MAIL_CANCELLED] = "cancelled",   [MAIL_SCHEDULED] = "scheduled",
    [MAIL_FAILED] = "failed",   [MAIL_SUPPRESSED] = "suppressed",
};

static const char *const MAIL_PRIORITY_TEXTS[] = {
    [PRIORITY_TRANSACTIONAL] = "transactional",
    [PRIORITY_BULK] = "bulk",
};

static const char *const SUPPRESSION_REASON_TEXTS[] = {
    [SUPPRESSION_HARD_BOUNCE] = "hard_bounce",
    [SUPPRESSION_COMPLAINT] = "complaint",
    [SUPPRESSION_MANUAL] = "manual",
    [SUPPRESSION_UNSUBSCRIBE] = "unsubscribe",
};
_Static_assert(ARRAY_LEN(SUPPRESSION_REASON_TEXTS) == SUPPRESSION_REASON_COUNT,
               "a text for each reason");

static const char *const DOMAIN_STATUS_TEXTS[] = {
    [DOMAIN_PENDING] = "pending",
    [DOMAIN_VERIFIED] = "verified",
    [DOMAIN_FAILED] = "failed",
};

static const char *const ATTEMPT_OUTCOME_TEXTS[] = {
    [ATTEMPT_DELIVERED] = "delivered",
    [ATTEMPT_DEFERRED] = "deferred",
    [ATTEMPT_BOUNCED] = "bounced",
    [ATTEMPT_UNCERTAIN] = "uncertain",
};

static const uint64_t QUEUE_STEP_S[QUEUE_STEPS] = {60,    300,   900,    3600,   14400,
                                                   43200, 86400, 172800, 345600, 0};

uint32_t queue_step(uint64_t ms)
{
    uint32_t step = 0;
    while (step + 1 < QUEUE_STEPS && ms > QUEUE_STEP_S[step] * 1000) {
        step++;
    }
    return step;
}

uint64_t queue_step_s(uint32_t step)
{
    CHECK(step < QUEUE_STEPS);
    return QUEUE_STEP_S[step];
}

enum err tap_serve(struct tap_table *table, struct tap_ask *ask, struct arena *arena,
                   uint64_t now_ms)
{
    switch (ask->op) {
    case TAP_OP_START:
        return tap_start(table, &ask->rule, now_ms + ask->seconds * UINT64_C(1000));
    case TAP_OP_READ:
        return tap_read(table, ask->rule.id, ask->after, arena, &ask->page);
    case TAP_OP_STOP:
        tap_stop(table, ask->rule.id);
        break;
    }
    return ERR_OK;
}

struct credential credential_key(const struct sha256 *hash)
{
    return (struct credential){.kind = CREDENTIAL_KEY, .bytes = *hash};
}

struct credential credential_session(struct id session)
{
    struct credential credential = {.kind = CREDENTIAL_NONE};
    if (!id_is_none(session)) {
        credential.kind = CREDENTIAL_SESSION;
        memcpy(credential.bytes.bytes, session.bytes, sizeof(session.bytes));
    }
    return credential;
}

struct credential credential_of(const struct caller *caller)
{
    switch (caller->kind) {
    case CALLER_KEY:
        return credential_key(&caller->key_hash);
    case CALLER_SESSION:
        return credential_session(caller->session);
    case CALLER_OPERATOR:
        break;
    }
    return (struct credential){.kind = CREDENTIAL_NONE};
}

int credential_compare(const void *a, const void *b)
{
    const struct credential *left = a;
    const struct credential *right = b;
    if (left->kind != right->kind) {
        return left->kind < right->kind ? -1 : 1;
    }
    return memcmp(left->bytes.bytes, right->bytes.bytes, sizeof(left->bytes.bytes));
}

const char *right_text(enum right right)
{
    CHECK((size_t)right < ARRAY_LEN(RIGHT_TEXTS));
    return RIGHT_TEXTS[right];
}

enum err right_parse(struct slice text, enum right *right)
{
    for (enum right i = RIGHT_NONE + 1; i < RIGHT_COUNT; i++) {
        if (slice_equal(text, slice_str(RIGHT_TEXTS[i]))) {
            *right = i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

const char *role_text(enum role role)
{
    CHECK((size_t)role < ARRAY_LEN(ROLE_TEXTS));
    return ROLE_TEXTS[role];
}

enum err role_parse(struct slice text, enum role *role)
{
    for (enum role i = ROLE_OWNER; i < ROLE_COUNT; i++) {
        if (slice_equal(text, slice_str(ROLE_TEXTS[i]))) {
            *role = i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

const char *member_status_text(enum member_status status)
{
    CHECK((size_t)status < ARRAY_LEN(MEMBER_STATUS_TEXTS));
    return MEMBER_STATUS_TEXTS[status];
}

uint64_t session_keys_pack(struct session_keys keys)
{
    CHECK(keys.generation <= SESSION_KEY_GENERATION_MAX);
    CHECK(keys.previous_until_unix_ms >> 48 == 0);
    return (uint64_t)keys.generation << 48 | keys.previous_until_unix_ms;
}

struct session_keys session_keys_unpack(uint64_t value)
{
    return (struct session_keys){
        .generation = (uint32_t)(value >> 48),
        .previous_until_unix_ms = value & ((UINT64_C(1) << 48) - 1),
    };
}

const char *key_status_text(enum key_status status)
{
    CHECK((size_t)status < ARRAY_LEN(KEY_STATUS_TEXTS));
    return KEY_STATUS_TEXTS[status];
}

enum key_status key_status(const struct row_api_key *key, uint64_t now_unix_ms)
{
    if (key->is_revoked) {
        return KEY_REVOKED;
    }
    if (key->expires_unix_ms != 0 && key->expires_unix_ms <= now_unix_ms) {
        return KEY_EXPIRED;
    }
    return key->is_enabled ? KEY_ACTIVE : KEY_DISABLED;
}

/* All but RIGHT_NONE. */
static uint32_t every_right(void)
{
    _Static_assert(RIGHT_COUNT <= 32, "a bit for each right");
    return (uint32_t)((UINT64_C(1) << RIGHT_COUNT) - 2);
}

uint32_t role_rights(enum role role)
{
    const uint32_t guarded = UINT32_C(1) << RIGHT_KEYS_WRITE | UINT32_C(1) << RIGHT_DOMAINS_WRITE;
    return role == ROLE_OWNER || role == ROLE_ADMIN ? every_right() : every_right() & ~guarded;
}

uint32_t key_rights(const struct row_api_key *key)
{
    if (!key->has_scopes && key->scopes.len == 0) {
        return key->permission == PERMISSION_FULL ? every_right() : UINT32_C(1) << RIGHT_MAIL_SEND;
    }
    uint32_t rights = 0;
    struct slice rest = key->scopes;
    struct slice scope;
    enum right right;
    while (get_slice(&rest, &scope)) {
        if (right_parse(scope, &right) == ERR_OK) {
            rights |= UINT32_C(1) << right;
        }
    }
    return rights;
}

const char *route_action_text(enum route_action action)
{
    static const char *const texts[] = {"webhook", "forward", "store", "drop"};
    CHECK((size_t)action < ARRAY_LEN(texts));
    return texts[action];
}

const char *ack_mode_text(enum ack_mode mode)
{
    static const char *const texts[] = {"lenient", "ack", "control"};
    CHECK((size_t)mode < ARRAY_LEN(texts));
    return texts[mode];
}

const char *delivery_status_text(enum delivery_status status)
{
    CHECK((size_t)status < ARRAY_LEN(DELIVERY_STATUS_TEXTS));
    return DELIVERY_STATUS_TEXTS[status];
}

const char *mail_status_text(enum mail_status status)
{
    CHECK((size_t)status < ARRAY_LEN(MAIL_STATUS_TEXTS));
    return MAIL_STATUS_TEXTS[status];
}

enum mail_priority mail_priority_of(uint8_t stored)
{
    return stored < PRIORITY_COUNT ? (enum mail_priority)stored : PRIORITY_TRANSACTIONAL;
}

const char *mail_priority_text(enum mail_priority priority)
{
    CHECK((size_t)priority < ARRAY_LEN(MAIL_PRIORITY_TEXTS));
    return MAIL_PRIORITY_TEXTS[priority];
}

const char *suppression_reason_text(enum suppression_reason reason)
{
    CHECK((size_t)reason < ARRAY_LEN(SUPPRESSION_REASON_TEXTS));
    return SUPPRESSION_REASON_TEXTS[reason];
}

enum err suppression_reason_parse(struct slice text, enum suppression_reason *reason)
{
    for (enum suppression_reason i = 0; i < SUPPRESSION_REASON_COUNT; i++) {
        if (slice_equal(text, slice_str(SUPPRESSION_REASON_TEXTS[i]))) {
            *reason = i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

const char *domain_status_text(enum domain_status status)
{
    CHECK((size_t)status < ARRAY_LEN(DOMAIN_STATUS_TEXTS));
    return DOMAIN_STATUS_TEXTS[status];
}

const char *attempt_outcome_text(enum attempt_outcome outcome)
{
    CHECK((size_t)outcome < ARRAY_LEN(ATTEMPT_OUTCOME_TEXTS));
    return ATTEMPT_OUTCOME_TEXTS[outcome];
}

static const char *const KEEP_TYPE_TEXTS[] = {
    [KEEP_COMPACT] = "compact", [KEEP_BACKUP] = "backup", [KEEP_VERIFY] = "verify",
    [KEEP_REPAIR] = "repair",   [KEEP_EXPORT] = "export", [KEEP_IMPORT] = "import",
};
_Static_assert(ARRAY_LEN(KEEP_TYPE_TEXTS) == KEEP_TYPE_COUNT, "a text for each type of job");

const char *keep_type_text(enum keep_type type)
{
    CHECK((size_t)type < ARRAY_LEN(KEEP_TYPE_TEXTS));
    return KEEP_TYPE_TEXTS[type];
}

enum err keep_type_parse(struct slice text, enum keep_type *type)
{
    for (size_t i = 0; i < ARRAY_LEN(KEEP_TYPE_TEXTS); i++) {
        if (slice_equal(text, slice_str(KEEP_TYPE_TEXTS[i]))) {
            *type = (enum keep_type)i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

const char *keep_state_text(enum keep_state state)
{
    static const char *const texts[] = {"running", "done", "failed", "cancelled"};
    CHECK((size_t)state < ARRAY_LEN(texts));
    return texts[state];
}

const char *msg_kind_name(enum msg_kind kind)
{
    CHECK(kind < MSG_KIND_COUNT);
    return KIND_NAMES[kind];
}

enum msg_pool_kind msg_kind_pool(enum msg_kind kind)
{
    CHECK(kind < MSG_KIND_COUNT);
    return (enum msg_pool_kind)KIND_POOLS[kind];
}
