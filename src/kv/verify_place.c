/* verify_place.c - what leads to mails from elsewhere: mailboxes, threads, ids of deliveries, and
 * the data of attachments, which lies under the day it expires on. */
#include "base/check.h"
#include "kv/verify_int.h"

#include <inttypes.h>
#include <string.h>

#define HEAD_BYTES ((size_t)24) /* of a key behind its tag: account and thread */
#define ID_BYTES   ((size_t)16)

static enum found has_mail(struct verify *verify, const struct cursor *cursor, struct id mail,
                           struct slice *bytes)
{
    struct key key = key_mail(cursor->parts.account, mail);
    return verify_get(verify, verify->family, &key, bytes);
}

/* ---- mailboxes ------------------------------------------------------------------------------ */

/* The mailbox itself may be gone: its mails stay. */
bool verify_mailbox_mail(struct verify *verify)
{
    struct cursor *cursor = &verify->cursors[0];
    const struct key_parts *at = &cursor->parts;
    struct row_mailbox_mail row;
    struct row_mail_state state = {.mailboxes = SLICE("")};
    struct slice bytes;
    if (!cursor->is_there) {
        return false;
    }
    verify_owner(verify, cursor);
    struct key key = key_mail_state(at->account, at->ids[1]);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    bool is_known =
        found == UNKNOWN || (found == FOUND && row_mail_state_decode(bytes, &state) != ERR_OK);
    for (size_t i = 0; i + ID_BYTES <= state.mailboxes.len; i += ID_BYTES) {
        is_known |= memcmp(state.mailboxes.data + i, at->ids[0].bytes, ID_BYTES) == 0;
    }
    if (row_mailbox_mail_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "mailbox_mail");
    } else if (!is_known) {
        found = has_mail(verify, cursor, at->ids[1], &bytes);
        if (found == ABSENT) {
            verify_say_here(verify, VERIFY_PLACE_DANGLING, cursor, "the mail is not there");
        } else if (found == FOUND) {
            verify_say_here(verify, VERIFY_PLACE_MISSING, cursor,
                            "the mail does not say that it is there");
        }
    }
    cursor_next(verify, cursor);
    return true;
}

/* ---- threads -------------------------------------------------------------------------------- */

static void check_member(struct verify *verify, const struct cursor *cursor)
{
    struct row_thread_mail row;
    struct row_mail mail;
    struct slice bytes;
    enum found found = has_mail(verify, cursor, cursor->parts.ids[1], &bytes);
    if (row_thread_mail_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "thread_mail");
    } else if (found == ABSENT) {
        verify_say_here(verify, VERIFY_PLACE_DANGLING, cursor, "the mail is not there");
    } else if (found == FOUND && row_mail_decode(bytes, &mail) == ERR_OK &&
               !id_equal(mail.thread, cursor->parts.ids[0])) {
        verify_say_here(verify, VERIFY_PLACE_DANGLING, cursor, "the mail is of another thread");
    }
}

/* One thread and its mails: the ranges are merged. */
bool verify_thread(struct verify *verify)
{
    struct cursor *own = &verify->cursors[0];
    struct cursor *members = &verify->cursors[1];
    struct row_thread row = {.mail_count = 0};
    if (!own->is_there && !members->is_there) {
        return false;
    }
    bool is_own =
        own->is_there &&
        (!members->is_there || memcmp(own->key.data + 1, members->key.data + 1, HEAD_BYTES) <= 0);
    const struct cursor *first = is_own ? own : members;
    struct key key = key_thread(first->parts.account, first->parts.ids[0]);
    verify_owner(verify, first);
    bool is_blind = !is_own && cursor_is_blind(own, &key);
    bool is_read = is_own && row_thread_decode(own->value, &row) == ERR_OK;
    if (is_own && !is_read) {
        verify_say_here(verify, VERIFY_ROW, own, "thread");
    }
    if (is_read && !id_equal(row.id, own->parts.ids[0])) {
        verify_say_here(verify, VERIFY_ROW_ID, own, "the thread has another id");
    }
    uint32_t count = 0;
    for (; members->is_there && memcmp(members->key.data + 1, key.bytes + 1, HEAD_BYTES) == 0;
         cursor_next(verify, members)) {
        check_member(verify, members);
        count++;
    }
    struct key range =
        key_prefix_thread_mails(id_account(first->parts.ids[0]), first->parts.ids[0]);
    if (!is_own && !is_blind) {
        verify_say(verify, VERIFY_THREAD_MISSING, &key, "%" PRIu32 " mails", count);
    } else if (is_read && count != row.mail_count && !cursor_is_blind(members, &range)) {
        verify_say(verify, VERIFY_THREAD_COUNT, &key, "it says %" PRIu32 ", and has %" PRIu32,
                   row.mail_count, count);
    }
    if (is_own) {
        cursor_next(verify, own);
    }
    return true;
}

