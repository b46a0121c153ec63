/* One verification of a domain, against tables of records.
 *
 * Not covered here: what the shard makes of the checks (tests/unit/shards/test_domain), the parsing
 * of DKIM records (tests/unit/mail/test_dkim).
 */
#include "deliver/attempt_dns.h"

#include "shards/actor.h"
#include "support/fake_dns.h"

#include <criterion/criterion.h>

#define KEY "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"

struct rig {
    struct loop loop;
    struct actor home;    /* asks, as an edge does */
    struct actor deliver; /* answers with attempt_dns */
    struct dns *dns;
    uint32_t done;
    uint32_t came_home;
    enum err err;
    struct domain_checks checks;
};

static void on_done(void *context)
{
    ((struct rig *)context)->done += 1;
}

static void on_ask(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, deliver);
    attempt_dns_start(rig->dns, msg, on_done, rig);
}

static void on_home(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, home);
    rig->came_home += 1;
    rig->err = msg->err;
    rig->checks = msg->body.verify.checks;
    msg_put(actor, msg);
}

static void fill(struct msg *msg)
{
    struct arena *arena = &msg->arena; /* everything in the message is its own */
    msg->body.verify = (struct deliver_verify){
        .domain = arena_dup(arena, SLICE("send.test")),
        .rsa_public = arena_dup(arena, SLICE(KEY)),
        .ed_public = arena_dup(arena, SLICE("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")),
        .rsa_selector = arena_dup(arena, SLICE("mk1")),
        .ed_selector = arena_dup(arena, SLICE("mk2")),
        .next_rsa_selector = arena_dup(arena, SLICE("mk3")),
        .next_rsa_public = arena_dup(arena, SLICE(KEY)),
        .mx_host = arena_dup(arena, SLICE("mx.meerkat.test")),
        .spf_include = arena_dup(arena, SLICE("spf.meerkat.test")),
        .return_path_host = arena_dup(arena, SLICE("bounces.send.test")),
        .return_path_target = arena_dup(arena, SLICE("mail.meerkat.test")),
        .track_host = arena_dup(arena, SLICE("link.send.test")),
        .track_target = arena_dup(arena, SLICE("www.meerkat.test")),
    };
}

static struct domain_checks verify(const struct fake_row *rows, size_t count, enum err *err)
{
    struct rig rig = {.done = 0};
    loop_init(&rig.loop, "test", 0);
    struct actor_options options = {.name = "home",
                                    .loop = &rig.loop,
                                    .handle = on_home,
                                    .pool_counts = {[MSG_POOL_REQUEST] = 1},
                                    .port_depth_max = 1};
    actor_init(&rig.home, &options);
    options.name = "deliver";
    options.handle = on_ask;
    options.pool_counts[MSG_POOL_REQUEST] = 0;
    actor_init(&rig.deliver, &options);
    cr_assert_eq(dns_open(NULL, slice_of(NULL, 0), &rig.dns), ERR_OK);
    fake_dns_add(rig.dns, rows, count);
    struct msg *msg = msg_take(&rig.home, MSG_DELIVER_VERIFY);
    cr_assert_not_null(msg);
    fill(msg);
    actor_post(&rig.deliver, msg);
    for (uint32_t i = 0; i < 1000 && rig.came_home == 0; i++) {
        (void)uv_run(&rig.loop.uv, UV_RUN_NOWAIT);
        (void)fake_dns_turn(rig.dns);
    }
    cr_assert_eq(rig.came_home, 1);
    cr_assert_eq(rig.done, 1);
    actor_close(&rig.home);
    actor_close(&rig.deliver);
    loop_stop(&rig.loop);
    loop_run(&rig.loop);
    actor_fini(&rig.home);
    actor_fini(&rig.deliver);
    loop_fini(&rig.loop);
    free(rig.dns);
    *err = rig.err;
    return rig.checks;
}

