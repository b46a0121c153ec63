/* Not covered here: several threads logging at once under ThreadSanitizer (tests/race).
 */
#include "base/log.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/metric.h"

#include <criterion/criterion.h>

#include <jansson.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int memory_file(void)
{
    int fd = memfd_create("log", 0);
    cr_assert(fd != -1);
    return fd;
}

/* All that was written, terminated; the caller frees it. */
static char *read_back(int fd)
{
    off_t len = lseek(fd, 0, SEEK_END);
    cr_assert(len >= 0);
    char *text = mem_zalloc((size_t)len + 1);
    cr_assert_eq(pread(fd, text, (size_t)len, 0), len);
    return text;
}

/* The only line, parsed; the caller gives it back with json_decref. */
static json_t *only_line(int fd)
{
    char *text = read_back(fd);
    char *end = strchr(text, '\n');
    cr_assert_not_null(end, "no line in `%s`", text);
    cr_assert_eq(end[1], '\0', "more than a line in `%s`", text);
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(line, "not JSON: %s", text);
    free(text);
    return line;
}

static const char *text_of(const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, name));
    return text != NULL ? text : "(none)";
}

Test(log, writes_one_json_object_a_line)
{
    crypto_init();
    clock_set_fake(1, UINT64_C(1795243131123));
    check_name_thread("loop0");
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_INFO);
    struct id id = id_random();
    struct account_id account = account_random();
    LOG_INFO("mail.accepted", LOG_ID("message", ID_MESSAGE, id), LOG_ACCOUNT("account", account),
             LOG_U64("bytes", UINT64_MAX), LOG_I64("delta", INT64_MIN), LOG_BOOL("is_new", true),
             LOG_BOOL("is_old", false), LOG_STR("from", "a@example.com"),
             LOG_TEXT("none", ((struct slice){.data = NULL, .len = 0})), LOG_ERR(ERR_BUSY));
    log_stop();
    char *raw = read_back(fd);
    const char *head = "{\"time\":\"2026-11-21T06:38:51.123Z\",\"level\":\"info\","
                       "\"thread\":\"loop0\",\"event\":\"mail.accepted\",\"message\":\"msg_";
    cr_assert(strncmp(raw, head, strlen(head)) == 0, "%s", raw);
    cr_assert_not_null(strstr(raw, "\"bytes\":18446744073709551615,"));
    cr_assert_not_null(strstr(raw, "\"delta\":-9223372036854775808,"));
    /* jansson has no place for UINT64_MAX, so the number is looked at and then made smaller. */
    memcpy(strstr(raw, "18446744073709551615"), "                   1", 20);
    json_t *line = json_loads(raw, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(line, "%s", raw);
    free(raw);
    char text[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, id, text); /* terminated */
    cr_assert_str_eq(text_of(line, "message"), text);
    (void)account_text(account, text); /* terminated */
    cr_assert_str_eq(text_of(line, "account"), text);
    cr_assert(json_is_true(json_object_get(line, "is_new")));
    cr_assert(json_is_false(json_object_get(line, "is_old")));
    cr_assert_str_eq(text_of(line, "from"), "a@example.com");
    cr_assert_str_eq(text_of(line, "none"), "");
    cr_assert_str_eq(text_of(line, "err"), "ERR_BUSY");
    json_decref(line);
    close(fd);
}

