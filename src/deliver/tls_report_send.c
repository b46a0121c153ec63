/* tls_report_send.c - one report on its way.
 *
 *   who wants it? -> each of them in turn: POST, or whose is tls_report_from? -> a mail -> over
 *       +- nobody: over        +- nobody took it: again in an hour
 *
 * One who took it is enough: RFC 8460 3 lets a domain name several so that one gets it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/gzip.h"
#include "base/log.h"
#include "base/metric.h"
#include "deliver/tls_report_int.h"

#define HOUR_MS      (UINT64_C(3600) * 1000)
#define DAY_MS       (24 * HOUR_MS)
#define RECORD_LABEL "_smtp._tls."
#define ARENA_BYTES  (64 * KIB)
#define ANSWER_BYTES (4 * KIB)
#define ID_MAX       (DOMAIN_MAX + 256 + 16)

struct report_job {
    struct tls_report *report;
    struct tally *tally;
    struct dns_query query;
    struct http_call call;
    struct arena arena;
    struct tls_report_target targets[TLS_REPORT_TARGETS];
    uint32_t target_count;
    uint32_t next;
    bool is_taken;    /* by one of them */
    bool is_possible; /* one of them could be asked */
    char id[ID_MAX];
    struct buf packed;
};

static void on_record(struct dns_query *query, const struct dns_answer *answer);
static void go_on(struct report_job *job);
static void finish(struct report_job *job, bool is_over);

static const char *const kind_names[] = {"no-policy-found", "sts", "tlsa"};
_Static_assert(ARRAY_LEN(kind_names) == TLS_REPORT_KINDS, "a name for each kind");

/* ---- life ----------------------------------------------------------------------------------- */

void report_job_start(struct tally *tally)
{
    struct tls_report *report = tally->report;
    struct slice domain = tally_domain(tally);
    char name[DNS_NAME_MAX + 1];
    CHECK(tally->job == NULL);
    if (domain.len + sizeof(RECORD_LABEL) - 1 > DOMAIN_MAX) {
        tally_over(tally); /* no record can be under it */
        return;
    }
    (void)snprintf(name, sizeof name, RECORD_LABEL "%.*s", SLICE_FMT(domain)); /* it fits */
    struct report_job *job = mem_zalloc(sizeof *job);
    job->report = report;
    job->tally = tally;
    arena_init(&job->arena, 4 * KIB, ARENA_BYTES);
    buf_init(&job->packed, TLS_REPORT_BYTES);
    tally->job = job;
    report->jobs_open += 1;
    dns_ask(report->options.dns, &job->query, DNS_TXT, slice_str(name), on_record);
}

static void job_free(struct report_job *job)
{
    CHECK(job->report->jobs_open > 0);
    job->report->jobs_open -= 1;
    job->tally->job = NULL;
    arena_fini(&job->arena);
    buf_fini(&job->packed);
    free(job);
}

void report_job_cancel(struct tally *tally)
{
    if (tally->job != NULL) {
        dns_cancel(&tally->job->query);
        http_call_cancel(&tally->job->call);
        job_free(tally->job);
    }
}

static void finish(struct report_job *job, bool is_over)
{
    struct tls_report *report = job->report;
    struct tally *tally = job->tally;
    tally->tries += 1;
    tally->due_unix_ms = clock_unix_ms() + HOUR_MS;
    if (!is_over && tally->tries >= TLS_REPORT_TRIES) {
        LOG_WARN("tls_report.lost", LOG_TEXT("domain", tally_domain(tally)));
        is_over = true;
    }
    job_free(job);
    if (is_over) {
        tally_over(tally);
    }
    tls_report_next(report);
}

/* ---- composing ------------------------------------------------------------------------------ */

static struct tls_report_detail *write_details(const struct counts *counts, struct arena *arena)
{
    struct tls_report_detail *details = arena_array(arena, counts->detail_count, sizeof *details);
    for (uint32_t i = 0; i < counts->detail_count; i++) {
        const struct failure *failure = &counts->details[i];
        details[i] = (struct tls_report_detail){
            .result = slice_str(tls_result_word(failure->result)),
            .sending_ip = slice_str(failure->source),
            .mx_host = slice_str(failure->mx_host),
            .mx_ip = slice_str(failure->mx_addr),
            .sessions = failure->sessions,
        };
    }
    return details;
}

