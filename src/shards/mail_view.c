/* mail_view.c - showing mails, and trying a delivery again.
 *
 * Lists and whole mails are read on a worker, through scans that may be one sync ahead of the disk:
 * they are views, not promises. What another account owns, or a key of the other mode, is not
 * found.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/mime_read.h"
#include "mail/mime_write.h"
#include "shards/received.h"
#include "shards/shard_int.h"

#include <string.h>

#define PAGE_OF_ROWS    64                      /* first capacity of a growing list */
#define VIEW_FULL_BYTES (MSG_ARENA_MAX * 2 / 3) /* beyond, a view goes without transcripts */

/* A request that runs on a worker. Lives in its message's arena. */
struct view_work {
    struct shard_job job;
    struct principal who;
    struct id mail;       /* RETRY: found by the worker */
    uint32_t index;       /* RETRY: likewise */
    struct arena scratch; /* the worker's */
    enum err err;
};

/* A growing array in an arena. */
struct list {
    void *items;
    uint32_t count;
    uint32_t capacity;
};

static void start(struct shard *shard, struct msg *msg, const struct caller *caller,
                  shard_job_fn *work);
static void view_done(struct shard_job *job);
static void list_work(struct shard_job *job);
static bool list_takes(const struct view_work *work, const struct row_mail *row);
static bool pack_has_nocase(struct slice pack, struct slice needle);
static bool has_nocase(struct slice text, struct slice needle);
static struct key before_key(struct account_id account, const struct shard_list *body);
static void read_work(struct shard_job *job);
static enum err read_mail(struct view_work *work);
static enum err read_received(struct view_work *work);
static enum err read_composed(struct view_work *work);
static enum err read_part(struct view_work *work, const struct mime_span *span, struct slice *text);
static enum err read_bytes(struct view_work *work, uint64_t offset, uint64_t len,
                           struct slice *bytes);
static enum err read_deliveries(struct view_work *work);
static enum err read_attempts(struct view_work *work, struct delivery_view *view);
static enum err read_attempt(struct view_work *work, const struct delivery_view *view,
                             struct slice value, struct attempt_view *attempt);
static enum err read_attachments(struct view_work *work);
static enum err read_events(struct view_work *work);
static struct kv_iter *open_prefix(const struct view_work *work, const struct key *prefix,
                                   bool is_reverse);
static void *list_add(struct arena *arena, struct list *list, size_t size);
static void retry_find(struct shard_job *job);
static void retry_done(struct shard_job *job);
static enum err retry(struct view_work *work);
static enum err retry_open(struct view_work *work, struct row_mail *mail,
                           const struct row_delivery *delivery);
static enum err retry_closed(struct view_work *work, struct row_mail *mail,
                             struct row_delivery *delivery);
static enum err next_group(struct view_work *work, const struct row_mail *mail, uint32_t *group);
static enum err copy_transcripts(struct view_work *work, const struct row_delivery *delivery,
                                 uint32_t to_group);

/* ---- entry points --------------------------------------------------------------------------- */

void mail_list(struct shard *shard, struct msg *msg)
{
    start(shard, msg, &msg->body.list.caller, list_work);
}

void mail_read(struct shard *shard, struct msg *msg)
{
    start(shard, msg, &msg->body.read.caller, read_work);
}

void mail_retry(struct shard *shard, struct msg *msg)
{
    start(shard, msg, &msg->body.retry.caller, retry_find);
}

void mail_raw(struct shard *shard, struct msg *msg)
{
    struct shard_raw *body = &msg->body.raw;
    struct principal who;
    struct row_mail mail;
    struct row_chunk chunk;
    struct slice bytes;
    enum err err = shard_check_caller(shard, msg, &body->caller, &who);
    if (err == ERR_OK) {
        err =
            shard_get_mail(shard, key_mail(body->caller.account, body->id), &shard->scratch, &mail);
    }
    err = err == ERR_OK ? mail_may_see(&who, &mail) : err;
    if (err == ERR_OK) {
        struct key key = key_chunk(body->caller.account, body->id, body->chunk);
        err = shard_load(shard, &key, &msg->arena, &bytes);
    }
    if (err == ERR_OK) {
        err = row_chunk_decode(bytes, &chunk);
    }
    if (err == ERR_OK) {
        body->chunk_count = mail.chunk_count;
        body->size_bytes = mail.size_bytes + mail.trace_len;
        body->data = chunk.data;
    }
    shard_answer(shard, msg, err);
}

