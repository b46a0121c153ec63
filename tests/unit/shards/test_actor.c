/* test_actor.c - the life of messages: take, post, return, put; dispatch, hold, drain.
 *
 * Two bare actors in one thread stand for most cases: `home` posts, `far` handles when the test
 * runs it. Cases about wakes and the end use a loop.
 *
 * Not covered here: the queue itself (test_port), several threads (tests/race/race_port.c).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "shards/actor.h"

#define POOL_COUNT 700
#define SEEN_MAX   2000
#define STOP       UINT64_MAX /* token: the receiver ends its thread */

/* What handlers saw, in order. */
struct seen {
    uint64_t token;
    uint32_t drains; /* runs that had ended before */
    enum err err;
    bool returning;
};

static struct seen seen[SEEN_MAX];
static uint32_t seen_count;
static uint32_t drain_count;
static uint32_t free_call_count;
static struct actor home;
static struct actor far;
static bool is_putting = true;  /* home puts what returns */
static uint64_t hold_at = STOP; /* token at which far holds */
static uint64_t takes_us;       /* of a handler, by the fake clock */

static void note(const struct msg *msg)
{
    cr_assert_lt(seen_count, SEEN_MAX);
    seen[seen_count++] = (struct seen){
        .token = msg->token, .drains = drain_count, .err = msg->err, .returning = msg->returning};
}

static void on_drained(struct actor *actor UNUSED)
{
    drain_count++;
}

static void on_free(struct actor *actor)
{
    cr_assert_eq(actor->pools[MSG_POOL_REQUEST].free_count, 1);
    free_call_count++;
}

static void far_handle(struct actor *actor, struct msg *msg)
{
    const uint64_t token = msg->token;
    note(msg);
    if (msg->returning) {
        msg_put(actor, msg);
    } else {
        msg_return(msg, ERR_QUOTA);
    }
    if (token == STOP) {
        actor_thread_stop(actor);
    }
}

static void home_handle(struct actor *actor, struct msg *msg)
{
    const bool is_last = msg->token == STOP;
    note(msg);
    if (is_putting) {
        msg_put(actor, msg);
    }
    if (is_last) {
        actor_thread_stop(actor);
    }
}

static void setup(void)
{
    actor_init(&home, &(struct actor_options){.name = "edge",
                                              .handle = home_handle,
                                              .on_drained = on_drained,
                                              .pool_counts = {POOL_COUNT, 2, 1},
                                              .port_depth_max = POOL_COUNT + 3});
    actor_init(&far, &(struct actor_options){.name = "deliver",
                                             .handle = far_handle,
                                             .on_drained = on_drained,
                                             .pool_counts = {8, 0, 0},
                                             .port_depth_max = 2 * POOL_COUNT});
}

static void teardown(void)
{
    actor_fini(&home);
    actor_fini(&far);
}

static struct msg *take(uint64_t token)
{
    struct msg *msg = msg_take(&home, MSG_SHARD_LIST);
    cr_assert_not_null(msg);
    msg->token = token;
    return msg;
}

static void post(uint64_t token)
{
    actor_post(&far, take(token));
}

/* Tokens 1 to count, then the one that stops the receiver. */
static void post_all(uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        post(i);
    }
    post(STOP);
}

/* ---- pools ------------------------------------------------------------------------------------
 */

Test(actor, names_its_msgs_kind_home_and_holder, .init = setup, .fini = teardown)
{
    struct msg *msg = msg_take(&home, MSG_DELIVER_WAKE);
    cr_expect_eq(msg->kind, MSG_DELIVER_WAKE);
    cr_expect_eq(msg->pool, MSG_POOL_WAKE);
    cr_expect_eq(msg->home, &home);
    cr_expect_eq(msg->at, &home);
    cr_expect(!msg->returning);
    msg_put(&home, msg);
}

Test(actor, has_no_more_msgs_than_its_pool, .init = setup, .fini = teardown)
{
    struct msg *first = msg_take(&home, MSG_DELIVER_WAKE);
    struct msg *second = msg_take(&home, MSG_DELIVER_WAKE);
    cr_expect_not_null(second);
    cr_expect_null(msg_take(&home, MSG_DELIVER_WAKE));
    struct msg *other = msg_take(&home, MSG_COMMIT_WRITE);
    cr_expect_not_null(other, "pools are apart");
    msg_put(&home, first);
    cr_expect_eq(msg_take(&home, MSG_DELIVER_WAKE), first);
    msg_put(&home, other);
    msg_put(&home, second);
    msg_put(&home, first);
}

