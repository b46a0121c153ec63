/* trip_send.c - the try of a trip: connections, one address after the other; chunks; webhooks. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "deliver/transcript.h"
#include "deliver/trip_int.h"
#include "deliver/trip_trace.h"
#include "mail/header.h"

#define TARGETS_PER_TRIP 5    /* addresses tried in one attempt */
#define DANE_TEXT_MAX    4096 /* of TLSA records in a report */

/* ---- transport security --------------------------------------------------------------------- */

/* "TLS-Required: No", RFC 8689 5: the mail is not worth waiting for safe ways. The field is in the
 * first chunk if it is anywhere near the top. */
static bool waives_tls(const struct trip *trip)
{
    struct slice rest = trip_claim(trip)->first_chunk;
    struct header_field field;
    while (header_next(&rest, &field)) {
        if (slice_equal_nocase(field.name, SLICE("TLS-Required"))) {
            return slice_equal_nocase(slice_trim(field.value), SLICE("no"));
        }
    }
    return false;
}

static enum tls_override override_of(enum policy_tls tls)
{
    switch (tls) {
    case POLICY_TLS_UNSET:
        return TLS_OVERRIDE_UNSET;
    case POLICY_TLS_NONE:
        return TLS_OVERRIDE_NONE;
    case POLICY_TLS_MAY:
        return TLS_OVERRIDE_MAY;
    case POLICY_TLS_REQUIRE:
        return TLS_OVERRIDE_REQUIRE;
    }
    return TLS_OVERRIDE_UNSET;
}

/* What is known of the host that is next, for tls_demand. */
static void gather_facts(const struct trip *trip, struct tls_facts *facts)
{
    const struct deliver *deliver = trip->deliver;
    *facts = (struct tls_facts){
        .override = override_of(policy_tls(deliver->policy, trip_claim(trip)->entry.domain)),
        .dane = trip->dane.result,
        .requires_tls = trip_claim(trip)->requires_tls,
        .waives_tls = waives_tls(trip),
        .is_smarthost = deliver->has_smarthost,
        .smarthost_tls = deliver->smarthost_tls,
        .has_password = deliver->place->conf->smarthost_user.len > 0 && deliver->has_smarthost,
    };
    trip_sts_facts(trip, trip->target, facts);
}

static void on_dane(struct dane *dane)
{
    struct trip *trip = CONTAINER_OF(dane, struct trip, dane);
    struct buf text;
    buf_init(&text, DANE_TEXT_MAX);
    dane_write(dane, &text);
    if (text.len > 0) {
        tls_report_policy(trip->deliver->tls_report, trip_claim(trip)->entry.domain,
                          TLS_REPORT_TLSA, buf_slice(&text));
    }
    buf_fini(&text);
    trip_connect(trip);
}

/* Whether all is known that gather_facts tells of the next host; else trip_connect comes again. */
static bool look_up(struct trip *trip)
{
    const struct route_target *target = &trip->route.targets[trip->target];
    const struct route_host *host = &trip->route.hosts[target->host_index];
    if (trip->deliver->has_smarthost || trip->dane_host == host) {
        return true;
    }
    trip->dane_host = host;
    bool is_known = dane_find(&trip->dane, trip->deliver->dns, &trip->route, host, on_dane);
    /* Names that a CA of TLSA records may vouch for, beside the base: RFC 7672 3.2.2. */
    trip->dane.pins.names[0] = trip_claim(trip)->entry.domain;
    trip->dane.pins.names[1] = slice_str(host->name);
    return is_known;
}

void trip_forget_look_ups(struct trip *trip)
{
    dane_cancel(&trip->dane);
    dane_fini(&trip->dane);
    trip->dane_host = NULL;
}

/* The one place that hears how TLS went with a host, once a connection, whether it was kept or
 * failed, or the host was left out (no attempt). result is what RFC 8460 calls it. */
static void note_tls(const struct trip *trip, const struct attempt_smtp *attempt,
                     enum tls_result result)
{
    const struct route_target *target = &trip->route.targets[trip->target];
    LOG_DEBUG("trip.tls", LOG_STR("site", trip->site->name), LOG_STR("host", target->host),
              LOG_STR("policy", trip->demand.policy), LOG_STR("result", tls_result_word(result)));
    trip_count_tls(trip, attempt, result);
}

