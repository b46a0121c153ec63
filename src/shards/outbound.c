/* outbound.c - accepting a mail: the checks, the composition, the rows.
 *
 *      checks --> compose --> checks again, if composing left the loop --> rows, parked msg
 *
 * Composing ends with rows already encoded: the mail in chunks, its attachments in chunks; so what
 * a large mail costs the loop is one copy. The ids of mail and deliveries are made in one go, mail
 * first: the mail of a delivery is the greatest mail id below the delivery's.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/dkim.h"
#include "mail/mime_write.h"
#include "mail/track_html.h"
#include "shards/body_rows.h"
#include "shards/render.h"
#include "shards/schedule.h"
#include "shards/shard_int.h"
#include "shards/submitted.h"

#include <stdlib.h>
#include <string.h>

#define PART_OVERHEAD 1024 /* headers and boundaries of one part, about */
#define DAY_MS        (UINT64_C(24) * 3600 * 1000)

struct rcpt {
    struct slice text;
    struct slice key; /* addr_key */
    struct slice domain;
    uint32_t order; /* as given */
    bool needs_utf8;
    bool is_suppressed;
    bool is_scripted; /* rehearsed, and the local part says how */
};

/* A send in the making. Lives in its message's arena; rows has a heap block. */
struct send_work {
    struct shard_job job;
    struct idempotency_run run; /* while a worker composes, and there is a key */
    struct principal who;
    struct row_domain domain;
    struct row_template template; /* with an id when the mail is made from one */
    struct row_usage usage;
    struct rcpt *rcpts; /* deduplicated; by domain, the suppressed ones of a domain last */
    uint32_t rcpt_count;
    uint32_t open_count; /* not suppressed */
    struct id mail;
    struct id *deliveries; /* rcpt_count */
    uint64_t now_unix_ms;
    uint64_t due_unix_ms; /* now, or the time that it is scheduled for */
    bool is_scheduled;
    uint32_t day;
    struct slice message_id;
    struct slice feedback_id;
    struct slice text; /* as sent: given, or made from html */
    bool tracks_opens;
    bool tracks_clicks;
    struct mime_spans spans;
    struct sha256 body_hash;
    uint64_t size_bytes;
    uint32_t chunk_count;
    struct body_rows rows;
    enum err err;
};

static enum err check(struct send_work *work, bool *is_replay);
static enum err check_idempotency(struct send_work *work, bool *is_replay);
static struct idempotency idempotency_key(const struct send_work *work);
static enum err check_domain(struct send_work *work);
static enum err check_quota(struct send_work *work);
static enum err check_rcpts(struct send_work *work);
static enum err follow_script(struct send_work *work, struct rcpt *rcpt);
static bool leaves(const struct send_work *work);
static enum err gather_rcpts(struct send_work *work);
static void assign_ids(struct send_work *work);
static void choose_tracking(struct send_work *work);
static uint64_t estimate(const struct shard_send *send);
static void compose_work(struct shard_job *job);
static void compose_done(struct shard_job *job);
static enum err compose(struct send_work *work);
static enum err write_mail(struct send_work *work, struct buf *out);
static enum err add_rows(struct send_work *work, struct slice mail);
static void store(struct send_work *work);
static void store_mail(struct send_work *work);
static void tell_accepted(struct send_work *work, struct row_mail *row);
static void store_attachments(struct send_work *work);
static void store_deliveries(struct send_work *work);
static void store_group(struct send_work *work, uint32_t group, uint32_t first, uint32_t count);
static void store_counters(struct send_work *work);
static struct slice pack_addrs(struct arena *arena, const struct addr *addrs, uint32_t count);
static struct slice pack_headers(struct arena *arena, const struct shard_send *send);
static struct slice buf_to_arena(struct arena *arena, struct buf *buf);
static void answer(struct send_work *work, enum err err);

