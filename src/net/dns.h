/* dns.h - DNS on a loop: questions through c-ares, answers with a small cache.
 *
 * One dns per loop. Answers and authoritative "no such name / no such record" are cached for their
 * TTL, between 5 s and 1 h; temporary failures for 5 s. Names are compared without case. At most
 * DNS_PENDING_MAX questions are open; beyond that ERR_DNS_TEMP at once.
 *
 * "localhost" and names under "localhost." are never asked: A and AAAA are the loopback addresses,
 * the rest has no record (RFC 6761 6.3). A name that cannot be in the DNS (empty, a label over 63
 * bytes, bytes that are not printable ASCII) is missing.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include "base/base.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/slice.h"
#include "net/conn.h"
#include "net/loop.h"

enum dns_type { DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_CNAME, DNS_PTR, DNS_TLSA };

struct dns_record {
    struct slice text;     /* MX exchange, TXT (strings joined), CNAME or PTR target, TLSA data.
                              Names are in lower case without the trailing dot; "." is empty
                              (RFC 7505) */
    struct conn_addr addr; /* A, AAAA; port 0 */
    uint16_t priority;     /* MX */
    uint8_t usage;         /* TLSA, RFC 6698 2.1 */
    uint8_t selector;
    uint8_t matching;
};

struct dns_answer {
    enum err err; /* ERR_OK (count > 0), ERR_DNS_NONE (no name or no record), ERR_DNS_TEMP */
    bool is_name_missing; /* NXDOMAIN, as opposed to no record of this type */
    bool is_secure;       /* a trusted resolver says that it validated this, also that there is
                             nothing (DNSSEC, RFC 4035 3.2.3); see dns_trust */
    struct slice owner;   /* the name at which the records are when that asked for is an alias
                             (CNAME) of it; empty: no alias, or no records */
    uint32_t ttl_s;
    uint32_t count;
    struct dns_record *records; /* the dns's; valid during the callback only */
};

struct dns;
struct dns_query;
typedef void dns_fn(struct dns_query *query, const struct dns_answer *answer);

struct dns_query {
    struct dns *dns; /* NULL when not asking */
    dns_fn *on_answer;
    struct link link; /* among the waiters of one question */
};

/* servers: "ip[:port], ..." or empty for /etc/resolv.conf. Errors: ERR_INVALID when servers does
 * not parse. */
MUST_USE enum err dns_open(struct loop *loop, struct slice servers, struct dns **dns);
/* From now on the servers' word is taken for what DNSSEC says: they validate, and nobody can touch
 * what they send to us. Without this nothing is secure. */
void dns_trust(struct dns *dns);
typedef void dns_closed_fn(void *context);
/* Open queries get ERR_DNS_TEMP; on_closed when the memory is gone. */
void dns_close(struct dns *dns, dns_closed_fn *on_closed, void *context);

/* Asks. on_answer runs once, later, on the loop and never inside dns_ask, unless dns_cancel comes
 * first; the query may be used again from inside it. name is copied.
 * Owns: query stays the caller's and in place until answered or cancelled; zero it before first
 * use. */
void dns_ask(struct dns *dns, struct dns_query *query, enum dns_type type, struct slice name,
             dns_fn *on_answer);
void dns_cancel(struct dns_query *query);

#endif
