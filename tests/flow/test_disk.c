/* A disk that fills up: new mail is refused with 503 `storage`, what was acknowledged stays and is
 * delivered, and space that comes back is used without a restart.
 *
 * The disk is a tmpfs of a few dozen MiB, which needs the right to mount; without it the tests are
 * skipped, and say so.
 *
 * Not covered here: a disk that fails to sync, which ends the process by design
 * (tests/unit/shards/test_commit.c); inbound mail (its 452 is tests/flow/test_inbound.c).
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "support/ledger.h"
#include "support/load.h"
#include "support/world.h"

#define CONNS         8
#define TEXT_BYTES    40000
#define FILL_MS       60000
#define DELIVER_MS    60000
#define LAST_WORDS_MS 5000
#define SLOW_SINK     "slow:300:dot" /* so that a backlog stands when the disk is full */

struct disk_case {
    const char *name;
    uint64_t disk_mib;
    uint64_t ballast_mib; /* given back later */
    uint64_t reserve_mib;
};

struct scene {
    struct world *world;
    struct peer *sink;
    struct mailing mailing;
    struct load *load;
    const char *disk;
    const char *ballast;
    const char *sink_log;
};

/* ---- the disk -------------------------------------------------------------------------------- */

static void mount_disk(struct scene *scene, const struct disk_case *plan)
{
    struct world *world = scene->world;
    scene->disk = world_text(world, "%s/disk", world->dir);
    scene->ballast = world_text(world, "%s/ballast", scene->disk);
    const char *size = world_text(world, "size=%" PRIu64 "m,mode=0700", plan->disk_mib);
    cr_assert_eq(mkdir(scene->disk, 0700), 0);
    /* In a namespace of the test's own, so that the mount ends with it however it ends. */
    if (unshare(CLONE_NEWNS) == -1 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
        mount("tmpfs", scene->disk, "tmpfs", 0, size) == -1) {
        int reason = errno;
        world_end(world);
        cr_skip_test("THE FULL DISK IS NOT TESTED: cannot mount a tmpfs (%s); run as root",
                     strerror(reason));
    }
    int fd = open(scene->ballast, O_WRONLY | O_CREAT | O_EXCL, 0600);
    cr_assert_neq(fd, -1);
    if (plan->ballast_mib > 0) {
        cr_assert_eq(posix_fallocate(fd, 0, (off_t)(plan->ballast_mib * MIB)), 0);
    }
    cr_assert_eq(close(fd), 0);
    world_set(world, "data", "%s/data", scene->disk);
    world->data = world_text(world, "%s/data", scene->disk);
    world_set(world, "reserve_mb", "%" PRIu64, plan->reserve_mib);
}

static void scene_init(struct scene *scene, const struct disk_case *plan)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    mount_disk(scene, plan);
    world_set(world, "log_level", "info");
    scene->sink_log = world_text(world, "%s/sink.log", world->dir);
    const char *arguments[] = {"--log", scene->sink_log, "--quiet", "--profile", SLOW_SINK, NULL};
    scene->sink = world_sink(world, "127.0.0.1", arguments);
    world_dns(world, "host-record=%s,127.0.0.1\nmx-host=disk.test,%s,10\n", WORLD_HOST, WORLD_HOST);
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* the world keeps its key */
    (void)world_domain(world, "send.test");           /* its id is not needed */
    mailing_init(&scene->mailing, world->key, "robot@send.test", "disk.test");
    scene->mailing.text_bytes = TEXT_BYTES;
    scene->load = load_new(&(struct load_options){.conn_count = CONNS,
                                                  .rest_ms = 50,
                                                  .ask = mailing_ask,
                                                  .answer = mailing_answer,
                                                  .context = &scene->mailing});
    load_connect(scene->load, world->http_port);
}

