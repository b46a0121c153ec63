/* One daemon after the other on the same sockets: a service manager that holds them across
 * restarts, and meerkatd --takeover. Clients connect all the time; none is refused, and nothing
 * that was acknowledged is lost. Whoever of the two dies on the way, the service stays.
 *
 * Not covered here: a real systemd (packaging/check has it verify the units), what a drain does to
 * deliveries (test_crash.c).
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/load.h"
#include "support/world.h"

#define CONNS    8
#define STEP_MS  10
#define RUN_MS   300
#define RESTARTS 2

/* Clients that send mail over and over, and remember what they were promised. */
struct scene {
    struct world *world;
    struct mailing mailing;
    struct load *load;
    uint64_t answered_ms; /* the last answer */
    uint64_t gap_ms;      /* the longest time without one */
};

static void take_one(void *context, const struct load_answer *answer)
{
    struct scene *scene = context;
    uint64_t now_ms = clock_mono_ms();
    if (scene->answered_ms != 0 && now_ms - scene->answered_ms > scene->gap_ms) {
        scene->gap_ms = now_ms - scene->answered_ms;
    }
    scene->answered_ms = now_ms;
    mailing_answer(&scene->mailing, answer);
}

static bool ask_one(void *context, uint64_t number, struct buf *out)
{
    struct scene *scene = context;
    return mailing_ask(&scene->mailing, number, out);
}

static void scene_start(struct scene *scene, struct world *world)
{
    struct load_options options = {.conn_count = CONNS,
                                   .rest_ms = STEP_MS,
                                   .ask = ask_one,
                                   .answer = take_one,
                                   .context = scene};
    *scene = (struct scene){.world = world};
    world_set(world, "sandbox_domain", "try.test");
    world_start(world);
    (void)world_signup(world, "owner@example.com");
    (void)world_domain(world, "send.test");
    mailing_init(&scene->mailing, world->key, "me@send.test", "nowhere.test");
    scene->load = load_new(&options);
    load_connect(scene->load, world->http_port);
    load_run(scene->load, RUN_MS, 0);
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

/* The clients go on until that process has ended. */
static void run_until_ended(struct scene *scene, pid_t pid)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!has_ended(pid)) {
        cr_assert(wait_more(&wait), "it does not end");
        load_run(scene->load, STEP_MS, 0);
    }
}

/* No client was refused or left without an answer. */
static void expect_reachable(struct scene *scene, const char *what)
{
    uint64_t before = load_counts(scene->load)->answered;
    load_run(scene->load, WORLD_WAIT_MS, 2 * CONNS);
    const struct load_counts *counts = load_counts(scene->load);
    cr_assert_gt(counts->answered, before, "%s: the service is not reachable", what);
    cr_assert_eq(counts->refused, 0, "%s", what);
    cr_assert_eq(counts->broken, 0, "%s", what);
    cr_assert_eq(scene->mailing.strange, 0, "%s", what);
    cr_assert_eq(scene->mailing.draining, 0, "%s: nobody is told to come again", what);
    printf("%s: longest gap %llu ms\n", what, (unsigned long long)scene->gap_ms);
    scene->gap_ms = 0;
}

/* Every promise can be read. */
static void scene_end(struct scene *scene)
{
    struct world *world = scene->world;
    load_finish(scene->load, WORLD_WAIT_MS);
    cr_assert_gt(scene->mailing.accepted, 0);
    for (uint64_t i = 0; i < scene->mailing.accepted; i++) {
        const struct mailing_entry *entry = mailing_at(&scene->mailing, i);
        cr_assert_eq(world_get(world, "/api/messages/%s", entry->id)->status, 200, "%s is lost",
                     entry->id);
    }
    printf("%llu mails accepted, none lost\n", (unsigned long long)scene->mailing.accepted);
    load_free(scene->load);
    mailing_fini(&scene->mailing);
    world_end(world);
}

static bool has_logged(struct world *world, const char *event)
{
    const char *needle = world_text(world, "\"event\":\"%s\"", event);
    return slice_find(world_log(world), slice_str(needle)) != SIZE_MAX;
}

/* ---- a service manager ---------------------------------------------------------------------- */

