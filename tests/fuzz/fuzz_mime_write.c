/* fuzz_mime_write.c - any bytes in every field of a mail: the output keeps its line discipline, its
 * header ends where the writer says, and text and html are found again at their spans.
 */
#include "base/check.h"
#include "base/crypto.h"
#include "mail/header.h"
#include "mail/mime_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(struct slice mail)
{
    CHECK(slice_ends(mail, SLICE("\r\n")));
    CHECK(!slice_has_byte(mail, '\0'));
    while (mail.len > 0) {
        struct slice line = slice_cut(&mail, '\n');
        CHECK(slice_ends(line, SLICE("\r")));
        CHECK(line.len <= 999);
        CHECK(slice_find_byte(line, '\r') == line.len - 1);
    }
}

/* CRLF, CR and LF as LF, byte by byte. */
static struct slice plain_lines(struct slice text, struct arena *arena)
{
    char *out = arena_bytes(arena, text.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        bool is_pair = text.data[i] == '\r' && i + 1 < text.len && text.data[i + 1] == '\n';
        if (!is_pair) {
            out[len++] = text.data[i] == '\r' ? '\n' : text.data[i];
        }
    }
    return slice_of(out, len);
}

static void check_span(struct slice mail, const struct mime_span *span, struct slice want,
                       struct arena *arena)
{
    if (span->is_present) {
        struct slice content = slice_sub(mail, (size_t)span->offset, (size_t)span->len);
        CHECK(content.len == span->len);
        struct slice text = mime_decode(span->encoding, content, arena);
        CHECK(slice_equal(text, plain_lines(want, arena)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice fields[12];
    struct slice rest = slice_of(data, size);
    struct mime_spans spans;
    struct arena arena;
    struct buf out;

    crypto_init();
    arena_init(&arena, 4096, 64 << 20);
    buf_init(&out, 32 << 20);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        fields[i] = slice_cut(&rest, '\x01');
    }
    struct addr addr = {.name = fields[0], .text = SLICE("a@b.c")};
    struct mime_header header = {.name = fields[1], .value = fields[2]};
    struct mime_attachment file = {.filename = fields[3],
                                   .content_type = fields[4],
                                   .content_id = fields[5],
                                   .data = fields[6]};
    struct mime_mail mail = {
        .from = addr,
        .to = &addr,
        .to_count = 1,
        .subject = fields[7],
        .message_id = fields[8],
        .in_reply_to = fields[9],
        .text = fields[10],
        .html = fields[11],
        .headers = &header,
        .header_count = 1,
        .attachments = &file,
        .attachment_count = file.data.len > 0 ? 1 : 0,
    };
    CHECK(mime_write(&mail, &out, &spans) == ERR_OK);
    check_lines(buf_slice(&out));
    CHECK(spans.header_len == header_block_len(buf_slice(&out)));
    check_span(buf_slice(&out), &spans.text, mail.text, &arena);
    check_span(buf_slice(&out), &spans.html, mail.html, &arena);
    CHECK(mime_text_from_html(slice_of(data, size), &arena).len <= size + 1);
    buf_fini(&out);
    arena_fini(&arena);
    return 0;
}
