/* source.h - the addresses that mail leaves from: whose turn, and how much a new one may send.
 *
 * The sources of a pool take turns by weight. One that is warming may send so many mails a day to
 * each provider, and more with every day on which it sent: an address that nobody has seen before
 * is trusted by and by. What it may not send any more today the others of its pool send, or it
 * waits. Days are UTC. What was sent is kept as text of bytes that the owner stores.
 *
 * A source lives as long as the table, also when the policy names it no more: connections point at
 * it. Everything here is arithmetic on a day that the caller gives.
 */
#ifndef DELIVER_SOURCE_H
#define DELIVER_SOURCE_H

#include <uthash.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"
#include "deliver/policy.h"
#include "net/conn.h"

#define SOURCE_KEY_MAX    (POOL_NAME_MAX + 1 + ADDR_TEXT_MAX)
#define SOURCE_GROUPS_MAX 32 /* providers counted apart; the rest together */
#define SOURCE_WARM_DAYS  15

struct source {
    struct conn_addr addr;
    char key[SOURCE_KEY_MAX];    /* "pool|192.0.2.1", terminated */
    char helo[DNS_NAME_MAX + 1]; /* empty: the server's name */
    uint32_t weight;
    bool is_warming;
    int64_t credit;
    /* warming */
    uint32_t step; /* days on which it sent */
    uint32_t day;  /* of the counts */
    struct source_count {
        char group[POOL_NAME_MAX + 1];
        uint32_t sent;
    } counts[SOURCE_GROUPS_MAX];
    uint32_t count_len;
    bool is_changed; /* since source_pack */
    bool is_known;   /* what was kept of it has been read */
    UT_hash_handle hh;
};

struct source_table;

enum source_answer {
    SOURCE_ANY, /* the pool names none: the system chooses */
    SOURCE_FOUND,
    SOURCE_NO_FAMILY, /* the pool has none that can reach such an address */
    SOURCE_USED_UP,   /* tomorrow */
};

struct source_table *source_table_new(void);
void source_table_free(struct source_table *table);
/* The policy's pools from now on. */
void source_table_apply(struct source_table *table, const struct policy *policy);

struct source_wish {
    struct slice pool;
    int family;         /* of the host's address */
    struct slice group; /* of the site; empty for everybody who is not a provider */
    uint32_t day;
};
/* Whose turn it is; *source with SOURCE_FOUND only. */
enum source_answer source_choose(struct source_table *table, const struct source_wish *wish,
                                 struct source **source);
/* Whether it may send one more to the group today. */
bool source_may(struct source *source, struct slice group, uint32_t day);
void source_sent(struct source *source, struct slice group, uint32_t day, uint32_t mails);
/* Mails a day to one provider on the n-th day, from 0; UINT32_MAX: as many as there are. */
uint32_t source_quota(uint32_t step);
/* How many addresses a pool has, and how many of them may send no more to the group today. */
struct source_tally {
    uint32_t count;
    uint32_t used_up;
};
struct source_tally source_table_tally(struct source_table *table, struct slice pool,
                                       struct slice group, uint32_t day);
const char *source_text(const struct source *source);

/* Any source whose counts have changed; NULL: none. */
struct source *source_changed(struct source_table *table);
void source_pack(struct source *source, struct buf *out);
/* What is known already stays. False: these are not its bytes. */
bool source_unpack(struct source_table *table, struct slice key, struct slice bytes) MUST_USE;
/* Whether what was kept of a warming source has yet to be read; and now it was, all there is. */
bool source_table_wants_notes(const struct source_table *table);
void source_table_has_notes(struct source_table *table);

#endif
