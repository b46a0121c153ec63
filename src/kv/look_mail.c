/* look_mail.c - everything that is stored of one mail.
 *
 * The families are read one after the other, each as a range under the mail's id. A list ends at
 * LOOK_MAIL_ROWS rows or when the whole is LOOK_BYTES_MAX long; `isCut` says so. */
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "kv/key_text.h"
#include "kv/look.h"
#include "kv/look_int.h"
#include "kv/row.h"

#include <string.h>

#define ARENA_CHUNK (64 * KIB)

struct view {
    struct kv *kv;
    struct look_mail *wanted;
    struct json_writer *w;
    struct arena arena;
    struct account_id account;
    uint32_t family;
    uint32_t found; /* rows of any family */
    bool is_cut;
    size_t begun; /* length of the output when it began */
};

/* One family under the mail. */
struct list {
    const char *name; /* of the member */
    struct key prefix;
    void (*write)(struct view *view, const struct key_parts *parts, struct slice value);
};

static bool is_full(struct view *view, uint32_t count)
{
    const bool is_full =
        count == LOOK_MAIL_ROWS || view->w->out->len - view->begun > LOOK_BYTES_MAX;
    view->is_cut = view->is_cut || is_full;
    return is_full;
}

static void add_row(struct view *view, const char *name, enum row_family family, struct slice value)
{
    view->wanted->damaged += look_row(view->w, name, family, value) ? 0 : 1;
}

static void write_list(struct view *view, const struct list *list)
{
    const struct key to = key_after(&list->prefix);
    struct kv_iter *iter =
        kv_iter_open(view->kv, view->family, key_slice(&list->prefix), key_slice(&to), false);
    struct slice key;
    struct slice value;
    struct key_parts parts;
    uint32_t count = 0;
    json_key(view->w, list->name);
    json_open_array(view->w);
    while (kv_iter_next(iter, &key, &value) && !is_full(view, count)) {
        count++;
        if (key_read(key, &parts) != ERR_OK) {
            view->wanted->damaged++;
            continue;
        }
        json_open_object(view->w);
        list->write(view, &parts, value);
        json_close_object(view->w);
    }
    json_close_array(view->w);
    view->found += count;
    view->wanted->damaged += kv_iter_err(iter) == ERR_OK ? 0 : 1;
    kv_iter_close(iter);
}

/* The row under a key as a member, or null. True when it is there. */
static bool write_one(struct view *view, const char *name, enum row_family family, struct key key)
{
    struct slice value;
    arena_clear(&view->arena);
    const enum err err = kv_get(view->kv, view->family, key_slice(&key), &view->arena, &value);
    if (err == ERR_OK) {
        view->found++;
        add_row(view, name, family, value);
        return true;
    }
    json_key(view->w, name);
    json_nil(view->w);
    view->wanted->damaged += err == ERR_NOT_FOUND ? 0 : 1;
    return false;
}

/* ---- deliveries ----------------------------------------------------------------------------- */

static void write_attempt(struct view *view, const struct key_parts *parts, struct slice value)
{
    look_u64(view->w, "try", parts->numbers[1]);
    add_row(view, "row", ROW_ATTEMPT, value);
}

/* The work that is due for it. Its row stands under the time of the next try; after a move of the
 * whole group it may stand elsewhere, then there is none here. */
static void write_due(struct view *view, const struct row_delivery *row)
{
    const struct key key =
        key_outbox(row->next_attempt_unix_ms, view->account, view->wanted->id, row->group);
    look_time(view->w, "dueAt", row->next_attempt_unix_ms);
    (void)write_one(view, "outbox", ROW_OUTBOX, key); /* null says that there is none */
}

static void write_delivery(struct view *view, const struct key_parts *parts, struct slice value)
{
    struct row_delivery row;
    struct list attempts = {
        .name = "attempts",
        .prefix = key_attempt(view->account, view->wanted->id, parts->numbers[0], 0),
        .write = write_attempt,
    };
    attempts.prefix.len = (uint16_t)(attempts.prefix.len - 4); /* all tries */
    look_u64(view->w, "index", parts->numbers[0]);
    add_row(view, "row", ROW_DELIVERY, value);
    if (row_delivery_decode(value, &row) == ERR_OK) {
        write_due(view, &row);
    }
    write_list(view, &attempts);
}

