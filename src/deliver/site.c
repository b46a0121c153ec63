/* site.c - destinations: feedback, circuit, bookkeeping.
 *
 * A rate is kept in mails a minute and spent from a bucket of a second's worth, so that a minute's
 * mails never leave at its first moment. Many connections that are told the same at one moment are
 * one event: a cut holds for CUT_MS, and what is said meanwhile about mails that left before it
 * changes nothing.
 */
#include "deliver/site.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"

#define SITE_FAILURES_MAX 5
#define CLOSED_FIRST_MS   UINT64_C(30000)
#define CLOSED_MAX_MS     UINT64_C(1800000)
#define BLOCKED_FIRST_MS  UINT64_C(600000)
#define CUT_MS            UINT64_C(1000)
#define RISE_MS           UINT64_C(1000)
#define MINUTE_MS         UINT64_C(60000)
#define METER_MS          UINT64_C(5000)
#define CAP_AGAIN_MS      (5 * MINUTE_MS) /* a ceiling of connections is asked for again after */
#define RECORD_MS         (60 * MINUTE_MS)
#define MAIL_TOKENS       INT64_C(60000)
#define RISES_AT_ONCE     10 /* a slow site has an answer every ten seconds */
#define STEPS_MAX         8  /* doublings of the slow rise, one a minute without a cut */

struct site_table {
    struct site *by_name;
    uint32_t limit_max;
};

struct site_table *site_table_new(uint32_t limit_max)
{
    CHECK(limit_max > 0);
    struct site_table *table = mem_zalloc(sizeof *table);
    table->limit_max = limit_max;
    return table;
}

static void forget(struct site *site)
{
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        CHECK(list_is_empty(&site->lanes[i]));
        CHECK(list_is_empty(&site->ready[i]));
    }
    CHECK(list_is_empty(&site->idle_conns));
    CHECK(list_is_empty(&site->queue));
    CHECK(!heap_has(&site->wake));
    HASH_DEL(site->table->by_name, site);
    free(site);
}

void site_table_free(struct site_table *table)
{
    struct site *site;
    struct site *after;
    HASH_ITER(hh, table->by_name, site, after)
    {
        CHECK(site->dests == 0);
        CHECK(site->idle_count == 0);
        forget(site);
    }
    free(table);
}

/* ---- rules ---------------------------------------------------------------------------------- */

static uint32_t ceiling_of(const struct site *site)
{
    uint32_t max = site->table->limit_max;
    return site->rules.conns_max > 0 && site->rules.conns_max < max ? site->rules.conns_max : max;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Small beginnings: at birth, and after somebody stopped everything. */
static void begin(struct site *site)
{
    uint32_t start = site->rules.conns_start > 0 ? site->rules.conns_start : SITE_CONNS_START;
    site->limit = least(start, ceiling_of(site));
    site->rate = site->rules.rate_start > 0 ? site->rules.rate_start : site->rules.rate_max;
    site->tokens = MAIL_TOKENS;
}

static bool is_same(const struct site_rules *a, const struct site_rules *b)
{
    return a->conns_max == b->conns_max && a->conns_start == b->conns_start &&
           a->rate_max == b->rate_max && a->rate_start == b->rate_start &&
           a->mails_per_conn == b->mails_per_conn && a->rcpts_max == b->rcpts_max &&
           a->pause_ms == b->pause_ms && a->is_provider == b->is_provider;
}

void site_set_rules(struct site *site, const struct site_rules *rules)
{
    bool had_rate = site->rate != 0;
    if (is_same(&site->rules, rules)) {
        return;
    }
    site->rules = *rules;
    site->limit = least(site->limit, ceiling_of(site));
    if (rules->rate_max > 0) {
        site->rate = had_rate ? least(site->rate, rules->rate_max) : rules->rate_max;
    } else if (site->rate_bad == 0) {
        site->rate = 0; /* the old policy's, not the host's */
    }
}

struct site *site_find(const struct site_table *table, struct slice name)
{
    struct site *site;
    size_t len = min_size(name.len, SITE_NAME_MAX - 1);
    HASH_FIND(hh, table->by_name, name.data, (unsigned)len, site);
    return site;
}

struct site *site_get(struct site_table *table, struct slice name, const struct site_rules *rules)
{
    struct site *site = site_find(table, name);
    size_t len = min_size(name.len, SITE_NAME_MAX - 1);
    if (site != NULL) {
        return site;
    }
    site = mem_zalloc(sizeof *site);
    memcpy(site->name, name.data, len);
    site->table = table;
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        list_init(&site->lanes[i]);
        list_init(&site->ready[i]);
    }
    list_init(&site->idle_conns);
    list_init(&site->queue);
    list_init(&site->lanes_all);
    if (rules != NULL) {
        site->rules = *rules;
    }
    begin(site);
    HASH_ADD_KEYPTR(hh, table->by_name, site->name, (unsigned)len, site);
    return site;
}

