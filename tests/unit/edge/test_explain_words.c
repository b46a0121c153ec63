/* Facts in words: a table of what may keep a mail back, and what is said of it.
 *
 * Not covered here: where the facts come from (tests/unit/deliver/test_explain.c, the flow
 * test_explain), how the answer is laid out (likewise).
 */
#include "edge/explain_words.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "mail/bounce_rules.h"

#define NOW    UINT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define MINUTE UINT64_C(60000)
#define HOUR   (60 * MINUTE)

/* One mail with one delivery that waits at a site that takes mail; tests change what they are
 * about. */
struct scene {
    struct arena arena;
    struct row_mail mail;
    struct mail_facts facts;
    struct delivery_facts delivery;
    struct explain_entry entry;
    struct deliver_explain schedule;
    struct explain_case about;
    struct explanation said;
};

static void scene_init(struct scene *scene)
{
    struct id_maker maker;
    *scene = (struct scene){.facts = {.has_domain = true, .domain_status = DOMAIN_VERIFIED}};
    arena_init(&scene->arena, 4096, 1 << 20);
    id_maker_init(&maker, 0);
    scene->mail.id = id_make(&maker, (struct account_id){7}, NOW - HOUR);
    scene->mail.direction = DIRECTION_OUTBOUND;
    scene->facts.domain_name = SLICE("send.test");
    scene->facts.domain_id = SLICE("dom_x");
    scene->delivery = (struct delivery_facts){
        .row = {.id = scene->mail.id,
                .recipient = SLICE("u@dest.test"),
                .status = DELIVERY_DEFERRED,
                .attempts = 2,
                .next_attempt_unix_ms = NOW + 5 * MINUTE,
                .updated_unix_ms = NOW - 3 * MINUTE},
        .has_last = true,
        .last_number = 2,
        .last = {.ended_unix_ms = NOW - 3 * MINUTE,
                 .outcome = ATTEMPT_DEFERRED,
                 .step = SMTP_STEP_RCPT,
                 .code = 451,
                 .enhanced = SLICE("4.3.0"),
                 .response = SLICE("try later"),
                 .remote_host = SLICE("mx.dest.test")},
        .found = OUTBOX_THERE,
        .outbox = {.created_unix_ms = NOW - HOUR},
    };
    scene->entry = (struct explain_entry){
        .due_unix_ms = NOW + 5 * MINUTE,
        .domain = SLICE("dest.test"),
        .where = EXPLAIN_WAITING,
        .ready_unix_ms = NOW + 5 * MINUTE,
        .has_site = true,
        .site = {.name = SLICE("dest.test"), .group = SLICE("dest.test"), .limit = 4},
    };
    scene->schedule.is_open = true;
    scene->about = (struct explain_case){
        .mail = &scene->mail,
        .facts = &scene->facts,
        .delivery = &scene->delivery,
        .entry = &scene->entry,
        .schedule = &scene->schedule,
        .retry_age_ms = 96 * HOUR,
        .now_unix_ms = NOW,
    };
}

typedef void change_fn(struct scene *scene);

static void is_due(struct scene *scene)
{
    scene->entry.where = EXPLAIN_DUE;
    scene->entry.ahead = 120;
    scene->entry.per_min = 60;
}

