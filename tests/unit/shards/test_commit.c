/* test_commit.c - rounds of the committer over a kv that lives in this file and fails on demand.
 *
 * A test posts what should wait, a STOP behind it, and runs the committer in its own thread, so
 * each round is the same each time.
 *
 * Not covered here: several threads (tests/race/race_commit.c), the real store (tests/unit/kv),
 * what a shard does with the answers (test_shard).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metric.h"
#include "shards/commit.h"

#define BATCH_COUNT 8

/* ---- a kv -------------------------------------------------------------------------------------
 */

struct kv_batch {
    uint32_t row_count;
    uint64_t bytes;
    bool is_failing;
};

struct kv {
    uint64_t free_bytes;
    char log[64]; /* w: written, x: write failed, s: synced */
    size_t log_len;
    bool is_sync_failing;
    void (*on_sync)(void);
};

static struct kv kv;
static struct kv_batch batches[BATCH_COUNT];
static struct conf conf;
static struct commit commit;
static struct actor home;

static void kv_note(char what)
{
    cr_assert_lt(kv.log_len, sizeof(kv.log) - 1);
    kv.log[kv.log_len++] = what;
}

uint64_t kv_free_bytes(const struct kv *store)
{
    return store->free_bytes;
}

uint32_t kv_batch_rows(const struct kv_batch *batch)
{
    return batch->row_count;
}

uint64_t kv_batch_bytes(const struct kv_batch *batch)
{
    return batch->bytes;
}

uint32_t kv_batch_family(const struct kv_batch *batch UNUSED)
{
    return 0;
}

enum err kv_write(struct kv *store, struct kv_batch *batch)
{
    cr_assert_eq(store, &kv);
    kv_note(batch->is_failing ? 'x' : 'w');
    return batch->is_failing ? ERR_IO : ERR_OK;
}

enum err kv_sync(struct kv *store)
{
    cr_assert_eq(store, &kv);
    kv_note('s');
    if (kv.on_sync != NULL) {
        kv.on_sync();
    }
    return kv.is_sync_failing ? ERR_IO : ERR_OK;
}

/* ---- a shard ----------------------------------------------------------------------------------
 */

static struct {
    uint64_t token;
    uint64_t free_bytes;
    enum err err;
} seen[BATCH_COUNT + 4];
static size_t seen_count;

static void home_handle(struct actor *actor, struct msg *msg)
{
    seen[seen_count].token = msg->token;
    seen[seen_count].err = msg->err;
    if (msg->kind == MSG_COMMIT_WRITE) {
        cr_expect_eq(msg->body.commit.batch, &batches[msg->token], "the batch is handed back");
        seen[seen_count].free_bytes = msg->body.commit.free_bytes;
    } else if (msg->body.control.op == CONTROL_STOP) {
        actor_thread_stop(actor);
    }
    seen_count++;
    msg_put(actor, msg);
}

static void setup(void)
{
    kv = (struct kv){.free_bytes = 100 * MIB};
    conf.reserve_mb = 40;
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        batches[i] = (struct kv_batch){.row_count = (uint32_t)i + 1, .bytes = MIB};
    }
    commit_init(&commit, &kv, &conf, 3);
    actor_init(&home, &(struct actor_options){.name = "home",
                                              .handle = home_handle,
                                              .pool_counts = {4, 0, BATCH_COUNT},
                                              .port_depth_max = BATCH_COUNT + 4});
}

static void teardown(void)
{
    actor_fini(&home);
    commit_fini(&commit);
}

static void post_write(uint64_t index)
{
    struct msg *msg = msg_take(&home, MSG_COMMIT_WRITE);
    msg->token = index;
    msg->body.commit.batch = &batches[index];
    actor_post(&commit.actor, msg);
}

static void post_control(enum control_op op)
{
    struct msg *msg = msg_take(&home, MSG_COMMIT_CONTROL);
    msg->token = 100;
    msg->body.control.op = op;
    actor_post(&commit.actor, msg);
}

/* All rounds until the STOP, then all answers. */
static void run(void)
{
    post_control(CONTROL_STOP);
    actor_thread_run(&commit.actor);
    actor_thread_run(&home);
}

