/* main.c - meerkatd: configuration, store, topology, start, drain, stop.
 *
 * The main thread runs a small loop of its own with one actor on it, which walks the phases below
 * by sending CONTROL messages and counting them home:
 *
 *   START_SHARDS -> READ_LEDGER -> START_DELIVER -> START_EDGES -> RUNNING -> QUIET -> DRAIN_EDGES
 *        -> DRAIN_DELIVER -> DRAIN_SHARDS -> STOP_ALL -> STOP_COMMIT -> ENDED
 *
 * QUIET is for those whose sockets outlive them: edges answer while deliveries end, so that who
 * waits for the next run does not wait for these.
 *
 * A service manager is told when listeners are open, and that we live: each time that every edge,
 * every shard and delivery has answered a ping. The committer gets none: it waits for the disk. The
 * keeper gets none either: it waits for disks that are not even ours, and no mail waits for it.
 *
 * While it runs the operator may say something to main as well: src/operate.
 *
 * SIGTERM and SIGINT leave RUNNING; SIGHUP reloads certificates and rules and opens the log anew,
 * SIGUSR1 only that. A second SIGTERM ends at once: everything acknowledged is on disk, so nothing
 * is lost by it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "activation.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/sm.h"
#include "base/version.h"
#include "deliver/deliver.h"
#include "edge/edge.h"
#include "edge/process.h"
#include "handover.h"
#include "inspect.h"
#include "kv/kv.h"
#include "kv/migrate.h"
#include "mail/mime_read.h"
#include "manual.h"
#include "net/loop.h"
#include "notify.h"
#include "operate.h"
#include "sample.h"
#include "shards/actor.h"
#include "shards/commit.h"
#include "shards/keeper.h"
#include "shards/place.h"
#include "shards/shard.h"

#define CACHE_BYTES    (48 * MIB)
#define MEMTABLE_BYTES (64 * MIB)
#define FILES_WANTED   65536
#define SECOND_MS      1000
#define WATCHDOG_PINGS 3 /* in the time in which one is wanted */

enum phase {
    PHASE_START_SHARDS,
    PHASE_READ_LEDGER,
    PHASE_START_DELIVER,
    PHASE_START_EDGES,
    PHASE_RUNNING,
    PHASE_QUIET,
    PHASE_DRAIN_EDGES,
    PHASE_DRAIN_DELIVER,
    PHASE_DRAIN_SHARDS,
    PHASE_STOP_ALL,
    PHASE_STOP_COMMIT,
    PHASE_ENDED,
    PHASE_COUNT
};

static const struct sm_state phase_states[] = {
    [PHASE_START_SHARDS] = {"start_shards", SM_TO(PHASE_READ_LEDGER)},
    [PHASE_READ_LEDGER] = {"read_ledger", SM_TO(PHASE_START_DELIVER)},
    [PHASE_START_DELIVER] = {"start_deliver", SM_TO(PHASE_START_EDGES)},
    [PHASE_START_EDGES] = {"start_edges", SM_TO(PHASE_RUNNING) | SM_TO(PHASE_DRAIN_EDGES)},
    [PHASE_RUNNING] = {"running", SM_TO(PHASE_QUIET) | SM_TO(PHASE_DRAIN_EDGES)},
    [PHASE_QUIET] = {"quiet", SM_TO(PHASE_DRAIN_EDGES)},
    [PHASE_DRAIN_EDGES] = {"drain_edges", SM_TO(PHASE_DRAIN_DELIVER)},
    [PHASE_DRAIN_DELIVER] = {"drain_deliver", SM_TO(PHASE_DRAIN_SHARDS)},
    [PHASE_DRAIN_SHARDS] = {"drain_shards", SM_TO(PHASE_STOP_ALL)},
    [PHASE_STOP_ALL] = {"stop_all", SM_TO(PHASE_STOP_COMMIT)},
    [PHASE_STOP_COMMIT] = {"stop_commit", SM_TO(PHASE_ENDED)},
    [PHASE_ENDED] = {"ended", 0},
};
_Static_assert(ARRAY_LEN(phase_states) == PHASE_COUNT, "a row for each phase");

