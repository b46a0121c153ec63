/* Not covered here: who asks for it (tests/flow/test_metrics.c). */
#include <criterion/criterion.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/version.h"
#include "edge/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MORE_FILES 10
#define MORE_BYTES ((size_t)32 << 20)

Test(process, knows_when_it_began_and_what_it_may_open)
{
    struct process_stat stat;
    process_read(&stat, process_started());
    uint64_t now_unix_ms = clock_unix_ms();
    cr_expect_leq(stat.started_unix_ms, now_unix_ms + 1000);
    cr_expect_geq(stat.started_unix_ms + 60000, now_unix_ms, "a test is not as old as that");
    cr_expect_gt(stat.open_files_max, stat.open_files);
    cr_expect_geq(stat.virtual_bytes, stat.resident_bytes);
}

Test(process, counts_files_memory_and_time)
{
    struct process_stat before;
    struct process_stat after;
    int files[MORE_FILES];
    process_read(&before, 0);
    for (size_t i = 0; i < MORE_FILES; i++) {
        files[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        cr_assert_geq(files[i], 0);
    }
    char *bytes = mem_alloc(MORE_BYTES);
    memset(bytes, 1, MORE_BYTES);
    do {
        bytes[before.cpu_us % MORE_BYTES]++;
        process_read(&after, 0);
    } while (after.cpu_us < before.cpu_us + 20000);
    cr_expect_eq(after.open_files, before.open_files + MORE_FILES);
    cr_expect_geq(after.resident_bytes, before.resident_bytes + MORE_BYTES / 2);
    for (size_t i = 0; i < MORE_FILES; i++) {
        cr_assert_eq(close(files[i]), 0);
    }
    free(bytes);
}

Test(process, is_printed_under_the_names_that_every_process_has)
{
    struct process_stat stat = {.resident_bytes = 1,
                                .virtual_bytes = 2,
                                .cpu_us = 3000004,
                                .started_unix_ms = 5006,
                                .open_files = 7,
                                .open_files_max = 8};
    struct buf out;
    buf_init(&out, 1 << 16);
    process_print(&stat, &out);
    static const char *const lines[] = {
        "\nprocess_resident_memory_bytes 1\n",
        "\nprocess_virtual_memory_bytes 2\n",
        "\nprocess_cpu_seconds_total 3.000004\n",
        "\nprocess_start_time_seconds 5.006\n",
        "\nprocess_open_fds 7\n",
        "\nprocess_max_fds 8\n",
        "\nmeerkat_build_info{version=\"" MEERKAT_VERSION "\"} 1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        cr_expect(slice_find(buf_slice(&out), slice_str(lines[i])) != SIZE_MAX, "%s", lines[i]);
    }
    buf_fini(&out);
}
