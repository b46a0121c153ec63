/* edge.h - the edge actor, one per loop: where outside requests become messages.
 *
 * It owns the listeners and HTTP sessions of its loop. A request is parsed, its credential read
 * (auth), its body decoded into a message's arena (api_*), posted to the shard that owns the
 * account, and answered when the message comes home. Edge work is syntax only: every rule about an
 * account runs where the account lives. A client that leaves is forgotten, not cancelled: its
 * slot's generation moves on.
 *
 * Overload surfaces here: no message in the pool, or more than EDGE_BODY_BYTES of bodies, is 503
 * with retry-after at once.
 */
#ifndef EDGE_EDGE_H
#define EDGE_EDGE_H

#include "base/conf.h"
#include "net/loop.h"
#include "shards/actor.h"
#include "shards/place.h"

struct edge;

/* Owns: caller; edge_free after the loop ended. Call before the loop runs. Listeners open with
 * CONTROL_START. */
struct edge *edge_new(const struct place *place, uint16_t index, struct loop *loop);
void edge_free(struct edge *edge);
struct actor *edge_actor(struct edge *edge);

#endif
