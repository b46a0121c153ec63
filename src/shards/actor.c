/* actor.c - dispatch, the four verbs, the pools.
 *
 *   port --detach--> backlog --handle--> ...
 *                      |  ^
 *             hold:    v  | nothing goes back: held is dispatched first after the release
 *                     held
 *
 * While an actor is held, new messages move from the backlog to `held` and only returning ones
 * stay. Each message is looked at once for that, however often the actor is held, so a long backlog
 * costs nothing extra.
 */
#include "shards/actor.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

/* Under AddressSanitizer the body of a message at rest cannot be touched: use after msg_put. */
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(at, len)   ASAN_POISON_MEMORY_REGION(at, len)
#define UNPOISON(at, len) ASAN_UNPOISON_MEMORY_REGION(at, len)
#else
#define POISON(at, len)                                                                            \
    do {                                                                                           \
        (void)(at);                                                                                \
        (void)(len);                                                                               \
    } while (0)
#define UNPOISON(at, len) POISON(at, len)
#endif

#define MAGIC_TAKEN  UINT32_C(0x6d73672b)
#define MAGIC_POOLED UINT32_C(0x6d73672d)
#define SLOW_US      (UINT64_C(10) * HANDLER_BUDGET_US)
#define SLOW_SAY_US  UINT64_C(1000000)

_Static_assert(POOL_WARM_MAX *MSG_ARENA_CHUNK <= 256 * KIB, "a pool at rest stays small");

/* Set before the loops run, read by all of them: a switch for the operator, not state. */
static bool is_tracing;

static void on_wake(void *context);
static void on_port_left(void *context);
static void run(struct actor *actor);
static struct msg *next_ready(struct actor *actor);
static bool has_ready(const struct actor *actor);
static uint64_t dispatch(struct actor *actor, struct msg *msg, uint64_t begun_us);
static void note_slow(struct actor *actor, enum msg_kind kind, uint64_t took_us, uint64_t now_us);
static void admit(struct actor *actor, struct msg *list);
static void set_new_aside(struct actor *actor);
static void queue_add(struct msg_queue *queue, struct msg *msg);
static struct msg *queue_pop(struct msg_queue *queue);
static void note_depth(const struct actor *actor, uint32_t count);
static void pool_init(struct msg_pool *pool, uint32_t count, uint32_t metrics, uint32_t label);
static void pool_counted(const struct msg_pool *pool);
static void pool_fini(struct msg_pool *pool);
static struct msg *pool_pop(struct msg_pool *pool);
static void pool_push(struct msg_pool *pool, struct msg *msg);
static bool kind_is_secret(enum msg_kind kind);
static void check_affinity(const struct actor *actor);
static void trace(const char *event, const struct msg *msg, const struct actor *from,
                  const struct actor *to);

void actor_init(struct actor *actor, const struct actor_options *options)
{
    CHECK(options->name != NULL);
    CHECK(options->handle != NULL);
    *actor = (struct actor){
        .loop = options->loop,
        .handle = options->handle,
        .on_drained = options->on_drained,
        .index = options->index,
        .metrics = metric_actor(options->name, options->index),
    };
    snprintf(actor->name, sizeof(actor->name), "%s", options->name);
    uint64_t own_count = 0;
    for (size_t i = 0; i < MSG_POOL_COUNT; i++) {
        pool_init(&actor->pools[i], options->pool_counts[i], actor->metrics, (uint32_t)i);
        own_count += options->pool_counts[i];
    }
    CHECK(options->port_depth_max >= own_count);
    port_init(&actor->port, options->loop, options->port_depth_max,
              options->loop != NULL ? on_wake : NULL, actor);
}

void actor_close(struct actor *actor)
{
    check_affinity(actor);
    port_close(&actor->port);
}

void actor_fini(struct actor *actor)
{
    CHECK(actor->backlog.first == NULL);
    CHECK(actor->held.first == NULL);
    port_fini(&actor->port);
    for (size_t i = 0; i < MSG_POOL_COUNT; i++) {
        pool_fini(&actor->pools[i]);
    }
}