static const struct fake_row good[] = {
    {.type = DNS_MX, .name = "send.test", .text = "mx.meerkat.test", .priority = 10},
    {.type = DNS_TXT, .name = "send.test", .text = "v=spf1 include:spf.meerkat.test ~all"},
    {.type = DNS_TXT, .name = "send.test", .text = "another-service-verification=1"},
    {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .text = "v=DKIM1; k=rsa; p=" KEY},
    {.type = DNS_TXT,
     .name = "mk2._domainkey.send.test",
     .text = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
    {.type = DNS_TXT, .name = "_dmarc.send.test", .text = "v=DMARC1; p=none"},
    {.type = DNS_CNAME, .name = "bounces.send.test", .text = "mail.meerkat.test"},
    {.type = DNS_CNAME, .name = "link.send.test", .text = "www.meerkat.test"},
    {.type = DNS_TXT, .name = "mk3._domainkey.send.test", .text = "v=DKIM1; k=rsa; p=" KEY},
};

Test(attempt_dns, finds_everything_as_it_should_be)
{
    enum err err;
    struct domain_checks checks = verify(good, ARRAY_LEN(good), &err);
    cr_assert_eq(err, ERR_OK);
    cr_assert(checks.mx);
    cr_assert(checks.spf);
    cr_assert(checks.dkim_rsa);
    cr_assert(checks.dkim_ed);
    cr_assert(checks.dmarc);
    cr_assert(checks.return_path);
    cr_assert(checks.track);
    cr_assert(checks.next_rsa);
    cr_assert_not(checks.next_ed, "no such key is to come");
}

Test(attempt_dns, finds_nothing_where_nothing_is)
{
    static const struct domain_checks none;
    enum err err;
    struct domain_checks checks = verify(NULL, 0, &err);
    cr_assert_eq(err, ERR_OK, "that there is nothing is an answer");
    cr_assert_eq(memcmp(&checks, &none, sizeof none), 0);
}

static const struct fake_row all_temp[] = {
    {.type = DNS_MX, .name = "send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_TXT, .name = "send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_TXT, .name = "mk2._domainkey.send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_TXT, .name = "_dmarc.send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_CNAME, .name = "bounces.send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_CNAME, .name = "link.send.test", .err = ERR_DNS_TEMP},
    {.type = DNS_TXT, .name = "mk3._domainkey.send.test", .err = ERR_DNS_TEMP},
};

Test(attempt_dns, fails_only_when_no_question_was_answered)
{
    enum err err;
    (void)verify(all_temp, ARRAY_LEN(all_temp), &err);
    cr_assert_eq(err, ERR_DNS_TEMP);
    struct fake_row rows[ARRAY_LEN(all_temp)];
    memcpy(rows, all_temp, sizeof rows);
    rows[0] = good[0];
    struct domain_checks checks = verify(rows, ARRAY_LEN(rows), &err);
    cr_assert_eq(err, ERR_OK);
    cr_assert(checks.mx);
    cr_assert_not(checks.spf);
}

static const struct {
    const char *texts[2]; /* TXT records of the domain */
    bool is_good;
} spf_cases[] = {
    {{"v=spf1 include:spf.meerkat.test -all"}, true},
    {{"V=SPF1 INCLUDE:SPF.Meerkat.Test ~all"}, true},
    {{"v=spf1 a mx +include:spf.meerkat.test ?all"}, true},
    {{"v=spf1  ip4:192.0.2.1  include:spf.meerkat.test"}, true},
    {{"v=spf1 include:spf.meerkat.test -all", "something else"}, true},
    {{"v=spf1 -include:spf.meerkat.test ~all"}, false},
    {{"v=spf1 ?include:spf.meerkat.test ~all"}, false},
    {{"v=spf1 include:spf.meerkat.test.evil.test ~all"}, false},
    {{"v=spf1 include:xspf.meerkat.test ~all"}, false},
    {{"v=spf1 -all"}, false},
    {{"v=spf1"}, false},
    {{"v=spf10 include:spf.meerkat.test -all"}, false},
    {{"include:spf.meerkat.test v=spf1"}, false},
    {{""}, false},
    /* RFC 7208 4.5: two records are an error, whatever they say. */
    {{"v=spf1 include:spf.meerkat.test -all", "v=spf1 -all"}, false},
    {{"v=spf1 -all", "v=spf1 include:spf.meerkat.test -all"}, false},
};

Test(attempt_dns, wants_one_spf_record_that_includes_ours)
{
    for (size_t i = 0; i < ARRAY_LEN(spf_cases); i++) {
        struct fake_row rows[2] = {{.type = DNS_TXT, .name = "send.test"},
                                   {.type = DNS_TXT, .name = "send.test"}};
        rows[0].text = spf_cases[i].texts[0];
        rows[1].text = spf_cases[i].texts[1];
        enum err err;
        struct domain_checks checks = verify(rows, rows[1].text == NULL ? 1 : 2, &err);
        cr_assert_eq(checks.spf, spf_cases[i].is_good, "case %zu: %s", i, rows[0].text);
    }
}

static const struct {
    const char *texts[2];
    bool is_good;
} dmarc_cases[] = {
    {{"v=DMARC1; p=reject; rua=mailto:d@send.test"}, true},
    {{"v = DMARC1 ;p=none"}, true},
    {{"v=DMARC1"}, true},
    {{"v=DMARC1; p=none", "google-site-verification=1"}, true},
    {{"v=DMARC10; p=none"}, false},
    {{"v=dmarc1; p=none"}, false}, /* RFC 7489 6.3: the value is matched exactly */
    {{"p=none; v=DMARC1"}, false},
    {{"v=spf1 -all"}, false},
    /* RFC 7489 6.6.3: of two neither is used. */
    {{"v=DMARC1; p=none", "v=DMARC1; p=reject"}, false},
};

Test(attempt_dns, wants_one_dmarc_record)
{
    for (size_t i = 0; i < ARRAY_LEN(dmarc_cases); i++) {
        struct fake_row rows[2] = {{.type = DNS_TXT, .name = "_dmarc.send.test"},
                                   {.type = DNS_TXT, .name = "_dmarc.send.test"}};
        rows[0].text = dmarc_cases[i].texts[0];
        rows[1].text = dmarc_cases[i].texts[1];
        enum err err;
        struct domain_checks checks = verify(rows, rows[1].text == NULL ? 1 : 2, &err);
        cr_assert_eq(checks.dmarc, dmarc_cases[i].is_good, "case %zu: %s", i, rows[0].text);
    }
}

Test(attempt_dns, finds_our_host_among_other_mail_hosts)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "send.test", .text = "mx.elsewhere.test", .priority = 5},
        {.type = DNS_MX, .name = "send.test", .text = "mx.meerkat.test", .priority = 10},
        {.type = DNS_CNAME, .name = "bounces.send.test", .text = "mail.elsewhere.test"},
        {.type = DNS_CNAME, .name = "link.send.test", .text = "mail.meerkat.test"},
    };
    enum err err;
    struct domain_checks checks = verify(rows, ARRAY_LEN(rows), &err);
    cr_assert(checks.mx);
    cr_assert_not(checks.return_path);
    cr_assert_not(checks.track);
}

/* An old key next to the new one, and the keys under each other's names. */
Test(attempt_dns, wants_each_key_under_its_own_name)
{
    static const struct fake_row rows[] = {
        {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .text = "v=DKIM1; p=AAAA"},
        {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .text = "v=DKIM1; p=" KEY},
        {.type = DNS_TXT, .name = "mk2._domainkey.send.test", .text = "v=DKIM1; p=" KEY},
    };
    enum err err;
    struct domain_checks checks = verify(rows, ARRAY_LEN(rows), &err);
    cr_assert(checks.dkim_rsa);
    cr_assert_not(checks.dkim_ed);
}
