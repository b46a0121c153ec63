/* fuzz_template.c - any bytes as a template, and those behind a zero byte as its values. Nothing to
 * find but crashes, leaks, control characters in a line, and templates that never end.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice json = slice_of(data, size);
    struct slice source = slice_cut(&json, '\0');
    struct arena arena;
    struct json_value root;
    struct slice fault = SLICE("");
    const struct template *template;
    arena_init(&arena, 4 * KIB, TEMPLATE_ARENA_BYTES);
    err_ignore(json_tree(json, &arena, &root)); /* nothing at hand is worth a try, too */
    enum err err = template_compile(source, &arena, &template, &fault);
    CHECK_IF(err == ERR_BAD_FIELD, fault.len > 0);
    for (enum template_form form = TEMPLATE_TEXT; err == ERR_OK && form <= TEMPLATE_LINE; form++) {
        struct buf out;
        buf_init(&out, 64 * KIB);
        enum err rendered = template_render(template, &root, form, &out);
        CHECK(rendered == ERR_OK || rendered == ERR_TOO_LARGE);
        buf_fini(&out);
    }
    arena_fini(&arena);
    return 0;
}