Test(log, stays_json_whatever_the_text_holds)
{
    static const struct {
        struct slice text;
        const char *wanted; /* as UTF-8 */
    } table[] = {
        {SLICE_INIT("quote \" and \\ slash"), "quote \" and \\ slash"},
        {SLICE_INIT("two\r\nlines\t"), "two\r\nlines\t"},
        {SLICE_INIT("escape \x1b[31m"), "escape \x1b[31m"},
        {SLICE_INIT("delete \x7f"), "delete \x7f"},
        {SLICE_INIT("caf\xc3\xa9"), "caf\xc3\xa9"},
        {SLICE_INIT("caf\xe9"), "caf\xc3\xa9"}, /* Latin-1 */
        {SLICE_INIT("\xed\xa0\x80"), "\xc3\xad\xc2\xa0\xc2\x80"},
        {SLICE_INIT("one byte \xc2\x9b"
                    "31m"),
         "one byte \xc2\x9b"
         "31m"},
        {SLICE_INIT("\xc2\x80\xc2\x9f\xc2\xa0"), "\xc2\x80\xc2\x9f\xc2\xa0"},
        {SLICE_INIT("\"}\n{\"level\":\"error\"}"), "\"}\n{\"level\":\"error\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int fd = memory_file();
        log_start(fd, LOG_LEVEL_INFO);
        LOG_INFO("remote.said", LOG_TEXT("text", table[i].text));
        log_stop();
        json_t *line = only_line(fd);
        cr_assert_str_eq(text_of(line, "text"), table[i].wanted);
        char *raw = read_back(fd);
        for (const char *at = raw; *at != '\0'; at++) {
            bool is_c1 = at[0] == '\xc2' && (at[1] & 0xe0) == 0x80;
            cr_expect_not(is_c1 || *at == '\x7f' || (*at >= 0 && *at < ' ' && *at != '\n'),
                          "a terminal would obey: %s", raw);
        }
        free(raw);
        json_decref(line);
        close(fd);
    }
}

Test(log, cuts_long_text_between_characters)
{
    char text[1000];
    for (size_t at = 0; at < sizeof(text); at += 2) { /* 512 falls inside the first byte's pair */
        memcpy(text + at, "\xc3\xa9", 2);
    }
    text[0] = 'x';
    text[1] = 'y';
    text[2] = 'z';
    memmove(text + 3, text + 4, sizeof(text) - 4);
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_INFO);
    LOG_INFO("long", LOG_TEXT("text", slice_of(text, sizeof(text) - 1)));
    log_stop();
    json_t *line = only_line(fd);
    cr_assert_eq(strlen(text_of(line, "text")), 511);
    cr_assert(strncmp(text_of(line, "text"), text, 511) == 0);
    json_decref(line);
    close(fd);
}

Test(log, leaves_out_whole_fields_when_a_line_is_full)
{
    char text[512];
    memset(text, '\x01', sizeof(text)); /* six bytes each, escaped */
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_INFO);
    LOG_INFO("full", LOG_TEXT("a", slice_of(text, 512)), LOG_TEXT("b", slice_of(text, 512)),
             LOG_U64("c", 3));
    log_stop();
    json_t *line = only_line(fd);
    cr_assert_eq(strlen(text_of(line, "a")), 512);
    cr_assert_null(json_object_get(line, "b"));
    cr_assert_null(json_object_get(line, "c"));
    cr_assert(json_is_true(json_object_get(line, "cut")));
    json_decref(line);
    close(fd);
}

Test(log, passes_only_its_level_and_above)
{
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_WARN);
    LOG_DEBUG("no", LOG_U64("n", 1));
    LOG_INFO("no", LOG_U64("n", 2));
    LOG_WARN("yes", LOG_U64("n", 3));
    log_set_level(LOG_LEVEL_ERROR);
    cr_assert(!log_is_on(LOG_LEVEL_WARN));
    LOG_WARN("no", LOG_U64("n", 4));
    log_line(LOG_LEVEL_INFO, "no", NULL, 0);
    log_set_level(LOG_LEVEL_INFO);
    log_stop();
    json_t *line = only_line(fd);
    cr_assert_str_eq(text_of(line, "event"), "yes");
    cr_assert_str_eq(text_of(line, "level"), "warn");
    json_decref(line);
    close(fd);
}

