/* key.c - API keys: what one may do, and how they are made, changed, rotated and revoked.
 *
 * A key's row lies under the hash of the key, because that is what a request brings; a second row
 * leads from its id to the hash, and is what the list walks over. A key that has ended keeps both.
 *
 * Whether a key counts is decided anew for each request, in the message that carries the request:
 * disabling, revoking and the loss of a domain are rows. A key bound to domains none of which is
 * left counts as disabled; its list keeps their ids, so that it never widens to "all domains". What
 * is taken from a key ends the connections that used it before that is answered (ended.c).
 *
 * Making one asks a worker first how many there are; between the question and the answer anything
 * may change, so the caller is checked again. The ceiling may be passed by the few made meanwhile.
 */
#include "base/check.h"
#include "base/cidr.h"
#include "base/clock.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

/* A request that went to a worker. Lives in its message's arena. */
struct key_work {
    struct shard_job job;
    struct account_id account;
    struct id target; /* ROTATE */
    struct arena scratch;
    enum err err;
};

/* A key found by its id. */
struct found {
    struct key at;
    struct sha256 hash;
    struct row_api_key row;
};

/* What a handler took back, to be told to the edges before its answer. */
struct taken {
    struct credential credential; /* CREDENTIAL_NONE: nothing */
    uint64_t at_unix_ms;          /* 0: from now on */
};

/* What one key may do that another may not. */
enum excess {
    EXCESS_NONE,
    EXCESS_RIGHT,
    EXCESS_MODE,
    EXCESS_DOMAINS,
    EXCESS_ADDRESSES,
    EXCESS_IPS,
    EXCESS_EXPIRES,
};

typedef bool covers_fn(struct slice outer, struct slice inner);

static bool ip_is_allowed(const struct row_api_key *key, const struct ip6 *peer);
static void touch(struct shard *shard, const struct caller *caller, const struct row_api_key *key);
static enum err settle(struct shard *shard, struct account_id account, bool is_on_loop,
                       struct row_api_key *key);
