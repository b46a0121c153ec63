/* http_url.c - see http_url.h. */
#include "net/http_url.h"

#include <string.h>

#define HTTP_PORT  80
#define HTTPS_PORT 443

static bool has_bad_byte(struct slice text);
static size_t authority_len(struct slice rest);
static enum err read_bracketed(struct slice authority, struct http_url *url, struct arena *arena);
static enum err read_named(struct slice authority, struct http_url *url, struct arena *arena);
static enum err read_port(struct slice text, uint16_t *tcp_port);
static bool is_name(struct slice host);
static bool is_numberish(struct slice host);

enum err http_url_parse(struct slice text, struct arena *arena, struct http_url *url)
{
    struct http_url read = {0};
    if (text.len > HTTP_CALL_URL_MAX || has_bad_byte(text)) {
        return ERR_INVALID;
    }
    if (slice_starts_nocase(text, SLICE("https://"))) {
        read.is_tls = true;
    } else if (!slice_starts_nocase(text, SLICE("http://"))) {
        return ERR_INVALID;
    }
    read.tcp_port = read.is_tls ? HTTPS_PORT : HTTP_PORT;
    struct slice rest = slice_from(text, read.is_tls ? 8 : 7);
    struct slice authority = slice_head(rest, authority_len(rest));
    rest = slice_from(rest, authority.len);
    struct slice target = slice_head(rest, min_size(rest.len, slice_find_byte(rest, '#')));
    if (!slice_is_ascii(target) || slice_has_byte(authority, '@')) {
        return ERR_INVALID;
    }
    enum err err = slice_starts(authority, SLICE("[")) ? read_bracketed(authority, &read, arena)
                                                       : read_named(authority, &read, arena);
    if (err != ERR_OK) {
        return err;
    }
    read.target = slice_starts(target, SLICE("/"))
                      ? arena_dup(arena, target)
                      : arena_format(arena, "/%.*s", SLICE_FMT(target));
    *url = read;
    return ERR_OK;
}

struct slice http_url_text(const struct http_url *url, struct arena *arena)
{
    bool is_v6 = slice_has_byte(url->host, ':');
    return arena_format(arena, "%s://%s%.*s%s:%u%.*s", url->is_tls ? "https" : "http",
                        is_v6 ? "[" : "", SLICE_FMT(url->host), is_v6 ? "]" : "",
                        (unsigned int)url->tcp_port, SLICE_FMT(url->target));
}

static bool has_bad_byte(struct slice text)
{
    return slice_has_control(text, "") || slice_has_byte(text, ' ') || slice_has_byte(text, '\\') ||
           !slice_is_utf8(text);
}

static size_t authority_len(struct slice rest)
{
    size_t len = 0;
    while (len < rest.len && memchr("/?#", rest.data[len], 3) == NULL) {
        len++;
    }
    return len;
}

static enum err read_bracketed(struct slice authority, struct http_url *url, struct arena *arena)
{
    size_t end = slice_find_byte(authority, ']');
    if (end == SIZE_MAX) {
        return ERR_INVALID;
    }
    struct slice behind = slice_from(authority, end + 1);
    if (behind.len > 0 &&
        (behind.data[0] != ':' || read_port(slice_from(behind, 1), &url->tcp_port) != ERR_OK)) {
        return ERR_INVALID;
    }
    struct slice bracketed = slice_head(authority, end + 1);
    if (conn_addr_parse(bracketed, url->tcp_port, &url->addr) != ERR_OK ||
        url->addr.storage.ss_family != AF_INET6) {
        return ERR_INVALID;
    }
    url->is_literal = true;
    url->host = arena_lower(arena, slice_sub(bracketed, 1, end - 1));
    return ERR_OK;
}

static enum err read_named(struct slice authority, struct http_url *url, struct arena *arena)
{
    struct slice rest = authority;
    struct slice host = slice_cut(&rest, ':');
    if (rest.data != NULL && read_port(rest, &url->tcp_port) != ERR_OK) {
        return ERR_INVALID;
    }
    if (!is_name(host)) {
        return ERR_INVALID;
    }
    if (conn_addr_parse(host, url->tcp_port, &url->addr) == ERR_OK) {
        url->is_literal = true;
    } else if (is_numberish(host)) {
        return ERR_INVALID;
    }
    url->needs_idna = !slice_is_ascii(host);
    url->host = arena_lower(arena, host);
    return ERR_OK;
}

static enum err read_port(struct slice text, uint16_t *tcp_port)
{
    uint64_t number = 0;
    if (slice_uint(text, UINT16_MAX, &number) != ERR_OK || number == 0) {
        return ERR_INVALID;
    }
    *tcp_port = (uint16_t)number;
    return ERR_OK;
}

static bool is_name(struct slice host)
{
    if (host.len == 0 || host.len > DOMAIN_MAX) {
        return false;
    }
    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        bool is_dot = c == '.';
        if (is_dot && (i == 0 || host.data[i - 1] == '.')) {
            return false;
        }
        if (!is_dot && !ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_' &&
            (unsigned char)c < 0x80) {
            return false;
        }
    }
    return true;
}

/* Whether some reader takes the host for an IPv4 address: its last label is a number, decimal,
 * octal or hexadecimal. No top-level domain is one. */
static bool is_numberish(struct slice host)
{
    struct slice name = slice_ends(host, SLICE(".")) ? slice_head(host, host.len - 1) : host;
    size_t dot = slice_rfind_byte(name, '.');
    struct slice label = dot == SIZE_MAX ? name : slice_from(name, dot + 1);
    bool is_hex = slice_starts_nocase(label, SLICE("0x"));
    for (size_t i = is_hex ? 2 : 0; i < label.len; i++) {
        char c = ascii_lower(label.data[i]);
        if (!ascii_is_digit(c) && !(is_hex && c >= 'a' && c <= 'f')) {
            return false;
        }
    }
    return true;
}
