/* What an operator installs, and what a service manager is told: the words of sd_notify(3), the
 * unit file, the example of a configuration.
 *
 * Not covered here: a real systemd around the daemon (its sandbox, the restart after a missed sign
 * of life).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/world.h"

#define WORD_BYTES  256
#define WORD_WAIT_S 30
#define WATCHDOG_US "900000"

/* ---- a service manager ---------------------------------------------------------------------- */

static int manager_open(struct world *world)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = WORD_WAIT_S};
    const char *path = world_text(world, "%s/notify", world->dir);
    cr_assert_lt(strlen(path), sizeof addr.sun_path);
    memcpy(addr.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    cr_assert_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    return fd;
}

/* The next word but for signs of life; empty when there is none. */
static const char *hear(int fd, int flags, char word[WORD_BYTES])
{
    do {
        ssize_t len = recv(fd, word, WORD_BYTES - 1, flags);
        word[len < 0 ? 0 : len] = '\0';
    } while (strcmp(word, "WATCHDOG=1") == 0);
    return word;
}

Test(service, is_told_ready_when_listeners_are_open_and_stopping_before_they_close)
{
    struct world *world = world_new();
    char word[WORD_BYTES];
    int fd = manager_open(world);
    world_start(world);
    cr_assert_str_eq(hear(fd, 0, word), "READY=1");
    cr_assert_eq(world_get(world, "/api/health")->status, 200);
    cr_assert_str_eq(hear(fd, MSG_DONTWAIT, word), "", "nothing else: %s", word);

    cr_assert_eq(kill(world->daemon, SIGHUP), 0);
    cr_assert_eq(strncmp(hear(fd, 0, word), "RELOADING=1\nMONOTONIC_USEC=", 27), 0, "%s", word);
    cr_assert_gt(strtoull(word + 27, NULL, 10), 0);
    cr_assert_str_eq(hear(fd, 0, word), "READY=1");

    world_stop(world);
    cr_assert_str_eq(hear(fd, 0, word), "STOPPING=1");
    cr_assert_str_eq(hear(fd, MSG_DONTWAIT, word), "", "nothing else: %s", word);
    cr_assert_eq(close(fd), 0);
    world_end(world);
}

Test(service, is_never_told_ready_when_a_listener_cannot_open)
{
    struct world *world = world_new();
    char word[WORD_BYTES];
    int fd = manager_open(world);
    world_set(world, "http_listen", "192.0.2.1:8080");
    cr_assert_eq(world_run(world), 1);
    cr_assert_str_eq(hear(fd, MSG_DONTWAIT, word), "STOPPING=1");
    cr_assert_str_eq(hear(fd, MSG_DONTWAIT, word), "");
    cr_assert_eq(close(fd), 0);
    world_end(world);
}

Test(service, gets_signs_of_life_also_across_reloads)
{
    struct world *world = world_new();
    char word[WORD_BYTES] = "";
    int fd = manager_open(world);
    cr_assert_eq(setenv("WATCHDOG_USEC", WATCHDOG_US, 1), 0);
    world_start(world);
    uint32_t signs = 0;
    uint32_t reloads = 0;
    for (uint32_t i = 0; i < 100 && (signs < 4 || reloads < 2); i++) {
        ssize_t len = recv(fd, word, sizeof word - 1, 0);
        cr_assert_gt(len, 0, "it fell silent after %u signs", (unsigned)signs);
        word[len] = '\0';
        bool is_sign = strcmp(word, "WATCHDOG=1") == 0;
        signs += is_sign;
        reloads += strncmp(word, "RELOADING=1", 11) == 0;
        if (is_sign) {
            cr_assert_eq(kill(world->daemon, SIGHUP), 0);
        }
    }
    cr_assert_geq(signs, 4);
    cr_assert_geq(reloads, 2);
    world_stop(world);
    cr_assert_eq(close(fd), 0);
    world_end(world);
}

/* WATCHDOG_PID names another process when a wrapper passes its environment on. */
Test(service, gets_no_signs_of_life_that_it_asked_of_another)
{
    struct world *world = world_new();
    char word[WORD_BYTES] = "";
    int fd = manager_open(world);
    cr_assert_eq(setenv("WATCHDOG_USEC", "3000", 1), 0);
    cr_assert_eq(setenv("WATCHDOG_PID", "1", 1), 0);
    world_start(world);
    cr_assert_eq(world_get(world, "/api/health")->status, 200);
    world_stop(world);
    ssize_t len;
    while ((len = recv(fd, word, sizeof word - 1, MSG_DONTWAIT)) > 0) {
        word[len] = '\0';
        cr_assert_str_neq(word, "WATCHDOG=1");
    }
    cr_assert_eq(close(fd), 0);
    world_end(world);
}

/* ---- the unit ------------------------------------------------------------------------------- */

static const char *source_path(struct world *world, const char *path)
{
    const char *source = getenv("MEERKAT_SOURCE");
    cr_assert_not_null(source, "the suite sets MEERKAT_SOURCE");
    return world_text(world, "%s/%s", source, path);
}

static const char *build_path(struct world *world, const char *path)
{
    const char *build = getenv("MEERKAT_BUILD");
    cr_assert_not_null(build, "the suite sets MEERKAT_BUILD");
    return world_text(world, "%s/%s", build, path);
}

#define UNITS 6
static const char *const unit_names[UNITS] = {
    "meerkatd.service",     "meerkatd-http.socket",       "meerkatd-https.socket",
    "meerkatd-smtp.socket", "meerkatd-submission.socket", "meerkatd-submissions.socket",
};

