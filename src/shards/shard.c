/* shard.c - the shard's switch and its two batches.
 *
 * The commit cycle:
 *
 *      handlers --rows, parked msgs--> filling --post--> flying --home--> parked msgs go home,
 *                                         ^                                 outbox rows announced
 *                                         +------------- swapped -------------+
 *
 * A batch is posted at the end of a drain when none flies. shard_announce.c tells delivery of new
 * outbox rows.
 */
#include "shards/shard.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "mail/attachment_link.h"
#include "shards/schedule.h"
#include "shards/shard_int.h"

#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES (64 * KIB)
#define SCRATCH_MAX   (64 * MIB)

static void on_msg(struct actor *actor, struct msg *msg);
static void on_drained(struct actor *actor);
static void on_request(struct shard *shard, struct msg *msg);
static void dispatch(struct shard *shard, struct msg *msg, enum msg_kind kind);
static enum err may_handle(const struct shard *shard, enum msg_kind kind);
static void on_home(struct shard *shard, struct msg *msg);
static void on_commit_home(struct shard *shard, struct msg *msg);
static void count_commit(struct shard *shard, const struct commit_write *commit);
static void on_control(struct shard *shard, struct msg *msg);
static void on_start(struct shard *shard, struct msg *msg);
static void begin(struct shard *shard);
static bool is_full(const struct shard *shard);
static void flush(struct shard *shard);
static void finish_ready_jobs(struct shard *shard);
static void settle(struct shard *shard);
static void finish_stop(struct shard *shard);
static enum err load_cached(struct shard *shard, const struct key *key, struct arena *arena,
                            struct slice *value);
static void batch_init(struct batch *batch, uint32_t family);
static void batch_fini(struct batch *batch);
static bool batch_is_empty(const struct batch *batch);
static bool batch_is_full(const struct batch *batch);
static void batch_park(struct batch *batch, struct msg *msg);
static void batch_settle(struct shard *shard, struct batch *batch, enum err err);
static void job_work(struct job *job);
static void job_done(struct job *job);

struct shard *shard_new(const struct place *place, struct kv *kv, uint32_t family,
                        struct loop *loop)
{
    CHECK(place);
    CHECK(kv);
    CHECK_LOOP(loop);
    struct shard *shard = mem_zalloc(sizeof(*shard));
    shard->place = place;
    shard->kv = kv;
    shard->family = family;
    shard->free_bytes = UINT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(shard->batches); i++) {
        batch_init(&shard->batches[i], family);
    }
    shard->filling = &shard->batches[0];
    list_init(&shard->ready_jobs);
    list_init(&shard->keys_running);
    arena_init(&shard->scratch, SCRATCH_BYTES, SCRATCH_MAX);
    buf_init(&shard->encoded, ROW_BYTES_MAX);
    announce_init(shard, loop);
    bool is_ledger = family == KV_FAMILY_DELIVER;
    bounce_rules_read(&shard->bounce_rules, place->conf->bounce_rules);
    if (!is_ledger) {
        rate_init(&shard->rates, SHARD_RATE_BUCKETS);
    }
    struct actor_options options = {
        .name = is_ledger ? "ledger" : "shard",
        .index = is_ledger ? SHARD_COUNT_MAX : (uint16_t)family,
        .loop = loop,
        .handle = on_msg,
        .on_drained = on_drained,
        .port_depth_max = SHARD_PORT_MSGS,
    };
    options.pool_counts[MSG_POOL_REQUEST] = SHARD_WORK_MSGS;
    options.pool_counts[MSG_POOL_WAKE] = SHARD_WAKE_MSGS;
    options.pool_counts[MSG_POOL_COMMIT] = SHARD_COMMIT_MSGS;
    actor_init(&shard->actor, &options);
    move_init(shard, loop);
    return shard;
}

