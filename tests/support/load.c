/* load.c - see load.h.
 *
 *   CLOSED --connect--> CONNECTING --> IDLE --ask--> WAITING --answer--> IDLE
 *      ^                                                |
 *      +------------------ end, or error ---------------+      RESTING: CLOSED or IDLE until due
 */
#include "support/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"

#define ANSWER_MAX     (4 * MIB) /* a received mail with its text */
#define REQUEST_MAX    (4 * MIB)
#define ENTRIES_MAX    (256 * MIB)
#define EVENTS         512
#define TURN_MS        5          /* between two looks at the clock and at who rests */
#define OPENS_PER_TURN 256        /* below the daemon's backlog */
#define FIRST_SOURCE   0x7f010001 /* 127.1.0.1 */
#define NO_RETRY_AFTER "a 503 without retry-after"

enum load_step { STEP_CLOSED, STEP_CONNECTING, STEP_IDLE, STEP_WAITING };

struct load_conn {
    struct buf out; /* empty once written */
    struct buf in;
    size_t written;
    uint64_t number;
    uint64_t asked_us;
    uint64_t rest_until_ms;
    enum load_step step;
    int fd;
};

struct load {
    struct load_options options;
    struct load_counts counts;
    struct load_conn *conns;
    uint64_t waiting; /* connections in STEP_WAITING */
    uint64_t next_number;
    uint16_t tcp_port;
    bool is_over;    /* nothing more is asked */
    bool is_holding; /* nothing is asked yet */
    int epoll_fd;
};

static void open_conn(struct load *load, uint32_t index);
static void close_conn(struct load *load, struct load_conn *conn);
static void rest(const struct load *load, struct load_conn *conn);
static void ask(struct load *load, struct load_conn *conn);
static void write_more(struct load *load, struct load_conn *conn);
static void read_more(struct load *load, struct load_conn *conn);
static bool take_answer(struct load *load, struct load_conn *conn);
static void move_all(struct load *load);
static void turn(struct load *load, uint64_t wait_ms);

struct load *load_new(const struct load_options *options)
{
    CHECK(options->conn_count > 0);
    struct load *load = mem_zalloc(sizeof *load);
    load->options = *options;
    load->conns = mem_zalloc(options->conn_count * sizeof *load->conns);
    for (uint32_t i = 0; i < options->conn_count; i++) {
        load->conns[i].fd = -1;
        buf_init(&load->conns[i].out, REQUEST_MAX);
        buf_init(&load->conns[i].in, ANSWER_MAX);
    }
    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(load->epoll_fd != -1);
    return load;
}

void load_free(struct load *load)
{
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        close_conn(load, &load->conns[i]);
        buf_fini(&load->conns[i].out);
        buf_fini(&load->conns[i].in);
    }
    (void)close(load->epoll_fd); /* holds nothing */
    free(load->conns);
    free(load);
}

void load_connect(struct load *load, uint16_t tcp_port)
{
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        close_conn(load, &load->conns[i]);
        load->conns[i].rest_until_ms = 0;
    }
    load->tcp_port = tcp_port;
    load->is_over = false;
}

bool load_open(struct load *load, uint64_t ms)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    load->is_holding = true;
    while (load->counts.open < load->options.conn_count && clock_mono_ms() < end_ms) {
        move_all(load);
        turn(load, TURN_MS);
    }
    load->is_holding = false;
    uint64_t now_ms = clock_mono_ms();
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        load->conns[i].rest_until_ms =
            now_ms + load->options.rest_ms * i / load->options.conn_count;
    }
    return load->counts.open == load->options.conn_count;
}

void load_run(struct load *load, uint64_t ms, uint64_t answers)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    uint64_t end_answers = answers == 0 ? UINT64_MAX : load->counts.answered + answers;
    while (clock_mono_ms() < end_ms && load->counts.answered < end_answers) {
        move_all(load);
        if (load->is_over && load->waiting == 0) {
            break;
        }
        turn(load, TURN_MS);
    }
}

void load_finish(struct load *load, uint64_t ms)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    load->is_over = true;
    while (load->waiting > 0 && clock_mono_ms() < end_ms) {
        turn(load, TURN_MS);
    }
    for (uint32_t i = 0; i < load->options.conn_count; i++) {
        close_conn(load, &load->conns[i]);
    }
}

const struct load_counts *load_counts(const struct load *load)
{
    return &load->counts;
}

struct slice load_header(struct slice head, struct slice name)
{
    while (head.data != NULL) {
        struct slice value = slice_cut(&head, '\n');
        struct slice field = slice_cut(&value, ':');
        if (slice_equal_nocase(field, name)) {
            return slice_trim(value);
        }
    }
    return SLICE("");
}

/* ---- connections ---------------------------------------------------------------------------- */

static void rest(const struct load *load, struct load_conn *conn)
{
    conn->rest_until_ms = clock_mono_ms() + load->options.rest_ms;
}

