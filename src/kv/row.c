/* row.c - the bytes of rows.
 *
 * Every function of a row family is generated from row.def; what is written by hand is one pair of
 * put_ and read_ per field type. */
#include "kv/row.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "kv/row_words.h"

#include <string.h>

#define ROW_CRC_BYTES 4
#define ROW_MIN_BYTES (1 + ROW_CRC_BYTES)

#define PRINTED_TEXT_MAX  1024                      /* bytes of a text that are shown */
#define PRINTED_ITEMS_MAX 100                       /* items of a pack */
#define PRINTED_TIME_MAX  UINT64_C(253402300799999) /* 9999-12-31: no date can say more */

/* What is left of a row being decoded. Errors stick, so that the generated code tests once. */
struct row_reader {
    struct slice rest;
    bool is_older; /* written by an earlier version: trailing fields may be missing */
    bool is_bad;
};

static void put_text(struct buf *out, struct slice text);
static void seal_row(struct buf *out, size_t start);
static bool reader_open(struct slice bytes, uint8_t version, struct row_reader *reader);
static bool reader_closes(const struct row_reader *reader);
static bool is_absent(const struct row_reader *reader);
static void print_u8(struct json_writer *w, enum row_family family, const char *name,
                     uint8_t value);
static void print_u64(struct json_writer *w, const char *name, uint64_t value);
static void print_id(struct json_writer *w, enum row_family family, const char *name, struct id id);
static void print_account(struct json_writer *w, struct account_id account);
static void print_text(struct json_writer *w, const char *name, struct slice text);
static void print_cut(struct json_writer *w, struct slice text);
static bool is_plain(struct slice text);
static bool is_pack(struct slice text);

/* ---- sizes ---------------------------------------------------------------------------------- */

#define BYTES_U8      1
#define BYTES_BOOL    1
#define BYTES_U16     2
#define BYTES_U32     4
#define BYTES_U64     8
#define BYTES_ID      16
#define BYTES_ACCOUNT 8
#define BYTES_SHA     SHA256_LEN
#define BYTES_TEXT    4 /* its length */

/* Bytes of the fields of a row whose texts are all empty. */
#define ADD_BYTES(type, name) +BYTES_##type
enum row_weight {
#define ROW(name, NAME, version, fields) WEIGHT_##NAME = 0 fields(ADD_BYTES),
    ROW_TABLE(ROW)
#undef ROW
};

/* A field that changes its type, or joins without a new version, must not pass unnoticed: rows of
 * the old shape are on disks. Each line is changed together with the version in row.def. */
