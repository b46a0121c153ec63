/* Not covered here: which address a request comes from (edge), and what a key's networks forbid
 * (tests/unit/shards/test_key.c). */
#include <criterion/criterion.h>

#include "base/cidr.h"

#include <string.h>

static struct ip6 ip(const char *text)
{
    struct ip6 out;
    cr_assert_eq(ip6_parse(slice_str(text), &out), ERR_OK, "%s", text);
    return out;
}

static struct cidr net(const char *text)
{
    struct cidr out;
    cr_assert_eq(cidr_parse(slice_str(text), &out), ERR_OK, "%s", text);
    return out;
}

Test(cidr, addresses_read_and_print)
{
    static const char *const pairs[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"2001:DB8:0:0::1", "2001:db8::1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::", "::"},
        {"::1", "::1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char text[IP6_TEXT_MAX];
        struct ip6 read = ip(pairs[i][0]);
        cr_expect_eq(ip6_text(&read, text), strlen(pairs[i][1]));
        cr_expect_str_eq(text, pairs[i][1]);
    }
    struct ip6 none = {.bytes = {0}};
    struct ip6 some = ip("0.0.0.0");
    cr_expect(ip6_is_none(&none));
    cr_expect_not(ip6_is_none(&some));
}

Test(cidr, nonsense_is_refused)
{
    static const char *const addresses[] = {"",         "1",   "1.2.3", "1.2.3.256", "1.2.3.4 ",
                                            ":::",      "g::", "[::1]", "1.2.3.4:5", "fe80::1%eth0",
                                            "localhost"};
    static const char *const nets[] = {
        "",       "/",    "/8",          "1.2.3.4/",     "1.2.3.4/33", "1.2.3.4/-1",
        "::/129", "::/x", "1.2.3.4/8/8", "10.0.0.0/08x", "* "};
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct ip6 out;
        cr_expect_eq(ip6_parse(slice_str(addresses[i]), &out), ERR_INVALID, "%s", addresses[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(nets); i++) {
        struct cidr out;
        cr_expect_eq(cidr_parse(slice_str(nets[i]), &out), ERR_INVALID, "%s", nets[i]);
    }
    struct ip6 out;
    cr_expect_eq(ip6_parse(slice_of("1.2.3.4\0", 8), &out), ERR_INVALID);
}

Test(cidr, networks_print_without_their_host_bits)
{
    static const char *const pairs[][2] = {
        {"10.1.2.3/8", "10.0.0.0/8"},
        {"10.1.2.3", "10.1.2.3/32"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"192.0.2.129/25", "192.0.2.128/25"},
        {"2001:db8::1", "2001:db8::1/128"},
        {"2001:db8:ffff::/33", "2001:db8:8000::/33"},
        {"::/0", "::/0"},
        {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char text[CIDR_TEXT_MAX];
        struct cidr read = net(pairs[i][0]);
        cr_expect_eq(cidr_text(&read, text), strlen(pairs[i][1]));
        cr_expect_str_eq(text, pairs[i][1]);
    }
}

Test(cidr, an_address_lies_in_its_networks_only)
{
    static const struct {
        const char *net;
        const char *ip;
        bool want;
    } cases[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.1", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "203.0.113.9", false},
        {"::/0", "::ffff:203.0.113.9", false},
        {"203.0.113.9", "::ffff:203.0.113.9", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"2001:db8::1", "2001:db8::1", true},
        {"2001:db8::1", "2001:db8::2", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cidr in = net(cases[i].net);
        struct ip6 at = ip(cases[i].ip);
        cr_expect_eq(cidr_has(&in, &at), cases[i].want, "%s in %s", cases[i].ip, cases[i].net);
    }
    struct cidr all = net("::/0");
    struct ip6 none = {.bytes = {0}};
    cr_expect_not(cidr_has(&all, &none), "nobody is nowhere");
}

Test(cidr, a_network_covers_what_lies_inside_it)
{
    static const struct {
        const char *outer;
        const char *inner;
        bool want;
    } cases[] = {
        {"10.0.0.0/8", "10.1.0.0/16", true}, {"10.1.0.0/16", "10.0.0.0/8", false},
        {"10.0.0.0/8", "10.0.0.0/8", true},  {"10.0.0.0/8", "11.0.0.0/16", false},
        {"0.0.0.0/0", "::/0", false},        {"::/0", "0.0.0.0/0", false},
        {"::/0", "10.0.0.0/8", false},       {"2001:db8::/32", "2001:db8:1::/48", true},
        {"0.0.0.0/0", "255.0.0.0/8", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cidr outer = net(cases[i].outer);
        struct cidr inner = net(cases[i].inner);
        cr_expect_eq(cidr_covers(&outer, &inner), cases[i].want, "%s in %s", cases[i].inner,
                     cases[i].outer);
    }
}
