/* discard.c - deleting a mail.
 *
 *      check --> keys on a worker --> check again, rows --+--> parked msg
 *                      ^                                  |
 *                      +---- more than a page of keys ----+
 *
 * A page is what one batch may hold. Whatever tells of a mail goes before the mail: the log of its
 * deliveries first, page by page, then in one last batch its bytes and the rows by which it is
 * found. A crash in between leaves a mail with a shorter log, which can be deleted again.
 *
 * Its notes against repetition stay until their day: who sends the same again is still told that it
 * was taken.
 */
#include "base/check.h"
#include "base/log.h"
#include "shards/erase.h"
#include "shards/shard_int.h"

#include <string.h>

#define DISCARD_PAGE   2048 /* keys gathered before a batch is written */
#define KEYS_BYTES_MAX (16 * MIB)
#define ID_BYTES       sizeof(((struct id *)NULL)->bytes)
#define THREAD_NAMES   2

enum phase { PHASE_ATTEMPTS, PHASE_TRANSCRIPTS, PHASE_EVENTS, PHASE_DELIVERIES, PHASE_COUNT };

/* Lives in its message's arena. */
struct discard_work {
    struct shard_job job;
    struct principal who;
    struct account_id account;
    struct id mail;
    uint32_t chunk_count;
    enum phase phase;
    struct key from; /* where the next page begins; len 0: at the phase's first row */
    struct buf keys; /* heap: pack of keys to be deleted */
    uint32_t key_count;
    bool has_more;
    enum err err;
};

/* What else has to be changed, read before the first write. */
struct places {
    struct row_mail mail;
    struct row_mail_state state;
    struct row_thread thread;
    bool has_state;
    bool has_thread;
    struct key names[THREAD_NAMES]; /* by which the thread would be found */
    uint32_t name_count;
};

static enum err check(struct discard_work *work, struct row_mail *mail);
static enum err check_closed(struct discard_work *work, const struct row_mail *mail);
static enum err check_stored(struct discard_work *work);
static void gather(struct shard_job *job);
static enum err gather_phase(struct discard_work *work);
static enum err gather_files(struct discard_work *work);
static void add_key(struct discard_work *work, struct slice key);
static void discard_done(struct shard_job *job);
static enum err find_places(struct discard_work *work, struct places *places);
static enum err find_names(struct discard_work *work, struct places *places);
static void delete_keys(struct discard_work *work);
static void delete_late_events(struct discard_work *work);
static void delete_rest(struct discard_work *work, struct places *places);

void mail_discard(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct discard_work *work = arena_alloc(&msg->arena, sizeof(*work));
    struct row_mail mail;
    work->job.shard = shard;
    work->job.msg = msg;
    work->who = *who;
    work->account = who->account.id;
    work->mail = msg->body.mailbox.id;
    enum err err = check(work, &mail);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    work->chunk_count = mail.chunk_count;
    buf_init(&work->keys, KEYS_BYTES_MAX);
    shard_offload(shard, &work->job, gather, discard_done);
}

/* The mail's text is in the shard's scratch arena. */
static enum err check(struct discard_work *work, struct row_mail *mail)
{
    struct shard *shard = work->job.shard;
    enum err err =
        shard_get_mail(shard, key_mail(work->account, work->mail), &shard->scratch, mail);
    err = err == ERR_OK ? mail_may_see(&work->who, mail) : err;
    return err == ERR_OK ? check_closed(work, mail) : err;
}

static enum err check_closed(struct discard_work *work, const struct row_mail *mail)
{
    if (mail->open_count == 0 && mail->hook_open == 0) {
        return ERR_OK;
    }
    work->job.msg->sentence = SLICE("a delivery of the message is still open");
    return ERR_CONFLICT;
}

/* ---- which rows (worker) -------------------------------------------------------------------- */

static void gather(struct shard_job *job)
{
    struct discard_work *work = CONTAINER_OF(job, struct discard_work, job);
    buf_clear(&work->keys);
    work->key_count = 0;
    work->has_more = false;
    work->err = check_stored(work);
    while (work->err == ERR_OK && !work->has_more && work->phase < PHASE_COUNT) {
        work->err = gather_phase(work);
    }
    if (work->err == ERR_OK && !work->has_more) {
        work->err = gather_files(work);
    }
    if (work->err == ERR_OK) {
        work->err = buf_err(&work->keys);
    }
}

