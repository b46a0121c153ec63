/* Sudden and ordered death under load: what was acknowledged is there, was delivered, and came
 * twice only where the log of its delivery owns up to it.
 *
 * Not covered here: a disk that lies about a sync (kill -9 leaves the page cache alone; that a sync
 * comes before every answer is tests/unit/shards/test_commit.c), a full disk (test_disk.c), a
 * receiver that dies during delivery.
 *
 * The seed is printed; MEERKAT_SEED=n repeats its choices, though not the timing.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "support/ledger.h"
#include "support/load.h"
#include "support/world.h"

#define ROUNDS        50
#define ACCOUNTS      3 /* of different shards, most likely */
#define CONNS         8
#define ROUND_MS      500 /* the longest life of a daemon, from its first request on */
#define ROUND_ANSWERS 300
#define YOUNG_EVERY   5 /* rounds; then a daemon is killed before, or just when, it is ready */
#define YOUNG_MS      80
#define LAST_WORDS_MS 2000 /* to read what the dead daemon had sent */
#define DRAIN_MS      90000

struct scene {
    struct world *world;
    struct mailing mailings[ACCOUNTS];
    struct load *load;
    const char *sink_log;
    uint64_t seed;
};

/* ---- chance ---------------------------------------------------------------------------------- */

/* splitmix64: good enough for choosing moments, and the same everywhere. */
static uint64_t next_random(struct scene *scene, uint64_t below)
{
    scene->seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = scene->seed;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (mixed ^ (mixed >> 31)) % below;
}

static uint64_t choose_seed(void)
{
    const char *given = getenv("MEERKAT_SEED");
    uint64_t seed = clock_unix_ms();
    if (given != NULL) {
        cr_assert_eq(slice_u64(slice_str(given), &seed), ERR_OK, "MEERKAT_SEED is a number");
    }
    printf("MEERKAT_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* ---- the scene ------------------------------------------------------------------------------- */

static bool ask_one(void *context, uint64_t number, struct buf *out)
{
    struct scene *scene = context;
    return mailing_ask(&scene->mailings[number % ACCOUNTS], number, out);
}

static void take_one(void *context, const struct load_answer *answer)
{
    struct scene *scene = context;
    mailing_answer(&scene->mailings[answer->number % ACCOUNTS], answer);
}

static void open_account(struct scene *scene, uint32_t index)
{
    struct world *world = scene->world;
    const char *domain = world_text(world, "from%u.test", (unsigned)index);
    const char *first_key = world->key;
    struct reply *made = world_signup(world, world_text(world, "%u@customer.test", index));
    world->key = reply_text(made, "apiKey");
    (void)world_domain(world, domain); /* its id is not needed */
    mailing_init(&scene->mailings[index], world->key, world_text(world, "robot@%s", domain),
                 "crash.test");
    world->key = first_key != NULL ? first_key : world->key;
}

static struct scene *scene_new(void)
{
    struct scene *scene = calloc(1, sizeof *scene);
    cr_assert_not_null(scene);
    scene->seed = choose_seed();
    scene->world = world_new();
    struct world *world = scene->world;
    scene->sink_log = world_text(world, "%s/sink.log", world->dir);
    const char *arguments[] = {"--log", scene->sink_log, "--quiet", NULL};
    (void)world_sink(world, "127.0.0.1", arguments); /* the only one: found by smtp_port */
    world_dns(world, "host-record=%s,127.0.0.1\nmx-host=crash.test,%s,10\n", WORLD_HOST,
              WORLD_HOST);
    world_set(world, "log_level", "info");
    world_start(world);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        open_account(scene, i);
    }
    scene->load = load_new(&(struct load_options){
        .conn_count = CONNS, .rest_ms = 20, .ask = ask_one, .answer = take_one, .context = scene});
    return scene;
}

static void scene_end(struct scene *scene)
{
    world_end(scene->world);
    load_free(scene->load);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        mailing_fini(&scene->mailings[i]);
    }
    free(scene);
}

