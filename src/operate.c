/* operate.c - levels, drain, rebalance.
 *
 *   drain:      NONE --start--> NOTICE --drain_notice_ms--> CLOSED --empty, or time is up--> stop
 *                 ^                |                           |
 *                 +-----cancel-----+---------------------------+
 *
 *   rebalance:  IDLE --> MEASURING --window--> MOVING: for each shard of the plan --> IDLE
 *                                                 CONTROL_MOVE to the shard: it lets go
 *                                                 CONTROL_ADOPT to the edge of the new loop
 *
 * One shard moves at a time, so that the server always has all others.
 */
#include "operate.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/metric.h"

#define TOKEN           UINT64_C(0x6f706572) /* of all its messages */
#define DRAIN_TICK_MS   200
#define DRAIN_EMPTY_MIN 5 /* ticks in a row: what was just accepted has reached the schedule */
#define OUT_MAX         (2 * ACTOR_COUNT_MAX) /* of CONTROL_MSGS */
_Static_assert(OUT_MAX + 4 * ACTOR_COUNT_MAX <= CONTROL_MSGS, "main's own always find a message");

static void on_level_due(struct timer *timer);
static void on_drain_tick(struct timer *timer);
static void on_window_over(struct timer *timer);
static void next_move(struct operate *operate);

void operate_init(struct operate *operate, struct actor *actor, const struct place *place,
                  enum log_level level)
{
    struct loop *loop = actor->loop;
    operate->actor = actor;
    operate->place = place;
    operate->level = level;
    operate->places.loop_count = place->loop_count;
    operate->places.shard_count = place->shard_count;
    timer_init(&operate->level_timer, loop, on_level_due);
    timer_init(&operate->drain_timer, loop, on_drain_tick);
    timer_init(&operate->window, loop, on_window_over);
}

void operate_begin(struct operate *operate)
{
    operate->is_open = true;
}

void operate_end(struct operate *operate)
{
    operate->is_open = false;
    timer_stop(&operate->level_timer);
    timer_stop(&operate->drain_timer);
    timer_stop(&operate->window);
}

bool operate_is_quiet(const struct operate *operate)
{
    return operate->out == 0;
}

static bool has_room(const struct operate *operate, uint32_t count)
{
    return operate->out + count <= OUT_MAX;
}

/* Whoever calls has seen that there is room. */
static struct msg *take(struct operate *operate, enum msg_kind kind)
{
    struct msg *msg = msg_take(operate->actor, kind);
    CHECK(msg != NULL);
    msg->token = TOKEN;
    operate->out += 1;
    return msg;
}

static void control(struct operate *operate, struct actor *to, enum msg_kind kind,
                    const struct control *body)
{
    struct msg *msg = take(operate, kind);
    msg->body.control = *body;
    actor_post(to, msg);
}

static void tell_edges(struct operate *operate, enum control_op op)
{
    for (uint32_t i = 0; i < operate->place->loop_count; i++) {
        control(operate, operate->place->edges[i], MSG_EDGE_CONTROL,
                &(struct control){.op = op, .shard = i});
    }
}

static void refuse(struct msg *msg, enum err err, const char *param, const char *sentence)
{
    msg->param = slice_str(param);
    msg->sentence = slice_str(sentence);
    msg_return(msg, err);
}

/* ---- the log -------------------------------------------------------------------------------- */

/* Index among operate->levels: 0 for all events, 1 + i for a rule; UINT32_MAX: there is none. */
static uint32_t find_level(const struct log_levels *levels, struct slice event)
{
    if (event.len == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < levels->rule_count; i++) {
        if (slice_equal(event, slice_str(levels->rules[i].prefix))) {
            return 1 + i;
        }
    }
    return UINT32_MAX;
}

static enum log_level *level_at(struct log_levels *levels, uint32_t index)
{
    return index == 0 ? &levels->level : &levels->rules[index - 1].level;
}