static bool has_record(const struct site *site)
{
    return site->failures > 0 || site->rate_bad > 0 || site->limit_bad > 0 || site->is_held ||
           site->alone_until_ms > 0;
}

void site_put(struct site *site)
{
    uint32_t due = site->due[PRIORITY_TRANSACTIONAL] + site->due[PRIORITY_BULK];
    if (due > 0 || site->dests > 0 || site->open > 0 || site->idle_count > 0) {
        return;
    }
    /* A record is worth its bytes only while the table has room; the operator's word always. */
    bool is_full = HASH_COUNT(site->table->by_name) > SITE_MAX;
    if (!has_record(site) || (is_full && !site->is_held)) {
        forget(site);
    }
}

/* ---- admission ------------------------------------------------------------------------------ */

static void fill_tokens(struct site *site, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms > site->tokens_ms ? now_ms - site->tokens_ms : 0;
    int64_t most = (int64_t)max_u64(site->rate * RISE_MS, (uint64_t)MAIL_TOKENS);
    site->tokens_ms = now_ms;
    site->tokens += (int64_t)(min_u64(passed_ms, 2 * MINUTE_MS) * site->rate);
    if (site->tokens > most) {
        site->tokens = most;
    }
}

uint64_t site_admits_ms(struct site *site, enum mail_priority priority, uint64_t now_ms)
{
    if (site->is_held) {
        return SITE_NEVER;
    }
    if (site->closed_until_ms != 0) {
        if (now_ms < site->closed_until_ms && !site->is_ending_old) {
            return site->closed_until_ms;
        }
        return site->open == 0 ? 0 : SITE_NEVER; /* one probe */
    }
    uint32_t spared = priority == PRIORITY_BULK && site->limit > 1 ? site->limit : 0;
    if (site->open + spared >= site->limit * SITE_TRIPS_PER_CONN) {
        return SITE_NEVER;
    }
    if (site->rate == 0) {
        return 0;
    }
    fill_tokens(site, now_ms);
    if (site->tokens >= MAIL_TOKENS) {
        return 0;
    }
    site->is_rate_bound = true;
    uint64_t missing = (uint64_t)(MAIL_TOKENS - site->tokens);
    return now_ms + missing / site->rate + 1;
}

void site_take(struct site *site, uint64_t now_ms)
{
    site->open += 1;
    site_spend(site, now_ms);
}

void site_spend(struct site *site, uint64_t now_ms)
{
    if (site->rate > 0 && site->closed_until_ms == 0) {
        fill_tokens(site, now_ms);
        site->tokens -= MAIL_TOKENS;
    }
}

/* ---- what was taken ------------------------------------------------------------------------- */

static void count_good(struct site *site, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms - site->meter_ms;
    if (passed_ms >= METER_MS) {
        uint64_t rate = site->meter_count * MINUTE_MS / passed_ms;
        site->meter_before = site->meter_ms == 0 ? 0 : (uint32_t)min_u64(rate, UINT32_MAX);
        site->meter_ms = now_ms;
        site->meter_count = 0;
    }
    site->meter_count += 1;
    site->good_total += 1;
}

/* Mails a minute, as far as one can say. */
static uint32_t measured(const struct site *site, uint64_t now_ms)
{
    uint64_t passed_ms = max_u64(now_ms - site->meter_ms, RISE_MS);
    uint64_t now_rate = site->meter_count * MINUTE_MS / passed_ms;
    return (uint32_t)min_u64(max_u64(now_rate, site->meter_before), UINT32_MAX / 2);
}

