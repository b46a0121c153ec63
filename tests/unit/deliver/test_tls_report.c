/* What is counted of TLS, kept, and reported when a day is over.
 *
 * The DNS is a table, receivers a test's own answers, shards an actor that keeps notes and takes
 * mails; the clock is fake. Not covered here: the texts (unit/mail/test_tls_report_json.c), real
 * sessions and receivers (flow/test_sts.c).
 */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/gzip.h"
#include "deliver/tls_report.h"
#include "support/fake_dns.h"

#include <stdio.h>

#define MONO_MS   UINT64_C(1000000)
#define UNIX_MS   (UINT64_C(20412) * 86400000 + 43200000) /* noon */
#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define NOTES     200
#define CALLS     8
#define TEXT_MAX  8192
#define ACCOUNT   UINT64_C(77)

struct kept_note {
    char name[64];
    char value[2048];
    size_t len;
};

static struct {
    uint64_t mono_ms;
    uint64_t unix_ms;
    struct loop loop;
    struct dns *dns;
    struct actor home;
    struct actor shard;
    struct place place;
    struct conf conf;
    struct tls_report *report;
    /* receivers by POST */
    struct http_call *calls[CALLS];
    http_call_fn *told[CALLS];
    uint32_t call_count;
    char url[128];
    char json[TEXT_MAX];
    /* shards */
    struct kept_note notes[NOTES];
    uint32_t note_count;
    uint32_t puts;
    uint32_t owners; /* asked for */
    uint32_t mails;
    enum err owner_err;
    char to[128];
    char mail[TEXT_MAX];
    char key[128];
} rig;

/* ---- receivers ------------------------------------------------------------------------------ */

void http_call_start(struct http_client *client UNUSED, struct http_call *call,
                     const struct http_call_request *request, http_call_fn *on_done)
{
    struct buf plain;
    cr_assert_lt(rig.call_count, CALLS);
    cr_assert_eq(request->method, HTTP_METHOD_POST);
    cr_assert_eq(request->header_count, 1);
    cr_assert(slice_equal(request->headers[0].value, SLICE("application/tlsrpt+gzip")));
    (void)snprintf(rig.url, sizeof rig.url, "%.*s", SLICE_FMT(request->url));
    buf_init(&plain, TEXT_MAX - 1);
    cr_assert_eq(gzip_unpack(request->body, &plain), ERR_OK);
    (void)snprintf(rig.json, sizeof rig.json, "%.*s", SLICE_FMT(buf_slice(&plain)));
    buf_fini(&plain);
    rig.told[rig.call_count] = on_done;
    rig.calls[rig.call_count++] = call;
}

void http_call_cancel(struct http_call *call)
{
    for (uint32_t i = 0; i < rig.call_count; i++) {
        rig.calls[i] = rig.calls[i] == call ? NULL : rig.calls[i];
    }
}

/* ---- shards --------------------------------------------------------------------------------- */

static struct kept_note *note_of(struct slice name)
{
    for (uint32_t i = 0; i < rig.note_count; i++) {
        if (slice_equal(slice_str(rig.notes[i].name), name)) {
            return &rig.notes[i];
        }
    }
    return NULL;
}

static void put_note(const struct shard_note *body)
{
    struct kept_note *note = note_of(body->name);
    if (note == NULL) {
        cr_assert_lt(rig.note_count, NOTES);
        note = &rig.notes[rig.note_count++];
        (void)snprintf(note->name, sizeof note->name, "%.*s", SLICE_FMT(body->name));
    }
    cr_assert_leq(body->value.len, sizeof note->value);
    memcpy(note->value, body->value.data, body->value.len);
    note->len = body->value.len;
    rig.puts += 1;
}

static void on_note(struct msg *msg)
{
    struct shard_note *body = &msg->body.note;
    struct kept_note *note = note_of(body->name);
    cr_assert_eq(body->kind, NOTE_TLS_COUNT);
    if (body->op == NOTE_PUT) {
        put_note(body);
    } else if (body->op == NOTE_DELETE && note != NULL) {
        *note = rig.notes[--rig.note_count];
    } else if (body->op == NOTE_SCAN) {
        body->notes = arena_array(&msg->arena, NOTES, sizeof *body->notes);
        for (uint32_t i = 0; i < rig.note_count; i++) {
            body->notes[body->note_count++] = (struct note){
                slice_str(rig.notes[i].name), slice_of(rig.notes[i].value, rig.notes[i].len), 0};
        }
    }
    msg_return(msg, ERR_OK);
}

