/* domain.c - sending and receiving domains: keys, what DNS said of them, and whose they are.
 *
 * A name may stand in many accounts while nobody has proved anything; the first whose records check
 * out claims it in the directory, which lives in another shard. So creating asks the directory,
 * a good check claims, and deleting releases, before the rows here change:
 *
 *      CREATE   GET ----> keys made on a worker ----> rows
 *      CHECKED  CLAIM --> rows
 *      ROTATE   keys made on a worker -> row; a check that sees their records has them sign
 *      DELETE   keys bound to it, from a worker -> RELEASE -> rows gone -> their connections end
 *
 * Killed between the two steps, a delete leaves a domain that the next check claims again; a check
 * leaves a claim without flags, which the next check completes.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <stdlib.h>

struct made_key {
    struct slice sealed;
    struct slice public_text;
};

/* One request that outlives its handler. Lives in its message's arena. */
struct domain_work {
    struct shard_job job;
    struct principal who;
    struct row_domain row; /* CREATE: in the making. CHECKED, DELETE: as it was read */
    struct domain_checks checks;
    struct made_key rsa; /* CREATE, ROTATE */
    struct made_key ed;
    struct credential *ended; /* DELETE: keys that were bound to it */
    uint32_t ended_count;
    enum err err;
};

static enum err check_key_domain(const struct principal *who, const struct shard_domain *body);
static void domain_create(struct shard *shard, struct msg *msg, const struct principal *who);
static void create_make(struct domain_work *work);
static void create_job(struct shard_job *job);
static enum err make_keys(struct domain_work *work);
static enum err make_key(struct domain_work *work, enum sign_algo algo, struct made_key *made);
static enum err count_domains(const struct shard *shard, struct account_id account,
                              uint32_t *count);
static void create_done(struct shard_job *job);
static enum err find_name(struct shard *shard, struct account_id account, struct slice name);
static void domain_get(struct shard *shard, struct msg *msg);
static void domain_list(struct shard *shard, struct msg *msg, const struct principal *who);
static void list_job(struct shard_job *job);
static void list_done(struct shard_job *job);
static void domain_change(struct shard *shard, struct msg *msg, const struct principal *who);
static void domain_delete(struct shard *shard, struct msg *msg, const struct principal *who);
static void delete_job(struct shard_job *job);
static void delete_found(struct shard_job *job);
static void delete_rows(struct domain_work *work);
static void domain_checked(struct shard *shard, struct msg *msg, const struct principal *who);
static void domain_rotate(struct shard *shard, struct msg *msg, const struct principal *who);
static void rotate_job(struct shard_job *job);
static void rotate_done(struct shard_job *job);
static void store_checks(struct domain_work *work);
static bool lookup(struct domain_work *work, enum directory_op op);
static void note(struct domain_work *work, const char *action, struct slice detail);
static struct domain_work *work_new(struct shard *shard, struct msg *msg);
static void answer_row(struct domain_work *work, enum err err);
static struct row_domain without_secrets(struct row_domain row);

