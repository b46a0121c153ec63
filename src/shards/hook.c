/* hook.c - webhooks as a shard sees them: deliveries of a mail beside those by SMTP.
 *
 *      event --> delivery row, outbox row, reference     (in the batch of what it tells of)
 *      CLAIM --> body composed and signed on a worker --> lease --> home
 *      OUTCOME as for any delivery (claim.c), and what the endpoint commands
 *
 * The body is composed anew for each try, from the stored mail and its event, so that nothing is
 * kept twice; the event's id and everything else in it stay the same. Only the signature's time
 * differs.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/fact.h"
#include "shards/hook_body.h"
#include "shards/hook_sign.h"
#include "shards/shard_int.h"

#include <string.h>

#define SECRET_MAX 512

/* A claim whose body is being composed. Lives in its message's arena. */
struct hook_work {
    struct shard_job job;
    struct row_mail mail;
    struct row_delivery delivery;
    struct row_event event; /* of an outbound mail */
    struct hook_facts facts;
    char base_url[CONF_URL_MAX];
    struct arena secrets; /* marked secret */
    struct hook_signer signer;
    enum ack_mode ack_mode;
    enum err err;
};

static uint32_t index_of(uint32_t group);
static enum err find_secrets(struct hook_work *work);
static enum err load_facts(struct hook_work *work);
static void claim_work(struct shard_job *job);
static void claim_done(struct shard_job *job);
static void obey(struct shard *shard, struct row_mail *mail, struct slice command,
                 const struct row_delivery *delivery);

/* ---- making --------------------------------------------------------------------------------- */

void hook_add(struct shard *shard, struct row_mail *mail, const struct hook_target *target)
{
    struct account_id account = id_account(mail->id);
    uint32_t index = mail->delivery_count++;
    struct row_delivery delivery = {
        .id = shard_id(shard, account),
        .recipient = target->recipient,
        .status = DELIVERY_PENDING,
        .group = HOOK_GROUP | index,
        .next_attempt_unix_ms = target->due_unix_ms,
        .updated_unix_ms = clock_unix_ms(),
        .kind = DELIVERY_WEBHOOK,
        .url = target->url,
        .route = target->route,
        .event = id_is_none(target->event) ? shard_id(shard, account) : target->event,
    };
    struct outbox_entry entry = {
        .due_unix_ms = target->due_unix_ms,
        .account = account,
        .mail = mail->id,
        .group = delivery.group,
        .domain = hook_origin(target->url, &shard->scratch),
    };
    struct row_outbox outbox = {
        .domain = entry.domain,
        .rcpt_first = index,
        .rcpt_count = 1,
        .created_unix_ms = delivery.updated_unix_ms,
        .mode = REHEARSAL_NONE,
    };
    struct row_delivery_ref ref = {.mail = mail->id, .index = index};
    CHECK(index < HOOK_GROUP);
    mail->hook_count++;
    mail->hook_open++;
    shard_put_delivery(shard, key_delivery(account, mail->id, index), &delivery);
    shard_put_delivery_ref(shard, key_delivery_ref(account, delivery.id), &ref);
    shard_put_outbox(shard, key_outbox(entry.due_unix_ms, account, mail->id, entry.group), &outbox);
    shard_announce(shard, &entry);
}

void hook_tell(struct shard *shard, struct row_mail *mail, const struct row_event *event)
{
    struct account_id account = id_account(mail->id);
    struct row_domain domain;
    struct row_route route;
    if (mail->direction != DIRECTION_OUTBOUND) {
        return;
    }
    enum err err =
        shard_get_domain(shard, key_domain(account, mail->domain), &shard->scratch, &domain);
    if (err == ERR_OK && !hook_wants(&domain, event->type)) {
        return;
    }
    if (err == ERR_OK) {
        err =
            shard_get_route(shard, key_route(account, domain.hook_route), &shard->scratch, &route);
    }
    if (err != ERR_OK) {
        if (err != ERR_NOT_FOUND) {
            LOG_ERROR("hook.tell", LOG_ID("message", ID_MESSAGE, mail->id), LOG_ERR(err));
        }
        return;
    }
    if (!route.is_enabled || route.action != ROUTE_WEBHOOK) {
        return;
    }
    struct hook_target target = {
        .route = route.id,
        .url = route.destination,
        .recipient = event->recipient,
        .event = event->id,
        .due_unix_ms = clock_unix_ms(),
    };
    hook_add(shard, mail, &target);
}

