/* claim.c - what delivery asks of a shard: the lease, the bytes, the outcome.
 *
 *      CLAIM    row free? --> headers signed on a worker --> row still free? --> lease, parked
 *      OUTCOME  row held? --> deliveries, attempts, events --> row moved to its next due, or gone
 *
 * A row that was leased and never came to an outcome is a try whose end nobody saw: a crash, or a
 * lease that ran out. The next claim writes that try down as ATTEMPT_UNCERTAIN before it begins its
 * own, so that a mail that may arrive twice says so.
 *
 * Due times are kept twice: in the outbox row's key, and as next_attempt of the open deliveries of
 * its group, which is how a retry finds the row.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "mail/dkim.h"
#include "mail/report_read.h"
#include "shards/erase.h"
#include "shards/forward.h"
#include "shards/schedule.h"
#include "shards/shard_int.h"

#include <string.h>

#define UNCERTAIN_TEXT "the server stopped during this attempt; its outcome is unknown"

/* A claim whose headers are being signed. Lives in its message's arena. */
struct claim_work {
    struct shard_job job;
    struct row_mail mail;
    struct row_domain domain;
    bool has_domain;           /* false: deleted since; the mail goes unsigned */
    struct slice header_block; /* as it is signed: what is added at the claim, what is stored */
    struct slice added;
    struct slice first_chunk;
    struct sign_entry *entry; /* pinned; NULL: the keys have to be unsealed */
    struct sign_key *rsa;     /* unsealed by the worker */
    struct sign_key *ed;
    struct seal_key seal;
    uint64_t now_unix_ms;
    struct slice fields;
    enum err err;
};

static bool is_suspended(struct shard *shard, struct account_id account);
static enum err find_row(struct shard *shard, const struct outbox_entry *entry, struct arena *arena,
                         struct row_outbox *row);
static enum err load_header(struct claim_work *work);
static enum err load_trace(struct claim_work *work);
static void sign_work(struct shard_job *job);
static enum err sign_with_both(struct claim_work *work);
static enum err sign_with(struct claim_work *work, const struct sign_key *key,
                          struct slice selector, struct slice *field);
static enum err unseal_key(struct claim_work *work, enum sign_algo algo, struct slice sealed,
                           struct sign_key **key);
static void claim_done(struct shard_job *job);
static enum err grant(struct claim_work *work);
static void write_uncertain(struct shard *shard, const struct outbox_entry *entry,
                            struct group *group);
static void fill_claim(struct claim_work *work, const struct group *group);
static void fill_forward(struct claim_work *work, const struct group *group);
static struct slice headers_of(struct claim_work *work, uint32_t group);
static struct slice return_path(struct claim_work *work, uint32_t group);
static struct sign_entry *cache_find(struct shard *shard, const struct row_domain *domain);
static void cache_keep(struct claim_work *work);
static void cache_free(struct sign_entry *entry);
static void release_row(struct shard *shard, const struct shard_outcome *body, struct group *group);
static void write_outcome(struct shard *shard, const struct shard_outcome *body,
                          struct group *group, struct row_mail *mail);
static void write_verdict(struct shard *shard, const struct shard_outcome *body,
                          struct group *group, struct row_mail *mail, uint32_t n);
static void write_transcript(struct shard *shard, const struct shard_outcome *body,
                             uint32_t attempt);
static void move_row(struct shard *shard, const struct outbox_entry *entry, uint64_t due_unix_ms,
                     const struct row_outbox *row);
static enum err settle_mail(struct shard *shard, struct row_mail *mail,
                            const struct shard_outcome *body);

bool outbox_is_leased(const struct row_outbox *row, uint64_t boot, uint64_t now_unix_ms)
{
    return row->lease_boot == boot && row->lease_until_unix_ms > now_unix_ms;
}

bool delivery_is_open(const struct row_delivery *row)
{
    return row->status == DELIVERY_PENDING || row->status == DELIVERY_SCHEDULED ||
           row->status == DELIVERY_DEFERRED;
}

uint32_t mail_rcpt_count(const struct row_mail *mail)
{
    return mail->delivery_count - (uint32_t)min_u64(mail->hook_count, mail->delivery_count);
}

