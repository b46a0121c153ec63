/* world.c - the world's processes: the daemon and its neighbours. The HTTP side is world_http.c. */
#include "support/world.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"

#define TOOL_WORDS_MAX 24
#define STOP_WAIT_MS   30000 /* more than drain_ms */
#define POLL_NS        4000000
#define LOG_TAIL_BYTES 6000
#define ARGS_MAX       48
#define KEPT_MAX       64
#define TXT_PIECE      250 /* RFC 1035 3.3: a string of a TXT record has at most 255 bytes */
#define FAILED_TO_EXEC 127

extern char **environ;

/* ---- small things ---------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct wait wait_start(uint64_t ms)
{
    return (struct wait){now_ms() + ms};
}

bool wait_more(struct wait *wait)
{
    struct timespec pause = {0, POLL_NS};
    if (now_ms() >= wait->end_ms) {
        return false;
    }
    (void)nanosleep(&pause, NULL); /* cut short by a signal is as good */
    return true;
}

bool wait_until(wait_fn *is_true, void *context, uint64_t ms)
{
    struct wait wait = wait_start(ms);
    while (!is_true(context)) {
        if (!wait_more(&wait)) {
            return false;
        }
    }
    return true;
}

const char *world_vtext(struct world *world, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    CHECK(len >= 0);
    char *text = arena_bytes(&world->arena, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, fmt, args); /* as long as just measured */
    return text;
}

const char *world_text(struct world *world, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = world_vtext(world, fmt, args);
    va_end(args);
    return text;
}

/* A file that is not there is an empty one. */
struct slice world_read_file(struct world *world, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &info) == -1) {
        return SLICE("");
    }
    size_t size = (size_t)info.st_size;
    char *data = arena_bytes(&world->arena, size + 1);
    size_t len = 0;
    ssize_t count = 1;
    while (len < size && count > 0) {
        count = read(fd, data + len, size - len);
        len += count > 0 ? (size_t)count : 0;
    }
    (void)close(fd); /* it was only read */
    data[len] = '\0';
    return slice_of(data, len);
}

void world_write_file(struct world *world, const char *path, struct slice content)
{
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(content.data, 1, content.len, file) != content.len ||
        fclose(file) != 0) {
        world_fail(world, "cannot write %s: %s", path, strerror(errno));
    }
}

struct slice world_log(struct world *world)
{
    return world_read_file(world, world->log);
}

void world_fail(struct world *world, const char *fmt, ...)
{
    va_list args;
    struct slice log = world_log(world);
    size_t skip = log.len > LOG_TAIL_BYTES ? log.len - LOG_TAIL_BYTES : 0;
    fprintf(stderr, "---- end of the daemon's log in %s\n%.*s\n---- ", world->dir,
            SLICE_FMT(slice_from(log, skip)));
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args); /* nowhere else to complain */
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

const char *world_program(struct world *world, const char *name)
{
    const char *build = getenv("MEERKAT_BUILD");
    if (build != NULL) {
        return world_text(world, "%s/%s", build, name);
    }
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(len > 0);
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    return world_text(world, "%s/%s", self, name);
}

/* ---- the keeper ------------------------------------------------------------------------------
 *
 * A process beside the test that knows its children and, when the test has died, ends them and
 * removes the folder. The kernel's own signal at a parent's death (PR_SET_PDEATHSIG) is forgotten
 * by programs that change their user, as dnsmasq and Postfix do.
 */

static int remove_one(const char *path, const struct stat *info UNUSED, int type UNUSED,
                      struct FTW *where UNUSED)
{
    return remove(path);
}

static void remove_folder(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* what stays does no harm */
}

NORETURN static void keep(int fd, const char *dir)
{
    int32_t pids[KEPT_MAX] = {0};
    int32_t news; /* a pid that was born, or a negative one that is gone */
    while (read(fd, &news, sizeof news) == sizeof news) {
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
            if (pids[i] == (news < 0 ? -news : 0)) {
                pids[i] = news < 0 ? 0 : news;
                break;
            }
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        if (pids[i] != 0) {
            (void)kill(pids[i], SIGKILL); /* it may be gone */
        }
    }
    if (getenv("MEERKAT_KEEP") == NULL) {
        remove_folder(dir);
    }
    _exit(0);
}

