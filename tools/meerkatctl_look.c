/* meerkatctl_look.c - the commands about shards, their rows, and where an account lives. */
#include "meerkatctl_look.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "kv/key.h"

#define ROWS_MAX   1000u
#define USAGE_DAYS 7u
#define LAST_MAILS "10"
#define MS_PER_DAY UINT64_C(86400000)

/* ---- small things ---------------------------------------------------------------------------- */

const char *look_bytes(struct ctl *ctl, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double shown = (double)bytes;
    size_t unit = 0;
    while (shown >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        shown /= 1024;
        unit++;
    }
    return ctl_text(ctl, unit == 0 || shown >= 100 ? "%.0f %s" : "%.1f %s", shown, units[unit]);
}

const char *look_ago(struct ctl *ctl, const char *date)
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    uint64_t unix_ms = 0;
    if (clock_parse_rfc3339(slice_str(date), &unix_ms) != ERR_OK) {
        return "-";
    }
    const uint64_t now = clock_unix_ms();
    const uint64_t seconds = (now > unix_ms ? now - unix_ms : unix_ms - now) / 1000;
    size_t unit = 0;
    while (unit + 1 < ARRAY_LEN(units) && seconds < 2 * units[unit].seconds) {
        unit++;
    }
    return ctl_text(ctl, now >= unix_ms ? "%" PRIu64 " %s ago" : "in %" PRIu64 " %s",
                    seconds / units[unit].seconds, units[unit].unit);
}

const char *look_number(struct ctl *ctl, uint64_t number, bool is_exact)
{
    return ctl_text(ctl, "%s%" PRIu64, is_exact ? "" : "~", number);
}

uint64_t doc_u64(json_t *from, const char *path)
{
    return (uint64_t)json_integer_value(ctl_member(from, path));
}

bool doc_is(json_t *from, const char *path)
{
    return json_is_true(ctl_member(from, path));
}

static bool has(json_t *from, const char *path)
{
    json_t *member = ctl_member(from, path);
    return member != NULL && !json_is_null(member);
}

static void put(json_t *row, const char *name, const char *text)
{
    (void)json_object_set_new(row, name, json_string(text)); /* left out when it is not UTF-8 */
}

/* ---- shards ---------------------------------------------------------------------------------- */

static const char *count_text(struct ctl *ctl, json_t *from, const char *name)
{
    json_t *count = json_object_get(from, name);
    return json_is_object(count)
               ? look_number(ctl, doc_u64(count, "count"), doc_is(count, "isExact"))
               : "-";
}

static const char *ms_text(struct ctl *ctl, json_t *shard, const char *path)
{
    return has(shard, path) ? ctl_text(ctl, "%.1f", (double)doc_u64(shard, path) / 1000) : "-";
}

/* A shard as cells of a table. */
static json_t *shard_cells(struct ctl *ctl, json_t *shard)
{
    json_t *row = json_object();
    put(row, "name", ctl_member_text(shard, "name"));
    put(row, "loop", ctl_member_text(shard, "loop"));
    put(row, "accounts", count_text(ctl, shard, "accounts"));
    put(row, "rows", look_number(ctl, doc_u64(shard, "store.rows"), false));
    put(row, "tables", look_bytes(ctl, doc_u64(shard, "store.tableBytes")));
    put(row, "memtable", look_bytes(ctl, doc_u64(shard, "store.memtableBytes")));
    put(row, "blobs", look_bytes(ctl, doc_u64(shard, "store.blobBytes")));
    put(row, "garbage", look_bytes(ctl, doc_u64(shard, "store.blobGarbageBytes")));
    put(row, "debt", look_bytes(ctl, doc_u64(shard, "store.compactionBytes")));
    put(row, "queued", count_text(ctl, shard, "outbox"));
    put(row, "oldest", look_ago(ctl, ctl_member_text(shard, "outbox.oldestDueAt")));
    put(row, "commit",
        ctl_text(ctl, "%s/%s", ms_text(ctl, shard, "commit.lastMinuteUs.p50"),
                 ms_text(ctl, shard, "commit.lastMinuteUs.p99")));
    return row;
}