/* ---- claim ---------------------------------------------------------------------------------- */

void claim_claim(struct shard *shard, struct msg *msg)
{
    struct shard_claim *body = &msg->body.claim;
    if (body->entry.group & HOOK_GROUP) {
        hook_claim(shard, msg);
        return;
    }
    struct account_id account = body->entry.account;
    struct claim_work *work = arena_alloc(&msg->arena, sizeof(*work));
    struct row_outbox outbox;
    bool is_forward = false;
    work->job.shard = shard;
    work->job.msg = msg;
    work->now_unix_ms = clock_unix_ms();
    enum err err = find_row(shard, &body->entry, &shard->scratch, &outbox);
    if (err == ERR_OK && outbox_is_leased(&outbox, shard->place->boot, work->now_unix_ms)) {
        err = ERR_CONFLICT;
    }
    if (err == ERR_OK && (is_suspended(shard, account) || !claim_has_account(shard, account))) {
        err = ERR_CONFLICT; /* it stays queued; the sweep offers it again, and then again */
    }
    if (err == ERR_OK) {
        err = shard_get_mail(shard, key_mail(account, body->entry.mail), &msg->arena, &work->mail);
    }
    if (err == ERR_OK) {
        is_forward = work->mail.direction == DIRECTION_INBOUND;
        err = is_forward ? load_trace(work) : load_header(work);
    }
    if (err == ERR_OK && !is_forward) {
        size_t stored = work->header_block.len;
        err = unsubscribe_add(shard, &work->mail, outbox.rcpt_first, &msg->arena,
                              &work->header_block);
        work->added = slice_head(work->header_block, work->header_block.len - stored);
    }
    if (err == ERR_OK) {
        err = shard_get_domain(shard, key_domain(account, work->mail.domain), &msg->arena,
                               &work->domain);
        work->has_domain = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err == ERR_OK && is_forward) {
        shard_answer(shard, msg, grant(work)); /* its sender signed it, or nobody */
        return;
    }
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    if (work->has_domain) {
        work->seal = shard->dkim_seal;
        work->entry = cache_find(shard, &work->domain);
        if (work->entry) {
            work->entry->pins++;
        }
    }
    shard_offload(shard, &work->job, sign_work, claim_done);
}

static bool is_suspended(struct shard *shard, struct account_id account)
{
    struct row_account row;
    return shard_get_account(shard, key_account(account), &shard->scratch, &row) == ERR_OK &&
           row.is_suspended;
}

/* Rows without it are those of an import that has not ended, or was cut short: of them nothing is
 * sent, for they are taken away again, and the account they were taken from may go on. */
bool claim_has_account(struct shard *shard, struct account_id account)
{
    struct slice value;
    struct key key = key_account(account);
    return shard_get(shard, &key, &shard->scratch, &value) != ERR_NOT_FOUND;
}

static enum err find_row(struct shard *shard, const struct outbox_entry *entry, struct arena *arena,
                         struct row_outbox *row)
{
    return shard_get_outbox(
        shard, key_outbox(entry->due_unix_ms, entry->account, entry->mail, entry->group), arena,
        row);
}

/* The header may be longer than one chunk: a thousand recipients, fifty fields of 4 KiB. */
static enum err load_header(struct claim_work *work)
{
    struct shard *shard = work->job.shard;
    struct arena *arena = &work->job.msg->arena;
    const struct row_mail *mail = &work->mail;
    struct account_id account = id_account(mail->id);
    size_t have = 0;
    char *block = NULL;
    for (uint32_t i = 0; i < mail->chunk_count && (i == 0 || have < mail->header_len); i++) {
        struct row_chunk row;
        struct slice bytes;
        struct key key = key_chunk(account, mail->id, i);
        enum err err = shard_load(shard, &key, arena, &bytes);
        if (err == ERR_OK) {
            err = row_chunk_decode(bytes, &row);
        }
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        if (i == 0) {
            work->first_chunk = row.data;
            work->header_block = slice_head(row.data, (size_t)mail->header_len);
            have = work->header_block.len;
            continue;
        }
        if (!block) {
            block = arena_bytes(arena, (size_t)mail->header_len);
            memcpy(block, work->header_block.data, have);
        }
        struct slice part = slice_head(row.data, (size_t)mail->header_len - have);
        memcpy(block + have, part.data, part.len);
        have += part.len;
        work->header_block = slice_of(block, have);
    }
    return have == mail->header_len ? ERR_OK : ERR_CORRUPT;
}

