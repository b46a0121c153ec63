/* process.c - see process.h. */
#include "edge/process.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/slice.h"
#include "base/version.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX_BYTES 1024
#define STARTED_WORD   22 /* of /proc/self/stat, from 1 */
#define NAME_WORD      2  /* in brackets; may hold spaces and brackets */
#define SECOND_MS      1000
#define SECOND_US      UINT64_C(1000000)

static struct slice read_file(const char *path, char out[FILE_MAX_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd == -1 ? 0 : read(fd, out, FILE_MAX_BYTES);
    if (fd != -1) {
        (void)close(fd); /* it was only read */
    }
    return slice_of(out, len > 0 ? (size_t)len : 0);
}

static uint64_t next_number(struct slice *words)
{
    uint64_t number = 0;
    return slice_u64(slice_cut(words, ' '), &number) == ERR_OK ? number : 0;
}

static void read_memory(struct process_stat *stat)
{
    char bytes[FILE_MAX_BYTES];
    struct slice words = read_file("/proc/self/statm", bytes);
    const long page = sysconf(_SC_PAGESIZE);
    const uint64_t page_bytes = page > 0 ? (uint64_t)page : 0;
    stat->virtual_bytes = next_number(&words) * page_bytes;
    stat->resident_bytes = next_number(&words) * page_bytes;
}

/* The kernel counts from its own start, in ticks. */
uint64_t process_started(void)
{
    char bytes[FILE_MAX_BYTES];
    struct slice text = read_file("/proc/self/stat", bytes);
    const size_t name_end = slice_rfind_byte(text, ')');
    const long ticks = sysconf(_SC_CLK_TCK);
    struct timespec up;
    if (name_end == SIZE_MAX || ticks <= 0 || clock_gettime(CLOCK_BOOTTIME, &up) == -1) {
        return 0;
    }
    struct slice words = slice_trim(slice_from(text, name_end + 1));
    for (int i = NAME_WORD + 1; i < STARTED_WORD; i++) {
        (void)slice_cut(&words, ' '); /* another fact */
    }
    const uint64_t began_ms = next_number(&words) * SECOND_MS / (uint64_t)ticks;
    const uint64_t up_ms = (uint64_t)up.tv_sec * SECOND_MS + (uint64_t)up.tv_nsec / 1000000;
    return clock_unix_ms() - (up_ms > began_ms ? up_ms - began_ms : 0);
}

static void read_files(struct process_stat *stat)
{
    struct rlimit limit;
    DIR *folder = opendir("/proc/self/fd");
    if (folder != NULL) {
        const struct dirent *entry;
        while ((entry = readdir(folder)) != NULL) {
            stat->open_files += entry->d_name[0] != '.' ? 1 : 0;
        }
        (void)closedir(folder);                           /* it was only read */
        stat->open_files -= stat->open_files > 0 ? 1 : 0; /* the folder's own */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        stat->open_files_max = limit.rlim_cur;
    }
}

void process_read(struct process_stat *stat, uint64_t started_unix_ms)
{
    struct rusage usage;
    *stat = (struct process_stat){.started_unix_ms = started_unix_ms};
    read_memory(stat);
    read_files(stat);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        stat->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND_US +
                       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_add_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void whole(struct buf *out, const char *name, const char *help, uint64_t value)
{
    head(out, name, "gauge", help);
    buf_add_format(out, "%s %" PRIu64 "\n", name, value);
}

void process_print(const struct process_stat *stat, struct buf *out)
{
    whole(out, "process_resident_memory_bytes", "memory that the process has in RAM",
          stat->resident_bytes);
    whole(out, "process_virtual_memory_bytes", "address space of the process", stat->virtual_bytes);
    whole(out, "process_open_fds", "open files, connections included", stat->open_files);
    whole(out, "process_max_fds", "files that may be open", stat->open_files_max);
    head(out, "process_cpu_seconds_total", "counter", "processor time of all threads");
    buf_add_format(out, "process_cpu_seconds_total %" PRIu64 ".%06" PRIu64 "\n",
                   stat->cpu_us / SECOND_US, stat->cpu_us % SECOND_US);
    head(out, "process_start_time_seconds", "gauge", "when the process began, in unix time");
    buf_add_format(out, "process_start_time_seconds %" PRIu64 ".%03" PRIu64 "\n",
                   stat->started_unix_ms / SECOND_MS, stat->started_unix_ms % SECOND_MS);
    head(out, "meerkat_build_info", "gauge", "1; the version is its label");
    buf_add_format(out, "meerkat_build_info{version=\"%s\"} 1\n", MEERKAT_VERSION);
}