/* Leaves the test's files and its process group, so that nobody waits for it. */
static void start_keeper(struct world *world)
{
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    world->keeper = fork();
    CHECK(world->keeper != -1);
    if (world->keeper == 0) {
        (void)setsid(); /* cannot fail in a new child */
        if (dup2(ends[0], STDIN_FILENO) == -1 || close_range(STDIN_FILENO + 1, ~0U, 0) == -1) {
            _exit(1);
        }
        keep(STDIN_FILENO, world->dir);
    }
    (void)close(ends[0]); /* the keeper's */
    world->keeper_fd = ends[1];
}

static void tell_keeper(struct world *world, pid_t news)
{
    int32_t pid = news;
    CHECK(write(world->keeper_fd, &pid, sizeof pid) == sizeof pid);
}

/* ---- children -------------------------------------------------------------------------------- */

struct spawn {
    const char *const *argv;
    char **envp;
    const char *output; /* appended to */
    const char *input;  /* file, or NULL: /dev/null */
    const struct world_passed *passed;
    uint32_t passed_count;
};

/* In the child, as systemd does it. The last descriptor that is to stay open, or -1. */
static int pass_sockets(const struct spawn *spawn)
{
    int lifted[WORLD_PASSED_MAX];
    int last = STDERR_FILENO;
    for (uint32_t i = 0; i < spawn->passed_count; i++) {
        lifted[i] = fcntl(spawn->passed[i].fd, F_DUPFD, STDERR_FILENO + 1 + WORLD_PASSED_MAX);
    }
    for (uint32_t i = 0; i < spawn->passed_count; i++) {
        last = dup2(lifted[i], last + 1);
        if (last == -1) {
            return -1;
        }
    }
    return last;
}

/* In the child, once its environment is set. */
static void tell_passed(const struct spawn *spawn)
{
    char text[KEPT_MAX * WORLD_PASSED_MAX] = "";
    size_t len = 0;
    if (spawn->passed_count == 0) {
        return;
    }
    for (uint32_t i = 0; i < spawn->passed_count && spawn->passed[i].name != NULL; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i == 0 ? "" : ":",
                                spawn->passed[i].name);
    }
    if (len > 0) {
        CHECK(setenv("LISTEN_FDNAMES", text, 1) == 0);
    }
    (void)snprintf(text, sizeof text, "%u", (unsigned)spawn->passed_count);
    CHECK(setenv("LISTEN_FDS", text, 1) == 0);
    (void)snprintf(text, sizeof text, "%d", (int)getpid());
    CHECK(setenv("LISTEN_PID", text, 1) == 0);
}

static pid_t spawn(struct world *world, const struct spawn *spawn)
{
    const char *input = spawn->input != NULL ? spawn->input : "/dev/null";
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == -1) {
        world_fail(world, "fork: %s", strerror(errno));
    }
    if (pid > 0) {
        tell_keeper(world, pid);
        return pid;
    }
    sigset_t none;
    (void)sigemptyset(&none); /* cannot fail */
    int in = open(input, O_RDONLY);
    int passed = STDERR_FILENO;
    int out = open(spawn->output, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent ||
        sigprocmask(SIG_SETMASK, &none, NULL) == -1 || in == -1 || out == -1 ||
        dup2(in, STDIN_FILENO) == -1 || dup2(out, STDOUT_FILENO) == -1 ||
        dup2(out, STDERR_FILENO) == -1 || (passed = pass_sockets(spawn)) == -1 ||
        close_range((unsigned)passed + 1, ~0U, 0) == -1) {
        _exit(FAILED_TO_EXEC);
    }
    environ = spawn->envp != NULL ? spawn->envp : environ;
    tell_passed(spawn);
    (void)execvp(spawn->argv[0], (char *const *)(uintptr_t)spawn->argv); /* returns only to fail */
    _exit(FAILED_TO_EXEC);
}

/* Exit status, or 128 and the signal; -1 when it did not end in time. */
static int reap(struct world *world, pid_t pid, uint64_t ms)
{
    struct wait wait = wait_start(ms);
    do {
        int status = 0;
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) {
            tell_keeper(world, -pid);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (got == -1) {
            return FAILED_TO_EXEC;
        }
    } while (wait_more(&wait));
    return -1;
}

struct peer *world_spawn(struct world *world, const char *name, const char *const *argv)
{
    CHECK(world->peer_count < WORLD_PEERS_MAX);
    struct peer *peer = &world->peers[world->peer_count];
    peer->name = name;
    peer->output = world_text(world, "%s/%s-%u.out", world->dir, name, (unsigned)world->peer_count);
    struct spawn how = {.argv = argv, .output = peer->output};
    peer->pid = spawn(world, &how);
    world->peer_count += 1;
    return peer;
}