static const struct sm_table phase_table = {"main", phase_states, PHASE_COUNT};

struct server {
    struct conf conf;
    struct seal_key master;
    struct kv *kv;
    struct place place;
    struct sockets sockets;
    struct commit commit;
    struct loop main_loop;
    struct loop loops[LOOP_COUNT_MAX];
    struct loop deliver_loop;
    struct loop keeper_loop;
    struct shard *shards[SHARD_COUNT_MAX];
    struct shard *deliver_shard;
    struct edge *edges[LOOP_COUNT_MAX];
    struct deliver *deliver;
    struct keeper *keeper;

    struct actor actor; /* main's own */
    struct operate operate;
    struct sm phase;
    uint32_t waiting; /* CONTROL messages out */
    uint32_t next_edge;
    uint16_t tcp_port;
    uint16_t tls_tcp_port;
    uint16_t smtp_tcp_port;
    uint16_t submit_tcp_ports[2 * SUBMIT_LISTEN_MAX];
    uint64_t session_keys; /* as the ledger has them */
    uint64_t drain_deadline_ms;
    bool has_failed_start;
    bool is_stop_asked;
    bool is_reload_asked;
    bool is_reloading; /* what is out is a reload */
    bool is_pinging;   /* what is out are pings */
    bool has_left_job; /* the keeper's worker is at what cannot be cut short */
    struct notify notify;
    struct handover handover;
    bool was_held; /* by a service manager, before the next one had the sockets */
    struct timer watchdog;
    struct sampler sampler;
    uv_signal_t signals[4];
};

static void enter(struct server *server, enum phase phase);

/* ---- the data folder ------------------------------------------------------------------------ */

static void check_folder(const char *path)
{
    char why[INSPECT_WHY_MAX];
    if (mkdir(path, 0700) == -1 && errno != EEXIST) {
        fatal("cannot make the data folder %s: %s; create it, or set `data` to a folder that user "
              "%u may write",
              path, strerror(errno), (unsigned)geteuid());
    }
    if (!inspect_folder(path, why)) {
        fatal("%s", why);
    }
}

/* A name is on disk when its folder is: a store must not outlive the name of its key. */
static bool sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = fd != -1 && fsync(fd) == 0;
    if (fd != -1) {
        (void)close(fd); /* it was only synced */
    }
    return is_synced;
}

static void make_master_key(const char *folder, const char *path, struct seal_key *master)
{
    char temporary[4096 + 8];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    crypto_random(master->bytes, sizeof master->bytes);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd == -1 || write(fd, master->bytes, sizeof master->bytes) != sizeof master->bytes ||
        fsync(fd) == -1 || close(fd) == -1 || rename(temporary, path) == -1 ||
        !sync_folder(folder)) {
        fatal("cannot write the master key %s: %s; free space or fix permissions there", path,
              strerror(errno));
    }
}

/* The key under which DKIM private keys and session secrets are sealed. It lives beside the store,
 * not in it: a copy of the store alone opens nothing. Lost, it cannot be made again;
 * docs/OPERATIONS.md says to back it up. */
static void load_master_key(const char *folder, struct seal_key *master)
{
    char why[INSPECT_WHY_MAX];
    char path[4096];
    if (!inspect_master_key(folder, why)) {
        fatal("%s", why);
    }
    snprintf(path, sizeof path, "%s/master.key", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 && errno == ENOENT) {
        make_master_key(folder, path, master);
        return;
    }
    if (fd == -1 || read(fd, master->bytes, sizeof master->bytes) != sizeof master->bytes) {
        fatal("cannot read the master key %s: %s; fix its owner and mode (0600)", path,
              strerror(errno));
    }
    (void)close(fd); /* it was only read */
}