Test(commit, writes_all_that_waits_and_syncs_once, .init = setup, .fini = teardown)
{
    for (uint64_t i = 0; i < 5; i++) {
        post_write(i);
    }
    run();
    cr_expect_str_eq(kv.log, "wwwwws");
    cr_assert_eq(seen_count, 6);
    for (uint64_t i = 0; i < 5; i++) {
        cr_expect_eq(seen[i].token, i);
        cr_expect_eq(seen[i].err, ERR_OK);
    }
    cr_expect_eq(metric_read(METRIC_COMMIT_BATCHES), 5);
    cr_expect_eq(metric_read(METRIC_COMMIT_ROWS), 1 + 2 + 3 + 4 + 5);
    cr_expect_eq(metric_read(METRIC_COMMIT_SYNCS), 1);
    cr_expect_eq(metric_read(METRIC_COMMIT_LATENCY), 1);
    cr_expect_eq(metric_read(METRIC_COMMIT_FAILED), 0);
}

static void expect_no_answer(void)
{
    cr_expect_eq(home.port.depth, 0);
}

Test(commit, answers_nothing_before_the_sync, .init = setup, .fini = teardown)
{
    kv.on_sync = expect_no_answer;
    post_control(CONTROL_DRAIN);
    post_write(0);
    post_write(1);
    run();
    cr_expect_str_eq(kv.log, "wws");
    cr_expect_eq(seen_count, 4);
}

static void post_three(void)
{
    kv.on_sync = NULL;
    post_write(5);
    post_write(6);
    post_write(7);
    post_control(CONTROL_STOP);
}

Test(commit, lets_batches_that_arrive_during_a_sync_ride_the_next, .init = setup, .fini = teardown)
{
    kv.on_sync = post_three;
    post_write(0);
    actor_thread_run(&commit.actor);
    actor_thread_run(&home);
    cr_expect_str_eq(kv.log, "wswwws");
    cr_expect_eq(seen_count, 5);
}

Test(commit, fails_only_the_batch_whose_write_failed, .init = setup, .fini = teardown)
{
    batches[1].is_failing = true;
    for (uint64_t i = 0; i < 3; i++) {
        post_write(i);
    }
    run();
    cr_expect_str_eq(kv.log, "wxws");
    for (uint64_t i = 0; i < 3; i++) {
        cr_expect_eq(seen[i].err, i == 1 ? ERR_STORAGE : ERR_OK);
    }
    cr_expect_eq(metric_read(METRIC_COMMIT_FAILED), 1);
    cr_expect_eq(metric_read(METRIC_COMMIT_BATCHES), 2);
}

Test(commit, does_not_sync_when_nothing_was_written, .init = setup, .fini = teardown)
{
    post_write(2);
    run();
    batches[0].row_count = 0;
    batches[1].is_failing = true;
    post_write(0);
    post_write(1);
    run();
    cr_expect_str_eq(kv.log, "wsx");
    cr_expect_eq(seen[2].err, ERR_OK, "an empty batch asks for the free space alone");
    cr_expect_eq(seen[2].free_bytes, 100 * MIB);
    cr_expect_eq(metric_read(METRIC_COMMIT_SYNCS), 1);
}

Test(commit, tells_the_free_space_less_what_the_round_wrote, .init = setup, .fini = teardown)
{
    post_write(0);
    post_write(1);
    run();
    cr_expect_eq(seen[0].free_bytes, 98 * MIB);
    cr_expect_eq(seen[1].free_bytes, 98 * MIB);
    cr_expect_eq(metric_read(METRIC_STORE_FREE_BYTES), 100 * MIB);
}