static void drop_rule(struct operate *operate, struct log_levels *levels, uint32_t index)
{
    uint32_t behind = levels->rule_count - index;
    CHECK(index > 0);
    memmove(&levels->rules[index - 1], &levels->rules[index], behind * sizeof(levels->rules[0]));
    memmove(&operate->levels[index], &operate->levels[index + 1],
            behind * sizeof(operate->levels[0]));
    levels->rule_count -= 1;
    operate->levels[levels->rule_count + 1] = (struct operate_level){.until_ms = 0};
}

static void arm_levels(struct operate *operate)
{
    uint64_t first_ms = UINT64_MAX;
    uint64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < ARRAY_LEN(operate->levels); i++) {
        uint64_t until_ms = operate->levels[i].until_ms;
        first_ms = until_ms != 0 ? min_u64(first_ms, until_ms) : first_ms;
    }
    timer_stop(&operate->level_timer);
    if (first_ms != UINT64_MAX) {
        timer_start(&operate->level_timer, first_ms > now_ms ? first_ms - now_ms : 0);
    }
}

static void on_level_due(struct timer *timer)
{
    struct operate *operate = CONTAINER_OF(timer, struct operate, level_timer);
    struct log_levels levels;
    uint64_t now_ms = clock_mono_ms();
    log_levels_get(&levels);
    for (uint32_t i = levels.rule_count + 1; i-- > 0;) {
        struct operate_level *entry = &operate->levels[i];
        if (entry->until_ms == 0 || entry->until_ms > now_ms) {
            continue;
        }
        if (entry->is_gone_then) {
            drop_rule(operate, &levels, i);
        } else {
            *level_at(&levels, i) = entry->then;
            *entry = (struct operate_level){.until_ms = 0};
        }
    }
    log_levels_set(&levels);
    LOG_INFO("main.log_level", LOG_STR("level", log_level_name(levels.level)),
             LOG_U64("rules", levels.rule_count), LOG_BOOL("by_itself", true));
    arm_levels(operate);
}

static void show_log(struct msg *msg, const struct operate *operate)
{
    struct main_control *body = &msg->body.operate;
    struct log_levels levels;
    log_levels_get(&levels);
    body->log_count = 1 + levels.rule_count;
    body->log = arena_array(&msg->arena, body->log_count, sizeof(*body->log));
    for (uint32_t i = 0; i < body->log_count; i++) {
        const struct operate_level *entry = &operate->levels[i];
        struct slice event = i == 0 ? SLICE("") : slice_str(levels.rules[i - 1].prefix);
        body->log[i] = (struct main_log){
            .event = arena_dup(&msg->arena, event),
            .level = *level_at(&levels, i),
            .until_unix_ms = entry->until_unix_ms,
            .then_level = entry->then,
            .is_gone_then = entry->is_gone_then,
        };
    }
    msg_return(msg, ERR_OK);
}

static enum err default_level(struct operate *operate, struct log_levels *levels,
                              const struct main_control *wish)
{
    uint32_t index = find_level(levels, wish->event);
    if (index == UINT32_MAX) {
        return ERR_NOT_FOUND;
    }
    if (index > 0) {
        drop_rule(operate, levels, index);
        return ERR_OK;
    }
    *levels = (struct log_levels){.level = operate->level};
    memset(operate->levels, 0, sizeof(operate->levels));
    return ERR_OK;
}

