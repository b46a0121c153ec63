/* id.h - time-ordered 128-bit ids that carry their account.
 *
 * An id is 48 bits of Unix milliseconds, 64 bits of account, 16 bits of sequence; as text it is a
 * prefix that tells the type (`msg_`, `dom_`, ...) and 22 base62 digits whose ASCII order is the
 * ids' order. So an id in a URL names the shard that owns it, lists sort by time without an index,
 * and nothing has to be looked up to route a request. Ids are not secrets: what an account does not
 * own is 404.
 *
 * An account id is 64 random bits, 11 base62 digits as text.
 */
#ifndef BASE_ID_H
#define BASE_ID_H

#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

struct account_id {
    uint64_t value; /* 0 means none */
};

struct id {
    uint8_t bytes[16]; /* big endian, so memcmp is time order; all zero means none */
};

enum id_kind {
    ID_USER,
    ID_KEY,
    ID_DOMAIN,
    ID_ROUTE,
    ID_MESSAGE,
    ID_DELIVERY,
    ID_EVENT,
    ID_ATTACHMENT,
    ID_MAILBOX,
    ID_THREAD,
    ID_TEMPLATE,
    ID_SCHEDULED,
    ID_WEBHOOK,
    ID_SUPPRESSION,
    ID_REQUEST,
    ID_KIND_COUNT
};

#define ID_BODY_LEN      22
#define ID_TEXT_MAX      32 /* longest prefix, underscore, body, NUL */
#define ACCOUNT_BODY_LEN 11

/* Makes ids for one shard. Never goes back in time, even when the wall clock does. */
struct id_maker {
    uint64_t last_ms;
    uint16_t sequence; /* next within last_ms */
};

void id_maker_init(struct id_maker *maker, uint64_t floor_ms);
struct id id_make(struct id_maker *maker, struct account_id account, uint64_t now_unix_ms);

struct id id_random(void); /* for requests: no account, no order */
struct account_id id_account(struct id id);
uint64_t id_unix_ms(struct id id);
bool id_equal(struct id a, struct id b);
bool id_is_none(struct id id);

/* Text with prefix, terminated; the length comes back. */
size_t id_text(enum id_kind kind, struct id id, char out[ID_TEXT_MAX]);
/* ERR_INVALID unless exactly the prefix of `kind` and 22 digits that fit 128 bits. */
MUST_USE enum err id_parse(enum id_kind kind, struct slice text, struct id *id);

struct account_id account_random(void);
size_t account_text(struct account_id account, char out[ID_TEXT_MAX]); /* "acc_..." */
/* The 11 digits alone, as API keys carry them. */
void account_digits(struct account_id account, char out[ACCOUNT_BODY_LEN]);
MUST_USE enum err account_parse_digits(struct slice digits, struct account_id *account);
MUST_USE enum err account_parse(struct slice text, struct account_id *account);

#endif
