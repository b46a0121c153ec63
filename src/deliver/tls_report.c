/* tls_report.c - counting, and what is kept of it. See tls_report.h. */
#include "deliver/tls_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/metric.h"
#include "deliver/tls_report_int.h"

#define ROUND_MS     UINT64_C(60000)
#define DAY_MS       (UINT64_C(24) * 3600 * 1000)
#define DAY_DIGITS   6 /* enough for 2,700 years */
#define KEPT_DAYS    7 /* what is older when it is read says nothing to anybody */
#define NOTE_VERSION 1
#define NOTE_BYTES   (TLS_REPORT_BYTES)

_Static_assert(TLS_REPORT_KINDS *(TLS_REPORT_TEXT + TLS_REPORT_DETAILS * 512 + 64) < NOTE_BYTES,
               "all of a tally fits its note");

static void on_round(struct timer *timer);
static void scan(struct tls_report *report);

/* ---- life ----------------------------------------------------------------------------------- */

struct tls_report *tls_report_new(const struct tls_report_options *options)
{
    CHECK_LOOP(options->loop);
    const struct conf *conf = options->place->conf;
    struct tls_report *report = mem_zalloc(sizeof *report);
    report->options = *options;
    report->spread_ms = conf->tls_report_spread_s * 1000;
    list_init(&report->tallies);
    list_init(&report->dirty);
    timer_init(&report->round, options->loop, on_round);
    arena_init(&report->arena, 1024, 16 * KIB);
    if (conf->tls_report_from.len > 0 &&
        (addr_parse(conf->tls_report_from, &report->arena, &report->from) != ERR_OK ||
         report->from.needs_utf8)) {
        fatal("tls_report_from is an address, not \"%.*s\"", SLICE_FMT(conf->tls_report_from));
    }
    return report;
}

static void forget(struct tally *tally)
{
    CHECK(tally->job == NULL);
    for (size_t i = 0; i < TLS_REPORT_KINDS; i++) {
        free(tally->counts[i].text);
        free(tally->counts[i].details);
    }
    list_remove(&tally->link);
    list_remove(&tally->dirty);
    HASH_DEL(tally->report->by_name, tally);
    free(tally);
}

void tls_report_free(struct tls_report *report)
{
    CHECK_LOOP(report->options.loop);
    CHECK(report->msgs_out == 0);
    LIST_EACH_SAFE (&report->tallies, it, after) {
        forget(CONTAINER_OF(it, struct tally, link));
    }
    arena_fini(&report->arena);
    free(report);
}

void tls_report_start(struct tls_report *report)
{
    CHECK_LOOP(report->options.loop);
    timer_start(&report->round, ROUND_MS);
    scan(report);
}

void tls_report_close(struct tls_report *report)
{
    CHECK_LOOP(report->options.loop);
    report->is_closed = true;
    timer_stop(&report->round);
    LIST_EACH (&report->tallies, it) {
        report_job_cancel(CONTAINER_OF(it, struct tally, link));
    }
    CHECK(report->jobs_open == 0);
}

/* ---- tallies -------------------------------------------------------------------------------- */

struct slice tally_domain(const struct tally *tally)
{
    return slice_str(tally->name + DAY_DIGITS + 1);
}

static struct tally *find(const struct tls_report *report, struct slice name)
{
    struct tally *tally = NULL;
    HASH_FIND(hh, report->by_name, name.data, (unsigned)name.len, tally);
    return tally;
}

/* Finds or makes; NULL when there are enough. */
static struct tally *get(struct tls_report *report, struct slice name, uint32_t day)
{
    struct tally *tally = find(report, name);
    if (tally != NULL || HASH_COUNT(report->by_name) >= TLS_REPORT_DOMAINS) {
        return tally;
    }
    tally = mem_zalloc(sizeof *tally);
    tally->report = report;
    tally->day = day;
    list_init(&tally->dirty);
    memcpy(tally->name, name.data, name.len);
    HASH_ADD_KEYPTR(hh, report->by_name, tally->name, (unsigned)name.len, tally);
    list_push_back(&report->tallies, &tally->link);
    return tally;
}

static struct tally *get_today(struct tls_report *report, struct slice domain)
{
    char name[TALLY_NAME_MAX + 1];
    uint32_t day = clock_day_of(clock_unix_ms());
    if (domain.len == 0 || domain.len > DOMAIN_MAX || domain.data[0] == '[' || report->is_closed) {
        return NULL; /* nobody publishes a record for an address */
    }
    int len =
        snprintf(name, sizeof name, "%0*u %.*s", DAY_DIGITS, (unsigned)day, SLICE_FMT(domain));
    CHECK(len > 0 && (size_t)len < sizeof name);
    return get(report, slice_of(name, (size_t)len), day);
}

