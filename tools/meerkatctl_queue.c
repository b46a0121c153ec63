/* meerkatctl_queue.c - the commands about the queue: what waits where, and what to do about it. */
#include "meerkatctl.h"

#include <stdio.h>
#include <string.h>

#define QUEUE     "/api/admin/queue/"
#define PAGE_SIZE 200

static const struct column site_columns[] = {
    {"SITE", "site"},
    {"DUE", "due.transactional"},
    {"BULK", "due.bulk"},
    {"WAITING", "waiting"},
    {"OPEN", "open"},
    {"CONNS", "connections"},
    {"LIMIT", "connectionLimit"},
    {"RATE", "ratePerMin"},
    {"PAUSED", "paused"},
    {"FAILED", "failures"},
    {"OLDEST", "oldestDueAt"},
    {"REASON", "reason"},
};

static const struct column account_columns[] = {
    {"ACCOUNT", "account"}, {"ENTRIES", "entries"},    {"DUE", "due"},
    {"OPEN", "open"},       {"OLDEST", "oldestDueAt"}, {"PAUSED", "paused"},
};

static const struct column hold_columns[] = {
    {"WHAT", "type"}, {"SITE", "site"},     {"ACCOUNT", "account"}, {"POOL", "pool"},
    {"BY", "by"},     {"SINCE", "sinceAt"}, {"UNTIL", "untilAt"},   {"REASON", "reason"},
};

/* All pages of a list whose `next` says where the next one begins. search: NULL: all. */
static int get_all(struct ctl *ctl, const char *path, const char *search, json_t **list)
{
    json_t *all = json_array();
    const char *after = "";
    do {
        json_t *page;
        const char *next = ctl_text(ctl, "%s?limit=%d", path, PAGE_SIZE);
        if (after[0] != '\0') {
            next = ctl_path(ctl, ctl_text(ctl, "%s&after=", next), after, "");
        }
        if (search != NULL) {
            next = ctl_path(ctl, ctl_text(ctl, "%s&search=", next), search, "");
        }
        int status = ctl_call(ctl, &(struct call){.method = "GET", .path = next}, &page);
        if (status != EXIT_GOOD) {
            json_decref(all);
            return status;
        }
        (void)json_array_extend(all, json_object_get(page, "data")); /* only fails without memory */
        after = ctl_text(ctl, "%s", ctl_member_text(page, "next"));
        json_decref(page);
    } while (after[0] != '\0');
    *list = all;
    return EXIT_GOOD;
}

static int show(struct ctl *ctl, const char *path, const struct column *columns, uint32_t count)
{
    json_t *list;
    int status = get_all(ctl, path, ctl_option(ctl, "search"), &list);
    if (status == EXIT_GOOD) {
        ctl_print_list(ctl, list, columns, count);
        json_decref(list);
    }
    return status;
}

int run_queue_sites(struct ctl *ctl)
{
    return show(ctl, QUEUE "sites", site_columns, ARRAY_LEN(site_columns));
}

int run_queue_accounts(struct ctl *ctl)
{
    return show(ctl, QUEUE "accounts", account_columns, ARRAY_LEN(account_columns));
}

int run_queue_holds(struct ctl *ctl)
{
    return show(ctl, QUEUE "holds", hold_columns, ARRAY_LEN(hold_columns));
}

static void take(struct ctl *ctl, json_t *body, const char *name)
{
    const char *text = ctl_option(ctl, name);
    if (text != NULL) {
        (void)json_object_set_new(body, name, json_string(text)); /* refused when not UTF-8 */
    }
}

static int change(struct ctl *ctl, const char *verb, json_t *body, const char *done)
{
    json_t *answer;
    take(ctl, body, "site");
    take(ctl, body, "account");
    take(ctl, body, "reason");
    take(ctl, body, "until");
    if (ctl_option(ctl, "all") != NULL) {
        (void)json_object_set_new(body, "all", json_true()); /* only fails without memory */
    } else if (json_object_get(body, "site") == NULL && json_object_get(body, "account") == NULL) {
        json_decref(body);
        return ctl_usage(ctl, "--site or --account is missing");
    }
    const struct call call = {
        .method = "POST", .path = ctl_text(ctl, QUEUE "%s", verb), .body = body};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        json_int_t entries = json_integer_value(json_object_get(answer, "entries"));
        ctl_print_done(ctl, answer,
                       ctl_text(ctl, "%s: %lld %s", done, (long long)entries,
                                entries == 1 ? "mail" : "mails"));
        json_decref(answer);
    }
    return status;
}