static void on_send(struct msg *msg)
{
    const struct shard_send *send = &msg->body.send;
    cr_assert_eq(send->caller.kind, CALLER_OPERATOR);
    cr_assert_eq(send->caller.account.value, ACCOUNT);
    cr_assert_eq(send->to_count, 1);
    (void)snprintf(rig.to, sizeof rig.to, "%.*s", SLICE_FMT(send->to[0].text));
    (void)snprintf(rig.mail, sizeof rig.mail, "%.*s", SLICE_FMT(send->raw));
    (void)snprintf(rig.key, sizeof rig.key, "%.*s", SLICE_FMT(send->idempotency_key));
    rig.mails += 1;
    msg_return(msg, ERR_OK);
}

static void on_shard_msg(struct actor *actor UNUSED, struct msg *msg)
{
    switch (msg->kind) {
    case MSG_SHARD_NOTE:
        on_note(msg);
        break;
    case MSG_SHARD_SEND:
        on_send(msg);
        break;
    default:
        cr_assert_eq(msg->kind, MSG_SHARD_DIRECTORY);
        cr_assert(slice_equal(msg->body.directory.name, SLICE("here.test")));
        rig.owners += 1;
        msg->body.directory.account.value = ACCOUNT;
        msg_return(msg, rig.owner_err);
        break;
    }
}

static void on_home_msg(struct actor *actor UNUSED, struct msg *msg)
{
    tls_report_on_msg(rig.report, msg);
}

/* ---- the rig -------------------------------------------------------------------------------- */

static void settle(void)
{
    for (int i = 0; i < 30; i++) {
        (void)uv_run(&rig.loop.uv, UV_RUN_NOWAIT); /* whether more is to come does not matter */
    }
}

static void pass(uint64_t ms)
{
    rig.mono_ms += ms;
    rig.unix_ms += ms;
    clock_set_fake(rig.mono_ms, rig.unix_ms);
    settle();
}

static void set(const char *name, const char *value)
{
    cr_assert(conf_set(&rig.conf, slice_str(name), slice_str(value)));
}

static void open_report(void)
{
    struct tls_report_options options = {
        .loop = &rig.loop, .dns = rig.dns, .actor = &rig.home, .place = &rig.place};
    rig.report = tls_report_new(&options);
    tls_report_start(rig.report);
    settle();
}

static void close_report(void)
{
    for (int i = 0; i < 10 && !tls_report_drain(rig.report); i++) {
        settle();
    }
    settle();
    tls_report_close(rig.report);
    tls_report_free(rig.report);
}

static void setup(void)
{
    char *argv[] = {(char[]){"meerkatd"}};
    crypto_init();
    memset(&rig, 0, sizeof rig);
    rig.mono_ms = MONO_MS;
    rig.unix_ms = UNIX_MS;
    clock_set_fake(rig.mono_ms, rig.unix_ms);
    cr_assert(conf_load(&rig.conf, 1, argv));
    set("hostname", "mail.here.test");
    set("tls_report_from", "tls@here.test");
    loop_init(&rig.loop, "test", 0);
    struct actor_options home = {.name = "home",
                                 .loop = &rig.loop,
                                 .handle = on_home_msg,
                                 .pool_counts = {[MSG_POOL_REQUEST] = 16},
                                 .port_depth_max = 64};
    struct actor_options shard = {
        .name = "shard", .loop = &rig.loop, .handle = on_shard_msg, .port_depth_max = 64};
    actor_init(&rig.home, &home);
    actor_init(&rig.shard, &shard);
    rig.place = (struct place){
        .conf = &rig.conf, .shard_count = 1, .shards = {&rig.shard}, .deliver_shard = &rig.shard};
    cr_assert_eq(dns_open(&rig.loop, SLICE(""), &rig.dns), ERR_OK);
    open_report();
}

static void on_dns_closed(void *context UNUSED)
{
}

static void teardown(void)
{
    close_report();
    dns_close(rig.dns, on_dns_closed, NULL);
    settle();
    actor_close(&rig.home);
    actor_close(&rig.shard);
    settle();
    clock_set_fake(0, 0);
    loop_stop(&rig.loop);
    loop_run(&rig.loop);
    actor_fini(&rig.home);
    actor_fini(&rig.shard);
    loop_fini(&rig.loop);
    conf_fini(&rig.conf);
}

TestSuite(tls_report, .init = setup, .fini = teardown);

static void record(const char *text, enum err err)
{
    struct fake_row row = {.type = DNS_TXT, .name = "_smtp._tls.a.test", .text = text, .err = err};
    rig.dns->row_count = 0;
    rig.dns->question_count = 0;
    fake_dns_add(rig.dns, &row, 1);
}

static void count(enum tls_report_kind kind, enum tls_result result, const char *host)
{
    struct tls_session session = {.domain = SLICE("a.test"),
                                  .kind = kind,
                                  .result = result,
                                  .mx_host = host,
                                  .mx_addr = "192.0.2.1",
                                  .source = "192.0.2.9"};
    tls_report_count(rig.report, &session);
}

