/* Not covered here: what shards put into rows (tests/unit/shards), and random bytes
 * (tests/fuzz/fuzz_row.c). Includes the source, to make a row family with a history. */
#include <criterion/criterion.h>

#include "kv/row.c"

#include <signal.h>
#include <stdio.h>

#define ROW_TEST_MAX 4096

/* ---- a filled row of every family ---------------------------------------------------------------
 */

/* Values that differ by member, so that swapped members are seen. */
struct filler {
    uint64_t next;
    char texts[64][16];
    size_t text_count;
};

static uint64_t fill_number(struct filler *filler)
{
    filler->next = filler->next * 6364136223846793005u + 1442695040888963407u;
    return filler->next >> 7;
}

static void fill_U8(struct filler *filler, uint8_t *out)
{
    *out = (uint8_t)fill_number(filler);
}

static void fill_BOOL(struct filler *filler, bool *out)
{
    *out = fill_number(filler) % 2 == 1;
}

static void fill_U16(struct filler *filler, uint16_t *out)
{
    *out = (uint16_t)fill_number(filler);
}

static void fill_U32(struct filler *filler, uint32_t *out)
{
    *out = (uint32_t)fill_number(filler);
}

static void fill_U64(struct filler *filler, uint64_t *out)
{
    *out = fill_number(filler) << 7;
}

static void fill_ID(struct filler *filler, struct id *out)
{
    for (size_t i = 0; i < sizeof(out->bytes); i++) {
        out->bytes[i] = (uint8_t)fill_number(filler);
    }
}

static void fill_ACCOUNT(struct filler *filler, struct account_id *out)
{
    out->value = fill_number(filler);
}

static void fill_SHA(struct filler *filler, struct sha256 *out)
{
    for (size_t i = 0; i < sizeof(out->bytes); i++) {
        out->bytes[i] = (uint8_t)fill_number(filler);
    }
}

static void fill_TEXT(struct filler *filler, struct slice *out)
{
    CHECK(filler->text_count < ARRAY_LEN(filler->texts));
    char *text = filler->texts[filler->text_count++];
    const size_t len = (size_t)(fill_number(filler) % 16); /* empty ones, too */
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + fill_number(filler) % 26);
    }
    *out = slice_of(text, len);
}

static bool same_U8(uint8_t a, uint8_t b)
{
    return a == b;
}

static bool same_BOOL(bool a, bool b)
{
    return a == b;
}

static bool same_U16(uint16_t a, uint16_t b)
{
    return a == b;
}

static bool same_U32(uint32_t a, uint32_t b)
{
    return a == b;
}

static bool same_U64(uint64_t a, uint64_t b)
{
    return a == b;
}

static bool same_ID(struct id a, struct id b)
{
    return id_equal(a, b);
}

static bool same_ACCOUNT(struct account_id a, struct account_id b)
{
    return a.value == b.value;
}

