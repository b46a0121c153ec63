/* http_target.h - where a call of the HTTP client may go: from an address to judged sockets.
 *
 * A name is looked up in both families; a numeric host is taken as it is. What is loopback, private
 * or reserved (conn_addr_is_private) is left out, unless everything is allowed or the address lies
 * in an allowed network. The rest is tried in the order given here.
 */
#ifndef NET_HTTP_TARGET_H
#define NET_HTTP_TARGET_H

#include "base/base.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "net/conn.h"
#include "net/dns.h"
#include "net/http_url.h"

struct http_target_rule {
    struct slice allowed_nets; /* networks (CIDR, comma separated) allowed though private */
    bool allows_private;       /* every address is allowed */
};

/* Errors: ERR_INVALID when allowed_nets does not parse, or names more than 64. */
MUST_USE enum err http_target_rule_check(const struct http_target_rule *rule);
/* rule was checked. */
bool http_target_is_allowed(const struct http_target_rule *rule, const struct conn_addr *addr);

struct http_target;
typedef void http_target_fn(struct http_target *target);

/* The answers for one family. */
struct http_target_family {
    struct dns_query query;
    struct http_target *target;
    struct conn_addr addrs[HTTP_CALL_ADDRS_MAX];
    uint32_t addr_count;
    enum err err;
    bool is_answered;
};

struct http_target {
    struct http_target_rule rule;
    struct http_target_family families[2]; /* A, AAAA */
    uint16_t tcp_port;
    http_target_fn *on_known;
    struct conn_addr addrs[HTTP_CALL_ADDRS_MAX]; /* judged, port included */
    uint32_t addr_count;
    enum err err; /* ERR_OK: addr_count > 0. ERR_DNS_NONE, ERR_DNS_TEMP, ERR_REFUSED_TARGET */
};

/* on_known runs once, unless http_target_cancel comes first: later, or for a numeric host inside.
 * Owns: target stays the caller's and in place until known or cancelled; zero it before first use,
 *       rule's text stays in place as long as target is used. */
void http_target_find(struct http_target *target, struct dns *dns, const struct http_url *url,
                      http_target_fn *on_known);
void http_target_cancel(struct http_target *target);

#endif
