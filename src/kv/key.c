/* key.c - builders and readers of keys.
 *
 * Keys are built front to back by the add_ functions and never patched. Numbers are big endian, so
 * that memcmp, which is how RocksDB compares, is numeric order. */
#include "kv/key.h"

#include "base/check.h"

#include <string.h>

enum key_tag {
#define KEY(NAME, tag, name, ROW, parts) TAG_##NAME = tag,
    KEY_TABLE(KEY)
#undef KEY
};

#define ID_BYTES     ((size_t)16)
#define NOTE_NAME_AT ((size_t)5) /* tag, kind */

static struct key key_of(enum key_tag tag);
static struct key key_of_account(enum key_tag tag, struct account_id account);
static struct key key_of_mail(enum key_tag tag, struct account_id account, struct id mail);
static void add_bytes(struct key *key, const void *data, size_t len);
static void add_u32(struct key *key, uint32_t value);
static void add_u64(struct key *key, uint64_t value);
static void add_id(struct key *key, struct id id);
static void add_text(struct key *key, struct slice text);
static bool is_of(struct slice key, enum key_tag tag, size_t len);
static uint64_t read_number(struct slice key, size_t from, size_t bytes);
static struct id read_id(struct slice key, size_t from);
static uint64_t mix(uint64_t x);
static uint64_t hash_text(struct slice text);

_Static_assert(KEY_TEXT_MAX >= ADDR_MAX, "an address fits behind tag and account");
_Static_assert(KEY_TEXT_MAX >= DOMAIN_MAX, "a domain fits behind tag and account");
_Static_assert(sizeof(struct id) == ID_BYTES, "an id is its bytes");

struct slice key_slice(const struct key *key)
{
    CHECK(key->len <= KEY_MAX);
    return slice_of(key->bytes, key->len);
}

bool key_copy(struct slice bytes, struct key *key)
{
    if (bytes.len > KEY_MAX) {
        return false;
    }
    key->len = (uint16_t)bytes.len;
    if (bytes.len > 0) {
        memcpy(key->bytes, bytes.data, bytes.len);
    }
    return true;
}

uint32_t key_account_shard(uint32_t shard_count, struct account_id account)
{
    CHECK(shard_count > 0);
    return (uint32_t)(mix(account.value) % shard_count);
}

uint32_t key_directory_shard(uint32_t shard_count, struct slice name)
{
    CHECK(shard_count > 0);
    return (uint32_t)(hash_text(name) % shard_count);
}

struct key key_account(struct account_id account)
{
    return key_of_account(TAG_ACCOUNT, account);
}

struct key key_user(struct account_id account, struct id user)
{
    return key_of_mail(TAG_USER, account, user);
}

struct key key_api_key(struct account_id account, const struct sha256 *hash)
{
    struct key key = key_of_account(TAG_API_KEY, account);
    add_bytes(&key, hash->bytes, sizeof(hash->bytes));
    return key;
}

struct key key_api_key_id(struct account_id account, struct id api_key)
{
    return key_of_mail(TAG_API_KEY_ID, account, api_key);
}

struct key key_key_due(uint64_t due_unix_ms, struct account_id account, struct id api_key)
{
    struct key key = key_of(TAG_KEY_DUE);
    add_u64(&key, due_unix_ms);
    add_u64(&key, account.value);
    add_id(&key, api_key);
    return key;
}

struct key key_audit(struct account_id account, struct id audit)
{
    return key_of_mail(TAG_AUDIT, account, audit);
}

struct key key_delivery_ref(struct account_id account, struct id delivery)
{
    return key_of_mail(TAG_DELIVERY_REF, account, delivery);
}

struct key key_blocked(struct account_id account, struct slice addr_key)
{
    struct key key = key_of_account(TAG_BLOCKED, account);
    add_text(&key, addr_key);
    return key;
}

struct key key_route(struct account_id account, struct id route)
{
    return key_of_mail(TAG_ROUTE, account, route);
}

struct key key_route_list(struct account_id account)
{
    return key_of_account(TAG_ROUTE_LIST, account);
}

struct key key_stage(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_STAGE, account, mail);
}

struct key key_mailbox(struct account_id account, struct id mailbox)
{
    return key_of_mail(TAG_MAILBOX, account, mailbox);
}

struct key key_mailbox_name(struct account_id account, struct slice addr_key)
{
    struct key key = key_of_account(TAG_MAILBOX_NAME, account);
    add_text(&key, addr_key);
    return key;
}

struct key key_mailbox_mail(struct account_id account, struct id mailbox, struct id mail)
{
    struct key key = key_of_mail(TAG_MAILBOX_MAIL, account, mailbox);
    add_id(&key, mail);
    return key;
}

struct key key_mail_state(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_MAIL_STATE, account, mail);
}

