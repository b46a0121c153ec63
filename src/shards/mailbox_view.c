/* mailbox_view.c - lists of mailboxes, mails and conversations, page by page. On workers.
 *
 * Mails are walked newest first, all of the account or those of a mailbox. A conversation is where
 * its newest mail is that the caller may see, so one walk makes both lists, and what nobody may see
 * is in neither. A walk looks at LIST_ROWS_MAX mails; what is older is not counted.
 */
#include "base/check.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <stdlib.h>

#define SEEN_SLOTS 65536 /* of the set of threads; at most a third is taken */

/* A request that runs on a worker. Lives in its message's arena. */
struct view_work {
    struct shard_job job;
    struct principal who;
    uint64_t first; /* of the page, from 0 */
    uint32_t limit;
    uint32_t budget;      /* mails of threads that may still be looked at */
    struct arena scratch; /* of one mail */
    struct id *seen;      /* THREADS: a set of ids; heap */
    enum err err;
};

static void view_work(struct shard_job *job);
static void view_done(struct shard_job *job);
static enum err list_mailboxes(struct view_work *work);
static enum err check_mailbox(struct view_work *work);
static enum err each_mail(struct view_work *work);
static enum err load_mail(struct view_work *work, struct slice key, struct slice *bytes);
static enum err take_mail(struct view_work *work, const struct row_mail *mail, struct slice bytes);
static enum err take_thread(struct view_work *work, const struct row_mail *mail);
static enum err list_threads(struct view_work *work);
static enum err read_thread(struct view_work *work);
static enum err read_thread_row(struct view_work *work, struct id id, struct row_thread *row);
static enum err read_thread_mails(struct view_work *work);
static enum err narrow(struct view_work *work, struct row_thread *row);

_Static_assert(SEEN_SLOTS >= 3 * LIST_ROWS_MAX, "a set of all threads that a walk meets has room");

static struct shard_mailbox *body_of(struct view_work *work)
{
    return &work->job.msg->body.mailbox;
}

void mailbox_view(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_mailbox *body = &msg->body.mailbox;
    struct view_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.msg = msg;
    work->who = *who;
    work->limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    work->first = (uint64_t)(body->page ? body->page - 1 : 0) * work->limit;
    work->budget = LIST_ROWS_MAX;
    arena_init(&work->scratch, 16 * KIB, 2 * ROW_BYTES_MAX + MIB);
    shard_offload(shard, &work->job, view_work, view_done);
}

static void view_work(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    struct shard_mailbox *body = body_of(work);
    struct arena *arena = &job->msg->arena;
    switch (body->op) {
    case MAILBOX_LIST:
        body->mailboxes = arena_array(arena, work->limit, sizeof(*body->mailboxes));
        work->err = list_mailboxes(work);
        break;
    case MAILBOX_MAILS:
        body->mails = arena_array(arena, work->limit, sizeof(*body->mails));
        work->err = each_mail(work);
        break;
    case MAILBOX_THREADS:
        body->threads = arena_array(arena, work->limit, sizeof(*body->threads));
        work->err = list_threads(work);
        break;
    case MAILBOX_THREAD:
        work->err = read_thread(work);
        break;
    case MAILBOX_CREATE:
    case MAILBOX_GET:
    case MAILBOX_RENAME:
    case MAILBOX_DELETE:
    case MAILBOX_MARK:
    case MAILBOX_DISCARD:
        work->err = ERR_INTERNAL; /* is no list */
        break;
    }
    arena_fini(&work->scratch);
}

static void view_done(struct shard_job *job)
{
    struct view_work *work = CONTAINER_OF(job, struct view_work, job);
    shard_answer(job->shard, job->msg, work->err);
}

/* Counts one more of the list; whether it is on the page. */
static bool is_on_page(struct view_work *work)
{
    uint64_t at = body_of(work)->total++;
    return at >= work->first && at - work->first < work->limit;
}

static struct kv_iter *open_prefix(const struct view_work *work, const struct key *prefix,
                                   bool is_reverse)
{
    struct key to = key_after(prefix);
    return kv_iter_open(work->job.shard->kv, work->job.shard->family, key_slice(prefix),
                        key_slice(&to), is_reverse);
}

static void log_damage(const struct view_work *work)
{
    LOG_ERROR("mailbox.damaged", LOG_ACCOUNT("account", work->who.account.id));
}

/* ---- mailboxes ------------------------------------------------------------------------------ */

static enum err list_mailboxes(struct view_work *work)
{
    struct shard_mailbox *body = body_of(work);
    struct key prefix = key_prefix_mailboxes(work->who.account.id);
    struct kv_iter *iter = open_prefix(work, &prefix, true);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    while (err == ERR_OK && kv_iter_next(iter, &key, &value)) {
        struct row_mailbox row;
        if (row_mailbox_decode(value, &row) != ERR_OK) {
            log_damage(work);
            continue;
        }
        if (!principal_may_use_domain(&work->who, row.domain) || !is_on_page(work)) {
            continue;
        }
        err = mail_keep(&work->job.msg->arena, value, &value);
        if (err == ERR_OK) {
            err = row_mailbox_decode(value, &body->mailboxes[body->count++]);
        }
    }
    err = err == ERR_OK ? kv_iter_err(iter) : err;
    kv_iter_close(iter);
    return err;
}