static enum err set_level(struct operate *operate, struct log_levels *levels,
                          const struct main_control *wish)
{
    uint32_t index = find_level(levels, wish->event);
    bool is_new = index == UINT32_MAX;
    if (is_new && levels->rule_count == LOG_RULES_MAX) {
        return ERR_CONFLICT;
    }
    if (is_new) {
        struct log_rule *rule = &levels->rules[levels->rule_count++];
        *rule = (struct log_rule){.level = wish->level};
        memcpy(rule->prefix, wish->event.data, wish->event.len);
        index = levels->rule_count;
    }
    struct operate_level *entry = &operate->levels[index];
    bool was_for_a_while = entry->until_ms != 0;
    if (wish->for_ms == 0) {
        *entry = (struct operate_level){.until_ms = 0};
    } else {
        entry->then = was_for_a_while ? entry->then : *level_at(levels, index);
        entry->is_gone_then = was_for_a_while ? entry->is_gone_then : is_new;
        entry->until_ms = clock_mono_ms() + wish->for_ms;
        entry->until_unix_ms = clock_unix_ms() + wish->for_ms;
    }
    *level_at(levels, index) = wish->level;
    return ERR_OK;
}

static void change_log(struct operate *operate, struct msg *msg)
{
    const struct main_control *wish = &msg->body.operate;
    struct log_levels levels;
    log_levels_get(&levels);
    if (wish->event.len > LOG_PREFIX_MAX || wish->for_ms > OPERATE_FOR_MAX_MS) {
        msg_return(msg, ERR_INVALID);
        return;
    }
    enum err err = wish->is_default ? default_level(operate, &levels, wish)
                                    : set_level(operate, &levels, wish);
    if (err != ERR_OK) {
        refuse(msg, err, "event",
               err == ERR_NOT_FOUND ? "no level was set for this event"
                                    : "there are too many of them; take one back first");
        return;
    }
    log_levels_set(&levels);
    arm_levels(operate);
    LOG_INFO("main.log_level", LOG_STR("level", log_level_name(levels.level)),
             LOG_TEXT("event_prefix", wish->event), LOG_U64("rules", levels.rule_count),
             LOG_U64("for_ms", wish->for_ms));
    show_log(msg, operate);
}

/* ---- drain ---------------------------------------------------------------------------------- */

static uint64_t left_of(enum metric metric)
{
    int64_t value = (int64_t)metric_read(metric); /* cells may disagree for a moment */
    return value > 0 ? (uint64_t)value : 0;
}

static void count_left(struct main_drain *drain)
{
    drain->entries = left_of(METRIC_SCHED_ENTRIES);
    drain->hooks = left_of(METRIC_SCHED_HOOKS);
    drain->due = left_of(METRIC_SCHED_TRANSACTIONAL) + left_of(METRIC_SCHED_BULK);
    drain->attempts = left_of(METRIC_ATTEMPTS_OPEN);
    drain->connections = left_of(METRIC_HTTP_CONNS);
    drain->sessions = left_of(METRIC_SMTP_SESSIONS) + left_of(METRIC_SUBMIT_SESSIONS);
}

static void set_phase(struct operate *operate, enum drain_phase phase)
{
    static const enum control_op ops[] = {
        [DRAIN_NONE] = CONTROL_WELCOME,
        [DRAIN_NOTICE] = CONTROL_NOTICE,
        [DRAIN_CLOSED] = CONTROL_TURN_AWAY,
    };
    operate->drain.phase = phase;
    metric_set(METRIC_DRAINING, phase);
    tell_edges(operate, ops[phase]);
}

static void on_drain_tick(struct timer *timer)
{
    struct operate *operate = CONTAINER_OF(timer, struct operate, drain_timer);
    struct main_drain *drain = &operate->drain;
    uint64_t now_ms = clock_mono_ms();
    timer_start(timer, DRAIN_TICK_MS);
    if (drain->phase == DRAIN_NOTICE && now_ms >= operate->notice_until_ms &&
        has_room(operate, LOOP_COUNT_MAX)) {
        set_phase(operate, DRAIN_CLOSED);
    }
    count_left(drain);
    bool is_empty = drain->entries == 0 && drain->attempts == 0 && drain->sessions == 0;
    bool is_over = operate->drain_until_ms != 0 && now_ms >= operate->drain_until_ms;
    operate->empty_ticks = is_empty && drain->phase == DRAIN_CLOSED ? operate->empty_ticks + 1 : 0;
    if (drain->is_stop && (is_over || operate->empty_ticks >= DRAIN_EMPTY_MIN)) {
        LOG_INFO("main.drained", LOG_U64("entries", drain->entries),
                 LOG_BOOL("time_is_up", is_over));
        operate->on_stop(operate); /* which ends operate */
    }
}