void domain_handle(struct shard *shard, struct msg *msg)
{
    struct principal who;
    enum err err = shard_check_caller(shard, msg, &msg->body.domain.caller, &who);
    if (err == ERR_OK) {
        err = check_key_domain(&who, &msg->body.domain);
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    switch (msg->body.domain.op) {
    case DOMAIN_CREATE:
        domain_create(shard, msg, &who);
        return;
    case DOMAIN_LIST:
        domain_list(shard, msg, &who);
        return;
    case DOMAIN_GET:
        domain_get(shard, msg);
        return;
    case DOMAIN_CHANGE:
        domain_change(shard, msg, &who);
        return;
    case DOMAIN_DELETE:
        domain_delete(shard, msg, &who);
        return;
    case DOMAIN_CHECKED:
        domain_checked(shard, msg, &who);
        return;
    case DOMAIN_ROTATE:
        domain_rotate(shard, msg, &who);
        return;
    }
    CHECK(msg->body.domain.op == DOMAIN_CREATE);
}

/* A key bound to domains manages those, and makes no others; its list shows no others. */
static enum err check_key_domain(const struct principal *who, const struct shard_domain *body)
{
    switch (body->op) {
    case DOMAIN_CREATE:
        return !who->has_key || who->key.domains.len == 0 ? ERR_OK : ERR_KEY_SCOPE;
    case DOMAIN_LIST:
        break;
    case DOMAIN_GET:
    case DOMAIN_CHANGE:
    case DOMAIN_DELETE:
    case DOMAIN_CHECKED:
    case DOMAIN_ROTATE:
        return principal_may_use_domain(who, body->id) ? ERR_OK : ERR_KEY_SCOPE;
    }
    return ERR_OK;
}

void domain_lookup_home(struct shard *shard, struct msg *msg)
{
    CHECK(msg->token >= 1);
    CHECK(msg->token <= SHARD_WORK_MSGS);
    struct domain_work *work = shard->lookups[msg->token - 1];
    CHECK(shard->lookups_open > 0);
    shard->lookups[msg->token - 1] = NULL;
    shard->lookups_open--;
    enum err err = msg->err;
    struct account_id owner = msg->body.directory.account;
    enum directory_op op = msg->body.directory.op;
    msg_put(&shard->actor, msg);
    switch (op) {
    case DIRECTORY_GET:
        if (err == ERR_OK && owner.value != work->job.msg->body.domain.caller.account.value) {
            err = ERR_EXISTS;
        }
        if (err == ERR_OK || err == ERR_NOT_FOUND) {
            create_make(work);
        } else {
            shard_answer(shard, work->job.msg, err);
        }
        return;
    case DIRECTORY_CLAIM:
        if (err == ERR_OK) {
            store_checks(work);
        } else {
            shard_answer(shard, work->job.msg, err);
        }
        return;
    case DIRECTORY_RELEASE:
        if (!work->job.msg) {
            free(work); /* of a claim that came too late; nobody waits */
        } else if (err == ERR_OK) {
            delete_rows(work);
        } else {
            shard_answer(shard, work->job.msg, err);
        }
        return;
    }
}

/* ---- create --------------------------------------------------------------------------------- */

static void domain_create(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_domain *body = &msg->body.domain;
    struct account_id account = who->account.id;
    if (body->name.len == 0 || body->name.len > DOMAIN_MAX) {
        msg->param = SLICE("domain");
        shard_answer(shard, msg, ERR_BAD_FIELD);
        return;
    }
    enum err err = find_name(shard, account, body->name);
    if (err != ERR_NOT_FOUND) {
        shard_answer(shard, msg, err == ERR_OK ? ERR_EXISTS : err);
        return;
    }
    struct domain_work *work = work_new(shard, msg);
    work->who = *who;
    work->row = (struct row_domain){
        .id = shard_id(shard, account),
        .name = body->name,
        .status = DOMAIN_PENDING,
        .created_unix_ms = clock_unix_ms(),
    };
    if (!lookup(work, DIRECTORY_GET)) {
        shard_answer(shard, msg, ERR_BUSY);
    }
}

static void create_make(struct domain_work *work)
{
    shard_offload(work->job.shard, &work->job, create_job, create_done);
}

/* Worker. */
static void create_job(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    uint32_t count = 0;
    work->err = count_domains(job->shard, id_account(work->row.id), &count);
    if (work->err == ERR_OK && count >= DOMAINS_PER_ACCOUNT) {
        work->err = ERR_QUOTA;
    }
    if (work->err == ERR_OK) {
        work->err = make_keys(work);
    }
    work->row.rsa_private = work->rsa.sealed;
    work->row.rsa_public = work->rsa.public_text;
    work->row.ed_private = work->ed.sealed;
    work->row.ed_public = work->ed.public_text;
}

/* Worker. */
static enum err make_keys(struct domain_work *work)
{
    enum err err = make_key(work, SIGN_RSA_SHA256, &work->rsa);
    return err == ERR_OK ? make_key(work, SIGN_ED25519, &work->ed) : err;
}

static enum err make_key(struct domain_work *work, enum sign_algo algo, struct made_key *made)
{
    char id[ID_TEXT_MAX];
    struct slice context = slice_of(id, id_text(ID_DOMAIN, work->row.id, id));
    struct arena *arena = &work->job.msg->arena;
    struct arena secret;
    arena_init(&secret, 4 * KIB, 64 * KIB);
    arena_mark_secret(&secret);
    struct slice der;
    struct slice text;
    enum err err = crypto_make_key(algo, &secret, &der, &text);
    if (err == ERR_OK) {
        size_t len = der.len + SEAL_OVERHEAD;
        char *sealed = arena_bytes(arena, len);
        crypto_seal(&work->job.shard->dkim_seal, context, der, (uint8_t *)sealed);
        made->sealed = slice_of(sealed, len);
        made->public_text = arena_dup(arena, text);
    }
    arena_fini(&secret);
    return err;
}

/* Worker. At most one sync behind, so the ceiling may be passed by the few made meanwhile. */
static enum err count_domains(const struct shard *shard, struct account_id account, uint32_t *count)
{
    struct key from = key_prefix_domains(account);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    uint32_t n = 0;
    while (n < DOMAINS_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        n++;
    }
    enum err err = n < DOMAINS_PER_ACCOUNT ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
    if (err == ERR_OK) {
        *count = n;
    }
    return err;
}

static void create_done(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    struct shard *shard = job->shard;
    struct account_id account = id_account(work->row.id);
    enum err err = work->err;
    if (err == ERR_OK) {
        /* Somebody may have made the same one while the keys were made. */
        err = find_name(shard, account, work->row.name);
        err = err == ERR_OK ? ERR_EXISTS : err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err == ERR_OK) {
        struct row_domain_name name = {.id = work->row.id};
        shard_put_domain(shard, key_domain(account, work->row.id), &work->row);
        shard_put_domain_name(shard, key_domain_name(account, work->row.name), &name);
        note(work, "domain.created", work->row.name);
        LOG_INFO("domain.created", LOG_ID("domain", ID_DOMAIN, work->row.id),
                 LOG_ORIGIN(&work->job.msg->origin), LOG_TEXT("name", work->row.name));
    }
    answer_row(work, err);
}

static enum err find_name(struct shard *shard, struct account_id account, struct slice name)
{
    struct row_domain_name row;
    return shard_get_domain_name(shard, key_domain_name(account, name), &shard->scratch, &row);
}

/* ---- read ----------------------------------------------------------------------------------- */

static void domain_get(struct shard *shard, struct msg *msg)
{
    struct shard_domain *body = &msg->body.domain;
    struct domain_work *work = work_new(shard, msg);
    enum err err = shard_get_domain(shard, key_domain(body->caller.account, body->id), &msg->arena,
                                    &work->row);
    answer_row(work, err);
}

static void domain_list(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct domain_work *work = work_new(shard, msg);
    work->who = *who;
    shard_offload(shard, &work->job, list_job, list_done);
}

/* Worker. */
static void list_job(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    struct shard_domain *body = &job->msg->body.domain;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    struct key from = key_prefix_domains(body->caller.account);
    struct key to = key_after(&from);
    body->rows = arena_array(&job->msg->arena, limit, sizeof(*body->rows));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), true);
    struct slice key;
    struct slice value;
    while (body->row_count < limit && kv_iter_next(iter, &key, &value)) {
        struct row_domain row;
        enum err err = row_domain_decode(value, &row);
        if (err == ERR_OK && row.created_unix_ms < body->before_unix_ms &&
            principal_may_use_domain(&work->who, row.id)) {
            err = row_domain_decode(arena_dup(&job->msg->arena, value), &row);
            body->rows[body->row_count++] = without_secrets(row);
        }
        if (err != ERR_OK) {
            LOG_ERROR("domain.damaged", LOG_ACCOUNT("account", body->caller.account));
        }
    }
    work->err = body->row_count < limit ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void list_done(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    shard_answer(job->shard, job->msg, work->err);
}