struct key key_thread(struct account_id account, struct id thread)
{
    return key_of_mail(TAG_THREAD, account, thread);
}

struct key key_thread_name(struct account_id account, const struct sha256 *message_id)
{
    struct key key = key_of_account(TAG_THREAD_NAME, account);
    add_bytes(&key, message_id->bytes, sizeof(message_id->bytes));
    return key;
}

struct key key_thread_mail(struct account_id account, struct id thread, struct id mail)
{
    struct key key = key_of_mail(TAG_THREAD_MAIL, account, thread);
    add_id(&key, mail);
    return key;
}

struct key key_domain(struct account_id account, struct id domain)
{
    return key_of_mail(TAG_DOMAIN, account, domain);
}

struct key key_domain_name(struct account_id account, struct slice name)
{
    struct key key = key_of_account(TAG_DOMAIN_NAME, account);
    add_text(&key, name);
    return key;
}

struct key key_mail(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_MAIL, account, mail);
}

struct key key_chunk(struct account_id account, struct id mail, uint32_t index)
{
    struct key key = key_of_mail(TAG_CHUNK, account, mail);
    add_u32(&key, index);
    return key;
}

struct key key_attachment(struct account_id account, struct id mail, uint32_t index)
{
    struct key key = key_of_mail(TAG_ATTACHMENT, account, mail);
    add_u32(&key, index);
    return key;
}

struct key key_attachment_data(uint32_t day, struct account_id account, struct id mail,
                               uint32_t index, uint32_t chunk)
{
    struct key key = key_of(TAG_ATTACHMENT_DATA);
    add_u32(&key, day);
    add_u64(&key, account.value);
    add_id(&key, mail);
    add_u32(&key, index);
    add_u32(&key, chunk);
    return key;
}

struct key key_delivery(struct account_id account, struct id mail, uint32_t index)
{
    struct key key = key_of_mail(TAG_DELIVERY, account, mail);
    add_u32(&key, index);
    return key;
}

struct key key_attempt(struct account_id account, struct id mail, uint32_t index, uint32_t attempt)
{
    struct key key = key_of_mail(TAG_ATTEMPT, account, mail);
    add_u32(&key, index);
    add_u32(&key, attempt);
    return key;
}

struct key key_transcript(struct account_id account, struct id mail, uint32_t group,
                          uint32_t attempt)
{
    struct key key = key_of_mail(TAG_TRANSCRIPT, account, mail);
    add_u32(&key, group);
    add_u32(&key, attempt);
    return key;
}

struct key key_outbox(uint64_t due_unix_ms, struct account_id account, struct id mail,
                      uint32_t group)
{
    struct key key = key_of(TAG_OUTBOX);
    add_u64(&key, due_unix_ms);
    add_u64(&key, account.value);
    add_id(&key, mail);
    add_u32(&key, group);
    return key;
}

struct key key_event(struct account_id account, struct id mail, struct id event)
{
    struct key key = key_of_mail(TAG_EVENT, account, mail);
    add_id(&key, event);
    return key;
}

struct key key_idempotency(uint32_t day, struct account_id account, const struct sha256 *hash)
{
    struct key key = key_of(TAG_IDEMPOTENCY);
    add_u32(&key, day);
    add_u64(&key, account.value);
    add_bytes(&key, hash->bytes, sizeof(hash->bytes));
    return key;
}

struct key key_usage(struct account_id account, uint32_t day)
{
    struct key key = key_of_account(TAG_USAGE, account);
    add_u32(&key, day);
    return key;
}

struct key key_suppression(struct account_id account, struct slice addr_key)
{
    struct key key = key_of_account(TAG_SUPPRESSION, account);
    add_text(&key, addr_key);
    return key;
}

struct key key_prefix_all_suppressions(void)
{
    return key_of(TAG_SUPPRESSION);
}

struct key key_prefix_suppressions(struct account_id account)
{
    return key_of_account(TAG_SUPPRESSION, account);
}

struct key key_template(struct account_id account, struct id template)
{
    struct key key = key_of_account(TAG_TEMPLATE, account);
    add_id(&key, template);
    return key;
}

struct key key_prefix_templates(struct account_id account)
{
    return key_of_account(TAG_TEMPLATE, account);
}

struct key key_note(uint32_t kind, struct slice name)
{
    struct key key = key_prefix_notes(kind);
    add_text(&key, name);
    return key;
}

struct key key_prefix_notes(uint32_t kind)
{
    struct key key = key_of(TAG_NOTE);
    add_u32(&key, kind);
    return key;
}

enum err key_read_note(struct slice key, struct slice *name)
{
    if (key.len < NOTE_NAME_AT || (uint8_t)key.data[0] != (uint8_t)TAG_NOTE) {
        return ERR_CORRUPT;
    }
    *name = slice_from(key, NOTE_NAME_AT);
    return ERR_OK;
}

