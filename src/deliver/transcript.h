/* transcript.h - what was said on the way, line by line, for the rows.
 *
 * A transcript is a buf with a ceiling: what does not fit is left out, because the first part of a
 * dialogue tells most.
 */
#ifndef DELIVER_TRANSCRIPT_H
#define DELIVER_TRANSCRIPT_H

#include "base/buf.h"
#include "base/slice.h"
#include "net/smtp.h"

/* who: "C: ", "S: ", "-- ". Each line of text becomes one of its own. */
void transcript_add(struct buf *transcript, const char *who, struct slice text);
void transcript_add_reply(struct buf *transcript, const struct smtp_reply *reply);

#endif