/* ---- change --------------------------------------------------------------------------------- */

/* A host that is another one has to be looked up before links use it. */
static bool change_tracking(struct row_domain *row, const struct shard_domain *body)
{
    struct row_domain before = *row;
    if (body->given & DOMAIN_FIELD_TRACK_HOST && !slice_equal(row->track_host, body->track_host)) {
        row->track_host = body->track_host;
        row->track_verified = false;
    }
    if (body->given & DOMAIN_FIELD_TRACK_OPENS) {
        row->tracks_opens = body->tracks_opens;
    }
    if (body->given & DOMAIN_FIELD_TRACK_CLICKS) {
        row->tracks_clicks = body->tracks_clicks;
    }
    return !slice_equal(row->track_host, before.track_host) ||
           row->tracks_opens != before.tracks_opens || row->tracks_clicks != before.tracks_clicks;
}

/* How long mails of the domain are kept, and what is counted. What is too old by now goes with the
 * next sweep. */
static void domain_change(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_domain *body = &msg->body.domain;
    struct key key = key_domain(body->caller.account, body->id);
    struct domain_work *work = work_new(shard, msg);
    work->who = *who;
    enum err err = shard_get_domain(shard, key, &msg->arena, &work->row);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    struct row_domain *row = &work->row;
    struct row_domain before = *row;
    if (body->given & DOMAIN_FIELD_RETENTION) {
        row->retention_days = body->retention_days;
    }
    if (body->given & DOMAIN_FIELD_ZERO_RETENTION) {
        row->is_zero_retention = body->is_zero_retention;
    }
    if (change_tracking(row, body)) {
        struct slice detail =
            arena_format(&msg->arena, "tracking opens %s, clicks %s, host %.*s",
                         row->tracks_opens ? "on" : "off", row->tracks_clicks ? "on" : "off",
                         SLICE_FMT(row->track_host));
        shard_put_domain(shard, key, row);
        note(work, "domain.changed", detail);
    }
    if (row->retention_days != before.retention_days ||
        row->is_zero_retention != before.is_zero_retention) {
        struct slice detail =
            arena_format(&msg->arena, "retention %u days%s -> %u days%s", before.retention_days,
                         before.is_zero_retention ? ", zero" : "", row->retention_days,
                         row->is_zero_retention ? ", zero" : "");
        shard_put_domain(shard, key, row);
        note(work, "domain.changed", detail);
        LOG_INFO("domain.changed", LOG_ID("domain", ID_DOMAIN, row->id),
                 LOG_ORIGIN(&work->job.msg->origin), LOG_TEXT("what", detail));
    }
    answer_row(work, ERR_OK);
}

