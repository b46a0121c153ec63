/* Trips whose world changes while they are under way: a domain that moves to other hosts, an
 * address of ours that is used up between two parts of a mail, a second route.
 *
 * Not covered here: what a trip does otherwise (test_trip, test_trip_tls).
 */
#include "unit/deliver/trip_rig.h"

#include <signal.h>

/* clang-format off */
#define HELLO    {"", "220 mx.test ESMTP\r\n"}
#define EHLO     {"EHLO", "250-mx.test\r\n250 PIPELINING\r\n"}
#define EHLO_TLS {"EHLO", "250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"}
#define MAIL     {"MAIL FROM:<b@send.test>", "250 ok\r\n"}
#define RCPT     {"RCPT TO:<r@dest.test>", "250 ok\r\n"}
#define RCPT_1   {"RCPT TO:<r1@dest.test>", "250 ok\r\n"}
#define DATA     {"DATA", "354 go\r\n"}
#define DOT      {".", "250 2.0.0 queued\r\n"}
#define DOT_BYE  {".", "250 ok\r\n421 4.4.2 bye\r\n"}
#define END      {NULL, NULL}
/* clang-format on */

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
}

TestSuite(trip_moves, .init = setup, .timeout = 60);

static void start(struct rig *rig, const struct fake_row *rows, size_t count)
{
    rig_start(rig, rows, count);
    control_and_wait(rig, CONTROL_START);
}

static void take_one_at_once(struct rig *rig)
{
    static const struct site_rules one = {.rcpts_max = 1};
    rig->deliver->policy->rules = one;
    rig->more_rcpts = 1;
}

/* What fell due before the domain moved counts where it stood in line. */
Test(trip_moves, ends_at_the_site_whose_turn_it_had)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA,    DOT_BYE, HELLO,
                                               EHLO,  MAIL, RCPT, DATA, DOT_BYE, END};
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "mx.old.test", .priority = 1},
        {.type = DNS_A, .name = "mx.old.test", .text = "127.0.0.1"},
        {.type = DNS_A, .name = "mx.new.test", .text = "127.0.0.1"},
    };
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig, rows, ARRAY_LEN(rows));
    struct sched *sched = &rig.deliver->sched;
    struct site *old = site_get(rig.deliver->sites, SLICE("old.test"), NULL);
    site_hold(old);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, old->due[PRIORITY_TRANSACTIONAL] == 1);
    rig.deliver->dns->rows[0].text = "mx.new.test";
    sched_ask_again(sched);
    wake(&rig, 2, UNIX_MS);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert(id_equal(rig.outcomes[0].mail, mail_id(2)));
    site_release(old, rig.mono_ms);
    sched_site_changed(sched, old);
    deliver_pump(rig.deliver);
    WAIT_FOR(&rig, rig.outcome_count == 2);
    settle(&rig);
    cr_assert(id_equal(rig.outcomes[1].mail, mail_id(1)));
    cr_assert_eq(rig.outcomes[1].verdict_count, 0, "it goes to the new hosts, in their turn");
    pass(&rig, 1000);
    WAIT_FOR(&rig, rig.outcome_count == 3);
    settle(&rig);
    cr_assert_eq(rig.outcomes[2].verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(sched->count, 0);
    cr_assert_eq(site_table_count(rig.deliver->sites), 0, "nothing is left open anywhere");
    rig_end(&rig);
}

/* A scheduled mail that its sender moves on while it stands in line. */
Test(trip_moves, never_leaves_before_the_time_it_was_moved_to)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT_BYE, END};
    static const struct fake_row here = {.type = DNS_A, .name = "dest.test", .text = "127.0.0.1"};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig, &here, 1);
    struct site *site = site_get(rig.deliver->sites, SLICE("dest.test"), NULL);
    site_hold(site);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, site->due[PRIORITY_TRANSACTIONAL] == 1);
    wake(&rig, 1, UNIX_MS + 60000);
    WAIT_FOR(&rig, rig.wakes_home == 2);
    site_release(site, rig.mono_ms);
    sched_site_changed(&rig.deliver->sched, site);
    deliver_pump(rig.deliver);
    pass(&rig, 59999);
    cr_assert_eq(rig.claims, 0);
    pass(&rig, 1);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert_eq(rig.outcomes[0].due_unix_ms, UNIX_MS + 60000);
    rig_end(&rig);
}

/* Given back as if nothing had been tried, the first recipient would get it again tomorrow. */
Test(trip_moves, says_who_has_the_mail_when_its_address_is_used_up)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT_BYE, END};
    static const struct fake_row here = {.type = DNS_A, .name = "dest.test", .text = "127.0.0.1"};
    struct rig rig;
    char why[POLICY_WHY_MAX];
    rig_init(&rig, steps);
    start(&rig, &here, 1);
    cr_assert(
        policy_read(rig.deliver->policy, SLICE("pool default\n  source 127.0.0.1 warmup\n"), why),
        "%s", why);
    source_table_apply(rig.deliver->sources, rig.deliver->policy);
    struct source *source = NULL;
    const struct source_wish wish = {
        .pool = SLICE(""), .family = AF_INET, .day = clock_day_of(UNIX_MS)};
    cr_assert_eq(source_choose(rig.deliver->sources, &wish, &source), SOURCE_FOUND);
    source_sent(source, SLICE(""), wish.day, source_quota(0) - 2);
    take_one_at_once(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    const struct outcome *out = &rig.outcomes[0];
    cr_assert_eq(out->verdict_count, 2);
    cr_assert_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(out->last.class, VERDICT_DEFERRED);
    rig_end(&rig);
}

