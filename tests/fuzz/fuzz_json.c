/* fuzz_json.c - any bytes through a shape like that of POST /v1/send, and what was read through the
 * writer. Nothing to find but crashes, leaks and faults without a sentence.
 */
#include "base/check.h"
#include "base/json.h"

struct send {
    struct slice from;
    struct json_texts to;
    bool has_limit;
    uint64_t limit;
    struct json_pairs metadata;
    struct json_items attachments;
    struct json_time at;
};

static const struct json_field file_fields[] = {
    {.name = "filename", .type = JSON_TEXT, .is_required = true, .max = 255},
};
static const struct json_shape file_shape = {file_fields, 1, sizeof(struct slice)};
static const struct json_field send_fields[] = {
    {.name = "from", .type = JSON_TEXT, .is_required = true, .offset = offsetof(struct send, from)},
    {.name = "to", .type = JSON_TEXT_OR_LIST, .offset = offsetof(struct send, to), .max = 50},
    {.name = "limit",
     .type = JSON_U64,
     .offset = offsetof(struct send, limit),
     .has_offset = offsetof(struct send, has_limit)},
    {.name = "metadata", .type = JSON_MAP, .offset = offsetof(struct send, metadata), .max = 20},
    {.name = "attachments",
     .type = JSON_LIST,
     .offset = offsetof(struct send, attachments),
     .sub = &file_shape},
    {.name = "at", .type = JSON_TIME, .offset = offsetof(struct send, at)},
};
static const struct json_shape send_shape = {send_fields, ARRAY_LEN(send_fields),
                                             sizeof(struct send)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct send send;
    struct json_fault fault;
    struct buf buf;

    arena_init(&arena, 4096, 1 << 16);
    buf_init(&buf, 1 << 20);
    enum err err = json_read(slice_of(data, size), &send_shape, &arena, &send, &fault);
    CHECK(err == ERR_OK || err == ERR_NOT_JSON || err == ERR_BAD_FIELD || err == ERR_TOO_LARGE);
    CHECK_IF(err == ERR_NOT_JSON || err == ERR_BAD_FIELD, fault.sentence.len > 0);
    CHECK_IF(err == ERR_BAD_FIELD, fault.param.len > 0);
    json_escape(&buf, slice_of(data, size));
    CHECK_IF(!buf.is_over, slice_is_utf8(buf_slice(&buf)));
    buf_fini(&buf);
    arena_fini(&arena);
    return 0;
}
