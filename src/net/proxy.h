/* proxy.h - reads the PROXY protocol's header, versions 1 and 2: whom a balancer speaks for. No
 * sockets.
 *
 * The header comes before everything else on a connection, TLS included. It names a client that
 * nothing else vouches for, so a listener reads it only from balancers that its operator trusts,
 * and then always: a connection without it is not served. The reader takes the header and not a
 * byte more. It is strict: a version 1 line is at most 107 bytes and ends with CRLF, numbers have
 * one spelling; a version 2 header has the length that its family needs and at most PROXY_V2_MAX
 * bytes. Type-length-values are walked and skipped, but for a CRC-32C, which must be right.
 *
 * Standard: "The PROXY protocol, versions 1 & 2", haproxy.
 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/cidr.h"
#include "base/err.h"
#include "base/slice.h"

enum proxy_event {
    PROXY_EVENT_MORE,    /* all bytes were used; feed more */
    PROXY_EVENT_DONE,    /* reader->header is complete; what was not used is the client's */
    PROXY_EVENT_INVALID, /* close without a word; the reader is of no more use */
};

struct proxy_header {
    struct ip6 source; /* the client */
    struct ip6 dest;   /* what it connected to */
    uint16_t source_tcp_port;
    uint16_t dest_tcp_port;
    /* LOCAL, UNKNOWN, or a family without addresses: the balancer speaks for itself (a health
     * check) or does not know. The connection's own addresses hold. */
    bool is_local;
};

struct proxy_reader {
    struct proxy_header header;
    struct buf bytes; /* the header so far; no block before the first byte and after the last */
};

void proxy_init(struct proxy_reader *reader);
void proxy_fini(struct proxy_reader *reader);
/* *used says how many bytes of data were taken. */
enum proxy_event proxy_feed(struct proxy_reader *reader, struct slice data, size_t *used);

#endif
