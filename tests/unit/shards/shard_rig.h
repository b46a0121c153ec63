/* shard_rig.h - shards with everything around them, on one thread, for the unit tests of shards.
 *
 * Real shards on a real loop over a real store in a fresh folder. Delivery and the committer are
 * actors of the test on the same loop, so that a test decides what they take, hold or refuse; with
 * real_commit the committer is the real one on its own thread. A client actor takes the place of
 * the edge. The test's thread turns the loop until what it waits for has happened.
 */
#ifndef UNIT_SHARDS_SHARD_RIG_H
#define UNIT_SHARDS_SHARD_RIG_H

#include <criterion/criterion.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/migrate.h"
#include "shards/commit.h"
#include "shards/shard.h"
#include "shards/shard_int.h"

#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RIG_SHARDS      2
#define RIG_CLIENT_MSGS 64
#define RIG_ENTRIES_MAX 8192
#define RIG_WAIT_S      30 /* a test that waits this long has failed */

/* A key made for these tests; it signs nothing else. */
static const char rig_rsa[] =
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC3qtjBxoOQzQwdvebU3HBzMWIPM0ArNiWqfJzA"
    "4td42v8LMNpbvhfuxOCvCZ5FEnqjZtX37bggz3z7zQrQBiq8uxWA+i9m+Ei42+QY80wSHKDA+tq2pJpDB/PYDc81"
    "rAi6pnVF49atmeoLC+iKDv/C7l5kBy8M/1ULD49RIG25XQzXGzLxaAsJDVW4qguFpdQ/fWgKwZkg1KpAsx9R0oSh"
    "InZW9iX7lb9Qe011ER8tRkR8ce1H3TCSOieIdIlNXXEcfNrx0X+KT+Rb1mYKFlm0bjo8Z6QR+GDTp1X/3bAosqsv"
    "BDkZyGxR9q8p4jo0JI6iIs99HqtjKV51D9nxZMVLAgMBAAECggEAMVp43XUlBGN9Bn7xiLBljSavdWstqo7lxy6u"
    "BozOHr0mPJEXlAB8ON5xi8d3XpMtHjxzcahQyoxGxvjdl3GYyVcyW5Ke6zn7fKUl4Wh7QACuV7zwyZRomWuJJDzt"
    "ubvtKo6xQ6MKHGMYB3jfNz35jx1zgsiFZaY06YB4X/HpWh4ILDN4hCQJurxd1RRvE2FbWX/KiEx6BvtDPsuc/POk"
    "s0gFKkd0s5l9tVnE201XIjEWb1ZK2Rz2h4lueZPNv1JYx8LxIldwLItnVkKXNwmnR218l/fTSjDEAimvPqpx4n3k"
    "oKIaM2XgWZA6YR6FcfmrjXrDUSpVjBMnF68x8PINlQKBgQDxvmV6GU+WZ/C5QbrtqzTCCUrgGR41h3PRGgDD1TWp"
    "FR7cNsMbzsjciEP9VqnqxbmZQbKRtcFtgv1NSahpViX8iLtAZ5ZGSfLRj0h7bbumx94/L+NdXPJukqU0WhFVDmGR"
    "RzrtJwCQiqNs9nsmeRSVjw4VnK638rGj5Iv+0+IStwKBgQDCf6v6r9XKspkeJAbjppUrfkamRC2OcmiDWq6rDYrj"
    "T4fUU6LSE6Yeesz+xRfze5XRY77EKgy1AKD5dKUTCIzk0kS6GjtNqUvTx5sLJGfsO/GlTeleViBVvqWdCbxi8GVd"
    "HagChegGWbd9lBhyWcX3PaAjA9jCDyfTLXqjRSq+DQKBgAONW6peote/8T6Xo6qIYH8Vad8/Hz2EHwSMkERQZrh0"
    "Uf7EYzuOX082RWF8m4SSoTaKS5huhkgYq6YuFeZuWKKMU8wPeZrQzVuc8mC17RL3TuG4z2t4ySssxnateCG6014y"
    "IMCJWS3Gi743JPocv1uvPXK92adkTo3s9s2oyWKjAoGBAIjIEqE80UQ4b7gjq/ijKRqqNnMtVUBtMxTVTCsdXgRX"
    "5PUsUEAe819SCyJMZ3ii/AyCciEwVTlhlNN59bE5/SPav9yFIBmQqrPoFyAx3SfkTB9teGYQebLzXTLgKu0FlLN0"
    "bLhBhZgZthIJeVvJyJAEdb7KMMDguagovqtdtB5tAoGBAN78HHj2kyDqBKp/5Oksl8rT74FTOdy5LM8P0DY/xozF"
    "VN2JWNWmUtZSxhgFBGjXoqFr7GfX55+NzDJDj0aDWonlMRIodT8r7ZnPXsET7LDUeU9PDbrPDRRynpLgw6gcjknH"
    "72FMV9RB1C3OXttgxoK21fJ3A+eJs6/bKdrzmck+";