#define WEIGHS(NAME, bytes)                                                                        \
    _Static_assert(WEIGHT_##NAME == (bytes), #NAME " changed its shape: raise its version")
WEIGHS(ACCOUNT, 57);
WEIGHS(USER, 72);
WEIGHS(API_KEY, 134);
WEIGHS(API_KEY_ID, 32);
WEIGHS(KEY_DUE, 32);
WEIGHS(AUDIT, 61);
WEIGHS(DOMAIN, 161);
WEIGHS(DOMAIN_NAME, 16);
WEIGHS(MAIL, 333);
WEIGHS(CHUNK, 4);
WEIGHS(ATTACHMENT, 89);
WEIGHS(DELIVERY, 134);
WEIGHS(ATTEMPT, 52);
WEIGHS(TRANSCRIPT, 4);
WEIGHS(OUTBOX, 59);
WEIGHS(EVENT, 46);
WEIGHS(IDEMPOTENCY, 56);
WEIGHS(USAGE, 24);
WEIGHS(SUPPRESSION, 33);
WEIGHS(DELIVERY_REF, 20);
WEIGHS(BLOCKED, 24);
WEIGHS(ROUTE, 76);
WEIGHS(ROUTE_LIST, 4);
WEIGHS(STAGE, 8);
WEIGHS(MAILBOX, 48);
WEIGHS(MAILBOX_NAME, 16);
WEIGHS(MAILBOX_MAIL, 16);
WEIGHS(MAIL_STATE, 10);
WEIGHS(THREAD, 40);
WEIGHS(THREAD_NAME, 16);
WEIGHS(THREAD_MAIL, 1);
WEIGHS(DIRECTORY, 32);
WEIGHS(SHARD_META, 8);
WEIGHS(LEDGER, 8);
WEIGHS(TEMPLATE, 48);
WEIGHS(NOTE, 12);
WEIGHS(QUARANTINE, 20);
WEIGHS(FORMAT, 24);

/* ---- fields --------------------------------------------------------------------------------- */

#define PUT_U8(out, value)      buf_put_u8(out, value)
#define PUT_BOOL(out, value)    buf_put_u8(out, (value) ? 1 : 0)
#define PUT_U16(out, value)     buf_put_u16(out, value)
#define PUT_U32(out, value)     buf_put_u32(out, value)
#define PUT_U64(out, value)     buf_put_u64(out, value)
#define PUT_ID(out, value)      buf_add_bytes(out, (value).bytes, BYTES_ID)
#define PUT_ACCOUNT(out, v)     buf_put_u64(out, (v).value)
#define PUT_SHA(out, digest)    buf_add_bytes(out, (digest).bytes, BYTES_SHA)
#define PUT_TEXT(out, contents) put_text(out, contents)

static void read_U8(struct row_reader *reader, uint8_t *out)
{
    if (!is_absent(reader) && !get_u8(&reader->rest, out)) {
        reader->is_bad = true;
    }
}

/* Only 0 and 1 are written; anything else was not written by us. */
static void read_BOOL(struct row_reader *reader, bool *out)
{
    uint8_t byte = 0;
    read_U8(reader, &byte);
    if (byte > 1) {
        reader->is_bad = true;
    }
    *out = byte == 1;
}

static void read_U16(struct row_reader *reader, uint16_t *out)
{
    if (!is_absent(reader) && !get_u16(&reader->rest, out)) {
        reader->is_bad = true;
    }
}

static void read_U32(struct row_reader *reader, uint32_t *out)
{
    if (!is_absent(reader) && !get_u32(&reader->rest, out)) {
        reader->is_bad = true;
    }
}

static void read_U64(struct row_reader *reader, uint64_t *out)
{
    if (!is_absent(reader) && !get_u64(&reader->rest, out)) {
        reader->is_bad = true;
    }
}

static void read_bytes(struct row_reader *reader, uint8_t *out, size_t len)
{
    if (is_absent(reader)) {
        return;
    }
    if (reader->rest.len < len) {
        reader->is_bad = true;
        return;
    }
    memcpy(out, reader->rest.data, len);
    reader->rest = slice_from(reader->rest, len);
}

static void read_ID(struct row_reader *reader, struct id *out)
{
    read_bytes(reader, out->bytes, BYTES_ID);
}

static void read_ACCOUNT(struct row_reader *reader, struct account_id *out)
{
    read_U64(reader, &out->value);
}

static void read_SHA(struct row_reader *reader, struct sha256 *out)
{
    read_bytes(reader, out->bytes, BYTES_SHA);
}

static void read_TEXT(struct row_reader *reader, struct slice *out)
{
    if (!is_absent(reader) && !get_slice(&reader->rest, out)) {
        reader->is_bad = true;
    }
}

/* ---- rows ----------------------------------------------------------------------------------- */

#define PUT_FIELD(type, name)  PUT_##type(out, row->name);
#define READ_FIELD(type, name) read_##type(&reader, &read.name);

/* Kept defined: the tests make a row family of their own. */
#define DEFINE_CODEC(name, NAME, version, fields)                                                  \
    void row_##name##_encode(const struct row_##name *row, struct buf *out)                        \
    {                                                                                              \
        const size_t start = out->len;                                                             \
        buf_put_u8(out, version);                                                                  \
        fields(PUT_FIELD) CHECK_IF(!out->is_over, out->len - start >= 1 + WEIGHT_##NAME);          \
        seal_row(out, start);                                                                      \
    }                                                                                              \
                                                                                                   \
    enum err row_##name##_decode(struct slice bytes, struct row_##name *row)                       \
    {                                                                                              \
        struct row_reader reader;                                                                  \
        struct row_##name read;                                                                    \
        memset(&read, 0, sizeof(read));                                                            \
        if (!reader_open(bytes, version, &reader)) {                                               \
            return ERR_CORRUPT;                                                                    \
        }                                                                                          \
        fields(READ_FIELD) if (!reader_closes(&reader))                                            \
        {                                                                                          \
            return ERR_CORRUPT;                                                                    \
        }                                                                                          \
        *row = read;                                                                               \
        return ERR_OK;                                                                             \
    }
ROW_TABLE(DEFINE_CODEC)

/* ---- inspection ----------------------------------------------------------------------------- */

#define PRINT_U8(w, name, value)       print_u8(w, family, name, value)
#define PRINT_BOOL(w, name, value)     json_bool(w, value)
#define PRINT_U16(w, name, value)      json_u64(w, value)
#define PRINT_U32(w, name, value)      json_u64(w, value)
#define PRINT_U64(w, name, value)      print_u64(w, name, value)
#define PRINT_ID(w, name, value)       print_id(w, family, name, value)
#define PRINT_ACCOUNT(w, name, value)  print_account(w, value)
#define PRINT_SHA(w, name, value)      json_text(w, SLICE("(sealed)"))
#define PRINT_TEXT(w, name, value)     print_text(w, name, value)
#define PRINT_FIELD(type, member_name) PRINT_ONE(type, #member_name, row.member_name)
#define PRINT_ONE(type, text_name, value)                                                          \
    json_key(&w, text_name);                                                                       \
    PRINT_##type(&w, text_name, value);

#define ROW(name, NAME, version, fields)                                                           \
    static enum err print_row_##name(struct slice bytes, struct buf *out)                          \
    {                                                                                              \
        const enum row_family family UNUSED = ROW_##NAME;                                          \
        struct row_##name row;                                                                     \
        const enum err err = row_##name##_decode(bytes, &row);                                     \
        if (err != ERR_OK) {                                                                       \
            return err;                                                                            \
        }                                                                                          \
        struct json_writer w;                                                                      \
        json_start(&w, out);                                                                       \
        json_open_object(&w);                                                                      \
        fields(PRINT_FIELD) json_close_object(&w);                                                 \
        return ERR_OK;                                                                             \
    }
ROW_TABLE(ROW)
#undef ROW

enum err row_print(enum row_family family, struct slice bytes, struct buf *out)
{
    switch (family) {
#define ROW(name, NAME, version, fields)                                                           \
    case ROW_##NAME:                                                                               \
        return print_row_##name(bytes, out);
        ROW_TABLE(ROW)
#undef ROW
    case ROW_FAMILY_COUNT:
        break;
    }
    CHECK(family < ROW_FAMILY_COUNT);
    return ERR_CORRUPT;
}

const char *row_family_name(enum row_family family)
{
    static const char *const names[] = {
#define ROW(name, NAME, version, fields) #name,
        ROW_TABLE(ROW)
#undef ROW
    };
    _Static_assert(ARRAY_LEN(names) == ROW_FAMILY_COUNT, "a name for each family");
    CHECK(family < ROW_FAMILY_COUNT);
    return names[family];
}

static void put_text(struct buf *out, struct slice text)
{
    CHECK(text.len <= UINT32_MAX); /* what get_slice can give back */
    CHECK_IF(text.len > 0, text.data != NULL);
    buf_put_slice(out, text);
}

static void seal_row(struct buf *out, size_t start)
{
    if (out->is_over) {
        return; /* the owner of the buf sees buf_err */
    }
    CHECK(start < out->len);
    buf_put_u32(out, crypto_crc32(0, slice_of(out->data + start, out->len - start)));
}

static bool reader_open(struct slice bytes, uint8_t version, struct row_reader *reader)
{
    if (bytes.len < ROW_MIN_BYTES) {
        return false;
    }
    const size_t body_len = bytes.len - ROW_CRC_BYTES;
    struct slice tail = slice_from(bytes, body_len);
    uint32_t stored = 0;
    if (!get_u32(&tail, &stored) || stored != crypto_crc32(0, slice_head(bytes, body_len))) {
        return false;
    }
    uint8_t written = 0;
    reader->rest = slice_head(bytes, body_len);
    if (!get_u8(&reader->rest, &written) || written == 0 || written > version) {
        return false;
    }
    reader->is_older = written < version;
    reader->is_bad = false;
    return true;
}

static bool reader_closes(const struct row_reader *reader)
{
    return !reader->is_bad && reader->rest.len == 0;
}

/* A field that an older writer did not have stays zero. One that is cut in the middle is damage. */
static bool is_absent(const struct row_reader *reader)
{
    return reader->is_older && reader->rest.len == 0;
}

static void print_u8(struct json_writer *w, enum row_family family, const char *name, uint8_t value)
{
    const char *word = row_word(family, slice_str(name), value);
    if (word != NULL) {
        json_text(w, slice_str(word));
    } else {
        json_u64(w, value);
    }
}

/* Times as dates; never is null. */
static void print_u64(struct json_writer *w, const char *name, uint64_t value)
{
    char text[CLOCK_TEXT_MAX];
    if (!slice_ends(slice_str(name), SLICE("_unix_ms")) || value > PRINTED_TIME_MAX) {
        json_u64(w, value);
    } else if (value == 0) {
        json_nil(w);
    } else {
        json_text(w, slice_of(text, clock_rfc3339(value, text)));
    }
}

/* Without a prefix where the row does not say what its ids are of. */
static void print_id(struct json_writer *w, enum row_family family, const char *name, struct id id)
{
    char text[ID_TEXT_MAX];
    enum id_kind kind = ID_MESSAGE;
    const bool is_known = row_id_kind(family, slice_str(name), &kind);
    const size_t len = id_text(kind, id, text);
    CHECK(len > ID_BODY_LEN);
    const size_t prefix = is_known ? 0 : len - ID_BODY_LEN;
    json_text_or_null(w, id_is_none(id) ? SLICE("") : slice_of(text + prefix, len - prefix));
}

static void print_account(struct json_writer *w, struct account_id account)
{
    char text[ID_TEXT_MAX];
    const size_t len = account_text(account, text);
    json_text(w, slice_of(text, len));
}

/* A pack is told from a text by its looks, which is good enough for reading. */
static void print_text(struct json_writer *w, const char *name, struct slice text)
{
    if (row_is_secret(slice_str(name))) {
        json_text(w, SLICE("(sealed)"));
    } else if (is_plain(text)) {
        print_cut(w, text);
    } else if (is_pack(text)) {
        json_open_array(w);
        struct slice rest = text;
        struct slice item = SLICE("");
        for (uint32_t i = 0; i < PRINTED_ITEMS_MAX && get_slice(&rest, &item); i++) {
            print_cut(w, item);
        }
        if (rest.len > 0) {
            print_cut(w, SLICE("(and more)"));
        }
        json_close_array(w);
    } else {
        json_open_object(w);
        json_key(w, "bytes");
        json_u64(w, text.len);
        json_close_object(w);
    }
}

/* A long text, such as a body that needs no encoding, is shown by its beginning. */
static void print_cut(struct json_writer *w, struct slice text)
{
    if (text.len <= PRINTED_TEXT_MAX) {
        json_text(w, text);
        return;
    }
    size_t len = PRINTED_TEXT_MAX;
    while (len > 0 && ((uint8_t)text.data[len] & 0xc0) == 0x80) { /* not within a character */
        len--;
    }
    json_open_object(w);
    json_key(w, "bytes");
    json_u64(w, text.len);
    json_key(w, "begins");
    json_text(w, slice_head(text, len));
    json_close_object(w);
}

enum err row_check(enum row_family family, struct slice bytes)
{
    switch (family) {
#define ROW(name, NAME, version, fields)                                                           \
    case ROW_##NAME: {                                                                             \
        struct row_##name row;                                                                     \
        return row_##name##_decode(bytes, &row);                                                   \
    }
        ROW_TABLE(ROW)
#undef ROW
    case ROW_FAMILY_COUNT:
        break;
    }
    return ERR_CORRUPT;
}

static bool is_plain(struct slice text)
{
    return slice_is_utf8(text) && !slice_has_control(text, "\t\r\n");
}

static bool is_pack(struct slice text)
{
    struct slice rest = text;
    struct slice item = SLICE("");
    while (rest.len > 0) {
        if (!get_slice(&rest, &item) || !is_plain(item)) {
            return false;
        }
    }
    return true;
}
