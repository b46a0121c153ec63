/* report.c - see report.h. */
#include "shards/report.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#include <string.h>

#define DELIVERIES_MAX 4096 /* looked at for a group: those of recipients come first */

struct place_of_mail {
    struct id mail;
    uint32_t group;
};

static bool find_place(const struct shard *shard, const struct shard_inbound *body,
                       const struct report_work *work, struct place_of_mail *place);
static enum err load_group(struct shard *shard, const struct place_of_mail *place,
                           struct arena *arena, struct report_work *work);
static uint32_t pick_failures(struct report_work *work, struct report_hit *hits, uint32_t count);
static uint32_t pick_complainers(struct report_work *work, struct report_hit *hits, uint32_t count);
static enum err check_lease(struct shard *shard, const struct report_work *work,
                            const struct report_hit *hit);
static void store_failure(struct shard *shard, struct report_work *work, struct report_hit *hit);
static void store_complaint(struct shard *shard, struct report_work *work, struct report_hit *hit);

void report_look(const struct shard *shard, const struct shard_inbound *body,
                 const struct mime_read *mail, struct arena *arena, struct report_work *work)
{
    memset(work, 0, sizeof *work);
    for (uint32_t i = 0; i < body->rcpt_count && !work->is_report; i++) {
        work->is_report = return_path_is_ours(shard, body->account, body->rcpts[i]);
    }
    if (work->is_report) {
        report_read(mail, body->sender.len == 0, arena, &work->said);
    }
}

enum err report_find(struct shard *shard, const struct shard_inbound *body, struct arena *arena,
                     struct report_work *work)
{
    struct place_of_mail place;
    bool is_news = work->said.kind == REPORT_DSN ||
                   (work->said.kind == REPORT_COMPLAINT && work->said.is_spam);
    work->hit_count = 0;
    if (!work->is_report || !is_news || !find_place(shard, body, work, &place)) {
        return ERR_OK;
    }
    enum err err = shard_get_mail(shard, key_mail(body->account, place.mail), arena, &work->mail);
    if (err == ERR_OK) {
        err = load_group(shard, &place, arena, work);
    }
    if (err == ERR_NOT_FOUND) {
        return ERR_OK; /* erased since */
    }
    for (uint32_t i = 0; err == ERR_OK && i < work->hit_count; i++) {
        err = check_lease(shard, work, &work->hits[i]);
    }
    return err;
}

void report_store(struct shard *shard, struct report_work *work)
{
    if (work->hit_count == 0) {
        return;
    }
    for (uint32_t i = 0; i < work->hit_count; i++) {
        if (work->hits[i].said) {
            store_failure(shard, work, &work->hits[i]);
        } else {
            store_complaint(shard, work, &work->hits[i]);
        }
    }
    shard_put_mail(shard, key_mail(id_account(work->mail.id), work->mail.id), &work->mail);
    LOG_INFO("report.known", LOG_ID("message", ID_MESSAGE, work->mail.id),
             LOG_STR("kind", report_kind_text(work->said.kind)),
             LOG_U64("recipients", work->hit_count));
}

/* ---- which mail ----------------------------------------------------------------------------- */

/* A complaint is about the mail that it quotes, whatever address it was sent to. */
static bool find_place(const struct shard *shard, const struct shard_inbound *body,
                       const struct report_work *work, struct place_of_mail *place)
{
    bool is_quoted = work->said.kind == REPORT_COMPLAINT;
    for (uint32_t i = 0; is_quoted && i < work->said.token_count; i++) {
        if (return_path_read(shard, body->account, work->said.tokens[i], &place->mail,
                             &place->group)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < body->rcpt_count; i++) {
        if (return_path_read(shard, body->account, body->rcpts[i], &place->mail, &place->group)) {
            return true;
        }
    }
    return false;
}

/* The deliveries of a group are neighbours. */
static enum err load_group(struct shard *shard, const struct place_of_mail *place,
                           struct arena *arena, struct report_work *work)
{
    struct account_id account = id_account(place->mail);
    uint32_t max = (uint32_t)min_u64(work->mail.delivery_count, DELIVERIES_MAX);
    struct report_hit *hits = arena_array(arena, RCPT_PER_COPY_MAX, sizeof *hits);
    uint32_t count = 0;
    bool is_over = false;
    for (uint32_t i = 0; i < max && !is_over && count < RCPT_PER_COPY_MAX; i++) {
        struct report_hit *hit = &hits[count];
        enum err err =
            shard_get_delivery(shard, key_delivery(account, place->mail, i), arena, &hit->delivery);
        if (err != ERR_OK) {
            return err;
        }
        if (hit->delivery.group == place->group && hit->delivery.kind == DELIVERY_SMTP) {
            hit->index = i;
            count++;
        } else {
            is_over = count > 0;
        }
    }
    work->hits = hits;
    work->hit_count = work->said.kind == REPORT_DSN ? pick_failures(work, hits, count)
                                                    : pick_complainers(work, hits, count);
    return ERR_OK;
}

/* ---- which recipients ----------------------------------------------------------------------- */

static bool is_named(const struct report_rcpt *said, struct slice recipient)
{
    return slice_equal_nocase(said->final, recipient) ||
           slice_equal_nocase(said->original, recipient);
}

/* What is said of one recipient: of its failure rather than of its delay. A copy for one recipient
 * can only be about that one, whatever its address has become on the way. */
static const struct report_rcpt *said_of(const struct report_read *report, struct slice recipient,
                                         bool is_only)
{
    const struct report_rcpt *found = NULL;
    for (uint32_t i = 0; i < report->rcpt_count; i++) {
        const struct report_rcpt *said = &report->rcpts[i];
        bool is_about = is_only || is_named(said, recipient);
        if (is_about && said->action == REPORT_ACTION_FAILED) {
            return said;
        }
        if (is_about && said->action == REPORT_ACTION_DELAYED) {
            found = said;
        }
    }
    return found;
}

/* What was refused, given up or suppressed before stays as it is. */
static bool may_change(const struct row_delivery *delivery)
{
    return delivery->status == DELIVERY_DELIVERED || delivery_is_open(delivery);
}

/* Keeps those that are hit, in front. */
static uint32_t pick_failures(struct report_work *work, struct report_hit *hits, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct report_hit hit = hits[i];
        hit.said = said_of(&work->said, hit.delivery.recipient, count == 1);
        if (hit.said && may_change(&hit.delivery)) {
            hits[kept++] = hit;
        }
    }
    return kept;
}

