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
    metric_add(METRIC_POOL_FREE, 3);
    metric_set_slot(2);
    metric_add(METRIC_POOL_FREE, UINT64_C(0) - 1);
    cr_assert_eq(metric_read(METRIC_POOL_FREE), 2);
    expect_line("meerkat_pool_free_msgs 2");
    metric_add(METRIC_POOL_FREE, UINT64_C(0) - 5);
    expect_line("meerkat_pool_free_msgs -3");
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
        metric_observe_us(METRIC_COMMIT_LATENCY, table[i].us);
        count++;
        snprintf(line, sizeof(line), "meerkat_commit_seconds_bucket{le=\"%s\"} %" PRIu64,
                 table[i].first, count);
        expect_line(line);
        uint64_t lower = 0; /* observations below this one's bucket */
        for (size_t at = 0; at < i; at++) {
            lower += strcmp(table[at].first, table[i].first) != 0 ? 1 : 0;
        }
        if (table[i].below != NULL) {
            snprintf(line, sizeof(line), "meerkat_commit_seconds_bucket{le=\"%s\"} %" PRIu64,
                     table[i].below, lower);
            expect_line(line);
        }
    }
    cr_assert_eq(metric_read(METRIC_COMMIT_LATENCY), count);
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
 * end in _total and nothing else does; buckets rise. */
Test(metric, prints_a_page_prometheus_accepts)
{
    metric_observe_us(METRIC_HTTP_LATENCY, 100);
    metric_observe_us(METRIC_HTTP_LATENCY, 100000);
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
            if (slice_has_byte(sample, '{')) {
                uint64_t count = 0;
                cr_assert_eq(slice_u64(value, &count), ERR_OK);
                cr_assert(count >= last, "%.*s", SLICE_FMT(sample));
                last = count;
            }
            samples++;
        }
        cr_assert_eq(samples, slice_equal(after, SLICE("histogram")) ? 35 : 1);
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
    };
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