static void nothing(struct scene *scene)
{
    (void)scene;
}
static void greylisted(struct scene *scene)
{
    scene->delivery.last.bounce_class = SLICE("greylist");
}
static void not_tried_yet(struct scene *scene)
{
    scene->delivery.has_last = false;
    scene->delivery.row.attempts = 0;
}
static void no_answer(struct scene *scene)
{
    scene->delivery.last.code = 0;
    scene->delivery.last.step = SMTP_STEP_CONNECT;
    scene->delivery.last.response = SLICE("connection refused");
}
static void no_dns(struct scene *scene)
{
    no_answer(scene);
    scene->delivery.last.step = SMTP_STEP_RESOLVE;
    scene->delivery.last.response = SLICE("the domain has no mail host");
}
static void no_tls(struct scene *scene)
{
    no_answer(scene);
    scene->delivery.last.step = SMTP_STEP_TLS;
    scene->delivery.last.bounce_class = SLICE("tls");
    scene->delivery.last.response = SLICE("mx left out: DANE demands a certificate");
}
static void hastened(struct scene *scene)
{
    scene->entry.is_hastened = true;
}
static void hostile(struct scene *scene)
{
    scene->delivery.last.response = SLICE("\x1b[2Jgone\nfor\xc2\x9bgood");
}
static void uncertain(struct scene *scene)
{
    scene->delivery.last.outcome = ATTEMPT_UNCERTAIN;
}
static void scheduled(struct scene *scene)
{
    scene->delivery.row.status = DELIVERY_SCHEDULED;
}
static void suspended(struct scene *scene)
{
    scene->facts.is_suspended = true;
}
static void paused(struct scene *scene)
{
    is_due(scene);
    scene->entry.has_hold = true;
    scene->entry.hold = (struct queue_hold){.site = SLICE("dest.test"),
                                            .reason = SLICE("they asked"),
                                            .by = SLICE("boss@x.test"),
                                            .since_unix_ms = NOW - 3 * HOUR};
}
static void paused_for_a_while(struct scene *scene)
{
    paused(scene);
    scene->entry.hold.account = (struct account_id){7};
    scene->entry.hold.until_unix_ms = NOW + 3 * HOUR;
}
static void account_paused(struct scene *scene)
{
    paused(scene);
    scene->entry.hold.site = SLICE("");
    scene->entry.hold.account = (struct account_id){7};
}
static void closed(struct scene *scene)
{
    scene->entry.site.closed_until_unix_ms = NOW + 10 * MINUTE;
    scene->entry.site.failures = 6;
    scene->entry.site.failed_unix_ms = NOW - 2 * MINUTE;
    scene->entry.site.reason = SLICE("0 4.4.1 connection refused");
}
static void closed_of_a_pool(struct scene *scene)
{
    closed(scene);
    scene->entry.site.name = SLICE("marketing|dest.test");
}
static void closed_with_a_trap(struct scene *scene)
{
    closed(scene);
    scene->entry.site.name = SLICE("mx'$(reboot)");
}
static void used_up(struct scene *scene)
{
    scene->entry.source_count = 2;
    scene->entry.source_used = 2;
}
static void looked_up(struct scene *scene)
{
    scene->entry.where = EXPLAIN_LOOKUP;
    scene->entry.has_site = false;
}
static void rated(struct scene *scene)
{
    is_due(scene);
    scene->entry.site.rate = 30;
}
static void full_of_conns(struct scene *scene)
{
    is_due(scene);
    scene->entry.site.busy = 4;
}
static void crowded(struct scene *scene)
{
    is_due(scene);
    scene->schedule.is_crowded = true;
    scene->schedule.open = 1000;
}
static void behind_account(struct scene *scene)
{
    is_due(scene);
    scene->entry.is_behind_account = true;
}
static void giving_up(struct scene *scene)
{
    closed(scene);
    scene->entry.where = EXPLAIN_GIVEN_UP;
}
static void tried(struct scene *scene)
{
    closed(scene); /* the probe */
    scene->entry.where = EXPLAIN_TRIED;
    scene->entry.step = EXPLAIN_STEP_SEND;
    scene->entry.host = SLICE("mx.dest.test");
    scene->entry.addr = SLICE("192.0.2.1");
    scene->entry.smtp_step = SLICE("RCPT");
    scene->entry.since_unix_ms = NOW - 40000;
}
static void claimed(struct scene *scene)
{
    tried(scene);
    scene->entry.step = EXPLAIN_STEP_CLAIM;
}
static void later(struct scene *scene)
{
    scene->entry.where = EXPLAIN_ABSENT;
    scene->entry.due_unix_ms = NOW + 3 * HOUR;
    scene->delivery.row.next_attempt_unix_ms = NOW + 3 * HOUR;
}
static void overdue(struct scene *scene)
{
    scene->entry.where = EXPLAIN_ABSENT;
    scene->delivery.row.next_attempt_unix_ms = NOW - MINUTE;
}
static void schedule_full(struct scene *scene)
{
    overdue(scene);
    scene->schedule.is_full = true;
    scene->schedule.scheduled = 1000000;
}
static void stopping(struct scene *scene)
{
    overdue(scene);
    scene->schedule.is_open = false;
}
static void leased(struct scene *scene)
{
    overdue(scene);
    scene->delivery.is_leased = true;
    scene->delivery.outbox.lease_until_unix_ms = NOW + 20 * MINUTE;
}
static void crashed(struct scene *scene)
{
    overdue(scene);
    scene->delivery.is_crashed = true;
}
static void lost(struct scene *scene)
{
    scene->delivery.found = OUTBOX_LOST;
    scene->about.entry = NULL;
}
static void moving(struct scene *scene)
{
    scene->delivery.found = OUTBOX_MOVING;
    scene->about.entry = NULL;
}
static void delivered(struct scene *scene)
{
    scene->delivery.row.status = DELIVERY_DELIVERED;
}
static void rehearsed(struct scene *scene)
{
    delivered(scene);
    scene->mail.mode = MODE_TEST;
}
static void bounced(struct scene *scene)
{
    scene->delivery.row.status = DELIVERY_BOUNCED;
    scene->delivery.last.bounce_class = SLICE("block");
    scene->delivery.last.code = 554;
    scene->delivery.last.response = SLICE("listed in bl.test");
}
static void given_up(struct scene *scene)
{
    scene->delivery.row.status = DELIVERY_FAILED;
    scene->delivery.row.last_response = SLICE("given up after 96 hours");
}
static void cancelled(struct scene *scene)
{
    scene->delivery.row.status = DELIVERY_FAILED;
    scene->mail.status = MAIL_CANCELLED;
}
static void suppressed(struct scene *scene)
{
    scene->delivery.row.status = DELIVERY_SUPPRESSED;
    scene->delivery.has_suppression = true;
    scene->delivery.suppression = (struct row_suppression){.email = SLICE("u@dest.test"),
                                                           .reason = SUPPRESSION_COMPLAINT,
                                                           .created_unix_ms = NOW - 50 * HOUR};
}
static void webhook(struct scene *scene)
{
    scene->delivery.row.kind = DELIVERY_WEBHOOK;
    scene->delivery.row.url = SLICE("https://hooks.test/in?token=abc");
    scene->delivery.last.code = 503;
    scene->delivery.last.enhanced = SLICE("");
    scene->delivery.last.remote_host = SLICE("");
    scene->delivery.last.response = SLICE("HTTP 503");
    scene->facts.is_suspended = true; /* says nothing about webhooks */
}