/* ---- delete --------------------------------------------------------------------------------- */

static void domain_delete(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_domain *body = &msg->body.domain;
    struct domain_work *work = work_new(shard, msg);
    work->who = *who;
    enum err err = shard_get_domain(shard, key_domain(body->caller.account, body->id), &msg->arena,
                                    &work->row);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    shard_offload(shard, &work->job, delete_job, delete_found);
}

/* Worker. A key that is bound to the domain just now is not among those found; it counts no longer
 * all the same, and its connections end with its next request. */
static void delete_job(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    work->err = api_keys_of_domain(job->shard, work->row.id, &job->msg->arena, &work->ended,
                                   &work->ended_count);
}

static void delete_found(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    enum err err = work->err;
    if (err == ERR_OK && !lookup(work, DIRECTORY_RELEASE)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        shard_answer(job->shard, job->msg, err);
    }
}

/* In one step with the directory's answer: a claim that was posted behind the release finds no row
 * when its own answer comes, and gives the name back. */
static void delete_rows(struct domain_work *work)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    struct account_id account = id_account(work->row.id);
    struct row_domain row;
    enum err err =
        shard_get_domain(shard, key_domain(account, work->row.id), &shard->scratch, &row);
    if (err == ERR_OK && !shard_can_end(shard)) {
        err = ERR_BUSY; /* asked again, it goes on: the name was given back already */
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    shard_delete(shard, key_domain(account, work->row.id));
    shard_delete(shard, key_domain_name(account, work->row.name));
    claim_forget_keys(shard, work->row.id);
    note(work, "domain.deleted", work->row.name);
    LOG_INFO("domain.deleted", LOG_ID("domain", ID_DOMAIN, work->row.id), LOG_ORIGIN(&msg->origin));
    shard_end_credentials(shard, msg, work->ended, work->ended_count);
}

/* ---- rotation ------------------------------------------------------------------------------- */

/* Keys that are to come stay the same however often somebody asks. Mails that are under way need
 * the records of the keys before the last ones for a while. */
static void domain_rotate(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_domain *body = &msg->body.domain;
    struct domain_work *work = work_new(shard, msg);
    work->who = *who;
    enum err err = shard_get_domain(shard, key_domain(body->caller.account, body->id), &msg->arena,
                                    &work->row);
    const struct row_domain *row = &work->row;
    if (err == ERR_OK && row->next_rsa_selector.len == 0 && row->next_ed_selector.len == 0) {
        if (row->rotation == 0 || clock_unix_ms() >= row->rotation_unix_ms + DKIM_RETIRE_MS) {
            shard_offload(shard, &work->job, rotate_job, rotate_done);
            return;
        }
        msg->sentence =
            SLICE("the keys before these are still needed; their records say until when");
        err = ERR_CONFLICT;
    }
    answer_row(work, err);
}

/* Worker. */
static void rotate_job(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    work->err = make_keys(work);
}

