/* Not covered here: what the resolver says (test_dns_secure), verifying by pins (test_tls_dane),
 * what a trip makes of it (flow test_dane). */
#include "deliver/dane.h"

#include "support/fake_dns.h"

#include <criterion/criterion.h>

#define EE   .usage = 3, .selector = 1, .matching = 1
#define TA   .usage = 2, .selector = 0, .matching = 1
#define PKIX .usage = 1, .selector = 1, .matching = 1
#define HASH "0123456789abcdef0123456789abcdef"
#define MX   "_25._tcp.mx.test"
#define REAL "_25._tcp.real.test"

struct dane_case {
    const char *name;
    struct fake_row rows[3];
    bool is_route_insecure;
    bool is_host_insecure;
    const char *owner;
    enum tls_dane result;
    uint32_t pins;
    const char *base;
};

#define NO_TLSA(at)                                                                                \
    {                                                                                              \
        DNS_TLSA, at, "", .err = ERR_DNS_NONE, .is_name_missing = true, .is_secure = true          \
    }
#define FAILS(type, at)                                                                            \
    {                                                                                              \
        type, at, "", .err = ERR_DNS_TEMP                                                          \
    }

static const struct dane_case cases[] = {
    {"pinned",
     {{DNS_TLSA, MX, HASH, EE, .is_secure = true}},
     .result = TLS_DANE_USABLE,
     .pins = 1,
     .base = "mx.test"},
    {"two pins and one for others",
     {{DNS_TLSA, MX, HASH, EE, .is_secure = true},
      {DNS_TLSA, MX, HASH, PKIX, .is_secure = true},
      {DNS_TLSA, MX, HASH, TA, .is_secure = true}},
     .result = TLS_DANE_USABLE,
     .pins = 2,
     .base = "mx.test"},
    {"pins for others only",
     {{DNS_TLSA, MX, HASH, PKIX, .is_secure = true}},
     .result = TLS_DANE_UNUSABLE,
     .base = "mx.test"},
    {"a hash too short",
     {{DNS_TLSA, MX, "0123", EE, .is_secure = true}},
     .result = TLS_DANE_UNUSABLE,
     .base = "mx.test"},
    {"no certificate",
     {{DNS_TLSA, MX, HASH, .usage = 3, .selector = 0, .matching = 0, .is_secure = true}},
     .result = TLS_DANE_UNUSABLE,
     .base = "mx.test"},
    {"securely nothing", {NO_TLSA(MX)}, .result = TLS_DANE_NONE},
    {"pins nobody signed", {{DNS_TLSA, MX, HASH, EE}}, .result = TLS_DANE_NONE},
    {"bogus", {FAILS(DNS_TLSA, MX)}, .result = TLS_DANE_BOGUS},
    {"MX nobody signed",
     {{DNS_TLSA, MX, HASH, EE, .is_secure = true}},
     .is_route_insecure = true,
     .result = TLS_DANE_NONE},
    {"addresses nobody signed",
     {FAILS(DNS_TLSA, MX)},
     .is_host_insecure = true,
     .result = TLS_DANE_NONE},
    {"an alias, pinned at its end",
     {{DNS_TLSA, REAL, HASH, EE, .is_secure = true}, NO_TLSA(MX)},
     .owner = "real.test",
     .result = TLS_DANE_USABLE,
     .pins = 1,
     .base = "real.test"},
    {"an alias, pinned at its own name",
     {NO_TLSA(REAL), {DNS_TLSA, MX, HASH, TA, .is_secure = true}},
     .owner = "real.test",
     .result = TLS_DANE_USABLE,
     .pins = 1,
     .base = "mx.test"},
    {"an alias without pins",
     {NO_TLSA(REAL), NO_TLSA(MX)},
     .owner = "real.test",
     .result = TLS_DANE_NONE},
    {"an alias, bogus at its end",
     {FAILS(DNS_TLSA, REAL), {DNS_TLSA, MX, HASH, EE, .is_secure = true}},
     .owner = "real.test",
     .result = TLS_DANE_BOGUS},
    {"a signed alias out of its zone",
     {{DNS_CNAME, "mx.test", "real.test", .is_secure = true},
      {DNS_TLSA, MX, HASH, EE, .is_secure = true}},
     .is_host_insecure = true,
     .owner = "real.test",
     .result = TLS_DANE_USABLE,
     .pins = 1,
     .base = "mx.test"},
    {"an alias nobody signed",
     {{DNS_CNAME, "mx.test", "real.test", .err = ERR_OK},
      {DNS_TLSA, MX, HASH, EE, .is_secure = true}},
     .is_host_insecure = true,
     .owner = "real.test",
     .result = TLS_DANE_NONE},
    {"an alias that cannot be looked up",
     {FAILS(DNS_CNAME, "mx.test")},
     .is_host_insecure = true,
     .owner = "real.test",
     .result = TLS_DANE_BOGUS},
};