/* Something is wrong with the store as such; what holds a writer up for a moment is not. */
static bool is_troubled(json_t *answer)
{
    return doc_is(answer, "store.isWriteStopped") || doc_u64(answer, "store.backgroundErrors") > 0;
}

/* What somebody should know before the table is read. */
static void print_troubles(json_t *store, json_t *shards)
{
    size_t index;
    json_t *shard;
    if (doc_is(store, "isWriteStopped")) {
        printf("! writing is stopped until the store has caught up with compaction\n");
    }
    if (doc_u64(store, "delayedBytesPerSecond") > 0) {
        printf("! writing is slowed down until the store has caught up with compaction\n");
    }
    if (doc_u64(store, "backgroundErrors") > 0) {
        printf(
            "! the store met errors in the background: look for kv.failed in the log, and at the "
            "disk\n");
    }
    json_array_foreach(shards, index, shard)
    {
        if (doc_is(shard, "actor.isHeld")) {
            printf("! %s takes nothing new until a batch is on disk\n",
                   ctl_member_text(shard, "name"));
        }
    }
}

static void show_shards(struct ctl *ctl, json_t *answer)
{
    static const struct column columns[] = {
        {"SHARD", "name"},    {"LOOP", "loop"},       {"ACCOUNTS", "accounts"},
        {"ROWS", "rows"},     {"TABLES", "tables"},   {"MEMORY", "memtable"},
        {"BLOBS", "blobs"},   {"GARBAGE", "garbage"}, {"DEBT", "debt"},
        {"QUEUED", "queued"}, {"OLDEST", "oldest"},   {"COMMIT MS P50/P99", "commit"},
    };
    json_t *store = json_object_get(answer, "store");
    json_t *data = json_object_get(answer, "data");
    json_t *list = json_array();
    size_t index;
    json_t *shard;
    json_array_foreach(data, index, shard)
    {
        (void)json_array_append_new(list, shard_cells(ctl, shard)); /* only fails without memory */
    }
    print_troubles(store, data);
    ctl_print_list(ctl, list, columns, ARRAY_LEN(columns));
    printf("\nstore: log %s, free on disk %s, cache %s of %s, %" PRIu64 " compactions and %" PRIu64
           " flushes run\n",
           look_bytes(ctl, doc_u64(store, "logBytes")),
           look_bytes(ctl, doc_u64(store, "freeBytes")),
           look_bytes(ctl, doc_u64(store, "cacheBytes")),
           look_bytes(ctl, doc_u64(store, "cacheCapacity")), doc_u64(store, "runningCompactions"),
           doc_u64(store, "runningFlushes"));
    printf("rows are estimates, as is what has a ~; commits are those of the last minute\n");
    json_decref(list);
}

int run_shards(struct ctl *ctl)
{
    struct look look;
    json_t *answer = NULL;
    int status = look_open(ctl, &look);
    if (status != EXIT_GOOD) {
        return status;
    }
    status = look_at_shards(&look, &answer);
    if (status == EXIT_GOOD && ctl->is_json) {
        ctl_print_json(answer, false);
    } else if (status == EXIT_GOOD) {
        show_shards(ctl, answer);
    }
    status = status == EXIT_GOOD && is_troubled(answer) ? EXIT_WRONG : status;
    json_decref(answer);
    look_close(&look);
    return status;
}

/* ---- one shard ------------------------------------------------------------------------------- */

static const char *batch_text(struct ctl *ctl, json_t *shard, const char *path)
{
    json_t *batch = ctl_member(shard, path);
    return json_is_object(batch)
               ? ctl_text(ctl, "%" PRIu64 " rows, %s, %" PRIu64 " wait for it",
                          doc_u64(batch, "rows"), look_bytes(ctl, doc_u64(batch, "bytes")),
                          doc_u64(batch, "waiting"))
               : "none";
}

static const char *latency_text(struct ctl *ctl, json_t *shard, const char *path)
{
    return ctl_text(ctl, "p50 %s ms, p99 %s ms, max %s ms of %" PRIu64,
                    ms_text(ctl, shard, ctl_text(ctl, "%s.p50", path)),
                    ms_text(ctl, shard, ctl_text(ctl, "%s.p99", path)),
                    ms_text(ctl, shard, ctl_text(ctl, "%s.max", path)),
                    doc_u64(shard, ctl_text(ctl, "%s.count", path)));
}

