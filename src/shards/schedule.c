/* schedule.c - mails that wait for their time: taken back, moved, and what happens when it comes.
 *
 *      accepted --> SCHEDULED --due: the claim--> QUEUED --> tried as any other
 *                       |   ^
 *                       |   +-- moved: rows under another due time, another Date
 *                       +-----> CANCELLED
 *
 * A scheduled mail is stored as any other: composed, with its deliveries and its outbox rows, only
 * that these are due later. So there is nothing to be lost between the promise and the sending, and
 * to cancel is to delete the outbox rows in the batch that says so. A claim that is under way reads
 * its row again before it is granted, so a mail is either taken back or sent, never both.
 *
 * Suppressions are looked at twice: when the mail is accepted and when it falls due.
 */
#include "shards/schedule.h"

#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

#define CANCELLED_TEXT  "cancelled before it was sent"
#define SUPPRESSED_TEXT "suppressed since the mail was accepted"

/* A mail with what is still to be delivered of it, as a change finds it. */
struct plan {
    struct shard *shard;
    struct msg *msg;
    struct row_mail mail;
    struct row_domain domain;
    bool has_domain;
    struct row_delivery *open;
    uint32_t *indexes;
    uint32_t open_count;
    struct outbox_entry *entries; /* one a group */
    struct row_outbox *rows;
    uint32_t group_count;
    struct row_chunk header; /* MOVE: chunk 0 with the new Date; empty: no change */
};

static enum err load(struct plan *plan, const struct principal *who);
static enum err check_state(struct plan *plan);
static enum err load_open(struct plan *plan);
static enum err load_group(struct plan *plan, const struct row_delivery *delivery);
static enum err patch_date(struct plan *plan);
static void cancel(struct plan *plan);
static void move(struct plan *plan);
static void tell_all(struct plan *plan, struct slice type);
static enum err judge(struct shard *shard, struct schedule_due *due, const struct group *group);

