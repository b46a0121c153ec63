/* http_url.h - http and https addresses, taken apart strictly.
 *
 * Of what RFC 3986 allows only what a request to a stranger needs: an absolute http or https
 * address without user and password. A host is a name, an IPv4 address of four decimal numbers or
 * an IPv6 address in brackets; the other spellings of IPv4 ("2130706433", "0x7f.1", "0177.0.0.1"),
 * over which readers disagree, are refused, and so are zones, backslashes, spaces and control
 * bytes. A fragment is dropped. What http_url_text writes is read the same way by everyone.
 *
 * A name may be written in UTF-8; needs_idna tells, and whoever wants to reach it converts first
 * (mail/addr.h, domain_normalise). Pure functions; all text lands in the arena.
 */
#ifndef NET_HTTP_URL_H
#define NET_HTTP_URL_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "net/conn.h"

struct http_url {
    struct slice host;     /* lower case, without brackets */
    struct slice target;   /* path and query, as sent; begins with '/' */
    struct conn_addr addr; /* when is_literal; port included */
    uint16_t tcp_port;
    bool is_tls;
    bool is_literal; /* host is an address */
    bool needs_idna;
};

/* Errors: ERR_INVALID. */
MUST_USE enum err http_url_parse(struct slice text, struct arena *arena, struct http_url *url);
/* The address as text, with its port always written out. */
struct slice http_url_text(const struct http_url *url, struct arena *arena);

#endif
