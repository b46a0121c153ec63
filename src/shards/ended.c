/* ended.c - tells every edge that a credential has ended, before anybody is told that it has.
 *
 * What a credential may do is decided by rows, anew for each request. But a connection that has
 * used one stays open, so whoever takes a credential back ends its connections too:
 *
 *      rows written -> edge 0 -> edge 1 -> ... -> the rows' batch is on disk -> answer
 *
 * From the first step on this shard refuses what the credential asks for. An edge that is told ends
 * the connections that have used it; a request that it had posted before is answered first. So once
 * the answer is out, no connection of the credential takes another request.
 *
 * One message goes from edge to edge, so a walk needs one credit, which is asked for before the
 * rows are written. The committer works meanwhile. Edges answer at once in every phase, so a walk
 * ends also while they drain; they stop only after the shards were drained, which waits for walks.
 */
#include "base/check.h"
#include "shards/shard_int.h"

#include <stdlib.h>
#include <string.h>

/* Lives in the arena of the message that waits for it. */
struct ended_walk {
    struct msg *msg;
    const struct credential *list;
    uint32_t count;
    uint64_t at_unix_ms;
    uint32_t next_edge;
    const struct batch *batch; /* of the rows; NULL once it is settled, or when there was none */
    enum err err;              /* what became of it */
};

static struct ended_walk *walk_new(struct msg *msg, uint32_t count);
static void start(struct shard *shard, struct ended_walk *walk);
static const struct batch *batch_leaned_on(const struct shard *shard);
static bool post_next(struct shard *shard, struct ended_walk *walk, uint32_t slot);
static void finish(struct shard *shard, const struct ended_walk *walk);

bool shard_can_end(const struct shard *shard)
{
    return shard->actor.pools[MSG_POOL_REQUEST].free_count > 0;
}

void shard_end_credential(struct shard *shard, struct msg *msg, struct credential ended)
{
    shard_cap_credential(shard, msg, ended, 0);
}

void shard_cap_credential(struct shard *shard, struct msg *msg, struct credential capped,
                          uint64_t at_unix_ms)
{
    struct ended_walk *walk = walk_new(msg, 1);
    struct credential *list = arena_alloc(&msg->arena, sizeof(*list));
    *list = capped;
    walk->list = list;
    walk->at_unix_ms = at_unix_ms;
    start(shard, walk);
}

void shard_end_credentials(struct shard *shard, struct msg *msg, struct credential *list,
                           uint32_t count)
{
    struct ended_walk *walk = walk_new(msg, count);
    if (count > 0) {
        qsort(list, count, sizeof(*list), credential_compare);
    }
    walk->list = list;
    start(shard, walk);
}

static struct ended_walk *walk_new(struct msg *msg, uint32_t count)
{
    struct ended_walk *walk = arena_alloc(&msg->arena, sizeof(*walk));
    *walk = (struct ended_walk){.msg = msg, .count = count, .err = ERR_OK};
    return walk;
}

static void start(struct shard *shard, struct ended_walk *walk)
{
    CHECK(!walk->msg->returning);
    CHECK(shard_can_end(shard));
    walk->batch = batch_leaned_on(shard);
    uint32_t slot = 0;
    while (shard->walks[slot]) {
        slot++;
        CHECK(slot < SHARD_WORK_MSGS); /* as many slots as messages */
    }
    if (walk->count == 0 || !post_next(shard, walk, slot)) {
        finish(shard, walk);
        return;
    }
    shard->walks[slot] = walk;
    shard->walks_open++;
}

void ended_home(struct shard *shard, struct msg *msg)
{
    CHECK(msg->token >= 1);
    CHECK(msg->token <= SHARD_WORK_MSGS);
    uint32_t slot = (uint32_t)msg->token - 1;
    struct ended_walk *walk = shard->walks[slot];
    CHECK(walk);
    CHECK(shard->walks_open > 0);
    msg_put(&shard->actor, msg); /* the next one is the same credit */
    if (!post_next(shard, walk, slot)) {
        shard->walks[slot] = NULL;
        shard->walks_open--;
        finish(shard, walk);
    }
}

void ended_batch_settled(struct shard *shard, const struct batch *batch, enum err err)
{
    for (uint32_t i = 0; shard->walks_open > 0 && i < SHARD_WORK_MSGS; i++) {
        struct ended_walk *walk = shard->walks[i];
        if (walk && walk->batch == batch) {
            walk->batch = NULL;
            walk->err = err;
        }
    }
}

static const struct batch *batch_leaned_on(const struct shard *shard)
{
    switch (shard->depends) {
    case DEPENDS_NONE:
        break;
    case DEPENDS_FLYING:
        return shard->flying;
    case DEPENDS_FILLING:
        return shard->filling;
    }
    return NULL;
}

/* False when every edge has been told. */
static bool post_next(struct shard *shard, struct ended_walk *walk, uint32_t slot)
{
    const struct place *place = shard->place;
    while (walk->next_edge < place->loop_count && !place->edges[walk->next_edge]) {
        walk->next_edge++; /* shards run without edges where they are tested */
    }
    if (walk->next_edge >= place->loop_count) {
        return false;
    }
    struct msg *msg = msg_take(&shard->actor, MSG_EDGE_ENDED);
    CHECK(msg); /* shard_can_end, or the one just put */
    struct credential *list = arena_array(&msg->arena, walk->count, sizeof(*list));
    memcpy(list, walk->list, walk->count * sizeof(*list));
    msg->token = slot + 1;
    msg->body.ended =
        (struct edge_ended){.list = list, .count = walk->count, .at_unix_ms = walk->at_unix_ms};
    actor_post(place->edges[walk->next_edge++], msg);
    return true;
}

static void finish(struct shard *shard, const struct ended_walk *walk)
{
    shard->depends = DEPENDS_NONE;
    if (walk->batch) {
        CHECK_IF(walk->batch != shard->filling, walk->batch == shard->flying);
        shard->depends = walk->batch == shard->filling ? DEPENDS_FILLING : DEPENDS_FLYING;
    }
    if (walk->err != ERR_OK) {
        walk->msg->param = SLICE("");
        walk->msg->sentence = SLICE("");
    }
    shard_answer(shard, walk->msg, walk->err);
}
