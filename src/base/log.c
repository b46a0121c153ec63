/* log.c - a ring of bytes between the callers and one writer thread.
 *
 *   log_line: format on the stack --lock--> ring --unlock, write(2)--> file descriptor
 *
 * The ring holds finished lines end to end, so the writer hands the kernel whatever has gathered in
 * one call: the slower the descriptor, the fewer the calls. A caller holds the lock for one memcpy
 * and the writer never holds it across I/O, so a stuck terminal costs lines and not latency. Lines
 * are dropped whole, newest first, and the writer says how many once it has caught up.
 *
 * This module is one of the few with state of its own: the log is one for the process.
 */
#include "base/log.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/metric.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING_BYTES     ((size_t)4 * 1024 * 1024) /* some 20,000 lines */
#define LOG_LINE_BYTES 4096                      /* longest line; fields beyond are left out */
#define LINE_TAIL      ",\"cut\":true}\n"
#define TEXT_BYTES_CUT 512

struct line {
    size_t len;
    bool is_cut; /* something did not fit */
    char bytes[LOG_LINE_BYTES];
};

static const char *const level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the writer: bytes came, or it is time to end */
    pthread_t thread;
    char *ring; /* NULL when no writer runs */
    uint64_t written;
    uint64_t added; /* both count bytes since log_start; added - written are waiting */
    uint64_t dropped;
    char *path; /* NULL: the descriptor is somebody else's */
    int fd;
    bool is_stopping;
    bool wants_reopen;
    struct log_levels levels;

    /* The writer's own. */
    uint64_t lost;   /* lines that could not be written and have not been told of */
    bool may_tell;   /* of them: something could be written since */
    bool is_midway;  /* the rest of a line is in the ring */
    bool is_torn;    /* the file ends in the middle of a line, for good */
    bool skips_rest; /* of a line whose beginning is lost */
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER,
            .wake = PTHREAD_COND_INITIALIZER,
            .levels = {.level = LOG_LEVEL_INFO}};

/* Read on every LOG_ line of every thread, so not under the lock: the lowest level in use. */
static _Atomic int least_level = LOG_LEVEL_INFO;

static bool is_wanted(enum log_level level, const char *event);
static void *run_writer(void *unused);
static void write_waiting(void);
static void report_dropped(void);
static void report_lost(void);
static void reopen(void);
static void ring_add(const struct line *line);
static size_t write_all(int fd, const char *bytes, size_t len);
static void write_lines(const char *bytes, size_t len);
static void line_start(struct line *line, enum log_level level, const char *event);
static void line_end(struct line *line);
static void add_field(struct line *line, const struct log_field *field);
static void add_value(struct line *line, const struct log_field *field);
static void add_raw(struct line *line, struct slice s);
static void add_quoted(struct line *line, struct slice s);
static struct slice cut_text(struct slice s);

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

bool log_start_file(const char *path, enum log_level level)
{
    int fd = open_file(path);
    if (fd == -1) {
        return false;
    }
    size_t size = strlen(path) + 1;
    CHECK(shared.path == NULL);
    shared.path = mem_alloc(size);
    memcpy(shared.path, path, size);
    log_start(fd, level);
    return true;
}

void log_reopen(void)
{
    pthread_mutex_lock(&shared.lock);
    shared.wants_reopen = shared.path != NULL;
    pthread_cond_signal(&shared.wake);
    pthread_mutex_unlock(&shared.lock);
}

void log_start(int fd, enum log_level level)
{
    log_set_level(level);
    char *ring = mem_alloc(RING_BYTES);
    pthread_mutex_lock(&shared.lock);
    CHECK(shared.ring == NULL);
    shared.ring = ring;
    shared.written = 0;
    shared.added = 0;
    shared.dropped = 0;
    shared.fd = fd;
    shared.is_stopping = false;
    shared.wants_reopen = false;
    shared.lost = 0;
    shared.may_tell = false;
    shared.is_midway = false;
    shared.is_torn = false;
    shared.skips_rest = false;
    pthread_mutex_unlock(&shared.lock);

    /* Signals belong to the main loop; SIGPIPE of a closed terminal must not end the process. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&shared.thread, NULL, run_writer, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0) {
        fatal("cannot start the log's thread: %s; raise the limit of threads (ulimit -u)",
              strerror(result));
    }
}

void log_stop(void)
{
    pthread_mutex_lock(&shared.lock);
    bool is_running = shared.ring != NULL && !shared.is_stopping;
    if (is_running) {
        shared.is_stopping = true;
        pthread_cond_signal(&shared.wake);
    }
    pthread_mutex_unlock(&shared.lock);
    if (is_running) {
        int result = pthread_join(shared.thread, NULL);
        CHECK(result == 0);
        if (shared.path != NULL) {
            (void)close(shared.fd); /* each write was its own */
            free(shared.path);
            shared.path = NULL;
        }
    }
}