static void offload(struct shard *shard, struct msg *msg, shard_job_fn *work, shard_job_fn *done);
static void survey_work(struct shard_job *job);
static void survey_done(struct shard_job *job);
static enum err count_keys(const struct key_work *work);
static enum err load_row(struct key_work *work, struct slice entry, struct row_api_key *row);
static enum err find_first(struct key_work *work);
static enum err last_of_line(struct key_work *work, struct row_api_key *key);
static void list_work(struct shard_job *job);
static void list_done(struct shard_job *job);
static struct key before_key(struct account_id account, const struct shard_key *body);
static enum err create(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err get(struct shard *shard, struct msg *msg);
static enum err change(struct shard *shard, struct msg *msg, const struct principal *who,
                       struct taken *taken);
static struct slice names_given(struct shard *shard, uint32_t given);
static void apply(struct row_api_key *row, const struct shard_key *body);
static enum err end(struct shard *shard, struct msg *msg, const struct principal *who,
                    struct taken *taken);
static enum err rotate(struct shard *shard, struct msg *msg, const struct principal *who,
                       struct id target, struct taken *taken);
static void answer(struct shard *shard, struct msg *msg, enum err err, const struct taken *taken);
static enum err check_given(struct shard *shard, struct msg *msg, const struct row_api_key *row);
static enum err check_within(struct msg *msg, const struct principal *who,
                             const struct row_api_key *row);
static enum excess excess_of(const struct row_api_key *self, const struct row_api_key *row,
                             enum right *right);
static bool narrows(const struct row_api_key *before, const struct row_api_key *after);
static bool all_in(struct slice outer, struct slice inner, covers_fn *covers);
static bool net_covers(struct slice outer, struct slice inner);
static bool pattern_covers(struct slice outer, struct slice inner);
static enum err find(struct shard *shard, struct msg *msg, struct id id, struct found *found);
static void note(struct shard *shard, const struct msg *msg, const struct principal *who,
                 const struct audit_note *what, struct id key);
static void name_new(struct shard *shard, const struct principal *who,
                     const struct key_secret *secret, struct row_api_key *row);
static void put_new(struct shard *shard, const struct key_secret *secret,
                    const struct row_api_key *row);
static void move_due(struct shard *shard, const struct found *found, uint64_t expires_unix_ms);
static enum err refuse(struct msg *msg, enum err err, const char *param, const char *sentence);
static enum err show(struct shard *shard, struct msg *msg, const struct row_api_key *row);

/* ---- what a key may do ---------------------------------------------------------------------- */

enum err api_key_check(struct shard *shard, struct msg *msg, const struct caller *caller,
                       struct principal *principal)
{
    struct row_api_key *key = &principal->key;
    enum err err =
        shard_get_api_key(shard, key_api_key(caller->account, &caller->key_hash), &msg->arena, key);
    if (err == ERR_OK) {
        err = settle(shard, caller->account, true, key);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (key_status(key, clock_unix_ms()) != KEY_ACTIVE) {
        return ERR_UNAUTHORIZED;
    }
    msg->credential_expires_unix_ms = key->expires_unix_ms;
    err = shard_charge(shard, msg, caller, principal);
    if (err != ERR_OK) {
        return err;
    }
    if (!ip_is_allowed(key, &caller->peer)) {
        return ERR_KEY_IP;
    }
    if (caller->right != RIGHT_NONE && !(key_rights(key) & UINT32_C(1) << caller->right)) {
        msg->param = slice_str(right_text(caller->right));
        return ERR_SCOPE;
    }
    principal->has_key = true;
    touch(shard, caller, key);
    return ERR_OK;
}

static bool ip_is_allowed(const struct row_api_key *key, const struct ip6 *peer)
{
    struct slice rest = key->allowed_ips;
    struct slice text;
    struct cidr net;
    while (get_slice(&rest, &text)) {
        if (cidr_parse(text, &net) == ERR_OK && cidr_has(&net, peer)) {
            return true;
        }
    }
    return key->allowed_ips.len == 0;
}

/* Rides on the next batch; not worth one of its own when the disk is short. */
static void touch(struct shard *shard, const struct caller *caller, const struct row_api_key *key)
{
    uint64_t now = clock_unix_ms();
    bool is_recent = now < key->last_used_unix_ms + KEY_TOUCH_MS;
    if (is_recent || shard->is_draining ||
        shard->free_bytes < shard->place->conf->reserve_mb * MIB) {
        return;
    }
    char peer[IP6_TEXT_MAX];
    struct row_api_key row = *key;
    row.last_used_unix_ms = now;
    row.last_used_ip = SLICE("");
    if (!ip6_is_none(&caller->peer)) {
        row.last_used_ip = slice_of(peer, ip6_text(&caller->peer, peer));
    }
    shard_put_api_key(shard, key_api_key(caller->account, &caller->key_hash), &row);
}

bool principal_may_use_domain(const struct principal *who, struct id domain)
{
    if (!who->has_key || who->key.domains.len == 0) {
        return true;
    }
    char text[ID_TEXT_MAX];
    struct slice wanted = slice_of(text, id_text(ID_DOMAIN, domain, text));
    struct slice rest = who->key.domains;
    struct slice item;
    while (get_slice(&rest, &item)) {
        if (slice_equal(item, wanted)) {
            return true;
        }
    }
    return false;
}

bool principal_is_bound(const struct principal *who)
{
    return who->has_key && (who->key.domains.len > 0 || who->key.addresses.len > 0);
}

bool principal_may_send_as(const struct principal *who, struct slice local, struct arena *arena)
{
    if (!who->has_key || who->key.addresses.len == 0) {
        return true;
    }
    struct slice wanted = arena_lower(arena, local);
    struct slice rest = who->key.addresses;
    struct slice pattern;
    while (get_slice(&rest, &pattern)) {
        size_t star = slice_find_byte(pattern, '*');
        bool is_match = star == SIZE_MAX ? slice_equal(pattern, wanted)
                                         : wanted.len + 1 >= pattern.len &&
                                               slice_starts(wanted, slice_head(pattern, star)) &&
                                               slice_ends(wanted, slice_from(pattern, star + 1));
        if (is_match) {
            return true;
        }
    }
    return false;
}

/* Turns is_enabled off, in *key only, when the key is bound to domains that are all gone. */
static enum err settle(struct shard *shard, struct account_id account, bool is_on_loop,
                       struct row_api_key *key)
{
    struct slice rest = key->domains;
    struct slice text;
    struct arena arena;
    struct id domain;
    bool is_left = rest.len == 0;
    enum err err = ERR_OK;
    arena_init(&arena, 4 * KIB, MIB);
    while (!is_left && err == ERR_OK && get_slice(&rest, &text)) {
        struct slice row;
        if (id_parse(ID_DOMAIN, text, &domain) != ERR_OK) {
            continue;
        }
        struct key at = key_domain(account, domain);
        err =
            is_on_loop ? shard_get(shard, &at, &arena, &row) : shard_load(shard, &at, &arena, &row);
        is_left = err == ERR_OK;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    arena_fini(&arena);
    if (err == ERR_OK && !is_left) {
        key->is_enabled = false;
    }
    return err;
}

/* ---- requests ------------------------------------------------------------------------------- */

void api_key_handle(struct shard *shard, struct msg *msg)
{
    struct principal who;
    struct taken taken = {.at_unix_ms = 0};
    enum err err = shard_check_caller(shard, msg, &msg->body.key.caller, &who);
    if (err != ERR_OK) {
        shard_answer(shard, msg, err);
        return;
    }
    switch (msg->body.key.op) {
    case KEY_CREATE:
    case KEY_ROTATE:
    case KEY_ROTATE_FIRST:
        offload(shard, msg, survey_work, survey_done);
        return;
    case KEY_LIST:
        offload(shard, msg, list_work, list_done);
        return;
    case KEY_GET:
        err = get(shard, msg);
        break;
    case KEY_CHANGE:
        err = change(shard, msg, &who, &taken);
        break;
    case KEY_REVOKE:
        err = end(shard, msg, &who, &taken);
        break;
    }
    answer(shard, msg, err, &taken);
}

static void answer(struct shard *shard, struct msg *msg, enum err err, const struct taken *taken)
{
    if (err != ERR_OK || taken->credential.kind == CREDENTIAL_NONE) {
        shard_answer(shard, msg, err);
    } else if (taken->at_unix_ms == 0) {
        shard_end_credential(shard, msg, taken->credential);
    } else {
        shard_cap_credential(shard, msg, taken->credential, taken->at_unix_ms);
    }
}

static void offload(struct shard *shard, struct msg *msg, shard_job_fn *work, shard_job_fn *done)
{
    struct key_work *job = arena_alloc(&msg->arena, sizeof(*job));
    job->job.msg = msg;
    job->account = msg->body.key.caller.account;
    job->target = msg->body.key.id;
    arena_init(&job->scratch, 4 * KIB, 16 * MIB);
    shard_offload(shard, &job->job, work, done);
}

/* Worker. */
static void survey_work(struct shard_job *job)
{
    struct key_work *work = CONTAINER_OF(job, struct key_work, job);
    work->err = count_keys(work);
    if (work->err == ERR_OK && job->msg->body.key.op == KEY_ROTATE_FIRST) {
        work->err = find_first(work);
    }
}

static void survey_done(struct shard_job *job)
{
    struct key_work *work = CONTAINER_OF(job, struct key_work, job);
    struct shard *shard = job->shard;
    struct msg *msg = job->msg;
    struct principal who;
    struct taken taken = {.at_unix_ms = 0};
    arena_fini(&work->scratch);
    enum err err = work->err;
    if (err == ERR_OK) {
        err = shard_check_caller(shard, msg, &msg->body.key.caller, &who);
    }
    if (err == ERR_OK) {
        err = msg->body.key.op == KEY_CREATE ? create(shard, msg, &who)
                                             : rotate(shard, msg, &who, work->target, &taken);
    }
    answer(shard, msg, err, &taken);
}

/* Worker. */
static enum err count_keys(const struct key_work *work)
{
    struct key from = key_prefix_api_key_ids(work->account);
    struct key to = key_after(&from);
    struct shard *shard = work->job.shard;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    while (count < KEYS_PER_ACCOUNT && kv_iter_next(iter, &key, &value)) {
        count++;
    }
    enum err err = count < KEYS_PER_ACCOUNT ? kv_iter_err(iter) : ERR_QUOTA;
    kv_iter_close(iter);
    return err;
}

/* The row that an entry of the index leads to. Worker. */
static enum err load_row(struct key_work *work, struct slice entry, struct row_api_key *row)
{
    struct row_api_key_id index;
    struct slice bytes;
    enum err err = row_api_key_id_decode(entry, &index);
    if (err == ERR_OK) {
        struct key key = key_api_key(work->account, &index.hash);
        err = shard_load(work->job.shard, &key, &work->scratch, &bytes);
    }
    return err == ERR_OK ? row_api_key_decode(bytes, row) : err;
}

/* Oldest first; a rotated key stands for those that came after it. Each key is visited once: as the
 * first of its line, or on the way down from there. Worker. */
static enum err find_first(struct key_work *work)
{
    struct key from = key_prefix_api_key_ids(work->account);
    struct key to = key_after(&from);
    struct shard *shard = work->job.shard;
    struct kv_iter *iter =
        kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    enum err err = ERR_NOT_FOUND;
    while (err == ERR_NOT_FOUND && kv_iter_next(iter, &key, &value)) {
        struct row_api_key row;
        arena_clear(&work->scratch);
        if (load_row(work, value, &row) != ERR_OK || !id_is_none(row.replaces)) {
            continue; /* a damaged one is not the first */
        }
        err = last_of_line(work, &row);
        enum key_status status = key_status(&row, clock_unix_ms());
        if (err == ERR_OK && (status == KEY_REVOKED || status == KEY_EXPIRED)) {
            err = ERR_NOT_FOUND;
        }
        work->target = row.id;
    }
    if (err == ERR_NOT_FOUND && kv_iter_err(iter) != ERR_OK) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    return err;
}

static enum err last_of_line(struct key_work *work, struct row_api_key *key)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && !id_is_none(key->replaced_by) && i < KEYS_PER_ACCOUNT;
         i++) {
        struct slice entry;
        struct key at = key_api_key_id(work->account, key->replaced_by);
        arena_clear(&work->scratch);
        err = shard_load(work->job.shard, &at, &work->scratch, &entry);
        err = err == ERR_OK ? load_row(work, entry, key) : err;
    }
    return err;
}

/* Worker. */
static void list_work(struct shard_job *job)
{
    struct key_work *work = CONTAINER_OF(job, struct key_work, job);
    struct shard_key *body = &job->msg->body.key;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    struct key from = key_prefix_api_key_ids(work->account);
    struct key to = before_key(work->account, body);
    body->rows = arena_array(&job->msg->arena, limit, sizeof(*body->rows));
    struct kv_iter *iter =
        kv_iter_open(job->shard->kv, job->shard->family, key_slice(&from), key_slice(&to), true);
    struct slice key;
    struct slice value;
    while (body->row_count < limit && kv_iter_next(iter, &key, &value)) {
        struct row_api_key_id index;
        struct row_api_key *row = &body->rows[body->row_count];
        struct slice bytes;
        enum err err = row_api_key_id_decode(value, &index);
        if (err == ERR_OK) {
            struct key at = key_api_key(work->account, &index.hash);
            err = shard_load(job->shard, &at, &job->msg->arena, &bytes);
        }
        err = err == ERR_OK ? row_api_key_decode(bytes, row) : err;
        err = err == ERR_OK ? settle(job->shard, work->account, false, row) : err;
        body->row_count += err == ERR_OK;
        if (err != ERR_OK) {
            LOG_ERROR("key.damaged", LOG_ACCOUNT("account", work->account), LOG_ERR(err));
        }
    }
    work->err = body->row_count < limit ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
}

static void list_done(struct shard_job *job)
{
    struct key_work *work = CONTAINER_OF(job, struct key_work, job);
    arena_fini(&work->scratch);
    shard_answer(job->shard, job->msg, work->err);
}

static struct key before_key(struct account_id account, const struct shard_key *body)
{
    struct key prefix = key_prefix_api_key_ids(account);
    if (!id_is_none(body->before)) {
        return key_api_key_id(account, body->before);
    }
    if (body->before_unix_ms >> 48 != 0) {
        return key_after(&prefix);
    }
    struct id least;
    memset(&least, 0, sizeof(least));
    for (size_t i = 0; i < 6; i++) {
        least.bytes[i] = (uint8_t)(body->before_unix_ms >> (40 - 8 * i));
    }
    return key_api_key_id(account, least);
}

/* ---- making and changing -------------------------------------------------------------------- */

static enum err create(struct shard *shard, struct msg *msg, const struct principal *who)
{
    const struct shard_key *body = &msg->body.key;
    struct row_api_key row = {
        .mode = who->has_key ? who->key.mode : MODE_LIVE,
        .permission = PERMISSION_FULL,
        .is_enabled = true,
    };
    apply(&row, body);
    if (body->given & KEY_FIELD_MODE) {
        row.mode = body->wanted.mode;
    }
    CHECK(row.mode < ARRAY_LEN(body->secrets));
    enum err err = check_given(shard, msg, &row);
    if (err == ERR_OK) {
        err = check_within(msg, who, &row);
    }
    if (err == ERR_OK) {
        name_new(shard, who, &body->secrets[row.mode], &row);
        err = show(shard, msg, &row);
    }
    if (err == ERR_OK) {
        put_new(shard, &body->secrets[row.mode], &row);
        note(shard, msg, who, &(struct audit_note){.action = "api_key.created", .detail = row.name},
             row.id);
        LOG_INFO("key.created", LOG_ID("key", ID_KEY, row.id), LOG_ORIGIN(&msg->origin));
    }
    return err;
}

static enum err get(struct shard *shard, struct msg *msg)
{
    struct found found;
    enum err err = find(shard, msg, msg->body.key.id, &found);
    return err == ERR_OK ? show(shard, msg, &found.row) : err;
}

static enum err change(struct shard *shard, struct msg *msg, const struct principal *who,
                       struct taken *taken)
{
    const struct shard_key *body = &msg->body.key;
    struct found found;
    enum err err = find(shard, msg, body->id, &found);
    if (err != ERR_OK) {
        return err;
    }
    struct row_api_key row = found.row;
    if (row.is_revoked) {
        return refuse(msg, ERR_CONFLICT, "", "a revoked key cannot be changed");
    }
    if ((body->given & KEY_FIELD_EXPIRES) && !id_is_none(row.replaced_by)) {
        return refuse(msg, ERR_CONFLICT, "expiresAt", "a key that was rotated ends when it ends");
    }
    if ((body->given & KEY_FIELD_MODE) && body->wanted.mode != row.mode) {
        return refuse(msg, ERR_BAD_FIELD, "mode", "the mode of a key cannot be changed");
    }
    apply(&row, body);
    err = check_given(shard, msg, &row);
    if (err == ERR_OK) {
        err = check_within(msg, who, &row);
    }
    if (err == ERR_OK) {
        err = show(shard, msg, &row);
    }
    if (err == ERR_OK && !shard_can_end(shard)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        return err;
    }
    shard_put_api_key(shard, found.at, &row);
    move_due(shard, &found, row.expires_unix_ms);
    struct audit_note what = {
        .action = "api_key.changed",
        .detail = names_given(shard, body->given),
    };
    note(shard, msg, who, &what, row.id);
    if (narrows(&found.row, &row)) {
        taken->credential = credential_key(&found.hash);
    }
    LOG_INFO("key.changed", LOG_ID("key", ID_KEY, row.id), LOG_ORIGIN(&msg->origin));
    return ERR_OK;
}

/* "name,scopes", for the log. */
static struct slice names_given(struct shard *shard, uint32_t given)
{
    static const char *const names[] = {"name",    "mode",      "permission", "scopes",
                                        "domains", "addresses", "allowedIps", "expiresAt",
                                        "enabled", "metadata"};
    struct slice text = SLICE("");
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++) {
        if (given & UINT32_C(1) << i) {
            text = arena_format(&shard->scratch, "%.*s%s%s", SLICE_FMT(text),
                                text.len > 0 ? "," : "", names[i]);
        }
    }
    return text;
}

