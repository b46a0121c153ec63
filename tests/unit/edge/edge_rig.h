/* edge_rig.h - an edge with everything around it, on one thread, for unit tests of edge.
 *
 * A real edge on a real loop, listening on a free port of loopback. One actor of the test's own is
 * every shard, delivery and main: it keeps what it gets until the test answers. Clients are raw
 * sockets. The clocks are fake and stand still but for pass; the test's thread turns the loop until
 * what it waits for has happened.
 */
#ifndef UNIT_EDGE_EDGE_RIG_H
#define UNIT_EDGE_EDGE_RIG_H

#include <criterion/criterion.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "edge/auth.h"
#include "edge/edge_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RIG_MONO_MS UINT64_C(1000000)
#define RIG_UNIX_MS UINT64_C(1750000000000)
#define RIG_REAL_MS 20000
#define RIG_ACCOUNT UINT64_C(77)

struct rig {
    uint64_t mono_ms;
    uint64_t unix_ms;
    struct loop loop;
    struct conf conf;
    struct place place;
    struct sockets sockets;
    struct seal_key master;
    struct edge *edge;
    struct actor world; /* shard, delivery and main in one */
    struct msg *got[EDGE_POOL_MSGS];
    uint32_t got_count;
    uint32_t controls_home;
    bool is_drained;      /* by the test itself */
    uint32_t ended_home;  /* edges that were told of a credential's end */
    uint32_t check_count; /* credentials asked about before the body */
    enum err check_err;   /* and what they were told */
    uint16_t tcp_port;
    uint16_t smtp_tcp_port;
    uint16_t submit_tcp_port;  /* STARTTLS */
    uint16_t submits_tcp_port; /* TLS from the start */
    struct auth_key key;
};

struct client {
    struct rig *rig;
    int fd;
    struct buf in;
    bool is_ended; /* the edge has closed */
};

static inline void rig_on_msg(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, world);
    if (msg->returning && msg->kind == MSG_EDGE_ENDED) {
        rig->ended_home += 1;
        msg_put(actor, msg);
    } else if (msg->kind == MSG_SHARD_CHECK) {
        rig->check_count += 1;
        msg_return(msg, rig->check_err);
    } else if (msg->returning) {
        cr_assert_eq(msg->kind, MSG_EDGE_CONTROL);
        cr_assert_eq(msg->err, ERR_OK);
        if (msg->body.control.op == CONTROL_START) {
            rig->tcp_port = msg->body.control.tcp_port;
            rig->smtp_tcp_port = msg->body.control.smtp_tcp_port;
            rig->submit_tcp_port = msg->body.control.submit_tcp_ports[0];
            rig->submits_tcp_port = msg->body.control.submit_tcp_ports[SUBMIT_LISTEN_MAX];
        }
        rig->controls_home += 1;
        msg_put(actor, msg);
    } else {
        rig->got[rig->got_count++] = msg;
    }
}

static inline void turn(struct rig *rig)
{
    (void)uv_run(&rig->loop.uv, UV_RUN_NOWAIT);
    (void)sched_yield(); /* the kernel's loopback shares the cores with us */
}

/* As many turns as anything takes that needs nothing from outside. */
static inline void settle(struct rig *rig)
{
    for (int i = 0; i < 30; i++) {
        turn(rig);
    }
}

