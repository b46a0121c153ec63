/* verify_mail.c - a mail with all that is stored under its id, and the outbox.
 *
 * The ranges of mails, deliveries, chunks and so on are sorted alike, by account and mail, so they
 * are merged: one unit is the least mail that any of the cursors stands on. The mail's own row is
 * looked at first and left last, because the others borrow from it. */
#include "base/check.h"
#include "base/limits.h"
#include "kv/verify_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES ((size_t)24) /* of a key behind its tag: account and mail */
#define ID_BYTES   ((size_t)16)

enum { MAIL, DELIVERY, CHUNK, ATTACHMENT, ATTEMPT, TRANSCRIPT, STAGE, EVENT, STATE, PARTS };

struct unit {
    struct account_id account;
    struct id id;
    char head[HEAD_BYTES];
    bool has_mail;
    bool is_blind; /* whether there is a mail cannot be known */
    bool is_read;  /* the row decodes */
    struct row_mail mail;
    bool has_stage;
    uint32_t rows[PARTS];
    bool has_doubt[PARTS]; /* something of it could not be read */
    uint32_t next_index;   /* of a delivery */
    uint32_t gaps;
    uint32_t open;
    uint32_t hooks;
    uint32_t hooks_open;
    uint64_t body_bytes;
    bool is_body_torn;
};

static bool at_unit(const struct cursor *cursor, const struct unit *unit)
{
    return cursor->is_there && memcmp(cursor->key.data + 1, unit->head, HEAD_BYTES) == 0;
}

static struct key part_key(const struct unit *unit, char tag)
{
    struct key key = {.len = 1 + HEAD_BYTES};
    key.bytes[0] = (uint8_t)tag;
    memcpy(key.bytes + 1, unit->head, HEAD_BYTES);
    return key;
}

/* ---- deliveries ----------------------------------------------------------------------------- */

static void lose(struct verify *verify, const struct lost *lost)
{
    if (verify->lost_count == LOST_MAX) {
        verify_mail_end(verify);
    }
    verify->losts[verify->lost_count++] = *lost;
}

/* Its outbox row is under the time of its next try, and speaks of it. */
static void check_open(struct verify *verify, const struct unit *unit, uint32_t index,
                       const struct row_delivery *row)
{
    struct slice bytes;
    struct row_outbox outbox;
    struct key key = key_outbox(row->next_attempt_unix_ms, unit->account, unit->id, row->group);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    bool is_other = found == FOUND && row_outbox_decode(bytes, &outbox) == ERR_OK &&
                    (index < outbox.rcpt_first || index - outbox.rcpt_first >= outbox.rcpt_count);
    if (found == ABSENT || is_other) {
        lose(verify,
             &(struct lost){
                 .account = unit->account, .mail = unit->id, .group = row->group, .index = index});
    }
}

static void check_delivery(struct verify *verify, struct unit *unit, const struct cursor *cursor)
{
    struct row_delivery row;
    uint32_t index = cursor->parts.numbers[0];
    unit->gaps += index - unit->next_index;
    unit->next_index = index + 1;
    if (row_delivery_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "delivery");
        unit->has_doubt[DELIVERY] = true;
        return;
    }
    bool is_hook = row.kind == FACT_WEBHOOK;
    bool is_open = fact_is_open(row.status);
    if (row.kind > FACT_WEBHOOK || row.status >= FACT_STATUS_COUNT ||
        id_account(row.id).value != unit->account.value) {
        verify_say_here(verify, VERIFY_ROW_ID, cursor, "kind %u, status %u", row.kind, row.status);
    }
    if ((is_hook && row.group != (FACT_GROUP_HOOK | index)) ||
        (!is_hook && is_open && (row.group & FACT_GROUP_HOOK) != 0)) {
        verify_say_here(verify, VERIFY_DELIVERY_GROUP, cursor, "group %" PRIu32, row.group);
        unit->has_doubt[DELIVERY] = true;
        return;
    }
    unit->hooks += is_hook;
    unit->open += !is_hook && is_open;
    unit->hooks_open += is_hook && is_open;
    if (is_open && (unit->has_mail || unit->is_blind)) {
        check_open(verify, unit, index, &row);
    }
    if (is_hook || row.forwarded_from.len > 0) {
        struct slice bytes;
        struct key key = key_delivery_ref(unit->account, row.id);
        if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
            verify_say_here(verify, VERIFY_REF_MISSING, cursor, "no delivery_ref row");
        }
    }
}