enum err mail_may_see(const struct principal *who, const struct row_mail *mail)
{
    if (!principal_sees(who, mail->mode)) {
        return ERR_NOT_FOUND;
    }
    return principal_may_use_domain(who, mail->domain) ? ERR_OK : ERR_KEY_SCOPE;
}

static void start(struct shard *shard, struct msg *msg, const struct caller *caller,
                  shard_job_fn *work)
{
    struct view_work *view = arena_alloc(&msg->arena, sizeof(*view));
    enum err err = shard_check_caller(shard, msg, caller, &view->who);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    view->job.msg = msg;
    arena_init(&view->scratch, 64 * KIB, MSG_ARENA_MAX);
    shard_offload(shard, &view->job, work, work == retry_find ? retry_done : view_done);
}

static void view_done(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    arena_fini(&work->scratch);
    shard_answer(job->shard, job->msg, work->err);
}

/* ---- list (worker) -------------------------------------------------------------------------- */

static void list_work(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    struct shard_list *body = &job->msg->body.list;
    struct arena *arena = &job->msg->arena;
    struct account_id account = work->who.account.id;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    struct key from = key_prefix_mails(account);
    struct key to = before_key(account, body);
    body->rows = arena_array(arena, limit, sizeof(*body->rows));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), true);
    struct slice key;
    struct slice value;
    uint32_t seen = 0;
    bool is_end = false;
    work->err = ERR_OK;
    while (work->err == ERR_OK && body->row_count < limit && seen < LIST_ROWS_MAX) {
        struct row_mail row;
        is_end = !kv_iter_next(iter, &key, &value);
        if (is_end) {
            break;
        }
        seen++;
        if (row_mail_decode(value, &row) != ERR_OK) {
            LOG_ERROR("mail.damaged", LOG_ACCOUNT("account", account));
            continue; /* one damaged row must not hide the others */
        }
        if (list_takes(work, &row)) {
            struct slice kept;
            work->err = mail_keep(arena, value, &kept);
            if (work->err == ERR_OK) {
                work->err = row_mail_decode(kept, &body->rows[body->row_count++]);
            }
        }
    }
    if (is_end) {
        work->err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
}

static bool list_takes(const struct view_work *work, const struct row_mail *row)
{
    const struct shard_list *body = &work->job.msg->body.list;
    if (mail_may_see(&work->who, row) != ERR_OK ||
        (body->has_direction && row->direction != body->direction) ||
        (body->has_status &&
         (row->status != body->status || row->direction == DIRECTION_INBOUND)) ||
        (body->domain.len > 0 && !slice_equal_nocase(row->domain_text, body->domain))) {
        return false;
    }
    return body->search.len == 0 || has_nocase(row->from_addr, body->search) ||
           has_nocase(row->from_name, body->search) || has_nocase(row->subject, body->search) ||
           pack_has_nocase(row->to, body->search) ||
           pack_has_nocase(row->envelope_to, body->search);
}

static bool pack_has_nocase(struct slice pack, struct slice needle)
{
    struct slice item;
    while (get_slice(&pack, &item)) {
        if (has_nocase(item, needle)) {
            return true;
        }
    }
    return false;
}

static bool has_nocase(struct slice text, struct slice needle)
{
    for (size_t at = 0; at + needle.len <= text.len; at++) {
        if (slice_starts_nocase(slice_from(text, at), needle)) {
            return true;
        }
    }
    return false;
}

