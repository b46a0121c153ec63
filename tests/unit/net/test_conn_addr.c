/* The addresses of conn.h: text, ports, ranges. Not covered here: addresses of sockets
 * (test_conn). */
#include "net/conn.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static struct conn_addr parse(const char *text)
{
    struct conn_addr addr;
    cr_assert_eq(conn_addr_parse(slice_str(text), 0, &addr), ERR_OK, "%s", text);
    return addr;
}

Test(conn_addr, reads_addresses_with_and_without_a_port)
{
    static const struct {
        const char *text;
        const char *ip;
        uint16_t tcp_port;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", 25},
        {"192.0.2.1:2525", "192.0.2.1", 2525},
        {" 192.0.2.1:0\t", "192.0.2.1", 0},
        {"192.0.2.1:65535", "192.0.2.1", 65535},
        {"2001:db8::1", "2001:db8::1", 25},
        {"::1", "::1", 25},
        {"::", "::", 25},
        {"[2001:db8::1]", "2001:db8::1", 25},
        {"[2001:DB8:0::1]:2525", "2001:db8::1", 2525},
        {"::ffff:192.0.2.1", "192.0.2.1", 25},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conn_addr addr;
        char text[ADDR_TEXT_MAX];
        cr_assert_eq(conn_addr_parse(slice_str(cases[i].text), 25, &addr), ERR_OK, "%s",
                     cases[i].text);
        cr_assert_eq(conn_addr_text(&addr, text), strlen(cases[i].ip));
        cr_assert_str_eq(text, cases[i].ip);
        cr_assert_eq(conn_addr_port(&addr), cases[i].tcp_port, "%s", cases[i].text);
    }
}

Test(conn_addr, refuses_what_is_no_address)
{
    static const char *const texts[] = {
        "",
        " ",
        "localhost",
        "localhost:25",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:25x",
        "192.0.2.1 :25",
        "192.0.2.1/24",
        "[192.0.2.1]:25",
        "[::1",
        "[::1]25",
        "[::1]:",
        "[]:25",
        "[",
        ":25",
        ":::1",
        "fe80::1%eth0",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "0000000000000000000000000000000000000000000000000000000000000000000000001",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct conn_addr addr;
        cr_assert_eq(conn_addr_parse(slice_str(texts[i]), 25, &addr), ERR_INVALID, "%s", texts[i]);
    }
    struct conn_addr addr;
    cr_assert_eq(conn_addr_parse(SLICE("192.0.2.1\0.5"), 25, &addr), ERR_INVALID);
}