static bool has_complained(const struct report_read *report, struct slice recipient)
{
    for (uint32_t i = 0; i < report->complainer_count; i++) {
        if (slice_equal_nocase(report->complainers[i], recipient)) {
            return true;
        }
    }
    return false;
}

/* Many hide the address; then only a copy for one recipient says whose it was. */
static uint32_t pick_complainers(struct report_work *work, struct report_hit *hits, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && work->mail.direction == DIRECTION_OUTBOUND; i++) {
        const struct row_delivery *delivery = &hits[i].delivery;
        bool is_about = count == 1 || has_complained(&work->said, delivery->recipient);
        if (is_about && !delivery->has_complained && delivery->status != DELIVERY_SUPPRESSED) {
            hits[kept++] = hits[i];
        }
    }
    return kept;
}

/* A try that is under way will write its outcome for all recipients that were open when it began:
 * none may be closed meanwhile. */
static enum err check_lease(struct shard *shard, const struct report_work *work,
                            const struct report_hit *hit)
{
    struct row_outbox outbox;
    if (!delivery_is_open(&hit->delivery)) {
        return ERR_OK;
    }
    struct key key = key_outbox(hit->delivery.next_attempt_unix_ms, id_account(work->mail.id),
                                work->mail.id, hit->delivery.group);
    enum err err = shard_get_outbox(shard, key, &shard->scratch, &outbox);
    if (err == ERR_OK && outbox_is_leased(&outbox, shard->place->boot, clock_unix_ms())) {
        return ERR_BUSY;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void close_delivery(struct shard *shard, struct report_work *work, struct report_hit *hit,
                           const struct verdict *verdict)
{
    struct row_mail *mail = &work->mail;
    struct row_delivery *row = &hit->delivery;
    if (delivery_is_open(row) && mail->open_count > 0) {
        mail->open_count--;
    }
    row->status = DELIVERY_BOUNCED;
    row->next_attempt_unix_ms = 0;
    row->last_code = verdict->code;
    row->last_response = slice_str(verdict->text);
    row->enhanced = slice_str(verdict->enhanced);
    row->bounce_class = slice_str(bounce_traits(verdict->bounce)->word);
    row->updated_unix_ms = clock_unix_ms();
    shard_put_delivery(shard, key_delivery(id_account(mail->id), mail->id, hit->index), row);
    if (mail->direction == DIRECTION_OUTBOUND && mail->open_count == 0 &&
        mail->status != MAIL_CANCELLED) {
        mail->status = MAIL_BOUNCED;
    }
}

static void store_failure(struct shard *shard, struct report_work *work, struct report_hit *hit)
{
    struct verdict verdict;
    report_verdict(hit->said, &verdict);
    bounce_rules_judge_report(shard->bounce_rules, hit->said->host, &verdict);
    if (verdict.class == VERDICT_BOUNCED) {
        close_delivery(shard, work, hit, &verdict);
        metric_add(METRIC_BOUNCED_LATER, 1);
    }
    bounce_tell(shard, &work->mail, hit->delivery.recipient, &verdict);
    if (work->mail.mode == MODE_LIVE && !work->mail.is_sandbox) {
        bounce_suppress(shard, work->mail.id, hit->delivery.recipient, &verdict);
    }
}

static void store_complaint(struct shard *shard, struct report_work *work, struct report_hit *hit)
{
    const struct complaint complaint = {
        .mail = &work->mail,
        .index = hit->index,
        .delivery = &hit->delivery,
        .text = arena_format(&shard->scratch, "feedback report: %.*s",
                             SLICE_FMT(work->said.feedback_type)),
        .is_rehearsed = work->mail.mode != MODE_LIVE || work->mail.is_sandbox,
    };
    bounce_complain(shard, &complaint);
}