static bool same_SHA(struct sha256 a, struct sha256 b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

static bool same_TEXT(struct slice a, struct slice b)
{
    return slice_equal(a, b);
}

/* What a test does with one family, whatever its fields. */
struct family_case {
    const char *name;
    void (*encode)(uint64_t seed, struct buf *out);
    bool (*comes_back)(uint64_t seed, struct slice bytes);
    bool (*is_refused_untouched)(struct slice bytes);
    uint32_t shape; /* CRC-32 of its fields' types and names */
};

#define FILL(type, member)  fill_##type(&filler, &row.member);
#define SAME(type, member)  &&same_##type(row.member, read.member)
#define SHAPE(type, member) #type " " #member "\n"

#define ROW(name, NAME, version, fields)                                                           \
    static void encode_##name(uint64_t seed, struct buf *out)                                      \
    {                                                                                              \
        struct filler filler = {.next = seed};                                                     \
        struct row_##name row;                                                                     \
        fields(FILL);                                                                              \
        row_##name##_encode(&row, out);                                                            \
    }                                                                                              \
    static bool comes_back_##name(uint64_t seed, struct slice bytes)                               \
    {                                                                                              \
        struct filler filler = {.next = seed};                                                     \
        struct row_##name row;                                                                     \
        struct row_##name read;                                                                    \
        fields(FILL);                                                                              \
        return row_##name##_decode(bytes, &read) == ERR_OK fields(SAME);                           \
    }                                                                                              \
    static bool is_refused_##name(struct slice bytes)                                              \
    {                                                                                              \
        struct row_##name row;                                                                     \
        struct row_##name before;                                                                  \
        memset(&row, 0x5a, sizeof(row));                                                           \
        memset(&before, 0x5a, sizeof(before));                                                     \
        return row_##name##_decode(bytes, &row) == ERR_CORRUPT &&                                  \
               memcmp(&row, &before, sizeof(row)) == 0;                                            \
    }
ROW_TABLE(ROW)
#undef ROW

static void family_cases(struct family_case cases[ROW_FAMILY_COUNT])
{
#define ROW(name, NAME, version, fields)                                                           \
    cases[ROW_##NAME] =                                                                            \
        (struct family_case){#name, encode_##name, comes_back_##name, is_refused_##name,           \
                             crypto_crc32(0, SLICE("" fields(SHAPE)))};
    ROW_TABLE(ROW)
#undef ROW
}

Test(row, of_every_family_comes_back_as_it_was)
{
    struct family_case cases[ROW_FAMILY_COUNT];
    family_cases(cases);
    for (size_t i = 0; i < ROW_FAMILY_COUNT; i++) {
        for (uint64_t seed = 0; seed < 50; seed++) {
            struct buf out;
            buf_init(&out, ROW_TEST_MAX);
            cases[i].encode(seed, &out);
            cr_assert_eq(buf_err(&out), ERR_OK);
            cr_expect(cases[i].comes_back(seed, buf_slice(&out)), "%s %zu", cases[i].name,
                      (size_t)seed);
            buf_fini(&out);
        }
    }
}

Test(row, is_refused_whichever_byte_is_flipped)
{
    struct family_case cases[ROW_FAMILY_COUNT];
    family_cases(cases);
    static const char flips[] = {0x01, (char)0x80, (char)0xff};
    for (size_t i = 0; i < ROW_FAMILY_COUNT; i++) {
        struct buf out;
        buf_init(&out, ROW_TEST_MAX);
        cases[i].encode(i + 1, &out);
        for (size_t at = 0; at < out.len; at++) {
            for (size_t k = 0; k < sizeof(flips); k++) {
                out.data[at] = (char)(out.data[at] ^ flips[k]);
                cr_expect(cases[i].is_refused_untouched(buf_slice(&out)), "%s, byte %zu",
                          cases[i].name, at);
                out.data[at] = (char)(out.data[at] ^ flips[k]);
            }
        }
        buf_fini(&out);
    }
}

/* Puts the right checksum behind the first len bytes and makes that the whole. */
static void reseal(struct buf *row, size_t len)
{
    struct buf sealed;
    buf_init(&sealed, ROW_TEST_MAX);
    buf_add(&sealed, slice_head(buf_slice(row), len));
    buf_put_u32(&sealed, crypto_crc32(0, buf_slice(&sealed)));
    buf_fini(row);
    *row = sealed;
}

Test(row, is_refused_at_every_length_but_its_own)
{
    struct family_case cases[ROW_FAMILY_COUNT];
    family_cases(cases);
    for (size_t i = 0; i < ROW_FAMILY_COUNT; i++) {
        struct buf out;
        buf_init(&out, ROW_TEST_MAX);
        cases[i].encode(i + 1, &out);
        const size_t whole = out.len;
        for (size_t len = 0; len < whole; len++) {
            cr_expect(cases[i].is_refused_untouched(slice_head(buf_slice(&out), len)));
            struct buf cut;
            buf_init(&cut, ROW_TEST_MAX);
            buf_add(&cut, buf_slice(&out));
            reseal(&cut, len); /* cut by a writer, not by the disk */
            const bool is_same = cut.len == whole;
            cr_expect(is_same || cases[i].is_refused_untouched(buf_slice(&cut)), "%s, %zu bytes",
                      cases[i].name, len);
            buf_fini(&cut);
        }
        reseal(&out, whole); /* the old checksum becomes a part of the body */
        cr_expect(cases[i].is_refused_untouched(buf_slice(&out)), "%s", cases[i].name);
        buf_fini(&out);
    }
}

Test(row, of_an_unknown_version_is_refused)
{
    struct family_case cases[ROW_FAMILY_COUNT];
    family_cases(cases);
    for (size_t i = 0; i < ROW_FAMILY_COUNT; i++) {
        static const char versions[] = {0, 100, (char)0xff};
        for (size_t k = 0; k < sizeof(versions); k++) {
            struct buf out;
            buf_init(&out, ROW_TEST_MAX);
            cases[i].encode(3, &out);
            out.data[0] = versions[k];
            reseal(&out, out.len - ROW_CRC_BYTES);
            cr_expect(cases[i].is_refused_untouched(buf_slice(&out)), "%s", cases[i].name);
            buf_fini(&out);
        }
    }
}

/* ---- the format on disks ------------------------------------------------------------------------
 */

Test(row, has_the_bytes_that_are_on_disks_already)
{
    static const uint8_t bytes[] = {
        1,                                  /* version of the row */
        1,    0,    0,    0,                /* format */
        32,   0,    0,    0,                /* shard_count */
        0xd2, 4,    0,    0,    0, 0, 0, 0, /* created_unix_ms */
        7,    0,    0,    0,    0, 0, 0, 0, /* boots */
        0x24, 0xc7, 0x20, 0x44,             /* CRC-32 */
    };
    const struct row_format row = {
        .format = 1, .shard_count = 32, .created_unix_ms = 1234, .boots = 7};
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    row_format_encode(&row, &out);
    cr_assert_eq(out.len, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        cr_expect_eq((uint8_t)out.data[i], bytes[i], "byte %zu is %02x", i, (uint8_t)out.data[i]);
    }
    buf_fini(&out);
}

/* Names and order of the fields of the current versions. Whoever appends fields raises the version
 * in row.def and adds a line; whoever does anything else to a released family writes a migration
 * step. */
Test(row, keeps_the_fields_that_are_on_disks_already)
{
    static const uint32_t shapes[ROW_FAMILY_COUNT] = {
        [ROW_ACCOUNT] = 0x9bcce8bc,      [ROW_USER] = 0x4fb1ec87,
        [ROW_API_KEY] = 0x21651ed9,      [ROW_API_KEY_ID] = 0x83e0b9ec,
        [ROW_KEY_DUE] = 0x83e0b9ec,      [ROW_AUDIT] = 0x594f4bf4,
        [ROW_DOMAIN] = 0x28ed53ab,       [ROW_DOMAIN_NAME] = 0x32961ca2,
        [ROW_MAIL] = 0x66038367,         [ROW_CHUNK] = 0xb1661a72,
        [ROW_ATTACHMENT] = 0x3ad44d52,   [ROW_DELIVERY] = 0xf599b2da,
        [ROW_ATTEMPT] = 0x9171f958,      [ROW_TRANSCRIPT] = 0x604b05d7,
        [ROW_OUTBOX] = 0x18060e13,       [ROW_EVENT] = 0xa239cb7d,
        [ROW_IDEMPOTENCY] = 0xaf109a58,  [ROW_USAGE] = 0x0832bbef,
        [ROW_SUPPRESSION] = 0x3b113473,  [ROW_DIRECTORY] = 0x5d5371fe,
        [ROW_SHARD_META] = 0x34de3ee2,   [ROW_LEDGER] = 0x8d1adce4,
        [ROW_FORMAT] = 0x51bb5c77,       [ROW_ROUTE] = 0x3b6f384e,
        [ROW_STAGE] = 0xf733c48f,        [ROW_MAILBOX] = 0xdb60c5f5,
        [ROW_MAILBOX_NAME] = 0x13a32c6f, [ROW_MAILBOX_MAIL] = 0x20165f7a,
        [ROW_MAIL_STATE] = 0x2c4aa829,   [ROW_THREAD] = 0x200d38aa,
        [ROW_DELIVERY_REF] = 0x41d156cb, [ROW_BLOCKED] = 0x8a80eecc,
        [ROW_ROUTE_LIST] = 0x625d4838,   [ROW_THREAD_NAME] = 0x20165f7a,
        [ROW_THREAD_MAIL] = 0xddaebbde,  [ROW_TEMPLATE] = 0x59aaa6ea,
        [ROW_NOTE] = 0xcaa61dd4,         [ROW_QUARANTINE] = 0xb8eaed4c,
    };
    struct family_case cases[ROW_FAMILY_COUNT];
    family_cases(cases);
    for (size_t i = 0; i < ROW_FAMILY_COUNT; i++) {
        cr_expect_eq(cases[i].shape, shapes[i], "%s: its fields are now %08x", cases[i].name,
                     cases[i].shape);
    }
}

/* ---- a family with a history --------------------------------------------------------------------
 */

#define FIRST_FIELDS(F) F(U32, number) F(TEXT, text)
#define THIRD_FIELDS(F)                                                                            \
    F(U32, number)                                                                                 \
    F(TEXT, text) F(BOOL, flag) F(U16, code) F(ID, id) F(SHA, hash) F(TEXT, more) F(ACCOUNT, owner)

enum history_weight { WEIGHT_FIRST = 8, WEIGHT_THIRD = 8 + 1 + 2 + 16 + 32 + 4 + 8 };

struct row_first {
    FIRST_FIELDS(ROW_MEMBER)
};
struct row_third {
    THIRD_FIELDS(ROW_MEMBER)
};
void row_first_encode(const struct row_first *row, struct buf *out);
void row_third_encode(const struct row_third *row, struct buf *out);
MUST_USE enum err row_first_decode(struct slice bytes, struct row_first *row);
MUST_USE enum err row_third_decode(struct slice bytes, struct row_third *row);
DEFINE_CODEC(first, FIRST, 1, FIRST_FIELDS)
DEFINE_CODEC(third, THIRD, 3, THIRD_FIELDS)

Test(row, of_an_older_version_has_zeros_for_what_came_later)
{
    const struct row_first old = {.number = 42, .text = SLICE("forty-two")};
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    row_first_encode(&old, &out);
    struct row_third row;
    memset(&row, 0x5a, sizeof(row));
    cr_assert_eq(row_third_decode(buf_slice(&out), &row), ERR_OK);
    cr_assert_eq(row.number, 42);
    cr_assert(slice_equal(row.text, SLICE("forty-two")));
    cr_assert(!row.flag && row.code == 0 && id_is_none(row.id) && row.more.len == 0);
    cr_assert_eq(row.owner.value, 0);
    static const struct sha256 none;
    cr_assert_eq(memcmp(&row.hash, &none, sizeof(none)), 0);
    buf_fini(&out);
}

Test(row, of_a_newer_version_is_refused)
{
    const struct row_third new = {.number = 42};
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    row_third_encode(&new, &out);
    struct row_first row;
    cr_assert_eq(row_first_decode(buf_slice(&out), &row), ERR_CORRUPT);
    buf_fini(&out);
}

/* A row of version `version` that ends after `len` bytes of the fields of version 3. */
static enum err decode_cut(char version, size_t len, struct row_third *read)
{
    const struct row_third whole = {
        .number = 42, .text = SLICE("text"), .flag = true, .code = 7, .more = SLICE("more")};
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    row_third_encode(&whole, &out);
    CHECK(1 + len + ROW_CRC_BYTES <= out.len);
    out.data[0] = version;
    reseal(&out, 1 + len);
    const enum err err = row_third_decode(buf_slice(&out), read);
    read->text = read->more = SLICE(""); /* they borrowed from out */
    buf_fini(&out);
    return err;
}

Test(row, may_end_between_fields_only_and_only_when_it_is_older)
{
    /* Lengths after each field: number, text, flag, code, id, hash, more, owner. */
    static const size_t ends[] = {4, 12, 13, 15, 31, 63, 71, 79};
    const size_t whole = ends[ARRAY_LEN(ends) - 1];
    for (size_t len = 0; len <= whole; len++) {
        bool is_end = len == 0;
        for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
            is_end |= ends[i] == len;
        }
        struct row_third row;
        const enum err older = decode_cut(2, len, &row);
        cr_expect_eq(older, is_end ? ERR_OK : ERR_CORRUPT, "version 2, %zu bytes", len);
        const enum err same = decode_cut(3, len, &row);
        cr_expect_eq(same, len == whole ? ERR_OK : ERR_CORRUPT, "version 3, %zu bytes", len);
    }
}

/* ---- hostile and careless callers ---------------------------------------------------------------
 */

Test(row, with_a_text_longer_than_the_row_is_refused)
{
    static const uint32_t lens[] = {1, 4, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf out;
        buf_init(&out, ROW_TEST_MAX);
        buf_put_u8(&out, 1);
        buf_put_u32(&out, lens[i]);
        buf_put_u32(&out, crypto_crc32(0, buf_slice(&out)));
        struct row_chunk row;
        cr_expect_eq(row_chunk_decode(buf_slice(&out), &row), ERR_CORRUPT, "%u", lens[i]);
        buf_fini(&out);
    }
}

Test(row, with_a_boolean_that_is_neither_is_refused)
{
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    const struct row_thread_mail mail = {.is_inbound = true};
    row_thread_mail_encode(&mail, &out);
    out.data[out.len - ROW_CRC_BYTES - 1] = 2; /* its only field */
    reseal(&out, out.len - ROW_CRC_BYTES);
    struct row_thread_mail row;
    cr_assert_eq(row_thread_mail_decode(buf_slice(&out), &row), ERR_CORRUPT);
    buf_fini(&out);
}

Test(row, joins_what_the_buffer_holds_already)
{
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    buf_add(&out, SLICE("before"));
    const struct row_ledger ledger = {.value = 77};
    row_ledger_encode(&ledger, &out);
    struct row_ledger row;
    cr_assert(slice_starts(buf_slice(&out), SLICE("before")));
    cr_assert_eq(row_ledger_decode(slice_from(buf_slice(&out), 6), &row), ERR_OK);
    cr_assert_eq(row.value, 77);
    buf_fini(&out);
}

Test(row, larger_than_its_buffer_is_told_by_the_buffer)
{
    for (size_t max = 0; max < 13; max++) {
        struct buf out;
        buf_init(&out, max);
        const struct row_ledger ledger = {.value = 77};
        row_ledger_encode(&ledger, &out);
        cr_expect_eq(buf_err(&out), ERR_TOO_LARGE, "%zu", max);
        buf_fini(&out);
    }
}

Test(row, stops_the_process_over_a_text_without_bytes, .signal = SIGABRT)
{
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    const struct row_chunk chunk = {.data = {.data = NULL, .len = 1}};
    row_chunk_encode(&chunk, &out);
}

/* ---- inspection ---------------------------------------------------------------------------------
 */

Test(row, prints_its_members_without_its_secrets)
{
    struct buf pack;
    buf_init(&pack, ROW_TEST_MAX);
    buf_put_slice(&pack, SLICE("a@b"));
    buf_put_slice(&pack, SLICE("c\"d"));
    struct buf bytes;
    struct buf out;
    buf_init(&bytes, ROW_TEST_MAX);
    buf_init(&out, ROW_TEST_MAX);
    const struct row_api_key key = {.name = SLICE("CI"),
                                    .mode = 1,
                                    .scopes = buf_slice(&pack),
                                    .domains = SLICE("\xff\xfe"),
                                    .is_enabled = true,
                                    .created_unix_ms = UINT64_MAX};
    row_api_key_encode(&key, &bytes);
    cr_assert_eq(row_print(ROW_API_KEY, buf_slice(&bytes), &out), ERR_OK);
    static const char *const parts[] = {"{\"id\":null,",
                                        "\"name\":\"CI\"",
                                        "\"mode\":\"test\"",
                                        "\"scopes\":[\"a@b\",\"c\\\"d\"]",
                                        "\"domains\":{\"bytes\":2}",
                                        "\"is_enabled\":true",
                                        "\"created_unix_ms\":18446744073709551615",
                                        "\"last_used_unix_ms\":null,",
                                        "\"replaced_by\":null,"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        cr_expect_neq(slice_find(buf_slice(&out), slice_str(parts[i])), SIZE_MAX, "%s in %.*s",
                      parts[i], SLICE_FMT(buf_slice(&out)));
    }

    buf_clear(&bytes);
    buf_clear(&out);
    const struct row_user user = {.email = SLICE("a@b"),
                                  .password_hash = SLICE("$argon2id$secret")};
    row_user_encode(&user, &bytes);
    cr_assert_eq(row_print(ROW_USER, buf_slice(&bytes), &out), ERR_OK);
    cr_assert_eq(slice_find(buf_slice(&out), SLICE("secret")), SIZE_MAX);
    cr_assert_neq(slice_find(buf_slice(&out), SLICE("\"password_hash\":\"(sealed)\"")), SIZE_MAX);

    buf_clear(&out);
    bytes.data[3] ^= 1;
    cr_assert_eq(row_print(ROW_USER, buf_slice(&bytes), &out), ERR_CORRUPT);
    cr_assert_eq(out.len, 0);
    buf_fini(&pack);
    buf_fini(&bytes);
    buf_fini(&out);
}

static void expect_printed(enum row_family family, const struct buf *bytes, const char *part)
{
    struct buf out;
    buf_init(&out, ROW_TEST_MAX);
    cr_assert_eq(row_print(family, buf_slice(bytes), &out), ERR_OK);
    cr_expect_neq(slice_find(buf_slice(&out), slice_str(part)), SIZE_MAX, "%s in %.*s", part,
                  SLICE_FMT(buf_slice(&out)));
    buf_fini(&out);
}

Test(row, prints_words_dates_and_what_ids_are_of)
{
    struct buf bytes;
    buf_init(&bytes, ROW_TEST_MAX);
    struct row_delivery delivery = {.status = 3,
                                    .kind = 1,
                                    .updated_unix_ms = UINT64_C(1795243131123),
                                    .bounce_class = SLICE("x")};
    delivery.id.bytes[15] = 1;
    delivery.route.bytes[15] = 2;
    row_delivery_encode(&delivery, &bytes);
    expect_printed(ROW_DELIVERY, &bytes, "\"status\":\"deferred\"");
    expect_printed(ROW_DELIVERY, &bytes, "\"kind\":\"webhook\"");
    expect_printed(ROW_DELIVERY, &bytes, "\"updated_unix_ms\":\"2026-11-21T06:38:51.123Z\"");
    expect_printed(ROW_DELIVERY, &bytes, "\"id\":\"dlv_0000000000000000000001\"");
    expect_printed(ROW_DELIVERY, &bytes, "\"route\":\"rte_0000000000000000000002\"");
    expect_printed(ROW_DELIVERY, &bytes, "\"event\":null");
    buf_clear(&bytes);
    delivery.status = 200;
    row_delivery_encode(&delivery, &bytes);
    expect_printed(ROW_DELIVERY, &bytes, "\"status\":200");
    buf_fini(&bytes);
}

Test(row, prints_the_beginning_of_a_long_text)
{
    static char text[3000];
    struct buf bytes;
    buf_init(&bytes, ROW_TEST_MAX);
    memset(text, 'a', sizeof text);
    memcpy(text + 1023, "\xc3\xa9", 2); /* would be cut in two */
    row_chunk_encode(&(struct row_chunk){.data = slice_of(text, sizeof text)}, &bytes);
    expect_printed(ROW_CHUNK, &bytes, "{\"data\":{\"bytes\":3000,\"begins\":\"aaa");
    expect_printed(ROW_CHUNK, &bytes, "aaa\"}}");
    buf_fini(&bytes);
}

Test(row, of_every_family_can_be_printed_and_named)
{
    struct family_case cases[ROW_FAMILY_COUNT];
    family_cases(cases);
    for (size_t i = 0; i < ROW_FAMILY_COUNT; i++) {
        const enum row_family family = (enum row_family)i;
        struct buf bytes;
        struct buf out;
        buf_init(&bytes, ROW_TEST_MAX);
        buf_init(&out, ROW_TEST_MAX);
        cases[i].encode(9, &bytes);
        cr_expect_eq(row_print(family, buf_slice(&bytes), &out), ERR_OK);
        cr_expect(slice_starts(buf_slice(&out), SLICE("{\"")));
        cr_expect(slice_ends(buf_slice(&out), SLICE("}")));
        cr_expect_str_eq(row_family_name(family), cases[i].name);
        buf_fini(&bytes);
        buf_fini(&out);
    }
}