void outbound_send(struct shard *shard, struct msg *msg)
{
    struct send_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.shard = shard;
    work->job.msg = msg;
    body_rows_init(&work->rows);
    bool is_replay = false;
    enum err err = check(work, &is_replay);
    if (err != ERR_OK || is_replay) {
        answer(work, err);
        return;
    }
    assign_ids(work);
    choose_tracking(work);
    /* What a template will weigh is known only when it is rendered. */
    if (!id_is_none(work->template.id) || estimate(&msg->body.send) > MAIL_INLINE_MAX) {
        if (msg->body.send.idempotency_key.len > 0) {
            struct idempotency key = idempotency_key(work);
            idempotency_start(shard, &key, &work->run);
        }
        shard_offload(shard, &work->job, compose_work, compose_done);
        return;
    }
    err = compose(work);
    if (err == ERR_OK) {
        store(work);
    }
    answer(work, err);
}

/* ---- checks --------------------------------------------------------------------------------- */

/* Reads only. is_replay: the answer is in the body already. */
static enum err check(struct send_work *work, bool *is_replay)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    enum err err = shard_check_caller(shard, msg, &msg->body.send.caller, &work->who);
    if (err != ERR_OK) {
        return err;
    }
    if (shard->is_draining) {
        return ERR_DRAINING;
    }
    if (shard->free_bytes < shard->place->conf->reserve_mb * MIB) {
        shard_probe(shard);
        return ERR_STORAGE;
    }
    if (work->now_unix_ms == 0) {
        /* Once: keys made by the first pass carry the day. */
        work->now_unix_ms = clock_unix_ms();
        work->day = clock_day_of(work->now_unix_ms);
        work->is_scheduled =
            msg->body.send.scheduled_unix_ms > work->now_unix_ms + SCHEDULE_SOON_MS;
        work->due_unix_ms =
            work->is_scheduled ? msg->body.send.scheduled_unix_ms : work->now_unix_ms;
    }
    err = check_idempotency(work, is_replay);
    if (err != ERR_OK || *is_replay) {
        return err;
    }
    err = check_domain(work);
    if (err == ERR_OK) {
        err = check_quota(work);
    }
    if (err == ERR_OK) {
        err = render_find(shard, msg, &work->template);
    }
    return err == ERR_OK ? check_rcpts(work) : err;
}

static struct idempotency idempotency_key(const struct send_work *work)
{
    return idempotency_of(&work->who, work->job.msg->body.send.idempotency_key, work->now_unix_ms,
                          &work->job.shard->scratch);
}

static enum err check_idempotency(struct send_work *work, bool *is_replay)
{
    struct shard *shard = work->job.shard;
    struct shard_send *send = &work->job.msg->body.send;
    struct row_idempotency row;
    struct row_mail mail;
    if (send->idempotency_key.len == 0) {
        return ERR_OK;
    }
    struct idempotency key = idempotency_key(work);
    enum err err = idempotency_find(shard, &key, &send->body_hash, &row);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    err = shard_get_mail(shard, key_mail(work->who.account.id, row.mail), &shard->scratch, &mail);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    send->id = row.mail;
    send->is_scheduled = err == ERR_OK && mail.scheduled_unix_ms != 0;
    send->is_replay = true;
    *is_replay = true;
    return ERR_OK;
}

static enum err check_domain(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    struct account_id account = work->who.account.id;
    struct row_domain_name name;
    enum err err = shard_get_domain_name(
        shard, key_domain_name(account, msg->body.send.from.domain), &shard->scratch, &name);
    if (err == ERR_OK) {
        err = shard_get_domain(shard, key_domain(account, name.id), &msg->arena, &work->domain);
    }
    if (err == ERR_NOT_FOUND) {
        return ERR_DOMAIN_NOT_OWNED;
    }
    if (err != ERR_OK) {
        return err;
    }
    if (!principal_may_use_domain(&work->who, work->domain.id)) {
        return ERR_KEY_SCOPE;
    }
    if (!principal_may_send_as(&work->who, msg->body.send.from.local, &shard->scratch)) {
        msg->param = SLICE("from");
        msg->sentence = SLICE("this key may not send from that address");
        return ERR_KEY_SCOPE;
    }
    return work->domain.status == DOMAIN_VERIFIED ? ERR_OK : ERR_DOMAIN_UNVERIFIED;
}

