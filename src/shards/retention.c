/* retention.c - mails that have been kept for as long as they were to be kept.
 *
 *      EXPIRE, start --> page of mails found on a worker --> looked at again, erased --> next page
 *      last outcome of a mail of a domain that keeps nothing --> erased in the outcome's batch
 *
 * How long: as the mail's domain says, or its account, or the server; 0 days ask the next one, and
 * those of the server are for ever. Ids begin with their time, so the mails that are too old are
 * the first of an account. A mail with an open delivery stays until that has ended, and is found
 * another day.
 *
 * Each mail goes whole, in one batch, and the place of the sweep is in memory only: after a restart
 * it begins again and finds what is left.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/erase.h"
#include "shards/shard_int.h"

#include <stdlib.h>
#include <string.h>

#define DAY_MS           UINT64_C(86400000)
#define SWEEP_ROWS_MAX   4096 /* looked at in one page */
#define RULES_ARENA      (4 * MIB)
#define HOOKS_BYTES_MAX  (64 * MIB)
#define HOOKS_BYTES_PAGE (64 * KIB) /* no further mail once a page has found so many */

/* What a domain says. */
struct rule {
    struct id domain;
    uint32_t days;
    bool keeps_nothing;
};

/* What an account and its domains say. */
struct rules {
    uint32_t days; /* of mails whose domain says nothing; 0: for ever */
    struct rule *items;
    uint32_t count;
};

static void sweep_work(struct shard_job *job);
static void sweep_done(struct shard_job *job);
static enum err read_accounts(struct shard *shard, uint32_t *seen);
static enum err read_account(struct shard *shard, const struct row_account *account,
                             uint32_t *seen);
static enum err read_rules(const struct shard *shard, const struct row_account *account,
                           struct arena *arena, struct rules *rules);
static enum err read_mails(struct shard *shard, struct account_id account,
                           const struct rules *rules, uint32_t *seen);
static enum err read_hooks(struct shard *shard, struct id mail);
static bool erase_one(struct shard *shard, const struct retention_find *find,
                      const struct id *hooks);

/* ---- the rule ------------------------------------------------------------------------------- */

static uint32_t days_of(const struct shard *shard, const struct row_account *account)
{
    uint64_t fallback = shard->place->conf->retention_days;
    return account->retention_days != 0 ? account->retention_days : (uint32_t)fallback;
}

static bool is_over(const struct row_mail *mail, const struct rule *rule, uint64_t now_unix_ms)
{
    if (mail->open_count > 0 || mail->hook_open > 0) {
        return false;
    }
    /* One that went nowhere from here is what the domain's days are for. */
    if (rule->keeps_nothing && mail->direction == DIRECTION_INBOUND && mail->delivery_count > 0) {
        return true;
    }
    return rule->days != 0 && id_unix_ms(mail->id) + rule->days * DAY_MS <= now_unix_ms;
}

static struct rule rule_of(const struct rules *rules, struct id domain)
{
    struct rule rule = {.domain = domain, .days = rules->days};
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct rule *own = &rules->items[i];
        if (id_equal(own->domain, domain)) {
            rule.days = own->days != 0 ? own->days : rule.days;
            rule.keeps_nothing = own->keeps_nothing;
        }
    }
    return rule;
}

/* As it is now, on the loop. */
static enum err current_rule(struct shard *shard, const struct row_mail *mail, struct rule *rule)
{
    struct row_account account;
    struct row_domain domain = {.retention_days = 0};
    struct account_id id = id_account(mail->id);
    enum err err = shard_get_account(shard, key_account(id), &shard->scratch, &account);
    if (err == ERR_OK && !id_is_none(mail->domain)) {
        err = shard_get_domain(shard, key_domain(id, mail->domain), &shard->scratch, &domain);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err == ERR_OK) {
        *rule = (struct rule){
            .domain = mail->domain,
            .days = domain.retention_days != 0 ? domain.retention_days : days_of(shard, &account),
            .keeps_nothing = domain.is_zero_retention,
        };
    }
    return err;
}

/* ---- the sweep, on a worker ----------------------------------------------------------------- */

void retention_sweep(struct shard *shard)
{
    struct retention_sweep *sweep = &shard->retention;
    if (sweep->is_running || shard->is_draining) {
        return;
    }
    sweep->is_running = true;
    sweep->account = (struct account_id){0};
    sweep->after = (struct id){.bytes = {0}};
    sweep->erased = 0;
    shard_offload(shard, &sweep->job, sweep_work, sweep_done);
}

/* One page; the loop keeps off the sweep while it runs. */
static void sweep_work(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct retention_sweep *sweep = &shard->retention;
    uint32_t seen = 0;
    sweep->count = 0;
    sweep->has_more = false;
    buf_init(&sweep->hooks, HOOKS_BYTES_MAX);
    sweep->err = read_accounts(shard, &seen);
}