static struct tls_context *context_for(const struct deliver *deliver, enum tls_verify check)
{
    switch (check) {
    case TLS_VERIFY_NONE:
        return deliver->tls_any;
    case TLS_VERIFY_NAME:
        return deliver->tls_strict;
    case TLS_VERIFY_DANE:
        return deliver->tls_dane;
    }
    return deliver->tls_strict;
}

static void next_target(struct trip *trip)
{
    bool is_tls = trip->failure.step == SMTP_STEP_TLS || trip->failure.step == SMTP_STEP_STARTTLS ||
                  strcmp(trip->failure.enhanced, TLS_NO_REQUIRETLS) == 0;
    trip->may_mend |= !is_tls;
    trip->is_plain_retry = false;
    trip->target += 1;
}

/* Whether the next host may be used at all. */
static bool admit_target(struct trip *trip)
{
    const struct route_target *target = &trip->route.targets[trip->target];
    struct tls_facts facts;
    gather_facts(trip, &facts);
    tls_demand_of(&facts, &trip->demand);
    if (trip->demand.is_usable) {
        return true;
    }
    char text[VERDICT_TEXT_MAX];
    (void)snprintf(text, sizeof text, "%.255s left out: %s", target->host, trip->demand.sentence);
    transcript_add(&trip->transcript, "-- ", slice_str(text));
    verdict_own(&trip->failure, SMTP_STEP_TLS, VERDICT_DEFERRED, trip->demand.enhanced, text);
    (void)snprintf(trip->remote_host, sizeof trip->remote_host, "%s", target->host);
    trip->tls_policy = trip->demand.policy;
    note_tls(trip, NULL, trip->demand.result);
    return false;
}

/* ---- attempt -------------------------------------------------------------------------------- */

static void fill_options(const struct trip *trip, struct attempt_options *options)
{
    const struct deliver *deliver = trip->deliver;
    const struct conf *conf = deliver->place->conf;
    const struct route_target *target = &trip->route.targets[trip->target];
    const struct tls_demand *demand = &trip->demand;
    CHECK_IF(trip->is_plain_retry, demand->may_go_plain);
    *options = (struct attempt_options){
        .loop = deliver->loop,
        .handler = &trip_attempt_handler,
        .addr = target->addr,
        .host = target->host,
        .ehlo = conf->hostname,
        .tls = trip->is_plain_retry ? SMTP_TLS_NONE : demand->mode,
        .tls_context = context_for(deliver, demand->check),
        .pins = demand->check == TLS_VERIFY_DANE ? &trip->dane.pins : NULL,
        .pin_base = trip->dane.base,
        .policy = demand->policy,
        .user = deliver->has_smarthost ? conf->smarthost_user : slice_of(NULL, 0),
        .password = deliver->smarthost_password,
        .timeout_ms = conf->smtp_timeout_ms,
        .tap = &deliver->tap,
        .on_line = trip_trace_line,
        .on_reply = trip_trace_reply,
    };
}

/* A connection that is kept was proved to be what its options asked for, whichever domain that was
 * for: it serves this host only if the same is asked for now. */
static bool is_fit(const struct attempt_smtp *attempt, const struct attempt_options *options)
{
    const struct attempt_options *had = attempt_smtp_options(attempt);
    return had->tls == options->tls && had->tls_context == options->tls_context &&
           strcmp(had->policy, options->policy) == 0;
}

static bool leads_to(const struct attempt_smtp *attempt, const struct route_target *target)
{
    char addr[ADDR_TEXT_MAX];
    (void)conn_addr_text(&target->addr, addr); /* terminated; no length needed */
    return strcmp(attempt_smtp_addr(attempt), addr) == 0 &&
           strcmp(attempt_smtp_host(attempt), target->host) == 0;
}

static struct attempt_smtp *idle_to(const struct trip *trip, const struct route_target *target,
                                    const struct attempt_options *options)
{
    LIST_EACH (&trip->site->idle_conns, it) {
        struct attempt_smtp *attempt = attempt_smtp_of_link(it);
        if (leads_to(attempt, target) && trip_source_may(trip, attempt) &&
            (options == NULL || is_fit(attempt, options))) {
            return attempt;
        }
    }
    return NULL;
}

