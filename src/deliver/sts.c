/* sts.c - see sts.h.
 *
 *   IDLE -> LOAD -> ASK -> FETCH -> IDLE     of one domain
 *    +---------------^ |               ^
 *            kept      +---------------+ same id, no record, too soon after a failure
 *
 * Times are wall time throughout: a policy's age has to survive a restart. Whatever waits is
 * capped, so that a clock set back costs a look-up at most.
 */
#include "deliver/sts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/sm.h"

#define MINUTE_MS     UINT64_C(60000)
#define DAY_MS        (UINT64_C(24) * 3600 * 1000)
#define ASK_MIN_MS    MINUTE_MS
#define ASK_MAX_MS    (60 * MINUTE_MS)
#define RETRY_MS      (5 * MINUTE_MS)
#define ROUND_MS      MINUTE_MS /* between two looks for what should be refreshed */
#define ROUND_FETCHES 32
#define TOKEN_SWEEP   1 /* of a note that is no entry's */
#define TOKEN_KEPT    2
#define NOTE_VERSION  1
#define RECORD_LABEL  "_mta-sts."
/* Of a domain that a record can stand under. */
#define NAME_MAX_BYTES (DOMAIN_MAX - (sizeof(RECORD_LABEL) - 1))
#define NOTE_BYTES     (STS_POLICY_BYTES + 256)

enum state { STATE_IDLE, STATE_LOAD, STATE_ASK, STATE_FETCH, STATE_COUNT };

#define TO(name) SM_TO(STATE_##name)
static const struct sm_state states[] = {
    [STATE_IDLE] = {"idle", TO(LOAD) | TO(ASK)},
    [STATE_LOAD] = {"load", TO(ASK) | TO(IDLE)},
    [STATE_ASK] = {"ask", TO(FETCH) | TO(IDLE)},
    [STATE_FETCH] = {"fetch", TO(IDLE)},
};
#undef TO
_Static_assert(ARRAY_LEN(states) == STATE_COUNT, "a row for each state");
static const struct sm_table table = {"sts", states, STATE_COUNT};

/* A policy with the text that it borrows from, in one block. */
struct kept {
    struct sts_policy policy;
    uint64_t fetched_unix_ms;
    char id[STS_ID_MAX + 1];
    size_t len;
    char text[];
};

struct entry {
    struct sts *sts;
    struct link link; /* sts->entries, the last used one at the end */
    struct link waiters;
    struct link turn; /* sts->unread, while no message is free to read its note */
    struct sm sm;
    struct dns_query query;
    struct http_call call;
    struct kept *kept; /* NULL: none */
    char record_id[STS_ID_MAX + 1];
    uint64_t ask_unix_ms;   /* not before; until then what is known is the answer */
    uint64_t retry_unix_ms; /* likewise for a fetch, after a failure */
    enum sts_fault fault;   /* of the last fetch */
    bool is_loaded;
    bool is_telling; /* waiters are being told: it must stay */
    UT_hash_handle hh;
    char domain[DOMAIN_MAX + 1];
};

struct sts {
    struct sts_options options;
    struct entry *by_domain;
    struct link entries;
    struct link unread;
    struct timer round;
    uint64_t kept_bytes;
    uint64_t sweep_unix_ms; /* when all notes are looked through again */
    uint32_t fetches;
    uint32_t notes_out;
    bool is_sweeping;
    bool is_closed;
};

static void on_round(struct timer *timer);
static void begin(struct entry *entry);
static void ask(struct entry *entry);
static void tell(struct entry *entry, bool is_unknown);

static enum state state_of(const struct entry *entry)
{
    return (enum state)entry->sm.state;
}

/* ---- life ----------------------------------------------------------------------------------- */

struct sts *sts_new(const struct sts_options *options)
{
    CHECK_LOOP(options->loop);
    struct sts *sts = mem_zalloc(sizeof *sts);
    sts->options = *options;
    list_init(&sts->entries);
    list_init(&sts->unread);
    timer_init(&sts->round, options->loop, on_round);
    return sts;
}

static void drop_kept(struct entry *entry)
{
    if (entry->kept != NULL) {
        size_t bytes = sizeof *entry->kept + entry->kept->len;
        CHECK(entry->sts->kept_bytes >= bytes);
        entry->sts->kept_bytes -= bytes;
        free(entry->kept);
        entry->kept = NULL;
    }
}