/* ---- mails ---------------------------------------------------------------------------------- */

/* The mailbox that a list is of, if any. */
static enum err check_mailbox(struct view_work *work)
{
    const struct shard_mailbox *body = body_of(work);
    struct key key = key_mailbox(work->who.account.id, body->mailbox);
    struct row_mailbox row;
    struct slice bytes;
    if (id_is_none(body->mailbox)) {
        return ERR_OK;
    }
    enum err err = shard_load(work->job.shard, &key, &work->scratch, &bytes);
    if (err == ERR_OK) {
        err = row_mailbox_decode(bytes, &row);
    }
    return err == ERR_OK && !principal_may_use_domain(&work->who, row.domain) ? ERR_KEY_SCOPE : err;
}

static enum err each_mail(struct view_work *work)
{
    const struct shard_mailbox *body = body_of(work);
    bool is_threads = body->op == MAILBOX_THREADS;
    bool is_boxed = !id_is_none(body->mailbox);
    struct key prefix = is_boxed ? key_prefix_mailbox_mails(work->who.account.id, body->mailbox)
                                 : key_prefix_mails(work->who.account.id);
    enum err err = check_mailbox(work);
    if (err != ERR_OK) {
        return err;
    }
    struct kv_iter *iter = open_prefix(work, &prefix, true);
    struct slice key;
    struct slice value;
    bool is_end = false;
    for (uint32_t n = 0; err == ERR_OK && n < LIST_ROWS_MAX; n++) {
        struct row_mail mail;
        is_end = !kv_iter_next(iter, &key, &value);
        if (is_end) {
            break;
        }
        arena_clear(&work->scratch);
        err = is_boxed ? load_mail(work, key, &value) : ERR_OK;
        if (err == ERR_NOT_FOUND) {
            err = ERR_OK; /* it is being deleted */
            continue;
        }
        if (err == ERR_OK && row_mail_decode(value, &mail) != ERR_OK) {
            log_damage(work); /* and must not hide the others */
            continue;
        }
        if (err == ERR_OK && mail_may_see(&work->who, &mail) == ERR_OK) {
            err = is_threads ? take_thread(work, &mail) : take_mail(work, &mail, value);
        }
    }
    err = is_end ? kv_iter_err(iter) : err;
    kv_iter_close(iter);
    return err;
}

/* The row of a mail that ends a key, in scratch. */
static enum err load_mail(struct view_work *work, struct slice key, struct slice *bytes)
{
    struct account_id account;
    struct id mail;
    enum err err = key_read_mail(key, &account, &mail);
    if (err != ERR_OK) {
        return err;
    }
    struct key at = key_mail(account, mail);
    return shard_load(work->job.shard, &at, &work->scratch, bytes);
}

/* Adds a mail to those of the answer. */
static enum err add_entry(struct view_work *work, struct slice bytes,
                          const struct row_mail_state *state)
{
    struct shard_mailbox *body = body_of(work);
    struct arena *arena = &work->job.msg->arena;
    struct mail_entry *entry = &body->mails[body->count];
    struct slice kept;
    entry->state = *state;
    enum err err = mail_keep(arena, bytes, &kept);
    if (err == ERR_OK) {
        err = row_mail_decode(kept, &entry->mail);
    }
    if (err == ERR_OK) {
        err = mail_keep(arena, state->folder, &entry->state.folder);
    }
    if (err == ERR_OK) {
        err = mail_keep(arena, state->mailboxes, &entry->state.mailboxes);
    }
    body->count += err == ERR_OK;
    return err;
}

static enum err take_mail(struct view_work *work, const struct row_mail *mail, struct slice bytes)
{
    const struct shard_mailbox *body = body_of(work);
    struct row_mail_state state;
    enum err err = mail_state_load(work->job.shard, mail, &work->scratch, &state);
    if (err != ERR_OK || (body->folder.len > 0 && !slice_equal(body->folder, state.folder)) ||
        !is_on_page(work)) {
        return err;
    }
    return add_entry(work, bytes, &state);
}

/* ---- conversations -------------------------------------------------------------------------- */

/* Whether it was not in the set before. */
static bool see(struct id *seen, struct id id)
{
    uint32_t at = 0;
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        at = (at ^ id.bytes[i]) * UINT32_C(16777619);
    }
    for (uint32_t n = 0; n < SEEN_SLOTS; n++) {
        struct id *slot = &seen[(at + n) % SEEN_SLOTS];
        if (id_is_none(*slot)) {
            *slot = id;
            return true;
        }
        if (id_equal(*slot, id)) {
            return false;
        }
    }
    CHECK(seen == NULL); /* never full: see the sum above */
    return false;
}

