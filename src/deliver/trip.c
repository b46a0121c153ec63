/* trip.c - see trip.h for the drawing. */
#include "deliver/trip_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "deliver/queue.h"
#include "deliver/rehearse.h"
#include "deliver/trip_trace.h"

#define DAMAGED_MS     600000 /* a row that cannot be read: somebody has to look first */
#define AGAIN_MS       1000
#define JITTER_PERCENT 20

#define TO(name) SM_TO(TRIP_##name)
static const struct sm_state states[] = {
    [TRIP_CLAIM] = {"claim", TO(WAIT) | TO(GONE)},
    [TRIP_WAIT] = {"wait", TO(ROUTE) | TO(SEND) | TO(OUTCOME)},
    [TRIP_ROUTE] = {"route", TO(CONNECT) | TO(SEND) | TO(OUTCOME)},
    [TRIP_CONNECT] = {"connect", TO(CONNECT) | TO(SEND) | TO(OUTCOME)},
    [TRIP_SEND] = {"send", TO(CONNECT) | TO(ROUTE) | TO(OUTCOME)},
    [TRIP_OUTCOME] = {"outcome", TO(GONE)},
    [TRIP_GONE] = {"gone", 0},
};
#undef TO
_Static_assert(ARRAY_LEN(states) == TRIP_COUNT, "a row for each state");
static const struct sm_table table = {"trip", states, TRIP_COUNT};

static void fill_mail(struct trip *trip);
static void wait_for_conn(struct trip *trip);
static void begin(struct trip *trip);

static enum trip_state state_of(const struct trip *trip)
{
    return (enum trip_state)trip->sm.state;
}

const struct shard_claim *trip_claim(const struct trip *trip)
{
    return &trip->claim->body.claim;
}

/* ---- birth and death ------------------------------------------------------------------------ */

static void fill_entry(const struct sched_entry *from, struct arena *arena, struct outbox_entry *to)
{
    *to = (struct outbox_entry){
        .due_unix_ms = from->due_unix_ms,
        .account = id_account(from->mail),
        .mail = from->mail,
        .group = from->group,
        .domain = arena_dup(arena, dest_domain(from->dest)),
        .priority = (enum mail_priority)from->priority,
        .pool = arena_dup(arena, dest_pool(from->dest)),
    };
}

void trip_post(struct trip *trip, struct msg *msg)
{
    msg->token = (uint64_t)(uintptr_t)trip; /* ours alone; a trip outlives its messages */
    actor_post(place_shard(trip->deliver->place, id_account(trip->entry->mail)), msg);
}

/* The row as it is known to the schedule; its texts are the entry's. */
static struct outbox_entry row_of(const struct sched_entry *entry)
{
    return (struct outbox_entry){
        .due_unix_ms = entry->due_unix_ms,
        .account = id_account(entry->mail),
        .mail = entry->mail,
        .group = entry->group,
        .domain = dest_domain(entry->dest),
        .priority = (enum mail_priority)entry->priority,
        .pool = dest_pool(entry->dest),
    };
}

/* Puts an entry back, to be claimed a little later. The old one is still the caller's. */
static void later(struct deliver *deliver, const struct sched_entry *entry, uint64_t delay_ms)
{
    const struct outbox_entry outbox = row_of(entry);
    if (!sched_add(&deliver->sched, &outbox, clock_unix_ms() + delay_ms)) {
        LOG_DEBUG("trip.later",
                  LOG_ID("message", ID_MESSAGE, entry->mail)); /* the sweep finds it */
    }
}

/* What was put off waits here at once, however far ahead: while something of its domain waits the
 * site stays known, and the operator finds it there. The shard's own word of it changes nothing. */
static void expect_again(struct trip *trip, const struct shard_outcome *outcome)
{
    struct sched *sched = &trip->deliver->sched;
    bool is_deferred = outcome->verdict_count == 0;
    for (uint32_t i = 0; i < outcome->verdict_count; i++) {
        is_deferred |= outcome->verdicts[i].class == VERDICT_DEFERRED;
    }
    if (!is_deferred || sched->count > SCHED_ENTRIES_MAX / 2) {
        return; /* so full, it has no room for what is not near */
    }
    struct outbox_entry outbox = row_of(trip->entry);
    outbox.due_unix_ms = outcome->next_due_unix_ms;
    if (!sched_add(sched, &outbox, outbox.due_unix_ms)) {
        LOG_DEBUG("trip.expect", LOG_ID("message", ID_MESSAGE, outbox.mail)); /* told again */
    }
}