static void forget(struct entry *entry)
{
    struct sts *sts = entry->sts;
    CHECK(list_is_empty(&entry->waiters));
    drop_kept(entry);
    list_remove(&entry->link);
    list_remove(&entry->turn);
    HASH_DEL(sts->by_domain, entry);
    free(entry);
}

void sts_free(struct sts *sts)
{
    CHECK_LOOP(sts->options.loop);
    CHECK(sts->notes_out == 0);
    LIST_EACH_SAFE (&sts->entries, it, after) {
        forget(CONTAINER_OF(it, struct entry, link));
    }
    CHECK(sts->kept_bytes == 0);
    free(sts);
}

void sts_start(struct sts *sts)
{
    CHECK_LOOP(sts->options.loop);
    timer_start(&sts->round, 1);
}

void sts_close(struct sts *sts)
{
    CHECK_LOOP(sts->options.loop);
    sts->is_closed = true;
    timer_stop(&sts->round);
    LIST_EACH (&sts->entries, it) {
        struct entry *entry = CONTAINER_OF(it, struct entry, link);
        CHECK(list_is_empty(&entry->waiters));
        dns_cancel(&entry->query);
        http_call_cancel(&entry->call);
    }
}

uint32_t sts_count(const struct sts *sts)
{
    return HASH_COUNT(sts->by_domain);
}

/* ---- entries -------------------------------------------------------------------------------- */

static void make_room(struct sts *sts)
{
    LIST_EACH_SAFE (&sts->entries, it, after) {
        struct entry *entry = CONTAINER_OF(it, struct entry, link);
        if (HASH_COUNT(sts->by_domain) < STS_DOMAINS_MAX && sts->kept_bytes <= STS_CACHE_BYTES) {
            return;
        }
        if (state_of(entry) == STATE_IDLE && !entry->is_telling) {
            forget(entry);
        }
    }
}

static struct entry *look_up(const struct sts *sts, struct slice domain)
{
    struct entry *entry = NULL;
    HASH_FIND(hh, sts->by_domain, domain.data, (unsigned)domain.len, entry);
    return entry;
}

static struct entry *get(struct sts *sts, struct slice domain)
{
    struct entry *entry = look_up(sts, domain);
    if (entry != NULL) {
        list_remove(&entry->link);
        list_push_back(&sts->entries, &entry->link);
        return entry;
    }
    make_room(sts);
    entry = mem_zalloc(sizeof *entry);
    entry->sts = sts;
    sm_init(&entry->sm, &table, STATE_IDLE);
    list_init(&entry->waiters);
    list_init(&entry->turn);
    memcpy(entry->domain, domain.data, domain.len);
    HASH_ADD_KEYPTR(hh, sts->by_domain, entry->domain, (unsigned)domain.len, entry);
    list_push_back(&sts->entries, &entry->link);
    return entry;
}

static bool is_over(const struct kept *kept, uint64_t now_unix_ms)
{
    return now_unix_ms >= kept->fetched_unix_ms + kept->policy.max_age_s * 1000;
}

/* Half of a short life, or a day. */
static bool is_stale(const struct kept *kept, uint64_t now_unix_ms)
{
    uint64_t fresh_ms = min_u64(DAY_MS, kept->policy.max_age_s * 500);
    return now_unix_ms >= kept->fetched_unix_ms + fresh_ms || now_unix_ms < kept->fetched_unix_ms;
}

/* Takes a policy's own text, as sts_policy_write makes it. False when it is none. */
static bool keep(struct entry *entry, struct slice text, struct slice id, uint64_t fetched_unix_ms)
{
    struct kept *kept = mem_zalloc(sizeof *kept + text.len);
    memcpy(kept->text, text.data, text.len);
    kept->len = text.len;
    kept->fetched_unix_ms = fetched_unix_ms;
    if (id.len > STS_ID_MAX ||
        sts_policy_read(slice_of(kept->text, kept->len), &kept->policy) != ERR_OK) {
        free(kept);
        return false;
    }
    memcpy(kept->id, id.data, id.len);
    drop_kept(entry);
    entry->kept = kept;
    entry->sts->kept_bytes += sizeof *kept + kept->len;
    return true;
}