struct rig {
    char path[64];
    struct kv *kv;
    struct conf conf;
    struct place place;
    struct seal_key master;
    struct loop loop;
    struct shard *shards[RIG_SHARDS];
    struct shard *ledger;
    struct actor client;
    struct actor deliver;
    struct actor commit;
    struct commit real;
    bool is_real;
    /* what came home */
    struct msg *home[RIG_CLIENT_MSGS];
    uint32_t home_count;
    /* the committer */
    uint32_t commit_count; /* batches with rows that were asked for */
    uint32_t probe_count;  /* empty ones */
    uint32_t fail_at;      /* this one is refused; 0: none */
    uint32_t fail_count;   /* and as many after it; at least 1 */
    bool is_commit_held;
    struct msg *held[8];
    uint32_t held_count;
    uint64_t free_bytes;
    /* delivery */
    uint32_t room; /* entries that its schedule still takes */
    struct outbox_entry entries[RIG_ENTRIES_MAX];
    char domains[RIG_ENTRIES_MAX][64];
    uint32_t entry_count; /* taken */
    uint32_t wake_count;
    uint32_t offered_count;
    struct domain_checks verify_checks; /* what it finds out about any domain */
    bool verify_has_gaps;
    enum err verify_err;
    uint32_t verify_count;
};

static inline void rig_client_handle(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, client);
    CHECK(msg->returning);
    rig->home[rig->home_count++] = msg;
}

static inline void rig_commit_one(struct rig *rig, struct msg *msg)
{
    struct kv_batch *batch = msg->body.commit.batch;
    enum err err = ERR_OK;
    if (kv_batch_rows(batch) == 0) {
        rig->probe_count++;
    } else {
        uint32_t n = ++rig->commit_count;
        uint32_t fails = rig->fail_count ? rig->fail_count : 1;
        bool is_refused = rig->fail_at != 0 && n >= rig->fail_at && n < rig->fail_at + fails;
        err = is_refused ? ERR_STORAGE : kv_write(rig->kv, batch);
        if (err == ERR_OK) {
            err = kv_sync(rig->kv);
        }
    }
    msg->body.commit.free_bytes = rig->free_bytes;
    msg_return(msg, err);
}

static inline void rig_commit_handle(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, commit);
    if (rig->is_commit_held) {
        rig->held[rig->held_count++] = msg;
    } else {
        rig_commit_one(rig, msg);
    }
}

static inline void rig_verify(struct rig *rig, struct msg *msg)
{
    msg->body.verify.checks = rig->verify_checks;
    msg->body.verify.has_gaps = rig->verify_has_gaps;
    msg->body.verify.health = SLICE("as delivery found it");
    rig->verify_count++;
    msg_return(msg, rig->verify_err);
}