static void mark(struct tally *tally)
{
    if (list_is_empty(&tally->dirty)) {
        list_push_back(&tally->report->dirty, &tally->dirty);
    }
}

/* Kinds of failure beyond the ceiling are in the sum only. */
static void add_failure(struct counts *counts, const struct failure *failure)
{
    for (uint32_t i = 0; i < counts->detail_count; i++) {
        struct failure *known = &counts->details[i];
        if (known->result == failure->result && strcmp(known->mx_host, failure->mx_host) == 0 &&
            strcmp(known->mx_addr, failure->mx_addr) == 0 &&
            strcmp(known->source, failure->source) == 0) {
            known->sessions += failure->sessions;
            return;
        }
    }
    if (counts->details == NULL) {
        counts->details = mem_zalloc(TLS_REPORT_DETAILS * sizeof *counts->details);
    }
    if (counts->detail_count < TLS_REPORT_DETAILS) {
        counts->details[counts->detail_count++] = *failure;
    }
}

void tls_report_count(struct tls_report *report, const struct tls_session *session)
{
    CHECK_LOOP(report->options.loop);
    CHECK(session->kind < TLS_REPORT_KINDS);
    struct tally *tally = get_today(report, session->domain);
    bool is_good = session->result == TLS_RESULT_SUCCESS;
    metric_add(is_good ? METRIC_TLS_GOOD : METRIC_TLS_BAD, 1);
    if (tally == NULL) {
        return;
    }
    struct counts *counts = &tally->counts[session->kind];
    counts->successes += is_good;
    counts->failures += !is_good;
    if (!is_good) {
        struct failure failure = {.result = session->result, .sessions = 1};
        (void)snprintf(failure.mx_host, sizeof failure.mx_host, "%s", session->mx_host);
        (void)snprintf(failure.mx_addr, sizeof failure.mx_addr, "%s", session->mx_addr);
        (void)snprintf(failure.source, sizeof failure.source, "%s", session->source);
        add_failure(counts, &failure); /* all three fit: they come from such fields */
    }
    mark(tally);
}

static void set_text(struct counts *counts, struct slice text)
{
    if (text.len > TLS_REPORT_TEXT) {
        text = slice_head(text, TLS_REPORT_TEXT);
        size_t end = slice_rfind_byte(text, '\n');
        text = slice_head(text, end == SIZE_MAX ? 0 : end);
    }
    if (counts->text == NULL && text.len > 0) {
        counts->text = mem_alloc(text.len);
        memcpy(counts->text, text.data, text.len);
        counts->text_len = text.len;
    }
}

void tls_report_policy(struct tls_report *report, struct slice domain, enum tls_report_kind kind,
                       struct slice text)
{
    CHECK_LOOP(report->options.loop);
    CHECK(kind < TLS_REPORT_KINDS);
    struct tally *tally = get_today(report, domain);
    if (tally != NULL) {
        set_text(&tally->counts[kind], text);
    }
}

/* ---- notes ---------------------------------------------------------------------------------- */

struct msg *tls_report_take(struct tls_report *report, enum msg_kind kind, void *token)
{
    struct msg *msg = NULL;
    if (report->msgs_out < TLS_REPORT_NOTES && !report->is_closed) {
        msg = msg_take(report->options.actor, kind);
    }
    if (msg != NULL) {
        report->msgs_out += 1;
        msg->token = (uint64_t)(uintptr_t)token;
    }
    return msg;
}

static struct msg *take_note(struct tls_report *report, enum note_op op, struct slice name)
{
    struct msg *msg = tls_report_take(report, MSG_SHARD_NOTE, NULL);
    if (msg != NULL) {
        msg->body.note.op = op;
        msg->body.note.kind = NOTE_TLS_COUNT;
        msg->body.note.name = arena_dup(&msg->arena, name);
    }
    return msg;
}

static void write_counts(const struct counts *counts, uint8_t kind, struct buf *out)
{
    buf_put_u8(out, kind);
    buf_put_u64(out, counts->successes);
    buf_put_u64(out, counts->failures);
    buf_put_slice(out, slice_of(counts->text, counts->text_len));
    buf_put_u32(out, counts->detail_count);
    for (uint32_t i = 0; i < counts->detail_count; i++) {
        const struct failure *failure = &counts->details[i];
        buf_put_u8(out, (uint8_t)failure->result);
        buf_put_u64(out, failure->sessions);
        buf_put_slice(out, slice_str(failure->mx_host));
        buf_put_slice(out, slice_str(failure->mx_addr));
        buf_put_slice(out, slice_str(failure->source));
    }
}

