/* queue.c - what the operator wishes of the queue, from message to message.
 *
 *     pause, resume, move   note written --> entries counted --> done --> home
 *     retry, expire         entries looked at, and done with --> home
 *     accounts, ages        entries looked at --> home
 *     sites, holds          home at once
 *
 * Entries are looked at QUEUE_PLACES at a time; wishes take turns. The schedule goes on meanwhile,
 * so a count is as good as it can be, no better.
 */
#include "deliver/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#define HOLD_KEY_MAX    (2 + ID_TEXT_MAX + 1 + SITE_NAME_MAX)
#define HOLD_NOTE_MAX   (2 * KIB)
#define HOLD_ALL        "e|all"
#define AGAIN_MS        1000
#define RETRIES_PER_MS  1      /* that are made due: a thousand a second */
#define RETRY_SPREAD_MS 300000 /* however many there are */

/* Key: "s|site", "a|account", "b|account|site"; "m|site" of a move; "e|all" of everything. It is
 * the note's name, too. */
struct hold {
    char key[HOLD_KEY_MAX];
    struct account_id account;
    char site[SITE_NAME_MAX];
    char pool[POOL_NAME_MAX + 1];
    char reason[HOLD_REASON_MAX + 1];
    char by[HOLD_BY_MAX + 1];
    uint64_t since_unix_ms;
    uint64_t until_unix_ms;
    UT_hash_handle hh;
};

/* A wish under way. */
struct op {
    struct link link; /* queue->walking, while entries are looked at */
    struct queue *queue;
    struct msg *msg;
    struct site *site; /* held by dests; NULL: whichever */
    struct account_id account;
    struct hold hold; /* PAUSE, MOVE: what becomes of it; RESUME: what goes */
    struct sched_cursor cursor;
    uint64_t now_unix_ms;
    uint32_t count;
};

struct queue {
    struct deliver *deliver;
    struct hold *holds;
    struct link walking;
    uint32_t op_count;
    struct timer walk_timer;
    struct timer
        until_timer; /* the next hold that ends by itself; before is_ready: to read again */
    bool is_ready;
};

static void on_walk(struct timer *timer);
static void on_until(struct timer *timer);

/* ---- holds ---------------------------------------------------------------------------------- */

static bool is_move(const struct hold *hold)
{
    return hold->key[0] == 'm';
}

static void name_hold(char key[HOLD_KEY_MAX], bool is_moved, struct account_id account,
                      struct slice site)
{
    char text[ID_TEXT_MAX];
    if (account.value != 0) {
        (void)account_text(account, text);
    }
    if (!is_moved && account.value == 0 && site.len == 0) {
        (void)snprintf(key, HOLD_KEY_MAX, HOLD_ALL);
    } else if (is_moved || account.value == 0) {
        (void)snprintf(key, HOLD_KEY_MAX, "%c|%.*s", is_moved ? 'm' : 's', SLICE_FMT(site));
    } else if (site.len == 0) {
        (void)snprintf(key, HOLD_KEY_MAX, "a|%s", text);
    } else {
        (void)snprintf(key, HOLD_KEY_MAX, "b|%s|%.*s", text, SLICE_FMT(site));
    }
}

static struct hold *hold_find(const struct queue *queue, const char *key)
{
    struct hold *hold;
    HASH_FIND_STR(queue->holds, key, hold);
    return hold;
}

static bool is_account_held(void *owner, struct account_id account, const struct site *site)
{
    const struct queue *queue = owner;
    char key[HOLD_KEY_MAX];
    if (queue->holds == NULL) {
        return false;
    }
    name_hold(key, false, account, site == NULL ? SLICE("") : slice_str(site->name));
    return hold_find(queue, key) != NULL;
}

bool queue_holds_all(const struct queue *queue)
{
    return queue->holds != NULL && hold_find(queue, HOLD_ALL) != NULL;
}

bool queue_is_held(const struct queue *queue, const struct site *site, struct account_id account)
{
    void *owner = (struct queue *)(uintptr_t)queue; /* is only read */
    return queue_holds_all(queue) || site->is_held || is_account_held(owner, account, NULL) ||
           is_account_held(owner, account, site);
}