static void open_store(struct server *server)
{
    struct arena arena;
    arena_init(&arena, 4096, MIB);
    const char *folder = arena_cstr(&arena, server->conf.data);
    struct slice path = arena_format(&arena, "%s/store", folder);
    check_folder(folder);
    load_master_key(folder, &server->master);

    struct kv_options options = {
        .path = path,
        .shard_count = (uint32_t)server->conf.shards,
        .cache_bytes = CACHE_BYTES,
        .memtable_bytes = MEMTABLE_BYTES,
    };
    struct store_stamp stamp;
    if (kv_open(&options, &server->kv) != ERR_OK ||
        migrate_open(server->kv, clock_unix_ms(), &stamp) != ERR_OK) {
        log_stop();
        fatal("the store %.*s cannot be opened; the line above says why", SLICE_FMT(path));
    }
    server->place.shard_count = stamp.shard_count;
    server->place.boot = stamp.boot;
    arena_fini(&arena);
}

/* For tools and scripts: what this run listens on. Removed at a clean stop. */
static void write_run_file(const struct server *server, bool is_present)
{
    char path[4096];
    char temporary[4096 + 8];
    snprintf(path, sizeof path, "%.*s/run.json", SLICE_FMT(server->conf.data));
    if (!is_present) {
        (void)unlink(path); /* absent is as good */
        return;
    }
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *file = fopen(temporary, "we");
    if (file == NULL ||
        fprintf(file,
                "{\"pid\":%d,\"http\":%u,\"https\":%u,\"smtp\":%u,\"submission\":%u,"
                "\"submissions\":%u}\n",
                (int)getpid(), (unsigned)server->tcp_port, (unsigned)server->tls_tcp_port,
                (unsigned)server->smtp_tcp_port, (unsigned)server->submit_tcp_ports[0],
                (unsigned)server->submit_tcp_ports[SUBMIT_LISTEN_MAX]) < 0 ||
        fclose(file) != 0 || rename(temporary, path) == -1) {
        LOG_WARN("main.run_file", LOG_STR("path", path), LOG_STR("reason", strerror(errno)));
    }
}

/* ---- topology ------------------------------------------------------------------------------- */

static uint32_t core_count(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : (uint32_t)cores;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        return;
    }
    rlim_t wanted = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) == -1) {
            LOG_WARN("main.file_limit", LOG_STR("reason", strerror(errno)));
        }
    }
}

static void build(struct server *server)
{
    struct place *place = &server->place;
    uint64_t loops = server->conf.loops != 0 ? server->conf.loops : core_count();
    place->conf = &server->conf;
    place->started_unix_ms = process_started();
    place->sockets = &server->sockets;
    place->master = &server->master;
    place->loop_count = (uint32_t)min_u64(loops, LOOP_COUNT_MAX);
    /* One more than asked for: the keeper has one of them for as long as a job takes. */
    loop_set_workers((uint32_t)(server->conf.workers != 0 ? server->conf.workers : core_count()) +
                     1);

    commit_init(&server->commit, server->kv, &server->conf, place->loop_count + 2);
    place->commit = &server->commit.actor;
    char name[16];
    for (uint32_t i = 0; i < place->loop_count; i++) {
        snprintf(name, sizeof name, "loop%u", (unsigned)i);
        loop_init(&server->loops[i], name, i + 1);
    }
    loop_init(&server->deliver_loop, "deliver", place->loop_count + 1);
    loop_init(&server->keeper_loop, "keeper", place->loop_count + 3);
    placement_init(&server->operate.placement, place->shard_count, place->loop_count);
    placement_load(&server->operate.placement, server->kv);
    for (uint32_t i = 0; i < place->shard_count; i++) {
        struct loop *loop = &server->loops[server->operate.placement.loops[i]];
        server->shards[i] = shard_new(place, server->kv, i, loop);
        place->shards[i] = shard_actor(server->shards[i]);
    }
    server->deliver_shard = shard_new(place, server->kv, KV_FAMILY_DELIVER, &server->deliver_loop);
    place->deliver_shard = shard_actor(server->deliver_shard);
    server->deliver = deliver_new(place, &server->deliver_loop);
    place->deliver = deliver_actor(server->deliver);
    server->keeper = keeper_new(place, server->kv, &server->keeper_loop);
    place->keeper = keeper_actor(server->keeper);
    for (uint32_t i = 0; i < place->loop_count; i++) {
        server->edges[i] = edge_new(place, (uint16_t)i, &server->loops[i]);
        place->edges[i] = edge_actor(server->edges[i]);
    }
}