/* The last outcome may be in a batch that no scan sees yet; its rows would be left behind. */
static enum err check_stored(struct discard_work *work)
{
    struct arena arena;
    struct row_mail mail;
    struct slice bytes;
    struct key key = key_mail(work->account, work->mail);
    arena_init(&arena, 16 * KIB, ROW_BYTES_MAX + MIB);
    enum err err = shard_load(work->job.shard, &key, &arena, &bytes);
    if (err == ERR_OK) {
        err = row_mail_decode(bytes, &mail);
    }
    err = err == ERR_OK ? check_closed(work, &mail) : err;
    arena_fini(&arena);
    return err;
}

static struct key phase_prefix(const struct discard_work *work)
{
    switch (work->phase) {
    case PHASE_ATTEMPTS:
        return key_prefix_attempts(work->account, work->mail);
    case PHASE_TRANSCRIPTS:
        return key_prefix_transcripts(work->account, work->mail);
    case PHASE_EVENTS:
        return key_prefix_events(work->account, work->mail);
    case PHASE_DELIVERIES:
    case PHASE_COUNT:
        break;
    }
    return key_prefix_deliveries(work->account, work->mail);
}

/* That of a webhook, or of a mail that is sent on, is known by its id too. */
static void add_delivery_ref(struct discard_work *work, struct slice value)
{
    struct row_delivery row;
    if (row_delivery_decode(value, &row) == ERR_OK && erase_has_ref(&row)) {
        struct key key = key_delivery_ref(work->account, row.id);
        add_key(work, key_slice(&key));
    }
}

static enum err gather_phase(struct discard_work *work)
{
    struct shard *shard = work->job.shard;
    struct key prefix = phase_prefix(work);
    struct key to = key_after(&prefix);
    struct key from = work->from.len > 0 ? work->from : prefix;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    while (!work->has_more && kv_iter_next(iter, &key, &value)) {
        if (work->key_count >= DISCARD_PAGE) {
            CHECK(key.len <= KEY_MAX);
            memcpy(work->from.bytes, key.data, key.len);
            work->from.len = (uint16_t)key.len;
            work->has_more = true;
            break;
        }
        add_key(work, key);
        if (work->phase == PHASE_DELIVERIES) {
            add_delivery_ref(work, value);
        }
    }
    enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    if (!work->has_more) {
        work->from.len = 0;
        work->phase++;
    }
    return err;
}

/* The bytes: attachments with their data, which together are no larger than a mail, and the mail's
 * own. Data that another attachment holds has no rows here, and deleting none is no error. */
static enum err gather_files(struct discard_work *work)
{
    struct shard *shard = work->job.shard;
    struct key prefix = key_prefix_attachments(work->account, work->mail);
    struct key to = key_after(&prefix);
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&prefix), key_slice(&to), false);
    struct slice key;
    struct slice value;
    for (uint32_t index = 0; kv_iter_next(iter, &key, &value); index++) {
        struct row_attachment row;
        add_key(work, key);
        if (row_attachment_decode(value, &row) != ERR_OK) {
            continue; /* its data goes with its day */
        }
        for (uint32_t chunk = 0; chunk < row.chunk_count; chunk++) {
            struct key data = key_attachment_data(row.day, work->account, work->mail, index, chunk);
            add_key(work, key_slice(&data));
        }
    }
    for (uint32_t chunk = 0; chunk < work->chunk_count; chunk++) {
        struct key bytes = key_chunk(work->account, work->mail, chunk);
        add_key(work, key_slice(&bytes));
    }
    enum err err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err;
}

