/* Not covered here: the order of keys (test_key.c). Every family of key.def must have a sample
 * below, made by the builders of key.h, so that a new one cannot be forgotten. */
#include <criterion/criterion.h>

#include "base/check.h"
#include "kv/key_text.h"

#include <stdio.h>
#include <string.h>

#define SAMPLES_MAX 64
#define ACCOUNT     ((struct account_id){.value = 0x0123456789abcdefu})
#define TIME        UINT64_C(1795243131123) /* 2026-11-21T06:38:51.123Z */
#define DAY         20778u

struct sample {
    struct key key;
    char text[512];
};

static struct id made_id(uint16_t sequence)
{
    struct id_maker maker;
    id_maker_init(&maker, TIME);
    struct id id = id_make(&maker, ACCOUNT, TIME);
    id.bytes[14] = (uint8_t)(sequence >> 8);
    id.bytes[15] = (uint8_t)sequence;
    return id;
}

static void add(struct sample *samples, size_t *count, struct key key, const char *rest)
{
    CHECK(*count < SAMPLES_MAX);
    struct sample *sample = &samples[(*count)++];
    sample->key = key;
    const int len = snprintf(sample->text, sizeof sample->text, "%s", rest);
    CHECK(len > 0 && (size_t)len < sizeof sample->text);
}

static const char *fill(char out[512], const char *fmt, enum id_kind kind, struct id id)
{
    char account[ID_TEXT_MAX];
    char text[ID_TEXT_MAX];
    (void)account_text(ACCOUNT, account);
    (void)id_text(kind, id, text);
    char *to = out;
    for (const char *at = fmt; *at != '\0'; at++) {
        const char *from = *at == '$' ? account : *at == '#' ? text : NULL;
        const size_t len = from != NULL ? strlen(from) : 1;
        memcpy(to, from != NULL ? from : at, len);
        to += len;
    }
    *to = '\0';
    return out;
}

/* $ is the account, # the id. */
#define ADD(key, fmt, kind, id) add(samples, &count, key, fill(text, fmt, kind, id))

static size_t add_plain(struct sample *samples, size_t count)
{
    char text[512];
    const struct id id = made_id(7);
    const struct sha256 sha = {.bytes = {0x1f, 0x2e, 0x3d, 0x4c, 0x5b, 0x6a, 0x79, 0x88, 0x97}};
    ADD(key_account(ACCOUNT), "account $", ID_USER, id);
    ADD(key_user(ACCOUNT, id), "user $ #", ID_USER, id);
    ADD(key_api_key(ACCOUNT, &sha), "api_key $ 1f2e3d4c5b6a7988..", ID_KEY, id);
    ADD(key_api_key_id(ACCOUNT, id), "api_key_id $ #", ID_KEY, id);
    ADD(key_key_due(TIME, ACCOUNT, id), "key_due 2026-11-21T06:38:51.123Z $ #", ID_KEY, id);
    ADD(key_audit(ACCOUNT, id), "audit $ #", ID_EVENT, id);
    ADD(key_delivery_ref(ACCOUNT, id), "delivery_ref $ #", ID_DELIVERY, id);
    ADD(key_blocked(ACCOUNT, SLICE("a b@x.org")), "blocked $ a b@x.org", ID_USER, id);
    ADD(key_route(ACCOUNT, id), "route $ #", ID_ROUTE, id);
    ADD(key_route_list(ACCOUNT), "route_list $", ID_ROUTE, id);
    ADD(key_stage(ACCOUNT, id), "stage $ #", ID_MESSAGE, id);
    ADD(key_mailbox(ACCOUNT, id), "mailbox $ #", ID_MAILBOX, id);
    ADD(key_mailbox_name(ACCOUNT, SLICE("\xc3\xa9@x.org")), "mailbox_name $ \xc3\xa9@x.org",
        ID_MAILBOX, id);
    ADD(key_mail_state(ACCOUNT, id), "mail_state $ #", ID_MESSAGE, id);
    ADD(key_thread(ACCOUNT, id), "thread $ #", ID_THREAD, id);
    ADD(key_thread_name(ACCOUNT, &sha), "thread_name $ 1f2e3d4c5b6a7988..", ID_THREAD, id);
    ADD(key_domain(ACCOUNT, id), "domain $ #", ID_DOMAIN, id);
    ADD(key_domain_name(ACCOUNT, SLICE("x.org")), "domain_name $ x.org", ID_DOMAIN, id);
    ADD(key_idempotency(DAY, ACCOUNT, &sha), "idempotency 2026-11-21 $ 1f2e3d4c5b6a7988..", ID_USER,
        id);
    ADD(key_usage(ACCOUNT, DAY), "usage $ 2026-11-21", ID_USER, id);
    ADD(key_suppression(ACCOUNT, SLICE("\\ \n!x ")), "suppression $ \\x5c \\x0a!x\\x20", ID_USER,
        id);
    ADD(key_template(ACCOUNT, id), "template $ #", ID_TEMPLATE, id);
    ADD(key_note(2, SLICE("020412 x.org")), "note 2 020412 x.org", ID_USER, id);
    ADD(key_directory(DIRECTORY_DOMAIN, SLICE("!x.org")), "directory domain \\x21x.org", ID_USER,
        id);
    ADD(key_quarantine(TIME, &sha), "quarantine 2026-11-21T06:38:51.123Z 1f2e3d4c5b6a7988..",
        ID_USER, id);
    ADD(key_shard_meta(), "shard_meta", ID_USER, id);
    ADD(key_ledger(2), "ledger 2", ID_USER, id);
    return count;
}