static bool is_page_full(const struct retention_sweep *sweep, uint32_t seen)
{
    return sweep->count == RETENTION_PAGE || sweep->hooks.len >= HOOKS_BYTES_PAGE ||
           seen >= SWEEP_ROWS_MAX;
}

/* From the account at which the page before this one ended. */
static enum err read_accounts(struct shard *shard, uint32_t *seen)
{
    struct retention_sweep *sweep = &shard->retention;
    struct key all = key_prefix_accounts();
    struct key from = key_account(sweep->account);
    struct key to = key_after(&all);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    while (err == ERR_OK && !sweep->has_more && kv_iter_next(iter, &key, &value)) {
        struct row_account row;
        if (row_account_decode(value, &row) != ERR_OK) {
            LOG_ERROR("retention.damaged", LOG_STR("row", "account"));
            continue;
        }
        if (row.id.value != sweep->account.value) {
            sweep->account = row.id;
            sweep->after = (struct id){.bytes = {0}};
        }
        *seen += 1;
        sweep->has_more = is_page_full(sweep, *seen);
        if (!sweep->has_more) {
            err = read_account(shard, &row, seen);
        }
    }
    if (err == ERR_OK && !sweep->has_more) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    return err;
}

static enum err read_account(struct shard *shard, const struct row_account *account, uint32_t *seen)
{
    struct arena arena;
    struct rules rules = {.days = days_of(shard, account)};
    arena_init(&arena, KIB, RULES_ARENA);
    enum err err = read_rules(shard, account, &arena, &rules);
    *seen += rules.count;
    if (err == ERR_OK && (rules.days != 0 || rules.count > 0)) {
        err = read_mails(shard, account->id, &rules, seen);
    }
    arena_fini(&arena);
    return err;
}

/* Those domains that say something. */
static enum err read_rules(const struct shard *shard, const struct row_account *account,
                           struct arena *arena, struct rules *rules)
{
    struct key from = key_prefix_domains(account->id);
    struct key to = key_after(&from);
    struct slice key;
    struct slice value;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    while (rules->count < 2 * DOMAINS_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        struct row_domain row;
        if (row_domain_decode(value, &row) != ERR_OK) {
            LOG_ERROR("retention.damaged", LOG_STR("row", "domain"));
            continue;
        }
        if (row.retention_days == 0 && !row.is_zero_retention) {
            continue;
        }
        if (!rules->items) {
            rules->items = arena_array(arena, 2 * DOMAINS_PER_ACCOUNT, sizeof(*rules->items));
        }
        rules->items[rules->count++] = (struct rule){
            .domain = row.id,
            .days = row.retention_days,
            .keeps_nothing = row.is_zero_retention,
        };
    }
    enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err;
}

/* Where the mails begin that no rule of the account can mean: an id of that moment. */
static struct key horizon(struct account_id account, const struct rules *rules, uint64_t now)
{
    uint32_t days = rules->days != 0 ? rules->days : UINT32_MAX;
    struct id id = {.bytes = {0}};
    for (uint32_t i = 0; i < rules->count; i++) {
        uint32_t own = rules->items[i].keeps_nothing ? 0 : rules->items[i].days;
        days = own < days ? own : days;
    }
    uint64_t at = days * DAY_MS <= now ? now - days * DAY_MS + 1 : 0;
    for (int i = 0; i < 6; i++) {
        id.bytes[i] = (uint8_t)(at >> (8 * (5 - i)));
    }
    return key_mail(account, id);
}

static enum err read_mails(struct shard *shard, struct account_id account,
                           const struct rules *rules, uint32_t *seen)
{
    struct retention_sweep *sweep = &shard->retention;
    uint64_t now = clock_unix_ms();
    struct key last = key_mail(account, sweep->after);
    struct key from = key_after(&last);
    struct key to = horizon(account, rules, now);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    if (slice_compare(key_slice(&from), key_slice(&to)) >= 0) {
        return ERR_OK;
    }
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    while (err == ERR_OK && !sweep->has_more && kv_iter_next(iter, &key, &value)) {
        struct row_mail row;
        *seen += 1;
        if (row_mail_decode(value, &row) != ERR_OK) {
            LOG_ERROR("retention.damaged", LOG_STR("row", "mail"), LOG_ACCOUNT("account", account));
            continue;
        }
        struct rule rule = rule_of(rules, row.domain);
        sweep->after = row.id;
        if (is_over(&row, &rule, now)) {
            struct retention_find *find = &sweep->finds[sweep->count++];
            find->mail = row.id;
            find->delivery_count = row.delivery_count;
            find->hooks_at = sweep->hooks.len;
            bool may_have = row.hook_count > 0 || row.direction == DIRECTION_INBOUND;
            err = may_have ? read_hooks(shard, row.id) : ERR_OK;
            find->hook_count = (uint32_t)((sweep->hooks.len - find->hooks_at) / sizeof(struct id));
        }
        sweep->has_more = is_page_full(sweep, *seen);
    }
    if (err == ERR_OK && !sweep->has_more) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    return err;
}