static void moved_to(void *owner, struct slice site, struct slice *pool)
{
    const struct queue *queue = owner;
    char key[HOLD_KEY_MAX];
    name_hold(key, true, (struct account_id){0}, site);
    struct hold *hold = queue->holds == NULL ? NULL : hold_find(queue, key);
    if (hold != NULL) {
        *pool = slice_str(hold->pool);
    }
}

static void changed(struct queue *queue, const struct hold *hold)
{
    struct sched *sched = &queue->deliver->sched;
    struct site *site = site_find(queue->deliver->sites, slice_str(hold->site));
    if (hold->account.value != 0) {
        if (hold->site[0] == '\0' || site != NULL) {
            sched_held_changed(sched, hold->account, site);
        }
        return;
    }
    if (!is_move(hold)) {
        return;
    }
    struct slice group = slice_str(hold->site);
    size_t bar = slice_find_byte(group, '|');
    char name[SITE_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s|%.*s", hold->pool,
                   SLICE_FMT(bar == SIZE_MAX ? group : slice_from(group, bar + 1)));
    struct site *other = site_find(queue->deliver->sites, slice_str(name));
    if (other != NULL) {
        sched_loosen(sched, other); /* what was moved before */
    }
    if (site != NULL) {
        sched_loosen(sched, site);
    }
}

static void set_until_timer(struct queue *queue)
{
    uint64_t next_unix_ms = UINT64_MAX;
    for (const struct hold *hold = queue->holds; hold != NULL; hold = hold->hh.next) {
        if (hold->until_unix_ms != 0) {
            next_unix_ms = min_u64(next_unix_ms, hold->until_unix_ms);
        }
    }
    timer_stop(&queue->until_timer);
    if (next_unix_ms != UINT64_MAX) {
        uint64_t now_unix_ms = clock_unix_ms();
        uint64_t delay_ms = next_unix_ms > now_unix_ms ? next_unix_ms - now_unix_ms : 1;
        timer_start(&queue->until_timer, min_u64(delay_ms, 60000)); /* the wall clock may jump */
    }
}

static void hold_put(struct queue *queue, const struct hold *wanted)
{
    struct hold *hold = hold_find(queue, wanted->key);
    if (hold != NULL && is_move(hold)) {
        changed(queue, hold); /* leaves the pool it was moved to */
    }
    if (hold == NULL) {
        hold = mem_zalloc(sizeof *hold);
        memcpy(hold->key, wanted->key, sizeof hold->key);
        HASH_ADD_STR(queue->holds, key, hold);
    }
    struct UT_hash_handle hh = hold->hh;
    *hold = *wanted;
    hold->hh = hh;
    if (hold->key[0] == 's') {
        site_hold(site_get(queue->deliver->sites, slice_str(hold->site), NULL));
    }
    changed(queue, hold);
    set_until_timer(queue);
}

static void hold_drop(struct queue *queue, struct hold *hold)
{
    struct deliver *deliver = queue->deliver;
    struct hold gone = *hold;
    HASH_DEL(queue->holds, hold);
    free(hold);
    if (gone.key[0] == 's') {
        struct site *site = site_find(deliver->sites, slice_str(gone.site));
        if (site != NULL) {
            site_release(site, loop_now_ms(deliver->loop));
            sched_site_changed(&deliver->sched, site);
            site_put(site);
        }
    }
    changed(queue, &gone);
    set_until_timer(queue);
}

/* ---- notes ---------------------------------------------------------------------------------- */