/* Where a page ends: below an id, or below the first id that could have been made at a time. */
static struct key before_key(struct account_id account, const struct shard_list *body)
{
    if (!id_is_none(body->before)) {
        return key_mail(account, body->before);
    }
    if (body->before_unix_ms >> 48 != 0) {
        struct key prefix = key_prefix_mails(account);
        return key_after(&prefix);
    }
    struct id least;
    memset(&least, 0, sizeof(least));
    for (size_t i = 0; i < 6; i++) {
        least.bytes[i] = (uint8_t)(body->before_unix_ms >> (40 - 8 * i));
    }
    return key_mail(account, least);
}

/* ---- one mail (worker) ---------------------------------------------------------------------- */

static void read_work(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    if (job->msg->body.read.wants_facts) {
        work->err = mail_facts(job->shard, &work->who, job->msg, &work->scratch);
        return;
    }
    work->mail = job->msg->body.read.id;
    work->err = read_mail(work);
    if (work->err == ERR_OK) {
        work->err = read_deliveries(work);
    }
    if (work->err == ERR_OK) {
        work->err = read_attachments(work);
    }
    if (work->err == ERR_OK) {
        work->err = read_events(work);
    }
}

static enum err read_mail(struct view_work *work)
{
    struct shard_read *body = &work->job.msg->body.read;
    const struct row_mail *mail = &body->mail;
    struct key key = key_mail(work->who.account.id, work->mail);
    struct slice bytes;
    enum err err = shard_load(work->job.shard, &key, &work->job.msg->arena, &bytes);
    if (err == ERR_OK) {
        err = row_mail_decode(bytes, &body->mail);
    }
    err = err == ERR_OK ? mail_may_see(&work->who, mail) : err;
    if (err == ERR_OK) {
        err = mail_state_load(work->job.shard, mail, &work->job.msg->arena, &body->state);
    }
    if (err != ERR_OK) {
        return err;
    }
    bool is_theirs = mail->direction == DIRECTION_INBOUND || mail->is_submitted;
    return is_theirs ? read_received(work) : read_composed(work);
}

/* A mail that others composed is read again each time; what is shown of it moves to the message's
 * arena. */
static enum err read_received(struct view_work *work)
{
    struct shard_read *body = &work->job.msg->body.read;
    struct arena *arena = &work->job.msg->arena;
    const struct received_at at = {
        .kv = work->job.shard->kv,
        .family = work->job.shard->family,
        .mail = work->mail,
        .chunk_count = body->mail.chunk_count,
        .has_no_trace = body->mail.is_submitted,
    };
    struct slice raw;
    struct mime_read mail;
    enum err err = received_load(&at, &work->scratch, &raw);
    if (err == ERR_OK) {
        err = mime_read(raw, &work->scratch, &mail);
    }
    if (err == ERR_OK) {
        err = mail_keep(arena, slice_head(raw, (size_t)body->mail.header_len), &body->header_block);
    }
    if (err == ERR_OK) {
        err = mail_keep(arena, mail.text.text, &body->text);
    }
    if (err == ERR_OK) {
        err = mail_keep(arena, mail.html.text, &body->html);
    }
    arena_clear(&work->scratch);
    return err;
}

static enum err read_composed(struct view_work *work)
{
    struct shard_read *body = &work->job.msg->body.read;
    const struct row_mail *mail = &body->mail;
    enum err err = read_bytes(work, 0, mail->header_len, &body->header_block);
    struct mime_span text = {.offset = mail->text_offset,
                             .len = mail->text_len,
                             .encoding = (enum mime_encoding)mail->text_encoding,
                             .is_present = mail->has_text};
    struct mime_span html = {.offset = mail->html_offset,
                             .len = mail->html_len,
                             .encoding = (enum mime_encoding)mail->html_encoding,
                             .is_present = mail->has_html};
    if (err == ERR_OK) {
        err = read_part(work, &text, &body->text);
    }
    if (err == ERR_OK) {
        err = read_part(work, &html, &body->html);
    }
    return err;
}

static enum err read_part(struct view_work *work, const struct mime_span *span, struct slice *text)
{
    struct slice content;
    if (!span->is_present) {
        return ERR_OK;
    }
    enum err err = read_bytes(work, span->offset, span->len, &content);
    if (err == ERR_OK) {
        *text = mime_decode(span->encoding, content, &work->job.msg->arena);
    }
    return err;
}