static inline void rig_deliver_handle(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, deliver);
    if (msg->kind == MSG_DELIVER_VERIFY) {
        rig_verify(rig, msg);
        return;
    }
    struct deliver_wake *wake = &msg->body.wake;
    rig->wake_count++;
    rig->offered_count += wake->entry_count;
    CHECK(wake->entry_count > 0);
    CHECK(wake->entry_count <= WAKE_ENTRIES_MAX);
    for (uint32_t i = 0; i < wake->entry_count && rig->room > 0; i++) {
        struct outbox_entry *entry = &rig->entries[rig->entry_count];
        CHECK(rig->entry_count < RIG_ENTRIES_MAX);
        *entry = wake->entries[i];
        memcpy(rig->domains[rig->entry_count], entry->domain.data, entry->domain.len);
        entry->domain = slice_of(rig->domains[rig->entry_count], entry->domain.len);
        rig->entry_count++;
        rig->room--;
        wake->taken_count++;
    }
    msg_return(msg, ERR_OK);
}

/* Real ones, whatever clock the test has set. */
static inline uint64_t rig_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

static inline void rig_turn(struct rig *rig)
{
    (void)uv_run(&rig->loop.uv, UV_RUN_NOWAIT);
    (void)sched_yield(); /* workers and the committer share the cores with us */
}

/* Enough turns for everything that can happen without the world to happen. */
static inline void rig_settle(struct rig *rig)
{
    for (int i = 0; i < 12 || rig->loop.jobs_open > 0; i++) {
        rig_turn(rig);
        if (rig->loop.jobs_open > 0) {
            i = 0;
        }
    }
}

static inline struct actor *rig_shard(struct rig *rig, struct account_id account)
{
    return place_shard(&rig->place, account);
}

static inline struct shard *rig_state(struct rig *rig, struct account_id account)
{
    return rig->shards[place_shard_index(RIG_SHARDS, account)];
}

static inline struct msg *rig_take(struct rig *rig, enum msg_kind kind)
{
    struct msg *msg = msg_take(&rig->client, kind);
    cr_assert_not_null(msg);
    return msg;
}

static inline bool rig_is_home(struct rig *rig, const struct msg *msg)
{
    for (uint32_t i = 0; i < rig->home_count; i++) {
        if (rig->home[i] == msg) {
            return true;
        }
    }
    return false;
}

/* Posts and waits; the message stays the caller's until rig_put. */
static inline enum err rig_wait(struct rig *rig, struct msg *msg)
{
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (!rig_is_home(rig, msg)) {
        cr_assert_lt(rig_seconds(), end, "a message did not come home");
        rig_turn(rig);
    }
    return msg->err;
}

static inline enum err rig_call(struct rig *rig, struct actor *to, struct msg *msg)
{
    actor_post(to, msg);
    return rig_wait(rig, msg);
}

static inline void rig_put(struct rig *rig, struct msg *msg)
{
    for (uint32_t i = 0; i < rig->home_count; i++) {
        if (rig->home[i] == msg) {
            rig->home[i] = rig->home[--rig->home_count];
            msg_put(&rig->client, msg);
            return;
        }
    }
    cr_assert(false, "put of a message that is not home");
}

static inline void rig_release_commits(struct rig *rig)
{
    rig->is_commit_held = false;
    for (uint32_t i = 0; i < rig->held_count; i++) {
        rig_commit_one(rig, rig->held[i]);
    }
    rig->held_count = 0;
}

static inline enum err rig_control(struct rig *rig, struct actor *to, enum control_op op)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_CONTROL);
    msg->body.control.op = op;
    enum err err = rig_call(rig, to, msg);
    rig_put(rig, msg);
    return err;
}

static inline void rig_actor(struct rig *rig, struct actor *actor, const char *name,
                             actor_msg_fn *handle)
{
    struct actor_options options = {
        .name = name,
        .loop = &rig->loop,
        .handle = handle,
        .port_depth_max = 4096,
    };
    options.pool_counts[MSG_POOL_REQUEST] = actor == &rig->client ? RIG_CLIENT_MSGS : 0;
    actor_init(actor, &options);
}

