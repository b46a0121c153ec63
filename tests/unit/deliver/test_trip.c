/* Trips of the delivery actor from wake to outcome, with an actor of the test's own as shard.
 *
 * Not covered here: the SMTP dialogue (test_attempt_smtp), the order of entries (test_sched), what
 * a shard makes of claims and outcomes (tests/unit/shards/test_claim), the whole daemon (flows).
 * Time is the test's: nothing is waited for.
 */
#include "unit/deliver/trip_rig.h"

#include <signal.h>

/* clang-format off */
#define HELLO   {"", "220 mx.test ESMTP\r\n"}
#define EHLO    {"EHLO", "250-mx.test\r\n250 PIPELINING\r\n"}
#define EHLO_NO {"EHLO", "250 mx.test\r\n"}
#define MAIL    {"MAIL FROM:<b@send.test>", "250 ok\r\n"}
#define RCPT    {"RCPT TO:<r@dest.test>", "250 ok\r\n"}
#define DATA    {"DATA", "354 go\r\n"}
#define DOT     {".", "250 2.0.0 queued\r\n"}
#define END     {NULL, NULL}
/* clang-format on */

static const struct fake_row here[] = {{.type = DNS_A, .name = "dest.test", .text = "127.0.0.1"}};

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
}

TestSuite(trip, .init = setup);

static struct site *site_of(struct rig *rig)
{
    return site_get(rig->deliver->sites, SLICE("dest.test"), NULL);
}

/* One mail from wake to outcome. */
static const struct outcome *go(struct rig *rig)
{
    uint32_t before = rig->outcome_count;
    wake(rig, (uint16_t)(before + 1), rig->unix_ms);
    WAIT_FOR(rig, rig->outcome_count == before + 1);
    settle(rig);
    return &rig->outcomes[before];
}

static void start(struct rig *rig)
{
    rig_start(rig, here, ARRAY_LEN(here));
    control_and_wait(rig, CONTROL_START);
}

/* ---- on the way ----------------------------------------------------------------------------- */

Test(trip, takes_a_due_mail_to_its_host_and_reports)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    wake(&rig, 1, UNIX_MS + 500);
    WAIT_FOR(&rig, rig.wakes_home == 1);
    settle(&rig);
    cr_assert_eq(rig.claims, 0, "it is not due");
    pass(&rig, 500);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    const struct outcome *out = &rig.outcomes[0];
    cr_assert(id_equal(out->mail, mail_id(1)));
    cr_assert_eq(out->due_unix_ms, UNIX_MS + 500);
    cr_assert_eq(out->started_unix_ms, UNIX_MS + 500);
    cr_assert_eq(out->verdict_count, 1);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(out->verdict.code, 250);
    cr_assert_str_eq(out->host, "dest.test");
    cr_assert_str_eq(out->addr, "127.0.0.1");
    cr_assert_str_eq(out->tls, "");
    cr_assert_not_null(strstr(out->transcript, "S: 250 queued"));
    cr_assert(
        slice_equal(buf_slice(&rig.script.mail), SLICE("DKIM-Signature: x\r\n" BODY ".\r\n")));
    rig_end(&rig);
}

Test(trip, waits_with_everything_until_it_is_started)
{
    static const struct script_step steps[] = {END};
    struct rig rig;
    rig_init(&rig, steps);
    rig_start(&rig, here, ARRAY_LEN(here));
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.wakes_home == 1);
    pass(&rig, 1000);
    cr_assert_eq(rig.claims, 0);
    rig_end(&rig);
}

Test(trip, ends_without_a_word_when_its_row_is_gone_or_taken)
{
    static const struct script_step steps[] = {END};
    static const enum err errs[] = {ERR_NOT_FOUND, ERR_CONFLICT};
    for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
        struct rig rig;
        rig_init(&rig, steps);
        start(&rig);
        rig.claim_err = errs[i];
        wake(&rig, 1, UNIX_MS);
        WAIT_FOR(&rig, rig.claims == 1);
        pass(&rig, 10000);
        cr_assert_eq(rig.claims, 1);
        cr_assert_eq(rig.outcome_count, 0);
        cr_assert_eq(rig.deliver->sched.count, 0);
        cr_assert_eq(site_table_count(rig.deliver->sites), 0);
        rig_end(&rig);
    }
}

