/* replay.c - a route's webhook, called again for mails that are stored.
 *
 *      route --> mails since a time, matched on a worker --> a delivery for each match
 *
 * For an endpoint that was wrong for a while, or that is new. A page at a time; the answer says
 * where the next one begins.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/match.h"
#include "shards/shard_int.h"

#include <string.h>

#define ROW_ARENA_BYTES (4 * MIB) /* one mail's row, twice */

struct call {
    struct id mail;
    struct slice recipient;
};

/* Lives in its message's arena. */
struct replay_work {
    struct shard_job job;
    struct principal who;
    struct row_route route;
    struct call *calls; /* REPLAY_CALLS_MAX */
    uint32_t count;
    enum err err;
};

static enum err find_route(struct replay_work *work);
static void scan_work(struct shard_job *job);
static enum err scan(struct replay_work *work, const struct match *pattern);
static bool add_calls(struct replay_work *work, const struct row_mail *mail,
                      const struct match *pattern);
static void scan_done(struct shard_job *job);
static bool call_again(struct replay_work *work, const struct call *call);

void replay_start(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct replay_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.shard = shard;
    work->job.msg = msg;
    work->who = *who;
    enum err err = find_route(work);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    work->calls = arena_array(&msg->arena, REPLAY_CALLS_MAX, sizeof(*work->calls));
    shard_offload(shard, &work->job, scan_work, scan_done);
}

static enum err find_route(struct replay_work *work)
{
    struct msg *msg = work->job.msg;
    enum err err = routing_get(work->job.shard, msg, &work->who, msg->body.route.id, &work->route);
    if (err == ERR_OK && (work->route.action != ROUTE_WEBHOOK || !work->route.is_enabled)) {
        msg->sentence = SLICE("the route calls nobody, or is not enabled");
        err = ERR_CONFLICT;
    }
    return err;
}

/* ---- worker --------------------------------------------------------------------------------- */

static void scan_work(struct shard_job *job)
{
    struct replay_work *work = CONTAINER_OF(job, struct replay_work, job);
    const struct match *pattern;
    const char *fault;
    work->err = match_compile(work->route.match_pattern, &job->msg->arena, &pattern, &fault);
    if (work->err == ERR_OK) {
        work->err = scan(work, pattern);
    }
}

/* The first id that could have been made at a time. */
static struct id least_id(uint64_t unix_ms)
{
    struct id least = {.bytes = {0}};
    for (size_t i = 0; i < 6; i++) {
        least.bytes[i] = (uint8_t)(unix_ms >> (40 - 8 * i));
    }
    return least;
}

static enum err scan(struct replay_work *work, const struct match *pattern)
{
    struct shard *shard = work->job.shard;
    struct shard_route *body = &work->job.msg->body.route;
    struct account_id account = work->who.account.id;
    struct key prefix = key_prefix_mails(account);
    struct key from = key_mail(account, least_id(body->since_unix_ms));
    struct key to = key_after(&prefix);
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    uint32_t seen = 0;
    bool is_end = false;
    while (body->next_unix_ms == 0 && !is_end) {
        struct row_mail row;
        is_end = !kv_iter_next(iter, &key, &value);
        if (is_end || row_mail_decode(value, &row) != ERR_OK) {
            continue; /* one damaged row must not hide the others */
        }
        bool is_page = seen++ >= LIST_ROWS_MAX || !add_calls(work, &row, pattern);
        body->next_unix_ms = is_page ? id_unix_ms(row.id) : 0;
    }
    enum err err = is_end ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
    return err;
}

/* False, and nothing added, when they do not all fit the page: but the first mail always does. */
static bool add_calls(struct replay_work *work, const struct row_mail *mail,
                      const struct match *pattern)
{
    struct slice rest = mail->envelope_to;
    struct slice recipient;
    uint32_t before = work->count;
    if (mail->direction != DIRECTION_INBOUND || slice_equal(mail->spam, SLICE("blocked"))) {
        return true;
    }
    while (get_slice(&rest, &recipient)) {
        if (!match_test(pattern, recipient)) {
            continue;
        }
        if (work->count == REPLAY_CALLS_MAX) {
            work->count = before > 0 ? before : work->count;
            return before == 0;
        }
        work->calls[work->count++] = (struct call){
            .mail = mail->id,
            .recipient = arena_dup(&work->job.msg->arena, recipient),
        };
    }
    return true;
}

/* ---- loop ----------------------------------------------------------------------------------- */

/* A mail that cannot be read is left out: the others are called for all the same. */
static void scan_done(struct shard_job *job)
{
    struct replay_work *work = CONTAINER_OF(job, struct replay_work, job);
    struct shard_route *body = &job->msg->body.route;
    enum err err = work->err;
    if (err == ERR_OK) {
        err = find_route(work); /* it may have gone, or lead elsewhere by now */
    }
    for (uint32_t i = 0; err == ERR_OK && i < work->count; i++) {
        body->call_count += call_again(work, &work->calls[i]);
    }
    if (err == ERR_OK && body->call_count > 0) {
        struct audit_note note = {
            .account = work->who.account.id,
            .who = &work->who,
            .caller = &body->caller,
            .action = "route.replayed",
            .detail = work->route.match_pattern,
        };
        shard_audit_id(job->shard, &note, ID_ROUTE, work->route.id);
    }
    shard_answer(job->shard, job->msg, err);
}

static bool call_again(struct replay_work *work, const struct call *call)
{
    struct shard *shard = work->job.shard;
    struct key key = key_mail(work->who.account.id, call->mail);
    struct arena arena;
    struct row_mail mail;
    arena_init(&arena, 4 * KIB, ROW_ARENA_BYTES);
    enum err err = shard_get_mail(shard, key, &arena, &mail);
    bool is_room = err == ERR_OK && mail.hook_count < RECEIVED_HOOKS_MAX;
    if (is_room) {
        struct hook_target target = {
            .route = work->route.id,
            .url = work->route.destination,
            .recipient = call->recipient,
            .due_unix_ms = clock_unix_ms(),
        };
        hook_add(shard, &mail, &target);
        shard_put_mail(shard, key, &mail);
    } else {
        LOG_WARN("route.not_replayed", LOG_ID("message", ID_MESSAGE, call->mail), LOG_ERR(err));
    }
    arena_fini(&arena);
    return is_room;
}