static void start_threads(struct server *server)
{
    commit_start(&server->commit);
    loop_start(&server->deliver_loop);
    loop_start(&server->keeper_loop);
    for (uint32_t i = 0; i < server->place.loop_count; i++) {
        loop_start(&server->loops[i]);
    }
}

/* A worker is in the middle of what cannot be cut short, and holds the store. Everything else has
 * ended, and what was acknowledged is on disk, so the process may end around it. */
static void leave_job(struct server *server)
{
    if (!server->has_left_job) {
        return;
    }
    write_run_file(server, false);
    LOG_INFO("main.stopped", LOG_BOOL("clean", !server->has_failed_start));
    log_stop();
    notify_close(&server->notify);
    _exit(server->has_failed_start ? 1 : 0);
}

static void start_sampler(struct server *server)
{
    for (uint32_t i = 0; i < server->place.loop_count; i++) {
        sampler_add_loop(&server->sampler, &server->loops[i]);
    }
    sampler_add_loop(&server->sampler, &server->main_loop);
    sampler_add_loop(&server->sampler, &server->deliver_loop);
    sampler_add_loop(&server->sampler, &server->keeper_loop);
    sampler_start(&server->sampler, &server->main_loop, server->kv);
}

static void tear_down(struct server *server)
{
    for (uint32_t i = 0; i < server->place.loop_count; i++) {
        loop_stop(&server->loops[i]);
        loop_join(&server->loops[i]);
    }
    loop_stop(&server->deliver_loop);
    loop_join(&server->deliver_loop);
    commit_join(&server->commit);
    leave_job(server);
    loop_stop(&server->keeper_loop);
    loop_join(&server->keeper_loop);
    for (uint32_t i = 0; i < server->place.loop_count; i++) {
        edge_free(server->edges[i]);
    }
    keeper_free(server->keeper);
    deliver_free(server->deliver);
    shard_free(server->deliver_shard);
    for (uint32_t i = 0; i < server->place.shard_count; i++) {
        shard_free(server->shards[i]);
    }
    commit_fini(&server->commit);
    for (uint32_t i = 0; i < server->place.loop_count; i++) {
        loop_fini(&server->loops[i]);
    }
    loop_fini(&server->deliver_loop);
    loop_fini(&server->keeper_loop);
    kv_close(server->kv);
}

/* ---- phases --------------------------------------------------------------------------------- */

static void control(struct server *server, struct actor *to, enum msg_kind kind, enum control_op op)
{
    struct msg *msg = msg_take(&server->actor, kind);
    CHECK(msg != NULL);
    msg->body.control.op = op;
    msg->body.control.deadline_ms = server->drain_deadline_ms;
    msg->body.control.session_keys = server->session_keys;
    msg->body.control.is_held = server->sockets.is_held;
    server->waiting += 1;
    actor_post(to, msg);
}

static void control_shards(struct server *server, enum control_op op)
{
    for (uint32_t i = 0; i < server->place.shard_count; i++) {
        control(server, server->place.shards[i], MSG_SHARD_CONTROL, op);
    }
    control(server, server->place.deliver_shard, MSG_SHARD_CONTROL, op);
}