static int manager_listen(const char *ip, uint16_t *tcp_port)
{
    const int on = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    cr_assert_eq(inet_pton(AF_INET, ip, &addr.sin_addr), 1);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(listen(fd, 128), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *tcp_port = ntohs(addr.sin_port);
    return fd;
}

Test(handover, refuses_nobody_while_a_manager_that_holds_the_sockets_restarts_it)
{
    struct world *world = world_new();
    struct scene scene;
    uint16_t http_port;
    uint16_t smtp_port;
    int http = manager_listen("127.0.0.1", &http_port);
    int smtp = manager_listen("127.0.0.1", &smtp_port);
    world_pass(world, "http", http);
    world_pass(world, "smtp", smtp);
    world_set(world, "http_listen", "127.0.0.1:%u", http_port);
    world_set(world, "smtp_listen", "127.0.0.1:%u", smtp_port);
    scene_start(&scene, world);
    cr_assert_eq(world->http_port, http_port);
    cr_assert_eq(world->smtp_port, smtp_port);
    for (uint32_t i = 0; i < RESTARTS; i++) {
        cr_assert_eq(kill(world->daemon, SIGTERM), 0);
        run_until_ended(&scene, world->daemon);
        world_await_stop(world);
        world_start(world);
        load_run(scene.load, RUN_MS, 0);
    }
    cr_assert_not(has_logged(world, "sockets.unused"));
    expect_reachable(&scene, "restart by a manager");
    scene_end(&scene);
    cr_assert_eq(close(http), 0);
    cr_assert_eq(close(smtp), 0);
}

/* The unit's own name is what systemd calls sockets that have none. */
Test(handover, finds_sockets_without_a_name_of_ours_by_their_address)
{
    struct world *world = world_new();
    uint16_t http_port;
    uint16_t smtp_port;
    int http = manager_listen("127.0.0.1", &http_port);
    int smtp = manager_listen("127.0.0.1", &smtp_port);
    world_pass(world, "meerkatd.socket", smtp);
    world_pass(world, "meerkatd.socket", http);
    world_set(world, "http_listen", "127.0.0.1:%u", http_port);
    world_set(world, "smtp_listen", "127.0.0.1:%u", smtp_port);
    world_start(world);
    cr_assert_eq(world_get(world, "/api/health")->status, 200);
    world_stop(world);
    cr_assert(world_is_listening(http_port), "the manager's own is still open");

    world_launch_takeover(world); /* from nobody: a start like any other */
    world_await_ready(world);
    cr_assert_eq(world_get(world, "/api/health")->status, 200);
    cr_assert(has_logged(world, "handover.nobody"));
    world_end(world);
    cr_assert_eq(close(http), 0);
    cr_assert_eq(close(smtp), 0);
}

Test(handover, tells_of_sockets_that_no_option_names_and_follows_the_options)
{
    struct world *world = world_new();
    uint16_t http_port;
    uint16_t other_port;
    int http = manager_listen("127.0.0.2", &http_port);
    int other = manager_listen("127.0.0.1", &other_port);
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    world_pass(world, "http", http); /* http_listen is 127.0.0.1 */
    world_pass(world, "telnet", other);
    world_pass(world, "https", pipes[0]);
    world_set(world, "http_listen", "127.0.0.1:%u", world_free_port());
    world_start(world);
    cr_assert_neq(world->http_port, http_port);
    cr_assert_eq(world_get(world, "/api/health")->status, 200);
    struct slice log = world_log(world);
    cr_assert(has_logged(world, "sockets.strange"), "a pipe is no listener");
    const char *differs = world_text(world,
                                     "\"name\":\"http\",\"address\":\"127.0.0.2\","
                                     "\"tcp_port\":%u,\"remedy\":\"the option of that name",
                                     http_port);
    const char *unnamed = world_text(world,
                                     "\"name\":\"telnet\",\"address\":\"127.0.0.1\","
                                     "\"tcp_port\":%u,\"remedy\":\"no option",
                                     other_port);
    cr_assert_neq(slice_find(log, slice_str(differs)), SIZE_MAX, "%.*s", SLICE_FMT(log));
    cr_assert_neq(slice_find(log, slice_str(unnamed)), SIZE_MAX, "%.*s", SLICE_FMT(log));
    world_end(world);
    cr_assert_eq(close(http), 0);
    cr_assert_eq(close(other), 0);
    cr_assert_eq(close(pipes[0]), 0);
    cr_assert_eq(close(pipes[1]), 0);
}

/* ---- without a manager ---------------------------------------------------------------------- */

static void await_takeover(struct scene *scene)
{
    struct world *world = scene->world;
    uint16_t http_port = world->http_port;
    run_until_ended(scene, world->before);
    cr_assert_eq(world_await_before(world), 0);
    world_await_ready(world);
    cr_assert_eq(world->http_port, http_port);
}

/* A next daemon that is as far as the test wants it to be, and dies. */
static void half_a_daemon(struct world *world, const char *word)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = world_text(world, "%s/takeover.sock", world->data);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    cr_assert_lt(strlen(path), sizeof addr.sun_path);
    memcpy(addr.sun_path, path, strlen(path));
    while (access(path, F_OK) == -1) {
        cr_assert(wait_more(&wait), "there is no %s", path);
    }
    pid_t pid = fork();
    cr_assert_neq(pid, -1);
    if (pid == 0) {
        char bytes[4096];
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_good = connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0 &&
                       recv(fd, bytes, sizeof bytes, 0) > 0 &&
                       send(fd, word, strlen(word), MSG_NOSIGNAL) == (ssize_t)strlen(word);
        _exit(is_good ? 0 : 1);
    }
    int status = 1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
}