/* Opens the store of rig->path and starts what stands on it. */
static inline void rig_boot(struct rig *rig)
{
    struct store_stamp stamp;
    struct kv_options options = {
        .path = slice_str(rig->path),
        .shard_count = RIG_SHARDS,
        .cache_bytes = 8 * MIB,
        .memtable_bytes = 8 * MIB,
    };
    cr_assert_eq(kv_open(&options, &rig->kv), ERR_OK);
    cr_assert_eq(migrate_open(rig->kv, clock_unix_ms(), &stamp), ERR_OK);
    loop_init(&rig->loop, "rig", 0);
    rig_actor(rig, &rig->client, "client", rig_client_handle);
    rig_actor(rig, &rig->deliver, "deliver", rig_deliver_handle);
    if (rig->is_real) {
        commit_init(&rig->real, rig->kv, &rig->conf, 1);
        commit_start(&rig->real);
    } else {
        rig_actor(rig, &rig->commit, "commit", rig_commit_handle);
    }
    rig->place = (struct place){
        .conf = &rig->conf,
        .shard_count = RIG_SHARDS,
        .loop_count = 1,
        .deliver = &rig->deliver,
        .commit = rig->is_real ? &rig->real.actor : &rig->commit,
        .boot = stamp.boot,
        .master = &rig->master,
    };
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        rig->shards[i] = shard_new(&rig->place, rig->kv, i, &rig->loop);
        rig->place.shards[i] = shard_actor(rig->shards[i]);
    }
    rig->ledger = shard_new(&rig->place, rig->kv, KV_FAMILY_DELIVER, &rig->loop);
    rig->place.deliver_shard = shard_actor(rig->ledger);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        cr_assert_eq(rig_control(rig, rig->place.shards[i], CONTROL_START), ERR_OK);
    }
    cr_assert_eq(rig_control(rig, rig->place.deliver_shard, CONTROL_START), ERR_OK);
}

/* What remains to be ended once every shard has stopped. */
static inline void rig_end(struct rig *rig)
{
    if (rig->is_real) {
        struct msg *msg = rig_take(rig, MSG_COMMIT_CONTROL);
        msg->body.control.op = CONTROL_STOP;
        (void)rig_call(rig, &rig->real.actor, msg);
        rig_put(rig, msg);
        commit_join(&rig->real);
        commit_fini(&rig->real);
    } else {
        actor_close(&rig->commit);
    }
    while (rig->home_count > 0) {
        rig_put(rig, rig->home[0]);
    }
    actor_close(&rig->client);
    actor_close(&rig->deliver);
    loop_stop(&rig->loop);
    loop_run(&rig->loop);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        shard_free(rig->shards[i]);
    }
    shard_free(rig->ledger);
    actor_fini(&rig->client);
    actor_fini(&rig->deliver);
    if (!rig->is_real) {
        actor_fini(&rig->commit);
    }
    loop_fini(&rig->loop);
    kv_close(rig->kv);
}

/* A clean end of everything but the folder. What a test left in home is put away. */
static inline void rig_halt(struct rig *rig)
{
    rig_release_commits(rig);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        cr_expect_eq(rig_control(rig, rig->place.shards[i], CONTROL_STOP), ERR_OK);
    }
    cr_expect_eq(rig_control(rig, rig->place.deliver_shard, CONTROL_STOP), ERR_OK);
    rig_end(rig);
}

static inline struct rig *rig_open_with(bool is_real)
{
    struct rig *rig = mem_zalloc(sizeof(*rig));
    crypto_init();
    log_set_level(LOG_LEVEL_ERROR);
    rig->is_real = is_real;
    rig->free_bytes = UINT64_C(1) << 40;
    rig->room = RIG_ENTRIES_MAX;
    memset(rig->master.bytes, 0x5a, sizeof(rig->master.bytes));
    char *argv[] = {"rig", NULL};
    cr_assert(conf_load(&rig->conf, 1, argv));
    rig->conf.reserve_mb = 1;
    snprintf(rig->path, sizeof(rig->path), "/tmp/meerkat-shard-XXXXXX");
    cr_assert_not_null(mkdtemp(rig->path));
    rig_boot(rig);
    return rig;
}