/* ---- notes ---------------------------------------------------------------------------------- */

static struct msg *take_note(struct sts *sts, enum note_op op, struct slice name, uint64_t token)
{
    struct msg *msg = NULL;
    if (sts->notes_out < STS_NOTES_MAX && !sts->is_closed) {
        msg = msg_take(sts->options.actor, MSG_SHARD_NOTE);
    }
    if (msg == NULL) {
        return NULL;
    }
    sts->notes_out += 1;
    msg->token = token;
    msg->body.note.op = op;
    msg->body.note.kind = NOTE_STS;
    msg->body.note.name = arena_dup(&msg->arena, name);
    return msg;
}

static void store(struct entry *entry)
{
    struct sts *sts = entry->sts;
    const struct kept *kept = entry->kept;
    struct msg *msg = take_note(sts, NOTE_PUT, slice_str(entry->domain), TOKEN_KEPT);
    if (msg == NULL) {
        LOG_WARN("sts.store", LOG_STR("domain", entry->domain)); /* the next fetch tries again */
        return;
    }
    struct buf value;
    buf_init(&value, NOTE_BYTES);
    buf_put_u8(&value, NOTE_VERSION);
    buf_put_u64(&value, kept->fetched_unix_ms);
    buf_put_slice(&value, slice_str(kept->id));
    buf_put_slice(&value, slice_of(kept->text, kept->len));
    CHECK(!value.is_over);
    msg->body.note.value = arena_dup(&msg->arena, buf_slice(&value));
    buf_fini(&value);
    actor_post(sts->options.place->deliver_shard, msg);
}

static void delete_note(struct sts *sts, struct slice name)
{
    struct msg *msg = take_note(sts, NOTE_DELETE, name, TOKEN_KEPT);
    if (msg != NULL) { /* otherwise the next sweep does it */
        actor_post(sts->options.place->deliver_shard, msg);
    }
}

/* What a note says becomes what is known, unless that is younger. False: it has run out, or is
 * damaged. */
static bool take_value(struct entry *entry, struct slice value)
{
    uint8_t version;
    uint64_t fetched_unix_ms;
    struct slice id;
    struct slice text;
    if (!get_u8(&value, &version) || version != NOTE_VERSION ||
        !get_u64(&value, &fetched_unix_ms) || !get_slice(&value, &id) ||
        !get_slice(&value, &text)) {
        return false;
    }
    if (entry->kept != NULL && entry->kept->fetched_unix_ms >= fetched_unix_ms) {
        return true;
    }
    if (!keep(entry, text, id, fetched_unix_ms)) {
        return false;
    }
    if (is_over(entry->kept, clock_unix_ms())) {
        drop_kept(entry);
        return false;
    }
    return true;
}

static void on_loaded(struct entry *entry, const struct msg *msg)
{
    CHECK(state_of(entry) == STATE_LOAD);
    if (msg->err == ERR_OK && msg->body.note.note_count == 1) {
        (void)take_value(entry, msg->body.note.notes[0].value); /* false: as if there were none */
    } else if (msg->err != ERR_NOT_FOUND) {
        LOG_WARN("sts.load", LOG_STR("domain", entry->domain), LOG_ERR(msg->err));
        sm_move(&entry->sm, STATE_IDLE);
        tell(entry, true);
        return;
    }
    entry->is_loaded = true;
    ask(entry);
}

/* False: no message is free. */
static bool read_note(struct entry *entry)
{
    struct sts *sts = entry->sts;
    struct msg *msg =
        take_note(sts, NOTE_GET, slice_str(entry->domain), (uint64_t)(uintptr_t)entry);
    if (msg != NULL) {
        actor_post(sts->options.place->deliver_shard, msg);
    }
    return msg != NULL;
}

/* Whoever finds no message free has its turn when one of ours is home. */
static void load(struct entry *entry)
{
    sm_move(&entry->sm, STATE_LOAD);
    if (read_note(entry)) {
        return;
    }
    if (entry->sts->notes_out > 0) {
        list_push_back(&entry->sts->unread, &entry->turn);
        return;
    }
    sm_move(&entry->sm, STATE_IDLE);
    tell(entry, true);
}