static enum err load_trace(struct claim_work *work)
{
    struct row_chunk row;
    struct slice bytes;
    struct key key = key_chunk(id_account(work->mail.id), work->mail.id, 0);
    enum err err = shard_load(work->job.shard, &key, &work->job.msg->arena, &bytes);
    if (err == ERR_OK) {
        err = row_chunk_decode(bytes, &row);
    }
    if (err == ERR_OK) {
        work->first_chunk = forward_trace(row.data);
    }
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

/* ---- signing (worker) ----------------------------------------------------------------------- */

static void sign_work(struct shard_job *job)
{
    struct claim_work *work = CONTAINER_OF(job, struct claim_work, job);
    struct slice wanted = job->shard->place->conf->test_sign;
    work->err = ERR_OK;
    if (!work->has_domain || slice_equal(wanted, SLICE("none"))) {
        return;
    }
    if (!work->entry) {
        work->err = unseal_key(work, SIGN_RSA_SHA256, work->domain.rsa_private, &work->rsa);
        if (work->err == ERR_OK) {
            work->err = unseal_key(work, SIGN_ED25519, work->domain.ed_private, &work->ed);
        }
    }
    if (work->err == ERR_OK) {
        work->err = sign_with_both(work);
    }
}

static enum err sign_with_both(struct claim_work *work)
{
    const struct row_domain *domain = &work->domain;
    /* Each key whose record was seen; both when neither was, as for a domain that lapsed since. */
    bool has_neither = !domain->dkim_rsa_verified && !domain->dkim_ed_verified;
    bool is_rsa_only = slice_equal(work->job.shard->place->conf->test_sign, SLICE("rsa"));
    struct slice rsa = SLICE("");
    struct slice ed = SLICE("");
    enum err err = ERR_OK;
    if (domain->dkim_rsa_verified || has_neither) {
        err = sign_with(work, work->entry ? work->entry->rsa : work->rsa,
                        domain_rsa_selector(domain), &rsa);
    }
    if (err == ERR_OK && !is_rsa_only && (domain->dkim_ed_verified || has_neither)) {
        err = sign_with(work, work->entry ? work->entry->ed : work->ed, domain_ed_selector(domain),
                        &ed);
    }
    if (err == ERR_OK) {
        work->fields =
            arena_format(&work->job.msg->arena, "%.*s%.*s", SLICE_FMT(rsa), SLICE_FMT(ed));
    }
    return err;
}

static enum err sign_with(struct claim_work *work, const struct sign_key *key,
                          struct slice selector, struct slice *field)
{
    struct dkim_signer signer = {
        .domain = work->domain.name,
        .selector = selector,
        .key = key,
        .time_s = work->now_unix_ms / 1000,
    };
    const uint64_t begun_us = clock_mono_us();
    enum err err =
        dkim_sign(&signer, work->header_block, &work->mail.body_hash, &work->job.msg->arena, field);
    metric_observe_at(METRIC_DKIM_TIME,
                      sign_key_algo(key) == SIGN_ED25519 ? LABEL_ALGORITHM_ED25519
                                                         : LABEL_ALGORITHM_RSA,
                      clock_mono_us() - begun_us);
    return err;
}

static enum err unseal_key(struct claim_work *work, enum sign_algo algo, struct slice sealed,
                           struct sign_key **key)
{
    char text[ID_TEXT_MAX];
    struct slice context = slice_of(text, id_text(ID_DOMAIN, work->domain.id, text));
    if (sealed.len <= SEAL_OVERHEAD) {
        return ERR_CORRUPT;
    }
    struct arena secret;
    arena_init(&secret, 4 * KIB, 64 * KIB);
    arena_mark_secret(&secret);
    size_t len = sealed.len - SEAL_OVERHEAD;
    char *der = arena_bytes(&secret, len);
    enum err err = crypto_unseal(&work->seal, context, sealed, (uint8_t *)der);
    if (err == ERR_OK) {
        err = sign_key_new(algo, slice_of(der, len), key);
    }
    arena_fini(&secret);
    return err;
}

/* ---- granting ------------------------------------------------------------------------------- */

static void claim_done(struct shard_job *job)
{
    struct claim_work *work = CONTAINER_OF(job, struct claim_work, job);
    cache_keep(work);
    enum err err = work->err;
    if (err != ERR_OK) {
        LOG_ERROR("claim.sign", LOG_ID("message", ID_MESSAGE, work->mail.id),
                  LOG_TEXT("domain", work->domain.name), LOG_ERR(err));
    } else {
        err = grant(work);
    }
    shard_answer(job->shard, job->msg, err);
}

static enum err grant(struct claim_work *work)
{
    struct group group;
    enum err err = claim_lease(work->job.shard, work->job.msg, &group);
    if (err == ERR_OK) {
        fill_claim(work, &group);
    }
    return err;
}

enum err claim_lease(struct shard *shard, struct msg *msg, struct group *group)
{
    struct shard_claim *body = &msg->body.claim;
    uint64_t now = clock_unix_ms();
    enum err err = claim_load_group(shard, &body->entry, &msg->arena, group);
    if (err != ERR_OK) {
        return err;
    }
    if (outbox_is_leased(&group->outbox, shard->place->boot, now)) {
        return ERR_CONFLICT;
    }
    struct key key = key_outbox(body->entry.due_unix_ms, body->entry.account, body->entry.mail,
                                body->entry.group);
    struct schedule_due due;
    err = schedule_foresee(shard, msg, group, &due);
    if (err != ERR_OK) {
        return err;
    }
    schedule_apply(shard, &due, group);
    if (group->open_count == 0) {
        shard_delete(shard, key);
        return ERR_NOT_FOUND;
    }
    if (group->outbox.lease_boot != 0) {
        write_uncertain(shard, &body->entry, group);
    }
    group->outbox.attempts++;
    group->outbox.lease_boot = shard->place->boot;
    group->outbox.lease_until_unix_ms = now + body->lease_ms;
    shard_put_outbox(shard, key, &group->outbox);
    body->attempt = group->outbox.attempts;
    body->tries = group->outbox.attempts - group->outbox.attempts_before;
    body->created_unix_ms = group->outbox.created_unix_ms;
    return ERR_OK;
}

enum err claim_load_group(struct shard *shard, const struct outbox_entry *entry,
                          struct arena *arena, struct group *group)
{
    memset(group, 0, sizeof(*group));
    enum err err = find_row(shard, entry, arena, &group->outbox);
    if (err != ERR_OK) {
        return err;
    }
    uint32_t count = group->outbox.rcpt_count;
    if (count > RCPT_PER_COPY_MAX) {
        return ERR_CORRUPT;
    }
    group->open = arena_array(arena, count, sizeof(*group->open));
    group->indexes = arena_array(arena, count, sizeof(*group->indexes));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = group->outbox.rcpt_first + i;
        struct row_delivery *row = &group->open[group->open_count];
        err =
            shard_get_delivery(shard, key_delivery(entry->account, entry->mail, index), arena, row);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        /* One that was tried again by hand is of another group by now. */
        if (delivery_is_open(row) && row->group == entry->group) {
            group->indexes[group->open_count++] = index;
        }
    }
    return ERR_OK;
}