/* Bytes of the stored mail, gathered from its chunks. */
static enum err read_bytes(struct view_work *work, uint64_t offset, uint64_t len,
                           struct slice *bytes)
{
    if (len > MAIL_BYTES_MAX || offset > MAIL_BYTES_MAX) {
        return ERR_CORRUPT;
    }
    char *out = arena_try(&work->job.msg->arena, (size_t)len);
    if (out == NULL) {
        return ERR_CORRUPT; /* header and parts are parts of one mail, which fits */
    }
    size_t have = 0;
    while (have < len) {
        struct key key =
            key_chunk(work->who.account.id, work->mail, (uint32_t)((offset + have) / CHUNK_BYTES));
        struct row_chunk row;
        struct slice value;
        arena_clear(&work->scratch);
        enum err err = shard_load(work->job.shard, &key, &work->scratch, &value);
        if (err == ERR_OK) {
            err = row_chunk_decode(value, &row);
        }
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        struct slice part =
            slice_sub(row.data, (size_t)((offset + have) % CHUNK_BYTES), (size_t)len - have);
        if (part.len == 0) {
            return ERR_CORRUPT;
        }
        memcpy(out + have, part.data, part.len);
        have += part.len;
    }
    *bytes = slice_of(out, have);
    return ERR_OK;
}

static enum err read_deliveries(struct view_work *work)
{
    struct shard_read *body = &work->job.msg->body.read;
    struct arena *arena = &work->job.msg->arena;
    struct key prefix = key_prefix_deliveries(work->who.account.id, work->mail);
    struct kv_iter *iter = open_prefix(work, &prefix, false);
    struct list list = {.items = NULL};
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    while (err == ERR_OK && kv_iter_next(iter, &key, &value)) {
        struct delivery_view *view = list_add(arena, &list, sizeof(*view));
        struct id mail;
        err = view != NULL ? mail_keep(arena, value, &value) : ERR_TOO_LARGE;
        if (err == ERR_OK) {
            err = key_read_delivery(key, &mail, &view->index);
        }
        if (err == ERR_OK) {
            err = row_delivery_decode(value, &view->row);
        }
    }
    if (err == ERR_OK) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    body->deliveries = list.items;
    body->delivery_count = list.count;
    for (uint32_t i = 0; err == ERR_OK && i < list.count; i++) {
        err = read_attempts(work, &body->deliveries[i]);
    }
    return err;
}

/* The attempts of one recipient, each with its group's transcript. A number is missing while its
 * attempt runs. */
static enum err read_attempts(struct view_work *work, struct delivery_view *view)
{
    struct arena *arena = &work->job.msg->arena;
    struct account_id account = work->who.account.id;
    struct list list = {.items = NULL};
    enum err err = ERR_OK;
    for (uint32_t number = 1; err == ERR_OK && number <= view->row.attempts; number++) {
        struct key key = key_attempt(account, work->mail, view->index, number);
        struct slice value;
        err = shard_load(work->job.shard, &key, arena, &value);
        if (err == ERR_NOT_FOUND) {
            err = ERR_OK;
            continue;
        }
        struct attempt_view *attempt =
            err == ERR_OK ? list_add(arena, &list, sizeof(*attempt)) : NULL;
        if (attempt == NULL) {
            err = err == ERR_OK ? ERR_TOO_LARGE : err;
            break;
        }
        attempt->number = number;
        err = read_attempt(work, view, value, attempt);
    }
    view->attempts = list.items;
    view->attempt_count = list.count;
    return err;
}

