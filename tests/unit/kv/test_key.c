/* Not covered here: that rows of these keys are found again in a store (test_kv.c), and which keys
 * a shard writes (tests/unit/shards). */
#include <criterion/criterion.h>

#include "kv/key.h"

#include <signal.h>
#include <string.h>

static const struct account_id LOW_ACCOUNT = {.value = 0x00000000000000ffu};
static const struct account_id HIGH_ACCOUNT = {.value = 0xff00000000000000u};

static struct id id_of(uint64_t unix_ms, uint8_t last)
{
    struct id id;
    memset(&id, 0, sizeof(id));
    for (size_t i = 0; i < 6; i++) {
        id.bytes[i] = (uint8_t)(unix_ms >> (40 - 8 * i));
    }
    id.bytes[15] = last;
    return id;
}

static struct sha256 sha_of(uint8_t byte)
{
    struct sha256 sha;
    memset(sha.bytes, byte, sizeof(sha.bytes));
    return sha;
}

static int compare(struct key a, struct key b)
{
    return slice_compare(key_slice(&a), key_slice(&b));
}

static bool starts(struct key key, struct key prefix)
{
    return slice_starts(key_slice(&key), key_slice(&prefix));
}

/* One key of every builder; `variant` changes the last part only. */
static size_t every_key(uint8_t variant, struct key keys[40])
{
    const struct account_id account = LOW_ACCOUNT;
    const struct id mail = id_of(1000, 1);
    const struct sha256 sha = sha_of(variant);
    const struct id last = id_of(1000, variant);
    const char letter[2] = {(char)('a' + variant), 0};
    size_t n = 0;
    keys[n++] = key_account((struct account_id){.value = variant});
    keys[n++] = key_user(account, last);
    keys[n++] = key_api_key(account, &sha);
    keys[n++] = key_api_key_id(account, last);
    keys[n++] = key_domain(account, last);
    keys[n++] = key_domain_name(account, slice_str(letter));
    keys[n++] = key_mail(account, last);
    keys[n++] = key_chunk(account, mail, variant);
    keys[n++] = key_attachment(account, mail, variant);
    keys[n++] = key_attachment_data(20000, account, mail, 7, variant);
    keys[n++] = key_delivery(account, mail, variant);
    keys[n++] = key_attempt(account, mail, 7, variant);
    keys[n++] = key_transcript(account, mail, 7, variant);
    keys[n++] = key_outbox(1000, account, mail, variant);
    keys[n++] = key_event(account, mail, last);
    keys[n++] = key_idempotency(20000, account, &sha);
    keys[n++] = key_usage(account, variant);
    keys[n++] = key_suppression(account, slice_str(letter));
    keys[n++] = key_directory(DIRECTORY_EMAIL, slice_str(letter));
    keys[n++] = key_directory(DIRECTORY_DOMAIN, slice_str(letter));
    keys[n++] = key_ledger(variant);
    keys[n++] = key_template(account, last);
    keys[n++] = key_note(1, slice_str(letter));
    return n;
}

Test(key, of_two_families_never_meet)
{
    struct key first[40];
    struct key second[40];
    const size_t count = every_key(1, first);
    cr_assert_eq(count, every_key(2, second));
    for (size_t i = 0; i < count; i++) {
        cr_assert_lt(compare(first[i], second[i]), 0, "builder %zu", i);
        for (size_t j = 0; j < count; j++) {
            cr_assert_neq(compare(first[i], second[j]), 0, "builders %zu and %zu", i, j);
            cr_assert_eq(i == j, compare(first[i], first[j]) == 0, "builders %zu, %zu", i, j);
        }
    }
}

Test(key, has_the_bytes_that_are_on_disks_already)
{
    static const uint8_t outbox[] = {'O', 1, 2, 3,    4, 5, 6, 7,   8,   0,    0,  0, 0,
                                     0,   0, 0, 0xff, 0, 0, 0, 0,   3,   0xe8, 0,  0, 0,
                                     0,   0, 0, 0,    0, 0, 9, 0xa, 0xb, 0xc,  0xd};
    static const uint8_t data[] = {'B', 0, 0, 0x4e, 0x20, 0,    0, 0, 0, 0, 0, 0, 0xff,
                                   0,   0, 0, 0,    3,    0xe8, 0, 0, 0, 0, 0, 0, 0,
                                   0,   0, 9, 0,    0,    0,    2, 0, 0, 1, 0};
    static const uint8_t name[] = {'N', 0, 0, 0, 0, 0, 0, 0, 0xff, 'a', '.', 'b'};
    static const uint8_t directory[] = {'X', 2, 'a', '.', 'b'};
    static const uint8_t meta[] = {'Z'};
    static const uint8_t ledger[] = {'Y', 0, 0, 0, 3};
    const struct id mail = id_of(1000, 9);
    const struct {
        struct key key;
        struct slice bytes;
    } cases[] = {
        {key_outbox(0x0102030405060708, LOW_ACCOUNT, mail, 0x0a0b0c0d),
         slice_of(outbox, sizeof(outbox))},
        {key_attachment_data(20000, LOW_ACCOUNT, mail, 2, 256), slice_of(data, sizeof(data))},
        {key_domain_name(LOW_ACCOUNT, SLICE("a.b")), slice_of(name, sizeof(name))},
        {key_directory(DIRECTORY_DOMAIN, SLICE("a.b")), slice_of(directory, sizeof(directory))},
        {key_shard_meta(), slice_of(meta, sizeof(meta))},
        {key_ledger(3), slice_of(ledger, sizeof(ledger))},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert(slice_equal(key_slice(&cases[i].key), cases[i].bytes), "case %zu", i);
    }
}