void shard_free(struct shard *shard)
{
    if (!shard) {
        return;
    }
    CHECK(!shard->flying);
    CHECK(shard->jobs_open == 0);
    CHECK(list_is_empty(&shard->ready_jobs));
    actor_fini(&shard->actor);
    claim_forget_keys(shard, (struct id){.bytes = {0}});
    for (size_t i = 0; i < ARRAY_LEN(shard->batches); i++) {
        batch_fini(&shard->batches[i]);
    }
    row_cache_fini(&shard->cache);
    suppression_filter_fini(&shard->suppressions);
    rate_fini(&shard->rates);
    arena_fini(&shard->scratch);
    buf_fini(&shard->encoded);
    throttle_free(shard->throttle);
    bounce_rules_free(shard->bounce_rules);
    crypto_wipe(&shard->dkim_seal, sizeof(shard->dkim_seal));
    crypto_wipe(&shard->return_path_seal, sizeof(shard->return_path_seal));
    crypto_wipe(&shard->hook_seal, sizeof(shard->hook_seal));
    crypto_wipe(&shard->attachment_seal, sizeof(shard->attachment_seal));
    crypto_wipe(&shard->track_seal, sizeof(shard->track_seal));
    crypto_wipe(&shard->unsubscribe_seal, sizeof(shard->unsubscribe_seal));
    free(shard->tracks);
    routing_forget(shard, (struct account_id){.value = 0});
    free(shard);
}

struct actor *shard_actor(struct shard *shard)
{
    return &shard->actor;
}

/* ---- reading and writing -------------------------------------------------------------------- */

static bool is_suppression(struct slice key)
{
    return key.data[0] == 'S'; /* kv/key.h */
}

enum err shard_get(struct shard *shard, const struct key *key, struct arena *arena,
                   struct slice *value)
{
    if (is_suppression(key_slice(key)) &&
        !suppression_filter_may_have(&shard->suppressions, key_slice(key))) {
        return ERR_NOT_FOUND;
    }
    struct batch *open[] = {shard->filling, shard->flying};
    for (size_t i = 0; i < ARRAY_LEN(open); i++) {
        if (!open[i]) {
            continue;
        }
        struct slice found = SLICE("");
        enum kv_found says = kv_batch_find(open[i]->rows, key_slice(key), &found);
        if (says == KV_UNKNOWN) {
            continue;
        }
        enum depends depends = i == 0 ? DEPENDS_FILLING : DEPENDS_FLYING;
        if (depends > shard->depends) {
            shard->depends = depends;
        }
        if (says == KV_DELETED) {
            return ERR_NOT_FOUND;
        }
        /* The batch will be cleared; the caller's row may outlive it. */
        *value = arena_dup(arena, found);
        return ERR_OK;
    }
    return load_cached(shard, key, arena, value);
}

/* Only what the store says is kept, and only while no open batch has another opinion. */
static enum err load_cached(struct shard *shard, const struct key *key, struct arena *arena,
                            struct slice *value)
{
    struct slice bytes = key_slice(key);
    struct slice kept;
    if (!row_cache_wants(bytes)) {
        return shard_load(shard, key, arena, value);
    }
    if (row_cache_find(&shard->cache, bytes, &kept)) {
        shard->counters.cache_hits++;
        *value = arena_dup(arena, kept);
        return ERR_OK;
    }
    shard->counters.cache_misses++;
    enum err err = shard_load(shard, key, arena, value);
    if (err == ERR_OK) {
        row_cache_keep(&shard->cache, bytes, *value);
    }
    return err;
}

enum err shard_load(const struct shard *shard, const struct key *key, struct arena *arena,
                    struct slice *value)
{
    return kv_get(shard->kv, shard->family, key_slice(key), arena, value);
}

void shard_delete(struct shard *shard, struct key key)
{
    kv_batch_delete(shard->filling->rows, key_slice(&key));
    row_cache_drop(&shard->cache, key_slice(&key));
    shard->depends = DEPENDS_FILLING;
}

void shard_put_bytes(struct shard *shard, struct slice key, struct slice value)
{
    kv_batch_put(shard->filling->rows, key, value);
    if (is_suppression(key)) {
        suppression_filter_note(&shard->suppressions, key);
    }
    row_cache_drop(&shard->cache, key);
    shard->depends = DEPENDS_FILLING;
}

