/* Not covered here: what a client does with an address (test_http_client.c). */
#include "net/http_url.h"

#include <criterion/criterion.h>
#include <string.h>

static enum err parse(struct arena *arena, const char *text, struct http_url *url)
{
    return http_url_parse(slice_str(text), arena, url);
}

Test(http_url, takes_addresses_apart_and_writes_them_in_one_way)
{
    static const struct {
        const char *text;
        const char *host;
        const char *target;
        const char *again;
        uint16_t tcp_port;
        bool is_tls;
        bool is_literal;
        bool needs_idna;
    } cases[] = {
        {"http://a.test", "a.test", "/", "http://a.test:80/", 80, false, false, false},
        {"HTTPS://A.Test/B?c=D#e", "a.test", "/B?c=D", "https://a.test:443/B?c=D", 443, true, false,
         false},
        {"http://a.test:8080?x", "a.test", "/?x", "http://a.test:8080/?x", 8080, false, false,
         false},
        {"http://a.test#x", "a.test", "/", "http://a.test:80/", 80, false, false, false},
        {"http://a_b-c.test./../%2e", "a_b-c.test.", "/../%2e", "http://a_b-c.test.:80/../%2e", 80,
         false, false, false},
        {"http://127.0.0.1/", "127.0.0.1", "/", "http://127.0.0.1:80/", 80, false, true, false},
        {"http://[2001:DB8::1]:81/", "2001:db8::1", "/", "http://[2001:db8::1]:81/", 81, false,
         true, false},
        {"http://[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "/", "http://[::ffff:127.0.0.1]:80/", 80,
         false, true, false},
        {"https://b\xc3\xbc"
         "cher.test/",
         "b\xc3\xbc"
         "cher.test",
         "/",
         "https://b\xc3\xbc"
         "cher.test:443/",
         443, true, false, true},
        {"http://a.test:65535/@:/", "a.test", "/@:/", "http://a.test:65535/@:/", 65535, false,
         false, false},
        {"http://1.2.3.4.a/", "1.2.3.4.a", "/", "http://1.2.3.4.a:80/", 80, false, false, false},
    };
    struct arena arena;
    arena_init(&arena, 1024, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_url url;
        cr_assert_eq(parse(&arena, cases[i].text, &url), ERR_OK, "%s", cases[i].text);
        cr_assert(slice_equal(url.host, slice_str(cases[i].host)), "%s", cases[i].text);
        cr_assert(slice_equal(url.target, slice_str(cases[i].target)), "%s", cases[i].text);
        cr_assert_eq(url.tcp_port, cases[i].tcp_port, "%s", cases[i].text);
        cr_assert_eq(url.is_tls, cases[i].is_tls, "%s", cases[i].text);
        cr_assert_eq(url.is_literal, cases[i].is_literal, "%s", cases[i].text);
        cr_assert_eq(url.needs_idna, cases[i].needs_idna, "%s", cases[i].text);
        struct slice again = http_url_text(&url, &arena);
        cr_assert(slice_equal(again, slice_str(cases[i].again)), "%.*s", SLICE_FMT(again));
        cr_assert_eq(http_url_parse(again, &arena, &url), ERR_OK, "%.*s", SLICE_FMT(again));
        if (url.is_literal) {
            cr_assert_eq(conn_addr_port(&url.addr), url.tcp_port);
        }
    }
    arena_fini(&arena);
}

Test(http_url, refuses_what_readers_disagree_about)
{
    static const char *const texts[] = {
        "",
        "a.test",
        "//a.test/",
        "/path",
        "http:",
        "http://",
        "http:///x",
        "http:/a.test/",
        "ftp://a.test/",
        "file:///etc/passwd",
        "gopher://a.test/",
        "javascript:alert(1)",
        "http://user@a.test/",
        "http://user:pass@a.test/",
        "http://@a.test/",
        "http://a.test@127.0.0.1/",
        "http://a.test\\@127.0.0.1/",
        "http://a.test/\\x",
        "http://a.test /",
        " http://a.test/",
        "http://a.test/a b",
        "http://a.test/\r\nx: y",
        "http://a.test/\x7f",
        "http://a.test/\xc3\xbc",
        "http://\xff.test/",
        "http://a..test/",
        "http://.a.test/",
        "http://./",
        "http://a%2etest/",
        "http://a!test/",
        "http://a.test:/",
        "http://a.test:0/",
        "http://a.test:65536/",
        "http://a.test:80:80/",
        "http://a.test:+80/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://127.0.0.0x1/",
        "http://256.0.0.1/",
        "http://1.2.3.4.5/",
        "http://0x/",
        "http://::1/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[::1]80/",
        "http://[fe80::1%25eth0]/",
        "http://[127.0.0.1]/",
        "http://[]/",
        "http://[a.test]/",
    };
    struct arena arena;
    arena_init(&arena, 1024, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct http_url url = {.tcp_port = 7};
        cr_assert_eq(parse(&arena, texts[i], &url), ERR_INVALID, "%s", texts[i]);
        cr_assert_eq(url.tcp_port, 7, "touched on failure: %s", texts[i]);
    }
    struct http_url url;
    cr_assert_eq(http_url_parse(SLICE("http://a\0b.test/"), &arena, &url), ERR_INVALID);
    arena_fini(&arena);
}

Test(http_url, has_a_ceiling)
{
    static char text[HTTP_CALL_URL_MAX + 2] = "http://a.test/";
    size_t len = strlen(text);
    memset(text + len, 'x', HTTP_CALL_URL_MAX + 1 - len);
    struct arena arena;
    struct http_url url;
    arena_init(&arena, 1024, 1 << 20);
    cr_assert_eq(parse(&arena, text, &url), ERR_INVALID);
    text[HTTP_CALL_URL_MAX] = '\0';
    cr_assert_eq(parse(&arena, text, &url), ERR_OK);
    char host[DOMAIN_MAX + 20];
    memset(host, 'h', sizeof(host));
    memcpy(host, "http://", 7);
    host[7 + DOMAIN_MAX + 1] = '\0';
    cr_assert_eq(parse(&arena, host, &url), ERR_INVALID);
    host[7 + DOMAIN_MAX] = '\0';
    cr_assert_eq(parse(&arena, host, &url), ERR_OK);
    arena_fini(&arena);
}
