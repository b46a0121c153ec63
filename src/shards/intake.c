/* intake.c - storing a received mail.
 *
 *      checks --> read on a worker --> checks again, routes, thread, mailboxes --> rows, parked msg
 *
 * Everything is one batch: the mail, its attachments, the webhooks that it fires, and the note by
 * which the same mail is known when its sender, who did not hear our answer, brings it again. A
 * mail that cannot be understood is stored all the same; what is missing is what could not be read.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/header.h"
#include "mail/mime_read.h"
#include "shards/body_rows.h"
#include "shards/forward.h"
#include "shards/received.h"
#include "shards/report.h"
#include "shards/shard_int.h"
#include "shards/thread.h"

#include <string.h>

#define READ_ARENA_BYTES (MAIL_BYTES_MAX + 2 * CHUNK_BYTES + MIME_READ_ARENA_BYTES)
#define HITS_ARENA_BYTES (16 * MIB) /* the routes that fire for one recipient */
#define HOOKS_FIRST      16

/* A mail that is being read. Lives in its message's arena; bodies has a heap block. */
struct intake_work {
    struct shard_job job;
    struct slice *rcpts; /* each once */
    uint32_t rcpt_count;
    uint64_t now_unix_ms;
    uint32_t day;
    struct row_mail row; /* grows from check to check */
    struct row_attachment *files;
    struct body_rows bodies;
    struct thread_names names;
    /* found before the rows are written */
    struct thread_place thread;
    struct hook_target *hooks;
    uint32_t hook_count;
    uint32_t hook_max;
    uint32_t skipped_count; /* beyond RECEIVED_HOOKS_MAX */
    struct forwards forwards;
    struct report_work report;
    struct id *mailboxes;
    uint32_t mailbox_count;
    uint64_t held_bytes; /* counted in the shard's intake_bytes */
    enum err err;
};

static enum err check(struct intake_work *work);
static enum err check_stage(struct intake_work *work);
static enum err check_duplicate(struct intake_work *work);
static struct sha256 note_hash(const struct shard_inbound *body);
static void keep_rcpts(struct intake_work *work);
static void read_work(struct shard_job *job);
static enum err load(struct intake_work *work, struct arena *arena, struct slice *raw);
static void fill_row(struct intake_work *work, const struct mime_read *mail, struct slice raw);
static void fill_files(struct intake_work *work, const struct mime_read *mail);
static void add_bodies(struct intake_work *work, const struct mime_read *mail);
static void read_done(struct shard_job *job);
static enum err find_domain(struct intake_work *work);
static enum err find_blocked(struct intake_work *work);
static enum err find_hooks(struct intake_work *work);
static enum err find_mailboxes(struct intake_work *work);
static void store(struct intake_work *work);
static void store_files(struct intake_work *work);
static void store_mailboxes(struct intake_work *work);
static void tell(struct intake_work *work);
static void answer(struct intake_work *work, enum err err);

static struct account_id account_of(const struct intake_work *work)
{
    return work->job.msg->body.inbound.account;
}

void intake_mail(struct shard *shard, struct msg *msg)
{
    struct shard_inbound *body = &msg->body.inbound;
    struct intake_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.shard = shard;
    work->job.msg = msg;
    work->now_unix_ms = clock_unix_ms();
    work->day = clock_day_of(work->now_unix_ms);
    body_rows_init(&work->bodies);
    enum err err = check(work);
    if (err == ERR_OK && shard->intake_bytes + body->size_bytes > INTAKE_BYTES_MAX) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK || body->is_duplicate) {
        answer(work, err);
        return;
    }
    work->held_bytes = body->size_bytes;
    shard->intake_bytes += work->held_bytes;
    work->row.id = id_is_none(body->mail) ? shard_id(shard, body->account) : body->mail;
    shard_offload(shard, &work->job, read_work, read_done);
}

/* ---- checks --------------------------------------------------------------------------------- */