/* ---- the other parts ------------------------------------------------------------------------ */

static void check_chunk(struct verify *verify, struct unit *unit, const struct cursor *cursor)
{
    struct row_chunk row;
    if (row_chunk_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "chunk");
        unit->has_doubt[CHUNK] = true;
        return;
    }
    unit->is_body_torn |= cursor->parts.numbers[0] != unit->rows[CHUNK];
    unit->body_bytes += row.data.len;
}

static void check_attachment(struct verify *verify, struct unit *unit, const struct cursor *cursor)
{
    struct row_attachment row;
    struct sha256 none = {.bytes = {0}};
    if (row_attachment_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "attachment");
        unit->has_doubt[ATTACHMENT] = true;
        return;
    }
    bool is_shared =
        memcmp(&row.digest, &none, sizeof(none)) != 0 && row.data_index != cursor->parts.numbers[0];
    if (is_shared) {
        struct slice bytes;
        struct key key = key_attachment(unit->account, unit->id, row.data_index);
        if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
            verify_say_here(verify, VERIFY_ATTACHMENT, cursor,
                            "its data is with attachment %" PRIu32 ", which is not there",
                            row.data_index);
        }
    } else if (row.day >= verify->today && row.chunk_count > 0) {
        verify->files_expected++;
    }
}

static void check_state(struct verify *verify, const struct unit *unit, const struct cursor *cursor)
{
    struct row_mail_state row;
    if (row_mail_state_decode(cursor->value, &row) != ERR_OK || row.mailboxes.len % ID_BYTES != 0) {
        verify_say_here(verify, VERIFY_ROW, cursor, "mail_state");
        return;
    }
    for (size_t at = 0; unit->has_mail && at < row.mailboxes.len; at += ID_BYTES) {
        struct id mailbox;
        struct slice bytes;
        memcpy(mailbox.bytes, row.mailboxes.data + at, ID_BYTES);
        struct key key = key_mailbox_mail(unit->account, mailbox, unit->id);
        if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
            verify_say(verify, VERIFY_PLACE_MISSING, &key, "the mail says that it is there");
        }
    }
}

static void check_part(struct verify *verify, struct unit *unit, const struct cursor *cursor,
                       uint32_t part)
{
    struct row_attempt attempt;
    struct row_transcript transcript;
    struct row_stage stage;
    struct row_event event;
    enum err err = ERR_OK;
    switch (part) {
    case DELIVERY:
        check_delivery(verify, unit, cursor);
        break;
    case CHUNK:
        check_chunk(verify, unit, cursor);
        break;
    case ATTACHMENT:
        check_attachment(verify, unit, cursor);
        break;
    case ATTEMPT:
        err = row_attempt_decode(cursor->value, &attempt);
        break;
    case TRANSCRIPT:
        err = row_transcript_decode(cursor->value, &transcript);
        break;
    case STAGE:
        unit->has_stage = true;
        err = row_stage_decode(cursor->value, &stage);
        break;
    case EVENT:
        err = row_event_decode(cursor->value, &event);
        if (err == ERR_OK && !id_equal(event.id, cursor->parts.ids[1])) {
            verify_say_here(verify, VERIFY_ROW_ID, cursor, "the event has another id");
        }
        break;
    default:
        CHECK(part == STATE);
        check_state(verify, unit, cursor);
        break;
    }
    if (err != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "%s",
                        row_family_name(cursor->parts.shape->row));
    }
}

/* ---- what they say together ----------------------------------------------------------------- */