/* The host that was spoken to in clear is not the one that comes first on the next route. */
Test(trip_moves, begins_each_route_with_tls)
{
    static const struct script_step steps[] = {
        HELLO,  EHLO_TLS, {"STARTTLS", "220 go\r\n\x16\x03\x01 this is no handshake\r\n"},
        HELLO,  EHLO,     MAIL,
        RCPT,   DATA,     DOT_BYE, /* in clear */
        HELLO,  EHLO,     MAIL,
        RCPT_1, DATA,     DOT,
        END};
    static const struct fake_row rows[] = {
        {.type = DNS_MX,
         .name = "dest.test",
         .text = "a.mx.test",
         .priority = 1,
         .is_secure = true},
        {.type = DNS_MX,
         .name = "dest.test",
         .text = "b.mx.test",
         .priority = 2,
         .is_secure = true},
        {.type = DNS_A,
         .name = "a.mx.test",
         .text = "127.0.0.2",
         .is_secure = true}, /* not there */
        {.type = DNS_A, .name = "b.mx.test", .text = "127.0.0.1", .is_secure = true},
    };
    struct rig rig;
    char name[64];
    rig_init(&rig, steps);
    start(&rig, rows, ARRAY_LEN(rows));
    (void)snprintf(name, sizeof name, "_%u._tcp.a.mx.test", (unsigned)rig.script.listener.tcp_port);
    const struct fake_row pin = {.type = DNS_TLSA,
                                 .name = name,
                                 .is_secure = true,
                                 .usage = 3,
                                 .text = "0123456789abcdef0123456789abcdef",
                                 .selector = 1,
                                 .matching = 1};
    fake_dns_add(rig.deliver->dns, &pin, 1);
    take_one_at_once(&rig);
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.script.steps == &steps[3]);
    settle(&rig);
    pass(&rig, 61000); /* the server says nothing more */
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert_eq(rig.outcomes[0].verdict.class, VERDICT_DELIVERED);
    cr_assert_eq(rig.outcomes[0].last.class, VERDICT_DELIVERED);
    cr_assert_str_eq(rig.outcomes[0].host, "b.mx.test");
    cr_assert_eq(rig.script.conns, 3);
    rig_end(&rig);
}

/* One probe in half an hour would take months to end what waits for a host that is gone. */
Test(trip_moves, gives_up_what_grew_too_old_at_a_dead_site)
{
    static const struct script_step steps[] = {END};
    static const struct fake_row away = {.type = DNS_A, .name = "dest.test", .text = "127.0.0.2"};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig, &away, 1);
    rig.created_unix_ms = UNIX_MS - rig.conf.retry_age_ms;
    struct site *site = site_get(rig.deliver->sites, SLICE("dest.test"), NULL);
    for (uint32_t i = 0; i < 5; i++) {
        site_feedback(site, FEEDBACK_FAILED, "421 bye", rig.mono_ms);
    }
    for (uint16_t i = 1; i <= 3; i++) {
        wake(&rig, i, UNIX_MS);
    }
    WAIT_FOR(&rig, site->due[PRIORITY_TRANSACTIONAL] == 3);
    pass(&rig, 29999);
    cr_assert_eq(rig.claims, 0);
    pass(&rig, 1);
    WAIT_FOR(&rig, rig.outcome_count == 3);
    settle(&rig);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(rig.outcomes[i].verdict.class, VERDICT_BOUNCED);
        cr_assert_str_eq(rig.outcomes[i].verdict.enhanced, "4.4.7");
        cr_assert_eq(rig.outcomes[i].host[0] != '\0', i == 0, "one was tried");
    }
    rig.created_unix_ms = UNIX_MS; /* what is not too old waits for the next probe */
    wake(&rig, 4, rig.unix_ms);
    WAIT_FOR(&rig, rig.outcome_count == 4);
    cr_assert_eq(rig.outcomes[3].verdict_count, 0);
    cr_assert_eq(rig.outcomes[3].next_due_unix_ms, rig.unix_ms + 60000);
    rig_end(&rig);
}

/* Whoever names a provider's hosts before his own does not speak for the provider. */
Test(trip_moves, keeps_out_of_a_site_whose_hosts_are_others)
{
    static const struct script_step steps[] = {
        HELLO, {"EHLO", "250 mx.test\r\n"}, {"MAIL", "421 4.7.28 rate limit\r\n"}, END};
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "none.big.test", .priority = 1},
        {.type = DNS_MX, .name = "dest.test", .text = "mx.own.test", .priority = 2},
        {.type = DNS_A, .name = "mx.own.test", .text = "127.0.0.1"},
    };
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig, rows, ARRAY_LEN(rows));
    struct site *big = site_get(rig.deliver->sites, SLICE("big.test"), NULL);
    big->failures = 1; /* so it stays in the table */
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig, rig.outcome_count == 1);
    cr_assert_eq(rig.outcomes[0].verdict_count, 0, "given back");
    cr_assert_eq(rig.script.conns, 0);
    settle(&rig);
    wake(&rig, 1, rig.outcomes[0].next_due_unix_ms); /* as the shard does */
    pass(&rig, 1000);
    WAIT_FOR(&rig, rig.outcome_count == 2);
    settle(&rig);
    cr_assert_eq(rig.outcomes[1].verdict_count, 1);
    cr_assert_eq(rig.outcomes[1].verdict.code, 421, "%s", rig.outcomes[1].transcript);
    cr_assert_eq(big->failures, 1);
    cr_assert_eq(big->rate, 0);
    cr_assert_eq(big->throttled_total, 0);
    cr_assert_neq(site_get(rig.deliver->sites, SLICE("dest.test"), NULL)->throttled_total, 0);
    rig_end(&rig);
}