int run_queue_pause(struct ctl *ctl)
{
    return change(ctl, "pause", json_object(), "paused");
}

int run_queue_resume(struct ctl *ctl)
{
    return change(ctl, "resume", json_object(), "resumed");
}

int run_queue_retry(struct ctl *ctl)
{
    return change(ctl, "retry", json_object(), "tried again now");
}

int run_queue_expire(struct ctl *ctl)
{
    return change(ctl, "expire", json_object(), "given up");
}

int run_queue_move(struct ctl *ctl)
{
    const char *pool = ctl_option(ctl, "pool");
    bool is_back = ctl_option(ctl, "back") != NULL;
    if ((pool != NULL) == is_back) {
        return ctl_usage(ctl, "--pool or --back is needed");
    }
    json_t *body = json_object();
    (void)json_object_set_new(body, "pool", is_back ? json_null() : json_string(pool));
    return change(ctl, "move", body, is_back ? "moved back" : "moved");
}

/* ---- ages ------------------------------------------------------------------------------------ */

#define BAR_COLUMNS 40

/* "up to 5 m", "more". */
static const char *step_text(struct ctl *ctl, json_t *step)
{
    json_int_t seconds = json_integer_value(json_object_get(step, "upToSeconds"));
    if (seconds == 0) {
        return "more";
    }
    if (seconds < 3600) {
        return ctl_text(ctl, "up to %lld m", (long long)(seconds / 60));
    }
    if (seconds < 86400) {
        return ctl_text(ctl, "up to %lld h", (long long)(seconds / 3600));
    }
    return ctl_text(ctl, "up to %lld d", (long long)(seconds / 86400));
}

static void print_steps(struct ctl *ctl, const char *title, json_t *steps)
{
    size_t index;
    json_t *step;
    json_int_t most = 1;
    json_array_foreach(steps, index, step)
    {
        json_int_t count = json_integer_value(json_object_get(step, "count"));
        most = count > most ? count : most;
    }
    printf("\n%s\n", title);
    json_array_foreach(steps, index, step)
    {
        json_int_t count = json_integer_value(json_object_get(step, "count"));
        printf("  %-12s %9lld ", step_text(ctl, step), (long long)count);
        int bar = (int)((count * BAR_COLUMNS + most - 1) / most); /* one at least, when any */
        for (int i = 0; i < bar; i++) {
            (void)putchar('#'); /* main asks whether all went out */
        }
        printf("\n");
    }
}

static void print_ages(struct ctl *ctl, json_t *ages)
{
    json_t *on_disk = json_object_get(ages, "onDisk");
    const char *oldest = ctl_member_text(ages, "oldestAcceptedAt");
    printf("%lld in memory: %lld due, %lld being tried, %lld wait for their next try\n",
           (long long)json_integer_value(json_object_get(ages, "entries")),
           (long long)json_integer_value(json_object_get(ages, "due")),
           (long long)json_integer_value(json_object_get(ages, "open")),
           (long long)json_integer_value(json_object_get(ages, "waiting")));
    if (!json_is_null(on_disk)) {
        bool is_about = json_is_true(json_object_get(ages, "isEstimate"));
        printf("%s%lld on disk only: due later than an hour ahead, or the schedule is full\n",
               is_about ? "about " : "",
               (long long)json_integer_value(json_object_get(ages, "beyond")));
    }
    if (oldest[0] != '\0') {
        printf("the oldest was accepted %s\n", oldest);
    }
    print_steps(ctl, "accepted ago", json_object_get(ages, "byAge"));
    print_steps(ctl, "due in", json_object_get(ages, "byDue"));
}

int run_queue_ages(struct ctl *ctl)
{
    const char *site = ctl_option(ctl, "site");
    const char *account = ctl_option(ctl, "account");
    const char *path = QUEUE "ages?";
    json_t *ages;
    if (site != NULL) {
        path = ctl_path(ctl, ctl_text(ctl, "%ssite=", path), site, "&");
    }
    if (account != NULL) {
        path = ctl_path(ctl, ctl_text(ctl, "%saccount=", path), account, "");
    }
    int status = ctl_call(ctl, &(struct call){.method = "GET", .path = path}, &ages);
    if (status == EXIT_GOOD) {
        if (ctl->is_json) {
            ctl_print_done(ctl, ages, "");
        } else {
            print_ages(ctl, ages);
        }
        json_decref(ages);
    }
    return status;
}