static void write_uncertain(struct shard *shard, const struct outbox_entry *entry,
                            struct group *group)
{
    uint64_t now = clock_unix_ms();
    for (uint32_t i = 0; i < group->open_count; i++) {
        struct row_delivery *delivery = &group->open[i];
        struct row_attempt attempt = {
            .started_unix_ms = entry->due_unix_ms,
            .ended_unix_ms = now,
            .outcome = ATTEMPT_UNCERTAIN,
            .response = SLICE(UNCERTAIN_TEXT),
        };
        shard_put_attempt(
            shard,
            key_attempt(entry->account, entry->mail, group->indexes[i], group->outbox.attempts),
            &attempt);
        delivery->attempts = group->outbox.attempts;
        delivery->last_code = 0;
        delivery->enhanced = SLICE("");
        delivery->last_response = SLICE(UNCERTAIN_TEXT);
        delivery->updated_unix_ms = now;
        shard_put_delivery(shard, key_delivery(entry->account, entry->mail, group->indexes[i]),
                           delivery);
    }
    LOG_WARN("claim.uncertain", LOG_ID("message", ID_MESSAGE, entry->mail),
             LOG_U64("group", entry->group), LOG_U64("attempt", group->outbox.attempts));
}

static void fill_claim(struct claim_work *work, const struct group *group)
{
    struct msg *msg = work->job.msg;
    struct shard_claim *body = &msg->body.claim;
    body->rcpts = arena_array(&msg->arena, group->open_count, sizeof(*body->rcpts));
    body->rcpt_count = group->open_count;
    body->needs_utf8 = work->mail.needs_utf8;
    body->needs_8bit = work->mail.needs_8bit;
    body->requires_tls = work->mail.requires_tls;
    for (uint32_t i = 0; i < group->open_count; i++) {
        body->rcpts[i] = group->open[i].recipient;
        body->needs_utf8 = body->needs_utf8 || !slice_is_ascii(body->rcpts[i]);
    }
    body->sender = return_path(work, body->entry.group);
    body->dkim_headers = headers_of(work, body->entry.group);
    body->message_id = work->mail.message_id;
    body->size_bytes = work->mail.size_bytes;
    body->chunk_count = work->mail.chunk_count;
    body->first_chunk = work->first_chunk;
    body->rehearsal = (enum rehearsal)group->outbox.mode;
    if (work->mail.direction == DIRECTION_INBOUND) {
        fill_forward(work, group);
    }
}