static const struct {
    change_fn *change;
    const char *state;
    bool needs_action;
    const char *text;   /* is in it */
    const char *advice; /* likewise */
} table[] = {
    {nothing, "waiting", false,
     "Try 2, 3 m ago: mx.dest.test answered 451 4.3.0 \"try later\". It is tried again in 5 m.",
     "meerkatctl retry dlv_"},
    {greylisted, "waiting", false, "first tries away on purpose", "meerkatctl retry"},
    {not_tried_yet, "waiting", false, "It is tried in 5 m.", "meerkatctl retry"},
    {no_answer, "waiting", false, "Try 2 failed 3 m ago (connect): connection refused.", "retry"},
    {no_dns, "waiting", false, "has no mail host", "dig MX dest.test"},
    {no_tls, "waiting", false, "could not be secured", "retry"},
    {hastened, "waiting", false, "as the operator wished", ""},
    {hostile, "waiting", false, "\" [2Jgone for  good\"", ""},
    {uncertain, "waiting", false, "so it may arrive twice", ""},
    {scheduled, "scheduled", false, "Its sender wants it sent in 5 m, not before.", ""},
    {suspended, "suspended", true, "is suspended", "meerkatctl accounts resume acc_"},
    {paused, "paused", true,
     "Its site dest.test was paused by boss@x.test 3 h ago (\"they asked\").",
     "meerkatctl queue resume --site dest.test"},
    {paused_for_a_while, "paused", false, "The pause ends in 3 h.",
     "meerkatctl queue resume --site dest.test --account acc_"},
    {account_paused, "paused", true, "All mail of its account was paused",
     "meerkatctl queue resume --account acc_"},
    {closed, "site-closed", false,
     "Its site dest.test is left alone for another 10 m: 6 failures in a row, the last 2 m ago (0 "
     "4.4.1 connection refused).",
     "meerkatctl queue retry --site dest.test"},
    {closed_of_a_pool, "site-closed", false, "Its site marketing|dest.test is left alone",
     "meerkatctl queue retry --site 'marketing|dest.test'"},
    {closed_with_a_trap, "site-closed", false, "", "--site 'mx'\\''$(reboot)'"},
    {used_up, "addresses-used-up", false, "All addresses of the sending pool default",
     "meerkatctl queue move --site dest.test --pool"},
    {looked_up, "looking-up", false, "is being looked up in the DNS", "dns_servers"},
    {is_due, "in-line", false,
     "in line at dest.test behind 120 others; at the present 60 a minute that takes about 2 m",
     "meerkatctl queue sites --search dest.test"},
    {rated, "rate-limited", false, "30 mails a minute", ""},
    {full_of_conns, "connections-full", false, "all 4 connections", ""},
    {crowded, "server-busy", false, "delivery_max", ""},
    {behind_account, "account-turn", false, "as is fair to the others", ""},
    {giving_up, "giving-up", true, "The operator gave it up", ""},
    {tried, "trying", false,
     "It is being tried, for 40 s now: mx.dest.test [192.0.2.1] has to answer (RCPT).", ""},
    {claimed, "trying", false, "the shard or the disk is slow", ""},
    {later, "later", false, "It is tried again in 3 h.", "meerkatctl retry"},
    {overdue, "not-announced", false, "every ten minutes", "meerkatctl retry"},
    {schedule_full, "schedule-full", false, "1000000 entries", "meerkatctl queue ages"},
    {stopping, "delivery-stopped", false, "starting or stopping", ""},
    {leased, "leased", false, "its lease ends in 20 m", ""},
    {crashed, "not-announced", false, "may have it already", ""},
    {lost, "lost", true, "the store is damaged here", "meerkatctl verify"},
    {moving, "moving", false, "ask again", ""},
    {delivered, "delivered", false, "mx.dest.test took it 3 m ago.", ""},
    {rehearsed, "rehearsed", false, "a test key sent it", "live key"},
    {bounced, "bounced", true, "listed in bl.test\". That means: the server refuses our address",
     "ask for removal"},
    {given_up, "given-up", true, "given up after 2 tries: given up after 96 hours",
     "meerkatctl retry dlv_"},
    {cancelled, "cancelled", true, "It was cancelled before it was sent.", ""},
    {suppressed, "suppressed", true, "since 2 d ago (complaint)",
     "DELETE /api/contacts/suppressions/u@dest.test"},
    {webhook, "waiting", false, "the webhook https://hooks.test/in answered 503 \"HTTP 503\"",
     "mend the endpoint, then: meerkatctl retry"},
};

