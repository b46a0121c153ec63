/* cidr.h - numeric internet addresses and networks, v4 and v6 in one form.
 *
 * An address is sixteen bytes; v4 is held as v6 maps it (::ffff:a.b.c.d, RFC 4291 2.5.5.2), so one
 * comparison serves both. Yet the two never meet: ::/0 is all of v6 and no v4 address lies in it,
 * as whoever wrote it expects. All zeros is "no address" and lies in no network.
 *
 * The edge names a caller's address and reads the networks of a key; the account's shard compares
 * them.
 */
#ifndef BASE_CIDR_H
#define BASE_CIDR_H

#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

struct ip6 {
    uint8_t bytes[16]; /* network order; all zero: none */
};

struct cidr {
    struct ip6 base;
    uint8_t bits; /* of the sixteen bytes: 0 to 128, a v4 network has 96 and more */
};

/* "2001:db8::1", terminated; a v4 address in its own notation. */
#define IP6_TEXT_MAX 48
/* With "/128". */
#define CIDR_TEXT_MAX 56

bool ip6_is_none(const struct ip6 *ip);
size_t ip6_text(const struct ip6 *ip, char out[IP6_TEXT_MAX]);
/* Numeric, v4 or v6, nothing around it; ERR_INVALID otherwise. */
MUST_USE enum err ip6_parse(struct slice text, struct ip6 *ip);

/* "10.0.0.0/8", "2001:db8::/32"; a bare address is a network of one. Bits behind the prefix are
 * cleared. */
MUST_USE enum err cidr_parse(struct slice text, struct cidr *net);
size_t cidr_text(const struct cidr *net, char out[CIDR_TEXT_MAX]);
bool cidr_has(const struct cidr *net, const struct ip6 *ip);
/* Whether every address of inner lies in outer. */
bool cidr_covers(const struct cidr *outer, const struct cidr *inner);

#endif