static void check_counts(struct verify *verify, const struct unit *unit)
{
    const struct row_mail *mail = &unit->mail;
    struct key key = part_key(unit, 'M');
    uint32_t missing =
        unit->gaps +
        (mail->delivery_count > unit->next_index ? mail->delivery_count - unit->next_index : 0);
    bool fits = unit->open == mail->open_count && unit->hooks_open == mail->hook_open;
    if (unit->has_doubt[DELIVERY]) {
        return;
    }
    if (missing > 0 && fits) {
        verify_say(verify, VERIFY_DISCARDED, &key, "%" PRIu32 " of %" PRIu32 " deliveries are gone",
                   missing, mail->delivery_count);
    } else if (missing > 0) {
        verify_say(verify, VERIFY_DELIVERY_MISSING, &key,
                   "%" PRIu32 " of %" PRIu32 " are gone; open %" PRIu32 "+%" PRIu32
                   ", the mail says %" PRIu32 "+%" PRIu32,
                   missing, mail->delivery_count, unit->open, unit->hooks_open, mail->open_count,
                   mail->hook_open);
    } else if (!fits || unit->hooks != mail->hook_count ||
               unit->next_index != mail->delivery_count) {
        verify_say(verify, VERIFY_MAIL_COUNT, &key,
                   "deliveries %" PRIu32 ", webhooks %" PRIu32 ", open %" PRIu32 "+%" PRIu32
                   "; the mail says %" PRIu32 ", %" PRIu32 ", %" PRIu32 "+%" PRIu32,
                   unit->next_index, unit->hooks, unit->open, unit->hooks_open,
                   mail->delivery_count, mail->hook_count, mail->open_count, mail->hook_open);
    }
}

static void check_mail(struct verify *verify, const struct unit *unit)
{
    const struct row_mail *mail = &unit->mail;
    struct key key = part_key(unit, 'M');
    struct slice bytes;
    check_counts(verify, unit);
    if (!unit->has_doubt[CHUNK] && (unit->is_body_torn || unit->rows[CHUNK] != mail->chunk_count ||
                                    unit->body_bytes != mail->size_bytes + mail->trace_len)) {
        verify_say(verify, VERIFY_BODY, &key,
                   "%" PRIu32 " chunks with %" PRIu64 " bytes; the mail says %" PRIu32
                   " and %" PRIu64,
                   unit->rows[CHUNK], unit->body_bytes, mail->chunk_count,
                   mail->size_bytes + mail->trace_len);
    }
    if (!unit->has_doubt[ATTACHMENT] && unit->rows[ATTACHMENT] != mail->attachment_count) {
        verify_say(verify, VERIFY_ATTACHMENT, &key, "%" PRIu32 " are there of %" PRIu32,
                   unit->rows[ATTACHMENT], mail->attachment_count);
    }
    if (!id_equal(mail->id, unit->id)) {
        verify_say(verify, VERIFY_ROW_ID, &key, "the mail has another id");
    }
    if (verify->has_floor && id_unix_ms(unit->id) > verify->id_floor_ms) {
        verify_say(verify, VERIFY_ID_FLOOR, &key, "the floor is %" PRIu64, verify->id_floor_ms);
    }
    if (unit->has_stage) {
        key = part_key(unit, 'F');
        verify_say(verify, VERIFY_STAGE_OF_MAIL, &key, "the mail is complete");
    }
    if (!id_is_none(mail->thread)) {
        key = key_thread_mail(unit->account, mail->thread, unit->id);
        if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
            verify_say(verify, VERIFY_PLACE_MISSING, &key, "the mail says that it is there");
        }
    }
}

/* Rows without a mail: chunks of one that is coming in, else nobody can reach them. */
static void check_orphans(struct verify *verify, const struct unit *unit)
{
    static const char tags[PARTS] = {'M', 'V', 'C', 'T', 'L', 'R', 'F', 'E', 's'};
    for (uint32_t i = DELIVERY; i < PARTS; i++) {
        struct key key = part_key(unit, tags[i]);
        if (i == STAGE && unit->has_stage) {
            verify_say(verify, VERIFY_STAGE_OPEN, &key, "%" PRIu32 " chunks", unit->rows[CHUNK]);
        } else if (unit->rows[i] > 0 && !(i == CHUNK && unit->has_stage)) {
            verify_say(verify, VERIFY_MAIL_MISSING, &key, "%" PRIu32 " rows", unit->rows[i]);
        }
    }
}