static bool post_note(struct queue *queue, enum note_op op, const struct hold *hold,
                      struct op *owner)
{
    struct msg *msg = msg_take(&queue->deliver->actor, MSG_SHARD_NOTE);
    if (msg == NULL) {
        return false;
    }
    struct shard_note *note = &msg->body.note;
    note->op = op;
    note->kind = NOTE_HOLD;
    note->limit = HOLDS_MAX;
    msg->token = (uint64_t)(uintptr_t)owner; /* ours alone; it outlives the note */
    if (hold != NULL) {
        struct buf bytes;
        buf_init(&bytes, HOLD_NOTE_MAX);
        buf_put_u64(&bytes, hold->account.value);
        buf_put_slice(&bytes, slice_str(hold->site));
        buf_put_slice(&bytes, slice_str(hold->pool));
        buf_put_slice(&bytes, slice_str(hold->reason));
        buf_put_slice(&bytes, slice_str(hold->by));
        buf_put_u64(&bytes, hold->since_unix_ms);
        buf_put_u64(&bytes, hold->until_unix_ms);
        note->name = arena_dup(&msg->arena, slice_str(hold->key));
        note->value = arena_dup(&msg->arena, buf_slice(&bytes));
        buf_fini(&bytes);
    }
    actor_post(queue->deliver->place->deliver_shard, msg);
    return true;
}

static bool get_text(struct slice *rest, char *out, size_t size)
{
    struct slice text;
    if (!get_slice(rest, &text) || text.len >= size) {
        return false;
    }
    (void)snprintf(out, size, "%.*s", SLICE_FMT(text));
    return true;
}

static bool read_note(const struct note *note, struct hold *hold)
{
    struct slice rest = note->value;
    char key[HOLD_KEY_MAX];
    *hold = (struct hold){.since_unix_ms = 0};
    if (note->name.len < 3 || note->name.len >= sizeof hold->key ||
        !get_u64(&rest, &hold->account.value) || !get_text(&rest, hold->site, sizeof hold->site) ||
        !get_text(&rest, hold->pool, sizeof hold->pool) ||
        !get_text(&rest, hold->reason, sizeof hold->reason) ||
        !get_text(&rest, hold->by, sizeof hold->by) || !get_u64(&rest, &hold->since_unix_ms) ||
        !get_u64(&rest, &hold->until_unix_ms)) {
        return false;
    }
    (void)snprintf(hold->key, sizeof hold->key, "%.*s", SLICE_FMT(note->name));
    name_hold(key, is_move(hold), hold->account, slice_str(hold->site));
    return strcmp(key, hold->key) == 0;
}

static void load(struct queue *queue)
{
    if (!post_note(queue, NOTE_SCAN, NULL, NULL)) {
        timer_start(&queue->until_timer, AGAIN_MS);
    }
}

static void on_loaded(struct queue *queue, const struct msg *msg)
{
    const struct shard_note *note = &msg->body.note;
    if (msg->err != ERR_OK) {
        LOG_WARN("queue.load", LOG_ERR(msg->err));
        if (queue->deliver->is_open) {
            timer_start(&queue->until_timer, AGAIN_MS);
        }
        return;
    }
    for (uint32_t i = 0; i < note->note_count; i++) {
        struct hold hold;
        if (read_note(&note->notes[i], &hold)) {
            hold_put(queue, &hold);
        } else {
            LOG_ERROR("queue.damaged", LOG_TEXT("hold", note->notes[i].name));
        }
    }
    queue->is_ready = true;
    set_until_timer(queue);
}

static void on_until(struct timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, until_timer);
    struct hold *hold;
    struct hold *after;
    uint64_t now_unix_ms = clock_unix_ms();
    if (!queue->is_ready) {
        load(queue);
        return;
    }
    HASH_ITER(hh, queue->holds, hold, after)
    {
        if (hold->until_unix_ms != 0 && hold->until_unix_ms <= now_unix_ms &&
            post_note(queue, NOTE_DELETE, hold, NULL)) {
            LOG_INFO("queue.resumed", LOG_STR("hold", hold->key), LOG_STR("by", "its time"));
            hold_drop(queue, hold);
        }
    }
    set_until_timer(queue);
    deliver_pump(queue->deliver);
}

/* ---- pages ---------------------------------------------------------------------------------- */