static enum err read_attempt(struct view_work *work, const struct delivery_view *view,
                             struct slice value, struct attempt_view *attempt)
{
    struct arena *arena = &work->job.msg->arena;
    struct row_transcript transcript;
    enum err err = row_attempt_decode(value, &attempt->row);
    if (err != ERR_OK || arena->used_bytes > VIEW_FULL_BYTES) {
        return err;
    }
    struct key key =
        key_transcript(work->who.account.id, work->mail, view->row.group, attempt->number);
    err = shard_load(work->job.shard, &key, arena, &value);
    if (err == ERR_OK) {
        err = row_transcript_decode(value, &transcript);
    }
    if (err == ERR_OK) {
        attempt->transcript = transcript.text;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err read_attachments(struct view_work *work)
{
    struct shard_read *body = &work->job.msg->body.read;
    struct arena *arena = &work->job.msg->arena;
    struct key prefix = key_prefix_attachments(work->who.account.id, work->mail);
    struct kv_iter *iter = open_prefix(work, &prefix, false);
    struct list list = {.items = NULL};
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    while (err == ERR_OK && kv_iter_next(iter, &key, &value)) {
        struct row_attachment *row = list_add(arena, &list, sizeof(*row));
        err = row != NULL ? mail_keep(arena, value, &value) : ERR_TOO_LARGE;
        if (err == ERR_OK) {
            err = row_attachment_decode(value, row);
        }
    }
    if (err == ERR_OK) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    body->attachments = list.items;
    body->attachment_count = list.count;
    return err;
}

static enum err read_events(struct view_work *work)
{
    struct shard_read *body = &work->job.msg->body.read;
    struct arena *arena = &work->job.msg->arena;
    struct key prefix = key_prefix_events(work->who.account.id, work->mail);
    struct kv_iter *iter = open_prefix(work, &prefix, false);
    struct list list = {.items = NULL};
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    while (err == ERR_OK && kv_iter_next(iter, &key, &value)) {
        struct row_event *row = list_add(arena, &list, sizeof(*row));
        err = row != NULL ? mail_keep(arena, value, &value) : ERR_TOO_LARGE;
        if (err == ERR_OK) {
            err = row_event_decode(value, row);
        }
    }
    if (err == ERR_OK) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    body->events = list.items;
    body->event_count = list.count;
    return err;
}

static struct kv_iter *open_prefix(const struct view_work *work, const struct key *prefix,
                                   bool is_reverse)
{
    struct key to = key_after(prefix);
    return kv_iter_open(work->job.shard->kv, work->job.shard->family, key_slice(prefix),
                        key_slice(&to), is_reverse);
}

/* Doubles; what is left behind dies with the arena. NULL when that is full. */
static void *list_add(struct arena *arena, struct list *list, size_t size)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : PAGE_OF_ROWS;
        char *items = arena_try(arena, capacity * size);
        if (items == NULL) {
            return NULL;
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * size);
        }
        list->items = items;
        list->capacity = capacity;
    }
    return (char *)list->items + size * list->count++;
}

enum err mail_keep(struct arena *arena, struct slice value, struct slice *kept)
{
    char *copy = arena_try(arena, value.len);
    if (copy == NULL) {
        return ERR_TOO_LARGE;
    }
    if (value.len > 0) {
        memcpy(copy, value.data, value.len);
    }
    *kept = slice_of(copy, value.len);
    return ERR_OK;
}

/* ---- retry ---------------------------------------------------------------------------------- */

static void retry_find(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    work->err = mail_of_delivery(job->shard, job->msg->body.retry.delivery, &work->scratch,
                                 &work->mail, &work->index);
    if (work->err == ERR_OK && id_account(work->mail).value != work->who.account.id.value) {
        work->err = ERR_NOT_FOUND;
    }
}

static void retry_done(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    enum err err = work->err;
    if (err == ERR_OK) {
        err = retry(work);
    }
    arena_fini(&work->scratch);
    shard_answer(job->shard, job->msg, err);
}

