/* meerkatctl_top.c - what the daemon does now, anew every second.
 *
 * Two looks make rates: everything that counts is shown as what came on between them, and the first
 * screen comes after the second look. Plain text of 80 columns; on a terminal each screen is
 * written over the one before. It ends with ctrl-C.
 *
 * Loops are as busy as they did not wait for events; a shard's BUSY is the part of the time in its
 * handlers, which all run on its loop, and its COMMIT how long a batch took to be on disk.
 */
#include "meerkatctl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

#define TOP           "/api/admin/top"
#define SHARDS_SHOWN  12
#define SITES_SHOWN   10
#define SITE_COLUMNS  30
#define INTERVAL_MAX  3600
#define HOME_AND_WIPE "\033[H\033[J"

/* Two looks, and the time between them. */
struct looks {
    json_t *before;
    json_t *now;
    double seconds;
};

struct shard {
    json_t *before;
    json_t *now;
    double load; /* what they are sorted by */
};

static double at(json_t *from, const char *member)
{
    return json_number_value(ctl_member(from, member));
}

/* What came on; a daemon that was started anew counts from the beginning. */
static double more(json_t *before, json_t *now, const char *member)
{
    double difference = at(now, member) - (before != NULL ? at(before, member) : 0);
    return difference > 0 ? difference : 0;
}

static double total_rate(const struct looks *looks, const char *name)
{
    char member[64];
    (void)snprintf(member, sizeof member, "totals.%s", name); /* names are short */
    return more(looks->before, looks->now, member) / looks->seconds;
}

static double total(const struct looks *looks, const char *name)
{
    char member[64];
    (void)snprintf(member, sizeof member, "totals.%s", name); /* likewise */
    return at(looks->now, member);
}

/* How long one of them took, in milliseconds, of those that came on. */
static double mean_ms(json_t *before, json_t *now, const char *sum_us, const char *count)
{
    double came = more(before, now, count);
    return came > 0 ? more(before, now, sum_us) / came / 1000 : 0;
}

static double part(double us, double seconds)
{
    double percent = us / seconds / 10000;
    return percent < 0 ? 0 : percent > 999 ? 999 : percent;
}

static const char *bytes_text(struct ctl *ctl, double value)
{
    static const char *const units[] = {"B", "K", "M", "G", "T"};
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit += 1;
    }
    return ctl_text(ctl, value < 10 && unit > 0 ? "%.1f%s" : "%.0f%s", value, units[unit]);
}

static const char *span_text(struct ctl *ctl, double seconds)
{
    if (seconds < 60) {
        return ctl_text(ctl, "%.0f s", seconds);
    }
    if (seconds < 3600) {
        return ctl_text(ctl, "%.0f m", seconds / 60);
    }
    return seconds < 2 * 86400.0 ? ctl_text(ctl, "%.0f h", seconds / 3600)
                                 : ctl_text(ctl, "%.0f d", seconds / 86400);
}

/* ---- the screen ------------------------------------------------------------------------------ */

static void show_process(struct ctl *ctl, const struct looks *looks)
{
    json_t *now = looks->now;
    double age_s = (at(now, "at") - at(now, "process.startedAt")) / 1000;
    printf("meerkatd %s, up %s   cpu %.0f %%   memory %s   files %.0f/%.0f   disk %s free\n",
           ctl_member_text(now, "version"), span_text(ctl, age_s),
           part(more(looks->before, now, "process.cpuUs"), looks->seconds),
           bytes_text(ctl, at(now, "process.residentBytes")), at(now, "process.openFiles"),
           at(now, "process.openFilesMax"), bytes_text(ctl, total(looks, "freeBytes")));
}

static void show_totals(const struct looks *looks)
{
    json_t *was = looks->before;
    json_t *now = looks->now;
    printf("mail /s    accepted %.1f   delivered %.1f   put off %.1f   bounced %.1f   in %.1f\n",
           total_rate(looks, "accepted"), total_rate(looks, "delivered"),
           total_rate(looks, "deferred"), total_rate(looks, "bounced"),
           total_rate(looks, "received"));
    printf("queue      %.0f entries   due %.0f and %.0f bulk   %.0f attempts   %.0f sites closed\n",
           total(looks, "scheduled"), total(looks, "dueTransactional"), total(looks, "dueBulk"),
           total(looks, "attemptsOpen"), total(looks, "sitesClosed"));
    printf("http /s    %.1f requests, %.2f ms   5xx %.1f   shed %.1f   %.0f connections\n",
           total_rate(looks, "requests"), mean_ms(was, now, "totals.requestUs", "totals.requests"),
           total_rate(looks, "serverErrors"), total_rate(looks, "shed"),
           total(looks, "connections"));
    printf("webhooks/s acknowledged %.1f, %.0f ms   put off %.1f   failed %.1f\n",
           total_rate(looks, "webhooksAcknowledged"),
           mean_ms(was, now, "totals.webhookUs", "totals.webhooksAcknowledged"),
           total_rate(looks, "webhooksDeferred"), total_rate(looks, "webhooksFailed"));
    printf("commit /s  %.1f syncs, %.2f ms   %.0f rows   %.0f batches   failed %.1f%s%s\n",
           total_rate(looks, "commitSyncs"),
           mean_ms(was, now, "totals.commitUs", "totals.commitSyncs"),
           total_rate(looks, "commitRows"), total_rate(looks, "commitBatches"),
           total_rate(looks, "commitFailed"),
           total(looks, "delayedBytesPerSecond") > 0 ? "   SLOWED BY THE STORE" : "",
           total(looks, "writeStopped") > 0 ? "   STOPPED BY THE STORE" : "");
    printf("workers    %.0f threads, %.0f %% busy   %.0f jobs, wait %.2f ms\n\n",
           total(looks, "workers"),
           part(more(was, now, "totals.workerUs"),
                looks->seconds * (total(looks, "workers") > 0 ? total(looks, "workers") : 1)),
           total(looks, "workerJobs"),
           mean_ms(was, now, "totals.workerWaitUs", "totals.workerTasks"));
}