/* All but the mode, which is in the key's text. A permission without a list of scopes replaces the
 * list that there was. */
static void apply(struct row_api_key *row, const struct shard_key *body)
{
    const struct row_api_key *wanted = &body->wanted;
    if (body->given & KEY_FIELD_NAME) {
        row->name = wanted->name;
    }
    if (body->given & KEY_FIELD_PERMISSION) {
        row->permission = wanted->permission;
        row->has_scopes = false;
        row->scopes = SLICE("");
    }
    if (body->given & KEY_FIELD_SCOPES) {
        row->has_scopes = true;
        row->scopes = wanted->scopes;
    }
    if (body->given & KEY_FIELD_DOMAINS) {
        row->domains = wanted->domains;
    }
    if (body->given & KEY_FIELD_ADDRESSES) {
        row->addresses = wanted->addresses;
    }
    if (body->given & KEY_FIELD_IPS) {
        row->allowed_ips = wanted->allowed_ips;
    }
    if (body->given & KEY_FIELD_EXPIRES) {
        row->expires_unix_ms = wanted->expires_unix_ms;
    }
    if (body->given & KEY_FIELD_ENABLED) {
        row->is_enabled = wanted->is_enabled;
    }
    if (body->given & KEY_FIELD_METADATA) {
        row->metadata = wanted->metadata;
    }
}