static void load_next(struct sts *sts)
{
    while (!list_is_empty(&sts->unread)) {
        struct entry *entry = CONTAINER_OF(sts->unread.next, struct entry, turn);
        if (!read_note(entry)) {
            break;
        }
        list_remove(&entry->turn);
    }
    while (sts->notes_out == 0 && !list_is_empty(&sts->unread)) { /* nothing will come home */
        struct entry *entry = CONTAINER_OF(list_pop_front(&sts->unread), struct entry, turn);
        sm_move(&entry->sm, STATE_IDLE);
        tell(entry, true);
    }
}

static void scan(struct sts *sts, struct slice behind)
{
    struct msg *msg = take_note(sts, NOTE_SCAN, behind, TOKEN_SWEEP);
    sts->is_sweeping = msg != NULL; /* otherwise the next round begins anew */
    if (msg != NULL) {
        msg->body.note.limit = NOTES_PER_SCAN;
        actor_post(sts->options.place->deliver_shard, msg);
    }
}

/* A page of all notes: those that have run out go, the others are known from now on, as far as
 * there is room. */
static void on_swept(struct sts *sts, const struct msg *msg)
{
    const struct shard_note *body = &msg->body.note;
    bool is_last = msg->err != ERR_OK || body->note_count < NOTES_PER_SCAN;
    for (uint32_t i = 0; msg->err == ERR_OK && i < body->note_count; i++) {
        const struct note *note = &body->notes[i];
        bool is_known = look_up(sts, note->name) != NULL;
        if (note->name.len == 0 || note->name.len > NAME_MAX_BYTES ||
            (!is_known && HASH_COUNT(sts->by_domain) >= STS_DOMAINS_MAX / 2)) {
            continue;
        }
        struct entry *entry = get(sts, note->name);
        if (!take_value(entry, note->value)) {
            delete_note(sts, note->name);
        } else if (state_of(entry) != STATE_LOAD) {
            entry->is_loaded = true;
        }
    }
    sts->is_sweeping = false;
    if (!is_last && !sts->is_closed) {
        scan(sts, body->notes[body->note_count - 1].name);
    } else if (msg->err == ERR_OK) {
        sts->sweep_unix_ms = clock_unix_ms() + DAY_MS;
    }
}

void sts_on_note(struct sts *sts, struct msg *msg)
{
    CHECK_LOOP(sts->options.loop);
    CHECK(msg->kind == MSG_SHARD_NOTE && msg->body.note.kind == NOTE_STS);
    CHECK(sts->notes_out > 0);
    sts->notes_out -= 1;
    if (msg->token == TOKEN_SWEEP) {
        on_swept(sts, msg);
    } else if (msg->token == TOKEN_KEPT) {
        if (msg->err != ERR_OK) {
            LOG_WARN("sts.store", LOG_TEXT("domain", msg->body.note.name), LOG_ERR(msg->err));
        }
    } else {
        on_loaded((struct entry *)(uintptr_t)msg->token, msg);
    }
    msg_put(sts->options.actor, msg);
    load_next(sts);
}

/* ---- fetching ------------------------------------------------------------------------------- */

static bool is_plain_text(struct slice type)
{
    return slice_equal_nocase(slice_trim(slice_cut(&type, ';')), SLICE("text/plain"));
}

static enum sts_fault take_answer(struct entry *entry, const struct http_call_result *result)
{
    struct sts_policy policy;
    if (result->err != ERR_OK) {
        return result->err == ERR_TLS ? STS_FAULT_WEBPKI : STS_FAULT_FETCH;
    }
    if (result->status != 200 || !is_plain_text(result->headers[0])) {
        return STS_FAULT_FETCH;
    }
    if (result->is_cut || sts_policy_read(result->body, &policy) != ERR_OK) {
        return STS_FAULT_INVALID;
    }
    struct buf text;
    buf_init(&text, STS_POLICY_BYTES);
    sts_policy_write(&policy, &text);
    bool is_kept = keep(entry, buf_slice(&text), slice_str(entry->record_id), clock_unix_ms());
    buf_fini(&text);
    CHECK(is_kept); /* it was read before */
    return STS_FAULT_NONE;
}