/* What goes in front of the stored mail: signatures, the token of this copy, and what else is of
 * this copy alone. */
static struct slice headers_of(struct claim_work *work, uint32_t group)
{
    struct arena *arena = &work->job.msg->arena;
    struct slice token = return_path_local(work->job.shard, work->mail.id, group, arena);
    return arena_format(arena, "%.*s" REPORT_TOKEN_FIELD ": %.*s\r\n%.*s", SLICE_FMT(work->fields),
                        SLICE_FMT(token), SLICE_FMT(work->added));
}

/* The trace in front is not of the mail's own size; the null sender stays what it is. */
static void fill_forward(struct claim_work *work, const struct group *group)
{
    struct msg *msg = work->job.msg;
    struct shard_claim *body = &msg->body.claim;
    struct slice from = group->open[0].forwarded_from;
    body->dkim_headers = arena_format(&msg->arena, "Delivered-To: %.*s\r\n", SLICE_FMT(from));
    body->needs_utf8 = body->needs_utf8 || !slice_is_ascii(from);
    body->size_bytes += work->first_chunk.len;
    if (work->mail.envelope_from.len == 0) {
        body->sender = SLICE("");
    }
}

static struct slice return_path(struct claim_work *work, uint32_t group)
{
    struct arena *arena = &work->job.msg->arena;
    const struct conf *conf = work->job.shard->place->conf;
    struct slice local = return_path_local(work->job.shard, work->mail.id, group, arena);
    if (work->has_domain && work->domain.return_path_verified) {
        return arena_format(arena, "%.*s@%.*s.%.*s", SLICE_FMT(local),
                            SLICE_FMT(conf->return_path_label), SLICE_FMT(work->domain.name));
    }
    return arena_format(arena, "%.*s@%.*s", SLICE_FMT(local), SLICE_FMT(conf->hostname));
}

/* ---- unsealed keys -------------------------------------------------------------------------- */

static bool is_selector(const char text[SELECTOR_LEN], struct slice selector)
{
    return slice_equal(slice_of(text, SELECTOR_LEN), selector);
}

/* By the row that signs: keys that others have taken the place of are not found any more. */
static struct sign_entry *cache_find(struct shard *shard, const struct row_domain *domain)
{
    for (size_t i = 0; i < SIGN_CACHE_MAX; i++) {
        struct sign_entry *entry = &shard->sign_cache[i];
        if (entry->rsa && !entry->is_doomed && id_equal(entry->domain, domain->id) &&
            is_selector(entry->rsa_selector, domain_rsa_selector(domain)) &&
            is_selector(entry->ed_selector, domain_ed_selector(domain))) {
            entry->used = ++shard->sign_clock;
            return entry;
        }
    }
    return NULL;
}

