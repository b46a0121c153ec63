/* meerkatctl_job.c - jobs: run one and watch it, list them, look at one, cancel one; compact. */
#include "meerkatctl_job.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

#define JOBS        "/api/admin/jobs"
#define LOOK_MS     250 /* between two looks */
#define EXIT_SIGINT 130 /* as a shell has it */

static const struct column job_columns[] = {
    {"JOB", "id"},
    {"TYPE", "type"},
    {"STATE", "state"},
    {"DONE", "done"},
    {"OF", "total"},
    {"UNIT", "unit"},
    {"STARTED", "startedAt"},
    {"ENDED", "endedAt"},
    {"PROBLEMS", "problems"},
    {"WORKING", "working"},
    {"ERROR", "error"},
};

static long long number(json_t *job, const char *member)
{
    return (long long)json_integer_value(ctl_member(job, member));
}

static void print_bytes(char out[32], long long bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit += 1;
    }
    (void)snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static void print_amount(char out[32], long long amount, const char *unit)
{
    if (strcmp(unit, "bytes") == 0) {
        print_bytes(out, amount);
    } else {
        (void)snprintf(out, 32, "%lld", amount);
    }
}

static void print_span(char out[32], long long ms)
{
    long long seconds = (ms + 999) / 1000;
    if (seconds < 120) {
        (void)snprintf(out, 32, "%lld s", seconds);
    } else if (seconds < 7200) {
        (void)snprintf(out, 32, "%lld min", seconds / 60);
    } else {
        (void)snprintf(out, 32, "%lld h %lld min", seconds / 3600, seconds / 60 % 60);
    }
}

/* "verify: 120000 of 400000 rows (30 %), shard07, about 12 s left", over itself on a terminal. */
static void show_progress(json_t *job)
{
    const char *unit = ctl_member_text(job, "unit");
    char done[32];
    char total[32];
    char left[32];
    char line[400];
    long long of = number(job, "total");
    print_amount(done, number(job, "done"), unit);
    print_amount(total, of, unit);
    print_span(left, number(job, "leftMs"));
    bool is_bytes = strcmp(unit, "bytes") == 0;
    int len = snprintf(line, sizeof line, "%s: %s", ctl_member_text(job, "type"), done);
    size_t at = (size_t)len;
    if (of > 0) {
        at += (size_t)snprintf(line + at, sizeof line - at, " of %s%s%s (%lld %%)", total,
                               is_bytes ? "" : " ", is_bytes ? "" : unit,
                               number(job, "done") * 100 / of);
    }
    const char *working = ctl_member_text(job, "working");
    at += (size_t)snprintf(line + at, sizeof line - at, "%s%.128s", working[0] != '\0' ? ", " : "",
                           working);
    if (number(job, "leftMs") > 0) {
        (void)snprintf(line + at, sizeof line - at, ", about %s left", left); /* it fits */
    }
    (void)fprintf(stderr, "\r\033[K%s", line); /* it is only for the eye */
}

static void end_progress(bool is_terminal)
{
    if (is_terminal) {
        (void)fputs("\r\033[K", stderr);
    }
}

static bool is_running(json_t *job)
{
    return strcmp(ctl_member_text(job, "state"), "running") == 0;
}

bool ctl_job_is_done(json_t *job)
{
    return strcmp(ctl_member_text(job, "state"), "done") == 0;
}

static int get_job(struct ctl *ctl, const char *path, json_t **job)
{
    const struct call call = {.method = "GET", .path = path};
    return ctl_call(ctl, &call, job);
}

static int say_left(const char *type, const char *id)
{
    (void)fprintf(stderr,
                  "meerkatctl: the %s goes on in meerkatd; \"meerkatctl job %s\" shows it, "
                  "\"meerkatctl job %s --cancel\" ends it\n",
                  type, id, id);
    return EXIT_SIGINT;
}

/* Waits in *job for its end. Ctrl-C is waited for like the time, so it never comes in between. */
static int watch(struct ctl *ctl, json_t **job)
{
    sigset_t signals;
    struct timespec wait = {.tv_nsec = LOOK_MS * 1000000L};
    const char *id = ctl_text(ctl, "%s", ctl_member_text(*job, "id"));
    const char *type = ctl_text(ctl, "%s", ctl_member_text(*job, "type"));
    const char *path = ctl_path(ctl, JOBS "/", id, "");
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    (void)sigemptyset(&signals);        /* these fail for invalid signals only */
    (void)sigaddset(&signals, SIGINT);  /* likewise */
    (void)sigaddset(&signals, SIGTERM); /* likewise */
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    while (is_running(*job)) {
        if (is_terminal) {
            show_progress(*job);
        }
        if (sigtimedwait(&signals, NULL, &wait) > 0) {
            end_progress(is_terminal);
            return say_left(type, id);
        }
        json_t *next;
        int status = get_job(ctl, path, &next);
        if (status != EXIT_GOOD) {
            end_progress(is_terminal);
            return status;
        }
        json_decref(*job);
        *job = next;
    }
    end_progress(is_terminal);
    (void)sigprocmask(SIG_UNBLOCK, &signals, NULL);
    return EXIT_GOOD;
}

