/* SIGHUP and SIGUSR1 while everybody is at work: certificates change, the log is rotated, and no
 * connection notices.
 *
 * Not covered here: bad certificates (test_http.c), rules (test_bounces.c, test_sites.c), what the
 * service manager is told (test_service.c), disks that are full (unit/base/test_log_file.c).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/certs.h"
#include "support/client.h"
#include "support/load.h"
#include "support/world.h"

#define CONNS     4
#define ROTATIONS 8
#define STEP_MS   10
#define RUN_MS    60
#define HELLO     "GET /api/health HTTP/1.1\r\nHost: meerkat\r\n\r\n"

static const char *log_name(struct world *world, uint32_t number)
{
    return number == 0 ? world_text(world, "%s/meerkatd.log", world->dir)
                       : world_text(world, "%s/meerkatd.log.%u", world->dir, (unsigned)number);
}

static void copy_file(struct world *world, const char *from, const char *to)
{
    world_write_file(world, to, world_read_file(world, from));
}

/* curl's words, "" when the certificate was that of the CA file. */
static const char *https_failure(struct world *world, const char *ca)
{
    struct world_call call = {
        .method = "GET",
        .path = "/api/health",
        .base = world_text(world, "https://127.0.0.1:%u", (unsigned)world->https_port),
        .ca = ca,
        .headers = {"Connection: close"},
    };
    return world_call(world, &call)->failure;
}

/* Renames the log and waits for the next one, in which a reload ends; the clients go on. */
static void rotate(struct world *world, struct load *load, uint32_t number)
{
    bool is_reload = number % 2 == 0;
    const char *path = log_name(world, 0);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    cr_assert_eq(rename(path, log_name(world, number)), 0);
    cr_assert_eq(kill(world->daemon, is_reload ? SIGHUP : SIGUSR1), 0);
    while (access(path, F_OK) == -1 ||
           (is_reload &&
            slice_find(world_read_file(world, path), SLICE("main.reloaded")) == SIZE_MAX)) {
        cr_assert(wait_more(&wait), "the log is not opened anew, or no reload ends");
        load_run(load, STEP_MS, 0);
    }
    load_run(load, RUN_MS, 0);
}

/* All logs end to end, but for the last line of a file that is still written to. */
static struct slice all_logs(struct world *world)
{
    struct slice texts[ROTATIONS + 1];
    size_t len = 0;
    for (uint32_t i = 0; i <= ROTATIONS; i++) {
        texts[i] = world_read_file(world, log_name(world, i));
        len += texts[i].len;
    }
    char *all = arena_bytes(&world->arena, len + 1);
    size_t at = 0;
    for (uint32_t i = 0; i <= ROTATIONS; i++) {
        memcpy(all + at, texts[i].data, texts[i].len);
        at += texts[i].len;
    }
    return slice_of(all, len);
}

static void expect_all_logged(struct world *world, const struct mailing *mailing)
{
    struct slice all = all_logs(world);
    struct slice rest = all;
    uint64_t accepted = 0;
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        cr_assert(slice_starts(line, SLICE("{\"time\":\"")) && slice_ends(line, SLICE("}")),
                  "half a line: %.*s", SLICE_FMT(line));
        accepted += slice_find(line, SLICE("\"event\":\"mail.accepted\"")) != SIZE_MAX;
    }
    cr_assert_eq(accepted, mailing->accepted, "%llu lines for %llu mails",
                 (unsigned long long)accepted, (unsigned long long)mailing->accepted);
    for (uint64_t i = 0; i < mailing->accepted; i++) {
        const char *id = mailing_at(mailing, i)->id;
        cr_assert_neq(slice_find(all, slice_str(id)), SIZE_MAX, "no line tells of %s", id);
    }
}

struct scene {
    struct certs old;
    struct certs fresh;
    struct mailing mailing;
    struct load *load;
    const char *cert;
    const char *key;
};