static void on_fetched(struct http_call *call, const struct http_call_result *result)
{
    struct entry *entry = CONTAINER_OF(call, struct entry, call);
    CHECK(entry->sts->fetches > 0);
    entry->sts->fetches -= 1;
    entry->fault = take_answer(entry, result);
    if (entry->fault == STS_FAULT_NONE) {
        metric_add(METRIC_STS_FETCHED, 1);
        store(entry);
    } else {
        metric_add(METRIC_STS_FAILED, 1);
        entry->retry_unix_ms = clock_unix_ms() + RETRY_MS;
        LOG_INFO("sts.fetch", LOG_STR("domain", entry->domain), LOG_U64("status", result->status),
                 LOG_STR("failure", result->failure));
    }
    sm_move(&entry->sm, STATE_IDLE);
    tell(entry, false);
}

static void fetch(struct entry *entry)
{
    static const struct slice kept_headers[] = {SLICE_INIT("content-type")};
    struct sts *sts = entry->sts;
    char url[DOMAIN_MAX + 80];
    char port[8] = "";
    if (sts->options.tcp_port != 443) {
        (void)snprintf(port, sizeof port, ":%u", (unsigned)sts->options.tcp_port); /* it fits */
    }
    (void)snprintf(url, sizeof url, "https://mta-sts.%s%s/.well-known/mta-sts.txt", entry->domain,
                   port); /* likewise */
    struct http_call_request request = {
        .method = HTTP_METHOD_GET,
        .url = slice_str(url),
        .keep = kept_headers,
        .keep_count = ARRAY_LEN(kept_headers),
        .body_max = STS_POLICY_BYTES,
        .timeout_ms = STS_FETCH_MS,
    };
    sm_move(&entry->sm, STATE_FETCH);
    sts->fetches += 1;
    http_call_start(sts->options.http, &entry->call, &request, on_fetched);
}

/* ---- asking --------------------------------------------------------------------------------- */

static bool read_record(struct entry *entry, const struct dns_answer *answer)
{
    struct slice texts[DNS_ANSWERS_MAX];
    struct text_records records = {.texts = texts};
    struct slice id;
    entry->record_id[0] = '\0';
    if (answer->err != ERR_OK) {
        return false;
    }
    records.count = answer->count < DNS_ANSWERS_MAX ? answer->count : DNS_ANSWERS_MAX;
    for (uint32_t i = 0; i < records.count; i++) {
        texts[i] = answer->records[i].text;
    }
    if (!sts_record_id(&records, &id)) {
        return false;
    }
    memcpy(entry->record_id, id.data, id.len);
    entry->record_id[id.len] = '\0';
    return true;
}

static bool has_same_id(const struct entry *entry)
{
    return entry->kept != NULL && strcmp(entry->kept->id, entry->record_id) == 0;
}

/* Whether the policy that the record names has to be had, and may be asked for now. */
static bool wants_fetch(const struct entry *entry, uint64_t now_unix_ms)
{
    bool is_waiting = now_unix_ms < entry->retry_unix_ms &&
                      entry->retry_unix_ms - now_unix_ms <= RETRY_MS; /* the clock may go back */
    return !is_waiting && entry->sts->fetches < STS_FETCHES_MAX &&
           (!has_same_id(entry) || is_stale(entry->kept, now_unix_ms));
}

static void on_record(struct dns_query *query, const struct dns_answer *answer)
{
    struct entry *entry = CONTAINER_OF(query, struct entry, query);
    uint64_t now_unix_ms = clock_unix_ms();
    uint64_t pause_ms = min_u64(answer->ttl_s * UINT64_C(1000), ASK_MAX_MS);
    CHECK(state_of(entry) == STATE_ASK);
    entry->ask_unix_ms = now_unix_ms + (pause_ms > ASK_MIN_MS ? pause_ms : ASK_MIN_MS);
    if (entry->kept != NULL && is_over(entry->kept, now_unix_ms)) {
        drop_kept(entry);
        delete_note(entry->sts, slice_str(entry->domain));
    }
    bool has_record = read_record(entry, answer);
    if (!has_record) {
        entry->fault = STS_FAULT_NONE;
    }
    if (!has_record || !wants_fetch(entry, now_unix_ms)) {
        sm_move(&entry->sm, STATE_IDLE);
        tell(entry, false);
        return;
    }
    fetch(entry);
    if (has_same_id(entry)) {
        tell(entry, false); /* it is good for now, and fetched anew behind their backs */
    }
}

