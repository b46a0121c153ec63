/* api_control.c - the operator's hand on the running server: the log's levels, a drain, the places
 * of shards.
 *
 * Routes of ROUTE_ADMIN. Each asks main, which does it and shows how things stand afterwards; what
 * takes its time is begun by a POST and looked at with GET.
 */
#include "base/check.h"
#include "base/limits.h"
#include "edge/admin.h"

#define SECOND_MS UINT64_C(1000)
#define FOR_MAX_S (OPERATE_FOR_MAX_MS / SECOND_MS)
#define PERCENT   100

struct log_body {
    struct slice level;
    struct slice event;
    uint64_t for_s;
};
#define AT(member) .offset = offsetof(struct log_body, member)
static const struct json_field log_fields[] = {
    {.name = "level", .type = JSON_TEXT, .is_required = true, AT(level), .max = 16},
    {.name = "event", .type = JSON_TEXT, AT(event), .max = LOG_PREFIX_MAX},
    {.name = "forSeconds", .type = JSON_U64, AT(for_s), .max = FOR_MAX_S},
};
#undef AT
const struct json_shape api_log_shape = {log_fields, ARRAY_LEN(log_fields),
                                         sizeof(struct log_body)};

struct drain_body {
    uint64_t for_s;
    bool is_stop;
};
#define AT(member) .offset = offsetof(struct drain_body, member)
static const struct json_field drain_fields[] = {
    {.name = "stop", .type = JSON_BOOL, AT(is_stop)},
    {.name = "forSeconds", .type = JSON_U64, AT(for_s), .max = FOR_MAX_S},
};
#undef AT
const struct json_shape api_drain_shape = {drain_fields, ARRAY_LEN(drain_fields),
                                           sizeof(struct drain_body)};

struct move_body {
    uint64_t shard;
    uint64_t loop;
};
#define AT(member) .offset = offsetof(struct move_body, member)
static const struct json_field move_fields[] = {
    {.name = "shard", .type = JSON_U64, .is_required = true, AT(shard), .max = SHARD_COUNT_MAX},
    {.name = "loop", .type = JSON_U64, .is_required = true, AT(loop), .max = LOOP_COUNT_MAX},
};
#undef AT
static const struct json_shape move_shape = {move_fields, ARRAY_LEN(move_fields),
                                             sizeof(struct move_body)};

struct rebalance_body {
    uint64_t window_s;
    struct json_items moves;
    bool is_dry;
    bool has_window;
};
#define AT(member) .offset = offsetof(struct rebalance_body, member)
static const struct json_field rebalance_fields[] = {
    {.name = "windowSeconds",
     .type = JSON_U64,
     AT(window_s),
     .has_offset = offsetof(struct rebalance_body, has_window),
     .max = REBALANCE_WINDOW_MAX / SECOND_MS},
    {.name = "moves", .type = JSON_LIST, AT(moves), .max = SHARD_COUNT_MAX, .sub = &move_shape},
    {.name = "dryRun", .type = JSON_BOOL, AT(is_dry)},
};
#undef AT
const struct json_shape api_rebalance_shape = {rebalance_fields, ARRAY_LEN(rebalance_fields),
                                               sizeof(struct rebalance_body)};

static struct msg *main_take(struct request *request, enum main_op op)
{
    struct msg *msg = api_take(request, MSG_MAIN_CONTROL);
    if (msg != NULL) {
        msg->body.operate = (struct main_control){.op = op};
    }
    return msg;
}

static void ask(struct request *request, struct msg *msg, request_msg_fn *on_return)
{
    if (msg != NULL) {
        api_post(request, request->edge->place->main, msg, on_return);
    }
}

/* ---- the log -------------------------------------------------------------------------------- */

