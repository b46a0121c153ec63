/* test_health.c - a domain's health, against tables of records.
 *
 * Not covered here: what decides whether it may send (test_attempt_dns), what the shard keeps of it
 * (tests/unit/shards/test_watch).
 */
#include "deliver/health.h"

#include "base/buf.h"
#include "support/fake_dns.h"

#include <criterion/criterion.h>

#define KEY "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0PyfobcTlRkHgN9jp2yyAL9wkIuqYd3oXtqg"
#define ED  "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

struct rig {
    struct dns *dns;
    struct msg msg;
    uint32_t done;
};

static void on_done(void *context)
{
    ((struct rig *)context)->done += 1;
}

static void run(struct rig *rig, const struct fake_row *rows, size_t count, const char *zones)
{
    *rig = (struct rig){.done = 0};
    crypto_init();
    arena_init(&rig->msg.arena, 8 * KIB, MIB);
    rig->msg.body.verify = (struct deliver_verify){
        .domain = SLICE("send.test"),
        .rsa_public = SLICE(KEY),
        .ed_public = SLICE(ED),
        .rsa_selector = SLICE("mk1"),
        .ed_selector = SLICE("mk2"),
        .mx_host = SLICE("mx.meerkat.test"),
        .spf_include = SLICE("spf.meerkat.test"),
        .return_path_host = SLICE("bounces.send.test"),
        .return_path_target = SLICE("mail.meerkat.test"),
        .hello = SLICE("mail.meerkat.test"),
        .blocklists = slice_str(zones),
    };
    cr_assert_eq(dns_open(NULL, slice_of(NULL, 0), &rig->dns), ERR_OK);
    fake_dns_add(rig->dns, rows, count);
    health_start(rig->dns, &rig->msg, on_done, rig);
    for (uint32_t i = 0; i < 100 && rig->done == 0; i++) {
        (void)fake_dns_turn(rig->dns); /* how many were answered does not matter */
    }
    cr_assert_eq(rig->done, 1);
    free(rig->dns);
}

static void end(struct rig *rig)
{
    arena_fini(&rig->msg.arena);
}

/* Of the check with that name: 0 its status, 1 what was found, 2 the advice. */
static struct slice part_of(const struct rig *rig, const char *name, uint32_t part)
{
    struct slice rest = rig->msg.body.verify.health;
    struct slice item;
    while (get_slice(&rest, &item)) {
        bool is_it = slice_equal(item, slice_str(name));
        for (uint32_t i = 0; i < 3; i++) {
            cr_assert(get_slice(&rest, &item));
            if (is_it && i == part) {
                return item;
            }
        }
    }
    cr_assert(false, "there is no check %s", name);
    return SLICE("");
}

static void expect(const struct rig *rig, const char *name, const char *status, const char *advice)
{
    struct slice is = part_of(rig, name, 0);
    struct slice says = part_of(rig, name, 2);
    cr_expect(slice_equal(is, slice_str(status)), "%s is %.*s: %.*s", name, SLICE_FMT(is),
              SLICE_FMT(says));
    cr_expect_neq(slice_find(says, slice_str(advice)), SIZE_MAX, "%s says %.*s", name,
                  SLICE_FMT(says));
    cr_expect_eq(slice_equal(is, SLICE("ok")), says.len == 0, "advice where it is needed");
}

#define SERVER                                                                                     \
    {.type = DNS_TXT, .name = "spf.meerkat.test", .text = "v=spf1 ip4:203.1.113.9 ~all"},          \
        {.type = DNS_A, .name = "mail.meerkat.test", .text = "203.1.113.9"},                       \
    {                                                                                              \
        .type = DNS_PTR, .name = "9.113.1.203.in-addr.arpa", .text = "mail.meerkat.test"           \
    }

static const struct fake_row good[] = {
    {.type = DNS_MX, .name = "send.test", .text = "mx.meerkat.test", .priority = 10},
    {.type = DNS_TXT, .name = "send.test", .text = "v=spf1 include:spf.meerkat.test ~all"},
    {.type = DNS_TXT, .name = "send.test", .text = "something-else=1"},
    {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .text = "v=DKIM1; k=rsa; p=" KEY},
    {.type = DNS_TXT, .name = "mk2._domainkey.send.test", .text = "v=DKIM1; k=ed25519; p=" ED},
    {.type = DNS_TXT,
     .name = "_dmarc.send.test",
     .text = "v=DMARC1; p=reject; rua=mailto:a@send.test"},
    {.type = DNS_CNAME, .name = "bounces.send.test", .text = "mail.meerkat.test"},
    SERVER,
};