/* A slow server may hold a trip beyond its lease, and the shard then announces the row again.
 * Claimed now it would go out twice. */
static bool is_under_way(struct deliver *deliver, const struct row *row)
{
    struct trip *other = NULL;
    HASH_FIND(hh, deliver->trips_by_row, row, sizeof *row, other);
    return other != NULL;
}

bool trip_start(struct deliver *deliver, struct sched_entry *entry)
{
    CHECK_LOOP(deliver->loop);
    CHECK(deliver->is_open);
    const struct row row = {entry->mail, entry->group};
    uint64_t now_unix_ms = clock_unix_ms();
    bool is_early = entry->due_unix_ms > now_unix_ms;
    bool is_wished = entry->is_hastened || entry->is_given_up;
    /* Early without a wish: moved by its sender while it stood in line. */
    if ((is_early && !is_wished) || is_under_way(deliver, &row)) {
        later(deliver, entry, is_early ? entry->due_unix_ms - now_unix_ms : AGAIN_MS);
        sched_done(&deliver->sched, entry, entry->site);
        return true;
    }
    struct msg *msg = msg_take(&deliver->actor, MSG_SHARD_CLAIM);
    if (msg == NULL) {
        return false;
    }
    struct trip *trip = mem_zalloc(sizeof *trip);
    trip->deliver = deliver;
    trip->entry = entry;
    trip->site = entry->site; /* the domain may have moved to another since it fell due */
    sm_init(&trip->sm, &table, TRIP_CLAIM);
    timer_init(&trip->timer, deliver->loop, NULL);
    buf_init(&trip->transcript, SMTP_TRANSCRIPT_MAX);
    list_init(&trip->queue);
    list_push_back(&deliver->trips, &trip->link);
    trip->row = row;
    HASH_ADD(hh, deliver->trips_by_row, row, sizeof trip->row, trip);
    deliver->trip_count += 1;
    trip->begun_unix_ms = now_unix_ms;
    fill_entry(entry, &msg->arena, &msg->body.claim.entry);
    msg->body.claim.lease_ms = LEASE_MS;
    msg->body.claim.is_early = is_early;
    trip_post(trip, msg);
    return true;
}

static void gone(struct trip *trip)
{
    struct deliver *deliver = trip->deliver;
    sm_move(&trip->sm, TRIP_GONE);
    timer_stop(&trip->timer);
    CHECK(trip->attempt == NULL);
    CHECK(!trip->is_calling);
    CHECK(trip->chunk == NULL);
    CHECK(!trip->is_busy);
    CHECK(list_is_empty(&trip->queue));
    if (trip->claim != NULL) {
        msg_put(&deliver->actor, trip->claim);
    }
    sched_done(&deliver->sched, trip->entry, trip->site);
    list_remove(&trip->link);
    HASH_DEL(deliver->trips_by_row, trip);
    buf_fini(&trip->transcript);
    tap_talk_end(&deliver->tap, &trip->talk);
    trip_forget_look_ups(trip);
    free(trip);
    CHECK(deliver->trip_count > 0);
    deliver->trip_count -= 1;
    deliver_trip_gone(deliver);
}

/* ---- claim ---------------------------------------------------------------------------------- */

static void on_wait_over(struct timer *timer)
{
    begin(CONTAINER_OF(timer, struct trip, timer));
}

static void on_claimed(struct trip *trip, struct msg *msg)
{
    CHECK(state_of(trip) == TRIP_CLAIM);
    CHECK(trip->claim == NULL);
    if (msg->err != ERR_OK) {
        uint64_t now_unix_ms = clock_unix_ms();
        bool is_settled = msg->err == ERR_NOT_FOUND || msg->err == ERR_CONFLICT;
        if (!is_settled) {
            LOG_WARN("trip.claim", LOG_ERR(msg->err),
                     LOG_ID("message", ID_MESSAGE, trip->entry->mail));
            later(trip->deliver, trip->entry, msg->err == ERR_CORRUPT ? DAMAGED_MS : AGAIN_MS);
        } else if (msg->err == ERR_CONFLICT && trip->entry->due_unix_ms > now_unix_ms) {
            later(trip->deliver, trip->entry, trip->entry->due_unix_ms - now_unix_ms);
        }
        msg_put(&trip->deliver->actor, msg);
        gone(trip);
        return;
    }
    trip->claim = msg;
    fill_mail(trip);
    sm_move(&trip->sm, TRIP_WAIT);
    trip->started_unix_ms = clock_unix_ms();
    if (trip_is_traced(trip)) {
        trip_trace_begin(trip);
    }
    uint64_t delay_ms = trip->deliver->place->conf->test_delivery_delay_ms;
    if (delay_ms > 0) {
        timer_init(&trip->timer, trip->deliver->loop, on_wait_over);
        timer_start(&trip->timer, delay_ms);
        return;
    }
    begin(trip);
}