Test(commit, refuses_what_would_leave_less_than_a_quarter_of_the_reserve)
{
    static const struct {
        const char *name;
        uint64_t free_bytes;
        uint64_t bytes;
        uint32_t rows;
        enum err err;
        const char *log;
    } cases[] = {
        {"a full disk", 0, 1, 1, ERR_STORAGE, ""},
        {"just below", 11 * MIB - 1, MIB, 1, ERR_STORAGE, ""},
        {"just enough", 11 * MIB, MIB, 1, ERR_OK, "ws"},
        {"below the reserve, above its quarter", 39 * MIB, MIB, 1, ERR_OK, "ws"},
        {"a batch larger than what is free", 50 * MIB, 51 * MIB, 1, ERR_STORAGE, ""},
        {"nothing to write on a full disk", 0, 0, 0, ERR_OK, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        setup();
        seen_count = 0;
        kv.free_bytes = cases[i].free_bytes;
        batches[0] = (struct kv_batch){.row_count = cases[i].rows, .bytes = cases[i].bytes};
        post_write(0);
        run();
        cr_expect_eq(seen[0].err, cases[i].err, "%s", cases[i].name);
        cr_expect_str_eq(kv.log, cases[i].log, "%s", cases[i].name);
        if (cases[i].err != ERR_OK) {
            cr_expect_eq(seen[0].free_bytes, cases[i].free_bytes, "%s", cases[i].name);
        }
        teardown();
    }
    cr_expect_eq(metric_read(METRIC_COMMIT_FAILED), 3);
}

Test(commit, counts_the_batches_of_a_round_together_against_the_space, .init = setup,
     .fini = teardown)
{
    kv.free_bytes = 12 * MIB;
    for (uint64_t i = 0; i < 4; i++) {
        post_write(i);
    }
    run();
    cr_expect_str_eq(kv.log, "wws");
    for (uint64_t i = 0; i < 4; i++) {
        cr_expect_eq(seen[i].err, i < 2 ? ERR_OK : ERR_STORAGE);
        cr_expect_eq(seen[i].free_bytes, 10 * MIB);
    }
}

Test(commit, takes_batches_again_when_space_came_back, .init = setup, .fini = teardown)
{
    kv.free_bytes = 0;
    post_write(0);
    run();
    kv.free_bytes = 100 * MIB;
    post_write(0);
    run();
    cr_expect_str_eq(kv.log, "ws");
    cr_expect_eq(seen[0].err, ERR_STORAGE);
    cr_expect_eq(seen[2].err, ERR_OK);
}

Test(commit, answers_controls_in_their_order_among_batches, .init = setup, .fini = teardown)
{
    post_write(0);
    post_control(CONTROL_DRAIN);
    post_write(1);
    run();
    cr_assert_eq(seen_count, 4);
    cr_expect_eq(seen[0].token, 0);
    cr_expect_eq(seen[1].token, 100);
    cr_expect_eq(seen[2].token, 1);
    cr_expect_eq(seen[3].token, 100);
}

Test(commit, stops_the_process_and_names_the_remedy_when_a_sync_fails, .init = setup)
{
    const int caught = memfd_create("stderr", 0);
    cr_assert_neq(caught, -1);
    kv.is_sync_failing = true;
    post_write(0);
    const pid_t child = fork();
    cr_assert_neq(child, -1);
    if (child == 0) {
        if (dup2(caught, STDERR_FILENO) != -1) {
            run();
        }
        _exit(0);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status));
    cr_expect_eq(WEXITSTATUS(status), 1);
    char text[1024] = "";
    cr_expect_gt(pread(caught, text, sizeof(text) - 1, 0), 0);
    cr_expect_not_null(strstr(text, "ERR_IO"), "%s", text);
    cr_expect_not_null(strstr(text, "check the disk"), "%s", text);
    cr_expect_not_null(strstr(text, "start again"), "%s", text);
    cr_assert_eq(close(caught), 0);
    kv.is_sync_failing = false;
    run(); /* the parent's copy of the same messages, for the sake of the leak check */
    teardown();
}

Test(commit, ends_its_thread_on_stop, .init = setup, .fini = teardown)
{
    commit_start(&commit);
    post_write(0);
    post_control(CONTROL_STOP);
    actor_thread_run(&home);
    commit_join(&commit);
    cr_expect_str_eq(kv.log, "ws");
    cr_expect_eq(seen[0].err, ERR_OK);
}

Test(commit, pauses_before_each_sync_when_told)
{
    conf.test_commit_delay_ms = 20;
    setup();
    const uint64_t begun_us = clock_mono_us();
    post_write(0);
    run();
    cr_expect_geq(clock_mono_us() - begun_us, 20000);
    teardown();
}

Test(commit, aborts_on_a_msg_that_is_not_its_own, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = msg_take(&home, MSG_SHARD_LIST);
    actor_post(&commit.actor, msg);
    run();
}

Test(commit, aborts_without_a_batch, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = msg_take(&home, MSG_COMMIT_WRITE);
    actor_post(&commit.actor, msg);
    run();
}
