/* What a trip makes of demands on TLS: which hosts it leaves out, what it never does in clear, what
 * it bounces.
 *
 * Not covered here: the decision (test_tls_demand), pins (test_dane, test_tls_dane), real peers
 * (flow test_dane).
 */
#include "unit/deliver/trip_rig.h"

#include <signal.h>

#include "support/certs.h"

/* clang-format off */
#define HELLO    {"", "220 mx.test ESMTP\r\n"}
#define EHLO     {"EHLO", "250-mx.test\r\n250 PIPELINING\r\n"}
#define EHLO_TLS {"EHLO", "250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"}
#define STARTTLS {"STARTTLS", "!tls"}
#define MAIL     {"MAIL FROM:<b@send.test>", "250 ok\r\n"}
#define RCPT     {"RCPT TO:<r@dest.test>", "250 ok\r\n"}
#define DATA     {"DATA", "354 go\r\n"}
#define DOT      {".", "250 2.0.0 queued\r\n"}
#define END      {NULL, NULL}
/* clang-format on */

#define EE       .usage = 3, .selector = 1, .matching = 1
#define HASH     "0123456789abcdef0123456789abcdef"
#define SECURE   .is_secure = true
#define TLSA_MAX 40

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
}

TestSuite(trip_tls, .init = setup, .timeout = 60);

/* dest.test with a first and a second host, all signed. */
static const struct fake_row signed_hosts[] = {
    {.type = DNS_MX, .name = "dest.test", .text = "first.mx.test", .priority = 1, SECURE},
    {.type = DNS_MX, .name = "dest.test", .text = "second.mx.test", .priority = 2, SECURE},
    {.type = DNS_A, .name = "first.mx.test", .text = "127.0.0.1", SECURE},
    {.type = DNS_A, .name = "second.mx.test", .text = "127.0.0.1", SECURE},
};

/* "_port._tcp.host", for rows: the port is the script's. */
static struct fake_row tlsa(const struct rig *rig, const char *host, char name[TLSA_MAX])
{
    (void)snprintf(name, TLSA_MAX, "_%u._tcp.%s", (unsigned)rig->script.listener.tcp_port, host);
    return (struct fake_row){.type = DNS_TLSA, .name = name, .text = HASH, EE, SECURE};
}

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
    rig_start(rig, signed_hosts, ARRAY_LEN(signed_hosts));
    control_and_wait(rig, CONTROL_START);
}

Test(trip_tls, leaves_a_host_out_whose_records_are_hidden)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    char name[TLSA_MAX];
    rig_init(&rig, steps);
    start(&rig);
    struct fake_row hidden = tlsa(&rig, "first.mx.test", name);
    hidden.err = ERR_DNS_TEMP;
    fake_dns_add(rig.deliver->dns, &hidden, 1);
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_expect_str_eq(out->host, "second.mx.test");
    cr_expect_str_eq(out->tls_policy, "opportunistic", "the second has no records");
    cr_expect_not_null(strstr(out->transcript, "first.mx.test left out: "), "%s", out->transcript);
    cr_expect_eq(rig.script.conns, 1);
    rig_end(&rig);
}

Test(trip_tls, keeps_the_mail_when_every_host_is_left_out)
{
    static const struct script_step steps[] = {END};
    struct rig rig;
    char names[2][TLSA_MAX];
    rig_init(&rig, steps);
    start(&rig);
    for (size_t i = 0; i < 2; i++) {
        struct fake_row hidden = tlsa(&rig, i == 0 ? "first.mx.test" : "second.mx.test", names[i]);
        hidden.err = ERR_DNS_TEMP;
        fake_dns_add(rig.deliver->dns, &hidden, 1);
    }
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DEFERRED);
    cr_expect_str_eq(out->verdict.enhanced, "4.7.5");
    cr_expect_str_eq(out->tls_policy, "dane");
    cr_expect_str_eq(out->host, "second.mx.test");
    cr_expect_eq(rig.script.conns, 0, "nobody was asked");
    rig_end(&rig);
}

/* Each of them, and not once in clear. */
Test(trip_tls, never_goes_on_in_clear_with_a_pinned_host)
{
    static const struct script_step steps[] = {HELLO, EHLO, HELLO, EHLO_TLS, STARTTLS, END};
    struct rig rig;
    struct certs certs;
    char names[2][TLSA_MAX];
    rig_init(&rig, steps);
    certs_make(&certs, "second.mx.test", 3600);
    cr_assert_eq(
        tls_server_new(slice_str(certs.cert_path), slice_str(certs.key_path), &rig.script.tls),
        ERR_OK);
    start(&rig);
    for (size_t i = 0; i < 2; i++) {
        struct fake_row row = tlsa(&rig, i == 0 ? "first.mx.test" : "second.mx.test", names[i]);
        fake_dns_add(rig.deliver->dns, &row, 1);
    }
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DEFERRED);
    cr_expect_eq(out->verdict.step, SMTP_STEP_TLS);
    cr_expect_str_eq(out->tls_policy, "dane");
    cr_expect_not_null(strstr(out->transcript, "does not offer STARTTLS"), "%s", out->transcript);
    cr_expect_not_null(strstr(out->transcript, "certificate refused: "), "%s", out->transcript);
    cr_expect_null(strstr(out->transcript, "MAIL"), "%s", out->transcript);
    cr_expect_eq(rig.script.conns, 2);
    rig_end(&rig);
    tls_context_drop(rig.script.tls);
    certs_remove(&certs);
}

