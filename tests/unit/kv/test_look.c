/* Not covered here: what a daemon adds, and how it is shown (tests/flow/test_look.c); keys as text
 * (test_key_text.c), rows as text (test_row.c). */
#include <criterion/criterion.h>

#include "base/json.h"
#include "kv/key.h"
#include "kv/look.h"
#include "kv/row.h"
#include "unit/kv/temp_store.h"

#define SHARDS  2
#define NOW     UINT64_C(1795243131123)
#define MAILS   30
#define ACCOUNT ((struct account_id){.value = 0x0123456789abcdefu})

struct rig {
    char path[TEMP_PATH_MAX];
    struct kv *kv;
    struct kv_batch *batch;
    struct buf row;
    struct buf out;
    struct json_writer w;
};

static void rig_init(struct rig *rig)
{
    temp_folder_make(rig->path);
    rig->kv = temp_open(rig->path, SHARDS);
    rig->batch = kv_batch_new(look_shard_of(rig->kv, ACCOUNT));
    buf_init(&rig->row, MIB);
    buf_init(&rig->out, 16 * MIB);
}

static void rig_fini(struct rig *rig)
{
    kv_batch_free(rig->batch);
    kv_close(rig->kv);
    buf_fini(&rig->row);
    buf_fini(&rig->out);
    temp_folder_drop(rig->path);
}

static void put(struct rig *rig, struct key key)
{
    kv_batch_put(rig->batch, key_slice(&key), buf_slice(&rig->row));
    buf_clear(&rig->row);
}

static void write_all(struct rig *rig)
{
    const enum err err = kv_write(rig->kv, rig->batch);
    cr_assert_eq(err, ERR_OK);
    kv_batch_clear(rig->batch);
}

static struct id id_at(uint32_t number)
{
    struct id_maker maker;
    id_maker_init(&maker, NOW + number);
    return id_make(&maker, ACCOUNT, NOW + number);
}

static void put_mail(struct rig *rig, struct id id)
{
    row_mail_encode(&(struct row_mail){.id = id, .subject = SLICE("Look"), .chunk_count = 1},
                    &rig->row);
    put(rig, key_mail(ACCOUNT, id));
}

static void open_object(struct rig *rig)
{
    buf_clear(&rig->out);
    json_start(&rig->w, &rig->out);
    json_open_object(&rig->w);
}

static uint32_t count_of(const struct rig *rig, const char *text)
{
    struct slice rest = buf_slice(&rig->out);
    uint32_t count = 0;
    for (size_t at = slice_find(rest, slice_str(text)); at != SIZE_MAX;
         at = slice_find(rest, slice_str(text))) {
        rest = slice_from(rest, at + 1);
        count++;
    }
    return count;
}

static struct look_rows look(struct rig *rig, const char *prefix, const char *after, uint32_t limit)
{
    struct look_rows rows = {
        .family = look_shard_of(rig->kv, ACCOUNT),
        .prefix = slice_str(prefix),
        .after = slice_str(after),
        .limit = limit,
    };
    open_object(rig);
    const enum err err = look_rows(rig->kv, &rows, &rig->w);
    cr_assert_eq(err, ERR_OK, "%s: %s", prefix, rows.why);
    json_close_object(&rig->w);
    return rows;
}

/* The text of "next", or empty. */
static const char *next_of(const struct rig *rig, char out[512])
{
    struct slice rest = buf_slice(&rig->out);
    const size_t at = slice_find(rest, SLICE("\"next\":\""));
    out[0] = '\0';
    if (at != SIZE_MAX) {
        rest = slice_from(rest, at + 8);
        const struct slice next = slice_cut(&rest, '"');
        memcpy(out, next.data, next.len);
        out[next.len] = '\0';
    }
    return out;
}

Test(look, goes_page_after_page_and_leaves_nothing_out)
{
    struct rig rig;
    char after[512] = "";
    uint32_t seen = 0;
    rig_init(&rig);
    for (uint32_t i = 0; i < MAILS; i++) {
        put_mail(&rig, id_at(i));
    }
    row_usage_encode(&(struct row_usage){.mails = 1}, &rig.row);
    put(&rig, key_usage(ACCOUNT, 20000));
    write_all(&rig);
    do {
        const struct look_rows rows = look(&rig, "mail", after, 7);
        seen += rows.count;
        cr_expect_eq(count_of(&rig, "\"key\":\"mail acc_"), rows.count);
    } while (next_of(&rig, after)[0] != '\0');
    cr_expect_eq(seen, MAILS);
    cr_expect_eq(look(&rig, "", "", 0).count, LOOK_ROWS_DEFAULT);
    cr_expect_eq(look(&rig, "", "", UINT32_MAX).count, MAILS + 1);
    cr_expect_eq(look(&rig, "usage", "account acc_00000000001", 5).count, 1, "after is before");
    rig_fini(&rig);
}

