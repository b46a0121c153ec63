/* api_queue_ages.c - how long what is queued has waited, and how long it will.
 *
 *     DELIVER_QUEUE (what is in memory) --> SHARD_ADMIN, shard by shard (rows on disk) --> 200
 *
 * The schedule in memory is counted entry by entry, in slices. What is beyond it is the difference
 * to the outbox rows on disk, which each shard counts, or estimates when there are many. Of one
 * site or account nobody knows that without reading all of them, so there it is left out.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "edge/admin.h"

/* In request->keep while one actor after the other is asked. */
struct census {
    struct queue_ages ages;
    uint32_t entries;
    uint32_t next_shard;
    uint64_t on_disk;
    bool is_estimate;
    bool has_disk;
};

static void write_steps(struct json_writer *w, const char *name, const uint32_t counts[QUEUE_STEPS])
{
    json_key(w, name);
    json_open_array(w);
    for (uint32_t i = 0; i < QUEUE_STEPS; i++) {
        json_open_object(w);
        api_u64_or_null(w, "upToSeconds", queue_step_s(i));
        api_u64(w, "count", counts[i]);
        json_close_object(w);
    }
    json_close_array(w);
}

static void number_or_null(struct json_writer *w, const char *name, bool is_known, uint64_t number)
{
    json_key(w, name);
    if (is_known) {
        json_u64(w, number);
    } else {
        json_nil(w);
    }
}

static void answer(struct request *request, const struct census *census)
{
    const struct queue_ages *ages = &census->ages;
    struct api_body body;
    char text[CLOCK_TEXT_MAX];
    size_t len = ages->oldest_unix_ms == 0 ? 0 : clock_rfc3339(ages->oldest_unix_ms, text);
    uint64_t beyond = census->on_disk > census->entries ? census->on_disk - census->entries : 0;
    api_json_start(&body);
    json_open_object(&body.w);
    api_u64(&body.w, "entries", census->entries);
    api_u64(&body.w, "due", ages->due);
    api_u64(&body.w, "waiting", ages->waiting);
    api_u64(&body.w, "open", ages->open);
    api_text_or_null(&body.w, "oldestAcceptedAt", slice_of(text, len));
    number_or_null(&body.w, "onDisk", census->has_disk, census->on_disk);
    api_bool(&body.w, "isEstimate", census->is_estimate);
    number_or_null(&body.w, "beyond", census->has_disk, beyond);
    write_steps(&body.w, "byAge", ages->by_age);
    write_steps(&body.w, "byDue", ages->by_due);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void count_next(struct request *request);

static void on_counted(struct request *request, struct msg *msg)
{
    struct census *census = request->chain;
    census->on_disk += msg->body.admin.outbox_rows;
    census->is_estimate |= msg->body.admin.is_estimate;
    census->next_shard += 1;
    count_next(request);
}

static void count_next(struct request *request)
{
    struct census *census = request->chain;
    if (!census->has_disk || census->next_shard == request->edge->place->shard_count) {
        answer(request, census);
        return;
    }
    struct msg *msg = admin_take(request, ADMIN_OUTBOX);
    if (msg != NULL) {
        api_post(request, request->edge->place->shards[census->next_shard], msg, on_counted);
    }
}

static void on_ages(struct request *request, struct msg *msg)
{
    struct census *census = request->chain;
    CHECK(msg->body.queue.ages != NULL);
    census->ages = *msg->body.queue.ages;
    census->entries = msg->body.queue.entries;
    count_next(request);
}

void api_queue_ages(struct request *request)
{
    struct deliver_queue wanted = {.op = QUEUE_AGES};
    struct slice text;
    struct census *census = arena_alloc(&request->keep, sizeof *census);
    if (http_query_get(&request->http, SLICE("account"), &request->arena, &text) && text.len > 0 &&
        account_parse(text, &wanted.account) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("account"),
                       SLICE("account is the id of an account"));
        return;
    }
    if (http_query_get(&request->http, SLICE("site"), &request->arena, &text)) {
        wanted.site = text;
    }
    *census = (struct census){.has_disk = wanted.account.value == 0 && wanted.site.len == 0};
    request->chain = census;
    struct msg *msg = api_take(request, MSG_DELIVER_QUEUE);
    if (msg != NULL) {
        msg->body.queue = wanted;
        api_post(request, request->edge->place->deliver, msg, on_ages);
    }
}