static const char *levels_text(struct ctl *ctl, json_t *shard)
{
    size_t index;
    json_t *files;
    const char *text = "";
    json_array_foreach(ctl_member(shard, "store.levelFiles"), index, files)
    {
        text = ctl_text(ctl, "%s%s%" PRIu64, text, index > 0 ? ", " : "",
                        (uint64_t)json_integer_value(files));
    }
    return text[0] != '\0' ? text : "none";
}

static void add_actor(struct ctl *ctl, json_t *cells, json_t *shard)
{
    const uint64_t hits = doc_u64(shard, "actor.cacheHits");
    const uint64_t asked = hits + doc_u64(shard, "actor.cacheMisses");
    put(cells, "port",
        ctl_text(ctl, "%" PRIu64 " in the port, %" PRIu64 " behind it%s",
                 doc_u64(shard, "actor.port"), doc_u64(shard, "actor.backlog"),
                 doc_is(shard, "actor.isHeld") ? "; held until a batch is on disk" : ""));
    put(cells, "handled",
        ctl_text(ctl, "%" PRIu64 " messages in %.1f s", doc_u64(shard, "actor.handled"),
                 (double)doc_u64(shard, "actor.handlerUs") / 1e6));
    put(cells, "pools",
        ctl_text(ctl, "%" PRIu64 " of %" PRIu64 " requests, %" PRIu64 " of %" PRIu64 " wakes free",
                 doc_u64(shard, "actor.requests.free"), doc_u64(shard, "actor.requests.count"),
                 doc_u64(shard, "actor.wakes.free"), doc_u64(shard, "actor.wakes.count")));
    put(cells, "jobs",
        ctl_text(ctl, "%" PRIu64 " with workers, %" PRIu64 " back from them",
                 doc_u64(shard, "actor.jobs") - doc_u64(shard, "actor.jobsReady"),
                 doc_u64(shard, "actor.jobsReady")));
    put(cells, "cache",
        asked == 0 ? "-"
                   : ctl_text(ctl, "%.1f %% of %" PRIu64 " rows",
                              100.0 * (double)hits / (double)asked, asked));
    put(cells, "mails",
        ctl_text(ctl, "%" PRIu64 " accepted, %s", doc_u64(shard, "actor.mails"),
                 look_bytes(ctl, doc_u64(shard, "actor.mailBytes"))));
    put(cells, "batches",
        ctl_text(ctl, "%" PRIu64 " of %.1f rows (%" PRIu64 " at most), %" PRIu64 " lost",
                 doc_u64(shard, "commit.batches"),
                 doc_u64(shard, "commit.batches") == 0
                     ? 0.0
                     : (double)doc_u64(shard, "commit.rows") /
                           (double)doc_u64(shard, "commit.batches"),
                 doc_u64(shard, "commit.rowsMax"), doc_u64(shard, "commit.lost")));
    put(cells, "filling", batch_text(ctl, shard, "commit.filling"));
    put(cells, "flying", batch_text(ctl, shard, "commit.flying"));
    put(cells, "minute", latency_text(ctl, shard, "commit.lastMinuteUs"));
    put(cells, "ever", latency_text(ctl, shard, "commit.us"));
    put(cells, "scan",
        doc_is(shard, "scan.isRunning") ? "delivery is being told of rows"
        : doc_is(shard, "scan.isOwed")  ? "delivery has to be told of rows"
                                        : "delivery knows all that is due");
}