static void name_keys(struct sign_entry *entry, const struct row_domain *domain)
{
    struct slice rsa = domain_rsa_selector(domain);
    struct slice ed = domain_ed_selector(domain);
    memcpy(entry->rsa_selector, rsa.data, min_size(rsa.len, SELECTOR_LEN));
    memcpy(entry->ed_selector, ed.data, min_size(ed.len, SELECTOR_LEN));
}

/* Unpins what the work signed with, or puts what it unsealed into the place used longest ago. */
static void cache_keep(struct claim_work *work)
{
    struct shard *shard = work->job.shard;
    if (work->entry) {
        CHECK(work->entry->pins > 0);
        work->entry->pins--;
        if (work->entry->is_doomed && work->entry->pins == 0) {
            cache_free(work->entry);
        }
        work->entry = NULL;
        return;
    }
    struct sign_entry fresh = {.domain = work->domain.id, .rsa = work->rsa, .ed = work->ed};
    struct sign_entry *place = NULL;
    name_keys(&fresh, &work->domain);
    work->rsa = NULL;
    work->ed = NULL;
    if (fresh.rsa && fresh.ed && !cache_find(shard, &work->domain)) {
        for (size_t i = 0; i < SIGN_CACHE_MAX; i++) {
            struct sign_entry *entry = &shard->sign_cache[i];
            if (entry->pins == 0 && (!place || entry->used < place->used)) {
                place = entry;
            }
        }
    }
    if (!place) {
        cache_free(&fresh);
        return;
    }
    cache_free(place);
    *place = fresh;
    place->used = ++shard->sign_clock;
}

static void cache_free(struct sign_entry *entry)
{
    sign_key_free(entry->rsa);
    sign_key_free(entry->ed);
    memset(entry, 0, sizeof(*entry));
}

void claim_forget_keys(struct shard *shard, struct id domain)
{
    bool is_all = id_is_none(domain);
    for (size_t i = 0; i < SIGN_CACHE_MAX; i++) {
        struct sign_entry *entry = &shard->sign_cache[i];
        if (!entry->rsa || !(is_all || id_equal(entry->domain, domain))) {
            continue;
        }
        CHECK_IF(is_all, entry->pins == 0);
        if (entry->pins == 0) {
            cache_free(entry);
        } else {
            entry->is_doomed = true;
        }
    }
}

/* ---- chunks --------------------------------------------------------------------------------- */

void claim_chunk(struct shard *shard, struct msg *msg)
{
    struct shard_chunk *body = &msg->body.chunk;
    struct row_chunk row;
    struct slice bytes;
    struct key key = key_chunk(body->account, body->mail, body->index);
    enum err err = shard_load(shard, &key, &msg->arena, &bytes);
    if (err == ERR_OK) {
        err = row_chunk_decode(bytes, &row);
    }
    if (err == ERR_OK) {
        body->data = row.data;
    }
    shard_answer(shard, msg, err);
}

/* ---- outcome -------------------------------------------------------------------------------- */

void claim_outcome(struct shard *shard, struct msg *msg)
{
    struct shard_outcome *body = &msg->body.outcome;
    struct erase_plan *erase = NULL;
    struct group group;
    struct row_mail mail;
    if (body->next_due_unix_ms == 0) {
        body->next_due_unix_ms = clock_unix_ms() + shard->place->conf->retry_first_ms;
    }
    enum err err = claim_load_group(shard, &body->entry, &msg->arena, &group);
    bool is_hook = (body->entry.group & HOOK_GROUP) != 0;
    if (err == ERR_OK && group.outbox.lease_boot != shard->place->boot) {
        err = ERR_CONFLICT; /* nobody claimed it in this run */
    }
    if (err == ERR_OK && body->verdict_count != 0 && body->verdict_count != group.open_count) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK) {
        err = shard_get_mail(shard, key_mail(body->entry.account, body->entry.mail), &msg->arena,
                             &mail);
    }
    if (err == ERR_OK && body->verdict_count > 0) {
        erase = retention_foresee(shard, &mail, body, &msg->arena);
    }
    if (err == ERR_OK && body->verdict_count > 0 && !is_hook) {
        err = settle_mail(shard, &mail, body);
    }
    if (err == ERR_OK && body->verdict_count == 0) {
        release_row(shard, body, &group);
    } else if (err == ERR_OK) {
        if (is_hook) {
            hook_settle(shard, &mail, body, &group);
        }
        write_outcome(shard, body, &group, &mail);
        if (erase) {
            erase_apply(shard, erase);
        }
    }
    shard_answer(shard, msg, err);
}

