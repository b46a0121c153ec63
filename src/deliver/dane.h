/* dane.h - what the DNS says of a mail host's certificate: TLSA records (RFC 7672).
 *
 * A look-up is made for one host of a route. It says something only where the way from the domain
 * to the host is secure: the MX records (or that there are none) and the host's addresses. The
 * records are asked for at the name behind an alias first, then at the host's own (RFC 7672 2.2.2).
 * Where the zone is secure and its TLSA records cannot be had, the answer is TLS_DANE_BOGUS and not
 * "none": whoever can hide them would win otherwise (RFC 7672 2.1.3).
 *
 * Nothing is ever secure unless the operator said that the resolver validates (dns_trust).
 */
#ifndef DELIVER_DANE_H
#define DELIVER_DANE_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"
#include "deliver/route.h"
#include "deliver/tls_demand.h"
#include "net/dns.h"
#include "net/tls.h"

#define DANE_PINS_MAX  24 /* usable ones; real sets have two to four */
#define DANE_NAMES_MAX 2

struct dane;
typedef void dane_found_fn(struct dane *dane);

struct dane {
    struct dns *dns;
    dane_found_fn *on_found;
    struct dns_query query;
    char names[DANE_NAMES_MAX][DNS_NAME_MAX + 1]; /* where to ask, in order; terminated */
    uint32_t name_count;
    uint32_t name; /* being asked */
    uint16_t tcp_port;
    bool has_arena;
    struct arena arena; /* the pins' data */
    struct tls_pin stored[DANE_PINS_MAX];
    /* the result */
    enum tls_dane result;
    struct slice base; /* with usable pins: the name they are at */
    struct tls_pins pins;
};

/* Looks a host up. True when the answer is there at once; else on_found runs later, unless
 * dane_cancel comes first. dane is zeroed before first use and may be used again.
 * Owns: dane is the caller's and in place until then; it ends with dane_fini. domain and host stay
 * for as long as the pins. */
bool dane_find(struct dane *dane, struct dns *dns, const struct route *route,
               const struct route_host *host, dane_found_fn *on_found) MUST_USE;
void dane_cancel(struct dane *dane);
/* Appends the usable records as zone files have them (RFC 6698 2.2), a line each, those that fit.
 */
void dane_write(const struct dane *dane, struct buf *out);
void dane_fini(struct dane *dane);

#endif