void log_set_level(enum log_level level)
{
    log_levels_set(&(struct log_levels){.level = level});
}

void log_levels_get(struct log_levels *levels)
{
    pthread_mutex_lock(&shared.lock);
    *levels = shared.levels;
    pthread_mutex_unlock(&shared.lock);
}

void log_levels_set(const struct log_levels *levels)
{
    enum log_level least = levels->level;
    CHECK(levels->rule_count <= LOG_RULES_MAX);
    for (uint32_t i = 0; i < levels->rule_count; i++) {
        least = levels->rules[i].level < least ? levels->rules[i].level : least;
    }
    pthread_mutex_lock(&shared.lock);
    shared.levels = *levels;
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
    pthread_mutex_unlock(&shared.lock);
}

const char *log_level_name(enum log_level level)
{
    CHECK((size_t)level < ARRAY_LEN(level_names));
    return level_names[level];
}

bool log_level_parse(struct slice name, enum log_level *level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (slice_equal(name, slice_str(level_names[i]))) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

void log_line(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    if (!log_is_on(level) || !is_wanted(level, event)) {
        return;
    }
    struct line line;
    metric_add_at(METRIC_LOG_LINES, (uint32_t)level, 1);
    line_start(&line, level, event);
    for (size_t i = 0; i < count; i++) {
        add_field(&line, &fields[i]);
    }
    line_end(&line);
    ring_add(&line);
}

/* What the rule with the longest prefix says; what no rule names goes by the level of all. */
static bool is_wanted(enum log_level level, const char *event)
{
    size_t longest = 0;
    pthread_mutex_lock(&shared.lock);
    enum log_level least = shared.levels.level;
    for (uint32_t i = 0; i < shared.levels.rule_count; i++) {
        const struct log_rule *rule = &shared.levels.rules[i];
        size_t len = strlen(rule->prefix);
        if (len >= longest && strncmp(event, rule->prefix, len) == 0) {
            least = rule->level;
            longest = len;
        }
    }
    pthread_mutex_unlock(&shared.lock);
    return level >= least;
}

static void *run_writer(void *unused)
{
    (void)unused; /* pthread_create demands the parameter */
    check_name_thread("log");
    pthread_mutex_lock(&shared.lock);
    for (;;) {
        if (shared.wants_reopen && !shared.is_midway) {
            shared.wants_reopen = false;
            reopen();
        } else if (shared.added != shared.written) {
            write_waiting();
        } else if (shared.dropped > 0) {
            report_dropped();
        } else if (shared.lost > 0 && shared.may_tell) {
            report_lost();
        } else if (shared.is_stopping) {
            break;
        } else {
            pthread_cond_wait(&shared.wake, &shared.lock);
        }
    }
    /* From here on, and in the same breath, callers write for themselves. */
    free(shared.ring);
    shared.ring = NULL;
    pthread_mutex_unlock(&shared.lock);
    return NULL;
}

/* Called with the lock, which is let go during the write. What is being written still counts as
 * waiting, so nobody overwrites it. */
static void write_waiting(void)
{
    size_t from = (size_t)(shared.written % RING_BYTES);
    size_t len = min_size((size_t)(shared.added - shared.written), RING_BYTES - from);
    pthread_mutex_unlock(&shared.lock);
    write_lines(shared.ring + from, len);
    pthread_mutex_lock(&shared.lock);
    shared.written += len;
}

static void write_report(const char *event, uint64_t lines)
{
    struct line line;
    line_start(&line, LOG_LEVEL_WARN, event);
    add_field(&line, &LOG_U64("lines", lines));
    line_end(&line);
    write_lines(line.bytes, line.len);
}

/* Called with the lock, which is let go during the write. */
static void report_dropped(void)
{
    uint64_t count = shared.dropped;
    shared.dropped = 0;
    pthread_mutex_unlock(&shared.lock);
    write_report("log.dropped", count);
    pthread_mutex_lock(&shared.lock);
}

/* Likewise. Once for each time that something could be written again: a disk that stays full is not
 * asked over and over. */
static void report_lost(void)
{
    uint64_t count = shared.lost;
    pthread_mutex_unlock(&shared.lock);
    write_report("log.lost", count);
    pthread_mutex_lock(&shared.lock);
    shared.lost = shared.lost == count ? 0 : count;
    shared.may_tell = false;
}

/* Likewise. It stands between two lines. */
static void reopen(void)
{
    pthread_mutex_unlock(&shared.lock);
    int fd = open_file(shared.path);
    int reason = errno;
    if (fd != -1) {
        (void)close(shared.fd); /* each write was its own */
        shared.fd = fd;
        shared.is_torn = false;
    }
    struct line line;
    line_start(&line, fd != -1 ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
               fd != -1 ? "log.reopened" : "log.reopen_failed");
    add_field(&line, &LOG_STR("path", shared.path));
    if (fd == -1) {
        add_field(&line, &LOG_STR("reason", strerror(reason)));
    }
    line_end(&line);
    write_lines(line.bytes, line.len);
    pthread_mutex_lock(&shared.lock);
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++) {
        count += bytes[i] == '\n';
    }
    return count;
}

