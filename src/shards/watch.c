/* watch.c - once a day, each domain that may send is looked up again.
 *
 *      timer --> worker: a page of those whose last check is a day old --> DELIVER_VERIFY
 *        home: all is well --> flags of the row
 *              it is not   --> since when; WATCH_GRACE_MS later the domain may not send any more
 *
 * Few at a time, so that a server that was off for a day does not ask for everything at once; and a
 * little before the day is over, each domain by another while, so that what was verified together
 * drifts apart. What delivery does not answer, or only in part, is asked again with the next sweep.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

#define DRIFT_MS (UINT64_C(2) * 3600 * 1000)

static void on_timer(struct timer *timer);
static void find_work(struct shard_job *job);
static void find_done(struct shard_job *job);
static void look_on(struct shard *shard);
static bool look_at(struct shard *shard, struct id domain);

void watch_start(struct shard *shard)
{
    timer_init(&shard->watch.timer, shard->actor.loop, on_timer);
    timer_start(&shard->watch.timer, WATCH_FIRST_MS);
}

void watch_stop(struct shard *shard)
{
    if (shard->family != KV_FAMILY_DELIVER && shard->is_started) {
        timer_stop(&shard->watch.timer);
    }
}

static void on_timer(struct timer *timer)
{
    struct watch *watch = CONTAINER_OF(timer, struct watch, timer);
    struct shard *shard = CONTAINER_OF(watch, struct shard, watch);
    timer_start(timer, SWEEP_MS);
    if (!watch->is_running && !shard->is_draining) {
        watch->is_running = true;
        watch->from = key_prefix_all_domains();
        shard_offload(shard, &watch->job, find_work, find_done);
    }
}

/* ---- finding -------------------------------------------------------------------------------- */

static bool is_due(const struct row_domain *row, struct slice sandbox, uint64_t now)
{
    uint64_t drift =
        crypto_crc32(0, slice_of(row->id.bytes, sizeof(row->id.bytes))) % (uint32_t)DRIFT_MS;
    return row->status == DOMAIN_VERIFIED &&
           now >= row->checked_unix_ms + WATCH_PERIOD_MS - drift &&
           !(sandbox.len > 0 && slice_equal(sandbox, row->name));
}

/* Worker. One page; the loop keeps off the watch while it runs. */
static void find_work(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct watch *watch = &shard->watch;
    struct key all = key_prefix_all_domains();
    struct key to = key_after(&all);
    struct slice key;
    struct slice value;
    uint64_t now = clock_unix_ms();
    watch->count = 0;
    watch->next = 0;
    watch->has_more = false;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&watch->from), key_slice(&to), false);
    while (kv_iter_next(iter, &key, &value)) {
        struct row_domain row;
        if (row_domain_decode(value, &row) != ERR_OK ||
            !is_due(&row, shard->place->conf->sandbox_domain, now)) {
            continue;
        }
        if (watch->count == WATCH_PAGE) {
            CHECK(key.len < KEY_MAX);
            memcpy(watch->from.bytes, key.data, key.len);
            watch->from.len = (uint16_t)key.len;
            watch->has_more = true;
            break;
        }
        watch->domains[watch->count++] = row.id;
    }
    watch->err = watch->has_more ? ERR_OK : kv_iter_err(iter);
    kv_iter_close(iter);
}