static void close_conn(struct load *load, struct load_conn *conn)
{
    if (conn->fd == -1) {
        return;
    }
    (void)close(conn->fd); /* leaves the epoll set with it */
    conn->fd = -1;
    load->counts.open -= conn->step != STEP_CONNECTING;
    if (conn->step == STEP_WAITING) {
        load->waiting -= 1;
        load->counts.broken += 1;
    }
    conn->step = STEP_CLOSED;
    buf_clear(&conn->out);
    buf_clear(&conn->in);
    conn->written = 0;
    rest(load, conn);
}

static void bind_source(const struct load *load, int fd, uint32_t index)
{
    const int on = 1;
    struct sockaddr_in from = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(FIRST_SOURCE + index % load->options.source_count),
    };
    /* The port is chosen by connect, so that all of a source's ports serve each destination. */
    int set = setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    int bound = bind(fd, (const struct sockaddr *)&from, sizeof from);
    CHECK(set == 0 && bound == 0);
}

static void open_conn(struct load *load, uint32_t index)
{
    struct load_conn *conn = &load->conns[index];
    const int on = 1;
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(load->tcp_port),
    };
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd == -1) {
        fatal("the load needs more files (%s): raise the limit of open files", strerror(errno));
    }
    if (load->options.source_count > 0) {
        bind_source(load, conn->fd, index);
    }
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* slower without */
    conn->step = STEP_CONNECTING;
    if (connect(conn->fd, (const struct sockaddr *)&to, sizeof to) == -1 && errno != EINPROGRESS) {
        load->counts.refused += 1;
        close_conn(load, conn);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = conn};
    int added = epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event);
    CHECK(added == 0);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void ask(struct load *load, struct load_conn *conn)
{
    if (load->is_holding) {
        return;
    }
    if (load->is_over || !load->options.ask(load->options.context, load->next_number, &conn->out)) {
        load->is_over = true;
        return;
    }
    CHECK(!conn->out.is_over);
    conn->number = load->next_number++;
    conn->asked_us = clock_mono_us();
    conn->step = STEP_WAITING;
    load->waiting += 1;
    load->counts.asked += 1;
    write_more(load, conn);
}

static void write_more(struct load *load, struct load_conn *conn)
{
    while (conn->written < conn->out.len) {
        ssize_t sent = send(conn->fd, conn->out.data + conn->written, conn->out.len - conn->written,
                            MSG_NOSIGNAL);
        if (sent == -1) {
            if (errno != EAGAIN) {
                /* An early answer may have come before the end: read_more finds it. */
                read_more(load, conn);
            }
            return;
        }
        conn->written += (size_t)sent;
    }
    buf_clear(&conn->out);
    conn->written = 0;
}

static void read_more(struct load *load, struct load_conn *conn)
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
        if (conn->in.is_over || !take_answer(load, conn)) {
            close_conn(load, conn);
            return;
        }
    }
}

/* False when the connection is to be closed. */
static bool take_answer(struct load *load, struct load_conn *conn)
{
    struct slice in = buf_slice(&conn->in);
    size_t head_len = slice_find(in, SLICE("\r\n\r\n"));
    uint64_t status = 0;
    uint64_t body_len = 0;
    if (head_len == SIZE_MAX) {
        return true;
    }
    struct slice head = slice_head(in, head_len + 2);
    if (conn->step != STEP_WAITING || slice_uint(slice_sub(head, 9, 3), 599, &status) != ERR_OK ||
        slice_uint(load_header(head, SLICE("content-length")), ANSWER_MAX, &body_len) != ERR_OK) {
        return false;
    }
    if (in.len < head_len + 4 + body_len) {
        return true;
    }
    struct load_answer answer = {
        .number = conn->number,
        .status = (uint16_t)status,
        .head = head,
        .body = slice_sub(in, head_len + 4, (size_t)body_len),
        .took_us = clock_mono_us() - conn->asked_us,
    };
    load->waiting -= 1;
    load->counts.answered += 1;
    conn->step = STEP_IDLE;
    bool is_kept = !slice_equal_nocase(load_header(head, SLICE("connection")), SLICE("close"));
    load->options.answer(load->options.context, &answer);
    buf_consume(&conn->in, head_len + 4 + (size_t)body_len);
    conn->rest_until_ms = 0;
    if (status == 503) {
        rest(load, conn);
    } else if (is_kept) {
        ask(load, conn);
    }
    return is_kept;
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* Opens and asks where a pause is over. */
static void move_all(struct load *load)
{
    uint64_t now_ms = clock_mono_ms();
    uint32_t opened = 0;
    for (uint32_t i = 0; i < load->options.conn_count && !load->is_over; i++) {
        struct load_conn *conn = &load->conns[i];
        if (conn->rest_until_ms > now_ms) {
            continue;
        }
        if (conn->step == STEP_CLOSED && opened < OPENS_PER_TURN) {
            opened += 1;
            open_conn(load, i);
        } else if (conn->step == STEP_IDLE) {
            ask(load, conn);
        }
    }
}

static void on_event(struct load *load, struct load_conn *conn, uint32_t events)
{
    if (conn->step == STEP_CONNECTING) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
            load->counts.refused += 1;
            close_conn(load, conn);
            return;
        }
        conn->step = STEP_IDLE;
        load->counts.open += 1;
        ask(load, conn);
        return;
    }
    if ((events & EPOLLOUT) != 0 && conn->out.len > 0) {
        write_more(load, conn);
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && conn->fd != -1) {
        read_more(load, conn);
    }
}

