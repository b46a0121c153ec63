/* Not covered here: threads counting at once under ThreadSanitizer (tests/race), and which metric
 * is counted when (the tests of each module).
 */
#include "base/metric.h"

#include <criterion/criterion.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* The whole page, terminated; the caller ends it with buf_fini. */
static struct buf print_page(void)
{
    struct buf page;
    buf_init(&page, 1 << 20);
    metric_print(&page);
    buf_add_byte(&page, '\0');
    cr_assert_eq(buf_err(&page), ERR_OK);
    return page;
}

static void expect_line(const char *line)
{
    struct buf page = print_page();
    const char *at = strstr(page.data, line);
    cr_assert_not_null(at, "no `%s` in the page", line);
    cr_assert(at == page.data || at[-1] == '\n', "`%s` does not begin a line", line);
    cr_assert_eq(at[strlen(line)], '\n', "`%s` is not a whole line", line);
    buf_fini(&page);
}

Test(metric, starts_from_nothing)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        cr_assert_eq(metric_read((enum metric)i), 0);
    }
}

Test(metric, adds_up_over_slots)
{
    metric_add(METRIC_HTTP_REQUESTS, 1);
    metric_set_slot(METRIC_SLOT_MAX - 1);
    metric_add(METRIC_HTTP_REQUESTS, 10);
    metric_add(METRIC_HTTP_REQUESTS, 10);
    cr_assert_eq(metric_read(METRIC_HTTP_REQUESTS), 21);
    cr_assert_eq(metric_read(METRIC_HTTP_5XX), 0);
    expect_line("meerkat_http_requests_total 21");
}

Test(metric, sets_a_gauge_for_its_own_slot)
{
    metric_set_slot(1);
    metric_set(METRIC_HTTP_CONNS, 5);
    metric_set_slot(2);
    metric_set(METRIC_HTTP_CONNS, 7);
    metric_set(METRIC_HTTP_CONNS, 6);
    cr_assert_eq(metric_read(METRIC_HTTP_CONNS), 11);
}

Test(metric, lets_one_slot_lower_what_another_raised)
{
    metric_set_slot(1);
    metric_add(METRIC_WORKER_JOBS, 3);
    metric_set_slot(2);
    metric_add(METRIC_WORKER_JOBS, UINT64_C(0) - 1);
    cr_assert_eq(metric_read(METRIC_WORKER_JOBS), 2);
    expect_line("meerkat_worker_jobs 2");
    metric_add(METRIC_WORKER_JOBS, UINT64_C(0) - 5);
    expect_line("meerkat_worker_jobs -3");
}

Test(metric, shows_each_value_of_a_label_and_of_a_pair)
{
    uint32_t pair = metric_pair(METRIC_HTTP_ANSWERS, LABEL_ROUTE_READ, LABEL_ANSWER_4XX);
    metric_add_at(METRIC_HTTP_ANSWERS, pair, 3);
    metric_add_at(METRIC_LOG_LINES, LABEL_LEVEL_WARN, 2);
    metric_add_at(METRIC_LOG_LINES, LABEL_LEVEL_INFO, 5);
    expect_line("meerkat_http_answers_total{route=\"read\",answer=\"4xx\"} 3");
    expect_line("meerkat_http_answers_total{route=\"send\",answer=\"2xx\"} 0");
    expect_line("meerkat_log_lines_total{level=\"warn\"} 2");
    cr_assert_eq(metric_read(METRIC_LOG_LINES), 7);
    cr_assert_eq(metric_read_at(METRIC_LOG_LINES, LABEL_LEVEL_INFO), 5);
}

Test(metric, shows_each_loop_under_its_name)
{
    metric_name_slot(1, "0");
    metric_name_slot(4, "deliver");
    metric_set_slot(1);
    metric_add(METRIC_LOOP_TURNS, 7);
    metric_set_slot(4);
    metric_add(METRIC_LOOP_TURNS, 9);
    metric_set_of(METRIC_LOOP_IDLE, 1, 1500000);
    expect_line("meerkat_loop_turns_total{loop=\"0\"} 7");
    expect_line("meerkat_loop_turns_total{loop=\"deliver\"} 9");
    expect_line("meerkat_loop_idle_seconds_total{loop=\"0\"} 1.500000");
    cr_assert_eq(metric_read_of(METRIC_LOOP_TURNS, 4, 0), 9);
}