Test(log, writes_at_once_while_no_writer_runs)
{
    int fd = memory_file();
    cr_assert(dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    log_line(LOG_LEVEL_INFO, "early", NULL, 0);
    json_t *line = only_line(fd);
    cr_assert_str_eq(text_of(line, "event"), "early");
    json_decref(line);

    int other = memory_file();
    log_start(other, LOG_LEVEL_INFO);
    log_stop();
    log_stop(); /* a second time is nothing */
    cr_assert(ftruncate(fd, 0) == 0);
    cr_assert(lseek(fd, 0, SEEK_SET) == 0);
    log_line(LOG_LEVEL_INFO, "late", NULL, 0);
    line = only_line(fd);
    cr_assert_str_eq(text_of(line, "event"), "late");
    json_decref(line);
    close(other);
    close(fd);
}

Test(log, names_the_request_and_the_trace_as_far_as_there_are_any)
{
    struct origin origin = {.request = "req_1"};
    const struct origin nobody = {.request = ""};
    int fd = memory_file();
    cr_assert(trace_read(SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                         &origin.trace));
    log_start(fd, LOG_LEVEL_INFO);
    LOG_INFO("a", LOG_ORIGIN(&origin), LOG_ACCOUNT("account", (struct account_id){1}));
    LOG_INFO("b", LOG_ORIGIN(&nobody), LOG_ACCOUNT("account", (struct account_id){0}),
             LOG_U64("n", 7));
    log_stop();
    char *text = read_back(fd);
    cr_expect_not_null(strstr(text, "\"event\":\"a\",\"request\":\"req_1\",\"trace\":"
                                    "\"4bf92f3577b34da6a3ce929d0e0e4736\",\"account\":\"acc_"));
    cr_expect_not_null(strstr(text, "\"event\":\"b\",\"n\":7}"));
    free(text);
    close(fd);
}

Test(log, counts_lines_by_level_and_only_those_that_are_on)
{
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_WARN);
    LOG_INFO("off", LOG_U64("n", 1));
    LOG_WARN("on", LOG_U64("n", 1));
    LOG_LINE(LOG_LEVEL_IF(true), "off", LOG_U64("n", 1));
    log_stop();
    cr_expect_eq(metric_read_at(METRIC_LOG_LINES, LABEL_LEVEL_INFO), 0);
    cr_expect_eq(metric_read_at(METRIC_LOG_LINES, LABEL_LEVEL_WARN), 1);
    close(fd);
}

Test(log, keeps_the_order_of_one_thread_and_loses_nothing_at_the_stop)
{
    enum { LINES = 10000 };
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_INFO);
    for (uint64_t i = 0; i < LINES; i++) {
        LOG_INFO("n", LOG_U64("n", i));
    }
    log_stop();
    char *text = read_back(fd);
    uint64_t n = 0;
    struct slice rest = slice_str(text);
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        uint64_t got = 0;
        struct slice digits = slice_from(line, slice_rfind_byte(line, ':') + 1);
        cr_assert_eq(slice_u64(slice_head(digits, digits.len - 1), &got), ERR_OK);
        cr_assert_eq(got, n);
        n++;
    }
    cr_assert_eq(n, LINES);
    free(text);
    close(fd);
}

/* Counts the lines of a pipe until its end, and what "log.dropped" admits to. */
struct reader {
    int fd;
    uint64_t lines;
    uint64_t admitted;
};

static void *run_reader(void *argument)
{
    struct reader *reader = argument;
    FILE *file = fdopen(reader->fd, "r");
    char line[8192];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *dropped = strstr(line, "\"event\":\"log.dropped\",\"lines\":");
        if (dropped != NULL) {
            reader->admitted += strtoull(strstr(dropped, "\"lines\":") + 8, NULL, 10);
        } else {
            reader->lines++;
        }
    }
    if (file != NULL) {
        (void)fclose(file); /* it was only read */
    }
    return NULL;
}

Test(log, drops_and_counts_lines_rather_than_wait_for_a_stuck_descriptor)
{
    enum { LINES = 12000 };
    char text[500];
    memset(text, 'x', sizeof(text));
    int ends[2];
    cr_assert(pipe(ends) == 0);
    log_start(ends[1], LOG_LEVEL_INFO);
    for (int i = 0; i < LINES; i++) { /* some 7 MB; nobody reads yet, and this does not block */
        LOG_INFO("flood", LOG_TEXT("text", slice_of(text, sizeof(text))));
    }
    uint64_t dropped = metric_read(METRIC_LOG_DROPPED);
    struct reader reader = {.fd = ends[0], .lines = 0, .admitted = 0};
    pthread_t thread;
    cr_assert(pthread_create(&thread, NULL, run_reader, &reader) == 0);
    log_stop();
    close(ends[1]);
    cr_assert(pthread_join(thread, NULL) == 0);
    cr_assert(dropped > 0);
    cr_assert_eq(reader.admitted, dropped);
    cr_assert_eq(reader.lines + dropped, LINES);
}

