/* Flow: backups while mail comes in, a daemon that is killed in the middle of one, and a restored
 * copy that sends nothing until it may.
 *
 * Not covered here: damaged backups, full disks, folders that will not do (kv_test_backup).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/load.h"
#include "support/world.h"

#define CONNS 4
#define MAILS 150

struct said {
    int status;
    struct slice text;
    json_t *json;
};

struct scene {
    struct world *world;
    struct peer *sink;
    struct mailing mailing;
    struct load *load;
    const char *folder;
};

/* meerkatctl for the daemon of that data folder. */
static struct said ctl_of(struct world *world, const char *data, const char *words)
{
    struct said said = {.json = NULL};
    said.status = world_ctl(world, data, words, SLICE(""), &said.text);
    said.json = json_loadb(said.text.data != NULL ? said.text.data : "", said.text.len,
                           JSON_DECODE_ANY, NULL);
    if (said.json != NULL) {
        json_array_append_new(world->documents, said.json);
    }
    return said;
}

static struct said ctl(struct world *world, const char *words)
{
    return ctl_of(world, world->data, words);
}

static struct said good(struct world *world, const char *words)
{
    struct said said = ctl(world, words);
    cr_assert_eq(said.status, 0, "%s: %d %.*s", words, said.status, SLICE_FMT(said.text));
    return said;
}

/* ---- a server that takes mails and delivers none ----------------------------------------------
 */

static void scene_init(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    world_set(world, "log_level", "info");
    world_set(world, "retry_first_ms", "1000");
    world_set(world, "shards", "4"); /* files a backup has to copy */
    scene->sink = world_ready_to_send(world);
    scene->folder = world_text(world, "%s/backups", world->dir);
    world_sink_profile(world, scene->sink, "tempfail:1000000");
    mailing_init(&scene->mailing, world->key, "robot@send.test", "dest.test");
    scene->mailing.text_bytes = 4000;
    scene->load = load_new(&(struct load_options){.conn_count = CONNS,
                                                  .rest_ms = 20,
                                                  .ask = mailing_ask,
                                                  .answer = mailing_answer,
                                                  .context = &scene->mailing});
    load_connect(scene->load, world->http_port);
}

static void scene_fini(struct scene *scene)
{
    world_end(scene->world);
    load_free(scene->load);
    mailing_fini(&scene->mailing);
}

/* Waits for a job's end while mails come in, and returns its last view. */
static json_t *await_job(struct scene *scene, const char *id)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    const char *words = world_text(scene->world, "job %s --json", id);
    while (wait_more(&wait)) {
        json_t *job = good(scene->world, words).json;
        cr_assert_not_null(job);
        if (strcmp(json_string_value(json_object_get(job, "state")), "running") != 0) {
            return job;
        }
        load_run(scene->load, 20, 0);
    }
    cr_assert_fail("the job %s does not end", id);
    return NULL;
}

static const char *start_backup(struct scene *scene, const char *options)
{
    struct said said = good(scene->world, world_text(scene->world, "backup %s --detach --json%s",
                                                     scene->folder, options));
    return json_string_value(json_object_get(said.json, "id"));
}

static void use_data(struct world *world, const char *data)
{
    world->data = data;
    world_set(world, "data", "%s", data);
}

/* Every mail that was acknowledged before; those behind may be there too. */
static void check_mails(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        const struct mailing_entry *entry = mailing_at(&scene->mailing, i);
        struct reply *reply = world_get(scene->world, "/api/messages/%s", entry->id);
        cr_assert_eq(reply->status, 200, "mail %llu of %llu is lost",
                     (unsigned long long)entry->number, (unsigned long long)count);
        cr_assert_gt(strlen(reply_text(reply, "message.text_body")), 3000);
    }
}

