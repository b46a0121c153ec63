/* hook_body.c - see hook_body.h. */
#include "shards/hook_body.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "kv/key.h"
#include "mail/attachment_link.h"
#include "mail/bounce_rules.h"
#include "mail/mime_read.h"
#include "shards/msg.h"
#include "shards/received.h"

#include <string.h>

/* Two texts of control characters alone, six bytes for each; what a mail has room for beside them
 * as attachments in base64, of which there may be a thousand. */
#define BODY_MAX         (MSG_ARENA_MAX - 8 * MIB)
#define CONTENT_MAX      (MAIL_BYTES_MAX / 3 * 4 + 8 * KIB)
#define READ_ARENA_BYTES (MAIL_BYTES_MAX + 2 * CHUNK_BYTES + MIME_READ_ARENA_BYTES)

static enum err compose_inbound(const struct hook_facts *facts, struct json_writer *w);
static void compose_outbound(const struct hook_facts *facts, struct json_writer *w);

enum err hook_body_compose(const struct hook_facts *facts, struct arena *arena, struct slice *body)
{
    struct buf out;
    struct json_writer w;
    enum err err = ERR_OK;
    buf_init(&out, BODY_MAX);
    json_start(&w, &out);
    json_open_object(&w);
    if (facts->mail->direction == DIRECTION_INBOUND) {
        err = compose_inbound(facts, &w);
    } else {
        compose_outbound(facts, &w);
    }
    json_close_object(&w);
    if (err == ERR_OK) {
        err = buf_err(&out);
    }
    if (err == ERR_OK) {
        *body = arena_dup(arena, buf_slice(&out));
    }
    buf_fini(&out);
    return err;
}

/* ---- parts ---------------------------------------------------------------------------------- */

static void add_id(struct json_writer *w, const char *name, enum id_kind kind, struct id id)
{
    char text[ID_TEXT_MAX];
    json_key(w, name);
    if (id_is_none(id)) {
        json_nil(w);
    } else {
        json_text(w, slice_of(text, id_text(kind, id, text)));
    }
}

static void add_text(struct json_writer *w, const char *name, struct slice text)
{
    json_key(w, name);
    json_text(w, text);
}

static void add_text_or_null(struct json_writer *w, const char *name, struct slice text)
{
    json_key(w, name);
    json_text_or_null(w, text);
}

static void add_time(struct json_writer *w, const char *name, const char *iso_name,
                     uint64_t unix_ms)
{
    char iso[CLOCK_TEXT_MAX];
    size_t len = clock_rfc3339(unix_ms, iso);
    json_key(w, name);
    json_u64(w, unix_ms);
    json_key(w, iso_name);
    json_text(w, slice_of(iso, len));
}

static void add_party(struct json_writer *w, struct slice address, struct slice name)
{
    json_open_object(w);
    add_text(w, "address", address);
    if (name.len > 0) {
        add_text(w, "name", name);
    }
    json_close_object(w);
}

/* ---- a sent mail ---------------------------------------------------------------------------- */

static void add_metadata(struct json_writer *w, struct slice pack)
{
    struct slice name;
    struct slice value;
    struct slice type;
    json_key(w, "metadata");
    json_open_object(w);
    while (get_slice(&pack, &name) && get_slice(&pack, &value) && get_slice(&pack, &type)) {
        json_key_slice(w, name);
        if (slice_equal(type, SLICE("t"))) {
            json_text(w, value);
        } else {
            json_raw(w, value);
        }
    }
    json_close_object(w);
}

/* A member of an event's own; empty when it has none of that name. */
static struct slice data_of(const struct row_event *event, struct slice wanted)
{
    struct slice pack = event->data;
    struct slice name;
    struct slice value;
    while (get_slice(&pack, &name) && get_slice(&pack, &value)) {
        if (slice_equal(name, wanted)) {
            return value;
        }
    }
    return SLICE("");
}

/* Whether the address is lost for good: while a mail is only put off, it is not. */
static struct slice bounce_type(const struct row_event *event, struct slice word)
{
    enum bounce_class class = bounce_class_of(word);
    if (slice_equal(event->type, SLICE("email.delivery_delayed"))) {
        return SLICE("Transient");
    }
    return class == BOUNCE_NONE ? SLICE("Undetermined") : slice_str(bounce_traits(class)->type);
}