void queue_show_site(struct queue *queue, const struct site *site, struct arena *arena,
                     struct queue_site *out)
{
    uint64_t now_ms = loop_now_ms(queue->deliver->loop);
    uint64_t now_unix_ms = clock_unix_ms();
    struct slice name = arena_dup(arena, slice_str(site->name));
    size_t bar = slice_find_byte(name, '|');
    uint32_t busy = site->due[PRIORITY_TRANSACTIONAL] + site->due[PRIORITY_BULK] + site->open;
    *out = (struct queue_site){
        .name = name,
        .pool = bar == SIZE_MAX ? SLICE("") : slice_head(name, bar),
        .group = bar == SIZE_MAX ? name : slice_from(name, bar + 1),
        .waiting = site->entries > busy ? site->entries - busy : 0,
        .open = site->open,
        .busy = site->busy,
        .limit = site->limit,
        .rate = site->rate,
        .mails_per_conn = site_mails_per_conn(site),
        .failures = site->failures,
        .reason = arena_dup(arena, slice_str(site->reason)),
        .oldest_unix_ms = sched_oldest(site),
        .delivered_total = site->good_total,
        .throttled_total = site->throttled_total,
        .is_held = site->is_held,
    };
    memcpy(out->due, site->due, sizeof out->due);
    if (site->closed_until_ms > now_ms) {
        out->closed_until_unix_ms = now_unix_ms + (site->closed_until_ms - now_ms);
    }
    if (site->reason[0] != '\0') {
        out->failed_unix_ms = now_unix_ms - (now_ms - site->failed_ms);
    }
}

static uint32_t page_limit(const struct deliver_queue *body)
{
    return (uint32_t)min_u64(body->limit > 0 ? body->limit : PAGE_DEFAULT, PAGE_MAX);
}

/* What is due and what is under way, and then what is left alone. */
static uint64_t work_of(const struct site *site)
{
    uint64_t due = (uint64_t)site->due[PRIORITY_TRANSACTIONAL] + site->due[PRIORITY_BULK];
    bool is_closed = site->is_held || site->closed_until_ms != 0;
    return (due + site->open) * 2 + (is_closed ? 1 : 0);
}

static bool is_behind(const struct site *site, const struct site *other, enum queue_op op)
{
    uint64_t work = work_of(site);
    uint64_t others = work_of(other);
    if (op == QUEUE_TOP && work != others) {
        return work < others;
    }
    return strcmp(site->name, other->name) > 0;
}

/* The first ones behind body->site, in order. */
static uint32_t pick_sites(struct queue *queue, const struct deliver_queue *body,
                           const struct site **page, uint32_t limit)
{
    uint32_t count = 0;
    char after[SITE_NAME_MAX];
    (void)snprintf(after, sizeof after, "%.*s", SLICE_FMT(body->site));
    struct site *site = NULL;
    while ((site = site_table_next(queue->deliver->sites, site)) != NULL) {
        bool is_wanted =
            strcmp(site->name, after) > 0 &&
            (body->search.len == 0 || slice_find(slice_str(site->name), body->search) != SIZE_MAX);
        if (!is_wanted || (count == limit && is_behind(site, page[count - 1], body->op))) {
            continue;
        }
        uint32_t at = count < limit ? count++ : count - 1;
        for (; at > 0 && is_behind(page[at - 1], site, body->op); at--) {
            page[at] = page[at - 1];
        }
        page[at] = site;
    }
    return count;
}

static void show_sites(struct queue *queue, struct msg *msg)
{
    struct deliver_queue *body = &msg->body.queue;
    uint32_t limit = page_limit(body);
    const struct site **page = arena_array(&msg->arena, limit, sizeof(struct site *));
    uint32_t count = pick_sites(queue, body, page, limit);
    body->limit = limit;
    body->sites = arena_array(&msg->arena, count + 1, sizeof *body->sites);
    for (uint32_t i = 0; i < count; i++) {
        queue_show_site(queue, page[i], &msg->arena, &body->sites[i]);
    }
    body->site_count = count;
    msg_return(msg, ERR_OK);
}

static void show_hold(const struct hold *hold, struct arena *arena, struct queue_hold *out)
{
    *out = (struct queue_hold){
        .is_move = is_move(hold),
        .site = arena_dup(arena, slice_str(hold->site)),
        .account = hold->account,
        .pool = arena_dup(arena, slice_str(hold->pool)),
        .reason = arena_dup(arena, slice_str(hold->reason)),
        .by = arena_dup(arena, slice_str(hold->by)),
        .since_unix_ms = hold->since_unix_ms,
        .until_unix_ms = hold->until_unix_ms,
    };
}