/* Reads only; but a repetition that was staged ends its stage. */
static enum err check(struct intake_work *work)
{
    const struct shard_inbound *body = &work->job.msg->body.inbound;
    enum err err = intake_check(work->job.shard, body->account);
    if (err != ERR_OK) {
        return err;
    }
    if (body->rcpt_count == 0 || body->rcpt_count > SMTP_RCPT_MAX ||
        body->trace.len > CHUNK_BYTES || body->size_bytes > MAIL_BYTES_MAX) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < body->rcpt_count; i++) {
        if (body->rcpts[i].len == 0 || body->rcpts[i].len > ADDR_MAX) {
            return ERR_INVALID;
        }
    }
    err = check_stage(work);
    return err == ERR_OK ? check_duplicate(work) : err;
}

static enum err check_stage(struct intake_work *work)
{
    const struct shard_inbound *body = &work->job.msg->body.inbound;
    struct row_stage row;
    if (id_is_none(body->mail)) {
        return body->data.len <= MAIL_BYTES_MAX ? ERR_OK : ERR_INVALID;
    }
    if (id_account(body->mail).value != body->account.value ||
        body->chunks > body_rows_count(MAIL_BYTES_MAX)) {
        return ERR_INVALID;
    }
    return shard_get_stage(work->job.shard, key_stage(body->account, body->mail),
                           &work->job.shard->scratch, &row);
}

/* Other than the name of any Idempotency-Key. */
static struct sha256 note_hash(const struct shard_inbound *body)
{
    struct sha256_stream stream;
    sha256_start(&stream);
    sha256_add(&stream, SLICE("in:"));
    sha256_add(&stream, sha256_slice(&body->digest));
    return sha256_finish(&stream);
}

static enum err check_duplicate(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    struct shard_inbound *body = &work->job.msg->body.inbound;
    struct sha256 hash = note_hash(body);
    for (uint32_t i = 0; i < 2 && i <= work->day; i++) {
        struct row_idempotency row;
        struct key key = key_idempotency(work->day - i, body->account, &hash);
        enum err err = shard_get_idempotency(shard, key, &shard->scratch, &row);
        if (err == ERR_NOT_FOUND ||
            (err == ERR_OK && row.created_unix_ms + IDEMPOTENCY_MS <= work->now_unix_ms)) {
            continue;
        }
        if (err != ERR_OK) {
            return err;
        }
        body->id = row.mail;
        body->is_duplicate = true;
        if (!id_is_none(body->mail)) {
            stage_end(shard, body->mail, false);
        }
        return ERR_OK;
    }
    return ERR_OK;
}

/* ---- reading (worker) ----------------------------------------------------------------------- */

/* What of a mail matters to its rows moves to the message's arena; the rest dies here. */
static void read_work(struct shard_job *job)
{
    struct intake_work *work = CONTAINER_OF(job, struct intake_work, job);
    struct arena arena;
    struct slice raw;
    struct mime_read mail;
    arena_init(&arena, 64 * KIB, READ_ARENA_BYTES);
    work->err = load(work, &arena, &raw);
    if (work->err == ERR_OK) {
        work->err = mime_read(raw, &arena, &mail);
    }
    if (work->err == ERR_OK) {
        keep_rcpts(work);
        fill_row(work, &mail, raw);
        fill_files(work, &mail);
        add_bodies(work, &mail);
        thread_names_of(&mail, &job->msg->arena, &work->names);
        forward_trail_of(raw, &job->msg->arena, &work->forwards.trail);
        report_look(job->shard, &job->msg->body.inbound, &mail, &job->msg->arena, &work->report);
        work->row.report = slice_str(report_kind_text(work->report.said.kind));
        work->err = body_rows_err(&work->bodies);
    }
    arena_fini(&arena);
}

static enum err load(struct intake_work *work, struct arena *arena, struct slice *raw)
{
    const struct shard_inbound *body = &work->job.msg->body.inbound;
    enum err err = ERR_OK;
    *raw = body->data;
    if (!id_is_none(body->mail)) {
        const struct received_at at = {
            .kv = work->job.shard->kv,
            .family = work->job.shard->family,
            .mail = body->mail,
            .chunk_count = body->chunks + 1,
        };
        err = received_load(&at, arena, raw);
    }
    if (err == ERR_OK && raw->len != body->size_bytes) {
        LOG_ERROR("inbound.size", LOG_ID("message", ID_MESSAGE, work->row.id),
                  LOG_U64("said", body->size_bytes), LOG_U64("found", raw->len));
        err = ERR_CORRUPT;
    }
    return err;
}