static void on_log(struct request *request, struct msg *msg)
{
    const struct main_control *got = &msg->body.operate;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "data");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < got->log_count; i++) {
        const struct main_log *line = &got->log[i];
        bool goes_back = line->until_unix_ms != 0;
        struct slice then =
            line->is_gone_then ? SLICE("default") : slice_str(log_level_name(line->then_level));
        json_open_object(&body.w);
        api_text_or_null(&body.w, "event", line->event);
        api_text(&body.w, "level", slice_str(log_level_name(line->level)));
        api_u64_or_null(&body.w, "untilAt", line->until_unix_ms);
        api_text_or_null(&body.w, "then", goes_back ? then : SLICE(""));
        json_close_object(&body.w);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_log_show(struct request *request)
{
    ask(request, main_take(request, MAIN_LOG), on_log);
}

static bool is_event(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
        if (!is_good) {
            return false;
        }
    }
    return true;
}

void api_log_set(struct request *request)
{
    struct log_body body;
    enum log_level level = LOG_LEVEL_INFO;
    if (!api_read(request, &api_log_shape, &body)) {
        return;
    }
    bool is_default = slice_equal(body.level, SLICE("default"));
    if (!is_default && !log_level_parse(body.level, &level)) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("level"),
                       SLICE("level is debug, info, warn, error or default"));
        return;
    }
    if (!is_event(body.event)) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("event"),
                       SLICE("event is how events begin: deliver. or smtp.turned_away"));
        return;
    }
    if (is_default && body.for_s != 0) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("forSeconds"),
                       SLICE("what is as configured needs no end"));
        return;
    }
    struct msg *msg = main_take(request, MAIN_LOG_SET);
    if (msg == NULL) {
        return;
    }
    msg->body.operate.level = level;
    msg->body.operate.is_default = is_default;
    msg->body.operate.event = body.event;
    msg->body.operate.for_ms = body.for_s * SECOND_MS;
    ask(request, msg, on_log);
}

/* ---- drain ---------------------------------------------------------------------------------- */

static void on_drain(struct request *request, struct msg *msg)
{
    static const char *const states[] = {
        [DRAIN_NONE] = "running", [DRAIN_NOTICE] = "notice", [DRAIN_CLOSED] = "draining"};
    const struct main_drain *drain = &msg->body.operate.drain;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "state", slice_str(states[drain->phase]));
    api_bool(&body.w, "stop", drain->is_stop);
    api_u64_or_null(&body.w, "sinceAt", drain->since_unix_ms);
    api_u64_or_null(&body.w, "untilAt", drain->until_unix_ms);
    json_key(&body.w, "left");
    json_open_object(&body.w);
    api_u64(&body.w, "entries", drain->entries);
    api_u64(&body.w, "webhooks", drain->hooks);
    api_u64(&body.w, "due", drain->due);
    api_u64(&body.w, "attempts", drain->attempts);
    api_u64(&body.w, "connections", drain->connections);
    api_u64(&body.w, "sessions", drain->sessions);
    json_close_object(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_drain_show(struct request *request)
{
    ask(request, main_take(request, MAIN_DRAIN), on_drain);
}

void api_drain_start(struct request *request)
{
    struct drain_body body;
    if (!api_read(request, &api_drain_shape, &body)) {
        return;
    }
    if (body.for_s != 0 && !body.is_stop) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("forSeconds"),
                       SLICE("only a drain that stops the server has an end"));
        return;
    }
    struct msg *msg = main_take(request, MAIN_DRAIN_START);
    if (msg == NULL) {
        return;
    }
    msg->body.operate.is_stop = body.is_stop;
    msg->body.operate.for_ms = body.for_s * SECOND_MS;
    ask(request, msg, on_drain);
}

void api_drain_cancel(struct request *request)
{
    ask(request, main_take(request, MAIN_DRAIN_CANCEL), on_drain);
}

/* ---- places --------------------------------------------------------------------------------- */

static uint64_t part_of(const struct main_places *places, uint64_t us)
{
    return places->window_us == 0 ? 0 : us * PERCENT / places->window_us;
}

