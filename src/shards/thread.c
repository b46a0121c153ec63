/* thread.c - conversations: which one a mail belongs to.
 *
 * A thread is known by Message-IDs. Each mail brings its own and the one its conversation began
 * with; whoever names either is in the same thread. Subjects say nothing: too many are called
 * "Invoice".
 */
#include "shards/thread.h"

#include "shards/shard_int.h"

/* ERR_NOT_FOUND unless the name belongs to a thread that is still there. */
static enum err look(struct shard *shard, struct account_id account, struct slice name,
                     struct row_thread *row)
{
    struct row_thread_name named;
    struct sha256 hash = crypto_sha256(name);
    enum err err =
        shard_get_thread_name(shard, key_thread_name(account, &hash), &shard->scratch, &named);
    return err == ERR_OK
               ? shard_get_thread(shard, key_thread(account, named.thread), &shard->scratch, row)
               : err;
}

/* All of a mail's own names are looked at: one that means a thread already is left alone, so that
 * nobody moves a conversation by naming two. */
enum err thread_find(struct shard *shard, struct account_id account,
                     const struct thread_names *names, struct thread_place *place)
{
    *place = (struct thread_place){.is_new = true};
    for (uint32_t i = 0; i < names->count && (place->is_new || i < names->own_count); i++) {
        struct row_thread row;
        enum err err = look(shard, account, names->items[i], &row);
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
        if (err == ERR_OK) {
            place->row = place->is_new ? row : place->row;
            place->is_new = false;
            place->taken |= i < names->own_count ? UINT32_C(1) << i : 0;
        }
    }
    return ERR_OK;
}

struct id thread_add(struct shard *shard, const struct thread_names *names,
                     struct thread_place *place, const struct row_mail *mail)
{
    struct account_id account = id_account(mail->id);
    struct row_thread *row = &place->row;
    if (place->is_new) {
        *row = (struct row_thread){
            .id = shard_id(shard, account),
            .subject = mail->subject,
            .first_unix_ms = mail->received_unix_ms,
        };
    }
    row->last_unix_ms = max_u64(row->last_unix_ms, mail->received_unix_ms);
    row->mail_count++;
    shard_put_thread(shard, key_thread(account, row->id), row);
    struct row_thread_name name = {.thread = row->id};
    for (uint32_t i = 0; i < names->own_count; i++) {
        if (place->taken & UINT32_C(1) << i) {
            continue;
        }
        struct sha256 hash = crypto_sha256(names->items[i]);
        shard_put_thread_name(shard, key_thread_name(account, &hash), &name);
    }
    struct row_thread_mail entry = {.is_inbound = mail->direction == DIRECTION_INBOUND};
    shard_put_thread_mail(shard, key_thread_mail(account, row->id, mail->id), &entry);
    return row->id;
}

void thread_names_of(const struct mime_read *mail, struct arena *arena, struct thread_names *names)
{
    struct slice all[2 + 1 + THREAD_REFS_MAX];
    uint32_t count = 0;
    struct slice root = mime_thread_root(mail);
    all[count++] = mail->message_id;
    all[count++] = root;
    all[count++] = mail->in_reply_to;
    for (uint32_t i = mail->reference_count; i > 0 && count < ARRAY_LEN(all); i--) {
        all[count++] = mail->references[i - 1];
    }
    names->items = arena_array(arena, count, sizeof(*names->items));
    names->count = 0;
    names->own_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool is_told = all[i].len == 0;
        for (uint32_t n = 0; n < names->count; n++) {
            is_told = is_told || slice_equal(names->items[n], all[i]);
        }
        if (!is_told) {
            names->items[names->count++] = arena_dup(arena, all[i]);
            names->own_count += i < 2;
        }
    }
}
