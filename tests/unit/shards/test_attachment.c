/* test_attachment.c - the data of attachments, as links ask for it, until it expires.
 *
 * Not covered here: the links (tests/unit/mail/test_attachment_link), ranges and headers
 * (tests/flow/test_attachment).
 */
#include "unit/shards/receive_rig.h"

#include <dirent.h>

#define TIMEOUT       60
#define EIGHT_DAYS_MS (UINT64_C(8) * 24 * 3600 * 1000)
#define MARK          "attachment-that-must-be-gone"
#define MARKED_LEN    3000

static const char two_files[] =
    "Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    "--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nfirst\r\n"
    "--x\r\nContent-Type: image/png; name=b.png\r\n\r\nsecond\r\n"
    "--x\r\nContent-Type: image/gif; name=c.gif\r\n\r\nfirst\r\n--x--\r\n";

static struct msg *fetch(struct receiver *to, struct id mail, uint32_t index, uint32_t chunk)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_ATTACHMENT);
    msg->body.attachment.mail = mail;
    msg->body.attachment.index = index;
    msg->body.attachment.chunk = chunk;
    (void)receive_call(to, msg);
    return msg;
}

static void expect_data(struct receiver *to, struct id mail, uint32_t index, struct slice want)
{
    struct msg *msg = fetch(to, mail, index, 0);
    struct slice data = msg->body.attachment.data;
    cr_expect_eq(msg->err, ERR_OK);
    cr_expect(slice_equal(data, want), "%u: %.*s", index, SLICE_FMT(data));
    rig_put(to->rig, msg);
}

static void expect_err(struct receiver *to, struct id mail, uint32_t index, enum err want)
{
    struct msg *msg = fetch(to, mail, index, 0);
    cr_expect_eq(msg->err, want, "%s", err_info(msg->err)->name);
    rig_put(to->rig, msg);
}

Test(attachment, has_its_own_data_or_that_of_its_equal, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct id id = receive(&to, "a@example.com", two_files);
    expect_data(&to, id, 0, SLICE("first"));
    expect_data(&to, id, 1, SLICE("second"));
    expect_data(&to, id, 2, SLICE("first"));
    struct msg *msg = fetch(&to, id, 1, UINT32_MAX);
    cr_expect_eq(msg->err, ERR_OK, "the row alone");
    cr_expect_eq(msg->body.attachment.row.size_bytes, 6);
    cr_expect(slice_equal(msg->body.attachment.row.filename, SLICE("b.png")));
    cr_expect_eq(msg->body.attachment.data.len, 0);
    rig_put(to.rig, msg);
    expect_err(&to, id, 3, ERR_NOT_FOUND);
    expect_err(&to, shard_id(rig_state(to.rig, to.account), to.account), 0, ERR_NOT_FOUND);
    receiver_close(&to);
}

Test(attachment, of_a_sent_mail_has_its_own, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct msg *msg = rig_mail(to.rig, to.account, "a@example.com", "b@example.net");
    struct shard_send *send = &msg->body.send;
    send->attachments = arena_array(&msg->arena, 2, sizeof(*send->attachments));
    send->attachment_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        send->attachments[i] = (struct mime_attachment){
            .filename = SLICE("f.bin"),
            .content_type = SLICE("application/octet-stream"),
            .data = i == 0 ? SLICE("one") : SLICE("two"),
        };
    }
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    struct id id = send->id;
    rig_put(to.rig, msg);
    expect_data(&to, id, 0, SLICE("one"));
    expect_data(&to, id, 1, SLICE("two"));
    /* As rows of before there was a digest say it. */
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct key key = key_attachment(to.account, id, 1);
    struct row_attachment row = rig_get_attachment(to.rig, to.account, key, &arena);
    row.data_index = 0;
    rig_set_attachment(to.rig, to.account, key, &row);
    expect_data(&to, id, 1, SLICE("two"));
    arena_fini(&arena);
    receiver_close(&to);
}

Test(attachment, is_not_handed_out_by_a_suspended_account, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id id = receive(&to, "a@example.com", two_files);
    struct row_account row = rig_get_account(to.rig, to.account, key_account(to.account), &arena);
    row.is_suspended = true;
    rig_set_account(to.rig, to.account, key_account(to.account), &row);
    expect_err(&to, id, 0, ERR_SUSPENDED);
    arena_fini(&arena);
    receiver_close(&to);
}

/* Whether any file of the store has the bytes. */
static bool store_has(struct rig *rig, struct slice needle)
{
    bool is_found = false;
    DIR *folder = opendir(rig->path);
    cr_assert_not_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", rig->path, entry->d_name);
        FILE *file = fopen(path, "rb");
        if (file == NULL || entry->d_name[0] == '.') {
            if (file != NULL) {
                fclose(file);
            }
            continue;
        }
        struct buf bytes;
        buf_init(&bytes, 256 * MIB);
        char *room;
        size_t len;
        while ((room = buf_room(&bytes, 64 * KIB)) != NULL &&
               (len = fread(room, 1, 64 * KIB, file)) > 0) {
            buf_grew(&bytes, len);
        }
        is_found = is_found || slice_find(buf_slice(&bytes), needle) != SIZE_MAX;
        buf_fini(&bytes);
        fclose(file);
    }
    closedir(folder);
    return is_found;
}

/* A PDF of MARK and noise, large enough to lie in a blob file; encoded in the mail, so that its
 * plain bytes are those of the attachment alone. */
static const char *marked_mail(struct arena *arena)
{
    char *plain = arena_bytes(arena, MARKED_LEN);
    uint32_t noise = 1;
    for (size_t i = 0; i < MARKED_LEN; i++) {
        noise = noise * 1664525 + 1013904223;
        plain[i] = (char)(noise >> 24);
    }
    memcpy(plain, MARK, sizeof(MARK) - 1);
    return arena_cstr(arena,
                      arena_format(arena,
                                   "Content-Type: application/pdf; name=a.pdf\r\n"
                                   "Content-Transfer-Encoding: base64\r\n\r\n%.*s\r\n",
                                   SLICE_FMT(base64_arena(arena, slice_of(plain, MARKED_LEN)))));
}

static void expire(struct receiver *to)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_EXPIRE);
    msg->body.expire.day = clock_day_of(clock_unix_ms()) - 1;
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    rig_put(to->rig, msg);
    cr_assert_eq(kv_flush(to->rig->kv), ERR_OK);
    kv_compact(to->rig->kv, place_shard_index(RIG_SHARDS, to->account));
}

Test(attachment, is_gone_from_the_disk_after_its_days, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    const char *mail = marked_mail(&arena);
    struct slice control = slice_head(base64_arena(&arena, SLICE(MARK)), 24);
    struct id id = receive(&to, "a@example.com", mail);
    struct msg *msg = fetch(&to, id, 0, 0);
    cr_expect(slice_starts(msg->body.attachment.data, SLICE(MARK)));
    rig_put(to.rig, msg);
    cr_assert_eq(kv_flush(to.rig->kv), ERR_OK);
    cr_expect(store_has(to.rig, SLICE(MARK)));
    clock_set_offset(EIGHT_DAYS_MS);
    expect_err(&to, id, 0, ERR_EXPIRED);
    expire(&to);
    clock_set_offset(0);
    expect_err(&to, id, 0, ERR_EXPIRED);
    cr_expect_not(store_has(to.rig, SLICE(MARK)));
    cr_expect(store_has(to.rig, control), "the mail itself stays");
    arena_fini(&arena);
    receiver_close(&to);
}