static void rotate_done(struct shard_job *job)
{
    struct domain_work *work = CONTAINER_OF(job, struct domain_work, job);
    struct key key = key_domain(id_account(work->row.id), work->row.id);
    struct row_domain *row = &work->row;
    enum err err = work->err;
    if (err == ERR_OK) {
        err = shard_get_domain(job->shard, key, &job->msg->arena, row);
    }
    if (err == ERR_OK && row->next_rsa_selector.len == 0 && row->next_ed_selector.len == 0) {
        row->rotation = 0;
        row->next_rsa_selector = domain_other_selector(domain_rsa_selector(row));
        row->next_ed_selector = domain_other_selector(domain_ed_selector(row));
        row->next_rsa_private = work->rsa.sealed;
        row->next_rsa_public = work->rsa.public_text;
        row->next_ed_private = work->ed.sealed;
        row->next_ed_public = work->ed.public_text;
        shard_put_domain(job->shard, key, row);
        note(work, "domain.dkim_rotating", row->name);
        LOG_INFO("domain.dkim_rotating", LOG_ID("domain", ID_DOMAIN, row->id),
                 LOG_ORIGIN(&work->job.msg->origin));
    }
    answer_row(work, err);
}

/* Each next key whose record was seen signs from now on, in the batch of the check. Claims in
 * flight go on with the keys that they began with, whose records stay a while. */
bool domain_switch_keys(struct row_domain *row, const struct domain_checks *checks)
{
    uint8_t before = row->rotation;
    if (checks->next_rsa && row->next_rsa_selector.len > 0) {
        row->rsa_selector = row->next_rsa_selector;
        row->rsa_private = row->next_rsa_private;
        row->rsa_public = row->next_rsa_public;
        row->next_rsa_selector = row->next_rsa_private = row->next_rsa_public = SLICE("");
        row->dkim_rsa_verified = true;
        row->rotation |= DOMAIN_ROTATED_RSA;
    }
    if (checks->next_ed && row->next_ed_selector.len > 0) {
        row->ed_selector = row->next_ed_selector;
        row->ed_private = row->next_ed_private;
        row->ed_public = row->next_ed_public;
        row->next_ed_selector = row->next_ed_private = row->next_ed_public = SLICE("");
        row->dkim_ed_verified = true;
        row->rotation |= DOMAIN_ROTATED_ED;
    }
    if (row->rotation != before) {
        row->rotation_unix_ms = clock_unix_ms();
        LOG_INFO("domain.dkim_rotated", LOG_ID("domain", ID_DOMAIN, row->id));
    }
    return row->rotation != before;
}

/* ---- verification --------------------------------------------------------------------------- */

static void domain_checked(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_domain *body = &msg->body.domain;
    struct domain_work *work = work_new(shard, msg);
    work->who = *who;
    enum err err = shard_get_domain(shard, key_domain(body->caller.account, body->id), &msg->arena,
                                    &work->row);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    work->checks = body->checks;
    if (body->has_gaps) {
        domain_keep_known(&work->row, &work->checks);
    }
    struct slice sandbox = shard->place->conf->sandbox_domain;
    if (sandbox.len > 0 && slice_equal(sandbox, work->row.name)) {
        work->checks = (struct domain_checks){
            .mx = true,
            .spf = true,
            .dkim_rsa = true,
            .dkim_ed = true,
            .dmarc = true,
            .return_path = true,
            .track = true,
            .next_rsa = true,
            .next_ed = true,
        };
    }
    domain_count_next(&work->row, &work->checks);
    if (!work->checks.mx && !domain_may_send(&work->checks)) {
        store_checks(work);
    } else if (!lookup(work, DIRECTORY_CLAIM)) {
        shard_answer(shard, msg, ERR_BUSY);
    }
}

