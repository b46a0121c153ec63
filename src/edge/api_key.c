/* api_key.c - API keys: make, list, change, rotate, revoke.
 *
 * The text of a key exists here only, between its making and the answer that shows it; what goes to
 * the shard is its hash, its head and its tail. The mode of a key that is rotated is known to the
 * shard alone, so one secret of each mode is made, and the answer picks.
 */
#include <string.h>

#include "base/cidr.h"
#include "base/clock.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "edge/auth.h"

#define EXPIRES_MAX_MS UINT64_C(253402300799999) /* the year 9999 */
#define PACK_MAX       (256 * KIB)

/* ---- decode --------------------------------------------------------------------------------- */

struct key_body {
    struct slice name;
    struct slice mode;
    struct slice permission;
    struct json_texts scopes;
    struct json_texts domains;
    struct json_texts addresses;
    struct json_texts allowed_ips;
    uint64_t expires_ms;
    struct json_pairs metadata;
    bool is_enabled;
    bool has_name;
    bool has_mode;
    bool has_permission;
    bool has_scopes;
    bool has_domains;
    bool has_addresses;
    bool has_allowed_ips;
    bool has_expires;
    bool has_no_expires; /* null */
    bool has_enabled;
    bool has_metadata;
};

#define AT(member)  .offset = offsetof(struct key_body, member)
#define HAS(member) .has_offset = offsetof(struct key_body, member)
static const struct json_field key_fields[] = {
    {.name = "name", .type = JSON_TEXT, AT(name), HAS(has_name), .max = 4 * KEY_NAME_MAX},
    {.name = "mode", .type = JSON_TEXT, AT(mode), HAS(has_mode), .max = 16},
    {.name = "permission", .type = JSON_TEXT, AT(permission), HAS(has_permission), .max = 16},
    {.name = "scopes", .type = JSON_TEXT_LIST, AT(scopes), HAS(has_scopes), .max = KEY_ITEMS_MAX},
    {.name = "domains",
     .type = JSON_TEXT_LIST,
     AT(domains),
     HAS(has_domains),
     .max = KEY_ITEMS_MAX},
    {.name = "addresses",
     .type = JSON_TEXT_LIST,
     AT(addresses),
     HAS(has_addresses),
     .max = KEY_ITEMS_MAX},
    {.name = "allowedIps",
     .type = JSON_TEXT_LIST,
     AT(allowed_ips),
     HAS(has_allowed_ips),
     .max = KEY_ITEMS_MAX},
    {.name = "expiresAt",
     .type = JSON_U64,
     AT(expires_ms),
     HAS(has_expires),
     .null_offset = offsetof(struct key_body, has_no_expires),
     .max = EXPIRES_MAX_MS},
    {.name = "enabled", .type = JSON_BOOL, AT(is_enabled), HAS(has_enabled)},
    {.name = "metadata", .type = JSON_MAP, AT(metadata), HAS(has_metadata), .max = METADATA_COUNT},
};
const struct json_shape api_key_shape = {key_fields, ARRAY_LEN(key_fields),
                                         sizeof(struct key_body)};
#undef AT
#undef HAS

struct rotate_body {
    uint64_t overlap_s;
};
static const struct json_field rotate_fields[] = {
    {.name = "overlapSeconds",
     .type = JSON_U64,
     .offset = offsetof(struct rotate_body, overlap_s),
     .max = KEY_OVERLAP_S_MAX},
};
const struct json_shape api_rotate_shape = {rotate_fields, ARRAY_LEN(rotate_fields),
                                            sizeof(struct rotate_body)};

static bool fail(struct request *request, struct slice param, const char *sentence)
{
    api_fail_field(request, ERR_BAD_FIELD, param, slice_str(sentence));
    return false;
}

static struct slice param_at(struct request *request, const char *name, uint32_t index)
{
    return arena_format(&request->keep, "%s[%u]", name, (unsigned)index);
}

static bool read_name(struct request *request, const struct key_body *body, struct slice *name)
{
    struct slice text = slice_trim(body->name);
    size_t chars = 0;
    for (size_t i = 0; i < text.len; i++) {
        chars += ((uint8_t)text.data[i] & 0xc0) != 0x80;
    }
    if (chars == 0 || chars > KEY_NAME_MAX || slice_has_control(text, "")) {
        return fail(request, SLICE("name"), "name has 1 to 100 printable characters");
    }
    *name = text;
    return true;
}

