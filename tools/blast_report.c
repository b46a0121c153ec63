/* blast_report.c - what a run saw, as lines `name value unit` or as one JSON document with the
 * buckets of every histogram. */
#include "blast.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

/* Names are words of this file; values are numbers: nothing needs escaping. */
struct report {
    bool is_json;
    bool has_rows;
};

static void say(struct report *report, const char *name, const char *unit, double value)
{
    int digits = value < 1000 && value != (double)(uint64_t)value ? 3 : 0;
    if (report->is_json) {
        printf("%s\n \"%s\": {\"value\": %.*f, \"unit\": \"%s\"}", report->has_rows ? "," : "{",
               name, digits, value, unit);
    } else {
        printf("%s %.*f %s\n", name, digits, value, unit);
    }
    report->has_rows = true;
}

static void say_count(struct report *report, const char *name, const char *unit, uint64_t count)
{
    say(report, name, unit, (double)count);
}

static void say_spread(struct report *report, const char *name, const struct histogram *times)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
    char label[64];
    if (times->count == 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        (void)snprintf(label, sizeof label, "%s_%s", name, points[i].name); /* both are short */
        say(report, label, "ms", (double)histogram_at(times, points[i].share) / MS_US);
    }
    (void)snprintf(label, sizeof label, "%s_max", name);
    say(report, label, "ms", (double)times->max_us / MS_US);
}

/* [[the longest time of the bucket in us, how many], ...] */
static void say_buckets(const struct report *report, const char *name,
                        const struct histogram *times)
{
    const char *comma = "";
    if (!report->is_json || times->count == 0) {
        return;
    }
    printf(",\n \"%s_buckets_us\": [", name);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (times->buckets[i] > 0) {
            printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, histogram_top(i), times->buckets[i]);
            comma = ",";
        }
    }
    printf("]");
}

/* With a schedule times begin where the mail was due, those still unanswered at the end included.
 * Without one a client that waits asks nothing: then the correction assumes that each would have
 * gone on at the median, and says so. */
static void say_latency(struct report *report, const struct blast *blast)
{
    struct histogram *times = mem_zalloc(sizeof *times);
    bool has_schedule = blast->options.rate > 0;
    *times = blast->accepted;
    if (has_schedule) {
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            times->buckets[i] += blast->late.buckets[i];
        }
        times->count += blast->late.count;
        times->max_us = max_u64(times->max_us, blast->late.max_us);
        say_count(report, "unanswered", "mails", blast->late.count);
        say_count(report, "behind", "mails", blast->behind);
    }
    say_spread(report, "latency", times);
    say_buckets(report, "latency", times);
    if (!has_schedule && blast->accepted.count > 0) {
        uint64_t interval_us = histogram_at(&blast->accepted, 0.5);
        histogram_correct(&blast->accepted, interval_us, times);
        say(report, "correction_interval", "ms", (double)interval_us / MS_US);
        say_spread(report, "corrected_latency", times);
        say_buckets(report, "corrected_latency", times);
    }
    free(times);
}

static void say_hooks(struct report *report, struct blast *blast)
{
    const struct hook_counts *counts = blast_hook_counts(blast);
    if (counts == NULL) {
        return;
    }
    double seconds = (double)(counts->last_us - blast->started_us) / SECOND_US;
    say_count(report, "hooks", "webhooks", counts->latency.count);
    say(report, "hook_rate", "webhooks/s",
        counts->last_us > 0 ? (double)counts->latency.count / seconds : 0);
    say_spread(report, "hook_latency", &counts->latency);
    say_buckets(report, "hook_latency", &counts->latency);
    say_count(report, "hooks_missing", "webhooks", counts->missing);
    say_count(report, "hooks_repeated", "webhooks", counts->repeated);
    say_count(report, "hooks_unknown", "webhooks", counts->unknown);
    say_count(report, "hooks_bad", "webhooks", counts->bad);
}

void blast_report(struct blast *blast)
{
    struct report report = {.is_json = blast->options.is_json};
    double seconds = (double)(blast->ended_us - blast->started_us) / SECOND_US;
    uint64_t idle_count = 0;
    for (size_t i = 0; i < blast->client_count; i++) {
        idle_count += blast->clients[i].is_idle && blast->clients[i].is_open ? 1 : 0;
    }
    say(&report, "machine", "cores", (double)sysconf(_SC_NPROCESSORS_ONLN));
    say(&report, "seconds", "s", seconds);
    if (blast->options.is_idle) {
        say_count(&report, "idle_open", "connections", idle_count);
    }
    if (blast->options.rate > 0) {
        say_count(&report, "offered_rate", "mails/s", blast->options.rate);
    }
    say_count(&report, "accepted", "mails", blast->accepted.count);
    say(&report, "rate", "mails/s", seconds > 0 ? (double)blast->accepted.count / seconds : 0.0);
    say_latency(&report, blast);
    say_spread(&report, "shed_latency", &blast->shed);
    for (size_t i = 0; i < ARRAY_LEN(blast->statuses); i++) {
        char name[16];
        if (blast->statuses[i] > 0) {
            (void)snprintf(name, sizeof name, "status_%u", (unsigned)i); /* three digits */
            say_count(&report, name, "answers", blast->statuses[i]);
        }
    }
    say_hooks(&report, blast);
    if (blast->sessions > 0) {
        say_count(&report, "sessions", "connections", blast->sessions);
    }
    say_count(&report, "refused", "connections", blast->refused);
    say_count(&report, "broken", "requests", blast->broken);
    if (report.is_json) {
        printf("\n}\n");
    }
    (void)fflush(stdout); /* a closed pipe loses the report and nothing else */
}
