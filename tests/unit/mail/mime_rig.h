/* mime_rig.h - reads a mail and tells what came of it in one line, so that shapes fit a table.
 *
 * Mails are string literals with LF, or are built up in `raw`.
 */
#ifndef TESTS_UNIT_MAIL_MIME_RIG_H
#define TESTS_UNIT_MAIL_MIME_RIG_H

#include "base/buf.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "mail/mime_read.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define RIG_BYTES_MAX (128 * MIB)

struct mime_rig {
    struct arena arena;
    struct buf raw;   /* a mail that is built */
    struct buf story; /* what was read */
    struct mime_read mail;
};

static void rig_start(struct mime_rig *rig)
{
    crypto_init();
    mime_read_init();
    arena_init(&rig->arena, 64 * KIB, MIME_READ_ARENA_BYTES);
    buf_init(&rig->raw, RIG_BYTES_MAX);
    buf_init(&rig->story, RIG_BYTES_MAX);
}

static void rig_stop(struct mime_rig *rig)
{
    arena_fini(&rig->arena);
    buf_fini(&rig->raw);
    buf_fini(&rig->story);
    mime_read_fini();
}

static const struct mime_read *rig_read(struct mime_rig *rig, struct slice raw)
{
    arena_clear(&rig->arena);
    cr_assert_eq(mime_read(raw, &rig->arena, &rig->mail), ERR_OK);
    return &rig->mail;
}

/* Every line end as CRLF; the text has LF. */
static inline struct slice rig_crlf(struct mime_rig *rig, struct slice text)
{
    buf_clear(&rig->raw);
    for (size_t i = 0; i < text.len; i++) {
        buf_add(&rig->raw, text.data[i] == '\n' ? SLICE("\r\n") : slice_sub(text, i, 1));
    }
    return buf_slice(&rig->raw);
}

static inline void rig_repeat(struct mime_rig *rig, const char *text, size_t count)
{
    size_t len = strlen(text);
    char *room = buf_room(&rig->raw, len * count);
    cr_assert_not_null(room);
    for (size_t i = 0; i < count; i++) {
        memcpy(room + i * len, text, len);
    }
    buf_grew(&rig->raw, len * count);
}

static inline struct slice rig_raw(struct mime_rig *rig)
{
    cr_assert_eq(buf_err(&rig->raw), ERR_OK);
    return buf_slice(&rig->raw);
}

/* "T[text] H[html] F[name type inline|attached cid data] R[kind data]", each where present, with
 * "+" behind a cut text; line ends as '|'. */
static inline const char *rig_story(struct mime_rig *rig)
{
    const struct mime_read *mail = &rig->mail;
    struct buf *out = &rig->story;
    buf_clear(out);
    const struct mime_text *texts[] = {&mail->text, &mail->html};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i]->is_present) {
            buf_add_format(out, "%c[%.*s]%s ", "TH"[i], SLICE_FMT(texts[i]->text),
                           texts[i] -> is_truncated ? "+" : "");
        }
    }
    for (uint32_t i = 0; i < mail->file_count; i++) {
        const struct mime_file *file = &mail->files[i];
        struct sha256 digest = crypto_sha256(file->data);
        cr_assert_eq(memcmp(&digest, &file->digest, sizeof digest), 0);
        buf_add_format(out, "F[%.*s %.*s %s %.*s %.*s] ", SLICE_FMT(file->filename),
                       SLICE_FMT(file->content_type), file->is_inline ? "inline" : "attached",
                       SLICE_FMT(file->content_id), SLICE_FMT(file->data));
    }
    for (uint32_t i = 0; i < mail->report_count; i++) {
        buf_add_format(out, "R[%d %.*s] ", (int)mail->reports[i].kind,
                       SLICE_FMT(mail->reports[i].data));
    }
    size_t len = 0;
    for (size_t i = 0; i < out->len; i++) {
        if (out->data[i] != '\r') {
            out->data[len++] = out->data[i] == '\n' ? '|' : out->data[i];
        }
    }
    out->len = len;
    while (out->len > 0 && out->data[out->len - 1] == ' ') {
        out->len--;
    }
    buf_add_byte(out, '\0');
    return out->data;
}

#endif