static void fill_mail(struct trip *trip)
{
    struct msg *msg = trip->claim;
    const struct shard_claim *claim = trip_claim(trip);
    CHECK(claim->rcpt_count > 0); /* a row without open recipients is not granted */
    CHECK(claim->rcpt_count <= RCPT_PER_COPY_MAX);
    struct attempt_rcpt *rcpts = arena_array(&msg->arena, claim->rcpt_count, sizeof *rcpts);
    for (uint32_t i = 0; i < claim->rcpt_count; i++) {
        rcpts[i].addr = claim->rcpts[i];
    }
    trip->mail = (struct attempt_mail){
        .sender = claim->sender,
        .rcpts = rcpts,
        .rcpt_count = claim->rcpt_count,
        .prefix = claim->dkim_headers,
        .size_bytes = claim->size_bytes + claim->dkim_headers.len,
        .chunk_count = claim->chunk_count,
        .first_chunk = claim->first_chunk,
        .needs_utf8 = claim->needs_utf8,
        .needs_8bit = claim->needs_8bit,
        .requires_tls = claim->requires_tls,
    };
}

void trip_judge_all(struct trip *trip, const struct verdict *verdict)
{
    for (uint32_t i = 0; i < trip->mail.rcpt_count; i++) {
        if (!trip->mail.rcpts[i].is_judged) {
            trip->mail.rcpts[i].verdict = *verdict;
            trip->mail.rcpts[i].is_judged = true;
        }
    }
}

static void rehearse_all(struct trip *trip)
{
    bool is_scripted = trip_claim(trip)->rehearsal == REHEARSAL_SCRIPTED;
    for (uint32_t i = 0; i < trip->mail.rcpt_count; i++) {
        rehearse(trip->mail.rcpts[i].addr, is_scripted, &trip->mail.rcpts[i].verdict);
        trip->mail.rcpts[i].is_judged = true;
    }
}

/* Bulk mail stands behind transactional mail here too. */
static void wait_for_conn(struct trip *trip)
{
    struct link *at = trip->site->queue.prev;
    while (trip->entry->priority == PRIORITY_TRANSACTIONAL && at != &trip->site->queue &&
           CONTAINER_OF(at, struct trip, queue)->entry->priority != PRIORITY_TRANSACTIONAL) {
        at = at->prev;
    }
    list_add_after(at, &trip->queue);
}

static bool is_too_old(const struct trip *trip)
{
    return !trip_claim(trip)->is_hook &&
           clock_unix_ms() >=
               trip_claim(trip)->created_unix_ms + trip->deliver->place->conf->retry_age_ms;
}

/* The circuit is open: the row waits until it closes, unless its time is over anyway. */
static void not_tried(struct trip *trip)
{
    if (!is_too_old(trip)) {
        trip->is_put_off = true;
        return;
    }
    /* Not what the host said last: that was of somebody else's mail. */
    verdict_own(&trip->failure, SMTP_STEP_CONNECT, VERDICT_DEFERRED, "4.4.1",
                "the host takes no mail and is left alone");
    trip_judge_all(trip, &trip->failure); /* and is given up with the outcome */
}

static void give_up_now(struct trip *trip)
{
    verdict_own(&trip->failure, SMTP_STEP_RESOLVE, VERDICT_BOUNCED, "4.4.7",
                "given up by the operator");
    trip->failure.is_given_up = true;
    trip_judge_all(trip, &trip->failure);
    trip_conclude(trip);
}