static void turn(struct load *load, uint64_t wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load->epoll_fd, events, EVENTS, (int)wait_ms);
    CHECK(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        struct load_conn *conn = events[i].data.ptr;
        if (conn->fd != -1) {
            on_event(load, conn, events[i].events);
        }
    }
}

/* ---- mailings ------------------------------------------------------------------------------- */

void mailing_init(struct mailing *mailing, const char *key, const char *from, const char *domain)
{
    *mailing = (struct mailing){.key = key, .from = from, .domain = domain, .text_bytes = 200};
    buf_init(&mailing->entries, ENTRIES_MAX);
    buf_init(&mailing->text, REQUEST_MAX);
}

void mailing_fini(struct mailing *mailing)
{
    buf_fini(&mailing->entries);
    buf_fini(&mailing->text);
}

/* Words that no compression shrinks much, so that a disk fills as fast as it is told to. */
static void make_text(struct mailing *mailing)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    uint64_t state = 1;
    for (uint32_t i = 0; i < mailing->text_bytes; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        buf_add_byte(&mailing->text, i % 72 == 71 ? ' ' : letters[state >> 58]);
    }
}

bool mailing_ask(void *context, uint64_t number, struct buf *out)
{
    struct mailing *mailing = context;
    if (mailing->mail_max != 0 && number >= mailing->mail_max) {
        return false;
    }
    if (mailing->text.len == 0) {
        make_text(mailing);
    }
    struct buf body;
    buf_init(&body, REQUEST_MAX);
    buf_add_format(&body,
                   "{\"from\":\"%s\",\"to\":\"n%" PRIu64 "@%s\",\"subject\":\"mail %" PRIu64
                   "\",\"text\":\"",
                   mailing->from, number, mailing->domain, number);
    buf_add(&body, buf_slice(&mailing->text));
    buf_add_str(&body, "\"}");
    buf_add_format(out,
                   "POST /v1/send HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %s\r\n"
                   "content-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                   mailing->key, body.len);
    buf_add(out, buf_slice(&body));
    buf_fini(&body);
    return true;
}

void mailing_note(struct mailing *mailing, uint64_t number, struct slice id)
{
    struct mailing_entry entry = {.number = number};
    CHECK(id.len > 0 && id.len < sizeof entry.id);
    memcpy(entry.id, id.data, id.len);
    buf_add_bytes(&mailing->entries, &entry, sizeof entry);
    CHECK(!mailing->entries.is_over);
    mailing->accepted += 1;
}

static void add_entry(struct mailing *mailing, const struct load_answer *answer)
{
    size_t at = slice_find(answer->body, SLICE("\"id\":\"msg_"));
    struct slice id = slice_from(answer->body, at == SIZE_MAX ? at : at + 6);
    mailing_note(mailing, answer->number, slice_cut(&id, '"'));
}

static void add_strange(struct mailing *mailing, const struct load_answer *answer, const char *why)
{
    if (mailing->strange == 0) {
        printf("strange answer to mail %" PRIu64 "%s\n%.*s%.*s\n", answer->number, why,
               SLICE_FMT(answer->head), SLICE_FMT(answer->body));
    }
    mailing->strange += 1;
}

void mailing_answer(void *context, const struct load_answer *answer)
{
    struct mailing *mailing = context;
    if (answer->status == 202) {
        add_entry(mailing, answer);
        return;
    }
    if (answer->status != 503) {
        add_strange(mailing, answer, "");
        return;
    }
    if (load_header(answer->head, SLICE("retry-after")).len == 0) {
        add_strange(mailing, answer, ": " NO_RETRY_AFTER);
    } else if (slice_find(answer->body, SLICE("\"code\":\"busy\"")) != SIZE_MAX) {
        mailing->busy += 1;
        mailing->busy_us_sum += answer->took_us;
        mailing->busy_us_max =
            answer->took_us > mailing->busy_us_max ? answer->took_us : mailing->busy_us_max;
    } else if (slice_find(answer->body, SLICE("\"code\":\"storage\"")) != SIZE_MAX) {
        mailing->storage += 1;
    } else if (slice_find(answer->body, SLICE("\"code\":\"draining\"")) != SIZE_MAX) {
        mailing->draining += 1;
    } else {
        add_strange(mailing, answer, ": a 503 of an unknown code");
    }
}

const struct mailing_entry *mailing_at(const struct mailing *mailing, uint64_t index)
{
    CHECK(index < mailing->accepted);
    return (const struct mailing_entry *)(const void *)mailing->entries.data + index;
}
