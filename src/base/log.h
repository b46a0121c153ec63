/* log.h - structured lines, written by one thread.
 *
 * A line is JSON: time, level, thread, event, then the fields given. Callers on loops never block:
 * a line goes into a bounded ring and a writer thread empties it to the log's file descriptor; when
 * the ring is full, lines are dropped and counted, and the count is logged when there is room.
 * Secrets have no field type, so they cannot be logged by accident.
 *
 * Usage: LOG_INFO("mail.accepted", LOG_ID("message", ID_MESSAGE, id), LOG_U64("bytes", n));
 *
 * Levels: debug (off by default), info, warn (somebody should look when there are many), error
 * (somebody should look now). Events whose names begin with a prefix may have a level of their own;
 * the longest prefix counts. The question on the hot path stays one relaxed load: the lowest of all
 * levels in use. What passes it is compared with the prefixes as it is written.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/slice.h"
#include "base/trace.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_type {
    LOG_TYPE_TEXT,
    LOG_TYPE_WORD, /* left out when empty */
    LOG_TYPE_U64,
    LOG_TYPE_I64,
    LOG_TYPE_BOOL,
    LOG_TYPE_ID,
    LOG_TYPE_ACCOUNT, /* left out when there is none */
    LOG_TYPE_TRACE    /* its id; left out when there is none */
};

struct log_field {
    const char *name;
    enum log_type type;
    enum id_kind id_kind;
    union {
        struct slice text; /* copied before log_line returns; cut at 512 bytes */
        uint64_t u64;
        int64_t i64;
        struct id id;
        const struct trace *trace;
    } value;
};

#define LOG_TEXT(n, s) ((struct log_field){.name = (n), .type = LOG_TYPE_TEXT, .value.text = (s)})
#define LOG_STR(n, c)  LOG_TEXT(n, slice_str(c))
#define LOG_U64(n, v)  ((struct log_field){.name = (n), .type = LOG_TYPE_U64, .value.u64 = (v)})
#define LOG_I64(n, v)  ((struct log_field){.name = (n), .type = LOG_TYPE_I64, .value.i64 = (v)})
#define LOG_BOOL(n, v) ((struct log_field){.name = (n), .type = LOG_TYPE_BOOL, .value.u64 = (v)})
#define LOG_ID(n, k, v)                                                                            \
    ((struct log_field){.name = (n), .type = LOG_TYPE_ID, .id_kind = (k), .value.id = (v)})
#define LOG_ACCOUNT(n, v)                                                                          \
    ((struct log_field){.name = (n), .type = LOG_TYPE_ACCOUNT, .value.u64 = (v).value})
/* A request's id and its trace, as far as there are any. */
#define LOG_ORIGIN(o)                                                                              \
    ((struct log_field){                                                                           \
        .name = "request", .type = LOG_TYPE_WORD, .value.text = slice_str((o)->request)}),         \
        ((struct log_field){.name = "trace", .type = LOG_TYPE_TRACE, .value.trace = &(o)->trace})
#define LOG_ERR(e) LOG_STR("err", err_info(e)->name)

/* What is told at a level of its own only when an option asks for it. */
#define LOG_LEVEL_IF(is_wanted) ((is_wanted) ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG)

#define LOG_LINE(level, event, ...)                                                                \
    do {                                                                                           \
        if (log_is_on(level)) {                                                                    \
            const struct log_field log_fields_[] = {{.name = NULL}, __VA_ARGS__};                  \
            log_line(level, event, log_fields_ + 1, ARRAY_LEN(log_fields_) - 1);                   \
        }                                                                                          \
    } while (0)
#define LOG_DEBUG(event, ...) LOG_LINE(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define LOG_INFO(event, ...)  LOG_LINE(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define LOG_WARN(event, ...)  LOG_LINE(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define LOG_ERROR(event, ...) LOG_LINE(LOG_LEVEL_ERROR, event, __VA_ARGS__)

/* Starts the writer on file descriptor fd (2 for standard error). Before log_start, and after
 * log_stop, lines are written at once by the caller, to standard error. log_stop empties the ring.
 *
 * What cannot be written (a full disk) is lost and counted; nothing waits for it, and no line is
 * ever mixed with the rest of another. */
void log_start(int fd, enum log_level level);
/* The same on a file, which is made if need be (mode 0640) and appended to. False: it cannot be
 * opened, nothing was started, errno tells why. */
MUST_USE bool log_start_file(const char *path, enum log_level level);
/* The writer opens the file anew before it writes on; lines that are written meanwhile are in the
 * old one or the new one, and none is lost. It stays with the old one when that fails, and says so.
 * Nothing happens when the log is no file. */
void log_reopen(void);
void log_stop(void);
void log_set_level(enum log_level level);
/* False: no line of that level is written, whatever its event. */
bool log_is_on(enum log_level level);

/* Events that begin with prefix. */
struct log_rule {
    char prefix[LOG_PREFIX_MAX + 1];
    enum log_level level;
};
struct log_levels {
    enum log_level level; /* of everything that no rule names */
    uint32_t rule_count;
    struct log_rule rules[LOG_RULES_MAX];
};
/* Any thread, at any time. */
void log_levels_get(struct log_levels *levels);
void log_levels_set(const struct log_levels *levels);

const char *log_level_name(enum log_level level);
/* False when it is none of debug, info, warn, error. */
bool log_level_parse(struct slice name, enum log_level *level) MUST_USE;

void log_line(enum log_level level, const char *event, const struct log_field *fields,
              size_t count);

#endif
