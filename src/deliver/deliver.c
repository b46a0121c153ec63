/* deliver.c - the delivery actor: one switch, admission, expiry, drain. */
#include "deliver/deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "deliver/attempt_dns.h"
#include "deliver/attempt_hook.h"
#include "deliver/deliver_int.h"
#include "deliver/explain.h"
#include "deliver/queue.h"
#include "deliver/trip.h"
#include "deliver/trip_trace.h"

#define PUMP_MAX_MS     60000 /* the wall clock may jump: look at least this often */
#define PUMP_BUSY_MS    10000 /* while something is queued, so that its age is known */
#define EXPIRE_EVERY_MS 3600000
#define PASSWORD_BYTES  4096
#define TRIPS_PER_PUMP  64 /* then sockets get their turn */

static void on_msg(struct actor *actor, struct msg *msg);
static void on_grouped(struct group_finder *finder);
static void on_due(struct timer *timer);
static void on_daily(struct timer *timer);
static void on_drain_due(struct timer *timer);
static void on_drained(struct actor *actor);

/* ---- smarthost ------------------------------------------------------------------------------ */

static enum smtp_tls tls_of(struct slice text)
{
    static const char *const names[] = {"none", "may", "require", "implicit"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal(text, slice_str(names[i]))) {
            return (enum smtp_tls)i;
        }
    }
    fatal("smarthost_tls is none, may, require or implicit, not \"%.*s\"", SLICE_FMT(text));
}

