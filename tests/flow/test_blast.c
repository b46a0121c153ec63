/* Flow: tools/blast against the running daemon: HTTP, submission, mail from strangers and its
 * webhooks; what it counts is what the daemon has, and its times are not those of a client that
 * waits while the server stalls.
 *
 * Not covered here: the histogram (unit/tools/test_blast_histogram).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "support/certs.h"
#include "support/world.h"

#define T .timeout = 300

struct scene {
    struct world *world;
    struct certs certs;
    const char *domain;
    struct slice said;
};

static struct scene *begin(const char *commit_delay_ms)
{
    struct scene *scene = mem_zalloc(sizeof *scene);
    struct world *world = world_new();
    scene->world = world;
    certs_make(&scene->certs, WORLD_HOST, 86400);
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "submission_listen", "127.0.0.1:0");
    world_set(world, "submissions_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", scene->certs.cert_path);
    world_set(world, "tls_key", "%s", scene->certs.key_path);
    world_set(world, "allow_private_targets", "yes");
    world_set(world, "test_commit_delay_ms", "%s", commit_delay_ms);
    (void)world_ready_to_send(world); /* the sink counts nothing here */
    scene->domain = reply_text(world_get(world, "/api/domains"), "0.id");
    return scene;
}

static void finish(struct scene *scene)
{
    world_end(scene->world);
    certs_remove(&scene->certs);
    free(scene);
}

/* Runs blast --json with more arguments, NULL at the end; its status. */
static int blast(struct scene *scene, const char *const *more)
{
    const char *build = getenv("MEERKAT_BUILD");
    cr_assert_not_null(build, "MEERKAT_BUILD is the folder with blast");
    const char *argv[32] = {world_text(scene->world, "%s/blast", build),
                            "--json",
                            "--from",
                            "ann@send.test",
                            "--bytes",
                            "500",
                            "--concurrency",
                            "8"};
    size_t count = 8;
    while (*more != NULL) {
        cr_assert_lt(count, ARRAY_LEN(argv) - 1);
        argv[count++] = *more++;
    }
    argv[count] = NULL;
    return world_tool(scene->world, argv, SLICE(""), &scene->said);
}

/* A figure of the last run; -1 when it has none. */
static double figure(struct scene *scene, const char *name)
{
    json_t *said = json_loadb(scene->said.data, scene->said.len, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert_not_null(said, "not JSON: %.*s", SLICE_FMT(scene->said));
    json_t *row = json_object_get(said, name);
    double value = row == NULL ? -1 : json_number_value(json_object_get(row, "value"));
    json_decref(said);
    return value;
}

static const char *at_port(struct scene *scene, uint16_t tcp_port)
{
    return world_text(scene->world, "127.0.0.1:%u", (unsigned)tcp_port);
}

static long long listed(struct scene *scene)
{
    return (long long)reply_count(world_get(scene->world, "/api/messages?limit=200"), "");
}

Test(blast, offers_exactly_as_many_mails_as_it_was_told_over_http, T)
{
    struct scene *scene = begin("0");
    const char *url =
        world_text(scene->world, "http://127.0.0.1:%u", (unsigned)scene->world->http_port);
    const char *arguments[] = {
        "--url", url, "--key", scene->world->key, "--to", "b{n}@dest.test", "--count", "60", NULL};
    cr_expect_eq(blast(scene, arguments), 0);
    cr_expect_eq(figure(scene, "accepted"), 60);
    cr_expect_eq(figure(scene, "status_202"), 60);
    cr_expect_eq(listed(scene), 60);
    cr_expect_gt(figure(scene, "latency_p50"), 0);
    cr_expect_geq(figure(scene, "corrected_latency_p99"), figure(scene, "latency_p50"));
    finish(scene);
}

Test(blast, submits_over_starttls_and_over_tls_from_the_start_with_a_key, T)
{
    struct scene *scene = begin("0");
    const uint16_t ports[] = {scene->world->submission_port, scene->world->submissions_port};
    const char *const modes[] = {"starttls", "implicit"};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const char *arguments[] = {"--smtp",
                                   at_port(scene, ports[i]),
                                   "--key",
                                   scene->world->key,
                                   "--tls",
                                   modes[i],
                                   "--rcpt",
                                   "b{n}@dest.test",
                                   "--count",
                                   "50",
                                   "--mails-per-conn",
                                   "4",
                                   NULL};
        cr_expect_eq(blast(scene, arguments), 0, "%s", modes[i]);
        cr_expect_eq(figure(scene, "accepted"), 50, "%s", modes[i]);
        cr_expect_geq(figure(scene, "sessions"), 12, "four mails a connection");
        cr_expect_eq(figure(scene, "broken"), 0);
    }
    cr_expect_eq(listed(scene), 100);
    finish(scene);
}