Test(explain_words, each_reason_has_its_sentence_and_its_advice)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct scene scene;
        scene_init(&scene);
        table[i].change(&scene);
        explain_delivery(&scene.about, &scene.arena, &scene.said);
        const struct explanation *said = &scene.said;
        cr_expect_str_eq(said->state, table[i].state, "%zu: %s, %s", i, said->state, said->text);
        cr_expect_eq(said->needs_action, table[i].needs_action, "%s", said->state);
        cr_expect_not_null(strstr(said->text, table[i].text), "%s: %s", said->state, said->text);
        cr_expect_not_null(strstr(said->advice, table[i].advice), "%s: %s", said->state,
                           said->advice);
        cr_expect_null(strchr(said->text, '\x1b'));
        cr_expect_null(strstr(said->text, "token=abc"));
        arena_fini(&scene.arena);
    }
}

Test(explain_words, a_mail_is_given_up_when_its_time_is_over_a_webhook_by_its_ladder)
{
    struct scene scene;
    scene_init(&scene);
    explain_delivery(&scene.about, &scene.arena, &scene.said);
    cr_expect_eq(scene.said.until_unix_ms, NOW + 95 * HOUR);
    cr_expect_eq(scene.said.next_unix_ms, NOW + 5 * MINUTE);
    cr_expect_eq(scene.said.since_unix_ms, NOW - 3 * MINUTE);
    webhook(&scene);
    explain_delivery(&scene.about, &scene.arena, &scene.said);
    cr_expect_eq(scene.said.until_unix_ms, 0);
    arena_fini(&scene.arena);
}