Test(trip, claims_again_when_the_shard_could_not_answer)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.claim_err = ERR_STORAGE;
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.claims == 1);
    settle(&rig);
    cr_assert_eq(rig.claims, 1, "not at once");
    rig.claim_err = ERR_OK;
    pass(&rig, 1000);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert_eq(rig.claims, 2);
    cr_assert_eq(rig.outcomes[0].due_unix_ms, UNIX_MS, "the row's key is what it was");
    rig_end(&rig);
}

/* A lease that ran out while the server was slow: the shard announces the row again. */
Test(trip, never_claims_a_row_that_is_under_way)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.holds_outcome = true;
    (void)go(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.wakes_home == 2);
    pass(&rig, 5000);
    cr_assert_eq(rig.claims, 1);
    rig.claim_err = ERR_NOT_FOUND; /* the outcome deletes the row */
    msg_return(rig.held_outcome, ERR_OK);
    settle(&rig);
    pass(&rig, 5000);
    cr_assert_eq(rig.claims, 2, "the second entry was not lost: the row might have been");
    cr_assert_eq(rig.deliver->sched.count, 0);
    rig_end(&rig);
}

Test(trip, pulls_long_mails_from_the_shard)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.chunk_count = 3;
    cr_assert_eq(go(&rig)->verdict.class, VERDICT_DELIVERED);
    cr_assert(slice_ends(buf_slice(&rig.script.mail), SLICE("hello\r\nmore\r\nmore\r\n.\r\n")));
    rig_end(&rig);
}

Test(trip, defers_when_the_stored_mail_cannot_be_read)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.chunk_count = 3;
    rig.chunk_err = ERR_CORRUPT;
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DEFERRED);
    cr_assert_str_eq(out->verdict.enhanced, "4.3.0");
    cr_assert_eq(rig.script.mail.len, 0, "half a mail is never ended as if it were whole");
    rig_end(&rig);
}

Test(trip, waits_for_its_chunk_when_the_connection_goes_first)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, {"~", "!reset"}, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.chunk_count = 2;
    rig.holds_chunk = true;
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.chunk != NULL && rig.script.steps->line == NULL);
    settle(&rig);
    cr_assert_eq(rig.outcome_count, 0);
    rig.chunk->body.chunk.data = SLICE("more\r\n");
    msg_return(rig.chunk, ERR_OK);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert_eq(rig.outcomes[0].verdict.class, VERDICT_DEFERRED);
    rig_end(&rig);
}

/* The verdict is known and must get to disk, however long that takes. */
Test(trip, says_its_outcome_until_it_is_stored)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.outcome_err = ERR_STORAGE;
    (void)go(&rig);
    pass(&rig, 1000);
    pass(&rig, 1000);
    cr_assert_eq(rig.outcome_count, 3);
    rig.outcome_err = ERR_OK;
    pass(&rig, 1000);
    cr_assert_eq(rig.outcome_count, 4);
    pass(&rig, 10000);
    cr_assert_eq(rig.outcome_count, 4);
    cr_assert_eq(rig.claims, 1);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(rig.outcomes[i].verdict.class, VERDICT_DELIVERED);
        cr_assert(id_equal(rig.outcomes[i].mail, mail_id(1)));
    }
    rig_end(&rig);
}

Test(trip, lets_an_outcome_go_whose_row_is_no_longer_its_own)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.outcome_err = ERR_CONFLICT;
    (void)go(&rig);
    pass(&rig, 10000);
    cr_assert_eq(rig.outcome_count, 1);
    cr_assert_eq(rig.deliver->trip_count, 0);
    rig_end(&rig);
}

/* ---- hosts ---------------------------------------------------------------------------------- */

static const struct fake_row two_hosts[] = {
    {.type = DNS_MX, .name = "dest.test", .text = "dead.mx.test", .priority = 1},
    {.type = DNS_MX, .name = "dest.test", .text = "live.mx.test", .priority = 2},
    {.type = DNS_A, .name = "dead.mx.test", .text = "127.0.0.9"},
    {.type = DNS_A, .name = "live.mx.test", .text = "127.0.0.1"},
};

Test(trip, goes_to_the_next_host_when_one_fails)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    rig_start(&rig, two_hosts, ARRAY_LEN(two_hosts));
    control_and_wait(&rig, CONTROL_START);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_str_eq(out->host, "live.mx.test");
    cr_assert_not_null(strstr(out->transcript, "cannot connect to 127.0.0.9"), "both are told");
    const struct site *site = site_get(rig.deliver->sites, SLICE("mx.test"), NULL);
    cr_assert_eq(site->failures, 0, "the site took the mail: its circuit stays closed");
    cr_assert_eq(site->limit, 5);
    rig_end(&rig);
}

