/* Flow: what a server says of itself: the page of metrics, the dashboard and the alerts made of it,
 * the ids of requests in answers and in the log, meerkatctl top.
 *
 * promtool (Debian: prometheus) judges the page and the rules.
 *
 * Not covered here: how cells count (tests/unit/base/test_metric.c), traceparent to the letter
 * (tests/unit/base/test_trace.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/world.h"

#define MAILS   3
#define SCRAPES 30
#define TRACE   "4bf92f3577b34da6a3ce929d0e0e4736"
#define COLUMNS 80

/* ---- the page ------------------------------------------------------------------------------- */

static const char *source_file(struct world *world, const char *path)
{
    const char *source = getenv("MEERKAT_SOURCE");
    cr_assert_not_null(source, "MEERKAT_SOURCE is not set");
    return world_text(world, "%s/%s", source, path);
}

static struct slice scrape(struct world *world)
{
    const struct reply *reply = world_get(world, "/metrics");
    cr_assert_eq(reply->status, 200);
    cr_assert(
        slice_starts(reply_header(reply, "content-type"), SLICE("text/plain; version=0.0.4")));
    return reply->body;
}

/* The sum of the samples whose line begins with `begin`: a name, or a name and some labels. */
static double sum_of(struct slice page, const char *begin)
{
    double sum = 0;
    bool is_found = false;
    while (page.len > 0) {
        struct slice line = slice_cut(&page, '\n');
        struct slice rest = slice_from(line, line.len < strlen(begin) ? line.len : strlen(begin));
        bool is_name = rest.len > 0 && strchr(" {,}", rest.data[0]) != NULL;
        if (slice_starts(line, slice_str(begin)) && is_name) {
            char number[64];
            struct slice value = slice_from(line, slice_rfind_byte(line, ' ') + 1);
            (void)snprintf(number, sizeof number, "%.*s", SLICE_FMT(value)); /* of a few digits */
            sum += strtod(number, NULL);
            is_found = true;
        }
    }
    cr_assert(is_found, "nothing begins with %s", begin);
    return sum;
}

static void wait_for_value(struct world *world, const char *begin, double at_least)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (sum_of(scrape(world), begin) < at_least) {
        cr_assert(wait_more(&wait), "%s stays below %.0f", begin, at_least);
    }
}

/* promtool's status; what it said is shown when it is not 0. */
static int promtool(struct world *world, const char *what, const char *file, struct slice input)
{
    const char *const argv[] = {"promtool", "check", what, file, NULL};
    struct slice said;
    int status = world_tool(world, argv, input, &said);
    if (status != 0) {
        (void)fprintf(stderr, "%.*s\n", SLICE_FMT(said));
    }
    return status;
}

static uint32_t count_of(struct slice text, const char *part)
{
    uint32_t count = 0;
    size_t at;
    while ((at = slice_find(text, slice_str(part))) != SIZE_MAX) {
        text = slice_from(text, at + strlen(part));
        count++;
    }
    return count;
}

/* Each alert is raised where something is wrong, and none where nothing is. */
static void expect_alerts_fire(struct world *world, struct slice rules)
{
    const char *tests = source_file(world, "tests/support/alerts_test.yml");
    const char *const argv[] = {"promtool", "test", "rules", tests, NULL};
    struct slice said;
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
    cr_assert_eq(count_of(rules, "- alert: "),
                 count_of(world_read_file(world, tests), "labels: '{alertname="),
                 "an alert is not in %s", tests);
}

static bool is_word(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || c == '_';
}

static struct slice family_of(struct slice name)
{
    static const char *const ends[] = {"_bucket", "_sum", "_count"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (slice_ends(name, slice_str(ends[i]))) {
            return slice_head(name, name.len - strlen(ends[i]));
        }
    }
    return name;
}