static void begin(struct world *world, struct scene *scene)
{
    certs_make(&scene->old, WORLD_HOST, 86400);
    certs_make(&scene->fresh, WORLD_HOST, 86400);
    scene->cert = world_text(world, "%s/cert.pem", world->dir);
    scene->key = world_text(world, "%s/key.pem", world->dir);
    copy_file(world, scene->old.cert_path, scene->cert);
    copy_file(world, scene->old.key_path, scene->key);
    world_set(world, "https_listen", "127.0.0.1:0");
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", scene->cert);
    world_set(world, "tls_key", "%s", scene->key);
    world_set(world, "log_file", "%s", log_name(world, 0));
    world_set(world, "log_level", "debug");
    world_start(world);
    (void)world_signup(world, "owner@example.com");
    (void)world_domain(world, "send.test");
    mailing_init(&scene->mailing, world->key, "me@send.test", "nowhere.test");
    struct load_options options = {.conn_count = CONNS,
                                   .rest_ms = STEP_MS,
                                   .ask = mailing_ask,
                                   .answer = mailing_answer,
                                   .context = &scene->mailing};
    scene->load = load_new(&options);
    load_connect(scene->load, world->http_port);
    load_run(scene->load, RUN_MS, 0);
}

Test(reload, drops_no_connection_and_no_line_of_the_log)
{
    struct world *world = world_new();
    struct scene scene;
    struct client kept;
    struct client smtp;
    begin(world, &scene);
    client_dial(world, &kept, world->http_port);
    client_say(&kept, SLICE(HELLO));
    client_await(&kept, "HTTP/1.1 200", 1);
    client_dial(world, &smtp, world->smtp_port);
    client_say(&smtp, SLICE("EHLO client.test\r\nMAIL FROM:<ann@from.test>\r\n"
                            "RCPT TO:<bob@send.test>\r\nDATA\r\n"));
    client_await(&smtp, "\r\n354 ", 1);
    client_say(&smtp, SLICE("From: ann@from.test\r\nTo: bob@send.test\r\nSubject: half\r\n\r\n"));
    cr_assert_str_eq(https_failure(world, scene.old.cert_path), "");
    copy_file(world, scene.fresh.cert_path, scene.cert);
    copy_file(world, scene.fresh.key_path, scene.key);
    for (uint32_t i = 1; i <= ROTATIONS; i++) {
        rotate(world, scene.load, i);
        client_say(&kept, SLICE(HELLO));
        client_await(&kept, "HTTP/1.1 200", i + 1);
        client_say(&smtp, SLICE("a line while it is reloaded\r\n"));
    }
    cr_assert_str_eq(https_failure(world, scene.fresh.cert_path), "");
    cr_assert_str_neq(https_failure(world, scene.old.cert_path), "", "the old one is served");
    client_say(&smtp, SLICE(".\r\n"));
    client_await(&smtp, "\r\n250 2.0.0", 1);

    load_finish(scene.load, WORLD_WAIT_MS);
    cr_assert_eq(load_counts(scene.load)->broken, 0);
    cr_assert_eq(load_counts(scene.load)->refused, 0);
    cr_assert_eq(scene.mailing.strange, 0);
    cr_assert_gt(scene.mailing.accepted, ROTATIONS);
    client_close(&kept);
    client_close(&smtp);
    world_stop(world);
    expect_all_logged(world, &scene.mailing);
    load_free(scene.load);
    mailing_fini(&scene.mailing);
    world_end(world);
    certs_remove(&scene.old);
    certs_remove(&scene.fresh);
}

Test(reload, goes_on_where_the_log_cannot_be_written)
{
    struct world *world = world_new();
    world_set(world, "log_file", "/dev/full");
    world_start(world);
    (void)world_signup(world, "owner@example.com");
    struct slice metrics = world_get(world, "/metrics")->body;
    cr_assert_neq(slice_find(metrics, SLICE("\nmeerkat_log_lost_total ")), SIZE_MAX);
    cr_assert_eq(slice_find(metrics, SLICE("\nmeerkat_log_lost_total 0\n")), SIZE_MAX);
    world_end(world);
}
