/* Not covered here: base62 itself (test_crypto). */
#include "base/id.h"

#include "base/crypto.h"

#include <criterion/criterion.h>

#include <ctype.h>
#include <string.h>

static const struct account_id account = {.value = UINT64_C(0x0123456789abcdef)};

static void init(void)
{
    crypto_init();
}

TestSuite(id, .init = init);

Test(id, carries_its_time_and_account)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    struct id id = id_make(&maker, account, UINT64_C(1795243131123));
    cr_assert_eq(id_unix_ms(id), UINT64_C(1795243131123));
    cr_assert_eq(id_account(id).value, account.value);
    cr_assert(!id_is_none(id));
    cr_assert(id_is_none((struct id){.bytes = {0}}));
}

Test(id, sorts_by_age_as_bytes_and_as_text)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    struct id last = id_make(&maker, account, 1000);
    char last_text[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, last, last_text); /* the length is tested below */
    uint64_t now_ms = 1000;
    for (int i = 0; i < 2000; i++) {
        now_ms += i % 3 == 0 ? (uint64_t)i * 1000 : 0;
        struct id id = id_make(&maker, account, now_ms);
        char text[ID_TEXT_MAX];
        (void)id_text(ID_MESSAGE, id, text);
        cr_assert(memcmp(last.bytes, id.bytes, sizeof(id.bytes)) < 0);
        cr_assert(strcmp(last_text, text) < 0, "%s %s", last_text, text);
        last = id;
        memcpy(last_text, text, sizeof(text));
    }
}

Test(id, never_goes_back_when_the_wall_clock_does)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    struct id before = id_make(&maker, account, 5000);
    struct id after = id_make(&maker, account, 10);
    cr_assert(memcmp(before.bytes, after.bytes, sizeof(after.bytes)) < 0);
    cr_assert_eq(id_unix_ms(after), 5000);
}

Test(id, stays_above_the_floor_of_an_earlier_run)
{
    struct id_maker earlier;
    id_maker_init(&earlier, 0);
    struct id last = id_make(&earlier, account, 5000);
    for (int i = 0; i < 10; i++) {
        last = id_make(&earlier, account, 5000);
    }
    struct id_maker maker;
    id_maker_init(&maker, id_unix_ms(last));
    struct id id = id_make(&maker, account, 4000);
    cr_assert(memcmp(last.bytes, id.bytes, sizeof(id.bytes)) < 0);
}

Test(id, borrows_from_the_next_millisecond_when_one_is_full)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    struct id last = id_make(&maker, account, 1000);
    for (int i = 1; i < 65536 + 10; i++) {
        struct id id = id_make(&maker, account, 1000);
        cr_assert(memcmp(last.bytes, id.bytes, sizeof(id.bytes)) < 0);
        last = id;
    }
    cr_assert_eq(id_unix_ms(last), 1001);
}

Test(id, has_a_prefix_for_every_kind)
{
    static const char *const prefixes[] = {
        [ID_USER] = "usr_",    [ID_KEY] = "key_",         [ID_DOMAIN] = "dom_",
        [ID_ROUTE] = "rte_",   [ID_MESSAGE] = "msg_",     [ID_DELIVERY] = "dlv_",
        [ID_EVENT] = "evt_",   [ID_ATTACHMENT] = "att_",  [ID_MAILBOX] = "mbx_",
        [ID_THREAD] = "thr_",  [ID_TEMPLATE] = "tpl_",    [ID_SCHEDULED] = "ssnd_",
        [ID_WEBHOOK] = "whk_", [ID_SUPPRESSION] = "sup_", [ID_REQUEST] = "req_",
    };
    cr_assert_eq(ARRAY_LEN(prefixes), ID_KIND_COUNT);
    for (int kind = 0; kind < ID_KIND_COUNT; kind++) {
        char text[ID_TEXT_MAX];
        size_t len = id_text((enum id_kind)kind, id_random(), text);
        cr_assert_eq(len, strlen(text));
        cr_assert_eq(len, strlen(prefixes[kind]) + ID_BODY_LEN);
        cr_assert(strncmp(text, prefixes[kind], strlen(prefixes[kind])) == 0);
        for (const char *p = text + strlen(prefixes[kind]); *p != '\0'; p++) {
            cr_assert(isalnum((unsigned char)*p), "%s", text);
        }
    }
}