/* Whatever in the text looks like a metric of ours is on the page; returns how many there were. */
static uint32_t expect_known(struct world *world, struct slice text, struct slice page)
{
    static const char *const prefixes[] = {"meerkat_", "process_"};
    uint32_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        struct slice rest = text;
        size_t at;
        while ((at = slice_find(rest, slice_str(prefixes[i]))) != SIZE_MAX) {
            bool is_begin = at == 0 || !is_word(rest.data[at - 1]);
            size_t len = 0;
            rest = slice_from(rest, at);
            while (len < rest.len && is_word(rest.data[len])) {
                len++;
            }
            struct slice name = slice_head(rest, len);
            rest = slice_from(rest, len);
            if (!is_begin) {
                continue;
            }
            const char *whole = world_text(world, "# TYPE %.*s ", SLICE_FMT(name));
            const char *family = world_text(world, "# TYPE %.*s ", SLICE_FMT(family_of(name)));
            cr_expect(slice_find(page, slice_str(whole)) != SIZE_MAX ||
                          slice_find(page, slice_str(family)) != SIZE_MAX,
                      "%.*s is not on the page", SLICE_FMT(name));
            count++;
        }
    }
    return count;
}

/* A dashboard that Grafana would load: panels with ids of their own, each with questions. */
static void expect_dashboard(struct slice text)
{
    json_error_t error;
    json_t *dashboard = json_loadb(text.data, text.len, 0, &error);
    cr_assert_not_null(dashboard, "line %d: %s", error.line, error.text);
    json_t *panels = json_object_get(dashboard, "panels");
    size_t index;
    json_t *panel;
    uint64_t seen = 0;
    uint32_t rows = 0;
    json_array_foreach(panels, index, panel)
    {
        json_int_t id = json_integer_value(json_object_get(panel, "id"));
        cr_assert(id > 0 && id < 64 && (seen >> id & 1) == 0, "id %d", (int)id);
        seen |= UINT64_C(1) << id;
        bool is_row = strcmp(json_string_value(json_object_get(panel, "type")), "row") == 0;
        rows += is_row;
        cr_assert(is_row || json_array_size(json_object_get(panel, "targets")) > 0);
        json_t *grid = json_object_get(panel, "gridPos");
        json_int_t x = json_integer_value(json_object_get(grid, "x"));
        json_int_t w = json_integer_value(json_object_get(grid, "w"));
        cr_assert(x >= 0 && w > 0 && x + w <= 24, "panel %d stands outside", (int)id);
    }
    cr_assert_geq(rows, 9);
    json_decref(dashboard);
}

Test(metrics, are_a_page_that_prometheus_accepts_and_the_dashboard_and_alerts_ask_of)
{
    struct world *world = world_new();
    world_start(world);
    struct slice page = scrape(world);
    cr_assert_eq(promtool(world, "metrics", NULL, page), 0);
    const char *alerts = source_file(world, "docs/alerts.yml");
    cr_assert_eq(promtool(world, "rules", alerts, SLICE("")), 0);
    struct slice rules = world_read_file(world, alerts);
    expect_alerts_fire(world, rules);
    struct slice dashboard = world_read_file(world, source_file(world, "docs/grafana.json"));
    expect_dashboard(dashboard);
    cr_assert_gt(expect_known(world, dashboard, page), 100);
    cr_assert_gt(expect_known(world, rules, page), 40);
    /* The judge is awake. */
    cr_assert_neq(promtool(world, "metrics", NULL, SLICE("bad-name 1\n")), 0);
    world_end(world);
}

/* ---- what is counted ------------------------------------------------------------------------ */

