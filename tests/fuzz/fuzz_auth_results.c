/* fuzz_auth_results.c - any texts as results: what is written is one field without controls, in
 * lines that fit, and found again as ours. Any bytes as a header block: the fields found lie within
 * it, in order.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/auth_results.h"
#include "mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(struct slice field, struct slice id)
{
    struct slice rest = field;
    struct header_field read;
    struct auth_range range;
    size_t from = 0;

    CHECK(header_next(&rest, &read) && rest.len == 0);
    CHECK(slice_is_utf8(field) && !slice_has_control(field, "\r\n"));
    CHECK(slice_ends(field, SLICE("\r\n")));
    while (rest.data != NULL) {
        CHECK(slice_cut(&rest, '\n').len <= LINE_MAX_BYTES);
    }
    CHECK(auth_results_next(field, id, &from, &range) && range.len == field.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    struct slice texts[12];
    struct slice id = SLICE("mx.example.org");
    struct auth_range range;
    struct buf out;
    size_t from = 0;
    size_t before = 0;

    while (auth_results_next(rest, id, &from, &range)) {
        CHECK(range.at >= before && range.len > 0 && range.at + range.len <= size);
        before = range.at + range.len;
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        texts[i] = slice_cut(&rest, '|');
    }
    struct auth_dkim dkim = {texts[0], texts[1], texts[2], texts[3], texts[4], texts[5]};
    struct auth_results results = {
        .authserv_id = id,
        .spf = {texts[6], texts[7], texts[8], texts[9]},
        .dkim = &dkim,
        .dkim_count = size % 2,
        .is_dkim_tried = size % 3 == 0,
        .dmarc = {texts[9], texts[10], texts[11], texts[0]},
    };
    buf_init(&out, 64 * KIB);
    auth_results_write(&out, &results);
    CHECK(buf_err(&out) == ERR_OK);
    check_written(buf_slice(&out), id);
    buf_fini(&out);
    return 0;
}
