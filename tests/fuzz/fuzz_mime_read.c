/* fuzz_mime_read.c - any bytes as a received mail: it is read, ceilings hold, text is clean UTF-8,
 * and GLib has nothing to complain of. With CRLF for LF the same texts come out.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/charset.h"
#include "mail/mime_read.h"

#include <glib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct slice text, size_t max)
{
    CHECK(text.len <= max && slice_is_utf8(text) && !slice_has_byte(text, '\0'));
}

static void check_line(struct slice text, size_t max)
{
    check_text(text, max);
    CHECK(!slice_has_control(text, ""));
}

static void check_addrs(const struct mime_addr_list *list)
{
    CHECK(list->count <= MIME_ADDRS_MAX);
    for (uint32_t i = 0; i < list->count; i++) {
        check_line(list->items[i].name, DISPLAY_NAME_MAX);
        check_line(list->items[i].address, ADDR_MAX);
        CHECK(list->items[i].address.len > 0);
    }
}

static void check_fields(const struct mime_read *mail)
{
    const struct slice lines[] = {mail->message_id,     mail->in_reply_to, mail->list_id,
                                  mail->auto_submitted, mail->precedence,  mime_thread_root(mail)};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        check_line(lines[i], LINE_MAX_BYTES);
    }
    check_line(mail->subject, SUBJECT_MAX);
    check_line(mail->from.name, DISPLAY_NAME_MAX);
    check_line(mail->from.address, ADDR_MAX);
    check_addrs(&mail->to);
    check_addrs(&mail->cc);
    check_addrs(&mail->reply_to);
    CHECK(mail->reference_count <= MIME_REFS_MAX && mail->field_count <= MIME_FIELDS_MAX);
    for (uint32_t i = 0; i < mail->reference_count; i++) {
        check_line(mail->references[i], LINE_MAX_BYTES);
    }
    for (uint32_t i = 0; i < mail->field_count; i++) {
        check_line(mail->fields[i].value, MIME_FIELD_MAX);
        CHECK(mail->fields[i].name.len > 0);
        CHECK(mime_field_value(mail, mail->fields[i].name).len <= MIME_FIELD_MAX);
    }
}

static void check_parts(const struct mime_read *mail, size_t size)
{
    size_t bytes = 0;
    check_text(mail->text.text, TEXT_BYTES_MAX);
    check_text(mail->html.text, TEXT_BYTES_MAX);
    CHECK(mail->part_count >= 1 && mail->part_count <= MIME_PARTS_MAX);
    CHECK(mail->file_count + mail->report_count <= MIME_PARTS_MAX);
    for (uint32_t i = 0; i < mail->file_count; i++) {
        const struct mime_file *file = &mail->files[i];
        check_line(file->filename, ATTACHMENT_NAME_MAX);
        CHECK(slice_find_byte(file->filename, '/') == SIZE_MAX);
        check_line(file->content_id, 255);
        check_line(file->content_type, 255);
        CHECK(slice_is_ascii(file->content_type) && slice_has_byte(file->content_type, '/'));
        struct sha256 digest = crypto_sha256(file->data);
        CHECK(crypto_equal(sha256_slice(&digest), sha256_slice(&file->digest)));
        bytes += file->data.len;
    }
    for (uint32_t i = 0; i < mail->report_count; i++) {
        bytes += mail->reports[i].data.len;
    }
    CHECK(bytes <= size);
    CHECK(mail->is_damaged == (mail->damage != 0));
}

static void read_crlf(struct slice raw, const struct mime_read *wanted)
{
    struct arena arena;
    struct mime_read mail;
    struct buf crlf;
    buf_init(&crlf, 2 * raw.len + 1);
    for (size_t i = 0; i < raw.len; i++) {
        buf_add(&crlf, raw.data[i] == '\n' ? SLICE("\r\n") : slice_sub(raw, i, 1));
    }
    arena_init(&arena, 4096, MIME_READ_ARENA_BYTES);
    CHECK(mime_read(buf_slice(&crlf), &arena, &mail) == ERR_OK);
    CHECK(mail.part_count == wanted->part_count && mail.file_count == wanted->file_count);
    arena_fini(&arena);
    buf_fini(&crlf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_ready;
    struct slice raw = slice_of(data, size);
    struct mime_read mail;
    struct arena arena;

    if (!is_ready) {
        crypto_init();
        mime_read_init();
        g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
        is_ready = true;
    }
    arena_init(&arena, 4096, MIME_READ_ARENA_BYTES);
    CHECK(mime_read(raw, &arena, &mail) == ERR_OK);
    check_fields(&mail);
    check_parts(&mail, size);
    if (!slice_has_byte(raw, '\r')) {
        read_crlf(raw, &mail);
    }
    arena_fini(&arena);
    return 0;
}