struct msg *msg_take(struct actor *actor, enum msg_kind kind)
{
    check_affinity(actor);
    const enum msg_pool_kind pool_kind = msg_kind_pool(kind);
    struct msg *msg = pool_pop(&actor->pools[pool_kind]);
    if (msg == NULL) {
        return NULL;
    }
    CHECK_IF(msg->magic != 0, msg->magic == MAGIC_POOLED);
    UNPOISON(&msg->body, sizeof(msg->body));
    const struct arena arena = msg->arena;
    *msg = (struct msg){
        .home = actor,
        .at = actor,
        .arena = arena,
        .kind = (uint16_t)kind,
        .pool = (uint8_t)pool_kind,
        .magic = MAGIC_TAKEN,
    };
    return msg;
}

void actor_post(struct actor *to, struct msg *msg)
{
    CHECK(msg->magic == MAGIC_TAKEN);
    CHECK(!msg->returning);
    CHECK(msg->at == msg->home);
    check_affinity(msg->home);
    msg->at = to;
    if (is_tracing) {
        msg->posted_us = clock_mono_us();
        trace("msg.post", msg, msg->home, to);
    }
    port_push(&to->port, msg);
}

void msg_return(struct msg *msg, enum err err)
{
    CHECK(msg->magic == MAGIC_TAKEN);
    CHECK(!msg->returning);
    CHECK(err < ERR_COUNT);
    struct actor *from = msg->at;
    check_affinity(from);
    msg->err = err;
    msg->returning = true;
    msg->at = msg->home;
    if (is_tracing) {
        trace("msg.return", msg, from, msg->home);
    }
    port_push(&msg->home->port, msg);
}

void msg_put(struct actor *actor, struct msg *msg)
{
    CHECK(msg->magic == MAGIC_TAKEN);
    CHECK(msg->home == actor);
    CHECK(msg->at == actor);
    CHECK(msg->next == NULL);
    check_affinity(actor);
    if (kind_is_secret((enum msg_kind)msg->kind)) {
        arena_mark_secret(&msg->arena);
    }
    explicit_bzero(&msg->body, sizeof(msg->body));
    msg->magic = MAGIC_POOLED;
    struct msg_pool *pool = &actor->pools[msg->pool];
    const bool was_empty = pool->free_count == 0;
    const bool is_request = msg->pool == MSG_POOL_REQUEST;
    pool_push(pool, msg);
    if (was_empty && is_request && actor->on_free != NULL) {
        actor->on_free(actor);
    }
}

void actor_hold(struct actor *actor)
{
    check_affinity(actor);
    if (!actor->is_held) {
        actor->is_held = true;
        set_new_aside(actor);
    }
}

void actor_release(struct actor *actor)
{
    check_affinity(actor);
    if (!actor->is_held) {
        return;
    }
    actor->is_held = false;
    if (actor->loop != NULL && has_ready(actor) && !actor->port.is_closed) {
        port_nudge(&actor->port);
    }
}

void actor_leave(struct actor *actor, actor_fn *on_left)
{
    check_affinity(actor);
    CHECK(actor->is_held);
    CHECK(actor->on_arrived != NULL);
    actor->on_left = on_left;
    port_leave(&actor->port, on_port_left);
}

void actor_arrive(struct actor *actor, struct loop *loop)
{
    CHECK(actor->is_held);
    actor->loop = loop;
    port_arrive(&actor->port, loop);
    actor->on_arrived(actor);
    actor_release(actor);
}

void actor_thread_run(struct actor *actor)
{
    CHECK(actor->loop == NULL);
    while (!actor->is_stopping || has_ready(actor)) {
        uint32_t count = 0;
        struct msg *list =
            has_ready(actor) ? port_detach(&actor->port, &count) : port_wait(&actor->port, &count);
        note_depth(actor, count);
        admit(actor, list);
        run(actor);
    }
    actor->is_stopping = false;
}

void actor_thread_stop(struct actor *actor)
{
    CHECK(actor->loop == NULL);
    actor->is_stopping = true;
}

