/* mailbox.c - addresses whose mail is read here, and what a reader does to a mail.
 *
 * A mailbox is a row and its address; which mails are in it, the mails' own rows say (intake.c puts
 * them there). So a mailbox that is deleted keeps nothing from anybody: its mails stay, and go out
 * of its list when they are deleted themselves.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

/* A mailbox in the making. Lives in its message's arena. */
struct create_work {
    struct shard_job job;
    struct principal who;
    uint32_t count; /* mailboxes of the account */
    enum err err;
};

static void create(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err check_new(struct shard *shard, struct msg *msg, const struct principal *who,
                          struct id *domain);
static void count_work(struct shard_job *job);
static void create_done(struct shard_job *job);
static enum err find(struct shard *shard, struct msg *msg, const struct principal *who,
                     struct row_mailbox *row);
static enum err get(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err rename_one(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err delete_one(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err mark(struct shard *shard, struct msg *msg, const struct principal *who);
static void show(struct msg *msg, const struct row_mailbox *row);
static void audit(struct shard *shard, struct msg *msg, const struct principal *who,
                  const char *action, const struct row_mailbox *row);

static void dispatch(struct shard *shard, struct msg *msg, const struct principal *who)
{
    switch (msg->body.mailbox.op) {
    case MAILBOX_CREATE:
        create(shard, msg, who);
        return;
    case MAILBOX_GET:
        shard_answer(shard, msg, get(shard, msg, who));
        return;
    case MAILBOX_RENAME:
        shard_answer(shard, msg, rename_one(shard, msg, who));
        return;
    case MAILBOX_DELETE:
        shard_answer(shard, msg, delete_one(shard, msg, who));
        return;
    case MAILBOX_MARK:
        shard_answer(shard, msg, mark(shard, msg, who));
        return;
    case MAILBOX_DISCARD:
        mail_discard(shard, msg, who);
        return;
    case MAILBOX_LIST:
    case MAILBOX_MAILS:
    case MAILBOX_THREADS:
    case MAILBOX_THREAD:
        mailbox_view(shard, msg, who);
        return;
    }
    CHECK(msg->body.mailbox.op <= MAILBOX_THREAD);
}

void mailbox_handle(struct shard *shard, struct msg *msg)
{
    struct principal who;
    enum err err = shard_check_caller(shard, msg, &msg->body.mailbox.caller, &who);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    dispatch(shard, msg, &who);
}

/* ---- making one ----------------------------------------------------------------------------- */

static void create(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct id domain;
    enum err err = check_new(shard, msg, who, &domain);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    struct create_work *work = arena_alloc(&msg->arena, sizeof(*work));
    work->job.msg = msg;
    work->who = *who;
    shard_offload(shard, &work->job, count_work, create_done);
}

/* The address stands in a domain of the account, and is free. */
static enum err check_new(struct shard *shard, struct msg *msg, const struct principal *who,
                          struct id *domain)
{
    const struct row_mailbox *wanted = &msg->body.mailbox.wanted;
    struct account_id account = who->account.id;
    struct row_domain_name name;
    struct row_mailbox_name taken;
    size_t at = slice_rfind_byte(wanted->address, '@');
    if (at == SIZE_MAX || wanted->address.len > ADDR_MAX) {
        return ERR_INVALID;
    }
    struct slice text = slice_from(wanted->address, at + 1);
    enum err err =
        shard_get_domain_name(shard, key_domain_name(account, text), &shard->scratch, &name);
    if (err == ERR_NOT_FOUND) {
        msg->param = SLICE("address");
        msg->sentence = SLICE("the address's domain does not belong to this account");
        return ERR_DOMAIN_NOT_OWNED;
    }
    if (err != ERR_OK) {
        return err;
    }
    if (!principal_may_use_domain(who, name.id)) {
        return ERR_KEY_SCOPE;
    }
    *domain = name.id;
    err = shard_get_mailbox_name(shard, key_mailbox_name(account, wanted->address), &shard->scratch,
                                 &taken);
    if (err == ERR_OK) {
        msg->param = SLICE("address");
        return ERR_EXISTS;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Worker. At most one sync behind, so the ceiling may be passed by the few made meanwhile. */
static void count_work(struct shard_job *job)
{
    struct create_work *work = CONTAINER_OF(job, struct create_work, job);
    struct key from = key_prefix_mailboxes(work->who.account.id);
    struct key to = key_after(&from);
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    while (work->count < MAILBOXES_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        work->count++;
    }
    work->err = work->count < MAILBOXES_PER_ACCOUNT ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void create_done(struct shard_job *job)
{
    struct create_work *work = CONTAINER_OF(job, struct create_work, job);
    struct shard *shard = job->shard;
    struct msg *msg = job->msg;
    struct account_id account = work->who.account.id;
    struct row_mailbox row = msg->body.mailbox.wanted;
    enum err err = work->err;
    if (err == ERR_OK && work->count >= MAILBOXES_PER_ACCOUNT) {
        msg->sentence = SLICE("the account has as many mailboxes as it may have");
        err = ERR_QUOTA;
    }
    if (err == ERR_OK) {
        err = check_new(shard, msg, &work->who, &row.domain); /* it may have been taken since */
    }
    if (err == ERR_OK) {
        row.id = shard_id(shard, account);
        row.created_unix_ms = clock_unix_ms();
        struct row_mailbox_name name = {.mailbox = row.id};
        shard_put_mailbox(shard, key_mailbox(account, row.id), &row);
        shard_put_mailbox_name(shard, key_mailbox_name(account, row.address), &name);
        audit(shard, msg, &work->who, "mailbox.created", &row);
        show(msg, &row);
    }
    shard_answer(shard, msg, err);
}

/* ---- one that is there ---------------------------------------------------------------------- */

static enum err find(struct shard *shard, struct msg *msg, const struct principal *who,
                     struct row_mailbox *row)
{
    struct key key = key_mailbox(who->account.id, msg->body.mailbox.id);
    enum err err = shard_get_mailbox(shard, key, &msg->arena, row);
    return err == ERR_OK && !principal_may_use_domain(who, row->domain) ? ERR_KEY_SCOPE : err;
}

static enum err get(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_mailbox row;
    enum err err = find(shard, msg, who, &row);
    if (err == ERR_OK) {
        show(msg, &row);
    }
    return err;
}

static enum err rename_one(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_mailbox row;
    enum err err = find(shard, msg, who, &row);
    if (err == ERR_OK) {
        row.name = msg->body.mailbox.wanted.name;
        shard_put_mailbox(shard, key_mailbox(who->account.id, row.id), &row);
        show(msg, &row);
    }
    return err;
}

/* The rows that say which mails were in it stay with their mails. */
static enum err delete_one(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct account_id account = who->account.id;
    struct row_mailbox row;
    enum err err = find(shard, msg, who, &row);
    if (err == ERR_OK) {
        shard_delete(shard, key_mailbox(account, row.id));
        shard_delete(shard, key_mailbox_name(account, row.address));
        audit(shard, msg, who, "mailbox.deleted", &row);
    }
    return err;
}

static void show(struct msg *msg, const struct row_mailbox *row)
{
    struct shard_mailbox *body = &msg->body.mailbox;
    body->mailboxes = arena_array(&msg->arena, 1, sizeof(*body->mailboxes));
    body->mailboxes[0] = *row;
    body->count = 1;
}

static void audit(struct shard *shard, struct msg *msg, const struct principal *who,
                  const char *action, const struct row_mailbox *row)
{
    struct audit_note note = {
        .account = who->account.id,
        .who = who,
        .caller = &msg->body.mailbox.caller,
        .action = action,
        .detail = row->address,
    };
    shard_audit_id(shard, &note, ID_MAILBOX, row->id);
}

/* ---- what a reader does to a mail ----------------------------------------------------------- */

void mail_state_init(const struct row_mail *mail, struct row_mail_state *state)
{
    bool is_inbound = mail->direction == DIRECTION_INBOUND;
    *state = (struct row_mail_state){
        .is_read = !is_inbound, /* whoever sent it knows it */
        .folder = is_inbound ? SLICE("inbox") : SLICE("sent"),
    };
}

enum err mail_state_load(const struct shard *shard, const struct row_mail *mail,
                         struct arena *arena, struct row_mail_state *state)
{
    struct key key = key_mail_state(id_account(mail->id), mail->id);
    struct slice bytes;
    enum err err = shard_load(shard, &key, arena, &bytes);
    if (err == ERR_OK && row_mail_state_decode(bytes, state) == ERR_OK) {
        return ERR_OK;
    }
    mail_state_init(mail, state);
    if (err == ERR_OK) { /* a damaged one must not hide the mail */
        LOG_ERROR("mailbox.damaged", LOG_ID("message", ID_MESSAGE, mail->id));
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err mark(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_mailbox *body = &msg->body.mailbox;
    struct account_id account = who->account.id;
    struct mail_entry *entry = arena_alloc(&msg->arena, sizeof(*entry));
    struct row_mail_state *state = &entry->state;
    enum err err = shard_get_mail(shard, key_mail(account, body->id), &msg->arena, &entry->mail);
    err = err == ERR_OK ? mail_may_see(who, &entry->mail) : err;
    if (err == ERR_OK) {
        err = shard_get_mail_state(shard, key_mail_state(account, body->id), &msg->arena, state);
        if (err == ERR_NOT_FOUND) {
            mail_state_init(&entry->mail, state);
            err = ERR_OK;
        }
    }
    if (err != ERR_OK) {
        return err;
    }
    state->is_read = body->given & MARK_READ ? body->state.is_read : state->is_read;
    state->is_starred = body->given & MARK_STARRED ? body->state.is_starred : state->is_starred;
    state->folder = body->given & MARK_FOLDER ? body->state.folder : state->folder;
    if (body->given != 0) {
        shard_put_mail_state(shard, key_mail_state(account, body->id), state);
    }
    body->mails = entry;
    body->count = 1;
    return ERR_OK;
}