Test(actor, has_no_msgs_in_a_pool_of_none, .init = setup, .fini = teardown)
{
    cr_expect_null(msg_take(&far, MSG_DELIVER_WAKE));
}

Test(actor, gives_msgs_with_nothing_left_of_their_last_use, .init = setup, .fini = teardown)
{
    static const union msg_body zero;
    struct msg *msg = msg_take(&home, MSG_SHARD_SIGNUP);
    memset(&msg->body, 0x5a, sizeof(msg->body));
    msg->token = 1;
    msg->expire_ms = 2;
    msg->err = ERR_LOGIN;
    msg->param = SLICE("param");
    msg->sentence = SLICE("sentence");
    arena_dup(&msg->arena, SLICE("secret"));
    msg_put(&home, msg);
    struct msg *again = msg_take(&home, MSG_SHARD_LIST);
    cr_assert_eq(again, msg);
    cr_expect_eq(memcmp(&again->body, &zero, sizeof(zero)), 0);
    cr_expect_eq(again->token, 0);
    cr_expect_eq(again->expire_ms, 0);
    cr_expect_eq(again->err, ERR_OK);
    cr_expect_eq(again->param.len, 0);
    cr_expect_eq(again->sentence.len, 0);
    cr_expect_eq(again->arena.used_bytes, 0);
    cr_expect(!again->arena.is_secret);
    msg_put(&home, again);
}

/* The bytes of a message at rest are poisoned, and memcmp is watched. */
__attribute__((no_sanitize_address)) static bool is_all_zero(const volatile char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

Test(actor, wipes_the_body_of_a_msg_that_is_put, .init = setup, .fini = teardown)
{
    struct msg *msg = take(1);
    memset(&msg->body, 0x5a, sizeof(msg->body));
    msg_put(&home, msg);
    cr_expect(is_all_zero((const char *)&msg->body, sizeof(msg->body)));
}

Test(actor, wipes_the_arena_of_kinds_that_carry_password_hashes, .init = setup, .fini = teardown)
{
    static const enum msg_kind kinds[] = {MSG_SHARD_SIGNUP, MSG_SHARD_LOGIN};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct msg *msg = msg_take(&home, kinds[i]);
        const struct slice hash = arena_dup(&msg->arena, SLICE("$argon2id$v=19$m=65536"));
        msg_put(&home, msg);
        cr_assert_not_null(msg->arena.chunks, "the chunk is still there to be looked at");
        cr_expect(is_all_zero(hash.data, hash.len), "%s", msg_kind_name(kinds[i]));
    }
}

Test(actor, keeps_few_arena_chunks_after_a_burst, .init = setup, .fini = teardown)
{
    static struct msg *taken[POOL_COUNT];
    for (size_t i = 0; i < POOL_COUNT; i++) {
        taken[i] = take(i);
        arena_alloc(&taken[i]->arena, 100);
        arena_alloc(&taken[i]->arena, 100 * KIB);
    }
    for (size_t i = 0; i < POOL_COUNT; i++) {
        msg_put(&home, taken[i]);
    }
    size_t kept = 0;
    for (size_t i = 0; i < POOL_COUNT; i++) {
        kept += home.pools[MSG_POOL_REQUEST].block[i].arena.chunks != NULL ? 1 : 0;
    }
    cr_expect_eq(kept, POOL_WARM_MAX);
    for (size_t i = 0; i < POOL_WARM_MAX; i++) {
        taken[i] = take(i);
        cr_expect_not_null(taken[i]->arena.chunks, "the next ones taken are those with a chunk");
    }
    for (size_t i = 0; i < POOL_WARM_MAX; i++) {
        msg_put(&home, taken[i]);
    }
}

Test(actor, touches_only_as_many_msgs_as_are_out_at_once, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < 50; i++) {
        struct msg *first = take(1);
        struct msg *second = take(2);
        arena_alloc(&first->arena, i % 2 + 1);
        msg_put(&home, first);
        msg_put(&home, second);
    }
    cr_expect_eq(home.pools[MSG_POOL_REQUEST].made_count, 2);
}