static void end_call(enum err err, uint16_t status)
{
    struct http_call_result result = {.err = err, .status = status};
    struct http_call *call = rig.calls[rig.call_count - 1];
    cr_assert_not_null(call);
    rig.calls[rig.call_count - 1] = NULL;
    rig.told[rig.call_count - 1](call, &result);
    settle();
}

static bool says(const char *text)
{
    return strstr(rig.json, text) != NULL;
}

/* ---- stories -------------------------------------------------------------------------------- */

Test(tls_report, a_day_is_reported_once_it_is_over)
{
    record("v=TLSRPTv1; rua=https://r.test/tls", ERR_OK);
    tls_report_policy(rig.report, SLICE("a.test"), TLS_REPORT_STS,
                      SLICE("version: STSv1\nmode: enforce\nmx: *.a.test\nmax_age: 1\n"));
    count(TLS_REPORT_STS, TLS_RESULT_SUCCESS, "m1.a.test");
    count(TLS_REPORT_STS, TLS_RESULT_SUCCESS, "m1.a.test");
    count(TLS_REPORT_STS, TLS_RESULT_CERTIFICATE_EXPIRED, "m2.a.test");
    count(TLS_REPORT_STS, TLS_RESULT_CERTIFICATE_EXPIRED, "m2.a.test");
    count(TLS_REPORT_STS, TLS_RESULT_STARTTLS_NOT_SUPPORTED, "m1.a.test");
    count(TLS_REPORT_NO_POLICY, TLS_RESULT_SUCCESS, "m1.a.test");
    pass(11 * HOUR_MS);
    cr_assert_eq(rig.call_count, 0, "the day is not over");
    pass(6 * HOUR_MS);
    cr_assert_eq(rig.call_count, 1);
    cr_assert_str_eq(rig.url, "https://r.test/tls");
    cr_expect(says("\"start-datetime\":\"2025-11-20T00:00:00Z\""), "%s", rig.json);
    cr_expect(says("\"report-id\":\"20251120.a.test@mail.here.test\""), "%s", rig.json);
    cr_expect(says("\"policy-type\":\"sts\",\"policy-string\":[\"version: STSv1\""));
    cr_expect(says("\"mx-host\":[\"*.a.test\"]"));
    cr_expect(says("\"total-successful-session-count\":2,\"total-failure-session-count\":3"));
    cr_expect(says("{\"result-type\":\"certificate-expired\",\"sending-mta-ip\":\"192.0.2.9\","
                   "\"receiving-mx-hostname\":\"m2.a.test\",\"receiving-ip\":\"192.0.2.1\","
                   "\"failed-session-count\":2}"));
    cr_expect(says("\"policy-type\":\"no-policy-found\""));
    cr_assert_eq(rig.note_count, 1, "it is not told yet");
    end_call(ERR_OK, 204);
    cr_assert_eq(rig.note_count, 0);
    pass(DAY_MS);
    cr_assert_eq(rig.call_count, 1, "told twice");
}

Test(tls_report, counts_outlive_a_restart_and_add_up)
{
    record("v=TLSRPTv1; rua=https://r.test/tls", ERR_OK);
    count(TLS_REPORT_STS, TLS_RESULT_SUCCESS, "m.a.test");
    count(TLS_REPORT_STS, TLS_RESULT_VALIDATION_FAILURE, "m.a.test");
    pass(2 * MINUTE_MS);
    cr_assert_eq(rig.puts, 1);
    count(TLS_REPORT_STS, TLS_RESULT_SUCCESS, "m.a.test");
    close_report(); /* writes what the last minute brought */
    cr_assert_eq(rig.puts, 2);
    open_report();
    count(TLS_REPORT_STS, TLS_RESULT_VALIDATION_FAILURE, "m.a.test");
    close_report();
    pass(17 * HOUR_MS); /* the next day, while nothing ran */
    set("tls_report_spread_s", "0");
    open_report();
    cr_assert_eq(rig.call_count, 1);
    cr_expect(says("\"total-successful-session-count\":2,\"total-failure-session-count\":2"), "%s",
              rig.json);
    cr_expect(says("\"failed-session-count\":2"));
    end_call(ERR_OK, 200);
    cr_assert_eq(rig.note_count, 0);
}

Test(tls_report, a_domain_that_wants_no_reports_is_forgotten)
{
    count(TLS_REPORT_NO_POLICY, TLS_RESULT_SUCCESS, "m.a.test");
    pass(2 * MINUTE_MS);
    cr_assert_eq(rig.note_count, 1);
    pass(17 * HOUR_MS);
    cr_assert_eq(rig.note_count, 0);
    cr_assert_eq(rig.call_count, 0);
    cr_assert_eq(rig.mails, 0);
}