/* Nothing was tried: the number of this try is given back with the lease. */
static void release_row(struct shard *shard, const struct shard_outcome *body, struct group *group)
{
    const struct outbox_entry *entry = &body->entry;
    for (uint32_t i = 0; i < group->open_count; i++) {
        group->open[i].next_attempt_unix_ms = body->next_due_unix_ms;
        shard_put_delivery(shard, key_delivery(entry->account, entry->mail, group->indexes[i]),
                           &group->open[i]);
    }
    if (group->outbox.attempts > 0) {
        group->outbox.attempts--;
    }
    move_row(shard, entry, body->next_due_unix_ms, &group->outbox);
}

static void write_outcome(struct shard *shard, const struct shard_outcome *body,
                          struct group *group, struct row_mail *mail)
{
    const struct outbox_entry *entry = &body->entry;
    bool is_deferred = false;
    for (uint32_t i = 0; i < group->open_count; i++) {
        write_verdict(shard, body, group, mail, i);
        is_deferred = is_deferred || body->verdicts[i].class == VERDICT_DEFERRED;
        if (group->outbox.mode == REHEARSAL_NONE) {
            bounce_suppress(shard, entry->mail, group->open[i].recipient, &body->verdicts[i]);
        }
    }
    write_transcript(shard, body, group->outbox.attempts);
    if (is_deferred) {
        move_row(shard, entry, body->next_due_unix_ms, &group->outbox);
    } else {
        shard_delete(shard,
                     key_outbox(entry->due_unix_ms, entry->account, entry->mail, entry->group));
    }
    shard_put_mail(shard, key_mail(entry->account, entry->mail), mail);
}

static void write_verdict(struct shard *shard, const struct shard_outcome *body,
                          struct group *group, struct row_mail *mail, uint32_t n)
{
    const struct outbox_entry *entry = &body->entry;
    const struct verdict *verdict = &body->verdicts[n];
    struct row_delivery *delivery = &group->open[n];
    uint64_t now = clock_unix_ms();
    bool is_news = true;
    struct row_attempt attempt = {
        .started_unix_ms = body->started_unix_ms,
        .ended_unix_ms = now,
        .step = (uint8_t)verdict->step,
        .code = verdict->code,
        .enhanced = slice_str(verdict->enhanced),
        .response = slice_str(verdict->text),
        .remote_host = body->remote_host,
        .remote_addr = body->remote_addr,
        .tls = body->tls,
        .tls_policy = body->tls_policy,
        .source = body->source,
        .bounce_class = slice_str(bounce_traits(verdict->bounce)->word),
    };
    delivery->next_attempt_unix_ms = 0;
    switch (verdict->class) {
    case VERDICT_DELIVERED:
        attempt.outcome = ATTEMPT_DELIVERED;
        delivery->status = DELIVERY_DELIVERED;
        break;
    case VERDICT_DEFERRED:
        attempt.outcome = ATTEMPT_DEFERRED;
        is_news = delivery->status != DELIVERY_DEFERRED; /* one event however often it is put off */
        delivery->status = DELIVERY_DEFERRED;
        delivery->next_attempt_unix_ms = body->next_due_unix_ms;
        break;
    case VERDICT_BOUNCED:
        attempt.outcome = ATTEMPT_BOUNCED;
        delivery->status = delivery->kind == DELIVERY_WEBHOOK || bounce_is_ours(verdict)
                               ? DELIVERY_FAILED
                               : DELIVERY_BOUNCED;
        break;
    }
    delivery->attempts = group->outbox.attempts;
    delivery->last_code = verdict->code;
    delivery->last_response = attempt.response;
    delivery->enhanced = attempt.enhanced;
    delivery->bounce_class = attempt.bounce_class;
    delivery->remote_host = body->remote_host;
    delivery->tls = body->tls;
    delivery->updated_unix_ms = now;
    shard_put_attempt(
        shard, key_attempt(entry->account, entry->mail, group->indexes[n], group->outbox.attempts),
        &attempt);
    shard_put_delivery(shard, key_delivery(entry->account, entry->mail, group->indexes[n]),
                       delivery);
    if (is_news && delivery->kind == DELIVERY_SMTP) {
        bounce_tell(shard, mail, delivery->recipient, verdict);
    }
    if (verdict->has_complaint) {
        const struct complaint complaint = {
            .mail = mail,
            .index = group->indexes[n],
            .delivery = delivery,
            .text = SLICE("test: the recipient complained"),
            .is_rehearsed = true,
        };
        CHECK(group->outbox.mode != REHEARSAL_NONE);
        bounce_complain(shard, &complaint);
    }
}