static void add_bounce(struct json_writer *w, const struct row_event *event)
{
    struct slice word = data_of(event, SLICE("bounceClass"));
    json_key(w, "bounce");
    json_open_object(w);
    add_text(w, "type", bounce_type(event, word));
    json_key(w, "code");
    json_u64(w, event->code);
    add_text_or_null(w, "enhanced", event->enhanced);
    add_text_or_null(w, "diagnostic", event->detail);
    add_text_or_null(w, "bounceClass", word);
    json_close_object(w);
}

static bool is_bounce(struct slice type)
{
    return slice_equal(type, SLICE("email.bounced")) || slice_equal(type, SLICE("email.failed")) ||
           slice_equal(type, SLICE("email.delivery_delayed"));
}

static bool get_pair(struct slice *pack, struct slice *name, struct slice *value)
{
    return get_slice(pack, name) && get_slice(pack, value);
}

/* What is known of an open or a click, beside whose it is. */
static void add_tracked(struct json_writer *w, const char *name, struct slice pack)
{
    struct slice item;
    struct slice value;
    json_key(w, name);
    json_open_object(w);
    while (get_pair(&pack, &item, &value)) {
        json_key_slice(w, item);
        if (slice_equal(item, SLICE("bot")) || slice_equal(item, SLICE("proxy"))) {
            json_bool(w, slice_equal(value, SLICE("yes")));
        } else {
            json_text(w, value);
        }
    }
    json_close_object(w);
}

static void compose_outbound(const struct hook_facts *facts, struct json_writer *w)
{
    const struct row_event *event = facts->event;
    const struct row_mail *mail = facts->mail;
    CHECK(event != NULL);
    add_id(w, "id", ID_EVENT, facts->delivery->event);
    add_text(w, "type", event->type);
    add_time(w, "createdAt", "createdAtIso", event->created_unix_ms);
    json_key(w, "data");
    json_open_object(w);
    add_id(w, "messageId", ID_MESSAGE, mail->id);
    add_text(w, "from", mail->from_addr);
    add_text(w, "to", event->recipient);
    add_text_or_null(w, "subject", mail->subject);
    add_text(w, "mode", mail->mode == MODE_TEST ? SLICE("test") : SLICE("live"));
    add_metadata(w, mail->metadata);
    if (is_bounce(event->type)) {
        add_bounce(w, event);
    } else if (slice_equal(event->type, SLICE("email.opened"))) {
        add_tracked(w, "open", event->data);
    } else if (slice_equal(event->type, SLICE("email.clicked"))) {
        add_tracked(w, "click", event->data);
    }
    json_close_object(w);
}

/* ---- a received mail ------------------------------------------------------------------------ */

static void add_auth(struct json_writer *w, const struct row_mail *mail)
{
    json_key(w, "auth");
    json_open_object(w);
    add_text_or_null(w, "spf", mail->spf);
    add_text_or_null(w, "dkim", mail->dkim);
    add_text_or_null(w, "dmarc", mail->dmarc);
    add_text_or_null(w, "spam", mail->spam);
    json_close_object(w);
}

static enum err load_attachment(const struct hook_facts *facts, uint32_t index, struct arena *arena,
                                struct row_attachment *row)
{
    struct slice bytes;
    struct id mail = facts->mail->id;
    struct key key = key_attachment(id_account(mail), mail, index);
    enum err err = kv_get(facts->kv, facts->family, key_slice(&key), arena, &bytes);
    return err == ERR_OK ? row_attachment_decode(bytes, row) : err;
}

/* In base64. */
static void add_content(struct slice data, struct json_writer *w)
{
    struct arena arena;
    arena_init(&arena, KIB, CONTENT_MAX);
    add_text(w, "content", base64_arena(&arena, data));
    arena_fini(&arena);
}

