/* The policy about destinations: reading it, and whose limits count.
 *
 * Not covered here: what a site does with its rules (test_site), reading it anew (flow_test_sites).
 */
#include "deliver/policy.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct policy *read_text(const char *text)
{
    char why[POLICY_WHY_MAX] = "";
    struct policy *policy = policy_new();
    cr_assert(policy_read(policy, slice_str(text), why), "%s", why);
    return policy;
}

static const char *group_of(const struct policy *policy, const char *domain, const char *mx)
{
    static struct policy_group group; /* until the next call */
    policy_group(policy, slice_str(domain), slice_str(mx), &group);
    return group.name;
}

static struct policy *shipped(void)
{
    char why[POLICY_WHY_MAX] = "";
    struct policy *policy = policy_load(SLICE(""), why);
    cr_assert_not_null(policy, "%s", why);
    return policy;
}

Test(policy, that_is_shipped_can_be_read_and_knows_the_large_ones)
{
    static const char *const hosts[][2] = {
        {"gmail-smtp-in.l.google.com", "google"},
        {"aspmx.l.google.com", "google"},
        {"hotmail-com.olc.protection.outlook.com", "outlook"},
        {"example-com.mail.protection.outlook.com", "office365"},
        {"example-com.a-v1.mx.microsoft", "office365"},
        {"mta5.am0.yahoodns.net", "yahoo"},
        {"mx-aol.mail.gm0.yahoodns.net", "yahoo"},
        {"mx01.mail.icloud.com", "icloud"},
        {"mx00.gmx.net", "gmx"},
        {"mx-ha02.web.de", "gmx"},
        {"mxs.mail.ru", "mailru"},
        {"mx.yandex.ru", "yandex"},
        {"mx1.mxge.comcast.net", "comcast"},
        {"smtp-in.orange.fr", "orange"},
        {"mx00.t-online.de", "t-online"},
        {"smtp-in.libero.it", "libero"},
        {"mx3.qq.com", "qq"},
        {"163mx01.mxmail.netease.com", "netease"},
        {"mail.protonmail.ch", "proton"},
        {"in1-smtp.messagingengine.com", "fastmail"},
        {"mx.zoho.eu", "zoho"},
    };
    struct policy *policy = shipped();
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        cr_expect_str_eq(group_of(policy, "a.test", hosts[i][0]), hosts[i][1], "%s", hosts[i][0]);
    }
    for (uint32_t i = 0; i < policy->provider_count; i++) {
        const struct site_rules *rules = &policy->providers[i].rules;
        cr_expect_gt(rules->conns_max, 0);
        cr_expect_leq(rules->conns_start, rules->conns_max);
        cr_expect_gt(rules->rate_start, 0);
        cr_expect_leq(rules->rate_start, rules->rate_max);
        cr_expect_gt(rules->pause_ms, 0);
    }
    policy_free(policy);
}

Test(policy, groups_those_whom_nobody_names_by_the_tail_of_their_host)
{
    static const char *const cases[][3] = {
        {"a.test", "", "a.test"},
        {"A.Test", "", "a.test"},
        {"a.test", "mx1.Example.NET", "example.net"},
        {"a.test", "example.net", "example.net"},
        {"a.test", "mx.deep.down.example.net", "example.net"},
        {"a.test", "mx.firm.co.uk", "firm.co.uk"},
        {"a.test", "firm.co.uk", "firm.co.uk"},
        {"a.test", "mx.house.com.au", "house.com.au"},
        {"a.test", "mx", "mx"},
        {"a.test", "https://evil/|x", "a.test"},
        {"a.test", "a|b.example.net", "a.test"},
    };
    struct policy *policy = policy_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect_str_eq(group_of(policy, cases[i][0], cases[i][1]), cases[i][2], "%s",
                         cases[i][1]);
    }
    policy_free(policy);
}