static void add_key(struct discard_work *work, struct slice key)
{
    buf_put_slice(&work->keys, key);
    work->key_count++;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void discard_done(struct shard_job *job)
{
    struct discard_work *work = CONTAINER_OF(job, struct discard_work, job);
    struct shard *shard = job->shard;
    struct places places = {.has_state = false};
    enum err err = work->err;
    if (err == ERR_OK) {
        err = check(work, &places.mail); /* somebody may have asked for another try */
    }
    if (err == ERR_OK && work->has_more) {
        delete_keys(work);
        shard_offload(shard, job, gather, discard_done);
        return;
    }
    if (err == ERR_OK) {
        err = find_places(work, &places);
    }
    if (err == ERR_OK) {
        delete_keys(work);
        delete_late_events(work);
        delete_rest(work, &places);
    }
    buf_fini(&work->keys);
    shard_answer(shard, job->msg, err);
}

static enum err find_places(struct discard_work *work, struct places *places)
{
    struct shard *shard = work->job.shard;
    enum err err = shard_get_mail_state(shard, key_mail_state(work->account, work->mail),
                                        &shard->scratch, &places->state);
    places->has_state = err == ERR_OK;
    err = err == ERR_NOT_FOUND ? ERR_OK : err;
    if (err != ERR_OK || id_is_none(places->mail.thread)) {
        return err;
    }
    err = shard_get_thread(shard, key_thread(work->account, places->mail.thread), &shard->scratch,
                           &places->thread);
    places->has_thread = err == ERR_OK;
    err = err == ERR_NOT_FOUND ? ERR_OK : err;
    return err == ERR_OK && places->has_thread ? find_names(work, places) : err;
}

/* Of a conversation that ends with this mail. */
static enum err find_names(struct discard_work *work, struct places *places)
{
    struct shard *shard = work->job.shard;
    const struct slice ids[THREAD_NAMES] = {places->mail.message_id, places->mail.in_reply_to};
    if (places->thread.mail_count > 1) {
        return ERR_OK;
    }
    for (size_t i = 0; i < THREAD_NAMES; i++) {
        struct row_thread_name row;
        struct sha256 hash = crypto_sha256(ids[i]);
        struct key key = key_thread_name(work->account, &hash);
        enum err err = shard_get_thread_name(shard, key, &shard->scratch, &row);
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
        if (err == ERR_OK && id_equal(row.thread, places->thread.id)) {
            places->names[places->name_count++] = key;
        }
    }
    return ERR_OK;
}

static void delete_keys(struct discard_work *work)
{
    struct slice rest = buf_slice(&work->keys);
    struct slice item;
    while (get_slice(&rest, &item)) {
        struct key key = {.len = (uint16_t)item.len};
        CHECK(item.len <= KEY_MAX);
        memcpy(key.bytes, item.data, item.len);
        shard_delete(work->job.shard, key);
    }
}

/* A mail that nothing is open of may be clicked, complained of or unsubscribed from, until it is
 * gone: such events are younger than the scan. */
static void delete_late_events(struct discard_work *work)
{
    struct key from = key_prefix_events(work->account, work->mail);
    struct key to = key_after(&from);
    kv_batch_delete_range(work->job.shard->filling->rows, key_slice(&from), key_slice(&to));
}

static void delete_rest(struct discard_work *work, struct places *places)
{
    struct shard *shard = work->job.shard;
    struct slice boxes = places->has_state ? places->state.mailboxes : SLICE("");
    for (size_t at = 0; at + ID_BYTES <= boxes.len; at += ID_BYTES) {
        struct id mailbox;
        memcpy(mailbox.bytes, boxes.data + at, ID_BYTES);
        shard_delete(shard, key_mailbox_mail(work->account, mailbox, work->mail));
    }
    if (places->has_state) {
        shard_delete(shard, key_mail_state(work->account, work->mail));
    }
    if (places->has_thread) {
        struct key key = key_thread(work->account, places->thread.id);
        shard_delete(shard, key_thread_mail(work->account, places->thread.id, work->mail));
        if (places->thread.mail_count > 1) {
            places->thread.mail_count--;
            shard_put_thread(shard, key, &places->thread);
        } else {
            shard_delete(shard, key);
        }
    }
    for (uint32_t i = 0; i < places->name_count; i++) {
        shard_delete(shard, places->names[i]);
    }
    shard_delete(shard, key_mail(work->account, work->mail));
    LOG_DEBUG("mail.discarded", LOG_ID("message", ID_MESSAGE, work->mail),
              LOG_U64("rows", work->key_count));
}
