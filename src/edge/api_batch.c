/* api_batch.c - POST /v1/send/batch: many messages in one request, each with an answer of its own.
 *
 *   body -> items -> each read -> SHARD_CHECK (rate, key of the whole) -> sent, a few at a time
 *        -> answers, in order
 *
 * An item is a request of its own within the one that came: it is read, refused and answered by the
 * same code as POST /v1/send, only that its answer goes into the list. So partial success needs no
 * words of its own. What is wrong with the list as a whole, or with who sends it, is answered as
 * everywhere, and nothing is sent then.
 *
 * With an Idempotency-Key the batch is noted under it with the hash of the whole body, and item i
 * under a key made from it and i. A repetition finds what was done, does what was not, and answers
 * as the first time would have; another body under the key is refused before any item is looked at.
 */
#include "base/check.h"
#include "base/json_list.h"
#include "base/limits.h"
#include "edge/api_int.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_ARENA_MAX (2 * MIB) /* answers: a param and a sentence each, at most */

struct batch {
    struct request *request;               /* the one that came */
    struct request *items[BATCH_MESSAGES]; /* NULL once answered */
    struct slice answers[BATCH_MESSAGES];  /* JSON objects, in arena */
    uint32_t count;
    uint32_t next; /* to be sent */
    uint32_t open; /* under way */
    uint32_t done;
    bool is_pumping;
    struct arena arena;
    struct api_idempotency idempotency; /* of the whole; the key in arena */
};

struct batch_body {
    struct json_items messages;
};

/* For readers of /openapi.json; the list is taken apart here, so that one item's mistake is not
 * everybody's. */
static const struct json_field batch_fields[] = {
    {.name = "messages",
     .type = JSON_LIST,
     .is_required = true,
     .offset = offsetof(struct batch_body, messages),
     .max = BATCH_MESSAGES,
     .sub = &api_send_shape},
};
const struct json_shape api_batch_shape = {batch_fields, ARRAY_LEN(batch_fields),
                                           sizeof(struct batch_body)};

static bool read_list(struct request *request, struct slice items[BATCH_MESSAGES], uint32_t *count);
static bool read_items(struct batch *batch, const struct slice *items);
static void on_checked(struct request *request, struct msg *msg);
static void pump(struct batch *batch);
static void send_item(struct batch *batch, uint32_t index);
static void finish(struct batch *batch);

void api_send_batch(struct request *request)
{
    struct slice items[BATCH_MESSAGES];
    struct api_idempotency idempotency;
    uint32_t count = 0;
    if (!api_read_idempotency(request, &idempotency) || !read_list(request, items, &count)) {
        return;
    }
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->request = request;
    batch->count = count;
    batch->idempotency = idempotency;
    arena_init(&batch->arena, 4 * KIB, BATCH_ARENA_MAX);
    batch->idempotency.key = arena_dup(&batch->arena, idempotency.key);
    /* A body may be a good one for both: what is noted for a single mail is not for the list. */
    uint8_t label[sizeof idempotency.body_hash + 1] = "b";
    memcpy(label + 1, &idempotency.body_hash, sizeof idempotency.body_hash);
    batch->idempotency.body_hash = crypto_sha256(slice_of(label, sizeof label));
    request->batch = batch;
    if (!read_items(batch, items)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_CHECK);
    if (msg == NULL) {
        return;
    }
    msg->body.check = (struct shard_check){
        .caller = request->caller,
        .idempotency_key = arena_dup(&msg->arena, batch->idempotency.key),
        .body_hash = batch->idempotency.body_hash,
    };
    api_post_apart(request, api_shard(request), msg, on_checked);
}

void api_batch_drop(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (batch->items[i] != NULL) {
            session_item_free(batch->items[i]);
        }
    }
    arena_fini(&batch->arena);
    free(batch);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool read_list(struct request *request, struct slice items[BATCH_MESSAGES], uint32_t *count)
{
    enum err err = json_list_read(request->http.body, "messages", items, BATCH_MESSAGES, count);
    if (err == ERR_OK && *count > 0) {
        return true;
    }
    if (err == ERR_NOT_JSON) {
        api_fail_field(request, err, SLICE(""),
                       SLICE("the body must be a list of messages, or an "
                             "object with it as messages"));
    } else {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("messages"),
                       SLICE("a batch is a list of 1 to 100 messages"));
    }
    return false;
}

/* All of them before any is sent: a body that is no JSON is refused as a whole. False after an
 * answer. */
static bool read_items(struct batch *batch, const struct slice *items)
{
    struct request *request = batch->request;
    batch->is_pumping = true;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct json_fault fault;
        struct request *item = session_item_new(request);
        item->item_of = batch;
        item->item_index = i;
        item->http.body = items[i];
        batch->items[i] = item;
        enum err err = api_send_read(item, &fault);
        if (err == ERR_NOT_JSON) {
            struct slice param = arena_format(&request->keep, "messages[%u]", (unsigned)i);
            struct slice sentence = arena_dup(&request->keep, fault.sentence);
            api_fail_field(request, err, param, sentence);
            return false;
        }
        if (err != ERR_OK) {
            batch->open++;
            api_fail_field(item, err, fault.param, fault.sentence);
        }
    }
    batch->is_pumping = false;
    return true;
}

/* ---- sending -------------------------------------------------------------------------------- */

static void on_checked(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    request->caller.is_charged = true; /* one request, however many mails */
    pump(request->batch);
}

/* Items answer while they are being started, too; only the outermost call goes on. */
static void pump(struct batch *batch)
{
    if (batch->is_pumping) {
        return;
    }
    batch->is_pumping = true;
    while (batch->next < batch->count && batch->open < BATCH_FAN_OUT) {
        uint32_t index = batch->next++;
        if (batch->items[index] != NULL) {
            send_item(batch, index);
        }
    }
    batch->is_pumping = false;
    if (batch->done == batch->count) {
        finish(batch);
    }
}

static void send_item(struct batch *batch, uint32_t index)
{
    struct request *item = batch->items[index];
    struct api_idempotency own = {.body_hash = batch->idempotency.body_hash};
    if (batch->idempotency.key.len > 0) {
        /* A tab stands in no key of a client's. */
        own.key = arena_format(&item->arena, "%.*s\t%u", SLICE_FMT(batch->idempotency.key),
                               (unsigned)index);
    }
    item->caller = batch->request->caller;
    batch->open++;
    api_send_message(item, &own);
}

void api_batch_answer(struct request *item, struct slice body)
{
    struct batch *batch = item->item_of;
    uint32_t index = item->item_index;
    CHECK(batch->items[index] == item);
    CHECK(batch->open > 0);
    batch->answers[index] = arena_dup(&batch->arena, body);
    batch->items[index] = NULL;
    batch->open--;
    batch->done++;
    if (item->rate.limit != 0) {
        batch->request->rate = item->rate;
    }
    session_item_free(item);
    pump(batch);
}

static void finish(struct batch *batch)
{
    struct request *request = batch->request;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "results");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < batch->count; i++) {
        json_raw(&body.w, batch->answers[i]);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body); /* the batch goes with its request */
}