Test(backup, under_load_has_every_mail_that_was_acknowledged_before_it_began, .timeout = 180)
{
    struct scene scene;
    scene_init(&scene);
    struct world *world = scene.world;
    load_run(scene.load, WORLD_WAIT_MS, MAILS);
    uint64_t before = scene.mailing.accepted;
    cr_assert_geq(before, MAILS);
    const char *first = start_backup(&scene, "");
    load_run(scene.load, WORLD_WAIT_MS, 20); /* mail comes in meanwhile */
    json_t *job = await_job(&scene, first);
    cr_assert_str_eq(json_string_value(json_object_get(job, "state")), "done");
    json_t *report = json_object_get(job, "report");
    cr_expect(json_is_true(json_object_get(report, "verified")));
    cr_expect_eq(json_integer_value(json_object_get(report, "backup")), 1);
    cr_assert_gt(scene.mailing.accepted, before);

    /* Killed just when the next one has begun. */
    load_run(scene.load, WORLD_WAIT_MS, MAILS);
    (void)start_backup(&scene, "");
    world_kill(world);
    load_finish(scene.load, 2000);
    cr_expect_eq(ctl(world, world_text(world, "backup verify %s --backup 1", scene.folder)).status,
                 0);
    world_start(world);
    load_connect(scene.load, world->http_port);
    job = await_job(&scene, start_backup(&scene, " --keep 5"));
    cr_assert_str_eq(json_string_value(json_object_get(job, "state")), "done");
    struct said list = good(world, world_text(world, "backup list %s --json", scene.folder));
    size_t count = json_array_size(list.json);
    cr_assert_geq(count, 2);
    for (size_t i = 0; i < count; i++) {
        json_t *entry = json_array_get(list.json, i);
        (void)good(world,
                   world_text(world, "backup verify %s --backup %lld", scene.folder,
                              (long long)json_integer_value(json_object_get(entry, "backup"))));
    }
    load_finish(scene.load, 2000);
    world_stop(world);

    /* Restored for a look: nothing leaves. */
    const char *copy = world_text(world, "%s/copy", world->dir);
    const char *words = world_text(world, "restore %s --backup 1 --hold --key %s/master.key",
                                   scene.folder, world->data);
    struct said restored = ctl_of(world, copy, words);
    cr_assert_eq(restored.status, 0, "%.*s", SLICE_FMT(restored.text));
    cr_expect_neq(ctl_of(world, copy, words).status, 0, "there is a store now");
    use_data(world, copy);
    struct said clean = ctl(world, "verify --offline --json");
    cr_assert_eq(clean.status, 0, "the copy is not whole: %.*s", SLICE_FMT(clean.text));
    world_sink_profile(world, scene.sink, "");
    long long mails = world_sink_count(world, scene.sink, "mails");
    world_start(world);
    check_mails(&scene, before);
    struct said holds = good(world, "queue holds --json");
    cr_assert_eq(json_array_size(holds.json), 1);
    cr_expect_eq(world_sink_count(world, scene.sink, "mails"), mails, "nothing was sent");
    (void)good(world, "queue resume --all");
    (void)world_await(world, mailing_at(&scene.mailing, 0)->id, "message.send_status", "delivered");
    scene_fini(&scene);
}

Test(backup, that_a_stop_comes_upon_does_not_keep_the_daemon, .timeout = 180)
{
    struct scene scene;
    scene_init(&scene);
    struct world *world = scene.world;
    load_run(scene.load, WORLD_WAIT_MS, MAILS);
    load_finish(scene.load, 2000);
    struct world_call call = {.method = "POST",
                              .path = "/api/admin/jobs",
                              .bearer = world->token,
                              .body = SLICE("{\"type\":\"compact\"}")};
    cr_expect_eq(world_call(world, &call)->status, 403, "administrators come over the network");
    (void)good(world, world_text(world, "backup %s", scene.folder));
    world_stop(world);
    world_set(world, "drain_ms", "100"); /* the copying may take longer */
    world_start(world);
    load_connect(scene.load, world->http_port);
    load_run(scene.load, WORLD_WAIT_MS, MAILS);
    (void)start_backup(&scene, "");
    load_finish(scene.load, 2000);
    world_stop(world);
    (void)good(world, world_text(world, "backup verify %s --backup 1", scene.folder));
    (void)good(world, world_text(world, "backup %s --keep 2 --with-key", scene.folder));
    (void)good(world, world_text(world, "backup verify %s", scene.folder));
    struct said said = ctl_of(world, world_text(world, "%s/copy", world->dir),
                              world_text(world, "restore %s", scene.folder));
    cr_expect_eq(said.status, 0, "the key is in it: %.*s", SLICE_FMT(said.text));
    use_data(world, world_text(world, "%s/copy", world->dir));
    world_set(world, "drain_ms", "20000");
    world_start(world);
    check_mails(&scene, scene.mailing.accepted);
    scene_fini(&scene);
}
