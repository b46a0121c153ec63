/* attachment.c - the data of an attachment, as signed links and nobody else ask for it.
 *
 * The edge has checked the link. What expired is gone from here with its day (outbound_expire); a
 * row that outlives its data says so.
 */
#include "base/clock.h"
#include "shards/shard_int.h"

static enum err check(struct shard *shard, struct msg *msg);
static enum err load(struct shard *shard, struct msg *msg);

void mail_attachment(struct shard *shard, struct msg *msg)
{
    struct shard_attachment *body = &msg->body.attachment;
    enum err err = check(shard, msg);
    if (err == ERR_OK && body->chunk < body->row.chunk_count) {
        err = load(shard, msg);
    }
    shard_answer(shard, msg, err);
}

/* A suspended account hands nothing out. */
static enum err check(struct shard *shard, struct msg *msg)
{
    struct shard_attachment *body = &msg->body.attachment;
    struct account_id account = id_account(body->mail);
    struct row_account row;
    enum err err = shard_get_account(shard, key_account(account), &shard->scratch, &row);
    if (err == ERR_OK && row.is_suspended) {
        err = ERR_SUSPENDED;
    }
    if (err == ERR_OK) {
        err = shard_get_attachment(shard, key_attachment(account, body->mail, body->index),
                                   &msg->arena, &body->row);
    }
    if (err == ERR_OK && body->row.expires_unix_ms <= clock_unix_ms()) {
        err = ERR_EXPIRED;
    }
    return err;
}

static enum err load(struct shard *shard, struct msg *msg)
{
    struct shard_attachment *body = &msg->body.attachment;
    static const struct sha256 none;
    const struct row_attachment *row = &body->row;
    bool is_own = slice_equal(sha256_slice(&row->digest), sha256_slice(&none));
    uint32_t index = is_own ? body->index : row->data_index;
    struct key key =
        key_attachment_data(row->day, id_account(body->mail), body->mail, index, body->chunk);
    struct row_chunk chunk;
    struct slice bytes;
    enum err err = shard_load(shard, &key, &msg->arena, &bytes);
    if (err == ERR_OK) {
        err = row_chunk_decode(bytes, &chunk);
    }
    if (err == ERR_OK) {
        body->data = chunk.data;
    }
    return err == ERR_NOT_FOUND ? ERR_EXPIRED : err;
}
