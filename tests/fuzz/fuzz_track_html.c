/* fuzz_track_html.c - any HTML: it fits its ceiling, taking the changes out gives it back, and each
 * link that was made leads where a redirect can go.
 */
#include "base/check.h"
#include "base/crypto.h"
#include "mail/track_html.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct slice base = SLICE_INIT("https://t.example/t/");

/* One that may be ours: it ends with a quotation mark. */
static bool has_link(struct slice rest)
{
    size_t at = slice_find(rest, base);
    struct slice tail = slice_from(rest, at == SIZE_MAX ? rest.len : at + base.len);
    size_t end = slice_find_byte(tail, '"');
    return end != SIZE_MAX && end >= 2;
}

static void check_link(const struct track_html *how, struct slice *rest)
{
    struct arena arena;
    struct slice tail = slice_from(*rest, slice_find(*rest, base) + base.len);
    struct slice token = slice_head(slice_from(tail, 2), slice_find_byte(tail, '"') - 2);
    struct track_ref ref = {.kind = tail.data[0] == 'o' ? TRACK_OPEN : TRACK_CLICK};
    arena_init(&arena, 4096, 64 * KIB);
    if (track_token_read(how->key, token, &arena, &ref)) { /* else the input had it */
        CHECK(id_equal(ref.mail, how->mail));
        CHECK(slice_is_ascii(ref.url));
        CHECK(!slice_has_control(ref.url, ""));
        CHECK(!slice_has_byte(ref.url, ' '));
        CHECK(ref.kind == TRACK_OPEN || slice_starts_nocase(ref.url, SLICE("http")));
    }
    arena_fini(&arena);
    *rest = tail;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct seal_key key = {.bytes = {1}};
    static bool is_ready;
    if (!is_ready) {
        crypto_init();
        is_ready = true;
    }
    struct slice html = slice_of(data, size);
    struct buf out;
    struct track_html how = {
        .key = &key,
        .mail = {.bytes = {2}},
        .base = SLICE("https://t.example"),
        .opens = size % 2 == 0,
        .clicks = size % 3 != 0,
    };
    buf_init(&out, size + TRACK_GROWTH_MAX);
    struct track_counts counts = track_html_rewrite(&how, html, &out);
    CHECK(buf_err(&out) == ERR_OK);
    CHECK(counts.links <= TRACK_LINKS_MAX);
    CHECK_IF(counts.links == 0 && !counts.has_image, slice_equal(buf_slice(&out), html));
    struct slice rest = buf_slice(&out);
    while (has_link(rest)) {
        check_link(&how, &rest);
    }
    buf_fini(&out);
    return 0;
}