Test(metric, keeps_an_actors_cells_whatever_thread_it_runs_on)
{
    uint32_t shard = metric_actor("shard", 3);
    uint32_t deliver = metric_actor("deliver", 0);
    metric_set_slot(1);
    metric_actor_set(METRIC_POOL_SIZE, shard, LABEL_POOL_WAKE, 4);
    metric_actor_set(METRIC_POOL_FREE, shard, LABEL_POOL_WAKE, 4);
    metric_actor_add(METRIC_SHARD_ACCEPTED, shard, 0, 10);
    metric_set_slot(2);
    metric_actor_set(METRIC_POOL_FREE, shard, LABEL_POOL_WAKE, 2);
    metric_actor_add(METRIC_SHARD_ACCEPTED, shard, 0, 1);
    metric_actor_observe(METRIC_HANDLER_TIME, deliver, 250);
    expect_line("meerkat_pool_free_msgs{actor=\"shard\",index=\"3\",pool=\"wake\"} 2");
    expect_line("meerkat_shard_accepted_total{shard=\"3\"} 11");
    expect_line("meerkat_handler_seconds_sum{actor=\"deliver\",index=\"0\"} 0.000250");
    expect_line("meerkat_handler_seconds_count{actor=\"deliver\",index=\"0\"} 1");
    cr_assert_eq(metric_sum_us(METRIC_HANDLER_TIME, deliver), 250);
}

Test(metric, gives_every_actor_a_row_of_its_own)
{
    cr_assert_neq(metric_actor("shard", 0), metric_actor("edge", 0));
    cr_assert_neq(metric_actor("shard", SHARD_COUNT_MAX - 1), metric_actor("edge", 0));
    cr_assert_neq(metric_actor("edge", LOOP_COUNT_MAX - 1), metric_actor("ledger", 0));
    cr_assert_eq(metric_actor("shard", SHARD_COUNT_MAX), metric_actor("nobody", 0));
    cr_assert_lt(metric_actor("nobody", 0), METRIC_ACTORS);
}

Test(metric, keeps_the_least_and_the_most_until_it_was_shown)
{
    const char *low = "meerkat_pool_lowest_msgs{actor=\"edge\",index=\"0\",pool=\"request\"}";
    const char *high = "meerkat_port_deepest_msgs{actor=\"edge\",index=\"0\"}";
    static const uint64_t values[] = {9, 4, 7};
    char line[128];
    uint32_t edge = metric_actor("edge", 0);
    metric_actor_set(METRIC_POOL_SIZE, edge, LABEL_POOL_REQUEST, 9);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        metric_actor_mark(METRIC_POOL_LOWEST, edge, LABEL_POOL_REQUEST, values[i]);
        metric_actor_mark(METRIC_PORT_DEEPEST, edge, 0, values[i]);
    }
    snprintf(line, sizeof(line), "%s 4", low);
    expect_line(line);
    /* From here on nothing happened: both are the last value. */
    snprintf(line, sizeof(line), "%s 7", high);
    expect_line(line);
    metric_actor_mark(METRIC_PORT_DEEPEST, edge, 0, 8);
    metric_actor_mark(METRIC_PORT_DEEPEST, edge, 0, 1);
    snprintf(line, sizeof(line), "%s 8", high);
    expect_line(line);
    snprintf(line, sizeof(line), "%s 1", high);
    expect_line(line);
}

Test(metric, knows_the_providers_of_the_policy_and_calls_all_others_other)
{
    metric_name_site(1, SLICE("google"));
    metric_name_site(2, SLICE("a \"b\""));
    cr_assert_eq(metric_site(SLICE("google")), 1);
    cr_assert_eq(metric_site(SLICE("example.com")), 0);
    const struct slice twins[] = {SLICE("a-provider-with-a-long-name-1"),
                                  SLICE("a-provider-with-a-long-name-2")};
    metric_name_site(3, twins[0]);
    metric_name_site(4, twins[1]);
    cr_assert_eq(metric_site(twins[0]), 3);
    cr_assert_eq(metric_site(twins[1]), 4);
    metric_set_at(METRIC_SITE_OPEN, 1, 5);
    metric_set_at(METRIC_SITE_OLDEST, LABEL_PRIORITY_BULK, 61500);
    expect_line("meerkat_site_attempts_open{site=\"google\"} 5");
    expect_line("meerkat_site_attempts_open{site=\"other\"} 0");
    expect_line("meerkat_site_attempts_open{site=\"a__b_\"} 0");
    expect_line("meerkat_site_oldest_due_seconds{site=\"other\",priority=\"bulk\"} 61.500");
}