bool hook_wants(const struct row_domain *domain, struct slice type)
{
    struct slice pack = domain->hook_events;
    struct slice item;
    if (id_is_none(domain->hook_route)) {
        return false;
    }
    while (get_slice(&pack, &item)) {
        if (slice_equal(item, type)) {
            return true;
        }
    }
    return false;
}

struct slice hook_origin(struct slice url, struct arena *arena)
{
    return fact_origin(url, arena);
}

/* ---- claim ---------------------------------------------------------------------------------- */

static uint32_t index_of(uint32_t group)
{
    CHECK(group & HOOK_GROUP);
    return group & ~HOOK_GROUP;
}

void hook_claim(struct shard *shard, struct msg *msg)
{
    struct shard_claim *body = &msg->body.claim;
    struct account_id account = body->entry.account;
    struct hook_work *work = arena_alloc(&msg->arena, sizeof(*work));
    struct row_outbox outbox;
    work->job.shard = shard;
    work->job.msg = msg;
    arena_init(&work->secrets, KIB, 16 * KIB);
    arena_mark_secret(&work->secrets);
    struct key due =
        key_outbox(body->entry.due_unix_ms, account, body->entry.mail, body->entry.group);
    enum err err = shard_get_outbox(shard, due, &shard->scratch, &outbox);
    if (err == ERR_OK && (outbox_is_leased(&outbox, shard->place->boot, clock_unix_ms()) ||
                          !claim_has_account(shard, account))) {
        err = ERR_CONFLICT;
    }
    if (err == ERR_OK) {
        err = shard_get_mail(shard, key_mail(account, body->entry.mail), &msg->arena, &work->mail);
    }
    if (err == ERR_OK) {
        err = shard_get_delivery(
            shard, key_delivery(account, body->entry.mail, index_of(body->entry.group)),
            &msg->arena, &work->delivery);
    }
    if (err == ERR_OK) {
        err = load_facts(work);
    }
    if (err == ERR_OK) {
        err = find_secrets(work);
    }
    if (err != ERR_OK) {
        arena_fini(&work->secrets);
        shard_answer(shard, msg, err);
        return;
    }
    shard_offload(shard, &work->job, claim_work, claim_done);
}

