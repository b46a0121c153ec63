/* member.c - the people of an account: who may add, change and remove whom.
 *
 * The account's row counts its people and its owners, in the batch of every change to one of them.
 * So "the last owner stays" and the ceiling hold without a scan, also between two requests that are
 * both on their way to the disk.
 *
 * An email is claimed in the directory by message, like that of a sign-up, and by the same rule:
 * the row is on disk before the claim is posted, and the claim is released before the row goes.
 * Whatever is cut short in between leaves a row that is listed and can be removed, never an email
 * that is lost.
 *
 *      ADD      row --> claim --> (lost: REMOVE, FORGET)
 *      REMOVE   row made powerless, sessions ended --> release --> FORGET: row deleted
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

/* A list that is being read. Lives in its message's arena. */
struct list_work {
    struct shard_job job;
    enum err err;
};

static void list_work(struct shard_job *job);
static void list_done(struct shard_job *job);
static enum err may_give(struct msg *msg, const struct principal *who, enum role role);
static enum err has_room(struct msg *msg, const struct principal *who);
static enum err add(struct shard *shard, struct msg *msg, struct principal *who);
static enum err change(struct shard *shard, struct msg *msg, struct principal *who);
static bool take_away(struct shard *shard, struct msg *msg, struct principal *who, enum err *err);
static enum err forget(struct shard *shard, struct msg *msg, struct principal *who);
static enum err find(struct shard *shard, struct msg *msg, struct row_user *row);
static enum err leave_owners(struct msg *msg, const struct principal *who);
static void put_account(struct shard *shard, const struct principal *who);
static void note(struct shard *shard, struct msg *msg, const struct principal *who,
                 const char *action);
static void show(struct msg *msg, const struct row_user *row);
static struct member_view view_of(const struct row_user *row);
static enum err refuse(struct msg *msg, enum err err, const char *param, const char *sentence);