/* A unit names installed programs; this one is the same with those of the build. */
static const char *write_unit(struct world *world, const char *name)
{
    const char *source = world_text(world, "packaging/%s", name);
    struct slice rest = world_read_file(world, source_path(world, source));
    struct slice installed = SLICE("/usr/sbin/meerkatd");
    const char *path = world_text(world, "%s/%s", world->dir, name);
    const char *program = build_path(world, "meerkatd");
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    size_t at;
    while ((at = slice_find(rest, installed)) != SIZE_MAX) {
        fprintf(file, "%.*s%s", (int)at, rest.data, program);
        rest = slice_from(rest, at + installed.len);
    }
    fprintf(file, "%.*s", SLICE_FMT(rest));
    cr_assert_eq(fclose(file), 0);
    return path;
}

Test(service, has_units_that_systemd_understands)
{
    struct world *world = world_new();
    struct slice said;
    if (access("/usr/bin/systemd-analyze", X_OK) != 0) {
        world_end(world);
        cr_skip_test("systemd-analyze is not installed: its check of the unit is left out");
    }
    const char *argv[5 + UNITS] = {"/usr/bin/systemd-analyze", "verify", "--man=no",
                                   "--recursive-errors=no"};
    for (size_t i = 0; i < UNITS; i++) {
        argv[4 + i] = write_unit(world, unit_names[i]);
    }
    int status = world_tool(world, argv, SLICE(""), &said);
    cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
    for (size_t i = 0; i < UNITS; i++) {
        const char *complaint = world_text(world, "%s:", unit_names[i]);
        cr_assert_eq(slice_find(said, slice_str(complaint)), SIZE_MAX, "%.*s", SLICE_FMT(said));
    }
    world_end(world);
}

/* ---- the example ---------------------------------------------------------------------------- */

/* As it is installed, but for the folder, with every option written out: what the example says is
 * what is read. */
Test(service, has_an_example_that_is_a_configuration)
{
    struct world *world = world_new();
    const char *path = world_text(world, "%s/meerkat.conf", world->dir);
    struct slice rest = world_read_file(world, build_path(world, "packaging/meerkat.conf"));
    cr_assert_neq(slice_find(rest, SLICE("\ndata = /var/lib/meerkat\n")), SIZE_MAX);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    uint32_t options = 0;
    while (rest.data != NULL) {
        struct slice line = slice_cut(&rest, '\n');
        struct slice setting = slice_from(line, min_size(line.len, 2));
        bool is_option = slice_starts(line, SLICE("# ")) &&
                         slice_find(setting, SLICE(" =")) != SIZE_MAX &&
                         slice_find(setting, SLICE(" ")) == slice_find(setting, SLICE(" ="));
        options += is_option;
        fprintf(file, "%.*s\n", SLICE_FMT(is_option ? setting : line));
    }
    cr_assert_eq(fclose(file), 0);
    cr_assert_gt(options, 50);
    const char *data = world_text(world, "--data=%s", world->data);
    const char *argv[] = {
        build_path(world, "meerkatd"), "--check-config", "--config", path, data, NULL};
    cr_assert_eq(world_tool(world, argv, SLICE(""), NULL), 0);
    world_end(world);
}

/* ---- what is watched ------------------------------------------------------------------------ */

static bool is_of_name(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_';
}

/* Each name of a metric in a file is a line of what the daemon says; returns how many there are. */
static uint32_t expect_known(struct world *world, const char *path, struct slice metrics)
{
    struct slice rest = world_read_file(world, source_path(world, path));
    size_t at;
    uint32_t count = 0;
    while ((at = slice_find(rest, SLICE("meerkat_"))) != SIZE_MAX) {
        size_t len = 0;
        rest = slice_from(rest, at);
        while (len < rest.len && is_of_name((uint8_t)rest.data[len])) {
            len += 1;
        }
        const char *plain = world_text(world, "\n%.*s ", (int)len, rest.data);
        const char *labelled = world_text(world, "\n%.*s{", (int)len, rest.data);
        cr_expect(slice_find(metrics, slice_str(plain)) != SIZE_MAX ||
                      slice_find(metrics, slice_str(labelled)) != SIZE_MAX,
                  "%s: there is no metric%s", path, plain);
        rest = slice_from(rest, len);
        count += 1;
    }
    return count;
}

Test(service, has_a_dashboard_and_alerts_of_metrics_that_exist)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *reply = world_get(world, "/metrics");
    cr_assert_eq(reply->status, 200);
    cr_assert_gt(expect_known(world, "docs/grafana.json", reply->body), 50);
    cr_assert_gt(expect_known(world, "docs/alerts.yml", reply->body), 20);
    struct slice dashboard = world_read_file(world, source_path(world, "docs/grafana.json"));
    json_t *json = json_loadb(dashboard.data, dashboard.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_gt(json_array_size(json_object_get(json, "panels")), 10);
    json_decref(json);
    world_end(world);
}

Test(service, has_alerts_and_metrics_that_prometheus_understands)
{
    struct world *world = world_new();
    struct slice said;
    if (access("/usr/bin/promtool", X_OK) != 0) {
        world_end(world);
        cr_skip_test("promtool is not installed (Debian has it in prometheus, which starts a "
                     "service): its check is left out");
    }
    world_start(world);
    const char *rules[] = {"/usr/bin/promtool", "check", "rules",
                           source_path(world, "docs/alerts.yml"), NULL};
    cr_assert_eq(world_tool(world, rules, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
    const char *metrics[] = {"/usr/bin/promtool", "check", "metrics", NULL};
    struct slice text = world_get(world, "/metrics")->body;
    cr_assert_eq(world_tool(world, metrics, text, &said), 0, "%.*s", SLICE_FMT(said));
    world_end(world);
}