/* Revoking twice is no error: the wish is fulfilled. */
static enum err end(struct shard *shard, struct msg *msg, const struct principal *who,
                    struct taken *taken)
{
    struct found found;
    enum err err = find(shard, msg, msg->body.key.id, &found);
    if (err == ERR_OK && !shard_can_end(shard)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        return err;
    }
    if (!found.row.is_revoked) {
        found.row.is_revoked = true;
        shard_put_api_key(shard, found.at, &found.row);
        move_due(shard, &found, 0);
        note(shard, msg, who, &(struct audit_note){.action = "api_key.revoked"}, found.row.id);
        LOG_INFO("key.revoked", LOG_ID("key", ID_KEY, found.row.id), LOG_ORIGIN(&msg->origin));
    }
    taken->credential = credential_key(&found.hash);
    return ERR_OK;
}

static enum err rotate(struct shard *shard, struct msg *msg, const struct principal *who,
                       struct id target, struct taken *taken)
{
    const struct shard_key *body = &msg->body.key;
    struct found found;
    enum err err = find(shard, msg, target, &found);
    uint64_t now = clock_unix_ms();
    if (err != ERR_OK) {
        return err;
    }
    struct row_api_key *old = &found.row;
    if (!id_is_none(old->replaced_by)) {
        return refuse(msg, ERR_CONFLICT, "", "the key was rotated already");
    }
    enum key_status status = key_status(old, now);
    if (status == KEY_REVOKED || status == KEY_EXPIRED) {
        return refuse(msg, ERR_CONFLICT, "", "a key that has ended cannot be rotated");
    }
    struct row_api_key row = *old;
    row.replaces = old->id;
    row.last_used_unix_ms = 0;
    row.last_used_ip = SLICE("");
    CHECK(row.mode < ARRAY_LEN(body->secrets));
    err = check_within(msg, who, old);
    if (err == ERR_OK) {
        name_new(shard, who, &body->secrets[row.mode], &row);
        err = show(shard, msg, &row);
    }
    if (err == ERR_OK && !shard_can_end(shard)) {
        err = ERR_BUSY;
    }
    if (err != ERR_OK) {
        return err;
    }
    put_new(shard, &body->secrets[row.mode], &row);
    old->replaced_by = row.id;
    move_due(shard, &found, 0);
    taken->credential = credential_key(&found.hash);
    if (body->overlap_ms == 0) {
        old->is_revoked = true;
    } else {
        if (old->expires_unix_ms == 0 || old->expires_unix_ms > now + body->overlap_ms) {
            old->expires_unix_ms = now + body->overlap_ms;
        }
        taken->at_unix_ms = old->expires_unix_ms;
    }
    shard_put_api_key(shard, found.at, old);
    char by[ID_TEXT_MAX];
    struct audit_note what = {
        .action = "api_key.rotated",
        .detail = slice_of(by, id_text(ID_KEY, row.id, by)),
    };
    note(shard, msg, who, &what, old->id);
    LOG_INFO("key.rotated", LOG_ID("key", ID_KEY, old->id), LOG_ID("by", ID_KEY, row.id),
             LOG_ORIGIN(&msg->origin));
    return ERR_OK;
}

