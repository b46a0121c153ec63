/* What is known of MTA-STS policies: found, fetched, kept, forgotten.
 *
 * The DNS is a table, the policy host a test's own answer, delivery's family an array; the clock is
 * fake. Not covered here: texts (unit/mail/test_sts_policy.c), real hosts and what a policy does to
 * a mail (flow/test_sts.c).
 */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "deliver/sts.h"
#include "support/fake_dns.h"

#include <stdio.h>

#define MONO_MS   UINT64_C(1000000)
#define UNIX_MS   UINT64_C(1750000000000)
#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define CALLS     8
#define NOTES     8
#define FINDS     8

#define ENFORCE "version: STSv1\r\nmode: enforce\r\nmx: mx.a.test\r\nmax_age: 604800\r\n"
#define OTHER   "version: STSv1\r\nmode: enforce\r\nmx: other.a.test\r\nmax_age: 604800\r\n"
#define TESTING "version: STSv1\r\nmode: testing\r\nmx: mx.a.test\r\nmax_age: 604800\r\n"
#define NO_MODE "version: STSv1\r\nmode: none\r\nmax_age: 604800\r\n"

struct found {
    struct sts_query query;
    uint32_t times;
    bool has_policy;
    bool is_unknown;
    enum sts_mode mode;
    enum sts_fault fault;
    char mx[64];
};

struct kept_note {
    char name[64];
    char value[512];
    size_t len;
};

static struct {
    uint64_t mono_ms;
    uint64_t unix_ms;
    struct loop loop;
    struct dns *dns;
    struct actor home;
    struct actor ledger;
    struct place place;
    struct conf conf;
    struct sts *sts;
    /* the policy host */
    struct http_call *calls[CALLS];
    http_call_fn *told[CALLS];
    uint32_t call_count;
    char url[256];
    /* delivery's family */
    struct kept_note notes[NOTES];
    uint32_t note_count;
    uint32_t puts;
    enum err note_err;
    struct found finds[FINDS];
} rig;

/* ---- the policy host ------------------------------------------------------------------------ */

void http_call_start(struct http_client *client UNUSED, struct http_call *call,
                     const struct http_call_request *request, http_call_fn *on_done)
{
    cr_assert_lt(rig.call_count, CALLS);
    cr_assert_eq(request->method, HTTP_METHOD_GET);
    cr_assert_not(request->allows_private, "a policy host is a stranger");
    (void)snprintf(rig.url, sizeof rig.url, "%.*s", SLICE_FMT(request->url));
    rig.told[rig.call_count] = on_done;
    rig.calls[rig.call_count++] = call;
}

void http_call_cancel(struct http_call *call)
{
    for (uint32_t i = 0; i < rig.call_count; i++) {
        rig.calls[i] = rig.calls[i] == call ? NULL : rig.calls[i];
    }
}

/* The newest call ends. */
static void end_call(enum err err, uint16_t status, const char *type, const char *body)
{
    struct http_call_result result = {
        .err = err, .status = status, .headers = {slice_str(type)}, .body = slice_str(body)};
    cr_assert_gt(rig.call_count, 0);
    struct http_call *call = rig.calls[rig.call_count - 1];
    cr_assert_not_null(call);
    rig.calls[rig.call_count - 1] = NULL;
    rig.told[rig.call_count - 1](call, &result);
}

static void serve(const char *body)
{
    end_call(ERR_OK, 200, "text/plain; charset=utf-8", body);
}

/* ---- delivery's family ---------------------------------------------------------------------- */

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

static void delete_note(struct slice name)
{
    struct kept_note *note = note_of(name);
    if (note != NULL) {
        *note = rig.notes[--rig.note_count];
    }
}

static void give_notes(struct msg *msg, bool is_all)
{
    struct shard_note *body = &msg->body.note;
    body->notes = arena_array(&msg->arena, NOTES, sizeof *body->notes);
    for (uint32_t i = 0; i < rig.note_count; i++) {
        if (is_all || slice_equal(slice_str(rig.notes[i].name), body->name)) {
            body->notes[body->note_count++] = (struct note){
                slice_str(rig.notes[i].name), slice_of(rig.notes[i].value, rig.notes[i].len), 0};
        }
    }
}