static void show_loops(const struct looks *looks)
{
    json_t *loops = json_object_get(looks->now, "loops");
    json_t *old = json_object_get(looks->before, "loops");
    size_t index;
    json_t *now;
    printf("%-8s %5s %9s %7s %7s %10s %6s %9s %6s\n", "LOOP", "BUSY", "TURNS/S", "CONNS", "REQ/S",
           "POOL FREE", "PORT", "MSGS/S", "SLOW");
    json_array_foreach(loops, index, now)
    {
        json_t *was = json_array_get(old, index);
        double busy = 100 - part(more(was, now, "idleUs"), looks->seconds);
        printf("%-8s %4.0f%% %9.0f %7.0f %7.1f %10.0f %6.0f %9.0f %6.0f\n",
               ctl_member_text(now, "loop"), busy < 0 ? 0 : busy,
               more(was, now, "turns") / looks->seconds, at(now, "connections"),
               more(was, now, "requests") / looks->seconds, at(now, "poolFree"),
               at(now, "portDepth"), more(was, now, "handled") / looks->seconds,
               more(was, now, "slowHandlers"));
    }
}

static int by_load(const void *left, const void *right)
{
    const struct shard *a = left;
    const struct shard *b = right;
    if (a->load != b->load) {
        return a->load > b->load ? -1 : 1;
    }
    return at(a->now, "shard") < at(b->now, "shard") ? -1 : 1;
}

static uint32_t sort_shards(const struct looks *looks, struct shard shards[SHARD_COUNT_MAX])
{
    json_t *list = json_object_get(looks->now, "shards");
    json_t *old = json_object_get(looks->before, "shards");
    uint32_t count = 0;
    size_t index;
    json_t *now;
    json_array_foreach(list, index, now)
    {
        json_t *was = json_array_get(old, index);
        if (count < SHARD_COUNT_MAX) {
            shards[count++] = (struct shard){was, now, more(was, now, "handlerUs")};
        }
    }
    qsort(shards, count, sizeof *shards, by_load);
    return count;
}

static void show_shards(struct ctl *ctl, const struct looks *looks, bool shows_all)
{
    struct shard shards[SHARD_COUNT_MAX];
    uint32_t count = sort_shards(looks, shards);
    uint32_t shown = shows_all || count < SHARDS_SHOWN ? count : SHARDS_SHOWN;
    printf("\n%-8s %5s %9s %9s %10s %6s %9s %8s %6s\n", "SHARD", "BUSY", "ACCEPT/S", "ROWS/S",
           "COMMIT MS", "PORT", "MEMTABLE", "DEBT", "SLOW");
    for (uint32_t i = 0; i < shown; i++) {
        json_t *was = shards[i].before;
        json_t *now = shards[i].now;
        printf("%-8.0f %4.0f%% %9.1f %9.0f %10.2f %6.0f %9s %8s %6.0f\n", at(now, "shard"),
               part(shards[i].load, looks->seconds), more(was, now, "accepted") / looks->seconds,
               more(was, now, "rows") / looks->seconds, mean_ms(was, now, "commitUs", "batches"),
               at(now, "portDepth"), bytes_text(ctl, at(now, "memtableBytes")),
               bytes_text(ctl, at(now, "compactionDebtBytes")), more(was, now, "slowHandlers"));
    }
    if (shown < count) {
        printf("         and %u more that do less\n", (unsigned)(count - shown));
    }
}

/* By whole characters: who receives mail is called as its owner likes. */
static struct slice cut_name(const char *name)
{
    struct slice text = slice_str(name);
    size_t len = min_size(text.len, SITE_COLUMNS);
    while (len > 0 && len < text.len && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
        len -= 1;
    }
    return slice_head(text, len);
}