static const struct cursor *least(const struct verify *verify)
{
    const struct cursor *found = NULL;
    for (size_t i = 0; i < PARTS; i++) {
        const struct cursor *cursor = &verify->cursors[i];
        if (cursor->is_there &&
            (found == NULL || memcmp(cursor->key.data + 1, found->key.data + 1, HEAD_BYTES) < 0)) {
            found = cursor;
        }
    }
    return found;
}

bool verify_mail(struct verify *verify)
{
    const struct cursor *first = least(verify);
    struct unit unit = {.has_mail = false};
    if (first == NULL) {
        return false;
    }
    struct cursor *own = &verify->cursors[MAIL];
    memcpy(unit.head, first->key.data + 1, HEAD_BYTES);
    unit.account = first->parts.account;
    unit.id = first->parts.ids[0];
    verify_owner(verify, first);
    struct key key = part_key(&unit, 'M');
    unit.has_mail = at_unit(own, &unit);
    unit.is_blind = !unit.has_mail && cursor_is_blind(own, &key);
    if (unit.has_mail) {
        unit.is_read = row_mail_decode(own->value, &unit.mail) == ERR_OK;
        if (!unit.is_read) {
            verify_say_here(verify, VERIFY_ROW, own, "mail");
        }
    }
    for (uint32_t i = DELIVERY; i < PARTS; i++) {
        struct cursor *cursor = &verify->cursors[i];
        for (; at_unit(cursor, &unit); cursor_next(verify, cursor)) {
            check_part(verify, &unit, cursor, i);
            unit.rows[i]++;
        }
        key.bytes[0] = cursor->from.bytes[0];
        unit.has_doubt[i] |= cursor_is_blind(cursor, &key);
    }
    if (unit.is_read) {
        check_mail(verify, &unit);
    } else if (!unit.has_mail && !unit.is_blind) {
        check_orphans(verify, &unit);
    }
    if (unit.has_mail) {
        cursor_next(verify, own);
    }
    return true;
}

/* ---- deliveries without an outbox row ------------------------------------------------------- */

/* Sorted by mail, so all of a mail are looked through. */
static void find_losts(struct verify *verify, const struct outbox_ref *ref,
                       const struct row_outbox *row)
{
    uint32_t low = 0;
    uint32_t high = verify->lost_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(verify->losts[mid].mail.bytes, ref->mail.bytes, ID_BYTES) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    for (; low < verify->lost_count && id_equal(verify->losts[low].mail, ref->mail); low++) {
        struct lost *lost = &verify->losts[low];
        if (lost->group == ref->group && lost->index >= row->rcpt_first &&
            lost->index - row->rcpt_first < row->rcpt_count) {
            lost->is_elsewhere = true;
            lost->due_unix_ms = ref->due_unix_ms;
        }
    }
}

static int by_mail(const void *a, const void *b)
{
    const struct lost *one = a;
    const struct lost *other = b;
    return memcmp(one->mail.bytes, other->mail.bytes, ID_BYTES);
}

/* One scan of the outbox for all of them: who is due at another time than the delivery says, and
 * who is not there at all. */