static enum err retry(struct view_work *work)
{
    struct shard *shard = work->job.shard;
    struct msg *msg = work->job.msg;
    struct account_id account = work->who.account.id;
    struct row_mail mail;
    struct row_delivery delivery;
    enum err err = shard_get_mail(shard, key_mail(account, work->mail), &msg->arena, &mail);
    err = err == ERR_OK ? mail_may_see(&work->who, &mail) : err;
    if (err == ERR_OK) {
        err = shard_get_delivery(shard, key_delivery(account, work->mail, work->index), &msg->arena,
                                 &delivery);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (mail.status == MAIL_CANCELLED && delivery.kind == DELIVERY_SMTP) {
        msg->sentence = SLICE("the message was cancelled");
        return ERR_CONFLICT;
    }
    if (delivery.attempts >= RETRY_ATTEMPTS_MAX) {
        msg->sentence = SLICE("the delivery was tried too often to be tried again by hand");
        return ERR_CONFLICT;
    }
    switch ((enum delivery_status)delivery.status) {
    case DELIVERY_SCHEDULED:
        msg->sentence = SLICE("the message is scheduled; change its time instead");
        err = ERR_CONFLICT;
        break;
    case DELIVERY_PENDING:
    case DELIVERY_DEFERRED:
        err = retry_open(work, &mail, &delivery);
        break;
    case DELIVERY_BOUNCED:
    case DELIVERY_FAILED:
        err = retry_closed(work, &mail, &delivery);
        break;
    case DELIVERY_DELIVERED:
        /* A webhook may be told again what it took already. */
        err =
            delivery.kind == DELIVERY_WEBHOOK ? retry_closed(work, &mail, &delivery) : ERR_CONFLICT;
        break;
    case DELIVERY_SUPPRESSED:
        err = ERR_CONFLICT;
        break;
    }
    return err;
}

/* Its whole group becomes due now: they share one transaction. */
static enum err retry_open(struct view_work *work, struct row_mail *mail,
                           const struct row_delivery *delivery)
{
    struct shard *shard = work->job.shard;
    struct arena *arena = &work->job.msg->arena;
    uint64_t now = clock_unix_ms();
    struct outbox_entry entry = {
        .due_unix_ms = delivery->next_attempt_unix_ms,
        .account = work->who.account.id,
        .mail = mail->id,
        .group = delivery->group,
    };
    struct key old = key_outbox(entry.due_unix_ms, entry.account, entry.mail, entry.group);
    struct row_outbox row;
    enum err err = shard_get_outbox(shard, old, arena, &row);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CONFLICT : err;
    }
    if (outbox_is_leased(&row, shard->place->boot, now) || row.rcpt_count > RCPT_PER_COPY_MAX) {
        return ERR_CONFLICT; /* it is being tried at this moment */
    }
    work->job.msg->body.retry.status = (enum delivery_status)delivery->status;
    if (entry.due_unix_ms <= now) {
        return ERR_OK;
    }
    struct row_delivery *group = arena_array(arena, row.rcpt_count, sizeof(*group));
    for (uint32_t i = 0; i < row.rcpt_count; i++) {
        err = shard_get_delivery(shard, key_delivery(entry.account, entry.mail, row.rcpt_first + i),
                                 arena, &group[i]);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
    }
    for (uint32_t i = 0; i < row.rcpt_count; i++) {
        if (delivery_is_open(&group[i]) && group[i].group == entry.group) {
            group[i].next_attempt_unix_ms = now;
            shard_put_delivery(shard, key_delivery(entry.account, entry.mail, row.rcpt_first + i),
                               &group[i]);
        }
    }
    shard_delete(shard, old);
    entry.due_unix_ms = now;
    entry.domain = row.domain;
    entry.priority = mail_priority_of(row.priority);
    entry.pool = row.pool;
    shard_put_outbox(shard, key_outbox(now, entry.account, entry.mail, entry.group), &row);
    shard_announce(shard, &entry);
    return ERR_OK;
}

