/* What the schedule and its sites make of servers of all tempers, in a minute of fake time.
 *
 * Trips are played here: a claim takes a moment, a connection of the site must be free, the server
 * takes its time and answers after its profile, the outcome takes a moment; what is put off comes
 * back ten seconds later. Beside each server there is a healthy one that another account sends to.
 *
 * Not covered here: sockets and messages (test_trip), the rules one by one (test_site, test_sched).
 */
#include "base/heap.h"
#include "deliver/sched.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define BEGIN_MS   UINT64_C(1000000)
#define MINUTE_MS  UINT64_C(60000)
#define COMMIT_MS  5
#define RETRY_MS   10000
#define TRIPS_MAX  500
#define MAILS_MAX  40000
#define GOOD_MS    20
#define GOOD_MAILS 2000

struct server {
    const char *name;
    uint64_t takes_ms; /* an answer */
    uint32_t rate_max; /* mails a minute that it takes, from a bucket of `burst`; 0: no limit */
    uint32_t burst;
    uint32_t conns_max; /* 0: no limit */
    bool is_greylisting;
    bool is_blocking;
    /* state */
    double tokens;
    uint64_t tokens_ms;
    uint32_t conns;
    uint32_t asked;
    uint32_t refused;
    uint32_t taken;
    uint32_t taken_late; /* in the second half of the minute */
    uint64_t last_ms;    /* of those taken */
};

enum step { STEP_CLAIMED, STEP_ANSWERED, STEP_STORED };

struct play {
    struct heap_node at;
    struct link queue;
    enum step step;
    struct sched_entry *entry;
    struct site *site;
    struct server *server;
    bool is_taken;
};

struct world {
    struct site_table *sites;
    struct sched sched;
    struct heap events;
    struct server *servers[2];
    uint64_t now_ms;
    uint32_t trips;
    uint8_t tries[MAILS_MAX];
};

static struct id mail_of(uint64_t account, uint64_t number)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    return id_make(&maker, (struct account_id){account}, number);
}

static void add(struct world *world, uint64_t account, uint64_t number, uint64_t due_ms)
{
    struct outbox_entry entry = {
        .due_unix_ms = due_ms,
        .account = {account},
        .mail = mail_of(account, number),
        .domain = account == 1 ? SLICE("odd.test") : SLICE("good.test"),
        .priority = PRIORITY_BULK,
    };
    cr_assert(sched_add(&world->sched, &entry, due_ms));
}

/* ---- the server ----------------------------------------------------------------------------- */

static bool has_token(struct server *server, uint64_t now_ms)
{
    server->tokens += (double)(now_ms - server->tokens_ms) * server->rate_max / 60000.0;
    server->tokens = server->tokens > server->burst ? server->burst : server->tokens;
    server->tokens_ms = now_ms;
    if (server->tokens < 1) {
        return false;
    }
    server->tokens -= 1;
    return true;
}

static enum feedback answer(struct world *world, struct server *server, uint64_t number)
{
    server->asked += 1;
    if (server->is_blocking) {
        return FEEDBACK_BLOCKED;
    }
    if (server->conns_max > 0 && server->conns > server->conns_max) {
        return FEEDBACK_CROWDED;
    }
    if (server->is_greylisting && world->tries[number]++ == 0) {
        return FEEDBACK_NONE;
    }
    if (server->rate_max > 0 && !has_token(server, world->now_ms)) {
        return FEEDBACK_THROTTLED;
    }
    return FEEDBACK_GOOD;
}

/* ---- trips ---------------------------------------------------------------------------------- */

static void later(struct world *world, struct play *play, enum step step, uint64_t delay_ms)
{
    play->step = step;
    play->at.key = world->now_ms + delay_ms;
    heap_add(&world->events, &play->at);
}

static void connect(struct world *world, struct play *play)
{
    if (play->site->busy >= play->site->limit) {
        list_push_back(&play->site->queue, &play->queue);
        return;
    }
    play->site->busy += 1;
    play->server->conns += 1;
    later(world, play, STEP_ANSWERED, play->server->takes_ms);
}

static void judge(struct world *world, struct play *play)
{
    struct server *server = play->server;
    enum feedback feedback = answer(world, server, id_unix_ms(play->entry->mail));
    play->is_taken = feedback == FEEDBACK_GOOD;
    if (play->is_taken) {
        server->taken += 1;
        server->taken_late += world->now_ms >= BEGIN_MS + MINUTE_MS / 2;
        server->last_ms = world->now_ms;
    } else {
        server->refused += 1;
    }
    server->conns -= 1;
    play->site->busy -= 1;
    site_feedback(play->site, feedback, "said so", world->now_ms);
    sched_site_changed(&world->sched, play->site);
    while (play->site->busy < play->site->limit && !list_is_empty(&play->site->queue)) {
        connect(world, CONTAINER_OF(list_pop_front(&play->site->queue), struct play, queue));
    }
    later(world, play, STEP_STORED, COMMIT_MS);
}

static void finish(struct world *world, struct play *play)
{
    struct sched_entry *entry = play->entry;
    if (!play->is_taken) {
        add(world, id_account(entry->mail).value, id_unix_ms(entry->mail),
            world->now_ms + RETRY_MS);
    }
    sched_done(&world->sched, entry, play->site);
    world->trips -= 1;
    free(play);
}

static void happen(struct world *world, struct play *play)
{
    switch (play->step) {
    case STEP_CLAIMED:
        connect(world, play);
        break;
    case STEP_ANSWERED:
        judge(world, play);
        break;
    case STEP_STORED:
        finish(world, play);
        break;
    }
}