static enum err check_quota(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    const struct row_account *account = &work->who.account;
    memset(&work->usage, 0, sizeof(work->usage));
    enum err err =
        shard_get_usage(shard, key_usage(account->id, work->day), &shard->scratch, &work->usage);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    uint64_t max = account->daily_max ? account->daily_max : shard->place->conf->daily_max;
    if (max != 0 && work->usage.mails >= max) {
        uint64_t left_ms = DAY_MS - work->now_unix_ms % DAY_MS; /* days are UTC */
        work->job.msg->rate.retry_s = (uint32_t)((left_ms + 999) / 1000);
        return ERR_QUOTA;
    }
    return ERR_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const struct rcpt *left = a;
    const struct rcpt *right = b;
    int order = slice_compare(left->key, right->key);
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

static int compare_groups(const void *a, const void *b)
{
    const struct rcpt *left = a;
    const struct rcpt *right = b;
    int order = slice_compare(left->domain, right->domain);
    if (order == 0) {
        order = (int)left->is_suppressed - (int)right->is_suppressed;
    }
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

static enum err check_rcpts(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    enum err err = work->rcpts ? ERR_OK : gather_rcpts(work);
    if (err != ERR_OK) {
        return err;
    }
    work->open_count = 0;
    for (uint32_t i = 0; i < work->rcpt_count; i++) {
        struct rcpt *rcpt = &work->rcpts[i];
        struct row_suppression row;
        err = shard_get_suppression(shard, key_suppression(work->who.account.id, rcpt->key),
                                    &shard->scratch, &row);
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
        rcpt->is_suppressed = err == ERR_OK;
        err = leaves(work) ? ERR_OK : follow_script(work, rcpt);
        if (err != ERR_OK) {
            return err;
        }
        work->open_count += !rcpt->is_suppressed;
    }
    if (work->open_count == 0) {
        return ERR_SUPPRESSED;
    }
    qsort(work->rcpts, work->rcpt_count, sizeof(*work->rcpts), compare_groups);
    return ERR_OK;
}

/* A rehearsed recipient named suppressed@ is one from the start, as it would be in earnest. */
static enum err follow_script(struct send_work *work, struct rcpt *rcpt)
{
    enum err err = outbound_is_scripted(work->job.shard, work->who.account.id, rcpt->domain,
                                        &rcpt->is_scripted);
    if (err == ERR_OK && rcpt->is_scripted) {
        struct slice local = slice_head(rcpt->key, slice_rfind_byte(rcpt->key, '@'));
        struct slice base = slice_cut(&local, '+');
        rcpt->is_suppressed = rcpt->is_suppressed || slice_equal(base, SLICE("suppressed"));
    }
    return err;
}

enum err outbound_is_scripted(struct shard *shard, struct account_id account, struct slice domain,
                              bool *is_scripted)
{
    static const struct slice prefix = SLICE_INIT("sandbox.");
    struct row_domain_name row;
    *is_scripted = slice_equal_nocase(domain, SLICE("test.invalid"));
    if (*is_scripted || !slice_starts_nocase(domain, prefix)) {
        return ERR_OK;
    }
    struct slice name = arena_lower(&shard->scratch, slice_from(domain, prefix.len));
    enum err err =
        shard_get_domain_name(shard, key_domain_name(account, name), &shard->scratch, &row);
    *is_scripted = err == ERR_OK;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Everybody once, however often named (RFC 5321 allows the repetition, nobody wants it). */
static enum err gather_rcpts(struct send_work *work)
{
    struct msg *msg = work->job.msg;
    const struct shard_send *send = &msg->body.send;
    const struct addr *lists[] = {send->to, send->cc, send->bcc};
    const uint32_t counts[] = {send->to_count, send->cc_count, send->bcc_count};
    uint64_t total = (uint64_t)send->to_count + send->cc_count + send->bcc_count;
    if (total == 0 || total > SMTP_RCPT_MAX) {
        msg->param = SLICE("to");
        return ERR_BAD_FIELD;
    }
    struct rcpt *rcpts = arena_array(&msg->arena, (size_t)total, sizeof(*rcpts));
    uint32_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (uint32_t n = 0; n < counts[i]; n++) {
            const struct addr *addr = &lists[i][n];
            rcpts[count] = (struct rcpt){
                .text = addr->text,
                .key = addr_key(addr, &msg->arena),
                .domain = addr->domain,
                .order = count,
                .needs_utf8 = addr->needs_utf8,
            };
            count++;
        }
    }
    qsort(rcpts, count, sizeof(*rcpts), compare_keys);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (!slice_equal(rcpts[i].key, rcpts[kept - 1].key)) {
            rcpts[kept++] = rcpts[i];
        }
    }
    work->rcpts = rcpts;
    work->rcpt_count = kept;
    return ERR_OK;
}

/* ---- composing ------------------------------------------------------------------------------ */

static void assign_ids(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    struct account_id account = work->who.account.id;
    work->mail = shard_id(shard, account);
    work->deliveries = arena_array(&msg->arena, work->rcpt_count, sizeof(*work->deliveries));
    for (uint32_t i = 0; i < work->rcpt_count; i++) {
        work->deliveries[i] = shard_id(shard, account);
    }
    /* In hex, because some servers fold the case of a Message-ID. */
    char hex[2 * sizeof(work->mail.bytes)];
    hex_encode(slice_of(work->mail.bytes, sizeof(work->mail.bytes)), hex);
    work->message_id =
        arena_format(&msg->arena, "%.*s@%.*s", (int)sizeof(hex), hex, SLICE_FMT(work->domain.name));
    /* campaign:customer:type:sender, as the large receivers read it; the first may be empty. */
    char digits[ACCOUNT_BODY_LEN];
    account_digits(account, digits);
    work->feedback_id = arena_format(&msg->arena, "%.*s:%.*s:transactional:meerkat",
                                     SLICE_FMT(work->domain.name), ACCOUNT_BODY_LEN, digits);
}

/* As asked for, or else as the domain says; once, because composing may leave the loop. */
static void choose_tracking(struct send_work *work)
{
    const struct shard_send *send = &work->job.msg->body.send;
    bool has_html = send->html.len > 0 || !id_is_none(send->template);
    bool opens = send->tracks_opens == CHOICE_DEFAULT ? work->domain.tracks_opens
                                                      : send->tracks_opens == CHOICE_YES;
    bool clicks = send->tracks_clicks == CHOICE_DEFAULT ? work->domain.tracks_clicks
                                                        : send->tracks_clicks == CHOICE_YES;
    work->tracks_opens = has_html && opens;
    work->tracks_clicks = has_html && clicks;
}

/* About what the composed mail will weigh; never far below. */
static uint64_t estimate(const struct shard_send *send)
{
    if (send->raw.len > 0) {
        return MAIL_INLINE_MAX + send->raw.len; /* what strangers composed is read on a worker */
    }
    uint64_t bytes = PART_OVERHEAD + send->subject.len + send->text.len + send->html.len;
    bytes += send->text.len == 0 ? send->html.len : 0;
    bytes += (uint64_t)(send->to_count + send->cc_count) * 64;
    for (uint32_t i = 0; i < send->header_count; i++) {
        bytes += send->headers[i].name.len + send->headers[i].value.len;
    }
    for (uint32_t i = 0; i < send->attachment_count; i++) {
        bytes += PART_OVERHEAD + send->attachments[i].data.len * 2;
    }
    return bytes + bytes / 3;
}

static void compose_work(struct shard_job *job)
{
    struct send_work *work = CONTAINER_OF(job, struct send_work, job);
    work->err = compose(work);
}

static void compose_done(struct shard_job *job)
{
    struct send_work *work = CONTAINER_OF(job, struct send_work, job);
    enum err err = work->err;
    bool is_replay = false;
    idempotency_stop(&work->run);
    if (err == ERR_OK) {
        /* The key may have been revoked, the quota used up. */
        err = check(work, &is_replay);
    }
    if (err == ERR_OK && !is_replay) {
        store(work);
    }
    answer(work, err);
}

/* The html as it is sent; in out when it is not as it was given. */
static struct slice tracked_html(struct send_work *work, struct buf *out)
{
    struct slice html = work->job.msg->body.send.html;
    struct track_html how = {
        .mail = work->mail,
        .opens = work->tracks_opens,
        .clicks = work->tracks_clicks,
    };
    buf_init(out, html.len + TRACK_GROWTH_MAX);
    if (html.len == 0 || (!how.opens && !how.clicks)) {
        return html; /* a template may have none */
    }
    track_rewrite(work->job.shard, &work->domain, &how, html, out);
    return buf_slice(out);
}

/* Loop or worker; touches only what the work owns. */
static enum err compose(struct send_work *work)
{
    struct buf out;
    buf_init(&out, min_size(work->job.shard->place->conf->mail_max, MAIL_BYTES_MAX));
    enum err err = render_send(work->job.msg, &work->template);
    if (err == ERR_OK) {
        err = write_mail(work, &out);
    }
    if (err == ERR_OK) {
        struct slice whole = buf_slice(&out);
        struct dkim_body body;
        dkim_body_start(&body);
        dkim_body_add(&body, slice_from(whole, (size_t)work->spans.header_len));
        work->body_hash = dkim_body_finish(&body);
        work->size_bytes = whole.len;
        err = add_rows(work, whole);
    }
    buf_fini(&out);
    return err;
}

static enum err write_mail(struct send_work *work, struct buf *out)
{
    struct msg *msg = work->job.msg;
    const struct shard_send *send = &msg->body.send;
    if (send->raw.len > 0) {
        char id[ID_TEXT_MAX];
        const struct submission_adds adds = {.message_id = work->message_id,
                                             .feedback_id = work->feedback_id,
                                             .hostname = work->job.shard->place->conf->hostname,
                                             .id =
                                                 slice_of(id, id_text(ID_MESSAGE, work->mail, id)),
                                             .date_unix_ms = work->now_unix_ms};
        return submitted_compose(msg, &adds, out, &work->spans, &work->message_id);
    }
    struct buf html;
    work->text = send->text;
    if (work->text.len == 0 && send->html.len > 0) {
        work->text = mime_text_from_html(send->html, &msg->arena);
    }
    struct mime_mail mail = {
        .from = send->from,
        .to = send->to,
        .to_count = send->to_count,
        .cc = send->cc,
        .cc_count = send->cc_count,
        .reply_to = send->reply_to,
        .reply_to_count = send->reply_to_count,
        .subject = send->subject,
        .message_id = work->message_id,
        .in_reply_to = send->in_reply_to,
        .feedback_id = work->feedback_id,
        .text = work->text,
        .html = tracked_html(work, &html),
        .headers = send->headers,
        .header_count = send->header_count,
        .attachments = send->attachments,
        .attachment_count = send->attachment_count,
        .date_unix_ms = work->due_unix_ms,
    };
    enum err err = mime_write(&mail, out, &work->spans);
    buf_fini(&html);
    return err;
}

static enum err add_rows(struct send_work *work, struct slice mail)
{
    struct msg *msg = work->job.msg;
    const struct shard_send *send = &msg->body.send;
    struct account_id account = work->who.account.id;
    uint32_t day = clock_day_of(work->due_unix_ms) + ATTACHMENT_DAYS;
    uint32_t max = body_rows_count(mail.len);
    for (uint32_t i = 0; i < send->attachment_count; i++) {
        max += body_rows_count(send->attachments[i].data.len);
    }
    body_rows_reserve(&work->rows, &msg->arena, max);
    for (size_t at = 0; at < mail.len; at += CHUNK_BYTES) {
        body_rows_add(&work->rows, key_chunk(account, work->mail, work->chunk_count++),
                      slice_sub(mail, at, CHUNK_BYTES));
    }
    for (uint32_t i = 0; i < send->attachment_count; i++) {
        struct slice data = send->attachments[i].data;
        uint32_t chunk = 0;
        for (size_t at = 0; at < data.len; at += CHUNK_BYTES) {
            body_rows_add(&work->rows, key_attachment_data(day, account, work->mail, i, chunk++),
                          slice_sub(data, at, CHUNK_BYTES));
        }
    }
    return body_rows_err(&work->rows);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Who speaks closest to the mail decides which addresses of ours it leaves from. */
static struct slice pool_of(const struct send_work *work)
{
    struct slice own = work->job.msg->body.send.pool;
    struct slice domains = work->domain.pool;
    return own.len > 0 ? own : domains.len > 0 ? domains : work->who.account.pool;
}

static void store(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    struct batch *batch = shard->filling;
    body_rows_put(&work->rows, batch->rows);
    store_attachments(work);
    store_deliveries(work);
    store_mail(work);
    store_counters(work);
    batch->accepted_count++;
    batch->accepted_bytes += work->size_bytes;
    work->job.msg->body.send.id = work->mail;
    work->job.msg->body.send.is_replay = false;
    work->job.msg->body.send.is_scheduled = work->is_scheduled;
    LOG_LINE(LOG_LEVEL_IF(shard->place->conf->mail_log), "mail.accepted",
             LOG_ID("message", ID_MESSAGE, work->mail),
             LOG_ACCOUNT("account", id_account(work->mail)), LOG_ORIGIN(&work->job.msg->origin),
             LOG_U64("bytes", work->size_bytes), LOG_U64("rcpts", work->rcpt_count));
}

static void store_mail(struct send_work *work)
{
    struct arena *arena = &work->job.msg->arena;
    const struct shard_send *send = &work->job.msg->body.send;
    const struct mime_span *text = &work->spans.text;
    const struct mime_span *html = &work->spans.html;
    struct row_mail row = {
        .id = work->mail,
        .mode = work->who.has_key ? work->who.key.mode : MODE_LIVE,
        .is_sandbox = send->is_sandbox,
        .direction = DIRECTION_OUTBOUND,
        .status = work->is_scheduled ? MAIL_SCHEDULED : MAIL_QUEUED,
        .needs_utf8 = work->spans.needs_utf8 || send->from.needs_utf8,
        .needs_8bit = work->spans.needs_8bit,
        .is_submitted = send->raw.len > 0,
        .from_name = send->from.name,
        .from_addr = send->from.text,
        .to = pack_addrs(arena, send->to, send->to_count),
        .cc = pack_addrs(arena, send->cc, send->cc_count),
        .bcc = pack_addrs(arena, send->bcc, send->bcc_count),
        .reply_to = pack_addrs(arena, send->reply_to, send->reply_to_count),
        .subject = send->subject,
        .message_id = work->message_id,
        .in_reply_to = send->in_reply_to,
        .headers = pack_headers(arena, send),
        .metadata = send->metadata,
        .tags = send->tags,
        .domain = work->domain.id,
        .domain_text = work->domain.name,
        .key = work->who.key.id,
        .received_unix_ms = work->now_unix_ms,
        .size_bytes = work->size_bytes,
        .header_len = work->spans.header_len,
        .has_text = text->is_present,
        .text_encoding = (uint8_t)text->encoding,
        .text_offset = text->offset,
        .text_len = text->len,
        .has_html = html->is_present,
        .html_encoding = (uint8_t)html->encoding,
        .html_offset = html->offset,
        .html_len = html->len,
        .body_hash = work->body_hash,
        .chunk_count = work->chunk_count,
        .delivery_count = work->rcpt_count,
        .attachment_count = send->attachment_count,
        .open_count = work->open_count,
        .tracks_opens = work->tracks_opens,
        .tracks_clicks = work->tracks_clicks,
        .template = send->template,
        .has_unsubscribe = send->has_unsubscribe,
        .priority = (uint8_t)send->priority,
        .requires_tls = send->requires_tls,
        .pool = pool_of(work),
        .scheduled_unix_ms = work->is_scheduled ? work->due_unix_ms : 0,
    };
    tell_accepted(work, &row);
    shard_put_mail(work->job.shard, key_mail(work->who.account.id, work->mail), &row);
}

static void tell_accepted(struct send_work *work, struct row_mail *row)
{
    struct slice *recipients =
        arena_array(&work->job.msg->arena, work->rcpt_count, sizeof(*recipients));
    struct schedule_news news = {
        .type = work->is_scheduled ? SLICE("email.scheduled") : SLICE("email.sent"),
        .recipients = recipients,
    };
    for (uint32_t i = 0; i < work->rcpt_count; i++) {
        if (!work->rcpts[i].is_suppressed) {
            recipients[news.recipient_count++] = work->rcpts[i].text;
        }
    }
    schedule_tell(work->job.shard, &work->domain, row, &news);
}

static void store_attachments(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    const struct shard_send *send = &work->job.msg->body.send;
    struct account_id account = work->who.account.id;
    for (uint32_t i = 0; i < send->attachment_count; i++) {
        const struct mime_attachment *given = &send->attachments[i];
        struct row_attachment row = {
            .id = shard_id(shard, account),
            .filename = given->filename,
            .content_type = given->content_type,
            .content_id = given->content_id,
            .size_bytes = given->data.len,
            .is_inline = given->content_id.len > 0,
            .expires_unix_ms = work->due_unix_ms + ATTACHMENT_DAYS * DAY_MS,
            .day = clock_day_of(work->due_unix_ms) + ATTACHMENT_DAYS,
            .chunk_count = body_rows_count(given->data.len),
            .data_index = i,
        };
        shard_put_attachment(shard, key_attachment(account, work->mail, i), &row);
    }
}

static void store_deliveries(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    struct account_id account = work->who.account.id;
    /* Who may unsubscribe gets a copy that says so by name. */
    uint32_t most = work->job.msg->body.send.has_unsubscribe ? 1 : RCPT_PER_COPY_MAX;
    uint32_t group = 0;
    uint32_t first = 0; /* of the group that is being filled */
    for (uint32_t i = 0; i < work->rcpt_count; i++) {
        const struct rcpt *rcpt = &work->rcpts[i];
        struct row_delivery row = {
            .id = work->deliveries[i],
            .recipient = rcpt->text,
            .status = (uint8_t)(rcpt->is_suppressed  ? DELIVERY_SUPPRESSED
                                : work->is_scheduled ? DELIVERY_SCHEDULED
                                                     : DELIVERY_PENDING),
            .group = rcpt->is_suppressed ? DELIVERY_GROUP_NONE : group,
            .next_attempt_unix_ms = rcpt->is_suppressed ? 0 : work->due_unix_ms,
            .updated_unix_ms = work->now_unix_ms,
        };
        shard_put_delivery(shard, key_delivery(account, work->mail, i), &row);
        if (rcpt->is_suppressed) {
            first = i + 1;
            continue;
        }
        const struct rcpt *next = i + 1 < work->rcpt_count ? rcpt + 1 : NULL;
        bool is_last = !next || next->is_suppressed || i + 1 - first == most ||
                       !slice_equal(next->domain, rcpt->domain);
        if (is_last) {
            store_group(work, group++, first, i + 1 - first);
            first = i + 1;
        }
    }
}

/* Whether a mail server may ever be contacted for this mail. */
static bool leaves(const struct send_work *work)
{
    bool is_test = work->who.has_key && work->who.key.mode == MODE_TEST;
    return !is_test && !work->job.msg->body.send.is_sandbox;
}

static void store_group(struct send_work *work, uint32_t group, uint32_t first, uint32_t count)
{
    struct shard *shard = work->job.shard;
    const struct shard_send *send = &work->job.msg->body.send;
    struct outbox_entry entry = {
        .due_unix_ms = work->due_unix_ms,
        .account = work->who.account.id,
        .mail = work->mail,
        .group = group,
        .domain = work->rcpts[first].domain,
        .priority = send->priority,
        .pool = pool_of(work),
    };
    struct row_outbox row = {
        .domain = entry.domain,
        .rcpt_first = first,
        .rcpt_count = count,
        .created_unix_ms = work->due_unix_ms,
        .mode = leaves(work)                     ? REHEARSAL_NONE
                : work->rcpts[first].is_scripted ? REHEARSAL_SCRIPTED
                                                 : REHEARSAL_PLAIN,
        .size_bytes = work->size_bytes,
        .priority = (uint8_t)send->priority,
        .pool = pool_of(work),
        .requires_tls = send->requires_tls,
    };
    shard_put_outbox(shard, key_outbox(entry.due_unix_ms, entry.account, entry.mail, group), &row);
    shard_announce(shard, &entry);
}

static void store_counters(struct send_work *work)
{
    struct shard *shard = work->job.shard;
    const struct shard_send *send = &work->job.msg->body.send;
    struct account_id account = work->who.account.id;
    work->usage.mails++;
    work->usage.rcpts += work->rcpt_count;
    work->usage.bytes += work->size_bytes;
    shard_put_usage(shard, key_usage(account, work->day), &work->usage);
    if (send->idempotency_key.len > 0) {
        struct idempotency key = idempotency_key(work);
        idempotency_note(shard, &key, &send->body_hash, work->mail);
    }
}

/* ---- packs ---------------------------------------------------------------------------------- */

static struct slice pack_addrs(struct arena *arena, const struct addr *addrs, uint32_t count)
{
    struct buf pack;
    buf_init(&pack, ROW_BYTES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        outbound_pack_addr(&pack, addrs[i].name, addrs[i].text);
    }
    return buf_to_arena(arena, &pack);
}

static struct slice pack_headers(struct arena *arena, const struct shard_send *send)
{
    struct buf pack;
    buf_init(&pack, ROW_BYTES_MAX);
    for (uint32_t i = 0; i < send->header_count; i++) {
        buf_put_slice(&pack, send->headers[i].name);
        buf_put_slice(&pack, send->headers[i].value);
    }
    return buf_to_arena(arena, &pack);
}

static void add_addr_as_written(struct buf *out, struct slice name, struct slice address)
{
    if (name.len == 0) {
        buf_add(out, address);
        return;
    }
    bool is_plain = true;
    for (size_t i = 0; i < name.len; i++) {
        is_plain =
            is_plain && !memchr("()<>[]:;@\\,.\"", name.data[i], sizeof("()<>[]:;@\\,.\"") - 1);
    }
    if (!is_plain) {
        buf_add_byte(out, '"');
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (c == '"' || c == '\\') {
            buf_add_byte(out, '\\');
        }
        buf_add_byte(out, c);
    }
    if (!is_plain) {
        buf_add_byte(out, '"');
    }
    buf_add_str(out, " <");
    buf_add(out, address);
    buf_add_byte(out, '>');
}

/* For people and for addr_parse: the name in UTF-8, quoted when it must be, not encoded. */
void outbound_pack_addr(struct buf *pack, struct slice name, struct slice address)
{
    struct buf text;
    buf_init(&text, ROW_BYTES_MAX);
    add_addr_as_written(&text, name, address);
    buf_put_slice(pack, buf_slice(&text));
    buf_fini(&text);
}

static struct slice buf_to_arena(struct arena *arena, struct buf *buf)
{
    struct slice copy = arena_dup(arena, buf_slice(buf));
    buf_fini(buf);
    return copy;
}

static void answer(struct send_work *work, enum err err)
{
    body_rows_fini(&work->rows);
    shard_answer(work->job.shard, work->job.msg, err);
}

/* ---- expiry --------------------------------------------------------------------------------- */

/* Attachments lie under the day they expire on, idempotency keys under the day they were used on;
 * those of today and yesterday may still be asked for. */
void outbound_expire(struct shard *shard, struct msg *msg)
{
    uint32_t day = msg->body.expire.day;
    uint32_t today = clock_day_of(clock_unix_ms());
    uint32_t used_day = today < 2 ? 0 : (uint32_t)min_u64(day, today - 2);
    struct key from = key_prefix_attachment_day(0);
    struct key to = key_prefix_attachment_day(day);
    to = key_after(&to);
    kv_batch_delete_range(shard->filling->rows, key_slice(&from), key_slice(&to));
    from = key_prefix_idempotency_day(0);
    to = key_prefix_idempotency_day(used_day);
    to = key_after(&to);
    kv_batch_delete_range(shard->filling->rows, key_slice(&from), key_slice(&to));
    shard->depends = DEPENDS_FILLING;
    retention_sweep(shard);
    shard_answer(shard, msg, ERR_OK);
}
