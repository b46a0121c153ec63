/* transcript.c - see transcript.h. */
#include "deliver/transcript.h"

#include <stdio.h>

void transcript_add(struct buf *transcript, const char *who, struct slice text)
{
    if (transcript->len + text.len + 8 > transcript->max_bytes) {
        return;
    }
    while (text.data != NULL && text.len > 0) {
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        buf_add_str(transcript, who);
        buf_add(transcript, line);
        buf_add_byte(transcript, '\n');
    }
}

void transcript_add_reply(struct buf *transcript, const struct smtp_reply *reply)
{
    char head[16];
    (void)snprintf(head, sizeof head, "S: %u ", (unsigned)reply->code);
    transcript_add(transcript, head, reply->text.len > 0 ? buf_slice(&reply->text) : SLICE("-"));
}
