/* submitted.c - see submitted.h. */
#include "shards/submitted.h"

#include "base/check.h"
#include "base/limits.h"
#include "mail/mime_read.h"

static struct slice cut(struct arena *arena, struct slice text, size_t max)
{
    return arena_dup(arena, slice_head(text, max));
}

static void take_reply_to(struct msg *msg, const struct mime_addr_list *list)
{
    struct shard_send *send = &msg->body.send;
    uint32_t max = list->count < API_RCPT_MAX ? list->count : API_RCPT_MAX;
    send->reply_to = arena_array(&msg->arena, max, sizeof(*send->reply_to));
    for (uint32_t i = 0; i < max; i++) {
        struct addr *addr = &send->reply_to[send->reply_to_count];
        if (addr_parse(list->items[i].address, &msg->arena, addr) == ERR_OK) {
            addr->name = list->items[i].name;
            send->reply_to_count += 1;
        }
    }
}

/* Their bytes are kept apart as those of a request are, so that a link serves them. Those beyond
 * the ceilings of a request are in the mail all the same. */
static void take_files(struct msg *msg, const struct mime_read *read)
{
    struct shard_send *send = &msg->body.send;
    uint32_t max =
        read->file_count < ATTACHMENT_COUNT_MAX ? read->file_count : ATTACHMENT_COUNT_MAX;
    uint64_t total = 0;
    send->attachments = arena_array(&msg->arena, max, sizeof(*send->attachments));
    for (uint32_t i = 0; i < max; i++) {
        const struct mime_file *file = &read->files[i];
        total += file->data.len;
        if (total > ATTACHMENT_BYTES_MAX) {
            return;
        }
        send->attachments[send->attachment_count++] = (struct mime_attachment){
            .filename = file->filename,
            .content_type = file->content_type,
            .content_id = file->is_inline ? file->content_id : SLICE(""),
            .data = file->data,
        };
    }
}

enum err submitted_compose(struct msg *msg, const struct submission_adds *adds, struct buf *out,
                           struct mime_spans *spans, struct slice *message_id)
{
    struct shard_send *send = &msg->body.send;
    struct submission_written written;
    struct mime_read read;
    const char *problem = "";
    CHECK(send->attachment_count == 0);
    CHECK(send->reply_to_count == 0);
    enum err err = submission_write(send->raw, adds, out, &written, &problem);
    if (err == ERR_OK) {
        err = mime_read(send->raw, &msg->arena, &read);
    }
    if (err != ERR_OK) {
        msg->sentence = err == ERR_BAD_FIELD ? slice_str(problem) : SLICE("");
        return err;
    }
    *spans = (struct mime_spans){.header_len = written.header_len,
                                 .needs_utf8 = written.is_utf8,
                                 .needs_8bit = written.is_8bit || written.is_utf8,
                                 .text = {.is_present = read.text.is_present},
                                 .html = {.is_present = read.html.is_present}};
    send->subject = cut(&msg->arena, read.subject, SUBJECT_MAX);
    send->in_reply_to = cut(&msg->arena, read.in_reply_to, LINE_MAX_BYTES);
    if (read.message_id.len > 0) {
        *message_id = cut(&msg->arena, read.message_id, LINE_MAX_BYTES);
    }
    take_reply_to(msg, &read.reply_to);
    take_files(msg, &read);
    return ERR_OK;
}