static void begin(struct trip *trip)
{
    struct site *site = trip->site;
    CHECK(state_of(trip) == TRIP_WAIT);
    CHECK(!trip->is_busy);
    if (trip->entry->is_given_up) {
        give_up_now(trip);
        return;
    }
    if (trip_claim(trip)->rehearsal != REHEARSAL_NONE) {
        rehearse_all(trip);
        trip_conclude(trip);
        return;
    }
    if (trip->deliver->is_abandoning) {
        verdict_own(&trip->failure, SMTP_STEP_RESOLVE, VERDICT_DEFERRED, "4.3.2",
                    "the server is stopping; the attempt was not made");
        trip_judge_all(trip, &trip->failure);
        trip_conclude(trip);
        return;
    }
    if (loop_now_ms(trip->deliver->loop) < site->closed_until_ms) {
        not_tried(trip);
        trip_conclude(trip);
        return;
    }
    if (queue_is_held(trip->deliver->queue, site, id_account(trip->entry->mail))) {
        trip->is_put_off = true; /* it waits in the schedule, not here */
        trip->put_off_unix_ms = clock_unix_ms() + AGAIN_MS;
        trip_conclude(trip);
        return;
    }
    if (site->busy >= site->limit) {
        wait_for_conn(trip);
        return;
    }
    site->busy += 1;
    trip->is_busy = true;
    if (trip_claim(trip)->is_hook) {
        trip_call_hook(trip);
        return;
    }
    trip_find_route(trip);
}

/* The trip needs no connection any more: the next in line may have it. */
static void leave_site(struct trip *trip)
{
    struct site *site = trip->site;
    if (!trip->is_busy) {
        return;
    }
    CHECK(site->busy > 0);
    trip->is_busy = false;
    site->busy -= 1;
    if (site->is_serving) {
        return; /* the stack does not grow with the queue */
    }
    site->is_serving = true;
    while (site->busy < site->limit && !list_is_empty(&site->queue)) {
        struct link *next = list_pop_front(&site->queue);
        begin(CONTAINER_OF(next, struct trip, queue));
    }
    site->is_serving = false;
}

/* ---- route ---------------------------------------------------------------------------------- */

static bool is_sites(const struct trip *trip, const char *host)
{
    const struct deliver *deliver = trip->deliver;
    return deliver->has_smarthost || trip_claim(trip)->is_hook ||
           group_has_host(deliver->policy, trip->site, dest_domain(trip->entry->dest),
                          slice_str(host));
}

/* One of the hosts is of somebody else, who would hold this site's connections. The row is given
 * back and waits at a site of the domain's own. */
static bool is_astray(struct trip *trip)
{
    struct dest *dest = trip->entry->dest;
    bool is_begun = trip->part_first > 0 || trip->tried > 0 || trip->is_reuse_over;
    uint32_t at = 0;
    while (at < trip->route.target_count && is_sites(trip, trip->route.targets[at].host)) {
        at += 1;
    }
    if (is_begun || at == trip->route.target_count) {
        return false;
    }
    if (dest->site == trip->site && dest->fresh_until_ms != 0) { /* otherwise it has moved */
        LOG_INFO("trip.astray", LOG_STR("site", trip->site->name),
                 LOG_TEXT("domain", dest_domain(dest)),
                 LOG_STR("host", trip->route.targets[at].host));
        group_set_alone(&trip->deliver->groups, dest);
    }
    trip->is_put_off = true;
    trip->put_off_unix_ms = clock_unix_ms() + AGAIN_MS;
    return true;
}

static void on_route(struct route *route)
{
    struct trip *trip = CONTAINER_OF(route, struct trip, route);
    CHECK(state_of(trip) == TRIP_ROUTE);
    if (route->target_count == 0) {
        trip->failure = route->verdict;
        trip_judge_all(trip, &route->verdict);
        trip_conclude(trip);
        return;
    }
    if (is_astray(trip)) {
        trip_conclude(trip);
        return;
    }
    trip_forget_look_ups(trip); /* of an earlier route */
    trip_ask_sts(trip);
}

