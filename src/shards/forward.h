/* forward.h - mail that a route sends on to another address.
 *
 *      read (worker): which hands it went through --> routes: may it go on? --> delivery, outbox
 * row
 *
 * The mail leaves as any other does, as a delivery by SMTP under the received mail's own rows: our
 * trace block without Return-Path, then the bytes that came, so that its sender's signature still
 * holds. It is not signed by us. Its return path is ours (return_path.c), which passes SPF for us
 * and brings a bounce home by name; so no address of the sender has to be rewritten and undone, as
 * SRS does. What came with the null sender leaves with it: a bounce of a bounce goes nowhere.
 *
 * Two things end a loop. Each mail that leaves says in Delivered-To for whom it was received, and
 * is not sent on for the same address again; and nobody sends on what crossed FORWARD_HOPS_MAX
 * servers already.
 */
#ifndef SHARDS_FORWARD_H
#define SHARDS_FORWARD_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/slice.h"
#include "kv/row.h"

struct shard;

/* What a mail's header says of the way it came. */
struct forward_trail {
    uint32_t hops; /* Received fields */
    struct slice delivered[FORWARD_HOPS_MAX + 1];
    uint32_t delivered_count; /* beyond FORWARD_HOPS_MAX: more than are kept */
};

/* One address that a route names, for one that it matched. */
struct forward {
    struct id route;
    struct slice destination;
    struct slice recipient;
    const char *fault; /* why it does not go there; NULL: it goes */
};

struct forwards {
    struct forward_trail trail;
    struct forward items[RECEIVED_FORWARDS_MAX];
    uint32_t count;
    uint32_t skipped_count; /* beyond the ceiling */
};

/* Pure. Text in arena. */
void forward_trail_of(struct slice raw, struct arena *arena, struct forward_trail *trail);
/* Adds what a route asks for, each destination once. Reads only; text in arena. */
MUST_USE enum err forward_find(struct shard *shard, const struct row_route *route,
                               struct slice recipient, struct arena *arena, struct forwards *all);
/* Adds deliveries and outbox rows, and events that name what does not go; the caller writes mail,
 * whose counters change. */
void forward_store(struct shard *shard, struct row_mail *mail, const struct forwards *all);
/* The trace block as it leaves: Return-Path is for the last server to write (RFC 5321 4.4). */
struct slice forward_trace(struct slice trace);

#endif