Test(key, sorts_the_outbox_by_due_time_whatever_the_account)
{
    const struct id mail = id_of(1000, 1);
    static const uint64_t due[] = {0, 1, 255, 256, 65535, 65536, 1700000000000, UINT64_MAX};
    for (size_t i = 1; i < ARRAY_LEN(due); i++) {
        const struct key earlier = key_outbox(due[i - 1], HIGH_ACCOUNT, mail, UINT32_MAX);
        const struct key later = key_outbox(due[i], LOW_ACCOUNT, mail, 0);
        cr_assert_lt(compare(earlier, later), 0, "%zu", i);
    }
}

Test(key, sorts_mails_of_an_account_by_time)
{
    const struct key old = key_mail(LOW_ACCOUNT, id_of(1700000000000, 0xff));
    const struct key new = key_mail(LOW_ACCOUNT, id_of(1700000000001, 0));
    cr_assert_lt(compare(old, new), 0);
}

Test(key, sorts_numbered_rows_by_number)
{
    const struct id mail = id_of(1000, 1);
    static const uint32_t numbers[] = {0, 1, 255, 256, 65536, 0x7fffffff, 0x80000000, UINT32_MAX};
    for (size_t i = 1; i < ARRAY_LEN(numbers); i++) {
        const uint32_t a = numbers[i - 1];
        const uint32_t b = numbers[i];
        cr_assert_lt(compare(key_chunk(LOW_ACCOUNT, mail, a), key_chunk(LOW_ACCOUNT, mail, b)), 0);
        cr_assert_lt(compare(key_attempt(LOW_ACCOUNT, mail, a, UINT32_MAX),
                             key_attempt(LOW_ACCOUNT, mail, b, 0)),
                     0);
        cr_assert_lt(compare(key_usage(LOW_ACCOUNT, a), key_usage(LOW_ACCOUNT, b)), 0);
    }
}

Test(key, sorts_expiring_rows_by_day_first)
{
    const struct sha256 high = sha_of(0xff);
    const struct sha256 low = sha_of(0);
    cr_assert_lt(
        compare(key_idempotency(1, HIGH_ACCOUNT, &high), key_idempotency(2, LOW_ACCOUNT, &low)), 0);
    const struct key today = key_prefix_attachment_day(19999);
    const struct key end = key_after(&today);
    const struct key data = key_attachment_data(19999, HIGH_ACCOUNT, id_of(1, 1), 1, 1);
    const struct key next = key_attachment_data(20000, LOW_ACCOUNT, id_of(0, 0), 0, 0);
    cr_assert_lt(compare(data, end), 0);
    cr_assert_geq(compare(next, end), 0);
}

Test(key, prefixes_cover_exactly_their_rows)
{
    const struct account_id account = LOW_ACCOUNT;
    const struct account_id other = {.value = LOW_ACCOUNT.value + 1};
    const struct id mail = id_of(1000, 1);
    const struct id neighbour = id_of(1000, 2);
    const struct sha256 sha = sha_of(0xff);
    const struct {
        const char *name;
        struct key prefix;
        struct key inside;
        struct key outside;
    } cases[] = {
        {"accounts", key_prefix_accounts(), key_account(account), key_user(account, mail)},
        {"all users", key_prefix_all_users(), key_user(other, mail), key_account(account)},
        {"users", key_prefix_users(account), key_user(account, mail), key_user(other, mail)},
        {"API keys", key_prefix_api_key_ids(account), key_api_key_id(account, mail),
         key_api_key_id(other, mail)},
        {"domains", key_prefix_domains(account), key_domain(account, mail),
         key_domain(other, mail)},
        {"mails", key_prefix_mails(account), key_mail(account, mail), key_mail(other, mail)},
        {"attachments", key_prefix_attachments(account, mail),
         key_attachment(account, mail, UINT32_MAX), key_attachment(account, neighbour, 0)},
        {"deliveries", key_prefix_deliveries(account, mail),
         key_delivery(account, mail, UINT32_MAX), key_delivery(account, neighbour, 0)},
        {"attempts", key_prefix_attempts(account, mail),
         key_attempt(account, mail, UINT32_MAX, UINT32_MAX), key_attempt(account, neighbour, 0, 0)},
        {"transcripts", key_prefix_transcripts(account, mail),
         key_transcript(account, mail, UINT32_MAX, UINT32_MAX),
         key_transcript(account, neighbour, 0, 0)},
        {"events", key_prefix_events(account, mail), key_event(account, mail, neighbour),
         key_event(account, neighbour, mail)},
        {"outbox", key_prefix_outbox(), key_outbox(UINT64_MAX, HIGH_ACCOUNT, mail, UINT32_MAX),
         key_attempt(account, mail, 0, 0)},
        {"idempotency", key_prefix_idempotency_day(UINT32_MAX),
         key_idempotency(UINT32_MAX, HIGH_ACCOUNT, &sha), key_idempotency(0, account, &sha)},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct key end = key_after(&cases[i].prefix);
        cr_assert(starts(cases[i].inside, cases[i].prefix), "%s", cases[i].name);
        cr_assert_lt(compare(cases[i].inside, end), 0, "%s", cases[i].name);
        const bool is_below = compare(cases[i].outside, cases[i].prefix) < 0;
        const bool is_above = compare(cases[i].outside, end) >= 0;
        cr_assert(is_below || is_above, "%s", cases[i].name);
    }
}