Test(policy, reads_every_setting)
{
    struct policy *policy = read_text("# a comment\n"
                                      "provider big # named\n"
                                      "  mx *.big.example MX.Other.example\n"
                                      "\tmx third.example\r\n"
                                      "  connections 7\n  connections-start 2\n"
                                      "  mails-per-connection 30\n  rate 600\n  rate-start 60\n"
                                      "  recipients 25\n  pause 90\n"
                                      "provider default\n  connections 9\n"
                                      "domain strict.example\n  tls require\n"
                                      "domain old.example\n  tls none\n"
                                      "pool fast\n  source 192.0.2.1 weight 3 helo out.example\n"
                                      "  source 2001:db8::1 warmup\n"
                                      "pool default\n  source 192.0.2.9\n");
    struct policy_group group;
    policy_group(policy, SLICE("a.test"), SLICE("mx.other.example"), &group);
    cr_assert_str_eq(group.name, "big");
    cr_assert_eq(group.rules.conns_max, 7);
    cr_assert_eq(group.rules.conns_start, 2);
    cr_assert_eq(group.rules.mails_per_conn, 30);
    cr_assert_eq(group.rules.rate_max, 600);
    cr_assert_eq(group.rules.rate_start, 60);
    cr_assert_eq(group.rules.rcpts_max, 25);
    cr_assert_eq(group.rules.pause_ms, 90000);
    cr_assert(group.rules.is_provider);
    policy_group(policy, SLICE("a.test"), SLICE("big.example"), &group);
    cr_assert_str_eq(group.name, "big.example", "*. stands for at least one label");
    cr_assert_eq(group.rules.conns_max, 9);
    cr_assert_not(group.rules.is_provider);
    cr_assert_eq(policy_rules(policy, SLICE("big"))->conns_max, 7);
    cr_assert_eq(policy_rules(policy, SLICE("nobody"))->conns_max, 9);
    cr_assert_eq(policy_tls(policy, SLICE("Strict.Example")), POLICY_TLS_REQUIRE);
    cr_assert_eq(policy_tls(policy, SLICE("old.example")), POLICY_TLS_NONE);
    cr_assert_eq(policy_tls(policy, SLICE("other.example")), POLICY_TLS_UNSET);
    const struct policy_pool *pool = policy_pool(policy, SLICE("fast"));
    cr_assert_eq(pool->source_count, 2);
    cr_assert_eq(pool->sources[0].weight, 3);
    cr_assert(slice_equal(pool->sources[0].helo, SLICE("out.example")));
    cr_assert_not(pool->sources[0].is_warming);
    cr_assert(pool->sources[1].is_warming);
    cr_assert_eq(pool->sources[1].addr.storage.ss_family, AF_INET6);
    cr_assert_eq(policy_pool(policy, SLICE(""))->source_count, 1);
    cr_assert_null(policy_pool(policy, SLICE("slow")));
    policy_free(policy);
}