uint32_t site_per_min(const struct site *site, uint64_t now_ms)
{
    if (site->meter_ms == 0 || now_ms - site->meter_ms > MINUTE_MS) {
        return 0; /* what was measured before says nothing of today */
    }
    uint32_t rate = measured(site, now_ms);
    return site->rate > 0 ? least(rate, site->rate) : rate;
}

/* ---- feedback ------------------------------------------------------------------------------- */

/* Quickly up to where it went wrong, slowly beyond, and bolder with every minute that is good. One
 * that was never told anything doubles in a quarter of a minute. */
static uint32_t rise_of(const struct site *site, uint64_t now_ms)
{
    if (site->rate_bad == 0) {
        return site->rate / 20 + 1;
    }
    if (site->rate < site->rate_bad / 10 * 9) {
        return site->rate_bad / 40 + 1;
    }
    uint64_t minutes = min_u64((now_ms - site->rate_cut_ms) / MINUTE_MS, STEPS_MAX);
    return (site->rate_bad / 200 + 1) << minutes;
}

static void rise(struct site *site, uint64_t now_ms)
{
    uint32_t ceiling = site->rules.rate_max;
    if (site->rate_bad > 0 && now_ms - site->rate_cut_ms > RECORD_MS) {
        site->rate_bad = 0;
        site->rate = ceiling; /* an hour of peace: it may be asked for everything again */
    }
    uint64_t steps = (now_ms - max_u64(site->rate_rise_ms, site->rate_cut_ms)) / RISE_MS;
    if (site->rate == 0 || !site->is_rate_bound || steps == 0) {
        return;
    }
    site->rate_rise_ms = now_ms;
    site->is_rate_bound = false;
    uint64_t rate = site->rate + min_u64(steps, RISES_AT_ONCE) * rise_of(site, now_ms);
    site->rate = (uint32_t)min_u64(rate, RATE_PER_MIN_MAX);
    if (ceiling > 0 && site->rate > ceiling) {
        site->rate = ceiling;
    }
}

static void on_good(struct site *site, uint64_t now_ms)
{
    site->failures = 0;
    site->closed_until_ms = 0;
    count_good(site, now_ms);
    if (site->limit_bad > 0 && now_ms - site->limit_cut_ms > CAP_AGAIN_MS) {
        site->limit_bad = 0;
    }
    uint32_t ceiling = ceiling_of(site);
    if (site->limit_bad > 0 && site->limit_bad - 1 < ceiling) {
        ceiling = site->limit_bad > 1 ? site->limit_bad - 1 : 1;
    }
    site->limit += site->limit < ceiling ? 1 : 0;
    rise(site, now_ms);
}

static void open_circuit(struct site *site, uint64_t first_ms, uint64_t now_ms)
{
    if (site->failures < SITE_FAILURES_MAX) {
        return;
    }
    uint32_t doublings = site->failures - SITE_FAILURES_MAX;
    uint64_t pause_ms = doublings > 6 ? CLOSED_MAX_MS : first_ms << doublings;
    site->closed_until_ms = now_ms + min_u64(pause_ms, CLOSED_MAX_MS);
}

static uint64_t pause_of(const struct site *site)
{
    return site->rules.pause_ms > 0 ? site->rules.pause_ms : CLOSED_FIRST_MS;
}

static void on_throttled(struct site *site, uint64_t now_ms)
{
    site->throttled_total += 1;
    if (site->rate_cut_ms != 0 && now_ms - site->rate_cut_ms < CUT_MS) {
        return; /* these left before it slowed down */
    }
    uint32_t rate = site->rate > 0 ? site->rate : measured(site, now_ms);
    site->rate_bad = rate > SITE_RATE_MIN ? rate : SITE_RATE_MIN;
    site->rate = rate / 2 > SITE_RATE_MIN ? rate / 2 : SITE_RATE_MIN;
    site->rate_cut_ms = now_ms;
    site->tokens = least(site->rate / 60, 1) * MAIL_TOKENS;
    site->tokens_ms = now_ms;
    site->is_rate_bound = false;
    site->failures += 1;
    open_circuit(site, pause_of(site), now_ms);
}

