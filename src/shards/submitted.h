/* submitted.h - the mail that is stored when a client brought it whole, by SMTP.
 *
 * In place of composing (mail/mime_write): the mail as it came, with the fields that
 * mail/submission changes, and what a composed mail would have known from its request: subject,
 * reply-to, attachments. For workers.
 */
#ifndef SHARDS_SUBMITTED_H
#define SHARDS_SUBMITTED_H

#include "base/buf.h"
#include "base/err.h"
#include "mail/mime_write.h"
#include "mail/submission.h"
#include "shards/msg.h"

/* Appends the mail to out and fills what its row and its attachments are made of: *spans (where the
 * texts lie is left unsaid: they are read from the whole mail when somebody asks), *message_id when
 * the mail brings its own, and in msg->body.send what is empty with raw. Errors: ERR_BAD_FIELD with
 * msg->sentence, ERR_TOO_LARGE. */
MUST_USE enum err submitted_compose(struct msg *msg, const struct submission_adds *adds,
                                    struct buf *out, struct mime_spans *spans,
                                    struct slice *message_id);

#endif