static void start_trips(struct world *world)
{
    struct dest *dest;
    (void)sched_advance(&world->sched, world->now_ms, world->now_ms);
    while ((dest = sched_next_unknown(&world->sched)) != NULL) {
        sched_resolve(&world->sched, dest, dest_domain(dest), NULL, UINT64_MAX);
    }
    while (world->trips < TRIPS_MAX) {
        struct sched_entry *entry =
            sched_next(&world->sched, TRIPS_MAX - world->trips, world->now_ms);
        if (entry == NULL) {
            return;
        }
        struct play *play = calloc(1, sizeof *play);
        play->entry = entry;
        play->site = entry->dest->site;
        play->server = world->servers[id_account(entry->mail).value - 1];
        world->trips += 1;
        later(world, play, STEP_CLAIMED, COMMIT_MS);
    }
}

/* ---- a minute ------------------------------------------------------------------------------- */

static void run(struct world *world, uint64_t until_ms)
{
    while (world->now_ms < until_ms) {
        start_trips(world);
        struct heap_node *node = heap_first(&world->events);
        uint64_t next_ms = min_u64(world->now_ms + 100, sched_next_site_ms(&world->sched));
        next_ms = max_u64(next_ms, world->now_ms + 1);
        world->now_ms =
            node == NULL ? next_ms : min_u64(next_ms, max_u64(node->key, world->now_ms));
        while ((node = heap_first(&world->events)) != NULL && node->key <= world->now_ms) {
            heap_remove(&world->events, node);
            happen(world, CONTAINER_OF(node, struct play, at));
        }
    }
}

static struct world *world_new(struct server *odd, struct server *good, uint32_t mails)
{
    struct world *world = calloc(1, sizeof *world);
    world->now_ms = BEGIN_MS;
    world->sites = site_table_new(20);
    world->servers[0] = odd;
    world->servers[1] = good;
    odd->tokens = odd->burst;
    odd->tokens_ms = BEGIN_MS;
    sched_init(&world->sched, world->sites);
    heap_init(&world->events);
    for (uint32_t i = 1; i < mails; i++) {
        add(world, 1, i, BEGIN_MS);
    }
    for (uint32_t i = 1; i < GOOD_MAILS; i++) {
        add(world, 2, i, BEGIN_MS);
    }
    return world;
}

/* Nothing is lost: what was not taken is still there. */
static void world_end(struct world *world, uint32_t mails)
{
    struct heap_node *node;
    while ((node = heap_pop(&world->events)) != NULL) {
        happen(world, CONTAINER_OF(node, struct play, at));
    }
    cr_assert_eq(world->trips, 0);
    uint32_t taken = world->servers[0]->taken + world->servers[1]->taken;
    cr_assert_eq(taken + world->sched.count, mails - 1 + GOOD_MAILS - 1);
    sched_fini(&world->sched);
    site_table_free(world->sites);
    heap_fini(&world->events);
    free(world);
}

static void play_minute(struct server *odd, uint32_t mails)
{
    struct server good = {.name = "good", .takes_ms = GOOD_MS};
    struct world *world = world_new(odd, &good, mails);
    run(world, BEGIN_MS + MINUTE_MS);
    cr_expect_eq(good.taken, GOOD_MAILS - 1, "%s: the healthy one suffers", odd->name);
    cr_expect_lt(good.last_ms, BEGIN_MS + 5000, "%s: the healthy one waits", odd->name);
    world_end(world, mails);
}

/* ---- what must come of it ------------------------------------------------------------------- */

Test(converge, to_the_rate_that_a_server_allows)
{
    static const uint32_t rates[] = {60, 600, 6000};
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct server server = {.name = "rate", .takes_ms = 50};
        server.rate_max = rates[i];
        server.burst = rates[i] / 60 + 10;
        play_minute(&server, 30000);
        cr_expect_geq(server.taken_late, rates[i] / 2 * 6 / 10, "%u: %u", rates[i],
                      server.taken_late);
        cr_expect_leq(server.refused, 100 + server.asked / 4, "%u: it is asked too often: %u of %u",
                      rates[i], server.refused, server.asked);
    }
}

Test(converge, to_the_connections_that_a_server_allows)
{
    static const uint32_t caps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
        struct server server = {.name = "connections", .takes_ms = 100, .conns_max = caps[i]};
        uint32_t possible = (uint32_t)(caps[i] * (MINUTE_MS / 2) / server.takes_ms);
        play_minute(&server, 30000);
        cr_expect_geq(server.taken_late, possible * 7 / 10, "%u: %u of %u", caps[i],
                      server.taken_late, possible);
        cr_expect_leq(server.refused, server.asked / 10 + 10, "%u: %u of %u", caps[i],
                      server.refused, server.asked);
    }
}

Test(converge, to_all_connections_of_a_server_that_is_only_slow)
{
    struct server server = {.name = "tarpit", .takes_ms = 2000};
    play_minute(&server, 30000);
    uint32_t possible = 20 * 30 / 2; /* twenty connections, two seconds each */
    cr_assert_geq(server.taken_late, possible * 8 / 10, "%u", server.taken_late);
    cr_assert_eq(server.refused, 0);
}

Test(converge, to_full_speed_behind_greylisting)
{
    struct server server = {.name = "greylisting", .takes_ms = 50, .is_greylisting = true};
    play_minute(&server, 2000);
    cr_assert_eq(server.taken, 1999);
    cr_assert_eq(server.refused, 1999, "each is put off once, and nobody slows down for it");
}

Test(converge, to_silence_where_we_are_blocked)
{
    struct server server = {.name = "blocked", .takes_ms = 50, .is_blocking = true};
    play_minute(&server, 5000);
    cr_assert_eq(server.taken, 0);
    cr_assert_leq(server.asked, 20, "%u", server.asked);
}
