/* Rows of an account's file, as shards write them and as somebody would who means harm.
 *
 * Not covered here: the job that asks (unit/shards/test_import), two servers (flow/test_move).
 */
#include <criterion/criterion.h>

#include "base/crypto.h"
#include "kv/account_check.h"
#include "kv/account_rows.h"
#include "unit/kv/small_store.h"

TestSuite(account_check, .timeout = 60);

Test(account_check, lets_every_row_in_that_a_shard_has_written)
{
    struct small small;
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    enum account_rows_next next;
    crypto_init();
    small_make(&small);
    struct account_rows *rows = account_rows_new(small.kv, small.account);
    while ((next = account_rows_next(rows, &key, &value)) != ACCOUNT_ROWS_END) {
        cr_assert_neq(next, ACCOUNT_ROWS_FAILED);
        if (next == ACCOUNT_ROW) {
            cr_expect_eq(account_check_row(key, value), ERR_OK, "tag %c", key.data[0]);
            count++;
        }
    }
    cr_expect_gt(count, 30);
    account_rows_free(rows);
    small_end(&small);
}

#define ROW(name, NAME, version, fields)                                                           \
    static enum err UNUSED enter_##name(struct key key, const struct row_##name *row)              \
    {                                                                                              \
        struct buf bytes;                                                                          \
        buf_init(&bytes, 8 * MIB);                                                                 \
        row_##name##_encode(row, &bytes);                                                          \
        enum err err = account_check_row(key_slice(&key), buf_slice(&bytes));                      \
        buf_fini(&bytes);                                                                          \
        return err;                                                                                \
    }
ROW_TABLE(ROW)
#undef ROW

static struct row_mail good_mail(struct id id)
{
    return (struct row_mail){.id = id, .size_bytes = 1000, .header_len = 100, .chunk_count = 1};
}

Test(account_check, refuses_mails_whose_numbers_are_not_to_be_believed)
{
    struct small small = {.account = {.value = 77}};
    struct id id = small_id(&small, 1);
    struct key key = key_mail(small.account, id);
    struct row_mail rows[10];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rows[i] = good_mail(id);
    }
    cr_assert_eq(enter_mail(key, &rows[0]), ERR_OK);
    rows[0].header_len = UINT64_C(1) << 40;
    rows[1].header_len = 1001;
    rows[2].size_bytes = UINT64_MAX;
    rows[3].chunk_count = UINT32_MAX;
    rows[4].delivery_count = UINT32_MAX;
    rows[5].text_offset = UINT64_MAX;
    rows[5].text_len = 2;
    rows[6].html_len = 2000;
    rows[7].trace_len = UINT32_MAX;
    rows[8].status = 200;
    rows[9].attachment_count = UINT32_MAX;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cr_expect_eq(enter_mail(key, &rows[i]), ERR_INVALID, "%zu", i);
    }
}

Test(account_check, refuses_ids_that_lead_to_somebody_else)
{
    struct small small = {.account = {.value = 77}};
    struct small other = {.account = {.value = 78}};
    struct id own = small_id(&small, 1);
    struct id theirs = small_id(&other, 1);
    struct row_mail mail = good_mail(theirs);
    cr_expect_eq(enter_mail(key_mail(small.account, own), &mail), ERR_INVALID);
    mail = good_mail(small_id(&small, 2));
    cr_expect_eq(enter_mail(key_mail(small.account, own), &mail), ERR_INVALID);
    mail = good_mail(own);
    mail.domain = theirs;
    cr_expect_eq(enter_mail(key_mail(small.account, own), &mail), ERR_INVALID);
    struct row_user user = {.id = theirs, .email = SLICE("a@b.test")};
    cr_expect_eq(enter_user(key_user(small.account, own), &user), ERR_INVALID);
    struct row_account account = {.id = other.account};
    cr_expect_eq(enter_account(key_account(small.account), &account), ERR_INVALID);
    struct row_chunk chunk = {.data = SLICE("x")};
    cr_expect_eq(enter_chunk(key_chunk(small.account, theirs, 0), &chunk), ERR_INVALID);
    struct row_audit audit = {.id = own, .actor = theirs};
    cr_expect_eq(enter_audit(key_audit(small.account, own), &audit), ERR_OK,
                 "an administrator may have done it");
}

Test(account_check, refuses_rows_that_are_larger_than_any_of_ours)
{
    struct small small = {.account = {.value = 77}};
    struct id id = small_id(&small, 1);
    char *bytes = mem_zalloc(2 * MIB);
    struct row_chunk chunk = {.data = slice_of(bytes, CHUNK_BYTES)};
    cr_expect_eq(enter_chunk(key_chunk(small.account, id, 0), &chunk), ERR_OK);
    chunk.data.len = MIB;
    cr_expect_eq(enter_chunk(key_chunk(small.account, id, 0), &chunk), ERR_INVALID);
    struct row_account account = {.id = small.account, .name = slice_of(bytes, MIB)};
    cr_expect_eq(enter_account(key_account(small.account), &account), ERR_INVALID);
    struct row_mail mail = good_mail(id);
    mail.headers = slice_of(bytes, MIB);
    cr_expect_eq(enter_mail(key_mail(small.account, id), &mail), ERR_OK);
    mail.headers.len = 2 * MIB - 200;
    cr_expect_eq(enter_mail(key_mail(small.account, id), &mail), ERR_INVALID);
    struct row_outbox outbox = {.domain = slice_of(bytes, 1000), .rcpt_count = 1};
    cr_expect_eq(enter_outbox(key_outbox(1, small.account, id, 0), &outbox), ERR_INVALID);
    outbox = (struct row_outbox){.domain = SLICE("a.test"), .rcpt_count = 101};
    cr_expect_eq(enter_outbox(key_outbox(1, small.account, id, 0), &outbox), ERR_INVALID);
    outbox.rcpt_count = 100;
    cr_expect_eq(enter_outbox(key_outbox(1, small.account, id, 0), &outbox), ERR_OK);
    free(bytes);
}