static uint32_t found_count;

static void on_found(struct dane *dane UNUSED)
{
    found_count += 1;
}

static void check_text(const struct dane *dane)
{
    struct buf text;
    buf_init(&text, 4096);
    dane_write(dane, &text);
    struct slice rest = buf_slice(&text);
    for (uint32_t i = 0; i < dane->pins.count; i++) {
        char wanted[128];
        (void)snprintf(wanted, sizeof wanted, "_25._tcp.%.*s. IN TLSA %u %u %u 3031323334353637",
                       SLICE_FMT(dane->base), dane->pins.pins[i].usage, dane->pins.pins[i].selector,
                       dane->pins.pins[i].matching);
        struct slice line = slice_cut(&rest, '\n');
        cr_expect(slice_starts(line, slice_str(wanted)), "%.*s", SLICE_FMT(line));
        cr_expect_eq(line.len, strlen(wanted) - 16 + 64);
    }
    cr_expect_eq(rest.len, 0);
    buf_fini(&text);
    buf_init(&text, 60); /* no line fits */
    dane_write(dane, &text);
    cr_expect_eq(text.len, 0);
    cr_expect_not(text.is_over);
    buf_fini(&text);
}

static void find(const struct dane_case *c, struct dane *dane, struct dns *dns)
{
    struct route route = {.tcp_port = 25, .is_secure = !c->is_route_insecure};
    struct route_host *host = &route.hosts[0];
    (void)snprintf(host->name, sizeof host->name, "mx.test");
    host->is_secure = !c->is_host_insecure;
    host->is_alias = c->owner != NULL;
    (void)snprintf(host->owner, sizeof host->owner, "%s", c->owner != NULL ? c->owner : "");
    found_count = 0;
    bool is_known = dane_find(dane, dns, &route, host, on_found);
    while (fake_dns_turn(dns) > 0) {
        cr_expect_not(is_known, "%s", c->name);
    }
    cr_expect_eq(found_count, is_known ? 0 : 1, "%s", c->name);
}

Test(dane, finds_what_can_be_believed, .timeout = 30)
{
    struct dane dane = {.has_arena = false};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct dane_case *c = &cases[i];
        struct dns *dns = NULL;
        cr_assert_eq(dns_open(NULL, SLICE(""), &dns), ERR_OK);
        for (size_t n = 0; n < ARRAY_LEN(c->rows) && c->rows[n].name != NULL; n++) {
            fake_dns_add(dns, &c->rows[n], 1);
        }
        find(c, &dane, dns);
        cr_expect_eq(dane.result, c->result, "%s", c->name);
        cr_expect_eq(dane.pins.count, c->pins, "%s", c->name);
        cr_expect(slice_equal(dane.base, slice_str(c->base != NULL ? c->base : "")), "%s: %.*s",
                  c->name, SLICE_FMT(dane.base));
        for (uint32_t n = 0; n < dane.pins.count; n++) {
            cr_expect(slice_equal(dane.pins.pins[n].data, SLICE(HASH)), "%s: kept", c->name);
        }
        check_text(&dane);
        free(dns);
    }
    dane_fini(&dane);
}

Test(dane, can_be_cancelled, .timeout = 30)
{
    struct dane dane = {.has_arena = false};
    struct dns *dns = NULL;
    cr_assert_eq(dns_open(NULL, SLICE(""), &dns), ERR_OK);
    struct route route = {.tcp_port = 25, .is_secure = true, .hosts = {{.is_secure = true}}};
    (void)snprintf(route.hosts[0].name, sizeof route.hosts[0].name, "mx.test");
    found_count = 0;
    cr_assert_not(dane_find(&dane, dns, &route, &route.hosts[0], on_found));
    dane_cancel(&dane);
    cr_expect_eq(fake_dns_turn(dns), 0);
    cr_expect_eq(found_count, 0);
    dane_fini(&dane);
    free(dns);
}