static void print_shard(struct ctl *ctl, json_t *shard)
{
    static const struct column stored[] = {
        {"shard", "name"},
        {"loop", "loop"},
        {"accounts", "accounts"},
        {"queued", "queued"},
        {"oldest due", "oldest"},
        {"rows", "rows"},
        {"tables", "tables"},
        {"files by level", "levels"},
        {"memtables", "memtable"},
        {"blobs", "blobs"},
        {"garbage in them", "garbage"},
        {"compaction owes", "debt"},
        {"writers held back", "stalls"},
    };
    static const struct column running[] = {
        {"port", "port"},
        {"handlers", "handled"},
        {"messages", "pools"},
        {"jobs", "jobs"},
        {"row cache", "cache"},
        {"mails", "mails"},
        {"batches", "batches"},
        {"being filled", "filling"},
        {"being written", "flying"},
        {"commits, last minute", "minute"},
        {"commits, ever", "ever"},
        {"outbox", "scan"},
    };
    json_t *cells = shard_cells(ctl, shard);
    put(cells, "levels", levels_text(ctl, shard));
    put(cells, "stalls",
        ctl_text(ctl, "%" PRIu64 " times slowed, %" PRIu64 " times stopped",
                 doc_u64(shard, "store.slowdowns"), doc_u64(shard, "store.stops")));
    ctl_print_one(ctl, cells, stored, ARRAY_LEN(stored));
    if (has(shard, "actor")) {
        add_actor(ctl, cells, shard);
        printf("\n");
        ctl_print_one(ctl, cells, running, ARRAY_LEN(running));
    }
    json_decref(cells);
}

static void print_families(struct ctl *ctl, json_t *shard)
{
    static const struct column columns[] = {
        {"FAMILY", "family"}, {"TAG", "tag"}, {"ROWS", "rows"}, {"IN TABLES", "bytes"}};
    json_t *list = json_array();
    size_t index;
    json_t *family;
    json_array_foreach(json_object_get(shard, "families"), index, family)
    {
        json_t *row = json_object();
        put(row, "family", ctl_member_text(family, "family"));
        put(row, "tag", ctl_member_text(family, "tag"));
        put(row, "rows", look_number(ctl, doc_u64(family, "count"), doc_is(family, "isExact")));
        put(row, "bytes", look_bytes(ctl, doc_u64(family, "tableBytes")));
        (void)json_array_append_new(list, row); /* only fails without memory */
    }
    printf("\n");
    ctl_print_list(ctl, list, columns, ARRAY_LEN(columns));
    printf("\nrows were counted for some milliseconds a family; those with a ~ are estimated from "
           "there\n");
    json_decref(list);
}