void world_peer_stop(struct world *world, struct peer *peer, int signal_number)
{
    if (peer->pid == 0) {
        return;
    }
    (void)kill(peer->pid, signal_number); /* it may have ended by itself */
    int status = reap(world, peer->pid, WORLD_WAIT_MS);
    if (status == -1) {
        world_fail(world, "%s does not stop", peer->name);
    }
    peer->pid = 0;
}

/* ---- the world ------------------------------------------------------------------------------- */

struct world *world_new(void)
{
    struct world *world = mem_zalloc(sizeof *world);
    char dir[] = "/tmp/meerkat-world-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    arena_init(&world->arena, 64 * KIB, UINT64_C(4096) * MIB);
    world->dir = world_text(world, "%s", dir);
    world->data = world_text(world, "%s/data", dir);
    world->log = world_text(world, "%s/meerkatd.log", dir);
    world->dns_records = mem_zalloc(1);
    world->documents = json_array();
    world->curl = curl_easy_init();
    CHECK(world->curl != NULL);
    start_keeper(world);
    world_set(world, "data", "%s", world->data);
    world_set(world, "http_listen", "127.0.0.1:0");
    world_set(world, "hostname", WORLD_HOST);
    world_set(world, "allow_private_targets", "yes");
    world_set(world, "loops", "2");
    world_set(world, "reserve_mb", "1");
    world_set(world, "drain_ms", "4000");
    world_set(world, "log_level", "info");
    world_set(world, "rate_account_per_min", "10000000"); /* counted, but out of the way */
    world_set(world, "rate_key_per_min", "10000000");
    world_set(world, "rate_address_per_min", "10000000");
    return world;
}

void world_end(struct world *world)
{
    if (world->daemon != 0) {
        world_stop(world);
    }
    for (uint32_t i = 0; i < world->peer_count; i++) {
        world_peer_stop(world, &world->peers[i], SIGTERM);
    }
    (void)close(world->keeper_fd); /* it leaves, and removes the folder */
    CHECK(waitpid(world->keeper, NULL, 0) == world->keeper);
    curl_easy_cleanup(world->curl);
    json_decref(world->documents);
    free(world->dns_records);
    arena_fini(&world->arena);
    free(world);
}

void world_set(struct world *world, const char *name, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *value = world_vtext(world, fmt, args);
    va_end(args);
    for (uint32_t i = 0; i < world->option_count; i++) {
        if (strcmp(world->options[i].name, name) == 0) {
            world->options[i].value = value;
            return;
        }
    }
    CHECK(world->option_count < WORLD_OPTIONS_MAX);
    world->options[world->option_count++] = (struct world_option){name, value};
}

/* ---- the daemon ------------------------------------------------------------------------------ */

/* The parent's environment with the options in place of its own MEERKAT_ names. */
static char **daemon_environment(struct world *world)
{
    size_t count = 0;
    while (environ[count] != NULL) {
        count += 1;
    }
    char **envp = arena_array(&world->arena, count + world->option_count + 1, sizeof *envp);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "MEERKAT_", 8) != 0) {
            envp[n++] = environ[i];
        }
    }
    for (uint32_t i = 0; i < world->option_count; i++) {
        const struct world_option *option = &world->options[i];
        char upper[64] = "";
        for (size_t at = 0; option->name[at] != '\0' && at < sizeof upper - 1; at++) {
            bool is_lower = option->name[at] >= 'a' && option->name[at] <= 'z';
            upper[at] = (char)(option->name[at] - (is_lower ? 32 : 0));
        }
        char *entry = (char *)(uintptr_t)world_text(world, "MEERKAT_%s=%s", upper, option->value);
        envp[n++] = entry;
    }
    return envp;
}

static void start_daemon(struct world *world, const char *argument)
{
    const char *argv[] = {world_program(world, "meerkatd"), argument, NULL};
    struct spawn how = {.argv = argv,
                        .output = world->log,
                        .envp = daemon_environment(world),
                        .passed = world->passed,
                        .passed_count = world->passed_count};
    CHECK(world->daemon == 0);
    world->daemon = spawn(world, &how);
}