static bool read_failure(struct slice *rest, struct counts *counts)
{
    uint8_t result;
    struct failure failure = {0};
    struct slice texts[3];
    if (!get_u8(rest, &result) || result == TLS_RESULT_SUCCESS || result >= TLS_RESULT_COUNT ||
        !get_u64(rest, &failure.sessions) || !get_slice(rest, &texts[0]) ||
        !get_slice(rest, &texts[1]) || !get_slice(rest, &texts[2])) {
        return false;
    }
    failure.result = (enum tls_result)result;
    (void)snprintf(failure.mx_host, sizeof failure.mx_host, "%.*s", SLICE_FMT(texts[0]));
    (void)snprintf(failure.mx_addr, sizeof failure.mx_addr, "%.*s", SLICE_FMT(texts[1]));
    (void)snprintf(failure.source, sizeof failure.source, "%.*s", SLICE_FMT(texts[2]));
    add_failure(counts, &failure); /* we wrote them: they fit */
    return true;
}

/* Adds what a note says to what was counted since the start. False at damage. */
static bool add_value(struct tally *tally, struct slice value)
{
    uint8_t version;
    if (!get_u8(&value, &version) || version != NOTE_VERSION) {
        return false;
    }
    while (value.len > 0) {
        uint8_t kind;
        uint64_t successes;
        uint64_t failures;
        struct slice text;
        uint32_t details;
        if (!get_u8(&value, &kind) || kind >= TLS_REPORT_KINDS || !get_u64(&value, &successes) ||
            !get_u64(&value, &failures) || !get_slice(&value, &text) ||
            !get_u32(&value, &details) || details > TLS_REPORT_DETAILS) {
            return false;
        }
        struct counts *counts = &tally->counts[kind];
        counts->successes += successes;
        counts->failures += failures;
        set_text(counts, text);
        for (uint32_t i = 0; i < details; i++) {
            if (!read_failure(&value, counts)) {
                return false;
            }
        }
    }
    return true;
}

/* False: no message is free. */
static bool store(struct tally *tally)
{
    struct msg *msg = take_note(tally->report, NOTE_PUT, slice_str(tally->name));
    if (msg == NULL) {
        return false;
    }
    struct buf value;
    buf_init(&value, NOTE_BYTES);
    buf_put_u8(&value, NOTE_VERSION);
    for (uint32_t i = 0; i < TLS_REPORT_KINDS; i++) {
        const struct counts *counts = &tally->counts[i];
        if (counts->successes + counts->failures > 0) {
            write_counts(counts, (uint8_t)i, &value);
        }
    }
    CHECK(!value.is_over);
    msg->body.note.value = arena_dup(&msg->arena, buf_slice(&value));
    buf_fini(&value);
    list_remove(&tally->dirty);
    actor_post(tally->report->options.place->deliver_shard, msg);
    return true;
}

/* Not before what was counted earlier is known: it would be lost. Goes on when a note comes home,
 * up to as many as there were when the round began: what is counted meanwhile has the next one. */
static void flush(struct tls_report *report)
{
    while (report->is_loaded && report->flush_left > 0 && !list_is_empty(&report->dirty)) {
        if (!store(CONTAINER_OF(report->dirty.next, struct tally, dirty))) {
            return;
        }
        report->flush_left -= 1;
    }
}

void tally_over(struct tally *tally)
{
    struct tls_report *report = tally->report;
    tally->is_over = true;
    struct msg *msg = take_note(report, NOTE_DELETE, slice_str(tally->name));
    if (msg != NULL) { /* otherwise the next round tries again */
        actor_post(report->options.place->deliver_shard, msg);
        forget(tally);
    }
}

/* "020412 example.com" to its day. */
static bool read_name(struct slice name, uint32_t *day)
{
    uint64_t number;
    if (name.len <= DAY_DIGITS + 1 || name.len > TALLY_NAME_MAX || name.data[DAY_DIGITS] != ' ' ||
        slice_uint(slice_head(name, DAY_DIGITS), UINT32_MAX, &number) != ERR_OK) {
        return false;
    }
    *day = (uint32_t)number;
    return true;
}