enum search { SEARCH_FOUND, SEARCH_WAITS, SEARCH_OVER };

/* An idle connection of the site to any of the hosts, for a mail whose first try this is. A mail
 * that requires TLS goes its own way: the host may have to be asked for more. */
static enum search find_idle(struct trip *trip, struct attempt_smtp **idle)
{
    bool is_first = trip->tried == 0 && !trip->is_reuse_over && !trip_claim(trip)->requires_tls;
    for (; is_first && trip->target < trip->route.target_count; trip->target++) {
        const struct route_target *target = &trip->route.targets[trip->target];
        struct tls_facts facts;
        struct attempt_options options;
        if (idle_to(trip, target, NULL) == NULL) {
            continue;
        }
        if (!look_up(trip)) {
            return SEARCH_WAITS;
        }
        gather_facts(trip, &facts);
        tls_demand_of(&facts, &trip->demand);
        fill_options(trip, &options);
        *idle = trip->demand.is_usable ? idle_to(trip, target, &options) : NULL;
        if (*idle != NULL) {
            return SEARCH_FOUND;
        }
    }
    if (is_first) {
        trip->is_reuse_over = true;
        trip->target = 0;
    }
    return SEARCH_OVER;
}

/* The next address of a host that may be used. */
static enum search find_target(struct trip *trip)
{
    for (; trip->target < trip->route.target_count; next_target(trip)) {
        if (!look_up(trip)) {
            return SEARCH_WAITS;
        }
        if (admit_target(trip)) {
            return SEARCH_FOUND;
        }
    }
    return SEARCH_OVER;
}

static void open_attempt(struct trip *trip)
{
    struct attempt_options options;
    fill_options(trip, &options);
    CHECK(trip_claim(trip)->rehearsal ==
          REHEARSAL_NONE); /* no socket for a test, whatever happened before */
    switch (trip_choose_source(trip, &options)) {
    case SOURCE_ANY:
    case SOURCE_FOUND:
        break;
    case SOURCE_USED_UP:
        trip_wait_for_source(trip);
        return;
    case SOURCE_NO_FAMILY:
        verdict_own(&trip->failure, SMTP_STEP_CONNECT, VERDICT_DEFERRED, "4.4.1",
                    "the sending pool has no address of the host's kind (IPv4 or IPv6)");
        next_target(trip);
        trip_connect(trip);
        return;
    }
    trip_make_room(trip);
    trip->tried += 1;
    trip->attempt = attempt_smtp_open(&options, trip);
}

static void give_up(struct trip *trip)
{
    if (!trip->may_mend && !trip->deliver->is_abandoning) {
        tls_demand_end(&trip->demand, &trip->failure);
    }
    trip_judge_all(trip, &trip->failure);
    trip_conclude(trip);
}

void trip_connect(struct trip *trip)
{
    CHECK(trip->attempt == NULL);
    CHECK(trip->is_busy);
    struct attempt_smtp *idle = NULL;
    bool is_over = trip->tried >= TARGETS_PER_TRIP || trip->deliver->is_abandoning;
    enum search search = is_over ? SEARCH_OVER : find_idle(trip, &idle);
    if (search == SEARCH_FOUND) {
        trip_take_idle(trip, idle);
        return;
    }
    if (search == SEARCH_OVER && !is_over) {
        search = find_target(trip);
    }
    switch (search) {
    case SEARCH_FOUND:
        sm_move(&trip->sm, TRIP_CONNECT);
        open_attempt(trip);
        break;
    case SEARCH_WAITS: /* trip_connect comes again */
        sm_move(&trip->sm, TRIP_CONNECT);
        break;
    case SEARCH_OVER:
        give_up(trip);
        break;
    }
}