static void show_drain(struct msg *msg, struct operate *operate)
{
    count_left(&operate->drain);
    msg->body.operate.drain = operate->drain;
    msg_return(msg, ERR_OK);
}

static void start_drain(struct operate *operate, struct msg *msg)
{
    const struct main_control *wish = &msg->body.operate;
    struct main_drain *drain = &operate->drain;
    uint64_t notice_ms = operate->place->conf->drain_notice_ms;
    if (wish->for_ms > OPERATE_FOR_MAX_MS) {
        msg_return(msg, ERR_INVALID);
        return;
    }
    if (!has_room(operate, LOOP_COUNT_MAX)) {
        msg_return(msg, ERR_BUSY);
        return;
    }
    drain->is_stop = wish->is_stop;
    operate->drain_until_ms = wish->for_ms != 0 ? clock_mono_ms() + wish->for_ms : 0;
    drain->until_unix_ms = wish->for_ms != 0 ? clock_unix_ms() + wish->for_ms : 0;
    if (drain->phase == DRAIN_NONE) {
        drain->since_unix_ms = clock_unix_ms();
        operate->notice_until_ms = clock_mono_ms() + notice_ms;
        operate->empty_ticks = 0;
        set_phase(operate, DRAIN_NOTICE);
        timer_start(&operate->drain_timer, notice_ms);
    }
    LOG_INFO("main.draining", LOG_BOOL("stop", wish->is_stop), LOG_U64("for_ms", wish->for_ms));
    show_drain(msg, operate);
}

static void cancel_drain(struct operate *operate, struct msg *msg)
{
    if (operate->drain.phase == DRAIN_NONE) {
        refuse(msg, ERR_NOT_FOUND, "", "the server is not being drained");
        return;
    }
    if (!has_room(operate, LOOP_COUNT_MAX)) {
        msg_return(msg, ERR_BUSY);
        return;
    }
    timer_stop(&operate->drain_timer);
    operate->drain = (struct main_drain){.phase = DRAIN_NONE};
    set_phase(operate, DRAIN_NONE);
    LOG_INFO("main.drain_cancelled", LOG_U64("loops", operate->place->loop_count));
    show_drain(msg, operate);
}

/* ---- rebalance ------------------------------------------------------------------------------ */

static void show_places(struct msg *msg, struct operate *operate)
{
    struct main_places *places = &operate->places;
    memcpy(places->loops, operate->placement.loops, sizeof(places->loops));
    msg->body.operate.places = arena_alloc(&msg->arena, sizeof(*places));
    *msg->body.operate.places = *places;
    msg_return(msg, ERR_OK);
}

static void take_sample(struct operate *operate, uint32_t sample)
{
    const struct place *place = operate->place;
    operate->sample = sample;
    operate->samples[sample].taken_us = clock_mono_us();
    operate->loads_out = place->shard_count + place->loop_count;
    for (uint32_t i = 0; i < place->shard_count; i++) {
        control(operate, place->shards[i], MSG_SHARD_CONTROL,
                &(struct control){.op = CONTROL_LOAD, .shard = i});
    }
    tell_edges(operate, CONTROL_LOAD);
}

/* Takes a plan that the operator has made; false when it names what there is not. */
static bool read_wanted(struct operate *operate, const struct main_control *wish)
{
    struct main_places *places = &operate->places;
    places->move_count = 0;
    for (uint32_t i = 0; i < wish->wanted_count; i++) {
        const struct shard_place *wanted = &wish->wanted[i];
        if (wanted->shard >= places->shard_count || wanted->loop >= places->loop_count) {
            return false;
        }
        for (uint32_t n = 0; n < i; n++) {
            if (wish->wanted[n].shard == wanted->shard) {
                return false;
            }
        }
        uint32_t from = operate->placement.loops[wanted->shard];
        if (from != wanted->loop) {
            places->moves[places->move_count++] =
                (struct shard_move){.shard = wanted->shard, .from = from, .to = wanted->loop};
        }
    }
    return true;
}