void trip_find_route(struct trip *trip)
{
    struct deliver *deliver = trip->deliver;
    const struct conf *conf = deliver->place->conf;
    sm_move(&trip->sm, TRIP_ROUTE);
    struct conn_addr literal;
    if (deliver->has_smarthost &&
        conn_addr_parse(slice_str(deliver->smarthost), deliver->smarthost_tcp_port, &literal) ==
            ERR_OK) {
        trip->route.target_count = 1;
        snprintf(trip->route.targets[0].host, sizeof trip->route.targets[0].host, "%s",
                 deliver->smarthost);
        trip->route.targets[0].addr = literal;
        on_route(&trip->route);
        return;
    }
    struct slice domain = dest_domain(trip->entry->dest);
    struct route_options options = {
        .dns = deliver->dns,
        .name = deliver->has_smarthost ? slice_str(deliver->smarthost) : domain,
        .is_host = deliver->has_smarthost,
        .tcp_port =
            deliver->has_smarthost ? deliver->smarthost_tcp_port : (uint16_t)conf->smtp_port,
        .allows_private = deliver->has_smarthost || conf->allow_private_targets,
    };
    route_find(&trip->route, &options, on_route);
}

static void give_up_hook(const struct trip *trip, struct verdict *verdict)
{
    if (verdict->class == VERDICT_DEFERRED && hook_is_last(trip_claim(trip)->tries)) {
        verdict->class = VERDICT_BOUNCED; /* what the last try said stays its text */
    }
}

/* ---- outcome -------------------------------------------------------------------------------- */

/* A fifth either way, so that what was put off together does not come back together. */
static uint64_t jittered(uint64_t pause_ms)
{
    uint64_t spread_ms = pause_ms * JITTER_PERCENT / 100;
    return spread_ms == 0 ? pause_ms
                          : pause_ms - spread_ms + crypto_random_u64() % (2 * spread_ms + 1);
}

/* When it is tried next. A webhook: by its ladder. A mail: doubling from retry_first_ms to
 * retry_max_ms, and once at the very end. */
static uint64_t next_due(const struct trip *trip, uint64_t now_unix_ms)
{
    const struct conf *conf = trip->deliver->place->conf;
    uint32_t attempt = trip_claim(trip)->attempt;
    if (trip_claim(trip)->is_hook) {
        uint64_t pause_ms =
            hook_pause_ms(trip_claim(trip)->tries) * conf->test_hook_pause_percent / 100;
        return now_unix_ms + jittered(pause_ms);
    }
    uint64_t pause_ms = conf->retry_first_ms;
    for (uint32_t i = 1; i < attempt && pause_ms < conf->retry_max_ms; i++) {
        pause_ms *= 2;
    }
    pause_ms = jittered(min_u64(pause_ms, conf->retry_max_ms));
    uint64_t last_unix_ms = trip_claim(trip)->created_unix_ms + conf->retry_age_ms;
    uint64_t due_unix_ms = now_unix_ms + pause_ms;
    bool is_last = now_unix_ms < last_unix_ms && due_unix_ms > last_unix_ms;
    return is_last ? last_unix_ms : due_unix_ms; /* one try at the very end */
}

static void give_up_if_old(struct trip *trip, struct verdict *verdict)
{
    const struct conf *conf = trip->deliver->place->conf;
    if (verdict->class != VERDICT_DEFERRED || !is_too_old(trip)) {
        return;
    }
    struct verdict last = *verdict;
    char text[VERDICT_TEXT_MAX];
    snprintf(text, sizeof text, "given up after %llu hours; last: %.400s",
             (unsigned long long)(conf->retry_age_ms / 3600000), last.text);
    verdict_own(verdict, last.step, VERDICT_BOUNCED, "4.4.7", text);
    verdict->code = last.code;
    verdict->scope = last.scope;
    verdict->bounce = last.bounce;
    verdict->is_given_up = true;
}

/* Gives the row back until the site's circuit opens, or until the day when one of our addresses may
 * send more: no verdict, and no try is counted. */
static void fill_put_off(struct trip *trip, struct shard_outcome *outcome)
{
    if (trip->put_off_unix_ms != 0) {
        outcome->next_due_unix_ms = trip->put_off_unix_ms;
        return;
    }
    uint64_t opening_ms = trip->site->closed_until_ms;
    uint64_t now_ms = loop_now_ms(trip->deliver->loop);
    outcome->next_due_unix_ms = clock_unix_ms() + (opening_ms > now_ms ? opening_ms - now_ms : 1);
}