Test(conn_addr, tells_private_addresses_from_public_ones)
{
    static const struct {
        const char *text;
        bool is_private;
    } cases[] = {
        {"0.0.0.0", true},
        {"0.255.255.255", true},
        {"1.0.0.0", false},
        {"9.255.255.255", false},
        {"10.0.0.0", true},
        {"10.255.255.255", true},
        {"11.0.0.0", false},
        {"100.63.255.255", false},
        {"100.64.0.0", true},
        {"100.127.255.255", true},
        {"100.128.0.0", false},
        {"127.0.0.1", true},
        {"127.255.0.1", true},
        {"169.253.255.255", false},
        {"169.254.169.254", true},
        {"172.15.255.255", false},
        {"172.16.0.0", true},
        {"172.31.255.255", true},
        {"172.32.0.0", false},
        {"192.0.0.8", true},
        {"192.0.2.7", true},
        {"192.167.255.255", false},
        {"192.168.0.1", true},
        {"198.17.255.255", false},
        {"198.18.0.0", true},
        {"198.51.100.1", true},
        {"203.0.113.255", true},
        {"203.0.114.0", false},
        {"223.255.255.255", false},
        {"224.0.0.1", true},
        {"240.0.0.1", true},
        {"255.255.255.255", true},
        {"8.8.8.8", false},
        {"::", true},
        {"::1", true},
        {"::7f00:1", true}, /* v4-compatible, long deprecated */
        {"::ffff:127.0.0.1", true},
        {"::ffff:10.1.2.3", true},
        {"::ffff:8.8.8.8", false},
        {"64:ff9b::10.0.0.1", true},
        {"64:ff9b::8.8.8.8", false},
        {"64:ff9b:1::1", true},
        {"100::1", true},
        {"2001::1", true}, /* Teredo */
        {"2001:db8::1", true},
        {"2002:a00:1::", true}, /* 6to4 of 10.0.0.1 */
        {"2002:808:808::", false},
        {"2606:4700::1111", false},
        {"2a00:1450::1", false},
        {"::ffff:0:10.0.0.1", true}, /* RFC 2765, translated */
        {"1fff::1", true},
        {"3fff::1", true},
        {"3ffe::1", false},
        {"4000::1", true},
        {"5f00::1", true},
        {"fbff::1", true},
        {"fc00::1", true},
        {"fdff::1", true},
        {"fe80::1", true},
        {"fec0::1", true},
        {"ff02::1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conn_addr addr = parse(cases[i].text);
        cr_assert_eq(conn_addr_is_private(&addr), cases[i].is_private, "%s", cases[i].text);
    }
    struct conn_addr none = {0};
    cr_assert(conn_addr_is_private(&none), "no address is not a public one");
}

Test(conn_addr, knows_loopback)
{
    static const struct {
        const char *text;
        bool is_loopback;
    } cases[] = {
        {"127.0.0.1", true}, {"127.9.9.9", true},        {"128.0.0.1", false}, {"10.0.0.1", false},
        {"::1", true},       {"::ffff:127.0.0.1", true}, {"::2", false},       {"::", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conn_addr addr = parse(cases[i].text);
        cr_assert_eq(conn_addr_is_loopback(&addr), cases[i].is_loopback, "%s", cases[i].text);
    }
    struct conn_addr none = {0};
    cr_assert_not(conn_addr_is_loopback(&none));
    char text[ADDR_TEXT_MAX];
    cr_assert_eq(conn_addr_text(&none, text), 0);
    cr_assert_eq(conn_addr_port(&none), 0);
}

Test(conn_addr, finds_addresses_in_networks)
{
    static const struct {
        const char *text;
        const char *cidr;
        bool is_inside;
    } cases[] = {
        {"10.1.2.3", "10.0.0.0/8", true},
        {"10.1.2.3", " 10.0.0.0/8 ", true},
        {"11.0.0.0", "10.0.0.0/8", false},
        {"10.1.2.3", "10.1.2.3", true},
        {"10.1.2.4", "10.1.2.3", false},
        {"10.1.2.3", "10.1.2.2/31", true},
        {"10.1.2.4", "10.1.2.2/31", false},
        {"10.1.2.3", "10.1.2.3/32", true},
        {"10.1.2.3", "0.0.0.0/0", true},
        {"192.168.127.255", "192.168.0.0/17", true},
        {"192.168.128.0", "192.168.0.0/17", false},
        {"10.99.0.1", "10.1.2.3/8", true}, /* host bits are ignored */
        {"2001:db8:1::1", "2001:db8::/32", true},
        {"2001:db9::1", "2001:db8::/32", false},
        {"2001:db8::1", "2001:db8::1/128", true},
        {"2001:db8::2", "2001:db8::1", false},
        {"2001:db8::2", "::/0", true},
        {"10.1.2.3", "::/0", false},
        {"::1", "0.0.0.0/0", false},
        {"::ffff:10.1.2.3", "10.0.0.0/8", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conn_addr addr = parse(cases[i].text);
        bool is_inside = !cases[i].is_inside;
        cr_assert_eq(conn_addr_in_cidr(&addr, slice_str(cases[i].cidr), &is_inside), ERR_OK);
        cr_assert_eq(is_inside, cases[i].is_inside, "%s in %s", cases[i].text, cases[i].cidr);
    }
}

Test(conn_addr, refuses_what_is_no_network)
{
    static const char *const texts[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "2001:db8::/129",
        "example.com/8",
        "10.0.0.0/8x",
        "[::1]/128",
    };
    struct conn_addr addr = parse("10.1.2.3");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        bool is_inside = true;
        cr_assert_eq(conn_addr_in_cidr(&addr, slice_str(texts[i]), &is_inside), ERR_INVALID, "%s",
                     texts[i]);
        cr_assert(is_inside, "untouched on failure");
    }
}
