/* header.h - header fields: names, folding, encoded words, parameters.
 *
 * Writers turn values into lines that are at most 78 columns where that is possible and never over
 * 998 (RFC 5322 2.1.1), with RFC 2047 encoded words (UTF-8, B or Q, whichever is shorter, at most
 * 75 columns, never splitting a character) for text and RFC 2231 for parameters. The first word
 * stays on the line of the name: receivers exist that lose a value that starts on the next line.
 *
 * Whatever the value, one field is written and nothing else: control bytes become spaces. Text that
 * looks like an encoded word already is encoded once more, so that the reader sees what was given.
 *
 * Readers walk a header block without copying.
 */
#ifndef MAIL_HEADER_H
#define MAIL_HEADER_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* ftext of RFC 5322 3.6.8: printable ASCII but ':'; 1 to CUSTOM_HEADER_NAME bytes. */
bool header_name_is_valid(struct slice name);
/* Fields that only Meerkat may write: From, To, Cc, Bcc, Date, Message-ID, Subject, MIME-Version,
 * Content-*, DKIM-Signature, Received, Return-Path, Sender, Reply-To, ARC-*, Resent-*,
 * Authentication-Results, Feedback-ID, ... In-Reply-To, References and List-* are the customer's.
 */
bool header_name_is_protected(struct slice name);

/* Appends "Name: value\r\n", folded at white space. value is UTF-8 without control bytes; non-ASCII
 * becomes encoded words. */
void header_write_text(struct buf *out, struct slice name, struct slice value);
/* As above for values that are already structured ASCII (addresses, ids); folds at ", " and spaces
 * only outside quotes. */
void header_write_structured(struct buf *out, struct slice name, struct slice value);
/* The value alone, as encoded words. `column` is where the value starts on its line;
 * HEADER_NO_FOLD puts spaces between the words, for a value that is folded later. */
#define HEADER_NO_FOLD SIZE_MAX
void header_encode_words(struct buf *out, struct slice text, size_t column);
/* Whether a reader would take part of the text for an encoded word. */
bool header_looks_encoded(struct slice text);
/* Appends "; name=value" with quotes, or RFC 2231 (name*=UTF-8''..., and name*0*= continuations
 * when long). Folds before the parameter. */
void header_write_param(struct buf *out, struct slice name, struct slice value);

/* One field of a header block, in place. */
struct header_field {
    struct slice name;
    struct slice value; /* unfolded only logically: may contain CRLF WSP; not trimmed */
    struct slice whole; /* name to the CRLF that ends the field, included */
};
/* Cuts the next field off *rest. False at the empty line or the end; *rest stays there. Lenient: LF
 * alone ends a line too, and a line without a colon is a field with an empty name. */
bool header_next(struct slice *rest, struct header_field *field);
/* The length of the header block with the empty line that ends it, or the whole length when there
 * is none. */
size_t header_block_len(struct slice mail);

#endif
