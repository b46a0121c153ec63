/* fuzz_http_url.c - any text as an address: what is accepted parses again to itself, and libcurl,
 * which will read it next, finds the same host and port in it.
 */
#include "base/check.h"
#include "net/http_url.h"

#include <curl/curl.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_curl_agrees(const struct http_url *url, const char *text)
{
    CURLU *curl = curl_url();
    char *host = NULL;
    char *port = NULL;
    char *user = NULL;
    uint64_t number = 0;
    CHECK(curl != NULL);
    CHECK(curl_url_set(curl, CURLUPART_URL, text, CURLU_PATH_AS_IS) == CURLUE_OK);
    CHECK(curl_url_get(curl, CURLUPART_HOST, &host, 0) == CURLUE_OK);
    CHECK(curl_url_get(curl, CURLUPART_PORT, &port, 0) == CURLUE_OK);
    CHECK(curl_url_get(curl, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
    struct slice seen = slice_str(host);
    if (slice_starts(seen, SLICE("["))) {
        struct conn_addr addr; /* libcurl shortens IPv6 addresses */
        char ours[ADDR_TEXT_MAX];
        char theirs[ADDR_TEXT_MAX];
        CHECK(conn_addr_parse(seen, url->tcp_port, &addr) == ERR_OK);
        (void)conn_addr_text(&addr, theirs);
        (void)conn_addr_text(&url->addr, ours);
        CHECK(slice_equal(slice_str(ours), slice_str(theirs)));
    } else {
        CHECK(slice_equal_nocase(seen, url->host));
    }
    CHECK(slice_u64(slice_str(port), &number) == ERR_OK && number == url->tcp_port);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(curl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct http_url url;
    struct http_url again;
    arena_init(&arena, 4096, 1 << 20);
    if (http_url_parse(slice_of(data, size), &arena, &url) == ERR_OK) {
        struct slice text = http_url_text(&url, &arena);
        /* A default port that is written out may carry it over the ceiling. */
        if (http_url_parse(text, &arena, &again) == ERR_OK) {
            CHECK(slice_equal(url.host, again.host) && slice_equal(url.target, again.target));
            CHECK(url.tcp_port == again.tcp_port && url.is_literal == again.is_literal);
        } else {
            CHECK(text.len > HTTP_CALL_URL_MAX);
        }
        if (!url.needs_idna) {
            check_curl_agrees(&url, arena_cstr(&arena, text));
        }
    }
    arena_fini(&arena);
    return 0;
}