static void show_holds(struct queue *queue, struct msg *msg)
{
    struct deliver_queue *body = &msg->body.queue;
    struct arena *arena = &msg->arena;
    body->holds = arena_array(arena, HASH_COUNT(queue->holds) + 1, sizeof *body->holds);
    for (const struct hold *hold = queue->holds; hold != NULL; hold = hold->hh.next) {
        show_hold(hold, arena, &body->holds[body->hold_count++]);
    }
    msg_return(msg, ERR_OK);
}

bool queue_find_hold(const struct queue *queue, struct slice site, struct account_id account,
                     struct arena *arena, struct queue_hold *out)
{
    const struct {
        struct account_id account;
        struct slice site;
        bool is_asked;
    } asked[] = {
        {{0}, SLICE(""), true}, /* everything */
        {{0}, site, site.len > 0},
        {account, SLICE(""), true},
        {account, site, site.len > 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(asked) && queue->holds != NULL; i++) {
        char key[HOLD_KEY_MAX];
        name_hold(key, false, asked[i].account, asked[i].site);
        const struct hold *hold = asked[i].is_asked ? hold_find(queue, key) : NULL;
        if (hold != NULL) {
            show_hold(hold, arena, out);
            return true;
        }
    }
    return false;
}

/* ---- entries -------------------------------------------------------------------------------- */

static bool is_meant(const struct op *op, const struct sched_entry *entry)
{
    bool is_accounts = op->account.value == 0 || id_account(entry->mail).value == op->account.value;
    return is_accounts && (op->site == NULL || entry->dest->site == op->site);
}

/* The place of the entry's account on the page, which keeps the lowest ids behind `after`: whoever
 * falls off the end would never come back, so who stays was counted from its first entry on. */
static struct queue_account *account_of(struct deliver_queue *body, struct account_id id)
{
    uint32_t low = 0;
    uint32_t high = body->account_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (body->accounts[middle].id.value < id.value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < body->account_count && body->accounts[low].id.value == id.value) {
        return &body->accounts[low];
    }
    if (low == body->limit) {
        return NULL;
    }
    body->account_count += body->account_count < body->limit ? 1 : 0;
    size_t behind = body->account_count - 1 - low;
    memmove(&body->accounts[low + 1], &body->accounts[low], behind * sizeof *body->accounts);
    body->accounts[low] = (struct queue_account){.id = id};
    return &body->accounts[low];
}

static void count_account(struct op *op, const struct sched_entry *entry)
{
    struct deliver_queue *body = &op->msg->body.queue;
    struct account_id id = id_account(entry->mail);
    if (id.value <= body->account.value) {
        return;
    }
    struct queue_account *account = account_of(body, id);
    if (account != NULL) {
        account->entries += 1;
        account->due += !entry->is_waiting && !entry->is_open;
        account->open += entry->is_open;
        if (account->oldest_unix_ms == 0 || entry->due_unix_ms < account->oldest_unix_ms) {
            account->oldest_unix_ms = entry->due_unix_ms;
        }
    }
}

static void count_age(const struct op *op, const struct sched_entry *entry)
{
    struct queue_ages *ages = op->msg->body.queue.ages;
    uint64_t now_unix_ms = op->now_unix_ms;
    uint64_t accepted_unix_ms = id_unix_ms(entry->mail);
    uint64_t age_ms = now_unix_ms > accepted_unix_ms ? now_unix_ms - accepted_unix_ms : 0;
    ages->by_age[queue_step(age_ms)] += 1;
    if (ages->oldest_unix_ms == 0 || accepted_unix_ms < ages->oldest_unix_ms) {
        ages->oldest_unix_ms = accepted_unix_ms;
    }
    if (entry->is_open) {
        ages->open += 1;
    } else if (entry->is_waiting) {
        uint64_t ready_unix_ms = entry->due.key;
        ages->waiting += 1;
        ages->by_due[queue_step(ready_unix_ms > now_unix_ms ? ready_unix_ms - now_unix_ms : 0)] +=
            1;
    } else {
        ages->due += 1;
    }
}

static void visit(void *context, struct sched_entry *entry)
{
    struct op *op = context;
    struct sched *sched = &op->queue->deliver->sched;
    if (op->msg->body.queue.op == QUEUE_ACCOUNTS) {
        count_account(op, entry);
        return;
    }
    if (!is_meant(op, entry)) {
        return;
    }
    if (op->msg->body.queue.op == QUEUE_AGES) {
        op->count += 1;
        count_age(op, entry);
        return;
    }
    if (op->msg->body.queue.op == QUEUE_RETRY) {
        uint64_t later_ms = min_u64(op->count / RETRIES_PER_MS, RETRY_SPREAD_MS);
        op->count += sched_hasten(sched, entry, op->now_unix_ms + later_ms);
    } else if (op->msg->body.queue.op == QUEUE_EXPIRE) {
        op->count += sched_give_up(sched, entry);
    } else {
        op->count += !entry->is_open;
    }
}

/* ---- wishes --------------------------------------------------------------------------------- */

static const char *op_text(enum queue_op op)
{
    static const char *const texts[] = {
        [QUEUE_SITES] = "sites",    [QUEUE_TOP] = "top",       [QUEUE_ACCOUNTS] = "accounts",
        [QUEUE_HOLDS] = "holds",    [QUEUE_AGES] = "ages",     [QUEUE_PAUSE] = "paused",
        [QUEUE_RESUME] = "resumed", [QUEUE_RETRY] = "retried", [QUEUE_EXPIRE] = "expired",
        [QUEUE_MOVE] = "moved",
    };
    CHECK((size_t)op < ARRAY_LEN(texts));
    return texts[op];
}

/* Owns: takes op. */
static void op_end(struct op *op, enum err err)
{
    struct queue *queue = op->queue;
    struct msg *msg = op->msg;
    struct deliver_queue *body = &msg->body.queue;
    list_remove(&op->link);
    if (op->site != NULL) {
        op->site->dests -= 1;
        site_put(op->site);
    }
    body->entries = op->count;
    if (err == ERR_OK && body->op >= QUEUE_PAUSE) {
        char text[ID_TEXT_MAX];
        size_t len = op->account.value == 0 ? 0 : account_text(op->account, text);
        LOG_INFO("queue.operator", LOG_STR("did", op_text(body->op)), LOG_TEXT("site", body->site),
                 LOG_TEXT("account", slice_of(text, len)), LOG_TEXT("pool", body->pool),
                 LOG_TEXT("reason", body->reason), LOG_TEXT("by", body->by),
                 LOG_U64("entries", op->count));
    }
    free(op);
    queue->op_count -= 1;
    msg_return(msg, err);
}

/* What was wished happens; entries have been looked at. */
static void conclude(struct op *op)
{
    struct queue *queue = op->queue;
    struct deliver_queue *body = &op->msg->body.queue;
    struct hold *hold = hold_find(queue, op->hold.key);
    for (uint32_t i = 0; i < body->account_count; i++) {
        body->accounts[i].is_held = is_account_held(queue, body->accounts[i].id, NULL);
    }
    bool is_taken_back =
        body->op == QUEUE_RESUME || (body->op == QUEUE_MOVE && body->pool.len == 0);
    if (is_taken_back && hold != NULL) {
        hold_drop(queue, hold);
    } else if (!is_taken_back && (body->op == QUEUE_PAUSE || body->op == QUEUE_MOVE)) {
        hold_put(queue, &op->hold);
    }
    op_end(op, ERR_OK);
    deliver_pump(queue->deliver);
}

/* True when all was seen; then op is gone. */
static bool walk(struct op *op)
{
    const struct sched_visit look = {visit, op};
    if (sched_walk(&op->queue->deliver->sched, &op->cursor, QUEUE_PLACES, &look)) {
        return false;
    }
    conclude(op);
    return true;
}

static void on_walk(struct timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, walk_timer);
    struct link *link = list_pop_front(&queue->walking);
    if (link != NULL) {
        struct op *op = CONTAINER_OF(link, struct op, link);
        list_push_back(&queue->walking, &op->link);
        (void)walk(op); /* either way the next turn is for the next */
    }
    if (!list_is_empty(&queue->walking)) {
        timer_start(timer, 1);
    }
}