static void start_rebalance(struct operate *operate, struct msg *msg)
{
    const struct main_control *wish = &msg->body.operate;
    struct main_places *places = &operate->places;
    if (places->phase != REBALANCE_IDLE) {
        refuse(msg, ERR_CONFLICT, "", "a rebalance is under way");
        return;
    }
    if (!has_room(operate, SHARD_COUNT_MAX + LOOP_COUNT_MAX)) {
        msg_return(msg, ERR_BUSY);
        return;
    }
    if (wish->window_ms > REBALANCE_WINDOW_MAX || wish->wanted_count > SHARD_COUNT_MAX ||
        !read_wanted(operate, wish)) {
        refuse(msg, ERR_BAD_FIELD, "moves", "each names a shard of this server once, and a loop");
        return;
    }
    places->is_dry = wish->is_dry;
    if (wish->wanted_count == 0) {
        places->phase = REBALANCE_MEASURING;
        places->move_count = 0;
        timer_start(&operate->window, wish->window_ms);
        take_sample(operate, 0);
    } else if (!wish->is_dry && places->move_count > 0) {
        places->phase = REBALANCE_MOVING;
        operate->move = 0;
        next_move(operate);
    }
    show_places(msg, operate);
}

static void on_window_over(struct timer *timer)
{
    struct operate *operate = CONTAINER_OF(timer, struct operate, window);
    if (operate->loads_out > 0 || !has_room(operate, SHARD_COUNT_MAX + LOOP_COUNT_MAX)) {
        timer_start(timer, DRAIN_TICK_MS); /* the first sample is not home yet */
        return;
    }
    take_sample(operate, 1);
}

static void weigh(struct operate *operate)
{
    struct main_places *places = &operate->places;
    const struct operate_sample *was = &operate->samples[0];
    const struct operate_sample *is = &operate->samples[1];
    places->window_us = is->taken_us - was->taken_us;
    memcpy(places->loops, operate->placement.loops, sizeof(places->loops));
    for (uint32_t i = 0; i < places->loop_count; i++) {
        places->loop_us[i] = is->edge_us[i] - was->edge_us[i];
    }
    for (uint32_t i = 0; i < places->shard_count; i++) {
        places->shard_us[i] = is->shard_us[i] - was->shard_us[i];
        places->loop_us[places->loops[i]] += places->shard_us[i];
    }
    placement_plan(places);
    LOG_INFO("main.rebalance", LOG_U64("moves", places->move_count),
             LOG_U64("before", placement_balance(places->loop_us, places->loop_count)),
             LOG_U64("after", placement_balance(places->planned_us, places->loop_count)),
             LOG_BOOL("dry", places->is_dry));
    if (places->is_dry || places->move_count == 0) {
        places->phase = REBALANCE_IDLE;
        return;
    }
    places->phase = REBALANCE_MOVING;
    operate->move = 0;
    next_move(operate);
}

static void on_load_home(struct operate *operate, const struct msg *msg)
{
    struct operate_sample *sample = &operate->samples[operate->sample];
    const struct control *body = &msg->body.control;
    uint64_t *at = msg->kind == MSG_EDGE_CONTROL ? &sample->edge_us[body->shard]
                                                 : &sample->shard_us[body->shard];
    *at = body->busy_us;
    operate->loads_out -= 1;
}