static void show_sites(struct ctl *ctl, const struct looks *looks, bool shows_all)
{
    json_t *sites = json_object_get(looks->now, "sites");
    double now_ms = at(looks->now, "at");
    size_t index;
    json_t *site;
    if (!json_is_array(sites)) {
        printf("\nsites: delivery has no time to tell\n");
        return;
    }
    printf("\n%-30s %7s %7s %6s %6s %8s %8s\n", "SITE", "DUE", "WAITING", "OPEN", "LIMIT", "OLDEST",
           "STATE");
    json_array_foreach(sites, index, site)
    {
        double oldest = at(site, "oldestDueAt");
        double closed = at(site, "closedUntil");
        bool is_paused = json_is_true(json_object_get(site, "paused"));
        if (index >= SITES_SHOWN && !shows_all) {
            break;
        }
        ctl_print_slice(cut_name(ctl_member_text(site, "site")), SITE_COLUMNS);
        printf(" %7.0f %7.0f %6.0f %6.0f %8s %8s\n",
               at(site, "due.transactional") + at(site, "due.bulk"), at(site, "waiting"),
               at(site, "open"), at(site, "connectionLimit"),
               oldest > 0 && oldest < now_ms ? span_text(ctl, (now_ms - oldest) / 1000) : "-",
               is_paused    ? "paused"
               : closed > 0 ? "closed"
                            : "open");
    }
    if (json_array_size(sites) == 0) {
        printf("nothing waits\n");
    }
}

static void show(struct ctl *ctl, const struct looks *looks)
{
    bool shows_all = ctl_option(ctl, "all") != NULL;
    show_process(ctl, looks);
    show_totals(looks);
    show_loops(looks);
    show_shards(ctl, looks, shows_all);
    show_sites(ctl, looks, shows_all);
}

/* ---- looking --------------------------------------------------------------------------------- */

static int look(struct ctl *ctl, json_t **answer)
{
    return ctl_call(ctl, &(struct call){.method = "GET", .path = TOP}, answer);
}

static int read_interval(struct ctl *ctl, uint64_t *seconds)
{
    const char *text = ctl_option(ctl, "interval");
    *seconds = 1;
    if (text != NULL &&
        (slice_uint(slice_str(text), INTERVAL_MAX, seconds) != ERR_OK || *seconds == 0)) {
        return ctl_usage(ctl, "--interval is 1 to %d seconds", INTERVAL_MAX);
    }
    return EXIT_GOOD;
}

/* False when ctrl-C was pressed. */
static bool wait_for(uint64_t seconds, const sigset_t *ends)
{
    struct timespec pause = {.tv_sec = (time_t)seconds};
    return sigtimedwait(ends, NULL, &pause) == -1;
}

/* The line of --json has both looks' rates to be made of; the screen makes them. */
static void put_out(struct ctl *ctl, const struct looks *looks, bool is_live)
{
    if (ctl->is_json) {
        (void)json_dumpf(looks->now, stdout, JSON_COMPACT); /* fflush tells of what went wrong */
        printf("\n");
        return;
    }
    printf("%s", is_live && isatty(STDOUT_FILENO) ? HOME_AND_WIPE : "");
    show(ctl, looks);
    printf("%s", is_live && !isatty(STDOUT_FILENO) ? "\n" : "");
}

static double seconds_between(json_t *before, json_t *now)
{
    double seconds = more(before, now, "atUs") / 1000000;
    return seconds > 0.001 ? seconds : 0.001;
}

int run_top(struct ctl *ctl)
{
    const bool is_once = ctl_option(ctl, "once") != NULL;
    struct looks looks = {NULL, NULL, 1};
    uint64_t interval = 1;
    sigset_t ends;
    int status = read_interval(ctl, &interval);
    if (status == EXIT_GOOD) {
        status = look(ctl, &looks.before);
    }
    if (status != EXIT_GOOD) {
        return status;
    }
    (void)sigemptyset(&ends); /* these three fail for signals that do not exist */
    (void)sigaddset(&ends, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    if (is_once && ctl->is_json) {
        looks.now = looks.before;
        put_out(ctl, &looks, false);
        json_decref(looks.before);
        return EXIT_GOOD;
    }
    while (wait_for(interval, &ends)) {
        struct arena spare = ctl->arena; /* a screen's texts go with it */
        arena_init(&ctl->arena, 16 * KIB, MIB);
        status = look(ctl, &looks.now);
        if (status == EXIT_GOOD) {
            looks.seconds = seconds_between(looks.before, looks.now);
            put_out(ctl, &looks, !is_once);
            json_decref(looks.before);
            looks.before = looks.now;
        }
        arena_fini(&ctl->arena);
        ctl->arena = spare;
        if (is_once || status != EXIT_GOOD || fflush(stdout) != 0) {
            break;
        }
    }
    json_decref(looks.before);
    return status;
}