static void put_encoded(struct shard *shard, const struct key *key)
{
    /* Every text of every row was bounded when it came in; limits.h adds up to less. */
    enum err err = buf_err(&shard->encoded);
    CHECK(err == ERR_OK);
    shard_put_bytes(shard, key_slice(key), buf_slice(&shard->encoded));
}

#define ROW(name, NAME, version, fields)                                                           \
    enum err shard_get_##name(struct shard *shard, struct key key, struct arena *arena,            \
                              struct row_##name *row)                                              \
    {                                                                                              \
        struct slice bytes;                                                                        \
        enum err err = shard_get(shard, &key, arena, &bytes);                                      \
        return err == ERR_OK ? row_##name##_decode(bytes, row) : err;                              \
    }                                                                                              \
    void shard_put_##name(struct shard *shard, struct key key, const struct row_##name *row)       \
    {                                                                                              \
        buf_clear(&shard->encoded);                                                                \
        row_##name##_encode(row, &shard->encoded);                                                 \
        put_encoded(shard, &key);                                                                  \
    }
ROW_TABLE(ROW)
#undef ROW

void shard_answer(struct shard *shard, struct msg *msg, enum err err)
{
    CHECK(!msg->returning);
    CHECK_IF(shard->depends == DEPENDS_FLYING, shard->flying != NULL);
    msg->err = err;
    switch (shard->depends) {
    case DEPENDS_NONE:
        msg_return(msg, err);
        break;
    case DEPENDS_FLYING:
        batch_park(shard->flying, msg);
        break;
    case DEPENDS_FILLING:
        batch_park(shard->filling, msg);
        break;
    }
}

void shard_write_event(struct shard *shard, struct id mail, struct row_event *event)
{
    struct account_id account = id_account(mail);
    event->id = shard_id(shard, account);
    event->created_unix_ms = clock_unix_ms();
    shard_put_event(shard, key_event(account, mail, event->id), event);
}

struct id shard_id(struct shard *shard, struct account_id account)
{
    return id_make(&shard->ids, account, clock_unix_ms());
}

void shard_offload(struct shard *shard, struct shard_job *job, shard_job_fn *work,
                   shard_job_fn *done)
{
    job->shard = shard;
    job->work = work;
    job->done = done;
    shard->jobs_open++;
    if (shard->move != NULL) {
        move_put_aside(shard, job);
    } else {
        shard_start_job(shard, job);
    }
}

void shard_start_job(struct shard *shard, struct shard_job *job)
{
    loop_offload(shard->actor.loop, &job->job, job_work, job_done);
}