Test(key, after_steps_over_trailing_high_bytes)
{
    const struct key prefix = key_prefix_mails((struct account_id){.value = UINT64_MAX});
    const struct key end = key_after(&prefix);
    cr_assert(slice_equal(key_slice(&end), SLICE("N")));
    const struct key plain = key_prefix_mails((struct account_id){.value = 0x61});
    const struct key next = key_after(&plain);
    cr_assert_eq(next.len, plain.len);
    cr_assert_eq(next.bytes[8], 0x62);
}

Test(key, reads_back_what_it_wrote)
{
    const struct id mail = id_of(1700000000000, 7);
    const struct key outbox = key_outbox(1234567890123, HIGH_ACCOUNT, mail, 42);
    struct outbox_ref ref;
    cr_assert_eq(key_read_outbox(key_slice(&outbox), &ref), ERR_OK);
    cr_assert_eq(ref.due_unix_ms, 1234567890123u);
    cr_assert_eq(ref.account.value, HIGH_ACCOUNT.value);
    cr_assert(id_equal(ref.mail, mail));
    cr_assert_eq(ref.group, 42);

    struct id read;
    uint32_t a = 0;
    uint32_t b = 0;
    const struct key delivery = key_delivery(LOW_ACCOUNT, mail, 0x80000001);
    cr_assert_eq(key_read_delivery(key_slice(&delivery), &read, &a), ERR_OK);
    cr_assert(id_equal(read, mail));
    cr_assert_eq(a, 0x80000001);

    const struct key attempt = key_attempt(LOW_ACCOUNT, mail, 3, 4);
    cr_assert_eq(key_read_attempt(key_slice(&attempt), &a, &b), ERR_OK);
    cr_assert(a == 3 && b == 4);

    const struct key transcript = key_transcript(LOW_ACCOUNT, mail, 5, 6);
    cr_assert_eq(key_read_transcript(key_slice(&transcript), &a, &b), ERR_OK);
    cr_assert(a == 5 && b == 6);
}

Test(key, refuses_other_families_and_lengths)
{
    struct key keys[40];
    const size_t count = every_key(1, keys);
    struct outbox_ref ref = {.group = 99};
    struct id mail;
    uint32_t a = 99;
    uint32_t b = 99;
    size_t accepted = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t len = 0; len <= keys[i].len; len++) {
            const struct slice key = slice_head(key_slice(&keys[i]), len);
            const bool is_whole = len == keys[i].len;
            const char tag = len > 0 ? key.data[0] : '?';
            cr_assert_eq(key_read_outbox(key, &ref) == ERR_OK, is_whole && tag == 'O');
            cr_assert_eq(key_read_delivery(key, &mail, &a) == ERR_OK, is_whole && tag == 'V');
            cr_assert_eq(key_read_attempt(key, &a, &b) == ERR_OK, is_whole && tag == 'L');
            cr_assert_eq(key_read_transcript(key, &a, &b) == ERR_OK, is_whole && tag == 'R');
            accepted += is_whole && strchr("OVLR", tag) != NULL;
        }
        struct key longer = keys[i];
        longer.bytes[longer.len++] = 0;
        cr_assert_eq(key_read_outbox(key_slice(&longer), &ref), ERR_CORRUPT);
        cr_assert_eq(key_read_delivery(key_slice(&longer), &mail, &a), ERR_CORRUPT);
    }
    cr_assert_eq(accepted, 4);
}

Test(key, takes_the_longest_address)
{
    char addr[ADDR_MAX];
    memset(addr, 0xff, sizeof(addr));
    const struct key key = key_suppression(HIGH_ACCOUNT, slice_of(addr, sizeof(addr)));
    cr_assert_eq(key.len, 1 + 8 + ADDR_MAX);
    const struct key empty = key_suppression(HIGH_ACCOUNT, SLICE(""));
    cr_assert_eq(empty.len, 1 + 8);
}

Test(key, stops_the_process_over_a_text_nobody_bounded, .signal = SIGABRT)
{
    char text[KEY_TEXT_MAX + 1];
    memset(text, 'a', sizeof(text));
    const struct key key = key_domain_name(LOW_ACCOUNT, slice_of(text, sizeof(text)));
    cr_assert_eq(key.len, 0);
}