Test(tls_report, a_mail_is_sent_by_the_owner_of_the_configured_address)
{
    record("v=TLSRPTv1; rua=mailto:reports@a.test", ERR_OK);
    count(TLS_REPORT_NO_POLICY, TLS_RESULT_STARTTLS_NOT_SUPPORTED, "m.a.test");
    pass(17 * HOUR_MS);
    cr_assert_eq(rig.owners, 1);
    cr_assert_eq(rig.mails, 1);
    cr_assert_str_eq(rig.to, "reports@a.test");
    cr_assert_not_null(strstr(rig.mail, "\r\nTLS-Report-Domain: a.test\r\n"));
    cr_assert_not_null(strstr(rig.mail, "From: <tls@here.test>\r\n"));
    cr_assert(slice_starts(slice_str(rig.key), SLICE("tls-report ")));
    cr_assert_eq(rig.note_count, 0);
}

Test(tls_report, what_nobody_takes_is_tried_again_for_a_day)
{
    record("v=TLSRPTv1; rua=https://r.test/tls,mailto:reports@a.test", ERR_OK);
    rig.owner_err = ERR_NOT_FOUND;
    set("tls_report_spread_s", "0");
    close_report();
    open_report();
    count(TLS_REPORT_NO_POLICY, TLS_RESULT_SUCCESS, "m.a.test");
    pass(12 * HOUR_MS + 2 * MINUTE_MS);
    cr_assert_eq(rig.call_count, 1);
    end_call(ERR_CONNECT, 0);
    cr_assert_eq(rig.owners, 1);
    cr_assert_eq(rig.note_count, 1);
    pass(HOUR_MS + 2 * MINUTE_MS);
    cr_assert_eq(rig.call_count, 2);
    end_call(ERR_OK, 500);
    cr_assert_eq(rig.owners, 2);
    record("", ERR_DNS_TEMP);
    for (int i = 0; i < 25; i++) {
        pass(HOUR_MS + 2 * MINUTE_MS);
    }
    cr_assert_eq(rig.call_count, 2);
    cr_assert_eq(rig.note_count, 0, "for ever");
}

Test(tls_report, one_receiver_that_takes_it_is_enough)
{
    record("v=TLSRPTv1; rua=mailto:reports@a.test,https://r.test/tls", ERR_OK);
    count(TLS_REPORT_NO_POLICY, TLS_RESULT_SUCCESS, "m.a.test");
    pass(17 * HOUR_MS);
    cr_assert_eq(rig.mails, 1);
    cr_assert_eq(rig.call_count, 1);
    end_call(ERR_OK, 404);
    cr_assert_eq(rig.note_count, 0);
}

Test(tls_report, failures_of_many_kinds_are_counted_and_not_all_told)
{
    record("v=TLSRPTv1; rua=https://r.test/tls", ERR_OK);
    for (int i = 0; i < 2 * TLS_REPORT_DETAILS; i++) {
        char host[32];
        (void)snprintf(host, sizeof host, "m%d.a.test", i);
        count(TLS_REPORT_STS, TLS_RESULT_CERTIFICATE_EXPIRED, host);
    }
    pass(17 * HOUR_MS);
    cr_assert(says("\"total-failure-session-count\":32"));
    cr_assert(says("m15.a.test"));
    cr_assert_not(says("m16.a.test"));
    end_call(ERR_OK, 200);
}

Test(tls_report, more_domains_than_messages_are_written_down_in_one_round)
{
    for (int i = 0; i < 150; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "d%d.test", i);
        struct tls_session session = {.domain = slice_str(name),
                                      .kind = TLS_REPORT_NO_POLICY,
                                      .mx_host = "m.test",
                                      .mx_addr = "192.0.2.1",
                                      .source = ""};
        tls_report_count(rig.report, &session);
    }
    pass(MINUTE_MS);
    cr_assert_eq(rig.puts, 150);
    pass(10 * MINUTE_MS);
    cr_assert_eq(rig.puts, 150, "nothing has changed since");
}

Test(tls_report, damaged_notes_and_old_ones_hurt_nobody)
{
    static const char *const names[] = {"020412 a.test", "000001 a.test", "x", "020412"};
    close_report();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct kept_note *note = &rig.notes[rig.note_count++];
        (void)snprintf(note->name, sizeof note->name, "%s", names[i]);
        memset(note->value, 1, note->len = 3 + i);
    }
    open_report();
    cr_assert_eq(rig.note_count, 1, "the day's own may still be counted on");
    count(TLS_REPORT_STS, TLS_RESULT_SUCCESS, "m.a.test");
    pass(2 * MINUTE_MS);
    cr_assert_eq(rig.puts, 1);
}
