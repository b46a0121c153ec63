/* fuzz_json_list.c - any bytes as a list. What is found lies in the body, in order, without space
 * around it; and a body that json_read takes as an object is never found to be no JSON.
 */
#include "base/check.h"
#include "base/json.h"
#include "base/json_list.h"

static const struct json_shape nothing = {NULL, 0, 1};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of(data, size);
    struct slice items[16];
    struct arena arena;
    struct json_fault fault;
    char out;
    uint32_t count = 0;
    enum err err = json_list_read(body, "messages", items, ARRAY_LEN(items), &count);
    CHECK(err == ERR_OK || err == ERR_NOT_JSON || err == ERR_BAD_FIELD || err == ERR_TOO_LARGE);
    const char *at = body.data;
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
        CHECK(items[i].len > 0 && items[i].data >= at);
        CHECK(slice_trim(items[i]).len == items[i].len);
        at = items[i].data + items[i].len;
        CHECK(at <= body.data + body.len);
    }
    arena_init(&arena, 4096, 1024 * 1024);
    bool is_object = json_read(body, &nothing, &arena, &out, &fault) == ERR_OK;
    CHECK_IF(is_object, err != ERR_NOT_JSON);
    arena_fini(&arena);
    return 0;
}