static void fail_before_go(struct scene *scene)
{
    struct world *world = scene->world;
    pid_t running = world->daemon;
    world_set(world, "bounce_rules", "/nowhere/at/all");
    world_launch_takeover(world);
    run_until_ended(scene, world->daemon);
    cr_assert_eq(waitpid(world->daemon, NULL, 0), world->daemon);
    world->daemon = running;
    world->before = 0;
    world_set(world, "bounce_rules", "%s", "");
    cr_assert(has_logged(world, "handover.given_up"));
    expect_reachable(scene, "the next one cannot start");
    half_a_daemon(world, "");
    expect_reachable(scene, "the next one dies as soon as it has the sockets");
    half_a_daemon(world, "nonsense\n");
    expect_reachable(scene, "the next one talks nonsense");
    cr_assert(has_logged(world, "handover.abandoned"));
    cr_assert_not(has_logged(world, "main.drain"));
}

static void fail_after_go(struct scene *scene)
{
    struct world *world = scene->world;
    half_a_daemon(world, "go\n");
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!has_logged(world, "sockets.passed") && wait_more(&wait)) {
        load_run(scene->load, STEP_MS, 0);
    }
    cr_assert(has_logged(world, "handover.failed"));
    expect_reachable(scene, "the next one dies after it said go");
    world_await_ready(world); /* the same process */
}

Test(handover, refuses_nobody_while_the_next_daemon_takes_over_or_dies_at_it)
{
    struct world *world = world_new();
    struct scene scene;
    scene_start(&scene, world);
    fail_before_go(&scene);
    fail_after_go(&scene);
    for (uint32_t i = 0; i < RESTARTS; i++) {
        /* Other numbers of loops share the same sockets. */
        world_set(world, "loops", "%u", (unsigned)(1 + 2 * i));
        world_launch_takeover(world);
        await_takeover(&scene);
        expect_reachable(&scene, "takeover");
    }
    scene_end(&scene);
}

static void take_over_from_a_lost_one(struct scene *scene, int signal_number, const char *what)
{
    struct world *world = scene->world;
    uint16_t http_port = world->http_port;
    size_t logged = world_log(world).len;
    load_finish(scene->load, WORLD_WAIT_MS); /* what hangs cannot answer what it has read */
    world_launch_takeover(world);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (slice_find(slice_from(world_log(world), logged), SLICE("handover.go")) == SIZE_MAX &&
           wait_more(&wait)) {
    }
    cr_assert_eq(kill(world->before, signal_number), 0);
    load_connect(scene->load, http_port);
    run_until_ended(scene, world->before);
    cr_assert_eq(world_await_before(world), 128 + SIGKILL);
    world_await_ready(world);
    cr_assert(has_logged(world, "handover.cut"));
    expect_reachable(scene, what);
}

Test(handover, goes_on_without_a_daemon_that_hangs_or_dies_in_its_drain)
{
    struct world *world = world_new();
    struct scene scene;
    world_set(world, "drain_ms", "1000");
    world_set(world, "test_delivery_delay_ms", "10000"); /* a drain waits for them a while */
    scene_start(&scene, world);
    take_over_from_a_lost_one(&scene, SIGKILL, "the running one dies");
    take_over_from_a_lost_one(&scene, SIGSTOP, "the running one hangs");
    scene_end(&scene);
}