/* What the body tells beside the mail itself. */
static enum err load_facts(struct hook_work *work)
{
    struct shard *shard = work->job.shard;
    struct account_id account = id_account(work->mail.id);
    work->facts = (struct hook_facts){
        .kv = shard->kv,
        .family = shard->family,
        .mail = &work->mail,
        .delivery = &work->delivery,
        .attachment_key = shard->attachment_seal,
        .base_url = conf_asked_url(shard->place->conf, work->base_url),
    };
    if (work->mail.direction == DIRECTION_INBOUND) {
        struct row_domain domain = {.is_zero_retention = false};
        enum err err = shard_get_domain(shard, key_domain(account, work->mail.domain),
                                        &work->job.msg->arena, &domain);
        work->facts.has_contents = domain.is_zero_retention;
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    enum err err = shard_get_event(shard, key_event(account, work->mail.id, work->delivery.event),
                                   &work->job.msg->arena, &work->event);
    work->facts.event = &work->event;
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

/* The route's secrets, or the account's when the route is gone. */
static enum err find_secrets(struct hook_work *work)
{
    struct shard *shard = work->job.shard;
    struct account_id account = id_account(work->mail.id);
    struct id context = work->delivery.route;
    struct row_account row;
    struct row_route route;
    uint64_t now = clock_unix_ms();
    enum err err = shard_get_route(shard, key_route(account, context), &work->secrets, &route);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    if (err == ERR_OK && route.secret_private.len > 0) {
        work->ack_mode = (enum ack_mode)route.ack_mode;
        err =
            hook_unseal(shard, route.secret_private, context, &work->secrets, &work->signer.secret);
        if (err == ERR_OK && now < route.old_until_unix_ms && route.old_secret_private.len > 0) {
            err = hook_unseal(shard, route.old_secret_private, context, &work->secrets,
                              &work->signer.old_secret);
        }
        return err;
    }
    struct id none = {.bytes = {0}};
    err = shard_get_account(shard, key_account(account), &work->secrets, &row);
    if (err == ERR_OK && row.hook_secret_private.len == 0) {
        err = ERR_NOT_FOUND; /* nobody could verify it: the delivery is over */
    }
    return err == ERR_OK ? hook_unseal(shard, row.hook_secret_private, none, &work->secrets,
                                       &work->signer.secret)
                         : err;
}

static struct slice context_of(struct id route, char text[ID_TEXT_MAX])
{
    return slice_of(text, id_text(ID_ROUTE, route, text));
}

enum err hook_unseal(const struct shard *shard, struct slice sealed, struct id route,
                     struct arena *arena, struct slice *plain)
{
    char text[ID_TEXT_MAX];
    if (sealed.len <= SEAL_OVERHEAD || sealed.len > SECRET_MAX) {
        return ERR_CORRUPT;
    }
    size_t len = sealed.len - SEAL_OVERHEAD;
    char *out = arena_bytes(arena, len);
    enum err err =
        crypto_unseal(&shard->hook_seal, context_of(route, text), sealed, (uint8_t *)out);
    *plain = slice_of(out, len);
    return err;
}

struct slice hook_seal(const struct shard *shard, struct slice plain, struct id route,
                       struct arena *arena)
{
    char text[ID_TEXT_MAX];
    char *out = arena_bytes(arena, plain.len + SEAL_OVERHEAD);
    crypto_seal(&shard->hook_seal, context_of(route, text), plain, (uint8_t *)out);
    return slice_of(out, plain.len + SEAL_OVERHEAD);
}

/* Worker. */
static void claim_work(struct shard_job *job)
{
    struct hook_work *work = CONTAINER_OF(job, struct hook_work, job);
    struct shard_claim *body = &job->msg->body.claim;
    char id[ID_TEXT_MAX];
    work->err = hook_body_compose(&work->facts, &job->msg->arena, &body->hook_body);
    if (work->err != ERR_OK) {
        return;
    }
    work->signer.id = slice_of(id, id_text(ID_EVENT, work->delivery.event, id));
    work->signer.now_unix_ms = clock_unix_ms();
    body->hook_headers = hook_headers(&work->signer, body->hook_body, &job->msg->arena);
}

static void claim_done(struct shard_job *job)
{
    struct hook_work *work = CONTAINER_OF(job, struct hook_work, job);
    struct shard_claim *body = &job->msg->body.claim;
    struct group group;
    enum err err = work->err;
    arena_fini(&work->secrets);
    if (err == ERR_OK) {
        err = claim_lease(job->shard, job->msg, &group);
    }
    if (err == ERR_OK) {
        CHECK(group.open_count == 1); /* a group of its own */
        body->is_hook = true;
        body->url = work->delivery.url;
        body->ack_mode = work->ack_mode;
        body->rcpts = arena_array(&job->msg->arena, 1, sizeof(*body->rcpts));
        body->rcpts[0] = work->delivery.recipient;
        body->rcpt_count = 1;
        body->rehearsal = REHEARSAL_NONE;
    }
    shard_answer(job->shard, job->msg, err);
}

/* ---- outcome -------------------------------------------------------------------------------- */

void hook_settle(struct shard *shard, struct row_mail *mail, const struct shard_outcome *outcome,
                 const struct group *group)
{
    for (uint32_t i = 0; i < outcome->verdict_count; i++) {
        if (outcome->verdicts[i].class == VERDICT_DEFERRED) {
            continue;
        }
        mail->hook_open -= mail->hook_open > 0;
        mail->hook_failed += outcome->verdicts[i].class == VERDICT_BOUNCED;
        if (outcome->verdicts[i].class == VERDICT_DELIVERED && outcome->command.len > 0) {
            obey(shard, mail, outcome->command, &group->open[i]);
        }
    }
}

/* "drop" is in the events only: what was received stays until its retention ends. */
static void obey(struct shard *shard, struct row_mail *mail, struct slice command,
                 const struct row_delivery *delivery)
{
    struct account_id account = id_account(mail->id);
    struct row_event event = {
        .type = SLICE("webhook.command"), .recipient = delivery->recipient, .detail = command};
    if (slice_equal(command, SLICE("spam"))) {
        mail->spam = SLICE("spam");
    }
    bool is_address = mail->from_addr.len > 0 && mail->from_addr.len <= ADDR_MAX;
    if (slice_equal(command, SLICE("block-sender")) && is_address) {
        struct row_blocked row = {.created_unix_ms = clock_unix_ms(), .route = delivery->route};
        struct slice sender = arena_lower(&shard->scratch, mail->from_addr);
        shard_put_blocked(shard, key_blocked(account, sender), &row);
    }
    shard_write_event(shard, mail->id, &event);
}
