/* account_check.c - see account_check.h. The checks of members are generated from row.def. */
#include "kv/account_check.h"

#include "base/base.h"
#include "base/limits.h"
#include "kv/key_text.h"
#include "kv/row.h"
#include "kv/row_words.h"

#define ROW_MAX        (256 * KIB) /* most are far below, and grow by what requests bring */
#define LARGE_ROW_MAX  (2 * MIB - 64 * KIB) /* a mail with its headers, a template */
#define CHUNK_ROW_MAX  (CHUNK_BYTES + 64)
#define BODY_MAX       (2 * MAIL_BYTES_MAX) /* of a mail as it came */
#define HEADER_MAX     (2 * RECEIVED_HEADER_MAX)
#define CHUNKS_MAX     (BODY_MAX / CHUNK_BYTES + 2)
#define DELIVERIES_MAX 100000            /* of a mail, webhooks of all its events included */
#define ORIGIN_MAX     (DOMAIN_MAX + 16) /* "https://", a host, a TCP port */

struct row_look {
    enum row_family family;
    struct account_id account;
    bool is_bad;
};

static void look_id(struct row_look *look, struct slice member, struct id id)
{
    /* Who did it: an administrator, of another account, maybe. Nothing is looked up by them. */
    bool is_somebody =
        slice_equal(member, SLICE("actor")) || slice_equal(member, SLICE("created_by")) ||
        slice_equal(member, SLICE("key")) || slice_equal(member, SLICE("invited_by"));
    look->is_bad |= !is_somebody && !id_is_none(id) && id_account(id).value != look->account.value;
}

static void look_u8(struct row_look *look, struct slice member, uint8_t value)
{
    bool has_words = row_word(look->family, member, 0) != NULL;
    look->is_bad |= has_words && row_word(look->family, member, value) == NULL;
}

#define LOOK_U8(member)      look_u8(&look, SLICE(#member), row.member);
#define LOOK_ID(member)      look_id(&look, SLICE(#member), row.member);
#define LOOK_ACCOUNT(member) look.is_bad |= row.member.value != look.account.value;
#define LOOK_BOOL(member)
#define LOOK_U16(member)
#define LOOK_U32(member)
#define LOOK_U64(member)
#define LOOK_SHA(member)
#define LOOK_TEXT(member)
#define LOOK(type, member) LOOK_##type(member)

static enum err check_members(const struct key_parts *at, struct slice value)
{
    struct row_look look = {.family = at->shape->row, .account = at->account};
    switch (at->shape->row) {
#define ROW(name, NAME, version, fields)                                                           \
    case ROW_##NAME: {                                                                             \
        struct row_##name row;                                                                     \
        enum err err = row_##name##_decode(value, &row);                                           \
        if (err != ERR_OK) {                                                                       \
            return err;                                                                            \
        }                                                                                          \
        fields(LOOK) break;                                                                        \
    }
        ROW_TABLE(ROW)
#undef ROW
    case ROW_FAMILY_COUNT:
        return ERR_CORRUPT;
    }
    return look.is_bad ? ERR_INVALID : ERR_OK;
}

static bool is_within(uint64_t offset, uint64_t len, uint64_t whole)
{
    return offset <= whole && len <= whole - offset;
}

static bool is_good_mail(const struct key_parts *at, const struct row_mail *row)
{
    uint64_t whole = row->size_bytes + row->trace_len;
    return id_equal(row->id, at->ids[0]) && row->size_bytes <= BODY_MAX &&
           row->trace_len <= CHUNK_BYTES && row->header_len <= HEADER_MAX &&
           row->header_len <= whole && is_within(row->text_offset, row->text_len, whole) &&
           is_within(row->html_offset, row->html_len, whole) && row->chunk_count <= CHUNKS_MAX &&
           row->delivery_count <= DELIVERIES_MAX && row->attachment_count <= DELIVERIES_MAX;
}

/* Decoded rows: check_members saw them. */
static bool is_good(const struct key_parts *at, struct slice value)
{
    union {
        struct row_user user;
        struct row_domain domain;
        struct row_mail mail;
        struct row_outbox outbox;
        struct row_attachment attachment;
        struct row_event event;
        struct row_route route;
        struct row_mailbox mailbox;
        struct row_thread thread;
    } row;
    switch (at->shape->row) {
    case ROW_USER:
        return row_user_decode(value, &row.user) == ERR_OK && id_equal(row.user.id, at->ids[0]);
    case ROW_DOMAIN:
        return row_domain_decode(value, &row.domain) == ERR_OK &&
               id_equal(row.domain.id, at->ids[0]);
    case ROW_MAIL:
        return row_mail_decode(value, &row.mail) == ERR_OK && is_good_mail(at, &row.mail);
    case ROW_OUTBOX:
        return row_outbox_decode(value, &row.outbox) == ERR_OK &&
               row.outbox.rcpt_count <= RCPT_PER_COPY_MAX &&
               row.outbox.rcpt_first <= DELIVERIES_MAX && row.outbox.domain.len <= ORIGIN_MAX &&
               row.outbox.pool.len <= POOL_NAME_MAX;
    case ROW_ATTACHMENT:
        return row_attachment_decode(value, &row.attachment) == ERR_OK &&
               row.attachment.size_bytes <= BODY_MAX && row.attachment.chunk_count <= CHUNKS_MAX;
    case ROW_EVENT:
        return row_event_decode(value, &row.event) == ERR_OK && id_equal(row.event.id, at->ids[1]);
    case ROW_ROUTE:
        return row_route_decode(value, &row.route) == ERR_OK && id_equal(row.route.id, at->ids[0]);
    case ROW_MAILBOX:
        return row_mailbox_decode(value, &row.mailbox) == ERR_OK &&
               id_equal(row.mailbox.id, at->ids[0]);
    case ROW_THREAD:
        return row_thread_decode(value, &row.thread) == ERR_OK &&
               id_equal(row.thread.id, at->ids[0]);
    default:
        return true;
    }
}

static size_t bytes_max(enum row_family family)
{
    bool is_large = family == ROW_MAIL || family == ROW_TEMPLATE;
    return family == ROW_CHUNK ? CHUNK_ROW_MAX : is_large ? LARGE_ROW_MAX : ROW_MAX;
}

enum err account_check_row(struct slice key, struct slice value)
{
    struct key_parts at;
    if (key_read(key, &at) != ERR_OK) {
        return ERR_CORRUPT;
    }
    for (size_t i = 0; i < ARRAY_LEN(at.ids); i++) {
        if (!id_is_none(at.ids[i]) && id_account(at.ids[i]).value != at.account.value) {
            return ERR_INVALID;
        }
    }
    if (value.len > bytes_max(at.shape->row) || at.text.len > KEY_TEXT_MAX) {
        return ERR_INVALID;
    }
    enum err err = check_members(&at, value);
    return err == ERR_OK && !is_good(&at, value) ? ERR_INVALID : err;
}