Test(health, all_is_well, .timeout = 20)
{
    static const char *const names[] = {"spf", "dkim_rsa",    "dkim_ed25519", "dmarc",
                                        "mx",  "return_path", "helo",         "reverse_dns"};
    struct rig rig;
    run(&rig, good, ARRAY_LEN(good), "");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        expect(&rig, names[i], "ok", "");
    }
    cr_expect(slice_equal(part_of(&rig, "reverse_dns", 1), SLICE("203.1.113.9 mail.meerkat.test")));
    expect(&rig, "blocklists", "unknown", "dnsbl_zones");
    end(&rig);
}

Test(health, nothing_is_there, .timeout = 20)
{
    struct rig rig;
    run(&rig, NULL, 0, "");
    expect(&rig, "spf", "fail", "v=spf1 include:spf.meerkat.test ~all");
    expect(&rig, "dkim_rsa", "fail", "mk1._domainkey.send.test");
    expect(&rig, "dkim_ed25519", "warn", "mk2._domainkey.send.test");
    expect(&rig, "dmarc", "fail", "_dmarc.send.test");
    expect(&rig, "mx", "warn", "mx.meerkat.test");
    expect(&rig, "return_path", "warn", "bounces.send.test");
    expect(&rig, "helo", "fail", "mail.meerkat.test");
    expect(&rig, "reverse_dns", "unknown", "");
    end(&rig);
}

Test(health, a_dns_that_is_down_says_nothing_about_the_domain, .timeout = 20)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "send.test", .err = ERR_DNS_TEMP},
        {.type = DNS_TXT, .name = "send.test", .err = ERR_DNS_TEMP},
        {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .err = ERR_DNS_TEMP},
        {.type = DNS_TXT, .name = "mk2._domainkey.send.test", .err = ERR_DNS_TEMP},
        {.type = DNS_TXT, .name = "_dmarc.send.test", .err = ERR_DNS_TEMP},
        {.type = DNS_CNAME, .name = "bounces.send.test", .err = ERR_DNS_TEMP},
        {.type = DNS_A, .name = "mail.meerkat.test", .err = ERR_DNS_TEMP},
    };
    static const char *const names[] = {"spf", "dkim_rsa",    "dkim_ed25519", "dmarc",
                                        "mx",  "return_path", "helo",         "reverse_dns"};
    struct rig rig;
    run(&rig, rows, ARRAY_LEN(rows), "");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        expect(&rig, names[i], "unknown", "DNS did not answer");
    }
    end(&rig);
}

static const struct {
    const char *record;
    const char *status;
    const char *advice;
} spf_cases[] = {
    {"v=spf1 +include:spf.meerkat.test -all", "ok", ""},
    {"V=SPF1 a mx INCLUDE:SPF.meerkat.test ?all", "ok", ""},
    {"v=spf1 ip4:192.0.2.1 ~all", "fail", "Add include:spf.meerkat.test"},
    {"v=spf1 include:spf.meerkat.test all", "fail", "lets everybody"},
    {"v=spf1 include:spf.meerkat.test +all", "fail", "lets everybody"},
    {"v=spf1 include:spf.meerkat.test", "warn", "End it in ~all"},
    {"v=spf1 include:spf.meerkat.test include:gone.test ~all", "fail", "gone.test"},
    {"v=spf1 include:spf.meerkat.test include:big.test ~all", "fail", "12 look-ups"},
    {"v=spf1 a a a a a a a a include:spf.meerkat.test ~all", "warn", "9 look-ups"},
    {"v=spf1 include:spf.meerkat.test include:loop.test ~all", "fail", "look-ups"},
};

Test(health, the_spf_record_is_read_as_receivers_do, .timeout = 20)
{
    for (size_t i = 0; i < ARRAY_LEN(spf_cases); i++) {
        const struct fake_row rows[] = {
            {.type = DNS_TXT, .name = "send.test", .text = spf_cases[i].record},
            {.type = DNS_TXT,
             .name = "big.test",
             .text = "v=spf1 a:a.test mx a/24 ptr exists:x.test a a a a a ~all"},
            {.type = DNS_TXT, .name = "loop.test", .text = "v=spf1 include:loop.test ~all"},
            SERVER,
        };
        struct rig rig;
        run(&rig, rows, ARRAY_LEN(rows), "");
        expect(&rig, "spf", spf_cases[i].status, spf_cases[i].advice);
        end(&rig);
    }
    static const struct fake_row twice[] = {
        {.type = DNS_TXT, .name = "send.test", .text = "v=spf1 include:spf.meerkat.test ~all"},
        {.type = DNS_TXT, .name = "send.test", .text = "v=spf1 ~all"},
    };
    struct rig rig;
    run(&rig, twice, ARRAY_LEN(twice), "");
    expect(&rig, "spf", "fail", "more than one");
    end(&rig);
}