Test(actor, gives_msgs_its_own_arena_again_after_another_was_moved_in, .init = setup,
     .fini = teardown)
{
    struct msg *msg = take(1);
    arena_fini(&msg->arena);
    arena_init(&msg->arena, 512, 4096);
    arena_alloc(&msg->arena, 300);
    msg_put(&home, msg);
    cr_assert_eq(take(2), msg);
    cr_expect_eq(msg->arena.chunk_bytes, MSG_ARENA_CHUNK);
    cr_expect_eq(msg->arena.max_bytes, MSG_ARENA_MAX);
    cr_expect_null(msg->arena.chunks);
    msg_put(&home, msg);
}

Test(actor, tells_when_an_empty_request_pool_has_one_again)
{
    actor_init(&home, &(struct actor_options){.name = "edge",
                                              .handle = home_handle,
                                              .pool_counts = {2, 1, 0},
                                              .port_depth_max = 3});
    home.on_free = on_free;
    struct msg *first = take(1);
    struct msg *second = take(2);
    struct msg *wake = msg_take(&home, MSG_DELIVER_WAKE);
    msg_put(&home, wake);
    cr_expect_eq(free_call_count, 0, "wakes are another pool");
    msg_put(&home, first);
    cr_expect_eq(free_call_count, 1);
    msg_put(&home, second);
    cr_expect_eq(free_call_count, 1, "the pool was not empty");
    actor_fini(&home);
}

Test(actor, counts_the_free_msgs_of_all_pools, .init = setup)
{
    cr_expect_eq(metric_read(METRIC_POOL_FREE), POOL_COUNT + 3 + 8);
    struct msg *msg = take(1);
    cr_expect_eq(metric_read(METRIC_POOL_FREE), POOL_COUNT + 3 + 7);
    msg_put(&home, msg);
    actor_fini(&home);
    cr_expect_eq(metric_read(METRIC_POOL_FREE), 8);
    actor_fini(&far);
    cr_expect_eq(metric_read(METRIC_POOL_FREE), 0);
}

Test(actor, aborts_when_a_msg_is_put_twice, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = take(1);
    msg_put(&home, msg);
    msg_put(&home, msg);
}

Test(actor, aborts_when_a_msg_is_put_away_from_home, .init = setup, .signal = SIGABRT)
{
    msg_put(&far, take(1));
}

Test(actor, aborts_when_a_posted_msg_is_put, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = take(1);
    actor_post(&far, msg);
    msg_put(&home, msg);
}

Test(actor, aborts_when_a_msg_is_posted_twice, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = take(1);
    actor_post(&far, msg);
    actor_post(&far, msg);
}

Test(actor, aborts_when_a_msg_is_returned_twice, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = take(1);
    actor_post(&far, msg);
    msg_return(msg, ERR_OK);
    msg_return(msg, ERR_OK);
}

Test(actor, aborts_when_a_pooled_msg_is_posted, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = take(1);
    msg_put(&home, msg);
    actor_post(&far, msg);
}

Test(actor, aborts_when_a_msg_returns_with_no_err_of_the_table, .init = setup, .signal = SIGABRT)
{
    struct msg *msg = take(1);
    actor_post(&far, msg);
    msg_return(msg, ERR_COUNT);
}

Test(actor, aborts_when_it_ends_with_a_msg_away, .init = setup, .signal = SIGABRT)
{
    take(1);
    actor_fini(&home);
}

Test(actor, aborts_when_its_port_could_not_hold_its_own_msgs, .signal = SIGABRT)
{
    actor_init(&home, &(struct actor_options){.name = "edge",
                                              .handle = home_handle,
                                              .pool_counts = {2, 2, 0},
                                              .port_depth_max = 3});
}

/* ---- dispatch ---------------------------------------------------------------------------------
 */