/* ---- the others ----------------------------------------------------------------------------- */

static void write_event(struct view *view, const struct key_parts *parts, struct slice value)
{
    look_id(view->w, "id", ID_EVENT, parts->ids[1]);
    add_row(view, "row", ROW_EVENT, value);
}

static void write_attachment(struct view *view, const struct key_parts *parts, struct slice value)
{
    look_u64(view->w, "index", parts->numbers[0]);
    add_row(view, "row", ROW_ATTACHMENT, value);
}

static void write_transcript(struct view *view, const struct key_parts *parts, struct slice value)
{
    struct row_transcript row;
    const bool is_good = row_transcript_decode(value, &row) == ERR_OK;
    look_u64(view->w, "group", parts->numbers[0]);
    look_u64(view->w, "try", parts->numbers[1]);
    json_key(view->w, "text");
    if (is_good) {
        json_text(view->w, row.text);
    } else {
        json_nil(view->w);
        view->wanted->damaged++;
    }
}

/* The pieces of its bytes, MAIL_BYTES_MAX at most: read, so that damage among them is seen. */
static void write_chunks(struct view *view)
{
    const struct key first = key_chunk(view->account, view->wanted->id, 0);
    struct key prefix = first;
    prefix.len = (uint16_t)(prefix.len - 4);
    const struct key to = key_after(&prefix);
    struct kv_iter *iter =
        kv_iter_open(view->kv, view->family, key_slice(&prefix), key_slice(&to), false);
    struct slice key;
    struct slice value;
    uint64_t bytes = 0;
    uint32_t count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        struct row_chunk row;
        const bool is_good = row_chunk_decode(value, &row) == ERR_OK;
        bytes += is_good ? row.data.len : 0;
        count++;
        view->wanted->damaged += is_good ? 0 : 1;
    }
    view->found += count;
    view->wanted->damaged += kv_iter_err(iter) == ERR_OK ? 0 : 1;
    kv_iter_close(iter);
    look_u64(view->w, "chunks", count);
    look_u64(view->w, "chunkBytes", bytes);
}

static void write_lists(struct view *view)
{
    const struct id id = view->wanted->id;
    const struct list lists[] = {
        {"deliveries", key_prefix_deliveries(view->account, id), write_delivery},
        {"attachments", key_prefix_attachments(view->account, id), write_attachment},
        {"events", key_prefix_events(view->account, id), write_event},
        {"transcripts", key_prefix_transcripts(view->account, id), write_transcript},
    };
    const size_t count = ARRAY_LEN(lists) - (view->wanted->has_transcripts ? 0 : 1);
    for (size_t i = 0; i < count; i++) {
        write_list(view, &lists[i]);
    }
}

enum err look_mail(struct kv *kv, struct look_mail *mail, struct json_writer *w)
{
    char text[ID_TEXT_MAX];
    struct view view = {
        .kv = kv,
        .wanted = mail,
        .w = w,
        .account = id_account(mail->id),
        .begun = w->out->len,
    };
    view.family = look_shard_of(kv, view.account);
    arena_init(&view.arena, ARENA_CHUNK, LOOK_BYTES_MAX * 4);
    look_id(w, "id", ID_MESSAGE, mail->id);
    json_key(w, "account");
    json_text(w, slice_of(text, account_text(view.account, text)));
    look_u64(w, "shard", view.family);
    (void)write_one(&view, "mail", ROW_MAIL, key_mail(view.account, mail->id));
    (void)write_one(&view, "state", ROW_MAIL_STATE, key_mail_state(view.account, mail->id));
    (void)write_one(&view, "stage", ROW_STAGE, key_stage(view.account, mail->id));
    write_chunks(&view);
    write_lists(&view);
    look_bool(w, "isCut", view.is_cut);
    look_u64(w, "damaged", mail->damaged);
    arena_fini(&view.arena);
    return view.found > 0 ? ERR_OK : ERR_NOT_FOUND;
}