static bool read_run_file(struct world *world)
{
    const char *path = world_text(world, "%s/run.json", world->data);
    json_t *run = json_load_file(path, 0, NULL);
    bool is_ours = json_integer_value(json_object_get(run, "pid")) == world->daemon;
    if (is_ours) { /* not one left behind by a killed daemon */
        world->http_port = (uint16_t)json_integer_value(json_object_get(run, "http"));
        world->smtp_port = (uint16_t)json_integer_value(json_object_get(run, "smtp"));
        world->submission_port = (uint16_t)json_integer_value(json_object_get(run, "submission"));
        world->submissions_port = (uint16_t)json_integer_value(json_object_get(run, "submissions"));
        world->https_port = (uint16_t)json_integer_value(json_object_get(run, "https"));
    }
    json_decref(run);
    return is_ours;
}

void world_launch(struct world *world)
{
    if (world->dns == NULL) {
        world_dns(world, "host-record=%s,127.0.0.1\n", WORLD_HOST);
    }
    world_set(world, "dns_servers", "127.0.0.1:%u",
              (unsigned)(world->resolver_port != 0 ? world->resolver_port : world->dns->tcp_port));
    start_daemon(world, NULL);
}

void world_pass(struct world *world, const char *name, int fd)
{
    CHECK(world->passed_count < WORLD_PASSED_MAX);
    world->passed[world->passed_count++] = (struct world_passed){name, fd};
}

void world_launch_takeover(struct world *world)
{
    CHECK(world->before == 0);
    world->before = world->daemon;
    world->daemon = 0;
    start_daemon(world, "--takeover");
}

int world_await_before(struct world *world)
{
    CHECK(world->before != 0);
    int status = reap(world, world->before, STOP_WAIT_MS);
    if (status == -1) {
        world_fail(world, "the daemon before does not end");
    }
    world->before = 0;
    return status;
}

void world_start(struct world *world)
{
    world_launch(world);
    world_await_ready(world);
}

void world_await_ready(struct world *world)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!read_run_file(world)) {
        int status = reap(world, world->daemon, 0);
        if (status != -1) {
            world_fail(world, "meerkatd ended with %d instead of starting", status);
        }
        if (!wait_more(&wait)) {
            world_fail(world, "meerkatd does not get ready");
        }
    }
}

static int run_daemon(struct world *world, const char *argument)
{
    start_daemon(world, argument);
    int status = reap(world, world->daemon, WORLD_WAIT_MS);
    if (status == -1) {
        world_fail(world, "meerkatd runs on");
    }
    world->daemon = 0;
    return status;
}

int world_run(struct world *world)
{
    return run_daemon(world, NULL);
}

int world_check_config(struct world *world)
{
    return run_daemon(world, "--check-config");
}

void world_stop(struct world *world)
{
    CHECK(world->daemon != 0);
    curl_easy_cleanup(world->curl); /* hang up: a drain waits a second for idle clients */
    world->curl = curl_easy_init();
    CHECK(world->curl != NULL);
    (void)kill(world->daemon, SIGTERM); /* it may have ended by itself; the status tells */
    world_await_stop(world);
}

void world_await_stop(struct world *world)
{
    static const char *const reports[] = {"Sanitizer", "runtime error:", "CHECK("};
    CHECK(world->daemon != 0);
    int status = reap(world, world->daemon, STOP_WAIT_MS);
    if (status != 0) {
        world_fail(world, status == -1 ? "meerkatd does not stop (%d)" : "meerkatd ended with %d",
                   status);
    }
    world->daemon = 0;
    struct slice log = world_log(world);
    for (size_t i = 0; i < ARRAY_LEN(reports); i++) {
        if (slice_find(log, slice_str(reports[i])) != SIZE_MAX) {
            world_fail(world, "there is a report of \"%s\" in the log", reports[i]);
        }
    }
}

void world_kill(struct world *world)
{
    CHECK(world->daemon != 0);
    (void)kill(world->daemon, SIGKILL); /* gone already is as good */
    if (reap(world, world->daemon, WORLD_WAIT_MS) == -1) {
        world_fail(world, "meerkatd survives SIGKILL");
    }
    world->daemon = 0;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static int bind_port(int type, uint16_t tcp_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(tcp_port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    CHECK(fd != -1);
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) == -1) {
        (void)close(fd); /* nothing was written */
        return -1;
    }
    return fd;
}

uint16_t world_free_port(void)
{
    for (;;) {
        struct sockaddr_in addr;
        socklen_t len = sizeof addr;
        int tcp = bind_port(SOCK_STREAM, 0);
        CHECK(tcp != -1 && getsockname(tcp, (struct sockaddr *)&addr, &len) == 0);
        int udp = bind_port(SOCK_DGRAM, ntohs(addr.sin_port));
        (void)close(tcp); /* nothing was written, here and below */
        if (udp != -1) {
            (void)close(udp);
            return ntohs(addr.sin_port);
        }
    }
}