Test(actor, brings_msgs_home_with_the_err_of_the_receiver, .init = setup, .fini = teardown)
{
    post_all(2);
    actor_thread_run(&far);
    actor_thread_run(&home);
    cr_assert_eq(seen_count, 6);
    for (uint32_t i = 0; i < 6; i++) {
        cr_expect_eq(seen[i].token, i % 3 == 2 ? STOP : i % 3 + 1);
        cr_expect_eq(seen[i].returning, i >= 3);
        cr_expect_eq(seen[i].err, i >= 3 ? ERR_QUOTA : ERR_OK);
    }
}

Test(actor, lets_the_receiver_add_to_the_arena, .init = setup, .fini = teardown)
{
    struct msg *msg = take(STOP);
    msg->body.raw.data = arena_dup(&msg->arena, SLICE("from home"));
    actor_post(&far, msg);
    cr_assert(slice_equal(msg->body.raw.data, SLICE("from home")));
    msg->body.raw.data = arena_dup(&msg->arena, SLICE("from far"));
    is_putting = false;
    actor_thread_run(&far);
    actor_thread_run(&home);
    cr_expect(slice_equal(msg->body.raw.data, SLICE("from far")));
    msg_put(&home, msg);
}

Test(actor, handles_at_most_dispatch_max_msgs_before_a_drain, .init = setup, .fini = teardown)
{
    const uint32_t count = 2 * DISPATCH_MAX + 10;
    post_all(count);
    actor_thread_run(&far);
    cr_assert_eq(seen_count, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(seen[i].token, i + 1);
        cr_assert_eq(seen[i].drains, i / DISPATCH_MAX);
    }
    cr_expect_eq(drain_count, 3, "what was detached when the stop came is handled");
    actor_thread_run(&home);
}

/* ---- on a loop --------------------------------------------------------------------------------
 */

static struct loop loop;
static uint64_t home_left; /* returns that home still waits for; then everything closes */
static uint64_t home_posts_at_return;
static bool is_handling;

static void finish(void)
{
    actor_close(&home);
    actor_close(&far);
    loop_stop(&loop);
}

static void loop_home_handle(struct actor *actor, struct msg *msg)
{
    if (!msg->returning) {
        if (home_posts_at_return > 0) {
            home_left++;
            post(home_posts_at_return);
        }
        msg_return(msg, ERR_OK);
        return;
    }
    msg_put(actor, msg);
    if (--home_left == 0) {
        finish();
    }
}

/* Held from hold_at until its own message comes home: as a shard waits for its batch. */
static void loop_far_handle(struct actor *actor, struct msg *msg)
{
    cr_assert(!is_handling, "handlers are not re-entered");
    is_handling = true;
    note(msg);
    if (takes_us > 0) {
        clock_set_fake(clock_mono_ms() + takes_us / 1000, 1);
    }
    if (msg->returning) {
        msg_put(actor, msg);
        actor_release(actor);
    } else {
        if (msg->token == hold_at) {
            actor_hold(actor);
        }
        msg_return(msg, ERR_OK);
    }
    is_handling = false;
}

static void loop_setup(void)
{
    loop_init(&loop, "test", 0);
    actor_init(&home, &(struct actor_options){.name = "edge",
                                              .loop = &loop,
                                              .handle = loop_home_handle,
                                              .pool_counts = {POOL_COUNT, 0, 0},
                                              .port_depth_max = 2 * POOL_COUNT});
    actor_init(&far, &(struct actor_options){.name = "deliver",
                                             .loop = &loop,
                                             .handle = loop_far_handle,
                                             .on_drained = on_drained,
                                             .pool_counts = {8, 0, 0},
                                             .port_depth_max = 2 * POOL_COUNT});
}

static void loop_teardown(void)
{
    teardown();
    loop_fini(&loop);
}

static void far_posts(uint64_t token)
{
    struct msg *msg = msg_take(&far, MSG_SHARD_LIST);
    msg->token = token;
    actor_post(&home, msg);
}

static void expect_tokens(const uint64_t *tokens, uint32_t count)
{
    cr_assert_eq(seen_count, count);
    for (uint32_t i = 0; i < count; i++) {
        cr_expect_eq(seen[i].token, tokens[i], "at %u", i);
    }
}