/* ---- what became of the mails ---------------------------------------------------------------- */

static uint64_t acknowledged(const struct scene *scene)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        sum += scene->mailings[i].accepted;
        cr_assert_eq(scene->mailings[i].strange, 0, "an answer that is neither 202 nor 503");
    }
    return sum;
}

/* Every acknowledged mail is there, arrived, and came twice only with a reason. */
static void check_all(struct scene *scene)
{
    struct ledger ledger;
    ledger_init(&ledger, scene->world);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        ledger_add(&ledger, &scene->mailings[i]);
    }
    ledger_await(&ledger, DRAIN_MS);
    ledger_read_sink(&ledger, scene->sink_log);
    ledger_judge(&ledger);
    printf("twice %" PRIu64 ", attempts of unknown outcome %" PRIu64
           ", delivered without an answer %" PRIu64 "\n",
           ledger.twice, ledger.excuses, ledger.unasked);
    ledger_fini(&ledger);
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* While it reads the log back, replays the outbox, or opens its port. */
static void kill_young(struct scene *scene)
{
    world_launch(scene->world);
    struct wait wait = wait_start(next_random(scene, YOUNG_MS));
    while (wait_more(&wait)) {
    }
    world_kill(scene->world);
}

Test(crash, loses_nothing_acknowledged_in_fifty_kills, .timeout = 300)
{
    struct scene *scene = scene_new();
    struct world *world = scene->world;
    uint64_t began_ms = clock_mono_ms();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (round % YOUNG_EVERY == YOUNG_EVERY - 1) {
            kill_young(scene);
            world_verify(world);
            continue;
        }
        if (world->daemon == 0) {
            world_start(world);
        }
        load_connect(scene->load, world->http_port);
        load_run(scene->load, 1 + next_random(scene, ROUND_MS),
                 1 + next_random(scene, ROUND_ANSWERS));
        world_kill(world);
        load_finish(scene->load, LAST_WORDS_MS);
        world_verify(world);
    }
    uint64_t rounds_ms = clock_mono_ms() - began_ms;
    world_start(world);
    uint64_t count = acknowledged(scene);
    cr_assert_gt(count, 5 * ROUNDS, "the load is too weak to prove anything");
    check_all(scene);
    printf("%u kills in %" PRIu64 " ms, %" PRIu64 " mails acknowledged, %" PRIu64
           " requests cut off, all delivered after %" PRIu64 " ms\n",
           ROUNDS, rounds_ms, count, load_counts(scene->load)->broken, clock_mono_ms() - began_ms);
    scene_end(scene);
}

/* Without another signal: a second SIGTERM means at once. */
static int await_exit(struct world *world)
{
    int status = 0;
    struct wait wait = wait_start(2 * WORLD_WAIT_MS);
    while (waitpid(world->daemon, &status, WNOHANG) == 0) {
        cr_assert(wait_more(&wait), "the daemon does not end");
    }
    world->daemon = 0;
    return status;
}

Test(crash, sigterm_under_load_answers_what_it_took_and_ends_clean, .timeout = 300)
{
    struct scene *scene = scene_new();
    struct world *world = scene->world;
    load_connect(scene->load, world->http_port);
    load_run(scene->load, WORLD_WAIT_MS, 300);
    cr_assert_eq(kill(world->daemon, SIGTERM), 0);
    load_run(scene->load, 50, 0); /* goes on against the closing door */
    load_finish(scene->load, WORLD_WAIT_MS);
    cr_assert_eq(await_exit(world), 0);
    cr_assert_neq(slice_find(world_log(world), SLICE("\"event\":\"main.stopped\",\"clean\":true")),
                  SIZE_MAX);
    cr_assert_geq(acknowledged(scene), 300);
    world_start(world);
    check_all(scene);
    scene_end(scene);
}
