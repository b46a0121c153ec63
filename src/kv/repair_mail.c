/* repair_mail.c - rules about mails, their deliveries and the outbox. */
#include "base/check.h"
#include "base/limits.h"
#include "kv/repair_int.h"

#include <inttypes.h>
#include <string.h>

#define GROUP_RCPTS 100 /* recipients of one outbox row, at most */

/* What a mail's deliveries say together. */
struct tally {
    uint32_t seen;
    uint32_t beyond; /* one behind the greatest index */
    uint32_t hooks;
    uint32_t open;
    uint32_t hooks_open;
    uint32_t bounced;
    uint32_t failed;
    uint32_t unread;
    uint32_t group; /* the greatest by SMTP */
};

static bool tally_one(void *of, struct slice key, struct slice value)
{
    struct tally *tally = of;
    struct row_delivery row;
    struct key_parts at;
    if (key_read(key, &at) != ERR_OK || row_delivery_decode(value, &row) != ERR_OK) {
        tally->unread++;
        return true;
    }
    bool is_hook = row.kind == FACT_WEBHOOK;
    bool is_open = fact_is_open(row.status);
    tally->seen++;
    tally->beyond = at.numbers[0] + 1;
    tally->hooks += is_hook;
    tally->open += !is_hook && is_open;
    tally->hooks_open += is_hook && is_open;
    tally->bounced += !is_hook && row.status == FACT_BOUNCED;
    tally->failed += !is_hook && row.status == FACT_FAILED;
    if (!is_hook && row.group != FACT_GROUP_NONE && row.group > tally->group) {
        tally->group = row.group;
    }
    return true;
}

static bool take_tally(struct patient *patient, struct tally *tally)
{
    struct key prefix = key_prefix_deliveries(patient->at.account, patient->at.ids[0]);
    *tally = (struct tally){.seen = 0};
    return patient_scan(patient, &prefix, tally_one, tally);
}

/* While something of it is open, its rows stay together: the backup may have the one that is
 * missing. */
void repair_mail_row(struct patient *patient)
{
    struct tally tally;
    struct row_mail row;
    MAIL_TEXT(text, patient->at.ids[0]);
    if (patient_get_mail(patient, patient->finding->key, &row) != ERR_CORRUPT ||
        !take_tally(patient, &tally)) {
        return;
    }
    if (tally.open > 0 || tally.hooks_open > 0 || tally.unread > 0) {
        patient_left(patient,
                     "%s cannot be read and %" PRIu32 " of its deliveries are open: restore it "
                     "from a backup; until then it waits",
                     text, tally.open + tally.hooks_open);
        return;
    }
    patient_put_aside(patient, &patient->finding->key, "the mail does not decode");
}

/* By the rule of the shards: one refusal makes it bounced, else one that was given up failed. */
static uint8_t status_of(const struct tally *tally)
{
    return tally->bounced > 0  ? FACT_MAIL_BOUNCED
           : tally->failed > 0 ? FACT_MAIL_FAILED
                               : FACT_MAIL_DELIVERED;
}

void repair_mail_counts(struct patient *patient)
{
    struct tally tally;
    struct row_mail row;
    MAIL_TEXT(text, patient->at.ids[0]);
    if (patient_get_mail(patient, patient->finding->key, &row) != ERR_OK ||
        !take_tally(patient, &tally)) {
        return;
    }
    if (tally.unread > 0) {
        patient_left(patient, "%s has deliveries that cannot be read; they go first", text);
        return;
    }
    struct row_mail was = row;
    bool is_whole = tally.seen == tally.beyond && tally.beyond >= row.delivery_count;
    row.delivery_count = (uint32_t)max_u64(tally.beyond, row.delivery_count);
    row.hook_count = is_whole ? tally.hooks : (uint32_t)max_u64(tally.hooks, row.hook_count);
    row.open_count = tally.open;
    row.hook_open = tally.hooks_open;
    bool is_waiting = row.status == FACT_MAIL_QUEUED || row.status == FACT_MAIL_DEFERRED ||
                      row.status == FACT_MAIL_SCHEDULED;
    if (is_whole && row.direction == FACT_OUTBOUND && is_waiting && tally.open == 0) {
        row.status = status_of(&tally);
    }
    if (was.delivery_count == row.delivery_count && was.hook_count == row.hook_count &&
        was.open_count == row.open_count && was.hook_open == row.hook_open) {
        return;
    }
    patient_put_mail(patient, patient->finding->key, &row);
    patient_done(patient,
                 "count the deliveries of %s: %" PRIu32 ", %" PRIu32 " webhooks, open %" PRIu32
                 "+%" PRIu32 "; it said %" PRIu32 ", %" PRIu32 ", %" PRIu32 "+%" PRIu32 "%s",
                 text, row.delivery_count, row.hook_count, row.open_count, row.hook_open,
                 was.delivery_count, was.hook_count, was.open_count, was.hook_open,
                 is_whole ? "" : "; those that are missing cannot be brought back");
}