static void find_done(struct shard_job *job)
{
    struct shard *shard = job->shard;
    if (shard->watch.err != ERR_OK) {
        LOG_ERROR("domain.watch", LOG_U64("family", shard->family), LOG_ERR(shard->watch.err));
    }
    look_on(shard);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* As many as may be out; then the next page, or the end. */
static void look_on(struct shard *shard)
{
    struct watch *watch = &shard->watch;
    while (watch->next < watch->count && watch->open < WATCH_OPEN_MAX && !shard->is_draining) {
        if (!look_at(shard, watch->domains[watch->next++])) {
            watch->next = watch->count; /* no message is free: the next sweep goes on */
            watch->has_more = false;
        }
    }
    if (watch->open > 0) {
        return;
    }
    if (watch->has_more && !shard->is_draining) {
        shard_offload(shard, &watch->job, find_work, find_done);
    } else {
        watch->is_running = false;
    }
}

/* False when there is no message to ask with. A domain that is gone is nothing to look at. */
static bool look_at(struct shard *shard, struct id domain)
{
    const struct conf *conf = shard->place->conf;
    char own[CONF_URL_MAX];
    struct row_domain row;
    struct key key = key_domain(id_account(domain), domain);
    enum err err = shard_get_domain(shard, key, &shard->scratch, &row);
    if (err != ERR_OK || row.status != DOMAIN_VERIFIED) {
        return true;
    }
    struct msg *msg = msg_take(&shard->actor, MSG_DELIVER_VERIFY);
    if (msg == NULL) {
        return false;
    }
    deliver_verify_fill(&msg->body.verify, &row, conf, conf_asked_url(conf, own), &msg->arena);
    shard->watch.open++;
    shard->lookups_open++; /* the shard is not idle before it is home */
    actor_post(shard->place->deliver, msg);
    return true;
}

/* ---- judging -------------------------------------------------------------------------------- */

static void note(struct shard *shard, const struct row_domain *row, const char *action)
{
    struct audit_note line = {
        .account = id_account(row->id),
        .action = action,
        .detail = row->name,
    };
    shard_audit_id(shard, &line, ID_DOMAIN, row->id);
    LOG_INFO("domain.watched", LOG_ID("domain", ID_DOMAIN, row->id), LOG_STR("action", action));
}

static void set_flags(struct row_domain *row, const struct domain_checks *checks)
{
    row->spf_verified = checks->spf;
    row->dkim_rsa_verified = checks->dkim_rsa;
    row->dkim_ed_verified = checks->dkim_ed;
}

/* What it signs with and whether it may send stays as it is until the grace is over. */
static void judge_sending(struct shard *shard, struct row_domain *row,
                          const struct domain_checks *checks)
{
    uint64_t now = row->checked_unix_ms;
    if (domain_may_send(checks)) {
        set_flags(row, checks);
        if (row->failing_unix_ms != 0) {
            row->failing_unix_ms = 0;
            note(shard, row, "domain.recovered");
        }
    } else if (row->failing_unix_ms == 0) {
        row->failing_unix_ms = now;
        note(shard, row, "domain.failing");
    } else if (now >= row->failing_unix_ms + WATCH_GRACE_MS) {
        set_flags(row, checks);
        row->status = DOMAIN_FAILED;
        note(shard, row, "domain.failed");
    }
}

static void judge(struct shard *shard, struct deliver_verify *verify)
{
    struct domain_checks *checks = &verify->checks;
    struct key key = key_domain(id_account(verify->id), verify->id);
    struct row_domain row;
    enum err err = shard_get_domain(shard, key, &shard->scratch, &row);
    if (err != ERR_OK || row.status != DOMAIN_VERIFIED) {
        return; /* deleted, or judged by hand meanwhile */
    }
    if (!claim_has_account(shard, id_account(verify->id))) {
        return; /* an import that may be taken back: nothing is to be written beside it */
    }
    domain_count_next(&row, checks);
    if (verify->has_gaps && !domain_may_send(checks)) {
        return; /* nobody knows */
    }
    if (verify->has_gaps) {
        domain_keep_known(&row, checks);
    }
    row.checked_unix_ms = clock_unix_ms();
    row.health = verify->health;
    row.health_unix_ms = row.checked_unix_ms;
    row.mx_verified = checks->mx;
    row.dmarc_verified = checks->dmarc;
    row.return_path_verified = checks->return_path;
    row.track_verified = checks->track && row.track_host.len > 0;
    judge_sending(shard, &row, checks);
    if (domain_switch_keys(&row, checks)) {
        note(shard, &row, "domain.dkim_rotated");
    }
    shard_put_domain(shard, key, &row);
}

void watch_home(struct shard *shard, struct msg *msg)
{
    CHECK(shard->watch.open > 0);
    CHECK(shard->lookups_open > 0);
    shard->watch.open--;
    shard->lookups_open--;
    if (msg->err == ERR_OK) {
        judge(shard, &msg->body.verify);
    }
    msg_put(&shard->actor, msg);
    look_on(shard);
}