Test(trip, defers_when_every_host_failed)
{
    static const struct script_step steps[] = {{"", "554 5.3.2 not now\r\n"}, END};
    struct rig rig;
    rig_init(&rig, steps);
    rig_start(&rig, two_hosts, ARRAY_LEN(two_hosts));
    control_and_wait(&rig, CONTROL_START);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DEFERRED);
    cr_assert_eq(out->verdict.code, 554, "the last host's words");
    cr_assert_str_eq(out->host, "live.mx.test");
    const struct site *site = site_get(rig.deliver->sites, SLICE("mx.test"), NULL);
    cr_assert_eq(site->failures, 1, "one trip, one failure");
    rig_end(&rig);
}

Test(trip, says_what_dns_said)
{
    static const struct script_step steps[] = {END};
    static const struct fake_row temporary[] = {
        {.type = DNS_MX, .name = "dest.test", .err = ERR_DNS_TEMP}};
    for (size_t rows = 0; rows < 2; rows++) {
        struct rig rig;
        rig_init(&rig, steps);
        rig_start(&rig, temporary, rows);
        control_and_wait(&rig, CONTROL_START);
        const struct outcome *out = go(&rig);
        cr_assert_eq(out->verdict.class, rows == 0 ? VERDICT_BOUNCED : VERDICT_DEFERRED);
        cr_assert_eq(out->verdict.step, SMTP_STEP_RESOLVE);
        cr_assert_str_eq(out->host, "");
        cr_assert_eq(site_of(&rig)->limit, 4, "no host was asked, so none has earned anything");
        rig_end(&rig);
    }
}

/* RFC 7435: encryption with anyone is better than none, and none is better than no mail. */
Test(trip, tries_once_more_in_clear_when_tls_fails)
{
    static const struct script_step steps[] = {
        HELLO,
        {"EHLO", "250-mx.test\r\n250 STARTTLS\r\n"},
        {"STARTTLS", "220 go\r\n\x16\x03\x01 this is no handshake\r\n"}, /* dropped by RFC 3207 */
        HELLO,
        EHLO,
        MAIL,
        RCPT,
        DATA,
        DOT,
        END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.script.steps == &steps[3]);
    settle(&rig);
    pass(&rig, 61000); /* the server says nothing more */
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(rig.script.conns, 2);
    cr_assert_str_eq(rig.outcomes[0].tls, "");
    cr_assert_eq(site_of(&rig)->failures, 0);
    rig_end(&rig);
}

Test(trip, sends_everything_to_a_smarthost)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    char where[32];
    (void)snprintf(where, sizeof where, "127.0.0.1:%u", (unsigned)rig.script.listener.tcp_port);
    set(&rig, "smarthost", where);
    set(&rig, "smarthost_tls", "none");
    set(&rig, "smtp_port", "1");
    set(&rig, "allow_private_targets", "no"); /* the smarthost is the operator's own choice */
    rig_start(&rig, NULL, 0);
    control_and_wait(&rig, CONTROL_START);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_str_eq(out->host, "127.0.0.1");
    cr_assert_eq(rig.deliver->dns->question_count, 0);
    rig_end(&rig);
}

/* ---- connections ---------------------------------------------------------------------------- */

Test(trip, keeps_a_connection_for_the_next_mail)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT,
                                               MAIL,  RCPT, DATA, DOT,  END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    (void)go(&rig);
    cr_assert_eq(site_of(&rig)->idle_count, 1);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_str_eq(out->addr, "127.0.0.1");
    cr_assert_eq(rig.script.conns, 1);
    rig_end(&rig);
    cr_assert_eq(rig.script.quits, 1, "the drain says goodbye");
}

Test(trip, lets_an_unused_connection_go)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    (void)go(&rig);
    pass(&rig, SMTP_IDLE_MS);
    WAIT_FOR(&rig, rig.script.quits == 1);
    cr_assert_eq(site_table_count(rig.deliver->sites), 0);
    rig_end(&rig);
}