static void control_edges(struct server *server, enum control_op op)
{
    for (uint32_t i = 0; i < server->place.loop_count; i++) {
        control(server, server->place.edges[i], MSG_EDGE_CONTROL, op);
    }
}

static void read_ledger(struct server *server)
{
    struct msg *msg = msg_take(&server->actor, MSG_SHARD_LEDGER);
    CHECK(msg != NULL);
    msg->body.ledger.kind = LEDGER_SESSION_KEY;
    server->waiting += 1;
    actor_post(server->place.deliver_shard, msg);
}

static void on_handover(void *context)
{
    struct server *server = context;
    server->was_held = server->sockets.is_held;
    server->sockets.is_held = true; /* by the next one */
    server->is_stop_asked = true;
    enter(server, PHASE_QUIET);
}

static void open_handover(struct server *server)
{
    struct arena arena;
    arena_init(&arena, KIB, 64 * KIB);
    handover_ready(&server->handover);
    handover_open(&server->handover, &server->main_loop, handover_path(&server->conf, &arena),
                  on_handover, server);
    arena_fini(&arena);
}

static void announce_ready(struct server *server)
{
    write_run_file(server, true);
    open_handover(server);
    notify_tell(&server->notify, "READY=1");
    LOG_INFO("main.ready", LOG_U64("http_port", server->tcp_port),
             LOG_U64("https_port", server->tls_tcp_port),
             LOG_U64("smtp_port", server->smtp_tcp_port),
             LOG_U64("submission_port", server->submit_tcp_ports[0]),
             LOG_U64("submissions_port", server->submit_tcp_ports[SUBMIT_LISTEN_MAX]),
             LOG_U64("loops", server->place.loop_count),
             LOG_U64("shards", server->place.shard_count), LOG_U64("boot", server->place.boot));
}

/* One after the other: the first that fails ends it. */
static void start_edges(struct server *server)
{
    const struct place *place = &server->place;
    if (sockets_open(&server->sockets, &server->conf, place->loop_count) != ERR_OK) {
        server->has_failed_start = true;
        enter(server, PHASE_DRAIN_EDGES);
        return;
    }
    control(server, place->edges[0], MSG_EDGE_CONTROL, CONTROL_START);
}

/* Once; the sockets stay open where they are somebody else's too. */
static void begin_drain(struct server *server)
{
    if (server->drain_deadline_ms != 0) {
        return;
    }
    operate_end(&server->operate);
    notify_tell(&server->notify, "STOPPING=1");
    LOG_INFO("main.drain", LOG_U64("milliseconds", server->conf.drain_ms));
    handover_stop(&server->handover);
    server->drain_deadline_ms = clock_mono_ms() + server->conf.drain_ms;
    if (!server->sockets.is_held) {
        sockets_close(&server->sockets);
    }
}

