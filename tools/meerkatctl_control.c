/* meerkatctl_control.c - the running server itself: the levels of its log, a drain, the places of
 * its shards. */
#include "meerkatctl.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOGLEVEL  "/api/admin/loglevel"
#define DRAIN     "/api/admin/drain"
#define REBALANCE "/api/admin/rebalance"
#define LOOK_MS   250 /* between two looks */

static void pause_a_little(void)
{
    (void)poll(NULL, 0, LOOK_MS); /* woken early, it looks early */
}

static long long number(json_t *from, const char *member)
{
    return (long long)json_integer_value(ctl_member(from, member));
}

static bool is_state(json_t *answer, const char *state)
{
    return strcmp(ctl_member_text(answer, "state"), state) == 0;
}

/* --for 10m into body's forSeconds. */
static int take_for(struct ctl *ctl, json_t *body)
{
    const char *text = ctl_option(ctl, "for");
    uint64_t seconds = 0;
    if (text == NULL) {
        return EXIT_GOOD;
    }
    if (!ctl_duration(text, &seconds) || seconds == 0) {
        json_decref(body);
        return ctl_usage(ctl, "--for is a number with s, m, h or d: 10m");
    }
    (void)json_object_set_new(body, "forSeconds", json_integer((json_int_t)seconds)); /* memory */
    return EXIT_GOOD;
}

/* ---- the log --------------------------------------------------------------------------------- */

int run_loglevel(struct ctl *ctl)
{
    static const struct column columns[] = {
        {"EVENTS", "event"}, {"LEVEL", "level"}, {"UNTIL", "untilAt"}, {"THEN", "then"}};
    struct call call = {.method = "GET", .path = LOGLEVEL};
    json_t *answer;
    int status = EXIT_GOOD;
    if (ctl->word_count == 0 && ctl_option(ctl, "for") != NULL) {
        return ctl_usage(ctl, "--for needs a level");
    }
    if (ctl->word_count > 0) {
        call.method = "PUT";
        call.body = json_pack("{s:s}", "level", ctl->words[0]);
        if (ctl->word_count > 1) {
            (void)json_object_set_new(call.body, "event", json_string(ctl->words[1])); /* memory */
        }
        status = take_for(ctl, call.body);
    }
    if (status == EXIT_GOOD) {
        status = ctl_call(ctl, &call, &answer);
    }
    if (status != EXIT_GOOD) {
        return status;
    }
    json_t *list = json_object_get(answer, "data");
    if (!ctl->is_json) {
        (void)json_object_set_new(json_array_get(list, 0), "event", json_string("all others"));
    }
    ctl_print_list(ctl, list, columns, ARRAY_LEN(columns));
    json_decref(answer);
    return EXIT_GOOD;
}

/* ---- drain ----------------------------------------------------------------------------------- */

static void describe_left(json_t *answer, char out[200])
{
    (void)snprintf(out, 200,
                   "%lld queued (%lld of them webhooks, %lld due), %lld being tried, %lld SMTP "
                   "sessions, %lld HTTP connections",
                   number(answer, "left.entries"), number(answer, "left.webhooks"),
                   number(answer, "left.due"), number(answer, "left.attempts"),
                   number(answer, "left.sessions"),
                   number(answer, "left.connections")); /* six numbers fit */
}

static void print_drain(struct ctl *ctl, json_t *answer)
{
    char left[200];
    describe_left(answer, left);
    if (is_state(answer, "running")) {
        ctl_print_done(ctl, answer, ctl_text(ctl, "not draining; %s", left));
        return;
    }
    const char *end = json_is_true(json_object_get(answer, "stop"))
                          ? "it ends when nothing is left to be tried"
                          : "\"meerkatctl drain --cancel\" takes it back; a restart forgets it";
    const char *state = is_state(answer, "notice")
                            ? "draining: health says so, work is still taken for a moment"
                            : "draining: no new work is taken";
    ctl_print_done(ctl, answer, ctl_text(ctl, "%s\nleft: %s\n%s", state, left, end));
}

