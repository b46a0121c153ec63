/* Far more clients than the daemon will serve at once, on a slow disk, with slow receivers: memory
 * stays under a sum of limits.h, the excess is told so at once, and nobody has to restart anything.
 *
 * Not covered here: a client that is slow on purpose (tests/unit/net/test_conn.c), precise
 * latencies (bench/run), a disk that is full (test_disk.c).
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/limits.h"
#include "support/ledger.h"
#include "support/load.h"
#include "support/world.h"

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

/* One loop's pool must be too small for all of them. */
#define LOOPS (IS_SANITIZED ? 1 : 2)
#define CONNS (IS_SANITIZED ? 2000 : 10000)

#define SOURCES     4
#define ACCOUNTS    3
#define TEXT_BYTES  5120
#define LOAD_MS     5000
#define ALL_OPEN_MS 30000
#define COMMIT_MS   200 /* a slow disk: each sync */
#define DELIVERY_MS 100 /* slow receivers: each attempt */
#define ATTEMPTS    1000
#define DELIVER_MS  120000
/* A refusal waits for no disk and no message, only for its turn on a machine that is busy with the
 * load itself; bench/run tells the true numbers. */
#define REFUSED_MEAN_MS 5000
#define REFUSED_MAX_MS  15000
#define FILES           (CONNS + 200)

/* What the sum below allows for one of each, above what a daemon at rest uses.
 *
 * A connection: a session, its codec and the request that it is sending; a refused one drops it
 * before the body is kept. A message: the request's arena (header block, body, the JSON tree at 300
 * bytes a value), the composed mail, and its rows in a batch and in RocksDB's copy of that. An
 * attempt: the claimed headers, a chunk in flight, the connection and its transcript. */
#define CONN_BYTES    (16 * KIB)
#define MSG_BYTES     (HTTP_HEADER_MAX + 2 * MSG_ARENA_CHUNK + 6 * TEXT_BYTES)
#define ATTEMPT_BYTES (4 * MSG_ARENA_CHUNK + 4 * TEXT_BYTES + 2 * SMTP_TRANSCRIPT_MAX)
#define STORE_BYTES   (UINT64_C(144) * MIB) /* memtables and block cache, main.c */
#define ENTRY_BYTES   128                   /* of the schedule; limits.h says 100 */

struct scene {
    struct world *world;
    struct mailing mailings[ACCOUNTS];
    struct load *load;
    const char *sink_log;
    uint64_t idle_bytes;
};

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

static void raise_file_limit(void)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < FILES) {
        cr_skip_test("PRESSURE IS NOT TESTED: %d files are needed, the limit is %" PRIu64
                     "; raise it (ulimit -Hn)",
                     FILES, (uint64_t)limit.rlim_max);
    }
}

static uint64_t read_status(struct world *world, const char *name)
{
    const char *path = world_text(world, "/proc/%d/status", (int)world->daemon);
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file);
    char line[256];
    uint64_t kib = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        struct slice value = slice_str(line);
        if (slice_equal(slice_cut(&value, ':'), slice_str(name))) {
            value = slice_trim(value);
            cr_assert_eq(slice_u64(slice_cut(&value, ' '), &kib), ERR_OK);
        }
    }
    fclose(file);
    cr_assert_gt(kib, 0, "no %s in %s", name, path);
    return kib * KIB;
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
                 "press.test");
    scene->mailings[index].text_bytes = TEXT_BYTES;
    world->key = first_key != NULL ? first_key : world->key;
}

static void scene_init(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    scene->sink_log = world_text(world, "%s/sink.log", world->dir);
    const char *arguments[] = {"--log", scene->sink_log, "--quiet", NULL};
    (void)world_sink(world, "127.0.0.1", arguments); /* the only one: found by smtp_port */
    world_dns(world, "host-record=%s,127.0.0.1\nmx-host=press.test,%s,10\n", WORLD_HOST,
              WORLD_HOST);
    world_set(world, "log_level", "info");
    world_set(world, "loops", "%d", LOOPS);
    world_start(world);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        open_account(scene, i);
    }
    world_stop(world);
    world_set(world, "test_commit_delay_ms", "%d", COMMIT_MS);
    world_set(world, "test_delivery_delay_ms", "%d", DELIVERY_MS);
    world_set(world, "delivery_max", "%d", ATTEMPTS);
    world_set(world, "site_max", "%d", ATTEMPTS);
    world_start(world);
    scene->idle_bytes = read_status(world, "VmRSS");
    scene->load = load_new(&(struct load_options){.conn_count = CONNS,
                                                  .source_count = SOURCES,
                                                  .rest_ms = 1000, /* what Retry-After says */
                                                  .ask = ask_one,
                                                  .answer = take_one,
                                                  .context = scene});
    load_connect(scene->load, world->http_port);
}