bool world_is_listening(uint16_t tcp_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(tcp_port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd != -1);
    bool is_good = connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0;
    (void)close(fd); /* nothing was written */
    return is_good;
}

/* ---- DNS ------------------------------------------------------------------------------------- */

static void start_dns(struct world *world, uint16_t tcp_port)
{
    const char *path = world_text(world, "%s/dnsmasq.conf", world->dir);
    const char *text =
        world_text(world,
                   "port=%u\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n"
                   "no-poll\nkeep-in-foreground\nuser=\npid-file=\nlocal=/test/\n%s",
                   (unsigned)tcp_port, world->dns_records);
    world_write_file(world, path, slice_str(text));
    const char *argv[] = {"/usr/sbin/dnsmasq", "-C", path, NULL};
    struct spawn how = {.argv = argv, .output = world->dns->output};
    world->dns->pid = spawn(world, &how);
    world->dns->tcp_port = tcp_port;
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!world_is_listening(tcp_port)) {
        int status = reap(world, world->dns->pid, 0);
        if (status != -1 || !wait_more(&wait)) {
            world_fail(world, "dnsmasq does not start (%d): %s", status,
                       world_read_file(world, world->dns->output).data);
        }
    }
}

void world_dns(struct world *world, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *more = world_vtext(world, fmt, args);
    va_end(args);
    size_t len = strlen(world->dns_records);
    world->dns_records = mem_realloc(world->dns_records, len + strlen(more) + 2);
    memcpy(world->dns_records + len, more, strlen(more) + 1);
    uint16_t tcp_port = 0;
    if (world->dns == NULL) {
        CHECK(world->peer_count < WORLD_PEERS_MAX);
        world->dns = &world->peers[world->peer_count++];
        world->dns->name = "dnsmasq";
        world->dns->output = world_text(world, "%s/dnsmasq.out", world->dir);
        tcp_port = world_free_port();
    } else {
        tcp_port = world->dns->tcp_port;
        world_peer_stop(world, world->dns, SIGTERM);
    }
    start_dns(world, tcp_port);
}

void world_dns_forget(struct world *world)
{
    world->dns_records[0] = '\0';
}

void world_dns_stop(struct world *world)
{
    world_peer_stop(world, world->dns, SIGTERM);
}

/* One line of dnsmasq's configuration. Long texts in pieces, each in quotes. */
static const char *dns_line(struct world *world, json_t *record)
{
    const char *type = json_string_value(json_object_get(record, "type"));
    const char *name = json_string_value(json_object_get(record, "name"));
    const char *value = json_string_value(json_object_get(record, "value"));
    CHECK(type != NULL && name != NULL && value != NULL);
    if (strcmp(type, "MX") == 0) {
        return world_text(world, "mx-host=%s,%s,%d\n", name, value,
                          (int)json_integer_value(json_object_get(record, "priority")));
    }
    if (strcmp(type, "CNAME") == 0) {
        return world_text(world, "cname=%s,%s\n", name, value);
    }
    const char *line = world_text(world, "txt-record=%s", name);
    for (struct slice rest = slice_str(value); rest.len > 0; rest = slice_from(rest, TXT_PIECE)) {
        line = world_text(world, "%s,\"%.*s\"", line, SLICE_FMT(slice_head(rest, TXT_PIECE)));
    }
    return world_text(world, "%s\n", line);
}

void world_publish(struct world *world, const struct reply *reply, const char *purpose)
{
    size_t index;
    json_t *record;
    const char *lines = "";
    json_array_foreach(reply_at(reply, "dns"), index, record)
    {
        const char *is_for = json_string_value(json_object_get(record, "purpose"));
        CHECK(is_for != NULL);
        if (purpose == NULL || strcmp(purpose, is_for) == 0) {
            lines = world_text(world, "%s%s", lines, dns_line(world, record));
        }
    }
    if (lines[0] == '\0') {
        world_fail(world, "there are no records to publish: %.*s", SLICE_FMT(reply->body));
    }
    world_dns(world, "%s", lines);
}

/* ---- sinks ----------------------------------------------------------------------------------- */

uint16_t world_await_port(struct world *world, struct peer *peer, const char *path)
{
    uint64_t port = 0;
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (slice_uint(slice_trim(world_read_file(world, path)), 65535, &port) != ERR_OK) {
        int status = reap(world, peer->pid, 0);
        if (status != -1 || !wait_more(&wait)) {
            world_fail(world, "%s does not start (%d): %s", peer->name, status,
                       world_read_file(world, peer->output).data);
        }
    }
    return (uint16_t)port;
}