static void print_json(const json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(2));
    if (text != NULL) {
        printf("%s\n", text);
    }
    free(text);
}

/* The end of a job: its report for whom it is, its error, and the status. */
static int conclude(struct ctl *ctl, json_t *job, job_print_fn *print)
{
    const char *state = ctl_member_text(job, "state");
    if (ctl->is_json) {
        print_json(job);
    } else if (print != NULL) {
        print(ctl, job);
    } else {
        print_json(ctl_member(job, "report"));
    }
    if (strcmp(state, "failed") == 0) {
        (void)fprintf(stderr, "meerkatctl: the %s failed: %s\n", ctl_member_text(job, "type"),
                      ctl_member_text(job, "error"));
        return EXIT_WRONG;
    }
    if (strcmp(state, "cancelled") == 0) {
        (void)fprintf(stderr, "meerkatctl: the %s was cancelled\n", ctl_member_text(job, "type"));
        return EXIT_REFUSED;
    }
    return number(job, "problems") > 0 ? EXIT_WRONG : EXIT_GOOD;
}

int ctl_job_run(struct ctl *ctl, const char *type, json_t *body, job_print_fn *print)
{
    json_t *job;
    body = body != NULL ? body : json_object();
    (void)json_object_set_new(body, "type", json_string(type)); /* only fails without memory */
    int status = ctl_call(ctl, &(struct call){.method = "POST", .path = JOBS, .body = body}, &job);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (ctl_option(ctl, "detach") != NULL) {
        ctl_print_done(ctl, job,
                       ctl_text(ctl, "job %s runs; \"meerkatctl job %s\" shows it",
                                ctl_member_text(job, "id"), ctl_member_text(job, "id")));
        json_decref(job);
        return EXIT_GOOD;
    }
    status = watch(ctl, &job);
    if (status == EXIT_GOOD) {
        status = conclude(ctl, job, print);
    }
    json_decref(job);
    return status;
}

/* ---- the commands ---------------------------------------------------------------------------- */

int run_jobs(struct ctl *ctl)
{
    json_t *answer;
    int status = ctl_call(ctl, &(struct call){.method = "GET", .path = JOBS}, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_list(ctl, ctl_member(answer, "data"), job_columns, ARRAY_LEN(job_columns));
        json_decref(answer);
    }
    return status;
}

static void print_job(struct ctl *ctl, json_t *job)
{
    ctl_print_one(ctl, job, job_columns, ARRAY_LEN(job_columns));
    if (json_is_object(ctl_member(job, "report"))) {
        printf("report\n");
        print_json(ctl_member(job, "report"));
    }
}

int run_job(struct ctl *ctl)
{
    json_t *job;
    int status = EXIT_GOOD;
    if (ctl_option(ctl, "cancel") != NULL) {
        const struct call call = {.method = "DELETE",
                                  .path = ctl_path(ctl, JOBS "/", ctl->words[0], "")};
        status = ctl_call(ctl, &call, &job);
    } else {
        status = get_job(ctl, ctl_path(ctl, JOBS "/", ctl->words[0], ""), &job);
    }
    if (status != EXIT_GOOD) {
        return status;
    }
    if (ctl_option(ctl, "wait") != NULL) {
        status = watch(ctl, &job);
        status = status == EXIT_GOOD ? conclude(ctl, job, print_job) : status;
    } else if (ctl->is_json) {
        print_json(job);
    } else {
        print_job(ctl, job);
    }
    json_decref(job);
    return status;
}

static void print_compacted(struct ctl *ctl UNUSED, json_t *job)
{
    char before[32];
    char after[32];
    if (!ctl_job_is_done(job)) {
        printf("%lld of %lld families were compacted\n", number(job, "done"), number(job, "total"));
        return;
    }
    print_bytes(before, number(job, "report.bytesBefore"));
    print_bytes(after, number(job, "report.bytesAfter"));
    printf("compacted %lld of %lld families: %s before, %s now\n", number(job, "done"),
           number(job, "total"), before, after);
}

int run_compact(struct ctl *ctl)
{
    uint64_t shard;
    json_t *body = json_object();
    if (ctl->word_count > 0) {
        if (slice_uint(slice_str(ctl->words[0]), SHARD_COUNT_MAX - 1, &shard) != ERR_OK) {
            json_decref(body);
            return ctl_usage(ctl, "a shard is a number from 0 to %u", SHARD_COUNT_MAX - 1);
        }
        (void)json_object_set_new(body, "shard", json_integer((json_int_t)shard));
    }
    return ctl_job_run(ctl, "compact", body, print_compacted);
}