/* ---- groups and the outbox ------------------------------------------------------------------ */

/* A webhook's follows from its index; any other gets a new one, and then an outbox row. */
void repair_group(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_delivery row;
    struct tally tally;
    MAIL_TEXT(text, at->ids[0]);
    if (patient_get_delivery(patient, patient->finding->key, &row) != ERR_OK ||
        !take_tally(patient, &tally)) {
        return;
    }
    bool is_hook = row.kind == FACT_WEBHOOK;
    uint32_t greatest = tally.group & ~FACT_GROUP_HOOK;
    row.group = is_hook ? FACT_GROUP_HOOK | at->numbers[0] : greatest + 1;
    patient_put_delivery(patient, patient->finding->key, &row);
    patient_done(patient, "give delivery %" PRIu32 " of %s the group %" PRIu32, at->numbers[0],
                 text, row.group);
}

/* Whether a delivery at this index belongs to the same outbox row. */
static bool is_of_group(struct patient *patient, uint32_t index, uint32_t group,
                        struct row_delivery *row)
{
    const struct key_parts *at = &patient->at;
    struct key key = key_delivery(at->account, at->ids[0], index);
    return patient_get_delivery(patient, key, row) == ERR_OK && row->group == group;
}

/* first and count of the neighbours of the group around an index. */
static void find_extent(struct patient *patient, uint32_t index, uint32_t group,
                        struct row_outbox *outbox)
{
    struct row_delivery row;
    outbox->rcpt_first = index;
    while (outbox->rcpt_first > 0 && index - outbox->rcpt_first + 1 < GROUP_RCPTS &&
           is_of_group(patient, outbox->rcpt_first - 1, group, &row)) {
        outbox->rcpt_first--;
    }
    outbox->rcpt_count = index - outbox->rcpt_first + 1;
    while (outbox->rcpt_count < GROUP_RCPTS &&
           is_of_group(patient, outbox->rcpt_first + outbox->rcpt_count, group, &row)) {
        outbox->rcpt_count++;
    }
}

static bool covers(const struct row_outbox *row, uint32_t index)
{
    return index >= row->rcpt_first && index - row->rcpt_first < row->rcpt_count;
}

/* All open ones of the row are due with it, under its group. */
static void put_due(struct patient *patient, const struct row_outbox *outbox, uint32_t old_group,
                    const struct row_delivery *wanted)
{
    const struct key_parts *at = &patient->at;
    for (uint32_t i = 0; i < outbox->rcpt_count; i++) {
        struct row_delivery row;
        uint32_t index = outbox->rcpt_first + i;
        if (is_of_group(patient, index, old_group, &row) && fact_is_open(row.status)) {
            row.group = wanted->group;
            row.next_attempt_unix_ms = wanted->next_attempt_unix_ms;
            patient_put_delivery(patient, key_delivery(at->account, at->ids[0], index), &row);
        }
    }
}

static struct row_outbox outbox_of(struct patient *patient, const struct row_mail *mail,
                                   const struct row_delivery *delivery)
{
    bool is_hook = delivery->kind == FACT_WEBHOOK;
    bool leaves = is_hook || (mail->mode == FACT_MODE_LIVE && !mail->is_sandbox);
    size_t sign = slice_rfind_byte(delivery->recipient, '@');
    struct slice domain = slice_from(delivery->recipient, sign == SIZE_MAX ? 0 : sign + 1);
    return (struct row_outbox){
        .domain = is_hook ? fact_origin(delivery->url, patient->rows->arena) : domain,
        .attempts = delivery->attempts,
        .attempts_before = delivery->attempts,
        .mode = leaves ? FACT_REHEARSAL_NONE : FACT_REHEARSAL_PLAIN,
        .size_bytes = is_hook ? 0 : mail->size_bytes,
        .priority = is_hook ? 0 : mail->priority,
        .pool = is_hook ? SLICE("") : mail->pool,
        .requires_tls = !is_hook && mail->requires_tls,
    };
}

