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
#include "base/limits.h"
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
#define READ_CONNS    8
#define NUMBERS_MAX   200000

/* A mail as the daemon and the sink tell of it. */
struct fate {
    const struct mailing_entry *entry; /* NULL: not acknowledged */
    const char *key;
    uint32_t excuses; /* attempts that may have delivered without anybody knowing */
    uint32_t arrivals;
    char message_id[80]; /* of the first arrival */
    bool is_found;
    bool is_delivered;
};

struct scene {
    struct world *world;
    struct mailing mailings[ACCOUNTS];
    struct load *load;
    const char *sink_log;
    struct fate *fates; /* by number */
    uint64_t *pending;  /* numbers whose messages are to be read */
    uint64_t pending_count;
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
    free(scene->fates);
    free(scene->pending);
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

static void list_fates(struct scene *scene)
{
    scene->fates = calloc(NUMBERS_MAX, sizeof *scene->fates);
    scene->pending = calloc(NUMBERS_MAX, sizeof *scene->pending);
    cr_assert(scene->fates != NULL && scene->pending != NULL);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        for (uint64_t n = 0; n < scene->mailings[i].accepted; n++) {
            const struct mailing_entry *entry = mailing_at(&scene->mailings[i], n);
            cr_assert_lt(entry->number, NUMBERS_MAX);
            struct fate *fate = &scene->fates[entry->number];
            cr_assert_null(fate->entry, "two answers to one request");
            fate->entry = entry;
            fate->key = scene->mailings[i].key;
            scene->pending[scene->pending_count++] = entry->number;
        }
    }
}

static bool ask_message(void *context, uint64_t number, struct buf *out)
{
    const struct scene *scene = context;
    if (number >= scene->pending_count) {
        return false;
    }
    const struct fate *fate = &scene->fates[scene->pending[number]];
    buf_add_format(out,
                   "GET /api/messages/%s HTTP/1.1\r\nhost: localhost\r\n"
                   "authorization: Bearer %s\r\n\r\n",
                   fate->entry->id, fate->key);
    return true;
}

/* A try whose end is not known, or that says of itself that the mail may have arrived. */
static bool is_excuse(const json_t *attempt)
{
    const char *outcome = json_string_value(json_object_get(attempt, "outcome"));
    const char *response = json_string_value(json_object_get(attempt, "response"));
    cr_assert_not_null(outcome);
    return strcmp(outcome, "uncertain") == 0 ||
           (strcmp(outcome, "deferred") == 0 && response != NULL &&
            strstr(response, "may have been delivered") != NULL);
}

static void take_message(void *context, const struct load_answer *answer)
{
    struct scene *scene = context;
    struct fate *fate = &scene->fates[scene->pending[answer->number]];
    if (answer->status == 503) {
        return; /* asked again */
    }
    cr_assert_eq(answer->status, 200, "%s was acknowledged and is gone: %u %.*s", fate->entry->id,
                 (unsigned)answer->status, SLICE_FMT(answer->body));
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    const json_t *message = json_object_get(json, "message");
    const json_t *delivery = json_array_get(json_object_get(json, "deliveries"), 0);
    const char *status = json_string_value(json_object_get(message, "send_status"));
    cr_assert(status != NULL && delivery != NULL, "%.*s", SLICE_FMT(answer->body));
    fate->is_found = true;
    fate->is_delivered = strcmp(status, "delivered") == 0;
    fate->excuses = 0;
    size_t index;
    json_t *attempt;
    json_array_foreach(json_object_get(delivery, "log"), index, attempt)
    {
        fate->excuses += is_excuse(attempt);
    }
    json_decref(json);
}

/* Reads every message that is not known to be delivered, once. */
static void read_pending(struct scene *scene)
{
    struct load *load = load_new(&(struct load_options){
        .conn_count = READ_CONNS, .ask = ask_message, .answer = take_message, .context = scene});
    load_connect(load, scene->world->http_port);
    load_run(load, DRAIN_MS, 0);
    cr_assert_eq(load_counts(load)->answered, scene->pending_count);
    load_free(load);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < scene->pending_count; i++) {
        if (!scene->fates[scene->pending[i]].is_delivered) {
            scene->pending[kept++] = scene->pending[i];
        }
    }
    scene->pending_count = kept;
}