static enum err list_threads(struct view_work *work)
{
    struct shard_mailbox *body = body_of(work);
    work->seen = mem_zalloc(SEEN_SLOTS * sizeof(*work->seen));
    enum err err = each_mail(work);
    free(work->seen);
    for (uint32_t i = 0; err == ERR_OK && i < body->count; i++) {
        err = narrow(work, &body->threads[i]);
    }
    return err;
}

static enum err take_thread(struct view_work *work, const struct row_mail *mail)
{
    struct shard_mailbox *body = body_of(work);
    if (id_is_none(mail->thread) || !see(work->seen, mail->thread) || !is_on_page(work)) {
        return ERR_OK;
    }
    enum err err = read_thread_row(work, mail->thread, &body->threads[body->count]);
    if (err == ERR_NOT_FOUND) {
        body->total--;
        return ERR_OK;
    }
    body->count += err == ERR_OK;
    return err;
}

static enum err read_thread_row(struct view_work *work, struct id id, struct row_thread *row)
{
    struct key key = key_thread(work->who.account.id, id);
    struct slice bytes;
    enum err err = shard_load(work->job.shard, &key, &work->job.msg->arena, &bytes);
    return err == ERR_OK ? row_thread_decode(bytes, row) : err;
}

static enum err read_thread(struct view_work *work)
{
    struct shard_mailbox *body = body_of(work);
    struct arena *arena = &work->job.msg->arena;
    body->threads = arena_array(arena, 1, sizeof(*body->threads));
    body->mails = arena_array(arena, THREAD_MAILS_SHOWN, sizeof(*body->mails));
    enum err err = read_thread_row(work, body->id, &body->threads[0]);
    if (err == ERR_OK) {
        err = read_thread_mails(work);
    }
    if (err == ERR_OK && body->count == 0) {
        err = ERR_NOT_FOUND; /* nothing of it is for this caller */
    }
    return err == ERR_OK ? narrow(work, &body->threads[0]) : err;
}

/* The newest ones that the caller may see, put back into the order they came in. */
static enum err read_thread_mails(struct view_work *work)
{
    struct shard_mailbox *body = body_of(work);
    struct key prefix = key_prefix_thread_mails(work->who.account.id, body->id);
    struct kv_iter *iter = open_prefix(work, &prefix, true);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    for (uint32_t n = 0; err == ERR_OK && n < LIST_ROWS_MAX && body->count < THREAD_MAILS_SHOWN &&
                         kv_iter_next(iter, &key, &value);
         n++) {
        struct row_mail mail;
        struct row_mail_state state;
        arena_clear(&work->scratch);
        err = load_mail(work, key, &value);
        if (err == ERR_OK && row_mail_decode(value, &mail) != ERR_OK) {
            log_damage(work);
            continue;
        }
        if (err == ERR_OK && mail_may_see(&work->who, &mail) == ERR_OK) {
            err = mail_state_load(work->job.shard, &mail, &work->scratch, &state);
            err = err == ERR_OK ? add_entry(work, value, &state) : err;
        }
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    err = err == ERR_OK ? kv_iter_err(iter) : err;
    kv_iter_close(iter);
    for (uint32_t i = 0; i < body->count / 2; i++) {
        struct mail_entry entry = body->mails[i];
        body->mails[i] = body->mails[body->count - 1 - i];
        body->mails[body->count - 1 - i] = entry;
    }
    return err;
}

/* A conversation as a key may know it: of the mails that it sees. What a page looks at is bounded;
 * mails beyond that are not counted. */
static enum err narrow(struct view_work *work, struct row_thread *row)
{
    if (!work->who.has_key) {
        return ERR_OK;
    }
    struct key prefix = key_prefix_thread_mails(work->who.account.id, row->id);
    struct kv_iter *iter = open_prefix(work, &prefix, false);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    row->mail_count = 0;
    row->subject = SLICE("");
    while (err == ERR_OK && work->budget > 0 && kv_iter_next(iter, &key, &value)) {
        struct row_mail mail;
        work->budget--;
        arena_clear(&work->scratch);
        err = load_mail(work, key, &value);
        if (err == ERR_OK && row_mail_decode(value, &mail) != ERR_OK) {
            log_damage(work);
            continue;
        }
        if (err == ERR_OK && mail_may_see(&work->who, &mail) == ERR_OK) {
            if (row->mail_count++ == 0) {
                row->first_unix_ms = mail.received_unix_ms;
                err = mail_keep(&work->job.msg->arena, mail.subject, &row->subject);
            }
            row->last_unix_ms = mail.received_unix_ms;
        }
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    err = err == ERR_OK ? kv_iter_err(iter) : err;
    kv_iter_close(iter);
    return err;
}