static size_t add_of_mails(struct sample *samples, size_t count)
{
    char text[512];
    char box[600];
    char box_text[ID_TEXT_MAX];
    const struct id id = made_id(7);
    const struct id other = made_id(300);
    ADD(key_mail(ACCOUNT, id), "mail $ #", ID_MESSAGE, id);
    ADD(key_chunk(ACCOUNT, id, 3), "chunk $ # 3", ID_MESSAGE, id);
    ADD(key_attachment(ACCOUNT, id, 2), "attachment $ # 2", ID_MESSAGE, id);
    ADD(key_attachment_data(DAY, ACCOUNT, id, 2, 5), "attachment_data 2026-11-21 $ # 2 5",
        ID_MESSAGE, id);
    ADD(key_delivery(ACCOUNT, id, 1), "delivery $ # 1", ID_MESSAGE, id);
    ADD(key_attempt(ACCOUNT, id, 1, 4), "attempt $ # 1 4", ID_MESSAGE, id);
    ADD(key_transcript(ACCOUNT, id, 1, 4), "transcript $ # 1 4", ID_MESSAGE, id);
    ADD(key_outbox(TIME, ACCOUNT, id, 9), "outbox 2026-11-21T06:38:51.123Z $ # 9", ID_MESSAGE, id);
    (void)id_text(ID_MAILBOX, other, box_text);
    (void)snprintf(box, sizeof box, "mailbox_mail $ %s #", box_text);
    ADD(key_mailbox_mail(ACCOUNT, other, id), box, ID_MESSAGE, id);
    (void)id_text(ID_THREAD, other, box_text);
    (void)snprintf(box, sizeof box, "thread_mail $ %s #", box_text);
    ADD(key_thread_mail(ACCOUNT, other, id), box, ID_MESSAGE, id);
    (void)id_text(ID_EVENT, other, box_text);
    (void)snprintf(box, sizeof box, "event $ # %s", box_text);
    ADD(key_event(ACCOUNT, id, other), box, ID_MESSAGE, id);
    return count;
}

static size_t make_samples(struct sample samples[SAMPLES_MAX])
{
    return add_of_mails(samples, add_plain(samples, 0));
}

static const char *printed(struct slice key, char out[1024])
{
    struct buf buf;
    buf_init(&buf, 1023);
    key_print(key, &buf);
    CHECK(!buf.is_over);
    memcpy(out, buf.data != NULL ? buf.data : "", buf.len);
    out[buf.len] = '\0';
    buf_fini(&buf);
    return out;
}

