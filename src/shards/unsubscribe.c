/* unsubscribe.c - recipients who want no more: the fields that offer it, and the wish itself.
 *
 * The fields name the recipient, so they are put in front of the stored header when the mail is
 * claimed, and such a mail has a group of its own for each recipient (outbound.c).
 *
 * A wish is granted whatever became of the mail since. That of a mail which was only rehearsed is
 * an event, and suppresses nobody in earnest.
 */
#include "base/clock.h"
#include "base/log.h"
#include "mail/header.h"
#include "shards/shard_int.h"

#include <string.h>

/* ---- on the way out ------------------------------------------------------------------------- */

static bool has_own(struct slice block)
{
    struct header_field field;
    while (header_next(&block, &field)) {
        if (slice_equal_nocase(field.name, SLICE("List-Unsubscribe")) ||
            slice_equal_nocase(field.name, SLICE("List-Unsubscribe-Post"))) {
            return true;
        }
    }
    return false;
}

static bool is_rehearsed(const struct row_mail *mail)
{
    return mail->mode == MODE_TEST || mail->is_sandbox;
}

enum err unsubscribe_add(struct shard *shard, const struct row_mail *mail, uint32_t index,
                         struct arena *arena, struct slice *block)
{
    struct row_delivery delivery;
    char url[CONF_URL_MAX];
    if (!mail->has_unsubscribe || has_own(*block)) {
        return ERR_OK;
    }
    enum err err = shard_get_delivery(shard, key_delivery(id_account(mail->id), mail->id, index),
                                      &shard->scratch, &delivery);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    if (delivery.recipient.len == 0 || delivery.recipient.len > ADDR_MAX) {
        return ERR_OK;
    }
    struct unsubscribe_ref ref = {
        .mail = mail->id,
        .index = index,
        .is_rehearsed = is_rehearsed(mail),
        .address = delivery.recipient,
    };
    struct slice fields = unsubscribe_header(&shard->unsubscribe_seal, &ref,
                                             conf_asked_url(shard->place->conf, url), arena);
    char *whole = arena_bytes(arena, fields.len + block->len);
    memcpy(whole, fields.data, fields.len);
    memcpy(whole + fields.len, block->data, block->len);
    *block = slice_of(whole, fields.len + block->len);
    return ERR_OK;
}

/* ---- on the way back ------------------------------------------------------------------------ */

/* What a wish is about, as far as it is still there. */
struct wish {
    struct account_id account;
    struct slice key; /* of the address */
    bool has_mail;
    bool is_known;     /* suppressed already */
    bool is_rehearsed; /* its mail never left */
    struct row_mail mail;
    struct row_delivery delivery;
};

static enum err read_mail(struct shard *shard, const struct unsubscribe_ref *ref,
                          struct arena *arena, struct wish *wish)
{
    enum err err = shard_get_mail(shard, key_mail(wish->account, ref->mail), arena, &wish->mail);
    if (err == ERR_OK) {
        err = shard_get_delivery(shard, key_delivery(wish->account, ref->mail, ref->index), arena,
                                 &wish->delivery);
    }
    wish->has_mail = err == ERR_OK;
    wish->is_rehearsed = ref->is_rehearsed || (wish->has_mail && is_rehearsed(&wish->mail));
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err read_wish(struct shard *shard, struct msg *msg, struct wish *wish)
{
    const struct unsubscribe_ref *ref = &msg->body.unsubscribe.ref;
    struct row_account account;
    struct row_suppression row;
    wish->account = id_account(ref->mail);
    wish->key = suppression_key(ref->address, &msg->arena);
    enum err err = shard_get_account(shard, key_account(wish->account), &shard->scratch, &account);
    if (err == ERR_OK) {
        err = read_mail(shard, ref, &msg->arena, wish);
    }
    if (err == ERR_OK && wish->key.len > 0) {
        err = shard_get_suppression(shard, key_suppression(wish->account, wish->key),
                                    &shard->scratch, &row);
        wish->is_known = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    return err;
}

/* Once for a delivery, however often it is asked. */
static void tell(struct shard *shard, struct wish *wish, uint32_t index)
{
    struct row_event event = {
        .type = SLICE("email.unsubscribed"),
        .recipient = wish->delivery.recipient,
    };
    wish->delivery.has_unsubscribed = true;
    shard_put_delivery(shard, key_delivery(wish->account, wish->mail.id, index), &wish->delivery);
    shard_write_event(shard, wish->mail.id, &event);
    hook_tell(shard, &wish->mail, &event);
    shard_put_mail(shard, key_mail(wish->account, wish->mail.id), &wish->mail);
}

void unsubscribe_handle(struct shard *shard, struct msg *msg)
{
    struct wish wish = {.has_mail = false};
    enum err err = read_wish(shard, msg, &wish);
    if (err == ERR_OK && !wish.is_known && !wish.is_rehearsed) {
        struct suppression wanted = {
            .key = wish.key,
            .reason = SUPPRESSION_UNSUBSCRIBE,
            .mail = msg->body.unsubscribe.ref.mail,
        };
        suppression_add(shard, wish.account, &wanted);
    }
    if (err == ERR_OK && wish.has_mail && !wish.delivery.has_unsubscribed) {
        tell(shard, &wish, msg->body.unsubscribe.ref.index);
    }
    shard_answer(shard, msg, err);
}
