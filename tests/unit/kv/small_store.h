/* small_store.h - a store with one of everything, as shards would have written it.
 *
 * One account with a user, a key, a domain, a route, a mailbox and a thread; a sent mail with three
 * deliveries (delivered, deferred, a webhook that is due), two chunks and an attachment; a received
 * one. Verify must find nothing in it; what a test breaks in it must be found.
 */
#ifndef TESTS_UNIT_KV_SMALL_STORE_H
#define TESTS_UNIT_KV_SMALL_STORE_H

#include "base/buf.h"
#include "base/clock.h"
#include "kv/fact.h"
#include "kv/key.h"
#include "kv/migrate.h"
#include "kv/row.h"
#include "unit/kv/temp_store.h"

#define SMALL_SHARDS 4
#define SMALL_NOW    (UINT64_C(20000) * 86400000 + 5000)
#define SMALL_DAY    UINT32_C(20007)
#define SMALL_BODY   "Subject: hello\r\n\r\nA body of some length.\r\n"

struct small {
    char path[TEMP_PATH_MAX];
    struct kv *kv;
    struct account_id account;
    uint32_t family;
    struct id user, api_key, domain, route, mailbox, thread;
    struct id sent, received;
    struct id deliveries[3];
    struct sha256 key_hash;
    uint64_t due_unix_ms; /* of the deferred delivery; the webhook's is one later */
};