static long long metric(struct world *world, const char *name)
{
    const struct reply *reply = world_get(world, "/metrics");
    size_t at = slice_find(reply->body, slice_str(world_text(world, "\n%s ", name)));
    cr_assert_neq(at, SIZE_MAX, "there is no metric %s", name);
    struct slice rest = slice_from(reply->body, at + strlen(name) + 2);
    return strtoll(slice_cut(&rest, '\n').data, NULL, 10);
}

static void await_deliveries(struct scene *scene)
{
    struct wait wait = wait_start(DRAIN_MS);
    do {
        while (metric(scene->world, "meerkat_schedule_entries") > 0 && wait_more(&wait)) {
        }
        read_pending(scene);
    } while (scene->pending_count > 0 && wait_more(&wait));
    if (scene->pending_count > 0) {
        const struct fate *fate = &scene->fates[scene->pending[0]];
        world_fail(scene->world, "%" PRIu64 " acknowledged mails are not delivered, first %s: %.*s",
                   scene->pending_count, fate->entry->id,
                   SLICE_FMT(world_call(scene->world,
                                        &(struct world_call){.method = "GET",
                                                             .path = world_text(scene->world,
                                                                                "/api/messages/%s",
                                                                                fate->entry->id),
                                                             .bearer = fate->key})
                                 ->body));
    }
}

/* One line a mail: milliseconds, Message-ID, sender, recipient, bytes; tabs between. */
static void read_sink_log(struct scene *scene)
{
    struct slice rest = world_read_file(scene->world, scene->sink_log);
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        (void)slice_cut(&line, '\t'); /* the time, and below the sender */
        struct slice message_id = slice_cut(&line, '\t');
        (void)slice_cut(&line, '\t');
        struct slice local = slice_from(slice_cut(&line, '@'), 1);
        uint64_t number = 0;
        cr_assert_eq(slice_uint(local, NUMBERS_MAX - 1, &number), ERR_OK, "%.*s", SLICE_FMT(local));
        struct fate *fate = &scene->fates[number];
        if (fate->arrivals == 0) {
            snprintf(fate->message_id, sizeof fate->message_id, "%.*s", SLICE_FMT(message_id));
        }
        cr_assert(slice_equal(message_id, slice_str(fate->message_id)),
                  "n%" PRIu64 " came under two Message-IDs", number);
        fate->arrivals += 1;
    }
}

static void judge(struct scene *scene)
{
    uint64_t twice = 0;
    uint64_t uncertain = 0;
    uint64_t unasked = 0;
    for (uint64_t i = 0; i < NUMBERS_MAX; i++) {
        const struct fate *fate = &scene->fates[i];
        if (fate->entry == NULL) {
            unasked += fate->arrivals; /* stored, but the daemon died before it could say so */
            continue;
        }
        cr_assert_geq(fate->arrivals, 1, "%s is said to be delivered; it never arrived",
                      fate->entry->id);
        cr_assert_leq(fate->arrivals, 1 + fate->excuses,
                      "%s arrived %u times with %u attempts of unknown outcome in its log",
                      fate->entry->id, (unsigned)fate->arrivals, (unsigned)fate->excuses);
        twice += fate->arrivals > 1;
        uncertain += fate->excuses;
    }
    printf("twice %" PRIu64 ", attempts of unknown outcome %" PRIu64
           ", delivered without an answer %" PRIu64 "\n",
           twice, uncertain, unasked);
}

/* Every acknowledged mail is there, arrived, and came twice only with a reason. */
static void check_all(struct scene *scene)
{
    list_fates(scene);
    await_deliveries(scene);
    read_sink_log(scene);
    judge(scene);
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
    }
    uint64_t rounds_ms = clock_mono_ms() - began_ms;
    world_start(world);
    uint64_t count = acknowledged(scene);
    cr_assert_gt(count, 20 * ROUNDS, "the load is too weak to prove anything");
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

Test(crash, sigterm_under_load_answers_what_it_took_and_ends_clean, .timeout = 120)
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
