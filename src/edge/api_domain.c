/* api_domain.c - domains and the DNS records to publish for them.
 *
 * Verifying is a chain of three messages: the domain's row from its shard, the look-ups in the
 * delivery actor (which owns DNS), the results back to the shard, which judges and stores them.
 */
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/addr.h"
#include "mail/dkim.h"

/* ---- rendering ------------------------------------------------------------------------------ */

static void write_row(struct json_writer *w, const struct row_domain *row)
{
    json_open_object(w);
    api_id(w, "id", ID_DOMAIN, row->id);
    api_text(w, "domain", row->name);
    api_text(w, "status", slice_str(domain_status_text((enum domain_status)row->status)));
    api_bool(w, "mx_verified", row->mx_verified);
    api_bool(w, "spf_verified", row->spf_verified);
    api_bool(w, "dkim_verified", row->dkim_rsa_verified);
    api_bool(w, "dmarc_verified", row->dmarc_verified);
    bool has_hook = row->hook_url.len > 0;
    const char *ack_mode = ack_mode_text((enum ack_mode)row->hook_ack_mode);
    api_text_or_null(w, "webhookUrl", row->hook_url);
    api_text_or_null(w, "webhookAckMode", has_hook ? slice_str(ack_mode) : SLICE(""));
    api_u64(w, "retentionDays", row->retention_days);
    api_bool(w, "zeroRetention", row->is_zero_retention);
    json_key(w, "tracking");
    json_open_object(w);
    api_text_or_null(w, "host", row->track_host);
    api_bool(w, "verified", row->track_verified);
    api_bool(w, "opens", row->tracks_opens);
    api_bool(w, "clicks", row->tracks_clicks);
    json_close_object(w);
    api_u64(w, "created_at", row->created_unix_ms);
    json_close_object(w);
}

struct record {
    const char *type;
    const char *purpose;
    struct slice name;
    struct slice value;
    bool is_verified;
    bool has_priority;
    uint64_t retired_unix_ms; /* from then on nobody needs it; 0: it is needed */
};

static void write_record(struct json_writer *w, const struct row_domain *row,
                         const struct record *record)
{
    json_open_object(w);
    api_text(w, "type", slice_str(record->type));
    api_text(w, "name", record->name);
    api_text(w, "value", record->value);
    if (record->has_priority) {
        api_u64(w, "priority", 10);
    }
    api_text(w, "purpose", slice_str(record->purpose));
    const char *status = record->is_verified ? "verified" : "pending";
    if (!record->is_verified && row->checked_unix_ms != 0) {
        status = "failed";
    }
    if (record->retired_unix_ms != 0) {
        status = "retired";
        api_u64(w, "removeAfter", record->retired_unix_ms);
    }
    api_text(w, "status", slice_str(status));
    json_close_object(w);
}

static struct slice key_name(struct arena *arena, struct slice selector,
                             const struct row_domain *row)
{
    return selector.len == 0 ? selector
                             : arena_format(arena, "%.*s._domainkey.%.*s", SLICE_FMT(selector),
                                            SLICE_FMT(row->name));
}

/* Keys that are to come, and names of keys that were. */
static void write_rotation(struct json_writer *w, const struct row_domain *row, struct arena *arena)
{
    struct slice old_rsa = domain_other_selector(domain_rsa_selector(row));
    struct slice old_ed = domain_other_selector(domain_ed_selector(row));
    uint64_t until = row->rotation_unix_ms + DKIM_RETIRE_MS;
    bool had_rsa = row->rotation & DOMAIN_ROTATED_RSA;
    bool had_ed = row->rotation & DOMAIN_ROTATED_ED;
    const struct record records[] = {
        {"TXT", "dkim-next", key_name(arena, row->next_rsa_selector, row),
         dkim_record(SIGN_RSA_SHA256, row->next_rsa_public, arena), false, false, 0},
        {"TXT", "dkim-next", key_name(arena, row->next_ed_selector, row),
         dkim_record(SIGN_ED25519, row->next_ed_public, arena), false, false, 0},
        {"TXT", "dkim-old", had_rsa ? key_name(arena, old_rsa, row) : SLICE(""), SLICE(""), false,
         false, until},
        {"TXT", "dkim-old", had_ed ? key_name(arena, old_ed, row) : SLICE(""), SLICE(""), false,
         false, until},
    };
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        if (records[i].name.len > 0) {
            write_record(w, row, &records[i]);
        }
    }
}