static bool is_empty(json_t *answer)
{
    return is_state(answer, "draining") && number(answer, "left.entries") == 0 &&
           number(answer, "left.attempts") == 0 && number(answer, "left.sessions") == 0;
}

/* Until nothing is left; of a server that stops, until it does not answer any more: while it ends,
 * it refuses. */
static int wait_for_drain(struct ctl *ctl, json_t **answer)
{
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    bool is_stop = json_is_true(json_object_get(*answer, "stop"));
    int status = EXIT_GOOD;
    while ((status == EXIT_GOOD || (is_stop && status == EXIT_REFUSED)) &&
           !is_state(*answer, "running") && (is_stop || !is_empty(*answer))) {
        char left[200];
        json_t *next;
        describe_left(*answer, left);
        if (is_terminal) {
            (void)fprintf(stderr, "\r\033[K%s", left); /* it is only for the eye */
        }
        pause_a_little();
        const struct call call = {.method = "GET", .path = DRAIN, .is_quiet = is_stop};
        status = ctl_call(ctl, &call, &next);
        if (status == EXIT_GOOD) {
            json_decref(*answer);
            *answer = next;
        }
    }
    if (is_terminal) {
        (void)fputs("\r\033[K", stderr); /* likewise */
    }
    return is_stop && status != EXIT_GOOD ? EXIT_GOOD : status;
}

static int start_drain(struct ctl *ctl, json_t **answer)
{
    json_t *body = json_pack("{s:b}", "stop", ctl_option(ctl, "stop") != NULL);
    int status = take_for(ctl, body);
    if (status != EXIT_GOOD) {
        return status;
    }
    return ctl_call(ctl, &(struct call){.method = "POST", .path = DRAIN, .body = body}, answer);
}

int run_drain(struct ctl *ctl)
{
    bool is_cancel = ctl_option(ctl, "cancel") != NULL;
    bool is_status = ctl_option(ctl, "status") != NULL;
    bool is_wait = ctl_option(ctl, "wait") != NULL;
    bool is_stop = ctl_option(ctl, "stop") != NULL;
    json_t *answer;
    int status;
    if ((is_cancel && (is_status || is_wait)) || ((is_cancel || is_status) && is_stop)) {
        return ctl_usage(ctl, "these options are not for one call");
    }
    if (ctl_option(ctl, "for") != NULL && !is_stop) {
        return ctl_usage(ctl, "--for is for --stop");
    }
    if (is_cancel || is_status) {
        const struct call call = {.method = is_cancel ? "DELETE" : "GET", .path = DRAIN};
        status = ctl_call(ctl, &call, &answer);
    } else {
        status = start_drain(ctl, &answer);
    }
    if (status != EXIT_GOOD) {
        return status;
    }
    if (is_wait) {
        is_stop = json_is_true(json_object_get(answer, "stop"));
        status = wait_for_drain(ctl, &answer);
    }
    if (status == EXIT_GOOD && is_wait && is_stop && !is_state(answer, "running")) {
        char left[200];
        describe_left(answer, left);
        ctl_print_done(ctl, answer, ctl_text(ctl, "the server has ended; at last: %s", left));
    } else if (status == EXIT_GOOD) {
        print_drain(ctl, answer);
    }
    json_decref(answer);
    return status;
}

/* ---- rebalance ------------------------------------------------------------------------------- */

/* "3=1" into the list of moves; false when it is none. */
static bool add_move(json_t *moves, const char *word)
{
    struct slice rest = slice_str(word);
    struct slice shard = slice_cut(&rest, '=');
    uint64_t from = 0;
    uint64_t to = 0;
    if (slice_uint(shard, 1000, &from) != ERR_OK || slice_uint(rest, 1000, &to) != ERR_OK) {
        return false;
    }
    (void)json_array_append_new(moves, json_pack("{s:I,s:I}", "shard", (json_int_t)from, "loop",
                                                 (json_int_t)to)); /* memory */
    return true;
}