Test(metric, counts_plain_numbers_as_such)
{
    metric_observe_count(METRIC_COMMIT_BATCH, 3);
    metric_observe_count(METRIC_COMMIT_BATCH, 100);
    metric_observe_count(METRIC_COMMIT_BATCH, 100000);
    expect_line("meerkat_commit_batch_rows_bucket{le=\"2\"} 0");
    expect_line("meerkat_commit_batch_rows_bucket{le=\"4\"} 1");
    expect_line("meerkat_commit_batch_rows_bucket{le=\"128\"} 2");
    expect_line("meerkat_commit_batch_rows_bucket{le=\"65536\"} 2");
    expect_line("meerkat_commit_batch_rows_bucket{le=\"+Inf\"} 3");
    expect_line("meerkat_commit_batch_rows_sum 100103");
}

/* Where percentiles are watched the bounds are close: a value is at most a quarter below its own.
 */
Test(metric, is_finer_where_percentiles_are_watched)
{
    metric_observe_us(METRIC_HTTP_LATENCY, 1281);
    metric_observe_us(METRIC_HTTP_LATENCY, 1536);
    metric_observe_us(METRIC_HTTP_LATENCY, 1537);
    expect_line("meerkat_http_request_seconds_bucket{le=\"0.001280\"} 0");
    expect_line("meerkat_http_request_seconds_bucket{le=\"0.001536\"} 2");
    expect_line("meerkat_http_request_seconds_bucket{le=\"0.001792\"} 3");
    expect_line("meerkat_http_request_seconds_bucket{le=\"0.002048\"} 3");
}

Test(metric, takes_threads_without_a_slot)
{
    metric_add(METRIC_HTTP_REQUESTS, 1);
    metric_observe_at(METRIC_DKIM_TIME, LABEL_ALGORITHM_RSA, 500);
    cr_assert_eq(metric_read(METRIC_HTTP_REQUESTS), 1);
    cr_assert_eq(metric_read(METRIC_DKIM_TIME), 1);
}

Test(metric, sorts_observations_into_powers_of_two)
{
    static const struct {
        uint64_t us;
        const char *first; /* the lowest bucket that counts it */
        const char *below; /* the one before, or NULL */
    } table[] = {
        {0, "0.000001", NULL},
        {1, "0.000001", NULL},
        {2, "0.000002", "0.000001"},
        {3, "0.000004", "0.000002"},
        {4, "0.000004", "0.000002"},
        {5, "0.000008", "0.000004"},
        {1000000, "1.048576", "0.524288"},
        {UINT64_C(1) << 31, "2147.483648", "1073.741824"},
        {(UINT64_C(1) << 31) + 1, "+Inf", "2147.483648"},
        {UINT64_MAX, "+Inf", "2147.483648"},
    };
    char line[128];
    uint64_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        metric_observe_us(METRIC_HOOK_LATENCY, table[i].us);
        count++;
        snprintf(line, sizeof(line), "meerkat_webhook_seconds_bucket{le=\"%s\"} %" PRIu64,
                 table[i].first, count);
        expect_line(line);
        uint64_t lower = 0; /* observations below this one's bucket */
        for (size_t at = 0; at < i; at++) {
            lower += strcmp(table[at].first, table[i].first) != 0 ? 1 : 0;
        }
        if (table[i].below != NULL) {
            snprintf(line, sizeof(line), "meerkat_webhook_seconds_bucket{le=\"%s\"} %" PRIu64,
                     table[i].below, lower);
            expect_line(line);
        }
    }
    cr_assert_eq(metric_read(METRIC_HOOK_LATENCY), count);
}

Test(metric, sums_observations_in_seconds)
{
    metric_observe_us(METRIC_HTTP_LATENCY, 1500000);
    metric_set_slot(3);
    metric_observe_us(METRIC_HTTP_LATENCY, 7);
    expect_line("meerkat_http_request_seconds_sum 1.500007");
    expect_line("meerkat_http_request_seconds_count 2");
    expect_line("meerkat_http_request_seconds_bucket{le=\"+Inf\"} 2");
}