static void keep_rcpts(struct intake_work *work)
{
    const struct shard_inbound *body = &work->job.msg->body.inbound;
    struct slice *rcpts =
        arena_array(&work->job.msg->arena, body->rcpt_count, sizeof(*work->rcpts));
    uint32_t count = 0;
    for (uint32_t i = 0; i < body->rcpt_count; i++) {
        bool is_known = false;
        for (uint32_t n = 0; n < count && !is_known; n++) {
            is_known = slice_equal(rcpts[n], body->rcpts[i]);
        }
        if (!is_known) {
            rcpts[count++] = body->rcpts[i];
        }
    }
    work->rcpts = rcpts;
    work->rcpt_count = count;
}

/* Whole characters of at most max bytes. */
static struct slice cut(struct arena *arena, struct slice text, size_t max)
{
    size_t len = text.len;
    if (len > max) {
        len = max;
        while (len > 0 && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    return arena_dup(arena, slice_head(text, len));
}

/* Addresses beyond the ceiling are in the raw mail only. */
static struct slice pack_list(struct arena *arena, const struct mime_addr_list *list)
{
    struct buf pack;
    buf_init(&pack, RECEIVED_ADDRS_BYTES);
    for (uint32_t i = 0; i < list->count && !pack.is_over; i++) {
        size_t before = pack.len;
        outbound_pack_addr(&pack, list->items[i].name, list->items[i].address);
        if (pack.is_over) {
            pack.len = before;
        }
    }
    struct slice copy = arena_dup(arena, slice_of(pack.data, pack.len));
    buf_fini(&pack);
    return copy;
}

static struct slice pack_texts(struct arena *arena, const struct slice *items, uint32_t count)
{
    struct buf pack;
    buf_init(&pack, SMTP_RCPT_MAX * (ADDR_MAX + 4));
    for (uint32_t i = 0; i < count; i++) {
        buf_put_slice(&pack, items[i]);
    }
    struct slice copy = arena_dup(arena, buf_slice(&pack));
    buf_fini(&pack);
    return copy;
}

static void fill_row(struct intake_work *work, const struct mime_read *mail, struct slice raw)
{
    const struct shard_inbound *body = &work->job.msg->body.inbound;
    struct arena *arena = &work->job.msg->arena;
    struct slice author = mail->from.address.len > 0 ? mail->from.address : body->sender;
    work->row = (struct row_mail){
        .id = work->row.id,
        .mode = MODE_LIVE,
        .direction = DIRECTION_INBOUND,
        .status = MAIL_DELIVERED,
        .from_name = cut(arena, mail->from.name, DISPLAY_NAME_MAX),
        .from_addr = cut(arena, author, ADDR_MAX),
        .to = pack_list(arena, &mail->to),
        .cc = pack_list(arena, &mail->cc),
        .reply_to = pack_list(arena, &mail->reply_to),
        .subject = cut(arena, mail->subject, SUBJECT_MAX),
        .message_id = cut(arena, mail->message_id, RECEIVED_ID_MAX),
        .in_reply_to = cut(arena, mail->in_reply_to, RECEIVED_ID_MAX),
        .received_unix_ms = body->received_unix_ms ? body->received_unix_ms : work->now_unix_ms,
        .size_bytes = raw.len,
        .header_len = min_u64(header_block_len(raw), RECEIVED_HEADER_MAX),
        .has_text = mail->text.is_present,
        .has_html = mail->html.is_present,
        .chunk_count = 1 + body_rows_count(raw.len),
        .attachment_count = mail->file_count,
        .envelope_from = slice_head(body->sender, 2 * ADDR_MAX),
        .envelope_to = pack_texts(arena, work->rcpts, work->rcpt_count),
        .trace_len = (uint32_t)body->trace.len,
        .needs_8bit = !slice_is_ascii(raw),
        .needs_utf8 = !slice_is_ascii(body->trace), /* the envelope is quoted there */
        .spf = body->spf,
        .dkim = body->dkim,
        .dmarc = body->dmarc,
        .spam = body->spam,
        .remote_addr = body->remote_addr,
        .helo = body->helo,
        .is_damaged = mail->is_damaged,
        .date_unix_ms = mail->has_date ? mail->date_unix_ms : 0,
    };
}

static void fill_files(struct intake_work *work, const struct mime_read *mail)
{
    struct arena *arena = &work->job.msg->arena;
    work->files = arena_array(arena, mail->file_count, sizeof(*work->files));
    for (uint32_t i = 0; i < mail->file_count; i++) {
        const struct mime_file *file = &mail->files[i];
        struct row_attachment *row = &work->files[i];
        *row = (struct row_attachment){
            .filename = cut(arena, file->filename, ATTACHMENT_NAME_MAX),
            .content_type = cut(arena, file->content_type, ATTACHMENT_NAME_MAX),
            .content_id = cut(arena, file->content_id, RECEIVED_ID_MAX),
            .size_bytes = file->data.len,
            .is_inline = file->is_inline,
            .expires_unix_ms = work->now_unix_ms + ATTACHMENT_DAYS * UINT64_C(86400000),
            .day = work->day + ATTACHMENT_DAYS,
            .chunk_count = body_rows_count(file->data.len),
            .digest = file->digest,
            .data_index = i,
        };
        for (uint32_t n = 0; n < i && row->data_index == i; n++) {
            if (slice_equal(sha256_slice(&work->files[n].digest), sha256_slice(&row->digest))) {
                row->data_index = n;
            }
        }
    }
}

/* The trace block, the mail unless it is staged, and each attachment's data once. */
static void add_bodies(struct intake_work *work, const struct mime_read *mail)
{
    const struct shard_inbound *body = &work->job.msg->body.inbound;
    struct account_id account = account_of(work);
    struct slice data = id_is_none(body->mail) ? body->data : SLICE("");
    uint32_t max = 1 + body_rows_count(data.len);
    for (uint32_t i = 0; i < mail->file_count; i++) {
        max += body_rows_count(mail->files[i].data.len);
    }
    body_rows_reserve(&work->bodies, &work->job.msg->arena, max);
    body_rows_add(&work->bodies, key_chunk(account, work->row.id, 0), body->trace);
    uint32_t index = 1;
    for (size_t at = 0; at < data.len; at += CHUNK_BYTES) {
        body_rows_add(&work->bodies, key_chunk(account, work->row.id, index++),
                      slice_sub(data, at, CHUNK_BYTES));
    }
    for (uint32_t i = 0; i < mail->file_count; i++) {
        const struct row_attachment *row = &work->files[i];
        struct slice bytes = mail->files[i].data;
        uint32_t chunk = 0;
        for (size_t at = 0; row->data_index == i && at < bytes.len; at += CHUNK_BYTES) {
            body_rows_add(&work->bodies,
                          key_attachment_data(row->day, account, work->row.id, i, chunk++),
                          slice_sub(bytes, at, CHUNK_BYTES));
        }
    }
}

/* ---- what it means here --------------------------------------------------------------------- */

static void read_done(struct shard_job *job)
{
    struct intake_work *work = CONTAINER_OF(job, struct intake_work, job);
    struct shard_inbound *body = &job->msg->body.inbound;
    enum err err = work->err;
    if (err == ERR_OK) {
        err =
            check(work); /* the account may be suspended, the same mail have come by another way */
    }
    if (err != ERR_OK || body->is_duplicate) {
        answer(work, err);
        return;
    }
    err = find_domain(work);
    if (err == ERR_OK) {
        err = find_blocked(work);
    }
    if (err == ERR_OK) {
        err = find_hooks(work);
    }
    if (err == ERR_OK) {
        err = find_mailboxes(work);
    }
    if (err == ERR_OK) {
        err = thread_find(job->shard, body->account, &work->names, &work->thread);
    }
    if (err == ERR_OK) {
        err = report_find(job->shard, body, &job->msg->arena, &work->report);
    }
    if (err == ERR_OK) {
        store(work);
    }
    answer(work, err);
}

/* That of the first recipient. A return path may stand below it, or be the server's own name. */
static enum err find_domain(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    struct account_id account = account_of(work);
    struct slice text = slice_from(work->rcpts[0], slice_rfind_byte(work->rcpts[0], '@') + 1);
    struct row_domain_name row;
    enum err err =
        shard_get_domain_name(shard, key_domain_name(account, text), &shard->scratch, &row);
    struct slice label = shard->place->conf->return_path_label;
    if (err == ERR_NOT_FOUND && text.len > label.len && text.data[label.len] == '.' &&
        slice_starts(text, label)) {
        text = slice_from(text, label.len + 1);
        err = shard_get_domain_name(shard, key_domain_name(account, text), &shard->scratch, &row);
    }
    work->row.domain_text = text;
    if (err == ERR_OK) {
        work->row.domain = row.id;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err find_blocked(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    const struct slice senders[] = {work->row.from_addr, work->row.envelope_from};
    for (size_t i = 0; i < ARRAY_LEN(senders); i++) {
        struct row_blocked row;
        if (senders[i].len == 0 || senders[i].len > ADDR_MAX) {
            continue;
        }
        struct slice sender = arena_lower(&shard->scratch, senders[i]);
        enum err err =
            shard_get_blocked(shard, key_blocked(account_of(work), sender), &shard->scratch, &row);
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
        if (err == ERR_OK) {
            work->row.spam = SLICE("blocked");
        }
    }
    return ERR_OK;
}

static bool is_blocked(const struct intake_work *work)
{
    return slice_equal(work->row.spam, SLICE("blocked"));
}

/* Text of the route dies with its arena. */
static void add_hook(struct intake_work *work, const struct row_route *route, struct slice rcpt)
{
    struct arena *arena = &work->job.msg->arena;
    if (work->hook_count == RECEIVED_HOOKS_MAX) {
        work->skipped_count++;
        return;
    }
    if (work->hook_count == work->hook_max) {
        uint32_t max = work->hook_max ? 2 * work->hook_max : HOOKS_FIRST;
        struct hook_target *hooks = arena_array(arena, max, sizeof(*hooks));
        if (work->hook_count > 0) {
            memcpy(hooks, work->hooks, work->hook_count * sizeof(*hooks));
        }
        work->hooks = hooks;
        work->hook_max = max;
    }
    work->hooks[work->hook_count++] = (struct hook_target){
        .route = route->id,
        .url = arena_dup(arena, route->destination),
        .recipient = rcpt,
        .due_unix_ms = work->now_unix_ms,
    };
}

/* Every route that matches fires, for every recipient it matches. A return path calls no
 * webhook: what comes to it tells of other mail, whose own events are told. */
static enum err find_hooks(struct intake_work *work)
{
    struct arena arena;
    enum err err = ERR_OK;
    if (is_blocked(work)) {
        return ERR_OK;
    }
    arena_init(&arena, 4 * KIB, HITS_ARENA_BYTES);
    for (uint32_t i = 0; err == ERR_OK && i < work->rcpt_count; i++) {
        struct route_hits hits = {.count = 0};
        bool is_report = return_path_is_ours(work->job.shard, account_of(work), work->rcpts[i]);
        arena_clear(&arena);
        err = routing_find(work->job.shard, account_of(work), work->rcpts[i], &arena, &hits);
        for (uint32_t n = 0; err == ERR_OK && n < hits.count; n++) {
            switch ((enum route_action)hits.rows[n].action) {
            case ROUTE_WEBHOOK:
                if (!is_report) {
                    add_hook(work, &hits.rows[n], work->rcpts[i]);
                }
                break;
            case ROUTE_FORWARD:
                err = forward_find(work->job.shard, &hits.rows[n], work->rcpts[i],
                                   &work->job.msg->arena, &work->forwards);
                break;
            case ROUTE_STORE:
            case ROUTE_DROP: /* stored all the same, and nothing more is done */
                break;
            }
        }
    }
    arena_fini(&arena);
    return err;
}

static enum err find_mailboxes(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    work->mailboxes =
        arena_array(&work->job.msg->arena, work->rcpt_count, sizeof(*work->mailboxes));
    for (uint32_t i = 0; i < work->rcpt_count; i++) {
        struct row_mailbox_name row;
        enum err err = shard_get_mailbox_name(
            shard, key_mailbox_name(account_of(work), work->rcpts[i]), &shard->scratch, &row);
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
        if (err == ERR_OK) {
            work->mailboxes[work->mailbox_count++] = row.mailbox;
        }
    }
    return ERR_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void store(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    struct shard_inbound *body = &work->job.msg->body.inbound;
    struct row_mail *row = &work->row;
    body_rows_put(&work->bodies, shard->filling->rows);
    shard->depends = DEPENDS_FILLING;
    if (!id_is_none(body->mail)) {
        stage_end(shard, body->mail, true);
    }
    row->thread = thread_add(shard, &work->names, &work->thread, row);
    store_files(work);
    store_mailboxes(work);
    for (uint32_t i = 0; i < work->hook_count; i++) {
        hook_add(shard, row, &work->hooks[i]);
    }
    tell(work);
    report_store(shard, &work->report);
    forward_store(shard, row, &work->forwards);
    shard_put_mail(shard, key_mail(body->account, row->id), row);
    struct sha256 hash = note_hash(body);
    struct row_idempotency note = {
        .body_hash = body->digest,
        .mail = row->id,
        .created_unix_ms = work->now_unix_ms,
    };
    shard_put_idempotency(shard, key_idempotency(work->day, body->account, &hash), &note);
    body->id = row->id;
    body->is_duplicate = false;
    LOG_LINE(LOG_LEVEL_IF(shard->place->conf->mail_log), "mail.received",
             LOG_ID("message", ID_MESSAGE, row->id), LOG_ACCOUNT("account", body->account),
             LOG_ORIGIN(&work->job.msg->origin), LOG_U64("bytes", row->size_bytes),
             LOG_U64("rcpts", work->rcpt_count), LOG_U64("webhooks", work->hook_count));
}

static void store_files(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    for (uint32_t i = 0; i < work->row.attachment_count; i++) {
        work->files[i].id = shard_id(shard, account_of(work));
        shard_put_attachment(shard, key_attachment(account_of(work), work->row.id, i),
                             &work->files[i]);
    }
}

static void store_mailboxes(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    struct account_id account = account_of(work);
    struct row_mailbox_mail entry = {.thread = work->row.thread};
    bool is_spam = is_blocked(work) || slice_equal(work->row.spam, SLICE("spam"));
    struct row_mail_state state = {
        .folder = is_spam ? SLICE("spam") : SLICE("inbox"),
        .mailboxes = slice_of(work->mailboxes, work->mailbox_count * sizeof(*work->mailboxes)),
    };
    if (work->mailbox_count == 0) {
        return;
    }
    for (uint32_t i = 0; i < work->mailbox_count; i++) {
        shard_put_mailbox_mail(shard, key_mailbox_mail(account, work->mailboxes[i], work->row.id),
                               &entry);
    }
    shard_put_mail_state(shard, key_mail_state(account, work->row.id), &state);
}

/* What the owner of the mail can read of it: that it came, and what was left out. */
static void tell(struct intake_work *work)
{
    struct shard *shard = work->job.shard;
    struct row_event event = {.type = SLICE("email.received"), .recipient = work->rcpts[0]};
    shard_write_event(shard, work->row.id, &event);
    if (work->skipped_count > 0) {
        event = (struct row_event){.type = SLICE("webhook.skipped")};
        event.detail = arena_format(&shard->scratch, "%u webhooks beyond the %u of one mail",
                                    work->skipped_count, (unsigned)RECEIVED_HOOKS_MAX);
        shard_write_event(shard, work->row.id, &event);
    }
}

static void answer(struct intake_work *work, enum err err)
{
    struct shard *shard = work->job.shard;
    CHECK(shard->intake_bytes >= work->held_bytes);
    shard->intake_bytes -= work->held_bytes;
    body_rows_fini(&work->bodies);
    shard_answer(shard, work->job.msg, err);
}