static enum err read_hooks(struct shard *shard, struct id mail)
{
    struct retention_sweep *sweep = &shard->retention;
    struct key from = key_prefix_deliveries(id_account(mail), mail);
    struct key to = key_after(&from);
    struct slice key;
    struct slice value;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    while (kv_iter_next(iter, &key, &value)) {
        struct row_delivery row;
        if (row_delivery_decode(value, &row) == ERR_OK && erase_has_ref(&row)) {
            buf_add_bytes(&sweep->hooks, row.id.bytes, sizeof(row.id.bytes));
        }
    }
    enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err == ERR_OK ? buf_err(&sweep->hooks) : err;
}

/* ---- the sweep, on the loop ----------------------------------------------------------------- */

static void sweep_done(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct retention_sweep *sweep = &shard->retention;
    sweep->is_running = false;
    for (uint32_t i = 0; sweep->err == ERR_OK && i < sweep->count; i++) {
        const struct retention_find *find = &sweep->finds[i];
        struct id *hooks =
            arena_array(&shard->scratch, find->hook_count, sizeof(*hooks)); /* aligned */
        if (find->hook_count > 0) {
            memcpy(hooks, sweep->hooks.data + find->hooks_at, find->hook_count * sizeof(*hooks));
        }
        sweep->erased += erase_one(shard, find, hooks);
    }
    buf_fini(&sweep->hooks);
    if (sweep->err != ERR_OK) {
        LOG_ERROR("retention.sweep", LOG_U64("family", shard->family), LOG_ERR(sweep->err));
    } else if (sweep->has_more && !shard->is_draining) {
        sweep->is_running = true;
        shard_offload(shard, &sweep->job, sweep_work, sweep_done);
    } else if (sweep->erased > 0) {
        LOG_INFO("retention.swept", LOG_U64("family", shard->family),
                 LOG_U64("mails", sweep->erased));
    }
}

/* What the worker saw may be old: a delivery that was asked for again keeps its mail, and so does
 * a rule that was changed. */
static bool erase_one(struct shard *shard, const struct retention_find *find,
                      const struct id *hooks)
{
    struct row_mail mail;
    struct rule rule;
    struct erase_plan plan;
    enum err err =
        shard_get_mail(shard, key_mail(id_account(find->mail), find->mail), &shard->scratch, &mail);
    if (err == ERR_OK) {
        err = current_rule(shard, &mail, &rule);
    }
    if (err == ERR_OK &&
        (mail.delivery_count != find->delivery_count || !is_over(&mail, &rule, clock_unix_ms()))) {
        return false;
    }
    if (err == ERR_OK) {
        err = erase_plan(shard, &mail, &shard->scratch, &plan);
    }
    if (err != ERR_OK) {
        if (err != ERR_NOT_FOUND) {
            LOG_ERROR("retention.erase", LOG_ID("message", ID_MESSAGE, find->mail), LOG_ERR(err));
        }
        return false;
    }
    plan.hooks = hooks;
    plan.hook_count = find->hook_count;
    erase_apply(shard, &plan);
    return true;
}

/* ---- domains that keep nothing -------------------------------------------------------------- */

struct erase_plan *retention_foresee(struct shard *shard, const struct row_mail *mail,
                                     const struct shard_outcome *outcome, struct arena *arena)
{
    struct row_domain domain;
    uint32_t open = mail->open_count + mail->hook_open;
    if (mail->direction != DIRECTION_INBOUND || open > outcome->verdict_count) {
        return NULL;
    }
    for (uint32_t i = 0; i < outcome->verdict_count; i++) {
        if (outcome->verdicts[i].class == VERDICT_DEFERRED) {
            return NULL;
        }
    }
    struct erase_plan *plan = arena_alloc(arena, sizeof(*plan));
    enum err err = shard_get_domain(shard, key_domain(id_account(mail->id), mail->domain),
                                    &shard->scratch, &domain);
    if (err == ERR_NOT_FOUND || (err == ERR_OK && !domain.is_zero_retention)) {
        return NULL;
    }
    if (err == ERR_OK) {
        err = erase_plan(shard, mail, arena, plan);
    }
    if (err == ERR_OK) {
        err = erase_find_hooks(shard, mail, arena, plan);
    }
    if (err != ERR_OK) {
        /* The outcome is worth more; the next sweep finds the mail. */
        LOG_ERROR("retention.foresee", LOG_ID("message", ID_MESSAGE, mail->id), LOG_ERR(err));
        return NULL;
    }
    return plan;
}