/* A server may close a kept connection whenever it likes; that is no failure of its host. */
Test(trip, makes_a_new_connection_when_the_kept_one_is_closed)
{
    static const struct script_step before[] = {
        HELLO, EHLO, MAIL, RCPT, DATA, {".", "250 ok\r\n421 4.4.2 bye\r\n"}, HELLO, EHLO,
        MAIL,  RCPT, DATA, DOT,  END};
    static const struct script_step meanwhile[] = {
        HELLO, EHLO_NO, MAIL, RCPT, DATA, DOT, {"MAIL", "421 4.4.2 too late\r\n"},
        HELLO, EHLO,    MAIL, RCPT, DATA, DOT, END};
    const struct script_step *const scripts[] = {before, meanwhile};
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct rig rig;
        rig_init(&rig, scripts[i]);
        start(&rig);
        (void)go(&rig);
        const struct outcome *out = go(&rig);
        cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
        cr_assert_eq(rig.script.conns, 2);
        cr_assert_eq(site_of(&rig)->failures, 0);
        rig_end(&rig);
    }
}

/* One connection, two mails at once: the second is claimed meanwhile and takes it over. */
Test(trip, waits_for_a_connection_of_its_site)
{
    static const struct script_step steps[] = {HELLO,          EHLO,           MAIL,
                                               {"RCPT", NULL}, {"DATA", NULL}, END};
    static const struct script_step rest[] = {DOT, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    set(&rig, "site_max", "1");
    start(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.script.steps->line == NULL);
    wake(&rig, 2, UNIX_MS);
    WAIT_FOR(&rig, rig.claims == 2);
    settle(&rig);
    cr_assert_eq(rig.script.conns, 1);
    cr_assert_eq(site_of(&rig)->busy, 1);
    rig.script.steps = rest;
    rig.script.is_in_mail = true;
    conn_write(&rig.script.conn, SLICE("250 ok\r\n354 go\r\n"));
    WAIT_FOR(&rig, rig.outcome_count == 2);
    settle(&rig);
    cr_assert_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(rig.outcomes[1].verdict.class, VERDICT_DELIVERED);
    cr_assert(id_equal(rig.outcomes[0].mail, mail_id(1)));
    cr_assert_eq(rig.script.conns, 1);
    cr_assert_eq(site_of(&rig)->busy, 0);
    rig_end(&rig);
}

/* ---- recipients ------------------------------------------------------------------------------ */

#define RCPT_OF(who)                                                                               \
    {                                                                                              \
        "RCPT TO:<" who "@dest.test>", "250 ok\r\n"                                                \
    }

static void take_two_at_once(struct rig *rig)
{
    static const struct site_rules two = {.rcpts_max = 2};
    rig->deliver->policy->rules = two;
    rig->more_rcpts = 2;
}

Test(trip, sends_to_no_more_recipients_at_once_than_the_site_takes)
{
    static const struct script_step steps[] = {
        HELLO, EHLO, MAIL, RCPT, RCPT_OF("r1"), DATA, DOT, MAIL, RCPT_OF("r2"), DATA, DOT, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    take_two_at_once(&rig);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict_count, 3);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(out->last.class, VERDICT_DELIVERED);
    cr_assert_eq(rig.script.conns, 1);
    rig_end(&rig);
}

Test(trip, goes_on_with_the_other_recipients_on_a_new_connection)
{
    static const struct script_step steps[] = {
        HELLO, EHLO, MAIL, RCPT,          RCPT_OF("r1"), DATA, {".", "250 ok\r\n421 4.4.2 bye\r\n"},
        HELLO, EHLO, MAIL, RCPT_OF("r2"), DATA,          DOT,  END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    take_two_at_once(&rig);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(out->last.class, VERDICT_DELIVERED);
    cr_assert_eq(rig.script.conns, 2);
    rig_end(&rig);
}

Test(trip, puts_off_recipients_whose_turn_never_came)
{
    static const struct script_step steps[] = {HELLO,
                                               {"EHLO", "250 mx\r\n"},
                                               MAIL,
                                               {"RCPT", "550 5.1.1 no such user\r\n"},
                                               {"RCPT", "550 5.1.1 no such user\r\n"},
                                               {"RSET", "250 ok\r\n"},
                                               END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    take_two_at_once(&rig);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_BOUNCED);
    cr_assert_eq(out->last.class, VERDICT_DEFERRED);
    rig_end(&rig);
}

/* ---- retries -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t attempt;
    uint64_t age_ms;
    uint64_t pause_ms; /* before the jitter; 0: bounced */
} retries[] = {
    {"first", 1, 0, 60000},
    {"second", 2, 60000, 120000},
    {"fourth", 4, 600000, 480000},
    {"longest", 30, 86400000, 14400000},
    {"many", 4000000000, 86400000, 14400000},
    {"too old", 40, 345600000, 0},
};

Test(trip, waits_twice_as_long_each_time_and_bounces_in_the_end)
{
    static const struct script_step steps[] = {{"", "554 5.7.1 no\r\n"}, END};
    for (size_t i = 0; i < ARRAY_LEN(retries); i++) {
        struct rig rig;
        rig_init(&rig, steps);
        start(&rig);
        rig.attempt = retries[i].attempt;
        rig.created_unix_ms = UNIX_MS - retries[i].age_ms;
        const struct outcome *out = go(&rig);
        if (retries[i].pause_ms == 0) {
            cr_assert_eq(out->verdict.class, VERDICT_BOUNCED);
            cr_assert_str_eq(out->verdict.enhanced, "4.4.7");
            cr_assert_eq(out->verdict.code, 554);
            cr_assert_str_eq(out->verdict.text, "given up after 96 hours; last: no");
        } else {
            uint64_t pause_ms = out->next_due_unix_ms - UNIX_MS;
            cr_assert_eq(out->verdict.class, VERDICT_DEFERRED, "%s", retries[i].name);
            cr_assert_geq(pause_ms, retries[i].pause_ms * 8 / 10, "%s", retries[i].name);
            cr_assert_leq(pause_ms, retries[i].pause_ms * 12 / 10, "%s", retries[i].name);
        }
        rig_end(&rig);
    }
}

Test(trip, tries_once_more_at_the_very_end)
{
    static const struct script_step steps[] = {{"", "554 5.7.1 no\r\n"}, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.attempt = 30;
    rig.created_unix_ms = UNIX_MS - 345600000 + 5000;
    cr_assert_eq(go(&rig)->next_due_unix_ms, UNIX_MS + 5000);
    rig_end(&rig);
}

Test(trip, bounces_at_once_what_is_refused_for_good)
{
    static const struct script_step steps[] = {HELLO,
                                               {"EHLO", "250 mx\r\n"},
                                               MAIL,
                                               {"RCPT", "550 5.1.1 no such user\r\n"},
                                               {"RSET", "250 ok\r\n"},
                                               END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_BOUNCED);
    cr_assert_str_eq(out->verdict.enhanced, "5.1.1");
    cr_assert_eq(site_of(&rig)->limit, 5, "the host did its work");
    rig_end(&rig);
}

/* ---- the circuit ---------------------------------------------------------------------------- */

Test(trip, leaves_a_dead_site_alone_and_probes_it_with_one)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT,
                                               MAIL,  RCPT, DATA, DOT,  END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    uint16_t port = rig.script.listener.tcp_port;
    set(&rig, "smtp_port", "1"); /* nobody listens there */
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(go(&rig)->verdict.class, VERDICT_DEFERRED);
    }
    wake(&rig, 100, UNIX_MS);
    wake(&rig, 101, UNIX_MS);
    settle(&rig);
    cr_assert_eq(rig.claims, 5, "the circuit is open");
    rig.conf.smtp_port = port;
    rig.holds_outcome = true;
    pass(&rig, 30000);
    WAIT_FOR(&rig, rig.outcome_count == 6);
    settle(&rig);
    cr_assert_eq(rig.claims, 6, "one probe");
    rig.holds_outcome = false;
    msg_return(rig.held_outcome, ERR_OK);
    WAIT_FOR(&rig, rig.outcome_count == 7);
    cr_assert_eq(rig.outcomes[6].verdict.class, VERDICT_DELIVERED, "it was good: all follow");
    rig_end(&rig);
}