static void add_attachment(const struct hook_facts *facts, uint32_t index,
                           const struct row_attachment *row, const struct mime_read *mail,
                           struct json_writer *w)
{
    struct arena arena;
    arena_init(&arena, KIB, 8 * KIB);
    struct attachment_ref ref = {
        .mail = facts->mail->id, .index = index, .expires_s = row->expires_unix_ms / 1000};
    struct slice url = attachment_link(&facts->attachment_key, &ref, facts->base_url, &arena);
    json_open_object(w);
    add_id(w, "id", ID_ATTACHMENT, row->id);
    add_text_or_null(w, "filename", row->filename);
    add_text_or_null(w, "contentType", row->content_type);
    json_key(w, "size");
    json_u64(w, row->size_bytes);
    json_key(w, "url");
    json_text(w, url);
    if (facts->has_contents && index < mail->file_count) {
        add_content(mail->files[index].data, w);
    }
    json_close_object(w);
    arena_fini(&arena);
}

static enum err add_attachments(const struct hook_facts *facts, const struct mime_read *mail,
                                struct json_writer *w)
{
    struct arena arena;
    enum err err = ERR_OK;
    arena_init(&arena, 4 * KIB, 64 * KIB); /* one row */
    json_key(w, "attachments");
    json_open_array(w);
    for (uint32_t i = 0; err == ERR_OK && i < facts->mail->attachment_count; i++) {
        struct row_attachment row;
        arena_clear(&arena);
        err = load_attachment(facts, i, &arena, &row);
        if (err == ERR_OK) {
            add_attachment(facts, i, &row, mail, w);
        }
        err = err == ERR_NOT_FOUND ? ERR_OK : err; /* expired with its row */
    }
    json_close_array(w);
    arena_fini(&arena);
    return err;
}

/* The name under which this recipient stands in To or Cc, if he does. */
static struct slice name_of(const struct mime_read *mail, struct slice recipient)
{
    const struct mime_addr_list *lists[] = {&mail->to, &mail->cc};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (uint32_t n = 0; n < lists[i]->count; n++) {
            if (slice_equal_nocase(lists[i]->items[n].address, recipient)) {
                return lists[i]->items[n].name;
            }
        }
    }
    return SLICE("");
}

static void add_mime_text(struct json_writer *w, const char *name, const struct mime_text *text)
{
    json_key(w, name);
    if (text->is_present) {
        json_text(w, text->text);
    } else {
        json_nil(w);
    }
}

static void add_inbound(const struct hook_facts *facts, const struct mime_read *mail,
                        struct json_writer *w)
{
    const struct row_mail *row = facts->mail;
    struct slice rcpt = facts->delivery->recipient;
    add_id(w, "id", ID_EVENT, facts->delivery->event);
    add_text(w, "type", SLICE("email.received"));
    json_key(w, "from");
    add_party(w, row->from_addr, mail->from.name);
    json_key(w, "to");
    json_open_array(w);
    add_party(w, rcpt, name_of(mail, rcpt));
    json_close_array(w);
    add_text_or_null(w, "subject", mail->subject);
    add_mime_text(w, "text", &mail->text);
    add_mime_text(w, "html", &mail->html);
    add_id(w, "threadId", ID_THREAD, row->thread);
    add_time(w, "receivedAt", "receivedAtIso", row->received_unix_ms);
    add_auth(w, row);
}

/* The mail and what is read of it lie in an arena of their own: the claim that carries the body
 * lives as long as the call. */
static enum err compose_inbound(const struct hook_facts *facts, struct json_writer *w)
{
    const struct received_at at = {
        .kv = facts->kv,
        .family = facts->family,
        .mail = facts->mail->id,
        .chunk_count = facts->mail->chunk_count,
    };
    struct arena arena;
    struct slice raw;
    struct mime_read mail;
    arena_init(&arena, 64 * KIB, READ_ARENA_BYTES);
    enum err err = received_load(&at, &arena, &raw);
    if (err == ERR_OK) {
        err = mime_read(raw, &arena, &mail);
    }
    if (err == ERR_OK) {
        add_inbound(facts, &mail, w);
        err = add_attachments(facts, &mail, w);
    }
    arena_fini(&arena);
    return err;
}