static void write_records(struct request *request, struct json_writer *w,
                          const struct row_domain *row)
{
    struct arena *arena = &request->keep;
    struct slice name = row->name;
    struct deliver_verify asked;
    deliver_verify_fill(&asked, row, request->edge->place->conf,
                        slice_str(request->edge->public_url), arena);
    const struct record records[] = {
        {"MX", "receiving", name, asked.mx_host, row->mx_verified, true, 0},
        {"TXT", "spf", name,
         arena_format(arena, "v=spf1 include:%.*s ~all", SLICE_FMT(asked.spf_include)),
         row->spf_verified, false, 0},
        {"TXT", "dkim", key_name(arena, domain_rsa_selector(row), row),
         dkim_record(SIGN_RSA_SHA256, row->rsa_public, arena), row->dkim_rsa_verified, false, 0},
        {"TXT", "dkim", key_name(arena, domain_ed_selector(row), row),
         dkim_record(SIGN_ED25519, row->ed_public, arena), row->dkim_ed_verified, false, 0},
        {"TXT", "dmarc", arena_format(arena, "_dmarc.%.*s", SLICE_FMT(name)),
         SLICE("v=DMARC1; p=none"), row->dmarc_verified, false, 0},
        {"CNAME", "return-path", asked.return_path_host, asked.return_path_target,
         row->return_path_verified, false, 0},
        {"CNAME", "tracking", row->track_host, asked.track_target, row->track_verified, false, 0},
    };
    json_key(w, "dns");
    json_open_array(w);
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        if (records[i].name.len > 0) {
            write_record(w, row, &records[i]);
        }
    }
    write_rotation(w, row, arena);
    json_close_array(w);
}

void api_domain_answer(struct request *request, uint16_t status, const struct row_domain *row)
{
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    json_key(&body.w, "domain");
    write_row(&body.w, row);
    write_records(request, &body.w, row);
    json_close_object(&body.w);
    api_json_send(request, status, &body);
}

/* ---- handlers ------------------------------------------------------------------------------- */

struct msg *api_domain_take(struct request *request, enum domain_op op)
{
    struct msg *msg = api_take(request, MSG_SHARD_DOMAIN);
    if (msg != NULL) {
        msg->body.domain.caller = request->caller;
        msg->body.domain.op = op;
        msg->body.domain.before_unix_ms = UINT64_MAX;
        msg->body.domain.limit = PAGE_DEFAULT;
        msg->body.domain.id = request->subject;
    }
    return msg;
}

static void on_created(struct request *request, struct msg *msg)
{
    CHECK(msg->body.domain.row_count == 1);
    api_domain_answer(request, 201, &msg->body.domain.rows[0]);
}

struct create_body {
    struct slice domain;
};

static const struct json_field create_fields[] = {
    {.name = "domain",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct create_body, domain),
     .max = DOMAIN_MAX},
};
const struct json_shape api_domain_shape = {create_fields, ARRAY_LEN(create_fields),
                                            sizeof(struct create_body)};

void api_domain_create(struct request *request)
{
    struct create_body body;
    struct slice name;
    if (!api_read(request, &api_domain_shape, &body)) {
        return;
    }
    if (domain_normalise(body.domain, false, &request->arena, &name) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("domain"),
                       SLICE("domain is not a valid domain name"));
        return;
    }
    struct msg *msg = api_domain_take(request, DOMAIN_CREATE);
    if (msg != NULL) {
        msg->body.domain.name = name;
        api_post(request, api_shard(request), msg, on_created);
    }
}

static void on_listed(struct request *request, struct msg *msg)
{
    struct api_body body;
    api_json_start(&body);
    json_open_array(&body.w);
    for (uint32_t i = 0; i < msg->body.domain.row_count; i++) {
        write_row(&body.w, &msg->body.domain.rows[i]);
    }
    json_close_array(&body.w);
    api_json_send(request, 200, &body);
}

void api_domain_list(struct request *request)
{
    uint32_t limit;
    uint64_t before = UINT64_MAX;
    struct slice text;
    if (!api_page(request, &limit)) {
        return;
    }
    if (http_query_get(&request->http, SLICE("before"), &request->arena, &text)) {
        struct id id;
        if (id_parse(ID_DOMAIN, text, &id) == ERR_OK) {
            before = id_unix_ms(id);
        } else if (slice_u64(text, &before) != ERR_OK) {
            api_fail_field(request, ERR_BAD_FIELD, SLICE("before"),
                           SLICE("before is a time in milliseconds or an id"));
            return;
        }
    }
    struct msg *msg = api_domain_take(request, DOMAIN_LIST);
    if (msg != NULL) {
        msg->body.domain.limit = limit;
        msg->body.domain.before_unix_ms = before;
        api_post(request, api_shard(request), msg, on_listed);
    }
}

static void on_got(struct request *request, struct msg *msg)
{
    CHECK(msg->body.domain.row_count == 1);
    api_domain_answer(request, 200, &msg->body.domain.rows[0]);
}

static void post_for_id(struct request *request, enum domain_op op, request_msg_fn *on_return)
{
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject)) {
        return;
    }
    struct msg *msg = api_domain_take(request, op);
    if (msg != NULL) {
        api_post(request, api_shard(request), msg, on_return);
    }
}

void api_domain_get(struct request *request)
{
    post_for_id(request, DOMAIN_GET, on_got);
}

struct change_body {
    uint64_t retention_days;
    bool is_zero_retention;
    bool has_retention_days;
    bool has_zero_retention;
};