Test(key_text, has_a_sample_of_every_family)
{
    struct sample samples[SAMPLES_MAX];
    const size_t count = make_samples(samples);
    size_t shape_count = 0;
    const struct key_shape *shapes = key_shapes(&shape_count);
    for (size_t i = 0; i < shape_count; i++) {
        bool is_found = false;
        for (size_t k = 0; k < count; k++) {
            is_found = is_found || key_shape_of(key_slice(&samples[k].key)) == &shapes[i];
        }
        cr_expect(is_found, "%s", shapes[i].name);
        cr_expect(i == 0 || shapes[i - 1].tag < shapes[i].tag, "%s: tags rise", shapes[i].name);
    }
}

Test(key_text, has_a_key_for_every_row_family)
{
    size_t shape_count = 0;
    const struct key_shape *shapes = key_shapes(&shape_count);
    for (enum row_family family = 0; family < ROW_FAMILY_COUNT; family++) {
        bool is_found = family == ROW_FORMAT; /* the one row of the meta family, under a name */
        for (size_t i = 0; i < shape_count; i++) {
            is_found = is_found || shapes[i].row == family;
        }
        cr_expect(is_found, "%s", row_family_name(family));
    }
}

Test(key_text, names_families_as_their_rows_but_for_attachment_data)
{
    size_t shape_count = 0;
    const struct key_shape *shapes = key_shapes(&shape_count);
    for (size_t i = 0; i < shape_count; i++) {
        cr_expect_eq(key_shape_named(slice_str(shapes[i].name)), &shapes[i]);
        cr_expect_eq(key_shape_named(slice_of(&shapes[i].tag, 1)), &shapes[i]);
        if (strcmp(shapes[i].name, "attachment_data") != 0) {
            cr_expect_str_eq(shapes[i].name, row_family_name(shapes[i].row));
        }
    }
    cr_expect_eq(key_shape_named(SLICE("nonsense")), NULL);
    cr_expect_eq(key_shape_named(SLICE("")), NULL);
}

Test(key_text, prints_a_key_of_every_family)
{
    struct sample samples[SAMPLES_MAX];
    char text[1024];
    const size_t count = make_samples(samples);
    for (size_t i = 0; i < count; i++) {
        cr_expect_str_eq(printed(key_slice(&samples[i].key), text), samples[i].text);
    }
}

Test(key_text, reads_what_it_printed)
{
    struct sample samples[SAMPLES_MAX];
    const size_t count = make_samples(samples);
    for (size_t i = 0; i < count; i++) {
        struct key_typed typed;
        const struct slice whole = key_slice(&samples[i].key);
        const struct key_shape *shape = key_shape_of(whole);
        cr_assert_eq(key_parse(slice_str(samples[i].text), &typed), ERR_OK, "%s: %s",
                     samples[i].text, typed.why);
        const bool is_cut = strchr(shape->parts, 's') != NULL;
        cr_expect_eq(typed.is_whole, !is_cut, "%s", samples[i].text);
        cr_expect(is_cut ? slice_starts(whole, key_slice(&typed.key))
                         : slice_equal(whole, key_slice(&typed.key)),
                  "%s", samples[i].text);
        const struct key behind = key_behind(&typed);
        cr_expect_lt(slice_compare(whole, key_slice(&behind)), 0, "%s", samples[i].text);
    }
}

Test(key_text, takes_a_key_cut_behind_any_part_as_a_prefix)
{
    struct sample samples[SAMPLES_MAX];
    const size_t count = make_samples(samples);
    for (size_t i = 0; i < count; i++) {
        const struct slice whole = key_slice(&samples[i].key);
        struct slice text = slice_str(samples[i].text);
        const struct key_shape *shape = key_shape_of(whole);
        size_t words = 1 + strlen(shape->parts);
        for (size_t end = slice_rfind_byte(text, ' '); end != SIZE_MAX;
             end = slice_rfind_byte(text, ' ')) {
            struct key_typed typed;
            text = slice_head(text, end);
            if (strchr(shape->parts, 't') != NULL && words > strlen(shape->parts)) {
                words--; /* spaces within a text are not between parts */
                continue;
            }
            cr_assert_eq(key_parse(text, &typed), ERR_OK, "%.*s: %s", SLICE_FMT(text), typed.why);
            cr_expect(slice_starts(whole, key_slice(&typed.key)), "%.*s", SLICE_FMT(text));
            cr_expect_lt(typed.key.len, whole.len, "%.*s", SLICE_FMT(text));
        }
    }
}