static bool read_words(struct request *request, const struct key_body *body,
                       struct row_api_key *row)
{
    bool is_test = slice_equal(body->mode, SLICE("test"));
    bool is_send = slice_equal(body->permission, SLICE("send"));
    if (body->has_mode && !is_test && !slice_equal(body->mode, SLICE("live"))) {
        return fail(request, SLICE("mode"), "mode is live or test");
    }
    if (body->has_permission && !is_send && !slice_equal(body->permission, SLICE("full"))) {
        return fail(request, SLICE("permission"), "permission is full or send");
    }
    row->mode = is_test ? MODE_TEST : MODE_LIVE;
    row->permission = is_send ? PERMISSION_SEND : PERMISSION_FULL;
    row->is_enabled = body->is_enabled;
    row->expires_unix_ms = body->expires_ms;
    if (body->has_expires && body->expires_ms == 0) {
        return fail(request, SLICE("expiresAt"), "expiresAt must be in the future");
    }
    return !body->has_name || read_name(request, body, &row->name);
}

/* One item of a list, checked and in the form it is kept in; false when it is none. */
typedef bool item_fn(struct request *request, struct slice text, struct slice *kept);

static bool read_scope(struct request *request UNUSED, struct slice text, struct slice *kept)
{
    enum right right;
    *kept = text;
    return right_parse(text, &right) == ERR_OK;
}

static bool read_domain(struct request *request UNUSED, struct slice text, struct slice *kept)
{
    struct id id;
    *kept = text;
    return id_parse(ID_DOMAIN, text, &id) == ERR_OK;
}

/* A local part, with one star at its begin or end. */
static bool read_pattern(struct request *request, struct slice text, struct slice *kept)
{
    size_t star = slice_find_byte(text, '*');
    *kept = arena_lower(&request->arena, text);
    return text.len > 0 && text.len <= ADDR_LOCAL_MAX &&
           (star == SIZE_MAX || star == 0 || star == text.len - 1) &&
           star == slice_rfind_byte(text, '*') && !slice_has_control(text, "") &&
           !slice_has_byte(text, '@') && !slice_has_byte(text, ' ');
}

static bool read_net(struct request *request, struct slice text, struct slice *kept)
{
    char canonical[CIDR_TEXT_MAX];
    struct cidr net;
    if (cidr_parse(slice_trim(text), &net) != ERR_OK) {
        return false;
    }
    *kept = arena_dup(&request->arena, slice_of(canonical, cidr_text(&net, canonical)));
    return true;
}

struct list_rule {
    const char *name;
    const char *sentence;
    item_fn *read;
};

static bool read_list(struct request *request, const struct list_rule *rule,
                      const struct json_texts *texts, struct slice *out)
{
    struct buf pack;
    buf_init(&pack, PACK_MAX);
    for (uint32_t i = 0; i < texts->count; i++) {
        struct slice kept;
        /* Every item that a rule accepts is short. */
        if (texts->items[i].len > ADDR_MAX || !rule->read(request, texts->items[i], &kept)) {
            buf_fini(&pack);
            return fail(request, param_at(request, rule->name, i), rule->sentence);
        }
        buf_put_slice(&pack, kept);
    }
    *out = arena_dup(&request->arena, buf_slice(&pack));
    buf_fini(&pack);
    return true;
}

static bool read_lists(struct request *request, const struct key_body *body,
                       struct row_api_key *row)
{
    static const struct list_rule scopes = {"scopes", "there is no such scope", read_scope};
    static const struct list_rule domains = {"domains", "a domain is named by its id", read_domain};
    static const struct list_rule addresses = {
        "addresses", "an address pattern is hello, support-*, *-agent or *", read_pattern};
    static const struct list_rule nets = {
        "allowedIps", "a network is written as 192.0.2.0/24 or 2001:db8::/32", read_net};
    struct buf metadata;
    if (!read_list(request, &scopes, &body->scopes, &row->scopes) ||
        !read_list(request, &domains, &body->domains, &row->domains) ||
        !read_list(request, &addresses, &body->addresses, &row->addresses) ||
        !read_list(request, &nets, &body->allowed_ips, &row->allowed_ips)) {
        return false;
    }
    buf_init(&metadata, PACK_MAX);
    bool is_good = api_read_metadata(request, &body->metadata, &metadata);
    if (is_good) { /* a failed request may be gone already */
        row->metadata = arena_dup(&request->arena, buf_slice(&metadata));
    }
    buf_fini(&metadata);
    return is_good;
}