static inline struct id small_id(const struct small *small, uint64_t nth)
{
    struct id id = {.bytes = {0}};
    uint64_t ms = SMALL_NOW - 100000 + nth;
    for (size_t i = 0; i < 6; i++) {
        id.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    for (size_t i = 0; i < 8; i++) {
        id.bytes[6 + i] = (uint8_t)(small->account.value >> (56 - 8 * i));
    }
    id.bytes[15] = (uint8_t)nth;
    return id;
}

static inline void small_put_bytes(struct small *small, uint32_t family, struct key key,
                                   struct slice value)
{
    const enum err err = temp_put(small->kv, family, key_slice(&key), value);
    CHECK(err == ERR_OK);
}

static inline void small_drop(struct small *small, struct key key)
{
    struct kv_batch *batch = kv_batch_new(small->family);
    kv_batch_delete(batch, key_slice(&key));
    const enum err err = kv_write(small->kv, batch);
    CHECK(err == ERR_OK);
    kv_batch_free(batch);
}

#define ROW(name, NAME, version, fields)                                                           \
    static inline void small_put_##name(struct small *small, uint32_t family, struct key key,      \
                                        struct row_##name row)                                     \
    {                                                                                              \
        struct buf bytes;                                                                          \
        buf_init(&bytes, MIB);                                                                     \
        row_##name##_encode(&row, &bytes);                                                         \
        small_put_bytes(small, family, key, buf_slice(&bytes));                                    \
        buf_fini(&bytes);                                                                          \
    }                                                                                              \
    static inline bool small_get_##name(struct small *small, uint32_t family, struct key key,      \
                                        struct arena *arena, struct row_##name *row)               \
    {                                                                                              \
        struct slice value;                                                                        \
        return kv_get(small->kv, family, key_slice(&key), arena, &value) == ERR_OK &&              \
               row_##name##_decode(value, row) == ERR_OK;                                          \
    }
ROW_TABLE(ROW)
#undef ROW

static inline void small_put_people(struct small *small)
{
    const uint32_t f = small->family;
    const struct account_id a = small->account;
    struct slice email = SLICE("ann@example.com");
    struct slice name = SLICE("example.com");
    small_put_account(small, f, key_account(a), (struct row_account){.id = a, .name = email});
    small_put_user(small, f, key_user(a, small->user),
                   (struct row_user){.id = small->user, .email = email});
    small_put_api_key(small, f, key_api_key(a, &small->key_hash),
                      (struct row_api_key){.id = small->api_key, .name = SLICE("first")});
    small_put_api_key_id(small, f, key_api_key_id(a, small->api_key),
                         (struct row_api_key_id){.hash = small->key_hash});
    small_put_domain(small, f, key_domain(a, small->domain),
                     (struct row_domain){.id = small->domain,
                                         .name = name,
                                         .status = FACT_DOMAIN_VERIFIED,
                                         .mx_verified = true});
    small_put_domain_name(small, f, key_domain_name(a, name),
                          (struct row_domain_name){.id = small->domain});
    small_put_directory(small, key_directory_shard(SMALL_SHARDS, email),
                        key_directory(DIRECTORY_EMAIL, email),
                        (struct row_directory){.account = a, .id = small->user});
    small_put_directory(small, key_directory_shard(SMALL_SHARDS, name),
                        key_directory(DIRECTORY_DOMAIN, name),
                        (struct row_directory){.account = a, .id = small->domain});
    small_put_route(small, f, key_route(a, small->route), (struct row_route){.id = small->route});
    small_put_route_list(
        small, f, key_route_list(a),
        (struct row_route_list){.routes = slice_of(small->route.bytes, sizeof small->route.bytes)});
    small_put_mailbox(small, f, key_mailbox(a, small->mailbox),
                      (struct row_mailbox){.id = small->mailbox, .address = email});
    small_put_mailbox_name(small, f, key_mailbox_name(a, email),
                           (struct row_mailbox_name){.mailbox = small->mailbox});
}

static inline void small_put_sent(struct small *small)
{
    const uint32_t f = small->family;
    const struct account_id a = small->account;
    const struct id m = small->sent;
    struct slice body = SLICE(SMALL_BODY);
    struct row_delivery rows[3] = {
        {.recipient = SLICE("b@x.test"), .status = FACT_DELIVERED, .group = 0, .attempts = 1},
        {.recipient = SLICE("c@y.test"),
         .status = FACT_DEFERRED,
         .group = 1,
         .attempts = 1,
         .next_attempt_unix_ms = small->due_unix_ms},
        {.recipient = SLICE("b@x.test"),
         .status = FACT_PENDING,
         .group = FACT_GROUP_HOOK | 2,
         .kind = FACT_WEBHOOK,
         .url = SLICE("https://hook.test/in"),
         .next_attempt_unix_ms = small->due_unix_ms + 1},
    };
    small_put_mail(small, f, key_mail(a, m),
                   (struct row_mail){.id = m,
                                     .status = FACT_MAIL_DEFERRED,
                                     .subject = SLICE("hello"),
                                     .size_bytes = body.len,
                                     .chunk_count = 2,
                                     .attachment_count = 1,
                                     .delivery_count = 3,
                                     .open_count = 1,
                                     .hook_count = 1,
                                     .hook_open = 1});
    small_put_chunk(small, f, key_chunk(a, m, 0), (struct row_chunk){.data = slice_head(body, 20)});
    small_put_chunk(small, f, key_chunk(a, m, 1), (struct row_chunk){.data = slice_from(body, 20)});
    for (uint32_t i = 0; i < 3; i++) {
        rows[i].id = small->deliveries[i];
        small_put_delivery(small, f, key_delivery(a, m, i), rows[i]);
    }
    small_put_attempt(small, f, key_attempt(a, m, 0, 1), (struct row_attempt){.code = 250});
    small_put_transcript(small, f, key_transcript(a, m, 0, 1),
                         (struct row_transcript){.text = SLICE("> DATA")});
    small_put_event(small, f, key_event(a, m, small_id(small, 40)),
                    (struct row_event){.id = small_id(small, 40), .type = SLICE("email.sent")});
    small_put_outbox(small, f, key_outbox(small->due_unix_ms, a, m, 1),
                     (struct row_outbox){.domain = SLICE("y.test"),
                                         .rcpt_first = 1,
                                         .rcpt_count = 1,
                                         .attempts = 1,
                                         .size_bytes = body.len});
    small_put_outbox(small, f, key_outbox(small->due_unix_ms + 1, a, m, FACT_GROUP_HOOK | 2),
                     (struct row_outbox){.domain = SLICE("https://hook.test:443"),
                                         .rcpt_first = 2,
                                         .rcpt_count = 1});
    small_put_delivery_ref(small, f, key_delivery_ref(a, small->deliveries[2]),
                           (struct row_delivery_ref){.mail = m, .index = 2});
    small_put_attachment(
        small, f, key_attachment(a, m, 0),
        (struct row_attachment){
            .id = small_id(small, 41), .size_bytes = 5, .day = SMALL_DAY, .chunk_count = 1});
    small_put_chunk(small, f, key_attachment_data(SMALL_DAY, a, m, 0, 0),
                    (struct row_chunk){.data = SLICE("bytes")});
}

static inline void small_put_received(struct small *small)
{
    const uint32_t f = small->family;
    const struct account_id a = small->account;
    const struct id m = small->received;
    struct sha256 hash = {.bytes = {1, 2, 3}};
    small_put_mail(small, f, key_mail(a, m),
                   (struct row_mail){.id = m,
                                     .direction = FACT_INBOUND,
                                     .status = FACT_MAIL_DELIVERED,
                                     .subject = SLICE("re"),
                                     .received_unix_ms = SMALL_NOW - 50,
                                     .size_bytes = 4,
                                     .trace_len = 5,
                                     .chunk_count = 2,
                                     .thread = small->thread});
    small_put_chunk(small, f, key_chunk(a, m, 0), (struct row_chunk){.data = SLICE("trace")});
    small_put_chunk(small, f, key_chunk(a, m, 1), (struct row_chunk){.data = SLICE("mail")});
    small_put_mailbox_mail(small, f, key_mailbox_mail(a, small->mailbox, m),
                           (struct row_mailbox_mail){.thread = small->thread});
    small_put_mail_state(
        small, f, key_mail_state(a, m),
        (struct row_mail_state){.folder = SLICE("inbox"),
                                .mailboxes =
                                    slice_of(small->mailbox.bytes, sizeof small->mailbox.bytes)});
    small_put_thread(small, f, key_thread(a, small->thread),
                     (struct row_thread){.id = small->thread,
                                         .subject = SLICE("re"),
                                         .first_unix_ms = SMALL_NOW - 50,
                                         .last_unix_ms = SMALL_NOW - 50,
                                         .mail_count = 1});
    small_put_thread_mail(small, f, key_thread_mail(a, small->thread, m),
                          (struct row_thread_mail){.is_inbound = true});
    small_put_thread_name(small, f, key_thread_name(a, &hash),
                          (struct row_thread_name){.thread = small->thread});
    small_put_idempotency(small, f, key_idempotency(SMALL_DAY - 7, a, &hash),
                          (struct row_idempotency){.mail = m});
    small_put_usage(small, f, key_usage(a, SMALL_DAY - 7), (struct row_usage){.mails = 1});
}

static inline void small_make(struct small *small)
{
    struct store_stamp stamp;
    *small = (struct small){.account = {.value = UINT64_C(0x0123456789abcdef)}};
    temp_folder_make(small->path);
    small->kv = temp_open(small->path, SMALL_SHARDS);
    const enum err err = migrate_open(small->kv, SMALL_NOW, &stamp);
    CHECK(err == ERR_OK);
    small->family = key_account_shard(SMALL_SHARDS, small->account);
    struct id *ids[] = {&small->user,          &small->api_key,      &small->domain,
                        &small->route,         &small->mailbox,      &small->thread,
                        &small->sent,          &small->received,     &small->deliveries[0],
                        &small->deliveries[1], &small->deliveries[2]};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        *ids[i] = small_id(small, i + 1);
    }
    memset(small->key_hash.bytes, 0x5a, sizeof small->key_hash.bytes);
    small->due_unix_ms = SMALL_NOW + 60000;
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        small_put_shard_meta(small, i, key_shard_meta(),
                             (struct row_shard_meta){.id_floor_ms = SMALL_NOW});
    }
    small_put_people(small);
    small_put_sent(small);
    small_put_received(small);
}

static inline void small_end(struct small *small)
{
    kv_close(small->kv);
    temp_folder_drop(small->path);
}

#endif