static void fill_verdicts(struct trip *trip, struct msg *msg)
{
    struct shard_outcome *outcome = &msg->body.outcome;
    struct arena *arena = &msg->arena;
    uint64_t now_unix_ms = clock_unix_ms();
    uint32_t rcpts = trip->mail.rcpt_count;
    struct verdict *verdicts = arena_array(arena, rcpts, sizeof *verdicts);
    for (uint32_t i = 0; i < rcpts; i++) {
        CHECK(trip->mail.rcpts[i].is_judged);
        verdicts[i] = trip->mail.rcpts[i].verdict;
        if (trip_claim(trip)->is_hook) {
            give_up_hook(trip, &verdicts[i]);
        } else {
            if (!verdicts[i].is_given_up) { /* not yet: it is the operator's word */
                bounce_rules_judge(trip->deliver->bounce_rules, slice_str(trip->remote_host),
                                   &verdicts[i]);
            }
            give_up_if_old(trip, &verdicts[i]);
        }
    }
    outcome->verdicts = verdicts;
    outcome->verdict_count = rcpts;
    outcome->next_due_unix_ms = next_due(trip, now_unix_ms);
    outcome->started_unix_ms = trip->started_unix_ms;
    outcome->remote_host = arena_dup(arena, slice_str(trip->remote_host));
    outcome->remote_addr = arena_dup(arena, slice_str(trip->remote_addr));
    outcome->tls = arena_dup(arena, slice_str(trip->tls));
    outcome->tls_policy =
        trip->tls_policy != NULL ? slice_str(trip->tls_policy) : slice_of(NULL, 0); /* static */
    outcome->source = trip->source == NULL ? slice_of(NULL, 0)
                                           : arena_dup(arena, slice_str(source_text(trip->source)));
    outcome->transcript = arena_dup(arena, buf_slice(&trip->transcript));
    outcome->command = arena_dup(arena, slice_str(trip->hook.command));
}

static void fill_outcome(struct trip *trip, struct msg *msg)
{
    struct shard_outcome *outcome = &msg->body.outcome;
    fill_entry(trip->entry, &msg->arena, &outcome->entry);
    outcome->entry.domain = arena_dup(&msg->arena, trip_claim(trip)->entry.domain);
    if (trip->is_put_off) {
        fill_put_off(trip, outcome);
    } else {
        fill_verdicts(trip, msg);
    }
}

static void post_outcome(struct trip *trip)
{
    struct msg *msg = msg_take(&trip->deliver->actor, MSG_SHARD_OUTCOME);
    CHECK(msg != NULL); /* ATTEMPTS_MAX leaves one for each trip */
    fill_outcome(trip, msg);
    trip_post(trip, msg);
}

/* What the whole try says about the site: its heaviest answer. What hosts before the last one did
 * is forgotten when that one worked. */
static void say_feedback(struct trip *trip)
{
    struct deliver *deliver = trip->deliver;
    if (!is_sites(trip, trip->remote_host)) {
        return; /* a further host, of somebody else */
    }
    enum feedback feedback = FEEDBACK_GOOD;
    const struct verdict *said = &trip->failure;
    for (uint32_t i = 0; i < trip->mail.rcpt_count; i++) {
        const struct verdict *verdict = &trip->mail.rcpts[i].verdict;
        enum feedback one = feedback_of(verdict);
        if (one > feedback) {
            feedback = one;
            said = verdict;
        }
    }
    if (feedback == FEEDBACK_THROTTLED || feedback == FEEDBACK_CROWDED) {
        metric_add(METRIC_SITE_THROTTLED, 1);
    }
    char reason[SITE_REASON_MAX];
    (void)snprintf(reason, sizeof reason, "%u %s %.100s", (unsigned)said->code, said->enhanced,
                   said->text);
    uint64_t was_closed_ms = trip->site->closed_until_ms;
    site_feedback(trip->site, feedback, reason, loop_now_ms(deliver->loop));
    if (was_closed_ms == 0 && trip->site->closed_until_ms != 0) {
        LOG_WARN("site.closed", LOG_STR("site", trip->site->name), LOG_STR("reason", reason));
    }
    if (trip->site->closed_until_ms != 0 && feedback > FEEDBACK_NONE && is_too_old(trip)) {
        site_end_old(trip->site);
    }
    sched_site_changed(&deliver->sched, trip->site);
}

