/* bench_commit.c - commits a second by rows in a batch and by shards, on a real store.
 *
 * First the disk alone: how long one sync takes after a small write. Then shards on one loop that
 * post their next batch when the last came home; the committer puts what waits under one sync, so
 * commits grow with the shards while syncs stay what the disk can do. Prints `name value unit`.
 *
 * Usage: bench_commit [folder]; the folder (./bench-data) is made, used and left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "shards/commit.h"

#define RUN_MS      1000
#define SYNC_COUNT  200
#define VALUE_BYTES 256
#define SAMPLES_MAX 1000000

struct writer {
    struct actor actor;
    struct kv_batch *batch;
    uint64_t posted_us;
};

static struct kv *kv;
static struct loop loop;
static struct commit commit;
static struct actor master;
static struct writer writers[SHARD_COUNT_MAX];
static uint32_t open_count;  /* writers whose batch still flies */
static uint32_t batch_rows;  /* of this run */
static uint64_t deadline_ms; /* of this run */
static uint64_t next_key;
static uint32_t *samples_us;
static uint64_t sample_count;

static void fill(struct kv_batch *batch, uint32_t rows)
{
    char value[VALUE_BYTES];
    char key[32];
    memset(value, 'v', sizeof(value));
    kv_batch_clear(batch);
    for (uint32_t i = 0; i < rows; i++) {
        const int len = snprintf(key, sizeof(key), "bench%016llx", (unsigned long long)next_key++);
        kv_batch_put(batch, slice_of(key, (size_t)len), slice_of(value, sizeof(value)));
    }
}

static void post_next(struct writer *writer)
{
    struct msg *msg = msg_take(&writer->actor, MSG_COMMIT_WRITE);
    CHECK(msg != NULL);
    fill(writer->batch, batch_rows);
    msg->body.commit.batch = writer->batch;
    writer->posted_us = clock_mono_us();
    actor_post(&commit.actor, msg);
}

static void writer_handle(struct actor *actor, struct msg *msg)
{
    struct writer *writer = CONTAINER_OF(actor, struct writer, actor);
    if (msg->err != ERR_OK) {
        fatal("the store refused a batch: free some space and run again");
    }
    if (sample_count < SAMPLES_MAX) {
        samples_us[sample_count++] = (uint32_t)(clock_mono_us() - writer->posted_us);
    }
    msg_put(actor, msg);
    if (clock_mono_ms() < deadline_ms) {
        post_next(writer);
        return;
    }
    actor_close(actor);
    if (--open_count == 0) {
        loop_stop(&loop);
    }
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_samples(const char *name)
{
    qsort(samples_us, sample_count, sizeof(*samples_us), compare_u32);
    printf("%s_p50 %u us\n", name, samples_us[sample_count / 2]);
    printf("%s_p99 %u us\n", name, samples_us[sample_count * 99 / 100]);
    sample_count = 0;
}

static void bench_sync(void)
{
    struct kv_batch *batch = kv_batch_new(0);
    for (uint32_t i = 0; i < SYNC_COUNT; i++) {
        fill(batch, 1);
        const uint64_t begun_us = clock_mono_us();
        if (kv_write(kv, batch) != ERR_OK || kv_sync(kv) != ERR_OK) {
            fatal("the store could not be written: give another folder");
        }
        samples_us[sample_count++] = (uint32_t)(clock_mono_us() - begun_us);
    }
    kv_batch_free(batch);
    print_samples("write_and_sync");
}

static void bench_shards(uint32_t shard_count, uint32_t rows)
{
    char name[64];
    const uint64_t syncs_before = metric_read(METRIC_COMMIT_SYNCS);
    batch_rows = rows;
    open_count = shard_count;
    deadline_ms = clock_mono_ms() + RUN_MS;
    loop_init(&loop, "bench", 1);
    for (uint32_t i = 0; i < shard_count; i++) {
        actor_init(&writers[i].actor, &(struct actor_options){.name = "shard",
                                                              .loop = &loop,
                                                              .handle = writer_handle,
                                                              .pool_counts = {0, 0, 1},
                                                              .port_depth_max = 1});
        writers[i].batch = kv_batch_new(i);
        post_next(&writers[i]);
    }
    const uint64_t begun_us = clock_mono_us();
    loop_run(&loop);
    const double seconds = (double)(clock_mono_us() - begun_us) / 1e6;
    const double syncs = (double)(metric_read(METRIC_COMMIT_SYNCS) - syncs_before);
    snprintf(name, sizeof(name), "%u_shards_%u_rows", shard_count, rows);
    printf("commits_%s %.0f batches/s\n", name, (double)sample_count / seconds);
    printf("rows_%s %.0f rows/s\n", name, (double)sample_count * rows / seconds);
    printf("syncs_%s %.0f syncs/s\n", name, syncs / seconds);
    print_samples(name);
    for (uint32_t i = 0; i < shard_count; i++) {
        actor_fini(&writers[i].actor);
        kv_batch_free(writers[i].batch);
    }
    loop_fini(&loop);
}

static void master_handle(struct actor *actor, struct msg *msg)
{
    msg_put(actor, msg);
    actor_thread_stop(actor);
}

int main(int argc, char **argv)
{
    static struct conf conf;
    static const uint32_t shard_counts[] = {1, 8, 32};
    static const uint32_t row_counts[] = {1, 16, 256};
    struct utsname machine;
    const struct kv_options options = {.path = slice_str(argc > 1 ? argv[1] : "./bench-data"),
                                       .shard_count = SHARD_COUNT_MAX,
                                       .cache_bytes = 64 * MIB,
                                       .memtable_bytes = 64 * MIB};
    if (uname(&machine) == 0) {
        printf("# %s %s %s, %ld cores, store in %.*s\n", machine.sysname, machine.release,
               machine.machine, sysconf(_SC_NPROCESSORS_ONLN), SLICE_FMT(options.path));
    }
    log_set_level(LOG_LEVEL_ERROR); /* filling 256 rows in one handler is slow on purpose */
    if (kv_open(&options, &kv) != ERR_OK) {
        fatal("cannot open a store in %.*s: give another folder", SLICE_FMT(options.path));
    }
    samples_us = mem_alloc(SAMPLES_MAX * sizeof(*samples_us));
    bench_sync();
    conf.reserve_mb = 64;
    commit_init(&commit, kv, &conf, 2);
    commit_start(&commit);
    for (size_t i = 0; i < ARRAY_LEN(shard_counts); i++) {
        for (size_t n = 0; n < ARRAY_LEN(row_counts); n++) {
            bench_shards(shard_counts[i], row_counts[n]);
        }
    }
    actor_init(&master, &(struct actor_options){.name = "master",
                                                .handle = master_handle,
                                                .pool_counts = {1, 0, 0},
                                                .port_depth_max = 1});
    struct msg *msg = msg_take(&master, MSG_COMMIT_CONTROL);
    msg->body.control.op = CONTROL_STOP;
    actor_post(&commit.actor, msg);
    actor_thread_run(&master);
    commit_join(&commit);
    commit_fini(&commit);
    actor_fini(&master);
    kv_close(kv);
    free(samples_us);
    return 0;
}