/* What the edge cannot know of the fields that came. */
static enum err check_given(struct shard *shard, struct msg *msg, const struct row_api_key *row)
{
    const struct shard_key *body = &msg->body.key;
    if ((body->given & KEY_FIELD_EXPIRES) && row->expires_unix_ms != 0 &&
        row->expires_unix_ms <= clock_unix_ms()) {
        return refuse(msg, ERR_BAD_FIELD, "expiresAt", "expiresAt must be in the future");
    }
    struct slice rest = body->given & KEY_FIELD_DOMAINS ? row->domains : SLICE("");
    struct slice text;
    while (get_slice(&rest, &text)) {
        struct id id;
        struct row_domain domain;
        enum err err = id_parse(ID_DOMAIN, text, &id);
        if (err == ERR_OK) {
            err = shard_get_domain(shard, key_domain(body->caller.account, id), &shard->scratch,
                                   &domain);
        }
        if (err == ERR_NOT_FOUND || err == ERR_INVALID) {
            return refuse(msg, ERR_DOMAIN_NOT_OWNED, "domains",
                          "a domain of the list does not belong to this account");
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* ---- no key makes more than itself ---------------------------------------------------------- */

static enum err check_within(struct msg *msg, const struct principal *who,
                             const struct row_api_key *row)
{
    enum right right = RIGHT_NONE;
    switch (who->has_key ? excess_of(&who->key, row, &right) : EXCESS_NONE) {
    case EXCESS_NONE:
        break;
    case EXCESS_RIGHT:
        msg->param = slice_str(right_text(right));
        return ERR_SCOPE;
    case EXCESS_MODE:
        return refuse(msg, ERR_KEY_SCOPE, "mode", "a test key may not manage live keys");
    case EXCESS_DOMAINS:
        return refuse(msg, ERR_KEY_SCOPE, "domains", "this key may not grant those domains");
    case EXCESS_ADDRESSES:
        return refuse(msg, ERR_KEY_SCOPE, "addresses", "this key may not grant those addresses");
    case EXCESS_IPS:
        return refuse(msg, ERR_KEY_SCOPE, "allowedIps", "this key may not grant those networks");
    case EXCESS_EXPIRES:
        return refuse(msg, ERR_KEY_SCOPE, "expiresAt", "a key may not outlive the one it is of");
    }
    return ERR_OK;
}

/* The first thing that row may and self may not. */
static enum excess excess_of(const struct row_api_key *self, const struct row_api_key *row,
                             enum right *right)
{
    uint32_t more = key_rights(row) & ~key_rights(self);
    for (enum right i = RIGHT_NONE + 1; i < RIGHT_COUNT; i++) {
        if (more & UINT32_C(1) << i) {
            *right = i;
            return EXCESS_RIGHT;
        }
    }
    if (self->mode == MODE_TEST && row->mode != MODE_TEST) {
        return EXCESS_MODE;
    }
    if (!all_in(self->domains, row->domains, slice_equal)) {
        return EXCESS_DOMAINS;
    }
    if (!all_in(self->addresses, row->addresses, pattern_covers)) {
        return EXCESS_ADDRESSES;
    }
    if (!all_in(self->allowed_ips, row->allowed_ips, net_covers)) {
        return EXCESS_IPS;
    }
    bool is_longer = self->expires_unix_ms != 0 &&
                     (row->expires_unix_ms == 0 || row->expires_unix_ms > self->expires_unix_ms);
    return is_longer ? EXCESS_EXPIRES : EXCESS_NONE;
}

/* Whether anything was taken away. */
static bool narrows(const struct row_api_key *before, const struct row_api_key *after)
{
    enum right right;
    return (before->is_enabled && !after->is_enabled) ||
           excess_of(after, before, &right) != EXCESS_NONE;
}

/* Whether each item of inner is covered by one of outer. An empty list is "everything". */
static bool all_in(struct slice outer, struct slice inner, covers_fn *covers)
{
    if (outer.len == 0) {
        return true;
    }
    bool is_good = inner.len > 0;
    struct slice item;
    while (is_good && get_slice(&inner, &item)) {
        struct slice rest = outer;
        struct slice wide;
        is_good = false;
        while (!is_good && get_slice(&rest, &wide)) {
            is_good = covers(wide, item);
        }
    }
    return is_good;
}

static bool net_covers(struct slice outer, struct slice inner)
{
    struct cidr wide;
    struct cidr narrow;
    return cidr_parse(outer, &wide) == ERR_OK && cidr_parse(inner, &narrow) == ERR_OK &&
           cidr_covers(&wide, &narrow);
}

/* Patterns have one star at most. Without one in outer, only itself; with one, whatever begins and
 * ends as outer does before any star of its own. */
static bool pattern_covers(struct slice outer, struct slice inner)
{
    size_t star = slice_find_byte(outer, '*');
    if (star == SIZE_MAX) {
        return slice_equal(outer, inner);
    }
    struct slice head = slice_head(outer, star);
    struct slice tail = slice_from(outer, star + 1);
    size_t own = slice_find_byte(inner, '*');
    if (own == SIZE_MAX) {
        return inner.len >= head.len + tail.len && slice_starts(inner, head) &&
               slice_ends(inner, tail);
    }
    return slice_starts(slice_head(inner, own), head) &&
           slice_ends(slice_from(inner, own + 1), tail);
}

/* ---- shared --------------------------------------------------------------------------------- */

static enum err find(struct shard *shard, struct msg *msg, struct id id, struct found *found)
{
    struct account_id account = msg->body.key.caller.account;
    struct row_api_key_id index;
    enum err err =
        shard_get_api_key_id(shard, key_api_key_id(account, id), &shard->scratch, &index);
    if (err != ERR_OK) {
        return err;
    }
    found->hash = index.hash;
    found->at = key_api_key(account, &index.hash);
    return shard_get_api_key(shard, found->at, &msg->arena, &found->row);
}

/* A line of the account's log about a key; `what` brings action and detail. */
static void note(struct shard *shard, const struct msg *msg, const struct principal *who,
                 const struct audit_note *what, struct id key)
{
    struct audit_note full = *what;
    full.account = who->account.id;
    full.who = who;
    full.caller = &msg->body.key.caller;
    shard_audit_id(shard, &full, ID_KEY, key);
}

static void name_new(struct shard *shard, const struct principal *who,
                     const struct key_secret *secret, struct row_api_key *row)
{
    row->id = shard_id(shard, who->account.id);
    row->prefix = secret->prefix;
    row->last4 = secret->last4;
    row->created_unix_ms = clock_unix_ms();
    row->created_by = who->has_key ? who->key.id : who->user.id;
    row->is_made_by_key = who->has_key;
}

static void put_new(struct shard *shard, const struct key_secret *secret,
                    const struct row_api_key *row)
{
    struct account_id account = id_account(row->id);
    struct row_api_key_id index = {.hash = secret->hash};
    shard_put_api_key(shard, key_api_key(account, &secret->hash), row);
    shard_put_api_key_id(shard, key_api_key_id(account, row->id), &index);
    struct api_key_due due = {
        .key = row->id,
        .hash = secret->hash,
        .after_unix_ms = row->expires_unix_ms,
    };
    api_key_due_move(shard, &due);
}

/* When its owner is told of a new expiry. */
static void move_due(struct shard *shard, const struct found *found, uint64_t expires_unix_ms)
{
    struct api_key_due due = {
        .key = found->row.id,
        .hash = found->hash,
        .before_unix_ms = found->row.expires_unix_ms,
        .after_unix_ms = expires_unix_ms,
    };
    api_key_due_move(shard, &due);
}

static enum err refuse(struct msg *msg, enum err err, const char *param, const char *sentence)
{
    msg->param = slice_str(param);
    msg->sentence = slice_str(sentence);
    return err;
}

/* Puts the row into the answer, as it stands: a read that may fail, so before any write. */
static enum err show(struct shard *shard, struct msg *msg, const struct row_api_key *row)
{
    struct shard_key *body = &msg->body.key;
    body->rows = arena_array(&msg->arena, 1, sizeof(*body->rows));
    body->rows[0] = *row;
    body->row_count = 1;
    return settle(shard, body->caller.account, true, &body->rows[0]);
}