void trip_conclude(struct trip *trip)
{
    if (trip->chunk != NULL) {
        return; /* trip_chunk_home comes back here */
    }
    CHECK(trip->attempt == NULL);
    CHECK(!trip->is_calling);
    sm_move(&trip->sm, TRIP_OUTCOME);
    if (!trip->is_put_off &&
        (trip->tried > 0 || trip->is_reused)) { /* otherwise nobody was asked */
        say_feedback(trip);
    }
    if (trip_is_traced(trip)) {
        trip_trace_end(trip);
    }
    post_outcome(trip);
    leave_site(trip);
}

static void on_outcome_again(struct timer *timer)
{
    post_outcome(CONTAINER_OF(timer, struct trip, timer));
}

/* The verdict is known but not on disk: say it again until it is. Meanwhile the lease keeps others
 * away; if we die first, the row tells the next run that this try's end is unknown. */
static void on_outcome_home(struct trip *trip, struct msg *msg)
{
    enum err err = msg->err;
    CHECK(state_of(trip) == TRIP_OUTCOME);
    if (err == ERR_OK) {
        for (uint32_t i = 0; i < msg->body.outcome.verdict_count; i++) {
            trip_count(trip, &msg->body.outcome.verdicts[i]);
        }
        expect_again(trip, &msg->body.outcome);
    }
    msg_put(&trip->deliver->actor, msg);
    bool is_hopeless = trip->deliver->is_abandoning || err == ERR_NOT_FOUND ||
                       err == ERR_CONFLICT || err == ERR_INVALID || err == ERR_CORRUPT;
    if (err != ERR_OK && !is_hopeless) {
        timer_init(&trip->timer, trip->deliver->loop, on_outcome_again);
        timer_start(&trip->timer, AGAIN_MS);
        return;
    }
    if (err != ERR_OK) {
        LOG_ERROR("trip.outcome", LOG_ERR(err), LOG_ID("message", ID_MESSAGE, trip->entry->mail));
    }
    gone(trip);
}

/* ---- messages ------------------------------------------------------------------------------- */

void trip_on_msg(struct deliver *deliver, struct msg *msg)
{
    CHECK_LOOP(deliver->loop);
    struct trip *trip = (struct trip *)(uintptr_t)msg->token;
    CHECK(trip->deliver == deliver);
    switch (msg->kind) {
    case MSG_SHARD_CLAIM:
        on_claimed(trip, msg);
        break;
    case MSG_SHARD_CHUNK:
        trip_chunk_home(trip, msg);
        break;
    default:
        CHECK(msg->kind == MSG_SHARD_OUTCOME);
        on_outcome_home(trip, msg);
        break;
    }
}

static void abandon(struct trip *trip)
{
    switch (state_of(trip)) {
    case TRIP_WAIT:
        timer_stop(&trip->timer);
        list_remove(&trip->queue);
        begin(trip);
        break;
    case TRIP_ROUTE:
        route_cancel(&trip->route);
        sts_cancel(&trip->sts);
        verdict_own(&trip->failure, SMTP_STEP_RESOLVE, VERDICT_DEFERRED, "4.3.2",
                    "the server is stopping; the attempt was not made");
        trip_judge_all(trip, &trip->failure);
        trip_conclude(trip);
        break;
    case TRIP_CONNECT:
    case TRIP_SEND:
        trip_forget_look_ups(trip);
        if (trip->attempt != NULL) {
            trip_remember(trip, trip->attempt);
            attempt_smtp_abort(trip->attempt);
            trip->attempt = NULL;
        }
        if (trip->is_calling) {
            attempt_hook_cancel(&trip->hook);
            trip->is_calling = false;
        }
        verdict_own(&trip->failure, SMTP_STEP_DATA, VERDICT_DEFERRED, "4.3.2",
                    "the server stopped during the attempt; the mail may have been delivered");
        trip_judge_all(trip, &trip->failure);
        trip_conclude(trip);
        break;
    case TRIP_OUTCOME: /* a timer may be waiting to say it again */
        if (timer_is_on(&trip->timer)) {
            timer_stop(&trip->timer);
            post_outcome(trip);
        }
        break;
    case TRIP_CLAIM: /* its answer finds is_abandoning */
    case TRIP_GONE:
    case TRIP_COUNT:
        break;
    }
}

void trip_abandon_all(struct deliver *deliver)
{
    CHECK_LOOP(deliver->loop);
    CHECK(deliver->is_abandoning);
    LIST_EACH_SAFE (&deliver->trips, it, after) {
        abandon(CONTAINER_OF(it, struct trip, link));
    }
}
