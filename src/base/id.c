/* id.c - ids are big-endian bytes, so that memcmp, base62 text and time agree on the order.
 *
 *   0      6                14     16
 *   +------+----------------+------+
 *   | ms   | account        | seq  |
 *   +------+----------------+------+
 */
#include "base/id.h"

#include "base/check.h"
#include "base/crypto.h"

#include <string.h>

#define MS_MAX       ((UINT64_C(1) << 48) - 1) /* the year 10889 */
#define MS_LEN       6
#define ACCOUNT_AT   6
#define ACCOUNT_LEN  8
#define SEQUENCE_AT  14
#define SEQUENCE_LEN 2

static const struct slice kind_prefixes[] = {
    [ID_USER] = SLICE_INIT("usr_"),     [ID_KEY] = SLICE_INIT("key_"),
    [ID_DOMAIN] = SLICE_INIT("dom_"),   [ID_ROUTE] = SLICE_INIT("rte_"),
    [ID_MESSAGE] = SLICE_INIT("msg_"),  [ID_DELIVERY] = SLICE_INIT("dlv_"),
    [ID_EVENT] = SLICE_INIT("evt_"),    [ID_ATTACHMENT] = SLICE_INIT("att_"),
    [ID_MAILBOX] = SLICE_INIT("mbx_"),  [ID_THREAD] = SLICE_INIT("thr_"),
    [ID_TEMPLATE] = SLICE_INIT("tpl_"), [ID_SCHEDULED] = SLICE_INIT("ssnd_"),
    [ID_WEBHOOK] = SLICE_INIT("whk_"),  [ID_SUPPRESSION] = SLICE_INIT("sup_"),
    [ID_REQUEST] = SLICE_INIT("req_"),
};
_Static_assert(ARRAY_LEN(kind_prefixes) == ID_KIND_COUNT, "one prefix for each kind");
_Static_assert(sizeof("ssnd_") + ID_BODY_LEN <= ID_TEXT_MAX, "the longest text fits");

static const struct slice account_prefix = SLICE_INIT("acc_");

static void put_big_endian(uint8_t *at, size_t len, uint64_t value);
static uint64_t get_big_endian(const uint8_t *at, size_t len);

void id_maker_init(struct id_maker *maker, uint64_t floor_ms)
{
    CHECK(floor_ms < MS_MAX);
    /* Ids of floor_ms itself may have been given out, up to any sequence. */
    *maker = (struct id_maker){.last_ms = floor_ms + 1, .sequence = 0};
}

struct id id_make(struct id_maker *maker, struct account_id account, uint64_t now_unix_ms)
{
    if (now_unix_ms > maker->last_ms) {
        maker->last_ms = now_unix_ms;
        maker->sequence = 0;
    }
    CHECK(maker->last_ms <= MS_MAX);
    struct id id;
    put_big_endian(id.bytes, MS_LEN, maker->last_ms);
    put_big_endian(id.bytes + ACCOUNT_AT, ACCOUNT_LEN, account.value);
    put_big_endian(id.bytes + SEQUENCE_AT, SEQUENCE_LEN, maker->sequence);
    maker->sequence++;
    if (maker->sequence == 0) {
        maker->last_ms++; /* 65,536 in one millisecond: borrow from the next */
    }
    return id;
}

struct id id_random(void)
{
    struct id id;
    crypto_random(id.bytes, sizeof(id.bytes));
    return id;
}

struct account_id id_account(struct id id)
{
    return (struct account_id){.value = get_big_endian(id.bytes + ACCOUNT_AT, ACCOUNT_LEN)};
}

uint64_t id_unix_ms(struct id id)
{
    return get_big_endian(id.bytes, MS_LEN);
}

bool id_equal(struct id a, struct id b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

bool id_is_none(struct id id)
{
    return id_equal(id, (struct id){.bytes = {0}});
}

size_t id_text(enum id_kind kind, struct id id, char out[ID_TEXT_MAX])
{
    CHECK((unsigned int)kind < ID_KIND_COUNT);
    struct slice prefix = kind_prefixes[kind];
    memcpy(out, prefix.data, prefix.len);
    base62_encode(id.bytes, sizeof(id.bytes), out + prefix.len, ID_BODY_LEN);
    out[prefix.len + ID_BODY_LEN] = '\0';
    return prefix.len + ID_BODY_LEN;
}

enum err id_parse(enum id_kind kind, struct slice text, struct id *id)
{
    CHECK((unsigned int)kind < ID_KIND_COUNT);
    struct slice prefix = kind_prefixes[kind];
    if (text.len != prefix.len + ID_BODY_LEN || !slice_starts(text, prefix)) {
        return ERR_INVALID;
    }
    struct id parsed;
    enum err err = base62_decode(slice_from(text, prefix.len), parsed.bytes, sizeof(parsed.bytes));
    if (err != ERR_OK) {
        return err;
    }
    *id = parsed;
    return ERR_OK;
}

struct account_id account_random(void)
{
    struct account_id account = {.value = 0};
    while (account.value == 0) { /* 0 means none */
        account.value = crypto_random_u64();
    }
    return account;
}

size_t account_text(struct account_id account, char out[ID_TEXT_MAX])
{
    memcpy(out, account_prefix.data, account_prefix.len);
    account_digits(account, out + account_prefix.len);
    out[account_prefix.len + ACCOUNT_BODY_LEN] = '\0';
    return account_prefix.len + ACCOUNT_BODY_LEN;
}

void account_digits(struct account_id account, char out[ACCOUNT_BODY_LEN])
{
    uint8_t number[ACCOUNT_LEN];
    put_big_endian(number, ACCOUNT_LEN, account.value);
    base62_encode(number, sizeof(number), out, ACCOUNT_BODY_LEN);
}

enum err account_parse_digits(struct slice digits, struct account_id *account)
{
    if (digits.len != ACCOUNT_BODY_LEN) {
        return ERR_INVALID;
    }
    uint8_t number[ACCOUNT_LEN];
    enum err err = base62_decode(digits, number, sizeof(number));
    if (err != ERR_OK) {
        return err;
    }
    uint64_t value = get_big_endian(number, ACCOUNT_LEN);
    if (value == 0) {
        return ERR_INVALID; /* "none" is never said on the wire */
    }
    account->value = value;
    return ERR_OK;
}

enum err account_parse(struct slice text, struct account_id *account)
{
    if (!slice_starts(text, account_prefix)) {
        return ERR_INVALID;
    }
    return account_parse_digits(slice_from(text, account_prefix.len), account);
}

static void put_big_endian(uint8_t *at, size_t len, uint64_t value)
{
    for (size_t i = len; i > 0; i--) {
        at[i - 1] = (uint8_t)(value & 0xff);
        value >>= 8;
    }
}

static uint64_t get_big_endian(const uint8_t *at, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        value = value << 8 | at[i];
    }
    return value;
}