/* ---- ids of deliveries ---------------------------------------------------------------------- */

bool verify_ref(struct verify *verify)
{
    struct cursor *cursor = &verify->cursors[0];
    struct row_delivery_ref row;
    struct row_delivery delivery;
    struct slice bytes;
    if (!cursor->is_there) {
        return false;
    }
    verify_owner(verify, cursor);
    if (row_delivery_ref_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "delivery_ref");
    } else {
        struct key key = key_delivery(cursor->parts.account, row.mail, row.index);
        enum found found = verify_get(verify, verify->family, &key, &bytes);
        bool is_other = found == FOUND && row_delivery_decode(bytes, &delivery) == ERR_OK &&
                        !id_equal(delivery.id, cursor->parts.ids[0]);
        if (found == ABSENT || is_other) {
            verify_say_here(verify, VERIFY_REF_DANGLING, cursor,
                            "it leads to delivery %" PRIu32 "%s", row.index,
                            is_other ? ", which has another id" : "");
        }
    }
    cursor_next(verify, cursor);
    return true;
}

/* ---- data of attachments -------------------------------------------------------------------- */

/* What lies under one attachment's number, until the next one's. */
struct heap_of {
    struct key first;
    struct account_id account;
    struct id mail;
    uint32_t day;
    uint32_t index;
    uint32_t rows;
    uint64_t bytes;
    bool is_torn;
};

static void check_heap(struct verify *verify, const struct heap_of *heap)
{
    struct row_attachment row;
    struct slice bytes;
    struct key key = key_attachment(heap->account, heap->mail, heap->index);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    bool is_read = found == FOUND && row_attachment_decode(bytes, &row) == ERR_OK;
    if (found == ABSENT || (is_read && row.day != heap->day)) {
        verify_say(verify, VERIFY_DATA_ORPHAN, &heap->first, "%" PRIu32 " rows", heap->rows);
        return;
    }
    if (!is_read || heap->day < verify->today) {
        return;
    }
    verify->files_seen++;
    if (heap->is_torn || heap->rows != row.chunk_count || heap->bytes != row.size_bytes) {
        verify_say(verify, VERIFY_ATTACHMENT_DATA, &key,
                   "%" PRIu32 " rows with %" PRIu64 " bytes of %" PRIu32 " and %" PRIu64,
                   heap->rows, heap->bytes, row.chunk_count, row.size_bytes);
    }
}

bool verify_data(struct verify *verify)
{
    struct cursor *cursor = &verify->cursors[0];
    const struct key_parts *at = &cursor->parts;
    if (!cursor->is_there) {
        return false;
    }
    verify_owner(verify, cursor);
    struct heap_of heap = {.first = cursor->last,
                           .account = at->account,
                           .mail = at->ids[0],
                           .day = at->day,
                           .index = at->numbers[0]};
    bool has_doubt = false;
    while (cursor->is_there && at->day == heap.day && id_equal(at->ids[0], heap.mail) &&
           at->numbers[0] == heap.index) {
        struct row_chunk row = {.data = SLICE("")};
        if (row_chunk_decode(cursor->value, &row) != ERR_OK) {
            verify_say_here(verify, VERIFY_ROW, cursor, "attachment data");
            has_doubt = true;
        }
        heap.is_torn |= at->numbers[1] != heap.rows;
        heap.rows++;
        heap.bytes += row.data.len;
        cursor_next(verify, cursor);
    }
    struct key range = heap.first;
    range.len = (uint16_t)(range.len - sizeof(uint32_t)); /* all of them */
    if (has_doubt || cursor_is_blind(cursor, &range)) {
        verify->files_seen++;
    } else {
        check_heap(verify, &heap);
    }
    return true;
}

/* Only when fewer heaps were met than there are attachments that must have one: which ones lack
 * theirs? */
bool verify_files(struct verify *verify)
{
    struct cursor *cursor = &verify->cursors[0];
    const struct key_parts *at = &cursor->parts;
    struct row_attachment row;
    struct slice bytes;
    if (!cursor->is_there || verify->files_seen >= verify->files_expected) {
        return false;
    }
    if (row_attachment_decode(cursor->value, &row) == ERR_OK && row.chunk_count > 0 &&
        row.day >= verify->today) {
        static const struct sha256 none = {.bytes = {0}};
        bool is_shared =
            memcmp(&row.digest, &none, sizeof(none)) != 0 && row.data_index != at->numbers[0];
        struct key key = key_attachment_data(row.day, at->account, at->ids[0], at->numbers[0], 0);
        if (!is_shared && verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
            verify_say_here(verify, VERIFY_ATTACHMENT_DATA, cursor, "there is none");
        }
    }
    cursor_next(verify, cursor);
    return true;
}