static const struct json_field change_fields[] = {
    {.name = "retentionDays",
     .type = JSON_U64,
     .offset = offsetof(struct change_body, retention_days),
     .has_offset = offsetof(struct change_body, has_retention_days),
     .max = RETENTION_DAYS_MAX},
    {.name = "zeroRetention",
     .type = JSON_BOOL,
     .offset = offsetof(struct change_body, is_zero_retention),
     .has_offset = offsetof(struct change_body, has_zero_retention)},
};
const struct json_shape api_domain_change_shape = {change_fields, ARRAY_LEN(change_fields),
                                                   sizeof(struct change_body)};

void api_domain_change(struct request *request)
{
    struct change_body body;
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject) ||
        !api_read(request, &api_domain_change_shape, &body)) {
        return;
    }
    struct msg *msg = api_domain_take(request, DOMAIN_CHANGE);
    if (msg != NULL) {
        struct shard_domain *change = &msg->body.domain;
        change->given |= body.has_retention_days ? DOMAIN_FIELD_RETENTION : 0;
        change->given |= body.has_zero_retention ? DOMAIN_FIELD_ZERO_RETENTION : 0;
        change->retention_days = (uint32_t)body.retention_days;
        change->is_zero_retention = body.is_zero_retention;
        api_post(request, api_shard(request), msg, on_got);
    }
}

static void on_deleted(struct request *request, struct msg *msg UNUSED)
{
    api_send(request, 200, SLICE("application/json"), SLICE("{\"ok\":true}"));
}

void api_domain_delete(struct request *request)
{
    post_for_id(request, DOMAIN_DELETE, on_deleted);
}

void api_domain_rotate(struct request *request)
{
    post_for_id(request, DOMAIN_ROTATE, on_got);
}

/* ---- health --------------------------------------------------------------------------------- */

static void on_health(struct request *request, struct msg *msg)
{
    const struct row_domain *row = &msg->body.domain.rows[0];
    struct slice rest = row->health;
    struct slice name;
    struct slice status;
    struct slice found;
    struct slice advice;
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_u64_or_null(&body.w, "checkedAt", row->health_unix_ms);
    json_key(&body.w, "checks");
    json_open_array(&body.w);
    while (get_slice(&rest, &name) && get_slice(&rest, &status) && get_slice(&rest, &found) &&
           get_slice(&rest, &advice)) {
        json_open_object(&body.w);
        api_text(&body.w, "name", name);
        api_text(&body.w, "status", status);
        api_text_or_null(&body.w, "found", found);
        api_text_or_null(&body.w, "advice", advice);
        json_close_object(&body.w);
    }
    json_close_array(&body.w);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

void api_domain_health(struct request *request)
{
    post_for_id(request, DOMAIN_GET, on_health);
}

/* ---- verify --------------------------------------------------------------------------------- */

static void on_judged(struct request *request, struct msg *msg)
{
    const struct row_domain *row = &msg->body.domain.rows[0];
    CHECK(msg->body.domain.row_count == 1);
    struct api_body body;
    api_json_start(&body);
    json_open_object(&body.w);
    api_text(&body.w, "status", slice_str(domain_status_text((enum domain_status)row->status)));
    json_key(&body.w, "checks");
    json_open_object(&body.w);
    api_bool(&body.w, "mx", row->mx_verified);
    api_bool(&body.w, "spf", row->spf_verified);
    api_bool(&body.w, "dkim", row->dkim_rsa_verified);
    api_bool(&body.w, "dmarc", row->dmarc_verified);
    if (row->track_host.len > 0) {
        api_bool(&body.w, "tracking", row->track_verified);
    }
    json_close_object(&body.w);
    api_u64(&body.w, "checkedAt", row->checked_unix_ms);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

static void post_checks(struct request *request, const struct deliver_verify *seen)
{
    struct msg *next = api_domain_take(request, DOMAIN_CHECKED);
    if (next != NULL) {
        next->body.domain.checks = seen->checks;
        next->body.domain.has_gaps = seen->has_gaps;
        next->body.domain.health = arena_dup(&request->arena, seen->health);
        api_post(request, api_shard(request), next, on_judged);
    }
}

static void on_looked_up(struct request *request, struct msg *msg)
{
    post_checks(request, &msg->body.verify);
}

static void on_row(struct request *request, struct msg *msg)
{
    const struct row_domain *row = &msg->body.domain.rows[0];
    CHECK(msg->body.domain.row_count == 1);
    struct slice sandbox = request->edge->place->conf->sandbox_domain;
    if (sandbox.len > 0 && slice_equal(sandbox, row->name)) {
        /* Its shard knows the verdict; without DNS there is nobody to ask. */
        post_checks(request, &(struct deliver_verify){.has_gaps = false});
        return;
    }
    struct msg *next = api_take(request, MSG_DELIVER_VERIFY);
    if (next == NULL) {
        return;
    }
    deliver_verify_fill(&next->body.verify, row, request->edge->place->conf,
                        slice_str(request->edge->public_url), &request->arena);
    api_post(request, request->edge->place->deliver, next, on_looked_up);
}

void api_domain_verify(struct request *request)
{
    post_for_id(request, DOMAIN_GET, on_row);
}
