/* smtp_load.c - see smtp_load.h. */
#include "support/smtp_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"

#define CONNS_MAX 64
#define IN_MAX    (64 * KIB)
#define OUT_MAX   (32 * MIB)
#define TURN_MS   10

enum step {
    STEP_CLOSED,
    STEP_GREETING,
    STEP_EHLO,
    STEP_ENVELOPE, /* MAIL, RCPT.. and DATA are out, replies are due */
    STEP_CONTENT,  /* the content is out, its 250 is due */
    STEP_REST      /* nothing is asked */
};

struct smtp_conn {
    int fd;
    enum step step;
    uint64_t number;
    uint64_t rest_until_ms;
    uint32_t due;    /* replies of the envelope */
    bool has_mail;   /* `number` was begun and not answered */
    bool is_put_off; /* one of the envelope's replies was 4yz */
    struct buf out;
    size_t written;
    struct buf in;
    struct buf content;
};

struct smtp_load {
    struct smtp_load_options options;
    struct smtp_load_counts counts;
    struct smtp_conn *conns;
    uint64_t next_number;
    uint16_t tcp_port;
    bool is_over; /* no further mail is begun */
    bool is_mute; /* nothing is written, nothing opened */
};

static void begin_mail(struct smtp_load *load, struct smtp_conn *conn);

struct smtp_load *smtp_load_new(const struct smtp_load_options *options)
{
    CHECK(options->conn_count > 0 && options->conn_count <= CONNS_MAX);
    struct smtp_load *load = mem_zalloc(sizeof *load);
    load->options = *options;
    load->conns = mem_zalloc(options->conn_count * sizeof *load->conns);
    for (uint32_t i = 0; i < options->conn_count; i++) {
        load->conns[i].fd = -1;
        buf_init(&load->conns[i].out, OUT_MAX);
        buf_init(&load->conns[i].content, OUT_MAX);
        buf_init(&load->conns[i].in, IN_MAX);
    }
    return load;
}

static void close_conn(struct smtp_load *load, struct smtp_conn *conn)
{
    if (conn->fd == -1) {
        return;
    }
    (void)close(conn->fd); /* whatever was in it is offered again */
    conn->fd = -1;
    conn->step = STEP_CLOSED;
    conn->written = 0;
    conn->rest_until_ms = clock_mono_ms() + load->options.rest_ms;
    buf_clear(&conn->out);
    buf_clear(&conn->in);
}

void smtp_load_free(struct smtp_load *load)
{
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        close_conn(load, &load->conns[i]);
        buf_fini(&load->conns[i].out);
        buf_fini(&load->conns[i].content);
        buf_fini(&load->conns[i].in);
    }
    free(load->conns);
    free(load);
}

void smtp_load_connect(struct smtp_load *load, uint16_t tcp_port)
{
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        close_conn(load, &load->conns[i]);
        load->conns[i].rest_until_ms = 0;
    }
    load->tcp_port = tcp_port;
}

const struct smtp_load_counts *smtp_load_counts(const struct smtp_load *load)
{
    return &load->counts;
}

/* ---- one connection ------------------------------------------------------------------------- */

static void open_conn(struct smtp_load *load, struct smtp_conn *conn)
{
    const int on = 1;
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(load->tcp_port),
    };
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(conn->fd != -1);
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* slower without */
    conn->step = STEP_GREETING;
    if (connect(conn->fd, (const struct sockaddr *)&to, sizeof to) == -1 && errno != EINPROGRESS) {
        close_conn(load, conn);
    }
}

static void write_more(struct smtp_load *load, struct smtp_conn *conn)
{
    while (conn->written < conn->out.len) {
        ssize_t sent = send(conn->fd, conn->out.data + conn->written, conn->out.len - conn->written,
                            MSG_NOSIGNAL);
        if (sent == -1) {
            if (errno != EAGAIN) {
                close_conn(load, conn);
            }
            return;
        }
        conn->written += (size_t)sent;
    }
    buf_clear(&conn->out);
    conn->written = 0;
}

static void begin_mail(struct smtp_load *load, struct smtp_conn *conn)
{
    if (!conn->has_mail) {
        if (load->is_over) {
            conn->step = STEP_REST;
            return;
        }
        conn->number = load->next_number;
    } else {
        load->counts.offered_again += 1;
    }
    buf_clear(&conn->content);
    size_t start = conn->out.len;
    if (!load->options.ask(load->options.context, conn->number, &conn->out, &conn->content)) {
        load->is_over = true;
        conn->step = STEP_REST;
        return;
    }
    load->next_number += !conn->has_mail;
    conn->has_mail = true;
    buf_add_str(&conn->content, "\r\n.\r\n");
    buf_add_str(&conn->out, "DATA\r\n");
    CHECK(!conn->content.is_over && !conn->out.is_over);
    conn->due = 0;
    for (size_t i = start; i < conn->out.len; i++) {
        conn->due += conn->out.data[i] == '\n';
    }
    conn->is_put_off = false;
    conn->step = STEP_ENVELOPE;
}

static void count_strange(struct smtp_load *load, const struct smtp_conn *conn, struct slice reply)
{
    if (load->counts.strange == 0) {
        printf("strange answer to mail %llu: %.*s\n", (unsigned long long)conn->number,
               SLICE_FMT(reply));
    }
    load->counts.strange += 1;
}