static void enter(struct server *server, enum phase phase)
{
    sm_move(&server->phase, (uint8_t)phase);
    switch (phase) {
    case PHASE_START_SHARDS:
    case PHASE_COUNT:
        CHECK(false);
        break;
    case PHASE_READ_LEDGER:
        read_ledger(server);
        break;
    case PHASE_START_DELIVER:
        control(server, server->place.deliver, MSG_DELIVER_CONTROL, CONTROL_START);
        break;
    case PHASE_START_EDGES:
        start_edges(server);
        break;
    case PHASE_RUNNING:
        operate_begin(&server->operate);
        announce_ready(server);
        break;
    case PHASE_QUIET:
        begin_drain(server);
        control(server, server->place.deliver, MSG_DELIVER_CONTROL, CONTROL_QUIET);
        control(server, server->place.keeper, MSG_KEEPER_CONTROL, CONTROL_DRAIN);
        break;
    case PHASE_DRAIN_EDGES:
        begin_drain(server);
        control_edges(server, CONTROL_DRAIN);
        control(server, server->place.keeper, MSG_KEEPER_CONTROL, CONTROL_DRAIN);
        break;
    case PHASE_DRAIN_DELIVER:
        control(server, server->place.deliver, MSG_DELIVER_CONTROL, CONTROL_DRAIN);
        break;
    case PHASE_DRAIN_SHARDS:
        control_shards(server, CONTROL_DRAIN);
        break;
    case PHASE_STOP_ALL:
        control_edges(server, CONTROL_STOP);
        control(server, server->place.deliver, MSG_DELIVER_CONTROL, CONTROL_STOP);
        control(server, server->place.keeper, MSG_KEEPER_CONTROL, CONTROL_STOP);
        control_shards(server, CONTROL_STOP);
        break;
    case PHASE_STOP_COMMIT:
        control(server, server->place.commit, MSG_COMMIT_CONTROL, CONTROL_STOP);
        break;
    case PHASE_ENDED:
        for (size_t i = 0; i < ARRAY_LEN(server->signals); i++) {
            uv_close((uv_handle_t *)&server->signals[i], NULL);
        }
        timer_stop(&server->watchdog);
        sampler_stop(&server->sampler);
        actor_close(&server->actor);
        loop_stop(&server->main_loop);
        break;
    }
}

static void on_edge_started(struct server *server, const struct msg *msg)
{
    if (msg->err != ERR_OK) {
        server->has_failed_start = true;
        enter(server, PHASE_DRAIN_EDGES);
        return;
    }
    server->tcp_port = msg->body.control.tcp_port;
    server->tls_tcp_port = msg->body.control.tls_tcp_port;
    server->smtp_tcp_port = msg->body.control.smtp_tcp_port;
    memcpy(server->submit_tcp_ports, msg->body.control.submit_tcp_ports,
           sizeof server->submit_tcp_ports);
    server->next_edge += 1;
    if (server->next_edge < server->place.loop_count) {
        control(server, server->place.edges[server->next_edge], MSG_EDGE_CONTROL, CONTROL_START);
    } else {
        enter(server, server->is_stop_asked ? PHASE_DRAIN_EDGES : PHASE_RUNNING);
    }
}

static void control_running(struct server *server, enum control_op op)
{
    control_edges(server, op);
    control_shards(server, op);
    control(server, server->place.deliver, MSG_DELIVER_CONTROL, op);
}

/* While it runs, what waits is one question at a time; the next one waits until all are home. A
 * drain has an end of its own. */
static void on_watchdog(struct timer *timer)
{
    struct server *server = CONTAINER_OF(timer, struct server, watchdog);
    timer_start(timer, server->notify.watchdog_ms / WATCHDOG_PINGS);
    if (server->phase.state > PHASE_RUNNING) {
        notify_tell(&server->notify, "WATCHDOG=1");
    } else if (server->phase.state == PHASE_RUNNING && server->waiting == 0) {
        server->is_pinging = true;
        control_running(server, CONTROL_PING);
    }
}

/* Once at a time: whoever asks meanwhile gets another one. */
static void reload(struct server *server)
{
    if (server->waiting > 0 || !server->is_reload_asked) {
        return;
    }
    server->is_reload_asked = false;
    server->is_reloading = true;
    notify_tell_reloading(&server->notify);
    LOG_INFO("main.reload", LOG_U64("loops", server->place.loop_count));
    control_running(server, CONTROL_RELOAD);
}

/* Whatever was out while it runs is home. */
static void on_all_home(struct server *server)
{
    if (server->is_pinging) {
        notify_tell(&server->notify, "WATCHDOG=1");
    }
    if (server->is_reloading) {
        LOG_INFO("main.reloaded", LOG_U64("loops", server->place.loop_count));
        notify_tell(&server->notify, "READY=1");
    }
    server->is_pinging = false;
    server->is_reloading = false;
    reload(server); /* if somebody asked meanwhile */
}

