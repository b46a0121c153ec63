/* routing.c - what becomes of received mail: patterns, their actions, and the secrets of those that
 * call somebody.
 *
 * The ids of an account's routes stand in one row, so that everything here is a point read and a
 * route counts from the moment it is written, on disk or not. Compiled patterns are kept for the
 * accounts that were asked for last; any change of an account's routes, and any batch that is lost,
 * drops them.
 *
 * A domain's webhook is its `*@domain` route, which the domain's row names.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/addr.h"
#include "mail/match.h"
#include "shards/hook_sign.h"
#include "shards/shard_int.h"

#include <stdlib.h>
#include <string.h>

#define ID_BYTES      sizeof(((struct id *)NULL)->bytes)
#define SET_ARENA_MAX (16 * MIB) /* compiled patterns and rows of one account */

/* An account's routes, compiled. */
struct route_set {
    struct account_id account;
    struct arena arena;
    struct row_route *rows;
    const struct match **patterns;
    uint32_t count;
};

static enum err create(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err list(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err get(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err change(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err delete_one(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err hook_set(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err hook_clear(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err hook_show(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err hook_rotate(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err hook_events(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err hook_test(struct shard *shard, struct msg *msg, const struct principal *who);
static enum err refuse(struct msg *msg, enum err err, const char *param, const char *sentence);
static void put_hook(struct shard *shard, const struct row_route *row, struct row_domain *domain);

static enum err dispatch(struct shard *shard, struct msg *msg, const struct principal *who)
{
    switch (msg->body.route.op) {
    case ROUTE_CREATE:
        return create(shard, msg, who);
    case ROUTE_LIST:
        return list(shard, msg, who);
    case ROUTE_GET:
        return get(shard, msg, who);
    case ROUTE_CHANGE:
        return change(shard, msg, who);
    case ROUTE_DELETE:
        return delete_one(shard, msg, who);
    case ROUTE_HOOK_SET:
        return hook_set(shard, msg, who);
    case ROUTE_HOOK_CLEAR:
        return hook_clear(shard, msg, who);
    case ROUTE_HOOK_SECRET:
        return hook_show(shard, msg, who);
    case ROUTE_HOOK_ROTATE:
        return hook_rotate(shard, msg, who);
    case ROUTE_HOOK_EVENTS:
        return hook_events(shard, msg, who);
    case ROUTE_HOOK_TEST:
        return hook_test(shard, msg, who);
    case ROUTE_REPLAY:
        break;
    }
    CHECK(msg->body.route.op < ROUTE_REPLAY);
    return ERR_INTERNAL;
}

void routing_handle(struct shard *shard, struct msg *msg)
{
    struct principal who;
    arena_mark_secret(&msg->arena);
    enum err err = shard_check_caller(shard, msg, &msg->body.route.caller, &who);
    if (err == ERR_OK && msg->body.route.op == ROUTE_REPLAY) {
        replay_start(shard, msg, &who);
        return;
    }
    if (err == ERR_OK) {
        err = dispatch(shard, msg, &who);
    }
    shard_answer(shard, msg, err);
}

/* ---- the list ------------------------------------------------------------------------------- */

/* Empty when there is none. */
static enum err load_list(struct shard *shard, struct account_id account, struct arena *arena,
                          struct slice *ids)
{
    struct row_route_list row;
    enum err err = shard_get_route_list(shard, key_route_list(account), arena, &row);
    *ids = err == ERR_OK ? row.routes : SLICE("");
    if (err == ERR_OK && row.routes.len % ID_BYTES != 0) {
        return ERR_CORRUPT;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static struct id list_item(struct slice ids, size_t index)
{
    struct id id;
    CHECK((index + 1) * ID_BYTES <= ids.len);
    memcpy(id.bytes, ids.data + index * ID_BYTES, ID_BYTES);
    return id;
}

static void put_list(struct shard *shard, struct account_id account, struct slice ids)
{
    struct row_route_list row = {.routes = ids};
    shard_put_route_list(shard, key_route_list(account), &row);
    routing_forget(shard, account);
}

static struct slice list_with(struct slice ids, struct id id, struct arena *arena)
{
    char *out = arena_bytes(arena, ids.len + ID_BYTES);
    if (ids.len > 0) {
        memcpy(out, ids.data, ids.len);
    }
    memcpy(out + ids.len, id.bytes, ID_BYTES);
    return slice_of(out, ids.len + ID_BYTES);
}

static struct slice list_without(struct slice ids, struct id id, struct arena *arena)
{
    char *out = arena_bytes(arena, ids.len);
    size_t len = 0;
    for (size_t i = 0; i < ids.len / ID_BYTES; i++) {
        struct id item = list_item(ids, i);
        if (!id_equal(item, id)) {
            memcpy(out + len, item.bytes, ID_BYTES);
            len += ID_BYTES;
        }
    }
    return slice_of(out, len);
}

/* ---- compiled patterns ---------------------------------------------------------------------- */

static void set_free(struct route_set *set)
{
    if (set != NULL) {
        arena_fini(&set->arena);
        free(set);
    }
}

static struct route_set **set_slot(struct shard *shard, struct account_id account)
{
    return &shard->routes[account.value % ROUTE_SETS_MAX];
}

void routing_forget(struct shard *shard, struct account_id account)
{
    for (size_t i = 0; i < ROUTE_SETS_MAX; i++) {
        struct route_set *set = shard->routes[i];
        if (set != NULL && (account.value == 0 || set->account.value == account.value)) {
            shard->routes[i] = NULL;
            set_free(set);
        }
    }
}

/* A pattern that no longer compiles matches nothing: that is said once, here. */
static enum err fill_set(struct shard *shard, struct route_set *set)
{
    struct slice ids;
    enum err err = load_list(shard, set->account, &set->arena, &ids);
    size_t count = ids.len / ID_BYTES;
    set->rows = arena_array(&set->arena, count, sizeof(*set->rows));
    set->patterns = arena_array(&set->arena, count, sizeof(const struct match *));
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        struct row_route *row = &set->rows[set->count];
        const char *fault = NULL;
        err = shard_get_route(shard, key_route(set->account, list_item(ids, i)), &set->arena, row);
        if (err != ERR_OK || !row->is_enabled) {
            err = err == ERR_NOT_FOUND ? ERR_OK : err;
            continue;
        }
        if (match_compile(row->match_pattern, &set->arena, &set->patterns[set->count], &fault) !=
            ERR_OK) {
            LOG_ERROR("route.pattern", LOG_ID("route", ID_ROUTE, row->id));
            continue;
        }
        set->count++;
    }
    return err;
}

static enum err find_set(struct shard *shard, struct account_id account,
                         const struct route_set **found)
{
    struct route_set **slot = set_slot(shard, account);
    if (*slot != NULL && (*slot)->account.value == account.value) {
        *found = *slot;
        return ERR_OK;
    }
    struct route_set *set = mem_zalloc(sizeof(*set));
    set->account = account;
    arena_init(&set->arena, 4 * KIB, SET_ARENA_MAX);
    enum err err = fill_set(shard, set);
    if (err != ERR_OK) {
        set_free(set);
        return err;
    }
    set_free(*slot);
    *slot = set;
    *found = set;
    return ERR_OK;
}

enum err routing_find(struct shard *shard, struct account_id account, struct slice recipient,
                      struct arena *arena, struct route_hits *hits)
{
    const struct route_set *set;
    enum err err = find_set(shard, account, &set);
    if (err != ERR_OK) {
        return err;
    }
    struct slice domain = slice_from(recipient, slice_rfind_byte(recipient, '@') + 1);
    *hits = (struct route_hits){.rows = NULL};
    for (uint32_t i = 0; i < set->count; i++) {
        struct slice own = match_domain(set->patterns[i]);
        hits->has_any = hits->has_any || own.len == 0 || slice_equal(own, domain);
        if (!match_test(set->patterns[i], recipient)) {
            continue;
        }
        if (hits->rows == NULL) {
            hits->rows = arena_array(arena, set->count - i, sizeof(*hits->rows));
        }
        struct row_route *row = &hits->rows[hits->count++];
        *row = set->rows[i];
        row->match_pattern = arena_dup(arena, row->match_pattern);
        row->destination = arena_dup(arena, row->destination);
        row->secret_private = SLICE("");
        row->old_secret_private = SLICE("");
    }
    return ERR_OK;
}

/* ---- shared --------------------------------------------------------------------------------- */

static enum err refuse(struct msg *msg, enum err err, const char *param, const char *sentence)
{
    msg->param = slice_str(param);
    msg->sentence = slice_str(sentence);
    return err;
}

enum err routing_get(struct shard *shard, struct msg *msg, const struct principal *who,
                     struct id id, struct row_route *row)
{
    struct account_id account = who->account.id;
    enum err err = shard_get_route(shard, key_route(account, id), &msg->arena, row);
    bool is_bound = who->has_key && who->key.domains.len > 0;
    if (err == ERR_OK && is_bound &&
        (id_is_none(row->domain) || !principal_may_use_domain(who, row->domain))) {
        return ERR_KEY_SCOPE;
    }
    return err;
}

/* Puts rows with their secrets in plain text into the answer; reads only. */
static enum err show(struct shard *shard, struct msg *msg, const struct row_route *row)
{
    struct shard_route *body = &msg->body.route;
    struct row_route *out = &body->rows[body->row_count];
    struct slice *secret = &body->secrets[body->row_count];
    *out = *row;
    *secret = SLICE("");
    if (row->secret_private.len > 0) {
        enum err err = hook_unseal(shard, row->secret_private, row->id, &msg->arena, secret);
        if (err != ERR_OK) {
            return err;
        }
    }
    out->secret_private = SLICE("");
    out->old_secret_private = SLICE("");
    body->row_count++;
    return ERR_OK;
}

static void make_room(struct msg *msg, uint32_t count)
{
    struct shard_route *body = &msg->body.route;
    body->rows = arena_array(&msg->arena, count, sizeof(*body->rows));
    body->secrets = arena_array(&msg->arena, count, sizeof(*body->secrets));
    body->row_count = 0;
}

static enum err show_one(struct shard *shard, struct msg *msg, const struct row_route *row)
{
    make_room(msg, 1);
    return show(shard, msg, row);
}

static void give_secret(struct shard *shard, struct msg *msg, struct row_route *row)
{
    struct slice secret = hook_secret_make(&msg->arena);
    row->secret_private = hook_seal(shard, secret, row->id, &msg->arena);
}

static void audit(struct shard *shard, struct msg *msg, const struct principal *who,
                  const char *action, const struct row_route *row)
{
    struct audit_note note = {
        .account = who->account.id,
        .who = who,
        .caller = &msg->body.route.caller,
        .action = action,
        .detail = row->match_pattern,
    };
    shard_audit_id(shard, &note, ID_ROUTE, row->id);
}

/* ---- making and changing -------------------------------------------------------------------- */

/* The pattern compiles, and names a domain of the account; what follows from it goes into row. */
static enum err check_match(struct shard *shard, struct msg *msg, const struct principal *who,
                            struct row_route *row)
{
    const struct match *pattern;
    const char *fault = "";
    struct row_domain_name name;
    bool is_bound = who->has_key && who->key.domains.len > 0;
    enum err err = match_compile(row->match_pattern, &shard->scratch, &pattern, &fault);
    if (err != ERR_OK) {
        return refuse(msg, ERR_BAD_FIELD, "match", err == ERR_INVALID ? fault : "too long");
    }
    row->domain = (struct id){.bytes = {0}};
    struct slice domain = match_domain(pattern);
    if (domain.len == 0) {
        return is_bound ? refuse(msg, ERR_KEY_SCOPE, "match",
                                 "a key bound to domains may not make expressions")
                        : ERR_OK;
    }
    err = shard_get_domain_name(shard, key_domain_name(who->account.id, domain), &shard->scratch,
                                &name);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? refuse(msg, ERR_DOMAIN_NOT_OWNED, "match",
                                             "the pattern's domain does not belong to this account")
                                    : err;
    }
    row->domain = name.id;
    return principal_may_use_domain(who, name.id) ? ERR_OK : ERR_KEY_SCOPE;
}

/* An address in the form that mail goes to, and no loop that can be seen from here. */
static enum err check_forward(struct shard *shard, struct msg *msg, struct row_route *row)
{
    const struct match *pattern;
    const char *fault;
    struct addr addr;
    if (addr_parse(row->destination, &shard->scratch, &addr) != ERR_OK || addr.name.len > 0 ||
        addr.text.len > ADDR_MAX) {
        return refuse(msg, ERR_BAD_FIELD, "destination", "an address to forward to is required");
    }
    enum err err = match_compile(row->match_pattern, &shard->scratch, &pattern, &fault);
    if (err == ERR_OK && match_test(pattern, addr_key(&addr, &shard->scratch))) {
        return refuse(msg, ERR_BAD_FIELD, "destination", "the route would match its destination");
    }
    row->destination = arena_dup(&msg->arena, addr.text);
    return err;
}

static enum err check_action(struct shard *shard, struct msg *msg, struct row_route *row)
{
    if (row->action == ROUTE_FORWARD) {
        return check_forward(shard, msg, row);
    }
    if (row->action == ROUTE_WEBHOOK && row->destination.len == 0) {
        return refuse(msg, ERR_BAD_FIELD, "destination", "a valid https url is required");
    }
    return ERR_OK;
}

static enum err create(struct shard *shard, struct msg *msg, const struct principal *who)
{
    const struct shard_route *body = &msg->body.route;
    struct account_id account = who->account.id;
    struct slice ids;
    struct row_route row = body->wanted;
    row.created_unix_ms = clock_unix_ms();
    row.updated_unix_ms = row.created_unix_ms;
    enum err err = load_list(shard, account, &shard->scratch, &ids);
    if (err == ERR_OK && ids.len / ID_BYTES >= ROUTES_PER_ACCOUNT) {
        err = refuse(msg, ERR_QUOTA, "", "the account has as many routes as it may have");
    }
    if (err == ERR_OK) {
        err = check_match(shard, msg, who, &row);
    }
    if (err == ERR_OK) {
        err = check_action(shard, msg, &row);
    }
    if (err != ERR_OK) {
        return err;
    }
    row.id = shard_id(shard, account);
    if (row.action == ROUTE_WEBHOOK) {
        give_secret(shard, msg, &row);
    }
    err = show_one(shard, msg, &row);
    if (err == ERR_OK) {
        shard_put_route(shard, key_route(account, row.id), &row);
        put_list(shard, account, list_with(ids, row.id, &shard->scratch));
        audit(shard, msg, who, "route.created", &row);
    }
    return err;
}

static enum err list(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_route *body = &msg->body.route;
    struct slice ids;
    uint32_t limit = (uint32_t)min_u64(body->limit ? body->limit : PAGE_DEFAULT, PAGE_MAX);
    enum err err = load_list(shard, who->account.id, &msg->arena, &ids);
    make_room(msg, limit);
    for (size_t i = ids.len / ID_BYTES; err == ERR_OK && i > 0 && body->row_count < limit; i--) {
        struct id id = list_item(ids, i - 1);
        struct row_route row;
        if (!id_is_none(body->before) && memcmp(id.bytes, body->before.bytes, ID_BYTES) >= 0) {
            continue;
        }
        err = routing_get(shard, msg, who, id, &row);
        if (err == ERR_OK) {
            err = show(shard, msg, &row);
        } else if (err == ERR_KEY_SCOPE || err == ERR_NOT_FOUND) {
            err = ERR_OK; /* not this key's */
        }
    }
    return err;
}

static enum err get(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_route row;
    enum err err = routing_get(shard, msg, who, msg->body.route.id, &row);
    return err == ERR_OK ? show_one(shard, msg, &row) : err;
}

static void apply(struct row_route *row, const struct shard_route *body)
{
    const struct row_route *wanted = &body->wanted;
    if (body->given & ROUTE_FIELD_MATCH) {
        row->match_pattern = wanted->match_pattern;
    }
    if (body->given & ROUTE_FIELD_ACTION) {
        row->action = wanted->action;
    }
    if (body->given & ROUTE_FIELD_DESTINATION) {
        row->destination = wanted->destination;
    }
    if (body->given & ROUTE_FIELD_ACK) {
        row->ack_mode = wanted->ack_mode;
    }
    if (body->given & ROUTE_FIELD_ENABLED) {
        row->is_enabled = wanted->is_enabled;
    }
    row->updated_unix_ms = clock_unix_ms();
}

static enum err change(struct shard *shard, struct msg *msg, const struct principal *who)
{
    const struct shard_route *body = &msg->body.route;
    struct account_id account = who->account.id;
    struct row_route row;
    enum err err = routing_get(shard, msg, who, body->id, &row);
    if (err != ERR_OK) {
        return err;
    }
    if (row.is_domain_hook && (body->given & (ROUTE_FIELD_MATCH | ROUTE_FIELD_ACTION))) {
        return refuse(msg, ERR_CONFLICT, "match", "a domain's webhook is changed at the domain");
    }
    apply(&row, body);
    err = check_match(shard, msg, who, &row);
    if (err == ERR_OK) {
        err = check_action(shard, msg, &row);
    }
    struct row_domain domain;
    if (err == ERR_OK && row.is_domain_hook) {
        err = shard_get_domain(shard, key_domain(account, row.domain), &msg->arena, &domain);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (row.action == ROUTE_WEBHOOK && row.secret_private.len == 0) {
        give_secret(shard, msg, &row);
    }
    err = show_one(shard, msg, &row);
    if (err == ERR_OK) {
        shard_put_route(shard, key_route(account, row.id), &row);
        if (row.is_domain_hook) {
            put_hook(shard, &row, &domain);
        }
        routing_forget(shard, account);
        audit(shard, msg, who, "route.changed", &row);
    }
    return err;
}

/* The domain forgets its webhook, when that is what goes. */
static enum err remove_route(struct shard *shard, struct msg *msg, const struct principal *who,
                             const struct row_route *row)
{
    struct account_id account = who->account.id;
    struct row_domain domain;
    struct slice ids;
    bool has_domain = row->is_domain_hook;
    enum err err = load_list(shard, account, &shard->scratch, &ids);
    if (err == ERR_OK && has_domain) {
        err = shard_get_domain(shard, key_domain(account, row->domain), &msg->arena, &domain);
        has_domain = err == ERR_OK && id_equal(domain.hook_route, row->id);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err != ERR_OK) {
        return err;
    }
    if (has_domain) {
        domain.hook_route = (struct id){.bytes = {0}};
        domain.hook_events = SLICE("");
        domain.hook_url = SLICE("");
        domain.hook_ack_mode = ACK_LENIENT;
        shard_put_domain(shard, key_domain(account, row->domain), &domain);
    }
    shard_delete(shard, key_route(account, row->id));
    put_list(shard, account, list_without(ids, row->id, &shard->scratch));
    audit(shard, msg, who, "route.deleted", row);
    return ERR_OK;
}

static enum err delete_one(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_route row;
    enum err err = routing_get(shard, msg, who, msg->body.route.id, &row);
    return err == ERR_OK ? remove_route(shard, msg, who, &row) : err;
}

/* ---- a domain's webhook --------------------------------------------------------------------- */

static enum err find_domain(struct shard *shard, struct msg *msg, const struct principal *who,
                            struct row_domain *domain)
{
    struct shard_route *body = &msg->body.route;
    if (!principal_may_use_domain(who, body->id)) {
        return ERR_KEY_SCOPE;
    }
    enum err err =
        shard_get_domain(shard, key_domain(who->account.id, body->id), &msg->arena, domain);
    if (err == ERR_OK) {
        body->domain_name = domain->name;
    }
    return err;
}

/* ERR_CONFLICT when the domain has none. */
static enum err find_hook(struct shard *shard, struct msg *msg, const struct principal *who,
                          struct row_domain *domain, struct row_route *row)
{
    enum err err = find_domain(shard, msg, who, domain);
    if (err == ERR_OK && id_is_none(domain->hook_route)) {
        return refuse(msg, ERR_CONFLICT, "", "the domain has no webhook");
    }
    return err == ERR_OK ? shard_get_route(shard, key_route(who->account.id, domain->hook_route),
                                           &msg->arena, row)
                         : err;
}

static enum err hook_set(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_route *body = &msg->body.route;
    struct account_id account = who->account.id;
    struct row_domain domain;
    struct row_route row;
    struct slice ids;
    enum err err = find_domain(shard, msg, who, &domain);
    if (err != ERR_OK) {
        return err;
    }
    if (!domain.mx_verified) {
        return refuse(msg, ERR_DOMAIN_UNVERIFIED, "", "the domain's MX record is not verified");
    }
    err = load_list(shard, account, &shard->scratch, &ids);
    bool is_new = id_is_none(domain.hook_route);
    if (err == ERR_OK && !is_new) {
        err = shard_get_route(shard, key_route(account, domain.hook_route), &msg->arena, &row);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (is_new) {
        if (ids.len / ID_BYTES >= ROUTES_PER_ACCOUNT) {
            return refuse(msg, ERR_QUOTA, "", "the account has as many routes as it may have");
        }
        row = (struct row_route){
            .id = shard_id(shard, account),
            .match_pattern = arena_format(&msg->arena, "*@%.*s", SLICE_FMT(domain.name)),
            .action = ROUTE_WEBHOOK,
            .domain = domain.id,
            .is_domain_hook = true,
            .is_enabled = true,
            .created_unix_ms = clock_unix_ms(),
        };
        give_secret(shard, msg, &row);
    }
    apply(&row, body);
    err = show_one(shard, msg, &row);
    if (err != ERR_OK) {
        return err;
    }
    shard_put_route(shard, key_route(account, row.id), &row);
    put_hook(shard, &row, &domain);
    if (is_new) {
        put_list(shard, account, list_with(ids, row.id, &shard->scratch));
    }
    routing_forget(shard, account);
    audit(shard, msg, who, "webhook.set", &row);
    return ERR_OK;
}

/* The domain's row says what its webhook's does, so that a list of domains is one read each. */
static void put_hook(struct shard *shard, const struct row_route *row, struct row_domain *domain)
{
    domain->hook_route = row->id;
    domain->hook_url = row->destination;
    domain->hook_ack_mode = row->ack_mode;
    shard_put_domain(shard, key_domain(id_account(row->id), domain->id), domain);
}

/* Clearing what is not there is no error. */
static enum err hook_clear(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_domain domain;
    struct row_route row;
    enum err err = find_domain(shard, msg, who, &domain);
    if (err != ERR_OK || id_is_none(domain.hook_route)) {
        return err;
    }
    err = shard_get_route(shard, key_route(who->account.id, domain.hook_route), &msg->arena, &row);
    return err == ERR_OK ? remove_route(shard, msg, who, &row) : err;
}

static enum err hook_show(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_domain domain;
    struct row_route row;
    enum err err = find_hook(shard, msg, who, &domain, &row);
    return err == ERR_OK ? show_one(shard, msg, &row) : err;
}

static enum err hook_rotate(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_domain domain;
    struct row_route row;
    enum err err = find_hook(shard, msg, who, &domain, &row);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t now = clock_unix_ms();
    bool has_overlap = msg->body.route.overlap_ms > 0;
    row.old_secret_private = has_overlap ? row.secret_private : SLICE("");
    row.old_until_unix_ms = has_overlap ? now + msg->body.route.overlap_ms : 0;
    row.updated_unix_ms = now;
    give_secret(shard, msg, &row);
    err = show_one(shard, msg, &row);
    if (err == ERR_OK) {
        shard_put_route(shard, key_route(who->account.id, row.id), &row);
        routing_forget(shard, who->account.id);
        audit(shard, msg, who, "webhook.rotated", &row);
    }
    return err;
}

static enum err hook_events(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct row_domain domain;
    struct row_route row;
    enum err err = find_hook(shard, msg, who, &domain, &row);
    if (err == ERR_OK) {
        err = show_one(shard, msg, &row);
    }
    if (err == ERR_OK) {
        domain.hook_events = msg->body.route.events;
        shard_put_domain(shard, key_domain(who->account.id, domain.id), &domain);
        audit(shard, msg, who, "webhook.events", &row);
    }
    return err;
}

static enum err hook_test(struct shard *shard, struct msg *msg, const struct principal *who)
{
    struct shard_route *body = &msg->body.route;
    struct row_domain domain;
    struct row_route row;
    char id[ID_TEXT_MAX];
    enum err err = find_hook(shard, msg, who, &domain, &row);
    if (err == ERR_OK) {
        err = show_one(shard, msg, &row);
    }
    if (err != ERR_OK) {
        return err;
    }
    uint64_t now = clock_unix_ms();
    struct hook_signer signer = {.secret = body->secrets[0], .now_unix_ms = now};
    signer.id = slice_of(id, id_text(ID_EVENT, shard_id(shard, who->account.id), id));
    body->test_body =
        arena_format(&msg->arena,
                     "{\"id\":\"%.*s\",\"type\":\"webhook.test\",\"createdAt\":%llu,"
                     "\"data\":{\"domain\":\"%.*s\"}}",
                     SLICE_FMT(signer.id), (unsigned long long)now, SLICE_FMT(domain.name));
    body->test_headers = hook_headers(&signer, body->test_body, &msg->arena);
    return ERR_OK;
}