static void write_transcript(struct shard *shard, const struct shard_outcome *body,
                             uint32_t attempt)
{
    const struct outbox_entry *entry = &body->entry;
    struct row_transcript row = {.text = slice_head(body->transcript, SMTP_TRANSCRIPT_MAX)};
    if (row.text.len > 0) {
        shard_put_transcript(
            shard, key_transcript(entry->account, entry->mail, entry->group, attempt), &row);
    }
}

/* Deletes before it puts: both keys may be the same. */
static void move_row(struct shard *shard, const struct outbox_entry *entry, uint64_t due_unix_ms,
                     const struct row_outbox *row)
{
    struct row_outbox moved = *row;
    struct outbox_entry next = *entry;
    next.due_unix_ms = due_unix_ms;
    next.domain = row->domain;
    next.priority = mail_priority_of(row->priority);
    next.pool = row->pool;
    moved.lease_boot = 0;
    moved.lease_until_unix_ms = 0;
    shard_delete(shard, key_outbox(entry->due_unix_ms, entry->account, entry->mail, entry->group));
    shard_put_outbox(shard, key_outbox(due_unix_ms, entry->account, entry->mail, entry->group),
                     &moved);
    shard_announce(shard, &next);
}

/* What becomes of the mail as a whole; a received one has arrived whether it is sent on or not.
 * Reads only; the caller writes the row. */
static enum err settle_mail(struct shard *shard, struct row_mail *mail,
                            const struct shard_outcome *body)
{
    uint32_t closed = 0;
    bool is_bounced = false;
    bool is_failed = false;
    for (uint32_t i = 0; i < body->verdict_count; i++) {
        const struct verdict *verdict = &body->verdicts[i];
        closed += verdict->class != VERDICT_DEFERRED;
        is_failed = is_failed || bounce_is_ours(verdict);
        is_bounced = is_bounced || (verdict->class == VERDICT_BOUNCED && !bounce_is_ours(verdict));
    }
    mail->open_count = closed < mail->open_count ? mail->open_count - closed : 0;
    if (mail->direction == DIRECTION_INBOUND) {
        return ERR_OK;
    }
    if (mail->open_count > 0) {
        if (closed < body->verdict_count) {
            mail->status = MAIL_DEFERRED;
        }
        return ERR_OK;
    }
    /* The rows of this group are not written yet; those of the others are as they will stay. */
    for (uint32_t i = 0; i < mail_rcpt_count(mail) && !is_bounced; i++) {
        struct row_delivery row;
        enum err err = shard_get_delivery(
            shard, key_delivery(body->entry.account, body->entry.mail, i), &shard->scratch, &row);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        is_bounced = row.status == DELIVERY_BOUNCED;
        is_failed = is_failed || (row.kind == DELIVERY_SMTP && row.status == DELIVERY_FAILED);
    }
    mail->status = is_bounced ? MAIL_BOUNCED : is_failed ? MAIL_FAILED : MAIL_DELIVERED;
    return ERR_OK;
}