Test(policy, says_which_line_is_wrong_and_why)
{
    static const char *const cases[][2] = {
        {"connections 5\n", "line 1: no section has begun"},
        {"provider a\n mx a.test\n connections many\n", "line 3: a whole number"},
        {"provider a\n mx a.test\n connections -1\n", "line 3: a whole number"},
        {"provider a\n mx a.test\n connections 99999999999\n", "line 3: a whole number"},
        {"provider a\n mx a.test\n conections 5\n", "line 3: a provider has no such setting"},
        {"provider a\n connections 5\nprovider b\n mx b.test\n", "line 3: a provider without mx"},
        {"provider a b\n", "line 1: one name"},
        {"provider\n", "line 1: a provider's name"},
        {"provider a|b\n", "line 1: a provider's name"},
        {"provider a\n mx *\n", "line 2: a pattern is"},
        {"provider a\n mx *.a_/x.test\n", "line 2: a pattern is"},
        {"domain a b\n", "line 1: one name"},
        {"domain a.test\n tls always\n", "line 2: tls is none, may or require"},
        {"domain a.test\n rate 3\n", "line 2: a domain has no such setting"},
        {"pool a\n source 192.0.2.300\n", "line 2: a source is an address"},
        {"pool a\n source 192.0.2.3:25\n", "line 2: a source is an address"},
        {"pool a\n source 192.0.2.3 weight\n", "line 2: a whole number"},
        {"pool a\n source 192.0.2.3 fast\n", "line 2: behind a source"},
        {"pool a\n source 192.0.2.3 helo a/b\n", "line 2: behind a source"},
        {"pool a\n rate 3\n", "line 2: a pool has no such setting"},
        {"pool a\npool b\n source 192.0.2.3\n", "too many pools, or one without a source"},
        {"pool abcdefghijklmnopqrstuvwxyz0123456789\n", "line 1: a pool's name"},
        {"\x01", "this is no policy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char why[POLICY_WHY_MAX] = "";
        struct policy *policy = policy_new();
        cr_expect_not(policy_read(policy, slice_str(cases[i][0]), why), "%s", cases[i][0]);
        cr_expect_not_null(strstr(why, cases[i][1]), "%s: %s", cases[i][0], why);
        policy_free(policy);
    }
}

Test(policy, takes_the_first_of_two_sections_with_one_name)
{
    struct policy *policy = read_text("provider a\n mx a.test\n connections 1\n"
                                      "domain d.test\n tls may\n"
                                      "pool p\n source 192.0.2.1\n"
                                      "provider default\n connections 3\n");
    char why[POLICY_WHY_MAX] = "";
    cr_assert(policy_read(policy,
                          SLICE("provider a\n mx b.test\n connections 2\n"
                                "domain d.test\n tls none\n"
                                "pool p\n source 192.0.2.2\n source 192.0.2.3\n"
                                "provider default\n connections 4\n"),
                          why),
              "%s", why);
    cr_assert_str_eq(group_of(policy, "x.test", "b.test"), "b.test", "its pattern went with it");
    cr_assert_eq(policy_rules(policy, SLICE("a"))->conns_max, 1);
    cr_assert_eq(policy_rules(policy, SLICE("b"))->conns_max, 3);
    cr_assert_eq(policy_tls(policy, SLICE("d.test")), POLICY_TLS_MAY);
    cr_assert_eq(policy_pool(policy, SLICE("p"))->source_count, 1);
    policy_free(policy);
}

Test(policy, bounds_what_a_file_may_hold)
{
    char why[POLICY_WHY_MAX] = "";
    static char text[POLICY_BYTES_MAX + 2];
    memset(text, '\n', sizeof text);
    struct policy *policy = policy_new();
    cr_assert_not(policy_read(policy, slice_of(text, sizeof text), why));
    policy_free(policy);
    size_t len = 0;
    for (unsigned i = 0; i <= POLICY_PROVIDERS_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "provider p%u\nmx h%u.test\n", i, i);
    }
    policy = policy_new();
    cr_assert_not(policy_read(policy, slice_of(text, len), why));
    cr_assert_not_null(strstr(why, "too many providers"), "%s", why);
    policy_free(policy);
    len = 0;
    while (len + 40 < POLICY_BYTES_MAX) { /* the same one, again and again, is read and not kept */
        len += (size_t)snprintf(text + len, sizeof text - len, "pool p\nsource 192.0.2.1\n");
    }
    policy = policy_new();
    cr_assert(policy_read(policy, slice_of(text, len), why), "%s", why);
    cr_assert_eq(policy->pool_count, 1);
    policy_free(policy);
}

Test(policy, names_the_file_that_is_not_there)
{
    char why[POLICY_WHY_MAX] = "";
    cr_assert_null(policy_load(SLICE("/nonexistent/sites.conf"), why));
    cr_assert_not_null(strstr(why, "No such file"), "%s", why);
}