/* A group of its own, whose attempts go on counting, and whose age begins anew. */
static enum err retry_closed(struct view_work *work, struct row_mail *mail,
                             struct row_delivery *delivery)
{
    struct shard *shard = work->job.shard;
    struct account_id account = work->who.account.id;
    uint64_t now = clock_unix_ms();
    bool is_hook = delivery->kind == DELIVERY_WEBHOOK;
    uint32_t group = delivery->group; /* that of a webhook is its own */
    enum err err = is_hook ? ERR_OK : next_group(work, mail, &group);
    if (err == ERR_OK && !is_hook) {
        err = copy_transcripts(work, delivery, group);
    }
    if (err != ERR_OK) {
        return err;
    }
    size_t at = slice_rfind_byte(delivery->recipient, '@');
    bool is_scripted = false;
    struct outbox_entry entry = {
        .due_unix_ms = now,
        .account = account,
        .mail = mail->id,
        .group = group,
        .domain = slice_from(delivery->recipient, at == SIZE_MAX ? 0 : at + 1),
        .priority = mail_priority_of(mail->priority),
        .pool = mail->pool,
    };
    if (is_hook) {
        entry.domain = hook_origin(delivery->url, &shard->scratch);
    }
    bool leaves = is_hook || (mail->mode == MODE_LIVE && !mail->is_sandbox);
    err = leaves ? ERR_OK : outbound_is_scripted(shard, account, entry.domain, &is_scripted);
    if (err != ERR_OK) {
        return err;
    }
    struct row_outbox row = {
        .domain = entry.domain,
        .rcpt_first = work->index,
        .rcpt_count = 1,
        .attempts = delivery->attempts,
        .attempts_before = delivery->attempts,
        .created_unix_ms = now,
        .mode = leaves        ? REHEARSAL_NONE
                : is_scripted ? REHEARSAL_SCRIPTED
                              : REHEARSAL_PLAIN,
        .size_bytes = mail->size_bytes,
        .priority = mail->priority,
        .pool = mail->pool,
        .requires_tls = mail->requires_tls,
    };
    if (is_hook) {
        mail->hook_open++;
        mail->hook_failed -= delivery->status == DELIVERY_FAILED && mail->hook_failed > 0;
    } else {
        mail->open_count++;
        mail->status = mail->direction == DIRECTION_OUTBOUND ? MAIL_QUEUED : mail->status;
    }
    delivery->status = DELIVERY_PENDING;
    delivery->group = group;
    delivery->next_attempt_unix_ms = now;
    delivery->updated_unix_ms = now;
    shard_put_delivery(shard, key_delivery(account, mail->id, work->index), delivery);
    shard_put_mail(shard, key_mail(account, mail->id), mail);
    shard_put_outbox(shard, key_outbox(now, account, mail->id, group), &row);
    shard_announce(shard, &entry);
    work->job.msg->body.retry.status = DELIVERY_PENDING;
    return ERR_OK;
}

/* One beyond all that the mail's deliveries name; a delivery only ever moves to a greater one. */
static enum err next_group(struct view_work *work, const struct row_mail *mail, uint32_t *group)
{
    struct shard *shard = work->job.shard;
    uint32_t greatest = 0;
    for (uint32_t i = 0; i < mail->delivery_count; i++) {
        struct row_delivery row;
        enum err err = shard_get_delivery(shard, key_delivery(work->who.account.id, mail->id, i),
                                          &shard->scratch, &row);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
        }
        if (row.group != DELIVERY_GROUP_NONE && row.kind == DELIVERY_SMTP && row.group > greatest) {
            greatest = row.group;
        }
    }
    *group = greatest + 1;
    return ERR_OK;
}

/* Transcripts belong to groups; the past ones follow the recipient, so that its log stays whole. */
static enum err copy_transcripts(struct view_work *work, const struct row_delivery *delivery,
                                 uint32_t to_group)
{
    struct shard *shard = work->job.shard;
    struct arena *arena = &work->job.msg->arena;
    struct account_id account = work->who.account.id;
    struct row_transcript *rows = arena_array(arena, delivery->attempts, sizeof(*rows));
    for (uint32_t i = 0; i < delivery->attempts; i++) {
        enum err err = shard_get_transcript(
            shard, key_transcript(account, work->mail, delivery->group, i + 1), arena, &rows[i]);
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
    }
    for (uint32_t i = 0; i < delivery->attempts; i++) {
        if (rows[i].text.len > 0) {
            shard_put_transcript(shard, key_transcript(account, work->mail, to_group, i + 1),
                                 &rows[i]);
        }
    }
    return ERR_OK;
}