void shard_probe(struct shard *shard)
{
    uint64_t now_ms = loop_now_ms(shard->actor.loop);
    if (shard->probed_ms == 0 || now_ms >= shard->probed_ms + PROBE_MS) {
        shard->probed_ms = now_ms;
        shard->wants_probe = true;
    }
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static void on_msg(struct actor *actor, struct msg *msg)
{
    struct shard *shard = CONTAINER_OF(actor, struct shard, actor);
    CHECK_LOOP(actor->loop);
    begin(shard);
    if (msg->returning) {
        on_home(shard, msg);
    } else if (msg->expire_ms != 0 && loop_now_ms(actor->loop) > msg->expire_ms) {
        msg_return(msg, ERR_TIMEOUT); /* nobody waits for it, and nothing was written yet */
    } else {
        on_request(shard, msg);
    }
    if (batch_is_full(shard->filling)) {
        flush(shard);
    }
}

static void on_drained(struct actor *actor)
{
    settle(CONTAINER_OF(actor, struct shard, actor));
}

static void on_request(struct shard *shard, struct msg *msg)
{
    enum msg_kind kind = (enum msg_kind)msg->kind;
    enum err err = may_handle(shard, kind);
    if (err == ERR_OK) {
        dispatch(shard, msg, kind);
    } else {
        msg_return(msg, err);
    }
}

typedef void request_fn(struct shard *shard, struct msg *msg);

/* A line each, so that two changes do not meet. */
/* clang-format off */
static request_fn *const handlers[MSG_KIND_COUNT] = {
    [MSG_SHARD_SIGNUP] = account_signup,
    [MSG_SHARD_DROP_ACCOUNT] = account_drop,
    [MSG_SHARD_LOGIN] = account_login,
    [MSG_SHARD_ME] = account_me,
    [MSG_SHARD_USER] = user_handle,
    [MSG_SHARD_MEMBER] = member_handle,
    [MSG_SHARD_THROTTLE] = account_throttle,
    [MSG_SHARD_CHECK] = account_check,
    [MSG_SHARD_IMPORT] = import_handle,
    [MSG_SHARD_DIRECTORY] = account_directory,
    [MSG_SHARD_SEND] = outbound_send,
    [MSG_SHARD_DOMAIN] = domain_handle,
    [MSG_SHARD_KEY] = api_key_handle,
    [MSG_SHARD_AUDIT] = audit_list,
    [MSG_SHARD_LIST] = mail_list,
    [MSG_SHARD_READ] = mail_read,
    [MSG_SHARD_RAW] = mail_raw,
    [MSG_SHARD_ATTACHMENT] = mail_attachment,
    [MSG_SHARD_RETRY] = mail_retry,
    [MSG_SHARD_TRACK] = track_handle,
    [MSG_SHARD_CLAIM] = claim_claim,
    [MSG_SHARD_CHUNK] = claim_chunk,
    [MSG_SHARD_OUTCOME] = claim_outcome,
    [MSG_SHARD_EXPIRE] = outbound_expire,
    [MSG_SHARD_LEDGER] = ledger_handle,
    [MSG_SHARD_NOTE] = note_handle,
    [MSG_SHARD_CONTROL] = on_control,
    [MSG_SHARD_ADMIN] = admin_handle,
    [MSG_SHARD_INSPECT] = inspect_handle,
    [MSG_SHARD_REPAIR] = repair_handle,
    [MSG_SHARD_ROUTE] = routing_handle,
    [MSG_SHARD_MAILBOX] = mailbox_handle,
    [MSG_SHARD_UNSUBSCRIBE] = unsubscribe_handle,
    [MSG_SHARD_TEMPLATE] = template_handle,
    [MSG_SHARD_SUPPRESSION] = suppression_handle,
    [MSG_SHARD_RCPT] = intake_rcpt,
    [MSG_SHARD_STAGE] = stage_handle,
    [MSG_SHARD_INBOUND] = intake_mail,
    [MSG_SHARD_SCHEDULE] = schedule_handle,
};
/* clang-format on */

static void dispatch(struct shard *shard, struct msg *msg, enum msg_kind kind)
{
    CHECK(kind < MSG_KIND_COUNT);
    CHECK(handlers[kind]); /* posted to the wrong actor */
    handlers[kind](shard, msg);
}

static enum err may_handle(const struct shard *shard, enum msg_kind kind)
{
    if (kind == MSG_SHARD_CONTROL) {
        return ERR_OK;
    }
    bool is_ledgers = kind == MSG_SHARD_LEDGER || kind == MSG_SHARD_NOTE ||
                      kind == MSG_SHARD_INSPECT || kind == MSG_SHARD_REPAIR;
    if (shard->family == KV_FAMILY_DELIVER && !is_ledgers) {
        return ERR_INVALID;
    }
    return shard->is_started ? ERR_OK : ERR_BUSY; /* the floor of ids is not known yet */
}

static void on_home(struct shard *shard, struct msg *msg)
{
    if (msg->kind == MSG_COMMIT_WRITE) {
        on_commit_home(shard, msg);
    } else if (msg->kind == MSG_DELIVER_WAKE) {
        announce_wake_home(shard, msg);
    } else if (msg->kind == MSG_DELIVER_VERIFY) {
        watch_home(shard, msg);
    } else if (msg->kind == MSG_EDGE_ENDED) {
        ended_home(shard, msg);
    } else {
        CHECK(msg->kind == MSG_SHARD_DIRECTORY);
        domain_lookup_home(shard, msg);
    }
}

static void on_control(struct shard *shard, struct msg *msg)
{
    switch (msg->body.control.op) {
    case CONTROL_START:
        on_start(shard, msg);
        return;
    case CONTROL_RELOAD:
        bounce_rules_read(&shard->bounce_rules, shard->place->conf->bounce_rules);
        msg_return(msg, ERR_OK);
        return;
    case CONTROL_LOAD:
        msg->body.control.busy_us = shard->actor.handled_us;
        msg_return(msg, ERR_OK);
        return;
    case CONTROL_MOVE:
        move_begin(shard, msg);
        return;
    case CONTROL_SESSION_KEYS: /* for edges, and below */
    case CONTROL_NOTICE:
    case CONTROL_TURN_AWAY:
    case CONTROL_WELCOME:
    case CONTROL_ADOPT:
    case CONTROL_PING:
    case CONTROL_QUIET: /* delivery's */
        msg_return(msg, ERR_OK);
        return;
    case CONTROL_DRAIN:
        CHECK(!shard->drain);
        shard->is_draining = true;
        shard->drain = msg;
        return;
    case CONTROL_STOP:
        CHECK(!shard->stop);
        shard->is_draining = true;
        shard->is_stopping = true;
        timer_stop(&shard->scan.retry);
        timer_stop(&shard->sweep);
        timer_stop(&shard->ahead);
        watch_stop(shard);
        shard->stop = msg;
        return;
    }
    CHECK(msg->body.control.op == CONTROL_START);
}

static void on_start(struct shard *shard, struct msg *msg)
{
    struct row_shard_meta meta = {.id_floor_ms = 0};
    enum err err = shard_get_shard_meta(shard, key_shard_meta(), &shard->scratch, &meta);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        LOG_ERROR("shard.start", LOG_U64("family", shard->family), LOG_ERR(err));
        msg_return(msg, err);
        return;
    }
    id_maker_init(&shard->ids, meta.id_floor_ms);
    shard->id_floor_ms = meta.id_floor_ms;
    shard->is_started = true;
    shard->free_bytes = kv_free_bytes(shard->kv);
    if (shard->family != KV_FAMILY_DELIVER) {
        CHECK(shard->place->master);
        shard->dkim_seal = crypto_derive(shard->place->master, SLICE("dkim"));
        shard->return_path_seal = crypto_derive(shard->place->master, SLICE("return-path"));
        shard->hook_seal = crypto_derive(shard->place->master, SLICE("hook"));
        shard->attachment_seal =
            crypto_derive(shard->place->master, SLICE(ATTACHMENT_LINK_PURPOSE));
        shard->ahead_unix_ms = clock_unix_ms() + SCHEDULE_AHEAD_MS;
        shard->track_seal = crypto_derive(shard->place->master, SLICE(TRACK_LINK_PURPOSE));
        shard->unsubscribe_seal =
            crypto_derive(shard->place->master, SLICE(UNSUBSCRIBE_LINK_PURPOSE));
        announce_owe(shard, 0);
        announce_scan(shard);
        timer_start(&shard->ahead, SWEEP_MS);
        timer_start(&shard->sweep, SWEEP_MS);
        api_key_due_sweep(shard);
        stage_sweep(shard);
        retention_sweep(shard);
        watch_start(shard);
        suppression_filter_start(shard);
    }
    msg_return(msg, ERR_OK);
}