static void ask(struct entry *entry)
{
    char name[DNS_NAME_MAX + 16];
    (void)snprintf(name, sizeof name, RECORD_LABEL "%s", entry->domain); /* NAME_MAX_BYTES */
    sm_move(&entry->sm, STATE_ASK);
    dns_ask(entry->sts->options.dns, &entry->query, DNS_TXT, slice_str(name), on_record);
}

/* ---- finding -------------------------------------------------------------------------------- */

static void begin(struct entry *entry)
{
    CHECK(state_of(entry) == STATE_IDLE);
    if (entry->is_loaded) {
        ask(entry);
    } else {
        load(entry);
    }
}

static void answer_query(const struct entry *entry, struct sts_query *query, bool is_unknown)
{
    const struct kept *kept = entry->kept;
    bool is_good = !is_unknown && kept != NULL && kept->policy.mode != STS_MODE_NONE &&
                   !is_over(kept, clock_unix_ms());
    query->policy = is_good ? &kept->policy : NULL;
    query->fault = entry->fault;
    query->is_unknown = is_unknown;
    query->on_found(query);
}

static void tell(struct entry *entry, bool is_unknown)
{
    struct link waiters;
    struct link *it;
    CHECK(!entry->is_telling);
    list_init(&waiters);
    list_splice(&waiters, &entry->waiters);
    entry->is_telling = true;
    while ((it = list_pop_front(&waiters)) != NULL) {
        answer_query(entry, CONTAINER_OF(it, struct sts_query, link), is_unknown);
    }
    entry->is_telling = false;
    if (!list_is_empty(&entry->waiters) && state_of(entry) == STATE_IDLE) {
        begin(entry); /* asked for again by one of them */
    }
}

/* What is known now is the answer: it is young, or is just being had anew. */
static bool is_settled(const struct entry *entry, uint64_t now_unix_ms)
{
    bool is_behind = state_of(entry) == STATE_FETCH && has_same_id(entry);
    bool is_young = state_of(entry) == STATE_IDLE && now_unix_ms < entry->ask_unix_ms &&
                    entry->ask_unix_ms - now_unix_ms <= ASK_MAX_MS; /* the clock may go back */
    return is_behind || is_young;
}

void sts_find(struct sts *sts, struct sts_query *query, struct slice domain, sts_found_fn *on_found)
{
    CHECK_LOOP(sts->options.loop);
    CHECK(!sts->is_closed);
    CHECK(query->link.next == NULL || list_is_empty(&query->link));
    list_init(&query->link);
    query->on_found = on_found;
    if (domain.len == 0 || domain.len > NAME_MAX_BYTES || domain.data[0] == '[') {
        query->policy = NULL; /* no record can be under it, and an address has none */
        query->fault = STS_FAULT_NONE;
        query->is_unknown = false;
        on_found(query);
        return;
    }
    struct entry *entry = get(sts, domain);
    if (is_settled(entry, clock_unix_ms())) {
        answer_query(entry, query, false);
        return;
    }
    list_push_back(&entry->waiters, &query->link);
    if (state_of(entry) == STATE_IDLE && !entry->is_telling) {
        begin(entry);
    }
}

void sts_cancel(struct sts_query *query)
{
    if (query->link.next != NULL) {
        list_remove(&query->link);
    }
}

/* ---- refreshing ----------------------------------------------------------------------------- */

static void on_round(struct timer *timer)
{
    struct sts *sts = CONTAINER_OF(timer, struct sts, round);
    uint64_t now_unix_ms = clock_unix_ms();
    uint32_t begun = 0;
    timer_start(&sts->round, ROUND_MS);
    if (!sts->is_sweeping &&
        (now_unix_ms >= sts->sweep_unix_ms || sts->sweep_unix_ms - now_unix_ms > DAY_MS)) {
        scan(sts, SLICE(""));
    }
    LIST_EACH (&sts->entries, it) {
        struct entry *entry = CONTAINER_OF(it, struct entry, link);
        if (begun < ROUND_FETCHES && entry->kept != NULL && state_of(entry) == STATE_IDLE &&
            !is_settled(entry, now_unix_ms) && is_stale(entry->kept, now_unix_ms)) {
            begin(entry);
            begun += 1;
        }
    }
}