static inline struct rig *rig_open(void)
{
    return rig_open_with(false);
}

static inline int rig_remove(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

/* Folder and rig, after rig_end. */
static inline void rig_forget(struct rig *rig)
{
    cr_expect_eq(nftw(rig->path, rig_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
    conf_fini(&rig->conf);
    free(rig);
}

static inline void rig_close(struct rig *rig)
{
    rig_halt(rig);
    rig_forget(rig);
}

/* The daemon ends and starts again; delivery has forgotten everything. */
static inline void rig_restart(struct rig *rig)
{
    rig_halt(rig);
    rig->entry_count = 0;
    rig->wake_count = 0;
    rig->offered_count = 0;
    rig->commit_count = 0;
    rig->fail_at = 0;
    rig_boot(rig);
}

/* ---- things that most tests need ----------------------------------------------------------------
 */

/* Writes one batch behind the shards' back. */
static inline void rig_write(struct rig *rig, struct kv_batch *batch)
{
    cr_assert_eq(kv_write(rig->kv, batch), ERR_OK);
    for (size_t i = 0; i < RIG_SHARDS; i++) {
        row_cache_fini(&rig->shards[i]->cache);        /* which nobody but a test can surprise */
        rig->shards[i]->suppressions.is_ready = false; /* likewise */
    }
    kv_batch_free(batch);
}

static inline struct caller rig_key_caller(struct account_id account, enum right right)
{
    struct caller caller = {.kind = CALLER_KEY, .account = account, .right = right};
    caller.key_hash = crypto_sha256(slice_of(&account, sizeof(account)));
    return caller;
}

/* An account with one live key, made as an edge would. */
static inline struct account_id rig_signup(struct rig *rig)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_SIGNUP);
    struct account_id account = account_random();
    msg->body.signup = (struct shard_signup){
        .account = account,
        .email = SLICE("owner@example.com"),
        .password_hash = SLICE("$argon2id$"),
        .account_name = SLICE("Example"),
        .key_hash = rig_key_caller(account, RIGHT_NONE).key_hash,
        .key_prefix = SLICE("mk_live_01234567"),
        .key_last4 = SLICE("wxyz"),
    };
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    rig_put(rig, msg);
    return account;
}

static inline struct slice rig_seal(struct arena *arena, const struct seal_key *key,
                                    struct slice context, struct slice plain)
{
    uint8_t *sealed = arena_alloc(arena, plain.len + SEAL_OVERHEAD);
    crypto_seal(key, context, plain, sealed);
    return slice_of(sealed, plain.len + SEAL_OVERHEAD);
}

/* A verified domain with both keys, without waiting for an RSA key to be made. */
static inline struct id rig_domain(struct rig *rig, struct account_id account, const char *name)
{
    struct shard *shard = rig_state(rig, account);
    struct arena arena;
    struct buf buf;
    arena_init(&arena, 4 * KIB, MIB);
    buf_init(&buf, MIB);
    struct id id = shard_id(shard, account);
    char text[ID_TEXT_MAX];
    struct slice context = slice_of(text, id_text(ID_DOMAIN, id, text));
    struct slice rsa = slice_str(rig_rsa);
    uint8_t *der = arena_alloc(&arena, rsa.len);
    size_t der_len = 0;
    struct slice ed;
    struct slice ed_public;
    cr_assert_eq(base64_decode(rsa, der, &der_len), ERR_OK);
    cr_assert_eq(crypto_make_key(SIGN_ED25519, &arena, &ed, &ed_public), ERR_OK);
    struct row_domain row = {
        .id = id,
        .name = slice_str(name),
        .status = DOMAIN_VERIFIED,
        .spf_verified = true,
        .dkim_rsa_verified = true,
        .dkim_ed_verified = true,
        .created_unix_ms = clock_unix_ms(),
        .rsa_private = rig_seal(&arena, &shard->dkim_seal, context, slice_of(der, der_len)),
        .ed_private = rig_seal(&arena, &shard->dkim_seal, context, ed),
        .ed_public = ed_public,
    };
    struct row_domain_name name_row = {.id = id};
    struct key key = key_domain(account, id);
    struct kv_batch *batch = kv_batch_new(shard->family);
    row_domain_encode(&row, &buf);
    kv_batch_put(batch, key_slice(&key), buf_slice(&buf));
    buf_clear(&buf);
    row_domain_name_encode(&name_row, &buf);
    key = key_domain_name(account, row.name);
    kv_batch_put(batch, key_slice(&key), buf_slice(&buf));
    rig_write(rig, batch);
    buf_fini(&buf);
    arena_fini(&arena);
    return id;
}

static inline struct addr rig_addr(struct arena *arena, const char *text)
{
    struct addr addr;
    cr_assert_eq(addr_parse(slice_str(text), arena, &addr), ERR_OK, "%s", text);
    return addr;
}

/* A SHARD_SEND from a@<domain> to a comma separated list. Not posted. */
static inline struct msg *rig_mail(struct rig *rig, struct account_id account, const char *from,
                                   const char *to)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_SEND);
    struct shard_send *send = &msg->body.send;
    struct slice rest = slice_str(to);
    send->caller = rig_key_caller(account, RIGHT_MAIL_SEND);
    send->from = rig_addr(&msg->arena, from);
    send->to = arena_array(&msg->arena, SMTP_RCPT_MAX + 1, sizeof(*send->to));
    while (rest.len > 0) {
        const char *one = arena_cstr(&msg->arena, slice_cut(&rest, ','));
        send->to[send->to_count++] = rig_addr(&msg->arena, one);
    }
    send->subject = SLICE("Hello");
    send->text = SLICE("Hello, world\n");
    return msg;
}