/* What `promtool check metrics` would say: each family once, HELP then TYPE then samples; counters
 * end in _total and nothing else does; buckets rise from one label to the next. */
Test(metric, prints_a_page_prometheus_accepts)
{
    metric_observe_us(METRIC_HTTP_LATENCY, 100);
    metric_observe_us(METRIC_HTTP_LATENCY, 100000);
    metric_actor_set(METRIC_POOL_SIZE, metric_actor("shard", 0), LABEL_POOL_WAKE, 4);
    metric_name_slot(1, "0");
    struct buf page = print_page();
    struct slice rest = slice_head(buf_slice(&page), page.len - 1);
    cr_assert(slice_ends(rest, SLICE("\n")));
    size_t families = 0;
    while (rest.len > 0) {
        struct slice help = slice_cut(&rest, '\n');
        cr_assert(slice_starts(help, SLICE("# HELP meerkat_")), "%.*s", SLICE_FMT(help));
        struct slice words = slice_from(help, 7);
        struct slice name = slice_cut(&words, ' ');
        cr_assert(words.len > 0, "%.*s has no help", SLICE_FMT(name));
        struct slice type = slice_cut(&rest, '\n');
        struct slice after = slice_from(type, 7);
        cr_assert(slice_starts(type, SLICE("# TYPE ")));
        cr_assert(slice_equal(slice_cut(&after, ' '), name));
        cr_assert_eq(slice_equal(after, SLICE("counter")), slice_ends(name, SLICE("_total")),
                     "%.*s", SLICE_FMT(name));
        size_t samples = 0;
        uint64_t last = 0;
        while (rest.len > 0 && rest.data[0] != '#') {
            struct slice sample = slice_cut(&rest, '\n');
            cr_assert(slice_starts(sample, name), "%.*s", SLICE_FMT(sample));
            struct slice value = slice_from(sample, slice_rfind_byte(sample, ' ') + 1);
            if (slice_find(sample, SLICE("_bucket{")) != SIZE_MAX) {
                uint64_t count = 0;
                cr_assert_eq(slice_u64(value, &count), ERR_OK);
                cr_assert(count >= last, "%.*s", SLICE_FMT(sample));
                bool is_end = slice_find(sample, SLICE("le=\"+Inf\"")) != SIZE_MAX;
                last = is_end ? 0 : count;
            }
            samples++;
        }
        cr_assert_gt(samples, 0, "%.*s", SLICE_FMT(name));
        families++;
    }
    cr_assert_eq(families, METRIC_COUNT);
    buf_fini(&page);
}

Test(metric, declares_no_name_twice)
{
    static const char *const names[] = {
#define X(name, type, text, help) text,
        METRIC_TABLE(X)
#undef X
#define X(name, type, whose, label, more, text, help) text,
            METRIC_LABELLED(X)
#undef X
    };
    cr_assert_eq(ARRAY_LEN(names), METRIC_COUNT);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t at = 0; at < i; at++) {
            cr_assert_str_neq(names[i], names[at]);
        }
    }
}

Test(metric, aborts_on_a_slot_past_the_last, .signal = SIGABRT)
{
    metric_set_slot(METRIC_SLOT_MAX);
}

Test(metric, aborts_when_a_counter_is_set, .signal = SIGABRT)
{
    metric_set(METRIC_HTTP_REQUESTS, 1);
}

Test(metric, aborts_when_a_histogram_is_added_to, .signal = SIGABRT)
{
    metric_add(METRIC_HTTP_LATENCY, 1);
}

Test(metric, aborts_when_a_counter_is_observed, .signal = SIGABRT)
{
    metric_observe_us(METRIC_HTTP_REQUESTS, 1);
}

Test(metric, aborts_on_a_label_past_the_last, .signal = SIGABRT)
{
    metric_add_at(METRIC_LOG_LINES, LABEL_LEVEL_COUNT, 1);
}

Test(metric, aborts_when_a_threads_metric_is_taken_for_an_actors, .signal = SIGABRT)
{
    metric_actor_add(METRIC_HTTP_REQUESTS, 0, 0, 1);
}
