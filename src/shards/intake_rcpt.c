/* intake_rcpt.c - whether an address takes mail.
 *
 *      a return path of ours                                   yes
 *      the domain is not the account's, or not verified         no
 *      a route matches, a mailbox exists, postmaster, abuse    yes
 *      the domain has neither routes nor mailboxes             yes: everything is stored
 *      otherwise                                                no
 */
#include "base/check.h"
#include "shards/shard_int.h"

/* The question that needs a scan. Lives in its message's arena. */
struct rcpt_work {
    struct shard_job job;
    bool has_mailbox; /* the domain, some */
    enum err err;
};

static enum err find_domain(struct shard *shard, const struct shard_rcpt *body);
static enum err find_taker(struct shard *shard, const struct shard_rcpt *body, bool *is_open);
static bool is_official(struct slice recipient);
static void scan_work(struct shard_job *job);
static void scan_done(struct shard_job *job);

enum err intake_check(struct shard *shard, struct account_id account)
{
    struct row_account row;
    enum err err = shard_get_account(shard, key_account(account), &shard->scratch, &row);
    if (err != ERR_OK) {
        return err;
    }
    if (row.is_suspended) {
        return ERR_SUSPENDED;
    }
    if (shard->is_draining) {
        return ERR_DRAINING;
    }
    if (shard->free_bytes < shard->place->conf->reserve_mb * MIB) {
        shard_probe(shard);
        return ERR_STORAGE;
    }
    return ERR_OK;
}

void intake_rcpt(struct shard *shard, struct msg *msg)
{
    const struct shard_rcpt *body = &msg->body.rcpt;
    bool is_open = false;
    enum err err = intake_check(shard, body->account);
    if (err == ERR_OK && body->recipient.len > ADDR_MAX) {
        err = ERR_NOT_FOUND;
    }
    if (err == ERR_OK && !return_path_is_ours(shard, body->account, body->recipient)) {
        err = find_domain(shard, body);
        err = err == ERR_OK ? find_taker(shard, body, &is_open) : err;
    }
    if (err != ERR_OK || !is_open) {
        shard_answer(shard, msg, err);
        return;
    }
    struct rcpt_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.msg = msg;
    shard_offload(shard, &work->job, scan_work, scan_done);
}

static enum err find_domain(struct shard *shard, const struct shard_rcpt *body)
{
    struct row_domain row;
    struct slice sandbox = shard->place->conf->sandbox_domain;
    struct slice name = slice_from(body->recipient, slice_rfind_byte(body->recipient, '@') + 1);
    enum err err =
        shard_get_domain(shard, key_domain(body->account, body->domain), &shard->scratch, &row);
    if (err != ERR_OK) {
        return err;
    }
    bool may_receive = row.mx_verified || (sandbox.len > 0 && slice_equal(sandbox, row.name));
    return slice_equal(row.name, name) && may_receive ? ERR_OK : ERR_NOT_FOUND;
}

/* is_open: nobody asked for the address, and it is taken only if the domain has no mailboxes. */
static enum err find_taker(struct shard *shard, const struct shard_rcpt *body, bool *is_open)
{
    struct route_hits hits;
    struct row_mailbox_name row;
    enum err err = routing_find(shard, body->account, body->recipient, &shard->scratch, &hits);
    if (err != ERR_OK || hits.count > 0 || is_official(body->recipient)) {
        return err;
    }
    err = shard_get_mailbox_name(shard, key_mailbox_name(body->account, body->recipient),
                                 &shard->scratch, &row);
    if (err == ERR_NOT_FOUND && !hits.has_any) {
        *is_open = true;
        return ERR_OK;
    }
    return err;
}

/* RFC 5321 4.5.1 and RFC 2142 4. */
static bool is_official(struct slice recipient)
{
    struct slice local = slice_head(recipient, slice_rfind_byte(recipient, '@'));
    return slice_equal_nocase(local, SLICE("postmaster")) ||
           slice_equal_nocase(local, SLICE("abuse"));
}

/* Worker. Mailboxes are few, and the first one of the domain ends the scan. */
static void scan_work(struct shard_job *job)
{
    struct rcpt_work *work = CONTAINER_OF(job, struct rcpt_work, job);
    const struct shard_rcpt *body = &job->msg->body.rcpt;
    struct key from = key_prefix_mailboxes(body->account);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    bool is_end = false;
    for (uint32_t n = 0; !work->has_mailbox && !is_end && n < LIST_ROWS_MAX; n++) {
        struct row_mailbox row;
        is_end = !kv_iter_next(iter, &key, &value);
        work->has_mailbox = !is_end && row_mailbox_decode(value, &row) == ERR_OK &&
                            id_equal(row.domain, body->domain);
    }
    work->err = is_end ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void scan_done(struct shard_job *job)
{
    struct rcpt_work *work = CONTAINER_OF(job, struct rcpt_work, job);
    enum err err = work->err;
    if (err == ERR_OK && work->has_mailbox) {
        err = ERR_NOT_FOUND;
    }
    shard_answer(job->shard, job->msg, err);
}
