/* test_received.c - the bytes of a received mail, out of its chunks; and the mail as it is shown.
 *
 * Not covered here: how the chunks come to be (test_intake), the JSON (tests/unit/edge).
 */
#include "shards/received.h"
#include "unit/shards/receive_rig.h"

#define TIMEOUT 60

static struct received_at at_of(struct receiver *to, struct id mail, uint32_t chunks)
{
    return (struct received_at){
        .kv = to->rig->kv,
        .family = place_shard_index(RIG_SHARDS, to->account),
        .mail = mail,
        .chunk_count = chunks,
    };
}

static void set_chunk(struct receiver *to, struct id mail, uint32_t index, struct slice data)
{
    struct row_chunk row = {.data = data};
    rig_set_chunk(to->rig, to->account, key_chunk(to->account, mail, index), &row);
}

Test(received, joins_the_chunks_behind_the_first, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    struct slice raw;
    arena_init(&arena, 4 * KIB, 4 * MIB);
    char *full = arena_bytes(&arena, CHUNK_BYTES);
    memset(full, 'y', CHUNK_BYTES);
    struct id id = shard_id(rig_state(to.rig, to.account), to.account);
    set_chunk(&to, id, 0, SLICE("trace"));
    set_chunk(&to, id, 1, slice_of(full, CHUNK_BYTES));
    set_chunk(&to, id, 2, SLICE("end"));
    struct received_at at = at_of(&to, id, 3);
    cr_assert_eq(received_load(&at, &arena, &raw), ERR_OK);
    cr_expect_eq(raw.len, CHUNK_BYTES + 3);
    cr_expect(slice_ends(raw, SLICE("yend")));
    at = at_of(&to, id, 1);
    cr_assert_eq(received_load(&at, &arena, &raw), ERR_OK);
    cr_expect_eq(raw.len, 0);
    arena_fini(&arena);
    receiver_close(&to);
}

Test(received, tells_what_is_damaged, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    struct slice raw;
    arena_init(&arena, 4 * KIB, 4 * MIB);
    struct id id = shard_id(rig_state(to.rig, to.account), to.account);
    set_chunk(&to, id, 1, SLICE("short"));
    set_chunk(&to, id, 2, SLICE("end"));
    struct received_at at = at_of(&to, id, 3);
    cr_expect_eq(received_load(&at, &arena, &raw), ERR_CORRUPT, "short, and not the last");
    at = at_of(&to, id, 4);
    cr_expect_eq(received_load(&at, &arena, &raw), ERR_CORRUPT);
    at = at_of(&to, id, 1000);
    cr_expect_eq(received_load(&at, &arena, &raw), ERR_TOO_LARGE);
    arena_fini(&arena);
    receiver_close(&to);
}

static struct msg *read_mail(struct receiver *to, struct id mail, enum err want)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_READ);
    msg->body.read.caller = rig_key_caller(to->account, RIGHT_MAIL_READ);
    msg->body.read.id = mail;
    cr_assert_eq(receive_call(to, msg), want);
    return msg;
}

Test(received, is_shown_with_decoded_texts_and_its_header, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct id id = receive(&to, "a@example.com",
                           "From: Ann <ann@example.net>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
                           "Content-Type: multipart/mixed; boundary=x\r\n\r\n"
                           "--x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
                           "Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n"
                           "--x\r\nContent-Type: text/html\r\n\r\n<b>hi</b>\r\n"
                           "--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\npdf\r\n"
                           "--x--\r\n");
    struct msg *msg = read_mail(&to, id, ERR_OK);
    const struct shard_read *read = &msg->body.read;
    cr_expect(slice_starts(read->text, SLICE("Gr\xc3\xbc\xc3\x9f"
                                             "e")));
    cr_expect(slice_starts(read->html, SLICE("<b>hi</b>")));
    cr_expect(slice_equal(read->mail.subject, SLICE("Gr\xc3\xbc\xc3\x9f"
                                                    "e")));
    cr_expect(slice_starts(read->header_block, SLICE("From: Ann")));
    cr_expect(slice_ends(read->header_block, SLICE("\r\n\r\n")));
    cr_expect_eq(read->attachment_count, 1);
    cr_expect_eq(read->event_count, 1);
    rig_put(to.rig, msg);
    msg = read_mail(&to, shard_id(rig_state(to.rig, to.account), to.account), ERR_NOT_FOUND);
    rig_put(to.rig, msg);
    receiver_close(&to);
}

Test(received, is_raw_behind_our_trace_byte_for_byte, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct slice mail = SLICE("Subject: raw\n\nbare \x00 and \xff\r\n");
    struct msg *msg = receive_msg(&to, "a@example.com", mail);
    struct buf all;
    uint32_t count = 1;
    buf_init(&all, MIB);
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    struct id id = msg->body.inbound.id;
    rig_put(to.rig, msg);
    for (uint32_t i = 0; i < count; i++) {
        msg = rig_take(to.rig, MSG_SHARD_RAW);
        msg->body.raw.caller = rig_key_caller(to.account, RIGHT_MAIL_READ);
        msg->body.raw.id = id;
        msg->body.raw.chunk = i;
        cr_assert_eq(receive_call(&to, msg), ERR_OK);
        count = msg->body.raw.chunk_count;
        cr_expect_eq(msg->body.raw.size_bytes, strlen(RECEIVE_TRACE) + mail.len);
        buf_add(&all, msg->body.raw.data);
        rig_put(to.rig, msg);
    }
    cr_expect(slice_starts(buf_slice(&all), SLICE(RECEIVE_TRACE)));
    cr_expect(slice_equal(slice_from(buf_slice(&all), strlen(RECEIVE_TRACE)), mail));
    buf_fini(&all);
    receiver_close(&to);
}

static uint32_t count_listed(struct receiver *to, enum direction direction, const char *search,
                             bool has_status)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_LIST);
    struct shard_list *list = &msg->body.list;
    list->caller = rig_key_caller(to->account, RIGHT_MAIL_READ);
    list->before_unix_ms = UINT64_MAX;
    list->has_direction = true;
    list->direction = direction;
    list->search = slice_str(search);
    list->has_status = has_status;
    list->status = MAIL_DELIVERED;
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    uint32_t count = list->row_count;
    rig_put(to->rig, msg);
    return count;
}

Test(received, is_listed_by_direction_and_found_by_its_recipient, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    (void)receive(&to, "hidden@example.com", RECEIVE_MAIL);
    (void)rig_send(to.rig, to.account, "a@example.com", "b@example.net");
    cr_expect_eq(count_listed(&to, DIRECTION_INBOUND, "", false), 1);
    cr_expect_eq(count_listed(&to, DIRECTION_OUTBOUND, "", false), 1);
    cr_expect_eq(count_listed(&to, DIRECTION_INBOUND, "HIDDEN@", false), 1);
    cr_expect_eq(count_listed(&to, DIRECTION_INBOUND, "hello", false), 1);
    cr_expect_eq(count_listed(&to, DIRECTION_INBOUND, "nobody", false), 0);
    cr_expect_eq(count_listed(&to, DIRECTION_INBOUND, "", true), 0, "it was never sent");
    receiver_close(&to);
}