static void store_checks(struct domain_work *work)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    struct key key = key_domain(id_account(work->row.id), work->row.id);
    bool is_claimed = work->checks.mx || domain_may_send(&work->checks);
    enum err err = shard_get_domain(shard, key, &msg->arena, &work->row);
    if (err == ERR_NOT_FOUND && is_claimed) {
        /* Deleted while the claim was on its way: give the name back. Should the pool be empty, the
         * stale claim goes with the next claim of this account, or by the operator. */
        struct domain_work *orphan = mem_zalloc(sizeof(*orphan));
        orphan->job.shard = shard;
        orphan->row.id = work->row.id;
        orphan->row.name = work->row.name;
        if (!lookup(orphan, DIRECTORY_RELEASE)) {
            LOG_WARN("domain.stale_claim", LOG_TEXT("name", work->row.name));
            free(orphan);
        }
    }
    if (err == ERR_OK) {
        const struct domain_checks *checks = &work->checks;
        work->row.mx_verified = checks->mx;
        work->row.spf_verified = checks->spf;
        work->row.dkim_rsa_verified = checks->dkim_rsa;
        work->row.dkim_ed_verified = checks->dkim_ed;
        work->row.dmarc_verified = checks->dmarc;
        work->row.return_path_verified = checks->return_path;
        work->row.track_verified = checks->track && work->row.track_host.len > 0;
        work->row.checked_unix_ms = clock_unix_ms();
        work->row.status = domain_may_send(checks) ? DOMAIN_VERIFIED : DOMAIN_FAILED;
        work->row.failing_unix_ms = 0;
        if (work->job.msg->body.domain.health.len > 0) {
            work->row.health = work->job.msg->body.domain.health;
            work->row.health_unix_ms = work->row.checked_unix_ms;
        }
        if (domain_switch_keys(&work->row, checks)) {
            note(work, "domain.dkim_rotated", work->row.name);
        }
        shard_put_domain(shard, key, &work->row);
        LOG_INFO("domain.checked", LOG_ID("domain", ID_DOMAIN, work->row.id),
                 LOG_ORIGIN(&work->job.msg->origin), LOG_BOOL("may_send", domain_may_send(checks)));
    }
    answer_row(work, err);
}

/* A key that is about to sign is as good as the one that it takes the place of, whose record may be
 * gone already. */
void domain_count_next(const struct row_domain *row, struct domain_checks *checks)
{
    checks->dkim_rsa |= checks->next_rsa && row->next_rsa_selector.len > 0;
    checks->dkim_ed |= checks->next_ed && row->next_ed_selector.len > 0;
}

/* Of a look in which a server did not answer: what was not seen is as it was. A domain that loses
 * its MX flag refuses mail for good, which no server's bad minute may cause. */
void domain_keep_known(const struct row_domain *row, struct domain_checks *checks)
{
    checks->mx |= row->mx_verified;
    checks->spf |= row->spf_verified;
    checks->dkim_rsa |= row->dkim_rsa_verified;
    checks->dkim_ed |= row->dkim_ed_verified;
    checks->dmarc |= row->dmarc_verified;
    checks->return_path |= row->return_path_verified;
    checks->track |= row->track_verified;
}

bool domain_may_send(const struct domain_checks *checks)
{
    return checks->spf && (checks->dkim_rsa || checks->dkim_ed);
}

/* ---- shared --------------------------------------------------------------------------------- */

/* Asks the directory of the row's name; false when every look-up is out. */
static bool lookup(struct domain_work *work, enum directory_op op)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = msg_take(&shard->actor, MSG_SHARD_DIRECTORY);
    if (!msg) {
        return false;
    }
    uint32_t slot = 0;
    while (shard->lookups[slot]) {
        slot++;
        CHECK(slot < SHARD_WORK_MSGS); /* as many slots as messages */
    }
    shard->lookups[slot] = work;
    shard->lookups_open++;
    msg->token = slot + 1;
    msg->body.directory = (struct shard_directory){
        .op = op,
        .kind = DIRECTORY_DOMAIN,
        .name = arena_dup(&msg->arena, work->row.name),
        .account = id_account(work->row.id),
        .id = work->row.id,
    };
    actor_post(place_directory(shard->place, work->row.name), msg);
    return true;
}

static void note(struct domain_work *work, const char *action, struct slice detail)
{
    struct audit_note line = {
        .account = id_account(work->row.id),
        .who = &work->who,
        .caller = &work->job.msg->body.domain.caller,
        .action = action,
        .detail = detail,
    };
    shard_audit_id(work->job.shard, &line, ID_DOMAIN, work->row.id);
}

static struct domain_work *work_new(struct shard *shard, struct msg *msg)
{
    struct domain_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.shard = shard;
    work->job.msg = msg;
    return work;
}

static void answer_row(struct domain_work *work, enum err err)
{
    struct msg *msg = work->job.msg;
    struct shard_domain *body = &msg->body.domain;
    if (err == ERR_OK) {
        body->rows = arena_array(&msg->arena, 1, sizeof(*body->rows));
        body->rows[0] = without_secrets(work->row);
        body->row_count = 1;
    }
    shard_answer(work->job.shard, msg, err);
}

static struct row_domain without_secrets(struct row_domain row)
{
    row.rsa_private = SLICE("");
    row.ed_private = SLICE("");
    row.next_rsa_private = SLICE("");
    row.next_ed_private = SLICE("");
    return row;
}