static void scene_fini(struct scene *scene)
{
    struct world *world = scene->world;
    world_stop(world);
    load_free(scene->load);
    mailing_fini(&scene->mailing);
    cr_assert_eq(umount2(scene->disk, MNT_DETACH), 0);
    world_end(world);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void fill(struct scene *scene)
{
    struct wait wait = wait_start(FILL_MS);
    uint64_t refused_before = scene->mailing.storage;
    while (scene->mailing.storage < refused_before + 2 * CONNS && wait_more(&wait)) {
        load_run(scene->load, 200, 0);
    }
    cr_assert_geq(scene->mailing.storage, refused_before + 2 * CONNS, "the disk does not fill");
    cr_assert_eq(scene->mailing.strange, 0);
}

static void fill_by_others(const struct scene *scene)
{
    static const char zeros[4 * KIB];
    int fd = open(scene->ballast, O_WRONLY | O_APPEND);
    cr_assert_neq(fd, -1);
    while (write(fd, zeros, sizeof zeros) > 0) {
    }
    cr_assert_eq(errno, ENOSPC);
    cr_assert_eq(close(fd), 0);
}

static long try_send(struct world *world)
{
    const struct reply *reply = world_post(world, "/v1/send",
                                           "{'from':'robot@send.test','to':'n%u@disk.test',"
                                           "'subject':'again','text':'there is room'}",
                                           (unsigned)LEDGER_MAX - 1);
    cr_assert(reply->status == 202 || strcmp(reply_text(reply, "code"), "storage") == 0, "%ld %.*s",
              reply->status, SLICE_FMT(reply->body));
    cr_assert(reply->status == 202 || reply_header(reply, "retry-after").len > 0);
    return reply->status;
}

static void await_room(struct world *world)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (try_send(world) != 202) {
        cr_assert(wait_more(&wait), "there is room and mail is still refused");
    }
}

static void check_all(struct scene *scene)
{
    struct ledger ledger;
    ledger_init(&ledger, scene->world);
    ledger_add(&ledger, &scene->mailing);
    ledger_await(&ledger, DELIVER_MS);
    ledger_read_sink(&ledger, scene->sink_log);
    ledger_judge(&ledger);
    printf("%" PRIu64 " mails acknowledged, %" PRIu64 " refused, %" PRIu64 " came twice\n",
           scene->mailing.accepted, scene->mailing.storage, ledger.twice);
    ledger_fini(&ledger);
}

/* ---- the tests ------------------------------------------------------------------------------- */

Test(disk, a_full_one_refuses_keeps_delivers_and_accepts_again, .timeout = 240)
{
    /* Room enough in the reserve to write out a memtable and to record what delivery does. */
    static const struct disk_case plan = {"a sane reserve", 192, 48, 64};
    struct scene scene;
    scene_init(&scene, &plan);
    fill(&scene);
    cr_assert_gt(metric_of(scene.world, "meerkat_schedule_entries"), 0, "no backlog to deliver");
    load_finish(scene.load, LAST_WORDS_MS);

    world_sink_profile(scene.world, scene.sink, "");
    check_all(&scene); /* delivered while the disk is full */
    cr_assert_eq(try_send(scene.world), 503);
    cr_assert_eq(world_get(scene.world, "/api/health")->status, 200);

    cr_assert_eq(unlink(scene.ballast), 0);
    await_room(scene.world);
    scene_fini(&scene);
}

Test(disk, a_full_one_survives_a_kill, .timeout = 240)
{
    static const struct disk_case plan = {"a kill", 192, 48, 64};
    struct scene scene;
    scene_init(&scene, &plan);
    fill(&scene);
    world_kill(scene.world);
    load_finish(scene.load, LAST_WORDS_MS);
    world_start(scene.world); /* reads the log back into tables: they need the reserve */
    load_connect(scene.load, scene.world->http_port);
    fill(&scene); /* tables are smaller than the log they came from */
    load_finish(scene.load, LAST_WORDS_MS);
    world_sink_profile(scene.world, scene.sink, "");
    check_all(&scene);
    cr_assert_eq(unlink(scene.ballast), 0);
    await_room(scene.world);
    scene_fini(&scene);
}

Test(disk, one_filled_to_the_last_byte_by_others_loses_nothing, .timeout = 240)
{
    /* The reserve is Meerkat's promise to itself; another program has made none. */
    static const struct disk_case plan = {"a greedy neighbour", 192, 0, 8};
    struct scene scene;
    scene_init(&scene, &plan);
    load_run(scene.load, FILL_MS, 500); /* tables have been written and more must be */
    fill_by_others(&scene);
    load_run(scene.load, 300, 0); /* in the middle of it */
    load_finish(scene.load, LAST_WORDS_MS);
    cr_assert_eq(try_send(scene.world), 503);
    /* No try begins that could not be written down; reading goes on. */
    cr_assert_eq(world_get(scene.world, "/api/messages?limit=1")->status, 200);
    cr_assert_eq(world_get(scene.world, "/api/health")->status, 200);

    cr_assert_eq(unlink(scene.ballast), 0);
    world_sink_profile(scene.world, scene.sink, "");
    await_room(scene.world);
    check_all(&scene);
    scene_fini(&scene);
}