static void on_control_home(struct actor *actor, struct msg *msg)
{
    struct server *server = CONTAINER_OF(actor, struct server, actor);
    CHECK(msg->returning);
    CHECK(server->waiting > 0);
    server->waiting -= 1;
    enum phase phase = (enum phase)server->phase.state;
    server->has_left_job |= msg->kind == MSG_KEEPER_CONTROL && msg->err == ERR_TIMEOUT;
    bool is_start_of_edge = phase == PHASE_START_EDGES;
    if (is_start_of_edge) {
        on_edge_started(server, msg);
    } else if ((phase == PHASE_START_SHARDS || phase == PHASE_READ_LEDGER) && msg->err != ERR_OK) {
        fatal("a shard cannot be read; run meerkatd with --log-level debug, or restore a backup");
    } else if (phase == PHASE_READ_LEDGER) {
        server->session_keys = msg->body.ledger.value;
    }
    msg_put(actor, msg);
    if (phase == PHASE_RUNNING) {
        if (server->waiting == 0) {
            on_all_home(server);
        }
        return;
    }
    if (is_start_of_edge || server->waiting > 0 || !operate_is_quiet(&server->operate)) {
        return;
    }
    enter(server, (enum phase)(phase + 1));
}

/* Behind the end of RUNNING: a shard that was between two loops has arrived. */
static void on_operate_quiet(struct operate *operate)
{
    struct server *server = CONTAINER_OF(operate, struct server, operate);
    if (server->waiting == 0) {
        enter(server, (enum phase)(server->phase.state + 1));
    }
}

/* As SIGTERM does. */
static void on_drained(struct operate *operate)
{
    struct server *server = CONTAINER_OF(operate, struct server, operate);
    server->is_stop_asked = true;
    enter(server, server->sockets.is_held ? PHASE_QUIET : PHASE_DRAIN_EDGES);
}

static void on_msg(struct actor *actor, struct msg *msg)
{
    struct server *server = CONTAINER_OF(actor, struct server, actor);
    if (!msg->returning) {
        CHECK(msg->kind == MSG_MAIN_CONTROL);
        operate_handle(&server->operate, msg);
    } else if (operate_is_mine(msg)) {
        operate_home(&server->operate, msg);
    } else {
        on_control_home(actor, msg);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    if (number == SIGUSR1 || number == SIGHUP) {
        log_reopen();
    }
    if (number == SIGUSR1) {
        return;
    }
    if (number == SIGHUP) {
        if (server->phase.state == PHASE_RUNNING) {
            server->is_reload_asked = true;
            reload(server);
        }
        return;
    }
    if (server->is_stop_asked) {
        LOG_WARN("main.stop_now", LOG_U64("signal", (uint64_t)number));
        log_stop();
        _exit(1);
    }
    server->is_stop_asked = true;
    if (server->phase.state == PHASE_RUNNING) {
        /* Reloads that are still out come home during the drain and are counted there. */
        enter(server, server->sockets.is_held ? PHASE_QUIET : PHASE_DRAIN_EDGES);
    }
}

static enum log_level level_of(struct slice text)
{
    enum log_level level = LOG_LEVEL_INFO;
    if (!log_level_parse(text, &level)) {
        fatal("log_level is debug, info, warn or error, not \"%.*s\"", SLICE_FMT(text));
    }
    return level;
}

static void run(struct server *server)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    loop_init(&server->main_loop, "main", 0);
    struct actor_options options = {
        .name = "main",
        .loop = &server->main_loop,
        .handle = on_msg,
        .pool_counts = {[MSG_POOL_REQUEST] = CONTROL_MSGS},
        .port_depth_max = MAIN_PORT_MSGS,
    };
    actor_init(&server->actor, &options);
    server->place.main = &server->actor;
    operate_init(&server->operate, &server->actor, &server->place,
                 level_of(server->conf.log_level));
    server->operate.on_stop = on_drained;
    server->operate.on_quiet = on_operate_quiet;
    sm_init(&server->phase, &phase_table, PHASE_START_SHARDS);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (uv_signal_init(&server->main_loop.uv, &server->signals[i]) != 0 ||
            uv_signal_start(&server->signals[i], on_signal, numbers[i]) != 0) {
            fatal("cannot watch signals; the process is out of file descriptors");
        }
        server->signals[i].data = server;
    }
    timer_init(&server->watchdog, &server->main_loop, on_watchdog);
    if (server->notify.watchdog_ms > 0) {
        timer_start(&server->watchdog, server->notify.watchdog_ms / WATCHDOG_PINGS);
    }
    start_threads(server);
    start_sampler(server);
    control_shards(server, CONTROL_START);
    loop_run(&server->main_loop);
    actor_fini(&server->actor);
    loop_fini(&server->main_loop);
}