static void lose(const char *bytes, size_t len)
{
    uint64_t lines = count_lines(bytes, len);
    shared.lost += lines;
    metric_add(METRIC_LOG_LOST, lines);
    shared.skips_rest = len > 0 && bytes[len - 1] != '\n';
}

/* Without the lock. A line whose beginning or end could not be written is lost; the next one that
 * can be begins on a line of its own, once it has been said how many were not. */
static void write_lines(const char *bytes, size_t len)
{
    size_t skipped = 0;
    if (shared.skips_rest) {
        const char *end = memchr(bytes, '\n', len);
        skipped = end != NULL ? (size_t)(end - bytes) + 1 : len;
        lose(bytes, skipped);
    }
    bytes += skipped;
    len -= skipped;
    if (len == 0 || (shared.is_torn && write_all(shared.fd, "\n", 1) == 0)) {
        lose(bytes, len);
        shared.is_midway = false;
        return;
    }
    shared.is_torn = false;
    size_t done = write_all(shared.fd, bytes, len);
    shared.is_midway = done == len && bytes[len - 1] != '\n';
    shared.may_tell = done == len;
    if (done < len) {
        shared.is_torn = done > 0 && bytes[done - 1] != '\n';
        lose(bytes + done, len - done);
    }
}

static void ring_add(const struct line *line)
{
    bool is_dropped = false;
    pthread_mutex_lock(&shared.lock);
    if (shared.ring == NULL) {
        (void)write_all(STDERR_FILENO, line->bytes, line->len); /* there is nothing else */
    } else if (line->len > RING_BYTES - (size_t)(shared.added - shared.written)) {
        shared.dropped++;
        is_dropped = true;
    } else {
        size_t at = (size_t)(shared.added % RING_BYTES);
        size_t first = min_size(line->len, RING_BYTES - at);
        memcpy(shared.ring + at, line->bytes, first);
        memcpy(shared.ring, line->bytes + first, line->len - first);
        if (shared.added == shared.written) {
            pthread_cond_signal(&shared.wake);
        }
        shared.added += line->len;
    }
    pthread_mutex_unlock(&shared.lock);
    if (is_dropped) {
        metric_add(METRIC_LOG_DROPPED, 1);
    }
}

/* What cannot be written is given up, for the next line may pass. Returns how much was. */
static size_t write_all(int fd, const char *bytes, size_t len)
{
    size_t total = 0;
    while (total < len) {
        ssize_t done = write(fd, bytes + total, len - total);
        if (done >= 0) {
            total += (size_t)done;
        } else if (errno == EAGAIN) { /* whoever shares the descriptor made it non-blocking */
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            (void)poll(&ready, 1, -1); /* a failure comes back from write */
        } else if (errno != EINTR) {
            break;
        }
    }
    return total;
}

static void line_start(struct line *line, enum log_level level, const char *event)
{
    char time[CLOCK_TEXT_MAX];
    size_t time_len = clock_rfc3339(clock_unix_ms(), time);
    line->len = 0;
    line->is_cut = false;
    add_raw(line, SLICE("{\"time\":\""));
    add_raw(line, slice_of(time, time_len));
    add_raw(line, SLICE("\",\"level\":\""));
    add_raw(line, slice_str(log_level_name(level)));
    add_raw(line, SLICE("\",\"thread\":"));
    add_quoted(line, slice_str(check_thread_name()));
    add_raw(line, SLICE(",\"event\":"));
    add_quoted(line, slice_str(event));
}