Test(metrics, follow_a_mail_from_the_request_to_its_site)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    for (int i = 0; i < MAILS; i++) {
        const char *id =
            world_send(world, "{'from':'a@send.test','to':'b%d@dest.test','text':'x'}", i);
        (void)world_await(world, id, "message.send_status", "delivered");
    }
    world_sink_profile(world, sink, "reject");
    const char *bad = world_send(world, "{'from':'a@send.test','to':'c@dest.test','text':'x'}");
    (void)world_await(world, bad, "message.send_status", "bounced");
    wait_for_value(world, "meerkat_delivery_failures_total", 1);
    wait_for_value(world, "meerkat_store_memtable_bytes", 1); /* the store was asked */
    wait_for_value(world, "meerkat_loop_idle_seconds_total", 0.001);
    struct slice page = scrape(world);
    cr_expect_eq(promtool(world, "metrics", NULL, page), 0);

    cr_expect_eq(sum_of(page, "meerkat_mail_accepted_total"), MAILS + 1);
    cr_expect_eq(sum_of(page, "meerkat_shard_accepted_total"), MAILS + 1);
    cr_expect_eq(sum_of(page, "meerkat_http_answers_total{route=\"send\",answer=\"2xx\""),
                 MAILS + 1);
    cr_expect_eq(sum_of(page, "meerkat_http_request_seconds_count"),
                 sum_of(page, "meerkat_loop_http_requests_total"));
    cr_expect_eq(
        sum_of(page, "meerkat_delivery_verdicts_total{verdict=\"delivered\",site=\"other\""),
        MAILS);
    cr_expect_eq(sum_of(page, "meerkat_delivery_failures_total"), 1);
    cr_expect_eq(sum_of(page, "meerkat_delivery_bounce_class_total"), 1);
    cr_expect_geq(sum_of(page, "meerkat_dkim_sign_seconds_count{algorithm=\"rsa\""), MAILS + 1);
    cr_expect_gt(sum_of(page, "meerkat_dns_lookup_seconds_count{result=\"found\""), 0);
    cr_expect_gt(sum_of(page, "meerkat_worker_wait_seconds_count"), 0);
    cr_expect_eq(sum_of(page, "meerkat_commit_stage_seconds_count{stage=\"sync\""),
                 sum_of(page, "meerkat_commit_batch_rows_count"));
    cr_expect_eq(sum_of(page, "meerkat_commit_round_batches_sum"),
                 sum_of(page, "meerkat_commit_batches_total"));
    cr_expect_gt(sum_of(page, "meerkat_handler_seconds_count{actor=\"shard\""), 0);
    cr_expect_gt(sum_of(page, "process_resident_memory_bytes"), 1e6);
    cr_expect_gt(sum_of(page, "process_open_fds"), 5);
    double began = sum_of(page, "process_start_time_seconds");
    cr_expect_gt(began, 1.5e9);
    for (int i = 0; i < SCRAPES; i++) {
        cr_expect_eq(sum_of(scrape(world), "process_start_time_seconds"), began,
                     "an alert counts how often it changes");
    }
    cr_expect_gt(sum_of(page, "meerkat_pool_size_msgs{actor=\"edge\""), 0);
    cr_expect_gt(sum_of(page, "meerkat_log_lines_total"), 0);
    world_end(world);
}

/* ---- ids ------------------------------------------------------------------------------------ */

/* The first line of the daemon's log with this event and this text; empty when there is none. */
static struct slice log_line_with(struct world *world, const char *event, struct slice text)
{
    struct slice log = world_log(world);
    const char *mark = world_text(world, "\"event\":\"%s\"", event);
    while (log.len > 0) {
        struct slice line = slice_cut(&log, '\n');
        if (slice_find(line, slice_str(mark)) != SIZE_MAX && slice_find(line, text) != SIZE_MAX) {
            return line;
        }
    }
    return SLICE("");
}

static void expect_line(struct world *world, const char *event, struct slice text, const char *also)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct slice line;
    while ((line = log_line_with(world, event, text)).len == 0) {
        cr_assert(wait_more(&wait), "no line %s with %.*s", event, SLICE_FMT(text));
    }
    cr_expect(slice_find(line, slice_str(also)) != SIZE_MAX, "no %s in %.*s", also,
              SLICE_FMT(line));
}