/* What holds from now on, also after a restart. */
static void keep_placement(struct operate *operate)
{
    struct buf value;
    struct msg *msg = take(operate, MSG_SHARD_NOTE);
    buf_init(&value, 4 * KIB);
    placement_write(&operate->placement, &value);
    msg->body.note = (struct shard_note){
        .op = NOTE_PUT,
        .kind = NOTE_PLACES,
        .name = SLICE(PLACEMENT_NAME),
        .value = arena_dup(&msg->arena, buf_slice(&value)),
    };
    buf_fini(&value);
    actor_post(operate->place->deliver_shard, msg);
}

static void next_move(struct operate *operate)
{
    struct main_places *places = &operate->places;
    if (operate->move == places->move_count || !operate->is_open) {
        places->phase = REBALANCE_IDLE;
        keep_placement(operate);
        return;
    }
    struct shard_move *move = &places->moves[operate->move];
    move->state = MOVE_RUNNING;
    control(operate, operate->place->shards[move->shard], MSG_SHARD_CONTROL,
            &(struct control){.op = CONTROL_MOVE, .shard = move->shard});
}

static void on_let_go(struct operate *operate, enum err err)
{
    struct shard_move *move = &operate->places.moves[operate->move];
    if (err != ERR_OK) {
        move->state = MOVE_TAKEN_BACK;
        operate->move += 1;
        next_move(operate);
        return;
    }
    control(operate, operate->place->edges[move->to], MSG_EDGE_CONTROL,
            &(struct control){.op = CONTROL_ADOPT, .shard = move->shard});
}

static void on_adopted(struct operate *operate)
{
    struct shard_move *move = &operate->places.moves[operate->move];
    move->state = MOVE_DONE;
    operate->placement.loops[move->shard] = move->to;
    LOG_INFO("main.shard_moved", LOG_U64("shard", move->shard), LOG_U64("from", move->from),
             LOG_U64("to", move->to));
    operate->move += 1;
    next_move(operate);
}

/* ---- messages ------------------------------------------------------------------------------- */

void operate_handle(struct operate *operate, struct msg *msg)
{
    if (!operate->is_open) {
        msg_return(msg, ERR_BUSY); /* it starts, or ends */
        return;
    }
    switch (msg->body.operate.op) {
    case MAIN_LOG:
        show_log(msg, operate);
        return;
    case MAIN_LOG_SET:
        change_log(operate, msg);
        return;
    case MAIN_DRAIN:
        show_drain(msg, operate);
        return;
    case MAIN_DRAIN_START:
        start_drain(operate, msg);
        return;
    case MAIN_DRAIN_CANCEL:
        cancel_drain(operate, msg);
        return;
    case MAIN_PLACES:
        show_places(msg, operate);
        return;
    case MAIN_REBALANCE:
        start_rebalance(operate, msg);
        return;
    }
    CHECK(msg->body.operate.op == MAIN_LOG);
}

bool operate_is_mine(const struct msg *msg)
{
    return msg->token == TOKEN;
}

void operate_home(struct operate *operate, struct msg *msg)
{
    bool is_control = msg->kind != MSG_SHARD_NOTE;
    enum control_op op = is_control ? msg->body.control.op : CONTROL_PING;
    enum err err = msg->err;
    CHECK(operate->out > 0);
    if (op == CONTROL_LOAD) {
        on_load_home(operate, msg);
    } else if (err != ERR_OK && op != CONTROL_MOVE) {
        LOG_WARN("main.operate", LOG_STR("kind", msg_kind_name((enum msg_kind)msg->kind)),
                 LOG_ERR(err));
    }
    msg_put(operate->actor, msg);
    operate->out -= 1;
    if (op == CONTROL_MOVE) {
        on_let_go(operate, err);
    } else if (op == CONTROL_ADOPT) {
        on_adopted(operate);
    } else if (op == CONTROL_LOAD && operate->loads_out == 0 && operate->sample == 1 &&
               operate->is_open) {
        weigh(operate);
    }
    if (operate->out == 0 && !operate->is_open) {
        operate->on_quiet(operate);
    }
}
