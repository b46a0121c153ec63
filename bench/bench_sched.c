/* bench_sched.c - what the schedule costs, by how much is in it.
 *
 * Adds so many due entries of a thousand accounts to a hundred domains, announces all of them
 * again, and takes every one out through its turn. Memory is what the allocator handed out. Prints
 * `name value unit`.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "deliver/sched.h"

#define ACCOUNTS 1000
#define DOMAINS  100
#define NOW_MS   UINT64_C(5000000)

static struct id mail_of(uint64_t number)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    return id_make(&maker, (struct account_id){1 + number % ACCOUNTS}, 1 + number / ACCOUNTS);
}

static void add_all(struct sched *sched, uint32_t count, uint64_t ready_ms)
{
    for (uint32_t i = 0; i < count; i++) {
        char domain[32];
        int len = snprintf(domain, sizeof domain, "d%u.test", (unsigned)(i / 7 % DOMAINS));
        struct outbox_entry entry = {
            .due_unix_ms = 1,
            .mail = mail_of(i),
            .domain = slice_of(domain, (size_t)len),
            .priority = i % 10 == 0 ? PRIORITY_TRANSACTIONAL : PRIORITY_BULK,
        };
        CHECK(sched_add(sched, &entry, ready_ms));
    }
}

static void resolve_all(struct sched *sched)
{
    struct dest *dest;
    while ((dest = sched_next_unknown(sched)) != NULL) {
        sched_resolve(sched, dest, dest_domain(dest), NULL, UINT64_MAX);
    }
}

static void say(uint32_t count, const char *what, double value, const char *unit)
{
    printf("sched_%u_%s %.1f %s\n", (unsigned)count, what, value, unit);
}

static double rate(uint32_t count, uint64_t since_us)
{
    return (double)count * 1e6 / (double)(clock_mono_us() - since_us + 1);
}

static void measure(uint32_t count)
{
    struct sched sched;
    struct site_table *sites = site_table_new(1000);
    sched_init(&sched, sites);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    uint64_t start_us = clock_mono_us();
    add_all(&sched, count, NOW_MS);
    say(count, "adds", rate(count, start_us), "1/s");
    size_t waiting = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    say(count, "waiting", (double)waiting / count, "bytes/entry");
    start_us = clock_mono_us();
    add_all(&sched, count, NOW_MS);
    say(count, "again", rate(count, start_us), "1/s");
    start_us = clock_mono_us();
    (void)sched_advance(&sched, NOW_MS, NOW_MS);
    resolve_all(&sched);
    say(count, "falls_due", rate(count, start_us), "1/s");
    size_t due = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    say(count, "due", (double)due / count, "bytes/entry");
    start_us = clock_mono_us();
    struct sched_entry *entry;
    uint32_t taken = 0;
    while ((entry = sched_next(&sched, ATTEMPTS_MAX, NOW_MS)) != NULL) {
        sched_done(&sched, entry, entry->dest->site);
        taken += 1;
    }
    CHECK(taken == count);
    say(count, "next", rate(count, start_us), "1/s");
    sched_fini(&sched);
    site_table_free(sites);
}

int main(void)
{
    static const uint32_t counts[] = {10000, 100000, SCHED_ENTRIES_MAX};
    struct utsname machine;
    if (uname(&machine) == 0) {
        printf("# %s %s, %ld cores\n", machine.sysname, machine.machine,
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        measure(counts[i]);
    }
    return 0;
}