/* Due now, or when it was scheduled for; its age begins anew. */
void repair_outbox_missing(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_delivery delivery;
    struct row_outbox standing;
    struct row_mail mail;
    struct tally tally;
    MAIL_TEXT(text, at->ids[0]);
    struct key mail_key = key_mail(at->account, at->ids[0]);
    if (patient_get_delivery(patient, patient->finding->key, &delivery) != ERR_OK ||
        !fact_is_open(delivery.status)) {
        return;
    }
    struct key key =
        key_outbox(delivery.next_attempt_unix_ms, at->account, at->ids[0], delivery.group);
    enum err err = patient_get_outbox(patient, key, &standing);
    bool is_taken = err == ERR_OK && !covers(&standing, at->numbers[0]);
    if ((err != ERR_NOT_FOUND && !is_taken) ||
        patient_get_mail(patient, mail_key, &mail) != ERR_OK) {
        return; /* it has one by now, or one that is put aside first */
    }
    if (is_taken && !take_tally(patient, &tally)) {
        return;
    }
    bool is_ahead =
        delivery.status == FACT_SCHEDULED && mail.scheduled_unix_ms > patient->rows->now_unix_ms;
    struct row_outbox row = outbox_of(patient, &mail, &delivery);
    struct row_delivery wanted = {
        .group = is_taken ? tally.group + 1 : delivery.group,
        .next_attempt_unix_ms = is_ahead ? mail.scheduled_unix_ms : patient->rows->now_unix_ms,
    };
    row.created_unix_ms = wanted.next_attempt_unix_ms;
    find_extent(patient, at->numbers[0], delivery.group, &row);
    put_due(patient, &row, delivery.group, &wanted);
    patient_put_outbox(
        patient, key_outbox(wanted.next_attempt_unix_ms, at->account, at->ids[0], wanted.group),
        &row);
    patient_done(patient, "make delivery %" PRIu32 " of %s (%.*s) due %s%s", at->numbers[0], text,
                 SLICE_FMT(slice_head(
                     delivery.kind == FACT_WEBHOOK ? delivery.url : delivery.recipient, 100)),
                 is_ahead ? "when it is scheduled for" : "now",
                 is_ahead ? "" : "; should a try have been under way, it arrives twice");
}

/* The row is what delivery goes by, so the deliveries follow it. */
void repair_outbox_due(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_delivery delivery;
    struct row_outbox row;
    struct outbox_ref ref;
    MAIL_TEXT(text, at->ids[0]);
    if (patient_get_delivery(patient, patient->finding->key, &delivery) != ERR_OK ||
        !fact_is_open(delivery.status) ||
        key_read_outbox(key_slice(&patient->finding->other), &ref) != ERR_OK ||
        ref.group != delivery.group || delivery.next_attempt_unix_ms == ref.due_unix_ms ||
        patient_get_outbox(patient, patient->finding->other, &row) != ERR_OK) {
        return;
    }
    delivery.next_attempt_unix_ms = ref.due_unix_ms;
    patient_put_delivery(patient, patient->finding->key, &delivery);
    patient_done(patient, "let delivery %" PRIu32 " of %s be due when its outbox row says",
                 at->numbers[0], text);
}

/* The deliveries that it is there for are due by a row of their own, or will be. */
void repair_outbox_dangling(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct key mail = key_mail(at->account, at->ids[0]);
    struct row_outbox row;
    struct slice value;
    if (patient_get_outbox(patient, patient->finding->key, &row) != ERR_OK) {
        return;
    }
    bool is_dangling = row.rcpt_count == 0 || row.rcpt_count > GROUP_RCPTS ||
                       patient_get(patient, &mail, &value) == ERR_NOT_FOUND;
    for (uint32_t i = 0; !is_dangling && i < row.rcpt_count; i++) {
        struct key key = key_delivery(at->account, at->ids[0], row.rcpt_first + i);
        is_dangling = patient_get(patient, &key, &value) == ERR_NOT_FOUND;
    }
    if (is_dangling) {
        patient_put_aside(patient, &patient->finding->key,
                          "it leads to a mail or deliveries that are not there; those that are get "
                          "a row of their own");
    }
}

/* The one that the deliveries name stays. */
void repair_outbox_twice(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_outbox row;
    struct row_delivery delivery;
    struct slice value;
    if (patient_get_outbox(patient, patient->finding->key, &row) != ERR_OK ||
        row.rcpt_count > GROUP_RCPTS) {
        return;
    }
    for (uint32_t i = 0; i < row.rcpt_count; i++) {
        struct key key = key_delivery(at->account, at->ids[0], row.rcpt_first + i);
        if (patient_get_delivery(patient, key, &delivery) != ERR_OK ||
            !fact_is_open(delivery.status) || delivery.group != at->numbers[0]) {
            continue;
        }
        key = key_outbox(delivery.next_attempt_unix_ms, at->account, at->ids[0], at->numbers[0]);
        if (delivery.next_attempt_unix_ms == at->due_unix_ms ||
            patient_get(patient, &key, &value) != ERR_OK) {
            return; /* it is the one */
        }
    }
    patient_put_aside(patient, &patient->finding->key, "the deliveries have another row");
}

void repair_stage(struct patient *patient)
{
    struct key mail = key_mail(patient->at.account, patient->at.ids[0]);
    struct slice value;
    if (patient_get(patient, &mail, &value) == ERR_OK) {
        patient_put_aside(patient, &patient->finding->key,
                          "the mail is complete, and the stage's end would take its body along");
    }
}