Test(metrics, name_a_request_and_its_trace_in_the_answer_and_in_the_log)
{
    struct world *world = world_new();
    world_set(world, "access_log", "yes");
    world_set(world, "mail_log", "yes");
    (void)world_ready_to_send(world);
    struct reply *reply = world_call(
        world,
        &(struct world_call){
            .method = "POST",
            .path = "/v1/send",
            .body = SLICE("{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"x\"}"),
            .headers = {"traceparent: 00-" TRACE "-00f067aa0ba902b7-01"}});
    cr_assert_eq(reply->status, 202);
    struct slice request = reply_header(reply, "x-request-id");
    cr_assert(slice_starts(request, SLICE("req_")));
    cr_assert(slice_starts(reply_header(reply, "traceparent"), SLICE("00-" TRACE "-")));
    const char *id = reply_text(reply, "id");
    (void)world_await(world, id, "message.send_status", "delivered");

    expect_line(world, "http.request", request, "\"route\":\"/v1/send\",\"status\":202");
    expect_line(world, "http.request", request, "\"trace\":\"" TRACE "\"");
    expect_line(world, "mail.accepted", request, id);
    expect_line(world, "mail.accepted", request, "\"trace\":\"" TRACE "\"");
    expect_line(world, "mail.delivered", slice_str(id), "\"domain\":\"dest.test\"");
    struct reply *refused =
        world_call(world, &(struct world_call){.method = "GET",
                                               .path = "/v1/me",
                                               .bearer = "mk_live_secretsecretsecretsecretsecret"});
    cr_assert_eq(refused->status, 401);
    expect_line(world, "http.request", reply_header(refused, "x-request-id"), "ERR_UNAUTHORIZED");
    cr_expect_eq(slice_find(world_log(world), SLICE("secretsecret")), SIZE_MAX);
    world_end(world);
}

/* ---- meerkatctl top ------------------------------------------------------------------------- */

static int top(struct world *world, const char *option, const char *value, struct slice *said)
{
    const char *build = getenv("MEERKAT_BUILD");
    cr_assert_not_null(build, "MEERKAT_BUILD is not set");
    const char *const argv[] = {world_text(world, "%s/meerkatctl", build),
                                "--data",
                                world->data,
                                "top",
                                "--once",
                                option,
                                value,
                                NULL};
    return world_tool(world, argv, SLICE(""), said);
}

Test(metrics, are_shown_by_top_as_rates_and_as_json)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    const char *id = world_send(world, "{'from':'a@send.test','to':'b@dest.test','text':'x'}");
    (void)world_await(world, id, "message.send_status", "delivered");
    struct slice said;
    json_error_t error;
    cr_assert_eq(top(world, "--json", NULL, &said), 0);
    json_t *look = json_loadb(said.data, said.len, 0, &error);
    cr_assert_not_null(look, "%.*s", SLICE_FMT(said));
    json_t *totals = json_object_get(look, "totals");
    cr_expect_eq(json_integer_value(json_object_get(totals, "accepted")), 1);
    cr_expect_eq(json_integer_value(json_object_get(totals, "delivered")), 1);
    cr_expect_eq(json_array_size(json_object_get(look, "shards")), 32);
    cr_expect_gt(json_array_size(json_object_get(look, "loops")), 1);
    cr_expect_gt(json_array_size(json_object_get(look, "sites")), 0);
    json_decref(look);

    cr_assert_eq(top(world, "--all", NULL, &said), 0);
    struct slice rest = said;
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        cr_expect_leq(line.len, COLUMNS, "%.*s", SLICE_FMT(line));
    }
    cr_expect(slice_find(said, SLICE("\nLOOP ")) != SIZE_MAX);
    cr_expect(slice_find(said, SLICE("\nSHARD ")) != SIZE_MAX);
    cr_expect(slice_find(said, SLICE("\nSITE ")) != SIZE_MAX);
    cr_expect_eq(slice_find(said, SLICE("\033")), SIZE_MAX, "no terminal, no codes of one");
    cr_expect_eq(top(world, "--interval", "0", &said), 2);
    cr_expect_eq(top(world, "--interval", "soon", &said), 2);
    world_end(world);
}