Test(log, waits_for_a_descriptor_that_was_made_non_blocking)
{
    enum { LINES = 2000 };
    int ends[2];
    cr_assert(pipe2(ends, O_NONBLOCK) == 0);
    cr_assert(fcntl(ends[0], F_SETFL, 0) == 0);
    log_start(ends[1], LOG_LEVEL_INFO);
    struct reader reader = {.fd = ends[0], .lines = 0, .admitted = 0};
    for (int i = 0; i < LINES; i++) { /* more than a pipe holds, less than the ring */
        LOG_INFO("n", LOG_U64("n", (uint64_t)i));
    }
    pthread_t thread;
    cr_assert(pthread_create(&thread, NULL, run_reader, &reader) == 0);
    log_stop();
    close(ends[1]);
    cr_assert(pthread_join(thread, NULL) == 0);
    cr_assert_eq(reader.lines, LINES);
}

Test(log, survives_a_closed_reader)
{
    int ends[2];
    cr_assert(pipe(ends) == 0);
    close(ends[0]);
    log_start(ends[1], LOG_LEVEL_INFO);
    LOG_INFO("n", LOG_U64("n", 1));
    log_stop();
    close(ends[1]);
}

/* ---- levels ---------------------------------------------------------------------------------- */

static void expect_lines(int fd, const char *const *events, size_t count)
{
    char *text = read_back(fd);
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    cr_expect_eq(lines, count, "%s", text);
    for (size_t i = 0; i < count; i++) {
        cr_expect_not_null(strstr(text, events[i]), "no %s in %s", events[i], text);
    }
    free(text);
}

Test(log, the_longest_prefix_of_an_event_has_its_level)
{
    int fd = memory_file();
    log_start(fd, LOG_LEVEL_INFO);
    const struct log_levels levels = {
        .level = LOG_LEVEL_WARN,
        .rule_count = 3,
        .rules = {{"deliver.", LOG_LEVEL_DEBUG},
                  {"deliver.trip", LOG_LEVEL_ERROR},
                  {"smtp", LOG_LEVEL_INFO}},
    };
    log_levels_set(&levels);
    cr_expect(log_is_on(LOG_LEVEL_DEBUG), "somebody wants them");
    LOG_DEBUG("deliver.sched", LOG_U64("n", 1));
    LOG_WARN("deliver.trip_ended", LOG_U64("n", 1));
    LOG_ERROR("deliver.trip_lost", LOG_U64("n", 1));
    LOG_INFO("smtp.turned_away", LOG_U64("n", 1));
    LOG_DEBUG("smtp.line", LOG_U64("n", 1));
    LOG_INFO("edge.other", LOG_U64("n", 1));
    LOG_WARN("edge.another", LOG_U64("n", 1));
    struct log_levels now;
    log_levels_get(&now);
    cr_expect_eq(now.rule_count, 3);
    cr_expect_eq(now.level, LOG_LEVEL_WARN);
    log_set_level(LOG_LEVEL_INFO); /* and no prefix */
    cr_expect_not(log_is_on(LOG_LEVEL_DEBUG));
    LOG_INFO("deliver.trip_again", LOG_U64("n", 1));
    log_stop();
    static const char *const events[] = {"deliver.sched", "deliver.trip_lost", "smtp.turned_away",
                                         "edge.another", "deliver.trip_again"};
    expect_lines(fd, events, ARRAY_LEN(events));
    (void)close(fd);
}

Test(log, knows_the_names_of_levels)
{
    enum log_level level = LOG_LEVEL_ERROR;
    cr_expect(log_level_parse(SLICE("debug"), &level));
    cr_expect_eq(level, LOG_LEVEL_DEBUG);
    cr_expect_not(log_level_parse(SLICE("Debug"), &level));
    cr_expect_not(log_level_parse(SLICE(""), &level));
    cr_expect_str_eq(log_level_name(LOG_LEVEL_WARN), "warn");
}
