/* ledger.c - see ledger.h. */
#include "support/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define READ_CONNS 8
#define READ_MS    60000

void ledger_init(struct ledger *ledger, struct world *world)
{
    *ledger = (struct ledger){.world = world, .status = "send_status"};
    ledger->fates = mem_zalloc(LEDGER_MAX * sizeof *ledger->fates);
    ledger->pending = mem_zalloc(LEDGER_MAX * sizeof *ledger->pending);
}

void ledger_fini(struct ledger *ledger)
{
    free(ledger->fates);
    free(ledger->pending);
}

void ledger_add(struct ledger *ledger, const struct mailing *mailing)
{
    for (uint64_t i = 0; i < mailing->accepted; i++) {
        const struct mailing_entry *entry = mailing_at(mailing, i);
        CHECK(entry->number < LEDGER_MAX);
        struct fate *fate = &ledger->fates[entry->number];
        if (fate->entry != NULL) {
            world_fail(ledger->world, "two answers to request %" PRIu64, entry->number);
        }
        fate->entry = entry;
        fate->key = mailing->key;
        ledger->pending[ledger->pending_count++] = entry->number;
    }
}

/* ---- reading messages ------------------------------------------------------------------------ */

static bool ask_message(void *context, uint64_t number, struct buf *out)
{
    const struct ledger *ledger = context;
    if (number >= ledger->pending_count) {
        return false;
    }
    const struct fate *fate = &ledger->fates[ledger->pending[number]];
    buf_add_format(out,
                   "GET /api/messages/%s HTTP/1.1\r\nhost: localhost\r\n"
                   "authorization: Bearer %s\r\n\r\n",
                   fate->entry->id, fate->key);
    return true;
}

/* A try whose end is not known, or that says of itself that the mail may have arrived. A sink
 * counts a webhook that it refused as well. */
static bool is_excuse(const json_t *attempt)
{
    const char *outcome = json_string_value(json_object_get(attempt, "outcome"));
    const char *response = json_string_value(json_object_get(attempt, "response"));
    CHECK(outcome != NULL);
    return strcmp(outcome, "uncertain") == 0 ||
           (strcmp(outcome, "deferred") == 0 && response != NULL &&
            (strstr(response, "may have been delivered") != NULL ||
             strncmp(response, "HTTP ", 5) == 0));
}

static void take_message(void *context, const struct load_answer *answer)
{
    struct ledger *ledger = context;
    struct fate *fate = &ledger->fates[ledger->pending[answer->number]];
    if (answer->status == 503) {
        return; /* the next pass asks again */
    }
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    const json_t *message = json_object_get(json, "message");
    const json_t *delivery = json_array_get(json_object_get(json, "deliveries"), 0);
    const char *status = json_string_value(json_object_get(message, ledger->status));
    if (answer->status != 200 || status == NULL || delivery == NULL) {
        world_fail(ledger->world, "%s was acknowledged and cannot be read: %u %.*s",
                   fate->entry->id, (unsigned)answer->status, SLICE_FMT(answer->body));
    }
    fate->is_delivered = strcmp(status, "delivered") == 0;
    fate->excuses = 0;
    size_t index;
    json_t *attempt;
    json_array_foreach(json_object_get(delivery, "log"), index, attempt)
    {
        fate->excuses += is_excuse(attempt);
    }
    json_decref(json);
}

void ledger_read(struct ledger *ledger)
{
    struct load *load = load_new(&(struct load_options){.conn_count = READ_CONNS,
                                                        .rest_ms = 20,
                                                        .ask = ask_message,
                                                        .answer = take_message,
                                                        .context = ledger});
    load_connect(load, ledger->world->http_port);
    load_run(load, READ_MS, 0);
    uint64_t answered = load_counts(load)->answered;
    load_free(load);
    if (answered != ledger->pending_count) {
        world_fail(ledger->world, "%" PRIu64 " of %" PRIu64 " reads were answered", answered,
                   ledger->pending_count);
    }
    uint64_t kept = 0;
    for (uint64_t i = 0; i < ledger->pending_count; i++) {
        if (!ledger->fates[ledger->pending[i]].is_delivered) {
            ledger->pending[kept++] = ledger->pending[i];
        }
    }
    ledger->pending_count = kept;
}

long long metric_of(struct world *world, const char *name)
{
    const struct reply *reply = world_get(world, "/metrics");
    const char *line = world_text(world, "\n%s ", name);
    size_t at = slice_find(reply->body, slice_str(line));
    if (at == SIZE_MAX) {
        world_fail(world, "there is no metric %s", name);
    }
    struct slice rest = slice_from(reply->body, at + strlen(line));
    struct slice digits = slice_cut(&rest, '\n');
    const char *value = world_text(world, "%.*s", SLICE_FMT(digits));
    return strtoll(value, NULL, 10);
}