/* Claimed while all was well, its turn comes when the circuit is open: no try, and none counted. */
Test(trip, gives_rows_back_that_wait_at_a_site_that_died)
{
    static const struct script_step steps[] = {HELLO, {"EHLO", NULL}, END};
    struct rig rig;
    rig_init(&rig, steps);
    set(&rig, "site_max", "1");
    start(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.script.steps->line == NULL);
    for (uint32_t i = 0; i < 4; i++) {
        site_feedback(site_of(&rig), FEEDBACK_FAILED, "", rig.mono_ms);
    }
    wake(&rig, 2, UNIX_MS);
    WAIT_FOR(&rig, rig.claims == 2);
    settle(&rig);
    script_reset(&rig.script); /* the fifth failure */
    WAIT_FOR(&rig, rig.outcome_count == 2);
    cr_assert_eq(rig.outcomes[0].verdict_count, 1);
    cr_assert(id_equal(rig.outcomes[1].mail, mail_id(2)));
    cr_assert_eq(rig.outcomes[1].verdict_count, 0);
    cr_assert_eq(rig.outcomes[1].next_due_unix_ms, UNIX_MS + 30000);
    cr_assert_eq(rig.script.conns, 1);
    rig_end(&rig);
}

/* ---- tests of customers --------------------------------------------------------------------- */