static inline struct id rig_send(struct rig *rig, struct account_id account, const char *from,
                                 const char *to)
{
    struct msg *msg = rig_mail(rig, account, from, to);
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    cr_assert_eq(err, ERR_OK, "send: %s", err_info(err)->name);
    struct id id = msg->body.send.id;
    rig_put(rig, msg);
    return id;
}

/* Rows that start with prefix, as the store has them. */
static inline uint32_t rig_count(struct rig *rig, struct account_id account, struct key prefix)
{
    struct key to = key_after(&prefix);
    struct kv_iter *iter = kv_iter_open(rig->kv, place_shard_index(RIG_SHARDS, account),
                                        key_slice(&prefix), key_slice(&to), false);
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        count++;
    }
    cr_expect_eq(kv_iter_err(iter), ERR_OK);
    kv_iter_close(iter);
    return count;
}

static inline bool rig_has(struct rig *rig, struct account_id account, struct key key)
{
    struct arena arena;
    struct slice value;
    arena_init(&arena, 4 * KIB, 64 * MIB);
    enum err err = shard_load(rig_state(rig, account), &key, &arena, &value);
    arena_fini(&arena);
    return err == ERR_OK;
}

/* rig_get_<row>, rig_set_<row>: a row as the store has it, or fails the test; and behind the
 * shard's back. */
