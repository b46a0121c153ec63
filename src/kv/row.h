/* row.h - rows as structs, and their bytes.
 *
 * Struct, size, encode and decode of each row family are generated from row.def, so they cannot
 * drift apart. On disk a row is: version (1 byte), the fields in order (fixed-width little-endian;
 * text as u32 length and bytes), CRC-32 of all that precedes (4 bytes). Decode refuses a bad
 * checksum, a length that does not fit, and a version newer than it knows.
 *
 * The structs are plain data and may travel in messages; text borrows from the bytes that were
 * decoded.
 */
#ifndef KV_ROW_H
#define KV_ROW_H

#include "base/base.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "kv/row.def"

#define ROW_TYPE_U8      uint8_t
#define ROW_TYPE_BOOL    bool
#define ROW_TYPE_U16     uint16_t
#define ROW_TYPE_U32     uint32_t
#define ROW_TYPE_U64     uint64_t
#define ROW_TYPE_ID      struct id
#define ROW_TYPE_ACCOUNT struct account_id
#define ROW_TYPE_SHA     struct sha256
#define ROW_TYPE_TEXT    struct slice

#define ROW_MEMBER(type, name) ROW_TYPE_##type name;
#define ROW(name, NAME, version, fields)                                                           \
    struct row_##name {                                                                            \
        fields(ROW_MEMBER)                                                                         \
    };
ROW_TABLE(ROW)
#undef ROW

enum row_family {
#define ROW(name, NAME, version, fields) ROW_##NAME,
    ROW_TABLE(ROW)
#undef ROW
        ROW_FAMILY_COUNT
};

/* Appends the row's bytes to out. decode: ERR_CORRUPT; *row is untouched then. */
#define ROW(name, NAME, version, fields)                                                           \
    void row_##name##_encode(const struct row_##name *row, struct buf *out);                       \
    MUST_USE enum err row_##name##_decode(struct slice bytes, struct row_##name *row);
ROW_TABLE(ROW)
#undef ROW

/* For inspection: prints a row of any family as one JSON object. ERR_CORRUPT as decode. Numbers and
 * ids by their words (kv/row_words.h), times as dates, a time that never was as null. Text that is
 * not UTF-8 is shown as its length, a long one by its beginning; sealed and hashed members as
 * "(sealed)". */
MUST_USE enum err row_print(enum row_family family, struct slice bytes, struct buf *out);
const char *row_family_name(enum row_family family);
/* Whether a row of that family decodes. ERR_CORRUPT when not. */
MUST_USE enum err row_check(enum row_family family, struct slice bytes);

#endif