static void line_end(struct line *line)
{
    struct slice tail = line->is_cut ? SLICE(LINE_TAIL) : SLICE("}\n");
    memcpy(line->bytes + line->len, tail.data, tail.len); /* add_raw kept room for it */
    line->len += tail.len;
}

static bool is_empty(const struct log_field *field)
{
    return (field->type == LOG_TYPE_ACCOUNT && field->value.u64 == 0) ||
           (field->type == LOG_TYPE_WORD && field->value.text.len == 0) ||
           (field->type == LOG_TYPE_TRACE && trace_is_none(field->value.trace));
}

/* A field is in the line whole or not at all, so that the line stays JSON. */
static void add_field(struct line *line, const struct log_field *field)
{
    if (line->is_cut || is_empty(field)) {
        return;
    }
    size_t before = line->len;
    add_raw(line, SLICE(","));
    add_quoted(line, slice_str(field->name));
    add_raw(line, SLICE(":"));
    add_value(line, field);
    if (line->is_cut) {
        line->len = before;
    }
}

static void add_value(struct line *line, const struct log_field *field)
{
    char text[ID_TEXT_MAX];
    char trace[TRACE_TEXT_MAX];
    int len = 0;
    switch (field->type) {
    case LOG_TYPE_TEXT:
    case LOG_TYPE_WORD:
        add_quoted(line, cut_text(field->value.text));
        break;
    case LOG_TYPE_U64:
        len = snprintf(text, sizeof(text), "%llu", (unsigned long long)field->value.u64);
        add_raw(line, slice_of(text, (size_t)len));
        break;
    case LOG_TYPE_I64:
        len = snprintf(text, sizeof(text), "%lld", (long long)field->value.i64);
        add_raw(line, slice_of(text, (size_t)len));
        break;
    case LOG_TYPE_BOOL:
        add_raw(line, field->value.u64 != 0 ? SLICE("true") : SLICE("false"));
        break;
    case LOG_TYPE_ID:
        add_quoted(line, slice_of(text, id_text(field->id_kind, field->value.id, text)));
        break;
    case LOG_TYPE_TRACE:
        add_quoted(line, slice_of(trace, trace_id_text(field->value.trace, trace)));
        break;
    case LOG_TYPE_ACCOUNT:
        add_quoted(line, slice_of(text, account_text((struct account_id){field->value.u64}, text)));
        break;
    }
}

static void add_raw(struct line *line, struct slice s)
{
    if (line->is_cut || s.len > LOG_LINE_BYTES - sizeof(LINE_TAIL) - line->len) {
        line->is_cut = true;
        return;
    }
    memcpy(line->bytes + line->len, s.data, s.len);
    line->len += s.len;
}

/* RFC 8259 7. Text that is not UTF-8 (a remote server may say anything) is shown byte by byte, as
 * if it were Latin-1. */
static void add_quoted(struct line *line, struct slice s)
{
    bool is_utf8 = slice_is_utf8(s);
    add_raw(line, SLICE("\""));
    size_t plain_from = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.data[i];
        bool is_plain = byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f;
        bool is_c1 = is_utf8 && byte == 0xc2 && ((unsigned char)s.data[i + 1] & 0xe0) == 0x80;
        if (is_plain && !is_c1 && (byte < 0x80 || is_utf8)) {
            continue;
        }
        if (i > plain_from) {
            add_raw(line, slice_sub(s, plain_from, i - plain_from));
        }
        if (is_c1) { /* U+0080 to U+009F: a terminal may take one for the start of a command */
            byte = (unsigned char)s.data[++i];
        }
        plain_from = i + 1;
        char escape[8];
        int len = byte == '"' || byte == '\\' ? snprintf(escape, sizeof(escape), "\\%c", byte)
                                              : snprintf(escape, sizeof(escape), "\\u%04x", byte);
        add_raw(line, slice_of(escape, (size_t)len));
    }
    if (s.len > plain_from) {
        add_raw(line, slice_from(s, plain_from));
    }
    add_raw(line, SLICE("\""));
}

/* The first TEXT_BYTES_CUT bytes, without half a character at the end. */
static struct slice cut_text(struct slice s)
{
    if (s.len <= TEXT_BYTES_CUT) {
        return s;
    }
    size_t len = TEXT_BYTES_CUT;
    while (len > TEXT_BYTES_CUT - 3 && ((unsigned char)s.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return slice_head(s, len);
}