Test(explain_words, every_class_of_refusals_has_a_meaning_and_an_advice)
{
    for (int class = BOUNCE_NONE + 1; class < BOUNCE_CLASS_COUNT; class ++) {
        const struct explain_class *words = explain_class((enum bounce_class) class);
        cr_expect_str_neq(words->meaning, "", "%s", bounce_traits((enum bounce_class) class)->word);
        cr_expect_str_neq(words->advice, "", "%s", bounce_traits((enum bounce_class) class)->word);
    }
}

Test(explain_words, the_mail_itself_is_told_where_that_matters)
{
    struct scene scene;
    struct explanation notes[EXPLAIN_NOTES_MAX];
    scene_init(&scene);
    cr_expect_eq(explain_mail(&scene.about, &scene.arena, notes), 0, "all is well");
    scene.mail.mode = MODE_TEST;
    scene.facts.domain_failing_unix_ms = NOW - 5 * HOUR;
    scene.facts.left_out = 12;
    cr_assert_eq(explain_mail(&scene.about, &scene.arena, notes), 3);
    cr_expect_str_eq(notes[0].state, "domain-failing");
    cr_expect_not_null(strstr(notes[0].text, "send.test fails its checks, first seen 5 h ago"),
                       "%s", notes[0].text);
    cr_expect_str_eq(notes[1].state, "test");
    cr_expect_not_null(strstr(notes[2].text, "12 more deliveries"));
    scene.facts.has_domain = false;
    cr_assert_eq(explain_mail(&scene.about, &scene.arena, notes), 3);
    cr_expect_str_eq(notes[0].state, "domain-gone");

    scene.mail.direction = DIRECTION_INBOUND;
    scene.facts.left_out = 0;
    cr_assert_eq(explain_mail(&scene.about, &scene.arena, notes), 1);
    cr_expect_not_null(strstr(notes[0].text, "nothing is to be delivered"));
    scene.mail.delivery_count = 3;
    scene.mail.hook_count = 2;
    scene.mail.hook_open = 1;
    cr_assert_eq(explain_mail(&scene.about, &scene.arena, notes), 1);
    cr_expect_not_null(strstr(notes[0].text, "2 webhook calls of it, 1 still open and 0 given up"),
                       "%s", notes[0].text);
    arena_fini(&scene.arena);
}

Test(explain_words, distances_of_times_are_short)
{
    struct arena arena;
    arena_init(&arena, 4096, 1 << 20);
    cr_expect_str_eq(explain_time(NOW, NOW, &arena), "just now");
    cr_expect_str_eq(explain_time(NOW - 90000, NOW, &arena), "90 s ago");
    cr_expect_str_eq(explain_time(NOW + 500, NOW, &arena), "in 1 s");
    cr_expect_str_eq(explain_time(NOW + 3 * MINUTE, NOW, &arena), "in 3 m");
    cr_expect_str_eq(explain_time(NOW + 3 * HOUR, NOW, &arena), "in 3 h");
    cr_expect_str_eq(explain_time(NOW - 72 * HOUR, NOW, &arena), "3 d ago");
    arena_fini(&arena);
}