static int show_shard(struct look *look)
{
    struct ctl *ctl = look->ctl;
    json_t *answer = NULL;
    int status = look_at_shard(look, ctl->words[0], &answer);
    if (status == EXIT_GOOD && ctl->is_json) {
        ctl_print_json(answer, false);
    } else if (status == EXIT_GOOD) {
        print_shard(ctl, answer);
        print_families(ctl, answer);
    }
    json_decref(answer);
    return status;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void print_row(json_t *row)
{
    json_t *fields = json_object_get(row, "row");
    ctl_print_safely(ctl_member_text(row, "key"));
    printf("%s\n", doc_is(row, "isDamaged") ? "   DAMAGED" : "");
    if (json_is_object(fields)) {
        char *text = json_dumps(fields, JSON_COMPACT);
        printf("    ");
        ctl_print_safely(text != NULL ? text : "");
        printf("\n");
        free(text);
    } else {
        printf("    %" PRIu64 " bytes that cannot be read\n", doc_u64(row, "bytes"));
    }
}

static void print_page(struct ctl *ctl, json_t *answer, bool is_all)
{
    size_t index;
    json_t *row;
    if (ctl->is_json && !is_all) {
        ctl_print_json(answer, false);
        return;
    }
    json_array_foreach(json_object_get(answer, "rows"), index, row)
    {
        if (ctl->is_json) {
            ctl_print_json(row, true);
        } else {
            print_row(row);
        }
    }
}

static void print_end(struct ctl *ctl, const char *next, bool is_all)
{
    if (next[0] != '\0' && !is_all && !ctl->is_json) {
        printf("\nmore: --after '");
        ctl_print_safely(next);
        printf("', or --all\n");
    }
}

/* One page, or all of them, the last row of each naming where the next begins. */
static int show_rows(struct look *look, struct look_page *page, bool is_all)
{
    uint64_t damaged = 0;
    uint64_t count = 0;
    int status = EXIT_GOOD;
    const char *next = page->after;
    do {
        json_t *answer = NULL;
        page->after = next;
        status = look_at_rows(look, page, &answer);
        if (status != EXIT_GOOD) {
            return status;
        }
        print_page(look->ctl, answer, is_all);
        count += json_array_size(json_object_get(answer, "rows"));
        damaged += doc_u64(answer, "damaged");
        next = ctl_text(look->ctl, "%s", ctl_member_text(answer, "next"));
        if (ctl_member_text(answer, "error")[0] != '\0') {
            (void)fprintf(stderr, "meerkatctl: the rows behind cannot be read: %s\n",
                          ctl_member_text(answer, "error"));
        }
        json_decref(answer);
    } while (is_all && next[0] != '\0');
    print_end(look->ctl, next, is_all);
    if (count == 0 && !look->ctl->is_json) {
        printf("no rows there\n");
    }
    return damaged > 0 ? EXIT_WRONG : EXIT_GOOD;
}

static const char *option_or(const struct ctl *ctl, const char *name, const char *other)
{
    const char *text = ctl_option(ctl, name);
    return text != NULL ? text : other;
}

int run_shard(struct ctl *ctl)
{
    struct look look;
    uint64_t limit = 0;
    bool is_all = ctl_option(ctl, "all") != NULL;
    const char *limit_text = option_or(ctl, "limit", is_all ? "1000" : "20");
    bool wants_rows = is_all || ctl_option(ctl, "prefix") != NULL ||
                      ctl_option(ctl, "after") != NULL || ctl_option(ctl, "limit") != NULL;
    if (slice_uint(slice_str(limit_text), ROWS_MAX, &limit) != ERR_OK || limit == 0) {
        return ctl_usage(ctl, "--limit is 1 to %u", ROWS_MAX);
    }
    int status = look_open(ctl, &look);
    if (status != EXIT_GOOD) {
        return status;
    }
    struct look_page page = {
        .shard = ctl->words[0],
        .prefix = option_or(ctl, "prefix", ""),
        .after = option_or(ctl, "after", ""),
        .limit = (uint32_t)limit,
    };
    status = wants_rows ? show_rows(&look, &page, is_all) : show_shard(&look);
    look_close(&look);
    return status;
}

/* ---- an account ------------------------------------------------------------------------------ */

static int get(struct ctl *ctl, const char *path, const char *account, json_t **answer)
{
    return ctl_call(ctl, &(struct call){.method = "GET", .path = path, .account = account}, answer);
}

/* Where its rows are. */
static int add_place(struct ctl *ctl, struct account_id account, json_t *whole)
{
    json_t *server = NULL;
    int status = get(ctl, "/api/admin/server", NULL, &server);
    if (status != EXIT_GOOD) {
        return status;
    }
    const uint64_t count = doc_u64(server, "shards");
    const uint32_t shard = count == 0 ? 0 : key_account_shard((uint32_t)count, account);
    (void)json_object_set_new(whole, "shard", json_integer(shard)); /* only fails without memory */
    json_decref(server);
    return EXIT_GOOD;
}

/* Its line of the queue: the list is by id, so it is the one behind the id before. */
static int add_queue(struct ctl *ctl, struct account_id account, json_t *whole)
{
    char before[ID_TEXT_MAX] = "";
    char self[ID_TEXT_MAX];
    json_t *page = NULL;
    (void)account_text(account, self);
    account.value--;
    if (account.value > 0) {
        (void)account_text(account, before);
    }
    const char *path = ctl_text(ctl, "/api/admin/queue/accounts?limit=1%s%s",
                                before[0] != '\0' ? "&after=" : "", before);
    int status = get(ctl, path, NULL, &page);
    if (status != EXIT_GOOD) {
        return status;
    }
    json_t *first = json_array_get(json_object_get(page, "data"), 0);
    bool is_its = strcmp(ctl_member_text(first, "account"), self) == 0;
    (void)json_object_set(whole, "queue", is_its ? first : json_null()); /* as above */
    json_decref(page);
    return EXIT_GOOD;
}

/* Of the last days, from its rows. */
static int add_usage(struct ctl *ctl, struct look *look, const char *account, json_t *whole)
{
    char day[CLOCK_TEXT_MAX];
    json_t *rows = NULL;
    (void)clock_rfc3339(clock_unix_ms() - USAGE_DAYS * MS_PER_DAY, day);
    struct look_page page = {
        .shard = ctl_text(ctl, "%" PRIu64, doc_u64(whole, "shard")),
        .prefix = ctl_text(ctl, "usage %s", account),
        .after = ctl_text(ctl, "usage %s %.10s", account, day),
        .limit = USAGE_DAYS + 1,
    };
    int status = look_at_rows(look, &page, &rows);
    if (status == EXIT_GOOD) {
        json_t *list = json_array();
        size_t index;
        json_t *row;
        json_array_foreach(json_object_get(rows, "rows"), index, row)
        {
            const char *key = ctl_member_text(row, "key");
            json_t *fields = json_object_get(row, "row");
            put(fields, "day", strlen(key) > 10 ? key + strlen(key) - 10 : key);
            (void)json_array_append(list, fields); /* as above */
        }
        (void)json_object_set_new(whole, "usage", list);
        json_decref(rows);
    }
    return status;
}

static int add_mails(struct ctl *ctl, const char *account, json_t *whole)
{
    json_t *list = NULL;
    int status = get(ctl, "/api/messages?limit=" LAST_MAILS, account, &list);
    if (status == EXIT_GOOD) {
        (void)json_object_set_new(whole, "lastMessages", list); /* as above */
    }
    return status;
}

static void print_account(struct ctl *ctl, json_t *whole)
{
    static const struct column facts[] = {
        {"account", "account.id"},
        {"name", "account.name"},
        {"owner", "account.ownerEmail"},
        {"created", "account.createdAt"},
        {"suspended", "account.suspended"},
        {"shard", "shard"},
        {"requests a minute", "account.limits.ratePerMin"},
        {"mails a day", "account.limits.dailyMax"},
        {"days kept", "account.limits.retentionDays"},
        {"keys", "keyCount"},
        {"domains", "domainCount"},
        {"queued", "queue.entries"},
        {"of them due", "queue.due"},
        {"being sent", "queue.open"},
        {"oldest due", "queue.oldestDueAt"},
        {"paused", "queue.paused"},
    };
    static const struct column users[] = {
        {"USER", "id"}, {"EMAIL", "email"}, {"ROLE", "role"}, {"CREATED", "createdAt"}};
    static const struct column usage[] = {
        {"DAY", "day"}, {"MAILS", "mails"}, {"RECIPIENTS", "rcpts"}, {"BYTES", "bytes"}};
    static const struct column mails[] = {
        {"MESSAGE", "id"},     {"RECEIVED", "received_at"}, {"STATUS", "send_status"},
        {"FROM", "from_addr"}, {"TO", "to_addr"},           {"SUBJECT", "subject"},
    };
    ctl_print_one(ctl, whole, facts, ARRAY_LEN(facts));
    printf("\n");
    ctl_print_list(ctl, json_object_get(whole, "users"), users, ARRAY_LEN(users));
    printf("\n");
    ctl_print_list(ctl, json_object_get(whole, "usage"), usage, ARRAY_LEN(usage));
    printf("\n");
    ctl_print_list(ctl, json_object_get(whole, "lastMessages"), mails, ARRAY_LEN(mails));
}

int run_account(struct ctl *ctl)
{
    struct look look = {.ctl = ctl};
    struct account_id account;
    const char *text = ctl->words[0];
    json_t *whole = NULL;
    if (account_parse(slice_str(text), &account) != ERR_OK) {
        return ctl_usage(ctl, "\"%s\" is no id of an account (acc_...)", text);
    }
    int status = get(ctl, ctl_path(ctl, "/api/admin/accounts/", text, ""), NULL, &whole);
    if (status == EXIT_GOOD) {
        status = add_place(ctl, account, whole);
    }
    if (status == EXIT_GOOD) {
        status = add_queue(ctl, account, whole);
    }
    if (status == EXIT_GOOD) {
        status = add_usage(ctl, &look, text, whole);
    }
    if (status == EXIT_GOOD) {
        status = add_mails(ctl, text, whole);
    }
    if (status == EXIT_GOOD && ctl->is_json) {
        ctl_print_json(whole, false);
    } else if (status == EXIT_GOOD) {
        print_account(ctl, whole);
    }
    json_decref(whole);
    return status;
}