static json_t *read_wish(struct ctl *ctl, int *status)
{
    json_t *body = json_pack("{s:b}", "dryRun", ctl_option(ctl, "dry-run") != NULL);
    const char *window = ctl_option(ctl, "window");
    uint64_t seconds = 0;
    *status = EXIT_GOOD;
    if (window != NULL && (!ctl_duration(window, &seconds) || seconds == 0)) {
        *status = ctl_usage(ctl, "--window is a number with s or m: 10s");
    } else if (window != NULL) {
        (void)json_object_set_new(body, "windowSeconds", json_integer((json_int_t)seconds));
    }
    json_t *moves = json_array();
    for (uint32_t i = 0; i < ctl->word_count && *status == EXIT_GOOD; i++) {
        if (!add_move(moves, ctl->words[i])) {
            *status = ctl_usage(ctl, "\"%s\" is no SHARD=LOOP: 3=1", ctl->words[i]);
        }
    }
    (void)json_object_set_new(body, "moves", moves); /* fails without memory only, here and above */
    return body;
}

/* The shards of a loop, in its line. */
static void name_shards(json_t *answer)
{
    size_t index;
    size_t at;
    json_t *loop;
    json_t *shard;
    json_array_foreach(json_object_get(answer, "loops"), index, loop)
    {
        json_t *list = json_array();
        json_array_foreach(json_object_get(answer, "shards"), at, shard)
        {
            if (number(shard, "loop") == number(loop, "loop")) {
                (void)json_array_append(list, json_object_get(shard, "shard"));
            }
        }
        (void)json_object_set_new(loop, "names", list);
    }
}

static void print_places(struct ctl *ctl, json_t *answer)
{
    static const struct column loops[] = {{"LOOP", "loop"},
                                          {"BUSY %", "busyPercent"},
                                          {"PLANNED %", "plannedPercent"},
                                          {"SHARDS", "names"}};
    static const struct column moves[] = {
        {"SHARD", "shard"}, {"FROM", "from"}, {"TO", "to"}, {"STATE", "state"}};
    if (ctl->is_json) {
        ctl_print_done(ctl, answer, "");
        return;
    }
    name_shards(answer);
    ctl_print_list(ctl, json_object_get(answer, "loops"), loops, ARRAY_LEN(loops));
    json_t *list = json_object_get(answer, "moves");
    if (json_array_size(list) > 0) {
        printf("\n");
        ctl_print_list(ctl, list, moves, ARRAY_LEN(moves));
    }
    if (number(answer, "windowMs") > 0) {
        printf("\nmeasured for %lld ms: the fullest loop had %lld %% of the mean, with the plan it "
               "would have %lld %%\n",
               number(answer, "windowMs"), number(answer, "balanceBefore"),
               number(answer, "balanceAfter"));
    }
    if (json_array_size(list) == 0) {
        printf("nothing to move\n");
    }
}

static bool was_taken_back(json_t *answer)
{
    size_t index;
    json_t *move;
    json_array_foreach(json_object_get(answer, "moves"), index, move)
    {
        if (is_state(move, "taken_back")) {
            return true;
        }
    }
    return false;
}

int run_rebalance(struct ctl *ctl)
{
    json_t *answer;
    int status = EXIT_GOOD;
    struct call call = {.method = "GET", .path = REBALANCE};
    if (ctl_option(ctl, "status") == NULL) {
        call.method = "POST";
        call.body = read_wish(ctl, &status);
    }
    if (status != EXIT_GOOD) {
        json_decref(call.body);
        return status;
    }
    status = ctl_call(ctl, &call, &answer);
    while (status == EXIT_GOOD && call.body != NULL && !is_state(answer, "idle")) {
        const struct call look = {.method = "GET", .path = REBALANCE};
        json_decref(answer);
        pause_a_little();
        status = ctl_call(ctl, &look, &answer);
    }
    if (status != EXIT_GOOD) {
        return status;
    }
    bool is_bad = was_taken_back(answer);
    print_places(ctl, answer);
    if (is_bad) {
        (void)fputs("meerkatctl: a shard was too busy to move and stayed; try again later\n",
                    stderr); /* nowhere else to complain */
    }
    json_decref(answer);
    return is_bad ? EXIT_WRONG : EXIT_GOOD;
}