Test(trip, opens_no_socket_for_a_test)
{
    static const struct script_step steps[] = {END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.rehearsal = REHEARSAL_SCRIPTED;
    const struct outcome *out = go(&rig);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_str_eq(out->host, "");
    cr_assert_eq(rig.script.conns, 0);
    cr_assert_eq(rig.deliver->dns->question_count, 1, "whose limits would count, and no more");
    cr_assert_eq(site_of(&rig)->limit, 4, "a rehearsal tells nothing of the real site");
    rig_end(&rig);
}

/* ---- the end -------------------------------------------------------------------------------- */

Test(trip, is_finished_before_a_drain_returns)
{
    static const struct script_step steps[] = {
        HELLO, EHLO, MAIL, RCPT, {"DATA", "354 go\r\n"}, {".", NULL}, END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    wake(&rig, 1, UNIX_MS);
    wake(&rig, 2, UNIX_MS + 1000); /* not begun any more */
    WAIT_FOR(&rig, rig.script.steps->line == NULL);
    control(&rig, CONTROL_DRAIN, 60000);
    settle(&rig);
    pass(&rig, 2000);
    cr_assert_eq(rig.controls_home, 1, "the start, not yet the drain");
    conn_write(&rig.script.conn, SLICE("250 2.0.0 queued\r\n"));
    WAIT_FOR(&rig, rig.controls_home == 2);
    cr_assert_eq(rig.outcome_count, 1);
    cr_assert_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(rig.claims, 1);
    rig_end(&rig);
}

Test(trip, is_abandoned_when_the_drain_takes_too_long)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, {".", NULL}, END};
    struct rig rig;
    rig_init(&rig, steps);
    set(&rig, "site_max", "1");
    start(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.script.steps->line == NULL);
    wake(&rig, 2, UNIX_MS);
    WAIT_FOR(&rig, rig.claims == 2);
    settle(&rig);
    control(&rig, CONTROL_DRAIN, 10000);
    settle(&rig);
    pass(&rig, 5000); /* half of the time is for recording the outcomes */
    WAIT_FOR(&rig, rig.controls_home == 2);
    cr_assert_eq(rig.outcome_count, 2);
    bool is_first = id_equal(rig.outcomes[0].mail, mail_id(1));
    const struct outcome *sent = &rig.outcomes[is_first ? 0 : 1];
    const struct outcome *waited = &rig.outcomes[is_first ? 1 : 0];
    cr_assert_eq(sent->verdict.class, VERDICT_DEFERRED);
    cr_assert_not_null(strstr(sent->verdict.text, "may have been delivered"));
    cr_assert_eq(waited->verdict.class, VERDICT_DEFERRED);
    cr_assert_not_null(strstr(waited->verdict.text, "was not made"));
    rig_end(&rig);
}

Test(trip, does_not_begin_while_nobody_knows_where_its_domain_leads)
{
    static const struct script_step steps[] = {END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    rig.deliver->dns->loop = NULL;
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.deliver->dns->question_count == 1);
    pass(&rig, 1000);
    cr_assert_eq(rig.claims, 0);
    rig.deliver->dns->loop = &rig.loop;
    rig_end(&rig); /* the question is given up; the row is its shard's */
}

Test(trip, is_abandoned_while_it_is_still_looking_for_a_host)
{
    static const struct script_step steps[] = {END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.claims == 1);
    rig.deliver->dns->loop = NULL; /* asks and hears nothing */
    WAIT_FOR(&rig, rig.deliver->dns->question_count == 2);
    control(&rig, CONTROL_DRAIN, 10000);
    settle(&rig);
    pass(&rig, 5000);
    WAIT_FOR(&rig, rig.controls_home == 2);
    cr_assert_eq(rig.outcomes[0].verdict.class, VERDICT_DEFERRED);
    cr_assert_not_null(strstr(rig.outcomes[0].verdict.text, "was not made"));
    rig_end(&rig);
}