void actor_set_trace(bool is_on)
{
    is_tracing = is_on;
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static void on_wake(void *context)
{
    struct actor *actor = context;
    uint32_t count = 0;
    struct msg *list = port_detach(&actor->port, &count);
    note_depth(actor, count);
    admit(actor, list);
    run(actor);
}

static void on_port_left(void *context)
{
    struct actor *actor = context;
    actor->on_left(actor);
}

/* One turn. What is left over waits for the next wake, behind the sockets. */
static void run(struct actor *actor)
{
    uint64_t now_us = clock_mono_us();
    for (uint32_t i = 0; i < DISPATCH_MAX && !actor->port.is_closed; i++) {
        struct msg *msg = next_ready(actor);
        if (msg == NULL) {
            break;
        }
        now_us = dispatch(actor, msg, now_us);
    }
    if (actor->port.is_closed) {
        return;
    }
    if (actor->on_drained != NULL) {
        actor->on_drained(actor);
    }
    if (actor->loop != NULL && has_ready(actor)) {
        port_nudge(&actor->port);
    }
}

static void note_depth(const struct actor *actor, uint32_t count)
{
    metric_actor_set(METRIC_PORT_DEPTH, actor->metrics, 0, count);
    metric_actor_mark(METRIC_PORT_DEEPEST, actor->metrics, 0, count);
}

static struct msg *next_ready(struct actor *actor)
{
    struct msg *msg = actor->is_held ? NULL : queue_pop(&actor->held);
    return msg != NULL ? msg : queue_pop(&actor->backlog);
}

static bool has_ready(const struct actor *actor)
{
    return actor->backlog.first != NULL || (!actor->is_held && actor->held.first != NULL);
}

/* Returns the time when the handler ended: one reading of the clock per message. */
static uint64_t dispatch(struct actor *actor, struct msg *msg, uint64_t begun_us)
{
    const enum msg_kind kind = (enum msg_kind)msg->kind;
    CHECK(msg->magic == MAGIC_TAKEN);
    CHECK(msg->at == actor);
    CHECK_IF(msg->returning, msg->home == actor);
    actor->handle(actor, msg);
    const uint64_t now_us = clock_mono_us();
    actor->handled++;
    actor->handled_us += now_us - begun_us;
    metric_actor_observe(METRIC_HANDLER_TIME, actor->metrics, now_us - begun_us);
    if (actor->loop != NULL && now_us > begun_us + SLOW_US) { /* a bare thread may wait for disks */
        note_slow(actor, kind, now_us - begun_us, now_us);
    }
    return now_us;
}

static void note_slow(struct actor *actor, enum msg_kind kind, uint64_t took_us, uint64_t now_us)
{
    metric_actor_add(METRIC_HANDLER_SLOW, actor->metrics, 0, 1);
    if (actor->slow_said_us != 0 && now_us < actor->slow_said_us + SLOW_SAY_US) {
        return;
    }
    actor->slow_said_us = now_us;
    LOG_WARN("actor.slow", LOG_STR("actor", actor->name), LOG_STR("kind", msg_kind_name(kind)),
             LOG_U64("took_us", took_us));
}

static void admit(struct actor *actor, struct msg *list)
{
    while (list != NULL) {
        struct msg *msg = list;
        list = msg->next;
        msg->next = NULL;
        const bool is_aside = actor->is_held && !msg->returning;
        queue_add(is_aside ? &actor->held : &actor->backlog, msg);
    }
}

static void set_new_aside(struct actor *actor)
{
    struct msg *list = actor->backlog.first;
    actor->backlog = (struct msg_queue){.first = NULL};
    admit(actor, list);
}

static void queue_add(struct msg_queue *queue, struct msg *msg)
{
    if (queue->first == NULL) {
        queue->first = msg;
    } else {
        queue->last->next = msg;
    }
    queue->last = msg;
    queue->count++;
}

static struct msg *queue_pop(struct msg_queue *queue)
{
    struct msg *msg = queue->first;
    if (msg != NULL) {
        queue->first = msg->next;
        queue->count--;
        msg->next = NULL;
    }
    return msg;
}

/* ---- pools ---------------------------------------------------------------------------------- */

_Static_assert((int)LABEL_POOL_COUNT == (int)MSG_POOL_COUNT, "a label for each pool");

static void pool_init(struct msg_pool *pool, uint32_t count, uint32_t metrics, uint32_t label)
{
    *pool =
        (struct msg_pool){.count = count, .free_count = count, .metrics = metrics, .label = label};
    if (count > 0) {
        pool->block = mem_zalloc(count * sizeof(struct msg));
    }
    metric_actor_set(METRIC_POOL_SIZE, metrics, label, count);
    pool_counted(pool);
}

static void pool_counted(const struct msg_pool *pool)
{
    metric_actor_set(METRIC_POOL_FREE, pool->metrics, pool->label, pool->free_count);
    metric_actor_mark(METRIC_POOL_LOWEST, pool->metrics, pool->label, pool->free_count);
}

static void pool_fini(struct msg_pool *pool)
{
    CHECK(pool->free_count == pool->count);
    for (uint32_t i = 0; i < pool->made_count; i++) {
        UNPOISON(&pool->block[i].body, sizeof(pool->block[i].body));
        arena_fini(&pool->block[i].arena);
    }
    metric_actor_set(METRIC_POOL_FREE, pool->metrics, pool->label, 0);
    metric_actor_set(METRIC_POOL_SIZE, pool->metrics, pool->label, 0);
    free(pool->block);
    *pool = (struct msg_pool){.block = NULL};
}

static struct msg *pool_pop(struct msg_pool *pool)
{
    struct msg *msg = NULL;
    if (pool->free_count == 0) {
        return NULL;
    }
    if (pool->warm != NULL) {
        msg = pool->warm;
        pool->warm = msg->next;
        pool->warm_count--;
    } else if (pool->cold != NULL) {
        msg = pool->cold;
        pool->cold = msg->next;
    } else {
        CHECK(pool->made_count < pool->count);
        msg = &pool->block[pool->made_count++];
        arena_init(&msg->arena, MSG_ARENA_CHUNK, MSG_ARENA_MAX);
    }
    pool->free_count--;
    pool_counted(pool);
    return msg;
}

/* Keeps a chunk for the messages used most; a burst gives its memory back. An arena that was moved
 * in from elsewhere is never kept, whatever its sizes. */
static void pool_push(struct msg_pool *pool, struct msg *msg)
{
    CHECK(pool->free_count < pool->count);
    const bool is_ours = msg->arena.chunk_bytes == MSG_ARENA_CHUNK;
    if (is_ours && pool->warm_count < POOL_WARM_MAX) {
        arena_clear(&msg->arena);
        msg->arena.is_secret = false;
        msg->arena.max_bytes = MSG_ARENA_MAX;
    } else {
        arena_fini(&msg->arena);
        arena_init(&msg->arena, MSG_ARENA_CHUNK, MSG_ARENA_MAX);
    }
    const bool is_warm = msg->arena.chunks != NULL;
    struct msg **list = is_warm ? &pool->warm : &pool->cold;
    msg->next = *list;
    *list = msg;
    pool->warm_count += is_warm ? 1 : 0;
    pool->free_count++;
    pool_counted(pool);
    POISON(&msg->body, sizeof(msg->body));
}

/* Their arenas hold password hashes, coming or going, or the passphrase of a file. */
static bool kind_is_secret(enum msg_kind kind)
{
    return kind == MSG_SHARD_SIGNUP || kind == MSG_SHARD_LOGIN || kind == MSG_KEEPER_JOB;
}

/* The committer's bare thread is not known by a loop; its messages are watched by `at` alone. */
static void check_affinity(const struct actor *actor)
{
    if (actor->loop != NULL) {
        CHECK_LOOP(actor->loop);
    }
}

static void trace(const char *event, const struct msg *msg, const struct actor *from,
                  const struct actor *to)
{
    const uint64_t now_us = clock_mono_us();
    const uint64_t age_us = msg->posted_us != 0 ? now_us - msg->posted_us : 0;
    LOG_INFO(event, LOG_STR("from", from->name), LOG_STR("to", to->name),
             LOG_STR("kind", msg_kind_name((enum msg_kind)msg->kind)),
             LOG_U64("bytes", msg->arena.used_bytes), LOG_U64("age_us", age_us), LOG_ERR(msg->err));
}