static uint32_t given_of(const struct key_body *body)
{
    uint32_t given = 0;
    given |= body->has_name ? KEY_FIELD_NAME : 0;
    given |= body->has_mode ? KEY_FIELD_MODE : 0;
    given |= body->has_permission ? KEY_FIELD_PERMISSION : 0;
    given |= body->has_scopes ? KEY_FIELD_SCOPES : 0;
    given |= body->has_domains ? KEY_FIELD_DOMAINS : 0;
    given |= body->has_addresses ? KEY_FIELD_ADDRESSES : 0;
    given |= body->has_allowed_ips ? KEY_FIELD_IPS : 0;
    given |= body->has_expires || body->has_no_expires ? KEY_FIELD_EXPIRES : 0;
    given |= body->has_enabled ? KEY_FIELD_ENABLED : 0;
    given |= body->has_metadata ? KEY_FIELD_METADATA : 0;
    return given;
}

static bool read_key(struct request *request, struct shard_key *key, bool needs_name)
{
    struct key_body body;
    if (!api_read(request, &api_key_shape, &body)) {
        return false;
    }
    if (needs_name && !body.has_name) {
        return fail(request, SLICE("name"), "name is required");
    }
    key->given = given_of(&body);
    return read_words(request, &body, &key->wanted) && read_lists(request, &body, &key->wanted);
}

/* ---- rendering ------------------------------------------------------------------------------ */

static void write_time(struct json_writer *w, const char *name, uint64_t unix_ms)
{
    json_key(w, name);
    if (unix_ms == 0) {
        json_nil(w);
    } else {
        json_u64(w, unix_ms);
    }
}

static void write_id(struct json_writer *w, const char *name, enum id_kind kind, struct id id)
{
    char text[ID_TEXT_MAX];
    size_t len = id_is_none(id) ? 0 : id_text(kind, id, text);
    api_text_or_null(w, name, slice_of(text, len));
}

static void write_scopes(struct json_writer *w, const struct row_api_key *row)
{
    uint32_t rights = key_rights(row);
    json_key(w, "scopes");
    json_open_array(w);
    for (enum right right = RIGHT_NONE + 1; right < RIGHT_COUNT; right++) {
        if (rights & UINT32_C(1) << right) {
            json_text(w, slice_str(right_text(right)));
        }
    }
    json_close_array(w);
}

/* secret: the key itself, or empty. */
static void write_key(struct json_writer *w, const struct row_api_key *row, struct slice secret)
{
    enum key_status status = key_status(row, clock_unix_ms());
    json_open_object(w);
    api_id(w, "id", ID_KEY, row->id);
    api_text(w, "name", row->name);
    if (secret.len > 0) {
        api_text(w, "key", secret);
    }
    api_text(w, "prefix", row->prefix);
    api_text(w, "last4", row->last4);
    api_text(w, "mode", row->mode == MODE_TEST ? SLICE("test") : SLICE("live"));
    api_text(w, "permission", row->permission == PERMISSION_SEND ? SLICE("send") : SLICE("full"));
    write_scopes(w, row);
    api_pack(w, "domains", row->domains);
    api_pack(w, "addresses", row->addresses);
    api_pack(w, "allowedIps", row->allowed_ips);
    write_time(w, "expiresAt", row->expires_unix_ms);
    api_bool(w, "enabled", row->is_enabled);
    api_metadata(w, row->metadata);
    api_text(w, "status", slice_str(key_status_text(status)));
    api_u64(w, "createdAt", row->created_unix_ms);
    write_id(w, "createdBy", row->is_made_by_key ? ID_KEY : ID_USER, row->created_by);
    write_time(w, "lastUsedAt", row->last_used_unix_ms);
    api_text_or_null(w, "lastUsedIp", row->last_used_ip);
    write_id(w, "replacedBy", ID_KEY, row->replaced_by);
    json_close_object(w);
}

static void answer_one(struct request *request, uint16_t status, const struct row_api_key *row,
                       struct slice secret)
{
    struct api_body body;
    api_json_start(&body);
    write_key(&body.w, row, secret);
    api_json_send(request, status, &body);
}

/* ---- handlers ------------------------------------------------------------------------------- */

/* By mode; in request->keep until the answer. */
struct secrets {
    struct auth_key keys[2];
};

static struct slice secret_of(const struct request *request, const struct row_api_key *row)
{
    const struct secrets *secrets = request->chain;
    return slice_of(secrets->keys[row->mode].text, AUTH_KEY_LEN);
}

static struct msg *take(struct request *request, enum key_op op)
{
    struct msg *msg = api_take(request, MSG_SHARD_KEY);
    if (msg != NULL) {
        msg->body.key.caller = request->caller;
        msg->body.key.op = op;
        msg->body.key.id = request->subject;
    }
    return msg;
}