static void on_ledger_msg(struct actor *actor UNUSED, struct msg *msg)
{
    struct shard_note *body = &msg->body.note;
    cr_assert_eq(msg->kind, MSG_SHARD_NOTE);
    cr_assert_eq(body->kind, NOTE_STS);
    enum err err = rig.note_err;
    if (err == ERR_OK && body->op == NOTE_PUT) {
        put_note(body);
    } else if (err == ERR_OK && body->op == NOTE_DELETE) {
        delete_note(body->name);
    } else if (err == ERR_OK) {
        give_notes(msg, body->op == NOTE_SCAN);
        err = body->op == NOTE_GET && body->note_count == 0 ? ERR_NOT_FOUND : ERR_OK;
    }
    msg_return(msg, err);
}

static void on_home_msg(struct actor *actor UNUSED, struct msg *msg)
{
    sts_on_note(rig.sts, msg);
}

/* ---- the rig -------------------------------------------------------------------------------- */

static void settle(void)
{
    for (int i = 0; i < 20; i++) {
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

static void open_sts(void)
{
    struct sts_options options = {.loop = &rig.loop,
                                  .dns = rig.dns,
                                  .actor = &rig.home,
                                  .place = &rig.place,
                                  .tcp_port = 443};
    rig.sts = sts_new(&options);
}

static void close_sts(void)
{
    settle();
    sts_close(rig.sts);
    sts_free(rig.sts);
}

/* The daemon's next run: what is in memory is lost. */
static void start_again(void)
{
    close_sts();
    memset(rig.finds, 0, sizeof rig.finds);
    open_sts();
}

static void record(const char *text)
{
    rig.dns->row_count = 0;
    rig.dns->question_count = 0;
    struct fake_row row = {.type = DNS_TXT, .name = "_mta-sts.a.test", .text = text};
    if (text != NULL) {
        fake_dns_add(rig.dns, &row, 1);
    }
}

static void setup(void)
{
    char *argv[] = {(char[]){"meerkatd"}};
    memset(&rig, 0, sizeof rig);
    rig.mono_ms = MONO_MS;
    rig.unix_ms = UNIX_MS;
    clock_set_fake(rig.mono_ms, rig.unix_ms);
    cr_assert(conf_load(&rig.conf, 1, argv));
    loop_init(&rig.loop, "test", 0);
    struct actor_options home = {.name = "home",
                                 .loop = &rig.loop,
                                 .handle = on_home_msg,
                                 .pool_counts = {[MSG_POOL_REQUEST] = 16},
                                 .port_depth_max = 64};
    struct actor_options ledger = {
        .name = "ledger", .loop = &rig.loop, .handle = on_ledger_msg, .port_depth_max = 64};
    actor_init(&rig.home, &home);
    actor_init(&rig.ledger, &ledger);
    rig.place = (struct place){.conf = &rig.conf, .deliver_shard = &rig.ledger};
    cr_assert_eq(dns_open(&rig.loop, SLICE(""), &rig.dns), ERR_OK);
    open_sts();
}

static void on_dns_closed(void *context UNUSED)
{
}

static void teardown(void)
{
    close_sts();
    dns_close(rig.dns, on_dns_closed, NULL);
    settle();
    actor_close(&rig.home);
    actor_close(&rig.ledger);
    settle();
    clock_set_fake(0, 0);
    loop_stop(&rig.loop);
    loop_run(&rig.loop);
    actor_fini(&rig.home);
    actor_fini(&rig.ledger);
    loop_fini(&rig.loop);
    conf_fini(&rig.conf);
}

TestSuite(sts, .init = setup, .fini = teardown);

static void on_found(struct sts_query *query)
{
    struct found *found = CONTAINER_OF(query, struct found, query);
    found->times += 1;
    found->has_policy = query->policy != NULL;
    found->is_unknown = query->is_unknown;
    found->fault = query->fault;
    found->mx[0] = '\0';
    if (query->policy != NULL) {
        found->mode = query->policy->mode;
        (void)snprintf(found->mx, sizeof found->mx, "%.*s", SLICE_FMT(query->policy->mx[0]));
    }
}

static struct found *find_more(uint32_t number, const char *domain)
{
    struct found *found = &rig.finds[number];
    sts_find(rig.sts, &found->query, slice_str(domain), on_found);
    return found;
}

static struct found *find(void)
{
    struct found *found = find_more(0, "a.test");
    settle();
    return found;
}

static struct found *find_served(const char *body)
{
    uint32_t before = rig.call_count;
    struct found *found = find();
    cr_assert_eq(rig.call_count, before + 1);
    serve(body);
    settle();
    return found;
}

/* ---- stories -------------------------------------------------------------------------------- */

Test(sts, a_domain_without_a_record_has_no_policy_and_no_host_is_asked)
{
    struct found *found = find();
    cr_assert_eq(found->times, 1);
    cr_assert_not(found->has_policy);
    cr_assert_not(found->is_unknown);
    cr_assert_eq(rig.call_count, 0);
    record("v=spf1 -all");
    pass(2 * HOUR_MS);
    cr_assert_not(find()->has_policy);
    cr_assert_eq(rig.call_count, 0);
}

Test(sts, a_policy_is_fetched_once_and_kept_on_disk)
{
    record("v=STSv1; id=1");
    struct found *found = find_served(ENFORCE);
    cr_assert_str_eq(rig.url, "https://mta-sts.a.test/.well-known/mta-sts.txt");
    cr_assert(found->has_policy);
    cr_assert_eq(found->mode, STS_MODE_ENFORCE);
    cr_assert_str_eq(found->mx, "mx.a.test");
    cr_assert_eq(rig.puts, 1);
    cr_assert_eq(find()->times, 2);
    cr_assert_eq(rig.call_count, 1);
}

Test(sts, those_who_ask_at_once_share_one_fetch)
{
    record("v=STSv1; id=1");
    for (uint32_t i = 0; i < FINDS; i++) {
        (void)find_more(i, "a.test"); /* answered below */
    }
    settle();
    sts_cancel(&rig.finds[3].query);
    cr_assert_eq(rig.call_count, 1);
    serve(ENFORCE);
    for (uint32_t i = 0; i < FINDS; i++) {
        cr_expect_eq(rig.finds[i].times, i == 3 ? 0 : 1);
        cr_expect_eq(rig.finds[i].has_policy, i != 3);
    }
}

Test(sts, a_policy_outlives_a_restart_and_the_loss_of_record_and_host)
{
    record("v=STSv1; id=1");
    (void)find_served(ENFORCE); /* checked elsewhere */
    start_again();
    record(NULL); /* somebody hides the record */
    struct found *found = find();
    cr_assert(found->has_policy);
    cr_assert_eq(found->mode, STS_MODE_ENFORCE);
    pass(2 * HOUR_MS);
    record("v=STSv1; id=2"); /* or the host */
    found = find();
    end_call(ERR_CONNECT, 0, "", "");
    cr_assert(found->has_policy);
    cr_assert_str_eq(found->mx, "mx.a.test");
    cr_assert_eq(found->fault, STS_FAULT_FETCH);
}

Test(sts, a_policy_ends_with_its_max_age_unless_it_is_had_again)
{
    record("v=STSv1; id=1");
    (void)find_served(ENFORCE); /* checked elsewhere */
    record(NULL);
    pass(7 * DAY_MS - HOUR_MS);
    cr_assert(find()->has_policy);
    pass(2 * HOUR_MS);
    cr_assert_not(find()->has_policy);
    cr_assert_eq(rig.note_count, 0, "it is still on disk");
}

Test(sts, another_id_is_fetched_before_anybody_is_answered)
{
    record("v=STSv1; id=1");
    (void)find_served(ENFORCE); /* checked elsewhere */
    record("v=STSv1; id=2");
    pass(HOUR_MS + MINUTE_MS);
    struct found *found = find();
    cr_assert_eq(found->times, 1, "answered with the old policy");
    serve(OTHER);
    cr_assert_eq(found->times, 2);
    cr_assert_str_eq(found->mx, "other.a.test");
}

Test(sts, a_failed_fetch_is_tried_again_after_five_minutes)
{
    record("v=STSv1; id=1");
    struct found *found = find();
    end_call(ERR_OK, 404, "text/plain", "");
    cr_assert_eq(found->times, 1);
    cr_assert_not(found->has_policy);
    cr_assert_eq(found->fault, STS_FAULT_FETCH);
    pass(2 * MINUTE_MS);
    cr_assert_eq(find()->times, 2);
    cr_assert_eq(rig.call_count, 1, "too soon");
    pass(4 * MINUTE_MS);
    (void)find_served(TESTING); /* asks again */
    cr_assert_eq(found->times, 3);
    cr_assert_eq(found->mode, STS_MODE_TESTING);
    cr_assert_eq(found->fault, STS_FAULT_NONE);
}

Test(sts, what_is_no_policy_is_none)
{
    static const struct {
        enum err err;
        uint16_t status;
        const char *type;
        const char *body;
        enum sts_fault fault;
    } cases[] = {
        {ERR_TLS, 0, "", "", STS_FAULT_WEBPKI},
        {ERR_TIMEOUT, 0, "", "", STS_FAULT_FETCH},
        {ERR_REFUSED_TARGET, 0, "", "", STS_FAULT_FETCH},
        {ERR_OK, 301, "text/plain", ENFORCE, STS_FAULT_FETCH},
        {ERR_OK, 200, "text/html", ENFORCE, STS_FAULT_FETCH},
        {ERR_OK, 200, "", ENFORCE, STS_FAULT_FETCH},
        {ERR_OK, 200, "text/plain", "<html>", STS_FAULT_INVALID},
    };
    record("v=STSv1; id=1");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct found *found = find();
        end_call(cases[i].err, cases[i].status, cases[i].type, cases[i].body);
        cr_expect_not(found->has_policy, "case %zu", i);
        cr_expect_eq(found->fault, cases[i].fault, "case %zu", i);
        pass(6 * MINUTE_MS);
    }
    cr_assert_eq(rig.puts, 0);
}

Test(sts, mode_none_ends_a_policy_before_its_time)
{
    record("v=STSv1; id=1");
    (void)find_served(ENFORCE); /* checked elsewhere */
    record("v=STSv1; id=2");
    pass(HOUR_MS + MINUTE_MS);
    cr_assert_not(find_served(NO_MODE)->has_policy);
    start_again();
    cr_assert_not(find()->has_policy);
}

Test(sts, a_kept_policy_is_refreshed_once_a_day_without_being_asked_for)
{
    record("v=STSv1; id=1");
    (void)find_served(ENFORCE); /* checked elsewhere */
    start_again();
    sts_start(rig.sts);
    pass(MINUTE_MS);
    cr_assert_eq(sts_count(rig.sts), 1, "read at start");
    cr_assert_eq(rig.call_count, 1);
    pass(DAY_MS);
    pass(MINUTE_MS);
    cr_assert_eq(rig.call_count, 2);
    struct found *found = find();
    cr_assert_eq(found->times, 1, "a refresh keeps nobody waiting");
    cr_assert(found->has_policy);
    serve(OTHER);
    cr_assert_str_eq(find()->mx, "other.a.test");
    cr_assert_eq(rig.puts, 2);
}

Test(sts, a_store_that_cannot_be_read_says_nothing_of_a_domain)
{
    record("v=STSv1; id=1");
    rig.note_err = ERR_STORAGE;
    struct found *found = find();
    cr_assert_eq(found->times, 1);
    cr_assert(found->is_unknown);
    rig.note_err = ERR_OK;
    cr_assert(find_served(ENFORCE)->has_policy);
    cr_assert_not(found->is_unknown);
}

Test(sts, more_domains_than_messages_wait_for_their_turn)
{
    static struct found many[100];
    for (int i = 0; i < 100; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "d%d.test", i);
        sts_find(rig.sts, &many[i].query, slice_str(name), on_found);
    }
    for (int i = 0; i < 10; i++) {
        settle();
    }
    for (int i = 0; i < 100; i++) {
        cr_expect_eq(many[i].times, 1, "%d", i);
        cr_expect_not(many[i].is_unknown, "%d", i);
    }
}

Test(sts, an_address_and_a_name_too_long_have_no_policy)
{
    char name[DOMAIN_MAX + 10];
    memset(name, 'a', sizeof name);
    name[DOMAIN_MAX - 2] = '\0';
    cr_assert_eq(find_more(0, "[192.0.2.1]")->times, 1);
    cr_assert_eq(find_more(1, name)->times, 1);
    cr_assert_eq(find_more(2, "")->times, 1);
    cr_assert_eq(sts_count(rig.sts), 0);
}
