/* shard_announce.c - what a shard owes delivery: word of its outbox rows.
 *
 * New rows are announced when their batch is on disk. The scan of the outbox is one owed range
 * [from, due_max]: whatever could not be announced lowers `from`, a page moves it up, and it ends
 * when a page reaches the end of the range.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/schedule.h"
#include "shards/shard_int.h"

#include <string.h>

#define ANNOUNCE_ENTRY_MAX 360 /* packed: numbers, a domain, a pool */

static bool announce_cut(struct slice *rest, struct outbox_entry *entry);
static void scan_owe(struct shard *shard, const struct key *from, uint64_t due_max);
static void scan_work(struct shard_job *job);
static void scan_done(struct shard_job *job);
static void on_scan_retry(struct timer *timer);
static void on_sweep(struct timer *timer);
static void on_ahead(struct timer *timer);

void announce_init(struct shard *shard, struct loop *loop)
{
    timer_init(&shard->scan.retry, loop, on_scan_retry);
    timer_init(&shard->sweep, loop, on_sweep);
    timer_init(&shard->ahead, loop, on_ahead);
}

/* ---- hints to delivery ---------------------------------------------------------------------- */

void shard_announce(struct shard *shard, const struct outbox_entry *entry)
{
    struct batch *batch = shard->filling;
    /* A webhook's origin is longer than a name can be, by its scheme and port; delivery goes by as
     * much of it. */
    struct slice domain = slice_head(entry->domain, DNS_NAME_MAX);
    CHECK(entry->pool.len <= POOL_NAME_MAX);
    if (entry->due_unix_ms > clock_unix_ms() + SCHEDULE_AHEAD_MS + SWEEP_MS) {
        return; /* a later look ahead finds it; one more round, for this batch is not on disk yet */
    }
    if (batch->announces.len + ANNOUNCE_ENTRY_MAX > ANNOUNCE_MAX) {
        batch->unannounced = min_u64(batch->unannounced, entry->due_unix_ms);
        return;
    }
    buf_put_u64(&batch->announces, entry->due_unix_ms);
    buf_put_u64(&batch->announces, entry->account.value);
    buf_add_bytes(&batch->announces, entry->mail.bytes, sizeof(entry->mail.bytes));
    buf_put_u32(&batch->announces, entry->group);
    buf_put_slice(&batch->announces, domain);
    buf_put_u32(&batch->announces, (uint32_t)entry->priority);
    buf_put_slice(&batch->announces, entry->pool);
}

static bool announce_cut(struct slice *rest, struct outbox_entry *entry)
{
    if (!get_u64(rest, &entry->due_unix_ms) || !get_u64(rest, &entry->account.value) ||
        rest->len < sizeof(entry->mail.bytes)) {
        return false;
    }
    memcpy(entry->mail.bytes, rest->data, sizeof(entry->mail.bytes));
    *rest = slice_from(*rest, sizeof(entry->mail.bytes));
    uint32_t priority = 0;
    bool is_whole = get_u32(rest, &entry->group) && get_slice(rest, &entry->domain) &&
                    get_u32(rest, &priority) && get_slice(rest, &entry->pool);
    entry->priority = (enum mail_priority)priority;
    return is_whole;
}

void announce_batch(struct shard *shard, struct batch *batch)
{
    struct slice rest = buf_slice(&batch->announces);
    uint64_t untold = batch->unannounced;
    struct msg *wake = NULL;
    struct outbox_entry entry;
    while (announce_cut(&rest, &entry)) {
        if (!wake) {
            wake = shard->is_stopping ? NULL : msg_take(&shard->actor, MSG_DELIVER_WAKE);
        }
        if (!wake) {
            untold = min_u64(untold, entry.due_unix_ms);
            continue;
        }
        struct deliver_wake *body = &wake->body.wake;
        if (!body->entries) {
            body->entries = arena_array(&wake->arena, WAKE_ENTRIES_MAX, sizeof(entry));
        }
        entry.domain = arena_dup(&wake->arena, entry.domain);
        entry.pool = arena_dup(&wake->arena, entry.pool);
        body->entries[body->entry_count++] = entry;
        if (body->entry_count == WAKE_ENTRIES_MAX) {
            actor_post(shard->place->deliver, wake);
            wake = NULL;
        }
    }
    if (wake) {
        actor_post(shard->place->deliver, wake);
    }
    if (untold != UINT64_MAX) {
        announce_owe(shard, untold);
        announce_scan(shard);
    }
}

void announce_wake_home(struct shard *shard, struct msg *msg)
{
    const struct deliver_wake *wake = &msg->body.wake;
    uint64_t untaken = UINT64_MAX;
    for (uint32_t i = wake->taken_count; i < wake->entry_count; i++) {
        untaken = min_u64(untaken, wake->entries[i].due_unix_ms);
    }
    msg_put(&shard->actor, msg);
    if (untaken != UINT64_MAX && !shard->is_stopping) {
        announce_owe(shard, untaken);
        timer_start(&shard->scan.retry, SCAN_RETRY_MS);
    }
    announce_scan(shard);
}

static void scan_owe(struct shard *shard, const struct key *from, uint64_t due_max)
{
    struct scan *scan = &shard->scan;
    if (!scan->is_owed || slice_compare(key_slice(from), key_slice(&scan->from)) < 0) {
        scan->from = *from;
    }
    scan->due_max = scan->is_owed ? max_u64(scan->due_max, due_max) : due_max;
    scan->is_owed = true;
}