Test(key_text, reads_the_parts_of_every_key)
{
    struct sample samples[SAMPLES_MAX];
    const size_t count = make_samples(samples);
    for (size_t i = 0; i < count; i++) {
        struct key_parts parts;
        const struct slice whole = key_slice(&samples[i].key);
        cr_assert_eq(key_read(whole, &parts), ERR_OK, "%s", samples[i].text);
        const char *letters = parts.shape->parts;
        cr_expect_eq(parts.account.value, strchr(letters, 'a') != NULL ? ACCOUNT.value : 0);
        cr_expect_eq(parts.due_unix_ms, strchr(letters, 'd') != NULL ? TIME : 0);
        cr_expect_eq(parts.day, strchr(letters, 'y') != NULL ? DAY : 0);
        cr_expect_eq(parts.hash.len, strchr(letters, 's') != NULL ? SHA256_LEN : 0);
        cr_expect_eq(parts.text.len > 0, strchr(letters, 't') != NULL);
        if (strchr(letters, 't') == NULL) { /* one byte too few, and one too many */
            char longer[KEY_MAX + 1] = "";
            memcpy(longer, whole.data, whole.len);
            cr_expect_eq(key_read(slice_of(longer, whole.len + 1), &parts), ERR_CORRUPT);
            cr_expect(whole.len == 1 ||
                      key_read(slice_head(whole, whole.len - 1), &parts) != ERR_OK);
        }
    }
}

Test(key_text, reads_ids_and_numbers_in_their_order)
{
    struct key_parts parts;
    struct key key = key_attempt(ACCOUNT, made_id(7), 1, 4);
    cr_assert_eq(key_read(key_slice(&key), &parts), ERR_OK);
    cr_expect(id_equal(parts.ids[0], made_id(7)));
    cr_expect_eq(parts.numbers[0], 1);
    cr_expect_eq(parts.numbers[1], 4);
    key = key_event(ACCOUNT, made_id(7), made_id(8));
    cr_assert_eq(key_read(key_slice(&key), &parts), ERR_OK);
    cr_expect(id_equal(parts.ids[1], made_id(8)));
    key = key_directory(DIRECTORY_DOMAIN, SLICE("x.org"));
    cr_assert_eq(key_read(key_slice(&key), &parts), ERR_OK);
    cr_expect_eq(parts.kind, DIRECTORY_DOMAIN);
    cr_expect(slice_equal(parts.text, SLICE("x.org")));
}

Test(key_text, shows_bytes_that_have_no_place_and_reads_them_back)
{
    static const struct {
        struct slice bytes;
        const char *text;
    } cases[] = {
        {SLICE_INIT("\x01\xfe"), "!01fe"},
        {SLICE_INIT("Zx"), "shard_meta !78"},
        {SLICE_INIT("A123"), "account !313233"},
        {SLICE_INIT("Y\0\0\0\x01zz"), "ledger 1 !7a7a"},
        {SLICE_INIT("O\xff\xff\xff\xff\xff\xff\xff\xff"), "outbox 18446744073709551615"},
        {SLICE_INIT("I\xff\xff\xff\xff"), "idempotency 4294967295"},
        {SLICE_INIT("X\x09name"), "directory 9 name"},
        {SLICE_INIT("X\x01\xff\x9b"), "directory email \\xff\\x9b"},
        {SLICE_INIT("X\x01\xc2\x9bK"), "directory email \\xc2\\x9bK"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1024];
        struct key_typed typed;
        cr_expect_str_eq(printed(cases[i].bytes, text), cases[i].text);
        cr_assert_eq(key_parse(slice_str(cases[i].text), &typed), ERR_OK, "%s: %s", cases[i].text,
                     typed.why);
        cr_expect(slice_equal(key_slice(&typed.key), cases[i].bytes), "%s", cases[i].text);
    }
    char nothing[1024];
    cr_expect_str_eq(printed(SLICE(""), nothing), "");
}

