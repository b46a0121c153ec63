/* bounce.c - what becomes of a recipient that did not want, or could not have, a mail: its event,
 * its place among the suppressed, its complaint.
 *
 * One place for what is said during a delivery (claim.c) and what is reported long after it
 * (report.c).
 */
#include "base/metric.h"
#include "shards/shard_int.h"

bool bounce_is_ours(const struct verdict *verdict)
{
    bool is_own_choice =
        verdict->code == 0 && verdict->bounce == BOUNCE_TLS && verdict->step != SMTP_STEP_RCPT;
    return verdict->class == VERDICT_BOUNCED && (verdict->is_given_up || is_own_choice);
}

static struct slice type_of(const struct verdict *verdict)
{
    switch (verdict->class) {
    case VERDICT_DELIVERED:
        return SLICE("email.delivered");
    case VERDICT_DEFERRED:
        return SLICE("email.delivery_delayed");
    case VERDICT_BOUNCED:
        break;
    }
    return bounce_is_ours(verdict) ? SLICE("email.failed") : SLICE("email.bounced");
}

void bounce_tell(struct shard *shard, struct row_mail *mail, struct slice recipient,
                 const struct verdict *verdict)
{
    struct row_event event = {
        .type = type_of(verdict),
        .recipient = recipient,
        .code = verdict->code,
        .enhanced = slice_str(verdict->enhanced),
        .detail = slice_str(verdict->text),
    };
    struct buf pack;
    buf_init(&pack, KIB);
    if (verdict->bounce != BOUNCE_NONE) {
        buf_put_slice(&pack, SLICE("bounceClass"));
        buf_put_slice(&pack, slice_str(bounce_traits(verdict->bounce)->word));
    }
    event.data = arena_dup(&shard->scratch, buf_slice(&pack));
    buf_fini(&pack);
    shard_write_event(shard, mail->id, &event);
    hook_tell(shard, mail, &event);
}

/* A server that says so before it has seen the mail speaks of the recipient, and a domain that
 * takes no mail of all of its own; what is said of a whole mail may be about any recipient. */
static bool is_address_at_fault(const struct verdict *verdict)
{
    bool is_of_rcpt = verdict->step == SMTP_STEP_RCPT || verdict->step == SMTP_STEP_RESOLVE;
    return verdict->class == VERDICT_BOUNCED && !verdict->is_given_up && is_of_rcpt &&
           bounce_traits(verdict->bounce)->suppresses;
}

void bounce_suppress(struct shard *shard, struct id mail, struct slice recipient,
                     const struct verdict *verdict)
{
    if (!is_address_at_fault(verdict)) {
        return;
    }
    struct suppression found = {
        .key = suppression_key(recipient, &shard->scratch),
        .reason = SUPPRESSION_HARD_BOUNCE,
        .note = slice_str(verdict->text),
        .mail = mail,
    };
    suppression_add(shard, id_account(mail), &found);
}

void bounce_complain(struct shard *shard, const struct complaint *complaint)
{
    struct id mail = complaint->mail->id;
    struct row_delivery *delivery = complaint->delivery;
    if (delivery->has_complained) {
        return;
    }
    struct row_event event = {
        .type = SLICE("email.complained"),
        .recipient = delivery->recipient,
        .detail = complaint->text,
    };
    struct suppression found = {
        .key = suppression_key(delivery->recipient, &shard->scratch),
        .reason = SUPPRESSION_COMPLAINT,
        .note = complaint->text,
        .mail = mail,
    };
    delivery->has_complained = true;
    shard_put_delivery(shard, key_delivery(id_account(mail), mail, complaint->index), delivery);
    if (!complaint->is_rehearsed) {
        suppression_add(shard, id_account(mail), &found);
        metric_add(METRIC_COMPLAINED, 1);
    }
    shard_write_event(shard, mail, &event);
    hook_tell(shard, complaint->mail, &event);
}