struct key key_directory(enum directory_kind kind, struct slice name)
{
    CHECK(kind == DIRECTORY_EMAIL || kind == DIRECTORY_DOMAIN || kind == DIRECTORY_SERVER);
    struct key key = key_of(TAG_DIRECTORY);
    const uint8_t kind_byte = (uint8_t)kind;
    add_bytes(&key, &kind_byte, 1);
    add_text(&key, name);
    return key;
}

struct key key_quarantine(uint64_t when_unix_ms, const struct sha256 *original)
{
    struct key key = key_of(TAG_QUARANTINE);
    add_u64(&key, when_unix_ms);
    add_bytes(&key, original->bytes, sizeof(original->bytes));
    return key;
}

struct key key_shard_meta(void)
{
    return key_of(TAG_SHARD_META);
}

struct key key_ledger(uint32_t kind)
{
    struct key key = key_of(TAG_LEDGER);
    add_u32(&key, kind);
    return key;
}

struct key key_after(const struct key *prefix)
{
    CHECK(prefix->len > 0);
    CHECK(prefix->bytes[0] != 0xff); /* tags are letters, so there always is a greater key */
    struct key key = *prefix;
    while (key.bytes[key.len - 1] == 0xff) {
        key.len--;
    }
    key.bytes[key.len - 1]++;
    return key;
}

struct key key_prefix_accounts(void)
{
    return key_of(TAG_ACCOUNT);
}

struct key key_prefix_all_users(void)
{
    return key_of(TAG_USER);
}

struct key key_prefix_users(struct account_id account)
{
    return key_of_account(TAG_USER, account);
}

struct key key_prefix_api_key_ids(struct account_id account)
{
    return key_of_account(TAG_API_KEY_ID, account);
}

struct key key_prefix_key_dues(void)
{
    return key_of(TAG_KEY_DUE);
}

struct key key_prefix_audits(struct account_id account)
{
    return key_of_account(TAG_AUDIT, account);
}

struct key key_prefix_routes(struct account_id account)
{
    return key_of_account(TAG_ROUTE, account);
}

struct key key_prefix_stages(void)
{
    return key_of(TAG_STAGE);
}

struct key key_prefix_mailboxes(struct account_id account)
{
    return key_of_account(TAG_MAILBOX, account);
}

struct key key_prefix_mailbox_mails(struct account_id account, struct id mailbox)
{
    return key_of_mail(TAG_MAILBOX_MAIL, account, mailbox);
}

struct key key_prefix_threads(struct account_id account)
{
    return key_of_account(TAG_THREAD, account);
}

struct key key_prefix_thread_mails(struct account_id account, struct id thread)
{
    return key_of_mail(TAG_THREAD_MAIL, account, thread);
}

struct key key_prefix_all_domains(void)
{
    return key_of(TAG_DOMAIN);
}

struct key key_prefix_domains(struct account_id account)
{
    return key_of_account(TAG_DOMAIN, account);
}

struct key key_prefix_mails(struct account_id account)
{
    return key_of_account(TAG_MAIL, account);
}

struct key key_prefix_attachments(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_ATTACHMENT, account, mail);
}

struct key key_prefix_deliveries(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_DELIVERY, account, mail);
}

struct key key_prefix_attempts(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_ATTEMPT, account, mail);
}

struct key key_prefix_transcripts(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_TRANSCRIPT, account, mail);
}

struct key key_prefix_events(struct account_id account, struct id mail)
{
    return key_of_mail(TAG_EVENT, account, mail);
}

struct key key_prefix_outbox(void)
{
    return key_of(TAG_OUTBOX);
}

struct key key_prefix_attachment_day(uint32_t day)
{
    struct key key = key_of(TAG_ATTACHMENT_DATA);
    add_u32(&key, day);
    return key;
}

struct key key_prefix_idempotency_day(uint32_t day)
{
    struct key key = key_of(TAG_IDEMPOTENCY);
    add_u32(&key, day);
    return key;
}

/* Offsets of the readers: tag 1, due 8, account 8, id 16, then numbers of 4. */
enum err key_read_outbox(struct slice key, struct outbox_ref *ref)
{
    if (!is_of(key, TAG_OUTBOX, 1 + 8 + 8 + ID_BYTES + 4)) {
        return ERR_CORRUPT;
    }
    ref->due_unix_ms = read_number(key, 1, 8);
    ref->account = (struct account_id){.value = read_number(key, 9, 8)};
    ref->mail = read_id(key, 17);
    ref->group = (uint32_t)read_number(key, 33, 4);
    return ERR_OK;
}

