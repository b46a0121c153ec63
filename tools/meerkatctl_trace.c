/* meerkatctl_trace.c - dialogues as they happen.
 *
 * The server keeps the lines of each of its actors; they are asked for three times a second, put in
 * order by time and printed, a dialogue under a name of its own. Ctrl-C ends the trace, too. */
#include "meerkatctl.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/check.h"
#include "base/limits.h"

#define TRACES  "/api/admin/traces"
#define POLL_MS 300

/* Where Ctrl-C and a request to end arrive, so that the trace is ended, too. -1: nowhere; then they
 * end the tool at once, and the trace ends by itself. */
static int open_signals(void)
{
    sigset_t wanted;
    (void)sigemptyset(&wanted);
    (void)sigaddset(&wanted, SIGINT);
    (void)sigaddset(&wanted, SIGTERM);
    int fd = signalfd(-1, &wanted, SFD_CLOEXEC);
    if (fd != -1) {
        (void)sigprocmask(SIG_BLOCK, &wanted, NULL); /* fails for no set that exists */
    }
    return fd;
}

/* Whether one has arrived within that time. */
static bool is_told_to_end(int signals, int ms)
{
    struct pollfd told = {.fd = signals, .events = POLLIN};
    return poll(&told, signals == -1 ? 0 : 1, ms) > 0;
}

/* By time; lines of one actor are in order already, and stay so: where times are equal, by place.
 */
struct placed {
    json_t *line;
    size_t place;
};

static int compare(const void *a, const void *b)
{
    const struct placed *left = a;
    const struct placed *right = b;
    int order = strcmp(ctl_member_text(left->line, "at"), ctl_member_text(right->line, "at"));
    return order != 0 ? order : left->place < right->place ? -1 : left->place > right->place;
}

static void print_line(const struct ctl *ctl, json_t *line)
{
    if (ctl->is_json) {
        char *text = json_dumps(line, JSON_COMPACT);
        printf("%s\n", text != NULL ? text : "");
        free(text);
        return;
    }
    const char *at = ctl_member_text(line, "at"); /* 2026-01-31T12:34:56.789Z */
    printf("%.12s %s/%s/%lld  ", strlen(at) > 11 ? at + 11 : at, ctl_member_text(line, "kind"),
           ctl_member_text(line, "actor"),
           (long long)json_integer_value(json_object_get(line, "dialogue")));
    ctl_print_safely(ctl_member_text(line, "line"));
    printf("\n");
}

static void print_page(const struct ctl *ctl, json_t *page)
{
    json_t *lines = json_object_get(page, "lines");
    size_t count = json_array_size(lines);
    json_int_t lost = json_integer_value(json_object_get(page, "lost"));
    struct placed *placed = mem_zalloc((count + 1) * sizeof *placed);
    for (size_t i = 0; i < count; i++) {
        placed[i] = (struct placed){json_array_get(lines, i), i};
    }
    qsort(placed, count, sizeof *placed, compare);
    if (lost > 0) {
        (void)fprintf(stderr, "meerkatctl: %lld lines were lost: there are more than can be kept\n",
                      (long long)lost);
    }
    for (size_t i = 0; i < count; i++) {
        print_line(ctl, placed[i].line);
    }
    free(placed);
    (void)fflush(stdout); /* main asks whether all went out */
}

/* The page behind *path's; then *path leads to the next one. */
static int read_page(struct ctl *ctl, const char *id, struct buf *path, json_t **page)
{
    struct arena spare = ctl->arena; /* a trace may last: what a request needs goes with it */
    arena_init(&ctl->arena, 16 * KIB, MIB);
    int status = ctl_call(ctl, &(struct call){.method = "GET", .path = path->data}, page);
    arena_fini(&ctl->arena);
    ctl->arena = spare;
    if (status == EXIT_GOOD) {
        buf_clear(path);
        buf_add_format(path, TRACES "/%s?after=%s", id, ctl_member_text(*page, "next"));
        buf_add_byte(path, '\0');
    }
    return status;
}

static int watch(struct ctl *ctl, const char *id, int signals)
{
    struct buf path;
    bool is_over = false;
    int status = EXIT_GOOD;
    buf_init(&path, MIB);
    buf_add_format(&path, TRACES "/%s?after=0", id);
    buf_add_byte(&path, '\0');
    while (!is_over && status == EXIT_GOOD) {
        json_t *page;
        status = read_page(ctl, id, &path, &page);
        if (status != EXIT_GOOD) {
            break;
        }
        print_page(ctl, page);
        is_over = json_is_true(json_object_get(page, "over"));
        bool has_more = json_is_true(json_object_get(page, "more"));
        json_decref(page);
        is_over |= is_told_to_end(signals, is_over || has_more ? 0 : POLL_MS);
    }
    buf_fini(&path);
    return status;
}

static void add_text(struct ctl *ctl, json_t *body, const char *name)
{
    const char *text = ctl_option(ctl, name);
    if (text != NULL) {
        (void)json_object_set_new(body, name, json_string(text)); /* refused when it is absent */
    }
}

static int fill(struct ctl *ctl, json_t *body)
{
    const char *seconds = ctl_option(ctl, "seconds");
    uint64_t number = 0;
    if (seconds != NULL &&
        (slice_uint(slice_str(seconds), 3600, &number) != ERR_OK || number == 0)) {
        return ctl_usage(ctl, "--seconds is 1 to 3600, not \"%s\"", seconds);
    }
    if (ctl_option(ctl, "account") == NULL && ctl_option(ctl, "site") == NULL &&
        ctl_option(ctl, "address") == NULL) {
        return ctl_usage(ctl, "--account, --site or --address is missing");
    }
    add_text(ctl, body, "account");
    add_text(ctl, body, "site");
    add_text(ctl, body, "address");
    if (number > 0) {
        (void)json_object_set_new(body, "seconds", json_integer((json_int_t)number)); /* likewise */
    }
    if (ctl_option(ctl, "http") != NULL) {
        (void)json_object_set_new(body, "http", json_true()); /* likewise */
    }
    if (ctl_option(ctl, "smtp") != NULL) {
        (void)json_object_set_new(body, "smtp", json_true()); /* likewise */
    }
    return EXIT_GOOD;
}

int run_trace(struct ctl *ctl)
{
    json_t *body = json_object();
    json_t *answer;
    int status = fill(ctl, body);
    if (status != EXIT_GOOD) {
        json_decref(body);
        return status;
    }
    status = ctl_call(ctl, &(struct call){.method = "POST", .path = TRACES, .body = body}, &answer);
    if (status != EXIT_GOOD) {
        return status;
    }
    const char *id = ctl_text(ctl, "%s", ctl_member_text(answer, "id"));
    (void)fprintf(stderr, "meerkatctl: watching until %s; Ctrl-C ends it\n",
                  ctl_member_text(answer, "endsAt"));
    json_decref(answer);
    status = watch(ctl, id, open_signals());
    const char *path = ctl_text(ctl, TRACES "/%s", id);
    if (status == EXIT_GOOD &&
        ctl_call(ctl, &(struct call){.method = "DELETE", .path = path}, &answer) == EXIT_GOOD) {
        json_decref(answer);
    }
    return status;
}