/* ---- the commit cycle ----------------------------------------------------------------------- */

static void begin(struct shard *shard)
{
    shard->depends = DEPENDS_NONE;
    arena_clear(&shard->scratch);
}

/* Nothing more may be written: one batch flies and the next is full. */
static bool is_full(const struct shard *shard)
{
    return shard->flying != NULL && batch_is_full(shard->filling);
}

/* Posts the filling batch unless one flies; then stops the drain when the filling one is full. */
static void flush(struct shard *shard)
{
    struct batch *batch = shard->filling;
    if (shard->flying) {
        if (is_full(shard)) {
            actor_hold(&shard->actor);
        }
        return;
    }
    if (batch_is_empty(batch) && !shard->wants_probe) {
        return;
    }
    struct msg *msg = msg_take(&shard->actor, MSG_COMMIT_WRITE);
    CHECK(msg); /* the pool's only one is home when nothing flies */
    if (kv_batch_rows(batch->rows) > 0) {
        struct row_shard_meta meta = {.id_floor_ms = shard->ids.last_ms};
        struct key key = key_shard_meta();
        buf_clear(&shard->encoded);
        row_shard_meta_encode(&meta, &shard->encoded);
        kv_batch_put(batch->rows, key_slice(&key), buf_slice(&shard->encoded));
    }
    shard->wants_probe = false;
    shard->flying = batch;
    shard->filling = batch == &shard->batches[0] ? &shard->batches[1] : &shard->batches[0];
    CHECK(batch_is_empty(shard->filling));
    msg->body.commit.batch = batch->rows;
    msg->body.commit.posted_us = clock_mono_us();
    actor_post(shard->place->commit, msg);
}