void announce_owe(struct shard *shard, uint64_t due_unix_ms)
{
    struct key from = key_outbox(due_unix_ms, (struct account_id){0}, (struct id){.bytes = {0}}, 0);
    if (due_unix_ms < shard->ahead_unix_ms) {
        scan_owe(shard, &from, shard->ahead_unix_ms);
    }
}

/* Reads the next page of what is owed, when nothing stands in the way; whatever does calls again.
 */
void announce_scan(struct shard *shard)
{
    struct scan *scan = &shard->scan;
    if (!scan->is_owed || scan->is_running || shard->is_draining || timer_is_on(&scan->retry)) {
        return;
    }
    struct msg *wake = msg_take(&shard->actor, MSG_DELIVER_WAKE);
    if (!wake) {
        return;
    }
    scan->is_owed = false;
    scan->is_running = true;
    scan->page_from = scan->from;
    scan->page_due_max = scan->due_max;
    scan->now_unix_ms = clock_unix_ms();
    scan->has_more = false;
    scan->job.msg = wake;
    shard_offload(shard, &scan->job, scan_work, scan_done);
}

static void scan_work(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct scan *scan = &shard->scan; /* the loop keeps off these members while is_running */
    struct deliver_wake *wake = &job->msg->body.wake;
    struct key to = key_prefix_outbox();
    to = key_after(&to);
    if (scan->page_due_max != UINT64_MAX) {
        to = key_outbox(scan->page_due_max, (struct account_id){0}, (struct id){.bytes = {0}}, 0);
    }
    wake->entries = arena_array(&job->msg->arena, WAKE_ENTRIES_MAX, sizeof(*wake->entries));
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&scan->page_from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    scan->err = ERR_OK;
    for (uint32_t n = 0; kv_iter_next(iter, &key, &value); n++) {
        CHECK(key.len < KEY_MAX);
        if (n == SCAN_ROWS_MAX || wake->entry_count == WAKE_ENTRIES_MAX) {
            memcpy(scan->page_next.bytes, key.data, key.len);
            scan->page_next.len = (uint16_t)key.len;
            scan->has_more = true;
            break;
        }
        struct outbox_ref ref;
        struct row_outbox row;
        if (key_read_outbox(key, &ref) != ERR_OK || row_outbox_decode(value, &row) != ERR_OK) {
            LOG_ERROR("shard.outbox_damaged", LOG_U64("family", shard->family));
            continue;
        }
        if (outbox_is_leased(&row, shard->place->boot, scan->now_unix_ms)) {
            continue;
        }
        wake->entries[wake->entry_count++] = (struct outbox_entry){
            .due_unix_ms = ref.due_unix_ms,
            .account = ref.account,
            .mail = ref.mail,
            .group = ref.group,
            .domain = arena_dup(&job->msg->arena, row.domain),
            .priority = mail_priority_of(row.priority),
            .pool = arena_dup(&job->msg->arena, row.pool),
        };
    }
    if (!scan->has_more) {
        scan->err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
}

static void scan_done(struct shard_job *job)
{
    struct shard *shard = job->shard;
    struct scan *scan = &shard->scan;
    struct msg *wake = job->msg;
    job->msg = NULL;
    scan->is_running = false;
    if (scan->err != ERR_OK) {
        LOG_ERROR("shard.scan", LOG_U64("family", shard->family), LOG_ERR(scan->err));
        scan_owe(shard, &scan->page_from, scan->page_due_max);
        if (!shard->is_stopping) {
            timer_start(&scan->retry, SCAN_RETRY_MS);
        }
    } else if (scan->has_more) {
        scan_owe(shard, &scan->page_next, scan->page_due_max);
    }
    if (wake->body.wake.entry_count > 0 && !shard->is_stopping) {
        actor_post(shard->place->deliver, wake);
    } else {
        msg_put(&shard->actor, wake);
    }
    announce_scan(shard);
}

static void on_scan_retry(struct timer *timer)
{
    struct scan *scan = CONTAINER_OF(timer, struct scan, retry);
    announce_scan(CONTAINER_OF(scan, struct shard, scan));
}

/* A safety net: a lease that ran out, an entry that delivery forgot. */
static void on_sweep(struct timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, sweep);
    uint64_t now = clock_unix_ms();
    struct key from = key_prefix_outbox();
    scan_owe(shard, &from, now > SWEEP_MS ? now - SWEEP_MS : 0);
    announce_scan(shard);
    api_key_due_sweep(shard);
    stage_sweep(shard);
    timer_start(&shard->sweep, SWEEP_MS);
}

/* What is due far ahead is not told until its hour comes near. */
static void on_ahead(struct timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, ahead);
    uint64_t until = clock_unix_ms() + SCHEDULE_AHEAD_MS;
    if (shard->scan.is_owed || shard->scan.is_running) {
        timer_start(&shard->ahead, SCAN_RETRY_MS); /* what is owed would grow by all in between */
        return;
    }
    if (until > shard->ahead_unix_ms) {
        struct key from =
            key_outbox(shard->ahead_unix_ms, (struct account_id){0}, (struct id){.bytes = {0}}, 0);
        shard->ahead_unix_ms = until;
        scan_owe(shard, &from, until);
        announce_scan(shard);
    }
    timer_start(&shard->ahead, SWEEP_MS);
}