static void start_log(const struct conf *conf)
{
    struct arena arena;
    enum log_level level = level_of(conf->log_level);
    arena_init(&arena, KIB, 64 * KIB);
    const char *path = arena_cstr(&arena, conf->log_file);
    if (conf->log_file.len == 0) {
        log_start(STDERR_FILENO, level);
    } else if (!log_start_file(path, level)) {
        fatal("cannot append to log_file %s: %s; make its folder, or let user %u write there", path,
              strerror(errno), (unsigned)geteuid());
    }
    arena_fini(&arena);
}

/* The status: 0 when a start would have what it needs. */
static int check_config(int argc, char **argv)
{
    struct conf conf;
    if (!conf_load(&conf, argc, argv)) {
        return 1;
    }
    crypto_init();
    uint32_t problems = inspect_conf(&conf);
    conf_fini(&conf);
    return problems == 0 ? 0 : 1;
}

static bool is_good_conf(const struct conf *conf)
{
    bool is_good = inspect_conf(conf) == 0;
    check_name_thread("main"); /* it has run a loop of its own */
    return is_good;
}

static int finish(struct server *server, int status)
{
    log_stop();
    notify_close(&server->notify);
    mime_read_fini();
    crypto_wipe(&server->master, sizeof server->master);
    conf_fini(&server->conf);
    free(server);
    return status;
}

int main(int argc, char **argv)
{
    if (manual_print(argc, argv)) {
        return 0;
    }
    bool is_takeover = argc > 1 && strcmp(argv[1], "--takeover") == 0;
    if (is_takeover) {
        argv[1] = argv[0];
        argc -= 1;
        argv += 1; /* without it, should this program have to run again */
    }
    if (argc > 1 && strcmp(argv[1], "--check-config") == 0) {
        return check_config(argc - 1, argv + 1);
    }
    (void)signal(SIGPIPE, SIG_IGN); /* cannot fail for it, nor for the other */
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a failed write */
    check_name_thread("main");
    struct server *server = mem_zalloc(sizeof *server);
    if (!conf_load(&server->conf, argc, argv)) {
        free(server);
        return 1;
    }
    clock_set_offset(server->conf.test_clock_offset_ms);
    crypto_init();
    mime_read_init();
    start_log(&server->conf);
    raise_file_limit();
    notify_open(&server->notify);
    handover_init(&server->handover, &server->sockets);
    activation_take(&server->sockets);
    if (is_takeover &&
        !handover_take(&server->handover, &server->sockets, &server->conf, is_good_conf)) {
        return finish(server, 1);
    }
    open_store(server);
    build(server);
    run(server);
    write_run_file(server, false);
    tear_down(server);
    if (!handover_finish(&server->handover)) {
        log_stop();
        activation_again(&server->sockets, server->was_held, argv);
        fatal("cannot run %s again: %s; start meerkatd by hand", argv[0], strerror(errno));
    }
    sockets_close(&server->sockets);
    LOG_INFO("main.stopped", LOG_BOOL("clean", !server->has_failed_start));
    return finish(server, server->has_failed_start ? 1 : 0);
}