/* At the end of every run: post what there is, and see whether somebody waits for us to be idle. */
static void settle(struct shard *shard)
{
    flush(shard);
    finish_ready_jobs(shard);
    if (!shard->drain && !shard->stop && !shard->move) {
        return;
    }
    bool is_written = !shard->flying && batch_is_empty(shard->filling);
    if (is_written && shard->move) {
        move_try(shard);
        return;
    }
    bool is_idle =
        is_written && shard->jobs_open == 0 && shard->lookups_open == 0 && shard->walks_open == 0;
    if (is_idle && shard->drain) {
        struct msg *drain = shard->drain;
        shard->drain = NULL;
        msg_return(drain, ERR_OK);
    }
    if (is_idle && shard->stop) {
        finish_stop(shard);
    }
}

static void finish_stop(struct shard *shard)
{
    for (size_t i = 0; i < MSG_POOL_COUNT; i++) {
        if (shard->actor.pools[i].free_count != shard->actor.pools[i].count) {
            return; /* a hint is still with delivery; its return brings us here again */
        }
    }
    struct msg *stop = shard->stop;
    shard->stop = NULL;
    msg_return(stop, ERR_OK);
    actor_close(&shard->actor);
}

static void on_commit_home(struct shard *shard, struct msg *msg)
{
    struct batch *flown = shard->flying;
    CHECK(flown);
    CHECK(msg->body.commit.batch == flown->rows);
    enum err err = msg->err;
    shard->flying = NULL;
    shard->free_bytes = msg->body.commit.free_bytes;
    if (err == ERR_OK) {
        count_commit(shard, &msg->body.commit);
        shard->counters.mails += flown->accepted_count;
        shard->counters.mail_bytes += flown->accepted_bytes;
    }
    msg_put(&shard->actor, msg);
    batch_settle(shard, flown, err);
    if (err != ERR_OK) {
        /* Its rows may have been computed from those that are lost. */
        batch_settle(shard, shard->filling, err);
    }
    if (shard->move == NULL) {
        actor_release(&shard->actor);
    }
}

static void count_commit(struct shard *shard, const struct commit_write *commit)
{
    const uint64_t now_us = clock_mono_us();
    const uint32_t metrics = shard->actor.metrics;
    const uint32_t rows = kv_batch_rows(commit->batch);
    if (rows == 0) {
        return; /* it asked for the free space only */
    }
    metric_observe_at(METRIC_COMMIT_STAGE, LABEL_STAGE_RETURN, now_us - commit->synced_us);
    metric_actor_observe(METRIC_SHARD_COMMIT, metrics, now_us - commit->posted_us);
    metric_actor_add(METRIC_SHARD_BATCHES, metrics, 0, 1);
    metric_actor_add(METRIC_SHARD_ROWS, metrics, 0, rows);
    struct shard_counters *counters = &shard->counters;
    latency_add(&counters->commit, now_us - commit->posted_us, now_us / 1000);
    counters->batches++;
    counters->batch_rows += rows;
    counters->batch_bytes += kv_batch_bytes(commit->batch);
    counters->batch_rows_max = (uint32_t)max_u64(counters->batch_rows_max, rows);
}