static void make_secrets(struct request *request, struct shard_key *key)
{
    arena_mark_secret(&request->keep);
    struct secrets *secrets = arena_alloc(&request->keep, sizeof *secrets);
    for (enum mode mode = MODE_LIVE; mode <= MODE_TEST; mode++) {
        struct auth_key *made = &secrets->keys[mode];
        auth_key_make(mode, request->caller.account, made);
        struct slice text = slice_of(made->text, AUTH_KEY_LEN);
        key->secrets[mode] = (struct key_secret){
            .hash = made->hash,
            .prefix = arena_dup(&request->arena, slice_head(text, AUTH_PREFIX_LEN)),
            .last4 = arena_dup(&request->arena, slice_from(text, AUTH_KEY_LEN - 4)),
        };
    }
    request->chain = secrets;
}

static void on_created(struct request *request, struct msg *msg)
{
    const struct row_api_key *row = &msg->body.key.rows[0];
    answer_one(request, 201, row, secret_of(request, row));
}

void api_key_create(struct request *request)
{
    struct msg *msg = take(request, KEY_CREATE);
    if (msg == NULL) {
        return;
    }
    if (!read_key(request, &msg->body.key, true)) {
        msg_put(msg->home, msg); /* request was answered, and may be gone */
        return;
    }
    make_secrets(request, &msg->body.key);
    api_post(request, api_shard(request), msg, on_created);
}

static void on_listed(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.key.row_count; i++) {
        write_key(&body.w, &msg->body.key.rows[i], SLICE(""));
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

void api_key_list(struct request *request)
{
    uint32_t limit;
    struct id before = {.bytes = {0}};
    uint64_t before_ms = UINT64_MAX;
    struct slice text;
    if (!api_page(request, &limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("before"), &request->arena, &text) &&
        id_parse(ID_KEY, text, &before) != ERR_OK && slice_u64(text, &before_ms) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("before"),
                       SLICE("before is a time in milliseconds or an id"));
        return;
    }
    struct msg *msg = take(request, KEY_LIST);
    if (msg != NULL) {
        msg->body.key.limit = limit;
        msg->body.key.before = before;
        msg->body.key.before_unix_ms = before_ms;
        api_post(request, api_shard(request), msg, on_listed);
    }
}

static void on_got(struct request *request, struct msg *msg)
{
    answer_one(request, 200, &msg->body.key.rows[0], SLICE(""));
}

void api_key_get(struct request *request)
{
    if (!api_param_id(request, 0, ID_KEY, &request->subject)) {
        return;
    }
    struct msg *msg = take(request, KEY_GET);
    if (msg != NULL) {
        api_post(request, api_shard(request), msg, on_got);
    }
}

void api_key_change(struct request *request)
{
    if (!api_param_id(request, 0, ID_KEY, &request->subject)) {
        return;
    }
    struct msg *msg = take(request, KEY_CHANGE);
    if (msg == NULL) {
        return;
    }
    if (!read_key(request, &msg->body.key, false)) {
        msg_put(msg->home, msg); /* request was answered, and may be gone */
        return;
    }
    api_post(request, api_shard(request), msg, on_got);
}

static void on_revoked(struct request *request, struct msg *msg UNUSED)
{
    api_send(request, 200, SLICE("application/json"), SLICE("{\"ok\":true}"));
}

void api_key_revoke(struct request *request)
{
    if (!api_param_id(request, 0, ID_KEY, &request->subject)) {
        return;
    }
    struct msg *msg = take(request, KEY_REVOKE);
    if (msg != NULL) {
        api_post(request, api_shard(request), msg, on_revoked);
    }
}

static void on_rotated(struct request *request, struct msg *msg)
{
    const struct row_api_key *row = &msg->body.key.rows[0];
    answer_one(request, 200, row, secret_of(request, row));
}

void api_key_rotate(struct request *request)
{
    struct rotate_body body = {0};
    if (!api_param_id(request, 0, ID_KEY, &request->subject) ||
        (slice_trim(request->http.body).len > 0 && !api_read(request, &api_rotate_shape, &body))) {
        return;
    }
    struct msg *msg = take(request, KEY_ROTATE);
    if (msg != NULL) {
        msg->body.key.overlap_ms = body.overlap_s * 1000;
        make_secrets(request, &msg->body.key);
        api_post(request, api_shard(request), msg, on_rotated);
    }
}

static void on_first_rotated(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "key", secret_of(request, &msg->body.key.rows[0]));
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_key_rotate_first(struct request *request)
{
    struct msg *msg = take(request, KEY_ROTATE_FIRST);
    if (msg != NULL) {
        make_secrets(request, &msg->body.key);
        api_post(request, api_shard(request), msg, on_first_rotated);
    }
}