/* A reply within the envelope. False: the connection is to be closed. */
static bool take_envelope(struct smtp_conn *conn, uint64_t code)
{
    conn->due -= 1;
    if (conn->due > 0) {
        conn->is_put_off = conn->is_put_off || code != 250;
        return true;
    }
    if (conn->is_put_off || code != 354) {
        return false; /* DATA may be open with fewer recipients than meant */
    }
    buf_add(&conn->out, buf_slice(&conn->content));
    conn->step = STEP_CONTENT;
    return true;
}

static bool take_reply(struct smtp_load *load, struct smtp_conn *conn, struct slice reply)
{
    uint64_t code = 0;
    if (slice_uint(slice_head(reply, 3), 599, &code) != ERR_OK || code >= 500) {
        count_strange(load, conn, reply);
        return false;
    }
    if (code >= 400) {
        load->counts.put_off += 1;
        return false;
    }
    switch (conn->step) {
    case STEP_GREETING:
        buf_add_str(&conn->out, "EHLO load.test\r\n");
        conn->step = STEP_EHLO;
        return code == 220;
    case STEP_EHLO:
        begin_mail(load, conn);
        return true;
    case STEP_ENVELOPE:
        return take_envelope(conn, code);
    case STEP_CONTENT:
        conn->has_mail = false;
        load->counts.accepted += 1;
        load->options.answer(load->options.context, conn->number, reply);
        begin_mail(load, conn);
        return true;
    case STEP_CLOSED:
    case STEP_REST:
        break;
    }
    return false;
}

/* The last line of each reply; those before it say nothing that matters here. */
static bool take_lines(struct smtp_load *load, struct smtp_conn *conn)
{
    for (;;) {
        struct slice in = buf_slice(&conn->in);
        size_t len = slice_find(in, SLICE("\r\n"));
        if (len == SIZE_MAX) {
            return !conn->in.is_over;
        }
        struct slice line = slice_head(in, len);
        bool is_last = len < 4 || line.data[3] != '-';
        if (is_last && !take_reply(load, conn, line)) {
            return false;
        }
        buf_consume(&conn->in, len + 2);
    }
}

static void read_more(struct smtp_load *load, struct smtp_conn *conn)
{
    for (;;) {
        char bytes[16 * KIB];
        ssize_t got = recv(conn->fd, bytes, sizeof bytes, 0);
        if (got == -1 && errno == EAGAIN) {
            return;
        }
        if (got <= 0) {
            close_conn(load, conn);
            return;
        }
        buf_add_bytes(&conn->in, bytes, (size_t)got);
        if (!take_lines(load, conn)) {
            close_conn(load, conn);
            return;
        }
    }
}

/* ---- turns ---------------------------------------------------------------------------------- */

static void open_all(struct smtp_load *load)
{
    uint64_t now_ms = clock_mono_ms();
    for (uint32_t i = 0; i < load->options.conn_count && !load->is_mute; i++) {
        struct smtp_conn *conn = &load->conns[i];
        bool has_work = conn->has_mail || !load->is_over;
        if (has_work && conn->step == STEP_CLOSED && conn->rest_until_ms <= now_ms) {
            open_conn(load, conn);
        } else if (has_work && conn->step == STEP_REST) {
            begin_mail(load, conn);
        }
    }
}

static void turn(struct smtp_load *load)
{
    struct pollfd polls[CONNS_MAX];
    uint32_t count = load->options.conn_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct smtp_conn *conn = &load->conns[i];
        bool is_writing = conn->out.len > 0 && !load->is_mute;
        polls[i] =
            (struct pollfd){.fd = conn->fd, .events = is_writing ? POLLIN | POLLOUT : POLLIN};
    }
    int got = poll(polls, count, TURN_MS);
    CHECK(got >= 0 || errno == EINTR);
    for (uint32_t i = 0; i < count; i++) {
        struct smtp_conn *conn = &load->conns[i];
        if (conn->fd != -1 && (polls[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0) {
            read_more(load, conn);
        }
        if (conn->fd != -1 && conn->out.len > 0 && !load->is_mute) {
            write_more(load, conn);
        }
    }
}

void smtp_load_run(struct smtp_load *load, uint64_t ms, uint64_t answers)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    uint64_t end = answers == 0 ? UINT64_MAX : load->counts.accepted + answers;
    load->is_mute = false;
    while (clock_mono_ms() < end_ms && load->counts.accepted < end) {
        open_all(load);
        turn(load);
    }
}

static bool is_busy(const struct smtp_load *load)
{
    bool is_one = false;
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        const struct smtp_conn *conn = &load->conns[i];
        is_one = is_one || (load->is_mute ? conn->fd != -1 : conn->has_mail);
    }
    return is_one;
}

bool smtp_load_finish(struct smtp_load *load, uint64_t ms)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    load->is_over = true;
    load->is_mute = false;
    while (is_busy(load) && clock_mono_ms() < end_ms) {
        open_all(load);
        turn(load);
    }
    return !is_busy(load);
}

void smtp_load_last_words(struct smtp_load *load, uint64_t ms)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    load->is_mute = true;
    while (is_busy(load) && clock_mono_ms() < end_ms) {
        turn(load);
    }
    load->is_mute = false;
}