void member_handle(struct shard *shard, struct msg *msg)
{
    struct shard_member *body = &msg->body.member;
    struct principal who;
    arena_mark_secret(&msg->arena);
    enum err err = shard_check_caller(shard, msg, &body->caller, &who);
    if (err == ERR_OK && body->op == MEMBER_LIST) {
        struct list_work *work = arena_alloc(&msg->arena, sizeof(*work));
        work->job.msg = msg;
        shard_offload(shard, &work->job, list_work, list_done);
        return;
    }
    if (err == ERR_OK) {
        err = may_give(msg, &who, ROLE_MEMBER);
    }
    if (err == ERR_OK) {
        switch (body->op) {
        case MEMBER_LIST:
            break;
        case MEMBER_MAY_ADD:
            err = may_give(msg, &who, body->role);
            err = err == ERR_OK ? has_room(msg, &who) : err;
            break;
        case MEMBER_ADD:
            err = add(shard, msg, &who);
            break;
        case MEMBER_CHANGE:
            err = change(shard, msg, &who);
            break;
        case MEMBER_REMOVE:
            if (take_away(shard, msg, &who, &err)) {
                return;
            }
            break;
        case MEMBER_FORGET:
            err = forget(shard, msg, &who);
            break;
        }
    }
    shard_answer(shard, msg, err);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Worker. Newest first. */
static void list_work(struct shard_job *job)
{
    struct list_work *work = CONTAINER_OF(job, struct list_work, job);
    struct shard_member *body = &job->msg->body.member;
    struct arena *arena = &job->msg->arena;
    struct key from = key_prefix_users(body->caller.account);
    struct key to = key_after(&from);
    body->rows = arena_array(arena, MEMBERS_PER_ACCOUNT, sizeof(*body->rows));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), true);
    struct slice key;
    struct slice value;
    while (body->row_count < MEMBERS_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        struct row_user row;
        enum err err = row_user_decode(arena_dup(arena, value), &row);
        if (err == ERR_OK) {
            body->rows[body->row_count++] = view_of(&row);
        } else {
            LOG_ERROR("user.damaged", LOG_ACCOUNT("account", body->caller.account), LOG_ERR(err));
        }
    }
    work->err = body->row_count < MEMBERS_PER_ACCOUNT ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void list_done(struct shard_job *job)
{
    struct list_work *work = CONTAINER_OF(job, struct list_work, job);
    shard_answer(job->shard, job->msg, work->err);
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* Whether who may make, change or remove somebody of that role. */
static enum err may_give(struct msg *msg, const struct principal *who, enum role role)
{
    if (who->is_operator) {
        return ERR_OK;
    }
    if (!who->has_user) {
        return refuse(msg, ERR_SCOPE, "session", "this is for people, and an API key is none");
    }
    if (who->user.role != ROLE_OWNER && who->user.role != ROLE_ADMIN) {
        return refuse(msg, ERR_SCOPE, "role:admin", "only owners and admins manage members");
    }
    if (role == ROLE_OWNER && who->user.role != ROLE_OWNER) {
        return refuse(msg, ERR_SCOPE, "role:owner", "only an owner makes or removes owners");
    }
    return ERR_OK;
}

static enum err has_room(struct msg *msg, const struct principal *who)
{
    if (who->account.more_members + 1 >= MEMBERS_PER_ACCOUNT) {
        return refuse(msg, ERR_CONFLICT, "", "the account has as many members as it may have");
    }
    return ERR_OK;
}

static enum err leave_owners(struct msg *msg, const struct principal *who)
{
    if (who->account.more_owners == 0) {
        return refuse(msg, ERR_CONFLICT, "", "an account keeps its last owner");
    }
    return ERR_OK;
}

/* ---- changes -------------------------------------------------------------------------------- */

static enum err add(struct shard *shard, struct msg *msg, struct principal *who)
{
    const struct shard_member *body = &msg->body.member;
    enum err err = may_give(msg, who, body->role);
    err = err == ERR_OK ? has_room(msg, who) : err;
    if (err != ERR_OK) {
        return err;
    }
    struct row_user row = {
        .id = shard_id(shard, who->account.id),
        .email = body->email,
        .name = body->name,
        .password_hash = body->password_hash,
        .role = (uint8_t)body->role,
        .created_unix_ms = clock_unix_ms(),
    };
    if (who->has_user) {
        row.invited_by = who->user.id;
    }
    who->account.more_members++;
    who->account.more_owners += row.role == ROLE_OWNER;
    put_account(shard, who);
    shard_put_user(shard, key_user(who->account.id, row.id), &row);
    show(msg, &row);
    note(shard, msg, who, "member.invited");
    return ERR_OK;
}

static enum err change(struct shard *shard, struct msg *msg, struct principal *who)
{
    const struct shard_member *body = &msg->body.member;
    struct row_user row;
    enum err err = find(shard, msg, &row);
    err = err == ERR_OK ? may_give(msg, who, (enum role)row.role) : err;
    err = err == ERR_OK ? may_give(msg, who, body->role) : err;
    if (err == ERR_OK && row.is_removed) {
        err = ERR_NOT_FOUND;
    }
    if (err == ERR_OK && row.role == ROLE_OWNER && body->role != ROLE_OWNER) {
        err = leave_owners(msg, who);
    }
    if (err != ERR_OK) {
        return err;
    }
    bool was_owner = row.role == ROLE_OWNER;
    bool is_same = row.role == body->role;
    row.role = (uint8_t)body->role;
    show(msg, &row);
    if (is_same) {
        return ERR_OK;
    }
    if (was_owner || row.role == ROLE_OWNER) {
        who->account.more_owners =
            was_owner ? who->account.more_owners - 1 : who->account.more_owners + 1;
        put_account(shard, who);
    }
    shard_put_user(shard, key_user(who->account.id, row.id), &row);
    note(shard, msg, who, "member.changed");
    return ERR_OK;
}

/* True when the answer is on its way: once the connections of the sessions are ended. Removing
 * twice is no error: the second one finishes what the first may have left. */
static bool take_away(struct shard *shard, struct msg *msg, struct principal *who, enum err *err)
{
    struct row_user row;
    *err = find(shard, msg, &row);
    if (*err == ERR_OK && !row.is_removed) {
        *err = may_give(msg, who, (enum role)row.role);
        if (*err == ERR_OK && row.role == ROLE_OWNER) {
            *err = leave_owners(msg, who);
        }
    }
    if (*err == ERR_OK && !shard_can_end(shard)) {
        *err = ERR_BUSY;
    }
    if (*err != ERR_OK) {
        return false;
    }
    show(msg, &row);
    if (row.is_removed) {
        return false;
    }
    if (row.role == ROLE_OWNER) {
        who->account.more_owners--;
        put_account(shard, who);
    }
    uint32_t count;
    struct credential *list =
        user_end_sessions(row.sessions, (struct id){.bytes = {0}}, &msg->arena, &count);
    row.is_removed = true;
    row.role = ROLE_MEMBER;
    row.is_admin = false;
    row.password_hash = SLICE("");
    row.google_sub = SLICE("");
    row.sessions = SLICE("");
    shard_put_user(shard, key_user(who->account.id, row.id), &row);
    note(shard, msg, who, "member.removed");
    shard_end_credentials(shard, msg, list, count);
    return true;
}

/* The second half of a removal that was allowed. Who removed himself has no session any more, so
 * the edge asks for it as the operator. */
static enum err forget(struct shard *shard, struct msg *msg, struct principal *who)
{
    struct row_user row;
    enum err err = find(shard, msg, &row);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (!row.is_removed) {
        return ERR_CONFLICT;
    }
    who->account.more_members -= who->account.more_members > 0;
    put_account(shard, who);
    shard_delete(shard, key_user(who->account.id, row.id));
    return ERR_OK;
}

/* ---- shared --------------------------------------------------------------------------------- */

static enum err find(struct shard *shard, struct msg *msg, struct row_user *row)
{
    const struct shard_member *body = &msg->body.member;
    return shard_get_user(shard, key_user(body->caller.account, body->id), &msg->arena, row);
}

static void put_account(struct shard *shard, const struct principal *who)
{
    shard_put_account(shard, key_account(who->account.id), &who->account);
}

/* The email is the target: an id says nothing once its row is gone. */
static void note(struct shard *shard, struct msg *msg, const struct principal *who,
                 const char *action)
{
    const struct member_view *view = &msg->body.member.rows[0];
    const struct audit_note line = {
        .account = who->account.id,
        .who = who,
        .caller = &msg->body.member.caller,
        .action = action,
        .target = view->row.email,
        .detail = slice_str(role_text((enum role)view->row.role)),
    };
    shard_audit(shard, &line);
}

static void show(struct msg *msg, const struct row_user *row)
{
    struct shard_member *body = &msg->body.member;
    body->rows = arena_array(&msg->arena, 1, sizeof(*body->rows));
    body->rows[0] = view_of(row);
    body->row_count = 1;
}

static struct member_view view_of(const struct row_user *row)
{
    struct member_view view = {.row = *row, .status = MEMBER_ACTIVE};
    if (row->is_removed) {
        view.status = MEMBER_REMOVED;
    } else if (row->password_hash.len == 0 && row->google_sub.len == 0) {
        view.status = MEMBER_INVITED;
    }
    view.row.password_hash = SLICE("");
    view.row.sessions = SLICE("");
    return view;
}

static enum err refuse(struct msg *msg, enum err err, const char *param, const char *sentence)
{
    msg->param = slice_str(param);
    msg->sentence = slice_str(sentence);
    return err;
}