/* What the fullest loop has to do, in percent of what all have on average. */
static uint64_t balance_of(const uint64_t *loop_us, uint32_t count)
{
    uint64_t sum = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += loop_us[i];
        most = max_u64(most, loop_us[i]);
    }
    return sum == 0 ? PERCENT : most * PERCENT * count / sum;
}

static void write_loops(struct json_writer *w, const struct main_places *places)
{
    json_key(w, "loops");
    json_open_array(w);
    for (uint32_t i = 0; i < places->loop_count; i++) {
        uint32_t shards = 0;
        for (uint32_t n = 0; n < places->shard_count; n++) {
            shards += places->loops[n] == i;
        }
        json_open_object(w);
        api_u64(w, "loop", i);
        api_u64(w, "shards", shards);
        api_u64(w, "busyPercent", part_of(places, places->loop_us[i]));
        api_u64(w, "plannedPercent", part_of(places, places->planned_us[i]));
        json_close_object(w);
    }
    json_close_array(w);
}

static void write_moves(struct json_writer *w, const struct main_places *places)
{
    static const char *const states[] = {[MOVE_PLANNED] = "planned",
                                         [MOVE_RUNNING] = "moving",
                                         [MOVE_DONE] = "moved",
                                         [MOVE_TAKEN_BACK] = "taken_back"};
    json_key(w, "moves");
    json_open_array(w);
    for (uint32_t i = 0; i < places->move_count; i++) {
        const struct shard_move *move = &places->moves[i];
        json_open_object(w);
        api_u64(w, "shard", move->shard);
        api_u64(w, "from", move->from);
        api_u64(w, "to", move->to);
        api_text(w, "state", slice_str(states[move->state]));
        json_close_object(w);
    }
    json_close_array(w);
}

static void on_places(struct request *request, struct msg *msg)
{
    static const char *const states[] = {[REBALANCE_IDLE] = "idle",
                                         [REBALANCE_MEASURING] = "measuring",
                                         [REBALANCE_MOVING] = "moving"};
    const struct main_places *places = msg->body.operate.places;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "state", slice_str(states[places->phase]));
    api_bool(&body.w, "dryRun", places->is_dry);
    api_u64(&body.w, "windowMs", places->window_us / 1000);
    api_u64(&body.w, "balanceBefore", balance_of(places->loop_us, places->loop_count));
    api_u64(&body.w, "balanceAfter", balance_of(places->planned_us, places->loop_count));
    write_loops(&body.w, places);
    json_key(&body.w, "shards");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < places->shard_count; i++) {
        json_open_object(&body.w);
        api_u64(&body.w, "shard", i);
        api_u64(&body.w, "loop", places->loops[i]);
        api_u64(&body.w, "busyUs", places->shard_us[i]);
        json_close_object(&body.w);
    }
    json_close_array(&body.w);
    write_moves(&body.w, places);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_places_show(struct request *request)
{
    ask(request, main_take(request, MAIN_PLACES), on_places);
}

void api_rebalance(struct request *request)
{
    struct rebalance_body body;
    if (!api_read(request, &api_rebalance_shape, &body)) {
        return;
    }
    struct msg *msg = main_take(request, MAIN_REBALANCE);
    if (msg == NULL) {
        return;
    }
    struct main_control *wish = &msg->body.operate;
    const struct move_body *moves = body.moves.items;
    wish->is_dry = body.is_dry;
    wish->window_ms = (uint32_t)(body.has_window ? body.window_s * SECOND_MS : REBALANCE_WINDOW_MS);
    wish->wanted_count = body.moves.count;
    if (wish->wanted_count > 0) {
        wish->wanted = arena_array(&request->arena, wish->wanted_count, sizeof(*wish->wanted));
    }
    for (uint32_t i = 0; i < wish->wanted_count; i++) {
        wish->wanted[i] = (struct shard_place){.shard = (uint32_t)moves[i].shard,
                                               .loop = (uint32_t)moves[i].loop};
    }
    ask(request, msg, on_places);
}