static void start_walk(struct op *op)
{
    struct queue *queue = op->queue;
    list_push_back(&queue->walking, &op->link);
    if (!walk(op) && !timer_is_on(&queue->walk_timer)) {
        timer_start(&queue->walk_timer, 1);
    }
}

static void fill_hold(struct op *op)
{
    const struct deliver_queue *body = &op->msg->body.queue;
    struct hold *hold = &op->hold;
    hold->account = op->account;
    hold->since_unix_ms = op->now_unix_ms;
    hold->until_unix_ms = body->until_unix_ms;
    name_hold(hold->key, body->op == QUEUE_MOVE, op->account, body->site);
    (void)snprintf(hold->site, sizeof hold->site, "%.*s", SLICE_FMT(body->site));
    (void)snprintf(hold->pool, sizeof hold->pool, "%.*s", SLICE_FMT(body->pool));
    (void)snprintf(hold->reason, sizeof hold->reason, "%.*s", SLICE_FMT(body->reason));
    (void)snprintf(hold->by, sizeof hold->by, "%.*s", SLICE_FMT(body->by));
}

static enum err refuse(struct msg *msg, const char *param, const char *sentence)
{
    msg->param = slice_str(param);
    msg->sentence = slice_str(sentence);
    return ERR_BAD_FIELD;
}