static void fail_undelivered(struct ledger *ledger)
{
    struct world *world = ledger->world;
    const struct fate *fate = &ledger->fates[ledger->pending[0]];
    struct world_call call = {.method = "GET",
                              .path = world_text(world, "/api/messages/%s", fate->entry->id),
                              .bearer = fate->key};
    const struct reply *reply = world_call(world, &call);
    world_fail(world, "%" PRIu64 " acknowledged mails are not delivered; the first: %.*s",
               ledger->pending_count, SLICE_FMT(reply->body));
}

/* The schedule is watched first, because reading all pending mails again and again costs more than
 * delivering them. */
void ledger_await(struct ledger *ledger, uint64_t ms)
{
    struct wait wait = wait_start(ms);
    do {
        while (metric_of(ledger->world, "meerkat_schedule_entries") > 0 && wait_more(&wait)) {
        }
        ledger_read(ledger);
    } while (ledger->pending_count > 0 && wait_more(&wait));
    if (ledger->pending_count > 0) {
        fail_undelivered(ledger);
    }
}

/* ---- the sink -------------------------------------------------------------------------------- */

/* local: the recipient's name, n<number>. */
static void add_arrival(struct ledger *ledger, struct slice local, struct slice message_id)
{
    uint64_t number = 0;
    if (slice_uint(slice_from(local, 1), LEDGER_MAX - 1, &number) != ERR_OK) {
        world_fail(ledger->world, "a mail to %.*s arrived", SLICE_FMT(local));
    }
    struct fate *fate = &ledger->fates[number];
    if (fate->arrivals == 0) {
        (void)snprintf(fate->message_id, sizeof fate->message_id, "%.*s",
                       SLICE_FMT(message_id)); /* the sink's own are shorter */
    }
    if (!slice_equal(message_id, slice_str(fate->message_id))) {
        world_fail(ledger->world, "n%" PRIu64 " came under two ids: %s and %.*s", number,
                   fate->message_id, SLICE_FMT(message_id));
    }
    fate->arrivals += 1;
}

/* One line a mail: milliseconds, Message-ID, sender, recipient, bytes; tabs between. */
void ledger_read_sink(struct ledger *ledger, const char *path)
{
    struct slice rest = world_read_file(ledger->world, path);
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        (void)slice_cut(&line, '\t'); /* the time, and below the sender */
        struct slice message_id = slice_cut(&line, '\t');
        (void)slice_cut(&line, '\t');
        add_arrival(ledger, slice_cut(&line, '@'), message_id);
    }
}

/* Of an inbound webhook, as the sink writes them. */
static void read_hook(struct ledger *ledger, struct slice request)
{
    size_t end = slice_find(request, SLICE("\r\n\r\n"));
    struct slice body = slice_from(request, end == SIZE_MAX ? end : end + 4);
    json_t *json = json_loadb(body.data, body.len, 0, NULL);
    const json_t *to = json_array_get(json_object_get(json, "to"), 0);
    const char *address = json_string_value(json_object_get(to, "address"));
    const char *id = json_string_value(json_object_get(json, "id"));
    struct slice header = load_header(slice_head(request, end), SLICE("webhook-id"));
    if (address == NULL || id == NULL || !slice_equal(header, slice_str(id))) {
        world_fail(ledger->world, "this is no webhook of a received mail: %.*s",
                   SLICE_FMT(request));
    }
    struct slice rest = slice_str(address);
    add_arrival(ledger, slice_cut(&rest, '@'), header);
    json_decref(json);
}

void ledger_read_hooks(struct ledger *ledger, const struct peer *sink)
{
    struct world *world = ledger->world;
    long long count = world_sink_count(world, sink, "hooks");
    for (long long i = 1; i <= count; i++) {
        read_hook(ledger,
                  world_read_file(world, world_text(world, "%s/%06lld-hook.http", sink->store, i)));
    }
}

void ledger_judge(struct ledger *ledger)
{
    for (uint64_t i = 0; i < LEDGER_MAX; i++) {
        const struct fate *fate = &ledger->fates[i];
        if (fate->entry == NULL) {
            ledger->unasked += fate->arrivals; /* stored; the answer was cut off */
            continue;
        }
        if (fate->arrivals == 0 && fate->is_delivered) {
            world_fail(ledger->world, "%s is said to be delivered; it never arrived",
                       fate->entry->id);
        }
        if (fate->arrivals == 0 || fate->arrivals > 1 + fate->excuses) {
            world_fail(ledger->world,
                       "%s arrived %u times with %u attempts of unknown outcome in its log",
                       fate->entry->id, (unsigned)fate->arrivals, (unsigned)fate->excuses);
        }
        ledger->twice += fate->arrivals > 1;
        ledger->excuses += fate->excuses;
    }
}