static void on_ready(struct attempt_smtp *attempt)
{
    struct trip *trip = attempt_smtp_owner(attempt);
    CHECK(trip->attempt == attempt);
    if (attempt_smtp_tls(attempt)[0] != '\0') {
        note_tls(trip, attempt, TLS_RESULT_SUCCESS);
    } else if (!trip->is_plain_retry) { /* then the failure was noted */
        note_tls(trip, attempt, TLS_RESULT_STARTTLS_NOT_SUPPORTED);
    }
    if (trip->demand.needs_requiretls && !attempt_smtp_has_requiretls(attempt)) {
        trip_remember(trip, attempt);
        trip->attempt = NULL;
        attempt_smtp_quit(attempt);
        verdict_own(&trip->failure, SMTP_STEP_EHLO, VERDICT_DEFERRED, TLS_NO_REQUIRETLS,
                    "the server does not offer REQUIRETLS, which the mail asks for");
        next_target(trip);
        trip_connect(trip);
        return;
    }
    sm_move(&trip->sm, TRIP_SEND);
    trip_send_part(trip);
}

static void on_chunk(struct attempt_smtp *attempt, uint32_t index)
{
    struct trip *trip = attempt_smtp_owner(attempt);
    CHECK(trip->chunk == NULL); /* one at a time */
    CHECK(index < trip->mail.chunk_count);
    struct msg *msg = msg_take(&trip->deliver->actor, MSG_SHARD_CHUNK);
    CHECK(msg != NULL); /* ATTEMPTS_MAX leaves one for each trip */
    msg->body.chunk.account = id_account(trip->entry->mail);
    msg->body.chunk.mail = trip->entry->mail;
    msg->body.chunk.index = index;
    trip->chunk = msg;
    trip_post(trip, msg);
}

void trip_remember(struct trip *trip, const struct attempt_smtp *attempt)
{
    snprintf(trip->remote_host, sizeof trip->remote_host, "%s", attempt_smtp_host(attempt));
    snprintf(trip->remote_addr, sizeof trip->remote_addr, "%s", attempt_smtp_addr(attempt));
    snprintf(trip->tls, sizeof trip->tls, "%s", attempt_smtp_tls(attempt));
    trip->tls_policy = attempt_smtp_options(attempt)->policy;
    struct slice said = attempt_smtp_transcript(attempt);
    buf_add(&trip->transcript, slice_head(said, trip->transcript.max_bytes - trip->transcript.len));
}

void trip_send_part(struct trip *trip)
{
    uint32_t most = trip->site->rules.rcpts_max;
    uint32_t left = trip->mail.rcpt_count - trip->part_first;
    CHECK(left > 0);
    trip->part = trip->mail;
    trip->part.rcpts += trip->part_first;
    trip->part.rcpt_count = most > 0 && most < left ? most : left;
    if (trip->part_first > 0) {
        site_spend(trip->site, loop_now_ms(trip->deliver->loop));
    }
    attempt_smtp_send(trip->attempt, &trip->part);
}

/* Those whose turn did not come: nobody has refused them for good. */
static void put_off_rest(struct trip *trip)
{
    struct verdict verdict = trip->failure;
    if (verdict.class != VERDICT_DEFERRED) {
        verdict_own(&verdict, SMTP_STEP_RCPT, VERDICT_DEFERRED, "4.5.3",
                    "recipients before this one were refused; it is tried by itself");
        verdict.scope = VERDICT_RCPT;
    }
    trip_judge_all(trip, &verdict);
}

static bool was_any_taken(const struct attempt_mail *part)
{
    for (uint32_t i = 0; i < part->rcpt_count; i++) {
        if (part->rcpts[i].verdict.class == VERDICT_DELIVERED) {
            return true;
        }
    }
    return false;
}

/* The next recipients follow on the same connection as long as it serves, else on another one; when
 * nobody was taken they would not be either, and are put off with what was said. */
static void on_judged(struct attempt_smtp *attempt)
{
    struct trip *trip = attempt_smtp_owner(attempt);
    CHECK(trip->attempt == attempt);
    trip_remember(trip, attempt);
    bool is_alive = attempt_smtp_is_alive(attempt);
    bool is_worn = !is_alive || attempt_smtp_mails(attempt) >= site_mails_per_conn(trip->site);
    bool is_over = trip->deliver->is_abandoning || !was_any_taken(&trip->part);
    trip->failure = trip->part.rcpts[0].verdict;
    trip->part_first += trip->part.rcpt_count;
    bool is_last = trip->part_first >= trip->mail.rcpt_count;
    if (!is_last && !is_over && !is_worn) {
        trip->is_reused = true; /* it may be closed like any that was kept */
        trip_send_part(trip);
        return;
    }
    trip->attempt = NULL;
    if (is_alive) {
        trip_keep(trip, attempt);
    }
    if (!is_last && !is_over) {
        trip->tried = 0;
        trip->is_reused = false;
        trip_find_route(trip);
        return;
    }
    put_off_rest(trip);
    trip_conclude(trip);
}

