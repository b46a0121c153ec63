/* erase.c - see erase.h. */
#include "shards/erase.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

static enum err plan_state(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                           struct erase_plan *plan);
static enum err plan_files(struct shard *shard, const struct row_mail *mail,
                           struct erase_plan *plan);
static enum err plan_thread(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                            struct erase_plan *plan);
static enum err plan_name(struct shard *shard, const struct row_mail *mail, struct slice name,
                          struct erase_plan *plan);

/* ---- what has to go ------------------------------------------------------------------------- */

/* A row that is absent or damaged has nothing to say. */
static enum err forgive(enum err err)
{
    return err == ERR_NOT_FOUND || err == ERR_CORRUPT ? ERR_OK : err;
}

enum err erase_plan(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                    struct erase_plan *plan)
{
    *plan = (struct erase_plan){.mail = mail->id};
    enum err err = plan_state(shard, mail, arena, plan);
    if (err == ERR_OK) {
        err = plan_files(shard, mail, plan);
    }
    if (err == ERR_OK && !id_is_none(mail->thread)) {
        err = plan_thread(shard, mail, arena, plan);
    }
    return err;
}

static enum err plan_state(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                           struct erase_plan *plan)
{
    struct row_mail_state state;
    enum err err =
        shard_get_mail_state(shard, key_mail_state(id_account(mail->id), mail->id), arena, &state);
    if (err == ERR_OK) {
        plan->mailboxes = state.mailboxes;
    }
    return forgive(err);
}

/* They all expire on the same day. */
static enum err plan_files(struct shard *shard, const struct row_mail *mail,
                           struct erase_plan *plan)
{
    struct row_attachment row;
    if (mail->attachment_count == 0) {
        return ERR_OK;
    }
    enum err err = shard_get_attachment(shard, key_attachment(id_account(mail->id), mail->id, 0),
                                        &shard->scratch, &row);
    if (err == ERR_OK && row.day + 1 >= clock_day_of(clock_unix_ms())) {
        plan->file_day = row.day;
    }
    return forgive(err);
}

/* The thread loses a mail, and the name by which that mail was answered. With its last mail it goes
 * altogether, and the name of the mail that one answered, which need not have come here. */
static enum err plan_thread(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                            struct erase_plan *plan)
{
    struct key key = key_thread(id_account(mail->id), mail->thread);
    enum err err = shard_get_thread(shard, key, arena, &plan->thread);
    plan->has_thread = err == ERR_OK;
    err = forgive(err);
    if (err == ERR_OK) {
        err = plan_name(shard, mail, mail->message_id, plan);
    }
    if (err == ERR_OK && (!plan->has_thread || plan->thread.mail_count <= 1)) {
        err = plan_name(shard, mail, mail->in_reply_to, plan);
    }
    return err;
}

static enum err plan_name(struct shard *shard, const struct row_mail *mail, struct slice name,
                          struct erase_plan *plan)
{
    struct row_thread_name row;
    struct sha256 hash = crypto_sha256(name);
    if (name.len == 0) {
        return ERR_OK;
    }
    enum err err = shard_get_thread_name(shard, key_thread_name(id_account(mail->id), &hash),
                                         &shard->scratch, &row);
    if (err == ERR_OK && id_equal(row.thread, mail->thread)) {
        CHECK(plan->name_count < ERASE_NAMES_MAX);
        plan->names[plan->name_count++] = hash;
    }
    return forgive(err);
}

bool erase_has_ref(const struct row_delivery *row)
{
    return row->kind == DELIVERY_WEBHOOK || row->forwarded_from.len > 0;
}

enum err erase_find_hooks(struct shard *shard, const struct row_mail *mail, struct arena *arena,
                          struct erase_plan *plan)
{
    struct account_id account = id_account(mail->id);
    struct id *hooks = arena_array(arena, mail->delivery_count, sizeof(*hooks));
    enum err err = ERR_OK;
    plan->hook_count = 0;
    for (uint32_t i = 0; err == ERR_OK && i < mail->delivery_count; i++) {
        struct row_delivery row;
        err = shard_get_delivery(shard, key_delivery(account, mail->id, i), &shard->scratch, &row);
        if (err == ERR_OK && erase_has_ref(&row)) {
            hooks[plan->hook_count++] = row.id;
        }
        err = forgive(err);
    }
    plan->hooks = hooks;
    return err;
}

/* ---- gone ----------------------------------------------------------------------------------- */

static void drop_range(struct shard *shard, struct key from, struct key to)
{
    kv_batch_delete_range(shard->filling->rows, key_slice(&from), key_slice(&to));
}

static void drop_prefix(struct shard *shard, struct key prefix)
{
    drop_range(shard, prefix, key_after(&prefix));
}

static void drop_thread(struct shard *shard, const struct erase_plan *plan)
{
    struct account_id account = id_account(plan->mail);
    struct row_thread thread = plan->thread;
    for (uint32_t i = 0; i < plan->name_count; i++) {
        shard_delete(shard, key_thread_name(account, &plan->names[i]));
    }
    if (!plan->has_thread) {
        return;
    }
    shard_delete(shard, key_thread_mail(account, thread.id, plan->mail));
    if (thread.mail_count <= 1) {
        shard_delete(shard, key_thread(account, thread.id));
    } else {
        thread.mail_count--;
        shard_put_thread(shard, key_thread(account, thread.id), &thread);
    }
}

void erase_apply(struct shard *shard, const struct erase_plan *plan)
{
    struct id mail = plan->mail;
    struct account_id account = id_account(mail);
    drop_thread(shard, plan);
    for (size_t at = 0; at + sizeof(struct id) <= plan->mailboxes.len; at += sizeof(struct id)) {
        struct id mailbox;
        memcpy(mailbox.bytes, plan->mailboxes.data + at, sizeof(mailbox.bytes));
        shard_delete(shard, key_mailbox_mail(account, mailbox, mail));
    }
    for (uint32_t i = 0; i < plan->hook_count; i++) {
        shard_delete(shard, key_delivery_ref(account, plan->hooks[i]));
    }
    if (plan->file_day != 0) {
        drop_range(shard, key_attachment_data(plan->file_day, account, mail, 0, 0),
                   key_attachment_data(plan->file_day, account, mail, UINT32_MAX, UINT32_MAX));
    }
    drop_range(shard, key_chunk(account, mail, 0), key_chunk(account, mail, UINT32_MAX));
    drop_prefix(shard, key_prefix_attachments(account, mail));
    drop_prefix(shard, key_prefix_deliveries(account, mail));
    drop_prefix(shard, key_prefix_attempts(account, mail));
    drop_prefix(shard, key_prefix_transcripts(account, mail));
    drop_prefix(shard, key_prefix_events(account, mail));
    shard_delete(shard, key_mail_state(account, mail));
    shard_delete(shard, key_mail(account, mail));
    LOG_DEBUG("mail.erased", LOG_ID("message", ID_MESSAGE, mail));
}