static inline uint64_t real_ms(void)
{
    struct timespec now;
    cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#define WAIT_FOR(rig, condition)                                                                   \
    do {                                                                                           \
        uint64_t end_ms = real_ms() + RIG_REAL_MS;                                                 \
        while (!(condition)) {                                                                     \
            cr_assert_lt(real_ms(), end_ms, "never happened: %s", #condition);                     \
            turn(rig);                                                                             \
        }                                                                                          \
    } while (0)

static inline void pass(struct rig *rig, uint64_t ms)
{
    settle(rig);
    rig->mono_ms += ms;
    rig->unix_ms += ms;
    clock_set_fake(rig->mono_ms, rig->unix_ms);
    settle(rig);
}

static inline void set(struct rig *rig, const char *name, const char *value)
{
    cr_assert(conf_set(&rig->conf, slice_str(name), slice_str(value)));
}

static inline void control(struct rig *rig, enum control_op op, uint64_t in_ms)
{
    struct msg *msg = msg_take(&rig->world, MSG_EDGE_CONTROL);
    cr_assert_not_null(msg);
    msg->body.control.op = op;
    msg->body.control.deadline_ms = rig->mono_ms + in_ms;
    actor_post(edge_actor(rig->edge), msg);
}

static inline void rig_init(struct rig *rig)
{
    char *argv[] = {(char[]){"meerkatd"}};
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
    *rig = (struct rig){.mono_ms = RIG_MONO_MS, .unix_ms = RIG_UNIX_MS};
    clock_set_fake(rig->mono_ms, rig->unix_ms);
    cr_assert(conf_load(&rig->conf, 1, argv));
    set(rig, "http_listen", "127.0.0.1:0");
    set(rig, "hostname", "mail.meerkat.test");
    set(rig, "admin_socket", "off");
    loop_init(&rig->loop, "test", 0);
    auth_key_make(MODE_LIVE, (struct account_id){RIG_ACCOUNT}, &rig->key);
}

/* After the test set what it likes in rig->conf. */
static inline void rig_start(struct rig *rig)
{
    struct actor_options options = {.name = "world",
                                    .loop = &rig->loop,
                                    .handle = rig_on_msg,
                                    .pool_counts = {[MSG_POOL_REQUEST] = 4},
                                    .port_depth_max = EDGE_POOL_MSGS + 4};
    actor_init(&rig->world, &options);
    rig->place = (struct place){.conf = &rig->conf,
                                .shard_count = 1,
                                .loop_count = 1,
                                .shards = {&rig->world},
                                .deliver = &rig->world,
                                .sockets = &rig->sockets,
                                .master = &rig->master};
    cr_assert_eq(sockets_open(&rig->sockets, &rig->conf, 1), ERR_OK);
    rig->edge = edge_new(&rig->place, 0, &rig->loop);
    rig->place.edges[0] = edge_actor(rig->edge);
    control(rig, CONTROL_START, 0);
    WAIT_FOR(rig, rig->controls_home == 1);
    cr_assert_neq(rig->tcp_port, 0);
}

/* Every message must have been answered. The edge itself checks that all came home. */
static inline void rig_end(struct rig *rig)
{
    uint32_t before = rig->controls_home;
    if (!rig->is_drained) {
        control(rig, CONTROL_DRAIN, 1000);
        pass(rig, 1000);
        pass(rig, 100000);
        before += 1;
        WAIT_FOR(rig, rig->controls_home == before);
    }
    cr_assert_eq(rig->edge->body_bytes, 0, "every reserved byte was given back");
    control(rig, CONTROL_STOP, 1000);
    WAIT_FOR(rig, rig->controls_home == before + 1);
    actor_close(&rig->world);
    clock_set_fake(0, 0);
    loop_stop(&rig->loop);
    loop_run(&rig->loop);
    edge_free(rig->edge);
    sockets_close(&rig->sockets);
    actor_fini(&rig->world);
    loop_fini(&rig->loop);
    conf_fini(&rig->conf);
}

/* ---- the shard ------------------------------------------------------------------------------ */

/* Waits until the count-th message is there. */
static inline struct msg *rig_await(struct rig *rig, uint32_t count)
{
    WAIT_FOR(rig, rig->got_count >= count);
    return rig->got[count - 1];
}

static inline struct id mail_id(uint64_t number)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    return id_make(&maker, (struct account_id){RIG_ACCOUNT}, RIG_UNIX_MS + number);
}

/* Answers the number-th message, from 1; a send with mail_id(number). */
static inline void rig_answer(struct rig *rig, uint32_t number, enum err err)
{
    struct msg *msg = rig->got[number - 1];
    cr_assert_not_null(msg, "answered twice");
    rig->got[number - 1] = NULL;
    if (msg->kind == MSG_SHARD_SEND) {
        msg->body.send.id = mail_id(number);
    }
    msg_return(msg, err);
}

/* ---- clients -------------------------------------------------------------------------------- */

static inline void client_open(struct rig *rig, struct client *client)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(rig->tcp_port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    *client = (struct client){.rig = rig};
    buf_init(&client->in, 128 * MIB);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(client->fd, -1);
    cr_assert_eq(connect(client->fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    int yes = 1; /* a small write does not wait for the last one's acknowledgement */
    cr_assert_eq(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
    uint32_t before = rig->edge->session_count;
    WAIT_FOR(rig, rig->edge->session_count == before + 1);
}

static inline void client_close(struct client *client)
{
    cr_assert_eq(close(client->fd), 0);
    buf_fini(&client->in);
    client->fd = -1;
}

static inline void client_write(struct client *client, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(client->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == -1 && errno != EAGAIN) {
            return; /* the edge has closed */
        }
        bytes = slice_from(bytes, sent == -1 ? 0 : (size_t)sent);
        turn(client->rig);
    }
}

static inline PRINTF_LIKE(2, 3) void client_say(struct client *client, const char *fmt, ...)
{
    struct buf text;
    char line[8192];
    va_list args;
    buf_init(&text, 16 * KIB);
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    cr_assert(len >= 0 && (size_t)len < sizeof line);
    buf_add_bytes(&text, line, (size_t)len);
    client_write(client, buf_slice(&text));
    buf_fini(&text);
}

/* Reads what is there. */
static inline void client_read(struct client *client)
{
    char bytes[65536];
    ssize_t len = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len > 0) {
        buf_add_bytes(&client->in, bytes, (size_t)len);
    } else if (len == 0 || errno != EAGAIN) {
        client->is_ended = true;
    }
}

/* How often a text stands in what came. */
static inline uint32_t client_count(struct client *client, const char *text)
{
    uint32_t count = 0;
    client_read(client);
    struct slice rest = buf_slice(&client->in);
    size_t at = 0;
    while ((at = slice_find(rest, slice_str(text))) != SIZE_MAX) {
        rest = slice_from(rest, at + 1);
        count += 1;
    }
    return count;
}

static inline uint32_t client_answers(struct client *client)
{
    return client_count(client, "HTTP/1.1 ");
}

/* The n-th answer, from 1, whole with headers, up to the next or the end. */
static inline struct slice client_answer(struct client *client, uint32_t number)
{
    struct slice rest = buf_slice(&client->in);
    for (uint32_t i = 1; i < number; i++) {
        size_t at = slice_find(slice_from(rest, 1), SLICE("HTTP/1.1 "));
        cr_assert_neq(at, SIZE_MAX);
        rest = slice_from(rest, at + 1);
    }
    size_t end = slice_find(slice_from(rest, 1), SLICE("HTTP/1.1 "));
    return end == SIZE_MAX ? rest : slice_head(rest, end + 1);
}

static inline bool client_says(struct client *client, uint32_t number, const char *text)
{
    return slice_find(client_answer(client, number), slice_str(text)) != SIZE_MAX;
}

/* Waits for as many answers and expects the last one's status. */
static inline void client_expect(struct client *client, uint32_t answers, int status)
{
    char line[32];
    WAIT_FOR(client->rig, client_answers(client) >= answers || client->is_ended);
    cr_assert_eq(client_answers(client), answers, "in:\n%.*s", SLICE_FMT(buf_slice(&client->in)));
    (void)snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    cr_assert(slice_starts(client_answer(client, answers), slice_str(line)), "not %d:\n%.*s",
              status, SLICE_FMT(client_answer(client, answers)));
}

static inline void client_expect_end(struct client *client)
{
    WAIT_FOR(client->rig, (client_read(client), client->is_ended));
}

#define SEND_BODY "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"hi\"}"

/* A whole POST /v1/send; more: further header lines. */
static inline void client_send(struct client *client, const char *more)
{
    client_say(client,
               "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\n%s\r\n%s",
               client->rig->key.text, sizeof SEND_BODY - 1, more, SEND_BODY);
}

/* A request of the rig's key; the body with ' for ". */
static inline void client_ask(struct client *client, const char *method, const char *path,
                              const char *body)
{
    char json[1024];
    size_t len = strlen(body);
    cr_assert_lt(len, sizeof json);
    for (size_t i = 0; i <= len; i++) {
        json[i] = body[i] == '\'' ? '"' : body[i];
    }
    client_say(client,
               "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               method, path, client->rig->key.text, len, json);
}

#endif