static const struct {
    const char *name;
    const char *record;
    const char *status;
    const char *advice;
} dmarc_cases[] = {
    {"_dmarc.send.test", "v=DMARC1; p=none; rua=mailto:a@b.test", "warn", "only watches"},
    {"_dmarc.send.test", "v=DMARC1; p=quarantine", "warn", "reports"},
    {"_dmarc.send.test", "v=DMARC1; p=reject; aspf=s; rua=mailto:a@b.test", "warn", "aspf"},
    {"_dmarc.send.test", "v=DMARC1; p=maybe", "fail", "policy"},
    {"_dmarc.send.test", "v=spf1 ~all", "fail", "no DMARC record"},
};

Test(health, the_dmarc_record_is_explained, .timeout = 20)
{
    for (size_t i = 0; i < ARRAY_LEN(dmarc_cases); i++) {
        const struct fake_row rows[] = {
            {.type = DNS_TXT, .name = dmarc_cases[i].name, .text = dmarc_cases[i].record}};
        struct rig rig;
        run(&rig, rows, 1, "");
        expect(&rig, "dmarc", dmarc_cases[i].status, dmarc_cases[i].advice);
        end(&rig);
    }
}

Test(health, another_key_is_no_key, .timeout = 20)
{
    static const struct fake_row rows[] = {
        {.type = DNS_TXT, .name = "mk1._domainkey.send.test", .text = "v=DKIM1; p=" ED},
        {.type = DNS_TXT, .name = "mk2._domainkey.send.test", .text = "v=DKIM1; k=ed25519; p=AAAA"},
    };
    struct rig rig;
    run(&rig, rows, ARRAY_LEN(rows), "");
    expect(&rig, "dkim_rsa", "fail", "another key");
    expect(&rig, "dkim_ed25519", "fail", "another key");
    end(&rig);
}

Test(health, reverse_names_must_lead_back, .timeout = 20)
{
    static const struct fake_row none[] = {
        {.type = DNS_A, .name = "mail.meerkat.test", .text = "203.1.113.9"}};
    static const struct fake_row elsewhere[] = {
        {.type = DNS_A, .name = "mail.meerkat.test", .text = "203.1.113.9"},
        {.type = DNS_PTR, .name = "9.113.1.203.in-addr.arpa", .text = "host9.net.test"},
        {.type = DNS_A, .name = "host9.net.test", .text = "203.1.113.10"},
    };
    static const struct fake_row other[] = {
        {.type = DNS_A, .name = "mail.meerkat.test", .text = "203.1.113.9"},
        {.type = DNS_PTR, .name = "9.113.1.203.in-addr.arpa", .text = "host9.net.test"},
        {.type = DNS_A, .name = "host9.net.test", .text = "203.1.113.9"},
    };
    static const struct fake_row v6[] = {
        {.type = DNS_AAAA, .name = "mail.meerkat.test", .text = "2a00:1450::1"},
        {.type = DNS_PTR,
         .name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.5.4.1.0.0.a.2.ip6.arpa",
         .text = "mail.meerkat.test"},
    };
    static const struct fake_row inside[] = {
        {.type = DNS_A, .name = "mail.meerkat.test", .text = "10.0.0.1"}};
    const struct {
        const struct fake_row *rows;
        size_t count;
        const char *status;
        const char *advice;
    } cases[] = {
        {none, ARRAY_LEN(none), "fail", "PTR"},
        {elsewhere, ARRAY_LEN(elsewhere), "fail", "PTR"},
        {other, ARRAY_LEN(other), "warn", "calls itself mail.meerkat.test"},
        {v6, ARRAY_LEN(v6), "ok", ""},
        {inside, ARRAY_LEN(inside), "unknown", "from outside"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        run(&rig, cases[i].rows, cases[i].count, "");
        expect(&rig, "reverse_dns", cases[i].status, cases[i].advice);
        end(&rig);
    }
}

Test(health, block_lists_are_asked_when_they_are_named, .timeout = 20)
{
    static const struct fake_row listed[] = {
        SERVER,
        {.type = DNS_A, .name = "9.113.1.203.bl.test", .text = "127.0.0.2"},
    };
    static const struct fake_row refused[] = {
        SERVER,
        {.type = DNS_A, .name = "9.113.1.203.bl.test", .text = "127.255.255.254"},
    };
    struct rig rig;
    run(&rig, listed, ARRAY_LEN(listed), "other.test, bl.test");
    expect(&rig, "blocklists", "fail", "removed");
    cr_expect(slice_equal(part_of(&rig, "blocklists", 1), SLICE("203.1.113.9 in bl.test")));
    end(&rig);
    run(&rig, listed, ARRAY_LEN(listed), "other.test");
    expect(&rig, "blocklists", "ok", "");
    end(&rig);
    run(&rig, refused, ARRAY_LEN(refused), "bl.test");
    expect(&rig, "blocklists", "unknown", "resolver");
    end(&rig);
}