enum err key_read_key_due(struct slice key, struct outbox_ref *ref)
{
    if (!is_of(key, TAG_KEY_DUE, 1 + 8 + 8 + ID_BYTES)) {
        return ERR_CORRUPT;
    }
    ref->due_unix_ms = read_number(key, 1, 8);
    ref->account = (struct account_id){.value = read_number(key, 9, 8)};
    ref->mail = read_id(key, 17);
    ref->group = 0;
    return ERR_OK;
}

enum err key_read_mail(struct slice key, struct account_id *account, struct id *mail)
{
    const size_t short_len = 1 + 8 + ID_BYTES;
    const size_t long_len = short_len + ID_BYTES;
    bool is_good = is_of(key, TAG_STAGE, short_len) || is_of(key, TAG_MAILBOX_MAIL, long_len) ||
                   is_of(key, TAG_THREAD_MAIL, long_len);
    if (!is_good) {
        return ERR_CORRUPT;
    }
    *account = (struct account_id){.value = read_number(key, 1, 8)};
    *mail = read_id(key, key.len - ID_BYTES);
    return ERR_OK;
}

enum err key_read_delivery(struct slice key, struct id *mail, uint32_t *index)
{
    if (!is_of(key, TAG_DELIVERY, 1 + 8 + ID_BYTES + 4)) {
        return ERR_CORRUPT;
    }
    *mail = read_id(key, 9);
    *index = (uint32_t)read_number(key, 25, 4);
    return ERR_OK;
}

enum err key_read_attempt(struct slice key, uint32_t *index, uint32_t *attempt)
{
    if (!is_of(key, TAG_ATTEMPT, 1 + 8 + ID_BYTES + 4 + 4)) {
        return ERR_CORRUPT;
    }
    *index = (uint32_t)read_number(key, 25, 4);
    *attempt = (uint32_t)read_number(key, 29, 4);
    return ERR_OK;
}

enum err key_read_transcript(struct slice key, uint32_t *group, uint32_t *attempt)
{
    if (!is_of(key, TAG_TRANSCRIPT, 1 + 8 + ID_BYTES + 4 + 4)) {
        return ERR_CORRUPT;
    }
    *group = (uint32_t)read_number(key, 25, 4);
    *attempt = (uint32_t)read_number(key, 29, 4);
    return ERR_OK;
}

static struct key key_of(enum key_tag tag)
{
    struct key key = {.len = 1};
    key.bytes[0] = (uint8_t)tag;
    return key;
}

static struct key key_of_account(enum key_tag tag, struct account_id account)
{
    struct key key = key_of(tag);
    add_u64(&key, account.value);
    return key;
}

/* Also for users, domains and API keys, whose keys have the same shape. */
static struct key key_of_mail(enum key_tag tag, struct account_id account, struct id mail)
{
    struct key key = key_of_account(tag, account);
    add_id(&key, mail);
    return key;
}

static void add_bytes(struct key *key, const void *data, size_t len)
{
    CHECK(len <= (size_t)(KEY_MAX - key->len));
    memcpy(key->bytes + key->len, data, len);
    key->len = (uint16_t)(key->len + len);
}

static void add_u32(struct key *key, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                              (uint8_t)value};
    add_bytes(key, bytes, sizeof(bytes));
}

static void add_u64(struct key *key, uint64_t value)
{
    add_u32(key, (uint32_t)(value >> 32));
    add_u32(key, (uint32_t)value);
}

static void add_id(struct key *key, struct id id)
{
    add_bytes(key, id.bytes, ID_BYTES);
}

static void add_text(struct key *key, struct slice text)
{
    CHECK(text.len <= KEY_TEXT_MAX); /* parsers of addresses and domains refuse more */
    if (text.len > 0) {
        add_bytes(key, text.data, text.len);
    }
}

static bool is_of(struct slice key, enum key_tag tag, size_t len)
{
    return key.len == len && (uint8_t)key.data[0] == (uint8_t)tag;
}

static uint64_t read_number(struct slice key, size_t from, size_t bytes)
{
    CHECK(bytes <= 8 && from + bytes <= key.len);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (uint8_t)key.data[from + i];
    }
    return value;
}

static struct id read_id(struct slice key, size_t from)
{
    CHECK(from + ID_BYTES <= key.len);
    struct id id;
    memcpy(id.bytes, key.data + from, ID_BYTES);
    return id;
}

/* The finaliser of splitmix64. Account ids are random already; this keeps shards even should they
 * one day be given out in another way, or with a shard count that divides their pattern. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* FNV-1a, 64 bits, mixed because its low bits are weak. Not keyed: the result is on disk, and a
 * name aimed at one shard gains its maker nothing that an account there would not. */
static uint64_t hash_text(struct slice text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (uint8_t)text.data[i]) * UINT64_C(0x100000001b3);
    }
    return mix(hash);
}