Test(actor, goes_on_by_itself_after_a_full_turn, .init = loop_setup, .fini = loop_teardown)
{
    home_left = POOL_COUNT;
    for (uint64_t i = 0; i < POOL_COUNT; i++) {
        post(i);
    }
    loop_run(&loop);
    cr_assert_eq(seen_count, POOL_COUNT);
    for (uint32_t i = 0; i < POOL_COUNT; i++) {
        cr_assert_eq(seen[i].token, i);
        cr_assert_eq(seen[i].drains, i / DISPATCH_MAX);
    }
}

Test(actor, puts_new_msgs_aside_while_held_and_keeps_their_order, .init = loop_setup,
     .fini = loop_teardown)
{
    static const uint64_t expected[] = {1, 2, 77, 3, 4, 5, 6};
    hold_at = 2;
    home_posts_at_return = 6; /* comes while far is held */
    home_left = 5;
    far_posts(77);
    for (uint64_t i = 1; i <= 5; i++) {
        post(i);
    }
    loop_run(&loop);
    expect_tokens(expected, ARRAY_LEN(expected));
}

Test(actor, finds_a_returning_msg_behind_new_ones_when_held, .init = loop_setup,
     .fini = loop_teardown)
{
    static const uint64_t expected[] = {1, 77, 2, 3};
    hold_at = 1;
    home_left = 3;
    for (uint64_t i = 1; i <= 3; i++) {
        post(i);
    }
    /* The whole journey before far's first turn. */
    struct msg *own = msg_take(&far, MSG_SHARD_LIST);
    own->token = 77;
    own->at = &home;
    msg_return(own, ERR_OK);
    loop_run(&loop);
    expect_tokens(expected, ARRAY_LEN(expected));
}

Test(actor, can_be_held_again_with_msgs_still_aside, .init = loop_setup, .fini = loop_teardown)
{
    static const uint64_t expected[] = {1, 70, 2, 3, 1, 71, 4, 5};
    hold_at = 1;
    home_left = 6;
    far_posts(70);
    far_posts(71);
    static const uint64_t tokens[] = {1, 2, 3, 1, 4, 5};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        post(tokens[i]);
    }
    loop_run(&loop);
    expect_tokens(expected, ARRAY_LEN(expected));
}

static void post_to_self(struct actor *actor, struct msg *msg)
{
    cr_assert(!is_handling);
    is_handling = true;
    note(msg);
    if (!msg->returning) {
        msg_return(msg, ERR_OK);
    } else {
        msg_put(actor, msg);
        finish();
    }
    is_handling = false;
}

Test(actor, posts_to_itself_through_its_port, .init = loop_setup, .fini = loop_teardown)
{
    far.handle = post_to_self;
    struct msg *msg = msg_take(&far, MSG_SHARD_LIST);
    actor_post(&far, msg);
    loop_run(&loop);
    cr_assert_eq(seen_count, 2);
    cr_expect(!seen[0].returning);
    cr_expect(seen[1].returning);
    cr_expect_eq(drain_count, 1, "closed in its second turn: no drain after the close");
}

static void close_at_once(struct actor *actor, struct msg *msg)
{
    note(msg);
    msg_return(msg, ERR_OK);
    actor_close(actor);
    actor_close(&home);
    loop_stop(&loop);
}

Test(actor, calls_no_handler_after_its_close, .init = loop_setup)
{
    far.handle = close_at_once;
    post(1);
    post(2);
    loop_run(&loop);
    loop_fini(&loop);
    cr_expect_eq(seen_count, 1);
    cr_expect_eq(drain_count, 0);
}

Test(actor, aborts_when_a_msg_is_taken_off_its_loop, .signal = SIGABRT)
{
    loop_setup();
    loop_start(&loop);
    msg_take(&home, MSG_SHARD_LIST);
}

/* ---- diagnostics ------------------------------------------------------------------------------
 */

static int log_fd;
static char log_text[1 << 16];