static void scene_fini(struct scene *scene)
{
    world_end(scene->world);
    load_free(scene->load);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        mailing_fini(&scene->mailings[i]);
    }
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void check_answers(struct scene *scene)
{
    uint64_t accepted = 0;
    uint64_t busy = 0;
    uint64_t slowest_us = 0;
    uint64_t sum_us = 0;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        const struct mailing *mailing = &scene->mailings[i];
        cr_assert_eq(mailing->strange, 0, "only 202, and 503 with a retry-after");
        cr_assert_eq(mailing->storage + mailing->draining, 0);
        accepted += mailing->accepted;
        busy += mailing->busy;
        sum_us += mailing->busy_us_sum;
        slowest_us = mailing->busy_us_max > slowest_us ? mailing->busy_us_max : slowest_us;
    }
    cr_assert_gt(accepted, EDGE_POOL_MSGS * LOOPS, "pressure stops the work");
    cr_assert_gt(busy, 100, "there is no pressure");
    printf("%" PRIu64 " accepted, %" PRIu64 " refused: mean %.1f ms, slowest %.1f ms; %" PRIu64
           " connections cut\n",
           accepted, busy, (double)sum_us / (double)busy / 1e3, (double)slowest_us / 1e3,
           load_counts(scene->load)->broken);
    cr_assert_lt(sum_us / busy, REFUSED_MEAN_MS * 1000);
    cr_assert_lt(slowest_us, REFUSED_MAX_MS * 1000);
    cr_assert_eq(load_counts(scene->load)->broken, 0, "a request without an answer");
}

static void check_memory(struct scene *scene)
{
    uint64_t peak = read_status(scene->world, "VmHWM");
    uint64_t accepted = 0;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        accepted += scene->mailings[i].accepted;
    }
    uint64_t ceiling = scene->idle_bytes + CONNS * CONN_BYTES + LOOPS * EDGE_POOL_MSGS * MSG_BYTES +
                       ATTEMPTS * ATTEMPT_BYTES + STORE_BYTES + accepted * ENTRY_BYTES;
    printf("resident: idle %" PRIu64 " MiB, peak %" PRIu64 " MiB, ceiling %" PRIu64 " MiB\n",
           scene->idle_bytes / MIB, peak / MIB, ceiling / MIB);
    if (!IS_SANITIZED) { /* shadow memory and red zones are nobody's ceiling */
        cr_assert_lt(peak, ceiling);
    }
}

static void check_recovery(struct scene *scene)
{
    struct world *world = scene->world;
    const struct reply *reply = world_post(world, "/v1/send",
                                           "{'from':'robot@from0.test','to':'n%u@press.test',"
                                           "'subject':'after','text':'the storm'}",
                                           (unsigned)LEDGER_MAX - 1);
    cr_assert_eq(reply->status, 202, "%ld %.*s", reply->status, SLICE_FMT(reply->body));
    struct ledger ledger;
    ledger_init(&ledger, world);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        ledger_add(&ledger, &scene->mailings[i]);
    }
    ledger_await(&ledger, DELIVER_MS);
    ledger_read_sink(&ledger, scene->sink_log);
    ledger_judge(&ledger);
    cr_assert_eq(ledger.twice, 0, "nothing stopped, so nothing is uncertain");
    ledger_fini(&ledger);
}

/* ---- the test -------------------------------------------------------------------------------- */

Test(pressure, ten_thousand_clients_are_served_or_refused_at_once, .timeout = 300)
{
    struct scene scene;
    raise_file_limit();
    scene_init(&scene);
    cr_assert(load_open(scene.load, ALL_OPEN_MS), "%" PRIu64 " connections, %" PRIu64 " refused",
              load_counts(scene.load)->open, load_counts(scene.load)->refused);
    load_run(scene.load, LOAD_MS, 0);
    load_finish(scene.load, WORLD_WAIT_MS);
    check_answers(&scene);
    check_memory(&scene);
    check_recovery(&scene);
    scene_fini(&scene);
}