Test(blast, with_a_wrong_key_nothing_is_taken_and_it_says_so, T)
{
    struct scene *scene = begin("0");
    const char *arguments[] = {"--smtp",    at_port(scene, scene->world->submissions_port),
                               "--key",     "mk_live_wrong",
                               "--tls",     "implicit",
                               "--rcpt",    "b@dest.test",
                               "--seconds", "1",
                               NULL};
    cr_expect_eq(blast(scene, arguments), 1);
    cr_expect_eq(listed(scene), 0);
    finish(scene);
}

/* The secret that signs, after the webhook was pointed at a free port. */
static const char *point_webhook(struct scene *scene, uint16_t tcp_port)
{
    struct world_call call = {
        .method = "PUT",
        .path = world_text(scene->world, "/api/domains/%s/webhook", scene->domain),
        .body = slice_str(
            world_text(scene->world, "{\"url\":\"http://127.0.0.1:%u/in\"}", (unsigned)tcp_port)),
    };
    return reply_text(world_call(scene->world, &call), "signingSecret");
}

Test(blast, is_the_endpoint_of_its_mails_and_checks_who_signed, T)
{
    struct scene *scene = begin("0");
    uint16_t port = world_free_port();
    const char *secret = point_webhook(scene, port);
    cr_assert_str_neq(secret, "");
    const char *arguments[] = {"--smtp",
                               at_port(scene, scene->world->smtp_port),
                               "--rcpt",
                               "b{n}@send.test",
                               "--count",
                               "40",
                               "--hook-listen",
                               at_port(scene, port),
                               "--hook-delay-ms",
                               "20",
                               "--hook-secret",
                               secret,
                               NULL};
    cr_expect_eq(blast(scene, arguments), 0);
    cr_expect_eq(figure(scene, "accepted"), 40);
    cr_expect_eq(figure(scene, "hooks"), 40);
    cr_expect_eq(figure(scene, "hooks_bad"), 0);
    cr_expect_eq(figure(scene, "hooks_missing"), 0);
    cr_expect_gt(figure(scene, "hook_latency_max"), 0);
    finish(scene);
}

Test(blast, on_a_schedule_charges_a_slow_server_for_the_mails_it_held_up, T)
{
    struct scene *scene = begin("200");
    const char *url =
        world_text(scene->world, "http://127.0.0.1:%u", (unsigned)scene->world->http_port);
    /* Eight clients and a sync that takes 200 ms: 40 mails a second at best, of 400 offered. */
    const char *arguments[] = {
        "--url",     url, "--key", scene->world->key, "--to", "b{n}@dest.test", "--rate", "400",
        "--seconds", "2", NULL};
    cr_expect_eq(blast(scene, arguments), 0);
    cr_expect_leq(figure(scene, "accepted"), 120);
    cr_expect_gt(figure(scene, "behind"), 400);
    cr_expect_gt(figure(scene, "unanswered"), figure(scene, "behind") - 1);
    cr_expect_gt(figure(scene, "latency_p50"), 500, "half of them waited long: %f ms",
                 figure(scene, "latency_p50"));
    cr_expect_gt(figure(scene, "latency_max"), 1500);
    finish(scene);
}
