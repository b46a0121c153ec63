/* address_rate.h - how many requests a minute an address may make that no account answers for.
 *
 * Signing up, logging in, and everything that is refused before or by a shard for want of a
 * credential is counted against the address it came from, one table a loop: a v6 address by its
 * /64, which is what one customer gets; a v4 address whole. Requests with a credential that counts
 * are their account's (shards/account.c) and cost the address nothing.
 */
#ifndef EDGE_ADDRESS_RATE_H
#define EDGE_ADDRESS_RATE_H

#include "base/cidr.h"
#include "base/rate.h"

/* The owner of an address's bucket. */
uint64_t address_rate_owner(const struct ip6 *address);

#endif
