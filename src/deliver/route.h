/* route.h - where mail for a domain goes: the ordered addresses of its hosts.
 *
 * RFC 5321 5.1: MX records by preference, equal ones shuffled; without MX the domain's own A and
 * AAAA; a null MX (RFC 7505) accepts no mail. Of the first ROUTE_HOSTS_MAX hosts all addresses are
 * looked up, IPv4 first. Addresses that are not public are left out unless the operator allows
 * them. A smarthost replaces all of this.
 */
#ifndef DELIVER_ROUTE_H
#define DELIVER_ROUTE_H

#include "base/base.h"
#include "base/slice.h"
#include "mail/dsn.h"
#include "net/conn.h"
#include "net/dns.h"

#define ROUTE_HOSTS_MAX 8
#define ROUTE_ADDRS_MAX 16

struct route_target {
    char host[DNS_NAME_MAX + 1]; /* terminated */
    uint32_t host_index;         /* in hosts */
    struct conn_addr addr;
};

struct route;
typedef void route_found_fn(struct route *route);

struct route_host {
    struct route *route;
    char name[DNS_NAME_MAX + 1];
    uint16_t priority;
    struct dns_query a;
    struct dns_query aaaa;
    struct conn_addr addrs[ROUTE_ADDRS_MAX];
    uint32_t addr_count;
    bool is_secure;               /* its addresses are, as the DNS tells (DNSSEC) */
    bool is_alias;                /* then owner is where they are */
    char owner[DNS_NAME_MAX + 1]; /* terminated */
};

struct route {
    struct dns *dns;
    route_found_fn *on_found;
    struct dns_query mx;
    struct route_host hosts[ROUTE_HOSTS_MAX];
    uint32_t host_count;
    uint32_t waiting; /* look-ups out */
    uint16_t tcp_port;
    bool allows_private;
    bool has_temporary; /* a look-up failed for now */
    bool has_private;   /* an address was left out */
    bool is_secure;     /* which hosts these are was secure (DNSSEC) */
    /* the result */
    struct route_target targets[ROUTE_ADDRS_MAX];
    uint32_t target_count; /* 0: verdict says why */
    struct verdict verdict;
};

/* Looks the domain up; on_found runs once, later, unless route_cancel comes first. is_host: name is
 * a host, not a mail domain (smarthost): no MX. Owns: route is the caller's, in place until then.
 */
struct route_options {
    struct dns *dns;
    struct slice name;
    uint16_t tcp_port;
    bool is_host;
    bool allows_private;
};
void route_find(struct route *route, const struct route_options *options, route_found_fn *on_found);
void route_cancel(struct route *route);

#endif