Test(key_text, lets_an_id_stand_for_its_account)
{
    char text[512];
    struct key_typed typed;
    const struct id id = made_id(7);
    const struct key whole = key_delivery(ACCOUNT, id, 2);
    const struct key account = key_account(ACCOUNT);
    cr_assert_eq(key_parse(slice_str(fill(text, " delivery # 2", ID_MESSAGE, id)), &typed), ERR_OK);
    cr_expect(slice_equal(key_slice(&typed.key), key_slice(&whole)));
    (void)fill(text, "#", ID_MESSAGE, id);
    char bare[512];
    (void)snprintf(bare, sizeof bare, "V %s 2", text + 4);
    cr_assert_eq(key_parse(slice_str(bare), &typed), ERR_OK, "%s", typed.why);
    cr_expect(slice_equal(key_slice(&typed.key), key_slice(&whole)));
    cr_assert_eq(key_parse(slice_str(fill(text, "account #", ID_MESSAGE, id)), &typed), ERR_OK);
    cr_expect(slice_equal(key_slice(&typed.key), key_slice(&account)));
}

Test(key_text, takes_days_for_times)
{
    struct key_typed typed;
    cr_assert_eq(key_parse(SLICE("outbox 2026-11-21"), &typed), ERR_OK, "%s", typed.why);
    char text[1024];
    cr_expect_str_eq(printed(key_slice(&typed.key), text), "outbox 2026-11-21T00:00:00.000Z");
}

Test(key_text, says_what_is_wrong_with_which_word)
{
    static const struct {
        const char *text;
        const char *word;
    } cases[] = {
        {"", ""},
        {"nonsense acc_1", "nonsense"},
        {"mail acc_1", "acc_1"},
        {"mail acc_00000000001 msg_x", "msg_x"},
        {"chunk acc_00000000001 msg_0000000000000000000001 x", "x"},
        {"chunk acc_00000000001 msg_0000000000000000000001 1 2", "2"},
        {"usage acc_00000000001 yesterday", "yesterday"},
        {"directory street x", "street"},
        {"api_key acc_00000000001 12345", "12345"},
        {"api_key acc_00000000001 xx", "xx"},
        {"suppression acc_00000000001 a\\n", "\\n"},
        {"ledger 4294967296", "4294967296"},
        {"shard_meta x", "x"},
        {"!", "!"},
        {"!ff00", "!ff00"},
        {"!0", "0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct key_typed typed;
        cr_expect_eq(key_parse(slice_str(cases[i].text), &typed), ERR_INVALID, "%s", cases[i].text);
        cr_expect(slice_equal(typed.word, slice_str(cases[i].word)), "%s: \"%.*s\"", cases[i].text,
                  SLICE_FMT(typed.word));
        cr_expect_gt(strlen(typed.why), 0);
    }
}

Test(key_text, refuses_more_than_a_key_can_hold)
{
    char text[2000] = "directory email ";
    struct key_typed typed;
    memset(text + strlen(text), 'x', KEY_MAX);
    cr_expect_eq(key_parse(slice_str(text), &typed), ERR_INVALID);
    memset(text, 0, sizeof text);
    text[0] = '!';
    memset(text + 1, '1', 2 * (KEY_MAX + 1));
    cr_expect_eq(key_parse(slice_str(text), &typed), ERR_INVALID);
    text[1 + 2 * KEY_MAX] = '\0';
    cr_assert_eq(key_parse(slice_str(text), &typed), ERR_OK);
    const struct key behind = key_behind(&typed);
    cr_expect_gt(slice_compare(key_slice(&behind), key_slice(&typed.key)), 0);
}