static void on_crowded(struct site *site, uint64_t now_ms)
{
    if (site->limit_bad > 0 && now_ms - site->limit_cut_ms < CUT_MS) {
        return;
    }
    if (site->limit == 1 || site->closed_until_ms != 0) {
        site->failures += 1; /* even one is too many: others of ours, or a host in trouble */
        site->limit_cut_ms = now_ms;
        open_circuit(site, pause_of(site), now_ms);
        return;
    }
    site->limit_bad = site->limit;
    site->limit_cut_ms = now_ms;
    site->limit -= site->limit >= 4 ? site->limit / 4 : 1;
}

static void on_failed(struct site *site, uint64_t first_ms, uint32_t weight, uint64_t now_ms)
{
    site->failures += weight;
    site->limit = site->limit > 1 ? site->limit / 2 : 1;
    open_circuit(site, first_ms, now_ms);
}

void site_feedback(struct site *site, enum feedback feedback, const char *reason, uint64_t now_ms)
{
    CHECK(site->limit >= 1);
    CHECK(site->limit <= site->table->limit_max);
    if (feedback > FEEDBACK_NONE) {
        (void)snprintf(site->reason, sizeof site->reason, "%s", reason); /* cut to fit */
        site->failed_ms = now_ms;
        if (now_ms < site->closed_until_ms) {
            return; /* begun before the circuit opened: the same event, not one more probe */
        }
    }
    site->is_ending_old = false;
    switch (feedback) {
    case FEEDBACK_GOOD:
        on_good(site, now_ms);
        break;
    case FEEDBACK_NONE:
        site->failures = 0; /* it answered */
        site->closed_until_ms = 0;
        break;
    case FEEDBACK_CROWDED:
        on_crowded(site, now_ms);
        break;
    case FEEDBACK_THROTTLED:
        on_throttled(site, now_ms);
        break;
    case FEEDBACK_FAILED:
        on_failed(site, pause_of(site), 1, now_ms);
        break;
    case FEEDBACK_BLOCKED:
        on_failed(site, BLOCKED_FIRST_MS, 2, now_ms);
        break;
    case FEEDBACK_COUNT:
        break;
    }
}

void site_end_old(struct site *site)
{
    CHECK(site->closed_until_ms != 0);
    site->is_ending_old = true;
}

void site_conn_ended(struct site *site, uint32_t mails)
{
    if (mails > 0 && mails < site_mails_per_conn(site)) {
        site->mails_per_conn = mails;
    }
}

uint32_t site_mails_per_conn(const struct site *site)
{
    uint32_t most = site->rules.mails_per_conn > 0 ? site->rules.mails_per_conn : MAILS_PER_CONN;
    return site->mails_per_conn > 0 ? least(most, site->mails_per_conn) : most;
}

void site_hold(struct site *site)
{
    site->is_held = true;
}

void site_release(struct site *site, uint64_t now_ms)
{
    if (!site->is_held) {
        return;
    }
    site->is_held = false;
    site_reset(site, now_ms);
}

void site_reset(struct site *site, uint64_t now_ms)
{
    site->failures = 0;
    site->closed_until_ms = 0;
    begin(site);
    site->limit = 1;
    site->tokens_ms = now_ms;
}

/* ---- walking -------------------------------------------------------------------------------- */

uint32_t site_table_count(const struct site_table *table)
{
    return HASH_COUNT(table->by_name);
}

struct site *site_table_next(const struct site_table *table, const struct site *site)
{
    return site == NULL ? table->by_name : site->hh.next;
}

uint32_t site_table_closed(const struct site_table *table, uint64_t now_ms)
{
    uint32_t count = 0;
    for (struct site *site = table->by_name; site != NULL; site = site->hh.next) {
        count += site->is_held || site->closed_until_ms > now_ms;
    }
    return count;
}

struct site *site_table_idle(const struct site_table *table)
{
    for (struct site *site = table->by_name; site != NULL; site = site->hh.next) {
        if (site->idle_count > 0) {
            return site;
        }
    }
    return NULL;
}
