/* hook_body.c - see hook_body.h. */
#include "shards/hook_body.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "shards/msg.h"

#include <stdio.h>
#include <string.h>

#define BODY_MAX  (2 * TEXT_BYTES_MAX * 2 + MIB) /* two texts, escaped */
#define LINK_TEXT 160

static void compose_outbound(const struct hook_facts *facts, struct json_writer *w);

enum err hook_body_compose(const struct hook_facts *facts, struct arena *arena, struct slice *body)
{
    struct buf out;
    struct json_writer w;
    enum err err = ERR_OK;
    buf_init(&out, BODY_MAX);
    json_start(&w, &out);
    json_open_object(&w);
    compose_outbound(facts, &w);
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

static void add_bounce(struct json_writer *w, const struct row_event *event)
{
    bool is_final = slice_equal(event->type, SLICE("email.bounced"));
    json_key(w, "bounce");
    json_open_object(w);
    add_text(w, "type", is_final ? SLICE("hard") : SLICE("soft"));
    json_key(w, "code");
    json_u64(w, event->code);
    add_text_or_null(w, "enhanced", event->enhanced);
    add_text_or_null(w, "diagnostic", event->detail);
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
    if (slice_equal(event->type, SLICE("email.bounced")) ||
        slice_equal(event->type, SLICE("email.delivery_delayed"))) {
        add_bounce(w, event);
    }
    json_close_object(w);
}

/* ---- links ---------------------------------------------------------------------------------- */

static struct sha256 sign_link(const struct seal_key *key, struct id mail, uint32_t index,
                               uint64_t expires_s)
{
    char id[ID_TEXT_MAX];
    char text[LINK_TEXT];
    (void)id_text(ID_MESSAGE, mail, id); /* terminated */
    int len =
        snprintf(text, sizeof(text), "att/%s/%u\n%llu", id, index, (unsigned long long)expires_s);
    CHECK(len > 0 && (size_t)len < sizeof(text));
    return crypto_hmac_sha256(slice_of(key->bytes, sizeof(key->bytes)),
                              slice_of(text, (size_t)len));
}

struct slice attachment_link(const struct seal_key *key, struct id mail, uint32_t index,
                             uint64_t expires_s, struct arena *arena)
{
    char id[ID_TEXT_MAX];
    char hex[2 * SHA256_LEN];
    struct sha256 mac = sign_link(key, mail, index, expires_s);
    (void)id_text(ID_MESSAGE, mail, id); /* terminated */
    hex_encode(sha256_slice(&mac), hex);
    return arena_format(arena, "/att/%s/%u?exp=%llu&sig=%.*s", id, index,
                        (unsigned long long)expires_s, (int)sizeof(hex), hex);
}

bool attachment_link_is_good(const struct seal_key *key, struct id mail, uint32_t index,
                             uint64_t expires_s, struct slice sig)
{
    char hex[2 * SHA256_LEN];
    struct sha256 mac = sign_link(key, mail, index, expires_s);
    hex_encode(sha256_slice(&mac), hex);
    return crypto_equal(slice_of(hex, sizeof(hex)), sig);
}