static void take_kept(struct tls_report *report, const struct note *note)
{
    uint32_t day;
    uint32_t today = clock_day_of(clock_unix_ms());
    struct tally *tally = NULL;
    bool is_good = read_name(note->name, &day) && day + KEPT_DAYS >= today;
    if (is_good) {
        tally = get(report, note->name, day);
        is_good = tally == NULL || add_value(tally, note->value);
    }
    if (!is_good && tally == NULL) {
        struct msg *msg = take_note(report, NOTE_DELETE, note->name);
        if (msg != NULL) { /* otherwise the next start tries again */
            actor_post(report->options.place->deliver_shard, msg);
        }
    }
}

static void scan(struct tls_report *report)
{
    struct msg *msg = take_note(report, NOTE_SCAN, slice_str(report->cursor));
    report->is_loading = msg != NULL; /* otherwise the next round begins anew */
    if (msg != NULL) {
        msg->body.note.limit = NOTES_PER_SCAN;
        actor_post(report->options.place->deliver_shard, msg);
    }
}

static void on_scanned(struct tls_report *report, const struct msg *msg)
{
    const struct shard_note *body = &msg->body.note;
    report->is_loading = false;
    if (msg->err != ERR_OK) {
        LOG_WARN("tls_report.load", LOG_ERR(msg->err)); /* a round later, from where it stands */
        return;
    }
    for (uint32_t i = 0; i < body->note_count; i++) {
        take_kept(report, &body->notes[i]);
    }
    if (body->note_count == NOTES_PER_SCAN) {
        (void)snprintf(report->cursor, sizeof report->cursor, "%.*s",
                       SLICE_FMT(body->notes[body->note_count - 1].name)); /* at most a key */
        scan(report);
        return;
    }
    report->is_loaded = true;
    tls_report_next(report);
}

static void on_note(struct tls_report *report, const struct msg *msg)
{
    if (msg->body.note.op == NOTE_SCAN) {
        on_scanned(report, msg);
        return;
    }
    if (msg->err != ERR_OK) {
        struct tally *tally = find(report, msg->body.note.name);
        LOG_WARN("tls_report.store", LOG_ERR(msg->err));
        if (tally != NULL && !report->is_draining) {
            mark(tally);
        }
    }
    flush(report);
}

void tls_report_on_msg(struct tls_report *report, struct msg *msg)
{
    CHECK_LOOP(report->options.loop);
    CHECK(report->msgs_out > 0);
    report->msgs_out -= 1;
    if (msg->kind == MSG_SHARD_NOTE) {
        on_note(report, msg);
    } else {
        report_job_on_msg(msg);
    }
    msg_put(report->options.actor, msg);
}

bool tls_report_drain(struct tls_report *report)
{
    report->is_draining = true;
    timer_stop(&report->round);
    report->flush_left = TLS_REPORT_DOMAINS;
    flush(report);
    return list_is_empty(&report->dirty) || !report->is_loaded;
}

/* ---- rounds --------------------------------------------------------------------------------- */

static uint64_t due_of(const struct tls_report *report, uint32_t day)
{
    uint64_t midnight_unix_ms = ((uint64_t)day + 1) * DAY_MS;
    return midnight_unix_ms + (report->spread_ms > 0 ? crypto_random_u64() % report->spread_ms : 0);
}

static bool is_held(const struct tls_report *report)
{
    return report->options.is_held != NULL && report->options.is_held(report->options.held_owner);
}

void tls_report_next(struct tls_report *report)
{
    uint64_t now_unix_ms = clock_unix_ms();
    uint32_t today = clock_day_of(now_unix_ms);
    LIST_EACH_SAFE (&report->tallies, it, after) {
        struct tally *tally = CONTAINER_OF(it, struct tally, link);
        if (report->is_draining || tally->day >= today || tally->job != NULL) {
            continue;
        }
        if (tally->due_unix_ms == 0) {
            tally->due_unix_ms = due_of(report, tally->day);
        }
        if (tally->is_over) {
            tally_over(tally); /* its note could not be deleted before */
        } else if (now_unix_ms >= tally->due_unix_ms && report->jobs_open < TLS_REPORT_JOBS &&
                   !is_held(report)) {
            report_job_start(tally);
        }
    }
}

static void on_round(struct timer *timer)
{
    struct tls_report *report = CONTAINER_OF(timer, struct tls_report, round);
    timer_start(&report->round, ROUND_MS);
    if (!report->is_loaded && !report->is_loading) {
        scan(report);
    }
    if (report->is_loaded) {
        report->flush_left = HASH_COUNT(report->by_name);
        flush(report);
        tls_report_next(report);
    }
}
