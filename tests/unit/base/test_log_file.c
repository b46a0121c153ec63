/* The log as a file: rotation, and disks that are full.
 *
 * Not covered here: what a line looks like, and what happens when the ring is full (test_log.c).
 */
#include "base/log.h"

#include "base/check.h"
#include "base/metric.h"

#include <criterion/criterion.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS   2
#define LINES     4000 /* of each; less than the ring holds */
#define ROTATIONS 20
#define TURNS_MAX 5000

static char folder[] = "/tmp/meerkat-log-XXXXXX";
static char path[64];
static char old_path[80];

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/log", folder);
}

static void remove_folder(void)
{
    for (int i = -1; i < ROTATIONS; i++) {
        (void)snprintf(old_path, sizeof(old_path), "%s.%d", path, i);
        (void)unlink(i < 0 ? path : old_path); /* not every test makes all of them */
    }
    (void)rmdir(folder); /* likewise */
}

TestSuite(log_file, .init = make_folder, .fini = remove_folder);

static void pause_ms(void)
{
    cr_assert_eq(poll(NULL, 0, 1), 0);
}

/* What a file says: every line whole but for those that are counted in *torn. */
struct content {
    uint32_t seen[THREADS][LINES];
    uint64_t lines;
    uint64_t torn;
    uint64_t lost; /* as the log itself says */
};

static void read_file(struct content *content, const char *name)
{
    char line[4096];
    FILE *file = fopen(name, "r");
    cr_assert_not_null(file, "there is no %s", name);
    while (fgets(line, sizeof(line), file) != NULL) {
        size_t len = strlen(line);
        const char *who = strstr(line, "\"who\":");
        const char *number = strstr(line, "\"number\":");
        const char *lost = strstr(line, "\"event\":\"log.lost\",\"lines\":");
        bool is_whole = len > 2 && line[0] == '{' && strcmp(line + len - 2, "}\n") == 0;
        content->torn += !is_whole;
        content->lost += lost != NULL ? strtoull(strstr(lost, "\"lines\":") + 8, NULL, 10) : 0;
        if (!is_whole || who == NULL || number == NULL) {
            continue;
        }
        uint64_t thread = strtoull(who + 6, NULL, 10);
        uint64_t at = strtoull(number + 9, NULL, 10);
        cr_assert(thread < THREADS && at < LINES);
        content->seen[thread][at] += 1;
        content->lines += 1;
    }
    cr_assert_eq(fclose(file), 0);
}

static void *run_talker(void *argument)
{
    uint64_t who = (uint64_t)(uintptr_t)argument;
    for (uint64_t i = 0; i < LINES; i++) {
        LOG_INFO("line", LOG_U64("who", who), LOG_U64("number", i));
        if (i % 64 == 0) {
            pause_ms();
        }
    }
    return NULL;
}

Test(log_file, loses_no_line_while_it_is_rotated)
{
    pthread_t threads[THREADS];
    struct content *content = mem_zalloc(sizeof(*content));
    cr_assert(log_start_file(path, LOG_LEVEL_INFO));
    for (uintptr_t i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, run_talker, (void *)i), 0);
    }
    for (int i = 0; i < ROTATIONS; i++) {
        (void)snprintf(old_path, sizeof(old_path), "%s.%d", path, i);
        cr_assert_eq(rename(path, old_path), 0);
        log_reopen();
        for (int turn = 0; access(path, F_OK) != 0; turn++) {
            cr_assert_lt(turn, TURNS_MAX, "it is not opened anew");
            pause_ms();
        }
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    log_stop();
    read_file(content, path);
    for (int i = 0; i < ROTATIONS; i++) {
        (void)snprintf(old_path, sizeof(old_path), "%s.%d", path, i);
        read_file(content, old_path);
    }
    cr_assert_eq(content->torn, 0);
    cr_assert_eq(content->lines, THREADS * LINES);
    for (size_t i = 0; i < LINES; i++) {
        cr_assert_eq(content->seen[0][i], 1, "line %zu", i);
        cr_assert_eq(content->seen[1][i], 1, "line %zu", i);
    }
    free(content);
}

Test(log_file, appends_and_is_for_its_user_and_group_alone)
{
    struct content *content = mem_zalloc(sizeof(*content));
    struct stat info;
    for (uint64_t i = 0; i < 3; i++) {
        cr_assert(log_start_file(path, LOG_LEVEL_INFO));
        LOG_INFO("line", LOG_U64("who", 0), LOG_U64("number", i));
        log_stop();
    }
    read_file(content, path);
    cr_assert_eq(content->lines, 3);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07, 0);
    free(content);
}

Test(log_file, is_not_started_where_it_cannot_be_opened)
{
    cr_assert_not(log_start_file("/nowhere/at/all", LOG_LEVEL_INFO));
    LOG_INFO("still", LOG_BOOL("said", true)); /* to standard error */
    log_reopen();                              /* nothing to open */
    log_stop();
}

Test(log_file, goes_on_in_the_old_file_when_it_cannot_be_opened_anew)
{
    struct content *content = mem_zalloc(sizeof(*content));
    char moved[80];
    char line[4096];
    bool has_said = false;
    cr_assert(log_start_file(path, LOG_LEVEL_INFO));
    LOG_INFO("line", LOG_U64("who", 0), LOG_U64("number", 0));
    (void)snprintf(moved, sizeof(moved), "%s.away", folder);
    cr_assert_eq(rename(folder, moved), 0);
    log_reopen();
    LOG_INFO("line", LOG_U64("who", 0), LOG_U64("number", 1));
    log_stop();
    cr_assert_eq(rename(moved, folder), 0);
    read_file(content, path);
    cr_assert_eq(content->lines, 2);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        has_said = has_said || strstr(line, "\"log.reopen_failed\"") != NULL;
    }
    cr_assert(file != NULL && fclose(file) == 0);
    cr_assert(has_said);
    free(content);
}

Test(log_file, counts_what_a_full_disk_does_not_take)
{
    uint64_t before = metric_read(METRIC_LOG_LOST);
    cr_assert(log_start_file("/dev/full", LOG_LEVEL_INFO));
    for (uint64_t i = 0; i < 1000; i++) {
        LOG_INFO("line", LOG_U64("who", 0), LOG_U64("number", i));
    }
    log_stop(); /* comes back */
    cr_assert_eq(metric_read(METRIC_LOG_LOST) - before, 1000);
}

static void allow_bytes(rlim_t bytes)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(log_file, never_mixes_the_halves_of_two_lines)
{
    struct content *content = mem_zalloc(sizeof(*content));
    (void)signal(SIGXFSZ, SIG_IGN);
    allow_bytes(10001); /* not the end of a line, but for an odd chance */
    cr_assert(log_start_file(path, LOG_LEVEL_INFO));
    uint64_t before = metric_read(METRIC_LOG_LOST);
    uint64_t said = 0;
    while (metric_read(METRIC_LOG_LOST) - before < 10) {
        cr_assert_lt(said, LINES);
        LOG_INFO("line", LOG_U64("who", 0), LOG_U64("number", said));
        said += 1;
        pause_ms();
    }
    allow_bytes(RLIM_INFINITY);
    for (uint64_t i = 0; i < 10; i++, said++) {
        LOG_INFO("line", LOG_U64("who", 0), LOG_U64("number", said));
    }
    log_stop();
    read_file(content, path);
    cr_assert_leq(content->torn, 1);
    cr_assert_geq(content->lost, 10);
    cr_assert_eq(content->lines + content->lost, said);
    cr_assert_eq(content->seen[0][said - 1], 1);
    free(content);
}