Test(look, ends_a_page_that_is_too_long_in_bytes)
{
    static char text[1000];
    struct rig rig;
    char next[512];
    rig_init(&rig);
    memset(text, 'x', sizeof text);
    for (uint32_t i = 0; i < LOOK_ROWS_MAX; i++) {
        row_template_encode(&(struct row_template){.subject = slice_of(text, sizeof text),
                                                   .text = slice_of(text, sizeof text)},
                            &rig.row);
        put(&rig, key_template(ACCOUNT, id_at(i)));
    }
    write_all(&rig);
    const struct look_rows rows = look(&rig, "", "", LOOK_ROWS_MAX);
    cr_expect_lt(rows.count, LOOK_ROWS_MAX);
    cr_expect_lt(rig.out.len, LOOK_BYTES_MAX + 8192);
    cr_expect_neq(next_of(&rig, next)[0], '\0');
    rig_fini(&rig);
}

Test(look, shows_damaged_rows_and_strange_keys_and_counts_them)
{
    struct rig rig;
    rig_init(&rig);
    put_mail(&rig, id_at(0));
    buf_add_str(&rig.row, "nonsense");
    put(&rig, key_mail(ACCOUNT, id_at(1)));
    kv_batch_put(rig.batch, SLICE("?\x01"), SLICE("strange"));
    kv_batch_put(rig.batch, SLICE("Mshort"), SLICE(""));
    write_all(&rig);
    const struct look_rows rows = look(&rig, "", "", 0);
    cr_expect_eq(rows.count, 4);
    cr_expect_eq(rows.damaged, 3);
    cr_expect_eq(count_of(&rig, "\"isDamaged\":true"), 3);
    cr_expect_eq(count_of(&rig, "\"key\":\"!3f01\""), 1);
    cr_expect_eq(count_of(&rig, "\"key\":\"mail !73686f7274\""), 1);
    cr_expect_eq(count_of(&rig, "\"damaged\":3"), 1);
    rig_fini(&rig);
}

Test(look, says_which_of_prefix_and_after_is_wrong)
{
    struct rig rig;
    rig_init(&rig);
    struct look_rows rows = {.prefix = SLICE("mail"), .after = SLICE("letter")};
    open_object(&rig);
    cr_expect_eq(look_rows(rig.kv, &rows, &rig.w), ERR_INVALID);
    cr_expect(rows.is_after_wrong);
    cr_expect(slice_equal(rows.word, SLICE("letter")));
    rows = (struct look_rows){.prefix = SLICE("letter"), .after = SLICE("mail")};
    cr_expect_eq(look_rows(rig.kv, &rows, &rig.w), ERR_INVALID);
    cr_expect_not(rows.is_after_wrong);
    rig_fini(&rig);
}

static void put_life(struct rig *rig, struct id id)
{
    put_mail(rig, id);
    row_delivery_encode(
        &(struct row_delivery){
            .recipient = SLICE("u@x.org"), .status = 3, .attempts = 2, .next_attempt_unix_ms = NOW},
        &rig->row);
    put(rig, key_delivery(ACCOUNT, id, 0));
    row_outbox_encode(&(struct row_outbox){.domain = SLICE("x.org")}, &rig->row);
    put(rig, key_outbox(NOW, ACCOUNT, id, 0));
    for (uint32_t i = 1; i <= 2; i++) {
        row_attempt_encode(&(struct row_attempt){.response = SLICE("later")}, &rig->row);
        put(rig, key_attempt(ACCOUNT, id, 0, i));
        row_transcript_encode(&(struct row_transcript){.text = SLICE("> QUIT")}, &rig->row);
        put(rig, key_transcript(ACCOUNT, id, 0, i));
    }
    row_event_encode(&(struct row_event){.type = SLICE("email.sent")}, &rig->row);
    put(rig, key_event(ACCOUNT, id, id_at(900)));
    row_attachment_encode(&(struct row_attachment){.filename = SLICE("f.txt")}, &rig->row);
    put(rig, key_attachment(ACCOUNT, id, 0));
    row_chunk_encode(&(struct row_chunk){.data = SLICE("12345")}, &rig->row);
    put(rig, key_chunk(ACCOUNT, id, 0));
}