/* Without a writer thread lines go to standard error at once. */
static void catch_log(void)
{
    log_fd = memfd_create("log", 0);
    cr_assert_neq(log_fd, -1);
    cr_assert_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

static size_t log_lines_with(const char *word)
{
    const ssize_t len = pread(log_fd, log_text, sizeof(log_text) - 1, 0);
    cr_assert_geq(len, 0);
    log_text[len] = '\0';
    size_t count = 0;
    for (const char *at = strstr(log_text, word); at != NULL; at = strstr(at + 1, word)) {
        count++;
    }
    return count;
}

/* By the fake clock: each of count handlers takes that long. */
static void run_slowly(uint64_t each_us, uint64_t count)
{
    catch_log();
    clock_set_fake(5000, 1);
    takes_us = each_us;
    home_left = count;
    for (uint64_t i = 0; i < count; i++) {
        post(i);
    }
    loop_run(&loop);
    clock_set_fake(0, 0);
}

Test(actor, counts_slow_handlers_and_names_one_a_second, .init = loop_setup, .fini = loop_teardown)
{
    run_slowly(300000, 8); /* 2.4 s in all: at 0.3, 1.5 */
    cr_expect_eq(metric_read(METRIC_HANDLER_SLOW), 8);
    cr_expect_eq(log_lines_with("actor.slow"), 2);
    cr_expect_eq(log_lines_with("SHARD_LIST"), 2);
}

Test(actor, takes_a_millisecond_for_fast, .init = loop_setup, .fini = loop_teardown)
{
    run_slowly(1000, 3);
    cr_expect_eq(metric_read(METRIC_HANDLER_SLOW), 0);
    cr_expect_eq(log_lines_with("actor.slow"), 0);
}

Test(actor, traces_each_post_and_return_when_asked, .init = setup, .fini = teardown)
{
    catch_log();
    post_all(0);
    cr_expect_eq(log_lines_with("SHARD_LIST"), 0);
    actor_set_trace(true);
    post(1);
    actor_thread_run(&far);
    cr_expect_eq(log_lines_with("msg.post"), 1);
    cr_expect_eq(log_lines_with("msg.return"), 2);
    cr_expect_eq(log_lines_with("\"from\":\"edge\",\"to\":\"deliver\""), 1);
    cr_expect_eq(log_lines_with("\"from\":\"deliver\",\"to\":\"edge\""), 2);
    actor_set_trace(false);
    actor_thread_run(&home);
}

/* ---- words ------------------------------------------------------------------------------------
 */

Test(msg, has_a_name_and_a_pool_for_each_kind)
{
    for (uint32_t i = 0; i < MSG_KIND_COUNT; i++) {
        cr_expect_gt(strlen(msg_kind_name((enum msg_kind)i)), 4);
        cr_expect_lt((uint32_t)msg_kind_pool((enum msg_kind)i), (uint32_t)MSG_POOL_COUNT);
    }
    cr_expect_str_eq(msg_kind_name(MSG_COMMIT_WRITE), "COMMIT_WRITE");
    cr_expect_eq(msg_kind_pool(MSG_COMMIT_WRITE), MSG_POOL_COMMIT);
    cr_expect_eq(msg_kind_pool(MSG_DELIVER_WAKE), MSG_POOL_WAKE);
    cr_expect_eq(msg_kind_pool(MSG_SHARD_SEND), MSG_POOL_REQUEST);
}

Test(msg, has_a_text_for_each_right_and_status)
{
    for (uint32_t i = RIGHT_NONE + 1; i < RIGHT_COUNT; i++) {
        cr_expect_not_null(strchr(right_text((enum right)i), ':'));
        for (uint32_t n = RIGHT_NONE; n < i; n++) {
            cr_expect_str_neq(right_text((enum right)i), right_text((enum right)n));
        }
    }
    cr_expect_str_eq(right_text(RIGHT_SUPPRESSIONS_WRITE), "suppressions:write");
    cr_expect_str_eq(right_text(RIGHT_NONE), "");
    cr_expect_str_eq(delivery_status_text(DELIVERY_PENDING), "pending");
    cr_expect_str_eq(delivery_status_text(DELIVERY_SUPPRESSED), "suppressed");
    cr_expect_str_eq(mail_status_text(MAIL_QUEUED), "queued");
    cr_expect_str_eq(mail_status_text(MAIL_CANCELLED), "cancelled");
    cr_expect_str_eq(mail_status_text(MAIL_FAILED), "failed");
    cr_expect_str_eq(mail_status_text(MAIL_SUPPRESSED), "suppressed");
    cr_expect_str_eq(domain_status_text(DOMAIN_FAILED), "failed");
    cr_expect_str_eq(attempt_outcome_text(ATTEMPT_UNCERTAIN), "uncertain");
}