/* Whether there is what it speaks of. */
static enum err check(struct queue *queue, struct op *op)
{
    struct msg *msg = op->msg;
    const struct deliver_queue *body = &msg->body.queue;
    struct deliver *deliver = queue->deliver;
    bool has_site = body->site.len > 0;
    bool is_named = has_site || op->account.value != 0;
    if (body->op == QUEUE_ACCOUNTS || (body->op == QUEUE_AGES && !is_named)) {
        return ERR_OK;
    }
    if (body->site.len >= SITE_NAME_MAX || is_named == body->is_all) {
        return refuse(msg, "site", "names a site or an account, or all of it");
    }
    if (body->is_all && body->op != QUEUE_PAUSE && body->op != QUEUE_RESUME) {
        return refuse(msg, "all", "only a pause is of everything");
    }
    op->site = has_site ? site_find(deliver->sites, body->site) : NULL;
    fill_hold(op);
    const struct hold *hold = hold_find(queue, op->hold.key);
    if (body->op == QUEUE_RESUME) {
        return hold != NULL ? ERR_OK : ERR_NOT_FOUND;
    }
    if (body->op == QUEUE_MOVE && (!has_site || op->account.value != 0)) {
        return refuse(msg, "site", "a site is moved, for all accounts");
    }
    if (body->op == QUEUE_MOVE && body->pool.len > 0 &&
        policy_pool(deliver->policy, body->pool) == NULL) {
        return refuse(msg, "pool", "the site policy has no such pool");
    }
    if (has_site && op->site == NULL && (body->op != QUEUE_MOVE || hold == NULL)) {
        return ERR_NOT_FOUND;
    }
    bool is_new = hold == NULL && (body->op == QUEUE_PAUSE || body->op == QUEUE_MOVE);
    return is_new && HASH_COUNT(queue->holds) >= HOLDS_MAX ? ERR_QUOTA : ERR_OK;
}