/* Slices lead into the job, its arena and the tally. */
static void fill_doc(struct report_job *job, struct tls_report_doc *doc)
{
    const struct tls_report *report = job->report;
    const struct conf *conf = report->options.place->conf;
    struct tally *tally = job->tally;
    struct tls_report_part *parts = arena_array(&job->arena, TLS_REPORT_KINDS, sizeof *parts);
    *doc = (struct tls_report_doc){
        .organization = conf->hostname,
        .contact = report->from.text.len > 0
                       ? report->from.text
                       : arena_format(&job->arena, "postmaster@%.*s", SLICE_FMT(conf->hostname)),
        .id = slice_str(job->id),
        .domain = tally_domain(tally),
        .start_unix_ms = tally->day * DAY_MS,
        .end_unix_ms = (tally->day + 1) * DAY_MS - 1000,
        .parts = parts,
    };
    for (size_t i = 0; i < TLS_REPORT_KINDS; i++) {
        const struct counts *counts = &tally->counts[i];
        if (counts->successes + counts->failures > 0) {
            parts[doc->part_count++] = (struct tls_report_part){
                .type = slice_str(kind_names[i]),
                .text = slice_of(counts->text, counts->text_len),
                .successes = counts->successes,
                .failures = counts->failures,
                .details = write_details(counts, &job->arena),
                .detail_count = counts->detail_count,
            };
        }
    }
}

/* The same each time, so that who gets it twice can tell. */
static void name_report(struct report_job *job)
{
    const struct conf *conf = job->report->options.place->conf;
    char day[CLOCK_TEXT_MAX];
    (void)clock_rfc3339(job->tally->day * DAY_MS, day); /* "2026-11-21T..." */
    (void)snprintf(job->id, sizeof job->id, "%.4s%.2s%.2s.%.*s@%.200s", day, day + 5, day + 8,
                   SLICE_FMT(tally_domain(job->tally)),
                   arena_cstr(&job->arena, conf->hostname)); /* it fits */
}

static bool pack(struct report_job *job)
{
    struct tls_report_doc doc;
    struct buf json;
    name_report(job);
    fill_doc(job, &doc);
    buf_init(&json, TLS_REPORT_BYTES);
    tls_report_write_json(&doc, &json);
    bool is_good =
        doc.part_count > 0 && !json.is_over && gzip_pack(buf_slice(&json), &job->packed) == ERR_OK;
    buf_fini(&json);
    return is_good;
}

/* ---- by POST -------------------------------------------------------------------------------- */

static void on_posted(struct http_call *call, const struct http_call_result *result)
{
    struct report_job *job = CONTAINER_OF(call, struct report_job, call);
    bool is_taken = result->err == ERR_OK && result->status >= 200 && result->status < 300;
    job->is_taken |= is_taken;
    if (!is_taken) {
        LOG_INFO("tls_report.post", LOG_TEXT("domain", tally_domain(job->tally)),
                 LOG_U64("status", result->status), LOG_STR("failure", result->failure));
    }
    go_on(job);
}

static void post(struct report_job *job, struct slice url)
{
    static const struct http_header headers[] = {
        {.name = SLICE_INIT("content-type"), .value = SLICE_INIT("application/tlsrpt+gzip")}};
    struct http_call_request request = {
        .method = HTTP_METHOD_POST,
        .url = url,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body = buf_slice(&job->packed),
        .body_max = ANSWER_BYTES,
        .timeout_ms = TLS_REPORT_POST_MS,
    };
    job->is_possible = true;
    http_call_start(job->report->options.http, &job->call, &request, on_posted);
}

/* ---- by mail -------------------------------------------------------------------------------- */

static struct slice copy(struct msg *msg, struct slice text)
{
    return arena_dup(&msg->arena, text);
}

static void copy_addr(struct msg *msg, struct slice text, struct addr *addr)
{
    enum err err = addr_parse(copy(msg, text), &msg->arena, addr);
    CHECK(err == ERR_OK); /* it was parsed before */
}

/* Asks whose address tls_report_from is. */
static bool ask_owner(struct report_job *job)
{
    struct tls_report *report = job->report;
    struct msg *msg = tls_report_take(report, MSG_SHARD_DIRECTORY, job);
    if (msg == NULL) {
        return false;
    }
    msg->body.directory.op = DIRECTORY_GET;
    msg->body.directory.kind = DIRECTORY_KIND_DOMAIN;
    msg->body.directory.name = copy(msg, report->from.domain);
    actor_post(place_directory(report->options.place, report->from.domain), msg);
    return true;
}