struct peer *world_sink(struct world *world, const char *ip, const char *const *arguments)
{
    uint16_t tcp_port = 0;
    for (uint32_t i = 0; i < world->peer_count; i++) {
        tcp_port = world->peers[i].store != NULL ? world->peers[i].tcp_port : tcp_port;
    }
    unsigned number = world->peer_count;
    const char *store = world_text(world, "%s/sink-%u", world->dir, number);
    const char *port_file = world_text(world, "%s/sink-%u.port", world->dir, number);
    const char *web_file = world_text(world, "%s/sink-%u.web", world->dir, number);
    const char *argv[ARGS_MAX] = {world_program(world, "sink"),
                                  "--listen",
                                  world_text(world, "%s:%u", ip, (unsigned)tcp_port),
                                  "--port-file",
                                  port_file,
                                  "--http-listen",
                                  "127.0.0.1:0",
                                  "--http-port-file",
                                  web_file,
                                  "--store",
                                  store};
    size_t n = 11;
    while (arguments != NULL && *arguments != NULL) {
        CHECK(n < ARGS_MAX - 1);
        argv[n++] = *arguments++;
    }
    struct peer *peer = world_spawn(world, "sink", argv);
    peer->store = store;
    peer->http_port = world_await_port(world, peer, web_file);
    peer->tcp_port = world_await_port(world, peer, port_file);
    if (tcp_port == 0) {
        world_set(world, "smtp_port", "%u", (unsigned)peer->tcp_port);
    }
    return peer;
}

/* The path of the n-th mail, or NULL. */
static const char *find_mail(struct world *world, const struct peer *sink, uint32_t number)
{
    char prefix[16];
    int len = snprintf(prefix, sizeof prefix, "%06u-", (unsigned)number);
    const char *path = NULL;
    DIR *dir = opendir(sink->store);
    struct dirent *entry;
    while (dir != NULL && path == NULL && (entry = readdir(dir)) != NULL) {
        struct slice name = slice_str(entry->d_name);
        if (slice_starts(name, slice_of(prefix, (size_t)len)) && slice_ends(name, SLICE(".eml"))) {
            path = world_text(world, "%s/%s", sink->store, entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* it was only read */
    }
    return path;
}

struct slice world_sink_mail(struct world *world, const struct peer *sink, uint32_t number)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    const char *path = find_mail(world, sink, number);
    while (path == NULL) {
        if (!wait_more(&wait)) {
            world_fail(world, "mail %u does not come to the sink", (unsigned)number);
        }
        path = find_mail(world, sink, number);
    }
    return world_read_file(world, path);
}

/* ---- tools ----------------------------------------------------------------------------------- */

int world_tool(struct world *world, const char *const *argv, struct slice input,
               struct slice *output)
{
    const char *in = world_text(world, "%s/tool.in", world->dir);
    const char *out = world_text(world, "%s/tool.out", world->dir);
    struct spawn how = {.argv = argv, .input = in, .output = out};
    world_write_file(world, in, input);
    (void)unlink(out); /* of the run before */
    int status = reap(world, spawn(world, &how), 4 * WORLD_WAIT_MS);
    struct slice said = world_read_file(world, out);
    if (status != 0) {
        fprintf(stderr, "%s: %.*s\n", argv[0], SLICE_FMT(said));
    }
    if (output != NULL) {
        *output = said;
    }
    return status;
}

int world_ctl(struct world *world, const char *data, const char *words, struct slice input,
              struct slice *output)
{
    const char *argv[TOOL_WORDS_MAX + 4] = {world_program(world, "meerkatctl"), "--data",
                                            data != NULL ? data : world->data};
    struct slice rest = slice_str(words);
    for (size_t i = 3; rest.len > 0; i++) {
        CHECK(i < TOOL_WORDS_MAX + 3);
        argv[i] = arena_cstr(&world->arena, slice_cut(&rest, ' '));
    }
    return world_tool(world, argv, input, output);
}

void world_verify(struct world *world)
{
    const char *argv[] = {
        world_program(world, "meerkatctl"), "--data", world->data, "verify", "--offline", NULL};
    struct slice said;
    CHECK(world->daemon == 0);
    int status = world_tool(world, argv, SLICE(""), &said);
    if (status != 0) {
        world_fail(world, "meerkatctl verify ends with %d: %.*s", status, SLICE_FMT(said));
    }
}