void schedule_handle(struct shard *shard, struct msg *msg)
{
    struct shard_schedule *body = &msg->body.schedule;
    struct plan *plan = arena_alloc(&msg->arena, sizeof(*plan));
    struct principal who;
    plan->shard = shard;
    plan->msg = msg;
    enum err err = shard_check_caller(shard, msg, &body->caller, &who);
    if (err == ERR_OK) {
        err = load(plan, &who);
    }
    if (err == ERR_OK && body->op == SCHEDULE_MOVE) {
        err = patch_date(plan);
    }
    if (err == ERR_OK) {
        if (body->op == SCHEDULE_MOVE) {
            move(plan);
        } else {
            cancel(plan);
        }
        body->mail = plan->mail;
    }
    shard_answer(shard, msg, err);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Whoever may not send as somebody may not change what that one sends. */
static bool may_send_as_author(const struct principal *who, const struct row_mail *mail,
                               struct arena *arena)
{
    size_t at = slice_rfind_byte(mail->from_addr, '@');
    return principal_may_send_as(who, slice_head(mail->from_addr, at), arena);
}

static enum err load(struct plan *plan, const struct principal *who)
{
    struct shard *shard = plan->shard;
    struct arena *arena = &plan->msg->arena;
    const struct shard_schedule *body = &plan->msg->body.schedule;
    struct account_id account = who->account.id;
    if (id_account(body->id).value != account.value) {
        return ERR_NOT_FOUND;
    }
    enum err err = shard_get_mail(shard, key_mail(account, body->id), arena, &plan->mail);
    if (err == ERR_OK) {
        err = mail_may_see(who, &plan->mail);
    }
    if (err == ERR_OK && !may_send_as_author(who, &plan->mail, arena)) {
        err = ERR_KEY_SCOPE;
    }
    if (err == ERR_OK && body->is_scheduled_only && plan->mail.scheduled_unix_ms == 0) {
        err = ERR_NOT_FOUND;
    }
    if (err == ERR_OK) {
        err = check_state(plan);
    }
    if (err == ERR_OK) {
        err = shard_get_domain(shard, key_domain(account, plan->mail.domain), arena, &plan->domain);
        plan->has_domain = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    return err == ERR_OK ? load_open(plan) : err;
}

static enum err refuse(struct plan *plan, struct slice sentence)
{
    plan->msg->sentence = sentence;
    return ERR_CONFLICT;
}

static enum err check_state(struct plan *plan)
{
    bool is_move = plan->msg->body.schedule.op == SCHEDULE_MOVE;
    if (plan->mail.direction != DIRECTION_OUTBOUND) {
        return refuse(plan, SLICE("a received message cannot be cancelled"));
    }
    if (plan->mail.status == MAIL_CANCELLED) {
        return refuse(plan, SLICE("the message was cancelled"));
    }
    if (plan->mail.status != MAIL_SCHEDULED && (is_move || plan->mail.status != MAIL_QUEUED)) {
        return refuse(plan, SLICE("it is too late: the message is being sent, or was"));
    }
    if (is_move && plan->mail.hook_count >= SCHEDULE_HOOKS_MAX) {
        return refuse(plan, SLICE("the message was moved too often; cancel it and send another"));
    }
    return ERR_OK;
}

/* Neighbours share a group, so each group's row is read once. */
static enum err load_open(struct plan *plan)
{
    struct arena *arena = &plan->msg->arena;
    struct account_id account = id_account(plan->mail.id);
    uint32_t count = mail_rcpt_count(&plan->mail);
    plan->open = arena_array(arena, count, sizeof(*plan->open));
    plan->indexes = arena_array(arena, count, sizeof(*plan->indexes));
    plan->entries = arena_array(arena, count, sizeof(*plan->entries));
    plan->rows = arena_array(arena, count, sizeof(*plan->rows));
    for (uint32_t i = 0; i < count; i++) {
        struct row_delivery *row = &plan->open[plan->open_count];
        enum err err =
            shard_get_delivery(plan->shard, key_delivery(account, plan->mail.id, i), arena, row);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        if (row->kind != DELIVERY_SMTP || !delivery_is_open(row)) {
            continue;
        }
        bool is_known =
            plan->group_count > 0 && plan->entries[plan->group_count - 1].group == row->group;
        err = is_known ? ERR_OK : load_group(plan, row);
        if (err != ERR_OK) {
            return err;
        }
        plan->indexes[plan->open_count++] = i;
    }
    return plan->open_count > 0
               ? ERR_OK
               : refuse(plan, SLICE("it is too late: nothing of the message is still to be sent"));
}

/* A row that was ever leased, in this run or another, may have been sent. */
static enum err load_group(struct plan *plan, const struct row_delivery *delivery)
{
    struct row_outbox *row = &plan->rows[plan->group_count];
    struct outbox_entry *entry = &plan->entries[plan->group_count];
    *entry = (struct outbox_entry){
        .due_unix_ms = delivery->next_attempt_unix_ms,
        .account = id_account(plan->mail.id),
        .mail = plan->mail.id,
        .group = delivery->group,
    };
    enum err err = shard_get_outbox(
        plan->shard, key_outbox(entry->due_unix_ms, entry->account, entry->mail, entry->group),
        &plan->msg->arena, row);
    if (err == ERR_NOT_FOUND || (err == ERR_OK && (row->attempts > 0 || row->lease_boot != 0))) {
        return refuse(plan, SLICE("it is too late: the message is being sent, or was"));
    }
    if (err == ERR_OK) {
        entry->domain = row->domain;
        entry->priority = mail_priority_of(row->priority);
        entry->pool = row->pool;
        plan->group_count++;
    }
    return err;
}

/* Date is the first field of what we compose, and as long whatever it says. What the header says
 * changes no hash that is stored: it is signed when the mail is sent. */
static enum err patch_date(struct plan *plan)
{
    static const struct slice field = SLICE_INIT("Date: ");
    struct arena *arena = &plan->msg->arena;
    char date[CLOCK_TEXT_MAX];
    size_t len = clock_rfc5322(plan->msg->body.schedule.due_unix_ms, date);
    struct key key = key_chunk(id_account(plan->mail.id), plan->mail.id, 0);
    enum err err = shard_get_chunk(plan->shard, key, arena, &plan->header);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    struct slice data = plan->header.data;
    struct slice rest = slice_from(data, min_size(field.len + len, data.len));
    if (!slice_starts(data, field) || !slice_starts(rest, SLICE("\r\n"))) {
        plan->header.data = SLICE(""); /* submitted as a whole: its Date is its author's */
        return ERR_OK;
    }
    char *copy = arena_bytes(arena, data.len);
    memcpy(copy, data.data, data.len);
    memcpy(copy + field.len, date, len);
    plan->header.data = slice_of(copy, data.len);
    return ERR_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

static struct key key_of(const struct outbox_entry *entry)
{
    return key_outbox(entry->due_unix_ms, entry->account, entry->mail, entry->group);
}

static void put_mail(struct plan *plan)
{
    shard_put_mail(plan->shard, key_mail(id_account(plan->mail.id), plan->mail.id), &plan->mail);
}

static void cancel(struct plan *plan)
{
    struct account_id account = id_account(plan->mail.id);
    uint64_t now = clock_unix_ms();
    for (uint32_t i = 0; i < plan->group_count; i++) {
        shard_delete(plan->shard, key_of(&plan->entries[i]));
    }
    for (uint32_t i = 0; i < plan->open_count; i++) {
        struct row_delivery *row = &plan->open[i];
        row->status = DELIVERY_FAILED;
        row->last_response = SLICE(CANCELLED_TEXT);
        row->next_attempt_unix_ms = 0;
        row->updated_unix_ms = now;
        shard_put_delivery(plan->shard, key_delivery(account, plan->mail.id, plan->indexes[i]),
                           row);
    }
    plan->mail.status = MAIL_CANCELLED;
    plan->mail.open_count = 0;
    tell_all(plan, SLICE("email.cancelled"));
    put_mail(plan);
    LOG_DEBUG("mail.cancelled", LOG_ID("message", ID_MESSAGE, plan->mail.id));
}

static void move(struct plan *plan)
{
    uint64_t due = plan->msg->body.schedule.due_unix_ms;
    struct account_id account = id_account(plan->mail.id);
    for (uint32_t i = 0; i < plan->group_count; i++) {
        struct outbox_entry *entry = &plan->entries[i];
        shard_delete(plan->shard, key_of(entry)); /* before the put: it may be the same key */
        entry->due_unix_ms = due;
        plan->rows[i].created_unix_ms = due;
        shard_put_outbox(plan->shard, key_of(entry), &plan->rows[i]);
        shard_announce(plan->shard, entry);
    }
    for (uint32_t i = 0; i < plan->open_count; i++) {
        plan->open[i].next_attempt_unix_ms = due;
        shard_put_delivery(plan->shard, key_delivery(account, plan->mail.id, plan->indexes[i]),
                           &plan->open[i]);
    }
    if (plan->header.data.len > 0) {
        shard_put_chunk(plan->shard, key_chunk(account, plan->mail.id, 0), &plan->header);
    }
    plan->mail.scheduled_unix_ms = due;
    tell_all(plan, SLICE("email.scheduled"));
    put_mail(plan);
}

/* As schedule_tell, for all that is open. */
static void tell_all(struct plan *plan, struct slice type)
{
    struct slice *recipients =
        arena_array(&plan->msg->arena, plan->open_count, sizeof(*recipients));
    for (uint32_t i = 0; i < plan->open_count; i++) {
        recipients[i] = plan->open[i].recipient;
    }
    struct schedule_news news = {type, recipients, plan->open_count};
    schedule_tell(plan->shard, plan->has_domain ? &plan->domain : NULL, &plan->mail, &news);
}

void schedule_tell(struct shard *shard, const struct row_domain *domain, struct row_mail *mail,
                   const struct schedule_news *news)
{
    struct row_event event = {.type = news->type};
    if (!domain || !hook_wants(domain, event.type)) {
        shard_write_event(shard, mail->id, &event);
        return;
    }
    for (uint32_t i = 0; i < news->recipient_count; i++) {
        event.recipient = news->recipients[i];
        shard_write_event(shard, mail->id, &event);
        hook_tell(shard, mail, &event);
    }
}

/* ---- the time has come ---------------------------------------------------------------------- */

enum err schedule_foresee(struct shard *shard, struct msg *msg, const struct group *group,
                          struct schedule_due *due)
{
    struct arena *arena = &msg->arena;
    const struct outbox_entry *entry = &msg->body.claim.entry;
    memset(due, 0, sizeof(*due));
    for (uint32_t i = 0; i < group->open_count; i++) {
        due->is_due = due->is_due || group->open[i].status == DELIVERY_SCHEDULED;
    }
    if (!due->is_due) {
        return ERR_OK;
    }
    if (msg->body.claim.is_early) {
        return ERR_CONFLICT; /* the operator hastened all there is; this one has its time */
    }
    due->is_suppressed = arena_array(arena, group->open_count, sizeof(*due->is_suppressed));
    enum err err = shard_get_mail(shard, key_mail(entry->account, entry->mail), arena, &due->mail);
    for (uint32_t i = 0; err == ERR_OK && i < group->open_count; i++) {
        struct row_suppression row;
        struct slice address = suppression_key(group->open[i].recipient, &shard->scratch);
        err = shard_get_suppression(shard, key_suppression(entry->account, address),
                                    &shard->scratch, &row);
        due->is_suppressed[i] = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err == ERR_OK) {
        err = shard_get_domain(shard, key_domain(entry->account, due->mail.domain), arena,
                               &due->domain);
        due->has_domain = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    return err == ERR_OK ? judge(shard, due, group) : err;
}

/* What becomes of a mail of which nothing is left to be sent: the other groups' rows say. */
static enum err judge(struct shard *shard, struct schedule_due *due, const struct group *group)
{
    uint32_t gone = 0;
    for (uint32_t i = 0; i < group->open_count; i++) {
        gone += due->is_suppressed[i];
    }
    due->left_status = MAIL_QUEUED;
    if (gone < due->mail.open_count) {
        return ERR_OK;
    }
    due->left_status = MAIL_SUPPRESSED; /* what a send is refused with when it finds the same */
    for (uint32_t i = 0; i < mail_rcpt_count(&due->mail); i++) {
        struct row_delivery row;
        struct key key = key_delivery(id_account(due->mail.id), due->mail.id, i);
        enum err err = shard_get_delivery(shard, key, &shard->scratch, &row);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        if (row.kind == DELIVERY_SMTP && row.status == DELIVERY_BOUNCED) {
            due->left_status = MAIL_BOUNCED;
            return ERR_OK;
        }
        if (row.kind == DELIVERY_SMTP && row.status == DELIVERY_FAILED) {
            due->left_status = MAIL_FAILED;
        } else if (row.kind == DELIVERY_SMTP && row.status == DELIVERY_DELIVERED &&
                   due->left_status != MAIL_FAILED) {
            due->left_status = MAIL_DELIVERED;
        }
    }
    return ERR_OK;
}

void schedule_apply(struct shard *shard, struct schedule_due *due, struct group *group)
{
    struct account_id account = id_account(due->mail.id);
    struct slice *recipients = arena_array(&shard->scratch, group->open_count, sizeof(*recipients));
    uint64_t now = clock_unix_ms();
    uint32_t kept = 0;
    if (!due->is_due) {
        return;
    }
    for (uint32_t i = 0; i < group->open_count; i++) {
        struct row_delivery *row = &group->open[i];
        uint32_t index = group->indexes[i];
        row->updated_unix_ms = now;
        row->status = DELIVERY_PENDING;
        if (due->is_suppressed[i]) {
            struct row_event event = {.type = SLICE("email.failed"),
                                      .recipient = row->recipient,
                                      .detail = SLICE(SUPPRESSED_TEXT)};
            row->status = DELIVERY_SUPPRESSED;
            row->last_response = SLICE(SUPPRESSED_TEXT);
            row->next_attempt_unix_ms = 0;
            due->mail.open_count -= due->mail.open_count > 0;
            shard_write_event(shard, due->mail.id, &event);
            hook_tell(shard, &due->mail, &event);
        }
        shard_put_delivery(shard, key_delivery(account, due->mail.id, index), row);
        if (!due->is_suppressed[i]) {
            recipients[kept] = row->recipient;
            group->indexes[kept] = index;
            group->open[kept++] = *row;
        }
    }
    group->open_count = kept;
    if (kept > 0) {
        struct schedule_news news = {SLICE("email.sent"), recipients, kept};
        schedule_tell(shard, due->has_domain ? &due->domain : NULL, &due->mail, &news);
    }
    if (due->mail.status == MAIL_SCHEDULED || due->mail.open_count == 0) {
        due->mail.status = (uint8_t)due->left_status;
    }
    shard_put_mail(shard, key_mail(account, due->mail.id), &due->mail);
}