static void on_failed(struct attempt_smtp *attempt, const struct verdict *verdict)
{
    if (trip_is_idle(attempt)) {
        trip_idle_gone(attempt);
        return;
    }
    struct trip *trip = attempt_smtp_owner(attempt);
    CHECK(trip->attempt == attempt);
    CHECK(trip->chunk == NULL); /* bodies end in on_judged */
    trip_remember(trip, attempt);
    trip->attempt = NULL;
    trip->failure = *verdict;
    if (trip->is_reused) {
        /* The server may close a kept connection whenever it likes: no failure of the host. */
        trip->is_reused = false;
        trip->is_reuse_over = true;
        site_conn_ended(trip->site, attempt_smtp_mails(attempt));
        trip_find_route(trip);
        return;
    }
    enum tls_result result = tls_result_of(verdict->step, attempt_smtp_fault(attempt));
    if (result != TLS_RESULT_SUCCESS) {
        note_tls(trip, attempt, result);
    }
    if (verdict->step == SMTP_STEP_TLS && trip->demand.may_go_plain && !trip->is_plain_retry) {
        trip->is_plain_retry = true;
    } else {
        next_target(trip);
    }
    trip_connect(trip);
}

const struct attempt_handler trip_attempt_handler = {on_ready, on_chunk, on_judged, on_failed};

void trip_chunk_home(struct trip *trip, struct msg *msg)
{
    CHECK(trip->chunk == msg);
    trip->chunk = NULL;
    if (trip->attempt == NULL) {
        /* The connection ended while the chunk was on its way; conclude waited for it. */
        msg_put(&trip->deliver->actor, msg);
        trip_conclude(trip);
        return;
    }
    if (msg->err != ERR_OK) {
        LOG_ERROR("trip.chunk", LOG_ERR(msg->err),
                  LOG_ID("message", ID_MESSAGE, trip->entry->mail));
        trip_remember(trip, trip->attempt);
        attempt_smtp_abort(trip->attempt);
        trip->attempt = NULL;
        verdict_own(&trip->failure, SMTP_STEP_DATA, VERDICT_DEFERRED, "4.3.0",
                    "the stored mail could not be read");
        trip_judge_all(trip, &trip->failure);
        msg_put(&trip->deliver->actor, msg);
        trip_conclude(trip);
        return;
    }
    attempt_smtp_chunk(trip->attempt, msg->body.chunk.data);
    msg_put(&trip->deliver->actor, msg);
}

/* ---- webhooks ------------------------------------------------------------------------------- */

static void on_hook_done(struct attempt_hook *hook)
{
    struct trip *trip = CONTAINER_OF(hook, struct trip, hook);
    CHECK(trip->is_calling);
    trip->is_calling = false;
    snprintf(trip->remote_addr, sizeof trip->remote_addr, "%s", hook->remote_addr);
    if (trip_is_traced(trip)) {
        trip_trace_called(trip);
    }
    trip_judge_all(trip, &hook->verdict);
    trip_conclude(trip);
}

void trip_call_hook(struct trip *trip)
{
    const struct shard_claim *claim = trip_claim(trip);
    struct hook_request request = {
        .url = claim->url,
        .headers = claim->hook_headers,
        .body = claim->hook_body,
        .ack_mode = claim->ack_mode,
        .timeout_ms = min_u64(trip->deliver->place->conf->hook_timeout_ms, HOOK_MS),
    };
    CHECK(!trip->is_calling);
    trip->is_calling = true;
    trip->tried += 1;
    sm_move(&trip->sm, TRIP_SEND);
    if (trip_is_traced(trip)) {
        trip_trace_call(trip, &request);
    }
    attempt_hook_start(trip->deliver->http, &trip->hook, &request, on_hook_done);
}