static void batch_init(struct batch *batch, uint32_t family)
{
    batch->rows = kv_batch_new(family);
    buf_init(&batch->announces, ANNOUNCE_MAX);
    batch->unannounced = UINT64_MAX;
}

static void batch_fini(struct batch *batch)
{
    CHECK(!batch->parked);
    kv_batch_free(batch->rows);
    buf_fini(&batch->announces);
}

static bool batch_is_empty(const struct batch *batch)
{
    return kv_batch_rows(batch->rows) == 0 && !batch->parked;
}

static bool batch_is_full(const struct batch *batch)
{
    return kv_batch_rows(batch->rows) >= BATCH_ROWS_MAX ||
           kv_batch_bytes(batch->rows) >= BATCH_BYTES_MAX;
}

static void batch_park(struct batch *batch, struct msg *msg)
{
    CHECK(!msg->next);
    if (batch->parked) {
        batch->parked_last->next = msg;
    } else {
        batch->parked = msg;
    }
    batch->parked_last = msg;
    batch->parked_count++;
}

static void batch_settle(struct shard *shard, struct batch *batch, enum err err)
{
    struct msg *msg = batch->parked;
    ended_batch_settled(shard, batch, err);
    batch->parked = NULL;
    batch->parked_last = NULL;
    batch->parked_count = 0;
    while (msg) {
        struct msg *next = msg->next;
        msg->next = NULL;
        if (err != ERR_OK) {
            msg->param = SLICE("");
            msg->sentence = SLICE("");
        }
        msg_return(msg, err != ERR_OK ? err : msg->err);
        msg = next;
    }
    if (err == ERR_OK) {
        metric_add(METRIC_MAIL_ACCEPTED, batch->accepted_count);
        metric_actor_add(METRIC_SHARD_ACCEPTED, shard->actor.metrics, 0, batch->accepted_count);
        metric_add(METRIC_MAIL_ACCEPTED_BYTES, batch->accepted_bytes);
        announce_batch(shard, batch);
    } else if (kv_batch_rows(batch->rows) > 0) {
        routing_forget(shard, (struct account_id){.value = 0}); /* compiled from what is lost */
        shard->counters.batches_lost++;
        LOG_WARN("shard.batch_lost", LOG_U64("family", shard->family),
                 LOG_U64("rows", kv_batch_rows(batch->rows)), LOG_ERR(err));
    }
    kv_batch_clear(batch->rows);
    buf_clear(&batch->announces);
    batch->unannounced = UINT64_MAX;
    batch->accepted_count = 0;
    batch->accepted_bytes = 0;
}

/* ---- work on other threads ------------------------------------------------------------------ */

static void job_work(struct job *job)
{
    struct shard_job *work = CONTAINER_OF(job, struct shard_job, job);
    work->work(work);
}

static void job_done(struct job *job)
{
    struct shard_job *work = CONTAINER_OF(job, struct shard_job, job);
    struct shard *shard = work->shard; /* done may give the memory of the job away */
    CHECK_LOOP(shard->actor.loop);
    CHECK(shard->jobs_open > 0);
    list_push_back(&shard->ready_jobs, &work->link);
    settle(shard);
}

/* What comes from a worker does not come through the port, so that holding the port does not hold
 * it: it waits here until a batch has room. */
static void finish_ready_jobs(struct shard *shard)
{
    if (list_is_empty(&shard->ready_jobs)) {
        return;
    }
    const uint64_t begun_us = clock_mono_us();
    while (!is_full(shard) && !list_is_empty(&shard->ready_jobs)) {
        struct link *first = list_pop_front(&shard->ready_jobs);
        struct shard_job *work = CONTAINER_OF(first, struct shard_job, link);
        shard->jobs_open--;
        begin(shard);
        work->done(work);
        flush(shard);
    }
    shard->counters.job_us += clock_mono_us() - begun_us;
}
