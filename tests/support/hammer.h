/* hammer.h - clients that use one key all the time, over every loop, while it is taken back.
 *
 * Some send one request after the other, some as many as a pipeline holds. Each notes whether the
 * answer to the taking back was there before it sent: from then on nothing may be let in, and its
 * connection must end. A breach ends the process as world_fail does.
 */
#ifndef SUPPORT_HAMMER_H
#define SUPPORT_HAMMER_H

#include "support/world.h"

enum hammer_end { HAMMER_REVOKE, HAMMER_DISABLE, HAMMER_ROTATE, HAMMER_DOMAIN, HAMMER_END_COUNT };

/* One round against the running daemon with the world's key as owner: makes a key, lets the clients
 * use it, takes it back in that way. Returns how many requests were let in before. */
uint64_t hammer_round(struct world *world, enum hammer_end end, uint32_t clients);

#endif
