/* key.h - keys whose byte order is the order we want to read in.
 *
 * A key is one byte of row family, then fixed-width big-endian fields, then at most one text.
 * Builders below are the only place where keys are put together; key.def lists the families and
 * what their keys are of, docs/STORAGE.md says what for, kv/key_text.h shows them to people. Times
 * inside keys are Unix milliseconds or days.
 *
 *   account  A acc              user       U acc id          api key     K acc sha256
 *   its hash J acc id
 *   domain   D acc id           name       N acc text        mail        M acc id
 *   chunk    C acc id n         attachment T acc id n        its data    B day acc id n m
 *   delivery V acc id n         attempt    L acc id n try    transcript  R acc id group try
 *   outbox   O due acc id group event      E acc id evt      idempotency I day acc sha256
 *   usage    G acc day          suppress   S acc text        directory   X kind text
 *   meta     Z                  ledger     Y kind            audit     W acc id
 *   key due  Q due acc id       route      P acc id          stage      F acc id
 *   mailbox  b acc id           its name   n acc text        its mails  l acc id id
 *   state    s acc id           thread     t acc id          its name   h acc sha256
 *   its mails r acc id id       blocked    k acc text         of a webhook delivery: d acc id
 *   routes of an account p acc        template   e acc id       note      w kind text
 */
#ifndef KV_KEY_H
#define KV_KEY_H

#include "base/base.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/slice.h"
#include "kv/key.def"

#define KEY_MAX 400
/* The text of a key: callers have bounded it (an address or a domain is far shorter); more is a
 * CHECK. */
#define KEY_TEXT_MAX (KEY_MAX - 1 - 8)

struct key {
    uint16_t len;
    uint8_t bytes[KEY_MAX];
};

struct slice key_slice(const struct key *key);
/* False when bytes are more than a key may have. */
bool key_copy(struct slice bytes, struct key *key) MUST_USE;

enum directory_kind { DIRECTORY_EMAIL = 1, DIRECTORY_DOMAIN = 2, DIRECTORY_SERVER = 3 };

/* Which shard holds an account's rows, and which a name's directory row. The two hashes are part of
 * the store's format: a change would strand every row. */
uint32_t key_account_shard(uint32_t shard_count, struct account_id account);
uint32_t key_directory_shard(uint32_t shard_count, struct slice name);

struct key key_account(struct account_id account);
struct key key_user(struct account_id account, struct id user);
struct key key_api_key(struct account_id account, const struct sha256 *hash);
struct key key_api_key_id(struct account_id account, struct id api_key);
struct key key_key_due(uint64_t due_unix_ms, struct account_id account, struct id api_key);
struct key key_audit(struct account_id account, struct id audit);
struct key key_delivery_ref(struct account_id account, struct id delivery);
struct key key_blocked(struct account_id account, struct slice addr_key);
struct key key_route(struct account_id account, struct id route);
struct key key_route_list(struct account_id account);
struct key key_stage(struct account_id account, struct id mail);
struct key key_mailbox(struct account_id account, struct id mailbox);
struct key key_mailbox_name(struct account_id account, struct slice addr_key);
struct key key_mailbox_mail(struct account_id account, struct id mailbox, struct id mail);
struct key key_mail_state(struct account_id account, struct id mail);
struct key key_thread(struct account_id account, struct id thread);
struct key key_thread_name(struct account_id account, const struct sha256 *message_id);
struct key key_thread_mail(struct account_id account, struct id thread, struct id mail);
struct key key_domain(struct account_id account, struct id domain);
struct key key_domain_name(struct account_id account, struct slice name);
struct key key_mail(struct account_id account, struct id mail);
struct key key_chunk(struct account_id account, struct id mail, uint32_t index);
struct key key_attachment(struct account_id account, struct id mail, uint32_t index);
struct key key_attachment_data(uint32_t day, struct account_id account, struct id mail,
                               uint32_t index, uint32_t chunk);
struct key key_delivery(struct account_id account, struct id mail, uint32_t index);
struct key key_attempt(struct account_id account, struct id mail, uint32_t index, uint32_t attempt);
struct key key_transcript(struct account_id account, struct id mail, uint32_t group,
                          uint32_t attempt);
struct key key_outbox(uint64_t due_unix_ms, struct account_id account, struct id mail,
                      uint32_t group);
struct key key_event(struct account_id account, struct id mail, struct id event);
struct key key_idempotency(uint32_t day, struct account_id account, const struct sha256 *hash);
struct key key_usage(struct account_id account, uint32_t day);
struct key key_suppression(struct account_id account, struct slice addr_key);
struct key key_template(struct account_id account, struct id template);
struct key key_note(uint32_t kind, struct slice name);
struct key key_directory(enum directory_kind kind, struct slice name);
/* Of a row that repair put aside, by the hash of the key that it had. */
struct key key_quarantine(uint64_t when_unix_ms, const struct sha256 *original);
struct key key_shard_meta(void);
struct key key_ledger(uint32_t kind);

/* Prefixes for scans: [prefix, key_after(prefix)). */
struct key
key_after(const struct key *prefix); /* the least key greater than all that start with prefix */
struct key key_prefix_accounts(void);
struct key key_prefix_all_users(void);
struct key key_prefix_users(struct account_id account);
struct key key_prefix_api_key_ids(struct account_id account);
struct key key_prefix_key_dues(void);
struct key key_prefix_audits(struct account_id account);
struct key key_prefix_routes(struct account_id account);
struct key key_prefix_stages(void);
struct key key_prefix_mailboxes(struct account_id account);
struct key key_prefix_mailbox_mails(struct account_id account, struct id mailbox);
struct key key_prefix_threads(struct account_id account);
struct key key_prefix_thread_mails(struct account_id account, struct id thread);
struct key key_prefix_domains(struct account_id account);
struct key key_prefix_all_domains(void);
struct key key_prefix_mails(struct account_id account);
struct key key_prefix_attachments(struct account_id account, struct id mail);
struct key key_prefix_deliveries(struct account_id account, struct id mail);
struct key key_prefix_attempts(struct account_id account, struct id mail);
struct key key_prefix_transcripts(struct account_id account, struct id mail);
struct key key_prefix_events(struct account_id account, struct id mail);
struct key key_prefix_outbox(void);
struct key key_prefix_all_suppressions(void);
struct key key_prefix_suppressions(struct account_id account);
struct key key_prefix_templates(struct account_id account);
struct key key_prefix_notes(uint32_t kind);
struct key key_prefix_attachment_day(uint32_t day);
struct key key_prefix_idempotency_day(uint32_t day);

/* Takes apart. ERR_CORRUPT when the key is not of that family or has the wrong length. */
struct outbox_ref {
    uint64_t due_unix_ms;
    struct account_id account;
    struct id mail;
    uint32_t group;
};
MUST_USE enum err key_read_outbox(struct slice key, struct outbox_ref *ref);
/* Not for group, which stays 0; mail is the key's id. */
MUST_USE enum err key_read_key_due(struct slice key, struct outbox_ref *ref);
/* Of a stage, a mailbox's mail, a thread's mail: the account and the mail that ends the key. */
MUST_USE enum err key_read_mail(struct slice key, struct account_id *account, struct id *mail);
MUST_USE enum err key_read_delivery(struct slice key, struct id *mail, uint32_t *index);
MUST_USE enum err key_read_attempt(struct slice key, uint32_t *index, uint32_t *attempt);
MUST_USE enum err key_read_transcript(struct slice key, uint32_t *group, uint32_t *attempt);
/* *name borrows from key. */
MUST_USE enum err key_read_note(struct slice key, struct slice *name);

#endif