Test(trip_tls, waives_what_the_mail_does_not_need)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    char name[TLSA_MAX];
    rig_init(&rig, steps);
    rig.body = "Subject: hi\r\ntls-required:  NO\r\n\r\nhello\r\n";
    start(&rig);
    struct fake_row row = tlsa(&rig, "first.mx.test", name);
    fake_dns_add(rig.deliver->dns, &row, 1);
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DELIVERED);
    cr_expect_str_eq(out->host, "first.mx.test");
    cr_expect_str_eq(out->tls_policy, "opportunistic");
    rig_end(&rig);
}

/* The operator's word for a domain, in the file that site_policy names. */
static void set_policy(struct rig *rig, char path[32], const char *tls)
{
    char text[64];
    int len = snprintf(text, sizeof text, "domain dest.test\n    tls %s\n", tls);
    (void)snprintf(path, 32, "/tmp/sites-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_neq(fd, -1);
    cr_assert_eq(write(fd, text, (size_t)len), len);
    cr_assert_eq(close(fd), 0);
    set(rig, "site_policy", path);
}

Test(trip_tls, obeys_the_operator_before_the_domain)
{
    static const struct script_step steps[] = {HELLO, EHLO_TLS, MAIL, RCPT, DATA, DOT, END};
    struct rig rig;
    char path[32];
    char name[TLSA_MAX];
    rig_init(&rig, steps);
    set_policy(&rig, path, "none");
    start(&rig);
    struct fake_row row = tlsa(&rig, "first.mx.test", name);
    fake_dns_add(rig.deliver->dns, &row, 1);
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DELIVERED, "%s", out->transcript);
    cr_expect_str_eq(out->tls_policy, "");
    rig_end(&rig);
    cr_assert_eq(unlink(path), 0);
}

Test(trip_tls, demands_tls_where_the_operator_requires_it)
{
    static const struct script_step steps[] = {HELLO, EHLO, HELLO, EHLO, END};
    struct rig rig;
    char path[32];
    rig_init(&rig, steps);
    set_policy(&rig, path, "require");
    start(&rig);
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DEFERRED);
    cr_expect_str_eq(out->verdict.enhanced, "4.7.4");
    cr_expect_str_eq(out->tls_policy, "require");
    rig_end(&rig);
    cr_assert_eq(unlink(path), 0);
}

/* Only the header counts, and only the word. */
Test(trip_tls, waives_nothing_for_what_looks_alike)
{
    static const char *const bodies[] = {"Subject: hi\r\n\r\nTLS-Required: No\r\n",
                                         "TLS-Required: yes\r\n\r\nhello\r\n",
                                         "X-TLS-Required: No\r\n\r\nhello\r\n"};
    static const struct script_step steps[] = {HELLO, EHLO, HELLO, EHLO, END};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct rig rig;
        char names[2][TLSA_MAX];
        rig_init(&rig, steps);
        rig.body = bodies[i];
        start(&rig);
        for (size_t n = 0; n < 2; n++) {
            struct fake_row row = tlsa(&rig, n == 0 ? "first.mx.test" : "second.mx.test", names[n]);
            fake_dns_add(rig.deliver->dns, &row, 1);
        }
        const struct outcome *out = go(&rig);
        cr_expect_eq(out->verdict.class, VERDICT_DEFERRED, "%zu", i);
        cr_expect_str_eq(out->verdict.enhanced, "4.7.4", "%zu", i);
        rig_end(&rig);
    }
}

Test(trip_tls, bounces_a_mail_that_requires_tls_where_nobody_has_it)
{
    static const struct script_step steps[] = {HELLO, EHLO, HELLO, EHLO, END};
    struct rig rig;
    rig_init(&rig, steps);
    rig.requires_tls = true;
    start(&rig);
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_BOUNCED);
    cr_expect_str_eq(out->verdict.enhanced, "5.7.10");
    cr_expect_str_eq(out->tls_policy, "require");
    cr_expect_eq(rig.script.conns, 2, "both were asked");
    rig_end(&rig);
}

Test(trip_tls, waits_with_a_mail_that_requires_tls_while_a_host_is_away)
{
    static const struct script_step steps[] = {{"", "421 4.3.2 not now\r\n"}, HELLO, EHLO, END};
    struct rig rig;
    rig_init(&rig, steps);
    rig.requires_tls = true;
    start(&rig);
    const struct outcome *out = go(&rig);
    cr_expect_eq(out->verdict.class, VERDICT_DEFERRED, "the first may have TLS");
    cr_expect_str_eq(out->verdict.enhanced, "4.7.4");
    rig_end(&rig);
}

Test(trip_tls, is_abandoned_while_it_waits_for_records)
{
    static const struct script_step steps[] = {END};
    struct rig rig;
    rig_init(&rig, steps);
    start(&rig);
    struct dns *dns = rig.deliver->dns;
    dns->holds_tlsa = true;
    wake(&rig, 1, UNIX_MS);
    WAIT_FOR(&rig,
             dns->question_count > 0 && dns->questions[dns->question_count - 1].type == DNS_TLSA);
    control(&rig, CONTROL_DRAIN, 10000);
    settle(&rig);
    pass(&rig, 5000);
    WAIT_FOR(&rig, rig.controls_home == 2);
    cr_expect_eq(rig.outcomes[0].verdict.class, VERDICT_DEFERRED);
    cr_expect_eq(rig.script.conns, 0);
    rig_end(&rig);
}