#define ROW(name, NAME, version, fields)                                                           \
    static inline struct row_##name rig_get_##name(struct rig *rig, struct account_id account,     \
                                                   struct key key, struct arena *arena)            \
    {                                                                                              \
        struct slice value;                                                                        \
        struct row_##name row;                                                                     \
        cr_assert_eq(shard_load(rig_state(rig, account), &key, arena, &value), ERR_OK,             \
                     "no such row: %s", #name);                                                    \
        cr_assert_eq(row_##name##_decode(value, &row), ERR_OK);                                    \
        return row;                                                                                \
    }                                                                                              \
    static inline void rig_set_##name(struct rig *rig, struct account_id account, struct key key,  \
                                      const struct row_##name *row)                                \
    {                                                                                              \
        struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, account));             \
        struct buf buf;                                                                            \
        buf_init(&buf, ROW_BYTES_MAX);                                                             \
        row_##name##_encode(row, &buf);                                                            \
        kv_batch_put(batch, key_slice(&key), buf_slice(&buf));                                     \
        buf_fini(&buf);                                                                            \
        rig_write(rig, batch);                                                                     \
    }
ROW_TABLE(ROW)
#undef ROW

/* Another account of the same shard, or of another one. */
static inline struct account_id rig_signup_at(struct rig *rig, struct account_id other,
                                              bool is_same_shard)
{
    for (;;) {
        struct account_id account = rig_signup(rig);
        if ((rig_shard(rig, account) == rig_shard(rig, other)) == is_same_shard) {
            return account;
        }
    }
}

static inline void rig_set_key(struct rig *rig, struct account_id account, enum mode mode,
                               struct slice scopes)
{
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    struct row_api_key row = {
        .id = shard_id(rig_state(rig, account), account),
        .mode = (uint8_t)mode,
        .scopes = scopes,
        .is_enabled = true,
        .last_used_unix_ms = clock_unix_ms(),
    };
    rig_set_api_key(rig, account, key_api_key(account, &caller.key_hash), &row);
}

static inline struct msg *rig_claim_msg(struct rig *rig, const struct outbox_entry *entry)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_CLAIM);
    msg->body.claim.entry = *entry;
    msg->body.claim.entry.domain = arena_dup(&msg->arena, entry->domain);
    msg->body.claim.lease_ms = LEASE_MS;
    return msg;
}

/* The only announced entry of a mail's group. */
static inline struct outbox_entry *rig_entry(struct rig *rig, struct id mail, uint32_t group)
{
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    while (rig_seconds() < end) {
        for (uint32_t i = rig->entry_count; i > 0; i--) {
            struct outbox_entry *entry = &rig->entries[i - 1];
            if (id_equal(entry->mail, mail) && entry->group == group) {
                return entry;
            }
        }
        rig_turn(rig);
    }
    cr_assert(false, "delivery was not told of a mail");
    return NULL;
}

static inline enum err rig_outcome(struct rig *rig, const struct outbox_entry *entry,
                                   struct verdict *verdicts, uint32_t count, uint64_t next_due)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_OUTCOME);
    msg->body.outcome = (struct shard_outcome){
        .entry = *entry,
        .verdicts = verdicts,
        .verdict_count = count,
        .next_due_unix_ms = next_due,
        .started_unix_ms = clock_unix_ms(),
        .remote_host = SLICE("mx.example.net"),
        .remote_addr = SLICE("192.0.2.7"),
        .tls = SLICE("TLSv1.3"),
        .tls_policy = SLICE("dane"),
        .source = SLICE("192.0.2.1"),
        .transcript = SLICE("220 mx.example.net\r\n"),
    };
    enum err err = rig_call(rig, rig_shard(rig, entry->account), msg);
    rig_put(rig, msg);
    return err;
}

static inline enum err rig_claim(struct rig *rig, const struct outbox_entry *entry)
{
    struct msg *msg = rig_claim_msg(rig, entry);
    enum err err = rig_call(rig, rig_shard(rig, entry->account), msg);
    rig_put(rig, msg);
    return err;
}

static inline struct verdict rig_verdict(enum verdict_class class, uint16_t code,
                                         const char *enhanced)
{
    struct verdict verdict = {.class = class, .step = SMTP_STEP_RCPT, .code = code};
    snprintf(verdict.enhanced, sizeof(verdict.enhanced), "%s", enhanced);
    snprintf(verdict.text, sizeof(verdict.text), "said %u", code);
    return verdict;
}

#endif