static void read_password(struct deliver *deliver, struct slice path)
{
    char text[PASSWORD_BYTES];
    const char *name = arena_cstr(&deliver->arena, path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd == -1 ? -1 : read(fd, text, sizeof text);
    if (len == -1) {
        fatal("cannot read smarthost_password_file %s: %s", name, strerror(errno));
    }
    (void)close(fd); /* it was only read */
    deliver->smarthost_password =
        arena_dup(&deliver->arena, slice_trim(slice_of(text, (size_t)len)));
    crypto_wipe(text, sizeof text);
}

static void set_smarthost(struct deliver *deliver, const struct conf *conf)
{
    struct slice text = conf->smarthost;
    size_t colon = slice_rfind_byte(text, ':');
    uint64_t tcp_port = 25;
    struct slice host = slice_head(text, colon);
    bool has_port = colon != SIZE_MAX;
    if (!has_port) {
        host = text;
    }
    if ((has_port && slice_uint(slice_from(text, colon + 1), 65535, &tcp_port) != ERR_OK) ||
        host.len == 0 || host.len >= sizeof deliver->smarthost) {
        fatal("smarthost is written host:port, not \"%.*s\"", SLICE_FMT(text));
    }
    deliver->has_smarthost = true;
    deliver->smarthost_tcp_port = (uint16_t)tcp_port;
    memcpy(deliver->smarthost, host.data, host.len);
    deliver->smarthost_tls = tls_of(conf->smarthost_tls);
    if (conf->smarthost_user.len > 0) {
        read_password(deliver, conf->smarthost_password_file);
    }
}

static void open_tls(struct deliver *deliver, const struct conf *conf)
{
    if (tls_client_new(TLS_VERIFY_NONE, conf->tls_ca, &deliver->tls_any) != ERR_OK ||
        tls_client_new(TLS_VERIFY_NAME, conf->tls_ca, &deliver->tls_strict) != ERR_OK ||
        tls_client_new(TLS_VERIFY_DANE, slice_of(NULL, 0), &deliver->tls_dane) != ERR_OK) {
        fatal("TLS for delivery cannot be set up; set tls_ca to a file of CAs");
    }
}

static void open_http(struct deliver *deliver, const struct conf *conf)
{
    struct http_client_options options = {
        .dns = deliver->dns,
        .ca_path = conf->tls_ca,
        .user_agent = SLICE("Meerkat-Webhooks/1.0"),
        .rule = {.allows_private = conf->allow_private_targets},
    };
    if (http_client_open(deliver->loop, &options, &deliver->http) != ERR_OK) {
        fatal("the client for webhooks cannot be set up; check tls_ca");
    }
}

/* What holds everything holds reports, which are sent to others as mails are. */
static bool holds_reports(void *owner)
{
    const struct deliver *deliver = owner;
    return !queue_is_ready(deliver->queue) || queue_holds_all(deliver->queue);
}

static void open_sts(struct deliver *deliver, const struct conf *conf)
{
    struct http_client_options client = {
        .dns = deliver->dns,
        .ca_path = conf->tls_ca,
        .user_agent = SLICE("Meerkat/1.0"),
        .rule = {.allows_private = conf->allow_private_targets},
    };
    if (http_client_open(deliver->loop, &client, &deliver->fetcher) != ERR_OK) {
        fatal("the client for MTA-STS policies cannot be set up; check tls_ca");
    }
    struct sts_options options = {
        .loop = deliver->loop,
        .dns = deliver->dns,
        .http = deliver->fetcher,
        .actor = &deliver->actor,
        .place = deliver->place,
        .tcp_port = (uint16_t)conf->sts_port,
    };
    deliver->sts = sts_new(&options);
    struct tls_report_options reports = {
        .loop = deliver->loop,
        .dns = deliver->dns,
        .http = deliver->fetcher,
        .actor = &deliver->actor,
        .place = deliver->place,
        .is_held = holds_reports,
        .held_owner = deliver,
    };
    deliver->tls_report = tls_report_new(&reports);
}

/* ---- policy --------------------------------------------------------------------------------- */

static void open_policy(struct deliver *deliver, const struct conf *conf)
{
    char why[POLICY_WHY_MAX];
    deliver->policy = policy_load(conf->site_policy, why);
    if (deliver->policy == NULL) {
        fatal("site_policy %.*s: %s", SLICE_FMT(conf->site_policy), why);
    }
    deliver_name_sites(deliver->policy);
    deliver->groups = (struct group_finder){
        .loop = deliver->loop,
        .dns = deliver->dns,
        .sched = &deliver->sched,
        .policy = deliver->policy,
        .on_found = on_grouped,
        .has_smarthost = deliver->has_smarthost,
    };
    list_init(&deliver->groups.looks);
    trip_sources_init(deliver);
    deliver->queue = queue_new(deliver);
}

/* A file that cannot be read changes nothing: mail goes on under the policy that was good. */
static void reload(struct deliver *deliver)
{
    char why[POLICY_WHY_MAX];
    struct policy *policy = policy_load(deliver->place->conf->site_policy, why);
    if (policy == NULL) {
        LOG_ERROR("deliver.policy", LOG_TEXT("file", deliver->place->conf->site_policy),
                  LOG_STR("reason", why));
        return;
    }
    policy_free(deliver->policy);
    deliver->policy = policy;
    deliver->groups.policy = policy;
    trip_sources_reload(deliver);
    sched_ask_again(&deliver->sched);
    struct site *site = NULL;
    while ((site = site_table_next(deliver->sites, site)) != NULL) {
        struct slice group = group_of_site(site);
        if (!group_is_hook(group) && !deliver->has_smarthost) {
            site_set_rules(site, policy_rules(policy, group));
            sched_site_changed(&deliver->sched, site);
        }
    }
    LOG_INFO("deliver.policy", LOG_U64("providers", policy->provider_count),
             LOG_U64("pools", policy->pool_count));
    deliver_pump(deliver);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct deliver *deliver_new(const struct place *place, struct loop *loop)
{
    CHECK_LOOP(loop);
    struct deliver *deliver = mem_zalloc(sizeof *deliver);
    deliver->place = place;
    deliver->loop = loop;
    list_init(&deliver->trips);
    arena_init(&deliver->arena, 1024, 64 * KIB);
    arena_mark_secret(&deliver->arena);
    bounce_rules_read(&deliver->bounce_rules, place->conf->bounce_rules);
    deliver->sites = site_table_new((uint32_t)place->conf->site_max);
    sched_init(&deliver->sched, deliver->sites);
    timer_init(&deliver->due, loop, on_due);
    timer_init(&deliver->daily, loop, on_daily);
    timer_init(&deliver->drain_timer, loop, on_drain_due);
    trip_trace_init(deliver);
    struct actor_options options = {
        .name = "deliver",
        .loop = loop,
        .handle = on_msg,
        .on_drained = on_drained,
        .pool_counts = {[MSG_POOL_REQUEST] = DELIVER_POOL_MSGS},
        .port_depth_max = DELIVER_POOL_MSGS + LOOP_COUNT_MAX * EDGE_POOL_MSGS +
                          (SHARD_COUNT_MAX + 1) * SHARD_WAKE_MSGS +
                          SHARD_COUNT_MAX * WATCH_OPEN_MAX + CONTROL_MSGS,
    };
    actor_init(&deliver->actor, &options);
    if (place->conf->smarthost.len > 0) {
        set_smarthost(deliver, place->conf);
    }
    open_tls(deliver, place->conf);
    if (dns_open(loop, place->conf->dns_servers, &deliver->dns) != ERR_OK) {
        fatal("dns_servers is written ip[:port], comma separated; or mend /etc/resolv.conf");
    }
    if (place->conf->dns_validates) {
        dns_trust(deliver->dns);
    }
    open_policy(deliver, place->conf);
    open_http(deliver, place->conf);
    open_sts(deliver, place->conf);
    return deliver;
}

void deliver_free(struct deliver *deliver)
{
    CHECK_LOOP(deliver->loop);
    CHECK(deliver->trip_count == 0);
    CHECK(deliver->verify_count == 0);
    CHECK(deliver->trips_by_row == NULL);
    sched_fini(&deliver->sched);
    queue_free(deliver->queue);
    site_table_free(deliver->sites);
    sts_free(deliver->sts);
    tls_report_free(deliver->tls_report);
    source_table_free(deliver->sources);
    policy_free(deliver->policy);
    tls_context_drop(deliver->tls_any);
    tls_context_drop(deliver->tls_strict);
    tls_context_drop(deliver->tls_dane);
    bounce_rules_free(deliver->bounce_rules);
    actor_fini(&deliver->actor);
    arena_fini(&deliver->arena);
    free(deliver);
}

struct actor *deliver_actor(struct deliver *deliver)
{
    return &deliver->actor;
}

/* ---- admission ------------------------------------------------------------------------------ */

static uint32_t trip_ceiling(const struct deliver *deliver)
{
    return (uint32_t)min_u64(deliver->place->conf->delivery_max, ATTEMPTS_MAX);
}

static void set_due_timer(struct deliver *deliver, uint64_t next_unix_ms, uint64_t now_unix_ms)
{
    uint64_t delay_ms = deliver->sched.count > 0 ? PUMP_BUSY_MS : PUMP_MAX_MS;
    if (next_unix_ms != UINT64_MAX) {
        delay_ms = min_u64(delay_ms, next_unix_ms > now_unix_ms ? next_unix_ms - now_unix_ms : 1);
    }
    bool is_full = deliver->trip_count >= trip_ceiling(deliver); /* the next end pumps */
    uint64_t site_ms = is_full ? UINT64_MAX : sched_next_site_ms(&deliver->sched);
    uint64_t now_ms = loop_now_ms(deliver->loop);
    if (site_ms != UINT64_MAX) {
        delay_ms = min_u64(delay_ms, site_ms > now_ms ? site_ms - now_ms : 1);
    }
    timer_start(&deliver->due, delay_ms);
}

void deliver_pump(struct deliver *deliver)
{
    CHECK_LOOP(deliver->loop);
    CHECK(deliver->trip_count <= ATTEMPTS_MAX);
    if (!deliver->is_open || deliver->is_pumping || !deliver->has_source_notes ||
        !queue_is_ready(deliver->queue)) {
        return;
    }
    deliver->is_pumping = true;
    uint64_t now_unix_ms = clock_unix_ms();
    uint64_t now_ms = loop_now_ms(deliver->loop);
    uint64_t next_unix_ms = sched_advance(&deliver->sched, now_unix_ms, now_ms);
    group_find(&deliver->groups);
    uint32_t started = 0;
    bool is_held = queue_holds_all(deliver->queue);
    while (!is_held && deliver->trip_count < trip_ceiling(deliver) && started < TRIPS_PER_PUMP) {
        uint32_t free = trip_ceiling(deliver) - deliver->trip_count;
        struct sched_entry *entry = sched_next(&deliver->sched, free, now_ms);
        if (entry == NULL) {
            break;
        }
        bool is_started = trip_start(deliver, entry);
        CHECK(is_started); /* ATTEMPTS_MAX trips never use up the pool */
        started += 1;
    }
    if (started == TRIPS_PER_PUMP) {
        next_unix_ms = now_unix_ms; /* more may start after a turn of the loop */
    }
    deliver_count(deliver);
    set_due_timer(deliver, next_unix_ms, now_unix_ms);
    deliver->is_pumping = false;
}

static void on_grouped(struct group_finder *finder)
{
    deliver_pump(CONTAINER_OF(finder, struct deliver, groups));
}

static void on_due(struct timer *timer)
{
    deliver_pump(CONTAINER_OF(timer, struct deliver, due));
}

static void on_drained(struct actor *actor)
{
    deliver_pump(CONTAINER_OF(actor, struct deliver, actor));
}

static void on_wake(struct deliver *deliver, struct msg *msg)
{
    struct deliver_wake *wake = &msg->body.wake;
    uint32_t taken = 0;
    CHECK(wake->entry_count <= WAKE_ENTRIES_MAX);
    while (taken < wake->entry_count) {
        const struct outbox_entry *entry = &wake->entries[taken];
        if (!sched_add(&deliver->sched, entry, entry->due_unix_ms)) {
            break;
        }
        taken += 1;
    }
    wake->taken_count = taken;
    msg_return(msg, ERR_OK);
}

/* ---- expiry --------------------------------------------------------------------------------- */

static void post_ledger(struct deliver *deliver, bool is_write, uint64_t value)
{
    struct msg *msg = msg_take(&deliver->actor, MSG_SHARD_LEDGER);
    if (msg == NULL) {
        return; /* the next round asks again */
    }
    msg->body.ledger.kind = LEDGER_EXPIRED_DAY;
    msg->body.ledger.is_write = is_write;
    msg->body.ledger.value = value;
    actor_post(deliver->place->deliver_shard, msg);
}

static void on_daily(struct timer *timer)
{
    struct deliver *deliver = CONTAINER_OF(timer, struct deliver, daily);
    timer_start(&deliver->daily, EXPIRE_EVERY_MS);
    if (deliver->is_open && deliver->expire_waiting == 0) {
        post_ledger(deliver, false, 0);
    }
}

/* What expires on day D is dropped once D is over, by range, in every shard; then the ledger says
 * so. */
static void on_ledger(struct deliver *deliver, struct msg *msg)
{
    bool is_read = msg->err == ERR_OK && !msg->body.ledger.is_write;
    uint64_t done_day = msg->body.ledger.value;
    msg_put(&deliver->actor, msg);
    uint32_t day = clock_day_of(clock_unix_ms()) - 1;
    if (!is_read || done_day >= day || !deliver->is_open || deliver->expire_waiting > 0) {
        return;
    }
    deliver->expire_day = day;
    deliver->expire_failed = 0;
    for (uint32_t i = 0; i < deliver->place->shard_count; i++) {
        struct msg *expire = msg_take(&deliver->actor, MSG_SHARD_EXPIRE);
        if (expire == NULL) {
            deliver->expire_failed += 1;
            continue;
        }
        expire->body.expire.day = day;
        deliver->expire_waiting += 1;
        actor_post(deliver->place->shards[i], expire);
    }
}

static void on_expired(struct deliver *deliver, struct msg *msg)
{
    CHECK(deliver->expire_waiting > 0);
    deliver->expire_failed += msg->err != ERR_OK;
    deliver->expire_waiting -= 1;
    msg_put(&deliver->actor, msg);
    if (deliver->expire_waiting == 0 && deliver->expire_failed == 0) {
        LOG_INFO("deliver.expired", LOG_U64("day", deliver->expire_day));
        post_ledger(deliver, true, deliver->expire_day);
    }
}

/* ---- drain and stop ------------------------------------------------------------------------- */

static void close_idle(struct deliver *deliver)
{
    struct site *site = NULL;
    while ((site = site_table_idle(deliver->sites)) != NULL) {
        trip_close_idle(site);
    }
}

static void try_quiet(struct deliver *deliver)
{
    struct msg *msg = deliver->quiet;
    if (msg != NULL && deliver->trip_count == 0) {
        timer_stop(&deliver->drain_timer);
        deliver->quiet = NULL;
        msg_return(msg, ERR_OK);
    }
}

static void try_drain(struct deliver *deliver)
{
    try_quiet(deliver);
    const struct msg_pool *pool = &deliver->actor.pools[MSG_POOL_REQUEST];
    if (deliver->drain == NULL || deliver->trip_count > 0 || deliver->verify_count > 0 ||
        !tls_report_drain(deliver->tls_report)) {
        return;
    }
    trip_sources_stop(deliver); /* the last trips have counted */
    if (pool->free_count < pool->count) {
        return;
    }
    timer_stop(&deliver->drain_timer);
    trip_trace_stop(deliver);
    sts_close(deliver->sts); /* its notes are home, and those of reports */
    tls_report_close(deliver->tls_report);
    struct msg *msg = deliver->drain;
    deliver->drain = NULL;
    msg_return(msg, ERR_OK);
}

static void on_drain_due(struct timer *timer)
{
    struct deliver *deliver = CONTAINER_OF(timer, struct deliver, drain_timer);
    deliver->is_abandoning = true;
    LOG_WARN("deliver.abandon", LOG_U64("attempts", deliver->trip_count));
    trip_abandon_all(deliver);
    try_drain(deliver);
}

static void start_drain_timer(struct deliver *deliver, uint64_t deadline_ms)
{
    uint64_t now_ms = loop_now_ms(deliver->loop);
    timer_start(&deliver->drain_timer, deadline_ms > now_ms ? (deadline_ms - now_ms) / 2 : 0);
}

/* The slow part of a drain, done while edges still answer. What they accept now is an outbox row;
 * the next run announces it. */
static void quiet(struct deliver *deliver, struct msg *msg)
{
    CHECK(deliver->quiet == NULL);
    CHECK(deliver->drain == NULL);
    deliver->is_open = false;
    deliver->quiet = msg;
    timer_stop(&deliver->due);
    timer_stop(&deliver->daily);
    start_drain_timer(deliver, msg->body.control.deadline_ms);
    close_idle(deliver);
    try_quiet(deliver);
}

static void drain(struct deliver *deliver, struct msg *msg)
{
    CHECK(deliver->drain == NULL);
    CHECK(deliver->quiet == NULL);
    deliver->is_open = false;
    deliver->drain = msg;
    timer_stop(&deliver->due);
    timer_stop(&deliver->daily);
    group_cancel(&deliver->groups);
    queue_stop(deliver->queue);
    start_drain_timer(deliver, msg->body.control.deadline_ms);
    close_idle(deliver);
    try_drain(deliver);
}

static void on_dns_closed(void *context)
{
    struct deliver *deliver = context;
    struct msg *msg = deliver->stop;
    CHECK(msg != NULL);
    deliver->stop = NULL;
    actor_close(&deliver->actor);
    msg_return(msg, ERR_OK);
}

/* It asks names until it is closed, as the other does. */
static void on_http_closed(void *context)
{
    struct deliver *deliver = context;
    if (deliver->fetcher != NULL) {
        http_client_close(deliver->fetcher, on_http_closed, deliver);
        deliver->fetcher = NULL;
        return;
    }
    dns_close(deliver->dns, on_dns_closed, deliver);
    deliver->dns = NULL;
}

static void stop(struct deliver *deliver, struct msg *msg)
{
    CHECK(deliver->stop == NULL);
    CHECK(deliver->trip_count == 0); /* main drains before it stops */
    deliver->stop = msg;
    http_client_close(deliver->http, on_http_closed, deliver);
    deliver->http = NULL;
}

static void on_control(struct deliver *deliver, struct msg *msg)
{
    switch (msg->body.control.op) {
    case CONTROL_START:
        deliver->is_open = true;
        timer_start(&deliver->daily, 1);
        trip_sources_start(deliver);
        queue_start(deliver->queue);
        sts_start(deliver->sts);
        tls_report_start(deliver->tls_report);
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_RELOAD:
        bounce_rules_read(&deliver->bounce_rules, deliver->place->conf->bounce_rules);
        reload(deliver);
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_SESSION_KEYS: /* for edges and shards, these */
    case CONTROL_NOTICE:
    case CONTROL_TURN_AWAY:
    case CONTROL_WELCOME:
    case CONTROL_LOAD:
    case CONTROL_MOVE:
    case CONTROL_ADOPT:
    case CONTROL_PING:
        msg_return(msg, ERR_OK);
        break;
    case CONTROL_QUIET:
        quiet(deliver, msg);
        break;
    case CONTROL_DRAIN:
        drain(deliver, msg);
        break;
    case CONTROL_STOP:
        stop(deliver, msg);
        break;
    }
}

void deliver_trip_gone(struct deliver *deliver)
{
    CHECK_LOOP(deliver->loop);
    if (deliver->is_open) {
        deliver_pump(deliver);
    } else {
        try_drain(deliver);
    }
}

/* ---- messages ------------------------------------------------------------------------------- */

static void on_verified(void *context)
{
    struct deliver *deliver = context;
    CHECK(deliver->verify_count > 0);
    deliver->verify_count -= 1;
    try_drain(deliver);
}

/* A webhook somebody waits for. Lives in its message's arena. */
struct waiting_call {
    struct attempt_hook hook;
    struct deliver *deliver;
    struct msg *msg;
};

static void on_call_done(struct attempt_hook *hook)
{
    struct waiting_call *call = CONTAINER_OF(hook, struct waiting_call, hook);
    struct deliver *deliver = call->deliver;
    struct msg *msg = call->msg;
    bool is_good = hook->verdict.class == VERDICT_DELIVERED;
    msg->body.call.verdict = hook->verdict;
    msg->sentence = is_good ? SLICE("") : arena_dup(&msg->arena, slice_str(hook->verdict.text));
    CHECK(deliver->verify_count > 0);
    deliver->verify_count -= 1;
    msg_return(msg, is_good ? ERR_OK : ERR_UPSTREAM);
    try_drain(deliver);
}

static void call_for(struct deliver *deliver, struct msg *msg)
{
    const struct deliver_call *body = &msg->body.call;
    struct waiting_call *call = arena_alloc(&msg->arena, sizeof *call);
    struct hook_request request = {
        .url = body->url,
        .headers = body->headers,
        .body = body->body,
        .ack_mode = body->ack_mode,
        .timeout_ms = deliver->place->conf->hook_timeout_ms,
    };
    call->deliver = deliver;
    call->msg = msg;
    deliver->verify_count += 1;
    attempt_hook_start(deliver->http, &call->hook, &request, on_call_done);
}

static void on_note(struct deliver *deliver, struct msg *msg)
{
    if (msg->body.note.kind == NOTE_TLS_COUNT) {
        tls_report_on_msg(deliver->tls_report, msg);
        return;
    }
    if (msg->body.note.kind == NOTE_SOURCE) {
        trip_on_source_note(deliver, msg);
        return;
    }
    if (msg->body.note.kind == NOTE_HOLD) {
        queue_on_note(deliver->queue, msg);
        return;
    }
    CHECK(msg->body.note.kind == NOTE_STS);
    sts_on_note(deliver->sts, msg);
}

static void on_home(struct deliver *deliver, struct msg *msg)
{
    switch (msg->kind) {
    case MSG_SHARD_EXPIRE:
        on_expired(deliver, msg);
        break;
    case MSG_SHARD_LEDGER:
        on_ledger(deliver, msg);
        break;
    case MSG_SHARD_NOTE:
        on_note(deliver, msg);
        break;
    case MSG_SHARD_DIRECTORY:
    case MSG_SHARD_SEND:
        tls_report_on_msg(deliver->tls_report, msg);
        break;
    default:
        trip_on_msg(deliver, msg);
        break;
    }
    try_drain(deliver);
}

static void on_msg(struct actor *actor, struct msg *msg)
{
    struct deliver *deliver = CONTAINER_OF(actor, struct deliver, actor);
    if (msg->returning) {
        on_home(deliver, msg);
        return;
    }
    switch (msg->kind) {
    case MSG_DELIVER_WAKE:
        on_wake(deliver, msg);
        break;
    case MSG_DELIVER_CALL:
        call_for(deliver, msg);
        break;
    case MSG_DELIVER_QUEUE:
        queue_handle(deliver->queue, msg);
        break;
    case MSG_DELIVER_TRACE:
        trip_trace_serve(deliver, msg);
        break;
    case MSG_DELIVER_EXPLAIN:
        explain_handle(deliver, msg);
        break;
    case MSG_DELIVER_VERIFY:
        if (!deliver->is_open) { /* a shard's, which comes again */
            msg_return(msg, ERR_DRAINING);
            break;
        }
        deliver->verify_count += 1;
        attempt_dns_start(deliver->dns, msg, on_verified, deliver);
        break;
    default:
        CHECK(msg->kind == MSG_DELIVER_CONTROL);
        on_control(deliver, msg);
        break;
    }
}