Test(look, tells_the_whole_life_of_a_mail_and_nothing_of_its_neighbours)
{
    struct rig rig;
    rig_init(&rig);
    put_life(&rig, id_at(1));
    put_life(&rig, id_at(2));
    put_life(&rig, id_at(3));
    write_all(&rig);
    struct look_mail mail = {.id = id_at(2), .has_transcripts = true};
    open_object(&rig);
    cr_assert_eq(look_mail(rig.kv, &mail, &rig.w), ERR_OK);
    json_close_object(&rig.w);
    cr_expect_eq(mail.damaged, 0);
    cr_expect_eq(count_of(&rig, "\"subject\":\"Look\""), 1);
    cr_expect_eq(count_of(&rig, "\"recipient\":\"u@x.org\""), 1);
    cr_expect_eq(count_of(&rig, "\"response\":\"later\""), 2);
    cr_expect_eq(count_of(&rig, "\"text\":\"> QUIT\""), 2);
    cr_expect_eq(count_of(&rig, "\"domain\":\"x.org\""), 1);
    cr_expect_eq(count_of(&rig, "email.sent"), 1);
    cr_expect_eq(count_of(&rig, "f.txt"), 1);
    cr_expect_eq(count_of(&rig, "\"chunkBytes\":5"), 1);
    cr_expect_eq(count_of(&rig, "\"isCut\":false"), 1);
    mail = (struct look_mail){.id = id_at(2)};
    open_object(&rig);
    cr_assert_eq(look_mail(rig.kv, &mail, &rig.w), ERR_OK);
    cr_expect_eq(count_of(&rig, "QUIT"), 0);
    mail = (struct look_mail){.id = id_at(77)};
    open_object(&rig);
    cr_expect_eq(look_mail(rig.kv, &mail, &rig.w), ERR_NOT_FOUND);
    rig_fini(&rig);
}

Test(look, cuts_a_life_that_is_too_long)
{
    struct rig rig;
    rig_init(&rig);
    put_mail(&rig, id_at(1));
    for (uint32_t i = 0; i < LOOK_MAIL_ROWS + 10; i++) {
        row_event_encode(&(struct row_event){.type = SLICE("email.opened")}, &rig.row);
        put(&rig, key_event(ACCOUNT, id_at(1), id_at(i)));
    }
    write_all(&rig);
    struct look_mail mail = {.id = id_at(1)};
    open_object(&rig);
    cr_assert_eq(look_mail(rig.kv, &mail, &rig.w), ERR_OK);
    cr_expect_eq(count_of(&rig, "email.opened"), LOOK_MAIL_ROWS);
    cr_expect_eq(count_of(&rig, "\"isCut\":true"), 1);
    rig_fini(&rig);
}

Test(look, counts_accounts_outbox_and_families_of_a_shard)
{
    struct rig rig;
    rig_init(&rig);
    row_account_encode(&(struct row_account){.id = ACCOUNT}, &rig.row);
    put(&rig, key_account(ACCOUNT));
    put_life(&rig, id_at(1));
    write_all(&rig);
    const uint32_t family = look_shard_of(rig.kv, ACCOUNT);
    open_object(&rig);
    look_shard(rig.kv, family, &rig.w);
    look_families(rig.kv, family, &rig.w);
    look_store(rig.kv, &rig.w);
    json_close_object(&rig.w);
    cr_expect_eq(count_of(&rig, "\"accounts\":{\"count\":1,\"isExact\":true}"), 1, "%.*s",
                 SLICE_FMT(buf_slice(&rig.out)));
    cr_expect_eq(count_of(&rig, "\"outbox\":{\"count\":1,\"isExact\":true,\"oldestDueAt\":"
                                "\"2026-11-21T06:38:51.123Z\"}"),
                 1);
    cr_expect_eq(count_of(&rig, "\"family\":\"attempt\",\"tag\":\"L\",\"count\":2,"), 1);
    cr_expect_eq(count_of(&rig, "\"logBytes\":"), 1);
    open_object(&rig);
    look_shard(rig.kv, KV_FAMILY_DELIVER, &rig.w);
    cr_expect_eq(count_of(&rig, "\"name\":\"deliver\",\"accounts\":null,\"outbox\":null"), 1);
    rig_fini(&rig);
}