Test(id, reads_back_its_own_text)
{
    for (int i = 0; i < 200; i++) {
        struct id id = id_random();
        if (i == 0) {
            memset(id.bytes, 0xff, sizeof(id.bytes));
        }
        char text[ID_TEXT_MAX];
        size_t len = id_text(ID_SCHEDULED, id, text);
        struct id back = {.bytes = {0}};
        cr_assert_eq(id_parse(ID_SCHEDULED, slice_of(text, len), &back), ERR_OK, "%s", text);
        cr_assert(id_equal(id, back), "%s", text);
    }
}

Test(id, refuses_text_that_is_not_an_id_of_its_kind)
{
    static const char *const table[] = {
        "",
        "msg_",
        "msg_000000000000000000000",   /* 21 digits */
        "msg_00000000000000000000000", /* 23 digits */
        "MSG_0000000000000000000001",  /* prefixes are lower case */
        "dom_0000000000000000000001",  /* another kind */
        "msg-0000000000000000000001",
        "msg_000000000000000000000-",
        "msg_00000000000000000000_1",
        "msg_000000000000000000000 ",
        "msg_zzzzzzzzzzzzzzzzzzzzzz", /* does not fit 128 bits */
        "msg_7n42DGM5Tflk9n8mt7Fhc8", /* 2^128 */
        "0000000000000000000001",
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct id id = {.bytes = {42}};
        cr_assert_eq(id_parse(ID_MESSAGE, slice_str(table[i]), &id), ERR_INVALID, "%s", table[i]);
        cr_assert_eq(id.bytes[0], 42, "%s", table[i]);
    }
    struct id id;
    cr_assert_eq(id_parse(ID_MESSAGE, SLICE("msg_7n42DGM5Tflk9n8mt7Fhc7"), &id), ERR_OK);
}

Test(id, does_not_repeat_random_ones)
{
    cr_assert(!id_equal(id_random(), id_random()));
}

Test(account, writes_and_reads_its_eleven_digits)
{
    crypto_init();
    for (int i = 0; i < 200; i++) {
        struct account_id made = account_random();
        if (i == 0) {
            made.value = UINT64_MAX;
        }
        cr_assert_neq(made.value, 0);
        char text[ID_TEXT_MAX];
        size_t len = account_text(made, text);
        cr_assert_eq(len, strlen(text));
        cr_assert_eq(len, 4 + ACCOUNT_BODY_LEN);
        struct account_id back = {.value = 0};
        cr_assert_eq(account_parse(slice_of(text, len), &back), ERR_OK, "%s", text);
        cr_assert_eq(back.value, made.value);
        char digits[ACCOUNT_BODY_LEN];
        account_digits(made, digits);
        cr_assert(memcmp(digits, text + 4, ACCOUNT_BODY_LEN) == 0);
    }
}

Test(account, refuses_text_that_names_no_account)
{
    static const char *const table[] = {
        "",
        "acc_",
        "acc_00000000000",  /* zero means none */
        "acc_0000000001",   /* ten digits */
        "acc_000000000001", /* twelve */
        "acc_zzzzzzzzzzz",  /* does not fit 64 bits */
        "acc_LygHa16AHYG",  /* 2^64 */
        "usr_00000000001",
        "acc_0000000000!",
        "00000000001",
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct account_id got = {.value = 42};
        cr_assert_eq(account_parse(slice_str(table[i]), &got), ERR_INVALID, "%s", table[i]);
        cr_assert_eq(got.value, 42, "%s", table[i]);
    }
    struct account_id got;
    cr_assert_eq(account_parse(SLICE("acc_LygHa16AHYF"), &got), ERR_OK);
    cr_assert_eq(got.value, UINT64_MAX);
}