void verify_mail_end(struct verify *verify)
{
    struct key from = key_prefix_outbox();
    struct key to = key_after(&from);
    const struct kv_scan scan = {.snapshot = verify->snapshot,
                                 .family = verify->family,
                                 .from = key_slice(&from),
                                 .to = key_slice(&to),
                                 .is_quiet = true};
    struct slice key;
    struct slice value;
    if (verify->lost_count == 0) {
        return;
    }
    qsort(verify->losts, verify->lost_count, sizeof(*verify->losts), by_mail);
    struct kv_iter *iter = kv_scan_open(verify->kv, &scan);
    while (kv_iter_next(iter, &key, &value)) {
        struct outbox_ref ref;
        struct row_outbox row;
        if (key_read_outbox(key, &ref) == ERR_OK && row_outbox_decode(value, &row) == ERR_OK) {
            find_losts(verify, &ref, &row);
        }
    }
    kv_iter_close(iter);
    for (uint32_t i = 0; i < verify->lost_count; i++) {
        const struct lost *lost = &verify->losts[i];
        struct key at = key_delivery(lost->account, lost->mail, lost->index);
        if (lost->is_elsewhere) {
            struct verify_finding finding = {.kind = VERIFY_OUTBOX_DUE, .key = at};
            finding.other = key_outbox(lost->due_unix_ms, lost->account, lost->mail, lost->group);
            (void)snprintf(finding.detail, sizeof(finding.detail), "its row is due %" PRIu64,
                           lost->due_unix_ms); /* fits */
            verify_say_finding(verify, &finding);
        } else {
            verify_say(verify, VERIFY_OUTBOX_MISSING, &at, "group %" PRIu32, lost->group);
        }
    }
    verify->lost_count = 0;
}

/* ---- the outbox ----------------------------------------------------------------------------- */

/* Whether the delivery is what the row is there for. */
static bool is_due_by(struct verify *verify, const struct cursor *cursor, uint32_t index,
                      bool *is_gone)
{
    const struct key_parts *at = &cursor->parts;
    struct row_delivery delivery;
    struct slice bytes;
    struct key key = key_delivery(at->account, at->ids[0], index);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    *is_gone = found == ABSENT;
    if (found != FOUND || row_delivery_decode(bytes, &delivery) != ERR_OK) {
        return found != ABSENT; /* said where the deliveries are read */
    }
    if (!fact_is_open(delivery.status) || delivery.group != at->numbers[0]) {
        return false;
    }
    if (delivery.next_attempt_unix_ms != at->due_unix_ms) {
        key = key_outbox(delivery.next_attempt_unix_ms, at->account, at->ids[0], at->numbers[0]);
        if (verify_get(verify, verify->family, &key, &bytes) == FOUND) {
            verify_say_here(verify, VERIFY_OUTBOX_TWICE, cursor, "the other one is due %" PRIu64,
                            delivery.next_attempt_unix_ms);
        }
    }
    return true;
}

bool verify_outbox(struct verify *verify)
{
    struct cursor *cursor = &verify->cursors[0];
    const struct key_parts *at = &cursor->parts;
    struct row_outbox row;
    struct slice bytes;
    if (!cursor->is_there) {
        return false;
    }
    verify_owner(verify, cursor);
    struct key key = key_mail(at->account, at->ids[0]);
    if (row_outbox_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "outbox");
    } else if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
        verify_say_here(verify, VERIFY_OUTBOX_DANGLING, cursor, "its mail is not there");
    } else if (row.rcpt_count == 0 || row.rcpt_count > GROUP_RCPTS) {
        verify_say_here(verify, VERIFY_OUTBOX_DANGLING, cursor, "%" PRIu32 " recipients",
                        row.rcpt_count);
    } else {
        uint32_t due = 0;
        uint32_t gone = 0;
        for (uint32_t i = 0; i < row.rcpt_count; i++) {
            bool is_gone = false;
            due += is_due_by(verify, cursor, row.rcpt_first + i, &is_gone);
            gone += is_gone;
        }
        if (gone > 0) {
            verify_say_here(verify, VERIFY_OUTBOX_DANGLING, cursor,
                            "%" PRIu32 " of its %" PRIu32 " deliveries are not there", gone,
                            row.rcpt_count);
        } else if (due == 0) {
            verify_say_here(verify, VERIFY_OUTBOX_IDLE, cursor, "%" PRIu32 " deliveries",
                            row.rcpt_count);
        }
    }
    cursor_next(verify, cursor);
    return true;
}