/* Names this report to this receiver: hex digits, not terminated. */
static const char *key_of(const struct report_job *job, struct slice to, struct arena *arena)
{
    char *hex = arena_alloc(arena, 2 * SHA256_LEN);
    struct sha256 digest = crypto_sha256(arena_format(arena, "%s %.*s", job->id, SLICE_FMT(to)));
    hex_encode(sha256_slice(&digest), hex);
    return hex;
}

static bool send_mail(struct report_job *job, struct account_id account)
{
    struct tls_report *report = job->report;
    struct msg *msg = tls_report_take(report, MSG_SHARD_SEND, job);
    if (msg == NULL) {
        return false;
    }
    struct tls_report_doc doc;
    struct buf text;
    fill_doc(job, &doc);
    struct tls_report_mail mail = {
        .doc = &doc,
        .from = report->from.text,
        .to = job->targets[job->next - 1].address,
        .submitter = report->options.place->conf->hostname,
        .packed = buf_slice(&job->packed),
        .date_unix_ms = clock_unix_ms(),
    };
    buf_init(&text, 2 * TLS_REPORT_BYTES);
    tls_report_write_mail(&mail, &text);
    struct shard_send *send = &msg->body.send;
    send->caller = (struct caller){.kind = CALLER_OPERATOR, .account = account};
    copy_addr(msg, mail.from, &send->from);
    send->to = arena_alloc(&msg->arena, sizeof *send->to);
    copy_addr(msg, mail.to, send->to);
    send->to_count = 1;
    send->raw = copy(msg, buf_slice(&text));
    send->tracks_opens = CHOICE_NO;
    send->tracks_clicks = CHOICE_NO;
    /* A crash behind this and before the note is gone: the account knows the report again. */
    send->body_hash = crypto_sha256(slice_str(job->id));
    send->idempotency_key = arena_format(&msg->arena, "tls-report %.*s", 2 * SHA256_LEN,
                                         key_of(job, mail.to, &msg->arena));
    buf_fini(&text);
    actor_post(place_shard(report->options.place, account), msg);
    return true;
}

void report_job_on_msg(struct msg *msg)
{
    struct report_job *job = (struct report_job *)(uintptr_t)msg->token;
    if (msg->err == ERR_OK && msg->kind == MSG_SHARD_DIRECTORY &&
        send_mail(job, msg->body.directory.account)) {
        return; /* it comes home as well */
    }
    if (msg->err == ERR_OK && msg->kind == MSG_SHARD_SEND) {
        job->is_taken = true;
    } else {
        LOG_WARN("tls_report.mail", LOG_TEXT("domain", tally_domain(job->tally)),
                 LOG_STR("at", msg->kind == MSG_SHARD_SEND ? "send" : "owner"), LOG_ERR(msg->err),
                 LOG_TEXT("why", msg->sentence));
    }
    go_on(job);
}

/* ---- one after the other -------------------------------------------------------------------- */

static void go_on(struct report_job *job)
{
    while (job->next < job->target_count) {
        const struct tls_report_target *target = &job->targets[job->next++];
        if (target->way == TLS_REPORT_HTTPS) {
            post(job, target->address);
            return;
        }
        if (job->report->from.text.len > 0) {
            job->is_possible = true;
            if (ask_owner(job)) {
                return;
            }
        }
    }
    if (job->is_taken) {
        metric_add(METRIC_TLS_REPORTS, 1);
        LOG_INFO("tls_report.sent", LOG_STR("report", job->id));
    }
    finish(job, job->is_taken || !job->is_possible);
}

static void on_record(struct dns_query *query, const struct dns_answer *answer)
{
    struct report_job *job = CONTAINER_OF(query, struct report_job, query);
    struct slice texts[DNS_ANSWERS_MAX];
    struct text_records records = {.texts = texts};
    if (answer->err == ERR_DNS_TEMP) {
        finish(job, false);
        return;
    }
    records.count = answer->count < DNS_ANSWERS_MAX ? answer->count : DNS_ANSWERS_MAX;
    for (uint32_t i = 0; answer->err == ERR_OK && i < records.count; i++) {
        texts[i] = answer->records[i].text;
    }
    if (answer->err == ERR_OK) {
        job->target_count = tls_report_targets(&records, &job->arena, job->targets);
    }
    for (uint32_t i = 0; i < job->target_count; i++) {
        job->targets[i].address = arena_dup(&job->arena, job->targets[i].address);
    }
    if (job->target_count == 0 || !pack(job)) {
        finish(job, true);
        return;
    }
    go_on(job);
}
