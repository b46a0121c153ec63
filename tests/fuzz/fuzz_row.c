/* Rows of every family from any bytes. The first byte picks the family; the rest is decoded as it
 * is, and once more under a checksum that fits, because random bytes do not get past one. What is
 * accepted and printed must be what encode writes: there is one spelling of each row. */
#include "base/check.h"
#include "kv/row.h"

#define FUZZ_BYTES_MAX (64 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_row(enum row_family family, struct slice bytes)
{
    struct buf again;
    struct buf printed;
    buf_init(&again, 2 * FUZZ_BYTES_MAX);
    buf_init(&printed, 16 * FUZZ_BYTES_MAX);
    bool is_row = false;
    switch (family) {
#define ROW(name, NAME, version, fields)                                                           \
    case ROW_##NAME: {                                                                             \
        struct row_##name row;                                                                     \
        is_row = row_##name##_decode(bytes, &row) == ERR_OK;                                       \
        if (is_row) {                                                                              \
            row_##name##_encode(&row, &again);                                                     \
            CHECK_IF(bytes.data[0] == version, slice_equal(buf_slice(&again), bytes));             \
        }                                                                                          \
        break;                                                                                     \
    }
        ROW_TABLE(ROW)
#undef ROW
    case ROW_FAMILY_COUNT:
        break;
    }
    const bool is_printed = row_print(family, bytes, &printed) == ERR_OK;
    CHECK(is_printed == is_row);
    CHECK_IF(!is_printed, printed.len == 0);
    buf_fini(&again);
    buf_fini(&printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FUZZ_BYTES_MAX) {
        return 0;
    }
    const enum row_family family = (enum row_family)(data[0] % ROW_FAMILY_COUNT);
    const struct slice bytes = slice_of(data + 1, size - 1);
    try_row(family, bytes);
    struct buf sealed;
    buf_init(&sealed, 2 * FUZZ_BYTES_MAX);
    buf_add(&sealed, bytes);
    buf_put_u32(&sealed, crypto_crc32(0, bytes));
    try_row(family, buf_slice(&sealed));
    buf_fini(&sealed);
    return 0;
}