static void begin(struct op *op)
{
    struct queue *queue = op->queue;
    struct deliver *deliver = queue->deliver;
    struct deliver_queue *body = &op->msg->body.queue;
    bool is_drop = body->op == QUEUE_RESUME || (body->op == QUEUE_MOVE && body->pool.len == 0);
    switch (body->op) {
    case QUEUE_SITES:
    case QUEUE_TOP:
    case QUEUE_HOLDS:
        CHECK(false);
    case QUEUE_ACCOUNTS:
        body->limit = page_limit(body);
        body->accounts = arena_array(&op->msg->arena, body->limit, sizeof *body->accounts);
        start_walk(op);
        return;
    case QUEUE_AGES:
        body->ages = arena_alloc(&op->msg->arena, sizeof *body->ages);
        start_walk(op);
        return;
    case QUEUE_PAUSE:
    case QUEUE_RESUME:
    case QUEUE_MOVE:
        if (!post_note(queue, is_drop ? NOTE_DELETE : NOTE_PUT, &op->hold, op)) {
            op_end(op, ERR_BUSY);
        }
        return;
    case QUEUE_RETRY:
        if (op->site != NULL && !op->site->is_held) {
            site_reset(op->site, loop_now_ms(deliver->loop));
            sched_site_changed(&deliver->sched, op->site);
        }
        start_walk(op);
        return;
    case QUEUE_EXPIRE:
        op->count = sched_give_up_lanes(&deliver->sched, op->site, op->account);
        start_walk(op);
        return;
    }
}

void queue_handle(struct queue *queue, struct msg *msg)
{
    CHECK_LOOP(queue->deliver->loop);
    struct deliver_queue *body = &msg->body.queue;
    if (!queue->deliver->is_open || !queue->is_ready || queue->op_count == QUEUE_OPS_MAX) {
        msg_return(msg, queue->deliver->is_open ? ERR_BUSY : ERR_DRAINING);
        return;
    }
    if (body->op == QUEUE_SITES || body->op == QUEUE_TOP) {
        show_sites(queue, msg);
        return;
    }
    if (body->op == QUEUE_HOLDS) {
        show_holds(queue, msg);
        return;
    }
    struct op *op = mem_zalloc(sizeof *op);
    op->queue = queue;
    op->msg = msg;
    op->account = body->account;
    op->now_unix_ms = clock_unix_ms();
    list_init(&op->link);
    queue->op_count += 1;
    enum err err = check(queue, op);
    if (op->site != NULL) {
        op->site->dests += 1; /* stays until op ends */
    }
    if (err != ERR_OK) {
        op_end(op, err);
        return;
    }
    begin(op);
}

void queue_on_note(struct queue *queue, struct msg *msg)
{
    CHECK_LOOP(queue->deliver->loop);
    struct op *op = (struct op *)(uintptr_t)msg->token;
    enum err err = msg->err;
    if (msg->body.note.op == NOTE_SCAN) {
        on_loaded(queue, msg);
    } else if (err != ERR_OK) {
        LOG_WARN("queue.note", LOG_ERR(err));
    }
    msg_put(&queue->deliver->actor, msg);
    if (op == NULL) {
        deliver_pump(queue->deliver);
    } else if (err != ERR_OK) {
        op_end(op, err);
    } else if (!queue->deliver->is_open) {
        conclude(op); /* it is on disk; nobody has time to count */
    } else {
        start_walk(op);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

struct queue *queue_new(struct deliver *deliver)
{
    struct queue *queue = mem_zalloc(sizeof *queue);
    queue->deliver = deliver;
    list_init(&queue->walking);
    timer_init(&queue->walk_timer, deliver->loop, on_walk);
    timer_init(&queue->until_timer, deliver->loop, on_until);
    deliver->sched.is_held = is_account_held;
    deliver->sched.held_owner = queue;
    deliver->groups.moved_to = moved_to;
    deliver->groups.moved_owner = queue;
    return queue;
}

void queue_free(struct queue *queue)
{
    struct hold *hold;
    struct hold *after;
    CHECK(queue->op_count == 0);
    HASH_ITER(hh, queue->holds, hold, after)
    {
        HASH_DEL(queue->holds, hold);
        free(hold);
    }
    free(queue);
}

void queue_start(struct queue *queue)
{
    load(queue);
}

void queue_stop(struct queue *queue)
{
    timer_stop(&queue->walk_timer);
    timer_stop(&queue->until_timer);
    while (!list_is_empty(&queue->walking)) {
        op_end(CONTAINER_OF(queue->walking.next, struct op, link), ERR_DRAINING);
    }
}

bool queue_is_ready(const struct queue *queue)
{
    return queue->is_ready;
}
